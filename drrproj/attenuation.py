"""From Hounsfield units to linear attenuation, and to density.

A model is a piecewise-linear function of HU, zero at and below air (-1000 HU); the walk applies it to each voxel as
it is read, so a CT stays in its own number type. Coefficients are those of :mod:`drrproj.materials`.

A model here has one energy and knows nothing but HU. For metal, contrast medium and spectra see :mod:`drrproj.physics`.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from drrproj.given_numbers import one_number, real_numbers
from drrproj.hounsfield import AIR_HU
from drrproj.materials import MATERIALS, Material, material
from drrproj.short_text import shown

__all__ = [
    "Attenuation",
    "bilinear",
    "bone_hu",
    "deepdrr",
    "deepdrr_density",
    "density",
    "diffdrr",
    "linear",
    "linear_attenuation",
    "nanodrr",
    "plastimatch",
    "schneider",
    "schneider_bins",
    "table",
]


@dataclass(frozen=True)
class Attenuation:
    """A piecewise-linear map from HU to linear attenuation, or to density.

    ``mu(hu)`` is the sum over all bends of ``slope_change * max(0, hu - knot)``: zero below the first knot, a new
    slope from each knot on. Where a model jumps, it rises within one HU, so that whole HU get what the model says.

    Parameters
    ----------
    model : str
        Name of the model, for the record.
    knots : tuple of float, HU
        Where the slope changes, ascending; the first is where attenuation begins.
    slope_changes : tuple of float, 1/mm (or g/cm3) per HU
        By how much the slope changes there.
    energy_kev : float or None, keV
        Photon energy the coefficients belong to; None where a model names none.
    ct_energy_kev : float or None, keV
        Effective energy of the CT scan, where the model needs it.
    unit : {"1/mm", "g/cm3"}
        What it maps HU to. An image of density is g/cm3 times mm: material paths are made of it.
    source : str
        Where its numbers come from, for the record.

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
    energy_kev: float | None
    ct_energy_kev: float | None = None
    unit: Literal["1/mm", "g/cm3"] = "1/mm"
    source: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "knots", tuple(self.knots))
        object.__setattr__(self, "slope_changes", tuple(self.slope_changes))
        if not self.knots or len(self.knots) != len(self.slope_changes):
            raise ValueError(
                f"an attenuation needs one slope change per knot; got {len(self.knots)} knots and "
                f"{len(self.slope_changes)} slope changes"
            )
        bends = real_numbers([*self.knots, *self.slope_changes], "knots and slope changes must be numbers")
        if not np.isfinite(bends).all() or list(self.knots) != sorted(self.knots):
            raise ValueError(f"knots must be finite and ascending; got {self.knots} with {self.slope_changes}")
        if self.unit not in ("1/mm", "g/cm3"):
            raise ValueError(f'unit must be "1/mm" or "g/cm3"; got {self.unit!r}')
        for what, energy in (("energy_kev", self.energy_kev), ("ct_energy_kev", self.ct_energy_kev)):
            if energy is not None:
                one_number(energy, f"{what} must be a positive energy in keV, or None", above=0)

    def __call__(self, hu: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the linear attenuation in 1/mm (or the density) of HU values; NaN counts as air."""
        values = np.nan_to_num(np.asarray(hu, dtype=np.float64), nan=-np.inf)
        mu = np.zeros_like(values)
        for knot, slope_change in zip(self.knots, self.slope_changes, strict=True):
            mu += slope_change * np.maximum(0.0, values - knot)
        return mu

    def as_record(self) -> dict[str, Any]:
        """Everything needed to rebuild the model, as plain values."""
        slopes = "slope_changes_per_mm_per_hu" if self.unit == "1/mm" else "slope_changes_g_cm3_per_hu"
        return {
            "model": self.model,
            "energy_kev": self.energy_kev,
            "ct_energy_kev": self.ct_energy_kev,
            "unit": self.unit,
            "source": self.source,
            "knots_hu": list(self.knots),
            slopes: list(self.slope_changes),
        }


def linear_attenuation(material_name: str, energy_kev: float) -> float:
    """Return the linear attenuation coefficient of a known material at its own density.

    Parameters
    ----------
    material_name : str
        One of :data:`drrproj.materials.MATERIALS`: ``water``, ``bone_cortical_ICRU44``, ``air``, ``iodine``, ...
    energy_kev : float, keV, in [10, 150]
        Photon energy.

    Returns
    -------
    float, 1/mm

    Raises
    ------
    ValueError
        If the energy lies outside the table's range or the material is not known.

    Accuracy
    --------
    That of :meth:`drrproj.materials.Material.mass_attenuation`.

    Source
    ------
    xraylib ``CS_Total``; compositions and densities ICRU Report 44.

    Examples
    --------
    >>> import drrproj
    >>> round(drrproj.attenuation.linear_attenuation("water", 70), 6)
    0.019285
    """
    return float(material(material_name).linear_attenuation(_one_energy(energy_kev)))


def _one_energy(energy_kev: float) -> float:
    wanted = "a photon energy must be one number in keV"
    energy = real_numbers(energy_kev, wanted)
    if energy.ndim:
        raise ValueError(f"{wanted}; got {shown(energy_kev)}")
    return float(energy)


def linear(energy_kev: float = 70.0) -> Attenuation:
    """Scale water: ``mu = mu_water(E) * (1 + HU/1000)``, never negative.

    True for materials that attenuate like water of another density; cortical bone comes out too weak below the
    CT's effective energy and too strong above it.

    Parameters
    ----------
    energy_kev : float, keV, in [10, 150]
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
    source = "definition of the Hounsfield scale; water by xraylib CS_Total"
    return Attenuation("linear", (AIR_HU,), (water / 1000.0,), float(energy_kev), source=source)


def bilinear(energy_kev: float = 70.0, ct_energy_kev: float = 70.0) -> Attenuation:
    """Scale water up to 0 HU and mix water with cortical bone above it.

    Below 0 HU as :func:`linear`. Above, ``mu = mu_water(E) + HU * (mu_bone(E) - mu_water(E)) / HU_bone`` with
    ``HU_bone = 1000 * (mu_bone(E_ct) / mu_water(E_ct) - 1)``. For ``E == E_ct`` this is the linear law. Contrast
    medium and metal are not bone: their attenuation is not what this model says.

    Parameters
    ----------
    energy_kev : float, keV, in [10, 150]
        Photon energy of the X-ray.
    ct_energy_kev : float, keV, in [10, 150]
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
    above = (bone - water) / bone_hu(ct_energy_kev)
    return Attenuation(
        "bilinear",
        (AIR_HU, 0.0),
        (water / 1000.0, above - water / 1000.0),
        float(energy_kev),
        float(ct_energy_kev),
        source="water and ICRU-44 cortical bone by xraylib CS_Total",
    )


def bone_hu(ct_energy_kev: float = 70.0) -> float:
    """Return the HU that a CT of that effective energy gives to cortical bone (ICRU-44, 1.92 g/cm3).

    Examples
    --------
    >>> import drrproj
    >>> round(drrproj.attenuation.bone_hu(70))
    1559
    """
    bone = linear_attenuation("bone_cortical_ICRU44", ct_energy_kev)
    return 1000.0 * (bone / linear_attenuation("water", ct_energy_kev) - 1.0)


def table(hu: Sequence[float], mu: Sequence[float], energy_kev: float | None = None) -> Attenuation:
    """Interpolate between points of your own, such as the calibration of a scanner.

    Linear between the points and constant above the last; below the first there is nothing, and a first value that is
    not zero is reached within one HU.

    Parameters
    ----------
    hu : sequence of float, HU
        At least two, ascending.
    mu : sequence of float, 1/mm
        Linear attenuation at each; not negative.
    energy_kev : float, keV, optional
        Photon energy it is meant for, for the record and for what needs an energy later.

    Returns
    -------
    Attenuation

    Raises
    ------
    ValueError
        If there are fewer than two points, HU do not ascend, an attenuation is negative or not finite, or the energy is
        not positive.

    Examples
    --------
    >>> import drrproj
    >>> measured = drrproj.attenuation.table([-1000, 0, 1000], [0, 0.02, 0.035], energy_kev=65)
    >>> [round(float(mu), 4) for mu in measured([-500, 500, 3000])]
    [0.01, 0.0275, 0.035]
    """
    return _through("table", _checked_points(hu, mu, "mu"), energy_kev=energy_kev, source="points of the caller")


def density(hu: Sequence[float] | None = None, g_cm3: Sequence[float] | None = None) -> Attenuation:
    """Map HU to density instead of attenuation; for the path of a ray through materials.

    Without points, the table that Schneider's stoichiometric calibration has in GATE: 0.00121 g/cm3 at -1000 HU, 1.0175
    at 0, 1.6088 at 1000; constant above 3000 HU, nothing below -1001 HU. The small step down from 100 to 101 HU is the
    table's.

    Parameters
    ----------
    hu, g_cm3 : sequences of float, optional
        Points of your own, as in :func:`table`; density in g/cm3.

    Returns
    -------
    Attenuation
        With the unit g/cm3.

    Raises
    ------
    ValueError
        If only one of both is given, or as in :func:`table`; negative density is refused.

    Source
    ------
    Schneider, Bortfeld and Schlegel 2000, Phys. Med. Biol. 45:459; nodes of GATE's Schneider2000DensitiesTable.

    Examples
    --------
    >>> import drrproj
    >>> [round(float(density), 4) for density in drrproj.attenuation.density()([-500, 0, 500])]
    [0.5161, 1.0174, 1.3126]
    """
    if (hu is None) != (g_cm3 is None):
        raise ValueError("a density table needs both hu and g_cm3; got one of them")
    if hu is None or g_cm3 is None:
        source = "Schneider 2000, nodes of GATE"
        return _through("schneider_density", tuple(zip(*_GATE_DENSITY, strict=True)), unit="g/cm3", source=source)
    points = _checked_points(hu, g_cm3, "density")
    return _through("density_table", points, unit="g/cm3", source="points of the caller")


def schneider(energy_kev: float = 70.0) -> Attenuation:
    """Density and composition by HU, from Schneider's stoichiometric calibration.

    ``mu = density(HU) * (mu/rho)(composition of the HU's bin, E)``: 24 bins from air to cortical bone, each of one
    composition, with a jump between bins (at most 6 % of mu at 70 keV, at 112 HU). With 55 bends it is walked more
    slowly than the models of one or two; ``Volume(schneider()(ct.array), ct.affine, unit="1/mm")`` does the work once.

    Parameters
    ----------
    energy_kev : float, keV, in [10, 150]
        Photon energy of the X-ray.

    Returns
    -------
    Attenuation

    Raises
    ------
    ValueError
        If the energy is out of range.

    Accuracy
    --------
    Each piece is applied in float32 from its own knot: within 2e-7 of the model at every whole HU from -1100 to 3071,
    relative to it or, of what is nearly air, to a hundredth of water. ``tests/test_attenuation.py`` holds it, and the
    other models, to 2e-6.

    Source
    ------
    Schneider, Bortfeld and Schlegel 2000, Phys. Med. Biol. 45:459, with the bins of TOPAS and the densities of GATE.

    Examples
    --------
    >>> import drrproj
    >>> [round(float(mu), 4) for mu in drrproj.attenuation.schneider(70)([-700, 40, 1000])]
    [0.006, 0.0201, 0.0402]
    """
    from_hu = [first for first, _ in schneider_bins()]
    energy_kev = _one_energy(energy_kev)
    coefficients = [float(tissue.mass_attenuation(energy_kev)) / 10.0 for _, tissue in schneider_bins()]
    return _by_class("schneider", density(), from_hu, coefficients, energy_kev, "Schneider 2000; xraylib CS_Total")


def plastimatch() -> Attenuation:
    """What plastimatch's ``drr`` makes of HU, for comparison: water of 0.022 / mm, nothing at and below -800 HU.

    Lung below -800 HU is lost. Plastimatch divides its integral by ten before it writes it; drrproj does not.

    Source
    ------
    plastimatch 1.10.0, ``-P preprocess`` of HU; it calls 0.022 / mm the attenuation of water at 50 keV.

    Examples
    --------
    >>> import drrproj
    >>> [round(float(mu), 6) for mu in drrproj.attenuation.plastimatch()([-800, -799, 0])]
    [0.0, 0.004422, 0.022]
    """
    points = ((-800.0, 0.0), (-799.0, 0.022 * 0.201))
    return _through("plastimatch", points, last_slope=0.022 / 1000.0, energy_kev=50.0, source="plastimatch 1.10.0")


def diffdrr(hu: npt.ArrayLike, bone_multiplier: float = 1.0) -> Attenuation:
    """What DiffDRR makes of one CT, for comparison: HU scaled to 0..1 between two values of that CT.

    Up to -800 HU a voxel becomes the lowest HU above -800; above 350 HU it is multiplied; then the lowest is 0 and the
    highest is 1. So one voxel of metal rescales the image, and images of two patients have no common unit.

    Parameters
    ----------
    hu : array_like, HU
        The CT's voxels: they decide the scale. Whole numbers where the multiplier is not 1.
    bone_multiplier : float
        DiffDRR's ``bone_attenuation_multiplier``, at least 1.

    Returns
    -------
    Attenuation
        Without an energy, and per mm only by name.

    Raises
    ------
    ValueError
        If nothing lies above -800 and up to 350 HU, all is equal, or the multiplier is below 1.

    Source
    ------
    DiffDRR 0.6.1, ``transform_hu_to_density``.

    Examples
    --------
    >>> import drrproj
    >>> scaled = drrproj.attenuation.diffdrr([-1000, -700, 0, 300, 1300])
    >>> [float(value) for value in scaled([-1000, 300, 1300])]
    [0.0, 0.5, 1.0]
    """
    voxels = np.asarray(hu)
    if not bone_multiplier >= 1:
        raise ValueError(f"bone_multiplier must be at least 1; got {bone_multiplier!r}")
    soft = voxels[(voxels > -800) & (voxels <= 350)]
    if not soft.size:
        raise ValueError("DiffDRR scales by the lowest HU above -800 and up to 350, and no voxel lies there")
    lowest, highest = float(soft.min()), float(np.nanmax(voxels))
    if highest > 350:
        highest *= bone_multiplier
    if not np.isfinite(highest) or highest <= lowest:
        raise ValueError(f"DiffDRR scales between the lowest and the highest HU; they are {lowest:g} and {highest:g}")
    slope = 1.0 / (highest - lowest)
    points = [(lowest, 0.0)]
    if bone_multiplier != 1:
        # Where the lowest HU is 350 itself, the scale begins at the jump.
        points += [(350.0, (350.0 - lowest) * slope)] if lowest < 350 else []
        points += [(351.0, (351.0 * bone_multiplier - lowest) * slope)]
    return _through("diffdrr", points, last_slope=slope * bone_multiplier, source="DiffDRR 0.6.1")


def nanodrr() -> Attenuation:
    """What nanodrr makes of HU, for comparison: bilinear, water 0.0192 and bone 0.0573 / mm at 1000 HU.

    It names 70 keV, where cortical bone has 0.0494 / mm and 1559 HU; there it gives 0.0786, which is 59 % more.

    Source
    ------
    nanodrr 0.1.7, ``hu_to_mu`` and its defaults.

    Examples
    --------
    >>> import drrproj
    >>> [round(float(mu), 4) for mu in drrproj.attenuation.nanodrr()([-1000, 0, 1559])]
    [0.0, 0.0192, 0.0786]
    """
    water, bone = 0.0192, 0.0573
    points = ((AIR_HU, 0.0), (0.0, water))
    return _through(
        "nanodrr", points, last_slope=(bone - water) / 1000.0, energy_kev=70.0, source="nanodrr 0.1.7, its defaults"
    )


def deepdrr_density() -> Attenuation:
    """Map HU to density as DeepDRR does: two lines that meet at 0 HU with 1.03 g/cm3.

    Source
    ------
    DeepDRR 1.2.2, ``_convert_hounsfield_to_density``; its authors do not name the data behind it.

    Examples
    --------
    >>> import drrproj
    >>> [round(float(density), 4) for density in drrproj.attenuation.deepdrr_density()([-500, 0, 1000])]
    [0.5155, 1.03, 1.6186]
    """
    below, above, at_zero = 0.001029, 0.0005886, 1.03
    source = "DeepDRR 1.2.2, its two lines"
    knots = (-at_zero / below, 0.0)
    return Attenuation("deepdrr_density", knots, (below, above - below), None, unit="g/cm3", source=source)


def deepdrr(energy_kev: float = 70.0) -> Attenuation:
    """What DeepDRR's thresholds make of HU at one energy, for comparison.

    Density by two lines, and a material by HU: air up to -800, soft tissue up to 350, bone above, each with NIST's
    mass attenuation. DeepDRR itself uses a spectrum: :func:`drrproj.physics.material_paths` with
    ``tissues="deepdrr"`` does that.

    Parameters
    ----------
    energy_kev : float, keV, in [10, 150]
        Photon energy.

    Returns
    -------
    Attenuation

    Raises
    ------
    ValueError
        If the energy is out of range.

    Source
    ------
    DeepDRR 1.2.2, thresholds of ``conv_hu_to_materials_thresholding``.

    Examples
    --------
    >>> import drrproj
    >>> [round(float(mu), 4) for mu in drrproj.attenuation.deepdrr(70)([0, 1000])]
    [0.0197, 0.0416]
    """
    energy_kev = _one_energy(energy_kev)
    coefficients = [float(MATERIALS[name].mass_attenuation(energy_kev)) / 10.0 for _, name in DEEPDRR_MATERIALS]
    from_hu = [first for first, _ in DEEPDRR_MATERIALS]
    return _by_class("deepdrr", deepdrr_density(), from_hu, coefficients, energy_kev, "DeepDRR 1.2.2; xraylib")


DEEPDRR_MATERIALS = ((-np.inf, "air"), (-799.0, "tissue_soft_ICRU44"), (351.0, "bone_cortical_ICRU44"))
"""DeepDRR's materials, each from a whole HU on."""

_GATE_DENSITY = (
    (-1000.0, -98.0, -97.0, 14.0, 23.0, 100.0, 101.0, 1600.0, 3000.0),
    (0.00121, 0.93, 0.930486, 1.03, 1.031, 1.1199, 1.0762, 1.9642, 2.8),
)


@cache
def schneider_bins() -> tuple[tuple[float, Material], ...]:
    """Return the 24 compositions of Schneider 2000, each with the HU from which it holds."""
    path = Path(__file__).with_name("data") / "schneider_2000.csv"
    with path.open(encoding="utf-8") as rows:
        bins = list(csv.DictReader(line for line in rows if not line.startswith("#")))
    at = density()
    tissues = []
    for row in bins:
        first = float(row.pop("from_hu"))
        fractions = {element: float(percent) / 100.0 for element, percent in row.items() if float(percent)}
        name = f"schneider_{first:g}_HU"
        tissues.append((first, Material(name, float(at(first)), fractions, "Schneider 2000")))
    return tuple(tissues)


def _checked_points(hu: Sequence[float], values: Sequence[float], what: str) -> tuple[tuple[float, float], ...]:
    wanted = f"a table needs as many {what} values as hu, and at least two"
    given = real_numbers(values, wanted), real_numbers(hu, wanted)
    if given[0].shape != given[1].shape or given[0].ndim != 1 or given[0].size < 2:
        raise ValueError(f"{wanted}; got {' and '.join(str(each.size) for each in given)}")
    points = np.stack(given[::-1])
    if not np.isfinite(points).all() or (np.diff(points[0]) <= 0).any():
        raise ValueError(f"hu of a table must be finite and ascend; got {list(hu)} with {list(values)}")
    if (points[1] < 0).any():
        raise ValueError(f"{what} must not be negative; got {float(points[1].min())!r}")
    return tuple((float(at), float(value)) for at, value in points.T)


def _through(
    model: str,
    points: Sequence[tuple[float, float]],
    *,
    last_slope: float = 0.0,
    energy_kev: float | None = None,
    unit: Literal["1/mm", "g/cm3"] = "1/mm",
    source: str,
) -> Attenuation:
    """Return the model that runs through points of (HU, value), from nothing at the first to a slope after the last."""
    if points[0][1]:
        points = [(points[0][0] - 1.0, 0.0), *points]
    hu, values = np.array(points).T
    slopes = [0.0, *(np.diff(values) / np.diff(hu)), last_slope]
    changes = np.diff(slopes)
    return Attenuation(
        model,
        tuple(map(float, hu)),
        tuple(map(float, changes)),
        None if energy_kev is None else float(energy_kev),
        unit=unit,
        source=source,
    )


def _by_class(
    model: str,
    of_density: Attenuation,
    from_hu: Sequence[float],
    coefficients: Sequence[float],
    energy_kev: float,
    source: str,
) -> Attenuation:
    """Return density times a coefficient that jumps at each class's first HU, within the one HU before it."""
    first = from_hu[1:]
    ends = [end for start in first for end in (start - 1.0, start)]
    hu = np.unique([*of_density.knots, *ends])
    hu = hu[hu >= of_density.knots[0]]
    values = of_density(hu) * np.asarray(coefficients)[np.searchsorted(first, hu, side="right")]
    after = hu[-1] + 1.0
    last_slope = float(of_density(after)) * coefficients[-1] - values[-1]
    points = list(zip(hu.tolist(), values.tolist(), strict=True))
    return _through(model, points, last_slope=last_slope, energy_kev=energy_kev, source=source)
