"""Backends: each can be chosen, says why it cannot run, and gives the others' answers."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import oracle
import phantoms
import pytest
from instruction_sets import forced

from drrproj import BackendUnavailable, Geometry, LabelVolume, Projector, Volume, backends, project

SHAPE, DETECTOR = (31, 27, 35), (37, 53)


def scene():
    rng = np.random.default_rng(90)
    affine = phantoms.random_affine(rng, SHAPE)
    ct = Volume(phantoms.noise(rng, SHAPE, np.int16), affine)
    labels = LabelVolume(rng.integers(0, 12, SHAPE).astype(np.uint8), affine)
    views = [phantoms.random_view(rng, SHAPE, affine, DETECTOR, beam) for beam in ("cone", "parallel", "cone")]
    return ct, Geometry(views, DETECTOR), labels


@pytest.mark.parametrize("threads", [2, 3, 7, 64])
def test_any_number_of_threads_gives_the_same_bits(backend, threads):
    ct, geometry, labels = scene()
    one = project(ct, geometry, labels=labels, backend=backend, threads=1)
    many = project(ct, geometry, labels=labels, backend=backend, threads=threads)
    assert one.line_integral.tobytes() == many.line_integral.tobytes()
    assert one.path_length.array.tobytes() == many.path_length.array.tobytes()
    assert one.masks.packed.tobytes() == many.masks.packed.tobytes()


def test_paths_with_gaps_that_only_some_rays_see_do_not_depend_on_threads(backend):
    # One label before and behind a gap of whole blocks, which holds another label for a few of the rays.
    labels = np.zeros((24, 160, 24), np.uint8)
    labels[:, 3:32] = labels[:, 128:157] = 1
    labels[:4, 70:90, :4] = 2
    volume = LabelVolume(labels, np.diag([0.7, 0.9, 1.3, 1.0]))
    ct = Volume(np.zeros(labels.shape, np.float32), volume.affine, unit="1/mm")
    view = Geometry.radiograph("AP", ct, shape=(64, 72))
    one, many = (project(ct, view, labels=volume, backend=backend, threads=threads) for threads in (1, 64))
    assert one.path_length.array.tobytes() == many.path_length.array.tobytes()


def test_the_same_call_twice_gives_the_same_bits(backend):
    ct, geometry, labels = scene()
    first, second = (project(ct, geometry, labels=labels, backend=backend) for _ in range(2))
    assert first.line_integral.tobytes() == second.line_integral.tobytes()
    assert first.path_length.array.tobytes() == second.path_length.array.tobytes()
    assert first.masks.packed.tobytes() == second.masks.packed.tobytes()


def test_every_backend_gives_the_answer_of_the_others(backend):
    ct, geometry, labels = scene()
    shot = project(ct, geometry, labels=labels, backend=backend)
    for name in backends.NAMES:
        if backends.why_unavailable(name) is None:
            other = project(ct, geometry, labels=labels, backend=name)
            oracle.assert_exact(shot.line_integral, other.line_integral.astype(float))
            oracle.assert_exact_paths(shot.path_length.array, other.path_length.array.astype(float))
            differ = shot.masks.array != other.masks.array
            assert (shot.path_length.array[differ] < 1e-3).all()


def test_a_backend_writes_only_into_arrays_that_fit(backend):
    ct, geometry, _ = scene()
    engine = backends.choose(backend)[1]
    no_labels = dict.fromkeys(("labels", "labels_voxel_from_world", "labels_world_from_voxel"))
    prepared = engine.prepare(
        volume=ct.array,
        volume_voxel_from_world=ct.voxel_from_world,
        volume_world_from_voxel=ct.affine,
        knots=(),
        heights=(),
        slopes=(),
        **no_labels,
        values=(),
        first_value=(0,),
        value_indices=(),
        min_path_mm=(),
    )
    image = np.zeros((len(geometry), *DETECTOR), np.float32)
    for outputs, error, message in (
        ({"path_length": image[:0, None]}, ValueError, "cannot be made from what was prepared"),
        ({"line_integral": image[1:]}, ValueError, "has another shape"),
        ({"line_integral": image.astype(np.float64)}, TypeError, "must be a contiguous array of its type"),
        ({"line_integral": image[:, ::-1]}, TypeError, "must be a contiguous array of its type"),
    ):
        with pytest.raises(error, match=message):
            engine.trace(prepared, geometry.views, DETECTOR, outputs, 1)
    assert not image.any()


def test_labels_of_8_bits_have_no_more_values_than_their_codes(backend):
    """Their codes have 8 bits too: read as wider ones they would end in somebody else's memory."""
    engine = backends.choose(backend)[1]
    labels = LabelVolume(np.ones(SHAPE, np.uint8), np.eye(4))

    def prepared(count, dtype):
        return engine.prepare(
            volume=None,
            volume_voxel_from_world=None,
            volume_world_from_voxel=None,
            knots=(),
            heights=(),
            slopes=(),
            labels=labels.array.astype(dtype),
            labels_voxel_from_world=labels.voxel_from_world,
            labels_world_from_voxel=labels.affine,
            values=range(1, count + 1),
            first_value=(0, 1),
            value_indices=(0,),
            min_path_mm=(0.0,),
        )

    view = Geometry.parallel((0, 0, -1), (15, 13, 50), (0, 1, 0), (1, 0, 0), (1, 1))
    for count, dtype in ((255, np.uint8), (255, np.int8), (256, np.uint16), (256, np.int64)):
        path = np.zeros((1, 1, 1, 1), np.float32)
        engine.trace(prepared(count, dtype), view.views, (1, 1), {"path_length": path}, 1)
        assert path == pytest.approx(SHAPE[2])
    if backend == "numba":  # which has no codes
        return
    for dtype in (np.uint8, np.int8):
        with pytest.raises(ValueError, match="labels of 8 bits hold up to 255 values; got 256"):
            prepared(256, dtype)


def test_more_label_values_than_a_large_tile_may_collect_give_the_same_paths(backend):
    rng = np.random.default_rng(91)
    affine = np.diag([0.9, 1.1, 0.7, 1.0])
    labels = rng.integers(1, 6000, SHAPE).astype(np.uint16)
    ct = Volume(np.zeros(SHAPE, np.float32), affine, unit="1/mm")
    geometry = Geometry([phantoms.random_view(rng, SHAPE, affine, DETECTOR, "cone")], DETECTOR)
    shot = project(ct, geometry, labels=LabelVolume(labels, affine), outputs=("path_length",), backend=backend)
    some = shot.path_length.label_ids[::500]
    truth = oracle.path_length_images(labels, affine, geometry.views, DETECTOR, some)
    oracle.assert_exact_paths(np.stack([shot.path_length[label_id] for label_id in some]), truth)


@pytest.mark.parametrize("name", backends.NAMES)
def test_a_backend_runs_or_says_why_it_cannot(name):
    reason = backends.why_unavailable(name)
    ct, geometry, _ = scene()
    if reason is None:
        assert project(ct, geometry[0], backend=name).backend == name
        return
    with pytest.raises(BackendUnavailable, match=name) as refusal:
        project(ct, geometry[0], backend=name)
    assert reason in str(refusal.value)
    pytest.skip(f"{name}: {reason}")


def test_auto_takes_the_first_backend_that_can_run_and_says_which():
    first = next(name for name in ("cpu", "numba") if backends.why_unavailable(name) is None)
    ct, geometry, _ = scene()
    shot = project(ct, geometry[0])
    assert shot.backend == first
    assert shot.line_integral.tobytes() == project(ct, geometry[0], backend=first).line_integral.tobytes()


def hide(monkeypatch, *names):
    """Let these backends look as they do where they are not installed."""
    for name in names:
        monkeypatch.setitem(sys.modules, backends._MODULES[name], None)


def test_a_backend_that_is_not_there_is_never_replaced_by_another(monkeypatch):
    ct, geometry, _ = scene()
    hide(monkeypatch, *backends.NAMES)
    for name in backends.NAMES:
        with pytest.raises(BackendUnavailable, match=f"backend '{name}' is not available: (?!{name}: )"):
            project(ct, geometry[0], backend=name)
    with pytest.raises(BackendUnavailable, match=r"no backend is available: cpu: .*; numba: "):
        project(ct, geometry[0])


@pytest.mark.skipif(backends.why_unavailable("numba") is not None, reason="Numba is not installed")
def test_auto_says_when_only_numba_is_left(monkeypatch):
    ct, geometry, _ = scene()
    hide(monkeypatch, "cuda", "cpu")
    for call in (lambda: project(ct, geometry[0]), lambda: Projector(ct).project(geometry[0])):
        with pytest.warns(RuntimeWarning, match="slower Numba backend.*compile") as warned:
            shot = call()
        assert shot.backend == "numba"
        assert [warning.filename for warning in warned] == [__file__]


def test_an_unknown_backend_has_no_reason_to_be_missing():
    with pytest.raises(ValueError, match="unknown backend 'metal'"):
        backends.why_unavailable("metal")


def test_the_instruction_set_that_ran_is_in_the_record(backend):
    ct, geometry, _ = scene()
    record = project(ct, geometry[0], backend=backend).record["backend"]
    assert record["instruction_set"] == backends.instruction_set(backend)
    assert (record["instruction_set"] in backends.cpu_instruction_sets()) == (backend == "cpu")


def run_with(environment, code, folder):
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DRRPROJ_")}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class TestInstructionSets:
    """Only where the CPU backend is compiled."""

    @pytest.fixture(autouse=True)
    def _compiled(self):
        reason = backends.why_unavailable("cpu")
        if reason:
            pytest.skip(f"cpu: {reason}")

    def test_the_baseline_runs_everywhere_and_comes_last(self):
        assert backends.cpu_instruction_sets()[-1] == "baseline"

    def test_one_that_is_not_there_is_refused_and_changes_nothing(self):
        before = backends.instruction_set("cpu")
        with pytest.raises(ValueError, match=r"'sse9'|sse9"):
            backends.use_instruction_set("sse9")
        assert backends.instruction_set("cpu") == before

    @pytest.mark.parametrize("name", backends.cpu_instruction_sets())
    def test_one_that_is_forced_gives_way_to_the_one_before(self, name):
        with forced(name):
            for other in backends.cpu_instruction_sets():
                with forced(other):
                    assert backends.instruction_set("cpu") == other
                assert backends.instruction_set("cpu") == name

    @pytest.mark.parametrize("name", backends.cpu_instruction_sets())
    def test_the_environment_chooses_one_at_load(self, name, tmp_path):
        code = "from drrproj import backends; print(backends.instruction_set('cpu'))"
        done = run_with({"DRRPROJ_ISA": name}, code, tmp_path)
        assert (done.stdout.strip(), done.returncode) == (name, 0), done.stderr

    def test_the_best_one_is_used_when_the_environment_is_silent(self, tmp_path):
        code = "from drrproj import backends; print(backends.instruction_set('cpu'))"
        done = run_with({}, code, tmp_path)
        assert done.stdout.strip() == backends.cpu_instruction_sets()[0], done.stderr

    def test_an_unknown_one_in_the_environment_is_refused_with_the_known_ones(self, tmp_path):
        code = (
            "import numpy as np, drrproj\n"
            "ct = drrproj.Volume(np.zeros((4, 4, 4)), np.eye(4))\n"
            "drrproj.project(ct, drrproj.Geometry.radiograph('PA', ct, shape=(4, 4)), backend='cpu')"
        )
        done = run_with({"DRRPROJ_ISA": "sse9"}, code, tmp_path)
        assert done.returncode == 1
        assert "'sse9'" in done.stderr.splitlines()[-1]
        assert ", ".join(backends.cpu_instruction_sets()) in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("variable", ["DRRPROJ_NUM_THREADS", "OMP_NUM_THREADS"])
def test_the_environment_sets_the_number_of_threads(variable, monkeypatch):
    monkeypatch.delenv("DRRPROJ_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    ct, geometry, _ = scene()
    monkeypatch.setenv(variable, "3")
    name = next(name for name in ("cpu", "numba") if backends.why_unavailable(name) is None)
    assert project(ct, geometry[0], backend=name).record["backend"]["threads"] == 3
    monkeypatch.setenv(variable, "none")
    with pytest.raises(ValueError, match=f"{variable} must be a positive whole number; got 'none'"):
        project(ct, geometry[0], backend=name)
    monkeypatch.setenv(variable, "70000")
    with pytest.raises(ValueError, match=f"{variable} must be at most 65535; got '70000'"):
        project(ct, geometry[0], backend=name)
