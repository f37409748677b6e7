"""Which machine and which versions gave the figures."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import drrproj
from drrproj import backends


def describe() -> dict[str, Any]:
    """Everything about this machine that a figure depends on, as plain values."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "instruction_sets": list(backends.cpu_instruction_sets()),
        "commit": _commit(),
        "versions": {
            "drrproj": drrproj.__version__,
            "python": platform.python_version(),
            **_versions("numpy", "numba"),
        },
        "load_before": load(),
    }


def load() -> float | None:
    """How many processes wanted a core over the last minute; None where the system does not say."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _commit() -> str | None:
    """Of the tree that this file lies in, with ``-dirty`` where it was changed since; None where git does not know."""
    tree = Path(__file__).resolve().parent.parent
    # A copy without a repository of its own, unpacked inside of another, is not of that one's commit.
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tree.parent)}
    command = ["git", "--no-optional-locks", "-C", str(tree), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _cpu_model() -> str:
    """Model, with family and number where Linux tells them: some clouds hide the name."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    found = {key.strip(): value.strip() for key, value in fields.items()}
    if "model name" not in found:
        return platform.machine()
    return f"{found['model name']} (family {found.get('cpu family')}, model {found.get('model')})"


def _versions(*distributions: str) -> dict[str, str | None]:
    versions: dict[str, str | None] = {}
    for name in distributions:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return versions
