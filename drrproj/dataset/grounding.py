"""Where on a picture a phrase of a report points: classes by name, the union of their masks, and its box."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from drrproj.dataset.formats.labelled import BoolArray, bools_of
from drrproj.dataset.taxonomy import Taxonomy

__all__ = ["Box", "Region", "box_iou", "box_of", "ground", "union"]

Box = tuple[int, int, int, int]
"""First row, row behind the last, first column, column behind the last: ``mask[top:bottom, left:right]``."""


@dataclass(frozen=True, eq=False)
class Region:
    """What a phrase points at on one picture.

    Attributes
    ----------
    classes : tuple of str
        Those that the phrase names.
    missing : tuple of str
        Those of them that have no pixel on this picture.
    mask : ndarray, shape (rows, columns), bool
        Where any of the classes is.
    box : (int, int, int, int) or None
        Around the mask; none where it is empty.
    unread : tuple of str
        Words for anatomy, a side, a place or a number that are part of no class that was found. Where there are any,
        the region may be more or less than what the phrase means, and a set of examples better goes without it.
    """

    classes: tuple[str, ...]
    missing: tuple[str, ...]
    mask: BoolArray
    box: Box | None
    unread: tuple[str, ...]


def ground(phrase: str, taxonomy: Taxonomy, masks: Mapping[str, BoolArray]) -> Region:
    """Find the region of a picture that a phrase names.

    It knows words, not findings: "opacity in the left lower lobe" is that lobe. See
    :meth:`drrproj.dataset.taxonomy.Taxonomy.read` for what counts as naming a class, and for its limits.

    Parameters
    ----------
    phrase : str
        Such as a sentence of a report.
    taxonomy : Taxonomy
        With the names and synonyms of the classes.
    masks : mapping of str to ndarray, shape (rows, columns), bool
        Of one picture by class, such as a :class:`~drrproj.dataset.formats.LabelledImage` gives.

    Returns
    -------
    Region

    Raises
    ------
    ValueError
        If the phrase names no class, there is no mask at all, or one holds values other than 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> from drrproj.dataset.grounding import ground
    >>> from drrproj.dataset.taxonomy import AnatomyClass, Taxonomy
    >>> heart = AnatomyClass("heart", "mediastinum", synonyms=("cardiac silhouette",))
    >>> region = ground("Enlarged cardiac silhouette.", Taxonomy("mine", (heart,)), {"heart": np.eye(4, 6, 1) > 0})
    >>> region.classes, region.box, region.unread
    (('heart',), (0, 4, 1, 5), ())
    """
    names, unread = taxonomy.read(phrase)
    if not names:
        raise ValueError(f"{phrase!r} names no class of taxonomy {taxonomy.name!r}; add its words as synonyms")
    mask = union(masks, names)
    missing = tuple(name for name in names if name not in masks or not masks[name].any())
    return Region(names, missing, mask, box_of(mask), unread)


def union(masks: Mapping[str, BoolArray], names: Iterable[str]) -> BoolArray:
    """Return where any of some classes is; a class that is not on the picture adds nothing.

    Parameters
    ----------
    masks : mapping of str to ndarray, shape (rows, columns), bool
        Of one picture, at least one, which gives the shape.
    names : iterable of str

    Raises
    ------
    ValueError
        If there is no mask, they differ in shape, or one holds values other than 0 and 1.
    """
    shapes = {mask.shape for mask in masks.values()}
    if len(shapes) != 1:
        raise ValueError(f"the masks of one picture have one shape; got {sorted(shapes) or 'no mask'}")
    joined = np.zeros(shapes.pop(), np.bool_)
    for name in names:
        if name in masks:
            joined |= bools_of(masks[name], f"the mask of {name}")
    return joined


def box_of(mask: BoolArray) -> Box | None:
    """Return the box around a mask, or None where it is empty.

    Examples
    --------
    >>> import numpy as np
    >>> from drrproj.dataset.grounding import box_of
    >>> box_of(np.array([[False, True, True], [False, False, True]]))
    (0, 2, 1, 3)
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def box_iou(one: Box, other: Box) -> float:
    """Return the area that two boxes share, over the area of either.

    Raises
    ------
    ValueError
        If a box is empty.

    Examples
    --------
    >>> from drrproj.dataset.grounding import box_iou
    >>> box_iou((0, 2, 0, 2), (1, 3, 0, 2))
    0.3333333333333333
    """
    for box in (one, other):
        if box[1] <= box[0] or box[3] <= box[2]:
            raise ValueError(f"a box is (top, bottom, left, right), bottom and right behind the last; got {box}")
    height = max(0, min(one[1], other[1]) - max(one[0], other[0]))
    width = max(0, min(one[3], other[3]) - max(one[2], other[2]))
    areas = [(box[1] - box[0]) * (box[3] - box[2]) for box in (one, other)]
    return height * width / (sum(areas) - height * width)
