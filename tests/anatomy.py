"""A made-up chest whose structures are boxes and arcs in patient coordinates, so that each rule has a truth."""

from __future__ import annotations

import numpy as np

SHAPE = (58, 48, 66)
SPACING = 4.0
# An odd number of columns would put the median plane on voxel centres; ties are tried by shifting this.
ORIGIN = (-114.0, -94.0, 0.0)
ORDER = (
    *("lung_upper_lobe_right", "lung_middle_lobe_right", "lung_lower_lobe_right"),
    *("lung_upper_lobe_left", "lung_lower_lobe_left", "heart", "aorta", "trachea", "esophagus", "sternum"),
    *(f"vertebrae_T{n}" for n in range(1, 13)),
    *("clavicula_right", "clavicula_left", "liver", "stomach"),
    *(f"rib_{side}_{n}" for side in ("right", "left") for n in (5, 12)),
)
IDS = {name: number for number, name in enumerate(ORDER, start=11)}


def affine_of(origin=ORIGIN):
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    affine[:3, 3] = origin
    return affine


def world(affine, shape):
    """World x (right), y (anterior), z (superior) of every voxel."""
    indices = np.moveaxis(np.indices(shape), 0, -1)
    return np.moveaxis(indices @ affine[:3, :3].T + affine[:3, 3], -1, 0)


def within(values, low, high):
    return (values > low) & (values < high)


def top_of_vertebra(number):
    return 252 - 18 * number + 16


def structures(x, y, z):
    """Masks by name; later ones cover earlier ones."""
    for side, sign in (("right", 1), ("left", -1)):
        lung = within(sign * x, 20, 100) & within(y, -82, 82) & within(z, 60, 244)
        yield f"lung_upper_lobe_{side}", lung & (z > 170)
        if side == "right":
            yield "lung_middle_lobe_right", lung & within(z, 120, 171) & (y > 0)
            yield "lung_lower_lobe_right", lung & (z < 171) & ~(within(z, 120, 171) & (y > 0))
        else:
            yield "lung_lower_lobe_left", lung & (z < 171)
        clavicle = within(sign * x, 16, 88) & within(y, 74, 86)
        yield f"clavicula_{side}", clavicle & (abs(z - (216 + (sign * x - 16) / 3)) < 6)
        # An arc that bulges outward at y = 10; and one that only runs away from the spine.
        arc = np.hypot((sign * x - 22) / 85, (y - 10) / 84)
        yield f"rib_{side}_5", (abs(arc - 1) < 0.05) & (sign * x > 22) & within(z, 150, 162)
        yield f"rib_{side}_12", within(sign * x, 18, 70) & (abs(y + 86 - (sign * x - 18) / 2) < 5) & within(z, 40, 50)
    yield "heart", within(x, -40, 18) & within(y, 0, 58) & within(z, 80, 160)
    ascending = within(x, -2, 14) & within(y, 18, 34) & within(z, 156, 200)
    descending = within(x, -14, 2) & within(y, -54, -38) & within(z, 20, 200)
    yield "aorta", ascending | descending | (within(x, -14, 14) & within(y, -54, 34) & within(z, 198, 216))
    trachea = within(x, -8, 8) & within(y, -14, 2) & within(z, 190, 262)
    yield "trachea", trachea | (within(abs(x), 4, 20) & within(y, -14, 2) & within(z, 170, 191))
    yield "esophagus", within(x, -6, 6) & within(y, -34, -18) & within(z, 64, 262)
    yield "sternum", within(x, -16, 16) & within(y, 74, 86) & within(z, 100, 216)
    for n in range(1, 13):
        top = top_of_vertebra(n)
        body = within(x, -16, 16) & within(y, -82, -56) & within(z, top - 16, top)
        yield f"vertebrae_T{n}", body | (within(x, -4, 4) & within(y, -94.5, -82) & within(z, top - 26, top - 10))
    yield "liver", within(x, 0, 100) & within(y, -60, 60) & within(z, 8, 62)
    yield "stomach", within(x, -90, -30) & within(y, -40, 60) & within(z, 8, 62)


def chest(affine, shape=SHAPE):
    """HU, label ids, and the masks as they are after later structures covered earlier ones."""
    x, y, z = world(affine, shape)
    ids = np.zeros(shape, np.uint8)
    for name, mask in structures(x, y, z):
        ids[mask] = IDS[name]
    hu = np.full(shape, -1000, np.int16)
    hu[within(x, -108, 108) & within(y, -90, 90)] = 0
    lungs = (ids >= IDS["lung_upper_lobe_right"]) & (ids <= IDS["lung_lower_lobe_left"])
    hu[lungs] = -850
    # A vessel in each lung, a single bright voxel, and a blurred rim along the outer surface.
    hu[lungs & within(abs(x), 50, 58) & within(y, -62, -30)] = 40
    hu[lungs & (abs(x) > 96)] = -300
    lone = np.argwhere(lungs & within(x, 70, 90) & within(y, 30, 60) & within(z, 200, 220))[0]
    hu[tuple(lone)] = 40
    return hu, ids


def mask_of(ids, *names):
    return np.isin(ids, [IDS[name] for name in names])
