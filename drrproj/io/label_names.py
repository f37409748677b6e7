"""Names of label ids: from a table beside the label file, or from the label file's own header."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.parsers import expat

from drrproj.io.csv_rows import csv_rows
from drrproj.io.kinds import checked_path
from drrproj.label_volume import odd_character

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

__all__ = ["find_label_names", "names_from_header", "read_label_names"]

_ID_COLUMNS = ("index", "id", "label_id")
_NAME_COLUMNS = ("name", "label_name", "structure")
# Whole numbers under a head with one of these words are measured, and no ids.
_COUNTED = ("volume", "voxel")

# Words of the records that BIDS and dcm2niix write beside an image, which are numbers and texts by name as well.
_WORDS_OF_NUMBERS = {
    *("AcquisitionNumber", "AcquisitionTime", "EchoTime", "FlipAngle", "RepetitionTime", "SeriesNumber"),
    "SliceThickness",
}
_RECORD_WORDS = _WORDS_OF_NUMBERS | {
    *("Atlas", "BodyPartExamined", "ConversionSoftware", "ConvolutionKernel", "Density", "Description", "GeneratedBy"),
    *("ImageType", "InstitutionName", "Manual", "Manufacturer", "ManufacturersModelName", "Modality"),
    *("PatientPosition", "ProtocolName", "RawSources", "Resolution", "SeriesDescription", "SeriesInstanceUID"),
    *("SkullStripped", "SoftwareVersions", "Sources", "SpatialReference", "TaskName"),
}

_LABEL_ENDINGS = (".nii", ".img", ".hdr", ".nrrd", ".nhdr", ".mha", ".mhd", ".npz", ".npy")

# "unknown" and "caret" in the NIfTI registry: TotalSegmentator writes the one, Connectome Workbench the other.
_CARET_CODES = (0, 30)


class _NoTable(ValueError):
    """A file that is of another kind than a table of names, which beside a label file is no mistake."""


def read_label_names(path: str | os.PathLike[str]) -> dict[int, str]:
    """Read names of label ids from a table.

    Parameters
    ----------
    path : str or path
        ``.json``: ids to names, every one, or names to ids, at the top or under ``"labels"`` as nnU-Net's
        ``dataset.json`` has them. ``.tsv`` or ``.csv``: columns ``index`` (or ``id``, ``label_id``) and ``name`` (or
        ``label_name``, ``structure``), as BIDS and TotalSegmentator have them.

    Returns
    -------
    dict of int to str
        Without the background, id 0.

    Raises
    ------
    TypeError
        If ``path`` is no path.
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is neither kind of table, holds no names, has a key twice with two values, gives one id two names, or a
        name has a character that is no text: a control character, such as NUL or a line end, or half of a surrogate
        pair.

    Examples
    --------
    >>> from importlib.resources import files
    >>> from drrproj.io.label_names import read_label_names
    >>> read_label_names(files("drrproj") / "data" / "chest_3mm" / "labels.json")[51]
    'heart'
    """
    try:
        names = _read_table(path)
    except _NoTable as error:
        raise ValueError(str(error)) from None
    if not names:
        raise ValueError(f'{path}: no label names in it; it needs pairs such as {{"51": "heart"}}')
    return names


def find_label_names(label_path: str | os.PathLike[str]) -> dict[int, str]:
    """Read the table beside a label file: the same name with the ending .json, .tsv or .csv; empty where none is.

    Files of another kind have such names too, and are passed over: JSON that is no whole table and has a key word of
    BIDS or dcm2niix, such as ``Modality`` or ``EchoTime``, while most of it is no ids and names; JSON without any pair
    of a whole number and a text; and rows, such as volumes of structures, of which no column may be ids, or none names.
    What is neither that nor a whole table is refused.

    Raises
    ------
    ValueError
        As :func:`read_label_names`, where it is a table of names.
    """
    label_file = Path(label_path)
    stem = label_file.name.removesuffix(".gz")
    stem = next((stem.removesuffix(ending) for ending in _LABEL_ENDINGS if stem.endswith(ending)), stem)
    for ending in (".json", ".tsv", ".csv"):
        table = label_file.with_name(stem + ending)
        if table.is_file():
            try:
                names = _read_table(table)
            except _NoTable:
                continue
            if names:
                return names
    return {}


def names_from_header(header: Nifti1Header) -> dict[int, str]:
    """Read the label table that TotalSegmentator writes into the NIfTI header; empty where none is.

    Raises
    ------
    ValueError
        If the table is no well-formed XML, brings a document type, in which entities could be defined, or gives an id
        two names or one with a control character.
    """
    for extension in header.extensions:
        if extension.get_code() in _CARET_CODES:
            content = extension.get_content()
            if isinstance(content, bytes) and b"<CaretExtension" in content:
                return _names_from_caret(content)
    return {}


def _read_table(path: str | os.PathLike[str]) -> dict[int, str]:
    try:
        # utf-8-sig, because spreadsheets put a byte order mark first.
        text = Path(checked_path(path)).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise FileNotFoundError(f"no such file: {path}") from None
    except OSError as error:
        raise type(error)(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not a text file; label names come as .json, .tsv or .csv") from None
    ending = Path(path).suffix.lower()
    try:
        if ending == ".json":
            return _unique(_pairs_from_json(text))
        if ending in (".tsv", ".csv"):
            return _unique(_pairs_from_rows(text, "\t" if ending == ".tsv" else ","))
    except _NoTable as error:
        raise _NoTable(f"{path}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    raise ValueError(f"{path}: label names come as .json, .tsv or .csv")


class _Object(dict[str, Any]):
    """An object of JSON, which knows all its pairs: a dict alone loses what stands under a key that comes again."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs

    def require_once(self, key: str) -> None:
        values = [value for name, value in self.pairs if name == key]
        if any(type(value) is not type(values[0]) or value != values[0] for value in values):
            raise ValueError(f"it has {json.dumps(key)} twice, of which one would be lost; remove or rename one")


def _pairs_from_json(text: str) -> list[tuple[int, str]]:
    try:
        table: Any = json.loads(text, object_pairs_hook=_Object)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"not valid JSON: {error}") from error
    may_be_record = True
    if isinstance(table, _Object) and isinstance(table.get("labels"), _Object):
        table.require_once("labels")
        table, may_be_record = table["labels"], False
    pairs = table.pairs if isinstance(table, _Object) else []
    are_names = [_is_id(key) and isinstance(value, str) for key, value in pairs]
    are_ids = [isinstance(value, int) and not isinstance(value, bool) for _, value in pairs]
    if may_be_record and not all(are_names) and not (all(are_ids) and _one_to_one(pairs)):
        _require_no_record(pairs, are_names, are_ids)
    if not any((*are_names, *are_ids)):
        raise _NoTable('no label names in it; it needs pairs such as {"51": "heart"}')
    for key, _ in pairs:
        table.require_once(key)
    if all(are_names):
        return [(int(key), name) for key, name in pairs]
    if all(are_ids):
        return [(label_id, name) for name, label_id in pairs]
    fit = are_names if sum(are_names) >= sum(are_ids) else are_ids
    key, value = pairs[fit.index(False)]
    raise ValueError(
        f"every entry must be one id and one name, all in one order; got {json.dumps(key)}: {json.dumps(value)}"
    )


def _one_to_one(pairs: list[tuple[str, int]]) -> bool:
    distinct = set(pairs)
    return len(distinct) == len({key for key, _ in distinct}) == len({label_id for _, label_id in distinct})


def _require_no_record(pairs: list[tuple[str, Any]], are_names: list[bool], are_ids: list[bool]) -> None:
    # The one kind of whole number that says nothing for a table; under another word, such as Atlas, it is an id.
    are_ids = [is_id and key not in _WORDS_OF_NUMBERS for is_id, (key, _) in zip(are_ids, pairs, strict=True)]
    told = (key for (key, _), is_id in zip(pairs, are_ids, strict=True) if key in _RECORD_WORDS and not is_id)
    word = next(told, None)
    if word is not None and 2 * max(sum(are_names), sum(are_ids)) <= len(pairs):
        raise _NoTable(f"it is a record of how an image was made, which tells its {word}, and no table of names")


def _is_id(text: str) -> bool:
    return text.strip().isdecimal()


def _pairs_from_rows(text: str, delimiter: str) -> list[tuple[int, str]]:
    rows = csv_rows(text, delimiter)
    header = [cell.strip().lower() for cell in next(rows, (1, []))[1]]
    id_columns = [column for column, name in enumerate(header) if name in _ID_COLUMNS]
    head = next((name for name in _NAME_COLUMNS if name in header), None)
    name_columns = [column for column, name in enumerate(header) if name == head]
    if not id_columns or not name_columns:
        said = f"the first row must name the columns index and name; got {', '.join(header) or 'nothing'}"
        words = set(re.split(r"\s*[,;\t]\s*", ",".join(header)))
        if words & set(_ID_COLUMNS) and words & set(_NAME_COLUMNS):
            raise ValueError(f"{said}, which {'a tab' if delimiter != ',' else 'a comma'} would have to separate")
        if _may_be_names(text):
            raise ValueError(f"{said}; if it is no table of label names, give it a name that is not the label file's")
        raise _NoTable(said)
    pairs = []
    for line, row in rows:
        if not any(cell.strip() for cell in row):
            continue
        # pandas writes the number of a row as `index` before the id.
        for columns, what in ((id_columns, "ids"), (name_columns, "names")):
            cells = {row[column].strip() for column in columns if column < len(row)}
            if len(cells) > 1:
                heads = " and ".join(header[column] for column in columns)
                raise ValueError(f"line {line}: columns {heads} give other {what} each; keep one of them")
        if len(row) <= max(*id_columns, *name_columns) or not _is_id(row[id_columns[0]]):
            raise ValueError(f"every row must have one id and one name; got {delimiter.join(row)!r}")
        pairs.append((int(row[id_columns[0]]), row[name_columns[0]].strip()))
    return pairs


def _may_be_names(text: str) -> bool:
    """Whether rows whose first one does not name both columns may still be ids and names, whatever separates them."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    rows = [
        [cell.strip(' "') for cell in (re.split("[,;\t]", line) if re.search("[,;\t]", line) else line.split(None, 1))]
        for line in lines
    ]
    if not rows:
        return False
    header = [cell.lower() for cell in rows[0]]
    has_none = any(map(_is_id, header)) and any(map(_is_text, header))
    body = rows if has_none else rows[1:]
    columns = range(len(header))
    counted = {column for column in columns if any(word in header[column] for word in _COUNTED)}
    if counted:
        # pandas numbers the rows of such a table in a column without a head.
        counted |= {column for column in columns if not header[column]}
    ids = [
        column
        for column in columns
        if header[column] in _ID_COLUMNS or (_mostly(_is_id, body, column) and column not in counted)
    ]
    names = [column for column in columns if header[column] in _NAME_COLUMNS or _mostly(_is_text, body, column)]
    is_named = any(word in (*_ID_COLUMNS, *_NAME_COLUMNS) for word in header)
    # A number behind a text is as often a measure as an id; one before it is an id.
    return any(label_id != name and (is_named or has_none or label_id < name) for label_id in ids for name in names)


def _mostly(is_so: Callable[[str], bool], rows: list[list[str]], column: int) -> bool:
    return 2 * sum(len(row) > column and is_so(row[column]) for row in rows) > len(rows)


def _is_text(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return any(character.isalpha() for character in cell)
    return False


def _names_from_caret(content: bytes) -> dict[int, str]:
    pairs: list[tuple[int, str]] = []
    parser = expat.ParserCreate()
    parser.buffer_text = True

    def start(tag: str, attributes: Mapping[str, str]) -> None:
        if tag == "Label":
            pairs.append((int(attributes.get("Key", "")), ""))
            parser.CharacterDataHandler = name

    def name(text: str) -> None:
        pairs[-1] = (pairs[-1][0], pairs[-1][1] + text)

    def end(_tag: str) -> None:
        parser.CharacterDataHandler = None

    def refuse(*_: Any) -> None:
        raise ValueError("it defines a document type, which a label table has no use for")

    parser.StartElementHandler, parser.EndElementHandler, parser.StartDoctypeDeclHandler = start, end, refuse
    try:
        parser.Parse(content.rstrip(b"\0 \n\r\t"), True)
    except (expat.ExpatError, ValueError) as error:
        raise ValueError(f"the label table in its header cannot be read ({error}); pass names=") from error
    return _unique((label_id, text.strip()) for label_id, text in pairs)


def _unique(pairs: Iterable[tuple[int, str]]) -> dict[int, str]:
    names: dict[int, str] = {}
    for label_id, name in pairs:
        if (odd := odd_character(name)) is not None:
            raise ValueError(f"label {label_id} is named {name!r}, and {odd!r} in it is no text; rename it")
        if names.setdefault(label_id, name) != name:
            raise ValueError(f"label {label_id} has two names, {names[label_id]!r} and {name!r}")
    names.pop(0, None)
    return names
