"""One NumPy archive per picture with everything in it."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from drrproj.dataset.formats.labelled import (
    BoolArray,
    LabelledImage,
    LabelledImages,
    checked_picture,
    new_folder,
    require_pictures,
)
from drrproj.dataset.formats.particulars import class_list, restore_particulars, write_particulars
from drrproj.io.numpy_arrays import DAMAGE, read_archive, write_archive
from drrproj.replace import replaced

__all__ = ["named_masks", "read_arrays", "read_npz_images", "write_npz_images"]


def write_npz_images(folder: str | os.PathLike[str], images: LabelledImages) -> None:
    """Write ``<name>.npz`` per picture, which :func:`numpy.load` opens anywhere.

    It holds ``image`` (rows, columns), 8 or 16 bits as it is in the set; ``masks`` (n, rows, columns), bool, of the
    classes on the picture; their ``names`` (n,). ``drrproj.json`` beside them has the classes and their order, splits,
    views, patients and absent classes.

    Parameters
    ----------
    folder : str or path
        New or empty.
    images : LabelledImages

    Raises
    ------
    ValueError
        If there is no picture, or a mask is of another shape than its picture, of values other than 0 and 1, or of a
        class that is not listed.
    FileExistsError
        If the folder has something in it.
    OSError
        If a file cannot be written.
    """
    require_pictures(images)
    with new_folder(folder) as root:
        for image in images:
            pixels, masks = checked_picture(image, images.classes)
            names = [name for name in images.classes if name in masks]
            stack = np.array([masks[name] for name in names], np.bool_).reshape(len(names), *pixels.shape)
            with replaced(root / f"{image.name}.npz") as file:
                write_archive(file, {"image": pixels, "masks": stack, "names": np.array(names, np.str_)})
        write_particulars(root, images)


def read_npz_images(folder: str | os.PathLike[str]) -> LabelledImages:
    """Read what :func:`write_npz_images` wrote.

    Parameters
    ----------
    folder : str or path

    Returns
    -------
    LabelledImages
        The archives are read when asked for.

    Raises
    ------
    FileNotFoundError
        If there are no archives, or no ``drrproj.json``.
    ValueError
        If a file is damaged.
    """
    root = Path(folder)
    classes = class_list(root)
    paths = sorted(root.glob("*.npz"))
    if classes is None or not paths:
        raise FileNotFoundError(f"{root}: it needs drrproj.json and .npz files, as write_npz_images makes them")
    images = (
        LabelledImage(path.stem, path.stem, "", None, partial(_read_image, path), partial(_read_masks, path))
        for path in paths
    )
    return restore_particulars(root, LabelledImages(classes, tuple(images)))


def read_arrays(file: IO[bytes], origin: str, *wanted: str) -> dict[str, npt.NDArray[Any]]:
    """Read some arrays of a NumPy archive; ``origin`` is what a message calls it.

    Raises
    ------
    ValueError
        If it is no archive, is damaged, or lacks one of the arrays.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            arrays = read_archive(archive)
    except (ValueError, TypeError, *DAMAGE) as error:
        raise ValueError(f"{origin}: this is no NumPy archive, or a damaged one: {error}") from error
    missing = set(wanted) - arrays.keys()
    if missing:
        raise ValueError(f"{origin}: there is no {' and no '.join(sorted(missing))} in it")
    return arrays


def named_masks(names: npt.NDArray[Any], masks: npt.NDArray[Any], origin: str) -> dict[str, BoolArray]:
    """Return masks by name.

    Raises
    ------
    ValueError
        If there are not as many names as masks.
    """
    if names.ndim != 1 or masks.ndim != 3 or len(names) != len(masks):
        raise ValueError(f"{origin}: masks of shape {masks.shape} do not go with names of shape {names.shape}")
    return dict(zip(names.tolist(), masks, strict=True))


def _read_image(path: Path) -> npt.NDArray[Any]:
    return _read(path)["image"]


def _read_masks(path: Path) -> Mapping[str, BoolArray]:
    arrays = _read(path)
    return named_masks(arrays["names"], arrays["masks"], str(path))


def _read(path: Path) -> dict[str, npt.NDArray[Any]]:
    with path.open("rb") as file:
        return read_arrays(file, str(path), "image", "masks", "names")
