"""The choices about tube, exposure and detector that commands share."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import drrproj
from drrproj import physics
from drrproj.materials import Material, material

__all__ = ["TubeChoice", "add_exposure_arguments", "add_spectrum_arguments", "tube_choice"]

_DEFAULT_FILTERS = {"aluminium": 2.5}
_OF_SPECTRUM = ("filter", "tissues", "made_of", "detector")
_OF_NOISE = ("mas", "kerma", "photons")
_OF_EXPOSURE = (
    *_OF_NOISE,
    "seed",
    "focal_spot",
    "magnification",
    "scatter",
    "detector_blur",
    "electronic_noise",
)


def add_spectrum_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the group of arguments that :func:`tube_choice` reads."""
    add = parser.add_argument_group("spectrum").add_argument
    add("--kvp", type=int, metavar="KV", help="tungsten tube of this peak voltage, 50 to 150, in place of one energy")
    add(
        "--filter",
        action="append",
        type=_pair("MATERIAL=MM", float),
        metavar="MATERIAL=MM",
        help="total filtration, such as Al=2.5 or copper=0.1; repeatable, each material once (default: aluminium=2.5)",
    )
    add(
        "--tissues",
        choices=("water_bone", "schneider", "deepdrr"),
        help="what HU are made of (default: water_bone)",
    )
    add(
        "--made-of",
        action="append",
        type=_pair("NAME=MATERIAL", str),
        metavar="NAME=MATERIAL",
        help="what structures, named as for --structures, are made of, such as pacemaker=titanium; repeatable",
    )
    add("--detector", choices=("energy", "count"), help="what an absorbed photon adds (default: its energy)")


def add_exposure_arguments(parser: argparse.ArgumentParser, *, tube: bool = True) -> None:
    """Add the group of arguments that :func:`tube_choice` reads; without a tube, those for an image of one energy."""
    group = parser.add_argument_group("exposure and detector")
    add, add_quantity = group.add_argument, group.add_mutually_exclusive_group().add_argument
    add(
        "--absorber",
        type=_pair("MATERIAL=MM", float),
        metavar="MATERIAL=MM",
        help=f"what stops the photons, such as CsI=0.6, for noise{' or --kvp' * tube} (default: all are absorbed)",
    )
    if tube:
        add_quantity("--mas", type=float, metavar="MAS", help="noise of this tube load; with --kvp")
    add_quantity("--kerma", type=float, metavar="UGY", help="noise of this air kerma at the detector without a patient")
    add_quantity("--photons", type=float, metavar="N", help="noise of so many photons per open pixel")
    add("--seed", type=int, metavar="N", help="what the noise follows from; needed for noise")
    add("--focal-spot", type=float, metavar="MM", help="width of the focal spot")
    add("--magnification", type=float, metavar="M", help="of the patient, for --focal-spot (default: the CT's middle)")
    add(
        "--scatter",
        nargs=2,
        type=float,
        metavar=("RATIO", "MM"),
        help="scatter over primary where the patient is, and how far it spreads, standard deviation",
    )
    add("--detector-blur", type=float, metavar="MM", help="standard deviation of the detector's spread")
    add("--electronic-noise", type=float, metavar="QUANTA", help="standard deviation per pixel")


def tube_choice(arguments: argparse.Namespace) -> TubeChoice | None:
    """Check the choices, and return what makes them of a radiograph; None where none was made."""
    given = {name for name, value in vars(arguments).items() if value is not None}
    kvp = getattr(arguments, "kvp", None)
    for option in _OF_SPECTRUM:
        if option in given and kvp is None:
            raise ValueError(f"--{option.replace('_', '-')} belongs to a spectrum; add --kvp KV")
    by_name = [(material(named).name, thickness) for named, thickness in getattr(arguments, "filter", None) or ()]
    filters = _each_once("--filter", by_name, "give the thickness of all of it, once")
    made_of = _each_once("--made-of", getattr(arguments, "made_of", None), "a structure is made of one material")
    exposed, noisy = (not given.isdisjoint(options) for options in (_OF_EXPOSURE, _OF_NOISE))
    if "magnification" in given and not arguments.focal_spot:
        raise ValueError("--magnification belongs to a focal spot; add --focal-spot MM")
    if "absorber" in given and kvp is None and not noisy:
        raise ValueError(
            "--absorber changes nothing of one energy without noise; add --kerma or --photons, or a spectrum in place "
            "of the energy (drrproj project --kvp)"
        )
    if kvp is None and not exposed:
        return None
    if noisy and arguments.seed is None:
        raise ValueError("noise follows from a seed; add --seed N")
    if not noisy and (arguments.seed is not None or arguments.electronic_noise):
        load = "--mas, " * hasattr(arguments, "mas")
        raise ValueError(f"--seed and --electronic-noise belong to noise; add {load}--kerma or --photons")
    absorber = dict(zip(("absorber", "thickness_mm"), arguments.absorber or (), strict=False))
    quantities = {
        "mas": getattr(arguments, "mas", None),
        "kerma_ugy": arguments.kerma,
        "photons_per_pixel": arguments.photons,
    }
    named = {name: value for name, value in quantities.items() if value is not None}
    acquisition = {
        "exposure": physics.Exposure(**named) if named else None,
        "seed": arguments.seed,
        "focal_spot_mm": arguments.focal_spot,
        "magnification": arguments.magnification,
        "scatter": None if arguments.scatter is None else physics.Scatter(*arguments.scatter),
        "detector_blur_mm": arguments.detector_blur,
        "electronic_noise": arguments.electronic_noise,
    }
    return TubeChoice(
        spectrum=None if kvp is None else physics.tungsten(kvp, filters or _DEFAULT_FILTERS),
        detector=physics.Detector(getattr(arguments, "detector", None) or "energy", **absorber),
        tissues=getattr(arguments, "tissues", None) or "water_bone",
        made_of=made_of,
        acquisition={name: value for name, value in acquisition.items() if value is not None} if exposed else None,
    )


@dataclasses.dataclass(frozen=True)
class TubeChoice:
    """A beam, a detector, and what happens at an exposure; checked, and not yet made."""

    spectrum: physics.Spectrum | None
    detector: physics.Detector
    tissues: str
    made_of: dict[str | int, Material | str]
    acquisition: dict[str, Any] | None

    def for_views(self, geometry: drrproj.Geometry) -> None:
        """Refuse what these views cannot have, before they are projected."""
        if geometry.is_parallel.any() and self.acquisition and self.acquisition.get("focal_spot_mm"):
            raise ValueError("--focal-spot blurs a cone beam; a parallel one has no focal spot: leave one of them out")

    def of_structures(self, meant: Callable[[str], Sequence[str]]) -> TubeChoice:
        """Return the choice with --made-of by the names of structures; ``meant`` finds them by what was given."""
        pairs = [(name, value) for given, value in self.made_of.items() for name in meant(str(given))]
        return dataclasses.replace(self, made_of=_each_once("--made-of", pairs, "a structure is made of one material"))

    def exposed(self, shot: drrproj.Radiograph) -> drrproj.Radiograph:
        """Return a radiograph of one energy with noise and blur; its anatomy stays."""
        return self._joined(shot, self._acquired(physics.monochromatic(shot, self.detector)))

    def polychromatic(
        self,
        ct: drrproj.Volume,
        geometry: drrproj.Geometry,
        anatomy: Sequence[drrproj.LabelVolume],
        shot: drrproj.Radiograph | None,
        **choices: Any,
    ) -> drrproj.Radiograph:
        """Return a radiograph of the spectrum, with the anatomy of ``shot``."""
        assert self.spectrum is not None
        paths = physics.material_paths(
            ct,
            geometry,
            tissues=self.tissues,
            labels=self._labels_of_materials(anatomy) if self.made_of else None,
            assign=self.made_of or None,
            **choices,
        )
        signal = physics.polychromatic(paths, self.spectrum, self.detector, threads=choices["threads"])
        acquired = self._acquired(signal)
        return acquired.as_radiograph() if shot is None else self._joined(shot, acquired)

    def _labels_of_materials(self, anatomy: Sequence[drrproj.LabelVolume]) -> drrproj.LabelVolume:
        """Return the label volume that has the structures of --made-of; what is in none is refused by it."""
        owners = [labels for labels in anatomy if self.made_of.keys() <= set(labels.names.values())]
        if not owners and len(anatomy) > 1:
            raise ValueError(f"--made-of {', '.join(map(str, self.made_of))}: no label file has all of them")
        return (owners or anatomy)[0]

    def _acquired(self, signal: physics.Signal) -> physics.Signal:
        return signal if self.acquisition is None else physics.acquire(signal, **self.acquisition)

    def _joined(self, shot: drrproj.Radiograph, signal: physics.Signal) -> drrproj.Radiograph:
        of_anatomy: tuple[str, ...] = ("labels", "outputs", "min_path_mm")
        kept = {name: shot.record[name] for name in of_anatomy if name in shot.record}
        if "outputs" in kept:
            kept["outputs"] = list(dict.fromkeys(("line_integral", *kept["outputs"])))
        return shot.with_line_integral(signal.line_integral, {**signal.record, **kept})


def _each_once(option: str, given: Sequence[tuple[str, Any]] | None, instead: str) -> dict[Any, Any]:
    pairs: dict[Any, Any] = {}
    for name, value in given or ():
        if name in pairs:
            raise ValueError(f"{option} {name}={pairs[name]} and {name}={value}: {instead}")
        pairs[name] = value
    return pairs


def _pair(form: str, second: Callable[[str], Any]) -> Callable[[str], tuple[str, Any]]:
    """What reads ``MATERIAL=MM`` and the like."""

    def read(text: str) -> tuple[str, Any]:
        first, equals, value = text.rpartition("=")
        try:
            if first and equals:
                return first, second(value)
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"must be {form}; got {text!r}")

    return read
