"""What voxels are made of, by their HU: classes, each a mixture of materials in proportion to density."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.affines import is_same_grid, voxels_apart
from drrproj.attenuation import (
    DEEPDRR_MATERIALS,
    Attenuation,
    bone_hu,
    deepdrr_density,
    schneider_bins,
)
from drrproj.attenuation import density as density_by_hu
from drrproj.given_numbers import real_numbers
from drrproj.hounsfield import AIR_HU
from drrproj.label_volume import LabelVolume
from drrproj.materials import MATERIALS, Material
from drrproj.short_text import near_or_known
from drrproj.volume import Volume

__all__ = ["TissueClass", "TissueModel", "deepdrr", "schneider", "tissue_model", "water_bone"]

# Ids of classes are bytes, and 0 is background.
_MOST_CLASSES = 255


@dataclass(frozen=True, eq=False)
class TissueClass:
    """A range of HU and what it is made of.

    Parameters
    ----------
    name : str
        Its name, for the record.
    from_hu : float, HU
        Its first HU; the next class's first ends it.
    parts : sequence of (Material, float, float)
        Each material with an offset in g/cm3 and a factor: its density in a voxel is ``offset + factor * density(HU)``.
    """

    name: str
    from_hu: float
    parts: tuple[tuple[Material, float, float], ...]


@dataclass(frozen=True, eq=False)
class TissueModel:
    """How HU become materials.

    Parameters
    ----------
    name : str
        Its name, for the record.
    density : Attenuation
        Density by HU: with the unit g/cm3.
    classes : sequence of TissueClass
        In the order of their HU. Below the first is nothing.
    source : str
        Where it comes from.

    Raises
    ------
    ValueError
        If the density is none, or classes do not ascend.

    Examples
    --------
    Soft tissue up to 200 HU and bone above, with the densities of Schneider 2000:

    >>> import drrproj
    >>> from drrproj import materials, physics
    >>> soft, bone = materials.MATERIALS["tissue_soft_ICRU44"], materials.MATERIALS["bone_cortical_ICRU44"]
    >>> classes = (
    ...     physics.TissueClass("soft", -950, ((soft, 0.0, 1.0),)),
    ...     physics.TissueClass("bone", 201, ((bone, 0.0, 1.0),)),
    ... )
    >>> model = physics.TissueModel("two thresholds", drrproj.attenuation.density(), classes)
    """

    name: str
    density: Attenuation
    classes: tuple[TissueClass, ...]
    source: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.density, Attenuation) or self.density.unit != "g/cm3":
            raise ValueError("density must be an Attenuation with the unit g/cm3; see drrproj.attenuation.density")
        first = [each.from_hu for each in self.classes]
        real_numbers(first, "the classes of a tissue model must begin at HU")
        if not first or np.isnan(first).any() or any(not low < high for low, high in itertools.pairwise(first)):
            raise ValueError(f"the classes of a tissue model must ascend in HU; they begin at {first}")
        object.__setattr__(self, "classes", tuple(self.classes))

    def classify(
        self, volume: Volume, labels: LabelVolume | None = None, assigned: Sequence[str | int] = ()
    ) -> LabelVolume:
        """Return the class of every voxel: class ``i`` as label ``i + 1``, then the assigned labels in their order.

        Parameters
        ----------
        volume : Volume
            CT in HU.
        labels : LabelVolume, optional
            On the same grid.
        assigned : sequence of label names or ids
            Labels that become classes of their own, whatever their HU.

        Returns
        -------
        LabelVolume
            One byte per voxel, in the volume's memory order.

        Raises
        ------
        ValueError
            If labels lie on another grid, an assigned label is unknown or overlaps another, or there are more than 255
            classes.

        Examples
        --------
        >>> import numpy as np, drrproj
        >>> from drrproj import physics
        >>> ct = drrproj.Volume(np.array([[[-3024, -1000, -700, 40, 1200, 3071]]], np.int16), np.eye(4))
        >>> physics.water_bone().classify(ct).array.tolist()
        [[[0, 0, 1, 2, 2, 3]]]
        """
        count = len(self.classes)
        if count + len(assigned) > _MOST_CLASSES:
            raise ValueError(f"at most {_MOST_CLASSES} classes and assigned labels; got {count + len(assigned)}")
        names = {place + 1: each.name for place, each in enumerate(self.classes)}
        class_ids = np.empty_like(volume.array, dtype=np.uint8)
        slowest = int(np.argmax(np.abs(volume.array.strides)))
        of_values = self._lookup(volume.array.dtype)
        for hu, out in zip(np.moveaxis(volume.array, slowest, 0), np.moveaxis(class_ids, slowest, 0), strict=True):
            out[...] = of_values(hu)
        if labels is not None:
            _check_same_grid(volume, labels)
            for place, label in enumerate(assigned):
                inside = np.isin(labels.array, labels.values_by_structure[_label_id(labels, label)])
                taken = int(class_ids[inside].max(initial=0))
                if taken > count:
                    raise ValueError(
                        f"{label!r} and {assigned[taken - count - 1]!r} overlap, and both are assigned a material"
                    )
                np.copyto(class_ids, np.uint8(count + 1 + place), where=inside)
                names[count + 1 + place] = f"assigned {label}"
        return LabelVolume(class_ids, volume.affine, names, frame_of_reference=volume.frame_of_reference)

    def _lookup(self, dtype: np.dtype[Any]) -> Callable[[npt.NDArray[Any]], npt.NDArray[np.uint8]]:
        first = np.array([each.from_hu for each in self.classes])
        if dtype.kind in "iu" and dtype.itemsize <= 2:
            # One read of a table of all values instead of a search per voxel: ten times faster.
            unsigned = np.dtype(f"u{dtype.itemsize}")
            every_value = np.arange(2 ** (8 * dtype.itemsize), dtype=unsigned).view(dtype)
            by_value = np.searchsorted(first, every_value, side="right").astype(np.uint8)
            return lambda hu: by_value[hu.view(unsigned)]

        def search(hu: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
            found = np.searchsorted(first, hu, side="right")
            # NaN sorts above every number, but is nothing.
            return np.where(np.isnan(hu), 0, found).astype(np.uint8)

        return search

    def as_record(self) -> dict[str, Any]:
        """Everything needed to rebuild the model, as plain values."""
        return {
            "model": self.name,
            "source": self.source,
            "density": self.density.as_record(),
            "classes": [
                {
                    "name": each.name,
                    # JSON has no infinity.
                    "from_hu": float(each.from_hu) if np.isfinite(each.from_hu) else None,
                    "parts": [[part.name, offset, factor] for part, offset, factor in each.parts],
                }
                for each in self.classes
            ],
        }


def water_bone(ct_energy_kev: float = 70.0) -> TissueModel:
    """Water of any density up to 0 HU, water and cortical bone mixed from there to bone, denser bone above.

    At every energy its attenuation is that of :func:`drrproj.attenuation.bilinear` up to the HU of cortical bone
    (1559 at 70 keV): the bilinear model is such a mixture. Above, where that would need less than no water, it is bone
    of the density that has those HU at the CT's energy.

    Parameters
    ----------
    ct_energy_kev : float, keV, in [10, 150]
        Effective energy of the CT scan; 70 stands for 120 kVp.

    Returns
    -------
    TissueModel

    Raises
    ------
    ValueError
        If the energy is out of range.

    Source
    ------
    Water and ICRU-44 cortical bone at 1.92 g/cm3, as in :func:`drrproj.attenuation.bilinear`.

    Examples
    --------
    >>> from drrproj import physics
    >>> [(each.name, round(each.from_hu)) for each in physics.water_bone().classes]
    [('water', -1000), ('water and bone', 0), ('bone', 1559)]
    """
    water, bone = MATERIALS["water"], MATERIALS["bone_cortical_ICRU44"]
    pure = bone_hu(ct_energy_kev)
    added = bone.density_g_cm3 - water.density_g_cm3
    # Density rises from water's to bone's along the mixture, then in proportion to HU + 1000.
    slopes = (water.density_g_cm3 / -AIR_HU, added / pure, bone.density_g_cm3 / (pure - AIR_HU))
    density = Attenuation(
        "water_bone_density",
        (AIR_HU, 0.0, pure),
        tuple(float(change) for change in np.diff([0.0, *slopes])),
        None,
        float(ct_energy_kev),
        "g/cm3",
        "water and ICRU-44 cortical bone",
    )
    of_bone = bone.density_g_cm3 / added
    mixed = ((water, bone.density_g_cm3 / added, -water.density_g_cm3 / added), (bone, -of_bone, of_bone))
    classes = (
        # What is air to the last HU has no density and is left out, so that the walk may skip it.
        TissueClass("water", float(np.nextafter(AIR_HU, 0.0)), ((water, 0.0, 1.0),)),
        TissueClass("water and bone", 0.0, mixed),
        TissueClass("bone", pure, ((bone, 0.0, 1.0),)),
    )
    return TissueModel("water_bone", density, classes, "mixture behind attenuation.bilinear")


def schneider() -> TissueModel:
    """24 compositions by HU from air to cortical bone, with Schneider's densities.

    Source
    ------
    Schneider, Bortfeld and Schlegel 2000, Phys. Med. Biol. 45:459, with the bins of TOPAS and the densities of GATE.

    Examples
    --------
    >>> from drrproj import physics
    >>> len(physics.schneider().classes)
    24
    """
    classes = tuple(TissueClass(tissue.name, first, ((tissue, 0.0, 1.0),)) for first, tissue in schneider_bins())
    return TissueModel("schneider", density_by_hu(), classes, "Schneider 2000")


def deepdrr() -> TissueModel:
    """DeepDRR's thresholds, for comparison: air up to -800 HU, soft tissue up to 350, bone above.

    Source
    ------
    DeepDRR 1.2.2, thresholds of ``conv_hu_to_materials_thresholding`` and its density.

    Examples
    --------
    >>> from drrproj import physics
    >>> [each.name for each in physics.deepdrr().classes]
    ['air', 'tissue_soft_ICRU44', 'bone_cortical_ICRU44']
    """
    classes = tuple(TissueClass(name, first, ((MATERIALS[name], 0.0, 1.0),)) for first, name in DEEPDRR_MATERIALS)
    return TissueModel("deepdrr", deepdrr_density(), classes, "DeepDRR 1.2.2")


_MODELS: dict[str, Callable[[], TissueModel]] = {"water_bone": water_bone, "schneider": schneider, "deepdrr": deepdrr}


def tissue_model(named: TissueModel | str) -> TissueModel:
    """Return a tissue model as it is, or a known one by its name."""
    if isinstance(named, TissueModel):
        return named
    if named not in _MODELS:
        raise ValueError(f"unknown tissues {named!r}; there are {', '.join(_MODELS)}, or pass a TissueModel")
    return _MODELS[named]()


def _label_id(labels: LabelVolume, label: str | int) -> int:
    names = [labels.name_of(label_id) for label_id in labels.label_ids]
    by_name_or_id: dict[str | int, int] = {label_id: label_id for label_id in labels.label_ids}
    by_name_or_id.update(zip(names, labels.label_ids, strict=True))
    if label not in by_name_or_id:
        raise ValueError(f"no label {label!r} to assign a material to; {near_or_known(label, names)}")
    return by_name_or_id[label]


def _check_same_grid(volume: Volume, labels: LabelVolume) -> None:
    if not is_same_grid(labels.affine, labels.shape, volume.affine, volume.shape):
        apart = ""
        if labels.shape == volume.shape:
            farthest = voxels_apart(labels.affine, volume.affine, volume.shape)
            apart = f", up to {farthest:.3g} voxels apart"
        raise ValueError(
            f"labels that are assigned a material must lie on the grid of the CT; the CT has {volume.shape} voxels, "
            f"the labels {labels.shape}{apart}. Resample the labels (nearest neighbour)"
        )
