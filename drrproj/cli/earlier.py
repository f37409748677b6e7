"""What an earlier run left in a folder: two patients must not lie in it side by side."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from drrproj.geometry import RADIOGRAPH_VIEWS
from drrproj.io.file_names import file_names

__all__ = ["PICTURES", "add_overwrite", "check_earlier", "old_results", "removed"]

PICTURES = (".json", ".png", "_overlay.png")
"""How the files of a view end that every drawing command writes; the record comes first, which knows its view."""

_NAMED = 4


def add_overwrite(add: Callable[..., argparse.Action]) -> None:
    """Add the argument that :func:`old_results` and :func:`check_earlier` read."""
    add(
        "--overwrite",
        action="store_true",
        help="remove what an earlier run wrote to OUT, and nothing else, before writing (default: such a folder is "
        "refused)",
    )


def old_results(arguments: argparse.Namespace, endings: Sequence[str], others: Sequence[str] = ()) -> list[Path]:
    """Return what is to be removed before this run writes: files of views whose records are there, and their company.

    A file that is merely called like one, such as somebody's own ``PA.dcm``, is never among them.

    Parameters
    ----------
    arguments : Namespace
        Of the command line; the folder may be missing.
    endings : sequence of str
        How the files of a view are called behind its name.
    others : sequence of str
        Names of files beside those of views; ``"masks"`` stands for the pictures of masks below it.

    Returns
    -------
    list of Path
        Records before the other files of their views, in the order of ``endings``, and then the others.

    Raises
    ------
    ValueError
        If there is anything, or what is called so, and ``--overwrite`` was not given; if this run reads it.
    """
    folder = arguments.out
    stems = _stems_of_records(folder)
    old = _results(folder, stems, endings, others) if stems else []
    alike = _results(folder, list(dict.fromkeys([*RADIOGRAPH_VIEWS, *stems])), endings, others)
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
            "choose another folder with -o, or add --overwrite, which removes them first"
        )
    if alike and not arguments.overwrite:
        raise ValueError(
            f"{folder} holds files that are called as results are, and no run is known to have made them "
            f"({_named(folder, alike)}); choose another folder with -o, or add --overwrite, which replaces those that "
            "this run writes"
        )
    read = _inputs(arguments)
    for path in (*old, *alike):
        if not read.isdisjoint((path.resolve(), *path.resolve().parents)):
            raise ValueError(
                f"this run reads {path}, which --overwrite would remove or replace; choose another folder with -o"
            )


def removed(folder: Path, old: Sequence[Path]) -> None:
    """Remove files of an earlier run from a folder, and the folders of masks that are left empty."""
    # Backwards, so that records go last: a run that is stopped here leaves what tells the next one of the rest.
    for path in reversed(old):
        path.unlink(missing_ok=True)
        for below in () if path.parent == folder else (path.parent, path.parent.parent):
            with contextlib.suppress(OSError):  # another file is in it
                below.rmdir()


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


def _stems_of_records(folder: Path) -> list[str]:
    """Return how the views are called whose records, as the command line writes them, lie in a folder."""
    stems = []
    for path in sorted(folder.glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            name = record["geometry"]["names"][0]
            is_own = {"display", "source", "versions"} <= record.keys() and path.stem.endswith(name)
        except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError):
            continue  # another file that happens to be JSON
        if is_own:
            stems.append(path.stem)
    return stems


def _inputs(arguments: argparse.Namespace) -> set[Path]:
    values = [value for option, value in vars(arguments).items() if option != "out"]
    paths = [path for value in values for path in (value if isinstance(value, list) else [value])]
    return {path.resolve() for path in paths if isinstance(path, Path)}
