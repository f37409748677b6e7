"""On a machine with a GPU: arrays of the libraries themselves, streams, and a second device. Not yet run on one.

`bench/gpu.py` runs it, beside every test that asks for a backend.
"""

from __future__ import annotations

import importlib

import numpy as np
import oracle
import pytest
from test_cuda import EVERYTHING, arrays_of, assert_close, scene

from drrproj import Geometry, LabelVolume, Projector, Volume, backends, project

pytestmark = [
    pytest.mark.skipif(
        backends.why_unavailable("cuda") is not None, reason=f"cuda: {backends.why_unavailable('cuda')}"
    ),
    # What CuPy, torch and JAX warn of is no failure of ours.
    pytest.mark.filterwarnings("default"),
]


class Library:
    """CuPy or torch, by the few names that the tests need."""

    def __init__(self, name):
        self.name, self.module = name, pytest.importorskip(name)
        if not self.module.cuda.is_available():
            pytest.skip(f"{name} sees no GPU")

    def to_gpu(self, array, device=0):
        if self.name == "torch":
            return self.module.as_tensor(array, device=f"cuda:{device}")
        with self.module.cuda.Device(device):
            return self.module.asarray(array)

    def to_host(self, array):
        return array.cpu().numpy() if self.name == "torch" else array.get()

    def stream(self):
        return self.module.cuda.Stream() if self.name == "torch" else self.module.cuda.Stream(non_blocking=True)

    def current(self, stream):
        return self.module.cuda.stream(stream) if self.name == "torch" else stream

    def fill(self, left):
        """Take all memory of the GPU but for some bytes, and return what holds it."""
        blocks, wanted = [], None
        while (free := self.free()) > left and wanted != 0:
            # What is free need not lie in one run.
            wanted = min(free - left, wanted or free)
            try:
                blocks.append(self.take(wanted))
            except (MemoryError, RuntimeError):
                wanted //= 2
        return blocks

    def free(self):
        cuda = self.module.cuda
        return cuda.mem_get_info()[0] if self.name == "torch" else cuda.runtime.memGetInfo()[0]

    def take(self, count):
        if self.name == "torch":
            return self.module.empty(count, dtype=self.module.uint8, device="cuda")
        return self.module.cuda.Memory(count)

    def give_back(self):
        if self.name == "torch":
            self.module.cuda.empty_cache()
        else:
            self.module.get_default_memory_pool().free_all_blocks()

    def devices(self):
        cuda = self.module.cuda
        return cuda.device_count() if self.name == "torch" else cuda.runtime.getDeviceCount()


@pytest.fixture(params=["cupy", "torch"])
def library(request):
    return Library(request.param)


def on_gpu(library, device=0):
    ct, labels, geometry = scene(dtype=np.float32)
    # torch has no uint16 to index with.
    anatomy = LabelVolume(
        library.to_gpu(labels.array.astype(np.uint8), device), labels.affine, dict(labels.names), groups=labels.groups
    )
    return Volume(library.to_gpu(ct.array, device), ct.affine, unit=ct.unit), anatomy, geometry


def assert_same(library, shot):
    ct, labels, geometry = scene()
    expected = project(ct, geometry, labels=labels, outputs=EVERYTHING, backend="cuda")
    for name, array in arrays_of(shot).items():
        assert type(array).__module__.partition(".")[0] == library.name
        np.testing.assert_array_equal(library.to_host(array), arrays_of(expected)[name], err_msg=name)
    np.testing.assert_array_equal(library.to_host(shot.masks["all"]), expected.masks["all"])
    np.testing.assert_allclose(library.to_host(shot.transmission), expected.transmission, rtol=1e-6)


def test_what_goes_in_on_the_gpu_comes_out_there(library):
    ct, labels, geometry = on_gpu(library)
    assert_same(library, project(ct, geometry, labels=labels, outputs=EVERYTHING))


def test_calls_on_several_streams_do_not_mix(library):
    ct, labels, geometry = on_gpu(library)
    projector = Projector(ct, labels=labels, outputs=EVERYTHING)
    shots = []
    for _ in range(8):
        with library.current(library.stream()):
            shots.append(projector.project(geometry))
    library.module.cuda.synchronize() if library.name == "torch" else library.module.cuda.Device().synchronize()
    for shot in shots:
        assert_same(library, shot)


def test_the_other_device_is_used_where_the_volume_is_there(library):
    if library.devices() < 2:
        pytest.skip("there is one GPU")
    ct, labels, geometry = on_gpu(library, device=1)
    assert_same(library, project(ct, geometry, labels=labels, outputs=EVERYTHING))


def test_what_goes_in_from_jax_comes_out_as_its_own():
    jax, _ = pytest.importorskip("jax"), Library("cupy")
    if jax.default_backend() != "gpu":
        pytest.skip("jax sees no GPU")
    ct, labels, geometry = scene()
    anatomy = LabelVolume(jax.numpy.asarray(labels.array), labels.affine, dict(labels.names), groups=labels.groups)
    shot = project(Volume(jax.numpy.asarray(ct.array), ct.affine, unit=ct.unit), geometry, labels=anatomy)
    expected = project(ct, geometry, labels=labels, backend="cuda")
    for found, right in ((shot.line_integral, expected.line_integral), (shot.masks["all"], expected.masks["all"])):
        assert isinstance(found, jax.Array)
        np.testing.assert_array_equal(np.asarray(found), right)


def test_arrays_on_the_gpu_are_filled(library):
    ct, labels, geometry = on_gpu(library)
    fresh = arrays_of(project(ct, geometry, labels=labels, outputs=EVERYTHING))
    given = {name: library.to_gpu(np.full_like(library.to_host(array), 7)) for name, array in fresh.items()}
    shot = project(ct, geometry, labels=labels, outputs=EVERYTHING, out=given)
    for name, array in arrays_of(shot).items():
        assert array is given[name]
        np.testing.assert_array_equal(library.to_host(array), library.to_host(fresh[name]), err_msg=name)


def test_rays_of_a_pixel_are_averaged(library):
    ct, labels, geometry = on_gpu(library)
    shot = project(ct, geometry, labels=labels, supersampling=2)
    host, ids, _ = scene()
    expected = project(host, geometry, labels=ids, supersampling=2, backend="cuda")
    oracle.assert_exact(library.to_host(shot.line_integral), expected.line_integral.astype(float))
    oracle.assert_exact_paths(library.to_host(shot.path_length.array), expected.path_length.array.astype(float))
    np.testing.assert_array_equal(library.to_host(shot.masks.packed), expected.masks.packed)


def test_crops_hold_what_dense_images_hold(library):
    ct, labels, geometry = on_gpu(library)
    options = {"labels": labels, "outputs": EVERYTHING}
    dense, cut = (project(ct, geometry, label_images=form, **options) for form in ("dense", "crops"))
    np.testing.assert_array_equal(library.to_host(cut.masks.packed), library.to_host(dense.masks.packed))
    for name, array in arrays_of(dense).items():
        np.testing.assert_array_equal(library.to_host(arrays_of(cut)[name]), library.to_host(array), err_msg=name)


@pytest.mark.parametrize("module", ["cupy", "torch"])
def test_an_array_passes_through_dlpack(module):
    source, target = Library("torch"), Library("cupy")
    if module == "torch":
        source, target = target, source
    ct, _, geometry = scene()
    shared = importlib.import_module(target.name).from_dlpack(source.to_gpu(ct.array))
    shot = project(Volume(shared, ct.affine, unit=ct.unit), geometry)
    expected = project(ct, geometry, backend="cuda").line_integral
    np.testing.assert_array_equal(target.to_host(shot.line_integral), expected)


@pytest.mark.filterwarnings("ignore:the GPU's memory")
@pytest.mark.parametrize("place", ["host", "device"])
def test_voxels_that_do_not_fit_the_memory_left_are_walked_in_pieces(library, place):
    rng = np.random.default_rng(152)
    shape = (256, 256, 200)
    i, j, k = np.ogrid[tuple(map(slice, shape))]
    ids = np.zeros(shape, np.uint8)
    for label_id, (at_i, at_j, at_k, radius) in enumerate(
        [(120, 130, 99, 95), (60, 80, 50, 40), (200, 90, 150, 44)], 1
    ):
        ids[(i - at_i) ** 2 + (j - at_j) ** 2 + (k - at_k) ** 2 < radius**2] = label_id
    host = Volume(rng.random(shape, np.float32) * np.float32(0.02), np.eye(4), unit="1/mm"), LabelVolume(ids, np.eye(4))
    geometry = Geometry.concatenate([Geometry.radiograph(view, host[0], shape=(96, 80)) for view in ("AP", "LL")])
    options = {"outputs": EVERYTHING, "min_path_mm": 1.5, "backend": "cuda"}
    ct, labels = host
    if place == "device":
        ct = Volume(library.to_gpu(ct.array), ct.affine, unit=ct.unit)
        labels = LabelVolume(library.to_gpu(labels.array), labels.affine)
        assert labels.label_ids == (1, 2, 3)

    def on_host(shot):
        return {key: library.to_host(each) if place == "device" else each for key, each in arrays_of(shot).items()}

    # It loads every kernel, which takes memory as well.
    whole = on_host(project(ct, geometry, labels=labels, **options))
    library.give_back()
    taken = library.fill(64 << 20)
    try:
        cut = Projector(ct, labels=labels, **options).project(geometry)
        assert cut.record["backend"]["pieces"] > 1
        found = on_host(cut)
    finally:
        taken.clear()
        library.give_back()
    assert_close(found, whole, 1.5)
