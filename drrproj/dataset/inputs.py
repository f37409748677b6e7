"""What a case was made of: its files, how large they are, and the SHA-256 of what is in them."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drrproj.dataset.cases import Case
from drrproj.io.label_names import find_label_names, read_label_names

__all__ = ["Inputs", "changed", "changed_content", "find_inputs"]

IN_WORDS = {"ct": "CT", "labels": "labels", "names": "names of the labels"}
"""What a sentence calls each part of the inputs."""

_ENDING = re.compile(r"(\.nii|\.img|\.hdr|\.nrrd|\.nhdr|\.mha|\.mhd|\.npz|\.npy)?(\.gz)?$")
# A header of NRRD or MetaImage says in a line of its own which file has the voxels.
_DATA_FILE = re.compile(rb"^(?:data ?file\s*:|ElementDataFile\s*=)[ \t]*(.+?)\s*$", re.M | re.I)
_LONGEST_HEADER = 65536
_PIECE = 1 << 20
# Nanoseconds: to so many do file systems round the time of a record down, from Linux's own to NTFS, exFAT, NFS and FAT.
_STEPS_OF_TIME = (1, 100, 10**3, 10**6, 10**7, 10**9, 2 * 10**9)


@dataclass(frozen=True)
class Inputs:
    """The files of a case, as they were when somebody looked.

    Attributes
    ----------
    files : mapping of str to mapping of str to Path
        For ``ct`` and ``labels``: each file by its name within that part.
    sizes : mapping of str to int, bytes
        Of each part.
    names : str or None
        SHA-256 of the label names that a table gives; None without a table. Not of the table: nnU-Net's counts the
        cases too, and a case more changes no picture of the others.
    stamp : int, nanoseconds
        The second of the latest change of any of the files; within it, a digest of the times of all. It changes when
        one is written, replaced or linked elsewhere.
    masks : bool
        Whether the labels are a folder of masks, where the name of a file says what it shows.
    """

    files: Mapping[str, Mapping[str, Path]]
    sizes: Mapping[str, int]
    names: str | None
    stamp: int
    masks: bool

    def as_record(self) -> dict[str, Any]:
        """Read every file, and say how large each part is and what the SHA-256 of its content is.

        For one file that is what ``sha256sum`` prints. For several, and for a folder of masks, it is the SHA-256 of the
        sorted lines that ``sha256sum`` prints of them; of a CT without the names, because slices are told apart by what
        they hold.

        Raises
        ------
        OSError
            If a file cannot be read.
        """
        record: dict[str, Any] = {}
        for part, files in self.files.items():
            with _in_words():
                digests = {name: _digest(path) for name, path in files.items()}
            record[part] = {**self._without_reading()[part], "sha256": self._joined(digests, part)}
        return record | self._names()

    def _joined(self, digests: Mapping[str, str], part: str) -> str:
        if len(digests) == 1 and not (part == "labels" and self.masks):
            return next(iter(digests.values()))
        lines = sorted(digest if part == "ct" else f"{digest}  {name}" for name, digest in digests.items())
        return hashlib.sha256("".join(f"{line}\n" for line in lines).encode(errors="backslashreplace")).hexdigest()

    def _without_reading(self) -> dict[str, Any]:
        return {
            part: ({"files": len(files)} if len(files) != 1 else {}) | {"bytes": self.sizes[part]}
            for part, files in self.files.items()
        } | self._names()

    def _names(self) -> dict[str, Any]:
        return {} if self.names is None else {"names": {"sha256": self.names}}


def find_inputs(case: Case) -> Inputs:
    """Look for the files of a case, without reading them.

    Raises
    ------
    ValueError
        If the case has a problem that is known without reading it, or its table of names is none.
    OSError
        If a file or folder is not there, or may not be looked at.
    """
    if case.problem is not None:
        raise ValueError(case.problem)
    with _in_words():
        files = {"ct": _files_at(case.ct), "labels": _files_at(case.labels)}
        found = {part: [os.stat(path) for path in paths.values()] for part, paths in files.items()}
        # Where times of records are whole seconds, a link that leads elsewhere is told by its own.
        files_of_all = (path for paths in files.values() for path in paths.values())
        places = {*case.ct.parents, *case.labels.parents, *files_of_all}
        links = [os.lstat(place) for place in places if os.path.islink(place)]
    times = [max(each.st_mtime_ns, each.st_ctime_ns) for part in found.values() for each in part]
    times += [each.st_ctime_ns for each in links]
    sizes = {part: sum(each.st_size for each in of_part) for part, of_part in found.items()}
    return Inputs(files, sizes, _names_digest(case), _stamp(times), case.labels.is_dir())


def _stamp(times: list[int]) -> int:
    # The latest alone would not tell that a folder with older files, of the same sizes, took the place of another.
    digest = hashlib.sha256(json.dumps(sorted(times)).encode()).digest()
    return max(times, default=0) // 10**9 * 10**9 + int.from_bytes(digest[:8], "big") % 10**9


def changed(found: Inputs, recorded: Mapping[str, Any], stamp: int) -> list[str] | None:
    """Name the parts of the inputs that are no longer those of a record; None where only their content can tell.

    Parameters
    ----------
    found : Inputs
        As they are now.
    recorded : mapping
        ``inputs`` of the record.
    stamp : int, nanoseconds
        Of the inputs when the record was written.
    """
    before = dict(recorded)
    for part in found.files:
        before[part] = {key: value for key, value in recorded.get(part, {}).items() if key != "sha256"}
    differing = _differing(found._without_reading(), before)
    is_known = stamp in (found.stamp // step * step for step in _STEPS_OF_TIME)
    return differing if differing or is_known else None


def changed_content(found: Inputs, recorded: Mapping[str, Any]) -> list[str]:
    """Read the inputs, and name the parts that are no longer those of a record.

    Raises
    ------
    OSError
        If a file cannot be read.
    """
    return _differing(found.as_record(), recorded)


def _differing(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    return [words for part, words in IN_WORDS.items() if now.get(part) != before.get(part)]


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no such file or folder: {error.filename}") from error
    except OSError as error:
        raise type(error)(f"cannot read {error.filename}: {error.strerror}") from error


def _files_at(place: Path) -> dict[str, Path]:
    if place.is_dir():
        return dict(_files_below(os.fspath(place), ""))
    if place.exists() and not place.is_file():
        # To read a pipe would be to wait for ever.
        raise ValueError(f"{place} is neither a file nor a folder, but a device or a pipe; pass a file")
    return {path.name: path for path in (place, *_voxels_of(place))}


def _files_below(folder: str, prefix: str) -> Iterator[tuple[str, Path]]:
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            # Hidden files are those of a desktop, and no reader takes one.
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _files_below(entry.path, f"{prefix}{entry.name}/")
            elif entry.is_file():
                yield f"{prefix}{entry.name}", Path(entry.path)


def _voxels_of(header: Path) -> list[Path]:
    """Files that a header leaves the voxels, or the affine, to."""
    ending = _ENDING.search(header.name)
    stem = header.name[: ending.start()] if ending else header.name
    beside = [header.with_name(f"{header.stem}_affine.npy")] if header.suffix == ".npy" else []
    if ending and ending[1] in (".img", ".hdr"):
        other = ".hdr" if ending[1] == ".img" else ".img"
        beside += [header.with_name(f"{stem}{other}{zipped}") for zipped in ("", ".gz")]
    if header.stat().st_size <= _LONGEST_HEADER:
        named = _DATA_FILE.search(header.read_bytes())
        if named and named[1].upper() != b"LOCAL":
            path = header.parent / os.fsdecode(named[1])
            # A list or a pattern of names: one of the files of the folder may be meant by it.
            beside += [path] if path.is_file() else [each for each in header.parent.iterdir() if each != header]
    return sorted(path for path in beside if path.is_file())


def _names_digest(case: Case) -> str | None:
    if case.names is not None:
        names = read_label_names(case.names)
    else:
        names = {} if case.labels.is_dir() else find_label_names(case.labels)
    return hashlib.sha256(json.dumps(sorted(names.items())).encode()).hexdigest() if names else None


def _digest(path: Path) -> str:
    digest, piece = hashlib.sha256(), bytearray(_PIECE)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(piece):
            digest.update(memoryview(piece)[:count])
    return digest.hexdigest()
