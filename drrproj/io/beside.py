"""The file that a header names for its voxels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

__all__ = ["open_beside"]


def open_beside(header: str | os.PathLike[str], name: str) -> BinaryIO:
    """Open a file by its name in a header, which counts from the header's folder.

    Raises
    ------
    ValueError
        If it is not there; the name of the header is left to the caller.
    OSError
        If it cannot be read.
    """
    file = Path(header).parent / name
    try:
        return file.open("rb")
    except (FileNotFoundError, IsADirectoryError, ValueError):  # the last of a name with NUL in it
        raise ValueError(f"its voxels are in {name}, which is not beside it; copy both files") from None
    except OSError as error:
        raise type(error)(f"cannot read {file}: {error.strerror}") from error
