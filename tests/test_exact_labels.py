"""Path length per label and masks against the oracle."""

from __future__ import annotations

import numpy as np
import oracle
import phantoms
import pytest

from drrproj import Geometry, LabelVolume, Volume, project

SHAPE, DETECTOR = (17, 15, 19), (25, 30)


def shot_of(backend, labels, affine, views, detector=DETECTOR, ct=None, **options):
    ct = Volume(np.zeros(labels.shape, np.float32), affine, unit="1/mm") if ct is None else ct
    geometry = Geometry(views, detector)
    return project(ct, geometry, labels=LabelVolume(labels, affine), backend=backend, **options)


def assert_masks_agree(shot, labels, affine, detector):
    """A mask is set where a ray runs a micrometre or more in a label, and clear where it passes clear of it."""
    ids = shot.masks.label_ids
    truth = oracle.path_length_images(labels, affine, shot.geometry.views, detector, ids)
    masks = shot.masks.array
    assert masks.shape == truth.shape
    assert masks[truth > 1e-3].all()
    # A ray within a thousandth of a pixel of a label may count as met or not; farther away it must not.
    near = truth > 0
    for step in (2, 3):
        for sign in (-1e-3, 1e-3):
            views = shot.geometry.views.copy()
            views[:, :, 1] += sign * views[:, :, step]
            near |= oracle.path_length_images(labels, affine, views, detector, ids) > 0
    assert not (masks & ~near).any()


@pytest.mark.parametrize("seed", phantoms.SEEDS)
@pytest.mark.parametrize("beam", ["cone", "parallel"])
def test_paths_are_exact_when_every_voxel_differs_from_its_neighbours(backend, beam, seed):
    rng = np.random.default_rng([60, seed])
    affine = phantoms.random_affine(rng, SHAPE)
    checkers = np.indices(SHAPE).sum(axis=0) % 2
    labels = (rng.integers(1, 5, SHAPE) * 2 + checkers).astype(np.uint8)
    views = [phantoms.random_view(rng, SHAPE, affine, DETECTOR, beam) for _ in range(2)]
    shot = shot_of(backend, labels, affine, views)
    ids = sorted(np.unique(labels).tolist())
    assert list(shot.path_length.label_ids) == ids
    oracle.assert_exact_paths(shot.path_length.array, oracle.path_length_images(labels, affine, views, DETECTOR, ids))
    assert_masks_agree(shot, labels, affine, DETECTOR)


def test_paths_in_organ_like_blobs_are_exact(backend):
    rng = np.random.default_rng(61)
    affine = phantoms.random_affine(rng, SHAPE)
    grid = np.moveaxis(np.indices(SHAPE), 0, -1)
    labels = np.zeros(SHAPE, np.uint8)
    for label_id in range(1, 8):
        labels[np.linalg.norm(grid - rng.uniform(2, 14, 3), axis=-1) < rng.uniform(2, 6)] = label_id
    views = [phantoms.random_view(rng, SHAPE, affine, DETECTOR, "cone") for _ in range(3)]
    shot = shot_of(backend, labels, affine, views)
    truth = oracle.path_length_images(labels, affine, views, DETECTOR, shot.path_length.label_ids)
    oracle.assert_exact_paths(shot.path_length.array, truth)
    assert_masks_agree(shot, labels, affine, DETECTOR)


def test_sparse_and_large_ids_keep_their_ids(backend):
    rng = np.random.default_rng(62)
    affine = phantoms.random_affine(rng, SHAPE)
    labels = rng.choice(np.array([0, 1, 117, 1024, 70000]), SHAPE).astype(np.int32)
    views = [phantoms.random_view(rng, SHAPE, affine, DETECTOR, "cone")]
    shot = shot_of(backend, labels, affine, views)
    assert shot.path_length.label_ids == shot.masks.label_ids == (1, 117, 1024, 70000)
    truth = oracle.path_length_images(labels, affine, views, DETECTOR, (1, 117, 1024, 70000))
    oracle.assert_exact_paths(shot.path_length.array, truth)
    np.testing.assert_array_equal(shot.path_length[70000], shot.path_length.array[3])
    assert_masks_agree(shot, labels, affine, DETECTOR)


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 129, 300])
def test_any_number_of_labels_is_exact(backend, count):
    rng = np.random.default_rng([63, count])
    affine = phantoms.random_affine(rng, SHAPE)
    labels = rng.integers(0, count + 1, SHAPE).astype(np.uint16)
    labels.ravel()[:count] = np.arange(1, count + 1)
    views = [phantoms.random_view(rng, SHAPE, affine, DETECTOR, "cone")]
    shot = shot_of(backend, labels, affine, views)
    ids = tuple(range(1, count + 1))
    assert shot.path_length.label_ids == ids
    oracle.assert_exact_paths(shot.path_length.array, oracle.path_length_images(labels, affine, views, DETECTOR, ids))
    assert_masks_agree(shot, labels, affine, DETECTOR)


@pytest.mark.parametrize("seed", phantoms.SEEDS)
def test_paths_of_a_partition_add_up_to_the_chord(backend, seed):
    rng = np.random.default_rng([64, seed])
    affine = phantoms.random_affine(rng, SHAPE)
    labels = rng.integers(1, 101, SHAPE).astype(np.uint8)
    views = [phantoms.random_view(rng, SHAPE, affine, DETECTOR, beam) for beam in ("cone", "parallel")]
    chord = oracle.line_integral_images(np.ones(SHAPE), affine, views, DETECTOR)
    shot = shot_of(backend, labels, affine, views)
    total = shot.path_length.array.sum(axis=0, dtype=np.float64)
    np.testing.assert_allclose(total, chord, rtol=1e-5, atol=1e-5 * chord.max())


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("offset", [0.0, 0.25, -0.5])
def test_a_parallel_mask_along_an_axis_is_numpy_any(backend, offset, sign, axis):
    rng = np.random.default_rng([65, axis])
    labels = np.where(rng.random(SHAPE) < 0.02, rng.integers(1, 6, SHAPE), 0).astype(np.uint8)
    affine = phantoms.affine_around(np.array([3.0, 5.0, -7.0]), np.diag([0.5, 2.0, 1.0]), SHAPE)
    detector = tuple(n for at, n in enumerate(SHAPE) if at != axis)
    row_step, column_step = (affine[:3, at] for at in range(3) if at != axis)
    center = phantoms.box_of(SHAPE, affine)[0] + offset * row_step + offset * column_step
    view = phantoms.view_matrix(sign * np.eye(3)[axis], 0.0, center, row_step, column_step, detector)
    shot = shot_of(backend, labels, affine, view, detector)
    assert shot.masks.label_ids == (1, 2, 3, 4, 5)
    for label_id in shot.masks.label_ids:
        hit = labels == label_id
        np.testing.assert_array_equal(shot.masks[label_id][0], hit.any(axis=axis))
        mm = hit.sum(axis=axis) * np.linalg.norm(affine[:3, axis])
        np.testing.assert_allclose(shot.path_length[label_id][0], mm, rtol=1e-6)


@pytest.mark.parametrize("seed", phantoms.SEEDS)
def test_labels_on_a_grid_of_their_own_are_traced_on_it(backend, seed):
    rng = np.random.default_rng([66, seed])
    ct_shape, label_shape = (14, 12, 16), (21, 9, 13)
    ct_affine = phantoms.random_affine(rng, ct_shape)
    center, diagonal = phantoms.box_of(ct_shape, ct_affine)
    label_affine = phantoms.affine_around(
        center + rng.uniform(-0.1, 0.1, 3) * diagonal, phantoms.rotation(rng) * diagonal / 30, label_shape
    )
    mu = phantoms.noise(rng, ct_shape)
    labels = rng.integers(0, 6, label_shape).astype(np.uint8)
    views = [phantoms.random_view(rng, ct_shape, ct_affine, DETECTOR, beam) for beam in ("cone", "parallel")]
    ct = Volume(mu, ct_affine, unit="1/mm")
    shot = shot_of(backend, labels, label_affine, views, ct=ct)
    oracle.assert_exact(shot.line_integral, oracle.line_integral_images(mu, ct_affine, views, DETECTOR))
    truth = oracle.path_length_images(labels, label_affine, views, DETECTOR, (1, 2, 3, 4, 5))
    oracle.assert_exact_paths(shot.path_length.array, truth)
    assert_masks_agree(shot, labels, label_affine, DETECTOR)


def test_a_crop_of_the_labels_has_the_same_paths_as_the_whole(backend):
    rng = np.random.default_rng(67)
    affine = phantoms.random_affine(rng, SHAPE)
    labels = np.zeros(SHAPE, np.uint8)
    labels[4:9, 5:12, 3:8] = rng.integers(1, 4, (5, 7, 5))
    cropped = affine.copy()
    cropped[:3, 3] += affine[:3, :3] @ (4, 5, 3)
    views = [phantoms.random_view(rng, SHAPE, affine, DETECTOR, "cone")]
    ct = Volume(phantoms.noise(rng, SHAPE), affine, unit="1/mm")
    whole = shot_of(backend, labels, affine, views, ct=ct)
    part = shot_of(backend, labels[4:9, 5:12, 3:8], cropped, views, ct=ct)
    truth = oracle.path_length_images(labels, affine, views, DETECTOR, (1, 2, 3))
    oracle.assert_exact_paths(whole.path_length.array, truth)
    oracle.assert_exact_paths(part.path_length.array, truth)


@pytest.mark.parametrize("voxel", [(0, 0, 0), (8, 7, 9), (16, 14, 18), (16, 0, 18)])
def test_a_label_of_one_voxel_is_always_found(backend, voxel):
    labels = np.zeros(SHAPE, np.uint8)
    labels[voxel] = 117
    # Pixels at half the voxel's size: thousands of millimetres of other voxels do not hide it.
    detector = (2 * 19 + 10, 2 * 17 + 10)
    view = phantoms.view_matrix((8, 3000, 9), 1.0, (8, -100, 9), (0, 0, -0.5), (-0.5, 0, 0), detector)
    shot = shot_of(backend, labels, np.eye(4), view, detector)
    truth = oracle.path_length_images(labels, np.eye(4), [view], detector, [117])
    assert truth.max() == pytest.approx(1, rel=1e-2)
    np.testing.assert_allclose(shot.path_length.array, truth, atol=1e-4 * truth.max())
    assert_masks_agree(shot, labels, np.eye(4), detector)


def test_air_inside_a_label_is_found_by_its_millimetres_not_its_attenuation(backend):
    hu = np.full(SHAPE, 40, np.int16)
    hu[4:13, 4:11, 5:14] = -1000
    labels = np.zeros(SHAPE, np.uint8)
    labels[4:13, 4:11, 5:14] = 3
    ct = Volume(hu, np.eye(4))
    view = phantoms.view_matrix((0, 1, 0), 0.0, (8, 0, 9), (0, 0, -1.0), (-1.0, 0, 0), DETECTOR)
    shot = project(ct, Geometry(view, DETECTOR), labels=LabelVolume(labels, np.eye(4), {3: "trachea"}), backend=backend)
    assert shot.path_length["trachea"].max() == pytest.approx(7, rel=1e-6)
    assert shot.masks["trachea"].sum() == 9 * 9


@pytest.mark.filterwarnings("ignore:.*the source is inside the volume")
def test_rays_of_views_that_start_inside_the_labels_count_only_what_they_passed(backend):
    rng = np.random.default_rng(68)
    affine = phantoms.random_affine(rng, SHAPE)
    labels = rng.integers(0, 4, SHAPE).astype(np.uint8)
    center, diagonal = phantoms.box_of(SHAPE, affine)
    beam_axis, row_step, column_step = phantoms.rotation(rng).T * diagonal * 0.02
    views = [
        phantoms.view_matrix(center, 1.0, center + reach * beam_axis, row_step, column_step, DETECTOR)
        for reach in (8, 80)
    ]
    shot = shot_of(backend, labels, affine, views)
    oracle.assert_exact_paths(
        shot.path_length.array, oracle.path_length_images(labels, affine, views, DETECTOR, (1, 2, 3))
    )
    assert_masks_agree(shot, labels, affine, DETECTOR)


@pytest.mark.parametrize("outputs", [("mask",), ("path_length",), ("line_integral",), ("mask", "path_length")])
def test_each_output_alone_is_what_it_is_with_the_others(backend, outputs):
    rng = np.random.default_rng(69)
    affine = phantoms.random_affine(rng, SHAPE)
    ct = Volume(phantoms.noise(rng, SHAPE), affine, unit="1/mm")
    labels = rng.integers(0, 70, SHAPE).astype(np.uint8)
    views = [phantoms.random_view(rng, SHAPE, affine, DETECTOR, "cone") for _ in range(2)]
    everything = shot_of(backend, labels, affine, views, ct=ct)
    some = shot_of(backend, labels, affine, views, ct=ct, outputs=outputs)
    assert ("line_integral" in some.images) == ("line_integral" in outputs)
    assert ("path_length" in some.images) == ("path_length" in outputs)
    assert ("masks" in some.images) == ("mask" in outputs)
    if "line_integral" in some.images:
        np.testing.assert_allclose(some.line_integral, everything.line_integral, rtol=1e-6)
    if "path_length" in some.images:
        np.testing.assert_allclose(some.path_length.array, everything.path_length.array, rtol=1e-6, atol=1e-6)
    if "masks" in some.images:
        np.testing.assert_array_equal(some.masks.array, everything.masks.array)
