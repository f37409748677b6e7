"""Results of two runs do not lie in one folder unseen: refused, or the earlier ones removed, and nothing else."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_cli import SMALL, ct, files, refused, run, save, seg
from test_paxray_faithful import patient

import drrproj

__all__ = ["ct", "seg"]  # fixtures


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_second_run_into_the_same_folder_is_refused_and_loses_nothing(ct, seg, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("project", ct, "--labels", seg, *SMALL, "--masks", "png", "--npz", "-o", out) == 0
    before = contents(out)
    capsys.readouterr()
    said = refused(capsys, "project", "unread.nii.gz", *SMALL, "--view", "LL", "-o", out)
    assert "holds results of an earlier run (PA.json, PA.png, PA_overlay.png, masks/PA/body.png and 3 more)" in said
    assert "--overwrite" in said
    assert contents(out) == before


def test_overwrite_removes_what_the_earlier_run_wrote_and_nothing_else(ct, seg, tmp_path):
    pytest.importorskip("pycocotools", reason="pycocotools is not installed (extra dataset)")
    pytest.importorskip("highdicom", reason="highdicom is not installed (extra dataset)")
    out = tmp_path / "out"
    arm = ["--view", "PA", "--c-arm", 30, 10, "--sdd", 900, "--sod", 600, "--pixel-spacing", 8]
    everything = ["--masks", "png", "coco", "--npz", "--nifti", "--dicom"]
    assert run("project", ct, "--labels", seg, *arm, *SMALL, *everything, "-o", out) == 0
    mine = {
        "notes.txt": b"mine",
        "PA_old.png": b"mine",
        "labels.json": b'{"1": "heart"}',
        "hip.json": b'{"geometry": {"names": ["hip"]}, "versions": {}}',  # a record, not one by the command line
        "hip.png": b"mine",
        "masks/PA/notes.txt": b"mine",
        "masks/other/heart.png": b"mine",
    }
    for name, content in mine.items():
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_bytes(content)
    assert run("project", ct, "--view", "LL", *SMALL, "--overwrite", "-o", out) == 0
    assert contents(out).keys() == {"LL.png", "LL.json", *mine}
    assert {name: contents(out)[name] for name in mine} == mine
    assert files(out / "masks") == {"PA", "other"}


def test_overwrite_of_a_run_that_fails_loses_nothing(ct, seg, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("project", ct, "--labels", seg, *SMALL, "-o", out) == 0
    before = contents(out)
    capsys.readouterr()
    refused(capsys, "project", ct, *SMALL, "--overwrite", "--sdd", 50, "-o", out)
    refused(capsys, "project", tmp_path / "none.nii.gz", "--overwrite", "-o", out)
    assert contents(out) == before


def test_overwrite_removes_no_file_that_the_run_reads(ct, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("project", ct, *SMALL, "--nifti", "-o", out) == 0
    before = contents(out)
    capsys.readouterr()
    for line in (["--pose", out / "PA.json"], ["--labels", out]):
        said = refused(capsys, "project", ct, *line, "--overwrite", "-o", out)
        assert "this run reads" in said
        assert "choose another folder" in said
    assert contents(out) == before


def test_somebodys_own_files_that_are_called_like_results_are_not_removed(ct, tmp_path, capsys):
    pytest.importorskip("pydicom", reason="pydicom is not installed (extra dicom)")
    out = tmp_path / "out"
    out.mkdir()
    mine = dict.fromkeys(("PA.dcm", "AP.json", "LL_overlay.png", "structures.csv", "radiograph.npz"), b"mine")
    for name, content in mine.items():
        (out / name).write_bytes(content)
    said = refused(capsys, "project", ct, *SMALL, "-o", out)
    assert "no run is known to have made them (AP.json, PA.dcm, LL_overlay.png, structures.csv and 1 more)" in said
    assert run("project", ct, *SMALL, "--overwrite", "-o", out) == 0
    assert {name: contents(out)[name] for name in mine} == mine
    assert run("project", ct, *SMALL, "--view", "LL", "--overwrite", "-o", tmp_path / "new") == 0
    (tmp_path / "ct.nii.gz").rename(tmp_path / "new" / "PA.nii.gz")
    here = ["project", tmp_path / "new" / "PA.nii.gz", *SMALL, "--nifti", "--overwrite", "-o", tmp_path / "new"]
    assert "this run reads" in refused(capsys, *here)


def test_files_called_as_the_views_of_a_run_are_refused_whatever_their_names(ct, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    arm = ["--c-arm", 30, 0, "--sdd", 900, "--sod", 600, "--pixel-spacing", 8, *SMALL]
    geometry = drrproj.Geometry.radiograph("PA", drrproj.read_volume(ct), shape=(8, 8))
    record = {"names": ["knee"], "shape": [8, 8], "views": geometry.views.tolist()}
    (tmp_path / "pose.json").write_text(json.dumps({"geometry": record}))
    for name, line in (("c_arm_+30_+0.png", arm), ("knee.json", ["--pose", tmp_path / "pose.json"])):
        (out / name).write_bytes(b"mine")
        said = refused(capsys, "project", ct, *line, "-o", out)
        assert f"no run is known to have made them ({name})" in said
        assert contents(out) == {name: b"mine"}
        assert run("project", ct, *line, "--overwrite", "-o", out) == 0
        assert contents(out)[name] != b"mine"
        shutil.rmtree(out)
        out.mkdir()


def test_the_file_that_a_pose_comes_from_is_never_replaced(ct, tmp_path, capsys):
    pytest.importorskip("pydicom", reason="pydicom is not installed (extra dicom)")
    assert run("project", ct, *SMALL, "--dicom", "-o", tmp_path / "made") == 0
    here = tmp_path / "here"
    here.mkdir()
    pose = here / f"{drrproj.read_geometry(tmp_path / 'made' / 'PA.dcm').names[0]}.dcm"
    (tmp_path / "made" / "PA.dcm").rename(pose)
    before = contents(here)
    capsys.readouterr()
    line = ["project", ct, "--pose", pose, "--dicom", "-o", here]
    refused(capsys, *line)
    assert "this run reads" in refused(capsys, *line, "--overwrite")
    assert contents(here) == before


def test_pictures_drawn_anew_replace_no_file_unasked(ct, tmp_path, capsys):
    for name in ("one", "two"):
        assert run("project", ct, *SMALL, "--npz", "-o", tmp_path / name) == 0
    saved = [tmp_path / name / "radiograph.npz" for name in ("one", "two")]
    out = tmp_path / "out"
    out.mkdir()
    (out / "one_PA.png").write_bytes(b"mine")
    capsys.readouterr()
    assert "made them (one_PA.png)" in refused(capsys, "render", *saved, "-o", out)
    assert contents(out) == {"one_PA.png": b"mine"}
    assert run("render", *saved, "--overwrite", "-o", out) == 0
    assert files(out) == {f"{name}_PA.{kind}" for name in ("one", "two") for kind in ("png", "json")}


@pytest.mark.parametrize(
    ("names", "said"), [(["../../x"], "cannot be the name of a file"), (["a", "a"], "two views are called a")]
)
def test_views_whose_names_no_files_can_have_are_not_drawn(ct, tmp_path, capsys, names, said):
    volume = drrproj.read_volume(ct)
    view = drrproj.Geometry.radiograph("PA", volume, shape=(8, 8))
    views = drrproj.Geometry.concatenate([view] * len(names))
    shot = drrproj.project(volume, drrproj.Geometry(views.views, views.shape, names))
    drrproj.write_npz(tmp_path / "shot.npz", shot)
    before = contents(tmp_path)
    assert said in refused(capsys, "render", tmp_path / "shot.npz", "-o", tmp_path / "out" / "deep")
    assert contents(tmp_path) == before


def test_overwrite_that_cannot_write_a_result_loses_nothing(ct, seg, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("project", ct, "--labels", seg, "--view", "LL", *SMALL, "--masks", "png", "--npz", "-o", out) == 0
    (out / "PA.png").mkdir()
    before = contents(out)
    capsys.readouterr()
    said = refused(capsys, "project", ct, *SMALL, "--view", "PA", "--view", "LL", "--overwrite", "-o", out)
    assert f"cannot write {out / 'PA.png'}: it is a folder" in said
    assert contents(out) == before
    assert files(out) == {"LL.png", "LL.json", "LL_overlay.png", "masks", "structures.csv", "radiograph.npz", "PA.png"}


@pytest.mark.parametrize("writer", ["write_npz", "write_nifti", "write_overlay"])
def test_a_disk_that_fills_up_leaves_no_record_without_its_picture(ct, seg, tmp_path, capsys, monkeypatch, writer):
    def full(path, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, f"cannot write {path}: No space left on device")

    new, out = tmp_path / "new", tmp_path / "out"
    line = ["project", ct, "--labels", seg, "--view", "PA", "--view", "LL", *SMALL, "--npz", "--nifti", "--overwrite"]
    assert run("project", ct, "--labels", seg, *SMALL, "--masks", "png", "-o", out) == 0
    before = contents(out)
    with monkeypatch.context() as patch:
        patch.setattr(drrproj, writer, full)
        capsys.readouterr()
        said = refused(capsys, *line, "-o", out, code=1)
        assert f"cannot write {out}/" in said
        assert ".drrproj" not in said
        refused(capsys, *line, "-o", new, code=1)
    assert contents(out) == before
    assert not new.exists()
    assert run(*line, "-o", out) == 0
    assert set(json.loads((out / "PA.json").read_text())["files"]) <= contents(out).keys()


def test_an_exchange_that_is_stopped_anywhere_leaves_the_earlier_results(ct, seg, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    assert run("project", ct, "--labels", seg, *SMALL, "--masks", "png", "--npz", "-o", out) == 0
    before, left, again = contents(out), 0, ["--view", "PA", "--view", "LL", *SMALL, "--npz", "--overwrite"]
    move = shutil.move

    def stopped(source, target):
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt
        return move(source, target)

    for until in range(1, 13):  # 7 old files aside, and 5 new ones into their places
        left = until
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "move", stopped)
            assert run("project", ct, *again, "-o", out) == 130
        assert contents(out) == before
        assert files(out / "masks") == {"PA"}
    capsys.readouterr()
    assert run("project", ct, *again, "-o", out) == 0
    assert files(out) == {"PA.png", "PA.json", "LL.png", "LL.json", "radiograph.npz"}


@pytest.mark.parametrize("command", ["render", "view", "paxray", "demo"])
def test_every_command_that_cannot_write_leaves_the_earlier_results(ct, tmp_path, capsys, monkeypatch, command):
    def full(path, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, f"cannot write {path}: No space left on device")

    out = tmp_path / "out"
    assert run("project", ct, *SMALL, "--npz", "-o", tmp_path / "saved") == 0
    line, writer = {
        "render": (["render", tmp_path / "saved" / "radiograph.npz"], "write_png"),
        "view": (["view", ct, *SMALL], "write_scene"),
        "paxray": (["paxray", ct, "--mode", "physical", "--shape", 30, 40], "write_picture"),
        "demo": (["demo"], "write_png"),
    }[command]
    if command == "paxray":
        pytest.importorskip("scipy", reason="the physical mode finds the body with SciPy")
    assert run(*line, "-o", out) == 0
    before = contents(out)
    assert before
    with monkeypatch.context() as patch:
        patch.setattr(drrproj, writer, full)
        capsys.readouterr()
        assert f"cannot write {out}/" in refused(capsys, *line, "--overwrite", "-o", out, code=1)
    assert contents(out) == before
    assert run(*line, "--overwrite", "-o", out) == 0
    assert contents(out).keys() == before.keys()


def test_an_exchange_that_sigterm_stops_leaves_the_earlier_results(ct, tmp_path, monkeypatch, capsys):
    out, move = tmp_path / "out", shutil.move
    assert run("project", ct, *SMALL, "--npz", "-o", out) == 0
    before, left = contents(out), 4

    def stopped(source, target):
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return move(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "move", stopped)
        capsys.readouterr()
        line = ["project", ct, *SMALL, "--npz", "--energy", 40, "--overwrite", "-o", out]
        assert refused(capsys, *line, code=143) == "drrproj: error: terminated\n"
    assert left <= 0
    assert contents(out) == before
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_what_a_killed_run_had_taken_out_is_told_of(ct, tmp_path, capsys):
    out = tmp_path / "out"
    (out / ".drrproj-abc" / "old").mkdir(parents=True)
    (out / ".drrproj-abc" / "old" / "PA.png").write_bytes(b"of a killed run")
    assert run("project", ct, *SMALL, "-o", out) == 0
    assert f"warning: {out / '.drrproj-abc'} was left by a run that was killed" in capsys.readouterr().err
    assert (out / ".drrproj-abc" / "old" / "PA.png").read_bytes() == b"of a killed run"


def test_results_keep_from_others_what_was_kept_from_them(ct, tmp_path):
    out = tmp_path / "out"
    assert run("project", ct, *SMALL, "-o", out) == 0
    (out / "PA.png").chmod(0o600)
    assert run("project", ct, *SMALL, "--energy", 40, "--overwrite", "-o", out) == 0
    assert (out / "PA.png").stat().st_mode & 0o777 == 0o600


def test_views_of_an_earlier_pose_are_known_by_their_record(ct, tmp_path, capsys):
    volume = drrproj.read_volume(ct)
    hip = drrproj.Geometry(drrproj.Geometry.radiograph("PA", volume, shape=(9, 9)).views, (9, 9), ("hip",))
    drrproj.write_sidecar(tmp_path / "pose.json", drrproj.project(volume, hip))
    out = tmp_path / "out"
    assert run("project", ct, "--pose", tmp_path / "pose.json", "-o", out) == 0
    assert files(out) == {"hip.png", "hip.json"}
    capsys.readouterr()
    assert "(hip.json, hip.png)" in refused(capsys, "project", ct, *SMALL, "-o", out)
    assert run("project", ct, *SMALL, "--overwrite", "-o", out) == 0
    assert files(out) == {"PA.png", "PA.json"}


def test_render_and_view_are_refused_in_the_same_way(ct, tmp_path, capsys):
    both = ["--view", "PA", "--view", "LL", *SMALL]
    for case in "ab":
        assert run("project", ct, *both, "--npz", "-o", tmp_path / case) == 0
    saved = [tmp_path / case / "radiograph.npz" for case in "ab"]
    assert run("render", *saved, "-o", tmp_path / "film") == 0
    assert run("view", ct, *both, "-o", tmp_path / "setup") == 0
    capsys.readouterr()
    for command, folder in ((["render", saved[0]], "film"), (["view", ct, *SMALL], "setup")):
        before = contents(tmp_path / folder)
        assert "holds results of an earlier run" in refused(capsys, *command, "-o", tmp_path / folder)
        assert contents(tmp_path / folder) == before
        assert run(*command, "--overwrite", "-o", tmp_path / folder) == 0
    assert files(tmp_path / "film") == {"PA.png", "PA.json", "LL.png", "LL.json"}
    assert files(tmp_path / "setup") == {"PA_scene.png"}
    # The saved radiograph belongs to the run whose files would be removed.
    before = contents(tmp_path / "a")
    assert "this run reads" in refused(capsys, "render", saved[0], "--overwrite", "-o", tmp_path / "a")
    assert contents(tmp_path / "a") == before


def test_view_removes_scenes_alone(ct, tmp_path, capsys):
    out = tmp_path / "setup"
    assert run("view", ct, *SMALL, "-o", out) == 0
    Image.new("L", (4, 4)).save(out / "crime_scene.png")
    (out / "no_scene.png").write_bytes(b"mine")
    capsys.readouterr()
    assert "results of an earlier run (PA_scene.png), " in refused(capsys, "view", ct, *SMALL, "-o", out)
    assert run("view", ct, "--view", "LL", *SMALL, "--overwrite", "-o", out) == 0
    assert files(out) == {"LL_scene.png", "crime_scene.png", "no_scene.png"}
    (out / "LL_scene.png").unlink()
    capsys.readouterr()
    said = refused(capsys, "view", ct, *SMALL, "-o", out)
    assert "no run is known to have made them (crime_scene.png, no_scene.png)" in said


def test_render_removes_nothing_before_all_of_its_files_are_good(ct, seg, tmp_path, capsys):
    for case in "ab":
        assert run("project", ct, "--labels", seg, *SMALL, "--npz", "-o", tmp_path / case) == 0
    saved, film = [tmp_path / case / "radiograph.npz" for case in "ab"], tmp_path / "film"
    assert run("render", *saved, "--overlay", "hea*", "-o", film) == 0
    before = contents(film)
    capsys.readouterr()
    said = refused(capsys, "render", saved[0], "--overlay", "hart", "--overwrite", "-o", film)
    assert "no structure 'hart'; did you mean heart?" in said
    refused(capsys, "render", saved[0], "--overlay", "hart", "-o", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    saved[1].write_bytes(b"PK")
    refused(capsys, "render", *saved, "--window", 0, 6, "--overwrite", "-o", film)
    assert contents(film) == before


def test_paxray_mixes_no_two_cts_of_one_name(tmp_path, capsys):
    pytest.importorskip("skimage", reason="the authors' chain uses scikit-image")
    for name in ("a/ct", "b/ct", "b/other"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save(tmp_path / f"{name}.nii.gz", patient(), np.diag([-2.0, -2.0, 3.0, 1.0]))
    out = tmp_path / "out"
    assert run("paxray", tmp_path / "a" / "ct.nii.gz", "-o", out) == 0
    assert run("paxray", tmp_path / "b" / "other.nii.gz", "--view", "lateral", "-o", out) == 0
    capsys.readouterr()
    again = ["paxray", tmp_path / "b" / "ct.nii.gz", "--mode", "physical", "--shape", 30, 40]
    assert "earlier run (ct_frontal.json, ct_lateral.json, ct_frontal.png, ct_lateral.png)" in refused(
        capsys, *again, "-o", out
    )
    assert run(*again, "--overwrite", "-o", out) == 0
    assert files(out) == {"ct_PA.png", "ct_PA.json", "other_lateral.png", "other_lateral.json"}


def test_the_demo_makes_its_own_folder_anew_and_no_other(ct, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run("demo") == 0
    first = contents(tmp_path / "drrproj_demo")
    assert run("demo") == 0
    assert contents(tmp_path / "drrproj_demo").keys() == first.keys()
    assert run("project", ct, *SMALL, "-o", "mine") == 0
    capsys.readouterr()
    assert "mine holds results of an earlier run (PA.json, PA.png)" in refused(capsys, "demo", "-o", "mine")


def test_overwrite_removes_what_the_record_lists_even_in_the_run_after_the_next(ct, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    mine = dict.fromkeys(("PA.dcm", "PA.nii.gz", "PA_overlay.png", "structures.csv", "radiograph.npz", "masks.json"))
    for name in mine:
        mine[name] = f"my {name}".encode()
        (out / name).write_bytes(mine[name])
    for _ in range(3):
        assert run("project", ct, *SMALL, "--view", "PA", "--overwrite", "-o", out) == 0
        assert {name: contents(out)[name] for name in mine} == mine


def test_a_record_lists_all_that_its_run_wrote(ct, seg, tmp_path):
    pytest.importorskip("pycocotools", reason="pycocotools is not installed (extra dataset)")
    pytest.importorskip("highdicom", reason="highdicom is not installed (extra dataset)")
    out = tmp_path / "out"
    everything = ["--masks", "png", "coco", "--npz", "--nifti", "--dicom"]
    assert run("project", ct, "--labels", seg, "--view", "PA", "--view", "LL", *SMALL, *everything, "-o", out) == 0
    listed = [set(json.loads((out / f"{view}.json").read_text())["files"]) for view in ("PA", "LL")]
    assert listed[0] | listed[1] == contents(out).keys()
    assert listed[0] & listed[1] == {"masks.json", "structures.csv", "radiograph.npz"}


def test_of_a_record_without_a_list_the_picture_alone_is_known(ct, tmp_path):
    out = tmp_path / "out"
    assert run("project", ct, *SMALL, "--nifti", "-o", out) == 0
    record = json.loads((out / "PA.json").read_text())
    del record["files"]
    (out / "PA.json").write_text(json.dumps(record))
    assert run("project", ct, *SMALL, "--view", "LL", "--overwrite", "-o", out) == 0
    assert files(out) == {"PA.nii.gz", "LL.png", "LL.json"}


@pytest.mark.parametrize("outside", ["../mine.txt", "{folder}/mine.txt"])
def test_a_list_that_points_out_of_the_folder_is_not_believed(ct, tmp_path, outside):
    out, mine = tmp_path / "out", tmp_path / "mine.txt"
    mine.write_bytes(b"mine")
    assert run("project", ct, *SMALL, "-o", out) == 0
    record = json.loads((out / "PA.json").read_text())
    record["files"].append(outside.format(folder=tmp_path))
    (out / "PA.json").write_text(json.dumps(record))
    assert run("project", ct, *SMALL, "--view", "LL", "--overwrite", "-o", out) == 0
    assert mine.read_bytes() == b"mine"
    assert files(out) == {"PA.png", "PA.json", "LL.png", "LL.json"}


def test_a_record_that_got_another_name_is_kept_and_its_list_is_not_used(ct, tmp_path):
    out = tmp_path / "out"
    assert run("project", ct, *SMALL, "--nifti", "-o", out) == 0
    for ending in (".json", ".png"):
        (out / f"PA{ending}").rename(out / f"old_PA{ending}")
    (out / "PA.nii.gz").write_bytes(b"mine")
    assert run("project", ct, *SMALL, "--overwrite", "-o", out) == 0
    assert files(out) == {"old_PA.json", "old_PA.png", "PA.json", "PA.png", "PA.nii.gz"}


def test_paxray_removes_no_picture_that_it_did_not_write(tmp_path, capsys):
    pytest.importorskip("skimage", reason="the authors' chain uses scikit-image")
    path, out = save(tmp_path / "ct.nii.gz", patient(), np.diag([-2.0, -2.0, 3.0, 1.0])), tmp_path / "out"
    out.mkdir()
    (out / "ct_PA.png").write_bytes(b"mine")
    assert "no run is known to have made them (ct_PA.png)" in refused(capsys, "paxray", path, "-o", out)
    for _ in range(2):
        assert run("paxray", path, "--view", "lateral", "--overwrite", "-o", out) == 0
        assert (out / "ct_PA.png").read_bytes() == b"mine"
