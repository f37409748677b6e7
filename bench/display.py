"""Measures what grey levels cost beside the projection they come from, after checking them against the formula.

    python bench/display.py --json display.json      the real thing, some seconds
    python bench/display.py --quick                  a small volume: are the levels right?

Each display takes turns with the projection, so that whatever else the machine does meets both; the bound is a ratio
of medians. A missed bound is printed and no more, because machines are noisy; a wrong level is the exit code 1.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import machine
import numpy as np
import numpy.typing as npt
import phantom
import report
from turns import duration_ms

from drrproj import Display, Geometry, Projector, Volume
from drrproj.threads import default_threads

FULL, QUICK = (512, 512, 400), (96, 96, 72)
BOUND = 0.10
"""A display without CLAHE takes at most this share of the projection's time."""

Image = npt.NDArray[np.float32]
DISPLAYS: dict[str, Callable[[Image], Display]] = {
    "fixed window, 16 bits": lambda image: Display(0.0, 8.0),
    "percentiles, 16 bits": Display.fit,
    "percentiles, transmission, inverted, 8 bits": lambda image: Display.fit(
        image, quantity="transmission", inverted=True, bits=8
    ),
}


def main() -> int:
    """Measure, print, write; return 1 when a level was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small volume and few calls; the bound is not judged")
    parser.add_argument("--threads", type=int, metavar="N", help="default: every core this process may use")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    arguments = parser.parse_args()
    size = QUICK if arguments.quick else FULL
    threads = default_threads() if arguments.threads is None else arguments.threads

    made_on = machine.describe()
    print(report.opening(made_on))
    ct = Volume(phantom.noise_hu(size), phantom.affine(size))
    detector = (size[0], size[0])
    view = Geometry.radiograph("AP", ct, shape=detector)
    projector = Projector(ct, threads=threads)
    image = _projected(projector, view)
    wrong = [f"WRONG: {name}: {what}" for name, choose in DISPLAYS.items() for what in _wrong(choose(image), image)]
    rows = _measured(projector, view, image, rounds=3 if arguments.quick else 25)
    print(f"{' x '.join(map(str, size))} int16 voxels to {detector[0]} x {detector[1]} pixels, {threads} threads")
    for row in rows:
        met = "" if arguments.quick or row["share"] is None else ("  met" if row["share"] <= BOUND else "  MISSED")
        share = "" if row["share"] is None else f"{100 * row['share']:6.1f} % of the projection"
        print(f"{row['what']:45} {row['ms']:8.2f} ms {share}{met}")
    if arguments.json:
        figures = {"machine": made_on, "size": size, "threads": threads, "bound": BOUND, "rows": rows}
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print("\n".join(wrong or [f"the levels of {len(DISPLAYS)} displays are right"]))
    return 1 if wrong else 0


def _projected(projector: Projector, view: Geometry) -> Image:
    image = projector.project(view).line_integral
    assert image is not None
    only: Image = image[0]
    return only


def _wrong(display: Display, image: Image) -> list[str]:
    """What a display does that its record, read as a formula in float64, does not say."""
    record = display.as_record()
    value = image.astype(np.float64)
    if record["quantity"] == "transmission":
        value = np.exp(-value)
    maximum = 2 ** record["bits"] - 1
    exact = np.clip((value - record["low"]) / (record["high"] - record["low"]), 0, 1) * maximum
    if record["inverted"]:
        exact = maximum - exact
    off = float(np.abs(display.levels(image) - exact).max())
    # Half a level, and the float32 in which it is computed.
    return [f"levels are off by {off:.3f}"] if off > 0.5 + 2e-6 * maximum else []


def _measured(projector: Projector, view: Geometry, image: Image, rounds: int) -> list[dict[str, Any]]:
    shown: dict[str, list[float]] = {name: [] for name in DISPLAYS}
    projections: list[float] = []
    for _ in range(rounds):
        for name, choose in DISPLAYS.items():
            projections.append(duration_ms(partial(projector.project, view)))
            shown[name].append(duration_ms(partial(_shown, choose, image)))
    projecting = statistics.median(projections)
    return [{"what": "the projection", "ms": round(projecting, 3), "share": None}] + [
        {
            "what": name,
            "ms": round(statistics.median(times), 3),
            "share": round(statistics.median(times) / projecting, 4),
        }
        for name, times in shown.items()
    ]


def _shown(choose: Callable[[Image], Display], image: Image) -> object:
    return choose(image).levels(image)


if __name__ == "__main__":
    raise SystemExit(main())
