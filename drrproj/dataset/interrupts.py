"""Ctrl-C while processes start: it reaches all of them, and each would print where it was."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

__all__ = ["ctrl_c_waits"]


@contextmanager
def ctrl_c_waits() -> Iterator[None]:
    """Hold Ctrl-C back until the block ends; processes that start within it hold it back until they say otherwise."""
    # multiprocessing starts this process with the first one it is asked for, and then lets Ctrl-C in again.
    resource_tracker.ensure_running()
    pressed: list[int] = []
    handler = None
    # Other threads of this process still hear it, and Python tells the main one; a handler that is not Python's could
    # not be put back.
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is not None:
        handler = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if handler is not None:
            signal.signal(signal.SIGINT, handler)
        if pressed:
            signal.raise_signal(signal.SIGINT)
