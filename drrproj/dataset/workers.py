"""Who makes the cases: this process, processes of its own, or an executor that was given; and what if one dies."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from drrproj.dataset.cases import Case
from drrproj.dataset.interrupts import ctrl_c_waits
from drrproj.dataset.lock import share_as_worker
from drrproj.dataset.machines import finished, killed_its_worker
from drrproj.dataset.one_case import Recipe, make_case, record_death
from drrproj.dataset.store import Store, few
from drrproj.threads import default_threads

__all__ = ["being_imported_by_a_worker", "made"]

# So many cases wait per worker: enough that none idles, few enough that an end comes soon.
_WAITING = 2
# No executor says how many workers it has, and a cluster may have hundreds.
_WAITING_ELSEWHERE = 1024

Line = dict[str, Any]


def made(
    cases: Sequence[Case],
    split_of: Mapping[str, str | None],
    store: Store,
    recipe: Recipe,
    workers: int | None,
    executor: Executor | None,
) -> Iterator[Line]:
    """Make cases, and yield what :func:`drrproj.dataset.one_case.make_case` returns for each, in any order.

    A case whose process dies is run once more, alone; one that kills its process again is recorded as failed.

    Raises
    ------
    CannotWrite
        If the dataset cannot be written.
    ChildProcessError
        If processes do not start.
    ConnectionError
        If the executor is a cluster's, and the cluster is gone.
    """
    cores = default_threads()
    count = min(workers or cores, len(cases))
    # Workers on other machines start elsewhere, and their names of files must not depend on where.
    cases = [
        replace(
            case,
            ct=case.ct.absolute(),
            labels=case.labels.absolute(),
            names=None if case.names is None else case.names.absolute(),
        )
        for case in cases
    ]
    # A worker needs where to write, the hash and the engine; the lists of splits may be long.
    configuration = {"made_by": store.configuration["made_by"]}
    light = Store(store.path.absolute(), configuration, store.hash, store.declared_classes, store.groups)

    def start(executor: Executor, case: Case, threads: int) -> Future[Line]:
        return executor.submit(make_case, case, split_of[case.case_id], light, recipe, threads)

    def dead(case: Case) -> Line:
        return record_death(case, split_of[case.case_id], light, recipe)

    if executor is not None:
        yield from _through(executor, cases, start, dead)
    elif count <= 1:
        for case in cases:
            yield make_case(case, split_of[case.case_id], light, recipe, cores)
    else:
        yield from _in_processes(cases, start, dead, count, cores, light.path)


def _in_processes(
    cases: Sequence[Case],
    start: Callable[[Executor, Case, int], Future[Line]],
    dead: Callable[[Case], Line],
    count: int,
    cores: int,
    folder: Path,
) -> Iterator[Line]:
    def start_here(pool: Executor, case: Case, threads: int) -> Future[Line]:
        # A process may start here. It has Ctrl-C wait, as this one does, until it can say what becomes of it; those of
        # an executor that was given would never say so.
        with ctrl_c_waits():
            return start(pool, case, threads)

    waiting = deque(cases)
    while waiting:
        suspects: list[Case] = []
        with _pool(count, folder) as pool:
            yield from _until_one_dies(
                lambda case: start_here(pool, case, max(1, cores // count)),
                # By the pool's own thread: it stumbles over what others cancel while it tells of workers that died.
                lambda _: pool.shutdown(wait=False, cancel_futures=True),
                None,
                waiting,
                suspects,
                _WAITING * count,
            )
        with ExitStack() as alone:
            pool_of_one = None
            for case in suspects:
                if pool_of_one is None:
                    pool_of_one = alone.enter_context(_pool(1, folder))
                    _see_it_start(pool_of_one)
                try:
                    yield start_here(pool_of_one, case, cores).result()
                except BrokenExecutor:
                    pool_of_one = None
                    yield dead(case)


def _through(
    executor: Executor,
    cases: Sequence[Case],
    start: Callable[[Executor, Case, int], Future[Line]],
    dead: Callable[[Case], Line],
) -> Iterator[Line]:
    waiting = deque(cases)
    while waiting:
        suspects: list[Case] = []
        yield from _until_one_dies(
            lambda case: start(executor, case, 1), _cancelled, executor, waiting, suspects, _WAITING_ELSEWHERE
        )
        for case in suspects:
            try:
                (job,) = finished([start(executor, case, 1)], executor)
                yield job.result()
            except CancelledError as error:
                raise _gone() from error
            except BrokenExecutor:
                names = few(sorted(each.case_id for each in suspects))
                raise ChildProcessError(
                    f"a worker process died, most likely for want of memory, while it made one of {names}; the cases "
                    "made so far are whole: run the same again with fewer workers"
                ) from None
            except Exception as error:
                if not killed_its_worker(error):
                    raise
                yield dead(case)


def _until_one_dies(
    start: Callable[[Case], Future[Line]],
    cancel: Callable[[Iterable[Future[Line]]], object],
    executor: Executor | None,
    waiting: deque[Case],
    suspects: list[Case],
    most: int,
) -> Iterator[Line]:
    """Take cases from those that wait, and make them, until none is left or a process dies; add whose it may be."""
    running: dict[Future[Line], Case] = {}
    try:
        while True:
            while waiting and not suspects and len(running) < most:
                case = waiting.popleft()
                try:
                    running[start(case)] = case
                except BrokenExecutor:
                    suspects.append(case)
            if not running:
                return
            for job in finished(running, executor):
                case = running.pop(job)
                try:
                    line = job.result()
                except BrokenExecutor:
                    suspects.append(case)
                except CancelledError as error:
                    raise _gone() from error
                except Exception as error:
                    if not killed_its_worker(error):
                        raise
                    suspects.append(case)
                else:
                    yield line
    finally:
        if running:
            cancel(running)


def _cancelled(jobs: Iterable[Future[Line]]) -> None:
    for job in jobs:
        job.cancel()


def _gone() -> ConnectionError:
    # Nobody else cancels a job whose result is waited for.
    return ConnectionError(
        "the cluster does not answer any more; the cases made so far are whole: start it, and run the same again"
    )


def _pool(count: int, folder: Path) -> ProcessPoolExecutor:
    # Spawned, because a fork copies locks that other threads of this process hold.
    return ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _start_worker, (folder,))


def _see_it_start(pool: ProcessPoolExecutor) -> None:
    try:
        with ctrl_c_waits():
            started = pool.submit(os.getpid)
        started.result()
    except BrokenExecutor:
        raise ChildProcessError(
            "worker processes end as they start. Each imports the script that called build(): if the call does not "
            'stand under `if __name__ == "__main__":` there, put it there; or pass workers=1'
        ) from None


def being_imported_by_a_worker() -> bool:
    """Whether this is a process that just starts, and imports the script that its parent runs."""
    # The mark by which multiprocessing itself refuses to start processes then.
    return getattr(multiprocessing.current_process(), "_inheriting", False)


def _start_worker(folder: Path) -> None:
    # Ctrl-C reaches every process of the terminal; the parent alone decides, and running cases end well.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
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
