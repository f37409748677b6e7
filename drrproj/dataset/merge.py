"""Several datasets of one configuration into one: parts that several machines made."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from drrproj.dataset.lock import only_build
from drrproj.dataset.log import Log
from drrproj.dataset.names import require_one_spelling
from drrproj.dataset.store import Store, create_store, differences, few, files_of, open_store, read_record
from drrproj.replace import replaced
from drrproj.warned import warn

__all__ = ["merge"]


def merge(parts: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str]) -> Store:
    """Copy the cases of several datasets into one, or go on with a copy that was interrupted.

    Parameters
    ----------
    parts : sequence of str or path
        Datasets of one configuration.
    out : str or path
        New, or a dataset of that configuration: its cases stay, and those that are there with the same record and all
        their files are not copied again.

    Returns
    -------
    Store

    Raises
    ------
    ValueError
        If one part is given twice, configurations differ, two parts have one case, ``out`` has a case of a part with
        another record, a patient would be in two splits, or two patients differ in capitals, blanks or the form of
        accents alone.
    FileNotFoundError
        If a part is no dataset, or has lost a picture or mask.
    BlockingIOError
        If a build, or another merge, is at work in ``out``.
    OSError
        If the files cannot be copied.
    """
    stores = [open_store(part) for part in parts]
    if not stores:
        raise ValueError("there is no dataset to merge")
    same = [os.path.realpath(store.path) for store in stores]
    if len(set(same)) < len(same):
        twice = max(same, key=same.count)
        raise ValueError(f"{twice} is given {same.count(twice)} times; give each part once")
    first = stores[0]
    folder = Path(out)
    is_new = not (folder / "dataset.json").exists()
    if is_new:
        # Parts that do not go together leave no folder.
        _refuse_what_clashes(stores)
        create_store(folder, first.configuration, first.declared_classes, first.groups)
    with only_build(folder):
        # Under the lock, because another merge, or a build, may just have come to its end here.
        there = open_store(folder)
        if not is_new or there.record_paths():
            _refuse_what_clashes(stores, there)
        merged = create_store(folder, first.configuration, first.declared_classes, first.groups)
        foreign = _copied(stores, merged)
    if foreign:
        warn(f"{merged.path}: not of this dataset, and left where they are: {few(foreign)}")
    return merged


def _refuse_what_clashes(stores: Sequence[Store], there: Store | None = None) -> None:
    """Hold the records of all parts, and of what is there of the copy, against each other."""
    first = stores[0]
    owner: dict[str, Path] = {}
    sides: dict[str, tuple[str | None, str]] = {}
    for store in stores if there is None else (there, *stores):
        names = (f"in {first.path}", f"in {store.path}")
        differing = differences(first.configuration, store.configuration, names)
        if differing:
            raise ValueError(f"{store.path} has another configuration than {first.path}: {'; '.join(differing)}")
        files_there = store.files()
        # A damaged record of a part is refused; one of the copy is copied again.
        for record in _sound(store) if store is there else store.records():
            case = record["case"]
            lost = sorted(files_of(record) - files_there)
            if lost and store is not there:
                raise FileNotFoundError(
                    f"{store.path} has lost {few(lost)} of case {case}; build it again, or delete that record"
                )
            if there is not None and owner.get(case) == there.path != store.path:
                if not _has(there, record):
                    raise ValueError(
                        f"case {case} is in {there.path} and in {store.path}, and their records differ; take it out of "
                        "one"
                    )
                # The part's from here on, so that a second part with this case is still refused.
                owner[case] = store.path
            if owner.setdefault(case, store.path) != store.path:
                raise ValueError(f"case {case} is in {owner[case]} and in {store.path}; take it out of one")
            split, other = sides.setdefault(record["patient"], (record["split"], case))
            if split != record["split"]:
                raise ValueError(
                    f"patient {record['patient']} would be on both sides: {other} is in {split or 'no split'} and "
                    f"{case} in {record['split'] or 'no split'}"
                )
    require_one_spelling(sides)


def _copied(stores: Sequence[Store], merged: Store) -> list[str]:
    """Copy what is not there yet, and return the places of what is not this dataset's."""
    total = sum(len(store.record_paths()) for store in stores)
    with Log(merged.path) as log:
        # The log tells a merge that did not end.
        log.write({"event": "start", "cases": total, "to_make": total, "hash": merged.hash})
        files = merged.files()
        for store in stores:
            for record in store.records():
                places = files_of(record)
                if not (places <= files and _has(merged, record)):
                    for place in sorted(places):
                        _copy(store.path / place, merged.path / place)
                    # Last, because a record says that the case is done; with the time that stands for its inputs.
                    merged.write_record(record, store.record_path(record["case"]).stat().st_mtime_ns)
                log.write({"event": "case", "case": record["case"], "status": record["status"]})
        foreign = merged.sweep({record["case"]: files_of(record) for record in _sound(merged)})
        log.write({"event": "end"})
    return foreign


def _has(store: Store, record: Mapping[str, Any]) -> bool:
    """Whether a dataset has this record, letter for letter."""
    try:
        return read_record(store.record_path(record["case"])) == record
    except (FileNotFoundError, ValueError):
        return False


def _sound(store: Store) -> Iterator[dict[str, Any]]:
    for path in store.record_paths():
        with contextlib.suppress(ValueError):
            yield read_record(path)


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as original, replaced(target) as file:
        shutil.copyfileobj(original, file)
