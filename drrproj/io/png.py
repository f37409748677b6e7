"""PNG pictures: the X-ray with its display, a finished picture, and a preview with the anatomy drawn on it."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from drrproj.display import Display, Picture
from drrproj.given_numbers import real_numbers
from drrproj.io.chosen_masks import chosen_places
from drrproj.io.endings import require_ending
from drrproj.io.label_colors import label_color
from drrproj.io.legend import with_legend
from drrproj.io.one_view import line_integral_of_one_view
from drrproj.radiograph import Radiograph
from drrproj.replace import replaced
from drrproj.short_text import shown

__all__ = ["display_of", "write_overlay", "write_picture", "write_png"]

_PNG = ("a PNG file", ".png")

# A tint takes its brightness from the X-ray, down to this floor, so that the picture shows through it.
_TINT_FLOOR = 0.15
_FILL_OPACITY = 0.5
_OUTLINE_OPACITY = 0.6

Bools = npt.NDArray[np.bool_]


def write_png(
    path: str | os.PathLike[str],
    radiograph: Radiograph,
    window: Sequence[float] | None = None,
    *,
    display: Display | None = None,
) -> Display:
    """Write one view as a greyscale PNG; by default 16 bit, dense is bright.

    The file's text chunks ``display_low``, ``display_high``, ``display_quantity``, ``display_bits``,
    ``display_inverted`` and ``display_clahe`` say how its levels come from line integrals.

    Parameters
    ----------
    path : str or path
        Ends in ``.png``. Replaced whole, or left as it was.
    radiograph : Radiograph
        Of one view; take one of several by ``radiograph["PA"]``.
    window : (float, float), optional
        Line integrals shown black and white. By default the 0.5 and 99.5 percentile of the rays that met the body
        (more than 0.05).
    display : Display, optional
        Everything about the grey levels, in place of ``window``. For a dataset, give the same one to all pictures.

    Returns
    -------
    Display
        What was used; its ``as_record()`` belongs into a sidecar.

    Raises
    ------
    TypeError
        If ``radiograph`` or ``display`` is none.
    ValueError
        If there are several views or no line integral, the window is empty, both window and display are given, or the
        name has another ending.
    ImportError
        If the display asks for CLAHE and scikit-image is not installed.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import numpy as np, drrproj, tempfile
    >>> slab = drrproj.Volume(np.full((20, 10, 20), 0.02), np.eye(4), unit="1/mm")
    >>> shot = drrproj.project(slab, drrproj.Geometry.radiograph("PA", slab, shape=(32, 32)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     used = drrproj.write_png(f"{folder}/pa.png", shot, window=(0, 0.5))
    >>> used.low, used.high, used.bits
    (0.0, 0.5, 16)
    """
    require_ending(path, *_PNG)
    image = line_integral_of_one_view(radiograph)
    used = display_of(image, window, display)
    text = {f"display_{key}": str(value) for key, value in used.as_record().items()}
    _write_levels(path, used.levels(image), text)
    return used


def write_picture(path: str | os.PathLike[str], picture: Picture) -> None:
    """Write a finished picture, such as those of :mod:`drrproj.paxray`, as a greyscale PNG of 8 or 16 bits.

    Parameters
    ----------
    path : str or path
        Ends in ``.png``. Replaced whole, or left as it was.
    picture : Picture
        Its levels go into the file as they are; its record goes into a sidecar by
        ``drrproj.write_sidecar(path, picture)``.

    Raises
    ------
    TypeError
        If ``picture`` is none.
    ValueError
        If the name has another ending.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import numpy as np, drrproj, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     drrproj.write_picture(f"{folder}/black.png", drrproj.Picture(np.zeros((4, 6), np.uint8), {}))
    """
    require_ending(path, *_PNG)
    if not isinstance(picture, Picture):
        raise TypeError(f"picture must be a drrproj.Picture; got {type(picture).__name__}")
    _write_levels(path, picture.levels, {})


def write_overlay(
    path: str | os.PathLike[str],
    radiograph: Radiograph,
    labels: Iterable[str | int] | str | int | None = None,
    window: Sequence[float] | None = None,
    *,
    display: Display | None = None,
    legend: bool = False,
) -> Display:
    """Write one view as an 8-bit RGB PNG with its anatomy drawn on it.

    Every structure gets an outline; a pixel is tinted by the smallest structure on it, so that small ones stay
    visible on large ones. A structure's colour follows from its name (:func:`drrproj.io.label_colors.label_color`).

    Parameters
    ----------
    path : str or path
        Ends in ``.png``. Replaced whole, or left as it was.
    radiograph : Radiograph
        Of one view, with masks or path lengths.
    labels : str or int, or iterable of them, optional
        Names or ids to draw; by default all.
    window, display : optional
        As in :func:`write_png`.
    legend : bool
        Name the structures that are seen, each beside its colour, in a strip on the picture's right, which makes the
        file wider and leaves the pixels where they are. Of very many the largest are named.

    Returns
    -------
    Display
        What was used.

    Raises
    ------
    TypeError
        If ``radiograph`` or ``display`` is none.
    ValueError
        If there are several views, no line integral or no labels, the window is empty, both window and display are
        given, or the name has another ending.
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
    ...     drrproj.write_overlay(f"{folder}/pa.png", shot, ["left half"], window=(0, 0.5)).high
    0.5
    """
    from PIL import Image

    require_ending(path, *_PNG)
    image = line_integral_of_one_view(radiograph)
    used = display_of(image, window, display)
    masks = _masks_by_name(radiograph, labels)
    levels = used.levels(image)
    brightness = (levels / np.float32(np.iinfo(levels.dtype).max))[..., None]
    fill, outline = (np.zeros((*image.shape, 3), np.float32) for _ in range(2))
    filled, outlined = (np.zeros(image.shape, bool) for _ in range(2))
    areas = {name: int(np.count_nonzero(mask)) for name, mask in masks.items()}
    for name in sorted(masks, key=lambda name: (-areas[name], name)):
        color, edge = label_color(name), _edge(masks[name])
        fill[masks[name]], outline[edge] = color, color
        filled |= masks[name]
        outlined |= edge
    picture = np.repeat(brightness * 255, 3, axis=-1)
    tint = fill * (_TINT_FLOOR + (1 - _TINT_FLOOR) * brightness)
    picture[filled] += _FILL_OPACITY * (tint - picture)[filled]
    picture[outlined] += _OUTLINE_OPACITY * (outline - picture)[outlined]
    drawn = np.rint(picture).astype(np.uint8)
    if legend:
        seen = [name for name in masks if areas[name]]
        drawn = with_legend(drawn, seen, [areas[name] for name in seen])
    with replaced(path) as file:
        Image.fromarray(drawn).save(file, format="PNG", compress_level=1)
    return used


def display_of(
    image: npt.NDArray[np.float32], window: Sequence[float] | None, display: Display | None = None
) -> Display:
    """Return the display of an image: the one given, the one of a window, or by default one that fits the image."""
    if display is None:
        if window is None:
            return Display.fit(image)
        wanted = "window must be two line integrals, low below high"
        ends = real_numbers(window, wanted)
        if ends.shape != (2,):
            raise ValueError(f"{wanted}; got {shown(window)}")
        return Display(*ends.tolist())
    if not isinstance(display, Display):
        raise TypeError(f"display must be a drrproj.Display, such as Display(0, 6); got {shown(display)}")
    if window is not None:
        raise ValueError("window and display both say what is black and white; pass one of them")
    return display


def _write_levels(
    path: str | os.PathLike[str], levels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16], text: dict[str, str]
) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    chunks = PngInfo()
    for key, value in text.items():
        chunks.add_text(key, value)
    with replaced(path) as file:
        # Filtered rows hold runs: against zlib's level 1 a chest takes two thirds of the time and is 5 % smaller.
        Image.fromarray(levels).save(file, format="PNG", compress_type=zlib.Z_RLE, pnginfo=chunks)


def _masks_by_name(radiograph: Radiograph, labels: Iterable[str | int] | str | int | None) -> dict[str, Bools]:
    found = radiograph.images.get("masks", radiograph.images.get("path_length"))
    if found is None:
        raise ValueError("this radiograph has no labels to draw; pass labels= to project()")
    return {name: found[name][0] > 0 for name in chosen_places(found, labels)}


def _edge(mask: Bools) -> Bools:
    inside = np.pad(mask, 1, mode="edge")
    core = inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    edge: Bools = mask & ~core
    return edge
