"""Puts the figures of two runs beside the peers into the README, between its two marks.

    fast="plain-numba plastimatch-exact rtk-joseph itk-siddon-jacobs"
    slow="plastimatch-uniform itk-ray-cast diffdrr-siddon diffdrr-trilinear nanodrr flashdrr"
    python bench/peers.py --case ap around --only $fast --json bench/peers.json
    python bench/peers.py --case ap --only $slow --json bench/peers_slow.json
    python bench/peers_summary.py README.md

A test holds the README to the figures that lie beside this file.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from summary import put_between

BEGIN, END = "<!-- figures of bench/peers.json and bench/peers_slow.json -->", "<!-- end of the peers' figures -->"
FILES = ("peers.json", "peers_slow.json")


def table() -> Iterator[str]:
    """One row per peer: how many times as long as drrproj it takes, and how far off it is."""
    runs = [json.loads((Path(__file__).parent / name).read_text(encoding="utf-8")) for name in FILES]
    rows = [row for run in runs for row in run["peers"]]
    machine, threads = runs[0]["machine"], runs[0]["settings"]["threads"]
    yield f"| {threads} threads | one AP view | 10 views around the patient | relative L2 error, AP |"
    yield "|---|---|---|---|"
    around = {row["peer"]: row for row in rows if row["case"] == "around"}
    for row in rows:
        if row["case"] == "ap" and row["milliseconds"]:
            peer = row["peer"]
            yield f"| {peer} {row['version']} | {_times(row)} | {_times(around.get(peer))} | {row['relative_l2']:.0e} |"
    yield ""
    made_on = f"{machine['cpu']}, {machine['cores']} cores, {machine['date']}"
    yield f"Times of drrproj's own, medians of calls in turns. Machine: {made_on}."


def _times(row: dict[str, Any] | None) -> str:
    return f"{row['times']:.1f} times as long" if row and row["times"] else "not run"


if __name__ == "__main__":
    readme = Path(sys.argv[1])
    readme.write_text(put_between(readme.read_text(encoding="utf-8"), BEGIN, END, table()), encoding="utf-8")
