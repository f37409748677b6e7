"""Pose from X-ray DICOM: the tags of an angiography, fluoroscopy, DX or CR file as views."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.directions import DICOM_AXES, dicom_letters
from drrproj.geometry import RADIOGRAPH_VIEWS, Geometry
from drrproj.io.blaming import blaming
from drrproj.io.dicom_files import (
    converting,
    dicom_files,
    numbers,
    one_number,
    quiet_pydicom,
    read_headers,
    tag_text,
    text,
)

__all__ = ["PRIVATE_CREATOR", "PRIVATE_GROUP", "holds_own_views", "own_geometry", "read_pose"]

PRIVATE_GROUP, PRIVATE_CREATOR = 0x0099, "DRRPROJ"
"""Where the record of a radiograph stands in a DICOM file that drrproj wrote."""

# A UID has dots too, and what follows its last one is no ending.
_ENDING = re.compile(r"\.(dcm|dicom|ima)$", re.IGNORECASE)
_LEAVE_OUT = "leave out the isocenter and all numbers, and it gives its own view"
_MODALITIES = ("XA", "RF", "DX", "CR", "RG")
_KEYWORDS = (
    "Modality",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "DistanceSourceToDetector",
    "DistanceSourceToPatient",
    "PositionerPrimaryAngle",
    "PositionerSecondaryAngle",
    "PositionerPrimaryAngleIncrement",
    "PositionerSecondaryAngleIncrement",
    "DetectorPrimaryAngle",
    "DetectorSecondaryAngle",
    "ImagerPixelSpacing",
    "ViewPosition",
    "PatientOrientation",
    "FieldOfViewRotation",
    "FieldOfViewHorizontalFlip",
    "PerFrameFunctionalGroupsSequence",
)


def read_pose(
    path: str | os.PathLike[str],
    isocenter: npt.ArrayLike | None,
    sdd: float | None,
    sod: float | None,
    primary_angle: float | Sequence[float] | None,
    secondary_angle: float | Sequence[float] | None,
    pixel_spacing: float | Sequence[float] | None,
) -> Geometry:
    """Read the views of an X-ray DICOM file; see :func:`drrproj.read_geometry`."""
    with quiet_pydicom(), converting(os.fspath(path)), blaming(path):
        dataset = _header(path)
        modality = text(dataset, "Modality")
        if modality not in _MODALITIES:
            known = ", ".join(_MODALITIES)
            raise ValueError(f"its {tag_text('Modality')} is {modality or 'missing'}; an X-ray's is one of {known}")
        shape = (_whole(dataset, "Rows"), _whole(dataset, "Columns"))
        stem = _ENDING.sub("", Path(path).name)
        given = (sdd, sod, primary_angle, secondary_angle, pixel_spacing)
        matrices = own_geometry(dataset)
        own = None if matrices is None else Geometry(np.array(matrices, dtype=np.float64), shape, (stem,))
        if own is not None and isocenter is None and all(value is None for value in given):
            return own
        if own is not None:
            _check_centred(own)
        if isocenter is None:
            raise ValueError(
                "it does not say where the patient's CT lies; pass the isocenter in the CT's world, such as ct.center"
            )
        _check_upright(dataset)
        distance = _stated(dataset, "DistanceSourceToDetector", sdd, "sdd")
        to_isocenter = _stated(dataset, "DistanceSourceToPatient", sod, "sod")
        spacing = numbers(dataset, "ImagerPixelSpacing", 2) if pixel_spacing is None else pixel_spacing
        if spacing is None:
            raise _missing(dataset, "ImagerPixelSpacing", "pixel_spacing")
        frames = int(one_number(dataset, "NumberOfFrames") or 1)
        names = [stem] if frames == 1 else [f"{stem}_{frame:0{len(str(frames))}d}" for frame in range(1, frames + 1)]
        view = text(dataset, "ViewPosition")
        asked = primary_angle is not None or secondary_angle is not None
        if view in RADIOGRAPH_VIEWS and not asked and numbers(dataset, "PositionerPrimaryAngle") is None:
            geometry = _named_view(view, distance, to_isocenter, isocenter, spacing, shape, names)
        else:
            primary = _angles(dataset, "PositionerPrimaryAngle", primary_angle, "primary_angle", frames)
            secondary = _angles(dataset, "PositionerSecondaryAngle", secondary_angle, "secondary_angle", frames)
            geometry = Geometry.c_arm(
                sdd=distance,
                sod=to_isocenter,
                isocenter=isocenter,
                primary_angle=primary,
                secondary_angle=secondary,
                pixel_spacing=spacing,
                shape=shape,
                names=names,
            )
        _check_orientation(dataset, geometry)
        return geometry


def holds_own_views(path: str | os.PathLike[str]) -> bool:
    """Tell whether drrproj wrote the DICOM file, with its views in it."""
    with quiet_pydicom(), converting(os.fspath(path)), blaming(path):
        return own_geometry(_header(path)) is not None


def _header(path: str | os.PathLike[str]) -> Any:
    files = dicom_files(path)
    if not files:
        raise ValueError("it is a DICOMDIR, which lists files and holds none; pass one X-ray file")
    return read_headers(files, [*_KEYWORDS, *_private_tags()])[0].dataset


def _whole(dataset: Any, keyword: str) -> int:
    value = one_number(dataset, keyword)
    if value is None:
        raise ValueError(f"it has no {tag_text(keyword)}")
    return int(value)


def _missing(dataset: Any, keyword: str, argument: str) -> ValueError:
    where = (
        "; it is an enhanced multi-frame file, whose functional groups are not read"
        if "PerFrameFunctionalGroupsSequence" in dataset
        else ""
    )
    return ValueError(f"it has no {tag_text(keyword)}{where}; pass {argument}= where you know it")


def _stated(dataset: Any, keyword: str, given: float | None, argument: str) -> float:
    value = one_number(dataset, keyword) if given is None else given
    # Some devices write 0 for "not known".
    if not value:
        raise _missing(dataset, keyword, argument)
    return float(value)


def _angles(
    dataset: Any, keyword: str, given: float | Sequence[float] | None, argument: str, frames: int
) -> list[float]:
    if given is not None:
        angles = np.atleast_1d(np.asarray(given, dtype=np.float64))
        if angles.size not in (1, frames):
            raise ValueError(f"{argument} must be one angle or {frames}, one per frame; got {angles.size}")
        return [float(angle) for angle in np.broadcast_to(angles, (frames,))]
    first = one_number(dataset, keyword)
    if first is None:
        raise _missing(dataset, keyword, argument)
    increments = numbers(dataset, f"{keyword}Increment") or [0.0]
    if len(increments) == 1:
        return [first + increments[0] * frame for frame in range(frames)]
    if len(increments) != frames:
        raise ValueError(
            f"its {tag_text(f'{keyword}Increment')} has {len(increments)} values for {frames} frames; it must have one "
            "or as many"
        )
    return [first + increment for increment in increments]


def _named_view(
    view: str,
    sdd: float,
    sod: float,
    isocenter: npt.ArrayLike,
    spacing: float | Sequence[float],
    shape: tuple[int, int],
    names: Sequence[str],
) -> Geometry:
    if sod >= sdd:
        raise ValueError(f"the patient stands between source and detector: sod must be below sdd; got {sod}, {sdd}")
    direction, image_right = RADIOGRAPH_VIEWS[view]
    row, column = np.broadcast_to(np.asarray(spacing, dtype=np.float64), (2,))
    middle = np.asarray(isocenter, dtype=np.float64)
    source = middle - sod * direction
    copies = np.ones((len(names), 1))
    return Geometry.cone(
        copies * source, source + sdd * direction, np.array([0, 0, -row]), column * image_right, shape, tuple(names)
    )


def _check_upright(dataset: Any) -> None:
    rotation, flip = one_number(dataset, "FieldOfViewRotation"), text(dataset, "FieldOfViewHorizontalFlip")
    if rotation or flip == "YES":
        raise ValueError(
            f"its picture was turned or mirrored after the exposure: {tag_text('FieldOfViewRotation')} is "
            f"{rotation or 0:g}, {tag_text('FieldOfViewHorizontalFlip')} is {flip or 'missing'}; turn it back first"
        )
    for keyword in ("DetectorPrimaryAngle", "DetectorSecondaryAngle"):
        angle = one_number(dataset, keyword)
        if angle:
            raise ValueError(
                f"its beam is not perpendicular to its detector: {tag_text(keyword)} is {angle:g}; build the view with "
                "Geometry.cone"
            )


def _check_centred(own: Geometry) -> None:
    """Refuse drrproj's own picture where tags, which know no shift and no tilt of a detector, cannot say its view."""
    if own.is_parallel[0]:
        raise ValueError(f"its beam is parallel, which its tags cannot say; {_LEAVE_OUT}")
    foot = own.project_points(own.sources[0] + own.sdd[0] * own.normals[0])[0, 0]
    middle = (np.array(own.shape) - 1) / 2
    if np.abs(foot - middle).max() > 0.5:
        raise ValueError(
            f"its central ray meets row {foot[0]:.1f}, column {foot[1]:.1f} and not the middle, row {middle[0]:.1f}, "
            f"column {middle[1]:.1f}, which its tags cannot say: it was cropped, shifted or tilted; {_LEAVE_OUT}"
        )


def _check_orientation(dataset: Any, geometry: Geometry) -> None:
    """Refuse a picture whose rows or columns run against the view's: it is stored mirrored or turned."""
    stated = dataset.get("PatientOrientation")
    if not stated or len(stated) != 2:
        return
    for letters, step, what in zip(stated, geometry.views[0, :3, [3, 2]], ("rows", "columns"), strict=True):
        # The letters name every part of a direction, so one that has no such part is another.
        if any(step @ DICOM_AXES[letter] <= 0 for letter in str(letters) if letter in DICOM_AXES):
            raise ValueError(
                f"its {tag_text('PatientOrientation')} is {stated[0]}\\{stated[1]}, but at these angles its {what} "
                f"would run towards {dicom_letters(step)}: it is stored mirrored or turned, or its angles mean "
                "something else"
            )


def _private_tags() -> list[int]:
    return [(PRIVATE_GROUP << 16) + 0x10, (PRIVATE_GROUP << 16) + 0x1001]


def own_geometry(dataset: Any) -> list[Any] | None:
    """Return the views that drrproj wrote into a picture; None where another program made it."""
    if str(dataset.get((PRIVATE_GROUP, 0x10), "")).find(PRIVATE_CREATOR) < 0:
        return None
    try:
        record: dict[str, Any] = json.loads(str(dataset[PRIVATE_GROUP, 0x1001].value))
        views: list[Any] = record["geometry"]["views"]
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError(f"the record that drrproj wrote into it is damaged: {error}") from error
    return views
