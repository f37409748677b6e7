"""Files in and out: one module per format family, and the only importers of nibabel, pycocotools and Pillow."""

from __future__ import annotations

from drrproj.io.coco import coco_rle, write_coco
from drrproj.io.label_colors import label_color
from drrproj.io.labels import read_labels
from drrproj.io.mask_pngs import write_mask_pngs
from drrproj.io.nifti import read_volume, write_nifti
from drrproj.io.npz import read_npz, write_npz
from drrproj.io.png import write_overlay, write_png
from drrproj.io.sample import SAMPLE_ORGANS, read_sample
from drrproj.io.sidecar import write_sidecar
from drrproj.io.structure_table import write_structure_table

__all__ = [
    "SAMPLE_ORGANS",
    "coco_rle",
    "label_color",
    "read_labels",
    "read_npz",
    "read_sample",
    "read_volume",
    "write_coco",
    "write_mask_pngs",
    "write_nifti",
    "write_npz",
    "write_overlay",
    "write_png",
    "write_sidecar",
    "write_structure_table",
]
