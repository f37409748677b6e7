"""Arrays that the caller gives are filled as new ones would be, or refused before anything is written to them."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from test_cuda import DETECTOR, EVERYTHING, arrays_of, scene

from drrproj import Projector, Volume, project


@pytest.mark.parametrize("outputs", [EVERYTHING, EVERYTHING[:1]])
def test_given_arrays_hold_what_new_ones_would_call_after_call(backend, outputs):
    ct, labels, geometry = scene()
    projector = Projector(ct, labels=labels, outputs=outputs, backend=backend)
    fresh = {name: array for name, array in arrays_of(projector.project(geometry)).items() if array is not None}
    given = {name: np.full_like(array, 7) for name, array in fresh.items()}
    for view in (geometry[::-1], geometry):
        shot = projector.project(view, out=given)
    for name, array in fresh.items():
        assert arrays_of(shot)[name] is given[name]
        np.testing.assert_array_equal(given[name], array, err_msg=name)


def test_some_arrays_may_be_given_and_others_made():
    ct, labels, geometry = scene()
    fresh = project(ct, geometry, labels=labels)
    mask = np.full_like(fresh.masks.packed, 255)
    shot = project(ct, geometry, labels=labels, out={"mask": mask})
    assert shot.masks.packed is mask
    np.testing.assert_array_equal(mask, fresh.masks.packed)
    np.testing.assert_array_equal(shot.line_integral, fresh.line_integral)


@pytest.mark.parametrize("out", [np.zeros((1, 8, 8), np.float32), "line_integral", 1])
def test_arrays_without_names_are_refused(out):
    ct, _, geometry = scene()
    with pytest.raises(TypeError, match=r'out must name the arrays in it, {"line_integral": array}; got') as refused:
        project(ct, geometry, out=out)
    assert "\n" not in str(refused.value)


def test_an_image_may_be_a_file(tmp_path):
    ct, _, geometry = scene()
    images = np.memmap(tmp_path / "images", np.float32, "w+", shape=(2, len(geometry), *DETECTOR))
    for place in images:
        project(ct, geometry, out={"line_integral": place})
    images.flush()
    kept = np.fromfile(tmp_path / "images", np.float32).reshape(images.shape)
    np.testing.assert_array_equal(kept, [project(ct, geometry).line_integral] * 2)


def test_an_average_over_rays_is_made_in_the_given_array():
    ct, labels, geometry = scene()
    options = {"labels": labels, "supersampling": 2}
    fresh = project(ct, geometry, **options)
    given = {"line_integral": np.full_like(fresh.line_integral, 7), "mask": np.full_like(fresh.masks.packed, 7)}
    shot = project(ct, geometry, **options, out=given)
    assert shot.line_integral is given["line_integral"]
    np.testing.assert_array_equal(given["line_integral"], fresh.line_integral)
    np.testing.assert_array_equal(given["mask"], fresh.masks.packed)


def test_what_is_given_needs_no_memory(monkeypatch):
    ct, labels, geometry = scene()
    fresh = project(ct, geometry, labels=labels)
    monkeypatch.setattr(sys.modules["drrproj.project"], "_memory", lambda: fresh.path_length.array.nbytes)
    with pytest.raises(MemoryError, match="outputs need"):
        project(ct, geometry, labels=labels)
    project(ct, geometry, labels=labels, out={"path_length": np.empty_like(fresh.path_length.array)})


IMAGE = (3, *DETECTOR)


@pytest.mark.parametrize(
    ("out", "error", "said"),
    [
        ({"image": np.zeros(IMAGE, np.float32)}, ValueError, "out has 'image', which is not among .*: line_integral$"),
        ({"mask": np.zeros(IMAGE, np.uint8)}, ValueError, "out has 'mask', which is not among"),
        ({"line_integral": [0.0]}, TypeError, "a numpy array; got builtins.list"),
        (
            {"line_integral": np.ma.masked_array(np.zeros(IMAGE, np.float32), True, hard_mask=True)},
            TypeError,
            "a numpy array; got numpy.*MaskedArray",
        ),
        ({"line_integral": np.zeros(IMAGE)}, TypeError, r"must be float32 of shape \(3, 23, 37\); got float64"),
        ({"line_integral": np.zeros(IMAGE, ">f4")}, TypeError, "must be float32 of shape .*; got >f4"),
        ({"line_integral": np.zeros(IMAGE[1:], np.float32)}, ValueError, r"got shape \(23, 37\)"),
        ({"line_integral": np.zeros(IMAGE, np.float32, "F")}, ValueError, "contiguous in C order, aligned and open"),
        (
            {"line_integral": np.broadcast_to(np.float32(0), IMAGE)},
            ValueError,
            "contiguous in C order, aligned and open",
        ),
    ],
)
def test_what_cannot_be_filled_is_refused(out, error, said):
    ct, _, geometry = scene()
    with pytest.raises(error, match=said):
        project(ct, geometry, out=out)


def test_an_image_between_the_addresses_of_floats_is_refused_before_it_is_cleared(backend):
    ct, _, geometry = scene()
    image = np.zeros(4 * np.prod(IMAGE) + 1, np.uint8)[1:].view(np.float32).reshape(IMAGE)
    image[...] = 7
    with pytest.raises(ValueError, match="contiguous in C order, aligned and open to writing; it is not"):
        project(ct, geometry, out={"line_integral": image}, backend=backend)
    assert (image == 7).all()


def test_an_array_that_is_needed_elsewhere_is_refused():
    ct, labels, geometry = scene()
    memory = np.zeros(max(np.prod(IMAGE), ct.array.size), np.float32)
    image = memory[: np.prod(IMAGE)].reshape(IMAGE)
    volume = Volume(memory[: ct.array.size].reshape(ct.shape), ct.affine, unit="1/mm")
    with pytest.raises(ValueError, match="shares memory with the volume"):
        project(volume, geometry, out={"line_integral": image})
    outputs = ("line_integral", "label_line_integral")
    with pytest.raises(ValueError, match=r"out\['background_line_integral'\] shares memory with"):
        project(
            ct,
            geometry,
            labels=labels,
            outputs=outputs,
            out={"line_integral": image, "background_line_integral": image},
        )


def test_crops_are_not_given():
    ct, labels, geometry = scene()
    options = {"labels": labels, "outputs": ("mask", "path_length"), "label_images": "crops"}
    shot = project(ct, geometry, **options)
    with pytest.raises(ValueError, match=r"out has 'path_length', which is not among the arrays made here: mask$"):
        project(ct, geometry, **options, out={"path_length": shot.path_length.array})
    mask = np.full_like(shot.masks.packed, 255)
    np.testing.assert_array_equal(project(ct, geometry, **options, out={"mask": mask}).masks.packed, mask)
    np.testing.assert_array_equal(mask, shot.masks.packed)


def test_a_refused_array_keeps_what_it_holds():
    ct, labels, geometry = scene()
    image = np.full(IMAGE, 7, np.float32)
    with pytest.raises(ValueError, match="not among"):
        project(ct, geometry, labels=labels, out={"line_integral": image, "other": image})
    assert (image == 7).all()
