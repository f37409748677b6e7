"""Do labels lie mirrored in their CT? The tissue tells: a structure is of one kind, so its voxels have alike values."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from drrproj.hounsfield import AIR_HU
from drrproj.label_volume import LabelVolume
from drrproj.volume import Volume

__all__ = ["mirrored_along"]

_AXES = ("right and left", "front and back", "head and feet")

# A regular grid of samples over the whole label volume: enough that an organ has some, few enough to cost nothing.
_SAMPLES = 10_000
# A lesion may well be less even than what lies opposite to it; anatomy that fills this share of its grid is not.
_LEAST_SHARE = 0.05
_LEAST_STRUCTURES = 5
# Labels that leave less of the CT's variance unexplained tell lungs, soft tissue and bone apart, as they do in place.
_TELLING = 0.25
_CLEARLY = 0.5
# Soft tissue alone spreads less, and cannot tell; most CTs of an abdomen end here, before any mirror is tried.
_CONTRAST_HU = 200.0
# A mirror image that lies beside the CT says nothing.
_LEAST_OVERLAP = 0.9
# Reading scattered voxels is what takes time: every tenth sample, held to doubled bounds, rules most mirror images out.
# In 750 disturbed anatomies, 74 of them accused, the answers were those of all samples.
_ROUGHLY = 10

_BONE_HU = 400.0
_WATER_MU = 0.02  # 1/mm; near enough to put a volume in 1/mm on the scale of HU

Float64Array = npt.NDArray[np.float64]

# A loop that projects the same two again and again need not look again.
_found: WeakKeyDictionary[Volume, WeakKeyDictionary[LabelVolume, str | None]] = WeakKeyDictionary()


def mirrored_along(volume: Volume, labels: LabelVolume) -> str | None:
    """Return what labels seem to exchange against their CT; None where they do not, or the CT cannot tell.

    Compares how even the CT is inside the structures where they lie and where their mirror images do: mirrored in the
    middle of their grid along its axes (an array turned over without its affine), or at the world's axes (LPS taken
    for RAS). Only anatomy with different tissues can be judged: at least five structures that fill a twentieth of
    their grid and leave less than a quarter of the CT's variance unexplained, such as lungs with other organs. About
    10,000 samples on a regular grid stand for the volume. What was found of two objects is kept, as
    ``LabelVolume.label_ids`` is: a later change of their arrays is not seen.

    Parameters
    ----------
    volume : Volume
        In HU, or in 1/mm.
    labels : LabelVolume
        On any grid.

    Returns
    -------
    str or None
        Such as "right and left".

    Accuracy
    --------
    On the bundled chest with all structures, labels in their place leave a seventh of the variance that their best
    mirror image leaves. Random subsets of structures, displaced by millimetres, in CTs with effusions, noise and
    uneven organs painted in: of the chest's 445, no false alarm, and 57 % of their mirror images found; of 413 from a
    trunk slab without lungs, no false alarm, and no mirror image found: its tissues are too much alike.

    Examples
    --------
    >>> from drrproj import LabelVolume
    >>> from drrproj.io import read_sample
    >>> from drrproj.mirrored import mirrored_along
    >>> ct, labels = read_sample()
    >>> mirrored_along(ct, labels), mirrored_along(ct, LabelVolume(labels.array[::-1], labels.affine))
    (None, 'right and left')
    """
    of_volume = _found.setdefault(volume, WeakKeyDictionary())
    if labels not in of_volume:
        of_volume[labels] = _exchanged_axes(volume, labels)
    return of_volume[labels]


def _exchanged_axes(volume: Volume, labels: LabelVolume) -> str | None:
    step = max(1, round((labels.array.size / _SAMPLES) ** (1 / 3)))
    sampled = labels.array[step // 2 :: step, step // 2 :: step, step // 2 :: step]
    places = np.argwhere(sampled)
    if len(places) < _LEAST_SHARE * sampled.size:
        return None
    ids, structures = np.unique(sampled[tuple(places.T)], return_inverse=True)
    if len(ids) < _LEAST_STRUCTURES:
        return None
    index = np.column_stack([places * float(step) + step // 2, np.ones(len(places))])
    own = _spread(volume, index @ (volume.voxel_from_world @ labels.affine).T, structures)
    if own is None or own.share < _TELLING or own.whole < _CONTRAST_HU**2:
        return None
    bound = _CLEARLY * own.within
    exchanged = None
    for axes, world_from_index in _mirrored_affines(labels):
        voxel_from_index = (volume.voxel_from_world @ world_from_index).T
        rough = _spread(volume, index[::_ROUGHLY] @ voxel_from_index, structures[::_ROUGHLY])
        if rough is None or rough.within >= 2 * bound or rough.share >= 2 * _TELLING:
            continue
        spread = _spread(volume, index @ voxel_from_index, structures)
        if spread is not None and spread.within < bound and spread.share < _TELLING:
            bound, exchanged = spread.within, axes
    return exchanged


class _Spread(NamedTuple):
    """Variance of the CT in HU: of all samples, and what structures leave unexplained."""

    whole: float
    within: float

    @property
    def share(self) -> float:
        return self.within / self.whole


def _spread(volume: Volume, voxels: Float64Array, structures: npt.NDArray[np.intp]) -> _Spread | None:
    """Return the variances at these voxels; None where too many lie beside the volume, or all are alike."""
    nearest = np.rint(voxels[:, :3]).astype(np.int64)
    inside = np.logical_and(nearest >= 0, nearest < volume.shape).all(axis=1)
    if np.count_nonzero(inside) < _LEAST_OVERLAP * inside.size:
        return None
    values = volume.array[tuple(nearest[inside].T)].astype(np.float64)
    if volume.unit == "1/mm":
        values = (values / _WATER_MU - 1) * 1000
    values = np.clip(np.nan_to_num(values, nan=AIR_HU), AIR_HU, _BONE_HU)
    whole = float(values.var())
    if not whole:
        return None
    counts = np.bincount(structures[inside])
    sums = np.bincount(structures[inside], values)
    within = float(np.square(values).mean() - (np.square(sums) / np.maximum(counts, 1)).sum() / len(values))
    return _Spread(whole, within)


def _mirrored_affines(labels: LabelVolume) -> Iterator[tuple[str, Float64Array]]:
    patient_axes = np.abs(labels.affine[:3, :3]).argmax(axis=0)
    for flips in itertools.product((False, True), repeat=3):
        if any(flips):
            turned = np.diag([*np.where(flips, -1.0, 1.0), 1.0])
            turned[:3, 3] = np.where(flips, np.array(labels.shape) - 1.0, 0.0)
            yield _exchanged(patient_axes[list(flips)]), labels.affine @ turned
    for signs in ((-1.0, 1.0), (1.0, -1.0), (-1.0, -1.0)):
        yield _exchanged(np.flatnonzero(np.less(signs, 0))), np.diag([*signs, 1.0, 1.0]) @ labels.affine


def _exchanged(axes: npt.NDArray[np.intp]) -> str:
    return ", ".join(_AXES[axis] for axis in sorted(set(axes.tolist())))
