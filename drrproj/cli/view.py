"""``drrproj view``: a picture of source, detector and patient, before anything is projected in earnest."""

from __future__ import annotations

import argparse

import drrproj
from drrproj.cli.commands import Commands, add_command, named_path
from drrproj.cli.ct import add_ct, add_ct_arguments, read_ct
from drrproj.cli.earlier import add_overwrite, check_earlier
from drrproj.cli.exchange import exchanged
from drrproj.cli.results import output_folder
from drrproj.cli.views import add_view_arguments, views_of
from drrproj.io.scene import is_scene

__all__ = ["add_to"]

_EXAMPLES = """\
examples:
  Where do source and detector stand, and what is left and right in the picture?
    drrproj view ct.nii.gz --view PA -o setup
    drrproj view ct.nii.gz --c-arm 30 20 --sdd 1200 --sod 800 --pixel-spacing 1.8 -o setup

  Of a picture that was made before, and of a C-arm's own file:
    drrproj view ct.nii.gz --pose out/PA.json -o setup
    drrproj view dicom_folder/ --pose angiogram.dcm -o setup
"""


def add_to(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = add_command(commands, "view", _run, "draw source, detector, patient and image of each view", _EXAMPLES)
    add_ct(parser)
    parser.add_argument(
        "-o",
        "--out",
        type=named_path,
        required=True,
        metavar="OUT",
        help="folder for VIEW_scene.png; made when missing",
    )
    add_overwrite(parser.add_argument)
    add_ct_arguments(parser.add_argument_group("input"))
    add_view_arguments(parser)


def _run(arguments: argparse.Namespace) -> None:
    alike = sorted(arguments.out.glob("*_scene.png"))
    old = [path for path in alike if is_scene(path)]
    check_earlier(arguments, old, alike)
    ct = read_ct(arguments)
    geometry = views_of(arguments, ct)
    print(geometry.describe(ct))
    with output_folder(arguments.out) as folder:
        written = [f"{name}_scene.png" for name in geometry.names]
        with exchanged(arguments, old) as new:
            for view, name in zip(geometry, written, strict=True):
                drrproj.write_scene(new / name, _with_its_picture(ct, view), ct)
        print(f"wrote to {folder}: {', '.join(written)}")


def _with_its_picture(ct: drrproj.Volume, view: drrproj.Geometry) -> drrproj.Geometry | drrproj.Radiograph:
    """Return the view with its X-ray; without one where the beam misses the CT, which the picture shows."""
    try:
        return drrproj.project(ct, view)
    except ValueError as error:
        print(f"view {view.names[0]}: no X-ray: {error}")
        return view
