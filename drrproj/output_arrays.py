"""The arrays that a projection fills: new ones, or those that the caller gives for it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from drrproj import device_arrays
from drrproj.volume import Volume

__all__ = ["Blank", "check_given", "filled_arrays"]


@dataclass(frozen=True)
class Blank:
    """An array before rays are walked: what no ray meets keeps ``value``."""

    shape: tuple[int, ...]
    dtype: type[np.generic]
    value: float = 0.0

    @property
    def nbytes(self) -> int:
        """Bytes that the array takes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def __str__(self) -> str:
        return f"{np.dtype(self.dtype)} of shape {self.shape}"


def check_given(given: Mapping[str, Any], blanks: Mapping[str, Blank], inputs: Iterable[Any], on_device: bool) -> None:
    """Refuse arrays that cannot be filled as they are, while ``inputs`` are read; none has been written to then.

    The first of ``inputs`` is the volume.

    Raises
    ------
    TypeError
        If an array is not where the volume is, of another library than its memory there, or has another type.
    ValueError
        If it is none of those that are made, has another shape, is not contiguous in C order and aligned or cannot be
        written to, or shares memory with an input or with another array that is given.
    """
    taken = list(inputs)
    for name, array in given.items():
        if name not in blanks:
            raise ValueError(f"out has {name!r}, which is not among the arrays made here: {', '.join(blanks)}")
        blank = blanks[name]
        wanted = f"out[{name!r}] must be {blank}"
        if on_device:
            place = "an array of CuPy or torch on the GPU, as the volume is"
            fits = device_arrays.is_on_device(array) and device_arrays.memory_of(array) is array
        else:
            # The mask of a masked array would keep walks from writing where it is set.
            place, fits = "a numpy array", isinstance(array, np.ndarray) and not isinstance(array, np.ma.MaskedArray)
        if not fits:
            raise TypeError(f"{wanted}, {place}; got {type(array).__module__}.{type(array).__name__}")
        if on_device:
            _check_place(wanted, device_arrays.place_of(array), device_arrays.place_of(taken[0]))
        layout = device_arrays.layout_of(array) if on_device else array
        if layout.dtype != np.dtype(blank.dtype) or not layout.dtype.isnative:
            raise TypeError(f"{wanted}; got {layout.dtype}")
        if layout.shape != blank.shape:
            raise ValueError(f"{wanted}; got shape {layout.shape}")
        if not (layout.flags.c_contiguous and layout.flags.aligned and layout.flags.writeable):
            raise ValueError(f"{wanted}, contiguous in C order, aligned and open to writing; it is not")
        for other in taken:
            if np.may_share_memory(layout, device_arrays.layout_of(other) if on_device else other):
                raise ValueError(f"out[{name!r}] shares memory with the volume, the labels or another array of out")
        taken.append(array)


def _check_place(wanted: str, found: tuple[str, int], place: tuple[str, int]) -> None:
    """Refuse an array that its library clears on another stream than the one that fills it."""
    if found != place:
        way_out = f"{place[0]}.from_dlpack(array) shares it" if found[1] == place[1] else "make it there"
        raise TypeError(
            f"{wanted}, an array of {place[0]} on GPU {place[1]}, where the volume is; got one of {found[0]} on GPU "
            f"{found[1]}: {way_out}"
        )


def filled_arrays(blanks: Mapping[str, Blank], given: Mapping[str, Any], volume: Volume) -> dict[str, Any]:
    """Return blank arrays where the volume is: those given, cleared, and new ones for the others.

    Numpy leaves the pages of new zeros that no ray touches unmapped.
    """
    on_device = device_arrays.is_on_device(volume.array)
    arrays: dict[str, Any] = {}
    for name, blank in blanks.items():
        if name in given:
            arrays[name] = given[name]
            if on_device:
                device_arrays.clear(given[name], blank.value)
            else:
                given[name][...] = blank.value
        elif on_device:
            arrays[name] = device_arrays.full(volume.array, blank.shape, blank.dtype, blank.value)
        elif blank.value == 0.0:
            arrays[name] = np.zeros(blank.shape, blank.dtype)
        else:
            arrays[name] = np.full(blank.shape, blank.value, blank.dtype)
    return arrays
