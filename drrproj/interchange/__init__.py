"""Geometry of other programs: their words into a :class:`drrproj.Geometry`, and back where they can hold it.

No peer is imported here. ``geometry_from_<peer>`` takes what the peer takes, under the peer's names;
``<peer>_from_geometry`` gives it. Images agree index for index: row and column of our ``line_integral`` are those of
the peer's array, upside down or mirrored where the peer's are. Each function tells where half pixels, axes and signs
differ, and how it was checked. A geometry that the peer cannot hold is refused, with the reason.
"""

from __future__ import annotations

from drrproj.interchange.astra import astra_from_geometry, geometry_from_astra
from drrproj.interchange.deepdrr import (
    deepdrr_from_geometry,
    deepdrr_projections_from_geometry,
    geometry_from_deepdrr,
    geometry_from_deepdrr_projections,
)
from drrproj.interchange.diffdrr import diffdrr_from_geometry, geometry_from_diffdrr
from drrproj.interchange.nanodrr import geometry_from_nanodrr, nanodrr_from_geometry
from drrproj.interchange.pinhole import opencv_from_geometry, projection_matrices_from_geometry
from drrproj.interchange.plastimatch import (
    geometry_from_plastimatch,
    plastimatch_arguments,
    plastimatch_from_geometry,
)
from drrproj.interchange.rtk import geometry_from_rtk, rtk_from_geometry
from drrproj.interchange.tigre import geometry_from_tigre, tigre_from_geometry

__all__ = [
    "astra_from_geometry",
    "deepdrr_from_geometry",
    "deepdrr_projections_from_geometry",
    "diffdrr_from_geometry",
    "geometry_from_astra",
    "geometry_from_deepdrr",
    "geometry_from_deepdrr_projections",
    "geometry_from_diffdrr",
    "geometry_from_nanodrr",
    "geometry_from_plastimatch",
    "geometry_from_rtk",
    "geometry_from_tigre",
    "nanodrr_from_geometry",
    "opencv_from_geometry",
    "plastimatch_arguments",
    "plastimatch_from_geometry",
    "projection_matrices_from_geometry",
    "rtk_from_geometry",
    "tigre_from_geometry",
]
