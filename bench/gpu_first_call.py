"""Measures the first call of the CUDA backend in a process, from arrays of the host; `bench/gpu.py` runs it.

In it are the driver's start, a context on the GPU, the kernels' machine code loaded, the volume read and copied, one
view walked and copied back; Python's imports are not, which `import_ms` has. The second call has a projector of its own
too: it differs by what is done once a process.
"""

from __future__ import annotations

import json
import time

began = time.perf_counter()
import drrproj  # noqa: E402

import_ms = 1e3 * (time.perf_counter() - began)
import phantom  # noqa: E402


def main() -> None:
    """Measure, and print it as JSON."""
    size = (512, 512, 400)
    volume = drrproj.Volume(phantom.noise_hu(size), phantom.affine(size))
    view = drrproj.Geometry.radiograph("AP", volume, shape=(512, 512))
    times = []
    for _ in range(2):
        start = time.perf_counter()
        drrproj.project(volume, view, backend="cuda")
        times.append(1e3 * (time.perf_counter() - start))
    print(json.dumps({"import_ms": import_ms, "first_call_ms": times[0], "second_call_ms": times[1]}))


if __name__ == "__main__":
    main()
