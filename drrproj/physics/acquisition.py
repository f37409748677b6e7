"""An exposure of a detector: blur of the focal spot, scatter, quantum noise, blur and noise of the detector."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.geometry import Geometry
from drrproj.given_numbers import one_number, whole_number
from drrproj.physics.blur import blurred
from drrproj.physics.noise import poisson_quantiles
from drrproj.physics.signal import Signal

__all__ = ["Exposure", "Scatter", "acquire"]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

_MM_PER_M = 1000.0
_MM2_PER_CM2 = 100.0
_DARKEST_FLOAT32 = 80.0
# Where the patient is, for the level of scatter: beyond the rounding of a ray that meets nothing.
_PATIENT_LINE_INTEGRAL = 0.05

# Quanta of an open pixel, far beyond any detector's.
_FEWEST, _MOST = 1e-9, 1e15


@dataclass(frozen=True)
class Exposure:
    """How many photons a pixel of the open beam gets: give exactly one of three.

    Parameters
    ----------
    photons_per_pixel : float, optional
        Photons that arrive at each pixel where no patient is, absorbed or not.
    kerma_ugy : float, uGy, optional
        Air kerma at the detector without a patient: a few uGy for a radiograph. Needs a geometry, for the pixels' area.
    mas : float, mAs, optional
        Tube load. Needs an absolute spectrum and a cone beam; distance and slant of each pixel count.

    Raises
    ------
    ValueError
        If none or several are given, or one is not positive.

    Examples
    --------
    >>> from drrproj.physics import Exposure
    >>> Exposure(mas=2.0)
    Exposure(photons_per_pixel=None, kerma_ugy=None, mas=2.0)
    """

    photons_per_pixel: float | None = None
    kerma_ugy: float | None = None
    mas: float | None = None

    def __post_init__(self) -> None:
        given = {name: value for name, value in vars(self).items() if value is not None}
        if len(given) != 1:
            raise ValueError(
                "an exposure is one of photons_per_pixel, kerma_ugy and mas; got "
                + (", ".join(given) or "none of them")
            )
        for name, value in given.items():
            one_number(value, f"{name} must be positive", above=0)

    def photons(self, signal: Signal) -> FloatArray:
        """Return the photons that arrive at each open pixel, shape (views, rows, columns) or what broadcasts to it."""
        if self.photons_per_pixel is not None:
            return np.full((1, 1, 1), float(self.photons_per_pixel))
        if signal.geometry is None:
            raise ValueError("this signal has no geometry, so its pixels have no area; give photons_per_pixel")
        geometry, views = signal.geometry, signal.geometry.views
        area = np.cross(views[:, :3, 2], views[:, :3, 3])
        if self.kerma_ugy is not None:
            per_mm2 = self.kerma_ugy / signal.spectrum.kerma_ugy_per_photon_cm2 / _MM2_PER_CM2
            return np.asarray(per_mm2 * np.linalg.norm(area, axis=1)[:, None, None])
        if not signal.spectrum.is_absolute:
            raise ValueError(
                "mas needs a spectrum in photons per cm2 and mAs, such as physics.tungsten's; give kerma_ugy or "
                "photons_per_pixel"
            )
        if geometry.is_parallel.any():
            raise ValueError("mas needs a distance from the source, and a parallel beam has none; give kerma_ugy")
        rows, columns = geometry.shape
        row, column = np.arange(rows)[:, None, None], np.arange(columns)[None, :, None]
        photons = np.empty((len(views), rows, columns))
        per_mm2_at_1m = float(signal.spectrum.fluence.sum()) * float(self.mas or 0) / _MM2_PER_CM2
        for view, facing, out in zip(views, area, photons, strict=True):
            ray = view[:3, 1] + row * view[:3, 2] + column * view[:3, 3] - view[:3, 0]
            squared = np.square(ray).sum(axis=-1)
            # The pixel's area as the source sees it, by the square of the distance.
            out[...] = per_mm2_at_1m * _MM_PER_M**2 * np.abs(ray @ facing) / squared**1.5
        return photons

    def as_record(self) -> dict[str, Any]:
        """What was asked for, as plain values."""
        return {name: float(value) for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Scatter:
    """A veil of scattered photons, of a stated level and width.

    What is scattered is taken as ``T * -ln(T)`` of the transmission ``T`` (most where 63 % of the photons are lost,
    nothing in the open beam), spread by a Gaussian, and scaled so that behind the patient all scatter over all primary
    signal is ``to_primary``. So the ratio is higher behind the mediastinum and lower behind the lungs. Where the ratio
    is ``r``, contrast falls by ``1 / (1 + r)``; scattered photons add their noise.

    It does not predict: level and width are yours to state (measured without a grid: about 9 behind a mediastinum).
    Scattered photons have the energy of the primary ones; nothing comes from outside the image.

    Parameters
    ----------
    to_primary : float
        All scatter over all primary signal behind the patient, at the detector and behind any grid; not negative.
    sigma_mm : float, mm
        Standard deviation of the spread, at the detector; 30 to 80 for a chest.

    Raises
    ------
    ValueError
        If a number is negative or the width is not positive.

    Source
    ------
    The forward term of Ohnesorge, Flohr and Klingenbeck-Regn 1999, Eur. Radiol. 9, with both exponents 1.

    Examples
    --------
    >>> from drrproj.physics import Scatter
    >>> Scatter(to_primary=1.0, sigma_mm=50.0)
    Scatter(to_primary=1.0, sigma_mm=50.0)
    """

    to_primary: float
    sigma_mm: float

    def __post_init__(self) -> None:
        one_number(self.to_primary, "to_primary of scatter must not be negative", least=0)
        one_number(self.sigma_mm, "sigma_mm of scatter must be positive", above=0)


def acquire(
    signal: Signal,
    *,
    exposure: Exposure | None = None,
    seed: int | None = None,
    focal_spot_mm: float = 0.0,
    magnification: float | None = None,
    scatter: Scatter | None = None,
    detector_blur_mm: float = 0.0,
    electronic_noise: float = 0.0,
) -> Signal:
    """Take the picture: what of blur, scatter and noise is asked for, in the order in which it happens.

    1. The focal spot blurs the transmission by ``focal_spot_mm * (magnification - 1)`` at the detector, as a Gaussian
       of the same variance as that width; one magnification for the whole patient.
    2. Scatter is added.
    3. Quantum noise: each photon is absorbed or not and adds its gain, so the signal is a compound Poisson number. It
       is drawn as a Poisson number of the same mean and variance.
    4. The detector spreads its light: a Gaussian, which smoothes signal and quantum noise alike.
    5. Electronic noise, Gaussian.

    A pixel that ends below one quantum, as noise can make it, gets the line integral of one quantum; the record counts
    them.

    Parameters
    ----------
    signal : Signal
        Without noise.
    exposure : Exposure, optional
        How many photons there are. Without it there is no noise.
    seed : int, optional
        What every random number follows from; needed for noise. The noise of a view depends on the seed, the place of
        the view in the signal, and the pixel, and on nothing else: not on threads, nor on the backend beyond the last
        digits of its line integral.
    focal_spot_mm : float, mm
        Width of the focal spot.
    magnification : float, optional
        Source-to-detector over source-to-patient distance; by default of the plane through the volume's centre.
    scatter : Scatter, optional
        Its level and width.
    detector_blur_mm : float, mm
        Standard deviation of the detector's spread.
    electronic_noise : float
        Standard deviation per pixel, in noise-equivalent quanta of the open beam, of which a pixel has its photons
        times ``signal.quanta``. Of a counting detector that is the signal of an absorbed photon; of an integrating one
        about 1.1 times that of an average one, because photons of different energies are noisier than equal ones. A
        pixel below one such quantum is given one, and counted in the record as ``pixels_below_one_quantum``.

    Returns
    -------
    Signal
        Cannot be acquired again: order matters.

    Raises
    ------
    TypeError
        If an argument is not the value it should be.
    ValueError
        If noise is asked for without exposure or seed, there is noise already, a width is negative, or a focal spot
        is given to a parallel beam, or without magnification to a volume whose centre is not between source and
        detector; if a blur is more than a thousand times as wide as the image, or an open pixel
        would have less than 1e-9 or more than 1e15 quanta.

    Accuracy
    --------
    Mean, variance and skewness of the quantum noise against photons drawn one energy at a time: within 1 %, 3 % and
    0.06, the statistics of that test (``tests/test_acquisition.py``), for 10 to 1e6 photons per pixel.

    Source
    ------
    Whiting et al. 2006, Med. Phys. 33(9), for the compound Poisson signal.

    Examples
    --------
    >>> import numpy as np
    >>> from drrproj import physics
    >>> water = physics.MaterialPaths(np.full((1, 1, 200, 200), 20.0), ("water",))
    >>> beam = physics.tungsten(120, {"aluminium": 4.3})
    >>> signal = physics.polychromatic(water, beam, physics.COUNTING)
    >>> noisy = physics.acquire(signal, exposure=physics.Exposure(photons_per_pixel=1e5), seed=3)
    >>> expected = np.sqrt(1e5 * signal.transmission[0, 0, 0])  # of a Poisson number
    >>> round(float((noisy.transmission * 1e5).std() / expected), 1)
    1.0
    """
    if not isinstance(signal, Signal):
        raise TypeError(f"signal must be a physics.Signal; got {type(signal).__name__}")
    if signal.weight is None:
        raise ValueError("this signal was acquired already; acquire the signal without noise")
    if exposure is not None and not isinstance(exposure, Exposure):
        raise TypeError(f"exposure must be a physics.Exposure; got {type(exposure).__name__}")
    if scatter is not None and not isinstance(scatter, Scatter):
        raise TypeError(f"scatter must be a physics.Scatter; got {type(scatter).__name__}")
    widths = {
        "focal_spot_mm": focal_spot_mm,
        "detector_blur_mm": detector_blur_mm,
        "electronic_noise": electronic_noise,
    }
    for name, value in widths.items():
        one_number(value, f"{name} must not be negative", least=0)
    if exposure is None and (seed is not None or electronic_noise):
        raise ValueError(
            "noise needs an exposure: physics.Exposure(mas=...), (kerma_ugy=...) or (photons_per_pixel=...)"
        )
    if exposure is not None:
        seed = whole_number(seed, "noise needs a seed, a whole number that is not negative", least=0)

    # Float32 has no transmission of a line integral above 103, and blur would bring it back as infinite.
    dark = float(np.max(signal.line_integral, initial=0.0)) > _DARKEST_FLOAT32
    mean = np.exp(-signal.line_integral.astype(np.float64) if dark else -signal.line_integral)
    square = mean * signal.weight
    record: dict[str, Any] = {"exposure": None, "seed": None}

    sigmas, record["focal_spot"] = _focal_spot(signal, focal_spot_mm, magnification)
    mean, square = (_blurred(images, sigmas) for images in (mean, square))
    if scatter is not None:
        mean, square = _scattered(signal.geometry, scatter, mean, square)
        record["scatter"] = {"to_primary": float(scatter.to_primary), "sigma_mm": float(scatter.sigma_mm)}
    quanta: FloatArray | None = None
    if exposure is not None:
        quanta = exposure.photons(signal) * signal.quanta
        if not _FEWEST <= quanta.min() <= quanta.max() <= _MOST:
            raise ValueError(
                f"this exposure lets {quanta.min():.3g} to {quanta.max():.3g} quanta be seen in an open pixel; float32 "
                f"images hold the noise of {_FEWEST:g} to {_MOST:g}"
            )
        mean = _quantum_noise(mean, square, quanta, int(seed or 0))
        record.update(exposure=exposure.as_record(), seed=int(seed or 0))
    if detector_blur_mm:
        mean = _blurred(mean, _pixels(signal.geometry, detector_blur_mm, "detector_blur_mm"))
    record["detector_blur_mm"] = float(detector_blur_mm)
    if electronic_noise and quanta is not None:
        mean = _electronic_noise(mean, electronic_noise / quanta, int(seed or 0))
    record["electronic_noise_quanta"] = float(electronic_noise)

    if quanta is not None:
        one = np.float32(1) / np.broadcast_to(quanta, mean.shape).astype(np.float32)
        faint = mean < one
        record["pixels_below_one_quantum"] = int(np.count_nonzero(faint))
        mean = np.where(faint, one, mean)
    return Signal(
        line_integral=-np.log(np.maximum(mean, np.finfo(mean.dtype).tiny)).astype(np.float32),
        weight=None,
        quanta=signal.quanta,
        spectrum=signal.spectrum,
        radiograph=signal.radiograph,
        geometry=signal.geometry,
        record={**copy.deepcopy(signal.record), "acquisition": record},
    )


def _generator(seed: int, view: int, stage: int) -> np.random.Generator:
    # A counter-based generator for every view and use, so that none depends on how much another one draws.
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(view, stage))))


def _quantum_noise(mean: Float32Array, square: Float32Array, quanta: FloatArray, seed: int) -> Float32Array:
    noisy = np.empty_like(mean)
    for view, (mean_of, square_of, out) in enumerate(zip(mean, square, noisy, strict=True)):
        quanta_of = quanta[view % len(quanta)]
        # Poisson numbers of this mean, each worth `square / (mean * quanta)`, have the signal's mean and variance.
        signal, spread = mean_of.astype(np.float64), np.maximum(square_of, np.finfo(np.float32).tiny)
        counts = quanta_of * signal * (signal / spread)
        normal = _generator(seed, view, 0).standard_normal(mean_of.shape)
        out[...] = poisson_quantiles(counts, normal) * (spread / np.maximum(signal, 1e-300)) / quanta_of
    return noisy


def _electronic_noise(mean: Float32Array, sigma: FloatArray, seed: int) -> Float32Array:
    noisy = np.empty_like(mean)
    for view, (mean_of, out) in enumerate(zip(mean, noisy, strict=True)):
        out[...] = mean_of + _generator(seed, view, 1).standard_normal(mean_of.shape) * sigma[view % len(sigma)]
    return noisy


def _pixels(geometry: Geometry | None, sigma_mm: float, what: str) -> FloatArray:
    """Return a width at the detector in pixels, shape (views, 2): rows' and columns' axis."""
    if geometry is None:
        raise ValueError(f"{what} is in mm, and this signal has no geometry to say how large its pixels are")
    return sigma_mm / geometry.pixel_spacing


def _blurred(images: Float32Array, sigma_pixels: FloatArray | None) -> Float32Array:
    if sigma_pixels is None:
        return images
    views = zip(images, sigma_pixels, strict=True)
    return np.stack([blurred(image, (float(down), float(across))) for image, (down, across) in views])


def _focal_spot(
    signal: Signal, width_mm: float, magnification: float | None
) -> tuple[FloatArray | None, dict[str, Any] | None]:
    if not width_mm:
        if magnification is not None:
            raise ValueError("a magnification belongs to a focal spot; give focal_spot_mm, or leave it out")
        return None, None
    geometry = signal.geometry
    if geometry is None:
        raise ValueError("a focal spot needs a geometry, and this signal has none")
    if geometry.is_parallel.any():
        raise ValueError("a parallel beam has no focal spot")
    if magnification is None:
        magnifications = _magnification_of_the_center(signal, geometry)
    else:
        one = one_number(magnification, "magnification must be at least 1", least=1)
        magnifications = np.full(len(geometry), one)
    # Of a uniform spot of that width.
    sigma_mm = width_mm * (magnifications - 1) / math.sqrt(12)
    pixels = _pixels(geometry, 1.0, "focal_spot_mm") * sigma_mm[:, None]
    return pixels, {"width_mm": float(width_mm), "magnification": magnifications.tolist()}


def _magnification_of_the_center(signal: Signal, geometry: Geometry) -> FloatArray:
    grid = signal.record.get("volume")
    if not grid:
        raise ValueError("nothing says where the patient is; pass magnification=...")
    affine, middle = np.array(grid["affine"]), (np.array(grid["shape"]) - 1) / 2
    center = affine[:3, :3] @ middle + affine[:3, 3]
    to_center = ((center - geometry.sources) * geometry.normals).sum(axis=1)
    for name, distance, sdd in zip(geometry.names, to_center.tolist(), geometry.sdd.tolist(), strict=True):
        if not 0 < distance <= sdd:
            raise ValueError(
                f"view {name!r}: the volume's centre is not between source and detector, and says nothing about the "
                "patient's magnification; pass magnification=..."
            )
    magnifications: FloatArray = geometry.sdd / to_center
    return magnifications


def _scattered(
    geometry: Geometry | None, scatter: Scatter, mean: Float32Array, square: Float32Array
) -> tuple[Float32Array, Float32Array]:
    sigmas = _pixels(geometry, scatter.sigma_mm, "sigma_mm of scatter")
    line_integral = -np.log(np.maximum(mean, np.finfo(np.float32).tiny))
    spread = _blurred(mean * np.maximum(line_integral, 0), sigmas)
    patient = line_integral > _PATIENT_LINE_INTEGRAL
    primary = np.where(patient, mean, 0).sum(axis=(1, 2), dtype=np.float64)
    within = np.where(patient, spread, 0).sum(axis=(1, 2), dtype=np.float64)
    # A view that meets no patient scatters nothing.
    scale = np.divide(scatter.to_primary * primary, within, out=np.zeros_like(primary), where=within > 0)
    added = spread * scale[:, None, None].astype(np.float32)
    # Scattered photons make the noise of the primary ones.
    return mean + added, square + added * (square / np.maximum(mean, np.finfo(np.float32).tiny))
