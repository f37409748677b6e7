"""Anatomical rules that cut a class out of labelled structures, each with its reason.

A rule takes the partition and the names of the class's sources, and returns the voxels of the class as a cut.
Directions are the patient's: right, anterior, superior.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.dataset.derive_partition import TIE_MM, Box, Cut, Indices, Mask, NotDerivable, Partition, Runs, toward_ras

__all__ = ["RULES"]

Rule = Callable[[Partition, tuple[str, ...]], Cut]

VESSEL_HU = -500.0
"""Half way between aerated lung (about -850 HU) and blood (40 HU) is -400; thin vessels are blurred to less."""
TURN_MM = 5.0
"""How much less far from the median plane than its outermost voxel a rib's turn may lie."""
RIM_MM = 2.0
"""The pleura and the chest wall, blurred into the lung's outermost voxels, are as dense as vessels."""
CARINA_MM = 10.0
"""How far above the first slice with two bronchi the bifurcation begins."""
EDGE_MM = 5.0
"""Over how far to each side the border of mediastinum and lung is smoothed."""
DIAPHRAGM_MM = 10.0
"""How thick the diaphragm is taken to be, with the fat on it."""
PARAVERTEBRAL_MM = 10.0
"""How far behind the front of the vertebral column the mediastinum reaches: ITMIG's visceral compartment ends there."""

_BONES = ("vertebrae_", "rib_", "sternum", "costal_cartilages", "scapula_", "clavicula_", "humerus_", "sacrum")
_MUSCLES = ("spinal_cord", "autochthon_", "iliopsoas_")
_ABDOMEN = (
    *("liver", "spleen", "stomach", "gallbladder", "pancreas", "kidney_", "adrenal_gland_", "small_bowel"),
    *("duodenum", "colon", "portal_vein"),
)
_MEDIASTINAL = (
    *("heart", "atrial_appendage", "aorta", "esophagus", "trachea", "pulmonary_", "superior_vena_cava"),
    *("brachiocephalic_",),
)


def _middle(partition: Partition, runs: Runs, axis: int) -> float:
    """Centroid's world coordinate."""
    first, last = partition.points(runs, axis)
    weights = runs.last - runs.first + 1
    return float(((first + last) / 2 * weights).sum() / weights.sum())


def _extent(partition: Partition, runs: Runs, axis: int) -> tuple[float, float]:
    first, last = partition.points(runs, axis)
    return float(min(first.min(), last.min())), float(max(first.max(), last.max()))


def _body(partition: Partition, vertebra: str) -> Runs:
    """Front third of a vertebra: its body, without the arch and the processes, which hang lower."""
    runs = partition.runs(vertebra)
    low, high = runs.row.min(), runs.row.max()
    front = high - runs.row <= 0.35 * (high - low)
    return Runs(*(column[front] for column in runs))


def _median_plane(partition: Partition) -> float:
    """Right coordinate of the middle of the vertebral bodies: the one midline structure of every chest CT."""
    if partition.median_plane is not None:
        return partition.median_plane
    bodies = sorted(name for name in partition.numbers if name.startswith("vertebrae_"))
    if not bodies:
        raise NotDerivable("needs a vertebra, for the median plane")
    # Every half rib asks for it.
    partition.median_plane = float(np.mean([_middle(partition, _body(partition, name), 0) for name in bodies]))
    return partition.median_plane


def _half(partition: Partition, of: frozenset[int], axis: int, plane: float, above: bool) -> Cut:
    box = partition.box(of)
    beyond = partition.along(axis, box) >= plane - TIE_MM
    return Cut(of, box, beyond if above else ~beyond)


def side_of_spine(partition: Partition, sources: tuple[str, ...], right: bool) -> Cut:
    """Cut at the median plane: the two hemidiaphragms, or breasts, have no anatomical border between them."""
    return _half(partition, partition.need(*sources), 0, _median_plane(partition), right)


def beside_t4(partition: Partition, sources: tuple[str, ...], above: bool) -> Cut:
    """Cut at the disc below the fourth thoracic vertebra: there the superior mediastinum ends, by definition."""
    region, t4, t5 = sources
    of = partition.need(region)
    level = (_middle(partition, _body(partition, t4), 2) + _middle(partition, _body(partition, t5), 2)) / 2
    return _half(partition, of, 2, level, above)


def lung_zone(partition: Partition, sources: tuple[str, ...], zone: int) -> Cut:
    """Cut a lung by height: zone 0 rises above the sternal third of the clavicle, 1 to 3 are equal thirds below it.

    A radiograph has no lobes; reports use the clavicle for the apex and thirds of the height for the rest. The sternal
    third, because raised arms lift the rest of the clavicle above the lung.
    """
    lung, clavicle = sources
    of = partition.need(lung)
    x, _, z = partition.centers(clavicle)
    outward = np.abs(x - _median_plane(partition))
    sternal = outward <= outward.min() + (outward.max() - outward.min()) / 3 + TIE_MM
    level = float(z[sternal].mean())
    bottom, top = _extent(partition, partition.runs(lung), 2)
    if not bottom < level:
        raise NotDerivable(f"{clavicle} lies below {lung}")
    bounds = (np.inf, level, *np.linspace(min(level, top), bottom, 4)[1:3], -np.inf)
    box = partition.box(of)
    height = partition.along(2, box)
    return Cut(of, box, (height >= bounds[zone + 1] - TIE_MM) & (height < bounds[zone] - TIE_MM))


def rib_part(partition: Partition, sources: tuple[str, ...], anterior: bool) -> Cut:
    """Cut a rib by the coronal plane through its turn, where it lies farthest from the median plane.

    The posterior part runs outward from the spine, the anterior part back inward to the sternum. Of a floating rib,
    which hardly turns, little more than the tip is anterior; so it is in PAXRay, by the areas of its classes.
    """
    of = partition.need(*sources)
    runs = partition.runs(*sources)
    middle = _median_plane(partition)
    outward = np.max(np.abs(np.stack(partition.points(runs, 0)) - middle), axis=0)
    depth = np.mean(partition.points(runs, 1), axis=0)
    turn = float(depth[outward >= outward.max() - TURN_MM - TIE_MM].mean())
    return _half(partition, of, 1, turn, anterior)


def _occupied(runs: Runs, first: Indices, last: Indices, box: Box, axis: int) -> npt.NDArray[np.int8]:
    """Which positions along an axis a structure occupies in each slab, shape (positions, slabs)."""
    size = box[axis].stop - box[axis].start
    changes = np.zeros((size + 1, box[2].stop - box[2].start), np.int64)
    np.add.at(changes, (first - box[axis].start, runs.slab - box[2].start), 1)
    np.add.at(changes, (last + 1 - box[axis].start, runs.slab - box[2].start), -1)
    return (changes.cumsum(axis=0)[:size] > 0).astype(np.int8)


def _slabs_apart(occupied: npt.NDArray[np.int8]) -> tuple[int, int]:
    """First and last slab of the longest stretch of slabs in which a structure is in two pieces."""
    pieces = (np.diff(occupied, axis=0, prepend=0) > 0).sum(axis=0) >= 2
    edges = np.flatnonzero(np.diff(pieces.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
    if not len(edges) or np.diff(edges).max() < 3:
        raise NotDerivable("its two limbs lie apart in fewer than three slices")
    first, stop = edges[int(np.argmax(np.diff(edges)))]
    return int(first), int(stop) - 1


def aorta_part(partition: Partition, sources: tuple[str, ...], part: str) -> Cut:
    """Cut the aorta where it passes the same height twice: in front it ascends, behind it descends.

    What lies above is the arch, what lies below belongs to the descending aorta.
    """
    of = partition.need(*sources)
    runs, box = partition.runs(*sources), partition.box(of)
    occupied = _occupied(runs, runs.row, runs.row, box, 1)
    first, last = _slabs_apart(occupied)
    rows = np.arange(occupied.shape[0])[:, None]
    slabs = np.arange(occupied.shape[1])
    behind = np.full(occupied.shape[1], -1.0)
    for slab in range(first, last + 1):
        there = np.flatnonzero(occupied[:, slab])
        widest = int(np.argmax(np.diff(there)))
        behind[slab] = (there[widest] + there[widest + 1]) / 2
    between = (slabs >= first) & (slabs <= last)
    where: Mask
    if part == "arch":
        where = np.broadcast_to(slabs > last, occupied.shape)
    elif part == "ascending":
        where = between & (rows > behind)
    else:
        where = (slabs < first) | (between & (rows <= behind))
    return Cut(of, box, where[None])


def tracheal_bifurcation(partition: Partition, sources: tuple[str, ...]) -> Cut:
    """Cut the trachea 10 mm above the highest slice in which it has become two bronchi."""
    of = partition.need(*sources)
    runs, box = partition.runs(*sources), partition.box(of)
    _, last = _slabs_apart(_occupied(runs, runs.first, runs.last, box, 0))
    slabs = np.arange(box[2].stop - box[2].start)
    return Cut(of, box, ((slabs - last) * partition.voxel_size[2] <= CARINA_MM + TIE_MM)[None, None])


def mediastinum(partition: Partition, sources: tuple[str, ...]) -> Cut:
    """Take what lies between the two lungs, side to side, from the bottom of the heart to the apex of the lower lung.

    Bones, muscles and abdominal organs do not belong to it, nor what lies more than 10 mm behind the front of the
    vertebral column, nor, beside an abdominal organ, what is not medial of it; heart, trachea, esophagus and great
    vessels do, also where a lung does not reach beside them.
    """
    right, left, heart = sources
    lungs = partition.need(right, left)
    outside = lungs | partition.starting(*_BONES, *_MUSCLES)
    organs = partition.starting(*_MEDIASTINAL) - outside
    bottom = partition.box(partition.need(heart))[2].start
    top = min(partition.box(partition.need(side))[2].stop for side in (right, left))
    if top <= bottom:
        raise NotDerivable(f"{heart} lies above {left} or {right}")
    across, rows, _ = partition.box(lungs | organs)
    box = (across, rows, slice(bottom, top))
    end_of_left, start_of_right = _medial_edges(partition, left, right)
    depth = PARAVERTEBRAL_MM / partition.voxel_size[1]
    behind = np.arange(partition.array.shape[1])[:, None] < _front_of_spine(partition) - depth - TIE_MM
    start_of_right[behind] = -1
    where = _between(end_of_left[box[1:]], start_of_right[box[1:]], box)
    _join(partition, where, box, organs)
    return Cut(partition.everywhere_but(outside), box, where)


def _medial_edges(partition: Partition, left: str, right: str) -> tuple[Indices, Indices]:
    """Last column of the left and first of the right lung in each row and slab; with nothing between where one lacks.

    Hilar vessels notch single rows deeply, so each edge is the median of those within 5 mm.
    """
    whole = partition.array.shape
    runs = partition.runs(left)
    end_of_left = np.full(whole[1:], whole[0], np.int64)
    end_of_left[runs.row, runs.slab] = -1
    np.maximum.at(end_of_left, (runs.row, runs.slab), runs.last)
    runs = partition.runs(right)
    start_of_right = np.full(whole[1:], -1, np.int64)
    start_of_right[runs.row, runs.slab] = whole[0]
    np.minimum.at(start_of_right, (runs.row, runs.slab), runs.first)
    end_of_left, start_of_right = (_median_nearby(partition, edge) for edge in (end_of_left, start_of_right))
    abdomen = [name for name in partition.numbers if name.startswith(_ABDOMEN)]
    if abdomen:
        runs = partition.runs(*abdomen)
        middle = _median_plane(partition)
        one, other = partition.points(runs, 0)
        on_right, on_left = np.minimum(one, other) > middle, np.maximum(one, other) <= middle
        across = ~on_right & ~on_left
        # The diaphragm itself, and fat on it, lie between the dome of an organ and the lung.
        for thickness in range(int(DIAPHRAGM_MM / partition.voxel_size[2] + 0.5) + 1):
            slab = np.minimum(runs.slab + thickness, whole[2] - 1)
            np.minimum.at(start_of_right, (runs.row[on_right], slab[on_right]), runs.first[on_right])
            np.maximum.at(end_of_left, (runs.row[on_left], slab[on_left]), runs.last[on_left])
            start_of_right[runs.row[across], slab[across]] = -1
    return end_of_left, start_of_right


def _median_nearby(partition: Partition, edge: Indices) -> Indices:
    for axis in (0, 1):
        reach = int(EDGE_MM / partition.voxel_size[axis + 1] + 0.5)
        padded = np.pad(edge, [(reach, reach) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
        nearby = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=axis)
        edge = np.partition(nearby, reach, axis=-1)[..., reach]
    return edge


def _between(after: Indices, before: Indices, box: Box) -> Mask:
    """Which voxels of a box lie after one column and before another, given for each row and slab."""
    across = np.arange(box[0].start, box[0].stop, dtype=np.int32)[:, None, None]
    shape = (len(across), *after.shape)
    # Lines along the first axis are contiguous in the partition, so they must be here.
    where: Mask = np.empty(shape, bool, order="F")
    np.greater(across, after.astype(np.int32)[None], out=where)
    where &= np.less(across, before.astype(np.int32)[None], out=np.empty(shape, bool, order="F"))
    return where


def _join(partition: Partition, where: Mask, box: Box, numbers: frozenset[int]) -> None:
    """Set where a box has these numbers."""
    for number in numbers:
        inner = tuple(
            slice(max(a.start, b.start), max(min(a.stop, b.stop), a.start, b.start))
            for a, b in zip(partition.boxes[number], box, strict=True)
        )
        i, j, k = (slice(a.start - b.start, a.stop - b.start) for a, b in zip(inner, box, strict=True))
        where[i, j, k] |= partition.array[inner] == number


def _front_of_spine(partition: Partition) -> npt.NDArray[np.float64]:
    """Foremost row of the vertebral column in each slab; discs, which are not labelled, get their neighbours'."""
    slabs = partition.array.shape[2]
    front = np.full(slabs, -np.inf)
    vertebrae = [name for name in partition.numbers if name.startswith("vertebrae_")]
    if not vertebrae:
        raise NotDerivable("needs a vertebra, behind which the mediastinum ends")
    for name in vertebrae:
        # Only a body's own height: above and below it the processes reach into the slabs of its neighbours.
        body = _body(partition, name)
        np.maximum.at(front, body.slab, body.row)
    known = np.flatnonzero(np.isfinite(front))
    interpolated: npt.NDArray[np.float64] = np.interp(np.arange(slabs), known, front[known])
    return interpolated


def mediastinum_part(partition: Partition, sources: tuple[str, ...], part: str) -> Cut:
    """Cut the inferior mediastinum by the front and the back of the heart in each slice.

    Where the heart is not: by trachea, superior vena cava and pulmonary veins; the aorta counts for the front only,
    for its descending part lies in the posterior mediastinum.
    """
    region, heart = sources
    of = partition.need(region)
    partition.need(heart)
    slabs = partition.array.shape[2]
    front, back = np.full(slabs, -1.0), np.full(slabs, np.inf)
    for names, reach_back in (
        ((heart, "trachea", "superior_vena_cava", "pulmonary_vein"), True),
        (("aorta",), False),
    ):
        there = [name for name in names if partition.numbers.get(name)]
        if there:
            runs = partition.runs(*there)
            np.maximum.at(front, runs.slab, runs.row)
            if reach_back:
                np.minimum.at(back, runs.slab, runs.row)
    known = np.flatnonzero(np.isfinite(back))
    # Rounding of what lies between two rows must not decide for the row that it falls on.
    back = np.interp(np.arange(slabs), known, back[known]) - TIE_MM
    front = np.interp(np.arange(slabs), known, front[known]) + TIE_MM
    box = partition.box(of)
    rows = np.arange(box[1].start, box[1].stop)[:, None]
    where = {
        "anterior": rows > front[box[2]],
        "middle": (rows <= front[box[2]]) & (rows >= back[box[2]]),
        "posterior": (rows < back[box[2]]) & (rows <= front[box[2]]),
    }[part]
    return Cut(of, box, where[None])


def sub_diaphragm(partition: Partition, sources: tuple[str, ...]) -> Cut:
    """Take the abdominal organs and, below the heart, what lies between them from side to side.

    No structure of a segmentation is the diaphragm itself: a radiograph shows it as the border of the tissue under it.
    """
    organs = partition.those_of(sources)
    if not organs:
        raise NotDerivable(f"needs one of {', '.join(sources)}")
    box = partition.box(organs)
    runs = partition.runs(*(source for source in sources if partition.numbers.get(source)))
    before = np.full(partition.array.shape[1:], partition.array.shape[0], np.int64)
    after = np.full(before.shape, -1, np.int64)
    np.minimum.at(before, (runs.row, runs.slab), runs.first)
    np.maximum.at(after, (runs.row, runs.slab), runs.last)
    heart = partition.starting("heart")
    if heart:
        # Between liver and stomach lies the heart there, with its fat.
        after[:, partition.box(heart)[2].start :] = -1
    where = _between(before[box[1:]] - 1, after[box[1:]] + 1, box)
    _join(partition, where, box, organs)
    outside = partition.starting(*_BONES, *_MUSCLES, "lung_", "heart") - organs
    return Cut(partition.everywhere_but(outside), box, where)


def lung_vessels(partition: Partition, sources: tuple[str, ...]) -> Cut:
    """Take what is dense in a lung, at least -500 HU, without the 2 mm along its surface and without single voxels.

    A threshold cannot tell: nodules and consolidations inside the lung count as well, and vessels thinner than two
    voxels are missed.
    """
    of = partition.need(*sources)
    box = partition.box(of)
    inner = partition.mask(of, box)
    if partition.ct.unit != "HU":
        raise NotDerivable(f"needs a CT in HU; this one is in {partition.ct.unit}")
    dense = _hounsfield(partition, box, inner) >= VESSEL_HU
    for axis, size in enumerate(partition.voxel_size):
        # Two millimetres are a voxel or three; along thick slices one voxel would be too much of a thin lung base.
        for _ in range(int(RIM_MM / size + 0.5)):
            inner = _eroded(inner, axis)
    dense &= inner
    beside = np.zeros_like(dense)
    for axis in range(3):
        one, other = _neighbours(axis)
        beside[one] |= dense[other]
        beside[other] |= dense[one]
    dense &= beside
    return Cut(of, box, dense)


def _neighbours(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    every = [slice(None)] * 3
    one, other = list(every), list(every)
    one[axis], other[axis] = slice(1, None), slice(None, -1)
    return tuple(one), tuple(other)


def _eroded(mask: Mask, axis: int) -> Mask:
    eroded: Mask = mask.copy(order="K")
    one, other = _neighbours(axis)
    eroded[one] &= mask[other]
    eroded[other] &= mask[one]
    # The box ends where the lung ends.
    for end in (0, -1):
        np.moveaxis(eroded, axis, 0)[end] = False
    return eroded


def _hounsfield(partition: Partition, box: Box, inside: Mask) -> npt.NDArray[Any]:
    """HU of a box's voxels: of the nearest CT voxel, air where none is."""
    voxels, affine = toward_ras(partition.ct.array, partition.ct.affine)
    to_ct = np.linalg.inv(affine) @ partition.affine
    first = np.rint(to_ct[:3, 3])
    # No voxel centre is half a voxel from where a grid shifted by whole voxels has it: the nearest ones lie in order.
    shifted = np.column_stack([np.eye(3), first])
    if (np.abs(to_ct[:3] - shifted) @ [*partition.array.shape, 1] < 0.5).all():
        of_ct = tuple(slice(axis.start + int(by), axis.stop + int(by)) for axis, by in zip(box, first, strict=True))
        if all(axis.start >= 0 and axis.stop <= size for axis, size in zip(of_ct, voxels.shape, strict=True)):
            return voxels[of_ct]
    air = np.full((), -1000, np.result_type(voxels.dtype, np.int16))
    values = np.full(inside.shape, air)
    start = np.array([axis.start for axis in box])
    # Slab by slab, because positions take many times the memory of the voxels.
    for slab in range(inside.shape[2]):
        places = np.argwhere(inside[..., slab, None]) + start + (0, 0, slab)
        nearest = np.floor(places @ to_ct[:3, :3].T + to_ct[:3, 3] + 0.5).astype(np.int64)
        there = ((nearest >= 0) & (nearest < voxels.shape)).all(axis=1)
        found = np.full(len(places), air)
        found[there] = voxels[tuple(nearest[there].T)]
        values[..., slab][inside[..., slab]] = found
    return values


RULES: dict[str, Rule] = {
    "above T4": partial(beside_t4, above=True),
    "below T4": partial(beside_t4, above=False),
    "right of the spine": partial(side_of_spine, right=True),
    "left of the spine": partial(side_of_spine, right=False),
    "lung apex": partial(lung_zone, zone=0),
    "lung upper zone": partial(lung_zone, zone=1),
    "lung mid zone": partial(lung_zone, zone=2),
    "lung base": partial(lung_zone, zone=3),
    "lung vessels": lung_vessels,
    "rib anterior": partial(rib_part, anterior=True),
    "rib posterior": partial(rib_part, anterior=False),
    "ascending aorta": partial(aorta_part, part="ascending"),
    "aortic arch": partial(aorta_part, part="arch"),
    "descending aorta": partial(aorta_part, part="descending"),
    "tracheal bifurcation": tracheal_bifurcation,
    "mediastinum": mediastinum,
    "in front of the heart": partial(mediastinum_part, part="anterior"),
    "level with the heart": partial(mediastinum_part, part="middle"),
    "behind the heart": partial(mediastinum_part, part="posterior"),
    "sub-diaphragm": sub_diaphragm,
}
"""The rules by the names that taxonomy files give them."""
