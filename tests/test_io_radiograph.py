"""Writing radiographs: pictures, overlays, NPZ, NIfTI and the JSON beside them."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import stat
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

import drrproj
from drrproj.io.grey import write_grey
from drrproj.io.label_colors import label_color
from drrproj.radiograph import LabelCrops, LabelImages, LabelMasks
from drrproj.replace import replaced

ROWS, COLUMNS = 20, 30


def radiograph(views: int = 1, labels: bool = True, image: np.ndarray | None = None) -> drrproj.Radiograph:
    """Build a radiograph by hand: a bright right half, a large label and a small one on it."""
    names = ("PA", "LL")[:views]
    geometry = drrproj.Geometry.cone(
        source=[(0, -1000, 0), (900, 0, 0)][:views],
        center=[(0, 500, 10), (-400, 0, 10)][:views],
        row_step=(0, 0, -2),
        column_step=[(-1.5, 0, 0), (0, -1.5, 0)][:views],
        shape=(ROWS, COLUMNS),
        names=names,
    )
    if image is None:
        image = np.linspace(0, 6, ROWS * COLUMNS, dtype=np.float32).reshape(ROWS, COLUMNS)
    mask = np.zeros((2, views, ROWS, COLUMNS), bool)
    mask[0, :, 2:18, 3:25] = True
    mask[1, :, 5:9, 6:12] = True
    label_ids, label_names = (5, 51), ("liver", "heart")
    path = mask * np.float32(12.5)
    images = {"line_integral": np.stack([image * (view + 1) for view in range(views)])}
    if labels:
        images["path_length"] = LabelImages(path, label_ids, label_names)
        images["masks"] = LabelMasks(np.packbits(mask, axis=-1), COLUMNS, label_ids, label_names)
    return drrproj.Radiograph(
        geometry=geometry,
        images=images,
        backend="cpu",
        record={
            "versions": {"drrproj": "1"},
            "labels": [{"names": dict(zip(label_ids, label_names, strict=True))}] if labels else [],
            "geometry": geometry.as_record(),
            "outputs": ["line_integral"],
        },
    )


def levels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.mode == "I;16"
        return np.asarray(picture)


# --- PNG ----------------------------------------------------------------------------------------------------------


def test_png_is_16_bit_dense_is_bright_and_says_its_window(tmp_path):
    shot = radiograph()
    assert drrproj.write_png(tmp_path / "pa.png", shot, window=(1, 5)) == drrproj.Display(1.0, 5.0)
    expected = np.rint(np.clip((shot.line_integral[0].astype(np.float64) - 1) / 4, 0, 1) * 65535)
    assert np.abs(levels(tmp_path / "pa.png") - expected).max() <= 1
    assert levels(tmp_path / "pa.png")[0, 0] == 0
    assert levels(tmp_path / "pa.png")[-1, -1] == 65535
    with Image.open(tmp_path / "pa.png") as picture:
        assert picture.text["display_low"] == "1.0"
        assert picture.text["display_high"] == "5.0"
        assert picture.text["display_quantity"] == "line_integral"
        assert (picture.text["display_bits"], picture.text["display_inverted"]) == ("16", "False")


def test_recorded_window_gives_the_line_integral_back(tmp_path):
    shot = radiograph()
    drrproj.write_png(tmp_path / "pa.png", shot, window=(0, 6))
    with Image.open(tmp_path / "pa.png") as picture:
        low, high = (float(picture.text[key]) for key in ("display_low", "display_high"))
        again = low + np.asarray(picture) / 65535 * (high - low)
    np.testing.assert_allclose(again, shot.line_integral[0], atol=6 / 65535)


def test_default_window_ignores_the_air_around_the_body(tmp_path):
    image = np.zeros((ROWS, COLUMNS), np.float32)
    image[5:15, 5:25] = np.linspace(1, 4, 200).reshape(10, 20)
    used = drrproj.write_png(tmp_path / "pa.png", radiograph(image=image))
    assert (used.low, used.high) == pytest.approx(np.percentile(image[5:15, 5:25], (0.5, 99.5)))


@pytest.mark.parametrize(("value", "window"), [(0.0, (0.0, 1.0)), (2.0, (0.0, 2.0))])
def test_default_window_of_a_flat_image(tmp_path, value, window):
    image = np.full((ROWS, COLUMNS), value, np.float32)
    assert drrproj.write_png(tmp_path / "pa.png", radiograph(image=image)) == drrproj.Display(*window)
    assert (levels(tmp_path / "pa.png") == (65535 if value else 0)).all()


@pytest.mark.parametrize("window", [(2, 2), (3, 1), (0, np.nan), (-np.inf, 1), (1, 2, 3)])
def test_bad_window(tmp_path, window):
    with pytest.raises(ValueError, match="window must be two line integrals, low below high"):
        drrproj.write_png(tmp_path / "pa.png", radiograph(), window=window)
    assert list(tmp_path.iterdir()) == []


ONE_VIEW = [(drrproj.write_png, ".png"), (drrproj.write_overlay, ".png"), (drrproj.write_nifti, ".nii")]


@pytest.mark.parametrize(("write", "ending"), ONE_VIEW)
def test_several_views_do_not_fit_one_picture(tmp_path, write, ending):
    with pytest.raises(ValueError, match=r"has 2 \(PA, LL\); write one at a time, such as radiograph\['PA'\]"):
        write(tmp_path / f"both{ending}", radiograph(views=2))


@pytest.mark.parametrize(("write", "ending"), ONE_VIEW)
def test_no_line_integral(tmp_path, write, ending):
    shot = radiograph()
    bare = drrproj.Radiograph(shot.geometry, {"path_length": shot.path_length, "masks": shot.masks}, "cpu", {})
    with pytest.raises(ValueError, match="no line integral to write"):
        write(tmp_path / f"pa{ending}", bare)


# --- overlay ------------------------------------------------------------------------------------------------------


def overlay(tmp_path: Path, shot: drrproj.Radiograph, **choices) -> np.ndarray:
    drrproj.write_overlay(tmp_path / "overlay.png", shot, **choices)
    with Image.open(tmp_path / "overlay.png") as picture:
        assert picture.mode == "RGB"
        return np.asarray(picture).astype(int)


def saturation(picture: np.ndarray) -> np.ndarray:
    return picture.max(axis=-1) - picture.min(axis=-1)


def test_overlay_colours_labels_and_nothing_else(tmp_path):
    shot = radiograph()
    colourful = saturation(overlay(tmp_path, shot)) > 0
    np.testing.assert_array_equal(colourful, shot.masks["liver"][0] | shot.masks["heart"][0])


def test_overlay_outlines_every_structure_and_the_small_one_lies_on_top(tmp_path):
    image = np.full((ROWS, COLUMNS), 2, np.float32)
    picture = overlay(tmp_path, radiograph(image=image), window=(0, 4))
    heart, liver = np.array(label_color("heart")), np.array(label_color("liver"))
    rim, inside, around = picture[5, 6], picture[7, 9], picture[12, 20]
    np.testing.assert_array_equal(picture[8, 11], rim)
    assert np.abs(rim - heart).sum() < np.abs(inside - heart).sum() < np.abs(around - heart).sum()
    assert np.abs(picture[2, 3] - liver).sum() < np.abs(around - liver).sum()


def test_overlay_shows_the_image_through_the_fill(tmp_path):
    picture = overlay(tmp_path, radiograph(), window=(0, 6))
    assert picture[16, 12].sum() > picture[4, 12].sum() + 100


@pytest.mark.parametrize("labels", [["heart"], [51], "heart", 51, np.int64(51)])
def test_overlay_of_chosen_labels(tmp_path, labels):
    shot = radiograph()
    np.testing.assert_array_equal(saturation(overlay(tmp_path, shot, labels=labels)) > 0, shot.masks["heart"][0])


def test_overlay_does_not_depend_on_masks_or_path_length(tmp_path):
    shot = radiograph()
    only_path = dataclasses.replace(shot, images={name: shot.images[name] for name in ("line_integral", "path_length")})
    np.testing.assert_array_equal(overlay(tmp_path, shot), overlay(tmp_path, only_path))


def test_overlay_of_no_labels_and_unknown_labels(tmp_path):
    with pytest.raises(ValueError, match="no labels to draw; pass labels="):
        drrproj.write_overlay(tmp_path / "overlay.png", radiograph(labels=False))
    with pytest.raises(KeyError, match="did you mean heart"):
        drrproj.write_overlay(tmp_path / "overlay.png", radiograph(), labels=["hart"])
    assert list(tmp_path.iterdir()) == []


def test_overlay_uses_the_window_it_returns(tmp_path):
    shot = radiograph()
    assert drrproj.write_overlay(tmp_path / "o.png", shot) == drrproj.write_png(tmp_path / "pa.png", shot)


def test_colours_are_stable_and_tell_sides_and_neighbours_apart():
    # Fixed values: a colour that changes between versions or processes would break every legend.
    assert label_color("heart") == (219, 87, 126)
    assert label_color("rib_left_4") == (230, 212, 76)
    assert label_color("no_such_structure") == (230, 138, 76)
    pairs = [
        ("lung_upper_lobe_left", "lung_upper_lobe_right"),
        ("rib_left_4", "rib_left_5"),
        ("rib_left_4", "rib_right_4"),
        ("vertebrae_T5", "vertebrae_T6"),
        ("aorta", "heart"),
        ("pulmonary_vein", "aorta"),
        ("liver", "spleen"),
        ("my_structure", "another_structure"),
    ]
    for one, other in pairs:
        assert np.abs(np.subtract(label_color(one), label_color(other))).sum() >= 25, (one, other)


# --- NPZ ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("views", [1, 2])
def test_npz_round_trip_is_exact(tmp_path, views):
    shot = radiograph(views=views)
    drrproj.write_npz(tmp_path / "shot.npz", shot)
    again = drrproj.read_npz(tmp_path / "shot.npz")
    assert again.line_integral.dtype == np.float32
    np.testing.assert_array_equal(again.line_integral, shot.line_integral)
    np.testing.assert_array_equal(again.path_length.array, shot.path_length.array)
    np.testing.assert_array_equal(again.masks.array, shot.masks.array)
    np.testing.assert_array_equal(again.path_length[51], shot.path_length["heart"])
    assert list(again.masks) == list(again.path_length) == ["liver", "heart"]
    assert again.masks.label_ids == again.path_length.label_ids == (5, 51)
    np.testing.assert_array_equal(again.geometry.views, shot.geometry.views)
    assert again.geometry.shape == shot.geometry.shape
    assert again.geometry.names == shot.geometry.names
    assert again.backend == "cpu"
    assert again.record == shot.record


def test_npz_without_labels(tmp_path):
    drrproj.write_npz(tmp_path / "shot.npz", radiograph(labels=False))
    again = drrproj.read_npz(tmp_path / "shot.npz")
    assert not {"path_length", "masks"} & again.images.keys()


def test_npz_opens_with_numpy_alone_and_is_reproducible(tmp_path):
    drrproj.write_npz(tmp_path / "one.npz", radiograph())
    drrproj.write_npz(tmp_path / "two.npz", radiograph())
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    with np.load(tmp_path / "one.npz", allow_pickle=False) as arrays:
        assert arrays["path_length"].shape == (2, 1, ROWS, COLUMNS)
        assert arrays["masks"].shape == (2, 1, ROWS, 4)
        assert arrays["masks_names"].tolist() == ["liver", "heart"]
        assert json.loads(str(arrays["record"]))["outputs"] == ["line_integral"]


def test_npz_that_is_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        drrproj.read_npz(tmp_path / "shot.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match=r"other\.npz: this is no radiograph of drrproj; there is no format"):
        drrproj.read_npz(tmp_path / "other.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.npz: this is no radiograph"):
        drrproj.read_npz(tmp_path / "text.npz")
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"array\.npy: this is no radiograph"):
        drrproj.read_npz(tmp_path / "array.npy")
    np.savez(tmp_path / "later.npz", format=np.array("drrproj radiograph 9"))
    with pytest.raises(ValueError, match="its format is 'drrproj radiograph 9'"):
        drrproj.read_npz(tmp_path / "later.npz")


def test_npz_of_other_contents_says_what_they_look_like(tmp_path):
    drrproj.write_nifti(tmp_path / "ct.nii.gz", radiograph())
    with pytest.raises(
        ValueError,
        match=r"ct\.nii\.gz: this is no radiograph of drrproj, which write_npz writes; it looks like NIfTI; "
        r"read_volume and read_labels read that$",
    ):
        drrproj.read_npz(tmp_path / "ct.nii.gz")
    drrproj.write_png(tmp_path / "pa.png", radiograph())
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for name, looks in (
        ("pa.png", "this is no file that drrproj reads"),
        ("array.npy", "it looks like NumPy"),
        ("empty.npz", "the file is empty"),
        ("folder", "it looks like a folder"),
    ):
        with pytest.raises(ValueError, match=rf"{name}: this is no radiograph of drrproj, which .*; {looks}") as caught:
            drrproj.read_npz(tmp_path / name)
        assert "pickle" not in str(caught.value)


def test_npz_of_a_zip_of_other_files(tmp_path):
    with zipfile.ZipFile(tmp_path / "slices.zip", "w") as archive:
        archive.writestr("1.dcm", b"not an array")
    with pytest.raises(ValueError, match=r"slices\.zip: this is no radiograph of drrproj; there is no format in it$"):
        drrproj.read_npz(tmp_path / "slices.zip")


def test_npz_with_more_in_it(tmp_path):
    drrproj.write_npz(tmp_path / "shot.npz", radiograph())
    with zipfile.ZipFile(tmp_path / "shot.npz", "a") as archive:
        archive.writestr("README", "a note")
    np.testing.assert_array_equal(drrproj.read_npz(tmp_path / "shot.npz").line_integral, radiograph().line_integral)


def test_npz_that_claims_more_than_it_holds(tmp_path):
    drrproj.write_npz(tmp_path / "shot.npz", radiograph())
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (2**20,) * 3})
    with (
        zipfile.ZipFile(tmp_path / "shot.npz") as good,
        zipfile.ZipFile(tmp_path / "lie.npz", "w") as lie,
    ):
        for name in good.namelist():
            lie.writestr(name, file.getvalue() + bytes(40) if name == "line_integral.npy" else good.read(name))
    with pytest.raises(ValueError, match=rf"lie\.npz: .* line_integral is cut short: it has 40 of {2**62} bytes"):
        drrproj.read_npz(tmp_path / "lie.npz")


@pytest.mark.parametrize("place", [0.3, 0.6, 0.95])
def test_damaged_npz(tmp_path, place):
    drrproj.write_npz(tmp_path / "shot.npz", radiograph())
    contents = (tmp_path / "shot.npz").read_bytes()
    (tmp_path / "shot.npz").write_bytes(contents[: int(len(contents) * place)])
    with pytest.raises(ValueError, match=r"shot\.npz: this is no radiograph of drrproj, or a damaged one"):
        drrproj.read_npz(tmp_path / "shot.npz")


def changed_npz(path, shot, **change):
    """Write a radiograph with other entries in the place of its own; None leaves one out."""
    drrproj.write_npz(path, shot)
    with np.load(path) as archive:
        arrays = {**archive, **change}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


SIZE = rf"\(2, 1, {ROWS}, {COLUMNS}\)"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"shape": np.array([20.0, 30.0])},
            r"entry shape must be whole numbers of shape \(2\); got float64 of shape \(2,\)",
        ),
        ({"shape": np.array([20, 31])}, r"entry line_integral must be floats of shape \(1, 20, 31\); got float32 of"),
        ({"views": np.zeros((2, 4, 5))}, r"entry views must be floats of shape \(any, 4, 4\); got float64 of shape"),
        ({"view_names": np.zeros(0, "U2")}, r"entry view_names must be texts of shape \(1\); got <U2 of shape \(0,\)"),
        (
            {"line_integral": np.float32(0)},
            r"entry line_integral must be floats of shape \(1, 20, 30\); got float32 of",
        ),
        ({"line_integral": np.zeros((1, 20, 30), int)}, r"line_integral must be floats .*; got int64 of shape"),
        ({"background_line_integral": np.zeros((1, 30, 20), "f4")}, "background_line_integral must be floats of shape"),
        ({"path_length": np.zeros((1, 1, ROWS, COLUMNS), "f4")}, rf"path_length must be floats of shape {SIZE}; got"),
        (
            {"path_length_ids": np.array([5])},
            r"path_length_names must be texts of shape \(1\); got <U5 of shape \(2,\)",
        ),
        (
            {"path_length_ids": np.array("5")},
            r"path_length_ids must be whole numbers of shape \(any\); got <U1 of shape",
        ),
        ({"masks_names": np.array(["liver"])}, r"masks_names must be texts of shape \(2\); got <U5 of shape \(1,\)"),
        (
            {"masks": np.zeros((2, 1, ROWS, 4), "u2")},
            r"masks must be bytes of shape \(2, 1, 20, 4\); got uint16 of shape",
        ),
        (
            {"masks": np.zeros((2, 1, ROWS, COLUMNS), "u1")},
            r"masks must be bytes of shape \(2, 1, 20, 4\); got uint8 of",
        ),
        ({"masks_ids": None}, "there is no masks_ids in it"),
        ({"record": np.array("[]")}, r"its entry record must be the JSON of an object; got \[\]"),
        (
            {"view_names": np.array(["PA"], object)},
            "its entry view_names holds objects of Python, which are not read; save",
        ),
    ],
)
def test_npz_whose_entries_do_not_fit_each_other(tmp_path, change, said):
    path = changed_npz(tmp_path / "shot.npz", radiograph(), **change)
    with pytest.raises(ValueError, match=rf"shot\.npz: this is no radiograph of drrproj[^\n]*{said}[^\n]*$"):
        drrproj.read_npz(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"path_length": np.zeros(7, "f4")},
            "its path_length has 7 pixels, and the boxes of path_length_boxes have 6$",
        ),
        ({"path_length": np.float32(0)}, r"path_length must be floats of shape \(any\); got float32 of shape \(\)$"),
        ({"path_length_boxes": None}, rf"path_length must be floats of shape {SIZE}; got float32 of shape \(6,\)$"),
        (
            {"path_length_boxes": np.zeros((2, 4), int)},
            r"path_length_boxes must be whole numbers of shape \(2, 1, 4\); got",
        ),
        ({"path_length_boxes": np.array([[[0, 2, 0, 3]], [[5, 5, 9, 8]]])}, r"must lie in .*; got \[5, 5, 9, 8\]$"),
        (
            {"path_length_boxes": np.array([[[0, 2, 28, 31]], [[0] * 4]])},
            r"image of 20 x 30 pixels.*; got \[0, 2, 28, 31\]$",
        ),
        (
            {"path_length_boxes": np.array([[[-2, 0, 0, 3]], [[0] * 4]])},
            r"must lie in the image.*; got \[-2, 0, 0, 3\]$",
        ),
    ],
)
def test_npz_whose_crops_do_not_fit_their_boxes(tmp_path, change, said):
    shot = radiograph()
    crops = [[np.ones((2, 3), np.float32)], [np.zeros((0, 0), np.float32)]]
    boxes = np.array([[[1, 3, 4, 7]], [[0] * 4]], np.int32)
    shot.images["path_length"] = LabelCrops(crops, boxes, (ROWS, COLUMNS), (5, 51), ("liver", "heart"))
    drrproj.write_npz(tmp_path / "whole.npz", shot)
    assert drrproj.read_npz(tmp_path / "whole.npz").path_length["liver"].sum() == 6
    path = changed_npz(tmp_path / "shot.npz", shot, **change)
    with pytest.raises(ValueError, match=rf"shot\.npz: this is no radiograph of drrproj, or a damaged one: .*{said}"):
        drrproj.read_npz(path)


# --- NIfTI --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pa.nii", "pa.nii.gz"])
def test_nifti_puts_every_pixel_where_the_view_has_it(tmp_path, name):
    shot = radiograph()
    drrproj.write_nifti(tmp_path / name, shot)
    image = nibabel.load(tmp_path / name)
    assert image.shape == (COLUMNS, ROWS, 1)
    assert image.get_data_dtype() == np.float32
    assert image.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_array_equal(np.asarray(image.dataobj)[..., 0].T, shot.line_integral[0])
    view = shot.geometry.views[0]
    for row, column in [(0, 0), (3, 7), (ROWS - 1, COLUMNS - 1)]:
        np.testing.assert_allclose(image.affine @ [column, row, 0, 1], view @ [0, 1, row, column], atol=1e-4)
    np.testing.assert_allclose(image.affine[:3, 2], [0, 1, 0], atol=1e-6)
    again = drrproj.read_volume(tmp_path / name, unit="1/mm")
    np.testing.assert_array_equal(again.array[..., 0].T, shot.line_integral[0])


def test_nifti_is_reproducible_and_named_so(tmp_path):
    drrproj.write_nifti(tmp_path / "one.nii.gz", radiograph())
    drrproj.write_nifti(tmp_path / "two.nii.gz", radiograph())
    assert (tmp_path / "one.nii.gz").read_bytes() == (tmp_path / "two.nii.gz").read_bytes()
    with pytest.raises(ValueError, match=r"a NIfTI file is called \.nii or \.nii\.gz; got pa\.img"):
        drrproj.write_nifti(tmp_path / "pa.img", radiograph())


# --- JSON ---------------------------------------------------------------------------------------------------------


def test_sidecar_holds_the_record_and_the_extras(tmp_path):
    shot = radiograph()
    drrproj.write_sidecar(
        tmp_path / "pa.json", shot, display={"low": np.float32(0.5), "high": 6}, source={"ct": tmp_path / "ct.nii.gz"}
    )
    text = (tmp_path / "pa.json").read_text()
    record = json.loads(text)
    assert list(record) == ["display", "source", "versions", "labels", "geometry", "outputs"]
    assert record["display"] == {"low": 0.5, "high": 6}
    assert record["source"] == {"ct": str(tmp_path / "ct.nii.gz")}
    assert record["labels"][0]["names"] == {"5": "liver", "51": "heart"}
    rebuilt = drrproj.Geometry(**record["geometry"])
    np.testing.assert_array_equal(rebuilt.views, shot.geometry.views)
    assert "        [0.0, 21.75, 0.0, -1.5],\n" in text  # a row of a matrix is one line


def test_sidecar_refuses_what_json_cannot_hold(tmp_path):
    with pytest.raises(ValueError, match="the record of the radiograph has its own geometry"):
        drrproj.write_sidecar(tmp_path / "pa.json", radiograph(), geometry=1)
    with pytest.raises(ValueError, match="Out of range float"):
        drrproj.write_sidecar(tmp_path / "pa.json", radiograph(), display=float("nan"))
    with pytest.raises(TypeError, match="a JSON file cannot hold a set"):
        drrproj.write_sidecar(tmp_path / "pa.json", radiograph(), display={1})
    assert list(tmp_path.iterdir()) == []


# --- nothing is lost ----------------------------------------------------------------------------------------------

WRITERS = {
    "pa.png": drrproj.write_png,
    "overlay.png": drrproj.write_overlay,
    "pa.nii.gz": drrproj.write_nifti,
    "shot.npz": drrproj.write_npz,
    "pa.json": drrproj.write_sidecar,
}


ENDINGS = {
    ".png": [
        drrproj.write_png,
        drrproj.write_overlay,
        lambda path, shot: drrproj.write_picture(path, drrproj.Picture(np.zeros((4, 6), np.uint8), {})),
        lambda path, shot: drrproj.write_scene(path, shot, drrproj.Volume(np.zeros((9, 9, 9), np.int16), np.eye(4))),
        lambda path, shot: write_grey(path, np.zeros((4, 6), np.uint8)),
    ],
    ".nii or .nii.gz": [drrproj.write_nifti],
    ".npz": [drrproj.write_npz],
    ".json": [drrproj.write_sidecar, drrproj.write_coco],
    ".csv": [
        drrproj.write_structure_table,
        lambda path, shot: drrproj.write_projected_landmarks(
            path, drrproj.io.Landmarks(("a",), np.zeros((1, 3))), shot.geometry
        ),
    ],
}


@pytest.mark.parametrize(("endings", "write"), [(endings, write) for endings in ENDINGS for write in ENDINGS[endings]])
def test_the_ending_says_what_is_in_the_file(tmp_path, endings, write):
    for name in ("pa.jpg", "pa", "pa.gz", "png"):
        with pytest.raises(ValueError, match=rf"^an? \w+ file is called {re.escape(endings)}; got {name}$"):
            write(tmp_path / name, radiograph())
    assert list(tmp_path.iterdir()) == []
    for ending in endings.split(" or "):
        write(tmp_path / f"PA{ending.upper()}", radiograph())
        write(str(tmp_path / f"pa.1{ending}"), radiograph())


def test_a_compressed_file_of_capitals_is_compressed(tmp_path):
    drrproj.write_nifti(tmp_path / "PA.NII.GZ", radiograph())
    assert (tmp_path / "PA.NII.GZ").read_bytes()[:2] == b"\x1f\x8b"


@pytest.mark.parametrize("name", [*WRITERS, "structures.csv", "masks.json", "masks", "rle"])
@pytest.mark.parametrize("wrong", [radiograph().line_integral, "shot.npz", None])
def test_what_is_no_radiograph(tmp_path, name, wrong):
    others = {
        "structures.csv": drrproj.write_structure_table,
        "masks.json": drrproj.write_coco,
        "masks": drrproj.write_mask_pngs,
        "rle": lambda _, shot: drrproj.coco_rle(shot),
    }
    kind = r"drrproj\.Radiograph( or Picture)?"
    with pytest.raises(
        TypeError, match=rf"^radiograph must be a {kind}; got {type(wrong).__name__}; pass what project"
    ):
        {**WRITERS, **others}[name](tmp_path / name, wrong)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_picture(tmp_path):
    with pytest.raises(TypeError, match=r"^picture must be a drrproj\.Picture; got Radiograph"):
        drrproj.write_picture(tmp_path / "a.png", radiograph())


@pytest.mark.skipif(os.name == "nt", reason="Windows counts in other units")
@pytest.mark.parametrize("letter", ["x", "\u00e9", "\u0436", "\u5fc3", "\U00020000", "x\U00020000"])
def test_names_as_long_as_the_system_takes_them(tmp_path, letter):
    name = letter * (251 // len(letter.encode())) + ".png"
    (tmp_path / name).write_text("old")
    drrproj.write_png(tmp_path / name, radiograph())
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    assert levels(tmp_path / name).shape == (ROWS, COLUMNS)


@pytest.mark.parametrize("name", WRITERS)
def test_missing_folder(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=r"^cannot write .*: there is no folder .*none; create it first$"):
        WRITERS[name](tmp_path / "none" / name, radiograph())


@pytest.mark.parametrize("name", WRITERS)
def test_folder_that_is_a_file(tmp_path, name):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotADirectoryError, match=r"^cannot write .*: Not a directory$"):
        WRITERS[name](tmp_path / "file" / name, radiograph())
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", WRITERS)
def test_target_that_is_a_folder(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(IsADirectoryError, match="it is a folder; pass a file name"):
        WRITERS[name](tmp_path / name, radiograph())


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_folder_without_permission(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(PermissionError, match=r"^cannot write .*: Permission denied$"):
        drrproj.write_png(folder / "pa.png", radiograph())


@pytest.mark.parametrize("name", WRITERS)
def test_existing_file_is_replaced_whole(tmp_path, name):
    (tmp_path / name).write_text("old")
    WRITERS[name](tmp_path / name, radiograph())
    assert (tmp_path / name).read_bytes() != b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_failure_half_way_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "pa.png"
    path.write_text("old")

    def fail_half_way() -> None:
        with replaced(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(type(error)) as raised:
        fail_half_way()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["pa.png"]
    if isinstance(error, OSError):
        assert str(raised.value) == f"cannot write {path}: No space left on device"


@pytest.mark.skipif(os.name == "nt", reason="file modes are POSIX")
def test_files_get_the_permissions_of_ordinary_files(tmp_path):
    (tmp_path / "ordinary").write_text("")
    drrproj.write_png(tmp_path / "pa.png", radiograph())
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ordinary", "pa.png")}
    assert len(modes) == 1
