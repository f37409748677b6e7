"""``drrproj demo``: X-rays of the bundled chest CT."""

from __future__ import annotations

import argparse
from pathlib import Path

import drrproj
from drrproj import io as drrproj_io
from drrproj.cli.commands import Commands, add_command, named_path
from drrproj.cli.earlier import PICTURES, add_overwrite, old_results
from drrproj.cli.exchange import exchanged
from drrproj.cli.projection import timed_projection
from drrproj.cli.results import output_folder, write_views
from drrproj.cli.screen import sizes

__all__ = ["add_to"]

_FOLDER = "drrproj_demo"

_EXAMPLES = """\
examples:
  drrproj demo                    X-rays of the bundled chest, into the folder drrproj_demo
  drrproj demo -o /tmp/chest      the same, elsewhere
"""


def add_to(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = add_command(commands, "demo", _run, "X-ray the bundled chest CT: PA and lateral, with anatomy", _EXAMPLES)
    parser.add_argument(
        "-o",
        "--out",
        type=named_path,
        metavar="OUT",
        help=f"folder (default: {_FOLDER}, whose pictures are made anew each time)",
    )
    add_overwrite(parser.add_argument)


def _run(arguments: argparse.Namespace) -> None:
    if arguments.out is None:
        arguments.out, arguments.overwrite = Path(_FOLDER), True
    old = old_results(arguments, PICTURES)
    ct, labels = drrproj_io.read_sample()
    views = [drrproj.Geometry.radiograph(view, ct, shape=(512, 512)) for view in ("PA", "LL")]
    print(f"chest CT of LIDC-IDRI-0001 at 3 mm (CC BY 3.0): {sizes(ct.shape)} voxels, {len(labels.names)} structures")
    with output_folder(arguments.out) as folder:
        geometry = drrproj.Geometry.concatenate(views)
        shot = timed_projection(
            geometry, lambda: drrproj.project(ct, geometry, labels=labels, outputs=("line_integral", "mask"))
        )
        with exchanged(arguments, old) as new:
            written = write_views(
                new,
                shot,
                drrproj.Display.fit,
                {"volume": "bundled sample chest_3mm"},
                drrproj_io.SAMPLE_ORGANS,
                legend=True,
            )
        print(f"wrote to {folder}: {', '.join(written)}")
    print(
        "*.png is the X-ray (16 bit, dense is bright), *_overlay.png shows "
        f"{len(drrproj_io.SAMPLE_ORGANS)} organs on it and their names, *.json says how it was made"
    )
