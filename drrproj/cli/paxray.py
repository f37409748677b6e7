"""``drrproj paxray``: CTs to pictures by the PAXRay authors' chain."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import drrproj
from drrproj import io as drrproj_io
from drrproj import paxray
from drrproj.cli.commands import Commands, add_command, named_path
from drrproj.cli.earlier import add_overwrite, check_earlier, files_of_records
from drrproj.cli.exchange import exchanged
from drrproj.cli.results import as_text, output_folder
from drrproj.cli.screen import say
from drrproj.extras import require
from drrproj.io.kinds import kind_of
from drrproj.warned import warn

__all__ = ["add_to"]

_EXAMPLES = """\
examples:
  Exactly what the authors' code makes: frontal and lateral, 512 x 512, 8 bits. It takes the array as it lies, so a
  CT stored in RAS comes out mirrored, with a warning:
    drrproj paxray ct.nii.gz -o out

  Another of their transfer functions, for many CTs:
    drrproj paxray cts/*.nii.gz --view frontal --transfer hist_before_resized -o out

  The same chain on true physics: a cone beam, mm, square pixels, 16 bits:
    drrproj paxray ct.nii.gz --mode physical --view PA --view LL --bits 16 -o out

  The chain it descends from:
    drrproj paxray ct.nii.gz --mode matsubara -o out
"""

_DEFAULT_VIEWS = {"faithful": ["frontal", "lateral"], "physical": ["PA"], "matsubara": ["AP"]}
# Which mode takes which choice: what is not a mode's own is refused, never ignored.
_OPTIONS = {
    "transfer": {"faithful", "physical"},
    "crop": {"faithful", "physical"},
    "beam": {"physical"},
    "sdd": {"physical"},
    "shape": {"physical"},
    "pixel_spacing": {"physical"},
    "energy": {"physical"},
    "gamma": {"physical"},
    "bone_window": {"physical", "matsubara"},
    "bits": {"physical", "matsubara"},
    "backend": {"physical", "matsubara"},
    "threads": {"physical", "matsubara"},
}


def add_to(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = add_command(commands, "paxray", _run, "make pictures by the PAXRay authors' chain", _EXAMPLES)
    add = parser.add_argument
    add("cts", type=named_path, nargs="+", metavar="CT", help="NIfTI files (.nii, .nii.gz), in HU")
    add("-o", "--out", type=named_path, required=True, metavar="OUT", help="folder for the pictures; made when missing")
    add_overwrite(add)
    add(
        "--mode",
        choices=tuple(_DEFAULT_VIEWS),
        default="faithful",
        help="faithful: the authors' code to the last bit, sums along array axes, mirrored or upside down where those "
        "do not run as LPS; physical: line integrals in mm, never mirrored; "
        "matsubara: the chain both descend from (default: faithful)",
    )
    add(
        "--view",
        action="append",
        metavar="VIEW",
        help="repeatable; faithful: frontal, lateral (default: both); physical: AP, PA, LL, RL (default: PA); "
        "matsubara: the same (default: AP)",
    )
    add(
        "--transfer",
        metavar="NAME",
        help=f"transfer function (default: {next(iter(paxray.TRANSFERS))}): {', '.join(paxray.TRANSFERS)}",
    )
    add("--crop", nargs=2, type=int, metavar=("ROWS", "COLUMNS"), help="for ..._resized (default: 64 64)")

    add = parser.add_argument_group("physical mode").add_argument
    add("--beam", choices=("cone", "parallel"), help="default: cone")
    add("--sdd", type=float, metavar="MM", help="source to detector, for a cone (default: 1800)")
    add("--shape", nargs=2, type=int, metavar=("ROWS", "COLUMNS"), help="pixels (default: 512 512)")
    add("--pixel-spacing", type=float, metavar="MM", help="at the detector (default: the whole CT fits)")
    add("--energy", type=float, metavar="KEV", help="photon energy of the bilinear model, 10 to 150 (default: 70)")
    add("--gamma", type=float, metavar="G", help=f"exponent of the transmission (default: {paxray.GAMMA})")

    add = parser.add_argument_group("physical and matsubara mode").add_argument
    add("--bone-window", nargs=2, type=float, metavar=("LOW", "HIGH"), help="HU of bone (default: the mode's own)")
    add("--bits", type=int, metavar="N", help="depth (default: 8 physical, 10 matsubara)")
    add("--backend", choices=("auto", *drrproj.backends.NAMES), help="default: the first one available")
    add("--threads", type=int, metavar="N", help="default: DRRPROJ_NUM_THREADS, OMP_NUM_THREADS, or every core")


def _run(arguments: argparse.Namespace) -> None:
    mode = arguments.mode
    for option, modes in _OPTIONS.items():
        if getattr(arguments, option) is not None and mode not in modes:
            raise ValueError(
                f"--{option.replace('_', '-')} belongs to --mode {' or '.join(sorted(modes, reverse=True))}; the "
                f"{mode} mode does not know it and would not be {mode} with it"
            )
    arguments.view = _views(arguments)
    _require_libraries(arguments)
    stems = [path.name.removesuffix(".gz").removesuffix(".nii") for path in arguments.cts]
    for stem in stems:
        if stems.count(stem) > 1:
            raise ValueError(f"pictures of two CTs would be called {stem}_...; make them in two folders")
    check_earlier(arguments, _written(arguments.out, stems), _pictures_of(arguments.out, stems))
    written = []
    with output_folder(arguments.out) as folder:
        for path, stem in zip(arguments.cts, stems, strict=True):
            say(f"reading {path}")
            ct = drrproj.read_volume(path)
            whole = mode == "faithful" and ct.array.dtype.kind == "i"
            if whole and kind_of(path) == "nifti" and drrproj_io.is_rescaled(path):
                # SimpleITK, the authors' reader, makes float32 of such a file; so must whoever wants their bits.
                ct = drrproj.Volume(ct.array.astype(np.float32), ct.affine)
            pictures = list(_pictures(arguments, ct))
            if mode == "faithful":
                _warn_of_array_axes(path, [picture for _, picture in pictures])
            with exchanged(arguments, _written(folder, [stem])) as new:
                for view, picture in pictures:
                    name = f"{stem}_{view}"
                    files = [f"{name}.png", f"{name}.json"]
                    source = {"volume": as_text(path)}
                    drrproj.write_sidecar(new / f"{name}.json", picture, source=source, files=files)
                    drrproj.write_picture(new / f"{name}.png", picture)
                    written += files
        print(f"wrote to {folder}: {', '.join(written)}")


def _views(arguments: argparse.Namespace) -> list[str]:
    """Return the views by the names that their files have: of small letters and capitals one file would be made."""
    views = arguments.view or _DEFAULT_VIEWS[arguments.mode]
    named = [view.upper() if view.upper() in drrproj.geometry.RADIOGRAPH_VIEWS else view for view in views]
    for view in named:
        if named.count(view) > 1:
            raise ValueError(f"view {view} is asked for twice, and one would overwrite the other")
    return named


def _require_libraries(arguments: argparse.Namespace) -> None:
    """Find out before anything is read whether a library or a backend is missing that the choices need."""
    mode = arguments.mode
    how = paxray.TRANSFERS.get(arguments.transfer or next(iter(paxray.TRANSFERS)))
    if mode == "matsubara":
        require("render", "finding bones", "scipy")
    elif how is not None:  # an unknown name is refused with those alike
        if how.body_only or "sharpen" in how.steps:
            require("render", f"the {mode} mode", "scipy")
        if "equalize" in how.steps:
            require("render", f"the {mode} mode", "skimage")
    if mode != "faithful":
        drrproj.backends.choose(arguments.backend or "auto")


def _pictures_of(folder: Path, stems: Sequence[str]) -> list[Path]:
    """List the files of CTs of these names; those of other names are not mixed up with them."""
    views = sorted({"frontal", "lateral", *drrproj.geometry.RADIOGRAPH_VIEWS})
    files = [folder / f"{stem}_{view}{ending}" for stem in stems for view in views for ending in (".png", ".json")]
    return [path for path in files if path.is_file()]


def _written(folder: Path, stems: Sequence[str]) -> list[Path]:
    """List what earlier runs wrote of CTs of these names."""
    records = [path for path in _pictures_of(folder, stems) if path.suffix == ".json"]
    return files_of_records(records, {"source", "versions"})


def _warn_of_array_axes(path: Path, pictures: Sequence[drrproj.Picture]) -> None:
    """Say which pictures do not stand as radiographs do, because the array's axes do not run as the authors' do."""
    axes = pictures[0].record["array_axes"]
    views = [picture.record["view"] for picture in pictures]
    wrong = []
    if axes[2] == "I":
        wrong.append(f"{' and '.join(views)} upside down")
    if axes[0] == "R" and "frontal" in views:
        wrong.append("frontal mirrored, the patient's right on image right")
    if axes[1] == "A" and "lateral" in views:
        wrong.append("lateral mirrored, the patient's front on image right")
    if wrong:
        warn(
            f"{path}: its array runs as {axes}, and the authors' code, which ignores that, would make it so: "
            f"{'; '.join(wrong)}; use --mode physical for pictures that stand as radiographs do",
        )


def _pictures(arguments: argparse.Namespace, ct: drrproj.Volume) -> Iterator[tuple[str, drrproj.Picture]]:
    mode = arguments.mode

    def chosen(**names: str) -> dict[str, Any]:
        """Arguments that were given, by the names that the functions have for them."""
        given = {name: getattr(arguments, option) for name, option in names.items()}
        return {name: value for name, value in given.items() if value is not None}

    shared = chosen(bone_window="bone_window", bits="bits", backend="backend", threads="threads")
    of_transfer = chosen(transfer="transfer", crop="crop")
    for view in arguments.view:
        if mode == "faithful":
            yield view, paxray.faithful(ct, view, **of_transfer)
        elif mode == "matsubara":
            yield view, paxray.matsubara(ct, view, **shared)
        else:
            placed = chosen(beam="beam", sdd="sdd", shape="shape", pixel_spacing="pixel_spacing")
            geometry = drrproj.Geometry.radiograph(view, ct, **placed)
            model = drrproj.attenuation.bilinear(**chosen(energy_kev="energy"))
            yield (
                view,
                paxray.physical(ct, geometry, attenuation=model, **of_transfer, **shared, **chosen(gamma="gamma")),
            )
