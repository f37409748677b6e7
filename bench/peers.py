"""Measures drrproj beside other projectors: the same voxels, rays and threads, and right answers first.

    python3 -m venv .venv-peers && . .venv-peers/bin/activate
    pip install torch --index-url https://download.pytorch.org/whl/cpu
    pip install ".[test]" plastimatch itk-rtk itk-twoprojectionregistration
    pip install --no-deps diffdrr nanodrr flashdrr diffct
    pip install torchio einops fastcore roma jaxtyping platformdirs numba-cuda

    python bench/peers.py --json peers.json                                    all of it, half an hour
    python bench/peers.py --case small --only plastimatch-exact rtk-joseph

The torch peers come without their dependencies, which would replace the small torch for CPUs by the one with CUDA.

Every peer has a process of its own. Its calls take turns with drrproj's, so that whatever else the machine does meets
both, and medians are compared. Imports, files and whatever a peer prepares once for a volume are outside the time;
where a figure has other terms, its note says so. Peers that are not installed are skipped.

A peer's image is compared with the float64 reference on sampled rays before it is timed. The limit follows from the
peer's model, and an image that is mirrored or moved by a pixel is further off than any limit. A missed target is
printed and no more, because machines are noisy; a wrong answer or a peer that fails is the exit code 1.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import answers
import machine
import numpy as np
import numpy.typing as npt
import peer_process
import peer_work
import reference
from cases import Case
from peer_calls import PEERS
from report import padded

from drrproj import backends
from drrproj.threads import default_threads

FASTER = 1.0
TARGETS = {
    ("plastimatch-exact", "ap"): 10.0,
    ("plastimatch-exact", "around"): 8.0,
    ("plain-numba", "ap"): 5.0,
    ("plain-numba", "around"): 5.0,
}
"""How many times faster than a peer drrproj is to be; faster at all, than those not named."""

RAYS = 256
PATIENCE = 300.0
"""Seconds that a call may be expected to take."""

COLUMNS = ("peer", "version", "ms", "min", "max", "calls", "drrproj", "times", "target", "", "L2", "limit", "note")
WIDTHS = (20, 12, 9, 9, 9, 5, 8, 7, 6, 5, 8, 6, 0)


class Truth(NamedTuple):
    """Sampled pixels of every view, their line integrals, and how far off an image is that is mirrored or moved."""

    pixels: list[npt.NDArray[np.int64]]
    integrals: list[npt.NDArray[np.float64]]
    moved: float

    def relative_l2(self, images: npt.NDArray[np.float32]) -> float:
        """The error of the worst view."""
        errors = [
            np.linalg.norm(image[tuple(at.T)] - truth) / np.linalg.norm(truth)
            for image, at, truth in zip(images, self.pixels, self.integrals, strict=True)
        ]
        # Unlike max(), it does not lose a NaN.
        return float(np.max(errors))


def main() -> int:
    """Measure, print, write; return 1 when an answer was wrong."""
    arguments = _arguments()
    threads = default_threads() if arguments.threads is None else arguments.threads
    made_on = machine.describe()
    print(f"{made_on['cpu']}, {made_on['cores']} cores, {made_on['system']}, load {made_on['load_before']}")
    print(f"drrproj {made_on['versions']['drrproj']}, python {made_on['versions']['python']}, threads: {threads}")
    rows: list[dict[str, Any]] = []
    for case in arguments.case:
        rows += _compare(case, arguments.only, threads, rows)
    made_on["load_after"] = machine.load()
    if arguments.json:
        figures = {"machine": made_on, "settings": {"threads": threads}, "peers": rows}
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(f"\nload of the machine {made_on['load_before']} before and {made_on['load_after']} after")
    bad = [f"{row['problem']}: {row['peer']}, {row['case']}" for row in rows if row["problem"] in ("WRONG", "FAILED")]
    measured = sum(row["milliseconds"] is not None for row in rows)
    print("\n".join(bad or [f"all {measured} answers are right"]))
    return 1 if bad else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sizes = peer_work.SIZES
    parser.add_argument("--case", nargs="+", choices=sizes, default=list(sizes), metavar="NAME", help=", ".join(sizes))
    parser.add_argument("--only", nargs="+", choices=PEERS, default=list(PEERS), metavar="NAME", help=", ".join(PEERS))
    parser.add_argument("--threads", type=int, metavar="N", help="default: every core this process may use")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    return parser.parse_args()


def _compare(case: str, peers: list[str], threads: int, before: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Print and return a row per peer; the rows from ``before`` tell who would take too long."""
    work = peer_work.prepare(case)
    backend = "cpu" if backends.why_unavailable("cpu") is None else "numba"
    ours = Case(case, work.volume, work.geometry, threads, backend=backend)
    shot = answers.run(ours)
    answer = answers.check(ours, shot)
    if answer.wrong:
        raise SystemExit(f"WRONG: drrproj, {case}: {'; '.join(answer.wrong)}")
    truth = _truth(work, shot.line_integral)
    size, detector = (" x ".join(map(str, shape)) for shape in (work.voxels.shape, work.geometry.shape))
    print(f"\n{case}: {size} float32 voxels to {detector} pixels, {len(work.geometry)} views in a call")
    print(
        f"drrproj ({backend} {backends.instruction_set(backend) or ''}) is off by {answer.relative_l2:.0e}; "
        f"an image mirrored or moved by a pixel would be by {truth.moved:.3f} or more"
    )
    print(padded(COLUMNS, WIDTHS))
    rows = []
    for peer in peers:
        expected = _expected_seconds(case, [row for row in before if row["peer"] == peer and row["milliseconds"]])
        if expected > PATIENCE:
            rows.append(_row(case, peer, f"not run: a call would take {expected:.0f} s", note=""))
        else:
            rows.append(_measure(peer, ours, truth))
        print(padded(_cells(rows[-1]), WIDTHS), flush=True)
    return rows


def _expected_seconds(case: str, before: list[dict[str, Any]]) -> float:
    """Time goes with rays and with the voxels along them; 0 where nothing is known."""

    def steps(name: str) -> int:
        size, detector, views = peer_work.SIZES[name]
        return views * math.prod(detector) * sum(size)

    if not before:
        return 0.0
    last = before[-1]
    return float(last["milliseconds"]["median"]) / 1e3 * steps(case) / steps(last["case"])


def _truth(work: peer_work.Work, ours: npt.NDArray[np.float32]) -> Truth:
    """Trace sampled rays in float64; ours, which has been checked, stands for all the others."""
    draw = np.random.default_rng(8)
    rows, columns = work.geometry.shape
    corners = [(0, 0), (0, columns - 1), (rows - 1, 0), (rows - 1, columns - 1)]
    pixels, integrals = [], []
    for view in work.geometry.views:
        anywhere = draw.integers(0, (rows, columns), (RAYS - len(corners), 2))
        pixels.append(np.concatenate([corners, anywhere]))
        integrals.append(reference.line_integrals(work.voxels, work.volume.affine, view, pixels[-1]))
    truth = Truth(pixels, integrals, 0.0)
    wrong = [ours[:, ::-1], ours[:, :, ::-1], *(np.roll(ours, by, axis) for by in (-1, 1) for axis in (1, 2))]
    moved = min(truth.relative_l2(images) for images in wrong)
    highest = max(peer.max_relative_l2 for peer in PEERS.values())
    assert moved > highest, f"no limit of {highest} can tell an image that is moved by a pixel: {moved}"
    return truth._replace(moved=moved)


def _measure(name: str, ours: Case, truth: Truth) -> dict[str, Any]:
    """Check a peer's answer, then time it in turns with ours."""
    try:
        with peer_process.started(name, ours.name, ours.threads) as peer:
            error = truth.relative_l2(peer.images)
            if not error <= PEERS[name].max_relative_l2:
                return _row(ours.name, name, "WRONG", version=peer.version, relative_l2=error)
            theirs, mine = peer.in_turns_with(lambda: answers.run(ours))
    except peer_process.Missing as missing:
        return _row(ours.name, name, f"skipped, no {missing}: pip install {PEERS[name].distribution}", note="")
    except peer_process.Failed as failed:
        return _row(ours.name, name, "FAILED", note=str(failed))
    ratio = theirs["median"] / mine["median"]
    target = None if ours.name == "small" else TARGETS.get((name, ours.name), FASTER)
    return _row(
        ours.name,
        name,
        version=peer.version,
        relative_l2=error,
        milliseconds=theirs,
        drrproj_milliseconds=mine,
        times=ratio,
        target=target,
        verdict=None if target is None else "PASS" if ratio >= target else "FAIL",
    )


def _row(case: str, peer: str, problem: str | None = None, **values: Any) -> dict[str, Any]:
    nothing = dict.fromkeys(
        ("version", "milliseconds", "drrproj_milliseconds", "times", "target", "verdict", "relative_l2")
    )
    known = {"max_relative_l2": PEERS[peer].max_relative_l2, "problem": problem, "note": PEERS[peer].note}
    return {"case": case, "peer": peer, **nothing, **known, **values}


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    error = "" if row["relative_l2"] is None else f"{row['relative_l2']:.1e}"
    limit = f"{row['max_relative_l2']:.0e}"
    if row["milliseconds"] is None:
        return (
            row["peer"],
            row["version"] or "",
            *[""] * 8,
            error,
            limit,
            "; ".join(filter(None, (row["problem"], row["note"]))),
        )
    return (
        row["peer"],
        row["version"],
        *(f"{row['milliseconds'][key]:.1f}" for key in ("median", "min", "max")),
        str(row["milliseconds"]["calls"]),
        f"{row['drrproj_milliseconds']['median']:.1f}",
        f"{row['times']:.1f}",
        "" if row["target"] is None else f"{row['target']:g}",
        row["verdict"] or "",
        error,
        limit,
        row["note"],
    )


if __name__ == "__main__":
    raise SystemExit(main())
