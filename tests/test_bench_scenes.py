"""Random scenes of small images: which rays run along a face, what counts as missed, and which scenes they are."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import drrproj

BENCH = Path(__file__).resolve().parent.parent / "bench"
pytestmark = pytest.mark.skipif(not BENCH.is_dir(), reason="the benchmarks are not here")


@pytest.fixture
def scenes(bench):
    return bench("scenes")


@pytest.fixture
def engine(scenes):
    """The bench's own call; the compiled backend may not be here."""
    why = scenes.backends.why_unavailable("cpu")
    if why is not None:
        pytest.skip(why)
    return scenes


def view_of(source, source_w, pixel, row_step, column_step):
    view = np.zeros((4, 4))
    view[:3] = np.stack([source, pixel, row_step, column_step], axis=1)
    view[3, :2] = source_w, 1
    return view


AFFINE = np.array([[0.5, 0.1, 0, -20], [0, -2, 0.3, 7], [0, 0, 3, 100], [0, 0, 0, 1.0]])
SHAPE = (4, 5, 6)


def in_world(point, w=1.0):
    return AFFINE[:3, :3] @ point + w * AFFINE[:3, 3]


@pytest.mark.parametrize("beam", ["cone", "parallel"])
@pytest.mark.parametrize(
    ("first", "last", "is_along"),
    [
        ((-3, 1.5 + 2e-8, 2.2), (9, 1.5 + 2e-8, 2.2), True),  # between two voxels
        ((-3, 1.5 + 3e-7, 2.2), (9, 1.5 + 3e-7, 2.2), False),
        ((-3, -0.5, 2.2), (9, -0.5, 2.2), True),  # the outermost face
        ((-3, 1.5 - 3e-7, 2.2), (9, 1.5 + 9e-7, 2.2), True),  # 1e-7 a voxel: two of them within it
        ((-3, 1.5 - 3e-6, 2.2), (9, 1.5 + 9e-6, 2.2), False),  # 1e-6 a voxel: a fifth of one
        ((-3, 6.5, 2.2), (9, 6.5, 2.2), False),  # along a face that the grid does not have
        ((-3, 1.2, 2.2), (9, 1.4, 2.3), False),
        ((-3, 1.5, 2.2), (9, 2.5, 3.3), False),  # starts on a face, and leaves it
    ],
)
def test_rays_along_a_face_are_told_by_their_geometry(scenes, beam, first, last, is_along):
    start, end = in_world(np.array(first)), in_world(np.array(last))
    source, w = (start, 1.0) if beam == "cone" else (start - end, 0.0)
    view = view_of(source, w, end, (0, 0, 1), (0, 1, 0))
    assert scenes.along_a_face(view, np.array([[0, 0]]), SHAPE, AFFINE).tolist() == [is_along]


def test_a_ray_is_told_by_what_it_does_between_source_and_pixel(scenes):
    # It stands still on a face, but beyond the source; and it ends before the grid.
    behind = view_of(in_world(np.array([9, 1.5, 2])), 1.0, in_world(np.array([12, 1.5, 2])), (0, 0, 1), (0, 1, 0))
    before = view_of(in_world(np.array([-9, 1.5, 2])), 1.0, in_world(np.array([-2, 1.5, 2])), (0, 0, 1), (0, 1, 0))
    inside = view_of(in_world(np.array([1, 1.5, 2])), 1.0, in_world(np.array([1.4, 1.5, 2])), (0, 0, 1), (0, 1, 0))
    found = [scenes.along_a_face(view, np.array([[0, 0]]), SHAPE, AFFINE)[0] for view in (behind, before, inside)]
    assert found == [False, False, True]


def test_every_pixel_of_a_view_is_told_for_itself(scenes):
    view = view_of(-AFFINE[:3, 0], 0.0, in_world(np.array([9, -1.5, 2.2])), AFFINE[:3, 1] / 4, AFFINE[:3, 2] * 0.2)
    pixels = np.argwhere(np.ones((28, 2), bool))
    found = scenes.along_a_face(view, pixels, SHAPE, AFFINE)
    # Rows begin at -1.5 in steps of a quarter voxel: on faces from -0.5 to 4.5.
    assert sorted(set(pixels[found][:, 0])) == [4, 8, 12, 16, 20, 24]


def test_scenes_are_fixed_by_seed_and_number_and_cover_what_they_should(scenes):
    once, again, other = scenes.draw(3, 8), scenes.draw(3, 8), scenes.draw(4, 8)
    np.testing.assert_array_equal(once.truth, again.truth)
    np.testing.assert_array_equal(once.scene.volume.array, again.scene.volume.array)
    assert once.truth.shape != other.truth.shape or (once.truth != other.truth).any()
    drawn = [scenes.draw(1, number).scene for number in range(120)]
    views = [scene.geometry.views[0] for scene in drawn]
    assert {scene.kind for scene in drawn} == set(scenes.KINDS)
    assert {view[3, 0] for view in views} == {0.0, 1.0}
    assert {scene.volume.array.dtype for scene in drawn} == set(map(np.dtype, scenes.TYPES))
    assert {scene.volume.array.flags.c_contiguous for scene in drawn} == {True, False}
    sizes = np.array([scene.volume.array.shape for scene in drawn])
    assert sizes.min() >= 2
    assert sizes.max() <= 40
    assert {np.linalg.det(scene.volume.affine) > 0 for scene in drawn} == {True, False}
    stretches = [np.linalg.norm(scene.volume.affine[:3, :3], axis=0) for scene in drawn]
    assert max(stretch.max() / stretch.min() for stretch in stretches) > 8
    inside = 0
    for scene, view in zip(drawn, views, strict=True):
        if scene.kind == "source or detector inside":
            ends = np.linalg.inv(scene.volume.affine) @ view[:, :2]
            sizes = np.array(scene.volume.array.shape)[:, None]
            inside += ((ends[:3] > -0.5) & (ends[:3] < sizes - 0.5)).all(axis=0).any()
    assert inside > 5
    lines = [(s.geometry, s.volume) for s in drawn if s.kind == "lines of pixels along an axis"]
    for geometry, volume in lines:
        steps = np.linalg.inv(volume.affine) @ geometry.views[0][:, 2:]
        across = np.sort(np.abs(steps[:3]) / np.abs(steps[:3]).max(axis=0), axis=0)
        # One step along an axis of the grid, the other in a plane of it.
        assert across[1].min() < 1e-9 < across[1].max()
        assert across[0].max() < 1e-9
    assert max(max(geometry.shape) for geometry, _ in lines) > 20


def test_the_engine_is_right_on_random_scenes_and_its_instruction_set_is_put_back(engine):
    usual = engine.backends.instruction_set("cpu")
    names = engine.backends.cpu_instruction_sets()
    found = engine.measure(25, 5, names)
    assert set(found["instruction_sets"]) == set(names)
    assert found["rays"] > 25
    assert found["worst_pixel"] < 1e-4
    assert engine.backends.instruction_set("cpu") == usual


def test_an_engine_that_is_wrong_is_counted_and_exits_with_1(engine, monkeypatch, tmp_path, capsys):
    real = engine.project

    def wrong(volume, *arguments, **options):
        shot = real(volume, *arguments, **options)
        shot.line_integral[0] *= np.float32(1 + 1e-3 * (volume.array.shape[0] % 2))
        return shot

    monkeypatch.setattr(engine, "project", wrong)
    monkeypatch.setattr(engine.backends, "cpu_instruction_sets", lambda: ("baseline",))
    monkeypatch.setattr(sys, "argv", ["scenes.py", "--scenes", "12", "--json", str(tmp_path / "found.json")])
    odd = [number for number in range(12) if engine.draw(1, number).scene.volume.array.shape[0] % 2]
    assert 0 < len(odd) < 12
    assert engine.main() == 1
    assert "WRONG" in capsys.readouterr().out
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["numbers_of_those"] == odd
    assert found["scenes_above"] == sum(found["scenes_above_by_kind"].values()) == len(odd)
    assert found["worst_pixel"] == pytest.approx(1e-3, rel=0.01)


def test_rays_along_a_face_are_left_out_and_counted(engine, monkeypatch):
    drawn = engine.draw(1, 0)
    counts = np.ones(drawn.truth.shape, bool)
    counts[0] = False
    spoilt = drawn.truth.copy()
    spoilt[0] = 1e9
    monkeypatch.setattr(engine, "draw", lambda seed, number: drawn._replace(truth=spoilt, counts=counts))
    found = engine.measure(2, 1, ("baseline",))
    assert found["rays_along_a_face_left_out"] == 2 * drawn.truth.shape[1]
    assert found["scenes_above"] == 0


def test_the_docstring_of_project_says_what_the_figures_say(bench):
    summary = bench("scenes_summary")
    found = json.loads((BENCH / "scenes.json").read_text(encoding="utf-8"))
    said = (
        f"in {found['scenes']:,} random scenes of small images {found['scenes_above']:,} did on the C++ engine, the "
        f"worst with {summary.short(found['worst_relative_l2'])}"
    )
    assert said in " ".join((drrproj.project.__doc__ or "").split())
