"""Masks that overlap as one array: a value for each structure, and one for each combination that occurs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["OverlappingMasks"]


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

    def add(self, mask: npt.NDArray[np.bool_], label_id: int) -> None:
        """Add a structure, whose id must differ from those before."""
        met = self._combinations[mask]
        after = np.zeros(len(self._members), np.int64)
        for number in np.flatnonzero(np.bincount(met, minlength=len(self._members))):
            after[number] = len(self._members)
            self._members.append((*self._members[number], label_id))
        if len(self._members) > np.iinfo(self._combinations.dtype).max:
            self._combinations = self._combinations.astype(np.uint32)
        self._combinations[mask] = after[met].astype(self._combinations.dtype)

    def combined(self) -> tuple[npt.NDArray[Any], dict[int, tuple[int, ...]]]:
        """Return the array of values, and the ids of each value that stands for several; those follow the ids."""
        occurring = np.bincount(self._combinations.ravel(order="K"), minlength=len(self._members))
        next_value = max((label_id for ids in self._members for label_id in ids), default=0)
        values = np.zeros(len(self._members), np.int64)
        overlaps = {}
        for number, ids in enumerate(self._members):
            if len(ids) == 1:
                values[number] = ids[0]
            elif ids and occurring[number]:
                next_value += 1
                values[number] = next_value
                overlaps[next_value] = ids
        return values.astype(np.min_scalar_type(next_value))[self._combinations], overlaps
