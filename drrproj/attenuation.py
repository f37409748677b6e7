"""From Hounsfield units to linear attenuation.

A model is a piecewise-linear function of HU, zero at and below air (-1000 HU); the walk applies it to each voxel as
it is read, so a CT stays in its own number type. Coefficients come from ``data/mass_attenuation.csv``: total mass
attenuation with coherent scattering (xraylib ``CS_Total``, within 0.05 % of NIST SRD 126 where that is tabulated).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Attenuation", "bilinear", "linear", "linear_attenuation"]

ENERGY_RANGE_KEV = (30.0, 150.0)
AIR_HU = -1000.0

_TABLE = Path(__file__).with_name("data") / "mass_attenuation.csv"


@dataclass(frozen=True)
class Attenuation:
    """A piecewise-linear map from HU to linear attenuation.

    ``mu(hu)`` is the sum over all bends of ``slope_change * max(0, hu - knot)``: zero below the first knot, a new
    slope from each knot on.

    Parameters
    ----------
    model : str
        Name of the model, for the record.
    knots : tuple of float, HU
        Where the slope changes, ascending; the first is where attenuation begins.
    slope_changes : tuple of float, 1/mm per HU
        By how much the slope changes there.
    energy_kev : float, keV
        Photon energy the coefficients belong to.
    ct_energy_kev : float or None, keV
        Effective energy of the CT scan, where the model needs it.

    Examples
    --------
    >>> import drrproj
    >>> water = drrproj.attenuation.linear(energy_kev=60)
    >>> [round(float(mu), 5) for mu in water([-3024, -1000, 0])]
    [0.0, 0.0, 0.02059]
    """

    model: str
    knots: tuple[float, ...]
    slope_changes: tuple[float, ...]
    energy_kev: float
    ct_energy_kev: float | None = None

    def __post_init__(self) -> None:
        if not self.knots or len(self.knots) != len(self.slope_changes):
            raise ValueError(
                f"an attenuation needs one slope change per knot; got {len(self.knots)} knots and "
                f"{len(self.slope_changes)} slope changes"
            )
        if not np.isfinite([*self.knots, *self.slope_changes]).all() or list(self.knots) != sorted(self.knots):
            raise ValueError(f"knots must be finite and ascending; got {self.knots} with {self.slope_changes}")

    def __call__(self, hu: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the linear attenuation in 1/mm of HU values; NaN counts as air."""
        values = np.nan_to_num(np.asarray(hu, dtype=np.float64), nan=-np.inf)
        mu = np.zeros_like(values)
        for knot, slope_change in zip(self.knots, self.slope_changes, strict=True):
            mu += slope_change * np.maximum(0.0, values - knot)
        return mu

    def as_record(self) -> dict[str, Any]:
        """Everything needed to rebuild the model, as plain values."""
        return {
            "model": self.model,
            "energy_kev": self.energy_kev,
            "ct_energy_kev": self.ct_energy_kev,
            "knots_hu": list(self.knots),
            "slope_changes_per_mm_per_hu": list(self.slope_changes),
        }


@cache
def _mass_attenuation() -> tuple[npt.NDArray[np.float64], dict[str, tuple[float, npt.NDArray[np.float64]]]]:
    with _TABLE.open(encoding="utf-8") as table:
        header, density, *rows = csv.reader(line for line in table if not line.startswith("#"))
    values = np.array([[float(cell) for cell in row] for row in rows])
    materials = {name: (float(density[column]), values[:, column]) for column, name in enumerate(header) if column > 0}
    return values[:, 0], materials


def linear_attenuation(material: str, energy_kev: float) -> float:
    """Return the linear attenuation coefficient of a tabulated material.

    Interpolates the mass attenuation between the 5 keV rows of the table, log against log, and multiplies by the
    density given there.

    Parameters
    ----------
    material : str
        A column of the table: ``water``, ``bone_cortical_ICRU44``, ``air``, ``lung_ICRU44``, ``iodine``, ...
    energy_kev : float, keV, in [30, 150]
        Photon energy.

    Returns
    -------
    float, 1/mm

    Raises
    ------
    ValueError
        If the energy lies outside the table's range or the material is not in it.

    Accuracy
    --------
    Within 1e-3 of NIST SRD 126 at 30, 40, 50, 60, 80, 100 and 150 keV for water and cortical bone (tested).

    Source
    ------
    xraylib ``CS_Total``; compositions and densities ICRU Report 44.

    Examples
    --------
    >>> import drrproj
    >>> round(drrproj.attenuation.linear_attenuation("water", 70), 6)
    0.019285
    """
    energies, materials = _mass_attenuation()
    low, high = ENERGY_RANGE_KEV
    if not low <= energy_kev <= high:
        raise ValueError(f"energy_kev must be from {low:g} to {high:g} keV; got {energy_kev!r}")
    if material not in materials:
        raise ValueError(f"no coefficients for {material!r}; the table has {', '.join(materials)}")
    density, mass_attenuation = materials[material]
    per_cm = density * np.exp(np.interp(np.log(energy_kev), np.log(energies), np.log(mass_attenuation)))
    return float(per_cm / 10.0)


def linear(energy_kev: float = 70.0) -> Attenuation:
    """Scale water: ``mu = mu_water(E) * (1 + HU/1000)``, never negative.

    True for materials that attenuate like water of another density; cortical bone comes out too weak below the
    CT's effective energy and too strong above it.

    Parameters
    ----------
    energy_kev : float, keV, in [30, 150]
        Photon energy of the X-ray; 70 stands for the effective energy of a chest exposure.

    Returns
    -------
    Attenuation

    Raises
    ------
    ValueError
        If the energy is out of range.

    Source
    ------
    The definition of the Hounsfield scale, with the attenuation of air (0.1 % of water's) taken as zero.

    Examples
    --------
    >>> import drrproj
    >>> float(drrproj.attenuation.linear(70)(-500)) * 2 == float(drrproj.attenuation.linear(70)(0))
    True
    """
    water = linear_attenuation("water", energy_kev)
    return Attenuation("linear", (AIR_HU,), (water / 1000.0,), float(energy_kev))


def bilinear(energy_kev: float = 70.0, ct_energy_kev: float = 70.0) -> Attenuation:
    """Scale water up to 0 HU and mix water with cortical bone above it.

    Below 0 HU as :func:`linear`. Above, ``mu = mu_water(E) + HU * (mu_bone(E) - mu_water(E)) / HU_bone`` with
    ``HU_bone = 1000 * (mu_bone(E_ct) / mu_water(E_ct) - 1)``. For ``E == E_ct`` this is the linear law. Contrast
    medium and metal are not bone: their attenuation is not what this model says.

    Parameters
    ----------
    energy_kev : float, keV, in [30, 150]
        Photon energy of the X-ray.
    ct_energy_kev : float, keV, in [30, 150]
        Effective energy of the CT scan; 70 stands for 120 kVp.

    Returns
    -------
    Attenuation

    Raises
    ------
    ValueError
        If an energy is out of range.

    Source
    ------
    Water and ICRU-44 cortical bone at 1.92 g/cm3, from the table named in this module.

    Examples
    --------
    >>> import drrproj
    >>> round(float(drrproj.attenuation.bilinear(60)(1559)), 4)
    0.0604
    """
    water = linear_attenuation("water", energy_kev)
    bone = linear_attenuation("bone_cortical_ICRU44", energy_kev)
    bone_at_ct = linear_attenuation("bone_cortical_ICRU44", ct_energy_kev)
    bone_hu = 1000.0 * (bone_at_ct / linear_attenuation("water", ct_energy_kev) - 1.0)
    above = (bone - water) / bone_hu
    return Attenuation(
        "bilinear",
        (AIR_HU, 0.0),
        (water / 1000.0, above - water / 1000.0),
        float(energy_kev),
        float(ct_energy_kev),
    )
