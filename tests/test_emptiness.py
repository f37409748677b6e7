"""What a projector skips because nothing is there changes no bit of any output."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref

import numpy as np
import phantoms
import pytest

from drrproj import Geometry, LabelVolume, Projector, Volume, project

SHAPE, DETECTOR = (70, 52, 90), (40, 60)
VIEWS = 12


@pytest.fixture
def scene():
    """A small body in much padding, with labels inside it, seen from everywhere."""
    rng = np.random.default_rng(40)
    affine = phantoms.random_affine(rng, SHAPE)
    hu = np.full(SHAPE, -2048, np.int16)
    hu[30:45, 20:33, 35:70] = rng.integers(-1000, 1500, (15, 13, 35))
    labels = np.zeros(SHAPE, np.uint8)
    labels[33:41, 22:30, 40:60] = rng.integers(0, 5, (8, 8, 20))
    views = [phantoms.random_view(rng, SHAPE, affine, DETECTOR, beam) for beam in ("cone", "parallel") * (VIEWS // 2)]
    return Volume(hu, affine), LabelVolume(labels, affine), Geometry(views, DETECTOR)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("threads", [1, 3])
def test_many_views_of_one_projector_equal_single_calls_bit_for_bit(backend, scene, order, threads):
    volume, labels, geometry = scene
    volume = Volume(np.asarray(volume.array, order=order), volume.affine)
    labels = LabelVolume(np.asarray(labels.array, order=order), labels.affine)
    projector = Projector(volume, labels=labels, backend=backend, threads=threads)
    # The first call may still look at everything, the second knows what is empty.
    first, second = projector.project(geometry), projector.project(geometry)
    for number in range(VIEWS):
        # Of labels that were not projected before, nothing is known.
        unknown = LabelVolume(labels.array, labels.affine)
        alone = project(volume, geometry[[number]], labels=unknown, backend=backend, threads=threads)
        assert alone.line_integral.any()
        for shot in (first, second):
            np.testing.assert_array_equal(shot.line_integral[number], alone.line_integral[0])
            np.testing.assert_array_equal(shot.path_length.array[:, number], alone.path_length.array[:, 0])
            np.testing.assert_array_equal(shot.masks.packed[:, number], alone.masks.packed[:, 0])


def test_an_empty_volume_gives_an_empty_image_however_often(backend, scene):
    volume, _, geometry = scene
    air = Volume(np.full(SHAPE, -1000, np.int16), volume.affine)
    projector = Projector(air, backend=backend)
    for _ in range(2):
        assert not projector.project(geometry).line_integral.any()


@pytest.mark.parametrize("first", [16, 32])
def test_lines_beside_an_edge_of_emptiness_are_not_skipped_with_their_neighbours(backend, first):
    # Emptiness is known for cubes of 16 voxels; rows of pixels are walked together, some above the edge, some below.
    hu = np.full((40, 48, 96), -1000, np.int16)
    hu[:, :, first : first + 16] = np.random.default_rng(41).integers(0, 900, (40, 48, 16))
    volume = Volume(np.asfortranarray(hu), np.eye(4))
    view = Geometry.radiograph("AP", volume, shape=(160, 70), beam="parallel")
    views = Geometry.concatenate([view.shifted(down=0.4 * step) for step in range(VIEWS)])
    projector = Projector(volume, backend=backend)
    projector.project(views)
    known = projector.project(views).line_integral
    for number in range(VIEWS):
        alone = project(volume, views[[number]], backend=backend)
        np.testing.assert_array_equal(known[number], alone.line_integral[0])


STORED = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "backwards": lambda array: np.ascontiguousarray(array[::-1, ::-1, ::-1])[::-1, ::-1, ::-1],
    "every second of more": lambda array: np.repeat(array, 2, axis=2)[:, :, ::2],
}


@pytest.mark.parametrize("store", STORED.values(), ids=STORED)
@pytest.mark.parametrize(("dtype", "scale"), [(np.uint8, 1), (np.int16, 257), (np.int64, 2**40)])
def test_what_is_known_of_labels_from_call_to_call_changes_no_bit(backend, scene, store, dtype, scale):
    volume, labels, geometry = scene
    ids = labels.array.astype(dtype) * dtype(scale)
    # A voxel of its own in the last cube of each axis, which is cut off.
    ids[-1, -1, -1] = scale
    again = LabelVolume(store(ids), labels.affine)
    options = {"outputs": ("path_length", "mask", "depth"), "backend": backend}
    for number in range(4):
        known = project(volume, geometry[[number]], labels=again, **options)
        fresh = project(volume, geometry[[number]], labels=LabelVolume(store(ids), labels.affine), **options)
        assert known.path_length.array.any()
        for name in ("path_length", "entry_depth", "exit_depth"):
            np.testing.assert_array_equal(getattr(known, name).array, getattr(fresh, name).array)
        np.testing.assert_array_equal(known.masks.packed, fresh.masks.packed)


def test_labels_that_are_known_are_walked_beside_volumes_of_any_orientation(backend, scene):
    volume, labels, geometry = scene
    turned_axes = volume.affine @ np.array([[0, -1, 0, SHAPE[0] - 1], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    turned = Volume(np.ascontiguousarray(volume.array[::-1].transpose(2, 0, 1)), turned_axes)
    flipped_axes = volume.affine @ np.array([[-1, 0, 0, SHAPE[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    flipped = Volume(np.ascontiguousarray(volume.array[::-1]), flipped_axes)
    np.testing.assert_allclose(turned.center, volume.center)
    np.testing.assert_allclose(flipped.center, volume.center)
    for ct in (volume, turned, flipped):
        for number in range(3):
            known = project(ct, geometry[[number]], labels=labels, backend=backend)
            fresh = LabelVolume(labels.array, labels.affine)
            expected = project(ct, geometry[[number]], labels=fresh, backend=backend)
            np.testing.assert_array_equal(known.path_length.array, expected.path_length.array)


@pytest.mark.parametrize("store", STORED.values(), ids=STORED)
def test_a_voxel_in_much_background_is_found_wherever_it_is(backend, store):
    rng = np.random.default_rng(42)
    shape = (40, 35, 50)
    ct = Volume(np.zeros(shape, np.float32), np.eye(4), unit="1/mm")
    view = Geometry.radiograph("AP", ct, beam="parallel", shape=(100, 80), pixel_spacing=0.5)
    for voxel in rng.integers(0, shape, (12, 3)):
        array = np.zeros(shape, np.uint16)
        array[tuple(voxel)] = 300
        labels = LabelVolume(store(array), np.eye(4))
        for _ in range(3):
            shot = project(ct, view, labels=labels, outputs=("path_length",), backend=backend)
        # A voxel of 1 mm in pixels of 0.5 mm.
        assert shot.path_length.array.sum() == pytest.approx(4, abs=1e-3)


def test_labels_that_were_projected_are_freed_with_their_last_name(backend, scene):
    volume, labels, geometry = scene
    labels = LabelVolume(labels.array.copy(), labels.affine)
    there = weakref.ref(labels.array)
    gc.disable()
    try:
        project(volume, geometry, labels=labels, backend=backend)
        del labels
        assert there() is None
    finally:
        gc.enable()


def test_labels_that_were_projected_can_be_copied_and_pickled(scene):
    volume, labels, geometry = scene
    expected = project(volume, geometry, labels=labels).masks.packed
    for other in (pickle.loads(pickle.dumps(labels)), copy.deepcopy(labels), labels.subset(labels.label_ids)):
        np.testing.assert_array_equal(project(volume, geometry, labels=other).masks.packed, expected)
