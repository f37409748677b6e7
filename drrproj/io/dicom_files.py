"""DICOM files: found in a folder, in a zip or alone, and their data elements with the tag in every complaint."""

from __future__ import annotations

import os
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from drrproj.extras import from_extra
from drrproj.warned import warn

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

__all__ = [
    "DicomFile",
    "Header",
    "converting",
    "dicom_files",
    "is_dicom",
    "numbers",
    "one_number",
    "open_zip",
    "other_volumes",
    "quiet_pydicom",
    "read_dataset",
    "read_headers",
    "short_text",
    "tag_text",
    "text",
]

_OTHER_VOLUMES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
_START = 132  # a preamble of 128 bytes and the letters DICM
_ENDINGS = (".dcm", ".dicom", ".ima")
_PDF = "is a PDF"


@dataclass(frozen=True)
class DicomFile:
    """Where a data set lies: a file, or a member of a zip."""

    name: str
    open: Callable[[], BinaryIO]


@dataclass(frozen=True)
class Header:
    """What stands before the pixels of a DICOM file, and where they begin."""

    file: DicomFile
    dataset: FileDataset
    pixels_at: int | None
    """Offset of the first byte of pixels; None where they are compressed, deflated or missing."""


def is_dicom(start: bytes) -> bool:
    """Tell from its first 132 bytes whether a file is DICOM.

    With a preamble it says so. Files of the time before it begin with a data element of group 8 (or 2), in either
    byte order.
    """
    return start[128:132] == b"DICM" or (
        len(start) == _START
        and start[:4]
        in (*(bytes((8, 0, element, 0)) for element in (0, 5, 8, 0x12, 0x16)), b"\x02\0\0\0", b"\0\x08\0\0")
    )


def dicom_files(path: str | os.PathLike[str]) -> list[DicomFile]:
    """List the DICOM files of a folder and its sub-folders, of a zip, or the one file itself.

    Other files are passed over, and so are hidden ones, and a DICOMDIR, which lists what is there but holds nothing.
    Links to folders are followed where no volume lies beside them, each folder once.

    Raises
    ------
    FileNotFoundError
        If there is no such folder or file.
    ValueError
        If a sub-folder cannot be read, the zip is damaged or has a password, or a file is called as the DICOM files are
        and is none: empty, cut short before its contents begin, or another kind of file.

    Warns
    -----
    UserWarning
        Names files that could be slices by their names, are none, and are not called as the DICOM files are; and links
        to other folders that are not followed.
    """
    place = Path(path)
    links: list[Path] = []
    if place.is_dir():
        members, links = _files_in(place)
        found = [_file(member) for member in members if member.is_file() or _is_lost_slice(member)]
    elif zipfile.is_zipfile(place):
        found = list(_members(place))
    elif place.exists():
        found = [_file(place)]
    else:
        raise FileNotFoundError(f"no such file or folder: {path}")
    slices, strays = _told_apart([file for file in found if Path(file.name).name.upper() != "DICOMDIR"])
    if slices and strays:
        warn(f"{path}: left out {_few(strays)}: not DICOM, and not called as the DICOM files are")
    if slices and links:
        warn(f"{path}: left out what lies behind {_few([f'the link {link.name}' for link in links])}")
    return slices


def other_volumes(path: str | os.PathLike[str]) -> list[str]:
    """Name the volumes in other formats that lie in a folder or zip, by their endings."""
    place = Path(path)
    if place.is_dir():
        names = [str(member.relative_to(place)) for member in _files_in(place)[0]]
    elif zipfile.is_zipfile(place):
        names = [member.filename for member in open_zip(place).infolist()]
    else:
        names = []
    return [name for name in names if name.lower().endswith(_OTHER_VOLUMES) and not _is_hidden(Path(name))]


def _files_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """List what is no folder, in one order, without what is hidden, and the links to other folders that are left out.

    A folder may be one of links; where a volume lies beside a link, what is behind it is another one.
    """
    own, links = _walked(folder, follow=False)
    if links and not any(_is_volume(path) for path in own):
        return _walked(folder, follow=True)
    return own, links


def _walked(folder: Path, follow: bool) -> tuple[list[Path], list[Path]]:
    def refuse(error: OSError) -> None:
        raise ValueError(f"{error.filename}: this folder cannot be read: {error.strerror}") from error

    found, links = [], []
    root = folder.resolve()
    seen = {root}
    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=follow):
        # Of two ways to a folder the first counts, so that a link back up ends.
        walked = []
        for name in sorted(folders):
            path = Path(place, name)
            behind = path.resolve()
            if name.startswith(".") or behind in seen:
                continue
            if path.is_symlink() and not follow:
                if not behind.is_relative_to(root) and not root.is_relative_to(behind):
                    links.append(path)
                continue
            seen.add(behind)
            walked.append(name)
        folders[:] = walked
        found += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted(found), links


def _is_volume(path: Path) -> bool:
    if path.name.lower().endswith(_OTHER_VOLUMES):
        return True
    try:
        # A pipe would be waited for.
        return path.is_file() and is_dicom(_start(_file(path)))
    except OSError:
        return False


def _may_be_slice(path: Path) -> bool:
    """Tell whether a name says DICOM, or nothing: a number or a UID."""
    ending = path.suffix.lower()
    return ending in (*_ENDINGS, "") or ending[1:].isdigit()


def _is_lost_slice(path: Path) -> bool:
    """Tell whether a link leads nowhere that may have led to a slice."""
    return _may_be_slice(path) and path.is_symlink() and not path.exists()


def _is_hidden(path: Path) -> bool:
    # macOS leaves files named ._something beside each file it copies.
    return any(part.startswith(".") for part in path.parts)


def _file(path: Path) -> DicomFile:
    return DicomFile(str(path), lambda: path.open("rb"))


def open_zip(path: str | os.PathLike[str]) -> zipfile.ZipFile:
    """Open a zip; one that is damaged, or packed in a way that Python does not know, is refused by its name."""
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: the zip is damaged or cut short: {error}; copy or download it again") from error


def _members(path: Path) -> Iterator[DicomFile]:
    archive = open_zip(path)
    for member in archive.infolist():
        if not member.filename.endswith("/") and not _is_hidden(Path(member.filename)):
            yield DicomFile(f"{path}/{member.filename}", partial(_open_member, archive, member))


def _open_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> BinaryIO:
    return cast(BinaryIO, archive.open(member))


def _start(file: DicomFile) -> bytes:
    with file.open() as stream:
        return stream.read(_START)


def _told_apart(files: Sequence[DicomFile]) -> tuple[list[DicomFile], list[str]]:
    """Return the DICOM files, and what is said of those that are none but may be meant as such; refuse lost slices."""
    faults = [_fault(file) for file in files]
    slices = [file for file, fault in zip(files, faults, strict=True) if fault is None]
    patterns = {_pattern(file) for file in slices}
    # Where nothing is DICOM, an ending that says so still asks what happened to the file.
    endings = {Path(file.name).suffix.lower() for file in slices}.intersection(_ENDINGS) if slices else _ENDINGS
    strays = []
    for file, fault in zip(files, faults, strict=True):
        if not fault:
            continue
        path = Path(file.name)
        if _pattern(file) in patterns or (path.suffix.lower() in endings and fault != _PDF):
            raise ValueError(
                f"{file.name}: the DICOM file is damaged or cut short: it {fault}; copy it again or remove it"
            )
        strays.append(f"{path.name}, which {fault}")
    return slices, strays


def _pattern(file: DicomFile) -> str:
    """Return what the names of one export's files share: all but numbers, UIDs and hexadecimal digits."""
    return re.sub(r"[0-9a-f.]+", "0", Path(file.name).name.lower())


def _fault(file: DicomFile) -> str | None:
    """Say why a file that may be meant as DICOM is none; empty where it is not meant so, None where it is DICOM."""
    path = Path(file.name)
    try:
        start = _start(file)
    except (EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        if _is_lost_slice(path):
            return "is a link that leads nowhere"
        # zipfile has a RuntimeError for a member that needs a password.
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise ValueError(f"{file.name}: cannot be read: {reason}") from error
    if is_dicom(start):
        return None
    # A preamble is zeros, as a rule.
    is_cut = len(start) < _START and not any(start[:128]) and b"DICM".startswith(start[128:])
    if not (is_cut and _may_be_slice(path)) and path.suffix.lower() not in _ENDINGS:
        return ""
    if start.startswith(b"%PDF"):
        return _PDF
    if not start:
        return "is empty"
    return f"ends after {len(start)} bytes" if is_cut else "does not begin as DICOM does"


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keep pydicom's warnings about values that break the standard but harm nothing here off the screen."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_dataset(file: DicomFile) -> FileDataset:
    """Read a whole DICOM file.

    Raises
    ------
    ValueError
        If it is damaged or cut short.
    """
    dcmread = _dcmread()
    with _damage(file), quiet_pydicom(), file.open() as stream:
        return dcmread(stream, force=True)


def read_headers(files: Sequence[DicomFile], keywords: Sequence[str | int]) -> list[Header]:
    """Read the named elements of many files, without their pixels.

    Parameters
    ----------
    files : sequence of DicomFile
    keywords : sequence of str or int
        Elements to keep, by DICOM keyword or tag.

    Returns
    -------
    list of Header
        In the order of ``files``.
    """
    dcmread = _dcmread()

    def header(file: DicomFile) -> Header:
        with _damage(file), file.open() as stream:
            dataset = dcmread(stream, stop_before_pixels=True, specific_tags=list(keywords), force=True)
            return Header(file, dataset, _pixels_at(stream, dataset))

    with quiet_pydicom():
        # One after the other: the parsing holds the interpreter's lock, and threads made 130 local files slower.
        return [header(file) for file in files]


def _dcmread() -> Callable[..., FileDataset]:
    with from_extra("dicom", "reading DICOM"):
        from pydicom import dcmread
    return dcmread


@contextmanager
def converting(name: str) -> Iterator[None]:
    """Say which file is damaged where pydicom finds it out late, when it makes a value of an element's bytes."""
    with from_extra("dicom", "reading DICOM"):
        from pydicom.errors import BytesLengthException

    try:
        yield
    except (NotImplementedError, OSError, struct.error, BytesLengthException) as error:
        raise ValueError(f"{name}: the DICOM file is damaged or cut short: {error}") from error


@contextmanager
def _damage(file: DicomFile) -> Iterator[None]:
    from pydicom.errors import BytesLengthException, InvalidDicomError

    try:
        yield
    except (
        EOFError,
        OSError,
        ValueError,
        KeyError,
        AttributeError,
        RuntimeError,
        struct.error,
        BytesLengthException,
        InvalidDicomError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(f"{file.name}: the DICOM file is damaged or cut short: {error}") from error


def _pixels_at(stream: BinaryIO, dataset: FileDataset) -> int | None:
    syntax = dataset.file_meta.get("TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
    # pydicom has no answer for a private syntax; what it is shows when the pixels are wanted.
    if syntax is not None and (syntax.is_private or syntax.is_compressed or syntax.is_deflated):
        return None
    is_implicit, is_little = dataset.original_encoding
    at = stream.tell()
    if stream.read(4) != (b"\xe0\x7f\x10\x00" if is_little else b"\x7f\xe0\x00\x10"):
        return None
    # After the tag: a length of four bytes, or a type of two, two of padding and a length of four.
    return at + (8 if is_implicit else 12)


def tag_text(keyword: str) -> str:
    """Name an element as people look it up: ``PixelSpacing (0028,0030)``.

    Examples
    --------
    >>> from drrproj.io.dicom_files import tag_text
    >>> tag_text("PixelSpacing")
    'PixelSpacing (0028,0030)'
    """
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(keyword) or 0
    return f"{keyword} ({tag >> 16:04x},{tag & 0xFFFF:04x})"


def numbers(dataset: Any, keyword: str, count: int | None = None) -> list[float] | None:
    """Return the finite numbers of an element; None where it is absent or empty.

    Raises
    ------
    ValueError
        If it holds other values, or not ``count`` of them.
    """
    try:
        value = dataset.get(keyword)
        if value is None or value == "" or (isinstance(value, Sequence) and not len(value)):
            return None
        values = [
            float(item) for item in (value if isinstance(value, Sequence) and not isinstance(value, str) else [value])
        ]
    except (ValueError, TypeError) as error:
        raise ValueError(f"its {tag_text(keyword)} is no number: {error}") from error
    if not all(abs(item) < float("inf") for item in values) or (count is not None and len(values) != count):
        wanted = "finite numbers" if count is None else f"{count} finite number{'s' * (count > 1)}"
        raise ValueError(f"its {tag_text(keyword)} must be {wanted}; got {values}")
    return values


def one_number(dataset: Any, keyword: str) -> float | None:
    """Return the number of an element; None where it is absent or empty."""
    values = numbers(dataset, keyword, 1)
    return None if values is None else values[0]


def short_text(value: str) -> str:
    """Make a text one that fits an element of 64 characters, in which a backslash would begin another value."""
    return value.replace("\\", "/")[:64]


def text(dataset: Any, keyword: str) -> str:
    """Return an element as text without padding; empty where it is absent."""
    value = dataset.get(keyword)
    return "" if value is None else str(value).strip().strip("\0")
