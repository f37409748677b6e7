"""Grey pictures of 1, 8 or 16 bits: PNG files, and their bytes for archives, there and back."""

from __future__ import annotations

import io
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.io.endings import require_ending
from drrproj.replace import replaced

__all__ = ["decode_grey", "encode_grey", "read_grey", "write_grey"]


def encode_grey(pixels: npt.NDArray[Any]) -> bytes:
    """Encode a picture of 1, 8 or 16 bits as the bytes of a PNG file that keeps every number.

    Parameters
    ----------
    pixels : ndarray, shape (rows, columns), bool, uint8 or uint16

    Raises
    ------
    ValueError
        If it is not such an array.

    Examples
    --------
    >>> import numpy as np
    >>> from drrproj.io.grey import decode_grey, encode_grey
    >>> decode_grey(encode_grey(np.array([[0, 65535]], np.uint16)), "example")
    array([[    0, 65535]], dtype=uint16)
    """
    from PIL import Image

    if pixels.ndim != 2 or pixels.dtype not in (np.bool_, np.uint8, np.uint16):
        raise ValueError(
            f"a grey picture is bool, uint8 or uint16 of shape (rows, columns); got {pixels.dtype} {pixels.shape}"
        )
    file = io.BytesIO()
    # Runs are what masks and filtered rows hold: faster than zlib's level 1, and smaller.
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, format="PNG", compress_type=zlib.Z_RLE)
    return file.getvalue()


def decode_grey(encoded: bytes, origin: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """Decode a picture of 1, 8 or 16 bits; ``origin`` is what a message calls it.

    Returns
    -------
    ndarray, shape (rows, columns), bool, uint8 or uint16

    Raises
    ------
    ValueError
        If it is no picture, is damaged, has numbers beyond 16 bits, more pixels than Pillow opens, or colours. Three
        equal channels are grey.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(encoded)) as picture:
            mode, pixels = picture.mode, np.array(picture)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{origin}: this is no picture, or a damaged one: {error}") from error
    if mode == "RGB" and (pixels == pixels[..., :1]).all():
        return np.ascontiguousarray(pixels[..., 0])
    if mode in ("1", "L"):
        return pixels
    if mode in ("I", "I;16", "I;16B"):
        # What Pillow calls I has 32 bits, whatever the file had.
        if mode == "I" and pixels.size and (pixels.min() < 0 or pixels.max() > 65535):
            raise ValueError(
                f"{origin}: a grey picture has numbers from 0 to 65535; this one has {pixels.min()} to {pixels.max()}"
            )
        return pixels.astype(np.uint16)
    raise ValueError(f"{origin}: a grey picture of 1, 8 or 16 bits is needed; this one is {mode}")


def read_grey(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """Read a picture file as :func:`decode_grey` does."""
    try:
        encoded = Path(path).read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"no such file: {path}") from None
    return decode_grey(encoded, path)


def write_grey(path: str | os.PathLike[str], pixels: npt.NDArray[Any]) -> None:
    """Write a ``.png`` file, replaced whole or left as it was, as :func:`encode_grey` does."""
    require_ending(path, "a PNG file", ".png")
    encoded = encode_grey(pixels)
    with replaced(path) as file:
        file.write(encoded)
