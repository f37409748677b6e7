"""Where a NIfTI header says its voxels are, and what to do when it says so twice, differently, or not at all."""

# nibabel's methods carry no types.
# mypy: allow-untyped-calls

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

__all__ = ["Prefer", "world_from_voxel"]

Prefer = Literal["sform", "qform", "pixdim"]
Affine = npt.NDArray[np.float64]

# The low three bits of xyzt_units, NIfTI-1 standard; files that say nothing are in mm all over the field.
_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}

# The quaternion is rounded to float32 and qform cannot hold shear, so the two are never equal to the last bit.
_TOLERANCE = 0.01


def world_from_voxel(header: Nifti1Header, prefer: Prefer | None = None) -> Affine:
    """Return the affine of a NIfTI header, voxel indices to RAS+ mm.

    Parameters
    ----------
    header : Nifti1Header, Nifti2Header or AnalyzeHeader
        As nibabel reads it.
    prefer : {"sform", "qform", "pixdim"}, optional
        ``"sform"`` or ``"qform"`` settles a disagreement of the two. ``"pixdim"`` accepts a header that has neither:
        its voxel axes are then taken for left, anterior, superior, as nibabel and SPM do, with the middle of the volume
        at 0, or the origin there that SPM wrote into an Analyze header. A ``.mat`` file beside that is not read.

    Returns
    -------
    ndarray, shape (4, 4), mm

    Raises
    ------
    ValueError
        If sform and qform disagree by more than 1 % of the spacing or direction or by half a voxel in place, or
        there is neither, and ``prefer`` does not settle it; if the qform is damaged or the unit is unknown.
    """
    if prefer not in (None, "sform", "qform", "pixdim"):
        raise ValueError(f'prefer must be "sform", "qform" or "pixdim"; got {prefer!r}')
    if "sform_code" not in header:
        return _of_analyze(header, prefer)
    unit = int(header["xyzt_units"]) & 7
    if unit not in _MM_PER_UNIT:
        raise ValueError(f"its spatial unit has code {unit}, which NIfTI does not know; set it to 2 (mm)")
    affine = _stated(header, prefer)
    affine[:3] *= _MM_PER_UNIT[unit]
    return affine


def _of_analyze(header: Nifti1Header, prefer: Prefer | None) -> Affine:
    if prefer == "pixdim":
        # With the origin that SPM wrote, where it is near the volume.
        return np.array(header.get_best_affine(), dtype=np.float64)
    raise ValueError(
        "it is an Analyze file, which cannot say how the patient lies in it; convert it to NIfTI, or accept left, "
        'anterior, superior voxel axes with prefer="pixdim" (--prefer pixdim)'
    )


def _stated(header: Nifti1Header, prefer: Prefer | None) -> Affine:
    has_sform, has_qform = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    if has_sform and (prefer == "sform" or not has_qform):
        return _sform(header)
    if has_qform and (prefer == "qform" or not has_sform):
        return _qform(header)
    if has_sform:
        sform, qform = _sform(header), _qform(header)
        difference = _difference(sform, qform)
        if difference:
            raise ValueError(
                f'its sform and qform disagree: {difference}; choose one with prefer="sform" or prefer="qform" '
                "(--prefer)"
            )
        return sform
    if prefer == "pixdim":
        return np.array(header.get_base_affine(), dtype=np.float64)
    raise ValueError(
        "it does not say how the patient lies in it: neither sform nor qform is set; set one, or accept left, "
        'anterior, superior voxel axes with prefer="pixdim" (--prefer pixdim)'
    )


def _sform(header: Nifti1Header) -> Affine:
    return np.array(header.get_sform(), dtype=np.float64)


def _qform(header: Nifti1Header) -> Affine:
    from nibabel.spatialimages import HeaderDataError

    try:
        return np.array(header.get_qform(), dtype=np.float64)
    except (HeaderDataError, ValueError) as error:
        raise ValueError(
            f'its qform is damaged ({error}); if there is a good sform, pass prefer="sform" (--prefer sform)'
        ) from error


def _difference(sform: Affine, qform: Affine) -> str | None:
    for name, affine in (("sform", sform), ("qform", qform)):
        if not np.isfinite(affine).all():
            return f"the {name} has entries that are not finite"
    sizes = {name: np.linalg.norm(affine[:3, :3], axis=0) for name, affine in (("sform", sform), ("qform", qform))}
    if np.abs(sizes["sform"] - sizes["qform"]).max() > _TOLERANCE * sizes["qform"].min() or not sizes["sform"].all():
        return " against ".join(f"{name} voxels of {_listed(size)} mm" for name, size in sizes.items())
    for axis, letter in enumerate("ijk"):
        directions = [affine[:3, axis] / np.linalg.norm(affine[:3, axis]) for affine in (sform, qform)]
        if np.linalg.norm(directions[0] - directions[1]) > _TOLERANCE:
            return f"voxel axis {letter} points along {_listed(directions[0])} against {_listed(directions[1])}"
    apart = float(np.linalg.norm(sform[:3, 3] - qform[:3, 3]))
    if apart > 0.5 * sizes["qform"].min():
        return f"they place the first voxel {apart:.3g} mm apart"
    return None


def _listed(vector: npt.NDArray[np.float64]) -> str:
    return " ".join(f"{value:.4g}" for value in vector)
