"""Views: where the source is, where every pixel is, and what the views are called.

A view is one 4x4 matrix in RAS+ millimetres. Its columns are the source, the centre of pixel (0, 0), the step to
the next row and the step to the next column, homogeneous: 1 in the last row for points, 0 for directions. A parallel
beam is a source at infinity: its first column is the direction *towards* the source, with a 0 below it. This module
owns the frames, the angles and the view names; everything else in the package only multiplies the matrices.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from drrproj.affines import checked_affine
from drrproj.description import described
from drrproj.given_numbers import one_number, real_numbers
from drrproj.label_volume import LabelVolume, odd_character
from drrproj.positioner import positioner_axes
from drrproj.short_text import counted, listed, shown
from drrproj.volume import Volume
from drrproj.warned import warn

__all__ = [
    "RADIOGRAPH_VIEWS",
    "Geometry",
    "Rays",
    "distance_of_source",
    "names_of_views",
    "positive_distance",
]

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

_LEFT, _RIGHT_SIDE = "LL (the left side at the detector)", "RL (the right side at the detector)"
# What a word in an unknown view means; a side says more than that it is lateral.
_MEANT_BY = {
    "left": _LEFT,
    "right": _RIGHT_SIDE,
    "lat": f"{_LEFT} or {_RIGHT_SIDE}",
    "front": "PA (the front at the detector) or AP (the back at the detector)",
}

_SDD_MM = 1800.0
"""Source to detector where nothing else is said: an upright chest stand."""

DETECTOR_GAP_MM = 50.0
"""Distance from the far side of the volume to the detector in :meth:`Geometry.radiograph`: wall-stand and clothes."""

FIT_PIXELS = 0.5
"""What may overhang a detector's edge and still fits: pixel spacings come rounded."""

# Of the way from source to detector: a nanometre of a metre, which is rounding.
_AT_SOURCE = 1e-9


def _vectors(
    values: npt.ArrayLike, what: str, wanted: str = "one 3-vector or one per view, shape (views, 3)"
) -> Float64Array:
    array = real_numbers(values, f"{what} must be {wanted}")
    shape = array.shape
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or array.shape[1] != 3:
        raise ValueError(f"{what} must be {wanted}; got shape {shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{what} must be finite; got {array.tolist()}")
    return array


def _as_many(**given: npt.ArrayLike) -> list[Float64Array]:
    """Return vectors by name, of which each is one, or one for each of the same views."""
    vectors = {what: _vectors(values, what) for what, values in given.items()}
    if len({len(values) for values in vectors.values()} - {1}) > 1:
        counts = ", ".join(f"{what} {len(values)}" for what, values in vectors.items())
        raise ValueError(f"vectors must be one each, or as many as there are views; got {counts}")
    return list(vectors.values())


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
    wanted = "pixel_spacing must be positive mm, one number or (row, column)"
    spacing = real_numbers(pixel_spacing, wanted)
    if spacing.shape not in ((), (1,), (2,)) or not (np.isfinite(spacing) & (spacing > 0)).all():
        raise ValueError(f"{wanted}; got {shown(pixel_spacing)}")
    return np.broadcast_to(spacing, (2,))


def _detector_shape(shape: tuple[int, int]) -> tuple[int, int]:
    try:
        rows, columns = (int(n) for n in shape)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"shape must be (rows, columns); got {shape!r}") from None
    if rows < 1 or columns < 1 or (rows, columns) != tuple(shape):
        raise ValueError(f"shape must be two positive whole numbers, (rows, columns); got {shape!r}")
    return rows, columns


def names_of_views(names: Sequence[str]) -> tuple[str, ...]:
    """Take a text for one name, which it is, and not for one per letter; or raise TypeError or ValueError."""
    several = [names] if isinstance(names, str) or not isinstance(names, Iterable) else list(names)
    if not all(isinstance(name, str) for name in several):
        raise TypeError(f"names of views must be texts; got {shown(names)}")
    if not all(name.strip() for name in several):
        raise ValueError(f"names of views must not be empty, files are called by them; got {shown(names)}")
    for name in several:
        if (odd := odd_character(name)) is not None:
            raise ValueError(f"a view is named {name!r}, and {odd!r} in it is no text; rename it")
    return tuple(several)


def positive_distance(value: float, what: str) -> float:
    """Check a distance in mm, or raise ValueError."""
    return one_number(value, f"{what} must be a positive distance in mm", above=0)


def distance_of_source(sdd: float | None, beam: Beam) -> float:
    """Return the distance in mm from source to detector that is given or, where none is, meant; or raise ValueError."""
    if beam == "cone":
        return _SDD_MM if sdd is None else positive_distance(sdd, "sdd")
    if sdd is not None:
        raise ValueError("sdd belongs to a cone; a parallel beam has no source: leave it out")
    return float("inf")


class Rays(NamedTuple):
    """Rays to pixels, ``origins + mm * directions``; both of shape (views, *pixels, 3), world mm."""

    origins: Float64Array
    directions: Float64Array


@dataclass(frozen=True, eq=False, repr=False)
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
        (the source lies in the detector's plane, or a step is zero), or names do not fit the views or hold what is no
        text, such as line ends.

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
        views = real_numbers(self.views, "views must have shape (views, 4, 4)")
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
        names = names_of_views(() if given is None else given)
        names = names or tuple(f"view{index}" for index in range(len(views)))
        if len(names) != len(views):
            raise ValueError(f"{len(views)} views need as many names; got {len(names)}: {', '.join(names)}")
        views.setflags(write=False)
        object.__setattr__(self, "views", views)
        object.__setattr__(self, "shape", (rows, columns))
        object.__setattr__(self, "names", names)

    def __repr__(self) -> str:
        (rows, columns), spacing = self.shape, self.pixel_spacing
        pixels = f"{rows} x {columns} pixels"
        if np.allclose(spacing, spacing[0]):
            pixels += f" of {spacing[0, 0]:.4g} x {spacing[0, 1]:.4g} mm"
        return f"Geometry({counted(len(self), 'view')}: {listed(self.names)}; detector {pixels})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Made anew, a copy's views are read-only too.
        return Geometry, (self.views, self.shape, self.names)

    def __len__(self) -> int:
        return len(self.views)

    def __iter__(self) -> Iterator[Geometry]:
        return (self[index] for index in range(len(self)))

    def __contains__(self, view: object) -> bool:
        return view in self.names

    def place_of(self, view: int | str) -> int:
        """Place of one view, by name or by its number, which may count from the end.

        Raises
        ------
        KeyError
            If no view or several views have the name.
        IndexError
            If there are not as many views.
        TypeError
            If it is neither a name nor a whole number.
        """
        if isinstance(view, str):
            if view not in self.names:
                raise KeyError(f"no view {view!r}; there are {listed(self.names)}")
            if self.names.count(view) > 1:
                raise KeyError(f"{self.names.count(view)} views are named {view!r}; select one by number")
            return self.names.index(view)
        if isinstance(view, bool) or not isinstance(view, int | np.integer):
            raise TypeError(f"select one view, by number or name; got {shown(view)}")
        if not -len(self) <= view < len(self):
            raise IndexError(f"no view {view}; there are {len(self)}, counted from 0")
        return int(view) % len(self)

    def __getitem__(self, index: int | str | slice | Sequence[int | str] | npt.NDArray[np.bool_]) -> Geometry:
        """Select views by number or name, slice, list of numbers or names, or mask; the result is a geometry again."""
        if isinstance(index, slice):
            places = list(range(len(self)))[index]
        elif isinstance(index, np.ndarray) and index.dtype == bool:
            if index.shape != (len(self),):
                raise IndexError(f"a mask of views has one value for each of {len(self)}; got shape {index.shape}")
            places = np.flatnonzero(index).tolist()
        elif isinstance(index, str) or not isinstance(index, Iterable):
            places = [self.place_of(index)]
        else:
            several: Any = index
            # An array of no dimension says of itself that it can be iterated.
            places = [self.place_of(view) for view in ([several] if getattr(several, "ndim", 1) == 0 else several)]
        if not places:
            raise ValueError(f"a geometry has at least one view; {shown(index)} selects none of {len(self)}")
        return Geometry(self.views[places], self.shape, tuple(self.names[place] for place in places))

    @classmethod
    def concatenate(cls, geometries: Sequence[Geometry]) -> Geometry:
        """Join the views of several geometries of one detector shape.

        Raises
        ------
        ValueError
            If there is nothing to join or the detector shapes differ.
        TypeError
            If one is no geometry.

        Examples
        --------
        >>> import numpy as np, drrproj
        >>> ct = drrproj.Volume(np.zeros((4, 4, 4)), np.eye(4))
        >>> both = drrproj.Geometry.concatenate(
        ...     [drrproj.Geometry.radiograph("PA", ct), drrproj.Geometry.radiograph("LL", ct)])
        >>> both.names
        ('PA', 'LL')
        """
        joined = list(geometries) if isinstance(geometries, Iterable) else [geometries]
        for each in joined:
            if not isinstance(each, Geometry):
                raise TypeError(f"views are joined of a list of geometries; got {shown(each)} among them")
        shapes = {geometry.shape for geometry in joined}
        if len(shapes) != 1:
            raise ValueError(f"views of one geometry share one detector shape; got {sorted(shapes) or 'no views'}")
        return cls(
            np.concatenate([geometry.views for geometry in joined]),
            shapes.pop(),
            tuple(name for geometry in joined for name in geometry.names),
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
        sources, middle, row, column = _as_many(
            source=source, center=center, row_step=row_step, column_step=column_step
        )
        first = _first_pixel(middle, row, column, shape)
        return cls(_views_from_columns(sources, 1.0, first, row, column), shape, names_of_views(names))

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
        along, middle, row, column = _as_many(
            direction=direction, center=center, row_step=row_step, column_step=column_step
        )
        first = _first_pixel(middle, row, column, shape)
        towards_source = -along
        length = np.linalg.norm(towards_source, axis=1, keepdims=True)
        if not length.all():
            raise ValueError("direction must not be zero: it is the way the beam travels")
        return cls(_views_from_columns(towards_source / length, 0.0, first, row, column), shape, names_of_views(names))

    @classmethod
    def c_arm(
        cls,
        *,
        sdd: float,
        sod: float,
        isocenter: npt.ArrayLike,
        primary_angle: npt.ArrayLike,
        secondary_angle: npt.ArrayLike,
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
        isocenter : array_like, shape (3,) or (views, 3), world mm
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
        positive_distance(sdd, "sdd")
        if positive_distance(sod, "sod") >= sdd:
            raise ValueError(f"the isocenter lies between source and detector: sod must be below sdd; got {sod}, {sdd}")
        angles = [
            np.atleast_1d(real_numbers(angle, f"{what} must be degrees, one number or one per view"))
            for what, angle in (("primary_angle", primary_angle), ("secondary_angle", secondary_angle))
        ]
        isocenters = _vectors(isocenter, "isocenter")
        counts = [len(isocenters), *(angle.size for angle in angles)]
        if len({*counts} - {1}) > 1 or not min(counts):
            raise ValueError(
                "isocenter, primary_angle and secondary_angle must be one each, or as many as there are views; got "
                f"{counts[0]}, {counts[1]} and {counts[2]}"
            )
        primary, secondary = np.broadcast_arrays(*angles)
        if primary.ndim != 1 or not np.isfinite([primary, secondary]).all():
            raise ValueError("primary_angle and secondary_angle must be finite degrees, one number or one per view")
        to_detector, up, image_right = positioner_axes(primary, secondary)
        spacing = _pixel_spacing(pixel_spacing)
        source = isocenters - sod * to_detector
        return cls.cone(source, source + sdd * to_detector, -spacing[0] * up, spacing[1] * image_right, shape, names)

    @classmethod
    def radiograph(
        cls,
        view: str,
        volume: Volume | LabelVolume,
        *,
        sdd: float | None = None,
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
            the patient's right on image left; LL with anterior on image left, RL with anterior on image right. Small
            letters are taken for capitals.
        volume : Volume or LabelVolume
            Gives place and size; its values do not matter.
        sdd : float, mm, optional
            Source to detector, for a cone; by default 1800, an upright chest stand's.
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
            If the view or beam is unknown, the source would stand inside the volume, or a parallel beam is given a
            distance.

        Warns
        -----
        UserWarning
            If ``pixel_spacing`` is given and the projection of the whole volume does not fit the detector; a part of
            the picture that is meant is one by :meth:`cropped`.

        Examples
        --------
        >>> import numpy as np, drrproj
        >>> ct = drrproj.Volume(np.zeros((100, 80, 60), np.int16), np.diag([3, 3, 3, 1]))
        >>> pa = drrproj.Geometry.radiograph("PA", ct, shape=(256, 256))
        >>> pa.names, bool(pa.sources[0][1] < ct.center[1])  # the source of a PA view is posterior
        (('PA',), True)
        """
        if not isinstance(view, str) or not hasattr(volume, "corners"):
            raise TypeError(
                'a radiograph has a view and a volume: Geometry.radiograph("PA", ct); got '
                f"{type(view).__name__} and {type(volume).__name__}"
            )
        if view.upper() not in RADIOGRAPH_VIEWS:
            meant = next((meant for word, meant in _MEANT_BY.items() if word in view.lower()), None)
            raise ValueError(
                f"unknown view {view!r}; the views are {', '.join(RADIOGRAPH_VIEWS)}"
                + (f"; did you mean {meant}?" if meant else "")
            )
        view = view.upper()
        if beam not in ("cone", "parallel"):
            raise ValueError(f'beam must be "cone" or "parallel"; got {beam!r}')
        distance = distance_of_source(sdd, beam)
        direction, image_right = RADIOGRAPH_VIEWS[view]
        corners, middle = volume.corners, volume.center
        from_center = corners - middle
        depth = float((from_center @ direction).max())
        center = middle + (depth + DETECTOR_GAP_MM) * direction
        if distance <= 2 * depth + DETECTOR_GAP_MM:
            raise ValueError(
                f"sdd {distance:g} mm puts the source inside the volume, which is {2 * depth:.0f} mm deep in this "
                f"view; use more than {2 * depth + DETECTOR_GAP_MM:.0f} mm, or a view that says where its source "
                "stands (Geometry.cone, --c-arm)"
            )
        magnification = np.ones(8)
        if beam == "cone":
            source = center - distance * direction
            magnification = distance / ((corners - source) @ direction)
        height = 2 * float(np.abs(magnification * (from_center @ _SUPERIOR)).max())
        width = 2 * float(np.abs(magnification * (from_center @ image_right)).max())
        rows, columns = _detector_shape(shape)
        spacing = _pixel_spacing(max(height / rows, width / columns) if pixel_spacing is None else pixel_spacing)
        if (spacing * (rows, columns) + 2 * FIT_PIXELS * spacing < (height, width)).any():
            warn(
                f"view {view}: the volume does not fit the detector, which is {spacing[0] * rows:.0f} x "
                f"{spacing[1] * columns:.0f} mm; it needs {height:.0f} x {width:.0f} mm, or pixels of "
                f"{max(height / rows, width / columns):.3g} mm",
            )
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
            If the shapes are wrong, ``R`` is no rotation, or ``K`` is singular or its last row is not (0, 0, 1), as
            that of a transposed one is not.

        Examples
        --------
        >>> import numpy as np, drrproj
        >>> K = [[2000, 0, 255.5], [0, 2000, 255.5], [0, 0, 1]]
        >>> camera = drrproj.Geometry.from_camera(K, np.eye(3), (0, 0, 700), sdd=1000, shape=(512, 512))
        >>> camera.project_points([[0, 0, 0]]).round(9).tolist()
        [[[255.5, 255.5]]]
        """
        wanted = "K, R and t must have shapes (3, 3), (3, 3) and (3,)"
        intrinsics, rotation, translation = (real_numbers(values, wanted) for values in (K, R, t))
        translation = translation.reshape(-1)
        if intrinsics.shape != (3, 3) or rotation.shape != (3, 3) or translation.shape != (3,):
            raise ValueError(f"{wanted}; got {intrinsics.shape}, {rotation.shape} and {translation.shape}")
        scale = intrinsics[2, 2]
        if not (scale > 0 and np.allclose(intrinsics[2] / scale, (0, 0, 1), atol=1e-6)):
            turned = np.allclose(intrinsics[:, 2], (0, 0, 1), atol=1e-6)
            raise ValueError(
                "the last row of K must be (0, 0, 1), or a positive multiple of it; "
                f"got {shown(tuple(intrinsics[2].tolist()))}"
                + "; this is K transposed, as MATLAB has it: pass K.T"
                * turned
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
        matrix = real_numbers(P, "P must be a finite 3x4 matrix")
        if matrix.shape != (3, 4) or not np.isfinite(matrix).all():
            raise ValueError(f"P must be a finite 3x4 matrix; got shape {matrix.shape}")
        positive_distance(sdd, "sdd")
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
            names_of_views(names),
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
        points = _vectors(xyz_mm, "xyz_mm", "points, shape (points, 3) or (3,)")
        homogeneous = np.column_stack([points, np.ones(len(points))])
        # X = a*source + b*pixel(0, 0) + b*row*row_step + b*column*column_step, so one solve gives row and column.
        _, b, row, column = np.moveaxis(np.linalg.solve(self.views, homogeneous.T[None]), 1, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            pixels: Float64Array = np.stack([row, column], axis=-1) / b[..., None]
        # A point at the source, or beside it, is in front of it by rounding at most.
        pixels[b <= _AT_SOURCE] = np.nan
        return pixels

    def rays(self, rows: npt.ArrayLike, columns: npt.ArrayLike) -> Rays:
        """Return the rays that the engine follows to pixels: the inverse of :meth:`project_points`.

        Parameters
        ----------
        rows, columns : array_like, any shapes that broadcast, pixels
            May be fractional and off the detector; (0, 0) is the centre of the first pixel.

        Returns
        -------
        Rays
            ``origins`` and ``directions``, each of shape (views, *pixels, 3), world mm; ``directions`` are unit
            vectors along the beam. A cone's ray begins at its origin, the source. A parallel beam's ray is a whole
            line, and its origin is where it meets the detector, behind the patient.

        Raises
        ------
        ValueError
            If rows and columns do not broadcast or are not finite.

        Accuracy
        --------
        ``project_points(origins + mm * directions)`` gives rows and columns back within 1e-6 pixels
        (``tests/test_geometry_points.py``).

        Examples
        --------
        >>> import drrproj
        >>> view = drrproj.Geometry.cone((0, -900, 0), (0, 100, 0), (0, 0, -1), (-1, 0, 0), shape=(101, 101))
        >>> origins, directions = view.rays(50, 50)
        >>> origins.tolist(), directions.tolist()
        ([[0.0, -900.0, 0.0]], [[0.0, 1.0, 0.0]])
        """
        wanted = "rows and columns must be finite pixel coordinates"
        rows, columns = real_numbers(rows, wanted), real_numbers(columns, wanted)
        try:
            rows, columns = np.broadcast_arrays(rows, columns)
        except ValueError:
            raise ValueError(
                f"rows and columns must have one shape, or shapes that broadcast; got {rows.shape} and {columns.shape}"
            ) from None
        if not (np.isfinite(rows).all() and np.isfinite(columns).all()):
            raise ValueError(wanted)
        on_detector = np.stack([np.zeros_like(rows), np.ones_like(rows), rows, columns], axis=-1)
        pixels = np.einsum("vij,...j->v...i", self.views[:, :3], on_detector)
        per_view = (len(self), *(1,) * rows.ndim, 3)
        sources, parallel = self.sources.reshape(per_view), self.is_parallel.reshape((*per_view[:-1], 1))
        origins = np.where(parallel, pixels, sources)
        directions = np.where(parallel, -sources, pixels - sources)
        return Rays(origins, directions / np.linalg.norm(directions, axis=-1, keepdims=True))

    def fits(self, volume: Volume | LabelVolume) -> npt.NDArray[np.bool_]:
        """Tell which views show a whole volume.

        Parameters
        ----------
        volume : Volume or LabelVolume
            Its box counts, with the air around the patient.

        Returns
        -------
        ndarray of bool, shape (views,)
            Whether all of the box lies in front of the source, a cone's box in front of the detector too, and its
            projection on the detector, but for up to half a pixel beyond each edge.

        Examples
        --------
        >>> import numpy as np, drrproj
        >>> ct = drrproj.Volume(np.zeros((40, 40, 40), np.int16), np.eye(4))
        >>> drrproj.Geometry.radiograph("PA", ct).fits(ct).tolist()
        [True]
        """
        _require_box(volume)
        low, high = -0.5 - FIT_PIXELS, np.array(self.shape) - 0.5 + FIT_PIXELS
        pixels = self.project_points(volume.corners)
        inside = ((pixels >= low) & (pixels <= high)).all(axis=(1, 2))
        return inside & ~_reaches_behind_detector(self, volume.corners)

    def moved(self, target_from_source: npt.ArrayLike) -> Geometry:
        """Move source and detector together, as one rigid thing.

        Parameters
        ----------
        target_from_source : array_like, shape (4, 4)
            From world to world, mm, RAS+: where a point is, and where it will be; the same for all views. A patient
            who moves by ``T`` is seen as by views that move by ``np.linalg.inv(T)``. A matrix that is not rigid, such
            as one into a frame of other units or of another hand, changes distances and spacings with it.

        Returns
        -------
        Geometry
            Of the same names and detector shape.

        Raises
        ------
        ValueError
            If it is not a finite, invertible 4x4 matrix with last row 0 0 0 1.

        Examples
        --------
        >>> import numpy as np, drrproj
        >>> view = drrproj.Geometry.cone((0, -900, 0), (0, 100, 0), (0, 0, -1), (-1, 0, 0), shape=(101, 101))
        >>> towards_head = np.eye(4)
        >>> towards_head[2, 3] = 45
        >>> view.moved(towards_head).project_points([0, 0, 0]).round(6).tolist()  # the patient is lower by 50 pixels
        [[[100.0, 50.0]]]
        """
        return Geometry(checked_affine(target_from_source, "target_from_source") @ self.views, self.shape, self.names)

    def rolled(self, degrees: float | Sequence[float]) -> Geometry:
        """Turn each detector in its plane, about its middle.

        Parameters
        ----------
        degrees : float or sequence of float, one per view
            Clockwise, as the picture is seen; the patient turns the other way in the picture.

        Returns
        -------
        Geometry

        Raises
        ------
        ValueError
            If the angles are not finite, or not one or one per view.

        Examples
        --------
        A quarter turn: what was up is now on image left.

        >>> import drrproj
        >>> view = drrproj.Geometry.cone((0, -900, 0), (0, 100, 0), (0, 0, -1), (-1, 0, 0), shape=(101, 101))
        >>> view.rolled(90).project_points([0, 0, 18]).round(6).tolist()
        [[[50.0, 30.0]]]
        """
        row, column = self.views[:, :3, 2], self.views[:, :3, 3]
        clockwise = np.cross(column, row)
        clockwise /= np.linalg.norm(clockwise, axis=1, keepdims=True)
        angle = np.radians(self._one_per_view(degrees, "degrees"))
        return self._about_its_middle(_turned(row, clockwise, angle), _turned(column, clockwise, angle))

    def tilted(self, *, top: float | Sequence[float] = 0.0, right: float | Sequence[float] = 0.0) -> Geometry:
        """Lean each detector about its middle; the source stays.

        Parameters
        ----------
        top : float or sequence of float, degrees
            The upper edge leans away from the source.
        right : float or sequence of float, degrees
            The right edge leans away from the source. With ``top`` it is one turn about the axis between, so that
            neither comes first.

        Returns
        -------
        Geometry

        Raises
        ------
        ValueError
            If the angles are not finite, or not one or one per view, or the source would lie in the detector's plane or
            behind it, where the picture would be mirrored.

        Examples
        --------
        >>> import drrproj
        >>> view = drrproj.Geometry.cone((0, -900, 0), (0, 100, 0), (0, 0, -1), (-1, 0, 0), shape=(101, 101))
        >>> view.tilted(top=30).normals.round(3).tolist()  # it looked anterior, and now also down
        [[0.0, 0.866, -0.5]]
        """
        row, column, normal = self.views[:, :3, 2], self.views[:, :3, 3], self.normals
        lean_top, lean_right = np.cross(-row, normal), np.cross(column, normal)
        turn = self._one_per_view(top, "top")[:, None] * lean_top / np.linalg.norm(lean_top, axis=1, keepdims=True)
        turn = turn + self._one_per_view(right, "right")[:, None] * lean_right / np.linalg.norm(
            lean_right, axis=1, keepdims=True
        )
        degrees = np.linalg.norm(turn, axis=1)
        axis = np.where(degrees[:, None] > 0, turn, lean_top) / np.where(degrees > 0, degrees, 1.0)[:, None]
        angle = np.radians(degrees)
        beam = self.views[:, 3, :1] * self.centers - self.views[:, :3, 0]
        towards = np.einsum("vi,vi->v", _turned(normal, axis, angle), beam)
        if (towards < 0).any():
            view = int(np.argmin(towards))
            raise ValueError(
                f"leant by {degrees[view]:g} degrees the detector of view {view} would turn its back to the source and "
                "the picture would be mirrored; lean it less"
            )
        return self._about_its_middle(_turned(row, axis, angle), _turned(column, axis, angle))

    def shifted(self, *, down: float | Sequence[float] = 0.0, right: float | Sequence[float] = 0.0) -> Geometry:
        """Shift each detector in its plane; the principal point moves the other way on it.

        Parameters
        ----------
        down, right : float or sequence of float, mm
            At the detector, along the rows' and the columns' steps: where the detector goes, as the picture is seen.
            Everything in the picture moves up and left by as many mm.

        Returns
        -------
        Geometry

        Raises
        ------
        ValueError
            If the numbers are not finite, or not one or one per view.

        Examples
        --------
        A detector shifted sideways, as cone-beam CT has it for a large field of view.

        >>> import drrproj
        >>> view = drrproj.Geometry.cone((0, -900, 0), (0, 100, 0), (0, 0, -2), (-2, 0, 0), shape=(101, 101))
        >>> view.shifted(right=80).project_points([0, 0, 0]).round(6).tolist()
        [[[50.0, 10.0]]]
        """
        mm = np.stack([self._one_per_view(down, "down"), self._one_per_view(right, "right")], axis=1)
        views = self.views.copy()
        views[:, :3, 1] += np.einsum("vij,vj->vi", views[:, :3, 2:], mm / self.pixel_spacing)
        return Geometry(views, self.shape, self.names)

    def cropped(self, rows: slice, columns: slice) -> Geometry:
        """Keep a rectangle of each detector; what is beside it is never computed.

        Parameters
        ----------
        rows, columns : slice
            As for an array of the detector's shape: ``slice(100, 300)``, ``slice(None)`` for all, negative numbers
            from the end. Steps are none, and a rectangle that reaches off the detector is refused.

        Returns
        -------
        Geometry
            Pixel (0, 0) is the first one kept; each pixel keeps its ray.

        Raises
        ------
        TypeError
            If rows or columns is no slice.
        ValueError
            If a slice has a step, keeps nothing or reaches off the detector.

        Accuracy
        --------
        The pixels of the whole image within the last bits of float32, because the C++ engine starts its tiles
        elsewhere: over 47 random crops at most 2e-7 of the image's maximum and 2e-5 mm of path, no bit of a mask, and
        21 crops equal to the bit. On the Numba backend all of 48 were.

        Examples
        --------
        >>> import numpy as np, drrproj
        >>> ct = drrproj.Volume(np.zeros((40, 40, 40), np.int16), np.eye(4))
        >>> whole = drrproj.Geometry.radiograph("PA", ct, shape=(2048, 2048))
        >>> whole.cropped(slice(500, 700), slice(-800, None)).shape
        (200, 800)
        """
        first_row, row_count = _kept(rows, self.shape[0], "rows")
        first_column, column_count = _kept(columns, self.shape[1], "columns")
        views = self.views.copy()
        views[:, :3, 1] += first_row * views[:, :3, 2] + first_column * views[:, :3, 3]
        return Geometry(views, (row_count, column_count), self.names)

    def _one_per_view(self, values: float | Sequence[float], what: str) -> Float64Array:
        wanted = f"{what} must be a finite number, or one for each of {len(self)} views"
        numbers = real_numbers(values, wanted)
        if numbers.shape not in ((), (1,), (len(self),)) or not np.isfinite(numbers).all():
            raise ValueError(f"{wanted}; got {shown(values)}")
        return np.broadcast_to(numbers, (len(self),))

    def _about_its_middle(self, row_step: Float64Array, column_step: Float64Array) -> Geometry:
        first = _first_pixel(self.centers, row_step, column_step, self.shape)
        views = self.views.copy()
        views[:, :3, 1:] = np.stack([first, row_step, column_step], axis=2)
        return Geometry(views, self.shape, self.names)

    def describe(self, volume: Volume | LabelVolume | None = None, *, isocenter: npt.ArrayLike | None = None) -> str:
        """Say in words where everything is, view by view.

        Parameters
        ----------
        volume : Volume or LabelVolume, optional
            Adds where it projects to and whether it fits, and the magnification in its middle.
        isocenter : array_like, shape (3,), world mm, optional
            Adds its distance from the source and the magnification there, in place of those of the volume's middle.

        Returns
        -------
        str
            Lines for each view. ``beam`` is that of the ray through the detector's middle, in patient words and as
            DICOM positioner angles. ``magnification`` is that of lengths parallel to the detector at that point.
            The ``principal point`` is the pixel below the source, where the detector's normal through it lands.
            ``tilt`` is the angle between the detector's normal and the ray through its middle; a detector shifted far
            off the principal point has one, too. ``roll`` is :meth:`rolled` counted from head up (from anterior up
            where the beam runs along the patient).

        Raises
        ------
        ValueError
            If the isocenter is not three finite numbers.

        Examples
        --------
        >>> import drrproj
        >>> arm = drrproj.Geometry.c_arm(sdd=1200, sod=800, isocenter=(0, 0, 0), primary_angle=30, secondary_angle=0,
        ...     pixel_spacing=0.5, shape=(600, 800), names=["lao"])
        >>> print(arm.describe(isocenter=(0, 0, 0)))
        view lao: cone beam from posterior right to anterior left (LAO 30.0, CRA 0.0 degrees)
          source: (400.0, -692.8, 0.0) mm RAS+; sdd 1200.0 mm
          isocenter: (0.0, 0.0, 0.0) mm RAS+; sod 800.0 mm, magnification 1.500
          detector: 600 rows x 800 columns of 0.5 x 0.5 mm, 300.0 x 400.0 mm; middle at (-200.0, 346.4, 0.0) mm RAS+
          principal point: row 299.5, column 399.5
          image: right edge is left posterior, upper edge is superior; roll 0.0, tilt 0.0 degrees
        """
        if volume is not None:
            _require_box(volume)
        point = None if isocenter is None else _vectors(isocenter, "isocenter")
        if point is not None and len(point) != 1:
            raise ValueError(f"isocenter must be one point; got {len(point)}")
        # Only here: what is told of views is built on them.
        behind = [False] * len(self) if volume is None else _reaches_behind_detector(self, volume.corners)
        return described(self, volume, behind, None if point is None else point[0])

    def as_record(self) -> dict[str, Any]:
        """Everything needed to rebuild the geometry, as plain values."""
        return {"names": list(self.names), "shape": list(self.shape), "views": self.views.tolist()}


def _reaches_behind_detector(geometry: Geometry, points: Float64Array) -> npt.NDArray[np.bool_]:
    """Tell for each view whether any of the points (points, 3) lies behind a cone's detector."""
    from_detector = points[None] - geometry.views[:, None, :3, 1]
    behind: npt.NDArray[np.bool_] = (np.einsum("vpi,vi->vp", from_detector, geometry.normals) > 1e-6).any(axis=1)
    return behind & ~geometry.is_parallel


def _require_box(volume: object) -> None:
    if not isinstance(volume, Volume | LabelVolume):
        raise TypeError(f"volume must be a Volume or a LabelVolume; got {shown(volume)}")


def _first_pixel(
    center: Float64Array, row_step: Float64Array, column_step: Float64Array, shape: tuple[int, int]
) -> Float64Array:
    rows, columns = _detector_shape(shape)
    first: Float64Array = center - (rows - 1) / 2 * row_step - (columns - 1) / 2 * column_step
    return first


def _turned(vectors: Float64Array, axes: Float64Array, angle: Float64Array) -> Float64Array:
    """Turn vectors about unit axes, right-handed (Rodrigues' formula); one of each per view, radians."""
    sin, cos = np.sin(angle)[:, None], np.cos(angle)[:, None]
    along = np.einsum("vi,vi->v", axes, vectors)[:, None] * axes
    turned: Float64Array = along + cos * (vectors - along) + sin * np.cross(axes, vectors)
    return turned


def _kept(pixels: slice, size: int, what: str) -> tuple[int, int]:
    if not isinstance(pixels, slice):
        raise TypeError(f"{what} must be a slice, such as slice(100, 300); got {type(pixels).__name__}")
    if pixels.step not in (None, 1):
        raise ValueError(f"a crop keeps every pixel of a rectangle; got {what} with step {pixels.step}")
    for end in (pixels.start, pixels.stop):
        if not (end is None or isinstance(end, int | np.integer)):
            raise TypeError(f"{what} must be a slice of whole numbers; got {pixels}")
    ends = [
        default if end is None else int(end) + (size if end < 0 else 0)
        for end, default in ((pixels.start, 0), (pixels.stop, size))
    ]
    if not 0 <= ends[0] < ends[1] <= size:
        raise ValueError(f"{what} {pixels.start} to {pixels.stop} are no part of a detector with {size} {what}")
    return ends[0], ends[1] - ends[0]
