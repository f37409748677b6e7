"""HU to attenuation: NIST's numbers, and what the models promise."""

from __future__ import annotations

import numpy as np
import pytest

import drrproj
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


@pytest.mark.parametrize("energy", [9.9, 150.1, 0, -70, np.nan, np.inf])
@pytest.mark.parametrize(
    "model", [attenuation.linear, attenuation.bilinear, attenuation.schneider, attenuation.deepdrr]
)
def test_energies_outside_the_table_are_refused(model, energy):
    with pytest.raises(ValueError, match="10 to 150 keV"):
        model(energy)


def test_an_unknown_material_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"no material 'adamantium'"):
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
        record["unit"],
        record["source"],
    )
    assert rebuilt == model


@pytest.mark.parametrize(
    ("knots", "slope_changes"),
    [((), ()), ((-1000,), ()), ((0, -1000), (1, 1)), ((np.nan,), (1,)), ((-1000,), (np.inf,))],
)
def test_models_that_are_no_function_are_refused(knots, slope_changes):
    with pytest.raises(ValueError, match="knot"):
        Attenuation("own", knots, slope_changes, 70)


@pytest.mark.parametrize("model", ["linear", "bilinear", "schneider", "deepdrr", "bone_hu"])
@pytest.mark.parametrize("energy", [[60, 70], "70", None])
def test_an_energy_that_is_not_one_number_is_refused(model, energy):
    with pytest.raises(ValueError, match=r"a photon energy must be one number in keV; got"):
        getattr(attenuation, model)(energy)


WHOLE_HU = np.arange(-1100, 3072)


def test_density_is_the_published_one_at_the_published_hu():
    hu = [-1000, -500, 0, 100, 500, 1000, 1600, 3000, 3071]
    expected = [0.00121, 0.5161, 1.0175, 1.1199, 1.3126, 1.6088, 1.9642, 2.8, 2.8]
    np.testing.assert_allclose(attenuation.density()(hu), expected, atol=6e-5)
    np.testing.assert_array_equal(attenuation.density()([-1001, -1024, -3024, np.nan]), np.zeros(4))


# HU, and what Schneider's bin there is made of (weights in percent).
SCHNEIDER = {
    -700: "H 10.3 C 10.5 N 3.1 O 74.9 P .2 S .3 Cl .3 Na .2 K .2",
    40: "H 10.3 C 13.4 N 3.0 O 72.3 P .2 S .2 Cl .2 Na .2 K .2",
    150: "H 9.5 C 45.5 N 2.5 O 35.5 P 2.1 S .1 Cl .1 Ca 4.5 Na .1 K .1",
    600: "H 6.1 C 28.7 N 3.5 O 40.0 Mg .1 P 6.7 S .2 Ca 14.6 Na .1",
    1500: "H 3.4 C 15.5 N 4.2 O 43.5 Mg .2 P 10.3 S .3 Ca 22.5 Na .1",
}


@pytest.mark.parametrize("energy", [25, 70, 150])
@pytest.mark.parametrize("hu", SCHNEIDER)
def test_schneider_is_density_times_the_composition_of_the_bin(hu, energy):
    xraylib = pytest.importorskip("xraylib", reason="the elements' coefficients come from xraylib")
    words = SCHNEIDER[hu].split()
    weights = zip(words[::2], map(float, words[1::2]), strict=True)
    mass = sum(w / 100 * xraylib.CS_Total(xraylib.SymbolToAtomicNumber(element), energy) for element, w in weights)
    expected = mass / 10 * float(attenuation.density()(hu))
    assert float(attenuation.schneider(energy)(hu)) == pytest.approx(expected, rel=5e-5)


def test_schneider_is_every_bin_at_every_whole_hu_and_water_is_near_water():
    model, bins = attenuation.schneider(60), attenuation.schneider_bins()
    assert len(bins) == 24
    place = np.searchsorted([first for first, _ in bins], WHOLE_HU, side="right") - 1
    expected = attenuation.density()(WHOLE_HU) * [bins[i][1].mass_attenuation(60) / 10 for i in np.maximum(place, 0)]
    np.testing.assert_allclose(model(WHOLE_HU), expected, rtol=1e-10, atol=1e-15)
    # The calibration was made for such a scanner: water and bone come out near their own coefficients.
    assert float(attenuation.schneider(70)(0)) == pytest.approx(attenuation.linear_attenuation("water", 70), rel=0.02)


def test_the_jumps_of_schneider_are_at_most_six_percent_above_air():
    hu = np.arange(-950, 3072)
    mu = attenuation.schneider(70)(hu)
    assert np.abs(np.diff(mu) / mu[1:]).max() < 0.063


@pytest.mark.parametrize(
    "model",
    [
        attenuation.schneider(40),
        attenuation.schneider(100),
        attenuation.density(),
        attenuation.plastimatch(),
        attenuation.deepdrr(30),
        attenuation.diffdrr([-950, -700, 0, 1500], bone_multiplier=3),
        attenuation.linear(60),
        attenuation.bilinear(60),
        Attenuation("step", (100.0, 100.001), (30.0, -30.0), 70),
        Attenuation("falls", (-1000.0, 0.0), (2e-5, -1.99e-5), 70),
    ],
    ids=lambda model: model.model,
)
def test_models_with_jumps_hold_in_the_walk(backend, model):
    # A ray through each voxel alone, for 1 mm.
    column = drrproj.Volume(WHOLE_HU.reshape(1, -1, 1).astype(np.int16), np.eye(4))
    first, down, across = (0, 0, -5), (0, 1, 0), (1, 0, 0)
    rays = drrproj.Geometry.parallel(
        (0, 0, 1), (0, (len(WHOLE_HU) - 1) / 2, first[2]), down, across, (len(WHOLE_HU), 1)
    )
    found = drrproj.project(column, rays, attenuation=model, backend=backend).line_integral[0, :, 0]
    expected = model(WHOLE_HU)
    assert np.count_nonzero(expected) > 2000
    # Relative, but to about a hundredth of water for what is nearly air: it hardly adds to any ray.
    assert (np.abs(found - expected) / np.maximum(expected, 2e-4)).max() < 2e-6


def test_plastimatch_is_its_formula():
    expected = np.where(WHOLE_HU <= -800, 0, 0.022 * (1 + WHOLE_HU / 1000))
    np.testing.assert_allclose(attenuation.plastimatch()(WHOLE_HU), expected, atol=1e-12)


@pytest.mark.parametrize("multiplier", [1, 2.5])
def test_diffdrr_is_its_formula(multiplier):
    rng = np.random.default_rng(5)
    hu = rng.integers(-1024, 2500, (9, 8, 7)).astype(np.int16)
    density = np.where(hu > 350, hu * float(multiplier), hu)
    density[hu <= -800] = hu[(hu > -800) & (hu <= 350)].min()
    density = density - density.min()
    density /= density.max()
    np.testing.assert_allclose(attenuation.diffdrr(hu, multiplier)(hu), density, atol=1e-12)


@pytest.mark.parametrize("hu", [[350, 1000], [-1000, 350, 351, 1000], [349, 1000], [0, 351], [200, 300]])
def test_diffdrr_scales_a_ct_without_soft_tissue_below_the_jump(hu):
    hu = np.array(hu)
    density = np.where(hu > 350, hu * 2.0, hu)
    density[hu <= -800] = hu[(hu > -800) & (hu <= 350)].min()
    density = (density - density.min()) / np.ptp(density)
    np.testing.assert_allclose(attenuation.diffdrr(hu, 2.0)(hu), density, atol=1e-12)


@pytest.mark.parametrize("energy", [-5, 0, np.nan, np.inf])
def test_energies_that_are_none_are_refused(energy):
    with pytest.raises(ValueError, match=r"^energy_kev must be a positive energy in keV, or None; got"):
        attenuation.table([-1000, 0], [0, 0.02], energy_kev=energy)
    with pytest.raises(ValueError, match=r"^ct_energy_kev must be a positive energy in keV, or None; got"):
        Attenuation("own", (0,), (1,), None, ct_energy_kev=energy)


@pytest.mark.parametrize(
    ("hu", "multiplier", "message"),
    [
        ([-1000, 400], 1, "no voxel lies there"),
        ([0, 0], 1, "they are 0 and 0"),
        ([350, 350], 2, "they are 350 and 350"),
        ([0, 100], 0.5, "at least 1"),
    ],
)
def test_diffdrr_refuses_what_it_cannot_scale(hu, multiplier, message):
    with pytest.raises(ValueError, match=message):
        attenuation.diffdrr(hu, multiplier)


def test_nanodrr_is_its_formula():
    hu = np.maximum(WHOLE_HU, -1000)
    expected = np.where(hu <= 0, 0.0192 * (1 + hu / 1000), 0.0192 + hu / 1000 * (0.0573 - 0.0192))
    np.testing.assert_allclose(attenuation.nanodrr()(WHOLE_HU), expected, atol=1e-12)


def test_deepdrr_is_its_density_times_the_coefficient_of_its_threshold():
    density = np.maximum(np.minimum(0.001029 * WHOLE_HU + 1.03, 0.0005886 * WHOLE_HU + 1.03), 0)
    mass = np.select([WHOLE_HU <= -800, WHOLE_HU <= 350], [0.17497, 0.19161], 0.25705)
    np.testing.assert_allclose(attenuation.deepdrr(70)(WHOLE_HU), density * mass / 10, rtol=1e-4, atol=1e-9)


def test_a_table_of_points_runs_through_them_and_stays_at_the_last():
    hu, mu = [-950.5, -100, 0, 35, 1500], [0.001, 0.017, 0.0193, 0.021, 0.05]
    model = attenuation.table(hu, mu, energy_kev=65)
    inside = np.linspace(-950.5, 1500, 5001)
    np.testing.assert_allclose(model(inside), np.interp(inside, hu, mu), atol=1e-15)
    np.testing.assert_allclose(model([-2000, -952, 1501, 9000]), [0, 0, 0.05, 0.05], atol=1e-15)
    assert (model.energy_kev, model.unit) == (65, "1/mm")


@pytest.mark.parametrize(
    ("hu", "values", "message"),
    [
        ([0, 1], [0, -0.1], "must not be negative; got -0.1"),
        ([1, 0], [0, 1], "ascend"),
        ([0, 0], [0, 1], "ascend"),
        ([0, np.nan], [0, 1], "ascend"),
        ([0], [1], "at least two"),
        ([0, 1, 2], [0, 1], "as many"),
    ],
)
def test_tables_that_are_no_attenuation_or_density_are_refused(hu, values, message):
    for made in (attenuation.table, attenuation.density):
        with pytest.raises(ValueError, match=message):
            made(hu, values)


def test_a_density_table_needs_both_columns_and_a_unit_is_known():
    with pytest.raises(ValueError, match="both hu and g_cm3"):
        attenuation.density([0, 1])
    with pytest.raises(ValueError, match='"1/mm" or "g/cm3"'):
        Attenuation("own", (0,), (1,), None, unit="kg")


@pytest.mark.parametrize("name", ["linear", "bilinear", "schneider", "plastimatch", "nanodrr", "deepdrr"])
def test_project_takes_a_model_by_name(name):
    water = drrproj.Volume(np.zeros((8, 8, 8), np.int16), np.eye(4))
    view = drrproj.Geometry.radiograph("AP", water, beam="parallel", shape=(4, 4))
    shot = drrproj.project(water, view, attenuation=name)
    model = getattr(attenuation, name)()
    assert shot.record["attenuation"] == model.as_record()
    np.testing.assert_allclose(shot.line_integral[0, 2, 2], 8 * float(model(0)), rtol=1e-4)
