"""Numbers that callers give: text and other things that are none are refused in one sentence, wherever they go."""

from __future__ import annotations

import numpy as np
import pytest

import drrproj
from drrproj import attenuation, physics
from drrproj.given_numbers import one_number, real_numbers
from drrproj.materials import Material, mixture

WATER = physics.MaterialPaths(np.full((1, 1, 2, 2), 20.0), ("water",))
CT = drrproj.Volume(np.zeros((8, 8, 8), np.int16), np.eye(4))


def signal():
    return physics.monochromatic(drrproj.project(CT, drrproj.Geometry.radiograph("PA", CT, shape=(4, 4))))


def shares():
    labels = drrproj.LabelVolume(CT.array + 1, CT.affine, {1: "rib"})
    view = drrproj.Geometry.radiograph("PA", CT, shape=(4, 4))
    return drrproj.project(CT, view, labels=labels, outputs=("line_integral", "label_line_integral"))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: physics.Exposure(mas="2"), "mas must be positive; got '2', which is text"),
        (lambda: physics.Exposure(kerma_ugy=[2, 3]), r"kerma_ugy must be positive; got \[2, 3\]"),
        (lambda: physics.Scatter("1", 50), "to_primary of scatter must not be negative; got '1', which is text"),
        (lambda: physics.Scatter(1, None), "sigma_mm of scatter must be positive; got None"),
        (lambda: physics.Detector("energy", "CsI", "0.6"), "thickness_mm of the absorber must be positive; got '0.6'"),
        (
            lambda: physics.tungsten(120, {"aluminium": "4"}),
            "thickness of a filter must not be negative, in mm; got '4'",
        ),
        (lambda: physics.tungsten("120", {"aluminium": 4}), "kvp must be a whole number from 50 to 150; got '120'"),
        (lambda: physics.tungsten([120], {"aluminium": 4}), r"kvp must be a whole number from 50 to 150; got \[120\]"),
        (lambda: physics.Spectrum(["40", "50"], [1, 2]), "energy_kev must be from 10 to 150 keV.*; got"),
        (lambda: physics.Spectrum([40, 50], ["1", "2"]), "fluence of a spectrum must be one number per energy; got"),
        (lambda: physics.monoenergetic("60"), "energy_kev must be one number, in keV; got '60', which is text"),
        (lambda: physics.tungsten(120, {"aluminium": 4}).half_value_layer_mm(number="1"), "count from 1; got '1'"),
        (lambda: physics.acquire(signal(), focal_spot_mm="1"), "focal_spot_mm must not be negative; got '1'"),
        (
            lambda: physics.acquire(signal(), focal_spot_mm=1, magnification="2"),
            "magnification must be at least 1; got '2', which is text",
        ),
        (lambda: physics.recompose(shares(), scale={"rib": "2"}), "factor of 'rib' must not be negative; got '2'"),
        (lambda: Material("ice", "1", {"H": 1}), "density of 'ice' must be positive, in g/cm3; got '1'"),
        (lambda: Material("ice", 1, {"H": "1"}), "mass fraction of 'H' in 'ice' must not be negative; got '1'"),
        (lambda: mixture("own", {"water": "1"}, 1), "mass share of 'water' in 'own' must not be negative.*; got '1'"),
        (lambda: attenuation.Attenuation("own", (0,), (1,), "60"), "energy_kev must be a positive energy.*; got '60'"),
        (lambda: attenuation.Attenuation("own", ("0",), (1,), None), "knots and slope changes must be numbers; got"),
        (lambda: attenuation.linear("70"), "a photon energy must be one number in keV; got .70., which is text"),
        (lambda: attenuation.table([0, 1], ["0", "1"]), "as many mu values as hu, and at least two; got"),
        (lambda: attenuation.table(5, [0, 1]), "as many mu values as hu, and at least two; got 2 and 1"),
    ],
)
def test_what_is_no_number_is_refused_by_the_name_it_was_given_for(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_filters_and_fractions_that_are_no_mapping_are_refused():
    with pytest.raises(TypeError, match=r"filters_mm must be a mapping such as .*; got 4"):
        physics.tungsten(120, 4)
    with pytest.raises(TypeError, match=r"each mass fraction of 'ice' goes by a name.*; got \['H'\]"):
        Material("ice", 1, ["H"])


@pytest.mark.parametrize("value", ["1", b"1", True, None, 1j, [1, [2]], np.array(["1"]), CT, object()])
def test_nothing_but_real_numbers_passes(value):
    with pytest.raises(ValueError, match="it must be so; got") as refused:
        real_numbers(value, "it must be so")
    assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match="it must be so; got"):
        one_number(value, "it must be so")


def test_numbers_of_every_type_pass_as_float64():
    for value in (2, 2.0, np.float32(2), np.uint8(2), np.array(2)):
        assert one_number(value, "it", least=2, above=1) == 2
    assert real_numbers(np.array([1, 2], ">i2"), "they").dtype == np.float64
    for value in (1.9, np.nan, np.inf, -np.inf, [2]):
        with pytest.raises(ValueError, match="it; got"):
            one_number(value, "it", least=2)
    with pytest.raises(ValueError, match="it; got 2"):
        one_number(2, "it", above=2)
