"""Whether an answer is right: sampled rays against the reference, with the tolerances that the tests state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import reference
from cases import Case

import drrproj
from drrproj.radiograph import LabelCrops, LabelImages

RAYS = 256
EVERY_RAY = 64 * 64
"""Views of no more pixels have all of their rays looked at, of which none may meet a small label."""

RAYS_AT_LABELS, EDGE = 1024, 2
"""Rays around all labels together, and how many pixels beside a voxel of each they go at most."""

MAX_RELATIVE_L2, MAX_WORST = 2e-6, 1e-4
TOUCH_MM = 1e-3
"""A ray that runs less than this in a label may count as met or not: float32 cannot tell."""

DEPTH_MM = 1e-3
"""What a depth may be off by: a metre from the source float32 has steps of 6e-5 mm."""

NEAR = 1e-3
"""Pixels: where a ray grazes an edge, one this much beside it may be right as well."""

INVENTED = 1e-4
"""Share of the sampled rays and labels that may be met though the truth passes by: a ray can round into a label."""


class Answer(NamedTuple):
    """The worst over the views: error in L2, error of a single ray as a share of the largest, and what is wrong."""

    relative_l2: float
    worst: float
    wrong: tuple[str, ...]


def run(case: Case) -> drrproj.Radiograph:
    """Make the call that is measured."""
    return drrproj.project(
        case.volume,
        case.geometry,
        labels=case.labels,
        attenuation=case.attenuation,
        outputs=case.outputs,
        backend=case.backend,
        threads=case.threads,
    )


def check(case: Case, shot: drrproj.Radiograph) -> Answer:
    """Compare rays of every view, the corners, random ones and one on each label, with the reference."""
    draw = np.random.default_rng(5)
    rays = max(16, RAYS // len(case.geometry))
    errors: list[tuple[float, float]] = []
    wrong: list[str] = []
    for number in range(len(case.geometry)):
        pixels = _sampled_pixels(draw, case, number, rays)
        one = shot[number]
        pairs = _pairs(case, one, number, pixels)
        for what, found, truth in pairs:
            relative_l2, worst = _errors(found, truth)
            errors.append((relative_l2, worst))
            if not (relative_l2 <= MAX_RELATIVE_L2 and worst <= MAX_WORST):
                wrong.append(
                    f"{what} of view {number}: relative L2 {relative_l2:.1e}, worst {worst:.1e} of the maximum"
                )
        wrong += [f"view {number}: {what}" for what in _wrong_labels(case, one, number, pixels)]
    relative_l2, worst = np.max(errors, axis=0) if errors else (0.0, 0.0)
    return Answer(float(relative_l2), float(worst), tuple(wrong))


def _sampled_pixels(draw: np.random.Generator, case: Case, number: int, rays: int) -> npt.NDArray[np.int64]:
    rows, columns = case.geometry.shape
    if rows * columns <= EVERY_RAY:
        return np.argwhere(np.ones((rows, columns), bool))
    corners = [(0, 0), (0, columns - 1), (rows - 1, 0), (rows - 1, columns - 1)]
    anywhere = draw.integers(0, (rows, columns), (rays - len(corners), 2))
    return np.concatenate([corners, anywhere, _pixels_on_labels(draw, case, number)])


def _pixels_on_labels(draw: np.random.Generator, case: Case, number: int) -> npt.NDArray[np.int64]:
    """A pixel on every label and some around it, because random rays miss the small ones and their edges."""
    if case.labels is None:
        return np.zeros((0, 2), np.int64)
    ids = case.labels.array
    slab_with = np.full(int(ids.max()) + 1, -1)
    for slab in range(ids.shape[2]):
        slab_with[ids[:, :, slab].ravel(order="K")] = slab
    slab_with[0] = -1
    voxels = []
    for label in np.flatnonzero(slab_with >= 0):
        inside = np.argwhere(ids[:, :, slab_with[label]] == label)
        voxels.append([*inside[len(inside) // 2], slab_with[label]])
    points = np.array(voxels) @ case.labels.affine[:3, :3].T + case.labels.affine[:3, 3]
    centers = reference.pixels_of(case.geometry.views[number], points, case.geometry.shape)
    around = draw.integers(-EDGE, EDGE + 1, (RAYS_AT_LABELS // len(centers), *centers.shape))
    anywhere = np.concatenate([centers, (centers + around).reshape(-1, 2)])
    clipped: npt.NDArray[np.int64] = np.clip(anywhere, 0, np.array(case.geometry.shape) - 1)
    return clipped


Pair = tuple[str, npt.NDArray[np.float32], npt.NDArray[np.float64]]


def _pairs(case: Case, shot: drrproj.Radiograph, number: int, pixels: npt.NDArray[np.int64]) -> list[Pair]:
    """Images that are right where they are close to the truth."""
    rows, columns = pixels.T
    view = case.geometry.views[number]
    mu = None if case.attenuation is None else _broken_line(case.attenuation)
    pairs: list[Pair] = []
    if "line_integral" in shot.images:
        truth = reference.line_integrals(case.volume.array, case.volume.affine, view, pixels, mu)
        pairs.append(("line integral", shot.line_integral[0, rows, columns], truth))
    if case.labels is None:
        return pairs
    labels = case.labels
    if "path_length" in shot.images:
        truth = reference.path_lengths(labels.array, labels.affine, view, pixels, shot.path_length.label_ids)
        pairs.append(("path length", _sampled(shot.path_length, pixels), truth))
    if "background_line_integral" in shot.images:
        ids = (0, *shot.label_line_integral.label_ids)
        truth = reference.shares(case.volume.array, labels.array, labels.affine, view, pixels, ids, mu)
        pairs.append(("background", shot.background_line_integral[0, rows, columns], truth[0]))
        pairs.append(("share", _sampled(shot.label_line_integral, pixels), truth[1:]))
    return pairs


def _sampled(images: LabelImages | LabelCrops, pixels: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """The pixels of one view, shape (labels, pixels)."""
    return np.stack([images[label][0][tuple(pixels.T)] for label in images])


def _broken_line(model: drrproj.Attenuation) -> reference.Attenuation:
    """The model as a line through its bends instead of the package's sum over them."""
    hu = np.array([*model.knots, 32767.0])
    mu = np.array([sum(b * max(0.0, x - k) for k, b in zip(model.knots, model.slope_changes, strict=True)) for x in hu])
    return lambda values: np.interp(values, hu, mu)


def _errors(found: npt.NDArray[np.float32], truth: npt.NDArray[np.float64]) -> tuple[float, float]:
    error = found - truth
    if not truth.any():
        return (0.0, 0.0) if not found.any() else (np.inf, np.inf)
    return float(np.linalg.norm(error) / np.linalg.norm(truth)), float(np.abs(error).max() / truth.max())


def _wrong_labels(case: Case, shot: drrproj.Radiograph, number: int, pixels: npt.NDArray[np.int64]) -> Iterator[str]:
    """What is wrong with single labels, whose errors an error over all of them may hide."""
    names = ("path_length", "masks", "label_line_integral", "entry_depth")
    of_labels = next((shot.images[name] for name in names if name in shot.images), None)
    if of_labels is None or case.labels is None:
        return
    ids, labels, view = of_labels.label_ids, case.labels, case.geometry.views[number]
    mm = reference.path_lengths(labels.array, labels.affine, view, pixels, ids)
    met = np.count_nonzero(mm.any(axis=1))
    if met < len(ids) and len(pixels) < np.prod(case.geometry.shape):
        yield f"the sampled rays meet {met} of {len(ids)} labels; of the others nothing is known"
    if "path_length" in shot.images:
        yield from _far_off("path length", ids, _sampled(shot.path_length, pixels), mm, TOUCH_MM)
    if "label_line_integral" in shot.images:
        mu = None if case.attenuation is None else _broken_line(case.attenuation)
        truth = reference.shares(case.volume.array, labels.array, labels.affine, view, pixels, ids, mu)
        densest = float((truth / np.where(mm > 0, mm, np.inf)).max())
        yield from _far_off("share", ids, _sampled(shot.label_line_integral, pixels), truth, TOUCH_MM * densest)
    if "masks" in shot.images:
        found = np.stack([shot.masks[label][0][tuple(pixels.T)] for label in shot.masks])
        yield from _lost_and_invented("masks", found, mm)
    if "entry_depth" in shot.images:
        yield from _wrong_depths(case, shot, number, pixels, mm)


def _far_off(
    what: str,
    ids: tuple[int, ...],
    found: npt.NDArray[np.float32],
    truth: npt.NDArray[np.float64],
    touch: float,
) -> Iterator[str]:
    for label, error, most in zip(ids, np.abs(found - truth).max(axis=1), truth.max(axis=1), strict=True):
        if not error <= touch + MAX_WORST * most:
            yield f"{what} of label {label}: off by {error:.1e} of at most {most:.3g}"


def _lost_and_invented(what: str, found: npt.NDArray[np.bool_], mm: npt.NDArray[np.float64]) -> Iterator[str]:
    lost, invented = np.count_nonzero(~found & (mm > TOUCH_MM)), np.count_nonzero(found & (mm == 0))
    if lost or invented > INVENTED * found.size:
        yield f"{what}: {lost} of {found.size} sampled places lost, {invented} invented"


def _wrong_depths(
    case: Case, shot: drrproj.Radiograph, number: int, pixels: npt.NDArray[np.int64], mm: npt.NDArray[np.float64]
) -> Iterator[str]:
    """A depth belongs between the first piece of the ray in a label and the first that is long enough to be sure of."""
    for which, images in enumerate((shot.entry_depth, shot.exit_depth)):
        what = ("entry depth", "exit depth")[which]
        found = _sampled(images, pixels)
        yield from _lost_and_invented(what, ~np.isnan(found), mm)
        low, high = _depth_range(case, number, pixels, images.label_ids, which)
        near = np.flatnonzero(_off(found, low, high).any(axis=0))
        for shift in NEAR * np.array([(-1, 0), (1, 0), (0, -1), (0, 1)]):
            beside = _depth_range(case, number, pixels[near] + shift, images.label_ids, which)
            low[:, near], high[:, near] = np.fmin(low[:, near], beside[0]), np.fmax(high[:, near], beside[1])
        for label, ray in np.argwhere(_off(found, low, high)):
            at, label_id = pixels[ray].tolist(), images.label_ids[label]
            yield f"{what} of label {label_id} at {at}: {found[label, ray]:.4f} mm instead of {low[label, ray]:.4f}"


def _depth_range(
    case: Case, number: int, pixels: npt.NDArray[Any], ids: tuple[int, ...], which: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Entry or exit depths with all pieces, and with the long ones alone: the lower of the two and the higher."""
    assert case.labels is not None
    place = case.labels.array, case.labels.affine, case.geometry.views[number], pixels, ids
    every, sure = (reference.depths(*place, shortest)[which] for shortest in (0.0, TOUCH_MM))
    return np.fmin(every, sure), np.fmax(every, sure)


def _off(
    found: npt.NDArray[np.float32], low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """Where a depth is out of its range; what should have none is counted elsewhere, and NaN is no less and no more."""
    return (found < low - DEPTH_MM) | (found > high + DEPTH_MM)
