"""The chest that comes with the package."""

from __future__ import annotations

from pathlib import Path

from drrproj.io.labels import read_labels
from drrproj.io.volumes import read_volume
from drrproj.label_volume import LabelVolume
from drrproj.volume import Volume

__all__ = ["SAMPLE_ORGANS", "read_sample"]

SAMPLE_ORGANS = (
    "heart",
    "aorta",
    "trachea",
    "esophagus",
    "liver",
    "stomach",
    "spleen",
    "kidney_left",
    "kidney_right",
    "lung_upper_lobe_left",
    "lung_lower_lobe_left",
    "lung_upper_lobe_right",
    "lung_middle_lobe_right",
    "lung_lower_lobe_right",
    "clavicula_left",
    "clavicula_right",
    "spinal_cord",
)
"""Structures that can be told apart when drawn together: all 88 on one picture cannot."""


def read_sample() -> tuple[Volume, LabelVolume]:
    """Read the bundled chest CT (3 mm, 120 x 120 x 110 voxels) and its 88 labelled structures.

    LIDC-IDRI-0001 from The Cancer Imaging Archive, CC BY 3.0; ``data/chest_3mm/ATTRIBUTION.md`` says whose it is.

    Returns
    -------
    (Volume, LabelVolume)

    Examples
    --------
    >>> from drrproj.io import read_sample
    >>> ct, labels = read_sample()
    >>> ct.unit, ct.shape == labels.shape, labels.names[51]
    ('HU', True, 'heart')
    """
    folder = Path(__file__).parents[1] / "data" / "chest_3mm"
    return read_volume(folder / "ct.nii.gz"), read_labels(folder / "labels.nii.gz")
