"""ASTRA: source, detector and pixel vectors in the axes of its volume geometry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.geometry import Geometry
from drrproj.volume import Volume

__all__ = ["astra_from_geometry", "geometry_from_astra"]

Float64Array = npt.NDArray[np.float64]


def _world_from_astra(vol_geom: Mapping[str, Any], volume: Volume) -> Float64Array:
    """Affine from ASTRA's coordinates to world mm, by way of the voxels that both have."""
    try:
        size = tuple(int(vol_geom[f"Grid{axis}Count"]) for axis in ("Col", "Row", "Slice"))
        window = vol_geom["option"]
        low, high = (
            np.array([float(window[f"Window{end}{axis}"]) for axis in "XYZ"], dtype=np.float64)
            for end in ("Min", "Max")
        )
    except KeyError as missing:
        raise ValueError(
            f"vol_geom has no {missing.args[0]}; pass a 3-D volume geometry, as astra.create_vol_geom(rows, columns, "
            "slices, ...) makes it"
        ) from None
    if size != volume.shape:
        raise ValueError(
            f"vol_geom has {size[0]} columns, {size[1]} rows and {size[2]} slices, the volume {volume.shape} voxels "
            "along its axes; ASTRA's data must be volume.array transposed, (slices, rows, columns)"
        )
    voxel = (high - low) / size
    index_from_astra = np.diag([*(1 / voxel), 1.0])
    index_from_astra[:3, 3] = -low / voxel - 0.5
    matrix = volume.affine @ index_from_astra
    squares = matrix[:3, :3].T @ matrix[:3, :3]
    if not np.allclose(squares, np.eye(3) * np.trace(squares) / 3, atol=1e-6 * np.trace(squares)):
        raise ValueError(
            f"vol_geom has voxels of {voxel.tolist()}, the volume's are {volume.voxel_size.tolist()} mm"
            ": ASTRA would see another patient. Windows have to keep the proportions, and axes have to be perpendicular"
        )
    return matrix


def _given(proj_geom: Mapping[str, Any], name: str) -> Any:
    if name not in proj_geom:
        raise ValueError(
            f"proj_geom has no {name}, which type {proj_geom.get('type')!r} needs; pass it as astra.create_proj_geom "
            "makes it"
        )
    return proj_geom[name]


def _vectors(proj_geom: Mapping[str, Any]) -> tuple[Float64Array, bool]:
    """Bring ASTRA's four kinds of flat 3-D geometry into vectors, shape (views, 12), and say which are parallel."""
    kind = proj_geom.get("type")
    if kind in ("cone_vec", "parallel3d_vec"):
        vectors = np.asarray(_given(proj_geom, "Vectors"), dtype=np.float64)
        if vectors.ndim != 2 or vectors.shape[1] != 12:
            raise ValueError(f"Vectors must have 12 numbers per view, shape (views, 12); got shape {vectors.shape}")
        return vectors, kind == "parallel3d_vec"
    if kind not in ("cone", "parallel3d"):
        raise ValueError(
            f"proj_geom is of type {kind!r}; the flat 3-D ones are cone, cone_vec, parallel3d and parallel3d_vec"
        )
    angles = np.atleast_1d(np.asarray(_given(proj_geom, "ProjectionAngles"), dtype=np.float64))
    if angles.ndim != 1:
        raise ValueError(f"ProjectionAngles must be one angle per view; got shape {angles.shape}")
    towards_source = np.stack([np.sin(angles), -np.cos(angles), np.zeros_like(angles)], axis=1)
    source, detector = 1.0, 0.0
    if kind == "cone":
        source, detector = _given(proj_geom, "DistanceOriginSource"), _given(proj_geom, "DistanceOriginDetector")
    columns = np.stack([np.cos(angles), np.sin(angles), np.zeros_like(angles)], axis=1)
    row_spacing, column_spacing = _given(proj_geom, "DetectorSpacingY"), _given(proj_geom, "DetectorSpacingX")
    rows = np.broadcast_to([0.0, 0.0, row_spacing], columns.shape)
    parts = [source * towards_source, -detector * towards_source, column_spacing * columns, rows]
    return np.concatenate(parts, axis=1), kind == "parallel3d"


def geometry_from_astra(
    proj_geom: Mapping[str, Any], vol_geom: Mapping[str, Any], volume: Volume, *, names: Sequence[str] = ()
) -> Geometry:
    """Views of an ASTRA projection geometry, for a volume that ASTRA knows by its volume geometry.

    ASTRA knows no patient: its coordinates hang on its voxels, and so the volume says where they are. ASTRA's
    data is ``volume.array.T``, shape (slices, rows, columns). ``line_integral`` is its projection data with the first
    two axes exchanged, ``data.transpose(1, 0, 2)``, but in units of ``vol_geom``: with windows in mm they are the
    same, with the default window, whose unit is a voxel, ASTRA's are to be multiplied by the voxel's mm.

    **Half pixels.** The detector's vector is its *middle*, a pixel is hit in its centre; windows are the volume's
    outer faces, half a voxel beyond the centres. **Axes.** x, y, z run with columns, rows and slices of ASTRA's
    volume: our first, second and third array axis. In 3-D, y grows with the row; ASTRA's 2-D geometries have row 0 at
    the largest y. **Signs.** v, the step from row to row, often points up (+z), so pictures are often upside down. The
    ray vector of a parallel beam points either way; as ASTRA's own conversions have it, it points to the source.

    Parameters
    ----------
    proj_geom : mapping
        Type "cone_vec", "parallel3d_vec", "cone" or "parallel3d", as ``astra.create_proj_geom`` makes it.
    vol_geom : mapping
        As ``astra.create_vol_geom`` makes it, in 3-D.
    volume : Volume
        The volume that ASTRA was given.
    names : sequence of str, optional
        One per view.

    Returns
    -------
    Geometry

    Raises
    ------
    ValueError
        If something is missing, the type is another (curved detectors are), the volume geometry has other voxels than
        the volume or other proportions, or the volume is sheared.

    Accuracy
    --------
    Image against image in the plane: ASTRA 2.5's exact line kernel (``fanflat_vec`` and ``parallel_vec`` with the x
    and y of the same vectors), random vectors: relative L2 error 1e-6 to 9e-6; half a pixel off it is above 1e-2. Out
    of the plane numbers only, as ASTRA projects 3-D on CUDA alone: ``astra.geom_2vec`` within 1e-9, and pixels computed
    from its documentation within 1e-7 mm (``tests/test_interchange_peers.py``, ``tests/test_interchange.py``).

    Source
    ------
    https://astra-toolbox.com/docs/geom3d.html

    Examples
    --------
    >>> import numpy as np, drrproj
    >>> from drrproj.interchange import geometry_from_astra
    >>> ct = drrproj.Volume(np.zeros((60, 40, 50)), np.diag([2, 2, 2, 1]))
    >>> vol_geom = {"GridColCount": 60, "GridRowCount": 40, "GridSliceCount": 50, "option": {
    ...     "WindowMinX": -60, "WindowMaxX": 60, "WindowMinY": -40, "WindowMaxY": 40,
    ...     "WindowMinZ": -50, "WindowMaxZ": 50}}
    >>> proj_geom = {"type": "cone_vec", "DetectorRowCount": 100, "DetectorColCount": 128,
    ...     "Vectors": [[0, -1000, 0, 0, 500, 0, 1.5, 0, 0, 0, 0, 1.5]]}
    >>> view = geometry_from_astra(proj_geom, vol_geom, ct)
    >>> (view.sources - ct.center).tolist(), view.sdd.tolist()
    ([[0.0, -1000.0, 0.0]], [1500.0])
    """
    vectors, parallel = _vectors(proj_geom)
    matrix = _world_from_astra(vol_geom, volume)
    source, center, column, row = np.moveaxis(vectors.reshape(-1, 4, 3) @ matrix[:3, :3].T, 1, 0)
    shape = _given(proj_geom, "DetectorRowCount"), _given(proj_geom, "DetectorColCount")
    if parallel:
        return Geometry.parallel(-source, center + matrix[:3, 3], row, column, shape, names)
    return Geometry.cone(source + matrix[:3, 3], center + matrix[:3, 3], row, column, shape, names)


def astra_from_geometry(geometry: Geometry, volume: Volume) -> tuple[dict[str, Any], dict[str, Any]]:
    """Say views in ASTRA's words: a projection geometry and the volume geometry that it refers to.

    Half pixels, axes and signs are told at :func:`geometry_from_astra`. Windows are in mm around the middle of the
    volume, so ASTRA's line integrals are ours.

    Parameters
    ----------
    geometry : Geometry
        Cone beams, or parallel beams; detectors may be tilted, and pixels need not be rectangles.
    volume : Volume
        The volume that ASTRA will be given, as ``volume.array.T``.

    Returns
    -------
    (dict, dict)
        ``proj_geom`` of type "cone_vec" or "parallel3d_vec", and ``vol_geom``: what ``astra.create_proj_geom`` and
        ``astra.create_vol_geom`` make, to be given to ASTRA as they are.

    Raises
    ------
    ValueError
        If cone and parallel beams are mixed, or the volume is sheared.

    Accuracy
    --------
    Image against image, as :func:`geometry_from_astra`; there and back within 1e-9 of a random view's size.

    Examples
    --------
    >>> import numpy as np, drrproj
    >>> from drrproj.interchange import astra_from_geometry
    >>> ct = drrproj.Volume(np.zeros((60, 40, 50)), np.diag([2, 2, 2, 1]))
    >>> proj_geom, vol_geom = astra_from_geometry(drrproj.Geometry.radiograph("AP", ct, pixel_spacing=1), ct)
    >>> proj_geom["type"], proj_geom["Vectors"].round(6).tolist()
    ('cone_vec', [[0.0, 1710.0, 0.0, 0.0, -90.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, -1.0]])
    >>> vol_geom["option"]["WindowMinX"], vol_geom["option"]["WindowMaxX"]
    (-60.0, 60.0)
    """
    parallel = geometry.is_parallel
    if parallel.any() != parallel.all():
        raise ValueError("ASTRA keeps cone and parallel beams in geometries of their own; these views are mixed")
    half = np.array(volume.shape) * volume.voxel_size / 2
    vol_geom: dict[str, Any] = {
        "GridColCount": volume.shape[0],
        "GridRowCount": volume.shape[1],
        "GridSliceCount": volume.shape[2],
        "option": {
            f"Window{end}{axis}": float(sign * size)
            for axis, size in zip("XYZ", half, strict=True)
            for end, sign in (("Min", -1), ("Max", 1))
        },
    }
    from_world = np.linalg.inv(_world_from_astra(vol_geom, volume))
    placed = geometry.moved(from_world)
    row_steps, column_steps = placed.views[:, :3, 2], placed.views[:, :3, 3]
    vectors = np.concatenate([placed.sources, placed.centers, column_steps, row_steps], axis=1)
    proj_geom = {
        "type": "parallel3d_vec" if parallel.all() else "cone_vec",
        "DetectorRowCount": geometry.shape[0],
        "DetectorColCount": geometry.shape[1],
        "Vectors": vectors,
    }
    return proj_geom, vol_geom
