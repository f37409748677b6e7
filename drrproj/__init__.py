"""Exact X-ray projections of CT volumes and their anatomy.

One walk through the volume gives the line integral of every ray and its path length in every label::

    ct = drrproj.read_volume("ct.nii.gz")
    labels = drrproj.read_labels("labels.nii.gz")
    view = drrproj.Geometry.radiograph("PA", ct)
    shot = drrproj.project(ct, view, labels=labels)
    drrproj.write_png("pa.png", shot)
"""

# The names of readers and writers stand in __all__ alone.
# ruff: noqa: F405

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from drrproj import attenuation, materials
from drrproj.attenuation import Attenuation
from drrproj.backends import BackendUnavailable
from drrproj.geometry import Geometry
from drrproj.label_volume import LabelVolume
from drrproj.project import Projector, project
from drrproj.radiograph import Radiograph
from drrproj.version import __version__
from drrproj.volume import Volume

if TYPE_CHECKING:
    from drrproj import backends, dataset, interchange, io, paxray, physics, tissue
    from drrproj.display import Display, Picture
    from drrproj.io import *  # noqa: F403

_ROOMS = frozenset({"backends", "dataset", "interchange", "io", "paxray", "physics", "tissue"})

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
    "backends",
    "coco_rle",
    "dataset",
    "interchange",
    "io",
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
    if name in _ROOMS:
        return importlib.import_module(f"drrproj.{name}")
    if name in ("Display", "Picture"):
        return getattr(importlib.import_module("drrproj.display"), name)
    if name in __all__:
        return getattr(importlib.import_module("drrproj.io"), name)
    raise AttributeError(f"module 'drrproj' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
