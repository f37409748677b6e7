"""Views in words: where source, detector and volume are, and which edge of the picture shows what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from drrproj.directions import words
from drrproj.label_volume import LabelVolume
from drrproj.positioner import positioner_angles
from drrproj.volume import Volume

if TYPE_CHECKING:
    from drrproj.geometry import Geometry

__all__ = ["described"]

Float64Array = npt.NDArray[np.float64]

_ANTERIOR, _SUPERIOR = np.eye(3)[1:]


def described(
    geometry: Geometry,
    volume: Volume | LabelVolume | None,
    behind: Sequence[bool] | npt.NDArray[np.bool_],
    isocenter: Float64Array | None,
) -> str:
    """Return the lines of :meth:`drrproj.Geometry.describe`, whose checked arguments these are.

    Parameters
    ----------
    geometry : Geometry
        The views.
    volume : Volume or LabelVolume or None
        Adds where it projects to.
    behind : sequence of bool, one per view
        Does part of the volume lie behind the detector?
    isocenter : ndarray, shape (3,), world mm, or None
        Adds its distance from the source and the magnification there; without it, the volume's middle does.

    Returns
    -------
    str
    """
    views = zip(geometry, behind, strict=True)
    return "\n".join(line for view, is_behind in views for line in _lines(view, volume, bool(is_behind), isocenter))


def _lines(
    view: Geometry, volume: Volume | LabelVolume | None, behind: bool, isocenter: Float64Array | None
) -> Iterator[str]:
    """Describe a geometry of one view."""
    source, normal, center = view.sources[0], view.normals[0], view.centers[0]
    row_step, column_step = view.views[0, :3, 2], view.views[0, :3, 3]
    parallel = bool(view.is_parallel[0])
    beam = -source if parallel else center - source
    # Rounded, so that noise makes no angle of its own.
    beam = np.round(beam / np.linalg.norm(beam), 12)
    primary, secondary = positioner_angles(beam)
    yield (
        f"view {view.names[0]}: {'parallel' if parallel else 'cone'} beam from {words(-beam)} to {words(beam)} "
        f"({_angle(primary, 'LAO', 'RAO')}, {_angle(secondary, 'CRA', 'CAU')} degrees)"
    )
    yield "  source: at infinity" if parallel else f"  source: {_place(source)}; sdd {view.sdd[0]:.1f} mm"
    # A view knows no isocenter, and the middle of a volume is only by chance the point that an arm turns about.
    what, distance, point = "isocenter", "sod {:.1f} mm", isocenter
    if isocenter is None and volume is not None:
        what, distance, point = "volume's middle", "{:.1f} mm from the source", volume.center
    if point is not None:
        line = f"  {what}: {_place(point)}"
        if not parallel:
            depth = float(normal @ (point - source))
            line += f"; {distance.format(np.linalg.norm(point - source))}, "
            line += f"magnification {view.sdd[0] / depth:.3f}" if depth > 0 else "behind the source"
        yield line
    (rows, columns), (row_mm, column_mm) = view.shape, view.pixel_spacing[0]
    yield (
        f"  detector: {rows} rows x {columns} columns of {row_mm:.4g} x {column_mm:.4g} mm, "
        f"{rows * row_mm:.1f} x {columns * column_mm:.1f} mm; middle at {_place(center)}"
    )
    if not parallel:
        row, column = view.project_points(source + view.sdd[0] * normal)[0, 0]
        yield f"  principal point: row {_number(row)}, column {_number(column)}"
    head = _SUPERIOR if abs(beam @ _SUPERIOR) < 0.9 else _ANTERIOR
    right = column_step / np.linalg.norm(column_step)
    down = row_step - (row_step @ right) * right
    roll = np.degrees(np.arctan2(-(head @ right), -(head @ down) / np.linalg.norm(down)))
    tilt = np.degrees(np.arctan2(np.linalg.norm(np.cross(normal, beam)), normal @ beam))
    yield (
        f"  image: right edge is {words(column_step)}, upper edge is {words(-row_step)}; "
        f"roll {_number(roll)}, tilt {_number(tilt)} degrees"
    )
    if volume is not None:
        yield f"  volume: {_extent(view, volume, behind)}"


def _extent(view: Geometry, volume: Volume | LabelVolume, behind: bool) -> str:
    pixels = view.project_points(volume.corners)[0]
    if np.isnan(pixels).any():
        return "it does not fit: the source is beside or inside it"
    (top, left), (bottom, right) = pixels.min(axis=0), pixels.max(axis=0)
    fits = "it fits the detector" if view.fits(volume)[0] else "it does not fit the detector"
    if behind:
        fits = "it does not fit: part of it lies behind the detector"
    return f"projects to rows {top:.1f} to {bottom:.1f} and columns {left:.1f} to {right:.1f}; {fits}"


def _number(value: float) -> str:
    # Adding zero turns -0.0, which rounding leaves, into 0.0.
    return f"{round(float(value), 1) + 0.0:.1f}"


def _place(point: Float64Array) -> str:
    return f"({', '.join(map(_number, point))}) mm RAS+"


def _angle(degrees: float, positive: str, negative: str) -> str:
    rounded = round(float(degrees), 1)
    return f"{positive if rounded >= 0 else negative} {abs(rounded):.1f}"
