"""The legend of an overlay: which names it has, beside which colours, and where the picture stays."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

import drrproj
from drrproj.io.label_colors import label_color
from drrproj.io.legend import with_legend

PICTURE = np.full((512, 480, 3), 77, np.uint8)


def patches(page: np.ndarray, names: list[str]) -> dict[str, tuple[int, int]]:
    """Where the patch of each name is: its middle, row and column; what has none is left out."""
    found = {}
    for name in names:
        rows, columns = np.nonzero((page == label_color(name)).all(axis=-1))
        if rows.size >= 80:
            found[name] = round(rows.mean()), round(columns.mean())
    return found


def test_each_name_has_a_patch_of_its_colour_in_their_order():
    names = ["heart", "aorta", "liver", "spleen"]
    page = with_legend(PICTURE, names, [1, 2, 3, 4])
    np.testing.assert_array_equal(page[:512, :480], PICTURE)
    assert page.shape[0] == 512
    places = patches(page[:, 480:], names)
    assert list(places) == names
    rows, columns = zip(*places.values(), strict=True)
    assert list(rows) == sorted(rows)
    assert len(set(columns)) == 1
    # The words are those of the names, in letters from left to right.
    drawn = Image.new("L", (200, 16))
    ImageDraw.Draw(drawn).text((0, 8), "spleen", fill=225, font=ImageFont.load_default(12), anchor="lm")
    words = np.trim_zeros(np.asarray(drawn).max(axis=0))
    row = page[rows[3] - 8 : rows[3] + 8, 480 + columns[3] + 6 :].max(axis=(0, 2))
    np.testing.assert_array_equal(np.trim_zeros(row), words)


@pytest.mark.parametrize(("count", "columns"), [(32, 1), (33, 2), (64, 2)])
def test_long_lists_stand_in_columns(count, columns):
    names = [f"structure {number}" for number in range(count)]
    page = with_legend(PICTURE, names, [1] * count)
    # Words are grey, patches are not.
    coloured = (np.ptp(page.astype(int), axis=-1) > 0).any(axis=0)
    assert np.count_nonzero(np.diff(coloured.astype(int)) == 1) == columns
    assert page.shape[0] == 512


def test_of_too_many_the_largest_are_named():
    names = [f"structure {number}" for number in range(88)]
    areas = [number if number % 2 else 1000 + number for number in range(88)]
    page = with_legend(PICTURE, names, areas)
    assert page.shape[0] == 512
    largest = sorted(names, key=lambda name: -areas[names.index(name)])[:63]
    expected = with_legend(PICTURE, [*(name for name in names if name in largest)], [1] * 63)
    # The same but for the last line, which says how many more there are.
    np.testing.assert_array_equal(page[: 31 * 16, : expected.shape[1]], expected[: 31 * 16])
    assert (
        page[31 * 16 :, :] != np.pad(expected, ((0, 0), (0, page.shape[1] - expected.shape[1]), (0, 0)))[31 * 16 :]
    ).any()


def test_a_low_picture_gets_a_higher_strip():
    names = [f"structure {number}" for number in range(20)]
    page = with_legend(PICTURE[:20], names, [1] * 20)
    assert page.shape[0] == 12 * 16
    np.testing.assert_array_equal(page[:20, :480], PICTURE[:20])
    assert not page[20:, :480].any()
    assert with_legend(PICTURE, [], []) is PICTURE


def test_an_overlay_names_what_is_seen_and_its_pixels_stay(tmp_path):
    ct = drrproj.Volume(np.zeros((40, 20, 40), np.int16), np.eye(4))
    ids = np.zeros(ct.shape, np.uint8)
    ids[5:15, 5:15, 5:15], ids[25:35, 5:15, 5:15] = 1, 2
    labels = drrproj.LabelVolume(ids, np.eye(4), {1: "heart", 2: "aorta", 3: "liver"})
    view = drrproj.Geometry.radiograph("PA", ct, shape=(256, 200))
    shot = drrproj.project(ct, view, labels=labels.subset(["heart", "aorta", "liver"]))
    for name, legend in (("bare.png", False), ("named.png", True)):
        drrproj.write_overlay(tmp_path / name, shot, ["heart", "liver"], legend=legend)
    with Image.open(tmp_path / "bare.png") as one, Image.open(tmp_path / "named.png") as other:
        bare, named = np.asarray(one), np.asarray(other)
    assert bare.shape == (256, 200, 3)
    np.testing.assert_array_equal(named[:, :200], bare)
    assert list(patches(named[:, 200:], ["heart", "aorta", "liver"])) == ["heart"]
