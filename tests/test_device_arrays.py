"""Arrays on a GPU stay there. Here a stand-in for the library meets the CUDA backend emulated on the host."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from device_stand_ins import stand_in
from test_cuda import DETECTOR, EVERYTHING, arrays_of, assert_close, bytes_of_volumes, scene

from drrproj import Geometry, LabelVolume, Projector, Volume, project

pytestmark = pytest.mark.usefixtures("emulated")


@pytest.fixture(params=["cupy", "torch", "jax"])
def library(request, monkeypatch):
    return stand_in(request.param, monkeypatch)


def moved(library, ct, labels):
    """The same scene on the "GPU"."""
    on_gpu = Volume(library.to_gpu(ct.array), ct.affine, unit=ct.unit)
    anatomy = LabelVolume(library.to_gpu(labels.array), labels.affine, dict(labels.names), groups=dict(labels.groups))
    return on_gpu, anatomy


def test_every_output_is_of_the_same_kind_and_has_the_bits_of_numpy(library):
    ct, labels, geometry = scene()
    options = {"outputs": EVERYTHING, "min_path_mm": 1.5}
    expected = project(ct, geometry, labels=labels, backend="cuda", **options)
    on_gpu, anatomy = moved(library, ct, labels)
    assert on_gpu.array.host is ct.array
    shot = project(on_gpu, geometry, labels=anatomy, **options)
    assert shot.backend == "cuda"
    for name, array in arrays_of(shot).items():
        assert type(array) is library.kind, name
        np.testing.assert_array_equal(library.to_host(array), arrays_of(expected)[name], err_msg=name)
    assert len(library.made) == 7
    for masks in (lambda shot: shot.masks["two"], lambda shot: shot.masks.array, lambda shot: shot[1].masks["all"]):
        np.testing.assert_array_equal(library.to_host(masks(shot)), masks(expected))
    for images in (
        lambda shot: shot.transmission,
        lambda shot: shot[2].line_integral,
        lambda shot: shot.path_length["two"],
    ):
        np.testing.assert_array_equal(library.to_host(images(shot)), images(expected))


@pytest.mark.parametrize(
    "store",
    [
        np.asfortranarray,
        lambda a: np.ascontiguousarray(a[::-1, :, ::-1])[::-1, :, ::-1],
        lambda a: np.stack([a, a + 1], axis=-1)[..., 0],
    ],
    ids=["F", "reversed", "channel"],
)
@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float64, np.bool_])
def test_voxels_of_any_strides_and_type_are_read_where_they_are(library, store, dtype):
    ct, _, geometry = scene()
    array = store(ct.array > 0.02 if dtype == np.bool_ else (ct.array * 1000).astype(dtype))
    expected = project(Volume(array, ct.affine, unit="1/mm"), geometry, backend="cuda").line_integral
    shot = project(Volume(library.to_gpu(array), ct.affine, unit="1/mm"), geometry)
    np.testing.assert_array_equal(library.to_host(shot.line_integral), expected)


def test_chunks_of_rays_change_no_bit(library, monkeypatch):
    ct, labels, geometry = scene()
    expected = project(ct, geometry, labels=labels, outputs=EVERYTHING, backend="cuda")
    on_gpu, anatomy = moved(library, ct, labels)
    monkeypatch.setenv("DRRPROJ_EMULATED_BYTES", str(bytes_of_volumes() + 60_000))
    shot = project(on_gpu, geometry, labels=anatomy, outputs=EVERYTHING)
    for name, array in arrays_of(shot).items():
        np.testing.assert_array_equal(library.to_host(array), arrays_of(expected)[name], err_msg=name)


def test_labels_on_a_grid_of_their_own_are_walked_on_it(library):
    ct, labels, geometry = scene()
    labels = LabelVolume(labels.array[2:, :-1], labels.affine)
    on_gpu, anatomy = moved(library, ct, labels)
    expected = project(ct, geometry, labels=labels, backend="cuda")
    shot = project(on_gpu, geometry, labels=anatomy, backend="cuda")
    np.testing.assert_array_equal(library.to_host(shot.path_length.array), expected.path_length.array)
    with pytest.raises(ValueError, match="label_line_integral needs labels on the CT's grid of voxels"):
        project(on_gpu, geometry, labels=anatomy, outputs=("label_line_integral",))


def test_a_prepared_projector_projects_many_times(library):
    ct, labels, geometry = scene()
    on_gpu, anatomy = moved(library, ct, labels)
    projector = Projector(on_gpu, labels=anatomy, outputs=EVERYTHING)
    expected = Projector(ct, labels=labels, outputs=EVERYTHING, backend="cuda")
    for views in (geometry, geometry[0], geometry):
        for name, array in arrays_of(projector.project(views)).items():
            np.testing.assert_array_equal(library.to_host(array), arrays_of(expected.project(views))[name])


@pytest.mark.parametrize(("stream", "handle"), [(0, 1), (0x7F00, 0x7F00)])
@pytest.mark.parametrize("name", ["cupy", "torch", "jax"])
def test_the_work_goes_to_the_stream_that_is_current(monkeypatch, emulated, name, stream, handle):
    library = stand_in(name, monkeypatch, stream)
    given = []

    class Watched:
        why_unavailable = staticmethod(emulated.why_unavailable)

        @staticmethod
        def prepare(**arguments):
            given.append(arguments["stream"])
            return emulated.prepare(**arguments)

        @staticmethod
        def trace(*arguments, stream):
            given.append(stream)
            emulated.trace(*arguments, stream=stream)

    monkeypatch.setitem(sys.modules, "drrproj.backends._cuda", Watched)
    ct, labels, geometry = scene()
    on_gpu, anatomy = moved(library, ct, labels)
    project(on_gpu, geometry, labels=anatomy)
    assert given == [handle, handle]


def test_what_cannot_be_done_on_a_gpu_is_refused(library):
    ct, labels, geometry = scene()
    on_gpu, anatomy = moved(library, ct, labels)
    for message, error, arguments in (
        ("backend 'cpu' walks numpy arrays; the volume is on a GPU", TypeError, {"backend": "cpu"}),
        ("both be on the GPU, or both on the host", TypeError, {"labels": labels}),
        ("supersampling and crops are made on the host", ValueError, {"supersampling": 2}),
        ("supersampling and crops are made on the host", ValueError, {"labels": anatomy, "label_images": "crops"}),
    ):
        with pytest.raises(error, match=message):
            project(on_gpu, geometry, **arguments)
    with pytest.raises(TypeError, match="both be on the GPU, or both on the host"):
        project(ct, geometry, labels=anatomy)
    with pytest.raises(TypeError, match="labels on a GPU must be integers"):
        LabelVolume(library.to_gpu(np.zeros((3, 4, 5), np.float32)), np.eye(4))
    with pytest.raises(TypeError, match="must hold integers, float32 or float64; got float16"):
        Volume(library.to_gpu(np.zeros((3, 4, 5), np.float16)), np.eye(4))
    with pytest.raises(ValueError, match=r"must be a 3-D array with voxels; got shape \(3, 4\)"):
        Volume(library.to_gpu(np.zeros((3, 4))), np.eye(4))


def test_arrays_of_another_library_are_refused_with_the_way_out(monkeypatch):
    other = stand_in("numba", monkeypatch)
    monkeypatch.undo()
    with pytest.raises(TypeError, match=r"CuPy's, torch's, or .* DLPack.*; got numba.Array. cupy.asarray\(array\)"):
        Volume(other.to_gpu(np.zeros((3, 4, 5))), np.eye(4))


def test_arrays_that_are_seen_through_cupy_ask_for_it(monkeypatch):
    library = stand_in("jax", monkeypatch)
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(ModuleNotFoundError, match=r'an array of jax on a GPU needs cupy.*"drrproj\[cuda\]"'):
        Volume(library.to_gpu(np.zeros((3, 4, 5))), np.eye(4))


def test_arrays_that_do_not_change_are_not_filled(monkeypatch):
    library = stand_in("jax", monkeypatch)
    ct, labels, geometry = scene()
    on_gpu, _ = moved(library, ct, labels)
    image = library.to_gpu(np.full((len(geometry), *DETECTOR), 7, np.float32))
    with pytest.raises(TypeError, match="an array of CuPy or torch on the GPU, as the volume is; got jax"):
        project(on_gpu, geometry, out={"line_integral": image})
    assert (image.host == 7).all()


def test_a_backend_refuses_arrays_in_two_places(library, emulated):
    ct, _, _ = scene()
    grid = {"volume_voxel_from_world": ct.voxel_from_world, "volume_world_from_voxel": ct.affine}
    nothing = dict.fromkeys(("labels", "labels_voxel_from_world", "labels_world_from_voxel"))
    rest = {"knots": (), "slope_changes": (), "values": (), "first_value": (0,), "value_indices": (), "min_path_mm": ()}
    views, image = Geometry.radiograph("PA", ct, shape=DETECTOR).views, np.zeros((1, *DETECTOR), np.float32)
    with pytest.raises(TypeError, match="arrays must all be on the host, or with a stream all on a GPU"):
        emulated.prepare(volume=library.memory(ct.array), **grid, **nothing, **rest)
    prepared = emulated.prepare(volume=library.memory(ct.array), **grid, **nothing, **rest, stream=1)
    with pytest.raises(TypeError, match="arrays must all be on the host, or with a stream all on a GPU"):
        emulated.trace(prepared, views, DETECTOR, {"line_integral": image}, 1, stream=1)
    read_only = library.memory(image)
    read_only.host.setflags(write=False)
    with pytest.raises(TypeError, match="must be a contiguous array of its type"):
        emulated.trace(prepared, views, DETECTOR, {"line_integral": read_only}, 1, stream=1)


@pytest.mark.filterwarnings("ignore:the GPU's memory")
def test_a_volume_on_the_gpu_that_does_not_fit_once_more_is_walked_in_pieces(library, monkeypatch):
    ct, labels, geometry = scene()
    whole = project(ct, geometry, labels=labels, outputs=EVERYTHING, backend="cuda")
    monkeypatch.setenv("DRRPROJ_EMULATED_BYTES", "40000")
    on_gpu, anatomy = moved(library, ct, labels)
    cut = project(on_gpu, geometry, labels=anatomy, outputs=EVERYTHING)
    assert cut.record["backend"]["pieces"] > 1
    assert_close({name: library.to_host(array) for name, array in arrays_of(cut).items()}, arrays_of(whole), 0.0)


def test_arrays_on_the_gpu_are_filled_where_they_are(library):
    ct, labels, geometry = scene()
    expected = arrays_of(project(ct, geometry, labels=labels, outputs=EVERYTHING, backend="cuda"))
    on_gpu, anatomy = moved(library, ct, labels)
    given = {name: library.memory(np.full_like(array, 7)) for name, array in expected.items()}
    shot = project(on_gpu, geometry, labels=anatomy, outputs=EVERYTHING, out=given)
    assert library.made == []
    for name, array in arrays_of(shot).items():
        assert array is given[name]
        np.testing.assert_array_equal(library.to_host(array), expected[name], err_msg=name)


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        (lambda array, memory: array, TypeError, "an array of CuPy or torch on the GPU.*; got numpy.ndarray"),
        (lambda array, memory: memory(array[:, :-1]), ValueError, r"must be float32 of shape .*; got shape"),
        (lambda array, memory: memory(array.astype(np.float64)), TypeError, "must be float32 of shape .*; got float64"),
        (lambda array, memory: memory(np.asfortranarray(array)), ValueError, "contiguous in C order"),
    ],
)
def test_arrays_on_the_gpu_that_cannot_be_filled_are_refused(library, wrong, error, said):
    ct, labels, geometry = scene()
    on_gpu, _ = moved(library, ct, labels)
    image = np.zeros((len(geometry), *DETECTOR), np.float32)
    with pytest.raises(error, match=said):
        project(on_gpu, geometry, out={"line_integral": wrong(image, library.memory)})


def test_an_array_on_the_gpu_is_not_filled_for_a_volume_on_the_host(library):
    ct, _, geometry = scene()
    image = library.to_gpu(np.zeros((len(geometry), *DETECTOR), np.float32))
    with pytest.raises(TypeError, match=r"a numpy array; got (cupy|torch|jax)\.Array"):
        project(ct, geometry, out={"line_integral": image})
