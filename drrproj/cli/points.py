"""``drrproj points``: 3-D landmarks to a table of pixels."""

from __future__ import annotations

import argparse
import os

import drrproj
from drrproj.cli.commands import Commands, add_command, named_path
from drrproj.io.geometries import holds_views
from drrproj.short_text import counted

__all__ = ["add_to"]

_EXAMPLES = """\
examples:
  Where are the landmarks of 3D Slicer in the pictures that drrproj project made?
    drrproj points landmarks.mrk.json out/PA.json out/LL.json -o points.csv

  The same from a table with the columns name, x, y, z in LPS:
    drrproj points landmarks.csv out/PA.json --space LPS -o points.csv
"""


def add_to(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = add_command(commands, "points", _run, "say where 3-D landmarks lie in the pictures", _EXAMPLES)
    add = parser.add_argument
    add(
        "landmarks",
        type=named_path,
        metavar="LANDMARKS",
        help=".mrk.json of 3D Slicer, or .csv with name, x, y, z in mm",
    )
    add(
        "pictures",
        type=named_path,
        nargs="+",
        metavar="PICTURE",
        help="the .json beside each picture, or its .dcm by --dicom",
    )
    add("--space", choices=("RAS", "LPS"), help="frame of x, y, z in a .csv (default: RAS)")
    add(
        "-o", "--out", type=named_path, required=True, metavar="CSV", help="table: view, name, row, column, on_detector"
    )
    add("--overwrite", action="store_true", help="replace CSV where there is one (default: refuse)")


def _run(arguments: argparse.Namespace) -> None:
    if os.path.realpath(arguments.out) in map(os.path.realpath, (arguments.landmarks, *arguments.pictures)):
        raise ValueError(f"this run reads {arguments.out}, which the table would replace; choose another name with -o")
    if arguments.out.is_file() and not arguments.overwrite:
        raise ValueError(f"there is a file {arguments.out}; choose another name with -o, or add --overwrite")
    for picture in arguments.pictures:
        if not holds_views(picture):
            raise ValueError(
                f"{picture}: it does not say where the patient's CT lies; make a picture of it (drrproj project CT "
                "--pose FILE), and pass the .json beside that"
            )
    landmarks = drrproj.read_landmarks(arguments.landmarks, arguments.space)
    views = [view for picture in arguments.pictures for view in drrproj.read_geometry(picture)]
    drrproj.write_projected_landmarks(arguments.out, landmarks, views)
    found = counted(len(landmarks), "landmark")
    print(f"wrote {arguments.out}: {found} in {', '.join(view.names[0] for view in views)}")
