"""3x4 projection matrices and pinhole cameras ``K [R | t]``, out of a geometry.

The way in is :meth:`drrproj.Geometry.from_projection_matrix` and :meth:`drrproj.Geometry.from_camera`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.geometry import Geometry

__all__ = ["camera_of", "opencv_from_geometry", "projection_matrices_from_geometry"]

Float64Array = npt.NDArray[np.float64]

_SKEW_PIXELS = 1e-3
"""Skew that still counts as none: what it moves a pixel by, at a slope of one."""


def projection_matrices_from_geometry(geometry: Geometry) -> Float64Array:
    """3x4 projection matrices of all views, as calibrations and reconstruction programs have them.

    ``(x, y, w) = P @ (x_world, y_world, z_world, 1)``: ``x / w`` counts columns and ``y / w`` rows, (0, 0) is the
    centre of the first pixel, the world is RAS+ mm. ``w`` is the distance from the source along the detector's normal,
    in mm, and positive in front of the source.

    **Half pixels.** Tools that have the corner of the first pixel at (0, 0) want
    ``[[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]] @ P``. **Axes.** For a world in LPS (DICOM, ITK) take
    ``P @ np.diag([-1, -1, 1, 1])``. **Signs.** A mirrored picture, such as a PA view with the patient's right on image
    left, has a negative determinant of ``P[:, :3]``; a tool that allows itself to flip the sign of ``P`` would put
    the patient behind the source.

    Parameters
    ----------
    geometry : Geometry
        Cone beams; detectors may be tilted and pixels need not be rectangles.

    Returns
    -------
    ndarray, shape (views, 3, 4)

    Raises
    ------
    ValueError
        If a beam is parallel: its camera centre is at infinity, and
        :meth:`drrproj.Geometry.from_projection_matrix` could not read it back.

    Accuracy
    --------
    Numbers only: back through ``Geometry.from_projection_matrix`` random views agree to 1e-9 of their size, and points
    land where ``project_points`` has them within 1e-6 pixels (``tests/test_interchange.py``).

    Source
    ------
    Hartley and Zisserman, Multiple View Geometry, section 6.1.

    Examples
    --------
    >>> import drrproj
    >>> from drrproj.interchange import projection_matrices_from_geometry
    >>> view = drrproj.Geometry.cone((0, 0, 900), (0, 0, -100), (0, 1, 0), (1, 0, 0), (65, 65))
    >>> x, y, w = projection_matrices_from_geometry(view)[0] @ (0, 0, 0, 1)
    >>> [round(float(number), 6) for number in (x / w, y / w, w)]  # the middle, 900 mm from the source
    [32.0, 32.0, 900.0]
    """
    for parallel, name in zip(geometry.is_parallel, geometry.names, strict=True):
        if parallel:
            raise ValueError(
                f"view {name!r} has a parallel beam, and so no camera centre at a finite place; a 3x4 matrix for "
                "Geometry.from_projection_matrix is for cone beams"
            )
    # X = a*source + b*pixel(0, 0) + row*row_step + column*column_step: the rows of the inverse give b, row, column.
    solved = np.linalg.inv(geometry.views)
    matrices: Float64Array = solved[:, [3, 2, 1]] * geometry.sdd[:, None, None]
    return matrices


def camera_of(view: Geometry) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Split the matrix of one cone beam into K (upper triangular, K[1, 1] > 0, K[2, 2] = 1), a rotation R, and t.

    Examples
    --------
    >>> import drrproj
    >>> K, R, t = camera_of(drrproj.Geometry.cone((0, 0, 900), (0, 0, -100), (0, 1, 0), (1, 0, 0), (65, 65)))
    >>> K.round(6).tolist(), t.round(6).tolist()  # mirrored: the first focal length is negative
    ([[-1000.0, 0.0, 32.0], [0.0, 1000.0, 32.0], [0.0, 0.0, 1.0]], [0.0, 0.0, 900.0])
    """
    columns, rows, depth = projection_matrices_from_geometry(view)[0, :, :3]
    down = rows - (rows @ depth) * depth
    down /= np.linalg.norm(down)
    right = np.cross(down, depth)
    rotation = np.stack([right, down, depth])
    intrinsics = np.stack([rotation @ columns, rotation @ rows, [0.0, 0.0, 1.0]])
    # Exact by construction; the rounding of the two products would make K not quite triangular.
    intrinsics[1, 0] = 0.0
    return intrinsics, rotation, -rotation @ view.sources[0]


def opencv_from_geometry(geometry: Geometry) -> dict[str, Any]:
    """Pinhole cameras of all views, as OpenCV has them: ``x_camera = R @ x_world + t``, then ``K``.

    **Half pixels.** As in OpenCV and here, (0, 0) is the centre of the first pixel. **Axes.** The camera looks along
    its +z, x goes with the columns, y with the rows; the world is RAS+ mm. **Signs.** A radiograph may be seen from
    behind the detector, as PA views with the patient's right on image left are. No rotation does that; ``K[0, 0]``,
    the focal length along the columns, is then negative, and the camera's x points against the columns.
    ``cv2.projectPoints`` and ``Geometry.from_camera`` understand that; a calibration that insists on positive focal
    lengths does not.

    Parameters
    ----------
    geometry : Geometry
        Cone beams with perpendicular rows and columns; detectors may be tilted.

    Returns
    -------
    dict
        ``K`` (views, 3, 3), ``R`` (views, 3, 3) and ``t`` (views, 3) in mm, and ``sdd`` (views,) in mm, which a
        camera has not: it says where the rays end.

    Raises
    ------
    ValueError
        If a beam is parallel, or rows and columns are not perpendicular: OpenCV reads no skew from ``K`` and would
        be wrong without a word. :func:`projection_matrices_from_geometry` can hold that.

    Accuracy
    --------
    Against ``cv2.projectPoints`` (OpenCV 5.0): random points of random views within 1e-6 pixels of ``project_points``;
    numbers, as OpenCV makes no radiographs (``tests/test_interchange_peers.py``).

    Source
    ------
    Hartley and Zisserman, Multiple View Geometry, section 6.2.4: camera rotation and internal parameters from P.

    Examples
    --------
    >>> import numpy as np, drrproj
    >>> from drrproj.interchange import opencv_from_geometry
    >>> ct = drrproj.Volume(np.zeros((64, 64, 64)), np.eye(4))
    >>> camera = opencv_from_geometry(drrproj.Geometry.radiograph("AP", ct, shape=(101, 101), pixel_spacing=2))
    >>> camera["K"][0].round().astype(int).tolist(), camera["sdd"].round(6).tolist()
    ([[900, 0, 50], [0, 900, 50], [0, 0, 1]], [1800.0])
    """
    cameras = [camera_of(view) for view in geometry]
    for (intrinsics, _, _), name in zip(cameras, geometry.names, strict=True):
        if abs(intrinsics[0, 1]) > _SKEW_PIXELS:
            raise ValueError(
                f"view {name!r} has rows and columns that are not perpendicular (skew {intrinsics[0, 1]:.3g} pixels); "
                "OpenCV ignores the skew in K. Use projection_matrices_from_geometry"
            )
    return {
        "K": np.stack([intrinsics for intrinsics, _, _ in cameras]),
        "R": np.stack([rotation for _, rotation, _ in cameras]),
        "t": np.stack([translation for _, _, translation in cameras]),
        "sdd": geometry.sdd,
    }
