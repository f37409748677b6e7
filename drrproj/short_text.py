"""Values and lists in few words, for the one line that a value prints as and the one sentence of an error."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

__all__ = ["counted", "listed", "near_or_known", "shown"]

_SPELLED_OUT = 8
_SUGGESTED = 3
_LONG = 100


def listed(names: Sequence[str]) -> str:
    """Spell names out, of many the first ones only.

    Examples
    --------
    >>> from drrproj.short_text import listed
    >>> listed(["PA", "LL"])
    'PA, LL'
    >>> listed(list("abcdefghij"))
    'a, b, c, d, e, f, g, h, ...'
    """
    return ", ".join([*names[:_SPELLED_OUT], *["..."] * (len(names) > _SPELLED_OUT)])


def counted(count: int, what: str) -> str:
    """Say how many there are of something whose plural ends in s.

    Examples
    --------
    >>> from drrproj.short_text import counted
    >>> counted(1, "view"), counted(3, "view")
    ('1 view', '3 views')
    """
    return f"{count} {what}{'s' * (count != 1)}"


def shown(value: object) -> str:
    """Show what came in an error's one sentence: as Python has it, or its type where that would be long.

    Examples
    --------
    >>> import numpy as np
    >>> from drrproj.short_text import shown
    >>> shown("30"), shown(np.zeros((30, 30)))
    ("'30'", 'ndarray of shape (30, 30)')
    """
    text = repr(value)
    if len(text) <= _LONG and "\n" not in text:
        return text
    shape = getattr(value, "shape", None)
    return type(value).__name__ + (f" of shape {shape}" if isinstance(shape, tuple) else "")


def near_or_known(name: object, known: Iterable[str]) -> str:
    """Say which of the known names begin with one that is not among them, or are spelled alike, or which there are.

    Examples
    --------
    >>> from drrproj.short_text import near_or_known
    >>> near_or_known("hart", ["heart", "liver"]), near_or_known("spleen", ["heart"]), near_or_known("heart", [])
    ('did you mean heart?', 'there are heart', 'there are none')
    >>> near_or_known("alu", ["calcium", "aluminium"])
    'did you mean aluminium?'
    """
    names = list(known)
    # No number is a misspelling of another one.
    words = [each for each in names if not each.isdecimal()]
    begun = [each for each in words if name != "" and each.casefold().startswith(str(name).casefold())]
    near = begun[:_SUGGESTED] or difflib.get_close_matches(str(name), words, n=_SUGGESTED)
    return f"did you mean {', '.join(near)}?" if near else f"there are {listed(names) or 'none'}"
