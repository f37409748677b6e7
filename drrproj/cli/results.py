"""Where the results of a command go: the folder, and the files of each view."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import drrproj
from drrproj.io.dicom_dx import write_dicom_beside
from drrproj.io.dicom_series import file_of_series
from drrproj.io.file_names import file_names
from drrproj.io.kinds import kind_of

__all__ = [
    "as_text",
    "check_view_names",
    "files_beside",
    "is_text",
    "output_folder",
    "write_dicom_views",
    "write_masks",
    "write_views",
]


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


def check_view_names(names: Sequence[str]) -> None:
    """Refuse views whose files would overwrite each other, or lie elsewhere than in the folder."""
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two views are called {name}, and the files of one would overwrite those of the other")
        if not is_text(name):
            raise ValueError(f"view {name!r} is called by a name that is no text; give its file another name")
        if Path(name).name != name:
            raise ValueError(f"view {name!r} cannot be the name of a file; give it another name")


def write_views(
    folder: Path,
    shot: drrproj.Radiograph,
    display: Callable[[drrproj.Radiograph], drrproj.Display],
    source: dict[str, Any],
    drawn: Sequence[str] | None,
    legend: bool,
    prefix: str = "",
    beside: Mapping[str, Sequence[str]] | None = None,
) -> list[str]:
    """Write the picture, the record and the overlay of every view; ``beside`` is of :func:`files_beside`."""
    written = []
    for view_name in shot.geometry.names:
        view, name = shot[view_name], f"{prefix}{view_name}"
        used = display(view)
        pictures = [f"{name}.png", f"{name}.json", *[f"{name}_overlay.png"] * ("masks" in view.images)]
        files = [*pictures, *(beside or {}).get(view_name, ())]
        drrproj.write_sidecar(folder / f"{name}.json", view, source=source, display=used.as_record(), files=files)
        drrproj.write_png(folder / f"{name}.png", view, display=used)
        if "masks" in view.images:
            drrproj.write_overlay(folder / f"{name}_overlay.png", view, drawn, display=used, legend=legend)
        written += pictures
    return written


def files_beside(
    shot: drrproj.Radiograph,
    drawn: Sequence[str] | None,
    masks: Sequence[str],
    *,
    dicom: bool,
    nifti: bool,
    npz: bool,
) -> dict[str, list[str]]:
    """List what a run is going to write beside each view's pictures; what it writes of all views stands at each.

    Parameters
    ----------
    shot : Radiograph
    drawn : sequence of str, optional
        Structures on the overlay.
    masks : sequence of {"png", "coco"}
    dicom, nifti, npz : bool
        Whether the run writes these.

    Returns
    -------
    dict of str to list of str
        Names relative to the folder, by the views' names.
    """
    of_all = [*["masks.json"] * ("coco" in masks), *["structures.csv"] * bool(masks)]
    of_all += ["radiograph.npz"] * npz
    structures = file_names(list(shot.masks)) if "png" in masks and "masks" in shot.images else []
    beside = {}
    for name, below in zip(shot.geometry.names, file_names(shot.geometry.names), strict=True):
        files = [f"masks/{below}/{structure}.png" for structure in structures]
        files += [f"{name}.dcm"] * dicom
        files += [f"{name}_seg.dcm"] * (dicom and _is_seen(shot[name], drawn))
        files += [f"{name}.nii.gz"] * nifti
        beside[name] = [*files, *of_all]
    return beside


def _is_seen(view: drrproj.Radiograph, drawn: Sequence[str] | None) -> bool:
    """Tell whether a view shows any of the structures: a DICOM file of masks holds no empty ones alone."""
    return "masks" in view.images and any(view.masks[label].any() for label in drawn or view.masks)


def write_dicom_views(
    folder: Path,
    shot: drrproj.Radiograph,
    display: Callable[[drrproj.Radiograph], drrproj.Display],
    ct: drrproj.Volume,
    path: Path,
    series: str | None,
    drawn: Sequence[str] | None,
) -> list[str]:
    """Write the picture of every view and its masks; ``ct`` was read from the ``series`` at ``path``."""
    written = []
    # Pictures of a DICOM CT join its patient and study; those of its folder may be several.
    study = file_of_series(path, ct.unit, series) if kind_of(path) in ("dicom", "folder") else ct
    for name in shot.geometry.names:
        view = shot[name]
        image = folder / f"{name}.dcm"
        used = display(view)
        # A window of transmission is none of the line integrals that the file holds.
        window = (used.low, used.high) if used.quantity == "line_integral" else None
        write_dicom_beside(image, view, study, window=window)
        written.append(image.name)
        if _is_seen(view, drawn):
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
