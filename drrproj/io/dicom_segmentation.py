"""DICOM SEG in: segments of a CT as label ids on the segmentation's own grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.extras import from_extra
from drrproj.io.dicom_files import DicomFile, numbers, one_number, quiet_pydicom, read_dataset, tag_text, text
from drrproj.io.structures import Structure, combined, numbered, selected, unique_names
from drrproj.label_volume import LabelVolume

__all__ = ["read_segmentation"]

# Share of the slice spacing by which a frame may be off its place: positions are written rounded.
_OFF = 0.1


def read_segmentation(file: DicomFile, names: dict[int, str] | None, structures: Sequence[str] | None) -> LabelVolume:
    """Read a DICOM SEG object; see :func:`drrproj.read_labels`."""
    dataset = read_dataset(file)
    with quiet_pydicom(), from_extra("dicom", "reading DICOM SEG"):
        from highdicom.seg import Segmentation
    if "PerFrameFunctionalGroupsSequence" not in dataset:
        raise ValueError("the SEG has no frames, or is damaged")
    try:
        with quiet_pydicom():
            segmentation = Segmentation.from_dataset(dataset, copy=False)
    except (ValueError, AttributeError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"the SEG breaks the standard and cannot be read: {error}") from error

    items = [item for item in dataset.SegmentSequence if int(item.SegmentNumber) > 0]
    labels = unique_names([text(item, "SegmentLabel") or f"segment {item.SegmentNumber}" for item in items])
    number_of = {label: int(item.SegmentNumber) for label, item in zip(labels, items, strict=True)}
    wanted = selected(labels, structures)
    members = numbered({label: number_of[label] for label in wanted}, names)
    frames = _Frames(segmentation)
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

    def __init__(self, segmentation: Any) -> None:
        self._segmentation = segmentation
        self._is_labelmap = text(segmentation, "SegmentationType") == "LABELMAP"
        shared = (segmentation.get("SharedFunctionalGroupsSequence") or [{}])[0]
        groups = [
            {key: (own.get(key) or shared.get(key) or [None])[0] for key in _GROUPS}
            for own in segmentation.PerFrameFunctionalGroupsSequence
        ]
        positions = np.array([_needed(group, "PlanePositionSequence", "ImagePositionPatient", 3) for group in groups])
        orientation = _needed(groups[0], "PlaneOrientationSequence", "ImageOrientationPatient", 6).reshape(2, 3)
        spacing = _needed(groups[0], "PixelMeasuresSequence", "PixelSpacing", 2)
        self._slices, step = _places(positions, np.cross(*orientation), groups[0]["PixelMeasuresSequence"])
        self._segments = [
            int(group["SegmentIdentificationSequence"].ReferencedSegmentNumber)
            if group["SegmentIdentificationSequence"] is not None
            else 0
            for group in groups
        ]
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


def _places(
    positions: npt.NDArray[np.float64], normal: npt.NDArray[np.float64], measures: Any
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the slice of each frame, and the step to the next slice, LPS mm.

    Empty slices have no frame, so the distance between two slices is not the distance between two frames.
    """
    along = positions @ normal
    first = int(np.argmin(along))
    gaps = np.diff(np.unique(np.round(along, 3)))
    stated = one_number(measures, "SpacingBetweenSlices") or (
        None if gaps.size else one_number(measures, "SliceThickness")
    )
    for size in (abs(stated or 0.0), float(gaps.min()) if gaps.size else 0.0):
        if not size:
            continue
        slices = np.rint((along - along[first]) / size)
        if not gaps.size:
            return slices.astype(np.int64), size * normal
        last = int(np.argmax(along))
        step = (positions[last] - positions[first]) / slices[last] if slices[last] else np.zeros(3)
        off = np.linalg.norm(positions - (positions[first] + slices[:, None] * step), axis=1)
        if slices[last] and off.max() <= _OFF * size:
            return slices.astype(np.int64), step
    raise ValueError(
        f"its frames do not lie on evenly spaced slices: {gaps.min() if gaps.size else 0:.4g} to "
        f"{gaps.max() if gaps.size else 0:.4g} mm apart, {tag_text('SpacingBetweenSlices')} {stated}"
    )
