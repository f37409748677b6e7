"""read_geometry: the views of a picture, from the record beside it or from the tags of an X-ray file."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy.typing as npt

from drrproj.geometry import Geometry
from drrproj.io.blaming import blaming
from drrproj.io.dicom_files import is_dicom
from drrproj.io.dicom_pose import holds_own_views, read_pose
from drrproj.io.kinds import checked_path
from drrproj.io.sidecar import read_views

__all__ = ["holds_views", "read_geometry"]


def read_geometry(
    path: str | os.PathLike[str],
    isocenter: npt.ArrayLike | None = None,
    *,
    sdd: float | None = None,
    sod: float | None = None,
    primary_angle: float | Sequence[float] | None = None,
    secondary_angle: float | Sequence[float] | None = None,
    pixel_spacing: float | Sequence[float] | None = None,
) -> Geometry:
    """Read the views of a picture: of drrproj's own, or of an X-ray DICOM file.

    What kind of file it is shows in its contents, not its name. drrproj's own files hold the very matrices, in the CT's
    world, and need nothing else. An X-ray file's views are those of :meth:`Geometry.c_arm` with the file's distances,
    positioner angles, pixel spacing and size, one per frame; the central ray meets the middle of the picture. A file
    without angles whose View Position is AP, PA, LL or RL is that view instead.

    Parameters
    ----------
    path : str or path
        - a ``.json`` that :func:`write_sidecar` or ``drrproj project`` wrote beside a picture;
        - a DICOM file that :func:`write_dicom` wrote;
        - an X-ray DICOM file: angiography (XA), fluoroscopy (RF), DX or CR. Its pixels are not read.
    isocenter : array_like, shape (3,), mm, RAS+, optional
        For an X-ray file: the point that the arm turns about, which lies ``sod`` from the source on the central ray.
        X-ray files do not know where the CT's patient lies: ``ct.center`` is a start. With it, the tags count in a
        file by :func:`write_dicom`, too, unless its detector was cropped, shifted or tilted, which they cannot say.
    sdd, sod : float, mm, optional
        Source to detector and source to isocenter, in place of Distance Source to Detector (0018,1110) and Distance
        Source to Patient (0018,1111). For DX and CR the standard means the second one to the table or stand.
    primary_angle, secondary_angle : float or sequence of float, degrees, optional
        In place of Positioner Primary Angle (0018,1510) and Positioner Secondary Angle (0018,1511) and their
        increments; one, or one per frame.
    pixel_spacing : float or (float, float), mm, optional
        At the detector, row and column, in place of Imager Pixel Spacing (0018,1164). Pixel Spacing (0028,0030) is not
        asked: where it differs, it was calibrated somewhere in the patient.

    Returns
    -------
    Geometry
        From drrproj's own files equal to the one written, bit by bit. From DICOM named by the file's name without
        ``.dcm``, ``.dicom`` or ``.ima``, with the number of the frame where there are several.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    OSError
        If it cannot be read.
    ValueError
        If it is neither kind of file, or a damaged one; if the isocenter or another number is given for a ``.json``,
        which says all of it. For an X-ray file: if a tag is missing and not replaced, the increments do not fit the
        frames, the picture is turned or mirrored against the positioner's angles, the beam is not perpendicular to the
        detector, or an isocenter or a number is given for a picture of drrproj's whose view its tags cannot say.
    ModuleNotFoundError
        If it is DICOM and pydicom is not installed.

    Source
    ------
    DICOM PS3.3 C.8.7.5. An increment per frame is an offset from the first angle; a single one is the mean change
    from frame to frame (C.8.7.5.1.3).

    Examples
    --------
    >>> import numpy as np, drrproj, tempfile
    >>> ct = drrproj.Volume(np.zeros((40, 30, 40), np.int16), np.diag([5, 5, 5, 1]))
    >>> arm = drrproj.Geometry.c_arm(sdd=1000, sod=700, isocenter=ct.center, primary_angle=30, secondary_angle=-10,
    ...     pixel_spacing=2, shape=(128, 160))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     shot = drrproj.project(ct, arm)
    ...     drrproj.write_sidecar(f"{folder}/arm.json", shot)
    ...     drrproj.write_dicom(f"{folder}/arm.dcm", shot)
    ...     own = [drrproj.read_geometry(f"{folder}/arm.{kind}") for kind in ("json", "dcm")]
    ...     by_tags = drrproj.read_geometry(f"{folder}/arm.dcm", ct.center)
    >>> [np.array_equal(view.views, arm.views) for view in own], np.allclose(by_tags.views, arm.views, atol=1e-2)
    ([True, True], True)
    """
    given = (isocenter, sdd, sod, primary_angle, secondary_angle, pixel_spacing)
    if _is_dicom_file(path):
        return read_pose(path, isocenter, sdd, sod, primary_angle, secondary_angle, pixel_spacing)
    with blaming(path):
        if any(value is not None for value in given):
            raise ValueError(
                "this is no DICOM file; isocenter, sdd, sod, angles and pixel_spacing belong to an X-ray DICOM file, "
                "and the .json beside a picture says all of it"
            )
        return read_views(path)


def holds_views(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file holds views in the CT's world, so that :func:`read_geometry` needs no isocenter."""
    return not _is_dicom_file(path) or holds_own_views(path)


def _is_dicom_file(path: str | os.PathLike[str]) -> bool:
    try:
        with open(checked_path(path), "rb") as file:
            return is_dicom(file.read(132))
    except FileNotFoundError:
        raise FileNotFoundError(f"no such file: {path}") from None
    except IsADirectoryError:
        raise ValueError(f"{path} is a folder; pass one X-ray DICOM file, or the .json beside a picture") from None
    except OSError as error:
        raise type(error)(f"cannot read {path}: {error.strerror}") from error
