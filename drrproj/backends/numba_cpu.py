"""The walk of ``csrc/walk.h`` in Numba, for installations without a compiler.

Line for line the same formulas with the same names: one slab of one ray meets at most three voxels. As in the
compiled engine, a tile of rays is walked block by block, and a block's voxels are staged in a brick that stays in
cache; what lies outside of the volume is zero there, so the walk asks nothing. The lanes are the slabs of one ray.
Threads are Python threads over tiles (the kernels release the GIL), so no threading layer of Numba's is involved and
results do not depend on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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

_BLOCK_SLABS = 32
_BRICK_VOXELS = 256 * 1024
# Large tiles read memory in long runs and share more of it; columns are whole bytes of a mask.
_TILES = ((64, 64), (32, 64), (32, 32), (16, 16), (8, 8))
# Boxes allow for the rounding of the walk.
_BOX_MARGIN = 1e-3

_ZERO, _ONE = np.float32(0.0), np.float32(1.0)

# A ray along its steepest axis x, u(x) = u0 + x * du from begin to end, and what it has collected so far.
_RAY = np.dtype(
    [
        *((name, np.float64) for name in ("u0", "v0", "du", "dv", "begin", "end")),
        *((name, np.float32) for name in ("mm_per_slab", "sum", "run")),
        *((name, np.int64) for name in ("label_id", "row", "column")),
    ],
    align=True,
)


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
    bends: tuple[tuple[np.float32, np.float32], ...]
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
        tuple((np.float32(knot), np.float32(change)) for knot, change in zip(knots, slope_changes, strict=True)),
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
    no_path, no_mask = (np.zeros((0,) * 4, dtype) for dtype in (np.float32, np.uint8))
    # Numba compiles what is None away: one walk for an image, one for labels.
    walks: list[tuple[_PreparedGrid, Any, Any, Any]] = []
    if prepared.volume is not None and "line_integral" in results:
        walks.append((prepared.volume, prepared.bends, results["line_integral"], None))
    if prepared.labels is not None and {"path_length", "mask"} & results.keys():
        paths = (prepared.label_ids, results.get("path_length", no_path), results.get("mask", no_mask))
        walks.append((prepared.labels, None, None, paths))

    calls: list[tuple[Any, ...]] = []
    for grid, bends, line_integral, paths in walks:
        metric = grid.world_from_voxel[:3, :3].T @ grid.world_from_voxel[:3, :3]
        for index, view in enumerate(views):
            in_voxels = grid.voxel_from_world @ view
            # Voxel i covers [i, i + 1) in the walk, so that floor() names it; directions do not shift.
            in_voxels[:3] += 0.5 * in_voxels[3]
            tile_rows, tile_columns = _tile_shape(in_voxels, grid.voxels.shape, shape, -(-4 * threads // len(views)))
            for row in range(0, rows, tile_rows):
                for column in range(0, columns, tile_columns):
                    tile = (row, min(row + tile_rows, rows), column, min(column + tile_columns, columns))
                    calls.append((grid.voxels, bends, in_voxels, metric, index, tile, line_integral, paths))

    def walk(call: tuple[Any, ...]) -> None:
        voxels, bends, _, _, _, (first_row, last_row, first_column, last_column) = call[:6]
        brick = np.empty(_BRICK_VOXELS, voxels.dtype if bends is None else np.float32)
        _walk_tile(*call, brick, np.empty((last_row - first_row) * (last_column - first_column), _RAY))

    if threads == 1:
        for call in calls:
            walk(call)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(walk, calls))
    return results


def _tile_shape(
    view: Float64Array, volume_shape: tuple[int, ...], detector_shape: tuple[int, int], tiles_wanted: int
) -> tuple[int, int]:
    """Choose the largest tile whose box fits the brick, in the middle of view and volume, and that gives enough tiles.

    A ray's result does not depend on the tile it is in.
    """
    middle = (np.array(detector_shape) - 1) / 2
    for tile in _TILES:
        half = np.minimum(tile, detector_shape) / 2
        offsets = np.array([(0, 0), (-1, -1), (-1, 1), (1, -1), (1, 1)]) * half
        points = view[:3, 1] + (middle + offsets) @ view[:3, 2:].T
        directions = points - view[:3, 0] if view[3, 0] else np.broadcast_to(-view[:3, 0], points.shape)
        x = np.abs(directions[0]).argmax()
        planes = volume_shape[x] / 2 + np.array([[-0.5], [0.5]]) * _BLOCK_SLABS
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = (planes - points[:, x]) / directions[:, x]
            box = np.ptp(points + shares[..., None] * directions, axis=(0, 1)) + 1
        tiles = np.prod(-(-np.array(detector_shape) // tile))
        if np.prod(box) <= _BRICK_VOXELS and tiles >= tiles_wanted:
            break
    return tile


def _njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile at the first call, once per machine where that can be kept."""

    def decorate(function: Callable[..., Any]) -> Any:
        if why_unavailable() is not None:
            return function
        try:
            return numba.njit(nogil=True, cache=True, error_model="numpy", **options)(function)
        except RuntimeError:
            # Neither the package nor the home can be written: compile anew in each process.
            return numba.njit(nogil=True, error_model="numpy", **options)(function)

    return decorate


@_njit()
def _walk_tile(voxels, bends, view, metric, index, tile, line_integral, paths, brick, rays):  # type: ignore[no-untyped-def]
    """Walk a tile's rays through an image, or through labels when there is no line integral to write."""
    at, share = np.empty(3 * _BLOCK_SLABS, np.int32), np.empty(3 * _BLOCK_SLABS, np.float32)
    for x in range(3):
        # The array's axes are sorted by stride: u is the one whose voxels lie closer together.
        v, u = (1, 2) if x == 0 else (0, 2) if x == 1 else (0, 1)
        count = _set_up(view, metric, voxels.shape, tile, x, u, v, rays)
        if count == 0:
            continue
        first, last = np.inf, -np.inf
        for i in range(count):
            first, last = min(first, rays[i].begin), max(last, rays[i].end)
        # Blocks begin at multiples of their size, so that a ray's sum does not depend on the rays beside it.
        for k in range(int(np.floor(first)) // _BLOCK_SLABS * _BLOCK_SLABS, int(np.ceil(last)), _BLOCK_SLABS):
            begin = 0
            while begin < count:
                end, n_v, n_u, box_v, box_u = _choose_box(rays, begin, count, k)
                # The brick's axes are those of the array, so that runs of memory stay runs.
                if x == 0:
                    corner, size = (k, box_v, box_u), (_BLOCK_SLABS, n_v, n_u)
                elif x == 1:
                    corner, size = (box_v, k, box_u), (n_v, _BLOCK_SLABS, n_u)
                else:
                    corner, size = (box_v, box_u, k), (n_v, n_u, _BLOCK_SLABS)
                seen = _stage(voxels, corner, size, brick, bends)
                for i in range(begin, end):
                    ray = rays[i]
                    if not _meets(ray, k):
                        continue
                    if seen:
                        strides = (size[1] * size[2], size[2], 1)
                        _walk_block(ray, k, box_u, box_v, strides[u], strides[v], strides[x], at, share)
                        if line_integral is not None:
                            ray.sum += _sum(brick, at, share)
                        if paths is not None:
                            _follow_labels(ray, k, brick, at, share, index, paths)
                    elif paths is not None and ray.label_id != 0:
                        _change_label(ray, 0, index, paths)
                begin = end
        for i in range(count):
            if line_integral is not None:
                line_integral[index, rays[i].row, rays[i].column] = rays[i].sum * rays[i].mm_per_slab
            if paths is not None:
                _end_run(rays[i], index, paths)


@_njit()
def _set_up(view, metric, shape, tile, x, u, v, rays):  # type: ignore[no-untyped-def]
    """Describe those rays of a tile whose steepest axis is x and that may meet the volume; return how many."""
    parallel = view[3, 0] == 0.0
    first_row, last_row, first_column, last_column = tile
    count = 0
    for row in range(first_row, last_row):
        for column in range(first_column, last_column):
            point_0 = view[0, 1] + row * view[0, 2] + column * view[0, 3]
            point_1 = view[1, 1] + row * view[1, 2] + column * view[1, 3]
            point_2 = view[2, 1] + row * view[2, 2] + column * view[2, 3]
            direction_0 = -view[0, 0] if parallel else point_0 - view[0, 0]
            direction_1 = -view[1, 0] if parallel else point_1 - view[1, 0]
            direction_2 = -view[2, 0] if parallel else point_2 - view[2, 0]
            steep_0, steep_1, steep_2 = abs(direction_0), abs(direction_1), abs(direction_2)
            steepest = 0 if steep_0 >= steep_1 and steep_0 >= steep_2 else 1 if steep_1 >= steep_2 else 2
            point, direction = (point_0, point_1, point_2), (direction_0, direction_1, direction_2)
            if steepest != x or direction[x] == 0.0:
                continue
            per_slab = 1.0 / direction[x]
            du, dv = direction[u] * per_slab, direction[v] * per_slab
            u0, v0 = point[u] - point[x] * du, point[v] - point[x] * dv
            begin, end = 0.0, float(shape[x])
            if not parallel:
                begin = max(begin, min(view[x, 0], point[x]))
                end = min(end, max(view[x, 0], point[x]))
            # Slabs far beside the volume are spared; those near its sides are walked, through the brick's zeros.
            for start, motion, length in ((u0, du, float(shape[u])), (v0, dv, float(shape[v]))):
                if motion != 0.0:
                    enters, leaves = -start / motion, (length - start) / motion
                    begin = max(begin, np.floor(min(enters, leaves)) - 1.0)
                    end = min(end, np.ceil(max(enters, leaves)) + 1.0)
                elif start < 0.0 or start >= length:
                    end = begin
            if not begin < end:
                continue
            squared = 0.0
            for i in range(3):
                for j in range(3):
                    squared += metric[i, j] * direction[i] * direction[j]
            ray = rays[count]
            ray.u0, ray.v0, ray.du, ray.dv, ray.begin, ray.end = u0, v0, du, dv, begin, end
            ray.mm_per_slab = np.sqrt(squared) * abs(per_slab)
            ray.sum = ray.run = _ZERO
            ray.label_id = 0
            ray.row, ray.column = row, column
            count += 1
    return count


@_njit()
def _meets(ray, k):  # type: ignore[no-untyped-def]
    return ray.begin < k + _BLOCK_SLABS and ray.end > k


@_njit()
def _choose_box(rays, begin, end, k):  # type: ignore[no-untyped-def]
    """Choose the box of the rays from `begin` on in the block from plane k on, for fewer rays if it does not fit."""
    while True:
        low_u, high_u, low_v, high_v = np.inf, -np.inf, np.inf, -np.inf
        for i in range(begin, end):
            ray = rays[i]
            if _meets(ray, k):
                u, v = ray.u0 + k * ray.du, ray.v0 + k * ray.dv
                u_after, v_after = u + _BLOCK_SLABS * ray.du, v + _BLOCK_SLABS * ray.dv
                low_u, high_u = min(low_u, min(u, u_after)), max(high_u, max(u, u_after))
                low_v, high_v = min(low_v, min(v, v_after)), max(high_v, max(v, v_after))
        if not low_u < np.inf:
            return end, 0, 0, 0, 0
        box_u, box_v = int(np.floor(low_u - _BOX_MARGIN)), int(np.floor(low_v - _BOX_MARGIN))
        n_u, n_v = int(np.floor(high_u + _BOX_MARGIN)) - box_u + 1, int(np.floor(high_v + _BOX_MARGIN)) - box_v + 1
        if n_u * n_v * _BLOCK_SLABS <= _BRICK_VOXELS:
            return end, n_v, n_u, box_v, box_u
        end = begin + (end - begin + 1) // 2


@_njit()
def _stage(voxels, corner, size, brick, bends):  # type: ignore[no-untyped-def]
    """Copy a box of voxels into the brick, with zeros outside of the volume; False when all of it is zero."""
    n0, n1, n2 = size
    begin_0, end_0 = max(corner[0], 0), min(corner[0] + n0, voxels.shape[0])
    begin_1, end_1 = max(corner[1], 0), min(corner[1] + n1, voxels.shape[1])
    begin_2, end_2 = max(corner[2], 0), min(corner[2] + n2, voxels.shape[2])
    if begin_0 >= end_0 or begin_1 >= end_1 or begin_2 >= end_2:
        return False
    if (end_0 - begin_0) * (end_1 - begin_1) * (end_2 - begin_2) < n0 * n1 * n2:
        brick[: n0 * n1 * n2] = 0
    for i0 in range(begin_0, end_0):
        for i1 in range(begin_1, end_1):
            row = ((i0 - corner[0]) * n1 + i1 - corner[1]) * n2 + begin_2 - corner[2]
            _stage_row(voxels[i0, i1, begin_2:end_2], brick[row : row + end_2 - begin_2], bends)
    seen = 0
    for i in range(n0 * n1 * n2):
        seen |= np.int32(brick[i] != 0)
    return seen != 0


@_njit()
def _stage_row(values, row, bends):  # type: ignore[no-untyped-def]
    for i in range(len(row)):
        if bends is None:
            row[i] = values[i]
        else:
            row[i] = _to_attenuation(np.float32(values[i]), bends)


@_njit()
def _to_attenuation(value, bends):  # type: ignore[no-untyped-def]
    if value != value:
        return _ZERO
    if len(bends) == 0:
        return value
    mu = _ZERO
    for knot, slope_change in bends:
        mu += slope_change * max(value - knot, _ZERO)
    return mu


@_njit()
def _crossing_of(motion):  # type: ignore[no-untyped-def]
    huge = np.float32(1e30)
    slabs_per_voxel = -huge
    if motion != _ZERO:
        slabs_per_voxel = min(max(-_ONE / motion, -huge), huge)
    if motion < _ZERO:
        return slabs_per_voxel, _ZERO, -_ONE
    return slabs_per_voxel, -slabs_per_voxel, _ONE


@_njit(fastmath={"contract"})
def _walk_block(ray, k, box_u, box_v, stride_u, stride_v, stride_x, at, share):  # type: ignore[no-untyped-def]
    """Find the three voxels of every slab, as places in the brick, and their shares.

    Places are kept as floats, which hold whole numbers of this size exactly.
    """
    u_here, v_here = ray.u0 + k * ray.du, ray.v0 + k * ray.dv
    u_first, v_first = np.floor(u_here), np.floor(v_here)
    u_begin, v_begin = np.float32(u_here - u_first), np.float32(v_here - v_first)
    du, dv = np.float32(ray.du), np.float32(ray.dv)
    begin, end = np.float32(ray.begin - k), np.float32(ray.end - k)
    origin = np.float32((u_first - box_u) * stride_u + (v_first - box_v) * stride_v)
    stride_u, stride_v, stride_x = np.float32(stride_u), np.float32(stride_v), np.float32(stride_x)
    slope_u, offset_u, step_u = _crossing_of(du)
    slope_v, offset_v, step_v = _crossing_of(dv)
    step_u, step_v = step_u * stride_u, step_v * stride_v
    for s in range(_BLOCK_SLABS):
        step = np.float32(np.int32(s))
        u, v = u_begin + step * du, v_begin + step * dv
        moved_u, moved_v = np.floor(u), np.floor(v)
        starts, stops = min(max(begin - step, _ZERO), _ONE), min(max(end - step, _ZERO), _ONE)
        at_u = min(max((u - moved_u) * slope_u + offset_u, starts), stops)
        at_v = min(max((v - moved_v) * slope_v + offset_v, starts), stops)
        # A crossing that the ray does not reach leads nowhere, so that no voxel is read which it does not meet.
        to_u = step_u if at_u < stops else _ZERO
        to_v = step_v if at_v < stops else _ZERO
        stay = origin + step * stride_x + moved_u * stride_u + moved_v * stride_v
        at[s] = np.int32(stay)
        at[_BLOCK_SLABS + s] = np.int32(stay + (to_u if at_u < at_v else to_v))
        at[2 * _BLOCK_SLABS + s] = np.int32(stay + (to_u + to_v))
        share[s] = min(at_u, at_v) - starts
        share[_BLOCK_SLABS + s] = abs(at_u - at_v)
        share[2 * _BLOCK_SLABS + s] = stops - max(at_u, at_v)


@_njit(fastmath={"contract", "reassoc"})
def _sum(brick, at, share):  # type: ignore[no-untyped-def]
    total = _ZERO
    for i in range(3 * _BLOCK_SLABS):
        total += share[i] * brick[np.uint32(at[i])]
    return total


@_njit()
def _follow_labels(ray, k, brick, at, share, index, paths):  # type: ignore[no-untyped-def]
    """Add a block to the run of the label that a ray is in, at once where the ray meets no other."""
    others = 0
    for i in range(3 * _BLOCK_SLABS):
        others += np.int32(brick[np.uint32(at[i])] != ray.label_id)
    if others == 0:
        ray.run += np.float32(min(ray.end - k, float(_BLOCK_SLABS)) - max(ray.begin - k, 0.0))
        return
    for s in range(_BLOCK_SLABS):
        for i in range(s, 3 * _BLOCK_SLABS, _BLOCK_SLABS):
            if not share[i] > _ZERO:
                continue
            label_id = np.int64(brick[np.uint32(at[i])])
            if label_id != ray.label_id:
                _change_label(ray, label_id, index, paths)
            ray.run += share[i]


@_njit()
def _change_label(ray, label_id, index, paths):  # type: ignore[no-untyped-def]
    _end_run(ray, index, paths)
    ray.label_id, ray.run = label_id, _ZERO


@_njit()
def _end_run(ray, index, paths):  # type: ignore[no-untyped-def]
    """Make the run of the label that a ray was in path length and mask."""
    label_ids, path_length, mask = paths
    channel = np.searchsorted(label_ids, ray.label_id)
    mm = ray.run * ray.mm_per_slab
    if channel == len(label_ids) or label_ids[channel] != ray.label_id or not mm > _ZERO:
        return
    if channel < len(path_length):
        path_length[channel, index, ray.row, ray.column] += mm
    if channel < len(mask):
        mask[channel, index, ray.row, ray.column // 8] |= np.uint8(0x80 >> (ray.column % 8))
