"""Label volumes: which voxels belong to which structures, and what those are called."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj import device_arrays
from drrproj.grid import Grid, Space, checked_voxels, in_ras
from drrproj.name_patterns import matching
from drrproj.overlaps import OverlappingMasks
from drrproj.short_text import counted, near_or_known, shown

__all__ = ["LabelVolume", "as_id", "checked_names", "odd_character"]

# Controls, surrogates, and ends of lines and paragraphs: no file can write the second, tables break at the others, and
# NumPy drops NUL at the end of a name.
_NO_TEXT = ("Cc", "Cs", "Zl", "Zp")
# Below it values are HU of fat or air rather than a mark for voxels without a label, such as -1 or -100.
_LIKE_HU = -100


@dataclass(frozen=True, eq=False, repr=False)
class LabelVolume(Grid):
    """Anatomy: one integer per voxel, 0 for background, and names for the others.

    A structure is usually one id. Two kinds are more: a **group** is the union of several ids and has an id of its own
    (:meth:`with_groups`), and where structures **overlap**, a voxel's value stands for several ids at once
    (:meth:`from_masks`).

    Do not change the array once its ids were read or it was projected: which ids it has, and where it is background, is
    remembered. After a change make a new one.

    Parameters
    ----------
    array : array_like of integers, shape (i, j, k), any strides
        Label ids; sparse and large ids are fine. Floating point is accepted when every value is whole, because
        many tools save it so; it is then converted to integers, which copies it.
    affine : array_like, shape (4, 4)
        ``world_from_voxel`` of this grid; it need not be the CT's grid.
    names : mapping of int to str, optional
        Structure names by id. Ids without a name are called by their number.
    overlaps : mapping of int to sequence of int, optional
        Voxel values that stand for several ids at once: ``{200: (51, 52)}``. Such a value is no id itself.
    groups : mapping of int to sequence of int, optional
        Ids that no voxel has, and the ids that they are the union of.
    selected : sequence of int, optional
        Ids to report, in this order; by default all that occur, ascending, then the groups. See :meth:`subset`.
    space : {"RAS", "LPS"}
        World frame of ``affine``.
    frame_of_reference : str, optional
        DICOM's UID of the patient space, as its files give it. A CT of another one is refused.

    Raises
    ------
    TypeError
        If the labels are not whole numbers.
    ValueError
        If names are empty, repeated, or given to the background; if overlaps or groups name what is no id; and from
        :attr:`label_ids`, which reads the array, if ids are negative or do not fit 64 bits.

    Examples
    --------
    >>> import numpy as np, drrproj
    >>> heart = np.zeros((8, 8, 8), np.uint8)
    >>> heart[2:6, 2:6, 2:6] = 51
    >>> drrproj.LabelVolume(heart, np.eye(4), {51: "heart"}).name_of(51)
    'heart'
    """

    names: Mapping[int, str] = field(default_factory=dict)
    space: InitVar[Space] = "RAS"
    frame_of_reference: str | None = None
    overlaps: Mapping[int, tuple[int, ...]] = field(default_factory=dict, kw_only=True)
    groups: Mapping[int, tuple[int, ...]] = field(default_factory=dict, kw_only=True)
    selected: tuple[int, ...] | None = field(default=None, kw_only=True)

    def __post_init__(self, space: Space) -> None:
        array = checked_voxels(self.array, "the label volume")
        if device_arrays.is_on_device(array):
            device_arrays.check_integers(array)
        elif array.dtype.kind == "f":
            array = _whole_numbers(array)
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "affine", in_ras(self.affine, space, "the label volume"))
        object.__setattr__(self, "names", checked_names(self.names or {}))
        overlaps = _checked_members(self.overlaps, "overlap")
        groups = _checked_members(self.groups, "group")
        both = overlaps.keys() & groups.keys() | overlaps.keys() & self.names.keys()
        if both:
            raise ValueError(f"value {min(both)} stands for an overlap, and is no id: it has no name and is no group")
        for label_id in itertools.chain(*overlaps.values(), *groups.values()):
            if label_id in overlaps or label_id in groups:
                raise ValueError(f"overlaps and groups are made of ids; {label_id} is an overlap or a group itself")
        object.__setattr__(self, "overlaps", overlaps)
        object.__setattr__(self, "groups", groups)
        if self.selected is not None:
            object.__setattr__(self, "selected", tuple(int(label_id) for label_id in self.selected))

    def _told(self) -> list[str]:
        counts = {"name": len(self.names), "group": len(self.groups), "overlap": len(self.overlaps)}
        told = [counted(count, what) for what, count in counts.items() if count or what == "name"]
        return [*super()._told(), *told, *([] if self.selected is None else [f"{len(self.selected)} selected"])]

    @classmethod
    def from_masks(cls, masks: Mapping[str, npt.ArrayLike], affine: npt.ArrayLike, space: Space = "RAS") -> LabelVolume:
        """Make labels of one mask per structure; the masks may overlap, and every structure keeps all its voxels.

        Parameters
        ----------
        masks : mapping of str to array_like, shape (i, j, k)
            Where each structure is: anything but zero. Of a stack ``s`` of shape (n, i, j, k), pass
            ``dict(zip(names, s))``.
        affine : array_like, shape (4, 4)
            ``world_from_voxel`` of all of them.
        space : {"RAS", "LPS"}
            World frame of ``affine``.

        Returns
        -------
        LabelVolume
            Ids 1, 2, ... in the order of ``masks``; voxels in several masks have values above, listed in ``overlaps``.

        Raises
        ------
        TypeError
            If the masks have no names, or one does not hold real numbers.
        ValueError
            If there is no mask, one is not 3-D, or the shapes differ.

        Examples
        --------
        >>> import numpy as np, drrproj
        >>> thorax = np.zeros((8, 8, 8), bool)
        >>> thorax[1:7] = True
        >>> heart = np.zeros((8, 8, 8), bool)
        >>> heart[3:5] = True
        >>> labels = drrproj.LabelVolume.from_masks({"thorax": thorax, "heart": heart}, np.eye(4))
        >>> dict(labels.names), dict(labels.overlaps)
        ({1: 'thorax', 2: 'heart'}, {3: (1, 2)})
        """
        if not isinstance(masks, Mapping):
            raise TypeError(f'masks must be a mapping of names to masks, {{"heart": mask}}; got {type(masks).__name__}')
        combination: OverlappingMasks | None = None
        shape: tuple[int, ...] = ()
        for label_id, (name, values) in enumerate(masks.items(), start=1):
            device_arrays.check_on_host(values, "masks are combined", "move them there")
            mask = checked_voxels(values, f"mask {name!r}")
            if mask.dtype.kind == "f" and np.isnan(mask).any():
                raise ValueError(f"mask {name!r} holds NaN, which is neither inside nor outside")
            if combination is None:
                combination, shape = OverlappingMasks(mask.shape), mask.shape
            elif mask.shape != shape:
                raise ValueError(f"mask {name!r} has shape {mask.shape}, but the first one has {shape}")
            combination.add(mask != 0, label_id)
        if combination is None:
            raise ValueError("labels need at least one mask; got none")
        array, overlaps = combination.combined()
        world_from_voxel: Any = affine
        return cls(array, world_from_voxel, dict(enumerate(masks, start=1)), space, overlaps=overlaps)

    def with_groups(self, groups: Mapping[str, Sequence[int | str]]) -> LabelVolume:
        """Add unions of structures, each with a name and an id of its own.

        A union's path length is the length of the ray in any of its members, its mask where the ray meets any: for
        members that do not overlap, the sum of their path lengths and the union of their masks; for members that do,
        the path length is less than the sum.

        Parameters
        ----------
        groups : mapping of str to sequence of int or str
            ``{"lungs": ["lung_left", "lung_right"], "ribs": ["rib_*"]}``: members by name, id or pattern.

        Returns
        -------
        LabelVolume
            The same voxels; the new ids follow the largest one there is.

        Raises
        ------
        TypeError
            If the groups have no names.
        ValueError
            If a group has no member, or its name is taken.
        KeyError
            If a member is not there.

        Examples
        --------
        >>> import numpy as np, drrproj
        >>> halves = np.ones((8, 8, 8), np.uint8)
        >>> halves[4:] = 2
        >>> labels = drrproj.LabelVolume(halves, np.eye(4), {1: "left", 2: "right"})
        >>> dict(labels.with_groups({"both": ["left", "right"]}).groups)
        {3: (1, 2)}
        """
        given: Any = groups
        if not isinstance(given, Mapping):
            raise TypeError(f'groups must name their members, {{"lungs": ["lung_*"]}}; got {shown(given)}')
        new_id = max((*self._occurring, *self.names, *self.overlaps, *self.groups, 0))
        names, unions = dict(self.names), dict(self.groups)
        for name, members in groups.items():
            new_id += 1
            if isinstance(members, str) or not isinstance(members, Iterable):
                raise ValueError(f"group {name!r} needs a list of members; got {shown(members)}")
            ids: list[int] = []
            for member in members:
                for label_id in self.ids_of(member):
                    ids += self.groups.get(label_id, (label_id,))
            if not ids:
                raise ValueError(f"group {name!r} has no member")
            names[new_id] = name
            unions[new_id] = tuple(sorted(set(ids)))
        # Somebody who selected before asks for the new ones as well.
        added = [label_id for label_id in unions if label_id not in self.groups]
        selected = None if self.selected is None else (*self.selected, *added)
        return self._with(names=names, groups=unions, selected=selected)

    def subset(self, structures: Iterable[int | str] | int | str) -> LabelVolume:
        """Keep only these structures, in this order; the others become background.

        Parameters
        ----------
        structures : int or str, or iterable of them
            Ids or names, of groups too, or patterns such as ``"rib_*"``. One that is known but has no voxel stays,
            with empty images.

        Returns
        -------
        LabelVolume
            The same voxels, of which the others are not looked at.

        Raises
        ------
        KeyError
            If one is not there; the message names those that are spelled alike.

        Examples
        --------
        >>> import numpy as np, drrproj
        >>> labels = drrproj.LabelVolume(np.ones((8, 8, 8), np.uint8), np.eye(4), {1: "heart", 2: "liver"})
        >>> labels.subset(["liver", "heart"]).label_ids
        (2, 1)
        >>> labels.subset("l*").label_ids
        (2,)
        >>> labels.subset(["hart"])
        Traceback (most recent call last):
            ...
        KeyError: "no structure 'hart' in these labels; did you mean heart?"
        """
        asked: Any = (
            structures if isinstance(structures, Iterable) and not isinstance(structures, str) else [structures]
        )
        return self._with(selected=tuple(dict.fromkeys(itertools.chain(*map(self.ids_of, asked)))))

    def ids_of(self, structures: int | str) -> tuple[int, ...]:
        """Ids of a structure, by name or id, or of all whose names a pattern matches, such as ``"rib_*"``.

        Raises
        ------
        KeyError
            If there is none; the message names those that are spelled alike.
        """
        if isinstance(structures, str):
            by_name = {self.name_of(label_id): label_id for label_id in (*self.names, *self._occurring)}
            found = [] if structures in by_name else matching(structures, by_name)
            if found:
                return tuple(by_name[name] for name in found)
        return (self.id_of(structures),)

    def id_of(self, structure: int | str) -> int:
        """Id of a structure, by name or id.

        Raises
        ------
        KeyError
            If there is none; the message names those that are spelled alike.
        """
        by_name = {name: label_id for label_id, name in self.names.items()}
        if isinstance(structure, str) and structure in by_name:
            return by_name[structure]
        known = {*self.names, *self.groups, *self._occurring}
        if isinstance(structure, int | np.integer) and not isinstance(structure, bool) and structure in known:
            return int(structure)
        if isinstance(structure, str) and structure.isdecimal() and int(structure) in known - self.names.keys():
            return int(structure)
        there = [self.name_of(label_id) for label_id in sorted(known)]
        raise KeyError(f"no structure {structure!r} in these labels; {near_or_known(structure, there)}")

    def name_of(self, label_id: int) -> str:
        """Name of a label id; the number itself, as text, where no name was given."""
        return self.names.get(label_id, str(label_id))

    @cached_property
    def _voxel_values(self) -> tuple[int, ...]:
        """Values that occur in the array, ascending, without the background 0."""
        found = set(device_arrays.unique(self.array)) if device_arrays.is_on_device(self.array) else _values(self.array)
        values = sorted(found)
        if values[0] < 0:
            what_now = "Is this the CT?" if values[0] < _LIKE_HU else "Map it to 0 or to a free id"
            raise ValueError(f"labels must not be negative; the smallest id is {values[0]}. {what_now}")
        if values[-1] >= 2**63:
            raise ValueError(f"label ids must fit a signed 64-bit number; the largest is {values[-1]}")
        for label_id in self.groups:
            if label_id in found:
                raise ValueError(f"group {self.name_of(label_id)!r} has id {label_id}, which voxels have already")
        return tuple(value for value in values if value)

    @cached_property
    def _occurring(self) -> tuple[int, ...]:
        """Ids that voxels have, ascending, of overlaps too."""
        return tuple(
            sorted({label_id for value in self._voxel_values for label_id in self.overlaps.get(value, (value,))})
        )

    @cached_property
    def label_ids(self) -> tuple[int, ...]:
        """Ids to report: those selected, or those that occur, ascending, and then the groups.

        Reads the array once and keeps the answer: do not change the array afterwards.
        """
        return (*self._occurring, *self.groups) if self.selected is None else self.selected

    @property
    def names_without_voxels(self) -> tuple[str, ...]:
        """Names of ids that no voxel has: expected in a table for all patients, a mistake in one for this patient."""
        return tuple(
            name
            for label_id, name in self.names.items()
            if label_id not in self._occurring and label_id not in self.groups
        )

    @property
    def ids_without_name(self) -> tuple[int, ...]:
        """Ids that occur and have no name."""
        return tuple(label_id for label_id in self._occurring if label_id not in self.names)

    @cached_property
    def values_by_structure(self) -> Mapping[int, tuple[int, ...]]:
        """Voxel values of each id in :attr:`label_ids`: its own, those of overlaps it is in, and of a group's members.

        Examples
        --------
        >>> import numpy as np, drrproj
        >>> masks = {"thorax": np.ones((4, 4, 4)), "heart": np.eye(4)[:, :, None] * np.ones(4)}
        >>> dict(drrproj.LabelVolume.from_masks(masks, np.eye(4)).values_by_structure)
        {1: (1, 3), 2: (3,)}
        """
        values: dict[int, set[int]] = {}
        for value in self._voxel_values:
            for label_id in self.overlaps.get(value, (value,)):
                values.setdefault(label_id, set()).add(value)
        for group, members in self.groups.items():
            values[group] = set().union(*(values.get(member, set()) for member in members))
        return MappingProxyType({label_id: tuple(sorted(values.get(label_id, ()))) for label_id in self.label_ids})

    def _with(self, **changes: Any) -> LabelVolume:
        fields = ("names", "overlaps", "groups", "selected", "frame_of_reference")
        kept = {name: getattr(self, name) for name in fields}
        changed = LabelVolume(self.array, self.affine, **{**kept, **changes})
        # The voxels are the same, and reading them again would take as long as a projection.
        for name in ("_voxel_values", "_occurring"):
            if name in self.__dict__:
                changed.__dict__[name] = self.__dict__[name]
        return changed

    def __reduce__(self) -> tuple[Any, ...]:
        # The names are a read-only view, which does not pickle; workers of a pool need the labels all the same.
        choices: dict[str, Any] = {
            "overlaps": dict(self.overlaps),
            "groups": dict(self.groups),
            "selected": self.selected,
            "frame_of_reference": self.frame_of_reference,
        }
        return partial(LabelVolume, **choices), (self.array, self.affine, dict(self.names))


def _values(array: npt.NDArray[Any]) -> set[int]:
    found: set[int] = set()
    slowest = int(np.argmax(np.abs(array.strides)))
    # A mirrored view would be copied.
    upward = np.flip(array, tuple(axis for axis in range(3) if array.strides[axis] < 0))
    for slab in np.moveaxis(upward, slowest, 0):
        voxels = slab.ravel(order="K")
        # Labels come in runs: looking only where the value changes spares sorting 10^8 voxels.
        changes = np.flatnonzero(voxels[1:] != voxels[:-1])
        found.update(np.unique(voxels[changes]).tolist(), voxels[-1:].tolist())
    return found


def _whole_numbers(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    low, high = float(np.min(array)), float(np.max(array))
    if np.isnan(low):
        raise TypeError(f"labels must be whole numbers; got {array.dtype} with NaN. Is this the CT?")
    if not -(2**31) <= low <= high < 2**31:
        raise TypeError(f"labels must be whole numbers of 32 bits; got {array.dtype} from {low} to {high}")
    whole = array.astype(np.uint16 if low >= 0 and high < 2**16 else np.int32)
    if not np.array_equal(whole, array):
        example = float(array[whole != array][0])
        raise TypeError(
            f"labels must be whole numbers; got {array.dtype} with {example}. Was the label file resampled with "
            "interpolation? Use nearest neighbour"
        )
    return whole


def odd_character(name: str) -> str | None:
    r"""Find the first character of a name that no table or file can hold.

    Examples
    --------
    >>> from drrproj.label_volume import odd_character
    >>> odd_character("heart\n")
    '\n'
    """
    return next((character for character in name if unicodedata.category(character) in _NO_TEXT), None)


def checked_names(names: Mapping[int, str]) -> Mapping[int, str]:
    """Return names by whole ids, which may be given by their digits; what is no such table is refused."""
    checked: dict[int, str] = {}
    owner: dict[str, int] = {}
    given: Any = names
    if not isinstance(given, Mapping):
        raise TypeError(f'names must be a mapping of ids to names, {{51: "heart"}}; got {type(given).__name__}')
    for key, name in given.items():
        if isinstance(key, str) and isinstance(name, int):
            raise TypeError(f"names go by id, {{{name}: {key!r}}}; got {{{key!r}: {name}}}")
        label_id = as_id(key)
        if label_id is None:
            raise ValueError(f"label names belong to whole ids; got {key!r}: {name!r}")
        if label_id <= 0:
            raise ValueError(f"label names belong to positive ids; got {key!r}: {name!r}")
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"the name of label {label_id} must be a non-empty text; got {name!r}")
        if label_id in checked:
            raise ValueError(f"label {label_id} is named twice, {checked[label_id]!r} and {name!r}; keep one")
        if (odd := odd_character(name)) is not None:
            raise ValueError(f"label {label_id} is named {name!r}, and {odd!r} in it is no text; rename it")
        if name in owner:
            raise ValueError(f"labels {owner[name]} and {label_id} are both named {name!r}; names must differ")
        owner[name] = label_id
        checked[label_id] = name
    return MappingProxyType(checked)


def _checked_members(table: Mapping[int, Sequence[int]], what: str) -> Mapping[int, tuple[int, ...]]:
    checked: dict[int, tuple[int, ...]] = {}
    for key, ids in table.items():
        value = as_id(key) or 0
        members = [as_id(label_id) or 0 for label_id in ids] if isinstance(ids, Iterable) else []
        if value <= 0 or not members or min(members) <= 0:
            raise ValueError(f"each {what} has a positive value and positive ids; got {key!r}: {ids!r}")
        if value in checked:
            raise ValueError(f"{what} {value} is there twice; keep one")
        checked[value] = tuple(sorted(set(members)))
    return MappingProxyType(checked)


def as_id(given: Any) -> int | None:
    """Return the whole number that was given, by its digits too, as JSON has the ids of a table; None for others."""
    try:
        number = int(given)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if isinstance(given, str) or number == given else None
