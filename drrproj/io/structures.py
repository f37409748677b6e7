"""Structures that come one by one, as masks, to one volume of label ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from drrproj.overlaps import OverlappingMasks
from drrproj.short_text import near_or_known

__all__ = ["Structure", "combined", "numbered", "selected", "unique_names"]


class Structure(NamedTuple):
    """A structure's mask, in the part of the grid that it covers."""

    label_id: int
    name: str
    mask: npt.NDArray[np.bool_]
    where: tuple[slice, ...] = ()


def unique_names(names: Sequence[str]) -> list[str]:
    """Add its place to a name that occurs twice, because a label is found by its name.

    Where another structure has that very name, the number counts on until no other has it.

    Examples
    --------
    >>> from drrproj.io.structures import unique_names
    >>> unique_names(["liver", "lesion", "lesion"])
    ['liver', 'lesion 2', 'lesion 3']
    >>> unique_names(["lesion 2", "lesion", "lesion"])
    ['lesion 2', 'lesion 3', 'lesion 4']
    """
    taken = set(names)
    unique = []
    for place, name in enumerate(names, start=1):
        if names.count(name) > 1:
            name = next(numbered for number in count(place) if (numbered := f"{name} {number}") not in taken)
            taken.add(name)
        unique.append(name)
    return unique


def selected(names: Sequence[str], structures: Sequence[str] | None) -> list[str]:
    """Keep the structures asked for, in the order of ``names``; all where none are asked for.

    Raises
    ------
    ValueError
        If one is not there.
    """
    if structures is None:
        return list(names)
    wanted = [structures] if isinstance(structures, str) else list(structures)
    for name in wanted:
        if name not in names:
            raise ValueError(f"no structure {name!r}; {near_or_known(name, names)}")
    return [name for name in names if name in wanted]


def numbered(found: Mapping[str, int], names: Mapping[int, str] | None) -> list[tuple[int, str]]:
    """Give every structure its id, ascending: the one it comes with, or the one that ``names`` has for it.

    Raises
    ------
    ValueError
        If ``names`` has no id for one.
    """
    if names is None:
        return sorted((label_id, name) for name, label_id in found.items())
    unknown = sorted(set(found) - set(names.values()))
    if unknown:
        raise ValueError(f"no id for {', '.join(unknown)}; add them to names or take them out")
    return [(label_id, name) for label_id, name in sorted(names.items()) if name in found]


def combined(
    shape: tuple[int, ...], structures: Iterable[Structure], names: Mapping[int, str] | None
) -> tuple[npt.NDArray[Any], dict[int, tuple[int, ...]]]:
    """Combine structures into one array of label values, each with all its voxels.

    Returns
    -------
    array : ndarray of unsigned integers, of that shape
    overlaps : dict
        The ids of each value that stands for several; none of them is an id in ``names``.
    """
    masks = OverlappingMasks(shape)
    for label_id, _, mask, where in structures:
        masks.add(mask, label_id, where)
    return masks.combined(above=max(names or {}, default=0))
