"""``drrproj render``: saved radiographs to pictures, without a new projection."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import drrproj
from drrproj.cli.commands import Commands, add_command, named_path
from drrproj.cli.display import add_display_arguments, display_choice
from drrproj.cli.earlier import PICTURES, add_overwrite, old_results
from drrproj.cli.exchange import exchanged
from drrproj.cli.results import as_text, check_view_names, output_folder, write_views
from drrproj.cli.structures import names_meant
from drrproj.cli.tube import TubeChoice, add_exposure_arguments, tube_choice

__all__ = ["add_to"]

_EXAMPLES = """\
examples:
  What `drrproj project --npz` saved, as a film: dense is dark, 8 bits, contrast equalized:
    drrproj render out/radiograph.npz --invert --bits 8 --clahe 0.01 -o film

  What the detector receives, of one view, with a window for the lungs: behind the spine there is a hundredth of it:
    drrproj render out/radiograph.npz --view PA --quantity transmission --window 0 0.25 -o photons

  Many radiographs with one grey scale, chosen from all of them:
    drrproj render cases/*/radiograph.npz -o pictures

  The noise of 3 uGy at the detector, and a detector that blurs:
    drrproj render out/radiograph.npz --kerma 3 --seed 1 --absorber CsI=0.6 --detector-blur 0.2 -o noisy

  A fixed window, dense is dark, the lateral view alone:
    drrproj render out/radiograph.npz --view LL --window 0 6 --invert -o dark
"""


def add_to(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands, "render", _run, "draw saved radiographs anew, with noise and blur, all with one grey scale", _EXAMPLES
    )
    add = parser.add_argument
    add("radiographs", type=named_path, nargs="+", metavar="NPZ", help="files that drrproj project --npz wrote")
    add("-o", "--out", type=named_path, required=True, metavar="OUT", help="folder for the pictures; made when missing")
    add_overwrite(add)
    add("--view", action="append", metavar="VIEW", help="draw this view alone; repeatable (default: all)")
    add("--overlay", nargs="+", action="extend", metavar="NAME", help="structures drawn, or patterns (default: all)")
    add("--no-legend", action="store_true", help="leave the names beside the overlay out: it has the picture's size")
    add_exposure_arguments(parser, tube=False)
    add_display_arguments(parser)


def _run(arguments: argparse.Namespace) -> None:
    tube, choice = tube_choice(arguments), display_choice(arguments)
    prefixes = _prefixes(arguments.radiographs)
    old = old_results(arguments, PICTURES)
    # Files are read once for the window and again to be drawn: a dataset would not fit into memory.
    display = choice(view for path in arguments.radiographs for view in _views(path, arguments, tube)[0])
    written = []
    with output_folder(arguments.out), exchanged(arguments, old) as new:
        for path, prefix in zip(arguments.radiographs, prefixes, strict=True):
            views, drawn = _views(path, arguments, tube)
            source = {"radiograph": as_text(path)}
            for view in views:
                written += write_views(new, view, lambda _: display, source, drawn, not arguments.no_legend, prefix)
    print(f"{display.quantity} from {display.low:.4g} to {display.high:.4g} in {display.bits} bits")
    print(f"wrote to {arguments.out}: {', '.join(written)}")


def _prefixes(paths: Sequence[Path]) -> list[str]:
    """What the pictures of each file are called by: nothing for a single file, else its name, or its folder's."""
    if len(paths) == 1:
        return [""]
    names = [Path(os.path.realpath(path)).parent.name if path.stem == "radiograph" else path.stem for path in paths]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"pictures of two files would be called {name}_...; render them into two folders")
    return [f"{name}_" for name in names]


def _views(
    path: Path, arguments: argparse.Namespace, tube: TubeChoice | None
) -> tuple[list[drrproj.Radiograph], list[str] | None]:
    """Read the views that are asked for, and the names of the structures drawn on them; None for all."""
    try:
        shot = drrproj.read_npz(path)
    except ValueError as error:
        # Which functions write and read such files is of no use here.
        wrong = str(error)
        for of_python in (", which write_npz writes", "; read_volume and read_labels read that"):
            wrong = wrong.replace(of_python, "")
        raise ValueError(f"{wrong}; pass the radiograph.npz of `drrproj project --npz`") from error
    # A view of a pose may be called by small letters itself.
    wanted = [name if name in shot else name.upper() for name in arguments.view or ()]
    drawn = None
    if arguments.overlay is not None:
        if "masks" not in shot.images:
            raise ValueError(f"{path} holds no labels for --overlay; project with --labels")
        found = [name for each in arguments.overlay for name in names_meant(each, list(shot.masks), str(path))]
        drawn = list(dict.fromkeys(found))
    if "line_integral" not in shot.images:
        raise ValueError(f"{path} holds no line integral to draw")
    for given, name in zip(arguments.view or (), wanted, strict=True):
        if name not in shot:
            raise ValueError(f"no view {given!r} in {path}; there are {', '.join(shot.geometry.names)}")
    chosen = {index: name for index, name in enumerate(shot.geometry.names) if not wanted or name in wanted}
    check_view_names(list(chosen.values()))
    if tube is not None:
        shot = tube.exposed(shot)
    return [shot[index] for index in chosen], drawn
