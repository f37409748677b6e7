"""What is written comes second: a path and a radiograph that were exchanged are told, whatever the writer."""

from __future__ import annotations

import numpy as np
import pytest

import drrproj

WRITERS = ("png", "overlay", "nifti", "npz", "sidecar", "dicom", "coco", "structure_table")


@pytest.mark.parametrize("name", WRITERS)
def test_exchanged_arguments_are_told(name, tmp_path, monkeypatch):
    if name == "dicom":
        pytest.importorskip("pydicom", reason="pydicom is not installed (extra dicom)")
    if name == "coco":
        pytest.importorskip("pycocotools", reason="pycocotools is not installed (extra dataset)")
    monkeypatch.chdir(tmp_path)
    ct = drrproj.Volume(np.zeros((9, 9, 9), np.int16), np.eye(4))
    shot = drrproj.project(ct, drrproj.Geometry.radiograph("PA", ct, shape=(9, 9)))
    with pytest.raises(TypeError, match=r"^the path of the file comes first.*got Radiograph for the path$"):
        getattr(drrproj, f"write_{name}")(shot, "pa.png")
    assert list(tmp_path.iterdir()) == []
