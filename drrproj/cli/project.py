"""``drrproj project``: a CT, and its anatomy labels, to X-ray images."""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path
from typing import Any

import drrproj
from drrproj import backends
from drrproj.cli.commands import Commands, add_command
from drrproj.cli.projection import timed_projection
from drrproj.cli.results import as_text, output_folder, write_masks, write_views
from drrproj.cli.screen import report_padding, say, sizes
from drrproj.cli.structures import add_structure_arguments, structure_choice, structure_names
from drrproj.io.coco import require_pycocotools

__all__ = ["add_to"]

_EXAMPLES = """\
examples:
  A frontal and a lateral chest X-ray:
    drrproj project ct.nii.gz --view PA --view LL -o out

  With anatomy: a file of label ids, or TotalSegmentator's folder of masks:
    drrproj project ct.nii.gz --labels seg.nii.gz --view PA -o out
    drrproj project ct.nii.gz --labels segmentations/ --view PA -o out

  The heart, and both lungs as one structure, as masks in PNG files and a COCO file, with a table of where they are:
    drrproj project ct.nii.gz --labels seg.nii.gz --group 'lung=lung_*' --structures heart lung --masks png coco -o out

  A parallel beam, 1 mm pixels, one grey scale for a whole dataset, everything kept for later:
    drrproj project ct.nii.gz --beam parallel --pixel-spacing 1 --window 0 6 --npz -o out

  Two C-arm views, 30 degrees LAO, and 20 degrees RAO with 15 degrees cranial:
    drrproj project ct.nii.gz --c-arm 30 0 --c-arm -20 15 --sdd 1200 --sod 800 --pixel-spacing 0.6 -o out
"""


def add_to(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = add_command(commands, "project", _run, "project a CT, and its anatomy labels, to X-ray images", _EXAMPLES)
    add = parser.add_argument
    add("ct", type=Path, metavar="CT", help="NIfTI file (.nii, .nii.gz)")
    add("-o", "--out", type=Path, required=True, metavar="OUT", help="folder for the results; made when missing")

    add = parser.add_argument_group("input").add_argument
    add("--unit", choices=("HU", "1/mm"), default="HU", help="what the voxels are (default: HU)")
    add_structure_arguments(add)
    add(
        "--prefer",
        choices=("sform", "qform", "pixdim"),
        help="sform or qform settles a disagreement of the two; pixdim accepts a file with neither",
    )
    add("--other-space", action="store_true", help="accept labels that do not seem to lie in the CT's patient space")

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
    add(
        "--masks",
        nargs="+",
        choices=("png", "coco"),
        metavar="FORM",
        help="also write masks: png, one of 1 bit per structure and view in masks/VIEW; coco, run lengths of all in "
        "masks.json; and where they are in structures.csv",
    )
    add("--min-path", type=float, metavar="MM", help="a mask is where rays meet more than this (default: any)")
    add("--npz", action="store_true", help="also write all views with path lengths and masks as radiograph.npz")
    add(
        "--npz-outputs",
        nargs="+",
        choices=("path_length", "label_line_integral", "depth"),
        metavar="OUTPUT",
        help="what radiograph.npz has of each structure beside its mask: path_length (default), label_line_integral "
        "(its share of the image), depth",
    )
    add("--crops", action="store_true", help="keep of those only the box around each structure, to save memory")
    add("--nifti", action="store_true", help="also write each view's line integral as VIEW.nii.gz")

    add = parser.add_argument_group("computation").add_argument
    add("--backend", choices=("auto", *backends.NAMES), default="auto", help="default: the first one available")
    add("--threads", type=int, metavar="N", help="default: every core this process may use")


def _run(arguments: argparse.Namespace) -> None:
    attenuation = _attenuation(arguments)
    _check_structure_options(arguments)
    say(f"reading {arguments.ct}")
    ct = drrproj.read_volume(arguments.ct, unit=arguments.unit, prefer=arguments.prefer)
    print(f"{arguments.ct}: {sizes(ct.shape)} voxels, {ct.array.dtype}, {ct.unit}")
    geometry = _geometry(arguments, ct)
    source: dict[str, Any] = {"volume": as_text(arguments.ct)}
    labels = structure_choice(arguments)
    if labels:
        source["labels"] = [as_text(path) for path in arguments.labels]
        known = structure_names(labels)
        for name in arguments.overlay or ():
            if name not in known:
                near = difflib.get_close_matches(name, known, n=3)
                raise ValueError(f"no structure {name!r}" + (f"; did you mean {', '.join(near)}?" if near else ""))
    report_padding(ct)

    with output_folder(arguments.out) as folder:
        outputs = ["line_integral"]
        if labels:
            outputs += ["mask", *((arguments.npz_outputs or ["path_length"]) if arguments.npz else [])]
        shot = timed_projection(
            ct,
            geometry,
            labels=labels,
            attenuation=attenuation,
            outputs=outputs,
            min_path_mm=arguments.min_path or 0.0,
            label_images="crops" if arguments.crops else "dense",
            other_space=arguments.other_space,
            backend=arguments.backend,
            threads=arguments.threads,
        )
        written = write_views(folder, shot, arguments.window, source, arguments.overlay)
        if arguments.masks:
            written += write_masks(folder, shot, arguments.masks)
        if arguments.nifti:
            for name in shot.geometry.names:
                drrproj.write_nifti(folder / f"{name}.nii.gz", shot[name])
                written.append(f"{name}.nii.gz")
        if arguments.npz:
            drrproj.write_npz(folder / "radiograph.npz", shot)
            written.append("radiograph.npz")
        print(f"wrote to {folder}: {', '.join(written)}")


def _check_structure_options(arguments: argparse.Namespace) -> None:
    of_labels = ("names", "group", "structures", "overlay", "masks", "min_path", "other_space")
    for option in of_labels:
        given = getattr(arguments, option)
        if given is not None and given is not False and given != [] and not arguments.labels:
            raise ValueError(f"--{option.replace('_', '-')} belongs to labels; add --labels SEG")
    for option in ("npz_outputs", "crops"):
        if getattr(arguments, option) and not (arguments.labels and arguments.npz):
            raise ValueError(f"--{option.replace('_', '-')} belongs to --labels and --npz; add them")
    if "coco" in (arguments.masks or ()):
        require_pycocotools()


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
