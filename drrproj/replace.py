"""Writing a file so that its name never stands for half a file."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["beginning", "replaced"]

# Systems take names of 255 bytes, and the temporary name is the beginning of the file's with 15 more.
_LENGTH = 200


@contextmanager
def replaced(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of ``path`` when the block ends well.

    Until then, and for good if the block raises, whatever is at ``path`` stays as it is.

    Parameters
    ----------
    path : str or path
        The file to write; its folder must exist.

    Yields
    ------
    binary file

    Raises
    ------
    OSError
        If the folder does not exist or cannot be written to, or ``path`` is a folder.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a folder; pass a file name")
    if target.exists() and not target.is_file():
        raise OSError(f"cannot write {path}: it is a device or a pipe, which a file would replace; pass a file name")
    # In the same folder, because only a rename inside one file system is atomic; not from tempfile, whose files are
    # closed to everybody but the owner.
    part = target.with_name(f".{beginning(target.name)}.{secrets.token_hex(4)}.part")
    try:
        file = part.open("xb")
    except FileNotFoundError:
        raise FileNotFoundError(f"cannot write {target}: there is no folder {target.parent}; create it first") from None
    except OSError as error:
        raise _said(error, target) from error
    try:
        with file:
            if target.exists():
                # A file that only its owner may read stays so.
                os.chmod(part, target.stat().st_mode & 0o777)
            yield file
        os.replace(part, target)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.strerror:
            raise _said(error, target) from error
        raise


def _said(error: OSError, target: Path) -> OSError:
    """Return the same error in words, and with its number, by which callers tell a full disk from a long name."""
    said = type(error)(f"cannot write {target}: {error.strerror}")
    said.errno = error.errno
    return said


def beginning(name: str) -> str:
    """Cut a name, where it is too long, between two letters."""
    return os.fsencode(name)[:_LENGTH].decode(errors="ignore")
