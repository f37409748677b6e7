"""The views of a dataset, and drawing their poses."""

from __future__ import annotations

import json

import numpy as np
import pytest

import drrproj
from drrproj.dataset.poses import Poses, Variation, View, parse_view

# The views of these small cases leave out corners of the volume, on purpose.
pytestmark = pytest.mark.filterwarnings("ignore:view .* the volume does not fit the detector")

CT = drrproj.Volume(np.zeros((40, 30, 50), np.int16), np.diag([3.0, 3.0, 3.0, 1.0]))


@pytest.mark.parametrize(("primary", "secondary"), [(30, 0), (0, 20), (-40, 25), (90, 0)])
def test_turned_pa_views_are_those_of_a_c_arm(primary, secondary):
    poses = Poses([View("v", "PA", primary, secondary)], shape=(32, 32), pixel_spacing=4.0)
    view = poses.geometry("case", CT)
    plain = drrproj.Geometry.radiograph("PA", CT, shape=(32, 32), pixel_spacing=4.0)
    arm = drrproj.Geometry.c_arm(
        sdd=1800,
        sod=float(np.linalg.norm(plain.sources[0] - CT.center)),
        isocenter=CT.center,
        primary_angle=primary,
        secondary_angle=secondary,
        pixel_spacing=4.0,
        shape=(32, 32),
    )
    np.testing.assert_allclose(view.views, arm.views, atol=1e-9)


def test_the_record_of_poses_has_the_distance_that_was_meant():
    assert Poses().as_record()["sdd"] == Poses(sdd=1800).as_record()["sdd"] == 1800
    assert Poses(beam="parallel").as_record()["sdd"] is None


@pytest.mark.parametrize("beam", ["cone", "parallel"])
def test_plain_views_are_those_of_radiograph(beam):
    names = ("PA", "AP", "LL", "RL")
    poses = Poses([parse_view(name) for name in names], beam, shape=(32, 24))
    expected = [drrproj.Geometry.radiograph(name, CT, beam=beam, shape=(32, 24)).views[0] for name in names]
    np.testing.assert_allclose(poses.geometry("case", CT).views, expected, atol=1e-9)


def test_poses_follow_from_seed_case_and_view_alone_and_stay_within_limits():
    variation = Variation(angle=8, distance=100, shift=15, poses=40, seed=5)
    both = Poses(shape=(32, 32), variation=variation, pixel_spacing=4.0)
    views = both.geometry("a", CT)
    np.testing.assert_array_equal(views.views, both.geometry("a", CT).views)
    alone = Poses([View("lateral", "LL")], shape=(32, 32), variation=variation, pixel_spacing=4.0).geometry("a", CT)
    np.testing.assert_array_equal(views.views[40:], alone.views)
    assert len({view.tobytes() for view in views.views}) == 80
    assert (views.views != both.geometry("b", CT).views).any(axis=(1, 2)).all()
    assert 1700 <= views.sdd.min() < 1730 < 1870 < views.sdd.max() <= 1900
    plain = drrproj.Geometry.radiograph("PA", CT, shape=(32, 32))
    tilts = np.degrees(np.arccos(np.clip(views.normals[:40] @ plain.normals[0], -1, 1)))
    # Two turns of up to 8 degrees, about axes at a right angle.
    assert 4 < tilts.max() <= np.degrees(np.arccos(np.cos(np.radians(8)) ** 2)) + 1e-6
    shifts = Poses([View("p", "PA")], shape=(32, 32), variation=Variation(shift=15, poses=40)).geometry("a", CT)
    moved = shifts.sources - plain.sources[0]
    assert np.abs(moved[:, 1]).max() < 1e-9
    assert 10 < np.abs(moved[:, [0, 2]]).max() <= 15


@pytest.mark.parametrize(
    ("text", "reason"),
    [("front", "unknown view 'front'"), ("a_b=PA", "name of a view"), ("a=XX", "unknown view 'XX'"), ("a=PA:1", "two")],
)
def test_views_that_are_none(text, reason):
    with pytest.raises(ValueError, match=reason):
        parse_view(text)


def test_variations_that_are_none():
    with pytest.raises(ValueError, match="would all be the same"):
        Variation(poses=2)
    with pytest.raises(ValueError, match="must not be negative"):
        Variation(angle=-1)
    with pytest.raises(ValueError, match="parallel beam has no distance"):
        Poses(beam="parallel", variation=Variation(distance=10))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"shape": (0, 10)}, r"rows and columns, both positive whole numbers; got \(0, 10\)"),
        ({"shape": (-3, 4)}, r"both positive whole numbers; got \(-3, 4\)"),
        ({"shape": (3.5, 4)}, r"both positive whole numbers; got \(3.5, 4\)"),
        ({"shape": (3,)}, "the shape of the detector"),
        ({"shape": 512}, "the shape of the detector is rows and columns, both positive whole numbers; got 512"),
        ({"views": ("PA", "LL")}, r"a view is a View, as in View\('frontal', 'PA'\); got 'PA'"),
        ({"views": "PA"}, r"a view is a View, as in View\('frontal', 'PA'\); got 'P'"),
        ({"sdd": 0}, "sdd must be a positive distance in mm; got 0"),
        ({"sdd": -1800.0}, "sdd must be a positive distance"),
        ({"sdd": float("nan")}, "sdd must be a positive distance in mm; got nan"),
        ({"sdd": float("inf")}, "sdd must be a positive distance"),
        ({"sdd": 1800.0, "beam": "parallel"}, "sdd belongs to a cone; a parallel beam has no source: leave it out"),
        ({"pixel_spacing": 0.0}, "pixel_spacing must be a positive distance in mm; got 0"),
        ({"pixel_spacing": float("nan")}, "pixel_spacing must be a positive distance"),
        ({"beam": "fan"}, "the beam is cone or parallel; got 'fan'"),
        ({"variation": Variation(distance=5000)}, "a distance of 1800 mm varied by 5000 mm brings the source through"),
        ({"variation": Variation(distance=1750)}, "brings the source through the patient"),
        ({"views": (View("v", "PA"), View("V", "LL"))}, "views with different names"),
    ],
)
def test_poses_that_no_case_could_have_are_refused_at_once(options, reason):
    with pytest.raises(ValueError, match=reason):
        Poses(**options)


@pytest.mark.parametrize("name", ["con", "a.", "v" * 41, "a_b"])
def test_views_that_cannot_name_files_are_refused(name):
    with pytest.raises(ValueError, match="view"):
        View(name, "PA")


def test_a_case_too_deep_for_a_varied_distance_fails_whatever_is_drawn():
    deep = drrproj.Volume(np.zeros((10, 40, 10), np.int16), np.diag([10.0, 10.0, 10.0, 1.0]))  # 400 mm for PA
    Poses(shape=(8, 8), variation=Variation(distance=1300)).geometry("a", deep)
    for seed in range(5):
        poses = Poses(shape=(8, 8), variation=Variation(distance=1400, seed=seed))
        with pytest.raises(ValueError, match="with the distance varied by 1400 mm, sdd 400 mm puts the source inside"):
            poses.geometry("a", deep)


@pytest.mark.parametrize("value", [1.0, True, "1", None, np.nan])
def test_seeds_and_numbers_of_poses_are_whole_numbers(value):
    with pytest.raises(ValueError, match="the seed of a variation is a whole number; got"):
        Variation(angle=5, seed=value)
    with pytest.raises(ValueError, match="each view needs a whole number of poses, at least one; got"):
        Variation(angle=5, poses=value)


def test_whole_numbers_of_numpy_are_pythons():
    poses = Poses(shape=(np.int64(8), np.int32(9)), variation=Variation(angle=5, poses=np.int8(2), seed=np.uint64(7)))
    plain = Poses(shape=(8, 9), variation=Variation(angle=5, poses=2, seed=7))
    assert json.loads(json.dumps(poses.as_record())) == json.loads(json.dumps(plain.as_record()))
    assert poses == plain
