"""A line integral put together again, with other attenuation in some of its structures."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from drrproj.given_numbers import one_number
from drrproj.materials import Material, material
from drrproj.radiograph import Radiograph
from drrproj.short_text import listed

__all__ = ["recompose"]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

# Of the rounding of float32 sums: a share that exceeds the whole by more belongs to structures that overlap.
_ROUNDING = 1e-3


def recompose(
    radiograph: Radiograph,
    *,
    scale: Mapping[str | int, float] | None = None,
    replace: Mapping[str | int, Material | str] | None = None,
    energy_kev: float | None = None,
) -> Radiograph:
    """Change the attenuation of structures after the projection, from their shares of the line integral.

    ``scale`` multiplies a structure's attenuation: 2 for ribs emphasises bone, 0 removes it. ``replace`` gives a
    structure the attenuation of a material of its own density, along its path length: for metal, which saturates a CT,
    and for contrast medium. Nothing is guessed from HU, and the record says what was done.

    Parameters
    ----------
    radiograph : Radiograph
        With the outputs ``line_integral``, ``label_line_integral``, and ``path_length`` for ``replace``.
    scale : mapping of label (name or id) to float, optional
        Factors, not negative.
    replace : mapping of label (name or id) to Material or str, optional
        What those structures are made of.
    energy_kev : float, keV, optional
        Energy of the replacing material's attenuation; by default that of the radiograph's model.

    Returns
    -------
    Radiograph
        With another line integral, its structures' shares left out, and everything else as it was.

    Raises
    ------
    ValueError
        If an output is missing, a factor is negative, a label is in both, no energy is known, or the chosen
        structures overlap, so that their shares exceed the line integral.
    KeyError
        If a label is unknown.

    Accuracy
    --------
    That of the shares, relative to the line integral (``tests/test_recompose.py``: as a projection of the changed
    volume).

    Examples
    --------
    >>> import numpy as np, drrproj
    >>> from drrproj import physics
    >>> ct = drrproj.Volume(np.zeros((20, 20, 20), np.int16), np.eye(4))
    >>> rod = np.zeros(ct.shape, np.uint8)
    >>> rod[9:11, 9:11] = 1
    >>> view = drrproj.Geometry.radiograph("AP", ct, beam="parallel", shape=(40, 40))
    >>> outputs = ("line_integral", "label_line_integral", "path_length")
    >>> shot = drrproj.project(ct, view, labels=drrproj.LabelVolume(rod, np.eye(4), {1: "rod"}), outputs=outputs)
    >>> steel = physics.recompose(shot, replace={"rod": "steel_316L"})
    >>> round(float(shot.line_integral[0, 20, 20]), 2), round(float(steel.line_integral[0, 20, 20]), 2)
    (0.39, 1.74)
    """
    scale, replace = dict(scale or {}), dict(replace or {})
    if not scale and not replace:
        raise ValueError("nothing to change: give scale={label: factor} or replace={label: material}")
    needed = {"line_integral", "label_line_integral"} | ({"path_length"} if replace else set())
    if not needed <= radiograph.images.keys():
        raise ValueError(
            'this needs project(..., outputs=("line_integral", "label_line_integral", "path_length")); the last for '
            "replace alone"
        )
    shares, whole = radiograph.label_line_integral, radiograph.line_integral
    model = radiograph.record.get("attenuation") or {}
    if replace and model.get("unit", "1/mm") != "1/mm":
        raise ValueError(f"this radiograph is one of {model['unit']}, not of attenuation; scale its structures instead")
    places = [shares.place_of(label) for label in (*scale, *replace)]
    twice = [name for place, name in enumerate(shares) if places.count(place) > 1]
    if twice:
        raise ValueError(f"a structure can be changed once; got {listed(twice)} twice")
    for label, factor in scale.items():
        one_number(factor, f"the factor of {label!r} must not be negative", least=0)
    made_of = {label: material(named) for label, named in replace.items()}
    if made_of and energy_kev is None:
        energy_kev = model.get("energy_kev")
        if energy_kev is None:
            raise ValueError("nothing says at which energy this radiograph was made; pass energy_kev=...")

    chosen = np.zeros(whole.shape, np.float64)
    changed = whole.astype(np.float64)
    for label, factor in scale.items():
        chosen += shares[label]
        changed += (factor - 1.0) * shares[label]
    for label, substance in made_of.items():
        assert energy_kev is not None
        chosen += shares[label]
        changed += float(substance.linear_attenuation(energy_kev)) * radiograph.path_length[label] - shares[label]
    if _exceeds(chosen, whole) and _exceeds(chosen, whole - _below_zero(radiograph, places)):
        raise ValueError("the structures to change overlap: their shares exceed the line integral; change one of them")
    record = {
        **copy.deepcopy(radiograph.record),
        "recomposed": {
            "scale": {str(label): float(factor) for label, factor in scale.items()},
            "replace": {str(label): substance.as_record() for label, substance in made_of.items()},
            "energy_kev": None if not made_of else float(energy_kev or 0),
        },
    }
    # What rounding leaves below zero where everything was taken away; noise of the others stays what it was.
    changed[(chosen > 0) & (changed < 0) & (changed > -_ROUNDING)] = 0
    return radiograph.with_line_integral(changed.astype(np.float32), record)


def _exceeds(chosen: FloatArray, most: FloatArray | Float32Array) -> bool:
    return bool((chosen > np.maximum(most, 0) + _ROUNDING).any())


def _below_zero(radiograph: Radiograph, chosen: Sequence[int]) -> FloatArray:
    """Return what all but the chosen structures take from a line integral, not above 0, as air's noise in 1/mm does."""
    below = np.zeros(radiograph.line_integral.shape)
    below += np.minimum(radiograph.images.get("background_line_integral", 0.0), 0)
    for place, share in enumerate(radiograph.label_line_integral.values()):
        if place not in chosen:
            below += np.minimum(share, 0)
    return below
