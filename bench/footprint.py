"""How much memory a call needs beside its inputs and outputs.

Run as a program it makes one call in a fresh process and prints the bytes that call needed at its peak.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import phantom
from cases import OF_LABELS, RANDOM_LABELS, Output, posed, turned

from drrproj import Geometry, LabelVolume, Volume, project

MEMORY_BOUND = 64 * 2**20


class MemoryCase(NamedTuple):
    """What is made beside the line integral, of how many labels, and seen from where."""

    output: Output
    labels: int = 0
    is_oblique: bool = False


MEMORY_CASES = {
    "line_integral": MemoryCase("line_integral"),
    "line_integral oblique": MemoryCase("line_integral", is_oblique=True),
    **{f"{output} of 104 labels": MemoryCase(output, phantom.STRUCTURES) for output in OF_LABELS.values()},
    "mask of 1,000 random labels": MemoryCase("mask", RANDOM_LABELS),
}

_STATUS = Path("/proc/self/status")


def memory(size: tuple[int, int, int], detector: tuple[int, int], threads: int, backend: str) -> list[dict[str, Any]]:
    """Measure each of ``MEMORY_CASES`` in a process of its own; empty where the system does not tell peaks."""
    if not _STATUS.exists():
        return []
    results = []
    for case in MEMORY_CASES:
        task = {"case": case, "size": size, "detector": detector, "threads": threads, "backend": backend}
        # Arrays of 64 KiB and more are given back to the system when they go.
        environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
        done = subprocess.run(
            [sys.executable, __file__, json.dumps(task)],
            check=True,
            capture_output=True,
            text=True,
            timeout=600,
            env=environment,
        )
        results.append({**task, "bytes": int(done.stdout), "bound": MEMORY_BOUND})
    return results


def _peak_beyond_inputs_and_outputs(task: dict[str, Any]) -> int:
    options = {"threads": task["threads"], "backend": task["backend"]}
    output, count, is_oblique = MEMORY_CASES[task["case"]]

    def call(size: tuple[int, int, int], detector: tuple[int, int]) -> tuple[Volume, Any]:
        affine = phantom.affine(size)
        volume = Volume(phantom.noise_hu(size), affine) if count else Volume(phantom.noise(size), affine, unit="1/mm")
        view = Geometry.radiograph("AP", volume, shape=detector)
        if is_oblique:
            view = posed(volume, turned(30, 15, 17), detector)
        labels = None
        if count:
            ids = phantom.labels(size) if count == phantom.STRUCTURES else phantom.random_labels(size, count)
            labels = LabelVolume(ids, affine)
        return volume, lambda: project(volume, view, labels=labels, outputs=("line_integral", output), **options)

    if task["backend"] == "numba":
        # Compiling belongs to the process, not to the call.
        call((8, 8, 8), (8, 8))[1]()
    _, big = call(tuple(task["size"]), tuple(task["detector"]))
    with contextlib.suppress(OSError):
        # Forget earlier peaks; where that is not allowed, the figure can only come out too large.
        Path("/proc/self/clear_refs").write_text("5")
    before = _status_bytes("VmRSS")
    shot = big()
    peak = _status_bytes("VmHWM")
    if "masks" in shot.images:
        rows, columns = task["detector"]
        assert shot.masks.packed.nbytes == count * rows * ((columns + 7) // 8), "more than a bit per label and pixel"
    # Outputs are what goes with them: of zeros that nobody wrote to, the system holds nothing.
    with_outputs = _status_bytes("VmRSS")
    del shot
    return peak - before - (with_outputs - _status_bytes("VmRSS"))


def _status_bytes(field: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    print(_peak_beyond_inputs_and_outputs(json.loads(sys.argv[1])))
