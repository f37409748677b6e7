"""What an earlier run left in a folder: two patients must not lie in it side by side."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from drrproj.geometry import RADIOGRAPH_VIEWS
from drrproj.io.file_names import file_names

__all__ = ["PICTURES", "add_overwrite", "earlier_results", "old_results", "removed"]

PICTURES = (".png", "_overlay.png", ".json")
"""How the files of a view end that every drawing command writes; the record comes last, which knows its view."""

_NAMED = 4


def add_overwrite(add: Callable[..., argparse.Action]) -> None:
    """Add the argument that :func:`old_results` reads."""
    add(
        "--overwrite",
        action="store_true",
        help="remove what an earlier run wrote to OUT, and nothing else, before writing (default: such a folder is "
        "refused)",
    )


def earlier_results(folder: Path, endings: Sequence[str], others: Sequence[str] = ()) -> list[Path]:
    """List what a command wrote into a folder.

    Parameters
    ----------
    folder : Path
        May be missing.
    endings : sequence of str
        How the files of a view are called behind its name.
    others : sequence of str
        Names of files beside those of views; ``"masks"`` stands for the pictures of masks below it.

    Returns
    -------
    list of Path
        Files, those of views in the order of ``endings``.
    """
    if not folder.is_dir():
        return []
    stems = list(dict.fromkeys([*RADIOGRAPH_VIEWS, *_stems_of_records(folder)]))
    found = [folder / f"{stem}{ending}" for stem in stems for ending in endings]
    for other in others:
        if other == "masks":
            found += [file for stem in file_names(stems) for file in sorted((folder / other / stem).glob("*.png"))]
        else:
            found.append(folder / other)
    return [path for path in found if path.is_file()]


def old_results(arguments: argparse.Namespace, found: Iterable[Path]) -> list[Path]:
    """Return what is to be removed before this run writes.

    Raises
    ------
    ValueError
        If there is anything, and ``--overwrite`` was not given; if this run reads it.
    """
    old, folder = list(found), arguments.out
    if not old:
        return old
    if not arguments.overwrite:
        names = [path.relative_to(folder).as_posix() for path in old]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        raise ValueError(
            f"{folder} holds results of an earlier run ({', '.join(names[:_NAMED])}{more}), and these would lie "
            "between them; choose another folder with -o, or add --overwrite, which removes them first"
        )
    read = _inputs(arguments)
    for path in old:
        if not read.isdisjoint((path.resolve(), *path.resolve().parents)):
            raise ValueError(f"this run reads {path}, which --overwrite would remove; choose another folder with -o")
    return old


def removed(folder: Path, old: Iterable[Path]) -> None:
    """Remove files of an earlier run from a folder, and the folders of masks that are left empty."""
    of_masks = set()
    for path in old:
        path.unlink(missing_ok=True)
        if path.parent != folder:
            of_masks |= {path.parent, path.parent.parent}
    for below in sorted(of_masks, reverse=True):
        with contextlib.suppress(OSError):  # somebody's own file is in it
            below.rmdir()


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
