"""DICOM RTSTRUCT in: planar contours, filled on the grid of the CT that they were drawn on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.grid import RAS_FROM
from drrproj.io.dicom_files import DicomFile, read_dataset, tag_text, text
from drrproj.io.structures import Structure, combined, numbered, selected, unique_names
from drrproj.label_volume import LabelVolume
from drrproj.volume import Volume
from drrproj.warned import warn

__all__ = ["fill_contours", "read_contours"]

# Share of a slice by which a contour may be beside the middle of its slice: points are written rounded.
_OFF_SLICE = 0.2


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
    rois = {int(roi.ROINumber): roi for roi in dataset.get("StructureSetROISequence") or ()}
    contours = {
        int(item.ReferencedROINumber): list(item.get("ContourSequence") or ())
        for item in dataset.get("ROIContourSequence") or ()
    }
    closed = {
        number: [_points(item) for item in contours.get(number, ()) if text(item, "ContourGeometricType") in _CLOSED]
        for number in rois
    }
    labels = unique_names([text(roi, "ROIName") or f"ROI {number}" for number, roi in rois.items()])
    number_of = dict(zip(labels, rois, strict=True))
    wanted = selected(labels, structures)
    empty = [label for label in wanted if not closed[number_of[label]]]
    wanted = [label for label in wanted if label not in empty]
    if not wanted:
        raise ValueError(f"no structure with closed contours in it, only {', '.join(empty) or 'nothing'}")
    for label in wanted:
        _check_frame(rois[number_of[label]], label, volume)
    members = numbered({label: place for place, label in enumerate(labels, 1) if label in wanted}, names)

    grid = (volume.shape[2], volume.shape[1], volume.shape[0])
    remarks: list[str] = []

    def masks() -> Iterator[Structure]:
        for label_id, label in members:
            mask, where, remark = _mask(closed[number_of[label]], label, volume)
            remarks.extend(remark)
            yield Structure(label_id, label, mask, where)

    values, overlaps = combined(grid, masks(), names)
    if empty:
        remarks.insert(0, f"left out {', '.join(empty)}: points or lines, no closed contours")
    if remarks:
        warn(f"{file.name}: {'; '.join(remarks)}")
    return LabelVolume(
        values.T, volume.affine, dict(members), overlaps=overlaps, frame_of_reference=volume.frame_of_reference
    )


# The second one cuts a hole along its own line; filling by even and odd crossings leaves it open as well.
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")


def _points(item: Any) -> npt.NDArray[np.float64]:
    try:
        points = np.array([float(value) for value in item.ContourData], dtype=np.float64)
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"a contour has no {tag_text('ContourData')}, or a damaged one: {error}") from error
    if points.size < 9 or points.size % 3:
        raise ValueError(f"a closed contour needs three points of three numbers or more; got {points.size} numbers")
    return points.reshape(-1, 3)


def _check_frame(roi: Any, label: str, volume: Volume) -> None:
    frame = text(roi, "ReferencedFrameOfReferenceUID")
    if frame and volume.frame_of_reference and frame != volume.frame_of_reference:
        raise ValueError(
            f"{label} was drawn on another CT: its frame of reference is {frame}, that of the CT passed is "
            f"{volume.frame_of_reference}; pass the CT that it was drawn on"
        )


def _mask(
    contours: Sequence[npt.NDArray[np.float64]], label: str, volume: Volume
) -> tuple[npt.NDArray[np.bool_], tuple[slice, ...], list[str]]:
    """Fill a structure's contours, slice by slice, in the box around them."""
    slices = volume.shape[2]
    voxel_from_lps = volume.voxel_from_world @ RAS_FROM["LPS"]
    in_voxels = [points @ voxel_from_lps[:3, :3].T + voxel_from_lps[:3, 3] for points in contours]
    by_slice: dict[int, list[npt.NDArray[np.float64]]] = {}
    for points in in_voxels:
        k = round(float(points[:, 2].mean()))
        off = float(np.abs(points[:, 2] - k).max())
        if off > _OFF_SLICE:
            raise ValueError(
                f"a contour of {label} lies {off:.2f} slices off the nearest slice of the CT passed, so it was drawn "
                "on another one; pass the CT that it was drawn on"
            )
        by_slice.setdefault(k, []).append(points[:, :2])
    inside = sorted(k for k in by_slice if 0 <= k < slices)
    flat = np.concatenate(in_voxels)
    low = np.maximum(np.floor(flat.min(axis=0)), 0).astype(int)
    high = np.minimum(np.ceil(flat.max(axis=0)) + 1, volume.shape).astype(int)
    if not inside or (low[:2] >= high[:2]).any():
        raise ValueError(f"{label} lies outside the CT passed; pass the CT that it was drawn on")
    remarks = []
    if len(inside) < len(by_slice):
        remarks.append(f"{len(by_slice) - len(inside)} slices of {label} lie beyond the CT passed")
    steps = np.diff(inside)
    if steps.size and np.median(steps) > 1:
        remarks.append(f"{label} is drawn on one slice in {np.median(steps):.0f} only, and the others stay empty")
    where = (slice(inside[0], inside[-1] + 1), slice(low[1], high[1]), slice(low[0], high[0]))
    mask = np.zeros(tuple(part.stop - part.start for part in where), np.bool_)
    for k in inside:
        mask[k - inside[0]] = fill_contours([points - low[:2] for points in by_slice[k]], mask.shape[1:])
    return mask, where, remarks


def fill_contours(contours: Sequence[npt.NDArray[np.float64]], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Fill closed polygons: a pixel is inside where its centre is inside an odd number of them.

    So a contour within a contour is a hole, as is a keyhole, a hole that is connected to the outline by a line drawn
    twice.

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
    Equal to a winding test of each pixel's centre in exact arithmetic, on random polygons (``tests/``).

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
