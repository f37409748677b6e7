"""The reference itself against closed forms: an oracle that is wrong proves nothing."""

from __future__ import annotations

import numpy as np
import oracle
import pytest

CORNER_AT_ORIGIN = np.array([[1, 0, 0, 0.5], [0, 2, 0, 1.0], [0, 0, 3, 1.5], [0, 0, 0, 1]])
TARGETS = [(0, 500, 0), (60, 500, 40), (-123, 500, 77)]


@pytest.mark.parametrize(
    ("start", "end", "integral", "chord"),
    [
        ((-1, -1, -1), (3, 5, 7), 24.2332416321053, 5.38516480713450),
        ((0.5, -10, 1.5), (0.5, 10, 1.5), 8, 4),
        ((-10, 1, 4.5), (10, 1, 4.5), 8, 2),
        ((-1, 0.3, 0.7), (2.5, 3.9, 5.1), 18.8168063477918, 3.8149009669656),
        ((5, -3, 8), (-2, 4.5, -1.25), 14.7023887400111, 3.94671136672609),
    ],
)
def test_eight_voxels_give_the_integrals_worked_out_by_hand(start, end, integral, chord):
    i, j, k = np.indices((2, 2, 2))
    rays = oracle.segments(start, end)
    assert oracle.line_integrals(rays, 1 + 4 * i + 2 * j + k, CORNER_AT_ORIGIN)[0] == pytest.approx(integral, rel=1e-12)
    assert oracle.line_integrals(rays, np.ones((2, 2, 2)), CORNER_AT_ORIGIN)[0] == pytest.approx(chord, rel=1e-12)


@pytest.mark.parametrize(
    ("chord", "expected"),
    [
        (lambda rays: oracle.ellipsoid(rays, (100, 100, 100)), (200, 175.433381176255, 53.950705604690)),
        (lambda rays: oracle.ellipsoid(rays, (150, 90, 200)), (180, 171.956422412433, 144.046772833723)),
        (lambda rays: oracle.box(rays, (100, 160, 240)), (160, 160.184782187461, 0)),
        (lambda rays: oracle.cylinder(rays, (0, 0, 1), 60, 180), (120, 89.531618447961, 0)),
        (lambda rays: oracle.cylinder(rays, (1, 1, 0), 50, 200), (141.421356237309, 118.814046076179, 5.826400924137)),
    ],
    ids=["sphere", "ellipsoid", "box", "cylinder", "oblique cylinder"],
)
def test_primitives_have_the_published_chords(chord, expected):
    np.testing.assert_allclose(chord(oracle.segments((0, -1000, 0), TARGETS)), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("start", "end", "integral"),
    [
        ((0, -1000, 0), (0, 500, 0), 197.562025403785),
        ((0, -1000, -25), (0, 500, -25), 190.455671212659),
        ((-1000, 0, 0), (500, 0, 0), 146.1696),
        ((0, -1000, 0), (30, 500, -37.5), 180.334380704626),
        ((300, -900, 100), (-150, 450, -60), 189.465400071464),
        ((0, 0, -1000), (0, 0, 500), 187.52),
    ],
)
def test_shepp_logan_has_the_published_integrals(start, end, integral):
    assert oracle.shepp_logan(oracle.segments(start, end))[0] == pytest.approx(integral, rel=1e-12)


def test_a_sheared_grid_of_a_tilted_gantry_has_the_published_chords():
    tilt = np.radians(15)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0.8, 0, 0], [0, 0.8 * np.cos(tilt), 0], [0, 0.8 * np.sin(tilt), 3]])
    # The table gives the outer corner of the first voxel; the affine wants its centre.
    affine[:3, 3] = np.array([-40, -40, -30]) + affine[:3, :3] @ (0.5, 0.5, 0.5)
    starts = [(0, -1000, 0), (0, -1000, 0), (-500, 0, 0), (0, 0, -500)]
    rays = oracle.segments(starts, [(0, 500, 0), (50, 500, 20), (500, 0, 0), (0, 0, 500)])
    chords = oracle.line_integrals(rays, np.ones((100, 100, 20)), affine)
    np.testing.assert_allclose(chords, (77.274066103125, 77.323848909764, 80, 60), rtol=1e-12)


@pytest.mark.parametrize(("spacing", "rmse", "worst"), [(4, 1.656, 3.96), (2, 0.7995, 1.97)])
def test_a_voxelised_ball_differs_from_the_ball_by_the_published_error(spacing, rmse, worst):
    size = 256 // spacing
    centers = (np.arange(size) - (size - 1) / 2) * spacing
    x, y, z = np.meshgrid(centers, centers, centers, indexing="ij")
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = centers[0]
    u, v = (grid.ravel() for grid in np.meshgrid(centers, centers))
    rays = oracle.lines(np.stack([u, np.zeros_like(u), v], axis=1), (0, 1, 0))
    ball = x**2 + y**2 + z**2 <= 100**2
    error = oracle.line_integrals(rays, ball, affine) - oracle.ellipsoid(rays, (100, 100, 100))
    assert np.sqrt((error**2).mean()) == pytest.approx(rmse, rel=1e-3)
    assert np.abs(error).max() == pytest.approx(worst, rel=2e-3)


def test_random_rays_cross_a_random_grid_as_long_as_its_box():
    rng = np.random.default_rng(7)
    shape, spacing, corner = (7, 5, 9), np.array([0.7, 3.0, 1.3]), np.array([-2.0, -7.0, -6.0])
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = corner + spacing / 2
    rays = oracle.segments(rng.uniform(-15, 15, (500, 3)), rng.uniform(-15, 15, (500, 3)))
    edges = spacing * shape
    chord = oracle.box(rays, edges, corner + edges / 2)
    assert (chord > 0).sum() > 100
    assert (chord == 0).sum() > 100
    np.testing.assert_allclose(oracle.line_integrals(rays, np.ones(shape), affine), chord, atol=1e-12)


def test_a_face_belongs_to_the_voxel_that_begins_there():
    values = np.arange(1.0, 5.0).reshape(4, 1, 1)
    heights = [-0.5, 0.5, 1.5, 3.5]
    rays = oracle.lines([(x, 0, 0) for x in heights], (0, 1, 0))
    np.testing.assert_array_equal(oracle.line_integrals(rays, values, np.eye(4)), [1, 2, 3, 0])


def test_a_segment_that_ends_inside_counts_only_what_it_passed():
    values = np.array([1.0, 2.0, 4.0]).reshape(3, 1, 1)
    rays = oracle.segments([(0.25, 0, 0), (-9, 0, 0), (5, 0, 0)], [(1.75, 0, 0), (-5, 0, 0), (2, 0, 0)])
    np.testing.assert_allclose(oracle.line_integrals(rays, values, np.eye(4)), [0.25 + 2 + 0.25 * 4, 0, 0.5 * 4])


def test_path_lengths_of_sparse_ids_add_up_to_the_chord():
    rng = np.random.default_rng(3)
    ids = [70000, 1, 1024, 117]
    labels = rng.choice(ids, (6, 7, 8))
    rays = oracle.segments(rng.uniform(-20, -10, (50, 3)), rng.uniform(10, 20, (50, 3)))
    mm = oracle.path_lengths(rays, labels, np.eye(4), ids)
    np.testing.assert_allclose(mm.sum(axis=0), oracle.line_integrals(rays, np.ones((6, 7, 8)), np.eye(4)), atol=1e-12)
    for place, label_id in enumerate(ids):
        np.testing.assert_allclose(mm[place], oracle.line_integrals(rays, labels == label_id, np.eye(4)), atol=1e-12)


def test_rays_of_a_view_run_from_its_source_through_its_pixel_centres():
    cone = np.array([[1, 10, 0, 2], [2, 20, 0, 0], [3, 30, -5, 0], [1, 1, 0, 0]])
    rays = oracle.rays_of_view(cone, (2, 3))
    np.testing.assert_array_equal(rays.origin[5], (1, 2, 3))
    np.testing.assert_array_equal(rays.origin[5] + rays.direction[5], (14, 20, 25))
    parallel = cone.copy()
    parallel[:, 0] = (0, -1, 0, 0)
    rays = oracle.rays_of_view(parallel, (2, 3))
    assert rays.is_line
    np.testing.assert_array_equal(rays.origin[1], (12, 20, 30))
    np.testing.assert_array_equal(rays.direction[1], (0, 1, 0))
