"""What is the CUDA backend's own, emulated on the host: chunks, memory, refusals.

Its answers are the other files' work: every test with a ``backend`` runs on it too.
"""

from __future__ import annotations

import ctypes
import importlib
import re
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import oracle
import phantoms
import pytest

from drrproj import BackendUnavailable, Geometry, LabelVolume, Projector, Volume, backends, project

pytestmark = pytest.mark.usefixtures("emulated")

SHAPE, DETECTOR = (17, 15, 19), (23, 37)
EVERYTHING = ("line_integral", "path_length", "mask", "label_line_integral", "depth")
KEPT = (
    "memory that torch and CuPy keep for later counts as taken: torch.cuda.empty_cache\\(\\) and "
    "cupy.get_default_memory_pool\\(\\).free_all_blocks\\(\\) give it back"
)
IMAGES = ("path_length", "label_line_integral", "entry_depth", "exit_depth")


def scene(seed=1, order="C", dtype=np.float32, count=4):
    rng = np.random.default_rng([150, seed])
    affine = phantoms.random_affine(rng, SHAPE)
    ct = Volume(phantoms.noise(rng, SHAPE, dtype), affine, unit="1/mm")
    grid = np.moveaxis(np.indices(SHAPE), 0, -1)
    # More labels than a byte tells apart need voxels of their own; fewer are balls.
    array = np.zeros(SHAPE, np.uint16) if count < 256 else rng.integers(0, count + 1, SHAPE, np.uint16)
    for label_id in range(1, count + 1 if count < 256 else 1):
        array[np.linalg.norm(grid - rng.uniform(2, 14, 3), axis=-1) < rng.uniform(3, 7)] = label_id
    labels = LabelVolume(np.asarray(array, order=order), affine)
    views = [phantoms.random_view(rng, SHAPE, affine, DETECTOR, beam) for beam in ("cone", "parallel", "cone")]
    return ct, labels.with_groups({"all": labels.label_ids, "two": labels.label_ids[:2]}), Geometry(views, DETECTOR)


def arrays_of(shot):
    """Every array of a radiograph, by name."""
    found = {name: shot.images.get(name) for name in ("line_integral", "background_line_integral")}
    found |= {name: shot.images[name].array for name in IMAGES if name in shot.images}
    return found | ({"mask": shot.masks.packed} if "masks" in shot.images else {})


def bytes_of_volumes():
    """What SHAPE takes on the device, padded by two voxels: floats and codes of one byte."""
    return int(np.prod(np.array(SHAPE) + 4)) * (4 + 1)


@pytest.mark.parametrize("spare", [150_000, 60_000, 20_000])
def test_chunks_of_rays_change_no_bit(monkeypatch, spare):
    ct, labels, geometry = scene()
    whole = project(ct, geometry, labels=labels, outputs=EVERYTHING, min_path_mm=2.0, backend="cuda")
    # A line takes 37 pixels of 4 codes with 4 quantities and outputs of 6 structures: about 6 kB, in half of the rest.
    monkeypatch.setenv("DRRPROJ_EMULATED_BYTES", str(bytes_of_volumes() + 2_000 + spare))
    in_chunks = project(ct, geometry, labels=labels, outputs=EVERYTHING, min_path_mm=2.0, backend="cuda")
    for name, array in arrays_of(in_chunks).items():
        np.testing.assert_array_equal(array, arrays_of(whole)[name], err_msg=name)


def test_chunks_of_rays_change_no_box(monkeypatch):
    ct, labels, geometry = scene()
    options = {"labels": labels, "outputs": ("path_length", "depth"), "label_images": "crops", "backend": "cuda"}
    whole = project(ct, geometry, **options)
    monkeypatch.setenv("DRRPROJ_EMULATED_BYTES", str(bytes_of_volumes() + 60_000))
    in_chunks = project(ct, geometry, **options)
    assert whole.path_length.boxes.any()
    np.testing.assert_array_equal(in_chunks.path_length.boxes, whole.path_length.boxes)
    np.testing.assert_array_equal(in_chunks.entry_depth.array, whole.entry_depth.array)


def test_boxes_of_several_views_in_one_call_and_many_chunks_are_those_of_single_calls(emulated, monkeypatch):
    _, labels, geometry = scene()
    grid = {"labels_voxel_from_world": labels.voxel_from_world, "labels_world_from_voxel": labels.affine}
    nothing = dict.fromkeys(("volume", "volume_voxel_from_world", "volume_world_from_voxel"))
    values = {"values": (1, 2, 3), "first_value": (0, 1, 3), "value_indices": (0, 1, 2), "min_path_mm": (0, 0)}
    prepared = emulated.prepare(**nothing, knots=(), heights=(), slopes=(), labels=labels.array, **grid, **values)
    together = np.zeros((2, 3, 4), np.int32)
    monkeypatch.setenv("DRRPROJ_EMULATED_BYTES", str(bytes_of_volumes() // 5 + 20_000))
    emulated.trace(prepared, geometry.views, DETECTOR, {"box": together}, 1)
    for view in range(3):
        alone = np.zeros((2, 1, 4), np.int32)
        emulated.trace(prepared, geometry.views[view : view + 1], DETECTOR, {"box": alone}, 1)
        np.testing.assert_array_equal(together[:, view], alone[:, 0])
    assert together.all()


def test_a_ray_along_an_axis_stays_in_its_voxel_up_to_the_face():
    array = np.zeros((2, 4, 4), np.float32)
    array[0], array[1] = 1, 100
    place = 0.5 - 2.0**-29
    view = phantoms.view_matrix((0, 1, 0), 0.0, (place, 0, 1), (0, 0, 1), (1, 0, 0), (1, 1))
    image = project(Volume(array, np.eye(4), unit="1/mm"), Geometry(view, (1, 1)), backend="cuda").line_integral
    assert image.item() == 4


def test_a_projection_that_does_not_fit_even_line_by_line_is_refused(monkeypatch):
    ct, labels, geometry = scene()
    projector = Projector(ct, labels=labels, outputs=EVERYTHING, backend="cuda")
    monkeypatch.setenv("DRRPROJ_EMULATED_BYTES", str(bytes_of_volumes() + 3_000))
    with pytest.raises(MemoryError, match=rf"CUDA could not have memory: out of memory; {KEPT}$"):
        projector.project(geometry)


def test_volumes_of_which_not_even_a_plane_fits_are_refused_with_what_they_need(monkeypatch):
    ct = Volume(np.broadcast_to(np.float32(0.02), (512, 512, 508)), np.eye(4), unit="1/mm")
    monkeypatch.setenv("DRRPROJ_EMULATED_BYTES", str(1 << 22))
    said = r"need 0.508 GiB of the GPU's memory, of which 0.00391 GiB are free, too few"
    with pytest.raises(MemoryError, match=rf"{said} .*, or use backend=\"cpu\"; {KEPT}$"):
        Projector(ct, backend="cuda")


def test_memory_is_free_again_when_a_projector_is_gone(monkeypatch):
    ct, labels, geometry = scene()
    monkeypatch.setenv("DRRPROJ_EMULATED_BYTES", str(bytes_of_volumes() + 100_000))
    for _ in range(20):
        project(ct, geometry, labels=labels, backend="cuda")


def assert_close(ours, theirs, min_path_mm):
    """Every output of two radiographs, of which one was summed in another order."""
    oracle.assert_exact(ours["line_integral"], theirs["line_integral"].astype(float))
    for name in ("path_length", "label_line_integral"):
        oracle.assert_exact_paths(ours[name], theirs[name].astype(float))
    largest = ours["line_integral"].max()
    np.testing.assert_allclose(
        ours["background_line_integral"], theirs["background_line_integral"], atol=2e-6 * largest
    )
    clear = theirs["path_length"] > 1e-3
    for name in ("entry_depth", "exit_depth"):
        np.testing.assert_allclose(ours[name][clear], theirs[name][clear], rtol=1e-5, atol=1e-3)
    differ = np.unpackbits(ours["mask"] ^ theirs["mask"], axis=-1, count=theirs["path_length"].shape[-1]).astype(bool)
    assert (np.abs(theirs["path_length"][differ] - min_path_mm) < 1e-4).all()


@pytest.mark.parametrize("seed", phantoms.SEEDS)
@pytest.mark.parametrize(("order", "count"), [("C", 4), ("F", 4), ("F", 300)])
@pytest.mark.parametrize("memory", [45_000, 38_000])
def test_a_volume_that_does_not_fit_is_walked_in_pieces(monkeypatch, seed, order, count, memory):
    ct, labels, geometry = scene(seed, order, count=count)
    if count > 255:
        # What rays collect of so many needs room, too.
        geometry, memory = geometry.cropped(slice(0, 23), slice(18, 19)), memory + 18_000
    ct = Volume(np.asarray(ct.array, order=order), ct.affine, unit=ct.unit)
    options = {"labels": labels, "outputs": EVERYTHING, "min_path_mm": 1.5, "backend": "cuda"}
    whole = project(ct, geometry, **options)
    monkeypatch.setenv("DRRPROJ_EMULATED_BYTES", str(memory))
    with pytest.warns(UserWarning, match=r"memory does not hold the volume: it is walked in \d+ pieces") as warned:
        projector = Projector(ct, **options)
    assert warned[0].filename == __file__
    assert "torch.cuda.empty_cache(), cupy.get_default_memory_pool().free_all_blocks()" in str(warned[0].message)
    cut = projector.project(geometry)
    assert cut.record["backend"]["pieces"] > 1
    assert whole.record["backend"]["pieces"] == 1
    assert_close(arrays_of(cut), arrays_of(whole), 1.5)
    again = arrays_of(projector.project(geometry))
    for name, array in arrays_of(cut).items():
        np.testing.assert_array_equal(again[name], array, err_msg=name)


@pytest.mark.filterwarnings("ignore:the GPU's memory")
def test_labels_on_a_grid_of_their_own_are_walked_in_pieces_beside_the_image(monkeypatch):
    ct, labels, geometry = scene()
    coarse = LabelVolume(np.ascontiguousarray(labels.array[::2, 2:, ::3]), ct.affine @ np.diag([2, 1, 3, 1]))
    options = {"labels": coarse, "outputs": ("line_integral", "path_length"), "backend": "cuda"}
    whole = project(ct, geometry, **options)
    monkeypatch.setenv("DRRPROJ_EMULATED_BYTES", "40000")
    cut = project(ct, geometry, **options)
    assert cut.record["backend"]["pieces"] > 1
    oracle.assert_exact(cut.line_integral, whole.line_integral.astype(float))
    oracle.assert_exact_paths(cut.path_length.array, whole.path_length.array.astype(float))


@pytest.mark.parametrize(("memory", "is_cut"), [("1000000", False), ("30000", True)])
def test_voxels_are_held_as_long_as_they_are_read(emulated, monkeypatch, memory, is_cut):
    ct, _, _ = scene()
    grid = {"volume_voxel_from_world": ct.voxel_from_world, "volume_world_from_voxel": ct.affine}
    nothing = dict.fromkeys(("labels", "labels_voxel_from_world", "labels_world_from_voxel"))
    none = dict.fromkeys(("knots", "heights", "slopes", "values", "value_indices", "min_path_mm"), ())
    monkeypatch.setenv("DRRPROJ_EMULATED_BYTES", memory)
    array = ct.array.copy()
    prepared = emulated.prepare(volume=array, **grid, **nothing, **none, first_value=(0,))
    there = weakref.ref(array)
    del array
    assert (prepared.pieces > 1) == is_cut
    assert (there() is not None) == is_cut


@pytest.mark.filterwarnings("ignore:the GPU's memory")
def test_several_threads_share_a_projector_of_pieces(monkeypatch):
    ct, _, geometry = scene()
    monkeypatch.setenv("DRRPROJ_EMULATED_BYTES", "30000")
    projector = Projector(ct, backend="cuda")
    alone = [projector.project(view).line_integral for view in (geometry, geometry[1])]
    with ThreadPoolExecutor(4) as pool:
        for turn, shot in enumerate(pool.map(projector.project, [geometry, geometry[1]] * 8)):
            np.testing.assert_array_equal(shot.line_integral, alone[turn % 2])


@pytest.mark.filterwarnings("ignore:the GPU's memory")
@pytest.mark.parametrize("outputs", [("line_integral",), ("line_integral", "path_length")])
def test_whoever_stops_a_call_does_not_wait_for_all_pieces(emulated, monkeypatch, outputs):
    launches = ctypes.CDLL(emulated.__file__).drrproj_emulated_launches
    launches.restype = ctypes.c_int64
    ct, labels, geometry = scene()
    monkeypatch.setenv("DRRPROJ_EMULATED_BYTES", "20000" if len(outputs) == 1 else "30000")
    projector = Projector(ct, labels=labels if len(outputs) > 1 else None, outputs=outputs, backend="cuda")
    geometry = geometry.cropped(slice(0, 23), slice(10, 13))
    before = launches()
    whole = projector.project(geometry)
    needed, pieces = launches() - before, whole.record["backend"]["pieces"]
    assert pieces > 3
    before = launches()
    monkeypatch.setenv("DRRPROJ_EMULATED_INTERRUPTED_AT", str(before))
    with pytest.raises(KeyboardInterrupt):
        projector.project(geometry)
    assert launches() - before <= 2 * needed / pieces
    again = arrays_of(projector.project(geometry))
    for name, array in arrays_of(whole).items():
        np.testing.assert_array_equal(again[name], array, err_msg=name)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (35, "no driver for an NVIDIA GPU, or one too old"),
        (100, "no NVIDIA GPU"),
        (999, r"cannot use a GPU.*error 999"),
    ],
)
def test_a_machine_without_a_gpu_is_told_apart_from_a_broken_one(monkeypatch, error, reason):
    monkeypatch.setenv("DRRPROJ_EMULATED_ERROR", str(error))
    ct, _, geometry = scene()
    with pytest.raises(BackendUnavailable, match=reason):
        project(ct, geometry, backend="cuda")


def test_the_compiled_extension_loads_without_a_driver(monkeypatch):
    monkeypatch.undo()
    if importlib.util.find_spec("drrproj.backends._cuda") is None:
        pytest.skip(f"cuda: {backends.why_unavailable('cuda')}")
    reason = importlib.import_module("drrproj.backends._cuda").why_unavailable()
    said = r"this machine has no driver for .* \(error 35\)|this machine has no NVIDIA GPU \(error 100\)"
    assert reason is None or re.fullmatch(rf"{said}|CUDA cannot use a GPU here: .+ \(error \d+\)", reason)


def test_auto_leaves_the_gpu_to_whoever_names_it():
    ct, _, geometry = scene()
    assert backends.why_unavailable("cuda") is None
    assert project(ct, geometry).backend != "cuda"
    assert project(ct, geometry, backend="cuda").backend == "cuda"


@pytest.mark.parametrize("turn", [(1, 1, 1), (-1, 1, -1)])
def test_voxels_cross_over_in_several_pieces(turn):
    # 112 MB from the first voxel to the last one, and 64 MiB go over at once.
    rng = np.random.default_rng(151)
    shape = (40, 7, 8)
    array = np.zeros((40, 700, 1000), np.float32)[:, ::100, ::125]
    array[...] = phantoms.noise(rng, shape)
    array = array[tuple(slice(None, None, step) for step in turn)]
    affine = phantoms.random_affine(rng, shape)
    views = [phantoms.random_view(rng, shape, affine, DETECTOR, "cone")]
    image = project(Volume(array, affine, unit="1/mm"), Geometry(views, DETECTOR), backend="cuda").line_integral
    oracle.assert_exact(image, oracle.line_integral_images(np.ascontiguousarray(array), affine, views, DETECTOR))


@pytest.mark.filterwarnings("ignore:the GPU's memory")
@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("order", ["C", "F"])
def test_labels_cross_over_once_however_they_are_stored(emulated, monkeypatch, order, pieces):
    copied = ctypes.CDLL(emulated.__file__).drrproj_emulated_copied_bytes
    copied.restype = ctypes.c_int64
    shape = (40, 24, 32)
    ct = Volume(np.full(shape, 0.01, np.float32), np.eye(4), unit="1/mm")
    array = np.zeros(shape, np.int64, order=order)
    array[10:20, 5:9, 3:30] = 1
    # The device holds all voxels, or a third; beside them there is room for a fraction of the labels on their way.
    padded = int(np.prod(np.array(shape) + 4)) * (4 + 1)
    monkeypatch.setenv("DRRPROJ_EMULATED_BYTES", str(padded * 5 // 4 if pieces == 1 else padded * 8 // 10))
    labels = LabelVolume(array, np.eye(4))
    before = copied()
    projector = Projector(ct, labels=labels, backend="cuda")
    sources = ct.array.nbytes + array.nbytes
    held = copied() - before
    assert held <= sources + 1000
    before = copied()
    shot = projector.project(Geometry.radiograph("AP", ct, shape=(8, 8)))
    cut_into = shot.record["backend"]["pieces"]
    assert (cut_into > 1) == (pieces > 1)
    if pieces == 1:
        assert held >= sources
    else:
        # A piece of one order of axes is spread over all of the other.
        assert copied() - before <= ct.array.nbytes + array.nbytes * (cut_into if order == "F" else 1) + 1000
    assert shot.path_length.array.any()


@pytest.mark.parametrize("outputs", [("line_integral", "path_length"), ("label_line_integral", "depth")])
def test_labels_stored_in_another_order_than_the_image_are_walked_with_it(outputs):
    ct, labels, geometry = scene()
    _, turned, _ = scene(order="F")
    assert labels.array.strides != turned.array.strides
    first, second = (project(ct, geometry, labels=each, outputs=outputs, backend="cuda") for each in (labels, turned))
    assert first.images.keys() == second.images.keys()
    for name, images in first.images.items():
        arrays = [each.array if name in IMAGES else each for each in (images, second.images[name])]
        np.testing.assert_array_equal(*arrays)


def test_every_label_value_of_sixteen_bits_is_found():
    values = np.arange(65_536, dtype=np.int32).reshape(64, 64, 16) * 3
    labels = LabelVolume(values, np.eye(4))
    ct = Volume(np.zeros(labels.shape, np.float32), np.eye(4), unit="1/mm")
    view = phantoms.view_matrix((0, 0, -1), 0.0, (63, 63, 30), (-1, 0, 0), (0, -1, 0), (1, 1))
    prepared = Projector(ct, labels=labels.subset([3, 65_535 * 3]), outputs=("path_length",), backend="cuda")
    assert prepared.project(Geometry(view, (1, 1))).path_length.array[:, 0, 0, 0].tolist() == [0, 1]


def test_several_threads_share_a_projector():
    ct, labels, geometry = scene()
    projector = Projector(ct, labels=labels, outputs=EVERYTHING, backend="cuda")
    alone = [arrays_of(projector.project(view)) for view in (geometry, geometry[1])]
    with ThreadPoolExecutor(4) as pool:
        for turn, shot in enumerate(pool.map(projector.project, [geometry, geometry[1]] * 8)):
            for name, array in arrays_of(shot).items():
                np.testing.assert_array_equal(array, alone[turn % 2][name], err_msg=name)


@pytest.mark.skipif(backends.why_unavailable("cpu") is not None, reason="the CPU backend is not there")
@pytest.mark.parametrize("seed", phantoms.SEEDS)
@pytest.mark.parametrize("count", [4, 300])
def test_every_output_is_that_of_the_cpu(seed, count):
    ct, labels, geometry = scene(seed, count=count)
    options = {"labels": labels, "outputs": EVERYTHING, "min_path_mm": 1.5}
    ours, theirs = (arrays_of(project(ct, geometry, backend=name, **options)) for name in ("cuda", "cpu"))
    assert_close(ours, theirs, 1.5)


@pytest.mark.parametrize("outputs", [("box",), ("path_length", "mask"), ("line_integral",)])
def test_no_views_and_no_structures_are_nothing_to_do(emulated, outputs):
    ct, labels, geometry = scene()
    grids = {"volume": ct.array, "labels": labels.array}
    for name in grids.copy():
        grids |= {f"{name}_voxel_from_world": ct.voxel_from_world, f"{name}_world_from_voxel": ct.affine}
    nothing = {"values": (), "first_value": (0,), "value_indices": (), "min_path_mm": ()}
    prepared = emulated.prepare(**grids, knots=(), heights=(), slopes=(), **nothing)
    for views in (geometry.views, geometry.views[:0]):
        images = (len(views), *DETECTOR)
        shapes = {
            "box": (0, len(views), 4),
            "path_length": (0, *images),
            "mask": (0, *images[:2], 5),
            "line_integral": images,
        }
        types = {"box": np.int32, "mask": np.uint8}
        made = {name: np.zeros(shapes[name], types.get(name, np.float32)) for name in outputs}
        emulated.trace(prepared, views, DETECTOR, made, 1)
        assert all(array.any() for array in made.values() if array.size)
