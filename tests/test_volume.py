"""Volumes and label volumes: what they keep, what they convert, what they refuse."""

from __future__ import annotations

import pickle
import re

import numpy as np
import pytest

from drrproj import LabelVolume, Volume

SHAPE = (4, 5, 6)


@pytest.mark.parametrize("kind", [Volume, LabelVolume])
@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
def test_arrays_are_kept_without_a_copy_whatever_their_strides(kind, dtype):
    array = np.zeros((8, 5, 6), dtype)[::-2].transpose(2, 0, 1)
    kept = kind(array, np.eye(4)).array
    assert kept.dtype == array.dtype
    assert kept.strides == array.strides
    assert kept.__array_interface__["data"] == array.__array_interface__["data"]


@pytest.mark.parametrize(
    ("dtype", "kept"), [("f4", "f4"), ("f8", "f8"), ("f2", "f4"), (">i2", "i2"), (">f4", "f4"), ("bool", "u1")]
)
def test_number_types_without_a_walk_of_their_own_become_one_that_holds_their_values(dtype, kept):
    array = np.arange(120).reshape(SHAPE).astype(dtype)
    volume = Volume(array, np.eye(4))
    assert volume.array.dtype == np.dtype(kept)
    np.testing.assert_array_equal(volume.array, array)


@pytest.mark.parametrize("kind", [Volume, LabelVolume])
@pytest.mark.parametrize(
    ("array", "error", "message"),
    [
        (np.zeros((4, 4), np.int16), ValueError, r"3-D.*\(4, 4\)"),
        (np.zeros((4, 4, 4, 2), np.int16), ValueError, r"3-D.*\(4, 4, 4, 2\)"),
        (np.zeros((4, 0, 4), np.int16), ValueError, r"empty.*\(4, 0, 4\)"),
        (np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")]), TypeError, "colour.*'R', 'G', 'B'"),
        (np.zeros(SHAPE, np.complex64), TypeError, "real numbers.*complex64"),
        (np.full(SHAPE, "x"), TypeError, "real numbers"),
        (np.full(SHAPE, None), TypeError, "real numbers.*object"),
        (np.zeros(SHAPE, "datetime64[s]"), TypeError, "real numbers"),
    ],
    ids=["2-D", "4-D", "empty", "RGB", "complex", "text", "objects", "dates"],
)
def test_arrays_that_are_no_volume_are_refused(kind, array, error, message):
    with pytest.raises(error, match=message):
        kind(array, np.eye(4))


def affine_with(**entries):
    affine = np.eye(4)
    for place, value in entries.items():
        affine[int(place[1]), int(place[2])] = value
    return affine


@pytest.mark.parametrize("kind", [Volume, LabelVolume])
@pytest.mark.parametrize(
    ("affine", "message"),
    [
        (np.eye(3), r"4x4.*\(3, 3\)"),
        (affine_with(a03=np.nan), "not finite"),
        (affine_with(a11=np.inf), "not finite"),
        (affine_with(a22=0), "singular"),
        (affine_with(a11=0), "singular"),
        (affine_with(a01=1, a11=0), "singular"),
        (affine_with(a30=0.5), "last row.*0.5"),
        (affine_with(a33=2), "last row"),
        ("ct.nii.gz", "4x4 matrix of numbers; got 'ct.nii.gz'"),
        (np.eye(4) * 1j, "4x4 matrix of numbers"),
        ([[1, 0], [0]], "4x4 matrix of numbers"),
    ],
    ids=[
        *("3x3", "nan", "infinite", "no z", "no y", "parallel axes", "perspective", "scaled"),
        *("a file", "complex", "ragged"),
    ],
)
def test_affines_that_place_no_voxels_are_refused(kind, affine, message):
    with pytest.raises(ValueError, match=message):
        kind(np.zeros(SHAPE, np.uint8), affine)


def test_very_thin_voxels_are_no_singular_affine():
    assert Volume(np.zeros(SHAPE), np.diag([1e-3, 1e3, 1, 1])).voxel_size.tolist() == [1e-3, 1e3, 1]


@pytest.mark.parametrize("unit", ["hu", "1/cm", "", None])
def test_an_unknown_unit_is_refused(unit):
    with pytest.raises(ValueError, match=r'unit must be "HU" or "1/mm"'):
        Volume(np.zeros(SHAPE), np.eye(4), unit=unit)


@pytest.mark.parametrize("kind", [Volume, LabelVolume])
def test_an_unknown_space_is_refused(kind):
    with pytest.raises(ValueError, match=r"space.*'RAI'"):
        kind(np.zeros(SHAPE, np.uint8), np.eye(4), space="RAI")


@pytest.mark.parametrize("kind", [Volume, LabelVolume])
def test_an_lps_affine_places_the_same_voxels_as_its_ras_twin(kind):
    lps = np.array([[0.5, 0, 0, 10], [0, 0.6, 0.1, 20], [0, 0, 2, 30], [0, 0, 0, 1.0]])
    ras = np.array([[-0.5, 0, 0, -10], [0, -0.6, -0.1, -20], [0, 0, 2, 30], [0, 0, 0, 1.0]])
    array = np.zeros(SHAPE, np.uint8)
    np.testing.assert_array_equal(kind(array, lps, space="LPS").affine, ras)
    np.testing.assert_array_equal(kind(array, ras).affine, ras)


def test_a_volume_does_not_change_when_the_caller_changes_the_affine():
    affine = np.eye(4)
    volume = Volume(np.zeros(SHAPE), affine)
    affine[0, 3] = 99
    assert volume.affine[0, 3] == 0
    with pytest.raises(ValueError, match="read-only"):
        volume.affine[0, 3] = 1


def test_center_and_corners_are_those_of_the_voxel_box():
    volume = Volume(np.zeros(SHAPE), np.array([[2, 0, 0, 1], [0, -3, 0, 0], [0, 0, 0.5, 0], [0, 0, 0, 1.0]]))
    np.testing.assert_allclose(volume.center, (1 + 2 * 1.5, -3 * 2, 0.5 * 2.5))
    np.testing.assert_allclose(volume.corners.min(axis=0), (0, -13.5, -0.25))
    np.testing.assert_allclose(volume.corners.max(axis=0), (8, 1.5, 2.75))
    assert volume.corners.shape == (8, 3)


def test_nan_and_padding_are_counted_apart():
    hu = np.zeros(SHAPE, np.float32)
    hu[0, 0, :4] = np.nan
    hu[1, 1, :3] = -2048
    hu[1, 2, :2] = -3024
    hu[2, 2, 0] = -1024
    assert Volume(hu, np.eye(4)).count_padding() == {"nan": 4, "padding": 5}
    assert Volume(np.asfortranarray(hu)[::-1], np.eye(4)).count_padding() == {"nan": 4, "padding": 5}
    assert Volume(hu, np.eye(4), unit="1/mm").count_padding() == {"nan": 4, "padding": 0}


@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "i8", "f4", "f8"])
def test_labels_saved_as_any_whole_number_have_the_same_ids(dtype):
    array = np.zeros(SHAPE, dtype)
    array[0, 0, 0], array[3, 4, 5], array[1, 2, 3] = 1, 117, 55
    for stored in (array, np.asfortranarray(array), array[::-1, ::-1, ::-1]):
        labels = LabelVolume(stored, np.eye(4))
        assert labels.array.dtype.kind in "iu"
        assert labels.label_ids == (1, 55, 117)


def test_label_ids_are_ascending_without_the_background_and_may_be_sparse():
    rng = np.random.default_rng(1)
    array = rng.choice(np.array([0, 1, 117, 1024, 70000, 2**31 - 1]), SHAPE)
    assert LabelVolume(array, np.eye(4)).label_ids == (1, 117, 1024, 70000, 2**31 - 1)
    assert LabelVolume(np.zeros(SHAPE, np.uint8), np.eye(4)).label_ids == ()
    assert LabelVolume(np.full(SHAPE, 7, np.uint8), np.eye(4)).label_ids == (7,)


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf, 1e12])
def test_labels_that_are_not_whole_numbers_are_refused(value):
    array = np.ones(SHAPE)
    array[1, 2, 3] = value
    with pytest.raises(TypeError, match="labels must be whole numbers"):
        LabelVolume(array, np.eye(4))


@pytest.mark.parametrize("dtype", ["i2", "f4"])
def test_negative_labels_are_refused_with_the_smallest_id(dtype):
    array = np.ones(SHAPE, dtype)
    array[1, 2, 3] = -7
    with pytest.raises(ValueError, match=r"negative.*-7"):
        _ = LabelVolume(array, np.eye(4)).label_ids


@pytest.mark.parametrize(("lowest", "advice"), [(-100, "Map it to 0 or to a free id"), (-1025, "Is this the CT?")])
def test_negative_labels_like_hu_are_asked_whether_they_are_the_ct(lowest, advice):
    with pytest.raises(ValueError, match=re.escape(f"the smallest id is {lowest}. {advice}")):
        _ = LabelVolume(np.full(SHAPE, lowest, np.int16), np.eye(4)).label_ids


def test_labels_without_a_name_are_called_by_their_number():
    labels = LabelVolume(np.ones(SHAPE, np.uint8), np.eye(4), {51: "heart"})
    assert (labels.name_of(51), labels.name_of(1)) == ("heart", "1")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({0: "background"}, "positive.*0"),
        ({-1: "x"}, "positive.*-1"),
        ({1: ""}, "non-empty"),
        ({1: "  "}, "non-empty"),
        ({1: "rib", 2: "rib"}, "1 and 2.*'rib'"),
    ],
)
def test_names_that_do_not_tell_labels_apart_are_refused(names, message):
    with pytest.raises(ValueError, match=message):
        LabelVolume(np.ones(SHAPE, np.uint8), np.eye(4), names)


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (["heart"], TypeError, "mapping of ids to names.*list"),
        ({"heart": 51}, TypeError, "names go by id, {51: 'heart'}; got {'heart': 51}"),
        ({1.7: "heart"}, ValueError, "whole ids; got 1.7"),
    ],
)
def test_names_that_are_no_names_by_id_are_refused(names, error, message):
    with pytest.raises(error, match=message):
        LabelVolume(np.ones(SHAPE, np.uint8), np.eye(4), names)


def test_labels_with_nan_are_asked_whether_they_are_the_ct():
    with pytest.raises(TypeError, match=r"float64 with NaN\. Is this the CT\?"):
        LabelVolume(np.full(SHAPE, np.nan), np.eye(4))


def test_labels_survive_pickling():
    labels = LabelVolume(np.ones((2, 3, 4), np.uint8), np.diag([1.0, 2, 3, 1]), {1: "heart"})
    again = pickle.loads(pickle.dumps(labels))
    assert dict(again.names) == {1: "heart"}
    np.testing.assert_array_equal(again.affine, labels.affine)


def test_masked_arrays_and_ids_beyond_64_bits_are_refused():
    with pytest.raises(TypeError, match="masked array"):
        Volume(np.ma.masked_array(np.zeros((2, 2, 2))), np.eye(4))
    with pytest.raises(ValueError, match="signed 64-bit"):
        _ = LabelVolume(np.full((2, 2, 2), 2**63, np.uint64), np.eye(4)).label_ids
