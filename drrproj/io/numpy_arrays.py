"""NumPy files: an array and the affine that says where it lies."""

from __future__ import annotations

import os
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.volume import Space

__all__ = ["DAMAGE", "read_numpy"]

DAMAGE = (
    EOFError,
    OSError,
    RuntimeError,
    SyntaxError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What numpy raises, beside ValueError, where the bytes of an archive or an array are damaged."""


def read_numpy(path: str | os.PathLike[str]) -> tuple[npt.NDArray[Any], npt.NDArray[Any], Space]:
    """Read a 3-D array and its affine.

    Parameters
    ----------
    path : str or path
        ``.npz``: an entry ``affine``, one other entry that is 3-D, of any name, and if the affine is not RAS+ an
        entry ``space`` with the text ``LPS``, as ``numpy.savez("ct.npz", array=..., affine=...)`` writes it.
        ``.npy``: the array, mapped; its affine stands beside it, ``ct_affine.npy`` for ``ct.npy``.

    Returns
    -------
    array, affine, space

    Raises
    ------
    ValueError
        If there is no affine, no array or more than one, or the file is damaged.
    """
    file = Path(path)
    try:
        if zipfile.is_zipfile(file):
            with np.load(file, allow_pickle=False) as archive:
                return _from_archive(dict(archive))
        affine_file = file.with_name(f"{file.stem}_affine.npy")
        if not affine_file.is_file():
            raise ValueError(
                "an array alone does not say where its voxels are; save its affine beside it as "
                f'{affine_file.name}, or both with numpy.savez("ct.npz", array=array, affine=affine)'
            )
        return np.load(file, mmap_mode="r", allow_pickle=False), np.load(affine_file, allow_pickle=False), "RAS"
    except DAMAGE as error:
        raise ValueError(f"the NumPy file is damaged or cut short: {error}") from error


def _from_archive(arrays: dict[str, npt.NDArray[Any]]) -> tuple[npt.NDArray[Any], npt.NDArray[Any], Space]:
    affine = arrays.pop("affine", None)
    if affine is None:
        raise ValueError(
            f"there is no entry affine (4x4, voxel index to mm) in it, only {', '.join(arrays)}; save it with "
            "numpy.savez(..., array=array, affine=affine)"
        )
    space: Any = str(arrays.pop("space", "RAS"))
    volumes = [name for name, array in arrays.items() if array.ndim == 3]
    if len(volumes) != 1:
        raise ValueError(
            f"it must hold one 3-D array beside the affine; got {', '.join(volumes) or 'none'} among "
            f"{', '.join(arrays) or 'no others'}"
        )
    return arrays[volumes[0]], affine, space
