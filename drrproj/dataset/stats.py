"""What a dataset holds: cases, splits, and how often and how large each class is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from drrproj.dataset.store import Store, require_store

__all__ = ["ClassCount", "Contents", "contents"]


@dataclass(frozen=True)
class ClassCount:
    """How often a class is in the pictures of a view.

    Attributes
    ----------
    name, view : str
    images : int
        Pictures with at least one pixel of it.
    share : float
        Of all pictures of the view.
    area : float
        Median share of the picture that it covers where it is present; 0 where it never is.
    """

    name: str
    view: str
    images: int
    share: float
    area: float


@dataclass(frozen=True)
class Contents:
    """What a dataset holds.

    Attributes
    ----------
    statuses : dict of str to int
        Cases kept, dropped and failed.
    splits : dict of str to (int, int, int)
        Patients, cases and pictures of each split; ``none`` for cases outside of all.
    reasons : dict of str to int
        How many cases each rule spoke of.
    classes : tuple of ClassCount
        Every class in every view.
    """

    statuses: dict[str, int]
    splits: dict[str, tuple[int, int, int]]
    reasons: dict[str, int]
    classes: tuple[ClassCount, ...]

    def as_record(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "statuses": self.statuses,
            "splits": {
                name: dict(zip(("patients", "cases", "images"), counts, strict=True))
                for name, counts in self.splits.items()
            },
            "reasons": self.reasons,
            "classes": [vars(count) for count in self.classes],
        }


def contents(store: Store) -> Contents:
    """Count what a dataset holds, from its records alone.

    Parameters
    ----------
    store : Store

    Returns
    -------
    Contents

    Raises
    ------
    TypeError
        If the store is none.
    """
    require_store(store)
    statuses: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    patients: dict[str, set[str]] = {}
    cases: Counter[str] = Counter()
    images: Counter[str] = Counter()
    pictures: Counter[str] = Counter()
    shares: dict[tuple[str, str], list[float]] = {}
    for record in store.records():
        statuses[record["status"]] += 1
        reasons.update({reason["rule"] for reason in record["reasons"]})
        if record["status"] != "kept":
            continue
        split = record["split"] or "none"
        patients.setdefault(split, set()).add(record["patient"])
        cases[split] += 1
        images[split] += len(record["views"])
        for view, entry in record["views"].items():
            pictures[view] += 1
            for name, area in entry["areas"].items():
                shares.setdefault((name, view), []).append(area / _pixels(entry))
    counted = []
    for name in store.classes:
        for view in pictures:
            found = shares.get((name, view), [])
            area = float(np.median(found)) if found else 0.0
            counted.append(ClassCount(name, view, len(found), len(found) / pictures[view], area))
    return Contents(
        dict(sorted(statuses.items())),
        {split: (len(patients[split]), cases[split], images[split]) for split in sorted(cases)},
        dict(reasons.most_common()),
        tuple(counted),
    )


def _pixels(entry: Mapping[str, Any]) -> int:
    rows, columns = entry["geometry"]["shape"]
    return int(rows * columns)
