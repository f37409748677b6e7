"""Mass of each material along each ray, from one walk through the volume."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.geometry import Geometry
from drrproj.label_volume import LabelVolume
from drrproj.materials import Material, material
from drrproj.physics.tissues import TissueModel, tissue_model
from drrproj.project import project
from drrproj.radiograph import Radiograph
from drrproj.short_text import counted, listed
from drrproj.volume import Volume

__all__ = ["MaterialPaths", "material_paths"]

Float32Array = npt.NDArray[np.float32]

# A difference of two float32 integrals may fall this far below zero, in g/cm2: 0.01 mm of water.
_ROUNDING_G_CM2 = 1e-3
_MM_PER_CM = 10.0


@dataclass(frozen=True, eq=False, repr=False)
class MaterialPaths:
    """How much of each material every ray runs through.

    Parameters
    ----------
    areal_density : array_like, shape (materials, views, rows, columns), g/cm2
        Integral of each material's density along the ray. Kept as float32.
    materials : sequence of Material or str
        The materials, in that order.
    geometry : Geometry, optional
        The views; an exposure in mAs and blur in mm need them.
    radiograph : Radiograph, optional
        The projection it was made from.
    record : dict, optional
        Plain values that say how it was made.

    Raises
    ------
    ValueError
        If shapes do not match, or a density is negative or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from drrproj.physics import MaterialPaths
    >>> paths = MaterialPaths(np.ones((2, 1, 4, 4)), ("water", "titanium"))
    >>> paths["titanium"].shape
    (1, 4, 4)
    """

    areal_density: Float32Array
    materials: tuple[Material, ...]
    geometry: Geometry | None = None
    radiograph: Radiograph | None = None
    record: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        _, views, rows, columns = self.areal_density.shape
        names = listed([each.name for each in self.materials])
        return f"MaterialPaths({names}; {counted(views, 'view')}, {rows} x {columns} pixels)"

    def __post_init__(self) -> None:
        density = np.ascontiguousarray(self.areal_density, dtype=np.float32)
        materials = tuple(material(named) for named in self.materials)
        if density.ndim != 4 or len(density) != len(materials) or not materials:
            raise ValueError(
                f"areal_density must be of shape (materials, views, rows, columns) with one material each; got shape "
                f"{density.shape} for {len(materials)} materials"
            )
        names = [each.name for each in materials]
        if len(set(names)) < len(names):
            raise ValueError(f"each material must be there once; got {', '.join(names)}")
        if self.geometry is not None and density.shape[1:] != (len(self.geometry), *self.geometry.shape):
            raise ValueError(
                f"areal_density holds images of shape {density.shape[1:]}, the geometry has {len(self.geometry)} views "
                f"of {self.geometry.shape}"
            )
        for each, image in zip(materials, density, strict=True):
            lowest = float(image.min()) if image.size else 0.0
            if not np.isfinite(image.sum(dtype=np.float64)):
                raise ValueError(f"the areal density of {each.name} holds values that are not finite")
            if lowest < -_ROUNDING_G_CM2:
                raise ValueError(
                    f"the areal density of {each.name} must not be negative; the lowest is {lowest:g} g/cm2"
                )
        object.__setattr__(self, "areal_density", density)
        object.__setattr__(self, "materials", materials)

    def __getitem__(self, name: str) -> Float32Array:
        """Return one material's areal density in g/cm2, shape (views, rows, columns), by its name."""
        names = [each.name for each in self.materials]
        if name not in names:
            raise KeyError(f"no material {name!r} in these paths; there are {', '.join(names)}")
        image: Float32Array = self.areal_density[names.index(name)]
        return image


def material_paths(
    volume: Volume,
    geometry: Geometry,
    *,
    tissues: TissueModel | str = "water_bone",
    labels: LabelVolume | None = None,
    assign: Mapping[str | int, Material | str] | None = None,
    backend: str = "auto",
    threads: int | None = None,
) -> MaterialPaths:
    """Project a CT to the mass of each material along each ray, in one walk.

    A tissue model says what a voxel is made of by its HU. What HU cannot tell (metal saturates a CT, contrast medium
    looks like bone) is assigned by label: such a structure counts with the material's own density, whatever the CT says
    there.

    Parameters
    ----------
    volume : Volume
        CT in HU.
    geometry : Geometry
        The views.
    tissues : TissueModel, or "water_bone", "schneider", "deepdrr"
        How HU become materials. ``water_bone`` gives at every energy what :func:`drrproj.attenuation.bilinear` gives,
        up to the HU of cortical bone; above, see :func:`drrproj.physics.water_bone`.
    labels : LabelVolume, optional
        Anatomy, or implants, on the grid of the CT.
    assign : mapping of label (name or id) to Material or str, optional
        What those structures are made of: ``{"pacemaker": "titanium"}``.
    backend, threads
        As in :func:`drrproj.project`.

    Returns
    -------
    MaterialPaths

    Raises
    ------
    TypeError
        If an argument is not the value it should be.
    ValueError
        If the volume is not in HU, labels lie on another grid, a label or material is unknown, or only one of labels
        and assign is given.

    Accuracy
    --------
    That of :func:`drrproj.project`.

    Examples
    --------
    >>> import numpy as np, drrproj
    >>> from drrproj import physics
    >>> hu = np.zeros((20, 20, 20), np.int16)
    >>> hu[0] = -1000
    >>> metal = np.zeros(hu.shape, np.uint8)
    >>> metal[8:12, 8:12, 8:12] = 1
    >>> hu[metal == 1] = 3071  # all that a CT of 12 bits can say
    >>> ct = drrproj.Volume(hu, np.eye(4))
    >>> screw = drrproj.LabelVolume(metal, np.eye(4), {1: "screw"})
    >>> view = drrproj.Geometry.radiograph("AP", ct, beam="parallel", shape=(40, 40))
    >>> paths = physics.material_paths(ct, view, labels=screw, assign={"screw": "titanium"})
    >>> round(float(paths["titanium"][0, 20, 20]), 3), round(float(paths["water"][0, 20, 20]), 3)  # 4 mm, 16 mm
    (1.816, 1.6)
    """
    if not isinstance(volume, Volume):
        raise TypeError(f"volume must be a drrproj.Volume; got {type(volume).__name__}")
    if volume.unit != "HU":
        raise ValueError(f"materials are told by HU, but the volume's unit is {volume.unit!r}")
    if (labels is None) != (not assign):
        raise ValueError("labels and assign belong together: labels say where, assign says what it is made of")
    model = tissue_model(tissues)
    assigned = {label: material(made_of) for label, made_of in (assign or {}).items()}
    radiograph = project(
        volume,
        geometry,
        labels=model.classify(volume, labels, tuple(assigned)),
        attenuation=model.density,
        outputs=("label_line_integral", "path_length"),
        backend=backend,
        threads=threads,
    )
    masses = _masses(radiograph, model, tuple(assigned.values()))
    record = {
        **copy.deepcopy(radiograph.record),
        "labels": None,
        "tissues": model.as_record(),
        "assigned": {str(label): made_of.as_record() for label, made_of in assigned.items()},
    }
    return MaterialPaths(
        np.stack([mass for _, mass in masses.values()]),
        tuple(made_of for made_of, _ in masses.values()),
        geometry,
        radiograph,
        record,
    )


def _masses(
    radiograph: Radiograph, model: TissueModel, assigned: tuple[Material, ...]
) -> dict[str, tuple[Material, Float32Array]]:
    """Return each material with its mass along the rays, in g/cm2, by its name."""
    shares, lengths = radiograph.label_line_integral, radiograph.path_length
    shape = (len(radiograph.geometry), *radiograph.geometry.shape)
    masses: dict[str, tuple[Material, Float32Array]] = {}

    def add(made_of: Material, mass: Float32Array | None) -> None:
        known, total = masses.setdefault(made_of.name, (made_of, np.zeros(shape, np.float32)))
        if known is not made_of and known.as_record() != made_of.as_record():
            raise ValueError(f"two materials are named {made_of.name!r}; names must differ")
        if mass is not None:
            total += mass

    for place, each in enumerate(model.classes):
        # Only what occurs in the volume is there to be read; what does not occur keeps its material, with no mass.
        occurs = place + 1 in lengths.label_ids
        for made_of, offset, factor in each.parts:
            mass = None
            if occurs:
                mass = np.float32(factor / _MM_PER_CM) * shares[place + 1]
                if offset:
                    mass += np.float32(offset / _MM_PER_CM) * lengths[place + 1]
            add(made_of, mass)
    for place, made_of in enumerate(assigned, start=len(model.classes) + 1):
        occurs = place in lengths.label_ids
        add(made_of, np.float32(made_of.density_g_cm3 / _MM_PER_CM) * lengths[place] if occurs else None)
    return masses
