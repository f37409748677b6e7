"""NumPy files: an array and the affine that says where it lies."""

from __future__ import annotations

import math
import os
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from drrproj.grid import Space
from drrproj.io.sizes import cut_short, too_large

__all__ = ["DAMAGE", "FORMAT_OF_RADIOGRAPHS", "read_archive", "read_numpy", "write_archive"]

DAMAGE = (
    EOFError,
    OSError,
    RuntimeError,
    SyntaxError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What numpy raises, beside ValueError, where the bytes of an archive or an array are damaged."""

FORMAT_OF_RADIOGRAPHS = "drrproj radiograph"
"""How the entry ``format`` begins in an archive by ``write_npz``; the version follows."""


def read_numpy(path: str | os.PathLike[str]) -> tuple[npt.NDArray[Any], npt.NDArray[Any], Space]:
    """Read a 3-D array and its affine.

    Parameters
    ----------
    path : str or path
        ``.npz``: an entry ``affine``, one other entry that is 3-D, of any name, and if the affine is not RAS+ an
        entry ``space`` with the text ``LPS``, as ``numpy.savez("ct.npz", array=..., affine=...)`` writes it.
        ``.npy``: the array, mapped; its affine stands beside it, ``ct_affine.npy`` for ``ct.npy``.

    Returns
    -------
    array, affine, space

    Raises
    ------
    ValueError
        If there is no affine, no array or more than one, or the file is damaged.
    OSError
        If the array or the affine beside it cannot be read.
    MemoryError
        If there is not enough memory for an array.
    """
    file = Path(path)
    if not zipfile.is_zipfile(file):
        return _from_array(file)
    with _damage(), zipfile.ZipFile(file) as archive:
        return _from_archive(read_archive(archive))


@contextmanager
def _damage() -> Iterator[None]:
    """Say in a sentence of ours what numpy stumbles on."""
    try:
        yield
    except DAMAGE as error:
        raise ValueError(f"the NumPy file is damaged or cut short: {error}") from error


def _from_array(file: Path) -> tuple[npt.NDArray[Any], npt.NDArray[Any], Space]:
    affine_file = file.with_name(f"{file.stem}_affine.npy")
    if not affine_file.is_file():
        raise ValueError(
            "an array alone does not say where its voxels are; save its affine beside it as "
            f'{affine_file.name}, or both with numpy.savez("ct.npz", array=array, affine=affine)'
        )
    for part, what in ((file, "the file"), (affine_file, f"{affine_file.name} beside it")):
        try:
            stream = part.open("rb")
        except OSError as error:
            raise type(error)(f"cannot read {part}: {error.strerror}") from error
        with stream, _damage():
            _check_size(stream, part.stat().st_size, what)
    with _damage():
        return np.load(file, mmap_mode="r", allow_pickle=False), np.load(affine_file, allow_pickle=False), "RAS"


def read_archive(archive: zipfile.ZipFile) -> dict[str, npt.NDArray[Any]]:
    """Read the arrays of an ``.npz`` by name; no memory is taken for numbers that the archive does not have.

    Raises
    ------
    ValueError
        If an entry is no array, or one of objects, or holds less than it claims; beside ``DAMAGE``.
    MemoryError
        If there is not enough memory for an array.
    """
    arrays = {}
    for entry in archive.infolist():
        if not entry.filename.endswith(".npy"):
            continue
        name = entry.filename.removesuffix(".npy")
        with archive.open(entry) as stream:
            size = _check_size(stream, entry.file_size, f"its entry {name}")
        with archive.open(entry) as stream:
            try:
                arrays[name] = np.lib.format.read_array(stream, allow_pickle=False)
            except MemoryError:
                raise too_large(f"its entry {name}", size) from None
    return arrays


def write_archive(file: IO[bytes], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write an ``.npz``: as numpy's savez does, but at the fast level of compression, and without the time of day."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _check_size(stream: IO[bytes], there: int, what: str) -> int:
    """Refuse an array of objects, or one that claims more bytes than there are; return how many it claims."""
    formats = np.lib.format
    try:
        first = formats.read_magic(stream) == (1, 0)
        shape, _, dtype = (formats.read_array_header_1_0 if first else formats.read_array_header_2_0)(stream)
    except ValueError as error:
        # Not in numpy's words, which advise to load what is not safe.
        raise ValueError(
            f"{what} does not begin as an array of NumPy does, so it is damaged or something else"
        ) from error
    if dtype.hasobject:
        raise ValueError(f"{what} holds objects of Python, which are not read; save it as an array of numbers")
    expected, there = math.prod(shape) * dtype.itemsize, there - stream.tell()
    if there < expected:
        raise cut_short(what, "numbers", expected, there)
    return expected


def _from_archive(arrays: dict[str, npt.NDArray[Any]]) -> tuple[npt.NDArray[Any], npt.NDArray[Any], Space]:
    affine = arrays.pop("affine", None)
    if affine is None and str(arrays.get("format")).startswith(FORMAT_OF_RADIOGRAPHS):
        raise ValueError("this is a radiograph, no voxels; read_npz reads it, and `drrproj render` draws it")
    if affine is None:
        raise ValueError(
            f"there is no entry affine (4x4, voxel index to mm) in it, only {', '.join(arrays)}; save it with "
            "numpy.savez(..., array=array, affine=affine)"
        )
    space: Any = str(arrays.pop("space", "RAS"))
    volumes = [name for name, array in arrays.items() if array.ndim == 3]
    if len(volumes) != 1:
        raise ValueError(
            f"it must hold one 3-D array beside the affine; got {', '.join(volumes) or 'none'} among "
            f"{', '.join(arrays) or 'no others'}"
        )
    return arrays[volumes[0]], affine, space
