"""How many threads to use when the caller does not say."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["default_threads"]

_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def default_threads() -> int:
    """Return the number of cores this process may use.

    ``DRRPROJ_NUM_THREADS`` or ``OMP_NUM_THREADS`` decide when set; else the cores that affinity and a container's
    CPU quota allow.

    Raises
    ------
    ValueError
        If one of those variables is not a positive whole number.
    """
    for variable in ("DRRPROJ_NUM_THREADS", "OMP_NUM_THREADS"):
        # OpenMP allows a list, one number per nesting level; the first is the one meant here.
        wanted = os.environ.get(variable, "").split(",")[0].strip()
        if wanted:
            if not wanted.isdecimal() or int(wanted) < 1:
                raise ValueError(f"{variable} must be a positive whole number; got {wanted!r}")
            return int(wanted)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _CPU_QUOTA.read_text().split()
        if quota != "max":
            cores = min(cores, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):
        # No cgroup v2 here: affinity is all there is to know.
        pass
    return cores
