"""Two grids are one where their farthest voxels are: a small difference in voxel size adds up."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

import drrproj
from drrproj import physics, tissue
from drrproj.affines import is_same_grid
from drrproj.dataset.measured_case import measured_case

SHAPE = (512, 3, 3)
GRID = np.diag([0.7, 0.7, 0.7, 1.0])
WIDER = np.diag([0.701, 0.7, 0.7, 1.0])  # 0.73 voxels apart at the end
ROUNDED = np.diag([0.7 + 1e-6, 0.7, 0.7, 1.0])  # as a header with six digits has it


def ct():
    hu = np.full(SHAPE, 40, np.int16)
    hu[-1] = 1000
    return drrproj.Volume(hu, GRID)


def labels(affine):
    ids = np.zeros(SHAPE, np.uint8)
    ids[-1] = 1
    return drrproj.LabelVolume(ids, affine, {1: "rod"})


def test_grids_are_compared_in_voxels_at_their_far_ends():
    assert is_same_grid(ROUNDED, SHAPE, GRID, SHAPE)
    assert not is_same_grid(WIDER, SHAPE, GRID, SHAPE)
    assert not is_same_grid(GRID, SHAPE, GRID, (512, 3, 4))
    small = np.diag([1e-3, 1e-3, 1e-3, 1.0])
    assert not is_same_grid(small * [1.1, 1, 1, 1], SHAPE, small, SHAPE)
    shifted = small.copy()
    shifted[0, 3] = 5e-4
    assert not is_same_grid(shifted, SHAPE, small, SHAPE)


def test_labels_of_wider_voxels_are_on_another_grid():
    view = drrproj.Geometry.radiograph("AP", ct(), shape=(8, 8))
    assigned = {"assign": {"rod": "titanium"}}
    for affine in (GRID, ROUNDED):
        tissue.body_mask(ct(), opening_mm=0, labels=labels(affine))
        physics.material_paths(ct(), view, labels=labels(affine), **assigned)
    with pytest.raises(ValueError, match="on the CT's own grid"):
        tissue.body_mask(ct(), opening_mm=0, labels=labels(WIDER))
    with pytest.raises(ValueError, match=r"up to 0\.73 voxels apart"):
        physics.material_paths(ct(), view, labels=labels(WIDER), **assigned)


def test_hu_of_labels_of_wider_voxels_are_read_where_they_lie():
    assert set(measured_case(ct(), labels(GRID), 3000).samples["rod"]) == {1000}
    ids = np.zeros(SHAPE, np.uint8)
    ids[-2] = 1
    beside = drrproj.LabelVolume(ids, WIDER, {1: "rod"})  # 0.73 voxels on: the voxel with 1000 HU
    assert set(measured_case(ct(), beside, 3000).samples["rod"]) == {1000}


def test_masks_of_wider_voxels_do_not_share_a_folder(tmp_path):
    for name, affine in (("heart", GRID), ("liver", WIDER)):
        mask = np.zeros(SHAPE, np.uint8)
        mask[5] = 1
        nibabel.save(nibabel.Nifti1Image(mask, affine), tmp_path / f"{name}.nii.gz")
    with pytest.raises(ValueError, match="lie on different grids"):
        drrproj.read_labels(tmp_path)
