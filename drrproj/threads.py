"""How many threads to use: as many as the caller says, or an environment variable, or every core there is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["checked_threads", "default_threads"]

_MOST = 2**16 - 1
"""More than any machine has cores: a larger number is a mistake, and each thread would take memory to work in."""

_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def checked_threads(threads: int | None) -> int:
    """Return the number of threads that is asked for, or :func:`default_threads` for None.

    Raises
    ------
    ValueError
        If it is not a whole number from 1 to 65535.

    Examples
    --------
    >>> from drrproj.threads import checked_threads
    >>> checked_threads(2)
    2
    """
    return default_threads() if threads is None else _in_bounds(threads, "threads", threads)


def default_threads() -> int:
    """Return the number of cores this process may use.

    ``DRRPROJ_NUM_THREADS`` or ``OMP_NUM_THREADS`` decide when set; else the cores that affinity and a container's
    CPU quota allow.

    Raises
    ------
    ValueError
        If one of those variables is not a whole number from 1 to 65535.
    """
    for variable in ("DRRPROJ_NUM_THREADS", "OMP_NUM_THREADS"):
        # OpenMP allows a list, one number per nesting level; the first is the one meant here.
        wanted = os.environ.get(variable, "").split(",")[0].strip()
        if wanted:
            return _in_bounds(int(wanted) if wanted.isdecimal() else None, variable, wanted)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _CPU_QUOTA.read_text().split()
        if quota != "max":
            cores = min(cores, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):
        # No cgroup v2 here: affinity is all there is to know.
        pass
    return cores


def _in_bounds(number: Any, what: str, given: object) -> int:
    if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 1:
        raise ValueError(f"{what} must be a positive whole number; got {given!r}")
    if number > _MOST:
        raise ValueError(f"{what} must be at most {_MOST}; got {given!r}")
    return int(number)
