"""What a run is held to: ratios of medians of calls that took turns, at the main size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from cases import (
    AP_ALONE,
    AP_AT_ONCE,
    DEPTHS,
    FEW,
    MASKS,
    MM,
    POSES,
    POSES_ALONE,
    POSES_AT_ONCE,
    POSES_OF_FEW_PIXELS,
    SHARES,
)

TIMES_READING = {"AP cone": 2.0, "AP parallel": 2.0, "lateral": 3.0, "cranio-caudal": 3.0}
POSES_MEDIAN, POSES_WORST = 4.0, 6.0
C_ORDER = 1.2
INT16 = {"AP cone": 0.75}
"""Judged where memory is the limit; from elsewhere the ratio is told."""

AT_ONCE = 0.8
OF_FEW, OF_FEW_WITH_MASKS = 0.1, 0.2
"""A search over poses begins with few pixels, which are the faster for it; with masks beside the image to all alone."""

SECOND_THREAD = 1.8
NUMBA = 4.0
LABELS = {MM: 2.0, MASKS: 1.5, SHARES: None, DEPTHS: None}
"""Image and labels beside the image alone; shares and depths are told."""


class Ratio(NamedTuple):
    """A ratio and its bound; None where it is told and not judged."""

    name: str
    value: float
    bound: float | None
    at_least: bool = False

    @property
    def is_met(self) -> bool | None:
        if self.bound is None:
            return None
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def as_record(self) -> dict[str, Any]:
        """Plain values for the JSON."""
        return {**self._asdict(), "value": round(self.value, 3), "is_met": self.is_met}


class Rows:
    """The rows of the main size, found by what was measured; None where this machine could not measure it."""

    def __init__(self, figures: dict[str, Any]) -> None:
        self.size: list[int] = list(figures["settings"]["size"])
        self.threads: int = figures["settings"]["threads"]
        self.engine: str = figures["cases"][0]["engine"]
        self._rows = {
            (row["case"], row["data"], row["engine"], row["threads"]): row
            for row in figures["cases"]
            if row["size"] == self.size
        }

    def find(
        self, case: str, data: str = "float32 F", engine: str | None = None, threads: int | None = None
    ) -> dict[str, Any] | None:
        """Look a row up; the engine and the threads are this run's own where none are named."""
        return self._rows.get((case, data, engine or self.engine, threads or self.threads))

    def names(self, data: str) -> list[str]:
        """Everything that was measured on voxels stored like this by the run's own engine and threads."""
        usual = (data, self.engine, self.threads)
        return [case for case, *how in self._rows if tuple(how) == usual]


def ratios(figures: dict[str, Any]) -> Iterator[Ratio]:
    """Everything this run is held to, as far as the machine could measure it."""
    rows = Rows(figures)
    yield from _times_reading(rows)
    yield from _storage(rows)
    yield from _calls(rows)
    for peak in figures["memory"]:
        yield Ratio(f"MiB of memory, {peak['case']}", peak["bytes"] / 2**20, peak["bound"] / 2**20)
    for call in figures["overhead"]:
        name = f"us of a Projector's call, {call['threads']} thread{'s' * (call['threads'] > 1)}"
        yield Ratio(name, call["prepared_microseconds"], call["bound"])
    yield Ratio("import drrproj / import numpy", figures["import"]["ratio"], figures["import"]["bound"])


def _times_reading(rows: Rows) -> Iterator[Ratio]:
    for name, bound in TIMES_READING.items():
        if row := rows.find(name):
            yield Ratio(f"{name} / reading", row["times_read"], bound)
    if row := rows.find(POSES):
        yield Ratio(f"{POSES}, median / reading", row["times_read"], POSES_MEDIAN)
        yield Ratio(f"{POSES}, worst / reading", row["times_read_at_worst"], POSES_WORST)


def _storage(rows: Rows) -> Iterator[Ratio]:
    for name in rows.names("float32 C"):
        yield from _between(f"{name}, C / F order", rows.find(name, "float32 C"), rows.find(name), C_ORDER)
    for name in rows.names("int16 F"):
        yield from _between(f"{name}, int16 / float32", rows.find(name, "int16 F"), rows.find(name), INT16.get(name))


def _calls(rows: Rows) -> Iterator[Ratio]:
    for at_once, alone in ((POSES_AT_ONCE, POSES_ALONE), (AP_AT_ONCE, AP_ALONE)):
        # One call costs what its poses cost together, so it is their mean that it is held to.
        yield from _between(f"{at_once} / alone", rows.find(at_once), rows.find(alone), AT_ONCE, of="mean")
    few, many = rows.find(POSES_OF_FEW_PIXELS), rows.find(POSES_ALONE)
    yield from _between(f"{POSES_OF_FEW_PIXELS} / to all", few, many, OF_FEW, of="mean")
    few = rows.find(POSES_OF_FEW_PIXELS + MASKS, "int16 F")
    yield from _between(f"{POSES_OF_FEW_PIXELS}{MASKS} / the image to all", few, many, OF_FEW_WITH_MASKS, of="mean")
    for name in FEW:
        one, two = (rows.find(name, threads=threads) for threads in (1, 2))
        yield from _between(f"{name}, 1 / 2 threads", one, two, SECOND_THREAD, at_least=True)
        numba, baseline = (rows.find(name, engine=engine) for engine in ("numba", "cpu baseline"))
        yield from _between(f"{name}, numba / C++ baseline", numba, baseline, NUMBA)
        for what, bound in LABELS.items():
            with_labels, image = (rows.find(case, "int16 F") for case in (name + what, name))
            yield from _between(f"{name}{what} / image, int16", with_labels, image, bound)


def _between(
    name: str,
    over: dict[str, Any] | None,
    under: dict[str, Any] | None,
    bound: float | None,
    of: str = "median",
    at_least: bool = False,
) -> Iterator[Ratio]:
    if over and under:
        yield Ratio(name, over["view"][of] / under["view"][of], bound, at_least)
