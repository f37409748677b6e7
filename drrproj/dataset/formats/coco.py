"""COCO files with run-length masks, in shards where one file would be too large; PAX-Ray++ is such files."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from drrproj.dataset.formats.labelled import (
    BoolArray,
    LabelledImage,
    LabelledImages,
    checked_picture,
    eight_bit,
    new_folder,
    require_pictures,
)
from drrproj.dataset.formats.particulars import case_and_view, restore_particulars, write_json, write_particulars
from drrproj.dataset.formats.run_lengths import decode_mask, encode_mask, mask_of_polygons
from drrproj.given_numbers import whole_number
from drrproj.io.grey import read_grey, write_grey

__all__ = ["read_coco", "write_coco"]

_SHARD = re.compile(r"(?P<split>.+)_\d{5}")


def write_coco(
    folder: str | os.PathLike[str],
    images: LabelledImages,
    first_category: int = 1,
    annotations_per_file: int = 50_000,
) -> None:
    """Write pictures and COCO files with run-length masks.

    ``images/<name>.png`` in 8 bits, and ``annotations/<split>.json``; or ``<split>_00000.json``,
    ``<split>_00001.json``, ... where there are more annotations than one file should hold. Each is a COCO file of its
    own, and all annotations of a picture are in one. Ids of pictures and of annotations come once in the whole export.
    A class that is not on a picture has no annotation. ``drrproj.json`` holds what COCO has no place for: views,
    patients, absent classes.

    Parameters
    ----------
    folder : str or path
        New or empty.
    images : LabelledImages
        Pictures without a split go to ``all.json``.
    first_category : int, default 1
        Id of the first class: 1 as COCO and PAXRay's converter have it, 0 as CXAS and PAX-Ray++ have it.
    annotations_per_file : int, default 50000
        Where a new shard begins.

    Raises
    ------
    ValueError
        If ``first_category`` is neither 0 nor 1, ``annotations_per_file`` is not positive, there is no picture, a class
        has spaces around its name, two splits would be one file, or a mask is of another shape than its picture, of
        values other than 0 and 1, or of a class that is not listed.
    ModuleNotFoundError
        If pycocotools is not installed.
    FileExistsError
        If the folder has something in it.
    OSError
        If a file cannot be written.
    """
    first_category = whole_number(first_category, "first_category is 0 or 1")
    if first_category not in (0, 1):
        raise ValueError(f"first_category is 0 or 1; got {first_category}")
    annotations_per_file = whole_number(annotations_per_file, "annotations_per_file must be positive", least=1)
    require_pictures(images)
    for name in images.classes:
        # Readers cut spaces off, which PAX-Ray++ has.
        if name.strip() != name:
            raise ValueError(f"the class {name!r} would be read without the spaces around it; rename it")
    with new_folder(folder) as root:
        (root / "images").mkdir()
        (root / "annotations").mkdir()
        group_of = {name: group for group, names in images.groups.items() for name in names}
        categories = [
            {"supercategory": group_of.get(name, name), "id": first_category + place, "name": name}
            for place, name in enumerate(images.classes)
        ]
        category_of = {category["name"]: category["id"] for category in categories}
        image_id, annotation_id = 1, 1
        for split in dict.fromkeys(image.split for image in images):
            shards = _Shards(root / "annotations", split or "all", categories, annotations_per_file)
            for image in (image for image in images if image.split == split):
                pixels, masks = checked_picture(image, images.classes)
                pixels = eight_bit(pixels)
                write_grey(root / "images" / f"{image.name}.png", pixels)
                rows, columns = pixels.shape
                annotations = []
                for name in (name for name in images.classes if name in masks):
                    segmentation, area, box = encode_mask(masks[name])
                    annotations.append(
                        {
                            "id": annotation_id,
                            "image_id": image_id,
                            "category_id": category_of[name],
                            "segmentation": segmentation,
                            "area": area,
                            "bbox": box,
                            "iscrowd": 0,
                        }
                    )
                    annotation_id += 1
                shards.add(
                    {"id": image_id, "file_name": f"{image.name}.png", "height": rows, "width": columns}, annotations
                )
                image_id += 1
            shards.close()
        write_particulars(root, images)


class _Shards:
    """The files of one split; the first gets a number only when there is a second."""

    def __init__(self, folder: Path, split: str, categories: list[dict[str, Any]], limit: int) -> None:
        self._folder, self._split, self._categories, self._limit = folder, split, categories, limit
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._written = 0

    def add(self, image: dict[str, Any], annotations: list[dict[str, Any]]) -> None:
        if self._images and len(self._annotations) + len(annotations) > self._limit:
            self._write(f"{self._split}_{self._written:05d}.json")
        self._images.append(image)
        self._annotations += annotations

    def close(self) -> None:
        self._write(f"{self._split}_{self._written:05d}.json" if self._written else f"{self._split}.json")

    def _write(self, file_name: str) -> None:
        if (self._folder / file_name).exists():
            raise ValueError(f"{file_name} would hold two splits; rename the split {self._split!r}")
        content = {
            "info": {"description": "X-rays projected from CT, with the masks of their anatomy"},
            "licenses": [],
            "images": self._images,
            "annotations": self._annotations,
            "categories": self._categories,
        }
        write_json(self._folder / file_name, content)
        self._written += 1
        self._images, self._annotations = [], []


def read_coco(
    annotations: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    image_folder: str | os.PathLike[str] | None = None,
) -> LabelledImages:
    """Read COCO files, such as those of PAX-Ray++, of CXAS, or of :func:`write_coco`.

    Masks are run lengths, compressed or not, or polygons; several annotations of one class are one mask. Spaces around
    the names of categories, which PAX-Ray++ has, are cut off. The split is the file's name, without a shard's number.

    Parameters
    ----------
    annotations : str, path, or a sequence of them
        The JSON files, or the folder that :func:`write_coco` wrote.
    image_folder : str or path, optional
        Where the pictures are, such as PAX-Ray++'s ``images_patlas``; not needed for a folder of :func:`write_coco`.

    Returns
    -------
    LabelledImages
        The annotations stay in memory, about 2 KB each while they are read (measured on 120,000); masks are decoded,
        and pictures read, when asked for.

    Raises
    ------
    FileNotFoundError
        If a file is not there.
    ValueError
        If a file is not of this format, two of its records have one id or two categories one name, the files have
        different categories or list one picture, or no ``image_folder`` came.
    ModuleNotFoundError
        If pycocotools is not installed, when a mask is asked for.
    """
    paths = [annotations] if isinstance(annotations, (str, os.PathLike)) else list(annotations)
    files = [Path(path) for path in paths]
    root = files[0] if len(files) == 1 and files[0].is_dir() else None
    if root is not None:
        files = sorted((root / "annotations").glob("*.json"))
        image_folder = root / "images" if image_folder is None else image_folder
        if not files:
            raise FileNotFoundError(f"{root / 'annotations'}: no .json file in it")
    for file in files:
        if not file.exists():
            raise FileNotFoundError(f"no such file: {file}")
    if image_folder is None:
        raise ValueError("pass image_folder, the folder of the pictures that the file lists")
    classes: tuple[str, ...] | None = None
    images: list[LabelledImage] = []
    for file in files:
        found, of_file = _read_file(file, Path(image_folder))
        if classes not in (None, found):
            raise ValueError(f"{file} has other categories than {files[0]}; read them one by one")
        classes = found
        images += of_file
    if classes is None:
        raise ValueError("pass at least one file of annotations")
    try:
        read = LabelledImages(classes, tuple(images))
    except ValueError as error:
        raise ValueError(f"{', '.join(map(str, files))}: {error}") from error
    return read if root is None else restore_particulars(root, read)


def _read_file(path: Path, image_folder: Path) -> tuple[tuple[str, ...], list[LabelledImage]]:
    match = _SHARD.fullmatch(path.stem)
    split = match["split"] if match else path.stem
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON: {error}") from error
    try:
        categories = _by_id(content["categories"], "categories")
        category_names = {place: categories[place]["name"].strip() for place in sorted(categories, key=int)}
        doubled = [name for name, count in Counter(category_names.values()).items() if count > 1]
        if doubled:
            raise ValueError(f"two categories have the name {doubled[0]!r}, spaces around it aside; rename one")
        records = _by_id(_flat(content["images"]), "images")
        of_image: dict[Any, list[tuple[str, Any]]] = {image_id: [] for image_id in records}
        for annotation in content["annotations"]:
            name = category_names[annotation["category_id"]]
            if annotation["segmentation"] == [] and annotation.get("area"):
                raise ValueError(
                    f"annotation {annotation.get('id')} of {name!r} has an area, and no mask; masks are read here, not "
                    "boxes"
                )
            of_image[annotation["image_id"]].append((name, annotation["segmentation"]))
        images = []
        for image_id, record in records.items():
            name = Path(record["file_name"]).stem
            case, view = case_and_view(name)
            shape = int(record["height"]), int(record["width"])
            images.append(
                LabelledImage(
                    name,
                    case,
                    view,
                    split,
                    partial(read_grey, image_folder / record["file_name"]),
                    partial(_masks, path, name, of_image[image_id], shape),
                )
            )
    except KeyError as error:
        raise ValueError(f"{path}: this is no COCO file, or it refers to what is not in it: {error}") from error
    except (TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: this is no COCO file: {error}") from error
    return tuple(category_names.values()), images


def _by_id(records: Iterable[dict[str, Any]], what: str) -> dict[Any, dict[str, Any]]:
    found: dict[Any, dict[str, Any]] = {}
    for record in records:
        if found.setdefault(record["id"], record) != record:
            raise ValueError(f"two {what} have the id {record['id']!r}, and one of them would be lost; renumber them")
    return found


def _flat(records: Iterable[Any]) -> Iterator[dict[str, Any]]:
    # CXAS puts the record of a single picture into a list of its own.
    for record in records:
        if isinstance(record, list):
            yield from record
        else:
            yield record


def _masks(
    path: Path, picture: str, annotations: list[tuple[str, Any]], shape: tuple[int, int]
) -> Mapping[str, BoolArray]:
    masks: dict[str, BoolArray] = {}
    for name, segmentation in annotations:
        try:
            if isinstance(segmentation, list):
                mask = mask_of_polygons(segmentation, shape)
            else:
                mask = decode_mask(segmentation)
        except ValueError as error:
            raise ValueError(f"{path}: the mask of {name!r} on {picture} cannot be read: {error}") from error
        if mask.shape != shape:
            raise ValueError(f"{path}: the mask of {name!r} has shape {mask.shape}, and its picture {picture} {shape}")
        masks[name] = np.logical_or(masks[name], mask) if name in masks else mask
    return masks
