"""Measures turning paths through materials into an image, after checking that the answers are right.

    python bench/rendering.py                    the real thing, half a minute
    python bench/rendering.py --quick            small images: are the answers right?

Times are medians of calls. A missed bound is printed and no more, because machines are noisy; a wrong answer is the
exit code 1.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import machine
import numpy as np

from drrproj import physics
from drrproj.materials import material
from drrproj.threads import default_threads

# Mass per cm2 of a thick patient with an implant.
MATERIALS = {"water": 30.0, "bone_cortical_ICRU44": 8.0, "adipose_ICRU44": 10.0, "lung_ICRU44": 5.0, "titanium": 2.0}
BEAM = physics.tungsten(120, {"aluminium": 4.3})
DETECTOR = physics.Detector("energy", "CsI", 0.6)
DOSE = physics.Exposure(photons_per_pixel=5000)
MOST_RELATIVE_ERROR = 1e-5


class Row(NamedTuple):
    """One figure: what was measured, how long it took, what it may take at most, and how wrong it was."""

    name: str
    threads: int
    milliseconds: list[float]
    most_milliseconds: float | None
    relative_error: float | None

    def as_record(self) -> dict[str, Any]:
        """Plain values, with the verdict."""
        median = statistics.median(self.milliseconds)
        is_met = None if self.most_milliseconds is None else median <= self.most_milliseconds
        return {**self._asdict(), "median": median, "is_met": is_met}


def main() -> int:
    """Measure, print, write; return 1 when an answer was wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small image and few calls; bounds are not judged")
    parser.add_argument("--threads", type=int, metavar="N", help="default: every core this process may use")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    arguments = parser.parse_args()
    side, repeats = (128, 3) if arguments.quick else (1024, 15)
    threads = default_threads() if arguments.threads is None else arguments.threads

    made_on = machine.describe()
    print(f"{made_on['cpu']}, {made_on['cores']} cores, load {made_on['load_before']}")
    print(f"{side} x {side} pixels, {len(MATERIALS)} materials, {len(BEAM.energies_kev)} bins of 1 keV\n")
    rng = np.random.default_rng(7)
    mass = rng.random((len(MATERIALS), 1, side, side)) * np.array(list(MATERIALS.values()))[:, None, None, None]
    paths = physics.MaterialPaths(mass, tuple(map(material, MATERIALS)))
    signal = physics.polychromatic(paths, BEAM, DETECTOR, threads=threads)

    rows = [
        Row(
            "polychromatic image",
            count,
            timed(lambda: physics.polychromatic(paths, BEAM, DETECTOR, threads=count), repeats),  # noqa: B023
            300.0 if count == 2 and not arguments.quick else None,
            worst_error(paths, physics.polychromatic(paths, BEAM, DETECTOR, threads=count)),
        )
        for count in sorted({1, 2, threads})
    ]
    noise = timed(lambda: physics.acquire(signal, exposure=DOSE, seed=1, electronic_noise=2), repeats)
    rows.append(Row("quantum and electronic noise", 1, noise, None, None))

    print(f"{'':<30} {'threads':>7} {'ms':>7} {'min':>7} {'max':>7} {'bound':>7} {'worst error':>12}")
    for row in rows:
        record = row.as_record()
        bound = "" if row.most_milliseconds is None else f"{row.most_milliseconds:g}"
        error = "" if row.relative_error is None else f"{row.relative_error:.0e}"
        verdict = {True: "PASS", False: "FAIL", None: ""}[record["is_met"]]
        print(
            f"{row.name:<30} {row.threads:>7} {record['median']:>7.0f} {min(row.milliseconds):>7.0f} "
            f"{max(row.milliseconds):>7.0f} {bound:>7} {error:>12} {verdict}"
        )
    if arguments.json:
        figures = {"machine": made_on, "side": side, "rows": [row.as_record() for row in rows]}
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    wrong = [row for row in rows if row.relative_error is not None and not row.relative_error <= MOST_RELATIVE_ERROR]
    for row in wrong:
        print(
            f"WRONG: {row.name} with {row.threads} threads: {row.relative_error:.1e}, more than {MOST_RELATIVE_ERROR}"
        )
    if not wrong:
        print(f"all transmissions are within {MOST_RELATIVE_ERROR:g} of the plain sum in float64")
    return 1 if wrong else 0


def timed(task: Callable[[], object], repeats: int) -> list[float]:
    """Return the milliseconds of each call."""
    milliseconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        task()
        milliseconds.append(1e3 * (time.perf_counter() - start))
    return milliseconds


def worst_error(paths: physics.MaterialPaths, signal: physics.Signal) -> float:
    """Return the largest relative error of a transmission, against the formula summed in float64, row by row."""
    energies = BEAM.energies_kev
    attenuation = np.stack([each.mass_attenuation(energies) for each in paths.materials])
    response = BEAM.fluence * DETECTOR.absorption(energies) * DETECTOR.gain(energies)
    worst = 0.0
    for row in range(signal.line_integral.shape[1]):
        exponents = np.einsum("mc,me->ce", paths.areal_density[:, 0, row].astype(np.float64), attenuation)
        expected = np.exp(-exponents) @ response / response.sum()
        found = np.exp(-signal.line_integral[0, row].astype(np.float64))
        worst = max(worst, float(np.abs(found / expected - 1).max()))
    return worst


if __name__ == "__main__":
    raise SystemExit(main())
