"""``drrproj dataset``: from a folder of segmented CTs to annotated X-rays, and what to do with them."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import difflib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

from drrproj import attenuation as attenuation_models
from drrproj.cli.commands import Commands, add_command, named_path
from drrproj.cli.earlier import add_overwrite, check_earlier
from drrproj.cli.results import output_folder
from drrproj.cli.termination import TERMINATED, Terminated
from drrproj.dataset.build import build
from drrproj.dataset.cases import find_cases
from drrproj.dataset.check import problems
from drrproj.dataset.formats import WRITERS, LabelledImages, from_store
from drrproj.dataset.log import unfinished
from drrproj.dataset.machines import LOCAL, dask_executor
from drrproj.dataset.merge import merge
from drrproj.dataset.one_case import Recipe
from drrproj.dataset.poses import PAXRAY_VIEWS, Poses, Variation, parse_view
from drrproj.dataset.progress import Progress
from drrproj.dataset.quality import RULES, QualityLimits
from drrproj.dataset.report import report
from drrproj.dataset.splits import SHARES, Splits, read_splits
from drrproj.dataset.stats import contents
from drrproj.dataset.store import Sample, Store, open_store, read_record
from drrproj.dataset.taxonomy import TAXONOMIES, read_taxonomy
from drrproj.io.png import write_overlay
from drrproj.short_text import counted, near_or_known
from drrproj.warned import warn

__all__ = ["add_to"]

_AS_THEY_ARE = "labels"

_EXAMPLES = """\
examples:
  drrproj dataset build Totalsegmentator_dataset -o out    frontal and lateral X-rays of every subject, with masks
  drrproj dataset check out                                every file is there, can be read and fits its record
  drrproj dataset stats out                                cases, splits, how often each class is seen
  drrproj dataset report out -o out.html                   the same and more, to look at
  drrproj dataset export out --format paxray -o paxray     for training; also coco, yolo, mask-png, webdataset, npz

drrproj dataset COMMAND --help explains a command, with examples.
"""
_BUILD_EXAMPLES = """\
examples:
  A folder of subjects (ct.nii.gz, segmentations/), nnU-Net raw data, or a table (case, ct, labels, patient):
    drrproj dataset build Totalsegmentator_dataset -o out
    drrproj dataset build manifest.csv -o out

  PAXRay's parallel beam, and its split by lists or ranges of ids in a JSON file:
    drrproj dataset build manifest.csv --beam parallel --splits splits.json -o out

  Three poses of each view, up to 5 degrees, 100 mm and 20 mm off:
    drrproj dataset build manifest.csv --vary-angle 5 --vary-distance 100 --vary-shift 20 --poses 3 --seed 1 -o out

Interrupted? Run the same again: it goes on where it stopped, and makes again what has other inputs now.
"""
_CHECK_EXAMPLES = """\
examples:
  drrproj dataset check out    exit code 0 where all is whole, 2 where something is wrong
"""
_MERGE_EXAMPLES = """\
examples:
  Parts that two machines made, with the same choices:
    drrproj dataset merge part1 part2 -o out
"""
_SHOW_EXAMPLES = """\
examples:
  drrproj dataset show out s0001 -o pictures --overlay heart
"""
_STATS_EXAMPLES = """\
examples:
  drrproj dataset stats out
  drrproj dataset stats out --json > stats.json
"""
_EXPORT_EXAMPLES = """\
examples:
  drrproj dataset export out --format npz -o npz
  drrproj dataset export out --format mask-png --split train -o train
"""
_REPORT_EXAMPLES = """\
examples:
  drrproj dataset report out -o out.html --pictures 12
"""


def add_to(commands: Commands) -> None:
    """Add the command and its own commands to the parser."""
    parser = commands.add_parser(
        "dataset",
        help="make annotated X-rays of many CTs, and check, count, show and export them",
        description="Make annotated X-rays of many CTs, and check, count, show and export them.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    own = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_build(own)
    check = add_command(own, "check", _check, "read every file of a dataset and say what is wrong", _CHECK_EXAMPLES)
    _add_out(check)
    merging = add_command(own, "merge", _merge, "copy several datasets of one configuration into one", _MERGE_EXAMPLES)
    merging.add_argument("parts", nargs="+", type=named_path, metavar="PART", help="datasets")
    merging.add_argument(
        "-o", "--out", type=named_path, required=True, metavar="OUT", help="folder of the merged dataset"
    )
    show = add_command(own, "show", _show, "draw the anatomy on the X-rays of a case", _SHOW_EXAMPLES)
    _add_out(show)
    show.add_argument("case", metavar="CASE", help="its id")
    show.add_argument("-o", "--out", type=named_path, required=True, metavar="FOLDER", help="for one picture per view")
    add_overwrite(show.add_argument)
    show.add_argument("--overlay", nargs="+", action="extend", metavar="NAME", help="classes to draw (default: all)")
    stats = add_command(own, "stats", _stats, "count cases, splits and classes", _STATS_EXAMPLES)
    _add_out(stats)
    stats.add_argument("--json", action="store_true", help="print JSON, for other programs")
    export = add_command(own, "export", _export, "write a dataset in a format that others train from", _EXPORT_EXAMPLES)
    _add_out(export)
    export.add_argument("--format", required=True, choices=sorted(WRITERS), help="one of %(choices)s", metavar="FORMAT")
    export.add_argument("-o", "--out", type=named_path, required=True, metavar="FOLDER", help="new folder")
    export.add_argument("--split", metavar="NAME", help="only the pictures of this split")
    page = add_command(own, "report", _report, "write one HTML page about a dataset", _REPORT_EXAMPLES)
    _add_out(page)
    page.add_argument("-o", "--out", type=named_path, required=True, metavar="PAGE", help="the .html file to write")
    page.add_argument("--pictures", type=int, default=24, metavar="N", help="cases on the contact sheet (default: 24)")


def _add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", type=named_path, metavar="OUT", help="folder of the dataset")


def _add_build(own: Commands) -> None:
    parser = add_command(own, "build", _build, "make a dataset, or go on with an interrupted one", _BUILD_EXAMPLES)
    add = parser.add_argument
    add(
        "source", type=named_path, metavar="MANIFEST|FOLDER", help="CSV file, folder of subjects, or nnU-Net raw folder"
    )
    add("-o", "--out", type=named_path, required=True, metavar="OUT", help="folder of the dataset; made when missing")

    add = parser.add_argument_group("views").add_argument
    add(
        "--view",
        action="append",
        default=[],
        metavar="VIEW",
        help="frontal (a PA), lateral (an LL), PA, AP, LL, RL, or NAME=PA:PRIMARY,SECONDARY; repeatable "
        "(default: frontal and lateral)",
    )
    add("--beam", choices=("cone", "parallel"), default="cone", help="parallel as PAXRay has it (default: cone)")
    add("--sdd", type=float, metavar="MM", help="source to detector, for a cone (default: 1800)")
    add("--shape", nargs=2, type=int, default=(512, 512), metavar=("ROWS", "COLUMNS"), help="pixels (default: 512 512)")
    add("--pixel-spacing", type=float, metavar="MM", help="at the detector (default: the whole CT fits)")

    add = parser.add_argument_group("variation of the poses, drawn per case from the seed").add_argument
    add("--vary-angle", type=float, default=0.0, metavar="DEG", help="up to this about each of three axes")
    add("--vary-distance", type=float, default=0.0, metavar="MM", help="up to this on the source's distance")
    add("--vary-shift", type=float, default=0.0, metavar="MM", help="up to this along rows and along columns")
    add("--poses", type=int, default=1, metavar="N", help="poses of each view (default: 1)")

    add = parser.add_argument_group("splits, by patient").add_argument
    add(
        "--split",
        action="append",
        default=[],
        metavar="NAME=SHARE",
        help=f"repeatable (default: {' '.join(f'{name}={share}' for name, share in SHARES.items())})",
    )
    add(
        "--splits",
        type=named_path,
        metavar="FILE",
        help='JSON: {"train": ["case1", [1, 420]], ...}: ids, or ranges of them',
    )
    add("--seed", type=int, default=0, metavar="N", help="of splits and poses (default: 0)")

    add = parser.add_argument_group("pictures").add_argument
    add("--energy", type=float, default=70.0, metavar="KEV", help="photon energy, 10 to 150 (default: 70)")
    add(
        "--window",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="line integrals shown black and white (default: 0.5 and 99.5 percentile inside each body)",
    )
    add(
        "--min-path",
        type=float,
        default=0.0,
        metavar="MM",
        help="of a ray in a structure, for masks (default: any hit)",
    )

    add = parser.add_argument_group("classes and quality").add_argument
    add(
        "--taxonomy",
        default="paxray",
        metavar="NAME|FILE",
        help=f"{', '.join(TAXONOMIES)}, a JSON file of your own, or {_AS_THEY_ARE} for the structures of the label "
        "files as they are, judged by the same rules (default: paxray)",
    )
    add("--keep-all", action="store_true", help="note what is wrong with a case, but drop none")
    add(
        "--ignore-rule",
        action="append",
        default=[],
        choices=sorted(RULES),
        metavar="RULE",
        help=f"repeatable; one of {', '.join(RULES)}",
    )

    add = parser.add_argument_group("a dataset that is there").add_argument
    add("--prune", action="store_true", help="drop its cases that are not in the source any more")

    add = parser.add_argument_group("computation").add_argument
    add("--workers", type=int, metavar="N", help="processes (default: one per core)")
    add(
        "--dask",
        metavar="ADDRESS",
        help=f'of a dask.distributed scheduler, whose machines do the work; "{LOCAL}" starts one here',
    )


def _build(arguments: argparse.Namespace) -> None:
    poses = Poses(
        views=[parse_view(view) for view in arguments.view] or PAXRAY_VIEWS,
        beam=arguments.beam,
        sdd=arguments.sdd,
        shape=tuple(arguments.shape),
        pixel_spacing=arguments.pixel_spacing,
        variation=Variation(
            arguments.vary_angle, arguments.vary_distance, arguments.vary_shift, arguments.poses, arguments.seed
        ),
    )
    recipe = Recipe(
        poses,
        None if arguments.window is None else tuple(arguments.window),
        attenuation_models.bilinear(energy_kev=arguments.energy),
        arguments.min_path,
        _limits(arguments),
        None if arguments.taxonomy == _AS_THEY_ARE else read_taxonomy(arguments.taxonomy),
    )
    cases = find_cases(arguments.source)
    print(f"{arguments.source}: {len(cases)} cases of {len({case.patient_id for case in cases})} patients")
    started: list[Progress] = []

    def told(total: int) -> Callable[[str], None]:
        for before in started:
            before.close()
        started.append(Progress(total))
        return started[-1].advance

    try:
        with contextlib.ExitStack() as stack:
            executor = None
            if arguments.dask is not None:
                executor = stack.enter_context(dask_executor(arguments.dask, arguments.workers))
            done = build(
                cases,
                arguments.out,
                recipe,
                _splits(arguments),
                workers=arguments.workers if executor is None else None,
                executor=executor,
                prune=arguments.prune,
                told=told,
            )
    except Terminated:
        print(
            "drrproj: error: terminated; the cases made so far are whole: run the same again, which goes on from there",
            file=sys.stderr,
        )
        sys.exit(TERMINATED)
    finally:
        for progress in started:
            progress.close()
    there = f", {done.found - done.made} were there" if done.found > done.made else ""
    print(f"made {counted(done.made, 'case')} in {done.seconds:.1f} s{there}")
    _print_table(
        [("status", "cases"), *((name, str(count)) for name, count in done.statuses.items())],
    )
    _print_table([("split", "kept cases"), *((name, str(count)) for name, count in sorted(done.splits.items()))])
    for case, (status, why) in done.left_out.items():
        print(f"{status} {case}: {why}")
    print(f"dataset {arguments.out}, log {arguments.out / 'log.jsonl'}")
    if not done.statuses.get("kept"):
        raise ValueError(_of_none_kept(arguments.out, done.statuses))


def _of_none_kept(out: Path, statuses: Mapping[str, int]) -> str:
    counts = ", ".join(f"{count} {name}" for name, count in statuses.items())
    to_do = (
        "; name the labels that have no name, or, where the rules of a whole chest do not fit the data, build into "
        "another folder with --keep-all, or --ignore-rule RULE for those that `drrproj dataset stats` counts"
    )
    return f"{out}: no case was kept ({counts}); see why above{to_do if 'dropped' in statuses else ''}"


def _limits(arguments: argparse.Namespace) -> QualityLimits:
    limits = QualityLimits(ignore=tuple(arguments.ignore_rule))
    return dataclasses.replace(limits, drop=()) if arguments.keep_all else limits


def _splits(arguments: argparse.Namespace) -> Splits | None:
    if arguments.splits is not None:
        if arguments.split:
            raise ValueError("--split gives shares and --splits lists; pass one of them")
        return read_splits(arguments.splits)
    shares = dict(SHARES)
    if arguments.split:
        shares = {}
        for text in arguments.split:
            name, _, share = text.partition("=")
            if name in shares:
                raise ValueError(f"--split gives {name!r} twice, {shares[name]:g} and {share}; give each split once")
            try:
                shares[name] = float(share)
            except ValueError:
                raise ValueError(f"a split is NAME=SHARE, as in train=0.8; got {text!r}") from None
    return Splits(shares, arguments.seed)


def _check(arguments: argparse.Namespace) -> None:
    store = open_store(arguments.dataset)
    found = 0
    for problem in problems(store):
        found += 1
        print(problem)
    if found:
        raise ValueError(f"{arguments.dataset}: {found} problem{'s' * (found > 1)}")
    print(f"{arguments.dataset}: {sum(1 for _ in store.samples())} X-rays, all whole")


def _merge(arguments: argparse.Namespace) -> None:
    for part in arguments.parts:
        _opened(part)
    store = merge(arguments.parts, arguments.out)
    print(f"{arguments.out}: {sum(1 for _ in store.records())} cases of {len(arguments.parts)} datasets")


def _show(arguments: argparse.Namespace) -> None:
    store = open_store(arguments.dataset)
    if Path(os.path.realpath(arguments.out)).is_relative_to(os.path.realpath(arguments.dataset)):
        raise ValueError(
            f"{arguments.out} is in the dataset, whose pictures have the same names; choose a folder outside"
        )
    paths = {path.stem: path for path in store.record_paths()}
    if arguments.case not in paths:
        near = difflib.get_close_matches(arguments.case, paths, n=3)
        there = f"it has {len(paths)} case{'s' * (len(paths) != 1)}, named as the files in {store.path / 'records'}"
        hint = f"did you mean {' or '.join(near)}?" if near else there
        raise ValueError(f"{arguments.dataset}: no case {arguments.case!r}; {hint}")
    record = read_record(paths[arguments.case])
    pictures = [(sample, arguments.out / f"{sample.name}.png") for sample in store.samples_of(record)]
    _check_overlay(arguments, store, [sample for sample, _ in pictures])
    check_earlier(arguments, [], [path for _, path in pictures if path.is_file()])
    print(f"{record['case']}: patient {record['patient']}, {record['status']}, split {record['split'] or 'none'}")
    for reason in record["reasons"]:
        print(f"{reason['severity']} ({reason['rule']}): {reason['message']}")
    with output_folder(arguments.out):
        for sample, path in pictures:
            display = sample.record_of_view["display"]
            window = (display["low"], display["high"])
            drawn = None if arguments.overlay is None else [name for name in arguments.overlay if name in sample.areas]
            write_overlay(path, sample.radiograph(), drawn, window, legend=True)
            print(f"{path}: {len(sample.areas)} classes, {len(sample.absent)} absent")
            for name in arguments.overlay or ():
                if name not in sample.areas:
                    print(f"  {name} is not drawn: {sample.absent.get(name, 'it is not on this picture')}")


def _check_overlay(arguments: argparse.Namespace, store: Store, samples: Sequence[Sample]) -> None:
    """Refuse names of what the dataset does not have, before anything is written."""
    known = {*store.classes, *(name for sample in samples for name in (*sample.areas, *sample.absent))}
    for name in arguments.overlay or ():
        if name not in known:
            raise ValueError(
                f"--overlay: no class {name!r} in {arguments.dataset}; {near_or_known(name, sorted(known))}"
            )


def _stats(arguments: argparse.Namespace) -> None:
    held = contents(_opened(arguments.dataset))
    if arguments.json:
        json.dump(held.as_record(), sys.stdout, indent=1)
        print()
        return
    _print_table([("status", "cases"), *((name, str(count)) for name, count in held.statuses.items())])
    _print_table(
        [
            ("split", "patients", "cases", "images"),
            *((name, *(str(count) for count in counts)) for name, counts in held.splits.items()),
        ]
    )
    if held.reasons:
        _print_table([("rule", "cases"), *((rule, str(count)) for rule, count in held.reasons.items())])
    _print_table(
        [
            ("class", "view", "images", "share", "median area"),
            *(
                (each.name, each.view, str(each.images), f"{each.share:.1%}", f"{each.area:.3%}")
                for each in held.classes
            ),
        ]
    )


def _export(arguments: argparse.Namespace) -> None:
    store = _opened(arguments.dataset)
    images = from_store(store)
    if arguments.split is not None:
        images = images.of(split=arguments.split)
    if not len(images):
        of_split = "" if arguments.split is None else f" in split {arguments.split!r}"
        raise ValueError(f"{arguments.dataset}: no pictures{of_split} to write")
    write = cast(Callable[[Path, LabelledImages], None], WRITERS[arguments.format])
    write(arguments.out, images)
    if store.declared_classes is None:
        warn(
            f"{arguments.dataset}: its classes are numbered as its own cases have them (--taxonomy {_AS_THEY_ARE}), "
            "and another dataset may number them otherwise; merge parts of one dataset before you export them"
        )
    print(f"wrote {len(images)} pictures to {arguments.out} as {arguments.format}")


def _report(arguments: argparse.Namespace) -> None:
    report(_opened(arguments.dataset), arguments.out, arguments.pictures)
    print(f"wrote {arguments.out}")


def _opened(path: Path) -> Store:
    """Open a dataset, and say so where its build did not end: what comes of it lacks cases."""
    store = open_store(path)
    ended = unfinished(store)
    if ended is not None:
        warn(f"{path}: {ended}")
    return store


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print()
