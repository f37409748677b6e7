"""What is measured: volumes, views, outputs, and the bounds they are held to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import phantom

from drrproj import Attenuation, Geometry, LabelVolume, Volume, backends
from drrproj.attenuation import bilinear

Float64Array = npt.NDArray[np.float64]
Output = Literal["line_integral", "path_length", "mask"]

AP_BOUND, VIEW_BOUND, LABELS_BOUND = 10.0, 25.0, 4.0
"""An AP cone beam and any other view, in times of reading the volume; path lengths, in times of the image alone."""

RANDOM_POSES = 12
FEW = ("AP cone", "lateral", "oblique 30/15 rolled 17")


@dataclass(frozen=True)
class Case:
    """One call of ``project``, and what its time may be.

    ``bound`` counts in times of reading the float32 volume once, or with labels in times of the image alone.
    """

    name: str
    volume: Volume
    geometry: Geometry
    threads: int
    labels: LabelVolume | None = None
    outputs: tuple[Output, ...] = ("line_integral",)
    attenuation: Attenuation | None = None
    backend: str = "cpu"
    instruction_set: str | None = None
    bound: float | None = None

    @property
    def image_alone(self) -> Case | None:
        """The same without labels; None where there are none."""
        return replace(self, labels=None, outputs=("line_integral",)) if self.labels is not None else None


def every_direction(volume: Volume, detector: tuple[int, int], threads: int, backend: str) -> Iterator[Case]:
    """One view at a time."""
    for name, view in directions(volume, detector):
        bound = AP_BOUND if name == "AP cone" else VIEW_BOUND
        yield Case(f"{name}, {_kind(volume)}", volume, view, threads, backend=backend, bound=bound)


def many_views(volume: Volume, detector: tuple[int, int], threads: int, backend: str) -> Iterator[Case]:
    """Twelve views in one call: from everywhere, and all the same."""
    views = directions(volume, detector)
    poses = Geometry.concatenate([view for _, view in views[-RANDOM_POSES:]])
    same = Geometry.concatenate([dict(views)["AP cone"]] * 12)
    for name, geometry, bound in (("random poses", poses, VIEW_BOUND), ("times AP", same, AP_BOUND)):
        name = f"{len(geometry)} {name} in one call, per view, {_kind(volume)}"
        yield Case(name, volume, geometry, threads, backend=backend, bound=bound)


def every_engine(volume: Volume, detector: tuple[int, int], threads: int, backend: str) -> Iterator[Case]:
    """A few views on one thread, with every other instruction set, and with Numba."""
    for name, view in _few(volume, detector).items():
        case = Case(f"{name}, {_kind(volume)}", volume, view, threads, backend=backend)
        if threads > 1:
            yield replace(case, threads=1)
        for instruction_set in backends.cpu_instruction_sets():
            if instruction_set != backends.instruction_set("cpu"):
                yield replace(case, instruction_set=instruction_set)
        if backend != "numba" and backends.why_unavailable("numba") is None:
            yield replace(case, backend="numba")


def a_chest(noise: Volume, detector: tuple[int, int], threads: int, backend: str) -> Iterator[Case]:
    """An int16 CT through the bilinear model; labels on the image's grid and on a coarser one."""
    hu, ids = phantom.chest(noise.shape)
    ct, labels = Volume(hu, noise.affine), LabelVolume(ids, noise.affine)
    coarse = LabelVolume(ids[::2, ::2, ::2], noise.affine @ np.diag([2.0, 2.0, 2.0, 1.0]))
    assert len(labels.label_ids) == phantom.STRUCTURES
    few, model = _few(noise, detector), bilinear(energy_kev=60)
    for name, view in few.items():
        yield Case(f"{name}, int16 HU", ct, view, threads, attenuation=model, backend=backend)
    for name, view in few.items():
        case = Case(f"{name}, float32, ", noise, view, threads, labels, backend=backend)
        yield _with(case, "path_length", "mm of 104 labels", LABELS_BOUND)
        yield _with(case, "mask", "masks of 104 labels")
    case = Case("AP cone, int16 HU, ", ct, few["AP cone"], threads, labels, attenuation=model, backend=backend)
    yield _with(case, "path_length", "mm of 104 labels")
    case = Case("AP cone, float32, ", noise, few["AP cone"], threads, coarse, backend=backend)
    yield _with(case, "path_length", "mm of labels of another grid")


def _with(case: Case, output: Output, what: str, bound: float | None = None) -> Case:
    return replace(case, name=f"{case.name}image + {what}", outputs=("line_integral", output), bound=bound)


def _few(volume: Volume, detector: tuple[int, int]) -> dict[str, Geometry]:
    return {name: view for name, view in directions(volume, detector) if name in FEW}


def _kind(volume: Volume) -> str:
    return f"{volume.array.dtype} {'F' if volume.array.flags.f_contiguous else 'C'}"


def directions(volume: Volume, detector: tuple[int, int]) -> list[tuple[str, Geometry]]:
    """Views by name: the named ones, from above, oblique ones with roll, and random poses last."""
    draw = np.random.default_rng(4)
    views = [
        ("AP cone", Geometry.radiograph("AP", volume, shape=detector)),
        ("AP parallel", Geometry.radiograph("AP", volume, beam="parallel", shape=detector)),
        ("lateral", Geometry.radiograph("LL", volume, shape=detector)),
        ("cranio-caudal", posed(volume, np.array([[-1.0, 0, 0], [0, -1, 0], [0, 0, -1]]).T, detector)),
    ]
    for primary, secondary, roll in ((17, 0, 0), (30, 15, 17), (45, 25, 40), (80, -10, 90)):
        name = f"oblique {primary}/{secondary} rolled {roll}"
        views.append((name, posed(volume, turned(primary, secondary, roll), detector)))
    for pose in range(RANDOM_POSES):
        axes, _ = np.linalg.qr(draw.normal(size=(3, 3)))
        views.append((f"random pose {pose + 1}", posed(volume, axes, detector)))
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
