"""CT series, contours and X-ray tags written with pydicom, whose every voxel is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    RTStructureSetStorage,
    XRayAngiographicImageStorage,
    generate_uid,
)

STUDY, SERIES, FRAME = (generate_uid(entropy_srcs=[name]) for name in ("study", "series", "frame of reference"))


@dataclass(frozen=True)
class Placed:
    """Where slices lie, LPS+ mm: ``hu[i, j, k]`` is column i, row j of slice k."""

    origin: np.ndarray
    row_direction: np.ndarray
    column_direction: np.ndarray
    spacing: tuple[float, float]
    step: np.ndarray

    def position(self, i, j, k):
        """PS3.3 C.7.6.2.1.1, one voxel at a time: columns lie along the row's direction, rows along the column's."""
        slice_position = self.origin + k * self.step
        return slice_position + self.row_direction * self.spacing[1] * i + self.column_direction * self.spacing[0] * j


STRAIGHT = Placed(
    np.array([-60.0, -40.0, -300.0]), np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), (2.0, 1.5), np.array([0, 0, 5.0])
)


def oblique() -> Placed:
    """Turned about all axes, with slices along the normal."""
    turn = np.linalg.qr(np.array([[0.9, 0.2, -0.3], [-0.1, 0.95, 0.4], [0.3, -0.2, 0.9]]))[0]
    row, column = turn[:, 0], turn[:, 1]
    return Placed(np.array([12.5, -80.0, 33.0]), row, column, (1.25, 1.75), 3.0 * np.cross(row, column))


def tilted(degrees: float = 20.0) -> Placed:
    """A gantry that leans: the slices are turned, the table still moves along the patient."""
    angle = np.radians(degrees)
    column = np.array([0, np.cos(angle), -np.sin(angle)])
    return Placed(np.array([-60.0, -40.0, -300.0]), np.array([1.0, 0, 0]), column, (2.0, 1.5), np.array([0, 0, 5.0]))


def ct_values(shape=(24, 20, 12), seed=0) -> np.ndarray:
    """A body of water in air with bone, metal beyond 12 bits and a padding ring; different in every voxel."""
    hu = np.random.default_rng(seed).integers(-1000, -900, shape).astype(np.int16)
    i, j, k = (slice(size // 6, -(size // 6)) for size in shape)
    hu[i, j, k] += 1000
    hu[shape[0] // 2 :, shape[1] // 2 : -3, shape[2] // 3 : -2] += 700
    hu[shape[0] // 3, shape[1] // 3, shape[2] // 2] = 15000
    hu[0], hu[-1] = -2000, -2000
    return hu


def write_ct(
    folder: Path,
    hu: np.ndarray,
    placed: Placed = STRAIGHT,
    *,
    slope: float = 1,
    intercept: float = -3000,
    signed: bool = False,
    syntax: str = ExplicitVRLittleEndian,
    change: Callable[[FileDataset, int], Any] = lambda dataset, k: None,
) -> list[Path]:
    """Write one file per slice, in an order that neither names nor instance numbers show; ``change`` may edit each."""
    folder.mkdir(parents=True, exist_ok=True)
    names = np.random.default_rng(5).permutation(hu.shape[2])
    paths = []
    for k in range(hu.shape[2]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(folder), str(k)])
        meta.TransferSyntaxUID = syntax
        dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.Modality, dataset.SeriesDescription, dataset.SeriesNumber = "CT", "Thorax 1.0", 4
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = STUDY, SERIES, FRAME
        dataset.PatientName, dataset.PatientID, dataset.PatientPosition = "Test^One", "1", "HFS"
        dataset.InstanceNumber, dataset.AcquisitionNumber = hu.shape[2] - k, 1
        dataset.SliceThickness = "7.5"  # not the distance between slices
        dataset.ImagePositionPatient = [f"{value:.9g}" for value in placed.position(0, 0, k)]
        dataset.ImageOrientationPatient = [
            f"{value:.9f}" for value in (*placed.row_direction, *placed.column_direction)
        ]
        dataset.PixelSpacing = [str(value) for value in placed.spacing]
        dataset.Rows, dataset.Columns = hu.shape[1], hu.shape[0]
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
        dataset.PixelRepresentation = int(signed)
        dataset.RescaleSlope, dataset.RescaleIntercept = str(slope), str(intercept)
        order = ">" if syntax == ExplicitVRBigEndian else "<"
        stored = np.rint((hu[:, :, k].T.astype(np.float64) - intercept) / slope)
        dataset.PixelData = stored.astype(f"{order}{'i' if signed else 'u'}2").tobytes()
        dataset["PixelData"].VR = "OW"
        change(dataset, k)
        path = folder / f"IM{names[k]:04d}"
        pydicom.dcmwrite(path, dataset, enforce_file_format=True)
        paths.append(path)
    return paths


def circle(placed, center, radius, k, points=90):
    """A contour in slice k, in LPS mm, from voxel units."""
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return [placed.position(center[0] + radius * np.cos(a), center[1] + radius * np.sin(a), k) for a in angles]


def write_rtstruct(path, rois, frame=FRAME):
    """Write an RTSTRUCT: rois is name -> list of (points, geometric type)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = RTStructureSetStorage, "1.2.3.9"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = RTStructureSetStorage, "1.2.3.9", "RTSTRUCT"
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(rois.items()):  # ROI numbers may begin at 0
        roi, contour = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = number, name, frame
        contour.ReferencedROINumber, contour.ContourSequence = number, []
        for points, kind in contours:
            item = Dataset()
            item.ContourGeometricType, item.NumberOfContourPoints = kind, len(points)
            item.ContourData = [f"{value:.6f}" for value in np.ravel(points)]
            contour.ContourSequence.append(item)
        dataset.StructureSetROISequence.append(roi)
        dataset.ROIContourSequence.append(contour)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path


XRAY_TAGS = {
    "Modality": "XA",
    "Rows": 64,
    "Columns": 80,
    "DistanceSourceToDetector": "1100",
    "DistanceSourceToPatient": "750",
    "PositionerPrimaryAngle": "30",
    "PositionerSecondaryAngle": "-15",
    "ImagerPixelSpacing": ["0.4", "0.3"],
}


def write_xray(path, **changes):
    """Write an X-ray file without pixels; a tag given as None is left out."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = XRayAngiographicImageStorage, "1.2.3"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    for keyword, value in {**XRAY_TAGS, **changes}.items():
        if value is not None:
            setattr(dataset, keyword, value)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path
