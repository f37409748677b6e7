"""The work that drrproj and its peers share: the voxels, the views, and the views in words that peers understand."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import phantom
from cases import directions

from drrproj import Geometry, Volume

Float64Array = npt.NDArray[np.float64]

SIZES = {
    "small": ((256, 256, 256), (256, 256), 1),
    "ap": ((512, 512, 400), (512, 512), 1),
    "around": ((512, 512, 400), (512, 512), 10),
}
"""Voxels, pixels and views by the name of the case."""


class Work(NamedTuple):
    """One case: every program gets these numbers, in whatever order its interface wants them."""

    volume: Volume
    geometry: Geometry

    @property
    def voxels(self) -> npt.NDArray[np.float32]:
        """Attenuation in 1/mm, x fastest in memory."""
        return self.volume.array

    @property
    def spacing(self) -> Float64Array:
        """Millimetres of a voxel; the volume's axes are the world's."""
        return np.diag(self.volume.affine)[:3]

    @property
    def beams(self) -> list[Beam]:
        """All views in other words."""
        return beams_of(self.geometry)


class Beam(NamedTuple):
    """A view whose central ray meets the middle of the detector at a right angle; mm and unit vectors, world axes."""

    source: Float64Array
    first_pixel: Float64Array
    center: Float64Array
    right: Float64Array
    down: Float64Array
    pixel: float

    @classmethod
    def of(cls, view: Float64Array, detector: tuple[int, int]) -> Beam:
        """Take a view matrix apart."""
        source, first, row, column = view[:3].T
        center = first + (detector[0] - 1) / 2 * row + (detector[1] - 1) / 2 * column
        pixel = float(np.linalg.norm(column))
        beam = cls(source, first, center, column / pixel, row / pixel, pixel)
        assert np.allclose(np.linalg.norm(row), pixel)
        assert np.allclose(beam.axes.T @ beam.axes, np.eye(3))
        return beam

    @property
    def sdd(self) -> float:
        """Source to detector."""
        return float(np.linalg.norm(self.center - self.source))

    @property
    def forward(self) -> Float64Array:
        """From the source to the middle of the detector."""
        return (self.center - self.source) / self.sdd

    @property
    def axes(self) -> Float64Array:
        """Columns: right, down and forward."""
        return np.stack([self.right, self.down, self.forward], axis=1)

    def pixels(self, detector: tuple[int, int]) -> Float64Array:
        """World coordinates of every pixel, shape (rows, columns, 3)."""
        rows, columns = (self.pixel * np.arange(count) for count in detector)
        return self.first_pixel + rows[:, None, None] * self.down + columns[:, None] * self.right


def beams_of(geometry: Geometry) -> list[Beam]:
    """Every view of a geometry, taken apart."""
    return [Beam.of(view, geometry.shape) for view in geometry.views]


def prepare(case: str) -> Work:
    """Build a case; the same numbers in every process."""
    return build(*SIZES[case])


def build(size: tuple[int, int, int], detector: tuple[int, int], count: int) -> Work:
    """Build so many views around a volume of that size."""
    volume = Volume(phantom.grains(size), phantom.affine(size), unit="1/mm")
    ap = dict(directions(volume, detector))["AP cone"].views[0]
    if count > 1:
        ap = _moved_back(ap, volume)
    views = [_turned(ap, volume.center, 360 * number / count) for number in range(count)]
    return Work(volume, Geometry(np.stack(views), detector))


def _moved_back(view: Float64Array, volume: Volume) -> Float64Array:
    """Let the same rays end 50 mm behind the circle on which the volume's edges turn.

    Else edges would turn past the detector, and what is there some count and some do not.
    """
    source, first, _, _ = view[:3].T
    edge = np.linalg.norm((volume.corners - volume.center)[:, :2], axis=1).max()
    longer = float((source[1] - volume.center[1] + edge + 50) / (source[1] - first[1]))
    moved: Float64Array = np.array(view)
    moved[:3, 1:] *= longer
    moved[:3, 1] += (1 - longer) * source
    return moved


def _turned(view: Float64Array, center: Float64Array, degrees: float) -> Float64Array:
    """Turn a view about the head-feet axis through a point."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.eye(4)
    turn[:2, :2] = [[cosine, -sine], [sine, cosine]]
    turn[:3, 3] = center - turn[:3, :3] @ center
    return turn @ view
