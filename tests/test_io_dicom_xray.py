"""X-ray DICOM: views from an X-ray file's tags, and radiographs and masks as DICOM that others accept."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from device_stand_ins import stand_in
from synthetic_dicom import STUDY, XRAY_TAGS, ct_values, write_ct, write_xray

import drrproj
from drrproj import physics

ISOCENTER = np.array([12.0, -30.0, 55.0])


def pose_of_the_standard(primary, secondary, sdd=1100.0, sod=750.0, spacing=(0.4, 0.3), shape=(64, 80)):
    """Source and pixels by turning a PA view about the patient's length for LAO, after about the side for cranial."""
    p, s = np.radians(primary), np.radians(secondary)
    about_length = np.array([[np.cos(p), -np.sin(p), 0], [np.sin(p), np.cos(p), 0], [0, 0, 1]])
    about_side = np.array([[1, 0, 0], [0, np.cos(s), -np.sin(s)], [0, np.sin(s), np.cos(s)]])
    turn = about_length @ about_side
    source = ISOCENTER + turn @ [0, -sod, 0]
    row, column = np.indices(shape)
    x = -(column - (shape[1] - 1) / 2) * spacing[1]  # the patient's right, +x in RAS, on image left
    z = -(row - (shape[0] - 1) / 2) * spacing[0]
    pixels = ISOCENTER + np.stack([x, np.full(shape, sdd - sod), z], axis=-1) @ turn.T
    return source, pixels


def assert_pose(view, source, pixels):
    np.testing.assert_allclose(view.sources[0], source, atol=1e-9)
    rows, columns = view.shape
    for row, column in ((0, 0), (0, columns - 1), (rows - 1, 0), (rows - 1, columns - 1)):
        np.testing.assert_allclose((view.views[0] @ [0, 1, row, column])[:3], pixels[row, column], atol=1e-9)


# --- pose in ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("primary", "secondary"), [(0, 0), (30, -15), (-90, 0), (90, 25), (-120, 40), (180, 0)])
@pytest.mark.parametrize("modality", ["XA", "RF", "DX", "CR"])
def test_the_tags_are_the_pose(tmp_path, primary, secondary, modality):
    path = write_xray(
        tmp_path / "x.dcm",
        Modality=modality,
        PositionerPrimaryAngle=str(primary),
        PositionerSecondaryAngle=str(secondary),
    )
    view = drrproj.read_geometry(path, ISOCENTER)
    assert (view.shape, view.names) == ((64, 80), ("x",))
    assert_pose(view, *pose_of_the_standard(primary, secondary))


@pytest.mark.parametrize(
    ("file", "view"),
    [
        ("1.2.840.1.5", "1.2.840.1.5"),
        ("1.2.840.1.6", "1.2.840.1.6"),
        ("1.2.840.1.5.dcm", "1.2.840.1.5"),
        ("run.2.IMA", "run.2"),
        ("arm.DICOM", "arm"),
        ("IM0001", "IM0001"),
    ],
)
def test_the_view_is_called_as_the_file_without_its_ending(tmp_path, file, view):
    """Of a UID nothing is taken away, or all pictures of a series would be called alike."""
    assert drrproj.read_geometry(write_xray(tmp_path / file), ISOCENTER).names == (view,)


def test_lao_and_cranial_are_positive(tmp_path):
    """PS3.3 C.8.7.5.1.2: the detector moves to the patient's left for +, and towards the head for +."""
    for name, side in (("PositionerPrimaryAngle", 0), ("PositionerSecondaryAngle", 2)):
        path = write_xray(
            tmp_path / "x.dcm", **{"PositionerPrimaryAngle": "0", "PositionerSecondaryAngle": "0", name: "40"}
        )
        towards_detector = drrproj.read_geometry(path, ISOCENTER).centers[0] - ISOCENTER
        assert towards_detector[side] * (-1 if side == 0 else 1) > 100


@pytest.mark.parametrize(
    ("increments", "angles"),
    [({}, [30, 30, 30]), (["0", "5", "12.5"], [30, 35, 42.5]), ("4", [30, 34, 38]), (["10", "20", "5"], [40, 50, 35])],
)
def test_frames_have_their_own_angles(tmp_path, increments, angles):
    changes = {"PositionerPrimaryAngleIncrement": increments} if increments else {}
    path = write_xray(tmp_path / "run.dcm", NumberOfFrames=3, **changes)
    views = drrproj.read_geometry(path, ISOCENTER)
    assert views.names == ("run_1", "run_2", "run_3")
    for view, angle in zip(views, angles, strict=True):
        assert_pose(view, *pose_of_the_standard(angle, -15))


@pytest.mark.parametrize(
    ("keyword", "argument"),
    [
        ("DistanceSourceToDetector", "sdd"),
        ("DistanceSourceToPatient", "sod"),
        ("PositionerPrimaryAngle", "primary_angle"),
        ("PositionerSecondaryAngle", "secondary_angle"),
        ("ImagerPixelSpacing", "pixel_spacing"),
    ],
)
def test_a_missing_tag_is_named_and_may_be_given(tmp_path, keyword, argument):
    tag = f"{pydicom.datadict.tag_for_keyword(keyword):08x}"
    path = write_xray(tmp_path / "x.dcm", **{keyword: None}, PixelSpacing=["9", "9"])
    with pytest.raises(
        ValueError, match=rf"x\.dcm: it has no {keyword} \({tag[:4]},{tag[4:]}\); pass {argument}= where you know it"
    ):
        drrproj.read_geometry(path, ISOCENTER)
    value = XRAY_TAGS[keyword]
    given = [float(item) for item in value] if isinstance(value, list) else float(value)
    assert_pose(drrproj.read_geometry(path, ISOCENTER, **{argument: given}), *pose_of_the_standard(30, -15))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"Modality": "CT"}, r"its Modality \(0008,0060\) is CT; an X-ray's is one of XA, RF, DX, CR"),
        ({"DistanceSourceToDetector": "0"}, r"it has no DistanceSourceToDetector \(0018,1110\)"),
        ({"Rows": None}, r"it has no Rows \(0028,0010\)"),
        ({"ImagerPixelSpacing": ["0.4"]}, r"its ImagerPixelSpacing \(0018,1164\) must be 2 finite numbers"),
        ({"DistanceSourceToPatient": "1200"}, "sod must be below sdd"),
        (
            {"FieldOfViewRotation": "90"},
            r"turned or mirrored after the exposure: FieldOfViewRotation \(0018,7032\) is 90",
        ),
        ({"FieldOfViewHorizontalFlip": "YES"}, r"FieldOfViewHorizontalFlip \(0018,7034\) is YES"),
        (
            {"DetectorPrimaryAngle": "12"},
            r"not perpendicular to its detector: DetectorPrimaryAngle \(0018,1530\) is 12",
        ),
        (
            {"PatientOrientation": ["R", "F"]},
            r"PatientOrientation \(0020,0020\) is R\\F, but .* rows would run towards L",
        ),
        ({"PatientOrientation": ["L", "H"]}, r"its columns would run towards F"),
        ({"PositionerSecondaryAngle": "0", "PatientOrientation": ["LF", "FR"]}, r"its rows would run towards L"),
        (
            {"NumberOfFrames": 3, "PositionerSecondaryAngleIncrement": ["0", "1"]},
            r"its PositionerSecondaryAngleIncrement \(0018,1521\) has 2 values for 3 frames",
        ),
        (
            {"PositionerPrimaryAngle": None, "PerFrameFunctionalGroupsSequence": []},
            "it is an enhanced multi-frame file, whose functional groups are not read",
        ),
    ],
)
def test_tags_that_fix_no_pose(tmp_path, changes, match):
    with pytest.raises(ValueError, match=match):
        drrproj.read_geometry(write_xray(tmp_path / "x.dcm", **changes), ISOCENTER)


def test_what_else_is_refused(tmp_path):
    path = write_xray(tmp_path / "x.dcm")
    with pytest.raises(ValueError, match=r"pass the isocenter in the CT's world, such as ct\.center"):
        drrproj.read_geometry(path)
    with pytest.raises(ValueError, match="primary_angle must be one angle or 1, one per frame; got 2"):
        drrproj.read_geometry(path, ISOCENTER, primary_angle=[1, 2])
    with pytest.raises(FileNotFoundError, match="no such file"):
        drrproj.read_geometry(tmp_path / "nowhere", ISOCENTER)
    with pytest.raises(ValueError, match="is a folder; pass one X-ray DICOM file"):
        drrproj.read_geometry(tmp_path, ISOCENTER)
    (tmp_path / "DICOMDIR").write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match="it is a DICOMDIR, which lists files"):
        drrproj.read_geometry(tmp_path / "DICOMDIR", ISOCENTER)


@pytest.mark.parametrize("name", ["AP", "PA", "LL", "RL"])
def test_a_view_position_without_angles(tmp_path, name):
    ct = drrproj.Volume(np.zeros((40, 30, 20), np.int16), np.diag([0.4, 0.5, 0.7, 1]))
    wanted = drrproj.Geometry.radiograph(name, ct, shape=(64, 80), pixel_spacing=(0.4, 0.3))
    path = write_xray(
        tmp_path / "x.dcm",
        Modality="DX",
        ViewPosition=name,
        PositionerPrimaryAngle=None,
        PositionerSecondaryAngle=None,
        DistanceSourceToDetector="1800",
        DistanceSourceToPatient=str(np.linalg.norm(ct.center - wanted.sources[0])),
        PatientOrientation=["L", "F"] if name in ("AP", "PA") else ["P" if name == "LL" else "A", "F"],
    )
    np.testing.assert_allclose(drrproj.read_geometry(path, ct.center).views, wanted.views, atol=1e-9)


# --- DX out -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ct():
    hu = np.full((24, 20, 16), -1000, np.int16)
    hu[2:-2, 2:-2] = 0
    hu[15:20, 13:17, 9:13] = 1500
    return drrproj.Volume(hu, np.diag([-5.0, 5.0, 8.0, 1.0]))


def arm(ct):
    return drrproj.Geometry.c_arm(
        sdd=1200,
        sod=800,
        isocenter=ct.center,
        primary_angle=25,
        secondary_angle=-10,
        pixel_spacing=(2.5, 3.0),
        shape=(40, 56),
        names=["lao25"],
    )


VIEWS = {
    **{
        name: lambda ct, name=name: drrproj.Geometry.radiograph(name, ct, shape=(40, 56)) for name in ("AP", "LL", "RL")
    },
    "PA parallel": lambda ct: drrproj.Geometry.radiograph("PA", ct, shape=(40, 56), beam="parallel"),
    "C-arm": arm,
    "rolled": lambda ct: drrproj.Geometry.cone((0, 900, 60), (20, -300, 50), (2, 0, -2), (-2, 0, -2), (40, 56)),
}


def dciodvfy(path):
    """Errors that the validator of dicom3tools finds."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy of dicom3tools is not on this machine")
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, timeout=60, check=False)
    said = done.stdout + done.stderr
    assert "Warning" in said or "Error" in said or "DXImage" in said or "Segmentation" in said, said
    return [line for line in said.splitlines() if line.startswith("Error")]


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("intent", ["presentation", "processing"])
def test_dciodvfy_finds_no_error(ct, tmp_path, name, intent):
    drrproj.write_dicom(tmp_path / "x.dcm", drrproj.project(ct, VIEWS[name](ct)), intent=intent)
    assert dciodvfy(tmp_path / "x.dcm") == []


def test_dciodvfy_finds_errors_where_there_are_some(ct, tmp_path):
    drrproj.write_dicom(tmp_path / "x.dcm", drrproj.project(ct, arm(ct)))
    dataset = pydicom.dcmread(tmp_path / "x.dcm")
    del dataset.ImagerPixelSpacing
    dataset.save_as(tmp_path / "x.dcm")
    assert dciodvfy(tmp_path / "x.dcm") != []


@pytest.mark.parametrize("name", VIEWS)
def test_the_pixels_are_the_line_integral(ct, tmp_path, name):
    shot = drrproj.project(ct, VIEWS[name](ct))
    drrproj.write_dicom(tmp_path / "x.dcm", shot)
    dataset = pydicom.dcmread(tmp_path / "x.dcm")
    mapping = dataset.RealWorldValueMappingSequence[0]
    values = dataset.pixel_array * mapping.RealWorldValueSlope + mapping.RealWorldValueIntercept
    assert shot.line_integral.max() > 1
    np.testing.assert_allclose(values, shot.line_integral[0], atol=0.5 / 4096 + 1e-6)
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "1"


@pytest.mark.parametrize("name", VIEWS)
def test_the_record_gives_the_view_back(ct, tmp_path, name):
    view = VIEWS[name](ct)
    drrproj.write_dicom(tmp_path / "pa.dcm", drrproj.project(ct, view))
    again = drrproj.read_geometry(tmp_path / "pa.dcm")
    np.testing.assert_array_equal(again.views, view.views)
    assert (again.shape, again.names) == (view.shape, ("pa",))


def test_the_tags_give_the_pose_of_a_c_arm_back(ct, tmp_path):
    drrproj.write_dicom(tmp_path / "x.dcm", drrproj.project(ct, arm(ct)))
    dataset = pydicom.dcmread(tmp_path / "x.dcm")
    assert dataset.PositionerType == "CARM"
    stated = [dataset[name].value for name in list(XRAY_TAGS)[3:7]]
    np.testing.assert_allclose([float(value) for value in stated], [1200, 800, 25, -10], atol=1e-6)
    assert [float(value) for value in dataset.ImagerPixelSpacing] == [2.5, 3.0]
    assert float(dataset.EstimatedRadiographicMagnificationFactor) == 1.5
    np.testing.assert_allclose(drrproj.read_geometry(tmp_path / "x.dcm", ct.center).views, arm(ct).views, atol=1e-4)


def turned_about_z(ct, degrees):
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.eye(4)
    turn[:2, :2] = [[cosine, -sine], [sine, cosine]]
    turn[:3, 3] = ct.center - turn[:3, :3] @ ct.center
    return turn


OFF_CENTRE = {
    "tilted": lambda view: view.tilted(top=10),
    "shifted": lambda view: view.shifted(right=60),
    "cropped": lambda view: view.cropped(slice(0, 20), slice(10, 50)),
}


@pytest.mark.parametrize("how", OFF_CENTRE)
def test_a_beam_that_misses_the_middle_has_no_positioner_angles(ct, tmp_path, how):
    view = OFF_CENTRE[how](drrproj.Geometry.radiograph("PA", ct, shape=(40, 56)))
    path = tmp_path / "x.dcm"
    drrproj.write_dicom(path, drrproj.project(ct, view))
    dataset = pydicom.dcmread(path)
    beam = view.centers[0] - view.sources[0]
    assert dataset.PositionerType == "NONE"
    assert "PositionerPrimaryAngle" not in dataset
    np.testing.assert_allclose(float(dataset.DistanceSourceToDetector), np.linalg.norm(beam), rtol=1e-7)
    along = (ct.center - view.sources[0]) @ beam / np.linalg.norm(beam)
    np.testing.assert_allclose(float(dataset.DistanceSourceToPatient), along, rtol=1e-7)
    np.testing.assert_array_equal(drrproj.read_geometry(path).views, view.views)
    with pytest.raises(ValueError, match=r"central ray meets row .* cropped, shifted or tilted; leave out the isocen"):
        drrproj.read_geometry(path, ct.center)
    with pytest.raises(ValueError, match="cropped, shifted or tilted"):
        drrproj.read_geometry(path, sdd=1000)


def test_a_parallel_beam_is_not_read_by_its_tags(ct, tmp_path):
    drrproj.write_dicom(tmp_path / "x.dcm", drrproj.project(ct, VIEWS["PA parallel"](ct)))
    with pytest.raises(ValueError, match="its beam is parallel, which its tags cannot say"):
        drrproj.read_geometry(tmp_path / "x.dcm", ct.center, sdd=1800, sod=1500)


@pytest.mark.parametrize("degrees", [1, 30, 60, 89, 180])
def test_a_picture_turned_in_its_plane_is_not_read_by_its_tags(ct, tmp_path, degrees):
    view = drrproj.Geometry.radiograph("PA", ct, shape=(40, 56)).rolled(degrees)
    drrproj.write_dicom(tmp_path / "x.dcm", drrproj.project(ct, view))
    with pytest.raises(ValueError, match="it is stored mirrored or turned"):
        drrproj.read_geometry(tmp_path / "x.dcm", ct.center)


@pytest.mark.parametrize("beam", ["cone", "parallel"])
@pytest.mark.parametrize(("degrees", "is_still_pa"), [(0, True), (-20, True), (25, False), (90, False), (180, False)])
def test_a_view_is_named_by_its_beam_and_not_by_its_name_alone(ct, tmp_path, beam, degrees, is_still_pa):
    pa = drrproj.Geometry.radiograph("PA", ct, beam=beam, shape=(40, 56))
    drrproj.write_dicom(tmp_path / "x.dcm", drrproj.project(ct, pa.moved(turned_about_z(ct, degrees))))
    dataset = pydicom.dcmread(tmp_path / "x.dcm")
    assert ("ViewPosition" in dataset, "ViewCodeSequence" in dataset) == (is_still_pa, is_still_pa)


@pytest.mark.parametrize(("name", "along"), [("AP", ["L", "F"]), ("LL", ["P", "F"]), ("RL", ["A", "F"])])
def test_the_picture_says_where_the_patient_is(ct, tmp_path, name, along):
    drrproj.write_dicom(tmp_path / "x.dcm", drrproj.project(ct, VIEWS[name](ct)))
    dataset = pydicom.dcmread(tmp_path / "x.dcm")
    assert (list(dataset.PatientOrientation), dataset.ViewPosition) == (along, name)
    # The dense ball lies in the patient's right front (the first voxel axis runs to the left): image left in AP.
    if name == "AP":
        column = np.argmax(dataset.pixel_array) % 56
        lies_right = ct.affine[0, 0] * 17 + ct.affine[0, 3] > ct.center[0]
        assert (column < 28) == lies_right


def test_the_file_says_that_it_is_simulated(ct, tmp_path):
    drrproj.write_dicom(tmp_path / "x.dcm", drrproj.project(ct, arm(ct)), intent="processing")
    dataset = pydicom.dcmread(tmp_path / "x.dcm")
    assert list(dataset.ImageType) == ["DERIVED", "SECONDARY", ""]
    assert dataset.SeriesDescription == "Simulated radiograph lao25"
    assert "not taken with X-rays" in dataset.ImageComments
    assert "24 x 20 x 16 voxels (bilinear model, 70 keV)" in dataset.DerivationDescription
    assert (dataset.PresentationIntentType, "WindowCenter" in dataset) == ("FOR PROCESSING", False)


def test_the_window_is_that_of_the_png(ct, tmp_path):
    shot = drrproj.project(ct, arm(ct))
    drrproj.write_dicom(tmp_path / "x.dcm", shot, window=(1.0, 3.0))
    dataset = pydicom.dcmread(tmp_path / "x.dcm")
    shown = pydicom.pixels.apply_voi_lut(dataset.pixel_array, dataset) / 65535
    np.testing.assert_allclose(shown, np.clip((shot.line_integral[0] - 1) / 2, 0, 1), atol=2e-4)


def test_line_integrals_beyond_16_take_a_larger_step(tmp_path):
    lead = drrproj.Volume(np.full((20, 10, 20), 0.9), np.diag([4, 4, 4, 1]), unit="1/mm")
    shot = drrproj.project(lead, drrproj.Geometry.radiograph("PA", lead, shape=(20, 24)))
    drrproj.write_dicom(tmp_path / "x.dcm", shot)
    dataset = pydicom.dcmread(tmp_path / "x.dcm")
    slope = dataset.RealWorldValueMappingSequence[0].RealWorldValueSlope
    assert slope == 1 / 1024
    np.testing.assert_allclose(dataset.pixel_array * slope, shot.line_integral[0], atol=slope / 2 + 1e-5)


def exposed(shot):
    """The radiograph with noise, scatter and blur, which take open pixels below 0."""
    signal = physics.acquire(
        physics.monochromatic(shot),
        exposure=physics.Exposure(photons_per_pixel=500.0),
        seed=3,
        scatter=physics.Scatter(0.5, 40.0),
        detector_blur_mm=1.0,
    )
    return signal.as_radiograph()


@pytest.mark.parametrize("factor", [1, 100])
def test_noise_below_zero_is_stored_with_an_intercept(ct, tmp_path, factor):
    noisy = exposed(drrproj.project(ct, drrproj.Geometry.radiograph("PA", ct, pixel_spacing=8, shape=(40, 56))))
    noisy = dataclasses.replace(noisy, images={"line_integral": noisy.line_integral * np.float32(factor)})
    image = noisy.line_integral[0]
    assert image.min() < -0.03 * factor
    drrproj.write_dicom(tmp_path / "x.dcm", noisy, window=(-0.02 * factor, 2.0 * factor))
    dataset = pydicom.dcmread(tmp_path / "x.dcm")
    mapping = dataset.RealWorldValueMappingSequence[0]
    values = dataset.pixel_array * mapping.RealWorldValueSlope + mapping.RealWorldValueIntercept
    np.testing.assert_allclose(values, image, atol=0.502 * mapping.RealWorldValueSlope)
    assert mapping.RealWorldValueIntercept % mapping.RealWorldValueSlope == 0
    shown = pydicom.pixels.apply_voi_lut(dataset.pixel_array, dataset) / 65535
    np.testing.assert_allclose(shown, np.clip((image / factor + 0.02) / 2.02, 0, 1), atol=3e-4)


def test_dciodvfy_finds_no_error_in_one_with_noise(ct, tmp_path):
    drrproj.write_dicom(tmp_path / "x.dcm", exposed(drrproj.project(ct, VIEWS["PA parallel"](ct))))
    assert dciodvfy(tmp_path / "x.dcm") == []


def test_the_text_says_what_is_simulated(ct, tmp_path):
    def texts(shot):
        drrproj.write_dicom(tmp_path / "x.dcm", shot)
        dataset = pydicom.dcmread(tmp_path / "x.dcm")
        explained = dataset.RealWorldValueMappingSequence[0].LUTExplanation
        assert dataset.DerivationDescription.startswith(f"{explained} along each ray")
        return dataset.ImageComments, dataset.DerivationDescription

    shot = drrproj.project(ct, arm(ct))
    comments, derivation = texts(shot)
    assert "With " not in comments
    assert "Without beam of many energies, blur of the focal spot, scatter, quantum noise, blur of the det" in comments
    assert derivation.startswith("Line integral of linear attenuation")
    comments, derivation = texts(exposed(shot))
    assert "X-rays. With scatter, quantum noise, blur of the detector. Without beam of many energies, blur" in comments
    assert derivation.startswith("Minus logarithm of the signal over that of the open beam")
    assert "voxels (bilinear model, 70 keV)" in derivation
    beam = physics.tungsten(90, {"aluminium": 3.0})
    signal = physics.polychromatic(physics.material_paths(ct, arm(ct)), beam)
    comments, derivation = texts(signal.as_radiograph())
    assert "With beam of many energies. Without blur of the focal spot, scatter" in comments
    assert f"voxels (beam of many energies, 90 kVp, mean {beam.mean_energy_kev:.4g} keV)" in derivation
    raw = drrproj.Volume(np.full((9, 9, 9), 0.02), np.diag([9.0, 9.0, 9.0, 1.0]), unit="1/mm")
    assert "voxels (1/mm as given)" in texts(drrproj.project(raw, drrproj.Geometry.radiograph("PA", raw)))[1]


def test_the_picture_joins_a_patient_and_study(ct, tmp_path):
    def change(dataset, k):
        dataset.SpecificCharacterSet, dataset.PatientName = "ISO_IR 100", "Müller^Jürgen"

    slices = write_ct(tmp_path / "ct", ct_values(), change=change)
    shot = drrproj.project(ct, arm(ct))
    for study in (tmp_path / "ct", slices[3]):
        drrproj.write_dicom(tmp_path / "x.dcm", shot, study=study)
        dataset = pydicom.dcmread(tmp_path / "x.dcm")
        assert (dataset.StudyInstanceUID, dataset.PatientID) == (STUDY, "1")
        assert dataset.PatientName == "Müller^Jürgen"
        assert dataset.SeriesDescription == "Simulated radiograph lao25"
    first = dataset.SOPInstanceUID
    write_ct(tmp_path / "bare", ct_values(), change=lambda dataset, k: delattr(dataset, "StudyInstanceUID"))
    with pytest.warns(UserWarning, match="so its pictures have a study of their own"):
        drrproj.write_dicom(tmp_path / "x.dcm", shot, study=tmp_path / "bare")
    dataset = pydicom.dcmread(tmp_path / "x.dcm")
    assert (dataset.PatientID, dataset.StudyInstanceUID == STUDY) == ("1", False)
    assert dataset.SOPInstanceUID != first
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="no DICOM file, so it has no patient and study to join"):
        drrproj.write_dicom(tmp_path / "x.dcm", shot, study=tmp_path / "none")


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("second", "what"),
    [
        ({"PatientID": "BOB", "StudyInstanceUID": "1.2.3.2"}, "patients"),
        ({"PatientID": "BOB"}, "patients"),
        ({"StudyInstanceUID": "1.2.3.2"}, "studies"),
        ({"StudyInstanceUID": ""}, "studies"),
        ({"PatientID": "", "PatientName": "Test^Two"}, "patients"),
    ],
)
def test_a_folder_of_several_patients_or_studies_is_no_study(ct, tmp_path, second, what, zipped):
    def change(dataset, k):
        for keyword, value in second.items():
            setattr(dataset, keyword, value)

    path = tmp_path / "in"
    write_ct(path / "a", ct_values())
    bobs = write_ct(path / "b", ct_values(seed=9), change=change)
    if zipped:
        path = Path(shutil.make_archive(str(tmp_path / "in"), "zip", path))
    shot = drrproj.project(ct, arm(ct))
    match = rf"^{path}: files of several {what} are in it, [^\n]* of study '{STUDY}'[^\n]*; pass one file of it"
    with pytest.raises(ValueError, match=match):
        drrproj.write_dicom(tmp_path / "x.dcm", shot, study=path)
    assert not (tmp_path / "x.dcm").exists()
    if all(second.values()):
        drrproj.write_dicom(tmp_path / "x.dcm", shot, study=bobs[0])
        dataset = pydicom.dcmread(tmp_path / "x.dcm")
        assert {keyword: dataset[keyword].value for keyword in second} == second


def test_pictures_of_one_ct_are_of_one_patient_and_study(ct, tmp_path):
    def whose(shot, study):
        drrproj.write_dicom(tmp_path / "x.dcm", shot, study=study)
        dataset = pydicom.dcmread(tmp_path / "x.dcm")
        return dataset.PatientID, dataset.StudyInstanceUID

    shots = [drrproj.project(ct, drrproj.Geometry.radiograph(view, ct, shape=(9, 9))) for view in ("PA", "LL")]
    (patient, study), other = (whose(shot, ct) for shot in shots)
    assert (patient, study) == other
    assert re.fullmatch("SIMULATED-[0-9a-f]{12}", patient)
    # Of the same voxels in another order of memory, too; of others, and elsewhere, not.
    assert whose(shots[0], drrproj.Volume(np.asfortranarray(ct.array), ct.affine)) == (patient, study)
    changed = ct.array.copy()
    changed[3, 3, 3] += 1
    for another in (drrproj.Volume(changed, ct.affine), drrproj.Volume(ct.array, np.diag([5.0, 5.0, 8.0, 1.0]))):
        others = whose(shots[0], another)
        assert others[0] != patient
        assert others[1] != study


def test_a_study_without_a_patients_id_is_a_patient_of_its_own(ct, tmp_path):
    found = []
    for number in (1, 2):

        def change(dataset, k, number=number):
            dataset.PatientID, dataset.StudyInstanceUID = "", f"1.2.3.{number}"

        write_ct(tmp_path / str(number), ct_values(), change=change)
        drrproj.write_dicom(tmp_path / "x.dcm", drrproj.project(ct, arm(ct)), study=tmp_path / str(number))
        dataset = pydicom.dcmread(tmp_path / "x.dcm")
        assert dataset.StudyInstanceUID == f"1.2.3.{number}"
        found.append(dataset.PatientID)
    assert all(re.fullmatch("SIMULATED-[0-9a-f]{12}", patient) for patient in found)
    assert found[0] != found[1]


def test_a_ct_on_a_gpu_is_no_study(ct, tmp_path, monkeypatch):
    on_gpu = drrproj.Volume(stand_in("cupy", monkeypatch).to_gpu(ct.array), ct.affine)
    with pytest.raises(TypeError, match="study: the voxels of this volume are on a GPU; pass"):
        drrproj.write_dicom(tmp_path / "x.dcm", drrproj.project(ct, arm(ct)), study=on_gpu)


def test_files_without_a_study_have_one_for_all_pictures(ct, tmp_path):
    def strip(dataset, k):
        del dataset.StudyInstanceUID
        dataset.PatientID = ""

    for name in ("one", "other"):
        write_ct(tmp_path / name, ct_values(), change=strip)
    found = {}
    for name in ("one", "other"):
        for view in ("PA", "LL"):
            shot = drrproj.project(ct, drrproj.Geometry.radiograph(view, ct, shape=(9, 9)))
            with pytest.warns(UserWarning, match=r"StudyInstanceUID|Study Instance UID"):
                drrproj.write_dicom(tmp_path / "x.dcm", shot, study=tmp_path / name)
            dataset = pydicom.dcmread(tmp_path / "x.dcm")
            found[name, view] = dataset.PatientID, dataset.StudyInstanceUID
    assert found["one", "PA"] == found["one", "LL"] != found["other", "PA"] == found["other", "LL"]


@pytest.mark.parametrize("name", ["pa.png", "pa.nii.gz", "1.2.png"])
def test_the_name_of_a_dicom_file(shot, tmp_path, name):
    with pytest.raises(ValueError, match=rf"^a DICOM file is called \.dcm, or by a name or UID alone; got {name}$"):
        drrproj.write_dicom(tmp_path / name, shot)
    for good in ("pa.dcm", "PA.DCM", "IM0001", "1.2.840.1"):
        drrproj.write_dicom(tmp_path / good, shot)
    with pytest.raises(ValueError, match=rf"^a DICOM file is called \.dcm, or .*; got {name}$"):
        drrproj.write_dicom_seg(tmp_path / name, shot, tmp_path / "pa.dcm")
    for write in (drrproj.write_dicom, lambda path, shot: drrproj.write_dicom_seg(path, shot, tmp_path / "pa.dcm")):
        with pytest.raises(TypeError, match=r"^radiograph must be a drrproj\.Radiograph; got ndarray; "):
            write(tmp_path / "x.dcm", shot.line_integral)


def test_the_same_picture_is_the_same_object(ct, tmp_path):
    shot = drrproj.project(ct, arm(ct), threads=1)
    for name in ("a.dcm", "b.dcm"):
        drrproj.write_dicom(tmp_path / name, shot)
    drrproj.write_dicom(tmp_path / "c.dcm", shot, intent="processing")
    assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "b.dcm").read_bytes()
    assert pydicom.dcmread(tmp_path / "a.dcm").SOPInstanceUID != pydicom.dcmread(tmp_path / "c.dcm").SOPInstanceUID


def test_pictures_that_are_no_dx(ct, tmp_path):
    shot = drrproj.project(ct, arm(ct))
    with pytest.raises(ValueError, match='intent must be "presentation" or "processing"'):
        drrproj.write_dicom(tmp_path / "x.dcm", shot, intent="display")
    with pytest.raises(ValueError, match="for processing has no window"):
        drrproj.write_dicom(tmp_path / "x.dcm", shot, intent="processing", window=(0, 1))
    for value in (np.nan, -np.inf):
        image = shot.line_integral.copy()
        image[0, 3, 5] = value
        with pytest.raises(ValueError, match=r"^a DX image holds finite .* NaN or infinite in 1 of 2240 pixels; mend"):
            drrproj.write_dicom(tmp_path / "x.dcm", dataclasses.replace(shot, images={"line_integral": image}))
    assert list(tmp_path.iterdir()) == []


# --- masks out ----------------------------------------------------------------------------------------------------


@pytest.fixture
def shot(ct):
    ids = np.zeros(ct.shape, np.uint8)
    ids[2:12, 2:-2], ids[15:20, 13:17, 9:13], ids[0, 0, 0] = 1, 51, 7
    labels = drrproj.LabelVolume(ids, ct.affine, {1: "right half", 7: "corner", 51: "heart"})
    view = drrproj.Geometry.c_arm(
        sdd=1200, sod=800, isocenter=ct.center, primary_angle=25, secondary_angle=-10, pixel_spacing=2.5, shape=(40, 56)
    )
    return drrproj.project(ct, view, labels=labels)


def test_masks_become_segments(shot, tmp_path):
    drrproj.write_dicom(tmp_path / "x.dcm", shot)
    drrproj.write_dicom_seg(tmp_path / "seg.dcm", shot, tmp_path / "x.dcm")
    assert dciodvfy(tmp_path / "seg.dcm") == []


def test_segments_hold_the_masks(shot, tmp_path):
    drrproj.write_dicom(tmp_path / "x.dcm", shot)
    drrproj.write_dicom_seg(tmp_path / "seg.dcm", shot, tmp_path / "x.dcm")
    seg, image = highdicom.seg.segread(tmp_path / "seg.dcm"), pydicom.dcmread(tmp_path / "x.dcm")
    on_picture = [name for name in shot.masks if shot.masks[name].any()]
    assert [item.SegmentLabel for item in seg.SegmentSequence] == on_picture
    assert "heart" in on_picture
    pixels = seg.get_pixels_by_source_instance([image.SOPInstanceUID])
    for place, name in enumerate(on_picture):
        np.testing.assert_array_equal(pixels[0, ..., place].astype(bool), shot.masks[name][0])
    assert (seg.StudyInstanceUID, seg.PatientName) == (image.StudyInstanceUID, image.PatientName)


def test_chosen_segments(shot, tmp_path):
    drrproj.write_dicom(tmp_path / "x.dcm", shot)
    drrproj.write_dicom_seg(tmp_path / "seg.dcm", shot, tmp_path / "x.dcm", [51])
    assert [item.SegmentLabel for item in pydicom.dcmread(tmp_path / "seg.dcm").SegmentSequence] == ["heart"]
    with pytest.raises(KeyError, match="no label 'hart' in this radiograph; did you mean heart"):
        drrproj.write_dicom_seg(tmp_path / "seg.dcm", shot, tmp_path / "x.dcm", "hart")
    (tmp_path / "pa.png").write_bytes(b"no DICOM")
    with pytest.raises(ValueError, match=r"pa\.png: pass the one DICOM image that write_dicom wrote; here are 0"):
        drrproj.write_dicom_seg(tmp_path / "seg.dcm", shot, tmp_path / "pa.png")


@pytest.mark.parametrize("label", [51, np.int64(51), "heart"])
def test_one_segment_may_be_asked_for_without_a_list(shot, tmp_path, label):
    drrproj.write_dicom(tmp_path / "x.dcm", shot)
    drrproj.write_dicom_seg(tmp_path / "seg.dcm", shot, tmp_path / "x.dcm", label)
    assert [item.SegmentLabel for item in pydicom.dcmread(tmp_path / "seg.dcm").SegmentSequence] == ["heart"]


def test_each_segment_says_which_path_its_mask_asks_for(ct, shot, tmp_path):
    labels = drrproj.LabelVolume(np.indices(ct.shape)[0] // 12 + 1, ct.affine, {1: "right half", 2: "left half"})
    drrproj.write_dicom(tmp_path / "x.dcm", shot)

    def segments(**changes):
        projected = drrproj.project(ct, shot.geometry, labels=labels, outputs=("mask",), **changes)
        drrproj.write_dicom_seg(tmp_path / "seg.dcm", projected, tmp_path / "x.dcm")
        return pydicom.dcmread(tmp_path / "seg.dcm")

    def rules(seg):
        steps = (item.SegmentationAlgorithmIdentificationSequence[0] for item in seg.SegmentSequence)
        return {
            item.SegmentLabel: step.AlgorithmParameters for item, step in zip(seg.SegmentSequence, steps, strict=True)
        }

    met, longer = (segments(min_path_mm={"left half": least}) for least in (0, 1e-4))
    assert rules(met) == dict.fromkeys(("right half", "left half"), "mask=ray meets the structure")
    assert rules(longer)["left half"] == "mask=ray meets the structure for more than 0.0001 mm"
    assert rules(longer)["right half"] == "mask=ray meets the structure"
    assert longer.PixelData == met.PixelData
    assert longer.SOPInstanceUID != met.SOPInstanceUID


def test_a_radiograph_that_does_not_say_how_its_masks_came_about_gets_none_invented(shot, tmp_path):
    drrproj.write_dicom(tmp_path / "x.dcm", shot)
    drrproj.write_dicom_seg(tmp_path / "seg.dcm", dataclasses.replace(shot, record={}), tmp_path / "x.dcm")
    for item in pydicom.dcmread(tmp_path / "seg.dcm").SegmentSequence:
        assert "AlgorithmParameters" not in item.SegmentationAlgorithmIdentificationSequence[0]


def test_names_that_dicom_would_split_or_cut_stay_apart(ct, tmp_path):
    array = np.zeros(ct.shape, np.uint8)
    for place in range(3):
        array[:, :, 2 * place : 2 * place + 2] = place + 1
    labels = drrproj.LabelVolume(array, ct.affine, {1: "left\\right", 2: "n" * 64 + "1", 3: "n" * 64 + "2"})
    views = arm(ct)
    view = drrproj.Geometry(views.views, views.shape, ["up\\down"])
    shot = drrproj.project(ct, view, labels=labels)
    drrproj.write_dicom(tmp_path / "x.dcm", shot)
    drrproj.write_dicom_seg(tmp_path / "seg.dcm", shot, tmp_path / "x.dcm")
    assert pydicom.dcmread(tmp_path / "x.dcm").SeriesDescription == "Simulated radiograph up/down"
    found = [item.SegmentLabel for item in pydicom.dcmread(tmp_path / "seg.dcm").SegmentSequence]
    assert found == ["left/right", "n" * 56 + " 2", "n" * 56 + " 3"]


def test_the_image_of_another_view_is_refused(ct, shot, tmp_path):
    drrproj.write_dicom(tmp_path / "x.dcm", drrproj.project(ct, shot.geometry.rolled(5)))
    with pytest.raises(ValueError, match=r"x\.dcm: it is the image of another view"):
        drrproj.write_dicom_seg(tmp_path / "seg.dcm", shot, tmp_path / "x.dcm")


def test_masks_that_are_no_segments(ct, shot, tmp_path):
    drrproj.write_dicom(tmp_path / "x.dcm", shot)
    with pytest.raises(ValueError, match="this radiograph has no masks; pass labels="):
        drrproj.write_dicom_seg(tmp_path / "seg.dcm", drrproj.project(ct, arm(ct)), tmp_path / "x.dcm")
    drrproj.write_dicom(tmp_path / "y.dcm", drrproj.project(ct, drrproj.Geometry.radiograph("AP", ct, shape=(8, 9))))
    with pytest.raises(ValueError, match=r"y\.dcm: the image has 8 x 9 pixels, the radiograph 40 x 56"):
        drrproj.write_dicom_seg(tmp_path / "seg.dcm", shot, tmp_path / "y.dcm")


def test_a_segmentation_of_a_picture_is_no_label_volume(shot, tmp_path):
    drrproj.write_dicom(tmp_path / "x.dcm", shot)
    drrproj.write_dicom_seg(tmp_path / "seg.dcm", shot, tmp_path / "x.dcm")
    with pytest.raises(ValueError, match=r"its frames have no ImagePositionPatient \(0020,0032\): they lie nowhere"):
        drrproj.read_labels(tmp_path / "seg.dcm")
