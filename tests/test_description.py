"""A geometry told in words: each number against the vectors it was built from."""

from __future__ import annotations

import re

import numpy as np
import phantoms
import pytest

from drrproj import Geometry, Volume
from drrproj.directions import letters, words

CT = Volume(
    np.zeros((60, 40, 70), np.int16), phantoms.affine_around(np.array([9.0, -5, 100]), np.diag([3.0] * 3), (60, 40, 70))
)
BEAMS = {
    "AP": ("from anterior to posterior", "LAO 180.0", "left", "superior"),
    "PA": ("from posterior to anterior", "LAO 0.0", "left", "superior"),
    "LL": ("from right to left", "LAO 90.0", "posterior", "superior"),
    "RL": ("from left to right", "RAO 90.0", "anterior", "superior"),
}


def arm(primary, secondary, **changes):
    choices = {"sdd": 1200, "sod": 800, "isocenter": (10, 20, 30), "pixel_spacing": 0.5, "shape": (401, 301), **changes}
    return Geometry.c_arm(**choices, primary_angle=primary, secondary_angle=secondary)


def number(pattern, text):
    return float(re.search(pattern + r" (-?[\d.]+)", text).group(1))


@pytest.mark.parametrize("beam", ["cone", "parallel"])
@pytest.mark.parametrize("view", BEAMS)
def test_named_views_are_told_by_the_way_of_their_beam_and_their_edges(view, beam):
    said = Geometry.radiograph(view, CT, beam=beam).describe()
    way, angle, right, upper = BEAMS[view]
    assert f"view {view}: {beam} beam {way} ({angle}, CRA 0.0 degrees)" in said
    assert f"right edge is {right}, upper edge is {upper}; roll 0.0, tilt 0.0 degrees" in said
    assert ("at infinity" in said) == (beam == "parallel")


@pytest.mark.parametrize(("primary", "told"), [(30, "LAO 30.0"), (-45, "RAO 45.0"), (0, "LAO 0.0")])
@pytest.mark.parametrize(("secondary", "also"), [(20, "CRA 20.0"), (-15, "CAU 15.0")])
def test_a_c_arm_is_told_its_angles_and_distances(primary, told, secondary, also):
    geometry = arm(primary, secondary)
    said = geometry.describe(isocenter=(10, 20, 30))
    assert f"({told}, {also} degrees)" in said
    assert f"sdd {1200:.1f} mm" in said
    assert "sod 800.0 mm, magnification 1.500" in said
    assert "401 rows x 301 columns of 0.5 x 0.5 mm, 200.5 x 150.5 mm" in said
    assert "principal point: row 200.0, column 150.0" in said
    source = ", ".join(f"{x:.1f}" for x in geometry.sources[0])
    assert f"source: ({source}) mm RAS+" in said


def test_oblique_beams_are_told_by_both_words_the_larger_one_first():
    assert "beam from posterior right to anterior left" in arm(30, 0).describe()
    assert "beam from right posterior to left anterior" in arm(60, 0).describe()
    assert "beam from inferior posterior to superior anterior" in arm(0, 70).describe()
    assert "beam from inferior to superior (LAO 0.0, CRA 90.0 degrees)" in arm(0, 90).describe()


@pytest.mark.parametrize("degrees", [0, 12.5, -30, 100])
def test_roll_is_told_as_it_was_made(degrees):
    assert number("roll", arm(20, -10).rolled(degrees).describe()) == degrees
    upside = Geometry.parallel((0, 0, 1), (0, 0, 0), (0, -1, 0), (-1, 0, 0), (9, 9))  # from the feet, anterior up
    assert number("roll", upside.rolled(degrees).describe()) == degrees


@pytest.mark.parametrize(("top", "right"), [(8, 0), (-8, 0), (0, 15), (3, 4)])
def test_tilt_is_told_as_it_was_made(top, right):
    said = arm(20, -10).tilted(top=top, right=right).describe()
    assert number("tilt", said) == pytest.approx(np.hypot(top, right))


def test_a_shift_is_told_by_its_principal_point_and_the_magnification_does_not_change():
    said = arm(0, 0).shifted(down=10, right=-20).describe(isocenter=(10, 20, 30))
    assert "principal point: row 180.0, column 190.0" in said
    assert "magnification 1.500" in said
    # What is parallel to the detector is magnified by its depth, not by its distance from the source.
    assert "sod 806.2 mm, magnification 1.500" in arm(0, 0).describe(isocenter=(110, 20, 30))


def test_a_volume_is_told_where_it_projects_and_whether_it_fits():
    whole = Geometry.radiograph("PA", CT, shape=(100, 80))
    rows = np.ptp(whole.project_points(CT.corners)[0, :, 0])
    said = whole.describe(CT)
    assert "volume: projects to rows " in said
    assert said.endswith("; it fits the detector")
    low, high = map(float, re.search(r"rows (-?[\d.]+) to (-?[\d.]+)", said).groups())
    assert high - low == pytest.approx(rows, abs=0.11)
    middle = f"volume's middle: ({CT.center[0]:.1f}, {CT.center[1]:.1f}, {CT.center[2]:.1f}) mm RAS+"
    assert f"{middle}; {np.linalg.norm(CT.center - whole.sources[0]):.1f} mm from the source, magnification " in said
    assert "isocenter" not in said
    given = whole.describe(CT, isocenter=(10, 20, 30))
    assert "isocenter: (10.0, 20.0, 30.0) mm RAS+; sod " in given
    assert "middle:" not in given
    assert whole.cropped(slice(20, 90), slice(None)).describe(CT).endswith("; it does not fit the detector")
    near = arm(0, 0, isocenter=CT.center, sod=790, sdd=800)
    assert near.describe(CT).endswith("; it does not fit: part of it lies behind the detector")
    within = arm(0, 0, isocenter=CT.center, sod=20, sdd=800)
    assert within.describe(CT).endswith("volume: it does not fit: the source is beside or inside it")


def test_the_isocenter_behind_the_source_has_no_magnification():
    assert "behind the source" in arm(0, 0).describe(isocenter=(10, -2000, 30))


def test_each_view_is_told_and_one_isocenter_only():
    assert arm([0, 30], 0).describe().count("view ") == 2
    with pytest.raises(ValueError, match="isocenter must be one point; got 2"):
        arm(0, 0).describe(isocenter=[(0, 0, 0), (1, 1, 1)])


@pytest.mark.parametrize(
    ("direction", "said"),
    [((3, 0, 0), "R"), ((0, -1, 0), "P"), ((0, 0, -2), "I"), ((0.5, 1, 0.05), "AR"), ((-1, -1, 1), "LPS")],
)
def test_letters_name_where_a_direction_points(direction, said):
    assert letters(direction) == said
    assert "".join(word[0].upper() for word in words(direction).split()) == said


@pytest.mark.parametrize("direction", [(0, 0, 0), (np.nan, 0, 1)])
def test_no_direction_has_no_letters(direction):
    with pytest.raises(ValueError, match="finite and not zero"):
        letters(direction)
