"""What the terminal shows of a run: a table as it goes, then what bounds say, then what else a call costs."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

COLUMNS = ("", "voxels", "engine", "threads", "ms", "min", "max", "x read", "L2 error")
WIDTHS = (45, 9, 12, 7, 7, 7, 7, 6, 8)


def opening(machine: dict[str, Any]) -> str:
    """Say which machine it is."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}, load {machine['load_before']}\n{versions}"


def heading(size: tuple[int, ...], detector: tuple[int, int]) -> str:
    """Begin the rows of one size."""
    head = padded(COLUMNS, WIDTHS, left=3)
    return f"\n{' x '.join(map(str, size))} voxels to {detector[0]} x {detector[1]} pixels\n{head}"


def line(row: dict[str, Any], judged: bool) -> str:
    """One row; a small volume is read from the cache, and times of reading it say nothing."""
    cells = [row["case"], row["data"], row["engine"], str(row["threads"])]
    cells += [f"{row['view'][key]:.1f}" for key in ("median", "min", "max")]
    cells += [f"{row['times_read']:.1f}" if judged else ""]
    cells += ["WRONG" if row["answer"]["wrong"] else f"{row['answer']['relative_l2']:.0e}"]
    return padded(tuple(cells), WIDTHS, left=3)


def padded(cells: tuple[str, ...], widths: tuple[int, ...], left: int = 1) -> str:
    """Put cells below each other: the first `left` begin their columns, the others end them."""
    return " ".join(
        cell.ljust(width) if place < left else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )


def closing(figures: dict[str, Any]) -> Iterator[str]:
    """What the machine can do, what the bounds say, and what no bound holds."""
    yield "\nms per view: median, min and max over the rounds; of several poses with a call each, over their medians\n"
    for read in figures["read"]:
        times = read["milliseconds"]
        yield (
            f"reading the volume once, {_threads(read['threads'])}: {times['median']:.1f} ms "
            f"({times['min']:.1f} to {times['max']:.1f}), {read['gb_per_s']:.1f} GB/s"
        )
    for rate in figures["gather"]:
        yield (
            f"gathering float32 from {rate['bytes'] / 2**20:.3g} MiB ({rate['from']}), {_threads(rate['threads'])}: "
            f"{rate['billions_per_s_and_thread']:.2f} G elements/s each (Numba)"
        )
    yield from _verdicts(figures["bounds"])
    seconds = figures["import"]["seconds"]
    numpy, drrproj = (1e3 * statistics.median(seconds[name]) for name in ("numpy", "drrproj"))
    yield f"import numpy {numpy:.0f} ms, import drrproj {drrproj:.0f} ms"
    for call in figures["overhead"]:
        yield (
            f"a call on an 8 x 8 x 8 volume, {_threads(call['threads'])}: project() {call['microseconds']:.0f} us, "
            f"Projector {call['prepared_microseconds']:.0f} us"
        )
    yield f"load of the machine {figures['machine']['load_before']} before and {figures['machine']['load_after']} after"


def _threads(number: int) -> str:
    return f"{number} thread{'s' * (number > 1)}"


def _verdicts(bounds: list[dict[str, Any]]) -> Iterator[str]:
    if not bounds:
        return
    yield f"\n{'ratio of medians':<62} {'value':>6} {'bound':>14}"
    for ratio in bounds:
        sense = "" if ratio["bound"] is None else f"{'at least' if ratio['at_least'] else 'at most'} {ratio['bound']:g}"
        verdict = {True: "PASS", False: "FAIL", None: ""}[ratio["is_met"]]
        yield f"{ratio['name']:<62} {ratio['value']:>6.2f} {sense:>14} {verdict}"
    met = [ratio["is_met"] for ratio in bounds]
    yield f"{met.count(True)} bounds met, {met.count(False)} missed\n"
