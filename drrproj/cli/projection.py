"""A projection that says what it took."""

from __future__ import annotations

import time
from collections.abc import Callable

import drrproj
from drrproj.cli.screen import sizes
from drrproj.short_text import counted

__all__ = ["timed_projection"]


def timed_projection(geometry: drrproj.Geometry, project: Callable[[], drrproj.Radiograph]) -> drrproj.Radiograph:
    start = time.perf_counter()
    shot = project()
    seconds = time.perf_counter() - start
    made_by = shot.record["backend"]
    how = ", ".join(filter(None, (made_by["instruction_set"], counted(made_by["threads"], "thread"))))
    print(
        f"projected {', '.join(geometry.names)}, {sizes(geometry.shape)} pixels each, in {seconds:.2f} s "
        f"on {shot.backend} ({how})"
    )
    return shot
