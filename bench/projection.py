"""Measures projecting a big volume against reading it once, after checking that the answers are right.

    python bench/projection.py --json figures.json       the real thing, some minutes
    python bench/projection.py --quick                   a small volume: are the answers right?

Every time is the median of calls that take turns with reading the volume, so that whatever else the machine does meets
both; the bounds are ratios. A missed bound is printed and no more, because machines are noisy; a wrong answer is the
exit code 1. `bench/peers.py` measures other projectors beside drrproj.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import answers
import cases
import footprint
import machine
import numpy as np
import numpy.typing as npt
import phantom
from cases import Case

from drrproj import Volume, backends
from drrproj.threads import default_threads

DETECTOR = (512, 512)
READ_PIECES = 8
"""Pieces of memory per reading thread: more than one, so that a thread that starts late costs little."""

COLUMNS = ("case", "engine", "threads", "ms", "min", "max", "x read", "x image", "bound", "", "L2 error")
WIDTHS = (66, 14, 7, 8, 8, 8, 7, 7, 5, 5, 8)


class Budget(NamedTuple):
    """How much to measure: a small volume for its answers, or a big one for its times."""

    repeats: int
    seconds_per_case: float
    interpreters: int
    judged: bool


QUICK = Budget(repeats=2, seconds_per_case=0.0, interpreters=3, judged=False)
FULL = Budget(repeats=5, seconds_per_case=1.5, interpreters=15, judged=True)


def main() -> int:
    """Measure, print, write; return 1 when an answer was wrong."""
    arguments = _arguments()
    size = tuple(arguments.size or ((96, 96, 72) if arguments.quick else (512, 512, 400)))
    detector = (96, 96) if arguments.quick else DETECTOR
    budget = QUICK if arguments.quick else FULL
    threads = default_threads() if arguments.threads is None else arguments.threads
    backend = "cpu" if backends.why_unavailable("cpu") is None else "numba"

    made_on = machine.describe()
    print(f"{made_on['cpu']}, {made_on['cores']} cores, {made_on['system']}, load {made_on['load_before']}")
    print(", ".join(f"{name} {version}" for name, version in made_on["versions"].items()))
    print(f"{' x '.join(map(str, size))} voxels to {detector[0]} x {detector[1]} pixels")
    noise = Volume(phantom.noise(size), phantom.affine(size), unit="1/mm")
    print(_row(COLUMNS))
    rows = []
    for case in _all_cases(noise, detector, threads, backend):
        rows.append(measure(case, noise.array, budget))
        print(_row(_cells(rows[-1])), flush=True)

    figures = {
        "machine": made_on,
        "settings": {"size": size, "detector": detector, "threads": threads, "quick": arguments.quick},
        "read": _read_summary(rows, int(np.prod(size)) * 4),
        "cases": rows,
        "memory": footprint.memory(size, detector, threads, backend),
        "import": footprint.imports(budget.interpreters),
        "overhead": [footprint.overhead(n, backend) for n in sorted({1, threads})],
    }
    made_on["load_after"] = machine.load()
    print("\n".join(_summary(figures, budget)))
    if arguments.json:
        arguments.json.write_text(_one_line_each(figures), encoding="utf-8")
    wrong = [f"WRONG: {row['case']} ({row['engine']}): {what}" for row in rows for what in row["answer"]["wrong"]]
    print("\n".join(wrong or [f"all {len(rows)} answers are right"]))
    return 1 if wrong else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small volume and few calls; bounds are not judged")
    parser.add_argument("--threads", type=int, metavar="N", help="default: every core this process may use")
    parser.add_argument("--size", type=int, nargs=3, metavar="N", help="voxels (default: 512 512 400)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    return parser.parse_args()


def _all_cases(noise: Volume, detector: tuple[int, int], threads: int, backend: str) -> Iterator[Case]:
    yield from cases.every_direction(noise, detector, threads, backend)
    in_c_order = Volume(phantom.noise(noise.shape, "C"), noise.affine, unit=noise.unit)
    yield from cases.every_direction(in_c_order, detector, threads, backend)
    del in_c_order
    yield from cases.many_views(noise, detector, threads, backend)
    yield from cases.every_engine(noise, detector, threads, backend)
    yield from cases.a_chest(noise, detector, threads, backend)


@contextlib.contextmanager
def _forced(instruction_set: str | None) -> Iterator[None]:
    if instruction_set is None:
        yield
        return
    usual = str(backends.instruction_set("cpu"))
    backends.use_instruction_set(instruction_set)
    try:
        yield
    finally:
        backends.use_instruction_set(usual)


def measure(case: Case, memory: npt.NDArray[np.float32], budget: Budget) -> dict[str, Any]:
    """Check a case's answer, then time it in turns with reading the volume, and with its image alone."""
    image = case.image_alone
    with _forced(case.instruction_set), ThreadPoolExecutor(case.threads) as pool:
        answer = answers.check(case, answers.run(case))
        tasks: dict[str, Callable[[], object]] = {"read": reader(memory, pool, case.threads)}
        if image is not None:
            tasks["image"] = lambda: answers.run(image)
        tasks["call"] = lambda: answers.run(case)
        seconds = _in_turns(tasks, budget)
        engine = f"{case.backend} {backends.instruction_set(case.backend) or ''}".strip()
    views = len(case.geometry)
    milliseconds = {task: _statistics([1e3 * t for t in times]) for task, times in seconds.items()}
    milliseconds["view"] = _statistics([1e3 * t / views for t in seconds["call"]])
    return {
        "case": case.name,
        "engine": engine,
        "threads": case.threads,
        "views": views,
        "milliseconds": milliseconds,
        **_judged(milliseconds, case, budget),
        "answer": answer._asdict(),
    }


def reader(memory: npt.NDArray[np.float32], pool: ThreadPoolExecutor, threads: int) -> Callable[[], object]:
    """Reading every voxel once: the maximum of the array's memory, in pieces, with these threads."""
    pieces = np.array_split(memory.ravel(order="K"), READ_PIECES * threads)
    assert all(np.shares_memory(piece, memory) for piece in pieces)
    return lambda: max(pool.map(np.max, pieces))


def _in_turns(tasks: dict[str, Callable[[], object]], budget: Budget) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {task: [] for task in tasks}
    start = time.perf_counter()
    rounds = 0
    while rounds < budget.repeats or time.perf_counter() - start < budget.seconds_per_case:
        for name, task in tasks.items():
            before = time.perf_counter()
            task()
            seconds[name].append(time.perf_counter() - before)
        rounds += 1
    return seconds


def _judged(milliseconds: dict[str, dict[str, float]], case: Case, budget: Budget) -> dict[str, Any]:
    if not budget.judged:
        # A small volume is read from the cache, and its ratios say nothing.
        return {"times_read": None, "times_image": None, "bound": None, "verdict": None}
    per_read = milliseconds["view"]["median"] / milliseconds["read"]["median"]
    per_image = milliseconds["call"]["median"] / milliseconds["image"]["median"] if "image" in milliseconds else None
    judged = per_read if per_image is None else per_image
    verdict = None if case.bound is None else "PASS" if judged <= case.bound else "FAIL"
    return {"times_read": per_read, "times_image": per_image, "bound": case.bound, "verdict": verdict}


def _statistics(values: list[float]) -> dict[str, float]:
    found = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {**{name: round(value, 3) for name, value in found.items()}, "calls": len(values)}


def _read_summary(rows: list[dict[str, Any]], size: int) -> list[dict[str, Any]]:
    summary = []
    for threads in sorted({row["threads"] for row in rows}):
        times = [row["milliseconds"]["read"]["median"] for row in rows if row["threads"] == threads]
        median = _statistics(times)
        summary.append({"threads": threads, "milliseconds": median, "gb_per_s": size / median["median"] / 1e6})
    return summary


def _one_line_each(figures: dict[str, Any]) -> str:
    """JSON with one line for every entry of a list, so that two runs can be compared line by line."""
    entries = []
    for name, value in figures.items():
        lines = [f"  {json.dumps(item)}" for item in value] if isinstance(value, list) else []
        entries.append(f"{json.dumps(name)}: " + ("[\n" + ",\n".join(lines) + "\n]" if lines else json.dumps(value)))
    return "{\n" + ",\n".join(entries) + "\n}\n"


def _row(cells: tuple[str, ...]) -> str:
    first, *others = zip(cells, WIDTHS, strict=True)
    return " ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    view = row["milliseconds"]["view"]
    answer = row["answer"]
    return (
        row["case"],
        row["engine"],
        str(row["threads"]),
        *(f"{view[key]:.1f}" for key in ("median", "min", "max")),
        "" if row["times_read"] is None else f"{row['times_read']:.1f}",
        "" if row["times_image"] is None else f"{row['times_image']:.2f}",
        "" if row["bound"] is None else f"{row['bound']:g}",
        row["verdict"] or "",
        "WRONG" if answer["wrong"] else f"{answer['relative_l2']:.0e}",
    )


def _summary(figures: dict[str, Any], budget: Budget) -> Iterator[str]:
    def verdict(met: bool) -> str:
        return ("  PASS" if met else "  FAIL") if budget.judged else ""

    yield ""
    for read in figures["read"]:
        times = read["milliseconds"]
        yield (
            f"reading the volume once, {read['threads']} threads: {times['median']:.1f} ms "
            f"({times['min']:.1f} to {times['max']:.1f}), {read['gb_per_s']:.0f} GB/s"
        )
    verdicts = [row["verdict"] for row in figures["cases"]]
    if budget.judged:
        yield f"bounds on time: {verdicts.count('PASS')} met, {verdicts.count('FAIL')} missed"
    for peak in figures["memory"]:
        met = peak["bytes"] <= peak["bound"]
        yield (
            f"memory beyond inputs and outputs, {peak['case']}: {peak['bytes'] / 2**20:.0f} MiB "
            f"(bound {peak['bound'] / 2**20:.0f}){verdict(met)}"
        )
    found = figures["import"]
    numpy, drrproj = (1e3 * statistics.median(found["seconds"][name]) for name in ("numpy", "drrproj"))
    yield (
        f"import numpy {numpy:.0f} ms, import drrproj {drrproj:.0f} ms: {found['ratio']:.2f} times "
        f"(bound {found['bound']}){verdict(found['ratio'] <= found['bound'])}"
    )
    for call in figures["overhead"]:
        yield f"a call on an 8 x 8 x 8 volume, {call['threads']} threads: {call['microseconds']:.0f} us"
    yield f"load of the machine {figures['machine']['load_before']} before and {figures['machine']['load_after']} after"


if __name__ == "__main__":
    raise SystemExit(main())
