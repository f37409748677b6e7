"""Warnings where a CT meets its labels and its views: mirrored labels, a source inside."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import phantoms
import pytest

from drrproj import Geometry, LabelVolume, Projector, Volume, attenuation, project
from drrproj.io import read_sample

FLIPS = [flips for flips in itertools.product((False, True), repeat=3) if any(flips)]
EXCHANGED = ("right and left", "front and back", "head and feet")
CT, LABELS = read_sample()


def turned_over(array, flips):
    return array[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]


@pytest.mark.parametrize("flips", FLIPS)
@pytest.mark.parametrize("codes", ["LAS", "PIR"])
def test_labels_turned_over_in_their_array_are_noticed_and_the_axes_named(flips, codes):
    expected = ", ".join(name for name, flip in zip(EXCHANGED, flips, strict=True) if flip)
    # The sample's axes run L, A, S: a flip along its first axis exchanges right and left, however it is stored.
    array, affine = phantoms.reoriented(turned_over(LABELS.array, flips), LABELS.affine, *stored(codes))
    with pytest.warns(UserWarning, match=f"the labels look mirrored against the CT, {expected} exchanged"):
        Projector(CT, labels=LabelVolume(array, affine))


def stored(codes):
    order = tuple("LAS".index({"R": "L", "P": "A", "I": "S"}.get(code, code)) for code in codes)
    return order, tuple(code not in "LAS" for code in codes)


def test_labels_of_the_other_frame_are_noticed():
    with pytest.warns(UserWarning, match="right and left, front and back exchanged"):
        Projector(CT, labels=LabelVolume(LABELS.array, LABELS.affine, space="LPS"))


def test_each_of_several_label_volumes_is_looked_at():
    mirrored = LabelVolume(LABELS.array[::-1], LABELS.affine)
    with pytest.warns(UserWarning, match="right and left exchanged"):
        Projector(CT, labels=[LABELS, mirrored])
    with pytest.warns(UserWarning, match="right and left exchanged"):
        Projector(CT, labels=mirrored.subset([51]))


def test_a_mirrored_ct_with_right_labels_is_noticed_as_well():
    with pytest.warns(UserWarning, match="look mirrored"):
        Projector(Volume(CT.array[::-1], CT.affine), labels=LABELS)


def test_attenuation_tells_as_hu_do_and_not_a_number_is_air():
    mu = attenuation.linear(70)(CT.array).astype(np.float32)
    mu[mu < 0.0001] = np.nan
    volume = Volume(mu, CT.affine, unit="1/mm")
    Projector(volume, labels=LABELS)
    with pytest.warns(UserWarning, match="look mirrored"):
        Projector(volume, labels=LabelVolume(LABELS.array[::-1], LABELS.affine))


@pytest.mark.parametrize("flips", [(False, False, False), *FLIPS])
def test_labels_in_their_place_are_left_alone_however_both_are_stored(flips):
    array, affine = phantoms.reoriented(LABELS.array, LABELS.affine, (2, 0, 1), flips)
    ct, ct_affine = phantoms.reoriented(CT.array, CT.affine, (1, 0, 2), flips[::-1])
    Projector(Volume(ct, ct_affine), labels=LabelVolume(array, affine))  # warnings are errors in these tests


@pytest.mark.parametrize("seed", range(20))
def test_some_of_the_structures_displaced_in_a_sick_and_noisy_ct_are_left_alone(seed):
    rng = np.random.default_rng([120, seed])
    kept = rng.choice(LABELS.label_ids, rng.integers(1, len(LABELS.label_ids)), replace=False)
    hu = CT.array + rng.normal(0, 80, CT.shape)
    sick = [label_id for label_id, name in LABELS.names.items() if "lung" in name and "left" in name]
    hu[np.isin(LABELS.array, sick) & (np.arange(CT.shape[1]) < 55)[:, None]] = 10  # an effusion
    affine = LABELS.affine.copy()
    affine[:3, 3] += rng.normal(0, 8, 3)
    labels = LabelVolume(np.where(np.isin(LABELS.array, kept), LABELS.array, 0), affine)
    Projector(Volume(hu, CT.affine), labels=labels)


def test_a_lesion_whose_opposite_side_is_more_even_is_left_alone():
    lesion = np.zeros(CT.shape, np.uint8)
    lesion[40:46, 60:66, 60:66] = np.arange(1, 7)
    hu = CT.array.copy()
    hu[lesion > 0] = np.random.default_rng(121).choice([-900, 900], np.count_nonzero(lesion))
    Projector(Volume(hu, CT.affine), labels=LabelVolume(lesion, LABELS.affine))


@pytest.mark.parametrize(("opposite_hu", "noticed"), [(60, True), (129, False)])
def test_only_a_mirror_image_that_is_twice_as_even_counts(opposite_hu, noticed):
    # Six slabs of two tissues, 500 HU apart; the labels lie on the left, where the noise is 164 HU.
    left = (np.arange(40) < 18)[:, None, None]
    slab = np.broadcast_to(np.arange(36)[:, None] // 6, (40, 36, 30))
    noise = np.random.default_rng(122).choice([-1, 1], slab.shape) * np.where(left, 164, opposite_hu)
    ct = Volume(-500.0 + 500 * (slab % 2) + noise, np.diag([-1.0, 1, 1, 1]))
    labels = LabelVolume(np.where(left, slab + 1, 0), ct.affine)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        Projector(ct, labels=labels)
    assert ["look mirrored" in str(warning.message) for warning in said] == [True] * noticed


WATER = Volume(
    np.zeros((40, 30, 20), np.int16), phantoms.affine_around(np.zeros(3), np.diag([5.0, 5, 5]), (40, 30, 20))
)
TO_THE_FRONT = {"center": (0, 400, 0), "row_step": (0, 0, -5), "column_step": (-5, 0, 0), "shape": (40, 40)}


@pytest.mark.parametrize("source", [(0, 0, 0), (99, -74, 49)])
def test_a_source_inside_the_volume_is_said(source):
    view = Geometry.cone(source, **TO_THE_FRONT, names=["endo"])
    with pytest.warns(UserWarning, match="view 'endo': the source is inside the volume, and what lies behind it"):
        project(WATER, view)


@pytest.mark.parametrize("source", [(0, -80, 0), (101, -50, 0), (0, -1000, 0)])
def test_a_source_beside_or_behind_the_volume_is_not(source):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        project(WATER, Geometry.cone(source, **TO_THE_FRONT))
        project(WATER, Geometry.parallel((0, 1, 0), **TO_THE_FRONT))


def test_the_warning_points_at_the_callers_line():
    projector = Projector(WATER)
    with pytest.warns(UserWarning, match="inside the volume") as said:
        projector.project(Geometry.cone((0, 0, 0), **TO_THE_FRONT))
    assert said[0].filename == __file__
