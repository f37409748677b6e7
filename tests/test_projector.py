"""Projector: what project() gives, again and again, from what was prepared once."""

from __future__ import annotations

import importlib
import pickle

import numpy as np
import phantoms
import pytest

from drrproj import Geometry, LabelVolume, Projector, Volume, attenuation, backends, project

SHAPE = (20, 16, 24)
AFFINE = phantoms.affine_around(np.array([5.0, -3.0, 90.0]), np.diag([2.0, 2.0, 3.0]), SHAPE)
RNG = np.random.default_rng(110)
CT = Volume(phantoms.noise(RNG, SHAPE, np.int16), AFFINE)
LABELS = LabelVolume(RNG.integers(0, 5, SHAPE).astype(np.uint8), AFFINE, {3: "heart"})
PA, LL = (Geometry.radiograph(view, CT, shape=(24, 30)) for view in ("PA", "LL"))
BOTH = Geometry.concatenate([PA, LL])
AWAY = Geometry.cone((5, 900, 90), (5, 1500, 90), (0, 0, -1), (-1, 0, 0), shape=(9, 9), names=("away",))


def assert_same(shot, expected):
    assert shot.line_integral.tobytes() == expected.line_integral.tobytes()
    assert shot.images.keys() == expected.images.keys()
    for name in {"path_length", "masks"} & shot.images.keys():
        images, expected_images = shot.images[name], expected.images[name]
        assert list(images) == list(expected_images)
        assert images.array.tobytes() == expected_images.array.tobytes()
    assert shot.geometry is expected.geometry
    assert shot.backend == expected.backend
    assert shot.record == expected.record


@pytest.mark.parametrize("labels", [None, LABELS], ids=["image", "labels"])
def test_every_call_gives_the_bits_and_the_record_of_project(backend, labels):
    choices = {"labels": labels, "attenuation": attenuation.bilinear(60), "backend": backend, "threads": 2}
    projector = Projector(CT, **choices)
    for geometry in (PA, BOTH, LL, PA):
        assert_same(projector.project(geometry), project(CT, geometry, **choices))


def test_a_call_prepares_nothing_and_reads_no_label_ids(backend, monkeypatch):
    engine = importlib.import_module(backends._MODULES[backend])
    prepare, prepared = engine.prepare, []
    monkeypatch.setattr(engine, "prepare", lambda **arrays: prepared.append(1) or prepare(**arrays))
    projector = Projector(CT, labels=LABELS, backend=backend)
    monkeypatch.setattr(LabelVolume, "label_ids", property(lambda labels: pytest.fail("read again")))
    for geometry in (PA, LL, PA):
        projector.project(geometry)
    assert len(prepared) == 1


def test_outputs_are_those_it_was_made_for():
    masks = Projector(CT, labels=LABELS, outputs=["mask"]).project(PA)
    assert list(masks.images) == ["masks"]
    assert masks.record["outputs"] == ["mask"]
    image = Projector(CT, labels=LABELS, outputs=["line_integral"]).project(PA)
    assert "masks" not in image.images
    assert image.record["labels"][0]["names"] == {}


@pytest.mark.parametrize(
    ("volume", "choices", "message"),
    [
        (CT.array, {}, "volume must be a drrproj.Volume"),
        (CT, {"labels": LABELS.array}, "labels must be a drrproj.LabelVolume"),
        (CT, {"labels": LabelVolume(LABELS.array, np.diag([1, 1, 1, 1]))}, "another patient space"),
        (CT, {"labels": LabelVolume(np.full(SHAPE, -5, np.int16), AFFINE)}, "must not be negative"),
        (CT, {"outputs": ["mask"]}, "needs labels"),
        (CT, {"outputs": ["depths"]}, "unknown output"),
        (CT, {"attenuation": "logarithmic"}, "unknown attenuation"),
        (CT, {"attenuation": attenuation.linear}, r"attenuation\.linear is what makes a model; call it: attenuation="),
        (CT, {"attenuation": print}, "unknown attenuation <built-in function print>; there are"),
        (Volume(CT.array, AFFINE, unit="1/mm"), {"attenuation": "linear"}, '1/mm" already'),
        (CT, {"threads": 0}, "threads must be a positive whole number"),
        (CT, {"backend": "opencl"}, "unknown backend"),
    ],
)
def test_what_project_refuses_of_a_volume_is_refused_when_it_is_prepared(volume, choices, message):
    with pytest.raises((TypeError, ValueError), match=message) as refusal:
        Projector(volume, **choices)
    with pytest.raises(type(refusal.value)) as of_project:
        project(volume, PA, **choices)
    assert str(of_project.value) == str(refusal.value)


@pytest.mark.parametrize(
    ("geometry", "message"),
    [
        (PA.views, "geometry must be a drrproj.Geometry; got ndarray"),
        (Geometry.concatenate([Geometry(PA.views, (9, 9)), AWAY]), "'away' misses the volume"),
        (Geometry(PA.views, (2_000_000, 2_000_000)), r"14901\.2 GiB"),
    ],
)
def test_what_project_refuses_of_a_view_is_refused_by_the_call_and_the_next_one_works(geometry, message):
    projector = Projector(CT)
    with pytest.raises((TypeError, ValueError, MemoryError), match=message) as refusal:
        projector.project(geometry)
    with pytest.raises(type(refusal.value)) as of_project:
        project(CT, geometry)
    assert str(of_project.value) == str(refusal.value)
    assert_same(projector.project(PA), project(CT, PA))


def test_infinite_values_are_refused_by_every_call(backend):
    array = np.zeros(SHAPE, np.float32)
    array[10, 8, 12] = np.inf
    projector = Projector(Volume(array, AFFINE), backend=backend)
    for _ in range(2):
        with pytest.raises(ValueError, match="infinite"):
            projector.project(PA)


def test_changing_one_record_changes_no_other():
    projector = Projector(CT, labels=LABELS)
    first, expected = projector.project(PA), project(CT, PA, labels=LABELS).record
    for part in ("versions", "backend", "volume", "labels", "attenuation", "geometry"):
        first.record[part].clear()
    first.record["outputs"].clear()
    assert projector.project(PA).record == expected


def test_one_made_after_its_array_has_changed_sees_the_change(backend):
    array = np.zeros(SHAPE, np.int16)
    before = Projector(Volume(array, AFFINE), backend=backend).project(PA)
    array += 500
    after = Projector(Volume(array, AFFINE), backend=backend).project(PA)
    np.testing.assert_allclose(after.line_integral, 1.5 * before.line_integral, rtol=1e-5)


def test_a_pickled_one_gives_the_same_bits_and_record(backend):
    projector = Projector(CT, labels=LABELS, attenuation="linear", backend=backend, threads=2)
    assert_same(pickle.loads(pickle.dumps(projector)).project(PA), projector.project(PA))


def test_what_the_caller_does_with_its_arguments_afterwards_changes_nothing():
    least, labels = {"heart": 20.0}, [LABELS]
    knots = [-1000.0, 0.0]
    model = attenuation.Attenuation("own", knots, [2e-5, 1e-5], None)
    projector = Projector(CT, labels=labels, attenuation=model, min_path_mm=least)
    before = projector.project(PA)
    least["heart"], knots[1] = 0.0, -500.0
    labels.clear()
    assert_same(projector.project(PA), before)
    assert_same(pickle.loads(pickle.dumps(projector)).project(PA), before)


def test_a_pickled_one_needs_the_backend_it_was_made_for(monkeypatch):
    projector = Projector(CT)
    pickled = pickle.dumps(projector)
    name = projector.project(PA).backend
    monkeypatch.setitem(backends._MODULES, name, "drrproj.backends.nowhere")
    with pytest.raises(backends.BackendUnavailable, match=f"backend '{name}' is not available"):
        pickle.loads(pickled)
