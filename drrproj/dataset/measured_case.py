"""Measure a CT and its labels, for the rules that judge them.

Everything is read off one pass over the labels (voxel counts, boxes, centroids), two over the CT (metal, what is not a
number), and samples of both. Directions are the patient's, from the affines: axis order and flips of the arrays do not
matter.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.affines import is_same_grid
from drrproj.dataset.derive_partition import toward_ras
from drrproj.label_volume import LabelVolume
from drrproj.volume import Volume

__all__ = ["FACES", "MeasuredCase", "measured_case"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

FACES = ("left", "right", "posterior", "anterior", "inferior", "superior")

_PADDING_HU = -1500  # padding is -2000, -2048 or -3024; resampled air swings a little below -1024
_TISSUE_HU = -300  # above: skin, fat, muscle; below: air, lung, foam
_TABLE_HU = -700  # above: the shell and the foam of a couch; below: the air around it
_SAMPLES = 1_500_000
_BORDER_SLICES = 8


@dataclass(frozen=True)
class MeasuredStructure:
    """What one pass over the labels tells of a structure."""

    voxels: int
    ml: float
    centroid: Floats  # world mm
    index: Floats  # of the centroid, axes towards right, anterior, superior
    back: int  # second index of the voxel furthest back
    rows: tuple[int, ...]  # of its values in the case's borders


@dataclass(frozen=True)
class MeasuredCase:
    """A case, measured."""

    structures: Mapping[str, MeasuredStructure]
    borders: Floats  # cm2 of each value of the voxels on each of FACES of the field of view
    overlaps: Mapping[tuple[str, str], float]  # ml shared by two structures
    samples: Mapping[str, Array]  # HU of some voxels of each structure
    outside: float  # share of the sampled labels that lie outside the CT
    unmeasured: float  # share of the sampled labels where the CT is not a number
    not_a_number: int  # voxels of the CT
    ct_voxels: int
    body_border: float  # share of the sides of the field of view that is tissue
    metal_ml: float
    couch_ml: float
    unnamed: tuple[int, ...]  # ids that occur and have no name


def measured_case(ct: Volume, labels: LabelVolume, metal_hu: float) -> MeasuredCase:
    """Measure a case. ``metal_hu``: what counts as metal lies above it."""
    hu, hu_affine = toward_ras(ct.array, ct.affine)
    ids, id_affine = toward_ras(labels.array, labels.affine)
    same_grid = is_same_grid(id_affine, ids.shape, hu_affine, hu.shape)

    values, voxels, centroids, backs = _count_runs(ids)
    world = centroids @ id_affine[:3, :3].T + id_affine[:3, 3]
    borders = _faces(ids, id_affine, values)
    body_border, round_border = _sides(hu, hu_affine, ids if same_grid else None, values)
    borders[:, :4] += round_border
    voxel_ml = abs(float(np.linalg.det(id_affine[:3, :3]))) / 1000

    at = {int(value): index for index, value in enumerate(values)}
    names: dict[int, str] = {}
    rows: dict[str, list[int]] = {}
    for label_id, among in labels.values_by_structure.items():
        if label_id not in labels.groups and among:
            name = names[label_id] = _total_segmentator_name(labels.name_of(label_id))
            # Labels that mean the same structure are joined.
            rows[name] = sorted({*rows.get(name, ()), *(at[value] for value in among)})
    structures = {
        name: MeasuredStructure(
            voxels=int(voxels[of_it].sum()),
            ml=float(voxels[of_it].sum()) * voxel_ml,
            centroid=np.average(world[of_it], axis=0, weights=voxels[of_it]),
            index=np.average(centroids[of_it], axis=0, weights=voxels[of_it]),
            back=int(backs[of_it].min()),
            rows=tuple(of_it),
        )
        for name, of_it in rows.items()
    }
    overlaps: dict[tuple[str, str], float] = {}
    for value, members in labels.overlaps.items():
        shown = {names[label_id] for label_id in members if label_id in names and value in at}
        # In one order always: a pair's shares add up, whichever of a structure's labels overlap.
        for pair in itertools.combinations((name for name in rows if name in shown), 2):
            overlaps[pair] = overlaps.get(pair, 0.0) + float(voxels[at[value]]) * voxel_ml

    by_value, outside, unmeasured = _sampled_hu(hu, hu_affine, ids, id_affine, same_grid)
    samples = {
        name: np.concatenate([by_value[int(values[row])] for row in of_it if values[row] in by_value])
        for name, of_it in rows.items()
        if any(values[row] in by_value for row in of_it)
    }
    return MeasuredCase(
        structures=structures,
        borders=borders,
        overlaps=overlaps,
        samples=samples,
        outside=outside,
        unmeasured=unmeasured,
        not_a_number=sum(_count_nan(slab) for slab in _slabs(hu)),
        ct_voxels=hu.size,
        body_border=body_border,
        metal_ml=_count_above(hu, metal_hu) * abs(float(np.linalg.det(hu_affine[:3, :3]))) / 1000,
        couch_ml=_behind_the_back(hu, hu_affine, id_affine, structures),
        unnamed=labels.ids_without_name,
    )


def _total_segmentator_name(name: str) -> str:
    if vertebra := re.fullmatch(r"([ctl])(\d+)", name):
        return f"vertebrae_{vertebra[1].upper()}{vertebra[2]}"
    if lobe := re.fullmatch(r"lung_(left|right)_lobe(upper|middle|lower)", name):
        return f"lung_{lobe[2]}_lobe_{lobe[1]}"
    return name


def _upward(array: Array) -> tuple[Array, tuple[int, ...]]:
    """View an array along its memory, because numpy reads a mirrored view ten times slower; and the axes it flips."""
    mirrored = tuple(axis for axis in range(3) if array.strides[axis] < 0)
    return np.flip(array, mirrored), mirrored


def _count_runs(ids: Array) -> tuple[Array, Array, Floats, Array]:
    """Values that occur, and of each: voxels, centroid in indices, lowest index along the second axis."""
    # Labels are constant over long stretches of memory, so runs are 20 to 50 times fewer than voxels.
    order = np.argsort([-abs(stride) for stride in ids.strides], kind="stable")
    upward, mirrored = _upward(ids)
    to_back = int(np.flatnonzero(order == 1)[0])
    farthest: Any = np.maximum if 1 in mirrored else np.minimum
    # Values of each slab, their voxels, twice the sums of their positions, and how far back they reach.
    none = np.zeros(0, np.int64)
    found: list[tuple[Array, Array, Array, Array]] = [(ids[:0, 0, 0], none, np.zeros((3, 0), np.int64), none)]
    for slow, slab in enumerate(upward.transpose(order)):
        rows = np.ascontiguousarray(slab)
        edges = np.empty(rows.shape, bool)
        edges[:, 0] = True
        np.not_equal(rows[:, 1:], rows[:, :-1], out=edges[:, 1:])
        starts = np.flatnonzero(edges)
        lengths = np.diff(starts, append=rows.size)
        run_values = rows.ravel()[starts]
        kept = np.flatnonzero(run_values)
        kept = kept[np.argsort(run_values[kept], kind="stable")]
        if not len(kept):
            continue
        starts, lengths, run_values = starts[kept], lengths[kept], run_values[kept]
        middle, fast = np.divmod(starts, rows.shape[1])
        of_value = np.flatnonzero(np.append(True, run_values[1:] != run_values[:-1]))
        voxels = np.add.reduceat(lengths, of_value)
        twice = [
            2 * slow * voxels,
            2 * np.add.reduceat(middle * lengths, of_value),
            np.add.reduceat((2 * fast + lengths - 1) * lengths, of_value),
        ]
        ends = (np.full(len(fast), slow), middle, fast + lengths - 1 if 1 in mirrored else fast)
        reached = farthest.reduceat(ends[to_back], of_value)
        found.append((run_values[of_value], voxels, np.stack(twice), reached))
    slab_values, slab_voxels, slab_twice, slab_reached = (
        np.concatenate(parts, axis=-1) for parts in zip(*found, strict=True)
    )
    values, which = np.unique(slab_values, return_inverse=True)
    voxels = np.bincount(which, slab_voxels, len(values)).astype(np.int64)
    centroids = np.empty((len(values), 3))
    for axis, twice_along in zip(order, slab_twice, strict=True):
        sums = np.bincount(which, twice_along, len(values)) / 2
        if axis in mirrored:
            sums = (ids.shape[axis] - 1) * voxels - sums
        centroids[:, axis] = sums / np.maximum(voxels, 1)
    backs = np.full(len(values), -1 if 1 in mirrored else ids.shape[1])
    farthest.at(backs, which, slab_reached)
    return values, voxels, centroids, ids.shape[1] - 1 - backs if 1 in mirrored else backs


def _counted(found: Array, values: Array) -> Floats:
    """How often each of some values occurs; the background does not count."""
    there, counts = np.unique(found[found != 0], return_counts=True)
    result = np.zeros(len(values))
    result[np.searchsorted(values, there)] = counts
    return result


def _faces(ids: Array, affine: Floats, values: Array) -> Floats:
    """Area of each value on the six faces of the array, cm2, shape (values, 6)."""
    areas = np.zeros((len(values), 6))
    for axis in range(3):
        one, other = (affine[:3, other] for other in range(3) if other != axis)
        voxel_cm2 = float(np.linalg.norm(np.cross(one, other))) / 100
        for end in (0, -1):
            areas[:, 2 * axis - end] = _counted(np.moveaxis(ids, axis, 0)[end], values) * voxel_cm2
    return areas


def _sides(hu: Array, affine: Floats, ids: Array | None, values: Array) -> tuple[float, Floats]:
    """Share of the sides of the field of view that is tissue, and each value's area on a round edge, cm2, (values, 4).

    A scanner's field of view may be a circle, with padding outside: its edge is where measured voxels meet padding or
    the end of the array. Looked at in some slices.
    """
    looked_at = range(0, hu.shape[2], -(-hu.shape[2] // _BORDER_SLICES))
    counts = np.zeros((len(values), 4))
    edges = edges_tissue = 0
    for position in looked_at:
        measured, tissue = hu[:, :, position] >= _PADDING_HU, hu[:, :, position] > _TISSUE_HU
        # Slowest axis first: numpy picks voxels in that order, ten times faster where it is memory's.
        order = np.argsort([-abs(stride) for stride in measured.strides], kind="stable")
        for face, (axis, towards) in enumerate(((0, -1), (0, 1), (1, -1), (1, 1))):
            here, there = [slice(None)] * 2, [slice(None)] * 2
            low, high = slice(None, -1), slice(1, None)
            here[axis], there[axis] = (low, high) if towards > 0 else (high, low)
            beyond = np.zeros_like(measured)
            beyond[tuple(here)] = measured[tuple(there)]
            edge = measured & ~beyond
            edges += int(np.count_nonzero(edge))
            edges_tissue += int(np.count_nonzero(edge & tissue))
            if ids is not None:
                # The faces of the array are counted elsewhere, all of them.
                np.moveaxis(edge, axis, 0)[-1 if towards > 0 else 0] = False
                on_edge = ids[:, :, position].transpose(order)[edge.transpose(order)]
                counts[:, face] += _counted(on_edge, values)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    voxel_cm2 = spacing[2] * spacing[[1, 1, 0, 0]] * hu.shape[2] / len(looked_at) / 100
    return edges_tissue / max(edges, 1), counts * voxel_cm2


def _sampled_hu(
    hu: Array, hu_affine: Floats, ids: Array, id_affine: Floats, same_grid: bool
) -> tuple[dict[int, Array], float, float]:
    """HU of some voxels of each value, and the shares of the sampled ones outside the CT and of no number in it."""
    spacing = np.linalg.norm(id_affine[:3, :3], axis=0)
    steps = np.ones(3, int)
    while np.prod(-(-np.array(ids.shape) // steps)) > _SAMPLES:
        steps[np.argmin(spacing * steps)] += 1
    lattice = tuple(slice(None, None, int(step)) for step in steps)
    sampled = ids[lattice]
    labelled = sampled != 0
    value, outside = sampled[labelled], 0.0
    if same_grid:
        at_voxel = hu[lattice][labelled]
    else:
        world = (np.argwhere(labelled) * steps) @ id_affine[:3, :3].T + id_affine[:3, 3]
        voxel_from_world = np.linalg.inv(hu_affine)
        index = np.floor(world @ voxel_from_world[:3, :3].T + voxel_from_world[:3, 3] + 0.5).astype(np.int64)
        inside = ((index >= 0) & (index < hu.shape)).all(axis=1)
        outside = float(np.count_nonzero(~inside)) / max(len(inside), 1)
        value, index = value[inside], index[inside]
        at_voxel = hu[index[:, 0], index[:, 1], index[:, 2]]
    unmeasured = _count_nan(at_voxel) / max(int(np.count_nonzero(labelled)), 1)
    order = np.argsort(value, kind="stable")
    there, starts = np.unique(value[order], return_index=True)
    parts = np.split(at_voxel[order], starts[1:]) if len(there) else []
    return {int(label): part for label, part in zip(there, parts, strict=True)}, outside, unmeasured


def _slabs(hu: Array) -> Iterable[Array]:
    """Slices along the memory."""
    return np.moveaxis(_upward(hu)[0], int(np.argmax(np.abs(hu.strides))), 0)


def _count_nan(hu: Array) -> int:
    return int(np.count_nonzero(np.isnan(hu))) if hu.dtype.kind == "f" else 0


def _count_above(hu: Array, limit: float) -> int:
    # A number of the array's own type keeps numpy from converting every voxel to float64.
    bound = hu.dtype.type(limit) if hu.dtype.kind == "f" else min(math.floor(limit), int(np.iinfo(hu.dtype).max))
    slabs = _slabs(hu)
    # Few slabs have any, and the greatest of whole numbers is found in a fifth of the time that counting takes.
    if hu.dtype.kind != "f":
        slabs = [slab for slab in slabs if slab.max() > bound]
    return sum(int(np.count_nonzero(slab > bound)) for slab in slabs)


def _behind_the_back(
    hu: Array, affine: Floats, id_affine: Floats, structures: Mapping[str, MeasuredStructure]
) -> float:
    """Volume of what follows an air gap behind lungs and skeleton, within the width of the ribs, ml, from samples."""
    chest = [part for name, part in structures.items() if re.match(r"rib_|vertebrae_|lung_", name)]
    if not chest:
        return 0.0
    voxel_from_world = np.linalg.inv(affine)
    world = np.array([part.centroid for part in chest])
    x = world @ voxel_from_world[0, :3] + voxel_from_world[0, 3]
    left, right = np.clip(np.rint((x.min(), x.max())).astype(int), 0, hu.shape[0] - 1)
    # On an oblique grid the plane through the hindmost voxel is as oblique as the grid; so is the couch then.
    hindmost = min(chest, key=lambda part: part.back)
    behind = hindmost.centroid + id_affine[:3, 1] * (hindmost.back - hindmost.index[1])
    back = int(np.clip(np.rint(voxel_from_world[1, :3] @ behind + voxel_from_world[1, 3]), 0, hu.shape[1]))
    steps = [max(1, int(4 / edge)) for edge in np.linalg.norm(affine[:3, :3], axis=0)[[0, 2]]]
    part = np.flip(hu[left : right + 1 : steps[0], :back, :: steps[1]], axis=1)
    if not part.size:
        return 0.0
    beyond_gap = np.logical_or.accumulate(part < _TABLE_HU, axis=1)
    matter = int(np.count_nonzero(beyond_gap & (part > _TABLE_HU)))
    return matter * steps[0] * steps[1] * abs(float(np.linalg.det(affine[:3, :3]))) / 1000
