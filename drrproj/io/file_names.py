"""Names of structures and views as names of files, on every system."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

__all__ = ["file_names", "names_in_tables"]

# What Windows keeps for devices, with any ending.
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
_LENGTH = 60  # characters; file systems allow 255 bytes, and a character takes up to four


def file_names(names: Sequence[str]) -> list[str]:
    """Return a file name, without its ending, for every name: itself where it can be one.

    Everything but letters, digits, ``_``, ``-``, ``+`` and inner dots and spaces becomes ``_``. Names that would be
    one file, on a system that does not tell capitals apart either, get their place among the names.

    Parameters
    ----------
    names : sequence of str

    Returns
    -------
    list of str
        As many, all different.

    Examples
    --------
    >>> from drrproj.io.file_names import file_names
    >>> file_names(["rib_left_4", "GTV 1/2", "../heart", "Aorta", "aorta"])
    ['rib_left_4', 'GTV 1_2', '_heart', 'Aorta_4', 'aorta_5']
    """
    safe = [_safe(name) for name in names]
    folded = [name.casefold() for name in safe]
    taken = {name for name in folded if folded.count(name) == 1}
    for place, name in enumerate(safe):
        numbered, number = name, f"_{place + 1}"
        if folded.count(name.casefold()) > 1:
            numbered = name + number
            while numbered.casefold() in taken:
                numbered += number
            taken.add(numbered.casefold())
        safe[place] = numbered
    return safe


def names_in_tables(names: Sequence[str]) -> list[str]:
    """Return what tables call views: by their names, or where two share one, all as their files are called.

    Parameters
    ----------
    names : sequence of str

    Returns
    -------
    list of str
        As many, all different, so that each row of a table belongs to one picture.

    Examples
    --------
    >>> from drrproj.io.file_names import names_in_tables
    >>> names_in_tables(["PA", "LL"]), names_in_tables(["PA", "LL", "PA"])
    (['PA', 'LL'], ['PA_1', 'LL', 'PA_3'])
    """
    return list(names) if len(set(names)) == len(names) else file_names(names)


def _safe(name: str) -> str:
    # One of the ways to write an accent: macOS reads both as one name.
    composed = unicodedata.normalize("NFC", name)
    safe = re.sub(r"[^\w\-+. ]", "_", composed)[:_LENGTH].strip(" .") or "_"
    return f"_{safe}" if _DEVICES.match(safe) else safe
