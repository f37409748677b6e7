"""Arrays in the memory of a GPU: which those are, and the little that drrproj asks of the libraries they come from.

What is made of such an array comes from its own library, on the stream that is that library's current one, and nothing
goes through the host. CuPy and torch are known here. The arrays of any other library that has DLPack and the array API
standard, as JAX has them, are seen through CuPy and shared with it: CuPy keeps the streams in order there.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.extras import from_extra

__all__ = [
    "as_float64",
    "check_integers",
    "check_on_host",
    "checked",
    "clear",
    "copied",
    "current_device",
    "full",
    "functions_of",
    "handed_over",
    "is_on_device",
    "layout_of",
    "memory_of",
    "place_of",
    "stream_of",
    "transmission",
    "unique",
    "unpacked",
]

_KNOWN = ("cupy", "torch")
_DLPACK_CUDA = (2, 13)  # memory of a device, and memory that it shares with the host


def is_on_device(array: Any) -> bool:
    """Say whether an array is in the memory of a GPU."""
    if isinstance(array, np.ndarray):
        return False
    if hasattr(array, "__cuda_array_interface__"):
        return True
    return hasattr(array, "__dlpack_device__") and int(array.__dlpack_device__()[0]) in _DLPACK_CUDA


def checked(array: Any, what: str) -> Any:
    """Return the array if it can be walked where it is.

    Raises
    ------
    TypeError
        If its library cannot share it, or its numbers have no walk.
    ValueError
        If it is not 3-D, or empty, or not aligned.
    ModuleNotFoundError
        If it is to be seen through CuPy, which is not installed.
    """
    layout = layout_of(array)
    if layout.dtype.kind not in "buif" or layout.dtype == np.float16 or not layout.dtype.isnative:
        raise TypeError(f"{what} on a GPU must hold integers, float32 or float64; got {layout.dtype}. Convert it there")
    if layout.ndim != 3 or 0 in layout.shape:
        raise ValueError(f"{what} must be a 3-D array with voxels; got shape {layout.shape}")
    if not layout.flags.aligned:
        raise ValueError(f"{what} on a GPU has voxels that lie between the addresses of its type; copy it there")
    return array


def check_integers(array: Any) -> None:
    """Refuse labels of floating point, which would have to be converted."""
    if layout_of(array).dtype.kind == "f":
        raise TypeError("labels on a GPU must be integers; got floating point. Convert them there")


def check_on_host(array: Any, what: str, way_out: str) -> None:
    """Refuse what is made on the host alone, of an array on a GPU."""
    if is_on_device(array):
        raise TypeError(f"{what} on the host, and the array is on a GPU; {way_out}")


def _library_of(array: Any) -> tuple[str, Any]:
    # A class of another package may derive from a library's.
    for kind in type(array).__mro__:
        name = kind.__module__.partition(".")[0]
        if name in _KNOWN:
            return name, sys.modules[name]
    if hasattr(array, "__dlpack__") and hasattr(array, "__array_namespace__"):
        return "other", array.__array_namespace__()
    raise TypeError(
        f"arrays on a GPU must be CuPy's, torch's, or of a library with DLPack and the array API standard; got "
        f"{type(array).__module__}.{type(array).__name__}. cupy.asarray(array) shares its memory"
    )


def memory_of(array: Any) -> Any:
    """Return what a backend reads and writes: the array itself, or CuPy's view of another library's."""
    if not is_on_device(array) or _library_of(array)[0] != "other":
        return array
    with from_extra("cuda", f"seeing an array of {type(array).__module__} on a GPU"):
        cupy = importlib.import_module("cupy")
    return cupy.from_dlpack(array)


def handed_over(array: Any, made: Any) -> Any:
    """Return what was made beside the memory of an array as an array of its library."""
    name, library = _library_of(array)
    return library.from_dlpack(made) if name == "other" else made


def place_of(array: Any) -> tuple[str, int]:
    """Return the library whose streams order work on the array's memory, and the number of the GPU that it is on."""
    memory = memory_of(array)
    name, _ = _library_of(memory)
    return name, int(memory.device.index if name == "torch" else memory.device.id)


def functions_of(array: Any) -> Any:
    """Return the library whose functions work on an array, with the names that numpy has for them."""
    return _library_of(array)[1] if is_on_device(array) else np


def current_device(array: Any) -> AbstractContextManager[Any]:
    """Make the GPU of an array the current one, because CuPy's work goes to that one's stream."""
    if not is_on_device(array):
        return contextlib.nullcontext()
    name, library = _library_of(array)
    if name == "torch":
        return library.cuda.device(array.device)  # type: ignore[no-any-return]
    return array.device if name == "cupy" else contextlib.nullcontext()


def stream_of(array: Any) -> int:
    """Return the stream that the array's library works on now, as CUDA's handle."""
    memory = memory_of(array)
    name, library = _library_of(memory)
    with current_device(memory):
        if name == "torch":
            stream = library.cuda.current_stream(memory.device).cuda_stream
        else:
            stream = library.cuda.get_current_stream().ptr
    # 0 is the legacy default stream, which has the handle 1 as well.
    return int(stream) or 1


class _Addresses:
    def __init__(self, interface: dict[str, Any]) -> None:
        self.__array_interface__ = interface


def layout_of(array: Any) -> npt.NDArray[Any]:
    """Return shape, type, strides and addresses as numpy would have them; reading voxels from it would crash."""
    interface = memory_of(array).__cuda_array_interface__
    parts = {key: interface.get(key) for key in ("shape", "typestr", "data", "strides")}
    return np.asarray(_Addresses({**parts, "version": 3}))


def as_float64(array: Any) -> Any:
    """Return a copy in float64."""
    return array.double() if is_on_device(array) and _library_of(array)[0] == "torch" else array.astype(np.float64)


def copied(array: Any) -> Any:
    """Return a copy."""
    return array.clone() if is_on_device(array) and _library_of(array)[0] == "torch" else array.copy()


def full(array: Any, shape: Sequence[int], dtype: npt.DTypeLike, value: float) -> Any:
    """Make memory of one value beside that of an array."""
    if not is_on_device(array):
        return np.full(shape, value, dtype)
    memory = memory_of(array)
    name, library = _library_of(memory)
    with current_device(memory):
        if name == "torch":
            return library.full(tuple(shape), value, dtype=getattr(library, np.dtype(dtype).name), device=memory.device)
        return library.full(tuple(shape), value, dtype=np.dtype(dtype))


def clear(array: Any, value: float) -> None:
    """Fill an array with one value."""
    with current_device(array):
        array[...] = value


def unique(array: Any) -> list[int]:
    """Return the values that occur; they alone go to the host."""
    memory = memory_of(array)
    _, library = _library_of(memory)
    with current_device(memory):
        return [int(value) for value in library.unique(memory).tolist()]


def transmission(line_integral: Any) -> Any:
    """Return the share of photons that arrive."""
    _, library = _library_of(line_integral)
    with current_device(line_integral):
        return library.exp(-line_integral)


def unpacked(packed: Any, columns: int) -> Any:
    """Return the bits of bytes along the last axis, the highest one first, as booleans."""
    _, library = _library_of(packed)
    with current_device(packed):
        bits = library.stack([packed >> shift & 1 for shift in range(7, -1, -1)], -1)
        return library.reshape(bits, (*packed.shape[:-1], 8 * packed.shape[-1]))[..., :columns] != 0
