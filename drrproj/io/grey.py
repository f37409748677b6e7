"""Grey pictures: the levels of a PNG file as they are stored."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["read_grey"]

# Pillow's modes of one grey channel, and the number type that holds them.
_LEVELS = {"L": np.uint8, "I;16": np.uint16, "I": np.uint16}


def read_grey(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """Read the levels of a grey PNG of 8 or 16 bits.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    ndarray, shape (rows, columns), uint8 or uint16

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no picture, is damaged, or has colours.

    Examples
    --------
    >>> import numpy as np, drrproj, tempfile
    >>> from drrproj.io.grey import read_grey
    >>> slab = drrproj.Volume(np.full((20, 10, 20), 0.02), np.eye(4), unit="1/mm")
    >>> view = drrproj.Geometry.radiograph("PA", slab, beam="parallel", shape=(32, 32), pixel_spacing=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     window = drrproj.write_png(f"{folder}/pa.png", drrproj.project(slab, view), window=(0, 0.4))
    ...     round(float(read_grey(f"{folder}/pa.png")[16, 16]) / 65535 * 0.4, 4)  # 10 mm of 0.02 / mm
    0.2
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            if picture.mode not in _LEVELS:
                raise ValueError(f"{path}: a grey picture of 8 or 16 bits is needed; this one is {picture.mode}")
            return np.asarray(picture).astype(_LEVELS[picture.mode])
    except FileNotFoundError:
        raise FileNotFoundError(f"no such file: {path}") from None
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{path}: this is no picture, or a damaged one: {error}") from error
