"""Puts the figures of runs beside the peers, on some machines, into the README, between its two marks.

    fast="plain-numba plastimatch-exact rtk-joseph itk-siddon-jacobs"
    slow="plastimatch-uniform itk-ray-cast diffdrr-siddon diffdrr-trilinear nanodrr flashdrr"
    python bench/peers.py --case ap around --only $fast --json bench/peers.json
    python bench/peers.py --case ap --only $slow --json bench/peers_slow.json
    python bench/peers.py --case ap around --only $fast --json bench/peers_amd.json
    python bench/peers.py --case ap around --only $fast --json bench/peers_avx2.json
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

BEGIN, END = "<!-- figures of bench/peers*.json -->", "<!-- end of the peers' figures -->"
FILES = ("peers.json", "peers_slow.json")
OTHERS = {"AMD, AVX-512": "peers_amd.json", "AMD, AVX2": "peers_avx2.json"}


def table() -> Iterator[str]:
    """One row per peer: how many times as long as drrproj it takes, and how far off it is."""
    runs, others = (
        [json.loads((Path(__file__).parent / name).read_text(encoding="utf-8")) for name in names]
        for names in (FILES, OTHERS.values())
    )
    rows = [row for run in runs for row in run["peers"]]
    threads = runs[0]["settings"]["threads"]
    on_others = [f"{case} ({name})" for name in OTHERS for case in ("AP", "10 views")]
    heads = ("one AP view", "10 views around the patient", *on_others, "relative L2 error, AP")
    yield f"| {threads} threads | {' | '.join(heads)} |"
    yield "|---|" + "---|" * len(heads)
    around = {row["peer"]: row for row in rows if row["case"] == "around"}
    elsewhere = [{(row["case"], row["peer"]): row for row in other["peers"]} for other in others]
    for row in rows:
        if row["case"] == "ap" and row["milliseconds"]:
            peer = row["peer"]
            found = [row, around.get(peer), *(of.get((case, peer)) for of in elsewhere for case in ("ap", "around"))]
            yield f"| {peer} {row['version']} | {' | '.join(map(_times, found))} | {row['relative_l2']:.0e} |"
    yield ""
    timed_rows = [row for run in (*runs, *others) for row in run["peers"] if row["milliseconds"]]
    calls = [row["milliseconds"]["calls"] for row in timed_rows]
    yield f"Times of drrproj's own in the same run, medians of {min(calls)} to {max(calls)} calls in turns."
    yield "DiffDRR, nanodrr and flashdrr are made for GPUs; here they run on the same CPU as the others."
    yield "The terms of each are the notes in the JSON."
    timed = [[row["peer"] for row in run["peers"] if row["case"] == "ap" and row["milliseconds"]] for run in runs]
    parts = [(f"From {peers[0]} to {peers[-1]}", run) for peers, run in zip(timed, runs, strict=True)]
    for what, run in (*parts, *((f"On {name}", other) for name, other in zip(OTHERS, others, strict=True))):
        machine = run["machine"]
        yield f"{what}: {machine['cpu']}, {machine['cores']} cores, {machine['date']}."


def _times(row: dict[str, Any] | None) -> str:
    return f"{row['times']:.1f}" if row and row["times"] else "-"


if __name__ == "__main__":
    readme = Path(sys.argv[1])
    readme.write_text(put_between(readme.read_text(encoding="utf-8"), BEGIN, END, table()), encoding="utf-8")
