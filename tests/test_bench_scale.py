"""What a dataset costs: the bench refuses a case that is not whole, and the sums follow from its figures."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from importlib.resources import files
from pathlib import Path

import nibabel
import numpy as np
import pytest

BENCH = Path(__file__).resolve().parent.parent / "bench"
PAGE = BENCH.parent / "docs" / "dataset_scale.md"
CHEST = files("drrproj") / "data" / "chest_3mm"
pytestmark = pytest.mark.skipif(not BENCH.is_dir(), reason="the benchmarks are not here")


@pytest.fixture
def dataset(bench):
    pytest.importorskip("resource", reason="the bench asks the system for CPU seconds as Unix tells them")
    return bench("dataset")


@pytest.fixture
def chest(tmp_path):
    for name in ("ct.nii.gz", "labels.nii.gz", "labels.json"):
        shutil.copyfile(CHEST / name, tmp_path / name)
    return tmp_path / "ct.nii.gz", tmp_path / "labels.nii.gz"


def figures_of(seconds, read, slices):
    worker = {"slices": slices, "cpu_seconds": seconds, "libraries_mib": 60.2, "peak_mib": 187.5, "times_ct": 2.913}
    return {
        "machine": {"cores": 2, "cpu": "CPU", "date": "2000-01-02"},
        "one_case": {
            "shape": [512, 512, slices],
            "structures": 89,
            "views": 2,
            "pixels": [512, 512],
            "cpu_seconds": seconds,
            "bytes_read": read,
            "bytes_written": {"images": 500_000, "masks": 200_000, "records": 30_000},
            "files_written": {"images": 2, "masks": 2, "records": 1},
            "milliseconds_to_read_a_record": 0.15,
            "times_reading": 0.9,
        },
        "worker": worker,
        "worker_of_more_slices": {**worker, "slices": 3 * slices, "cpu_seconds": 2.5 * seconds, "peak_mib": 375.0},
        "pool": {
            "cases": 30,
            "processes": 2,
            "cpu_seconds_a_case": {"one process, one core": 0.8, "pool": 0.9},
            "times_faster": {"one process, one core": 1.69},
        },
    }


def test_the_sums_follow_from_the_measured_parts(bench):
    summary = bench("scale_summary")
    figures = figures_of(seconds=0.72, read=36_000_000, slices=100)
    lines = list(summary.sums(figures))
    assert lines[2:] == [
        "| CPU | 2 core hours | 200 core hours |",
        "| read | 360 GB | 36 TB |",
        "| written | 7.3 GB, 50,000 files | 730 GB, 5,000,000 files |",
        "| 2 cores, reading 100 MB/s | 60 minutes | 4.2 days |",
        "| 16 cores, reading 800 MB/s | 7.5 minutes | 12 hours |",
        "| 32 cores, reading 1.6 GB/s | 3.8 minutes | 6.2 hours |",
        "| 320 cores, reading 16 GB/s | 22 s | 38 minutes |",
        "| reading the records when a build goes on | 1.5 s | 2.5 minutes |",
    ]
    text = "\n".join(summary.tight(figures))
    assert "takes in 50 MB/s" in text
    assert "full with 20 cores" in " ".join(text.split())
    assert "16 workers need 3.15 GB for CTs of this size, 6.29 GB for 300 slices" in text
    measured = " ".join("\n".join(summary.measured(figures)).split())
    assert "| CPU: read, judge, derive, project, write | 0.72 s |" in measured
    assert "3 times on itself, in 300 slices, takes 2.5 times as much" in measured
    assert "made 30 such cases 1.7 times as fast as one process" in measured


def test_the_page_is_that_of_the_figures_and_other_figures_change_it(bench):
    summary = bench("scale_summary")
    text = PAGE.read_text(encoding="utf-8")
    assert summary.page(text, summary.figures()) == text
    other = summary.page(text, figures_of(seconds=1.0, read=1_000_000, slices=7))
    assert "512 x 512 x 7 voxels" in other
    assert summary.page(other, summary.figures()) == text


def test_a_page_without_a_mark_is_refused(bench):
    summary = bench("scale_summary")
    text = PAGE.read_text(encoding="utf-8").replace("<!-- sums", "<!-- some")
    with pytest.raises(SystemExit, match="no mark <!-- sums"):
        summary.page(text, summary.figures())


def test_no_place_of_a_machine_is_in_the_figures():
    assert "/" not in (BENCH / "dataset.json").read_text(encoding="utf-8")


def test_what_one_case_takes_is_that_of_a_whole_case(dataset, chest, tmp_path):
    found = dataset.one_case(*chest, tmp_path / "out", rounds=1)
    assert found["shape"] == [120, 120, 110]
    assert found["structures"] == 88
    assert found["bytes_read"] == sum(path.stat().st_size for path in chest)
    assert found["files_written"] == {"images": 2, "masks": 2, "records": 1}
    assert min(found["bytes_written"].values()) > 1000
    assert found["cpu_seconds"] > 0
    assert found["milliseconds_to_read_a_record"] > 0


def test_a_case_that_is_not_kept_is_not_measured(dataset, chest, tmp_path):
    (tmp_path / "labels.json").write_text('{"1": "spleen"}')
    with pytest.raises(SystemExit, match="WRONG: case000 is dropped"):
        dataset.one_case(*chest, tmp_path / "out", rounds=1)


def test_a_lost_picture_and_a_lost_view_are_wrong(dataset, chest, tmp_path):
    store = dataset.built(*chest, tmp_path / "out")
    cases = dataset.copies_of(*chest, 1)
    next((store.path / "images").iterdir()).unlink()
    with pytest.raises(SystemExit, match="no such file"):
        dataset.assert_whole(store, cases)
    record = json.loads(store.record_path("case000").read_text())
    del record["views"]["lateral"]
    store.write_record(record)
    with pytest.raises(SystemExit, match=r"these views, with so many masks: \{'frontal'"):
        dataset.assert_whole(store, cases)


def test_medians_of_the_pool_s_rounds(dataset, chest, tmp_path, monkeypatch):
    """A clock that gives 1, 3 and 20 s to the rounds of one process, and 2 s to those of the pool."""
    spent = {1: iter([1.0, 7.0, 3.0, 7.0, 20.0, 7.0]), 2: iter([2.0] * 3)}
    now = [0.0]

    def build(cases, out, workers):
        now[0] += next(spent[workers])
        store = real.open_store(kept)
        out.mkdir()
        return type("Summary", (), {"store": store})

    real = importlib.import_module("drrproj.dataset.store")
    kept = dataset.built(*chest, tmp_path / "kept").path
    monkeypatch.setattr(dataset, "build", build)
    monkeypatch.setattr(dataset, "default_threads", lambda: 2)
    monkeypatch.setattr(dataset.time, "perf_counter", lambda: now[0])
    found = dataset.pool(*chest, tmp_path, count=1, rounds=3)
    assert found["times_faster"] == {"one process, one core": 1.5, "one process, all cores": 3.5}
    assert found["seconds_a_case"] == {"one process, one core": 3.0, "one process, all cores": 7.0, "pool": 2.0}


def test_a_stack_holds_the_voxels_and_the_names(dataset, chest, tmp_path):
    image = nibabel.load(chest[0])
    # As CTs of DICOM come: unsigned, with an intercept.
    raw = (np.asanyarray(image.dataobj) + 1024).astype(np.uint16)
    image = nibabel.Nifti1Image(raw, image.affine)
    image.header.set_slope_inter(1, -1024)
    nibabel.save(image, chest[0])
    ct, labels = dataset.stacked(*chest, tmp_path / "stacked")
    once, thrice = (dataset.read_volume(path).array for path in (chest[0], ct))
    assert thrice.shape == (*once.shape[:2], 3 * once.shape[2])
    assert thrice.dtype == once.dtype
    for part in range(3):
        assert (thrice[:, :, part * once.shape[2] : (part + 1) * once.shape[2]] == once).all()
    assert dataset.read_labels(labels).names == dataset.read_labels(chest[1]).names


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell the peak of a process")
def test_a_worker_of_its_own_tells_its_peak(dataset, chest, tmp_path):
    found = dataset.worker(*chest, tmp_path / "out")
    assert found["slices"] == 110
    assert 10 < found["libraries_mib"] < found["peak_mib"]
    assert found["times_ct"] == pytest.approx(found["peak_mib"] / found["ct_mib"], rel=0.02)
    assert found["cpu_seconds"] > 0


@pytest.mark.parametrize("arguments", [[], ["ct.nii.gz"], ["a", "b", "c"]])
def test_other_than_two_files_are_refused_in_a_sentence(dataset, monkeypatch, capsys, arguments):
    monkeypatch.setattr(sys, "argv", ["dataset.py", *arguments])
    with pytest.raises(SystemExit) as stopped:
        dataset.main()
    assert stopped.value.code == 2
    assert "name one CT and one label file" in capsys.readouterr().err
