"""Puts the figures of a full run into the README, between its two marks.

    python bench/projection.py --json bench/figures.json
    python bench/summary.py bench/figures.json README.md

A test holds the README to the figures that lie beside this file.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- figures of bench/figures.json -->", "<!-- end of figures -->"
SAME = "512 x 512 x 400 float32 voxels to 512 x 512 pixels"
ROWS = (
    ("AP, cone beam", "AP cone, float32 F"),
    ("AP, parallel beam", "AP parallel, float32 F"),
    ("lateral", "lateral, float32 F"),
    ("cranio-caudal", "cranio-caudal, float32 F"),
    ("oblique: LAO 30, cranial 15, detector rolled 17 degrees", "oblique 30/15 rolled 17, float32 F"),
    ("AP of a C-ordered array", "AP cone, float32 C"),
    ("AP of an int16 CT, HU turned into attenuation on the way", "AP cone, int16 HU"),
    ("AP with masks of 104 labels", "AP cone, float32, image + masks of 104 labels"),
    ("AP with mm of 104 labels", "AP cone, float32, image + mm of 104 labels"),
)


def table(figures: dict[str, Any]) -> Iterator[str]:
    """Rows of the table, and below it what the machine was and what else a call costs."""
    cases, threads = figures["cases"], figures["settings"]["threads"]
    usual = cases[0]["engine"]
    ours = {row["case"]: row for row in cases if row["engine"] == usual and row["threads"] == threads}
    yield f"| {SAME}, {threads} threads | ms | times reading the volume |"
    yield "|---|---|---|"
    for title, case in ROWS:
        yield _line(title, [ours[case]])
    poses = [row for name, row in ours.items() if name.startswith("random pose") and name.endswith("F")]
    poses.sort(key=lambda row: float(row["milliseconds"]["view"]["median"]))
    yield _line(f"{len(poses)} random poses with roll: the median and the worst", [poses[len(poses) // 2], poses[-1]])
    for row in cases:
        if row["case"] == ROWS[0][1] and row is not cases[0]:
            yield _line(f"AP, {row['engine']}, {row['threads']} thread{'s' * (row['threads'] > 1)}", [row])
    yield ""
    yield from _below(figures)


def _line(title: str, rows: list[dict[str, Any]]) -> str:
    milliseconds = " / ".join(f"{row['milliseconds']['view']['median']:.0f}" for row in rows)
    times = " / ".join(f"{row['times_read']:.1f}" for row in rows)
    return f"| {title} | {milliseconds} | {times} |"


def _below(figures: dict[str, Any]) -> Iterator[str]:
    machine, threads = figures["machine"], figures["settings"]["threads"]
    read = next(read for read in figures["read"] if read["threads"] == threads)
    seconds = figures["import"]["seconds"]
    ours, theirs = (1e3 * statistics.median(seconds[name]) for name in ("drrproj", "numpy"))
    peak = max(case["bytes"] for case in figures["memory"]) / 2**20
    overhead = figures["overhead"][-1]["microseconds"]
    yield f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['date']}."
    yield f"Reading the volume once takes {read['milliseconds']['median']:.0f} ms there, {read['gb_per_s']:.0f} GB/s."
    yield f"A call needs at most {peak:.0f} MiB beside its inputs and outputs, and {overhead:.0f} us beside its rays."
    yield f"`import drrproj` takes {ours:.0f} ms, of which `import numpy` is {theirs:.0f} ms."


def put_into(text: str, figures: dict[str, Any]) -> str:
    """Replace what stands between the marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n" + "\n".join(table(figures)) + f"\n{END}{after}"


if __name__ == "__main__":
    found, readme = Path(sys.argv[1]), Path(sys.argv[2])
    readme.write_text(put_into(readme.read_text(encoding="utf-8"), json.loads(found.read_text(encoding="utf-8"))))
