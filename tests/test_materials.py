"""Materials: NIST's numbers, the tables they come from, and what is refused."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from drrproj.materials import MATERIALS, Material, material, mixture

# NIST SRD 126, mass attenuation with coherent scattering in cm2/g; at 70, 90 and 120 keV xraylib's.
KEV = (20, 30, 40, 50, 60, 70, 80, 90, 100, 120, 150)
NIST = {
    "water": (0.8096, 0.3756, 0.2683, 0.2269, 0.2059, 0.19285, 0.1837, 0.17655, 0.1707, 0.16135, 0.1505),
    "bone_cortical_ICRU44": (4.001, 1.331, 0.6655, 0.4242, 0.3148, 0.25705, 0.2229, 0.20083, 0.1855, 0.16563, 0.1480),
    "air": (0.7779, 0.3538, 0.2485, 0.2080, 0.1875, 0.17497, 0.1662, 0.15956, 0.1541, 0.14546, 0.1356),
    "lung_ICRU44": (0.8316, 0.3815, 0.2699, 0.2270, 0.2053, 0.19196, 0.1826, 0.17541, 0.1695, 0.16014, 0.1493),
    "muscle_ICRU44": (0.8205, 0.3783, 0.2685, 0.2262, 0.2048, 0.19157, 0.1823, 0.17515, 0.1693, 0.15995, 0.1492),
    "tissue_soft_ICRU44": (0.8230, 0.3790, 0.2688, 0.2264, 0.2048, 0.19161, 0.1823, 0.17516, 0.1693, 0.15994, 0.1492),
    "blood_ICRU44": (0.8428, 0.3852, 0.2715, 0.2278, 0.2057, 0.19215, 0.1827, 0.17543, 0.1695, 0.16007, 0.1492),
    "iodine": (25.43, 8.561, 22.10, 12.32, 7.579, 5.0156, 3.510, 2.5653, 1.942, 1.2114, 0.6978),
    "titanium": (15.85, 4.972, 2.214, 1.213, 0.7661, 0.53612, 0.4052, 0.32470, 0.2721, 0.21017, 0.1649),
    "iron": (25.68, 8.176, 3.629, 1.958, 1.205, 0.81637, 0.5952, 0.45974, 0.3717, 0.26928, 0.1964),
    "aluminium": (3.441, 1.128, 0.5685, 0.3681, 0.2778, 0.23011, 0.2018, 0.18333, 0.1704, 0.15334, 0.1378),
    "calcium": (13.06, 4.080, 1.830, 1.019, 0.6578, 0.47168, 0.3656, 0.30008, 0.2571, 0.20587, 0.1674),
}
DENSITIES = {
    "water": 1.0,
    "bone_cortical_ICRU44": 1.92,
    "air": 0.001205,
    "muscle_ICRU44": 1.05,
    "iodine": 4.93,
    "titanium": 4.54,
    "iron": 7.874,
    "aluminium": 2.699,
    "PMMA": 1.19,
    "CsI": 4.51,
}


@pytest.mark.parametrize("name", NIST)
def test_mass_attenuation_is_that_of_nist(name):
    np.testing.assert_allclose(MATERIALS[name].mass_attenuation(KEV), NIST[name], rtol=1e-3)


@pytest.mark.parametrize("name", DENSITIES)
def test_linear_attenuation_is_mass_attenuation_times_the_published_density(name):
    known = MATERIALS[name]
    expected = known.mass_attenuation([20, 77.7]) * DENSITIES[name] / 10
    np.testing.assert_allclose(known.linear_attenuation([20, 77.7]), expected, rtol=1e-12)


def test_the_absorption_edge_of_iodine_is_sharp_and_where_it_belongs():
    below, above = MATERIALS["iodine"].mass_attenuation([33.168, 33.171])
    assert (below, above) == (pytest.approx(6.553, rel=1e-3), pytest.approx(35.82, rel=1e-3))


@pytest.mark.parametrize(("kev", "expected"), [(40, 22.97), (60, 7.92), (80, 3.68), (100, 2.035)])
def test_caesium_iodide_is_as_published(kev, expected):
    assert float(MATERIALS["CsI"].mass_attenuation(kev)) == pytest.approx(expected, rel=1e-3)


def test_hounsfield_units_of_materials_at_70_kev_are_as_published():
    water = MATERIALS["water"].linear_attenuation(70)
    published = {"adipose_ICRU44": -76, "muscle_ICRU44": 43, "tissue_soft_ICRU44": 53, "blood_ICRU44": 56}
    published |= {"bone_cortical_ICRU44": 1559, "PMMA": 126, "aluminium": 2220, "titanium": 11621, "iron": 32332}
    hu = {name: 1000 * float(MATERIALS[name].linear_attenuation(70) / water - 1) for name in published}
    assert hu == {name: pytest.approx(value, rel=5e-4, abs=0.6) for name, value in published.items()}


def test_ten_milligrams_of_iodine_per_millilitre_add_the_published_hu():
    contrast = mixture("water with iodine", {"water": 1000, "iodine": 10}, density_g_cm3=1.01)
    for kev, added in ((70, 260), (60, 368)):
        relative = float(contrast.linear_attenuation(kev) / MATERIALS["water"].linear_attenuation(kev))
        assert 1000 * (relative - 1) == pytest.approx(added, abs=1)


def test_every_element_is_xraylibs_between_the_rows_of_the_table():
    xraylib = pytest.importorskip("xraylib", reason="compares with xraylib, from which the table was made")
    energies = np.concatenate([np.arange(10.25, 60, 0.5), np.arange(60.5, 150)])
    for symbol in ("H", "C", "N", "O", "Na", "Al", "P", "Ca", "Ti", "Cr", "Cu", "Ag", "I", "Cs", "Gd", "W", "Au", "Pb"):
        number = xraylib.SymbolToAtomicNumber(symbol)
        expected = [xraylib.CS_Total(number, float(energy)) for energy in energies]
        actual = Material(symbol, 1, {symbol: 1}).mass_attenuation(energies)
        np.testing.assert_allclose(actual, expected, rtol=5e-4, err_msg=symbol)


@pytest.mark.parametrize("kev", [9.99, 150.01, -1, np.nan, np.inf, [70, 151]])
def test_energies_outside_the_table_are_refused(kev):
    with pytest.raises(ValueError, match="from 10 to 150 keV"):
        MATERIALS["water"].mass_attenuation(kev)


@pytest.mark.parametrize(
    ("density", "fractions", "message"),
    [
        (0, {"H": 1}, "must be positive"),
        (-1.05, {"H": 1}, "must be positive"),
        (np.nan, {"H": 1}, "must be positive"),
        (1, {"Uuo": 1}, "no coefficients for Uuo"),
        (1, {"H": 0.5, "C": 0.4}, "sum to 0.9"),
        (1, {}, "sum to 0"),
        (1, {"H": 1.5, "C": -0.5}, "must not be negative"),
        (1, {"H": np.nan}, "must not be negative"),
    ],
)
def test_materials_that_cannot_be_are_refused(density, fractions, message):
    with pytest.raises(ValueError, match=message):
        Material("own", density, fractions)


def test_an_unknown_material_is_refused_with_near_names():
    with pytest.raises(ValueError, match="no material 'titan'; did you mean titanium"):
        material("titan")
    with pytest.raises(KeyError, match="bone_cortical_ICRU44"):
        MATERIALS["bone_cortical"]
    with pytest.raises(TypeError, match="got int"):
        material(22)


def test_elements_go_by_their_symbols_too_and_by_the_beginning_of_their_names():
    elements = {name: known for name, known in MATERIALS.items() if len(known.mass_fractions) == 1}
    symbols = {name: next(iter(known.mass_fractions)) for name, known in elements.items()}
    assert len(set(symbols.values())) == len(symbols) == 17
    assert {material(symbol).name: symbol for symbol in symbols.values()} == symbols
    assert symbols.keys() & {"aluminium", "copper"} == {"aluminium", "copper"}
    assert symbols.keys().isdisjoint({"water", "CsI"})
    with pytest.raises(ValueError, match=r"no material 'alu'; did you mean aluminium\?"):
        material("alu")
    with pytest.raises(ValueError, match="no material 'Xx'"):
        material("Xx")


def test_mixtures_refuse_shares_that_cannot_be():
    for shares in ({}, {"water": 0}, {"water": 1, "iodine": -1}):
        with pytest.raises(ValueError, match="must not be negative, nor all zero"):
            mixture("own", shares, 1)


def test_a_material_survives_pickling_and_its_record():
    contrast = mixture("blood with iodine", {"blood_ICRU44": 1060, "iodine": 10}, density_g_cm3=1.07)
    copy = pickle.loads(pickle.dumps(contrast))
    assert copy.as_record() == contrast.as_record()
    assert Material(**contrast.as_record()).as_record() == contrast.as_record()
    with pytest.raises(TypeError):
        copy.mass_fractions["Fe"] = 0.1
