"""Names in a dataset that must not be taken for one another: on no file system, and on no two sides of a split."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from drrproj.io.file_names import file_names

__all__ = ["require_apart", "require_file_name", "require_one_spelling"]

_FORBIDDEN = '/\\:*?"<>|'


def require_file_name(name: str, what: str) -> None:
    """Refuse a name that cannot be that of a file, without its ending, on every file system.

    Raises
    ------
    ValueError
        If it is empty, has a character that some system does not take, begins or ends with a dot or space, or is a
        device on Windows, as ``CON`` and ``con.1`` are.
    """
    if not isinstance(name, str) or not name or name.strip(". ") != name or any(map(_is_forbidden, name)):
        raise ValueError(
            f"the {what} {name!r} cannot name a file; rename it, without any of {_FORBIDDEN}, "
            "and without dots and spaces at its ends"
        )
    stem = name.partition(".")[0]
    # Of names with nothing forbidden in them, these alone get something in front.
    if file_names([stem]) == [f"_{stem}"]:
        raise ValueError(f"the {what} {name!r} cannot name a file: on Windows {stem} is a device; rename it")


def require_apart(names: Iterable[str], what: str) -> None:
    """Refuse names that are one file where capitals are not told apart, as on Windows and macOS.

    Raises
    ------
    ValueError
        If two differ in capitals alone.
    """
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(name.casefold(), name)
        if other != name:
            raise ValueError(
                f"two {what} differ in capitals alone, {other} and {name}, and are one file on Windows and macOS; "
                "rename one of them"
            )


def require_one_spelling(patients: Iterable[str]) -> None:
    """Refuse patients that are likely one, spelled in two ways: a split would have them on both sides.

    Raises
    ------
    ValueError
        If two differ in capitals, blanks or how Unicode writes a letter with an accent, and in nothing else.
    """
    first: dict[str, str] = {}
    for patient in patients:
        folded = unicodedata.normalize("NFC", unicodedata.normalize("NFD", patient).casefold())
        other = first.setdefault(" ".join(folded.split()), patient)
        if other != patient:
            # What differs in the form of accents alone would be printed alike.
            alike = unicodedata.normalize("NFC", other) == unicodedata.normalize("NFC", patient)
            both = " and ".join(map(ascii if alike else repr, (other, patient)))
            raise ValueError(
                f"two patients differ in capitals, blanks or the form of accents alone, {both}; if they are one, "
                "spell it in one way, else rename one of them"
            )


def _is_forbidden(letter: str) -> bool:
    # A lone surrogate has no bytes in UTF-8, and so no file.
    return letter in _FORBIDDEN or ord(letter) < 32 or 0xD800 <= ord(letter) < 0xE000
