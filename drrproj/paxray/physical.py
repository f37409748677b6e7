"""The same transfer functions on true physics: line integrals in mm, real attenuation, any beam, square pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj import tissue
from drrproj.attenuation import Attenuation, bilinear
from drrproj.display import Display, Picture
from drrproj.geometry import Geometry
from drrproj.given_numbers import one_number
from drrproj.paxray.transfers import checked_crop, finished, transfer_named
from drrproj.project import project
from drrproj.volume import Volume

__all__ = ["GAMMA", "physical"]

GAMMA = 0.1
"""Matsubara's 0.00195 per voxel of 1 mm is a tenth of what water attenuates at 70 keV (0.01929 per mm)."""


def physical(
    volume: Volume,
    geometry: Geometry,
    transfer: str = "hist_mastu",
    *,
    attenuation: Attenuation | None = None,
    gamma: float | None = None,
    bone_window: Sequence[float] | None = None,
    crop: tuple[int, int] | None = None,
    bits: int = 8,
    backend: str = "auto",
    threads: int | None = None,
) -> Picture:
    """Make a picture with one of the authors' transfer functions from a true projection.

    Where the authors sum HU, here is the line integral ``p`` of attenuation in mm, from the view's own beam; where
    they have ``1 - exp(-sum of mu)`` with a tenth of water's attenuation, here is ``1 - transmission**gamma``,
    ``transmission = exp(-p)``. The image of the bones is what they attenuate beyond water, as the authors' bones lie in
    0 HU; but there is no block of water around them. Removing the exterior is :func:`drrproj.tissue.body`. Sigmoid,
    sharpening, equalization and crop are the authors', on the view's pixels.

    Parameters
    ----------
    volume : Volume
        CT in HU.
    geometry : Geometry
        One view. Its pixel spacing, not a resampling, decides the size of the picture.
    transfer : str
        One of :data:`drrproj.paxray.TRANSFERS`.
    attenuation : Attenuation, optional
        How HU become attenuation; bilinear at 70 keV by default.
    gamma : float, optional
        Exponent of the transmission in the transfer functions with ``matsu`` or ``mastu``, and in no other: 1 is what a
        detector receives, in which a chest is nearly black throughout; 0.1, the default, comes near the authors'
        contrast.
    bone_window : (float, float), HU, optional
        What counts as bone in the transfer functions that enhance bones; 400 to 1600 by default.
    crop : (int, int), pixels, optional
        Rows cut off below and columns cut off at each side by the transfer functions with ``resized``; (64, 64) by
        default.
    bits : {8, 16}
        Levels of the picture; the lowest and highest value become its ends, rounded.
    backend, threads
        As in :func:`drrproj.project`.

    Returns
    -------
    Picture
        Rows and columns of the geometry, less the crop. Its record is that of the projection, with ``paxray`` added.

    Raises
    ------
    TypeError
        If a name such as "frontal" is passed for the geometry, or one such as "linear" for the attenuation.
    ValueError
        If the geometry has several views, the transfer is unknown, it makes no use of a choice, gamma is not
        positive, or the picture has no contrast; and what :func:`drrproj.project` and :mod:`drrproj.tissue` refuse.
    ImportError
        If scikit-image or SciPy is not installed.

    Examples
    --------
    >>> import drrproj
    >>> from drrproj import paxray
    >>> from drrproj.io import read_sample
    >>> ct, _ = read_sample()
    >>> view = drrproj.Geometry.radiograph("PA", ct, shape=(256, 200))
    >>> picture = paxray.physical(ct, view, "hist")
    >>> picture.levels.shape, picture.record["paxray"]["mode"]
    ((256, 200), 'physical')
    """
    how = transfer_named(transfer)
    crop = checked_crop(transfer, crop)
    if gamma is not None and how.image != "absorbed":
        raise ValueError(f"{transfer} shows line integrals, which have no gamma; leave gamma out")
    if bone_window is not None and not how.bones:
        raise ValueError(f"{transfer} does not enhance bones; leave bone_window out")
    gamma = GAMMA if gamma is None else gamma
    bone_window = tissue.BONE_WINDOW if bone_window is None else bone_window
    _check(volume, geometry, gamma, bits)
    model: Any = bilinear() if attenuation is None else attenuation
    if not isinstance(model, Attenuation):
        raise TypeError(
            f"the physical mode needs an Attenuation, such as drrproj.attenuation.linear(); got {attenuation!r}"
        )
    if model.unit != "1/mm":
        raise ValueError(f"{model.model} gives {model.unit}; a picture needs attenuation in 1/mm")
    choices: dict[str, Any] = {"outputs": ("line_integral",), "backend": backend, "threads": threads}
    subject = tissue.body(volume) if how.body_only else volume
    shot = project(subject, geometry, attenuation=model, **choices)
    projections = [_line_integral(shot.line_integral)]
    if how.bones:
        beyond_water = _bones_beyond_water(subject, model, bone_window)
        projections.append(_line_integral(project(beyond_water, geometry, **choices).line_integral))
    if how.image == "absorbed":
        images = [1 - np.exp(-gamma * projection) for projection in projections]
    else:
        images = [projections[0] + how.bones * projections[-1]]
    image = finished(images, how.steps, crop)
    low, high = float(image.min()), float(image.max())
    if not low < high:
        raise ValueError(f"the picture has no contrast: every pixel is {low:g}")
    levels = Display(low, high, bits=8 if bits == 8 else 16).levels(image)
    made = {
        "mode": "physical",
        "transfer": transfer,
        "gamma": gamma if how.image == "absorbed" else None,
        "bone_window_hu": list(bone_window) if how.bones else None,
        "body_only": how.body_only,
        "crop": None if crop is None else list(crop),
        "range": [low, high],
    }
    return Picture(levels, {**shot.record, "paxray": made})


def _check(volume: Volume, geometry: Any, gamma: float, bits: int) -> None:
    if not isinstance(geometry, Geometry):
        raise TypeError(
            "the physical mode needs a Geometry, such as Geometry.radiograph('PA', ct); 'frontal' and 'lateral' are "
            f"views of paxray.faithful. Got {geometry!r}"
        )
    if len(geometry) != 1:
        raise ValueError(
            f"one picture holds one view, and this geometry has {len(geometry)} ({', '.join(geometry.names)}); make "
            "one at a time, such as geometry[0]"
        )
    one_number(gamma, "gamma must be a positive exponent of the transmission", above=0)
    if bits not in (8, 16):
        raise ValueError(f"bits must be 8 or 16; got {bits!r}")
    if volume.unit != "HU":
        raise ValueError(f'bones and body are found by HU, and the unit of this volume is "{volume.unit}"')


def _bones_beyond_water(volume: Volume, model: Attenuation, window: Sequence[float]) -> Volume:
    mask = tissue.bone_mask(volume, window=window)
    excess = np.zeros_like(volume.array, dtype=np.float32)
    excess[mask] = model(volume.array[mask]) - model(0.0)
    return Volume(excess, volume.affine, unit="1/mm")


def _line_integral(image: npt.NDArray[np.float32] | None) -> npt.NDArray[np.float64]:
    only: npt.NDArray[np.float64] = np.asarray(image, dtype=np.float64)[0]
    return only
