"""PAXRay's files: pictures, a stack of masks for each, and one JSON with the names of the channels and the splits."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from drrproj.dataset.formats.labelled import (
    BoolArray,
    LabelledImage,
    LabelledImages,
    bools_of,
    checked_picture,
    eight_bit,
    new_folder,
)
from drrproj.dataset.formats.particulars import case_and_view, restore_particulars, write_json, write_particulars
from drrproj.dataset.names import require_apart, require_file_name
from drrproj.dataset.store import read_json
from drrproj.io.grey import read_grey, write_grey
from drrproj.io.numpy_arrays import DAMAGE
from drrproj.replace import replaced

__all__ = ["read_paxray", "read_stacks", "write_paxray"]

_SPLITS = ("train", "val", "test")
_PLANE_OF_VIEW = {"PA": "frontal", "AP": "frontal", "LL": "lateral", "RL": "lateral"}


def write_paxray(
    folder: str | os.PathLike[str], images: LabelledImages, channel_names: Sequence[str] | None = None
) -> None:
    """Write pictures in the layout of PAXRay.

    ``images/<case>frontal.png`` and ``...lateral.png`` in 8 bits; ``labels/<the same>.npy``, bool, shape (classes,
    rows, columns); ``paxray.json`` with ``label_dict`` (channel to name) and per split a list of ``image`` and
    ``target``. AP and PA are frontal, LL and RL lateral; another view keeps its name. The authors' pictures are
    512 x 512: build with that shape where a program expects it. ``drrproj.json`` holds what this layout has no place
    for: views, patients, groups and absent classes, which are empty channels in the stack. A class that ends in
    ``_again``, as the second ``mediastinum_upper`` of the taxonomy "paxray" does, is listed without it, as theirs is.

    Parameters
    ----------
    folder : str or path
        New or empty.
    images : LabelledImages
    channel_names : sequence of str, optional
        Names for ``label_dict`` in place of the classes', in the same order. The names of the taxonomy "paxray-shipped"
        serve a program that looks channels up by the names in the authors' file, 46 of which are wrong; read back, they
        are put right again.

    Raises
    ------
    ValueError
        If a picture is in none of the splits train, val and test, two pictures of a case are of the same plane, a case
        cannot begin the name of a file, or a mask is of another shape than its picture, of values other than 0 and 1,
        or of a class that is not listed.
    FileExistsError
        If the folder has something in it.
    OSError
        If a file cannot be written.
    """
    names = images.classes if channel_names is None else tuple(channel_names)
    if len(names) != len(images.classes):
        raise ValueError(f"{len(images.classes)} classes need as many channel names; got {len(names)}")
    stems: dict[str, str] = {}
    taken: set[str] = set()
    for image in images:
        if image.split not in _SPLITS:
            raise ValueError(f"{image.name}: PAXRay has the splits {', '.join(_SPLITS)}; this one's is {image.split}")
        stem = image.case + _PLANE_OF_VIEW.get(image.view, image.view)
        require_file_name(stem, f"case and plane of the picture {image.name}")
        if stem in taken:
            raise ValueError(f"{image.name}: another picture of this set is {stem} too; keep one view per plane")
        stems[image.name] = stem
        taken.add(stem)
    require_apart(stems.values(), "pictures")
    with new_folder(folder) as root:
        for part in ("images", "labels"):
            (root / part).mkdir()
        rows: dict[str, list[dict[str, str]]] = {split: [] for split in _SPLITS}
        for image in images:
            stem = stems[image.name]
            pixels, masks = checked_picture(image, images.classes)
            write_grey(root / "images" / f"{stem}.png", eight_bit(pixels))
            stack = np.zeros((len(images.classes), *pixels.shape), np.bool_)
            for channel, name in enumerate(images.classes):
                if name in masks:
                    stack[channel] = masks[name]
            with replaced(root / "labels" / f"{stem}.npy") as file:
                # The bytes of np.save, which says neither the file nor the cause where a disk is full.
                np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(stack))
                file.write(stack.data)
            rows[str(image.split)].append({"image": f"images/{stem}.png", "target": f"labels/{stem}.npy"})
        write_particulars(root, images, stems)
        write_json(
            root / "paxray.json",
            {"label_dict": {str(channel): name for channel, name in enumerate(_as_the_authors_write(names))}, **rows},
        )


def read_paxray(
    folder: str | os.PathLike[str], annotations: str = "paxray.json", channel_names: Sequence[str] | None = None
) -> LabelledImages:
    """Read PAXRay as its authors shipped it, or as :func:`write_paxray` wrote it.

    The ``label_dict`` that the authors shipped is wrong for 46 of its 166 channels: ascending and descending aorta are
    exchanged, and the halves of the ribs are listed all left, then all right, where the data has left and right of each
    rib in turn. A list with those two marks is put right; any other is taken as it is. A name that comes twice, as
    ``mediastinum_upper`` does, gets ``_again`` behind it the second time.

    Parameters
    ----------
    folder : str or path
        With ``images``, ``labels`` and the JSON file.
    annotations : str, default "paxray.json"
        ``paxray_half.json`` and ``paxray_quarter.json`` are others.
    channel_names : sequence of str, optional
        Names of the channels in place of those in the file, whatever they are.

    Returns
    -------
    LabelledImages
        Pictures and masks are read when asked for, from the memory-mapped stack. Pictures without a target are in
        ``unlabelled``.

    Raises
    ------
    FileNotFoundError
        If there is no such file, or pictures or stacks it lists are not there.
    ValueError
        If the file is not of this layout, or the names do not fit it.
    """
    root = Path(folder)
    path = root / annotations
    content = read_json(path)
    try:
        label_dict = {int(channel): str(name) for channel, name in content["label_dict"].items()}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f'{path}: this is no file of PAXRay; it needs "label_dict": {{"0": name, ...}}') from error
    if sorted(label_dict) != list(range(len(label_dict))):
        raise ValueError(f"{path}: label_dict must name the channels 0, 1, 2, ... without a gap")
    in_file = [label_dict[channel] for channel in range(len(label_dict))]
    classes = _told_apart(_put_right(in_file)) if channel_names is None else tuple(channel_names)
    if len(classes) != len(in_file):
        raise ValueError(f"{path} has {len(in_file)} channels, and channel_names has {len(classes)} names")
    images, unlabelled, missing = [], [], []
    for split, rows in content.items():
        if not (isinstance(rows, list) and all(isinstance(row, dict) and "image" in row for row in rows)):
            continue
        for row in rows:
            picture, name = root / row["image"], Path(row["image"]).stem
            if row.get("target") is None:
                unlabelled.append(name)
                continue
            stack = root / row["target"]
            missing += [file for file in (picture, stack) if not file.is_file()]
            images.append(_labelled(name, split, picture, stack, classes))
    _require_all_there(path, missing)
    return restore_particulars(root, LabelledImages(classes, tuple(images), unlabelled=tuple(unlabelled)))


def read_stacks(
    image_folder: str | os.PathLike[str], label_folder: str | os.PathLike[str], channel_names: Sequence[str]
) -> LabelledImages:
    """Read a folder of pictures and one of ``<the same name>.npy``, as PAX-Ray++'s ``labels`` and CXAS's results are.

    Parameters
    ----------
    image_folder, label_folder : str or path
        PNG pictures; stacks of masks, shape (classes, rows, columns). Each stack needs its picture.
    channel_names : sequence of str
        Such as those of the taxonomy "paxray++", which has 159.

    Returns
    -------
    LabelledImages
        Without splits; pictures without a stack are in ``unlabelled``.

    Raises
    ------
    FileNotFoundError
        If there is no stack, or a stack has no picture.
    """
    pictures = {path.stem: path for path in sorted(Path(image_folder).glob("*.png"))}
    stacks = {path.stem: path for path in sorted(Path(label_folder).glob("*.npy"))}
    if not stacks:
        raise FileNotFoundError(f"{label_folder}: no .npy file in it")
    _require_all_there(Path(label_folder), [Path(image_folder) / f"{name}.png" for name in stacks.keys() - pictures])
    classes = tuple(channel_names)
    images = tuple(_labelled(name, None, pictures[name], stack, classes) for name, stack in stacks.items())
    return LabelledImages(classes, images, unlabelled=tuple(pictures.keys() - stacks))


def _put_right(names: list[str]) -> list[str]:
    """Name the channels of the authors' data by what is on them."""
    sides, parts, ribs = ("left", "right"), ("anterior", "posterior"), range(1, 13)
    listed = [f"rib_{side}_{part}_{rib}" for side in sides for rib in ribs for part in parts]
    drawn = [f"rib_{side}_{part}_{rib}" for rib in ribs for side in sides for part in parts]
    halves = slice(115, 163)
    if len(names) != 166 or names[halves] != listed or names[21:24:2] != ["aorta_ascending", "aorta_descending"]:
        return names
    right = [*names]
    right[21:24:2], right[halves] = names[23:20:-2], drawn
    return right


def _as_the_authors_write(names: tuple[str, ...]) -> list[str]:
    """Undo :func:`_told_apart`."""
    written: list[str] = []
    for name in names:
        plain = name
        while plain.endswith("_again") and plain.removesuffix("_again") in written:
            plain = plain.removesuffix("_again")
        written.append(plain)
    return written


def _told_apart(names: list[str]) -> tuple[str, ...]:
    return tuple(name + "_again" * names[:channel].count(name) for channel, name in enumerate(names))


def _labelled(name: str, split: str | None, picture: Path, stack: Path, classes: tuple[str, ...]) -> LabelledImage:
    case, view = case_and_view(name)
    return LabelledImage(name, case, view, split, partial(read_grey, picture), partial(_read_stack, stack, classes))


def _read_stack(path: Path, classes: tuple[str, ...]) -> Mapping[str, BoolArray]:
    # Opened first, because a file that may not be read is not damaged.
    with path.open("rb"):
        try:
            stack = np.lib.format.open_memmap(path, mode="r")
        except (ValueError, TypeError, *DAMAGE) as error:
            raise ValueError(f"{path}: this is no stack of masks, or a damaged one: {error}") from error
    if stack.ndim != 3 or len(stack) != len(classes):
        raise ValueError(f"{path}: the shape should be ({len(classes)}, rows, columns); got {stack.shape}")
    # Of whole numbers all but 0 is inside, as 255 is; of fractions, as probabilities are, 0 and 1 alone have a meaning.
    masks = ((name, np.asarray(channel)) for name, channel in zip(classes, stack, strict=True))
    if stack.dtype.kind in "biu":
        return {name: mask != 0 for name, mask in masks}
    return {name: bools_of(mask, f"{path}: the mask of {name}") for name, mask in masks}


def _require_all_there(path: Path, missing: list[Path]) -> None:
    if missing:
        raise FileNotFoundError(f"{path}: {len(missing)} of the files it needs are not there, such as {missing[0]}")
