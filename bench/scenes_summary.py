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
    left_out = run["rays_along_a_face_left_out"]
    did = f"{left_out:,} of their {rays} rays did, and are left out" if left_out else f"none of their {rays} rays did"
    yield from textwrap.wrap(
        "Images of a few rays that graze voxel faces, or clip no more than a corner of the volume, can exceed the "
        f"first bound: {above} of {scenes} random scenes of small images did on the C++ engine, the worst with {worst} "
        f"(`python bench/scenes.py`). No pixel was off by more than {pixel} of its image's maximum. A ray that runs "
        f"along a face between voxels, nearer than 1e-7 voxel, counts on either side of it; {did}.",
        120,
        break_on_hyphens=False,
    )


def short(number: float) -> str:
    """As 4.4e-5."""
    return f"{number:.1e}".replace("e-0", "e-")


if __name__ == "__main__":
    readme = Path(sys.argv[1])
    readme.write_text(put_between(readme.read_text(encoding="utf-8"), BEGIN, END, table()), encoding="utf-8")
