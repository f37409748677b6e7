"""How often small images of random scenes miss the tolerance: every pixel against the reference.

    python bench/scenes.py --json bench/scenes.json      100,000 scenes, twenty minutes
    python bench/scenes.py --scenes 200                  are the answers right?

A scene is one image of a volume of noise, up to 40 voxels along an axis, of any number type and order, whose grid is
sheared, flipped and up to 12 times as coarse along one axis as along another; views of ``KINDS`` take turns. Few rays
make an image, so that one which grazes voxel faces weighs in it: where it crosses a face hangs on digits that float32
does not have, and a ray within a face has two right answers. So an image whose relative L2 error is above 2e-6, or a
pixel of which is off by more than 1e-4 of its maximum, is counted, and compared again with what rays can be that lie
within 5e-7 voxel of its own. One that is wrong then too is the exit code 1. Scene n of a seed is always the same.
"""

from __future__ import annotations

import argparse
import itertools
import json
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import machine
import numpy as np
import numpy.typing as npt
import reference
from answers import MAX_RELATIVE_L2, MAX_WORST

from drrproj import Geometry, Volume, attenuation, backends, project

Float64Array = npt.NDArray[np.float64]
ROLLED, GRAZING, INSIDE, WIDE = "rolled along an axis", "almost along an axis", "source or detector inside", "wide cone"
LINES = "lines of pixels along an axis"
NUMBA = "numba"
KINDS = ("any pose", ROLLED, GRAZING, INSIDE, WIDE, LINES)
TYPES = (np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.float32, np.float64)
MOST_VOXELS, MOST_PIXELS, LONGEST_LINE = 40, 12, 40
MOVED = 5e-7
"""Voxels along each axis by which a ray may lie elsewhere: up to 16 slabs of a motion that float32 rounds by 3e-8."""

_SIDES = [side for side in itertools.product((-1, 0, 1), repeat=3) if any(side)]


class Scene(NamedTuple):
    """One volume, one view, and the attenuation of each voxel in float64."""

    kind: str
    volume: Volume
    model: attenuation.Attenuation | None
    mu: Float64Array
    geometry: Geometry


class Drawn(NamedTuple):
    """A scene, its true image, and how often there was no image to compare."""

    scene: Scene
    truth: Float64Array
    without_image: int


def draw(seed: int, number: int) -> Drawn:
    """Scene of a number: the first of its random ones with a ray that meets voxels."""
    rng = np.random.default_rng([seed, number])
    without_image = 0
    while True:
        scene = _draw(rng, KINDS[number % len(KINDS)])
        view, shape = scene.geometry.views[0], scene.geometry.shape
        pixels = np.argwhere(np.ones(shape, bool))
        truth = reference.line_integrals(scene.mu, scene.volume.affine, view, pixels)
        if truth.any():
            return Drawn(scene, truth.reshape(shape), without_image)
        without_image += 1


def _draw(rng: np.random.Generator, kind: str) -> Scene:
    sizes = rng.integers(2, MOST_VOXELS + 1, 3)
    turn = np.eye(3) if kind in (ROLLED, GRAZING) and rng.random() < 0.5 else _rotation(rng)
    shear = np.eye(3) + np.triu(rng.uniform(-0.4, 0.4, (3, 3)), 1)
    spacing = rng.permutation([rng.uniform(0.4, 0.6), rng.uniform(0.8, 2.0), rng.uniform(3.0, 5.0)])
    affine = np.eye(4)
    affine[:3, :3] = turn @ shear * spacing * rng.choice([-1.0, 1.0], 3)
    affine[:3, 3] = rng.uniform(-300, 300, 3)
    array, model = _noise(rng, tuple(sizes))
    mu = array.astype(np.float64) if model is None else model(array)
    volume = Volume(array, affine, unit="1/mm" if model is None else "HU")
    return Scene(kind, volume, model, mu, _geometry(rng, kind, sizes, affine))


def _noise(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[npt.NDArray[Any], attenuation.Attenuation | None]:
    """White noise, where every voxel differs from its neighbours: HU, or attenuation where it has fractions."""
    dtype: np.dtype[Any] = np.dtype(TYPES[rng.integers(len(TYPES))])
    order = rng.choice(["C", "F"])
    if dtype.kind == "f" and rng.random() < 0.5:
        return np.asarray(rng.uniform(0.001, 0.05, shape), dtype, order=order), None
    low, high = (-1000, 3000) if dtype.kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    hu = rng.integers(max(low, -1000), min(high, 3000), shape, endpoint=True)
    model = attenuation.linear(60) if rng.random() < 0.5 else attenuation.bilinear(80)
    return np.asarray(hu, dtype, order=order), model


def _rotation(rng: np.random.Generator) -> Float64Array:
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    rotation: Float64Array = q * np.linalg.det(q)
    return rotation


def _geometry(rng: np.random.Generator, kind: str, sizes: npt.NDArray[np.int64], affine: Float64Array) -> Geometry:
    """A cone or parallel view, its pixels a parallelogram from far finer to coarser than the voxels."""
    rows, columns = (int(n) for n in rng.integers(1, MOST_PIXELS + 1, 2))
    linear = affine[:3, :3]
    signs = np.array(np.meshgrid([1, -1], [1, -1], [1])).reshape(3, -1)
    diagonal = float(np.linalg.norm(linear @ (sizes[:, None] * signs), axis=0).max())
    aim = affine[:3, 3] + linear @ ((sizes - 1) / 2 + sizes * rng.uniform(-0.3, 0.3, 3))
    is_cone = kind in (INSIDE, WIDE) or rng.random() < 0.6
    if kind in (ROLLED, GRAZING):
        axis = int(rng.integers(3))
        beam = _unit(linear[:, axis]) * rng.choice([-1.0, 1.0])
        if kind == GRAZING:
            beam = _unit(beam + rng.normal(size=3) * 10.0 ** rng.uniform(-9, -1))
        across = np.linalg.svd(beam[None])[2][1:]
        angle = rng.choice([0.0, 90.0, rng.uniform(0, 360)]) * np.pi / 180
        row, column = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) @ across
    elif kind == LINES:
        # Those of a gantry's tilt, or a detector whose steps are not perpendicular: each line ends at lanes of its own.
        ahead, along, over = (linear * rng.choice([-1.0, 1.0], 3)).T[rng.permutation(3)]
        beam = _unit(ahead + 0.2 * rng.uniform(-1, 1) * along + 0.2 * rng.uniform(-1, 1) * over)
        row, column = _unit(along), _unit(over + rng.uniform(-1.5, 1.5) * along)
        columns = int(rng.integers(1, LONGEST_LINE + 1))
        if rng.random() < 0.5:
            row, column, rows, columns = column, row, columns, rows
    else:
        beam, row, column = _rotation(rng).T
        row = row + rng.uniform(-0.2, 0.2) * column + rng.uniform(-0.2, 0.2) * beam
        column = column + rng.uniform(-0.2, 0.2) * beam
    before, beyond = rng.uniform(0.9, 2.5) * diagonal, rng.uniform(0.6, 1.0) * diagonal
    cover = 10.0 ** rng.uniform(-2, 0)
    if kind == INSIDE:
        # One of the two ends of the rays inside, or both.
        inside = rng.integers(3)
        before = before if inside == 0 else rng.uniform(0.02, 0.2) * diagonal
        beyond = beyond if inside == 1 else rng.uniform(0.02, 0.2) * diagonal
    elif kind == WIDE:
        before, cover = rng.uniform(0.5, 0.6) * diagonal, rng.uniform(1, 2.5)
    width = cover * diagonal * ((before + beyond) / before if is_cone else 1.0)
    row, column = row * width / rows, column * width / columns
    view = np.zeros((4, 4))
    view[:3, 0] = aim - before * beam if is_cone else -beam
    view[:3, 1] = aim + beyond * beam - (rows - 1) / 2 * row - (columns - 1) / 2 * column
    view[:3, 2], view[:3, 3] = row, column
    view[3, :2] = float(is_cone), 1
    return Geometry(view[None], (rows, columns))


def _unit(vector: Float64Array) -> Float64Array:
    unit: Float64Array = vector / np.linalg.norm(vector)
    return unit


class Error(NamedTuple):
    """Of one image: relative L2 error, and the worst pixel as a share of the image's maximum."""

    relative_l2: float
    worst: float

    @property
    def is_above(self) -> bool:
        """Whether it exceeds a bound, as NaN does."""
        return not (self.relative_l2 <= MAX_RELATIVE_L2 and self.worst <= MAX_WORST)


def errors_of(drawn: Drawn, engine: str) -> tuple[Error, Error]:
    """Project a scene with Numba or an instruction set; return the error, and what is left where rays may be moved."""
    scene = drawn.scene
    if engine != NUMBA:
        backends.use_instruction_set(engine)
    with warnings.catch_warnings():
        # That a source stands inside is what some scenes are for, and that noise is no CT is known.
        warnings.simplefilter("ignore")
        shot = project(
            scene.volume,
            scene.geometry,
            attenuation=scene.model,
            outputs=("line_integral",),
            backend=NUMBA if engine == NUMBA else "cpu",
            threads=1,
        )
    image = shot.line_integral[0].astype(np.float64)
    error = _error(image - drawn.truth, drawn.truth)
    if not error.is_above:
        return error, error
    lowest, highest = _of_moved_rays(drawn, image != drawn.truth)
    return error, _error(image - np.clip(image, lowest, highest), drawn.truth)


def _error(off: Float64Array, truth: Float64Array) -> Error:
    return Error(float(np.linalg.norm(off) / np.linalg.norm(truth)), float(np.abs(off).max() / truth.max()))


def _of_moved_rays(drawn: Drawn, wanted: npt.NDArray[np.bool_]) -> tuple[Float64Array, Float64Array]:
    """The least and the most that the wanted rays meet where each lies up to ``MOVED`` to any side."""
    scene, view, pixels = drawn.scene, drawn.scene.geometry.views[0], np.argwhere(wanted)
    found = [drawn.truth[wanted]]
    for side in _SIDES:
        moved = view.copy()
        # A parallel beam's source is a direction, which stays.
        moved[:3, :2] += np.outer(scene.volume.affine[:3, :3] @ side * MOVED, view[3, :2])
        found.append(reference.line_integrals(scene.mu, scene.volume.affine, moved, pixels))
    lowest, highest = drawn.truth.copy(), drawn.truth.copy()
    lowest[wanted], highest[wanted] = np.min(found, axis=0), np.max(found, axis=0)
    return lowest, highest


def measure(scenes: int, seed: int, engines: tuple[str, ...]) -> dict[str, Any]:
    """Count the scenes that miss the tolerance, over all engines and for each."""
    usual = str(backends.instruction_set("cpu"))
    errors: dict[str, list[tuple[Error, Error]]] = {name: [] for name in engines}
    rays = without_image = 0
    try:
        for number in range(scenes):
            drawn = draw(seed, number)
            rays += drawn.truth.size
            without_image += drawn.without_image
            for name, found in errors.items():
                found.append(errors_of(drawn, name))
    finally:
        backends.use_instruction_set(usual)
    per_scene = list(zip(*errors.values(), strict=True))
    above = [n for n, found in enumerate(per_scene) if any(error.is_above for error, _ in found)]
    still = [n for n, found in enumerate(per_scene) if any(left.is_above for _, left in found)]
    kinds = Counter(KINDS[number % len(KINDS)] for number in above)
    every = [pair for found in per_scene for pair in found]
    return {
        "scenes": scenes,
        "seed": seed,
        "rays": rays,
        "drawn_again_without_image": without_image,
        "relative_l2_bound": MAX_RELATIVE_L2,
        "worst_pixel_bound": MAX_WORST,
        "scenes_above": len(above),
        "numbers_of_those": above,
        "scenes_above_by_kind": {kind: kinds[kind] for kind in KINDS},
        **_worst([error for error, _ in every]),
        "median_relative_l2": float(np.median([error.relative_l2 for error, _ in every])),
        "with_rays_moved": {
            "voxels": MOVED,
            "scenes_above": len(still),
            "numbers_of_those": still,
            **_worst([left for _, left in every]),
        },
        "engines": {
            name: {
                "scenes_above": sum(error.is_above for error, _ in found),
                **_worst([error for error, _ in found]),
            }
            for name, found in errors.items()
        },
    }


def _worst(errors: list[Error]) -> dict[str, float]:
    relative_l2, worst = np.array(errors).max(axis=0)
    return {"worst_relative_l2": float(relative_l2), "worst_pixel": float(worst)}


def main() -> int:
    """Measure, print, write; return 1 when an image was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=100_000, help="default: 100,000")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    arguments = parser.parse_args()
    made_on = machine.describe()
    numba = (NUMBA,) if backends.why_unavailable(NUMBA) is None else ()
    engines = (*backends.cpu_instruction_sets(), *numba)
    figures = {"machine": made_on, **measure(arguments.scenes, arguments.seed, engines)}
    made_on["load_after"] = machine.load()
    text = json.dumps(figures, indent=1) + "\n"
    print(text, end="")
    if arguments.json:
        arguments.json.write_text(text, encoding="utf-8")
    wrong = figures["with_rays_moved"]["scenes_above"]
    of_those = (
        f"{figures['scenes_above']:,} images above a bound, {wrong:,} of them wrong for rays within {MOVED} voxel too"
    )
    print(f"WRONG: {of_those}" if wrong else f"right: {of_those}")
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
