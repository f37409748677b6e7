"""Puts the figures of a run beside the peers into the README, between its two marks.

    python bench/peers.py --json bench/peers.json
    python bench/peers_summary.py bench/peers.json README.md

A test holds the README to the figures that lie beside this file.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from summary import put_between

BEGIN, END = "<!-- figures of bench/peers.json -->", "<!-- end of the peers' figures -->"


def table(figures: dict[str, Any]) -> Iterator[str]:
    """One row per peer: how many times as long as drrproj it takes, and how far off it is."""
    threads, machine = figures["settings"]["threads"], figures["machine"]
    yield f"| {threads} threads | one AP view | 10 views around the patient | relative L2 error, AP |"
    yield "|---|---|---|---|"
    rows = {(row["peer"], row["case"]): row for row in figures["peers"]}
    for peer in dict.fromkeys(row["peer"] for row in figures["peers"]):
        ap, around = (rows.get((peer, case)) for case in ("ap", "around"))
        if ap and ap["milliseconds"]:
            yield f"| {peer} {ap['version']} | {_times(ap)} | {_times(around)} | {ap['relative_l2']:.0e} |"
    yield ""
    yield f"Times drrproj's own, medians of calls in turns. Machine: {machine['cpu']}, {machine['cores']} cores."


def _times(row: dict[str, Any] | None) -> str:
    return f"{row['times']:.1f} times" if row and row["times"] else "not run"


if __name__ == "__main__":
    found, readme = Path(sys.argv[1]), Path(sys.argv[2])
    lines = table(json.loads(found.read_text(encoding="utf-8")))
    readme.write_text(put_between(readme.read_text(encoding="utf-8"), BEGIN, END, lines), encoding="utf-8")
