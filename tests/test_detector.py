"""Detectors that are turned, leant, shifted or cropped, against formulas of plane geometry."""

from __future__ import annotations

import numpy as np
import oracle
import phantoms
import pytest

from drrproj import Geometry, LabelVolume, Volume, project

SHAPE = (24, 20, 16)
DETECTOR = (40, 50)
# Source behind, detector in front, right of the patient on image left: 1000 mm, pixels of 1 x 0.8 mm.
UPRIGHT = Geometry.cone((0, -900, 0), (0, 100, 0), (0, 0, -1), (-0.8, 0, 0), shape=(101, 201))


def random_geometry(rng, beam, views=3):
    affine = phantoms.random_affine(rng, SHAPE)
    made = [phantoms.random_view(rng, SHAPE, affine, DETECTOR, beam) for _ in range(views)]
    return affine, Geometry(made, DETECTOR)


def steps(geometry):
    return geometry.views[:, :3, 2], geometry.views[:, :3, 3]


def angle(a, b):
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(axis=-1)))


@pytest.mark.parametrize("degrees", [10, -35, 90, 180])
def test_a_rolled_detector_shows_the_picture_turned_the_other_way(degrees):
    points = np.random.default_rng(100).uniform(-30, 30, (20, 3))
    upright = Geometry.cone((0, -900, 0), (0, 100, 0), (0, 0, -1), (-1, 0, 0), shape=(101, 101))
    down, right = (upright.project_points(points)[0] - 50).T
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    # What lay on the right lies higher once the detector has turned clockwise.
    expected = np.column_stack([50 + c * down - s * right, 50 + s * down + c * right])
    np.testing.assert_allclose(upright.rolled(degrees).project_points(points)[0], expected, atol=1e-9)


def test_a_mirrored_picture_rolls_clockwise_as_it_is_seen():
    mirrored = Geometry.cone((0, -900, 0), (0, 100, 0), (0, 0, -1), (1, 0, 0), shape=(101, 101))
    row, column = mirrored.rolled(90).project_points([0, 0, 18])[0, 0]  # up, so it comes to lie on image left
    np.testing.assert_allclose((row, column), (50, 30), atol=1e-9)


@pytest.mark.parametrize("degrees", [5, 30, -20])
def test_a_tilted_detector_shows_points_where_the_leant_plane_is_met(degrees):
    points = np.random.default_rng(101).uniform(-30, 30, (20, 3))
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    x, depth, z = (points - (0, -900, 0)).T
    # Top away: up on the detector is (0, s, c), its normal (0, c, -s), and its middle stays at depth 1000.
    scale = 1000 * c / (c * depth - s * z)
    up = scale * z * c + (scale * depth - 1000) * s
    expected = np.column_stack([50 - up, 100 - scale * x / 0.8])
    np.testing.assert_allclose(UPRIGHT.tilted(top=degrees).project_points(points)[0], expected, atol=1e-9)
    # Right edge away: right on the detector is (-c, s, 0), its normal (s, c, 0).
    scale = 1000 * c / (c * depth + s * x)
    right = -scale * x * c + (scale * depth - 1000) * s
    expected = np.column_stack([50 - scale * z, 100 + right / 0.8])
    np.testing.assert_allclose(UPRIGHT.tilted(right=degrees).project_points(points)[0], expected, atol=1e-9)


@pytest.mark.parametrize("beam", ["cone", "parallel"])
@pytest.mark.parametrize("seed", phantoms.SEEDS)
def test_turning_and_leaning_keep_the_source_the_middle_and_the_pixels(beam, seed):
    rng = np.random.default_rng([102, seed])
    _, geometry = random_geometry(rng, beam)
    a, b = rng.uniform(-20, 20, 2)
    for moved in (
        geometry.rolled(a),
        geometry.tilted(top=a),
        geometry.tilted(right=b),
        geometry.tilted(top=a, right=b),
    ):
        np.testing.assert_array_equal(moved.views[:, :, 0], geometry.views[:, :, 0])
        np.testing.assert_allclose(moved.centers, geometry.centers, atol=1e-9)
        for one, other in zip(steps(moved), steps(geometry), strict=True):
            np.testing.assert_allclose(np.linalg.norm(one, axis=1), np.linalg.norm(other, axis=1))
        np.testing.assert_allclose(angle(*steps(moved)), angle(*steps(geometry)))
        assert (moved.shape, moved.names) == (geometry.shape, geometry.names)
    np.testing.assert_allclose(geometry.rolled(a).normals, geometry.normals, atol=1e-12)
    np.testing.assert_allclose(angle(steps(geometry.rolled(a))[0], steps(geometry)[0]), abs(a))
    np.testing.assert_allclose(angle(geometry.tilted(top=a).normals, geometry.normals), abs(a))
    np.testing.assert_allclose(angle(geometry.tilted(right=b).normals, geometry.normals), abs(b))


def test_leaning_both_ways_is_one_turn_about_the_axis_between():
    both = UPRIGHT.tilted(top=3, right=4)
    np.testing.assert_allclose(angle(both.normals, UPRIGHT.normals), 5)
    np.testing.assert_allclose(both.tilted(top=-3, right=-4).normals, UPRIGHT.normals, atol=1e-12)
    # The edge in between, three parts down the left to four parts up the right, stays in its plane.
    axis = 3 * np.array([-1, 0, 0]) + 4 * np.array([0, 0, -1])
    np.testing.assert_allclose(both.normals[0] @ axis, 0, atol=1e-12)
    np.testing.assert_array_equal(UPRIGHT.tilted().views, UPRIGHT.views)


def test_a_shifted_detector_has_its_principal_point_elsewhere():
    shifted = UPRIGHT.shifted(down=7, right=-16)
    points = np.random.default_rng(103).uniform(-30, 30, (20, 3))
    # 7 mm down are 7 pixels; 16 mm to the left are 20.
    np.testing.assert_allclose(shifted.project_points(points), UPRIGHT.project_points(points) - (7, -20), atol=1e-9)
    np.testing.assert_allclose(shifted.sdd, UPRIGHT.sdd)
    np.testing.assert_allclose(shifted.centers, np.add(UPRIGHT.centers, (16, 0, -7)))


def test_each_view_may_move_by_its_own_number():
    two = Geometry.concatenate([UPRIGHT, UPRIGHT])
    for moved, alone in (
        (two.rolled([0, 9]), UPRIGHT.rolled(9)),
        (two.tilted(top=[0, 9], right=[0, -2]), UPRIGHT.tilted(top=9, right=-2)),
        (two.shifted(down=[0, 9], right=[0, 1]), UPRIGHT.shifted(down=9, right=1)),
    ):
        np.testing.assert_allclose(moved.views[0], UPRIGHT.views[0], atol=1e-12)
        np.testing.assert_allclose(moved.views[1], alone.views[0], atol=1e-12)


@pytest.mark.parametrize(
    "move",
    [
        lambda g: g.rolled(np.nan),
        lambda g: g.rolled([1, 2, 3]),
        lambda g: g.tilted(top=np.inf),
        lambda g: g.tilted(right=[[1.0]]),
        lambda g: g.shifted(down=[1, 2]),
    ],
)
def test_numbers_that_are_not_finite_or_not_one_per_view_are_refused(move):
    with pytest.raises(ValueError, match="finite number, or one for each of 1 views"):
        move(UPRIGHT)


@pytest.mark.parametrize("leant", [{"top": 90}, {"top": -95}, {"right": 120}, {"top": 70, "right": 70}], ids=str)
def test_a_detector_leant_into_the_beam_or_past_it_is_refused(leant):
    with pytest.raises(ValueError, match=r"spans no image|turn its back to the source"):
        UPRIGHT.tilted(**leant)
    aside = UPRIGHT.shifted(right=400)
    assert aside.tilted(right=-100).sdd > 0  # it lies to the side, so the source sees its face still


@pytest.mark.parametrize("beam", ["cone", "parallel"])
def test_images_on_moved_detectors_are_exact(beam, backend):
    rng = np.random.default_rng(104)
    affine, geometry = random_geometry(rng, beam)
    volume = phantoms.noise(rng, SHAPE)
    moved = geometry.tilted(top=12, right=-7).rolled(25).shifted(down=3, right=-4)
    images = project(Volume(volume, affine, unit="1/mm"), moved, backend=backend).line_integral
    oracle.assert_exact(images, oracle.line_integral_images(volume, affine, moved.views, DETECTOR))


@pytest.mark.parametrize("beam", ["cone", "parallel"])
@pytest.mark.parametrize("seed", phantoms.SEEDS)
def test_a_crop_is_that_part_of_the_image(beam, seed, backend):
    rng = np.random.default_rng([105, seed])
    affine, geometry = random_geometry(rng, beam)
    ct = Volume(phantoms.noise(rng, SHAPE), affine, unit="1/mm")
    labels = LabelVolume(rng.integers(0, 3, SHAPE, dtype=np.uint8), affine)
    whole = project(ct, geometry, labels=labels, backend=backend)
    part = project(ct, geometry.cropped(slice(11, 31), slice(-38, -9)), labels=labels, backend=backend)
    assert part.geometry.shape == (20, 29)
    of_whole = (..., slice(11, 31), slice(12, 41))
    biggest = whole.line_integral.max()
    np.testing.assert_allclose(part.line_integral, whole.line_integral[of_whole], rtol=0, atol=1e-6 * biggest)
    paths = whole.path_length.array
    np.testing.assert_allclose(part.path_length.array, paths[of_whole], rtol=0, atol=1e-6 * paths.max() + 1e-4)
    clear = np.abs(paths[of_whole]) > 1e-3  # below a thousandth of a millimetre a mask may differ
    np.testing.assert_array_equal(part.masks.array[clear], whole.masks.array[of_whole][clear])


def test_crops_of_crops_and_of_everything():
    np.testing.assert_array_equal(UPRIGHT.cropped(slice(None), slice(None)).views, UPRIGHT.views)
    twice = UPRIGHT.cropped(slice(10, 60), slice(20, None)).cropped(slice(5, -5), slice(-10, None))
    once = UPRIGHT.cropped(slice(15, 55), slice(191, 201))
    assert twice.shape == once.shape == (40, 10)
    np.testing.assert_allclose(twice.views, once.views, atol=1e-9)
    points = np.random.default_rng(106).uniform(-30, 30, (5, 3))
    np.testing.assert_allclose(once.project_points(points), UPRIGHT.project_points(points) - (15, 191), atol=1e-9)


@pytest.mark.parametrize(
    ("rows", "columns", "error"),
    [
        (slice(0, 102), slice(None), "rows 0 to 102 are no part of a detector with 101 rows"),
        (slice(-102, None), slice(None), "rows -102 to None are no part"),
        (slice(None), slice(150, 150), "columns 150 to 150 are no part"),
        (slice(None), slice(30, 20), "columns 30 to 20 are no part"),
        (slice(0, 50, 2), slice(None), "rows with step 2"),
    ],
)
def test_rectangles_that_are_no_part_of_the_detector_are_refused(rows, columns, error):
    with pytest.raises(ValueError, match=error):
        UPRIGHT.cropped(rows, columns)


def test_a_crop_takes_slices_only():
    with pytest.raises(TypeError, match=r"columns must be a slice, such as slice\(100, 300\); got tuple"):
        UPRIGHT.cropped(slice(None), (3, 5))
