"""The choices about grey levels that commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import drrproj
from drrproj.extras import require

__all__ = ["add_display_arguments", "display_choice"]

Images = drrproj.Radiograph | Iterable[drrproj.Radiograph]


def add_display_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the group of arguments that :func:`display_choice` reads."""
    add = parser.add_argument_group("grey levels").add_argument
    add(
        "--quantity",
        choices=("line_integral", "transmission"),
        default="line_integral",
        help="what is shown: line integrals, dense is bright, or what the detector receives, dense is dark",
    )
    add("--window", nargs=2, type=float, metavar=("LOW", "HIGH"), help="values of the quantity at the two ends")
    add(
        "--percentiles",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="choose the window by percentiles inside the body (default: 0.5 99.5)",
    )
    add("--bits", type=int, choices=(8, 16), default=16, help="depth of the PNG files (default: 16)")
    add("--invert", action="store_true", help="turn the grey scale round, as MONOCHROME1 is shown")
    add(
        "--clahe",
        type=float,
        metavar="LIMIT",
        help="equalize contrast locally, clip limit such as 0.01; the levels then cannot be undone",
    )


def display_choice(arguments: argparse.Namespace) -> Callable[[Images], drrproj.Display]:
    """Check the choices, and return what turns images into the display of them all."""
    choices: dict[str, Any] = {
        "quantity": arguments.quantity,
        "bits": arguments.bits,
        "inverted": arguments.invert,
        "clahe": arguments.clahe,
    }
    if arguments.clahe is not None:
        require("render", "CLAHE", "skimage")
    if arguments.window is not None:
        if arguments.percentiles is not None:
            raise ValueError("--window and --percentiles both choose the window; leave one out")
        fixed = drrproj.Display(*arguments.window, **choices)
        return lambda images: fixed
    if arguments.percentiles is not None:
        choices["percentiles"] = arguments.percentiles
    drrproj.Display.fit(np.zeros(0), **choices)  # refuses bad choices before any work is done
    return lambda images: drrproj.Display.fit(images, **choices)
