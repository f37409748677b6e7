"""A CT series of DICOM slices as one volume: which slices, where they lie, and their HU.

The place of a voxel comes from Image Position, Image Orientation and Pixel Spacing of the slices alone. Slice Thickness
is how thick a slice was scanned, which need not be how far it is to the next, and the gantry's tilt is in the positions
already: it becomes a shear of the affine.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.io.blaming import blaming
from drrproj.io.dicom_files import (
    DicomFile,
    Header,
    converting,
    dicom_files,
    numbers,
    one_number,
    other_volumes,
    quiet_pydicom,
    read_headers,
    tag_text,
    text,
)
from drrproj.io.dicom_pixels import (
    Int16IsTooSmall,
    bits_below,
    decoded_frames,
    has_wrapped,
    rescale,
    stored_slice,
    wrong_high_bit,
)
from drrproj.io.dicom_planes import check_plane, is_alike
from drrproj.volume import Unit, Volume
from drrproj.warned import warn

__all__ = ["file_of_series", "read_series"]

Series = str | int

_KEYWORDS = (
    "SpecificCharacterSet",
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "SeriesDescription",
    "SeriesInstanceUID",
    "SeriesNumber",
    "AcquisitionNumber",
    "InstanceNumber",
    "FrameOfReferenceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)

# CT image, Enhanced CT image, and CT that was converted to it.
_CT_CLASSES = tuple(f"1.2.840.10008.5.1.4.1.1.2{ending}" for ending in ("", ".1", ".2"))

# Files write positions with as little as one decimal, so slices of one series can be that far from where an even
# spacing would have them; thin slices must not be taken for each other all the same.
_ROUNDING_MM = 0.1
_PLACE_SHARE = 0.01
_PLACE_LIMIT = 0.25

_GAP = 1.5

# Share by which the distance of slices may differ from a multiple of what is stated: both are written rounded.
_MULTIPLE = 0.05

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Slice:
    """One slice: a file, or a frame of a multi-frame file. LPS+ mm."""

    header: Header
    frame: int
    position: Vector
    orientation: Vector
    spacing: Vector
    slope: float
    intercept: float

    @property
    def name(self) -> str:
        number = text(self.header.dataset, "InstanceNumber")
        where = f"frame {self.frame + 1} of {self.header.file.name}" if self.is_frame else self.header.file.name
        return f"{where} (instance {number})" if number and not self.is_frame else where

    @property
    def is_frame(self) -> bool:
        return "PerFrameFunctionalGroupsSequence" in self.header.dataset


def read_series(path: str | os.PathLike[str], unit: Unit = "HU", series: Series | None = None) -> Volume:
    """Read a CT series from DICOM files.

    Parameters
    ----------
    path : str or path
        A folder (with sub-folders) or a zip of DICOM files, or one multi-frame file. Names and order of the files do
        not matter.
    unit : {"HU", "1/mm"}
        ``"HU"`` takes CT alone; with ``"1/mm"`` the rescaled values of any modality are attenuation.
    series : str or int, optional
        Which of several series: its description, its number or its UID.

    Returns
    -------
    Volume
        Index order is column, row, slice. int16 where every rescaled value is whole and fits, else float32. With the
        series' frame of reference.

    Raises
    ------
    FileNotFoundError
        If there is nothing at ``path``.
    ValueError
        If there is no CT series or more than one, or a volume in another format beside it and no series chosen; slices
        are missing, uneven, doubled or of different kinds; a tag that says where the voxels are or what they mean is
        missing; or the pixels are pictures, not HU.
    ModuleNotFoundError
        If pydicom, or the decoder of a compressed syntax, is not installed.

    Warns
    -----
    UserWarning
        Names what was left out: localizers, other objects, copies of a slice. Or says that pixels of the series look as
        if their highest bit were no sign, or that slices and their numbers are as if only every second one, or third,
        were there.

    Source
    ------
    DICOM PS3.3 C.7.6.2.1.1: the position of a pixel from Image Position, Image Orientation and Pixel Spacing.
    """
    files = _series_files(path, series)
    with quiet_pydicom(), converting(os.fspath(path)):
        chosen, left_out = _headers(path, files, unit, series)
        slices = [piece for header in chosen for piece in _slices(header, unit)]
        _check_alike(slices)
        slices, copies = _without_copies(_in_order(slices))
        step = _step(slices)
        array, remark = _array(slices)
    if copies:
        left_out["copy of a slice", copies[0]] += len(copies)
    if left_out:
        warn(f"{path}: left out {_listed(left_out)}")
    thinned = _thinned(slices, step)
    for said in filter(None, (remark, f"{path}: {thinned}" if thinned else "")):
        warn(said)
    return Volume(
        array, _affine(slices, step), unit, space="LPS", frame_of_reference=_frame_of_reference(slices) or None
    )


def file_of_series(path: str | os.PathLike[str], unit: Unit = "HU", series: Series | None = None) -> DicomFile:
    """Return a file of the very series that :func:`read_series` reads, whose patient and study are the volume's."""
    # What is left out was said when the series was read.
    with quiet_pydicom(), converting(os.fspath(path)):
        chosen, _ = _headers(path, _series_files(path, series), unit, series)
    return chosen[0].file


# --- which slices -------------------------------------------------------------------------------------------------


def _series_files(path: str | os.PathLike[str], series: Series | None) -> list[DicomFile]:
    files = dicom_files(path)
    others = other_volumes(path)
    if not files:
        raise ValueError(
            f"{path}: no DICOM files in it"
            + (f", but {others[0]}; pass that file itself" if others else "; pass the folder or zip of a CT series")
        )
    if others and series is None:
        raise ValueError(
            f"{path}: DICOM files and {others[0]}{' and others' * (len(others) > 1)} are in it, and which one is meant "
            "is not said; pass that file itself, or choose the DICOM series with series= (--series)"
        )
    return files


def _headers(
    path: str | os.PathLike[str], files: Sequence[DicomFile], unit: Unit, series: Series | None
) -> tuple[list[Header], Counter[tuple[str, str]]]:
    """Return the headers of the one series that is meant, and what was left out."""
    candidates, left_out = _sorted_out(read_headers(files, _KEYWORDS), unit)
    return _chosen(path, candidates, left_out, series), left_out


def _sorted_out(headers: Sequence[Header], unit: Unit) -> tuple[dict[str, list[Header]], Counter[tuple[str, str]]]:
    """Group what can be a slice by series; count what cannot, by kind and description."""
    candidates: dict[str, list[Header]] = {}
    left_out: Counter[tuple[str, str]] = Counter()
    for header in headers:
        with converting(header.file.name):
            _sort(header, unit, candidates, left_out)
    return candidates, left_out


def _sort(header: Header, unit: Unit, candidates: dict[str, list[Header]], left_out: Counter[tuple[str, str]]) -> None:
    dataset = header.dataset
    modality, description = text(dataset, "Modality"), text(dataset, "SeriesDescription")
    _check_whole(header)
    if "LOCALIZER" in _image_type(dataset):
        left_out["localizer", description] += 1
    elif "Rows" not in dataset or (modality != "CT" and unit == "HU"):
        left_out[f"{modality or 'unknown'} object", description] += 1
    elif "ImagePositionPatient" not in dataset and "PerFrameFunctionalGroupsSequence" not in dataset:
        left_out[f"unplaced {modality} image", description] += 1
    else:
        candidates.setdefault(text(dataset, "SeriesInstanceUID"), []).append(header)


def _check_whole(header: Header) -> None:
    """Refuse a CT slice whose end is missing: pydicom reads what is there, and a last slice would go unnoticed."""
    dataset = header.dataset
    sop_class = text(dataset.file_meta, "MediaStorageSOPClassUID") or text(dataset, "SOPClassUID")
    is_ct = sop_class in _CT_CLASSES or (not sop_class and text(dataset, "Modality") in ("", "CT"))
    if is_ct and any(text(dataset, keyword) == "" for keyword in ("Modality", "Rows", "PixelRepresentation")):
        raise ValueError(f"{header.file.name}: the DICOM file is damaged or cut short; copy it again")


def _image_type(dataset: Any) -> list[str]:
    value = dataset.get("ImageType") or ()
    return [str(part).upper() for part in ([value] if isinstance(value, str) else value)]


def _listed(left_out: Counter[tuple[str, str]]) -> str:
    return ", ".join(
        f"{count} {kind}{'s' if count > 1 and not kind.startswith('copy') else ''}"
        + (f" ({description})" if description else "")
        for (kind, description), count in left_out.items()
    )


def _chosen(
    path: str | os.PathLike[str],
    candidates: dict[str, list[Header]],
    left_out: Counter[tuple[str, str]],
    series: Series | None,
) -> list[Header]:
    if not candidates:
        raise ValueError(f"{path}: no CT series here, only {_listed(left_out)}; pass the folder of the CT's slices")
    wanted = list(candidates)
    if series is not None:
        asked = str(series).strip()
        for matches in (
            lambda uid, dataset: uid == asked,
            lambda uid, dataset: text(dataset, "SeriesDescription") == asked,
            lambda uid, dataset: text(dataset, "SeriesNumber") == asked,
            lambda uid, dataset: asked != "" and asked.lower() in text(dataset, "SeriesDescription").lower(),
        ):
            wanted = [uid for uid, headers in candidates.items() if matches(uid, headers[0].dataset)]
            if wanted:
                break
    if len(wanted) == 1:
        return candidates[wanted[0]]
    offered = "; ".join(_offer(uid, candidates[uid]) for uid in wanted or candidates)
    if not wanted:
        raise ValueError(f"{path}: no series {series!r} here; there {_are(len(candidates))}: {offered}")
    what = "CT series" if series is None else f"series that {series!r} fits"
    raise ValueError(
        f"{path}: {len(wanted)} {what}: {offered}; choose one by its description, number or UID with series= (--series)"
    )


def _are(count: int) -> str:
    return f"are {count}" if count > 1 else "is one"


def _offer(uid: str, headers: Sequence[Header]) -> str:
    dataset = headers[0].dataset
    frames = sum(int(one_number(header.dataset, "NumberOfFrames") or 1) for header in headers)
    number = text(dataset, "SeriesNumber")
    return (
        f"{text(dataset, 'SeriesDescription') or 'no description'!r}"
        f" ({f'number {number}, ' if number else ''}{frames} slices, {uid or 'no UID'})"
    )


# --- where they lie -----------------------------------------------------------------------------------------------


def _slices(header: Header, unit: Unit) -> Iterator[_Slice]:
    dataset, name = header.dataset, header.file.name
    with converting(name), blaming(name):
        _check_pixels(dataset)
        if "PerFrameFunctionalGroupsSequence" not in dataset:
            if (one_number(dataset, "NumberOfFrames") or 1) != 1:
                raise ValueError("it has several frames but no functional groups that say where they lie")
            yield _slice(header, 0, [dataset], [dataset], [dataset], unit)
            return
        shared = (dataset.get("SharedFunctionalGroupsSequence") or [{}])[0]
        groups = dataset.PerFrameFunctionalGroupsSequence or ()
        stated = one_number(dataset, "NumberOfFrames")
        if not groups or stated != len(groups):
            raise ValueError(
                f"its {tag_text('NumberOfFrames')} is {'missing' if stated is None else f'{stated:g}'}, and its "
                f"functional groups place {len(groups)} frames: it is damaged; copy or export it again"
            )
        for frame, own in enumerate(groups):

            def group(keyword: str, own: Any = own, shared: Any = shared) -> list[Any]:
                items = [item[0] for item in (own.get(keyword), shared.get(keyword)) if item]
                if not all(hasattr(item, "get") for item in items):
                    raise ValueError(f"its {tag_text(keyword)} is no sequence: it is damaged; copy or export it again")
                return items

            yield _slice(
                header,
                frame,
                group("PlanePositionSequence") + group("PlaneOrientationSequence"),
                group("PixelMeasuresSequence"),
                group("PixelValueTransformationSequence"),
                unit,
            )


def _slice(
    header: Header, frame: int, place: list[Any], measures: list[Any], transformation: list[Any], unit: Unit
) -> _Slice:
    position = _required(place, "ImagePositionPatient", 3)
    orientation = _required(place, "ImageOrientationPatient", 6).reshape(2, 3)
    spacing = _required(measures, "PixelSpacing", 2)
    check_plane(orientation, spacing)
    kind = text(transformation[0], "RescaleType") if transformation else ""
    if unit == "HU" and kind not in ("", "HU"):
        raise ValueError(f"its {tag_text('RescaleType')} is {kind}, not HU; pass the original CT series")
    slope, intercept = (_required(transformation, name, 1)[0] for name in ("RescaleSlope", "RescaleIntercept"))
    if not slope:
        raise ValueError(f"its {tag_text('RescaleSlope')} is 0, which makes every voxel the same")
    return _Slice(header, frame, position, orientation, spacing, float(slope), float(intercept))


def _required(holders: Sequence[Any], keyword: str, count: int) -> Vector:
    for holder in holders:
        values = numbers(holder, keyword, count)
        if values is not None:
            return np.array(values)
    raise ValueError(f"it has no {tag_text(keyword)}, so it cannot be placed or read as HU")


def _check_pixels(dataset: Any) -> None:
    if (one_number(dataset, "SamplesPerPixel") or 1) != 1:
        raise ValueError("it is a colour picture, not HU; pass the original CT series")
    photometric = text(dataset, "PhotometricInterpretation")
    if photometric not in ("", "MONOCHROME2"):
        raise ValueError(f"its {tag_text('PhotometricInterpretation')} is {photometric}; a CT's is MONOCHROME2")
    bits = one_number(dataset, "BitsAllocated")
    if bits == 8:
        raise ValueError(
            "its pixels have 8 bits: a picture that was windowed for display, not HU; export the original CT series"
        )
    if bits not in (16, 32):
        raise ValueError(f"its {tag_text('BitsAllocated')} must be 16 or 32; got {bits or 0:g}")
    for keyword in ("Rows", "Columns", "BitsStored", "PixelRepresentation"):
        if one_number(dataset, keyword) is None:
            raise ValueError(f"it has no {tag_text(keyword)}")


def _check_alike(slices: Sequence[_Slice]) -> None:
    """Slices of one volume share size, directions, pixel spacing and frame of reference."""
    first = slices[0]

    def look(piece: _Slice) -> dict[str, Any]:
        dataset = piece.header.dataset
        return {
            "Rows": int(dataset.Rows),
            "Columns": int(dataset.Columns),
            "FrameOfReferenceUID": text(dataset, "FrameOfReferenceUID"),
            "ImageOrientationPatient": piece.orientation,
            "PixelSpacing": piece.spacing,
        }

    expected = look(first)
    for piece in slices:
        for keyword, value in look(piece).items():
            want = expected[keyword]
            if not (is_alike(value, want) if isinstance(value, np.ndarray) else value == want):
                shown = [item.ravel().tolist() if isinstance(item, np.ndarray) else item for item in (want, value)]
                raise ValueError(
                    f"the series mixes images: {tag_text(keyword)} is {shown[0]} in {first.name} and {shown[1]} in "
                    f"{piece.name}; put the images of one volume into a folder of their own"
                )


def _in_order(slices: Sequence[_Slice]) -> list[_Slice]:
    normal = np.cross(*slices[0].orientation)
    return sorted(slices, key=lambda piece: float(piece.position @ normal))


def _without_copies(slices: Sequence[_Slice]) -> tuple[list[_Slice], list[str]]:
    """Drop files that hold a slice once more; refuse different slices in one place."""
    normal = np.cross(*slices[0].orientation)
    kept: list[_Slice] = []
    copies: list[str] = []
    for piece in slices:
        # 1 um: positions of a copy are written by the same rounding.
        if not kept or abs(float((piece.position - kept[-1].position) @ normal)) > 1e-3:
            kept.append(piece)
            continue
        if not _is_copy(kept[-1], piece):
            one, two = kept[-1].header.dataset, piece.header.dataset
            differing = [
                f"{tag_text(keyword)} {text(one, keyword)} and {text(two, keyword)}"
                for keyword in ("AcquisitionNumber", "InstanceNumber")
                if text(one, keyword) != text(two, keyword)
            ]
            raise ValueError(
                f"two different slices lie in one place: {kept[-1].header.file.name} and {piece.header.file.name}"
                + (f" ({', '.join(differing)})" if differing else "")
                + "; a volume has one slice there: put each acquisition or phase into a folder of its own"
            )
        copies.append(os.path.basename(piece.header.file.name))
    return kept, copies


def _is_copy(one: _Slice, two: _Slice) -> bool:
    first, second = (text(piece.header.dataset, "SOPInstanceUID") for piece in (one, two))
    if first and second and not one.is_frame and not two.is_frame:
        return first == second
    return np.array_equal(_decoded(one), _decoded(two)) and one.frame == two.frame


def _step(slices: Sequence[_Slice]) -> Vector:
    """Return the step to the next slice, LPS mm, or say which slices are missing or uneven."""
    if len(slices) < 2:
        raise ValueError(f"{slices[0].name} is a single slice; a volume needs all of its series: pass their folder")
    normal = np.cross(*slices[0].orientation)
    along = np.array([piece.position @ normal for piece in slices])
    gaps = np.diff(along)
    usual = float(np.median(gaps))
    missing = [index for index, gap in enumerate(gaps) if gap > _GAP * usual]
    if missing:
        count = sum(round(gaps[index] / usual) - 1 for index in missing)
        places = "; ".join(
            f"{round(gaps[index] / usual) - 1} between {slices[index].name} at {along[index]:.2f} mm and "
            f"{slices[index + 1].name} at {along[index + 1]:.2f} mm"
            for index in missing[:5]
        )
        more = f"; and {len(missing) - 5} more gaps" if len(missing) > 5 else ""
        raise ValueError(
            f"slices are missing: about {max(count, 1)} of {usual:.4g} mm: {places}{more}; copy the whole series again"
        )
    step: Vector = (slices[-1].position - slices[0].position) / (len(slices) - 1)
    even = slices[0].position + np.arange(len(slices))[:, None] * step
    off = np.linalg.norm([piece.position for piece in slices] - even, axis=1)
    size = float(np.linalg.norm(step))
    if off.max() > min(max(_PLACE_SHARE * size, _ROUNDING_MM), _PLACE_LIMIT * size):
        worst = int(np.argmax(off))
        raise ValueError(
            f"the slices are not evenly spaced: from {gaps.min():.4g} to {gaps.max():.4g} mm apart, and "
            f"{slices[worst].name} is {off[worst]:.3g} mm from where an even spacing has it; a volume needs one "
            "spacing, so resample the series or pass an evenly spaced one"
        )
    return step


def _thinned(slices: Sequence[_Slice], step: Vector) -> str:
    """Say that only one slice in some may be there; empty where nothing looks so.

    Slices with gaps between them and wrong statements of their distance are common, so that both a stated distance and
    the numbers of the slices must count them alike.
    """
    counted = [_optional(piece, "InstanceNumber") for piece in slices]
    if any(number is None for number in counted) or any(piece.is_frame for piece in slices):
        return ""
    steps = set(np.diff(np.array(counted, np.float64)).tolist())
    times = abs(steps.pop())
    if steps or times < 2 or not times.is_integer():
        return ""
    distance = float(step @ np.cross(*slices[0].orientation))
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        stated = {_optional(piece, keyword) for piece in slices}
        size = stated.pop()
        if not stated and size and abs(distance - times * abs(size)) <= _MULTIPLE * distance:
            return (
                f"its slices are {distance:.4g} mm apart and their instance numbers {times:.0f}, and its "
                f"{tag_text(keyword)} is {abs(size):.4g}: if only one slice in {times:.0f} was copied, copy the whole "
                "series again"
            )
    return ""


def _optional(piece: _Slice, keyword: str) -> float | None:
    """Return a number on which no voxel depends; None where it is missing, or none."""
    try:
        return one_number(piece.header.dataset, keyword)
    except ValueError:
        return None


def _affine(slices: Sequence[_Slice], step: Vector) -> Vector:
    first = slices[0]
    affine = np.eye(4)
    # Columns run along the first direction, with the second of the two spacings; PS3.3 C.7.6.2.1.1.
    affine[:3, 0] = first.orientation[0] * first.spacing[1]
    affine[:3, 1] = first.orientation[1] * first.spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = first.position
    return affine


def _frame_of_reference(slices: Sequence[_Slice]) -> str:
    return text(slices[0].header.dataset, "FrameOfReferenceUID")


# --- what they hold -----------------------------------------------------------------------------------------------


def _array(slices: Sequence[_Slice]) -> tuple[npt.NDArray[Any], str]:
    """Return the rescaled values and a remark on them."""
    whole = all(
        piece.slope == 1 and piece.intercept.is_integer() and int(piece.header.dataset.BitsAllocated) == 16
        for piece in slices
    )
    if whole:
        try:
            return _filled(slices, np.int16)
        except Int16IsTooSmall:
            pass
    return _filled(slices, np.float32)


def _decoded(piece: _Slice) -> npt.NDArray[Any]:
    with blaming(piece.header.file.name):
        return decoded_frames(piece.header)


def _filled(slices: Sequence[_Slice], dtype: type[np.int16] | type[np.float32]) -> tuple[npt.NDArray[Any], str]:
    rows, columns = int(slices[0].header.dataset.Rows), int(slices[0].header.dataset.Columns)
    array = np.empty((len(slices), rows, columns), dtype)
    decoded: dict[int, npt.NDArray[Any]] = {}
    if any(piece.is_frame for piece in slices):
        # All frames of a file are decoded at once.
        decoded = {id(piece.header): _decoded(piece) for piece in {id(p.header): p for p in slices}.values()}

    unproven: dict[str, str] = {}
    is_proven = False
    wrapped = []
    for piece, into in zip(slices, array, strict=True):
        dataset = piece.header.dataset
        with blaming(piece.header.file.name):
            stored = decoded[id(piece.header)][piece.frame] if decoded else stored_slice(piece.header)
            rescale(stored, dataset, piece.slope, piece.intercept, into)
            if has_wrapped(stored, dataset, into):
                wrapped.append(piece.header.file.name)
            above = bits_below(dataset)
            if above:
                unproven.setdefault(piece.header.file.name, wrong_high_bit(dataset))
                is_proven |= bool((stored & (2**above - 1)).any())
    # A single slice may hold multiples of 16 alone, as one of air does; a series does not.
    if unproven and not is_proven:
        name, complaint = next(iter(unproven.items()))
        raise ValueError(f"{name}: {complaint}")
    remark = ""
    if wrapped:
        bits = int(slices[0].header.dataset.BitsStored)
        remark = (
            f"{wrapped[0]}: in {len(wrapped)} of {len(slices)} slices pixels are far below air, because "
            f"{tag_text('PixelRepresentation')} says that the highest of their {bits} bits is the sign; where metal or "
            "bone is blacker than air, it must be 0: correct it in the files and read them again"
        )
    # Columns first, as the affine counts them; the memory stays slice by slice.
    volume: npt.NDArray[Any] = array.T
    return volume, remark
