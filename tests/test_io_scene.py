"""The picture of the scene: what is where in it, found by its colours."""

from __future__ import annotations

import numpy as np
import phantoms
import pytest
from PIL import Image

from drrproj import Geometry, Volume, project, write_scene

SOURCE, DETECTOR, BOX, FIRST = (200, 30, 30), (20, 90, 200), (20, 140, 70), (220, 0, 160)
PANELS = {"front": 0, "left": 1, "feet": 2, "image": 3}
PATIENT = phantoms.patient()


def stored(codes="RAS"):
    hu, affine = phantoms.stored_as(PATIENT.hu, PATIENT.affine, codes)
    return Volume(hu, affine)


CT = stored()


def drawn(tmp_path, view, volume=CT):
    path = tmp_path / "scene.png"
    write_scene(path, view, volume)
    with Image.open(path) as picture:
        return np.asarray(picture)


def panel(picture, name):
    size = picture.shape[1] // 2
    row, column = divmod(PANELS[name], 2)
    return picture[row * size : (row + 1) * size, column * size : (column + 1) * size].astype(int)


def places(picture, name, color):
    """Rows and columns in a panel of what has a colour; greys are none of them."""
    found = np.argwhere(np.abs(panel(picture, name) - color).max(axis=-1) < 40)
    assert len(found), (name, color)
    return found


def middle(picture, name, color):
    """Row and column of what has a colour in a panel, from the panel's middle."""
    return places(picture, name, color).mean(axis=0) - picture.shape[1] / 4


# Where the source lies as seen from each side: rows down, columns right; 0 is the middle.
PLACES = {
    "AP": {"front": (0, 0), "left": (0, -1), "feet": (-1, 0)},
    "PA": {"front": (0, 0), "left": (0, 1), "feet": (1, 0)},
    "LL": {"front": (0, -1), "left": (0, 0), "feet": (0, -1)},  # the source is at the patient's right
    "RL": {"front": (0, 1), "left": (0, 0), "feet": (0, 1)},
}


@pytest.mark.parametrize("codes", ["RAS", "LPI"])
@pytest.mark.parametrize("view", PLACES)
def test_source_and_detector_stand_on_their_sides_of_the_patient(view, codes, tmp_path):
    ct = stored(codes)
    picture = drawn(tmp_path, Geometry.radiograph(view, ct, shape=(64, 64)), ct)
    for side, place in PLACES[view].items():
        source, detector = (np.sign(np.round(middle(picture, side, color) / 20)) for color in (SOURCE, DETECTOR))
        assert tuple(source) == place, side
        assert tuple(detector) == tuple(-x for x in place), side


@pytest.mark.parametrize("codes", ["LPS", "PIR", "ASL", "RAI", "LAS"])
def test_the_picture_does_not_depend_on_how_the_volume_is_stored(codes, tmp_path):
    def picture(ct):
        view = Geometry.c_arm(
            sdd=900,
            sod=600,
            isocenter=CT.center,
            primary_angle=25,
            secondary_angle=-10,
            pixel_spacing=2,
            shape=(90, 80),
        )
        return drawn(tmp_path, project(ct, view), ct).astype(int)

    truth = picture(CT)
    # The middle lies between two voxels, and which of them is drawn depends on the axis's direction.
    difference = np.abs(picture(stored(codes)) - truth).mean()
    mirrored = np.abs(picture(Volume(CT.array[::-1], CT.affine)) - truth).mean()
    assert difference < 0.02 < 0.05 < mirrored


@pytest.mark.parametrize("side", ["front", "feet"])
def test_slices_show_the_marks_where_they_are(side, tmp_path):
    """The left mark lies on the right of both pictures; up is superior from the front, and anterior from the feet."""
    picture = drawn(tmp_path, Geometry.radiograph("PA", CT, sdd=600, shape=(64, 64)))
    low, high = places(picture, side, BOX).min(axis=0), places(picture, side, BOX).max(axis=0)
    shown = panel(picture, side)
    is_mark = (np.ptp(shown, axis=-1) < 6) & (np.abs(shown[..., 0] - 64) < 8)  # 800 HU and more: three quarters black
    marks = np.argwhere(is_mark)
    marks = marks[((marks > low + 3) & (marks < high - 3)).all(axis=1)]
    rows, columns = ((marks - (low + high) / 2) / (high - low)).T
    assert columns.max() > 0.25
    assert columns.min() > -0.15
    assert rows.min() < -0.25
    assert rows.max() < 0.15


def test_the_first_pixels_corner_is_the_upper_left_one_of_the_image(tmp_path):
    view = Geometry.radiograph("PA", CT, shape=(64, 96))
    picture = drawn(tmp_path, view)
    row, column = middle(picture, "image", FIRST)
    assert row < -50
    assert column < -100
    # Rolled half around, the corner of pixel (0, 0) lies at the patient's lower left, and upper left in the image.
    turned = drawn(tmp_path, view.rolled(180))
    np.testing.assert_allclose(middle(turned, "image", FIRST), (row, column), atol=2)
    first, other = middle(picture, "front", FIRST), middle(turned, "front", FIRST)
    assert first[0] < 0 > first[1]
    np.testing.assert_allclose(other, -first, atol=3)


def test_the_volumes_outline_lies_in_the_image_where_its_corners_project(tmp_path):
    view = Geometry.radiograph("LL", CT, shape=(100, 100))
    picture = drawn(tmp_path, view)
    outline, frame = places(picture, "image", BOX), places(picture, "image", DETECTOR)
    scale = 100 / np.ptp(frame, axis=0)
    rows, columns = np.ptp(view.project_points(CT.corners)[0], axis=0)
    np.testing.assert_allclose(np.ptp(outline, axis=0) * scale, (rows, columns), rtol=0.03)


def test_a_view_that_misses_the_volume_and_a_parallel_beam_are_drawn(tmp_path):
    astray = Geometry.cone((0, -900, 900), (0, 100, 900), (0, 0, -1), (-1, 0, 0), shape=(64, 64))
    assert middle(drawn(tmp_path, astray), "left", SOURCE)[0] < -20
    parallel = drawn(tmp_path, Geometry.radiograph("PA", CT, beam="parallel", shape=(64, 64)))
    assert not (np.abs(parallel.astype(int) - SOURCE).max(axis=-1) < 20).any()
    assert tuple(np.sign(np.round(middle(parallel, "feet", DETECTOR) / 20))) == (-1, 0)


@pytest.mark.parametrize("length", [0.25, 64.0])
def test_a_parallel_beam_is_drawn_alike_whatever_the_length_of_its_direction(length, tmp_path):
    view = Geometry.radiograph("PA", CT, beam="parallel", shape=(64, 64))
    matrices = view.views.copy()
    matrices[:, :3, 0] *= length
    size = drawn(tmp_path, view).shape[1]  # below stands the description
    longer = Geometry(matrices, view.shape, view.names)
    np.testing.assert_array_equal(drawn(tmp_path, longer)[:size], drawn(tmp_path, view)[:size])


def test_a_principal_point_far_off_the_detector_is_not_drawn(tmp_path):
    view = Geometry.radiograph("PA", CT, shape=(64, 64))
    near = places(drawn(tmp_path, view), "image", SOURCE)
    np.testing.assert_allclose(near.mean(axis=0), 274, atol=1)
    far = drawn(tmp_path, view.shifted(right=2000))
    for name in ("feet", "image"):
        is_red = np.abs(panel(far, name) - SOURCE).max(axis=-1) < 40
        assert is_red.any() == (name == "feet")


def test_attenuation_volumes_are_drawn_as_hu_are(tmp_path):
    view = Geometry.radiograph("PA", CT, shape=(32, 32))
    mu = Volume(np.clip((CT.array / 1000.0 + 1) * 0.02, 0, None).astype(np.float32), CT.affine, unit="1/mm")
    assert np.abs(drawn(tmp_path, view, mu).astype(int) - drawn(tmp_path, view)).mean() < 1


def test_one_view_a_time_and_the_right_types(tmp_path):
    two = Geometry.concatenate([Geometry.radiograph(view, CT) for view in ("PA", "LL")])
    with pytest.raises(ValueError, match=r"one picture shows one view; this is of 2 \(PA, LL\)"):
        write_scene(tmp_path / "a.png", two, CT)
    with pytest.raises(TypeError, match="view must be a drrproj"):
        write_scene(tmp_path / "a.png", CT, CT)
    with pytest.raises(TypeError, match="volume must be a drrproj"):
        write_scene(tmp_path / "a.png", two[0], CT.array)
    assert not (tmp_path / "a.png").exists()
