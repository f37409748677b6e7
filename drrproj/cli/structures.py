"""Which structures the labels of a command have: files, names, groups, and the ones asked for."""

from __future__ import annotations

import argparse
import difflib
import re
import shlex
from collections.abc import Callable, Sequence

import drrproj
from drrproj.cli.commands import named_path
from drrproj.cli.results import as_text, is_text
from drrproj.cli.screen import say
from drrproj.io.kinds import kind_of
from drrproj.name_patterns import matching
from drrproj.short_text import counted

__all__ = ["add_structure_arguments", "names_meant", "structure_choice", "structures_meant"]

_SHOWN = 6
_SPELLED_OUT = 3


def add_structure_arguments(add: Callable[..., argparse.Action]) -> None:
    """Add the arguments that :func:`structure_choice` reads."""
    add(
        "--labels",
        type=named_path,
        action="append",
        default=[],
        metavar="SEG",
        help="file of label ids, folder of one mask per structure, .seg.nrrd, DICOM SEG or RTSTRUCT; repeatable, "
        "structures may overlap",
    )
    add(
        "--names",
        type=named_path,
        action="append",
        default=[],
        metavar="FILE",
        help="label names, .json, .tsv or .csv, one for each SEG (default: found beside SEG or in it)",
    )
    add(
        "--group",
        type=_group,
        action="append",
        default=[],
        metavar="NAME=MEMBER,...",
        help="union of structures, such as lungs=lung_left,lung_right or 'ribs=rib_*'; repeatable",
    )
    add(
        "--structures",
        nargs="+",
        action="extend",
        metavar="NAME",
        help="these alone, by name or id, or by a pattern such as 'rib_*' (default: all that have voxels, and groups)",
    )


def structure_choice(
    arguments: argparse.Namespace, ct: drrproj.Volume
) -> tuple[list[drrproj.LabelVolume], list[str] | None]:
    """Read the labels asked for, and say what is odd about their names.

    Returns
    -------
    anatomy : list of LabelVolume
    drawn : list of str, optional
        Names of the structures that ``--overlay`` asks for; None for all.
    """
    paths, tables = arguments.labels, arguments.names
    if len(tables) not in (0, len(paths)):
        raise ValueError(f"--names: one for each --labels, or none; got {len(tables)} for {len(paths)}")
    anatomy = []
    for path, table in zip(paths, tables or [None] * len(paths), strict=True):
        say(f"reading {path}")
        labels = drrproj.read_labels(path, table, arguments.prefer, volume=ct)
        print(f"{path}: {_described(labels)}")
        anatomy.append(labels)
    where = _listed_by(arguments)
    for name, members in arguments.group:
        anatomy = _grouped(anatomy, name, members, where)
    chosen = anatomy if arguments.structures is None else _chosen(anatomy, arguments.structures, where)
    return chosen, None if arguments.overlay is None else _drawn(arguments.overlay, anatomy, chosen, where)


def structures_meant(arguments: argparse.Namespace, anatomy: Sequence[drrproj.LabelVolume], wanted: str) -> list[str]:
    """Find the names of structures by one of them, by an id or by a pattern, in what :func:`structure_choice` read."""
    return [anatomy[owner].name_of(label_id) for owner, label_id in _found(anatomy, [wanted], _listed_by(arguments))]


def _listed_by(arguments: argparse.Namespace) -> str:
    """What ``drrproj info`` takes to list the structures."""
    paths = arguments.labels
    # Contours are drawn on the CT's slices.
    slices = ["--ct", as_text(arguments.ct)] if any(kind_of(path) == "dicom" for path in paths) else []
    return shlex.join([*map(as_text, paths), *slices])


def _drawn(
    wanted: Sequence[str], anatomy: list[drrproj.LabelVolume], chosen: list[drrproj.LabelVolume], where: str
) -> list[str]:
    reported = [labels.name_of(label_id) for labels in chosen for label_id in labels.label_ids]
    drawn = []
    for structure in wanted:
        names = [anatomy[owner].name_of(label_id) for owner, label_id in _found(anatomy, [structure], where)]
        kept = [name for name in names if name in reported]
        if not kept:
            known = {labels.name_of(label_id) for labels in anatomy for label_id in labels.label_ids}
            if known.isdisjoint(names):
                raise ValueError(f"--overlay {structure}: it has a name in the labels, but no voxels to draw")
            raise ValueError(f"--overlay {structure}: --structures leaves it out; name it there, too")
        drawn += kept
    return list(dict.fromkeys(drawn))


def _group(text: str) -> tuple[str, list[str]]:
    name, _, members = text.partition("=")
    found = [member.strip() for member in members.split(",") if member.strip()]
    if not name.strip() or not found:
        raise argparse.ArgumentTypeError(f"needs NAME=MEMBER,MEMBER; got {text!r}")
    if not is_text(name):
        raise argparse.ArgumentTypeError(
            f"the name {name!r} is no text in this terminal's encoding, and files could not hold it; set "
            "LC_ALL=C.UTF-8, or choose another"
        )
    return name.strip(), found


def _described(labels: drrproj.LabelVolume) -> str:
    parts = [counted(len(labels.label_ids), "structure")]
    if labels.names_without_voxels:
        parts.append(f"names without voxels: {_shortened(labels.names_without_voxels)}")
    if labels.ids_without_name:
        parts.append(f"ids without a name: {_shortened(labels.ids_without_name)}")
    return "; ".join(parts)


def _shortened(entries: Sequence[object]) -> str:
    more = f" and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else ""
    return ", ".join(str(entry) for entry in entries[:_SHOWN]) + more


def _grouped(
    anatomy: list[drrproj.LabelVolume], name: str, members: Sequence[str], where: str
) -> list[drrproj.LabelVolume]:
    """Add a group to the one label volume that has its members."""
    found = _found(anatomy, members, where)
    owners = {owner for owner, _ in found}
    if len(owners) > 1:
        raise ValueError(f"--group {name}: its members are in {len(owners)} label files; a group is made within one")
    ids = [label_id for _, label_id in found]
    return [labels.with_groups({name: ids}) if place in owners else labels for place, labels in enumerate(anatomy)]


def _chosen(anatomy: list[drrproj.LabelVolume], structures: Sequence[str], where: str) -> list[drrproj.LabelVolume]:
    found = _found(anatomy, structures, where)
    return [
        labels.subset([label_id for owner, label_id in found if owner == place])
        for place, labels in enumerate(anatomy)
        if any(owner == place for owner, _ in found)
    ]


def _found(anatomy: Sequence[drrproj.LabelVolume], structures: Sequence[str], where: str) -> list[tuple[int, int]]:
    """Find structures by name, id or pattern: the place of their label volume, and their id in it.

    ``where`` is what ``drrproj info`` takes to list them.
    """
    known = [
        (owner, label_id, labels.name_of(label_id))
        for owner, labels in enumerate(anatomy)
        for label_id in dict.fromkeys((*labels.names, *labels.label_ids))
    ]
    found = []
    for structure in structures:
        named = [(owner, label_id) for owner, label_id, name in known if name == structure]
        matches = named or [(owner, label_id) for owner, label_id, _ in known if str(label_id) == structure]
        owners = {owner for owner, _ in matches}
        if len(owners) > 1:
            raise ValueError(f"{structure} is in {len(owners)} label files; give one another name with --names")
        if not matches:
            meant = names_meant(structure, [name for *_, name in known], f"drrproj info {where} lists all")
            matches = [(owner, label_id) for owner, label_id, name in known if name in meant]
        found += matches
    return list(dict.fromkeys(found))


def names_meant(wanted: str, names: Sequence[str], more: str) -> list[str]:
    """Find names by one, or by a pattern such as ``rib_*``.

    Raises
    ------
    ValueError
        If there is none; it says which may be meant, and in brackets ``more``.
    """
    different = list(dict.fromkeys(names))
    found = [wanted] if wanted in different else matching(wanted, different)
    if not found:
        near = _meant(wanted, different)
        hint = f"did you mean {near}?" if near else f"there are {_shortened(different) or 'none'}"
        raise ValueError(f"no structure {wanted!r}; {hint} ({more})")
    return found


def _meant(wanted: str, names: Sequence[str]) -> str:
    """Say which names an unknown one is for: those with all its words, in any order, else those spelled alike."""
    words = [word.rstrip("s") or word for word in _words(wanted)]
    near = [
        name for name in names if words and all(any(own.startswith(word) for own in _words(name)) for word in words)
    ]
    if len(near) > _SPELLED_OUT:
        for sign in re.finditer(r"[\W_]", near[0]):
            start = near[0][: sign.end()]
            if near == [name for name in names if name.startswith(start)]:
                return f"'{start}*', {len(near)} structures"
    return _shortened(near or difflib.get_close_matches(wanted, names, n=3))


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W_]+", name.lower())
