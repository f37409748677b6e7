"""Where the results of a command go: the folder, and the files of each view."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import drrproj
from drrproj.io.kinds import kind_of

__all__ = ["as_text", "is_text", "output_folder", "write_dicom_views", "write_masks", "write_views"]


@contextlib.contextmanager
def output_folder(folder: Path) -> Iterator[Path]:
    """Make the folder before the work, so that one that cannot be written costs no time; leave no empty one behind."""
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"cannot make the folder {folder}: {error.strerror}; choose another with -o") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OSError(f"cannot write to the folder {folder}; choose another with -o")
    try:
        yield folder
    finally:
        if made and not any(folder.iterdir()):
            folder.rmdir()


def write_views(
    folder: Path,
    shot: drrproj.Radiograph,
    display: Callable[[drrproj.Radiograph], drrproj.Display],
    source: dict[str, Any],
    drawn: Sequence[str] | None,
    legend: bool,
    prefix: str = "",
) -> list[str]:
    written = []
    for view_name in shot.geometry.names:
        view, name = shot[view_name], f"{prefix}{view_name}"
        used = display(view)
        # The record first: by it a later run knows the other files, even if this one is stopped between them.
        drrproj.write_sidecar(folder / f"{name}.json", view, source=source, display=used.as_record())
        drrproj.write_png(folder / f"{name}.png", view, display=used)
        written += [f"{name}.png", f"{name}.json"]
        if view.masks is not None:
            drrproj.write_overlay(folder / f"{name}_overlay.png", view, drawn, display=used, legend=legend)
            written.append(f"{name}_overlay.png")
    return written


def write_dicom_views(
    folder: Path,
    shot: drrproj.Radiograph,
    display: Callable[[drrproj.Radiograph], drrproj.Display],
    ct: drrproj.Volume,
    path: Path,
    drawn: Sequence[str] | None,
) -> list[str]:
    written = []
    # Pictures of a DICOM CT join its patient and study.
    study = path if kind_of(path) in ("dicom", "folder") else ct
    for name in shot.geometry.names:
        view = shot[name]
        image = folder / f"{name}.dcm"
        used = display(view)
        # A window of transmission is none of the line integrals that the file holds.
        window = (used.low, used.high) if used.quantity == "line_integral" else None
        drrproj.write_dicom(image, view, window=window, study=study)
        written.append(image.name)
        if view.masks is not None and any(view.masks[label].any() for label in drawn or view.masks):
            drrproj.write_dicom_seg(folder / f"{name}_seg.dcm", view, image, drawn)
            written.append(f"{name}_seg.dcm")
    return written


def write_masks(folder: Path, shot: drrproj.Radiograph, forms: Sequence[str]) -> list[str]:
    written = []
    if "png" in forms:
        drrproj.write_mask_pngs(folder / "masks", shot)
        written.append("masks/")
    if "coco" in forms:
        drrproj.write_coco(folder / "masks.json", shot)
        written.append("masks.json")
    drrproj.write_structure_table(folder / "structures.csv", shot)
    return [*written, "structures.csv"]


def as_text(path: Path) -> str:
    """Return the path as UTF-8 can hold it: a file name may have bytes that are none."""
    return os.fsencode(path).decode(errors="backslashreplace")


def is_text(name: str) -> bool:
    """Tell whether UTF-8 can hold a name: what comes in another encoding than the system's, Python keeps as bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
