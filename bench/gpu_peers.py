"""diffct and nanodrr on a GPU beside drrproj: the same voxels, the same rays, one clock. Never run on a GPU so far.

`bench/gpu.py` calls it, where torch and the two are installed. Each answer is compared with ours first. What a peer is
given is on the device before the clock starts; times are between two events on torch's stream, of calls queued on end,
and peers and drrproj take turns.
"""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import peer_work
from peer_calls import EXACT, SAMPLED, Rendering, diffct_rendering, nanodrr_rendering

from drrproj import Projector, Volume

TURNS = 5


class Case(NamedTuple):
    """A peer's own strong case: voxels, pixels, views, how it is called, and what its answer may differ by."""

    peer: str
    size: tuple[int, int, int]
    detector: tuple[int, int]
    views: int
    rendering: Callable[[peer_work.Work, str], Rendering]
    max_relative_l2: float


def _all_rows(work: peer_work.Work, device: str) -> Rendering:
    return nanodrr_rendering(work, device, work.geometry.shape[0])


CASES = (
    Case("diffct", (512, 512, 512), (768, 1024), 360, diffct_rendering, EXACT),
    Case("nanodrr", (512, 512, 400), (512, 512), 36, _all_rows, SAMPLED),
)


def compare(case: Case, device: str = "cuda") -> dict[str, Any]:
    """Measure a peer and drrproj in turns, once the two answers agree; say what is missing where it cannot run."""
    row: dict[str, Any] = {}
    try:
        import torch

        # Looked for before the voxels are made, which takes its time.
        importlib.import_module(case.peer)
    except ModuleNotFoundError as error:
        return {"skipped": f"{error.name} is not installed"}
    work = peer_work.build(case.size, case.detector, case.views)
    render, finish = case.rendering(work, device)
    voxels: Any = torch.from_numpy(work.voxels).to(device)
    ours = Projector(Volume(voxels, work.volume.affine, unit="1/mm"))

    def images() -> Any:
        return ours.project(work.geometry).line_integral

    right = images()
    answer = np.asarray(finish(render()), np.float32)
    row["relative_l2"] = _relative_l2(answer, torch.as_tensor(right).cpu().numpy())
    if not row["relative_l2"] <= case.max_relative_l2:
        return row | {"skipped": f"its answer is off by {row['relative_l2']:.1e}: nothing was measured"}
    del answer, right
    theirs, mine = [], []
    for _ in range(TURNS):
        theirs.append(_milliseconds(render, device))
        mine.append(_milliseconds(images, device))
    peer, own = statistics.median(theirs) / case.views, statistics.median(mine) / case.views
    return row | {"peer_ms_per_view": peer, "drrproj_ms_per_view": own, "times_as_fast": peer / own}


def _relative_l2(found: npt.NDArray[np.float32], right: npt.NDArray[np.float32]) -> float:
    return float(np.linalg.norm((found - right).ravel()) / np.linalg.norm(right.ravel()))


def _milliseconds(call: Callable[[], object], device: str) -> float:
    if device != "cuda":
        began = time.perf_counter()
        call()
        return 1e3 * (time.perf_counter() - began)
    from torch import cuda

    start, stop = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
    start.record()
    call()
    stop.record()
    stop.synchronize()
    return float(start.elapsed_time(stop))
