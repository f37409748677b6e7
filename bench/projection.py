"""Measures projecting a big volume against reading it once, after checking that the answers are right.

    python bench/projection.py --json figures.json       the real thing, some minutes
    python bench/projection.py --quick                   small volumes: are the answers right?

Every time is the median of calls that take turns, with each other and with reading the volume, so that whatever else
the machine does meets all of them; the bounds are ratios. A missed bound is printed and no more, because machines are
noisy; a wrong answer is the exit code 1. `bench/peers.py` measures other projectors beside drrproj.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any, NamedTuple

import bounds
import cases
import footprint
import machine
import overhead
import report
import yardstick
from turns import Budget, measure

from drrproj import backends
from drrproj.threads import default_threads

Size = tuple[int, int, int]


class Plan(NamedTuple):
    """How much to measure: small volumes for their answers, or big ones for their times."""

    size: Size
    others: tuple[Size, ...]
    turns: Budget
    repeats: int
    judged: bool


QUICK = Plan((96, 96, 72), ((64, 64, 64),), Budget(rounds=1, seconds=0, enough=0), repeats=3, judged=False)
FULL = Plan(
    (512, 512, 400), ((256, 256, 256), (512, 512, 512)), Budget(rounds=7, seconds=4, enough=30), repeats=15, judged=True
)


def main() -> int:
    """Measure, print, write; return 1 when an answer was wrong."""
    arguments = _arguments()
    plan = QUICK if arguments.quick else FULL
    if arguments.size:
        plan = plan._replace(size=tuple(arguments.size), others=())
    threads = default_threads() if arguments.threads is None else arguments.threads
    backend = "cpu" if backends.why_unavailable("cpu") is None else "numba"

    made_on = machine.describe()
    print(report.opening(made_on))
    rows: list[dict[str, Any]] = []
    gathers: list[dict[str, Any]] = []
    for size in (plan.size, *plan.others):
        detector = _detector(size)
        print(report.heading(size, detector))
        patient = cases.patient(size)
        every = cases.everything if size == plan.size else cases.named_directions
        for group in every(patient, detector, threads, backend):
            measured = measure(group, patient.noise.array, plan.turns)
            print("\n".join(report.line(row, plan.judged) for row in measured), flush=True)
            rows += measured
        if size == plan.size:
            gathers = yardstick.gathers(patient.noise.array, threads, plan.repeats)
        # The next patient is not made while this one still takes its memory.
        del patient, group

    figures: dict[str, Any] = {
        "machine": made_on,
        "settings": {
            "size": plan.size,
            "detector": _detector(plan.size),
            "threads": threads,
            "quick": arguments.quick,
        },
        "read": _reads(rows),
        "gather": gathers,
        "cases": rows,
        "memory": footprint.memory(plan.size, _detector(plan.size), threads, backend),
        "import": overhead.of_importing(plan.repeats),
        "overhead": [overhead.of_calls(n, backend) for n in sorted({1, threads})],
    }
    figures["bounds"] = [ratio.as_record() for ratio in bounds.ratios(figures)] if plan.judged else []
    made_on["load_after"] = machine.load()
    print("\n".join(report.closing(figures)))
    if arguments.json:
        arguments.json.write_text(_one_line_each(figures), encoding="utf-8")
    wrong = [f"WRONG: {row['case']} ({row['engine']}): {what}" for row in rows for what in row["answer"]["wrong"]]
    print("\n".join(wrong or [f"all answers of {len(rows)} rows are right"]))
    return 1 if wrong else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small volumes and few calls; bounds are not judged")
    parser.add_argument("--threads", type=int, metavar="N", help="default: every core this process may use")
    parser.add_argument(
        "--size", type=int, nargs=3, metavar="N", help="this grid alone (default: 512 512 400 and others)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    return parser.parse_args()


def _detector(size: Size) -> tuple[int, int]:
    """As many pixels along a side as the volume has voxels across, so that sizes compare."""
    return size[0], size[0]


def _reads(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What reading the first volume took, over all groups that read it."""
    size = rows[0]["size"]
    found = []
    for threads in sorted({row["threads"] for row in rows}):
        times = [row["read"]["median"] for row in rows if row["threads"] == threads and row["size"] == size]
        median = statistics.median(times)
        bandwidth = 4 * size[0] * size[1] * size[2] / median / 1e6
        milliseconds = {"median": median, "min": min(times), "max": max(times)}
        found.append({"threads": threads, "milliseconds": milliseconds, "gb_per_s": bandwidth})
    return found


def _one_line_each(figures: dict[str, Any]) -> str:
    """JSON with one line for every entry of a list, so that two runs can be compared line by line."""
    entries = []
    for name, value in figures.items():
        lines = [f"  {json.dumps(item)}" for item in value] if isinstance(value, list) else []
        entries.append(f"{json.dumps(name)}: " + ("[\n" + ",\n".join(lines) + "\n]" if lines else json.dumps(value)))
    return "{\n" + ",\n".join(entries) + "\n}\n"


if __name__ == "__main__":
    raise SystemExit(main())
