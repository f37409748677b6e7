"""Going on with a dataset: what changed since, what is gone, and what must not be lost on the way."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import shutil
import sys
import threading
import warnings
from pathlib import Path

import pytest
from small_cases import NAMES, SMALL, content_of, save, small_case, write_subjects

from drrproj.cli import main
from drrproj.dataset import inputs, store
from drrproj.dataset.build import build
from drrproj.dataset.cases import Case, find_cases
from drrproj.dataset.check import problems
from drrproj.dataset.inputs import find_inputs
from drrproj.dataset.log import Log
from drrproj.dataset.merge import merge
from drrproj.dataset.one_case import CannotWrite
from drrproj.dataset.poses import Poses, Variation
from drrproj.dataset.splits import Splits
from drrproj.dataset.store import Store, open_store


def save_plain(folder, number, names=NAMES):
    """A case as single files without compression, so that all of them are of one size."""
    hu, labels, affine = small_case(number)
    save(folder / "ct.nii", hu, affine)
    save(folder / "labels.nii", labels, affine)
    (folder / "labels.json").write_text(json.dumps(names))
    return Case(folder.name, folder / "ct.nii", folder / "labels.nii", folder.name)


@pytest.fixture
def plain(tmp_path):
    return [save_plain(tmp_path / "plain" / f"s{number}", number) for number in (1, 2)]


@pytest.fixture
def subjects(tmp_path):
    return write_subjects(tmp_path / "subjects", range(1, 5))


def rebuilt(cases, out, recipe=SMALL, **more):
    """Build again, with one process, and return what was done and what was said."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        done = build(cases, out, recipe, workers=1, **more)
    return done, [str(each.message) for each in heard]


def test_a_record_says_of_what_it_was_made(tmp_path, plain, subjects):
    build([*plain, *find_cases(subjects)[:1]], tmp_path / "out", SMALL, workers=1)
    by_case = {record["case"]: record["inputs"] for record in open_store(tmp_path / "out").records()}
    one, folder = by_case["s1"], by_case["s0001"]
    for part, path in (("ct", plain[0].ct), ("labels", plain[0].labels)):
        content = path.read_bytes()
        assert one[part] == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    masks = sorted((subjects / "s0001" / "segmentations").iterdir())
    lines = sorted(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in masks)
    assert folder["labels"] == {
        "files": len(NAMES),
        "bytes": sum(path.stat().st_size for path in masks),
        "sha256": hashlib.sha256("".join(lines).encode()).hexdigest(),
    }
    assert "names" in one
    assert "names" not in folder


def _overwrite_ct(case, elsewhere):
    hu, _, affine = small_case(7)
    save(case.ct, hu, affine)


def _overwrite_labels(case, elsewhere):
    _, labels, affine = small_case(7)
    save(case.labels, labels, affine)


def _rename_a_class(case, elsewhere):
    case.labels.with_name("labels.json").write_text(json.dumps({1: "lung", 2: "heert", 3: "spine"}))


def _link_elsewhere(case, elsewhere):
    other = save_plain(elsewhere, 7)
    # Older than all that the case was made of.
    os.utime(other.ct, ns=(10**18, 10**18))
    case.ct.unlink()
    case.ct.symlink_to(other.ct)


def _move_an_older_one_here(case, elsewhere):
    other = save_plain(elsewhere, 7)
    os.utime(other.ct, ns=(10**18, 10**18))
    other.ct.rename(case.ct)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (_overwrite_ct, "CT"),
        (_overwrite_labels, "labels"),
        (_rename_a_class, "names of the labels"),
        (_link_elsewhere, "CT"),
        (_move_an_older_one_here, "CT"),
    ],
)
def test_a_case_whose_inputs_changed_is_made_again(tmp_path, plain, change, what):
    out = tmp_path / "out"
    build(plain, out, SMALL, workers=1)
    before = content_of(out)
    sizes = [path.stat().st_size for path in (plain[0].ct, plain[0].labels)]
    change(plain[0], tmp_path / "elsewhere")
    assert [path.stat().st_size for path in (plain[0].ct, plain[0].labels)] == sizes
    done, said = rebuilt(plain, out)
    assert done.made == 1
    assert said == [f"1 case is made again for changed inputs: s1 ({what})"]
    build(plain, tmp_path / "fresh", SMALL, workers=1)
    assert content_of(out) == content_of(tmp_path / "fresh") != before
    assert rebuilt(plain, out)[0].made == 0


@pytest.mark.parametrize("linked", [True, False])
def test_a_folder_of_older_cts_in_the_place_of_another_is_noticed(tmp_path, linked):
    for number, version in ((7, "older"), (1, "newer")):
        save(tmp_path / version / "ct.nii", *small_case(number)[::2])
    # The youngest of all inputs, before and after.
    save(tmp_path / "labels.nii", *small_case(1)[1:])
    os.utime(tmp_path / "labels.nii", ns=(2_000_000_001_123_456_789,) * 2)
    current = tmp_path / "current"
    case = Case("s1", current / "ct.nii", tmp_path / "labels.nii", "s1")

    def point_to(version):
        if linked:
            current.unlink(missing_ok=True)
            current.symlink_to(version)
        else:
            if current.exists():
                current.rename(tmp_path / "before")
            (tmp_path / version).rename(current)

    point_to("newer")
    build([case], tmp_path / "out", SMALL, workers=1)
    point_to("older")
    done, said = rebuilt([case], tmp_path / "out")
    assert said == ["1 case is made again for changed inputs: s1 (CT)"]
    assert done.statuses == {"kept": 1}


def test_files_that_were_touched_are_read_once_and_are_the_same(tmp_path, plain, monkeypatch):
    build(plain, tmp_path / "out", SMALL, workers=1)
    before = content_of(tmp_path / "out")
    digests = []
    digest = inputs._digest
    monkeypatch.setattr(inputs, "_digest", lambda path: digests.append(path.name) or digest(path))
    assert rebuilt(plain, tmp_path / "out")[0].made == 0
    assert digests == []
    os.utime(plain[1].ct)
    assert rebuilt(plain, tmp_path / "out")[0].made == 0
    assert sorted(digests) == ["ct.nii", "labels.nii"]
    assert rebuilt(plain, tmp_path / "out")[0].made == 0
    assert len(digests) == 2
    assert content_of(tmp_path / "out") == before


def test_inputs_that_are_read_again_are_counted(tmp_path, plain, capsys):
    command = ["dataset", "build", str(tmp_path / "plain.csv"), "-o", str(tmp_path / "out"), "--shape", "48", "40"]
    command += ["--keep-all", "--taxonomy", "labels", "--workers", "1"]
    rows = [f"{case.case_id},{case.ct},{case.labels}" for case in plain]
    (tmp_path / "plain.csv").write_text("\n".join(["case,ct,labels", *rows]))
    assert main(command) == 0
    os.utime(plain[0].ct)
    _overwrite_ct(plain[1], None)
    capsys.readouterr()
    assert main(command) == 0
    read, changed, made = capsys.readouterr().err.splitlines()
    assert read.startswith("2 of 2 cases (2 inputs read again), ")
    assert "s2 (CT)" in changed
    assert made.startswith("1 of 1 cases (1 kept), ")
    assert main(command) == 0
    assert capsys.readouterr().err == ""


def test_ctrl_c_while_inputs_are_read_again_reads_no_more(tmp_path, plain, monkeypatch):
    cases = [plain[0], *(dataclasses.replace(plain[1], case_id=f"s2_{number}") for number in range(19))]
    build(cases, tmp_path / "out", SMALL, workers=1)
    for case in plain:
        os.utime(case.ct)
    read, ends = [], threading.Event()

    class Pool(concurrent.futures.ThreadPoolExecutor):
        """Of two threads."""

        def __init__(self, _):
            super().__init__(2)

        def shutdown(self, wait=True, **more):
            super().shutdown(wait=False, **more)
            ends.set()
            super().shutdown()

    def digest(path):
        read.append(path)
        # All but the first case are read until the pool ends.
        assert path.parent.name == "s1" or ends.wait(60)
        return ""

    def pressed(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("drrproj.dataset.resume.ThreadPoolExecutor", Pool)
    monkeypatch.setattr(inputs, "_digest", digest)
    with pytest.raises(KeyboardInterrupt):
        rebuilt(cases, tmp_path / "out", told=lambda count: pressed)
    # Two of each of the cases that were at work; the others have 34 more.
    assert len(read) <= 6


@pytest.mark.parametrize("step", [1, 100, 10**3, 10**6, 10**7, 10**9, 2 * 10**9])
def test_a_file_system_that_rounds_times_does_not_have_inputs_read_again(tmp_path, plain, monkeypatch, step):
    late = 2_000_000_001_123_456_789
    os.utime(plain[0].ct, ns=(late, late))
    build(plain[:1], tmp_path / "out", SMALL, workers=1)
    record = tmp_path / "out" / "records" / "s1.json"
    stamp = find_inputs(plain[0]).stamp
    os.utime(record, ns=(stamp, stamp // step * step))
    monkeypatch.setattr(inputs, "_digest", lambda path: pytest.fail(f"{path} was read"))
    assert rebuilt(plain[:1], tmp_path / "out")[0].made == 0


def test_a_build_with_nothing_to_do_writes_to_no_record(tmp_path, plain, monkeypatch):
    build(plain, tmp_path / "out", SMALL, workers=1)
    written = []
    utime = os.utime
    monkeypatch.setattr(os, "utime", lambda path, **more: written.append(path) or utime(path, **more))
    assert rebuilt(plain, tmp_path / "out")[0].made == 0
    assert written == []
    utime(plain[1].ct)
    assert rebuilt(plain, tmp_path / "out")[0].made == 0
    assert written == [tmp_path / "out" / "records" / "s2.json"]


def test_merging_keeps_what_tells_that_inputs_stand(tmp_path, plain, monkeypatch):
    for case in plain:
        build([case], tmp_path / f"part_{case.case_id}", SMALL, workers=1)
    merge([tmp_path / "part_s1", tmp_path / "part_s2"], tmp_path / "out")
    monkeypatch.setattr("drrproj.dataset.inputs._digest", lambda path: pytest.fail(f"{path} was read"))
    assert rebuilt(plain, tmp_path / "out")[0].made == 0


def test_a_file_that_changes_while_it_is_read_fails_its_case(tmp_path, plain, monkeypatch):
    module = __import__("drrproj.dataset.one_case", fromlist=["read_labels"])
    read_labels = module.read_labels

    def disturbed(*arguments, **more):
        _overwrite_ct(plain[0], None)
        return read_labels(*arguments, **more)

    monkeypatch.setattr(module, "read_labels", disturbed)
    done, _ = rebuilt(plain[:1], tmp_path / "out")
    assert done.left_out == {
        "s1": ("failed", "its files changed while they were read; build again when nobody writes them")
    }


def test_a_kill_leaves_no_new_picture_under_an_old_record(tmp_path, plain, monkeypatch):
    out = tmp_path / "out"
    build(plain, out, SMALL, workers=1)
    _overwrite_ct(plain[0], None)
    write_masks = Store.write_masks

    def killed(self, case_id, view, *arguments):
        if view == "lateral":
            raise KeyboardInterrupt
        return write_masks(self, case_id, view, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write_masks", killed)
        with pytest.raises(KeyboardInterrupt):
            rebuilt(plain, out)
    assert not (out / "records" / "s1.json").exists()
    assert rebuilt(plain, out)[0].made == 1
    build(plain, tmp_path / "fresh", SMALL, workers=1)
    assert content_of(out) == content_of(tmp_path / "fresh")


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such files")
def test_a_pipe_is_no_ct(tmp_path, plain):
    os.mkfifo(tmp_path / "ct.nii")
    case = dataclasses.replace(plain[0], ct=tmp_path / "ct.nii")
    with pytest.raises(ValueError, match=r"ct\.nii is neither a file nor a folder, but a device or a pipe"):
        find_inputs(case)


@pytest.mark.parametrize("names", ["labels.mhd", "labels.nhdr", "labels.hdr", "labels.npy"])
def test_the_voxels_beside_a_header_are_inputs(tmp_path, names):
    said = {
        "labels.mhd": ("NDims = 3\nElementDataFile = voxels.raw\n", "voxels.raw"),
        "labels.nhdr": ("NRRD0004\ndata file: voxels.raw\n\n", "voxels.raw"),
        "labels.hdr": ("a header", "labels.img"),
        "labels.npy": ("an array", "labels_affine.npy"),
    }
    header, voxels = said[names]
    (tmp_path / "ct.nii").write_bytes(b"ct")
    (tmp_path / names).write_text(header)
    (tmp_path / voxels).write_bytes(b"12345")
    found = find_inputs(Case("a", tmp_path / "ct.nii", tmp_path / names, "a"))
    assert sorted(found.files["labels"]) == sorted([names, voxels])
    assert found.sizes["labels"] == len(header) + 5


def test_the_digest_of_a_folder_of_slices_does_not_depend_on_their_names(tmp_path):
    for folder, names in (("one", "ab"), ("two", "yx")):
        (tmp_path / folder).mkdir()
        for name, content in zip(names, (b"slice 1", b"slice 2"), strict=True):
            (tmp_path / folder / name).write_bytes(content)
    one, two = (
        find_inputs(Case("a", tmp_path / folder, tmp_path / folder, "a")).as_record() for folder in ("one", "two")
    )
    assert one["ct"] == two["ct"]
    # A mask's name says what it shows.
    assert one["labels"] != two["labels"]


def test_the_only_mask_of_a_folder_under_another_name_is_another_structure(tmp_path, subjects):
    masks = subjects / "s0001" / "segmentations"
    for name in ("lung", "spine"):
        (masks / f"{name}.nii.gz").unlink()
    build(find_cases(subjects), tmp_path / "out", SMALL, workers=1)
    (masks / "heart.nii.gz").rename(masks / "aorta.nii.gz")
    done, said = rebuilt(find_cases(subjects), tmp_path / "out")
    assert said == ["1 case is made again for changed inputs: s0001 (labels)"]
    (record, *_) = done.store.records()
    assert {name for view in record["views"].values() for name in view["areas"]} == {"aorta"}


def test_nnunet_may_count_its_cases_anew(tmp_path):
    hu, labels, affine = small_case(1)
    save(tmp_path / "raw" / "imagesTr" / "a_0000.nii.gz", hu, affine)
    save(tmp_path / "raw" / "labelsTr" / "a.nii.gz", labels, affine)
    table = {"labels": {name: number for number, name in NAMES.items()}, "channel_names": {"0": "CT"}}
    (tmp_path / "raw" / "dataset.json").write_text(json.dumps({**table, "numTraining": 1}))
    build(find_cases(tmp_path / "raw"), tmp_path / "out", SMALL, workers=1)
    (tmp_path / "raw" / "dataset.json").write_text(json.dumps({**table, "numTraining": 12}))
    assert rebuilt(find_cases(tmp_path / "raw"), tmp_path / "out")[0].made == 0
    table["labels"] = {"lungs" if name == "lung" else name: number for name, number in table["labels"].items()}
    (tmp_path / "raw" / "dataset.json").write_text(json.dumps(table))
    done, said = rebuilt(find_cases(tmp_path / "raw"), tmp_path / "out")
    assert (done.made, said[0].rpartition(": ")[2]) == (1, "a (names of the labels)")


def test_an_older_format_is_refused_with_what_it_lacks(tmp_path, plain):
    build(plain, tmp_path / "out", SMALL, workers=1)
    header = json.loads((tmp_path / "out" / "dataset.json").read_text())
    (tmp_path / "out" / "dataset.json").write_text(json.dumps({**header, "format": "drrproj dataset 1"}))
    with pytest.raises(ValueError, match=r"do not say of which files they were made; .* build it again"):
        build(plain, tmp_path / "out", SMALL, workers=1)


def test_a_renamed_case_is_named_and_pruned(tmp_path, subjects, capsys):
    out = tmp_path / "out"
    build(find_cases(subjects), out, SMALL, workers=1)
    (subjects / "s0002").rename(subjects / "renamed")
    done, said = rebuilt(find_cases(subjects), out)
    assert done.found == 4
    assert said == [
        "1 case is in the dataset and not in the source any more; --prune (prune=True) drops what is not: s0002"
    ]
    (told,) = problems(open_store(out))
    assert told.startswith("renamed and s0002 have the same CT, and are said to be of two patients, renamed and s0002")
    command = ["dataset", "build", str(subjects), "-o", str(out), "--shape", "48", "40", "--taxonomy", "labels"]
    assert main([*command, "--keep-all", "--prune", "--workers", "1"]) == 0
    capsys.readouterr()
    build(find_cases(subjects), tmp_path / "fresh", SMALL, workers=1)
    assert content_of(out) == content_of(tmp_path / "fresh")
    assert list(problems(open_store(out))) == []


# Two cases of two pictures, two masks and a record.
@pytest.mark.parametrize("stop", range(1, 11))
def test_pruning_that_was_killed_goes_on(tmp_path, subjects, monkeypatch, stop):
    cases = find_cases(subjects)
    build(cases, tmp_path / "out", SMALL, workers=1)
    build(cases[:2], tmp_path / "fresh", SMALL, workers=1)
    unlink, left = Path.unlink, iter(range(stop - 1))

    def killed(path, **more):
        if next(left, None) is None:
            raise KeyboardInterrupt
        unlink(path, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            rebuilt(cases[:2], tmp_path / "out", prune=True)
    done, said = rebuilt(cases[:2], tmp_path / "out", prune=True)
    assert (done.made, said) == (0, [])
    assert content_of(tmp_path / "out") == content_of(tmp_path / "fresh")


def test_check_names_one_ct_in_two_splits(tmp_path, subjects):
    shutil.copyfile(subjects / "s0001" / "ct.nii.gz", subjects / "s0002" / "ct.nii.gz")
    lists = Splits(lists={"train": ["s0001"], "val": ["s0002", "s0003", "s0004"]})
    store = build(find_cases(subjects), tmp_path / "out", SMALL, lists, workers=1).store
    (told,) = problems(store)
    assert told == (
        "s0001 and s0002 have the same CT, and are said to be of two patients, s0001 and s0002, on both sides: s0001 "
        "is in train and s0002 in val; drop one, or give both one patient"
    )


@pytest.mark.filterwarnings("ignore:1 of 2 ids and ranges that the splits list are of no case and no patient")
@pytest.mark.parametrize("offline", [False, True])
@pytest.mark.parametrize("lost", [None, "masks/s0001_frontal.npz"])
def test_another_patient_or_split_is_in_the_record_without_the_ct(tmp_path, subjects, offline, lost):
    lists = Splits(lists={"train": ["left"], "val": ["right"]})
    cases = [dataclasses.replace(case, patient_id="left") for case in find_cases(subjects)]
    out = tmp_path / "out"
    build(cases, out, SMALL, lists, workers=1)
    stamps = {path.name: path.stat().st_mtime_ns for path in (out / "records").iterdir()}
    cases = [dataclasses.replace(case, patient_id="right") for case in cases]
    build(cases, tmp_path / "fresh", SMALL, lists, workers=1)
    if lost is not None:
        (out / lost).unlink()
    if offline:
        subjects.rename(tmp_path / "offline")
    done, said = rebuilt(cases, out, splits=lists)
    assert done.made == (lost is not None and not offline)
    assert said[1] == (
        "4 cases are given another patient or split, in the record alone: "
        + ", ".join(f"s000{number} (patient right, not left; split val, not train)" for number in range(1, 5))
    )
    assert {record["split"] for record in done.store.records()} == {"val"}
    now, fresh = content_of(out), content_of(tmp_path / "fresh")
    assert now == {name: fresh[name] for name in fresh if not (offline and name == lost)}
    assert stamps == {path.name: path.stat().st_mtime_ns for path in (out / "records").iterdir()}


@pytest.mark.filterwarnings("ignore:1 of 2 ids and ranges that the splits list are of no case and no patient")
def test_a_build_that_is_stopped_while_patients_move_did_not_end(tmp_path, plain, monkeypatch):
    lists = Splits(lists={"train": ["left"], "val": ["right"]})
    cases = [dataclasses.replace(case, patient_id="left") for case in plain]
    build(cases, tmp_path / "out", SMALL, lists, workers=1)
    write_record = Store.write_record

    def killed(self, record, *arguments):
        if record["case"] == "s2":
            raise KeyboardInterrupt
        write_record(self, record, *arguments)

    cases = [dataclasses.replace(case, patient_id="right") for case in cases]
    with monkeypatch.context() as patch:
        patch.setattr(Store, "write_record", killed)
        with pytest.raises(KeyboardInterrupt):
            rebuilt(cases, tmp_path / "out", splits=lists)
    told = list(problems(open_store(tmp_path / "out")))
    assert [sentence.partition(",")[0] for sentence in told] == ["its last build"]
    rebuilt(cases, tmp_path / "out", splits=lists)
    assert list(problems(open_store(tmp_path / "out"))) == []
    assert {record["patient"] for record in open_store(tmp_path / "out").records()} == {"right"}


def test_pictures_that_cannot_be_made_again_stay(tmp_path, subjects):
    out = tmp_path / "out"
    cases = find_cases(subjects)
    build(cases, out, SMALL, workers=1)
    (out / "masks" / "s0001_frontal.npz").unlink()
    before = content_of(out)
    subjects.rename(tmp_path / "offline")
    done, (unknown, stale) = rebuilt(cases, out)
    assert (done.made, done.statuses) == (0, {"kept": 3, "stale": 1})
    assert unknown.startswith("3 cases are not compared with the inputs, which cannot be read: s0002 (no such file")
    assert stale.startswith("1 case is to be made again, which cannot be done now; what is there stays: s0001 (no such")
    assert done.left_out["s0001"][0] == "stale"
    assert "no such file or folder" in done.left_out["s0001"][1]
    assert content_of(out) == before
    (tmp_path / "offline").rename(subjects)
    assert rebuilt(cases, out)[0].statuses == {"kept": 4}
    assert list(problems(open_store(out))) == []


@pytest.mark.parametrize("damage", [b"{", None])
def test_pictures_without_a_sound_record_stay_until_they_can_be_made_again(tmp_path, subjects, damage):
    out = tmp_path / "out"
    recipe = dataclasses.replace(SMALL, poses=Poses(shape=(48, 40), variation=Variation(angle=5, poses=2)))
    cases = find_cases(subjects)
    build(cases, out, recipe, workers=1)
    whole = content_of(out)
    record = out / "records" / "s0002.json"
    if damage is None:
        record.unlink()
    else:
        record.write_bytes(damage)
    before = content_of(out)
    subjects.rename(tmp_path / "offline")
    for _ in range(2):
        done, (_, stale) = rebuilt(cases, out, recipe)
        assert stale.startswith("1 case is to be made again, which cannot be done now; what is there stays: s0002 (no ")
        assert done.statuses == {"kept": 3, "stale": 1}
        assert content_of(out) == before
    (tmp_path / "offline").rename(subjects)
    assert rebuilt(cases, out, recipe)[0].made == 1
    assert content_of(out) == whole


def test_files_of_others_stay_where_they_are(tmp_path, subjects):
    out = tmp_path / "out"
    cases = find_cases(subjects)
    build(cases, out, SMALL, workers=1)
    mine = ["images/holiday.png", "images/s0001_notes.png", "masks/s0001_frontal.txt", "masks/sub/s0001_frontal.npz"]
    left = ["images/.s0001_frontal.png.0123abcd.part", "images/s0001_frontal-2.png", "masks/s0002_lateral-1.npz"]
    (out / "masks" / "sub").mkdir()
    for place in (*mine, *left):
        (out / place).write_bytes(b"")
    done, (said,) = rebuilt(cases, out)
    assert done.made == 0
    assert said.endswith(
        "no record speaks of images/holiday.png, images/s0001_notes.png, masks/s0001_frontal.txt, masks/sub; they stay"
    )
    assert [(out / place).exists() for place in (*mine, *left)] == [True] * 4 + [False] * 3


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"case": "s0002"}', b"\xff\xfe"])
def test_a_damaged_record_is_told_and_made_again(tmp_path, subjects, damage, capsys):
    out = tmp_path / "out"
    cases = find_cases(subjects)
    build(cases, out, SMALL, workers=1)
    before = content_of(out)
    (out / "records" / "s0002.json").write_bytes(damage)
    first, *others = problems(open_store(out))
    assert first.startswith(f"{out / 'records' / 's0002.json'}: ")
    assert "build again" in first
    # Its pictures and masks.
    assert len(others) == 4
    assert main(["dataset", "stats", str(out)]) == 2
    assert "build again" in capsys.readouterr().err
    assert rebuilt(cases, out)[0].made == 1
    assert content_of(out) == before


def test_pictures_of_a_damaged_record_stay_while_the_case_is_not_in_the_source(tmp_path, subjects):
    out = tmp_path / "out"
    build(find_cases(subjects), out, SMALL, workers=1)
    (out / "records" / "s0002.json").write_bytes(b"")
    before = content_of(out)
    shutil.move(subjects / "s0002", tmp_path / "offline")
    _, said = rebuilt(find_cases(subjects), out)
    assert content_of(out) == before
    assert [text.partition(": ")[2] for text in said] == [
        "s0002",
        "no record speaks of images/s0002_frontal.png, images/s0002_lateral.png, masks/s0002_frontal.npz, "
        "masks/s0002_lateral.npz; they stay",
    ]
    rebuilt(find_cases(subjects), out, prune=True)
    assert not [name for name in content_of(out) if "s0002" in name]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("inputs", value) for value in ([], None, {"ct": "x"}, {"ct": {"bytes": 1, "sha256": []}})),
        *(("reasons", value) for value in (None, "x", ["x"], [{"rule": "r"}])),
        ("patient", ["p"]),
        ("status", None),
        ("split", {"train": 1}),
        *(("views", {"lateral": {part: value}}) for part, value in (("image", None), ("areas", [1]), ("absent", "x"))),
        ("views", {"lateral": {"areas": {"heart": "1"}}}),
    ],
)
def test_a_record_with_damaged_values_is_told_and_made_again(tmp_path, plain, key, value):
    out = tmp_path / "out"
    build(plain, out, SMALL, workers=1)
    before = content_of(out)
    path = out / "records" / "s1.json"
    record = json.loads(path.read_text())
    if key == "views":
        record["views"]["lateral"] |= value["lateral"]
    else:
        record[key] = value
    path.write_text(json.dumps(record))
    first, *_ = problems(open_store(out))
    assert first == f"{path}: what it says of its {key} is damaged; build again, which makes its case again"
    assert rebuilt(plain, out)[0].made == 1
    assert content_of(out) == before


@pytest.mark.parametrize("key", ["image", "masks", "geometry", "display", "areas", "absent"])
def test_a_view_that_lacks_something_is_told_and_made_again(tmp_path, plain, key):
    out = tmp_path / "out"
    build(plain, out, SMALL, workers=1)
    before = content_of(out)
    path = out / "records" / "s1.json"
    record = json.loads(path.read_text())
    del record["views"]["lateral"][key]
    path.write_text(json.dumps(record))
    first, *_ = problems(open_store(out))
    assert first == f"{path}: its views lack {key}; build again, which makes its case again"
    assert rebuilt(plain, out)[0].made == 1
    assert content_of(out) == before


@pytest.mark.parametrize("line", ["5", "null", "{}", '{"event": "start"}', "\0\0"])
def test_a_line_of_the_log_that_is_no_event_is_passed_over(tmp_path, plain, line):
    store = build(plain, tmp_path / "out", SMALL, workers=1).store
    log = tmp_path / "out" / "log.jsonl"
    first, *others = log.read_text().splitlines()
    log.write_text("\n".join([first, line, *others]) + "\n")
    assert list(problems(store)) == []


@pytest.mark.parametrize("left", [b'{"event": "ca', b"x" * 200_000, b"\0" * 70_000])
@pytest.mark.parametrize("whole", [b"", b'{"event": "start"}\n', b'{"event": "start"}\n' * 9_000])
def test_half_a_line_of_the_log_goes_and_nothing_else(tmp_path, whole, left):
    log = tmp_path / "log.jsonl"
    log.write_bytes(whole + left)
    with Log(tmp_path):
        assert log.read_bytes() == whole
    with Log(tmp_path) as opened:
        opened.write({"event": "end"})
    assert log.read_bytes().startswith(whole)
    assert log.read_bytes().count(b"\n") == whole.count(b"\n") + 1


def test_a_record_that_was_copied_is_told(tmp_path, subjects):
    out = tmp_path / "out"
    cases = find_cases(subjects)
    build(cases, out, SMALL, workers=1)
    before = content_of(out)
    copied = out / "records" / "s0001 (copy).json"
    shutil.copy(out / "records" / "s0001.json", copied)
    assert list(problems(open_store(out))) == [f"{copied}: this is the record of s0001, under another name; delete it"]
    assert rebuilt(cases, out, prune=True)[0].made == 0
    assert content_of(out) == before


def test_a_record_is_on_the_disk_before_its_name_stands_for_it(tmp_path, plain, monkeypatch):
    events = []
    fsync, moved = os.fsync, os.replace

    def synced(file):
        events.append(f"fsync {Path(os.readlink(f'/proc/self/fd/{file}')).parent.name}")
        fsync(file)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", lambda part, target: events.append(target.parent.name) or moved(part, target))
    build(plain[:1], tmp_path / "out", SMALL, workers=1)
    # Two views: what the record vouches for is on the disk before it.
    pictures = [*["fsync images"] * 2, *["fsync masks"] * 2]
    assert events[-6:] == [*pictures, "fsync records", "records"]
    assert sorted(events[-10:-6]) == ["images", "images", "masks", "masks"]


def test_a_damaged_record_of_a_merged_dataset_is_copied_again(tmp_path, plain):
    for case in plain:
        build([case], tmp_path / f"part_{case.case_id}", SMALL, workers=1)
    parts = [tmp_path / "part_s1", tmp_path / "part_s2"]
    merge(parts, tmp_path / "out")
    before = content_of(tmp_path / "out")
    (tmp_path / "out" / "records" / "s1.json").write_bytes(b"")
    merge(parts, tmp_path / "out")
    assert content_of(tmp_path / "out") == before
    (parts[0] / "records" / "s1.json").write_bytes(b"")
    with pytest.raises(ValueError, match=r"part_s1.*build again"):
        merge(parts, tmp_path / "out")


@pytest.mark.parametrize("is_new", [True, False])
def test_a_merge_looks_under_the_lock_at_what_is_there(tmp_path, plain, monkeypatch, is_new):
    """Another merge comes to its end just before this one has the lock."""
    module = __import__("drrproj.dataset.merge", fromlist=["only_build"])
    only_build = module.only_build
    build(plain[:1], tmp_path / "theirs", SMALL, Splits({"train": 1.0}), workers=1)
    _overwrite_ct(plain[0], None)
    build(plain[:1], tmp_path / "mine", SMALL, Splits({"train": 1.0}), workers=1)
    build(plain[1:], tmp_path / "other", SMALL, Splits({"train": 1.0}), workers=1)
    if not is_new:
        merge([tmp_path / "other"], tmp_path / "out")

    @contextlib.contextmanager
    def late(folder):
        with monkeypatch.context() as patch:
            patch.setattr(module, "only_build", only_build)
            merge([tmp_path / "theirs"], tmp_path / "out")
        with only_build(folder):
            yield

    monkeypatch.setattr(module, "only_build", late)
    with pytest.raises(ValueError, match=r"case s1 is in .*out and in .*mine, and their records differ"):
        merge([tmp_path / "mine"], tmp_path / "out")
    (record, *_) = open_store(tmp_path / "out").records()
    assert [record] == list(open_store(tmp_path / "theirs").records())


def test_a_build_that_began_meanwhile_in_the_same_new_folder_stays(tmp_path, monkeypatch):
    folder, make_folders = tmp_path / "out", store._make_folders

    def make_folders_while_another_build_begins(path):
        monkeypatch.setattr(store, "_make_folders", make_folders)
        store.create_store(folder, {"seed": 1}, ["heart"], {})
        make_folders(path)

    monkeypatch.setattr(store, "_make_folders", make_folders_while_another_build_begins)
    with pytest.raises(ValueError, match="holds a dataset of another configuration: seed"):
        store.create_store(folder, {"seed": 2}, ["heart"], {})
    assert open_store(folder).configuration == {"seed": 1}


def test_a_line_of_the_log_that_a_full_disk_takes_in_part_is_no_line(tmp_path):
    class NearlyFull:
        """Takes ten bytes, and says at the next ones that it is full."""

        def __init__(self):
            self.room = 10

        def write(self, data):
            if not self.room:
                raise OSError(errno.ENOSPC, "No space left on device")
            taken, self.room = min(len(data), self.room), 0
            return taken

        def close(self):
            pass

    with Log(tmp_path) as log:
        log._file.close()
        log._file = NearlyFull()
        with pytest.raises(CannotWrite, match="cannot write the log: No space left"):
            log.write({"event": "start", "cases": 40, "to_make": 40})
