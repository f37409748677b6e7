"""Where on a picture a phrase of a report points: classes by name, the union of their masks, and its box."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from drrproj.dataset.formats.labelled import BoolArray, bools_of
from drrproj.dataset.taxonomy import Taxonomy
from drrproj.given_numbers import real_numbers
from drrproj.short_text import shown

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
    TypeError
        If the taxonomy is none.
    ValueError
        If the phrase names no class, there is no mask at all, or one is no image of 0 and 1.

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
    if not isinstance(taxonomy, Taxonomy):
        raise TypeError(f"taxonomy must be a Taxonomy, such as read_taxonomy gives; got {shown(taxonomy)}")
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
        If there is no mask, they differ in shape, or one is no image of 0 and 1.
    """
    shapes = {np.shape(mask) for mask in masks.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2:
        raise ValueError(
            f"the masks of one picture have one shape (rows, columns); got {sorted(shapes) or 'no mask'}; of a "
            "radiograph's, take one view: masks[name][view]"
        )
    joined = np.zeros(shapes.pop(), np.bool_)
    for name in names:
        if name in masks:
            joined |= bools_of(masks[name], f"the mask of {name}")
    return joined


def box_of(mask: BoolArray) -> Box | None:
    """Return the box around a mask, or None where it is empty.

    Raises
    ------
    ValueError
        If it is no image of 0 and 1, shape (rows, columns).

    Examples
    --------
    >>> import numpy as np
    >>> from drrproj.dataset.grounding import box_of
    >>> box_of(np.array([[False, True, True], [False, False, True]]))
    (0, 2, 1, 3)
    """
    if np.ndim(mask) != 2:
        raise ValueError(f"a mask of one picture has shape (rows, columns); got {np.shape(mask)}")
    mask = bools_of(mask, "the mask")
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def box_iou(one: Box, other: Box) -> float:
    """Return the area that two boxes share, over the area of either.

    Raises
    ------
    ValueError
        If a box is empty, or no four finite numbers.

    Examples
    --------
    >>> from drrproj.dataset.grounding import box_iou
    >>> box_iou((0, 2, 0, 2), (1, 3, 0, 2))
    0.3333333333333333
    """
    wanted = "a box is (top, bottom, left, right), bottom and right behind the last"
    tops, bottoms, lefts, rights = boxes = np.array([_corners(box, wanted) for box in (one, other)]).T
    for box, given in zip(boxes.T, (one, other), strict=True):
        if box[1] <= box[0] or box[3] <= box[2]:
            raise ValueError(f"{wanted}; got {shown(given)}")
    height = max(0.0, float(bottoms.min() - tops.max()))
    width = max(0.0, float(rights.min() - lefts.max()))
    areas = float(((bottoms - tops) * (rights - lefts)).sum())
    return height * width / (areas - height * width)


def _corners(box: Box, wanted: str) -> npt.NDArray[np.float64]:
    # Whole numbers of a few bits, as arrays hold them, would overflow.
    corners = real_numbers(box, wanted)
    if corners.shape != (4,) or not np.isfinite(corners).all():
        raise ValueError(f"{wanted}; got {shown(box)}")
    return corners
