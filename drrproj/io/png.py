"""PNG pictures: the X-ray in 16 bits with its display range, and a preview with the anatomy drawn on it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from drrproj.io.label_colors import label_color
from drrproj.io.one_view import line_integral_of_one_view
from drrproj.io.replace import replaced
from drrproj.radiograph import Radiograph

__all__ = ["QUANTITY", "display_window", "write_overlay", "write_png"]

QUANTITY = "line integral of linear attenuation, dimensionless"

# Rays with less attenuation than this have passed nothing but air: 0.05 is 2.5 mm of water.
_BODY = 0.05
_PERCENTILES = (0.5, 99.5)

# A tint takes its brightness from the X-ray, down to this floor, so that the picture shows through it.
_TINT_FLOOR = 0.15
_FILL_OPACITY = 0.5
_OUTLINE_OPACITY = 0.6

Bools = npt.NDArray[np.bool_]


def write_png(
    path: str | os.PathLike[str], radiograph: Radiograph, window: Sequence[float] | None = None
) -> tuple[float, float]:
    """Write one view as a 16-bit greyscale PNG, dense is bright.

    ``round(65535 * clip((line_integral - low) / (high - low), 0, 1))``; low, high and the quantity stand in the
    file's text chunks ``display_low``, ``display_high`` and ``display_quantity``.

    Parameters
    ----------
    path : str or path
        Replaced whole, or left as it was.
    radiograph : Radiograph
        Of one view; take one of several by ``radiograph["PA"]``.
    window : (float, float), optional
        Line integrals shown black and white. By default the 0.5 and 99.5 percentile of the rays that met the body
        (more than 0.05). For a dataset, give the same window to all pictures.

    Returns
    -------
    (float, float)
        The window used.

    Raises
    ------
    ValueError
        If there are several views or no line integral, or the window is empty.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import numpy as np, drrproj, tempfile
    >>> slab = drrproj.Volume(np.full((20, 10, 20), 0.02), np.eye(4), unit="1/mm")
    >>> shot = drrproj.project(slab, drrproj.Geometry.radiograph("PA", slab, shape=(32, 32)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     drrproj.write_png(f"{folder}/pa.png", shot, window=(0, 0.5))
    (0.0, 0.5)
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    image = line_integral_of_one_view(radiograph)
    low, high = display_window(image, window)
    levels = np.rint(_displayed(image, low, high) * 65535).astype(np.uint16)
    text = PngInfo()
    text.add_text("display_low", repr(low))
    text.add_text("display_high", repr(high))
    text.add_text("display_quantity", QUANTITY)
    with replaced(path) as file:
        # Level 1 takes a quarter of the default's time for a file 6 % larger.
        Image.fromarray(levels).save(file, format="PNG", compress_level=1, pnginfo=text)
    return low, high


def write_overlay(
    path: str | os.PathLike[str],
    radiograph: Radiograph,
    labels: Iterable[str | int] | None = None,
    window: Sequence[float] | None = None,
) -> tuple[float, float]:
    """Write one view as an 8-bit RGB PNG with its anatomy drawn on it.

    Every structure gets an outline; a pixel is tinted by the smallest structure on it, so that small ones stay
    visible on large ones. A structure's colour follows from its name (:func:`drrproj.io.label_colors.label_color`).

    Parameters
    ----------
    path : str or path
        Replaced whole, or left as it was.
    radiograph : Radiograph
        Of one view, with masks or path lengths.
    labels : iterable of str or int, optional
        Names or ids to draw; by default all.
    window : (float, float), optional
        As in :func:`write_png`.

    Returns
    -------
    (float, float)
        The window used.

    Raises
    ------
    ValueError
        If there are several views, no line integral or no labels, or the window is empty.
    KeyError
        If a label is not in the radiograph.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import numpy as np, drrproj, tempfile
    >>> ct = drrproj.Volume(np.zeros((20, 10, 20), np.int16), np.eye(4))
    >>> left_half = np.arange(20)[:, None, None] * np.ones((20, 10, 20), np.int16) < 10
    >>> labels = drrproj.LabelVolume(left_half, np.eye(4), {1: "left half"})
    >>> shot = drrproj.project(ct, drrproj.Geometry.radiograph("PA", ct, shape=(32, 32)), labels=labels)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     drrproj.write_overlay(f"{folder}/pa.png", shot, ["left half"], window=(0, 0.5))
    (0.0, 0.5)
    """
    from PIL import Image

    image = line_integral_of_one_view(radiograph)
    low, high = display_window(image, window)
    masks = _masks_by_name(radiograph, labels)
    brightness = _displayed(image, low, high)[..., None]
    fill, outline = (np.zeros((*image.shape, 3), np.float32) for _ in range(2))
    filled, outlined = (np.zeros(image.shape, bool) for _ in range(2))
    for name in sorted(masks, key=lambda name: (-np.count_nonzero(masks[name]), name)):
        color, edge = label_color(name), _edge(masks[name])
        fill[masks[name]], outline[edge] = color, color
        filled |= masks[name]
        outlined |= edge
    picture = np.repeat(brightness * 255, 3, axis=-1)
    tint = fill * (_TINT_FLOOR + (1 - _TINT_FLOOR) * brightness)
    picture[filled] += _FILL_OPACITY * (tint - picture)[filled]
    picture[outlined] += _OUTLINE_OPACITY * (outline - picture)[outlined]
    with replaced(path) as file:
        Image.fromarray(np.rint(picture).astype(np.uint8)).save(file, format="PNG", compress_level=1)
    return low, high


def display_window(image: npt.NDArray[np.float32], window: Sequence[float] | None) -> tuple[float, float]:
    if window is not None:
        # In float32, as the picture is: a window narrower than its rounding shows nothing.
        with np.errstate(over="ignore"):
            ends = np.asarray(window, dtype=np.float32)
        if ends.shape != (2,) or not np.isfinite(ends).all() or not 0 < ends[1] - ends[0] < np.inf:
            raise ValueError(f"window must be two line integrals, low below high; got {tuple(window)}")
        return float(window[0]), float(window[1])
    body = image[image > _BODY]
    if not body.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(body, _PERCENTILES))
    return (low, high) if low < high else (0.0, high)


def _displayed(image: npt.NDArray[np.float32], low: float, high: float) -> npt.NDArray[np.float32]:
    displayed: npt.NDArray[np.float32] = np.clip((image - np.float32(low)) / np.float32(high - low), 0.0, 1.0)
    return displayed


def _masks_by_name(radiograph: Radiograph, labels: Iterable[str | int] | None) -> dict[str, Bools]:
    found = radiograph.masks if radiograph.masks is not None else radiograph.path_length
    if found is None:
        raise ValueError("this radiograph has no labels to draw; pass labels= to project()")
    if isinstance(labels, str):
        labels = [labels]
    name_of = dict(zip(found.label_ids, found, strict=True))
    return {
        name_of.get(label, str(label)) if not isinstance(label, str) else label: found[label][0] > 0
        for label in (found if labels is None else labels)
    }


def _edge(mask: Bools) -> Bools:
    inside = np.pad(mask, 1, mode="edge")
    core = inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    edge: Bools = mask & ~core
    return edge
