"""A view in the words of the peers: a source and a flat panel with perpendicular axes, placed by a foot point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.geometry import Geometry
from drrproj.given_numbers import one_number, real_numbers
from drrproj.short_text import shown

__all__ = ["Panel", "distances", "lengths", "numbers", "one_of_all", "pair", "panels"]

Float64Array = npt.NDArray[np.float64]

_PERPENDICULAR = 1e-6
"""Cosine of what still counts as a right angle: a thousandth of a pixel over a thousand pixels."""

_SAME = 1e-7
"""Difference, mm or relative, that still counts as the same: a thousandth of a pixel over a thousand small pixels."""


@dataclass(frozen=True)
class Panel:
    """One view, taken apart; lengths in mm, directions of length 1 in world axes.

    Attributes
    ----------
    source : ndarray, shape (3,)
        The focal spot; for a parallel beam the foot itself.
    right, down, forward : ndarray, shape (3,)
        The way of the columns, of the rows, and the panel's normal away from the source.
    sdd : float
        Source to panel, along the normal; infinite for a parallel beam.
    foot : ndarray, shape (3,)
        Where the normal through the source meets the panel; for a parallel beam the middle of the panel.
    first : (float, float)
        Centre of pixel (0, 0) as seen from the foot: along down, along right.
    spacing : (float, float)
        Between rows, between columns.
    shape : (int, int)
        Rows and columns.
    name : str
        The view's name, for messages.
    """

    source: Float64Array
    right: Float64Array
    down: Float64Array
    forward: Float64Array
    sdd: float
    foot: Float64Array
    first: tuple[float, float]
    spacing: tuple[float, float]
    shape: tuple[int, int]
    name: str

    @property
    def is_mirrored(self) -> bool:
        """Whether the picture is seen from behind the panel: right x down points towards the source."""
        return bool(np.cross(self.right, self.down) @ self.forward < 0)

    @property
    def offset(self) -> tuple[float, float]:
        """Middle of the panel as seen from the foot, mm: along down, along right."""
        down, right = (
            first + (count - 1) / 2 * step
            for first, count, step in zip(self.first, self.shape, self.spacing, strict=True)
        )
        return down, right


def panels(geometry: Geometry, peer: str, *, parallel: bool = False) -> list[Panel]:
    """Take views apart, or refuse those that no flat panel with perpendicular axes can be.

    Parameters
    ----------
    geometry : Geometry
    peer : str
        For whom, to be named in messages.
    parallel : bool
        Whether the peer knows parallel beams, perpendicular to the panel.

    Returns
    -------
    list of Panel

    Raises
    ------
    ValueError
        If rows and columns are not perpendicular, or a beam is parallel where it may not be or meets the panel
        obliquely.

    Examples
    --------
    >>> import drrproj
    >>> view = drrproj.Geometry.cone((0, 0, 900), (3, 0, -100), (0, 1, 0), (1, 0, 0), (64, 64))
    >>> panel = panels(view, "a peer")[0]
    >>> panel.sdd, panel.first, panel.offset, panel.is_mirrored
    (1000.0, (-31.5, -28.5), (0.0, 3.0), True)
    """
    found = []
    for view, normal, sdd, name in zip(
        geometry.views, geometry.normals, geometry.sdd.tolist(), geometry.names, strict=True
    ):
        source, first, row, column = view[:3].T
        spacing = float(np.linalg.norm(row)), float(np.linalg.norm(column))
        down, right = row / spacing[0], column / spacing[1]
        if abs(down @ right) > _PERPENDICULAR:
            raise ValueError(
                f"view {name!r} cannot be said in {peer}'s words: its rows and columns meet at "
                f"{np.degrees(np.arccos(down @ right)):.3f} degrees, {peer}'s are perpendicular"
            )
        if np.isinf(sdd):
            if not parallel:
                raise ValueError(
                    f"view {name!r} cannot be said in {peer}'s words: its beam is parallel, and {peer} knows cone "
                    "beams only"
                )
            tilt = float(np.linalg.norm(np.cross(source / np.linalg.norm(source), normal)))
            if tilt > _PERPENDICULAR:
                raise ValueError(
                    f"view {name!r} cannot be said in {peer}'s words: its parallel beam meets the panel "
                    f"{np.degrees(np.arcsin(min(tilt, 1.0))):.3f} degrees off the normal, {peer}'s is perpendicular"
                )
            rows, columns = geometry.shape
            source = foot = first + (rows - 1) / 2 * row + (columns - 1) / 2 * column
        else:
            foot = source + sdd * normal
        place = float((first - foot) @ down), float((first - foot) @ right)
        found.append(Panel(source, right, down, normal, sdd, foot, place, spacing, geometry.shape, name))
    return found


def one_of_all(values: Sequence[Sequence[float]], what: str, peer: str) -> list[float]:
    """Give what all views have in common, or say that the peer has one of it for all of them."""
    every = np.array(values, dtype=np.float64)
    if (np.ptp(every, axis=0) > _SAME * np.maximum(1.0, np.abs(every).max(axis=0))).any():
        raise ValueError(
            f"{peer} has one {what} for all views; these have {every.min(axis=0).tolist()} to "
            f"{every.max(axis=0).tolist()}. Convert the views one by one: [... for view in geometry]"
        )
    shared: list[float] = every[0].tolist()
    return shared


def lengths(**given: float) -> list[float]:
    """Return finite lengths in mm of either sign, or say which is none."""
    return [one_number(value, f"{name} must be a finite number, in mm") for name, value in given.items()]


def numbers(values: npt.ArrayLike, length: int, what: str, views: int | None = None) -> Float64Array:
    """Check vectors, one or one per view, and give them one per view: shape (views, length)."""
    wanted = f"{what} must be {length} finite numbers, or as many for each view"
    array = real_numbers(values, wanted)
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or array.shape[1] != length or not len(array) or not np.isfinite(array).all():
        raise ValueError(f"{wanted}; got shape {np.shape(values)}")
    if views is not None:
        if len(array) not in (1, views):
            raise ValueError(f"{what} are for {len(array)} views, the others are for {views}")
        array = np.broadcast_to(array, (views, length))
    return array


def distances(values: npt.ArrayLike, what: str) -> Float64Array:
    """Check positive distances in mm, one or one per view: shape (1,) or (views,)."""
    wanted = f"{what} must be a positive distance in mm, or one for each view"
    array = np.atleast_1d(real_numbers(values, wanted))
    if array.ndim != 1 or not len(array) or not (np.isfinite(array) & (array > 0)).all():
        raise ValueError(f"{wanted}; got {shown(values)}")
    return array


def pair(values: Any, what: str, *, whole: bool = False) -> tuple[float, float]:
    """Check two positive numbers, or two positive whole numbers, such as of pixels."""
    wanted = f"{what} must be two positive {'whole ' if whole else ''}numbers"
    array = real_numbers(values, wanted)
    if array.shape != (2,) or not (np.isfinite(array) & (array > 0)).all() or (whole and (array % 1).any()):
        raise ValueError(f"{wanted}; got {shown(values)}")
    first, second = array.tolist()
    return first, second
