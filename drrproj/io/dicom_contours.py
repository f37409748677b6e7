"""DICOM RTSTRUCT in: planar contours, filled on the grid of the CT that they were drawn on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.grid import RAS_FROM
from drrproj.io.dicom_files import DicomFile, quiet_pydicom, read_dataset, tag_text, text
from drrproj.io.structures import Structure, combined, numbered, selected, unique_names
from drrproj.label_volume import LabelVolume
from drrproj.volume import Volume
from drrproj.warned import warn

__all__ = ["fill_contours", "read_contours"]

Points = npt.NDArray[np.float64]

# Share of a slice by which a contour may be beside the middle of its slice: points are written rounded.
_OFF_SLICE = 0.2

# Steps of a voxel to which points are rounded in their slice: the way from mm adds noise of far less, and with a power
# of two the arithmetic of filling is exact, so that noise does not decide whether a centre on an edge is inside.
_STEPS = 1024


def read_contours(
    file: DicomFile,
    volume: Volume | None,
    names: dict[int, str] | None,
    structures: Sequence[str] | None,
) -> LabelVolume:
    """Read a DICOM RTSTRUCT object on the grid of its CT; see :func:`drrproj.read_labels`."""
    if volume is None:
        raise ValueError(
            "an RTSTRUCT holds contours, which are drawn on the slices of a CT; pass the CT: "
            "read_labels(path, volume=ct)"
        )
    dataset = read_dataset(file)
    rois = list(dataset.get("StructureSetROISequence") or ())
    labels = unique_names([text(roi, "ROIName") or f"ROI {roi.ROINumber}" for roi in rois])
    wanted = set(selected(labels, structures))
    numbers = [int(roi.ROINumber) for roi in rois]
    drawn: dict[int, list[Any]] = {}
    for item in dataset.get("ROIContourSequence") or ():
        drawn.setdefault(int(item.ReferencedROINumber), []).extend(item.get("ContourSequence") or ())

    voxel_from_lps = volume.voxel_from_world @ RAS_FROM["LPS"]
    places: dict[str, int] = {}
    contours: dict[str, list[Points]] = {}
    remarks: list[str] = []
    without: list[str] = []
    for place, (label, number, roi) in enumerate(zip(labels, numbers, rois, strict=True), 1):
        if label not in wanted:
            continue
        if numbers.count(number) > 1:
            same = [other for other, its in zip(labels, numbers, strict=True) if its == number]
            raise ValueError(f"{' and '.join(same)} have the same ROI number {number}, so whose contours are whose?")
        closed, remark = _closed(drawn.get(number, ()), label)
        remarks.extend(remark)
        if not closed:
            without.append(label)
            continue
        _check_frame(roi, label, volume)
        places[label] = place
        contours[label] = [points @ voxel_from_lps[:3, :3].T + voxel_from_lps[:3, 3] for points in closed]
    if not contours:
        raise ValueError("; ".join([f"no structure with closed contours in it, only {_named(without)}", *remarks]))
    axis = _slice_axis([points for its in contours.values() for points in its])
    outlines = {label: _Outline(label, its, volume, axis) for label, its in contours.items()}
    beyond = [label for label, outline in outlines.items() if not outline.is_on_volume]
    if len(beyond) == len(outlines):
        raise ValueError(f"outside the CT passed: {_named(beyond)}; pass the CT that it was drawn on")
    left_out = (without, "points or lines, no closed contours"), (beyond, "outside the CT passed")
    remarks = [f"left out {_named(those)}: {why}" for those, why in left_out if those] + remarks
    members = numbered({label: place for label, place in places.items() if label not in beyond}, names)

    def masks() -> Iterator[Structure]:
        for label_id, label in members:
            mask, where, remark = outlines[label].mask()
            remarks.extend(remark)
            yield Structure(label_id, label, mask, where)

    values, overlaps = combined((volume.shape[2], volume.shape[1], volume.shape[0]), masks(), names)
    if remarks:
        warn(f"{file.name}: {'; '.join(remarks)}")
    return LabelVolume(
        values.T, volume.affine, dict(members), overlaps=overlaps, frame_of_reference=volume.frame_of_reference
    )


# The second one cuts a hole along its own line; filling by even and odd crossings leaves it open as well.
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")


def _closed(items: Sequence[Any], label: str) -> tuple[list[Points], list[str]]:
    """Return a structure's closed contours, each once, and what was left out of them."""
    with quiet_pydicom():
        closed = [_points(item, label) for item in items if text(item, "ContourGeometricType") in _CLOSED]
    # A copy would undo its original, because filling counts crossings.
    whole = {_edges(points): points for points in closed if len(points) > 2}
    degenerate = sum(len(points) < 3 for points in closed)
    copies = len(closed) - degenerate - len(whole)
    remarks = []
    if degenerate:
        remarks.append(f"left out {_contours(degenerate)} of {label} with less than three points")
    if copies:
        remarks.append(f"left out {_contours(copies)} of {label} that {'is' if copies == 1 else 'are'} there already")
    return list(whole.values()), remarks


def _edges(points: Points) -> tuple[Any, ...]:
    """Return what is the same of two copies, wherever each begins and whichever way round it runs."""
    corners = [tuple(point) for point in points.tolist()]
    # A first point that is repeated at the end makes an edge of no length.
    sides = zip(corners, [*corners[1:], corners[0]], strict=True)
    return tuple(sorted((min(side), max(side)) for side in sides if side[0] != side[1]))


def _contours(count: int) -> str:
    return f"{count} contour{'s' * (count > 1)}"


def _named(labels: Sequence[str]) -> str:
    return ", ".join(labels) or "nothing"


def _points(item: Any, label: str) -> Points:
    try:
        points = np.array([float(value) for value in item.ContourData], dtype=np.float64)
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"a contour of {label} has no {tag_text('ContourData')}, or a damaged one: {error}") from error
    if not points.size or points.size % 3 or not np.isfinite(points).all():
        raise ValueError(
            f"a contour of {label} is damaged: its {tag_text('ContourData')} must be three finite numbers for each "
            f"point; got {points.size} numbers"
        )
    return points.reshape(-1, 3)


def _check_frame(roi: Any, label: str, volume: Volume) -> None:
    frame = text(roi, "ReferencedFrameOfReferenceUID")
    if frame and volume.frame_of_reference and frame != volume.frame_of_reference:
        raise ValueError(
            f"{label} was drawn on another CT: its frame of reference is {frame}, that of the CT passed is "
            f"{volume.frame_of_reference}; pass the CT that it was drawn on"
        )


def _slice_axis(contours: Sequence[Points]) -> int:
    """Return the axis of the CT's array along which contours, in voxels, do not extend: the one of its slices."""
    extent = np.median([np.ptp(points, axis=0) for points in contours], axis=0)
    # The last one, as a series is read, also where contours are as thin as a line.
    return 2 if extent[2] <= 2 * _OFF_SLICE else int(np.argmin(extent))


class _Outline:
    """A structure's contours, in voxels, on the slices of a CT.

    In their slice points are rounded to 1/1024 voxel, so an edge moves by no more than half of that; a point that was
    written as the centre or the side of a voxel lies there exactly. :func:`fill_contours` says which centres on an edge
    are inside.
    """

    def __init__(self, label: str, contours: Sequence[Points], volume: Volume, axis: int) -> None:
        self._label, self._axis = label, axis
        self._by_slice: dict[int, list[Points]] = {}
        for points in contours:
            k = round(float(points[:, axis].mean()))
            off = float(np.abs(points[:, axis] - k).max())
            if off > _OFF_SLICE and 0 <= k < volume.shape[axis]:
                raise ValueError(
                    f"a contour of {label} lies {off:.2f} slices off the nearest slice of the CT passed, which is "
                    "another one than it was drawn on, or was resampled since; pass the CT that it was drawn on"
                )
            in_plane = np.rint(np.delete(points, axis, axis=1) * _STEPS) / _STEPS
            self._by_slice.setdefault(k, []).append(in_plane)
        flat = np.concatenate([points for those in self._by_slice.values() for points in those])
        self._inside = sorted(k for k in self._by_slice if 0 <= k < volume.shape[axis])
        self._low = np.maximum(np.floor(flat.min(axis=0)), 0).astype(int)
        self._high = np.minimum(np.ceil(flat.max(axis=0)) + 1, np.delete(volume.shape, axis)).astype(int)

    @property
    def is_on_volume(self) -> bool:
        return bool(self._inside) and bool((self._low < self._high).all())

    def mask(self) -> tuple[npt.NDArray[np.bool_], tuple[slice, ...], list[str]]:
        """Fill the contours, slice by slice, in the box around them; the array's axes from last to first."""
        label, inside, low, high = self._label, self._inside, self._low, self._high
        remarks = []
        if len(inside) < len(self._by_slice):
            remarks.append(f"{len(self._by_slice) - len(inside)} slices of {label} lie beyond the CT passed")
        steps = np.diff(inside)
        if steps.size and np.median(steps) > 1:
            remarks.append(f"{label} is drawn on one slice in {np.median(steps):.0f} only, and the others stay empty")
        where = [slice(low[1], high[1]), slice(low[0], high[0])]
        mask = np.zeros((inside[-1] + 1 - inside[0], high[1] - low[1], high[0] - low[0]), np.bool_)
        crossed = 0
        for k in inside:
            crossed += _fill(mask[k - inside[0]], [points - low for points in self._by_slice[k]])
        if crossed:
            remarks.append(f"contours of {label} cross on {crossed} slices, and what two of them share stays empty")
        if not mask.any():
            remarks.append(f"{label} is empty: no voxel has its centre inside its contours")
        at = 2 - self._axis
        where.insert(at, slice(inside[0], inside[-1] + 1))
        return np.moveaxis(mask, 0, at), tuple(where), remarks


def _shared(
    one: npt.NDArray[np.bool_], where: tuple[slice, slice], two: npt.NDArray[np.bool_], other: tuple[slice, slice]
) -> int:
    """Count the pixels that two boxes of an image have in common."""
    low = [max(a.start, b.start) for a, b in zip(where, other, strict=True)]
    high = [min(a.stop, b.stop) for a, b in zip(where, other, strict=True)]
    if low[0] >= high[0] or low[1] >= high[1]:
        return 0
    parts = [
        box[low[0] - at[0].start : high[0] - at[0].start, low[1] - at[1].start : high[1] - at[1].start]
        for box, at in ((one, where), (two, other))
    ]
    return int(np.count_nonzero(parts[0] & parts[1]))


def _fill(image: npt.NDArray[np.bool_], contours: Sequence[Points]) -> bool:
    """Fill contours into an image; tell whether two of them share pixels, and neither is a hole in the other."""
    crossed = False
    before: list[tuple[npt.NDArray[np.bool_], tuple[slice, slice], int]] = []
    for points in contours:
        low = np.clip(np.floor(points.min(axis=0)), 0, image.shape[::-1]).astype(int)
        high = np.clip(np.ceil(points.max(axis=0)) + 1, low, image.shape[::-1]).astype(int)
        where = (slice(low[1], high[1]), slice(low[0], high[0]))
        filled = fill_contours([points - low], (high[1] - low[1], high[0] - low[0]))
        image[where] ^= filled
        area = int(np.count_nonzero(filled))
        for other, its_where, its_area in before:
            shared = _shared(filled, where, other, its_where)
            crossed |= shared > 0 and (shared < min(area, its_area) or area == its_area)
        before.append((filled, where, area))
    return crossed


def fill_contours(contours: Sequence[npt.NDArray[np.float64]], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Fill closed polygons: a pixel is inside where its centre is inside an odd number of them.

    So a contour within a contour is a hole, as is a keyhole, a hole that is connected to the outline by a line drawn
    twice. A centre on an edge is inside where the contour's inside is towards higher columns of it, or on a level edge
    towards higher rows: a rectangle from centre to centre holds those on its sides of lower column and row, and not
    those on the other two, so that contours with a common edge share no pixel and leave none out between them.

    Parameters
    ----------
    contours : sequence of ndarray, shape (points, 2), pixels
        Column and row; pixel centres are whole numbers.
    shape : (int, int)
        Rows and columns.

    Returns
    -------
    ndarray of bool, shape (rows, columns)

    Accuracy
    --------
    Equal to a winding test of each pixel's centre in exact arithmetic, on random polygons (``tests/``). Which side a
    centre on a slanting edge is on is exact for points in steps of a power of two, such as 1/1024, up to 2048 pixels
    away.

    Examples
    --------
    >>> import numpy as np
    >>> from drrproj.io.dicom_contours import fill_contours
    >>> square = np.array([[0.5, 0.5], [3.5, 0.5], [3.5, 2.5], [0.5, 2.5]])
    >>> fill_contours([square], (4, 5)).astype(int).tolist()
    [[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]]
    """
    rows, columns = shape
    # How many edges cross each row on the left of each pixel's centre, before adding up along the row.
    crossings = np.zeros((rows, columns + 1), np.int32)
    for points in contours:
        start, end = points, np.roll(points, -1, axis=0)
        # An edge meets the rows from its upper end, included, to its lower end, excluded: a corner counts once.
        top, bottom = np.minimum(start[:, 1], end[:, 1]), np.maximum(start[:, 1], end[:, 1])
        first = np.clip(np.ceil(top), 0, rows).astype(int)
        count = np.clip(np.ceil(bottom), 0, rows).astype(int) - first
        edge = np.repeat(np.arange(len(points)), count)
        row = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
        run, rise = end[edge, 0] - start[edge, 0], end[edge, 1] - start[edge, 1]
        column = start[edge, 0] + (row - start[edge, 1]) * run / rise
        np.add.at(crossings, (row, np.clip(np.ceil(column), 0, columns).astype(int)), 1)
    filled: npt.NDArray[np.bool_] = np.cumsum(crossings[:, :columns], axis=1) % 2 == 1
    return filled
