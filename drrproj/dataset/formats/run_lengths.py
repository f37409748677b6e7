"""Masks as COCO's run lengths and polygons: pycocotools does the work, so that others read the same pixels."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from drrproj.dataset.formats.labelled import BoolArray

__all__ = ["decode_mask", "encode_mask", "mask_of_polygons"]


def encode_mask(mask: BoolArray) -> tuple[dict[str, Any], int, list[float]]:
    """Return a mask's run lengths as JSON takes them, its area in pixels, and its box [x, y, width, height].

    Parameters
    ----------
    mask : ndarray, shape (rows, columns), bool
    """
    coco = _pycocotools()
    encoded = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    size, counts = [int(length) for length in encoded["size"]], encoded["counts"].decode("ascii")
    box = [float(number) for number in coco.toBbox(encoded)]
    return {"size": size, "counts": counts}, int(coco.area(encoded)), box


def decode_mask(segmentation: dict[str, Any]) -> BoolArray:
    """Return the mask of run lengths, whether they are compressed, or numbers in a list."""
    coco = _pycocotools()
    size, counts = segmentation["size"], segmentation["counts"]
    if isinstance(counts, list):
        segmentation = coco.frPyObjects({"size": size, "counts": counts}, *size)
    mask: BoolArray = np.ascontiguousarray(coco.decode(segmentation)).astype(np.bool_)
    return mask


def mask_of_polygons(polygons: Sequence[Sequence[float]], shape: tuple[int, int]) -> BoolArray:
    """Return the union of polygons, each x, y, x, y, ... in pixels, where (0, 0) is the corner of the first pixel."""
    coco = _pycocotools()
    if not polygons:
        return np.zeros(shape, np.bool_)
    encoded = coco.frPyObjects([list(polygon) for polygon in polygons], *shape)
    mask: BoolArray = np.ascontiguousarray(coco.decode(coco.merge(encoded))).astype(np.bool_)
    return mask


def _pycocotools() -> ModuleType:
    try:
        import pycocotools.mask
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'masks in run lengths and polygons need pycocotools; install it with pip install "drrproj[dataset]"'
        ) from error
    module: ModuleType = pycocotools.mask
    return module
