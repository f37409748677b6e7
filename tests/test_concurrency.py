"""Calls from several threads at once and from forked workers; each in a process of its own, as both can abort one."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys

import pytest

from drrproj import backends

SCENE = """
import sys, hashlib, warnings
import numpy as np, drrproj
from drrproj import backends
name, instruction_set, module = sys.argv[1:]
if module != backends._MODULES[name]:  # the CUDA backend emulated
    sys.modules[backends._MODULES[name]] = __import__(module, fromlist=["trace"])
if instruction_set != "None":
    backends.use_instruction_set(instruction_set)
ct = drrproj.Volume(np.arange(30 * 31 * 32, dtype=np.int16).reshape(30, 31, 32), np.eye(4))
labels = drrproj.LabelVolume((ct.array % 7).astype(np.uint8), np.eye(4))
views = drrproj.Geometry.concatenate([drrproj.Geometry.radiograph(v, ct, shape=(64, 50)) for v in ("PA", "LL")])

def digest(_=None):
    shot = drrproj.project(ct, views, labels=labels, backend=name, threads=2)
    outputs = (shot.line_integral, shot.path_length.array, shot.masks.packed)
    return hashlib.sha256(b"".join(output.tobytes() for output in outputs)).hexdigest()
"""

THREADS = """
from concurrent.futures import ThreadPoolExecutor
expected = digest()
with ThreadPoolExecutor(4) as pool:
    assert set(pool.map(digest, range(24))) == {expected}
"""

ONE_PROJECTOR = """
from concurrent.futures import ThreadPoolExecutor
projector = drrproj.Projector(ct, labels=labels, backend=name, threads=2)

def shots(turn):
    wanted = views if turn % 2 else views[1]
    shot = projector.project(wanted)
    outputs = (shot.line_integral, shot.path_length.array, shot.masks.packed)
    return turn % 2, b"".join(output.tobytes() for output in outputs), str(shot.record)

expected = {shots(0), shots(1)}
with ThreadPoolExecutor(4) as pool:
    assert set(pool.map(shots, range(24))) == expected
"""

FIRST_CALLS = """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(4) as pool:
    assert len(set(pool.map(digest, range(4)))) == 1
"""

FORKS = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
warnings.simplefilter("ignore", DeprecationWarning)
expected = digest()
with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
    assert set(pool.map(digest, range(4), timeout=60)) == {expected}
"""


def run(backend, code, folder):
    instruction_set, module = backends.instruction_set(backend), backends.choose(backend)[1].__name__
    script = folder / "scene.py"
    script.write_text(SCENE + code)
    # -I would drop PYTHONPATH; the script's own folder is on sys.path, the source tree is not.
    done = subprocess.run(
        [sys.executable, str(script), backend, str(instruction_set), module],
        cwd=folder,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_calls_from_several_threads_at_once_give_the_same_bits(backend, tmp_path):
    run(backend, THREADS, tmp_path)


def test_one_projector_called_from_several_threads_at_once_gives_the_same_bits(backend, tmp_path):
    run(backend, ONE_PROJECTOR, tmp_path)


def test_first_calls_from_several_threads_at_once_give_the_same_bits(backend, tmp_path):
    run(backend, FIRST_CALLS, tmp_path)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
def test_forked_workers_of_a_process_that_has_projected_give_the_same_bits(backend, tmp_path):
    if backends.choose(backend)[1].__name__ == "drrproj.backends._cuda":
        pytest.skip("cuda: a forked process cannot use the GPU of its parent")
    run(backend, FORKS, tmp_path)
