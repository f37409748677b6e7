"""Puts the figures of full runs on some machines into the README, between its two marks.

    python bench/projection.py --json bench/figures_intel.json      on each machine, into the file of its kind
    python bench/summary.py README.md

A test holds the README to the figures that lie beside this file.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bounds import Rows
from cases import AP_AT_ONCE, DEPTHS, MASKS, MM, OBLIQUE, POSES, POSES_AT_ONCE, POSES_OF_FEW_PIXELS, SHARES

BEGIN, END = "<!-- figures of bench/figures_*.json -->", "<!-- end of figures -->"
FILES = {
    "Intel, AVX-512": "figures_intel.json",
    "AMD, AVX-512": "figures_amd.json",
    "AMD, AVX2": "figures_avx2.json",
}
SAME = "512 x 512 x 400 float32 voxels to 512 x 512 pixels"
TITLES = (
    ("AP, cone beam", "AP cone", "float32 F"),
    ("AP, parallel beam", "AP parallel", "float32 F"),
    ("lateral", "lateral", "float32 F"),
    ("cranio-caudal", "cranio-caudal", "float32 F"),
    ("oblique: LAO 30, cranial 15, detector rolled 17 degrees", OBLIQUE, "float32 F"),
    (f"{POSES} with roll: the median and the worst", POSES, "float32 F"),
    (f"{POSES} with roll, C-ordered array", POSES, "float32 C"),
    ("AP, C-ordered array", "AP cone", "float32 C"),
    ("lateral, C-ordered array", "lateral", "float32 C"),
    ("AP, int16 CT, HU turned into attenuation on the way", "AP cone", "int16 F"),
    ("lateral, int16 CT", "lateral", "int16 F"),
    ("oblique, int16 CT", OBLIQUE, "int16 F"),
    ("12 random poses in one call, per view", POSES_AT_ONCE, "float32 F"),
    ("12 times AP in one call, per view", AP_AT_ONCE, "float32 F"),
    ("12 random poses to 64 x 64 pixels: the median and the worst", POSES_OF_FEW_PIXELS, "float32 F"),
    ("12 random poses to 64 x 64 pixels, int16 CT, with masks of 104 labels", POSES_OF_FEW_PIXELS + MASKS, "int16 F"),
    *(
        (f"{view}, int16 CT, with {what} of 104 labels", f"{case}{labels}", "int16 F")
        for view, case in (("AP", "AP cone"), ("lateral", "lateral"))
        for what, labels in (("masks", MASKS), ("mm", MM), ("shares", SHARES), ("depths", DEPTHS))
    ),
)


def table() -> Iterator[str]:
    """Rows of the table, and below it what the machines were and what else a call costs.

    What a machine could not measure, such as Numba where it is not installed, has no figure.
    """
    runs = [json.loads((Path(__file__).parent / name).read_text(encoding="utf-8")) for name in FILES.values()]
    machines = [Rows(run) for run in runs]
    heads = (f"{name}: ms | times reading" for name in FILES)
    yield f"| {SAME}, {machines[0].threads} threads | {' | '.join(heads)} |"
    yield "|---|" + "---|" * 2 * len(runs)
    for title, case, data in TITLES:
        yield from _line(title, [rows.find(case, data) for rows in machines])
    for engine, threads in (("", 1), ("cpu avx2", 2), ("cpu baseline", 2), ("numba", 2)):
        found = [rows.find("AP cone", engine=engine or rows.engine, threads=threads) for rows in machines]
        yield from _line(f"AP, {engine}{', ' * bool(engine)}{threads} thread{'s' * (threads > 1)}", found)
    for size in ([256, 256, 256], [512, 512, 512]):
        title = f"AP, {' x '.join(map(str, size))} voxels to {size[0]} x {size[0]} pixels"
        yield from _line(title, [_of_size(run, size) for run in runs])
    yield ""
    for name, run in zip(FILES, runs, strict=True):
        yield from _below(name, run)


def _of_size(figures: dict[str, Any], size: list[int]) -> dict[str, Any] | None:
    same = (row for row in figures["cases"] if row["size"] == size)
    return next((row for row in same if (row["case"], row["data"]) == ("AP cone", "float32 F")), None)


def _line(title: str, found: list[dict[str, Any] | None]) -> Iterator[str]:
    if any(found):
        yield f"| {title} | {' | '.join(map(_cells, found))} |"


def _cells(row: dict[str, Any] | None) -> str:
    if row is None:
        return " | "
    milliseconds, times = f"{row['view']['median']:.0f}", f"{row['times_read']:.1f}"
    if row["calls"]:
        milliseconds += f" / {row['view']['max']:.0f}"
        times += f" / {row['times_read_at_worst']:.1f}"
    return f"{milliseconds} | {times}"


def _below(name: str, figures: dict[str, Any]) -> Iterator[str]:
    machine, threads = figures["machine"], figures["settings"]["threads"]
    read = next(read for read in figures["read"] if read["threads"] == threads)
    seconds = figures["import"]["seconds"]
    ours, theirs = (1e3 * statistics.median(seconds[module]) for module in ("drrproj", "numpy"))
    peak = max(case["bytes"] for case in figures["memory"]) / 2**20
    call = figures["overhead"][-1]
    yield f"- {name}: {machine['cpu']}, {machine['cores']} cores, {machine['date']}."
    yield f"  Reading the volume once takes {read['milliseconds']['median']:.0f} ms there, {read['gb_per_s']:.0f} GB/s."
    gathers = {rate["from"]: rate for rate in figures["gather"] if rate["threads"] == threads}
    if gathers:
        cache, memory = (gathers[where]["billions_per_s_and_thread"] for where in ("cache", "memory"))
        yield f"  Each thread gathers {cache:.1f} billion elements a second from its cache, {memory:.2f} from memory."
    yield f"  A call needs at most {peak:.0f} MiB beside its inputs and outputs."
    once, prepared = call["microseconds"], call["prepared_microseconds"]
    yield f"  Beside its rays a call of `project()` needs {once:.0f} us, one of a `Projector` {prepared:.0f} us."
    yield f"  `import drrproj` takes {ours:.0f} ms, of which `import numpy` is {theirs:.0f} ms."
    errors = [case["answer"]["relative_l2"] for case in figures["cases"]]
    yield f"  Relative L2 errors of all that was timed: {min(errors):.0e} to {max(errors):.0e}."
    met = [bound["is_met"] for bound in figures["bounds"]]
    yield f"  Of the bounds that the bench sets itself {met.count(True)} are met and {met.count(False)} missed."


def put_between(text: str, begin: str, end: str, lines: Iterator[str]) -> str:
    """Replace what stands between two marks."""
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n" + "\n".join(lines) + f"\n{end}{after}"


if __name__ == "__main__":
    readme = Path(sys.argv[1])
    readme.write_text(put_between(readme.read_text(encoding="utf-8"), BEGIN, END, table()), encoding="utf-8")
