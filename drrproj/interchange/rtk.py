"""RTK: nine numbers per projection in an XML file, and the detector as the grid of the projections' image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from drrproj.affines import checked_affine
from drrproj.geometry import Geometry, names_of_views
from drrproj.given_numbers import real_numbers
from drrproj.grid import RAS_FROM
from drrproj.interchange.euler import rotation_from_angles, zxy_from_rotation
from drrproj.interchange.panel import Panel, one_of_all, pair, panels
from drrproj.replace import replaced
from drrproj.short_text import shown

__all__ = ["geometry_from_rtk", "rtk_from_geometry"]

Float64Array = npt.NDArray[np.float64]

_ROOT, _VERSIONS = "RTKThreeDCircularGeometry", ("2", "3")
_PARAMETERS = (
    "SourceToIsocenterDistance",
    "SourceToDetectorDistance",
    "GantryAngle",
    "OutOfPlaneAngle",
    "InPlaneAngle",
    "SourceOffsetX",
    "SourceOffsetY",
    "ProjectionOffsetX",
    "ProjectionOffsetY",
)
_PARALLEL_SOURCE_MM = 1000.0
"""Where RTK starts and ends parallel rays, before and behind the isocenter: the distance that RTK itself takes."""


def _isometry(world_from_rtk: npt.ArrayLike | None) -> Float64Array:
    if world_from_rtk is None:
        return RAS_FROM["LPS"]
    matrix = checked_affine(world_from_rtk, "world_from_rtk")
    if not np.allclose(matrix[:3, :3].T @ matrix[:3, :3], np.eye(3), atol=1e-6):
        raise ValueError(
            "world_from_rtk must not scale or shear: both frames are in mm, and RTK's angles are right ones"
        )
    return matrix


def _x_and_y(values: Sequence[float], what: str) -> list[float]:
    wanted = f"{what} must be finite numbers, x and y at least"
    array = real_numbers(values, wanted)
    if array.ndim != 1 or len(array) < 2 or not np.isfinite(array[:2]).all():
        raise ValueError(f"{wanted}; got {shown(values)}")
    x_and_y: list[float] = array[:2].tolist()
    return x_and_y


def _number(element: ElementTree.Element, path: str | os.PathLike[str]) -> float:
    try:
        return float(element.text or "")
    except ValueError:
        raise ValueError(f"{os.fspath(path)}: {element.tag} must be a number; got {element.text!r}") from None


def _parameters(path: str | os.PathLike[str]) -> list[dict[str, float]]:
    """Read the parameters of every projection; as RTK does, one that is not given stays what it was."""
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise ValueError(f"{os.fspath(path)} is no XML file: {error}") from None
    if root.tag != _ROOT or root.get("version") not in _VERSIONS:
        raise ValueError(
            f"{os.fspath(path)} must be an {_ROOT} of version {' or '.join(_VERSIONS)}; got {root.tag} of version "
            f"{root.get('version')}. Let RTK write it anew"
        )
    now = dict.fromkeys(_PARAMETERS, 0.0)
    projections = []

    def take(element: ElementTree.Element) -> None:
        name = "GantryAngle" if element.tag == "Angle" else element.tag
        if name in now:
            now[name] = _number(element, path)
        elif name == "RadiusCylindricalDetector" and _number(element, path) != 0:
            raise ValueError(
                f"{os.fspath(path)} has a cylindrical detector of radius {(element.text or '').strip()} mm; detectors "
                "are flat here"
            )

    for child in root:
        if child.tag == "Projection":
            for element in child:
                take(element)
            projections.append(dict(now))
        else:
            take(child)
    if not projections:
        raise ValueError(f"{os.fspath(path)} holds no projection")
    return projections


def geometry_from_rtk(
    path: str | os.PathLike[str],
    *,
    origin: Sequence[float],
    spacing: Sequence[float],
    size: Sequence[int],
    world_from_rtk: npt.ArrayLike | None = None,
    names: Sequence[str] = (),
) -> Geometry:
    """Views of an RTK geometry file (``ThreeDCircularProjectionGeometry``) and the grid of its projections.

    ``origin``, ``spacing`` and ``size`` are those of the projection image, in ITK's order: x is the columns, y the
    rows. ``line_integral`` is what ``itk.array_from_image`` gives of RTK's projections of the same attenuation, index
    for index, but for RTK's Joseph, which interpolates between voxels.

    **Half pixels.** As in ITK and here, ``origin`` is the *centre* of the first pixel. **Axes.** RTK's own frame has
    its origin at the isocenter and turns the gantry about y. Volumes lie in it by their ITK origin and direction, so
    a CT that RTK read as it is stands in LPS, which is the default here. If the CT's header was rewritten for RTK,
    say how: a supine patient, head to the gantry, in IEC 61217 axes (x left, y head, z anterior) around the point
    ``center`` has ``world_from_rtk = [[-1, 0, 0, cx], [0, 0, 1, cy], [0, 1, 0, cz], [0, 0, 0, 1]]``. **Signs.**
    Angles are degrees; RTK's ``SourceToIsocenterDistance``, often called sid, is our ``sod``. Columns go along the
    turned x, rows along the turned y: with positive distances the picture is seen from behind the panel, mirrored, and
    rows run upwards where y does. Negative distances are a picture seen from the source.

    Jaws (``Collimation...``) do not move rays and are not read; the matrices are not read either, for they only repeat
    the parameters.

    Parameters
    ----------
    path : path-like
        The XML file.
    origin, spacing : sequence of float, mm
        Of the projections: x and y; further numbers, such as those of the stack of projections, do not matter.
    size : sequence of int
        Columns and rows, and perhaps the number of projections.
    world_from_rtk : array_like, shape (4, 4), optional
        From RTK's frame to RAS+ mm, without scaling; from LPS by default.
    names : sequence of str, optional
        One per projection.

    Returns
    -------
    Geometry

    Raises
    ------
    ValueError
        If the file is not RTK's, has a cylindrical detector or holds no projection, or numbers do not fit.
    OSError
        If the file cannot be read.

    Accuracy
    --------
    Image against image, RTK 2.7: its closed form of rays through boxes, for random parameters, cone and parallel:
    relative L2 error 1e-7; half a pixel off it is above 6e-2. Its Joseph on a smooth phantom: 4e-4, which is its
    interpolation (``tests/test_interchange_peers.py``).

    Source
    ------
    https://docs.openrtk.org/en/latest/documentation/docs/Geometry.html

    Examples
    --------
    >>> import pathlib
    >>> from drrproj.interchange import geometry_from_rtk
    >>> _ = pathlib.Path("geometry.xml").write_text('''<?xml version="1.0"?>
    ... <RTKThreeDCircularGeometry version="3">
    ...   <SourceToIsocenterDistance>1000</SourceToIsocenterDistance>
    ...   <SourceToDetectorDistance>1500</SourceToDetectorDistance>
    ...   <Projection><GantryAngle>0</GantryAngle></Projection>
    ...   <Projection><GantryAngle>90</GantryAngle></Projection>
    ... </RTKThreeDCircularGeometry>''')
    >>> views = geometry_from_rtk("geometry.xml", origin=(-127.5, -127.5), spacing=(1, 1), size=(256, 256))
    >>> views.sources.round(6).tolist()
    [[0.0, 0.0, 1000.0], [-1000.0, 0.0, 0.0]]
    """
    first_x, first_y = _x_and_y(origin, "origin")
    column_spacing, row_spacing = pair(_x_and_y(spacing, "spacing"), "spacing")
    columns, rows = map(int, pair(_x_and_y(size, "size"), "size", whole=True))
    to_world = _isometry(world_from_rtk)
    views = []
    for now in _parameters(path):
        sid, sdd = now["SourceToIsocenterDistance"], now["SourceToDetectorDistance"]
        angles = np.radians([-now["InPlaneAngle"], -now["OutOfPlaneAngle"], -now["GantryAngle"]])
        rtk_from_turned = rotation_from_angles("ZXY", angles).T
        first = (first_x + now["ProjectionOffsetX"], first_y + now["ProjectionOffsetY"], sid - sdd)
        view = np.zeros((4, 4))
        view[:3, 1] = rtk_from_turned @ first
        view[:3, 2], view[:3, 3] = row_spacing * rtk_from_turned[:, 1], column_spacing * rtk_from_turned[:, 0]
        view[3, 1] = 1.0
        if sdd:
            view[:3, 0] = rtk_from_turned @ (now["SourceOffsetX"], now["SourceOffsetY"], sid)
            view[3, 0] = 1.0
        else:
            view[:3, 0] = rtk_from_turned[:, 2]
        views.append(to_world @ view)
    return Geometry(np.array(views), (rows, columns), names_of_views(names))


def rtk_from_geometry(
    geometry: Geometry, path: str | os.PathLike[str], *, world_from_rtk: npt.ArrayLike | None = None
) -> dict[str, Any]:
    """Write views as an RTK geometry file, and say what grid the projections have.

    Half pixels, axes and signs are told at :func:`geometry_from_rtk`. A picture seen from the source, such as our AP,
    gets negative distances, as RTK's own ``AddProjection(source, detector, row, column)`` gives it; forward projectors
    understand that, filters for reconstruction may not.

    Parameters
    ----------
    geometry : Geometry
        Cone beams, or parallel beams perpendicular to the detector; one pixel spacing for all views.
    path : path-like
        Where to write the XML file. Replaced whole, or left as it was.
    world_from_rtk : array_like, shape (4, 4), optional
        From RTK's frame to RAS+ mm, without scaling; from LPS by default.

    Returns
    -------
    dict
        ``origin``, ``spacing`` and ``size`` of the projections, three numbers each, as
        ``itk.RTK.constant_image_source`` takes them.

    Raises
    ------
    ValueError
        If rows and columns are not perpendicular, a parallel beam is oblique, pixel spacings differ, or cone and
        parallel beams are mixed, which RTK refuses.
    OSError
        If the file cannot be written.

    Accuracy
    --------
    Image against image, as :func:`geometry_from_rtk`, the file read by RTK, which checks its matrices. There and back
    within 1e-9 of a random view's size.

    Examples
    --------
    >>> import drrproj
    >>> from drrproj.interchange import geometry_from_rtk, rtk_from_geometry
    >>> view = drrproj.Geometry.cone((0, 0, 900), (7, 0, -100), (0, 1, 0), (1, 0, 0), (64, 64))
    >>> grid = rtk_from_geometry(view, "geometry.xml")
    >>> grid
    {'origin': [-31.5, -31.5, 0.0], 'spacing': [1.0, 1.0, 1.0], 'size': [64, 64, 1]}
    >>> bool(abs(geometry_from_rtk("geometry.xml", **grid).views - view.views).max() < 1e-9)
    True
    """
    if len(set(geometry.is_parallel.tolist())) > 1:
        raise ValueError("RTK keeps cone and parallel beams in files of their own; these views are mixed")
    from_world = np.linalg.inv(_isometry(world_from_rtk))
    found = panels(geometry.moved(from_world), "RTK", parallel=True)
    row_spacing, column_spacing = one_of_all([panel.spacing for panel in found], "pixel spacing", "RTK")
    rows, columns = geometry.shape
    root = ElementTree.Element(_ROOT, version="3")
    for panel in found:
        projection = ElementTree.SubElement(root, "Projection")
        parameters, matrix = _projection(panel)
        for name, value in zip(_PARAMETERS, parameters, strict=True):
            # The shortest digits that read back as the same float64.
            ElementTree.SubElement(projection, name).text = repr(float(value))
        rows_of_matrix = "\n".join(" ".join(repr(float(value)) for value in row) for row in matrix)
        ElementTree.SubElement(projection, "Matrix").text = f"\n{rows_of_matrix}\n"
    ElementTree.indent(root)
    document = ElementTree.tostring(root, encoding="unicode")
    with replaced(path) as file:
        file.write(f'<?xml version="1.0"?>\n<!DOCTYPE RTKGEOMETRY>\n{document}\n'.encode())
    return {
        "origin": [-(columns - 1) / 2 * column_spacing, -(rows - 1) / 2 * row_spacing, 0.0],
        "spacing": [column_spacing, row_spacing, 1.0],
        "size": [columns, rows, len(geometry)],
    }


def _projection(panel: Panel) -> tuple[list[float], Float64Array]:
    """RTK's nine numbers of a view, and the matrix that RTK makes of them, to be found the same."""
    normal = np.cross(panel.right, panel.down)
    turned_from_rtk = np.stack([panel.right, panel.down, normal])
    in_plane, out_of_plane, gantry = (-np.degrees(angle) for angle in zxy_from_rotation(turned_from_rtk))
    down, right = panel.offset
    x, y, z = turned_from_rtk @ panel.source
    offset_x, offset_y = float(x + right), float(y + down)
    if np.isinf(panel.sdd):
        matrix = np.array([[1.0, 0.0, 0.0, -offset_x], [0.0, 1.0, 0.0, -offset_y], [0.0, 0.0, 0.0, 1.0]])
        parameters = [_PARALLEL_SOURCE_MM, 0.0, gantry, out_of_plane, in_plane, 0.0, 0.0, offset_x, offset_y]
    else:
        sdd = panel.sdd if panel.is_mirrored else -panel.sdd
        shift = np.array([[1.0, 0.0, x - offset_x], [0.0, 1.0, y - offset_y], [0.0, 0.0, 1.0]])
        matrix = shift @ [[-sdd, 0.0, 0.0, sdd * x], [0.0, -sdd, 0.0, sdd * y], [0.0, 0.0, 1.0, -z]]
        parameters = [float(z), sdd, gantry, out_of_plane, in_plane, float(x), float(y), offset_x, offset_y]
    matrix[:, :3] = matrix[:, :3] @ turned_from_rtk
    return parameters, matrix
