"""The outline of a mask as one polygon along the edges of its pixels, which gives exactly the mask back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from drrproj.dataset.formats.labelled import BoolArray

__all__ = ["outline"]


def outline(mask: BoolArray) -> npt.NDArray[np.int64]:
    """Return one closed polygon around a mask, parts and holes included.

    The polygon runs along pixel edges. From part to part, and to holes, it goes there and back on the same edges, which
    encloses nothing: filled by the even-odd rule at the pixels' centres it is the mask, to the pixel, also where its
    points were rounded to a small part of a pixel, because no line of it passes through a centre.

    Parameters
    ----------
    mask : ndarray, shape (rows, columns), bool

    Returns
    -------
    ndarray, shape (points, 2), int64
        x and y in pixels; (0, 0) is the upper left corner of the first pixel, (columns, rows) the lower right one of
        the last. Empty for an empty mask.

    Examples
    --------
    >>> import numpy as np
    >>> from drrproj.dataset.formats.outline import outline
    >>> outline(np.array([[False, True, True]])).tolist()
    [[1, 0], [3, 0], [3, 1], [1, 1]]
    """
    padded = np.pad(np.asarray(mask, np.uint8), 1)
    above, below = padded[:-1], padded[1:]
    around = above[:, :-1] + above[:, 1:] + below[:, :-1] + below[:, 1:]
    touching_by_corner = (around == 2) & (above[:, :-1] == below[:, 1:])
    # Where two pixels touch by a corner only, the outline passes twice.
    y, x = np.nonzero((around % 2 == 1) | touching_by_corner)
    times = 1 + touching_by_corner[y, x]
    corners = np.stack([np.repeat(x, times), np.repeat(y, times)], axis=-1)
    # Along each line of the lattice the outline is on between its first and second corner, its third and fourth, ...
    along_row = _partners(np.lexsort((corners[:, 0], corners[:, 1])))
    along_column = _partners(np.lexsort((corners[:, 1], corners[:, 0])))
    loops = _loops(along_row.tolist(), along_column.tolist())
    if len(loops) < 2:
        return corners[loops[0]] if loops else corners
    firsts = corners[[loop[0] for loop in loops]]
    # Between two loops the way goes along a row, then along a column: a straight line could meet a pixel's centre.
    bends = np.stack([firsts[1:, 0], firsts[:-1, 1]], axis=-1)
    way = [corners[[*loops[0], loops[0][0]]]]
    for bend, loop in zip(bends, loops[1:], strict=True):
        way += [bend[None], corners[[*loop, loop[0]]]]
    way.append(np.stack([bends, firsts[:-1]], axis=1)[::-1].reshape(-1, 2))
    points = np.concatenate(way)
    moves: npt.NDArray[np.bool_] = (points != np.roll(points, -1, axis=0)).any(axis=1)
    return points[moves]


def _partners(order: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    partners = np.empty_like(order)
    partners[order[::2]], partners[order[1::2]] = order[1::2], order[::2]
    return partners


def _loops(along_row: list[int], along_column: list[int]) -> list[list[int]]:
    loops = []
    seen = bytearray(len(along_row))
    for start in range(len(along_row)):
        corner, loop = start, list[int]()
        while not seen[corner]:
            across = along_row[corner]
            seen[corner] = seen[across] = 1
            loop += [corner, across]
            corner = along_column[across]
        if loop:
            loops.append(loop)
    return loops
