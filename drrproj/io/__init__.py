"""Files in and out: one module per format family, and the only importers of nibabel and Pillow."""

from __future__ import annotations

from drrproj.io.labels import read_labels
from drrproj.io.nifti import is_rescaled, read_volume, write_nifti
from drrproj.io.npz import read_npz, write_npz
from drrproj.io.png import write_overlay, write_picture, write_png
from drrproj.io.sample import SAMPLE_ORGANS, read_sample
from drrproj.io.sidecar import write_sidecar

__all__ = [
    "SAMPLE_ORGANS",
    "is_rescaled",
    "read_labels",
    "read_npz",
    "read_sample",
    "read_volume",
    "write_nifti",
    "write_npz",
    "write_overlay",
    "write_picture",
    "write_png",
    "write_sidecar",
]
