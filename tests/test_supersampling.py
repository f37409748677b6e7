"""Several rays per pixel: photons are averaged, path lengths too, and a mask is any ray's."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import oracle
import phantoms
import pytest

from drrproj import Geometry, LabelVolume, Projector, Volume, project

SHAPE = (16, 13, 11)
DETECTOR = (9, 12)


def scene(seed, beam, *, views=2):
    rng = np.random.default_rng([110, seed])
    affine = phantoms.random_affine(rng, SHAPE)
    geometry = Geometry([phantoms.random_view(rng, SHAPE, affine, DETECTOR, beam) for _ in range(views)], DETECTOR)
    return Volume(phantoms.noise(rng, SHAPE), affine, unit="1/mm"), rng.integers(0, 4, SHAPE, dtype=np.uint8), geometry


def rays_within_pixels(view, n):
    """Rays through the middles of n x n parts of each pixel, shape (rows, columns, n, n) row by row."""
    part = (np.arange(n) + 0.5) / n - 0.5
    rows, columns, down, right = np.meshgrid(*map(np.arange, DETECTOR), part, part, indexing="ij")
    return oracle.rays_of_pixels(view, rows + down, columns + right)


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("beam", ["cone", "parallel"])
def test_images_are_averages_of_exact_rays(beam, n, backend):
    volume, ids, geometry = scene(1, beam)
    labels = LabelVolume(ids, volume.affine)
    shot = project(volume, geometry, labels=labels, supersampling=n, backend=backend)
    for view in range(len(geometry)):
        rays = rays_within_pixels(geometry.views[view], n)
        parts = oracle.line_integrals(rays, volume.array, volume.affine).reshape(*DETECTOR, n * n)
        truth = -np.log(np.exp(-parts).mean(axis=-1))
        assert np.abs(truth - parts.mean(axis=-1)).max() > 1e-3 * truth.max()  # the mean of the exponents is another
        oracle.assert_exact(shot.line_integral[view], truth)
        paths = oracle.path_lengths(rays, ids, volume.affine, labels.label_ids).reshape(-1, *DETECTOR, n * n)
        oracle.assert_exact_paths(shot.path_length.array[:, [view]], paths.mean(axis=-1)[:, None])
        clear = ((paths < 1e-12) | (paths > 1e-3)).all(axis=-1)
        np.testing.assert_array_equal(shot.masks.array[:, view][clear], (paths > 0).any(axis=-1)[clear])
    assert shot.record["supersampling"] == n


def test_one_ray_is_the_default_to_the_last_bit(backend):
    volume, ids, geometry = scene(2, "cone")
    labels = LabelVolume(ids, volume.affine)
    plain = project(volume, geometry, labels=labels, backend=backend)
    one = project(volume, geometry, labels=labels, supersampling=1, backend=backend)
    np.testing.assert_array_equal(one.line_integral, plain.line_integral)
    np.testing.assert_array_equal(one.path_length.array, plain.path_length.array)
    assert plain.record["supersampling"] == 1


def test_a_pixel_half_covered_by_something_opaque_lets_half_of_the_photons_through():
    # A plate that a parallel beam cannot pass (3000 mean free paths) over the left half of the middle pixel.
    plate = np.zeros((6, 3, 6), np.float32)
    plate[3:] = 1000.0
    view = Geometry.parallel((0, -1, 0), (0, 0, 0), (0, 0, -2), (-2, 0, 0), shape=(1, 3))
    affine = phantoms.affine_around(np.zeros(3), np.eye(3), plate.shape)
    shot = project(Volume(plate, affine, unit="1/mm"), view, supersampling=4)
    np.testing.assert_allclose(shot.transmission[0, 0], (0, 0.5, 1), atol=1e-6)
    assert shot.line_integral[0, 0, 0] == pytest.approx(3000)
    assert shot.line_integral[0, 0, 1] == pytest.approx(np.log(2))


def test_a_structure_between_the_rays_of_pixel_centres_is_found():
    ids = np.zeros((60, 3, 60), np.uint8)
    ids[30, 1, 30] = 7
    affine = phantoms.affine_around(np.zeros(3), np.eye(3), ids.shape)
    view = Geometry.parallel((0, -1, 0), (0, 0, 0), (0, 0, -12), (-12, 0, 0), shape=(4, 4))
    ct = Volume(np.ones(ids.shape, np.float32), affine, unit="1/mm")
    assert not project(ct, view, labels=LabelVolume(ids, affine)).masks[7].any()
    shot = project(ct, view, labels=LabelVolume(ids, affine), supersampling=12)
    assert shot.masks[7].sum() == 1
    assert shot.path_length[7].sum() == pytest.approx(1 / 144)


def test_a_projector_keeps_its_number_of_rays_when_it_is_pickled():
    volume, _, geometry = scene(3, "cone")
    projector = Projector(volume, supersampling=2)
    image = project(volume, geometry, supersampling=2).line_integral
    np.testing.assert_array_equal(projector.project(geometry).line_integral, image)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(projector)).project(geometry).line_integral, image)


def test_every_label_volume_and_threshold_is_averaged(backend):
    volume, ids, geometry = scene(6, "cone")
    other = LabelVolume((ids == 2).astype(np.uint8)[:, ::-1], volume.affine, {1: "other"})
    labels = LabelVolume(ids, volume.affine, {1: "one", 2: "two", 3: "three"})
    shot = project(volume, geometry, labels=[labels, other], min_path_mm={"two": 4}, supersampling=2, backend=backend)
    assert list(shot.path_length) == list(shot.masks) == ["one", "two", "three", "other"]
    rays = rays_within_pixels(geometry.views[0], 2)
    for name, array, values, least in (("two", ids, (2,), 4.0), ("other", other.array, (1,), 0.0)):
        paths = oracle.path_lengths(rays, array, volume.affine, values).reshape(*DETECTOR, 4)
        oracle.assert_exact_paths(shot.path_length[name][None, :1], paths.mean(axis=-1)[None, None])
        clear = (np.abs(paths - least) > 1e-3).all(axis=-1) | (paths < 1e-12).all(axis=-1)
        np.testing.assert_array_equal(shot.masks[name][0][clear], (paths > least).any(axis=-1)[clear])


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"outputs": ["mask", "depth"]}, "output 'depth' has no average over the rays of a pixel"),
        ({"outputs": ["label_line_integral"]}, "output 'label_line_integral' has no average"),
        ({"label_images": "crops"}, 'averages whole images; leave out label_images="crops"'),
    ],
)
def test_what_has_no_average_is_refused(choices, message):
    volume, ids, geometry = scene(7, "cone")
    labels = LabelVolume(ids, volume.affine)
    project(volume, geometry, labels=labels, **choices)
    with pytest.raises(ValueError, match=message):
        project(volume, geometry, labels=labels, supersampling=2, **choices)


def test_infinite_values_are_refused_although_no_photon_passes_them():
    array = np.ones(SHAPE, np.float32)
    array[:, 3] = np.inf
    volume = Volume(array, np.eye(4), unit="1/mm")
    with pytest.raises(ValueError, match="infinite values"):
        project(volume, Geometry.radiograph("PA", volume, shape=DETECTOR), supersampling=2)


@pytest.mark.parametrize("n", [0, -1, 1.5, True, "2"])
def test_other_numbers_of_rays_are_refused(n):
    volume, _, geometry = scene(4, "cone")
    with pytest.raises(ValueError, match="supersampling must be a positive whole number"):
        project(volume, geometry, supersampling=n)


def test_the_memory_of_an_average_is_counted(monkeypatch):
    volume, _, geometry = scene(5, "cone")
    monkeypatch.setattr(
        sys.modules["drrproj.project"], "_memory", lambda: 8.0 * len(geometry) * DETECTOR[0] * DETECTOR[1]
    )
    project(volume, geometry)
    with pytest.raises(MemoryError, match="outputs need"):
        project(volume, geometry, supersampling=2)
