"""NIfTI and Analyze files: volumes in, one radiograph's line integral out.

Voxels stay as they are on disk, number type and order: an unscaled int16 CT is mapped from the file, or unpacked once
into the array that is then projected. Scaled ones are int16 or float32; ids of labels are wider where that would round
them.
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
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from drrproj.io.blaming import blaming
from drrproj.io.endings import require_ending
from drrproj.io.kinds import FORMATS
from drrproj.io.one_view import line_integral_of_one_view
from drrproj.io.orientation import Prefer, world_from_voxel
from drrproj.io.sizes import cut_short, too_large
from drrproj.radiograph import Radiograph
from drrproj.replace import replaced

__all__ = ["is_rescaled", "read_nifti", "write_nifti"]

# nibabel's headers, of NIfTI and Analyze, carry no types.
SpatialHeader = Any

# nibabel reports what it mends in a header; that goes to whoever listens to this package's log, not to the screen.
_LOG = logging.getLogger(__name__)
_LOG.addHandler(logging.NullHandler())

_GZIP_MAGIC = b"\x1f\x8b"
_BLOCK = 1 << 22
_WHOLE = 1 << 24  # float32 holds every whole number up to it
_FILE_LIMIT = 2**63  # a place in a file is a signed number of 64 bits
_IMAGE_ENDINGS = (".img.gz", ".img")


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
    header_file = _header_half(Path(path))
    with blaming(path), _opened(header_file) as (stream, _):
        return _slope_inter(_header(stream)[0]) != (1.0, 0.0)


def read_nifti(
    path: str | os.PathLike[str], prefer: Prefer | None = None, *, exact: bool = False
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64], SpatialHeader]:
    """Read array, affine and header of a NIfTI or Analyze file, or of a pair by either half.

    Parameters
    ----------
    path : str or path
        ``.nii`` or ``.nii.gz``, NIfTI-1 or NIfTI-2; ``.hdr`` or ``.img`` of a pair, which may be compressed too.
    prefer : {"sform", "qform", "pixdim"}, optional
        As in :func:`drrproj.read_volume`.
    exact : bool, optional
        Whether whole numbers that float32 would round, as ids of labels may be, are scaled to a wider type.

    Returns
    -------
    array : ndarray, 3-D
        In the file's order and number type, unless it is scaled; mapped where it is not compressed.
    affine : ndarray, shape (4, 4)
        Voxel indices to RAS+ mm.
    header : nibabel header

    Raises
    ------
    ValueError
        If it is no such file, is cut short or damaged, is not 3-D, or does not say where its voxels are.
    MemoryError
        If there is not enough memory for its voxels.
    """
    first = _header_half(Path(path))
    with blaming(path), _opened(first) as (stream, plain):
        header, is_pair, stated = _header(stream)
        _check_place(stated, prefer)
        affine = world_from_voxel(header, prefer)
        shape, slope_inter = _volume_shape(header), _slope_inter(header)
        if not is_pair:
            return _scaled(_stored(stream, plain, header, shape), *slope_inter, exact), affine, header
    with blaming(path), _opened(_image_half(first)) as (stream, plain):
        return _scaled(_stored(stream, plain, header, shape), *slope_inter, exact), affine, header


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, BinaryIO | None]]:
    """Open what a file holds, through gzip, and the file itself where it can be mapped."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise FileNotFoundError(f"no such file: {path}") from None
    except OSError as error:
        raise type(error)(f"cannot read {path}: {error.strerror}") from error
    with file:
        if file.peek(2)[:2] == _GZIP_MAGIC:
            with _unpacked(file) as stream:
                yield stream, None
        else:
            yield file, file


def _header_half(path: Path) -> Path:
    ending = next((ending for ending in _IMAGE_ENDINGS if path.name.lower().endswith(ending)), None)
    if ending is None:
        return path
    stem = path.name[: -len(ending)]
    for header in (path.with_name(stem + other) for other in (".hdr", ".hdr.gz", ".HDR")):
        if header.is_file():
            return header
    raise FileNotFoundError(f"{path}: this is the image half of a pair, and {stem}.hdr is not beside it")


def _image_half(header: Path) -> Path:
    stem = header.name[: -len(".hdr.gz")] if header.name.lower().endswith(".gz") else header.name[: -len(".hdr")]
    for image in (header.with_name(stem + other) for other in (".img", ".img.gz", ".IMG")):
        if image.is_file():
            return image
    raise FileNotFoundError(f"{header}: this is the header half of a pair, and {stem}.img is not beside it")


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


def _header(stream: BinaryIO) -> tuple[SpatialHeader, bool, SpatialHeader]:
    """Read the header, whether the voxels are in another file, and the header before nibabel mended it."""
    from nibabel.nifti1 import Nifti1Header, Nifti1PairHeader
    from nibabel.nifti2 import Nifti2Header, Nifti2PairHeader
    from nibabel.spatialimages import HeaderDataError
    from nibabel.spm2analyze import Spm2AnalyzeHeader

    start = stream.read(Nifti2Header.sizeof_hdr)
    kinds = (
        (Nifti1Header, start[344:348] == b"n+1\0"),
        (Nifti2Header, start[4:8] == b"n+2\0"),
        (Nifti1PairHeader, start[344:348] == b"ni1\0"),
        (Nifti2PairHeader, start[4:8] == b"ni2\0"),
        # The SPM kind of Analyze, because it knows of a scale; plain Analyze has none there.
        (Spm2AnalyzeHeader, Spm2AnalyzeHeader.may_contain_header(start)),
    )
    kind = next((kind for kind, fits in kinds if fits), None)
    if kind is None:
        raise ValueError(f"this is no file that drrproj reads: {FORMATS}")
    if len(start) < kind.sizeof_hdr:
        raise cut_short("the file", "header", kind.sizeof_hdr, len(start))
    # Before the header is read whole, because nibabel counts with the offset where it looks for extensions.
    _check_offset(kind(start[: kind.sizeof_hdr], check=False))
    stream.seek(0)
    try:
        header: SpatialHeader = kind.from_fileobj(stream, check=False)
        stated = header.copy()
        header.check_fix(logger=_LOG, error_level=logging.ERROR)
        header.get_data_dtype()
    except (HeaderDataError, ValueError, KeyError) as error:
        raise ValueError(f"its {_family(kind)} header is damaged: {error}") from error
    return header, kind not in (Nifti1Header, Nifti2Header), stated


def _check_place(stated: SpatialHeader, prefer: Prefer | None) -> None:
    """Refuse what nibabel would mend by a guess: codes of forms into 0, a voxel of 0 or -4 mm into one of 1 or 4."""
    from nibabel.nifti1 import xform_codes

    codes = {name: int(stated[f"{name}_code"]) for name in ("sform", "qform") if f"{name}_code" in stated}
    known = {name for name, code in codes.items() if code in xform_codes.value_set()}
    given = {name for name in known if codes[name] > 0}
    for name, code in codes.items():
        other = "qform" if name == "sform" else "sform"
        if name not in known and not (prefer == other and other in given):
            choice = f', or pass prefer="{other}" (--prefer {other})' if other in given else ""
            raise ValueError(f"its {name}_code is {code}, which NIfTI does not know; set it to 1 (scanner){choice}")
    # Where both are given it is the sform that is used, and where neither is, pixdim has to be asked for.
    by_sform = "sform" in given and not (prefer == "qform" and "qform" in given)
    if by_sform or (not given and prefer != "pixdim"):
        return
    sizes = stated["pixdim"][1:4].tolist()
    # NaN compares false.
    if not all(0 < size < math.inf for size in sizes):
        choice = ', or pass prefer="sform" (--prefer sform)' if "sform" in given else ""
        raise ValueError(
            "its pixdim, the size of a voxel, must be three positive numbers; got "
            f"{' '.join(f'{size:g}' for size in sizes)}; write the true size there{choice}"
        )


def _check_offset(header: SpatialHeader) -> None:
    """Refuse voxels that begin at no byte, or in the header.

    A single file begins them at 352 (NIfTI-2: 544) or later. Readers take what is less for 352, 348 or the very byte
    it says, and so one of them shifts the image.
    """
    first = header.single_vox_offset if getattr(header, "is_single", False) else 0
    offset = header["vox_offset"].item()
    if not first <= offset < _FILE_LIMIT or offset != int(offset):
        raise ValueError(
            f"its {_family(type(header))} header is damaged: vox_offset, the byte where its voxels begin, must be a "
            f"whole number of at least {first}; got {offset:g}"
        )


def _family(kind: type) -> str:
    return "Analyze" if "Analyze" in kind.__name__ else "NIfTI"


def _volume_shape(header: SpatialHeader) -> tuple[int, ...]:
    shape = tuple(int(size) for size in header.get_data_shape())
    # A time axis of length 1 is how many tools write a single volume.
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        advice = "split it and pass one volume" if len(shape) > 3 else "pass a volume, not a picture"
        raise ValueError(f"it is {len(shape)}-D, shape {shape}, and a volume is 3-D; {advice}")
    if min(shape) < 1:
        raise ValueError(f"its {_family(type(header))} header is damaged: shape {shape}")
    return shape


def _slope_inter(header: SpatialHeader) -> tuple[float, float]:
    from nibabel.spatialimages import HeaderDataError

    try:
        slope, inter = header.get_slope_inter()
    except HeaderDataError as error:
        raise ValueError(f"its {_family(type(header))} header is damaged: {error}") from error
    return (1.0, 0.0) if slope is None else (float(slope), float(inter))


def _stored(
    stream: BinaryIO, plain: BinaryIO | None, header: SpatialHeader, shape: tuple[int, ...]
) -> npt.NDArray[Any]:
    offset, dtype = header.get_data_offset(), header.get_data_dtype()
    if plain is None:
        return _read_stored(stream, offset, shape, dtype)
    return _map_stored(plain, offset, shape, dtype)


def _read_stored(stream: BinaryIO, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    stream.seek(offset)
    expected = math.prod(shape) * dtype.itemsize
    try:
        # Memory is taken as it is written, so that a claim alone takes none.
        stored = np.empty(shape, dtype, order="F")
    except (MemoryError, ValueError):
        # A ValueError where numpy cannot count so far. Only the rest of the file tells a lie from a large volume.
        there = _count(stream, expected)
        raise _too_short(expected, there) if there < expected else too_large("its voxels", expected) from None
    buffer = memoryview(stored.reshape(-1, order="F").view(np.uint8).data)
    got = 0
    # In blocks, because the gzip reader makes a second copy of as much as it is asked for.
    while got < expected:
        count = stream.readinto(buffer[got : got + _BLOCK])  # type: ignore[attr-defined]
        if not count:
            raise _too_short(expected, got)
        got += count
    while stream.read(_BLOCK):
        pass  # the checksum comes last
    return stored


def _count(stream: BinaryIO, enough: int) -> int:
    there = 0
    while there < enough and (block := stream.read(min(_BLOCK, enough - there))):
        there += len(block)
    return there


def _map_stored(file: BinaryIO, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    expected = math.prod(shape) * dtype.itemsize
    there = os.fstat(file.fileno()).st_size - offset
    if there < expected:
        raise _too_short(expected, max(there, 0))
    return np.memmap(file, dtype, mode="r", offset=offset, shape=shape, order="F")


def _too_short(expected: int, there: int) -> ValueError:
    return cut_short("the file", "voxels", expected, there)


def _scaled(stored: npt.NDArray[Any], slope: float, inter: float, exact: bool) -> npt.NDArray[Any]:
    if (slope, inter) == (1.0, 0.0) or stored.dtype.kind not in "iuf":
        return stored
    # What was unpacked is ours to change, and a second array of a CT is a lot; what is mapped is the file's.
    ours = stored.flags.writeable and stored.dtype.isnative
    may_be_int16 = slope == 1.0 and inter.is_integer()
    if stored.dtype.kind in "iu" and (may_be_int16 or exact):
        ends = int(stored.min()), int(stored.max())
        fits = np.iinfo(np.int16)
        if may_be_int16 and fits.min <= ends[0] + inter and ends[1] + inter <= fits.max:
            # Both steps wrap around at 2**16, and since the sum fits, so does the wrapped sum.
            in_place = ours and stored.dtype.itemsize == fits.dtype.itemsize
            shifted: npt.NDArray[np.int16] = stored.view(np.int16) if in_place else stored.astype(np.int16)
            shifted += np.array(int(inter) % 2**16, np.uint16).astype(np.int16)
            return shifted
        if exact and any(abs(number) > _WHOLE for end in ends for number in (end, end * slope, end * slope + inter)):
            return _scaled_exactly(stored, slope, inter, ends)
    scaled = stored.astype(np.float32, copy=not ours)
    scaled *= np.float32(slope)
    scaled += np.float32(inter)
    return scaled


def _scaled_exactly(
    stored: npt.NDArray[Any], slope: float, inter: float, ends: tuple[int, int]
) -> npt.NDArray[np.int32 | np.int64 | np.uint64 | np.float64]:
    """Scale whole numbers of which the least and the greatest are ``ends``, and which float32 would round."""
    if slope.is_integer() and inter.is_integer():
        low, high = sorted(end * int(slope) + int(inter) for end in ends)
        for dtype in (np.int32, np.int64, np.uint64):
            if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
                # All steps wrap around at 2**64, and since the results fit, so do the wrapped ones.
                scaled = stored.astype(np.uint64)
                scaled *= np.uint64(int(slope) % 2**64)
                scaled += np.uint64(int(inter) % 2**64)
                return scaled.astype(dtype, copy=False)
    return stored.astype(np.float64) * slope + inter


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
    TypeError
        If ``radiograph`` is none.
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

    require_ending(path, "a NIfTI file", ".nii", ".nii.gz")
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
    if Path(path).suffix.lower() == ".gz":
        # No time stamp: the same radiograph gives the same bytes.
        contents = gzip.compress(contents, compresslevel=1, mtime=0)
    with replaced(path) as file:
        file.write(contents)
