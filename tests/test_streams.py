"""What a stream is told to do later reads memory that is still there, and writes where nobody else does by then.

The emulator of CUDA defers all work until somebody waits for it, copies from the host and to it included.
"""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from device_stand_ins import stand_in
from test_cuda import EVERYTHING, arrays_of, assert_close, scene
from test_device_arrays import moved

from drrproj import Projector, project

# The views of each: few, many, and few again, so that what a call works in grows while earlier calls still wait.
ALL = (0, 1, 2)
CALLS = ((0,), ALL, (1,), (2,), ALL, (0,))


@pytest.fixture
def wait(emulated, monkeypatch):
    """Streams defer their work; call what this returns to wait for all of them."""
    monkeypatch.setenv("DRRPROJ_EMULATED_DEFERRED", "1")
    synchronize = ctypes.CDLL(emulated.__file__).drrproj_emulated_synchronize
    yield synchronize
    # A test that failed before it waited would leave its work to the next one, on memory that is gone by then.
    synchronize()


@pytest.fixture(params=["cupy", "torch"])
def library(request, monkeypatch):
    return stand_in(request.param, monkeypatch, 0x7E00)


def expected(monkeypatch, outputs=EVERYTHING):
    """Every output of all views together and of each alone, without deferred work."""
    ct, anatomy, geometry = scene()
    with monkeypatch.context() as patch:
        patch.delenv("DRRPROJ_EMULATED_DEFERRED")
        projector = Projector(ct, labels=anatomy, outputs=outputs, backend="cuda")
        return {views: arrays_of(projector.project(geometry[list(views)])) for views in set(CALLS)}


def assert_equal(library, shot, right):
    for name, array in arrays_of(shot).items():
        found = array if library is None else library.to_host(array)
        np.testing.assert_array_equal(found, right[name], err_msg=name)


@pytest.mark.parametrize("outputs", [EVERYTHING, ("line_integral",)])
def test_arrays_on_the_host_are_there_when_a_call_returns(wait, monkeypatch, outputs):
    right = expected(monkeypatch, outputs)
    ct, labels, geometry = scene()
    assert_equal(None, project(ct, geometry, labels=labels, outputs=outputs, backend="cuda"), right[ALL])
    projector = Projector(ct, labels=labels, outputs=outputs, backend="cuda")
    for views in CALLS:
        assert_equal(None, projector.project(geometry[list(views)]), right[views])


def test_one_call_leaves_nothing_behind_that_its_stream_still_needs(library, wait, monkeypatch):
    right = expected(monkeypatch)
    ct, labels, geometry = scene()
    on_gpu, anatomy = moved(library, ct, labels)
    shot = project(on_gpu, geometry, labels=anatomy, outputs=EVERYTHING)
    wait()
    assert_equal(library, shot, right[ALL])


@pytest.mark.parametrize("streams", [1, 6])
def test_calls_that_wait_on_streams_do_not_disturb_each_other(library, wait, monkeypatch, streams):
    right = expected(monkeypatch)
    ct, labels, geometry = scene()
    on_gpu, anatomy = moved(library, ct, labels)
    projector = Projector(on_gpu, labels=anatomy, outputs=EVERYTHING)
    shots = []
    for number, views in enumerate(CALLS):
        library.stream = 0x7F00 + number % streams
        shots.append((views, projector.project(geometry[list(views)])))
    wait()
    for views, shot in shots:
        assert_equal(library, shot, right[views])


def test_a_call_of_a_warm_projector_does_not_wait_for_its_stream(library, wait):
    ct, _, geometry = scene()
    on_gpu, _ = moved(library, ct, scene()[1])
    projector = Projector(on_gpu)
    warm = projector.project(geometry)
    wait()
    shot = projector.project(geometry)
    assert not library.to_host(shot.line_integral).any()
    wait()
    np.testing.assert_array_equal(library.to_host(shot.line_integral), library.to_host(warm.line_integral))


def test_project_itself_returns_when_all_is_done(library, wait, monkeypatch):
    right = expected(monkeypatch)
    ct, labels, geometry = scene()
    on_gpu, anatomy = moved(library, ct, labels)
    assert_equal(library, project(on_gpu, geometry, labels=anatomy, outputs=EVERYTHING), right[ALL])


@pytest.mark.filterwarnings("ignore:the GPU's memory")
@pytest.mark.parametrize("name", ["host", "cupy"])
def test_pieces_follow_each_other_on_every_stream(wait, monkeypatch, name):
    right = expected(monkeypatch)
    ct, labels, geometry = scene()
    library = None if name == "host" else stand_in(name, monkeypatch, 0x7E00)
    monkeypatch.setenv("DRRPROJ_EMULATED_BYTES", "40000")
    on_gpu, anatomy = (ct, labels) if library is None else moved(library, ct, labels)
    projector = Projector(on_gpu, labels=anatomy, outputs=EVERYTHING, backend="cuda")
    shots = []
    for number, views in enumerate(CALLS):
        if library is not None:
            library.stream = 0x7F00 + number
        shots.append((views, projector.project(geometry[list(views)])))
    wait()
    for views, shot in shots:
        assert shot.record["backend"]["pieces"] > 1
        found = {key: array if library is None else library.to_host(array) for key, array in arrays_of(shot).items()}
        assert_close(found, right[views], 0.0)


def test_several_threads_do_not_disturb_each_other(wait, monkeypatch):
    right = expected(monkeypatch)
    ct, labels, geometry = scene()
    projector = Projector(ct, labels=labels, outputs=EVERYTHING, backend="cuda")
    calls = CALLS * 3
    with ThreadPoolExecutor(4) as pool:
        shots = list(pool.map(lambda views: projector.project(geometry[list(views)]), calls))
    for views, shot in zip(calls, shots, strict=True):
        assert_equal(None, shot, right[views])
