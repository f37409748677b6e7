"""One build at a time in a folder, and none beside the left-over workers of a killed one."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
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
# Record locks are between processes; within this one nothing else tells two builds apart, and the end of the second
# would give up the lock of the first.
_of_this_process: dict[Path, threading.Lock] = {}


@contextmanager
def only_build(folder: Path) -> Iterator[None]:
    """Be the only build in a folder until the block ends.

    Raises
    ------
    BlockingIOError
        If another build is at work there, or its workers do not end.
    OSError
        If the folder cannot be written to, or its file system has no locks.
    """
    here = _of_this_process.setdefault(folder.resolve(), threading.Lock())
    if not here.acquire(blocking=False):
        raise BlockingIOError(f"another build is at work in {folder}; wait until it ends")
    try:
        with _locked_against_others(folder):
            yield
    finally:
        here.release()


@contextmanager
def _locked_against_others(folder: Path) -> Iterator[None]:
    with _opened(folder) as file:
        if not _locked(file, _BUILD, fcntl.LOCK_EX, folder):
            raise BlockingIOError(f"another build is at work in {folder}; wait until it ends")
        deadline = time.monotonic() + _PATIENCE_S
        while not _locked(file, _WORKERS, fcntl.LOCK_EX, folder):
            if time.monotonic() > deadline:
                raise BlockingIOError(f"workers of an earlier build are still at work in {folder}; wait until they end")
            time.sleep(0.02)
        fcntl.lockf(file, fcntl.LOCK_UN, 1, _WORKERS, os.SEEK_SET)
        yield


def share_as_worker(folder: Path) -> None:
    """Let later builds wait until this worker process has ended."""
    file = _opened(folder)
    fcntl.lockf(file, fcntl.LOCK_SH, 1, _WORKERS, os.SEEK_SET)
    # Closing the file would give up the lock.
    _of_this_worker[folder] = file


def _opened(folder: Path) -> BinaryIO:
    try:
        return (folder / ".lock").open("a+b")
    except OSError as error:
        raise type(error)(f"cannot write to {folder}: {error.strerror}; choose another folder, or open it") from error


def _locked(file: BinaryIO, place: int, kind: int, folder: Path) -> bool:
    """Whether the lock was free, and is now held."""
    try:
        fcntl.lockf(file, kind | fcntl.LOCK_NB, 1, place, os.SEEK_SET)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise OSError(
            f"the file system of {folder} does not lock files ({error.strerror}), and two builds in one folder would "
            "spoil it; choose a folder on another, or have it mounted with locks"
        ) from error
    return True
