"""Finding the cases: which CT belongs to which labels, and to which patient."""

from __future__ import annotations

import json
import numbers
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from drrproj.dataset.names import require_apart, require_file_name, require_one_spelling
from drrproj.dataset.store import few
from drrproj.io.csv_rows import csv_rows
from drrproj.io.label_names import read_label_names
from drrproj.warned import warn

__all__ = ["Case", "find_cases", "require_own_ids"]

_LABELS = ("segmentations", "segmentations.nii.gz", "segmentations.nii", "labels.nii.gz", "labels.nii", "seg.nii.gz")
_CT = ("ct.nii.gz", "ct.nii")
_ENDINGS = (".nii.gz", ".nii")
# Those of a manifest; the last need not be there.
_COLUMNS = ("case", "ct", "labels", "patient")
# Letters of columns that would be taken for the patient's, were they not called otherwise.
_LIKE_PATIENT = {"patient", "patientid", "subject", "subjectid", "pid", "mrn"}
# A case's name becomes part of file names, on every file system.
_CASE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
# Bytes; 255 are the most a file system takes, and a view of up to 40, the number of a pose and endings come behind it.
_LONGEST_ID = 180


@dataclass(frozen=True)
class Case:
    """One CT and its labels.

    Attributes
    ----------
    case_id : str
        Names the case in the dataset; up to 180 letters, digits and ``. _ + -``. A whole number becomes its text.
    ct, labels : Path
        NIfTI file; NIfTI file of label ids or folder of one mask per structure. A text becomes a path.
    patient_id : str
        Cases of one patient go to one split. A whole number becomes its text.
    problem : str or None
        Why this case cannot be made, known before it is read.
    names : Path or None
        Table of label names, where it does not lie beside the labels.

    Raises
    ------
    ValueError
        If the id is too long or cannot begin the name of a file, the patient has no name, or a path is empty.
    TypeError
        If a path is none.
    """

    case_id: str
    ct: Path
    labels: Path
    patient_id: str
    problem: str | None = None
    names: Path | None = None

    def __post_init__(self) -> None:
        for name in ("case_id", "patient_id"):
            value = getattr(self, name)
            # Tables, as pandas reads them, have ids that are numbers.
            if not isinstance(value, bool) and isinstance(value, numbers.Integral):
                object.__setattr__(self, name, str(value))
        _require_id(self.case_id)
        if not isinstance(self.patient_id, str) or not self.patient_id:
            raise ValueError(f"case {self.case_id}: the patient needs a name, a text; got {self.patient_id!r}")
        for name in ("ct", "labels", "names"):
            value = getattr(self, name)
            if value is None and name == "names":
                continue
            if not isinstance(value, str | os.PathLike):
                raise TypeError(f"case {self.case_id}: {name} must be a path; got {value!r}")
            if not os.fspath(value):
                raise ValueError(f"case {self.case_id}: the path of {name} is empty; say which file")
            object.__setattr__(self, name, Path(value))


def find_cases(path: str | os.PathLike[str]) -> tuple[Case, ...]:
    r"""Find pairs of CT and labels in a folder, or read them from a manifest.

    Parameters
    ----------
    path : str or path
        A CSV file with the columns ``case``, ``ct``, ``labels`` and, if patients have several CTs, ``patient``; its
        paths start from its own folder. Without ``patient`` each case is a patient of its own. Or a folder: one
        sub-folder per subject with ``ct.nii.gz`` and ``segmentations/`` (or ``segmentations.nii.gz``,
        ``labels.nii.gz``, ``seg.nii.gz``), as TotalSegmentator has it; such a subject itself; or nnU-Net raw data with
        ``imagesTr`` and ``labelsTr``.

    Returns
    -------
    tuple of Case
        Ordered by ``case_id``. A CT without labels, and labels without a CT, are cases with a ``problem``.

    Raises
    ------
    FileNotFoundError
        If there is no such file or folder.
    ValueError
        If nothing is found, an id comes twice, in other capitals too, is too long or cannot be a file name, two
        patients differ in capitals, blanks or the form of accents alone, the manifest is no sound CSV, lacks a column
        or has it twice, names the patients in a column of another name, leaves one of its cells empty, has cells beyond
        its columns or that span lines, or the table of an nnU-Net folder says that its first channel is no CT or that
        its labels are regions.

    Warns
    -----
    UserWarning
        Names the other columns of a manifest, which are not read, and sub-folders beside the subjects that hold neither
        a CT nor labels under these names; those that begin with a dot are passed over.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from drrproj.dataset.cases import find_cases
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     manifest = Path(folder, "manifest.csv")
    ...     _ = manifest.write_text("case,ct,labels,patient\na,a.nii.gz,a_seg.nii.gz,p1\n")
    ...     [(case.case_id, case.patient_id, case.problem) for case in find_cases(manifest)]
    [('a', 'p1', 'there is no CT a.nii.gz')]
    """
    where = Path(path)
    if not where.exists():
        raise FileNotFoundError(f"no such file or folder: {where}")
    if not where.is_dir():
        cases = _from_manifest(where)
    elif (where / "labelsTr").is_dir() or (where / "imagesTr").is_dir():
        cases = _from_nnunet(where)
    else:
        cases = _from_subjects(where)
    try:
        require_own_ids(cases)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return tuple(sorted(cases, key=lambda case: case.case_id))


def require_own_ids(cases: Collection[Case]) -> None:
    """Refuse cases that would be one in the dataset, and patients that are likely one.

    Raises
    ------
    ValueError
        If an id comes twice, in other capitals too, or two patients differ in capitals, blanks or the form of accents
        alone.
    """
    ids = Counter(case.case_id for case in cases)
    repeated = sorted(name for name, count in ids.items() if count > 1)
    if repeated:
        raise ValueError(f"the case ids {', '.join(repeated)} come more than once; each needs its own")
    require_apart(ids, "case ids")
    require_one_spelling(case.patient_id for case in cases)


def _from_manifest(manifest: Path) -> list[Case]:
    try:
        # utf-8-sig, because spreadsheets put a byte order mark first.
        text = manifest.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{manifest}: not a text file; a manifest is CSV with the columns case, ct, labels") from None
    rows = list(_rows(manifest, text))
    columns = [name.lower() for name in rows[0][1]] if rows else []
    missing = [name for name in _COLUMNS[:3] if name not in columns]
    if missing:
        raise ValueError(
            f"{manifest}: a manifest needs rows under the columns case, ct, labels, and patient where patients have "
            f"several CTs; missing: {', '.join(missing)}"
        )
    repeated = [name for name in _COLUMNS if columns.count(name) > 1]
    if repeated:
        raise ValueError(
            f"{manifest}, line {rows[0][0]}: the columns {', '.join(repeated)} come more than once, capitals or not; "
            "keep one of each"
        )
    others = [name for name in rows[0][1] if name and name.lower() not in _COLUMNS]
    like_patient = [name for name in others if re.sub("[^a-z]", "", name.lower()) in _LIKE_PATIENT]
    if like_patient and "patient" not in columns:
        raise ValueError(
            f"{manifest}, line {rows[0][0]}: there is no column patient, and {like_patient[0]!r} looks like it; rename "
            "it to patient, so that the cases of one patient go to one split, or leave it out"
        )
    if others:
        warn(f"{manifest}: columns other than {', '.join(_COLUMNS)} are not read: {few(others)}")
    if len(rows) == 1:
        raise ValueError(f"{manifest}: there are no rows under the columns {', '.join(rows[0][1])}; give each case one")
    cases = []
    for line, row in rows[1:]:
        beyond = [cell for cell in row[len(columns) :] if cell]
        if beyond:
            raise ValueError(
                f"{manifest}, line {line}: there are {len(columns)} columns, and {', '.join(map(repr, beyond))} lies "
                "beyond the last; put a cell that has a comma into quotes"
            )
        cells = dict.fromkeys(_COLUMNS, "") | dict(zip(columns, row, strict=False))
        if not cells["case"] or not cells["ct"] or not cells["labels"]:
            raise ValueError(f"{manifest}, line {line}: case, ct and labels must not be empty")
        if "patient" in columns and not cells["patient"]:
            raise ValueError(
                f"{manifest}, line {line}: the patient of the case {cells['case']} is empty; name one in every row, or "
                "leave out the column"
            )
        ct, labels = manifest.parent / cells["ct"], manifest.parent / cells["labels"]
        problem = (
            f"there is no CT {cells['ct']}"
            if not ct.exists()
            else f"there are no labels {cells['labels']}"
            if not labels.exists()
            else None
        )
        _checked_id(cells["case"], f"{manifest}, line {line}")
        cases.append(Case(cells["case"], ct, labels, cells["patient"] or cells["case"], problem))
    return cases


def _checked_id(case_id: str, place: str) -> str:
    """Return an id that can begin the name of a file; ``place`` says where it is from."""
    try:
        _require_id(case_id)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
    return case_id


def _require_id(case_id: str) -> None:
    if not isinstance(case_id, str) or not _CASE_ID.fullmatch(case_id):
        raise ValueError(f"the case id {case_id!r} becomes a file name, and may have letters, digits and . _ + -")
    if len(case_id) > _LONGEST_ID:
        raise ValueError(
            f"the case id has {len(case_id)} letters; it becomes part of file names, and may have {_LONGEST_ID}: "
            "shorten it"
        )
    require_file_name(case_id, "case id")


def _rows(manifest: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Line and stripped cells of each row that is not blank."""
    try:
        for line, row in csv_rows(text):
            if row:
                yield line, [cell.strip() for cell in row]
    except ValueError as error:
        raise ValueError(f"{manifest}, {error}") from error


def _from_subjects(folder: Path) -> list[Case]:
    one = _subject(folder)
    if one is not None:
        return [one]
    # Systems and programs keep folders of their own under names that begin with a dot.
    subjects = {path.name: _subject(path) for path in sorted(folder.iterdir()) if path.is_dir() and path.name[0] != "."}
    cases = [case for case in subjects.values() if case is not None]
    if not cases:
        raise ValueError(
            f"{folder}: no cases in this folder; it needs sub-folders with ct.nii.gz and segmentations/, or imagesTr "
            "and labelsTr, or pass a CSV manifest with the columns case, ct, labels"
        )
    others = [name for name, case in subjects.items() if case is None]
    if others:
        warn(
            f"{folder}: {len(others)} of {len(subjects)} sub-folders hold neither ct.nii.gz nor segmentations/, "
            f"segmentations.nii.gz, labels.nii.gz or seg.nii.gz, and are no cases: {few(others)}"
        )
    return cases


def _subject(folder: Path) -> Case | None:
    cts = [folder / name for name in _CT if (folder / name).is_file()]
    labels = [folder / name for name in _LABELS if (folder / name).exists()]
    if not cts and not labels:
        return None
    problem = None
    if len(cts) > 1 or len(labels) > 1:
        several = cts if len(cts) > 1 else labels
        problem = f"there are several of one kind: {', '.join(path.name for path in several)}; keep one"
    elif not labels:
        problem = "a CT without labels: there is no segmentations/, segmentations.nii.gz, labels.nii.gz or seg.nii.gz"
    elif not cts:
        problem = "labels without a CT: there is no ct.nii.gz"
    # A link to a folder has a name of its own; "." and ".." have none.
    name = _checked_id(folder.name if folder.name not in ("", "..") else folder.resolve().name, str(folder))
    return Case(name, cts[0] if cts else folder / _CT[0], labels[0] if labels else folder / _LABELS[0], name, problem)


def _from_nnunet(folder: Path) -> list[Case]:
    names = _nnunet_names(folder)
    images = _by_name(folder / "imagesTr")
    labels = _by_name(folder / "labelsTr")
    cts = {name.removesuffix("_0000"): path for name, path in images.items() if name.endswith("_0000")}
    cases = []
    for name in sorted(cts.keys() | labels.keys()):
        problem = (
            f"labels without a CT: there is no imagesTr/{name}_0000.nii.gz"
            if name not in cts
            else f"a CT without labels: there is no labelsTr/{name}.nii.gz"
            if name not in labels
            else None
        )
        ct = cts.get(name, folder / "imagesTr" / f"{name}_0000.nii.gz")
        _checked_id(name, str(ct if name in cts else labels[name]))
        cases.append(Case(name, ct, labels.get(name, folder / "labelsTr" / f"{name}.nii.gz"), name, problem, names))
    if not cases:
        raise ValueError(f"{folder}: no cases in imagesTr (name_0000.nii.gz) and labelsTr (name.nii.gz)")
    return cases


def _by_name(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        ending = next((ending for ending in _ENDINGS if path.name.endswith(ending)), None)
        # macOS leaves files named ._something beside each file it copies.
        if ending is None or path.name.startswith("."):
            continue
        name = path.name.removesuffix(ending)
        if found.setdefault(name, path) != path:
            raise ValueError(f"{folder}: two files of one case, {found[name].name} and {path.name}")
    return found


def _nnunet_names(folder: Path) -> Path | None:
    table = folder / "dataset.json"
    if not table.exists():
        return None
    try:
        content = json.loads(table.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{table}: not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{table}: it holds a {type(content).__name__}, and nnU-Net's dataset.json is an object, as in "
            '{"channel_names": {"0": "CT"}, "labels": {"background": 0, "heart": 1}}'
        )
    labels = content.get("labels")
    if isinstance(labels, dict):
        regions = [name for name, value in labels.items() if isinstance(value, list)]
        if regions:
            raise ValueError(
                f"{table}: {regions[0]} is a region of several ids, {json.dumps(labels[regions[0]])}, which this "
                "package does not read; give each id one name"
            )
        read_label_names(table)  # what is wrong with it is wrong with every case
    key = "channel_names" if "channel_names" in content else "modality"
    channels = content.get(key, {})
    if isinstance(channels, list):
        channels = {str(number): name for number, name in enumerate(channels)}
    if not isinstance(channels, dict) or (channels and "0" not in channels):
        raise ValueError(f'{table}: {key} must name the first channel, as in {{"0": "CT"}}; got {json.dumps(channels)}')
    # A table that names no channels at all says nothing against a CT.
    first = channels.get("0", "CT")
    if str(first).upper() != "CT":
        raise ValueError(f"{table}: its first channel is {first!r}, and projecting needs a CT")
    return table
