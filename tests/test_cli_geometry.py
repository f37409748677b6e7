"""``drrproj view`` and ``drrproj points``, and the choices of geometry that ``drrproj project`` shares with them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

import drrproj
from drrproj.cli import main

ARM = ["--c-arm", 30, 10, "--sdd", 900, "--sod", 600, "--pixel-spacing", 8, "--shape", 32, 40]


@pytest.fixture
def ct(tmp_path) -> Path:
    voxels = np.full((24, 20, 16), -1000, np.int16)
    voxels[2:-2, 2:-2] = 0
    path = tmp_path / "ct.nii.gz"
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([-5.0, 5.0, 8.0, 1.0])), path)
    return path


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_view_draws_each_view_and_describes_it(ct, tmp_path, capsys):
    out = tmp_path / "setup"
    assert run("view", ct, "--view", "PA", "--view", "LL", "--shape", 32, 40, "-o", out) == 0
    assert {path.name for path in out.iterdir()} == {"PA_scene.png", "LL_scene.png"}
    said = capsys.readouterr().out
    volume = drrproj.read_volume(ct)
    for view in ("PA", "LL"):
        assert drrproj.Geometry.radiograph(view, volume, shape=(32, 40)).describe(volume) in said
    with Image.open(out / "PA_scene.png") as picture:
        assert picture.mode == "RGB"
        assert min(picture.size) > 1000


def test_view_takes_a_picture_too_large_to_open_for_somebody_elses(ct, tmp_path, monkeypatch, capsys):
    (tmp_path / "out").mkdir()
    Image.new("L", (100, 100)).save(tmp_path / "out" / "my_scene.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert run("view", ct, "--view", "PA", "-o", tmp_path / "out") == 2
    assert "no run is known to have made them (my_scene.png)" in capsys.readouterr().err


def test_view_draws_what_a_picture_was_made_with(ct, tmp_path):
    assert run("project", ct, *ARM, "-o", tmp_path / "out") == 0
    assert run("view", ct, "--pose", tmp_path / "out" / "c_arm_+30_+10.json", "-o", tmp_path / "of") == 0
    assert run("view", ct, *ARM, "-o", tmp_path / "same") == 0
    pictures = [Image.open(tmp_path / name / "c_arm_+30_+10_scene.png") for name in ("of", "same")]
    np.testing.assert_array_equal(*pictures)
    for picture in pictures:
        picture.close()


def test_view_draws_a_beam_that_misses_the_ct(ct, tmp_path, capsys):
    astray = [*ARM, "--isocenter", 0, 0, 3000]
    assert run("view", ct, *astray, "-o", tmp_path / "setup") == 0
    said = capsys.readouterr()
    assert "no X-ray: view 'c_arm_+30_+10' misses the volume" in said.out
    assert (tmp_path / "setup" / "c_arm_+30_+10_scene.png").exists()


@pytest.mark.parametrize("command", ["view", "project"])
@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--view", "PA"], "--pose says the views; leave out --view\n"),
        (["--beam", "cone", "--shape", 9, 9], "--pose says the views; leave out --beam, --shape\n"),
        (["--c-arm", 1, 2], "--pose says the views; leave out --c-arm\n"),
        (["--sdd", 900], "the .json beside a picture says all of it\n"),
        (["--isocenter", 1, 2, 3], "the .json beside a picture says all of it\n"),
    ],
)
def test_the_file_of_a_pose_says_all_of_it(ct, tmp_path, command, extra, message, capsys):
    assert run("project", ct, "--shape", 32, 40, "-o", tmp_path / "out") == 0
    assert run(command, ct, "--pose", tmp_path / "out" / "PA.json", *extra, "-o", tmp_path / "setup") == 2
    assert capsys.readouterr().err.endswith(message)


@pytest.mark.parametrize(
    "command",
    [["project"], ["view"], ["paxray", "--mode", "physical"], ["dataset", "build"]],
    ids=lambda command: command[0],
)
def test_a_parallel_beam_has_no_source_to_be_far_away(ct, tmp_path, command, capsys):
    assert run(*command, ct, "--beam", "parallel", "--sdd", 1800, "-o", tmp_path / "out") == 2
    told = "drrproj: error: sdd belongs to a cone; a parallel beam has no source: leave it out\n"
    assert capsys.readouterr().err == told
    assert not (tmp_path / "out").exists()


def test_a_radiograph_and_a_c_arm_have_one_beam(ct, tmp_path, capsys):
    assert run("view", ct, "--view", "PA", *ARM, "--beam", "parallel", "-o", tmp_path / "out") == 2
    assert capsys.readouterr().err == "drrproj: error: a C-arm's beam is a cone\n"


@pytest.mark.parametrize("views", [[], ["--view", "PA"], ["--view", "pa"]])
def test_a_view_that_does_not_fit_is_told_once(ct, tmp_path, views, capsys):
    assert run("project", ct, *views, "--shape", 8, 8, "--pixel-spacing", 0.5, "-o", tmp_path / "out") == 0
    assert capsys.readouterr().err.count("warning") == 1


def test_the_pose_of_a_picture_makes_it_again(ct, tmp_path, capsys):
    views = ["--view", "LL", "--beam", "parallel", "--pixel-spacing", 1, "--shape", 32, 40]
    assert run("project", ct, *views, "--npz", "--dicom", "-o", tmp_path / "out") == 0
    wanted = drrproj.read_npz(tmp_path / "out" / "radiograph.npz")
    capsys.readouterr()
    for kind in ("json", "dcm"):
        pose = tmp_path / "out" / f"LL.{kind}"
        assert run("project", ct, "--pose", pose, "--npz", "-o", tmp_path / kind) == 0
        assert "view LL does not show the whole CT" in capsys.readouterr().err
        again = drrproj.read_npz(tmp_path / kind / "radiograph.npz")
        np.testing.assert_array_equal(again.geometry.views, wanted.geometry.views)
        np.testing.assert_array_equal(again.line_integral, wanted.line_integral)


def test_a_second_pose_is_refused_for_its_views_would_be_lost(ct, tmp_path, capsys):
    assert run("project", ct, "--pose", "a.json", "--pose", "b.json", "-o", tmp_path / "out") == 2
    assert "argument --pose: one file is taken" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line",
    [
        "project {loop} -o {out}",
        "project {ct} --pose {loop} -o {out}",
        "project {ct} -o {loop}",
        "render {loop} -o {out}",
        "view {loop} -o {out}",
        "paxray {loop} -o {out}",
        "points {loop} {loop} -o {out}.csv",
        "dataset show {loop} a -o {loop}",
    ],
)
def test_a_link_that_leads_to_itself_is_a_sentence(ct, tmp_path, capsys, line):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert run(*line.format(ct=ct, loop=loop, out=tmp_path / "out").split()) in (1, 2)
    said = capsys.readouterr().err
    assert said.startswith("drrproj: error: ")
    assert said.count("\n") == 1
    assert "loop" in said


@pytest.mark.parametrize(
    ("names", "message"), [(["../a"], "cannot be the name of a file"), (["a", "a"], "two views are called a")]
)
def test_names_that_files_cannot_have_are_refused(ct, tmp_path, names, message, capsys):
    view = drrproj.Geometry.radiograph("PA", drrproj.read_volume(ct), shape=(9, 9))
    record = {"names": names, "shape": [9, 9], "views": view.views.tolist() * len(names)}
    (tmp_path / "pose.json").write_text(json.dumps({"geometry": record}))
    assert run("project", ct, "--pose", tmp_path / "pose.json", "-o", tmp_path / "out") == 2
    assert message in capsys.readouterr().err


def test_a_c_arm_that_does_not_show_the_whole_ct_is_said(ct, tmp_path, capsys):
    assert run("project", ct, *ARM, "-o", tmp_path / "whole") == 0
    assert capsys.readouterr().err == ""
    small = [*ARM[:-4], 1, "--shape", 32, 40]
    assert run("project", ct, *small, "-o", tmp_path / "part") == 0
    assert "drrproj: warning: view c_arm_+30_+10 does not show the whole CT" in capsys.readouterr().err
    assert run("project", ct, "--view", "PA", "--pixel-spacing", 1, "--shape", 32, 40, "-o", tmp_path / "pa") == 0
    assert "drrproj: warning: view PA: the volume does not fit the detector" in capsys.readouterr().err


def test_project_averages_the_rays_of_a_pixel(ct, tmp_path):
    assert run("project", ct, *ARM, "--supersampling", 3, "--npz", "-o", tmp_path / "out") == 0
    shot = drrproj.read_npz(tmp_path / "out" / "radiograph.npz")
    assert shot.record["supersampling"] == 3
    expected = drrproj.project(drrproj.read_volume(ct), shot.geometry, supersampling=3)
    np.testing.assert_array_equal(shot.line_integral, expected.line_integral)


def test_points_tells_where_landmarks_lie_in_each_picture(ct, tmp_path, capsys):
    views = ["--view", "PA", "--view", "LL", "--shape", 32, 40]
    assert run("project", ct, *views, *ARM[:-3], "-o", tmp_path / "out") == 0
    landmarks = tmp_path / "landmarks.csv"
    landmarks.write_text("name,x,y,z\ncarina,10,-20,30\n")
    pictures = [tmp_path / "out" / f"{name}.json" for name in ("PA", "c_arm_+30_+10")]
    assert run("points", landmarks, *pictures, "--space", "LPS", "-o", tmp_path / "points.csv") == 0
    with (tmp_path / "points.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["view"] for row in rows] == ["PA", "c_arm_+30_+10"]
    for row, picture in zip(rows, pictures, strict=True):
        geometry = drrproj.read_geometry(picture)
        expected = geometry.project_points([-10, 20, 30])[0, 0]
        np.testing.assert_allclose((float(row["row"]), float(row["column"])), expected, atol=1e-6)
    assert ": 1 landmark in PA, c_arm_+30_+10" in capsys.readouterr().out


def test_points_replaces_no_file_that_it_reads(ct, tmp_path, capsys):
    assert run("project", ct, "--shape", 32, 40, "-o", tmp_path / "out") == 0
    landmarks = tmp_path / "landmarks.csv"
    landmarks.write_text("name,x,y,z\ncarina,10,-20,30\n")
    (tmp_path / "link.csv").symlink_to(landmarks)
    for out in ("landmarks.csv", "link.csv"):
        assert run("points", landmarks, tmp_path / "out" / "PA.json", "-o", tmp_path / out) == 2
        assert f"this run reads {tmp_path / out}, which the table would replace" in capsys.readouterr().err
    assert landmarks.read_text() == "name,x,y,z\ncarina,10,-20,30\n"


def test_a_table_that_is_there_is_replaced_when_asked(ct, tmp_path, capsys):
    assert run("project", ct, "--shape", 32, 40, "-o", tmp_path / "out") == 0
    landmarks, table = tmp_path / "landmarks.csv", tmp_path / "points.csv"
    landmarks.write_text("name,x,y,z\ncarina,10,-20,30\n")
    table.write_text("of somebody else\n")
    command = ["points", landmarks, tmp_path / "out" / "PA.json", "-o", table]
    assert run(*command) == 2
    assert f"there is a file {table}; choose another name with -o, or add --overwrite\n" in capsys.readouterr().err
    assert table.read_text() == "of somebody else\n"
    assert run(*command, "--overwrite") == 0
    assert table.read_text().startswith("view,name,row,column,on_detector\nPA,carina,")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "neither the .json beside a picture nor an X-ray DICOM file"),
        ("{}", "there is no geometry in it"),
        ("[]", "there is no geometry in it"),
        (json.dumps({"geometry": {"views": [[1]], "shape": [2, 2], "names": ["a"]}}), "views must have shape"),
        (None, "no such file"),
    ],
)
def test_points_needs_the_geometry_of_a_picture(tmp_path, content, message, capsys):
    landmarks = tmp_path / "landmarks.csv"
    landmarks.write_text("name,x,y,z\ncarina,10,-20,30\n")
    if content is not None:
        (tmp_path / "PA.json").write_text(content)
    assert run("points", landmarks, tmp_path / "PA.json", "-o", tmp_path / "points.csv") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "points.csv").exists()
