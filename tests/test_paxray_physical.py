"""The physical mode and Matsubara's chain against sums of voxels, where rays run along them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from test_paxray_faithful import crop_of, cut, equal, patient, s, sharpened

import drrproj
from drrproj import attenuation, paxray, tissue
from drrproj.attenuation import linear_attenuation
from drrproj.io import read_sample

ndimage = pytest.importorskip("scipy.ndimage", reason="the chain uses SciPy")

MM = (2.0, 3.0, 2.0)
HU = np.clip(patient(np.int16, 11), -1000, 3071)
CT = drrproj.Volume(HU, np.diag([*MM, 1.0]), space="LPS")
# Each ray runs along one column of voxels: rows from head to foot, columns from the patient's right.
VIEW = drrproj.Geometry.radiograph("AP", CT, beam="parallel", shape=(36, 44), pixel_spacing=2.0)
GAMMA = 0.15


def line_integral(mu: np.ndarray) -> np.ndarray:
    """Of attenuation per mm on the grid of HU, in float64."""
    return mu.sum(axis=1).T[::-1] * MM[1]


def bilinear(hu: np.ndarray) -> np.ndarray:
    """At the CT's own energy the bilinear law is scaled water."""
    return linear_attenuation("water", 70) * np.maximum(0, 1 + hu / 1000)


def images(body_only: bool) -> tuple[np.ndarray, np.ndarray]:
    hu = np.where(tissue.body_mask(CT), HU, -1000) if body_only else HU
    beyond_water = np.where((hu >= 400) & (hu <= 1600), bilinear(hu) - bilinear(np.array(0.0)), 0)
    return line_integral(bilinear(hu)), line_integral(beyond_water)


def absorbed(p: np.ndarray) -> np.ndarray:
    return 1 - np.exp(-p) ** GAMMA


P, BONES = images(False)
BODY, BODY_BONES = images(True)
SIGMOIDS = 1 - (s(absorbed(P)) + s(absorbed(BONES)))
EXPECTED = {
    "sum": P,
    "hist": equal(P),
    "hist_resized": equal(cut(P)),
    "hist_before_resized": cut(equal(P)),
    "noexterior": BODY,
    "noexterior_hist": equal(BODY),
    "noexterior_hist_resized": cut(equal(BODY)),
    "bone_noexterior": BODY + 2 * BODY_BONES,
    "bone_hist": equal(BODY + BODY_BONES),
    "bone_hist_resized": cut(equal(BODY + BODY_BONES)),
    "matsu": absorbed(P),
    "numba_matsu": absorbed(P),
    "nonlinear_matsu": 1 - s(absorbed(P)),
    "bone_matsu": SIGMOIDS,
    "sharpening_mastu": sharpened(SIGMOIDS),
    "hist_mastu": equal(sharpened(SIGMOIDS)),
}


def restored(picture: drrproj.Picture) -> np.ndarray:
    low, high = picture.record["paxray"]["range"]
    return low + picture.levels.astype(float) / np.iinfo(picture.levels.dtype).max * (high - low)


def test_there_is_an_expectation_for_every_transfer_function():
    assert set(EXPECTED) == set(paxray.TRANSFERS)


@pytest.mark.parametrize("transfer", EXPECTED)
def test_every_transfer_function_on_line_integrals_in_mm(transfer):
    gamma = GAMMA if "matsu" in transfer or "mastu" in transfer else None
    picture = paxray.physical(CT, VIEW, transfer, gamma=gamma, crop=crop_of(transfer), bits=16)
    expected = EXPECTED[transfer]
    assert picture.levels.shape == expected.shape
    # Half a level of 16 bits, the float32 of the projection, and what an equalization makes of it at a border of bins.
    tolerance = np.ptp(expected) * (0.005 if "equalize" in paxray.TRANSFERS[transfer].steps else 2e-5)
    np.testing.assert_allclose(restored(picture), expected, atol=tolerance)


def test_spacing_counts():
    """In mm, twice the voxels' depth is twice the attenuation; the faithful mode cannot tell."""
    deep = drrproj.Volume(HU, np.diag([2.0, 6.0, 2.0, 1.0]), space="LPS")
    view = drrproj.Geometry.radiograph("AP", deep, beam="parallel", shape=(36, 44), pixel_spacing=2.0)
    one, two = (paxray.physical(ct, v, "sum").record["paxray"]["range"] for ct, v in ((CT, VIEW), (deep, view)))
    np.testing.assert_allclose(two, 2 * np.array(one), rtol=1e-6)


def test_a_cone_beam_and_another_energy_go_into_the_picture():
    view = drrproj.Geometry.radiograph("LL", CT, shape=(40, 50))
    model = attenuation.linear(100)
    shot = drrproj.project(CT, view, attenuation=model)
    picture = paxray.physical(CT, view, "sum", attenuation=model, bits=16)
    np.testing.assert_allclose(restored(picture), shot.line_integral[0], atol=1e-4)
    assert picture.record["attenuation"] == model.as_record()
    assert picture.record["geometry"] == view.as_record()


def test_eight_bits_and_the_record(tmp_path):
    picture = paxray.physical(CT, VIEW, "hist_resized", crop=(3, 5))
    assert (picture.levels.dtype, int(picture.levels.min()), int(picture.levels.max())) == (np.uint8, 0, 255)
    drrproj.write_sidecar(tmp_path / "a.json", picture)
    record = json.loads((tmp_path / "a.json").read_text())["paxray"]
    assert (record["mode"], record["transfer"], record["crop"], record["gamma"]) == (
        "physical",
        "hist_resized",
        [3, 5],
        None,
    )


@pytest.mark.parametrize(
    ("choices", "complaint"),
    [
        ({"transfer": "histogram"}, "no transfer function 'histogram'"),
        ({"gamma": 0}, "gamma must be a positive exponent"),
        ({"gamma": np.nan}, "gamma must be a positive exponent"),
        ({"gamma": "1"}, "gamma must be a positive exponent of the transmission; got '1', which is text"),
        ({"bits": 12}, "bits must be 8 or 16; got 12"),
        ({"transfer": "hist_resized"}, "nothing is left of 36 x 44 pixels"),
        ({"bone_window": (900, 400)}, "a bone window is two HU values"),
        ({"transfer": "hist", "gamma": 0.1}, "hist shows line integrals, which have no gamma"),
        ({"transfer": "matsu", "bone_window": (400, 900)}, "matsu does not enhance bones"),
        ({"crop": (5, 5)}, "hist_mastu does not crop"),
    ],
)
def test_choices_that_are_refused(choices, complaint):
    with pytest.raises(ValueError, match=complaint):
        paxray.physical(CT, VIEW, **choices)


def test_views_and_volumes_that_are_refused():
    with pytest.raises(TypeError, match=r"volume must be a drrproj\.Volume; got str"):
        paxray.matsubara("ct.nii.gz")
    with pytest.raises(TypeError, match=r"needs a Geometry.*views of paxray\.faithful\. Got 'frontal'"):
        paxray.physical(CT, "frontal")
    with pytest.raises(
        TypeError, match=r"needs an Attenuation, such as drrproj\.attenuation\.linear\(\); got 'linear'"
    ):
        paxray.physical(CT, VIEW, "sum", attenuation="linear")
    with pytest.raises(ValueError, match=r"this geometry has 2 \(AP, AP\); make one at a time"):
        paxray.physical(CT, drrproj.Geometry.concatenate([VIEW, VIEW]))
    mu = drrproj.Volume(np.full((9, 9, 9), 0.02), np.eye(4), unit="1/mm")
    with pytest.raises(ValueError, match='unit of this volume is "1/mm"'):
        paxray.physical(mu, VIEW)
    with pytest.raises(ValueError, match="gives g/cm3; a picture needs attenuation in 1/mm"):
        paxray.physical(CT, VIEW, attenuation=attenuation.density((-1000, 0), (0.0, 1.0)))
    air = drrproj.Volume(np.full((44, 40, 36), -1000, np.int16), CT.affine)
    with pytest.raises(ValueError, match="no contrast"):
        paxray.physical(air, VIEW, "sum")


# --- Matsubara ----------------------------------------------------------------------------------------------------


def matsubara_by_hand(hu: np.ndarray, closing: int = 5, weight: float = 1.0) -> np.ndarray:
    """The published formulas on voxels of 1 mm: sums, their constants, bones in water, 10 bits."""
    mask = (hu >= 200) & (hu <= 3000)
    if closing:
        for z in range(hu.shape[2]):
            slice_ = np.pad(mask[:, :, z], closing)
            mask[:, :, z] = ndimage.binary_closing(slice_, np.ones((closing, closing)))[
                closing:-closing, closing:-closing
            ]

    def projected(voxels: np.ndarray) -> np.ndarray:
        depth = hu.shape[1]
        mean = (voxels.astype(float).sum(axis=1) / depth).T[::-1]
        intensity = np.exp(-(mean * 0.00195 / 1000 + 0.00195) * depth)
        return 1 / (1 + np.exp(4.0 * (intensity - 2.0 * intensity.mean())))

    picture = projected(hu) + weight * projected(np.where(mask, hu, 0))
    picture = picture + 0.7 * (picture - ndimage.uniform_filter(picture, 3))
    return (picture - picture.min()) / (picture.max() - picture.min()) * 1023


@pytest.mark.parametrize(("closing", "weight"), [(5, 1.0), (0, 1.0), (3, 2.5)])
def test_matsubara_is_its_formula_on_voxels_of_1_mm(closing, weight):
    ct = drrproj.Volume(HU, np.eye(4), space="LPS")
    picture = paxray.matsubara(ct, closing=closing, bone_weight=weight)
    assert (picture.levels.shape, picture.levels.dtype) == ((36, 44), np.uint16)
    assert np.abs(picture.levels - matsubara_by_hand(HU, closing, weight)).max() <= 0.51


def test_matsubara_does_not_depend_on_how_a_line_is_cut_into_voxels():
    """In mm: half the voxels, twice as deep, when pairs are equal."""
    paired = np.repeat(HU[:, ::2], 2, axis=1)
    fine = paxray.matsubara(drrproj.Volume(paired, np.eye(4), space="LPS"), closing=0)
    coarse = paxray.matsubara(drrproj.Volume(HU[:, ::2], np.diag([1.0, 2.0, 1.0, 1.0]), space="LPS"), closing=0)
    assert np.abs(fine.levels.astype(int) - coarse.levels).max() <= 1


def test_matsubara_takes_small_letters():
    ct = drrproj.Volume(np.where(np.indices((20, 16, 12)).sum(axis=0) < 20, 40, -1000).astype(np.int16), np.eye(4))
    np.testing.assert_array_equal(paxray.matsubara(ct, "ll").levels, paxray.matsubara(ct, "LL").levels)


def test_a_view_that_is_no_text_is_refused_in_a_sentence():
    with pytest.raises(TypeError, match=r'a radiograph has a view and a volume: Geometry.radiograph\("PA", ct\)'):
        paxray.matsubara(read_sample()[0], 5)


def test_matsubara_options():
    ct, _ = read_sample()
    picture = paxray.matsubara(ct, "LL", pixel_mm=3, bits=16)
    assert (picture.levels.shape, int(picture.levels.max())) == ((110, 120), 65535)
    assert paxray.matsubara(ct, "LL", pixel_mm=3, bits=8).levels.dtype == np.uint8
    numpys = paxray.matsubara(ct, "LL", pixel_mm=3, bits=np.int64(16))
    np.testing.assert_array_equal(numpys.levels, picture.levels)
    assert json.loads(json.dumps(numpys.record)) == json.loads(json.dumps(picture.record))
    assert picture.record["paxray"]["mode"] == "matsubara"
    assert picture.record["geometry"]["names"] == ["LL"]
    for choices, complaint in (
        ({"bits": 17}, "bits must be a whole number from 8 to 16; got 17"),
        ({"pixel_mm": 0}, "pixel_mm must be a positive length; got 0"),
        ({"pixel_mm": "1"}, "pixel_mm must be a positive length; got '1', which is text"),
        ({"bone_weight": -1}, "bone_weight must be 0 or more"),
        ({"bone_weight": "1"}, "bone_weight must be 0 or more; got '1', which is text"),
        ({"closing": 4}, "closing is the edge of a square, an odd number"),
        ({"view": "frontal"}, "unknown view 'frontal'"),
    ):
        with pytest.raises(ValueError, match=complaint):
            paxray.matsubara(ct, **choices)
