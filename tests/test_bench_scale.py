"""What a dataset costs: the bench refuses a case that is not whole."""

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
CHEST = files("drrproj") / "data" / "chest_3mm"
pytestmark = pytest.mark.skipif(not BENCH.is_dir(), reason="the benchmarks are not here")


@pytest.fixture
def bench(monkeypatch):
    """Imports a module of the bench; its neighbours have names that others may want."""
    monkeypatch.syspath_prepend(BENCH)
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(BENCH)):
            del sys.modules[name]


@pytest.fixture
def dataset(bench):
    pytest.importorskip("resource", reason="the bench asks the system for CPU seconds as Unix tells them")
    return bench("dataset")


@pytest.fixture
def chest(tmp_path):
    for name in ("ct.nii.gz", "labels.nii.gz", "labels.json"):
        shutil.copyfile(CHEST / name, tmp_path / name)
    return tmp_path / "ct.nii.gz", tmp_path / "labels.nii.gz"


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
