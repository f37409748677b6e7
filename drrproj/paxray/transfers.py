"""The authors' transfer functions by name: what each is made of, and the steps from projection to picture."""

# scikit-image's functions carry no types.
# mypy: allow-untyped-calls

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from drrproj.extras import from_extra
from drrproj.short_text import near_or_known

__all__ = [
    "TRANSFERS",
    "Transfer",
    "checked_crop",
    "crop_in_pixels",
    "cropped",
    "finished",
    "sigmoid",
    "transfer_named",
    "unsharp",
]

Step = Literal["sigmoid", "sharpen", "equalize", "crop"]
Image = npt.NDArray[Any]

# The authors' constants.
_SLOPE, _CENTER = -4.0, 2.0
UNSHARP_WEIGHT = 0.7
CROP = (64, 64)


@dataclass(frozen=True)
class Transfer:
    """How a projection becomes a picture.

    Parameters
    ----------
    image : {"sum", "absorbed"}
        The plain projection, or ``1 - exp(-projection)``.
    body_only : bool
        Whether couch and clothes are removed from the CT before.
    bones : int
        How often the bones come on top: on a sum they are added so many times, of an absorbed image there is a second
        one with the bones alone.
    steps : tuple of str
        What happens to the image, in this order.
    """

    image: Literal["sum", "absorbed"]
    body_only: bool = False
    bones: int = 0
    steps: tuple[Step, ...] = ()


TRANSFERS: dict[str, Transfer] = {
    "hist_mastu": Transfer("absorbed", bones=1, steps=("sigmoid", "sharpen", "equalize")),
    "sharpening_mastu": Transfer("absorbed", bones=1, steps=("sigmoid", "sharpen")),
    "bone_matsu": Transfer("absorbed", bones=1, steps=("sigmoid",)),
    "nonlinear_matsu": Transfer("absorbed", steps=("sigmoid",)),
    "matsu": Transfer("absorbed"),
    "numba_matsu": Transfer("absorbed"),
    "sum": Transfer("sum"),
    "hist": Transfer("sum", steps=("equalize",)),
    "hist_resized": Transfer("sum", steps=("crop", "equalize")),
    "hist_before_resized": Transfer("sum", steps=("equalize", "crop")),
    "noexterior": Transfer("sum", body_only=True),
    "noexterior_hist": Transfer("sum", body_only=True, steps=("equalize",)),
    "noexterior_hist_resized": Transfer("sum", body_only=True, steps=("equalize", "crop")),
    "bone_noexterior": Transfer("sum", body_only=True, bones=2),
    "bone_hist": Transfer("sum", body_only=True, bones=1, steps=("equalize",)),
    "bone_hist_resized": Transfer("sum", body_only=True, bones=1, steps=("equalize", "crop")),
}
"""By the authors' names, spelling included, without ``_transfer``; the first is their default. ``sum`` is the plain
HU sum of their table of FID scores, ``numba_matsu`` the same formula as ``matsu``."""


def transfer_named(name: str) -> Transfer:
    """Look a transfer function up, or say which there are."""
    if name not in TRANSFERS:
        raise ValueError(f"no transfer function {name!r}; {near_or_known(name, TRANSFERS)}")
    return TRANSFERS[name]


def checked_crop(name: str, crop: tuple[int, int] | None) -> tuple[int, int] | None:
    """Return what a transfer function crops, None where it does not; refuse a crop that it would not make."""
    if "crop" not in TRANSFERS[name].steps:
        if crop is not None:
            raise ValueError(f"{name} does not crop; leave crop out, or take a transfer function with resized")
        return None
    return CROP if crop is None else crop_in_pixels(crop)


def crop_in_pixels(crop: tuple[int, int]) -> tuple[int, int]:
    """Check that a crop is two whole numbers of pixels, none negative."""
    try:
        bottom, sides = map(operator.index, crop)
    except (TypeError, ValueError):
        bottom = sides = -1
    if bottom < 0 or sides < 0:
        raise ValueError(
            "crop must be two whole numbers of pixels, below and at each side, 0 or more, such as (64, 64); got "
            f"{crop!r}"
        )
    return bottom, sides


def finished(images: Sequence[Image], steps: Sequence[Step], crop: tuple[int, int] | None) -> Image:
    """Run the steps on one image, or on the image of everything and that of the bones.

    Numbers stay what they are: the order of the operations is the authors', because rounding follows it.
    """
    picture = images[0]
    for step in steps:
        if step == "sigmoid":
            picture = _inverted_sigmoids(images)
        elif step == "sharpen":
            picture = unsharp(picture)
        elif step == "equalize":
            with from_extra("render", "equalizing a histogram"):
                from skimage.exposure import equalize_hist
            picture = equalize_hist(picture)
        elif crop is not None:
            picture = cropped(picture, crop)
    return picture


def _inverted_sigmoids(images: Sequence[Image]) -> Image:
    total = sigmoid(images[0])
    for image in images[1:]:
        total = total + sigmoid(image)
    inverted: Image = 1 - total
    return inverted


def sigmoid(image: Image) -> Image:
    """``1 / (1 + exp(4 (x - 2 mean(x))))``: falls as x grows, and is 1/2 at twice the mean of the image."""
    falling: Image = 1 / (1 + np.exp(-_SLOPE * (image - _CENTER * image.mean())))
    return falling


def unsharp(image: Image) -> Image:
    """Add 0.7 times what the image has over its 3 x 3 mean; the edge is mirrored."""
    with from_extra("render", "sharpening"):
        from scipy.ndimage import uniform_filter
    mean = uniform_filter(image, size=3)
    sharper: Image = image + UNSHARP_WEIGHT * (image - mean)
    return sharper


def cropped(image: Image, crop: tuple[int, int]) -> Image:
    """Cut off rows below and columns at each side, or say that nothing would be left."""
    bottom, sides = crop
    rows, columns = image.shape
    if rows <= bottom or columns <= 2 * sides:
        raise ValueError(
            f"nothing is left of {rows} x {columns} pixels without the {bottom} lowest rows and {sides} columns of "
            "each side; choose a smaller crop, or a transfer function without one"
        )
    return image[: rows - bottom, sides : columns - sides]
