"""Puts the figures of a run of scenes.py into the README, between its two marks.

    python bench/scenes.py --json bench/scenes.json
    python bench/scenes_summary.py README.md

A test holds the README, and what the docstring of `project` says of them, to the figures that lie beside this file.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from summary import put_between

BEGIN, END = "<!-- figures of bench/scenes.json -->", "<!-- end of the scenes' figures -->"


def table() -> Iterator[str]:
    """How many small images missed the tolerance, and by how much."""
    run: dict[str, Any] = json.loads((Path(__file__).parent / "scenes.json").read_text(encoding="utf-8"))
    above, scenes, rays = (f"{run[key]:,}" for key in ("scenes_above", "scenes", "rays"))
    worst, pixel = short(run["worst_relative_l2"]), short(run["worst_pixel"])
    moved = run["with_rays_moved"]
    by, still = (
        f"{moved['voxels']:g}".replace("e-0", "e-"),
        f"{moved['scenes_above']:,}" if moved["scenes_above"] else "none",
    )
    yield from textwrap.wrap(
        "Where a ray grazes a voxel face, or clips no more than a corner of the volume, the path hangs on digits that "
        f"float32 does not have, and an image of a few rays can exceed a bound: {above} of {scenes} random scenes of "
        f"small images, {rays} rays, did on the C++ engine or Numba, the worst with {worst}, and {pixel} in a pixel "
        f"(`python bench/scenes.py`). Where each ray may lie {by} voxel beside its own, {still} does: an image is that "
        "of rays this close to those asked for. So a ray that runs along a face between voxels counts on either side "
        "of it.",
        120,
        break_on_hyphens=False,
    )


def short(number: float) -> str:
    """As 4.4e-5."""
    return f"{number:.1e}".replace("e-0", "e-")


if __name__ == "__main__":
    readme = Path(sys.argv[1])
    readme.write_text(put_between(readme.read_text(encoding="utf-8"), BEGIN, END, table()), encoding="utf-8")
