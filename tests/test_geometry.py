"""Geometry: constructors, projected points, and what is refused."""

from __future__ import annotations

import re

import numpy as np
import oracle
import phantoms
import pytest

from drrproj import Geometry, Volume

CT = Volume(
    np.zeros((60, 40, 70), np.int16), phantoms.affine_around(np.array([9.0, -5, 100]), np.diag([3.0] * 3), (60, 40, 70))
)
UPRIGHT = {"center": (0, 500, 0), "row_step": (0, 0, -1), "column_step": (-1, 0, 0), "shape": (4, 6)}
ARM = {"sdd": 1200, "sod": 800, "isocenter": (10, 20, 30), "pixel_spacing": 0.5, "shape": (401, 301)}


def arm(primary, secondary, **changes):
    return Geometry.c_arm(**{**ARM, **changes}, primary_angle=primary, secondary_angle=secondary)


def random_geometry(rng, beam):
    views = [phantoms.random_view(rng, CT.shape, CT.affine, (30, 40), beam) for _ in range(3)]
    return Geometry(views, (30, 40))


@pytest.mark.parametrize("name", ["ap", "Pa", "lL", "rl"])
def test_small_letters_name_the_same_view(name):
    expected = Geometry.radiograph(name.upper(), CT, shape=(9, 9))
    assert Geometry.radiograph(name, CT, shape=(9, 9)).names == expected.names == (name.upper(),)
    np.testing.assert_array_equal(Geometry.radiograph(name, CT, shape=(9, 9)).views, expected.views)


@pytest.mark.parametrize("beam", ["cone", "parallel"])
@pytest.mark.parametrize("seed", phantoms.SEEDS)
def test_every_point_of_a_pixels_ray_projects_to_that_pixel(beam, seed):
    rng = np.random.default_rng([80, seed])
    geometry = random_geometry(rng, beam)
    pixels = np.stack(np.mgrid[:30, :40], axis=-1).reshape(-1, 2)
    for view in range(3):
        rays = oracle.rays_of_view(geometry.views[view], geometry.shape)
        points = rays.origin + rng.uniform(0.1, 1.5, (len(pixels), 1)) * rays.direction
        np.testing.assert_allclose(geometry.project_points(points)[view], pixels, atol=1e-6)


def test_points_at_or_behind_a_cones_source_project_nowhere_and_points_of_a_parallel_beam_always():
    cone = Geometry.cone(source=(0, -1000, 0), **UPRIGHT)
    parallel = Geometry.parallel(direction=(0, 1, 0), **UPRIGHT)
    points = [(0, -1000, 0), (3, -1500, 4), (5, -1000, 0), (0, 0, 0), (0, 900, 0)]
    assert np.isnan(cone.project_points(points)[0]).all(axis=1).tolist() == [True, True, True, False, False]
    assert np.isfinite(parallel.project_points(points)).all()


@pytest.mark.parametrize("seed", phantoms.SEEDS)
def test_a_source_projects_nowhere_however_it_is_rounded(seed):
    geometry = random_geometry(np.random.default_rng([83, seed]), "cone")
    rows, columns = geometry.views[:, :3, 2], geometry.views[:, :3, 3]
    for view in range(3):
        beside = geometry.sources[view] + np.outer((0, 70, -300), rows[view] + 2 * columns[view])
        assert np.isnan(geometry.project_points(beside)[view]).all()


def test_a_text_is_one_name():
    assert Geometry.cone((0, -1000, 0), **UPRIGHT, names="PA").names == ("PA",)
    with pytest.raises(ValueError, match="2 views need as many names; got 1: PA"):
        Geometry.cone([(0, -1000, 0), (0, -900, 0)], **UPRIGHT, names="PA")


def test_the_middle_of_an_even_detector_lies_between_its_pixels():
    cone = Geometry.cone(source=(0, -1000, 0), **UPRIGHT)
    np.testing.assert_allclose(cone.project_points((0, 0, 0))[0, 0], (1.5, 2.5))
    np.testing.assert_allclose(cone.centers, [(0, 500, 0)])
    np.testing.assert_allclose(cone.views[0, :3, 1], (2.5, 500, 1.5))


def test_pixels_half_as_large_on_the_same_detector_keep_every_point_at_its_place():
    coarse = arm(20, 10, shape=(100, 120), pixel_spacing=1.0)
    fine = arm(20, 10, shape=(200, 240), pixel_spacing=0.5)
    points = np.add(ARM["isocenter"], np.random.default_rng(81).uniform(-40, 40, (20, 3)))
    np.testing.assert_allclose((fine.project_points(points) + 0.5) / 2 - 0.5, coarse.project_points(points), atol=1e-9)


def test_cone_and_parallel_take_one_vector_for_all_views_or_one_per_view():
    sources = [(0, -1000, 0), (100, -1000, 0), (0, -900, 50)]
    many = Geometry.cone(source=sources, **UPRIGHT, names=("a", "b", "c"))
    assert (len(many), many.names) == (3, ("a", "b", "c"))
    np.testing.assert_allclose(many.sources, sources)
    for view, source in zip(many, sources, strict=True):
        np.testing.assert_allclose(view.views, Geometry.cone(source=source, **UPRIGHT).views)
    lines = Geometry.parallel(direction=[(0, 5, 0), (3, 4, 0)], **UPRIGHT)
    np.testing.assert_allclose(lines.sources, [(0, -1, 0), (-0.6, -0.8, 0)])
    assert lines.is_parallel.all()
    assert np.isinf(lines.sdd).all()


def test_distances_normals_and_spacing_are_those_of_the_detector_plane():
    tilted = Geometry.cone(
        source=(0, -1000, 0), center=(0, 500, 0), row_step=(0, 0.3, -0.4), column_step=(-2, 0, 0), shape=(3, 3)
    )
    np.testing.assert_allclose(tilted.pixel_spacing, [(0.5, 2)])
    np.testing.assert_allclose(tilted.normals, [(0, 0.8, 0.6)])
    np.testing.assert_allclose(tilted.sdd, [0.8 * 1500])


def test_views_are_chosen_by_number_slice_and_list_and_join_again():
    geometry = arm([0, 30, -30, 90], 0, names=("front", "lao", "rao", "side"))
    assert geometry[1].names == ("lao",)
    assert geometry[-1].names == ("side",)
    assert geometry[1:3].names == ("lao", "rao")
    assert geometry[[3, 0]].names == ("side", "front")
    joined = Geometry.concatenate([geometry[2:], geometry[:2]])
    assert joined.names == ("rao", "side", "front", "lao")
    np.testing.assert_array_equal(joined.views, geometry.views[[2, 3, 0, 1]])
    with pytest.raises(IndexError):
        geometry[4]


def test_a_record_rebuilds_the_geometry():
    geometry = arm([0, 30], 5, names=("a", "b"))
    record = geometry.as_record()
    rebuilt = Geometry(record["views"], tuple(record["shape"]), tuple(record["names"]))
    np.testing.assert_array_equal(rebuilt.views, geometry.views)
    assert (rebuilt.shape, rebuilt.names) == (geometry.shape, geometry.names)


@pytest.mark.parametrize("primary", [-120, -30, 0, 15, 90, 180])
@pytest.mark.parametrize("secondary", [-40, 0, 25])
def test_a_c_arm_keeps_its_distances_and_its_isocenter_in_the_middle(primary, secondary):
    geometry = arm(primary, secondary)
    np.testing.assert_allclose(geometry.sdd, 1200)
    np.testing.assert_allclose(np.linalg.norm(geometry.sources - ARM["isocenter"]), 800)
    np.testing.assert_allclose(np.linalg.norm(geometry.centers - geometry.sources), 1200)
    np.testing.assert_allclose(geometry.project_points(ARM["isocenter"])[0, 0], (200, 150), atol=1e-9)
    np.testing.assert_allclose(geometry.pixel_spacing, [(0.5, 0.5)])


@pytest.mark.parametrize("primary", [20, [0, 40]])
def test_a_c_arm_may_turn_about_another_point_in_each_view(primary):
    points = np.array([(0.0, 10, 20), (30, -40, 5)])
    geometry = arm(primary, 5, isocenter=points)
    assert len(geometry) == 2
    for view, point in enumerate(points):
        np.testing.assert_allclose(geometry.project_points(point)[view, 0], (200, 150), atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(geometry.sources - points, axis=1), 800)


def test_a_c_arm_at_zero_has_its_detector_in_front_and_shows_the_patients_right_on_image_left():
    geometry = arm(0, 0)
    row, column = np.moveaxis(geometry.project_points([(10 + 40, 20, 30), (10, 20, 30 + 40)])[0] - (200, 150), -1, 0)
    assert geometry.sources[0, 1] < 20 < geometry.centers[0, 1]
    np.testing.assert_allclose(column, (-120, 0), atol=1e-9)  # 40 mm right, magnified 1.5 on 0.5 mm pixels
    np.testing.assert_allclose(row, (0, -120), atol=1e-9)


def test_positive_primary_angle_is_lao_the_detector_moves_to_the_patients_left():
    geometry = arm([30, -30], 0)
    lao, rao = geometry.centers - ARM["isocenter"]
    assert lao[0] < -100 < 100 < rao[0]
    # The detector at the left looks past the spine towards the right: in LAO the spine is on image right.
    spine = geometry.project_points((10, 20 - 60, 30))[:, 0, 1] - 150
    assert spine[0] > 50
    assert spine[1] < -50


def test_positive_secondary_angle_is_cranial_the_detector_moves_to_the_head():
    geometry = arm(0, [30, -30])
    cranial, caudal = geometry.centers - ARM["isocenter"]
    assert caudal[2] < -100 < 100 < cranial[2]
    # Seen from above, what lies in front sinks and the spine rises.
    front = geometry.project_points((10, 20 + 60, 30))[:, 0, 0] - 200
    assert front[0] > 50
    assert front[1] < -50


def test_the_c_arm_at_ninety_degrees_is_a_lateral_view():
    geometry = arm([90, -90], 0)
    np.testing.assert_allclose(geometry.sources - ARM["isocenter"], [(800, 0, 0), (-800, 0, 0)], atol=1e-9)
    anterior = geometry.project_points((10, 20 + 60, 30))[:, 0, 1] - 150
    assert anterior[0] < -50
    assert anterior[1] > 50


@pytest.mark.parametrize("seed", phantoms.SEEDS)
def test_a_camera_puts_points_where_its_matrix_puts_them(seed):
    rng = np.random.default_rng([82, seed])
    R, t = phantoms.rotation(rng), np.array([*rng.uniform(-30, 30, 2), 800.0])
    K = np.array([[2100.0, 3.0, 150], [0, 1900, 120], [0, 0, 1]])
    P = K @ np.column_stack([R, t])
    points = rng.uniform(-150, 150, (50, 3))
    x, y, w = P @ np.column_stack([points, np.ones(50)]).T
    expected = np.column_stack([y / w, x / w])
    for scale in (1.0, 0.01, 700.0):
        geometry = Geometry.from_projection_matrix(scale * P, sdd=1100, shape=(256, 300))
        np.testing.assert_allclose(geometry.project_points(points)[0], expected, atol=1e-7)
        np.testing.assert_allclose(geometry.sdd, 1100)
        np.testing.assert_allclose(geometry.sources[0], -R.T @ t)
    camera = Geometry.from_camera(K, R, t, sdd=1100, shape=(256, 300), names=("cam",))
    np.testing.assert_allclose(camera.views, geometry.views, atol=1e-8)
    assert camera.names == ("cam",)


def test_a_camera_that_looks_like_a_cone_is_that_cone():
    cone = Geometry.cone((5, -700, 9), (5, 300, 9), (0, 0, -0.8), (0.5, 0, 0), (101, 201))
    K = np.array([[2000.0, 0, 100], [0, 1250, 50], [0, 0, 1]])
    R = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    camera = Geometry.from_camera(K, R, -R @ (5, -700, 9), sdd=1000, shape=(101, 201))
    np.testing.assert_allclose(camera.views, cone.views, atol=1e-9)


def test_a_projection_matrix_may_mirror_the_picture_as_radiographs_do():
    pa = Geometry.radiograph("PA", CT, shape=(64, 64))
    to_pixels = np.linalg.inv(pa.views[0])[1:]
    P = to_pixels[[2, 1, 0]]
    again = Geometry.from_projection_matrix(P, sdd=pa.sdd[0], shape=(64, 64))
    np.testing.assert_allclose(again.views, pa.views, atol=1e-8)


@pytest.mark.parametrize("view", ["AP", "PA", "LL", "RL"])
@pytest.mark.parametrize("beam", ["cone", "parallel"])
def test_a_radiograph_holds_the_whole_volume_as_large_as_it_can(view, beam):
    geometry = Geometry.radiograph(view, CT, beam=beam, shape=(128, 96))
    pixels = geometry.project_points(CT.corners)[0]
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    assert (low >= -0.5 - 1e-9).all()
    assert (high <= np.array([127.5, 95.5]) + 1e-9).all()
    assert np.isclose(low, -0.5).any()
    assert np.isclose(high, (127.5, 95.5)).any()
    np.testing.assert_allclose(geometry.pixel_spacing[0, 0], geometry.pixel_spacing[0, 1])
    assert geometry.is_parallel[0] == (beam == "parallel")
    assert geometry.names == (view,)


def test_a_radiograph_takes_the_distance_and_spacing_it_is_given():
    geometry = Geometry.radiograph("PA", CT, sdd=1500, pixel_spacing=(8, 7), shape=(32, 48))
    np.testing.assert_allclose(geometry.sdd, 1500)
    np.testing.assert_allclose(geometry.pixel_spacing, [(8, 7)])


@pytest.mark.parametrize("beam", ["cone", "parallel"])
@pytest.mark.parametrize("view", ["PA", "LL"])
def test_a_radiograph_says_so_when_the_volume_does_not_fit_its_detector(view, beam):
    fitting = Geometry.radiograph(view, CT, shape=(64, 48), beam=beam)
    spacing = fitting.pixel_spacing[0, 0]
    assert fitting.fits(CT).tolist() == [True]
    for nearly in (1.01 * spacing, 0.99 * spacing):  # half a pixel of 48 or 64 is a little less than 1 %
        assert Geometry.radiograph(view, CT, shape=(64, 48), beam=beam, pixel_spacing=nearly).fits(CT).all()
    with pytest.warns(
        UserWarning, match=f"view {view}: the volume does not fit the detector.*or pixels of {spacing:.3g} mm"
    ):
        cut = Geometry.radiograph(view, CT, shape=(64, 48), beam=beam, pixel_spacing=0.96 * spacing)
    assert cut.fits(CT).tolist() == [False]


def test_a_volume_fits_where_all_of_it_is_seen():
    views = {
        "whole": arm(30, 10, isocenter=CT.center, pixel_spacing=2),
        "small detector": arm(30, 10, isocenter=CT.center, pixel_spacing=0.9),
        "beside the middle": arm(30, 10, isocenter=np.add(CT.center, (0, 0, 150)), pixel_spacing=2),
        "source inside": arm(30, 10, isocenter=CT.center, pixel_spacing=2, sod=60, sdd=600),
        "volume partly behind the detector": arm(30, 10, isocenter=CT.center, pixel_spacing=2, sod=800, sdd=850),
    }
    assert Geometry.concatenate(list(views.values())).fits(CT).tolist() == [True, False, False, False, False]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Geometry(np.eye(3), (2, 2)), r"\(views, 4, 4\).*\(3, 3\)"),
        (lambda: Geometry(np.zeros((0, 4, 4)), (2, 2)), r"\(views, 4, 4\)"),
        (lambda: Geometry(np.full((4, 4), np.nan), (2, 2)), "finite"),
        (lambda: Geometry(np.eye(4), (2, 2)), "last row"),
        (lambda: Geometry.cone((0, 500, 7), **UPRIGHT), "detector's plane"),
        (lambda: Geometry.parallel((1, 0, 1), **UPRIGHT), "detector's plane"),
        (lambda: Geometry.parallel((0, 0, 0), **UPRIGHT), "direction must not be zero"),
        (lambda: Geometry.cone((0, -9, 0), **{**UPRIGHT, "row_step": (0, 0, 0)}), "step is zero"),
        (lambda: Geometry.cone((0, -9, 0), **{**UPRIGHT, "row_step": (2, 0, 0)}), "spans no image"),
        (lambda: Geometry.cone([(0, -9, 0), (0, 500, 7)], **UPRIGHT), "view 1 spans no image"),
        (lambda: Geometry.cone((0, -9), **UPRIGHT), "source.*3-vector"),
        (
            lambda: Geometry.cone(np.ones((2, 3)), **{**UPRIGHT, "row_step": np.ones((3, 3))}),
            "one each, or as many as there are views; got source 2, center 1, row_step 3, column_step 1",
        ),
        (lambda: Geometry.cone((0, -9, np.inf), **UPRIGHT), "source must be finite"),
        (lambda: Geometry.cone((0, -9, 0), **{**UPRIGHT, "shape": (0, 4)}), r"\(rows, columns\)"),
        (lambda: Geometry.cone((0, -9, 0), **{**UPRIGHT, "shape": (4.5, 4)}), r"\(rows, columns\)"),
        (lambda: Geometry.cone((0, -9, 0), **UPRIGHT, names=("a", "b")), "1 views need as many names; got 2"),
        (lambda: Geometry.concatenate([]), "no views"),
        (lambda: Geometry.concatenate([arm(0, 0), arm(0, 0, shape=(8, 8))]), "one detector shape"),
        (lambda: arm(0, 0, sdd=700), "between source and detector.*800.*700"),
        (lambda: arm(0, 0, sod=-1), "sod must be a positive"),
        (lambda: arm(0, 0, sdd=np.nan), "sdd must be a positive"),
        (lambda: arm(np.nan, 0), "finite degrees"),
        (lambda: arm(0, 0, pixel_spacing=0), "pixel_spacing must be positive"),
        (lambda: arm(0, 0, pixel_spacing=(0.5, -0.5)), "pixel_spacing must be positive"),
        (lambda: arm(0, 0, pixel_spacing=(1, 2, 3)), r"pixel_spacing must be positive.*\(1, 2, 3\)"),
        (lambda: arm([0, 1, 2], [0, 1]), "as many as there are views; got 1, 3 and 2"),
        (lambda: arm([], 0), "as many as there are views; got 1, 0 and 1"),
        (lambda: arm([0, 1, 2], 0, isocenter=np.ones((2, 3))), "as many as there are views; got 2, 3 and 1"),
        (lambda: Geometry.radiograph("PA", CT, sdd="1800"), "sdd must be a positive distance in mm; got '1800'"),
        (lambda: Geometry.radiograph("PAA", CT), "unknown view 'PAA'; the views are AP, PA, LL, RL$"),
        (
            lambda: Geometry.radiograph("LAT", CT),
            r"unknown view 'LAT'.*RL; did you mean LL \(the left .* or RL \(the right",
        ),
        (lambda: Geometry.radiograph("left lateral", CT), r"did you mean LL \(the left side at the detector\)\?$"),
        (lambda: Geometry.radiograph("right", CT), r"did you mean RL \(the right side at the detector\)\?$"),
        (
            lambda: Geometry.radiograph("Frontal", CT),
            r"did you mean PA \(the front at .* or AP \(the back at the detector",
        ),
        (lambda: Geometry.radiograph("PA", CT, beam="fan"), "beam.*'fan'"),
        (lambda: Geometry.radiograph("PA", CT, sdd=100), "sdd 100 mm puts the source inside the volume.*120 mm deep"),
        (lambda: Geometry.radiograph("PA", CT, sdd=0), "sdd must be a positive"),
        (lambda: Geometry.radiograph("PA", CT, beam="parallel", sdd=1800), "sdd belongs to a cone; a parallel beam"),
        (lambda: Geometry.from_camera(np.eye(3), -np.eye(3), (0, 0, 9), sdd=9, shape=(2, 2)), "R must be a rotation"),
        (lambda: Geometry.from_camera(np.eye(3), 2 * np.eye(3), (0, 0, 9), sdd=9, shape=(2, 2)), "R must be a rot"),
        (
            lambda: Geometry.from_camera(
                np.transpose([[2000, 0, 255.5], [0, 2000, 255.5], [0, 0, 1]]), np.eye(3), (0, 0, 9), sdd=9, shape=(2, 2)
            ),
            r"last row of K must be .*; got \(255.5, 255.5, 1.0\); this is K transposed, .*: pass K.T",
        ),
        (
            lambda: Geometry.from_camera(np.diag([9, 9, -2]), np.eye(3), (0, 0, 9), sdd=9, shape=(2, 2)),
            r"last row of K must be \(0, 0, 1\), or a positive multiple of it; got \(0.0, 0.0, -2.0\)$",
        ),
        (lambda: Geometry.from_camera(np.eye(4), np.eye(3), (0, 0, 9), sdd=9, shape=(2, 2)), r"\(3, 3\).*\(4, 4\)"),
        (lambda: Geometry.from_projection_matrix(np.eye(4), sdd=9, shape=(2, 2)), r"3x4.*\(4, 4\)"),
        (lambda: Geometry.from_projection_matrix(np.eye(3, 4)[[0, 1, 1]], sdd=9, shape=(2, 2)), "Geometry.parallel"),
        (lambda: Geometry.from_projection_matrix(np.eye(3, 4), sdd=-9, shape=(2, 2)), "sdd must be a positive"),
        (
            lambda: arm(0, 0).project_points([(1, 2)]),
            r"xyz_mm must be points, shape \(points, 3\).*; got shape \(1, 2\)",
        ),
        (lambda: arm(0, 0).project_points(CT), "xyz_mm must be points.*; got Volume"),
        (lambda: arm("x", 0), "primary_angle must be degrees, one number or one per view; got 'x'"),
        (lambda: arm("30", 0), "primary_angle must be degrees, .*; got '30'"),
        (lambda: arm(0, ["30"]), "secondary_angle must be degrees, .*; got"),
        (lambda: arm(0, 0, isocenter=CT), "isocenter must be one 3-vector.*; got Volume"),
        (lambda: arm(0, 0, pixel_spacing="0.5"), "pixel_spacing must be positive mm.*; got '0.5'"),
        (lambda: arm(0, 0, sdd=np.ones(2)), "sdd must be a positive distance in mm; got"),
        (lambda: arm(0, 0).rolled("a"), "degrees must be a finite number, or one for each of 1 views; got 'a'"),
        (lambda: arm(0, 0).tilted(top=[1, "a"]), "top must be a finite number"),
        (lambda: arm(0, 0).rays("1", 2), "rows and columns must be finite pixel coordinates; got '1'"),
        (lambda: arm(0, 0).rays([1, 2], [1, 2, 3]), r"shapes that broadcast; got \(2,\) and \(3,\)"),
        (lambda: Geometry("abc", (2, 2)), "views must have shape .*; got 'abc'"),
        (lambda: Geometry.from_projection_matrix("P", sdd=9, shape=(2, 2)), "P must be a finite 3x4 matrix; got 'P'"),
        (lambda: Geometry.from_camera(np.eye(3), None, (0, 0, 9), sdd=9, shape=(2, 2)), "K, R and t must .*; got None"),
        (lambda: Geometry.cone((0, -9, 0), **{**UPRIGHT, "shape": (np.inf, 4)}), r"\(rows, columns\)"),
        (lambda: arm([0, 1], 0)[[]], "at least one view"),
        (lambda: arm([0, 1], 0)[5:], "at least one view"),
        (lambda: Geometry.cone((0, -9, 0), **UPRIGHT, names=""), "names of views must not be empty, .*; got ''"),
    ],
)
def test_geometries_that_make_no_image_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Geometry.radiograph("PA", CT.array), "a view and a volume.*got str and ndarray"),
        (lambda: Geometry.radiograph(CT, "PA"), "a view and a volume.*got Volume and str"),
        (lambda: Geometry.cone((0, -9, 0), **UPRIGHT, names=[3]), r"names of views must be texts; got \[3\]"),
    ],
)
def test_arguments_of_another_kind_are_refused(build, message):
    with pytest.raises(TypeError, match=message):
        build()


def test_bare_sid_is_refused_because_it_means_two_distances():
    with pytest.raises(TypeError, match="sid"):
        Geometry.c_arm(**ARM, primary_angle=0, secondary_angle=0, sid=1000)
    with pytest.raises(TypeError, match="sid"):
        Geometry.radiograph("PA", CT, sid=1000)


@pytest.mark.parametrize("beam", ["cone", "parallel"])
@pytest.mark.parametrize("seed", phantoms.SEEDS)
def test_moved_views_see_moved_points_where_the_views_saw_the_points(beam, seed):
    rng = np.random.default_rng([84, seed])
    views = random_geometry(rng, beam)
    geometry = Geometry(views.views, views.shape, ("a", "b", "a"))
    points = rng.uniform(-1, 1, (20, 3)) * 30 + CT.center
    target_from_source = np.eye(4)
    target_from_source[:3, :3] = phantoms.rotation(rng) @ np.diag(rng.choice([-1, 1, 2], 3))
    target_from_source[:3, 3] = rng.uniform(-50, 50, 3)
    moved = geometry.moved(target_from_source)
    there = points @ target_from_source[:3, :3].T + target_from_source[:3, 3]
    np.testing.assert_allclose(moved.project_points(there), geometry.project_points(points), atol=1e-6)
    np.testing.assert_allclose(moved.moved(np.linalg.inv(target_from_source)).views, geometry.views, atol=1e-9)
    assert (moved.names, moved.shape) == (geometry.names, geometry.shape)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.eye(3), r"target_from_source must be 4x4; got shape \(3, 3\)"),
        (np.diag([1, 1, np.nan, 1]), "target_from_source has entries that are not finite"),
        (np.diag([1, 1, 0, 1]), "target_from_source is singular"),
        (np.eye(4) + np.eye(4)[[3]].T * [1, 0, 0, 0], "last row of target_from_source must be 0 0 0 1; got"),
        ([["1"] * 4] * 4, "target_from_source must be a 4x4 matrix of numbers"),
        ("home", "target_from_source must be a 4x4 matrix of numbers"),
    ],
)
def test_views_are_moved_by_affine_matrices_only(matrix, message):
    with pytest.raises(ValueError, match=message):
        arm(0, 0).moved(matrix)


def test_views_are_selected_by_number_name_slice_and_mask():
    views = arm([0, 10, 20, 30], 0, names=["a", "b", "c", "c"])
    keys = [("b", [1]), (0, [0]), (-1, [3]), (np.int64(2), [2]), (slice(1, None), [1, 2, 3]), ((2, "a"), [2, 0])]
    for key, places in keys:
        np.testing.assert_array_equal(views[key].views, views.views[places])
        assert views[key].names == tuple(views.names[place] for place in places)
    assert views[np.array([True, False, True, False])].names == ("a", "c")
    assert "b" in views
    assert "d" not in views


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        ("PA", KeyError, "no view 'PA'; there are a, b, b"),
        ("b", KeyError, "2 views are named 'b'; select one by number"),
        (3, IndexError, "no view 3; there are 3, counted from 0"),
        (-4, IndexError, "no view -4; there are 3"),
        (0.5, TypeError, "select one view, by number or name; got 0.5"),
        (True, TypeError, "select one view, by number or name; got True"),
        (None, TypeError, "select one view, by number or name; got None"),
        (np.array(1), TypeError, r"select one view, by number or name; got array\(1\)"),
        (np.ones(5, bool), IndexError, r"a mask of views has one value for each of \d; got shape \(5,\)"),
        ([0, 0.5], TypeError, "select one view, by number or name; got 0.5"),
    ],
)
def test_views_that_are_not_there_are_refused(key, error, message):
    with pytest.raises(error, match=message):
        arm([0, 10, 20], 0, names=["a", "b", "b"])[key]


@pytest.mark.parametrize("joined", [[arm(0, 0), 1], 1, [None]])
def test_only_geometries_are_joined(joined):
    with pytest.raises(TypeError, match=r"views are joined of a list of geometries; got (1|None) among them"):
        Geometry.concatenate(joined)


@pytest.mark.parametrize("names", [5, [1], ["a", None]])
def test_names_of_views_are_texts(names):
    with pytest.raises(TypeError, match="names of views must be texts; got"):
        Geometry.cone((0, -1000, 0), **UPRIGHT, names=names)


@pytest.mark.parametrize("odd", ["\0", "\r", "\n", "\ud800", "\u2028", "\x85"])
def test_names_of_views_hold_nothing_that_is_no_text(odd):
    said = rf"^a view is named {re.escape(repr(f'a{odd}'))}, and {re.escape(repr(odd))} in it is no text; rename it$"
    view = Geometry.cone((0, -1000, 0), **UPRIGHT)
    for make in (
        lambda names: Geometry.cone((0, -1000, 0), **UPRIGHT, names=names),
        lambda names: Geometry(view.views, view.shape, names),
    ):
        with pytest.raises(ValueError, match=said):
            make([f"a{odd}"])
        assert make(["Th\u00fcring \u9aa8 1/2"]).names == ("Th\u00fcring \u9aa8 1/2",)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda view: view.fits(5), "volume must be a Volume or a LabelVolume; got 5"),
        (lambda view: view.describe("ct.nii.gz"), "volume must be a Volume or a LabelVolume; got 'ct.nii.gz'"),
        (
            lambda view: view.cropped(slice("a", 2), slice(None)),
            r"rows must be a slice of whole numbers; got slice\('a'",
        ),
        (
            lambda view: view.cropped(slice(None), slice(0, 2.5)),
            r"columns must be a slice of whole numbers; got slice\(0",
        ),
    ],
)
def test_what_is_no_volume_and_no_part_of_a_detector_is_refused(ask, message):
    with pytest.raises(TypeError, match=message):
        ask(arm(0, 0))


def test_the_scale_of_a_camera_matrix_does_not_matter():
    K = np.array([[2000, 0, 30.5], [0, 2000, 20.5], [0, 0, 1]])  # a decomposition of a 3x4 matrix gives any multiple
    one, scaled = (Geometry.from_camera(each, np.eye(3), (0, 0, 700), sdd=1000, shape=(41, 61)) for each in (K, 3 * K))
    np.testing.assert_allclose(scaled.views, one.views, atol=1e-9)
