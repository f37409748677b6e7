"""The same build through dask.distributed."""

from __future__ import annotations

import sys

import pytest
from small_cases import write_subjects

from drrproj.dataset.build import build
from drrproj.dataset.cases import find_cases
from drrproj.dataset.machines import dask_executor
from drrproj.dataset.one_case import Recipe
from drrproj.dataset.poses import Poses
from drrproj.dataset.quality import QualityLimits

SMALL = Recipe(Poses(shape=(48, 40)), quality=QualityLimits(drop=()), taxonomy=None)


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
    with pytest.raises(ValueError, match=r'pip install "drrproj\[cluster\]"'), dask_executor("local"):
        pass
