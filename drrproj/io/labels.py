"""Anatomy labels from NIfTI: one file of integers, or a folder of one mask per structure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.io.label_names import find_label_names, names_from_header, read_label_names
from drrproj.io.nifti import blaming, read_nifti
from drrproj.io.orientation import Prefer
from drrproj.overlaps import OverlappingMasks
from drrproj.volume import LabelVolume

__all__ = ["read_labels"]

Names = Mapping[int, str] | str | os.PathLike[str]

# Masks of one patient that differ by less than this share of a voxel come from rounding in the header.
_SAME_PLACE = 0.01


def read_labels(
    path: str | os.PathLike[str],
    names: Names | None = None,
    prefer: Prefer | None = None,
) -> LabelVolume:
    """Read anatomy labels from a NIfTI file, or from a folder of one mask per structure.

    Parameters
    ----------
    path : str or path
        A NIfTI file of label ids, or a folder of binary masks such as TotalSegmentator writes it: ``heart.nii.gz``,
        ``aorta.nii.gz``, ... all on one grid. A folder's structures are numbered 1, 2, ... in the order of their names.
        Where its masks overlap, each structure keeps all its voxels: the shared ones have values of their own, listed
        in ``overlaps``. One mask is in memory at a time.
    names : mapping of int to str, or path, optional
        Structure names by id, or a table of them: ``.json``, ``.tsv`` or ``.csv`` (see
        :func:`drrproj.io.label_names.read_label_names`). By default the table beside the file with the same stem
        (``labels.json`` for ``labels.nii.gz``), else the one in the NIfTI header that TotalSegmentator writes, else
        none. For a folder it gives the ids, and every mask must be in it.
    prefer : {"sform", "qform", "pixdim"}, optional
        As in :func:`drrproj.read_volume`.

    Returns
    -------
    LabelVolume

    Raises
    ------
    FileNotFoundError
        If there is no such file or folder.
    ValueError
        For a file that :func:`drrproj.read_volume` would refuse; for masks that are not binary or lie on different
        grids.
    TypeError
        If the labels are not whole numbers.

    Examples
    --------
    >>> import drrproj
    >>> from importlib.resources import files
    >>> labels = drrproj.read_labels(files("drrproj") / "data" / "chest_3mm" / "labels.nii.gz")
    >>> len(labels.label_ids), labels.name_of(51)
    (88, 'heart')
    """
    chosen = dict(names) if isinstance(names, Mapping) else read_label_names(names) if names is not None else None
    if chosen is not None:
        chosen.pop(0, None)
    if os.path.isdir(path):
        return _from_folder(Path(path), chosen, prefer)
    array, affine, header = read_nifti(path, prefer)
    with blaming(path):
        if chosen is None:
            chosen = find_label_names(path) or names_from_header(header)
        return LabelVolume(array, affine, chosen)


def _from_folder(folder: Path, names: dict[int, str] | None, prefer: Prefer | None) -> LabelVolume:
    files: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        # macOS leaves files named ._something beside each file it copies.
        if not file.name.endswith((".nii", ".nii.gz")) or file.name.startswith("."):
            continue
        if files.setdefault(_structure(file), file) != file:
            raise ValueError(f"{folder}: two files of one structure, {files[_structure(file)].name} and {file.name}")
    if not files:
        raise ValueError(f"{folder}: no masks in this folder; it needs one .nii.gz file per structure")
    if names is None:
        names = dict(enumerate(sorted(files), start=1))
    unknown = sorted(set(files) - set(names.values()))
    if unknown:
        raise ValueError(f"{folder}: no id for the masks {', '.join(unknown)}; add them to names or take them out")
    members = [(label_id, name) for label_id, name in sorted(names.items()) if name in files]

    first_file = files[members[0][1]]
    first, affine = _mask(first_file, prefer)
    masks = OverlappingMasks(first.shape)
    for label_id, name in members:
        mask, mask_affine = (first, affine) if files[name] == first_file else _mask(files[name], prefer)
        if mask.shape != first.shape or not _same_place(mask_affine, affine):
            raise ValueError(
                f"{files[name]} and {first_file.name} lie on different grids (shapes {mask.shape} and {first.shape}); "
                "the masks of one folder must share one"
            )
        masks.add(mask, label_id)
    array, overlaps = masks.combined(above=max(names))
    with blaming(folder):
        return LabelVolume(array, affine, names, overlaps=overlaps)


def _structure(file: Path) -> str:
    return file.name.removesuffix(".gz").removesuffix(".nii")


def _mask(file: Path, prefer: Prefer | None) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    array, affine, _ = read_nifti(file, prefer)
    with blaming(file):
        labels = LabelVolume(array, affine)
        voxels: npt.NDArray[Any] = labels.array
        low, high = int(voxels.min()), int(voxels.max())
        if low < 0 or high > 1:
            raise ValueError(
                f"a mask holds 0 and 1, this holds {low} to {high}; pass a file of many labels itself, not its folder"
            )
        return voxels != 0, labels.affine


def _same_place(affine: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> bool:
    voxel = np.linalg.norm(other[:3, :3], axis=0).min()
    return bool(np.abs(affine - other).max() <= _SAME_PLACE * voxel)
