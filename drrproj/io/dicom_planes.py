"""The plane of a DICOM image, of a slice or of a frame: its two directions and its pixel spacing, checked."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.io.dicom_files import tag_text
from drrproj.short_text import shown

__all__ = ["check_plane", "is_alike"]

_SAME_DIRECTION = 1e-4


def check_plane(orientation: npt.NDArray[np.float64], spacing: npt.NDArray[np.float64]) -> None:
    """Refuse directions and a spacing that span no grid of pixels.

    Parameters
    ----------
    orientation : ndarray, shape (2, 3)
        Image Orientation (Patient).
    spacing : ndarray, shape (2,), mm
        Pixel Spacing.

    Raises
    ------
    ValueError
        If the directions are not perpendicular unit vectors, or the spacing is not positive.
    """
    if not np.allclose(orientation @ orientation.T, np.eye(2), atol=1e-3):
        raise ValueError(
            f"the directions in its {tag_text('ImageOrientationPatient')} are not perpendicular unit vectors: "
            f"{orientation.tolist()}"
        )
    if not (spacing > 0).all():
        raise ValueError(f"its {tag_text('PixelSpacing')} must be positive mm; got {shown(spacing.tolist())}")


def is_alike(value: Any, other: Any) -> bool:
    """Tell whether directions or spacings of two images are those of one volume: files write them rounded."""
    return np.allclose(value, other, rtol=_SAME_DIRECTION, atol=_SAME_DIRECTION)
