"""Exact X-ray projections of CT volumes and their anatomy.

One walk through the volume gives the line integral of every ray and its path length in every label::

    ct = drrproj.read_volume("ct.nii.gz")
    labels = drrproj.read_labels("labels.nii.gz")
    view = drrproj.Geometry.radiograph("PA", ct)
    shot = drrproj.project(ct, view, labels=labels)
    drrproj.write_png("pa.png", shot)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from drrproj import attenuation, materials
from drrproj.attenuation import Attenuation
from drrproj.backends import BackendUnavailable
from drrproj.geometry import Geometry
from drrproj.project import Projector, project
from drrproj.radiograph import Radiograph
from drrproj.version import __version__
from drrproj.volume import LabelVolume, Volume

if TYPE_CHECKING:
    from drrproj import interchange as interchange
    from drrproj import io as io
    from drrproj import paxray, physics, tissue
    from drrproj.display import Display, Picture
    from drrproj.io import (
        coco_rle,
        label_color,
        read_geometry,
        read_labels,
        read_landmarks,
        read_npz,
        read_volume,
        write_coco,
        write_dicom,
        write_dicom_seg,
        write_mask_pngs,
        write_nifti,
        write_npz,
        write_overlay,
        write_picture,
        write_png,
        write_projected_landmarks,
        write_scene,
        write_sidecar,
        write_structure_table,
    )

_IO_NAMES = frozenset(
    {
        "read_geometry",
        "coco_rle",
        "label_color",
        "read_labels",
        "read_landmarks",
        "read_npz",
        "read_volume",
        "write_dicom",
        "write_dicom_seg",
        "write_coco",
        "write_mask_pngs",
        "write_nifti",
        "write_npz",
        "write_overlay",
        "write_picture",
        "write_png",
        "write_projected_landmarks",
        "write_scene",
        "write_sidecar",
        "write_structure_table",
    }
)

_ROOMS = frozenset({"interchange", "io", "paxray", "physics", "tissue"})

__all__ = [
    "Attenuation",
    "BackendUnavailable",
    "Display",
    "Geometry",
    "LabelVolume",
    "Picture",
    "Projector",
    "Radiograph",
    "Volume",
    "__version__",
    "attenuation",
    "coco_rle",
    "label_color",
    "materials",
    "paxray",
    "physics",
    "project",
    "read_geometry",
    "read_labels",
    "read_landmarks",
    "read_npz",
    "read_volume",
    "tissue",
    "write_coco",
    "write_dicom",
    "write_dicom_seg",
    "write_mask_pngs",
    "write_nifti",
    "write_npz",
    "write_overlay",
    "write_picture",
    "write_png",
    "write_projected_landmarks",
    "write_scene",
    "write_sidecar",
    "write_structure_table",
]


def __getattr__(name: str) -> Any:
    # Files and pictures are for those who have them: a pipeline with arrays never pays for importing them.
    if name in _IO_NAMES:
        return getattr(importlib.import_module("drrproj.io"), name)
    if name in ("Display", "Picture"):
        return getattr(importlib.import_module("drrproj.display"), name)
    if name in _ROOMS:
        return importlib.import_module(f"drrproj.{name}")
    raise AttributeError(f"module 'drrproj' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
