"""Matrices from one frame to another, checked once for all that take one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["checked_affine"]

# Thin voxels are common (10:1 and more); a determinant this small against its own columns is a lost axis.
_SINGULAR = 1e-6


def checked_affine(matrix: npt.ArrayLike, what: str) -> npt.NDArray[np.float64]:
    """Return an affine matrix (4, 4) as float64, or say what is wrong with it.

    Parameters
    ----------
    matrix : array_like, shape (4, 4)
        From one frame to another.
    what : str
        What to call it; the sentence begins with it.

    Raises
    ------
    ValueError
        If it is not 4x4, finite and invertible with last row 0 0 0 1.

    Examples
    --------
    >>> import numpy as np
    >>> from drrproj.affines import checked_affine
    >>> checked_affine(np.eye(3), "the affine")
    Traceback (most recent call last):
    ValueError: the affine must be 4x4; got shape (3, 3)
    """
    try:
        given = np.asarray(matrix)
        affine = given.astype(np.float64, casting="same_kind" if given.dtype.kind in "iuf" else "no")
    except (TypeError, ValueError):
        raise ValueError(f"{what} must be a 4x4 matrix of numbers; got {matrix!r}") from None
    if affine.shape != (4, 4):
        raise ValueError(f"{what} must be 4x4; got shape {affine.shape}")
    if not np.isfinite(affine).all():
        raise ValueError(f"{what} has entries that are not finite: {affine.tolist()}")
    if not np.array_equal(affine[3], (0.0, 0.0, 0.0, 1.0)):
        raise ValueError(f"the last row of {what} must be 0 0 0 1; got {affine[3].tolist()}")
    linear = affine[:3, :3]
    lengths = np.linalg.norm(linear, axis=0)
    if not lengths.all() or abs(np.linalg.det(linear / lengths)) < _SINGULAR:
        raise ValueError(f"{what} is singular: its first three columns do not span space: {linear.T.tolist()}")
    return affine
