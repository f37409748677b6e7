"""What stands of a dataset from before, and which of its cases are to be made again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, cast

from drrproj.dataset.cases import Case
from drrproj.dataset.inputs import Inputs, changed, changed_content, find_inputs
from drrproj.dataset.one_case import CannotWrite
from drrproj.dataset.quality import few_ribs, few_vertebrae, missing_lobe, missing_organ, numbering_gap, unnamed_ids
from drrproj.dataset.store import Store, files_of, read_record, set_stamp
from drrproj.threads import default_threads

__all__ = ["Told", "look", "move", "reasons_left_out", "why_left_out"]

# Rules that miss structures by their names.
_THAT_COUNT = {rule.__name__ for rule in (few_ribs, few_vertebrae, numbering_gap, missing_lobe, missing_organ)}

Told: TypeAlias = Callable[[int], Callable[[str], None]]
"""Is told of how many cases something long is to be done; what it returns, what became of each."""

# A case, the file of its record, and what it says.
_Recorded: TypeAlias = tuple[Case, Path, dict[str, Any]]


@dataclass
class Standing:
    """What one reading of the records says.

    Attributes
    ----------
    files : dict of str to set of str
        Images and masks of each case that has a sound record.
    statuses : dict of str to str
        Of the cases asked for that need not be made.
    left_out : dict of str to str
        Why those of them that were not kept were not.
    changed : dict of str to str
        Cases whose inputs are not those of their record, and which parts.
    unknown : dict of str to str
        Cases whose inputs cannot be looked at, and why. They need not be made.
    moved : dict of str to str
        Cases whose record says another patient or split, and which; no picture depends on these.
    others : list of str
        Cases with a record that nobody asked for.
    """

    files: dict[str, set[str]] = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    changed: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)


def look(store: Store, cases: Sequence[Case], split_of: Mapping[str, str | None], told: Told | None) -> Standing:
    """Read each record of a dataset once, and hold those of the cases asked for against their files and inputs.

    A case stands if its record is of this configuration, all its images and masks are there, and its inputs are those
    of the record. One that failed is to be made again.

    Parameters
    ----------
    store : Store
    cases : sequence of Case
    split_of : mapping of str to str or None
        By case.
    told : callable or None
        Where inputs have to be read again, called with the number of these cases; what it returns, after each.
    """
    standing, files = Standing(), store.files()
    asked = {case.case_id: case for case in cases}
    to_compare: list[_Recorded] = []
    for path in store.record_paths():
        if path.stem not in asked:
            standing.others.append(path.stem)
        try:
            record = read_record(path)
        except ValueError:
            # Damaged: the case has to be made.
            continue
        standing.files[path.stem] = files_of(record)
        case = asked.get(path.stem)
        if case is None or record["status"] == "failed":
            continue
        now = {"patient": case.patient_id, "split": split_of[case.case_id]}
        moves = [f"{key} {now[key] or 'none'}, not {record[key] or 'none'}" for key in now if now[key] != record[key]]
        if moves:
            standing.moved[case.case_id] = "; ".join(moves)
        if record.get("configuration") == store.hash and standing.files[path.stem] <= files:
            to_compare.append((case, path, record))
    for (case, _, record), found in zip(to_compare, _compared(to_compare, told), strict=True):
        if isinstance(found, str):
            standing.unknown[case.case_id] = found
        elif found:
            standing.changed[case.case_id] = ", ".join(found)
            continue
        standing.statuses[case.case_id] = record["status"]
        if record["status"] != "kept":
            standing.left_out[case.case_id] = why_left_out(record["reasons"])
    return standing


def _compared(cases: Sequence[_Recorded], told: Told | None) -> list[list[str] | str]:
    """Say of each case which parts of its inputs changed, or why they cannot be looked at."""
    # Looking at many files waits for the disk, or the network, most of the time.
    threads = ThreadPoolExecutor(4 * default_threads())
    try:
        seen = list(threads.map(_looked_at, cases))
        to_read = [(place, found) for place, found in enumerate(seen) if isinstance(found, Inputs)]
        advance = told(len(to_read)) if told is not None and to_read else lambda _: None
        read = threads.map(lambda each: _read_again(cases[each[0]], each[1]), to_read)
        for (place, _), found in zip(to_read, read, strict=True):
            seen[place] = found
            advance("inputs read again")
    finally:
        # After Ctrl-C those that wait are not read.
        threads.shutdown(cancel_futures=True)
    return cast("list[list[str] | str]", seen)


def _looked_at(each: _Recorded) -> list[str] | str | Inputs:
    """Compare without reading; return the inputs where only that can tell."""
    case, path, record = each
    try:
        found = find_inputs(case)
        differing = changed(found, record.get("inputs", {}), path.stat().st_mtime_ns)
    except (OSError, ValueError) as error:
        return str(error)
    return found if differing is None else differing


def _read_again(each: _Recorded, found: Inputs) -> list[str] | str:
    _, path, record = each
    try:
        differing = changed_content(found, record.get("inputs", {}))
        if not differing:
            # So that the next build need not read the files again.
            set_stamp(path, found.stamp)
    except OSError as error:
        return str(error)
    return differing


def move(store: Store, case: Case, split: str | None) -> None:
    """Write patient and split of a case into its record, which says the same as before of all else.

    Raises
    ------
    CannotWrite
        If the record cannot be written.
    """
    path = store.record_path(case.case_id)
    try:
        record, stamp = read_record(path), path.stat().st_mtime_ns
        store.write_record(record | {"patient": case.patient_id, "split": split}, stamp)
    except OSError as error:
        raise CannotWrite(str(error)) from error


def reasons_left_out(reasons: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """Return those of a case's reasons for which it was dropped or failed.

    Labels without names drop no case, but a rule that counts ribs finds none among them: then they come first.
    """
    drops = [reason for reason in reasons if reason["severity"] == "drop"]
    counted = any(reason["rule"] in _THAT_COUNT for reason in drops)
    return [*(reason for reason in reasons if counted and reason["rule"] == unnamed_ids.__name__), *drops]


def why_left_out(reasons: Sequence[Mapping[str, str]]) -> str:
    """Say in one line why a case was dropped or failed."""
    return "; ".join(reason["message"] for reason in reasons_left_out(reasons))
