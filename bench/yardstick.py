"""What a machine can do at best: read an array once from end to end, and gather from anywhere."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj import backends

PIECES = 8
"""Pieces of memory per reading thread: more than one, so that a thread that starts late costs little."""

CACHED = 128 * 2**10
"""Bytes of a table that every core's own cache holds."""

GATHERS = 2**22
"""Gathers per thread and time, from as many places: they meet more memory than a cache holds."""


def reader(array: npt.NDArray[Any], threads: int) -> Callable[[], None]:
    """Return a call that reads the memory of an array once.

    By a bitwise or of 64-bit words, the least that NumPy can do with them: no maximum, sum or dot was faster.
    """
    memory = array.ravel(order="K")
    assert np.shares_memory(memory, array)
    whole_words = memory.nbytes // 8 * 8
    pieces = np.array_split(memory.view(np.uint8)[:whole_words].view(np.uint64), PIECES * threads)
    return _together(pieces, np.bitwise_or.reduce, threads)


def gathers(array: npt.NDArray[np.float32], threads: int, repeats: int) -> list[dict[str, Any]]:
    """Measure gathers of float32 from a table in the cache and from an array in memory, by Numba.

    Its loop becomes the gathers of vectorized engines; ``numpy.take`` is slower. Empty where Numba is not installed.
    """
    if backends.why_unavailable("numba") is not None:
        return []
    import numba

    add_up = numba.njit(nogil=True, fastmath=True)(_add_up)
    memory = array.ravel(order="K")
    draw = np.random.default_rng(7)
    rates = []
    for where, table, places in (
        ("cache", memory[: CACHED // 4], 2**13),
        ("memory", memory, GATHERS),
    ):
        indices = [draw.integers(0, len(table), places).astype(np.uint32) for _ in range(threads)]
        add_up(table, indices[0], 1)
        for team in sorted({1, threads}):
            run = _together(indices[:team], partial(add_up, table, times=GATHERS // places), team)
            seconds = statistics.median(_seconds(run) for _ in range(repeats))
            rate = GATHERS / seconds / 1e9
            rates.append({"from": where, "bytes": table.nbytes, "threads": team, "billions_per_s_and_thread": rate})
    return rates


def _add_up(table: npt.NDArray[np.float32], indices: npt.NDArray[np.uint32], times: int) -> Any:
    """Sum what the indices point at: a loop for Numba."""
    total = np.float32(0)
    for _ in range(times):
        for index in indices:
            total += table[index]
    return total


def _together(work: Sequence[Any], do: Callable[[Any], object], threads: int) -> Callable[[], None]:
    """Return a call that does each piece of work once with this many threads, the caller's among them.

    A caller that only waits frees its core when the work has already been handed to threads elsewhere.
    """
    pool = ThreadPoolExecutor(max(1, threads - 1))

    def share(pieces: Iterator[Any]) -> None:
        for piece in pieces:
            do(piece)

    def run() -> None:
        pieces = iter(work)
        helpers = [pool.submit(share, pieces) for _ in range(threads - 1)]
        share(pieces)
        for helper in helpers:
            helper.result()

    return run


def _seconds(task: Callable[[], object]) -> float:
    start = time.perf_counter()
    task()
    return time.perf_counter() - start
