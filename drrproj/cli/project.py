"""``drrproj project``: a CT, and its anatomy labels, to X-ray images."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import drrproj
from drrproj import backends, physics
from drrproj.cli.commands import Commands, add_command, named_path
from drrproj.cli.ct import add_ct, add_ct_arguments, read_ct
from drrproj.cli.display import add_display_arguments, display_choice
from drrproj.cli.earlier import PICTURES, add_overwrite, old_results
from drrproj.cli.exchange import exchanged
from drrproj.cli.projection import timed_projection
from drrproj.cli.results import as_text, files_beside, output_folder, write_dicom_views, write_masks, write_views
from drrproj.cli.screen import report_padding, sizes
from drrproj.cli.structures import add_structure_arguments, structure_choice, structures_meant
from drrproj.cli.tube import TubeChoice, add_exposure_arguments, add_spectrum_arguments, tube_choice
from drrproj.cli.views import add_view_arguments, views_of, warn_of_cut_views
from drrproj.extras import require
from drrproj.io.coco import require_pycocotools
from drrproj.io.kinds import kind_of

__all__ = ["add_to"]

# Each model with the energies that it depends on.
_MODELS: dict[str, tuple[Callable[..., drrproj.Attenuation], tuple[str, ...]]] = {
    "linear": (drrproj.attenuation.linear, ("energy_kev",)),
    "bilinear": (drrproj.attenuation.bilinear, ("energy_kev", "ct_energy_kev")),
    "schneider": (drrproj.attenuation.schneider, ("energy_kev",)),
    "deepdrr": (drrproj.attenuation.deepdrr, ("energy_kev",)),
    "plastimatch": (drrproj.attenuation.plastimatch, ()),
    "nanodrr": (drrproj.attenuation.nanodrr, ()),
}

# What the command writes: how the files of a view end, and those beside them.
_OF_A_VIEW = (*PICTURES, ".dcm", "_seg.dcm", ".nii.gz")
_OF_ALL = ("masks", "masks.json", "structures.csv", "radiograph.npz")

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
  The heart, and both lungs as one structure, as masks in PNG files and a COCO file, with a table of where they are:
    drrproj project ct.nii.gz --labels seg.nii.gz --group 'lung=lung_*' --structures heart lung --masks png coco -o out

  A parallel beam, 1 mm pixels, one grey scale for a whole dataset, everything kept for later:
    drrproj project ct.nii.gz --beam parallel --pixel-spacing 1 --window 0 6 --npz -o out

  The beam of a tube, 120 kV behind 4.3 mm of aluminium, with the noise of 2 mAs:
    drrproj project ct.nii.gz --kvp 120 --filter aluminium=4.3 --absorber CsI=0.6 --mas 2 --seed 1 -o out

  Two C-arm views, 30 degrees LAO, and 20 degrees RAO with 15 degrees cranial:
    drrproj project ct.nii.gz --c-arm 30 0 --c-arm -20 15 --sdd 1200 --sod 800 --pixel-spacing 1.8 -o out
"""


def add_to(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = add_command(commands, "project", _run, "project a CT, and its anatomy labels, to X-ray images", _EXAMPLES)
    add_ct(parser)
    add = parser.add_argument
    add("-o", "--out", type=named_path, required=True, metavar="OUT", help="folder for the results; made when missing")
    add_overwrite(add)

    group = parser.add_argument_group("input")
    add_ct_arguments(group)
    add = group.add_argument
    add("--body-only", action="store_true", help="take couch, clothes and all else around the patient for air")
    add_structure_arguments(add)
    add("--other-space", action="store_true", help="accept labels that do not seem to lie in the CT's patient space")

    add_view_arguments(parser)

    add = parser.add_argument_group("attenuation").add_argument
    add("--attenuation", choices=tuple(_MODELS), help="how HU become attenuation (default: bilinear)")
    add("--energy", type=float, metavar="KEV", help="photon energy, 10 to 150 (default: 70)")
    add("--ct-energy", type=float, metavar="KEV", help="effective energy of the CT, for bilinear (default: 70)")

    add = parser.add_argument_group("output").add_argument
    add(
        "--overlay",
        nargs="+",
        action="extend",
        metavar="NAME",
        help="structures drawn on the overlay, named as for --structures (default: all)",
    )
    add("--no-legend", action="store_true", help="leave the names beside the overlay out: it has the picture's size")
    add(
        "--masks",
        nargs="+",
        action="extend",
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
        action="extend",
        choices=("path_length", "label_line_integral", "depth"),
        metavar="OUTPUT",
        help="what radiograph.npz has of each structure beside its mask: path_length (default), label_line_integral "
        "(its share of the image), depth",
    )
    add("--crops", action="store_true", help="keep of those only the box around each structure, to save memory")
    add("--dicom", action="store_true", help="also write each view as DICOM: VIEW.dcm, and with labels VIEW_seg.dcm")
    add("--nifti", action="store_true", help="also write each view's line integral as VIEW.nii.gz")
    add_spectrum_arguments(parser)
    add_exposure_arguments(parser)
    add_display_arguments(parser)

    add = parser.add_argument_group("computation").add_argument
    add("--backend", choices=("auto", *backends.NAMES), default="auto", help="default: the first one available")
    add(
        "--supersampling",
        type=int,
        default=1,
        metavar="N",
        help="N x N rays per pixel, photons averaged; not with --kvp (default: 1)",
    )
    add("--threads", type=int, metavar="N", help="default: DRRPROJ_NUM_THREADS, OMP_NUM_THREADS, or every core")


def _run(arguments: argparse.Namespace) -> None:
    attenuation = _attenuation(arguments)
    _check_structure_options(arguments)
    tube, display = tube_choice(arguments), display_choice(arguments)
    _check_beside_tube(arguments, tube)
    _require_libraries(arguments)
    old_results(arguments, _OF_A_VIEW, _OF_ALL)
    ct = as_read = read_ct(arguments)
    print(f"{arguments.ct}: {sizes(ct.shape)} voxels, {ct.array.dtype}, {ct.unit}")
    geometry = views_of(arguments, ct)
    old = old_results(arguments, _OF_A_VIEW, _OF_ALL, geometry.names)
    source: dict[str, Any] = {"volume": as_text(arguments.ct)}
    labels, drawn = structure_choice(arguments, ct)
    if labels:
        source["labels"] = [as_text(path) for path in arguments.labels]
    elif arguments.made_of is not None:
        raise ValueError("--made-of speaks of structures; add --labels SEG")
    if tube is not None:
        tube.for_views(geometry)
        tube = tube.of_structures(lambda wanted: structures_meant(arguments, labels, wanted))
    report_padding(ct)
    if arguments.body_only:
        ct = drrproj.tissue.body(ct)
        source["changed"] = "air in place of everything but the body (drrproj.tissue.body)"

    with output_folder(arguments.out) as folder:
        of_labels = ["mask", *((arguments.npz_outputs or ["path_length"]) if arguments.npz else [])] if labels else []

        def projected(outputs: list[Any]) -> drrproj.Radiograph:
            return drrproj.project(
                ct,
                geometry,
                labels=labels,
                attenuation=attenuation,
                outputs=outputs,
                min_path_mm=arguments.min_path or 0.0,
                label_images="crops" if arguments.crops else "dense",
                other_space=arguments.other_space,
                supersampling=arguments.supersampling,
                backend=arguments.backend,
                threads=arguments.threads,
            )

        if tube is None or tube.spectrum is None:
            shot = timed_projection(geometry, lambda: projected(["line_integral", *of_labels]))
            shot = shot if tube is None else tube.exposed(shot)
        else:
            print(_beam(tube.spectrum))
            beam, engine = tube, {"backend": arguments.backend, "threads": arguments.threads}
            shot = timed_projection(
                geometry,
                lambda: beam.polychromatic(ct, geometry, labels, projected(of_labels) if labels else None, **engine),
            )
        warn_of_cut_views(arguments, geometry, ct)
        beside = files_beside(
            shot,
            drawn,
            arguments.masks or (),
            dicom=arguments.dicom,
            nifti=arguments.nifti,
            npz=arguments.npz,
        )
        with exchanged(arguments, old) as new:
            written = write_views(new, shot, display, source, drawn, not arguments.no_legend, beside=beside)
            if arguments.dicom:
                written += write_dicom_views(new, shot, display, as_read, arguments.ct, arguments.series, drawn)
            if arguments.masks:
                written += write_masks(new, shot, arguments.masks)
            if arguments.nifti:
                for name in shot.geometry.names:
                    drrproj.write_nifti(new / f"{name}.nii.gz", shot[name])
                    written.append(f"{name}.nii.gz")
            if arguments.npz:
                drrproj.write_npz(new / "radiograph.npz", shot)
                written.append("radiograph.npz")
        print(f"wrote to {folder}: {', '.join(written)}")


def _check_structure_options(arguments: argparse.Namespace) -> None:
    of_labels = ("names", "group", "structures", "overlay", "no_legend", "masks", "min_path", "other_space")
    for option in of_labels:
        given = getattr(arguments, option)
        if given is not None and given is not False and given != [] and not arguments.labels:
            raise ValueError(f"--{option.replace('_', '-')} belongs to labels; add --labels SEG")
    for option in ("npz_outputs", "crops"):
        if getattr(arguments, option) and not (arguments.labels and arguments.npz):
            raise ValueError(f"--{option.replace('_', '-')} belongs to --labels and --npz; add them")


def _check_beside_tube(arguments: argparse.Namespace, tube: TubeChoice | None) -> None:
    if tube is not None and "label_line_integral" in (arguments.npz_outputs or ()):
        raise ValueError(
            "--npz-outputs label_line_integral is of one energy without noise or blur; leave it out, or make it in a "
            "run of its own"
        )
    if tube is not None and tube.spectrum is not None and arguments.supersampling > 1:
        # The mean of the paths through each material is not the mean of the photons.
        raise ValueError(
            "--supersampling averages rays of one energy; leave it out with --kvp, and choose smaller pixels (--shape)"
        )


def _require_libraries(arguments: argparse.Namespace) -> None:
    """Find out before anything is read whether a library or a backend is missing that the choices need."""
    if "coco" in (arguments.masks or ()):
        require_pycocotools()
    if arguments.dicom:
        require("dicom", "writing DICOM", "pydicom", *["highdicom"] * bool(arguments.labels))
    if arguments.body_only:
        require("render", "finding the body", "scipy")
    kinds = {kind_of(path) for path in arguments.labels}
    if "nrrd" in kinds:
        require("formats", "reading NRRD", "nrrd")
    if "dicom" in kinds:
        require("dicom", "reading DICOM", "pydicom")
    backends.choose(arguments.backend)


def _beam(spectrum: physics.Spectrum) -> str:
    return (
        f"a beam of {spectrum.mean_energy_kev:.1f} keV on average, {spectrum.effective_energy_kev:.1f} keV effective, "
        f"half-value layer {spectrum.half_value_layer_mm():.1f} mm aluminium"
    )


def _attenuation(arguments: argparse.Namespace) -> drrproj.Attenuation | None:
    energy, ct_energy = arguments.energy, arguments.ct_energy
    if arguments.kvp is not None:
        if arguments.attenuation or energy is not None or ct_energy is not None or arguments.unit != "HU":
            raise ValueError(
                "--kvp takes the place of one energy, and HU of attenuation: leave out --attenuation, --energy, "
                "--ct-energy and --unit 1/mm"
            )
        return None
    if arguments.unit == "1/mm":
        if arguments.attenuation or energy is not None or ct_energy is not None:
            raise ValueError(
                "--attenuation, --energy and --ct-energy turn HU into 1/mm; with --unit 1/mm leave them out"
            )
        return None
    name = arguments.attenuation or "bilinear"
    model, parameters = _MODELS[name]
    energies = {"energy_kev": energy, "ct_energy_kev": ct_energy}
    given = {parameter: value for parameter, value in energies.items() if value is not None}
    for parameter in [parameter for parameter in given if parameter not in parameters]:
        option = "--energy" if parameter == "energy_kev" else "--ct-energy"
        users = [user for user, (_, takes) in _MODELS.items() if parameter in takes]
        raise ValueError(f"{option} belongs to --attenuation {', '.join(users)}; {name} does not depend on it")
    return model(**given)
