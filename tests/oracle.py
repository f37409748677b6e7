"""The reference the engine is held against: float64, all plane crossings sorted, numpy only.

Nothing here comes from the package, and nothing is shared with its method: the engine walks slabs of the steepest
axis, this collects the crossings of every plane of all three axes, sorts them, and looks up the voxel in the middle
of each piece. The closed forms below hold this reference in turn (test_oracle.py).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Rays(NamedTuple):
    """Points ``origin + t * direction`` in world mm, shape (rays, 3); ``t`` from 0 to 1, or any t for a line."""

    origin: np.ndarray
    direction: np.ndarray
    is_line: bool

    @property
    def t_range(self) -> tuple[float, float]:
        return (-np.inf, np.inf) if self.is_line else (0.0, 1.0)

    @property
    def mm_per_t(self) -> np.ndarray:
        return np.linalg.norm(self.direction, axis=1)


def segments(start, end) -> Rays:
    """Rays of a cone beam, from the source to the pixel."""
    start, end = np.broadcast_arrays(np.atleast_2d(np.asarray(start, float)), np.atleast_2d(np.asarray(end, float)))
    return Rays(start, end - start, False)


def lines(point, direction) -> Rays:
    """Rays of a parallel beam: whole lines through a point."""
    point, direction = np.broadcast_arrays(
        np.atleast_2d(np.asarray(point, float)), np.atleast_2d(np.asarray(direction, float))
    )
    return Rays(point, direction, True)


def rays_of_pixels(view, rows, columns) -> Rays:
    """Rays through the centres of these pixels of one 4x4 view matrix."""
    source, first, row_step, column_step = np.asarray(view, float).T
    rows, columns = np.reshape(rows, (-1, 1)), np.reshape(columns, (-1, 1))
    pixels = (first + rows * row_step + columns * column_step)[:, :3]
    return segments(source[:3], pixels) if source[3] == 1 else lines(pixels, -source[:3])


def rays_of_view(view, shape) -> Rays:
    """Rays through the pixel centres of one 4x4 view matrix, row by row."""
    return rays_of_pixels(view, *np.mgrid[: shape[0], : shape[1]])


def pixels_of_points(view, points) -> np.ndarray:
    """Row and column of points, shape (points, 2): the ray meets the detector's plane, and the steps are counted there.

    Only for points in front of a cone's source.
    """
    source, first, row_step, column_step = np.asarray(view, float).T
    points = np.atleast_2d(np.asarray(points, float))
    direction = points - source[:3] if source[3] == 1 else np.broadcast_to(source[:3], points.shape)
    normal = np.cross(row_step[:3], column_step[:3])
    t = ((first[:3] - points) @ normal) / (direction @ normal)
    from_first = points + t[:, None] * direction - first[:3]
    steps = np.stack([row_step[:3], column_step[:3]])
    return np.linalg.solve(steps @ steps.T, steps @ from_first.T).T


class Pieces(NamedTuple):
    """Each ray cut at every plane it crosses, shape (rays, pieces).

    Mm in one voxel, which voxel (flat C index), and mm along the ray from its origin to where the piece begins.
    """

    mm: np.ndarray
    voxel: np.ndarray
    begin: np.ndarray


def cut(rays: Rays, shape, world_from_voxel) -> Pieces:
    """Cut rays at the faces of a voxel grid; half-open voxels [i - 0.5, i + 0.5) decide what a face belongs to."""
    voxel_from_world = np.linalg.inv(np.asarray(world_from_voxel, float))
    origin = rays.origin @ voxel_from_world[:3, :3].T + voxel_from_world[:3, 3]
    direction = rays.direction @ voxel_from_world[:3, :3].T
    enter = np.full(len(origin), rays.t_range[0])
    leave = np.full(len(origin), rays.t_range[1])
    crossings = []
    for axis, size in enumerate(shape):
        o, d = origin[:, axis], direction[:, axis]
        moves = d != 0
        outside = ~moves & ~((o >= -0.5) & (o < size - 0.5))
        t = (np.arange(size + 1) - 0.5 - o[:, None]) / np.where(moves, d, 1.0)[:, None]
        t[~moves] = np.nan
        enter = np.fmax(enter, np.fmin(t[:, 0], t[:, -1]))
        leave = np.where(outside, -np.inf, np.fmin(leave, np.fmax(t[:, 0], t[:, -1])))
        crossings.append(t)
    missed = ~(leave > enter)
    enter, leave = np.where(missed, 0.0, enter)[:, None], np.where(missed, 0.0, leave)[:, None]
    # fmin and fmax put the missing crossings of axis-parallel rays at an end, where they cut nothing.
    t = np.sort(np.fmin(np.fmax(np.concatenate([*crossings, enter, leave], axis=1), enter), leave), axis=1)
    middle = (t[:, 1:] + t[:, :-1]) / 2
    places = np.floor(origin[:, None, :] + middle[..., None] * direction[:, None, :] + 0.5).astype(np.int64)
    voxel = np.ravel_multi_index(tuple(np.moveaxis(places, -1, 0)), tuple(shape), mode="clip")
    mm_per_t = rays.mm_per_t[:, None]
    return Pieces(np.diff(t, axis=1) * mm_per_t, voxel, t[:, :-1] * mm_per_t)


def line_integrals(rays: Rays, values, world_from_voxel) -> np.ndarray:
    """Sum of value times mm along each ray, shape (rays,)."""
    values = np.asarray(values)
    pieces = cut(rays, values.shape, world_from_voxel)
    return (pieces.mm * values.ravel()[pieces.voxel].astype(float)).sum(axis=1)


def path_lengths(rays: Rays, labels, world_from_voxel, label_ids) -> np.ndarray:
    """Millimetres of each ray in voxels of each id, shape (ids, rays)."""
    labels = np.asarray(labels)
    pieces = cut(rays, labels.shape, world_from_voxel)
    met = labels.ravel()[pieces.voxel].astype(np.int64)
    order = np.argsort(label_ids)
    place = order[np.clip(np.searchsorted(np.asarray(label_ids)[order], met), 0, len(label_ids) - 1)]
    known = np.asarray(label_ids)[place] == met
    ray = np.broadcast_to(np.arange(len(met))[:, None], met.shape)
    mm = np.zeros((len(label_ids), len(met)))
    np.add.at(mm, (place[known], ray[known]), pieces.mm[known])
    return mm


def shares(rays: Rays, values, labels, world_from_voxel, label_ids) -> np.ndarray:
    """Sum of value times mm along each ray in voxels of each id, of two arrays on one grid, shape (ids, rays)."""
    values, labels = np.asarray(values), np.asarray(labels)
    pieces = cut(rays, values.shape, world_from_voxel)
    attenuation = pieces.mm * values.ravel()[pieces.voxel].astype(float)
    met = labels.ravel()[pieces.voxel]
    return np.stack([np.where(met == label_id, attenuation, 0.0).sum(axis=1) for label_id in label_ids])


def depths(rays: Rays, labels, world_from_voxel, label_ids, least_mm=0.0) -> tuple[np.ndarray, np.ndarray]:
    """Mm along each ray to where it first meets each id, and to where it last leaves it, shape (ids, rays).

    Pieces of ``least_mm`` or less count as not met; NaN where an id is not met at all.
    """
    labels = np.asarray(labels)
    pieces = cut(rays, labels.shape, world_from_voxel)
    met = labels.ravel()[pieces.voxel]
    entry, leave = [], []
    for label_id in label_ids:
        here = (met == label_id) & (pieces.mm > least_mm)
        entry.append(np.where(here, pieces.begin, np.inf).min(axis=1))
        leave.append(np.where(here, pieces.begin + pieces.mm, -np.inf).max(axis=1))
    entry, leave = np.stack(entry), np.stack(leave)
    missed = ~np.isfinite(entry)
    return np.where(missed, np.nan, entry), np.where(missed, np.nan, leave)


def line_integral_images(values, world_from_voxel, views, shape) -> np.ndarray:
    """Line integrals of whole views, shape (views, rows, columns)."""
    images = [line_integrals(rays_of_view(view, shape), values, world_from_voxel) for view in views]
    return np.reshape(images, (len(views), *shape))


def path_length_images(labels, world_from_voxel, views, shape, label_ids) -> np.ndarray:
    """Path lengths of whole views, shape (ids, views, rows, columns)."""
    images = [path_lengths(rays_of_view(view, shape), labels, world_from_voxel, label_ids) for view in views]
    return np.stack(images, axis=1).reshape(len(label_ids), len(views), *shape)


def _between(rays: Rays, enter, leave) -> np.ndarray:
    low, high = rays.t_range
    return np.clip(np.minimum(leave, high) - np.maximum(enter, low), 0.0, None) * rays.mm_per_t


def _quadric(a, b, c) -> tuple[np.ndarray, np.ndarray]:
    """Where ``a t^2 + 2 b t + c`` is below zero; an empty interval where it never is."""
    discriminant = b * b - a * c
    with np.errstate(invalid="ignore", divide="ignore"):
        root = np.sqrt(discriminant)
        enter, leave = (-b - root) / a, (-b + root) / a
    everywhere = (a == 0) & (c < 0)
    nowhere = ~everywhere & ~(discriminant > 0)
    return (
        np.where(everywhere, -np.inf, np.where(nowhere, np.inf, enter)),
        np.where(everywhere, np.inf, np.where(nowhere, -np.inf, leave)),
    )


def _slab(o, d, half) -> tuple[np.ndarray, np.ndarray]:
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.sort(np.stack([(-half - o) / d, (half - o) / d]), axis=0)
    inside = np.abs(o) < half
    return (
        np.where(d == 0, np.where(inside, -np.inf, np.inf), t[0]),
        np.where(d == 0, np.where(inside, np.inf, -np.inf), t[1]),
    )


def ellipsoid(rays: Rays, semi_axes, center=(0, 0, 0), rotation=None) -> np.ndarray:
    """Chord in mm; ``rotation`` has the ellipsoid's axes as columns."""
    axes = np.eye(3) if rotation is None else np.asarray(rotation, float)
    o = (rays.origin - np.asarray(center, float)) @ axes / np.asarray(semi_axes, float)
    d = rays.direction @ axes / np.asarray(semi_axes, float)
    return _between(rays, *_quadric((d * d).sum(1), (o * d).sum(1), (o * o).sum(1) - 1))


def box(rays: Rays, edges, center=(0, 0, 0)) -> np.ndarray:
    """Chord in mm through an axis-aligned box with these full edge lengths."""
    o = rays.origin - np.asarray(center, float)
    ends = [_slab(o[:, axis], rays.direction[:, axis], edges[axis] / 2) for axis in range(3)]
    return _between(rays, np.max([end[0] for end in ends], axis=0), np.min([end[1] for end in ends], axis=0))


def cylinder(rays: Rays, axis, radius, height, center=(0, 0, 0)) -> np.ndarray:
    """Chord in mm through a finite circular cylinder."""
    axis = np.asarray(axis, float) / np.linalg.norm(axis)
    o = rays.origin - np.asarray(center, float)
    along_o, along_d = o @ axis, rays.direction @ axis
    across_o, across_d = o - along_o[:, None] * axis, rays.direction - along_d[:, None] * axis
    wall = _quadric((across_d**2).sum(1), (across_o * across_d).sum(1), (across_o**2).sum(1) - radius**2)
    ends = _slab(along_o, along_d, height / 2)
    return _between(rays, np.maximum(wall[0], ends[0]), np.minimum(wall[1], ends[1]))


# Kak and Slaney: centre, semi-axes, turn about z in degrees, density; the densities of overlapping bodies add up.
SHEPP_LOGAN = (
    ((0, 0, 0), (0.69, 0.92, 0.90), 0, 2.0),
    ((0, 0, 0), (0.6624, 0.874, 0.88), 0, -0.98),
    ((-0.22, 0, -0.25), (0.41, 0.16, 0.21), 108, -0.02),
    ((0.22, 0, -0.25), (0.31, 0.11, 0.22), 72, -0.02),
    ((0, 0.35, -0.25), (0.21, 0.25, 0.50), 0, 0.02),
    ((0, 0.1, -0.25), (0.046, 0.046, 0.046), 0, 0.02),
    ((-0.08, -0.65, -0.25), (0.046, 0.023, 0.02), 0, 0.01),
    ((0.06, -0.65, -0.25), (0.046, 0.023, 0.02), 90, 0.01),
    ((0.06, -0.105, 0.625), (0.056, 0.04, 0.1), 90, 0.02),
    ((0, 0.1, 0.625), (0.056, 0.056, 0.1), 0, -0.02),
)


def shepp_logan(rays: Rays, scale_mm: float = 100.0) -> np.ndarray:
    """Line integral through the 3-D Shepp-Logan head, density times mm."""
    total = np.zeros(len(rays.origin))
    for center, semi_axes, degrees, density in SHEPP_LOGAN:
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        total += density * ellipsoid(rays, scale_mm * np.array(semi_axes), scale_mm * np.array(center), rotation)
    return total


def assert_exact(images, truths) -> None:
    """Hold float32 images, shape (..., rows, columns), to the stated tolerance, image by image."""
    images, truths = np.asarray(images), np.asarray(truths)
    assert images.dtype == np.float32
    assert images.shape == truths.shape
    assert np.isfinite(images).all()
    for index in np.ndindex(truths.shape[:-2]):
        error, truth = images[index] - truths[index], truths[index]
        relative = np.linalg.norm(error) / max(np.linalg.norm(truth), np.finfo(float).tiny)
        worst = np.abs(error).max() / max(np.abs(truth).max(), np.finfo(float).tiny)
        where = np.unravel_index(np.abs(error).argmax(), error.shape)
        found = f"image {index}: relative L2 {relative:.2g}, worst {worst:.2g} of the maximum at pixel {where}"
        assert relative < 2e-6, found
        assert worst < 1e-4, found


def assert_exact_paths(paths, truths) -> None:
    """Hold path lengths, shape (labels, views, rows, columns), to the stated tolerance.

    The image of a view is that of all its labels: a label that a single ray clips has no relative error of its own.
    """
    paths, truths = np.asarray(paths), np.asarray(truths)
    assert paths.dtype == np.float32
    assert paths.shape == truths.shape
    for view in range(truths.shape[1]):
        error, truth = paths[:, view] - truths[:, view], truths[:, view]
        assert np.linalg.norm(error) < 2e-6 * np.linalg.norm(truth)
    worst, longest = np.abs(paths - truths).max(axis=(2, 3)), truths.max(axis=(2, 3))
    assert (worst <= 1e-4 * longest).all()
