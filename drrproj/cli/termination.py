"""SIGTERM, by which schedulers end a job: what was begun is put in order first, and none prints where it was."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

__all__ = ["TERMINATED", "Terminated", "sigterm_raises"]

TERMINATED = 128 + signal.SIGTERM
"""The exit code of a run that SIGTERM ended."""


class Terminated(KeyboardInterrupt):
    """The process was asked to end by SIGTERM; it ends as after Ctrl-C."""


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Have SIGTERM raise :class:`Terminated` until the block ends, where nobody else wants to hear it.

    Python would die of it at once, with results half exchanged, and what counts the semaphores of its pools would
    print that it left them behind.
    """

    def heard(*_: object) -> NoReturn:
        # Schedulers send it again, and the end is on its way.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    # A signal is heard by the main thread alone.
    is_ours = (
        threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )
    if is_ours:
        signal.signal(signal.SIGTERM, heard)
    try:
        yield
    finally:
        if is_ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
