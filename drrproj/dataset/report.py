"""A page to look at: what is in a dataset, how its classes compare with PAXRay's, and what was left out."""

from __future__ import annotations

import base64
import html
import json
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.dataset.resume import reasons_left_out
from drrproj.dataset.store import Sample, Store, read_record, require_store
from drrproj.given_numbers import whole_number
from drrproj.io.data_url import png_data_url
from drrproj.io.label_colors import label_color
from drrproj.replace import replaced

__all__ = ["report"]

_THUMBNAIL = 256
_LISTED = 200


@dataclass
class _Tally:
    """One class in one view."""

    pictures: int = 0
    area: float = 0.0  # sum of its shares of the pictures
    absent: Counter[str] = field(default_factory=Counter)


@dataclass
class _Totals:
    """Everything the page says about all cases, from one reading of the records."""

    statuses: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    patients: set[str] = field(default_factory=set)
    kept: list[str] = field(default_factory=list)
    pictures: Counter[str] = field(default_factory=Counter)  # by view
    tallies: dict[tuple[str, str], _Tally] = field(default_factory=dict)  # by class and view
    rules: dict[tuple[str, str], tuple[int, str, str]] = field(default_factory=dict)  # (rule, effect): n, case, words
    left_out: list[tuple[str, str, list[str]]] = field(default_factory=list)


def report(store: Store, path: str | os.PathLike[str], pictures: int = 24) -> None:
    """Write a page about a dataset: one HTML file with everything in it, which opens without a server or a network.

    It has a contact sheet whose overlays are switched per class, how often each class is there and how large it is,
    per view and beside PAXRay's published numbers, which cases were dropped or failed and why, and the configuration.
    A dataset of any size gives a page of about the same size: the contact sheet is a sample, evenly spaced in the order
    of the case names; the tables count all cases; of the cases left out the first 200 are listed. The page says so.

    Parameters
    ----------
    store : Store
        As :func:`drrproj.dataset.store.open_store` gives it.
    path : str or path
        The file to write, whose name ends in ``.html``; not in the folder of the dataset.
    pictures : int
        Cases in the contact sheet; each adds about 40 KB a view with 88 classes.

    Raises
    ------
    TypeError
        If the store is none.
    ValueError
        If there is no case, ``pictures`` is negative, the page would take the place of another kind of file or lie in
        the dataset, or a file of the dataset is damaged.
    OSError
        If a file of the dataset is missing or the page cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from drrproj.dataset.report import report
    >>> from drrproj.dataset.store import create_store
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report(create_store(f"{folder}/xrays", {}, ["heart"], {}), f"{folder}/xrays.html")
    Traceback (most recent call last):
        ...
    ValueError: the dataset has no case to report on; build it first
    """
    require_store(store)
    pictures = whole_number(pictures, "pictures must not be negative", least=0)
    _require_page(store, path)
    totals = _counted(store.records())
    if not totals.statuses:
        raise ValueError("the dataset has no case to report on; build it first")
    classes = store.declared_classes
    if classes is None:
        classes = tuple(sorted({name for name, _ in totals.tallies}))
    places = np.unique(np.linspace(0, len(totals.kept) - 1, min(pictures, len(totals.kept))).astype(int))
    chosen = [totals.kept[place] for place in places]
    shown: list[dict[str, Any]] = []
    cases = "".join(_case(store, read_record(store.record_path(case)), classes, shown) for case in chosen)
    parts = {
        "title": _text(f"Dataset {store.path.resolve().name}"),
        "summary": _summary(store, totals, classes),
        "sheet_note": _sheet_note(len(chosen), len(totals.kept)),
        "switches": _switches(classes, store.groups, shown),
        "cases": cases,
        "classes_note": _classes_note(),
        "class_table": _class_table(totals, classes, store.groups),
        "rule_table": _rule_table(totals),
        "dropped_note": _dropped_note(totals),
        "dropped_table": _dropped_table(totals),
        "configuration": _text(json.dumps(store.configuration, indent=2, ensure_ascii=False)),
        # Within a script element only "<" could end it.
        "pictures": json.dumps(shown).replace("<", "\\u003c"),
    }
    template = (files("drrproj") / "data" / "report.html").read_text(encoding="utf-8")
    page = re.sub(r"\{\{(\w+)\}\}", lambda hole: parts[hole[1]], template)
    with replaced(path) as file:
        file.write(page.encode())


def _require_page(store: Store, path: str | os.PathLike[str]) -> None:
    """Refuse a name that may be that of data: the CT's, or a file of the dataset."""
    # What is written is where links lead to.
    page = Path(os.path.realpath(path))
    if page.suffix.lower() != ".html":
        linked = f", which leads to {page}" if Path(path).suffix.lower() == ".html" else ""
        raise ValueError(
            f"{os.fspath(path)!r}{linked}: a page's name ends in .html, so that no CT is replaced; choose another name"
        )
    if page.is_relative_to(os.path.realpath(store.path)):
        raise ValueError(f"{os.fspath(path)} is in the dataset, which holds no other files; choose a place outside")


def _counted(records: Iterable[Mapping[str, Any]]) -> _Totals:
    totals = _Totals()
    for record in records:
        case, status = str(record["case"]), str(record["status"])
        totals.statuses[status] += 1
        totals.patients.add(str(record["patient"]))
        said: set[tuple[str, str]] = set()
        for reason in record["reasons"]:
            effect = "warned" if reason["severity"] == "warn" else status
            key = (str(reason["rule"]), effect)
            if key not in said:
                said.add(key)
                count, example, words = totals.rules.get(key, (0, case, str(reason["message"])))
                totals.rules[key] = (count + 1, example, words)
        if status != "kept":
            why = [f"{reason['rule']}: {reason['message']}" for reason in reasons_left_out(record["reasons"])]
            totals.left_out.append((case, status, why))
            continue
        totals.kept.append(case)
        totals.splits[str(record["split"] or "none")] += 1
        for view, entry in record["views"].items():
            rows, columns = entry["geometry"]["shape"]
            totals.pictures[view] += 1
            for name, area in entry["areas"].items():
                tally = totals.tallies.setdefault((name, view), _Tally())
                tally.pictures += 1
                tally.area += area / (rows * columns)
            for name, reason in entry["absent"].items():
                totals.tallies.setdefault((name, view), _Tally()).absent[str(reason)] += 1
    return totals


def _case(store: Store, record: Mapping[str, Any], classes: Sequence[str], shown: list[dict[str, Any]]) -> str:
    """One case of the contact sheet; what its overlays need goes to ``shown``."""
    number_of = {name: number for number, name in enumerate(classes)}
    figures = []
    for sample in store.samples_of(record):
        levels, names, masks = _thumbnail(sample)
        rows, columns = levels.shape
        figures.append(
            f'<figure><img src="{png_data_url(levels)}" width="{columns}" height="{rows}" '
            f'alt="{_text(sample.name)}">'
            f'<canvas data-picture="{len(shown)}" width="{columns}" height="{rows}"></canvas>'
            f"<figcaption>{_text(sample.view)}, {len(names)} classes</figcaption></figure>"
        )
        shown.append(
            {
                "rows": rows,
                "columns": columns,
                "classes": [number_of[name] for name in names],
                "masks": base64.b64encode(zlib.compress(np.packbits(masks, axis=-1).tobytes())).decode(),
            }
        )
    warned = sorted({reason["rule"] for reason in record["reasons"]})
    notes = f"; warnings: {_text(', '.join(warned))}" if warned else ""
    head = f"<h3><b>{_text(record['case'])}</b> ({_text(record['split'] or 'no split')}{notes})</h3>"
    return f'<div class="case">{head}<div>{"".join(figures)}</div></div>\n'


def _thumbnail(sample: Sample) -> tuple[npt.NDArray[np.uint8], tuple[str, ...], npt.NDArray[np.bool_]]:
    """Small grey levels, and small masks, where a pixel is set when any in its square is: thin structures stay."""
    image = sample.image()
    factor = max(1, -(-max(image.shape) // _THUMBNAIL))
    levels = image >> 8 if image.dtype == np.uint16 else image
    padding = [(0, -size % factor) for size in levels.shape]
    squares = np.pad(levels, padding, mode="edge")
    rows, columns = (size // factor for size in squares.shape)
    small = squares.reshape(rows, factor, columns, factor).mean(axis=(1, 3))
    masks = sample.masks()
    reduced = np.zeros((len(masks), rows, columns), bool)
    for into, mask in zip(reduced, masks.values(), strict=True):
        padded = np.pad(mask, padding)
        for row in range(factor):
            for column in range(factor):
                into |= padded[row::factor, column::factor]
    return np.rint(small).astype(np.uint8), tuple(masks), reduced


def _summary(store: Store, totals: _Totals, classes: Sequence[str]) -> str:
    statuses = ", ".join(f"{totals.statuses[status]:,} {status}" for status in ("kept", "dropped", "failed"))
    splits = ", ".join(f"{count:,} {split}" for split, count in sorted(totals.splits.items())) or "none"
    views = ", ".join(f"{count:,} {view}" for view, count in totals.pictures.items()) or "none"
    rows = {
        "cases": f"{totals.statuses.total():,} ({statuses}) of {len(totals.patients):,} patients",
        "kept cases by split": splits,
        "pictures by view": views,
        "classes": f"{len(classes):,}",
        "configuration": store.hash,
    }
    return _table((), ((_head(name), _cell(value)) for name, value in rows.items()))


def _sheet_note(shown: int, kept: int) -> str:
    if not kept:
        return "No case was kept."
    which = "All kept cases" if shown == kept else f"{shown:,} of {kept:,} kept cases, evenly spaced by name"
    return (
        f"{which}. Pictures are reduced to at most {_THUMBNAIL} pixels; an overlay's pixel is set where the mask has "
        "any pixel in it. Tick classes to see them on all pictures; where several meet, their colours mix."
    )


def _switches(classes: Sequence[str], groups: Mapping[str, Sequence[str]], shown: Sequence[Mapping[str, Any]]) -> str:
    there = {number for picture in shown for number in picture["classes"]}
    group_of = _group_of(classes, groups)
    blocks = []
    for group in dict.fromkeys(group_of.values()):
        lines = [
            f'<label title="{_text(name)}"><input type="checkbox" value="{number}" '
            f'data-color="{",".join(map(str, label_color(name)))}">'
            f'<i style="background:rgb({",".join(map(str, label_color(name)))})"></i>{_text(name)}</label>'
            for number, name in enumerate(classes)
            if group_of[name] == group and number in there
        ]
        if lines:
            blocks.append(f"<details open><summary>{_text(group)} ({len(lines)})</summary>{''.join(lines)}</details>")
    return "\n".join(blocks)


def _group_of(classes: Sequence[str], groups: Mapping[str, Sequence[str]]) -> dict[str, str]:
    named = {name: group for group, members in groups.items() for name in members}
    return {name: named.get(name, "other" if groups else "classes") for name in classes}


def _classes_note() -> str:
    about = _text(_published()["about"])
    return (
        "All kept cases. Frequency: pictures of a view in which the class has a pixel. Area: mean share of the picture "
        "over the pictures that have the class; &ldquo;all views&rdquo; is the mean over the pictures of all views. "
        f"Beside it PAXRay&rsquo;s, where it has a class of the same name. {about} Whether pictures without the class "
        "count in its mean area is not said."
    )


def _published() -> dict[str, Any]:
    text = (files("drrproj") / "data" / "paxray_published.json").read_text(encoding="utf-8")
    published: dict[str, Any] = json.loads(text)
    return published


def _class_table(totals: _Totals, classes: Sequence[str], groups: Mapping[str, Sequence[str]]) -> str:
    published = _published()
    views = list(totals.pictures)
    heads = ["class", "group"]
    heads += [f"{view}: {what}" for view in views for what in ("pictures", "frequency", "area")]
    heads += [
        "all views: area",
        "PAXRay: frontal",
        "PAXRay: lateral",
        "PAXRay: both",
        "PAXRay: area, both",
        "mostly absent because",
    ]
    group_of = _group_of(classes, groups)

    def cells(name: str) -> list[str]:
        row = [_head(name), _cell(group_of[name])]
        tallies = [totals.tallies.get((name, view), _Tally()) for view in views]
        for view, tally in zip(views, tallies, strict=True):
            row.append(_number(f"{tally.pictures:,}"))
            row.append(_number(f"{tally.pictures / totals.pictures[view]:.1%}"))
            row.append(_number(f"{tally.area / tally.pictures:.2%}" if tally.pictures else "&ndash;"))
        pictures = sum(tally.pictures for tally in tallies)
        row.append(_number(f"{sum(tally.area for tally in tallies) / pictures:.2%}" if pictures else "&ndash;"))
        theirs = published["classes"].get(name, {})
        for view in ("frontal", "lateral", "both"):
            count = theirs.get(view)
            row.append(_number("&ndash;" if count is None else f"{count / published[view]:.1%}"))
        area = theirs.get("area_percent")
        row.append(_number("&ndash;" if area is None else f"{area:.2f}%"))
        reasons = sum((tally.absent for tally in tallies), Counter[str]())
        row.append(_cell(reasons.most_common(1)[0][0] if reasons else ""))
        return row

    return _rows(heads, (cells(name) for name in classes))


def _rule_table(totals: _Totals) -> str:
    if not totals.rules:
        return "<p>No rule had anything to say.</p>"
    ordered = sorted(totals.rules.items(), key=lambda item: (item[0][1] == "warned", -item[1][0], item[0]))
    return _table(
        ("rule", "cases", "effect", "example"),
        (
            [_head(rule), _number(f"{count:,}"), _cell(effect), _cell(f"{example}: {words}")]
            for (rule, effect), (count, example, words) in ordered
        ),
    )


def _dropped_note(totals: _Totals) -> str:
    count = len(totals.left_out)
    if not count:
        return "No case was dropped, and none failed."
    if count <= _LISTED:
        return f"All {count:,} dropped and failed cases:"
    return f"The first {_LISTED} of {count:,} dropped and failed cases by name; the others are in the folder records."


def _dropped_table(totals: _Totals) -> str:
    if not totals.left_out:
        return "<tbody></tbody>"
    return _rows(
        ("case", "status", "reasons"),
        ([_head(case), _cell(status), _cell("; ".join(why))] for case, status, why in totals.left_out[:_LISTED]),
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return f"<table>{_rows(heads, rows)}</table>"


def _rows(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{_text(name)}</th>' for name in heads)
    body = "\n".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return (f"<thead><tr>{head}</tr></thead>" if heads else "") + f"<tbody>{body}</tbody>"


def _head(value: str) -> str:
    return f'<th scope="row">{_text(value)}</th>'


def _cell(value: str) -> str:
    return f"<td>{_text(value)}</td>"


def _number(value: str) -> str:
    return f'<td class="number">{value}</td>'


def _text(value: str) -> str:
    return html.escape(str(value), quote=True)
