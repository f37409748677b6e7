"""A picture of where everything is: source, detector and patient from three sides, and the image with its marks."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from drrproj.directions import letters
from drrproj.geometry import Geometry
from drrproj.io.endings import require_ending
from drrproj.radiograph import Radiograph
from drrproj.replace import replaced
from drrproj.volume import Volume

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

__all__ = ["is_scene", "write_scene"]

Float64Array = npt.NDArray[np.float64]
Color = tuple[int, int, int]

# From where, then the way to the right and the way up in the picture: what a person standing there sees.
_SIDES: tuple[tuple[str, tuple[int, int, int], tuple[int, int, int]], ...] = (
    ("from the front", (-1, 0, 0), (0, 0, 1)),
    ("from the patient's left", (0, -1, 0), (0, 0, 1)),
    ("from the feet", (-1, 0, 0), (0, 1, 0)),
)
# Two of the eight corners of a box, in their order in Volume.corners, are joined where they differ in one bit.
_EDGES = [(a, b) for a, b in itertools.combinations(range(8), 2) if (a ^ b).bit_count() == 1]

_PANEL, _MARGIN, _LINE = 460, 44, 19  # pixels
_DRAWN_LARGER = 2  # everything is drawn this much larger and averaged, for smooth lines
_OUTLINE_LIMIT = 3.0  # detectors: how far around itself the image's panel reaches to show the box

_PAPER, _INK, _FRAME = (255, 255, 255), (30, 30, 30), (200, 200, 200)
_SOURCE, _BEAM, _DETECTOR, _BOX, _FIRST = (200, 30, 30), (235, 170, 60), (20, 90, 200), (20, 140, 70), (220, 0, 160)

_BRIGHT_PERCENTILE = 99.5
_SCENE_OF = "scene_of"
_SHOWN = {"HU": (-1000.0, 700.0), "1/mm": (0.0, 0.04)}


def write_scene(path: str | os.PathLike[str], view: Geometry | Radiograph, volume: Volume) -> None:
    """Write a PNG picture of source, detector, patient and image: a wrong geometry shows.

    Three panels show the scene as it is seen from the front, from the patient's left and from the feet, in one scale:
    the source and its beam, the detector, and the volume's box with a slice through its middle, sampled at the
    places that the affine gives its voxels. The fourth shows the image as it is displayed, with the patient's
    directions on its edges, the outline of the volume's box and the principal point. A purple corner is that of pixel
    (0, 0), in all panels. Below stands what :meth:`Geometry.describe` says. The PNG's text chunk ``scene_of`` has the
    view's name.

    Parameters
    ----------
    path : str or path
        Ends in ``.png``. Replaced whole, or left as it was.
    view : Geometry or Radiograph
        Of one view. A radiograph with a line integral shows its picture in the fourth panel; a geometry shows that
        panel without it, also where the beam misses the volume.
    volume : Volume
        The patient.

    Raises
    ------
    TypeError
        If ``view`` or ``volume`` is of another type.
    ValueError
        If there are several views, or the name has another ending.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import numpy as np, drrproj, tempfile
    >>> ct = drrproj.Volume(np.zeros((20, 10, 20), np.int16), np.eye(4))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     drrproj.write_scene(f"{folder}/scene.png", drrproj.Geometry.radiograph("PA", ct), ct)
    """
    from PIL import Image
    from PIL.ImageDraw import Draw
    from PIL.PngImagePlugin import PngInfo

    require_ending(path, "a PNG file", ".png")
    if not isinstance(view, Geometry | Radiograph):
        raise TypeError(f"view must be a drrproj.Geometry or Radiograph; got {type(view).__name__}")
    if not isinstance(volume, Volume):
        raise TypeError(f"volume must be a drrproj.Volume; got {type(volume).__name__}")
    geometry, image = (view, None) if isinstance(view, Geometry) else (view.geometry, view.line_integral)
    if len(geometry) != 1:
        raise ValueError(f"one picture shows one view; this is of {len(geometry)} ({', '.join(geometry.names)})")
    picture = None
    if image is not None:
        high = float(np.percentile(image[0], _BRIGHT_PERCENTILE))
        picture = image[0] / (high if high > 0 else 1.0)

    said = geometry.describe(volume).splitlines()
    size = 2 * (_PANEL + 2 * _MARGIN)
    canvas = Image.new("RGB", (size * _DRAWN_LARGER, (size + _LINE * (len(said) + 2)) * _DRAWN_LARGER), _PAPER)
    panels = _Sheet(canvas, Draw(canvas))
    scene = _Scene(geometry, volume)
    for place, (title, right, up) in enumerate(_SIDES):
        scene.draw_side(panels.panel(place, title), np.array(right, float), np.array(up, float))
    scene.draw_image(panels.panel(3, "the image, as it is displayed"), picture)
    for number, line in enumerate(said):
        panels.write((_MARGIN, size + _LINE * (number + 0.5)), line, _INK, "la")
    smooth = canvas.reduce(_DRAWN_LARGER)
    text = PngInfo()
    text.add_text(_SCENE_OF, geometry.names[0])
    with replaced(path) as file:
        smooth.save(file, format="PNG", compress_level=1, pnginfo=text)


def is_scene(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file is a picture by :func:`write_scene`."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return _SCENE_OF in picture.info
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # no picture, or none that can be read
        return False


class _Sheet:
    """The paper, in pixels of the finished picture."""

    def __init__(self, canvas: Any, draw: ImageDraw) -> None:
        from PIL import ImageFont

        self.canvas, self._draw = canvas, draw
        self._font = ImageFont.load_default(13 * _DRAWN_LARGER)
        self._marks = ImageFont.load_default(20 * _DRAWN_LARGER)

    def panel(self, place: int, title: str) -> _Panel:
        step = _PANEL + 2 * _MARGIN
        corner = np.array([place % 2 * step + _MARGIN, place // 2 * step + _MARGIN], float)
        self.write((corner[0], corner[1] - _MARGIN + 4), title, _INK, "la")
        return _Panel(self, corner)

    def line(self, points: Float64Array, color: Color, width: float) -> None:
        if len(points) == 2:
            # The pixels of a line depend on where it begins, and its ends on how the volume is stored.
            points = points[np.lexsort(points.round(3).T)]
        self._draw.line([tuple(p) for p in points * _DRAWN_LARGER], color, round(width * _DRAWN_LARGER), joint="curve")

    def disc(self, center: Float64Array, radius: float, color: Color) -> None:
        low, high = (center - radius) * _DRAWN_LARGER, (center + radius) * _DRAWN_LARGER
        self._draw.ellipse((*low, *high), fill=color)

    def write(self, at: tuple[float, float], text: str, color: Color, anchor: str, mark: bool = False) -> None:
        place = (at[0] * _DRAWN_LARGER, at[1] * _DRAWN_LARGER)
        self._draw.text(place, text, color, self._marks if mark else self._font, anchor=anchor)


class _Panel:
    """A square of the sheet, into which a plane in millimetres is fitted: x to the right, y down."""

    def __init__(self, sheet: _Sheet, corner: Float64Array) -> None:
        self.sheet, self._corner = sheet, corner
        self._middle, self._scale = np.zeros(2), 1.0
        ends = np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]) * _PANEL
        sheet.line(corner + ends, _FRAME, 1)

    def fit(self, points: Float64Array, mm: float | None = None, share: float = 0.92) -> None:
        low, high = points.min(axis=0), points.max(axis=0)
        self._middle = (low + high) / 2
        self._scale = share * _PANEL / (float((high - low).max()) if mm is None else mm)

    def __call__(self, points: Float64Array) -> Float64Array:
        placed: Float64Array = self._corner + _PANEL / 2 + (points - self._middle) * self._scale
        return placed

    def holds(self, place: Float64Array) -> bool:
        """Tell whether a place of the sheet is inside the panel; a principal point may be far off the detector."""
        return bool((np.abs(place - self._corner - _PANEL / 2) < _PANEL / 2).all())

    def marks(self, left: str, right: str, top: str, bottom: str, box: Float64Array | None = None) -> None:
        """Write the patient's directions beside the four edges of a box of the plane, or of the panel."""
        ends = self._corner + np.array([(0, 0), (_PANEL, _PANEL)], float) if box is None else self(box)
        (x0, y0), (x1, y1) = ends
        for at, text, anchor in (
            ((x0 - 6, (y0 + y1) / 2), left, "rm"),
            ((x1 + 6, (y0 + y1) / 2), right, "lm"),
            (((x0 + x1) / 2, y0 - 6), top, "mb"),
            (((x0 + x1) / 2, y1 + 6), bottom, "mt"),
        ):
            self.sheet.write(at, text, _INK, anchor, mark=True)

    def paste(self, picture: npt.NDArray[np.floating[Any]], box: Float64Array) -> None:
        """Draw a picture of numbers from 0 to 1 over a box of the plane."""
        from PIL import Image

        (x0, y0), (x1, y1) = np.rint(self(box) * _DRAWN_LARGER).astype(int)
        grey = Image.fromarray(np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8))
        self.sheet.canvas.paste(grey.resize((max(1, x1 - x0), max(1, y1 - y0))).convert("RGB"), (int(x0), int(y0)))


class _Scene:
    """What is drawn, in world millimetres."""

    def __init__(self, geometry: Geometry, volume: Volume) -> None:
        self._geometry, self._volume = geometry, volume
        rows, columns = geometry.shape
        ends = np.array([(0, 0), (0, columns), (rows, columns), (rows, 0)], float) - 0.5
        ends = np.column_stack([np.zeros(4), np.ones(4), ends])
        self._detector = (ends @ geometry.views[0].T)[:, :3]
        self._parallel = bool(geometry.is_parallel[0])
        if self._parallel:
            # A beam from infinity is shown from beyond the volume on, and the length of its direction says nothing.
            towards_source = geometry.sources[0] / np.linalg.norm(geometry.sources[0])
            reach = (volume.corners - self._detector[0]) @ towards_source
            self._starts = self._detector + 1.15 * max(float(reach.max()), 100.0) * towards_source
        else:
            self._starts = np.broadcast_to(geometry.sources[0], (4, 3))

    def draw_side(self, panel: _Panel, right: Float64Array, up: Float64Array) -> None:
        seen = np.stack([right, -up], axis=1)
        everything = np.concatenate([self._volume.corners, self._detector, self._starts])
        extents = [np.ptp(everything @ np.stack([r, u], axis=1), axis=0).max() for _, r, u in _SIDES]
        panel.fit(everything @ seen, float(np.max(extents)))
        self._draw_slice(panel, seen)
        for start, end in zip(self._starts, self._detector, strict=True):
            panel.sheet.line(panel(np.stack([start, end]) @ seen), _BEAM, 1.2)
        central = np.stack([self._starts.mean(axis=0), self._detector.mean(axis=0)])
        for part in np.linspace(0, 1, 40)[:-1:2]:
            dash = central[0] + np.array([[part], [part + 0.025]]) * (central[1] - central[0])
            panel.sheet.line(panel(dash @ seen), _BEAM, 1)
        for a, b in _EDGES:
            panel.sheet.line(panel(self._volume.corners[[a, b]] @ seen), _BOX, 1.2)
        panel.sheet.line(panel(self._detector[[0, 1, 2, 3, 0]] @ seen), _DETECTOR, 2.5)
        panel.sheet.disc(panel(self._detector[0] @ seen), 5, _FIRST)
        if not self._parallel:
            panel.sheet.disc(panel(self._starts[0] @ seen), 6, _SOURCE)
        panel.marks(letters(-right), letters(right), letters(up), letters(-up))

    def _draw_slice(self, panel: _Panel, seen: Float64Array) -> None:
        corners = self._volume.corners @ seen
        box = np.stack([corners.min(axis=0), corners.max(axis=0)])
        x, y = (np.linspace(box[0, axis], box[1, axis], 256) for axis in range(2))
        plane = self._volume.center - (self._volume.center @ seen) @ seen.T
        world = plane + x[None, :, None] * seen[:, 0] + y[:, None, None] * seen[:, 1]
        voxels = world @ self._volume.voxel_from_world[:3, :3].T + self._volume.voxel_from_world[:3, 3]
        nearest = np.rint(voxels).astype(np.int64)
        inside = np.logical_and(nearest >= 0, nearest < self._volume.shape).all(axis=-1)
        low, high = _SHOWN[self._volume.unit]
        values = np.full(inside.shape, high)
        values[inside] = np.nan_to_num(self._volume.array[tuple(nearest[inside].T)].astype(np.float64), nan=low)
        # Inverted, so that air is as white as the paper; outside of the grid is paper, too.
        shown = 1 - 0.75 * np.clip((values - low) / (high - low), 0, 1)
        shown[~inside] = 1.0
        panel.paste(shown, box)

    def draw_image(self, panel: _Panel, picture: npt.NDArray[np.float32] | None) -> None:
        geometry = self._geometry
        row_mm, column_mm = geometry.pixel_spacing[0]
        mm = np.array([column_mm, row_mm])  # of a plane with x to the right and y down
        rows, columns = geometry.shape
        box = np.array([(-0.5, -0.5), (columns - 0.5, rows - 0.5)]) * mm
        corners = geometry.project_points(self._volume.corners)[0][:, ::-1] * mm
        middle, reach = box.mean(axis=0), np.ptp(box, axis=0).max() * _OUTLINE_LIMIT / 2
        shown = corners[(np.abs(corners - middle) <= reach).all(axis=1)]
        panel.fit(np.concatenate([box, shown]), share=0.8)
        if picture is not None:
            panel.paste(picture, box)
        if not np.isnan(corners).any() and len(shown) == 8:
            for a, b in _EDGES:
                panel.sheet.line(panel(corners[[a, b]]), _BOX, 1.2)
        ends = box[[0, 1, 1, 0, 0], 0], box[[0, 0, 1, 1, 0], 1]
        panel.sheet.line(panel(np.stack(ends, axis=1)), _DETECTOR, 2.5)
        panel.sheet.disc(panel(box[0]), 5, _FIRST)
        if not self._parallel:
            foot = geometry.sources + geometry.sdd[:, None] * geometry.normals
            cross = panel(geometry.project_points(foot)[0, 0, ::-1] * mm)
            if panel.holds(cross):
                for arm in (np.array([7.0, 0]), np.array([0, 7.0])):
                    panel.sheet.line(np.stack([cross - arm, cross + arm]), _SOURCE, 1.5)
        down, right = geometry.views[0, :3, 2], geometry.views[0, :3, 3]
        panel.marks(letters(-right), letters(right), letters(-down), letters(down), box)
