"""What a format has no place for, in a file beside it: case, patient, view and absent classes of each picture."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from drrproj.dataset.formats.labelled import LabelledImage, LabelledImages
from drrproj.replace import replaced

__all__ = ["case_and_view", "class_list", "restore_particulars", "write_json", "write_particulars"]

FILE_NAME = "drrproj.json"
_FORMAT = "drrproj labelled images 1"
_FIELDS = {"name", "case", "patient", "view", "split", "absent"}
_NAME = re.compile(r"(?P<case>.+?)_?(?P<view>frontal|lateral)")


def case_and_view(name: str) -> tuple[str, str]:
    """Take a picture's name apart as PAXRay and PAX-Ray++ put it together: ``RibFrac1frontal``."""
    match = _NAME.fullmatch(name)
    return (match["case"], match["view"]) if match else (name, "")


def write_json(path: Path, content: Any) -> None:
    """Write JSON that takes the place of the file when it is whole."""
    with replaced(path) as file:
        file.write(json.dumps(content, ensure_ascii=False).encode())


def write_particulars(folder: Path, images: LabelledImages, names: dict[str, str] | None = None) -> None:
    """Write what the format in a folder has no place for; ``names`` are those of the files, by the pictures' names."""
    content = {
        "format": _FORMAT,
        "classes": list(images.classes),
        "groups": {group: list(members) for group, members in images.groups.items()},
        "images": {
            image.name if names is None else names[image.name]: {
                "name": image.name,
                "case": image.case,
                "patient": image.patient,
                "view": image.view,
                "split": image.split,
                "absent": dict(image.absent),
            }
            for image in images
        },
    }
    write_json(folder / FILE_NAME, content)


def class_list(folder: Path) -> tuple[str, ...] | None:
    """Return the classes and their order that :func:`write_particulars` wrote; None without that file."""
    path = folder / FILE_NAME
    return tuple(_read(path)["classes"]) if path.exists() else None


def restore_particulars(folder: Path, images: LabelledImages) -> LabelledImages:
    """Give pictures back what :func:`write_particulars` wrote; without that file they stay as they are."""
    path = folder / FILE_NAME
    if not path.exists():
        return images
    content = _read(path)
    # In the order of the pictures in that file, which is that of the set that was written.
    try:
        order = {name: place for place, name in enumerate(content["images"])}
        restored = {image.name: _restored(image, content["images"].get(image.name)) for image in images}
        groups = {group: tuple(members) for group, members in content["groups"].items()}
        names = sorted(restored, key=lambda name: order.get(name, len(order)))
        return replace(images, images=tuple(restored[name] for name in names), groups=groups)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read: {error}; delete it to read the folder without it") from error


def _restored(image: LabelledImage, record: dict[str, Any] | None) -> LabelledImage:
    if record is None:
        return image
    foreign = sorted(record.keys() - _FIELDS)
    if foreign:
        raise ValueError(f"{image.name} has {', '.join(foreign[:5])}, which no picture has there")
    for key, kinds in (("name", str), ("case", str), ("view", str), ("split", str | None), ("patient", str | None)):
        if key in record and not isinstance(record[key], kinds):
            raise ValueError(f"{key} of {image.name} is {record[key]!r}, which is no text")
    if not isinstance(record.get("absent", {}), dict):
        raise ValueError(f"absent of {image.name} is {record['absent']!r}, which is no object in braces")
    return replace(image, **record)


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            raise ValueError(f"its format is {content['format']!r}, and this version reads {_FORMAT!r}")
        if not {"classes", "groups", "images"} <= content.keys():
            raise ValueError("it has no classes, groups or images")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read: {error}; delete it to read the folder without it") from error
    return content
