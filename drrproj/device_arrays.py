"""Arrays in the memory of a GPU: which those are, and the little that drrproj asks of the libraries they come from.

An array that has ``__cuda_array_interface__`` is on a GPU. What is made of it comes from its own library, on the stream
that is that library's current one, and nothing goes through the host. No library is imported here: whoever has an array
has its library.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["check_integers", "checked", "exp", "full", "is_on_device", "layout_of", "stream_of", "unique", "unpacked"]

_KNOWN = ("cupy", "torch")


def is_on_device(array: Any) -> bool:
    """Say whether an array is in the memory of a GPU."""
    return hasattr(array, "__cuda_array_interface__")


def checked(array: Any, what: str) -> Any:
    """Return the array if it can be walked where it is.

    Raises
    ------
    TypeError
        If it comes from a library that is not known, or its numbers have no walk.
    ValueError
        If it is not 3-D, or empty.
    """
    _library_of(array)
    interface = array.__cuda_array_interface__
    dtype, shape = np.dtype(interface["typestr"]), tuple(interface["shape"])
    if dtype.kind not in "buif" or dtype.itemsize > 8 or dtype == np.float16 or not dtype.isnative:
        raise TypeError(f"{what} on a GPU must hold integers, float32 or float64; got {dtype}. Convert it there")
    if len(shape) != 3 or 0 in shape:
        raise ValueError(f"{what} must be a 3-D array with voxels; got shape {shape}")
    return array


def check_integers(array: Any) -> None:
    """Refuse labels of floating point, which would have to be converted."""
    if np.dtype(array.__cuda_array_interface__["typestr"]).kind == "f":
        raise TypeError("labels on a GPU must be integers; got floating point. Convert them there")


def _library_of(array: Any) -> tuple[str, Any]:
    name = type(array).__module__.partition(".")[0]
    if name not in _KNOWN:
        raise TypeError(
            f"arrays on a GPU must be CuPy's or torch's; got {type(array).__module__}.{type(array).__name__}. "
            "cupy.asarray(array) or cupy.from_dlpack(array) shares its memory"
        )
    return name, sys.modules[name]


def stream_of(array: Any) -> int:
    """Return the stream that the array's library works on now, as CUDA's handle."""
    name, library = _library_of(array)
    if name == "torch":
        stream = library.cuda.current_stream(array.device).cuda_stream
    else:
        with array.device:
            stream = library.cuda.get_current_stream().ptr
    # 0 is the legacy default stream, which has the handle 1 as well.
    return int(stream) or 1


class _Addresses:
    def __init__(self, interface: dict[str, Any]) -> None:
        self.__array_interface__ = interface


def layout_of(array: Any) -> npt.NDArray[Any]:
    """Return shape, type, strides and addresses as numpy would have them; reading voxels from it would crash."""
    interface = array.__cuda_array_interface__
    parts = {key: interface.get(key) for key in ("shape", "typestr", "data", "strides")}
    return np.asarray(_Addresses({**parts, "version": 3}))


def full(array: Any, shape: Sequence[int], dtype: npt.DTypeLike, value: float) -> Any:
    """Make an array of one value beside another one."""
    name, library = _library_of(array)
    if name == "torch":
        return library.full(tuple(shape), value, dtype=getattr(library, np.dtype(dtype).name), device=array.device)
    with array.device:
        return library.full(tuple(shape), value, dtype=np.dtype(dtype))


def unique(array: Any) -> list[int]:
    """Return the values that occur; they alone go to the host."""
    _, library = _library_of(array)
    return [int(value) for value in library.unique(array).tolist()]


def exp(array: Any) -> Any:
    """Return the exponential."""
    _, library = _library_of(array)
    return library.exp(array)


def unpacked(packed: Any, columns: int) -> Any:
    """Return the bits of bytes along the last axis, the highest one first, as booleans."""
    _, library = _library_of(packed)
    bits = library.stack([packed >> shift & 1 for shift in range(7, -1, -1)], -1)
    return bits.reshape((*packed.shape[:-1], 8 * packed.shape[-1]))[..., :columns] != 0
