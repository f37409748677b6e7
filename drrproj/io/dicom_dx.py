"""A radiograph as a DICOM Digital X-Ray (DX) image, which says that it is simulated and how it was made."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from drrproj.directions import STRAIGHT, dicom_letters
from drrproj.extras import from_extra
from drrproj.geometry import RADIOGRAPH_VIEWS
from drrproj.io.dicom_files import (
    DicomFile,
    Header,
    converting,
    dicom_files,
    quiet_pydicom,
    read_headers,
    short_text,
    tag_text,
    text,
)
from drrproj.io.dicom_pose import PRIVATE_CREATOR, PRIVATE_GROUP
from drrproj.io.endings import require_dicom_name
from drrproj.io.one_view import line_integral_of_one_view
from drrproj.io.png import display_of
from drrproj.positioner import positioner_angles, positioner_axes
from drrproj.radiograph import Radiograph
from drrproj.replace import replaced
from drrproj.short_text import listed, shown
from drrproj.version import __version__
from drrproj.volume import Volume
from drrproj.warned import warn

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["write_dicom", "write_dicom_beside"]

Intent = Literal["presentation", "processing"]

_SOP_CLASSES = {
    "presentation": "1.2.840.10008.5.1.4.1.1.1.1",
    "processing": "1.2.840.10008.5.1.4.1.1.1.1.1",
}
# Names of CID 4010, DX View.
_VIEW_CODES = {"AP": "AnteroPosterior", "PA": "PosteroAnterior", "LL": "LeftLateral", "RL": "RightLateral"}

# Cosine of the 22.5 degrees from a view by which it is still called so: beyond them it is nearer to an oblique of 45.
_AS_NAMED = 0.9239

# Line integrals are stored in steps of 1/4096, over a range of 16; where that is not enough, in the next power of two.
_STEP = 2.0**-12
_LEVELS = 2**16 - 1


def write_dicom(
    path: str | os.PathLike[str],
    radiograph: Radiograph,
    *,
    intent: Intent = "presentation",
    window: Sequence[float] | None = None,
    study: str | os.PathLike[str] | Volume | None = None,
) -> None:
    """Write one view as a DICOM Digital X-Ray (DX) image.

    The pixels are the line integral in steps of 1/4096 (of the next power of two where its range exceeds 16), dense is
    bright; the file says so in its Real World Value Mapping, with an intercept below 0 where noise or scatter takes
    open pixels there. That it is simulated stands in its series description; its comments say what of beam, scatter,
    noise and detector is in it. Its tags hold the distance from the source to the detector's middle, pixel spacing, the
    patient's directions in the picture, the view where the beam is within 22.5 degrees of the one it is named, and,
    where the picture is upright on a C-arm and the beam meets the detector's middle at a right angle, the positioner's
    angles; Distance Source to Patient is measured along the beam as far as the middle of the CT. A private element
    holds the whole record, with the view's matrix.

    Parameters
    ----------
    path : str or path
        Ends in ``.dcm``, or is a name or a UID alone. Replaced whole, or left as it was.
    radiograph : Radiograph
        Of one view; take one of several by ``radiograph["PA"]``.
    intent : {"presentation", "processing"}
        Which of the two DX objects: for viewing, with a window; or for software, without.
    window : (float, float), optional
        Line integrals shown black and white, for viewing; by default as :func:`write_png` has it.
    study : str, path or Volume, optional
        A DICOM file, such as a slice of the CT, or a folder or zip of them, all of one patient and study: the picture
        joins these. Or the CT itself, which stands for a patient and a study that follow from its voxels and affine, so
        that all pictures of one CT have the same, and those of two CTs never. A file that was stripped of its study
        stands for one in the same way, with a warning, and one without a patient's ID for a patient. By default the
        picture has a study of its own, of the patient ``SIMULATED``.

    Raises
    ------
    TypeError
        If ``radiograph`` is none, or the voxels of ``study`` are on a GPU.
    ValueError
        If there are several views or no line integral, the window is empty, the line integral is NaN or infinite
        somewhere, the name has the ending of another format, or ``study`` holds files of several patients or studies,
        or none.
    OSError
        If the file cannot be written.
    ModuleNotFoundError
        If pydicom is not installed.

    Accuracy
    --------
    Half a step of the stored values, 1/8192, for line integrals from 0 to 16. ``dciodvfy`` of dicom3tools finds no
    error in either object (``tests/test_io_dicom_xray.py``).

    Source
    ------
    DICOM PS3.3 A.26 and C.8.11.

    Examples
    --------
    >>> import numpy as np, drrproj, pydicom, tempfile
    >>> ct = drrproj.Volume(np.zeros((20, 10, 20), np.int16), np.eye(4))
    >>> shot = drrproj.project(ct, drrproj.Geometry.radiograph("PA", ct, shape=(32, 32)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     drrproj.write_dicom(f"{folder}/pa.dcm", shot)
    ...     image = pydicom.dcmread(f"{folder}/pa.dcm")
    ...     same = drrproj.read_geometry(f"{folder}/pa.dcm")
    >>> image.ViewPosition, list(image.PatientOrientation), image.SeriesDescription
    ('PA', ['L', 'F'], 'Simulated radiograph PA')
    >>> bool(np.array_equal(same.views, shot.geometry.views))
    True
    """
    write_dicom_beside(path, radiograph, study, intent=intent, window=window)


def write_dicom_beside(
    path: str | os.PathLike[str],
    radiograph: Radiograph,
    study: str | os.PathLike[str] | Volume | DicomFile | None,
    *,
    intent: Intent = "presentation",
    window: Sequence[float] | None = None,
) -> None:
    """Write one view as :func:`write_dicom` does; ``study`` may also be a file that has no path, a zip's member."""
    with from_extra("dicom", "writing DICOM"):
        import pydicom
        from pydicom.dataset import FileDataset, FileMetaDataset
        from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid
    if intent not in _SOP_CLASSES:
        raise ValueError(f'intent must be "presentation" or "processing"; got {intent!r}')
    if window is not None and intent == "processing":
        raise ValueError("a DX image for processing has no window; leave it out")
    require_dicom_name(path)
    image = line_integral_of_one_view(radiograph)
    _check_finite(image)
    display = display_of(image, window)
    low, high = display.low, display.high
    step, first = _scale(image)
    stored = np.rint(image / np.float32(step) - np.float32(first)).astype("<u2")
    record = json.dumps(radiograph.record, default=str)
    dataset = FileDataset("", {}, preamble=b"\0" * 128)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    _add_patient_and_study(dataset, study)
    # From the contents, so that the same picture of the same patient and study is the same object in an archive.
    whose = f"{dataset.PatientID}{dataset.get('StudyInstanceUID')}"
    digest = hashlib.sha256(stored.tobytes() + f"{record}{intent}{low}{high}{whose}".encode()).hexdigest()
    if "StudyInstanceUID" not in dataset:
        dataset.StudyInstanceUID = generate_uid(entropy_srcs=[digest, "study"])

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(_SOP_CLASSES[intent])
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[digest, "instance"])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    name = radiograph.geometry.names[0]
    dataset.Modality, dataset.SeriesInstanceUID = "DX", generate_uid(entropy_srcs=[digest, "series"])
    dataset.SeriesNumber, dataset.InstanceNumber = 1, 1
    dataset.SeriesDescription = short_text(f"Simulated radiograph {name}")
    dataset.PresentationIntentType = f"FOR {intent.upper()}"
    dataset.Manufacturer, dataset.ManufacturerModelName, dataset.SoftwareVersions = "drrproj", "drrproj", __version__
    dataset.ImageType = ["DERIVED", "SECONDARY", ""]
    dataset.DerivationDescription = _derivation(radiograph)
    dataset.ImageComments = _comments(radiograph)
    dataset.ImageLaterality, dataset.AnatomicRegionSequence = "U", []
    dataset.AcquisitionContextSequence = []
    _add_pixels(dataset, stored, step, first * step, _quantity(radiograph))
    if intent == "presentation":
        # PS3.3 C.11.2.1.2.1: black at or below center - 0.5 - (width - 1) / 2, white above its mirror.
        dataset.WindowCenter = f"{(low + high) / (2 * step) - first + 0.5:.10g}"
        dataset.WindowWidth = f"{max((high - low) / step, 1) + 1:.10g}"
    _add_geometry(dataset, radiograph)
    block = dataset.private_block(PRIVATE_GROUP, PRIVATE_CREATOR, create=True)
    block.add_new(0x01, "UT", record)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    with replaced(path) as file:
        file.write(buffer.getvalue())


def _check_finite(image: npt.NDArray[np.float32]) -> None:
    wrong = int(np.count_nonzero(~np.isfinite(image)))
    if wrong:
        raise ValueError(
            f"a DX image holds finite numbers, and the line integral is NaN or infinite in {wrong} of {image.size} "
            "pixels; mend the volume or the image first"
        )


def _scale(image: npt.NDArray[np.float32]) -> tuple[float, int]:
    """Return the step of the stored values, and how many steps from 0 the first of them stands."""
    low, high = float(image.min()), float(image.max())
    step = _STEP
    # 0 is a stored value, so that what is exactly 0 comes back as 0.
    while round(high / step) - (first := min(round(low / step), 0)) > _LEVELS:
        step *= 2
    return step, first


def _add_patient_and_study(dataset: Dataset, study: str | os.PathLike[str] | Volume | DicomFile | None) -> None:
    dataset.PatientName, dataset.PatientID = "Simulated^Radiograph", "SIMULATED"
    empty = ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID")
    for keyword in (*empty, "AccessionNumber"):
        setattr(dataset, keyword, "")
    if study is None:
        return
    if isinstance(study, Volume):
        _add_own_study(dataset, _digest(study))
        _add_own_patient(dataset)
        return
    keywords = ("PatientName", "PatientID", "IssuerOfPatientID", "StudyInstanceUID", "StudyDescription", *empty)
    name, files = (study.name, [study]) if isinstance(study, DicomFile) else (os.fspath(study), dicom_files(study))
    if not files:
        raise ValueError(f"{name}: no DICOM file, so it has no patient and study to join")
    with quiet_pydicom(), converting(name):
        headers = read_headers(files, ["SpecificCharacterSet", *keywords, "AccessionNumber"])
        _check_one_study(name, headers)
        source = headers[0].dataset
        source.decode()
        for keyword in (*keywords, "AccessionNumber"):
            if text(source, keyword):
                dataset[keyword] = source[keyword]
    if "StudyInstanceUID" not in dataset:
        with files[0].open() as stream:
            _add_own_study(dataset, hashlib.sha256(stream.read()).hexdigest())
        warn(f"{name}: it has no {tag_text('StudyInstanceUID')}, so its pictures have a study of their own")
    if not text(source, "PatientID"):
        _add_own_patient(dataset)


def _check_one_study(name: str, headers: Sequence[Header]) -> None:
    """Refuse files of several patients or studies: the picture belongs to one of them, and which is not said."""
    found: dict[tuple[str, str], str] = {}
    for header in headers:
        # Where the ID was taken out, the name may still tell two patients apart.
        patient = text(header.dataset, "PatientID") or text(header.dataset, "PatientName")
        found.setdefault((patient, text(header.dataset, "StudyInstanceUID")), header.file.name)
    if len(found) > 1:
        what = "patients" if len({patient for patient, _ in found}) > 1 else "studies"
        # Patients' IDs and names have no business in a log.
        offered = [f"{file} of study {shown(study)}" for (_, study), file in found.items()]
        raise ValueError(
            f"{name}: files of several {what} are in it, and which one the picture belongs to is not said: "
            f"{listed(offered)}; pass one file of it, such as a slice of the CT, unpacked from a zip"
        )


def _add_own_study(dataset: Dataset, digest: str) -> None:
    """Give a picture the study that follows from its CT."""
    from pydicom.uid import generate_uid

    dataset.StudyInstanceUID = generate_uid(entropy_srcs=[digest, "study"])


def _add_own_patient(dataset: Dataset) -> None:
    """Give a picture the patient that its study stands for."""
    digest = hashlib.sha256(str(dataset.StudyInstanceUID).encode()).hexdigest()
    dataset.PatientID = f"SIMULATED-{digest[:12]}"


def _digest(volume: Volume) -> str:
    if not isinstance(volume.array, np.ndarray):
        raise TypeError(
            "study: the voxels of this volume are on a GPU; pass the CT's DICOM files, or the CT on the host"
        )
    contents = hashlib.sha256(repr((volume.shape, str(volume.array.dtype), volume.affine.tolist())).encode())
    # In one order, whatever that of the array is, and by planes: a copy of the whole would double the memory.
    for k in range(volume.shape[2]):
        contents.update(volume.array[:, :, k].tobytes(order="F"))
    return contents.hexdigest()


def _quantity(radiograph: Radiograph) -> str:
    record = radiograph.record
    if "acquisition" in record or (record.get("signal") or {}).get("kind") == "polychromatic":
        return "Minus logarithm of the signal over that of the open beam"
    of_density = (record.get("attenuation") or {}).get("unit", "1/mm") != "1/mm"
    return f"Line integral of {'density' if of_density else 'linear attenuation'}"


def _derivation(radiograph: Radiograph) -> str:
    record = radiograph.record
    model, volume, signal = record.get("attenuation") or {}, record["volume"], record.get("signal") or {}
    if signal.get("kind") == "polychromatic":
        spectrum = signal["spectrum"]
        peak = f"{spectrum['kvp']:g} kVp, " if "kvp" in spectrum else ""
        beam = f"beam of many energies, {peak}mean {spectrum['mean_energy_kev']:.4g} keV"
    elif not model:
        beam = "1/mm as given"
    else:
        energy = signal.get("energy_kev", model.get("energy_kev"))
        beam = f"{model['model']} model" + (f", {energy:g} keV" if energy else "")
    size = " x ".join(str(number) for number in volume["shape"])
    description = (
        f"{_quantity(radiograph)} along each ray, computed by drrproj {__version__} from a CT of {size} "
        f"voxels ({beam}). Geometry and settings in private element ({PRIVATE_GROUP:04x},1001)."
    )
    return description[:1024]


def _comments(radiograph: Radiograph) -> str:
    """Say what of a real picture the image has, and what not."""
    record = radiograph.record
    acquisition = record.get("acquisition") or {}
    parts = {
        "beam of many energies": (record.get("signal") or {}).get("kind") == "polychromatic",
        "blur of the focal spot": bool(acquisition.get("focal_spot")),
        "scatter": bool(acquisition.get("scatter")),
        "quantum noise": bool(acquisition.get("exposure")),
        "blur of the detector": bool(acquisition.get("detector_blur_mm")),
        "electronic noise": bool(acquisition.get("electronic_noise_quanta")),
    }
    groups = {"With": [part for part, is_in in parts.items() if is_in]}
    groups["Without"] = [part for part in parts if part not in groups["With"]]
    said = " ".join(f"{word} {', '.join(named)}." for word, named in groups.items() if named)
    return f"Simulated radiograph (DRR): computed from a CT, not taken with X-rays. {said} Not for diagnosis."


def _add_pixels(dataset: Dataset, stored: npt.NDArray[Any], step: float, first: float, quantity: str) -> None:
    from pydicom.dataset import Dataset
    from pydicom.sr.coding import Code

    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    # Higher values mean less intensity, and the logarithm of it; DX has no scale of its own beyond that.
    dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LOG", -1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "0", "1", "US"
    dataset.PresentationLUTShape, dataset.LossyImageCompression, dataset.BurnedInAnnotation = "IDENTITY", "00", "NO"
    mapping = Dataset()
    mapping.LUTLabel, mapping.LUTExplanation = "LINE_INTEGRAL", quantity
    mapping.add_new("RealWorldValueFirstValueMapped", "US", 0)
    mapping.add_new("RealWorldValueLastValueMapped", "US", _LEVELS)
    mapping.RealWorldValueIntercept, mapping.RealWorldValueSlope = first, step
    mapping.MeasurementUnitsCodeSequence = [_code(Code("1", "UCUM", "no units"))]
    dataset.RealWorldValueMappingSequence = [mapping]
    dataset.add_new("PixelData", "OW", stored.tobytes())


def _code(code: Any) -> Dataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item


def _add_geometry(dataset: Dataset, radiograph: Radiograph) -> None:
    from pydicom.sr.codedict import codes

    geometry = radiograph.geometry
    source, _, row_step, column_step = geometry.views[0, :3].T
    name = geometry.names[0]
    dataset.DetectorType = ""
    dataset.ImagerPixelSpacing = [f"{value:.9g}" for value in geometry.pixel_spacing[0]]
    dataset.PatientOrientation = [dicom_letters(column_step), dicom_letters(row_step)]
    dataset.PositionerType = "NONE"
    is_parallel = bool(geometry.is_parallel[0])
    beam = -source if is_parallel else geometry.centers[0] - source
    to_detector = float(np.linalg.norm(beam))
    beam = beam / to_detector
    # A view that was turned keeps its name.
    if name in RADIOGRAPH_VIEWS and beam @ RADIOGRAPH_VIEWS[name][0] > _AS_NAMED:
        dataset.ViewPosition = name
        dataset.ViewCodeSequence = [_code(getattr(codes.cid4010, _VIEW_CODES[name]))]
    if is_parallel:
        return
    dataset.DistanceSourceToDetector = f"{to_detector:.9g}"
    volume = radiograph.record["volume"]
    affine, shape = np.array(volume["affine"]), np.array(volume["shape"])
    to_middle = affine[:3, :3] @ ((shape - 1) / 2) + affine[:3, 3] - source
    sod, depth = float(to_middle @ beam), float(to_middle @ geometry.normals[0])
    if 0 < sod < to_detector:
        dataset.DistanceSourceToPatient = f"{sod:.9g}"
        dataset.EstimatedRadiographicMagnificationFactor = f"{float(geometry.sdd[0]) / depth:.9g}"
    angles = _positioner_angles(beam, row_step, column_step)
    if angles is not None:
        dataset.PositionerType = "CARM"
        dataset.PositionerPrimaryAngle, dataset.PositionerSecondaryAngle = (f"{angle:.9g}" for angle in angles)


def _positioner_angles(
    beam: npt.NDArray[np.float64], row_step: npt.NDArray[np.float64], column_step: npt.NDArray[np.float64]
) -> tuple[float, float] | None:
    """Return the angles whose C-arm view has these directions; None where none has."""
    angles = positioner_angles(beam)
    _, up, right = positioner_axes(*angles)
    straight = [
        np.abs(step / np.linalg.norm(step) - wanted).max() < STRAIGHT
        for step, wanted in ((column_step, right), (row_step, -up))
    ]
    return angles if all(straight) else None
