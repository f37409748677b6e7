"""What the bench holds answers against: single rays in float64, cut at every voxel face, cuts sorted.

Nothing here comes from the package, and the method is another one: the package walks slabs of the steepest axis.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]
Attenuation = Callable[[Float64Array], Float64Array]


class Cut(NamedTuple):
    """The pieces of a ray inside a grid: mm of each, the voxel it lies in, and mm from the source to the first.

    A parallel beam has no source: there the pixel is at 0.
    """

    mm: Float64Array
    voxels: tuple[npt.NDArray[np.int64], ...]
    start: float


def cut_ray(
    view: Float64Array, row: float, column: float, shape: tuple[int, ...], world_from_voxel: Float64Array
) -> Cut:
    """Cut the ray of one pixel at every voxel face."""
    source, pixel = view[:, 0], view @ (0.0, 1.0, row, column)
    is_parallel = source[3] == 0
    start, direction = (pixel, -source) if is_parallel else (source, pixel - source)
    voxel_from_world = np.linalg.inv(world_from_voxel)
    # Shifted by half a voxel, so that voxel i covers [i, i + 1).
    at, step = (voxel_from_world @ start)[:3] + 0.5, (voxel_from_world @ direction)[:3]
    moves = np.flatnonzero(step)
    cuts = [(np.arange(shape[axis] + 1) - at[axis]) / step[axis] for axis in moves]
    enter = max(min(cut[0], cut[-1]) for cut in cuts)
    leave = min(max(cut[0], cut[-1]) for cut in cuts)
    if not is_parallel:
        enter, leave = max(enter, 0.0), min(leave, 1.0)
    beside = any(step[axis] == 0 and not 0 <= at[axis] < shape[axis] for axis in range(3))
    if beside or leave <= enter:
        return Cut(np.zeros(0), tuple(np.zeros((3, 0), np.int64)), 0.0)
    t = np.unique(np.clip(np.concatenate(cuts), enter, leave))
    middle = at + (t[1:] + t[:-1])[:, None] / 2 * step
    voxels = np.clip(np.floor(middle).astype(np.int64), 0, np.array(shape) - 1)
    scale = np.linalg.norm(direction[:3])
    return Cut(np.diff(t) * scale, tuple(voxels.T), float(t[0] * scale))


def pixels_of(view: Float64Array, points: Float64Array, detector: tuple[int, int]) -> npt.NDArray[np.int64]:
    """Row and column of the pixels nearest to the projections of world points, as far as the detector has them."""
    _, weight, row, column = np.linalg.solve(view, np.column_stack([points, np.ones(len(points))]).T)
    pixels = np.rint(np.stack([row, column], axis=1) / weight[:, None]).astype(np.int64)
    on_detector: npt.NDArray[np.bool_] = ((pixels >= 0) & (pixels < detector)).all(axis=1)
    return np.compress(on_detector, pixels, axis=0)


def line_integrals(
    values: npt.NDArray[Any],
    world_from_voxel: Float64Array,
    view: Float64Array,
    pixels: npt.NDArray[np.int64],
    attenuation: Attenuation | None = None,
) -> Float64Array:
    """Sum of value times mm along the rays of some pixels, shape (pixels,); ``attenuation`` maps values first."""
    integrals = np.zeros(len(pixels))
    for place, (row, column) in enumerate(pixels):
        mm, voxels, _ = cut_ray(view, row, column, values.shape, world_from_voxel)
        met = values[voxels].astype(np.float64)
        integrals[place] = mm @ (met if attenuation is None else attenuation(met))
    return integrals


def path_lengths(
    labels: npt.NDArray[Any],
    world_from_voxel: Float64Array,
    view: Float64Array,
    pixels: npt.NDArray[np.int64],
    label_ids: tuple[int, ...],
) -> Float64Array:
    """Millimetres of the rays of some pixels inside each label, shape (labels, pixels)."""
    lengths = np.zeros((len(label_ids), len(pixels)))
    for place, (row, column) in enumerate(pixels):
        mm, voxels, _ = cut_ray(view, row, column, labels.shape, world_from_voxel)
        lengths[:, place] = np.bincount(labels[voxels], weights=mm, minlength=max(label_ids) + 1)[list(label_ids)]
    return lengths


def shares(
    values: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    world_from_voxel: Float64Array,
    view: Float64Array,
    pixels: npt.NDArray[np.int64],
    label_ids: tuple[int, ...],
    attenuation: Attenuation | None = None,
) -> Float64Array:
    """Sum of value times mm along the rays of some pixels inside each label, shape (labels, pixels); one grid."""
    sums = np.zeros((len(label_ids), len(pixels)))
    for place, (row, column) in enumerate(pixels):
        mm, voxels, _ = cut_ray(view, row, column, labels.shape, world_from_voxel)
        met = values[voxels].astype(np.float64)
        weights = mm * (met if attenuation is None else attenuation(met))
        sums[:, place] = np.bincount(labels[voxels], weights=weights, minlength=max(label_ids) + 1)[list(label_ids)]
    return sums


def depths(
    labels: npt.NDArray[Any],
    world_from_voxel: Float64Array,
    view: Float64Array,
    pixels: npt.NDArray[Any],
    label_ids: tuple[int, ...],
    shortest: float = 0.0,
) -> tuple[Float64Array, Float64Array]:
    """Millimetres from the source to where a ray first meets and last leaves each label, shape (labels, pixels) each.

    Pieces shorter than ``shortest`` do not count. NaN where the label is not met.
    """
    entry, leave = np.full((2, len(label_ids), len(pixels)), np.nan)
    for place, (row, column) in enumerate(pixels):
        mm, voxels, start = cut_ray(view, row, column, labels.shape, world_from_voxel)
        counts = mm > shortest
        ends = start + np.cumsum(mm)
        met = labels[voxels][counts]
        first, last = np.full(max(label_ids) + 1, np.inf), np.full(max(label_ids) + 1, -np.inf)
        np.minimum.at(first, met, (ends - mm)[counts])
        np.maximum.at(last, met, ends[counts])
        is_met = np.isfinite(first[list(label_ids)])
        entry[is_met, place], leave[is_met, place] = (line[list(label_ids)][is_met] for line in (first, last))
    return entry, leave
