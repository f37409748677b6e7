"""Whole images of random volumes against the oracle."""

from __future__ import annotations

import numpy as np
import oracle
import phantoms
import pytest

from drrproj import Geometry, Volume, attenuation, project

SHAPE, DETECTOR = (23, 19, 29), (27, 34)


def line_integral(backend, array, affine, views, detector, **options):
    volume = Volume(array, affine, unit=options.pop("unit", "1/mm"))
    return project(volume, Geometry(views, detector), backend=backend, **options).line_integral


@pytest.mark.parametrize("seed", phantoms.SEEDS)
@pytest.mark.parametrize("beam", ["cone", "parallel"])
def test_any_affine_and_any_pose_is_exact(backend, beam, seed):
    rng = np.random.default_rng([10, seed])
    affine = phantoms.random_affine(rng, SHAPE)
    array = phantoms.noise(rng, SHAPE)
    views = [phantoms.random_view(rng, SHAPE, affine, DETECTOR, beam) for _ in range(4)]
    image = line_integral(backend, array, affine, views, DETECTOR)
    oracle.assert_exact(image, oracle.line_integral_images(array, affine, views, DETECTOR))


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("beam", ["cone", "parallel"])
def test_views_near_every_axis_are_exact(backend, beam, sign, axis):
    rng = np.random.default_rng([11, axis, sign + 1])
    affine = phantoms.affine_around(np.zeros(3), np.diag([0.7, 1.1, 3.0]), SHAPE)
    array = phantoms.noise(rng, SHAPE)
    beam_axis = sign * np.eye(3)[axis] + rng.normal(scale=0.02, size=3)
    source = -beam_axis * 200.0 if beam == "cone" else -beam_axis
    row_step, column_step = np.delete(np.eye(3), axis, axis=0) * 1.9
    view = phantoms.view_matrix(source, float(beam == "cone"), beam_axis * 70, row_step, column_step, DETECTOR)
    image = line_integral(backend, array, affine, [view], DETECTOR)
    oracle.assert_exact(image, oracle.line_integral_images(array, affine, [view], DETECTOR))


@pytest.mark.parametrize("seed", phantoms.SEEDS)
def test_a_wide_cone_whose_rays_have_different_steepest_axes_is_exact(backend, seed):
    rng = np.random.default_rng([12, seed])
    linear = phantoms.rotation(rng) if seed % 2 else np.eye(3)
    affine = phantoms.affine_around(np.array([5.0, -9.0, 30.0]), linear, SHAPE)
    array = phantoms.noise(rng, SHAPE)
    view = phantoms.random_view(rng, SHAPE, affine, DETECTOR, "cone", distance=(0.52, 0.56), cover=2.5)
    rays = oracle.rays_of_view(view, DETECTOR)
    steepest = np.abs(rays.direction @ np.linalg.inv(affine)[:3, :3].T).argmax(axis=1)
    assert len(np.unique(steepest)) >= 2
    image = line_integral(backend, array, affine, [view], DETECTOR)
    oracle.assert_exact(image, oracle.line_integral_images(array, affine, [view], DETECTOR))


@pytest.mark.parametrize("seed", phantoms.SEEDS)
@pytest.mark.parametrize("place", ["source", "detector", "both"])
@pytest.mark.filterwarnings("ignore:.*the source is inside the volume")
def test_a_source_or_detector_inside_the_volume_counts_only_what_lies_between(backend, place, seed):
    rng = np.random.default_rng([13, seed])
    affine = phantoms.random_affine(rng, SHAPE)
    array = phantoms.noise(rng, SHAPE)
    center, diagonal = phantoms.box_of(SHAPE, affine)
    to_world = affine[:3, :3] @ (np.array(SHAPE)[:, None] * rng.uniform(-0.3, 0.3, (3, 2)))
    source, middle = (center[:, None] + to_world).T
    beam_axis, row_step, column_step = phantoms.rotation(rng).T * diagonal * 0.012
    if place != "both":
        middle = source + (2 if place == "source" else 0.05) * 80 * beam_axis
    if place == "detector":
        middle, source = source, source - 80 * beam_axis * 1.5
    view = phantoms.view_matrix(source, 1.0, middle, row_step, column_step, DETECTOR)
    image = line_integral(backend, array, affine, [view], DETECTOR)
    oracle.assert_exact(image, oracle.line_integral_images(array, affine, [view], DETECTOR))


@pytest.mark.parametrize(
    "shape", [(1, 17, 13), (17, 1, 13), (17, 13, 1), (1, 1, 19), (1, 19, 1), (19, 1, 1), (1, 1, 1)]
)
@pytest.mark.parametrize("beam", ["cone", "parallel"])
def test_volumes_one_voxel_thick_are_exact(backend, beam, shape):
    rng = np.random.default_rng([14, *shape])
    affine = phantoms.random_affine(rng, shape)
    array = phantoms.noise(rng, shape)
    views = [phantoms.random_view(rng, shape, affine, DETECTOR, beam, cover=0.4) for _ in range(3)]
    truth = oracle.line_integral_images(array, affine, views, DETECTOR)
    assert (truth > 0).any(axis=(1, 2)).all()
    oracle.assert_exact(line_integral(backend, array, affine, views, DETECTOR), truth)


@pytest.mark.parametrize("detector", [(1, 1), (1, 7), (7, 1), (3, 2), (2, 131), (17, 16), (16, 33)])
@pytest.mark.parametrize("beam", ["cone", "parallel"])
def test_detectors_of_any_size_are_exact_from_much_coarser_to_much_finer_than_the_voxels(backend, beam, detector):
    rng = np.random.default_rng([15, *detector])
    affine = phantoms.random_affine(rng, SHAPE)
    array = phantoms.noise(rng, SHAPE)
    views = [phantoms.random_view(rng, SHAPE, affine, detector, beam, cover=cover) for cover in (0.005, 0.05, 0.5)]
    image = line_integral(backend, array, affine, views, detector)
    oracle.assert_exact(image, oracle.line_integral_images(array, affine, views, detector))


@pytest.mark.parametrize("degrees", [0, 1, 17, 45, 60, 90, 133, 180, 271])
@pytest.mark.parametrize("axis", range(3))
def test_a_detector_rolled_in_its_plane_by_any_angle_is_exact(backend, axis, degrees):
    rng = np.random.default_rng([16, axis])
    # Off centre by no simple fraction of a voxel: rays inside a face have two right answers (test_exact_rays.py).
    affine = phantoms.affine_around(np.array([1.37, -0.43, 2.21]), np.diag([1.0, 0.8, 2.0]), SHAPE)
    array = phantoms.noise(rng, SHAPE)
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    first, second = np.delete(np.eye(3), axis, axis=0) * 1.3
    view = phantoms.view_matrix(
        -190 * np.eye(3)[axis], 1.0, 60 * np.eye(3)[axis], c * first + s * second, c * second - s * first, DETECTOR
    )
    image = line_integral(backend, array, affine, [view], DETECTOR)
    oracle.assert_exact(image, oracle.line_integral_images(array, affine, [view], DETECTOR))


def test_several_views_in_one_call_equal_single_calls_bit_for_bit(backend):
    rng = np.random.default_rng(17)
    affine = phantoms.random_affine(rng, SHAPE)
    array = phantoms.noise(rng, SHAPE)
    views = [phantoms.random_view(rng, SHAPE, affine, DETECTOR, beam) for beam in ("cone", "parallel", "cone")]
    together = line_integral(backend, array, affine, views, DETECTOR)
    for index, view in enumerate(views):
        np.testing.assert_array_equal(together[index], line_integral(backend, array, affine, view, DETECTOR)[0])


def test_a_volume_of_everyday_size_is_exact(backend):
    rng = np.random.default_rng(18)
    shape, detector = (200, 180, 160), (37, 41)
    affine = phantoms.random_affine(rng, shape)
    array = phantoms.noise(rng, shape)
    views = [
        phantoms.random_view(rng, shape, affine, detector, "cone"),
        phantoms.random_view(rng, shape, affine, detector, "parallel"),
    ]
    image = line_integral(backend, array, affine, views, detector)
    oracle.assert_exact(image, oracle.line_integral_images(array, affine, views, detector))


@pytest.mark.parametrize(
    "model", [attenuation.linear(60), attenuation.bilinear(50), attenuation.bilinear(120, 65)], ids=lambda m: m.model
)
@pytest.mark.parametrize("seed", phantoms.SEEDS[:2])
def test_hounsfield_units_become_attenuation_inside_the_walk(backend, seed, model):
    rng = np.random.default_rng([19, seed])
    affine = phantoms.random_affine(rng, SHAPE)
    array = phantoms.noise(rng, SHAPE, np.int16)
    array[rng.random(SHAPE) < 0.1] = rng.choice([-3024, -2048, -1024, -1000, 0])
    views = [phantoms.random_view(rng, SHAPE, affine, DETECTOR, "cone") for _ in range(2)]
    image = line_integral(backend, array, affine, views, DETECTOR, unit="HU", attenuation=model)
    oracle.assert_exact(image, oracle.line_integral_images(model(array), affine, views, DETECTOR))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_and_padding_are_air(backend, dtype):
    rng = np.random.default_rng(20)
    affine = phantoms.random_affine(rng, SHAPE)
    hu = rng.uniform(-1000, 2000, SHAPE).astype(dtype)
    holes = rng.random(SHAPE)
    hu[holes < 0.3], hu[holes < 0.2], hu[holes < 0.1] = np.nan, -3024, -2048
    views = [phantoms.random_view(rng, SHAPE, affine, DETECTOR, "cone")]
    filled = np.where(holes < 0.3, -1000, hu)
    model = attenuation.bilinear(80)
    image = line_integral(backend, hu, affine, views, DETECTOR, unit="HU", attenuation=model)
    oracle.assert_exact(image, oracle.line_integral_images(model(filled), affine, views, DETECTOR))


def test_nan_in_a_volume_of_attenuation_is_air(backend):
    rng = np.random.default_rng(21)
    affine = phantoms.random_affine(rng, SHAPE)
    mu = phantoms.noise(rng, SHAPE)
    mu[rng.random(SHAPE) < 0.2] = np.nan
    views = [phantoms.random_view(rng, SHAPE, affine, DETECTOR, "cone")]
    image = line_integral(backend, mu, affine, views, DETECTOR)
    oracle.assert_exact(image, oracle.line_integral_images(np.nan_to_num(mu), affine, views, DETECTOR))


def test_the_image_does_not_depend_on_what_else_the_volume_holds(backend):
    rng = np.random.default_rng(22)
    affine = phantoms.affine_around(np.zeros(3), np.diag([1.0, 1.0, 2.0]), SHAPE)
    array = np.zeros(SHAPE, np.float32)
    array[5:15, 4:12, 10:20] = phantoms.noise(rng, (10, 8, 10))
    cropped_affine = affine.copy()
    cropped_affine[:3, 3] += affine[:3, :3] @ (5, 4, 10)
    view = phantoms.random_view(rng, SHAPE, affine, DETECTOR, "cone")
    whole = line_integral(backend, array, affine, [view], DETECTOR)
    cropped = line_integral(backend, array[5:15, 4:12, 10:20], cropped_affine, [view], DETECTOR)
    np.testing.assert_allclose(cropped, whole, atol=1e-6 * whole.max())
