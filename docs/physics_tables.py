"""Makes the physics tables in drrproj/data, so that every number of them can be traced and made again.

    pip install xraylib==4.3.0 spekpy==2.5.4
    python docs/physics_tables.py drrproj/data

`element_attenuation.csv` is xraylib's CS_Total, `tungsten_12deg.csv` and `air_energy_absorption.csv` are spekpy's. What
is typed from the literature, `materials.csv` and `schneider_2000.csv`, is not made here.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import spekpy
import xraylib

LOWEST_KEV, HIGHEST_KEV = 10, 150
# Where attenuation bends most, half a keV keeps the error between two rows below 1e-4.
HALF_STEPS_UP_TO_KEV = 60
# Tissue, contrast media, implants, filters, shielding and detectors.
ELEMENTS = (
    *("H", "C", "N", "O", "F", "Na", "Mg", "Al", "Si", "P", "S", "Cl", "Ar", "K", "Ca", "Ti", "V", "Cr", "Mn", "Fe"),
    *("Co", "Ni", "Cu", "Zn", "Se", "Br", "Y", "Zr", "Nb", "Mo", "Ag", "Cd", "Sn", "Sb", "Te", "I", "Cs", "Ba", "La"),
    *("Ce", "Gd", "Tb", "Ta", "W", "Pt", "Au", "Hg", "Pb", "Bi"),
)
SHELLS = (xraylib.K_SHELL, xraylib.L1_SHELL, xraylib.L2_SHELL, xraylib.L3_SHELL)
# xraylib's cross sections jump some eV beside the edge energies that it lists.
AROUND_AN_EDGE_KEV = 0.02

PEAK_KILOVOLTS = range(50, 151)
ANODE_ANGLE_DEG = 12
SPEKPY_STEP_KEV = 0.5


def jump(number: int, shell: int) -> tuple[float, float]:
    """Return the energies just below and just above the jump of an element's attenuation at an absorption edge."""
    edge = xraylib.EdgeEnergy(number, shell)
    below, above = edge - AROUND_AN_EDGE_KEV, edge + AROUND_AN_EDGE_KEV
    while above - below > 1e-6:
        middle = (below + above) / 2
        if xraylib.CS_Total(number, middle) - xraylib.CS_Total(number, below) > (
            xraylib.CS_Total(number, above) - xraylib.CS_Total(number, middle)
        ):
            above = middle
        else:
            below = middle
    return below, above


def element_rows() -> Iterator[str]:
    """Yield the mass attenuation of elements by energy, with two rows of one energy at every absorption edge."""
    numbers = [xraylib.SymbolToAtomicNumber(element) for element in ELEMENTS]
    steps = [*np.arange(LOWEST_KEV, HALF_STEPS_UP_TO_KEV, 0.5), *range(HALF_STEPS_UP_TO_KEV, HIGHEST_KEV + 1)]
    energies = [(float(kev), float(kev)) for kev in steps]
    for number in numbers:
        for shell in SHELLS:
            # Light elements have no shell as deep as this.
            if number > 30 and LOWEST_KEV < xraylib.EdgeEnergy(number, shell) < HIGHEST_KEV:
                below, above = jump(number, shell)
                energies += [(above, below), (above, above)]
    yield f"# Total mass attenuation in cm2/g, with coherent scattering: CS_Total of xraylib {xraylib.__version__}."
    yield "# An energy that stands twice is an absorption edge, below and above. Made by docs/physics_tables.py."
    yield ",".join(["keV", *ELEMENTS])
    for energy, evaluated in sorted(energies):
        yield ",".join([f"{energy:.7g}", *(f"{xraylib.CS_Total(number, evaluated):.6g}" for number in numbers)])


def air_rows() -> Iterator[str]:
    """Yield the mass energy-absorption of dry air at spekpy's own energies."""
    path = Path(spekpy.__file__).parent / "data" / "tables" / "pene_muen_air.dat"
    table = json.loads(path.read_text(encoding="utf-8"))
    yield "# Mass energy-absorption coefficient of dry air in cm2/g, to be interpolated log against log."
    yield f"# PENELOPE's, as spekpy {spekpy.__version__} has it (pene_muen_air). Made by docs/physics_tables.py."
    yield "keV,air"
    for energy, absorption in zip(table["photon energy"], table["muen_over_rho_air"], strict=True):
        if LOWEST_KEV <= energy * 1e3 <= HIGHEST_KEV:
            yield f"{energy * 1e3:g},{absorption:.6g}"


def fluence(kilovolts: int) -> np.ndarray:
    """Return photons per cm2, mAs and 1 keV bin at 1 m, without filter; the first bin begins at LOWEST_KEV."""
    tube = spekpy.Spek(kvp=kilovolts, th=ANODE_ANGLE_DEG, dk=SPEKPY_STEP_KEV, z=100.0)
    energies, per_kev = tube.get_spectrum(edges=False, diff=True)
    # The centres of spekpy's bins: half of its step off the edges of ours, so that none is cut.
    bins = np.floor(energies).astype(int) - LOWEST_KEV
    inside = bins >= 0
    return np.bincount(bins[inside], per_kev[inside] * SPEKPY_STEP_KEV, minlength=HIGHEST_KEV - LOWEST_KEV)


def tungsten_rows() -> Iterator[str]:
    """Yield the spectra of a tungsten tube, one column for each peak voltage."""
    spectra = np.stack([fluence(kilovolts) for kilovolts in PEAK_KILOVOLTS])
    yield "# Photons per cm2, mAs and bin of 1 keV, 1 m from the focus of a tungsten anode of 12 degrees, without any"
    yield "# filter, by peak kilovolts; keV is the middle of the bin. Made by docs/physics_tables.py."
    yield f"# spekpy {spekpy.__version__}, its default model, steps of {SPEKPY_STEP_KEV:g} keV."
    yield ",".join(["keV", *map(str, PEAK_KILOVOLTS)])
    for row, counts in enumerate(spectra.T):
        yield ",".join([f"{LOWEST_KEV + row + 0.5:g}", *(f"{count:.5g}" for count in counts)])


def main() -> None:
    """Write the three tables into the folder that the command names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where the tables go, such as drrproj/data")
    folder = parser.parse_args().folder
    tables: dict[str, Iterable[str]] = {
        "element_attenuation.csv": element_rows(),
        "air_energy_absorption.csv": air_rows(),
        "tungsten_12deg.csv": tungsten_rows(),
    }
    for name, rows in tables.items():
        (folder / name).write_text("\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
