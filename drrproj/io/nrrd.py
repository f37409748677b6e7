"""NRRD files, and the segmentations that 3D Slicer writes as .seg.nrrd."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from drrproj.extras import from_extra

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

# The format's two ways to name several data files, in a header that ends at an empty line.
_SEVERAL_FILES = re.compile(
    rb"^data ?file:[ \t]*(LIST(?:[ \t]+\d+)?|.*%\d*d\S*(?:[ \t]+-?\d+){3,4})[ \t]*\r?$", re.MULTILINE
)
_HEADER_END = re.compile(rb"\n\r?\n")
_LONGEST_HEADER = 1 << 16

_SEGMENT_FIELD = re.compile(r"Segment(\d+)_(Name|LabelValue|Layer)$")


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
    array : ndarray, 3-D; or 4-D with layers first, where the first axis has no place in space
    affine : ndarray, shape (4, 4)
        Voxel indices of the last three axes to RAS+ mm.
    header : mapping

    Raises
    ------
    ValueError
        If the file is damaged, is no volume, leaves its voxels to several files, or does not say where they are.
    ModuleNotFoundError
        If pynrrd is not installed.
    """
    with from_extra("formats", "reading NRRD"):
        import nrrd
    with open(path, "rb") as file:
        said = _SEVERAL_FILES.search(_HEADER_END.split(file.read(_LONGEST_HEADER), 1)[0])
    if said:
        files = said[1].decode("ascii", "backslashreplace")
        raise ValueError(f"its voxels are spread over several files ({files}); write them into one file")
    try:
        array, header = nrrd.read(os.fspath(path), index_order="F")
    except (nrrd.NRRDError, ValueError, EOFError, LookupError, OSError, ArithmeticError, zlib.error) as error:
        raise ValueError(f"the NRRD file is damaged, or its data file is missing: {error}") from error
    if "old min" in header or "old max" in header:
        raise ValueError("its values were quantised (old min, old max), so they are not what was measured")
    return array, _affine(header, array.ndim), header


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
            fields.setdefault(int(match[1]), {})[match[2]] = str(value).strip()
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
