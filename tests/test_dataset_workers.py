"""Who makes the cases: threads, processes that die, scripts without a guard, workers that are not of one kind."""

from __future__ import annotations

import concurrent.futures
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib.resources import files
from multiprocessing import get_context
from pathlib import Path

import pytest
from faulty_poses import Deadly, Warned
from small_cases import SMALL, content_of, save, small_case, write_subjects

from drrproj import backends
from drrproj.dataset import one_case
from drrproj.dataset.build import build
from drrproj.dataset.cases import find_cases
from drrproj.dataset.check import problems
from drrproj.dataset.machines import dask_executor

DIED = "its process died, most likely for want of memory"


@pytest.fixture
def subjects(tmp_path):
    return write_subjects(tmp_path / "subjects", range(1, 7))


def records_of(folder):
    return {path.name: path.read_bytes() for path in (folder / "records").iterdir()}


def test_workers_beside_an_executor_are_refused(tmp_path, subjects):
    with concurrent.futures.ThreadPoolExecutor(1) as executor, pytest.raises(ValueError, match="leave out workers"):
        build(find_cases(subjects), tmp_path / "out", SMALL, workers=7, executor=executor)
    assert not (tmp_path / "out").exists()


def test_a_case_that_kills_its_process_fails_and_the_others_go_on(tmp_path, subjects):
    cases = find_cases(subjects)
    done = build(cases, tmp_path / "out", replace(SMALL, poses=Deadly(shape=(48, 40), case="s0003")), workers=2)
    assert done.statuses == {"failed": 1, "kept": 5}
    assert list(done.left_out) == ["s0003"]
    assert done.left_out["s0003"][1].startswith(DIED)
    assert list(problems(done.store)) == []
    # With more memory, that is.
    again = build(cases, tmp_path / "out", SMALL, workers=1)
    assert (again.made, again.statuses) == (1, {"kept": 6})


def test_a_case_that_kills_its_process_as_it_is_made_again_keeps_its_pictures(tmp_path, subjects):
    cases = find_cases(subjects)
    build(cases, tmp_path / "out", SMALL, workers=1)
    (tmp_path / "out" / "masks" / "s0003_lateral.npz").unlink()
    (tmp_path / "out" / "records" / "s0004.json").write_text("{")
    before = content_of(tmp_path / "out")
    poses = Deadly(shape=(48, 40), case="s0003")
    said = r"2 cases are to be made again, which cannot be done now; .* s0003 \(its process.*, s0004 \(no such file"
    shutil.rmtree(subjects / "s0004")
    with pytest.warns(UserWarning, match=said):
        done = build(cases, tmp_path / "out", replace(SMALL, poses=poses), workers=2)
    assert done.statuses == {"kept": 4, "stale": 2}
    assert content_of(tmp_path / "out") == before


def test_a_case_whose_process_died_by_chance_is_made(tmp_path, subjects):
    poses = Deadly(shape=(48, 40), case="s0003", memory=str(tmp_path / "died"))
    done = build(find_cases(subjects), tmp_path / "out", replace(SMALL, poses=poses), workers=2)
    assert (tmp_path / "died").exists()
    assert done.statuses == {"kept": 6}


def test_a_case_that_kills_a_cluster_s_workers_fails_and_the_others_go_on(tmp_path, subjects, monkeypatch):
    pytest.importorskip("distributed", reason='it comes with pip install "drrproj[cluster]"')
    import dask

    cases = find_cases(subjects)
    recipe = replace(SMALL, poses=Deadly(shape=(48, 40), case="s0003"))
    monkeypatch.setenv("DASK_LOGGING__DISTRIBUTED", "critical")
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}), dask_executor("local", workers=2) as executor:
        done = build(cases, tmp_path / "out", recipe, executor=executor)
    assert done.statuses == {"failed": 1, "kept": 5}
    assert done.left_out["s0003"][1].startswith(DIED)


def test_threads_make_the_records_of_one_process(tmp_path, subjects):
    cases = find_cases(subjects)
    recipe = replace(SMALL, poses=Warned(shape=(48, 40)))
    build(cases, tmp_path / "one", recipe, workers=1)
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        build(cases, tmp_path / "threads", recipe, executor=threads)
    assert records_of(tmp_path / "threads") == records_of(tmp_path / "one")
    for name, record in records_of(tmp_path / "one").items():
        said = [reason["message"] for reason in json.loads(record)["reasons"]]
        assert f"this is {name.removesuffix('.json')}" in said


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such mask")
@pytest.mark.parametrize("kind", [concurrent.futures.ThreadPoolExecutor, concurrent.futures.ProcessPoolExecutor])
def test_workers_of_an_executor_that_was_given_still_hear_ctrl_c(tmp_path, subjects, kind):
    spawned = {"mp_context": get_context("spawn")} if kind is concurrent.futures.ProcessPoolExecutor else {}
    with kind(1, **spawned) as executor:
        build(find_cases(subjects)[:1], tmp_path / "out", SMALL, executor=executor)
        assert signal.SIGINT not in executor.submit(signal.pthread_sigmask, signal.SIG_BLOCK, ()).result()


def test_a_cluster_larger_than_this_machine_has_work(tmp_path, monkeypatch):
    monkeypatch.setenv("DRRPROJ_NUM_THREADS", "1")
    cases = find_cases(write_subjects(tmp_path / "subjects", range(1, 33)))
    waiting, most = [], []

    class Cluster(concurrent.futures.Executor):
        def submit(self, work, /, *arguments):
            waiting.append((concurrent.futures.Future(), work, arguments))
            return waiting[-1][0]

    def wait(jobs, return_when):
        most.append(len(jobs))
        job, work, arguments = waiting.pop(0)
        job.set_result(work(*arguments))
        return {job}, set(jobs) - {job}

    monkeypatch.setattr(concurrent.futures, "wait", wait)
    done = build(cases, tmp_path / "out", SMALL, executor=Cluster())
    assert done.statuses == {"kept": 32}
    assert max(most) == 32


def test_a_pool_that_breaks_is_told_of_by_few_names(tmp_path):
    cases = find_cases(write_subjects(tmp_path / "subjects", range(1, 9)))

    class Broken(concurrent.futures.Executor):
        def submit(self, work, /, *arguments):
            job = concurrent.futures.Future()
            job.set_exception(concurrent.futures.BrokenExecutor())
            return job

    said = "while it made one of s0001, s0002, s0003, s0004, s0005 and 3 others; the cases made so far are whole"
    with pytest.raises(ChildProcessError, match=said):
        build(cases, tmp_path / "out", SMALL, executor=Broken())


def test_workers_elsewhere_find_files_named_from_here(tmp_path, monkeypatch):
    hu, labels, affine = small_case(1)
    save(tmp_path / "raw" / "imagesTr" / "a_0000.nii.gz", hu, affine)
    save(tmp_path / "raw" / "labelsTr" / "a.nii.gz", labels, affine)
    table = {"labels": {"lung": 1, "heart": 2, "spine": 3}, "channel_names": {"0": "CT"}}
    (tmp_path / "raw" / "dataset.json").write_text(json.dumps(table))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    cases = find_cases("raw")

    class Elsewhere(concurrent.futures.Executor):
        def submit(self, work, /, *arguments):
            job = concurrent.futures.Future()
            with monkeypatch.context() as patch:
                patch.chdir(tmp_path / "elsewhere")
                job.set_result(work(*arguments))
            return job

    done = build(cases, "out", SMALL, executor=Elsewhere())
    assert done.left_out == {}


@pytest.mark.parametrize("key", ["drrproj", "backend"])
def test_a_worker_of_another_kind_is_refused(tmp_path, subjects, monkeypatch, key):
    class Elsewhere(concurrent.futures.Executor):
        """Has another version, or another backend."""

        def submit(self, work, /, *arguments):
            job = concurrent.futures.Future()
            here = one_case.made_by()
            with monkeypatch.context() as patch:
                patch.setattr(one_case, "made_by", lambda: {**here, key: "another"})
                try:
                    job.set_result(work(*arguments))
                except Exception as error:
                    job.set_exception(error)
            return job

    with pytest.raises(ChildProcessError, match=r"a worker on .* another.* install the same drrproj for all workers"):
        build(find_cases(subjects), tmp_path / "out", SMALL, executor=Elsewhere())
    assert list((tmp_path / "out" / "records").iterdir()) == []


def test_a_record_names_the_instruction_set(tmp_path, subjects):
    store = build(find_cases(subjects)[:1], tmp_path / "out", SMALL, workers=1).store
    assert [record["instruction_set"] for record in store.records()] == [
        backends.instruction_set(store.configuration["made_by"]["backend"])
    ]


SCRIPT = """
from pathlib import Path
from drrproj.dataset.build import build
from drrproj.dataset.cases import find_cases
from drrproj.dataset.one_case import Recipe
from drrproj.dataset.poses import Poses
from drrproj.dataset.quality import QualityLimits
recipe = Recipe(Poses(shape=(48, 40)), quality=QualityLimits(drop=()), taxonomy=None)
"""
CALL = 'print(build(find_cases("subjects"), "out", recipe, workers=2).statuses)'


def run_script(folder, text):
    (folder / "script.py").write_text(SCRIPT + text)
    command = [sys.executable, "script.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_a_script_without_a_guard_is_told_of_it(tmp_path, subjects):
    done = run_script(tmp_path, CALL)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "ChildProcessError: worker processes end as they start. Each imports the script that called build(): if the "
        'call does not stand under `if __name__ == "__main__":` there, put it there; or pass workers=1'
    )
    assert "another build" not in done.stderr
    # One traceback, of the script's own call.
    assert done.stderr.count("Traceback") == 1
    assert list((tmp_path / "out" / "records").iterdir()) == []
    done = run_script(tmp_path, f'if __name__ == "__main__":\n    {CALL}')
    assert (done.returncode, done.stdout) == (0, "{'kept': 6}\n")


def test_the_recipe_of_the_documentation_builds_with_workers(tmp_path):
    page = Path(__file__).parent.parent / "docs" / "datasets.md"
    (recipe,) = re.findall(r"```python\n([^`]*__main__[^`]*)```", page.read_text(encoding="utf-8"))
    chest = files("drrproj") / "data" / "chest_3mm"
    rows = [f"{case},{chest / 'ct.nii.gz'},{chest / 'labels.nii.gz'},p" for case in "ab"]
    (tmp_path / "manifest.csv").write_text("\n".join(["case,ct,labels,patient", *rows]))
    (tmp_path / "script.py").write_text(recipe)
    command = [sys.executable, "script.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "{'kept': 2} {}\n"), done.stderr


# Python reads this as it starts. A worker says that it does, and starts no further until Ctrl-C was pressed.
STARTING = """
import pathlib, sys, time
if "--multiprocessing-fork" in sys.orig_argv:
    here = pathlib.Path(__file__).parent
    (here / "starting").touch()
    while not (here / "pressed").exists():
        time.sleep(0.001)
"""


def signalled_build(tmp_path, command, site, has_begun, send):
    """Run a build whose Pythons read ``site`` as they start, signal it when it has begun; return code and stderr."""
    (tmp_path / "sitecustomize.py").write_text(site)
    paths = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        while process.poll() is None and not has_begun():
            time.sleep(0.001)
        send(process.pid)
        (tmp_path / "pressed").touch()
        _, err = process.communicate(timeout=60)
    return process.returncode, err


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such signal")
def test_ctrl_c_while_processes_start_is_one_line(tmp_path, subjects):
    command = [sys.executable, "-m", "drrproj", "dataset", "build", str(subjects), "-o", str(tmp_path / "out")]
    command += ["--shape", "48", "40", "--keep-all", "--taxonomy", "labels", "--workers", "2"]
    code, err = signalled_build(
        tmp_path,
        command,
        STARTING,
        (tmp_path / "starting").exists,
        lambda build: os.killpg(build, signal.SIGINT),  # as a terminal sends it: to all
    )
    assert err == "drrproj: error: interrupted\n"
    assert code == 130


# The second worker alone waits, so that cases are made, and the build does not end.
STARTING_BUT_THE_FIRST = """
import pathlib, sys, time
if "--multiprocessing-fork" in sys.orig_argv:
    here = pathlib.Path(__file__).parent
    try:
        (here / "first").touch(exist_ok=False)
    except FileExistsError:
        while not (here / "pressed").exists():
            time.sleep(0.001)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such signal")
@pytest.mark.parametrize("to", ["the build", "all its processes", "all its processes as they start"])
def test_a_build_that_a_scheduler_ends_says_one_line_and_goes_on_later(tmp_path, subjects, to):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "drrproj", "dataset", "build", str(subjects), "-o", str(out)]
    command += ["--shape", "48", "40", "--keep-all", "--taxonomy", "labels", "--workers", "2"]
    at_start = to.endswith("start")
    begun, what = (tmp_path, "starting") if at_start else (out, "records/*.json")
    code, err = signalled_build(
        tmp_path,
        command,
        STARTING if at_start else STARTING_BUT_THE_FIRST,
        lambda: any(begun.glob(what)),
        lambda build: (os.kill if to == "the build" else os.killpg)(build, signal.SIGTERM),
    )
    assert err == (
        "drrproj: error: terminated; the cases made so far are whole: run the same again, which goes on from there\n"
    )
    assert code == 143
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list((out / "records").iterdir())) == 6
