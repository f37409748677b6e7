"""Rotations by angles about axes, and the angles of a rotation: three peers order them Z, X, Y and one Z, Y, Z."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["rotation_from_angles", "zxy_from_rotation", "zyz_from_rotation"]

Float64Array = npt.NDArray[np.float64]

# Below this cosine or sine of the middle angle the outer two turn about the same axis: only their sum is known.
_GIMBAL = 1e-9


def _about(axis: str, angles: Float64Array) -> Float64Array:
    first, second = {"X": (1, 2), "Y": (2, 0), "Z": (0, 1)}[axis]
    turns = np.zeros((*angles.shape, 3, 3))
    turns[..., :, :] = np.eye(3)
    turns[..., first, first] = turns[..., second, second] = np.cos(angles)
    turns[..., second, first] = np.sin(angles)
    turns[..., first, second] = -np.sin(angles)
    return turns


def rotation_from_angles(axes: str, angles: npt.ArrayLike) -> Float64Array:
    """Multiply the rotations about the axes, the first one leftmost: ``"ZXY"`` is ``Rz(a) @ Rx(b) @ Ry(c)``.

    Parameters
    ----------
    axes : str
        Any of X, Y and Z, one per angle.
    angles : array_like, shape (..., len(axes)), radians
        Counter-clockwise is positive, looking against the axis.

    Returns
    -------
    ndarray, shape (..., 3, 3)

    Examples
    --------
    >>> import numpy as np
    >>> rotation_from_angles("ZX", [np.pi / 2, 0]).round().astype(int).tolist()
    [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    """
    each = np.moveaxis(np.asarray(angles, dtype=np.float64), -1, 0)
    turn = np.eye(3)
    for axis, angle in zip(axes, each, strict=True):
        turn = turn @ _about(axis, angle)
    return turn


def zxy_from_rotation(rotation: Float64Array) -> tuple[float, float, float]:
    """Angles in radians whose ``Rz @ Rx @ Ry`` is this (3, 3) rotation; at the pole the third one is 0.

    Examples
    --------
    >>> import numpy as np
    >>> np.round(zxy_from_rotation(rotation_from_angles("ZXY", [0.1, 0.2, 0.3])), 6).tolist()
    [0.1, 0.2, 0.3]
    """
    cosine = np.hypot(rotation[2, 0], rotation[2, 2])
    middle = float(np.arctan2(rotation[2, 1], cosine))
    if cosine < _GIMBAL:
        return float(np.arctan2(rotation[1, 0], rotation[0, 0])), middle, 0.0
    return (
        float(np.arctan2(-rotation[0, 1], rotation[1, 1])),
        middle,
        float(np.arctan2(-rotation[2, 0], rotation[2, 2])),
    )


def zyz_from_rotation(rotation: Float64Array) -> tuple[float, float, float]:
    """Angles in radians whose ``Rz @ Ry @ Rz`` is this (3, 3) rotation; at a pole the third one is 0.

    Examples
    --------
    >>> import numpy as np
    >>> np.round(zyz_from_rotation(rotation_from_angles("ZYZ", [0.1, 0.2, 0.3])), 6).tolist()
    [0.1, 0.2, 0.3]
    """
    sine = np.hypot(rotation[0, 2], rotation[1, 2])
    middle = float(np.arctan2(sine, rotation[2, 2]))
    if sine < _GIMBAL:
        sign = np.sign(rotation[2, 2])
        return float(np.arctan2(sign * rotation[1, 0], sign * rotation[0, 0])), middle, 0.0
    return (
        float(np.arctan2(rotation[1, 2], rotation[0, 2])),
        middle,
        float(np.arctan2(rotation[2, 1], -rotation[2, 0])),
    )
