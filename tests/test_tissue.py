"""The body without what lies around it, and bones by their HU."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import drrproj
from drrproj import tissue
from drrproj.io import read_sample

pytest.importorskip("scipy.ndimage", reason="the morphology is SciPy's")

MM = np.diag([2.0, 2.0, 3.0, 1.0])


def phantom() -> tuple[np.ndarray, np.ndarray]:
    """A patient with air inside, on a couch that touches at two thin places; and where the patient is."""
    hu = np.full((50, 44, 20), -1000, np.int16)
    inside = np.zeros(hu.shape, bool)
    inside[8:42, 8:30] = True
    hu[inside] = 40
    hu[12:22, 12:24, 3:] = -850  # a lung that ends at the top of the volume
    hu[30:34, 16:20, 8:11] = -900
    hu[4:46, 32:34] = 200
    hu[14:16, 30:32] = hu[33:35, 30:32] = 0
    return hu, inside


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_body_without_a_couch_that_touches(axes):
    """Slices are axial wherever their axis lies in the array."""
    hu, inside = phantom()
    affine = MM[:, [*axes, 3]]
    mask = tissue.body_mask(drrproj.Volume(hu.transpose(axes), affine))
    found = mask.transpose(np.argsort(axes))
    assert not found[:, 32:].any()
    # Of the two bridges, what lies within the opening's reach of the skin may stay.
    np.testing.assert_array_equal(found[:, :30], inside[:, :30])


def test_without_opening_the_couch_hangs_on():
    hu, inside = phantom()
    mask = tissue.body_mask(drrproj.Volume(hu, MM), opening_mm=0)
    assert mask[4:46, 32:34].all()
    assert mask[inside].all()


def test_thin_skin_folds_of_the_body_stay():
    hu, inside = phantom()
    hu[42, 15:17, 5:9] = 40
    inside[42, 15:17, 5:9] = True
    np.testing.assert_array_equal(tissue.body_mask(drrproj.Volume(hu, MM))[:, :30], inside[:, :30])


def test_body_is_a_copy_with_air_around():
    hu, inside = phantom()
    hu[0] = -2048
    ct = drrproj.Volume(hu, MM)
    patient = tissue.body(ct)
    assert patient.array.dtype == np.int16
    np.testing.assert_array_equal(patient.affine, ct.affine)
    np.testing.assert_array_equal(patient.array[inside], hu[inside])
    assert (patient.array[:, 34:] == -1000).all()
    assert (patient.array[0] == -1000).all()
    assert hu[5, 33, 3] == 200  # the original is as it was


def test_labels_are_body_in_any_case():
    hu, _ = phantom()
    ids = np.zeros(hu.shape, np.uint8)
    ids[2:5, 2:5, 2:5] = 7  # an arm apart from the trunk
    hu[2:5, 2:5, 2:5] = 30
    ct = drrproj.Volume(hu, MM)
    assert not tissue.body_mask(ct)[ids > 0].any()
    assert tissue.body_mask(ct, labels=drrproj.LabelVolume(ids, MM))[ids > 0].all()
    # What was not selected is background, and neither is a voxel of several structures of which one was.
    ids[3, 3, 3], ids[40, 40, 10] = 9, 8
    hu[40, 40, 10] = -1000
    labels = drrproj.LabelVolume(ids, MM, {7: "arm", 6: "hand", 8: "clothes"}, overlaps={9: (6, 8)})
    mask = tissue.body_mask(ct, labels=labels.subset(["arm", "hand"]))
    assert mask[(ids == 7) | (ids == 9)].all()
    assert not mask[40, 40, 10]
    for other in (drrproj.LabelVolume(ids, np.eye(4)), drrproj.LabelVolume(ids[1:], MM)):
        with pytest.raises(ValueError, match="must be on the CT's own grid"):
            tissue.body_mask(ct, labels=other)


def test_parts_of_a_ct_stay_in_its_patient_space():
    ct = drrproj.Volume(phantom()[0], MM, frame_of_reference="1.2.3")
    assert tissue.body(ct).frame_of_reference == tissue.bones(ct).frame_of_reference == "1.2.3"


def test_a_real_chest_loses_its_couch_and_no_structure():
    ct, labels = read_sample()
    mask = tissue.body_mask(ct)
    assert mask[labels.array > 0].all()
    # The couch is the plate behind the back, at index 13 of the axis to anterior.
    couch = ct.array[40:90, 13] > -300
    assert couch.mean() > 0.5
    assert not mask[40:90, 13][couch].any()


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1)])
def test_closing_fills_gaps_within_axial_slices_alone(axes):
    hu = np.full((20, 18, 16), -1000, np.int16)
    hu[5:9, 5:9, 5] = hu[11:13, 5:9, 5] = 700  # two voxels apart
    hu[5:9, 5:9, 8] = 700
    hu[0:3, 0, 10] = 700  # at the edge of the volume
    volume = drrproj.Volume(hu.transpose(axes), np.eye(4)[:, [*axes, 3]])
    plain = tissue.bone_mask(volume).transpose(np.argsort(axes))
    closed = tissue.bone_mask(volume, closing=5).transpose(np.argsort(axes))
    np.testing.assert_array_equal(plain, hu == 700)
    assert closed[plain].all()
    assert closed[5:13, 5:9, 5].all()
    assert closed.sum() == plain.sum() + 2 * 4


def test_bones_keep_their_window_and_what_is_outside_is_chosen():
    ct = drrproj.Volume(np.array([[[-2048, 199.9, 200, 3000, 3001, np.nan]]]), np.eye(4))
    bones = tissue.bones(ct, window=(200, 3000), outside_hu=0)
    assert bones.array.tolist() == [[[0, 0, 200, 3000, 0, 0]]]
    assert tissue.bones(ct, outside_hu=-999.5).array[0, 0, 0] == -999.5
    whole = drrproj.Volume(np.array([[[-2048, 500]]], np.int16), np.eye(4))
    assert tissue.bones(whole, outside_hu=-999.0).array.tolist() == [[[-999, 500]]]


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda ct: tissue.bones(ct, window=(500, 400)), r"two HU values, low and high; got \(500, 400\)"),
        (lambda ct: tissue.bone_mask(ct, window=(1, 2, 3)), "two HU values"),
        (lambda ct: tissue.bone_mask(ct, window=5), "two HU values, low and high; got 5"),
        (lambda ct: tissue.bone_mask(ct, window=("400", "900")), r"two HU values.*got \('400', '900'\), which is text"),
        (lambda ct: tissue.bone_mask(ct, window=(np.nan, 900)), "two HU values"),
        (lambda ct: tissue.bones(ct, outside_hu="-1000"), "outside_hu must be one number, in HU; got '-1000', which"),
        (lambda ct: tissue.bones(ct, outside_hu=[-1000, 0]), "outside_hu must be one number, in HU; got"),
        (lambda ct: tissue.body_mask(ct, threshold_hu=None), "threshold_hu must be one number, in HU; got None"),
        (
            lambda ct: tissue.body_mask(ct, threshold_hu="3"),
            "threshold_hu must be one number, in HU; got '3', which is",
        ),
        (lambda ct: tissue.body_mask(ct, threshold_hu=np.nan), "threshold_hu must be one number, in HU; got nan"),
        (lambda ct: tissue.bone_mask(ct, closing=2), "odd number of voxels, or 0; got 2"),
        (lambda ct: tissue.bone_mask(ct, closing=-3), "odd number of voxels, or 0; got -3"),
        (lambda ct: tissue.bone_mask(ct, closing=3.0), "odd number of voxels, or 0; got 3.0"),
        (lambda ct: tissue.bone_mask(ct, closing="3"), "odd number of voxels, or 0; got '3'"),
        (
            lambda ct: tissue.bones(ct, outside_hu=-999.9),
            r"int16 cannot hold the fraction of -999\.9 HU; choose a whole",
        ),
        (lambda ct: tissue.bones(ct, outside_hu=np.nan), "int16 cannot hold nan HU"),
        (lambda ct: tissue.body_mask(ct, opening_mm="5"), "opening_mm must be 0 or a positive width; got '5'"),
        (lambda ct: tissue.body_mask(ct, opening_mm=None), "opening_mm must be 0 or a positive width; got None"),
        (lambda ct: tissue.body_mask(ct, threshold_hu=5000), "no voxel is denser than 5000 HU"),
        (lambda ct: tissue.body_mask(ct, opening_mm=500), "no piece of the patient is thicker than 500 mm"),
        (lambda ct: tissue.body_mask(ct, opening_mm=-1), "opening_mm must be 0 or a positive width"),
        (lambda ct: tissue.bones(drrproj.Volume(ct.array.astype(np.uint16), MM)), "uint16 cannot hold -1000 HU"),
        (lambda ct: tissue.body_mask(drrproj.Volume(np.ones((3, 3, 3)), MM, "1/mm")), "told apart by HU"),
        (lambda ct: tissue.bones(drrproj.Volume(np.ones((3, 3, 3)), MM, "1/mm")), "told apart by HU"),
    ],
)
def test_refusals(call, complaint):
    with pytest.raises(ValueError, match=complaint):
        call(drrproj.Volume(phantom()[0], MM))


@pytest.mark.parametrize("make", [tissue.body, tissue.body_mask, tissue.bones, tissue.bone_mask])
def test_labels_are_no_ct(make):
    with pytest.raises(TypeError, match=r"volume must be a drrproj\.Volume; got LabelVolume"):
        make(drrproj.LabelVolume(np.ones((3, 3, 3), np.uint8), MM))


def test_without_scipy_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.ndimage", None)
    with pytest.raises(ModuleNotFoundError, match='scipy is not installed: pip install scipy, or the extra "render"'):
        tissue.body_mask(drrproj.Volume(phantom()[0], MM))
