"""The structures of a radiograph that go into a file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from drrproj.io.one_view import require_radiograph
from drrproj.radiograph import LabelCrops, LabelImages, LabelMasks, Radiograph

__all__ = ["chosen_masks", "chosen_places"]


def chosen_masks(
    radiograph: Radiograph, labels: Iterable[str | int] | str | int | None
) -> tuple[LabelMasks, dict[str, int]]:
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
    if "masks" not in radiograph.images:
        raise ValueError('this radiograph has no masks; pass labels= to project(), with outputs=(..., "mask")')
    return radiograph.masks, chosen_places(radiograph.masks, labels)


def chosen_places(
    images: LabelMasks | LabelImages | LabelCrops, labels: Iterable[str | int] | str | int | None
) -> dict[str, int]:
    """Return the places of labels by their names: of those asked for, one or several, or of all.

    Raises
    ------
    KeyError
        If a label is not there.
    """
    names = list(images)
    asked: Any = names if labels is None else labels
    several = isinstance(asked, Iterable) and not isinstance(asked, str)
    return {names[place]: place for place in map(images.place_of, asked if several else [asked])}
