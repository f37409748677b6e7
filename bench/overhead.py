"""What is paid beside the rays: importing drrproj, and what a call needs on a volume too small to count."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from drrproj import Geometry, Projector, Volume, project

IMPORT_BOUND = 1.5
OVERHEAD_BOUND = 100.0


def import_seconds(module: str, interpreters: int) -> list[float]:
    """Time ``import module`` in fresh interpreters."""
    code = f"import time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"
    # Where bytecode is not written, every import would compile what pip has compiled for a user.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command, times = [sys.executable, "-c", code], []
    for _ in range(interpreters):
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, env=environment)
        times.append(float(done.stdout))
    return times


def of_importing(interpreters: int) -> dict[str, Any]:
    """Compare importing drrproj, which imports numpy, with importing numpy; one of each in turn."""
    times: dict[str, list[float]] = {"numpy": [], "drrproj": []}
    # The first round of each writes bytecode and fills the file cache.
    for round_ in range(interpreters + 1):
        for module, seconds in times.items():
            seconds += import_seconds(module, 1) if round_ else import_seconds(module, 1)[:0]
    medians = {module: statistics.median(seconds) for module, seconds in times.items()}
    return {"seconds": times, "ratio": medians["drrproj"] / medians["numpy"], "bound": IMPORT_BOUND}


def of_calls(threads: int, backend: str, calls: int = 300) -> dict[str, Any]:
    """Time calls on a volume so small that the walk is nothing; one by project() and one by a Projector in turn."""
    tiny = Volume(np.ones((8, 8, 8), np.float32), np.eye(4), unit="1/mm")
    view = Geometry.radiograph("AP", tiny, shape=(8, 8))
    projector = Projector(tiny, threads=threads, backend=backend)
    tasks: dict[str, Callable[[], object]] = {
        "microseconds": lambda: project(tiny, view, threads=threads, backend=backend),
        "prepared_microseconds": lambda: projector.project(view),
    }
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(calls + 1):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            seconds[name].append(time.perf_counter() - start)
    # The first call of each fills caches.
    medians = {name: round(1e6 * statistics.median(times[1:]), 1) for name, times in seconds.items()}
    return {"backend": backend, "threads": threads, **medians, "bound": OVERHEAD_BOUND}
