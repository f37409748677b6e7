"""What kind of file a path is, by its first bytes: names are not to be trusted, least of all in a DICOM export."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

from drrproj.io.dicom_files import is_dicom, open_zip
from drrproj.short_text import shown

__all__ = ["FORMATS", "NAMES", "checked_path", "kind_of"]

Kind = Literal["folder", "nifti", "nrrd", "metaimage", "numpy", "dicom"]

FORMATS = "NIfTI and Analyze, NRRD, MetaImage (.mha, .mhd), NumPy (.npz, .npy) and DICOM (a folder, a zip or one file)"
"""What drrproj reads, in words."""

NAMES: dict[Kind, str] = {
    "folder": "a folder",
    "nifti": "NIfTI",
    "nrrd": "NRRD",
    "metaimage": "MetaImage",
    "numpy": "NumPy",
    "dicom": "DICOM",
}
"""What a message calls each kind."""

_LOOK = 1 << 16  # a MetaImage may begin with a long comment
_METAIMAGE = re.compile(rb"^[ \t]*NDims[ \t]*=", re.MULTILINE)
_SIZES_OF_HEADER = {size.to_bytes(4, order) for size in (348, 540) for order in ("little", "big")}


def checked_path(path: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """Return a path as it is, and refuse what is none: Python would take a number for a file that is open already.

    Raises
    ------
    TypeError
        If it is no path.

    Examples
    --------
    >>> from drrproj.io.kinds import checked_path
    >>> checked_path("ct.nii.gz")
    'ct.nii.gz'
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path must be the name of a file or folder, such as 'ct.nii.gz'; got {shown(path)}")
    return path


def kind_of(path: str | os.PathLike[str]) -> Kind:
    """Tell the format family of a file or folder.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    {"folder", "nifti", "nrrd", "metaimage", "numpy", "dicom"}
        A zip is ``"numpy"`` where its members are arrays, else ``"dicom"``. ``"nifti"`` holds Analyze and the pairs of
        both, of which the ``.img`` half, bare voxels, is the one thing known by its ending alone.

    Raises
    ------
    TypeError
        If it is no path.
    FileNotFoundError
        If there is nothing at ``path``.
    ValueError
        If it is none of them.

    Examples
    --------
    >>> from importlib.resources import files
    >>> from drrproj.io.kinds import kind_of
    >>> kind_of(files("drrproj") / "data" / "chest_3mm" / "ct.nii.gz")
    'nifti'
    """
    if os.path.isdir(checked_path(path)):
        return "folder"
    try:
        with open(path, "rb") as file:
            start = file.read(_LOOK)
    except FileNotFoundError:
        raise FileNotFoundError(f"no such file: {path}") from None
    except OSError as error:
        raise type(error)(f"cannot read {path}: {error.strerror}") from error
    if not start:
        raise ValueError(f"{path}: the file is empty; copy or download it again")
    if start[:2] == b"\x1f\x8b" or start[:4] in _SIZES_OF_HEADER:
        return "nifti"
    if start[:4] == b"NRRD":
        return "nrrd"
    if start[:6] == b"\x93NUMPY":
        return "numpy"
    if start[:4] == b"PK\x03\x04":
        return _kind_of_zip(path)
    if is_dicom(start[:132]):
        return "dicom"
    if _METAIMAGE.search(start):
        return "metaimage"
    if Path(path).suffix.lower() == ".img":
        return "nifti"
    hint = "; pass its header, the .mhd or .nhdr file" if Path(path).suffix.lower() in (".raw", ".zraw") else ""
    raise ValueError(f"{path}: this is no file that drrproj reads: {FORMATS}{hint}")


def _kind_of_zip(path: str | os.PathLike[str]) -> Kind:
    with open_zip(path) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
    return "numpy" if names and all(name.endswith(".npy") for name in names) else "dicom"
