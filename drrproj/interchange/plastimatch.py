"""plastimatch drr: a panel's normal, its up, and distances, in DICOM coordinates and one view per call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.geometry import Geometry, positive_distance
from drrproj.grid import RAS_FROM
from drrproj.interchange.panel import numbers, pair, panels

__all__ = ["geometry_from_plastimatch", "plastimatch_arguments", "plastimatch_from_geometry"]

Float64Array = npt.NDArray[np.float64]

_LPS = RAS_FROM["LPS"][:3, :3]
"""LPS+ to RAS+ and back; it is symmetric, so rows of vectors take it from the right."""


def geometry_from_plastimatch(
    *,
    nrm: npt.ArrayLike,
    vup: npt.ArrayLike,
    sad: float,
    sid: float,
    dim: tuple[int, int],
    detector_size: tuple[float, float],
    isocenter: npt.ArrayLike = (0.0, 0.0, 0.0),
    image_center: tuple[float, float] | None = None,
    names: Sequence[str] = (),
) -> Geometry:
    """Views of ``plastimatch drr``; the arguments are its long options.

    ``line_integral[view]`` of the same attenuation is its ``.pfm`` image times 10, index for index, for it integrates
    over centimetres.

    **Half pixels.** None: whole numbers are pixel centres, and the middle is ``(n - 1) / 2``. **Axes.** DICOM, LPS+ mm;
    directions here are LPS too. plastimatch 1.10 reads all its pairs as (columns, rows) or (x, y), though its help
    says "row col": with a detector that is not square the difference is no picture at all. **Signs.** ``nrm`` points
    from the panel to the source, ``vup`` to its top row. Pictures are as seen from the source, never mirrored.

    Its ``--gantry-angle`` is not offered: version 1.10 takes the degrees for radians. That version also leaves out the
    voxel in which a ray leaves the volume, and ignores a volume's direction: both were seen in its images.

    Parameters
    ----------
    nrm, vup : array_like, shape (3,) or (views, 3), LPS
        Any length; ``vup`` need not be perpendicular to ``nrm``.
    sad, sid : float, mm
        Source to isocenter and source to panel: our ``sod`` and ``sdd``.
    dim : (int, int)
        Columns and rows.
    detector_size : (float, float), mm
        Width and height.
    isocenter : array_like, shape (3,) or (views, 3), LPS mm
        Where ``sad`` ends; the central ray goes through it.
    image_center : (float, float), optional
        Pixel that the central ray meets: column and row. The middle by default.
    names : sequence of str, optional
        One per view.

    Returns
    -------
    Geometry

    Raises
    ------
    ValueError
        If numbers are missing or do not fit each other, a distance or size is not positive, or ``vup`` is along
        ``nrm``.

    Accuracy
    --------
    Image against image, plastimatch 1.10 ``-i exact`` on noise with an empty border, oblique panels, rectangular
    detectors and pixels, off-centre principal points: relative L2 error 2e-7 to 2e-6; half a pixel off it is above
    7e-2 (``tests/test_interchange_peers.py``).

    Source
    ------
    plastimatch: ``proj_matrix.cxx``; the order of the pairs was measured.

    Examples
    --------
    >>> from drrproj.interchange import geometry_from_plastimatch
    >>> ap = geometry_from_plastimatch(
    ...     nrm=(0, -1, 0), vup=(0, 0, 1), sad=1000, sid=1500, dim=(400, 300), detector_size=(400, 300))
    >>> ap.sources.astype(int).tolist(), ap.shape  # anterior is -y in LPS, +y in RAS
    ([[0, 1000, 0]], (300, 400))
    """
    normal, up, middle = numbers(nrm, 3, "nrm"), numbers(vup, 3, "vup"), numbers(isocenter, 3, "isocenter")
    views = max(len(normal), len(up), len(middle))
    normal, up, middle = (
        numbers(values, 3, what, views) @ _LPS for values, what in ((normal, "nrm"), (up, "vup"), (middle, "isocenter"))
    )
    normal = _unit(normal, "nrm must not be zero: it points from the panel to the source")
    left = _unit(np.cross(normal, up), "vup must not be along nrm: it points to the top row of the panel")
    width, height = pair(detector_size, "detector_size")
    columns, rows = map(int, pair(dim, "dim", whole=True))
    sad, sid = positive_distance(sad, "sad"), positive_distance(sid, "sid")
    middle_pixel = ((columns - 1) / 2, (rows - 1) / 2)
    column, row = middle_pixel if image_center is None else numbers(image_center, 2, "image_center", 1)[0]
    column_step, row_step = -width / columns * left, -height / rows * np.cross(left, normal)
    source = middle + sad * normal
    center = source - sid * normal + ((rows - 1) / 2 - row) * row_step + ((columns - 1) / 2 - column) * column_step
    return Geometry.cone(source, center, row_step, column_step, (rows, columns), names)


def _unit(vectors: Float64Array, otherwise: str) -> Float64Array:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not length.all():
        raise ValueError(otherwise)
    unit: Float64Array = vectors / length
    return unit


def plastimatch_from_geometry(geometry: Geometry, *, sad: float | None = None) -> list[dict[str, Any]]:
    """Say views in plastimatch's words: for each, what :func:`geometry_from_plastimatch` takes.

    Half pixels, axes and signs are told there; :func:`plastimatch_arguments` makes a command line of it.

    Parameters
    ----------
    geometry : Geometry
        Cone beams.
    sad : float, mm, optional
        Source to isocenter. It moves the isocenter along the central ray, and the picture not at all; by default it
        is half of the distance to the panel.

    Returns
    -------
    list of dict
        Per view ``nrm, vup, sad, sid, isocenter, dim, detector_size, image_center``.

    Raises
    ------
    ValueError
        If a beam is parallel, rows and columns are not perpendicular, ``sad`` is not positive, or the picture is
        mirrored, as our PA is: plastimatch shows every view as seen from the source. Project such a view with its
        columns reversed.

    Accuracy
    --------
    Image against image, as :func:`geometry_from_plastimatch`; there and back within 1e-9 of a random view's size.

    Examples
    --------
    >>> import numpy as np, drrproj
    >>> from drrproj.interchange import plastimatch_from_geometry
    >>> ct = drrproj.Volume(np.zeros((64, 64, 64)), np.eye(4))
    >>> ap = plastimatch_from_geometry(drrproj.Geometry.radiograph("AP", ct, shape=(300, 400), pixel_spacing=1))[0]
    >>> ap["nrm"], ap["sid"], ap["dim"], ap["detector_size"]
    ((0.0, -1.0, 0.0), 1800.0, (400, 300), (400.0, 300.0))
    """
    isocenter_from_source = None if sad is None else positive_distance(sad, "sad")
    every = []
    for panel in panels(geometry, "plastimatch"):
        if panel.is_mirrored:
            raise ValueError(
                f"view {panel.name!r} cannot be said in plastimatch's words: its picture is mirrored, seen from behind "
                "the panel, and plastimatch shows views as seen from the source. Reverse the columns of the view, and "
                "of the image afterwards"
            )
        rows, columns = panel.shape
        from_source = panel.sdd / 2 if isocenter_from_source is None else isocenter_from_source
        every.append(
            {
                "nrm": _lps(-panel.forward),
                "vup": _lps(-panel.down),
                "sad": from_source,
                "sid": panel.sdd,
                "isocenter": _lps(panel.source + from_source * panel.forward),
                "dim": (columns, rows),
                "detector_size": (columns * panel.spacing[1], rows * panel.spacing[0]),
                "image_center": (-panel.first[1] / panel.spacing[1], -panel.first[0] / panel.spacing[0]),
            }
        )
    return every


def _lps(vector: Float64Array) -> tuple[float, ...]:
    # Adding 0 makes 0 of -0, which looks odd on a command line.
    return tuple((vector @ _LPS + 0.0).tolist())


def plastimatch_arguments(options: Mapping[str, Any]) -> list[str]:
    """Write one view of :func:`plastimatch_from_geometry` as arguments of ``plastimatch drr``.

    Parameters
    ----------
    options : mapping
        Option names, with ``_`` for ``-``, and numbers or tuples of numbers.

    Returns
    -------
    list of str

    Examples
    --------
    >>> from drrproj.interchange import plastimatch_arguments
    >>> plastimatch_arguments({"nrm": (0.0, -1.0, 0.0), "sid": 1800.0, "image_center": (199.5, 149.5)})
    ['--nrm', '0 -1 0', '--sid', '1800', '--image-center', '199.5 149.5']
    """
    arguments = []
    for name, value in options.items():
        # Twelve digits: a nanometre in a room.
        arguments += [f"--{name.replace('_', '-')}", " ".join(f"{number:.12g}" for number in np.atleast_1d(value))]
    return arguments
