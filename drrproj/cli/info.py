"""``drrproj info``: what runs on this machine, and what does not and why; and which structures labels have."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import drrproj
from drrproj import backends
from drrproj.cli.commands import Commands, add_command, named_path
from drrproj.short_text import counted
from drrproj.threads import default_threads

__all__ = ["add_to"]

_EXAMPLES = """\
examples:
  drrproj info                    what runs on this machine, and what does not and why
  DRRPROJ_ISA=avx2 drrproj info   the same with one instruction set forced
  drrproj info seg.nii.gz         the structures of a label file: id and name, one a line
"""


def add_to(commands: Commands) -> None:
    """Add the command to the parser."""
    summary = "show versions, backends, instruction sets and threads; or the structures of labels"
    parser = add_command(commands, "info", _run, summary, _EXAMPLES)
    add = parser.add_argument
    add(
        "labels", type=named_path, nargs="*", metavar="SEG", help="list the structures of these, as --labels takes them"
    )
    add("--ct", type=named_path, metavar="CT", help="the CT that the contours of an RTSTRUCT are drawn on")


def _run(arguments: argparse.Namespace) -> None:
    if arguments.labels:
        _list_structures(arguments.labels, arguments.ct)
    elif arguments.ct is not None:
        raise ValueError("--ct belongs to labels; add the file whose structures are to be listed")
    else:
        _describe_machine()


def _list_structures(paths: Sequence[Path], ct: Path | None) -> None:
    volume = None if ct is None else drrproj.read_volume(ct)
    for path in paths:
        try:
            labels = drrproj.read_labels(path, volume=volume)
        except (ValueError, TypeError) as error:
            if not str(error).endswith("Is this the CT?"):
                raise
            raise ValueError(f"{error} (drrproj info lists the structures of labels)") from error
        print(f"{path}: {counted(len(labels.label_ids), 'structure')}")
        for label_id in sorted({*labels.names, *labels.label_ids}):
            print(label_id, labels.name_of(label_id), *(() if label_id in labels.label_ids else ("(no voxels)",)))


def _describe_machine() -> None:
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
