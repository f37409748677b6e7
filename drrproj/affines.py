"""Matrices from one frame to another, checked once for all that take one."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

__all__ = ["checked_affine", "is_same_grid", "voxels_apart"]

Matrix = npt.NDArray[np.float64]

# Thin voxels are common (10:1 and more); a determinant this small against its own columns is a lost axis.
_SINGULAR = 1e-6
# Voxels; headers round directions to six digits, which a few hundred voxels on is less than this.
_SAME_GRID = 0.01


def checked_affine(matrix: npt.ArrayLike, what: str) -> Matrix:
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


def voxels_apart(affine: Matrix, other: Matrix, shape: tuple[int, ...]) -> float:
    """How far a voxel of one grid lies at most from the same voxel of another of that shape, in voxels of the other.

    Examples
    --------
    >>> import numpy as np
    >>> from drrproj.affines import voxels_apart
    >>> wider, grid = np.diag([0.701, 0.7, 1.0, 1.0]), np.diag([0.7, 0.7, 1.0, 1.0])
    >>> round(voxels_apart(wider, grid, (512, 512, 400)), 2)
    0.73
    """
    moved = np.linalg.inv(other) @ affine - np.eye(4)
    corners = np.array([*itertools.product(*((0, size - 1) for size in shape))])
    return float(np.abs(corners @ moved[:3, :3].T + moved[:3, 3]).max())


def is_same_grid(affine: Matrix, shape: tuple[int, ...], other: Matrix, other_shape: tuple[int, ...]) -> bool:
    """Tell whether two grids have the same voxels, but for the rounding of headers."""
    return shape == other_shape and voxels_apart(affine, other, shape) <= _SAME_GRID
