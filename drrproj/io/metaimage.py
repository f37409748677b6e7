"""MetaImage files: a text header, and voxels behind it (.mha) or beside it (.mhd)."""

from __future__ import annotations

import math
import os
import re
import zlib
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from drrproj.io.beside import open_beside
from drrproj.io.sizes import cut_short

__all__ = ["read_metaimage"]

_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}

# The same field has several names, from different years of the format.
_DIRECTIONS = ("TransformMatrix", "Rotation", "Orientation")
_ORIGINS = ("Offset", "Position", "Origin")
_ORDERS = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
_UNSCALED = (("Slope", "1"), ("Offset", "0"))
_LIST = re.compile(r"LIST(?:[ \t]+\d+D?)?")  # not any name that begins so
_LONGEST_LINE = 1 << 16
_LARGEST = 2**53  # whole numbers above it are not told apart


def read_metaimage(path: str | os.PathLike[str]) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """Read array and affine of a MetaImage file, plain or zlib-compressed.

    Parameters
    ----------
    path : str or path
        An ``.mha`` file, or the ``.mhd`` header of a pair.

    Returns
    -------
    array : ndarray, 3-D, memory as in the file
        Mapped where it is not compressed.
    affine : ndarray, shape (4, 4)
        Voxel indices to LPS+ mm, which is the frame that ITK gives this format.

    Raises
    ------
    ValueError
        If the header lacks a field, holds one that cannot be, or the voxels are cut short, damaged or not there.
    OSError
        If the file of its voxels cannot be read.

    Accuracy
    --------
    Equal to SimpleITK's reading in array and affine, over number types, byte orders, compression, directions and
    both kinds of file (``tests/test_io_formats.py``).

    Source
    ------
    The MetaIO library of ITK, documentation of the MetaImage format.
    """
    with open(path, "rb") as file:
        fields = _fields(file)
        shape, dtype = _shape(fields), _dtype(fields)
        affine = _affine(fields)
        where = fields["ElementDataFile"]
        if where.upper() == "LOCAL":
            return _voxels(file, _offset(file, file.tell(), fields, shape, dtype), fields, shape, dtype), affine
    if _LIST.fullmatch(where) or "%" in where:
        raise ValueError(f"its voxels are spread over several files ({where}); write them into one file")
    with open_beside(path, where) as file:
        return _voxels(file, _offset(file, 0, fields, shape, dtype), fields, shape, dtype), affine


def _fields(file: BinaryIO) -> dict[str, str]:
    fields: dict[str, str] = {}
    while "ElementDataFile" not in fields:
        line = file.readline(_LONGEST_LINE)
        # The bytes of a file's name in another encoding are kept.
        key, equals, value = line.decode(errors="surrogateescape").partition("=")
        if not equals:
            raise ValueError("its header ends without ElementDataFile, which says where the voxels are")
        fields[key.strip()] = value.strip()
    if fields.get("BinaryData", "True").lower() == "false":
        raise ValueError("its voxels are written as text (BinaryData = False); write them as binary data")
    channels = fields.get("ElementNumberOfChannels", "1")
    if channels != "1":
        raise ValueError(f"it has {channels} numbers a voxel; a volume has one")
    slope, shift = (fields.get(f"ElementToIntensityFunction{name}", usual) for name, usual in _UNSCALED)
    try:
        is_scaled = (float(slope), float(shift)) != (1, 0)
    except ValueError:
        is_scaled = True
    if is_scaled:
        raise ValueError(f"its values are to be scaled by {slope} and shifted by {shift}; write them so")
    return fields


def _numbers(fields: dict[str, str], names: tuple[str, ...], count: int) -> npt.NDArray[np.float64] | None:
    for name in names:
        if name in fields:
            try:
                values = np.array(fields[name].split(), dtype=np.float64)
            except ValueError:
                values = np.empty(0)
            if values.size != count:
                raise ValueError(f"its {name} must be {count} numbers; got {fields[name]!r}")
            return values
    return None


def _shape(fields: dict[str, str]) -> tuple[int, ...]:
    dimensions = fields.get("NDims", "")
    sizes = _numbers(fields, ("DimSize",), int(dimensions) if dimensions.isdecimal() else 3)
    if sizes is None:
        raise ValueError("it has no DimSize")
    # NaN compares false.
    if not all(1 <= size <= _LARGEST and size.is_integer() for size in sizes.tolist()):
        raise ValueError(f"its DimSize must be whole numbers from 1; got {fields['DimSize']!r}")
    shape = tuple(int(size) for size in sizes)
    if len(shape) != 3:
        raise ValueError(f"it is {len(shape)}-D, shape {shape}, and a volume is 3-D")
    return shape


def _dtype(fields: dict[str, str]) -> np.dtype[Any]:
    name = fields.get("ElementType", "")
    if name not in _TYPES:
        raise ValueError(f"its ElementType is {name or 'missing'}; drrproj reads {', '.join(_TYPES)}")
    is_big = any(fields.get(order, "False").lower() in ("true", "t", "1") for order in _ORDERS)
    return np.dtype(f"{'>' if is_big else '<'}{_TYPES[name]}")


def _affine(fields: dict[str, str]) -> npt.NDArray[np.float64]:
    spacing = _numbers(fields, ("ElementSpacing",), 3)
    origin = _numbers(fields, _ORIGINS, 3)
    directions = _numbers(fields, _DIRECTIONS, 9)
    missing = [
        name
        for name, value in (("ElementSpacing", spacing), ("Offset", origin), ("TransformMatrix", directions))
        if value is None
    ]
    if spacing is None or origin is None or directions is None:
        raise ValueError(f"it does not say where its voxels are in the patient: it has no {', '.join(missing)}")
    affine = np.eye(4)
    # The file has a row of numbers for each voxel axis; in the affine the axes are columns.
    affine[:3, :3] = directions.reshape(3, 3).T * spacing
    affine[:3, 3] = origin
    return affine


def _offset(file: BinaryIO, header: int, fields: dict[str, str], shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Find the byte where the voxels begin, in a file that has this header's ``header`` bytes first."""
    said, there = fields.get("HeaderSize", "0"), os.fstat(file.fileno()).st_size
    try:
        size = int(said)
    except ValueError:
        size = -2
    if size < -1:
        raise ValueError(f"its HeaderSize must be a whole number from -1; got {said!r}")
    if 0 < size < header:
        raise ValueError(f"its HeaderSize is {size}, and its header has {header} bytes, behind which the voxels begin")
    if size > 0:
        return min(size, there)
    # -1 means that the voxels end where the file ends; where packed ones begin it does not say.
    if size < 0 and not _is_compressed(fields):
        return max(there - math.prod(shape) * dtype.itemsize, header)
    return header


def _is_compressed(fields: dict[str, str]) -> bool:
    return fields.get("CompressedData", "False").lower() in ("true", "t", "1")


def _voxels(
    file: BinaryIO, offset: int, fields: dict[str, str], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> npt.NDArray[Any]:
    expected = math.prod(shape) * dtype.itemsize
    if _is_compressed(fields):
        file.seek(offset)
        contents = _decompress(file.read())
        if len(contents) < expected:
            raise cut_short("the file", "voxels", expected, len(contents))
        return np.frombuffer(contents, dtype, math.prod(shape)).reshape(shape, order="F")
    there = os.fstat(file.fileno()).st_size - offset
    if there < expected:
        raise cut_short("the file", "voxels", expected, max(there, 0))
    return np.memmap(file, dtype, mode="r", offset=offset, shape=shape, order="F")


def _decompress(contents: bytes) -> bytes:
    unpacker: Any = zlib
    damage: type[Exception] = zlib.error
    try:
        from isal import isal_zlib
    except ImportError:  # no wheel for this machine; the standard library takes three times as long
        pass
    else:
        unpacker, damage = isal_zlib, cast(type[Exception], isal_zlib.error)
    try:
        return cast(bytes, unpacker.decompress(contents))
    except damage as error:
        raise ValueError(
            f"its compressed voxels are cut short or damaged ({error}); copy or download it again"
        ) from error
