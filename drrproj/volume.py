"""Volumes and label volumes: an array, where it lies in the patient, and what its numbers mean.

The array is never copied, flipped or resampled to suit a view: its strides say where the voxels are in
memory and its affine says where they are in the patient. World coordinates are RAS+ millimetres; voxel
centres lie at integer indices, so voxel ``i`` covers ``[i - 0.5, i + 0.5)``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from drrproj import device_arrays
from drrproj.affines import checked_affine
from drrproj.hounsfield import PADDING_HU
from drrproj.name_patterns import matching
from drrproj.overlaps import OverlappingMasks
from drrproj.short_text import counted, near_or_known

__all__ = ["RAS_FROM", "LabelVolume", "Volume"]

Unit = Literal["HU", "1/mm"]
Space = Literal["RAS", "LPS"]

RAS_FROM: Mapping[str, npt.NDArray[np.float64]] = {"RAS": np.eye(4), "LPS": np.diag([-1.0, -1.0, 1.0, 1.0])}
"""Homogeneous matrices from the two world frames in use to RAS+; each is its own inverse."""

_UNIT_CUBE = np.array(list(itertools.product((0.0, 1.0), repeat=3)))


def _checked_array(array: npt.ArrayLike, what: str) -> npt.NDArray[Any]:
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{what} is a masked array, whose mask would be lost; pass array.filled(...)")
    if device_arrays.is_on_device(array):
        return device_arrays.checked(array, what)  # type: ignore[no-any-return]
    voxels = np.asarray(array)
    if voxels.dtype.names is not None:
        raise TypeError(f"{what} holds colour records {voxels.dtype.names}; pass one number per voxel, such as HU")
    if voxels.dtype.kind not in "buif":
        raise TypeError(f"{what} must hold real numbers; got dtype {voxels.dtype}")
    if voxels.ndim != 3:
        raise ValueError(
            f"{what} must be a 3-D array; got shape {voxels.shape}. Pass one volume at a time, e.g. array[..., 0]"
        )
    if 0 in voxels.shape:
        raise ValueError(f"{what} is empty: shape {voxels.shape}")
    if voxels.dtype.kind == "b":
        voxels = voxels.view(np.uint8)
    elif voxels.dtype.kind == "f" and voxels.dtype.itemsize not in (4, 8):
        # Half and extended precision have no walk of their own; float32 and float64 hold their values.
        voxels = voxels.astype(np.float32 if voxels.dtype.itemsize == 2 else np.float64)
    elif not voxels.dtype.isnative:
        voxels = voxels.astype(voxels.dtype.newbyteorder("="))
    elif not voxels.flags.aligned:
        voxels = voxels.copy(order="K")
    return voxels


def _in_ras(affine: npt.ArrayLike, space: str, what: str) -> npt.NDArray[np.float64]:
    world_from_voxel = checked_affine(affine, f"the affine of {what}")
    if space not in RAS_FROM:
        raise ValueError(f'space must be "RAS" or "LPS"; got {space!r}')
    world_from_voxel = RAS_FROM[space] @ world_from_voxel
    world_from_voxel.setflags(write=False)
    return world_from_voxel


@dataclass(frozen=True, eq=False, repr=False)
class _Grid:
    """What a volume and a label volume share: an array and its place in the patient."""

    array: npt.NDArray[Any]
    affine: npt.NDArray[np.float64]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self._told())})"

    def _told(self) -> list[str]:
        """What the one line tells that it prints as; the array may be large, and is not read for it."""
        voxels, edges = (" x ".join(f"{n:.4g}" for n in numbers) for numbers in (self.shape, self.voxel_size))
        return [f"{voxels} {str(self.array.dtype).removeprefix('torch.')}", f"{edges} mm"]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along each array axis."""
        i, j, k = self.array.shape
        return i, j, k

    @property
    def voxel_size(self) -> npt.NDArray[np.float64]:
        """Length of the voxel's three edges in mm, array axis order, shape (3,)."""
        edges: npt.NDArray[np.float64] = np.sqrt(np.square(self.affine[:3, :3]).sum(axis=0))
        return edges

    @cached_property
    def voxel_from_world(self) -> npt.NDArray[np.float64]:
        """Matrix (4, 4) from RAS+ mm to voxel indices."""
        return np.asarray(np.linalg.inv(self.affine), dtype=np.float64)

    @cached_property
    def center(self) -> npt.NDArray[np.float64]:
        """Centre of the voxel box, world mm, shape (3,); read-only, as the affine is."""
        middle = (np.array(self.shape) - 1) / 2
        center: npt.NDArray[np.float64] = self.affine[:3, :3] @ middle + self.affine[:3, 3]
        center.setflags(write=False)
        return center

    @cached_property
    def corners(self) -> npt.NDArray[np.float64]:
        """The eight outer corners of the voxel box, world mm, shape (8, 3); read-only, as the affine is."""
        indices = _UNIT_CUBE * self.shape - 0.5
        corners: npt.NDArray[np.float64] = indices @ self.affine[:3, :3].T + self.affine[:3, 3]
        corners.setflags(write=False)
        return corners


@dataclass(frozen=True, eq=False, repr=False)
class Volume(_Grid):
    """A CT, or any scalar volume, with its place in the patient and its unit.

    Parameters
    ----------
    array : array_like, shape (i, j, k), any real dtype, any strides
        Voxel values. Kept as it is, without a copy; only float16, extended precision, foreign byte order and
        unaligned memory are converted, because no backend walks them. An array on a GPU (of CuPy, of torch, or of a
        library with DLPack and the array API standard, as JAX) stays there, for ``backend="cuda"``.
    affine : array_like, shape (4, 4)
        ``world_from_voxel``: maps a voxel index to millimetres. Shear, flips and anisotropy are welcome.
    unit : {"HU", "1/mm"}
        Hounsfield units, turned into attenuation inside the walk, or linear attenuation itself.
    space : {"RAS", "LPS"}
        World frame of ``affine``: RAS+ as NIfTI files have it, or LPS+ as DICOM and ITK have it. The stored
        ``affine`` is RAS+ either way.
    frame_of_reference : str, optional
        DICOM's UID of the patient space, as its files give it. Labels of another one are refused.

    Raises
    ------
    TypeError
        If the array does not hold real numbers.
    ValueError
        If the array is not 3-D, the affine is not an invertible, finite 4x4 matrix, or the unit is unknown.

    Examples
    --------
    >>> import numpy as np, drrproj
    >>> water = drrproj.Volume(np.zeros((64, 64, 40), np.int16), np.diag([2, 2, 3, 1]))
    >>> water.unit, water.voxel_size.tolist()
    ('HU', [2.0, 2.0, 3.0])
    """

    unit: Unit = "HU"
    space: InitVar[Space] = "RAS"
    frame_of_reference: str | None = None

    def __post_init__(self, space: Space) -> None:
        object.__setattr__(self, "array", _checked_array(self.array, "the volume"))
        object.__setattr__(self, "affine", _in_ras(self.affine, space, "the volume"))
        if self.unit not in ("HU", "1/mm"):
            raise ValueError(f'unit must be "HU" or "1/mm"; got {self.unit!r}')

    def _told(self) -> list[str]:
        array, edges = super()._told()
        return [f"{array} {self.unit}", edges]

    def count_padding(self) -> dict[str, int]:
        """Count the voxels that carry no measurement; the walk treats each of them as air.

        Reads the whole array once, one slice at a time, so it is not done unasked.

        Returns
        -------
        dict
            ``nan``: voxels that are not a number; ``padding``: HU below -1024 (-2048 and -3024 are usual).

        Raises
        ------
        TypeError
            If the array is on a GPU.

        Examples
        --------
        >>> import numpy as np, drrproj
        >>> ring = np.full((4, 4, 4), -2048, np.int16)
        >>> drrproj.Volume(ring, np.eye(4)).count_padding()
        {'nan': 0, 'padding': 64}
        """
        device_arrays.check_on_host(self.array, "padding is counted", "move it there, or count with its own library")
        nan = padding = 0
        slowest = int(np.argmax(np.abs(self.array.strides)))
        for slab in np.moveaxis(self.array, slowest, 0):
            if slab.dtype.kind == "f":
                nan += int(np.count_nonzero(np.isnan(slab)))
            if self.unit == "HU":
                padding += int(np.count_nonzero(slab < PADDING_HU))
        return {"nan": nan, "padding": padding}


@dataclass(frozen=True, eq=False, repr=False)
class LabelVolume(_Grid):
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
        array = _checked_array(self.array, "the label volume")
        if device_arrays.is_on_device(array):
            device_arrays.check_integers(array)
        elif array.dtype.kind == "f":
            array = _whole_numbers(array)
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "affine", _in_ras(self.affine, space, "the label volume"))
        object.__setattr__(self, "names", _checked_names(self.names or {}))
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
        ValueError
            If there is no mask, or the shapes differ.

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
        combination: OverlappingMasks | None = None
        shape: tuple[int, ...] = ()
        for label_id, (name, values) in enumerate(masks.items(), start=1):
            mask = np.asarray(values)
            if mask.dtype.kind == "f" and np.isnan(mask).any():
                raise ValueError(f"mask {name!r} holds NaN, which is neither inside nor outside")
            if combination is None:
                combination, shape = OverlappingMasks(mask.shape), mask.shape
            elif mask.shape != shape:
                raise ValueError(f"mask {name!r} has shape {mask.shape}, but the first one has {shape}")
            combination.add(mask if mask.dtype.kind == "b" else mask != 0, label_id)
        if combination is None:
            raise ValueError("labels need at least one mask; got none")
        array, overlaps = combination.combined()
        world_from_voxel = np.asarray(affine, np.float64)
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
        new_id = max((*self._occurring, *self.names, *self.overlaps, *self.groups, 0))
        names, unions = dict(self.names), dict(self.groups)
        for name, members in groups.items():
            new_id += 1
            if isinstance(members, str):
                raise ValueError(f"group {name!r} needs a list of members; got the text {members!r}")
            ids: list[int] = []
            for member in members:
                for label_id in self.ids_of(member):
                    ids += self.groups.get(label_id, (label_id,))
            if not ids:
                raise ValueError(f"group {name!r} has no member")
            names[new_id] = name
            unions[new_id] = tuple(sorted(set(ids)))
        # Somebody who selected before asks for the new ones as well.
        selected = None if self.selected is None else (*self.selected, *(unions.keys() - self.groups.keys()))
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
            raise ValueError(
                f"labels must not be negative; the smallest id is {values[0]}. Map it to 0 or to a free id"
            )
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
    def values_by_structure(self) -> dict[int, tuple[int, ...]]:
        """Voxel values of each id in :attr:`label_ids`: its own, those of overlaps it is in, and of a group's members.

        Examples
        --------
        >>> import numpy as np, drrproj
        >>> masks = {"thorax": np.ones((4, 4, 4)), "heart": np.eye(4)[:, :, None] * np.ones(4)}
        >>> drrproj.LabelVolume.from_masks(masks, np.eye(4)).values_by_structure
        {1: (1, 3), 2: (3,)}
        """
        values: dict[int, set[int]] = {}
        for value in self._voxel_values:
            for label_id in self.overlaps.get(value, (value,)):
                values.setdefault(label_id, set()).add(value)
        for group, members in self.groups.items():
            values[group] = set().union(*(values.get(member, set()) for member in members))
        return {label_id: tuple(sorted(values.get(label_id, ()))) for label_id in self.label_ids}

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
        return _label_volume, (
            self.array,
            self.affine,
            *(dict(table) for table in (self.names, self.overlaps, self.groups)),
            self.selected,
            self.frame_of_reference,
        )


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


def _label_volume(
    array: npt.NDArray[Any],
    affine: npt.NDArray[np.float64],
    names: dict[int, str],
    overlaps: dict[int, tuple[int, ...]],
    groups: dict[int, tuple[int, ...]],
    selected: tuple[int, ...] | None,
    frame_of_reference: str | None,
) -> LabelVolume:
    return LabelVolume(
        array,
        affine,
        names,
        overlaps=overlaps,
        groups=groups,
        selected=selected,
        frame_of_reference=frame_of_reference,
    )


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


def _checked_names(names: Mapping[int, str]) -> Mapping[int, str]:
    checked: dict[int, str] = {}
    owner: dict[str, int] = {}
    given: Any = names
    if not isinstance(given, Mapping):
        raise TypeError(f'names must be a mapping of ids to names, {{51: "heart"}}; got {type(given).__name__}')
    for key, name in given.items():
        if isinstance(key, str) and isinstance(name, int):
            raise TypeError(f"names go by id, {{{name}: {key!r}}}; got {{{key!r}: {name}}}")
        label_id = int(key)
        if label_id != key and not isinstance(key, str):
            raise ValueError(f"label names belong to whole ids; got {key!r}: {name!r}")
        if label_id <= 0:
            raise ValueError(f"label names belong to positive ids; got {key!r}: {name!r}")
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"the name of label {label_id} must be a non-empty text; got {name!r}")
        if name in owner:
            raise ValueError(f"labels {owner[name]} and {label_id} are both named {name!r}; names must differ")
        owner[name] = label_id
        checked[label_id] = name
    return MappingProxyType(checked)


def _checked_members(table: Mapping[int, Sequence[int]], what: str) -> Mapping[int, tuple[int, ...]]:
    checked = {}
    for key, ids in table.items():
        members = tuple(int(label_id) for label_id in ids)
        if int(key) <= 0 or not members or min(members) <= 0:
            raise ValueError(f"each {what} has a positive value and positive ids; got {key!r}: {ids!r}")
        checked[int(key)] = tuple(sorted(set(members)))
    return MappingProxyType(checked)
