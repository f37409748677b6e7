"""DeepDRR: a mobile C-arm's angles around an isocenter, or a camera projection with its corner pixel at (0, 0)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.affines import checked_affine
from drrproj.geometry import Geometry, names_of_views, positive_distance
from drrproj.given_numbers import real_numbers
from drrproj.grid import RAS_FROM
from drrproj.interchange.euler import rotation_from_angles, zxy_from_rotation
from drrproj.interchange.panel import distances, numbers, panels
from drrproj.interchange.pinhole import camera_of

__all__ = [
    "deepdrr_from_geometry",
    "deepdrr_projections_from_geometry",
    "geometry_from_deepdrr",
    "geometry_from_deepdrr_projections",
]

Float64Array = npt.NDArray[np.float64]

_TO_CORNER = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
"""From pixels counted from the first one's centre to pixels counted from its corner."""


def _rigid(matrix: npt.ArrayLike | None, what: str) -> Float64Array:
    if matrix is None:
        return np.eye(4)
    rigid = checked_affine(matrix, what)
    if not np.allclose(rigid[:3, :3].T @ rigid[:3, :3], np.eye(3), atol=1e-4):
        raise ValueError(f"{what} must not scale or shear: its frames are in mm, and so is everything here")
    return rigid


def _ras_from_world(world_from_anatomical: npt.ArrayLike | None, coordinates: str) -> Float64Array:
    if coordinates not in RAS_FROM:
        raise ValueError(f'anatomical_coordinate_system must be "RAS" or "LPS"; got {coordinates!r}')
    matrix: Float64Array = RAS_FROM[coordinates] @ np.linalg.inv(_rigid(world_from_anatomical, "world_from_anatomical"))
    return matrix


def geometry_from_deepdrr(
    alpha: npt.ArrayLike,
    beta: npt.ArrayLike,
    *,
    source_to_detector_distance: float,
    source_to_isocenter_vertical_distance: float,
    sensor_height: int,
    sensor_width: int,
    pixel_size: float,
    gamma: npt.ArrayLike = 0.0,
    degrees: bool = True,
    isocenter: npt.ArrayLike = (0.0, 0.0, 0.0),
    source_to_isocenter_horizontal_offset: float = 0.0,
    rotate_camera_left: bool = True,
    world_from_device: npt.ArrayLike | None = None,
    world_from_anatomical: npt.ArrayLike | None = None,
    anatomical_coordinate_system: str = "RAS",
    names: Sequence[str] = (),
) -> Geometry:
    """Views of DeepDRR's ``MobileCArm``; argument names are its own (1.2.2), distances have no default.

    ``line_integral`` stands where its image is, index for index; its values are of its own materials and spectrum.

    **Half pixels.** Its principal point counts from the corner of the first pixel, and its rays go through the middles
    of pixels, so the centred detector is centred here too. **Axes.** The device stands in its world by
    ``world_from_device``, the patient by ``volume.world_from_anatomical``; without them all three frames are one, and
    the beam at 0/0, along the device's +z, goes from the feet to the head. **Signs.** ``alpha`` turns about the
    device's x, then ``beta`` about its y; which of LAO, RAO, cranial and caudal that is depends on how the patient lies
    in the device. Rays do not end at the detector there.

    Parameters
    ----------
    alpha, beta, gamma : float or sequence of float
        Angles of the arm, and of the picture about the central ray; one or one per view. DeepDRR clips alpha and beta
        to its bounds without a word: pass what ``carm.alpha`` says after moving.
    source_to_detector_distance, source_to_isocenter_vertical_distance : float, mm
        Our ``sdd`` and ``sod``.
    sensor_height, sensor_width : int
        Rows and columns.
    pixel_size : float, mm
        Pixels are square.
    degrees : bool
        Whether angles are degrees; ``carm.alpha`` itself is radians.
    isocenter : array_like, shape (3,) or (views, 3), mm
        In the device's frame; one pose may have several.
    source_to_isocenter_horizontal_offset : float, mm
        The central ray passes the isocenter at this distance, along the arm's +y.
    rotate_camera_left : bool
        Whether pictures are turned so that down is the device's -x, as it does by default.
    world_from_device, world_from_anatomical : array_like, shape (4, 4), optional
        Of the device and of the volume; the identity by default, as there.
    anatomical_coordinate_system : {"RAS", "LPS"}
        Of the volume.
    names : sequence of str, optional
        One per view.

    Returns
    -------
    Geometry

    Raises
    ------
    ValueError
        If numbers are missing or do not fit each other, a distance or the pixel size is not positive, or a matrix is
        not rigid.

    Accuracy
    --------
    Numbers only, for its projector needs CUDA: against ``MobileCArm`` itself, random poses, every pixel's ray within
    2e-2 pixels, which is its float32; against its formulas in float64 within 1e-9 pixels
    (``tests/test_interchange_peers.py``, ``tests/test_interchange.py``).

    Source
    ------
    DeepDRR 1.2.2: ``deepdrr/device/mobile_carm.py``, ``deepdrr/projector/project_kernel.cu``.

    Examples
    --------
    >>> from drrproj.interchange import geometry_from_deepdrr
    >>> view = geometry_from_deepdrr(
    ...     0, 0, source_to_detector_distance=1020, source_to_isocenter_vertical_distance=530,
    ...     sensor_height=1536, sensor_width=1536, pixel_size=0.194)
    >>> view.sources.tolist(), view.centers.round(6).tolist()
    ([[0.0, 0.0, -530.0]], [[0.0, 0.0, 490.0]])
    """
    wanted = "alpha, beta and gamma must be finite angles, one number or one per view"
    angles = [np.atleast_1d(real_numbers(angle, wanted)) for angle in (alpha, beta, gamma)]
    try:
        turn_alpha, turn_beta, turn_gamma = np.broadcast_arrays(*(np.radians(a) if degrees else a for a in angles))
    except ValueError:
        raise ValueError(f"alpha, beta and gamma are for {', '.join(str(len(a)) for a in angles)} views") from None
    if turn_alpha.ndim != 1 or not np.isfinite([turn_alpha, turn_beta, turn_gamma]).all():
        raise ValueError(wanted)
    sdd = positive_distance(source_to_detector_distance, "source_to_detector_distance")
    sod = positive_distance(source_to_isocenter_vertical_distance, "source_to_isocenter_vertical_distance")
    pixel = positive_distance(pixel_size, "pixel_size")
    centers = numbers(isocenter, 3, "isocenter")
    if 1 not in (len(centers), len(turn_alpha)):
        centers = numbers(centers, 3, "isocenter", len(turn_alpha))
    device_from_arm = rotation_from_angles("YX", np.stack([turn_beta, turn_alpha], axis=1))
    arm_from_camera = rotation_from_angles("Z", -(turn_gamma + (np.pi / 2 if rotate_camera_left else 0.0))[:, None])
    turned = device_from_arm @ arm_from_camera
    source = centers + device_from_arm @ (0.0, source_to_isocenter_horizontal_offset, -sod)
    to_ras = _ras_from_world(world_from_anatomical, anatomical_coordinate_system) @ _rigid(
        world_from_device, "world_from_device"
    )
    axes = to_ras[:3, :3] @ turned
    source = source @ to_ras[:3, :3].T + to_ras[:3, 3]
    return Geometry.cone(
        source,
        source + sdd * axes[:, :, 2],
        pixel * axes[:, :, 1],
        pixel * axes[:, :, 0],
        (sensor_height, sensor_width),
        names,
    )


def deepdrr_from_geometry(
    geometry: Geometry,
    *,
    source_to_isocenter_vertical_distance: float | None = None,
    world_from_device: npt.ArrayLike | None = None,
    world_from_anatomical: npt.ArrayLike | None = None,
    anatomical_coordinate_system: str = "RAS",
) -> list[dict[str, Any]]:
    """Say views as poses of DeepDRR's ``MobileCArm``: for each, its arguments.

    Half pixels, axes and signs are told at :func:`geometry_from_deepdrr`. Bounds of alpha and beta come along, wide
    open, for DeepDRR would clip the angles to its own without a word.

    Parameters
    ----------
    geometry : Geometry
        Cone beams with square pixels whose central ray meets the middle of the detector.
    source_to_isocenter_vertical_distance : float, mm, optional
        It moves the isocenter along the central ray, and the picture not at all; by default half of the distance to the
        detector.
    world_from_device, world_from_anatomical : array_like, shape (4, 4), optional
        Of the device and of the volume; the identity by default.
    anatomical_coordinate_system : {"RAS", "LPS"}
        Of the volume.

    Returns
    -------
    list of dict
        Per view ``alpha, beta, gamma, degrees, isocenter``, distances, sensor, ``world_from_device`` (a 4x4 array, to
        be wrapped with ``deepdrr.geo.FrameTransform``) and bounds.

    Raises
    ------
    ValueError
        If a beam is parallel, pixels are not square, the detector is off-centre, the picture is mirrored, as our PA
        is, or the distance is not positive. :func:`deepdrr_projections_from_geometry` holds all but parallel beams.

    Accuracy
    --------
    As :func:`geometry_from_deepdrr`; there and back within 1e-9 of a random view's size.

    Examples
    --------
    >>> import numpy as np, drrproj
    >>> from drrproj.interchange import deepdrr_from_geometry
    >>> ct = drrproj.Volume(np.zeros((64, 64, 64)), np.eye(4))
    >>> pose = deepdrr_from_geometry(drrproj.Geometry.radiograph("AP", ct, pixel_spacing=0.5))[0]
    >>> round(pose["alpha"]), round(pose["beta"]), round(pose["gamma"]), pose["sensor_height"]
    (90, 0, 90, 512)
    """
    sod = (
        None
        if source_to_isocenter_vertical_distance is None
        else positive_distance(source_to_isocenter_vertical_distance, "source_to_isocenter_vertical_distance")
    )
    device = _rigid(world_from_device, "world_from_device")
    from_ras = np.linalg.inv(_ras_from_world(world_from_anatomical, anatomical_coordinate_system) @ device)
    every = []
    for panel in panels(geometry.moved(from_ras), "DeepDRR"):
        row_spacing, column_spacing = panel.spacing
        reason = ""
        if abs(row_spacing - column_spacing) > 1e-6 * row_spacing:
            reason = f"pixels are {row_spacing:g} x {column_spacing:g} mm, and it has square ones"
        elif np.abs(panel.offset).max() > 1e-3 * row_spacing:
            reason = f"the detector is off-centre by {panel.offset[0]:g} and {panel.offset[1]:g} mm (down, right)"
        elif panel.is_mirrored:
            reason = "the picture is mirrored, seen from behind the detector"
        if reason:
            raise ValueError(
                f"view {panel.name!r} is no pose of DeepDRR's MobileCArm: {reason}. Use "
                "deepdrr_projections_from_geometry"
            )
        from_source = panel.sdd / 2 if sod is None else sod
        camera_from_device = np.stack([panel.right, panel.down, panel.forward])
        gamma, alpha, beta = np.degrees(zxy_from_rotation(camera_from_device)).tolist()
        every.append(
            {
                "alpha": -alpha,
                "beta": -beta,
                "gamma": gamma - 90.0,
                "degrees": True,
                "isocenter": (panel.source + from_source * panel.forward).tolist(),
                "source_to_detector_distance": panel.sdd,
                "source_to_isocenter_vertical_distance": from_source,
                "sensor_height": panel.shape[0],
                "sensor_width": panel.shape[1],
                "pixel_size": row_spacing,
                "rotate_camera_left": True,
                "world_from_device": device,
                "min_alpha": -180.0,
                "max_alpha": 180.0,
                "min_beta": -180.0,
                "max_beta": 180.0,
            }
        )
    return every


def geometry_from_deepdrr_projections(
    intrinsic: npt.ArrayLike,
    extrinsic: npt.ArrayLike,
    *,
    sdd: npt.ArrayLike,
    sensor_height: int,
    sensor_width: int,
    world_from_anatomical: npt.ArrayLike | None = None,
    anatomical_coordinate_system: str = "RAS",
    names: Sequence[str] = (),
) -> Geometry:
    """Views of DeepDRR's ``geo.CameraProjection(intrinsic, extrinsic)``, which every one of its devices has.

    Of a device: ``np.array(device.camera_intrinsics)`` and ``np.array(device.camera3d_from_world)``.

    **Half pixels.** Its (0, 0) is the corner of the first pixel: half a pixel less here. **Axes.** The camera looks
    along +z, x goes with the columns, y with the rows. **Signs.** As they come; a negative focal length mirrors.

    Parameters
    ----------
    intrinsic : array_like, shape (3, 3) or (views, 3, 3)
        ``index_from_camera2d``, in pixels.
    extrinsic : array_like, shape (4, 4) or (views, 4, 4), mm
        ``camera3d_from_world``.
    sdd : float or sequence of float, mm
        Source to detector, one or one per view.
    sensor_height, sensor_width : int
        Rows and columns.
    world_from_anatomical : array_like, shape (4, 4), optional
        Of the volume; the identity by default.
    anatomical_coordinate_system : {"RAS", "LPS"}
        Of the volume.
    names : sequence of str, optional
        One per view.

    Returns
    -------
    Geometry

    Raises
    ------
    ValueError
        If the shapes do not fit, ``sdd`` is not positive, or a matrix is not rigid.

    Accuracy
    --------
    Numbers only: against killeengeo's ``CameraProjection``, which DeepDRR uses, random points land within 2e-2 pixels,
    which is its float32 (``tests/test_interchange_peers.py``).

    Source
    ------
    DeepDRR 1.2.2: ``deepdrr/projector/project_kernel.cu``; killeengeo 0.0.5: ``killeengeo/core.py``.

    Examples
    --------
    >>> import numpy as np
    >>> from drrproj.interchange import geometry_from_deepdrr_projections
    >>> K = [[2000, 0, 256], [0, 2000, 256], [0, 0, 1]]
    >>> E = np.eye(4)
    >>> E[2, 3] = 700
    >>> view = geometry_from_deepdrr_projections(K, E, sdd=1000, sensor_height=512, sensor_width=512)
    >>> view.project_points([[0, 0, 0]]).round(6).tolist()  # the middle of 512 pixels
    [[[255.5, 255.5]]]
    """
    cameras = np.asarray(intrinsic, dtype=np.float64).reshape(-1, *np.shape(intrinsic)[-2:])
    poses = np.asarray(extrinsic, dtype=np.float64).reshape(-1, *np.shape(extrinsic)[-2:])
    if (
        cameras.shape[1:] != (3, 3)
        or poses.shape[1:] != (4, 4)
        or not {len(cameras), len(poses)} <= {1, max(len(cameras), len(poses))}
    ):
        raise ValueError(
            "intrinsic and extrinsic must have shapes (3, 3) and (4, 4), or as many for each view; got "
            f"{np.shape(intrinsic)} and {np.shape(extrinsic)}"
        )
    apart = distances(sdd, "sdd")
    views = max(len(cameras), len(poses), len(apart))
    if not {len(cameras), len(poses), len(apart)} <= {1, views}:
        raise ValueError(
            f"sdd is for {len(apart)} views, intrinsic and extrinsic are for {max(len(cameras), len(poses))}"
        )
    cameras, poses = np.broadcast_to(cameras, (views, 3, 3)), np.broadcast_to(poses, (views, 4, 4))
    world_from_ras = np.linalg.inv(_ras_from_world(world_from_anatomical, anatomical_coordinate_system))
    found = [
        Geometry.from_projection_matrix(
            np.linalg.inv(_TO_CORNER) @ camera @ (_rigid(pose, "extrinsic") @ world_from_ras)[:3],
            sdd=float(distance_of_view),
            shape=(sensor_height, sensor_width),
        )
        for camera, pose, distance_of_view in zip(cameras, poses, np.broadcast_to(apart, views), strict=True)
    ]
    joined = Geometry.concatenate(found)
    return Geometry(joined.views, joined.shape, names_of_views(names))


def deepdrr_projections_from_geometry(
    geometry: Geometry,
    *,
    world_from_anatomical: npt.ArrayLike | None = None,
    anatomical_coordinate_system: str = "RAS",
) -> dict[str, Any]:
    """Say views as DeepDRR's camera projections.

    Half pixels, axes and signs are told at :func:`geometry_from_deepdrr_projections`. A mirrored picture, such as our
    PA, has a negative first focal length.

    Parameters
    ----------
    geometry : Geometry
        Cone beams; detectors may be tilted.
    world_from_anatomical : array_like, shape (4, 4), optional
        Of the volume; the identity by default.
    anatomical_coordinate_system : {"RAS", "LPS"}
        Of the volume.

    Returns
    -------
    dict
        ``intrinsic`` (views, 3, 3), ``extrinsic`` (views, 4, 4), ``sensor_height``, ``sensor_width`` and ``sdd``
        (views,), as :func:`geometry_from_deepdrr_projections` takes them: for each view
        ``geo.CameraProjection(geo.CameraIntrinsicTransform(intrinsic, sensor_height, sensor_width), extrinsic)``.

    Raises
    ------
    ValueError
        If a beam is parallel.

    Accuracy
    --------
    As :func:`geometry_from_deepdrr_projections`; there and back within 1e-9 of a random view's size.

    Examples
    --------
    >>> import numpy as np, drrproj
    >>> from drrproj.interchange import deepdrr_projections_from_geometry
    >>> ct = drrproj.Volume(np.zeros((64, 64, 64)), np.eye(4))
    >>> camera = deepdrr_projections_from_geometry(drrproj.Geometry.radiograph("PA", ct, pixel_spacing=0.5))
    >>> camera["intrinsic"][0].round(6).tolist()
    [[-3600.0, 0.0, 256.0], [0.0, 3600.0, 256.0], [0.0, 0.0, 1.0]]
    """
    world_from_ras = np.linalg.inv(_ras_from_world(world_from_anatomical, anatomical_coordinate_system))
    intrinsics, extrinsics = [], []
    for view in geometry.moved(world_from_ras):
        intrinsic, rotation, translation = camera_of(view)
        extrinsic = np.eye(4)
        extrinsic[:3, :3], extrinsic[:3, 3] = rotation, translation
        intrinsics.append(_TO_CORNER @ intrinsic)
        extrinsics.append(extrinsic)
    return {
        "intrinsic": np.stack(intrinsics),
        "extrinsic": np.stack(extrinsics),
        "sensor_height": geometry.shape[0],
        "sensor_width": geometry.shape[1],
        "sdd": geometry.sdd,
    }
