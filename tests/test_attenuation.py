"""HU to attenuation: NIST's numbers, and what the models promise."""

from __future__ import annotations

import numpy as np
import pytest

from drrproj import Attenuation, attenuation

# mu/rho in cm2/g: NIST SRD 126, at 70 keV xraylib.
KEV = (30, 40, 50, 60, 70, 80, 100, 150)
WATER = (0.3756, 0.2683, 0.2269, 0.2059, 0.19285, 0.1837, 0.1707, 0.1505)
BONE = (1.331, 0.6655, 0.4242, 0.3148, 0.25705, 0.2229, 0.1855, 0.1480)
AIR = (0.3538, 0.2485, 0.2080, 0.1875, 0.17497, 0.1662, 0.1541, 0.1356)
IODINE = {30: 8.561, 40: 22.10, 50: 12.32, 60: 7.579, 80: 3.510, 100: 1.942, 150: 0.6978}


@pytest.mark.parametrize(
    ("material", "density", "mass_attenuation"),
    [("water", 1.0, WATER), ("bone_cortical_ICRU44", 1.92, BONE), ("air", 0.001205, AIR)],
)
def test_coefficients_are_those_of_nist(material, density, mass_attenuation):
    per_mm = [attenuation.linear_attenuation(material, energy) for energy in KEV]
    np.testing.assert_allclose(per_mm, np.multiply(mass_attenuation, density / 10), rtol=1e-3)


@pytest.mark.parametrize("energy", IODINE)
def test_iodine_is_that_of_nist_on_both_sides_of_its_edge(energy):
    per_mm = attenuation.linear_attenuation("iodine", energy)
    assert per_mm == pytest.approx(IODINE[energy] * 4.93 / 10, rel=1e-3)


def test_coefficients_between_the_rows_of_the_table_lie_on_a_smooth_curve():
    # 65 keV is in the published list of water; 62.5 is halfway between two rows, log against log.
    assert attenuation.linear_attenuation("water", 65) == pytest.approx(0.01987, rel=1e-3)
    between = attenuation.linear_attenuation("water", np.sqrt(60 * 65))
    ends = [attenuation.linear_attenuation("water", energy) for energy in (60, 65)]
    assert between == pytest.approx(np.sqrt(np.prod(ends)), rel=1e-9)


@pytest.mark.parametrize("energy", [29.9, 150.1, 0, -70, np.nan, np.inf])
@pytest.mark.parametrize("model", [attenuation.linear, attenuation.bilinear])
def test_energies_outside_the_table_are_refused(model, energy):
    with pytest.raises(ValueError, match="30 to 150 keV"):
        model(energy)


def test_an_unknown_material_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"adamantium.*water"):
        attenuation.linear_attenuation("adamantium", 70)


@pytest.mark.parametrize("energy", [30, 61.5, 70, 100, 150])
def test_bilinear_is_linear_at_the_energy_of_the_ct(energy):
    hu = np.array([-1000, -500, 0, 1, 300, 1559, 3071])
    np.testing.assert_allclose(attenuation.bilinear(energy, energy)(hu), attenuation.linear(energy)(hu), rtol=1e-12)


@pytest.mark.parametrize(
    ("energy", "slope"), [(50, 3.769e-5), (60, 2.557e-5), (70, 1.929e-5), (80, 1.567e-5), (100, 1.190e-5)]
)
def test_bilinear_rises_above_water_with_the_published_slope(energy, slope):
    at_zero, above = attenuation.bilinear(energy, 70)([0, 1000])
    assert (above - at_zero) / 1000 == pytest.approx(slope, rel=1e-3)


@pytest.mark.parametrize(("ct_energy", "bone_hu"), [(60, 1936), (70, 1559), (80, 1330)])
@pytest.mark.parametrize("energy", [40, 70, 120])
def test_bilinear_gives_cortical_bone_at_the_hu_that_the_ct_would_give_it(energy, ct_energy, bone_hu):
    mu = attenuation.bilinear(energy, ct_energy)(bone_hu)
    assert mu == pytest.approx(attenuation.linear_attenuation("bone_cortical_ICRU44", energy), rel=1e-3)


@pytest.mark.parametrize("model", [attenuation.linear(60), attenuation.bilinear(60), attenuation.bilinear(100, 60)])
def test_air_padding_and_nan_attenuate_nothing_and_water_as_water(model):
    np.testing.assert_array_equal(model([-1000, -1024, -2048, -3024, -32768, -np.inf, np.nan]), np.zeros(7))
    water = attenuation.linear_attenuation("water", model.energy_kev)
    np.testing.assert_allclose(model([-500, 0]), (water / 2, water), rtol=1e-12)


@pytest.mark.parametrize("model", [attenuation.linear(60), attenuation.bilinear(30), attenuation.bilinear(150, 60)])
def test_lung_is_not_flattened_and_attenuation_never_falls(model):
    mu = model(np.arange(-1000, 3072))
    assert (np.diff(mu) > 0).all()


def test_a_model_records_what_rebuilds_it():
    model = attenuation.bilinear(60, 75)
    record = model.as_record()
    rebuilt = Attenuation(
        record["model"],
        tuple(record["knots_hu"]),
        tuple(record["slope_changes_per_mm_per_hu"]),
        record["energy_kev"],
        record["ct_energy_kev"],
    )
    assert rebuilt == model


@pytest.mark.parametrize(
    ("knots", "slope_changes"),
    [((), ()), ((-1000,), ()), ((0, -1000), (1, 1)), ((np.nan,), (1,)), ((-1000,), (np.inf,))],
)
def test_models_that_are_no_function_are_refused(knots, slope_changes):
    with pytest.raises(ValueError, match="knot"):
        Attenuation("own", knots, slope_changes, 70)
