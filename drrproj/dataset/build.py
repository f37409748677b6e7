"""The build: many cases, several processes, and an end that is the same however often it was interrupted."""

from __future__ import annotations

import concurrent.futures
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from drrproj.dataset.cases import Case, require_own_ids
from drrproj.dataset.lock import only_build
from drrproj.dataset.log import Log
from drrproj.dataset.one_case import CannotWrite, Recipe, made_by
from drrproj.dataset.resume import Told, look, move, why_left_out
from drrproj.dataset.splits import SHARES, Splits
from drrproj.dataset.store import Store, create_store, few
from drrproj.dataset.workers import being_imported_by_a_worker, made
from drrproj.short_text import shown
from drrproj.warned import warn

__all__ = ["Summary", "build"]


@dataclass(frozen=True)
class Summary:
    """What a build did.

    Attributes
    ----------
    store : Store
    found, made : int
        Cases asked for; those made now, failed ones among them. The others were there from before.
    statuses : dict of str to int
        Of all cases asked for: ``kept``, ``dropped``, ``failed``, and ``stale``: to be made again, and cannot be made
        now, so that the pictures and masks that are there stay.
    splits : dict of str to int
        Kept cases per split, ``none`` for those outside of all.
    left_out : dict of str to (str, str)
        Status of each case that was not kept, and why, by case.
    seconds : float
    """

    store: Store
    found: int
    made: int
    statuses: dict[str, int]
    splits: dict[str, int]
    left_out: dict[str, tuple[str, str]]
    seconds: float


def build(
    cases: Iterable[Case],
    out: str | os.PathLike[str],
    recipe: Recipe | None = None,
    splits: Splits | None = None,
    *,
    workers: int | None = None,
    executor: concurrent.futures.Executor | None = None,
    prune: bool = False,
    told: Told | None = None,
) -> Summary:
    """Make a dataset, or go on with one that was interrupted.

    Each case is made on its own, and its record is written last: a build that is killed at any moment and started again
    ends with the files, byte for byte, that an undisturbed one ends with, but ``log.jsonl``. They do not depend on the
    number of workers either. That holds on one kind of CPU: another instruction set, which each record names, may turn
    a pixel by one grey level and one on the edge of a mask. All workers must have the version and the backend of this
    process. Cases that failed, of which a file was lost, or whose inputs are not those they were made
    of, are made again. Sizes of inputs are always compared; content, by its SHA-256, where a file was touched since.
    Another patient or split of a case changes its record alone, also where its inputs cannot be read.

    Parameters
    ----------
    cases : iterable of Case
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
    prune : bool
        Drop record, pictures and masks of cases that are not among ``cases``; else they stay, and are named.
    told : callable, optional
        Called with the number of cases to make; what it returns is called with the status of each. Before that, where
        the inputs of cases have to be read again because their times changed, with the number of those, and what it
        returns with ``inputs read again`` for each.

    Returns
    -------
    Summary

    Raises
    ------
    ValueError
        If there is no case, two cases have one id, two patients differ in capitals, blanks or the form of accents
        alone, the splits' lists do not fit the cases, the folder holds a dataset of another configuration, or both
        ``workers`` and ``executor`` are given.
    TypeError
        If the cases are none, such as the folder that holds them, or recipe or splits are none.
    BlockingIOError
        If another build is at work in the folder.
    OSError
        If the dataset cannot be written, for example on a full disk; when that is mended, build again.
    ChildProcessError
        If worker processes do not start, or one of an executor that was given died or has another version or backend.
    ConnectionError
        If the executor's cluster is gone.

    Warns
    -----
    UserWarning
        Names ids of the splits' lists that no case and no patient has; cases that are made again because their inputs
        changed, that have another patient or split, whose inputs cannot be read, or that nobody asked for; and files in
        the folders of the pictures that no record speaks of.

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
    if being_imported_by_a_worker():
        # The parent says in a sentence what is wrong with its script.
        sys.exit(1)
    for what, value, kind in (("recipe", recipe, Recipe), ("splits", splits, Splits)):
        if not isinstance(value, kind | None):
            raise TypeError(f"{what} must be {kind.__name__}(...); got {shown(value)}")
    if executor is not None and workers is not None:
        raise ValueError(f"an executor has its own number of workers, and {workers} were asked for; leave out workers")
    try:
        return _build(cases, out, recipe or Recipe(), splits or Splits(SHARES), workers, executor, prune, told)
    except CannotWrite as error:
        raise OSError(
            f"{error}; the cases made so far are whole: free space, or mend the folder, and run the same again, which "
            "goes on from there"
        ) from error


def _build(
    cases: Iterable[Case],
    out: str | os.PathLike[str],
    recipe: Recipe,
    splits: Splits,
    workers: int | None,
    executor: concurrent.futures.Executor | None,
    prune: bool,
    told: Told | None,
) -> Summary:
    start = time.monotonic()
    cases = _checked_cases(cases)
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be a positive whole number; got {workers!r}")
    split_of = splits.assign(cases)
    configuration = {
        **recipe.as_record(),
        "splits": splits.as_record(),
        "made_by": made_by(),
    }
    store = create_store(out, configuration, recipe.classes, recipe.groups)
    with only_build(store.path):
        standing = look(store, cases, split_of, told)
        statuses, left_out, files = standing.statuses, standing.left_out, standing.files
        waiting = [case for case in cases if case.case_id not in statuses]
        _warn("made again for changed inputs", standing.changed)
        _warn("given another patient or split, in the record alone", standing.moved)
        _warn("not compared with the inputs, which cannot be read", standing.unknown)
        stale: dict[str, str] = {}
        advance = told(len(waiting)) if told is not None else lambda _: None
        with Log(store.path) as log:
            log.write({"event": "start", "cases": len(cases), "to_make": len(waiting), "hash": store.hash})
            # First, and after the log says that a build began: a patient is never on both sides in one that ended.
            for case in cases:
                if case.case_id in standing.moved:
                    move(store, case, split_of[case.case_id])
            for line in made(waiting, split_of, store, recipe, workers, executor):
                name, status = line["case"], line["status"]
                statuses[name], files[name] = status, set(line.pop("files"))
                if status != "kept":
                    left_out[name] = why_left_out(line["reasons"])
                if status == "stale":
                    stale[name] = left_out[name]
                log.write({"event": "case", **line})
                advance(status)
            _warn("to be made again, which cannot be done now; what is there stays", dict(sorted(stale.items())))
            _tidy(store, files, [case.case_id for case in cases], standing.others, prune)
            counts = dict(sorted(Counter(statuses.values()).items()))
            log.write({"event": "end", "statuses": counts, "seconds": round(time.monotonic() - start, 3)})
    kept = Counter(split_of[case_id] or "none" for case_id, status in statuses.items() if status == "kept")
    why = {case: (statuses[case], left_out[case]) for case in sorted(left_out)}
    return Summary(store, len(cases), len(waiting) - len(stale), counts, dict(kept), why, time.monotonic() - start)


def _checked_cases(cases: Iterable[Case]) -> tuple[Case, ...]:
    if isinstance(cases, str | os.PathLike):
        raise TypeError(f"cases must be a sequence of Case; pass find_cases({os.fspath(cases)!r})")
    if isinstance(cases, Case):
        raise TypeError(f"cases must be a sequence of Case; pass [case] for {cases.case_id} alone")
    cases = tuple(cases)
    if not cases:
        raise ValueError("there is no case to build")
    for case in cases:
        if not isinstance(case, Case):
            raise TypeError(f"cases must be a sequence of Case, as find_cases gives it; one of it is {case!r}")
    require_own_ids(cases)
    return cases


def _tidy(store: Store, files: dict[str, set[str]], cases: list[str], others: list[str], prune: bool) -> None:
    """Delete what interruptions left and, if asked to, the cases that are not in the source any more."""
    dropped = others if prune else []
    if others and not prune:
        what = "in the dataset and not in the source any more; --prune (prune=True) drops what is not"
        _warn(what, dict.fromkeys(others, ""))
    for case in dropped:
        files.pop(case, None)
    # What a case that stays has stays, too, where its record is damaged: nobody could make it again.
    foreign = store.sweep(files, {*cases, *dropped})
    for case in dropped:
        # Last, so that after a kill the next build knows of its pictures.
        store.record_path(case).unlink()
    if foreign:
        warn(f"{store.path}: no record speaks of {few(foreign)}; {'it stays' if len(foreign) == 1 else 'they stay'}")


def _warn(what: str, why: Mapping[str, str]) -> None:
    """Say how many cases are what, and of the first ones why."""
    if why:
        named = few([f"{case} ({reason})" if reason else case for case, reason in why.items()])
        warn(f"{len(why)} case{'s are' if len(why) > 1 else ' is'} {what}: {named}")
