"""DICOM SEG in: segments of a CT as label ids on the segmentation's own grid."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.extras import from_extra
from drrproj.io.dicom_files import DicomFile, numbers, one_number, quiet_pydicom, read_dataset, tag_text, text
from drrproj.io.dicom_planes import check_plane, is_alike
from drrproj.io.structures import Structure, combined, numbered, selected, unique_names
from drrproj.label_volume import LabelVolume
from drrproj.volume import Volume
from drrproj.warned import warn

__all__ = ["read_segmentation"]

# Share of the slice spacing by which a frame may be off its place: positions are written rounded.
_OFF = 0.1

# What says how far it is to the next slice: the distance, else the thickness of slices that fill the space.
_DISTANCES = ("SpacingBetweenSlices", "SliceThickness")


def read_segmentation(
    file: DicomFile, volume: Volume | None, names: dict[int, str] | None, structures: Sequence[str] | None
) -> LabelVolume:
    """Read a DICOM SEG object; see :func:`drrproj.read_labels`."""
    dataset = read_dataset(file)
    with quiet_pydicom(), from_extra("dicom", "reading DICOM SEG"):
        from highdicom.seg import Segmentation
    if "PerFrameFunctionalGroupsSequence" not in dataset:
        raise ValueError("the SEG has no frames, or is damaged")
    try:
        with quiet_pydicom():
            segmentation = Segmentation.from_dataset(dataset, copy=False)
    # highdicom puts the frames into a table of SQLite, which refuses numbers that are none.
    except (ValueError, AttributeError, KeyError, TypeError, RuntimeError, sqlite3.Error) as error:
        raise ValueError(f"the SEG breaks the standard and cannot be read: {error}") from error

    items = [item for item in dataset.SegmentSequence if int(item.SegmentNumber) > 0]
    labels = unique_names([text(item, "SegmentLabel") or f"segment {item.SegmentNumber}" for item in items])
    number_of = {label: int(item.SegmentNumber) for label, item in zip(labels, items, strict=True)}
    wanted = selected(labels, structures)
    members = numbered({label: number_of[label] for label in wanted}, names)
    frames = _Frames(segmentation, volume)
    if frames.remark:
        warn(f"{file.name}: {frames.remark}")
    masks = (Structure(label_id, name, *frames.mask(number_of[name])) for label_id, name in members)
    values, overlaps = combined(frames.shape, masks, names)
    return LabelVolume(
        values.T,
        frames.affine,
        dict(members),
        overlaps=overlaps,
        space="LPS",
        frame_of_reference=text(dataset, "FrameOfReferenceUID") or None,
    )


class _Frames:
    """Which frame lies in which slice and belongs to which segment."""

    def __init__(self, segmentation: Any, volume: Volume | None) -> None:
        self._segmentation = segmentation
        self._is_labelmap = text(segmentation, "SegmentationType") == "LABELMAP"
        shared = (segmentation.get("SharedFunctionalGroupsSequence") or [{}])[0]
        groups = [
            {key: (own.get(key) or shared.get(key) or [None])[0] for key in _GROUPS}
            for own in segmentation.PerFrameFunctionalGroupsSequence
        ]
        positions = np.array([_needed(group, "PlanePositionSequence", "ImagePositionPatient", 3) for group in groups])
        orientation = _of_all(groups, "PlaneOrientationSequence", "ImageOrientationPatient", 6).reshape(2, 3)
        spacing = _of_all(groups, "PixelMeasuresSequence", "PixelSpacing", 2)
        check_plane(orientation, spacing)
        normal = np.cross(*orientation)
        self._slices, step, self.remark = _places(
            positions, normal, groups[0]["PixelMeasuresSequence"], _distance_in(volume, normal)
        )
        self._segments = [
            int(group["SegmentIdentificationSequence"].ReferencedSegmentNumber)
            if group["SegmentIdentificationSequence"] is not None
            else 0
            for group in groups
        ]
        unknown = set(self._segments) - {0} - {int(item.SegmentNumber) for item in segmentation.SegmentSequence}
        if unknown:
            raise ValueError(f"it has frames of segment {min(unknown)}, which its {tag_text('SegmentSequence')} lacks")
        self.shape = (int(self._slices.max()) + 1, int(segmentation.Rows), int(segmentation.Columns))
        self.affine = np.eye(4)
        self.affine[:3, :3] = np.column_stack([orientation[0] * spacing[1], orientation[1] * spacing[0], step])
        self.affine[:3, 3] = positions[int(np.argmin(self._slices))]

    def mask(self, segment: int) -> tuple[npt.NDArray[np.bool_], tuple[slice, ...]]:
        """Return a segment's mask, shape (slices, rows, columns), and the slices it covers."""
        own = [frame for frame, number in enumerate(self._segments) if self._is_labelmap or number == segment]
        if not own:
            return np.zeros((0, *self.shape[1:]), np.bool_), (slice(0, 0),)
        first, last = int(self._slices[own].min()), int(self._slices[own].max())
        mask = np.zeros((last + 1 - first, *self.shape[1:]), np.bool_)
        for frame, stored in zip(own, self._stored(own), strict=True):
            mask[self._slices[frame] - first] |= stored == segment if self._is_labelmap else stored != 0
        return mask, (slice(first, last + 1),)

    def _stored(self, frames: list[int]) -> Iterator[npt.NDArray[Any]]:
        is_fractional = text(self._segmentation, "SegmentationType") == "FRACTIONAL"
        whole = int(self._segmentation.get("MaximumFractionalValue") or 1)
        for frame in frames:
            with quiet_pydicom():
                stored = self._segmentation.get_stored_frame(frame, as_index=True)
            if is_fractional and not np.isin(stored, (0, whole)).all():
                raise ValueError(
                    "it is a fractional SEG, whose voxels are shares or probabilities; a label is there or not: pass "
                    "a binary SEG"
                )
            yield stored


_GROUPS = (
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "SegmentIdentificationSequence",
)


def _needed(group: dict[str, Any], sequence: str, keyword: str, count: int) -> npt.NDArray[np.float64]:
    values = numbers(group[sequence], keyword, count) if group[sequence] is not None else None
    if values is None:
        raise ValueError(f"its frames have no {tag_text(keyword)}: they lie nowhere in a patient")
    return np.array(values)


def _of_all(groups: Sequence[dict[str, Any]], sequence: str, keyword: str, count: int) -> npt.NDArray[np.float64]:
    """Return what all frames must have alike, because they share a grid."""
    first = _needed(groups[0], sequence, keyword, count)
    for number, group in enumerate(groups[1:], 2):
        # Most files state it once for all frames.
        if group[sequence] is groups[0][sequence]:
            continue
        values = _needed(group, sequence, keyword, count)
        if not is_alike(values, first):
            raise ValueError(
                f"its frames lie on several grids: {tag_text(keyword)} is {first.tolist()} in frame 1 and "
                f"{values.tolist()} in frame {number}; export it again on the grid of its CT"
            )
    return first


def _distance_in(volume: Volume | None, normal: npt.NDArray[np.float64]) -> float | None:
    """How far slices of the CT are apart, mm; ``normal`` in LPS."""
    if volume is None:
        return None
    return float(np.abs(volume.affine[:3, :3].T @ (normal * (-1, -1, 1))).max())


def _places(
    positions: npt.NDArray[np.float64], normal: npt.NDArray[np.float64], measures: Any, in_ct: float | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], str]:
    """Return the slice of each frame, the step to the next slice, LPS mm, and a remark on it.

    Empty slices have no frame, so the distance between two slices is not the distance between two frames: the file
    says how far its slices are apart, or else its CT does, or else how thick they are, where two frames are as far
    apart. The remark says where none fits.
    """
    along = positions @ normal
    first, last = int(np.argmin(along)), int(np.argmax(along))
    gaps = np.diff(np.unique(np.round(along, 3)))
    stated = {keyword: abs(one_number(measures, keyword) or 0.0) for keyword in _DISTANCES}
    said = " and ".join(f"its {tag_text(keyword)} is {size or 'missing'}" for keyword, size in stated.items())
    if not gaps.size:
        distance = next(filter(None, stated.values()), None)
        if distance is None:
            raise ValueError(f"its frames lie in one slice, and nothing says how thick it is: {said}")
        return np.zeros(len(along), np.int64), distance * normal, ""
    between, thickness = stated.values()
    # No two frames of slices with gaps between them are a thickness apart, and the gaps would become empty slices.
    is_distance = abs(float(gaps.min()) - thickness) <= _OFF * thickness
    known = [distance for distance in (between, in_ct, thickness if is_distance else None) if distance]
    for distance in (*known, float(gaps.min())):
        # A number that was rounded counts wrong over many slices, and positions that were rounded do over few.
        for size in (distance, gaps.min() / max(round(gaps.min() / distance), 1)):
            slices = np.rint((along - along[first]) / size)
            if not slices[last] or abs(size - distance) > _OFF * distance:
                continue
            step = (positions[last] - positions[first]) / slices[last]
            off = np.linalg.norm(positions - (positions[first] + slices[:, None] * step), axis=1)
            if off.max() > _OFF * size or abs(step @ normal - distance) > _OFF * distance:
                continue
            remark = (
                f"its slices are taken to be {distance:.4g} mm apart, as its nearest frames are, because {said}; "
                "where only some slices hold frames, its structures are too thick"
            )
            return slices.astype(np.int64), step, "" if distance in known else remark
    raise ValueError(
        f"its frames do not lie on evenly spaced slices: {gaps.min():.4g} to {gaps.max():.4g} mm apart, and {said}"
    )
