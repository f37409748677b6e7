"""Puts the figures of a run of dataset.py, and what 10,000 and 1,000,000 CTs need by them, into docs/dataset_scale.md.

    python bench/dataset.py CT LABELS --json bench/dataset.json
    python bench/scale_summary.py docs/dataset_scale.md

A test holds the page to the figures that lie beside this file.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from summary import put_between

ALONE = "one process, one core"
END = "<!-- end of figures -->"
Figures = dict[str, Any]


def measured(figures: Figures) -> Iterator[str]:
    """What one case took, and how it grows."""
    machine, case, worker, more = (figures[name] for name in ("machine", "one_case", "worker", "worker_of_more_slices"))
    yield from _wrapped(
        f"One chest CT, {_by(case['shape'])} voxels, with {case['structures']} structures, to {case['views']} views of "
        f"{_by(case['pixels'])} pixels with PAXRay's classes. {machine['cores']} cores of an {machine['cpu']}, "
        f"{machine['date']}. CPU seconds, because other programs used the cores at the same time; medians."
    )
    yield ""
    yield "| part | per case |"
    yield "|---|---|"
    yield f"| CPU: read, judge, derive, project, write | {case['cpu_seconds']:.2g} s |"
    yield f"| read from disk | {_size(case['bytes_read'])} |"
    for kind, what in (("images", "pictures of 16 bits"), ("masks", "mask files"), ("records", "record")):
        yield f"| written: {case['files_written'][kind]} {what} | {_size(case['bytes_written'][kind])} |"
    yield f"| memory of a worker, all of it | {_memory(worker)} |"
    yield f"| CPU: reading a record again, when a build goes on | {case['milliseconds_to_read_a_record']:.2g} ms |"
    yield ""
    pool = figures["pool"]
    cpu, faster = pool["cpu_seconds_a_case"], pool["times_faster"][ALONE]
    yield from _wrapped(
        f"A pool of {pool['processes']} processes made {pool['cases']} such cases {faster:.1f} times as fast as one "
        f"process on one core, its start included; it took {cpu['pool']:.2g} CPU seconds a case, the one process "
        f"{cpu[ALONE]:.2g}. One case took {case['times_reading']:.2g} times as long as reading its two files with "
        "nibabel."
    )
    yield ""
    times, slices = more["cpu_seconds"] / worker["cpu_seconds"], more["slices"]
    yield from _wrapped(
        f"CPU grows with the voxels: the same chest {slices // worker['slices']} times on itself, in {slices} slices, "
        f"takes {times:.2g} times as much. So does memory, but for the {worker['libraries_mib']:.0f} MiB of the "
        f"interpreter and its libraries: those {slices} slices need {_memory(more)}."
    )


def sums(figures: Figures) -> Iterator[str]:
    """What many CTs need, by the measured parts."""
    case = figures["one_case"]
    counts = (10_000, 1_000_000)
    written, files = sum(case["bytes_written"].values()), _files(case)

    def line(what: str, of: Callable[[int], str]) -> str:
        return f"| {what} | {' | '.join(map(of, counts))} |"

    yield line("", lambda count: f"{count:,} CTs")
    yield "|---|---|---|"
    yield line("CPU", lambda count: f"{_two_digits(count * case['cpu_seconds'] / 3600)} core hours")
    yield line("read", lambda count: _size(count * case["bytes_read"]))
    yield line("written", lambda count: f"{_size(count * written)}, {count * files:,} files")
    for cores in (2, 16, 32, 320):
        a_case = case["cpu_seconds"] / cores
        times = " | ".join(_time(count * a_case) for count in counts)
        yield f"| {cores} cores, reading {_size(case['bytes_read'] / a_case)}/s | {times} |"
    again = case["milliseconds_to_read_a_record"] / 1e3
    yield line("reading the records when a build goes on", lambda count: _time(count * again))


def tight(figures: Figures) -> Iterator[str]:
    """Where disks and memory come to their end."""
    case, worker, more = (figures[name] for name in ("one_case", "worker", "worker_of_more_slices"))
    rate = case["bytes_read"] / case["cpu_seconds"]
    small, large = (_size(16 * each["peak_mib"] * 2**20) for each in (worker, more))
    yield from _wrapped(
        f"- **Reading the CTs.** A core takes in {_size(rate)}/s. A disk array of 1 GB/s is full with "
        f"{_two_digits(1e9 / rate)} cores; more cores are of use only where the CTs lie on many disks."
    )
    yield from _wrapped(
        f"- **Memory.** 16 workers need {small} for CTs of this size, {large} for {more['slices']} slices."
    )


SECTIONS = {
    "<!-- figures of bench/dataset.json -->": measured,
    "<!-- sums from bench/dataset.json -->": sums,
    "<!-- limits from bench/dataset.json -->": tight,
}


def page(text: str, figures: Figures) -> str:
    """The page with these figures."""
    for begin, section in SECTIONS.items():
        if begin not in text:
            raise SystemExit(f"the page has no mark {begin}")
        text = put_between(text, begin, END, section(figures))
    return text


def figures() -> Figures:
    """Those that lie beside this file."""
    found: Figures = json.loads((Path(__file__).parent / "dataset.json").read_text(encoding="utf-8"))
    return found


def _wrapped(text: str) -> list[str]:
    """A paragraph, or an item of a list, in lines as the page has them."""
    return textwrap.wrap(text, 120, subsequent_indent="  " * text.startswith("- "), break_on_hyphens=False)


def _by(sizes: list[int]) -> str:
    return " x ".join(map(str, sizes))


def _files(case: Figures) -> int:
    return sum(case["files_written"].values())


def _memory(worker: Figures) -> str:
    return f"{worker['peak_mib']:.0f} MiB, {worker['times_ct']:.1f} times the CT"


def _two_digits(number: float) -> str:
    """As 0.83, 2.3, 23 or 230."""
    return f"{float(f'{number:.2g}'):,.0f}" if number >= 10 else f"{number:.2g}"


def _size(count: float) -> str:
    """Bytes in the unit that people say them in, with three digits."""
    units = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("bytes", 1.0))
    unit, size = next((unit, size) for unit, size in units if count >= size or size == 1)
    return f"{float(f'{count / size:.3g}'):g} {unit}"


def _time(seconds: float) -> str:
    units = (("days", 86400), ("hours", 3600), ("minutes", 60), ("s", 1))
    unit, length = next((unit, length) for unit, length in units if seconds >= 1.05 * length or length == 1)
    return f"{_two_digits(seconds / length)} {unit}"


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(page(target.read_text(encoding="utf-8"), figures()), encoding="utf-8")
