"""``drrproj project``: a CT, and its anatomy labels, to X-ray images."""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path

import drrproj
from drrproj import backends
from drrproj import io as drrproj_io
from drrproj.cli.commands import Commands, add_command
from drrproj.cli.projection import timed_projection
from drrproj.cli.results import as_text, output_folder, write_views
from drrproj.cli.screen import report_padding, say, sizes

__all__ = ["add_to"]

_EXAMPLES = """\
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


def add_to(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = add_command(commands, "project", _run, "project a CT, and its anatomy labels, to X-ray images", _EXAMPLES)
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


def _run(arguments: argparse.Namespace) -> None:
    attenuation = _attenuation(arguments)
    say(f"reading {arguments.ct}")
    ct = drrproj.read_volume(arguments.ct, unit=arguments.unit, prefer=arguments.prefer)
    print(f"{arguments.ct}: {sizes(ct.shape)} voxels, {ct.array.dtype}, {ct.unit}")
    geometry = _geometry(arguments, ct)
    source = {"volume": as_text(arguments.ct)}
    labels = None
    if arguments.labels is not None:
        say(f"reading {arguments.labels}")
        labels = drrproj_io.read_labels(arguments.labels, arguments.names, arguments.prefer)
        print(f"{arguments.labels}: {len(labels.label_ids)} structures")
        source["labels"] = as_text(arguments.labels)
        for name in arguments.overlay or ():
            if name not in labels.names.values():
                near = difflib.get_close_matches(name, labels.names.values(), n=3)
                raise ValueError(f"no structure {name!r}" + (f"; did you mean {', '.join(near)}?" if near else ""))
    elif any(choice is not None for choice in (arguments.names, arguments.overlay)):
        raise ValueError("--names and --overlay belong to labels; add --labels SEG")
    report_padding(ct)

    with output_folder(arguments.out) as folder:
        outputs = ["line_integral"]
        if labels is not None:
            outputs += ["mask", "path_length"] if arguments.npz else ["mask"]
        shot = timed_projection(
            ct,
            geometry,
            labels=labels,
            attenuation=attenuation,
            outputs=outputs,
            backend=arguments.backend,
            threads=arguments.threads,
        )
        written = write_views(folder, shot, arguments.window, source, arguments.overlay)
        if arguments.nifti:
            for name in shot.geometry.names:
                drrproj.write_nifti(folder / f"{name}.nii.gz", shot[name])
                written.append(f"{name}.nii.gz")
        if arguments.npz:
            drrproj.write_npz(folder / "radiograph.npz", shot)
            written.append("radiograph.npz")
        print(f"wrote to {folder}: {', '.join(written)}")


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
