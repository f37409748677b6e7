"""The plain way, as fast as it gets: one ray after the other, from voxel face to voxel face, float64, every core.

It is the yardstick for what slabs, packets and memory order bring: Siddon's path with Jacobs' steps, as anybody would
write it in Numba, compiled for this machine.
"""

from __future__ import annotations

import math

import numba
import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]


def line_integrals(
    voxels: npt.NDArray[np.float32], world_from_voxel: Float64Array, views: Float64Array, detector: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """Sum of value times mm from source to pixel, shape (views, rows, columns)."""
    images = np.empty((len(views), *detector), np.float32)
    memory = voxels.ravel(order="K")
    assert np.shares_memory(memory, voxels)
    jumps = np.array(voxels.strides) // voxels.itemsize
    for view, image in zip(views, images, strict=True):
        in_voxels = np.linalg.solve(world_from_voxel, view)
        # Shifted by half a voxel, so that voxel i covers [i, i + 1).
        in_voxels[:3] += 0.5 * view[3]
        _walk(memory, np.array(voxels.shape), jumps, in_voxels[:3].T.copy(), view[:3].T.copy(), image)
    return images


@numba.njit(parallel=True, error_model="numpy")
def _walk(
    memory: npt.NDArray[np.float32],
    shape: npt.NDArray[np.int64],
    jumps: npt.NDArray[np.int64],
    view: Float64Array,
    world: Float64Array,
    image: npt.NDArray[np.float32],
) -> None:
    rows, columns = image.shape
    # Pixels, not rows, are shared out: chunks stay even for any detector, and neighbours share their voxels.
    for pixel in numba.prange(rows * columns):
        row, column = pixel // columns, pixel % columns
        start_x, start_y, start_z = view[0]
        ray_x = view[1, 0] + row * view[2, 0] + column * view[3, 0] - start_x
        ray_y = view[1, 1] + row * view[2, 1] + column * view[3, 1] - start_y
        ray_z = view[1, 2] + row * view[2, 2] + column * view[3, 2] - start_z
        low_x, high_x = _inside(start_x, ray_x, shape[0])
        low_y, high_y = _inside(start_y, ray_y, shape[1])
        low_z, high_z = _inside(start_z, ray_z, shape[2])
        t = max(0.0, low_x, low_y, low_z)
        # Sums of steps round; a hair before the last face they cannot have stepped out of the volume.
        end = min(1.0, high_x, high_y, high_z) * (1 - 1e-12)
        total = 0.0
        if t < end:
            voxel_x, next_x, step_x = _first(start_x, ray_x, t, shape[0])
            voxel_y, next_y, step_y = _first(start_y, ray_y, t, shape[1])
            voxel_z, next_z, step_z = _first(start_z, ray_z, t, shape[2])
            place = voxel_x * jumps[0] + voxel_y * jumps[1] + voxel_z * jumps[2]
            jump_x = jumps[0] if ray_x > 0 else -jumps[0]
            jump_y = jumps[1] if ray_y > 0 else -jumps[1]
            jump_z = jumps[2] if ray_z > 0 else -jumps[2]
            while True:
                # Unsigned, so that Numba does not ask of every place whether it counts from the end.
                value = memory[np.uint64(place)]
                if next_x < next_y and next_x < next_z:
                    if next_x >= end:
                        break
                    total += (next_x - t) * value
                    t = next_x
                    next_x += step_x
                    place += jump_x
                elif next_y < next_z:
                    if next_y >= end:
                        break
                    total += (next_y - t) * value
                    t = next_y
                    next_y += step_y
                    place += jump_y
                else:
                    if next_z >= end:
                        break
                    total += (next_z - t) * value
                    t = next_z
                    next_z += step_z
                    place += jump_z
            total += (end - t) * value
        mm = 0.0
        for axis in range(3):
            mm += (world[1, axis] + row * world[2, axis] + column * world[3, axis] - world[0, axis]) ** 2
        image[row, column] = total * math.sqrt(mm)


@numba.njit(error_model="numpy")
def _inside(start: float, ray: float, size: int) -> tuple[float, float]:
    """From where to where a ray is between the first and the last face of an axis, in shares of the ray."""
    if ray == 0:
        return (-math.inf, math.inf) if 0 <= start < size else (math.inf, -math.inf)
    first, last = -start / ray, (size - start) / ray
    return min(first, last), max(first, last)


@numba.njit(error_model="numpy")
def _first(start: float, ray: float, t: float, size: int) -> tuple[int, float, float]:
    """Index of the voxel at t, where the ray leaves it, and from there the distance from face to face."""
    voxel = min(max(math.floor(start + t * ray), 0), size - 1)
    if ray == 0:
        return voxel, math.inf, math.inf
    return voxel, (voxel + (1 if ray > 0 else 0) - start) / ray, 1 / abs(ray)
