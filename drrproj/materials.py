"""Materials: what tissue, implants, filters and detectors are made of, and how they attenuate.

A material is a density and mass fractions of elements; its mass attenuation is the sum of its elements'. Those come
from ``data/element_attenuation.csv``: total mass attenuation with coherent scattering from 10 to 150 keV, in steps of
half a keV up to 60 and of one above, with both sides of every absorption edge (xraylib ``CS_Total``).
``docs/physics_tables.py`` makes that table.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.given_numbers import one_number, real_numbers
from drrproj.short_text import near_or_known, shown

__all__ = ["ENERGY_RANGE_KEV", "MATERIALS", "Material", "checked_energies", "material", "mixture"]

ENERGY_RANGE_KEV = (10.0, 150.0)
"""Lowest and highest photon energy that the tables know."""

_DATA = Path(__file__).with_name("data")
# Compositions are published with three decimals, so a true sum may miss 1 by a few thousandths.
_SUM_TOLERANCE = 5e-3

FloatArray = npt.NDArray[np.float64]


@cache
def _element_table() -> tuple[FloatArray, dict[str, FloatArray]]:
    """Logarithms of the energies and of each element's mass attenuation."""
    with (_DATA / "element_attenuation.csv").open(encoding="utf-8") as table:
        header, *rows = csv.reader(line for line in table if not line.startswith("#"))
    values = np.log(np.array(rows, dtype=np.float64))
    return values[:, 0], {element: values[:, column] for column, element in enumerate(header) if column}


def checked_energies(energy_kev: npt.ArrayLike) -> FloatArray:
    """Return photon energies as an array; refuse what lies outside the tables."""
    low, high = ENERGY_RANGE_KEV
    wanted = f"energy_kev must be from {low:g} to {high:g} keV, where there are tables"
    energies = real_numbers(energy_kev, wanted)
    outside = energies[~((energies >= low) & (energies <= high))]
    if outside.size:
        raise ValueError(f"{wanted}; got {float(outside.flat[0])!r}")
    return energies


@dataclass(frozen=True, eq=False)
class Material:
    """A density and what it is made of.

    Parameters
    ----------
    name : str
        Its name, for the record.
    density_g_cm3 : float, g/cm3
        Its density where it is dense: bone without marrow, lung without air.
    mass_fractions : mapping of str to float
        Share of the mass by element symbol; they sum to 1 within 0.005, the rounding of published tables.
    source : str, optional
        Where the numbers come from.

    Raises
    ------
    ValueError
        If the density is not positive, an element is not in the table, or the fractions do not sum to 1.

    Examples
    --------
    >>> from drrproj.materials import Material
    >>> ice = Material("ice", 0.917, {"H": 0.111898, "O": 0.888102})
    >>> round(float(ice.linear_attenuation(60)), 5)  # 1/mm
    0.01888
    """

    name: str
    density_g_cm3: float
    mass_fractions: Mapping[str, float]
    source: str = ""

    def __post_init__(self) -> None:
        one_number(self.density_g_cm3, f"the density of {self.name!r} must be positive, in g/cm3", above=0)
        fractions = _shares(self.mass_fractions, "mass fraction", self.name)
        known = _element_table()[1]
        unknown = [element for element in fractions if element not in known]
        if unknown:
            raise ValueError(
                f"no coefficients for {', '.join(unknown)} in {self.name!r}; the table has {', '.join(known)}"
            )
        total = sum(fractions.values())
        if not abs(total - 1) <= _SUM_TOLERANCE:
            raise ValueError(f"mass fractions of {self.name!r} must sum to 1; they sum to {total:g}")
        object.__setattr__(self, "mass_fractions", MappingProxyType(fractions))

    def mass_attenuation(self, energy_kev: npt.ArrayLike) -> FloatArray:
        """Return the total mass attenuation in cm2/g, with coherent scattering.

        Each element is interpolated log against log between the rows, on either side of an absorption edge by
        itself; at an edge the value above it counts.

        Parameters
        ----------
        energy_kev : array_like, keV, in [10, 150]
            Photon energies, any shape.

        Returns
        -------
        ndarray, cm2/g, of that shape

        Raises
        ------
        ValueError
            If an energy lies outside the table.

        Accuracy
        --------
        Within 1e-3 of NIST SRD 126 where that is tabulated from 20 keV on; between the rows within 5e-4 of xraylib
        (``tests/test_materials.py``).

        Source
        ------
        xraylib 4.3.0, ``CS_Total``: Schoonjans et al. 2011, Spectrochimica Acta B 66.

        Examples
        --------
        >>> from drrproj.materials import MATERIALS
        >>> [round(float(value), 4) for value in MATERIALS["iodine"].mass_attenuation([33.1, 33.2])]
        [6.5897, 35.7438]
        """
        energies = np.log(checked_energies(energy_kev))
        rows, elements = _element_table()
        total = np.zeros_like(energies)
        for element, fraction in self.mass_fractions.items():
            total += fraction * np.exp(np.interp(energies, rows, elements[element]))
        return total

    def linear_attenuation(self, energy_kev: npt.ArrayLike) -> FloatArray:
        """Return the linear attenuation in 1/mm, at the material's own density."""
        per_mm: FloatArray = self.mass_attenuation(energy_kev) * (self.density_g_cm3 / 10.0)
        return per_mm

    def as_record(self) -> dict[str, Any]:
        """Everything needed to rebuild the material, as plain values."""
        return {
            "name": self.name,
            "density_g_cm3": float(self.density_g_cm3),
            "mass_fractions": dict(self.mass_fractions),
            "source": self.source,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        # The mass fractions are a read-only view, which does not pickle; workers of a pool need materials all the same.
        return Material, (self.name, self.density_g_cm3, dict(self.mass_fractions), self.source)


class _Catalogue(Mapping[str, Material]):
    """The materials of ``data/materials.csv``, read when they are first asked for."""

    @property
    def _materials(self) -> dict[str, Material]:
        return _catalogue()

    def __getitem__(self, name: str) -> Material:
        known = _names_of_elements().get(name, name)
        if known not in self._materials:
            raise KeyError(f"no material {name!r}; {near_or_known(name, self._materials)}")
        return self._materials[known]

    def __iter__(self) -> Iterator[str]:
        return iter(self._materials)

    def __len__(self) -> int:
        return len(self._materials)


@cache
def _catalogue() -> dict[str, Material]:
    with (_DATA / "materials.csv").open(encoding="utf-8") as table:
        rows = list(csv.DictReader(line for line in table if not line.startswith("#")))
    materials = {}
    for row in rows:
        words = row["mass_fractions"].split()
        fractions = dict(zip(words[::2], map(float, words[1::2]), strict=True))
        materials[row["name"]] = Material(row["name"], float(row["density_g_cm3"]), fractions, row["source"])
    return materials


@cache
def _names_of_elements() -> dict[str, str]:
    """The names of those materials that are elements, by symbol."""
    return {
        symbol: name
        for name, known in _catalogue().items()
        for symbol in known.mass_fractions
        if len(known.mass_fractions) == 1
    }


MATERIALS: Mapping[str, Material] = _Catalogue()
"""Known materials by name, ``MATERIALS["titanium"]``; elements by symbol, too, ``MATERIALS["Ti"]``."""


def material(named: Material | str) -> Material:
    """Return a material as it is, or a known one by its name or symbol.

    Raises
    ------
    TypeError
        If it is neither.
    ValueError
        If no material has that name.

    Examples
    --------
    >>> from drrproj.materials import material
    >>> material("titanium").density_g_cm3
    4.54
    >>> material("Al").name
    'aluminium'
    """
    if isinstance(named, Material):
        return named
    if not isinstance(named, str):
        raise TypeError(f"a material must be a Material or the name of one; got {type(named).__name__}")
    try:
        return MATERIALS[named]
    except KeyError as unknown:
        raise ValueError(unknown.args[0]) from None


def mixture(name: str, mass_shares: Mapping[str, float], density_g_cm3: float) -> Material:
    """Mix known materials, such as contrast medium in blood.

    Parameters
    ----------
    name : str
        Name of the mixture.
    mass_shares : mapping of str to float
        Share of the mass by material name, in any unit; they are divided by their sum.
    density_g_cm3 : float, g/cm3
        Density of the mixture.

    Returns
    -------
    Material

    Raises
    ------
    ValueError
        If a material is unknown, a share is negative, all are zero, or the density is not positive.

    Examples
    --------
    10 mg of iodine in each ml of blood:

    >>> from drrproj.materials import mixture
    >>> contrast = mixture("blood with iodine", {"blood_ICRU44": 1060, "iodine": 10}, density_g_cm3=1.07)
    >>> round(float(contrast.linear_attenuation(60)), 5)  # 1/mm; blood alone has 0.0218
    0.02938
    """
    wanted = "must not be negative, nor all zero"
    shares = _shares(mass_shares, "mass share", name, wanted)
    total = sum(shares.values())
    if not total:
        raise ValueError(f"mass shares of {name!r} {wanted}; got {shares}")
    fractions: dict[str, float] = {}
    for part, share in shares.items():
        for element, fraction in material(part).mass_fractions.items():
            fractions[element] = fractions.get(element, 0.0) + fraction * share / total
    parts = ", ".join(f"{part} {share:g}" for part, share in shares.items())
    return Material(name, density_g_cm3, fractions, f"mixture by mass: {parts}")


def _shares(
    given: Mapping[str, float], what: str, whole: str, wanted: str = "must not be negative"
) -> dict[str, float]:
    if not isinstance(given, Mapping):
        raise TypeError(f"each {what} of {whole!r} goes by a name, {{name: share}}; got {shown(given)}")
    return {
        part: one_number(share, f"the {what} of {part!r} in {whole!r} {wanted}", least=0)
        for part, share in given.items()
    }
