"""Pixels of DICOM files: stored values, native or compressed, and the HU that they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.io.dicom_files import Header, one_number, read_dataset, tag_text

__all__ = [
    "Int16IsTooSmall",
    "bits_below",
    "decoded_frames",
    "has_wrapped",
    "rescale",
    "stored_slice",
    "wrong_high_bit",
]

# Noise and streaks take air a little below -1024 HU; metal and dense bone that lost their sign are from -3072 HU.
_BELOW_AIR = -1200

# What decodes a compressed syntax, by the end of its UID under 1.2.840.10008.1.2: what to tell where it is missing.
_JPEG = "pip install pylibjpeg pylibjpeg-libjpeg (GPL) or pip install python-gdcm"
_DECODERS = {
    ".4.50": _JPEG,
    ".4.51": _JPEG,
    ".4.57": _JPEG,
    ".4.70": _JPEG,
    ".4.80": "pip install pyjpegls",
    ".4.81": "pip install pyjpegls",
    ".4.90": "pip install pylibjpeg pylibjpeg-openjpeg",
    ".4.91": "pip install pylibjpeg pylibjpeg-openjpeg",
    ".4.201": "pip install pylibjpeg pylibjpeg-openjpeg",
    ".4.202": "pip install pylibjpeg pylibjpeg-openjpeg",
    ".4.203": "pip install pylibjpeg pylibjpeg-openjpeg",
    ".5": "pip install pylibjpeg pylibjpeg-rle",
}


class Int16IsTooSmall(Exception):
    """A rescaled value is beyond int16."""


def stored_slice(header: Header) -> npt.NDArray[Any]:
    """Return the stored values of a single-frame file, shape (rows, columns)."""
    if header.pixels_at is None:
        only: npt.NDArray[Any] = decoded_frames(header)[0]
        return only
    dataset = header.dataset
    _, is_little = dataset.original_encoding
    kind = "i" if int(dataset.PixelRepresentation) else "u"
    size = int(dataset.BitsAllocated) // 8
    pixels = np.empty((int(dataset.Rows), int(dataset.Columns)), f"{'<' if is_little else '>'}{kind}{size}")
    buffer = memoryview(pixels.reshape(-1).view(np.uint8).data)
    with header.file.open() as stream:
        stream.seek(header.pixels_at)
        got = 0
        while got < len(buffer):
            count = stream.readinto(buffer[got:])  # type: ignore[attr-defined]
            if not count:
                raise ValueError(f"the file is cut short: it has {got} of {len(buffer)} bytes of pixels; copy it again")
            got += count
    return _native(pixels)


def decoded_frames(header: Header) -> npt.NDArray[Any]:
    """Decode all frames of a file, shape (frames, rows, columns)."""
    if header.pixels_at is not None and "NumberOfFrames" not in header.dataset:
        return stored_slice(header)[None]
    dataset = read_dataset(header.file)
    if "PixelData" not in dataset:
        raise ValueError(f"it has no {tag_text('PixelData')}")
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    try:
        pixels = dataset.pixel_array
    except (KeyboardInterrupt, MemoryError, SystemExit):
        raise
    except BaseException as error:  # decoders in Rust panic with an exception that is no Exception
        if syntax is not None and syntax.is_private:
            raise ValueError(
                f"its pixels are stored in a private transfer syntax, {syntax}; export it in one of the standard"
            ) from error
        if syntax is None or not syntax.is_compressed:
            raise ValueError(f"its pixels cannot be read: {error}") from error
        decoder = _DECODERS.get(str(syntax).removeprefix("1.2.840.10008.1.2"))
        if decoder is None:
            raise ValueError(f"its pixels are compressed as {syntax.name}, which is no syntax for CT") from error
        if "missing dependencies" in str(error) or "missing required dependencies" in str(error):
            raise ModuleNotFoundError(
                f"{header.file.name}: its pixels are compressed as {syntax.name}, which needs a decoder: {decoder}"
            ) from error
        reason = " ".join(str(error).split())
        raise ValueError(f"its pixels, compressed as {syntax.name}, are damaged: {reason}") from error
    shape = (-1, int(dataset.Rows), int(dataset.Columns))
    return _native(np.asarray(pixels).reshape(shape))


def _native(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return pixels in the machine's order of bytes, which a view of them as another type would not turn round."""
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def bits_below(dataset: Any) -> int:
    """Return how many bits lie below the lowest one that is stored, as the header has it; a CT has none."""
    high_bit = one_number(dataset, "HighBit")
    stored = int(dataset.BitsStored)
    return 0 if high_bit is None else max(0, min(int(high_bit) + 1, int(dataset.BitsAllocated)) - stored)


def wrong_high_bit(dataset: Any) -> str:
    """Say that the pixels do not begin at bit 0."""
    return (
        f"its {tag_text('HighBit')} is {int(dataset.HighBit)} where {tag_text('BitsStored')} is "
        f"{int(dataset.BitsStored)}: its pixels do not begin at bit 0, or its header is wrong; export it again"
    )


def rescale(stored: npt.NDArray[Any], dataset: Any, slope: float, intercept: float, into: npt.NDArray[Any]) -> None:
    """Write ``slope * stored + intercept`` into an array of int16 (for slope 1) or float32.

    An unsigned padding value that stands for a negative number, such as 63536 for -2000, becomes that number.

    Raises
    ------
    Int16IsTooSmall
        If a value does not fit ``into``.
    ValueError
        If a stored value needs more bits than the header says it has.
    """
    bits, bits_stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
    padded = _wrapped_padding(dataset, bits) if stored.dtype.kind == "u" else None
    is_padding = stored == padded % 2**bits if padded is not None else None
    measured = stored if is_padding is None else stored[~is_padding]
    low, high = (int(measured.min()), int(measured.max())) if measured.size else (0, 0)
    limits = (0, 2**bits_stored) if stored.dtype.kind == "u" else (-(2 ** (bits_stored - 1)), 2 ** (bits_stored - 1))
    if stored.dtype.kind == "i" and low >= 0 and limits[1] <= high < 2**bits_stored:
        # The sign's bit is the highest one stored, and the bits above it were left 0.
        sign = stored.dtype.type(2 ** (bits_stored - 1))
        stored = (stored ^ sign) - sign
        low, high = int(stored.min()), int(stored.max())
    # Below the highest bit that is stored, the high bit of signed pixels may be their sign.
    high_bit = one_number(dataset, "HighBit")
    is_sign = high_bit is not None and high_bit < bits_stored - 1 and stored.dtype.kind == "i"
    if (is_sign and low >= 0 and high >= 2 ** int(high_bit or 0)) or (
        (low < limits[0] or high >= limits[1]) and bits_below(dataset)
    ):
        raise ValueError(wrong_high_bit(dataset))
    if low < limits[0] or high >= limits[1]:
        raise ValueError(
            f"it has pixels from {low} to {high}, which {bits_stored} bits cannot hold, and "
            f"{tag_text('BitsStored')} is {bits_stored}: the bits above hold an overlay or the file is damaged"
        )
    if into.dtype == np.int16:
        ends = [low, high] if padded is None else [low, high, padded]
        if min(ends) + intercept < -(2**15) or max(ends) + intercept >= 2**15:
            raise Int16IsTooSmall
        # Both steps wrap around at 2**16, and since the sum fits, so does the wrapped sum.
        shift = np.array(int(intercept) % 2**16, np.uint16).astype(np.int16)
        np.add(stored.view(np.int16), shift, out=into)
        return
    np.multiply(stored, np.float32(slope), out=into, dtype=np.float32, casting="unsafe")
    if is_padding is not None and padded is not None:
        into[is_padding] = padded * slope
    into += np.float32(intercept)


def has_wrapped(stored: npt.NDArray[Any], dataset: Any, rescaled: npt.NDArray[Any]) -> bool:
    """Tell whether pixels of a slice look as if they were unsigned in a file that calls them signed.

    They are far below air, and no padding: that is stated, or lies in the corners outside the field of view.
    """
    bits_stored = int(dataset.BitsStored)
    if stored.dtype.kind == "u" or bits_stored == int(dataset.BitsAllocated):
        return False
    suspects = rescaled < _BELOW_AIR
    if not suspects.any():
        return False
    padding = one_number(dataset, "PixelPaddingValue")
    if padding is not None:
        mask = 2**bits_stored - 1
        suspects &= (stored & mask) != (int(padding) & mask)
    return bool((suspects & ~np.isin(rescaled, rescaled[[0, 0, -1, -1], [0, -1, 0, -1]])).any())


def _wrapped_padding(dataset: Any, bits: int) -> int | None:
    """Return a padding value that unsigned pixels cannot hold, such as -2000: they hold it modulo 2**bits."""
    padding = one_number(dataset, "PixelPaddingValue")
    if padding is None:
        return None
    wrapped = int(padding) - 2**bits if padding >= 2 ** (bits - 1) else int(padding)
    return wrapped if wrapped < 0 else None
