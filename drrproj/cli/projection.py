"""A projection that says what it took."""

from __future__ import annotations

import time
from typing import Any

import drrproj
from drrproj.cli.screen import sizes

__all__ = ["timed_projection"]


def timed_projection(ct: drrproj.Volume, geometry: drrproj.Geometry, **choices: Any) -> drrproj.Radiograph:
    start = time.perf_counter()
    shot = drrproj.project(ct, geometry, **choices)
    seconds = time.perf_counter() - start
    made_by = shot.record["backend"]
    how = ", ".join(
        str(part) for part in (made_by["instruction_set"], f"{made_by['threads']} threads") if part is not None
    )
    print(
        f"projected {', '.join(geometry.names)}, {sizes(geometry.shape)} pixels each, in {seconds:.2f} s "
        f"on {shot.backend} ({how})"
    )
    return shot
