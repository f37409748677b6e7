"""Masks as COCO run lengths, and a COCO file of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.extras import from_extra
from drrproj.io.chosen_masks import chosen_masks
from drrproj.io.endings import require_ending
from drrproj.io.file_names import file_names
from drrproj.radiograph import Radiograph
from drrproj.replace import replaced
from drrproj.version import __version__

__all__ = ["coco_rle", "require_pycocotools", "run_lengths", "write_coco"]


def coco_rle(
    radiograph: Radiograph, labels: Iterable[str | int] | str | int | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Return masks as COCO run lengths, which JSON can hold.

    Parameters
    ----------
    radiograph : Radiograph
        Of any number of views, with masks.
    labels : str or int, or iterable of them, optional
        Names or ids; by default all.

    Returns
    -------
    dict of str to list of dict
        By name, one for each view: ``{"size": [rows, columns], "counts": text}``, as ``pycocotools.mask`` takes it;
        ``pycocotools.mask.decode`` gives the mask back.

    Raises
    ------
    TypeError
        If ``radiograph`` is none.
    ValueError
        If there are no masks.
    KeyError
        If a label is not in the radiograph.
    ModuleNotFoundError
        If pycocotools is not installed; the sentence names what to install.

    Examples
    --------
    >>> import numpy as np, drrproj, pycocotools.mask
    >>> ct = drrproj.Volume(np.zeros((20, 10, 20), np.int16), np.eye(4))
    >>> labels = drrproj.LabelVolume(ct.array + 1, ct.affine, {1: "block"})
    >>> shot = drrproj.project(ct, drrproj.Geometry.radiograph("PA", ct, shape=(32, 32)), labels=labels)
    >>> rle = drrproj.coco_rle(shot)["block"][0]
    >>> rle["size"], int(pycocotools.mask.area(rle)) == int(shot.masks["block"].sum())
    ([32, 32], True)
    """
    masks, places = chosen_masks(radiograph, labels)
    columns = radiograph.geometry.shape[1]
    return {name: [_rle(packed, columns) for packed in masks.packed[place]] for name, place in places.items()}


def write_coco(
    path: str | os.PathLike[str],
    radiograph: Radiograph,
    labels: Iterable[str | int] | str | int | None = None,
    *,
    pictures: Sequence[str] | None = None,
) -> None:
    """Write masks as a COCO file, the format that detection and segmentation tools read.

    One image for each view, one category for each structure, and one annotation, of run lengths, for each structure
    that a view shows. Boxes are those of the pixels, ``[left, top, width, height]``; a category's id is the label id,
    or its place, from 1, where labels of several volumes share an id.

    Parameters
    ----------
    path : str or path
        Ends in ``.json``. Replaced whole, or left as it was.
    radiograph : Radiograph
        Of any number of views, with masks.
    labels : str or int, or iterable of them, optional
        Names or ids to write; by default all.
    pictures : sequence of str, optional
        What the pictures of the views are called; by default ``VIEW.png``, as the command line calls them.

    Raises
    ------
    TypeError
        If ``radiograph`` is none.
    ValueError
        If there are no masks, not one picture for each view, or the name has another ending.
    KeyError
        If a label is not in the radiograph.
    ModuleNotFoundError
        If pycocotools is not installed; the sentence names what to install.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import json, numpy as np, drrproj, tempfile
    >>> ct = drrproj.Volume(np.zeros((20, 10, 20), np.int16), np.eye(4))
    >>> labels = drrproj.LabelVolume(ct.array + 1, ct.affine, {1: "block"})
    >>> shot = drrproj.project(ct, drrproj.Geometry.radiograph("PA", ct, shape=(32, 32)), labels=labels)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     drrproj.write_coco(f"{folder}/masks.json", shot)
    ...     with open(f"{folder}/masks.json") as file:
    ...         json.load(file)["categories"]
    [{'id': 1, 'name': 'block'}]
    """
    require_ending(path, "a COCO file", ".json")
    masks, places = chosen_masks(radiograph, labels)
    names, (rows, columns) = radiograph.geometry.names, radiograph.geometry.shape
    called = [f"{stem}.png" for stem in file_names(names)] if pictures is None else list(pictures)
    if len(called) != len(names):
        raise ValueError(f"each view needs one picture; got {len(called)} for {len(names)} views")
    are_unique = len(set(masks.label_ids)) == len(masks)
    category_of = {name: masks.label_ids[place] if are_unique else place + 1 for name, place in places.items()}
    annotations: list[dict[str, Any]] = []
    for view in range(len(names)):
        for name, place in places.items():
            top, bottom, left, right = masks.boxes[place, view].tolist()
            if bottom == top:
                continue
            annotations.append(
                {
                    # From 1: pycocotools' evaluation takes 0 for no match.
                    "id": len(annotations) + 1,
                    "image_id": view + 1,
                    "category_id": category_of[name],
                    "segmentation": _rle(masks.packed[place, view], columns),
                    "area": int(masks.areas[place, view]),
                    "bbox": [left, top, right - left, bottom - top],
                    "iscrowd": 0,
                }
            )
    contents = {
        "info": {"description": "structures projected from a CT", "contributor": f"drrproj {__version__}"},
        "images": [
            {"id": view + 1, "file_name": picture, "height": rows, "width": columns, "view": name}
            for view, (picture, name) in enumerate(zip(called, names, strict=True))
        ],
        "categories": [{"id": category_of[name], "name": name} for name in places],
        "annotations": annotations,
    }
    with replaced(path) as file:
        file.write(json.dumps(contents, ensure_ascii=False).encode() + b"\n")


def require_pycocotools() -> ModuleType:
    """Return pycocotools.mask, or raise what says how to install it: before work that would be lost."""
    with from_extra("dataset", "reading and writing run lengths and polygons"):
        import pycocotools.mask
    module: ModuleType = pycocotools.mask
    return module


def run_lengths(mask: npt.NDArray[np.bool_] | npt.NDArray[np.uint8]) -> dict[str, Any]:
    """Return the run lengths of one mask, (rows, columns), as JSON takes them."""
    encoded = require_pycocotools().encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(length) for length in encoded["size"]], "counts": encoded["counts"].decode("ascii")}


def _rle(packed: npt.NDArray[np.uint8], columns: int) -> dict[str, Any]:
    return run_lengths(np.unpackbits(packed, axis=-1, count=columns))
