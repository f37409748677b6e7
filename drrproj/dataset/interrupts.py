"""Ctrl-C and SIGTERM while a build's processes start: none of them is to print where it was."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

__all__ = ["ctrl_c_waits"]


@contextmanager
def ctrl_c_waits() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back until the block ends.

    Processes that start within it hold Ctrl-C back until they say otherwise; of SIGTERM they die without a word.
    """
    # multiprocessing starts this process with the first one it is asked for, and then lets Ctrl-C in again.
    resource_tracker.ensure_running()
    came: list[int] = []
    # Other threads of this process still hear it, and Python tells the main one; a handler that is not Python's could
    # not be put back.
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        if signal.getsignal(signal.SIGINT) is not None:
            handlers[signal.SIGINT] = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
        if callable(signal.getsignal(signal.SIGTERM)):
            handlers[signal.SIGTERM] = signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
