"""``drrproj project``: a CT, and its anatomy labels, to X-ray images."""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path

import drrproj
from drrproj import backends
from drrproj import io as drrproj_io
from drrproj.cli.commands import Commands, add_command
from drrproj.cli.ct import add_ct, add_ct_arguments, read_ct
from drrproj.cli.projection import timed_projection
from drrproj.cli.results import as_text, output_folder, write_dicom_views, write_views
from drrproj.cli.screen import report_padding, say, sizes
from drrproj.cli.views import add_view_arguments, views_of, warn_of_cut_views

__all__ = ["add_to"]

_EXAMPLES = """\
examples:
  A frontal and a lateral chest X-ray:
    drrproj project ct.nii.gz --view PA --view LL -o out

  With anatomy: a file of label ids, or TotalSegmentator's folder of masks:
    drrproj project ct.nii.gz --labels seg.nii.gz --view PA -o out
    drrproj project ct.nii.gz --labels segmentations/ --view PA -o out

  A DICOM folder or zip, one of its series; the picture as DICOM too; the pose of a C-arm's own file:
    drrproj project dicom_folder/ --series "Thorax 1.0" --view PA --dicom -o out
    drrproj project dicom_folder/ --labels rtstruct.dcm --structures heart "lung left" -o out
    drrproj project ct.nii.gz --pose angiogram.dcm -o out

  A parallel beam, 1 mm pixels, one grey scale for a whole dataset, everything kept for later:
    drrproj project ct.nii.gz --beam parallel --pixel-spacing 1 --window 0 6 --npz -o out

  Two C-arm views, 30 degrees LAO, and 20 degrees RAO with 15 degrees cranial:
    drrproj project ct.nii.gz --c-arm 30 0 --c-arm -20 15 --sdd 1200 --sod 800 --pixel-spacing 0.6 -o out
"""


def add_to(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = add_command(commands, "project", _run, "project a CT, and its anatomy labels, to X-ray images", _EXAMPLES)
    add_ct(parser)
    add = parser.add_argument
    add("-o", "--out", type=Path, required=True, metavar="OUT", help="folder for the results; made when missing")

    group = parser.add_argument_group("input")
    add_ct_arguments(group)
    add = group.add_argument
    add(
        "--labels",
        type=Path,
        metavar="SEG",
        help="file of label ids, folder of one mask per structure, .seg.nrrd, DICOM SEG or RTSTRUCT",
    )
    add(
        "--names",
        type=Path,
        metavar="FILE",
        help="label names, .json, .tsv or .csv (default: found beside SEG or in it)",
    )
    add("--structures", nargs="+", metavar="NAME", help="read these only, where SEG names them (default: all)")
    add("--overlap", choices=("first", "last"), help="which id keeps a voxel that two structures share")

    add_view_arguments(parser)

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
    add("--dicom", action="store_true", help="also write each view as DICOM: VIEW.dcm, and with labels VIEW_seg.dcm")
    add("--nifti", action="store_true", help="also write each view's line integral as VIEW.nii.gz")

    add = parser.add_argument_group("computation").add_argument
    add("--backend", choices=("auto", *backends.NAMES), default="auto", help="default: the first one available")
    add("--supersampling", type=int, default=1, metavar="N", help="N x N rays per pixel, photons averaged (default: 1)")
    add("--threads", type=int, metavar="N", help="default: every core this process may use")


def _run(arguments: argparse.Namespace) -> None:
    attenuation = _attenuation(arguments)
    ct = read_ct(arguments)
    print(f"{arguments.ct}: {sizes(ct.shape)} voxels, {ct.array.dtype}, {ct.unit}")
    geometry = views_of(arguments, ct)
    source = {"volume": as_text(arguments.ct)}
    labels = None
    if arguments.labels is not None:
        say(f"reading {arguments.labels}")
        labels = drrproj_io.read_labels(
            arguments.labels,
            arguments.names,
            arguments.prefer,
            arguments.overlap,
            volume=ct,
            structures=arguments.structures,
        )
        print(f"{arguments.labels}: {len(labels.label_ids)} structures")
        source["labels"] = as_text(arguments.labels)
        for name in arguments.overlay or ():
            if name not in labels.names.values():
                near = difflib.get_close_matches(name, labels.names.values(), n=3)
                raise ValueError(f"no structure {name!r}" + (f"; did you mean {', '.join(near)}?" if near else ""))
    elif any(
        choice is not None for choice in (arguments.names, arguments.overlap, arguments.overlay, arguments.structures)
    ):
        raise ValueError("--names, --structures, --overlap and --overlay belong to labels; add --labels SEG")
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
            supersampling=arguments.supersampling,
            backend=arguments.backend,
            threads=arguments.threads,
        )
        warn_of_cut_views(arguments, geometry, ct)
        written = write_views(folder, shot, arguments.window, source, arguments.overlay)
        if arguments.dicom:
            written += write_dicom_views(folder, shot, arguments.window, arguments.ct, arguments.overlay)
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
