"""DICOM positioner angles: how a C-arm is turned, as directions of its beam and picture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["positioner_angles", "positioner_axes"]

Float64Array = npt.NDArray[np.float64]


def positioner_axes(
    primary: npt.ArrayLike, secondary: npt.ArrayLike
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Return which way a C-arm's beam, its picture's upper edge and its right edge point, at DICOM positioner angles.

    Parameters
    ----------
    primary, secondary : array_like, shape (views,) or (), degrees
        Towards the patient's left (LAO) and towards the head (cranial) are positive.

    Returns
    -------
    beam, up, right : ndarray, shape (views, 3) or (3,)
        Unit vectors in RAS+.

    Source
    ------
    DICOM PS3.3 C.8.7.5, Positioner Primary Angle and Positioner Secondary Angle.

    Examples
    --------
    >>> from drrproj.positioner import positioner_axes
    >>> [axis.round().astype(int).tolist() for axis in positioner_axes(90, 0)]
    [[-1, 0, 0], [0, 0, 1], [0, -1, 0]]
    """
    p, s = np.radians(primary), np.radians(secondary)
    beam = np.array([-np.cos(s) * np.sin(p), np.cos(s) * np.cos(p), np.sin(s)]).T
    up = np.array([np.sin(s) * np.sin(p), -np.sin(s) * np.cos(p), np.cos(s)]).T
    right = np.array([-np.cos(p), -np.sin(p), np.zeros_like(p)]).T
    return beam, up, right


def positioner_angles(beam: npt.ArrayLike) -> tuple[float, float]:
    """Return the DICOM positioner angles of a beam: the inverse of :func:`positioner_axes`.

    Parameters
    ----------
    beam : array_like, shape (3,)
        Unit vector in RAS+, towards the detector.

    Returns
    -------
    primary, secondary : float, degrees

    Examples
    --------
    >>> from drrproj.positioner import positioner_angles
    >>> positioner_angles((-1, 0, 0))
    (90.0, 0.0)
    """
    x, y, z = np.asarray(beam, dtype=np.float64)
    # Subtracted from zero, so that a zero stays one, without a sign that would make 180 degrees of it.
    return float(np.degrees(np.arctan2(0.0 - x, y))), float(np.degrees(np.arcsin(np.clip(z, -1.0, 1.0))))
