"""Fixed points of the Hounsfield scale."""

from __future__ import annotations

__all__ = ["AIR_HU", "PADDING_HU"]

AIR_HU = -1000.0
"""Air, by the definition of the scale."""

PADDING_HU = -1024.0
"""HU below this cannot come from a 12-bit scanner scale: such voxels are padding outside the field of view."""
