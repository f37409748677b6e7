"""Beer-Lambert over a spectrum: published transmissions, a plain sum in float64, and identities."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import drrproj
from drrproj import physics
from drrproj.materials import MATERIALS

WATER, BONE = MATERIALS["water"], MATERIALS["bone_cortical_ICRU44"]
BEAM = physics.tungsten(120, {"aluminium": 4.3})
CSI = physics.Detector("energy", "CsI", 0.6)

# Three spectra behind cm of water and cm of cortical bone: transmission that a counter sees, and -ln of the one of
# energy. Computed with xraylib for a reference text, not with this package.
CM = [(1, 0), (10, 0), (20, 0), (30, 0), (20, 1), (20, 5)]
COUNTED = {
    60: (0.726146, 0.0559457, 0.00430083, 3.74892e-4, 0.00157696, 5.17497e-5),
    90: (0.772837, 0.0914601, 0.0102540, 0.00125580, 0.00529119, 5.38801e-4),
    120: (0.792785, 0.111480, 0.0144938, 0.00203357, 0.00835326, 0.00122745),
}
INTEGRATED = {
    60: (0.29810, 2.74851, 5.25222, 7.65323, 6.21296, 9.55040),
    90: (0.23838, 2.26211, 4.38267, 6.43716, 5.00047, 7.19360),
    120: (0.21511, 2.06987, 4.03458, 5.94198, 4.53868, 6.34373),
}
MEAN_BEHIND = (59.17, 65.84, 71.00, 75.13, 74.42, 83.29)


def published(kilovolts):
    """The three spectra, whose last bin is negative: energies, photons."""
    path = Path(__file__).with_name("spectra_ipem78.csv")
    header, *rows = [line.split(",") for line in path.read_text().splitlines() if not line.startswith("#")]
    column = header.index(str(kilovolts))
    return np.array([(float(row[0]), float(row[column])) for row in rows if row[column]]).T


def layers(centimetres):
    """Water and bone along each ray, as material paths."""
    mass = np.array([[water * 1.0, bone * 1.92] for water, bone in centimetres]).T
    return physics.MaterialPaths(mass[:, None, None, :], (WATER, BONE))


def through(energies, photons, detector):
    """Signal and open signal of bins that may be negative: a spectrum may not, but the signal is linear in it."""
    signal = open_signal = 0.0
    for sign in (1, -1):
        there = sign * photons > 0
        part = physics.Spectrum(energies[there], np.abs(photons[there]))
        whole = float(part.fluence @ (detector.absorption(part.energies_kev) * detector.gain(part.energies_kev)))
        line_integral = physics.polychromatic(layers(CM), part, detector).line_integral.ravel().astype(np.float64)
        signal = signal + sign * whole * np.exp(-line_integral)
        open_signal += sign * whole
    return signal, open_signal


@pytest.mark.parametrize("kilovolts", [60, 90, 120])
def test_transmissions_are_the_published_ones(kilovolts):
    energies, photons = published(kilovolts)
    counted, all_of_it = through(energies, photons, physics.COUNTING)
    np.testing.assert_allclose(counted / all_of_it, COUNTED[kilovolts], rtol=1e-4)
    integrated, all_of_it = through(energies, photons, physics.INTEGRATING)
    np.testing.assert_allclose(-np.log(integrated / all_of_it), INTEGRATED[kilovolts], atol=5e-5, rtol=1e-5)


def test_the_mean_energy_behind_the_layers_is_the_published_one():
    energies, photons = published(120)
    energy, _ = through(energies, photons, physics.INTEGRATING)
    number, _ = through(energies, photons, physics.COUNTING)
    np.testing.assert_allclose(energy / number, MEAN_BEHIND, rtol=2e-4)


def plain_sum(paths, spectrum, detector):
    """Line integral and weight by the formula, in float64."""
    mass = paths.areal_density.reshape(len(paths.materials), -1).astype(np.float64)
    energies = spectrum.energies_kev
    attenuation = np.array([material.mass_attenuation(energies) for material in paths.materials])
    through = np.exp(-attenuation.T @ mass)
    arrived = spectrum.fluence * detector.absorption(energies)
    gain = detector.gain(energies)
    first = (arrived * gain) @ through / (arrived * gain).sum()
    second = (arrived * gain**2) @ through / (arrived * gain**2).sum()
    shape = paths.areal_density.shape[1:]
    return -np.log(first).reshape(shape), (second / first).reshape(shape)


@pytest.mark.parametrize("detector", [physics.COUNTING, physics.INTEGRATING, CSI], ids=["count", "energy", "CsI"])
def test_the_signal_is_the_plain_sum_to_a_hundred_thousandth(detector):
    rng = np.random.default_rng(11)
    names = ("water", "bone_cortical_ICRU44", "adipose_ICRU44", "titanium", "iodine")
    # Up to 40 cm of water, 6 cm of bone, 5 cm of titanium, and 1 mm of iodine with its edge inside the spectrum.
    most = np.array([40, 6 * 1.92, 20, 5 * 4.54, 0.1 * 4.93])
    mass = rng.random((5, 2, 61, 103)) ** 3 * most[:, None, None, None]
    paths = physics.MaterialPaths(mass, names)
    signal = physics.polychromatic(paths, BEAM, detector)
    expected, weight = plain_sum(paths, BEAM, detector)
    assert expected.max() > 12
    np.testing.assert_allclose(np.exp(expected - signal.line_integral), 1, rtol=0, atol=1e-5)
    np.testing.assert_allclose(signal.weight, weight, rtol=1e-5)


def test_rays_behind_which_nothing_is_left_keep_their_line_integral():
    # 0.5 to 30 cm of lead: up to a line integral of 500, where float32 has no such transmission.
    mass = np.array([0.5, 2, 5, 10, 30]).reshape(1, 1, 1, 5) * 11.35
    paths = physics.MaterialPaths(mass, ("lead",))
    signal = physics.polychromatic(paths, BEAM)
    expected, weight = plain_sum(paths, BEAM, physics.INTEGRATING)
    assert expected.max() > 300
    np.testing.assert_allclose(signal.line_integral, expected, rtol=2e-6)
    np.testing.assert_allclose(signal.weight, weight, rtol=1e-5)


def test_one_energy_is_beer_lambert():
    paths = layers(CM)
    signal = physics.polychromatic(paths, physics.monoenergetic(65))
    expected = [float(w * 10 * WATER.linear_attenuation(65) + b * 10 * BONE.linear_attenuation(65)) for w, b in CM]
    np.testing.assert_allclose(signal.line_integral.ravel(), expected, rtol=2e-6)
    np.testing.assert_array_equal(signal.weight, np.ones_like(signal.line_integral))


def test_nothing_in_the_beam_is_exactly_nothing():
    signal = physics.polychromatic(physics.MaterialPaths(np.zeros((2, 1, 3, 3)), ("water", "lead")), BEAM, CSI)
    np.testing.assert_array_equal(signal.line_integral, np.zeros((1, 3, 3)))
    assert not np.signbit(signal.line_integral).any()


def test_one_material_in_two_parts_is_the_same():
    water = np.linspace(0, 30, 50).reshape(1, 1, 1, 50)
    whole = physics.polychromatic(physics.MaterialPaths(water, ("water",)), BEAM)
    again = drrproj.materials.Material("more water", 1, WATER.mass_fractions)
    halves = physics.MaterialPaths(np.concatenate([water * 0.3, water * 0.7]), ("water", again))
    np.testing.assert_allclose(physics.polychromatic(halves, BEAM).line_integral, whole.line_integral, atol=3e-6)


def test_the_beam_hardens():
    water = np.arange(1, 31.0).reshape(1, 1, 1, 30)
    apparent = (
        physics.polychromatic(physics.MaterialPaths(water, ("water",)), BEAM).line_integral.ravel() / water.ravel()
    )
    assert (np.diff(apparent) < 0).all()
    # Published for a like spectrum: from .2151 to .1981 per cm, 8 %.
    assert apparent[-1] / apparent[0] == pytest.approx(0.1981 / 0.2151, rel=1e-2)


def test_threads_change_no_bit():
    rng = np.random.default_rng(3)
    paths = physics.MaterialPaths(rng.random((2, 3, 90, 101)) * 20, ("water", "bone_cortical_ICRU44"))
    one, three = (physics.polychromatic(paths, BEAM, CSI, threads=threads) for threads in (1, 3))
    np.testing.assert_array_equal(one.line_integral, three.line_integral)
    np.testing.assert_array_equal(one.weight, three.weight)


def test_quanta_are_the_share_absorbed_and_the_spread_of_their_energies():
    paths = layers(CM)
    assert physics.polychromatic(paths, BEAM, physics.COUNTING).quanta == pytest.approx(1, rel=1e-12)
    counter = physics.Detector("count", "CsI", 0.6)
    absorbed = float(BEAM.fluence @ counter.absorption(BEAM.energies_kev) / BEAM.fluence.sum())
    assert physics.polychromatic(paths, BEAM, counter).quanta == pytest.approx(absorbed, rel=1e-12)
    energies = BEAM.energies_kev
    mean, square = (BEAM.fluence @ energies**power / BEAM.fluence.sum() for power in (1, 2))
    assert physics.polychromatic(paths, BEAM).quanta == pytest.approx(mean**2 / square, rel=1e-12)


def test_the_record_tells_beam_detector_and_materials_in_plain_values():
    signal = physics.polychromatic(layers(CM), BEAM, CSI)
    record = json.loads(json.dumps(signal.record))["signal"]
    assert record["spectrum"]["kvp"] == 120
    assert record["spectrum"]["half_value_layer_mm_aluminium"] == pytest.approx(BEAM.half_value_layer_mm())
    assert record["detector"]["absorber"]["name"] == "CsI"
    assert [material["name"] for material in record["materials"]] == ["water", "bone_cortical_ICRU44"]


@pytest.mark.parametrize(
    ("mass", "materials", "message"),
    [
        (np.zeros((1, 2, 2)), ("water",), "shape"),
        (np.zeros((2, 1, 2, 2)), ("water",), "one material each"),
        (np.zeros((0, 1, 2, 2)), (), "one material each"),
        (np.zeros((2, 1, 2, 2)), ("water", "water"), "each material must be there once"),
        (np.full((1, 1, 2, 2), -0.3), ("water",), r"areal density of water must not be negative; the lowest is -0.3"),
        (np.full((1, 1, 2, 2), np.nan), ("water",), "not finite"),
        (np.full((1, 1, 2, 2), np.inf), ("water",), "not finite"),
        (np.zeros((1, 1, 2, 2)), ("kryptonite",), "no material 'kryptonite'"),
    ],
)
def test_paths_that_cannot_be_are_refused(mass, materials, message):
    with pytest.raises(ValueError, match=message):
        physics.MaterialPaths(mass, materials)


def test_a_detector_that_absorbs_nothing_and_arguments_of_another_kind_are_refused():
    paths = layers(CM)
    with pytest.raises(TypeError, match=r"physics\.Spectrum"):
        physics.polychromatic(paths, 120)
    with pytest.raises(TypeError, match=r"physics\.Detector"):
        physics.polychromatic(paths, BEAM, "CsI")
    with pytest.raises(TypeError, match="MaterialPaths"):
        physics.polychromatic(np.zeros((1, 1, 1, 1)), BEAM)
    for threads in (0, -1, 1.5, True, 70000):
        with pytest.raises(ValueError, match="threads"):
            physics.polychromatic(paths, BEAM, threads=threads)


@pytest.fixture(scope="module")
def shot():
    hu = np.full((12, 10, 8), 40, np.int16)
    ct = drrproj.Volume(hu, np.diag([10, 10, 10, 1]))
    return drrproj.project(ct, drrproj.Geometry.radiograph("PA", ct, shape=(16, 20)))


def test_one_energy_keeps_the_line_integral_of_a_radiograph(shot):
    signal = physics.monochromatic(shot, CSI)
    np.testing.assert_array_equal(signal.line_integral, shot.line_integral)
    assert signal.quanta == pytest.approx(float(CSI.absorption(70)))
    assert signal.record["signal"]["energy_kev"] == 70
    again = signal.as_radiograph()
    np.testing.assert_array_equal(again.line_integral, shot.line_integral)
    assert again.record["signal"] == signal.record["signal"]
    assert again.geometry is shot.geometry
    assert again.record["outputs"] == ["line_integral"]
    np.testing.assert_array_equal(physics.monochromatic(again).line_integral, shot.line_integral)


def test_an_image_of_a_spectrum_or_with_noise_is_none_of_one_energy(shot):
    ct = drrproj.Volume(np.full((12, 10, 8), 40, np.int16), np.diag([10, 10, 10, 1]))
    film = physics.polychromatic(physics.material_paths(ct, shot.geometry), BEAM).as_radiograph()
    assert film.record["outputs"] == ["line_integral"]
    with pytest.raises(ValueError, match="is the image of a spectrum, not of one energy; give noise and blur where"):
        physics.monochromatic(film, energy_kev=60)
    taken = physics.acquire(physics.monochromatic(shot), detector_blur_mm=1)
    with pytest.raises(ValueError, match="was exposed already"):
        physics.monochromatic(taken.as_radiograph())


def test_radiographs_without_an_energy_or_of_density_are_refused(shot):
    mu = drrproj.Volume(np.full((5, 5, 5), 0.02), np.eye(4), unit="1/mm")
    view = drrproj.Geometry.radiograph("PA", mu, beam="parallel", shape=(4, 4))
    without = drrproj.project(mu, view)
    with pytest.raises(ValueError, match="pass energy_kev"):
        physics.monochromatic(without)
    assert physics.monochromatic(without, energy_kev=60).spectrum.mean_energy_kev == 60
    water = drrproj.Volume(np.zeros((5, 5, 5), np.int16), np.eye(4))
    density = drrproj.project(water, view, attenuation=drrproj.attenuation.density())
    with pytest.raises(ValueError, match="g/cm3"):
        physics.monochromatic(density)
    masks = drrproj.project(
        water, view, labels=drrproj.LabelVolume(np.ones((5, 5, 5), np.uint8), np.eye(4)), outputs=("mask",)
    )
    with pytest.raises(ValueError, match="no line integral"):
        physics.monochromatic(masks)
    with pytest.raises(TypeError, match="Radiograph"):
        physics.monochromatic(np.zeros((1, 4, 4)))
    with pytest.raises(ValueError, match="without a projection"):
        physics.polychromatic(layers(CM), BEAM).as_radiograph()
