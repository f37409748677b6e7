"""The work of label_peers.py: a real patient's labels, the two views that all masks are wanted of, and the truth."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from peer_work import Beam, beams_of

from drrproj import Geometry, LabelVolume, Volume, read_labels, read_volume

FILES = ("ct.nii.gz", "labels.nii.gz")
VIEWS, DETECTOR = ("PA", "LL"), (1024, 1024)


class LabelWork(NamedTuple):
    """One patient: every program gets these numbers, in whatever order its interface wants them."""

    ct: Volume
    labels: LabelVolume
    geometry: Geometry

    @property
    def beams(self) -> list[Beam]:
        """All views in other words."""
        return beams_of(self.geometry)


def prepare(folder: str) -> LabelWork:
    """Read a folder's CT and labels; turned so that the axes are the world's, x fastest in memory, as all take them."""
    ct, labels = read_volume(Path(folder) / FILES[0]), read_labels(Path(folder) / FILES[1])
    ct = Volume(*_along_the_world(ct.array, ct.affine), unit=ct.unit)
    labels = LabelVolume(*_along_the_world(labels.array, labels.affine), labels.names)
    views = [Geometry.radiograph(name, ct, shape=DETECTOR) for name in VIEWS]
    return LabelWork(ct, labels, Geometry.concatenate(views))


def _along_the_world(
    array: npt.NDArray[np.generic], affine: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.float64]]:
    spacing = np.diag(affine)[:3]
    if not np.array_equal(affine[:3, :3], np.diag(spacing)):
        raise SystemExit("the peers take grids along the world's axes alone; this one is turned")
    turned = affine.copy()
    for axis in np.flatnonzero(spacing < 0):
        turned[axis, 3] += spacing[axis] * (array.shape[axis] - 1)
        turned[axis, axis] *= -1
    return np.asfortranarray(np.flip(array, np.flatnonzero(spacing < 0).tolist())), turned
