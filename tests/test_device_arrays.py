"""Arrays on a GPU stay there. Here a stand-in for the library meets the CUDA backend emulated on the host."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from device_stand_ins import stand_in
from test_cuda import DETECTOR, EVERYTHING, arrays_of, assert_close, bytes_of_volumes, scene

from drrproj import Geometry, LabelVolume, Projector, Volume, project
from drrproj.radiograph import LabelMasks

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
    with pytest.raises(ModuleNotFoundError, match=r"an array of jax on a GPU needs cupy.*cupy-cuda13x\[ctk\]"):
        Volume(library.to_gpu(np.zeros((3, 4, 5))), np.eye(4))


def test_arrays_that_do_not_change_are_not_filled(monkeypatch):
    library = stand_in("jax", monkeypatch)
    ct, labels, geometry = scene()
    on_gpu, _ = moved(library, ct, labels)
    image = library.to_gpu(np.full((len(geometry), *DETECTOR), 7, np.float32))
    with pytest.raises(TypeError, match="an array of CuPy or torch on the GPU, as the volume is; got jax"):
        project(on_gpu, geometry, out={"line_integral": image})
    assert (image.host == 7).all()


# What prepare() takes beside a volume of attenuation and its place.
ATTENUATION_ALONE = {
    **dict.fromkeys(("labels", "labels_voxel_from_world", "labels_world_from_voxel")),
    **dict.fromkeys(("knots", "heights", "slopes", "values", "value_indices", "min_path_mm"), ()),
    "first_value": (0,),
}


def test_a_backend_refuses_arrays_in_two_places(library, emulated):
    ct, _, _ = scene()
    grid = {"volume_voxel_from_world": ct.voxel_from_world, "volume_world_from_voxel": ct.affine}
    views, image = Geometry.radiograph("PA", ct, shape=DETECTOR).views, np.zeros((1, *DETECTOR), np.float32)
    with pytest.raises(TypeError, match="arrays must all be on the host, or with a stream all on a GPU"):
        emulated.prepare(volume=library.memory(ct.array), **grid, **ATTENUATION_ALONE)
    prepared = emulated.prepare(volume=library.memory(ct.array), **grid, **ATTENUATION_ALONE, stream=1)
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


@pytest.mark.parametrize("name", ["cupy", "torch"])
def test_work_on_arrays_goes_to_the_gpu_that_they_are_on(monkeypatch, name):
    library = stand_in(name, monkeypatch)
    ct, labels, geometry = scene()
    expected = project(ct, geometry, labels=labels, outputs=EVERYTHING, backend="cuda")
    second = Volume(library.kind(ct.array, 1), ct.affine, unit=ct.unit)
    anatomy = LabelVolume(library.kind(labels.array, 1), labels.affine, dict(labels.names), groups=dict(labels.groups))
    image = library.kind(np.full_like(expected.line_integral, 7), 1)
    shot = project(second, geometry, labels=anatomy, outputs=EVERYTHING, out={"line_integral": image})
    for key, array in arrays_of(shot).items():
        assert array.device.id == 1
        np.testing.assert_array_equal(array.host, arrays_of(expected)[key], err_msg=key)
    np.testing.assert_array_equal(shot.masks.array.host, expected.masks.array)
    np.testing.assert_array_equal(shot.transmission.host, expected.transmission)


@pytest.mark.parametrize(("name", "other"), [("cupy", "torch"), ("torch", "cupy"), ("jax", "torch")])
def test_an_array_of_another_library_is_not_filled(monkeypatch, name, other):
    library, others = stand_in(name, monkeypatch), stand_in(other, monkeypatch)
    ct, labels, geometry = scene()
    on_gpu, _ = moved(library, ct, labels)
    image = others.memory(np.full((len(geometry), *DETECTOR), 7, np.float32))
    of = {"jax": "cupy"}.get(name, name)
    said = rf"an array of {of} on GPU 0, where the volume is; got one of {other} on GPU 0"
    with pytest.raises(TypeError, match=said) as refused:
        project(on_gpu, geometry, out={"line_integral": image})
    assert f"{of}.from_dlpack(array) shares it" in str(refused.value)
    assert (image.host == 7).all()


@pytest.mark.parametrize("name", ["cupy", "torch"])
def test_an_array_on_another_gpu_is_not_filled(monkeypatch, name):
    library = stand_in(name, monkeypatch)
    ct, labels, geometry = scene()
    on_gpu, _ = moved(library, ct, labels)
    image = library.kind(np.full((len(geometry), *DETECTOR), 7, np.float32), 1)
    with pytest.raises(TypeError, match=rf"{name} on GPU 0, where the volume is; got one of {name} on GPU 1"):
        project(on_gpu, geometry, out={"line_integral": image})
    assert (image.host == 7).all()


def test_labels_on_another_gpu_than_the_volume_are_refused(library, monkeypatch):
    ct, labels, geometry = scene()
    on_gpu, anatomy = moved(library, ct, labels)
    monkeypatch.setenv("DRRPROJ_EMULATED_OTHER_GPU", str(labels.array.ctypes.data))
    with pytest.raises(ValueError, match="an array is on GPU 1, and the voxels on GPU 0; move them to one") as refused:
        project(on_gpu, geometry, labels=anatomy)
    assert "\n" not in str(refused.value)


def test_a_backend_refuses_an_output_on_another_gpu_than_the_voxels(library, emulated, monkeypatch):
    ct, _, _ = scene()
    grid = {"volume_voxel_from_world": ct.voxel_from_world, "volume_world_from_voxel": ct.affine}
    views, image = Geometry.radiograph("PA", ct, shape=DETECTOR).views, np.zeros((1, *DETECTOR), np.float32)
    prepared = emulated.prepare(volume=library.memory(ct.array), **grid, **ATTENUATION_ALONE, stream=1)
    monkeypatch.setenv("DRRPROJ_EMULATED_OTHER_GPU", str(image.ctypes.data))
    with pytest.raises(ValueError, match="an array is on GPU 1, and the voxels on GPU 0; move them to one"):
        emulated.trace(prepared, views, DETECTOR, {"line_integral": library.memory(image)}, 1, stream=1)
    assert not image.any()


def misaligned(array):
    """The array one byte behind where its numbers may lie."""
    copy = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def test_voxels_between_addresses_are_refused(library):
    ct, labels, _ = scene()
    for kind, array in ((Volume, ct.array), (LabelVolume, labels.array)):
        with pytest.raises(ValueError, match=r"on a GPU .* between the addresses of its type; copy it there"):
            kind(library.to_gpu(misaligned(array)), np.eye(4))


def test_images_between_addresses_are_not_filled(library):
    ct, labels, geometry = scene()
    on_gpu, _ = moved(library, ct, labels)
    image = library.memory(misaligned(np.full((len(geometry), *DETECTOR), 7, np.float32)))
    with pytest.raises(ValueError, match="contiguous in C order, aligned and open to writing; it is not"):
        project(on_gpu, geometry, out={"line_integral": image})
    assert (image.host == 7).all()


def test_arrays_of_a_class_that_derives_from_a_librarys_are_the_librarys(monkeypatch):
    library = stand_in("torch", monkeypatch)
    # As MONAI's MetaTensor does, in a module of its own.
    kind = type("MetaTensor", (library.kind,), {"__module__": "monai.data.meta_tensor", "__dlpack__": None})
    ct, _, geometry = scene()
    shot = project(Volume(kind(ct.array), ct.affine, unit=ct.unit), geometry)
    assert type(shot.line_integral) is library.kind


@pytest.mark.parametrize("what", ["boxes", "areas", "centroids"])
def test_what_is_found_of_masks_on_the_host_says_so(library, what):
    ct, labels, geometry = scene()
    on_gpu, anatomy = moved(library, ct, labels)
    masks = project(on_gpu, geometry, labels=anatomy).masks
    with pytest.raises(TypeError, match="boxes, areas and centroids of masks are found on the host, and the array is"):
        getattr(masks, what)
    on_host = LabelMasks(library.to_host(masks.packed), DETECTOR[1], masks.label_ids, tuple(masks))
    expected = getattr(project(ct, geometry, labels=labels, backend="cuda").masks, what)
    np.testing.assert_array_equal(getattr(on_host, what), expected)


def test_padding_is_counted_on_the_host(library):
    ct, labels, _ = scene()
    on_gpu, _ = moved(library, ct, labels)
    with pytest.raises(TypeError, match=r"padding is counted on the host, .*; move it there, or count"):
        on_gpu.count_padding()


@pytest.mark.parametrize("device", [0, 1])
@pytest.mark.parametrize("name", ["cupy", "torch"])
def test_rays_of_a_pixel_are_averaged_where_they_are(monkeypatch, name, device):
    library = stand_in(name, monkeypatch)
    ct, labels, geometry = scene()
    expected = arrays_of(project(ct, geometry, labels=labels, supersampling=3, backend="cuda"))
    on_gpu = Volume(library.kind(ct.array, device), ct.affine, unit=ct.unit)
    anatomy = LabelVolume(
        library.kind(labels.array, device), labels.affine, dict(labels.names), groups=dict(labels.groups)
    )
    image = library.kind(np.full_like(expected["line_integral"], 7), device)
    shot = project(on_gpu, geometry, labels=anatomy, supersampling=3, out={"line_integral": image})
    assert shot.line_integral is image
    for key, array in arrays_of(shot).items():
        if array is not None:
            assert array.device.id == device
            np.testing.assert_array_equal(array.host, expected[key], err_msg=key)


@pytest.mark.parametrize("device", [0, 1])
@pytest.mark.parametrize("name", ["cupy", "torch"])
def test_crops_are_made_where_the_volume_is(monkeypatch, name, device):
    library = stand_in(name, monkeypatch)
    ct, labels, geometry = scene()
    options = {"outputs": EVERYTHING, "label_images": "crops"}
    expected = project(ct, geometry, labels=labels, backend="cuda", **options)
    on_gpu = Volume(library.kind(ct.array, device), ct.affine, unit=ct.unit)
    anatomy = LabelVolume(
        library.kind(labels.array, device), labels.affine, dict(labels.names), groups=dict(labels.groups)
    )
    mask = library.kind(np.full_like(expected.masks.packed, 7), device)
    shot = project(on_gpu, geometry, labels=anatomy, out={"mask": mask}, **options)
    assert shot.masks.packed is mask
    for key, array in arrays_of(shot).items():
        assert array.device.id == device
        np.testing.assert_array_equal(array.host, arrays_of(expected)[key], err_msg=key)
    for key in ("path_length", "entry_depth"):
        found, right = getattr(shot, key), getattr(expected, key)
        np.testing.assert_array_equal(found.boxes, right.boxes)
        assert found.nbytes == right.nbytes
        np.testing.assert_array_equal(found.crop("all", 1).host, right.crop("all", 1))
        np.testing.assert_array_equal(shot[1].images[key]["two"].host, expected[1].images[key]["two"])


@pytest.mark.parametrize("options", [{"supersampling": 2}, {"label_images": "crops"}])
def test_arrays_that_do_not_change_are_not_averaged_or_cropped(monkeypatch, options):
    library = stand_in("jax", monkeypatch)
    ct, labels, geometry = scene()
    on_gpu, anatomy = moved(library, ct, labels)
    with pytest.raises(ValueError, match=r"take arrays of CuPy or torch; pass cupy.from_dlpack\(array\)"):
        project(on_gpu, geometry, labels=anatomy, **options)
