"""The command line with DICOM: series, structures, pose and pictures."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from synthetic_dicom import STRAIGHT, STUDY, circle, ct_values, write_ct, write_rtstruct

import drrproj
from drrproj.cli import main

WITH_DICOM = re.compile(r"dicom_folder|\.dcm")
SHAPE = ("--shape", 24, 32)


def run(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path):
    """Two series, and contours on the first."""
    write_ct(tmp_path / "in" / "a", ct_values())

    def change(dataset, k):
        dataset.SeriesInstanceUID, dataset.SeriesDescription, dataset.SeriesNumber = "1.2.3.4", "Lung", 7

    write_ct(tmp_path / "in" / "b", ct_values(seed=9), change=change)
    rois = {
        name: [(circle(STRAIGHT, center, radius, k), "CLOSED_PLANAR") for k in range(2, 9)]
        for name, center, radius in (("BODY", (12, 10), 9), ("heart", (9, 8), 4), ("lung left", (17, 11), 3))
    }
    write_rtstruct(tmp_path / "rs.dcm", rois)
    return tmp_path


def test_one_of_several_series(folder, capsys):
    assert run("project", folder / "in", "-o", folder / "out") == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "2 CT series: " in err
    assert "'Lung' (number 7, 12 slices, 1.2.3.4)" in err
    for series in ("Lung", "7"):
        out = folder / series
        assert run("project", folder / "in", "--series", series, *SHAPE, "--npz", "-o", out) == 0
        shot = drrproj.read_npz(out / "radiograph.npz")
        ct = drrproj.read_volume(folder / "in" / "b")
        expected = drrproj.project(ct, drrproj.Geometry.radiograph("PA", ct, shape=(24, 32)))
        np.testing.assert_array_equal(shot.line_integral, expected.line_integral)


def test_contours_are_listed_as_the_sentence_about_an_unknown_one_says(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert run("project", "in/a", "--labels", "rs.dcm", "--structures", "hart", *SHAPE, "-o", "out") == 2
    said = re.search(r"did you mean heart\? \((drrproj info .*) lists all\)\n$", capsys.readouterr().err)
    assert main(shlex.split(said[1])[1:]) == 0
    assert "2 heart\n" in capsys.readouterr().out
    assert run("info", "rs.dcm") == 2
    assert "drawn on the slices of a CT; add --ct CT\n" in capsys.readouterr().err


def test_structures_and_pictures_as_dicom(folder):
    out = folder / "out"
    chosen = ["--labels", folder / "rs.dcm", "--structures", "heart", "lung left"]
    assert run("project", folder / "in" / "a", *chosen, "--view", "AP", *SHAPE, "--dicom", "-o", out) == 0
    assert {file.name for file in out.iterdir()} == {"AP.png", "AP.json", "AP_overlay.png", "AP.dcm", "AP_seg.dcm"}
    image, seg = (pydicom.dcmread(out / name) for name in ("AP.dcm", "AP_seg.dcm"))
    assert image.StudyInstanceUID == seg.StudyInstanceUID == STUDY
    assert [item.SegmentLabel for item in seg.SegmentSequence] == ["heart", "lung left"]
    display = json.loads((out / "AP.json").read_text())["display"]
    slope = image.RealWorldValueMappingSequence[0].RealWorldValueSlope
    np.testing.assert_allclose(
        (float(image.WindowCenter) - 0.5) * slope, (display["low"] + display["high"]) / 2, rtol=1e-5
    )


@pytest.mark.parametrize("kind", ["nifti", "stripped"])
def test_all_views_of_a_run_are_of_one_study_and_one_warning_says_so(folder, kind, capsys):
    def strip(dataset, k):
        del dataset.StudyInstanceUID

    path = folder / kind
    if kind == "nifti":
        ct = drrproj.read_volume(folder / "in" / "a")
        nibabel.save(nibabel.Nifti1Image(ct.array, ct.affine), path.with_suffix(".nii"))
        path = path.with_suffix(".nii")
    else:
        write_ct(path, ct_values(), change=strip)
    for run_of in ("first", "second"):
        out = folder / run_of
        assert run("project", path, "--view", "PA", "--view", "LL", *SHAPE, "--dicom", "-o", out) == 0
        assert capsys.readouterr().err.count("StudyInstanceUID") == (kind == "stripped")
    images = [pydicom.dcmread(folder / out / f"{view}.dcm") for out in ("first", "second") for view in ("PA", "LL")]
    assert len({image.StudyInstanceUID for image in images}) == 1
    patients = {image.PatientID for image in images}
    assert len(patients) == 1
    assert patients == {"1"} if kind == "stripped" else patients.pop().startswith("SIMULATED-")


@pytest.mark.parametrize("zipped", [False, True])
def test_the_picture_is_of_the_patient_and_study_of_the_series_that_was_read(tmp_path, zipped):
    path = tmp_path / "in"
    for number, patient in enumerate(("ANNA", "BOB"), 1):

        def change(dataset, k, number=number, patient=patient):
            dataset.PatientID, dataset.StudyInstanceUID = patient, f"1.2.3.{number}"
            dataset.SeriesInstanceUID, dataset.SeriesDescription = f"1.2.3.{number}.1", f"of {patient}"

        write_ct(path / patient, ct_values(seed=number), change=change)
    # An object of Anna's that comes first, and is no series to choose.
    anna = pydicom.dcmread(path / "ANNA" / "IM0000")
    anna.Modality, anna.SeriesInstanceUID, anna.SeriesDescription = "MR", "1.2.3.1.2", "of BOB"
    anna.save_as(path / "A", enforce_file_format=True)
    if zipped:
        path = Path(shutil.make_archive(str(tmp_path / "in"), "zip", path))
    for number, patient in enumerate(("ANNA", "BOB"), 1):
        out = tmp_path / patient
        assert run("project", path, "--series", f"of {patient}", *SHAPE, "--dicom", "-o", out) == 0
        image = pydicom.dcmread(out / "PA.dcm")
        assert (image.PatientID, image.StudyInstanceUID) == (patient, f"1.2.3.{number}")


def test_the_pose_of_an_x_ray_file(folder):
    ct = drrproj.read_volume(folder / "in" / "a")
    arm = drrproj.Geometry.c_arm(
        sdd=1000,
        sod=700,
        isocenter=ct.center,
        primary_angle=40,
        secondary_angle=5,
        pixel_spacing=3,
        shape=(20, 30),
    )
    drrproj.write_dicom(folder / "arm.dcm", drrproj.project(ct, arm))
    assert run("project", folder / "in" / "a", "--pose", folder / "arm.dcm", "--npz", "-o", folder / "out") == 0
    shot = drrproj.read_npz(folder / "out" / "radiograph.npz")
    assert (shot.geometry.names, shot.geometry.shape) == (("arm",), (20, 30))
    np.testing.assert_allclose(shot.geometry.views, arm.views, atol=1e-5)
    other = ct.center + np.array([3, -4, 5])
    moved = ["--isocenter", *other, "--sod", 800]
    assert (
        run("project", folder / "in" / "a", "--pose", folder / "arm.dcm", *moved, "--npz", "-o", folder / "moved") == 0
    )
    view = drrproj.read_npz(folder / "moved" / "radiograph.npz").geometry
    np.testing.assert_allclose(view.project_points(other), [[[9.5, 14.5]]], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(view.sources[0] - other), 800)


def test_points_in_a_picture_that_does_not_say_where_the_ct_lies(folder, capsys):
    ct = drrproj.read_volume(folder / "in" / "a")
    view = drrproj.Geometry.radiograph("PA", ct, shape=(20, 30))
    drrproj.write_dicom(folder / "pa.dcm", drrproj.project(ct, view))
    foreign = pydicom.dcmread(folder / "pa.dcm")
    foreign.remove_private_tags()
    foreign.save_as(folder / "foreign.dcm")
    (folder / "points.csv").write_text("name,x,y,z\ncarina,1,2,3\n")
    assert run("points", folder / "points.csv", folder / "pa.dcm", "-o", folder / "out.csv") == 0
    capsys.readouterr()
    assert run("points", folder / "points.csv", folder / "foreign.dcm", "-o", folder / "other.csv") == 2
    said = capsys.readouterr().err
    assert "foreign.dcm: it does not say where the patient's CT lies; make a picture of it" in said
    assert "isocenter" not in said


def test_a_missing_library_is_one_line(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    assert run("project", folder / "in", "-o", folder / "out") == 1
    assert capsys.readouterr().err.endswith('pip install pydicom, or the extra "dicom"\n')


def test_the_examples_with_dicom_in_the_help_are_valid(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hu = ct_values()
    write_ct(tmp_path / "dicom_folder", hu)
    rois = {
        name: [(circle(STRAIGHT, center, 3, k), "CLOSED_PLANAR") for k in range(2, 9)]
        for name, center in (("heart", (9, 8)), ("lung left", (17, 11)))
    }
    write_rtstruct(tmp_path / "rtstruct.dcm", rois)
    ct = drrproj.read_volume("dicom_folder")
    np.savez("ct", array=ct.array, affine=ct.affine)
    Path("ct.npz").rename("ct.nii.gz")  # contents decide, not names
    arm = drrproj.Geometry.c_arm(
        sdd=1000, sod=700, isocenter=ct.center, primary_angle=0, secondary_angle=0, pixel_spacing=3, shape=(20, 30)
    )
    drrproj.write_dicom("angiogram.dcm", drrproj.project(ct, arm))
    with pytest.raises(SystemExit):
        run("project", "--help")
    said = capsys.readouterr().out.splitlines()
    examples = [shlex.split(line)[1:] for line in said if line.startswith("    drrproj") and WITH_DICOM.search(line)]
    assert len(examples) == 3
    for example in examples:
        assert main([*example, "--overwrite"]) == 0, example
