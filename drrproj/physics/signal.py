"""The signal of a detector without noise: Beer-Lambert over a spectrum, or at one energy."""

from __future__ import annotations

import copy
import dataclasses
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.geometry import Geometry
from drrproj.physics.detector import INTEGRATING, Detector
from drrproj.physics.paths import MaterialPaths
from drrproj.physics.spectrum import Spectrum, monoenergetic
from drrproj.radiograph import Radiograph
from drrproj.short_text import counted
from drrproj.threads import checked_threads

__all__ = ["Signal", "monochromatic", "polychromatic"]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

# Pixels for which a block of (pixels, energies) in float32 stays within a core's second cache.
_BLOCK = 4096
# Products of matrices up to this size (rows x columns x terms) a BLAS does by itself; beyond, OpenBLAS sends for its
# own threads, which wait for each other beside ours: fifteen times slower was seen on a busy machine.
_MOST_FOR_ONE_THREAD = 2**17
# Below this the sum of exponentials in float32 loses digits to numbers too small to be normal.
_FAINT = np.float32(1e-25)


@dataclass(frozen=True, eq=False, repr=False)
class Signal:
    """What a detector reads, in units of what it reads without a patient.

    Attributes
    ----------
    line_integral : ndarray, shape (views, rows, columns), float32
        ``-ln(signal / open signal)``: that of a line integral where the beam has one energy.
    weight : ndarray or None, shape (views, rows, columns), float32
        How much more noise the photons behind the patient make than those of the open beam:
        ``(sum q^2 N / sum q^2 N_open) / (sum q N / sum q N_open)`` with the gain ``q`` of a photon. None once there is
        noise in the image.
    quanta : float
        Noise-equivalent quanta of the open beam for each photon that arrives, at most 1.
    spectrum : Spectrum
        The beam before the patient.
    radiograph : Radiograph or None
        The projection it was made from: :meth:`as_radiograph` keeps its geometry.
    geometry : Geometry or None
        The views.
    record : dict
        Plain values that say how it was made, for the sidecar.

    Examples
    --------
    >>> import numpy as np
    >>> from drrproj import physics
    >>> water = physics.MaterialPaths(np.full((1, 1, 1, 2), 20.0), ("water",))  # 20 g/cm2
    >>> signal = physics.polychromatic(water, physics.tungsten(120, {"aluminium": 4.3}))
    >>> signal.transmission.shape, round(float(signal.line_integral[0, 0, 0]), 2)
    ((1, 1, 2), 4.05)
    """

    line_integral: Float32Array
    weight: Float32Array | None
    quanta: float
    spectrum: Spectrum
    radiograph: Radiograph | None = None
    geometry: Geometry | None = None
    record: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        views, rows, columns = self.line_integral.shape
        beam = f"{self.spectrum.mean_energy_kev:.4g} keV on average"
        return f"Signal({counted(views, 'view')}, {rows} x {columns} pixels; {beam})"

    @property
    def transmission(self) -> Float32Array:
        """Signal over the open beam's, shape (views, rows, columns)."""
        return np.exp(-self.line_integral)

    def as_radiograph(self) -> Radiograph:
        """Return the image as a radiograph, for what writes and shows radiographs.

        The anatomy of the projection (masks, path lengths) is not repeated in it, and its record tells what was done.

        Raises
        ------
        ValueError
            If the signal was not made from a projection.
        """
        if self.radiograph is None:
            raise ValueError("this signal was made from arrays, without a projection; use its line_integral")
        record = {**copy.deepcopy(self.record), "outputs": ["line_integral"]}
        return dataclasses.replace(self.radiograph, images={"line_integral": self.line_integral}, record=record)


def polychromatic(
    paths: MaterialPaths,
    spectrum: Spectrum,
    detector: Detector = INTEGRATING,
    *,
    threads: int | None = None,
) -> Signal:
    """Send a spectrum through the materials along each ray.

    ``signal = sum_E S(E) D(E) exp(-sum_m (mu/rho)_m(E) A_m)``, divided by the same without a patient: ``S`` photons,
    ``D`` the detector's response to one, ``A_m`` the mass of material ``m`` along the ray. Every bin of the spectrum
    counts; straight rays, no scatter.

    Parameters
    ----------
    paths : MaterialPaths
        Mass of each material along each ray, g/cm2.
    spectrum : Spectrum
        The beam before the patient.
    detector : Detector
        By default it adds up the energy of every photon.
    threads : int, optional
        CPU threads. By default as for :func:`drrproj.project`. The result does not depend on it.

    Returns
    -------
    Signal

    Raises
    ------
    TypeError
        If an argument is not the value it should be.
    ValueError
        If threads is not a whole number from 1 to 65535.

    Accuracy
    --------
    The relative error of the signal is below 1e-5 of the plain sum in float64 up to line integrals of 60
    (``tests/test_polychromatic.py``); the published transmissions of three spectra through water and bone are met
    within 1e-4.

    Source
    ------
    Beer-Lambert's law; coefficients of :mod:`drrproj.materials`.

    Examples
    --------
    >>> import numpy as np
    >>> from drrproj import physics
    >>> water = np.array([0.0, 10.0, 20.0, 30.0], np.float32).reshape(1, 1, 1, 4)  # g/cm2: cm of water
    >>> beam = physics.tungsten(120, {"aluminium": 4.3})
    >>> signal = physics.polychromatic(physics.MaterialPaths(water, ("water",)), beam)
    >>> [round(float(p), 2) for p in signal.line_integral.ravel()]  # beam hardening: each 10 cm add less
    [0.0, 2.08, 4.05, 5.95]
    """
    if not isinstance(paths, MaterialPaths):
        raise TypeError(f"paths must be a MaterialPaths; got {type(paths).__name__}. See physics.material_paths")
    _check_beam(spectrum, detector)
    threads = checked_threads(threads)

    energies = spectrum.energies_kev
    arrived = spectrum.fluence * detector.absorption(energies)
    gain = detector.gain(energies)
    # Bins without photons cost as much as others.
    seen = arrived > 0
    if not seen.any():
        raise ValueError("no photon of the spectrum is absorbed by the detector")
    mass_attenuation = np.stack([material.mass_attenuation(energies[seen]) for material in paths.materials])
    responses = np.stack([arrived * gain, arrived * gain**2])[:, seen]
    open_signal, open_square = responses.sum(axis=1)
    responses = responses / [[open_signal], [open_square]]
    # Photons of one gain make noise like the open beam's everywhere.
    varies = detector.signal == "energy" and seen.sum() > 1
    logarithms = _attenuated(paths.areal_density, mass_attenuation, responses[: 1 + varies], threads)

    line_integral = 0 - logarithms[0]
    return Signal(
        line_integral=line_integral,
        weight=np.exp(logarithms[1] + line_integral) if varies else np.ones_like(line_integral),
        quanta=float(open_signal**2 / open_square / spectrum.fluence.sum()),
        spectrum=spectrum,
        radiograph=paths.radiograph,
        geometry=paths.geometry,
        record={
            **copy.deepcopy(paths.record),
            "signal": {
                "kind": "polychromatic",
                "spectrum": spectrum.as_record(),
                "detector": detector.as_record(),
                "materials": [material.as_record() for material in paths.materials],
            },
        },
    )


def monochromatic(
    radiograph: Radiograph, detector: Detector = INTEGRATING, *, energy_kev: float | None = None
) -> Signal:
    """Take a radiograph's line integral as the signal of a beam of one energy.

    For noise and blur without a spectrum: the line integral stays as it is.

    Parameters
    ----------
    radiograph : Radiograph
        With a line integral of attenuation.
    detector : Detector
        Its absorption decides how many photons count.
    energy_kev : float, keV, optional
        Energy of the beam; by default that of the attenuation model it was projected with.

    Returns
    -------
    Signal

    Raises
    ------
    TypeError
        If it is no radiograph.
    ValueError
        If there is no line integral, it is one of density or the image of a spectrum, it was exposed already, or no
        energy is known.

    Examples
    --------
    >>> import numpy as np, drrproj
    >>> from drrproj import physics
    >>> water = drrproj.Volume(np.zeros((20, 20, 20), np.int16), np.diag([5, 5, 5, 1]))
    >>> shot = drrproj.project(water, drrproj.Geometry.radiograph("AP", water, shape=(8, 8)), attenuation="linear")
    >>> signal = physics.monochromatic(shot)
    >>> bool((signal.line_integral == shot.line_integral).all()), signal.quanta
    (True, 1.0)
    """
    if not isinstance(radiograph, Radiograph):
        raise TypeError(f"radiograph must be a drrproj.Radiograph; got {type(radiograph).__name__}")
    if "line_integral" not in radiograph.images:
        raise ValueError('this radiograph has no line integral; ask for outputs=("line_integral", ...)')
    if "acquisition" in radiograph.record:
        raise ValueError("this radiograph was exposed already; noise and blur belong on one without")
    if radiograph.record.get("signal", {}).get("kind") == "polychromatic":
        # Noise depends on the photons of each energy, and the image no longer tells them apart.
        raise ValueError(
            "this radiograph is the image of a spectrum, not of one energy; give noise and blur where the spectrum is "
            "given: physics.acquire of the Signal, or drrproj project --kvp"
        )
    model = radiograph.record.get("attenuation") or {}
    if model.get("unit", "1/mm") != "1/mm":
        raise ValueError(f"this radiograph is one of {model['unit']}, not of attenuation; see physics.material_paths")
    if energy_kev is None:
        energy_kev = model.get("energy_kev")
    if energy_kev is None:
        raise ValueError("nothing says at which energy this radiograph was made; pass energy_kev=...")
    spectrum = monoenergetic(energy_kev)
    _check_beam(spectrum, detector)
    return Signal(
        line_integral=radiograph.line_integral,
        weight=np.ones_like(radiograph.line_integral),
        quanta=float(detector.absorption(energy_kev)),
        spectrum=spectrum,
        radiograph=radiograph,
        geometry=radiograph.geometry,
        record={
            **copy.deepcopy(radiograph.record),
            "signal": {
                "kind": "monochromatic",
                "energy_kev": float(energy_kev),
                "detector": detector.as_record(),
            },
        },
    )


def _check_beam(spectrum: Spectrum, detector: Detector) -> None:
    if not isinstance(spectrum, Spectrum):
        raise TypeError(f"spectrum must be a physics.Spectrum; got {type(spectrum).__name__}")
    if not isinstance(detector, Detector):
        raise TypeError(f"detector must be a physics.Detector; got {type(detector).__name__}")


def _attenuated(
    areal_density: Float32Array, mass_attenuation: FloatArray, responses: FloatArray, threads: int
) -> Float32Array:
    """Return the logarithm of each response's sum over energies, shape (responses, *image).

    Blocks are the same for any number of threads, and each is summed by one of them.
    """
    materials, *image = areal_density.shape
    density = areal_density.reshape(materials, -1)
    pixels = density.shape[1]
    exponents = np.ascontiguousarray(-mass_attenuation, dtype=np.float32)
    energies = exponents.shape[1]
    rows = max(1, min(_BLOCK, _MOST_FOR_ONE_THREAD // (energies * max(materials, len(responses)))))
    weights = np.ascontiguousarray(responses.T, dtype=np.float32)
    logarithms = np.empty((len(responses), pixels), np.float32)

    def block(start: int) -> None:
        here = slice(start, min(start + _BLOCK, pixels))
        count = here.stop - start
        stacks = -(-count // rows)
        stacked = np.zeros((stacks, rows, materials), np.float32)
        stacked.reshape(-1, materials)[:count] = density[:, here].T
        terms = np.matmul(stacked, exponents)
        np.exp(terms, out=terms)
        sums = np.matmul(terms, weights).reshape(-1, len(responses))[:count]
        faint = np.flatnonzero(sums.min(axis=1) < _FAINT)
        with np.errstate(divide="ignore"):
            logarithms[:, here] = np.log(sums).T
        if faint.size:
            logarithms[:, start + faint] = _in_double(density[:, start + faint], mass_attenuation, responses)
        # Where there is nothing, rounding must not make something of it.
        logarithms[:, here][:, ~density[:, here].any(axis=0)] = 0

    starts = range(0, pixels, _BLOCK)
    if threads == 1 or len(starts) == 1:
        for start in starts:
            block(start)
    else:
        with ThreadPoolExecutor(min(threads, len(starts))) as pool:
            # The list raises what a thread raised.
            list(pool.map(block, starts))
    return logarithms.reshape(len(responses), *image)


def _in_double(density: Float32Array, mass_attenuation: FloatArray, responses: FloatArray) -> FloatArray:
    """Return the same for rays so strongly attenuated that their terms are no normal number in float32."""
    exponents = -(density.astype(np.float64).T @ mass_attenuation)
    largest = exponents.max(axis=1, keepdims=True)
    sums = np.exp(exponents - largest) @ responses.T
    logarithms: FloatArray = (np.log(sums) + largest).T
    return logarithms
