"""Parts of a CT by HU and connection: the body without couch and clothes, the bones.

The parts keep the grid of the CT they come from; everything else becomes air. SciPy does the morphology:
``pip install scipy``.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.affines import is_same_grid
from drrproj.extras import from_extra
from drrproj.given_numbers import one_number, real_numbers
from drrproj.hounsfield import AIR_HU
from drrproj.label_volume import LabelVolume
from drrproj.short_text import shown
from drrproj.volume import Volume

__all__ = ["body", "body_mask", "bone_mask", "bones"]

BONE_WINDOW = (400.0, 1600.0)

Bools = npt.NDArray[np.bool_]


def body_mask(
    volume: Volume, *, threshold_hu: float = -300.0, opening_mm: float = 5.0, labels: LabelVolume | None = None
) -> Bools:
    """Find the patient in a CT: without couch, clothes, lines and air around.

    What is denser than the threshold is opened within each axial slice, which parts the patient from a couch that
    touches; the largest piece that hangs together remains, with the opening's loss at its own surface given back, and
    its holes, such as lungs and bowel, are filled slice by slice.

    Limits: an arm that hangs on nothing but a threshold's gap is lost; a couch that touches over more than the opening
    stays; where the lung meets the edge of the field of view its hole has no rim and is not filled.

    Parameters
    ----------
    volume : Volume
        CT in HU.
    threshold_hu : float, HU
        Below it are air, lung and most clothes and foam.
    opening_mm : float, mm
        What is thinner than this in an axial slice cannot hold pieces together. 0 opens nothing.
    labels : LabelVolume, optional
        Structures on the CT's own grid that are body in any case; of a subset those in it.

    Returns
    -------
    ndarray of bool, the volume's shape

    Raises
    ------
    TypeError
        If the volume is none.
    ValueError
        If the volume is not in HU, nothing is denser than the threshold or thicker than the opening, or the labels are
        on another grid.
    ImportError
        If SciPy is not installed.

    Accuracy
    --------
    On the chest LIDC-IDRI-0001, whose couch lies within the field of view, the couch is gone and every voxel that
    TotalSegmentator has labelled remains (tested on the bundled 3 mm copy).

    Examples
    --------
    >>> import numpy as np, drrproj
    >>> from drrproj import tissue
    >>> hu = np.full((40, 40, 10), -1000, np.int16)
    >>> hu[8:32, 8:28] = 0  # the patient, with air inside
    >>> hu[12:20, 12:20, 2:8] = -1000
    >>> hu[4:36, 29:31] = 300  # a couch
    >>> mask = tissue.body_mask(drrproj.Volume(hu, np.diag([2, 2, 2, 1])))
    >>> int(mask.sum()) == 24 * 20 * 10, bool(mask[:, 29:].any())
    (True, False)
    """
    _require_hu(volume)
    with from_extra("render", "finding the body"):
        from scipy import ndimage
    if labels is not None and not is_same_grid(labels.affine, labels.shape, volume.affine, volume.shape):
        raise ValueError("labels that are body must be on the CT's own grid; these are on another one")
    if not _is_width(opening_mm):
        raise ValueError(f"opening_mm must be 0 or a positive width; got {opening_mm!r}")
    one_number(threshold_hu, "threshold_hu must be one number, in HU")
    axial = _axial_axis(volume)
    dense = volume.array > threshold_hu
    if not dense.any():
        raise ValueError(f"no voxel is denser than {threshold_hu:g} HU; is this a CT in HU?")
    cores = dense
    widths = _in_slice(opening_mm / volume.voxel_size, axial)
    if any(width > 1 for width in widths):
        cores = _grown(_grown(dense, widths, shrink=True), widths)
    pieces, count = ndimage.label(cores, structure=np.ones((3, 3, 3)))
    if not count:
        raise ValueError(f"no piece of the patient is thicker than {opening_mm:g} mm; use a smaller opening_mm")
    mask = pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
    # Skin and fingers that the opening took lie within its reach of what is left.
    mask = _grown(mask, widths) & dense
    if labels is not None:
        values = sorted({*itertools.chain(*labels.values_by_structure.values())})
        mask |= np.isin(labels.array, np.array(values, labels.array.dtype))
    for place in range(mask.shape[axial]):
        slices: Any = tuple(place if axis == axial else slice(None) for axis in range(3))
        mask[slices] = ndimage.binary_fill_holes(mask[slices])
    return mask


def body(
    volume: Volume, *, threshold_hu: float = -300.0, opening_mm: float = 5.0, labels: LabelVolume | None = None
) -> Volume:
    """Return a CT in which everything but the patient is air.

    Parameters
    ----------
    volume, threshold_hu, opening_mm, labels
        As in :func:`body_mask`, which says what is found and what not.

    Returns
    -------
    Volume
        A copy on the same grid, with -1000 HU outside the body.

    Raises
    ------
    TypeError
        If the volume is none.
    ValueError
        As :func:`body_mask`, or if the volume's number type cannot hold -1000.

    Examples
    --------
    >>> from drrproj import tissue
    >>> from drrproj.io import read_sample
    >>> ct, _ = read_sample()
    >>> patient = tissue.body(ct)
    >>> int(ct.array[69, 13, 50]), int(patient.array[69, 13, 50])  # in the couch
    (9, -1000)
    """
    return _kept(volume, body_mask(volume, threshold_hu=threshold_hu, opening_mm=opening_mm, labels=labels), AIR_HU)


def bone_mask(volume: Volume, *, window: Sequence[float] = BONE_WINDOW, closing: int = 0) -> Bools:
    """Find the bones of a CT by their HU.

    A window of HU is no segmentation: marrow falls below it, and contrast medium, metal and calcified vessels into it.

    Parameters
    ----------
    volume : Volume
        CT in HU.
    window : (float, float), HU
        Lowest and highest value that count as bone. 400 to 1600 are PAXRay's.
    closing : int, voxels
        Edge of the square that closes gaps of the bones within each axial slice; 0 closes nothing.

    Returns
    -------
    ndarray of bool, the volume's shape

    Raises
    ------
    TypeError
        If the volume is none.
    ValueError
        If the volume is not in HU, the window is empty, or the closing is no odd whole number.
    ImportError
        If gaps are to be closed and SciPy is not installed.

    Examples
    --------
    >>> import numpy as np, drrproj
    >>> from drrproj import tissue
    >>> ct = drrproj.Volume(np.array([[[-50, 399, 400, 1600, 3071]]], np.int16), np.eye(4))
    >>> tissue.bone_mask(ct).tolist()
    [[[False, False, True, True, False]]]
    """
    _require_hu(volume)
    wanted = "a bone window is two HU values, low and high"
    ends = real_numbers(window, wanted)
    if ends.shape != (2,) or not ends[0] <= ends[1]:
        raise ValueError(f"{wanted}; got {shown(window)}")
    low, high = ends.tolist()
    mask: Bools = (volume.array >= low) & (volume.array <= high)
    try:
        edge = operator.index(closing)
    except TypeError:
        edge = -1
    if edge < 0 or (edge and edge % 2 == 0):
        raise ValueError(f"closing is the edge of a square, an odd number of voxels, or 0; got {closing!r}")
    if edge:
        widths = [1 if axis == _axial_axis(volume) else edge for axis in range(3)]
        mask = _grown(_grown(mask, widths), widths, shrink=True)
    return mask


def bones(
    volume: Volume, *, window: Sequence[float] = BONE_WINDOW, closing: int = 0, outside_hu: float = AIR_HU
) -> Volume:
    """Return a CT in which everything but the bones, by their HU, is air.

    Where there are labels, a label's share of the line integral is the better image of bones.

    Parameters
    ----------
    volume, window, closing
        As in :func:`bone_mask`.
    outside_hu : float, HU
        What everything else becomes.

    Returns
    -------
    Volume
        A copy on the same grid.

    Raises
    ------
    TypeError
        If the volume is none.
    ValueError
        As :func:`bone_mask`, or if the volume's number type cannot hold ``outside_hu``, as whole
        numbers cannot hold a fraction.

    Examples
    --------
    >>> import numpy as np, drrproj
    >>> from drrproj import tissue
    >>> ct = drrproj.Volume(np.array([[[-50, 399, 400, 1600, 3071]]], np.int16), np.eye(4))
    >>> tissue.bones(ct).array.tolist()
    [[[-1000, -1000, 400, 1600, -1000]]]
    """
    return _kept(volume, bone_mask(volume, window=window, closing=closing), outside_hu)


def _require_hu(volume: Volume) -> None:
    if not isinstance(volume, Volume):
        raise TypeError(f"volume must be a drrproj.Volume; got {type(volume).__name__}")
    if volume.unit != "HU":
        raise ValueError(f'tissues are told apart by HU, and the unit of this volume is "{volume.unit}"')


def _is_width(given: Any) -> bool:
    try:
        return bool(math.isfinite(given) and given >= 0)
    except TypeError:
        return False


def _axial_axis(volume: Volume) -> int:
    """The array axis that runs most nearly from foot to head."""
    return int(np.argmax(np.abs(volume.affine[2, :3] / volume.voxel_size)))


def _in_slice(voxels: npt.NDArray[np.float64], axial: int) -> list[int]:
    """The smallest odd widths in voxels that are not below the ones given; 1 across the slices."""
    return [1 if axis == axial else 2 * max(0, math.ceil((voxels[axis] - 1) / 2)) + 1 for axis in range(3)]


def _grown(mask: Bools, widths: Sequence[int], shrink: bool = False) -> Bools:
    """Dilate or erode by a box; what lies beyond the edge of the volume changes nothing."""
    with from_extra("render", "growing a mask"):
        from scipy import ndimage
    filtered = mask.view(np.uint8)
    for axis, width in enumerate(widths):
        if width > 1:
            along = ndimage.minimum_filter1d if shrink else ndimage.maximum_filter1d
            filtered = along(filtered, width, axis=axis, mode="constant", cval=int(shrink))
    return filtered.view(np.bool_)


def _kept(volume: Volume, mask: Bools, outside_hu: float) -> Volume:
    dtype = volume.array.dtype
    wanted = "outside_hu must be one number, in HU"
    if real_numbers(outside_hu, wanted).ndim:
        raise ValueError(f"{wanted}; got {shown(outside_hu)}")
    if dtype.kind != "f" and outside_hu % 1 and math.isfinite(outside_hu):
        raise ValueError(
            f"{dtype} cannot hold the fraction of {outside_hu!r} HU; choose a whole number, or pass the CT as floating "
            "point"
        )
    if dtype.kind != "f" and not np.iinfo(dtype).min <= outside_hu <= np.iinfo(dtype).max:
        raise ValueError(f"{dtype} cannot hold {outside_hu:g} HU; pass the CT as int16 or as floating point")
    kept = np.where(mask, volume.array, dtype.type(outside_hu))
    return Volume(kept, volume.affine, unit="HU", frame_of_reference=volume.frame_of_reference)
