"""Building datasets: what is in them, what a kill leaves, and what broken cases do to the others."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import datetime
import errno
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import types
from concurrent.futures.process import BrokenProcessPool
from importlib.resources import files

import numpy as np
import pytest
from PIL import Image
from small_cases import NAMES, SMALL, content_of, save, small_case, write_subjects

import drrproj
from drrproj.cli import main
from drrproj.dataset import formats
from drrproj.dataset.build import build
from drrproj.dataset.cases import Case, find_cases
from drrproj.dataset.check import problems
from drrproj.dataset.derive import derive
from drrproj.dataset.evaluation import compare
from drrproj.dataset.log import unfinished
from drrproj.dataset.merge import merge
from drrproj.dataset.one_case import Recipe
from drrproj.dataset.poses import Poses
from drrproj.dataset.progress import Progress
from drrproj.dataset.report import report
from drrproj.dataset.splits import Splits
from drrproj.dataset.stats import contents
from drrproj.dataset.store import Store, open_store
from drrproj.dataset.taxonomy import read_taxonomy
from drrproj.replace import replaced


@pytest.fixture
def subjects(tmp_path):
    return write_subjects(tmp_path / "subjects", range(1, 5))


@pytest.mark.parametrize(("least", "why"), [(0.0, "meets them"), (500.0, "runs through them for more than 500 mm")])
def test_a_structure_that_is_not_on_a_picture_is_known_and_empty(tmp_path, subjects, least, why):
    recipe = dataclasses.replace(SMALL, min_path_mm=least, poses=Poses(shape=(8, 8), pixel_spacing=0.1))
    store = build(find_cases(subjects), tmp_path / "out", recipe, workers=1).store
    lost = [(sample, name, reason) for sample in store.samples() for name, reason in sample.absent.items()]
    assert lost
    assert {reason for _, _, reason in lost} == {f"it has voxels, but no ray of this view {why}"}
    target = formats.from_store(store)
    assert not any(image.absent for image in target)
    # What is seen where nothing is counts against a prediction, whatever the policy.
    sample, name, _ = lost[0]
    wrong = dataclasses.replace(
        target[sample.name], read_masks=lambda: {**sample.masks(), name: np.ones(sample.image().shape, bool)}
    )
    images = tuple(wrong if image.name == sample.name else image for image in target)
    overlaps = compare(dataclasses.replace(target, images=images), target)
    for policy in ("skip", "one", "zero"):
        assert overlaps.per_class(absent=policy)[name] < 1


def test_images_and_masks_are_those_of_project(tmp_path, subjects):
    done = build(find_cases(subjects), tmp_path / "out", SMALL, workers=1)
    assert (done.found, done.made, done.statuses) == (4, 4, {"kept": 4})
    samples = list(done.store.samples())
    assert [sample.name for sample in samples][:3] == ["s0001_frontal", "s0001_lateral", "s0002_frontal"]
    hu, labels, affine = small_case(2)
    ct, anatomy = drrproj.Volume(hu, affine), drrproj.LabelVolume(labels, affine, NAMES)
    for sample, view in zip(samples[2:4], ("PA", "LL"), strict=True):
        shot = drrproj.project(ct, drrproj.Geometry.radiograph(view, ct, shape=(48, 40)), labels=anatomy)
        masks = sample.masks()
        assert masks.keys() == sample.areas.keys() == set(NAMES.values())
        for name, mask in masks.items():
            np.testing.assert_array_equal(mask, shot.masks[name][0])
            assert sample.areas[name] == mask.sum() > 0
        display = sample.record_of_view["display"]
        shown = np.clip((shot.line_integral[0] - display["low"]) / (display["high"] - display["low"]), 0, 1)
        np.testing.assert_allclose(sample.image() / 65535, shown, atol=1e-5)
        np.testing.assert_array_equal(drrproj.Geometry(**sample.record_of_view["geometry"]).views, shot.geometry.views)
    assert list(problems(done.store)) == []


def test_classes_are_those_of_the_taxonomy_present_or_absent_with_a_reason(tmp_path):
    chest = files("drrproj") / "data" / "chest_3mm"
    taxonomy = read_taxonomy("paxray")
    case = Case("chest", chest / "ct.nii.gz", chest / "labels.nii.gz", "p")
    store = build([case], tmp_path / "out", Recipe(Poses(shape=(64, 64)), taxonomy=taxonomy), workers=1).store
    assert store.classes == taxonomy.names
    assert store.groups == taxonomy.groups
    ct, labels = drrproj.read_volume(case.ct), drrproj.read_labels(case.labels)
    derived = derive(ct, labels, taxonomy)
    for sample, view in zip(store.samples(), ("PA", "LL"), strict=True):
        shot = drrproj.project(ct, drrproj.Geometry.radiograph(view, ct, shape=(64, 64)), labels=derived.labels)
        masks = sample.masks()
        assert list(masks) == [name for name in taxonomy.names if name in masks]
        assert sorted((*masks, *sample.absent)) == sorted(taxonomy.names)
        assert derived.absent.items() <= sample.absent.items()
        for name, mask in masks.items():
            np.testing.assert_array_equal(mask, shot.masks[name][0])
    assert list(problems(store)) == []
    with pytest.raises(ValueError, match=r'taxonomy is \{"name": "paxray".*there and \{"name": "paxray-shipped"'):
        build([case], tmp_path / "out", Recipe(Poses(shape=(64, 64)), taxonomy=read_taxonomy("paxray-shipped")))


def test_the_files_do_not_depend_on_workers_or_order(tmp_path, subjects):
    cases = find_cases(subjects)
    build(cases, tmp_path / "one", SMALL, workers=1)
    build(cases[::-1], tmp_path / "two", SMALL, workers=2)
    assert content_of(tmp_path / "one") == content_of(tmp_path / "two")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")
def test_killed_at_random_moments_the_dataset_is_the_undisturbed_one(tmp_path):
    count = 60
    source = write_subjects(tmp_path / "subjects", range(1, count + 1))
    build(find_cases(source), tmp_path / "undisturbed", SMALL, workers=1)
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "drrproj", "dataset", "build", str(source), "-o", str(out)]
    command += ["--shape", "48", "40", "--keep-all", "--taxonomy", "labels"]
    rng = random.Random(1)
    kills = 0
    for _ in range(20):
        workers = ["--workers", str(1 + kills % 2)]
        # Not from here, where Python would take the source, which may have no compiled backend, for the package.
        process = subprocess.Popen(
            [*command, *workers], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        wanted = rng.randint(1, 4) + sum(1 for _ in (out / "records").glob("s*.json"))
        # Killed soon after some more cases are done: before the first one there would be little to break.
        while process.poll() is None and sum(1 for _ in (out / "records").glob("s*.json")) < wanted:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.02))
        process.kill()
        process.communicate()
        kills += sum(1 for _ in (out / "records").glob("s*.json")) < count
        if kills == 3:
            break
        if process.returncode == 0:
            # This machine was too busy to kill it in time; there is nothing left to interrupt.
            shutil.rmtree(out)
    assert kills == 3
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert content_of(out) == content_of(tmp_path / "undisturbed")
    events = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert events[-1]["statuses"] == {"kept": count}


def test_a_case_that_lost_a_file_is_made_again(tmp_path, subjects):
    cases = find_cases(subjects)
    build(cases, tmp_path / "out", SMALL, workers=1)
    before = content_of(tmp_path / "out")
    lost = [tmp_path / "out" / "images" / "s0001_frontal.png", tmp_path / "out" / "masks" / "s0003_lateral.npz"]
    for path in lost:
        path.unlink()
    told = list(problems(open_store(tmp_path / "out")))
    expected = zip(("s0001_frontal", "s0003_lateral"), lost, strict=True)
    assert told == [f"{name}: no such file: {path}; build again" for name, path in expected]
    assert build(cases, tmp_path / "out", SMALL, workers=1).made == 2
    assert content_of(tmp_path / "out") == before


def test_a_build_that_is_stopped_while_it_makes_a_case_again_goes_on(tmp_path, subjects, monkeypatch):
    cases = find_cases(subjects)
    build(cases, tmp_path / "out", SMALL, workers=1)
    before = content_of(tmp_path / "out")
    for path in (tmp_path / "out" / "images").iterdir():
        path.unlink()
    write_masks = Store.write_masks

    def stopped(self, case_id, view, *arguments):
        if (case_id, view) == ("s0002", "lateral"):
            raise KeyboardInterrupt
        return write_masks(self, case_id, view, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write_masks", stopped)
        with pytest.raises(KeyboardInterrupt):
            build(cases, tmp_path / "out", SMALL, workers=1)
    # Its old record went first, so s0002 is made again although both of its pictures stand.
    assert not (tmp_path / "out" / "records" / "s0002.json").exists()
    assert build(cases, tmp_path / "out", SMALL, workers=1).made == 3
    assert content_of(tmp_path / "out") == before


def test_broken_cases_are_recorded_and_the_others_go_on(tmp_path, subjects):
    (subjects / "s0001" / "ct.nii.gz").write_bytes(b"no picture")
    for mask in (subjects / "s0002" / "segmentations").iterdir():
        mask.unlink()
    (subjects / "s0002" / "segmentations").rmdir()
    (subjects / "s0003" / "ct.nii.gz").unlink()
    done = build(find_cases(subjects), tmp_path / "out", SMALL, workers=2)
    assert done.statuses == {"failed": 3, "kept": 1}
    reasons = {
        record["case"]: [each["message"] for each in record["reasons"] if each["severity"] == "drop"]
        for record in done.store.records()
    }
    assert "this is no file that drrproj reads" in reasons["s0001"][0]
    assert reasons["s0002"][0].startswith("a CT without labels")
    assert reasons["s0003"][0].startswith("labels without a CT")
    assert {sample.case_id for sample in done.store.samples()} == {"s0004"}
    # Mended, and built again: only what failed is made.
    hu, _, affine = small_case(1)
    save(subjects / "s0001" / "ct.nii.gz", hu, affine)
    again = build(find_cases(subjects), tmp_path / "out", SMALL, workers=1)
    assert (again.made, again.statuses) == (3, {"failed": 2, "kept": 2})


def test_what_quality_drops_has_no_pictures(tmp_path):
    chest = files("drrproj") / "data" / "chest_3mm"
    hu, labels, affine = small_case(1)
    save(tmp_path / "ct.nii.gz", hu, affine)
    save(tmp_path / "labels.nii.gz", labels, affine)
    cases = [
        Case("chest", chest / "ct.nii.gz", chest / "labels.nii.gz", "p1"),
        Case("block", tmp_path / "ct.nii.gz", tmp_path / "labels.nii.gz", "p2"),
    ]
    done = build(cases, tmp_path / "out", Recipe(Poses(shape=(32, 32))), workers=1)
    assert done.statuses == {"dropped": 1, "kept": 1}
    block, whole = done.store.records()
    assert {"rule": "few_ribs", "severity": "drop"}.items() <= block["reasons"][0].items()
    assert (block["status"], block["views"], whole["status"], len(whole["views"])) == ("dropped", {}, "kept", 2)
    assert contents(done.store).reasons["few_ribs"] == 1
    assert build(cases, tmp_path / "out", Recipe(Poses(shape=(32, 32))), workers=1).made == 0


def test_a_full_disk_ends_the_build_and_it_can_be_resumed(tmp_path, subjects, monkeypatch):
    cases = find_cases(subjects)
    build(cases, tmp_path / "undisturbed", SMALL, workers=1)
    write_masks, calls = Store.write_masks, []

    def full(self, case_id, *arguments):
        calls.append(case_id)
        if len(calls) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_masks(self, case_id, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write_masks", full)
        with pytest.raises(OSError, match=r"No space left.*free space.*run the same again"):
            build(cases, tmp_path / "out", SMALL, workers=1)
    assert [record["case"] for record in open_store(tmp_path / "out").records()] == ["s0001"]
    assert any("no record speaks of it" in problem for problem in problems(open_store(tmp_path / "out")))
    assert build(cases, tmp_path / "out", SMALL, workers=1).made == 3
    assert content_of(tmp_path / "out") == content_of(tmp_path / "undisturbed")


def test_another_configuration_is_refused_with_what_differs(tmp_path, subjects):
    cases = find_cases(subjects)
    build(cases, tmp_path / "out", SMALL, workers=1)
    before = content_of(tmp_path / "out")
    with pytest.raises(ValueError, match=r"shape is \[48, 40\] there and \[32, 32\] here; window is null there"):
        build(
            cases, tmp_path / "out", dataclasses.replace(SMALL, poses=Poses(shape=(32, 32)), window=(0, 3)), workers=1
        )
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty and holds no dataset"):
        build(cases, tmp_path / "other", SMALL, workers=1)
    assert content_of(tmp_path / "out") == before


def test_two_builds_of_one_process_are_two_builds(tmp_path, subjects):
    cases = find_cases(subjects)
    asked = []

    def told(total):
        # In the middle of the first.
        for out in (tmp_path / "out", tmp_path / "subjects" / ".." / "out"):
            with pytest.raises(BlockingIOError, match="another build is at work"):
                build(cases, out, SMALL, workers=1)
            asked.append(out)
        return lambda status: None

    build(cases, tmp_path / "out", SMALL, workers=1, told=told)
    assert len(asked) == 2
    build(cases, tmp_path / "out", SMALL, workers=1)


def test_two_builds_in_one_folder_are_one_too_many(tmp_path, subjects):
    build(find_cases(subjects), tmp_path / "out", SMALL, workers=1)
    # Record locks are between processes, so the other build is one.
    code = f"""
import sys, time
from pathlib import Path
from drrproj.dataset.lock import only_build
with only_build(Path({str(tmp_path / "out")!r})):
    print("locked", flush=True)
    sys.stdin.readline()
"""
    python = [sys.executable, "-c", code]
    with subprocess.Popen(python, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(BlockingIOError, match="another build is at work"):
            build(find_cases(subjects), tmp_path / "out", SMALL, workers=1)
        other.communicate(b"\n")
    assert build(find_cases(subjects), tmp_path / "out", SMALL, workers=1).made == 0


def test_a_worker_that_dies_ends_the_build_with_a_sentence(tmp_path, subjects):
    class Dying(concurrent.futures.Executor):
        def submit(self, work, /, *arguments):
            job = concurrent.futures.Future()
            if arguments[0].case_id == "s0001":
                job.set_result(work(*arguments))
            else:
                job.set_exception(BrokenProcessPool())
            return job

    with pytest.raises(ChildProcessError, match=r"worker process died.*s000[234].*fewer workers"):
        build(find_cases(subjects), tmp_path / "out", SMALL, executor=Dying())
    again = build(find_cases(subjects), tmp_path / "out", SMALL, workers=1)
    assert (again.statuses, again.found) == ({"kept": 4}, 4)
    assert list(problems(again.store)) == []


def test_progress_says_how_many_how_fast_and_until_when(monkeypatch):
    clock = iter((100.0, 101.0, 110.0, 120.0))
    monkeypatch.setattr("drrproj.dataset.progress.time.monotonic", lambda: next(clock))

    class Noon(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2030, 1, 31, 12, 0, 0, tzinfo=tz)

    days = types.SimpleNamespace(datetime=Noon, timedelta=datetime.timedelta)
    monkeypatch.setattr("drrproj.dataset.progress.datetime", days)
    said = io.StringIO()
    progress = Progress(3, said)
    for status in ("kept", "failed", "kept"):
        progress.advance(status)
    progress.close()
    first, last = said.getvalue().splitlines()
    # One second in it is too early to speak; at 10 of 15 expected seconds, 5 are left.
    assert first == "2 of 3 cases (1 failed, 1 kept), 5.00 s a case, ends 2030-01-31 12:00:05"
    assert last == "3 of 3 cases (1 failed, 2 kept), 6.67 s a case"


def test_check_finds_what_was_done_to_the_files(tmp_path, subjects, capsys):
    out = tmp_path / "out"
    store = build(find_cases(subjects), out, SMALL, workers=1).store
    (out / "images" / "s0001_frontal.png").write_bytes(b"half")
    (out / "masks" / "s0002_frontal.npz").unlink()
    whole = (out / "masks" / "s0003_frontal.npz").read_bytes()
    (out / "masks" / "s0003_frontal.npz").write_bytes(whole[: len(whole) // 2])
    (out / "masks" / "s0004_frontal.npz").write_bytes((out / "masks" / "s0001_lateral.npz").read_bytes())
    (out / "images" / "stray.png").write_bytes(b"")
    record = json.loads((out / "records" / "s0004.json").read_text())
    (out / "records" / "s0004.json").write_text(json.dumps({**record, "configuration": "another"}))
    found = list(problems(store))
    for each in ("s0001_frontal", "s0002_frontal", "s0003_frontal", "s0004_frontal", "images/stray.png"):
        assert sum(each in problem for problem in found) == 1, found
    assert any(problem.startswith("s0004: its record is of another configuration") for problem in found)
    assert len(found) == 6
    assert main(["dataset", "check", str(out)]) == 2
    assert "6 problems" in capsys.readouterr().err


def test_any_damaged_byte_of_masks_is_told_in_a_sentence(tmp_path, subjects):
    store = build(find_cases(subjects)[:1], tmp_path / "out", SMALL, workers=1).store
    frontal = tmp_path / "out" / "masks" / "s0001_frontal.npz"
    (tmp_path / "out" / "masks" / "s0001_lateral.npz").unlink()
    whole, refused = frontal.read_bytes(), 0
    for place in range(len(whole)):
        # One bit makes flags, such as that of encryption; all bits make numbers out of range.
        for flipped in (1, 255):
            frontal.write_bytes(whole[:place] + bytes([whole[place] ^ flipped]) + whole[place + 1 :])
            *damaged, last = problems(store)
            assert last.startswith("s0001_lateral: no such file")
            if damaged:
                (told,) = damaged
                said = f"s0001_frontal: {frontal}: these are no masks of a dataset, or damaged ones: "
                assert told.startswith(said), f"byte {place}, {told}"
                assert told.endswith("; delete it and build again")
                refused += 1
    assert refused > len(whole)


def test_export_of_damaged_masks_is_refused_in_a_sentence(tmp_path, subjects, capsys):
    build(find_cases(subjects)[:1], tmp_path / "out", SMALL, workers=1)
    path = tmp_path / "out" / "masks" / "s0001_frontal.npz"
    whole = bytearray(path.read_bytes())
    # The method of compression of the first entry of the archive's table.
    whole[whole.index(b"PK\x01\x02") + 10] = 247
    path.write_bytes(whole)
    capsys.readouterr()
    assert main(["dataset", "export", str(tmp_path / "out"), "--format", "coco", "-o", str(tmp_path / "coco")]) == 2
    err = capsys.readouterr().err
    assert f"{path}: these are no masks of a dataset, or damaged ones: That compression method" in err
    assert err.count("\n") == 1


def test_check_goes_on_where_a_file_cannot_be_read_or_a_folder_is_gone(tmp_path, subjects):
    store = build(find_cases(subjects)[:2], tmp_path / "out", SMALL, workers=1).store
    shutil.rmtree(tmp_path / "out" / "masks")
    picture = tmp_path / "out" / "images" / "s0001_frontal.png"
    picture.unlink()
    picture.mkdir()
    first, *others = problems(store)
    assert first.startswith("s0001_frontal: ")
    assert "Is a directory" in first
    assert [problem.split(":")[0] for problem in others] == ["s0001_lateral", "s0002_frontal", "s0002_lateral"]


def test_merged_parts_are_the_dataset_made_at_once(tmp_path, subjects):
    cases = find_cases(subjects)
    build(cases, tmp_path / "whole", SMALL, workers=1)
    build(cases[:1], tmp_path / "a", SMALL, workers=1)
    build(cases[1:], tmp_path / "b", SMALL, workers=1)
    with pytest.raises(ValueError, match="a is given 2 times; give each part once"):
        merge([tmp_path / "a", tmp_path / "b", tmp_path / "b" / ".." / "a"], tmp_path / "merged")
    merge([tmp_path / "a", tmp_path / "b"], tmp_path / "merged")
    assert content_of(tmp_path / "merged") == content_of(tmp_path / "whole")
    with pytest.raises(ValueError, match="case s0001 is in"):
        merge([tmp_path / "a", tmp_path / "whole"], tmp_path / "twice")
    build(cases[:1], tmp_path / "c", Recipe(Poses(shape=(8, 8))), workers=1)
    with pytest.raises(ValueError, match="another configuration"):
        merge([tmp_path / "a", tmp_path / "c"], tmp_path / "mixed")


def test_an_interrupted_merge_goes_on(tmp_path, subjects, monkeypatch):
    cases = find_cases(subjects)
    build(cases, tmp_path / "whole", SMALL, workers=1)
    parts = [tmp_path / "a", tmp_path / "b"]
    build(cases[:2], parts[0], SMALL, workers=1)
    build(cases[2:], parts[1], SMALL, workers=1)
    # Four files and a record a case; the module's name stands for the function, too.
    module = sys.modules[merge.__module__]
    for stop in range(1, 17):
        out, copied = tmp_path / f"merged{stop}", []

        def stopping(path, copied=copied, stop=stop):
            copied.append(path)
            # A kill leaves half a file behind.
            if len(copied) == stop:
                path.with_name(f".{path.name}.0123abcd.part").write_bytes(b"half")
                raise KeyboardInterrupt
            return replaced(path)

        with monkeypatch.context() as patch:
            patch.setattr(module, "replaced", stopping)
            with pytest.raises(KeyboardInterrupt):
                merge(parts, out)
            assert "did not end" in unfinished(open_store(out))
            merge(parts, out)
            assert unfinished(open_store(out)) is None
        assert content_of(out) == content_of(tmp_path / "whole")
        # What was whole is not copied again.
        assert len(copied) == 16 + (stop - 1) % 4 + 1


def test_a_merge_copies_what_was_lost_and_refuses_what_differs(tmp_path, subjects, capsys):
    cases = find_cases(subjects)
    build(cases[:2], tmp_path / "a", SMALL, workers=1)
    build(cases[2:], tmp_path / "b", SMALL, workers=1)
    parts, out = [str(tmp_path / "a"), str(tmp_path / "b")], tmp_path / "merged"
    merge(parts, out)
    before = content_of(out)
    (out / "images" / "s0002_frontal.png").unlink()
    (out / "records" / "s0004.json").unlink()
    assert main(["dataset", "merge", *parts, "-o", str(out)]) == 0
    assert content_of(out) == before
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    with pytest.raises(ValueError, match=rf"case s0001 is in {tmp_path / 'a'} and in {tmp_path / 'copy'}; take"):
        merge([*parts, tmp_path / "copy"], out)
    record = json.loads((out / "records" / "s0003.json").read_text())
    (out / "records" / "s0003.json").write_text(json.dumps({**record, "status": "failed", "views": {}}))
    before = content_of(out)
    capsys.readouterr()
    assert main(["dataset", "merge", *parts, "-o", str(out)]) == 2
    assert capsys.readouterr().err == (
        f"drrproj: error: case s0003 is in {out} and in {parts[1]}, and their records differ; take it out of one\n"
    )
    assert content_of(out) == before


def test_merging_refuses_a_part_that_lost_a_file_before_it_copies_any(tmp_path, subjects, capsys):
    cases = find_cases(subjects)
    build(cases[:2], tmp_path / "a", SMALL, workers=1)
    build(cases[2:], tmp_path / "b", SMALL, workers=1)
    (tmp_path / "b" / "masks" / "s0004_lateral.npz").unlink()
    capsys.readouterr()
    command = ["dataset", "merge", str(tmp_path / "a"), str(tmp_path / "b"), "-o", str(tmp_path / "merged")]
    assert main(command) == 2
    assert capsys.readouterr().err == (
        f"drrproj: error: {tmp_path / 'b'} has lost masks/s0004_lateral.npz of case s0004; build it again, or delete "
        "that record\n"
    )
    assert not (tmp_path / "merged").exists()


def test_merging_refuses_a_patient_on_both_sides(tmp_path, subjects):
    cases = [Case(case.case_id, case.ct, case.labels, "p1") for case in find_cases(subjects)[:2]]
    lists = Splits(lists={"train": ["s0001"], "test": ["s0002"]})
    for case, folder in zip(cases, ("a", "b"), strict=True):
        with pytest.warns(
            UserWarning, match="1 of 2 ids and ranges that the splits list are of no case and no patient"
        ):
            build([case], tmp_path / folder, SMALL, lists, workers=1)
    with pytest.raises(ValueError, match="patient p1 would be on both sides"):
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "merged")


def test_merging_refuses_a_patient_in_two_spellings(tmp_path, subjects):
    for case, patient, part in zip(find_cases(subjects)[:2], ("p1", "P1"), ("a", "b"), strict=True):
        build([dataclasses.replace(case, patient_id=patient)], tmp_path / part, SMALL, workers=1)
    with pytest.raises(ValueError, match=r"two patients differ in capitals, .* 'p1' and 'P1'"):
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_contents_count_what_is_there(tmp_path, subjects):
    (subjects / "s0001" / "ct.nii.gz").unlink()
    store = build(find_cases(subjects), tmp_path / "out", SMALL, Splits({"train": 1.0}), workers=1).store
    held = contents(store)
    assert held.statuses == {"failed": 1, "kept": 3}
    assert held.splits == {"train": (3, 3, 6)}
    hearts = [sample.masks()["heart"].mean() for sample in store.samples() if sample.view == "lateral"]
    found = next(each for each in held.classes if (each.name, each.view) == ("heart", "lateral"))
    assert (found.images, found.share) == (3, 1.0)
    assert found.area == pytest.approx(np.median(hearts))


@pytest.mark.parametrize("ask", [contents, formats.from_store, lambda given: report(given, "page.html")])
def test_a_folder_is_no_store(ask):
    with pytest.raises(TypeError, match=r"store must be a Store, as open_store\(folder\) gives it; got 'xrays'"):
        ask("xrays")


def test_the_commands_in_a_row(tmp_path, capsys):
    chest = files("drrproj") / "data" / "chest_3mm"
    (tmp_path / "manifest.csv").write_text(
        f"case,ct,labels,patient\nchest,{chest / 'ct.nii.gz'},{chest / 'labels.nii.gz'},LIDC-IDRI-0001\n"
    )
    out = str(tmp_path / "out")
    built = ["dataset", "build", str(tmp_path / "manifest.csv"), "-o", out, "--shape", "64", "64", "--view", "frontal"]
    assert main([*built, "--view", "tilted=PA:20,10", "--split", "train=1"]) == 0
    assert main(["dataset", "check", out]) == 0
    assert main(["dataset", "stats", out]) == 0
    printed = capsys.readouterr().out
    assert "2 X-rays, all whole" in printed
    assert main(["dataset", "stats", out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["splits"]["train"] == {"patients": 1, "cases": 1, "images": 2}
    assert main(["dataset", "show", out, "chest", "-o", str(tmp_path / "pictures"), "--overlay", "heart"]) == 0
    with Image.open(tmp_path / "pictures" / "chest_tilted.png") as shown:
        # The picture, and beside it what its colour means.
        assert shown.height == 64
        assert shown.width > 64
    assert main(["dataset", "export", out, "--format", "paxray", "-o", str(tmp_path / "paxray")]) == 0
    assert len(list((tmp_path / "paxray" / "images").glob("*.png"))) == 2
    assert main(["dataset", "export", out, "--format", "npz", "--split", "test", "-o", str(tmp_path / "npz")]) == 2
    assert "no pictures in split 'test'" in capsys.readouterr().err
    assert main(["dataset", "report", out, "-o", str(tmp_path / "page.html")]) == 0
    assert "tilted" in (tmp_path / "page.html").read_text()
    assert main(built) == 2
    assert "of another configuration" in capsys.readouterr().err


def test_show_of_a_case_that_is_not_there_names_the_ones_that_are(tmp_path, subjects, capsys):
    out = tmp_path / "out"
    build(find_cases(subjects)[:2], out, SMALL, workers=1)
    capsys.readouterr()
    assert main(["dataset", "show", str(out), "s001", "-o", str(tmp_path / "pictures")]) == 2
    assert capsys.readouterr().err == f"drrproj: error: {out}: no case 's001'; did you mean s0001 or s0002?\n"
    assert main(["dataset", "show", str(out), "chest", "-o", str(tmp_path / "pictures")]) == 2
    there = f"it has 2 cases, named as the files in {out / 'records'}"
    assert capsys.readouterr().err == f"drrproj: error: {out}: no case 'chest'; {there}\n"


@pytest.mark.parametrize(
    ("choices", "error", "message"),
    [
        (
            {"taxonomy": "totalsegmentator"},
            TypeError,
            "taxonomy of a recipe must be of type Taxonomy; got 'totalsegmentator'",
        ),
        ({"attenuation": "bilinear"}, TypeError, "attenuation of a recipe must be of type Attenuation; got 'bilinear'"),
        ({"poses": None}, TypeError, "poses of a recipe must be of type Poses; got None"),
        ({"quality": 3}, TypeError, "quality of a recipe must be of type QualityLimits; got 3"),
        ({"window": (1, 2, 3)}, ValueError, r"window must be two line integrals, low below high; got \(1, 2, 3\)"),
        ({"window": "ab"}, ValueError, "window must be two line integrals, low below high; got 'ab'"),
        ({"window": (2, 1)}, ValueError, "window must be two line integrals, low below high"),
        ({"min_path_mm": None}, ValueError, "min_path_mm must not be negative; got None"),
    ],
)
def test_recipes_that_would_fail_every_case_are_refused(choices, error, message):
    with pytest.raises(error, match=message):
        Recipe(**choices)


def test_what_is_no_recipe_and_no_splits_is_refused_and_cases_may_come_one_by_one(tmp_path, subjects):
    cases = find_cases(subjects)
    for choices, message in (
        ({"recipe": Poses()}, r"recipe must be Recipe\(\.\.\.\); got"),
        ({"splits": {"train": 1.0}}, r"splits must be Splits\(\.\.\.\); got"),
    ):
        with pytest.raises(TypeError, match=message):
            build(cases, tmp_path / "out", **choices)
    assert not (tmp_path / "out").exists()
    assert build(iter(cases[:1]), tmp_path / "out", SMALL, workers=1).statuses == {"kept": 1}
