"""The masks of a radiograph that go into a file."""

from __future__ import annotations

from collections.abc import Iterable

from drrproj.io.one_view import require_radiograph
from drrproj.radiograph import LabelMasks, Radiograph

__all__ = ["chosen_masks"]


def chosen_masks(radiograph: Radiograph, labels: Iterable[str | int] | None) -> tuple[LabelMasks, dict[str, int]]:
    """Return the masks, and the places of those asked for by name or id; all of them where none are asked for.

    Raises
    ------
    TypeError
        If ``radiograph`` is none.
    ValueError
        If there are no masks.
    KeyError
        If a label is not in the radiograph.
    """
    require_radiograph(radiograph)
    masks = radiograph.masks
    if masks is None:
        raise ValueError('this radiograph has no masks; pass labels= to project(), with outputs=(..., "mask")')
    names = list(masks)
    asked = names if labels is None else [labels] if isinstance(labels, str) else labels
    places = [masks.place_of(label) for label in asked]
    return masks, {names[place]: place for place in places}
