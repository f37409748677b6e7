"""What building a dataset costs: one case against reading its files, a pool against one process, memory, kills.

``python bench/dataset.py CT LABELS`` measures with a CT and a label file of yours, for example a chest of 512 x 512
voxels a slice. ``python bench/dataset.py --kills 20`` kills builds of small cases at random moments and compares the
finished dataset, byte by byte, with an undisturbed one. Figures go to the screen as JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import machine
import nibabel
import numpy as np

from drrproj import read_volume
from drrproj.dataset.build import build
from drrproj.dataset.cases import Case
from drrproj.dataset.one_case import Recipe, make_case
from drrproj.dataset.store import create_store
from drrproj.threads import default_threads

ROUNDS = 7
TIMES_READING_BOUND, POOL_BOUND, MEMORY_BOUND = 2.0, 1.7, 3.0


def read_with_nibabel(ct: Path, labels: Path) -> None:
    """The least that a Python pipeline pays before it has computed anything."""
    for path in (ct, labels):
        image: Any = nibabel.load(path)
        np.asanyarray(image.dataobj)


def seconds_of(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def one_case(ct: Path, labels: Path, folder: Path) -> dict[str, Any]:
    """One case in one process, and reading its files with nibabel, in turns."""
    store = create_store(folder / "one", {}, Recipe().classes, {})
    case = Case("case", ct, labels, "patient")
    times: dict[str, list[float]] = {"build": [], "nibabel": []}
    for round_ in range(ROUNDS + 1):
        made = seconds_of(lambda: steps.update(make_case(case, None, store, Recipe(), default_threads())["seconds"]))
        read = seconds_of(lambda: read_with_nibabel(ct, labels))
        if round_:  # the first fills the file cache
            times["build"].append(made)
            times["nibabel"].append(read)
    cpu = time.process_time()
    make_case(case, None, store, Recipe(), 1)
    cpu = time.process_time() - cpu
    bytes_ = sum(path.stat().st_size for path in (folder / "one").rglob("*.*") if path.parent.name != "one")
    ratio = statistics.median(times["build"]) / statistics.median(times["nibabel"])
    return {
        "seconds": {name: round(statistics.median(each), 3) for name, each in times.items()},
        "steps_of_the_last": steps,
        "cpu_seconds": round(cpu, 3),
        "bytes_written": bytes_,
        "bytes_read": ct.stat().st_size + labels.stat().st_size,
        "times_reading": round(ratio, 2),
        "bound": TIMES_READING_BOUND,
    }


steps: dict[str, float] = {}


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def pool(ct: Path, labels: Path, folder: Path, cases: int) -> dict[str, Any]:
    """Whole builds with one process and with one per core, start of the processes included, in turns.

    One process uses one core, or projects with all of them; the bound is for the first.
    """
    copies = [Case(f"case{number:03}", ct, labels, f"patient{number}") for number in range(cases)]
    cores = default_threads()
    times: dict[str, list[float]] = {"one process, one core": [], "one process, all cores": [], "pool": []}
    cpu: dict[str, list[float]] = {name: [] for name in times}
    for _ in range(3):
        for name, spent in times.items():
            if name.endswith("one core"):
                os.environ["DRRPROJ_NUM_THREADS"] = "1"
            workers = cores if name == "pool" else 1
            start, used = time.perf_counter(), cpu_seconds()
            build(copies, folder / "pool", workers=workers)
            spent.append(time.perf_counter() - start)
            cpu[name].append(cpu_seconds() - used)
            os.environ.pop("DRRPROJ_NUM_THREADS", None)
            shutil.rmtree(folder / "pool")
    best = {name: min(spent) for name, spent in times.items()}
    return {
        "cases": cases,
        "processes": cores,
        "seconds_a_case": {name: round(spent / cases, 3) for name, spent in best.items()},
        # Where other programs want the cores too, only these tell what a pool can do.
        "cpu_seconds_a_case": {name: round(min(spent) / cases, 3) for name, spent in cpu.items()},
        "times_faster": {name: round(spent / best["pool"], 2) for name, spent in best.items() if name != "pool"},
        "bound": POOL_BOUND,
        "load_after": machine.load(),
    }


def _peak_of_worker(ct: str, labels: str, folder: str, pipe: Any) -> None:
    store = create_store(Path(folder) / "memory", {}, Recipe().classes, {})
    for _ in range(3):
        make_case(Case("case", Path(ct), Path(labels), "patient"), None, store, Recipe(), 1)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    pipe.send(int(status["VmHWM"].split()[0]) * 1024)


def memory(ct: Path, labels: Path, folder: Path) -> dict[str, Any]:
    """Peak of all the memory of a worker, interpreter and libraries included, over three cases."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    worker = multiprocessing.get_context("spawn").Process(
        target=_peak_of_worker, args=(str(ct), str(labels), str(folder), theirs)
    )
    worker.start()
    peak = ours.recv()
    worker.join()
    array = read_volume(ct).array
    return {
        "peak_mib": round(peak / 2**20),
        "ct_mib": round(array.nbytes / 2**20),
        "times_ct": round(peak / array.nbytes, 2),
        "bound": MEMORY_BOUND,
    }


def kills(count: int, folder: Path, seed: int) -> dict[str, Any]:
    """Kill a build again and again, finish it, and compare."""
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    from small_cases import write_subjects  # type: ignore[import-not-found]

    source = write_subjects(folder / "subjects", range(1, 201))
    command = [sys.executable, "-m", "drrproj", "dataset", "build", str(source), "--keep-all", "--taxonomy", "labels"]
    command += ["--shape", "96", "96"]
    subprocess.run([*command, "-o", str(folder / "undisturbed")], check=True, capture_output=True)
    rng = random.Random(seed)
    out, killed = folder / "killed", 0
    finished_early = 0
    while killed < count:
        build_ = subprocess.Popen(
            [*command, "-o", str(out), "--workers", str(rng.choice([1, 2, 3]))],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        before = sum(1 for _ in (out / "records").glob("s*.json"))
        # From before the first file to some cases further.
        deadline = time.monotonic() + rng.uniform(0.1, 5.0)
        while build_.poll() is None and time.monotonic() < deadline:
            if sum(1 for _ in (out / "records").glob("s*.json")) > before + 160 // count:
                break
            time.sleep(rng.uniform(0, 0.005))
        finished_early += build_.poll() is not None
        build_.kill()
        build_.wait()
        killed += 1
    subprocess.run([*command, "-o", str(out)], check=True, capture_output=True)
    whole, again = (
        {
            str(path.relative_to(root)): path.read_bytes()
            for path in sorted(root.rglob("*"))
            if path.is_file() and path.name != "log.jsonl"
        }
        for root in (folder / "undisturbed", out)
    )
    return {
        "kills": killed,
        "of_builds_already_finished": finished_early,
        "files": len(whole),
        "byte_identical": whole == again,
        "seed": seed,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, metavar="CT LABELS")
    parser.add_argument("--cases", type=int, default=30, help="copies of the case for the pool (default: 30)")
    parser.add_argument("--kills", type=int, metavar="N")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    results: dict[str, Any] = {"machine": machine.describe()}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if arguments.files:
            ct, labels = arguments.files
            results["one case"] = one_case(ct, labels, folder)
            results["memory of a worker"] = memory(ct, labels, folder)
            results["pool"] = pool(ct, labels, folder, arguments.cases)
        if arguments.kills:
            results["kills"] = kills(arguments.kills, folder, arguments.seed)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
