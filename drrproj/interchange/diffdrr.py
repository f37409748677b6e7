"""DiffDRR: Euler angles and a translation in the camera's axes, around a volume that it moves to the origin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.geometry import Geometry, positive_distance
from drrproj.interchange.euler import rotation_from_angles, zxy_from_rotation
from drrproj.interchange.panel import lengths, numbers, one_of_all, panels

__all__ = ["diffdrr_from_geometry", "geometry_from_diffdrr"]

Float64Array = npt.NDArray[np.float64]

# The camera's axes x, y, z in the world before the pose turns them: what its read() calls the orientation.
_WORLD_FROM_CAMERA: dict[str | None, Float64Array] = {
    "AP": np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]),
    "PA": np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]),
    None: np.eye(3),
}


def _world_from_camera(orientation: str | None) -> Float64Array:
    if orientation not in _WORLD_FROM_CAMERA:
        raise ValueError(f'orientation must be "AP", "PA" or None, as in diffdrr.data.read; got {orientation!r}')
    return _WORLD_FROM_CAMERA[orientation]


def _rotations(rotations: npt.ArrayLike, convention: str, degrees: bool) -> Float64Array:
    given = np.asarray(rotations, dtype=np.float64)
    # Only three axes make a matrix: of shape (3, 3) are the angles of three views.
    if given.ndim == 3 and given.shape[1:] == (3, 3):
        if not np.allclose(given @ given.swapaxes(1, 2), np.eye(3), atol=1e-5):
            raise ValueError("rotations of shape (views, 3, 3) must be orthonormal matrices")
        return given
    if len(convention) != 3 or not set(convention) <= set("XYZ"):
        raise ValueError(f'convention must be three of X, Y and Z, such as "ZXY"; got {convention!r}')
    angles = numbers(given, 3, "rotations")
    return rotation_from_angles(convention, np.radians(angles) if degrees else angles)


def geometry_from_diffdrr(
    rotations: npt.ArrayLike,
    translations: npt.ArrayLike,
    *,
    center: npt.ArrayLike,
    sdd: float,
    height: int,
    delx: float,
    width: int | None = None,
    dely: float | None = None,
    x0: float = 0.0,
    y0: float = 0.0,
    orientation: str | None = "AP",
    reverse_x_axis: bool = True,
    convention: str = "ZXY",
    degrees: bool = False,
    names: Sequence[str] = (),
) -> Geometry:
    """Views of a DiffDRR pose and detector: ``drr(rotations, translations, ...)`` of ``DRR(subject, sdd, ...)``.

    Argument names, order and defaults are DiffDRR's (0.6.1). ``line_integral[view]`` of the same voxels is its image
    ``drr(...)[view, 0]``, index for index.

    **Half pixels.** None: its pixel grid is centred, as ours. **Axes.** RAS+ mm, but ``diffdrr.data.read`` moves the
    middle of the volume to the origin unless told not to; ``center`` undoes that. A translation is in the axes of the
    turned camera, not of the world: the source is at ``R @ translation``. **Signs.** Euler angles are radians.
    ``orientation`` says which side of the patient the camera looks at, so "AP" has the source anterior (at +y), as
    ours; "PA" mirrors one axis on the way. ``x0`` and ``y0`` move the detector along the camera's axes: +y0 is up, and
    with ``reverse_x_axis`` +x0 is towards the first column.

    What it makes of HU is not ours: ``read`` scales density to 0..1, see :mod:`drrproj.attenuation`.

    Parameters
    ----------
    rotations : array_like, shape (views, 3) or (3,), or rotation matrices (views, 3, 3)
        Euler angles. Poses in other words go through its ``pose.convert("matrix")``, which gives a matrix and a
        translation.
    translations : array_like, shape (views, 3) or (3,), mm
        Source as seen from ``center``, in the turned axes.
    center : array_like, shape (3,), world mm
        ``ct.center`` for a subject of ``read(...)``, which moved it to the origin; ``(0, 0, 0)`` after
        ``read(..., center_volume=False)``.
    sdd : float, mm
        Source to detector.
    height, width : int
        Rows and columns; as many columns as rows by default.
    delx, dely : float, mm
        Distance of columns and of rows; the same by default.
    x0, y0 : float, mm
        Where the detector's middle is, in the camera's axes.
    orientation : {"AP", "PA", None}
        As given to ``read``.
    reverse_x_axis : bool
        As given to ``DRR``.
    convention : str
        Order of the Euler angles.
    degrees : bool
        Whether the angles are degrees.
    names : sequence of str, optional
        One per view.

    Returns
    -------
    Geometry

    Raises
    ------
    ValueError
        If numbers are missing or do not fit each other, ``sdd`` is not positive, or the orientation or convention is
        unknown.

    Accuracy
    --------
    Image against image, its Siddon renderer on the same voxels, random poses, offsets and all orientations:
    relative L2 error 2e-6 to 1e-5, from its float32 rays; half a pixel off it is above 7e-2
    (``tests/test_interchange_peers.py``).

    Source
    ------
    DiffDRR 0.6.1: ``diffdrr/detector.py``, ``pose.py``, ``data.py``.

    Examples
    --------
    >>> import numpy as np, drrproj
    >>> from drrproj.interchange import geometry_from_diffdrr
    >>> ct = drrproj.Volume(np.zeros((64, 64, 64)), np.eye(4))
    >>> view = geometry_from_diffdrr([0, 0, 0], [0, 850, 0], center=ct.center, sdd=1020, height=200, delx=2.0)
    >>> (view.sources - ct.center).tolist(), view.sdd.tolist()
    ([[0.0, 850.0, 0.0]], [1020.0])
    """
    turns = _rotations(rotations, convention, degrees)
    moves = numbers(translations, 3, "translations")
    views = max(len(turns), len(moves))
    if not {len(turns), len(moves)} <= {1, views}:
        raise ValueError(f"translations are for {len(moves)} views, rotations for {len(turns)}")
    origin = numbers(center, 3, "center", 1)[0]
    camera = turns @ _world_from_camera(orientation)
    source = origin + (turns @ moves[:, :, None])[:, :, 0]
    columns = -camera[:, :, 0] if reverse_x_axis else camera[:, :, 0]
    x0, y0, delx, dely = lengths(x0=x0, y0=y0, delx=delx, dely=delx if dely is None else dely)
    middle = source + camera @ (x0, y0, positive_distance(sdd, "sdd"))
    shape = (height, height if width is None else width)
    row_step = -dely * camera[:, :, 1]
    return Geometry.cone(source, middle, row_step, delx * columns, shape, names)


def diffdrr_from_geometry(
    geometry: Geometry, *, center: npt.ArrayLike, orientation: str | None = "AP"
) -> dict[str, Any]:
    """Say views in DiffDRR's words: what :func:`geometry_from_diffdrr` takes, under the same names.

    Half pixels, axes and signs are told there. ``reverse_x_axis`` comes out as the picture needs it: a mirrored
    picture, such as our PA, is ``orientation="AP"`` with ``reverse_x_axis=False``, or "PA" with ``True``.

    Parameters
    ----------
    geometry : Geometry
        Cone beams with one detector for all views.
    center : array_like, shape (3,), world mm
        ``ct.center``, or ``(0, 0, 0)`` for a subject that was not centred.
    orientation : {"AP", "PA", None}
        Of the subject that will be rendered.

    Returns
    -------
    dict
        ``sdd, height, delx, width, dely, x0, y0, reverse_x_axis`` for ``DRR(subject, ...)``; ``rotations`` and
        ``translations`` (views, 3) with ``convention`` and ``degrees`` for ``drr(...)``; ``center``, ``orientation``.

    Raises
    ------
    ValueError
        If a beam is parallel, rows and columns are not perpendicular, the views' detectors differ, or some
        pictures are mirrored and others are not.

    Accuracy
    --------
    Image against image, as :func:`geometry_from_diffdrr`; there and back within 1e-9 of a random view's size.

    Examples
    --------
    >>> import numpy as np, drrproj
    >>> from drrproj.interchange import diffdrr_from_geometry
    >>> ct = drrproj.Volume(np.zeros((64, 64, 64)), np.eye(4))
    >>> pose = diffdrr_from_geometry(drrproj.Geometry.radiograph("AP", ct), center=ct.center)
    >>> pose["rotations"].round().astype(int).tolist(), pose["translations"].round().astype(int).tolist()
    ([[0, 0, 0]], [[0, 1718, 0]])
    >>> pose["reverse_x_axis"]
    True
    """
    origin = numbers(center, 3, "center", 1)[0]
    reorient = _world_from_camera(orientation)
    found = panels(geometry, "DiffDRR")
    mirrored = [panel.is_mirrored for panel in found]
    if len(set(mirrored)) > 1:
        raise ValueError(
            "DiffDRR has one reverse_x_axis for all views, but some of these pictures are mirrored and some are not; "
            "convert the views one by one: [... for view in geometry]"
        )
    reverse = mirrored[0] == bool(np.linalg.det(reorient) < 0)
    intrinsics = []
    rotations, translations = [], []
    for panel in found:
        left = -panel.right if reverse else panel.right
        turn = np.stack([left, -panel.down, panel.forward], axis=1) @ reorient.T
        rotations.append(zxy_from_rotation(turn))
        translations.append(turn.T @ (panel.source - origin))
        down, right = panel.offset
        intrinsics.append((panel.sdd, *panel.spacing, -right if reverse else right, -down))
    sdd, dely, delx, x0, y0 = one_of_all(intrinsics, "detector (sdd, dely, delx, x0, y0)", "DiffDRR")
    height, width = geometry.shape
    return {
        "rotations": np.array(rotations),
        "translations": np.array(translations),
        "center": origin,
        "sdd": sdd,
        "height": height,
        "delx": delx,
        "width": width,
        "dely": dely,
        "x0": x0,
        "y0": y0,
        "orientation": orientation,
        "reverse_x_axis": reverse,
        "convention": "ZXY",
        "degrees": False,
    }
