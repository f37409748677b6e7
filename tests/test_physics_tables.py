"""The shipped tables are what the script makes of xraylib and spekpy."""

from __future__ import annotations

import csv
import importlib.util
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def script():
    for name in ("xraylib", "spekpy"):
        pytest.importorskip(name, reason="the tables are made from it, at development time only")
    spec = importlib.util.spec_from_file_location("physics_tables", ROOT / "docs" / "physics_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def columns(lines):
    header, *rows = csv.reader(line for line in lines if not line.startswith("#"))
    return header, np.array(rows, dtype=np.float64)


def shipped(name):
    return columns((files("drrproj") / "data" / name).read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize(
    ("name", "rows"), [("element_attenuation.csv", "element_rows"), ("air_energy_absorption.csv", "air_rows")]
)
def test_coefficients_are_made_by_the_script(script, name, rows):
    header, values = columns(getattr(script, rows)())
    assert shipped(name)[0] == header
    np.testing.assert_allclose(shipped(name)[1], values, rtol=1e-5)


@pytest.mark.parametrize("kilovolts", [50, 93, 150])
def test_spectra_are_made_by_the_script(script, kilovolts):
    header, values = shipped("tungsten_12deg.csv")
    np.testing.assert_allclose(values[:, header.index(str(kilovolts))], script.fluence(kilovolts), rtol=1e-4, atol=1)
