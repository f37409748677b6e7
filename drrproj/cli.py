"""The command line: argument parsing and calls, nothing else."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import importlib.metadata
import os
import platform
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

import drrproj
from drrproj import backends
from drrproj import io as drrproj_io
from drrproj.io.png import QUANTITY
from drrproj.threads import default_threads

__all__ = ["main"]

BAD_INPUT, FAILURE, INTERRUPTED = 2, 1, 130

_DEMO_EXAMPLES = """\
examples:
  drrproj demo                    X-rays of the bundled chest, into the folder drrproj_demo
  drrproj demo -o /tmp/chest      the same, elsewhere
"""

_PROJECT_EXAMPLES = """\
examples:
  A frontal and a lateral chest X-ray:
    drrproj project ct.nii.gz --view PA --view LL -o out

  With anatomy: a file of label ids, or TotalSegmentator's folder of masks:
    drrproj project ct.nii.gz --labels seg.nii.gz --view PA -o out
    drrproj project ct.nii.gz --labels segmentations/ --view PA -o out

  A parallel beam, 1 mm pixels, one grey scale for a whole dataset, everything kept for later:
    drrproj project ct.nii.gz --beam parallel --pixel-spacing 1 --window 0 6 --npz -o out

  Two C-arm views, 30 degrees LAO, and 20 degrees RAO with 15 degrees cranial:
    drrproj project ct.nii.gz --c-arm 30 0 --c-arm -20 15 --sdd 1200 --sod 800 --pixel-spacing 0.6 -o out
"""

_INFO_EXAMPLES = """\
examples:
  drrproj info                    what runs on this machine, and what does not and why
  DRRPROJ_ISA=avx2 drrproj info   the same with one instruction set forced
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # argparse would print the usage as well; one line says what is wrong and where to look.
        raise ValueError(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; by default those of the process.

    Returns
    -------
    int
        0; 2 for bad usage or input; 1 for a failure, such as a folder that cannot be written; 130 after Ctrl-C.

    Examples
    --------
    >>> from drrproj.cli import main
    >>> main(["project", "--view", "PA"])
    2
    """
    with warnings.catch_warnings():
        # A warning speaks to the person at the keyboard: each time, on one line, without a place in the code.
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = _show_warning
        try:
            arguments = _parser().parse_args(argv)
            arguments.run(arguments)
        except KeyboardInterrupt:
            return _complain("interrupted", INTERRUPTED)
        except (ValueError, TypeError, KeyError, OverflowError, FileNotFoundError, IsADirectoryError) as error:
            # The text of a KeyError is its argument in quotes.
            return _complain(error.args[0] if isinstance(error, KeyError) else str(error), BAD_INPUT)
        except (OSError, MemoryError, drrproj.BackendUnavailable) as error:
            return _complain(str(error) or type(error).__name__, FAILURE)
    return 0


def _complain(message: str, code: int) -> int:
    print("drrproj: error:", " ".join(message.split()), file=sys.stderr)
    return code


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    print(f"drrproj: warning: {message}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="drrproj",
        description="Exact X-ray projections of CT volumes and their anatomy.",
        epilog="drrproj COMMAND --help explains a command, with examples.",
    )
    parser.add_argument("--version", action="version", version=f"drrproj {drrproj.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: Any, summary: str, examples: str) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(run=run)
        return added

    demo = command("demo", _demo, "X-ray the bundled chest CT: PA and lateral, with anatomy", _DEMO_EXAMPLES)
    demo.add_argument(
        "-o", "--out", type=Path, default=Path("drrproj_demo"), metavar="OUT", help="folder (default: drrproj_demo)"
    )
    _add_project_arguments(
        command("project", _project, "project a CT, and its anatomy labels, to X-ray images", _PROJECT_EXAMPLES)
    )
    command("info", _info, "show versions, backends, instruction sets and threads", _INFO_EXAMPLES)
    return parser


def _add_project_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("ct", type=Path, metavar="CT", help="NIfTI file (.nii, .nii.gz)")
    add("-o", "--out", type=Path, required=True, metavar="OUT", help="folder for the results; made when missing")

    add = parser.add_argument_group("input").add_argument
    add("--unit", choices=("HU", "1/mm"), default="HU", help="what the voxels are (default: HU)")
    add("--labels", type=Path, metavar="SEG", help="NIfTI file of label ids, or folder of one mask per structure")
    add(
        "--names",
        type=Path,
        metavar="FILE",
        help="label names, .json, .tsv or .csv (default: found beside SEG or in it)",
    )
    add("--overlap", choices=("first", "last"), help="which id keeps a voxel that two masks of a folder share")
    add(
        "--prefer",
        choices=("sform", "qform", "pixdim"),
        help="sform or qform settles a disagreement of the two; pixdim accepts a file with neither",
    )

    add = parser.add_argument_group("geometry").add_argument
    add(
        "--view",
        action="append",
        default=[],
        metavar="VIEW",
        help="AP, PA, LL or RL, repeatable; named by the beam (default: PA)",
    )
    add("--beam", choices=("cone", "parallel"), default="cone", help="for --view (default: cone)")
    add(
        "--c-arm",
        action="append",
        nargs=2,
        type=float,
        default=[],
        metavar=("PRIMARY", "SECONDARY"),
        help="DICOM positioner angles, degrees: + LAO, + cranial; repeatable; needs --sdd, --sod, --pixel-spacing",
    )
    add("--sdd", type=float, metavar="MM", help="source to detector (default for --view: 1800)")
    add("--sod", type=float, metavar="MM", help="source to isocenter, for --c-arm")
    add("--isocenter", nargs=3, type=float, metavar=("X", "Y", "Z"), help="RAS+ mm (default: middle of the CT)")
    add("--shape", nargs=2, type=int, default=(512, 512), metavar=("ROWS", "COLUMNS"), help="pixels (default: 512 512)")
    add(
        "--pixel-spacing",
        nargs="+",
        type=float,
        metavar="MM",
        help="at the detector; one number, or row and column (default for --view: the whole CT fits)",
    )

    add = parser.add_argument_group("attenuation").add_argument
    add("--attenuation", choices=("linear", "bilinear"), help="how HU become attenuation (default: bilinear)")
    add("--energy", type=float, metavar="KEV", help="photon energy, 30 to 150 (default: 70)")
    add("--ct-energy", type=float, metavar="KEV", help="effective energy of the CT, for bilinear (default: 70)")

    add = parser.add_argument_group("output").add_argument
    add(
        "--window",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="line integrals shown black and white (default: 0.5 and 99.5 percentile inside the body)",
    )
    add("--overlay", nargs="+", metavar="NAME", help="structures drawn on the overlay (default: all)")
    add("--npz", action="store_true", help="also write all views with path lengths and masks as radiograph.npz")
    add("--nifti", action="store_true", help="also write each view's line integral as VIEW.nii.gz")

    add = parser.add_argument_group("computation").add_argument
    add("--backend", choices=("auto", *backends.NAMES), default="auto", help="default: the first one available")
    add("--threads", type=int, metavar="N", help="default: every core this process may use")


def _demo(arguments: argparse.Namespace) -> None:
    ct, labels = drrproj_io.read_sample()
    views = [drrproj.Geometry.radiograph(view, ct, shape=(512, 512)) for view in ("PA", "LL")]
    print(f"chest CT of LIDC-IDRI-0001 at 3 mm (CC BY 3.0): {_sizes(ct.shape)} voxels, {len(labels.names)} structures")
    with _output_folder(arguments.out) as folder:
        shot = _timed_projection(
            ct, drrproj.Geometry.concatenate(views), labels=labels, outputs=("line_integral", "mask")
        )
        written = _write_views(folder, shot, None, {"volume": "bundled sample chest_3mm"}, drrproj_io.SAMPLE_ORGANS)
        print(f"wrote to {folder}: {', '.join(written)}")
    print(
        "*.png is the X-ray (16 bit, dense is bright), *_overlay.png shows "
        f"{len(drrproj_io.SAMPLE_ORGANS)} organs on it, *.json says how it was made"
    )


def _project(arguments: argparse.Namespace) -> None:
    attenuation = _attenuation(arguments)
    _say(f"reading {arguments.ct}")
    ct = drrproj.read_volume(arguments.ct, unit=arguments.unit, prefer=arguments.prefer)
    print(f"{arguments.ct}: {_sizes(ct.shape)} voxels, {ct.array.dtype}, {ct.unit}")
    geometry = _geometry(arguments, ct)
    source = {"volume": _as_text(arguments.ct)}
    labels = None
    if arguments.labels is not None:
        _say(f"reading {arguments.labels}")
        labels = drrproj_io.read_labels(arguments.labels, arguments.names, arguments.prefer, arguments.overlap)
        print(f"{arguments.labels}: {len(labels.label_ids)} structures")
        source["labels"] = _as_text(arguments.labels)
        for name in arguments.overlay or ():
            if name not in labels.names.values():
                near = difflib.get_close_matches(name, labels.names.values(), n=3)
                raise ValueError(f"no structure {name!r}" + (f"; did you mean {', '.join(near)}?" if near else ""))
    elif any(choice is not None for choice in (arguments.names, arguments.overlap, arguments.overlay)):
        raise ValueError("--names, --overlap and --overlay belong to labels; add --labels SEG")
    _report_padding(ct)

    with _output_folder(arguments.out) as folder:
        outputs = ["line_integral"]
        if labels is not None:
            outputs += ["mask", "path_length"] if arguments.npz else ["mask"]
        shot = _timed_projection(
            ct,
            geometry,
            labels=labels,
            attenuation=attenuation,
            outputs=outputs,
            backend=arguments.backend,
            threads=arguments.threads,
        )
        written = _write_views(folder, shot, arguments.window, source, arguments.overlay)
        if arguments.nifti:
            for name in shot.geometry.names:
                drrproj.write_nifti(folder / f"{name}.nii.gz", shot[name])
                written.append(f"{name}.nii.gz")
        if arguments.npz:
            drrproj.write_npz(folder / "radiograph.npz", shot)
            written.append("radiograph.npz")
        print(f"wrote to {folder}: {', '.join(written)}")


def _info(_: argparse.Namespace) -> None:
    print(
        f"drrproj {drrproj.__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    )
    for name in backends.NAMES:
        reason = backends.why_unavailable(name)
        print(f"backend {name:6}", f"not available: {reason}" if reason else "available")
    sets = backends.cpu_instruction_sets()
    if sets:
        print(f"instruction sets {', '.join(sets)}; in use: {backends.instruction_set('cpu')}")
    print(f"threads {default_threads()} of {os.cpu_count()} cores")
    for distribution in ("numpy", "nibabel", "isal", "numba", "Pillow"):
        try:
            print(distribution, importlib.metadata.version(distribution))
        except importlib.metadata.PackageNotFoundError:
            print(distribution, "not installed")


def _attenuation(arguments: argparse.Namespace) -> drrproj.Attenuation | None:
    energy, ct_energy = arguments.energy, arguments.ct_energy
    if arguments.unit == "1/mm":
        if arguments.attenuation or energy is not None or ct_energy is not None:
            raise ValueError(
                "--attenuation, --energy and --ct-energy turn HU into 1/mm; with --unit 1/mm leave them out"
            )
        return None
    energies = {} if energy is None else {"energy_kev": energy}
    if arguments.attenuation == "linear":
        if ct_energy is not None:
            raise ValueError("--ct-energy belongs to --attenuation bilinear; the linear model does not depend on it")
        return drrproj.attenuation.linear(**energies)
    if ct_energy is not None:
        energies["ct_energy_kev"] = ct_energy
    return drrproj.attenuation.bilinear(**energies)


def _geometry(arguments: argparse.Namespace, ct: drrproj.Volume) -> drrproj.Geometry:
    shape = tuple(arguments.shape)
    spacing = arguments.pixel_spacing
    if spacing is not None and len(spacing) > 2:
        raise ValueError(f"--pixel-spacing takes one number, or row and column; got {len(spacing)} numbers")
    if spacing is not None and len(spacing) == 1:
        spacing = spacing[0]
    views = arguments.view or ([] if arguments.c_arm else ["PA"])

    sdd = {} if arguments.sdd is None else {"sdd": arguments.sdd}
    geometries = [
        drrproj.Geometry.radiograph(view, ct, beam=arguments.beam, shape=shape, pixel_spacing=spacing, **sdd)
        for view in views
    ]
    if arguments.c_arm:
        missing = [
            option
            for option, value in (("--sdd", arguments.sdd), ("--sod", arguments.sod), ("--pixel-spacing", spacing))
            if value is None
        ]
        if missing or arguments.beam == "parallel":
            raise ValueError(f"--c-arm needs {', '.join(missing)}" if missing else "a C-arm's beam is a cone")
        primary, secondary = zip(*arguments.c_arm, strict=True)
        geometries.append(
            drrproj.Geometry.c_arm(
                **sdd,
                sod=arguments.sod,
                isocenter=ct.center if arguments.isocenter is None else arguments.isocenter,
                primary_angle=primary,
                secondary_angle=secondary,
                pixel_spacing=spacing,
                shape=shape,
                names=[f"c_arm_{first:+g}_{second:+g}" for first, second in arguments.c_arm],
            )
        )
    elif arguments.sod is not None or arguments.isocenter is not None:
        raise ValueError("--sod and --isocenter belong to --c-arm")
    geometry = drrproj.Geometry.concatenate(geometries)
    for name in geometry.names:
        if geometry.names.count(name) > 1:
            raise ValueError(f"view {name} is asked for twice, and one would overwrite the other")
    return geometry


def _timed_projection(ct: drrproj.Volume, geometry: drrproj.Geometry, **choices: Any) -> drrproj.Radiograph:
    start = time.perf_counter()
    shot = drrproj.project(ct, geometry, **choices)
    seconds = time.perf_counter() - start
    made_by = shot.record["backend"]
    how = ", ".join(
        str(part) for part in (made_by["instruction_set"], f"{made_by['threads']} threads") if part is not None
    )
    print(
        f"projected {', '.join(geometry.names)}, {_sizes(geometry.shape)} pixels each, in {seconds:.2f} s "
        f"on {shot.backend} ({how})"
    )
    return shot


def _write_views(
    folder: Path,
    shot: drrproj.Radiograph,
    window: Sequence[float] | None,
    source: dict[str, str],
    drawn: Sequence[str] | None,
) -> list[str]:
    written = []
    for name in shot.geometry.names:
        view = shot[name]
        low, high = drrproj.write_png(folder / f"{name}.png", view, window)
        display = {"low": low, "high": high, "quantity": QUANTITY}
        drrproj.write_sidecar(folder / f"{name}.json", view, source=source, display=display)
        written += [f"{name}.png", f"{name}.json"]
        if view.masks is not None:
            drrproj.write_overlay(folder / f"{name}_overlay.png", view, drawn, window=(low, high))
            written.append(f"{name}_overlay.png")
    return written


@contextlib.contextmanager
def _output_folder(folder: Path) -> Iterator[Path]:
    """Make the folder before the work, so that one that cannot be written costs no time; leave no empty one behind."""
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"cannot make the folder {folder}: {error.strerror}; choose another with -o") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OSError(f"cannot write to the folder {folder}; choose another with -o")
    try:
        yield folder
    finally:
        if made and not any(folder.iterdir()):
            folder.rmdir()


def _as_text(path: Path) -> str:
    """Return the path as UTF-8 can hold it: a file name may have bytes that are none."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _report_padding(ct: drrproj.Volume) -> None:
    counts = ct.count_padding()
    kinds = (("padding", "below -1024 HU (padding)"), ("nan", "not a number"))
    found = [f"{counts[kind]} {what}" for kind, what in kinds if counts[kind]]
    if found:
        print(f"of {ct.array.size} voxels, {' and '.join(found)} count as air")


def _sizes(shape: Sequence[int]) -> str:
    return " x ".join(str(size) for size in shape)


def _say(message: str) -> None:
    if sys.stderr.isatty():
        print(message, file=sys.stderr)
