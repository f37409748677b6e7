"""The arguments that say where source and detector are, for every command that needs views of a CT."""

from __future__ import annotations

import argparse
from typing import Any, Literal

import drrproj
from drrproj.cli.commands import named_path
from drrproj.cli.results import check_view_names
from drrproj.io.geometries import holds_views
from drrproj.warned import warn

__all__ = ["add_view_arguments", "views_of", "warn_of_cut_views"]

_SHAPE = (512, 512)


class _Once(argparse.Action):
    """A file whose views would be lost where another one is given behind it."""

    def __call__(
        self, _: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        if getattr(namespace, self.dest) is not None:
            raise argparse.ArgumentError(self, "one file is taken; make the views of the other in a run of its own")
        setattr(namespace, self.dest, values)


def add_view_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the group of arguments that :func:`views_of` reads."""
    add = parser.add_argument_group("geometry").add_argument
    add(
        "--view",
        action="append",
        default=[],
        metavar="VIEW",
        help="AP, PA, LL or RL, repeatable; named by the beam (default: PA)",
    )
    add("--beam", choices=("cone", "parallel"), help="for --view (default: cone)")
    add(
        "--c-arm",
        action="append",
        nargs=2,
        type=float,
        default=[],
        metavar=("PRIMARY", "SECONDARY"),
        help="DICOM positioner angles, degrees: + LAO, + cranial; repeatable; needs --sdd, --sod, --pixel-spacing",
    )
    add(
        "--pose",
        type=named_path,
        action=_Once,
        metavar="FILE",
        help="take the views of a picture: the .json beside it, or a DICOM X-ray (XA, RF, DX, CR), whose tags --sdd, "
        "--sod and --pixel-spacing replace",
    )
    add("--sdd", type=float, metavar="MM", help="source to detector (default for --view: 1800)")
    add("--sod", type=float, metavar="MM", help="source to isocenter, for --c-arm and --pose")
    add("--isocenter", nargs=3, type=float, metavar=("X", "Y", "Z"), help="RAS+ mm (default: middle of the CT)")
    add("--shape", nargs=2, type=int, metavar=("ROWS", "COLUMNS"), help="pixels (default: 512 512)")
    add(
        "--pixel-spacing",
        nargs="+",
        type=float,
        metavar="MM",
        help="at the detector; one number, or row and column (default for --view: the whole CT fits)",
    )


def views_of(arguments: argparse.Namespace, ct: drrproj.Volume) -> drrproj.Geometry:
    """Build the views that are asked for."""
    spacing = arguments.pixel_spacing
    if spacing is not None and len(spacing) > 2:
        raise ValueError(f"--pixel-spacing takes one number, or row and column; got {len(spacing)} numbers")
    if spacing is not None and len(spacing) == 1:
        spacing = spacing[0]
    geometry = (_views_asked_for if arguments.pose is None else _views_of_a_picture)(arguments, spacing, ct)
    check_view_names(geometry.names)
    return geometry


def _radiographs(arguments: argparse.Namespace) -> list[str]:
    """Return the views of --view, or the one that is made where none is asked for."""
    return arguments.view or ([] if arguments.c_arm or arguments.pose is not None else ["PA"])


def _views_asked_for(
    arguments: argparse.Namespace, spacing: float | list[float] | None, ct: drrproj.Volume
) -> drrproj.Geometry:
    views = _radiographs(arguments)
    beam: Literal["cone", "parallel"] = arguments.beam or "cone"
    if beam == "parallel" and arguments.c_arm:
        raise ValueError("a C-arm's beam is a cone")
    shape = _SHAPE if arguments.shape is None else tuple(arguments.shape)
    geometries = [
        drrproj.Geometry.radiograph(view, ct, sdd=arguments.sdd, beam=beam, shape=shape, pixel_spacing=spacing)
        for view in views
    ]
    if arguments.c_arm:
        missing = [
            option
            for option, value in (("--sdd", arguments.sdd), ("--sod", arguments.sod), ("--pixel-spacing", spacing))
            if value is None
        ]
        if missing or spacing is None:
            raise ValueError(f"--c-arm needs {', '.join(missing)}")
        primary, secondary = zip(*arguments.c_arm, strict=True)
        geometries.append(
            drrproj.Geometry.c_arm(
                sdd=arguments.sdd,
                sod=arguments.sod,
                isocenter=ct.center if arguments.isocenter is None else arguments.isocenter,
                primary_angle=primary,
                secondary_angle=secondary,
                pixel_spacing=spacing,
                shape=shape,
                names=[f"c_arm_{first:+g}_{second:+g}" for first, second in arguments.c_arm],
            )
        )
    elif arguments.sod is not None or arguments.isocenter is not None:
        raise ValueError("--sod and --isocenter belong to --c-arm and --pose")
    return drrproj.Geometry.concatenate(geometries)


def _views_of_a_picture(
    arguments: argparse.Namespace, spacing: float | list[float] | None, ct: drrproj.Volume
) -> drrproj.Geometry:
    said = [name for name in ("view", "c_arm", "beam", "shape") if getattr(arguments, name)]
    if said:
        raise ValueError(f"--pose says the views; leave out --{', --'.join(said).replace('_', '-')}")
    isocenter, replaced = arguments.isocenter, (arguments.sdd, arguments.sod, spacing)
    if isocenter is None and (any(value is not None for value in replaced) or not holds_views(arguments.pose)):
        isocenter = ct.center
    return drrproj.read_geometry(arguments.pose, isocenter, sdd=arguments.sdd, sod=arguments.sod, pixel_spacing=spacing)


def warn_of_cut_views(arguments: argparse.Namespace, geometry: drrproj.Geometry, ct: drrproj.Volume) -> None:
    """Say which views do not show the whole CT; Geometry.radiograph speaks for those of --view."""
    for name, fits in zip(geometry.names, geometry.fits(ct), strict=True):
        if not fits and name not in map(str.upper, _radiographs(arguments)):
            warn(f"view {name} does not show the whole CT; drrproj view draws where it lies")
