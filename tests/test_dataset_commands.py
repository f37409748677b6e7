"""``drrproj dataset``: what it says where something is in the way, and what its help promises."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_cases import NAMES, SMALL, save, small_case, write_subjects

from drrproj.cli import main
from drrproj.dataset.build import build
from drrproj.dataset.cases import find_cases
from drrproj.dataset.check import problems
from drrproj.dataset.formats import read_webdataset
from drrproj.dataset.log import unfinished
from drrproj.dataset.splits import Splits
from drrproj.dataset.store import Store, open_store
from drrproj.replace import replaced

CHOICES = ["--shape", "48", "40", "--keep-all", "--taxonomy", "labels", "--workers", "1"]


@pytest.fixture
def subjects(tmp_path):
    return write_subjects(tmp_path / "subjects", range(1, 5))


def run(capsys, *arguments):
    """Exit code, and what was said on the screen and of errors."""
    capsys.readouterr()
    code = main(["dataset", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def stopped(tmp_path, subjects, monkeypatch):
    """A dataset whose build was stopped after one of four cases."""
    write_masks = Store.write_masks

    def stop(self, case_id, *arguments):
        if case_id == "s0002":
            raise KeyboardInterrupt
        return write_masks(self, case_id, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write_masks", stop)
        with pytest.raises(KeyboardInterrupt):
            build(find_cases(subjects), tmp_path / "out", SMALL, workers=1)
    return tmp_path / "out"


def test_a_build_that_did_not_end_is_told_everywhere(tmp_path, stopped, subjects, capsys):
    sentence = "its last build, or merge, did not end (1 of 4 cases), or is still at work; run the same again"
    code, out, _ = run(capsys, "check", stopped)
    assert (code, out.splitlines()[0]) == (2, sentence)
    warned = f"drrproj: warning: {stopped}: {sentence}\n"
    for command in (
        ["stats", stopped],
        ["merge", stopped, "-o", tmp_path / "merged"],
        ["export", stopped, "--format", "npz", "-o", tmp_path / "npz"],
        ["report", stopped, "-o", tmp_path / "page.html"],
    ):
        code, _, err = run(capsys, *command)
        assert (code, err.splitlines(keepends=True)[0]) == (0, warned)
    assert run(capsys, "build", subjects, "-o", stopped, *CHOICES)[0] == 0
    assert unfinished(open_store(stopped)) is None
    assert run(capsys, "check", stopped)[::2] == (0, "")


def test_an_export_says_that_classes_of_label_files_are_numbered_by_its_own_cases(tmp_path, capsys):
    # Two parts whose tables of names are one, and of whose cases one has no lung.
    for part, ids in (("one", (2, 3)), ("two", (1, 2, 3))):
        hu, labels, affine = small_case(1)
        labels[~np.isin(labels, ids)] = 0
        save(tmp_path / part / "a" / "ct.nii.gz", hu, affine)
        save(tmp_path / part / "a" / "labels.nii.gz", labels, affine)
        (tmp_path / part / "a" / "labels.json").write_text(json.dumps(NAMES))
        out = tmp_path / f"{part}_out"
        assert run(capsys, "build", tmp_path / part, "-o", out, *CHOICES)[0] == 0
        code, _, err = run(capsys, "export", out, "--format", "webdataset", "-o", tmp_path / f"{part}_tar")
        assert code == 0
        assert err == (
            f"drrproj: warning: {out}: its classes are numbered as its own cases have them (--taxonomy labels), and "
            "another dataset may number them otherwise; merge parts of one dataset before you export them\n"
        )
    classes = [read_webdataset(tmp_path / f"{part}_tar").classes for part in ("one", "two")]
    assert classes == [("heart", "spine"), ("heart", "lung", "spine")]


def test_a_dataset_without_any_case_is_not_whole(tmp_path, subjects, capsys):
    build(find_cases(subjects)[:1], tmp_path / "out", SMALL, workers=1)
    for path in (tmp_path / "out").glob("*/*"):
        path.unlink()
    # Killed before its first line; half of one is none.
    (tmp_path / "out" / "log.jsonl").write_text('{"event": "st')
    assert list(problems(open_store(tmp_path / "out"))) == ["it holds no case; build it"]
    assert run(capsys, "check", tmp_path / "out")[0] == 2


def test_a_build_of_which_nothing_is_kept_has_an_exit_code(tmp_path, subjects, capsys):
    for subject in subjects.iterdir():
        (subject / "ct.nii.gz").write_bytes(b"broken")
    code, out, err = run(capsys, "build", subjects, "-o", tmp_path / "out", *CHOICES)
    assert code == 2
    assert "failed s0004: " in out
    assert err.splitlines()[-1] == f"drrproj: error: {tmp_path / 'out'}: no case was kept (4 failed); see why above"


def test_labels_without_names_are_told_before_what_is_missed_for_want_of_them(tmp_path, capsys):
    hu, labels, affine = small_case(1)
    save(tmp_path / "in" / "a" / "ct.nii.gz", hu, affine)
    save(tmp_path / "in" / "a" / "labels.nii.gz", labels, affine)
    choices = ["--shape", "48", "40", "--workers", "1"]
    for _ in range(2):  # made, and there from before
        code, out, err = run(capsys, "build", tmp_path / "in", "-o", tmp_path / "out", *choices)
        assert code == 2
        assert re.search(r"^dropped a: labels 1, 2, 3 have no name: .*; 0 left ribs; ", out, re.M)
        assert err.splitlines()[-1] == (
            f"drrproj: error: {tmp_path / 'out'}: no case was kept (1 dropped); see why above; name the labels that "
            "have no name, or, where the rules of a whole chest do not fit the data, build into another folder with "
            "--keep-all, or --ignore-rule RULE for those that `drrproj dataset stats` counts"
        )
    assert run(capsys, "report", tmp_path / "out", "-o", tmp_path / "page.html")[0] == 0
    assert "<td>unnamed_ids: labels 1, 2, 3 have no name: " in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert run(capsys, "build", tmp_path / "in", "-o", tmp_path / "all", *CHOICES)[0] == 0
    # Names are there, and ribs are not.
    (tmp_path / "in" / "a" / "labels.json").write_text(json.dumps(NAMES))
    code, out, _ = run(capsys, "build", tmp_path / "in", "-o", tmp_path / "out", *choices)
    assert code == 2
    assert re.search(r"^dropped a: 0 left ribs; ", out, re.M)


def test_a_build_whose_cases_are_all_stale_has_an_exit_code(tmp_path, subjects, capsys):
    assert run(capsys, "build", subjects, "-o", tmp_path / "out", *CHOICES)[0] == 0
    shutil.rmtree(tmp_path / "out" / "masks")
    for subject in subjects.iterdir():
        (subject / "ct.nii.gz").write_bytes(b"broken")
    code, _, err = run(capsys, "build", subjects, "-o", tmp_path / "out", *CHOICES)
    assert (code, err.splitlines()[-1].partition(": no case")[2]) == (2, " was kept (4 stale); see why above")


def test_a_path_that_is_no_text_is_shown_by_its_bytes(tmp_path, capsys):
    source = tmp_path / os.fsdecode(b"b\xff")
    write_subjects(source, (1, 2))
    (source / "s0002" / "ct.nii.gz").write_bytes(b"broken")
    code, out, _ = run(capsys, "build", source, "-o", tmp_path / "out", *CHOICES)
    assert code == 0
    assert re.search(r"failed s0002: .*b\\udcff/s0002/ct.nii.gz", out)
    record = json.loads((tmp_path / "out" / "records" / "s0002.json").read_text(encoding="utf-8"))
    assert "b\\udcff/s0002" in record["reasons"][0]["message"]
    assert "b\\udcff" in json.loads((tmp_path / "out" / "log.jsonl").read_bytes().splitlines()[1])["ct"]
    assert run(capsys, "report", tmp_path / "out", "-o", tmp_path / "page.html")[0] == 0


def test_what_goes_wrong_in_writing_one_case_fails_that_case(tmp_path, subjects, monkeypatch):
    write_masks = Store.write_masks

    def wrong(self, case_id, view, *arguments):
        if (case_id, view) == ("s0001", "lateral"):
            raise UnicodeEncodeError("utf-8", "x", 0, 1, "surrogates not allowed")
        if case_id == "s0002":
            raise OSError(errno.ENAMETOOLONG, "File name too long")
        return write_masks(self, case_id, view, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write_masks", wrong)
        done = build(find_cases(subjects), tmp_path / "out", SMALL, workers=1)
    assert done.statuses == {"failed": 2, "kept": 2}
    assert "File name too long" in done.left_out["s0002"][1]
    assert list(problems(done.store)) == []


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.ENOLCK, r"does not lock files \(No locks available\)"),
        (errno.EACCES, "another build is at work"),
        (errno.EAGAIN, "another build is at work"),
    ],
)
def test_a_file_system_without_locks_is_not_another_build(tmp_path, subjects, monkeypatch, number, sentence):
    def refused(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "lockf", refused)
    with pytest.raises(OSError, match=sentence):
        build(find_cases(subjects), tmp_path / "out", SMALL, workers=1)


@pytest.mark.filterwarnings("ignore:.* of no case and no patient")
def test_long_lists_of_splits_are_told_by_what_differs(tmp_path, subjects):
    ids = [f"patient{number}" for number in range(10_000)]
    cases = find_cases(subjects)
    build(cases, tmp_path / "out", SMALL, Splits(lists={"train": ids, "val": ["s0001"]}), workers=1)
    other = Splits(lists={"train": [*ids[5:], "new"], "val": ["s0001"]})
    with pytest.raises(ValueError, match="another configuration") as caught:
        build(cases, tmp_path / "out", SMALL, other, workers=1)
    assert (
        'splits lists train has 5 only there ("patient0", "patient1", "patient2" and 2 others) and 1 only here ("new")'
    ) in str(caught.value)
    assert len(str(caught.value)) < 500
    with pytest.raises(ValueError, match="splits lists train has another order"):
        build(cases, tmp_path / "out", SMALL, Splits(lists={"train": ids[::-1], "val": ["s0001"]}), workers=1)


def test_a_split_that_is_given_twice_is_refused(tmp_path, subjects, capsys):
    shares = ["--split", "train=0.5", "--split", "train=0.5"]
    code, _, errors = run(capsys, "build", str(subjects), "-o", str(tmp_path / "out"), *CHOICES, *shares)
    assert code == 2
    assert "--split gives 'train' twice" in errors
    assert not (tmp_path / "out").exists()


def test_show_does_not_draw_over_the_dataset(tmp_path, subjects, capsys):
    out = tmp_path / "out"
    build(find_cases(subjects)[:1], out, SMALL, workers=1)
    before = (out / "images" / "s0001_frontal.png").read_bytes()
    (tmp_path / "link").symlink_to(out / "images")
    for folder in (out / "images", out, tmp_path / "link"):
        code, _, err = run(capsys, "show", out, "s0001", "-o", folder)
        assert code == 2
        assert err.startswith(f"drrproj: error: {folder} is in the dataset, ")
    assert (out / "images" / "s0001_frontal.png").read_bytes() == before


def test_show_draws_what_is_on_a_view_and_says_why_the_rest_is_not(tmp_path, capsys):
    out, folder = tmp_path / "out", tmp_path / "pictures"
    subject = write_subjects(tmp_path / "subjects", (1,)) / "s0001"
    # 64 mm from side to side, and 8 mm from front to back.
    plate = np.zeros((20, 20, 20), np.uint8)
    plate[2:18, 9:11, 5:15] = 1
    save(subject / "segmentations" / "plate.nii.gz", plate, np.diag([4.0, 4.0, 4.0, 1.0]))
    build(find_cases(subject.parent), out, dataclasses.replace(SMALL, min_path_mm=20.0), workers=1)
    code, printed, _ = run(capsys, "show", out, "s0001", "-o", folder, "--overlay", "plate", "heart")
    assert code == 0
    assert sorted(path.name for path in folder.iterdir()) == ["s0001_frontal.png", "s0001_lateral.png"]
    frontal, lateral = printed.split("s0001_lateral.png")
    assert (
        "  plate is not drawn: it has voxels, but no ray of this view runs through them for more than 20 mm" in frontal
    )
    assert "not drawn" not in lateral
    code, _, err = run(capsys, "show", out, "s0001", "-o", tmp_path / "none", "--overlay", "plate", "hart")
    assert code == 2
    assert err.startswith(f"drrproj: error: --overlay: no class 'hart' in {out}; did you mean heart")
    assert not (tmp_path / "none").exists()


def test_show_replaces_no_file_unasked(tmp_path, subjects, capsys):
    out, folder = tmp_path / "out", tmp_path / "pictures"
    build(find_cases(subjects)[:1], out, SMALL, workers=1)
    folder.mkdir()
    (folder / "s0001_frontal.png").write_bytes(b"mine")
    code, _, err = run(capsys, "show", out, "s0001", "-o", folder)
    assert code == 2
    assert "no run is known to have made them (s0001_frontal.png)" in err
    assert [path.read_bytes() for path in folder.iterdir()] == [b"mine"]
    assert run(capsys, "show", out, "s0001", "-o", folder, "--overwrite")[0] == 0
    assert (folder / "s0001_frontal.png").read_bytes() != b"mine"


@pytest.mark.parametrize("kind", ["a file", "a link that leads nowhere", "under a file"])
def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path, subjects, capsys, kind):
    out = tmp_path / "out"
    if kind == "a link that leads nowhere":
        out.symlink_to(tmp_path / "gone")
    else:
        out.write_text("mine")
    if kind == "under a file":
        out = out / "sub"
    code, _, err = run(capsys, "build", subjects, "-o", out, *CHOICES)
    assert code == 1
    assert err == (
        f"drrproj: error: cannot make the folder {out}: there is a file, or a link that leads nowhere; choose another "
        "name\n"
    )


def test_the_summary_is_printed_where_the_screen_knows_few_letters(tmp_path):
    source = write_subjects(tmp_path / "müller", (1, 2))
    (source / "s0002" / "ct.nii.gz").write_bytes(b"broken")
    command = [sys.executable, "-m", "drrproj", "dataset", "build", str(source), "-o", str(tmp_path / "out"), *CHOICES]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "m\\xfcller/s0002/ct.nii.gz" in done.stdout


@pytest.mark.parametrize("energy", ["10", "150"])
def test_the_energies_that_the_help_names_are_taken(tmp_path, subjects, capsys, energy):
    with pytest.raises(SystemExit):
        main(["dataset", "build", "--help"])
    assert "photon energy, 10 to 150" in " ".join(capsys.readouterr().out.split())
    assert run(capsys, "build", subjects, "-o", tmp_path / "out", *CHOICES, "--energy", energy)[0] == 0
    beyond = {"10": "9.9", "150": "150.1"}[energy]
    assert run(capsys, "build", subjects, "-o", tmp_path / "beyond", *CHOICES, "--energy", beyond)[0] == 2


def test_each_command_s_help_has_examples_that_run(tmp_path, subjects, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cases = find_cases(subjects)
    # All of them train, so that an example has pictures of its split.
    splits = Splits({"train": 1.0})
    build(cases, Path("out"), SMALL, splits, workers=1)
    build(cases[:2], Path("part1"), SMALL, splits, workers=1)
    build(cases[2:], Path("part2"), SMALL, splits, workers=1)
    ran = 0
    for command in ("check", "merge", "show", "stats", "export", "report"):
        with pytest.raises(SystemExit):
            main(["dataset", command, "--help"])
        examples = re.findall(r"^ +drrproj (dataset .*)$", capsys.readouterr().out, re.M)
        assert examples, command
        for example in examples:
            # Columns of explanation stand apart by several spaces; the screen is the test's.
            words = shlex.split(re.split(r" {3,}| > ", example)[0])
            assert main(words) == 0, example
            ran += 1
    assert ran >= 8


def test_what_cannot_be_written_keeps_its_number(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match=r"cannot write .*No space left") as caught, replaced(tmp_path / "file") as file:
        file.write(b"content")
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize("module", ["drrproj.cli.demo", "drrproj.cli.dataset", "drrproj.io", "drrproj.dataset.build"])
def test_ctrl_c_while_the_commands_are_read_is_one_line(tmp_path, module):
    program = f"""
import signal, sys

class Pressed:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Pressed())
from drrproj.cli import main
sys.exit(main(["--version"]))
"""
    python = [sys.executable, "-c", program]
    done = subprocess.run(python, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "drrproj: error: interrupted\n")


def test_a_folder_of_records_that_cannot_be_read_is_not_an_empty_one(tmp_path, subjects, capsys):
    out = tmp_path / "out"
    build(find_cases(subjects)[:1], out, SMALL, workers=1)
    (out / "records").rename(tmp_path / "records")
    (out / "records").touch()
    said = f"drrproj: error: cannot read {out / 'records'}: Not a directory\n"
    assert run(capsys, "check", out) == (1, "", said)
    assert run(capsys, "merge", out, "-o", tmp_path / "merged") == (1, "", said)
    assert not (tmp_path / "merged").exists()


def test_a_record_that_cannot_be_read_is_told_and_check_goes_on(tmp_path, subjects, capsys):
    out = tmp_path / "out"
    build(find_cases(subjects)[:2], out, SMALL, workers=1)
    record = out / "records" / "s0001.json"
    record.unlink()
    record.mkdir()
    (out / "images" / "s0002_lateral.png").unlink()
    told = list(problems(open_store(out)))
    assert told[0] == f"cannot read {record}: Is a directory"
    assert told[1].startswith("s0002_lateral: ")
    code, _, err = run(capsys, "build", subjects, "-o", out, *CHOICES)
    assert (code, err) == (2, f"drrproj: error: cannot read {record}: Is a directory\n")


@pytest.mark.parametrize(
    "words",
    [
        ["build", "", "-o", "out"],
        ["build", "subjects", "-o", ""],
        ["build", "subjects", "-o", "out", "--splits", ""],
        ["check", ""],
        ["merge", "part1", "", "-o", "out"],
        ["merge", "part1", "part2", "-o", ""],
        ["show", "out", "s0001", "-o", ""],
        ["stats", ""],
        ["export", "out", "--format", "npz", "-o", ""],
        ["report", "out", "-o", ""],
    ],
)
def test_an_empty_path_is_not_the_folder_here(tmp_path, capsys, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, *words)
    assert code == 2
    assert re.search(r": the name is empty; say which file or folder, \. for the one you are in; .*\n\Z", err)
    assert list(tmp_path.iterdir()) == []
