"""Tests the CUDA backend on a machine with a GPU and measures it there. Never run so far: no GPU was at hand.

    pip install -e ".[test]" cupy-cuda13x torch      with nvcc on the PATH; one library is enough, jax is tried too
    pip install diffct nanodrr                       to be measured beside (bench/gpu_peers.py)
    python bench/gpu.py --json gpu.json              tests, compute-sanitizer, benchmark
    python bench/gpu.py --only bench                 or tests, or sanitizer

The tests are all that ask for a backend, on the device, and those of arrays that are on it (`tests/test_gpu.py`). Times
are of calls queued on end on one stream: `kernel_ms` between two events on it, `wall_ms` by the clock of the host, of a
single call that is waited for. Reading and writing a copy of the volume on the device is the ceiling beside them. One
view of every case is compared with the CPU first; a wrong answer is the exit code 1. Peers that are installed take
turns with drrproj on cases of theirs.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import shutil
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


def bench() -> dict[str, Any]:
    """Measure every case whose middle view is right."""
    gpu = Gpu()
    rows = []
    for case in CASES:
        hu, affine = phantom.noise_hu(case.size), phantom.affine(case.size)
        ids = phantom.labels(case.size) if case.outputs != ("line_integral",) else None
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
        began = time.perf_counter()
        on_gpu = None if ids is None else LabelVolume(gpu.array(ids), affine)
        projector = Projector(Volume(gpu.array(hu), affine), labels=on_gpu, **options)
        shot = projector.project(views)
        gpu.wait()
        first_ms = 1e3 * (time.perf_counter() - began)
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
        kernel = gpu.milliseconds(lambda projector=projector, views=views: projector.project(views))  # type: ignore[misc]
        # A copy reads every byte and writes it.
        image = gpu.array(np.zeros(case.size, np.float32))
        copy = gpu.milliseconds(lambda image=image: image.copy() if gpu.is_cupy else image.clone())  # type: ignore[misc]
        row = {
            **case._asdict(),
            "kernel_ms_per_view": kernel / case.views,
            "wall_ms": statistics.median(wall),
            "first_call_ms": first_ms,
            "errors": errors,
            "wrong": wrong,
            "copy_gb_per_s": 2 * 4e-6 * float(np.prod(case.size)) / copy,
        }
        print(json.dumps(row), flush=True)
        rows.append(row)
        del projector, image
    peers = []
    for peer in gpu_peers.CASES:
        peers.append(gpu_peers.compare(peer))
        print(json.dumps(peers[-1]), flush=True)
    return {"machine": _machine(), "cases": rows, "peers": peers, "targets": _targets(rows)}


def _errors(gpu: Gpu, shot: Any, truth: Any) -> dict[str, float]:
    """How far each output is from the CPU's: relative L2, or of masks the share of pixels that differ."""
    errors = {}
    for what, expected in truth.images.items():
        if expected is None:
            continue
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


def _targets(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What was to be reached, and what was."""

    def one(name: str, views: int) -> dict[str, Any]:
        return next(
            row for row in rows if row["name"] == name and row["views"] == views and row["detector"][0] in (512, 768)
        )

    image, labels, as_diffct = one("image", 36), one(CASES[-2].name, 36), one("image, as diffct", 360)
    published = DIFFCT_MS_PER_VIEW * DIFFCT_GB_PER_S / as_diffct["copy_gb_per_s"]
    return {
        "0.5 ms a view in a batch": image["kernel_ms_per_view"],
        "3 times diffct's rate, scaled by bandwidth": published / as_diffct["kernel_ms_per_view"],
        "labels at most 2.5 times the image": labels["kernel_ms_per_view"] / image["kernel_ms_per_view"],
    }


def _machine() -> dict[str, Any]:
    asked = ["nvidia-smi", "--query-gpu=name,driver_version,clocks.max.sm,memory.total", "--format=csv,noheader"]
    known = shutil.which(asked[0]) is not None
    said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() if known else "not told"
    return {"gpu": said, "date": time.strftime("%Y-%m-%d")}


def run_tests(keyword: str, *command: str) -> int:
    """Run the tests that ask for a backend on the device, and those of arrays on it."""
    environment = {**os.environ, "DRRPROJ_REQUIRE": "cuda,cpu"}
    files = [str(path) for path in sorted((ROOT / "tests").glob("test_exact_*.py"))]
    files += [str(ROOT / "tests" / f"test_{name}.py") for name in ("backends", "project", "projector", "gpu")]
    asked = [*command, sys.executable, "-m", "pytest", "-q", *files, "-k", f"({keyword}) or test_gpu"]
    return subprocess.run(asked, cwd=ROOT, env=environment, check=False).returncode


def sanitizer() -> int:
    """Run a few tests, of every kernel, under memcheck and racecheck."""
    program = shutil.which("compute-sanitizer")
    if program is None:
        print("skipped: there is no compute-sanitizer")
        return 0
    some = "cuda and not emulated and (shares or depths or crops or any_affine)"
    return max(run_tests(some, program, "--tool", tool, "--error-exitcode", "9") for tool in ("memcheck", "racecheck"))


def main() -> int:
    """Test, check, measure, write; return what is not 0 when something failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("tests", "sanitizer", "bench"), help="one of the three parts")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    arguments = parser.parse_args()
    reason = backends.why_unavailable("cuda")
    if reason is not None:
        print(f"cuda: {reason}")
        return 1
    failed = run_tests("cuda and not emulated") if arguments.only in (None, "tests") else 0
    failed = failed or (sanitizer() if arguments.only in (None, "sanitizer") else 0)
    if not failed and arguments.only in (None, "bench"):
        figures = bench()
        print(json.dumps(figures["targets"], indent=1))
        wrong = [f"{row['name']}: {', '.join(row['wrong'])}" for row in figures["cases"] if row["wrong"]]
        for complaint in wrong:
            print(f"WRONG against the CPU: {complaint}")
        failed = int(bool(wrong))
        if arguments.json:
            arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return failed


if __name__ == "__main__":
    raise SystemExit(main())
