"""The walk of ``csrc/walk.h`` in Numba, for installations without a compiler.

The same exact shares: one slab of one ray meets at most three voxels. Crossings are counted from the voxel's lower
face, where the compiled engine counts them from its centre. As there, a tile of rays is walked block by block, and a
block's voxels are staged in a brick that stays in cache; what lies outside of the volume is zero in it, so the walk
asks nothing. The lanes are the slabs of one ray. What a ray collects grows with the label values that its tile meets,
and goes to the outputs when the tile is done.
Threads are Python threads over tiles (the kernels release the GIL), so no threading layer of Numba's is involved and
results do not depend on them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
# What a tile's rays may collect: with more label values the tiles are smaller.
_COLLECTED_BYTES = 64 << 20
# Label values below are looked up in a table, which stays in the cache; others are searched for.
_TABLE_VALUES = 1 << 16

_ZERO, _HALF, _ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)

# A ray along its steepest axis x, u(x) = u0 + x * du from begin to end; its image so far, and of that what no label
# has; and the run of one label value that it is in: the value, the slabs, and their image.
_RAY = np.dtype(
    [
        *((name, np.float64) for name in ("u0", "v0", "du", "dv", "begin", "end")),
        *((name, np.float32) for name in ("mm_per_slab", "sum", "background", "run", "run_sum")),
        *((name, np.int64) for name in ("value", "row", "column")),
    ],
    align=True,
)

# What a ray collects of a label: slabs of path, their image, and how far the label reaches along x, from the grid's
# start on and from its end on. Where depth is not asked for, memory holds the first two or the first one alone.
_PATH, _SUM, _FROM_START, _FROM_END = range(4)

_SHARES = ("label_line_integral", "background_line_integral")
_DEPTHS = ("entry_depth", "exit_depth")
# As the kernels take them; without those that are not asked for.
_OUTPUTS = ("line_integral", "background_line_integral", "path_length", "mask", "label_line_integral", *_DEPTHS)


def why_unavailable() -> str | None:
    """Say why this backend cannot run here; None when it can."""
    return "Numba is not installed; pip install numba" if numba is None else None


@dataclass(frozen=True)
class _PreparedGrid:
    """An array with its axes in another order, and the matrices turned with it."""

    voxels: npt.NDArray[Any]
    voxel_from_world: Float64Array
    world_from_voxel: Float64Array

    @classmethod
    def turned(
        cls,
        axes: Sequence[int],
        voxels: npt.NDArray[Any],
        voxel_from_world: Float64Array,
        world_from_voxel: Float64Array,
    ) -> _PreparedGrid:
        return cls(voxels.transpose(axes), voxel_from_world[[*axes, 3]].copy(), world_from_voxel[:, [*axes, 3]].copy())


@dataclass(frozen=True)
class Prepared:
    """Arrays described for the walk; keeps them alive."""

    volume: _PreparedGrid | None
    labels: _PreparedGrid | None
    labels_as_volume: npt.NDArray[Any] | None
    """The labels in the volume's order of axes, where both are on one grid."""
    bends: tuple[tuple[np.float32, np.float32, np.float32], ...]
    """Knot, height and slope of each."""
    labels_by_value: tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]
    """The values, which say of labels from 1 on what voxels have them; and the labels of small values, by value."""
    structures: tuple[npt.NDArray[Any], ...]
    """First value, value indices and shortest path per structure."""


def prepare(
    *,
    volume: npt.NDArray[Any] | None,
    volume_voxel_from_world: Float64Array | None,
    volume_world_from_voxel: Float64Array | None,
    knots: Sequence[float],
    heights: Sequence[float],
    slopes: Sequence[float],
    labels: npt.NDArray[Any] | None,
    labels_voxel_from_world: Float64Array | None,
    labels_world_from_voxel: Float64Array | None,
    values: Sequence[int],
    first_value: Sequence[int],
    value_indices: Sequence[int],
    min_path_mm: Sequence[float],
) -> Prepared:
    """Describe the arrays for the walk; see :class:`drrproj.backends.Backend`."""
    if labels is not None and labels.dtype == np.uint64:
        # Values fit int64, and Numba would compare the two as floats.
        labels = labels.view(np.int64)
    volume_grid = label_grid = labels_as_volume = None
    if volume is not None and volume_voxel_from_world is not None and volume_world_from_voxel is not None:
        volume_grid = _PreparedGrid.turned(_by_stride(volume), volume, volume_voxel_from_world, volume_world_from_voxel)
    if labels is not None and labels_voxel_from_world is not None and labels_world_from_voxel is not None:
        label_grid = _PreparedGrid.turned(_by_stride(labels), labels, labels_voxel_from_world, labels_world_from_voxel)
        if (
            volume is not None
            and volume_world_from_voxel is not None
            and labels.shape == volume.shape
            and np.array_equal(labels_world_from_voxel, volume_world_from_voxel)
        ):
            labels_as_volume = labels.transpose(_by_stride(volume))
    bends = zip(knots, heights, slopes, strict=True)
    every = np.asarray(values, np.int64)
    small = every[every < _TABLE_VALUES]
    table = np.zeros(1 + small.max(initial=0), np.int32)
    table[small] = np.arange(1, 1 + len(small))
    return Prepared(
        volume_grid,
        label_grid,
        labels_as_volume,
        tuple((np.float32(k), np.float32(height), np.float32(slope)) for k, height, slope in bends),
        (every, table),
        (
            np.asarray(first_value, np.int64),
            np.asarray(value_indices, np.int64),
            np.asarray(min_path_mm, np.float32),
        ),
    )


def _by_stride(voxels: npt.NDArray[Any]) -> list[int]:
    """Sort the axes so that memory runs in C order: Numba compiles anew for every order, and C and Fortran are one."""
    return sorted(range(3), key=lambda axis: -abs(voxels.strides[axis]))


@dataclass(frozen=True)
class _Workspace:
    """What one thread needs, from tile to tile."""

    image_brick: npt.NDArray[np.float32]
    label_brick: npt.NDArray[Any] | None
    rays: npt.NDArray[Any]
    collected: tuple[npt.NDArray[Any], ...]
    box: npt.NDArray[np.int32]


def trace(
    prepared: Prepared,
    views: Float64Array,
    shape: tuple[int, int],
    outputs: Mapping[str, npt.NDArray[Any]],
    threads: int,
) -> None:
    """Walk every ray of every view; see :class:`drrproj.backends.Backend`."""
    _check(prepared, len(views), shape, outputs)
    wants_shares = any(output in outputs for output in _SHARES)
    wants_labels = any(output != "line_integral" for output in outputs)
    # Numba compiles what is None away: one walk for an image, one for labels, one for both.
    walks: list[tuple[_PreparedGrid, Any, Any]] = []
    if prepared.volume is not None and wants_shares:
        walks.append((prepared.volume, prepared.volume.voxels, prepared.labels_as_volume))
    else:
        if prepared.volume is not None and "line_integral" in outputs:
            walks.append((prepared.volume, prepared.volume.voxels, None))
        if prepared.labels is not None and wants_labels:
            walks.append((prepared.labels, None, prepared.labels.voxels))
    quantities = 4 if any(output in outputs for output in _DEPTHS) else 2 if wants_shares else 1
    bytes_per_ray = 4 * quantities * (1 + len(prepared.labels_by_value[0]))
    filled = tuple(outputs.get(output, _nothing(output)) for output in _OUTPUTS)
    box = outputs.get("box", _nothing("box"))

    calls: list[tuple[Any, ...]] = []
    rays = 0
    for grid, image, labels in walks:
        voxels = (
            image,
            None if image is None else prepared.bends,
            labels,
            None if labels is None else prepared.structures,
        )
        most_rays = _BRICK_VOXELS if labels is None else _COLLECTED_BYTES // bytes_per_ray
        metric = grid.world_from_voxel[:3, :3].T @ grid.world_from_voxel[:3, :3]
        for index, view in enumerate(views):
            in_voxels = grid.voxel_from_world @ view
            # Voxel i covers [i, i + 1) in the walk, so that floor() names it; directions do not shift.
            in_voxels[:3] += 0.5 * in_voxels[3]
            size, tiles_wanted = grid.voxels.shape, -(-4 * threads // len(views))
            tile_rows, tile_columns = _tile_shape(in_voxels, size, shape, tiles_wanted, most_rays)
            rays = max(rays, tile_rows * tile_columns)
            for row in range(0, shape[0], tile_rows):
                for column in range(0, shape[1], tile_columns):
                    tile = (row, min(row + tile_rows, shape[0]), column, min(column + tile_columns, shape[1]))
                    calls.append((*voxels, size, in_voxels, metric, index, tile))

    label_type = prepared.labels.voxels.dtype if prepared.labels is not None and wants_labels else None
    idle = [
        _workspace(label_type, prepared.labels_by_value, rays, quantities, box.shape)
        for _ in range(min(threads, len(calls)))
    ]

    def walk(call: tuple[Any, ...]) -> None:
        own = idle.pop()
        # An image alone is not compiled anew for the type of labels that are walked next.
        label_brick = None if call[2] is None else own.label_brick
        _walk_tile(*call, shape, filled, own.box, own.image_brick, label_brick, own.rays, own.collected)
        idle.append(own)

    if threads == 1:
        for call in calls:
            walk(call)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(walk, calls))
    for own in idle:
        np.maximum(box, own.box, out=box)


def _nothing(output: str) -> npt.NDArray[Any]:
    """Return the output's array for no structures and no views."""
    types = {"mask": np.uint8, "box": np.int32}
    dimensions = 3 if output in ("line_integral", "background_line_integral", "box") else 4
    return np.zeros((0,) * dimensions, types.get(output, np.float32))


def _check(prepared: Prepared, views: int, shape: tuple[int, int], outputs: Mapping[str, npt.NDArray[Any]]) -> None:
    """Refuse what the kernels would write beside; they check nothing."""
    rows, columns = shape
    structures = len(prepared.structures[-1])
    of_labels = {
        **dict.fromkeys(("path_length", *_DEPTHS), (structures, views, rows, columns)),
        "mask": (structures, views, rows, (columns + 7) // 8),
        "box": (structures, views, 4),
    }
    shapes: dict[str, tuple[int, ...]] = {
        **({"line_integral": (views, rows, columns)} if prepared.volume is not None else {}),
        **(of_labels if prepared.labels is not None else {}),
    }
    if prepared.labels_as_volume is not None:
        shapes |= dict(zip(_SHARES, ((structures, views, rows, columns), (views, rows, columns)), strict=True))
    for output, array in outputs.items():
        if output not in shapes:
            raise ValueError(f"output {output!r} cannot be made from what was prepared")
        if array.dtype != _nothing(output).dtype or not array.flags.carray:
            raise TypeError(f"output {output!r} must be a contiguous array of its type")
        if array.shape != shapes[output]:
            raise ValueError(f"output {output!r} has another shape")


def _workspace(
    label_type: Any,
    labels_by_value: tuple[npt.NDArray[Any], ...],
    rays: int,
    quantities: int,
    box: tuple[int, ...],
) -> _Workspace:
    slots = 0 if label_type is None else 1 + len(labels_by_value[0])
    # The pages of slots that no tile uses are never mapped.
    numbers = np.zeros((slots, rays, quantities), np.float32)
    return _Workspace(
        np.empty(_BRICK_VOXELS, np.float32),
        None if label_type is None else np.empty(_BRICK_VOXELS, label_type),
        np.empty(rays, _RAY),
        (*labels_by_value, numbers, np.zeros(slots, np.int32), np.zeros(slots, np.int32)),
        np.zeros(box, np.int32),
    )


def _tile_shape(
    view: Float64Array,
    volume_shape: tuple[int, ...],
    detector_shape: tuple[int, int],
    tiles_wanted: int,
    most_rays: int,
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
        if np.prod(box) <= _BRICK_VOXELS and tiles >= tiles_wanted and np.prod(tile) <= most_rays:
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
def _walk_tile(  # type: ignore[no-untyped-def]
    image,
    bends,
    labels,
    structures,
    shape,
    view,
    metric,
    index,
    tile,
    detector,
    outputs,
    box,
    image_brick,
    label_brick,
    rays,
    collected,
):
    """Walk a tile's rays through an image, through labels, or through both where they are on one grid."""
    line_integral, background_line_integral = outputs[:2]
    at, share = np.empty(3 * _BLOCK_SLABS, np.int32), np.empty(3 * _BLOCK_SLABS, np.float32)
    for x in range(3):
        # The array's axes are sorted by stride: u is the one whose voxels lie closer together.
        v, u = (1, 2) if x == 0 else (0, 2) if x == 1 else (0, 1)
        count = _set_up(view, metric, shape, tile, x, u, v, rays)
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
                image_seen = image is not None and _stage(image, corner, size, image_brick, bends)
                labels_seen = labels is not None and _stage(labels, corner, size, label_brick, None)
                if image is not None and labels_seen and not image_seen:
                    image_brick[: size[0] * size[1] * size[2]] = _ZERO
                for i in range(begin, end):
                    ray = rays[i]
                    if not _meets(ray, k):
                        continue
                    if image_seen or labels_seen:
                        strides = (size[1] * size[2], size[2], 1)
                        _walk_block(ray, k, box_u, box_v, strides[u], strides[v], strides[x], at, share)
                    block_sum = _ZERO
                    if image is not None and image_seen:
                        block_sum = _sum(image_brick, at, share)
                        ray.sum += block_sum
                    if labels is not None:
                        if labels_seen and _are_several(label_brick, at):
                            mu = None if image is None else image_brick
                            _follow_labels(ray, i, k, shape[x], label_brick, mu, at, share, collected)
                            continue
                        value = np.int64(label_brick[np.uint32(at[0])]) if labels_seen else 0
                        start = max(ray.begin, float(k))
                        if value != ray.value:
                            _end_run(ray, i, start, shape[x], collected)
                            ray.value = value
                        ray.run += np.float32(min(ray.end, float(k + _BLOCK_SLABS)) - start)
                        ray.run_sum += block_sum
                begin = end
        if labels is not None:
            for i in range(count):
                _end_run(rays[i], i, rays[i].end, shape[x], collected)
            _write_structures(rays, count, view, x, shape[x], index, detector, outputs, box, structures, collected)
        for i in range(count):
            if line_integral.size > 0 and image is not None:
                line_integral[index, rays[i].row, rays[i].column] = rays[i].sum * rays[i].mm_per_slab
            if background_line_integral.size > 0 and image is not None:
                mm = rays[i].background * rays[i].mm_per_slab
                background_line_integral[index, rays[i].row, rays[i].column] = mm


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
            ray.sum = ray.background = ray.run = ray.run_sum = _ZERO
            ray.value = 0
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
    """Fill the brick with a box of the image or, without bends, of labels, zeros outside; False when all is zero."""
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
    for knot, height, slope in bends:
        if value > knot:
            mu = height + slope * (value - knot)
    return mu


@_njit()
def _crossing_of(motion):  # type: ignore[no-untyped-def]
    huge = np.float32(1e30)
    slabs_per_voxel = -huge
    if motion != _ZERO:
        slabs_per_voxel = min(max(-_ONE / motion, -huge), huge)
    return slabs_per_voxel, _HALF * abs(slabs_per_voxel), -_ONE if motion < _ZERO else _ONE


@_njit(fastmath={"contract"})
def _walk_block(ray, k, box_u, box_v, stride_u, stride_v, stride_x, at, share):  # type: ignore[no-untyped-def]
    """Find the three voxels of every slab, as places in the brick, and their shares.

    Places are kept as floats, which hold whole numbers of this size exactly. Coordinates count from the centre of the
    voxel in the block's middle, and where the ray begins and ends from the slab that it does so in: so float32 rounds
    them least.
    """
    middle = k + _BLOCK_SLABS // 2
    u_here, v_here = ray.u0 + middle * ray.du, ray.v0 + middle * ray.dv
    u_first, v_first = np.floor(u_here), np.floor(v_here)
    u_middle, v_middle = np.float32(u_here - u_first - 0.5), np.float32(v_here - v_first - 0.5)
    du, dv = np.float32(ray.du), np.float32(ray.dv)
    begin_slab, end_slab = np.floor(ray.begin - k), np.floor(ray.end - k)
    begin, end = np.float32(ray.begin - k - begin_slab), np.float32(ray.end - k - end_slab)
    begin_slab, end_slab = np.float32(begin_slab), np.float32(end_slab)
    origin = np.float32((u_first - box_u) * stride_u + (v_first - box_v) * stride_v)
    stride_u, stride_v, stride_x = np.float32(stride_u), np.float32(stride_v), np.float32(stride_x)
    slope_u, offset_u, step_u = _crossing_of(du)
    slope_v, offset_v, step_v = _crossing_of(dv)
    step_u, step_v = step_u * stride_u, step_v * stride_v
    for s in range(_BLOCK_SLABS):
        slab = np.float32(np.int32(s))
        step = np.float32(np.int32(s - _BLOCK_SLABS // 2))
        u, v = u_middle + step * du, v_middle + step * dv
        moved_u, moved_v = np.floor(u + _HALF), np.floor(v + _HALF)
        starts = min(max((begin_slab - slab) + begin, _ZERO), _ONE)
        stops = min(max((end_slab - slab) + end, _ZERO), _ONE)
        at_u = min(max((u - moved_u) * slope_u + offset_u, starts), stops)
        at_v = min(max((v - moved_v) * slope_v + offset_v, starts), stops)
        # A crossing that the ray does not reach leads nowhere, so that no voxel is read which it does not meet.
        to_u = step_u if at_u < stops else _ZERO
        to_v = step_v if at_v < stops else _ZERO
        stay = origin + slab * stride_x + moved_u * stride_u + moved_v * stride_v
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
def _are_several(brick, at):  # type: ignore[no-untyped-def]
    """Say whether the voxels of a block differ."""
    alike = 1
    while alike < len(at) and brick[np.uint32(at[alike])] == brick[np.uint32(at[0])]:
        alike += 1
    return alike < len(at)


@_njit()
def _follow_labels(ray, i, k, size_x, brick, mu, at, share, collected):  # type: ignore[no-untyped-def]
    """Add a block to the runs of the labels that a ray meets there."""
    value, run, run_sum = ray.value, ray.run, ray.run_sum
    for s in range(_BLOCK_SLABS):
        entry, middle, leaves = s, _BLOCK_SLABS + s, 2 * _BLOCK_SLABS + s
        at_entry, at_middle, at_leaves = np.uint32(at[entry]), np.uint32(at[middle]), np.uint32(at[leaves])
        if (brick[at_entry] == value) & (brick[at_middle] == value) & (brick[at_leaves] == value):
            run += share[entry] + share[middle] + share[leaves]
            if mu is not None:
                run_sum += share[entry] * mu[at_entry] + share[middle] * mu[at_middle] + share[leaves] * mu[at_leaves]
            continue
        x = k + s + min(max(ray.begin - (k + s), 0.0), 1.0)
        for j, place in ((entry, at_entry), (middle, at_middle), (leaves, at_leaves)):
            if not share[j] > _ZERO:
                continue
            if brick[place] != value:
                ray.value, ray.run, ray.run_sum = value, run, run_sum
                _end_run(ray, i, x, size_x, collected)
                value, run, run_sum = np.int64(brick[place]), _ZERO, _ZERO
            run += share[j]
            if mu is not None:
                run_sum += share[j] * mu[place]
            x += share[j]
    ray.value, ray.run, ray.run_sum = value, run, run_sum


@_njit()
def _end_run(ray, i, x, size_x, collected):  # type: ignore[no-untyped-def]
    """Collect the run that ends at x; a label that the tile has not met before gets a slot."""
    values, label_of_small, numbers, slot_of_label, label_of_slot = collected
    label = _label_of(ray.value, values, label_of_small)
    if label == 0:
        ray.background += ray.run_sum
    elif ray.run > _ZERO:
        slot = slot_of_label[label]
        if slot == 0:
            # Slot 0 is no label's: it says how many there are.
            label_of_slot[0] += 1
            slot = label_of_slot[0]
            label_of_slot[slot], slot_of_label[label] = label, slot
        numbers[slot, i, _PATH] += ray.run
        if numbers.shape[2] > _SUM:
            numbers[slot, i, _SUM] += ray.run_sum
        if numbers.shape[2] > _FROM_END:
            numbers[slot, i, _FROM_START] = max(numbers[slot, i, _FROM_START], np.float32(x))
            numbers[slot, i, _FROM_END] = max(numbers[slot, i, _FROM_END], np.float32(size_x - (x - ray.run)))
    ray.run = ray.run_sum = _ZERO


@_njit()
def _label_of(value, values, label_of_small):  # type: ignore[no-untyped-def]
    """Return 1 + the index of a value, 0 for background."""
    if 0 <= value < len(label_of_small):
        return label_of_small[value]
    place = np.searchsorted(values, value)
    return np.int32(1 + place if place < len(values) and values[place] == value else 0)


@_njit()
def _write_structures(rays, count, view, x, size_x, index, detector, outputs, box, structures, collected):  # type: ignore[no-untyped-def]
    """Make what the rays have collected path lengths, masks, shares, depths and boxes, and forget it."""
    _, _, path_length, mask, label_line_integral, entry_depth, exit_depth = outputs
    first_value, value_indices, min_path_mm = structures
    _, _, numbers, slot_of_label, label_of_slot = collected
    slots = np.empty(len(label_of_slot), np.int32)
    for structure in range(len(min_path_mm)):
        met = 0
        for j in range(first_value[structure], first_value[structure + 1]):
            slot = slot_of_label[1 + value_indices[j]]
            if slot != 0:
                slots[met] = slot
                met += 1
        if met == 0:
            continue
        for i in range(count):
            ray = rays[i]
            slabs = _ZERO
            for slot in slots[:met]:
                slabs += numbers[slot, i, _PATH]
            mm = slabs * ray.mm_per_slab
            if not mm > _ZERO:
                continue
            if path_length.size > 0:
                path_length[structure, index, ray.row, ray.column] = mm
            if mask.size > 0 and mm > min_path_mm[structure]:
                mask[structure, index, ray.row, ray.column // 8] |= np.uint8(0x80 >> (ray.column % 8))
            if label_line_integral.size > 0:
                total = _ZERO
                for slot in slots[:met]:
                    total += numbers[slot, i, _SUM]
                label_line_integral[structure, index, ray.row, ray.column] = total * ray.mm_per_slab
            if entry_depth.size > 0 or exit_depth.size > 0:
                from_start, from_end = _ZERO, _ZERO
                for slot in slots[:met]:
                    from_start = max(from_start, numbers[slot, i, _FROM_START])
                    from_end = max(from_end, numbers[slot, i, _FROM_END])
                entry, leaves = _depths(view, x, ray, size_x - np.float64(from_end), np.float64(from_start))
                if entry_depth.size > 0:
                    entry_depth[structure, index, ray.row, ray.column] = entry
                if exit_depth.size > 0:
                    exit_depth[structure, index, ray.row, ray.column] = leaves
            if box.size > 0:
                _widen(box[structure, index], detector, ray)
    for slot in range(1, label_of_slot[0] + 1):
        numbers[slot, :count] = _ZERO
        slot_of_label[label_of_slot[slot]] = 0
    label_of_slot[0] = 0


@_njit()
def _depths(view, x, ray, low, high):  # type: ignore[no-untyped-def]
    """Return how far along the ray, in mm, it comes to the first and the last of two places on its axis x."""
    pixel = view[x, 1] + ray.row * view[x, 2] + ray.column * view[x, 3]
    parallel = view[3, 0] == 0.0
    origin = pixel if parallel else view[x, 0]
    forwards = view[x, 0] < 0.0 if parallel else pixel > view[x, 0]
    from_low, from_high = (low - origin) * ray.mm_per_slab, (high - origin) * ray.mm_per_slab
    return (from_low, from_high) if forwards else (-from_high, -from_low)


@_njit()
def _widen(box, detector, ray):  # type: ignore[no-untyped-def]
    """Make a box that counts from the far edges hold the ray's pixel."""
    box[0], box[1] = max(box[0], detector[0] - ray.row), max(box[1], ray.row + 1)
    box[2], box[3] = max(box[2], detector[1] - ray.column), max(box[3], ray.column + 1)
