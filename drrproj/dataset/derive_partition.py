"""One array in which every voxel has one number, and which structures and classes each number belongs to."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from drrproj.label_volume import LabelVolume
from drrproj.volume import Volume

__all__ = ["Cut", "NotDerivable", "Partition", "Runs", "toward_ras"]

Box = tuple[slice, slice, slice]
Mask = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]
# One byte a voxel as long as 255 numbers do, two from then on.
Numbers = npt.NDArray[np.unsignedinteger[Any]]
# Runs of one number within one slab, shape (4, runs): first, last, row, slab.
SlabRuns = npt.NDArray[np.signedinteger[Any]]

# Planes come from means over voxels: one that falls on voxel centres must decide alike for every order of summing.
TIE_MM = 1e-4
# Up to here comparing voxels with each number in turn is faster than looking each voxel up in a table.
_FEW = 4


class NotDerivable(LookupError):
    """What a class is made of is not there; the message says what is missing."""


class Runs(NamedTuple):
    """Voxels of a structure as runs along the first axis: ``first`` to ``last`` (inclusive) at (row, slab)."""

    first: Indices
    last: Indices
    row: Indices
    slab: Indices


@dataclass(frozen=True)
class Cut:
    """Voxels of a new class: those in ``box`` with a number in ``of`` where ``where``, which broadcasts, is true."""

    of: frozenset[int]
    box: Box
    where: Mask


def toward_ras(array: npt.NDArray[Any], affine: npt.NDArray[np.float64]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """View an array with its axes pointing right, anterior, superior as nearly as they can, and its affine."""
    order, flipped = _axes(affine)
    view = np.flip(array.transpose(order), flipped)
    turned = affine[:, (*order, 3)].copy()
    for axis in flipped:
        turned[:, 3] += turned[:, axis] * (view.shape[axis] - 1)
        turned[:, axis] *= -1
    return view, turned


def _axes(affine: npt.NDArray[np.float64]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Array axes nearest to right, anterior, superior, and which of those three run the other way."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    order = max(
        itertools.permutations(range(3)), key=lambda axes: sum(abs(directions[w, a]) for w, a in enumerate(axes))
    )
    return order, tuple(world for world, axis in enumerate(order) if directions[world, axis] < 0)


class Partition:
    """The voxels of a segmentation, cut further and further by rules.

    A class is a set of numbers; cutting gives the voxels inside a new number and leaves the others theirs, so classes
    may overlap at will and still one array holds them.

    Parameters
    ----------
    labels : LabelVolume
    ct : Volume
        For rules that look at HU.

    Notes
    -----
    Axes point right, anterior and superior as nearly as the grid allows, whatever their order in memory. The array is
    that part of the segmentation that has labels, with one voxel more on each side where there is one: a rule that
    looks beside a structure finds background there, as it would farther out.
    """

    def __init__(self, labels: LabelVolume, ct: Volume) -> None:
        self.ct = ct
        around = _around_labels(labels.array)
        turned, self.affine = toward_ras(labels.array[around], _moved(labels.affine, [axis.start for axis in around]))
        self._given_affine = labels.affine
        self._order, self._flipped = _axes(labels.affine)
        self._whole = [labels.shape[axis] for axis in self._order]
        self._first = [around[axis].start for axis in self._order]
        for axis in self._flipped:
            self._first[axis] = self._whole[axis] - around[self._order[axis]].stop
        by_id = labels.values_by_structure
        values = sorted({value for of_one in by_id.values() for value in of_one})
        # Small numbers stand for themselves, unless there may be others between them that nobody asked for.
        as_they_are = max(values, default=0) < 2**15 and (labels.selected is None or not values)
        number = {value: value if as_they_are else position for position, value in enumerate(values, 1)}
        self.count = max(number.values(), default=0) + 1
        self._room, self.array = _with_room(turned.shape, self._whole, np.min_scalar_type(self.count - 1))
        if as_they_are:
            np.copyto(self.array, turned, casting="unsafe")
        else:
            for slab in range(turned.shape[2]):
                plane = turned[..., slab]
                place = np.minimum(np.searchsorted(values, plane), len(values) - 1)
                self.array[..., slab] = np.where(np.take(values, place) == plane, place + 1, 0)
        self.numbers: dict[str, frozenset[int]] = {
            labels.name_of(label_id): frozenset(number[value] for value in of_one)
            for label_id, of_one in by_id.items()
            if of_one
        }
        self._runs = _runs_by_number(self.array)
        self.boxes: dict[int, Box] = {}
        self._voxels: dict[int, int] = {}
        for key, pieces in self._runs.items():
            runs = np.concatenate(pieces, axis=1)
            self.boxes[key] = _box_of(runs)
            self._voxels[key] = int((runs[1] - runs[0] + 1).sum())
        # Cutting gives a structure more numbers and leaves it its voxels: those it had at first still say where it is.
        self._at_first = dict(self.numbers)
        self.median_plane: float | None = None

    @property
    def voxel_size(self) -> npt.NDArray[np.float64]:
        """Voxel edges in mm, shape (3,)."""
        size: npt.NDArray[np.float64] = np.linalg.norm(self.affine[:3, :3], axis=0)
        return size

    def need(self, *names: str) -> frozenset[int]:
        """Return the numbers of all these together.

        Raises
        ------
        NotDerivable
            If one is not there.
        """
        missing = [name for name in names if not self.numbers.get(name)]
        if missing:
            raise NotDerivable(f"needs {', '.join(missing)}")
        return frozenset().union(*(self.numbers[name] for name in names))

    def those_of(self, names: Iterable[str]) -> frozenset[int]:
        """Return the numbers of those that are there."""
        return frozenset().union(*(self.numbers.get(name, frozenset()) for name in names))

    def starting(self, *prefixes: str) -> frozenset[int]:
        """Return the numbers of all whose name starts so."""
        return self.those_of(name for name in self.numbers if name.startswith(prefixes))

    def runs(self, *names: str) -> Runs:
        """Return the voxels of all these as runs, which are far fewer than voxels.

        Raises
        ------
        NotDerivable
            If one is not there.
        """
        numbers = self.need(*names)
        if all(name in self._at_first for name in names):
            at_first = sorted(frozenset().union(*(self._at_first[name] for name in names)))
            return _joined([piece for number in at_first for piece in self._runs[number]])
        box = self.box(numbers)
        inside = _joined(_runs_by_number(self.mask(numbers, box).view(np.uint8))[1])
        i, j, k = (axis.start for axis in box)
        return Runs(inside.first + i, inside.last + i, inside.row + j, inside.slab + k)

    def centers(self, name: str) -> npt.NDArray[np.float64]:
        """World coordinates of a structure's voxel centres, mm, shape (3, voxels)."""
        runs = self.runs(name)
        lengths = runs.last - runs.first + 1
        # Counting on from each run's start: the position in all, less that at which the run begins.
        along = np.arange(lengths.sum()) + np.repeat(runs.first - (lengths.cumsum() - lengths), lengths)
        indices = np.stack([along, np.repeat(runs.row, lengths), np.repeat(runs.slab, lengths)])
        centers: npt.NDArray[np.float64] = self.affine[:3, :3] @ indices + self.affine[:3, 3:]
        return centers

    def box(self, numbers: Iterable[int]) -> Box:
        """Return a box that holds every voxel of these numbers."""
        boxes = [self.boxes[number] for number in numbers]
        i, j, k = (
            slice(min(box[axis].start for box in boxes), max(box[axis].stop for box in boxes)) for axis in range(3)
        )
        return i, j, k

    def mask(self, numbers: frozenset[int], box: Box) -> Mask:
        """Return which voxels of a box have one of these numbers."""
        region = self.array[box]
        inside: Mask = np.zeros(region.shape, bool, order="F")
        if len(numbers) <= _FEW:
            for number in numbers:
                inside |= region == number
            return inside
        table = np.zeros(self.count, bool)
        table[list(numbers)] = True
        for slab in range(region.shape[2]):
            np.take(table, region[..., slab], out=inside[..., slab])
        return inside

    def along(self, axis: int, box: Box) -> npt.NDArray[np.float64]:
        """World coordinate (0 right, 1 anterior, 2 superior; mm) of a box's voxels; broadcasts to its shape."""
        coordinate: npt.NDArray[np.float64] = np.full((1, 1, 1), self.affine[axis, 3])
        for side, shape in enumerate(((-1, 1, 1), (1, -1, 1), (1, 1, -1))):
            step = self.affine[axis, side]
            # Rounding of a rotation by 90 degrees is no obliquity, and a small array is faster than a full one.
            if abs(step) * self.array.shape[side] > TIE_MM / 10:
                coordinate = coordinate + step * np.arange(box[side].start, box[side].stop).reshape(shape)
        return coordinate

    def points(self, runs: Runs, axis: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """World coordinate of the two ends of each run, mm."""
        step = self.affine[axis]
        rest = step[1] * runs.row + step[2] * runs.slab + step[3]
        return step[0] * runs.first + rest, step[0] * runs.last + rest

    def everywhere_but(self, numbers: frozenset[int]) -> frozenset[int]:
        """Return all other numbers, the background's 0 too."""
        return frozenset((0, *self.boxes)) - numbers

    def as_given(self) -> tuple[Numbers, npt.NDArray[np.float64]]:
        """Move the array to its place in the grid that the labels had; return that and its affine. Comes last."""
        whole = self._room.reshape(self._whole, order="F")
        columns, rows, _ = (slice(a, a + size) for a, size in zip(self._first, self.array.shape, strict=True))
        # From the last slab on, because no slab's place lies before the slab itself.
        for slab in reversed(range(self.array.shape[2])):
            plane = self.array[..., slab].copy()
            self.array[..., slab] = 0
            whole[columns, rows, self._first[2] + slab] = plane
        given: Numbers = np.flip(whole, self._flipped).transpose(np.argsort(self._order))
        return given, self._given_affine

    def clear(self, numbers: frozenset[int]) -> None:
        """Make these numbers background."""
        boxes = [self.boxes[number] for number in numbers]
        if sum(_size(box) for box in boxes) < self.array.size:
            for number, box in zip(numbers, boxes, strict=True):
                region = self.array[box]
                np.copyto(region, self.array.dtype.type(0), where=region == number)
            return
        table = np.arange(self.count, dtype=self.array.dtype)
        table[list(numbers)] = 0
        for slab in range(self.array.shape[2]):
            self.array[..., slab] = table.take(self.array[..., slab])

    def add_union(self, name: str, sources: Iterable[str]) -> bool:
        """Let a class be all of these that are there; False if none is."""
        there = [source for source in sources if self.numbers.get(source)]
        at_first = [self._at_first.get(source) for source in there]
        numbers = self.those_of(there)
        self.forget(name)
        if numbers:
            self.numbers[name] = numbers
            if None not in at_first:
                self._at_first[name] = frozenset().union(*(one for one in at_first if one is not None))
        return bool(numbers)

    def forget(self, name: str) -> None:
        """Let a name stand for nothing; its voxels stay."""
        self.numbers.pop(name, None)
        self._at_first.pop(name, None)

    def add(self, name: str, cut: Cut) -> bool:
        """Give the voxels of a cut to a class; False if there are none."""
        cut = _trimmed(cut)
        if self.count + len(cut.of) > np.iinfo(np.uint16).max:
            raise ValueError("these labels and classes overlap in more than 65535 ways; derive fewer classes at once")
        successors = self._renumbered(cut)
        for number, successor in successors.items():
            self.boxes[successor] = _meeting(self.boxes.get(number, cut.box), cut.box)
            for key, members in self.numbers.items():
                if number in members:
                    self.numbers[key] = members | {successor}
        self.forget(name)
        if successors:
            self.numbers[name] = frozenset(successors.values())
        return bool(successors)

    def _renumbered(self, cut: Cut) -> dict[int, int]:
        """Give the voxels of a cut new numbers; return the new one by the old one."""
        successors: dict[int, int] = {}
        for number in sorted(cut.of):
            # Comparing bytes is so fast that each number's own box in turn beats one look-up for each voxel of the cut.
            box = _meeting(self.boxes.get(number, cut.box), cut.box)
            if not _size(box):
                continue
            inside = self.array[box] == number
            inside &= cut.where[
                tuple(
                    slice(part.start - whole.start, part.stop - whole.start) if size > 1 else slice(None)
                    for part, whole, size in zip(box, cut.box, cut.where.shape, strict=True)
                )
            ]
            voxels = int(np.count_nonzero(inside))
            if voxels:
                successors[number] = self._successor(number, voxels)
                if successors[number] != number:
                    np.copyto(self.array[box], self.array.dtype.type(successors[number]), where=inside)
        return successors

    def _successor(self, number: int, voxels: int) -> int:
        """Return a number for so many voxels of another one: that one itself if it has no more, else a new one."""
        if number and voxels == self._voxels[number]:
            return number
        successor = self.count
        self.count += 1
        self._voxels[successor] = voxels
        if number:
            self._voxels[number] -= voxels
        if successor > np.iinfo(self.array.dtype).max:
            narrow = self.array
            self._room, self.array = _with_room(narrow.shape, self._whole, np.min_scalar_type(successor))
            self.array[...] = narrow
        return successor


def _trimmed(cut: Cut) -> Cut:
    """Drop the ends of the box where nothing is true: a half-space is half a box."""
    if 1 not in cut.where.shape or not cut.where.any():
        return cut
    box, inner = list(cut.box), [slice(None)] * 3
    for axis in range(3):
        if cut.where.shape[axis] > 1:
            there = np.flatnonzero(cut.where.any(axis=tuple({0, 1, 2} - {axis})))
            inner[axis] = slice(int(there[0]), int(there[-1]) + 1)
            box[axis] = slice(box[axis].start + inner[axis].start, box[axis].start + inner[axis].stop)
    return Cut(cut.of, (box[0], box[1], box[2]), cut.where[tuple(inner)])


def _with_room(part: Sequence[int], whole: Sequence[int], kind: np.dtype[Any]) -> tuple[Numbers, Numbers]:
    """Zeros for a whole grid, flat, and its beginning in the shape of a part; memory is taken by what is touched."""
    room: Numbers = np.zeros(math.prod(whole), kind)
    return room, room[: math.prod(part)].reshape(part, order="F")


def _around_labels(array: npt.NDArray[Any]) -> Box:
    """Box of all voxels but the background's, with one more on each side where there is one."""
    occupied = [np.zeros(size, bool) for size in array.shape]
    slowest = int(np.argmax(np.abs(array.strides)))
    one, other = (axis for axis in range(3) if axis != slowest)
    for place, plane in enumerate(np.moveaxis(array, slowest, 0)):
        along = np.bitwise_or.reduce(plane, axis=1) != 0
        occupied[one] |= along
        occupied[other] |= np.bitwise_or.reduce(plane, axis=0) != 0
        occupied[slowest][place] = along.any()
    box = []
    for there, size in zip((np.flatnonzero(axis) for axis in occupied), array.shape, strict=True):
        first, last = (int(there[0]), int(there[-1])) if len(there) else (0, 0)
        box.append(slice(max(first - 1, 0), min(last + 2, size)))
    return box[0], box[1], box[2]


def _moved(affine: npt.NDArray[np.float64], first: Sequence[int]) -> npt.NDArray[np.float64]:
    """Affine of the part of a grid that begins at this voxel."""
    moved: npt.NDArray[np.float64] = affine.copy()
    moved[:3, 3] += moved[:3, :3] @ first
    return moved


def _runs_by_number(array: Numbers) -> dict[int, list[SlabRuns]]:
    """Runs of each number but 0, slab by slab."""
    rows, columns, slabs = array.shape
    # As small as they can be, because a chest has more than a million of them.
    smallest = np.int16 if max(array.shape) < 2**15 else np.int32
    found: dict[int, list[SlabRuns]] = {}
    starts_here = np.empty(rows * columns, bool)
    for slab in range(slabs):
        # The array is in Fortran order: the lines of a slab lie one after the other.
        line = array[..., slab].reshape(-1, order="F")
        np.not_equal(line[1:], line[:-1], out=starts_here[1:])
        starts_here[::rows] = True
        starts = np.flatnonzero(starts_here)
        numbers = line[starts]
        lengths = np.diff(starts, append=line.size)
        kept = np.flatnonzero(numbers)
        kept = kept[np.argsort(numbers[kept], kind="stable")]
        if not len(kept):
            continue
        numbers = numbers[kept]
        runs = np.empty((4, len(kept)), smallest)
        runs[2], runs[0] = np.divmod(starts[kept], rows)
        runs[1] = runs[0] + (lengths[kept] - 1)
        runs[3] = slab
        edges = [0, *(np.flatnonzero(numbers[1:] != numbers[:-1]) + 1).tolist(), len(kept)]
        for a, b in itertools.pairwise(edges):
            found.setdefault(int(numbers[a]), []).append(runs[:, a:b])
    return dict(sorted(found.items()))


def _joined(pieces: Sequence[SlabRuns]) -> Runs:
    return Runs(*np.concatenate(pieces, axis=1, dtype=np.int64))


def _box_of(runs: SlabRuns) -> Box:
    low, high = runs.min(axis=1).tolist(), runs.max(axis=1).tolist()
    return slice(low[0], high[1] + 1), slice(low[2], high[2] + 1), slice(low[3], high[3] + 1)


def _size(box: Box) -> int:
    return math.prod(int(axis.stop - axis.start) for axis in box)


def _meeting(one: Sequence[slice], other: Sequence[slice]) -> Box:
    """Box that two boxes share; its size is 0 where they do not meet."""
    starts = [max(a.start, b.start) for a, b in zip(one, other, strict=True)]
    stops = [min(a.stop, b.stop) for a, b in zip(one, other, strict=True)]
    i, j, k = (slice(start, max(start, stop)) for start, stop in zip(starts, stops, strict=True))
    return i, j, k
