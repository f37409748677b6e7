"""``drrproj view``: a picture of source, detector and patient, before anything is projected in earnest."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import drrproj
from drrproj.cli.commands import Commands, add_command
from drrproj.cli.results import output_folder
from drrproj.cli.screen import say
from drrproj.cli.views import add_view_arguments, views_of

__all__ = ["add_to"]

_EXAMPLES = """\
examples:
  Where do source and detector stand, and what is left and right in the picture?
    drrproj view ct.nii.gz --view PA -o setup
    drrproj view ct.nii.gz --c-arm 30 20 --sdd 1200 --sod 800 --pixel-spacing 0.8 -o setup

  Of pictures that were made before:
    drrproj view ct.nii.gz --of out/PA.json -o setup
"""

# What else the group of geometry takes, and what it is where nothing was given.
_GEOMETRY: dict[str, Any] = {
    "view": [],
    "c_arm": [],
    "pose": None,
    "beam": "cone",
    "sdd": None,
    "sod": None,
    "isocenter": None,
    "shape": (512, 512),
    "pixel_spacing": None,
}


def add_to(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = add_command(commands, "view", _run, "draw source, detector, patient and image of each view", _EXAMPLES)
    add = parser.add_argument
    add("ct", type=Path, metavar="CT", help="NIfTI file (.nii, .nii.gz)")
    add("-o", "--out", type=Path, required=True, metavar="OUT", help="folder for VIEW_scene.png; made when missing")
    add("--unit", choices=("HU", "1/mm"), default="HU", help="what the voxels are (default: HU)")
    add(
        "--prefer",
        choices=("sform", "qform", "pixdim"),
        help="sform or qform settles a disagreement of the two; pixdim accepts a file with neither",
    )
    add("--of", type=Path, metavar="JSON", help="the .json beside a picture, in place of the geometry's arguments")
    add_view_arguments(parser)


def _run(arguments: argparse.Namespace) -> None:
    say(f"reading {arguments.ct}")
    ct = drrproj.read_volume(arguments.ct, unit=arguments.unit, prefer=arguments.prefer)
    if arguments.of is None:
        geometry = views_of(arguments, ct)
    elif any(getattr(arguments, name) != default for name, default in _GEOMETRY.items()):
        raise ValueError(f"--of says the geometry; leave out --{', --'.join(_GEOMETRY).replace('_', '-')}")
    else:
        geometry = drrproj.read_geometry(arguments.of)
    print(geometry.describe(ct))
    with output_folder(arguments.out) as folder:
        written = [f"{name}_scene.png" for name in geometry.names]
        for view, name in zip(geometry, written, strict=True):
            drrproj.write_scene(folder / name, _with_its_picture(ct, view), ct)
        print(f"wrote to {folder}: {', '.join(written)}")


def _with_its_picture(ct: drrproj.Volume, view: drrproj.Geometry) -> drrproj.Geometry | drrproj.Radiograph:
    """Return the view with its X-ray; without one where the beam misses the CT, which the picture shows."""
    try:
        return drrproj.project(ct, view)
    except ValueError as error:
        print(f"view {view.names[0]}: no X-ray: {error}")
        return view
