"""One build at a time in a folder, and none beside the left-over workers of a killed one."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["only_build", "share_as_worker"]

# Record locks end with the process that holds them, however it ends. One byte stands for the build, one for workers.
_BUILD, _WORKERS = 0, 1
_PATIENCE_S = 10.0

_of_this_worker: dict[Path, BinaryIO] = {}


@contextmanager
def only_build(folder: Path) -> Iterator[None]:
    """Be the only build in a folder until the block ends.

    Raises
    ------
    BlockingIOError
        If another build is at work there, or its workers do not end.
    """
    with (folder / ".lock").open("a+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _BUILD, os.SEEK_SET)
        except OSError:
            raise BlockingIOError(f"another build is at work in {folder}; wait until it ends") from None
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _WORKERS, os.SEEK_SET)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise BlockingIOError(
                        f"workers of an earlier build are still at work in {folder}; wait until they end"
                    ) from None
                time.sleep(0.02)
        fcntl.lockf(file, fcntl.LOCK_UN, 1, _WORKERS, os.SEEK_SET)
        yield


def share_as_worker(folder: Path) -> None:
    """Let later builds wait until this worker process has ended."""
    file = (folder / ".lock").open("a+b")
    fcntl.lockf(file, fcntl.LOCK_SH, 1, _WORKERS, os.SEEK_SET)
    # Closing the file would give up the lock.
    _of_this_worker[folder] = file
