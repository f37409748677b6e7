"""TIGRE: distances, offsets and angles around a volume whose axes are its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.geometry import Geometry
from drrproj.interchange.euler import rotation_from_angles, zyz_from_rotation
from drrproj.interchange.panel import numbers, one_of_all, pair, panels
from drrproj.volume import Volume

__all__ = ["geometry_from_tigre", "tigre_from_geometry"]

Float64Array = npt.NDArray[np.float64]

_DISTANCES = ("DSD", "DSO")
"""What a TIGRE geometry cannot do without; offsets and turns are 0 where they are not given."""

_HALF_TURNS = {
    (1, 1): (0.0, 0.0, 0.0),
    (1, -1): (0.0, np.pi, 0.0),
    (-1, 1): (0.0, 0.0, np.pi),
    (-1, -1): (np.pi, 0.0, 0.0),
}
"""rotDetector, by the way that columns and rows run: with the turned y and z, or against them."""


def _world_from_centred_axes(volume: Volume) -> Float64Array:
    """From mm along the volume's array axes, around its middle, to world mm."""
    axes = volume.affine[:3, :3] / volume.voxel_size
    if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-6):
        raise ValueError("TIGRE's voxels are boxes, but the volume's affine is sheared: resample it first")
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = axes, volume.center
    return matrix


def _attribute(geo: Any, name: str, default: Any = None) -> Any:
    value = geo.get(name) if isinstance(geo, Mapping) else getattr(geo, name, None)
    if value is None:
        value = default
    if value is None:
        raise ValueError(f"the TIGRE geometry has no {name}")
    return value


def _per_view(geo: Any, name: str, length: int, views: int) -> Float64Array:
    """One number or vector, or one per view, as TIGRE takes them; shape (views, length)."""
    value = np.asarray(_attribute(geo, name, None if name in _DISTANCES else np.zeros(length)), dtype=np.float64)
    if length == 1:
        value = value.reshape(-1, 1)
    return numbers(value, length, name, views)


def geometry_from_tigre(geo: Any, angles: npt.ArrayLike, volume: Volume, *, names: Sequence[str] = ()) -> Geometry:
    """Views of a TIGRE geometry: those of ``tigre.Ax(volume.array.T, geo, angles)``, index for index.

    TIGRE knows no patient: its coordinates hang on the volume's axes, and so the volume says where they are. Its
    image is ``volume.array.T``, shape (z, y, x).

    **Half pixels.** None: ``offDetector`` and ``offOrigin`` are of the middles, and the grids are centred. **Axes.** x,
    y, z run with our first, second and third array axis; every triple or pair of the Python interface is reversed,
    (z, y, x) and (v, u), but ``rotDetector`` is about x, y and z. At angle 0 the source is at +x. **Signs.** Angles are
    radians about z, then y, then z again. u, the columns, grows with +y, and v, the rows, with +z: pictures are
    upside down, and seen from behind the panel. ``offOrigin`` moves the volume, ``offDetector`` the panel, and ``COR``
    source and panel sideways.

    This is TIGRE 2 and later. pytigre 0.1.8, as PyPI has it, orders ``offOrigin`` as (x, y, z) and
    ``offDetector`` as (u, v), and does not read ``rotDetector`` and ``COR``.

    Parameters
    ----------
    geo : tigre geometry, or mapping
        Read are ``mode, DSD, DSO, nDetector, dDetector, nVoxel, dVoxel, offOrigin, offDetector, rotDetector, COR``.
    angles : array_like, shape (views,) or (views, 3), radians
        As given to ``tigre.Ax``.
    volume : Volume
        The volume that TIGRE was given.
    names : sequence of str, optional
        One per view.

    Returns
    -------
    Geometry

    Raises
    ------
    ValueError
        If something is missing, the detector is not two sizes, the voxels are not the volume's, the volume is sheared,
        or a parallel beam has an ``offDetector``: TIGRE then moves the panel without the rays' other ends, and they run
        askew.

    Accuracy
    --------
    Numbers only in the tests, for TIGRE needs CUDA: pixels and sources computed step by step from its source, within
    1e-8 mm (``tests/test_interchange.py``). Once, beside the tests, image against image in cone mode: the Siddon kernel
    of pytigre 0.1.8, compiled for the CPU with an index of its detector turn corrected as later versions have it, gave
    relative L2 errors of 2e-5 to 2e-3 for 18 random geometries, 17 of them below 1e-4; half a pixel off, above 5e-2.

    Source
    ------
    TIGRE: ``Common/CUDA/Siddon_projection.cu``, ``Python/tigre/Source/_types.pxd``.

    Examples
    --------
    >>> import numpy as np, drrproj
    >>> from drrproj.interchange import geometry_from_tigre
    >>> ct = drrproj.Volume(np.zeros((60, 40, 50)), np.diag([2, 2, 2, 1]))
    >>> geo = {"mode": "cone", "DSD": 1536, "DSO": 1000, "nDetector": [100, 128], "dDetector": [3.2, 3.2],
    ...     "nVoxel": [50, 40, 60], "dVoxel": [2, 2, 2]}
    >>> views = geometry_from_tigre(geo, [0, np.pi / 2], ct)
    >>> (views.sources - ct.center).round(6).tolist()
    [[1000.0, 0.0, 0.0], [0.0, 1000.0, 0.0]]
    """
    mode = _attribute(geo, "mode", "cone")
    if mode not in ("cone", "parallel"):
        raise ValueError(f'the mode of a TIGRE geometry is "cone" or "parallel"; got {mode!r}')
    given = np.asarray(angles, dtype=np.float64)
    turns = numbers(np.column_stack([given, np.zeros((len(given), 2))]) if given.ndim == 1 else given, 3, "angles")
    views = len(turns)
    size = tuple(int(count) for count in np.asarray(_attribute(geo, "nVoxel"))[::-1])
    voxel = np.asarray(_attribute(geo, "dVoxel"), dtype=np.float64)[::-1]
    if size != volume.shape or not np.allclose(voxel, volume.voxel_size, rtol=1e-5):
        raise ValueError(
            f"the TIGRE geometry has {size} voxels of {voxel.tolist()} mm along x, y and z, the volume {volume.shape} "
            f"of {volume.voxel_size.tolist()} mm; its image must be volume.array transposed, (z, y, x)"
        )
    to_world = _world_from_centred_axes(volume)
    rows, columns = map(int, pair(_attribute(geo, "nDetector"), "nDetector", whole=True))
    row_spacing, column_spacing = pair(_attribute(geo, "dDetector"), "dDetector")
    dsd, dso, cor = (_per_view(geo, name, 1, views)[:, 0] for name in ("DSD", "DSO", "COR"))
    off_origin, off_detector = _per_view(geo, "offOrigin", 3, views)[:, ::-1], _per_view(geo, "offDetector", 2, views)
    panel = rotation_from_angles("ZYX", _per_view(geo, "rotDetector", 3, views)[:, ::-1])
    if mode == "parallel":
        if off_detector.any():
            raise ValueError(
                "in parallel mode TIGRE moves the panel by offDetector but not the other ends of the rays, which then "
                "run askew; move the volume with offOrigin instead"
            )
        # The second and third angle are read in cone mode only.
        turns = turns * (1.0, 0.0, 0.0)
    turned = rotation_from_angles("ZYZ", turns)
    sideways = cor[:, None] * np.stack([-np.sin(turns[:, 0]), np.cos(turns[:, 0]), np.zeros(views)], axis=1)
    middle = np.stack([dso - dsd, off_detector[:, 1], off_detector[:, 0]], axis=1)

    def placed(points: Float64Array) -> Float64Array:
        moved = (turned @ points[:, :, None])[:, :, 0] - off_origin + sideways
        in_world: Float64Array = moved @ to_world[:3, :3].T + to_world[:3, 3]
        return in_world

    # Out of the turned frame and into the world.
    axes = to_world[:3, :3] @ turned @ panel
    steps = (row_spacing * axes[:, :, 2], column_spacing * axes[:, :, 1], (rows, columns), names)
    if mode == "parallel":
        return Geometry.parallel(-(to_world[:3, :3] @ turned)[:, :, 0], placed(middle), *steps)
    source = np.stack([dso, np.zeros(views), np.zeros(views)], axis=1)
    return Geometry.cone(placed(source), placed(middle), *steps)


def tigre_from_geometry(geometry: Geometry, volume: Volume) -> tuple[dict[str, Any], Float64Array]:
    """Say views in TIGRE's words: attributes of its geometry, and the angles.

    Half pixels, axes and signs are told at :func:`geometry_from_tigre`. Where the source is not opposite the volume's
    middle, the volume is moved (``offOrigin``). Rows that run down or columns that run against +y
    are a panel with half a turn (``rotDetector``): TIGRE 2 and later project that, filters for reconstruction may not
    know it.

    Parameters
    ----------
    geometry : Geometry
        Cone beams; or parallel beams perpendicular to the detector, with rows along the volume's third axis, for
        TIGRE turns parallel beams about that axis only.
    volume : Volume
        The volume that TIGRE will be given, as ``volume.array.T``.

    Returns
    -------
    (dict, ndarray)
        Attributes to be set, ``vars(geo).update(attributes)``, one value per view where TIGRE takes them; and the
        angles, shape (views, 3), for ``tigre.Ax(volume.array.T, geo, angles)``.

    Raises
    ------
    ValueError
        If rows and columns are not perpendicular, pixel spacings differ, the volume is sheared, cone and parallel
        beams are mixed, or a parallel beam is turned as TIGRE cannot.

    Accuracy
    --------
    As :func:`geometry_from_tigre`; there and back within 1e-9 of a random view's size.

    Examples
    --------
    >>> import numpy as np, drrproj
    >>> from drrproj.interchange import tigre_from_geometry
    >>> ct = drrproj.Volume(np.zeros((60, 40, 50)), np.diag([2, 2, 2, 1]))
    >>> view = drrproj.Geometry.cone(
    ...     ct.center + (0, 1000, 0), ct.center - (0, 500, 0), (0, 0, 1), (-1, 0, 0), (100, 128))
    >>> attributes, angles = tigre_from_geometry(view, ct)
    >>> attributes["DSO"].round(6).tolist(), attributes["DSD"].round(6).tolist(), angles.round(4).tolist()
    ([1000.0], [1500.0], [[1.5708, 0.0, 0.0]])
    """
    parallel = geometry.is_parallel
    if parallel.any() != parallel.all():
        raise ValueError("TIGRE has one mode for all views; cone and parallel beams are mixed here")
    from_world = np.linalg.inv(_world_from_centred_axes(volume))
    found = panels(geometry.moved(from_world), "TIGRE", parallel=True)
    row_spacing, column_spacing = one_of_all([panel.spacing for panel in found], "pixel spacing", "TIGRE")
    # Of a parallel beam TIGRE wants distances that the volume fits between.
    apart = float(np.linalg.norm(np.array(volume.shape) * volume.voxel_size))
    dso, dsd, off_origin, off_detector, rotations, angles = [], [], [], [], [], []
    for panel in found:
        # Rows go with or against the turned z; of the two ways, the one that leaves z up needs no more than an angle.
        with_z = -1 if panel.down[2] < 0 else 1
        x, z = -panel.forward, with_z * panel.down
        y = np.cross(z, x)
        with_y = 1 if panel.right @ y > 0 else -1
        if np.isinf(panel.sdd):
            if z[2] < 1 - 1e-9:
                raise ValueError(
                    f"view {panel.name!r} cannot be said in TIGRE's words: it turns parallel beams about the volume's "
                    "third axis only, which rows have to follow"
                )
            distance, sdd, center = apart, 2 * apart, panel.foot
            down, right = 0.0, 0.0
        else:
            distance, sdd, center = float(x @ panel.source), panel.sdd, panel.source
            down, right = panel.offset
        dso.append(distance)
        dsd.append(sdd)
        # TIGRE's origin is the point of the central ray that is nearest to the volume's middle.
        off_origin.append(((x @ center) * x - center)[::-1])
        off_detector.append((with_z * down, with_y * right))
        rotations.append(_HALF_TURNS[with_y, with_z])
        angles.append(zyz_from_rotation(np.stack([x, y, z], axis=1)))
    detector = np.array(geometry.shape)
    spacing = np.array([row_spacing, column_spacing])
    voxels, voxel = np.array(volume.shape[::-1]), volume.voxel_size[::-1].copy()
    attributes = {
        "mode": "parallel" if parallel.all() else "cone",
        "DSD": np.array(dsd),
        "DSO": np.array(dso),
        "nDetector": detector,
        "dDetector": spacing,
        "sDetector": detector * spacing,
        "nVoxel": voxels,
        "dVoxel": voxel,
        "sVoxel": voxels * voxel,
        "offOrigin": np.array(off_origin),
        "offDetector": np.array(off_detector),
        "rotDetector": np.array(rotations),
        "COR": np.zeros(len(geometry)),
    }
    return attributes, np.array(angles)
