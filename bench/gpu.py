"""Tests the CUDA backend on a machine with a GPU and measures it there. Never run so far: no GPU was at hand.

With nvcc, CMake, scikit-build-core, pybind11, pytest and CuPy or torch (JAX, diffct and nanodrr are tried too) and no
registry, for an H200; other GPUs have other numbers:

    pip install --no-build-isolation --no-deps -e . --config-settings=cmake.define.CMAKE_CUDA_ARCHITECTURES=90-real
    python bench/gpu.py --json gpu.json              tests, compute-sanitizer, benchmark
    python bench/gpu.py --only tests                 or sanitizer, or bench: one of them a command, if commands end soon

Each part ends after --limit seconds, and the next one runs whatever the one before found; what failed is said together
at the end, and makes the exit code 1.

The tests are all that ask for a backend, on the device, and those of arrays that are on it (`tests/test_gpu.py`). Times
are `stream_ms_per_view`, of calls queued on end on one stream between two events on it: kernels, the memory they fill
cleared, and the gaps in which the stream waits for the host, which vanish where a call is long; and `wall_ms` by the
clock of the host, of a single call that is waited for. Reading and writing a copy of the volume on the device is the
ceiling beside them. `first_call_ms` is of a process of its own (`bench/gpu_first_call.py`). One view of every case is
compared with the CPU first. Peers that are installed take turns with drrproj on cases of theirs. Figures are written
row by row.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import importlib
import importlib.util
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gpu_peers
import numpy as np
import phantom

from drrproj import Geometry, LabelVolume, Projector, Volume, attenuation, backends

ROOT = Path(__file__).resolve().parent.parent
REPEATS = 20
DIFFCT_MS_PER_VIEW, DIFFCT_GB_PER_S = 1.57, 1555.0
"""What diffct 2.5.0 publishes for 512^3 to 1024 x 768, 360 views, on an A100, and the bandwidth of the slowest A100."""


class Case(NamedTuple):
    """One call: what is projected, to what, from where."""

    name: str
    size: tuple[int, int, int]
    detector: tuple[int, int]
    views: int
    outputs: tuple[str, ...] = ("line_integral",)


LARGE, CUBE = (512, 512, 400), (512, 512, 512)
LABELS = ("line_integral", "path_length")
MOST_ERROR = 2e-6
MOST_MASK_PIXELS = 1e-4
"""Of all pixels of masks: rays that meet a structure for less than a thousandth of a millimetre may differ."""
CASES = (
    *(Case("image", size, (side, side), views) for size in (LARGE, CUBE) for side in (512, 1024) for views in (1, 36)),
    Case("image", LARGE, (512, 512), 360),
    Case("image, as diffct", CUBE, (768, 1024), 360),
    *(Case("image and 104 path lengths", LARGE, (512, 512), views, LABELS) for views in (1, 36)),
    Case("104 masks", LARGE, (512, 512), 36, ("mask",)),
)


class Gpu:
    """Arrays, events and memory of CuPy or, without it, torch."""

    def __init__(self) -> None:
        self.is_cupy = importlib.util.find_spec("cupy") is not None
        self.module: Any = importlib.import_module("cupy" if self.is_cupy else "torch")
        if not self.module.cuda.is_available():
            raise SystemExit(f"{self.module.__name__} sees no GPU")

    def array(self, host: np.ndarray[Any, Any]) -> Any:
        return self.module.asarray(host) if self.is_cupy else self.module.as_tensor(host, device="cuda")

    def host(self, array: Any) -> Any:
        return array.get() if self.is_cupy else array.cpu().numpy()

    def wait(self) -> None:
        self.module.cuda.Device().synchronize() if self.is_cupy else self.module.cuda.synchronize()

    def milliseconds(self, call: Callable[[], object]) -> float:
        """Time of the stream for a call, mean of calls on end."""
        event = self.module.cuda.Event
        start, stop = (event(), event()) if self.is_cupy else (event(enable_timing=True), event(enable_timing=True))
        start.record()
        for _ in range(REPEATS):
            call()
        stop.record()
        stop.synchronize()
        elapsed = self.module.cuda.get_elapsed_time(start, stop) if self.is_cupy else start.elapsed_time(stop)
        return float(elapsed) / REPEATS


@functools.cache
def _hu(size: tuple[int, int, int]) -> Any:
    return phantom.noise_hu(size)


@functools.cache
def _ids(size: tuple[int, int, int]) -> Any:
    return phantom.labels(size)


def measured(gpu: Gpu, case: Case) -> dict[str, Any]:
    """Compare a case's middle view with the CPU, and measure it."""
    hu, affine = _hu(case.size), phantom.affine(case.size)
    ids = _ids(case.size) if case.outputs != ("line_integral",) else None
    views = Geometry.concatenate(
        [
            Geometry.c_arm(
                sdd=1500,
                sod=1000,
                isocenter=Volume(hu, affine).center,
                primary_angle=360 * view / case.views,
                secondary_angle=0,
                pixel_spacing=600 / case.detector[0],
                shape=case.detector,
            )
            for view in range(case.views)
        ]
    )
    options: dict[str, Any] = {"attenuation": attenuation.bilinear(60), "outputs": case.outputs}
    on_gpu = None if ids is None else LabelVolume(gpu.array(ids), affine)
    projector = Projector(Volume(gpu.array(hu), affine), labels=on_gpu, **options)
    shot = projector.project(views)
    on_host = None if ids is None else LabelVolume(ids, affine)
    truth = Projector(Volume(hu, affine), labels=on_host, backend="cpu", **options).project(views[len(views) // 2])
    errors = _errors(gpu, shot[len(views) // 2], truth)
    wrong = [what for what, error in errors.items() if not error <= _most(what)]
    del shot, truth
    wall = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        projector.project(views)
        gpu.wait()
        wall.append(1e3 * (time.perf_counter() - began))
    stream = gpu.milliseconds(lambda: projector.project(views))
    # A copy reads every byte and writes it.
    image = gpu.array(np.zeros(case.size, np.float32))
    copy = gpu.milliseconds(lambda: image.copy() if gpu.is_cupy else image.clone())
    return {
        "stream_ms_per_view": stream / case.views,
        "wall_ms": statistics.median(wall),
        "errors": errors,
        "wrong": wrong,
        "copy_gb_per_s": 2 * 4e-6 * float(np.prod(case.size)) / copy,
    }


def bench(ends: float, json_path: Path | None) -> list[str]:
    """Measure every case whose middle view is right, then the peers; return what was wrong."""
    figures: dict[str, Any] = {"machine": _machine(), "first_call": [], "cases": [], "peers": []}

    def keep(kind: str, row: dict[str, Any]) -> None:
        print(json.dumps(row), flush=True)
        figures[kind].append(row)
        if json_path is not None:
            json_path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")

    keep("first_call", _in_time(ends, _first_call))
    gpu = Gpu()
    for case in CASES:
        keep("cases", case._asdict() | _in_time(ends, functools.partial(measured, gpu, case)))
    for peer in gpu_peers.CASES:
        row = peer._asdict() | {"rendering": peer.rendering.__name__}
        keep("peers", row | _in_time(ends, functools.partial(gpu_peers.compare, peer)))
    figures["targets"] = _targets(figures["cases"], figures["machine"]["stated_gb_per_s"] or np.nan)
    print(json.dumps(figures["targets"], indent=1))
    if json_path is not None:
        json_path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    wrong = []
    for row in figures["first_call"] + figures["cases"]:
        name = f"bench: {row.get('name', 'first call')}"
        wrong += [f"{name}: {row['failed']}"] if "failed" in row else []
        wrong += [f"{name}: wrong against the CPU: {', '.join(row['wrong'])}"] if row.get("wrong") else []
    return wrong


def _in_time(ends: float, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what is measured, or why it was not: one row that fails does not take the others with it."""
    if time.monotonic() > ends:
        return {"failed": "not measured: the time was up"}
    try:
        return measure()
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"}


def _first_call() -> dict[str, Any]:
    asked = [sys.executable, str(Path(__file__).with_name("gpu_first_call.py"))]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=120)
    return json.loads(done.stdout) if done.returncode == 0 else {"failed": done.stderr[-2000:]}


def _errors(gpu: Gpu, shot: Any, truth: Any) -> dict[str, float]:
    """How far each output is from the CPU's: relative L2, or of masks the share of pixels that differ."""
    errors = {}
    for what, expected in truth.images.items():
        found = shot.images[what]
        if what == "masks":
            differ = np.bitwise_xor(gpu.host(found.packed), expected.packed)
            errors[what] = float(np.unpackbits(differ).mean())
            continue
        image, right = (each if what == "line_integral" else each.array for each in (found, expected))
        errors[what] = float(np.linalg.norm(gpu.host(image) - right) / np.linalg.norm(right))
    return errors


def _most(what: str) -> float:
    return MOST_MASK_PIXELS if what == "masks" else MOST_ERROR


def _targets(rows: list[dict[str, Any]], stated_gb_per_s: float) -> dict[str, Any]:
    """What was to be reached, and what was; None where a figure is missing."""

    def one(name: str, views: int, what: str) -> float:
        return next(
            (
                row.get(what, np.nan)
                for row in rows
                if row["name"] == name and row["views"] == views and row["detector"][0] in (512, 768)
            ),
            np.nan,
        )

    image, labels, as_diffct = (
        one(name, views, "stream_ms_per_view")
        for name, views in (("image", 36), (CASES[-2].name, 36), ("image, as diffct", 360))
    )
    published = DIFFCT_MS_PER_VIEW * DIFFCT_GB_PER_S / stated_gb_per_s
    reached = {
        "0.5 ms a view in a batch": image,
        "3 times diffct's rate, scaled by bandwidth": published / as_diffct,
        "labels at most 2.5 times the image": labels / image,
    }
    return {target: None if np.isnan(figure) else figure for target, figure in reached.items()}


def _stated_gb_per_s() -> float | None:
    """What data sheets call a GPU's bandwidth, as of the A100 above; None where the driver does not tell."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    kilohertz, bits = ctypes.c_int(0), ctypes.c_int(0)
    driver.cuInit(0)
    # CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE and _GLOBAL_MEMORY_BUS_WIDTH.
    failed = [driver.cuDeviceGetAttribute(ctypes.byref(to), code, 0) for to, code in ((kilohertz, 36), (bits, 37))]
    # Two transfers in a clock.
    return None if any(failed) or not kilohertz.value else 2e-6 * kilohertz.value * bits.value / 8


def _machine() -> dict[str, Any]:
    asked = ["nvidia-smi", "--query-gpu=name,driver_version,clocks.max.sm,memory.total", "--format=csv,noheader"]
    known = shutil.which(asked[0]) is not None
    said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() if known else "not told"
    return {"gpu": said, "stated_gb_per_s": _stated_gb_per_s(), "date": time.strftime("%Y-%m-%d")}


def run_tests(ends: float, keyword: str, *command: str) -> str | None:
    """Run the tests that ask for a backend on the device, and those of arrays on it; say what is wrong."""
    # JAX would take three quarters of the memory that the tests beside it need.
    environment = {**os.environ, "DRRPROJ_REQUIRE": "cuda,cpu", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    files = [str(path) for path in sorted((ROOT / "tests").glob("test_exact_*.py"))]
    files += [str(ROOT / "tests" / f"test_{name}.py") for name in ("backends", "project", "projector", "gpu")]
    asked = [*command, sys.executable, "-m", "pytest", "-q", "--continue-on-collection-errors", *files, "-k", keyword]
    # A group of its own, so that at the end of the time all of it goes.
    running = subprocess.Popen(asked, cwd=ROOT, env=environment, start_new_session=True)
    try:
        code = running.wait(max(1.0, ends - time.monotonic()))
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        return "the time was up"
    return f"exit code {code}" if code else None


def tests(ends: float) -> list[str]:
    """Run all of them on the device; return what was wrong."""
    wrong = run_tests(ends, "(cuda and not emulated) or test_gpu")
    return [f"tests: {wrong}"] if wrong else []


def sanitizer(ends: float) -> list[str]:
    """Run a few tests, of every kernel, under memcheck and initcheck; return what was wrong.

    The kernels share no memory within a block, so that racecheck would have nothing to look at.
    """
    program = shutil.which("compute-sanitizer")
    if program is None:
        return ["sanitizer: there is no compute-sanitizer on the PATH"]
    # Without what takes long, fills the memory that the tool needs itself, or is another library's affair.
    some = (
        "(cuda and not emulated and (shares or depths or any_affine or each_output_alone or any_number_of_labels or "
        "thousand_labels or large_tile)) or (test_gpu and not jax and not pieces and not dlpack)"
    )
    # Libraries ask the driver for what it may not have; memcheck would count those answers.
    tools = {"memcheck": ("--report-api-errors", "no"), "initcheck": ()}
    wrong = []
    for left, (tool, options) in zip((2, 1), tools.items(), strict=True):
        share = time.monotonic() + (ends - time.monotonic()) / left
        found = run_tests(share, some, program, "--tool", tool, *options, "--error-exitcode", "9")
        wrong += [f"{tool}: {found}"] if found else []
    return wrong


def main() -> int:
    """Test, check, measure, write; return what is not 0 when something failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("tests", "sanitizer", "bench"), help="one of the three parts")
    parser.add_argument("--limit", type=float, default=540.0, metavar="SECONDS", help="for each part (540)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    arguments = parser.parse_args()
    reason = backends.why_unavailable("cuda")
    if reason is not None:
        print(f"cuda: {reason}")
        return 1
    parts: dict[str, Callable[[float], list[str]]] = {
        "tests": tests,
        "sanitizer": sanitizer,
        "bench": lambda ends: bench(ends, arguments.json),
    }
    wrong = []
    for name, run in parts.items():
        if arguments.only in (None, name):
            wrong += run(time.monotonic() + arguments.limit)
    for complaint in wrong:
        print(f"FAILED {complaint}")
    return int(bool(wrong))


if __name__ == "__main__":
    raise SystemExit(main())
