"""The authors' chain to the last bit: sums along an array axis, their constants, 8 bits, Lanczos to 512 x 512."""

from __future__ import annotations

import contextlib
import platform
from importlib import metadata
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.display import Picture
from drrproj.extras import from_extra
from drrproj.geometry import Geometry
from drrproj.label_volume import LabelVolume
from drrproj.paxray.transfers import Transfer, checked_crop, crop_in_pixels, cropped, finished, transfer_named
from drrproj.radiograph import LabelMasks
from drrproj.version import __version__
from drrproj.volume import Volume

__all__ = ["VIEWS", "faithful", "faithful_masks"]

VIEWS = {"frontal": 1, "lateral": 2}
"""Axis of the array [z, y, x] that the voxels are summed along."""

CLIP_HU = (-1024, 3071)
BONE_WINDOW_HU = (400, 1600)
BODY_ABOVE_HU = -200
MU_WATER_PER_VOXEL = 0.00195
SIZE = (512, 512)

Array = npt.NDArray[Any]


def faithful(
    volume: Volume, view: str = "frontal", transfer: str = "hist_mastu", *, crop: tuple[int, int] | None = None
) -> Picture:
    """Make a picture exactly as the PAXRay authors' released code does.

    HU are clipped to [-1024, 3071] and the array, taken as [z, y, x] with z turned over, is summed along an axis. The
    affine is ignored: no spacing, no direction, so a volume with its axes turned gives a mirrored or upside-down
    picture, as theirs is; the record's ``array_axes`` says how the axes run (``LPS`` is what the authors have: head
    up, the patient's right on image left, anterior on image left). Lowest and highest value become 0 and 255,
    fractions are cut off, and Pillow's Lanczos makes 512 x 512 pixels of it, whatever the aspect ratio.

    The number type decides the rounding, and more: of whole numbers scikit-image equalizes every single value, of
    fractions 256 bins. SimpleITK, with which the authors read, makes float32 of a file that has a slope or intercept,
    where :func:`drrproj.read_volume` may keep int16; ``Volume(ct.array.astype("float32"), ct.affine)`` is then theirs.
    The command ``drrproj paxray`` sees to it.

    Parameters
    ----------
    volume : Volume
        CT in HU, whose array axes run along left-right, front-back and foot-head, in this order.
    view : {"frontal", "lateral"}
        Sum over y or over x.
    transfer : str
        One of :data:`drrproj.paxray.TRANSFERS`. Those with ``noexterior`` or ``bone_hist`` remove couch and clothes
        first: the largest piece above -200 HU, holes filled slice by slice, all else set to the lowest HU.
    crop : (int, int), pixels of the array, optional
        Rows cut off below and columns cut off at each side by the transfer functions with ``resized``, and by no
        other; (64, 64) is the authors'.

    Returns
    -------
    Picture
        512 x 512, uint8; ``record["range"]`` holds the two values that became 0 and 255.

    Raises
    ------
    TypeError
        If a geometry is passed: this mode knows no beam.
    ValueError
        If view or transfer are unknown, the volume holds no HU the authors' code could have read (another unit, an
        unsigned type, NaN), its axes are in another order, a crop is given that would not be made or leaves nothing,
        or the picture has no contrast.
    ImportError
        If scikit-image or SciPy is needed and not installed.

    Accuracy
    --------
    Equal, to the last bit, to a transcription of the authors' formulas with numpy, SciPy and scikit-image, for every
    transfer function and view, on random volumes of int16 to float64 and on a real chest
    (tests/test_paxray_faithful.py). The authors' own files gave the same pictures of a full-size chest, 14 functions
    and two views, and of two smaller CTs, for which the crop is too large, with the other ten.

    Source
    ------
    Seibold et al., Detailed Annotations of Chest X-Rays via CT Projection for Report Understanding, BMVC 2022; code
    ConstantinSeibold/CT-Xray-Projections, commit b78b967.

    Examples
    --------
    >>> from drrproj import paxray
    >>> from drrproj.io import read_sample
    >>> ct, labels = read_sample()
    >>> picture = paxray.faithful(ct, "lateral")
    >>> picture.levels.shape, str(picture.levels.dtype), picture.record["array_axes"]
    ((512, 512), 'uint8', 'LAS')
    """
    axis = _axis(view)
    how = transfer_named(transfer)
    crop = checked_crop(transfer, crop)
    axes = _array_axes(volume, "the CT")
    zyx = _clipped(volume)
    image = finished(_projections(zyx, how, axis), how.steps, crop)
    low, high = image.min(), image.max()
    if not low < high:
        raise ValueError(f"the picture has no contrast: every pixel is {low:g}")
    # Cut off, not rounded, as the authors do.
    levels = ((image - low) / (high - low) * 255).astype(np.uint8)
    return Picture(
        _resized(levels, "LANCZOS"),
        {
            "mode": "faithful",
            "transfer": transfer,
            "view": view,
            "axis_of_zyx": axis,
            "array_axes": axes,
            "range": [float(low), float(high)],
            "crop": None if crop is None else list(crop),
            "pixels_before_resizing": list(image.shape),
            "volume": {
                "shape": list(volume.shape),
                "dtype": str(volume.array.dtype),
                "affine": volume.affine.tolist(),
            },
            "versions": {
                "drrproj": __version__,
                "python": platform.python_version(),
                **_versions("numpy", "scipy", "scikit-image", "pillow"),
            },
        },
    )


def faithful_masks(labels: LabelVolume, view: str = "frontal", *, crop: tuple[int, int] | None = None) -> LabelMasks:
    """Project labels onto the pixels of :func:`faithful`.

    A pixel is on where any voxel of the label lies on its line through the array. The authors' own code for labels is
    not released; this is the projection of their CT with the rule "any hit", and nearest neighbours to 512 x 512, as
    PAX-Ray++ describes it.

    Parameters
    ----------
    labels : LabelVolume
        On the grid of the CT.
    view : {"frontal", "lateral"}
        As in :func:`faithful`.
    crop : (int, int), optional
        For a transfer function with ``resized``: its crop.

    Returns
    -------
    LabelMasks
        Of one view, 512 x 512.

    Raises
    ------
    TypeError
        If a geometry is passed.
    ValueError
        If the view is unknown, the axes are in another order, the crop is not two numbers of pixels, or nothing is
        left after it.

    Examples
    --------
    >>> from drrproj import paxray
    >>> from drrproj.io import read_sample
    >>> ct, labels = read_sample()
    >>> paxray.faithful_masks(labels, "frontal")["heart"].shape
    (1, 512, 512)
    """
    axis = _axis(view)
    crop = (0, 0) if crop is None else crop_in_pixels(crop)
    _array_axes(labels, "the label volume")
    zyx = labels.array.T
    masks = []
    for values in labels.values_by_structure.values():
        inside: Array = zyx == values[0] if len(values) == 1 else np.isin(zyx, values)
        hit = np.asarray(inside.any(axis))[::-1]
        masks.append(_resized(cropped(hit, crop).view(np.uint8), "NEAREST"))
    packed = np.packbits(np.array(masks, dtype=np.uint8).reshape(-1, 1, *SIZE), axis=-1)
    return LabelMasks(packed, SIZE[1], labels.label_ids, tuple(labels.name_of(each) for each in labels.label_ids))


def _axis(view: Any) -> int:
    if isinstance(view, Geometry):
        raise TypeError(
            "the faithful mode sums voxels along an array axis: it knows no beam, distance or pixel spacing; pass "
            '"frontal" or "lateral", or take paxray.physical for this geometry'
        )
    if view not in VIEWS:
        raise ValueError(f'view must be "frontal" or "lateral" in the faithful mode; got {view!r}')
    return VIEWS[view]


def _array_axes(grid: Volume | LabelVolume, what: str) -> str:
    """How the array's axes run in the patient, such as ``LPS``."""
    directions = grid.affine[:3, :3] / grid.voxel_size
    main = np.abs(directions).argmax(axis=0)
    letters = "".join("LPI RAS"[m + 4 * int(directions[m, axis] > 0)] for axis, m in enumerate(main))
    if main.tolist() != [0, 1, 2]:
        raise ValueError(
            f"the array axes of {what} run {letters}, and the faithful mode sums along the second and first axis as if "
            "they ran front-back and left-right; transpose the array, or take paxray.physical, which follows the affine"
        )
    return letters


def _clipped(volume: Volume) -> Array:
    """The array as the authors read it: [z, y, x], C order, HU clipped."""
    array = volume.array
    if volume.unit != "HU" or array.dtype.kind == "u" or array.dtype.itemsize < 2:
        found = f"{array.dtype} in {volume.unit}"
        raise ValueError(f"the faithful mode needs HU in a signed type of 16 bits or more; got {found}")
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise ValueError(
            f"{np.count_nonzero(np.isnan(array))} voxels are not a number, for which the authors' chain has no rule; "
            "set them to -1024 HU"
        )
    clipped: Array = np.clip(np.ascontiguousarray(array.T), *CLIP_HU)
    return clipped


def _projections(zyx: Array, how: Transfer, axis: int) -> list[Array]:
    if how.image == "absorbed":
        images = [zyx, _bones(zyx)] if how.bones else [zyx]
        return [_absorbed(image, axis) for image in images]
    if how.body_only:
        zyx = _without_exterior(zyx)
    if how.bones:
        zyx = zyx + _bones(zyx) * how.bones
    return [_sum(zyx, axis)]


def _sum(zyx: Array, axis: int) -> Array:
    # Turning the sum over instead of the volume spares a copy of the volume.
    return np.ascontiguousarray(zyx.sum(axis)[::-1])


def _absorbed(zyx: Array, axis: int) -> Array:
    voxels = zyx.shape[axis]
    mean_hu = _sum(zyx, axis) / voxels
    per_voxel = (mean_hu * MU_WATER_PER_VOXEL) / 1000 + MU_WATER_PER_VOXEL
    absorbed: Array = 1 - np.exp(-(per_voxel * voxels))
    return absorbed


def _bones(zyx: Array) -> Array:
    # What is no bone becomes water, not air: the authors' choice.
    low, high = BONE_WINDOW_HU
    bones: Array = np.where((zyx < low) | (zyx > high), zyx.dtype.type(0), zyx)
    return bones


def _without_exterior(zyx: Array) -> Array:
    with from_extra("render", "finding the body"):
        from scipy import ndimage
    pieces, count = ndimage.label(zyx > BODY_ABOVE_HU, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(pieces.ravel(), minlength=2)
    if not count or not sizes[0]:
        which = "no voxel is" if not count else "every voxel is"
        raise ValueError(f"{which} denser than {BODY_ABOVE_HU} HU, so there is no body to tell from its surroundings")
    largest = pieces == 1 + np.argmax(sizes[1:])
    body = np.stack([ndimage.binary_fill_holes(axial) for axial in largest])
    alone = np.where(body, zyx, zyx.min())
    # The authors' sum of products widens float32, and its rounding with it.
    return alone.astype(np.float64) if alone.dtype.kind == "f" else alone


def _resized(levels: npt.NDArray[np.uint8], method: str) -> npt.NDArray[np.uint8]:
    from PIL import Image

    resized = Image.fromarray(levels).resize(SIZE, Image.Resampling[method])
    return np.asarray(resized)


def _versions(*distributions: str) -> dict[str, str]:
    """Of what is installed: the simplest transfer functions need neither SciPy nor scikit-image."""
    found = {}
    for name in distributions:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
