"""The names of what is drawn on a picture, each beside its colour, in a strip on the picture's right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from drrproj.io.label_colors import label_color

__all__ = ["with_legend"]

_SIZE, _LINE, _PATCH, _GAP = 12, 16, 10, 8  # pixels: letters, lines, patches of colour, what is between them
_LOWEST, _COLUMNS, _LETTERS = 12, 2, 32  # lines of a low picture's strip, columns at most, letters of a name
_GREY = (225, 225, 225)


def with_legend(picture: npt.NDArray[np.uint8], names: Sequence[str], areas: Sequence[int]) -> npt.NDArray[np.uint8]:
    """Add a strip with a patch of colour and a name for each structure to a picture.

    Parameters
    ----------
    picture : ndarray of uint8, shape (rows, columns, 3)
    names : sequence of str
        Listed in this order. Of more than two columns hold, the largest are, and how many more there are.
    areas : sequence of int, pixels
        How large each is in the picture.

    Returns
    -------
    ndarray of uint8
        The picture, its pixels where they were, with the strip on its right; black below where the strip is higher.

    Examples
    --------
    >>> import numpy as np
    >>> from drrproj.io.legend import with_legend
    >>> rows, columns, _ = with_legend(np.zeros((512, 512, 3), np.uint8), ["heart", "aorta"], [900, 300]).shape
    >>> rows, columns > 512
    (512, True)
    """
    from PIL import Image, ImageDraw, ImageFont

    if not names:
        return picture
    lines = max(picture.shape[0] // _LINE, _LOWEST)
    entries: list[tuple[str, str | None]] = [(_short(name), name) for name in names]
    if len(names) > _COLUMNS * lines:
        kept = set(sorted(range(len(names)), key=lambda place: -areas[place])[: _COLUMNS * lines - 1])
        entries = [entry for place, entry in enumerate(entries) if place in kept]
        entries.append((f"and {len(names) - len(kept)} more", None))
    font = ImageFont.load_default(_SIZE)
    columns = [entries[start : start + lines] for start in range(0, len(entries), lines)]
    widths = [_GAP + _PATCH + _GAP + int(max(font.getlength(text) for text, _ in column)) + 1 for column in columns]
    rows = max(picture.shape[0], _LINE * len(columns[0]))
    page = Image.new("RGB", (picture.shape[1] + sum(widths) + _GAP, rows))
    page.paste(Image.fromarray(picture), (0, 0))
    draw = ImageDraw.Draw(page)
    for place, column in enumerate(columns):
        left = picture.shape[1] + sum(widths[:place]) + _GAP
        for line, (text, name) in enumerate(column):
            middle = line * _LINE + _LINE // 2
            if name is not None:
                box = (left, middle - _PATCH // 2, left + _PATCH - 1, middle + _PATCH // 2 - 1)
                draw.rectangle(box, fill=label_color(name))
            draw.text((left + _PATCH + _GAP, middle), text, fill=_GREY, font=font, anchor="lm")
    return np.asarray(page)


def _short(name: str) -> str:
    return name if len(name) <= _LETTERS else f"{name[: _LETTERS - 3]}..."
