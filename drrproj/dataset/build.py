"""The build: many cases, several processes, and an end that is the same however often it was interrupted."""

from __future__ import annotations

import concurrent.futures
import datetime
import json
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from drrproj import backends
from drrproj.dataset.cases import Case
from drrproj.dataset.lock import only_build, share_as_worker
from drrproj.dataset.one_case import CannotWrite, Recipe, make_case
from drrproj.dataset.splits import Splits
from drrproj.dataset.store import Store, create_store, files_of, read_record
from drrproj.threads import default_threads
from drrproj.version import __version__

__all__ = ["Summary", "build"]

# So many cases wait per worker: enough that none idles, few enough that an end comes soon.
_WAITING = 2
_SPLITS = Splits({"train": 0.7, "val": 0.1, "test": 0.2})


@dataclass(frozen=True)
class Summary:
    """What a build did.

    Attributes
    ----------
    store : Store
    found, made : int
        Cases asked for; those made now. The others were there from before.
    statuses : dict of str to int
        Of all cases asked for: ``kept``, ``dropped``, ``failed``.
    splits : dict of str to int
        Kept cases per split, ``none`` for those outside of all.
    seconds : float
    """

    store: Store
    found: int
    made: int
    statuses: dict[str, int]
    splits: dict[str, int]
    seconds: float


def build(
    cases: Sequence[Case],
    out: str | os.PathLike[str],
    recipe: Recipe | None = None,
    splits: Splits | None = None,
    *,
    workers: int | None = None,
    executor: concurrent.futures.Executor | None = None,
    told: Callable[[int], Callable[[str], None]] | None = None,
) -> Summary:
    """Make a dataset, or go on with one that was interrupted.

    Each case is made on its own, and its record is written last: a build that is killed at any moment and started again
    ends with the files, byte for byte, that an undisturbed one ends with, but ``log.jsonl``. They do not depend on the
    number of workers either. Cases that failed, or of which a file was lost, are made again.

    Parameters
    ----------
    cases : sequence of Case
        As :func:`drrproj.dataset.cases.find_cases` finds them. What is wrong with one is recorded, and the others go
        on.
    out : str or path
        Folder of the dataset; made when missing.
    recipe : Recipe, optional
        Views, attenuation and pictures.
    splits : Splits, optional
        By default 70 % of the patients train, 10 % validate and 20 % test.
    workers : int, optional
        Processes; each reads, projects and writes cases of its own, so that these overlap. By default one per core.
        With 1 this process does the work, with all cores for each projection.
    executor : concurrent.futures.Executor, optional
        Runs the cases in place of processes of its own, such as dask.distributed's; it must see the same files.
    told : callable, optional
        Called with the number of cases to make; what it returns is called with the status of each.

    Returns
    -------
    Summary

    Raises
    ------
    ValueError
        If there is no case, or the folder holds a dataset of another configuration.
    BlockingIOError
        If another build is at work in the folder.
    OSError
        If the dataset cannot be written, for example on a full disk; when that is mended, build again.
    ChildProcessError
        If a worker process died.

    Examples
    --------
    >>> import tempfile
    >>> from importlib.resources import files
    >>> from drrproj.dataset.build import build
    >>> from drrproj.dataset.cases import Case
    >>> from drrproj.dataset.one_case import Recipe
    >>> from drrproj.dataset.poses import Poses
    >>> chest = files("drrproj") / "data" / "chest_3mm"
    >>> case = Case("chest", chest / "ct.nii.gz", chest / "labels.nii.gz", "LIDC-IDRI-0001")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     done = build([case], folder, Recipe(Poses(shape=(64, 64))))
    ...     [(sample.name, sample.masks()["heart"].shape) for sample in done.store.samples()]
    [('chest_frontal', (64, 64)), ('chest_lateral', (64, 64))]
    """
    try:
        return _build(cases, out, recipe or Recipe(), splits or _SPLITS, workers, executor, told)
    except CannotWrite as error:
        raise OSError(
            f"{error}; the cases made so far are whole: free space, or mend the folder, and run the same again, which "
            "goes on from there"
        ) from error


def _build(
    cases: Sequence[Case],
    out: str | os.PathLike[str],
    recipe: Recipe,
    splits: Splits,
    workers: int | None,
    executor: concurrent.futures.Executor | None,
    told: Callable[[int], Callable[[str], None]] | None,
) -> Summary:
    start = time.monotonic()
    if not cases:
        raise ValueError("there is no case to build")
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be a positive whole number; got {workers!r}")
    split_of = splits.assign(cases)
    engine, _ = backends.choose("auto")
    configuration = {
        **recipe.as_record(),
        "splits": splits.as_record(),
        # Another engine or version may round otherwise, and one dataset is made by one.
        "made_by": {"drrproj": __version__, "backend": engine},
    }
    store = create_store(out, configuration, recipe.classes, recipe.groups)
    with only_build(store.path):
        there = _statuses(store, cases, split_of)
        store.sweep()
        waiting = [case for case in cases if there.get(case.case_id, "failed") == "failed"]
        statuses = {case.case_id: there[case.case_id] for case in cases if case.case_id in there}
        advance = told(len(waiting)) if told is not None else lambda _: None
        with _Log(store.path / "log.jsonl") as log:
            log.write({"event": "start", "cases": len(cases), "to_make": len(waiting), "hash": store.hash})
            for line in _made(waiting, split_of, store, recipe, workers, executor):
                statuses[line["case"]] = line["status"]
                log.write({"event": "case", **line})
                advance(line["status"])
            counts = dict(sorted(Counter(statuses.values()).items()))
            log.write({"event": "end", "statuses": counts, "seconds": round(time.monotonic() - start, 3)})
        store.sweep()
    kept = Counter(split_of[case_id] or "none" for case_id, status in statuses.items() if status == "kept")
    return Summary(store, len(cases), len(waiting), counts, dict(kept), time.monotonic() - start)


def _statuses(store: Store, cases: Sequence[Case], split_of: dict[str, str | None]) -> dict[str, str]:
    """Status of each case whose record stands: of this configuration, patient and split, and with all its files."""
    found, files = {}, store.files()
    for case in cases:
        path = store.record_path(case.case_id)
        if not path.exists():
            continue
        record = read_record(path)
        asked = (store.hash, case.patient_id, split_of[case.case_id])
        if (record.get("configuration"), record["patient"], record["split"]) == asked and files_of(record) <= files:
            found[case.case_id] = record["status"]
    return found


def _made(
    cases: Sequence[Case],
    split_of: dict[str, str | None],
    store: Store,
    recipe: Recipe,
    workers: int | None,
    executor: concurrent.futures.Executor | None,
) -> Iterator[dict[str, Any]]:
    cores = default_threads()
    count = min(workers or cores, len(cases))
    # Workers on other machines start elsewhere, and their names of files must not depend on where.
    cases = [replace(case, ct=case.ct.absolute(), labels=case.labels.absolute()) for case in cases]
    # A worker needs where to write and the hash; the lists of splits may be long.
    light = Store(store.path.absolute(), {}, store.hash, store.declared_classes, store.groups)
    if executor is not None:
        yield from _through(executor, 4 * cores, cases, split_of, light, recipe, 1)
    elif count <= 1:
        for case in cases:
            yield make_case(case, split_of[case.case_id], light, recipe, cores)
    else:
        # Spawned, because a fork copies locks that other threads of this process hold.
        with concurrent.futures.ProcessPoolExecutor(
            count, multiprocessing.get_context("spawn"), _start_worker, (light.path,)
        ) as pool:
            yield from _through(pool, count, cases, split_of, light, recipe, max(1, cores // count))


def _through(
    executor: concurrent.futures.Executor,
    workers: int,
    cases: Sequence[Case],
    split_of: dict[str, str | None],
    store: Store,
    recipe: Recipe,
    threads: int,
) -> Iterator[dict[str, Any]]:
    queue = iter(cases)
    running: dict[concurrent.futures.Future[dict[str, Any]], str] = {}
    try:
        while True:
            while len(running) < _WAITING * workers and (case := next(queue, None)) is not None:
                job = executor.submit(make_case, case, split_of[case.case_id], store, recipe, threads)
                running[job] = case.case_id
            if not running:
                return
            done, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
            for job in done:
                line = job.result()
                del running[job]
                yield line
    except BrokenProcessPool:
        raise ChildProcessError(
            "a worker process died, most likely for want of memory, while it made one of "
            f"{', '.join(sorted(running.values()))}; the cases made so far are whole: run the same again with fewer "
            "workers"
        ) from None
    finally:
        for job in running:
            job.cancel()


def _start_worker(folder: Path) -> None:
    # Ctrl-C reaches every process of the terminal; the parent alone decides, and running cases end well.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
        if not parent.is_alive():
            os._exit(1)
    share_as_worker(folder)


def _end_with(sentinel: int) -> None:
    """End this worker when its parent is gone, which was killed and could not say so."""
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


class _Log:
    """``log.jsonl``: one event a line, in the order in which they happened."""

    def __init__(self, path: Path) -> None:
        if path.exists():
            # A kill may have left half a line.
            whole = path.read_bytes().rpartition(b"\n")
            if whole[2]:
                os.truncate(path, len(whole[0]) + len(whole[1]))
        self._file = path.open("ab", buffering=0)

    def __enter__(self) -> _Log:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, event: dict[str, Any]) -> None:
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
        try:
            self._file.write(json.dumps({"time": now, **event}, ensure_ascii=False).encode() + b"\n")
        except OSError as error:
            raise CannotWrite(f"cannot write the log: {error.strerror}") from error
