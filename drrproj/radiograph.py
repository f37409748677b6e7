"""What came out of a projection: the image, its anatomy, and everything needed to make them again."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.geometry import Geometry

__all__ = ["LabelImages", "LabelMasks", "Radiograph"]

Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


class _ByLabel:
    """Which label has which place in an array of labels; by id or by name."""

    def __init__(self, label_ids: tuple[int, ...], names: Mapping[int, str]) -> None:
        self.label_ids = label_ids
        self.names = tuple(names.get(label_id, str(label_id)) for label_id in label_ids)
        self._places: dict[int | str, int] = {label_id: place for place, label_id in enumerate(label_ids)}
        self._places.update({name: place for place, name in enumerate(self.names)})

    def place(self, label: int | str) -> int:
        if label not in self._places:
            near = difflib.get_close_matches(str(label), self.names, n=3)
            hint = f"; did you mean {', '.join(near)}?" if near else f"; there are {', '.join(self.names) or 'none'}"
            raise KeyError(f"no label {label!r} in this radiograph{hint}")
        return self._places[label]


class LabelImages(Mapping[str, Float32Array]):
    """One float image per label and view, by name or id: ``path_length["heart"]`` or ``path_length[51]``.

    ``array`` holds them all, shape (labels, views, rows, columns); iteration runs over names in that order.
    """

    def __init__(self, array: Float32Array, label_ids: tuple[int, ...], names: Mapping[int, str]) -> None:
        self.array = array
        self._labels = _ByLabel(label_ids, names)

    def select(self, views: slice) -> LabelImages:
        """Keep some of the views."""
        return LabelImages(self.array[:, views], self.label_ids, dict(zip(self.label_ids, self, strict=True)))

    def __getitem__(self, label: int | str) -> Float32Array:
        image: Float32Array = self.array[self._labels.place(label)]
        return image

    def __iter__(self) -> Iterator[str]:
        return iter(self._labels.names)

    def __len__(self) -> int:
        return len(self._labels.names)

    @property
    def label_ids(self) -> tuple[int, ...]:
        """Label ids in the order of ``array``."""
        return self._labels.label_ids


class LabelMasks(Mapping[str, BoolArray]):
    """One mask per label and view, by name or id: ``masks["heart"]`` or ``masks[51]``.

    Kept at one bit per label and pixel: ``packed`` has shape (labels, views, rows, ceil(columns / 8)), first column
    in the highest bit, as :func:`numpy.packbits` has it. A mask is unpacked when it is asked for; ``array`` unpacks
    all of them.
    """

    def __init__(
        self, packed: npt.NDArray[np.uint8], columns: int, label_ids: tuple[int, ...], names: Mapping[int, str]
    ) -> None:
        self.packed = packed
        self._columns = columns
        self._labels = _ByLabel(label_ids, names)

    def select(self, views: slice) -> LabelMasks:
        """Keep some of the views."""
        names = dict(zip(self.label_ids, self, strict=True))
        return LabelMasks(self.packed[:, views], self._columns, self.label_ids, names)

    def _unpack(self, packed: npt.NDArray[np.uint8]) -> BoolArray:
        return np.unpackbits(packed, axis=-1, count=self._columns).view(np.bool_)

    def __getitem__(self, label: int | str) -> BoolArray:
        return self._unpack(self.packed[self._labels.place(label)])

    def __iter__(self) -> Iterator[str]:
        return iter(self._labels.names)

    def __len__(self) -> int:
        return len(self._labels.names)

    @property
    def array(self) -> BoolArray:
        """All masks, shape (labels, views, rows, columns): a byte for each, eight times the packed size."""
        return self._unpack(self.packed)

    @property
    def label_ids(self) -> tuple[int, ...]:
        """Label ids in the order of ``array``."""
        return self._labels.label_ids


@dataclass(frozen=True, eq=False)
class Radiograph:
    """The result of :func:`drrproj.project` and of a :class:`drrproj.Projector`.

    Attributes
    ----------
    geometry : Geometry
        The views, in the order of the arrays' first image axis.
    line_integral : ndarray or None, shape (views, rows, columns), float32, dimensionless
        Integral of linear attenuation along each ray, from the source to the pixel's centre.
    path_length : LabelImages or None, mm
        Length of each ray inside each label.
    masks : LabelMasks or None
        Where a ray meets a label at all. Where it does so for less than a thousandth of a millimetre, backends and
        instruction sets may differ.
    backend : str
        The backend that made it.
    record : dict
        Plain values that say how it was made: volume and label grids, geometry, attenuation, backend, versions.

    Examples
    --------
    >>> import numpy as np, drrproj
    >>> slab = drrproj.Volume(np.full((20, 10, 20), 0.02), np.eye(4), unit="1/mm")
    >>> view = drrproj.Geometry.radiograph("PA", slab, beam="parallel", shape=(8, 8))
    >>> shot = drrproj.project(slab, view)
    >>> round(float(shot.transmission[0, 4, 4]), 4)  # exp(-0.02 * 10 mm)
    0.8187
    """

    geometry: Geometry
    line_integral: Float32Array | None
    path_length: LabelImages | None
    masks: LabelMasks | None
    backend: str
    record: dict[str, Any] = field(repr=False)

    def __len__(self) -> int:
        return len(self.geometry)

    def __contains__(self, view: object) -> bool:
        return view in self.geometry.names

    def __getitem__(self, view: int | str) -> Radiograph:
        """Select one view, by number or name; the result is a radiograph of that view alone."""
        if isinstance(view, str):
            if view not in self.geometry.names:
                raise KeyError(f"no view {view!r} in this radiograph; there are {', '.join(self.geometry.names)}")
            if self.geometry.names.count(view) > 1:
                raise KeyError(f"{self.geometry.names.count(view)} views are named {view!r}; select one by number")
            view = self.geometry.names.index(view)
        chosen = self.geometry[[view]]
        place = slice(view, view + 1) if view >= 0 else slice(view, view + 1 or None)
        return Radiograph(
            geometry=chosen,
            line_integral=None if self.line_integral is None else self.line_integral[place],
            path_length=None if self.path_length is None else self.path_length.select(place),
            masks=None if self.masks is None else self.masks.select(place),
            backend=self.backend,
            record={**self.record, "geometry": chosen.as_record()},
        )

    @property
    def transmission(self) -> Float32Array:
        """Share of photons that arrive, ``exp(-line_integral)``, shape (views, rows, columns)."""
        if self.line_integral is None:
            raise ValueError('this radiograph has no line integral; ask for outputs=("line_integral", ...)')
        transmission: Float32Array = np.exp(-self.line_integral)
        return transmission
