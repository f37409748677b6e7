"""Directions in patient words: the letters on a picture's edges, and "from posterior to anterior"."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

__all__ = ["DICOM_AXES", "STRAIGHT", "dicom_letters", "letters", "words"]

DICOM_AXES: dict[str, tuple[int, int, int]] = {
    "R": (1, 0, 0),
    "L": (-1, 0, 0),
    "A": (0, 1, 0),
    "P": (0, -1, 0),
    "H": (0, 0, 1),
    "F": (0, 0, -1),
}
"""DICOM's letters and where they point in RAS+."""

STRAIGHT = 1e-3
"""Parts of a direction below this come from rounding."""

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
        Of R, L, A, P, S, I, the largest part first.

    Raises
    ------
    ValueError
        If the direction is zero or not finite.

    Examples
    --------
    >>> from drrproj.directions import letters
    >>> letters((-1, 0, 0)), letters((-1, 0.5, -0.2))
    ('L', 'LAI')
    """
    return "".join(part[0].upper() for part in _parts(direction))


def dicom_letters(direction: npt.ArrayLike) -> str:
    """Write a direction as DICOM's Patient Orientation has it: every part of it, H for superior and F for inferior.

    Parameters
    ----------
    direction : array_like, shape (3,), world axes (RAS+)

    Returns
    -------
    str
        Of R, L, A, P, H, F, the largest part first.

    Raises
    ------
    ValueError
        If the direction is zero or not finite.

    Source
    ------
    DICOM PS3.3 C.7.6.1.1.1, Patient Orientation.

    Examples
    --------
    >>> from drrproj.directions import dicom_letters
    >>> dicom_letters((0, 0, -2)), dicom_letters((-1, 0.5, 0.01))
    ('F', 'LAH')
    """
    abbreviated = "".join(part[0].upper() for part in _parts(direction, STRAIGHT))
    return abbreviated.replace("S", "H").replace("I", "F")


def _parts(direction: npt.ArrayLike, smallest: float = _SMALL) -> Iterator[str]:
    vector = np.asarray(direction, dtype=np.float64)
    length = float(np.linalg.norm(vector))
    if not (np.isfinite(length) and length > 0):
        raise ValueError(f"a direction must be finite and not zero; got {vector.tolist()}")
    shares = vector / length
    for axis in np.argsort(-np.abs(shares), kind="stable"):
        if abs(shares[axis]) >= smallest:
            positive, negative = _WORDS[axis]
            yield positive if shares[axis] > 0 else negative
