"""Where left, front and head of a patient appear, for volumes stored along any axes."""

from __future__ import annotations

import numpy as np
import phantoms
import pytest

from drrproj import Geometry, LabelVolume, Volume, project

PATIENT = phantoms.patient()
DETECTOR = (120, 130)
STORED = ("RAS", "LPS", "LAS", "RPI", "PIR", "ASL", "SRP", "IPL")

# View -> sign of each mark's column relative to the middle; 0 is the middle. Head is always up.
COLUMNS = {
    "AP": {"left": 1, "anterior": 0, "superior": 0},
    "PA": {"left": 1, "anterior": 0, "superior": 0},
    "LL": {"left": 0, "anterior": -1, "superior": 0},
    "RL": {"left": 0, "anterior": 1, "superior": 0},
}
# In a cone beam the mark nearer to the source is the larger one: which mark, and is it larger than "superior"?
MAGNIFIED = {"AP": ("anterior", True), "PA": ("anterior", False), "LL": ("left", False), "RL": ("left", True)}


def patient_stored_as(codes, space="RAS"):
    hu, affine = phantoms.stored_as(PATIENT.hu, PATIENT.affine, codes)
    ids, _ = phantoms.stored_as(PATIENT.labels, PATIENT.affine, codes)
    if space == "LPS":
        affine = np.diag([-1.0, -1, 1, 1]) @ affine
    return Volume(hu, affine, space=space), LabelVolume(ids, affine, PATIENT.names, space=space)


def centroid(mask):
    return np.array([grid[mask].mean() for grid in np.indices(mask.shape)])


@pytest.mark.parametrize("codes", STORED)
@pytest.mark.parametrize("beam", ["cone", "parallel"])
@pytest.mark.parametrize("view", COLUMNS)
def test_marks_land_on_the_side_of_the_image_that_radiologists_expect(view, beam, codes):
    ct, labels = patient_stored_as(codes)
    geometry = Geometry.radiograph(view, ct, beam=beam, shape=DETECTOR)
    shot = project(ct, geometry, labels=labels)
    middle = geometry.project_points(ct.center)[0, 0]
    for name, side in COLUMNS[view].items():
        row, column = centroid(shot.masks[name][0]) - middle
        assert np.sign(column) == side if side else abs(column) < 1, name
        assert row < -20 if name == "superior" else abs(row) < 1, name


@pytest.mark.parametrize("codes", STORED)
@pytest.mark.parametrize("view", COLUMNS)
def test_the_image_shows_the_marks_where_the_masks_have_them(view, codes):
    _, labels = patient_stored_as(codes)
    ct = Volume(np.where(labels.array > 0, 800, -1000).astype(np.int16), labels.affine)
    shot = project(ct, Geometry.radiograph(view, ct, shape=DETECTOR), labels=labels)
    np.testing.assert_array_equal(shot.line_integral > 0, shot.masks.array.any(axis=0))


@pytest.mark.parametrize("codes", STORED)
@pytest.mark.parametrize("view", COLUMNS)
def test_the_mark_nearer_to_the_source_is_the_larger_one(view, codes):
    ct, labels = patient_stored_as(codes)
    shot = project(ct, Geometry.radiograph(view, ct, sdd=400, shape=(240, 260)), labels=labels)
    name, is_larger = MAGNIFIED[view]
    ratio = shot.masks[name].sum() / shot.masks["superior"].sum()
    assert ratio > 1.1 if is_larger else ratio < 0.9


@pytest.mark.parametrize("codes", STORED)
@pytest.mark.parametrize("beam", ["cone", "parallel"])
@pytest.mark.parametrize("view", COLUMNS)
def test_a_marks_centre_projects_to_the_middle_of_its_mask(view, beam, codes):
    ct, labels = patient_stored_as(codes)
    geometry = Geometry.radiograph(view, ct, beam=beam, shape=DETECTOR)
    masks = project(ct, geometry, labels=labels, outputs=["mask"]).masks
    for name, center in PATIENT.centers.items():
        np.testing.assert_allclose(centroid(masks[name][0]), geometry.project_points(center)[0, 0], atol=0.7)


@pytest.mark.parametrize("codes", STORED)
def test_the_image_does_not_depend_on_how_the_volume_is_stored(codes):
    shots = []
    for stored in ("RAS", codes):
        ct, _ = patient_stored_as(stored)
        views = Geometry.concatenate([Geometry.radiograph(view, ct, shape=DETECTOR) for view in COLUMNS])
        shots.append(project(ct, views).line_integral)
    np.testing.assert_allclose(shots[1], shots[0], atol=1e-5 * shots[0].max())


def test_an_lps_affine_gives_the_same_image_as_its_ras_twin():
    shots = []
    for space in ("RAS", "LPS"):
        ct, labels = patient_stored_as("PIR", space)
        shots.append(project(ct, Geometry.radiograph("RL", ct, shape=DETECTOR), labels=labels))
    np.testing.assert_array_equal(shots[1].line_integral, shots[0].line_integral)
    np.testing.assert_array_equal(shots[1].masks.array, shots[0].masks.array)


def test_ap_and_pa_of_a_parallel_beam_are_the_same_picture():
    ct, _ = patient_stored_as("RAS")
    views = [Geometry.radiograph(view, ct, beam="parallel", shape=DETECTOR) for view in ("AP", "PA")]
    ap, pa = project(ct, Geometry.concatenate(views)).line_integral
    np.testing.assert_allclose(ap, pa, atol=1e-5 * pa.max())


def test_ll_and_rl_of_a_parallel_beam_mirror_each_other():
    ct, _ = patient_stored_as("RAS")
    views = [Geometry.radiograph(view, ct, beam="parallel", shape=DETECTOR) for view in ("LL", "RL")]
    ll, rl = project(ct, Geometry.concatenate(views)).line_integral
    np.testing.assert_allclose(ll, rl[:, ::-1], atol=1e-5 * rl.max())


@pytest.mark.parametrize("angles", [(0, 0), (35, 0), (-35, 0), (0, 25), (0, -25), (40, -20)])
def test_masks_of_a_c_arm_lie_where_its_points_do(angles):
    ct, labels = patient_stored_as("LPS")
    geometry = Geometry.c_arm(
        sdd=1100,
        sod=700,
        isocenter=ct.center,
        primary_angle=angles[0],
        secondary_angle=angles[1],
        pixel_spacing=1.5,
        shape=(200, 200),
    )
    masks = project(ct, geometry, labels=labels, outputs=["mask"]).masks
    for name, center in PATIENT.centers.items():
        np.testing.assert_allclose(centroid(masks[name][0]), geometry.project_points(center)[0, 0], atol=0.7)


def test_a_ball_is_magnified_by_sdd_over_its_distance_from_the_source():
    spacing, radius = 1.0, 20.0
    grid = np.moveaxis(np.indices((50, 50, 50)), 0, -1) - 24.5
    ball = LabelVolume((np.linalg.norm(grid, axis=-1) < radius).astype(np.uint8), np.eye(4))
    ct = Volume(np.zeros((50, 50, 50), np.int16), np.eye(4))
    for sod in (500, 800, 1100):
        geometry = Geometry.c_arm(
            sdd=1200,
            sod=sod,
            isocenter=ball.center,
            primary_angle=20,
            secondary_angle=10,
            pixel_spacing=0.25,
            shape=(480, 480),
        )
        mask = project(ct, geometry, labels=ball, outputs=["mask"]).masks[1][0]
        apparent = 0.25 * np.sqrt(mask.sum() / np.pi)
        # Rays that touch a ball meet it in front of its middle; voxels round it by a fraction of their size.
        expected = 1200 * radius / np.sqrt(sod**2 - radius**2)
        assert apparent == pytest.approx(expected, abs=0.5 * spacing * 1200 / sod)
