"""The same build through dask.distributed."""

from __future__ import annotations

import sys
import warnings
from dataclasses import replace

import pytest
from faulty_poses import Held
from small_cases import SMALL, write_subjects

from drrproj.dataset import machines
from drrproj.dataset.build import build
from drrproj.dataset.cases import find_cases
from drrproj.dataset.machines import dask_executor


def test_a_cluster_makes_the_same_dataset(tmp_path):
    pytest.importorskip("distributed", reason='dask.distributed comes with pip install "drrproj[cluster]"')
    cases = find_cases(write_subjects(tmp_path / "subjects", range(1, 6)))
    (tmp_path / "subjects" / "s0002" / "ct.nii.gz").write_bytes(b"broken")
    build(cases, tmp_path / "here", SMALL, workers=1)
    with dask_executor("local", workers=2) as executor:
        done = build(cases, tmp_path / "there", SMALL, executor=executor)
    assert done.statuses == {"failed": 1, "kept": 4}
    here, there = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*.*") if path.name != "log.jsonl"}
        for root in (tmp_path / "here", tmp_path / "there")
    )
    assert here.keys() == there.keys()
    assert [name for name in here if here[name] != there[name]] == []


def test_without_dask_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    said = 'a cluster of machines needs distributed, .* pip install distributed, or the extra "cluster"'
    with pytest.raises(ModuleNotFoundError, match=said), dask_executor("local"):
        pass


@pytest.fixture
def cluster():
    """A scheduler without workers."""
    distributed = pytest.importorskip("distributed", reason='it comes with pip install "drrproj[cluster]"')
    with distributed.LocalCluster(n_workers=0, dashboard_address=None) as cluster:
        yield cluster


def test_a_cluster_without_workers_is_told_of(cluster, monkeypatch):
    monkeypatch.setattr(machines, "_PATIENCE_S", 0.1)
    address = cluster.scheduler_address
    said = rf"the cluster at {address} has no worker, also not after 0.1 s; start some .*--nthreads 1"
    with pytest.raises(TimeoutError, match=said), dask_executor(address):
        pass
    said = rf"the cluster at {address} has its own .* leave out workers"
    with pytest.raises(ValueError, match=said), dask_executor(address, workers=1):
        pass


def test_a_cluster_that_lost_its_workers_is_told_of_and_waited_for(tmp_path, cluster, monkeypatch):
    told = []

    def show(message, *_, **__):
        told.append(str(message))
        cluster.scale(1)

    monkeypatch.setattr(machines, "_PATIENCE_S", 0)
    monkeypatch.setattr(machines, "_SECONDS_BETWEEN_LOOKS", 0.05)
    cases = find_cases(write_subjects(tmp_path / "subjects", range(1, 4)))
    with sys.modules["distributed"].Client(cluster) as client, warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        done = build(cases, tmp_path / "out", SMALL, executor=client.get_executor(pure=False))
    assert done.statuses == {"kept": 3}
    address = cluster.scheduler_address
    # Once, until a worker came.
    assert told == [
        f"the cluster at {address} has had no worker for 0 s, and the build waits for one: start some (dask worker "
        f"{address} --nthreads 1), or end it with Ctrl-C; the cases made so far are whole"
    ]


def test_a_scheduler_that_goes_is_told_of_and_what_was_made_stays(tmp_path):
    distributed = pytest.importorskip("distributed", reason='it comes with pip install "drrproj[cluster]"')
    cases = find_cases(write_subjects(tmp_path / "subjects", range(1, 5)))
    recipe = replace(SMALL, poses=Held(shape=(48, 40), memory=str(tmp_path / "made")))
    cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None)
    said = "the cluster does not answer any more; the cases made so far are whole"
    with dask_executor(cluster.scheduler_address) as executor, pytest.raises(ConnectionError, match=said):
        build(cases, tmp_path / "out", recipe, executor=executor, told=lambda count: lambda status: cluster.close())
    done = build(cases, tmp_path / "out", SMALL, workers=1)
    assert done.statuses == {"kept": 4}
    assert done.made == 3
