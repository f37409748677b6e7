"""Random scenes of small images: what counts as missed, what moved rays excuse, and which scenes they are."""

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
    if engine.backends.why_unavailable("numba") is None:
        names += ("numba",)
    found = engine.measure(25, 5, names)
    assert set(found["engines"]) == set(names)
    assert found["rays"] > 25
    assert found["worst_pixel"] < 1e-4
    assert found["with_rays_moved"]["worst_relative_l2"] < 2e-6
    assert found["with_rays_moved"]["worst_pixel"] < 1e-4
    assert engine.backends.instruction_set("cpu") == usual


def test_an_engine_that_is_wrong_is_counted_and_exits_with_1(engine, monkeypatch, tmp_path, capsys):
    real = engine.project

    def wrong(volume, *arguments, **options):
        shot = real(volume, *arguments, **options)
        shot.line_integral[0] *= np.float32(1 + 1e-3 * (volume.array.shape[0] % 2))
        return shot

    monkeypatch.setattr(engine, "project", wrong)
    monkeypatch.setattr(engine.backends, "cpu_instruction_sets", lambda: ("baseline",))
    monkeypatch.setattr(engine.backends, "why_unavailable", lambda name: "not asked for")
    monkeypatch.setattr(sys, "argv", ["scenes.py", "--scenes", "12", "--json", str(tmp_path / "found.json")])
    odd = [number for number in range(12) if engine.draw(1, number).scene.volume.array.shape[0] % 2]
    assert 0 < len(odd) < 12
    assert engine.main() == 1
    assert "WRONG" in capsys.readouterr().out
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["numbers_of_those"] == odd
    assert found["with_rays_moved"]["numbers_of_those"] == odd
    assert found["scenes_above"] == sum(found["scenes_above_by_kind"].values()) == len(odd)
    assert found["worst_pixel"] == pytest.approx(1e-3, rel=0.01)
    assert found["with_rays_moved"]["worst_pixel"] == pytest.approx(1e-3, rel=0.01)


def one_ray(scenes, beam, first, last, values=(1.0, 3.0)):
    """A scene of one pixel whose ray runs from point to point, in voxels, between two halves that differ along y."""
    affine = np.array([[0.5, 0.1, 0, -20], [0, -2, 0.3, 7], [0, 0, 3, 100], [0, 0, 0, 1.0]])
    mu = np.repeat(values, 2)[None, :, None] * np.ones((8, 1, 3))
    start, end = (affine @ (*point, 1.0) for point in (first, last))
    view = np.zeros((4, 4))
    view[:, 0] = start if beam == "cone" else start - end
    view[:, 1], view[2, 2], view[1, 3] = end, 1, 1
    scene = scenes.Scene("", drrproj.Volume(mu, affine, unit="1/mm"), None, mu, drrproj.Geometry(view[None], (1, 1)))
    truth = scenes.reference.line_integrals(mu, affine, view, np.array([[0, 0]])).reshape(1, 1)
    return scenes.Drawn(scene, truth, 0)


@pytest.mark.parametrize("beam", ["cone", "parallel"])
@pytest.mark.parametrize(
    ("first", "last", "error", "is_excused"),
    [
        ((-3, 1.5 + 1e-8, 1.2), (9, 1.5 + 1e-8, 1.2), -0.5, True),  # in a face: the half of the other side too
        ((-3, 1.5 + 1e-8, 1.2), (9, 1.5 + 1e-8, 1.2), -0.7, False),  # no side has that
        ((-3, 1.5 + 1e-8, 1.2), (9, 1.5 + 1e-8, 1.2), 0.1, False),
        ((-3, 1.5 + 6e-7, 1.2), (9, 1.5 + 6e-7, 1.2), -0.5, False),  # farther off than rays are moved
        ((-3, 1.5 - 3e-6, 1.2), (9, 1.5 + 3e-6, 1.2), 0.11, True),  # at 5e-7 a voxel it crosses one voxel later
        ((-3, 1.5 - 3e-6, 1.2), (9, 1.5 + 3e-6, 1.2), 0.13, False),
        ((-3, 1.2, 1.2), (9, 1.4, 1.3), 1e-5, False),  # grazes nothing
        ((-3, 3.5 - 1e-8, 1.2), (9, 3.5 - 1e-8, 1.2), -1.0, True),  # the outermost face: nothing is beyond
    ],
)
def test_an_error_is_excused_as_far_as_a_ray_close_by_has_it(scenes, beam, first, last, error, is_excused):
    drawn = one_ray(scenes, beam, first, last)
    image = drawn.truth * (1 + error)
    lowest, highest = scenes._of_moved_rays(drawn, image != drawn.truth)
    left = scenes._error(image - np.clip(image, lowest, highest), drawn.truth)
    assert scenes._error(image - drawn.truth, drawn.truth).is_above == (abs(error) > 2e-6)
    assert left.is_above != is_excused


def test_what_is_no_number_is_above_every_bound(scenes):
    assert scenes.Error(np.nan, 0.0).is_above
    assert scenes.Error(0.0, np.nan).is_above


def test_the_docstring_of_project_says_what_the_figures_say(bench):
    summary = bench("scenes_summary")
    found = json.loads((BENCH / "scenes.json").read_text(encoding="utf-8"))
    worst, pixel = (summary.short(found[key]) for key in ("worst_relative_l2", "worst_pixel"))
    said = (
        f"in {found['scenes']:,} random scenes of small images {found['scenes_above']:,} did on the C++ engine or "
        f"Numba, the worst with {worst}, and {pixel} in a pixel"
    )
    assert said in " ".join((drrproj.project.__doc__ or "").split())
