"""What the bench holds answers against: single rays in float64, cut at every voxel face, cuts sorted.

Nothing here comes from the package, and the method is another one: the package walks slabs of the steepest axis.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]
Attenuation = Callable[[Float64Array], Float64Array]


def cut_ray(
    view: Float64Array, row: int, column: int, shape: tuple[int, ...], world_from_voxel: Float64Array
) -> tuple[Float64Array, tuple[npt.NDArray[np.int64], ...]]:
    """Cut the ray of one pixel at every voxel face: the mm of each piece, and the index of the voxel it lies in."""
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
        return np.zeros(0), tuple(np.zeros((3, 0), np.int64))
    t = np.unique(np.clip(np.concatenate(cuts), enter, leave))
    middle = at + (t[1:] + t[:-1])[:, None] / 2 * step
    voxels = np.clip(np.floor(middle).astype(np.int64), 0, np.array(shape) - 1)
    return np.diff(t) * np.linalg.norm(direction[:3]), tuple(voxels.T)


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
        mm, voxels = cut_ray(view, row, column, values.shape, world_from_voxel)
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
        mm, voxels = cut_ray(view, row, column, labels.shape, world_from_voxel)
        lengths[:, place] = np.bincount(labels[voxels], weights=mm, minlength=max(label_ids) + 1)[list(label_ids)]
    return lengths
