"""NIfTI files: volumes in, one radiograph's line integral out.

Voxels stay as they are on disk, number type and order: an unscaled int16 CT is mapped from the file, or unpacked once
into the array that is then projected, and nothing is ever float64 that was not float64 on disk.
"""

# nibabel's methods carry no types.
# mypy: allow-untyped-calls

from __future__ import annotations

import gzip
import logging
import math
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from drrproj.io.one_view import line_integral_of_one_view
from drrproj.io.orientation import Prefer, world_from_voxel
from drrproj.io.replace import replaced
from drrproj.radiograph import Radiograph
from drrproj.volume import Unit, Volume

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

__all__ = ["blaming", "is_rescaled", "read_nifti", "read_volume", "write_nifti"]

# nibabel reports what it mends in a header; that goes to whoever listens to this package's log, not to the screen.
_LOG = logging.getLogger(__name__)
_LOG.addHandler(logging.NullHandler())

_GZIP_MAGIC = b"\x1f\x8b"
_BLOCK = 1 << 22


def read_volume(path: str | os.PathLike[str], unit: Unit = "HU", prefer: Prefer | None = None) -> Volume:
    """Read a CT, or any scalar volume, from a NIfTI file.

    Parameters
    ----------
    path : str or path
        A ``.nii`` or ``.nii.gz`` file, NIfTI-1 or NIfTI-2.
    unit : {"HU", "1/mm"}
        What the voxels are, after the file's own slope and intercept.
    prefer : {"sform", "qform", "pixdim"}, optional
        ``"sform"`` or ``"qform"`` settles a disagreement of the two; ``"pixdim"`` accepts a file that has neither,
        with voxel axes taken for left, anterior, superior.

    Returns
    -------
    Volume
        With the array in the file's order and number type; a file with a slope or intercept gives float32, or int16
        where slope is 1 and all values fit. An uncompressed file is mapped, not read: do not overwrite it in place
        while the volume is in use.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no NIfTI file, is cut short or damaged, is not 3-D, or does not say where its voxels are.
    TypeError
        If it holds colours or complex numbers.

    Examples
    --------
    >>> import drrproj
    >>> from importlib.resources import files
    >>> ct = drrproj.read_volume(files("drrproj") / "data" / "chest_3mm" / "ct.nii.gz")
    >>> ct.shape, ct.array.dtype.name, ct.voxel_size.tolist()
    ((120, 120, 110), 'int16', [3.0, 3.0, 3.0])
    """
    array, affine, _ = read_nifti(path, prefer)
    with blaming(path):
        return Volume(array, affine, unit)


def is_rescaled(path: str | os.PathLike[str]) -> bool:
    """Whether the numbers of a NIfTI file go through a slope or intercept; reads the header alone.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`read_volume`.

    Examples
    --------
    >>> from importlib.resources import files
    >>> from drrproj.io.nifti import is_rescaled
    >>> is_rescaled(files("drrproj") / "data" / "chest_3mm" / "ct.nii.gz")
    False
    """
    with _opened(path) as (stream, _):
        return _slope_inter(_header(stream)) != (1.0, 0.0)


def read_nifti(
    path: str | os.PathLike[str], prefer: Prefer | None = None
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64], Nifti1Header]:
    """Read array, affine and header of a NIfTI file; see :func:`read_volume`."""
    with _opened(path) as (stream, compressed):
        header = _header(stream)
        affine = world_from_voxel(header, prefer)
        dtype, shape, offset = header.get_data_dtype(), _volume_shape(header), header.get_data_offset()
        slope_inter = _slope_inter(header)
        stored = (_read_stored if compressed else _map_stored)(stream, offset, shape, dtype)
        return _scaled(stored, *slope_inter), affine, header


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[tuple[BinaryIO, bool]]:
    """Open a file, unpacked if it is compressed, which its first bytes say; errors within name the file."""
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path} is a folder; pass a NIfTI file (.nii or .nii.gz)")
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed by the with below; only opening may blame the path
    except FileNotFoundError:
        raise FileNotFoundError(f"no such file: {path}") from None
    except OSError as error:
        raise type(error)(f"cannot read {path}: {error.strerror}") from error
    with blaming(path), file:
        compressed = file.peek(2)[:2] == _GZIP_MAGIC
        with _unpacked(file) if compressed else file as stream:
            yield stream, compressed


@contextmanager
def blaming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Put the file's name in front of what is wrong with its contents."""
    try:
        yield
    except TypeError as error:
        raise TypeError(f"{path}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


@contextmanager
def _unpacked(file: BinaryIO) -> Iterator[BinaryIO]:
    damage: tuple[type[Exception], ...] = (EOFError, zlib.error, gzip.BadGzipFile)
    unpacker: Any = gzip
    try:
        from isal import igzip, isal_zlib
    except ImportError:  # no wheel for this machine; the standard library takes three times as long
        pass
    else:
        unpacker, damage = igzip, (*damage, cast(type[Exception], isal_zlib.error))
    try:
        with unpacker.open(file, "rb") as stream:
            yield stream
    except damage as error:
        raise ValueError(f"the compressed file is cut short or damaged ({error}); copy or download it again") from error


def _header(stream: BinaryIO) -> Nifti1Header:
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header
    from nibabel.spatialimages import HeaderDataError

    start = stream.read(Nifti2Header.sizeof_hdr)
    kinds = [kind for kind in (Nifti1Header, Nifti2Header) if kind.may_contain_header(start)]
    if not kinds:
        raise ValueError("this is no NIfTI file; drrproj reads .nii and .nii.gz (dcm2niix makes them from DICOM)")
    if start[344:348] == b"ni1\0":
        raise ValueError("this is one half of a .hdr/.img pair; convert the pair to one .nii.gz file")
    stream.seek(0)
    try:
        header: Nifti1Header = kinds[0].from_fileobj(stream, check=False)
        header.check_fix(logger=_LOG, error_level=logging.ERROR)
        header.get_data_dtype()
    except (HeaderDataError, ValueError, KeyError) as error:
        raise ValueError(f"its NIfTI header is damaged: {error}") from error
    return header


def _volume_shape(header: Nifti1Header) -> tuple[int, ...]:
    shape = tuple(int(size) for size in header.get_data_shape())
    # A time axis of length 1 is how many tools write a single volume.
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        advice = "split it and pass one volume" if len(shape) > 3 else "pass a volume, not a picture"
        raise ValueError(f"it is {len(shape)}-D, shape {shape}, and a volume is 3-D; {advice}")
    if min(shape) < 1:
        raise ValueError(f"its NIfTI header is damaged: shape {shape}")
    return shape


def _slope_inter(header: Nifti1Header) -> tuple[float, float]:
    from nibabel.spatialimages import HeaderDataError

    try:
        slope, inter = header.get_slope_inter()
    except HeaderDataError as error:
        raise ValueError(f"its NIfTI header is damaged: {error}") from error
    return (1.0, 0.0) if slope is None else (float(slope), float(inter))


def _read_stored(stream: BinaryIO, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    stream.seek(offset)
    stored = np.empty(shape, dtype, order="F")
    buffer = memoryview(stored.reshape(-1, order="F").view(np.uint8).data)
    got = 0
    # In blocks, because the gzip reader makes a second copy of as much as it is asked for.
    while got < len(buffer):
        count = stream.readinto(buffer[got : got + _BLOCK])  # type: ignore[attr-defined]
        if not count:
            raise _too_short(len(buffer), got)
        got += count
    while stream.read(_BLOCK):
        pass  # the checksum comes last
    return stored


def _map_stored(file: BinaryIO, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    expected = math.prod(shape) * dtype.itemsize
    there = os.fstat(file.fileno()).st_size - offset
    if there < expected:
        raise _too_short(expected, max(there, 0))
    return np.memmap(file, dtype, mode="r", offset=offset, shape=shape, order="F")


def _too_short(expected: int, there: int) -> ValueError:
    return ValueError(f"the file is cut short: it has {there} of {expected} bytes of voxels; copy or download it again")


def _scaled(stored: npt.NDArray[Any], slope: float, inter: float) -> npt.NDArray[Any]:
    if (slope, inter) == (1.0, 0.0) or stored.dtype.kind not in "iuf":
        return stored
    if slope == 1.0 and inter.is_integer() and stored.dtype.kind in "iu":
        fits = np.iinfo(np.int16)
        if fits.min <= int(stored.min()) + inter and int(stored.max()) + inter <= fits.max:
            # Both steps wrap around at 2**16, and since the sum fits, so does the wrapped sum.
            shifted = stored.astype(np.int16)
            shifted += np.array(int(inter) % 2**16, np.uint16).astype(np.int16)
            return shifted
    scaled = stored.astype(np.float32)
    scaled *= np.float32(slope)
    scaled += np.float32(inter)
    return scaled


def write_nifti(path: str | os.PathLike[str], radiograph: Radiograph) -> None:
    """Write the line integral of one view as a NIfTI file that lies at the detector.

    The array is float32, (columns, rows, 1), and the affine puts every pixel where the view has it: the voxel axes
    are the steps to the next column and the next row and the detector's normal, 1 mm, away from the source.

    Parameters
    ----------
    path : str or path
        Ends in ``.nii`` or ``.nii.gz``. Replaced whole, or left as it was.
    radiograph : Radiograph
        Of one view; take one of several by ``radiograph["PA"]``.

    Raises
    ------
    ValueError
        If there are several views or no line integral, or the name has another ending.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import numpy as np, drrproj, tempfile
    >>> ct = drrproj.Volume(np.zeros((20, 10, 20), np.int16), np.eye(4))
    >>> shot = drrproj.project(ct, drrproj.Geometry.radiograph("PA", ct, shape=(6, 8)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     drrproj.write_nifti(f"{folder}/pa.nii.gz", shot)
    ...     drrproj.read_volume(f"{folder}/pa.nii.gz", unit="1/mm").shape
    (8, 6, 1)
    """
    from nibabel.nifti1 import Nifti1Image

    name = Path(path).name
    if not name.endswith((".nii", ".nii.gz")):
        raise ValueError(f"a NIfTI file is called .nii or .nii.gz; got {name}")
    image = line_integral_of_one_view(radiograph)
    geometry = radiograph.geometry
    affine = np.eye(4)
    affine[:3] = np.column_stack(
        [geometry.views[0, :3, 3], geometry.views[0, :3, 2], geometry.normals[0], geometry.views[0, :3, 1]]
    )
    nifti = Nifti1Image(np.ascontiguousarray(image.T[..., None], np.float32), affine)
    nifti.set_sform(affine, code="scanner")
    nifti.header.set_xyzt_units("mm")
    nifti.header["descrip"] = b"drrproj: line integral of attenuation"
    contents = nifti.to_bytes()
    if name.endswith(".gz"):
        # No time stamp: the same radiograph gives the same bytes.
        contents = gzip.compress(contents, compresslevel=1, mtime=0)
    with replaced(path) as file:
        file.write(contents)
