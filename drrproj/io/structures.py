"""Structures that come one by one, as masks, to one volume of label ids."""

from __future__ import annotations

import difflib
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Overlap", "Structure", "numbered", "painted", "selected", "unique_names"]

Overlap = Literal["first", "last"]


class Structure(NamedTuple):
    """A structure's mask, in the part of the grid that it covers."""

    label_id: int
    name: str
    mask: npt.NDArray[np.bool_]
    where: tuple[slice, ...] = ()


def unique_names(names: Sequence[str]) -> list[str]:
    """Add its place to a name that occurs twice, because a label is found by its name.

    Examples
    --------
    >>> from drrproj.io.structures import unique_names
    >>> unique_names(["liver", "lesion", "lesion"])
    ['liver', 'lesion 2', 'lesion 3']
    """
    return [f"{name} {place}" if names.count(name) > 1 else name for place, name in enumerate(names, start=1)]


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
            near = difflib.get_close_matches(name, names, n=3)
            raise ValueError(
                f"no structure {name!r}; "
                + (f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(names) or 'none'}")
            )
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


def painted(
    source: str | os.PathLike[str],
    shape: tuple[int, ...],
    structures: Iterable[Structure],
    largest_id: int,
    overlap: Overlap | None,
    order: Literal["C", "F"] = "C",
) -> npt.NDArray[Any]:
    """Paint structures into one array of label ids.

    Parameters
    ----------
    source : str or path
        What they come from, for the messages.
    shape : tuple of int
    structures : iterable of Structure
        In ascending order of their ids.
    largest_id : int
        Decides the number type.
    overlap : {"first", "last"} or None
        Which structure keeps a voxel that two of them have.
    order : {"C", "F"}
        Of the memory.

    Returns
    -------
    ndarray of unsigned integers

    Raises
    ------
    ValueError
        If structures overlap and ``overlap`` is None.

    Warns
    -----
    UserWarning
        Says how many voxels are shared, where ``overlap`` settles it.
    """
    ids = np.zeros(shape, np.min_scalar_type(largest_id), order=order)
    names: dict[int, str] = {}
    shared: dict[tuple[str, str], int] = {}
    for label_id, name, mask, where in structures:
        names[label_id] = name
        part = ids[where]
        taken = mask & (part != 0)
        for other, count in zip(*np.unique(part[taken], return_counts=True), strict=True):
            shared[names[int(other)], name] = int(count)
        part[mask & ~taken if overlap == "first" else mask] = label_id
    if shared:
        _report_overlap(source, shared, overlap)
    return ids


def _report_overlap(
    source: str | os.PathLike[str], shared: dict[tuple[str, str], int], overlap: Overlap | None
) -> None:
    one, two = max(shared, key=lambda pair: shared[pair])
    what = f"{source}: masks overlap in {sum(shared.values())} voxels, {one} and {two} alone in {shared[one, two]}"
    if overlap is None:
        raise ValueError(
            f'{what}, and a voxel can have one label; say which keeps it with overlap="first" or overlap="last" '
            "(in the order of their ids)"
        )
    warnings.warn(f"{what}; the {overlap} in the order of their ids keeps them", stacklevel=5)
