"""Other attenuation in some structures: as a projection of the changed volume."""

from __future__ import annotations

import json

import numpy as np
import pytest

import drrproj
from drrproj import attenuation, physics

OUTPUTS = ("line_integral", "label_line_integral", "path_length", "mask")


@pytest.fixture(scope="module")
def scene():
    rng = np.random.default_rng(4)
    affine = np.diag([2.0, 2.5, 3.0, 1])
    hu = rng.integers(-200, 1200, (24, 20, 16)).astype(np.int16)
    ids = np.zeros(hu.shape, np.uint8)
    ids[4:9, 3:17, 2:14] = 3
    ids[12:20, 5:9, 4:12] = 8
    ct = drrproj.Volume(hu, affine)
    labels = drrproj.LabelVolume(ids, affine, {3: "rib", 8: "stent"})
    view = drrproj.Geometry.radiograph("PA", ct, shape=(30, 26))
    shot = drrproj.project(ct, view, labels=labels, attenuation=attenuation.bilinear(60), outputs=OUTPUTS)
    return ct, labels, view, shot


def projected(ct, view, mu):
    return drrproj.project(drrproj.Volume(mu, ct.affine, unit="1/mm"), view).line_integral


@pytest.mark.parametrize("factor", [0, 0.5, 2.5])
def test_a_scaled_structure_is_a_projection_of_the_scaled_volume(scene, factor):
    ct, labels, view, shot = scene
    mu = attenuation.bilinear(60)(ct.array)
    mu[labels.array == 3] *= factor
    changed = physics.recompose(shot, scale={"rib": factor})
    np.testing.assert_allclose(changed.line_integral, projected(ct, view, mu), rtol=1e-5, atol=1e-5)


def test_a_replaced_structure_is_a_projection_with_that_material(scene):
    ct, labels, view, shot = scene
    mu = attenuation.bilinear(60)(ct.array)
    mu[labels.array == 8] = attenuation.linear_attenuation("titanium", 60)
    mu[labels.array == 3] *= 1.5
    changed = physics.recompose(shot, replace={8: "titanium"}, scale={"rib": 1.5})
    np.testing.assert_allclose(changed.line_integral, projected(ct, view, mu), rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def noisy():
    """Attenuation whose air is noise around 0, as reconstructions have it."""
    rng = np.random.default_rng(5)
    mu = rng.normal(-0.003, 0.004, (24, 20, 16)).astype(np.float32)
    ids = np.zeros(mu.shape, np.uint8)
    ids[6:18, 6:14, 4:12] = 1
    mu[ids == 1] += 0.02
    ct = drrproj.Volume(mu, np.diag([2.0, 2.5, 3.0, 1]), unit="1/mm")
    labels = drrproj.LabelVolume(ids, ct.affine, {1: "body"})
    view = drrproj.Geometry.radiograph("PA", ct, shape=(30, 26))
    shot = drrproj.project(ct, view, labels=labels, outputs=OUTPUTS[:3])
    assert (shot.line_integral < -0.01).any()
    assert (shot.label_line_integral["body"] > shot.line_integral + 0.01).any()
    return ct, labels, view, shot


@pytest.mark.parametrize("factor", [0, 0.5, 2])
def test_noise_below_zero_is_no_overlap_and_stays(noisy, factor):
    ct, labels, view, shot = noisy
    mu = ct.array.copy()
    mu[labels.array == 1] *= factor
    changed = physics.recompose(shot, scale={"body": factor})
    np.testing.assert_allclose(changed.line_integral, projected(ct, view, mu), rtol=1e-5, atol=1e-5)
    beside = shot.label_line_integral["body"] == 0
    np.testing.assert_array_equal(changed.line_integral[beside], shot.line_integral[beside])


def test_structures_that_overlap_are_told_in_noise_too(noisy):
    ct, labels, view, _ = noisy
    twins = drrproj.LabelVolume.from_masks({"body": labels.array == 1, "twin": labels.array == 1}, ct.affine)
    shot = drrproj.project(ct, view, labels=twins, outputs=OUTPUTS[:2])
    with pytest.raises(ValueError, match="overlap"):
        physics.recompose(shot, scale={"body": 2, "twin": 2})


def test_one_id_of_two_label_volumes_is_two_structures(scene):
    ct, labels, view, _ = scene
    parts = [
        drrproj.LabelVolume((labels.array == value).astype(np.uint8), ct.affine, {1: name})
        for value, name in ((3, "rib"), (8, "stent"))
    ]
    shot = drrproj.project(ct, view, labels=parts, attenuation=attenuation.bilinear(60), outputs=OUTPUTS[:2])
    mu = attenuation.bilinear(60)(ct.array)
    mu[labels.array > 0] *= 2
    changed = physics.recompose(shot, scale={"rib": 2, "stent": 2})
    np.testing.assert_allclose(changed.line_integral, projected(ct, view, mu), rtol=1e-5, atol=1e-5)
    with pytest.raises(KeyError, match="id 1 stands for rib and stent"):
        physics.recompose(shot, scale={1: 2})


def test_everything_else_stays_and_the_record_tells(scene):
    shot = scene[3]
    before = shot.line_integral.copy()
    changed = physics.recompose(shot, scale={"rib": 2}, replace={"stent": "steel_316L"})
    np.testing.assert_array_equal(shot.line_integral, before)
    np.testing.assert_array_equal(changed.masks["rib"], shot.masks["rib"])
    assert "label_line_integral" not in changed.images
    record = json.loads(json.dumps(changed.record))
    assert record["recomposed"]["scale"] == {"rib": 2}
    assert record["recomposed"]["replace"]["stent"]["name"] == "steel_316L"
    assert record["recomposed"]["energy_kev"] == 60
    assert "recomposed" not in shot.record


def test_structures_that_overlap_are_refused():
    water = drrproj.Volume(np.zeros((8, 8, 8), np.int16), np.eye(4))
    labels = drrproj.LabelVolume.from_masks({"a": np.ones((8, 8, 8)), "b": np.ones((8, 8, 8))}, np.eye(4))
    view = drrproj.Geometry.radiograph("PA", water, beam="parallel", shape=(4, 4))
    shot = drrproj.project(water, view, labels=labels, outputs=OUTPUTS)
    with pytest.raises(ValueError, match="overlap"):
        physics.recompose(shot, scale={"a": 2, "b": 2})
    assert physics.recompose(shot, scale={"a": 2}).line_integral.max() == pytest.approx(2 * shot.line_integral.max())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "nothing to change"),
        ({"scale": {"rib": -1}}, "must not be negative"),
        ({"scale": {"rib": np.nan}}, "must not be negative"),
        ({"scale": {"rib": 2}, "replace": {3: "titanium"}}, "changed once.*rib twice"),
        ({"scale": {"rib": 2, 3: 2}}, "changed once.*rib twice"),
        ({"replace": {"stent": "titan"}}, "no material"),
        ({"replace": {"stent": "titanium"}, "energy_kev": 5}, "from 10 to 150"),
    ],
)
def test_changes_that_cannot_be_are_refused(scene, changes, message):
    with pytest.raises(ValueError, match=message):
        physics.recompose(scene[3], **changes)


def test_materials_in_an_image_of_density_are_refused(scene):
    ct, labels, view, _ = scene
    dense = drrproj.project(ct, view, labels=labels, attenuation=drrproj.attenuation.density(), outputs=OUTPUTS)
    with pytest.raises(ValueError, match="is one of g/cm3, not of attenuation"):
        physics.recompose(dense, replace={"stent": "titanium"}, energy_kev=70)
    assert physics.recompose(dense, scale={"stent": 0}).line_integral.max() <= dense.line_integral.max()


def test_unknown_labels_and_missing_outputs_are_refused(scene):
    ct, labels, view, shot = scene
    with pytest.raises(KeyError, match="rip"):
        physics.recompose(shot, scale={"rip": 2})
    without = drrproj.project(ct, view, labels=labels)
    with pytest.raises(ValueError, match="label_line_integral"):
        physics.recompose(without, scale={"rib": 2})
    mu = drrproj.Volume(np.full(ct.shape, 0.02), ct.affine, unit="1/mm")
    shot = drrproj.project(mu, view, labels=labels, outputs=OUTPUTS)
    with pytest.raises(ValueError, match="pass energy_kev"):
        physics.recompose(shot, replace={"stent": "titanium"})
