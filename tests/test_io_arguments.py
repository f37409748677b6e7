"""What is written comes second: a path and a radiograph that were exchanged are told, whatever the writer."""

from __future__ import annotations

import numpy as np
import pytest

import drrproj
from drrproj.io.label_names import read_label_names

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


CT = drrproj.Volume(np.zeros((9, 9, 9), np.int16), np.eye(4))
LABELS = drrproj.LabelVolume(np.ones((9, 9, 9), np.uint8), np.eye(4), {1: "lung_left"})
VIEW = drrproj.Geometry.radiograph("PA", CT, shape=(9, 9))
POINTS = drrproj.io.Landmarks(("middle",), CT.center[None])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: LABELS.with_groups(["lung_*"]),
            r"groups must name their members, {\"lungs\": \[\"lung_\*\"\]}; got \[",
        ),
        (lambda: drrproj.write_png("p.png", drrproj.project(CT, VIEW), display="film"), r"Display\(0, 6\); got 'film'"),
        (lambda: drrproj.io.label_color(5), r"structure's name; got 5; pass labels.name_of\(id\)"),
        (
            lambda: drrproj.write_projected_landmarks("p.csv", VIEW, POINTS),
            r"landmarks must be .*, and the views come after them; got Geometry.*; pass what read_landmarks\(\)",
        ),
        (lambda: drrproj.write_projected_landmarks("p.csv", POINTS, POINTS), "views must be a drrproj.Geometry.*; got"),
        (lambda: drrproj.write_projected_landmarks("p.csv", POINTS, ["PA"]), "views must be .*; got 'PA'"),
        (lambda: drrproj.read_volume(None), "path must be the name of a file or folder, such as 'ct.nii.gz'; got None"),
        # Python would take 0 for its standard input, and a file that is open already would be read.
        (lambda: drrproj.read_volume(0), "path must be the name of a file or folder.*; got 0"),
        (lambda: drrproj.read_labels(123), "path must be the name of a file or folder.*; got 123"),
        (lambda: drrproj.read_npz(0), "path must be the name of a file or folder.*; got 0"),
        (lambda: drrproj.read_landmarks(None), "path must be the name of a file or folder.*; got None"),
        (lambda: read_label_names(None), "path must be the name of a file or folder.*; got None"),
        (lambda: drrproj.read_labels("seg.nii.gz", names=5), "path must be the name of a file or folder.*; got 5"),
        (lambda: drrproj.read_geometry(0), "path must be the name of a file or folder.*; got 0"),
        (lambda: drrproj.project(CT, "PA"), r"got 'PA'; make one, such as Geometry.radiograph\(\"PA\", volume\)"),
        (lambda: drrproj.project("ct.nii.gz", VIEW), r"got the path 'ct.nii.gz'; pass read_volume\(\) of it"),
        (lambda: drrproj.project(CT, VIEW, labels="seg.nii.gz"), r"got the path 'seg.nii.gz'; pass read_labels\(\) of"),
    ],
)
def test_what_is_no_such_value_is_told_with_the_way_out(call, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TypeError, match=said):
        call()
    assert list(tmp_path.iterdir()) == []
