"""A figure says which engine it is of: the commit of the tree that the bench lies in."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parent.parent / "bench"
pytestmark = pytest.mark.skipif(not BENCH.is_dir(), reason="the benchmarks are not here")


@pytest.fixture
def machine(bench):
    return bench("machine")


def git(tree, *command):
    who = ("-c", "user.name=me", "-c", "user.email=me@here")
    return subprocess.run(["git", "-C", tree, *who, *command], check=True, capture_output=True, text=True).stdout


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not here")
def test_the_commit_is_that_of_the_tree_and_says_what_was_changed_since(machine, monkeypatch, tmp_path):
    tree = tmp_path / "tree"
    (tree / "bench").mkdir(parents=True)
    file = tree / "bench" / "machine.py"
    file.write_text("one")
    monkeypatch.setattr(machine, "__file__", str(file))
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "of another project, in whose folder this one was unpacked")
    assert machine.describe()["commit"] is None
    git(tree, "init", "-q")
    git(tree, "add", ".")
    git(tree, "commit", "-q", "-m", "first")
    head = git(tree, "rev-parse", "HEAD").strip()
    commit = machine.describe()["commit"]
    assert len(commit) >= 7
    assert head.startswith(commit)
    file.write_text("two")
    assert machine.describe()["commit"] == f"{commit}-dirty"


def test_there_is_no_commit_without_git(machine, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert machine.describe()["commit"] is None
