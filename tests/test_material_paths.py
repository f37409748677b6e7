"""Mass of materials along rays: identities with the attenuation models, tissue by tissue, and assigned labels."""

from __future__ import annotations

import json

import numpy as np
import pytest

import drrproj
from drrproj import attenuation, physics
from drrproj.materials import MATERIALS

AFFINE = np.array([[3.0, 0.4, 0, -30], [0, 2.5, 0.2, -25], [0.1, 0, 4.0, -40], [0, 0, 0, 1]])


def patient(dtype=np.int16, seed=1, highest=1500):
    """A CT of random HU in a body of water, oblique and anisotropic, with air around."""
    rng = np.random.default_rng(seed)
    hu = rng.integers(-1000, highest, (20, 18, 16)).astype(dtype)
    hu[:2] = hu[:, :2] = -1000
    return drrproj.Volume(hu, AFFINE)


def views(volume, shape=(24, 20)):
    return drrproj.Geometry.c_arm(
        sdd=900,
        sod=600,
        isocenter=volume.center,
        primary_angle=[20, -70],
        secondary_angle=10,
        pixel_spacing=5,
        shape=shape,
    )


def at_energy(paths, kev):
    """Line integral at one energy, in float64."""
    mass = paths.areal_density.astype(np.float64)
    return sum(
        float(made_of.mass_attenuation(kev)) * image for made_of, image in zip(paths.materials, mass, strict=True)
    )


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("ct_energy", [70, 62])
def test_water_and_bone_are_the_bilinear_model_at_every_energy(dtype, ct_energy):
    volume = patient(dtype, highest=int(attenuation.bone_hu(ct_energy)))
    geometry = views(volume)
    paths = physics.material_paths(volume, geometry, tissues=physics.water_bone(ct_energy))
    assert [made_of.name for made_of in paths.materials] == ["water", "bone_cortical_ICRU44"]
    for kev in (25, 40, 70, 110):
        model = attenuation.bilinear(kev, ct_energy)
        expected = drrproj.project(volume, geometry, attenuation=model).line_integral
        assert expected.max() > 1
        np.testing.assert_allclose(at_energy(paths, kev), expected, rtol=1e-5, atol=1e-6 * expected.max())


def test_a_polychromatic_image_is_that_of_a_plain_walk_at_every_energy():
    volume = patient()
    geometry = views(volume, (9, 8))
    beam = physics.Spectrum([30, 50, 80], [1.0, 3.0, 2.0])
    signal = physics.polychromatic(physics.material_paths(volume, geometry), beam)
    walks = [
        drrproj.project(volume, geometry, attenuation=attenuation.bilinear(kev)).line_integral.astype(np.float64)
        for kev in beam.energies_kev
    ]
    energy = beam.energies_kev * beam.fluence
    expected = -np.log(sum(e * np.exp(-p) for e, p in zip(energy, walks, strict=True)) / energy.sum())
    np.testing.assert_allclose(signal.line_integral, expected, atol=2e-5)


def test_above_the_hu_of_bone_is_denser_bone_and_never_negative_water():
    hu = np.full((6, 6, 6), 3000, np.int16)
    volume = drrproj.Volume(hu, np.eye(4))
    view = drrproj.Geometry.radiograph("AP", volume, beam="parallel", shape=(4, 4))
    paths = physics.material_paths(volume, view)
    assert paths["water"].max() == 0
    # The HU that a CT of 70 keV gives it back.
    density = float(paths["bone_cortical_ICRU44"][0, 2, 2]) / 0.6
    mu = density / 10 * float(MATERIALS["bone_cortical_ICRU44"].mass_attenuation(70))
    assert mu == pytest.approx(4 * float(MATERIALS["water"].linear_attenuation(70)), rel=1e-5)


@pytest.mark.parametrize(
    ("tissues", "model"),
    [("schneider", attenuation.schneider), ("deepdrr", attenuation.deepdrr)],
    ids=["schneider", "deepdrr"],
)
def test_classes_are_their_attenuation_models_at_every_energy(tissues, model):
    volume = patient()
    geometry = views(volume, (11, 10))
    paths = physics.material_paths(volume, geometry, tissues=tissues)
    for kev in (30, 75, 120):
        expected = drrproj.project(volume, geometry, attenuation=model(kev)).line_integral
        np.testing.assert_allclose(at_energy(paths, kev), expected, rtol=2e-4, atol=1e-5)


def test_the_mass_of_all_materials_is_the_integral_of_density():
    volume = patient()
    geometry = views(volume)
    paths = physics.material_paths(volume, geometry, tissues="schneider")
    density = drrproj.project(volume, geometry, attenuation=attenuation.density()).line_integral / 10
    np.testing.assert_allclose(paths.areal_density.sum(axis=0), density, rtol=1e-5, atol=1e-5)


def test_an_assigned_label_counts_with_its_own_density_whatever_the_ct_says():
    volume = patient()
    inside = np.zeros(volume.shape, np.uint8)
    inside[8:12, 6:9, 5:14] = 7
    inside[13:16, 6:9, 5:14] = 9
    labels = drrproj.LabelVolume(inside, AFFINE, {7: "rod", 9: "vein"})
    geometry = views(volume)
    contrast = drrproj.materials.mixture("contrast", {"blood_ICRU44": 1060, "iodine": 10}, 1.07)
    paths = physics.material_paths(volume, geometry, labels=labels, assign={"rod": "titanium", 9: contrast})

    lengths = drrproj.project(volume, geometry, labels=labels, outputs=("path_length",)).path_length
    np.testing.assert_allclose(paths["titanium"], lengths["rod"] * 0.454, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(paths["contrast"], lengths["vein"] * 0.107, rtol=1e-5, atol=1e-6)
    # The rest is the CT without them, so that nothing there counts twice.
    without = volume.array.copy()
    without[inside > 0] = -1000
    rest = physics.material_paths(drrproj.Volume(without, AFFINE), geometry)
    for name in ("water", "bone_cortical_ICRU44"):
        np.testing.assert_allclose(paths[name], rest[name], rtol=1e-5, atol=2e-5)
    assert paths.record["assigned"]["rod"]["density_g_cm3"] == 4.54


def test_a_label_that_shares_voxels_with_another_is_assigned_whole():
    volume = patient()
    masks = {name: np.zeros(volume.shape, bool) for name in ("lung", "lead")}
    masks["lung"][4:14, 4:14, 4:14] = True
    masks["lead"][8:12, 8:12, 2:15] = True
    labels = drrproj.LabelVolume.from_masks(masks, AFFINE)
    geometry = views(volume)
    paths = physics.material_paths(volume, geometry, labels=labels, assign={"lead": "tungsten"})
    alone = drrproj.LabelVolume(masks["lead"].astype(np.uint8), AFFINE)
    expected = drrproj.project(volume, geometry, labels=alone, outputs=("path_length",)).path_length[1]
    np.testing.assert_allclose(paths["tungsten"], expected * 1.93, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="overlap, and both are assigned"):
        physics.material_paths(volume, geometry, labels=labels, assign={"lead": "tungsten", "lung": "lung_ICRU44"})


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
def test_classes_are_those_of_the_edges_for_every_type_and_order(dtype, order):
    info = np.iinfo(dtype) if np.issubdtype(dtype, np.integer) else None
    low, high = (max(-3024, info.min), min(3071, info.max)) if info else (-3024, 3071)
    values = np.random.default_rng(2).integers(low, high, (9, 8, 7)).astype(dtype)
    values.flat[:4] = [high, low, 0, min(100, high)]
    array = np.asarray(values, order=order)[::-1]
    model = physics.schneider()
    first = [each.from_hu for each in model.classes]
    expected = np.sum([array >= edge for edge in first], axis=0)
    classes = model.classify(drrproj.Volume(array, np.eye(4)))
    np.testing.assert_array_equal(classes.array, expected)
    assert classes.array.dtype == np.uint8


def test_padding_and_nan_are_no_class():
    hu = np.array([[[np.nan, -3024, -2048, -1000, -999, 20]]], np.float32)
    classes = physics.water_bone().classify(drrproj.Volume(hu, np.eye(4), frame_of_reference="1.2.3"))
    assert classes.array.tolist() == [[[0, 0, 0, 0, 1, 2]]]
    assert classes.frame_of_reference == "1.2.3"


def test_the_record_tells_what_was_done_in_plain_values():
    volume = patient()
    paths = physics.material_paths(volume, views(volume, (4, 4)), tissues="deepdrr", threads=1)
    record = json.loads(json.dumps(paths.record, allow_nan=False))
    assert record["tissues"]["model"] == "deepdrr"
    first = record["tissues"]["classes"][0]
    assert (first["name"], first["from_hu"], first["parts"]) == ("air", None, [["air", 0, 1]])
    assert record["attenuation"]["unit"] == "g/cm3"
    signal = physics.polychromatic(paths, physics.tungsten(90, {"aluminium": 4}))
    json.dumps(signal.as_radiograph().record)


def test_what_cannot_be_told_is_refused():
    volume = patient()
    geometry = views(volume, (4, 4))
    labels = drrproj.LabelVolume(np.ones(volume.shape, np.uint8), AFFINE, {1: "rod"})
    with pytest.raises(ValueError, match="belong together"):
        physics.material_paths(volume, geometry, labels=labels)
    with pytest.raises(ValueError, match="belong together"):
        physics.material_paths(volume, geometry, assign={"rod": "titanium"})
    many = drrproj.LabelVolume(labels.array, AFFINE, {1: "rod", **{2 + n: f"vertebra {n}" for n in range(20)}})
    with pytest.raises(ValueError, match=r"no label 'rot' to assign a material to; did you mean rod\?$"):
        physics.material_paths(volume, geometry, labels=many, assign={"rot": "titanium"})
    with pytest.raises(ValueError, match=r"no label 'screw' to assign a material to; there are rod$"):
        physics.material_paths(volume, geometry, labels=labels, assign={"screw": "titanium"})
    with pytest.raises(ValueError, match="no material 'titan'"):
        physics.material_paths(volume, geometry, labels=labels, assign={"rod": "titan"})
    with pytest.raises(ValueError, match="unknown tissues 'bone'"):
        physics.material_paths(volume, geometry, tissues="bone")
    mu = drrproj.Volume(np.full((4, 4, 4), 0.02), np.eye(4), unit="1/mm")
    with pytest.raises(ValueError, match="told by HU"):
        physics.material_paths(mu, geometry)
    with pytest.raises(TypeError, match=r"drrproj\.Volume"):
        physics.material_paths(volume.array, geometry)


@pytest.mark.parametrize("shift", [0.1, 1.0])
def test_labels_on_another_grid_are_refused(shift):
    volume = patient()
    moved = AFFINE.copy()
    moved[0, 3] += shift
    labels = drrproj.LabelVolume(np.ones(volume.shape, np.uint8), moved, {1: "rod"})
    with pytest.raises(ValueError, match=r"grid of the CT.*voxels apart"):
        physics.material_paths(volume, views(volume), labels=labels, assign={"rod": "titanium"})
    crop = drrproj.LabelVolume(np.ones((20, 18, 15), np.uint8), AFFINE, {1: "rod"})
    with pytest.raises(ValueError, match="grid of the CT"):
        physics.material_paths(volume, views(volume), labels=crop, assign={"rod": "titanium"})


def test_tissue_models_that_cannot_be_are_refused():
    soft = MATERIALS["tissue_soft_ICRU44"]
    classes = (physics.TissueClass("a", 0, ((soft, 0, 1),)), physics.TissueClass("b", 0, ((soft, 0, 1),)))
    with pytest.raises(ValueError, match="must ascend"):
        physics.TissueModel("own", attenuation.density(), classes)
    with pytest.raises(ValueError, match="must ascend"):
        physics.TissueModel("own", attenuation.density(), ())
    with pytest.raises(ValueError, match="g/cm3"):
        physics.TissueModel("own", attenuation.linear(), classes[:1])
