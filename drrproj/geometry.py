"""Views: where the source is, where every pixel is, and what the views are called.

A view is one 4x4 matrix in RAS+ millimetres. Its columns are the source, the centre of pixel (0, 0), the step to
the next row and the step to the next column, homogeneous: 1 in the last row for points, 0 for directions. A parallel
beam is a source at infinity: its first column is the direction *towards* the source, with a 0 below it. This module
owns the frames, the angles and the view names; everything else in the package only multiplies the matrices.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from drrproj.volume import LabelVolume, Volume

__all__ = ["RADIOGRAPH_VIEWS", "Geometry"]

Beam = Literal["cone", "parallel"]
Float64Array = npt.NDArray[np.float64]

_RIGHT, _ANTERIOR, _SUPERIOR = np.eye(3)

# Beam direction and the step to the next column; rows always run from head to foot.
RADIOGRAPH_VIEWS: dict[str, tuple[Float64Array, Float64Array]] = {
    "AP": (-_ANTERIOR, -_RIGHT),
    "PA": (_ANTERIOR, -_RIGHT),
    "LL": (-_RIGHT, -_ANTERIOR),
    "RL": (_RIGHT, _ANTERIOR),
}
"""Named views: the way the beam goes and the way the columns go, as unit vectors in RAS+."""

DETECTOR_GAP_MM = 50.0
"""Distance from the far side of the volume to the detector in :meth:`Geometry.radiograph`: wall-stand and clothes."""


def _vectors(values: npt.ArrayLike, what: str) -> Float64Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or array.shape[1] != 3:
        raise ValueError(f"{what} must be one 3-vector or one per view, shape (views, 3); got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{what} must be finite; got {array.tolist()}")
    return array


def _views_from_columns(
    source: npt.ArrayLike, source_w: float, first_pixel: npt.ArrayLike, row: npt.ArrayLike, column: npt.ArrayLike
) -> Float64Array:
    columns = (source, first_pixel, row, column)
    views = np.zeros((np.broadcast(*columns).shape[0], 4, 4))
    for place, vectors in enumerate(columns):
        views[:, :3, place] = vectors
    views[:, 3, :2] = (source_w, 1.0)
    return views


def _pixel_spacing(pixel_spacing: float | Sequence[float]) -> Float64Array:
    spacing = np.broadcast_to(np.asarray(pixel_spacing, dtype=np.float64), (2,))
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        raise ValueError(f"pixel_spacing must be positive mm, (row, column); got {pixel_spacing!r}")
    return spacing


def _detector_shape(shape: tuple[int, int]) -> tuple[int, int]:
    try:
        rows, columns = (int(n) for n in shape)
    except (TypeError, ValueError):
        raise ValueError(f"shape must be (rows, columns); got {shape!r}") from None
    if rows < 1 or columns < 1 or (rows, columns) != tuple(shape):
        raise ValueError(f"shape must be two positive whole numbers, (rows, columns); got {shape!r}")
    return rows, columns


def _positive(value: float, what: str) -> float:
    if not (np.isfinite(value) and value > 0):
        raise ValueError(f"{what} must be a positive distance in mm; got {value!r}")
    return float(value)


@dataclass(frozen=True, eq=False)
class Geometry:
    """One or more X-ray views that share a detector shape.

    Parameters
    ----------
    views : array_like, shape (views, 4, 4) or (4, 4), world mm
        Columns: source, centre of pixel (0, 0), step to the next row, step to the next column.
    shape : (int, int)
        Rows and columns of the detector.
    names : sequence of str, optional
        One name per view; ``view0``, ``view1``, ... by default. Files and records are called by them.

    Raises
    ------
    ValueError
        If a matrix is not finite, its last row is not (1 or 0, 1, 0, 0), source and detector do not span space
        (the source lies in the detector's plane, or a step is zero), or names do not fit the views.

    Examples
    --------
    >>> import drrproj
    >>> view = drrproj.Geometry.cone(
    ...     source=(0, 1000, 0), center=(0, -500, 0), row_step=(0, 0, -1), column_step=(-1, 0, 0), shape=(3, 5))
    >>> view.views[0].astype(int).tolist()
    [[0, 2, 0, -1], [1000, -500, 0, 0], [0, 1, -1, 0], [1, 1, 0, 0]]
    """

    views: Float64Array
    shape: tuple[int, int]
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        views = np.array(self.views, dtype=np.float64)
        if views.ndim == 2:
            views = views[None]
        if views.ndim != 3 or views.shape[1:] != (4, 4) or not len(views):
            raise ValueError(f"views must have shape (views, 4, 4); got {np.shape(self.views)}")
        if not np.isfinite(views).all():
            raise ValueError("views must be finite; a matrix has NaN or infinite entries")
        last_rows = views[:, 3, :].tolist()
        if not all(row in ([1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]) for row in last_rows):
            raise ValueError(
                "the last row of a view must be (1, 1, 0, 0) for a cone or (0, 1, 0, 0) for a parallel beam; got "
                f"{last_rows}"
            )
        # The volume of the box of beam and steps is 0 against its edges when the detector is seen edge-on.
        edges = views[:, :3, [0, 2, 3]]
        edges[:, :, 0] -= views[:, 3, :1] * views[:, :3, 1]
        spans = np.abs(np.linalg.det(edges)) > 1e-9 * np.sqrt(np.square(edges).sum(axis=1)).prod(axis=1)
        if not spans.all():
            raise ValueError(
                f"view {int(np.argmin(spans))} spans no image: the source lies in the detector's plane or a pixel "
                "step is zero"
            )
        rows, columns = _detector_shape(self.shape)
        given: Any = self.names
        names = (given,) if isinstance(given, str) else tuple(given)
        names = names or tuple(f"view{index}" for index in range(len(views)))
        if len(names) != len(views):
            raise ValueError(f"{len(views)} views need as many names; got {len(names)}: {', '.join(names)}")
        views.setflags(write=False)
        object.__setattr__(self, "views", views)
        object.__setattr__(self, "shape", (rows, columns))
        object.__setattr__(self, "names", names)

    def __len__(self) -> int:
        return len(self.views)

    def __iter__(self) -> Iterator[Geometry]:
        return (self[index] for index in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> Geometry: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int]) -> Geometry: ...
    def __getitem__(self, index: int | slice | Sequence[int]) -> Geometry:
        """Select views by number, slice or list of numbers; the result is a geometry again."""
        chosen = np.atleast_1d(np.arange(len(self))[index])
        return Geometry(self.views[chosen], self.shape, tuple(self.names[i] for i in chosen))

    @classmethod
    def concatenate(cls, geometries: Sequence[Geometry]) -> Geometry:
        """Join the views of several geometries of one detector shape.

        Raises
        ------
        ValueError
            If there is nothing to join or the detector shapes differ.

        Examples
        --------
        >>> import numpy as np, drrproj
        >>> ct = drrproj.Volume(np.zeros((4, 4, 4)), np.eye(4))
        >>> both = drrproj.Geometry.concatenate(
        ...     [drrproj.Geometry.radiograph("PA", ct), drrproj.Geometry.radiograph("LL", ct)])
        >>> both.names
        ('PA', 'LL')
        """
        shapes = {geometry.shape for geometry in geometries}
        if len(shapes) != 1:
            raise ValueError(f"views of one geometry share one detector shape; got {sorted(shapes) or 'no views'}")
        return cls(
            np.concatenate([geometry.views for geometry in geometries]),
            shapes.pop(),
            tuple(name for geometry in geometries for name in geometry.names),
        )

    @classmethod
    def cone(
        cls,
        source: npt.ArrayLike,
        center: npt.ArrayLike,
        row_step: npt.ArrayLike,
        column_step: npt.ArrayLike,
        shape: tuple[int, int],
        names: Sequence[str] = (),
    ) -> Geometry:
        """Build views from a point source and a flat detector.

        Parameters
        ----------
        source, center : array_like, shape (3,) or (views, 3), world mm
            Focal spot and middle of the detector.
        row_step, column_step : array_like, shape (3,) or (views, 3), world mm
            From a pixel to the next one below and to the next one on the right; they need not be perpendicular.
        shape : (int, int)
            Rows and columns.
        names : sequence of str, optional
            One per view.

        Returns
        -------
        Geometry

        Raises
        ------
        ValueError
            If the vectors span no image.

        Examples
        --------
        >>> import drrproj
        >>> drrproj.Geometry.cone((0, 0, 900), (0, 0, -100), (0, 1, 0), (1, 0, 0), (64, 64)).sdd.tolist()
        [1000.0]
        """
        row, column = _vectors(row_step, "row_step"), _vectors(column_step, "column_step")
        first = _first_pixel(_vectors(center, "center"), row, column, shape)
        return cls(_views_from_columns(_vectors(source, "source"), 1.0, first, row, column), shape, tuple(names))

    @classmethod
    def parallel(
        cls,
        direction: npt.ArrayLike,
        center: npt.ArrayLike,
        row_step: npt.ArrayLike,
        column_step: npt.ArrayLike,
        shape: tuple[int, int],
        names: Sequence[str] = (),
    ) -> Geometry:
        """Build views from a parallel beam and a flat detector.

        Parameters
        ----------
        direction : array_like, shape (3,) or (views, 3)
            The way the beam travels, in world axes; its length does not matter.
        center : array_like, shape (3,) or (views, 3), world mm
            Middle of the detector. A parallel ray is a whole line, so its distance does not matter.
        row_step, column_step : array_like, shape (3,) or (views, 3), world mm
            From a pixel to the next one below and to the next one on the right.
        shape : (int, int)
            Rows and columns.
        names : sequence of str, optional
            One per view.

        Returns
        -------
        Geometry

        Raises
        ------
        ValueError
            If the vectors span no image.

        Examples
        --------
        >>> import drrproj
        >>> drrproj.Geometry.parallel((0, -1, 0), (0, 0, 0), (0, 0, -1), (-1, 0, 0), (64, 64)).is_parallel.tolist()
        [True]
        """
        row, column = _vectors(row_step, "row_step"), _vectors(column_step, "column_step")
        first = _first_pixel(_vectors(center, "center"), row, column, shape)
        towards_source = -_vectors(direction, "direction")
        length = np.linalg.norm(towards_source, axis=1, keepdims=True)
        if not length.all():
            raise ValueError("direction must not be zero: it is the way the beam travels")
        return cls(_views_from_columns(towards_source / length, 0.0, first, row, column), shape, tuple(names))

    @classmethod
    def c_arm(
        cls,
        *,
        sdd: float,
        sod: float,
        isocenter: npt.ArrayLike,
        primary_angle: float | Sequence[float],
        secondary_angle: float | Sequence[float],
        pixel_spacing: float | Sequence[float],
        shape: tuple[int, int],
        names: Sequence[str] = (),
    ) -> Geometry:
        """Build the views of a C-arm from its distances and DICOM positioner angles.

        At 0/0 the detector is in front of the patient and the source behind (a PA beam), shown with the patient's
        right on image left and head up. The picture turns with the detector: at primary +90 (detector at the
        patient's left) anterior is on image left, at -90 on image right.

        Parameters
        ----------
        sdd, sod : float, mm
            Source to detector and source to isocenter.
        isocenter : array_like, shape (3,), world mm
            The point the arm turns about; it projects to the middle of the detector.
        primary_angle : float or sequence of float, degrees
            Detector towards the patient's left is positive (LAO).
        secondary_angle : float or sequence of float, degrees
            Detector towards the head is positive (cranial).
        pixel_spacing : float or (float, float), mm
            At the detector: row, column.
        shape : (int, int)
            Rows and columns.
        names : sequence of str, optional
            One per view.

        Returns
        -------
        Geometry

        Raises
        ------
        ValueError
            If a distance or spacing is not positive, or the isocenter is not between source and detector.

        Source
        ------
        DICOM PS3.3 C.8.7.5, Positioner Primary Angle and Positioner Secondary Angle.

        Examples
        --------
        >>> import drrproj
        >>> arm = drrproj.Geometry.c_arm(sdd=1200, sod=800, isocenter=(0, 0, 0), primary_angle=[0, 90],
        ...     secondary_angle=0, pixel_spacing=0.5, shape=(512, 512))
        >>> arm.sources.round().astype(int).tolist()
        [[0, -800, 0], [800, 0, 0]]
        """
        _positive(sdd, "sdd")
        if _positive(sod, "sod") >= sdd:
            raise ValueError(f"the isocenter lies between source and detector: sod must be below sdd; got {sod}, {sdd}")
        primary, secondary = np.broadcast_arrays(
            np.atleast_1d(np.radians(primary_angle)), np.atleast_1d(np.radians(secondary_angle))
        )
        if primary.ndim != 1 or not np.isfinite([primary, secondary]).all():
            raise ValueError("primary_angle and secondary_angle must be finite degrees, one number or one per view")
        cos_p, sin_p, cos_s, sin_s = np.cos(primary), np.sin(primary), np.cos(secondary), np.sin(secondary)
        to_detector = np.array([-cos_s * sin_p, cos_s * cos_p, sin_s]).T
        up = np.array([sin_s * sin_p, -sin_s * cos_p, cos_s]).T
        image_right = np.array([-cos_p, -sin_p, np.zeros_like(sin_p)]).T
        spacing = _pixel_spacing(pixel_spacing)
        source = _vectors(isocenter, "isocenter") - sod * to_detector
        return cls.cone(source, source + sdd * to_detector, -spacing[0] * up, spacing[1] * image_right, shape, names)

    @classmethod
    def radiograph(
        cls,
        view: str,
        volume: Volume | LabelVolume,
        *,
        sdd: float = 1800.0,
        beam: Beam = "cone",
        shape: tuple[int, int] = (512, 512),
        pixel_spacing: float | Sequence[float] | None = None,
    ) -> Geometry:
        """Build a plain radiograph that holds the whole volume.

        The central ray goes through the middle of the volume, along the patient axes that the affine defines; the
        detector stands 50 mm behind the volume's far side.

        Parameters
        ----------
        view : {"AP", "PA", "LL", "RL"}
            Named by the beam: AP enters anterior. LL has the left side at the detector. AP and PA are shown with
            the patient's right on image left; LL with anterior on image left, RL with anterior on image right.
        volume : Volume or LabelVolume
            Gives place and size; its values do not matter.
        sdd : float, mm
            Source to detector; 1800 stands for an upright chest stand.
        beam : {"cone", "parallel"}
            A point source, or a source at infinity (no magnification), as PAXRay has it.
        shape : (int, int)
            Rows and columns.
        pixel_spacing : float or (float, float), mm, optional
            At the detector: row, column. By default square pixels, as small as they can be with the projection of
            the whole volume on the detector.

        Returns
        -------
        Geometry

        Raises
        ------
        ValueError
            If the view or beam is unknown, or the source would stand inside the volume.

        Examples
        --------
        >>> import numpy as np, drrproj
        >>> ct = drrproj.Volume(np.zeros((100, 80, 60), np.int16), np.diag([3, 3, 3, 1]))
        >>> pa = drrproj.Geometry.radiograph("PA", ct, shape=(256, 256))
        >>> pa.names, bool(pa.sources[0][1] < ct.center[1])  # the source of a PA view is posterior
        (('PA',), True)
        """
        if view not in RADIOGRAPH_VIEWS:
            near = difflib.get_close_matches(str(view).upper(), RADIOGRAPH_VIEWS, n=1, cutoff=0.3)
            raise ValueError(
                f"unknown view {view!r}; the views are {', '.join(RADIOGRAPH_VIEWS)}"
                + (f"; did you mean {near[0]}?" if near else "")
            )
        if beam not in ("cone", "parallel"):
            raise ValueError(f'beam must be "cone" or "parallel"; got {beam!r}')
        direction, image_right = RADIOGRAPH_VIEWS[view]
        corners, middle = volume.corners, volume.center
        from_center = corners - middle
        depth = float((from_center @ direction).max())
        center = middle + (depth + DETECTOR_GAP_MM) * direction
        source = center - _positive(sdd, "sdd") * direction
        if beam == "cone" and sdd <= 2 * depth + DETECTOR_GAP_MM:
            raise ValueError(
                f"sdd {sdd:g} mm puts the source inside the volume, which is {2 * depth:.0f} mm deep in this view; "
                f"use more than {2 * depth + DETECTOR_GAP_MM:.0f} mm or build the view with Geometry.cone"
            )
        if pixel_spacing is None:
            magnification = np.ones(8)
            if beam == "cone":
                magnification = sdd / ((corners - source) @ direction)
            half_height = float(np.abs(magnification * (from_center @ _SUPERIOR)).max())
            half_width = float(np.abs(magnification * (from_center @ image_right)).max())
            rows, columns = _detector_shape(shape)
            pixel_spacing = 2 * max(half_height / rows, half_width / columns)
        spacing = _pixel_spacing(pixel_spacing)
        row_step, column_step = -spacing[0] * _SUPERIOR, spacing[1] * image_right
        if beam == "parallel":
            return cls.parallel(direction, center, row_step, column_step, shape, (view,))
        return cls.cone(source, center, row_step, column_step, shape, (view,))

    @classmethod
    def from_camera(
        cls,
        K: npt.ArrayLike,
        R: npt.ArrayLike,
        t: npt.ArrayLike,
        *,
        sdd: float,
        shape: tuple[int, int],
        names: Sequence[str] = (),
    ) -> Geometry:
        """Build a view from a pinhole camera ``K [R | t]``.

        Parameters
        ----------
        K : array_like, shape (3, 3)
            Intrinsics in pixels: x counts columns, y counts rows, and the centre of the first pixel is (0, 0), as
            in OpenCV. Add 0.5 to a principal point measured that way to get the one of tools that put the corner
            of the first pixel at (0, 0).
        R : array_like, shape (3, 3)
            Rotation ``camera_from_world``; the camera looks along its +z.
        t : array_like, shape (3,), mm
            Translation of ``camera_from_world``: ``x_camera = R @ x_world + t``.
        sdd : float, mm
            Source to detector; the matrices fix the rays, this fixes where they end.
        shape : (int, int)
            Rows and columns.
        names : sequence of str, optional
            A name for the view.

        Returns
        -------
        Geometry

        Raises
        ------
        ValueError
            If the shapes are wrong, ``R`` is no rotation or ``K`` is singular.

        Examples
        --------
        >>> import numpy as np, drrproj
        >>> K = [[2000, 0, 255.5], [0, 2000, 255.5], [0, 0, 1]]
        >>> camera = drrproj.Geometry.from_camera(K, np.eye(3), (0, 0, 700), sdd=1000, shape=(512, 512))
        >>> camera.project_points([[0, 0, 0]]).round(9).tolist()
        [[[255.5, 255.5]]]
        """
        intrinsics, rotation = np.asarray(K, dtype=np.float64), np.asarray(R, dtype=np.float64)
        translation = np.asarray(t, dtype=np.float64).reshape(-1)
        if intrinsics.shape != (3, 3) or rotation.shape != (3, 3) or translation.shape != (3,):
            raise ValueError(
                f"K, R and t must have shapes (3, 3), (3, 3) and (3,); got {intrinsics.shape}, {rotation.shape} "
                f"and {translation.shape}"
            )
        if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-6) or np.linalg.det(rotation) < 0:
            raise ValueError("R must be a rotation: orthonormal with determinant +1; a mirrored or scaled one came")
        return cls.from_projection_matrix(
            intrinsics @ np.column_stack([rotation, translation]), sdd=sdd, shape=shape, names=names
        )

    @classmethod
    def from_projection_matrix(
        cls, P: npt.ArrayLike, *, sdd: float, shape: tuple[int, int], names: Sequence[str] = ()
    ) -> Geometry:
        """Build a view from a 3x4 projection matrix, such as a calibration gives.

        Parameters
        ----------
        P : array_like, shape (3, 4)
            ``(x, y, w) = P @ (x_world, y_world, z_world, 1)``; ``x/w`` counts columns and ``y/w`` rows, the centre
            of the first pixel is (0, 0). Its scale does not matter, its sign does: ``w`` is positive in front of
            the source. The picture may be mirrored, as radiographs are.
        sdd : float, mm
            Distance from the source to the detector plane, along its normal.
        shape : (int, int)
            Rows and columns.
        names : sequence of str, optional
            A name for the view.

        Returns
        -------
        Geometry

        Raises
        ------
        ValueError
            If ``P`` has another shape or no camera centre at a finite place.

        Source
        ------
        Hartley and Zisserman, Multiple View Geometry, section 6.2: centre and principal axis of a finite camera.

        Examples
        --------
        >>> import drrproj
        >>> P = [[-2000, 255.5, 0, 178850], [0, 255.5, -2000, 178850], [0, 1, 0, 700]]
        >>> pa = drrproj.Geometry.from_projection_matrix(P, sdd=1000, shape=(512, 512))
        >>> pa.sources.round().astype(int).tolist(), pa.sdd.round(6).tolist()
        ([[0, -700, 0]], [1000.0])
        """
        matrix = np.asarray(P, dtype=np.float64)
        if matrix.shape != (3, 4) or not np.isfinite(matrix).all():
            raise ValueError(f"P must be a finite 3x4 matrix; got shape {matrix.shape}")
        _positive(sdd, "sdd")
        pixel_from_direction = matrix[:, :3]
        scale = np.linalg.norm(pixel_from_direction[2])
        if not scale or np.linalg.cond(pixel_from_direction) > 1e12:
            raise ValueError("P has no camera centre at a finite place; for a parallel beam use Geometry.parallel")
        direction_from_pixel = np.linalg.inv(pixel_from_direction / scale)
        source = -np.linalg.solve(pixel_from_direction, matrix[:, 3])
        steps = sdd * direction_from_pixel
        first = source + steps[:, 2]
        return cls(
            _views_from_columns(source[None], 1.0, first[None], steps[None, :, 1], steps[None, :, 0]),
            shape,
            tuple(names),
        )

    @property
    def is_parallel(self) -> npt.NDArray[np.bool_]:
        """Whether each view has its source at infinity, shape (views,)."""
        parallel: npt.NDArray[np.bool_] = self.views[:, 3, 0] == 0
        return parallel

    @property
    def sources(self) -> Float64Array:
        """Source of each view, world mm, shape (views, 3); for a parallel beam a vector towards it."""
        return self.views[:, :3, 0]

    @property
    def centers(self) -> Float64Array:
        """Middle of each detector, world mm, shape (views, 3)."""
        rows, columns = self.shape
        middle = np.array([0.0, 1.0, (rows - 1) / 2, (columns - 1) / 2])
        centers: Float64Array = (self.views @ middle)[:, :3]
        return centers

    @property
    def normals(self) -> Float64Array:
        """Unit normal of each detector, pointing away from the source, shape (views, 3)."""
        normals = np.cross(self.views[:, :3, 2], self.views[:, :3, 3])
        beam = self.views[:, 3, :1] * self.views[:, :3, 1] - self.views[:, :3, 0]
        normals *= np.sign(np.einsum("vi,vi->v", normals, beam))[:, None]
        unit: Float64Array = normals / np.linalg.norm(normals, axis=1, keepdims=True)
        return unit

    @property
    def sdd(self) -> Float64Array:
        """Distance from source to detector plane in mm, shape (views,); infinite for a parallel beam."""
        distance = np.einsum("vi,vi->v", self.normals, self.views[:, :3, 1] - self.views[:, :3, 0])
        return np.where(self.is_parallel, np.inf, distance)

    @property
    def pixel_spacing(self) -> Float64Array:
        """Pixel spacing at the detector in mm, shape (views, 2): row, column."""
        spacing: Float64Array = np.linalg.norm(self.views[:, :3, 2:], axis=1)
        return spacing

    def project_points(self, xyz_mm: npt.ArrayLike) -> Float64Array:
        """Project world points to pixel coordinates, where the engine draws them.

        Parameters
        ----------
        xyz_mm : array_like, shape (points, 3) or (3,), world mm

        Returns
        -------
        ndarray, shape (views, points, 2)
            Row and column in pixels, fractional; (0, 0) is the centre of the first pixel, and points beside the
            detector get numbers outside its range. NaN for a point that is not in front of a cone's source.

        Raises
        ------
        ValueError
            If the points do not have three coordinates.

        Examples
        --------
        >>> import numpy as np, drrproj
        >>> ct = drrproj.Volume(np.zeros((64, 64, 64)), np.eye(4))
        >>> drrproj.Geometry.radiograph("AP", ct, shape=(101, 101)).project_points(ct.center).round(6).tolist()
        [[[50.0, 50.0]]]
        """
        points = _vectors(xyz_mm, "xyz_mm")
        homogeneous = np.column_stack([points, np.ones(len(points))])
        # X = a*source + b*pixel(0, 0) + b*row*row_step + b*column*column_step, so one solve gives row and column.
        _, b, row, column = np.moveaxis(np.linalg.solve(self.views, homogeneous.T[None]), 1, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            pixels: Float64Array = np.stack([row, column], axis=-1) / b[..., None]
        pixels[b <= 0] = np.nan
        return pixels

    def as_record(self) -> dict[str, Any]:
        """Everything needed to rebuild the geometry, as plain values."""
        return {"names": list(self.names), "shape": list(self.shape), "views": self.views.tolist()}


def _first_pixel(
    center: Float64Array, row_step: Float64Array, column_step: Float64Array, shape: tuple[int, int]
) -> Float64Array:
    rows, columns = _detector_shape(shape)
    first: Float64Array = center - (rows - 1) / 2 * row_step - (columns - 1) / 2 * column_step
    return first
