"""NPZ: a whole radiograph, all views and labels, for reading back exactly."""

from __future__ import annotations

import json
import os
import zipfile
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.geometry import Geometry
from drrproj.io.endings import require_ending
from drrproj.io.kinds import NAMES, checked_path, kind_of
from drrproj.io.numpy_arrays import DAMAGE, FORMAT_OF_RADIOGRAPHS, read_archive, write_archive
from drrproj.io.one_view import require_radiograph
from drrproj.io.sidecar import plain_json
from drrproj.radiograph import LabelCrops, LabelImages, LabelMasks, Radiograph
from drrproj.replace import replaced
from drrproj.short_text import shown

__all__ = ["read_npz", "write_npz"]

_FORMAT = f"{FORMAT_OF_RADIOGRAPHS} 2"

# What the entries are made of.
_MADE_OF: dict[Any, str] = {
    np.floating: "floats",
    np.integer: "whole numbers",
    np.uint8: "bytes",
    np.str_: "texts",
}


def write_npz(path: str | os.PathLike[str], radiograph: Radiograph) -> None:
    """Write a radiograph with all its views, path lengths and masks.

    :func:`numpy.load` opens the file anywhere. It holds, as far as the radiograph has them: ``line_integral``
    and ``background_line_integral`` (views, rows, columns); ``path_length``, ``label_line_integral``, ``entry_depth``
    and ``exit_depth`` (labels, views, rows, columns), or as crops one after the other in a flat array, label by label
    and view by view, with their ``path_length_boxes`` (labels, views, 4); ``masks`` (labels, views, rows,
    ceil(columns / 8)), bits as :func:`numpy.packbits` has them; for each of those ``path_length_ids`` and
    ``path_length_names`` (labels,); ``views`` (views, 4, 4), ``view_names`` and ``shape``; ``backend``; ``record``, a
    JSON text.

    Parameters
    ----------
    path : str or path
        Ends in ``.npz``. Replaced whole, or left as it was.
    radiograph : Radiograph
        Of any number of views.

    Raises
    ------
    TypeError
        If ``radiograph`` is none.
    ValueError
        If the name has another ending.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import numpy as np, drrproj, tempfile
    >>> ct = drrproj.Volume(np.zeros((20, 10, 20), np.int16), np.eye(4))
    >>> shot = drrproj.project(ct, drrproj.Geometry.radiograph("PA", ct, shape=(6, 8)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     drrproj.write_npz(f"{folder}/pa.npz", shot)
    ...     again = drrproj.read_npz(f"{folder}/pa.npz")
    >>> np.array_equal(again.line_integral, shot.line_integral), again.geometry.names
    (True, ('PA',))
    """
    require_ending(path, "an NPZ file", ".npz")
    require_radiograph(radiograph)
    geometry = radiograph.geometry
    arrays: dict[str, npt.NDArray[Any]] = {
        "format": np.array(_FORMAT),
        "views": geometry.views,
        "view_names": np.array(geometry.names),
        "shape": np.array(geometry.shape),
        "backend": np.array(radiograph.backend),
        "record": np.array(plain_json(radiograph.record)),
    }
    for name, images in radiograph.images.items():
        if isinstance(images, LabelMasks):
            arrays[name] = images.packed
        elif isinstance(images, LabelImages):
            arrays[name] = images.array
        elif isinstance(images, LabelCrops):
            crops = [images.crop(label, view) for label in images for view in range(len(radiograph))]
            arrays[name] = np.concatenate([crop.ravel() for crop in crops]) if crops else np.zeros(0, np.float32)
            arrays[f"{name}_boxes"] = images.boxes
        else:
            arrays[name] = images
            continue
        arrays[f"{name}_ids"] = np.array(images.label_ids, np.int64)
        arrays[f"{name}_names"] = np.array(list(images), np.str_)
    with replaced(path) as file:
        write_archive(file, arrays)


def read_npz(path: str | os.PathLike[str]) -> Radiograph:
    """Read a radiograph that :func:`write_npz` wrote.

    Parameters
    ----------
    path : str or path
        The ``.npz`` file.

    Returns
    -------
    Radiograph
        Equal to the one written, bit by bit.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, or not one of ours, or its entries do not fit each other.
    MemoryError
        If there is not enough memory for what is in it.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import numpy as np, drrproj, tempfile
    >>> ct = drrproj.Volume(np.zeros((20, 10, 20), np.int16), np.eye(4))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     drrproj.write_npz(f"{folder}/ll.npz", drrproj.project(ct, drrproj.Geometry.radiograph("LL", ct)))
    ...     drrproj.read_npz(f"{folder}/ll.npz").line_integral.shape
    (1, 512, 512)
    """
    if not _is_zip(path):
        raise ValueError(f"{path}: this is no radiograph of drrproj, which write_npz writes; {_looks(path)}")
    try:
        with zipfile.ZipFile(path) as archive:
            if "format.npy" not in archive.namelist():
                raise KeyError("format")
            arrays = read_archive(archive)
        if str(arrays["format"]) != _FORMAT:
            raise ValueError(f"its format is {str(arrays['format'])!r}, and this version reads {_FORMAT!r}")
        return _radiograph(arrays)
    except KeyError as error:
        raise ValueError(f"{path}: this is no radiograph of drrproj; there is no {error.args[0]} in it") from error
    except MemoryError as error:
        raise MemoryError(f"{path}: {error}") from error
    except (ValueError, AttributeError, TypeError, *DAMAGE) as error:
        raise ValueError(f"{path}: this is no radiograph of drrproj, or a damaged one: {error}") from error


def _is_zip(path: str | os.PathLike[str]) -> bool:
    try:
        with open(checked_path(path), "rb") as file:
            return file.read(2) == b"PK"
    except OSError:
        return False  # what is looked at next says what is wrong with it


def _looks(path: str | os.PathLike[str]) -> str:
    try:
        kind = kind_of(path)
    except ValueError as error:
        return str(error).removeprefix(f"{path}: ")
    return f"it looks like {NAMES[kind]}; read_volume and read_labels read that"


def _radiograph(arrays: dict[str, npt.NDArray[Any]]) -> Radiograph:
    rows, columns = _entry(arrays, "shape", (2,), np.integer).tolist()
    views = _entry(arrays, "views", (None, 4, 4), np.floating)
    view_names = _entry(arrays, "view_names", (len(views),), np.str_).tolist()
    geometry = Geometry(views, (rows, columns), tuple(view_names))
    size = (len(geometry), rows, columns)
    images: dict[str, Any] = {
        name: _entry(arrays, name, size, np.floating)
        for name in ("line_integral", "background_line_integral")
        if name in arrays
    }
    for name in ("path_length", "masks", "label_line_integral", "entry_depth", "exit_depth"):
        if name not in arrays:
            continue
        label_ids = _entry(arrays, f"{name}_ids", (None,), np.integer).tolist()
        names = _entry(arrays, f"{name}_names", (len(label_ids),), np.str_).tolist()
        labels = label_ids, names
        if name == "masks":
            packed = _entry(arrays, name, (len(names), len(geometry), rows, -(-columns // 8)), np.uint8)
            images[name] = LabelMasks(packed, columns, *labels)
        elif f"{name}_boxes" in arrays:
            boxes = _entry(arrays, f"{name}_boxes", (len(names), len(geometry), 4), np.integer)
            outside = np.nan if name.endswith("_depth") else 0.0
            crops = _crops(_entry(arrays, name, (None,), np.floating), boxes, (rows, columns), name)
            images[name] = LabelCrops(crops, boxes, (rows, columns), *labels, outside)
        else:
            images[name] = LabelImages(_entry(arrays, name, (len(names), *size), np.floating), *labels)
    return Radiograph(
        geometry=geometry, images=images, backend=str(arrays["backend"]), record=_record(str(arrays["record"]))
    )


def _entry(
    arrays: dict[str, npt.NDArray[Any]], name: str, shape: tuple[int | None, ...], kind: Any
) -> npt.NDArray[Any]:
    """Return an entry, which must be of this shape, in which None is any size, and of a type of this kind."""
    array = arrays[name]
    fits = array.ndim == len(shape) and all(
        expected in (None, there) for expected, there in zip(shape, array.shape, strict=True)
    )
    if not fits or not np.issubdtype(array.dtype, kind):
        expected = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(
            f"its entry {name} must be {_MADE_OF[kind]} of shape ({expected}); got {array.dtype} of shape {array.shape}"
        )
    return array


def _crops(
    values: npt.NDArray[np.float32], boxes: npt.NDArray[np.int32], shape: tuple[int, int], name: str
) -> list[list[npt.NDArray[np.float32]]]:
    top, bottom, left, right = np.moveaxis(boxes.astype(np.int64), -1, 0)
    inside = (top >= 0) & (top <= bottom) & (bottom <= shape[0]) & (left >= 0) & (left <= right) & (right <= shape[1])
    if not inside.all():
        raise ValueError(
            f"its {name}_boxes must lie in the image of {shape[0]} x {shape[1]} pixels, first before last; got "
            f"{boxes[~inside][0].tolist()}"
        )
    heights, widths = (bottom - top).ravel(), (right - left).ravel()
    if (heights * widths).sum() != len(values):
        raise ValueError(
            f"its {name} has {len(values)} pixels, and the boxes of {name}_boxes have {(heights * widths).sum()}"
        )
    pieces = np.split(values, np.cumsum(heights * widths)[:-1]) if len(heights) else []
    crops = [piece.reshape(size) for piece, *size in zip(pieces, heights, widths, strict=True)]
    views = boxes.shape[1]
    return [crops[label * views : (label + 1) * views] for label in range(len(boxes))]


def _record(text: str) -> dict[str, Any]:
    record: Any = json.loads(text)
    if not isinstance(record, dict):
        raise ValueError(f"its entry record must be the JSON of an object; got {shown(record)}")
    for labels in record.get("labels") or ():
        # JSON has only texts for keys, and label ids are numbers.
        labels["names"] = {int(label_id): name for label_id, name in labels["names"].items()}
    return record
