"""``drrproj info``: what runs on this machine, and what does not and why."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform

import drrproj
from drrproj import backends
from drrproj.cli.commands import Commands, add_command
from drrproj.threads import default_threads

__all__ = ["add_to"]

_EXAMPLES = """\
examples:
  drrproj info                    what runs on this machine, and what does not and why
  DRRPROJ_ISA=avx2 drrproj info   the same with one instruction set forced
"""


def add_to(commands: Commands) -> None:
    """Add the command to the parser."""
    add_command(commands, "info", _run, "show versions, backends, instruction sets and threads", _EXAMPLES)


def _run(_: argparse.Namespace) -> None:
    print(
        f"drrproj {drrproj.__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    )
    for name in backends.NAMES:
        reason = backends.why_unavailable(name)
        print(f"backend {name:6}", f"not available: {reason}" if reason else "available")
    sets = backends.cpu_instruction_sets()
    if sets:
        print(f"instruction sets {', '.join(sets)}; in use: {backends.instruction_set('cpu')}")
    print(f"threads {default_threads()} of {os.cpu_count()} cores")
    for distribution in (
        "numpy",
        "nibabel",
        "isal",
        "numba",
        "Pillow",
        "pydicom",
        "highdicom",
        "pynrrd",
        "scipy",
        "scikit-image",
    ):
        try:
            print(distribution, importlib.metadata.version(distribution))
        except importlib.metadata.PackageNotFoundError:
            print(distribution, "not installed")
