"""Points and rays: where a point lands, which ray a pixel has, and that the image agrees to the pixel."""

from __future__ import annotations

import numpy as np
import oracle
import phantoms
import pytest

from drrproj import Geometry, Volume, project

SHAPE = (14, 11, 9)
DETECTOR = (30, 40)


def random_geometry(rng, beam, views=3, **choices):
    affine = phantoms.random_affine(rng, SHAPE)
    made = [phantoms.random_view(rng, SHAPE, affine, DETECTOR, beam, **choices) for _ in range(views)]
    return affine, Geometry(made, DETECTOR)


@pytest.mark.parametrize("beam", ["cone", "parallel"])
@pytest.mark.parametrize("seed", phantoms.SEEDS)
def test_points_land_where_their_ray_meets_the_detectors_plane(beam, seed):
    rng = np.random.default_rng([90, seed])
    affine, geometry = random_geometry(rng, beam)
    points = rng.uniform(-0.5, np.array(SHAPE) - 0.5, (50, 3)) @ affine[:3, :3].T + affine[:3, 3]
    for view, found in zip(geometry.views, geometry.project_points(points), strict=True):
        np.testing.assert_allclose(found, oracle.pixels_of_points(view, points), atol=1e-7)


@pytest.mark.parametrize("beam", ["cone", "parallel"])
@pytest.mark.parametrize("seed", phantoms.SEEDS)
def test_rays_are_those_of_the_pixels(beam, seed):
    rng = np.random.default_rng([91, seed])
    _, geometry = random_geometry(rng, beam)
    rows, columns = rng.uniform(-5, 45, (2, 20))
    origins, directions = geometry.rays(rows, columns)
    assert origins.shape == directions.shape == (3, 20, 3)
    for view in range(3):
        truth = oracle.rays_of_pixels(geometry.views[view], rows, columns)
        np.testing.assert_allclose(origins[view], truth.origin, atol=1e-9)
        np.testing.assert_allclose(directions[view], truth.direction / truth.mm_per_t[:, None], atol=1e-12)


@pytest.mark.parametrize("beam", ["cone", "parallel"])
@pytest.mark.parametrize("seed", phantoms.SEEDS)
def test_rays_are_the_inverse_of_projecting_points(beam, seed):
    rng = np.random.default_rng([92, seed])
    _, geometry = random_geometry(rng, beam)
    rows, columns = np.mgrid[: DETECTOR[0] : 7, : DETECTOR[1] : 9] + 0.25
    origins, directions = geometry.rays(rows, columns)
    assert origins.shape == (3, *rows.shape, 3)
    for mm in (1.0, 350.0):
        points = origins + mm * directions
        for view in range(3):
            found = geometry.project_points(points[view].reshape(-1, 3))[view].reshape(*rows.shape, 2)
            np.testing.assert_allclose(found, np.stack([rows, columns], axis=-1), atol=1e-6)


def test_rays_take_numbers_and_anything_that_broadcasts():
    geometry = random_geometry(np.random.default_rng(93), "cone")[1]
    assert geometry.rays(3, 4.5).origins.shape == (3, 3)
    origins, directions = geometry.rays(np.arange(5)[:, None], np.arange(7))
    assert directions.shape == (3, 5, 7, 3)
    np.testing.assert_array_equal(origins, np.broadcast_to(geometry.sources[:, None, None], origins.shape))
    np.testing.assert_allclose(np.linalg.norm(directions, axis=-1), 1)
    np.testing.assert_array_equal(directions[:, 2, 6], geometry.rays(2, 6).directions)


@pytest.mark.parametrize(("rows", "columns"), [(np.nan, 0), (0, [1, np.inf]), ([1, 2, 3], [1, 2])])
def test_rays_of_no_pixels_are_refused(rows, columns):
    geometry = random_geometry(np.random.default_rng(94), "cone")[1]
    with pytest.raises(ValueError, match=r"finite pixel|broadcast"):
        geometry.rays(rows, columns)


@pytest.mark.parametrize("beam", ["cone", "parallel"])
@pytest.mark.parametrize("seed", range(8))
def test_a_single_bright_voxel_is_drawn_at_the_pixel_where_its_centre_projects(beam, seed, backend):
    """The pixel is so large that the voxel's image lies wholly in it, and its centre's ray goes through the pixel's."""
    rng = np.random.default_rng([95, seed])
    affine, geometry = random_geometry(rng, beam, views=1)
    voxel = tuple(rng.integers(0, SHAPE))
    mu = np.zeros(SHAPE, np.float32)
    mu[voxel] = 1.0
    corners = (np.array(voxel) + phantoms.CUBE) @ affine[:3, :3].T + affine[:3, 3]
    center = affine[:3, :3] @ voxel + affine[:3, 3]
    row, column = geometry.project_points(center)[0, 0]
    # The same detector plane, in pixels around the voxel's image, one of them in its middle.
    apart = np.abs(geometry.project_points(corners)[0] - (row, column)).max()
    view = geometry.views[0].copy()
    view[:, 1] += row * view[:, 2] + column * view[:, 3]
    view[:, 2:] *= 1.2 * apart
    view[:, 1] -= 3 * view[:, 2] + 5 * view[:, 3]
    around = Geometry(view, (8, 9))
    image = project(Volume(mu, affine, unit="1/mm"), around, backend=backend).line_integral[0]
    np.testing.assert_allclose(around.project_points(center)[0, 0], (3, 5), atol=1e-9)
    assert np.argwhere(image).tolist() == [[3, 5]]
    ray = oracle.rays_of_pixels(view, [3], [5])
    assert image[3, 5] == pytest.approx(oracle.line_integrals(ray, mu, affine)[0], rel=1e-5)


@pytest.mark.parametrize("beam", ["cone", "parallel"])
@pytest.mark.parametrize("seed", range(4))
def test_the_brightness_of_a_voxel_centres_where_its_centre_projects(beam, seed, backend):
    rng = np.random.default_rng([96, seed])
    affine, geometry = random_geometry(rng, beam, views=1, distance=(3.0, 4.0))
    voxel = tuple(rng.integers(0, SHAPE))
    mu = np.zeros(SHAPE, np.float32)
    mu[voxel] = 1.0
    corners = (np.array(voxel) + phantoms.CUBE) @ affine[:3, :3].T + affine[:3, 3]
    pixels = geometry.project_points(corners)[0]
    # A fine detector over the voxel's image alone: 200 pixels along each side of it.
    view = geometry.views[0].copy()
    low, size = pixels.min(axis=0), np.ptp(pixels, axis=0)
    view[:, 1] += (low[0] - 0.05 * size[0]) * view[:, 2] + (low[1] - 0.05 * size[1]) * view[:, 3]
    view[:, 2:] *= 1.1 * size / 200
    fine = Geometry(view, (201, 201))
    image = project(Volume(mu, affine, unit="1/mm"), fine, backend=backend).line_integral[0].astype(float)
    centroid = [(grid * image).sum() / image.sum() for grid in np.indices(image.shape)]
    expected = fine.project_points(affine[:3, :3] @ voxel + affine[:3, 3])[0, 0]
    # The near half of a voxel is magnified a little more than the far half: up to a pixel of 200.
    np.testing.assert_allclose(centroid, expected, atol=0.2 if beam == "parallel" else 1.5)
