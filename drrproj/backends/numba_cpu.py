"""The walk of ``csrc/walk.h`` in Numba, for installations without a compiler.

Line for line the same formulas with the same names: one slab of one ray meets at most three voxels. Set-up is in
float64, the walk in float32 relative to the ray's own voxel every few slabs. Threads are Python threads over bands of
rows (the kernels release the GIL), so no threading layer of Numba's is involved and results do not depend on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

try:
    import numba
except ModuleNotFoundError as error:
    if error.name != "numba":
        raise
    numba = None  # type: ignore[assignment]

__all__ = ["prepare", "trace", "why_unavailable"]

Float64Array = npt.NDArray[np.float64]

_BLOCK_SLABS = 16


def why_unavailable() -> str | None:
    """Say why this backend cannot run here; None when it can."""
    return "Numba is not installed; pip install 'drrproj[numba]'" if numba is None else None


@dataclass(frozen=True)
class _PreparedGrid:
    """An array turned so that its memory runs in C order where it can, and the matrices turned with it."""

    voxels: npt.NDArray[Any]
    voxel_from_world: Float64Array
    world_from_voxel: Float64Array


@dataclass(frozen=True)
class Prepared:
    """Arrays described for the walk; keeps them alive."""

    volume: _PreparedGrid | None
    labels: _PreparedGrid | None
    knots: npt.NDArray[np.float32]
    slope_changes: npt.NDArray[np.float32]
    label_ids: npt.NDArray[np.int64]


def _prepared_grid(
    voxels: npt.NDArray[Any] | None, voxel_from_world: Float64Array | None, world_from_voxel: Float64Array | None
) -> _PreparedGrid | None:
    if voxels is None or voxel_from_world is None or world_from_voxel is None:
        return None
    # Numba compiles anew for every memory order; with the axes sorted, C and Fortran order are one.
    axes = sorted(range(3), key=lambda axis: -abs(voxels.strides[axis]))
    return _PreparedGrid(
        voxels.transpose(axes), voxel_from_world[[*axes, 3]].copy(), world_from_voxel[:, [*axes, 3]].copy()
    )


def prepare(
    *,
    volume: npt.NDArray[Any] | None,
    volume_voxel_from_world: Float64Array | None,
    volume_world_from_voxel: Float64Array | None,
    knots: Sequence[float],
    slope_changes: Sequence[float],
    labels: npt.NDArray[Any] | None,
    labels_voxel_from_world: Float64Array | None,
    labels_world_from_voxel: Float64Array | None,
    label_ids: Sequence[int],
) -> Prepared:
    """Describe the arrays for the walk; see :class:`drrproj.backends.Backend`."""
    return Prepared(
        _prepared_grid(volume, volume_voxel_from_world, volume_world_from_voxel),
        _prepared_grid(labels, labels_voxel_from_world, labels_world_from_voxel),
        np.asarray(knots, dtype=np.float32),
        np.asarray(slope_changes, dtype=np.float32),
        np.asarray(label_ids, dtype=np.int64),
    )


def trace(
    prepared: Prepared, views: Float64Array, shape: tuple[int, int], outputs: Sequence[str], threads: int
) -> dict[str, npt.NDArray[Any]]:
    """Walk every ray of every view; see :class:`drrproj.backends.Backend`."""
    rows, columns = shape
    labels = len(prepared.label_ids)
    shapes: dict[str, tuple[tuple[int, ...], type]] = {
        "line_integral": ((len(views), rows, columns), np.float32),
        "path_length": ((labels, len(views), rows, columns), np.float32),
        "mask": ((labels, len(views), rows, (columns + 7) // 8), np.uint8),
    }
    results: dict[str, npt.NDArray[Any]] = {
        output: np.zeros(shapes[output][0], shapes[output][1]) for output in outputs
    }
    no_image, no_path, no_mask = (np.zeros((0,) * n, t) for n, t in ((3, np.float32), (4, np.float32), (4, np.uint8)))
    walks = []
    if prepared.volume is not None and "line_integral" in results:
        walks.append((prepared.volume, (results["line_integral"], no_path, no_mask)))
    if prepared.labels is not None and {"path_length", "mask"} & results.keys():
        walks.append((prepared.labels, (no_image, results.get("path_length", no_path), results.get("mask", no_mask))))

    kernel = _kernel()
    # More bands than threads, so that a thread with rays through air does not wait for the others.
    band = max(1, -(-rows // (8 * threads)))
    calls: list[tuple[Any, ...]] = []
    for grid, arrays in walks:
        metric = grid.world_from_voxel[:3, :3].T @ grid.world_from_voxel[:3, :3]
        for index, view in enumerate(views):
            in_voxels = grid.voxel_from_world @ view
            # Voxel i covers [i, i + 1) in the walk, so that floor() names it; directions do not shift.
            in_voxels[:3] += 0.5 * in_voxels[3]
            calls.extend(
                (
                    *(grid.voxels, in_voxels, metric, index, first, min(first + band, rows), columns),
                    *(prepared.knots, prepared.slope_changes, prepared.label_ids, *arrays),
                )
                for first in range(0, rows, band)
            )
    if threads == 1:
        for call in calls:
            kernel(*call)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda call: kernel(*call), calls))
    return results


@cache
def _kernel() -> Any:
    """Compile on first use: importing this module must not cost what compiling does."""

    def njit(function: Any) -> Any:
        try:
            return numba.njit(nogil=True, cache=True, error_model="numpy")(function)
        except RuntimeError:
            # Neither the package nor the home can be written: compile anew in each process.
            return numba.njit(nogil=True, error_model="numpy")(function)

    crossing_of, crossing_share, set_up = njit(_crossing_of), njit(_crossing_share), njit(_set_up)
    slab_shares, to_attenuation = njit(_slab_shares), njit(_to_attenuation)
    channel_of, end_run = njit(_channel_of), njit(_end_run)
    f32 = np.float32

    def walk_rows(  # type: ignore[no-untyped-def]
        voxels, view, metric, index, first_row, last_row, columns,
        knots, slope_changes, label_ids, line_integral, path_length, mask,
    ):  # fmt: skip
        """Walk an image volume when there is a line integral to write, else a label volume."""
        size, image = voxels.shape, len(line_integral) > 0
        for row in range(first_row, last_row):
            for column in range(columns):
                x, u, v, u0, v0, du, dv, begin, end, mm_per_slab = set_up(view, metric, size, row, column)
                if not begin < end:
                    continue
                slope_u, offset_u, step_u = crossing_of(f32(du))
                slope_v, offset_v, step_v = crossing_of(f32(dv))
                total, block_sum = f32(0.0), f32(0.0)
                label_id, run, channel = np.int64(0), f32(0.0), np.int64(-1)
                u_first, v_first, u_begin, v_begin = 0, 0, f32(0.0), f32(0.0)
                first, last = int(np.floor(begin)), int(np.ceil(end))
                for k in range(first, last):
                    s = (k - first) % _BLOCK_SLABS
                    if s == 0:
                        u_here, v_here = u0 + k * du, v0 + k * dv
                        u_first, v_first = int(np.floor(u_here)), int(np.floor(v_here))
                        u_begin, v_begin = f32(u_here - u_first), f32(v_here - v_first)
                        total, block_sum = total + block_sum, f32(0.0)
                    u_now, v_now = u_begin + f32(s) * f32(du), v_begin + f32(s) * f32(dv)
                    u_moved, v_moved = np.floor(u_now), np.floor(v_now)
                    at_u = crossing_share(u_now - u_moved, slope_u, offset_u)
                    at_v = crossing_share(v_now - v_moved, slope_v, offset_v)
                    stay, across_u, across_v, across_both = slab_shares(
                        at_u, at_v, f32(max(begin - k, 0.0)), f32(min(end - k, 1.0))
                    )
                    iu, iv = u_first + int(u_moved), v_first + int(v_moved)
                    for corner in range(4):
                        share = (stay, across_u, across_v, across_both)[corner]
                        if not share > f32(0.0):
                            continue
                        ju = iu + step_u if corner & 1 else iu
                        jv = iv + step_v if corner & 2 else iv
                        inside = 0 <= ju < size[u] and 0 <= jv < size[v]
                        # Naming the array's axes one by one costs a branch; an index tuple built here costs more.
                        i0, i1, i2 = (k, ju, jv) if x == 0 else (jv, k, ju) if x == 1 else (ju, jv, k)
                        if image:
                            if inside:
                                mu = to_attenuation(f32(voxels[i0, i1, i2]), knots, slope_changes)
                                block_sum += share * mu
                            continue
                        here = np.int64(voxels[i0, i1, i2]) if inside else np.int64(0)
                        if here != label_id:
                            end_run(path_length, mask, channel, index, row, column, run * f32(mm_per_slab))
                            label_id, run, channel = here, f32(0.0), channel_of(label_ids, here)
                        run += share
                if image:
                    line_integral[index, row, column] = (total + block_sum) * f32(mm_per_slab)
                else:
                    end_run(path_length, mask, channel, index, row, column, run * f32(mm_per_slab))

    return njit(walk_rows)


def _set_up(view, metric, size, row, column):  # type: ignore[no-untyped-def]
    """Follow a pixel's ray along its steepest axis x: ``u(x) = u0 + x * du``, from ``begin`` to ``end``."""
    parallel = view[3, 0] == 0.0
    point_0 = view[0, 1] + row * view[0, 2] + column * view[0, 3]
    point_1 = view[1, 1] + row * view[1, 2] + column * view[1, 3]
    point_2 = view[2, 1] + row * view[2, 2] + column * view[2, 3]
    direction_0 = -view[0, 0] if parallel else point_0 - view[0, 0]
    direction_1 = -view[1, 0] if parallel else point_1 - view[1, 0]
    direction_2 = -view[2, 0] if parallel else point_2 - view[2, 0]
    steep_0, steep_1, steep_2 = abs(direction_0), abs(direction_1), abs(direction_2)
    x = 0 if steep_0 >= steep_1 and steep_0 >= steep_2 else 1 if steep_1 >= steep_2 else 2
    u, v = (x + 1) % 3, (x + 2) % 3
    point, direction = (point_0, point_1, point_2), (direction_0, direction_1, direction_2)
    if direction[x] == 0.0:
        return x, u, v, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    per_slab = 1.0 / direction[x]
    du, dv = direction[u] * per_slab, direction[v] * per_slab
    u0, v0 = point[u] - point[x] * du, point[v] - point[x] * dv
    begin, end = 0.0, float(size[x])
    if not parallel:
        begin = max(begin, min(view[x, 0], point[x]))
        end = min(end, max(view[x, 0], point[x]))
    # Slabs far outside the box are spared; those near its sides are walked, where the test of each voxel decides.
    for start, motion, length in ((u0, du, float(size[u])), (v0, dv, float(size[v]))):
        if motion != 0.0:
            enters, leaves = -start / motion, (length - start) / motion
            begin = max(begin, np.floor(min(enters, leaves)) - 1.0)
            end = min(end, np.ceil(max(enters, leaves)) + 1.0)
        elif start < 0.0 or start >= length:
            end = begin
    squared = 0.0
    for i in range(3):
        for j in range(3):
            squared += metric[i, j] * direction[i] * direction[j]
    return x, u, v, u0, v0, du, dv, begin, end, np.sqrt(squared) * abs(per_slab)


def _crossing_of(motion):  # type: ignore[no-untyped-def]
    huge = np.float32(1e30)
    slabs_per_voxel = -huge
    if motion != np.float32(0.0):
        slabs_per_voxel = min(max(np.float32(-1.0) / motion, -huge), huge)
    if motion < np.float32(0.0):
        return slabs_per_voxel, np.float32(0.0), -1
    return slabs_per_voxel, -slabs_per_voxel, 1


def _crossing_share(fraction, slope, offset):  # type: ignore[no-untyped-def]
    return min(np.float32(1.0), fraction * slope + offset)


def _slab_shares(at_u, at_v, begin, end):  # type: ignore[no-untyped-def]
    u, v = min(max(at_u, begin), end), min(max(at_v, begin), end)
    zero = np.float32(0.0)
    return min(u, v) - begin, max(zero, v - u), max(zero, u - v), end - max(u, v)


def _to_attenuation(value, knots, slope_changes):  # type: ignore[no-untyped-def]
    zero = np.float32(0.0)
    if np.isnan(value):
        return zero
    if len(knots) == 0:
        return value
    mu = zero
    for bend in range(len(knots)):
        mu += slope_changes[bend] * max(value - knots[bend], zero)
    return mu


def _channel_of(label_ids, label_id):  # type: ignore[no-untyped-def]
    place = np.searchsorted(label_ids, label_id)
    if place < len(label_ids) and label_ids[place] == label_id:
        return np.int64(place)
    return np.int64(-1)


def _end_run(path_length, mask, channel, index, row, column, mm):  # type: ignore[no-untyped-def]
    if channel < 0 or not mm > np.float32(0.0):
        return
    if channel < len(path_length):
        path_length[channel, index, row, column] += mm
    if channel < len(mask):
        mask[channel, index, row, column // 8] |= np.uint8(0x80 >> (column % 8))
