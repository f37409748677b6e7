"""One black-and-white picture per class, in a folder per X-ray: what any program can look at, and what CXAS writes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from drrproj.dataset.formats.labelled import (
    BoolArray,
    LabelledImage,
    LabelledImages,
    checked_picture,
    eight_bit,
    new_folder,
    require_pictures,
)
from drrproj.dataset.formats.particulars import case_and_view, class_list, restore_particulars, write_particulars
from drrproj.dataset.names import require_apart, require_file_name
from drrproj.io.grey import read_grey, write_grey

__all__ = ["read_mask_png", "write_mask_png"]


def write_mask_png(folder: str | os.PathLike[str], images: LabelledImages) -> None:
    """Write ``images/<name>.png`` in 8 bits and ``masks/<name>/<class>.png`` of one bit for each class on the picture.

    ``drrproj.json`` holds what the pictures cannot: the classes and their order, splits, views, patients and absent
    classes.

    Parameters
    ----------
    folder : str or path
        New or empty.
    images : LabelledImages

    Raises
    ------
    ValueError
        If there is no picture, a class's name cannot be that of a file, those of two differ in capitals alone, or a
        mask is of another shape than its picture, of values other than 0 and 1, or of a class that is not listed.
    FileExistsError
        If the folder has something in it.
    OSError
        If a file cannot be written.
    """
    require_pictures(images)
    for name in images.classes:
        require_file_name(name, "class")
    require_apart(images.classes, "classes")
    with new_folder(folder) as root:
        (root / "images").mkdir()
        for image in images:
            pixels, masks = checked_picture(image, images.classes)
            write_grey(root / "images" / f"{image.name}.png", eight_bit(pixels))
            (root / "masks" / image.name).mkdir(parents=True)
            for name, mask in masks.items():
                write_grey(root / "masks" / image.name / f"{name}.png", mask)
        write_particulars(root, images)


def read_mask_png(
    folder: str | os.PathLike[str],
    image_folder: str | os.PathLike[str] | None = None,
    classes: Sequence[str] | None = None,
) -> LabelledImages:
    """Read what :func:`write_mask_png` wrote, or folders of masks as CXAS writes them.

    Parameters
    ----------
    folder : str or path
        That of :func:`write_mask_png`; or, with ``image_folder``, one with a folder of masks per picture.
    image_folder : str or path, optional
        The pictures, each named as the folder of its masks.
    classes : sequence of str, optional
        Classes and their order; by default those in ``drrproj.json``, or all names of masks in alphabetical order.

    Returns
    -------
    LabelledImages
        A pixel is on a mask if it is not black.

    Raises
    ------
    FileNotFoundError
        If there are no masks, or a picture is not there.
    ValueError
        If there is a mask of a class that ``classes`` does not have.
    """
    root = Path(folder)
    masks = root if image_folder is not None else root / "masks"
    pictures = root / "images" if image_folder is None else Path(image_folder)
    folders = sorted(path for path in masks.iterdir() if path.is_dir()) if masks.is_dir() else []
    if not folders:
        raise FileNotFoundError(f"{masks}: no folder of masks in it")
    files = {path.name: {file.stem: file for file in sorted(path.glob("*.png"))} for path in folders}
    found = {name for of_picture in files.values() for name in of_picture}
    if classes is None:
        classes = class_list(root) or sorted(found)
    unknown = sorted(found.difference(classes))
    if unknown:
        raise ValueError(f"{masks}: there are masks of {', '.join(unknown[:5])}, which are not among the classes")
    images = []
    for name, of_picture in files.items():
        picture = pictures / f"{name}.png"
        if not picture.is_file():
            raise FileNotFoundError(f"{masks / name}: its picture {picture} is not there")
        case, view = case_and_view(name)
        pixels, read = partial(read_grey, picture), partial(_read_masks, of_picture)
        images.append(LabelledImage(name, case, view, None, pixels, read))
    return restore_particulars(root, LabelledImages(tuple(classes), tuple(images)))


def _read_masks(files: Mapping[str, Path]) -> Mapping[str, BoolArray]:
    return {name: read_grey(file) != 0 for name, file in files.items()}
