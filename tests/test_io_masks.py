"""Masks in files: COCO run lengths against pycocotools, PNG stacks, tables, and names that can be files."""

from __future__ import annotations

import csv
import json
import sys

import numpy as np
import pytest
from PIL import Image

import drrproj
from drrproj.io.file_names import file_names
from drrproj.radiograph import LabelMasks

ROWS, COLUMNS = 37, 29
# pycocotools 2.0.11 hands numpy 2 an array in the way of numpy 1.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def radiograph(names=("heart", "lung/left", "none"), label_ids=(51, 7, 3), views=("PA", "LL"), seed=0):
    """Build a radiograph by hand: random masks, one of them empty, one of one pixel in one view."""
    rng = np.random.default_rng(seed)
    masks = rng.random((len(names), len(views), ROWS, COLUMNS)) < 0.4
    masks[-1] = False
    masks[0, -1] = False
    masks[0, -1, ROWS - 1, COLUMNS - 1] = True
    geometry = drrproj.Geometry.parallel(
        direction=(0, 1, 0),
        center=(0, 0, 0),
        row_step=(0, 0, -1),
        column_step=(-1, 0, 0),
        shape=(ROWS, COLUMNS),
    )
    geometry = drrproj.Geometry(np.repeat(geometry.views, len(views), axis=0), (ROWS, COLUMNS), views)
    packed = LabelMasks(np.packbits(masks, axis=-1), COLUMNS, label_ids, names)
    return drrproj.Radiograph(geometry, {"masks": packed}, "cpu", {}), masks


# --- what is known of each mask -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_boxes_areas_and_centroids_are_those_of_the_pixels(seed):
    shot, masks = radiograph(seed=seed)
    for label, view in np.ndindex(masks.shape[:2]):
        rows, columns = np.nonzero(masks[label, view])
        assert shot.masks.areas[label, view] == len(rows)
        if len(rows):
            box = [rows.min(), rows.max() + 1, columns.min(), columns.max() + 1]
            assert shot.masks.boxes[label, view].tolist() == box
            np.testing.assert_allclose(shot.masks.centroids[label, view], (rows.mean(), columns.mean()))
        else:
            assert not shot.masks.boxes[label, view].any()
            assert np.isnan(shot.masks.centroids[label, view]).all()


def test_no_labels_have_no_boxes_areas_and_centroids():
    none = LabelMasks(np.zeros((0, 2, 5, 1), np.uint8), 8, (), ())
    assert (none.boxes.shape, none.areas.shape, none.centroids.shape) == ((0, 2, 4), (0, 2), (0, 2, 2))
    assert none.areas.dtype == np.int64


# --- COCO ---------------------------------------------------------------------------------------------------------


def test_run_lengths_are_the_masks_as_pycocotools_decodes_them():
    coco = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed (extra dataset)")
    shot, masks = radiograph()
    rles = drrproj.coco_rle(shot)
    assert list(rles) == ["heart", "lung/left", "none"]
    for label, name in enumerate(rles):
        for view in range(2):
            rle = json.loads(json.dumps(rles[name][view]))
            assert rle["size"] == [ROWS, COLUMNS]
            np.testing.assert_array_equal(coco.decode(rle), masks[label, view])
            assert coco.area(rle) == shot.masks.areas[label, view]


def test_run_lengths_are_counted_down_the_columns_as_the_format_has_it():
    coco = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed (extra dataset)")
    shot, masks = radiograph()
    column_major = masks[0, 0].ravel(order="F")
    changes = np.flatnonzero(np.diff(column_major)) + 1
    runs = np.diff([0, *changes, column_major.size]).tolist()
    uncompressed = {"size": [ROWS, COLUMNS], "counts": [0, *runs] if column_major[0] else runs}
    assert (
        coco.frPyObjects(uncompressed, ROWS, COLUMNS)["counts"].decode() == drrproj.coco_rle(shot)["heart"][0]["counts"]
    )


def test_run_lengths_of_chosen_labels():
    pytest.importorskip("pycocotools", reason="pycocotools is not installed (extra dataset)")
    shot, _ = radiograph()
    assert list(drrproj.coco_rle(shot, [51, "none"])) == ["heart", "none"]
    assert drrproj.coco_rle(shot, "heart") == {"heart": drrproj.coco_rle(shot)["heart"]}
    with pytest.raises(KeyError, match="did you mean heart"):
        drrproj.coco_rle(shot, ["hart"])


def test_coco_file_is_read_by_pycocotools(tmp_path, capsys):
    coco_api = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed (extra dataset)")
    shot, masks = radiograph()
    drrproj.write_coco(tmp_path / "masks.json", shot)
    coco = coco_api.COCO(tmp_path / "masks.json")
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == ["PA.png", "LL.png"]
    assert {category["id"]: category["name"] for category in coco.loadCats(coco.getCatIds())} == {
        51: "heart",
        7: "lung/left",
        3: "none",
    }
    found = np.zeros_like(masks)
    for annotation in coco.loadAnns(coco.getAnnIds()):
        label, view = [51, 7, 3].index(annotation["category_id"]), annotation["image_id"] - 1
        found[label, view] = coco.annToMask(annotation)
        left, top, width, height = annotation["bbox"]
        inside = found[label, view, top : top + height, left : left + width]
        assert annotation["area"] == inside.sum() == found[label, view].sum() > 0
        assert inside[[0, -1]].any(axis=1).all()
        assert inside[:, [0, -1]].any(axis=0).all()
    np.testing.assert_array_equal(found, masks)
    assert sorted(coco.getAnnIds()) == [1, 2, 3, 4]


def test_coco_file_of_chosen_labels_and_pictures(tmp_path):
    pytest.importorskip("pycocotools", reason="pycocotools is not installed (extra dataset)")
    shot, _ = radiograph()
    drrproj.write_coco(tmp_path / "masks.json", shot, [7], pictures=["a/1.png", "b/2.png"])
    contents = json.loads((tmp_path / "masks.json").read_text())
    assert contents["categories"] == [{"id": 7, "name": "lung/left"}]
    assert [image["file_name"] for image in contents["images"]] == ["a/1.png", "b/2.png"]
    with pytest.raises(ValueError, match="each view needs one picture; got 1 for 2 views"):
        drrproj.write_coco(tmp_path / "masks.json", shot, pictures=["a.png"])


def test_categories_of_label_volumes_that_share_an_id_differ(tmp_path):
    pytest.importorskip("pycocotools", reason="pycocotools is not installed (extra dataset)")
    shot, _ = radiograph(label_ids=(1, 1, 2))
    drrproj.write_coco(tmp_path / "masks.json", shot, ["lung/left", "heart"])
    categories = json.loads((tmp_path / "masks.json").read_text())["categories"]
    assert categories == [{"id": 2, "name": "lung/left"}, {"id": 1, "name": "heart"}]


def test_missing_pycocotools_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    shot, _ = radiograph()
    for call in (lambda: drrproj.coco_rle(shot), lambda: drrproj.write_coco(tmp_path / "masks.json", shot)):
        with pytest.raises(
            ModuleNotFoundError,
            match=r'run lengths and polygons needs pycocotools, .* pip install pycocotools, or the extra "dataset"',
        ):
            call()
    assert list(tmp_path.iterdir()) == []


# --- PNG stacks ---------------------------------------------------------------------------------------------------


def test_every_mask_has_a_png_of_one_bit(tmp_path):
    shot, masks = radiograph()
    written = drrproj.write_mask_pngs(tmp_path, shot)
    stems = ("heart", "lung_left", "none")
    assert written == [tmp_path / view / f"{stem}.png" for view in ("PA", "LL") for stem in stems]
    for view, view_name in enumerate(("PA", "LL")):
        for label, (stem, name) in enumerate(zip(stems, shot.masks, strict=True)):
            with Image.open(tmp_path / view_name / f"{stem}.png") as picture:
                assert (picture.mode, picture.size) == ("1", (COLUMNS, ROWS))
                np.testing.assert_array_equal(np.asarray(picture), masks[label, view])
                np.testing.assert_array_equal(np.asarray(picture.convert("L")), masks[label, view] * 255)
                assert picture.text == {"view": view_name, "name": name, "id": str(shot.masks.label_ids[label])}


def test_pngs_of_chosen_labels_are_called_as_among_all(tmp_path):
    shot, _ = radiograph(names=("Heart", "heart", "none"))
    drrproj.write_mask_pngs(tmp_path, shot["PA"], ["heart"])
    assert [file.name for file in (tmp_path / "PA").iterdir()] == ["heart_2.png"]


def test_views_of_one_name_do_not_overwrite_each_other(tmp_path):
    shot, masks = radiograph(views=("PA", "PA"))
    drrproj.write_mask_pngs(tmp_path, shot, ["heart"])
    for view in range(2):
        with Image.open(tmp_path / f"PA_{view + 1}" / "heart.png") as picture:
            np.testing.assert_array_equal(np.asarray(picture), masks[0, view])


def test_names_that_lead_elsewhere_stay_in_the_folder(tmp_path):
    (tmp_path / "masks").mkdir()
    shot, _ = radiograph(names=("../../heart", "/etc/passwd", "..\\con"), views=("../PA", "LL"))
    for path in drrproj.write_mask_pngs(tmp_path / "masks", shot):
        assert path.resolve().is_relative_to((tmp_path / "masks").resolve())
    assert [entry.name for entry in tmp_path.iterdir()] == ["masks"]


def test_a_folder_that_cannot_be_made(tmp_path):
    shot, _ = radiograph()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match=r"cannot make the folder .*file"):
        drrproj.write_mask_pngs(tmp_path / "file", shot)
    assert (tmp_path / "file").read_text() == "mine"
    assert len(drrproj.write_mask_pngs(tmp_path / "new" / "masks", shot)) == 6


def test_long_names_of_any_letters_become_files(tmp_path):
    shot, _ = radiograph(names=("\U00020000" * 70, "\u00e9" * 70, "n" * 70), views=("\u5fc3" * 70, "LL"))
    written = drrproj.write_mask_pngs(tmp_path, shot)
    assert [len(path.stem) for path in written] == [60] * 6
    assert all(path.is_file() for path in written)


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (["heart", "rib_left_4", "vertebrae_T12"], ["heart", "rib_left_4", "vertebrae_T12"]),
        (["hjärta", "心臓", "GTV+5 mm"], ["hjärta", "心臓", "GTV+5 mm"]),
        (["a/b", "a:b", "a_b"], ["a_b_1", "a_b_2", "a_b_3"]),
        (["Heart", "heart", "HEART"], ["Heart_1", "heart_2", "HEART_3"]),
        (["x_1", "X", "x"], ["x_1", "X_2", "x_3"]),
        (["x", "x", "x_1"], ["x_1_1", "x_2", "x_1"]),
        (["con", "COM1.left", "console"], ["_con", "_COM1.left", "console"]),
        ([".hidden", "end. ", "...", "?"], ["hidden", "end", "__3", "__4"]),
        (["a\u0308", "\u00e4"], ["\u00e4_1", "\u00e4_2"]),
        (["n" * 300], ["n" * 60]),
        (["tab\tline\n", "nul\0byte"], ["tab_line_", "nul_byte"]),
    ],
)
def test_file_names(names, files):
    assert file_names(names) == files
    assert len({name.casefold() for name in files}) == len(files)


def test_views_of_one_name_are_told_apart_by_the_same_names_in_pictures_and_tables(tmp_path):
    ct = drrproj.Volume(np.zeros((9, 9, 9), np.int16), np.eye(4))
    labels = drrproj.LabelVolume(np.ones((9, 9, 9), np.uint8), np.eye(4), {1: "block"})
    pa, ll = (drrproj.Geometry.radiograph(view, ct, shape=(9, 9)) for view in ("PA", "LL"))
    shot = drrproj.project(ct, drrproj.Geometry.concatenate([pa, ll, pa]), labels=labels)
    folders = [file.parent.name for file in drrproj.write_mask_pngs(tmp_path, shot)]
    drrproj.write_structure_table(tmp_path / "structures.csv", shot)
    landmarks = drrproj.io.Landmarks(("middle",), ct.center[None])
    drrproj.write_projected_landmarks(tmp_path / "points.csv", landmarks, shot.geometry)
    for name in ("structures.csv", "points.csv"):
        with (tmp_path / name).open(encoding="utf-8", newline="") as file:
            assert [row["view"] for row in csv.DictReader(file)] == folders == ["PA_1", "LL", "PA_3"]


# --- table --------------------------------------------------------------------------------------------------------


def test_table_of_structures(tmp_path):
    shot, masks = radiograph(names=("heart", 'lung, "left"', "none"))
    drrproj.write_structure_table(tmp_path / "structures.csv", shot)
    with (tmp_path / "structures.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["view"], row["name"]) for row in table] == [(v, n) for v in ("PA", "LL") for n in shot.masks]
    for row in table:
        view, label = ("PA", "LL").index(row["view"]), list(shot.masks).index(row["name"])
        rows, columns = np.nonzero(masks[label, view])
        assert (int(row["id"]), int(row["area"])) == (shot.masks.label_ids[label], len(rows))
        if not len(rows):
            assert [row[key] for key in ("top", "bottom", "left", "right", "row", "column")] == [""] * 6
            continue
        assert (int(row["top"]), int(row["bottom"])) == (rows.min(), rows.max() + 1)
        assert (int(row["left"]), int(row["right"])) == (columns.min(), columns.max() + 1)
        assert float(row["row"]) == pytest.approx(rows.mean(), abs=1e-3)
        assert float(row["column"]) == pytest.approx(columns.mean(), abs=1e-3)


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (drrproj.write_mask_pngs, "masks"),
        (drrproj.write_structure_table, "structures.csv"),
        (drrproj.write_coco, "masks.json"),
        (lambda _, shot: drrproj.coco_rle(shot), ""),
    ],
)
def test_no_masks(tmp_path, write, name):
    shot, _ = radiograph()
    bare = drrproj.Radiograph(shot.geometry, {}, "cpu", {})
    with pytest.raises(ValueError, match="this radiograph has no masks; pass labels="):
        write(tmp_path / name, bare)


@pytest.mark.parametrize("label", [51, np.int64(51), "heart"])
def test_one_structure_may_be_asked_for_without_a_list(tmp_path, label):
    shot, _ = radiograph()
    assert [path.stem for path in drrproj.write_mask_pngs(tmp_path, shot, label)] == ["heart", "heart"]
    assert list(drrproj.coco_rle(shot, label)) == ["heart"]
    with pytest.raises(KeyError, match=r"no label 1.5 in this radiograph"):
        drrproj.coco_rle(shot, 1.5)
