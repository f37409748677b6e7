"""A colour for every structure name: the same one in every picture, related for related anatomy."""

from __future__ import annotations

import colorsys
import re
import zlib
from typing import Any

from drrproj.short_text import shown

__all__ = ["label_color"]

# Hue in degrees and saturation by the first family whose word occurs in the name; the order settles names such as
# pulmonary_vein (a vein) and lung_vessels. Neighbours in the chest are far apart on the colour circle.
_FAMILIES: tuple[tuple[str, float, float], ...] = (
    ("rib", 48, 0.75),
    ("costal", 62, 0.35),
    ("sternum", 62, 0.65),
    ("clavic", 85, 0.60),
    ("scapula", 100, 0.50),
    ("humer", 75, 0.45),
    ("vertebra", 160, 0.60),
    ("spin", 175, 0.85),
    ("sacrum", 150, 0.60),
    ("vein", 245, 0.60),
    ("vena", 230, 0.75),
    ("aorta", 356, 0.90),
    ("arter", 8, 0.80),
    ("trunk", 14, 0.80),
    ("heart", 340, 0.65),
    ("atri", 330, 0.70),
    ("ventric", 346, 0.75),
    ("lung", 205, 0.65),
    ("trachea", 190, 0.90),
    ("bronch", 190, 0.80),
    ("esophagus", 290, 0.70),
    ("thyroid", 310, 0.70),
    ("liver", 24, 0.85),
    ("gallbladder", 120, 0.75),
    ("spleen", 275, 0.60),
    ("stomach", 300, 0.45),
    ("pancreas", 40, 0.95),
    ("adrenal", 55, 0.95),
    ("kidney", 12, 0.60),
    ("colon", 110, 0.40),
    ("bowel", 130, 0.45),
    ("duodenum", 140, 0.60),
)

_SIDE = re.compile(r"(?<![a-z])(left|right)(?![a-z])")


def label_color(name: str) -> tuple[int, int, int]:
    """Return the display colour of a structure.

    It follows from the name alone, so it is the same whatever else is in the picture. Structures of a family share a
    hue, the left one leans one way on the colour circle and is lighter, the right one the other way and darker, and
    members of a series (ribs, vertebrae) alternate in lightness. Unknown names get a hue of their own.

    Parameters
    ----------
    name : str
        As TotalSegmentator calls it, or any other.

    Returns
    -------
    (int, int, int)
        Red, green and blue, 0 to 255.

    Raises
    ------
    TypeError
        If the name is no text, such as an id.

    Examples
    --------
    >>> from drrproj.io.label_colors import label_color
    >>> label_color("heart") == label_color("heart") != label_color("aorta")
    True
    """
    given: Any = name
    if not isinstance(given, str):
        raise TypeError(f"a colour follows from a structure's name; got {shown(given)}; pass labels.name_of(id)")
    lower = name.lower()
    side = _SIDE.search(lower)
    # The number in a series and the words of a name that are not its side tell members of a family apart.
    digest = zlib.crc32(_SIDE.sub("", lower).encode())
    hue, saturation = next(
        ((hue, saturation) for word, hue, saturation in _FAMILIES if word in lower),
        (float(digest % 360), 0.55 + (digest >> 9) % 4 / 10),
    )
    hue += (digest >> 16) % 13 - 6
    lightness = 0.60
    number = re.search(r"(\d+)$", lower)
    if number:
        lightness += 0.07 if int(number[1]) % 2 else -0.05
    if side:
        towards = 1 if side[1] == "left" else -1
        hue += 9 * towards
        lightness += 0.05 * towards
    red, green, blue = colorsys.hls_to_rgb(hue % 360 / 360, lightness, saturation)
    return round(255 * red), round(255 * green), round(255 * blue)
