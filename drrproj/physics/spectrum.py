"""Spectra of X-ray tubes: photons by energy, filters, half-value layers, kerma."""

from __future__ import annotations

import copy
import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from drrproj.given_numbers import one_number, real_numbers
from drrproj.materials import ENERGY_RANGE_KEV, MATERIALS, Material, checked_energies, material
from drrproj.short_text import counted, shown

__all__ = ["Spectrum", "from_spekpy", "monoenergetic", "tungsten"]

FloatArray = npt.NDArray[np.float64]

_DATA = Path(__file__).parents[1] / "data"
_JOULE_PER_KEV = 1.602176634e-16
# What a spectrum may lose below the tables' lowest energy without a word: less than any figure here is accurate to.
_LOST_SHARE = 1e-6
# Of the photons at the tables' lowest energy, what the filters of a shipped spectrum may let through.
_SOFT_SHARE = 0.01


class _Spek(Protocol):
    """What of ``spekpy.Spek`` is used."""

    state: Any

    def get_spectrum(self, *, edges: bool, flu: bool, diff: bool) -> tuple[Any, Any]:
        """Return energies and fluence."""


@dataclass(frozen=True, eq=False, repr=False)
class Spectrum:
    """How many photons a beam has at each energy.

    Parameters
    ----------
    energies_kev : array_like, shape (bins,), keV, in [10, 150]
        The middle of each bin, ascending.
    fluence : array_like, shape (bins,)
        Photons in each bin: a relative number, or photons per cm2 and mAs at 1 m where ``is_absolute``.
    is_absolute : bool
        Whether the fluence has that unit; an exposure in mAs needs it.
    description : mapping of str to plain values, optional
        What the beam is, for the record: ``{"kvp": 120, ...}``.

    Raises
    ------
    ValueError
        If the arrays do not match, energies are outside the tables or do not ascend, or there are no photons.

    Examples
    --------
    >>> from drrproj.physics import Spectrum
    >>> beam = Spectrum([40, 50, 60], [1.0, 2.0, 1.0])
    >>> beam.mean_energy_kev
    50.0
    """

    energies_kev: FloatArray
    fluence: FloatArray
    is_absolute: bool = False
    description: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        lowest, highest = self.energies_kev[[0, -1]]
        bins = f"{counted(len(self.energies_kev), 'bin')} from {lowest:g} to {highest:g} keV"
        return f"Spectrum({bins}, {self.mean_energy_kev:.4g} keV on average)"

    def __post_init__(self) -> None:
        energies = checked_energies(self.energies_kev)
        fluence = real_numbers(self.fluence, "the fluence of a spectrum must be one number per energy")
        if energies.ndim != 1 or energies.shape != fluence.shape:
            raise ValueError(
                f"a spectrum needs one fluence per energy; got energies of shape {energies.shape} and fluence of shape "
                f"{fluence.shape}"
            )
        if (np.diff(energies) <= 0).any():
            raise ValueError("the energies of a spectrum must ascend")
        if not np.isfinite(fluence).all() or (fluence < 0).any():
            raise ValueError(
                f"the fluence of a spectrum must be finite and not negative; the lowest is {fluence.min()}"
            )
        if not fluence.sum() > 0:
            raise ValueError("the spectrum has no photons: its fluence is zero at every energy")
        for array in (energies, fluence):
            array.setflags(write=False)
        object.__setattr__(self, "energies_kev", energies)
        object.__setattr__(self, "fluence", fluence)
        object.__setattr__(self, "description", copy.deepcopy(dict(self.description)))

    def __reduce__(self) -> tuple[Any, ...]:
        # Made anew, a copy's arrays are read-only too.
        return Spectrum, (self.energies_kev, self.fluence, self.is_absolute, self.description)

    @property
    def mean_energy_kev(self) -> float:
        """Mean energy of the photons, keV."""
        return float(self.energies_kev @ self.fluence / self.fluence.sum())

    @property
    def kerma_ugy_per_photon_cm2(self) -> float:
        """Air kerma, in uGy, of one photon per cm2 of this beam."""
        per_photon = self.energies_kev * _air_energy_absorption(self.energies_kev) * _JOULE_PER_KEV * 1e3 * 1e6
        return float(per_photon @ self.fluence / self.fluence.sum())

    @property
    def kerma_ugy_per_mas(self) -> float:
        """Air kerma at 1 m, in uGy per mAs.

        Raises
        ------
        ValueError
            If the spectrum is relative.
        """
        if not self.is_absolute:
            raise ValueError("a relative spectrum has no kerma per mAs; use one in photons per cm2 and mAs at 1 m")
        return self.kerma_ugy_per_photon_cm2 * float(self.fluence.sum())

    def filtered(self, by: Material | str, thickness_mm: float) -> Spectrum:
        """Return the spectrum behind a filter.

        Parameters
        ----------
        by : Material or str
            What the filter is made of, such as ``"copper"`` or ``"Cu"``.
        thickness_mm : float, mm
            How thick it is; not negative.

        Returns
        -------
        Spectrum

        Raises
        ------
        ValueError
            If the material is unknown, the thickness is negative, or no photon gets through.

        Examples
        --------
        >>> from drrproj.physics import tungsten
        >>> beam = tungsten(120, {"aluminium": 2.5})
        >>> round(beam.mean_energy_kev, 1), round(beam.filtered("copper", 0.1).mean_energy_kev, 1)
        (54.5, 59.9)
        """
        layer = material(by)
        one_number(thickness_mm, "the thickness of a filter must not be negative, in mm", least=0)
        through = np.exp(-layer.linear_attenuation(self.energies_kev) * thickness_mm)
        filters = dict(self.description.get("filters_mm", {}))
        filters[layer.name] = filters.get(layer.name, 0.0) + float(thickness_mm)
        return Spectrum(
            self.energies_kev,
            self.fluence * through,
            self.is_absolute,
            {**self.description, "filters_mm": filters},
        )

    def half_value_layer_mm(self, by: Material | str = "aluminium", number: int = 1) -> float:
        """Return the thickness that halves the air kerma: the first, or the next after it, and so on.

        Parameters
        ----------
        by : Material or str
            What the absorber is made of.
        number : int
            1 for the first half-value layer, 2 for the second.

        Returns
        -------
        float, mm

        Raises
        ------
        ValueError
            If the number is not positive or the material is unknown.

        Accuracy
        --------
        For the shipped spectra within 0.6 % of spekpy 2.5.4, whose coefficients of aluminium are others
        (``tests/test_spectrum.py``).

        Examples
        --------
        >>> from drrproj.physics import tungsten
        >>> round(tungsten(120, {"aluminium": 4.3}).half_value_layer_mm(), 1)
        5.5
        """
        if one_number(number, "half-value layers count from 1", least=1) % 1:
            raise ValueError(f"half-value layers count from 1; got {number!r}")
        mu = material(by).linear_attenuation(self.energies_kev)
        kerma = self.fluence * self.energies_kev * _air_energy_absorption(self.energies_kev)

        def logarithm_of_share(thickness: float) -> float:
            return float(np.log(kerma @ np.exp(-mu * thickness) / kerma.sum()))

        def behind(layers: int) -> float:
            # The thickest it can be is what the least attenuated energy needs.
            thickest = float(layers * np.log(2) / mu[kerma > 0].min())
            return _root(lambda thickness: logarithm_of_share(thickness) + layers * np.log(2), 0.0, thickest)

        return behind(number) - behind(number - 1) if number > 1 else behind(1)

    @property
    def effective_energy_kev(self) -> float:
        """Energy, in keV, of the monoenergetic beam with the same first half-value layer in aluminium."""
        aluminium = MATERIALS["aluminium"]
        mu = np.log(2) / self.half_value_layer_mm(aluminium)
        return _root(lambda kev: float(aluminium.linear_attenuation(kev)) - mu, *ENERGY_RANGE_KEV)

    def as_record(self) -> dict[str, Any]:
        """What the beam is, as plain values; the bins themselves are not repeated."""
        return {
            **copy.deepcopy(dict(self.description)),
            "bins": len(self.energies_kev),
            "from_kev": float(self.energies_kev[0]),
            "to_kev": float(self.energies_kev[-1]),
            "mean_energy_kev": self.mean_energy_kev,
            "effective_energy_kev": self.effective_energy_kev,
            "half_value_layer_mm_aluminium": self.half_value_layer_mm(),
            "kerma_ugy_per_mas_at_1m": self.kerma_ugy_per_mas if self.is_absolute else None,
        }


def tungsten(kvp: int, filters_mm: Mapping[str, float]) -> Spectrum:
    """Return the beam of a tungsten anode of 12 degrees behind filters, in bins of 1 keV.

    Parameters
    ----------
    kvp : int, in [50, 150]
        Peak voltage in kV.
    filters_mm : mapping of str to float, mm
        The total filtration by material, the tube's own included: ``{"aluminium": 2.5, "copper": 0.1}``. Enough to
        stop what the table does not have, below 10 keV: about 0.7 mm of aluminium.

    Returns
    -------
    Spectrum
        In photons per cm2 and mAs at 1 m.

    Raises
    ------
    ValueError
        If the voltage is not a whole number from 50 to 150, or the filtration is too thin, negative, or of an unknown
        material. For other tubes see :func:`from_spekpy`.
    TypeError
        If the filters are no mapping.

    Accuracy
    --------
    Against spekpy 2.5.4 behind the same filters: mean energy within 0.3 %, half-value layers within 0.6 %, kerma within
    1 %; of which the bins of 1 keV make 0.1 % (``tests/test_spectrum.py``).

    Source
    ------
    spekpy 2.5.4 (Poludniowski, Omar, Bujila and Andreo 2021, Med. Phys. 48), without filter, as
    ``docs/physics_tables.py`` writes it to ``data/tungsten_12deg.csv``.

    Examples
    --------
    A chest radiograph:

    >>> from drrproj.physics import tungsten
    >>> beam = tungsten(120, {"aluminium": 4.3})
    >>> round(beam.mean_energy_kev, 1), round(beam.effective_energy_kev, 1)
    (57.6, 44.0)
    """
    energies, spectra = _tungsten_table()
    if isinstance(kvp, bool) or not isinstance(kvp, int | float | np.number) or kvp not in spectra:
        low, high = min(spectra), max(spectra)
        raise ValueError(
            f"kvp must be a whole number from {low} to {high}; got {shown(kvp)}. For other tubes: pip install "
            "spekpy, and pass a spekpy.Spek to drrproj.physics.from_spekpy"
        )
    if not isinstance(filters_mm, Mapping):
        raise TypeError(f'filters_mm must be a mapping such as {{"aluminium": 2.5}}; got {shown(filters_mm)}')
    inside = energies < kvp
    beam = Spectrum(energies[inside], spectra[kvp][inside], True, {"model": "tungsten_12deg", "kvp": int(kvp)})
    soft = 1.0
    for name, thickness in filters_mm.items():
        beam = beam.filtered(name, thickness)
        soft *= float(np.exp(-material(name).linear_attenuation(ENERGY_RANGE_KEV[0]) * thickness))
    if soft > _SOFT_SHARE:
        raise ValueError(
            f"the filters {dict(filters_mm)} (mm) let {soft:.0%} of the photons of {ENERGY_RANGE_KEV[0]:g} keV "
            "through, and the table has none below that; give the total filtration, at least about 0.7 mm of aluminium"
        )
    return beam


def from_spekpy(spek: _Spek) -> Spectrum:
    """Take a spectrum from spekpy: any anode, angle, distance and filter that it knows.

    Parameters
    ----------
    spek : spekpy.Spek
        Made at 100 cm (spekpy's default) and 1 mAs, which is what the unit of a :class:`Spectrum` means.

    Returns
    -------
    Spectrum

    Raises
    ------
    ValueError
        If it was made for another distance or mAs, or more than a millionth of the photons lies outside 10 to 150 keV.

    Examples
    --------
    ::

        import spekpy  # pip install spekpy

        beam = drrproj.physics.from_spekpy(spekpy.Spek(kvp=81, th=15, dk=1).filter("Al", 3))
    """
    parameters, place = spek.state.model_parameters, spek.state.spectrum_parameters
    if (place.z, place.mas) != (100, 1):
        raise ValueError(
            f"the spectrum must be that of 1 mAs at 100 cm; got {place.mas:g} mAs at {place.z:g} cm. Leave z "
            "and mas of spekpy.Spek at their defaults; geometry and exposure come in later"
        )
    counts = spek.get_spectrum(edges=False, flu=True, diff=False)
    energies, fluence = (np.asarray(values, dtype=np.float64) for values in counts)
    low, high = ENERGY_RANGE_KEV
    inside = (energies >= low) & (energies <= high)
    lost = 1 - fluence[inside].sum() / fluence.sum() if fluence.sum() > 0 else 0.0
    if lost > _LOST_SHARE:
        raise ValueError(
            f"{lost:.2g} of the photons lie outside {low:g} to {high:g} keV, where there are no coefficients; add the "
            "tube's filtration, such as spek.filter('Al', 2.5)"
        )
    description = {"model": "spekpy", "kvp": float(parameters.kvp), "anode_angle": float(parameters.th)}
    return Spectrum(energies[inside], fluence[inside], True, description)


def monoenergetic(energy_kev: float) -> Spectrum:
    """Return a beam of one energy, relative.

    Examples
    --------
    >>> from drrproj.physics import monoenergetic
    >>> round(monoenergetic(60).effective_energy_kev, 6)
    60.0
    """
    energy = one_number(energy_kev, "energy_kev must be one number, in keV")
    return Spectrum(np.array([energy]), np.ones(1), False, {"model": "monoenergetic"})


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Return where a falling function is zero."""
    # Halving 60 times leaves nothing of a double's digits; no bracket here needs more.
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) > 0 else (low, middle)
    return (low + high) / 2


def _air_energy_absorption(energies_kev: FloatArray) -> FloatArray:
    kev, absorption = _air_table()
    return np.exp(np.interp(np.log(energies_kev), kev, absorption))


@cache
def _air_table() -> tuple[FloatArray, FloatArray]:
    rows = np.log(_rows("air_energy_absorption.csv")[1])
    return rows[:, 0], rows[:, 1]


@cache
def _tungsten_table() -> tuple[FloatArray, dict[int, FloatArray]]:
    header, rows = _rows("tungsten_12deg.csv")
    return rows[:, 0], {int(kvp): rows[:, column] for column, kvp in enumerate(header) if column}


def _rows(name: str) -> tuple[list[str], FloatArray]:
    with (_DATA / name).open(encoding="utf-8") as table:
        header, *rows = csv.reader(line for line in table if not line.startswith("#"))
    return header, np.array(rows, dtype=np.float64)
