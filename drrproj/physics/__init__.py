"""From line integrals to what a detector measures: materials, spectra, detectors, noise, blur and scatter.

The way through it, each step a value that the next one takes::

    paths = physics.material_paths(ct, views)  # g/cm2 of each material along each ray
    beam = physics.tungsten(120, {"aluminium": 4.3})
    signal = physics.polychromatic(paths, beam, physics.Detector("energy", "CsI", 0.6))
    film = physics.acquire(signal, exposure=physics.Exposure(mas=2), seed=1)
    film.line_integral  # -ln(I / I0), with noise
"""

from __future__ import annotations

from drrproj.physics.acquisition import Exposure, Scatter, acquire
from drrproj.physics.detector import COUNTING, INTEGRATING, Detector
from drrproj.physics.paths import MaterialPaths, material_paths
from drrproj.physics.recompose import recompose
from drrproj.physics.signal import Signal, monochromatic, polychromatic
from drrproj.physics.spectrum import Spectrum, from_spekpy, monoenergetic, tungsten
from drrproj.physics.tissues import TissueClass, TissueModel, deepdrr, schneider, water_bone

__all__ = [
    "COUNTING",
    "INTEGRATING",
    "Detector",
    "Exposure",
    "MaterialPaths",
    "Scatter",
    "Signal",
    "Spectrum",
    "TissueClass",
    "TissueModel",
    "acquire",
    "deepdrr",
    "from_spekpy",
    "material_paths",
    "monochromatic",
    "monoenergetic",
    "polychromatic",
    "recompose",
    "schneider",
    "tungsten",
    "water_bone",
]
