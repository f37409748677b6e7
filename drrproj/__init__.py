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

from drrproj import attenuation, materials, paxray, tissue
from drrproj.attenuation import Attenuation
from drrproj.backends import BackendUnavailable
from drrproj.display import Display, Picture
from drrproj.geometry import Geometry
from drrproj.project import Projector, project
from drrproj.radiograph import Radiograph
from drrproj.version import __version__
from drrproj.volume import LabelVolume, Volume

if TYPE_CHECKING:
    from drrproj import physics
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
    # Spectra and detectors are for those who simulate them.
    if name == "physics":
        return importlib.import_module("drrproj.physics")
    # Files are for those who have files: a pipeline with arrays never pays for importing their libraries.
    if name in _IO_NAMES:
        return getattr(importlib.import_module("drrproj.io"), name)
    raise AttributeError(f"module 'drrproj' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
