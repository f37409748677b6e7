"""read_labels: files of label ids, folders of masks, segmentations and contours to one kind of value."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.affines import is_same_grid
from drrproj.io.blaming import blaming
from drrproj.io.dicom_contours import read_contours
from drrproj.io.dicom_files import converting, dicom_files, read_headers, text
from drrproj.io.dicom_segmentation import read_segmentation
from drrproj.io.kinds import kind_of
from drrproj.io.label_names import find_label_names, names_from_header, read_label_names
from drrproj.io.metaimage import read_metaimage
from drrproj.io.nifti import read_nifti
from drrproj.io.nrrd import Segment, read_nrrd, slicer_segments
from drrproj.io.numpy_arrays import read_numpy
from drrproj.io.orientation import Prefer
from drrproj.io.structures import Structure, combined, numbered, selected, unique_names
from drrproj.label_volume import LabelVolume, as_id, checked_names
from drrproj.volume import Volume

__all__ = ["read_labels"]

Names = Mapping[int, str] | str | os.PathLike[str]


def read_labels(
    path: str | os.PathLike[str],
    names: Names | None = None,
    prefer: Prefer | None = None,
    *,
    volume: Volume | None = None,
    structures: Sequence[str] | None = None,
) -> LabelVolume:
    """Read anatomy labels from a file or a folder.

    What kind of file it is shows in its contents, not its name.

    Parameters
    ----------
    path : str or path
        - a file of label ids: NIfTI, NRRD, MetaImage or NumPy, as :func:`drrproj.read_volume` takes them;
        - a folder of binary masks such as TotalSegmentator writes it: ``heart.nii.gz``, ``aorta.nii.gz``, ... all on
          one grid, numbered 1, 2, ... in the order of their names;
        - a ``.seg.nrrd`` of 3D Slicer, with its segments' names and values; segments on several layers are numbered
          1, 2, ... in their order;
        - a DICOM SEG, with its segments' labels and numbers, or a folder or zip that holds one;
        - a DICOM RTSTRUCT, numbered 1, 2, ... in its order, filled on the grid of ``volume``: a voxel belongs to a
          structure where its centre is inside an odd number of the structure's contours.

        Where structures overlap, each keeps all its voxels: the shared ones have values of their own, listed in
        ``overlaps``. One mask is in memory at a time.
    names : mapping of int to str, or path, optional
        Structure names by id, or a table of them: ``.json``, ``.tsv`` or ``.csv`` (see
        :func:`drrproj.io.label_names.read_label_names`). By default the table beside the file with the same stem
        (``labels.json`` for ``labels.nii.gz``), else the one in the NIfTI header that TotalSegmentator writes, else
        none. Where structures bring their names it gives the ids, and every structure must be in it.
    prefer : {"sform", "qform", "pixdim"}, optional
        As in :func:`drrproj.read_volume`.
    volume : Volume, optional
        The CT. An RTSTRUCT needs it, for its grid; a SEG of another frame of reference is refused with it.
    structures : sequence of str, optional
        Which structures to read, by name, where they bring their names; all by default. What is left out is
        not read.

    Returns
    -------
    LabelVolume
        Which ids it has was looked at, and is kept.

    Raises
    ------
    FileNotFoundError
        If there is no such file or folder.
    OSError
        If it cannot be read.
    ValueError
        For a file that :func:`drrproj.read_volume` would refuse; for ids that are negative or do not fit 64 bits; for
        masks that are not binary or lie on different grids; for structures that are not there, and for none at all; for
        a SEG or an RTSTRUCT of another frame of reference than ``volume``, contours between its slices, an RTSTRUCT of
        which nothing lies inside it, and one without ``volume``; for a fractional SEG.
    TypeError
        If the labels are not whole numbers, or ``path`` is no path.
    MemoryError
        If there is not enough memory for the labels.
    ModuleNotFoundError
        If a library is missing; the sentence names what to install.

    Warns
    -----
    UserWarning
        Says which structures of an RTSTRUCT have no closed contour, reach beyond the CT or lie outside of it, are drawn
        on some of its slices only, or have contours that cross; and where nothing tells how far the slices of a SEG
        are apart.

    Examples
    --------
    >>> import drrproj
    >>> from importlib.resources import files
    >>> labels = drrproj.read_labels(files("drrproj") / "data" / "chest_3mm" / "labels.nii.gz")
    >>> len(labels.label_ids), labels.name_of(51)
    (88, 'heart')
    """
    chosen = None
    if isinstance(names, Mapping):
        with blaming(path):
            # Tables name the background, too.
            chosen = dict(checked_names({key: name for key, name in names.items() if as_id(key) != 0}))
    elif names is not None:
        chosen = read_label_names(names)
    kind = kind_of(path)
    if structures is not None:
        structures = [structures] if isinstance(structures, str) else list(structures)
        if not structures:
            raise ValueError(f"{path}: structures is empty; name some, or leave it out to read all")
    if kind == "folder" and _masks_of(Path(path)):
        beside = dicom_files(path)
        if beside:
            raise ValueError(
                f"{path}: masks such as {_masks_of(Path(path))[0].name} and DICOM files such as "
                f"{Path(beside[0].name).name} are in it, and which ones are the labels is not said; pass the SEG or "
                "RTSTRUCT itself, or a folder of the masks alone"
            )
        return _from_folder(Path(path), chosen, prefer, structures)
    if kind in ("dicom", "folder"):
        return _from_dicom(path, chosen, volume, structures)
    with blaming(path):
        if kind == "nrrd":
            array, affine, header = read_nrrd(path)
            segments = slicer_segments(header)
            if segments:
                return _from_slicer(array, affine, segments, chosen, structures)
            labels = LabelVolume(array, affine)
        elif kind == "metaimage":
            array, affine = read_metaimage(path)
            labels = LabelVolume(array, affine, space="LPS")
        elif kind == "numpy":
            array, affine, space = read_numpy(path)
            labels = LabelVolume(array, affine, space=space)
    if kind == "nifti":
        array, affine, nifti_header = read_nifti(path, prefer, exact=True)
    with blaming(path):
        if structures is not None:
            raise ValueError(
                "structures chooses where structures bring their names, and this is a file of label ids; read it, "
                f"then choose by .subset({structures})"
            )
        if kind == "nifti":
            labels = LabelVolume(array, affine)
        if chosen is None:
            chosen = find_label_names(path) or (names_from_header(nifti_header) if kind == "nifti" else {})
        return _with_known_ids(LabelVolume(labels.array, labels.affine, chosen))


def _with_known_ids(labels: LabelVolume) -> LabelVolume:
    """Look at the ids while the file is known whose name belongs before what is wrong with them."""
    _ = labels.label_ids
    return labels


def _from_dicom(
    path: str | os.PathLike[str],
    names: dict[int, str] | None,
    volume: Volume | None,
    structures: Sequence[str] | None,
) -> LabelVolume:
    files = dicom_files(path)
    if not files:
        raise ValueError(
            f"{path}: no masks in this folder and no DICOM; it needs one .nii.gz file per structure, or a SEG"
        )
    headers = read_headers(files, ("Modality",))
    with converting(os.fspath(path)):
        found = [(header.file, text(header.dataset, "Modality")) for header in headers]
    objects = [(file, modality) for file, modality in found if modality in ("SEG", "RTSTRUCT")]
    if len(objects) != 1:
        what = ", ".join(file.name for file, _ in objects) or f"only {', '.join(sorted({kind for _, kind in found}))}"
        raise ValueError(f"{path}: one SEG or RTSTRUCT is needed, and here {_count(len(objects))}: {what}; pass one")
    file, modality = objects[0]
    with converting(file.name), blaming(file.name), _broken_standard():
        if modality == "RTSTRUCT":
            return read_contours(file, volume, names, structures)
        labels = read_segmentation(file, volume, names, structures)
        frames = (labels.frame_of_reference, volume.frame_of_reference if volume is not None else None)
        if all(frames) and frames[0] != frames[1]:
            raise ValueError(
                f"the SEG belongs to another CT: its frame of reference is {frames[0]}, the CT's {frames[1]}; pass "
                "the SEG of this CT"
            )
        return labels


@contextmanager
def _broken_standard() -> Iterator[None]:
    """Turn what pydicom says of a missing element into what is wrong with the file."""
    try:
        yield
    except (AttributeError, KeyError, IndexError) as error:
        raise ValueError(f"it lacks what the standard asks of it: {error}") from error


def _count(number: int) -> str:
    return f"{'are' if number else 'is'} {number or 'none'}"


def _from_slicer(
    array: npt.NDArray[Any],
    affine: npt.NDArray[np.float64],
    segments: Sequence[Segment],
    names: dict[int, str] | None,
    structures: Sequence[str] | None,
) -> LabelVolume:
    layers = array if array.ndim == 4 else array[None]
    labels = unique_names([segment.name for segment in segments])
    wanted = selected(labels, structures)
    by_name = dict(zip(labels, segments, strict=True))
    for segment in (by_name[name] for name in wanted):
        if not 0 <= segment.layer < len(layers) or segment.value <= 0:
            raise ValueError(
                f"its segment {segment.name} is on layer {segment.layer} of {len(layers)}, value {segment.value}"
            )
    name_at: dict[tuple[int, int], str] = {}
    for name, segment in zip(labels, segments, strict=True):
        other = name_at.setdefault((segment.layer, segment.value), name)
        if other != name and not {other, name}.isdisjoint(wanted):
            raise ValueError(
                f"its segments {other} and {name} are both value {segment.value} of layer {segment.layer}, so which "
                "voxels are whose is not said; save it again with 3D Slicer, or give each a LabelValue of its own"
            )
    ids = {name: by_name[name].value if len(layers) == 1 else place for place, name in enumerate(labels, 1)}
    members = numbered({name: ids[name] for name in wanted}, names)
    if len(layers) == 1 and members == [(by_name[name].value, name) for _, name in members] and wanted == labels:
        return _with_known_ids(LabelVolume(layers[0], affine, dict(members)))
    masks = (
        Structure(label_id, name, layers[by_name[name].layer] == by_name[name].value) for label_id, name in members
    )
    array, overlaps = combined(layers.shape[1:], masks, names)
    return LabelVolume(array, affine, dict(members), overlaps=overlaps)


def _masks_of(folder: Path) -> list[Path]:
    try:
        files = sorted(folder.iterdir())
    except OSError as error:
        raise type(error)(f"cannot read {folder}: {error.strerror}") from error
    # macOS leaves files named ._something beside each file it copies.
    return [file for file in files if file.name.lower().endswith((".nii", ".nii.gz")) and not file.name.startswith(".")]


def _from_folder(
    folder: Path,
    names: dict[int, str] | None,
    prefer: Prefer | None,
    structures: Sequence[str] | None,
) -> LabelVolume:
    files: dict[str, Path] = {}
    for file in _masks_of(folder):
        if files.setdefault(_structure(file), file) != file:
            raise ValueError(f"{folder}: two files of one structure, {files[_structure(file)].name} and {file.name}")
    with blaming(folder):
        wanted = selected(sorted(files), structures)
        members = numbered({name: place for place, name in enumerate(sorted(files), 1) if name in wanted}, names)

    first_file = files[members[0][1]]
    first, affine = _mask(first_file, prefer)

    def masks() -> Iterator[Structure]:
        for label_id, name in members:
            mask, mask_affine = (first, affine) if files[name] == first_file else _mask(files[name], prefer)
            if not is_same_grid(mask_affine, mask.shape, affine, first.shape):
                raise ValueError(
                    f"{files[name]} and {first_file.name} lie on different grids (shapes {mask.shape} and "
                    f"{first.shape}); the masks of one folder must share one"
                )
            yield Structure(label_id, name, mask)

    array, overlaps = combined(first.shape, masks(), names)
    with blaming(folder):
        return LabelVolume(array, affine, names if names is not None else dict(members), overlaps=overlaps)


def _structure(file: Path) -> str:
    return re.sub(r"\.nii(\.gz)?$", "", file.name, flags=re.IGNORECASE)


def _mask(file: Path, prefer: Prefer | None) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    array, affine, _ = read_nifti(file, prefer, exact=True)
    with blaming(file):
        labels = LabelVolume(array, affine)
        voxels: npt.NDArray[Any] = labels.array
        low, high = int(voxels.min()), int(voxels.max())
        if low < 0 or high > 1:
            raise ValueError(
                f"a mask holds 0 and 1, this holds {low} to {high}; pass a file of many labels itself, not its folder"
            )
        return voxels != 0, labels.affine
