"""Whether an answer is right: sampled rays against the reference, with the tolerances that the tests state."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import reference
from cases import Case

import drrproj

RAYS = 256
MAX_RELATIVE_L2, MAX_WORST = 2e-6, 1e-4
TOUCH_MM = 1e-3
"""A ray that runs less than this in a label may count as met or not: float32 cannot tell."""


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
    """Compare rays of every view, the corners and random ones, with the reference."""
    draw = np.random.default_rng(5)
    rays = max(16, RAYS // len(case.geometry))
    errors: list[tuple[float, float]] = []
    wrong: list[str] = []
    for number in range(len(case.geometry)):
        pixels = _sampled_pixels(draw, case, number, rays)
        one = shot[number]
        for what, found, truth in _pairs(case, one, number, pixels):
            relative_l2, worst = _errors(found, truth)
            errors.append((relative_l2, worst))
            if not (relative_l2 <= MAX_RELATIVE_L2 and worst <= MAX_WORST):
                wrong.append(
                    f"{what} of view {number}: relative L2 {relative_l2:.1e}, worst {worst:.1e} of the maximum"
                )
        wrong += _wrong_masks(case, one, number, pixels)
    relative_l2, worst = np.max(errors, axis=0) if errors else (0.0, 0.0)
    return Answer(float(relative_l2), float(worst), tuple(wrong))


def _sampled_pixels(draw: np.random.Generator, case: Case, number: int, rays: int) -> npt.NDArray[np.int64]:
    rows, columns = case.geometry.shape
    corners = [(0, 0), (0, columns - 1), (rows - 1, 0), (rows - 1, columns - 1)]
    anywhere = draw.integers(0, (rows, columns), (rays - len(corners), 2))
    return np.concatenate([corners, anywhere, _pixels_on_labels(case, number)])


def _pixels_on_labels(case: Case, number: int) -> npt.NDArray[np.int64]:
    """A pixel on every label, because random rays miss the small ones."""
    if case.labels is None:
        return np.zeros((0, 2), np.int64)
    step = max(1, case.labels.shape[0] // 128)
    coarse = case.labels.array[::step, ::step, ::step]
    _, first = np.unique(coarse, return_index=True)
    voxels = step * np.stack([*np.unravel_index(first, coarse.shape)], axis=1)
    points = voxels @ case.labels.affine[:3, :3].T + case.labels.affine[:3, 3]
    return reference.pixels_of(case.geometry.views[number], points, case.geometry.shape)


def _pairs(
    case: Case, shot: drrproj.Radiograph, number: int, pixels: npt.NDArray[np.int64]
) -> list[tuple[str, npt.NDArray[np.float32], npt.NDArray[np.float64]]]:
    rows, columns = pixels.T
    view = case.geometry.views[number]
    pairs = []
    if shot.line_integral is not None:
        mu = None if case.attenuation is None else _broken_line(case.attenuation)
        truth = reference.line_integrals(case.volume.array, case.volume.affine, view, pixels, mu)
        pairs.append(("line integral", shot.line_integral[0, rows, columns], truth))
    if shot.path_length is not None and case.labels is not None:
        truth = reference.path_lengths(case.labels.array, case.labels.affine, view, pixels, shot.path_length.label_ids)
        pairs.append(("path length", shot.path_length.array[:, 0, rows, columns], truth))
    return pairs


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


def _wrong_masks(case: Case, shot: drrproj.Radiograph, number: int, pixels: npt.NDArray[np.int64]) -> list[str]:
    if shot.masks is None or case.labels is None:
        return []
    rows, columns = pixels.T
    found = shot.masks.array[:, 0, rows, columns]
    view = case.geometry.views[number]
    mm = reference.path_lengths(case.labels.array, case.labels.affine, view, pixels, shot.masks.label_ids)
    lost, invented = np.count_nonzero(~found & (mm > TOUCH_MM)), np.count_nonzero(found & (mm == 0))
    # A ray that grazes a label without touching it may round into it; that is one ray in many thousands.
    if lost or invented > 1e-4 * found.size:
        return [f"masks of view {number}: {lost} of {found.size} sampled bits lost, {invented} invented"]
    return []
