"""The faithful mode against a transcription of the authors' formulas, bit for bit.

The transcription is written for this test, from the published formulas and constants, with nothing of the package:
plain numpy on the array as SimpleITK would give it, scikit-image and SciPy where the authors call them, Pillow at the
end.
"""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest
from PIL import Image

import drrproj
from drrproj import paxray
from drrproj.io import read_sample

exposure = pytest.importorskip("skimage.exposure", reason="the authors' chain uses scikit-image")
measure = pytest.importorskip("skimage.measure", reason="the authors' chain uses scikit-image")
ndimage = pytest.importorskip("scipy.ndimage", reason="the authors' chain uses SciPy")

CROP = (10, 12)


# --- the transcription --------------------------------------------------------------------------------------------


def in_bones(a):
    return np.where(a < 400, 0, np.where(a > 1600, 0, a)).astype(a.dtype)


def without_backplate(a):
    pieces = measure.label(a > -200, connectivity=3)
    numbers, sizes = np.unique(pieces[pieces > 0], return_counts=True)
    keep = pieces == numbers[np.argmax(sizes)]
    inside = np.array([ndimage.binary_fill_holes(keep[z]) for z in range(a.shape[0])])
    return a * inside + (1 - inside) * a.min()


def total(a, axis):
    return a[::-1].sum(axis)


def matsu(a, axis):
    a = a[::-1].copy()
    n = a.shape[axis]
    mu = (a.sum(axis) / n) * 0.00195 / 1000 + 0.00195
    return 1 - np.exp(-(mu * n))


def s(x):
    return 1 / (1 + np.exp(4.0 * (x - 2.0 * x.mean())))


def bone_matsu(a, axis):
    return 1 - (s(matsu(a, axis)) + s(matsu(in_bones(a), axis)))


def sharpened(y):
    return y + 0.7 * (y - ndimage.uniform_filter(y, size=3))


def cut(image):
    return image[: -CROP[0], CROP[1] : -CROP[1]]


equal = exposure.equalize_hist
THEIRS = {
    "sum": total,
    "hist": lambda a, axis: equal(total(a, axis)),
    "hist_resized": lambda a, axis: equal(cut(total(a, axis))),
    "hist_before_resized": lambda a, axis: cut(equal(total(a, axis))),
    "noexterior": lambda a, axis: total(without_backplate(a), axis),
    "noexterior_hist": lambda a, axis: equal(total(without_backplate(a), axis)),
    "noexterior_hist_resized": lambda a, axis: cut(equal(total(without_backplate(a), axis))),
    "bone_noexterior": lambda a, axis: total(without_backplate(a) + in_bones(without_backplate(a)) * 2, axis),
    "bone_hist": lambda a, axis: equal(total(without_backplate(a) + in_bones(without_backplate(a)), axis)),
    "bone_hist_resized": lambda a, axis: cut(equal(total(without_backplate(a) + in_bones(without_backplate(a)), axis))),
    "matsu": matsu,
    "numba_matsu": matsu,
    "nonlinear_matsu": lambda a, axis: 1 - s(matsu(a, axis)),
    "bone_matsu": bone_matsu,
    "sharpening_mastu": lambda a, axis: sharpened(bone_matsu(a, axis)),
    "hist_mastu": lambda a, axis: equal(sharpened(bone_matsu(a, axis))),
}


def theirs(voxels, transfer, axis):
    """What their script saves, from an array [x, y, z] of a file."""
    read = np.clip(np.ascontiguousarray(voxels.transpose()), -1024, 3071)
    image = THEIRS[transfer](read, axis)
    grey = ((image - image.min()) / (image.max() - image.min()) * 255).astype(np.uint8)
    return np.asarray(Image.fromarray(grey).resize((512, 512), Image.LANCZOS))


def crop_of(transfer):
    return CROP if "resized" in transfer else None


# --- volumes ------------------------------------------------------------------------------------------------------


def patient(dtype=np.int16, seed=0):
    """A noisy body with lungs and bones, a couch, padding and metal beyond the scale; not symmetric in any axis."""
    rng = np.random.default_rng(seed)
    x, y, z = np.ogrid[-1:1:44j, -1:1:40j, -1:1:36j]
    hu = np.full((44, 40, 36), -2000.0)
    hu[2:-2, 2:-2] = rng.normal(-1000, 15, (40, 36, 36))
    body = (x - 0.05) ** 2 / 0.7 + (y + 0.1) ** 2 / 0.5 + 0 * z < 1
    hu[body] = rng.normal(30, 40, np.count_nonzero(body))
    for side in (-0.4, 0.5):
        lung = (x - side) ** 2 / 0.06 + (y + 0.2) ** 2 / 0.2 + (z - 0.1) ** 2 / 0.8 < 1
        hu[lung] = rng.normal(-800, 30, np.count_nonzero(lung))
    spine = (x - 0.05) ** 2 + (y - 0.35) ** 2 + 0 * z < 0.03
    hu[spine] = rng.normal(800, 500, np.count_nonzero(spine))
    hu[8:36, 36:38] = 150
    hu[20:22, 10:12, 20:23] = 9000
    return hu.round().astype(dtype) if np.dtype(dtype).kind == "i" else hu.astype(dtype)


def noise(dtype, seed):
    return np.random.default_rng(seed).integers(-3000, 4000, (50, 31, 27)).astype(dtype)


VOLUMES = {
    "int16": patient(np.int16),
    "int16, C order": np.ascontiguousarray(patient(np.int16, 1)),
    "int16, Fortran order": np.asfortranarray(patient(np.int16, 2)),
    "int32": patient(np.int32, 3),
    "float32": np.asfortranarray(patient(np.float32, 4)),
    "float64, backwards": patient(np.float64, 5)[::-1, :, ::-1],
}
NOISE = {str(np.dtype(dtype)): noise(dtype, seed) for seed, dtype in enumerate((np.int16, np.int64, np.float32, float))}
OTHERS = [transfer for transfer, how in paxray.TRANSFERS.items() if not how.body_only]


def same(voxels, transfer, view, affine=None):
    affine = np.diag([-2.0, -3.0, 4.0, 1.0]) if affine is None else affine
    ours = paxray.faithful(drrproj.Volume(voxels, affine), view, transfer, crop=crop_of(transfer))
    expected = theirs(voxels, transfer, {"frontal": 1, "lateral": 2}[view])
    assert ours.levels.dtype == np.uint8
    assert len(np.unique(expected)) > 20  # a picture, not a plane
    np.testing.assert_array_equal(ours.levels, expected)


def test_there_is_a_transcription_of_every_transfer_function():
    assert set(THEIRS) == set(paxray.TRANSFERS)


@pytest.mark.parametrize("view", ["frontal", "lateral"])
@pytest.mark.parametrize("transfer", THEIRS)
@pytest.mark.parametrize("name", VOLUMES)
def test_random_patients_are_equal_to_the_last_bit(name, transfer, view):
    same(VOLUMES[name], transfer, view)


@pytest.mark.parametrize("view", ["frontal", "lateral"])
@pytest.mark.parametrize("transfer", OTHERS)
@pytest.mark.parametrize("name", NOISE)
def test_noise_is_equal_to_the_last_bit(name, transfer, view):
    same(NOISE[name], transfer, view)


@pytest.mark.parametrize("view", ["frontal", "lateral"])
@pytest.mark.parametrize("transfer", THEIRS)
def test_a_real_chest_is_equal_to_the_last_bit(transfer, view):
    ct, _ = read_sample()
    same(ct.array, transfer, view, ct.affine)


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("transfer", THEIRS)
def test_the_range_before_eight_bits_is_equal_too(transfer, axis):
    """8 bits could hide a difference of rounding; the two values that became 0 and 255 cannot."""
    voxels = VOLUMES["float32"]
    image = THEIRS[transfer](np.clip(np.ascontiguousarray(voxels.transpose()), -1024, 3071), axis)
    ours = paxray.faithful(
        drrproj.Volume(voxels, np.eye(4)), ["", "frontal", "lateral"][axis], transfer, crop=crop_of(transfer)
    )
    assert ours.record["range"] == [float(image.min()), float(image.max())]


def test_pieces_that_touch_at_a_corner_are_one_body():
    voxels = np.full((40, 40, 40), -1000, np.int16)
    voxels[5:20, 5:20, 5:20] = np.random.default_rng(3).integers(0, 60, (15, 15, 15))
    voxels[20:25, 20:25, 20:25] = 700
    voxels[30:34, 5:9, 5:9] = 900
    same(voxels, "noexterior", "frontal")
    assert paxray.faithful(drrproj.Volume(voxels, np.eye(4)), "frontal", "noexterior").levels[200:, 380:].max() == 0


def test_numba_matsu_is_matsu():
    """Their compiled variant is the same formula; compiled here, it gives the same 8 bits."""
    numba = pytest.importorskip("numba", reason="compares with a compiled formula")

    @numba.njit
    def compiled(a):
        n = a.shape[1]
        mu = (a.sum(1) / n) * 0.00195 / 1000 + 0.00195
        return 1 - np.exp(-(mu * n))

    voxels = VOLUMES["int16"]
    read = np.clip(np.ascontiguousarray(voxels.transpose()), -1024, 3071)
    image = compiled(read[::-1].copy())
    np.testing.assert_allclose(image, matsu(read, 1), atol=1e-15)
    grey = ((image - image.min()) / (image.max() - image.min()) * 255).astype(np.uint8)
    expected = np.asarray(Image.fromarray(grey).resize((512, 512), Image.LANCZOS))
    ours = paxray.faithful(drrproj.Volume(voxels, np.eye(4)), "frontal", "numba_matsu")
    np.testing.assert_array_equal(ours.levels, expected)


# --- what the picture shows ---------------------------------------------------------------------------------------


def test_head_is_up_and_the_right_of_an_lps_array_is_on_image_left():
    voxels = np.full((60, 40, 50), -1000, np.int16)
    voxels[5:15, 5:35, 35:45] = 1000  # low x: right, high z: head
    picture = paxray.faithful(drrproj.Volume(voxels, np.diag([1, 1, 1, 1]), space="LPS"), "frontal", "sum").levels
    row, column = np.argwhere(picture > 128).mean(axis=0)
    assert row < 200
    assert column < 200
    assert (
        paxray.faithful(drrproj.Volume(voxels, np.eye(4), space="LPS"), "frontal", "sum").record["array_axes"] == "LPS"
    )
    voxels = np.full((60, 40, 50), -1000, np.int16)
    voxels[5:35, 3:9, 35:45] = 1000  # low y: anterior
    picture = paxray.faithful(drrproj.Volume(voxels, np.eye(4), space="LPS"), "lateral", "sum").levels
    row, column = np.argwhere(picture > 128).mean(axis=0)
    assert row < 200
    assert column < 200


def test_spacing_is_ignored():
    one, other = (paxray.faithful(drrproj.Volume(patient(), np.diag([*mm, 1]))) for mm in ([1, 1, 1], [0.5, 2, 7]))
    np.testing.assert_array_equal(one.levels, other.levels)


def test_record_is_plain_and_says_how(tmp_path):
    picture = paxray.faithful(drrproj.Volume(patient(), np.eye(4)), "lateral", "hist_resized", crop=(5, 4))
    drrproj.write_picture(tmp_path / "a.png", picture)
    drrproj.write_sidecar(tmp_path / "a.json", picture, source="ct.nii.gz")
    record = json.loads((tmp_path / "a.json").read_text())
    assert (record["mode"], record["transfer"], record["view"], record["axis_of_zyx"]) == (
        "faithful",
        "hist_resized",
        "lateral",
        2,
    )
    assert (record["crop"], record["pixels_before_resizing"]) == ([5, 4], [31, 32])
    assert paxray.faithful(drrproj.Volume(patient(), np.eye(4))).record["crop"] is None


# --- masks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("view", "axis"), [("frontal", 1), ("lateral", 2)])
@pytest.mark.parametrize("crop", [None, CROP])
def test_masks_are_any_hit_on_the_pixels_of_the_picture(view, axis, crop):
    ids = np.random.default_rng(7).integers(0, 400, (50, 44, 40))
    ids[ids > 5] = 0
    ids[ids == 5] = 70000
    labels = drrproj.LabelVolume(ids, np.eye(4), {2: "two", 70000: "many"})
    masks = paxray.faithful_masks(labels, view, crop=crop)
    assert list(masks) == ["1", "two", "3", "4", "many"]
    for label_id in masks.label_ids:
        hit = (ids == label_id).transpose().max(axis)[::-1]
        hit = hit if crop is None else cut(hit)
        expected = np.asarray(Image.fromarray(hit).resize((512, 512), Image.NEAREST))
        np.testing.assert_array_equal(masks[label_id][0], expected)


@pytest.mark.parametrize("crop", [(-20, 0), (0, -40), (-1, -5), (0,), (1, 2, 3), 3, (3.5, 2), "22"])
def test_crops_of_pictures_and_masks_are_two_numbers_of_pixels(crop):
    said = "crop must be two whole numbers of pixels, below and at each side, 0 or more, such as (64, 64); got "
    with pytest.raises(ValueError, match=re.escape(f"{said}{crop!r}")):
        paxray.faithful(drrproj.Volume(patient(), np.eye(4)), "frontal", "hist_resized", crop=crop)
    labels = drrproj.LabelVolume(np.ones((44, 40, 36), np.uint8), np.eye(4))
    with pytest.raises(ValueError, match=re.escape(f"{said}{crop!r}")):
        paxray.faithful_masks(labels, crop=crop)


def test_masks_lie_on_the_structures_of_the_picture():
    ct, labels = read_sample()
    picture = paxray.faithful(ct, "frontal", "sum").levels
    masks = paxray.faithful_masks(labels, "frontal")
    lungs = masks["lung_lower_lobe_left"][0] | masks["lung_lower_lobe_right"][0]
    assert picture[masks["heart"][0]].mean() > picture[lungs & ~masks["heart"][0] & ~masks["liver"][0]].mean() + 20


def test_masks_of_structures_that_overlap():
    masks = {"heart": np.zeros((20, 22, 24), bool), "thorax": np.ones((20, 22, 24), bool)}
    masks["heart"][4:9, 5:11, 6:13] = True
    labels = drrproj.LabelVolume.from_masks(masks, np.eye(4))
    for name, shadow in paxray.faithful_masks(labels, "frontal").items():
        expected = masks[name].transpose().max(1)[::-1]
        np.testing.assert_array_equal(
            shadow[0], np.asarray(Image.fromarray(expected).resize((512, 512), Image.NEAREST))
        )


def test_no_labels_give_no_masks():
    assert len(paxray.faithful_masks(drrproj.LabelVolume(np.zeros((5, 6, 7), np.uint8), np.eye(4)))) == 0


# --- refusals -----------------------------------------------------------------------------------------------------


def test_without_scikit_image_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    monkeypatch.setitem(sys.modules, "skimage.exposure", None)
    ct = drrproj.Volume(patient(), np.eye(4))
    with pytest.raises(ImportError, match='skimage is not installed: pip install scikit-image, or the extra "render"'):
        paxray.faithful(ct)
    assert paxray.faithful(ct, "frontal", "matsu").levels.shape == (512, 512)


def test_a_beam_is_refused():
    ct = drrproj.Volume(patient(), np.eye(4))
    for beam in ("cone", "parallel"):
        view = drrproj.Geometry.radiograph("PA", ct, beam=beam)
        with pytest.raises(TypeError, match=r"knows no beam.*take paxray\.physical"):
            paxray.faithful(ct, view)
    with pytest.raises(TypeError, match="knows no beam"):
        paxray.faithful_masks(drrproj.LabelVolume(np.ones((5, 6, 7), np.uint8), np.eye(4)), view)


def test_unknown_names():
    ct = drrproj.Volume(patient(), np.eye(4))
    with pytest.raises(ValueError, match="no transfer function 'hist_matsu'; did you mean hist_mastu"):
        paxray.faithful(ct, "frontal", "hist_matsu")
    with pytest.raises(ValueError, match='view must be "frontal" or "lateral" in the faithful mode; got \'PA\''):
        paxray.faithful(ct, "PA")


@pytest.mark.parametrize("dtype", [np.uint16, np.uint8, np.int8])
def test_types_that_cannot_be_hu(dtype):
    with pytest.raises(ValueError, match=r"needs HU in a signed type of 16 bits or more; got u?int"):
        paxray.faithful(drrproj.Volume(np.ones((9, 9, 9), dtype), np.eye(4)))


def test_volumes_that_the_authors_could_not_have_read():
    with pytest.raises(ValueError, match="got float64 in 1/mm"):
        paxray.faithful(drrproj.Volume(np.ones((9, 9, 9)), np.eye(4), unit="1/mm"))
    holed = patient(np.float32)
    holed[0, 0, :3] = np.nan
    with pytest.raises(ValueError, match="3 voxels are not a number"):
        paxray.faithful(drrproj.Volume(holed, np.eye(4)))
    sagittal = np.eye(4)[[1, 2, 0, 3]]
    with pytest.raises(ValueError, match=r"array axes of the CT run SRA.*transpose the array"):
        paxray.faithful(drrproj.Volume(patient(), sagittal))


def test_pictures_without_content():
    with pytest.raises(ValueError, match="no contrast: every pixel is"):
        paxray.faithful(drrproj.Volume(np.zeros((9, 9, 9), np.int16), np.eye(4)), "frontal", "sum")
    with pytest.raises(ValueError, match="nothing is left of 36 x 44 pixels without the 64 lowest rows"):
        paxray.faithful(drrproj.Volume(patient(), np.eye(4)), "frontal", "hist_resized")
    with pytest.raises(ValueError, match="hist_mastu does not crop; leave crop out"):
        paxray.faithful(drrproj.Volume(patient(), np.eye(4)), crop=(4, 4))
    for fill, which in ((-1000, "no voxel is"), (0, "every voxel is")):
        with pytest.raises(ValueError, match=f"{which} denser than -200 HU"):
            paxray.faithful(drrproj.Volume(np.full((9, 9, 9), fill, np.int16), np.eye(4)), "frontal", "noexterior")
