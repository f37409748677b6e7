"""Volumes: a CT, or any scalar field, and what its numbers mean."""

from __future__ import annotations

from dataclasses import InitVar, dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from drrproj import device_arrays
from drrproj.grid import Grid, Space, checked_voxels, in_ras
from drrproj.hounsfield import PADDING_HU

__all__ = ["Volume"]

Unit = Literal["HU", "1/mm"]


@dataclass(frozen=True, eq=False, repr=False)
class Volume(Grid):
    """A CT, or any scalar volume, with its place in the patient and its unit.

    Parameters
    ----------
    array : array_like, shape (i, j, k), any real dtype, any strides
        Voxel values. Kept as it is, without a copy; only float16, extended precision, foreign byte order and
        unaligned memory are converted, because no backend walks them. An array on a GPU (of CuPy, of torch, or of a
        library with DLPack and the array API standard, as JAX) stays there, for ``backend="cuda"``.
    affine : array_like, shape (4, 4)
        ``world_from_voxel``: maps a voxel index to millimetres. Shear, flips and anisotropy are welcome.
    unit : {"HU", "1/mm"}
        Hounsfield units, turned into attenuation inside the walk, or linear attenuation itself.
    space : {"RAS", "LPS"}
        World frame of ``affine``: RAS+ as NIfTI files have it, or LPS+ as DICOM and ITK have it. The stored
        ``affine`` is RAS+ either way.
    frame_of_reference : str, optional
        DICOM's UID of the patient space, as its files give it. Labels of another one are refused.

    Raises
    ------
    TypeError
        If the array does not hold real numbers.
    ValueError
        If the array is not 3-D, the affine is not an invertible, finite 4x4 matrix, or the unit is unknown.

    Examples
    --------
    >>> import numpy as np, drrproj
    >>> water = drrproj.Volume(np.zeros((64, 64, 40), np.int16), np.diag([2, 2, 3, 1]))
    >>> water.unit, water.voxel_size.tolist()
    ('HU', [2.0, 2.0, 3.0])
    """

    unit: Unit = "HU"
    space: InitVar[Space] = "RAS"
    frame_of_reference: str | None = None

    def __post_init__(self, space: Space) -> None:
        object.__setattr__(self, "array", checked_voxels(self.array, "the volume"))
        object.__setattr__(self, "affine", in_ras(self.affine, space, "the volume"))
        if self.unit not in ("HU", "1/mm"):
            raise ValueError(f'unit must be "HU" or "1/mm"; got {self.unit!r}')

    def __reduce__(self) -> tuple[Any, ...]:
        # Made anew, a copy's affine is read-only too; what was found out about the array belongs to this one.
        return partial(Volume, unit=self.unit, frame_of_reference=self.frame_of_reference), (self.array, self.affine)

    def _told(self) -> list[str]:
        array, edges = super()._told()
        return [f"{array} {self.unit}", edges]

    def count_padding(self) -> dict[str, int]:
        """Count the voxels that carry no measurement; the walk treats each of them as air.

        Reads the whole array once, one slice at a time, so it is not done unasked.

        Returns
        -------
        dict
            ``nan``: voxels that are not a number; ``padding``: HU below -1024 (-2048 and -3024 are usual).

        Raises
        ------
        TypeError
            If the array is on a GPU.

        Examples
        --------
        >>> import numpy as np, drrproj
        >>> ring = np.full((4, 4, 4), -2048, np.int16)
        >>> drrproj.Volume(ring, np.eye(4)).count_padding()
        {'nan': 0, 'padding': 64}
        """
        device_arrays.check_on_host(self.array, "padding is counted", "move it there, or count with its own library")
        nan = padding = 0
        slowest = int(np.argmax(np.abs(self.array.strides)))
        for slab in np.moveaxis(self.array, slowest, 0):
            if slab.dtype.kind == "f":
                nan += int(np.count_nonzero(np.isnan(slab)))
            if self.unit == "HU":
                padding += int(np.count_nonzero(slab < PADDING_HU))
        return {"nan": nan, "padding": padding}
