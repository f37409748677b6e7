"""Several datasets of one configuration into one: parts that several machines made."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from drrproj.dataset.lock import only_build
from drrproj.dataset.store import Store, create_store, differences, open_store
from drrproj.io.replace import replaced

__all__ = ["merge"]


def merge(parts: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str]) -> Store:
    """Copy the cases of several datasets into one.

    Parameters
    ----------
    parts : sequence of str or path
        Datasets of one configuration.
    out : str or path
        New, or a dataset of that configuration: its cases stay.

    Returns
    -------
    Store

    Raises
    ------
    ValueError
        If configurations differ, two parts have one case, or a patient would be in two splits.
    FileNotFoundError
        If a part is no dataset.
    OSError
        If the files cannot be copied.
    """
    stores = [open_store(part) for part in parts]
    if not stores:
        raise ValueError("there is no dataset to merge")
    first = stores[0]
    owner: dict[str, Path] = {}
    sides: dict[str, tuple[str | None, str]] = {}
    there = [open_store(out)] if (Path(out) / "dataset.json").exists() else []
    for store in (*there, *stores):
        differing = differences(first.configuration, store.configuration)
        if differing:
            raise ValueError(
                f"{store.path} has another configuration than {first.path}: "
                f"{'; '.join(differing).replace(' there', f' in {first.path}').replace(' here', f' in {store.path}')}"
            )
        for record in store.records():
            case = record["case"]
            if owner.setdefault(case, store.path) != store.path:
                raise ValueError(f"case {case} is in {owner[case]} and in {store.path}; take it out of one")
            split, other = sides.setdefault(record["patient"], (record["split"], case))
            if split != record["split"]:
                raise ValueError(
                    f"patient {record['patient']} would be on both sides: {other} is in {split or 'no split'} and "
                    f"{case} in {record['split'] or 'no split'}"
                )
    merged = create_store(out, first.configuration, first.declared_classes, first.groups)
    with only_build(merged.path):
        for store in stores:
            for record in store.records():
                for view in record["views"].values():
                    for kind in ("image", "masks"):
                        _copy(store.path / view[kind], merged.path / view[kind])
                # Last, because a record says that the case is done.
                merged.write_record(record)
    return merged


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as original, replaced(target) as file:
        shutil.copyfileobj(original, file)
