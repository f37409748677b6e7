"""Files in and out: one module per format family, the only importers of nibabel, pydicom, pynrrd and pycocotools."""

from __future__ import annotations

from drrproj.io.coco import coco_rle, write_coco
from drrproj.io.dicom_dx import write_dicom
from drrproj.io.dicom_masks import write_dicom_seg
from drrproj.io.geometries import read_geometry
from drrproj.io.label_colors import label_color
from drrproj.io.labels import read_labels
from drrproj.io.landmarks import Landmarks, read_landmarks, write_projected_landmarks
from drrproj.io.mask_pngs import write_mask_pngs
from drrproj.io.nifti import is_rescaled, write_nifti
from drrproj.io.npz import read_npz, write_npz
from drrproj.io.png import write_overlay, write_picture, write_png
from drrproj.io.sample import SAMPLE_ORGANS, read_sample
from drrproj.io.scene import write_scene
from drrproj.io.sidecar import write_sidecar
from drrproj.io.structure_table import write_structure_table
from drrproj.io.volumes import read_volume

__all__ = [
    "SAMPLE_ORGANS",
    "Landmarks",
    "coco_rle",
    "is_rescaled",
    "label_color",
    "read_geometry",
    "read_labels",
    "read_landmarks",
    "read_npz",
    "read_sample",
    "read_volume",
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
