"""Every way in which the tile walk reads voxels gives the exact image.

What is read together depends on how far apart the rays of a packet run, on which axis they run along, and on how the
voxels lie in memory; the scenes are large enough for several tiles, blocks of slabs and runs, with parts at the ends.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import oracle
import phantoms
import pytest
from instruction_sets import forced

from drrproj import Geometry, LabelVolume, Projector, Volume, attenuation, backends, project

SAMPLES = 80


class Scene(NamedTuple):
    """A grid with its axes along x, y and z in mm, seen along ``beam``; with spacing 1, mm are voxels."""

    shape: tuple[int, int, int]
    detector: tuple[int, int]
    pitch: tuple[float, float]  # mm from row to row and column to column, at the middle of the volume
    beam: tuple[float, float, float] = (1, 0.03, 0.02)
    roll: float = 0.0
    source: float = 900.0  # mm from the middle to the source, infinite for a parallel beam
    beyond: float = 150.0  # mm from the middle to the detector
    spacing: tuple[float, float, float] = (1, 1, 1)


SCENES = {
    "fine pixels": Scene((61, 70, 137), (40, 150), (0.3, 0.3)),
    "fine pixels, from behind": Scene((61, 70, 137), (40, 150), (0.31, 0.29), beam=(-1, 0.01, 0)),
    "fine pixels along an axis": Scene((61, 70, 137), (40, 150), (0.31, 0.29), beam=(1, 0, 0), source=np.inf),
    "fine pixels, steep": Scene((61, 70, 137), (40, 150), (0.3, 0.3), beam=(-1, 0.4, -0.7)),
    "one voxel per pixel": Scene((61, 70, 137), (40, 150), (1.0, 1.0), beam=(-1, 0.1, -0.06)),
    "one voxel per pixel, parallel": Scene((128, 33, 40), (40, 150), (1.0, 1.0), source=np.inf),
    "rows closer than columns": Scene((61, 70, 137), (41, 97), (0.3, 1.7)),
    "columns closer than rows": Scene((61, 70, 137), (41, 155), (2.4, 0.4)),
    "pixels of two and a half voxels": Scene((61, 70, 137), (40, 150), (2.5, 2.5)),
    "pixels of one and a half voxels": Scene((128, 33, 140), (40, 150), (1.5, 1.5), beam=(-1, -0.2, 0.1)),
    "pixels of seven voxels": Scene((61, 70, 137), (24, 40), (7.0, 6.5)),
    "pixels of twenty voxels": Scene((61, 70, 137), (24, 40), (20.0, 20.0)),
    "detector far wider than the volume": Scene((61, 70, 137), (33, 600), (2.0, 6.0)),
    "rolled a little": Scene((61, 70, 137), (40, 150), (0.7, 0.8), roll=5),
    "rolled": Scene((61, 70, 137), (40, 150), (0.5, 0.5), roll=-28),
    "rolled by half a right angle": Scene((61, 70, 137), (40, 150), (1.1, 1.1), roll=45),
    "rolled by more than a right angle": Scene((61, 70, 137), (40, 150), (0.4, 0.9), roll=101, beam=(-1, 0.2, 0.1)),
    "two axes equally steep": Scene((61, 70, 90), (40, 150), (0.7, 0.7), beam=(1, 1, 0), source=np.inf),
    "two axes nearly equally steep": Scene((61, 70, 90), (40, 150), (0.7, 0.7), beam=(1, -1, 0.02)),
    "three axes equally steep": Scene((61, 70, 66), (40, 150), (0.7, 0.7), beam=(-1, 1, 1), source=np.inf),
    "rays along all three axes": Scene((61, 70, 66), (90, 90), (1.2, 1.2), beam=(1, 0.9, -0.8), source=65.0),
    "slices five times thicker": Scene((70, 80, 33), (40, 150), (0.9, 0.9), spacing=(1, 1, 5)),
    "slices five times thicker, through them": Scene((33, 80, 70), (40, 150), (0.6, 0.6), spacing=(5, 1, 1)),
    "slices an eighth as thick": Scene((61, 40, 140), (40, 150), (0.4, 0.4), spacing=(1, 1, 0.125)),
    "slices an eighth as thick, through them": Scene(
        (140, 40, 61), (40, 150), (0.4, 0.4), beam=(1, 0.02, -0.03), spacing=(0.125, 1, 1)
    ),
    "source close": Scene((61, 70, 137), (40, 150), (0.9, 0.9), source=36.0),
    "source inside": Scene((61, 70, 137), (40, 150), (0.5, 0.5), source=19.3),
    "detector inside": Scene((61, 70, 137), (40, 150), (0.6, 0.6), beyond=7.7, beam=(1, 0.2, 0.3)),
    "both inside": Scene((128, 70, 90), (40, 150), (0.4, 0.4), source=40.3, beyond=30.2, beam=(-1, 0.05, -0.1)),
    "source inside, along an axis": Scene((61, 70, 137), (40, 150), (0.5, 0.5), source=19.3, beam=(1, 0, 0)),
    "detector inside, along an axis": Scene((61, 70, 137), (40, 150), (0.6, 0.6), beyond=7.7, beam=(-1, 0, 0)),
    "rows of a few voxels": Scene((90, 9, 11), (40, 70), (0.4, 0.4)),
    "slabs of a few voxels": Scene((7, 70, 137), (40, 150), (0.8, 0.8)),
    "a row of pixels": Scene((61, 70, 137), (1, 1300), (1.0, 0.1)),
    "a column of pixels": Scene((61, 70, 137), (530, 2), (0.13, 3.0)),
    "one voxel per column, along an axis": Scene((61, 70, 137), (40, 150), (0.9, 1.0), beam=(1, 0, 0)),
    "turned round, along an axis": Scene((61, 70, 137), (40, 150), (1.1, 1.26), beam=(-1, 0, 0), roll=180),
    "two voxels per column, along an axis": Scene((61, 70, 137), (40, 150), (0.8, 2.2), beam=(1, 0, 0)),
    "source close, along an axis": Scene((61, 70, 137), (80, 150), (0.7, 0.8), beam=(-1, 0, 0), source=60.0),
    "columns along the grid, parallel": Scene((61, 70, 137), (40, 150), (1.7, 1.3), beam=(1, 0, 0), source=np.inf),
    "pixels of seven voxels, of which few slabs fit together": Scene(
        (37, 230, 240), (36, 40), (7.0, 6.5), (1, 0.2, -0.3)
    ),
}
# Physical axes: the scene's beam runs mostly along the first, so that in turn every axis of the walk is contiguous.
CONTIGUOUS = {"along the beam": (1, 2, 0), "across the beam": (0, 2, 1), "across the beam, the longer": (1, 0, 2)}
# Scenes that read in every way, for what multiplies with them.
VARIED = ("fine pixels, steep", "rolled", "pixels of one and a half voxels", "pixels of seven voxels", "source close")


def rng_of(name):
    return np.random.default_rng([110, list(SCENES).index(name)])


@functools.cache
def grid_and_view(name):
    """The affine of a scene and its view, both turned in the world.

    Off centre by no simple fraction of a voxel: rays inside a face have two right answers (test_exact_rays.py).
    """
    scene, rng = SCENES[name], rng_of(name)
    world_turn, place = phantoms.rotation(rng), rng.uniform(-200, 200, 3)
    beam = np.array(scene.beam) / np.linalg.norm(scene.beam)
    # The columns run along the axis most across the beam.
    columns = np.cross(np.cross(beam, (0, 0, 1)), beam)
    columns /= np.linalg.norm(columns)
    rows = np.cross(beam, columns)
    c, s = np.cos(np.radians(scene.roll)), np.sin(np.radians(scene.roll))
    rows, columns = c * rows - s * columns, s * rows + c * columns
    middle = rng.uniform(-0.9, 0.9, 3)
    is_parallel = np.isinf(scene.source)
    magnification = 1.0 if is_parallel else (scene.source + scene.beyond) / scene.source
    view = phantoms.view_matrix(
        world_turn @ (-beam if is_parallel else middle - scene.source * beam),
        0.0 if is_parallel else 1.0,
        world_turn @ (middle + scene.beyond * beam),
        world_turn @ rows * scene.pitch[0] * magnification,
        world_turn @ columns * scene.pitch[1] * magnification,
        scene.detector,
    )
    affine = phantoms.affine_around(np.zeros(3), world_turn * scene.spacing, scene.shape)
    moved = np.eye(4)
    moved[:3, 3] = place
    return moved @ affine, moved @ view


@functools.cache
def pixels_of(name):
    """Rows and columns of the pixels compared with the oracle: the corners, some anywhere, some near the middle."""
    scene, rng = SCENES[name], np.random.default_rng([111, list(SCENES).index(name)])
    last = np.array(scene.detector) - 1
    corners = last * [(0, 0), (0, 1), (1, 0), (1, 1)]
    anywhere = rng.integers(0, last, (SAMPLES, 2), endpoint=True)
    middle = np.rint(rng.normal(last / 2, 30 / np.array(scene.pitch), (SAMPLES, 2))).astype(int)
    return np.concatenate([corners, anywhere, np.clip(middle, 0, last)]).T


def rays_of(name):
    return oracle.rays_of_pixels(grid_and_view(name)[1], *pixels_of(name))


def at_pixels(name, images):
    """The sampled pixels as one image, shape (..., 1, samples)."""
    return images[(..., *pixels_of(name))][..., None, :]


@functools.cache
def noise_of(name):
    return phantoms.noise(rng_of(name), SCENES[name].shape)


@functools.cache
def truth_of(name):
    truth = oracle.line_integrals(rays_of(name), noise_of(name), grid_and_view(name)[0])
    assert np.mean(truth > 0) > 0.1
    return truth[None, None]


def image_of(name, backend, array, affine, unit="1/mm", **options):
    geometry = Geometry(grid_and_view(name)[1], SCENES[name].detector)
    return project(Volume(array, affine, unit=unit), geometry, backend=backend, **options).line_integral


def baseline(make):
    """What ``make`` gives with the instruction set that every machine has; None where there is no compiled backend."""
    if not backends.cpu_instruction_sets():
        return None
    with forced("baseline"):
        return make()


@functools.cache
def baseline_of(name):
    return baseline(lambda: image_of(name, "cpu", noise_of(name), grid_and_view(name)[0]))


def assert_every_pixel_agrees(image, expected):
    if expected is not None:
        oracle.assert_exact(image, expected.astype(np.float64))


def stored_along(order, array, affine, flips=(False, False, False)):
    """The same voxels stored anew with these axes, the last one contiguous."""
    stored, stored_affine = phantoms.reoriented(array, affine, order, flips)
    return np.ascontiguousarray(stored), stored_affine


@pytest.mark.parametrize("order", CONTIGUOUS.values(), ids=CONTIGUOUS)
@pytest.mark.parametrize("name", SCENES)
@pytest.mark.filterwarnings("ignore:.*the source is inside the volume")
def test_every_scene_is_exact_with_each_axis_contiguous(backend, name, order):
    flips = tuple(rng_of(name).random(3) < 0.5)
    array, affine = stored_along(order, noise_of(name), grid_and_view(name)[0], flips)
    image = image_of(name, backend, array, affine)
    oracle.assert_exact(at_pixels(name, image), truth_of(name))
    assert_every_pixel_agrees(image, baseline_of(name))


def at_offset(array, voxels):
    """A copy whose memory begins this many voxels behind the beginning of a line of 64 bytes."""
    memory = np.zeros(array.nbytes + 128 + 64, np.uint8)
    begin = -memory.ctypes.data % 64 + voxels * array.itemsize
    copy = memory[begin : begin + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    assert copy.ctypes.data % 64 == voxels * array.itemsize % 64
    return copy


def within(array, *margins):
    """The array as a crop of a larger one that is infinite around it, so that any reading beyond shows."""
    large = np.pad(array, margins, constant_values=np.inf)
    return large[tuple(slice(before, before + size) for (before, _), size in zip(margins, array.shape, strict=True))]


STORES = {
    "F": np.asfortranarray,
    "reversed": lambda a: np.ascontiguousarray(a[::-1, ::-1, ::-1])[::-1, ::-1, ::-1],
    "first axis reversed": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "last axis reversed": lambda a: np.ascontiguousarray(a[:, :, ::-1])[:, :, ::-1],
    "F, first axis reversed": lambda a: np.asfortranarray(a[::-1])[::-1],
    "F reversed, off a line": lambda a: at_offset(np.ascontiguousarray(a[::-1, ::-1, ::-1].T), 3).T[::-1, ::-1, ::-1],
    "F, middle axis reversed": lambda a: np.asfortranarray(a[:, ::-1])[:, ::-1],
    "turned": lambda a: np.ascontiguousarray(a.transpose(2, 0, 1)).transpose(1, 2, 0),
    "turned the other way": lambda a: np.ascontiguousarray(a.transpose(1, 2, 0)).transpose(2, 0, 1),
    "crop": lambda a: within(a, (1, 2), (3, 0), (5, 6)),
    "crop, rows at the end of lines": lambda a: within(a, (0, 1), (2, 2), (11, 0)),
    "F crop": lambda a: within(a.T, (2, 1), (0, 3), (7, 2)).T,
    "every other": lambda a: np.repeat(a, 2, axis=2)[:, :, ::2],
    "every third, F": lambda a: np.asfortranarray(np.repeat(a, 3, axis=0))[1::3],
    "channel": lambda a: np.stack([a, a + 1], axis=-1)[..., 0],
    "4 bytes into a line": lambda a: at_offset(a, 1),
    "16 bytes into a line": lambda a: at_offset(a, 4),
    "20 bytes into a line, F": lambda a: at_offset(a.T, 5).T,
    "unaligned": lambda a: np.frombuffer(b"\0" + a.tobytes(), np.uint8)[1:].view(a.dtype).reshape(a.shape),
}


@pytest.mark.parametrize("name", VARIED)
@pytest.mark.parametrize("store", STORES.values(), ids=STORES)
def test_every_way_to_store_the_voxels_is_exact(backend, store, name):
    stored = store(noise_of(name))
    np.testing.assert_array_equal(stored, noise_of(name))
    image = image_of(name, backend, stored, grid_and_view(name)[0])
    oracle.assert_exact(at_pixels(name, image), truth_of(name))
    assert_every_pixel_agrees(image, baseline_of(name))


@pytest.mark.parametrize("name", VARIED)
@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)], ids=str)
def test_an_array_repeated_along_any_axis_without_memory_is_exact(backend, axes, name):
    affine, _ = grid_and_view(name)
    one = noise_of(name)[tuple(slice(1) if axis in axes else slice(None) for axis in range(3))]
    array = np.broadcast_to(one, SCENES[name].shape)
    assert all(array.strides[axis] == 0 for axis in axes)
    image = image_of(name, backend, array, affine)
    truth = oracle.line_integrals(rays_of(name), array, affine)
    oracle.assert_exact(at_pixels(name, image), truth[None, None])
    assert_every_pixel_agrees(image, baseline(lambda: image_of(name, "cpu", np.ascontiguousarray(array), affine)))


@functools.cache
def long_scene():
    """A volume of 48 MiB that takes 87 kB, seen along its contiguous axis, and at a slant to it."""
    rng, shape = np.random.default_rng(113), (580, 128, 169)
    affine = phantoms.affine_around(rng.uniform(-50, 50, 3), phantoms.rotation(rng), shape)
    center, turn = phantoms.box_of(shape, affine)[0], affine[:3, :3]
    views = []
    for beam in ((0.02, 0.03, 1), (-0.5, 0.4, -1)):
        source, middle = center - turn @ beam * 700, center + turn @ beam * 100
        views.append(phantoms.view_matrix(source, 1.0, middle, turn[:, 1] * 1.9, turn[:, 0] * 1.7, (40, 150)))
    plane = phantoms.noise(rng, shape[1:])
    pixels = np.stack([rng.integers(0, 40, 80), rng.integers(0, 150, 80)])
    array = np.broadcast_to(plane, shape)
    truths = [oracle.line_integrals(oracle.rays_of_pixels(view, *pixels), array, affine) for view in views]
    assert (np.array(truths) > 0).mean() > 0.5
    return plane, shape, affine, Geometry(views, (40, 150)), pixels, np.array(truths)[:, None]


@pytest.mark.parametrize("offset", [0, 1, 4, 5, 13])
@pytest.mark.parametrize("step", [1, -1])
def test_a_volume_larger_than_the_caches_is_exact_wherever_its_lines_begin(backend, step, offset):
    plane, shape, affine, geometry, pixels, truth = long_scene()
    stored = at_offset(np.ascontiguousarray(plane[:, ::step]), offset)[:, ::step]
    volume = Volume(np.broadcast_to(stored, shape), affine, unit="1/mm")
    image = project(volume, geometry, backend=backend).line_integral
    oracle.assert_exact(image[(slice(None), None, *pixels)], truth)


def test_pixels_so_far_apart_that_few_share_what_is_staged_are_exact(backend):
    rng, shape, detector = np.random.default_rng(114), (900, 11, 950), (16, 24)
    affine = phantoms.affine_around(rng.uniform(-50, 50, 3), phantoms.rotation(rng), shape)
    center, turn = phantoms.box_of(shape, affine)[0], affine[:3, :3]
    source, middle = center - turn @ (10, 5000, -20), center + turn @ (0, 20, 0)
    view = phantoms.view_matrix(source, 1.0, middle, turn[:, 0] * 80, turn[:, 2] * 81, detector)
    array = np.broadcast_to(phantoms.noise(rng, shape[1:]), shape)
    truth = oracle.line_integral_images(array, affine, [view], detector)
    assert np.count_nonzero(truth) > 100
    image = project(Volume(array, affine, unit="1/mm"), Geometry(view, detector), backend=backend).line_integral
    oracle.assert_exact(image, truth)


@functools.cache
def typed_scene(name, dtype):
    """Voxels of a number type with their unit and law, and what they are worth at the sampled rays."""
    rng, affine = rng_of(name), grid_and_view(name)[0]
    model = attenuation.bilinear(70) if dtype == "i2" else None
    array = (rng.uniform(0.1, 1, SCENES[name].shape) * (3000 if model else 255)).astype(dtype)
    if model:
        array -= 1024
        # Air before and behind the body: blocks with nothing in them.
        array[:20], array[-10:] = -1000, -3024
    else:
        array[:, -9:] = 0
    truth = oracle.line_integrals(rays_of(name), model(array) if model else array, affine)
    assert (truth > 0).any()
    return array, {"unit": "HU" if model else "1/mm", "attenuation": model}, truth[None, None]


@functools.cache
def typed_baseline(name, dtype):
    array, options, _ = typed_scene(name, dtype)
    return baseline(lambda: image_of(name, "cpu", array, grid_and_view(name)[0], **options))


@pytest.mark.parametrize("name", VARIED)
@pytest.mark.parametrize("order", CONTIGUOUS.values(), ids=CONTIGUOUS)
@pytest.mark.parametrize("dtype", ["f8", "i2", "u1"])
def test_every_number_type_is_exact_with_each_axis_contiguous(backend, dtype, order, name):
    array, options, truth = typed_scene(name, dtype)
    array, affine = stored_along(order, array, grid_and_view(name)[0])
    image = image_of(name, backend, at_offset(array, 3), affine, **options)
    oracle.assert_exact(at_pixels(name, image), truth)
    assert_every_pixel_agrees(image, typed_baseline(name, dtype))


def organs(rng, shape):
    """Blobs of one id each, some with grains of another in them; the first and last slabs are background."""
    labels = np.zeros(shape, np.uint8)
    grid = np.moveaxis(np.indices(shape), 0, -1)
    for label_id in range(1, 7):
        middle, radius = rng.uniform(0.2, 0.8, 3) * shape, rng.uniform(0.15, 0.4) * np.array(shape)
        blob = (((grid - middle) / radius) ** 2).sum(axis=-1) < 1
        labels[blob & (rng.random(shape) < (0.8 if label_id % 2 else 1.0))] = label_id
    labels[:3] = labels[-3:] = 0
    return labels


class Anatomy(NamedTuple):
    mu: np.ndarray
    labels: np.ndarray
    affine: np.ndarray
    line_integral: np.ndarray
    path_length: np.ndarray
    near: np.ndarray  # whether a label is met within a thousandth of a pixel of the ray


@functools.cache
def anatomy_of(name, grid):
    """Image and labels of a scene, with what the oracle says at the sampled rays."""
    rng, scene = rng_of(name), SCENES[name]
    (affine, view), shape = grid_and_view(name), scene.shape
    mu = noise_of(name).copy()
    # Labels where the image is empty, and the other way round, so that blocks have the one, the other or neither.
    mu[shape[0] // 2 :] = 0
    label_affine = affine
    if grid == "another":
        shape = (33, 75, 64)
        center, diagonal = phantoms.box_of(scene.shape, affine)
        turn = affine[:3, :3] / scene.spacing @ phantoms.rotation(rng)
        label_affine = phantoms.affine_around(center, turn * np.array([2.0, 0.9, 1.1]) * diagonal / 180, shape)
    labels = organs(rng, shape)
    ids = sorted(set(np.unique(labels).tolist()) - {0})
    paths = oracle.path_lengths(rays_of(name), labels, label_affine, ids)
    assert np.count_nonzero(paths.any(axis=1)) >= 4
    near = paths > 0
    for step in (2, 3):
        for sign in (-1e-3, 1e-3):
            moved = view.copy()
            moved[:, 1] += sign * view[:, step]
            rays = oracle.rays_of_pixels(moved, *pixels_of(name))
            near |= oracle.path_lengths(rays, labels, label_affine, ids) > 0
    line_integral = oracle.line_integrals(rays_of(name), mu, affine)[None, None]
    return Anatomy(mu, labels, label_affine, line_integral, paths[:, None, None], near[:, None, None])


def shot_of(name, backend, array, affine, labels, label_affine, **options):
    volume = Volume(array, affine, unit="1/mm")
    geometry = Geometry(grid_and_view(name)[1], SCENES[name].detector)
    return project(volume, geometry, labels=LabelVolume(labels, label_affine), backend=backend, **options)


@functools.cache
def baseline_shot_of(name, grid):
    anatomy, affine = anatomy_of(name, grid), grid_and_view(name)[0]
    return baseline(lambda: shot_of(name, "cpu", anatomy.mu, affine, anatomy.labels, anatomy.affine))


def assert_anatomy_is_exact(name, grid, shot):
    anatomy, expected = anatomy_of(name, grid), baseline_shot_of(name, grid)
    oracle.assert_exact(at_pixels(name, shot.line_integral), anatomy.line_integral)
    oracle.assert_exact_paths(at_pixels(name, shot.path_length.array), anatomy.path_length)
    masks = at_pixels(name, shot.masks.array)
    assert masks[anatomy.path_length > 1e-3].all()
    assert not (masks & ~anatomy.near).any()
    np.testing.assert_array_equal(shot.masks.array, shot.path_length.array > 0)
    if expected is not None:
        assert_every_pixel_agrees(shot.line_integral, expected.line_integral)
        oracle.assert_exact_paths(shot.path_length.array, expected.path_length.array.astype(np.float64))


@pytest.mark.parametrize("name", VARIED)
@pytest.mark.parametrize("order", CONTIGUOUS.values(), ids=CONTIGUOUS)
@pytest.mark.parametrize("grid", ["the image's", "another"])
def test_labels_are_exact_with_each_axis_contiguous(backend, grid, order, name):
    anatomy = anatomy_of(name, grid)
    array, affine = stored_along(order, anatomy.mu, grid_and_view(name)[0])
    labels, label_affine = stored_along(order, anatomy.labels, anatomy.affine)
    assert_anatomy_is_exact(name, grid, shot_of(name, backend, array, affine, labels, label_affine))


@pytest.mark.parametrize("order", CONTIGUOUS.values(), ids=CONTIGUOUS)
def test_masks_beside_an_image_of_pixels_far_apart_change_none_of_its_bits(backend, order):
    name = "pixels of seven voxels"
    anatomy = anatomy_of(name, "the image's")
    array, affine = stored_along(order, anatomy.mu, grid_and_view(name)[0])
    labels = LabelVolume(*stored_along(order, anatomy.labels, anatomy.affine))
    outputs = ("line_integral", "mask")
    image = image_of(name, backend, array, affine)
    assert image.any()
    np.testing.assert_array_equal(image_of(name, backend, array, affine, labels=labels, outputs=outputs), image)


BLOBS = range(1, 7)


@functools.cache
def scene_of_few_pixels():
    """Labels seen from everywhere and from inside, and where rays enter and leave them."""
    rng, shape, detector = np.random.default_rng(115), (70, 84, 95), (8, 9)
    affine = phantoms.affine_around(rng.uniform(-50, 50, 3), phantoms.rotation(rng), shape)
    labels = organs(rng, shape)
    beams = [{"beam": "cone"}] * 6 + [{"beam": "parallel"}] * 2 + [{"beam": "cone", "distance": (0.1, 0.3)}] * 2
    views = np.stack([phantoms.random_view(rng, shape, affine, detector, **beam) for beam in beams])
    paths = oracle.path_length_images(labels, affine, views, detector, BLOBS)
    depths = [
        [oracle.depths(oracle.rays_of_view(view, detector), labels, affine, BLOBS, least) for view in views]
        for least in (1e-3, 0.0)
    ]
    surely, perhaps = np.moveaxis(np.array(depths), 1, 3).reshape(2, 2, *paths.shape)
    return labels, affine, Geometry(views, detector), paths, surely, perhaps


def in_many_pieces(labels):
    """The labels with 60 values for each of them, more than 8 bits tell apart, and the groups that they are again."""
    pieces = np.arange(labels.shape[0], dtype=np.int64)[:, None, None] % 60
    values = np.where(labels > 0, labels + 7 * pieces, 0)
    here = np.unique(values)
    return values, {1000 + blob: here[(here > 0) & (here % 7 == blob)].tolist() for blob in BLOBS}


@pytest.mark.parametrize("order", CONTIGUOUS.values(), ids=CONTIGUOUS)
@pytest.mark.parametrize("dtype", ["u1", "i2", "i8"])
@pytest.mark.filterwarnings("ignore:.*the source is inside the volume")
def test_labels_of_pixels_far_apart_are_exact(backend, dtype, order):
    labels, affine, geometry, paths, surely, perhaps = scene_of_few_pixels()
    labels, groups = in_many_pieces(labels) if dtype == "i8" else (labels, {})
    labels, affine = stored_along(order, labels.astype(dtype), affine, (False, True, True))
    stored = LabelVolume(labels, affine, groups=groups, selected=tuple(groups) or tuple(BLOBS))
    ct = Volume(np.zeros(stored.array.shape, np.float32), stored.affine, unit="1/mm")
    shot = project(ct, geometry, labels=stored, outputs=("path_length", "mask", "depth"), backend=backend)
    alone = project(ct, geometry, labels=stored, outputs="path_length", backend=backend)
    oracle.assert_exact_paths(shot.path_length.array, paths)
    oracle.assert_exact_paths(alone.path_length.array, paths)
    np.testing.assert_array_equal(shot.masks.array, shot.path_length.array > 0)
    # Where a micrometre decides whether a ray meets a corner, either answer is right.
    for images, sure, possible in zip((shot.entry_depth, shot.exit_depth), surely, perhaps, strict=True):
        assert np.isnan(images.array[np.isnan(possible)]).all()
        decided = np.isfinite(sure) & (np.abs(sure - possible) < 1e-3)
        assert decided.sum() > 0.9 * np.isfinite(sure).sum() > 300
        np.testing.assert_allclose(images.array[decided], sure[decided], atol=2e-3)


@pytest.mark.parametrize("name", VARIED)
@pytest.mark.parametrize("order", CONTIGUOUS.values(), ids=CONTIGUOUS)
@pytest.mark.parametrize("grid", ["the image's", "another"])
def test_what_a_projector_learns_from_many_views_changes_no_bit(backend, grid, order, name):
    anatomy, (affine, view) = anatomy_of(name, grid), grid_and_view(name)
    array, affine = stored_along(order, anatomy.mu, affine)
    labels = LabelVolume(*stored_along(order, anatomy.labels, anatomy.affine))
    projector = Projector(Volume(array, affine, unit="1/mm"), labels=labels, backend=backend)
    geometry = Geometry(view, SCENES[name].detector)
    first = projector.project(geometry)
    pixel = view.copy()
    pixel[:, 1] += view[:, 2:] @ (np.array(SCENES[name].detector) / 2)
    projector.project(Geometry([pixel] * 16, (1, 1)))
    later = projector.project(geometry)
    assert_anatomy_is_exact(name, grid, later)
    np.testing.assert_array_equal(later.line_integral, first.line_integral)
    np.testing.assert_array_equal(later.path_length.array, first.path_length.array)
    np.testing.assert_array_equal(later.masks.packed, first.masks.packed)


LABEL_STORES = {
    "image C, labels F": (np.ascontiguousarray, np.asfortranarray),
    "image C, labels every other": (np.ascontiguousarray, lambda a: np.repeat(a, 2, axis=2)[:, :, ::2]),
    "image every other, labels C": (lambda a: np.repeat(a, 2, axis=2)[:, :, ::2], np.ascontiguousarray),
    "image reversed, labels C": (lambda a: np.ascontiguousarray(a[:, ::-1])[:, ::-1], np.ascontiguousarray),
    "image F, labels F crop": (np.asfortranarray, lambda a: np.asfortranarray(np.pad(a, 3))[3:-3, 3:-3, 3:-3]),
    "image C, wide ids off a line": (np.ascontiguousarray, lambda a: at_offset(a.astype(np.int32), 5)),
    "image and labels F, wide ids": (np.asfortranarray, lambda a: np.asfortranarray(a.astype(np.int64))),
}


@pytest.mark.parametrize("name", VARIED)
@pytest.mark.parametrize(("store", "store_labels"), LABEL_STORES.values(), ids=LABEL_STORES)
def test_labels_stored_another_way_than_the_image_are_exact(backend, store, store_labels, name):
    anatomy, affine = anatomy_of(name, "the image's"), grid_and_view(name)[0]
    labels = store_labels(anatomy.labels)
    np.testing.assert_array_equal(labels, anatomy.labels)
    shot = shot_of(name, backend, store(anatomy.mu), affine, labels, affine)
    assert_anatomy_is_exact(name, "the image's", shot)


@functools.cache
def random_scene(seed):
    """A volume of any shape, sheared and turned, stored in any order, and a view of it from anywhere."""
    rng = np.random.default_rng([112, seed])
    shape = tuple(int(size) for size in rng.integers(5, 140, 3))
    affine = phantoms.random_affine(rng, shape)
    array = phantoms.noise(rng, shape)
    detector = tuple(int(size) for size in rng.permutation([rng.integers(1, 60), rng.integers(1, 300)]))
    pixels = np.stack([rng.integers(0, size, 80) for size in detector])
    truth = np.zeros(0)
    # A thin volume is easily missed.
    while not (truth > 0).any():
        # What the detector sees is a tenth of the volume's diagonal to three times it: fine pixels or coarse ones.
        beam, cover = ("cone", "parallel")[seed % 2], 10 ** rng.uniform(-1, 0.5)
        view = phantoms.random_view(rng, shape, affine, detector, beam, distance=(0.55, 2.5), cover=cover)
        truth = oracle.line_integrals(oracle.rays_of_pixels(view, *pixels), array, affine)
    order, flips = phantoms.AXIS_ORIENTATIONS[rng.integers(48)]
    array, affine = phantoms.reoriented(array, affine, order, flips)
    if seed % 3:
        array = at_offset(array, int(rng.integers(16)))
    return array, affine, Geometry(view, detector), pixels, truth[None, None]


@pytest.mark.parametrize("seed", range(36))
def test_any_volume_stored_in_any_order_is_exact_from_anywhere(backend, seed):
    array, affine, geometry, pixels, truth = random_scene(seed)

    def image_on(backend):
        return project(Volume(array, affine, unit="1/mm"), geometry, backend=backend).line_integral

    image = image_on(backend)
    oracle.assert_exact(image[(slice(None), None, *pixels)], truth)
    assert_every_pixel_agrees(image, baseline(lambda: image_on("cpu")))


@functools.cache
def skewed_scene(seed):
    """A volume and its labels, seen by lines of pixels along an axis of the grid, whose pixels follow no axis.

    So a gantry's tilt has it, or a detector whose steps are not perpendicular: lines share a coordinate, and each ends
    at pixels of its own.
    """
    rng = np.random.default_rng([115, seed])
    shape = tuple(int(size) for size in rng.integers(30, 120, 3))
    affine, array = phantoms.random_affine(rng, shape), phantoms.noise(rng, shape)
    pieces = rng.integers(0, 4, [-(-size // 9) for size in shape])
    labels = np.kron(pieces, np.ones((9, 9, 9), int))[tuple(map(slice, shape))].astype(np.uint8)
    axes = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], (3, 1))
    to_next_line = axes[2] * rng.uniform(0.4, 4)
    to_next_lane = axes[1] * rng.uniform(0.4, 4) + axes[2] * rng.uniform(-1.5, 1.5)
    # Beside the grid's axis and its middle: a ray inside a face has two right answers.
    beam = axes[0] + 0.2 * rng.uniform(-1, 1, 2) @ axes[1:]
    middle = np.array(shape) / 2 + rng.uniform(-5, 5, 3)
    is_cone, reach = seed % 2 == 0, rng.uniform(0.8, 3) * max(shape)
    detector = tuple(int(size) for size in rng.integers(20, 80, 2))
    view = phantoms.view_matrix(
        middle - reach * beam if is_cone else -beam,
        float(is_cone),
        middle + reach * beam,
        *([to_next_line, to_next_lane] if seed % 3 else [to_next_lane, to_next_line]),
        detector,
    )
    view = affine @ view
    images = oracle.line_integral_images(array, affine, view[None], detector)
    paths = oracle.path_length_images(labels, affine, view[None], detector, (1, 2, 3))
    order, flips = phantoms.AXIS_ORIENTATIONS[rng.integers(48)]
    labels, _ = phantoms.reoriented(labels, affine, order, flips)
    array, affine = phantoms.reoriented(array, affine, order, flips)
    return array, labels, affine, Geometry(view[None], detector), images, paths


@pytest.mark.parametrize("seed", range(36))
def test_lines_along_the_grid_are_exact_wherever_each_ends(backend, seed):
    array, labels, affine, geometry, images, paths = skewed_scene(seed)
    anatomy = LabelVolume(labels, affine)
    shot = project(Volume(array, affine, unit="1/mm"), geometry, labels=anatomy, backend=backend)
    oracle.assert_exact(shot.line_integral, images)
    oracle.assert_exact_paths(shot.path_length.array, paths)


@pytest.mark.parametrize("order", CONTIGUOUS.values(), ids=CONTIGUOUS)
@pytest.mark.parametrize("name", SCENES)
@pytest.mark.filterwarnings("ignore:.*the source is inside the volume")
def test_any_number_of_threads_gives_the_same_bits(backend, name, order):
    array, affine = stored_along(order, noise_of(name), grid_and_view(name)[0])
    alone, *others = (image_of(name, backend, array, affine, threads=threads) for threads in (1, 2, 5))
    assert (alone > 0).any()
    for other in others:
        np.testing.assert_array_equal(other, alone)


@pytest.mark.parametrize("name", VARIED)
@pytest.mark.parametrize("grid", ["the image's", "another"])
def test_any_number_of_threads_gives_the_same_labels(backend, grid, name):
    anatomy, affine = anatomy_of(name, grid), grid_and_view(name)[0]
    alone, *others = (
        shot_of(name, backend, anatomy.mu, affine, anatomy.labels, anatomy.affine, threads=threads)
        for threads in (1, 2, 5)
    )
    for other in others:
        np.testing.assert_array_equal(other.line_integral, alone.line_integral)
        np.testing.assert_array_equal(other.path_length.array, alone.path_length.array)
        np.testing.assert_array_equal(other.masks.packed, alone.masks.packed)
