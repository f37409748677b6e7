"""What came out of a projection: the image, its anatomy, and everything needed to make them again."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from drrproj import device_arrays
from drrproj.geometry import Geometry
from drrproj.short_text import counted, listed, near_or_known

__all__ = ["LabelCrops", "LabelImages", "LabelMasks", "Radiograph"]

Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
Int32Array = npt.NDArray[np.int32]

# What each output is called in words, and by which name project() makes it.
_OUTPUTS = {
    "line_integral": ("line integral", "line_integral"),
    "path_length": ("path lengths", "path_length"),
    "masks": ("masks", "mask"),
    "label_line_integral": ("shares of the line integral", "label_line_integral"),
    "background_line_integral": ("share of the background", "label_line_integral"),
    "entry_depth": ("depths", "depth"),
    "exit_depth": ("depths", "depth"),
}

# How many bits each byte has.
_BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.uint8)


Array = TypeVar("Array", bound=npt.NDArray[Any])


class _ByLabel(Mapping[str, Array]):
    """Which label has which place in an array of labels; by id or by name.

    Two label volumes may use one id for different structures: then only the names tell them apart.
    """

    def __init__(self, label_ids: Sequence[int], names: Sequence[str]) -> None:
        self._label_ids = tuple(label_ids)
        self._names = tuple(names)
        occurrences = Counter(self._label_ids)
        self._places: dict[int | str, int] = {
            label_id: place for place, label_id in enumerate(self._label_ids) if occurrences[label_id] == 1
        }
        self._places.update({name: place for place, name in enumerate(self._names)})

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, label: object) -> bool:
        # A mapping's own way would make the images, all of them.
        return label in self._places

    # A mapping compares its values, and whether two images are equal is no single truth.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        views, rows, columns = self._size
        structures = f"{counted(len(self), 'structure')}{': ' * bool(self._names)}{listed(self._names)}"
        return f"{type(self).__name__}({structures}; {counted(views, 'view')}, {rows} x {columns} pixels)"

    @property
    @abstractmethod
    def _size(self) -> tuple[int, int, int]:
        """Views, rows and columns of each label's images."""

    @property
    def label_ids(self) -> tuple[int, ...]:
        """Label ids in the order of ``array``."""
        return self._label_ids

    def place_of(self, label: int | str) -> int:
        """Place of a label, by id or name, in ``array`` and in every array of labels."""
        if label in self._places:
            return self._places[label]
        several = [name for name, label_id in zip(self._names, self._label_ids, strict=True) if label_id == label]
        if several:
            raise KeyError(f"id {label} stands for {' and '.join(several)} of different label volumes; use the name")
        raise KeyError(f"no label {label!r} in this radiograph; {near_or_known(label, self._names)}")


class LabelImages(_ByLabel[Float32Array]):
    """One float image per label and view, by name or id: ``path_length["heart"]`` or ``path_length[51]``.

    ``array`` holds them all, shape (labels, views, rows, columns); iteration runs over names in that order.
    """

    def __init__(self, array: Float32Array, label_ids: Sequence[int], names: Sequence[str]) -> None:
        super().__init__(label_ids, names)
        self.array = array

    @property
    def _size(self) -> tuple[int, int, int]:
        _, views, rows, columns = self.array.shape
        return views, rows, columns

    def select(self, views: slice) -> LabelImages:
        """Keep some of the views."""
        return LabelImages(self.array[:, views], self.label_ids, tuple(self))

    def __getitem__(self, label: int | str) -> Float32Array:
        image: Float32Array = self.array[self.place_of(label)]
        return image


class LabelCrops(_ByLabel[Float32Array]):
    """One float image per label and view, of which only the box around what is not zero is kept.

    By name or id as :class:`LabelImages`: ``path_length["heart"]`` makes the whole images, (views, rows, columns);
    ``path_length.crop("heart", view)`` gives the part that is kept. ``boxes`` has shape (labels, views, 4): first row,
    row behind the last, first column, column behind the last; zeros where the label is not met.
    """

    def __init__(
        self,
        crops: Sequence[Sequence[Float32Array]],
        boxes: Int32Array,
        shape: tuple[int, int],
        label_ids: Sequence[int],
        names: Sequence[str],
        outside: float = 0.0,
    ) -> None:
        super().__init__(label_ids, names)
        self.boxes = boxes
        self._crops = crops
        self._shape = shape
        self._outside = outside

    @property
    def _size(self) -> tuple[int, int, int]:
        return (self.boxes.shape[1], *self._shape)

    def select(self, views: slice) -> LabelCrops:
        """Keep some of the views."""
        crops = [of_label[views] for of_label in self._crops]
        return LabelCrops(crops, self.boxes[:, views], self._shape, self.label_ids, tuple(self), self._outside)

    def crop(self, label: int | str, view: int) -> Float32Array:
        """Return the part of an image inside its box, shape (rows of the box, columns of the box)."""
        return self._crops[self.place_of(label)][view]

    def __getitem__(self, label: int | str) -> Float32Array:
        place = self.place_of(label)
        crops, boxes = self._crops[place], self.boxes[place].tolist()
        images: Float32Array = device_arrays.full(crops[0], (len(crops), *self._shape), np.float32, self._outside)
        with device_arrays.current_device(images):
            for image, crop, (top, bottom, left, right) in zip(images, crops, boxes, strict=True):
                image[top:bottom, left:right] = crop
        return images

    @property
    def array(self) -> Float32Array:
        """All images, shape (labels, views, rows, columns): the memory that the crops spare."""
        if not len(self):
            return np.zeros((0, self.boxes.shape[1], *self._shape), np.float32)
        images = [self[name] for name in self]
        with device_arrays.current_device(images[0]):
            return device_arrays.functions_of(images[0]).stack(images)  # type: ignore[no-any-return]

    @property
    def nbytes(self) -> int:
        """Bytes that the crops take."""
        return sum(crop.nbytes for of_label in self._crops for crop in of_label)


class LabelMasks(_ByLabel[BoolArray]):
    """One mask per label and view, by name or id: ``masks["heart"]`` or ``masks[51]``.

    Kept at one bit per label and pixel: ``packed`` has shape (labels, views, rows, ceil(columns / 8)), first column
    in the highest bit, as :func:`numpy.packbits` has it. A mask is unpacked when it is asked for; ``array`` unpacks
    all of them.
    """

    def __init__(
        self, packed: npt.NDArray[np.uint8], columns: int, label_ids: Sequence[int], names: Sequence[str]
    ) -> None:
        super().__init__(label_ids, names)
        self.packed = packed
        self._columns = columns

    @property
    def _size(self) -> tuple[int, int, int]:
        return (*self.packed.shape[1:3], self._columns)

    def select(self, views: slice) -> LabelMasks:
        """Keep some of the views."""
        return LabelMasks(self.packed[:, views], self._columns, self.label_ids, tuple(self))

    def _unpack(self, packed: npt.NDArray[np.uint8]) -> BoolArray:
        if device_arrays.is_on_device(packed):
            return device_arrays.unpacked(packed, self._columns)  # type: ignore[no-any-return]
        return np.unpackbits(packed, axis=-1, count=self._columns).view(np.bool_)

    def __getitem__(self, label: int | str) -> BoolArray:
        return self._unpack(self.packed[self.place_of(label)])

    @property
    def array(self) -> BoolArray:
        """All masks, shape (labels, views, rows, columns): a byte for each, eight times the packed size."""
        return self._unpack(self.packed)

    def _check_on_host(self) -> None:
        device_arrays.check_on_host(
            self.packed,
            "boxes, areas and centroids of masks are found",
            "move masks.packed there and make a drrproj.radiograph.LabelMasks of it",
        )

    @cached_property
    def boxes(self) -> Int32Array:
        """The box around each mask, shape (labels, views, 4), pixels: ``mask[top:bottom, left:right]`` holds all of it.

        First row, row behind the last, first column, column behind the last; zeros where the mask is empty. Read-only,
        as areas and centroids are: they are found once.
        """
        self._check_on_host()
        boxes = np.zeros((*self.packed.shape[:2], 4), np.int32)
        for of_label, packed in zip(boxes, self.packed, strict=True):
            lines = packed.any(axis=-1), self._unpack(np.bitwise_or.reduce(packed, axis=-2))
            for first, line in zip((0, 2), lines, strict=True):
                # argmax finds the first of what is set.
                of_label[:, first] = line.argmax(axis=-1)
                of_label[:, first + 1] = np.where(line.any(axis=-1), line.shape[-1] - line[:, ::-1].argmax(axis=-1), 0)
        boxes.setflags(write=False)
        return boxes

    @cached_property
    def areas(self) -> npt.NDArray[np.int64]:
        """Pixels of each mask, shape (labels, views)."""
        self._check_on_host()
        counts = [_BITS[packed].sum(axis=(-2, -1), dtype=np.int64) for packed in self.packed]
        areas = np.array(counts, np.int64).reshape(self.packed.shape[:2])
        areas.setflags(write=False)
        return areas

    @cached_property
    def centroids(self) -> npt.NDArray[np.float64]:
        """Mean row and column of each mask's pixels, shape (labels, views, 2); NaN where the mask is empty."""
        centroids = np.full((*self.packed.shape[:2], 2), np.nan)
        for label, of_label in enumerate(self.boxes):
            for view, (top, bottom, left, right) in enumerate(of_label):
                if top == bottom:
                    continue
                mask = self._unpack(self.packed[label, view, top:bottom])[:, left:right]
                for axis, first in enumerate((top, left)):
                    counts = mask.sum(axis=1 - axis)
                    centroids[label, view, axis] = first + np.average(np.arange(len(counts)), weights=counts)
        centroids.setflags(write=False)
        return centroids


@dataclass(frozen=True, eq=False, repr=False)
class Radiograph:
    """The result of :func:`drrproj.project` and of a :class:`drrproj.Projector`.

    Of a volume on a GPU every array is there too, and comes from the same library; boxes, areas and centroids of masks
    want them on the host.

    An output that was not asked for raises AttributeError, in a sentence that says how to ask; ``images`` says which
    there are.

    Attributes
    ----------
    geometry : Geometry
        The views, in the order of the arrays' first image axis.
    images : dict
        The outputs that were made, by the names of the attributes below.
    line_integral : ndarray, shape (views, rows, columns), float32, dimensionless
        Integral of linear attenuation along each ray, from the source to the pixel's centre.
    path_length : LabelImages or LabelCrops, mm
        Length of each ray inside each label.
    masks : LabelMasks
        Where a ray meets a label for more than ``min_path_mm``, or at all. Where it does so for less than a thousandth
        of a millimetre, backends and instruction sets may differ.
    label_line_integral : LabelImages or LabelCrops, dimensionless
        Each label's share of the line integral: that of its voxels. Labels that do not overlap and the background sum
        to the image.
    background_line_integral : ndarray, shape (views, rows, columns), float32
        What no label has of the line integral; made with ``label_line_integral``.
    entry_depth, exit_depth : LabelImages or LabelCrops, mm
        Along the ray, from the source to where it first meets a label and to where it last leaves it. A parallel beam
        has no source: there the pixel is at 0, and what lies before it is negative. NaN where the label is not met.
        Touching a label for less than a thousandth of a millimetre counts or not, as for masks, wherever on the ray it
        is.
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
    images: dict[str, Any]
    backend: str
    record: dict[str, Any]

    def __post_init__(self) -> None:
        for name in self.images:
            if name not in _OUTPUTS:
                raise ValueError(f"unknown image {name!r}; {near_or_known(name, _OUTPUTS)}")
        images = {name: self.images[name] for name in _OUTPUTS if name in self.images}
        object.__setattr__(self, "images", images)

    def __repr__(self) -> str:
        (rows, columns), views = self.geometry.shape, counted(len(self), "view")
        structures = [counted(len(held), "structure") for held in self.images.values() if isinstance(held, _ByLabel)]
        parts = [f"{rows} x {columns} pixels", *structures[:1], ", ".join(self.images) or "no images"]
        return f"Radiograph({views}: {listed(self.geometry.names)}; {'; '.join(parts)}; backend {self.backend})"

    def __len__(self) -> int:
        return len(self.geometry)

    def __contains__(self, view: object) -> bool:
        return view in self.geometry

    def __getitem__(self, view: int | str) -> Radiograph:
        """Select one view, by number or name; the result is a radiograph of that view alone."""
        first = self.geometry.place_of(view)
        chosen, place = self.geometry[first], slice(first, first + 1)
        kept = {
            name: images.select(place) if isinstance(images, LabelImages | LabelCrops | LabelMasks) else images[place]
            for name, images in self.images.items()
        }
        # A copy of its own: what is noted of one view is not of the others.
        record = {**copy.deepcopy(self.record), "geometry": chosen.as_record()}
        return Radiograph(chosen, kept, self.backend, record)

    def with_line_integral(self, line_integral: Float32Array, record: dict[str, Any]) -> Radiograph:
        """Put another image in the place of this one, over the same anatomy.

        Shares of structures and background are those of the image before, and are left out.

        Parameters
        ----------
        line_integral : ndarray, shape (views, rows, columns), float32, dimensionless
        record : dict
            How it was made.

        Returns
        -------
        Radiograph
        """
        of_before = ("label_line_integral", "background_line_integral")
        kept = {name: images for name, images in self.images.items() if name not in of_before}
        return Radiograph(self.geometry, {**kept, "line_integral": line_integral}, self.backend, record)

    @property
    def line_integral(self) -> Float32Array:
        """Integral of linear attenuation along each ray, shape (views, rows, columns), float32."""
        return self._made("line_integral")  # type: ignore[no-any-return]

    @property
    def path_length(self) -> LabelImages | LabelCrops:
        """Length of each ray inside each label, mm."""
        return self._made("path_length")  # type: ignore[no-any-return]

    @property
    def masks(self) -> LabelMasks:
        """Where a ray meets a label."""
        return self._made("masks")  # type: ignore[no-any-return]

    @property
    def label_line_integral(self) -> LabelImages | LabelCrops:
        """Each label's share of the line integral."""
        return self._made("label_line_integral")  # type: ignore[no-any-return]

    @property
    def background_line_integral(self) -> Float32Array:
        """What no label has of the line integral, shape (views, rows, columns), float32."""
        return self._made("background_line_integral")  # type: ignore[no-any-return]

    @property
    def entry_depth(self) -> LabelImages | LabelCrops:
        """Along the ray to where it first meets a label, mm."""
        return self._made("entry_depth")  # type: ignore[no-any-return]

    @property
    def exit_depth(self) -> LabelImages | LabelCrops:
        """Along the ray to where it last leaves a label, mm."""
        return self._made("exit_depth")  # type: ignore[no-any-return]

    def _made(self, name: str) -> Any:
        if name not in self.images:
            what, output = _OUTPUTS[name]
            labels = "" if output == "line_integral" else "pass labels= to project() and "
            raise AttributeError(f'this radiograph has no {what}; {labels}ask for outputs=("{output}", ...)')
        return self.images[name]

    @property
    def transmission(self) -> Float32Array:
        """Share of photons that arrive, ``exp(-line_integral)``, shape (views, rows, columns)."""
        if device_arrays.is_on_device(self.line_integral):
            return device_arrays.transmission(self.line_integral)  # type: ignore[no-any-return]
        transmission: Float32Array = np.exp(-self.line_integral)
        return transmission
