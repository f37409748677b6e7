"""Many machines: dask.distributed, through its executor face."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from drrproj.dataset.interrupts import ctrl_c_waits
from drrproj.extras import from_extra

__all__ = ["LOCAL", "dask_executor", "killed_its_worker"]

LOCAL = "local"
"""The address that stands for a cluster of this machine alone."""

_PATIENCE_S = 60.0


@contextmanager
def dask_executor(address: str, workers: int | None = None) -> Iterator[concurrent.futures.Executor]:
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
