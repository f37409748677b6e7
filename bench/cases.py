"""What is measured: the volumes, the views, and which calls take turns with each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import phantom

from drrproj import Attenuation, Geometry, LabelVolume, Volume, backends
from drrproj.attenuation import bilinear

Float64Array = npt.NDArray[np.float64]
Output = Literal["line_integral", "path_length", "mask", "label_line_integral", "depth"]

OBLIQUE = "oblique 30/15 rolled 17"
FEW = ("AP cone", "lateral", OBLIQUE)
"""The directions of everything that is not measured from each of them."""

RANDOM_POSES, MANY = 50, 12
POSES = f"{RANDOM_POSES} random poses"
POSES_AT_ONCE, POSES_ALONE = f"{MANY} random poses in one call", f"{MANY} random poses, a call each"
FEW_PIXELS = (64, 64)
POSES_OF_FEW_PIXELS = f"{MANY} poses to {FEW_PIXELS[0]} x {FEW_PIXELS[1]}"
AP_AT_ONCE, AP_ALONE = f"{MANY} times AP in one call", "AP, a call each"
MM, MASKS, SHARES, DEPTHS = (f" + {what} of 104 labels" for what in ("mm", "masks", "shares", "depths"))
OF_LABELS: dict[str, Output] = {MM: "path_length", MASKS: "mask", SHARES: "label_line_integral", DEPTHS: "depth"}
"""What a call makes beside the image."""

RANDOM_LABELS = 1000
RANDOM_MM, RANDOM_MASKS = " + mm of 1,000 random labels", " + masks of 1,000 random labels"
OTHER_GRID = " + mm of labels of another grid"


@dataclass(frozen=True)
class Case:
    """One call of ``project``; cases of a group that differ in nothing but the view share a row of the table."""

    name: str
    volume: Volume
    geometry: Geometry
    threads: int
    labels: LabelVolume | None = None
    outputs: tuple[Output, ...] = ("line_integral",)
    attenuation: Attenuation | None = None
    backend: str = "cpu"
    instruction_set: str | None = None

    @property
    def data(self) -> str:
        """Type and order of the voxels."""
        return f"{self.volume.array.dtype} {'F' if self.volume.array.flags.f_contiguous else 'C'}"

    @property
    def engine(self) -> str:
        """Backend, and its instruction set where it has several."""
        return f"{self.backend} {self.instruction_set or backends.instruction_set(self.backend) or ''}".strip()


class Patient(NamedTuple):
    """One grid, stored in every way that is measured."""

    noise: Volume
    noise_c: Volume
    hu: Volume
    hu_c: Volume


def patient(shape: tuple[int, int, int]) -> Patient:
    """Make attenuation and HU in Fortran order, and copies of them in C order."""
    affine = phantom.affine(shape)
    noise, hu = phantom.noise(shape), phantom.noise_hu(shape)
    return Patient(
        Volume(noise, affine, unit="1/mm"),
        Volume(np.ascontiguousarray(noise), affine, unit="1/mm"),
        Volume(hu, affine),
        Volume(np.ascontiguousarray(hu), affine),
    )


def named_directions(
    patient: Patient, detector: tuple[int, int], threads: int, backend: str
) -> Iterator[tuple[Case, ...]]:
    """Every named direction: float32 and int16, F and C order in turns."""
    for name, view in directions(patient.noise, detector):
        yield _in_every_storage(name, view, patient, threads, backend)


def everything(patient: Patient, detector: tuple[int, int], threads: int, backend: str) -> Iterator[tuple[Case, ...]]:
    """The named directions, a few of them on fewer threads, with anatomy and on other engines, and many poses."""
    ids = phantom.labels(patient.noise.shape)
    labels = LabelVolume(ids, patient.noise.affine)
    coarse = LabelVolume(ids[::2, ::2, ::2], patient.noise.affine @ np.diag([2.0, 2.0, 2.0, 1.0]))
    assert len(labels.label_ids) == phantom.STRUCTURES
    for name, view in directions(patient.noise, detector):
        group = _in_every_storage(name, view, patient, threads, backend)
        if name in FEW:
            group += tuple(replace(group[0], threads=fewer) for fewer in _fewer(threads))
            # Beside the int16 CT, as patients have it; the third of the storages.
            group += tuple(_with_labels(group[2], labels, what, output) for what, output in OF_LABELS.items())
        if name == "AP cone":
            group += (_with_labels(group[2], coarse, OTHER_GRID, "path_length"),)
        yield group
    yield from random_labels(patient, detector, threads, backend)
    yield from many_poses(patient, labels, detector, threads, backend)
    yield from other_engines(patient.noise, detector, threads, backend)


def random_labels(
    patient: Patient, detector: tuple[int, int], threads: int, backend: str
) -> Iterator[tuple[Case, ...]]:
    """Labels that hardly two neighbouring voxels share, too many for 8 bits: the worst that labels can be."""
    labels = LabelVolume(phantom.random_labels(patient.hu.shape, RANDOM_LABELS), patient.hu.affine)
    view = dict(directions(patient.hu, detector))["AP cone"]
    image = Case("AP cone", patient.hu, view, threads, attenuation=bilinear(energy_kev=60), backend=backend)
    yield _with_labels(image, labels, RANDOM_MM, "path_length"), _with_labels(image, labels, RANDOM_MASKS, "mask")


def many_poses(
    patient: Patient, labels: LabelVolume, detector: tuple[int, int], threads: int, backend: str
) -> Iterator[tuple[Case, ...]]:
    """Random poses in both orders; twelve of them in one call, alone, and to a few pixels, with masks and without."""
    volume = patient.noise
    poses = random_poses(volume, detector, RANDOM_POSES)
    yield tuple(
        Case(POSES, stored, pose, threads, backend=backend) for pose in poses for stored in (volume, patient.noise_c)
    )
    alone = [Case(POSES_ALONE, volume, pose, threads, backend=backend) for pose in poses[:MANY]]
    yield (replace(alone[0], name=POSES_AT_ONCE, geometry=Geometry.concatenate(poses[:MANY])), *alone)
    yield tuple(
        Case(POSES_OF_FEW_PIXELS, volume, pose, threads, backend=backend)
        for pose in random_poses(volume, FEW_PIXELS, MANY)
    )
    few = Case(POSES_OF_FEW_PIXELS, patient.hu, alone[0].geometry, threads, attenuation=bilinear(energy_kev=60))
    few = _with_labels(replace(few, backend=backend), labels, MASKS, OF_LABELS[MASKS])
    yield tuple(replace(few, geometry=pose) for pose in random_poses(volume, FEW_PIXELS, MANY))
    view = dict(directions(volume, detector))["AP cone"]
    single = Case(AP_ALONE, volume, view, threads, backend=backend)
    yield replace(single, name=AP_AT_ONCE, geometry=Geometry.concatenate([view] * MANY)), single


def other_engines(volume: Volume, detector: tuple[int, int], threads: int, backend: str) -> Iterator[tuple[Case, ...]]:
    """A few views with every other instruction set, and with Numba."""
    others = [name for name in backends.cpu_instruction_sets() if name != backends.instruction_set(backend)]
    for name, view in directions(volume, detector):
        if name in FEW:
            case = Case(name, volume, view, threads)
            group = [replace(case, instruction_set=other) for other in others if backend == "cpu"]
            if backend != "numba" and backends.why_unavailable("numba") is None:
                group.append(replace(case, backend="numba"))
            if group:
                yield tuple(group)


def _in_every_storage(name: str, view: Geometry, patient: Patient, threads: int, backend: str) -> tuple[Case, ...]:
    model = bilinear(energy_kev=60)
    case = Case(name, patient.noise, view, threads, backend=backend)
    return (
        case,
        replace(case, volume=patient.noise_c),
        replace(case, volume=patient.hu, attenuation=model),
        replace(case, volume=patient.hu_c, attenuation=model),
    )


def _fewer(threads: int) -> Iterator[int]:
    """1, 2, 4 and so on: each doubling says how the next one pays."""
    fewer = 1
    while fewer < threads:
        yield fewer
        fewer *= 2


def _with_labels(image: Case, labels: LabelVolume, what: str, output: Output) -> Case:
    return replace(image, name=image.name + what, labels=labels, outputs=("line_integral", output))


def directions(volume: Volume, detector: tuple[int, int]) -> list[tuple[str, Geometry]]:
    """Views by name: AP, lateral, from above, and oblique ones with roll."""
    views = [
        ("AP cone", Geometry.radiograph("AP", volume, shape=detector)),
        ("AP parallel", Geometry.radiograph("AP", volume, beam="parallel", shape=detector)),
        ("lateral", Geometry.radiograph("LL", volume, shape=detector)),
        ("cranio-caudal", posed(volume, np.array([[-1.0, 0, 0], [0, -1, 0], [0, 0, -1]]).T, detector)),
    ]
    for primary, secondary, roll in ((30, 15, 17), (45, 25, 40), (80, -10, 90)):
        name = f"oblique {primary}/{secondary} rolled {roll}"
        views.append((name, posed(volume, turned(primary, secondary, roll), detector)))
    return views


def random_poses(volume: Volume, detector: tuple[int, int], poses: int) -> list[Geometry]:
    """Beams from everywhere, the detector rolled by any angle: rotations drawn uniformly, the same ones every time."""
    draw = np.random.default_rng(4)
    views = []
    for _ in range(poses):
        axes, upper = np.linalg.qr(draw.normal(size=(3, 3)))
        # Signs of the diagonal make the draw uniform, the determinant keeps the picture from being mirrored.
        axes *= np.sign(np.diagonal(upper))
        axes[:, 0] *= np.linalg.det(axes)
        views.append(posed(volume, axes, detector))
    return views


def posed(volume: Volume, axes: Float64Array, detector: tuple[int, int]) -> Geometry:
    """Build a cone view from its column, row and beam axes, in the columns of ``axes``; the volume just fits."""
    right, down, beam = axes.T
    source, center = volume.center - 1000 * beam, volume.center + 400 * beam
    corners = volume.corners - source
    shadow = 1400 * (corners @ axes[:, :2]) / (corners @ beam)[:, None]
    spacing = 2 * (np.abs(shadow) / detector[::-1]).max()
    return Geometry.cone(source, center, spacing * down, spacing * right, detector)


def turned(primary: float, secondary: float, roll: float) -> Float64Array:
    """Column, row and beam axes of an AP view turned by C-arm angles and rolled in its plane, degrees."""
    p, s, r = np.radians([primary, secondary, roll])
    beam = np.array([-np.cos(s) * np.sin(p), -np.cos(s) * np.cos(p), np.sin(s)])
    right = np.array([-np.cos(p), np.sin(p), 0.0])
    down = np.cross(beam, right)
    return np.stack([np.cos(r) * right + np.sin(r) * down, np.cos(r) * down - np.sin(r) * right, beam], axis=1)
