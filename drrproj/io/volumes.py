"""read_volume: every kind of file to one kind of value."""

from __future__ import annotations

import os

from drrproj.io.blaming import blaming
from drrproj.io.dicom_series import read_series
from drrproj.io.kinds import kind_of
from drrproj.io.metaimage import read_metaimage
from drrproj.io.nifti import read_nifti
from drrproj.io.nrrd import read_nrrd
from drrproj.io.numpy_arrays import read_numpy
from drrproj.io.orientation import Prefer
from drrproj.volume import Unit, Volume

__all__ = ["read_volume"]


def read_volume(
    path: str | os.PathLike[str], unit: Unit = "HU", prefer: Prefer | None = None, series: str | int | None = None
) -> Volume:
    """Read a CT, or any scalar volume, from a file or a folder.

    What kind of file it is shows in its contents, not its name.

    Parameters
    ----------
    path : str or path
        - NIfTI-1 and NIfTI-2 (``.nii``, ``.nii.gz``), pairs of ``.hdr`` and ``.img``, Analyze 7.5;
        - DICOM: a folder (with sub-folders) or a zip of the slices of a series, or a multi-frame file;
        - NRRD (``.nrrd``, or ``.nhdr`` with its data beside it);
        - MetaImage (``.mha``, or ``.mhd`` with its data beside it);
        - NumPy: ``.npz`` with entries ``affine`` and one 3-D array, as ``numpy.savez("ct.npz", array=..., affine=...)``
          writes it, or ``ct.npy`` with ``ct_affine.npy`` beside it; RAS+, or with an entry ``space`` of ``LPS``.
    unit : {"HU", "1/mm"}
        What the voxels are, after the file's own slope and intercept. DICOM in ``"HU"`` must be CT.
    prefer : {"sform", "qform", "pixdim"}, optional
        For NIfTI: ``"sform"`` or ``"qform"`` settles a disagreement of the two; ``"pixdim"`` accepts a file that has
        neither, and any Analyze file, with voxel axes taken for left, anterior, superior. Other formats say it once
        and need no settling.
    series : str or int, optional
        For DICOM with several series: the description, the number or the UID of the one to read.

    Returns
    -------
    Volume
        With the array in the file's order and number type; a file with a slope or intercept gives float32, or int16
        where slope is 1 and all values fit. An uncompressed file is mapped, not read, where its bytes are the voxels
        (NIfTI, MetaImage, ``.npy``): do not overwrite it in place while the volume is in use. From DICOM it has the
        series' frame of reference.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no file of these kinds, is cut short or damaged, is not 3-D, or does not say where its voxels are. For
        DICOM also: several series and none chosen, missing or uneven slices, two slices in one place, pixels that are
        no HU.
    TypeError
        If it holds colours or complex numbers, or ``path`` is no path.
    MemoryError
        If there is not enough memory for its voxels.
    ModuleNotFoundError
        If a library is missing; the sentence names what to install.

    Warns
    -----
    UserWarning
        Names what a DICOM folder holds besides the series: localizers, other objects, copies of a slice.

    Examples
    --------
    >>> import drrproj
    >>> from importlib.resources import files
    >>> ct = drrproj.read_volume(files("drrproj") / "data" / "chest_3mm" / "ct.nii.gz")
    >>> ct.shape, ct.array.dtype.name, ct.voxel_size.tolist()
    ((120, 120, 110), 'int16', [3.0, 3.0, 3.0])
    """
    kind = kind_of(path)
    if kind in ("dicom", "folder"):
        return read_series(path, unit, series)
    if series is not None:
        raise ValueError(f"{path}: series chooses among DICOM series, and this is a file of another kind; leave it out")
    with blaming(path):
        if kind == "nrrd":
            array, affine, _ = read_nrrd(path)
            return Volume(array, affine, unit)
        if kind == "metaimage":
            array, affine = read_metaimage(path)
            return Volume(array, affine, unit, space="LPS")
        if kind == "numpy":
            array, affine, space = read_numpy(path)
            return Volume(array, affine, unit, space=space)
    array, affine, _ = read_nifti(path, prefer)
    with blaming(path):
        return Volume(array, affine, unit)
