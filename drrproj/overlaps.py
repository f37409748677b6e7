"""Masks that overlap as one array: a value for each structure, and one for each combination that occurs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["OverlappingMasks"]

_VOXELS = 1 << 20


class OverlappingMasks:
    """Takes masks one by one, so that they need not be in memory together.

    Parameters
    ----------
    shape : tuple of int
        Of every mask.

    Examples
    --------
    >>> import numpy as np
    >>> masks = OverlappingMasks((3,))
    >>> masks.add(np.array([True, True, False]), 5)
    >>> masks.add(np.array([False, True, True]), 9)
    >>> masks.combined()
    (array([ 5, 10,  9], dtype=uint8), {10: (5, 9)})
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._combinations: npt.NDArray[Any] = np.zeros(shape, np.uint8, order="F")
        # Which ids each number in the array stands for.
        self._members: list[tuple[int, ...]] = [()]
        self._largest_id = 0

    def add(self, mask: npt.NDArray[np.bool_], label_id: int, where: tuple[slice, ...] = ()) -> None:
        """Add a structure, whose id must differ from those before; its mask may be that of a part of the array."""
        self._largest_id = max(self._largest_id, label_id)
        inside = mask.ravel(order="F")
        if where:
            inside = np.zeros(self._combinations.shape, bool, order="F")
            inside[where] = mask
            inside = inside.ravel(order="F")
        met = np.zeros(len(self._members), bool)
        for part in self._parts:
            met |= np.bincount(self._flat[part][inside[part]], minlength=len(met)) > 0
        after = np.zeros(len(self._members), np.int64)
        for number in np.flatnonzero(met):
            after[number] = len(self._members)
            self._members.append((*self._members[number], label_id))
        if len(self._members) > np.iinfo(self._combinations.dtype).max:
            self._combinations = self._combinations.astype(np.uint32)
        for part in self._parts:
            numbers, within = self._flat[part], inside[part]
            numbers[within] = after[numbers[within]]

    def combined(self, above: int = 0) -> tuple[npt.NDArray[Any], dict[int, tuple[int, ...]]]:
        """Return the array of values, and the ids of each value that stands for several.

        Those values follow the largest id, and ``above``: the largest id that is known without a mask.
        """
        occurring = np.zeros(len(self._members), bool)
        for part in self._parts:
            occurring |= np.bincount(self._flat[part], minlength=len(occurring)) > 0
        next_value = max(above, self._largest_id)
        values = np.zeros(len(self._members), np.int64)
        overlaps = {}
        for number, ids in enumerate(self._members):
            if len(ids) == 1:
                values[number] = ids[0]
            elif ids and occurring[number]:
                next_value += 1
                values[number] = next_value
                overlaps[next_value] = ids
        values = values.astype(np.min_scalar_type(values.max()))
        array = np.empty(self._combinations.shape, values.dtype, order="F")
        for part in self._parts:
            array.ravel(order="F")[part] = values[self._flat[part]]
        return array, overlaps

    @property
    def _flat(self) -> npt.NDArray[Any]:
        return self._combinations.ravel(order="F")

    @property
    def _parts(self) -> Iterator[slice]:
        # numpy counts and looks up with 8 bytes for each voxel: of the whole array that would be gigabytes.
        return (slice(start, start + _VOXELS) for start in range(0, self._combinations.size, _VOXELS))
