"""Times calls that take turns with each other and with reading the volume, after checking their answers."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import answers
import numpy as np
import numpy.typing as npt
from cases import Case
from yardstick import reader

from drrproj import backends


class Budget(NamedTuple):
    """A group of calls is repeated at least so often, and at least so long, but no more once it took long enough."""

    rounds: int
    seconds: float
    enough: float


def measure(group: Sequence[Case], memory: npt.NDArray[np.float32], budget: Budget) -> list[dict[str, Any]]:
    """Return one row of figures for all cases of a name, storage, engine and number of threads.

    Every call comes after reading the volume with as many threads, so that whatever else the machine does meets both.
    """
    found = []
    for case in group:
        with _forced(case.instruction_set):
            found.append(answers.check(case, answers.run(case)))
    readers = {threads: reader(memory, threads) for threads in {case.threads for case in group}}
    reads: dict[int, list[float]] = {threads: [] for threads in readers}
    calls: list[list[float]] = [[] for _ in group]
    start, rounds = time.perf_counter(), 0
    elapsed = 0.0
    while not rounds or elapsed < budget.seconds or (rounds < budget.rounds and elapsed < budget.enough):
        for case, milliseconds in zip(group, calls, strict=True):
            reads[case.threads].append(duration_ms(readers[case.threads]))
            with _forced(case.instruction_set):
                milliseconds.append(duration_ms(partial(answers.run, case)) / len(case.geometry))
        rounds += 1
        elapsed = time.perf_counter() - start

    rows: dict[tuple[Any, ...], list[int]] = {}
    for number, case in enumerate(group):
        rows.setdefault((case.name, case.data, case.engine, case.threads), []).append(number)
    return [
        _row([group[i] for i in members], reads[key[-1]], [calls[i] for i in members], [found[i] for i in members])
        for key, members in rows.items()
    ]


def _row(
    cases: list[Case], reads: list[float], calls: list[list[float]], found: list[answers.Answer]
) -> dict[str, Any]:
    """Milliseconds per view: over the rounds of one call, or over the medians of several, which ``calls`` keeps."""
    read = statistics.median(reads)
    medians = [statistics.median(times) for times in calls]
    case = cases[0]
    return {
        "case": case.name,
        "size": list(case.volume.shape),
        "data": case.data,
        "engine": case.engine,
        "threads": case.threads,
        "views": len(case.geometry),
        "read": _statistics(reads),
        "view": {**_statistics(calls[0] if len(cases) == 1 else medians), "mean": round(statistics.mean(medians), 3)},
        "times_read": round(statistics.median(medians) / read, 3),
        "times_read_at_worst": round(max(medians) / read, 3),
        "rounds": len(calls[0]),
        "calls": [_statistics(times) for times in calls] if len(cases) > 1 else [],
        "answer": {
            "relative_l2": max(answer.relative_l2 for answer in found),
            "worst": max(answer.worst for answer in found),
            "wrong": [what for answer in found for what in answer.wrong],
        },
    }


def _statistics(milliseconds: list[float]) -> dict[str, float]:
    found = {"median": statistics.median(milliseconds), "min": min(milliseconds), "max": max(milliseconds)}
    return {name: round(value, 3) for name, value in found.items()}


def duration_ms(task: Callable[[], object]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    task()
    return 1e3 * (time.perf_counter() - start)


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
