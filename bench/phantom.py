"""Volumes to measure on: noise, which leaves nothing to skip, and the 104 structures of a chest of ellipsoids."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

EXTENT_MM = np.array([358.4, 358.4, 400.0])
"""Width, depth and height of every volume: 0.7 x 0.7 x 1 mm voxels at 512 x 512 x 400."""

STRUCTURES = 104


class Ellipsoid(NamedTuple):
    """A structure, in shares of the volume: -1 to 1 from left to right, posterior to anterior, inferior to superior."""

    center: tuple[float, float, float]
    radii: tuple[float, float, float]


def affine(shape: tuple[int, int, int]) -> npt.NDArray[np.float64]:
    """Place a volume of this shape in the patient: RAS+ axes, off centre by no simple fraction of a voxel."""
    world_from_voxel = np.diag([*(EXTENT_MM / shape), 1.0])
    world_from_voxel[:3, 3] = -EXTENT_MM / 2 + (0.137, 0.219, -0.331)
    return world_from_voxel


def noise(shape: tuple[int, int, int]) -> npt.NDArray[np.float32]:
    """Attenuation in 1/mm, different in every voxel, in Fortran order as NIfTI files have it."""
    stored = np.random.default_rng(1).random(shape[::-1], dtype=np.float32)
    stored *= np.float32(0.02)
    volume: npt.NDArray[np.float32] = stored.T
    return volume


def noise_hu(shape: tuple[int, int, int]) -> npt.NDArray[np.int16]:
    """HU from padding to bone, different in every voxel, in Fortran order."""
    volume: npt.NDArray[np.int16] = np.random.default_rng(2).integers(-1024, 2000, shape[::-1], np.int16).T
    return volume


def grains(shape: tuple[int, int, int]) -> npt.NDArray[np.float32]:
    """Attenuation in 1/mm to compare models on: grains of 8 voxels, a fourth as much noise, a layer of air outside.

    In grains an image that is moved by a pixel is further from right than interpolation is; in noise it would not be.
    The air is there because some programs drop the last voxel of a ray.
    """
    voxels = noise(shape)
    voxels *= np.float32(0.2)
    coarse = np.random.default_rng(7).random([-(-size // 8) for size in shape[::-1]], dtype=np.float32)
    larger = coarse.repeat(8, 0).repeat(8, 1).repeat(8, 2).T[tuple(map(slice, shape))]
    voxels += np.float32(0.016) * larger
    for axis in range(3):
        np.moveaxis(voxels, axis, 0)[[0, -1]] = 0
    return voxels


def labels(shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """Labels 1 to 104 in Fortran order: lungs, heart, liver, spine, ribs and smaller organs."""
    ids = np.zeros(shape, np.uint8, order="F")
    for label, structure in enumerate(structures(), start=1):
        box, inside = _voxels(structure, shape)
        ids[box][inside] = label
    return ids


def random_labels(shape: tuple[int, int, int], labels: int) -> npt.NDArray[np.uint16]:
    """Background and as many labels, drawn anew in every voxel, in Fortran order."""
    ids: npt.NDArray[np.uint16] = np.random.default_rng(9).integers(0, labels + 1, shape[::-1], np.uint16).T
    return ids


def structures() -> Iterator[Ellipsoid]:
    """104 structures; later ones lie on top of earlier ones."""
    yield Ellipsoid((-0.4, 0.0, 0.15), (0.32, 0.45, 0.7))
    yield Ellipsoid((0.4, 0.0, 0.15), (0.32, 0.45, 0.7))
    yield Ellipsoid((-0.12, 0.1, 0.0), (0.25, 0.22, 0.25))
    yield Ellipsoid((0.35, 0.05, -0.7), (0.42, 0.4, 0.25))
    for vertebra in range(24):
        yield Ellipsoid((0, -0.38, -0.94 + 1.88 * vertebra / 23), (0.09, 0.1, 0.034))
    for rib in range(12):
        height = -0.55 + 1.3 * rib / 11
        for side in (-1, 1):
            yield Ellipsoid((0.55 * side, -0.34, height + 0.05), (0.2, 0.09, 0.02))
            yield Ellipsoid((0.72 * side, 0.0, height), (0.03, 0.32, 0.02))
    draw = np.random.default_rng(3)
    for _ in range(STRUCTURES - 4 - 24 - 48):
        x, y, z = draw.uniform((-0.6, -0.3, -0.9), (0.6, 0.4, 0.9))
        yield Ellipsoid((x, y, z), tuple(draw.uniform(0.02, 0.15, 3)))


def _voxels(structure: Ellipsoid, shape: tuple[int, int, int]) -> tuple[Any, npt.NDArray[np.bool_]]:
    """Return the box of voxels around an ellipsoid, and which of them it holds: at least the one at its centre."""
    box, terms = [], []
    for center, radius, size in zip(structure.center, structure.radii, shape, strict=True):
        place, half = (center + 1) / 2 * (size - 1), max(radius / 2 * size, 0.5)
        low, high = max(0, int(np.ceil(place - half))), min(size, int(np.floor(place + half)) + 1)
        box.append(slice(low, high))
        terms.append(((np.arange(low, high) - place) / half) ** 2)
    return tuple(box), np.add.outer(np.add.outer(*terms[:2]), terms[2]) <= 1 + 1e-9
