"""Splits: which patients train, which validate and which test."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from drrproj.dataset.cases import Case
from drrproj.dataset.names import require_apart, require_file_name, require_one_spelling
from drrproj.dataset.store import few
from drrproj.given_numbers import whole_number
from drrproj.warned import warn

__all__ = ["SHARES", "Splits", "read_splits"]

SHARES: Mapping[str, float] = MappingProxyType({"train": 0.7, "val": 0.1, "test": 0.2})
"""How patients are shared out where nothing is said."""

_NUMBER_AT_END = re.compile(r"(\d+)$")
Member = str | tuple[int, int]


@dataclass(frozen=True)
class Splits:
    """How cases are shared out, always by patient.

    Parameters
    ----------
    shares : mapping of str to float
        Share of the patients in each split; together 1. A patient's split follows from the shares, the seed and the
        patient's id alone, so it stays when cases are added, and the real shares come close to these only for many
        patients. The order of the splits means nothing: they are drawn in that of their names.
    seed : int
        Draws the shares.
    lists : mapping of str to sequence of str or (int, int), optional
        In place of shares: ids of patients or cases, or ranges of the number at the end of an id, both ends
        included. Ids and ranges are held against both the patient's and the case's id. A case that is in none has no
        split.

    Raises
    ------
    ValueError
        If a split's name cannot name a file or two differ in capitals alone, shares are negative or do not sum to 1,
        or what should list ids and ranges does not, or a range is none.

    Examples
    --------
    >>> from pathlib import Path
    >>> from drrproj.dataset.cases import Case
    >>> from drrproj.dataset.splits import Splits
    >>> cases = [Case(f"RibFrac{n}", Path("ct"), Path("seg"), f"RibFrac{n}") for n in (7, 430)]
    >>> Splits(lists={"train": [(1, 420)], "val": ["RibFrac430"]}).assign(cases)
    {'RibFrac7': 'train', 'RibFrac430': 'val'}
    """

    shares: Mapping[str, float] | None = None
    seed: int = 0
    lists: Mapping[str, Sequence[Member]] | None = None

    def __post_init__(self) -> None:
        if (self.shares is None) == (self.lists is None):
            raise ValueError("splits need either shares or lists")
        names = [*(self.shares or ()), *(self.lists or ())]
        # Here, because a dataset takes days to build and an export names files by splits.
        for name in names:
            require_file_name(name, "split")
        require_apart(names, "splits")
        # Asked so that NaN, which compares as false, is refused.
        if self.shares is not None and not (
            all(share >= 0 for share in self.shares.values()) and abs(sum(self.shares.values()) - 1) <= 1e-9
        ):
            raise ValueError(f"the shares of the splits must not be negative and sum to 1; got {dict(self.shares)}")
        for name, members in (self.lists or {}).items():
            if not isinstance(members, Collection) or isinstance(members, str | bytes | Mapping):
                raise ValueError(f'split {name} must be a list of ids and ranges, as in ["case1"]; got {members!r}')
            for member in members:
                if not _is_sound(member):
                    raise ValueError(f"split {name} lists ids, or ranges such as (501, 660); got {member!r}")
        object.__setattr__(self, "seed", whole_number(self.seed, "the seed of the splits is a whole number"))
        if self.lists is not None:
            lists = {name: tuple(map(_plain, _in_order(members))) for name, members in self.lists.items()}
            object.__setattr__(self, "lists", lists)

    def as_record(self) -> dict[str, Any]:
        """Plain values that say how cases are shared out."""
        if self.lists is None:
            return {"shares": dict(self.shares or {}), "seed": self.seed}
        return {
            "lists": {
                name: [member if isinstance(member, str) else list(member) for member in members]
                for name, members in self.lists.items()
            }
        }

    def assign(self, cases: Iterable[Case]) -> dict[str, str | None]:
        """Give the split of each case, by ``case_id``.

        Raises
        ------
        ValueError
            If two patients differ in capitals, blanks or the form of accents alone, lists put one patient, or one case,
            into two splits, also where one is by the case's id or number and the other by the patient's.

        Warns
        -----
        UserWarning
            Names ids and ranges of the lists that no case and no patient has, such as those of other parts.
        """
        cases = tuple(cases)
        require_one_spelling(case.patient_id for case in cases)
        assigned: dict[str, str | None] = {}
        of_patient: dict[str, tuple[str | None, str]] = {}
        for case in cases:
            split = self._drawn(case.patient_id) if self.lists is None else self._listed(case)
            other, other_case = of_patient.setdefault(case.patient_id, (split, case.case_id))
            if other != split:
                raise ValueError(
                    f"patient {case.patient_id} would be on both sides: {other_case} is in {other or 'no split'} and "
                    f"{case.case_id} in {split or 'no split'}; put all CTs of a patient into one split"
                )
            assigned[case.case_id] = split
        self._tell_of_strangers(cases)
        return assigned

    def _tell_of_strangers(self, cases: Sequence[Case]) -> None:
        members = [member for listed in (self.lists or {}).values() for member in listed]
        ids = {each for case in cases for each in (case.case_id, case.patient_id)}
        numbers = {int(number[1]) for number in map(_NUMBER_AT_END.search, ids) if number}
        strangers = [member for member in members if isinstance(member, str) and member not in ids]
        strangers += [
            f"{member[0]} to {member[1]}"
            for member in members
            if not isinstance(member, str) and not any(member[0] <= number <= member[1] for number in numbers)
        ]
        if not strangers or not cases:
            return
        here = f", where there are {few(sorted(ids))}" if len(strangers) == len(members) else ""
        warn(
            f"{len(strangers)} of {len(members)} ids and ranges that the splits list are of no case and no patient: "
            f"{few(strangers)}{here}"
        )

    def _drawn(self, patient_id: str) -> str:
        digest = hashlib.sha256(f"{self.seed}/split/{patient_id}".encode()).digest()
        place = int.from_bytes(digest[:8], "big") / 2**64
        shares = sorted((self.shares or {}).items())
        reached = 0.0
        for name, share in shares:
            reached += share
            if place < reached:
                return name
        # The shares sum to 1 but for rounding.
        return next(name for name, share in reversed(shares) if share)

    def _listed(self, case: Case) -> str | None:
        found = [
            name for name, members in (self.lists or {}).items() if any(_is_member(case, member) for member in members)
        ]
        if len(found) > 1:
            raise ValueError(
                f"case {case.case_id} of patient {case.patient_id} is in the splits {' and '.join(found)}, by one id "
                "or the other; it must be in one, so change the lists, or list ids in place of ranges"
            )
        return found[0] if found else None


def read_splits(path: str | os.PathLike[str]) -> Splits:
    """Read lists or ranges of splits from a JSON file.

    Parameters
    ----------
    path : str or path
        ``{"train": ["RibFrac1", ...], "test": [[501, 660]]}``: ids of patients or cases, or ranges of the number at
        the end of an id.

    Returns
    -------
    Splits

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it does not hold lists of ids and pairs of whole numbers, has a split twice, or a name that :class:`Splits`
        does not take.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        repeated = sorted(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        if repeated:
            raise ValueError(f"{path}: {', '.join(repeated)} comes more than once; put all of a split into one list")
        return dict(pairs)

    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"), object_pairs_hook=once)
    except FileNotFoundError:
        raise FileNotFoundError(f"no such file: {path}") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(content, dict) or not content or not all(isinstance(each, list) for each in content.values()):
        raise ValueError(f'{path}: splits are lists by name, as in {{"train": ["case1"], "test": [[501, 660]]}}')
    lists = {name: tuple(_member(path, each) for each in members) for name, members in content.items()}
    try:
        return Splits(lists=lists)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _member(path: str | os.PathLike[str], value: Any) -> Member:
    if not _is_sound(value):
        raise ValueError(f"{path}: a split lists ids, or ranges such as [501, 660]; got {json.dumps(value)}")
    return value if isinstance(value, str) else (value[0], value[1])


def _is_sound(member: Any) -> bool:
    if isinstance(member, str):
        return bool(member)
    return (
        isinstance(member, list | tuple)
        and len(member) == 2
        and all(isinstance(end, int | np.integer) and not isinstance(end, bool) for end in member)
        and bool(member[0] <= member[1])
    )


def _in_order(members: Collection[Member]) -> Collection[Member]:
    # A set has another order in each process, and the record would be that of another configuration.
    return sorted(members, key=repr) if isinstance(members, Set) else members


def _plain(member: Member) -> Member:
    return member if isinstance(member, str) else (int(member[0]), int(member[1]))


def _is_member(case: Case, member: Member) -> bool:
    if isinstance(member, str):
        return member in (case.case_id, case.patient_id)
    numbers = (_NUMBER_AT_END.search(each) for each in (case.case_id, case.patient_id))
    return any(member[0] <= int(number[1]) <= member[1] for number in numbers if number)
