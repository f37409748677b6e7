"""The endings of files that are written, which say what is in them."""

from __future__ import annotations

import os
import re
from pathlib import Path

__all__ = ["require_dicom_name", "require_ending"]

# The names that the standard gives files have no ending, and a UID ends in a number.
_DICOM_ENDINGS = re.compile(r"|\.dcm|\.\d+", re.IGNORECASE)


def require_ending(path: str | os.PathLike[str], what: str, *endings: str) -> None:
    """Refuse a file name that has none of the endings, and what is no path.

    Examples
    --------
    >>> from drrproj.io.endings import require_ending
    >>> require_ending("out/PA.PNG", "a PNG file", ".png")
    >>> require_ending("out/pa.jpg", "a PNG file", ".png")
    Traceback (most recent call last):
        ...
    ValueError: a PNG file is called .png; got pa.jpg
    """
    name = _path(path).name
    if not name.lower().endswith(endings):
        raise ValueError(f"{what} is called {' or '.join(endings)}; got {name}")


def require_dicom_name(path: str | os.PathLike[str]) -> None:
    """Refuse a file name whose ending is that of another format than DICOM."""
    name = _path(path)
    if not _DICOM_ENDINGS.fullmatch(name.suffix):
        raise ValueError(f"a DICOM file is called .dcm, or by a name or UID alone; got {name.name}")


def _path(path: str | os.PathLike[str]) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise TypeError(
            f"the path of the file comes first, then what is written; got {type(path).__name__} for the path"
        )
    return Path(path)
