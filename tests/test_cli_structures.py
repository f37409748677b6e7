"""The command line with structures: groups, choices, several label files, and masks as files."""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

import drrproj
from drrproj.cli import main

SMALL = ["--shape", "24", "31"]
SHAPE = (24, 20, 16)
NAMES = {"1": "lung_left", "2": "lung_right", "5": "heart", "8": "spleen"}


def save(path: Path, array: np.ndarray) -> Path:
    nibabel.save(nibabel.Nifti1Image(array, np.diag([-5.0, 5.0, 8.0, 1.0])), path)
    return path


@pytest.fixture
def ct(tmp_path) -> Path:
    return save(tmp_path / "ct.nii.gz", np.zeros(SHAPE, np.int16))


@pytest.fixture
def seg(tmp_path) -> Path:
    ids = np.zeros(SHAPE, np.uint8)
    ids[3:9, 5:15, 3:13], ids[15:21, 5:15, 3:13], ids[10:14, 4:9, 5:10], ids[10:14, 11:14, 9:12] = 1, 2, 5, 7
    (tmp_path / "seg.json").write_text(json.dumps(NAMES))
    return save(tmp_path / "seg.nii.gz", ids)


@pytest.fixture
def bones(tmp_path) -> Path:
    ids = np.zeros(SHAPE, np.uint8)
    ids[2:22, 16:18, 2:4], ids[2:22, 16:18, 6:8] = 1, 2
    (tmp_path / "bones.json").write_text('{"1": "rib_1", "2": "rib_2"}')
    return save(tmp_path / "bones.nii.gz", ids)


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def projected(out: Path, *arguments: object) -> drrproj.Radiograph:
    assert run("project", *arguments, *SMALL, "--npz", "-o", out) == 0
    return drrproj.read_npz(out / "radiograph.npz")


def refused(capsys: pytest.CaptureFixture[str], out: Path, *arguments: object, code: int = 2) -> str:
    assert run("project", *arguments, *SMALL, "-o", out) == code
    assert not out.exists()
    err = capsys.readouterr().err
    assert err.startswith("drrproj: error: ")
    assert err.count("\n") == 1
    return err


def test_a_ct_in_place_of_labels_is_named(tmp_path, capsys):
    ct = save(tmp_path / "ct.nii.gz", np.full(SHAPE, -1025, np.int16))
    wrong = f"{ct}: labels must not be negative; the smallest id is -1025. Is this the CT?"
    with pytest.raises(ValueError, match=re.escape(wrong)):
        drrproj.read_labels(ct)
    assert refused(capsys, tmp_path / "out", ct, "--labels", ct) == f"drrproj: error: {wrong}\n"
    assert run("info", ct) == 2
    assert capsys.readouterr().err == f"drrproj: error: {wrong} (drrproj info lists the structures of labels)\n"


# --- which structures ---------------------------------------------------------------------------------------------


def test_names_without_voxels_and_ids_without_name_are_said(ct, seg, tmp_path, capsys):
    shot = projected(tmp_path / "out", ct, "--labels", seg)
    assert list(shot.masks) == ["lung_left", "lung_right", "heart", "7"]
    said = capsys.readouterr().out
    assert f"{seg}: 4 structures; names without voxels: spleen; ids without a name: 7\n" in said


def test_a_single_structure_is_one(ct, tmp_path, capsys):
    one = np.zeros(SHAPE, np.uint8)
    one[4:8, 4:8, 4:8] = 1
    path = save(tmp_path / "one.nii.gz", one)
    projected(tmp_path / "out", ct, "--labels", path)
    assert f"{path}: 1 structure; ids without a name: 1\n" in capsys.readouterr().out
    assert run("info", path) == 0
    assert capsys.readouterr().out == f"{path}: 1 structure\n1 1\n"


def test_long_lists_are_cut(ct, seg, tmp_path, capsys):
    seg.with_name("seg.json").write_text(json.dumps({str(number): f"s{number}" for number in range(1, 20)}))
    projected(tmp_path / "out", ct, "--labels", seg)
    assert "names without voxels: s3, s4, s6, s8, s9, s10 and 9 more\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        (["heart"], ["heart"]),
        (["7", "heart"], ["7", "heart"]),
        (["5"], ["heart"]),
        (["lung_*", "heart"], ["lung_left", "lung_right", "heart"]),
        (["heart", "*e*"], ["heart", "lung_left", "spleen"]),
        (["spleen"], ["spleen"]),
    ],
)
def test_chosen_structures(ct, seg, tmp_path, chosen, names):
    shot = projected(tmp_path / "out", ct, "--labels", seg, "--structures", *chosen)
    assert list(shot.masks) == names
    whole = projected(tmp_path / "whole", ct, "--labels", seg)
    for name in set(names) - {"spleen"}:
        np.testing.assert_array_equal(shot.masks[name], whole.masks[name])
    np.testing.assert_array_equal(shot.line_integral, whole.line_integral)


def test_groups_of_names_ids_patterns_and_groups(ct, seg, tmp_path):
    groups = ["--group", "lungs=lung_*", "--group", "thorax=lungs,5", "--group", "both=lung_left, lung_right"]
    shot = projected(tmp_path / "out", ct, "--labels", seg, *groups, "--structures", "thorax", "lungs", "both", "heart")
    assert list(shot.masks) == ["thorax", "lungs", "both", "heart"]
    whole = projected(tmp_path / "whole", ct, "--labels", seg)
    lungs = whole.masks["lung_left"] | whole.masks["lung_right"]
    np.testing.assert_array_equal(shot.masks["lungs"], lungs)
    np.testing.assert_array_equal(shot.masks["both"], lungs)
    np.testing.assert_array_equal(shot.masks["thorax"], lungs | whole.masks["heart"])
    parts = whole.path_length["lung_left"] + whole.path_length["lung_right"]
    np.testing.assert_allclose(shot.path_length["lungs"], parts, atol=1e-3)
    record = json.loads((tmp_path / "out" / "PA.json").read_text())["labels"][0]
    assert record["groups"]["thorax"] == ["lung_left", "lung_right", "heart"]


def test_several_label_files(ct, seg, bones, tmp_path):
    shot = projected(tmp_path / "out", ct, "--labels", seg, "--labels", bones, "--group", "ribs=rib_*")
    assert list(shot.masks) == ["lung_left", "lung_right", "heart", "7", "rib_1", "rib_2", "ribs"]
    alone = projected(tmp_path / "alone", ct, "--labels", bones)
    np.testing.assert_array_equal(shot.path_length["rib_1"], alone.path_length["rib_1"])
    record = json.loads((tmp_path / "out" / "PA.json").read_text())
    assert record["source"]["labels"] == [str(seg), str(bones)]
    shot = projected(tmp_path / "one", ct, "--labels", seg, "--labels", bones, "--structures", "rib_2")
    assert list(shot.masks) == ["rib_2"]


def test_names_for_each_label_file(ct, seg, bones, tmp_path):
    table = tmp_path / "table.json"
    table.write_text('{"1": "upper", "2": "lower"}')
    tables = ["--names", seg.with_name("seg.json"), "--names", table]
    shot = projected(tmp_path / "out", ct, "--labels", seg, "--labels", bones, *tables)
    assert list(shot.masks)[-2:] == ["upper", "lower"]


def test_masks_that_ask_for_a_path(ct, seg, tmp_path):
    shot = projected(tmp_path / "out", ct, "--labels", seg, "--min-path", 25.0005)
    np.testing.assert_array_equal(shot.masks["heart"], shot.path_length["heart"] > 25.0005)
    assert 0 < shot.masks["heart"].sum() < (shot.path_length["heart"] > 0).sum()
    assert shot.record["min_path_mm"]["heart"] == 25.0005


def test_many_structures_are_suggested_by_a_pattern(ct, seg, tmp_path, capsys):
    names = {number: f"rib_{side}_{number}" for side, number in zip(["left", "right"] * 12, range(1, 25), strict=True)}
    seg.with_name("seg.json").write_text(json.dumps({**names, "30": "spleen"}))
    for wanted in ("rib", "ribs_*"):
        said = refused(capsys, tmp_path / "out", ct, "--labels", seg, "--structures", wanted)
        assert f"no structure {wanted!r}; did you mean 'rib_*', 24 structures? (drrproj info {seg} lists all)" in said
    said = refused(capsys, tmp_path / "out", ct, "--labels", seg, "--structures", "right rib")
    assert "did you mean 'rib_right_*', 12 structures? (drr" in said


def coloured_pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.ptp(np.asarray(picture).astype(int), axis=-1) > 0


def test_the_overlay_has_a_legend_unless_it_is_left_out(ct, seg, tmp_path):
    projected(tmp_path / "out", ct, "--labels", seg)
    projected(tmp_path / "bare", ct, "--labels", seg, "--no-legend")
    legend, bare = (coloured_pixels(tmp_path / folder / "PA_overlay.png") for folder in ("out", "bare"))
    assert bare.shape == (24, 31)
    np.testing.assert_array_equal(legend[:24, :31], bare)
    assert legend[:, 31:].any()
    assert run("render", tmp_path / "out" / "radiograph.npz", "--no-legend", "-o", tmp_path / "again") == 0
    assert coloured_pixels(tmp_path / "again" / "PA_overlay.png").shape == (24, 31)


def test_overlay_by_a_pattern(ct, seg, tmp_path):
    shot = projected(tmp_path / "out", ct, "--labels", seg, "--overlay", "lung_*", "--no-legend")
    coloured = coloured_pixels(tmp_path / "out" / "PA_overlay.png")
    np.testing.assert_array_equal(coloured, shot.masks["lung_left"][0] | shot.masks["lung_right"][0])


def test_info_lists_the_structures_of_labels(seg, bones, capsys):
    assert run("info", seg, bones) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{seg}: 4 structures",
        "1 lung_left",
        "2 lung_right",
        "5 heart",
        "7 7",
        "8 spleen (no voxels)",
        f"{bones}: 2 structures",
        "1 rib_1",
        "2 rib_2",
    ]
    assert run("info", "--ct", seg) == 2
    assert "--ct belongs to labels" in capsys.readouterr().err


def test_overlay_of_a_group(ct, seg, tmp_path):
    groups = ["--group", "lungs=lung_*", "--overlay", "lungs", "7", "--no-legend"]
    shot = projected(tmp_path / "out", ct, "--labels", seg, *groups)
    coloured = coloured_pixels(tmp_path / "out" / "PA_overlay.png")
    np.testing.assert_array_equal(coloured, shot.masks["lungs"][0] | shot.masks["7"][0])


BAD = {
    "--labels {seg} --structures hart": "no structure 'hart'; did you mean heart? (drrproj info ",
    "--labels {seg} --structures rib_*": "no structure 'rib_*'; there are lung_left, lung_right, heart, spleen, 7 (drr",
    "--labels {seg} --structures lung": "no structure 'lung'; did you mean lung_left, lung_right? (drrproj info ",
    "--labels {seg} --structures s": "no structure 's'; did you mean spleen? (drrproj info ",
    "--labels {seg} --structures Left-Lung": "no structure 'Left-Lung'; did you mean lung_left? (drrproj info ",
    "--labels {seg} --structures lungs_*": "no structure 'lungs_*'; did you mean lung_left, lung_right? (drrproj info ",
    "--labels {seg} --group lungs=lung_lef": "no structure 'lung_lef'; did you mean lung_left",
    "--labels {seg} --group lungs": "--group: needs NAME=MEMBER,MEMBER; got 'lungs'",
    "--labels {seg} --group lungs=,": "needs NAME=MEMBER,MEMBER",
    "--labels {seg} --group heart=lung_*": "labels 5 and 9 are both named 'heart'",
    "--labels {seg} --labels {bones} --group all=heart,rib_1": "its members are in 2 label files",
    "--labels {seg} --labels {bones} --structures 1": "1 is in 2 label files; give one another name",
    "--labels {seg} --labels {seg}": "two label volumes have a structure named 'lung_left'",
    "--labels {seg} --labels {bones} --names {table}": "--names: one for each --labels, or none; got 1 for 2",
    "--labels {seg} --overlay spleen": "--overlay spleen: it has a name in the labels, but no voxels to draw",
    "--labels {seg} --overlay lung": "no structure 'lung'; did you mean lung_left, lung_right? (drrproj info ",
    "--labels {seg} --structures heart --overlay lung_left": "--overlay lung_left: --structures leaves it out; name it",
    "--labels {seg} --min-path -1": "min_path_mm must be millimetres, 0 or more; got -1",
    "--labels {seg} --masks rle": "invalid choice: 'rle'",
    "--labels {seg} --crops": "--crops belongs to --labels and --npz",
    "--labels {seg} --npz-outputs depth": "--npz-outputs belongs to --labels and --npz",
    "--npz --crops": "--crops belongs to --labels and --npz",
    "--structures heart": "--structures belongs to labels; add --labels SEG",
    "--group a=b": "--group belongs to labels",
    "--no-legend": "--no-legend belongs to labels",
    "--masks png": "--masks belongs to labels",
    "--min-path 0": "--min-path belongs to labels",
    "--other-space": "--other-space belongs to labels",
}


@pytest.mark.parametrize("line", BAD)
def test_what_does_not_fit_is_refused_in_one_line(ct, seg, bones, tmp_path, capsys, line):
    arguments = line.format(seg=seg, bones=bones, table=seg.with_name("seg.json")).split()
    assert BAD[line] in refused(capsys, tmp_path / "out", ct, *arguments)


def test_labels_of_another_space_are_accepted_where_asked_for(ct, tmp_path, capsys):
    far = np.diag([-5.0, 5.0, 8.0, 1.0])
    far[0, 3] = 200
    path = tmp_path / "far.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.ones((8, 20, 16), np.uint8), far), path)
    said = refused(capsys, tmp_path / "out", ct, "--labels", path)
    assert "labels are on another patient space" in said
    assert said.endswith("; --other-space accepts them\n")
    projected(tmp_path / "out", ct, "--labels", path, "--other-space")
    assert json.loads((tmp_path / "out" / "PA.json").read_text())["labels"][0]["other_space"] is True


# --- what is written ----------------------------------------------------------------------------------------------


def test_masks_as_png_and_coco_with_a_table(ct, seg, tmp_path, capsys):
    pytest.importorskip("pycocotools", reason="pycocotools is not installed (extra dataset)")
    out, views = tmp_path / "out", ["--view", "PA", "--view", "LL"]
    shot = projected(out, ct, "--labels", seg, *views, "--group", "both lungs=lung_*", "--masks", "png", "coco")
    assert f"wrote to {out}: " in capsys.readouterr().out
    names = ["lung_left", "lung_right", "heart", "7", "both lungs"]
    assert list(shot.masks) == names
    for view in ("PA", "LL"):
        assert {file.name for file in (out / "masks" / view).iterdir()} == {f"{name}.png" for name in names}
        for name in names:
            with Image.open(out / "masks" / view / f"{name}.png") as picture:
                np.testing.assert_array_equal(np.asarray(picture), shot[view].masks[name][0])
    coco = json.loads((out / "masks.json").read_text())
    assert [category["name"] for category in coco["categories"]] == names
    assert [image["file_name"] for image in coco["images"]] == ["PA.png", "LL.png"]
    assert all((out / image["file_name"]).is_file() for image in coco["images"])
    assert [annotation["area"] for annotation in coco["annotations"]] == shot.masks.areas.T.ravel().tolist()
    with (out / "structures.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [int(row["area"]) for row in table] == shot.masks.areas.T.ravel().tolist()


def test_masks_in_one_form(ct, seg, tmp_path):
    assert run("project", ct, "--labels", seg, *SMALL, "--masks", "png", "-o", tmp_path / "out") == 0
    assert {entry.name for entry in (tmp_path / "out").iterdir()} == {
        "PA.png",
        "PA.json",
        "PA_overlay.png",
        "masks",
        "structures.csv",
    }


def test_coco_without_pycocotools_is_refused_before_the_work(ct, seg, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    said = refused(capsys, tmp_path / "out", ct, "--labels", seg, "--masks", "coco", code=1)
    assert "pip install pycocotools" in said


def test_npz_of_other_outputs_as_crops(ct, seg, tmp_path):
    outputs = ["--npz-outputs", "depth", "label_line_integral", "--crops"]
    shot = projected(tmp_path / "out", ct, "--labels", seg, *outputs)
    assert "path_length" not in shot.images
    assert shot.entry_depth.nbytes < shot.entry_depth.array.nbytes
    volume = drrproj.read_volume(ct)
    expected = drrproj.project(
        volume, shot.geometry, labels=drrproj.read_labels(seg), outputs=("depth", "label_line_integral")
    )
    np.testing.assert_array_equal(shot.entry_depth["heart"], expected.entry_depth["heart"])
    np.testing.assert_array_equal(shot.label_line_integral.array, expected.label_line_integral.array)


def test_what_is_listed_under_an_option_twice_is_all_asked_for(ct, seg, tmp_path):
    pytest.importorskip("pycocotools", reason="pycocotools is not installed (extra dataset)")
    line = ["project", ct, "--labels", seg, *SMALL, "--npz", "-o", tmp_path / "out"]
    line += ["--structures", "heart", "--structures", "lung_left", "--masks", "png", "--masks", "coco"]
    line += ["--npz-outputs", "path_length", "--npz-outputs", "depth", "--overlay", "heart", "--overlay", "lung_left"]
    assert main([str(argument) for argument in line]) == 0
    shot = drrproj.read_npz(tmp_path / "out" / "radiograph.npz")
    assert set(shot.masks) == {"heart", "lung_left"}
    assert {"path_length", "entry_depth", "exit_depth"} <= shot.images.keys()
    assert {path.name for path in (tmp_path / "out" / "masks" / "PA").iterdir()} == {"heart.png", "lung_left.png"}
    assert (tmp_path / "out" / "masks.json").exists()
