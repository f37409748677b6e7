"""Noise against photons drawn energy by energy, blur and scatter against their definitions, and their order."""

from __future__ import annotations

import dataclasses
import json
import statistics
import warnings

import numpy as np
import pytest

import drrproj
from drrproj import physics
from drrproj.physics.blur import blurred
from drrproj.physics.noise import poisson_quantiles

BEAM = physics.tungsten(100, {"aluminium": 3})
CSI = physics.Detector("energy", "CsI", 0.6)


def uniform(centimetres, shape=(1, 200, 250), spectrum=BEAM, detector=CSI, geometry=None):
    """The same water in front of every pixel."""
    mass = np.full((1, *shape), centimetres, np.float32)
    return physics.polychromatic(physics.MaterialPaths(mass, ("water",), geometry), spectrum, detector)


def cone(shape=(40, 50), sdd=1500.0, spacing=(2.0, 1.5)):
    """One view along y, its detector centred on the axis."""
    row_step, column_step = np.array([0, 0, -spacing[0]]), np.array([spacing[1], 0, 0])
    corner = np.array([0, sdd, 0]) - row_step * (shape[0] - 1) / 2 - column_step * (shape[1] - 1) / 2
    view = np.zeros((1, 4, 4))
    view[0, :3] = np.array([np.zeros(3), corner, row_step, column_step]).T
    view[0, 3, :2] = 1
    return drrproj.Geometry(view, shape)


def parallel(shape=(40, 50)):
    view = cone(shape).views.copy()
    view[0, :, 0] = 0, 1, 0, 0
    return drrproj.Geometry(view, shape)


# Quanta of the Poisson number


def poisson_by_counting(mean, probability):
    """Smallest count whose cumulative probability reaches one, by sums of Python's floats."""
    count, term, total = 0, np.exp(-mean), np.exp(-mean)
    while total < probability:
        count += 1
        term *= mean / count
        total += term
    return count


@pytest.mark.parametrize("mean", [0.0, 0.01, 0.7, 5, 11.9])
def test_few_quanta_are_exact_quantiles(mean):
    probabilities = np.linspace(0.002, 0.998, 333)
    normal = np.array([statistics.NormalDist().inv_cdf(p) for p in probabilities])
    expected = [poisson_by_counting(mean, p) for p in probabilities]
    np.testing.assert_array_equal(poisson_quantiles(np.full(333, mean), normal), expected)


def test_a_normal_number_beyond_all_digits_still_has_a_quantile():
    counts = poisson_quantiles(np.array([4.0, 0.5, 11.0]), np.array([8.3, 12.0, 30.0]))
    assert (counts > 10).all()
    assert (counts < 80).all()


def test_what_is_darker_than_float32_can_transmit_keeps_its_line_integral():
    dark = np.linspace(60, 140, 15, dtype=np.float32).reshape(1, 3, 5)
    water = physics.MaterialPaths(np.zeros((1, 1, 3, 5)), ("water",))
    signal = dataclasses.replace(
        physics.polychromatic(water, physics.tungsten(60, {"aluminium": 3})), line_integral=dark
    )
    np.testing.assert_allclose(physics.acquire(signal).line_integral, dark, rtol=1e-6)
    exposed = physics.acquire(signal, exposure=physics.Exposure(photons_per_pixel=1e4), seed=1)
    assert np.isfinite(exposed.line_integral).all()
    assert exposed.record["acquisition"]["pixels_below_one_quantum"] == dark.size


@pytest.mark.parametrize("mean", [12.0, 13.3, 31, 150, 500])
def test_many_quanta_are_exact_quantiles_but_for_a_few_in_a_thousand(mean):
    probabilities = (np.arange(4000) + 0.5) / 4000
    normal = np.array([statistics.NormalDist().inv_cdf(p) for p in probabilities])
    expected = np.array([poisson_by_counting(mean, p) for p in probabilities])
    difference = np.abs(poisson_quantiles(np.full(4000, mean), normal) - expected)
    assert difference.max() <= 1
    assert np.count_nonzero(difference) <= 0.003 * 4000


@pytest.mark.parametrize("mean", [0.3, 4, 11, 13, 60, 1000, 1e6])
def test_poisson_numbers_have_mean_variance_and_skewness(mean):
    normal = np.random.default_rng(6).standard_normal(400_000)
    counts = poisson_quantiles(np.full(normal.size, mean), normal)
    deviation = counts - mean
    assert (counts == np.rint(counts)).all()
    assert deviation.mean() == pytest.approx(0, abs=4 * np.sqrt(mean / normal.size))
    assert deviation.var() == pytest.approx(mean, rel=0.02)
    assert (deviation**3).mean() / deviation.std() ** 3 == pytest.approx(mean**-0.5, abs=0.03, rel=0.05)


def photon_by_photon(spectrum, detector, centimetres, photons, draws, seed):
    """Signal over the open signal, from one Poisson number for each energy."""
    energies = spectrum.energies_kev
    share = spectrum.fluence / spectrum.fluence.sum() * detector.absorption(energies)
    behind = share * np.exp(-drrproj.materials.MATERIALS["water"].mass_attenuation(energies) * centimetres)
    counts = np.random.default_rng(seed).poisson(photons * behind, (draws, len(energies)))
    return counts @ detector.gain(energies) / (photons * share @ detector.gain(energies))


@pytest.mark.parametrize("detector", [physics.COUNTING, physics.INTEGRATING, CSI], ids=["count", "energy", "CsI"])
@pytest.mark.parametrize(("photons", "centimetres"), [(100, 10), (3000, 10), (1e6, 20)])
def test_quantum_noise_is_that_of_photons_drawn_energy_by_energy(detector, photons, centimetres):
    signal = uniform(centimetres, detector=detector)
    noisy = physics.acquire(signal, exposure=physics.Exposure(photons_per_pixel=photons), seed=2)
    # Below one quantum a pixel is set to one: a tenth of a percent of them, where there are five.
    ours = noisy.transmission.astype(np.float64).ravel()
    truth = photon_by_photon(BEAM, detector, centimetres, photons, 50_000, seed=3)
    assert ours.mean() == pytest.approx(truth.mean(), rel=0.01)
    assert ours.var() == pytest.approx(truth.var(), rel=0.03)

    def skewness(values):
        return ((values - values.mean()) ** 3).mean() / values.std() ** 3

    assert skewness(ours) == pytest.approx(skewness(truth), abs=0.06)


def test_a_counter_counts_whole_photons():
    signal = uniform(15, detector=physics.COUNTING)
    noisy = physics.acquire(signal, exposure=physics.Exposure(photons_per_pixel=2000), seed=1)
    counts = noisy.transmission.astype(np.float64) * 2000
    np.testing.assert_allclose(counts, np.rint(counts), atol=2e-3)


# What random numbers follow from


def test_the_seed_decides_and_every_view_has_its_own_noise():
    signal = uniform(10, shape=(2, 60, 70))
    dose = physics.Exposure(photons_per_pixel=500)
    first, again, other = (physics.acquire(signal, exposure=dose, seed=seed).line_integral for seed in (4, 4, 5))
    np.testing.assert_array_equal(first, again)
    assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.05
    assert abs(np.corrcoef(first[0].ravel(), first[1].ravel())[0, 1]) < 0.05
    electronic = physics.acquire(signal, exposure=dose, seed=4, electronic_noise=3).line_integral - first
    assert abs(np.corrcoef(electronic[0].ravel(), first[0].ravel())[0, 1]) < 0.05


def test_the_noise_of_a_view_does_not_depend_on_the_views_after_it():
    dose = physics.Exposure(photons_per_pixel=500)
    one, three = (physics.acquire(uniform(10, shape=(n, 30, 40)), exposure=dose, seed=4) for n in (1, 3))
    np.testing.assert_array_equal(one.line_integral[0], three.line_integral[0])


@pytest.mark.parametrize("photons", [3, 300, 1e5])
def test_the_last_digits_of_a_line_integral_change_single_quanta_only(photons):
    rng = np.random.default_rng(9)
    signal = uniform(0, (1, 200, 250), detector=physics.COUNTING)
    line_integral = rng.uniform(0, 4, (1, 200, 250)).astype(np.float32)
    nearly = (line_integral * (1 + rng.uniform(-3e-7, 3e-7, line_integral.shape))).astype(np.float32)
    assert (nearly != line_integral).any()
    dose = physics.Exposure(photons_per_pixel=photons)
    first, second = (
        physics.acquire(dataclasses.replace(signal, line_integral=image), exposure=dose, seed=8).transmission * photons
        for image in (line_integral, nearly)
    )
    difference = np.abs(first - second)
    assert difference.max() < 1.5
    # The mean moves by at most 1e-6 of itself, so hardly any count moves with it.
    assert np.count_nonzero(difference > 0.5) <= 5 + 1e-6 * photons * difference.size


def test_backends_and_threads_give_the_same_noise_but_for_single_quanta():
    ct = drrproj.Volume(
        np.random.default_rng(0).integers(-900, 1200, (30, 28, 26)).astype(np.int16), np.diag([8, 8, 8, 1])
    )
    view = drrproj.Geometry.radiograph("PA", ct, shape=(60, 60))
    available = [name for name in drrproj.backends.NAMES if drrproj.backends.why_unavailable(name) is None]
    images = []
    for name in available:
        for threads in (1, 3):
            shot = drrproj.project(ct, view, backend=name, threads=threads)
            dose = physics.Exposure(photons_per_pixel=2000)
            images.append(physics.acquire(physics.monochromatic(shot), exposure=dose, seed=8).transmission * 2000)
    for image in images[1:]:
        difference = np.abs(image - images[0])
        assert difference.max() < 1.5
        assert np.count_nonzero(difference > 0.5) <= 3


# How many photons


def test_mas_give_the_photons_of_the_spectrum_at_that_distance_and_slant():
    geometry = cone(shape=(41, 51), sdd=2000)
    photons = physics.Exposure(mas=2.5).photons(uniform(5, (1, 41, 51), geometry=geometry))
    at_1m = BEAM.fluence.sum() * 2.5  # per cm2
    on_axis = at_1m / 4 * 0.20 * 0.15
    assert photons[0, 20, 25] == pytest.approx(on_axis, rel=1e-12)
    corner = np.array([20 * 2.0, 25 * 1.5])
    cosine = 2000 / np.hypot(2000, np.hypot(*corner))
    assert photons[0, 0, 0] == pytest.approx(on_axis * cosine**3, rel=1e-12)


def test_kerma_gives_the_photons_of_the_spectrum():
    geometry = parallel()
    signal = uniform(5, (1, 40, 50), geometry=geometry)
    photons = physics.Exposure(kerma_ugy=2.5).photons(signal)
    per_cm2 = 2.5 / (BEAM.kerma_ugy_per_mas / BEAM.fluence.sum())
    np.testing.assert_allclose(photons, per_cm2 * 0.2 * 0.15, rtol=1e-12)


@pytest.mark.parametrize(
    "arguments", [{}, {"mas": 1, "kerma_ugy": 1}, {"mas": 0}, {"photons_per_pixel": -1}, {"kerma_ugy": np.nan}]
)
def test_exposures_that_cannot_be_are_refused(arguments):
    with pytest.raises(ValueError, match=r"an exposure is one of|must be positive"):
        physics.Exposure(**arguments)


def test_exposures_that_the_signal_cannot_answer_are_refused():
    with pytest.raises(ValueError, match="no geometry"):
        physics.Exposure(mas=1).photons(uniform(5, (1, 4, 4)))
    with pytest.raises(ValueError, match="parallel beam"):
        physics.Exposure(mas=1).photons(uniform(5, (1, 40, 50), geometry=parallel()))
    relative = physics.Spectrum([50, 60], [1, 1])
    with pytest.raises(ValueError, match="mas needs a spectrum in photons"):
        physics.Exposure(mas=1).photons(uniform(5, (1, 40, 50), spectrum=relative, geometry=cone()))


# Blur


def discrete_gaussian(sigma, reach):
    """Weights at -reach..reach, by the integral that defines them: exp(-t) I_n(t) with t = sigma^2."""
    angle = (np.arange(20_000) + 0.5) / 20_000 * np.pi
    half = [float(np.mean(np.exp(sigma**2 * (np.cos(angle) - 1)) * np.cos(n * angle))) for n in range(reach + 1)]
    return np.array([*half[:0:-1], *half])


def test_blur_is_the_discrete_gaussian():
    point = np.zeros((31, 33), np.float32)
    point[15, 16] = 1
    spread = blurred(point, (1.7, 0.4))
    np.testing.assert_allclose(spread, np.outer(discrete_gaussian(1.7, 15), discrete_gaussian(0.4, 16)), atol=1e-7)
    offsets = np.arange(-15, 16)
    assert spread.sum(axis=1) @ offsets**2 == pytest.approx(1.7**2, rel=1e-5)
    np.testing.assert_allclose(blurred(blurred(point, (1, 0)), (1, 0)), blurred(point, (np.sqrt(2), 0)), atol=1e-6)


def test_a_wide_blur_is_a_gaussian():
    point = np.zeros((201, 1), np.float32)
    point[100] = 1
    expected = [statistics.NormalDist(0, 12).pdf(offset) for offset in range(-100, 101)]
    np.testing.assert_allclose(blurred(point, (12, 0)).ravel(), expected, atol=1e-3 * max(expected))


@pytest.mark.parametrize("sigma", [(0, 0), (0.1, 3), (50, 0), (200, 200)])
def test_blur_leaves_a_uniform_image_and_a_point_at_the_border_inside(sigma):
    np.testing.assert_allclose(blurred(np.full((2, 9, 7), 3, np.float32), sigma), 3, rtol=1e-6)
    rng = np.random.default_rng(1)
    image = rng.random((9, 7)).astype(np.float32)
    repeated = np.pad(image, ((2000, 2000), (0, 0)), mode="edge")
    np.testing.assert_allclose(
        blurred(image, (sigma[0], 0)), blurred(repeated, (sigma[0], 0))[2000:2009], rtol=1e-4, atol=1e-6
    )


def edge_signal(geometry):
    """Nothing on the left, 5 cm of water on the right."""
    rows, columns = geometry.shape
    mass = np.zeros((1, 1, rows, columns), np.float32)
    mass[..., columns // 2 :] = 5
    paths = physics.MaterialPaths(mass, ("water",), geometry)
    return physics.polychromatic(paths, BEAM, physics.COUNTING)


def test_a_blur_that_would_take_gigabytes_to_compute_is_refused():
    image = np.ones((1, 8, 8), np.float32)
    np.testing.assert_allclose(blurred(image, (8000, 8000)), 1, rtol=1e-5)
    with pytest.raises(ValueError, match=r"a blur of 1e\+09 pixels is more than 1000 times as wide as this image of 8"):
        blurred(image, (0, 1e9))


def test_the_focal_spot_blurs_the_transmission_by_its_magnified_width():
    signal = edge_signal(cone())
    blurry = physics.acquire(signal, focal_spot_mm=6.0, magnification=1.5)
    # 6 mm at M 1.5 are 3 mm at the detector; pixels are 1.5 mm wide and 2 mm high.
    kernel = discrete_gaussian(3.0 / np.sqrt(12) / 1.5, 60)
    behind = np.array([kernel[: column + 60 - 25 + 1].sum() for column in range(50)])
    low = float(signal.transmission[0, 0, -1])
    np.testing.assert_allclose(blurry.transmission[0, 20], 1 + (low - 1) * behind, atol=2e-6)
    assert blurry.record["acquisition"]["focal_spot"] == {"width_mm": 6.0, "magnification": [1.5]}


def test_the_magnification_of_the_volume_is_found_and_a_parallel_beam_has_no_focal_spot():
    ct = drrproj.Volume(np.zeros((10, 10, 10), np.int16), np.diag([10, 10, 10, 1]))
    arm = {"sdd": 1200, "isocenter": ct.center, "primary_angle": [0, 40], "secondary_angle": 5, "pixel_spacing": 4}
    shot = drrproj.project(ct, drrproj.Geometry.c_arm(sod=800, shape=(20, 20), **arm))
    blurry = physics.acquire(physics.monochromatic(shot), focal_spot_mm=1)
    assert blurry.record["acquisition"]["focal_spot"]["magnification"] == pytest.approx([1.5, 1.5])
    with pytest.raises(ValueError, match="no focal spot"):
        physics.acquire(edge_signal(parallel()), focal_spot_mm=1, magnification=1.2)
    with pytest.raises(ValueError, match="magnification must be at least 1"):
        physics.acquire(edge_signal(cone()), focal_spot_mm=1, magnification=0.9)
    with pytest.raises(ValueError, match="pass magnification"):
        physics.acquire(edge_signal(cone()), focal_spot_mm=1)
    with pytest.raises(ValueError, match="belongs to a focal spot"):
        physics.acquire(edge_signal(cone()), magnification=1.2)


@pytest.mark.parametrize(("source", "detector"), [(65, 1000), (-855, 40)])
def test_a_centre_that_is_not_between_source_and_detector_has_no_magnification(source, detector):
    """Source or detector lie within the volume, the centre behind them."""
    ct = drrproj.Volume(np.zeros((10, 10, 10), np.int16), np.diag([10, 10, 10, 1]))
    steps = {"row_step": (0, 0, -4), "column_step": (4, 0, 0), "shape": (20, 20), "names": ["odd"]}
    view = drrproj.Geometry.cone((45, source, 45), (45, detector, 45), **steps)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shot = drrproj.project(ct, view)
    signal = physics.monochromatic(shot)
    with pytest.raises(ValueError, match=r"view 'odd': the volume's centre is not between.*pass magnification"):
        physics.acquire(signal, focal_spot_mm=1)
    physics.acquire(signal, focal_spot_mm=1, magnification=1.5)


def test_the_detector_smoothes_quantum_noise_but_not_its_own():
    signal = uniform(10, (1, 200, 250), geometry=cone((200, 250)), detector=physics.COUNTING)
    dose = physics.Exposure(photons_per_pixel=1e5)
    sharp, smooth = (
        physics.acquire(signal, exposure=dose, seed=1, detector_blur_mm=width).transmission[0] for width in (0, 3)
    )
    # Of white noise a filter leaves the sum of its squared weights; 3 mm are 1.5 pixels down and 2 across.
    left = [np.sum(discrete_gaussian(sigma, 20) ** 2) for sigma in (1.5, 2.0)]
    assert smooth.var() / sharp.var() == pytest.approx(left[0] * left[1], rel=0.05)
    own = physics.acquire(signal, exposure=dose, seed=1, detector_blur_mm=3, electronic_noise=200).transmission[0]
    assert (own - smooth).std() == pytest.approx(200 / 1e5, rel=0.02)
    neighbours = np.corrcoef((own - smooth)[:, 1:].ravel(), (own - smooth)[:, :-1].ravel())[0, 1]
    assert abs(neighbours) < 0.02


# Scatter


def test_scatter_has_the_asked_level_and_lowers_contrast():
    geometry = cone((60, 60), spacing=(5.0, 5.0))
    mass = np.full((1, 1, 60, 60), 15, np.float32)
    mass[..., 30:34, 30:34] += 0.05
    signal = physics.polychromatic(physics.MaterialPaths(mass, ("water",), geometry), BEAM, physics.COUNTING)
    veiled = physics.acquire(signal, scatter=physics.Scatter(to_primary=1.5, sigma_mm=60))
    ratio = veiled.transmission / signal.transmission - 1
    assert ratio.mean() == pytest.approx(1.5, rel=1e-3)
    contrast = [float(image[0, 31, 31] - image[0, 5, 5]) for image in (signal.line_integral, veiled.line_integral)]
    assert contrast[1] / contrast[0] == pytest.approx(1 / 2.5, rel=0.02)


def test_the_open_beam_scatters_nothing_and_scatter_makes_its_own_noise():
    geometry = cone((60, 80))
    nothing = physics.polychromatic(physics.MaterialPaths(np.zeros((1, 1, 60, 80)), ("water",), geometry), BEAM)
    veiled = physics.acquire(nothing, scatter=physics.Scatter(1.0, 50))
    np.testing.assert_allclose(veiled.line_integral, 0, atol=1e-6)
    signal = uniform(10, (1, 60, 80), geometry=geometry, detector=physics.COUNTING)
    dose = physics.Exposure(photons_per_pixel=1e5)
    clean, veiled = (
        physics.acquire(signal, exposure=dose, seed=1, scatter=scatter).transmission
        for scatter in (None, physics.Scatter(3.0, 50))
    )
    assert veiled.mean() == pytest.approx(4 * clean.mean(), rel=1e-2)
    assert veiled.var() == pytest.approx(4 * clean.var(), rel=0.06)


@pytest.mark.parametrize("arguments", [(-1, 50), (np.nan, 50), (1, 0), (1, -3)])
def test_scatter_that_cannot_be_is_refused(arguments):
    with pytest.raises(ValueError, match="of scatter must"):
        physics.Scatter(*arguments)


# Refusals, limits and the record


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": 1}, "noise needs an exposure"),
        ({"electronic_noise": 2}, "noise needs an exposure"),
        ({"exposure": physics.Exposure(photons_per_pixel=10)}, "noise needs a seed"),
        ({"exposure": physics.Exposure(photons_per_pixel=10), "seed": -1}, "noise needs a seed"),
        ({"exposure": physics.Exposure(photons_per_pixel=10), "seed": 1.5}, "noise needs a seed"),
        ({"detector_blur_mm": -1}, "must not be negative"),
        ({"detector_blur_mm": 1}, "no geometry"),
        ({"focal_spot_mm": 1, "magnification": 1.5}, "needs a geometry"),
        ({"focal_spot_mm": np.inf}, "must not be negative"),
        ({"scatter": physics.Scatter(1, 50)}, "no geometry"),
        ({"exposure": physics.Exposure(photons_per_pixel=1e300), "seed": 1}, "to .*e.299 quanta .* of 1e-09 to 1e.15"),
        ({"exposure": physics.Exposure(photons_per_pixel=1e-300), "seed": 1}, "quanta be seen in an open pixel"),
    ],
)
def test_requests_that_cannot_be_answered_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        physics.acquire(uniform(5, (1, 4, 4)), **arguments)


def test_arguments_of_another_kind_and_a_second_exposure_are_refused():
    signal = uniform(5, (1, 4, 4))
    with pytest.raises(TypeError, match=r"physics\.Signal"):
        physics.acquire(signal.line_integral)
    with pytest.raises(TypeError, match=r"physics\.Exposure"):
        physics.acquire(signal, exposure=100, seed=1)
    with pytest.raises(TypeError, match=r"physics\.Scatter"):
        physics.acquire(signal, scatter=1.0)
    noisy = physics.acquire(signal, exposure=physics.Exposure(photons_per_pixel=10), seed=1)
    with pytest.raises(ValueError, match="acquired already"):
        physics.acquire(noisy, exposure=physics.Exposure(photons_per_pixel=10), seed=1)


def test_nothing_asked_for_changes_nothing():
    signal = uniform(12, (1, 20, 30))
    np.testing.assert_allclose(physics.acquire(signal).line_integral, signal.line_integral, atol=1e-6)


def test_pixels_without_a_quantum_are_one_quantum_and_counted():
    mass = np.array([[[[0.0, 300.0]]]])  # the second is 50 mm of lead
    mass[..., 1] = 5 * 11.35
    paths = physics.MaterialPaths(mass, ("lead",))
    signal = physics.polychromatic(paths, BEAM, physics.COUNTING)
    noisy = physics.acquire(signal, exposure=physics.Exposure(photons_per_pixel=1e4), seed=1)
    assert noisy.line_integral[0, 0, 1] == pytest.approx(np.log(1e4), rel=1e-6)
    assert noisy.record["acquisition"]["pixels_below_one_quantum"] == 1


def test_the_record_tells_the_whole_chain_in_plain_values():
    signal = uniform(10, (1, 40, 50), geometry=cone())
    noisy = physics.acquire(
        signal,
        exposure=physics.Exposure(mas=1),
        seed=7,
        focal_spot_mm=1.2,
        magnification=1.1,
        scatter=physics.Scatter(0.5, 40),
        detector_blur_mm=0.3,
        electronic_noise=2,
    )
    record = json.loads(json.dumps(noisy.record, allow_nan=False))
    assert record["signal"]["spectrum"]["kvp"] == 100
    assert record["acquisition"] == {
        "exposure": {"mas": 1.0},
        "seed": 7,
        "focal_spot": {"width_mm": 1.2, "magnification": [1.1]},
        "scatter": {"to_primary": 0.5, "sigma_mm": 40.0},
        "detector_blur_mm": 0.3,
        "electronic_noise_quanta": 2.0,
        "pixels_below_one_quantum": 0,
    }
