"""Poses: the views of a dataset, and how they are varied from case to case."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from drrproj.dataset.names import require_file_name
from drrproj.geometry import DETECTOR_GAP_MM, RADIOGRAPH_VIEWS, Beam, Geometry, distance_of_source, positive_distance
from drrproj.given_numbers import whole_number
from drrproj.volume import Volume

__all__ = ["PAXRAY_VIEWS", "Poses", "Variation", "View", "parse_view"]

Float64Array = npt.NDArray[np.float64]

# A view's name ends file names after an underscore, and must not bring one of its own.
_VIEW_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{,39}")


@dataclass(frozen=True)
class View:
    """One view of every case: a plain radiograph, possibly turned.

    Parameters
    ----------
    name : str
        Ends the file names: up to 40 letters, digits and ``. + -``.
    radiograph : {"PA", "AP", "LL", "RL"}
        The plain radiograph to start from.
    primary, secondary : float, degrees
        The whole view turned about the middle of the CT: ``primary`` about the head-foot axis, positive when the
        detector goes towards where the patient's left is in a PA view (LAO); then ``secondary``, positive when the
        detector goes towards the head.

    Raises
    ------
    ValueError
        If the name cannot end a file name, the radiograph is unknown, or an angle is not finite.
    """

    name: str
    radiograph: str
    primary: float = 0.0
    secondary: float = 0.0

    def __post_init__(self) -> None:
        if not _VIEW_NAME.fullmatch(self.name):
            raise ValueError(f"the name of a view may have up to 40 letters, digits and . + -; got {self.name!r}")
        require_file_name(self.name, "view")
        if self.radiograph not in RADIOGRAPH_VIEWS:
            raise ValueError(f"unknown view {self.radiograph!r}; the views are {', '.join(RADIOGRAPH_VIEWS)}")
        if not np.isfinite([self.primary, self.secondary]).all():
            raise ValueError(f"the angles of view {self.name} must be finite degrees")


PAXRAY_VIEWS = (View("frontal", "PA"), View("lateral", "LL"))
"""The two views of PAXRay, by its names."""


@dataclass(frozen=True)
class Variation:
    """How far poses are varied, evenly up to these limits on both sides.

    Parameters
    ----------
    angle : float, degrees
        About the head-foot axis, about the horizontal axis of the detector, and about the central ray: three draws.
    distance : float, mm
        Added to the distance from source to detector.
    shift : float, mm
        Of the whole view against the patient, along the detector's rows and along its columns: two draws.
    poses : int
        How many poses of each view; with more than one, names end in ``-1``, ``-2``, ...
    seed : int
        A draw follows from it, the case's id and the view's name, and from nothing else.

    Raises
    ------
    ValueError
        If a limit is negative or not finite, there is no pose, or poses or seed are no whole numbers.
    """

    angle: float = 0.0
    distance: float = 0.0
    shift: float = 0.0
    poses: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        limits = (self.angle, self.distance, self.shift)
        if not np.isfinite(limits).all() or min(limits) < 0:
            raise ValueError(f"the limits of a variation must not be negative; got {limits}")
        poses = whole_number(self.poses, "each view needs a whole number of poses, at least one", least=1)
        object.__setattr__(self, "poses", poses)
        object.__setattr__(self, "seed", whole_number(self.seed, "the seed of a variation is a whole number"))
        if self.poses > 1 and not any(limits):
            raise ValueError(f"{self.poses} poses of a view would all be the same; vary angle, distance or shift")


@dataclass(frozen=True)
class Poses:
    """The views of a dataset and their detector.

    Parameters
    ----------
    views : sequence of View
    beam : {"cone", "parallel"}
    sdd : float, mm, optional
        Source to detector, for a cone; by default 1800.
    shape : (int, int)
        Rows and columns.
    pixel_spacing : float, mm, optional
        At the detector; by default as small as the whole CT allows, so it differs from case to case.
    variation : Variation

    Raises
    ------
    ValueError
        If there is no view, or two have one name, capitals or not; if the beam is unknown, ``shape`` is not two
        positive whole numbers, ``sdd`` or ``pixel_spacing`` is not a positive number, a parallel beam is given a
        distance, or the distance varies so far that no patient has room before the source.

    Examples
    --------
    >>> import numpy as np, drrproj
    >>> from drrproj.dataset.poses import Poses, Variation
    >>> ct = drrproj.Volume(np.zeros((100, 80, 60), np.int16), np.diag([3, 3, 3, 1]))
    >>> Poses(shape=(64, 64), variation=Variation(angle=5, poses=2)).geometry("case1", ct).names
    ('frontal-1', 'frontal-2', 'lateral-1', 'lateral-2')
    """

    views: Sequence[View] = PAXRAY_VIEWS
    beam: Beam = "cone"
    sdd: float | None = None
    shape: tuple[int, int] = (512, 512)
    pixel_spacing: float | None = None
    variation: Variation = field(default_factory=Variation)

    def __post_init__(self) -> None:
        object.__setattr__(self, "views", tuple(self.views))
        # Here, because each case would fail otherwise, one by one.
        others = [view for view in self.views if not isinstance(view, View)]
        if others:
            raise ValueError(f"a view is a View, as in View('frontal', 'PA'); got {others[0]!r}")
        names = [view.name.casefold() for view in self.views]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"a dataset needs views with different names; got {', '.join(names) or 'none'}")
        if self.beam not in get_args(Beam):
            raise ValueError(f"the beam is {' or '.join(get_args(Beam))}; got {self.beam!r}")
        if np.shape(self.shape) != (2,) or not all(
            isinstance(count, int | np.integer) and not isinstance(count, bool) and count > 0 for count in self.shape
        ):
            raise ValueError(
                f"the shape of the detector is rows and columns, both positive whole numbers; got {self.shape!r}"
            )
        object.__setattr__(self, "shape", tuple(int(count) for count in self.shape))
        distance = distance_of_source(self.sdd, self.beam)
        if self.pixel_spacing is not None:
            positive_distance(self.pixel_spacing, "pixel_spacing")
        if self.beam == "parallel" and self.variation.distance:
            raise ValueError("a parallel beam has no distance to vary; leave it out or use a cone")
        if self.beam == "cone" and self._nearest_mm <= DETECTOR_GAP_MM:
            raise ValueError(
                f"a distance of {distance:g} mm varied by {self.variation.distance:g} mm brings the source through the "
                f"patient, who stands {DETECTOR_GAP_MM:g} mm before the detector; vary it less"
            )

    @property
    def _nearest_mm(self) -> float:
        """The smallest distance from source to detector that can be drawn."""
        return distance_of_source(self.sdd, self.beam) - self.variation.distance

    def as_record(self) -> dict[str, Any]:
        """Plain values that say which poses a case gets."""
        return {
            "views": [asdict(view) for view in self.views],
            "beam": self.beam,
            "sdd": distance_of_source(self.sdd, self.beam) if self.beam == "cone" else None,
            "shape": list(self.shape),
            "pixel_spacing": self.pixel_spacing,
            "variation": asdict(self.variation),
        }

    @property
    def names(self) -> tuple[str, ...]:
        """Of the poses of each case, in the order of :meth:`geometry`."""
        numbers = range(1, self.variation.poses + 1)
        return tuple(self._name(view, number) for view in self.views for number in numbers)

    def _name(self, view: View, number: int) -> str:
        return view.name if self.variation.poses == 1 else f"{view.name}-{number}"

    def geometry(self, case_id: str, ct: Volume) -> Geometry:
        """Views of one case.

        Raises
        ------
        ValueError
            If the CT is too deep for the smallest distance of the source that could be drawn.
        """
        for view in self.views if self.variation.distance else ():
            # Whether a case can be made must not hang on its draw. The pixels are not given, and so fit.
            try:
                Geometry.radiograph(view.radiograph, ct, sdd=self._nearest_mm, beam=self.beam, shape=self.shape)
            except ValueError as error:
                raise ValueError(f"with the distance varied by {self.variation.distance:g} mm, {error}") from error
        return Geometry.concatenate(
            [
                self._pose(case_id, ct, view, number)
                for view in self.views
                for number in range(1, self.variation.poses + 1)
            ]
        )

    def _pose(self, case_id: str, ct: Volume, view: View, number: int) -> Geometry:
        varied = self.variation
        draw = hashlib.sha256(f"{varied.seed}/pose/{case_id}/{view.name}/{number}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(draw[:16], "big"))
        turns, distance, shifts = (
            limit * rng.uniform(-1.0, 1.0, count)
            for limit, count in ((varied.angle, 3), (varied.distance, 1), (varied.shift, 2))
        )
        plain = Geometry.radiograph(
            view.radiograph,
            ct,
            sdd=distance_of_source(self.sdd, self.beam) + float(distance[0]) if self.beam == "cone" else None,
            beam=self.beam,
            shape=self.shape,
            pixel_spacing=self.pixel_spacing,
        )
        image_right = plain.views[0, :3, 3] / np.linalg.norm(plain.views[0, :3, 3])
        image_up = -plain.views[0, :3, 2] / np.linalg.norm(plain.views[0, :3, 2])
        away = np.cross(image_right, image_up)
        # The detector goes towards the head when its horizontal axis turns this way, seen from either side.
        towards_detector = plain.normals[0]
        tilt = np.cross(towards_detector, image_up)
        moved = (
            _turned(image_up, view.primary + float(turns[0]), ct.center)
            @ _turned(tilt, view.secondary + float(turns[1]), ct.center)
            @ _turned(away, float(turns[2]), ct.center)
            @ _shifted(float(shifts[0]) * image_up + float(shifts[1]) * image_right)
        )
        return Geometry(moved @ plain.views, plain.shape, (self._name(view, number),))


def parse_view(text: str) -> View:
    """Read a view from ``NAME``, ``NAME=RADIOGRAPH`` or ``NAME=RADIOGRAPH:PRIMARY,SECONDARY``.

    Parameters
    ----------
    text : str
        ``frontal`` (a PA), ``lateral`` (an LL), ``PA``, ``AP``, ``LL`` or ``RL``; or a name of your own with what it
        stands for.

    Returns
    -------
    View

    Raises
    ------
    ValueError
        If it is none of these.

    Examples
    --------
    >>> from drrproj.dataset.poses import parse_view
    >>> parse_view("oblique=PA:30,0")
    View(name='oblique', radiograph='PA', primary=30.0, secondary=0.0)
    """
    known = {view.name: view for view in PAXRAY_VIEWS} | {name: View(name, name) for name in RADIOGRAPH_VIEWS}
    name, equals, rest = text.partition("=")
    if not equals:
        if name not in known:
            raise ValueError(
                f"unknown view {name!r}; there are {', '.join(known)}, or NAME=PA:30,0 with angles of your own"
            )
        return known[name]
    radiograph, _, angles = rest.partition(":")
    try:
        primary, secondary = (float(angle) for angle in angles.split(",")) if angles else (0.0, 0.0)
    except ValueError:
        raise ValueError(f"the angles of a view are two numbers, as in NAME=PA:30,0; got {text!r}") from None
    return View(name, radiograph, primary, secondary)


def _turned(axis: Float64Array, degrees: float, about: Float64Array) -> Float64Array:
    """Matrix (4, 4) that turns world points about an axis through a point, right-handed."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    matrix = np.eye(4)
    matrix[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    matrix[:3, 3] = about - matrix[:3, :3] @ about
    return matrix


def _shifted(by: Float64Array) -> Float64Array:
    matrix = np.eye(4)
    matrix[:3, 3] = by
    return matrix
