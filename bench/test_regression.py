"""Small, right answers, timed: `python -m pytest bench` compares this machine with itself from commit to commit.

The ordinary test run does not come here. `--benchmark-save` and `--benchmark-compare` keep and compare.
"""

from __future__ import annotations

import answers
import cases
import phantom
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from drrproj import Geometry, LabelVolume, Projector, Volume, attenuation, backends
from drrproj.threads import default_threads

SIZE, DETECTOR = (160, 160, 128), (160, 160)
ENGINES = [name for name in ("cpu", "numba") if backends.why_unavailable(name) is None]
DIRECTIONS = ("AP cone", "AP parallel", "lateral", "cranio-caudal", "oblique 45/25 rolled 40", "random pose 1")


@pytest.fixture(scope="module")
def noise() -> Volume:
    return Volume(phantom.noise(SIZE), phantom.affine(SIZE), unit="1/mm")


@pytest.fixture(scope="module")
def chest() -> tuple[Volume, LabelVolume]:
    hu, labels = phantom.chest(SIZE)
    return Volume(hu, phantom.affine(SIZE)), LabelVolume(labels, phantom.affine(SIZE))


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def run_right(benchmark: BenchmarkFixture, case: cases.Case) -> None:
    answer = answers.check(case, answers.run(case))
    assert not answer.wrong
    benchmark.extra_info["relative_l2"] = answer.relative_l2
    benchmark(answers.run, case)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_float32_from_every_direction(benchmark: BenchmarkFixture, noise: Volume, engine: str, direction: str) -> None:
    view = dict(cases.directions(noise, DETECTOR))[direction]
    run_right(benchmark, cases.Case(direction, noise, view, default_threads(), backend=engine))


@pytest.mark.parametrize("output", ["line_integral", "path_length", "mask"])
def test_int16_hu_and_labels(
    benchmark: BenchmarkFixture, chest: tuple[Volume, LabelVolume], engine: str, output: cases.Output
) -> None:
    ct, labels = chest
    view = dict(cases.directions(ct, DETECTOR))["AP cone"]
    outputs: tuple[cases.Output, ...] = ("line_integral",) if output == "line_integral" else ("line_integral", output)
    anatomy, model = (None if output == "line_integral" else labels), attenuation.bilinear(60)
    run_right(benchmark, cases.Case(output, ct, view, default_threads(), anatomy, outputs, model, engine))


def test_twelve_views_in_one_call(benchmark: BenchmarkFixture, noise: Volume, engine: str) -> None:
    views = [view for name, view in cases.directions(noise, DETECTOR) if name.startswith("random pose")]
    run_right(benchmark, cases.Case("many", noise, Geometry.concatenate(views), default_threads(), backend=engine))


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
