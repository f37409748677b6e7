"""Small, right answers, timed: `python -m pytest bench` compares this machine with itself from commit to commit.

The ordinary test run does not come here. `--benchmark-save` and `--benchmark-compare` keep and compare.
"""

from __future__ import annotations

from dataclasses import replace

import answers
import cases
import phantom
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from drrproj import Geometry, LabelVolume, Projector, Volume, attenuation, backends
from drrproj.threads import default_threads

SIZE, DETECTOR = (160, 160, 128), (160, 160)
ENGINES = [name for name in ("cpu", "numba") if backends.why_unavailable(name) is None]


@pytest.fixture(scope="module")
def patient() -> cases.Patient:
    return cases.patient(SIZE)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def run_right(benchmark: BenchmarkFixture, case: cases.Case) -> None:
    answer = answers.check(case, answers.run(case))
    assert not answer.wrong
    benchmark.extra_info["relative_l2"] = answer.relative_l2
    benchmark(answers.run, case)


def case_from(direction: str, volume: Volume, engine: str) -> cases.Case:
    view = dict(cases.directions(volume, DETECTOR))[direction]
    model = attenuation.bilinear(60) if volume.unit == "HU" else None
    return cases.Case(direction, volume, view, default_threads(), attenuation=model, backend=engine)


@pytest.mark.parametrize("storage", cases.Patient._fields)
@pytest.mark.parametrize("direction", cases.FEW)
def test_one_view(
    benchmark: BenchmarkFixture, patient: cases.Patient, engine: str, direction: str, storage: str
) -> None:
    run_right(benchmark, case_from(direction, getattr(patient, storage), engine))


@pytest.mark.parametrize("storage", cases.Patient._fields)
@pytest.mark.parametrize("direction", cases.FEW)
def test_twelve_views(benchmark: BenchmarkFixture, patient: cases.Patient, direction: str, storage: str) -> None:
    # By the fastest engine alone: Numba's loop over views is that of one view, at seconds per call.
    case = case_from(direction, getattr(patient, storage), ENGINES[0])
    run_right(benchmark, replace(case, geometry=Geometry.concatenate([case.geometry] * cases.MANY)))


@pytest.mark.parametrize("direction", ["AP parallel", "cranio-caudal"])
def test_other_directions(benchmark: BenchmarkFixture, patient: cases.Patient, engine: str, direction: str) -> None:
    run_right(benchmark, case_from(direction, patient.noise, engine))


def test_twelve_random_poses(benchmark: BenchmarkFixture, patient: cases.Patient) -> None:
    poses = Geometry.concatenate(cases.random_poses(patient.noise, DETECTOR, cases.MANY))
    run_right(benchmark, cases.Case("poses", patient.noise, poses, default_threads(), backend=ENGINES[0]))


@pytest.mark.parametrize("output", cases.OF_LABELS.values())
def test_labels(benchmark: BenchmarkFixture, patient: cases.Patient, engine: str, output: cases.Output) -> None:
    labels = LabelVolume(phantom.labels(SIZE), patient.hu.affine)
    case = case_from("AP cone", patient.hu, engine)
    run_right(benchmark, replace(case, labels=labels, outputs=("line_integral", output)))


def test_overhead_of_a_call(benchmark: BenchmarkFixture, engine: str) -> None:
    tiny = Volume(phantom.noise((8, 8, 8)), phantom.affine((8, 8, 8)), unit="1/mm")
    view = dict(cases.directions(tiny, (8, 8)))["AP cone"]
    run_right(benchmark, cases.Case("tiny", tiny, view, 1, backend=engine))


def test_overhead_of_a_call_of_what_was_prepared(benchmark: BenchmarkFixture, engine: str) -> None:
    tiny = Volume(phantom.noise((8, 8, 8)), phantom.affine((8, 8, 8)), unit="1/mm")
    view = dict(cases.directions(tiny, (8, 8)))["AP cone"]
    projector = Projector(tiny, threads=1, backend=engine)
    assert not answers.check(cases.Case("tiny", tiny, view, 1, backend=engine), projector.project(view)).wrong
    benchmark(projector.project, view)
