"""The arguments that say which volume to read, for every command that reads one."""

from __future__ import annotations

import argparse

import drrproj
from drrproj.cli.commands import named_path
from drrproj.cli.screen import say

__all__ = ["add_ct", "add_ct_arguments", "read_ct"]


def add_ct(parser: argparse.ArgumentParser) -> None:
    """Add the first argument, the volume itself."""
    parser.add_argument(
        "ct", type=named_path, metavar="CT", help="DICOM folder or zip, NIfTI, NRRD, MetaImage or NumPy file"
    )


def add_ct_arguments(group: argparse._ArgumentGroup) -> None:
    """Add what settles how the volume is read."""
    group.add_argument("--unit", choices=("HU", "1/mm"), default="HU", help="what the voxels are (default: HU)")
    group.add_argument("--series", metavar="NAME", help="of a DICOM folder with several: description, number or UID")
    group.add_argument(
        "--prefer",
        choices=("sform", "qform", "pixdim"),
        help="sform or qform settles a disagreement of the two; pixdim accepts a file with neither",
    )


def read_ct(arguments: argparse.Namespace) -> drrproj.Volume:
    """Read the volume that the arguments name."""
    say(f"reading {arguments.ct}")
    return drrproj.read_volume(arguments.ct, arguments.unit, arguments.prefer, arguments.series)
