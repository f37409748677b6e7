"""YOLO's segmentation text: a line per class and picture, with the class's number and a polygon."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.dataset.formats.labelled import (
    BoolArray,
    LabelledImage,
    LabelledImages,
    checked_picture,
    eight_bit,
    new_folder,
    require_pictures,
)
from drrproj.dataset.formats.outline import outline
from drrproj.dataset.formats.particulars import case_and_view, restore_particulars, write_particulars
from drrproj.dataset.formats.run_lengths import mask_of_polygons
from drrproj.extras import from_extra
from drrproj.io.grey import read_grey, write_grey
from drrproj.replace import replaced

__all__ = ["read_yolo", "write_yolo"]

# What a split cannot be called: keys of data.yaml, and the folder in whose place YOLO looks for texts.
_TAKEN = {"path", "names", "nc", "images"}
# The splits without which Ultralytics refuses data.yaml, and what each may be called there.
_NEEDED = {"train": {"train"}, "val": {"val", "validation"}}
_BEYOND = 0.01  # as far as Ultralytics lets a polygon leave its picture
_PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}


def write_yolo(folder: str | os.PathLike[str], images: LabelledImages) -> None:
    """Write pictures and polygons as Ultralytics' YOLO reads them.

    ``data.yaml``; ``images/<split>/<name>.png`` in 8 bits; ``labels/<split>/<name>.txt`` with a line
    ``class x1 y1 x2 y2 ...`` per class on the picture. Coordinates are shares of the width and height, 0 and 1 being
    the outer edges of the outer pixels. A polygon runs along pixel edges, and to further parts and holes there and back
    on the same edges (:func:`drrproj.dataset.formats.outline.outline`): the even-odd rule at pixel centres gives the
    exact mask back. A program that also fills the pixels a polygon touches, as OpenCV does, gets masks up to one pixel
    larger, and those ways. ``drrproj.json`` holds what this layout has no place for.

    Parameters
    ----------
    folder : str or path
        New or empty.
    images : LabelledImages
        Each with a split, ``train`` and ``val`` (or ``validation``) among them, because Ultralytics refuses a
        ``data.yaml`` without.

    Raises
    ------
    ValueError
        If there is no picture, one has no split or the split ``path``, ``names``, ``nc`` or ``images``, none is in
        ``train`` or none in ``val``, or a mask is of another shape than its picture, of values other than 0 and 1, or
        of a class that is not listed.
    FileExistsError
        If the folder has something in it.
    OSError
        If a file cannot be written.
    """
    require_pictures(images)
    for image in images:
        if image.split in _TAKEN:
            raise ValueError(f"{image.name} is in the split {image.split}, a word of YOLO's own; rename it")
        if image.split is None:
            raise ValueError(f"{image.name} is in no split, and YOLO needs train and val; make splits first")
    splits = list(dict.fromkeys(str(image.split) for image in images))
    missing = [name for name, taken in _NEEDED.items() if taken.isdisjoint(splits)]
    if missing:
        raise ValueError(
            f"this set has the splits {', '.join(splits)}, and YOLO needs train and val: no picture is in "
            f"{' or in '.join(missing)}; pass pictures of both"
        )
    with new_folder(folder) as root:
        for split in splits:
            (root / "images" / split).mkdir(parents=True)
            (root / "labels" / split).mkdir(parents=True)
        for image in images:
            pixels, masks = checked_picture(image, images.classes)
            write_grey(root / "images" / str(image.split) / f"{image.name}.png", eight_bit(pixels))
            lines = [_line(place, masks[name]) for place, name in enumerate(images.classes) if name in masks]
            with replaced(root / "labels" / str(image.split) / f"{image.name}.txt") as file:
                file.write("".join(lines).encode())
        # Without "path", which stands for the folder of this file then.
        lines = [f"{_quoted(split)}: {_quoted(f'images/{split}')}\n" for split in splits]
        lines += ["names:\n" if images.classes else "names: {}\n"]
        lines += [f"  {place}: {_quoted(name)}\n" for place, name in enumerate(images.classes)]
        write_particulars(root, images)
        with replaced(root / "data.yaml") as file:
            file.write("".join(lines).encode())


def read_yolo(data: str | os.PathLike[str]) -> LabelledImages:
    """Read a set in YOLO's segmentation format.

    Several lines of one class are one mask; blank lines mean nothing. A pixel belongs to a polygon if its centre does.

    Parameters
    ----------
    data : str or path
        ``data.yaml``, or the folder that has one. Its ``train``, ``val`` and ``test`` name folders of pictures, one or
        a list, and so does another key whose value begins with ``images/``; what is in folders below belongs to them.
        The texts are in the folder where ``labels`` stands in place of the last ``images``. Folders are below
        ``path``, or beside the file without it.

    Returns
    -------
    LabelledImages
        A picture without a text has no masks, as YOLO has it.

    Raises
    ------
    FileNotFoundError
        If a file or folder is not there.
    ValueError
        If a file is not of this format, a picture has colours, or a polygon leaves its picture by more than 1 % of it,
        which Ultralytics' YOLO refuses too.
    ModuleNotFoundError
        If PyYAML is not installed, or pycocotools when a mask is asked for.
    """
    path = Path(data)
    path = path / "data.yaml" if path.is_dir() else path
    content = _read_yaml(path)
    classes = _classes(path, content.get("names"))
    below = content.get("path") or "."
    if not isinstance(below, str):
        raise ValueError(f"{path}: its path must be a folder; got {below!r}")
    root = path.parent / below
    images = []
    for split, folder in _folders(path, content):
        if not (root / folder).is_dir():
            raise FileNotFoundError(f"{path}: {split} is in {root / folder}, and there is no such folder")
        for picture in sorted(file for file in (root / folder).rglob("*") if file.suffix.lower() in _PICTURES):
            parts = list((folder / picture.relative_to(root / folder)).parent.parts)
            parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
            text = root.joinpath(*parts, f"{picture.stem}.txt")
            case, view = case_and_view(picture.stem)
            pixels = partial(read_grey, picture)
            masks = partial(_read_masks, text, classes, pixels)
            images.append(LabelledImage(picture.stem, case, view, split, pixels, masks))
    if not images:
        raise ValueError(f"{path}: no picture in its folders; train, val and test must name folders below images")
    try:
        read = LabelledImages(classes, tuple(images))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return restore_particulars(path.parent, read)


def _classes(path: Path, names: Any) -> tuple[str, ...]:
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or set(names) != set(range(len(names))):
        raise ValueError(f"{path}: it needs names, one for each of the classes 0, 1, 2, ...")
    for name in names.values():
        # YAML takes no, off, ~ and 1.50 for other things than texts; of these a whole number alone keeps its name.
        if not isinstance(name, str | int) or isinstance(name, bool):
            raise ValueError(f"{path}: the names of classes must be texts; got {name!r}, which needs quotation marks")
    return tuple(str(names[place]) for place in range(len(names)))


def _folders(path: Path, content: dict[str, Any]) -> Iterator[tuple[str, Path]]:
    """Yield the splits, and the folders of their pictures."""
    usual = ("train", "val", "test")
    for split in (*usual, *(key for key in content if key not in (*usual, "path", "names"))):
        places = content.get(split)
        if split in usual:
            places = [] if places is None else places if isinstance(places, list) else [places]
        else:
            # Other keys may be anything; write_yolo's further splits are in such folders.
            places = [places] if isinstance(places, str) and places.startswith(("images/", "./images/")) else []
        for place in places:
            if not isinstance(place, str) or "images" not in Path(place).parts:
                raise ValueError(f"{path}: {split} must name folders of pictures, in or below images; got {place!r}")
            yield split, Path(place)


def _quoted(text: str) -> str:
    """Return a text as YAML reads it."""
    # JSON's escapes for what is beyond the basic plane are two halves, which YAML does not put together.
    quoted = json.dumps(text, ensure_ascii=False)
    # JSON leaves these as they are, and YAML refuses them or takes them for the ends of lines.
    return re.sub("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]", lambda match: f"\\u{ord(match[0]):04x}", quoted)


def _line(place: int, mask: BoolArray) -> str:
    rows, columns = mask.shape
    # Seven digits keep the edges of pixels apart in pictures of up to a million rows.
    shares = outline(mask) / (columns, rows)
    return f"{place} {' '.join(f'{share:.7g}' for share in shares.ravel().tolist())}\n"


def _read_masks(
    path: Path, classes: tuple[str, ...], pixels: Callable[[], npt.NDArray[Any]]
) -> Mapping[str, BoolArray]:
    if not path.exists():
        return {}
    rows, columns = pixels().shape
    masks: dict[str, BoolArray] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place, *shares = line.split()
        try:
            points = np.array(shares, np.float64).reshape(-1, 2)
            if not (place.isascii() and place.isdigit() and int(place) < len(classes)):
                raise ValueError(f"{place} is none of the {len(classes)} classes, which are numbered from 0")
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: not a class and pairs of numbers: {error}") from error
        if not ((points >= -_BEYOND) & (points <= 1 + _BEYOND)).all():
            raise ValueError(f"{path}, line {number}: coordinates are shares of the picture, 0 to 1; got {line[:80]}")
        if len(points) < 3:
            raise ValueError(f"{path}, line {number}: a polygon needs three points; this one has {len(points)}")
        points *= columns, rows
        name = classes[int(place)]
        mask = mask_of_polygons([points.ravel().tolist()], (rows, columns))
        masks[name] = np.logical_or(masks[name], mask) if name in masks else mask
    return masks


def _read_yaml(path: Path) -> dict[str, Any]:
    with from_extra("dataset", "reading data.yaml"):
        import yaml
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"no such file: {path}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: it should hold names and folders")
    return content
