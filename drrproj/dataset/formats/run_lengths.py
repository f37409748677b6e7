"""Masks as COCO's run lengths and polygons: pycocotools does the work, so that others read the same pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.dataset.formats.labelled import BoolArray
from drrproj.io.coco import require_pycocotools, run_lengths

__all__ = ["decode_mask", "encode_mask", "mask_of_polygons"]

# More than Pillow opens, and than an X-ray has; where memory is refused to it, pycocotools writes all the same.
_MOST_PIXELS = 2**28
_LONGEST_SIDE = 2**16


def encode_mask(mask: BoolArray) -> tuple[dict[str, Any], int, list[float]]:
    """Return a mask's run lengths as JSON takes them, its area in pixels, and its box [x, y, width, height].

    Parameters
    ----------
    mask : ndarray, shape (rows, columns), bool
    """
    coco, encoded = require_pycocotools(), run_lengths(mask)
    return encoded, int(coco.area(encoded)), [float(number) for number in coco.toBbox(encoded)]


def decode_mask(segmentation: dict[str, Any]) -> BoolArray:
    """Return the mask of run lengths, whether they are compressed, or numbers in a list.

    Parameters
    ----------
    segmentation : dict
        ``size``, [rows, columns], and ``counts``.

    Raises
    ------
    ValueError
        If there is no such size, it is no picture's, or the run lengths do not add up to it.
    """
    coco = require_pycocotools()
    if not isinstance(segmentation, dict) or not {"size", "counts"} <= segmentation.keys():
        raise ValueError(f"run lengths have size and counts; got {_beginning(segmentation)}")
    size, counts = segmentation["size"], segmentation["counts"]
    if not (isinstance(size, (list, tuple)) and len(size) == 2 and all(type(n) is int and n >= 0 for n in size)):
        raise ValueError(f"the size of run lengths is [rows, columns]; got {_beginning(size)}")
    _require_picture(*size)
    # pycocotools does not fill what is missing, and returns whatever was in that memory.
    lengths, pixels = _lengths(counts), size[0] * size[1]
    if (lengths < 0).any() or (lengths > pixels).any() or lengths.sum() != pixels:
        raise ValueError(
            f"run lengths must not be negative, and add up to the {pixels} pixels of the size {list(size)}; "
            f"got {len(lengths)} that add up to {lengths.sum()}"
        )
    if isinstance(counts, list):
        segmentation = coco.frPyObjects({"size": size, "counts": counts}, *size)
    mask: BoolArray = np.ascontiguousarray(coco.decode(segmentation)).astype(np.bool_)
    return mask


def mask_of_polygons(polygons: Sequence[Sequence[float]], shape: tuple[int, int]) -> BoolArray:
    """Return the union of polygons, each x, y, x, y, ... in pixels, where (0, 0) is the corner of the first pixel.

    Raises
    ------
    ValueError
        If a polygon is not three or more pairs of numbers, or is further outside of the picture than that is long; if
        the shape is no picture's.
    """
    coco = require_pycocotools()
    _require_picture(*shape)
    if not polygons:
        return np.zeros(shape, np.bool_)
    long = max(shape)
    for polygon in polygons:
        # pycocotools takes four numbers for a box.
        if not (
            isinstance(polygon, (list, tuple))
            and len(polygon) >= 6
            and len(polygon) % 2 == 0
            and all(isinstance(number, (int, float)) for number in polygon)
        ):
            raise ValueError(f"a polygon is x, y, x, y, ... of three or more points; got {_beginning(polygon)}")
        # pycocotools walks along the edges, and far ones take all memory, or more than its 32 bits.
        odd = next((number for number in polygon if not -long <= number <= 2 * long), None)
        if odd is not None:
            raise ValueError(
                f"a polygon's coordinates on a picture of {shape[1]} x {shape[0]} pixels are numbers from {-long} to "
                f"{2 * long}; got {_beginning(odd)}"
            )
    encoded = coco.frPyObjects([list(polygon) for polygon in polygons], *shape)
    mask: BoolArray = np.ascontiguousarray(coco.decode(coco.merge(encoded))).astype(np.bool_)
    return mask


def _require_picture(rows: int, columns: int) -> None:
    if not (0 <= rows <= _LONGEST_SIDE and 0 <= columns <= _LONGEST_SIDE and rows * columns <= _MOST_PIXELS):
        raise ValueError(
            f"a picture has up to {_LONGEST_SIDE} rows and columns and {_MOST_PIXELS} pixels; got {columns} x {rows}"
        )


def _lengths(counts: Any) -> npt.NDArray[np.int64]:
    """Return run lengths as numbers; COCO's letters hold five bits each, and a sixth that says whether one follows."""
    if isinstance(counts, list):
        if all(type(length) is int and abs(length) < 2**32 for length in counts):
            return np.array(counts, np.int64)
        raise ValueError(f"run lengths are whole numbers; got {_beginning(counts)}")
    if isinstance(counts, str):
        counts = counts.encode()
    if not isinstance(counts, bytes):
        raise ValueError(f"run lengths are numbers in a list, or one text; got {_beginning(counts)}")
    letters = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero(letters & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    sizes = ends - starts + 1 if len(ends) else ends
    # Seven letters hold 35 bits, and a length has 32.
    if not ((letters >= 0) & (letters < 64)).all() or (sizes > 7).any() or sizes.sum() != len(letters):
        raise ValueError(f"these are no compressed run lengths of COCO: {_beginning(counts)}")
    if not len(letters):
        return letters
    shifts = 5 * (np.arange(len(letters)) - np.repeat(starts, sizes))
    lengths = np.add.reduceat((letters & 31) << shifts, starts)
    lengths -= ((letters[ends] & 16) >> 4) << (5 * sizes)
    # From the fourth on, each is told by its difference to the last but one.
    lengths[1::2], lengths[2::2] = np.cumsum(lengths[1::2]), np.cumsum(lengths[2::2])
    return lengths


def _beginning(content: Any) -> str:
    text = repr(content)
    return text if len(text) <= 80 else f"{text[:80]}..."
