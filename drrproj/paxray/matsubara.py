"""The chain of Matsubara et al. that PAXRay's transfer functions descend from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from drrproj import tissue
from drrproj.attenuation import Attenuation
from drrproj.display import Picture
from drrproj.geometry import RADIOGRAPH_VIEWS, Geometry
from drrproj.given_numbers import one_number, whole_number
from drrproj.paxray.transfers import sigmoid, unsharp
from drrproj.project import project
from drrproj.volume import Volume

__all__ = ["matsubara"]

MU_WATER_PER_MM = 0.00195
BONE_WINDOW_HU = (200.0, 3000.0)
CLOSING = 5


def matsubara(
    volume: Volume,
    view: str = "AP",
    *,
    pixel_mm: float = 1.0,
    bone_window: Sequence[float] = BONE_WINDOW_HU,
    closing: int = CLOSING,
    bone_weight: float = 1.0,
    bits: int = 10,
    backend: str = "auto",
    threads: int | None = None,
) -> Picture:
    """Make a pseudo chest X-ray by the chain of Matsubara et al. 2019.

    Parallel rays on a grid of 1 mm; ``I = exp(-integral of 0.00195 (1 + HU/1000) per mm)``; a sigmoid
    ``1 / (1 + exp(4 (I - 2 mean(I))))`` of everything plus that of the bones, which lie in water as in the published
    chain; unsharp masking with a 3 x 3 mean, weight 0.7; lowest and highest value to 0 and 1023. Dense is bright.

    The original resamples the CT to isotropic voxels and sums them. Here each ray is followed exactly in mm, which is
    what that sum stands for; so this is the published formula, and not bit for bit their picture. The paper itself was
    not read: the formulas are those of a public implementation that cites its equations.

    Parameters
    ----------
    volume : Volume
        CT in HU; the authors ask for slices below 1 mm.
    view : {"AP", "PA", "LL", "RL"}
        The way the rays go; the original has AP.
    pixel_mm : float, mm
        Edge of a pixel.
    bone_window : (float, float), HU
        What counts as bone.
    closing : int, voxels
        Edge of the square that closes the bone mask within each axial slice; 0 closes nothing.
    bone_weight : float
        Weight of the bones' image.
    bits : int, 8 to 16
        Depth of the levels.
    backend, threads
        As in :func:`drrproj.project`.

    Returns
    -------
    Picture
        uint16, or uint8 for 8 bits, the size of the volume in pixels. Its record is that of the projection, with
        ``paxray`` added.

    Raises
    ------
    TypeError
        If the volume is none.
    ValueError
        If the view is unknown, a choice is out of range, or the picture has no contrast.
    ImportError
        If SciPy is not installed.

    Source
    ------
    Matsubara et al., Generation of pseudo chest X-ray images from computed tomographic images by nonlinear
    transformation and bone enhancement, Med. Imaging Inf. Sci. 36(3), 2019.

    Examples
    --------
    >>> from drrproj import paxray
    >>> from drrproj.io import read_sample
    >>> ct, _ = read_sample()  # 360 mm wide, 330 mm high
    >>> picture = paxray.matsubara(ct)
    >>> picture.levels.shape, int(picture.levels.max())
    ((330, 360), 1023)
    """
    if not isinstance(volume, Volume):
        raise TypeError(f"volume must be a drrproj.Volume; got {type(volume).__name__}")
    bits = whole_number(bits, "bits must be a whole number from 8 to 16", least=8)
    if bits > 16:
        raise ValueError(f"bits must be a whole number from 8 to 16; got {bits}")
    one_number(bone_weight, "bone_weight must be 0 or more", least=0)
    geometry = _geometry(volume, view, pixel_mm)
    skeleton = tissue.bones(volume, window=bone_window, closing=closing, outside_hu=0.0)
    water = Attenuation("matsubara", (-1000.0,), (MU_WATER_PER_MM / 1000,), energy_kev=None)
    choices: dict[str, Any] = {"attenuation": water, "outputs": ("line_integral",)}
    choices |= {"backend": backend, "threads": threads}
    shot = project(volume, geometry, **choices)
    everything, bones = (
        np.exp(-np.asarray(radiograph.line_integral, dtype=np.float64)[0])
        for radiograph in (shot, project(skeleton, geometry, **choices))
    )
    image = unsharp(sigmoid(everything) + bone_weight * sigmoid(bones))
    low, high = float(image.min()), float(image.max())
    if not low < high:
        raise ValueError(f"the picture has no contrast: every pixel is {low:g}")
    levels = np.rint((image - low) / (high - low) * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)
    made = {
        "mode": "matsubara",
        "pixel_mm": pixel_mm,
        "bone_window_hu": list(bone_window),
        "closing": closing,
        "bone_weight": bone_weight,
        "bits": bits,
        "range": [low, high],
    }
    return Picture(levels, {**shot.record, "paxray": made})


def _geometry(volume: Volume, view: str, pixel_mm: float) -> Geometry:
    """Parallel pixels of one size over the whole volume."""
    one_number(pixel_mm, "pixel_mm must be a positive length", above=0)
    rows = columns = 1
    named = str(view).upper()
    if named in RADIOGRAPH_VIEWS:
        extent = np.ptp(volume.corners, axis=0)
        across = extent[0] if named in ("AP", "PA") else extent[1]
        rows, columns = (max(1, round(float(length) / pixel_mm)) for length in (extent[2], across))
    return Geometry.radiograph(view, volume, beam="parallel", shape=(rows, columns), pixel_spacing=pixel_mm)
