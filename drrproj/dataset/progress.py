"""How far a build is, and when it will end."""

from __future__ import annotations

import datetime
import sys
import time
from collections import Counter
from typing import Any, TextIO

__all__ = ["Progress"]

_SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Tells a person at the screen: a bar of tqdm, where it is installed and the stream is a terminal, else lines.

    Parameters
    ----------
    total : int
        Cases to make.
    stream : text file, optional
        Where to; the standard error by default.
    """

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self._total, self._stream = total, stream or sys.stderr
        self._statuses: Counter[str] = Counter()
        self._start = self._told = time.monotonic()
        self._bar = _bar(total, self._stream)

    def close(self) -> None:
        """Leave the screen tidy."""
        if self._bar is not None:
            self._bar.close()

    def advance(self, status: str) -> None:
        """Count one more case."""
        self._statuses[status] += 1
        if self._bar is not None:
            self._bar.set_postfix(self._statuses, refresh=False)
            self._bar.update()
            return
        now, done = time.monotonic(), self._statuses.total()
        if done < self._total and now - self._told < _SECONDS_BETWEEN_LINES:
            return
        self._told = now
        print(self.line(now), file=self._stream, flush=True)

    def line(self, now: float) -> str:
        """Say in one line what is done, how fast it goes and when it ends."""
        done = self._statuses.total()
        parts = ", ".join(f"{count} {status}" for status, count in sorted(self._statuses.items()))
        elapsed = max(now - self._start, 1e-9)
        text = f"{done} of {self._total} cases ({parts}), {elapsed / max(done, 1):.2f} s a case"
        if done == self._total:
            return text
        left = elapsed / max(done, 1) * (self._total - done)
        end = datetime.datetime.now() + datetime.timedelta(seconds=left)
        return f"{text}, ends {end:%Y-%m-%d %H:%M:%S}"


def _bar(total: int, stream: TextIO) -> Any:
    if not stream.isatty():
        return None
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm(total=total, file=stream, unit="case")
