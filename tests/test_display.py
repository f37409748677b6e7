"""The mapping from line integrals to grey levels, and back from what a sidecar says."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from PIL import Image
from test_io_radiograph import radiograph

import drrproj
from drrproj.display import Display, Picture

P = np.random.default_rng(5).gamma(2.0, 1.5, (40, 50)).astype(np.float32)


def value(line_integral: np.ndarray, quantity: str) -> np.ndarray:
    exact = line_integral.astype(np.float64)
    return exact if quantity == "line_integral" else np.exp(-exact)


CHOICES = [
    (quantity, bits, inverted)
    for quantity in ("line_integral", "transmission")
    for bits in (8, 16)
    for inverted in (False, True)
]


@pytest.mark.parametrize(("quantity", "bits", "inverted"), CHOICES)
def test_levels_are_the_formula(quantity, bits, inverted):
    low, high = (0.5, 5.0) if quantity == "line_integral" else (0.02, 0.7)
    levels = Display(low, high, quantity, bits, inverted).levels(P)
    maximum = 2**bits - 1
    exact = np.clip((value(P, quantity) - low) / (high - low), 0, 1) * maximum
    assert levels.dtype == (np.uint8 if bits == 8 else np.uint16)
    # Float32 may round a value that lies on the border of two levels to either of them.
    assert np.abs(levels - (maximum - exact if inverted else exact)).max() <= 0.5 + maximum * 2e-6
    assert {int(levels.min()), int(levels.max())} == {0, maximum}


@pytest.mark.parametrize(("quantity", "bits", "inverted"), CHOICES)
def test_restore_undoes_levels_to_half_a_level(quantity, bits, inverted):
    low, high = (0.5, 5.0) if quantity == "line_integral" else (0.02, 0.7)
    display = Display(low, high, quantity, bits, inverted)
    restored = display.restore(display.levels(P))
    half = (high - low) / (2**bits - 1) / 2
    np.testing.assert_allclose(restored, np.clip(value(P, quantity), low, high), rtol=3e-7, atol=half * 1.01)
    np.testing.assert_array_equal(
        display.restore([0, 2**bits - 1]), np.float32([high, low] if inverted else [low, high])
    )


def test_a_sidecar_and_its_picture_give_the_line_integral_back(tmp_path):
    """Nothing but the two files: as somebody reads them who has no radiograph."""
    shot = radiograph(labels=False)
    used = drrproj.write_png(tmp_path / "pa.png", shot, display=Display(0, 1, "transmission", inverted=True))
    drrproj.write_sidecar(tmp_path / "pa.json", shot, display=used.as_record())
    record = json.loads((tmp_path / "pa.json").read_text())["display"]
    with Image.open(tmp_path / "pa.png") as picture:
        levels = np.asarray(picture).astype(np.float64)
        assert {key: picture.text[f"display_{key}"] for key in record} == {
            key: str(entry) for key, entry in record.items()
        }
    assert record == {
        "low": 0.0,
        "high": 1.0,
        "quantity": "transmission",
        "bits": 16,
        "inverted": True,
        "clahe": None,
    }
    by_hand = record["low"] + (65535 - levels) / 65535 * (record["high"] - record["low"])
    np.testing.assert_allclose(by_hand, np.exp(-shot.line_integral[0].astype(np.float64)), atol=0.51 / 65535)
    np.testing.assert_array_equal(Display(**record).restore(levels), by_hand.astype(np.float32))


def test_dense_is_bright_after_the_logarithm_dark_in_transmission_and_inverted_the_other_way():
    thin, dense = np.float32([[0.0]]), np.float32([[3.0]])
    assert Display(0, 3).levels(dense) > Display(0, 3).levels(thin)
    assert Display(0, 1, "transmission").levels(dense) < Display(0, 1, "transmission").levels(thin)
    assert Display(0, 3, inverted=True).levels(dense) < Display(0, 3, inverted=True).levels(thin)


def test_fit_takes_percentiles_of_the_body_alone():
    image = np.zeros((100, 100), np.float32)
    image[20:80, 20:80] = np.linspace(1, 4, 3600).reshape(60, 60)
    body = image[20:80, 20:80]
    assert (Display.fit(image).low, Display.fit(image).high) == pytest.approx(np.percentile(body, (0.5, 99.5)))
    seen = Display.fit(image, quantity="transmission", percentiles=(2, 90), bits=8, inverted=True)
    assert (seen.low, seen.high) == pytest.approx(np.percentile(np.exp(-body), (2, 90)))
    assert (seen.quantity, seen.bits, seen.inverted) == ("transmission", 8, True)


@pytest.mark.parametrize(
    "values",
    [
        P,
        np.exp(4 * P),
        np.random.default_rng(1).gamma(2.0, 1.5, 70000).astype(np.float32),
        np.tile(np.float32([1, 2, 3, 4, 5, 6, 7, 8]), 8192),  # a sample of every eighth sees one value alone
        np.sort(np.random.default_rng(2).gamma(2.0, 1.5, 70000).astype(np.float32)),
        np.repeat(np.float32([0.1, 0.2, 7]), [5, 900, 2]),
        np.float32([3.0, 3.0, 3.0 + 1e-6]),
        np.float32([0.06]),
        np.float32([1.0, 2.0]),
        np.float32([0.1, 3e38]),
    ],
)
@pytest.mark.parametrize("percentiles", [(0, 100), (0.5, 99.5), (25, 75), (50, 50.1), (33.3, 99.999)])
@pytest.mark.parametrize("quantity", ["line_integral", "transmission"])
def test_percentiles_are_those_of_numpy(values, percentiles, quantity):
    image = np.concatenate([values.ravel(), np.zeros(7, np.float32)])
    low, high = np.percentile(value(image[image > 0.05], quantity), percentiles)
    if not np.float32(low) < np.float32(high):
        low = 0.0
    if high < 1e-30:
        return  # a transmission of nothing has no window
    fitted = Display.fit(image, percentiles=percentiles, quantity=quantity)
    np.testing.assert_allclose((fitted.low, fitted.high), (low, high), rtol=1e-12, atol=1e-15)


def test_one_window_for_a_dataset_pools_the_pixels_of_all_images():
    thin, thick = radiograph(image=P[:20, :30]), radiograph(image=3 * P[20:, 20:])
    pooled = np.concatenate([P[:20, :30].ravel(), 3 * P[20:, 20:].ravel()])
    expected = np.percentile(pooled[pooled > 0.05], (1, 99))
    one = Display.fit([thin, thick], percentiles=(1, 99))
    assert (one.low, one.high) == pytest.approx(expected, rel=1e-6)
    assert one == Display.fit(iter([thin.line_integral[0], thick.line_integral[0]]), percentiles=(1, 99))
    # The same line integral has the same level, whatever else is on its image.
    np.testing.assert_array_equal(one.levels(P[:20])[..., :5], one.levels(P[:20, :5]))
    assert Display.fit(thin) != Display.fit(thick)


def test_fit_of_all_views_of_a_radiograph():
    both = radiograph(views=2)
    assert Display.fit(both) == Display.fit([both["PA"], both["LL"]])


@pytest.mark.parametrize("quantity", ["line_integral", "transmission"])
def test_fit_of_an_image_without_contrast(quantity):
    assert (Display.fit(np.zeros((4, 4)), quantity=quantity).high) == 1.0
    flat = Display.fit(np.full((4, 4), 2.0), quantity=quantity)
    assert (flat.low, flat.high) == pytest.approx((0.0, 2.0 if quantity == "line_integral" else np.exp(-2)))


# --- CLAHE --------------------------------------------------------------------------------------------------------


def test_clahe_is_that_of_scikit_image_on_the_windowed_image():
    exposure = pytest.importorskip("skimage.exposure", reason="CLAHE needs scikit-image")
    display = Display(0.5, 5.0, clahe=0.02)
    windowed = np.clip((P - np.float32(0.5)) / np.float32(4.5), 0, 1)
    expected = np.rint(exposure.equalize_adapthist(windowed, clip_limit=0.02).astype(np.float32) * np.float32(65535))
    np.testing.assert_array_equal(display.levels(P), expected)
    assert (display.levels(P) != Display(0.5, 5.0).levels(P)).any()


def test_clahe_takes_each_image_by_itself_and_inversion_is_the_complement():
    pytest.importorskip("skimage.exposure", reason="CLAHE needs scikit-image")
    display = Display(0, 6, bits=8, clahe=0.01)
    two = np.stack([P, P[::-1]])
    np.testing.assert_array_equal(display.levels(two)[1], display.levels(two[1]))
    inverted = Display(0, 6, bits=8, inverted=True, clahe=0.01)
    np.testing.assert_array_equal(inverted.levels(P), 255 - display.levels(P))
    with pytest.raises(ValueError, match="CLAHE do not say"):
        display.restore(display.levels(P))
    assert (display.levels(np.full((16, 16), 3.0)) == 128).all()


def test_clahe_without_scikit_image_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    monkeypatch.setitem(sys.modules, "skimage.exposure", None)
    with pytest.raises(ImportError, match='skimage is not installed: pip install scikit-image, or the extra "render"'):
        Display(0, 6, clahe=0.01).levels(P)
    Display(0, 6).levels(P)


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choices", "complaint"),
    [
        ({"high": 0}, r"window must be two line integrals, low below high; got \(0, 0\)"),
        ({"high": -1, "quantity": "transmission"}, "window must be two transmissions, low below high"),
        ({"high": np.inf}, "window must be two line integrals"),
        ({"low": 1e9, "high": 1e9 + 1}, "window must be two line integrals"),
        ({"quantity": "log"}, 'quantity must be "line_integral" or "transmission"; got \'log\''),
        ({"bits": 12}, "bits must be 8 or 16; got 12"),
        ({"low": "0"}, r"window must be two line integrals, low below high; got \('0', 6\), which is text"),
        ({"clahe": "0.1"}, "clahe is a clip limit above 0 and at most 1; got '0.1', which is text"),
        ({"inverted": "False"}, "inverted must be True or False; got 'False'"),
        ({"clahe": 1.5}, "clahe is a clip limit above 0 and at most 1; got 1.5"),
        ({"clahe": 0.0}, r"clahe is a clip limit above 0 and at most 1; got 0\.0"),
    ],
)
def test_bad_displays(choices, complaint):
    with pytest.raises(ValueError, match=complaint):
        Display(**{"low": 0, "high": 6, **choices})


def test_numbers_of_numpy_make_the_display_of_pythons():
    display = Display(np.float32(0), np.int16(6), bits=np.uint8(16), inverted=np.True_, clahe=np.float32(0.5))
    assert json.loads(json.dumps(display.as_record())) == Display(0, 6, inverted=True, clahe=0.5).as_record()
    assert Display(0, 6, bits=np.uint8(16)).levels(np.float32([6, 3])).tolist() == [65535, 32768]


def test_transmissions_too_small_for_float32_have_the_window_of_all_transmissions():
    assert Display.fit(np.full((4, 4), 120.0), quantity="transmission") == Display(0, 1, "transmission")


@pytest.mark.parametrize("percentiles", [(1,), (5, 5), (90, 10), (-1, 50), (0, 101), (0, np.nan), 5, "ab", ("1", "99")])
def test_bad_percentiles(percentiles):
    with pytest.raises(ValueError, match="percentiles must be two numbers from 0 to 100, ascending"):
        Display.fit(P, percentiles=percentiles)


def test_other_refusals(tmp_path):
    with pytest.raises(ValueError, match="no images to choose a window for"):
        Display.fit([])
    shot = radiograph()
    with pytest.raises(ValueError, match="no line integral to show"):
        Display.fit(drrproj.Radiograph(shot.geometry, {"masks": shot.masks}, "cpu", {}))
    with pytest.raises(ValueError, match="levels of 8 bits lie from 0 to 255; got 0 to 256"):
        Display(0, 1, bits=8).restore([0, 256])
    with pytest.raises(ValueError, match="window and display both say"):
        drrproj.write_png(tmp_path / "pa.png", radiograph(), (0, 6), display=Display(0, 6))
    with pytest.raises(ValueError, match="CLAHE needs an image"):
        Display(0, 6, clahe=0.01).levels(P[0])
    with pytest.raises(ValueError, match="needs 16 rows and columns; got 15 x 40"):
        Display(0, 6, clahe=0.01).levels(P[:15, :40])


# --- finished pictures --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "mode"), [(np.uint8, "L"), (np.uint16, "I;16")])
def test_a_picture_goes_into_a_file_as_it_is(tmp_path, dtype, mode):
    picture = Picture(np.arange(12, dtype=dtype).reshape(3, 4) * np.iinfo(dtype).max // 11, {"made": "by hand"})
    drrproj.write_picture(tmp_path / "a.png", picture)
    drrproj.write_sidecar(tmp_path / "a.json", picture, source="nowhere")
    with Image.open(tmp_path / "a.png") as file:
        assert file.mode == mode
        np.testing.assert_array_equal(np.asarray(file), picture.levels)
    assert json.loads((tmp_path / "a.json").read_text()) == {"source": "nowhere", "made": "by hand"}


@pytest.mark.parametrize("levels", [np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2)), [[0]]])
def test_pictures_that_are_none(levels):
    with pytest.raises(ValueError, match=r"levels are uint8 or uint16 of shape \(rows, columns\); got"):
        Picture(levels, {})
