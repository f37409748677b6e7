"""Warnings that point at the line of whoever called the package."""

from __future__ import annotations

import sys
import warnings

__all__ = ["warn"]


def warn(text: str, category: type[Warning] = UserWarning) -> None:
    """Warn with the place in the caller's own program, however deep in the package this is called.

    Python shows a warning once for each place; of places inside the package everybody would hear it once per process.

    Parameters
    ----------
    text : str
    category : type of Warning

    Examples
    --------
    >>> import warnings
    >>> from drrproj.warned import warn
    >>> with warnings.catch_warnings(record=True) as heard:
    ...     warnings.simplefilter("always")
    ...     warn("the labels look mirrored")
    >>> str(heard[0].message)
    'the labels look mirrored'
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "drrproj":
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)
