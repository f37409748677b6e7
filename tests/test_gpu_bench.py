"""The script for the first machine with a GPU, before it gets there: a part that fails takes no other with it."""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from device_stand_ins import stand_in

BENCH = Path(__file__).resolve().parent.parent / "bench"
pytestmark = pytest.mark.skipif(not BENCH.is_dir(), reason="the benchmarks are not here")


@pytest.fixture
def gpu(bench):
    return bench("gpu")


class Gpu:
    """CuPy's stand-in, and no clock."""

    is_cupy = True

    def __init__(self, library):
        self._library = library

    def array(self, host):
        return self._library.to_gpu(host)

    def host(self, array):
        return self._library.to_host(array)

    def wait(self):
        pass

    def milliseconds(self, call):
        return 1.0


@pytest.fixture
def small(gpu, emulated, monkeypatch):
    """Small cases on the emulator."""
    monkeypatch.setattr(gpu, "Gpu", lambda: Gpu(stand_in("cupy", monkeypatch)))
    monkeypatch.setattr(gpu, "_first_call", lambda: {"first_call_ms": 1.0})
    monkeypatch.setattr(gpu, "REPEATS", 1)
    size = (12, 10, 11)
    cases = [
        gpu.Case("image", size, (512, 8), 36),
        gpu.Case("image and 104 path lengths", size, (512, 8), 36, gpu.LABELS),
        gpu.Case("104 masks", size, (8, 8), 2, ("mask",)),
    ]
    monkeypatch.setattr(gpu, "CASES", cases)
    return gpu


def test_every_row_is_written_whatever_fails(small, monkeypatch, tmp_path):
    def fails(case):
        raise RuntimeError("it has no kernel for this device")

    monkeypatch.setattr(small.gpu_peers, "compare", fails)
    monkeypatch.setattr(small, "_ids", fails)
    wrong = small.bench(time.monotonic() + 1000, tmp_path / "gpu.json")
    figures = json.loads((tmp_path / "gpu.json").read_text())
    image, paths, masks = figures["cases"]
    assert image["wrong"] == []
    assert image["stream_ms_per_view"] == 1 / 36
    said = "RuntimeError: it has no kernel for this device"
    assert [row["failed"] for row in (paths, masks, *figures["peers"])] == [said] * 4
    assert wrong == [f"bench: image and 104 path lengths: {said}", f"bench: 104 masks: {said}"]
    assert figures["targets"]["0.5 ms a view in a batch"] == 1 / 36
    assert figures["targets"]["labels at most 2.5 times the image"] is None


def test_a_wrong_answer_is_said(small, monkeypatch):
    monkeypatch.setattr(small, "MOST_ERROR", -1.0)
    monkeypatch.setattr(small.gpu_peers, "CASES", ())
    monkeypatch.setattr(small, "CASES", small.CASES[:1])
    monkeypatch.setattr(small, "_targets", lambda rows, bandwidth: {})
    wrong = small.bench(time.monotonic() + 1000, None)
    assert wrong == ["bench: image: wrong against the CPU: line_integral"]


def test_the_bandwidth_is_the_one_of_data_sheets(gpu, monkeypatch):
    class Driver:
        def cuInit(self, flags):
            return 0

        def cuDeviceGetAttribute(self, to, attribute, device):
            to._obj.value = {36: 3_201_000, 37: 6144}[attribute]
            return 0

    monkeypatch.setattr(gpu.ctypes, "CDLL", lambda name: Driver())
    assert gpu._stated_gb_per_s() == pytest.approx(4917, abs=1)
    monkeypatch.setattr(Driver, "cuDeviceGetAttribute", lambda *_: 1)
    assert gpu._stated_gb_per_s() is None


def test_what_there_is_no_time_for_is_said(small, monkeypatch, tmp_path):
    wrong = small.bench(time.monotonic() - 1, tmp_path / "gpu.json")
    figures = json.loads((tmp_path / "gpu.json").read_text())
    assert [row["failed"] for row in figures["cases"]] == ["not measured: the time was up"] * 3
    assert len(wrong) == 4


def test_all_parts_run_and_are_reported_together(gpu, emulated, monkeypatch, capsys):
    ran = []
    for part in ("tests", "sanitizer"):
        monkeypatch.setattr(gpu, part, lambda ends, part=part: ran.append(part) or [f"{part}: no"])
    monkeypatch.setattr(gpu, "bench", lambda ends, path: ran.append("bench") or [])
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    assert gpu.main() == 1
    assert ran == ["tests", "sanitizer", "bench"]
    assert "FAILED tests: no\nFAILED sanitizer: no\n" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--only", "bench"])
    assert gpu.main() == 0


def test_a_part_ends_when_its_time_is_up(gpu):
    sleeping = (sys.executable, "-c", "import time; time.sleep(600)")
    assert gpu.run_tests(time.monotonic() + 0.1, "nothing", *sleeping) == "the time was up"


def test_a_peer_that_is_not_installed_is_skipped_before_anything_is_made(gpu, monkeypatch):
    peers = gpu.gpu_peers
    monkeypatch.setattr(peers.peer_work, "build", None)
    monkeypatch.setitem(sys.modules, "torch", np)
    monkeypatch.setitem(sys.modules, "diffct", None)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("diffct")
    assert peers.compare(peers.CASES[0]) == {"skipped": "diffct is not installed"}
