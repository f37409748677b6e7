"""What volumes and label volumes share: an array, and where it lies in the patient.

The array is never copied, flipped or resampled to suit a view: its strides say where the voxels are in
memory and its affine says where they are in the patient. World coordinates are RAS+ millimetres; voxel
centres lie at integer indices, so voxel ``i`` covers ``[i - 0.5, i + 0.5)``.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from drrproj import device_arrays
from drrproj.affines import checked_affine

__all__ = ["RAS_FROM", "Grid", "Space", "checked_voxels", "in_ras"]

Space = Literal["RAS", "LPS"]

RAS_FROM: Mapping[str, npt.NDArray[np.float64]] = {"RAS": np.eye(4), "LPS": np.diag([-1.0, -1.0, 1.0, 1.0])}
"""Homogeneous matrices from the two world frames in use to RAS+; each is its own inverse."""

_UNIT_CUBE = np.array(list(itertools.product((0.0, 1.0), repeat=3)))


def checked_voxels(array: npt.ArrayLike, what: str) -> npt.NDArray[Any]:
    """Return an array whose voxels the walk can read, itself where it can be, or raise TypeError or ValueError."""
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{what} is a masked array, whose mask would be lost; pass array.filled(...)")
    if device_arrays.is_on_device(array):
        return device_arrays.checked(array, what)  # type: ignore[no-any-return]
    voxels = np.asarray(array)
    if voxels.dtype.names is not None:
        raise TypeError(f"{what} holds colour records {voxels.dtype.names}; pass one number per voxel, such as HU")
    if voxels.dtype.kind not in "buif":
        raise TypeError(f"{what} must hold real numbers; got dtype {voxels.dtype}")
    if voxels.ndim != 3:
        raise ValueError(
            f"{what} must be a 3-D array; got shape {voxels.shape}. Pass one volume at a time, e.g. array[..., 0]"
        )
    if 0 in voxels.shape:
        raise ValueError(f"{what} is empty: shape {voxels.shape}")
    if voxels.dtype.kind == "b":
        voxels = voxels.view(np.uint8)
    elif voxels.dtype.kind == "f" and voxels.dtype.itemsize not in (4, 8):
        # Half and extended precision have no walk of their own; float32 and float64 hold their values.
        voxels = voxels.astype(np.float32 if voxels.dtype.itemsize == 2 else np.float64)
    elif not voxels.dtype.isnative:
        voxels = voxels.astype(voxels.dtype.newbyteorder("="))
    elif not voxels.flags.aligned:
        voxels = voxels.copy(order="K")
    return voxels


def in_ras(affine: npt.ArrayLike, space: str, what: str) -> npt.NDArray[np.float64]:
    """Return ``world_from_voxel`` in RAS+, read-only, or raise ValueError."""
    world_from_voxel = checked_affine(affine, f"the affine of {what}")
    if space not in RAS_FROM:
        raise ValueError(f'space must be "RAS" or "LPS"; got {space!r}')
    world_from_voxel = RAS_FROM[space] @ world_from_voxel
    world_from_voxel.setflags(write=False)
    return world_from_voxel


@dataclass(frozen=True, eq=False, repr=False)
class Grid:
    """What a volume and a label volume share: an array and its place in the patient."""

    array: npt.NDArray[Any]
    affine: npt.NDArray[np.float64]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self._told())})"

    def _told(self) -> list[str]:
        """What the one line tells that it prints as; the array may be large, and is not read for it."""
        voxels, edges = (" x ".join(f"{n:.4g}" for n in numbers) for numbers in (self.shape, self.voxel_size))
        return [f"{voxels} {str(self.array.dtype).removeprefix('torch.')}", f"{edges} mm"]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along each array axis."""
        i, j, k = self.array.shape
        return i, j, k

    @property
    def voxel_size(self) -> npt.NDArray[np.float64]:
        """Length of the voxel's three edges in mm, array axis order, shape (3,)."""
        edges: npt.NDArray[np.float64] = np.sqrt(np.square(self.affine[:3, :3]).sum(axis=0))
        return edges

    @cached_property
    def voxel_from_world(self) -> npt.NDArray[np.float64]:
        """Matrix (4, 4) from RAS+ mm to voxel indices; read-only, as the affine is."""
        voxel_from_world = np.asarray(np.linalg.inv(self.affine), dtype=np.float64)
        voxel_from_world.setflags(write=False)
        return voxel_from_world

    @cached_property
    def center(self) -> npt.NDArray[np.float64]:
        """Centre of the voxel box, world mm, shape (3,); read-only, as the affine is."""
        middle = (np.array(self.shape) - 1) / 2
        center: npt.NDArray[np.float64] = self.affine[:3, :3] @ middle + self.affine[:3, 3]
        center.setflags(write=False)
        return center

    @cached_property
    def corners(self) -> npt.NDArray[np.float64]:
        """The eight outer corners of the voxel box, world mm, shape (8, 3); read-only, as the affine is."""
        indices = _UNIT_CUBE * self.shape - 0.5
        corners: npt.NDArray[np.float64] = indices @ self.affine[:3, :3].T + self.affine[:3, 3]
        corners.setflags(write=False)
        return corners
