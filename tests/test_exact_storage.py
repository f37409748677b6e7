"""How the voxels are stored - order, strides, number type, orientation - never changes the image."""

from __future__ import annotations

import numpy as np
import oracle
import phantoms
import pytest

from drrproj import Geometry, LabelVolume, Volume, attenuation, project

SHAPE, DETECTOR = (11, 9, 14), (21, 18)


@pytest.fixture
def scene():
    rng = np.random.default_rng(30)
    affine = phantoms.random_affine(rng, SHAPE)
    views = [phantoms.random_view(rng, SHAPE, affine, DETECTOR, beam) for beam in ("cone", "parallel")]
    return rng, affine, views


def line_integral(backend, array, affine, views):
    return project(Volume(array, affine, unit="1/mm"), Geometry(views, DETECTOR), backend=backend).line_integral


@pytest.mark.parametrize("is_copied", [True, False], ids=["stored anew", "as permuted strides"])
def test_all_48_axis_orientations_of_one_volume_give_the_same_image(backend, scene, is_copied):
    rng, affine, views = scene
    array = phantoms.noise(rng, SHAPE)
    truth = oracle.line_integral_images(array, affine, views, DETECTOR)
    for order, flips in phantoms.AXIS_ORIENTATIONS:
        stored, stored_affine = phantoms.reoriented(array, affine, order, flips)
        stored = np.ascontiguousarray(stored) if is_copied else stored
        oracle.assert_exact(line_integral(backend, stored, stored_affine, views), truth)


@pytest.mark.parametrize("is_copied", [True, False], ids=["stored anew", "as permuted strides"])
def test_all_48_axis_orientations_of_one_label_volume_give_the_same_paths(backend, scene, is_copied):
    rng, affine, views = scene
    ct = Volume(np.zeros(SHAPE, np.float32), affine, unit="1/mm")
    labels = rng.integers(0, 4, SHAPE).astype(np.uint8)
    truth = oracle.path_length_images(labels, affine, views, DETECTOR, [1, 2, 3])
    for order, flips in phantoms.AXIS_ORIENTATIONS:
        stored, stored_affine = phantoms.reoriented(labels, affine, order, flips)
        stored = np.ascontiguousarray(stored) if is_copied else stored
        shot = project(ct, Geometry(views, DETECTOR), labels=LabelVolume(stored, stored_affine), backend=backend)
        oracle.assert_exact_paths(shot.path_length.array, truth)


@pytest.mark.parametrize(
    "store",
    [
        np.ascontiguousarray,
        np.asfortranarray,
        lambda a: np.ascontiguousarray(a[::-1, :, ::-1])[::-1, :, ::-1],
        lambda a: np.repeat(a, 2, axis=0)[::2],
        lambda a: np.repeat(a, 3, axis=2)[:, :, 1::3],
        lambda a: np.pad(a, 4, constant_values=9)[4:-4, 4:-4, 4:-4],
        lambda a: np.asfortranarray(np.pad(a, 2, constant_values=9))[2:-2, 2:-2, 2:-2],
        lambda a: np.stack([a, a + 1], axis=-1)[..., 0],
        lambda a: np.ascontiguousarray(a.transpose(2, 0, 1)).transpose(1, 2, 0),
        lambda a: np.frombuffer(b"\0" + a.tobytes(), np.uint8)[1:].view(a.dtype).reshape(a.shape),
    ],
    ids=["C", "F", "reversed", "every other", "every third", "crop", "F crop", "channel", "turned", "unaligned"],
)
def test_any_strides_are_read_in_place(backend, scene, store):
    rng, affine, views = scene
    array = phantoms.noise(rng, SHAPE)
    stored = store(array)
    np.testing.assert_array_equal(stored, array)
    truth = oracle.line_integral_images(array, affine, views, DETECTOR)
    oracle.assert_exact(line_integral(backend, stored, affine, views), truth)


def test_a_read_only_broadcast_array_is_read_in_place(backend, scene):
    _, affine, views = scene
    array = np.broadcast_to(np.float32(0.02), SHAPE)
    truth = oracle.line_integral_images(array, affine, views, DETECTOR)
    oracle.assert_exact(line_integral(backend, array, affine, views), truth)


@pytest.mark.filterwarnings("ignore:the volume's unit is HU, and it has no values below")
@pytest.mark.parametrize("model", [attenuation.bilinear(50), None], ids=["HU", "1/mm"])
@pytest.mark.parametrize(
    "dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", ">i2", ">f4", "bool"]
)
def test_every_number_type_gives_the_integral_of_its_values(backend, scene, dtype, model):
    rng, affine, views = scene
    values = rng.integers(0, 2 if dtype == "bool" else 120, SHAPE)
    if model and np.dtype(dtype).kind in "if":
        values[rng.random(SHAPE) < 0.3] *= -1
    array = values.astype(dtype)
    volume = Volume(array, affine, unit="HU" if model else "1/mm")
    image = project(volume, Geometry(views, DETECTOR), attenuation=model, backend=backend).line_integral
    oracle.assert_exact(image, oracle.line_integral_images(model(values) if model else values, affine, views, DETECTOR))


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", ">u2", "bool"])
def test_every_label_number_type_gives_the_same_paths(backend, scene, dtype):
    rng, affine, views = scene
    labels = rng.integers(0, 2, SHAPE) * (1 if dtype == "bool" else 99)
    label_id = int(labels.max())
    ct = Volume(np.zeros(SHAPE, np.float32), affine, unit="1/mm")
    shot = project(ct, Geometry(views, DETECTOR), labels=LabelVolume(labels.astype(dtype), affine), backend=backend)
    truth = oracle.path_length_images(labels, affine, views, DETECTOR, [label_id])
    oracle.assert_exact_paths(shot.path_length.array, truth)


@pytest.mark.filterwarnings("ignore:the volume.s unit is 1/mm")
@pytest.mark.parametrize("dtype", ["i2", "u2", "i4", "u4"])
def test_the_largest_and_smallest_numbers_of_a_type_are_read_as_they_are(backend, scene, dtype):
    rng, affine, views = scene
    bounds = np.iinfo(dtype)
    array = rng.choice(np.array([max(bounds.min, -1000), bounds.max], dtype), SHAPE)
    truth = oracle.line_integral_images(array, affine, views, DETECTOR)
    oracle.assert_exact(line_integral(backend, array, affine, views), truth)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_what_lies_in_memory_around_the_voxels_is_never_read(backend, dtype, seed):
    # A share of nothing times infinity is not a number, so any reading beyond the array shows.
    rng = np.random.default_rng([31, seed])
    around = np.full((60, 60, 60), np.inf, dtype)
    array = around[25:36, 25:34, 25:39].transpose(phantoms.AXIS_ORIENTATIONS[6 * seed][0])
    array[...] = phantoms.noise(rng, array.shape)
    affine = phantoms.random_affine(rng, array.shape)
    center, diagonal = phantoms.box_of(array.shape, affine)
    views = []
    for _ in range(12):
        # A detector that cuts through the volume: beside pixels inside it, others lie before, beyond and past it.
        source = center + rng.normal(size=3) * diagonal
        middle = center + affine[:3, :3] @ (rng.uniform(-0.4, 0.4, 3) * array.shape)
        row_step, column_step = phantoms.rotation(rng)[:2] * diagonal / 12
        views.append(phantoms.view_matrix(source, 1.0, middle, row_step, column_step, DETECTOR))
    truth = oracle.line_integral_images(array, affine, views, DETECTOR)
    image = line_integral(backend, array, affine, views)
    np.testing.assert_allclose(image, truth, atol=1e-5 * truth.max())


@pytest.mark.parametrize("seed", range(4))
def test_where_an_array_lies_in_memory_changes_no_bit(backend, seed):
    rng = np.random.default_rng([31, seed])
    shape = (70, 20, 24)
    array = phantoms.noise(rng, shape)
    affine = phantoms.random_affine(rng, shape)
    views = [phantoms.random_view(rng, shape, affine, DETECTOR, "cone") for _ in range(3)]
    images = []
    for offset in (0, 4, 7, 16, 28):
        memory = np.zeros(array.size + 64, array.dtype)[offset : offset + array.size]
        placed = memory.reshape(shape, order="F")
        placed[:] = array
        images.append(line_integral(backend, placed, affine, views))
    for image in images[1:]:
        np.testing.assert_array_equal(image, images[0])
