"""Many machines: dask.distributed, through its executor face."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import time
from collections.abc import Collection, Iterator
from concurrent.futures import Executor, Future
from contextlib import ExitStack, contextmanager
from typing import Any

from drrproj.dataset.interrupts import ctrl_c_waits
from drrproj.extras import from_extra
from drrproj.warned import warn

__all__ = ["LOCAL", "dask_executor", "finished", "killed_its_worker"]

LOCAL = "local"
"""The address that stands for a cluster of this machine alone."""

_PATIENCE_S = 60.0
_SECONDS_BETWEEN_LOOKS = 10.0


@contextmanager
def dask_executor(address: str, workers: int | None = None) -> Iterator[Executor]:
    """Connect to a Dask scheduler, or start a cluster on this machine, until the block ends.

    The machines must see the CTs and the dataset's folder under the same paths, and have the same drrproj with the same
    backend. A process makes one case at a time, so workers need one thread each (``--nthreads 1``). Dask starts
    clusters on Slurm, Kubernetes and others; their scheduler's address is all that is needed here.

    Parameters
    ----------
    address : str
        ``tcp://host:8786``, or ``"local"``.
    workers : int, optional
        Worker processes of a local cluster; by default one per core.

    Yields
    ------
    concurrent.futures.Executor
        For :func:`drrproj.dataset.build.build`.

    Raises
    ------
    ModuleNotFoundError
        If dask.distributed is not installed; the sentence names the extra.
    ValueError
        If workers are given for a cluster that has its own.
    OSError
        If the scheduler does not answer, or no worker joins it within a minute.
    """
    with from_extra("cluster", "a cluster of machines"):
        from distributed import Client, LocalCluster
    if address != LOCAL:
        if workers is not None:
            raise ValueError(
                f"the cluster at {address} has its own number of workers, and {workers} were asked for; leave out "
                f"workers (--workers), or pass {LOCAL!r} in place of the address to start them here"
            )
        with Client(address, timeout="10s") as client:
            try:
                client.wait_for_workers(1, timeout=_PATIENCE_S)
            except (TimeoutError, asyncio.TimeoutError):  # two of them before Python 3.11
                raise TimeoutError(
                    f"the cluster at {address} has no worker, also not after {_PATIENCE_S:g} s; start some "
                    f"(dask worker {address} --nthreads 1), and run the same again"
                ) from None
            yield client.get_executor(pure=False)
        return
    with ExitStack() as stack:
        # Its processes end with it; to them Ctrl-C says nothing.
        with ctrl_c_waits():
            cluster = stack.enter_context(LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None))
            client = stack.enter_context(Client(cluster))
        yield client.get_executor(pure=False)


def killed_its_worker(error: BaseException) -> bool:
    """Whether this is how a cluster says that a job ended with its worker, on each worker that tried."""
    # Only where it was imported can it have raised anything.
    distributed = sys.modules.get("distributed")
    return distributed is not None and isinstance(error, distributed.KilledWorker)


def finished(jobs: Collection[Future[Any]], executor: Executor | None) -> set[Future[Any]]:
    """Wait until a job is done, and return those that are.

    Parameters
    ----------
    jobs : collection of Future
    executor : concurrent.futures.Executor or None
        Whose they are; None for processes of this build, which say themselves that they ended.

    Warns
    -----
    UserWarning
        If the executor is a cluster's that has had no worker for a minute. The wait goes on, because others may come.
    """
    client = _client_of(executor)
    if client is None:
        return concurrent.futures.wait(jobs, return_when=concurrent.futures.FIRST_COMPLETED)[0]
    seen, is_told = time.monotonic(), False
    while True:
        done, _ = concurrent.futures.wait(jobs, _SECONDS_BETWEEN_LOOKS, concurrent.futures.FIRST_COMPLETED)
        if done:
            return done
        if _has_worker(client):
            seen, is_told = time.monotonic(), False
        elif not is_told and time.monotonic() - seen > _PATIENCE_S:
            is_told = True
            address = client.scheduler.address
            warn(
                f"the cluster at {address} has had no worker for {_PATIENCE_S:g} s, and the build waits for one: start "
                f"some (dask worker {address} --nthreads 1), or end it with Ctrl-C; the cases made so far are whole",
            )


def _client_of(executor: Executor | None) -> Any:
    dask = sys.modules.get("distributed.cfexecutor")
    # Dask has no public way from the one to the other.
    return executor._client if dask is not None and isinstance(executor, dask.ClientExecutor) else None


def _has_worker(client: Any) -> bool:
    try:
        return bool(client.nthreads())
    except (OSError, asyncio.TimeoutError):
        # The scheduler does not answer; jobs say so, as soon as dask gives it up.
        return True
