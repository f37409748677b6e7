"""Landmarks: points with names in the patient, and where they lie in the images."""

from __future__ import annotations

import csv
import json
import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.geometry import Geometry
from drrproj.grid import RAS_FROM, Space
from drrproj.io.csv_rows import csv_rows
from drrproj.io.endings import require_ending
from drrproj.io.file_names import names_in_tables
from drrproj.io.kinds import checked_path
from drrproj.replace import replaced
from drrproj.short_text import shown

__all__ = ["Landmarks", "read_landmarks", "write_projected_landmarks"]

# Columns of a table, in lower case: what the coordinates are called tells their frame, but for x, y, z.
_AXES: tuple[tuple[tuple[str, str, str], Space | None], ...] = (
    (("x", "y", "z"), None),
    (("r", "a", "s"), "RAS"),
    (("l", "p", "s"), "LPS"),
)
_NAME_COLUMNS = ("name", "label")
# What no file holds; ends of lines a table has in quotes.
_NO_TEXT = re.compile(r"[\x00\ud800-\udfff]")


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Points with names.

    Attributes
    ----------
    names : tuple of str
        In the file's order; they may repeat.
    points : ndarray, shape (points, 3), world mm (RAS+)
        For :meth:`Geometry.project_points`.

    Raises
    ------
    TypeError
        If the names are one text, or no texts.
    ValueError
        If points have another shape, or are not as many as the names; if a name holds NUL or half a character of
        UTF-16, which no table can.
    """

    names: tuple[str, ...]
    points: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        given: Any = self.names
        # A text would pass as a sequence of its letters.
        if isinstance(given, str):
            raise TypeError(f"names of landmarks must be a tuple of texts; got {given!r}")
        for name in given:
            if not isinstance(name, str):
                raise TypeError(f"names of landmarks must be a tuple of texts; got {shown(name)} in it")
            if (odd := _NO_TEXT.search(name)) is not None:
                raise ValueError(f"a landmark is named {name!r}, and {odd[0]!r} in it is no text; rename it")
        if np.shape(self.points) != (len(self.names), 3):
            raise ValueError(
                f"{len(self.names)} names of landmarks need points of shape ({len(self.names)}, 3); got shape "
                f"{np.shape(self.points)}"
            )

    def __len__(self) -> int:
        return len(self.names)


def read_landmarks(path: str | os.PathLike[str], space: Space | None = None) -> Landmarks:
    r"""Read a list of landmarks: 3D Slicer's markups, or a table.

    Parameters
    ----------
    path : str or path
        ``.json`` (``.mrk.json``): markups of 3D Slicer; the control points of all its lists, lines and curves. The file
        says whether its frame is LPS or RAS.
        ``.csv``: a first row that names the columns ``name`` (or ``label``) and ``x, y, z``, in mm; or ``r, a, s`` or
        ``l, p, s``, as Slicer exports them, which tell the frame. Other columns do not matter.
    space : {"RAS", "LPS"}, optional
        Frame of ``x, y, z`` in a table; by default RAS+, as everywhere here. A file that says its frame takes none.

    Returns
    -------
    Landmarks

    Raises
    ------
    TypeError
        If ``path`` is no path.
    FileNotFoundError
        If there is no such file.
    OSError
        If it cannot be read.
    ValueError
        If it is neither kind of file, holds no point, a point has no position, a coordinate is no finite number or not
        in mm, or ``space`` is given where the file says it.

    Source
    ------
    3D Slicer, markups-schema-v1.0.3 (``coordinateSystem`` is LPS where it is not given), and its table export.

    Examples
    --------
    >>> import pathlib, tempfile, drrproj
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table = pathlib.Path(folder, "points.csv")
    ...     _ = table.write_text("name,l,p,s\ncarina,12.5,-3,-140\n")
    ...     landmarks = drrproj.read_landmarks(table)
    >>> landmarks.names, landmarks.points.tolist()
    (('carina',), [[-12.5, 3.0, -140.0]])
    """
    if space not in (None, "RAS", "LPS"):
        raise ValueError(f'space must be "RAS" or "LPS"; got {space!r}')
    ending = Path(checked_path(path)).suffix.lower()
    if ending not in (".json", ".csv"):
        raise ValueError(f"{path}: landmarks come as .mrk.json of 3D Slicer or as .csv; got {ending or 'no ending'}")
    try:
        # utf-8-sig, because spreadsheets put a byte order mark first; from bytes, for text would change names with
        # line ends in them.
        text = Path(path).read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise FileNotFoundError(f"no such file: {path}") from None
    except IsADirectoryError:
        raise ValueError(f"{path} is a folder; landmarks come as .mrk.json or .csv") from None
    except OSError as error:
        raise type(error)(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not a text file; landmarks come as .mrk.json or .csv") from None
    if not text.strip():
        raise ValueError(f"{path}: the file is empty")
    try:
        named = _from_markups(text, space) if ending == ".json" else _from_table(text, space)
        if not named:
            raise ValueError("there is no point in it")
        return Landmarks(tuple(name for name, _ in named), np.array([point for _, point in named]))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def write_projected_landmarks(
    path: str | os.PathLike[str], landmarks: Landmarks, views: Geometry | Iterable[Geometry]
) -> None:
    """Write where landmarks lie in the images, as a CSV table.

    Columns ``view``, ``name``, ``row``, ``column``, ``on_detector``: one line per view and landmark. Row and column are
    fractional pixels to six decimals, (0, 0) is the centre of the first pixel; they are empty where the point is not
    in front of the source. ``on_detector`` is 1 where the point falls on a pixel, else 0. Where two views share a name,
    all go by their files' (:func:`drrproj.io.file_names.names_in_tables`).

    Parameters
    ----------
    path : str or path
        Ends in ``.csv``. Replaced whole, or left as it was.
    landmarks : Landmarks
        In the patient.
    views : Geometry or iterable of Geometry
        Several where their detectors differ in shape.

    Raises
    ------
    TypeError
        If ``landmarks`` are none, or ``views`` hold no geometry.
    ValueError
        If the name has another ending.
    OSError
        If the file cannot be written.

    Accuracy
    --------
    That of :meth:`Geometry.project_points`: a single bright voxel is drawn in the very pixel that is written for its
    centre (``tests/test_geometry_points.py``).

    Examples
    --------
    >>> import pathlib, tempfile, numpy as np, drrproj
    >>> from drrproj.io import Landmarks
    >>> ct = drrproj.Volume(np.zeros((40, 40, 40), np.int16), np.eye(4))
    >>> view = drrproj.Geometry.radiograph("PA", ct, shape=(101, 101))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table = pathlib.Path(folder, "pa.csv")
    ...     drrproj.write_projected_landmarks(table, Landmarks(("middle",), ct.center[None]), view)
    ...     table.read_text().split()
    ['view,name,row,column,on_detector', 'PA,middle,50.000000,50.000000,1']
    """
    require_ending(path, "a CSV file", ".csv")
    given: Any = landmarks
    if not isinstance(given, Landmarks):
        raise TypeError(
            f"landmarks must be drrproj.io.Landmarks, and the views come after them; got {shown(given)}; pass what "
            "read_landmarks() returned"
        )
    given = views
    parts: list[Geometry] = list(given) if isinstance(given, Iterable) else [given]
    for part in parts:
        if not isinstance(part, Geometry):
            raise TypeError(f"views must be a drrproj.Geometry, or several; got {shown(part)}")
    lines = _Lines()
    # Python before 3.13 quotes a carriage return in a name only where lines end with one.
    table = csv.writer(lines, lineterminator="\r\n")
    table.writerow(("view", "name", "row", "column", "on_detector"))
    called = iter(names_in_tables([name for part in parts for name in part.names]))
    for view in parts:
        pixels = view.project_points(landmarks.points)
        # NaN compares false: what is not in front of the source is not on the detector.
        on_detector = np.logical_and(pixels >= -0.5, pixels < np.array(view.shape) - 0.5)
        for number in range(len(view)):
            view_name = next(called)
            for name, place, inside in zip(landmarks.names, pixels[number], on_detector[number], strict=True):
                cells = ("" if math.isnan(x) else f"{x:.6f}" for x in place)
                table.writerow((view_name, name, *cells, int(inside.all())))
    with replaced(path) as file:
        file.write("".join(lines.written).encode())


class _Lines:
    """What a table's writer writes, row by row, with lines that end in a newline alone."""

    def __init__(self) -> None:
        self.written: list[str] = []

    def write(self, row: str) -> None:
        self.written.append(row.removesuffix("\r\n") + "\n")


def _from_markups(text: str, space: Space | None) -> list[tuple[str, list[float]]]:
    try:
        document: Any = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"not valid JSON: {error}") from error
    markups = document.get("markups") if isinstance(document, dict) else None
    if not isinstance(markups, list) or not all(isinstance(markup, dict) for markup in markups):
        raise ValueError('these are no markups of 3D Slicer; such a file has a list "markups"')
    if space is not None:
        raise ValueError("the file says its frame; leave space out")
    named = []
    for markup in markups:
        frame = markup.get("coordinateSystem", "LPS")
        if frame not in ("LPS", "RAS"):
            raise ValueError(f'"coordinateSystem" must be "LPS" or "RAS"; got {frame!r}')
        unit = markup.get("coordinateUnits", "mm")
        if (unit[0] if isinstance(unit, list) and unit else unit) != "mm":
            raise ValueError(f'"coordinateUnits" must be mm; got {unit!r}')
        points = markup.get("controlPoints", [])
        if not isinstance(points, list) or not all(isinstance(point, dict) for point in points):
            raise ValueError('"controlPoints" must be a list of points, each with its "position"')
        for number, point in enumerate(points, start=1):
            name = str(point.get("label") or point.get("id") or number)
            status = point.get("positionStatus", "defined")
            if status != "defined" or not isinstance(point.get("position"), list):
                raise ValueError(f"point {name!r} has no position ({status}); place it in Slicer, or delete it")
            named.append((name, _in_ras(point["position"], frame, f"point {name!r}")))
    return named


def _from_table(text: str, space: Space | None) -> list[tuple[str, list[float]]]:
    rows = csv_rows(text, line_ends_in_cells=True)
    header = [cell.strip().lower() for cell in next(rows, (1, []))[1]]
    name_column = next((header.index(name) for name in _NAME_COLUMNS if name in header), None)
    found = [(axes, frame) for axes, frame in _AXES if set(axes) <= set(header)]
    if name_column is None or len(found) != 1:
        raise ValueError(
            "the first row must name the columns name (or label) and x, y, z; or r, a, s; or l, p, s; got "
            f"{', '.join(header) or 'nothing'}"
        )
    axes, frame = found[0]
    for column in (header[name_column], *axes):
        if header.count(column) > 1:
            raise ValueError(f"the first row names {header.count(column)} columns {column}; keep one of them")
    if frame is not None and space is not None:
        raise ValueError(f"its columns {', '.join(axes)} say the frame; leave space out")
    defined = header.index("defined") if "defined" in header else None
    places = [header.index(axis) for axis in axes]
    named = []
    for number, (line, row) in enumerate(rows, start=1):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) <= max(*places, name_column):
            raise ValueError(f"line {line} has {len(row)} cells, and needs {max(*places, name_column) + 1}")
        name = row[name_column].strip() or str(number)
        if defined is not None and len(row) > defined and row[defined].strip() == "0":
            raise ValueError(f"point {name!r} has no position (defined is 0); place it, or delete its line")
        named.append((name, _in_ras([row[place] for place in places], frame or space or "RAS", f"line {line}")))
    return named


def _in_ras(position: list[Any], frame: str, what: str) -> list[float]:
    try:
        # Python takes 1_5 for 15.
        point = [] if "_" in "".join(map(str, position)) else [float(value) for value in position]
    except (TypeError, ValueError, OverflowError):
        point = []
    if len(point) != 3 or not all(map(math.isfinite, point)):
        raise ValueError(f"{what} needs three finite coordinates in mm; got {position!r}")
    in_ras: list[float] = (RAS_FROM[frame][:3, :3] @ point).tolist()
    return in_ras
