"""The dataset on disk: one folder, one record per case, and every file whole or not there.

A case's record is written after its images and masks, so a record says that all of the case is there. Nothing in a
dataset depends on when, where or in what order its cases were made, but ``log.jsonl``, which tells exactly that.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.dataset.lock import only_build
from drrproj.display import Display
from drrproj.geometry import Geometry
from drrproj.io.grey import read_grey
from drrproj.io.numpy_arrays import DAMAGE, write_archive
from drrproj.io.sidecar import plain_json
from drrproj.radiograph import LabelMasks, Radiograph
from drrproj.replace import replaced
from drrproj.short_text import shown

__all__ = [
    "FORMAT",
    "NOT_ON_VIEW",
    "Sample",
    "Store",
    "create_store",
    "differences",
    "few",
    "files_of",
    "open_store",
    "read_json",
    "read_record",
    "require_store",
    "set_stamp",
]

FORMAT = "drrproj dataset 2"
"""What ``dataset.json`` calls its format; another layout gets another number."""

_WITHOUT_INPUTS = "drrproj dataset 1"

NOT_ON_VIEW = "it has voxels, but no ray of this view"
"""How the reason begins of a class that was made, and is not on one picture."""

_OF_A_VIEW = ("image", "masks", "geometry", "display", "areas", "absent")
# What a record is made of. ``...`` stands for every key; a list, for any number of the same.
_KINDS = {
    "patient": str,
    "status": str,
    "reasons": [{"rule": str, "severity": str, "message": str}],
    "split": str | None,
    "inputs": {...: {...: str | int}},
    "views": {
        ...: {
            "image": str,
            "masks": str,
            "geometry": dict,
            "display": dict,
            "areas": {...: int},
            "absent": {...: str},
        }
    },
}
_OF_VIEWS = ("images", "masks")
_FOLDERS = (*_OF_VIEWS, "records")
_ENDING_IN = {"images": ".png", "masks": ".npz"}
# So many letters of two values fit into a sentence.
_LONGEST_DIFFERENCE = 300
_PART = re.compile(r"\..+\.[0-9a-f]{8}\.part")

Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Sample:
    """One X-ray of a dataset and its anatomy.

    Attributes
    ----------
    case_id, patient_id, view : str
    split : str or None
        ``train``, ``val``, ``test`` or another name; None for a case outside of every split.
    image_path : Path
        Grey PNG.
    record_of_view : dict
        ``image``, ``masks``, ``geometry``, ``display``, ``areas`` and ``absent`` of this view.
    masks_path : Path
        The packed masks.
    """

    case_id: str
    patient_id: str
    view: str
    split: str | None
    image_path: Path
    record_of_view: dict[str, Any]
    masks_path: Path

    @property
    def name(self) -> str:
        """``<case>_<view>``, which no other sample of the dataset has."""
        return f"{self.case_id}_{self.view}"

    @property
    def absent(self) -> dict[str, str]:
        """Why each class without a mask has none."""
        return dict(self.record_of_view["absent"])

    @property
    def areas(self) -> dict[str, int]:
        """Pixels of each present class."""
        return dict(self.record_of_view["areas"])

    def image(self) -> npt.NDArray[Any]:
        """Levels of the picture, shape (rows, columns), uint8 or uint16; ``display`` in the record says of what."""
        return read_grey(self.image_path)

    def packed_masks(self) -> tuple[tuple[str, ...], Bytes, tuple[int, int]]:
        """Names of the present classes, their masks at one bit a pixel, (n, rows, ceil(columns / 8)), and the shape.

        Raises
        ------
        ValueError
            If the file is damaged.
        OSError
            If it is not there, or cannot be opened.
        """
        try:
            # Opened here, because numpy leaves a file that is no archive open, and not below, where OSError is damage.
            file = self.masks_path.open("rb")
        except FileNotFoundError:
            raise FileNotFoundError(f"no such file: {self.masks_path}") from None
        try:
            with file, np.load(file, allow_pickle=False) as archive:
                rows, columns = (int(size) for size in archive["shape"])
                return tuple(archive["names"].tolist()), archive["packed"], (rows, columns)
        except (ValueError, KeyError, AttributeError, TypeError, *DAMAGE) as error:
            raise ValueError(f"{self.masks_path}: these are no masks of a dataset, or damaged ones: {error}") from error

    def masks(self) -> dict[str, Bools]:
        """Mask of each present class, shape (rows, columns)."""
        names, packed, (_, columns) = self.packed_masks()
        return {
            name: np.unpackbits(mask, axis=-1, count=columns).view(np.bool_)
            for name, mask in zip(names, packed, strict=True)
        }

    def radiograph(self) -> Radiograph:
        """Line integrals, as exactly as the picture's levels hold them, and masks: what the drawing functions take."""
        record, display = self.record_of_view["geometry"], self.record_of_view["display"]
        names, packed, (_, columns) = self.packed_masks()
        line_integral = Display(**display).restore(self.image())
        return Radiograph(
            geometry=Geometry(record["views"], tuple(record["shape"]), record["names"]),
            images={
                "line_integral": line_integral[None],
                "masks": LabelMasks(packed[:, None], columns, range(1, len(names) + 1), names),
            },
            backend="",
            record={},
        )


@dataclass(frozen=True, eq=False)
class Store:
    """A dataset on disk; :func:`open_store` and :func:`create_store` make it.

    Attributes
    ----------
    path : Path
    configuration : dict
        What all its cases were made with.
    hash : str
        Of the configuration; every record carries it.
    """

    path: Path
    configuration: dict[str, Any]
    hash: str
    declared_classes: tuple[str, ...] | None
    groups: dict[str, tuple[str, ...]]

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the taxonomy; without one, all that the cases have, in alphabetical order."""
        if self.declared_classes is not None:
            return self.declared_classes
        found: set[str] = set()
        for record in self.records():
            for view in record["views"].values():
                found.update(view["areas"], view["absent"])
        return tuple(sorted(found))

    def record_path(self, case_id: str) -> Path:
        return self.path / "records" / f"{case_id}.json"

    def record_paths(self) -> list[Path]:
        """Files of the records, ordered by case.

        Raises
        ------
        OSError
            If their folder cannot be read.
        """
        folder = self.path / "records"
        return sorted(folder / name for name in _names_in(folder) if name.endswith(".json") and name[0] != ".")

    def records(self) -> Iterator[dict[str, Any]]:
        """Records of all cases, ordered by case: kept, dropped and failed ones.

        Raises
        ------
        ValueError
            If one is damaged.
        """
        for path in self.record_paths():
            yield read_record(path)

    def files(self) -> set[str]:
        """Return the places of all images and masks that are there, as records name them.

        Raises
        ------
        OSError
            If a folder cannot be read.
        """
        # Listed, because asking for every file on its own is slow on network file systems.
        return {f"{folder}/{name}" for folder in _OF_VIEWS for name in _names_in(self.path / folder)}

    def sweep(self, files_of_case: Mapping[str, Collection[str]], cases: Collection[str] = ()) -> list[str]:
        """Delete what an interruption left: halves of files, and pictures and masks of cases without a record of them.

        Parameters
        ----------
        files_of_case : mapping of str to collection of str
            Places of the images and masks that the record of each case speaks of.
        cases : collection of str
            Cases that may have left files, but no record.

        Returns
        -------
        list of str
            Places of what is in the way and not this dataset's; it stays.
        """
        spoken_of = {place for places in files_of_case.values() for place in places}
        others = []
        for folder in (*_FOLDERS, "."):
            for path in sorted((self.path / folder).iterdir()):
                place = f"{folder}/{path.name}"
                if _is_part(path) and not path.is_dir():
                    path.unlink()
                elif folder in _OF_VIEWS and place not in spoken_of:
                    if self._is_of_case(path, _ENDING_IN[folder], files_of_case, cases) and not path.is_dir():
                        path.unlink()
                    else:
                        others.append(place)
        return others

    def _is_of_case(self, path: Path, ending: str, *cases: Collection[str]) -> bool:
        """Whether a file is called as a picture of one of these cases would be."""
        names = {view["name"] for view in self.configuration.get("views", ())}
        stem = path.name.removesuffix(ending)
        for place in (place for place, letter in enumerate(stem) if letter == "_"):
            view = stem[place + 1 :]
            # Several poses of a view are numbered.
            if (view in names or view.rpartition("-")[0] in names) and any(stem[:place] in each for each in cases):
                return path.name.endswith(ending)
        return False

    def samples(self, split: str | None = None) -> Iterator[Sample]:
        """X-rays of the kept cases, ordered by case; all, or those of a split."""
        for record in self.records():
            if record["status"] == "kept" and split in (None, record["split"]):
                yield from self.samples_of(record)

    def samples_of(self, record: Mapping[str, Any]) -> Iterator[Sample]:
        """X-rays of one case."""
        for view, entry in record["views"].items():
            yield Sample(
                record["case"],
                record["patient"],
                view,
                record["split"],
                self.path / entry["image"],
                entry,
                self.path / entry["masks"],
            )

    def places(self, case_id: str, view: str) -> tuple[str, str]:
        """Where a case has the picture and the masks of a view."""
        return f"images/{case_id}_{view}.png", f"masks/{case_id}_{view}.npz"

    def write_masks(self, case_id: str, view: str, names: Sequence[str], packed: Bytes, shape: tuple[int, int]) -> str:
        """Write the masks of one view, of shape (n, rows, ceil(columns / 8)); return their place in the dataset.

        Raises
        ------
        ValueError
            If names, masks and shape do not fit each other.
        OSError
            If the file cannot be written.
        """
        rows, columns = shape
        if packed.shape != (len(names), rows, (columns + 7) // 8) or packed.dtype != np.uint8:
            raise ValueError(
                f"{len(names)} masks of {rows} x {columns} need shape {(len(names), rows, (columns + 7) // 8)} in "
                f"uint8; got {packed.shape} in {packed.dtype}"
            )
        _, place = self.places(case_id, view)
        arrays = {"packed": packed, "names": np.array(list(names), np.str_), "shape": np.array(shape, np.int64)}
        with replaced(self.path / place) as file:
            write_archive(file, arrays)
        return place

    def write_record(self, record: Mapping[str, Any], stamp: int | None = None) -> None:
        """Write the record of a case, which says that the case is done, when its images and masks are on the disk.

        Parameters
        ----------
        record : mapping of JSON values
        stamp : int, nanoseconds, optional
            Of the inputs; it becomes the time of the file.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        # What the record vouches for comes first: after a power cut a name may be there without its content.
        for place in sorted(files_of(record)):
            # One that was lost is made again by the next build.
            with contextlib.suppress(FileNotFoundError), (self.path / place).open("rb") as file:
                os.fsync(file.fileno())
        text = plain_json({"configuration": self.hash, **record})
        with replaced(self.record_path(record["case"])) as file:
            # The name of a file may have bytes that are no text.
            file.write(text.encode(errors="backslashreplace") + b"\n")
            file.flush()
            if stamp is not None:
                set_stamp(file.fileno(), stamp)
            os.fsync(file.fileno())


def require_store(store: Store) -> None:
    """Refuse what is no dataset, such as the folder that holds one; or raise TypeError."""
    given: Any = store
    if not isinstance(given, Store):
        raise TypeError(f"store must be a Store, as open_store(folder) gives it; got {shown(given)}")


def set_stamp(record: Path | int, stamp: int) -> None:
    """Give the file of a record the time of the inputs, which tells a build without reading them that they stand."""
    # Where the file is another user's this may not be: then each build reads the inputs.
    with contextlib.suppress(PermissionError):
        os.utime(record, ns=(stamp, stamp))


def files_of(record: Mapping[str, Any]) -> set[str]:
    """Return the places of the images and masks of a case."""
    return {view[kind] for view in record["views"].values() for kind in ("image", "masks")}


def read_record(path: Path) -> dict[str, Any]:
    """Read the record of one case.

    Raises
    ------
    ValueError
        If it is damaged, or lies under another case's name.
    OSError
        If it is not there, or cannot be read.
    """
    try:
        record = read_json(path)
    except ValueError as error:
        raise ValueError(f"{error}; the record is damaged: build again, which makes its case again") from error
    missing = [key for key in ("case", "patient", "status", "reasons", "split", "views") if key not in record]
    if missing:
        raise ValueError(
            f"{path}: this is no record of a case; it has no {', '.join(missing)}; build again, which makes its case "
            "again"
        )
    views = record["views"].values() if isinstance(record["views"], dict) else [None]
    lacking = [key for key in _OF_A_VIEW if not all(isinstance(view, dict) and key in view for view in views)]
    if lacking:
        raise ValueError(f"{path}: its views lack {', '.join(lacking)}; build again, which makes its case again")
    for key, kind in _KINDS.items():
        # A record that no build wrote may say nothing of its inputs.
        if key in record and not _is_of_kind(record[key], kind):
            raise ValueError(f"{path}: what it says of its {key} is damaged; build again, which makes its case again")
    if record["case"] != path.stem:
        raise ValueError(f"{path}: this is the record of {record['case']}, under another name; delete it")
    return record


def _is_of_kind(value: Any, kind: Any) -> bool:
    if isinstance(kind, list):
        return isinstance(value, list) and all(_is_of_kind(each, kind[0]) for each in value)
    if not isinstance(kind, dict):
        return isinstance(value, kind)
    if not isinstance(value, dict):
        return False
    if isinstance(kind.get(...), type):
        # Of hundreds of classes, in each of a million records.
        return set(map(type, value.values())) <= {kind[...]}
    if ... in kind:
        return all(_is_of_kind(each, kind[...]) for each in value.values())
    return all(key in value and _is_of_kind(value[key], each) for key, each in kind.items())


def configuration_hash(configuration: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a configuration, as hexadecimal text; the order of its keys does not matter."""
    text = json.dumps(configuration, sort_keys=True, allow_nan=False, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def differences(
    there: Mapping[str, Any], asked: Mapping[str, Any], names: tuple[str, str] = ("there", "here")
) -> list[str]:
    """Say in which keys two configurations differ, one text per key.

    Parameters
    ----------
    there, asked : mapping of JSON values
    names : (str, str)
        Where each of the two is, as the texts say it.
    """
    return [
        text
        for key in sorted(there.keys() | asked.keys())
        for text in _differing(key, there.get(key), asked.get(key), names)
    ]


def _differing(key: str, there: Any, asked: Any, names: tuple[str, str]) -> Iterator[str]:
    if there == asked:
        return
    both = f"{json.dumps(there)} {names[0]} and {json.dumps(asked)} {names[1]}"
    if len(both) <= _LONGEST_DIFFERENCE:
        yield f"{key} is {both}"
    elif isinstance(there, dict) and isinstance(asked, dict):
        for each in sorted(there.keys() | asked.keys()):
            yield from _differing(f"{key} {each}", there.get(each), asked.get(each), names)
    elif isinstance(there, list) and isinstance(asked, list):
        # Lists of splits have the ids of all patients.
        texts = [dict.fromkeys(map(json.dumps, each)) for each in (there, asked)]
        alone = [[text for text in one if text not in other] for one, other in (texts, texts[::-1])]
        parts = [f"{len(each)} only {name} ({few(each, 3)})" for each, name in zip(alone, names, strict=True) if each]
        yield f"{key} has {' and '.join(parts) or 'another order'}"
    else:
        yield f"{key} is {_cut(there)} {names[0]} and {_cut(asked)} {names[1]}"


def _cut(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _LONGEST_DIFFERENCE // 2 else f"{text[: _LONGEST_DIFFERENCE // 2]} ..."


def few(names: Collection[str], most: int = 5) -> str:
    """Name the first ones, and how many others there are."""
    first = ", ".join(list(names)[:most])
    others = len(names) - most
    return first if others <= 0 else f"{first} and {others} other{'s' * (others > 1)}"


def create_store(
    path: str | os.PathLike[str],
    configuration: Mapping[str, Any],
    classes: Sequence[str] | None,
    groups: Mapping[str, Sequence[str]],
) -> Store:
    """Make the folder of a dataset, or open the one that is there if it has the same configuration.

    Parameters
    ----------
    path : str or path
        New, empty, or a dataset of this configuration.
    configuration : mapping of JSON values
        Everything that decides what the cases look like.
    classes : sequence of str or None
        Names in the order of the taxonomy; None when the label files decide.
    groups : mapping of str to sequence of str
        Classes by group.

    Returns
    -------
    Store

    Raises
    ------
    ValueError
        If a dataset of another configuration is there (the message says what differs), or other files are.
    BlockingIOError
        If another build is beginning there.
    OSError
        If the folder cannot be made.

    Examples
    --------
    >>> import tempfile
    >>> from drrproj.dataset.store import create_store, open_store
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = create_store(folder, {"seed": 1}, ["heart"], {"mediastinum": ["heart"]})
    ...     open_store(folder).hash == store.hash, list(store.records())
    (True, [])
    """
    folder = Path(path)
    # Through JSON, so that what is asked and what is read back compare equal.
    asked = json.loads(plain_json(dict(configuration)))
    if (folder / "dataset.json").exists():
        store = open_store(folder)
        differing = differences(store.configuration, asked)
        if differing:
            raise ValueError(
                f"{folder} holds a dataset of another configuration: {'; '.join(differing)}; choose another folder, or "
                "build with the same choices"
            )
        # Folders that a copy left out because they were empty.
        _make_folders(folder)
        return store
    if folder.is_dir() and any(
        entry.name not in (*_FOLDERS, "log.jsonl", ".lock") for entry in folder.iterdir() if not _is_part(entry)
    ):
        raise ValueError(f"{folder} is not empty and holds no dataset; choose another folder")
    _make_folders(folder)
    header = {
        "format": FORMAT,
        "hash": configuration_hash(asked),
        "configuration": asked,
        "classes": None if classes is None else list(classes),
        "groups": {name: list(members) for name, members in groups.items()},
    }
    # Under the lock, and then compared, because another build may have begun in the same new folder.
    with only_build(folder):
        if not (folder / "dataset.json").exists():
            with replaced(folder / "dataset.json") as file:
                file.write(plain_json(header).encode() + b"\n")
    return create_store(path, configuration, classes, groups)


def _make_folders(folder: Path) -> None:
    try:
        for name in _FOLDERS:
            (folder / name).mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise type(error)(
            f"cannot make the folder {folder}: there is a file, or a link that leads nowhere; choose another name"
        ) from error
    except OSError as error:
        raise type(error)(f"cannot make the folder {folder}: {error.strerror}; choose another place") from error


def open_store(path: str | os.PathLike[str]) -> Store:
    """Open a dataset.

    Parameters
    ----------
    path : str or path
        Its folder.

    Returns
    -------
    Store

    Raises
    ------
    FileNotFoundError
        If there is no dataset.
    ValueError
        If its ``dataset.json`` is damaged, of another format, or changed by hand.
    """
    folder = Path(path)
    if not (folder / "dataset.json").exists():
        raise FileNotFoundError(f"{folder}: no dataset here; there is no dataset.json")
    header = read_json(folder / "dataset.json")
    if header.get("format") != FORMAT:
        if header.get("format") == _WITHOUT_INPUTS:
            raise ValueError(
                f"{folder}: an earlier version made this dataset ({_WITHOUT_INPUTS!r}), whose records do not say of "
                f"which files they were made; this version reads {FORMAT!r}: build it again, into a new folder"
            )
        raise ValueError(
            f"{folder / 'dataset.json'}: its format is {header.get('format')!r}, and this version reads {FORMAT!r}"
        )
    missing = [key for key in ("configuration", "hash", "classes", "groups") if key not in header]
    if missing:
        raise ValueError(f"{folder / 'dataset.json'}: it has no {', '.join(missing)}; make the dataset again")
    if configuration_hash(header["configuration"]) != header["hash"]:
        raise ValueError(f"{folder / 'dataset.json'}: the hash is not that of the configuration; was it edited?")
    classes = header["classes"]
    return Store(
        folder,
        header["configuration"],
        header["hash"],
        None if classes is None else tuple(classes),
        {name: tuple(members) for name, members in header["groups"].items()},
    )


def _names_in(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        # A copy left it out because it was empty.
        return []
    except OSError as error:
        raise type(error)(f"cannot read {folder}: {error.strerror}") from error


def _is_part(path: Path) -> bool:
    """Whether a kill left this: the half of a file that was to take its place."""
    return _PART.fullmatch(path.name) is not None


def read_json(path: Path) -> dict[str, Any]:
    """Read an object of JSON; a file that is missing, no JSON or no object is told by its name."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no such file: {path}") from error
    except OSError as error:
        raise type(error)(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: it should hold an object in braces")
    return content
