"""New results take the place of earlier ones in a folder: all of them, or none."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from drrproj.cli.earlier import check_earlier
from drrproj.warned import warn

__all__ = ["exchanged"]

_HIDDEN = ".drrproj-"


@contextlib.contextmanager
def exchanged(arguments: argparse.Namespace, old: Sequence[Path]) -> Iterator[Path]:
    """Give a folder to write results to; where the block ends well, they take the place of the old ones.

    Until then, and for good where anything fails, the old ones stay as they are, and nothing of the new ones is there.

    Parameters
    ----------
    arguments : Namespace
        Of the command line: the folder, which exists, and ``--overwrite``.
    old : sequence of Path
        Files of earlier runs in it, records before all other files. Those that have no successor are removed.

    Yields
    ------
    Path
        An empty folder on the same disk, hidden in the other one.

    Raises
    ------
    ValueError
        If a file that is not among the old ones would be replaced, and ``--overwrite`` was not given; if this run
        reads it.
    OSError
        If a file cannot be written, or a folder or a device has the name of one; it names the file by the place that
        it was meant for.
    """
    folder = arguments.out
    for left in sorted(folder.glob(f"{_HIDDEN}*")):
        warn(
            f"{left} was left by a run that was killed, unless one is at work there now: results that it took out are "
            "in old, those that it did not put in are in new; move back what you need, and remove it"
        )
    try:
        hidden = Path(tempfile.mkdtemp(dir=folder, prefix=_HIDDEN))
    except OSError as error:
        raise OSError(f"cannot write to the folder {folder}: {error.strerror}; choose another with -o") from error
    new, aside = hidden / "new", hidden / "old"
    try:
        new.mkdir()
        yield new
        _exchange(arguments, old, new, aside)
        shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise _said_of(folder, new, error) from error
    finally:
        # What could not be put back, as after a second Ctrl-C, is kept there.
        if all(path.is_dir() for path in aside.rglob("*")):
            shutil.rmtree(hidden, ignore_errors=True)


def _exchange(arguments: argparse.Namespace, old: Sequence[Path], new: Path, aside: Path) -> None:
    folder = arguments.out
    # Records last into the folder and first out of it: not even a run that is killed leaves one without its picture.
    files = sorted((path for path in new.rglob("*") if path.is_file()), key=lambda path: path.suffix == ".json")
    places = [folder / path.relative_to(new) for path in files]
    for place in places:
        if place.is_dir():
            raise IsADirectoryError(f"cannot write {place}: it is a folder; move it, or choose another folder with -o")
        if place.exists() and not place.is_file():
            raise OSError(f"cannot write {place}: it is a device or a pipe; choose another folder with -o")
    check_earlier(arguments, [], [place for place in places if place.exists() and place not in old])
    replaced = list(dict.fromkeys([*old, *reversed(places)]))
    moved: list[tuple[Path, Path]] = []
    try:
        for path in replaced:
            if os.path.lexists(path):
                _move(path, aside / path.relative_to(folder), moved)
        for path, place in zip(files, places, strict=True):
            before = aside / place.relative_to(folder)
            if before.exists():
                # A file that only its owner may read stays so.
                path.chmod(before.stat().st_mode & 0o777)
            _move(path, place, moved)
    except BaseException:
        for source, target in reversed(moved):
            if os.path.lexists(source):  # it was not moved, or only a part of it was copied
                target.unlink(missing_ok=True)
            elif os.path.lexists(target):
                shutil.move(target, source)
        _without_empty_folders(folder, places)
        raise
    _without_empty_folders(folder, replaced)


def _move(source: Path, target: Path, moved: list[tuple[Path, Path]]) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise type(error)(f"cannot make the folder {target.parent}: {error.strerror}") from error
    # Noted before it is done, so that an interruption in between is undone, too.
    moved.append((source, target))
    # Of masks that are a link to another disk a rename would be refused.
    shutil.move(source, target)


def _without_empty_folders(folder: Path, paths: Sequence[Path]) -> None:
    """Remove the folders of these files, as of masks, that hold no other file."""
    for path in paths:
        for below in list(path.relative_to(folder).parents)[:-1]:  # without the folder itself
            with contextlib.suppress(OSError):
                (folder / below).rmdir()


def _said_of(folder: Path, new: Path, error: OSError) -> OSError:
    """Return the error with the place that a file was meant for in place of the one where it was written."""
    text = str(error)
    for written in (os.path.realpath(new), str(new)):
        text = text.replace(written, str(folder))
    said = type(error)(text)
    said.errno = error.errno
    return said
