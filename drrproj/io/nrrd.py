"""NRRD files, and the segmentations that 3D Slicer writes as .seg.nrrd."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from drrproj.extras import from_extra
from drrproj.io.beside import open_beside

__all__ = ["Segment", "read_nrrd", "slicer_segments"]

# World axes by the names that the format defines; the signs turn them into right, anterior, superior.
_SPACES = {
    "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
    "lps": (-1, -1, 1),
}

# The format's two ways to name several data files.
_SEVERAL_FILES = re.compile(r"LIST(?:[ \t]+\d+)?|.*%\d*d\S*(?:[ \t]+-?\d+){3,4}")
_NEWEST = 5
_LONGEST_HEADER = 1 << 24
_MAGIC = re.compile(r"NRRD(\d{4})$")
_ENCODINGS = ("raw", "gzip", "gz", "bzip2", "bz2", "ascii", "text", "txt")
_DATA_FILE = ("data file", "datafile")
_QUANTISED = ("old min", "oldmin", "old max", "oldmax")
# Words, which other readers take in either case.
_IN_LOWER_CASE = ("type", "encoding", "endian")

_SEGMENT_FIELD = re.compile(r"Segment(\d+)_(Name|LabelValue|Layer)$")
_ESCAPED = {"\\\\": "\\", "\\n": "\n"}


class Segment(NamedTuple):
    """One structure of a Slicer segmentation: where its voxels equal ``value`` in ``layer``."""

    name: str
    layer: int
    value: int


def read_nrrd(
    path: str | os.PathLike[str],
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64], Mapping[str, Any]]:
    """Read array, affine and header of an NRRD file, attached (``.nrrd``) or with its data beside it (``.nhdr``).

    Parameters
    ----------
    path : str or path
        The file, or the header of a pair.

    Returns
    -------
    array : ndarray, 3-D; of a segmentation with several layers 4-D, layers first
    affine : ndarray, shape (4, 4)
        Voxel indices of the last three axes to RAS+ mm.
    header : mapping

    Raises
    ------
    ValueError
        If the file is damaged, of another version or encoding, is no volume, leaves its voxels to several files or to
        one that is not there, or does not say where they are.
    OSError
        If the file of its voxels cannot be read.
    ModuleNotFoundError
        If pynrrd is not installed.
    """
    with from_extra("formats", "reading NRRD"):
        import nrrd
    with open(path, "rb") as file:
        lines = _header_lines(file)
        version = _MAGIC.match("".join(lines[:1]))
        if version and int(version[1]) > _NEWEST:
            raise ValueError(f"it is NRRD of version {int(version[1])}; save it as one of versions 1 to {_NEWEST}")
        fields = (line.partition(":") for line in lines)
        said = next((value.strip() for field, _, value in fields if field in _DATA_FILE), "")
        if _SEVERAL_FILES.fullmatch(said):
            raise ValueError(f"its voxels are spread over several files ({said}); write them into one file")
        with _damage():
            # From lines, because from bytes pynrrd drops every letter that is not ASCII.
            header: dict[str, Any] = nrrd.read_header(iter(lines))
        encoding = header.get("encoding", "raw")
        if encoding not in _ENCODINGS:
            raise ValueError(
                f"its encoding is {encoding}, and drrproj reads {', '.join(_ENCODINGS)}; save it as one of those"
            )
        if any(name in header for name in _QUANTISED):
            raise ValueError("its values were quantised (old min, old max), so they are not what was measured")
        with _opened_data(path, file, header) as data, _damage():
            array: npt.NDArray[Any] = nrrd.read_data(
                {name: value for name, value in header.items() if name not in _DATA_FILE}, data, index_order="F"
            )
    affine = _affine(header, array.ndim)
    # Layers come first: an axis of one of them is how some tools write a single volume.
    if array.ndim == 4 and len(array) == 1:
        array = array[0]
    elif array.ndim == 4 and not slicer_segments(header):
        raise ValueError(f"it has {len(array)} numbers a voxel, shape {array.shape}; a volume has one")
    return array, affine, header


def _header_lines(file: BinaryIO) -> list[str]:
    """Read the header, up to its empty line, with the names of its fields as the format writes them.

    Of a name that is no UTF-8 the bytes are kept, as Python keeps those of the names of files.
    """
    lines = []
    left = _LONGEST_HEADER
    while line := file.readline(left).decode(errors="surrogateescape").rstrip():
        field, colon, value = line.partition(":")
        # A key of a user's own, which := follows, is as it is.
        if colon and not value.startswith("="):
            field = field.strip().lower()
            line = f"{field}:{value.lower() if field in _IN_LOWER_CASE else value}"
        lines.append(line)
        left -= len(line)
        if left <= 0:
            raise ValueError(f"the NRRD file is damaged: its header does not end within {_LONGEST_HEADER >> 20} MiB")
    return lines


@contextmanager
def _damage() -> Iterator[None]:
    """Say in a sentence of ours what pynrrd stumbles on."""
    from nrrd import NRRDError

    try:
        yield
    except (NRRDError, ValueError, EOFError, LookupError, OSError, ArithmeticError, zlib.error) as error:
        raise ValueError(f"the NRRD file is damaged: {error}") from error


@contextmanager
def _opened_data(path: str | os.PathLike[str], file: BinaryIO, header: Mapping[str, Any]) -> Iterator[BinaryIO]:
    """Open the file that the header names for its voxels, or go on in its own."""
    where = next((header[name] for name in _DATA_FILE if name in header), None)
    if where is None:
        yield file
        return
    with open_beside(path, where) as data:
        yield data


def _affine(header: Mapping[str, Any], dimension: int) -> npt.NDArray[np.float64]:
    space = str(header.get("space", "")).strip().lower()
    if space not in _SPACES or "space directions" not in header or "space origin" not in header:
        raise ValueError(
            "it does not say where its voxels are in the patient: an NRRD needs the fields space (one of "
            "right-anterior-superior, left-anterior-superior, left-posterior-superior), space directions and space "
            f"origin; got space {header.get('space')!r}"
        )
    units = [str(unit).strip().strip('"') for unit in header.get("space units", ())]
    if any(unit not in ("mm", "", "???", "nan") for unit in units):
        raise ValueError(f"its space units are {', '.join(units)}; drrproj takes mm")
    # A row per array axis; NaN, written "none", where an axis has no direction: layers, or colours.
    directions = np.array(
        [np.full(3, np.nan) if row is None else row for row in header["space directions"]], dtype=np.float64
    )
    if directions.ndim != 2 or directions.shape[1] != 3:
        raise ValueError(
            f"its space directions must be 3 numbers for each axis in space, in mm; got {directions.shape[-1]}"
        )
    spatial = ~np.isnan(directions).any(axis=1)
    expected = [True] * 3 if dimension == 3 else [False] + [True] * 3
    if spatial.tolist() != expected:
        raise ValueError(
            f"it is {dimension}-D with {int(spatial.sum())} axes in space; a volume has three, and layers come first"
        )
    origin = np.asarray(header["space origin"], dtype=np.float64)
    if origin.shape != (3,):
        raise ValueError(f"its space origin must be 3 numbers, in mm; got {origin.size}")
    affine = np.eye(4)
    affine[:3, :3] = directions[spatial].T
    affine[:3, 3] = origin
    affine[:3] *= np.array(_SPACES[space], dtype=np.float64)[:, None]
    return affine


def slicer_segments(header: Mapping[str, Any]) -> list[Segment]:
    """List the structures that a ``.seg.nrrd`` header names, in its order; empty for other files.

    Raises
    ------
    ValueError
        If a structure lacks a name, or its layer or value is no whole number.
    """
    fields: dict[int, dict[str, str]] = {}
    for key, value in header.items():
        match = _SEGMENT_FIELD.match(key)
        if match:
            text = re.sub(r"\\[\\n]", lambda escaped: _ESCAPED[escaped[0]], str(value))
            fields.setdefault(int(match[1]), {})[match[2]] = text.strip()
    segments = []
    for number, entry in sorted(fields.items()):
        if not entry.get("Name"):
            raise ValueError(f"its segment {number} has no name (Segment{number}_Name)")
        # Before layers were shared, each segment had a layer of its own with 1 in it.
        places = {"Layer": entry.get("Layer", str(number)), "LabelValue": entry.get("LabelValue", "1")}
        for key, said in places.items():
            if not re.fullmatch(r"[+-]?[0-9]+", said):
                raise ValueError(
                    f"the {key} of its segment {entry['Name']} must be a whole number; got {said!r} "
                    f"(Segment{number}_{key})"
                )
        segments.append(Segment(entry["Name"], int(places["Layer"]), int(places["LabelValue"])))
    return segments
