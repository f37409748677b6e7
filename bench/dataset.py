"""What building a dataset costs: one case against reading its files, memory, a pool against one process, kills.

    python bench/dataset.py CT LABELS --json bench/dataset.json      a CT and labels of yours, some minutes
    python bench/dataset.py --kills 20                               builds that are killed, against an undisturbed one

A CT of 512 x 512 voxels a slice, for example, as files that nibabel reads. Before anything is measured the case is
built, and every file of it checked; what each measurement makes is checked as well, and a wrong answer is the exit code
1. Where other programs want the cores too, CPU seconds say what a case costs. All figures are medians. ``--kills``
kills builds of small cases at random moments, finishes them, and compares the dataset, byte by byte, with an
undisturbed one.
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

from drrproj import read_labels, read_volume
from drrproj.dataset.build import build
from drrproj.dataset.cases import Case
from drrproj.dataset.check import problems
from drrproj.dataset.one_case import Recipe, make_case
from drrproj.dataset.store import Store, read_record
from drrproj.threads import default_threads

ROUNDS, POOL_ROUNDS, RECORD_READS = 7, 5, 100
TIMES_READING_BOUND, POOL_BOUND, MEMORY_BOUND = 2.0, 1.7, 3.0
STACKED = 3
"""How often a CT is put on itself, for one of more slices."""


def read_with_nibabel(ct: Path, labels: Path) -> None:
    """The least that a Python pipeline pays before it has computed anything."""
    for path in (ct, labels):
        image: Any = nibabel.load(path)
        np.asanyarray(image.dataobj)


def seconds_of(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def copies_of(ct: Path, labels: Path, count: int) -> list[Case]:
    return [Case(f"case{number:03}", ct, labels, "patient") for number in range(count)]


def assert_whole(store: Store, cases: list[Case]) -> None:
    """Every case is kept, has a picture and masks of each view, and no file of the dataset is wrong."""
    wrong = list(problems(store))
    for case in cases:
        record = read_record(store.record_path(case.case_id))
        if record["status"] != "kept":
            wrong.append(f"{case.case_id} is {record['status']}: {record['reasons']}")
        views = {sample.view: len(sample.masks()) for sample in store.samples_of(record)}
        if list(views) != list(Recipe().poses.names) or not all(views.values()):
            wrong.append(f"{case.case_id} has these views, with so many masks: {views}")
    if wrong:
        raise SystemExit("WRONG: " + "; ".join(wrong))


def built(ct: Path, labels: Path, out: Path) -> Store:
    """Build one case, and check it."""
    cases = copies_of(ct, labels, 1)
    store = build(cases, out, workers=1).store
    assert_whole(store, cases)
    return store


def one_case(ct: Path, labels: Path, folder: Path, rounds: int) -> dict[str, Any]:
    """One case in one process, and reading its files with nibabel, in turns; what it reads, and what it writes."""
    (case,) = copies_of(ct, labels, 1)
    store = built(ct, labels, folder / "one")
    record = store.record_path(case.case_id)
    times: dict[str, list[float]] = {"build": [], "nibabel": []}
    cpu, reads = [], []
    # Building and checking it has filled the file cache.
    for _ in range(rounds):
        times["build"].append(seconds_of(lambda: make_case(case, None, store, Recipe(), default_threads())))
        times["nibabel"].append(seconds_of(lambda: read_with_nibabel(ct, labels)))
        used = time.process_time()
        make_case(case, None, store, Recipe(), 1)
        cpu.append(time.process_time() - used)
        used = time.process_time()
        for _ in range(RECORD_READS):
            read_record(record)
        reads.append((time.process_time() - used) / RECORD_READS)
    seconds = {name: statistics.median(each) for name, each in times.items()}
    written = {kind: list((store.path / kind).iterdir()) for kind in ("images", "masks", "records")}
    array, structures = read_volume(ct).array, read_labels(labels).array
    return {
        "shape": list(array.shape),
        "structures": int(np.count_nonzero(np.unique(structures))),
        "views": len(Recipe().poses.names),
        "pixels": list(Recipe().poses.shape),
        "seconds": {name: round(median, 3) for name, median in seconds.items()},
        "cpu_seconds": round(statistics.median(cpu), 3),
        "bytes_read": ct.stat().st_size + labels.stat().st_size,
        "bytes_written": {kind: sum(path.stat().st_size for path in paths) for kind, paths in written.items()},
        "files_written": {kind: len(paths) for kind, paths in written.items()},
        "milliseconds_to_read_a_record": round(1e3 * statistics.median(reads), 4),
        "times_reading": round(seconds["build"] / seconds["nibabel"], 2),
        "bound": TIMES_READING_BOUND,
    }


def pool(ct: Path, labels: Path, folder: Path, count: int, rounds: int) -> dict[str, Any]:
    """Whole builds with one process and with one per core, start of the processes included, in turns.

    One process uses one core, or projects with all of them; the bound is for the first.
    """
    cases = copies_of(ct, labels, count)
    cores = default_threads()
    times: dict[str, list[float]] = {"one process, one core": [], "one process, all cores": [], "pool": []}
    cpu: dict[str, list[float]] = {name: [] for name in times}
    for _ in range(rounds):
        for name, spent in times.items():
            if name.endswith("one core"):
                os.environ["DRRPROJ_NUM_THREADS"] = "1"
            start, used = time.perf_counter(), cpu_seconds()
            store = build(cases, folder / "pool", workers=cores if name == "pool" else 1).store
            spent.append(time.perf_counter() - start)
            cpu[name].append(cpu_seconds() - used)
            os.environ.pop("DRRPROJ_NUM_THREADS", None)
            assert_whole(store, cases)
            shutil.rmtree(folder / "pool")
    seconds = {name: statistics.median(spent) for name, spent in times.items()}
    return {
        "cases": count,
        "processes": cores,
        "seconds_a_case": {name: round(spent / count, 3) for name, spent in seconds.items()},
        "cpu_seconds_a_case": {name: round(statistics.median(spent) / count, 3) for name, spent in cpu.items()},
        "times_faster": {name: round(spent / seconds["pool"], 2) for name, spent in seconds.items() if name != "pool"},
        "bound": POOL_BOUND,
    }


def _peak_bytes() -> int:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


def _work(store: Store, case: Case, pipe: Any) -> None:
    """What a worker does, three times over; libraries are loaded before the first."""
    before, cpu = _peak_bytes(), []
    for _ in range(3):
        used = time.process_time()
        make_case(case, None, store, Recipe(), 1)
        cpu.append(time.process_time() - used)
    pipe.send((before, _peak_bytes(), statistics.median(cpu)))


def worker(ct: Path, labels: Path, out: Path) -> dict[str, Any]:
    """Peak of all the memory of a worker over three cases, interpreter and libraries included, and CPU of a case."""
    store = built(ct, labels, out)
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_work, args=(store, *copies_of(ct, labels, 1), theirs))
    process.start()
    theirs.close()
    before, peak, cpu = ours.recv()
    process.join()
    assert_whole(store, copies_of(ct, labels, 1))
    array = read_volume(ct).array
    return {
        "slices": array.shape[2],
        "cpu_seconds": round(cpu, 3),
        "libraries_mib": round(before / 2**20, 1),
        "peak_mib": round(peak / 2**20, 1),
        "ct_mib": round(array.nbytes / 2**20, 1),
        "times_ct": round(peak / array.nbytes, 2),
        "bound": MEMORY_BOUND,
    }


def stacked(ct: Path, labels: Path, folder: Path) -> tuple[Path, Path]:
    """Put the slices of both files on themselves, ``STACKED`` times; number type, scaling and names stay."""
    folder.mkdir()
    for source, name in ((ct, "ct"), (labels, "labels")):
        image: Any = nibabel.load(source)
        stored = np.concatenate([image.dataobj.get_unscaled()] * STACKED, axis=2)
        nifti: Any = nibabel.Nifti1Image
        more = nifti(stored, image.affine, image.header)
        # An image forgets the scaling of a header it is made of.
        more.header.set_slope_inter(image.dataobj.slope, image.dataobj.inter)
        nibabel.save(more, folder / f"{name}.nii.gz")
        again: Any = nibabel.load(folder / f"{name}.nii.gz")
        values = np.asanyarray(image.dataobj)
        if not np.array_equal(np.asanyarray(again.dataobj)[:, :, -values.shape[2] :], values):
            raise SystemExit(f"WRONG: {again.get_filename()} does not hold the voxels of {source}")
    names = {str(label_id): name for label_id, name in read_labels(labels).names.items()}
    (folder / "labels.json").write_text(json.dumps(names), encoding="utf-8")
    return folder / "ct.nii.gz", folder / "labels.nii.gz"


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
    parser.add_argument("--quick", action="store_true", help="one round of each: are the answers right?")
    parser.add_argument("--kills", type=int, metavar="N")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the kills")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    arguments = parser.parse_args()
    if len(arguments.files) != 2 and (arguments.files or not arguments.kills):
        parser.error(f"name one CT and one label file, or --kills N alone; got {len(arguments.files)} files")
    results: dict[str, Any] = {"machine": machine.describe()}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if arguments.files:
            ct, labels = arguments.files
            rounds, pool_rounds = (1, 1) if arguments.quick else (ROUNDS, POOL_ROUNDS)
            results["one_case"] = one_case(ct, labels, folder, rounds)
            results["worker"] = worker(ct, labels, folder / "worker")
            results["worker_of_more_slices"] = worker(*stacked(ct, labels, folder / "stacked"), folder / "more")
            results["pool"] = pool(ct, labels, folder, arguments.cases, pool_rounds)
        if arguments.kills:
            results["kills"] = kills(arguments.kills, folder, arguments.seed)
    results["machine"]["load_after"] = machine.load()
    text = json.dumps(results, indent=1) + "\n"
    print(text, end="")
    if arguments.json:
        arguments.json.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
