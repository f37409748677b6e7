"""Random views of flat panels with perpendicular axes: what most peers can hold, and each of their limits."""

from __future__ import annotations

import numpy as np
import phantoms

from drrproj import Geometry


def panel_geometry(
    rng, *, views=1, mirrored=False, parallel=False, square=False, centred=False, shape=(23, 31), center=(0.0, 0.0, 0.0)
):
    """Views from random sides, rolled, with off-centre panels; one panel for all of them."""
    sdd, sod = rng.uniform(900, 1600), rng.uniform(400, 700)
    spacing = rng.uniform(4, 8, 2)
    if square:
        spacing[:] = spacing[0]
    offset = np.zeros(2) if centred else rng.uniform(-30, 30, 2)
    matrices = []
    for _ in range(views):
        turn = phantoms.rotation(rng)
        right, down, forward = turn.T
        if mirrored:
            right = -right
        source = np.asarray(center) + rng.uniform(-20, 20, 3) - sod * forward
        middle = source + sdd * forward + offset[0] * down + offset[1] * right
        towards = -forward if parallel else source
        matrices.append(
            phantoms.view_matrix(towards, float(not parallel), middle, spacing[0] * down, spacing[1] * right, shape)
        )
    return Geometry(np.array(matrices), shape)


def pixels(geometry):
    """World coordinates of every pixel's centre, shape (views, rows, columns, 3)."""
    rows, columns = geometry.shape
    grid = np.stack(
        [np.ones((rows, columns)), *np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")], axis=-1
    )
    return np.einsum("vij,rcj->vrci", geometry.views[:, :3, 1:], grid)
