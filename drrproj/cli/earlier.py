"""What an earlier run left in a folder: two patients must not lie in it side by side."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from drrproj.geometry import RADIOGRAPH_VIEWS
from drrproj.io.file_names import file_names

__all__ = ["PICTURES", "add_overwrite", "check_earlier", "files_of_records", "old_results"]

PICTURES = (".json", ".png", "_overlay.png")
"""How the files of a view end that every drawing command writes; the record comes first, which knows its view."""

_NAMED = 4


def add_overwrite(add: Callable[..., argparse.Action]) -> None:
    """Add the argument that :func:`old_results` and :func:`check_earlier` read."""
    add(
        "--overwrite",
        action="store_true",
        help="replace what an earlier run wrote to OUT, and files called as this one's (default: refuse such a folder)",
    )


def old_results(
    arguments: argparse.Namespace, endings: Sequence[str], others: Sequence[str] = (), views: Sequence[str] = ()
) -> list[Path]:
    """Return what is to go when this run has written: the files that the records in the folder list.

    A file that is merely called like one, such as somebody's own ``PA.dcm``, is never among them.

    Parameters
    ----------
    arguments : Namespace
        Of the command line; the folder may be missing.
    endings : sequence of str
        How the files of a view are called behind its name, which this run may write.
    others : sequence of str
        Names of files beside those of views; ``"masks"`` stands for the pictures of masks below it.
    views : sequence of str
        The views of this run, where they are known already.

    Returns
    -------
    list of Path
        Records before all other files.

    Raises
    ------
    ValueError
        If there is anything, or what is called so, and ``--overwrite`` was not given; if this run reads it.
    """
    folder = arguments.out
    old = files_of_records(sorted(folder.glob("*.json")), {"display", "source", "versions"})
    stems = [path.stem for path in old if path.suffix == ".json"]
    alike = _results(folder, list(dict.fromkeys([*RADIOGRAPH_VIEWS, *views, *stems])), endings, others)
    check_earlier(arguments, old, alike)
    return old


def check_earlier(arguments: argparse.Namespace, old: Sequence[Path], alike: Sequence[Path] = ()) -> None:
    """Refuse files of an earlier run, and those called alike, without ``--overwrite``, and with it what this run reads.

    Raises
    ------
    ValueError
        If there are such files.
    """
    folder = arguments.out
    if old and not arguments.overwrite:
        raise ValueError(
            f"{folder} holds results of an earlier run ({_named(folder, old)}), and these would lie between them; "
            "choose another folder with -o, or add --overwrite, which removes them"
        )
    if alike and not arguments.overwrite:
        raise ValueError(
            f"{folder} holds files that are called as results are, and no run is known to have made them "
            f"({_named(folder, alike)}); choose another folder with -o, or add --overwrite, which replaces those that "
            "this run writes"
        )
    read = _inputs(arguments)
    for path in (*old, *alike):
        real = Path(os.path.realpath(path))
        if not read.isdisjoint((real, *real.parents)):
            raise ValueError(
                f"this run reads {path}, which --overwrite would remove or replace; choose another folder with -o"
            )


def files_of_records(paths: Iterable[Path], keys: set[str]) -> list[Path]:
    """List the files that earlier runs wrote, those that are still there, by their records; these come first.

    Parameters
    ----------
    paths : iterable of Path
        Files that may be records; another file that happens to be JSON is passed over.
    keys : set of str
        What a record has.

    Returns
    -------
    list of Path
    """
    records, others = [], []
    for path in paths:
        if files := _files_of_record(path, keys):
            records.append(path)
            others += [file for file in files if file.is_file()]
    return list(dict.fromkeys([*records, *others]))


def _files_of_record(path: Path, keys: set[str]) -> list[Path]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if not keys <= record.keys():
            return []
        if "files" in record:
            names = [Path(name) for name in record["files"]]
        else:  # of a run that did not list them: what it wrote beside its picture is not known
            is_own = path.stem.endswith(record["geometry"]["names"][0])
            names = [Path(path.name), Path(f"{path.stem}.png")] if is_own else []
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return []
    # A record that was given another name speaks of the files of then; one that points elsewhere is none of ours.
    if Path(path.name) not in names or any(name.anchor or ".." in name.parts for name in names):
        return []
    return [path.parent / name for name in names]


def _results(folder: Path, stems: Sequence[str], endings: Sequence[str], others: Sequence[str]) -> list[Path]:
    found = [folder / f"{stem}{ending}" for stem in stems for ending in endings]
    for other in others:
        if other == "masks":
            found += [file for stem in file_names(stems) for file in sorted((folder / other / stem).glob("*.png"))]
        else:
            found.append(folder / other)
    return [path for path in found if path.is_file()]


def _named(folder: Path, paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(path.relative_to(folder).as_posix() for path in paths[:_NAMED]) + more


def _inputs(arguments: argparse.Namespace) -> set[Path]:
    values = [value for option, value in vars(arguments).items() if option != "out"]
    paths = [path for value in values for path in (value if isinstance(value, list) else [value])]
    return {Path(os.path.realpath(path)) for path in paths if isinstance(path, Path)}
