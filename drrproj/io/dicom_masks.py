"""Masks of a radiograph as a DICOM SEG beside its DX image."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable

import numpy as np

from drrproj.extras import from_extra
from drrproj.io.chosen_masks import chosen_masks
from drrproj.io.dicom_files import dicom_files, quiet_pydicom, read_dataset, short_text
from drrproj.io.dicom_pose import own_geometry
from drrproj.io.endings import require_dicom_name
from drrproj.io.label_colors import label_color
from drrproj.io.one_view import require_one_view
from drrproj.io.structures import unique_names
from drrproj.radiograph import Radiograph
from drrproj.replace import replaced
from drrproj.version import __version__

__all__ = ["write_dicom_seg"]


def write_dicom_seg(
    path: str | os.PathLike[str],
    radiograph: Radiograph,
    image: str | os.PathLike[str],
    labels: Iterable[str | int] | str | int | None = None,
) -> None:
    """Write the masks of one view as a DICOM SEG object of its image.

    One binary segment per structure, on the pixels of the DX image, so structures may overlap. A segment is called by
    the structure's name and coded as an anatomical structure, because names have no codes of their own here.

    Parameters
    ----------
    path : str or path
        Ends in ``.dcm``, or is a name or a UID alone. Replaced whole, or left as it was.
    radiograph : Radiograph
        Of one view, with masks.
    image : str or path
        The DX image of the same view that :func:`write_dicom` wrote; the segmentation joins its patient and study.
    labels : str or int, or iterable of them, optional
        Names or ids of the structures; by default all that are on the picture. A structure that is not gets no segment.

    Raises
    ------
    TypeError
        If ``radiograph`` is none.
    ValueError
        If there are several views, no masks or none that is on the picture, the image is of another size or view, or
        the name has the ending of another format.
    KeyError
        If a label is not in the radiograph.
    OSError
        If a file cannot be read or written.
    ModuleNotFoundError
        If highdicom is not installed.

    Examples
    --------
    >>> import numpy as np, drrproj, pydicom, tempfile
    >>> ct = drrproj.Volume(np.zeros((20, 10, 20), np.int16), np.eye(4))
    >>> left_half = np.arange(20)[:, None, None] * np.ones((20, 10, 20), np.int16) < 10
    >>> labels = drrproj.LabelVolume(left_half, np.eye(4), {1: "left half"})
    >>> shot = drrproj.project(ct, drrproj.Geometry.radiograph("PA", ct, shape=(32, 32)), labels=labels)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     drrproj.write_dicom(f"{folder}/pa.dcm", shot)
    ...     drrproj.write_dicom_seg(f"{folder}/pa_seg.dcm", shot, f"{folder}/pa.dcm")
    ...     pydicom.dcmread(f"{folder}/pa_seg.dcm").SegmentSequence[0].SegmentLabel
    'left half'
    """
    with from_extra("dicom", "writing DICOM SEG"):
        import highdicom
        from highdicom.color import CIELabColor
        from pydicom.sr.codedict import codes
        from pydicom.uid import generate_uid
    require_dicom_name(path)
    require_one_view(radiograph)
    of_labels, places = chosen_masks(radiograph, labels)
    masks = {name: of_labels[name][0] for name, place in places.items() if of_labels.areas[place, 0]}
    if not masks:
        raise ValueError("none of the structures is on this picture, so there is no segment to write")
    files = dicom_files(image)
    if len(files) != 1:
        raise ValueError(f"{image}: pass the one DICOM image that write_dicom wrote; here are {len(files)} DICOM files")
    source = read_dataset(files[0])
    if (source.get("Rows"), source.get("Columns")) != radiograph.geometry.shape:
        raise ValueError(
            f"{image}: the image has {source.get('Rows')} x {source.get('Columns')} pixels, the radiograph "
            f"{radiograph.geometry.shape[0]} x {radiograph.geometry.shape[1]}; pass the image of this view"
        )
    views = own_geometry(source)
    if views is not None and not np.allclose(views, radiograph.geometry.views, rtol=1e-6, atol=1e-6):
        raise ValueError(f"{image}: it is the image of another view than this radiograph; pass that of this view")
    called = [short_text(name) for name in masks]
    if len(set(called)) < len(called):
        # Room for the number that tells them apart.
        called = unique_names([name[:56] for name in called])
    pixels = np.stack(list(masks.values()), axis=-1)[None].astype(np.uint8)
    rules = [_rule(radiograph, name) for name in masks]
    named = "\n".join([str(source.SOPInstanceUID), *masks, *(str(rule) for rule in rules)])
    digest = hashlib.sha256(pixels.tobytes() + named.encode()).hexdigest()
    segments = [
        highdicom.seg.SegmentDescription(
            number,
            segment,
            codes.SCT.AnatomicalStructure,
            codes.SCT.AnatomicalStructure,
            "AUTOMATIC",
            highdicom.AlgorithmIdentificationSequence(
                "drrproj", codes.cid7162.NeighborhoodAnalysis, __version__, parameters=rule
            ),
            display_color=CIELabColor.from_rgb(*label_color(name)),
        )
        for number, (name, segment, rule) in enumerate(zip(masks, called, rules, strict=True), start=1)
    ]
    with quiet_pydicom():
        segmentation = highdicom.seg.Segmentation(
            [source],
            pixels,
            "BINARY",
            segments,
            series_instance_uid=generate_uid(entropy_srcs=[digest, "series"]),
            series_number=2,
            sop_instance_uid=generate_uid(entropy_srcs=[digest, "instance"]),
            instance_number=1,
            manufacturer="drrproj",
            manufacturer_model_name="drrproj",
            software_versions=__version__,
            device_serial_number="0",
            content_label="MASKS",
            content_description="Structures projected from a CT",
            series_description=short_text(f"Masks of {radiograph.geometry.names[0]}"),
            omit_empty_frames=False,
        )
    # A SEG without a place in the patient needs it, and highdicom leaves it out.
    segmentation.PatientOrientation = source.get("PatientOrientation", "")
    buffer = io.BytesIO()
    segmentation.save_as(buffer)
    with replaced(path) as file:
        file.write(buffer.getvalue())


def _rule(radiograph: Radiograph, name: str) -> dict[str, str] | None:
    """Say which pixels are in a mask; None where the record of the radiograph does not say it."""
    least = (radiograph.record.get("min_path_mm") or {}).get(name)
    if least is None:
        return None
    return {"mask": "ray meets the structure" + (f" for more than {least:g} mm" if least else "")}
