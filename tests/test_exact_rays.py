"""Single rays that are easy to get wrong: along faces and edges, along axes, past the volume, out of a voxel."""

from __future__ import annotations

import numpy as np
import oracle
import phantoms
import pytest

from drrproj import Geometry, Volume, project


def integrals(backend, array, affine, views, detector=(1, 1)):
    volume = Volume(array, affine, unit="1/mm")
    return project(volume, Geometry(views, detector), backend=backend).line_integral


def test_eight_voxels_give_the_integrals_worked_out_by_hand(backend):
    i, j, k = np.indices((2, 2, 2))
    affine = np.array([[1, 0, 0, 0.5], [0, 2, 0, 1.0], [0, 0, 3, 1.5], [0, 0, 0, 1]])
    starts = [(-1, -1, -1), (0.5, -10, 1.5), (-10, 1, 4.5), (-1, 0.3, 0.7), (5, -3, 8)]
    ends = [(3, 5, 7), (0.5, 10, 1.5), (10, 1, 4.5), (2.5, 3.9, 5.1), (-2, 4.5, -1.25)]
    image = integrals(backend, (1.0 + 4 * i + 2 * j + k).astype(np.float32), affine, phantoms.single_rays(starts, ends))
    expected = [24.2332416321053, 8, 8, 18.8168063477918, 14.7023887400111]
    np.testing.assert_allclose(image.ravel(), expected, rtol=2e-6)


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("flip", [-1, 1])
def test_rays_along_an_axis_on_faces_and_edges_take_the_voxel_that_begins_there(backend, flip, sign, axis):
    shape = (3, 5, 4)
    affine = phantoms.affine_around(np.array([1.0, -2.0, 8.0]), np.diag([0.5, flip * 2.0, 4.0]), shape)
    array = phantoms.noise(np.random.default_rng(40), shape)
    # From one voxel before the grid to one behind it, twice per voxel: every other pixel is on a face, some on edges.
    rows, columns = (n for at, n in enumerate(shape) if at != axis)
    detector = (2 * rows + 5, 2 * columns + 5)
    row_step, column_step = (0.5 * affine[:3, at] for at in range(3) if at != axis)
    center, _ = phantoms.box_of(shape, affine)
    view = phantoms.view_matrix(-sign * affine[:3, axis], 0.0, center, row_step, column_step, detector)
    truth = oracle.line_integral_images(array, affine, [view], detector)
    image = integrals(backend, array, affine, [view], detector)
    oracle.assert_exact(image, truth)
    np.testing.assert_array_equal(image == 0, truth == 0)


@pytest.mark.parametrize("seed", phantoms.SEEDS)
def test_rays_inside_a_face_of_a_turned_grid_lie_between_the_two_voxels(backend, seed):
    rng = np.random.default_rng([41, seed])
    shape = (2, 6, 7)
    affine = phantoms.random_affine(rng, shape)
    array = np.empty(shape, np.float32)
    array[0], array[1] = 1, 3
    start, end = np.array([0.5, -40, -30]), np.array([0.5, 50, 40])
    spread = rng.uniform(-1, 1, (40, 3)) * (0, 2, 2)
    starts, ends = ((point + spread) @ affine[:3, :3].T + affine[:3, 3] for point in (start, end))
    views = phantoms.single_rays(starts, ends)
    chord = oracle.line_integral_images(np.ones(shape), affine, views, (1, 1))
    assert (chord > 0).all()
    image = integrals(backend, array, affine, views)
    assert (image >= chord * (1 - 1e-6)).all()
    assert (image <= 3 * chord * (1 + 1e-6)).all()
    np.testing.assert_allclose(integrals(backend, np.ones(shape, np.float32), affine, views), chord, rtol=2e-6)


def test_diagonal_rays_through_edges_and_corners_meet_only_the_voxels_on_the_diagonal(backend):
    array = phantoms.noise(np.random.default_rng(42), (8, 8, 8))
    starts = [(-4.5, -4.5, 3), (3, -4.5, -4.5), (-4.5, 2, -4.5), (-4.5, -4.5, -4.5)]
    ends = [(11.5, 11.5, 3), (3, 11.5, 11.5), (11.5, 2, 11.5), (11.5, 11.5, 11.5)]
    n = np.arange(8)
    expected = [
        np.sqrt(2) * array[n, n, 3].sum(),
        np.sqrt(2) * array[3, n, n].sum(),
        np.sqrt(2) * array[n, 2, n].sum(),
        np.sqrt(3) * array[n, n, n].sum(),
    ]
    image = integrals(backend, array, np.eye(4), phantoms.single_rays(starts, ends))
    np.testing.assert_allclose(image.ravel(), expected, rtol=2e-6)


@pytest.mark.parametrize("slope", [1e-1, 1e-2, 1e-3, 1e-4, 1e-6, 1e-9, 1e-13, 1e-30])
@pytest.mark.parametrize("axis", range(3))
def test_rays_that_graze_a_face_lie_between_the_two_voxels_and_keep_their_chord(backend, axis, slope):
    shape = (16, 16, 16)
    across = (axis + 1) % 3
    array = np.moveaxis(np.ones(shape, np.float32), across, 0).copy()
    array[8:] = 3
    array = np.moveaxis(array, 0, across)
    offsets = np.random.default_rng([43, axis]).uniform(-1, 1, 24) * slope * 8
    points = np.zeros((24, 3)) + 7.3
    points[:, across] = 7.5 + offsets
    direction = np.eye(3)[axis] + slope * np.eye(3)[across]
    views = phantoms.single_rays(points - 40 * direction, points + 40 * direction)
    chord = oracle.line_integral_images(np.ones(shape), np.eye(4), views, (1, 1))
    np.testing.assert_allclose(integrals(backend, np.ones(shape, np.float32), np.eye(4), views), chord, rtol=2e-6)
    image = integrals(backend, array, np.eye(4), views)
    assert (image >= chord * (1 - 2e-6)).all()
    assert (image <= 3 * chord * (1 + 2e-6)).all()
    if slope >= 1e-2:
        truth = oracle.line_integral_images(array, np.eye(4), views, (1, 1))
        np.testing.assert_allclose(image, truth, rtol=1e-4)


@pytest.mark.parametrize("slope", [1e-2, 1e-4, 1e-7, 1e-12, 1e-200])
def test_rays_almost_along_an_axis_inside_one_column_of_voxels_are_exact(backend, slope):
    array = phantoms.noise(np.random.default_rng(44), (12, 12, 12))
    points = np.random.default_rng(45).uniform(3.8, 4.2, (20, 3))
    for axis in range(3):
        direction = np.eye(3)[axis] + slope * np.eye(3)[(axis + 1) % 3]
        views = phantoms.single_rays(points - 30 * direction, points + 30 * direction)
        truth = oracle.line_integral_images(array, np.eye(4), views, (1, 1))
        np.testing.assert_allclose(integrals(backend, array, np.eye(4), views), truth, rtol=2e-6)


@pytest.mark.filterwarnings("ignore:.*the source is inside the volume")
def test_nothing_behind_the_source_or_beyond_the_detector_counts(backend):
    array = np.zeros((4, 40, 4), np.float32)
    array[:, :4], array[:, 18:22], array[:, 36:] = 1, 10, 100
    starts = [(1.5, 30, 1.5), (1.5, 30, 1.5), (1.5, 10, 1.5), (1.5, 10, 1.5), (1.5, -60, 1.5), (1.5, 24, 1.5)]
    ends = [(1.5, 90, 1.5), (1.5, -90, 1.5), (1.5, 90, 1.5), (1.5, 30, 1.5), (1.5, 90, 1.5), (1.5, 35, 1.5)]
    image = integrals(backend, array, np.eye(4), phantoms.single_rays(starts, ends))
    np.testing.assert_allclose(image.ravel(), [400, 44, 440, 40, 444, 0], rtol=2e-6)


def test_a_parallel_ray_is_a_whole_line_wherever_the_detector_stands(backend):
    array = phantoms.noise(np.random.default_rng(46), (5, 6, 7))
    views = [
        phantoms.view_matrix((0, sign, 0), 0.0, (2, place, 3), (0, 0, 1.1), (0.9, 0, 0), (9, 8))
        for place in (-500, 2.7, 500)
        for sign in (-1, 1)
    ]
    images = integrals(backend, array, np.eye(4), views, (9, 8))
    oracle.assert_exact(images, oracle.line_integral_images(array, np.eye(4), views, (9, 8)))
    assert images[0].max() > 0


@pytest.mark.parametrize("beam", ["cone", "parallel"])
def test_rays_that_miss_are_exactly_zero_and_the_others_unharmed(backend, beam):
    rng = np.random.default_rng(47)
    shape, detector = (9, 8, 7), (40, 45)
    affine = phantoms.random_affine(rng, shape)
    array = np.full(shape, 0.02, np.float32)
    views = [phantoms.random_view(rng, shape, affine, detector, beam, cover=3.0) for _ in range(3)]
    truth = oracle.line_integral_images(array, affine, views, detector)
    image = integrals(backend, array, affine, views, detector)
    oracle.assert_exact(image, truth)
    assert (truth == 0).mean() > 0.5
    np.testing.assert_array_equal(image == 0, truth == 0)


def test_first_middle_and_last_voxels_stand_where_their_points_project(backend):
    shape, detector = (9, 7, 11), (90, 110)
    affine = phantoms.affine_around(np.array([10.0, 20.0, 30.0]), np.diag([2.0, 2.0, 2.0]), shape)
    view = phantoms.view_matrix((10, 520, 30), 1.0, (10, -80, 30), (0, 0, -0.3), (-0.3, 0, 0), detector)
    geometry = Geometry(view, detector)
    for voxel in [(0, 0, 0), (4, 3, 5), (8, 6, 10), (8, 0, 10), (0, 6, 0)]:
        array = np.zeros(shape, np.float32)
        array[voxel] = 1
        image = project(Volume(array, affine, unit="1/mm"), geometry, backend=backend).line_integral
        truth = oracle.line_integral_images(array, affine, [view], detector)
        oracle.assert_exact(image, truth)
        weights = image[0] / image[0].sum()
        centroid = [(weights * grid).sum() for grid in np.indices(detector)]
        expected = geometry.project_points(affine[:3, :3] @ voxel + affine[:3, 3])[0, 0]
        np.testing.assert_allclose(centroid, expected, atol=0.5)


@pytest.mark.parametrize("distance", [1e3, 1e5, 1e7])
def test_a_source_very_far_away_is_as_exact_as_a_near_one(backend, distance):
    rng = np.random.default_rng(48)
    shape, detector = (13, 12, 14), (20, 22)
    affine = phantoms.random_affine(rng, shape)
    array = phantoms.noise(rng, shape)
    center, diagonal = phantoms.box_of(shape, affine)
    beam_axis, row_step, column_step = phantoms.rotation(rng).T
    view = phantoms.view_matrix(
        center - distance * beam_axis,
        1.0,
        center + diagonal * beam_axis,
        row_step * diagonal / 20,
        column_step * diagonal / 20,
        detector,
    )
    image = integrals(backend, array, affine, [view], detector)
    oracle.assert_exact(image, oracle.line_integral_images(array, affine, [view], detector))


@pytest.mark.parametrize("offset", [1e3, 1e5])
def test_a_patient_far_from_the_origin_of_the_world_is_as_exact_as_a_near_one(backend, offset):
    rng = np.random.default_rng(49)
    shape, detector = (13, 12, 14), (20, 22)
    affine = phantoms.random_affine(rng, shape)
    affine[:3, 3] += offset
    array = phantoms.noise(rng, shape)
    views = [phantoms.random_view(rng, shape, affine, detector, beam) for beam in ("cone", "parallel")]
    image = integrals(backend, array, affine, views, detector)
    oracle.assert_exact(image, oracle.line_integral_images(array, affine, views, detector))


def test_the_image_is_linear_in_the_volume(backend):
    rng = np.random.default_rng(50)
    shape, detector = (13, 12, 14), (20, 22)
    affine = phantoms.random_affine(rng, shape)
    first, second = phantoms.noise(rng, shape), phantoms.noise(rng, shape)
    views = [phantoms.random_view(rng, shape, affine, detector, "cone")]
    images = [integrals(backend, array, affine, views, detector) for array in (first, second, 2 * first + second)]
    np.testing.assert_allclose(images[2], 2 * images[0] + images[1], atol=2e-6 * images[2].max())


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(63, 63), (64, 1), (9, 257)])
def test_rays_in_a_45_degree_plane_of_the_grid_are_walked_once(backend, order, shape):
    # Two axes are as steep but for rounding there, and neighbouring rays round to either.
    rng = np.random.default_rng(45)
    array = np.asarray(phantoms.noise(rng, (40, 40, 30)), order=order)
    volume = Volume(array, np.diag([3.0, 3.0, 3.0, 1.0]), unit="1/mm")
    view = Geometry.c_arm(
        sdd=1000, sod=700, isocenter=volume.center, primary_angle=45, secondary_angle=20, pixel_spacing=2, shape=shape
    )
    truth = oracle.line_integral_images(array, volume.affine, view.views, shape)
    image = project(volume, view, backend=backend).line_integral
    np.testing.assert_allclose(image, truth, atol=1e-5 * truth.max())


@pytest.mark.filterwarnings("ignore:.*the source is inside the volume")
def test_a_tile_corner_whose_ray_has_no_steepest_motion_ends(backend):
    views = np.zeros((1, 4, 4))
    views[0, :3] = np.column_stack([(10, 10, 10), (84.75, 35, 10), (0, 0, 1), (-1, 0, 0)])
    views[0, 3, :2] = 1
    array = np.ones((150, 60, 20), np.float32, order="F")
    volume = Volume(array, np.eye(4), unit="1/mm")
    image = project(volume, Geometry(views, (1, 100)), backend=backend).line_integral
    truth = oracle.line_integral_images(array, np.eye(4), views, (1, 100))
    np.testing.assert_allclose(image, truth, atol=1e-5 * truth.max())
