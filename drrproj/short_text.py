"""Long lists in few words, for the one line that a value prints as."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["counted", "listed"]

_SPELLED_OUT = 8


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
