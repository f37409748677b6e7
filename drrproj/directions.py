"""Directions in patient words: the letters on a picture's edges, and "from posterior to anterior"."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

__all__ = ["letters", "words"]

_WORDS = (("right", "left"), ("anterior", "posterior"), ("superior", "inferior"))
_SMALL = 0.1
"""Shares of a unit vector below this are left out: 0.1 is six degrees."""


def words(direction: npt.ArrayLike) -> str:
    """Say where a direction points to, the largest part first.

    Parameters
    ----------
    direction : array_like, shape (3,), world axes (RAS+)
        Its length does not matter. Parts of less than a tenth of it, six degrees, are left out.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If the direction is zero or not finite.

    Examples
    --------
    >>> from drrproj.directions import words
    >>> words((0, 5, 0)), words((-1, 2, 0.01))
    ('anterior', 'anterior left')
    """
    return " ".join(_parts(direction))


def letters(direction: npt.ArrayLike) -> str:
    """Abbreviate where a direction points to, as marks on a picture's edges do.

    Parameters
    ----------
    direction : array_like, shape (3,), world axes (RAS+)

    Returns
    -------
    str
        Of R, L, A, P, S, I, the largest part first. DICOM's letters are the same but for H (head) and F (feet) in
        place of S and I.

    Raises
    ------
    ValueError
        If the direction is zero or not finite.

    Source
    ------
    DICOM PS3.3 C.7.6.1.1.1, Patient Orientation.

    Examples
    --------
    >>> from drrproj.directions import letters
    >>> letters((-1, 0, 0)), letters((-1, 0.5, -0.2))
    ('L', 'LAI')
    """
    return "".join(part[0].upper() for part in _parts(direction))


def _parts(direction: npt.ArrayLike) -> Iterator[str]:
    vector = np.asarray(direction, dtype=np.float64)
    length = float(np.linalg.norm(vector))
    if not (np.isfinite(length) and length > 0):
        raise ValueError(f"a direction must be finite and not zero; got {vector.tolist()}")
    shares = vector / length
    for axis in np.argsort(-np.abs(shares), kind="stable"):
        if abs(shares[axis]) >= _SMALL:
            positive, negative = _WORDS[axis]
            yield positive if shares[axis] > 0 else negative
