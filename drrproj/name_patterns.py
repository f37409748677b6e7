"""Patterns for names of structures, as shells have them: ``rib_*`` for all ribs."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

__all__ = ["matching"]


def matching(pattern: str, names: Iterable[str]) -> list[str]:
    """Return the names that a pattern of ``*``, ``?`` and ``[...]`` matches; none where it has no such sign.

    Examples
    --------
    >>> from drrproj.name_patterns import matching
    >>> matching("rib_*", ["rib_left_1", "heart", "rib_left_2"]), matching("heart", ["heart"])
    (['rib_left_1', 'rib_left_2'], [])
    """
    if not any(sign in pattern for sign in "*?["):
        return []
    return [name for name in names if fnmatch.fnmatchcase(name, pattern)]
