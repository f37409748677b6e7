"""Pictures in the style of PAXRay: the authors' own chain to the last bit, and the same chain on true physics.

:func:`faithful` does what the authors' released code does: it sums the voxels along an array axis, ignores their size
and ends in 8 bits of 512 x 512. :func:`physical` runs the same transfer functions on line integrals in mm, from any
beam, on square pixels. :func:`matsubara` is the published chain that both descend from. The modes share the names of
the transfer functions and no option: what belongs to one is refused by the other.

Facts about the code: ConstantinSeibold/CT-Xray-Projections, commit b78b967 (MIT licence).
"""

from __future__ import annotations

from drrproj.paxray.faithful import faithful, faithful_masks
from drrproj.paxray.matsubara import matsubara
from drrproj.paxray.physical import GAMMA, physical
from drrproj.paxray.transfers import TRANSFERS

__all__ = ["GAMMA", "TRANSFERS", "faithful", "faithful_masks", "matsubara", "physical"]
