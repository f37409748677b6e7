"""Detectors: which photons they stop, and what each of those adds to the signal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from drrproj.given_numbers import one_number
from drrproj.materials import Material, checked_energies, material

__all__ = ["COUNTING", "INTEGRATING", "Detector"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Detector:
    """What a detector makes of a photon.

    A photon is absorbed with the probability ``1 - exp(-mu(E) * thickness)``, or always where no absorber is named.
    Then it adds its energy to the signal (``signal="energy"``, flat panels and film), or one (``"count"``).
    Fluorescence that escapes, the spread of light per photon (Swank's factor) and pile-up are not modelled.

    Parameters
    ----------
    signal : {"energy", "count"}
        What an absorbed photon adds.
    absorber : Material or str, optional
        What stops the photons, such as ``"CsI"``. Without one, every photon is absorbed.
    thickness_mm : float, mm, optional
        Thickness of the absorber, as if it were solid: needles of CsI fill about three quarters.

    Raises
    ------
    ValueError
        If the signal or the material is unknown, or only one of absorber and thickness is given.

    Examples
    --------
    >>> from drrproj.physics import Detector
    >>> [round(float(share), 3) for share in Detector("energy", "CsI", 0.6).absorption([40, 60, 80, 100])]
    [0.998, 0.883, 0.63, 0.423]
    """

    signal: Literal["energy", "count"] = "energy"
    absorber: Material | str | None = None
    thickness_mm: float | None = None

    def __post_init__(self) -> None:
        if self.signal not in ("energy", "count"):
            raise ValueError(f'the signal of a detector must be "energy" or "count"; got {self.signal!r}')
        if (self.absorber is None) != (self.thickness_mm is None):
            raise ValueError("an absorber needs a thickness_mm, and a thickness an absorber; got one of them")
        if self.absorber is not None:
            object.__setattr__(self, "absorber", material(self.absorber))
        if self.thickness_mm is not None:
            one_number(self.thickness_mm, "thickness_mm of the absorber must be positive", above=0)

    def absorption(self, energy_kev: npt.ArrayLike) -> FloatArray:
        """Return the share of photons of each energy that is absorbed."""
        energies = checked_energies(energy_kev)
        if not isinstance(self.absorber, Material) or self.thickness_mm is None:
            return np.ones_like(energies)
        absorbed: FloatArray = -np.expm1(-self.absorber.linear_attenuation(energies) * self.thickness_mm)
        return absorbed

    def gain(self, energy_kev: npt.ArrayLike) -> FloatArray:
        """Return what one absorbed photon of each energy adds to the signal: keV, or 1."""
        energies = checked_energies(energy_kev)
        return np.array(energies) if self.signal == "energy" else np.ones_like(energies)

    def as_record(self) -> dict[str, Any]:
        """Everything needed to rebuild the detector, as plain values."""
        return {
            "signal": self.signal,
            "absorber": self.absorber.as_record() if isinstance(self.absorber, Material) else None,
            "thickness_mm": self.thickness_mm,
        }


INTEGRATING = Detector("energy")
"""Absorbs every photon and adds up their energies."""
COUNTING = Detector("count")
"""Counts every photon."""
