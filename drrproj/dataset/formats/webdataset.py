"""Tar files whose members go together by name, as WebDataset streams them from a disk or a network."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
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
from drrproj.dataset.formats.npz import named_masks, read_arrays
from drrproj.dataset.formats.particulars import restore_particulars, write_particulars
from drrproj.io.grey import decode_grey, encode_grey
from drrproj.io.numpy_arrays import write_archive
from drrproj.replace import replaced

__all__ = ["read_webdataset", "write_webdataset"]


def write_webdataset(folder: str | os.PathLike[str], images: LabelledImages, images_per_file: int = 1000) -> None:
    """Write ``<split>-000000.tar``, ``<split>-000001.tar``, ..., with three members per picture.

    ``<key>.png``, 8 bits; ``<key>.npz`` with ``masks`` (n, rows, ceil(columns / 8)), uint8, bits as
    :func:`numpy.packbits` has them, ``names`` (n,) and ``shape``; ``<key>.json`` with ``classes``, ``case``,
    ``patient``, ``view``, ``split`` and ``absent``. The key is the picture's name with underscores for dots, because
    WebDataset ends a key at the first dot. Members have no date and no owner: the same pictures give the same bytes.

    Parameters
    ----------
    folder : str or path
        New or empty.
    images : LabelledImages
        Pictures without a split go to ``all-000000.tar``.
    images_per_file : int, default 1000
        Pictures per tar file; shuffling mixes files, so that more files than workers are of use.

    Raises
    ------
    ValueError
        If there is no picture, ``images_per_file`` is not positive, two pictures get the same key, there are pictures
        of the split ``all`` and of none, or a mask is of another shape than its picture, of values other than 0 and 1,
        or of a class that is not listed.
    FileExistsError
        If the folder has something in it.
    OSError
        If a file cannot be written.
    """
    if images_per_file < 1:
        raise ValueError(f"images_per_file must be positive; got {images_per_file}")
    require_pictures(images)
    keys = {image.name: image.name.replace(".", "_") for image in images}
    first_of: dict[str, str] = {}
    for name, key in keys.items():
        if first_of.setdefault(key, name) != name:
            raise ValueError(
                f"the pictures {first_of[key]} and {name} would both be {key}, because WebDataset ends a name at its "
                "first dot, and dots are written as underscores; rename one of them"
            )
    with new_folder(folder) as root:
        for split in dict.fromkeys(image.split for image in images):
            of_split = [image for image in images if image.split == split]
            for shard, first in enumerate(range(0, len(of_split), images_per_file)):
                path = root / f"{split or 'all'}-{shard:06d}.tar"
                if path.exists():
                    raise ValueError(f"{path.name} would hold two splits; rename the split 'all'")
                # PAX, because USTAR takes no long names; a member with a short one has the same bytes in both.
                with replaced(path) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                    for image in of_split[first : first + images_per_file]:
                        for ending, content in _members(image, images.classes).items():
                            member = tarfile.TarInfo(f"{keys[image.name]}.{ending}")
                            member.size = len(content)
                            tar.addfile(member, io.BytesIO(content))
        write_particulars(root, images, keys)


def read_webdataset(folder: str | os.PathLike[str]) -> LabelledImages:
    """Read what :func:`write_webdataset` wrote, picture by picture in any order.

    To stream it, hand the tar files to the library webdataset.

    Parameters
    ----------
    folder : str or path

    Returns
    -------
    LabelledImages
        Pictures and masks are read from the tar files when asked for.

    Raises
    ------
    FileNotFoundError
        If there is no tar file.
    ValueError
        If one is damaged, or has other members.
    """
    root = Path(folder)
    paths = sorted(root.glob("*.tar"))
    if not paths:
        raise FileNotFoundError(f"{root}: no .tar file in it")
    images: list[LabelledImage] = []
    classes: tuple[str, ...] | None = None
    for path in paths:
        for key, members in _index(path).items():
            missing = {"png", "npz", "json"} - members.keys()
            if missing:
                raise ValueError(f"{path}: {key} has no {' and no '.join(sorted(missing))}")
            try:
                record = json.loads(members["json"].read())
                found = tuple(record["classes"])
                case, view, split, patient, absent = (
                    record[field] for field in ("case", "view", "split", "patient", "absent")
                )
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path}: {key}.json is no record of a picture, or a damaged one: {error}") from error
            if classes not in (None, found):
                raise ValueError(f"{path}: {key} has other classes than the pictures before it")
            classes = found
            images.append(
                LabelledImage(
                    key,
                    case,
                    view,
                    split,
                    partial(_pixels, members["png"]),
                    partial(_masks, members["npz"]),
                    patient,
                    absent,
                )
            )
    return restore_particulars(root, LabelledImages(classes or (), tuple(images)))


@dataclass(frozen=True)
class _Member:
    path: Path
    name: str
    offset: int
    size: int

    def read(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)

    def __str__(self) -> str:
        return f"{self.path}: {self.name}"


def _members(image: LabelledImage, classes: tuple[str, ...]) -> dict[str, bytes]:
    pixels, masks = checked_picture(image, classes)
    names = [name for name in classes if name in masks]
    rows, columns = pixels.shape
    packed = np.array([np.packbits(masks[name], axis=-1) for name in names], np.uint8)
    archive = io.BytesIO()
    arrays: dict[str, npt.NDArray[Any]] = {
        "masks": packed.reshape(len(names), rows, (columns + 7) // 8),
        "names": np.array(names, np.str_),
        "shape": np.array([rows, columns]),
    }
    write_archive(archive, arrays)
    record = {
        "classes": list(classes),
        "case": image.case,
        "patient": image.patient,
        "view": image.view,
        "split": image.split,
        "absent": dict(image.absent),
    }
    return {
        "png": encode_grey(eight_bit(pixels)),
        "npz": archive.getvalue(),
        "json": json.dumps(record, ensure_ascii=False).encode(),
    }


def _index(path: Path) -> dict[str, dict[str, _Member]]:
    found: dict[str, dict[str, _Member]] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                key, _, ending = member.name.partition(".")
                found.setdefault(key, {})[ending] = _Member(path, member.name, member.offset_data, member.size)
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f"{path}: this is no tar file, or a damaged one: {error}") from error
    return found


def _pixels(member: _Member) -> npt.NDArray[Any]:
    return decode_grey(member.read(), str(member))


def _masks(member: _Member) -> Mapping[str, BoolArray]:
    arrays = read_arrays(io.BytesIO(member.read()), str(member), "masks", "names", "shape")
    packed, shape = arrays["masks"], arrays["shape"].tolist()
    whole = isinstance(shape, list) and len(shape) == 2 and all(type(size) is int and size >= 0 for size in shape)
    if not whole or packed.dtype != np.uint8 or packed.shape[1:] != (shape[0], (shape[1] + 7) // 8):
        raise ValueError(f"{member}: masks of shape {packed.shape} in {packed.dtype} are none of {shape} in bits")
    return named_masks(arrays["names"], np.unpackbits(packed, axis=-1, count=shape[1]).view(np.bool_), str(member))
