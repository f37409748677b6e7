"""Volumes, grids and views to test on; every one is fixed by its seed."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

SEEDS = (1, 2, 3, 4)
CUBE = np.array(list(itertools.product((-0.5, 0.5), repeat=3)))  # corners of a voxel around its index
AXIS_ORIENTATIONS = [
    (order, flips) for order in itertools.permutations(range(3)) for flips in itertools.product((False, True), repeat=3)
]


def noise(rng, shape, dtype=np.float32):
    """White noise: every voxel differs from its neighbours, so a wrong share of any voxel shows."""
    if np.dtype(dtype).kind == "f":
        return rng.uniform(0.001, 0.05, shape).astype(dtype)
    low, high = max(np.iinfo(dtype).min, -1000), min(np.iinfo(dtype).max, 3000)
    return rng.integers(low, high, shape, endpoint=True).astype(dtype)


def rotation(rng):
    """A random rotation matrix."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q))


def affine_around(center, linear, shape):
    """The affine with this linear part whose box of voxels has its middle at ``center``."""
    affine = np.eye(4)
    affine[:3, :3] = linear
    affine[:3, 3] = center - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def random_affine(rng, shape, spread=300.0):
    """Rotated, sheared, flipped, up to 10:1 anisotropic, and away from the world's origin."""
    spacing = rng.permutation([rng.uniform(0.4, 0.6), rng.uniform(0.8, 2.0), rng.uniform(4.0, 5.0)])
    shear = np.eye(3) + np.triu(rng.uniform(-0.4, 0.4, (3, 3)), 1)
    flips = rng.choice([-1.0, 1.0], 3)
    return affine_around(rng.uniform(-spread, spread, 3), rotation(rng) @ shear * spacing * flips, shape)


def box_of(shape, affine):
    """Middle and diagonal of a grid's box, world mm."""
    shape = np.array(shape)
    diagonal = max(np.linalg.norm(affine[:3, :3] @ (shape * signs)) for signs in itertools.product((-1, 1), repeat=3))
    return affine[:3, :3] @ ((shape - 1) / 2) + affine[:3, 3], diagonal


def view_matrix(source, source_w, center, row_step, column_step, detector):
    """A 4x4 view from the middle of the detector."""
    middle = np.array(center, float) - (detector[0] - 1) / 2 * np.array(row_step)
    middle = middle - (detector[1] - 1) / 2 * np.array(column_step)
    view = np.zeros((4, 4))
    view[:3] = np.stack([source, middle, row_step, column_step], axis=1)
    view[3, :2] = source_w, 1
    return view


def random_view(rng, shape, affine, detector, beam, *, distance=(0.9, 2.5), cover=1.0):
    """A view on a grid from a random side: rolled, with a tilted detector and pixels that are no rectangles.

    ``distance`` is the range of the source's distance from the middle, in diagonals of the grid's box; ``cover`` is
    the share of that diagonal which the detector sees.
    """
    center, diagonal = box_of(shape, affine)
    center = center + rng.uniform(-0.05, 0.05, 3) * diagonal
    turn = rotation(rng)
    beam_axis, row_step, column_step = turn.T
    row_step = row_step + rng.uniform(-0.2, 0.2) * column_step + rng.uniform(-0.2, 0.2) * beam_axis
    column_step = column_step + rng.uniform(-0.2, 0.2) * beam_axis
    sod, beyond = rng.uniform(*distance) * diagonal, 0.6 * diagonal
    magnification = (sod + beyond) / sod if beam == "cone" else 1.0
    row_step = row_step * cover * diagonal * magnification / detector[0]
    column_step = column_step * cover * diagonal * magnification / detector[1]
    source = center - sod * beam_axis if beam == "cone" else -beam_axis
    return view_matrix(source, float(beam == "cone"), center + beyond * beam_axis, row_step, column_step, detector)


def single_rays(starts, ends):
    """One view of one pixel per ray, so that a list of rays is one geometry of shape (1, 1)."""
    views = []
    for start, end in zip(np.atleast_2d(starts), np.atleast_2d(ends), strict=True):
        across = np.eye(3)[np.argsort(np.abs(np.subtract(end, start)))[:2]]
        views.append(view_matrix(start, 1.0, end, across[0], across[1], (1, 1)))
    return np.array(views, float)


def reoriented(array, affine, order, flips):
    """The same voxels at the same places, stored along other axes; the array is a view with permuted strides."""
    stored = array.transpose(order)[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    old_from_new = np.eye(4)
    old_from_new[:3, :3] = 0
    for new, (old, flip) in enumerate(zip(order, flips, strict=True)):
        old_from_new[old, new] = -1 if flip else 1
        old_from_new[old, 3] = array.shape[old] - 1 if flip else 0
    return stored, affine @ old_from_new


def stored_as(array, affine, codes):
    """An array whose axes run R, A, S stored along other patient axes, such as "PIR"."""
    order = tuple("RAS".index(code if code in "RAS" else {"L": "R", "P": "A", "I": "S"}[code]) for code in codes)
    return reoriented(array, affine, order, tuple(code not in "RAS" for code in codes))


class Patient(NamedTuple):
    """A head-up body that differs along every patient axis, with three marks of one size."""

    hu: np.ndarray
    labels: np.ndarray
    affine: np.ndarray
    names: dict[int, str]
    centers: dict[str, np.ndarray]


def patient():
    """A body of water with marks on its left, anterior and superior sides; axes run R, A, S."""
    spacing = np.array([2.0, 2.5, 2.0])
    shape = (60, 40, 70)
    affine = affine_around(np.array([13.0, -21.0, 140.0]), np.diag(spacing), shape)
    middle, _ = box_of(shape, affine)
    marks = {"left": (-44.0, 0.0, 0.0), "anterior": (0.0, 37.0, 0.0), "superior": (0.0, 0.0, 52.0)}
    world = np.moveaxis(np.indices(shape), 0, -1) * spacing + affine[:3, 3]
    hu = np.full(shape, -1000, np.int16)
    hu[(((world - middle) / (58, 48, 68)) ** 2).sum(axis=-1) < 1] = 0
    labels = np.zeros(shape, np.uint8)
    centers = {name: middle + offset for name, offset in marks.items()}
    for label_id, center in enumerate(centers.values(), start=1):
        mark = np.linalg.norm(world - center, axis=-1) < 9
        hu[mark], labels[mark] = 800, label_id
    return Patient(hu, labels, affine, dict(enumerate(marks, start=1)), centers)
