"""Small segmented CTs on disk, in the layouts that datasets come in, and what is built of them."""

from __future__ import annotations

import nibabel
import numpy as np

from drrproj.dataset.one_case import Recipe
from drrproj.dataset.poses import Poses
from drrproj.dataset.quality import QualityLimits

# The small cases have no ribs; what the rules say of real ones is tested where the rules are.
SMALL = Recipe(Poses(shape=(48, 40)), quality=QualityLimits(drop=()), taxonomy=None)

NAMES = {1: "lung", 2: "heart", 3: "spine"}


def small_case(number, size=20):
    """A block of soft tissue with three structures, different for every number."""
    rng = np.random.default_rng(number)
    hu = rng.integers(-100, 100, (size, size, size)).astype(np.int16)
    labels = np.zeros(hu.shape, np.uint8)
    for label_id, density in ((1, -800), (2, 50), (3, 700)):
        low = rng.integers(1, size // 2, 3)
        inside = tuple(slice(start, start + size // 3) for start in low)
        hu[inside], labels[inside] = density, label_id
    return hu, labels, np.diag([4.0, 4.0, 4.0, 1.0])


def save(path, array, affine):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)


def write_subjects(folder, numbers):
    """TotalSegmentator's layout: ``s0001/ct.nii.gz`` and one mask per structure."""
    for number in numbers:
        hu, labels, affine = small_case(number)
        subject = folder / f"s{number:04}"
        save(subject / "ct.nii.gz", hu, affine)
        for label_id, name in NAMES.items():
            save(subject / "segmentations" / f"{name}.nii.gz", (labels == label_id).astype(np.uint8), affine)
    return folder


def content_of(folder):
    """Every file of a dataset but its log, which tells the time, by name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "log.jsonl"
    }
