"""One peer in a process of its own, so that its threads, its allocator and its imports meet nobody else's.

Run as a program in an empty folder, with a peer's and a case's name and the module that has the peer's call: it leaves
the answer there as images.npy, says so, and then projects once more for every line it gets. Each reply is a line of
JSON.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

ANSWER, ERRORS = "images.npy", "errors.txt"
CALLS, SECONDS = 7, 20.0
"""Calls of each peer, and after how many seconds no more of them: the slow ones take minutes."""

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
"""What the libraries of the peers ask for the number of threads."""


class Missing(Exception):
    """The peer, or something it needs, is not installed; the argument is the module."""


class Failed(Exception):
    """The peer's process ended; the argument is the last that it said."""


class Peer(NamedTuple):
    """A running peer: its version, its answer, and its process."""

    version: str
    images: npt.NDArray[Any]
    process: subprocess.Popen[str]
    folder: Path

    def seconds(self) -> float:
        """Project once more."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(_reply(self.process, self.folder)["seconds"])

    def in_turns_with(
        self, ours: Callable[[], object], seconds: float = SECONDS, ours_a_turn: int = 1
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Milliseconds of the peer and of a call of ours, which take turns; both ``statistics_of``."""
        theirs: list[float] = []
        mine: list[float] = []
        start = time.perf_counter()
        while not theirs or (len(theirs) < CALLS and time.perf_counter() - start < seconds):
            theirs.append(self.seconds())
            for _ in range(ours_a_turn):
                before = time.perf_counter()
                ours()
                mine.append(time.perf_counter() - before)
        return statistics_of(theirs), statistics_of(mine)


def statistics_of(seconds: list[float]) -> dict[str, float]:
    """Median, least and most, in milliseconds, and of how many calls."""
    found = {"median": statistics.median(seconds), "min": min(seconds), "max": max(seconds)}
    return {**{name: round(1e3 * value, 3) for name, value in found.items()}, "calls": len(seconds)}


@contextlib.contextmanager
def started(peer: str, case: str, threads: int, calls: str = "peer_calls") -> Iterator[Peer]:
    """Start a peer and wait for its first answer, which warms it up."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            (folder / ERRORS).open("w") as errors,
            subprocess.Popen(
                [sys.executable, __file__, peer, case, calls],
                cwd=folder,
                env={**os.environ, **dict.fromkeys(THREADS, str(threads))},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            ) as process,
        ):
            first = _reply(process, folder)
            if "missing" in first:
                raise Missing(first["missing"])
            yield Peer(first["version"], np.load(folder / ANSWER), process, folder)


def _reply(process: subprocess.Popen[str], folder: Path) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        process.wait()
        said = (folder / ERRORS).read_text().strip().splitlines()
        raise Failed(said[-1] if said else f"exit code {process.returncode}")
    reply: dict[str, Any] = json.loads(line)
    return reply


def _serve(name: str, case: str, calls: str) -> None:
    # Here, so that the command itself imports no peer.
    module = importlib.import_module(calls)

    replies = os.fdopen(os.dup(1), "w")
    # Whatever a peer prints goes to the errors instead of between the replies.
    os.dup2(2, 1)

    def reply(**values: Any) -> None:
        print(json.dumps(values), file=replies, flush=True)

    peer = module.PEERS[name]
    try:
        call = peer.prepare(module.prepare(case))
    except ModuleNotFoundError as error:
        reply(missing=error.name)
        return
    np.save(ANSWER, call().images)
    reply(version=importlib.metadata.version(peer.distribution))
    for _ in sys.stdin:
        reply(seconds=call().seconds)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
