"""DICOM SEG and RTSTRUCT as labels: every voxel where the mask or the contour has it."""

from __future__ import annotations

import contextlib
import copy
import warnings
from dataclasses import replace
from fractions import Fraction

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset
from pydicom.sr.codedict import codes
from synthetic_dicom import FRAME, STRAIGHT, circle, ct_values, oblique, tilted, write_ct, write_rtstruct

import drrproj
from drrproj.io.dicom_contours import fill_contours

RAS_FROM_LPS = np.array([-1.0, -1.0, 1.0])
PLACES = pytest.mark.parametrize("placed", [STRAIGHT, oblique(), tilted()], ids=["straight", "oblique", "tilted"])
SHAPE = (24, 20, 12)


def heart_and_lung(overlapping: bool = False) -> dict[str, np.ndarray]:
    """Two asymmetric masks, with empty slices around and between them."""
    heart, lung = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    heart[4:9, 3:8, 2:5] = True
    heart[4, 3, 2] = False
    lung[10:14, 5:8, 4 if overlapping else 7 : 10] = True
    if overlapping:
        lung[7:14, 5:8, 4] = True
    return {"heart": heart, "lung": lung}


def complete(dataset: FileDataset, k: int) -> None:
    """Add what highdicom copies from the slices of a series."""
    for name in ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber", "StudyID"):
        setattr(dataset, name, "")
    dataset.ReferringPhysicianName = dataset.Manufacturer = dataset.PositionReferenceIndicator = ""


def write_seg(folder, placed, masks, kind="BINARY", change=lambda dataset: None):
    slices = [pydicom.dcmread(path) for path in write_ct(folder / "ct", ct_values(SHAPE), placed, change=complete)]
    names = list(masks)
    described = [
        highdicom.seg.SegmentDescription(number, name, codes.SCT.Organ, codes.SCT.Heart, "MANUAL")
        for number, name in enumerate(names, 1)
    ]
    if kind == "LABELMAP":
        pixels = np.zeros((SHAPE[2], SHAPE[1], SHAPE[0]), np.uint8)
        for number, mask in enumerate(masks.values(), 1):
            pixels[mask.T] = number
    else:
        pixels = np.stack([mask.T for mask in masks.values()], axis=-1).astype(np.uint8)
    if kind == "FRACTIONAL":
        pixels = pixels.astype(np.float64)
    uid = highdicom.UID()
    seg = highdicom.seg.Segmentation(slices, pixels, kind, described, uid, 5, uid, 1, "a", "b", "1", "c")
    change(seg)
    seg.save_as(folder / "seg.dcm")
    return folder / "seg.dcm"


def assert_same_voxels(labels, placed, masks):
    """Ask for each voxel of the CT, at its place in the patient, what label is there."""
    ids = {name: label_id for label_id, name in labels.names.items()}
    for i, j, k in np.ndindex(SHAPE):
        index = np.rint((labels.voxel_from_world @ [*(placed.position(i, j, k) * RAS_FROM_LPS), 1])[:3]).astype(int)
        within = ((index >= 0) & (index < labels.shape)).all()
        found = int(labels.array[tuple(index)]) if within else 0
        assert found == next((ids[name] for name, mask in masks.items() if mask[i, j, k]), 0)


# --- SEG ----------------------------------------------------------------------------------------------------------


def reading(placed):
    """Hear what is said of a gantry that leans, for whose slices highdicom writes no distance."""
    along = np.cross(placed.row_direction, placed.column_direction) @ placed.step
    if np.isclose(along, np.linalg.norm(placed.step)):
        return contextlib.nullcontext()
    return pytest.warns(UserWarning, match="its slices are taken to be 4.698 mm apart")


@PLACES
@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP", "FRACTIONAL"])
def test_segments_lie_where_their_masks_have_them(tmp_path, placed, kind):
    masks = heart_and_lung()
    with reading(placed):
        labels = drrproj.read_labels(write_seg(tmp_path, placed, masks, kind))
    assert dict(labels.names) == {1: "heart", 2: "lung"}
    assert labels.frame_of_reference == FRAME
    assert_same_voxels(labels, placed, masks)


@PLACES
def test_a_seg_projects_as_its_mask_does(tmp_path, placed):
    masks = heart_and_lung()
    path = write_seg(tmp_path, placed, masks)
    ct = drrproj.read_volume(tmp_path / "ct")
    ids = masks["heart"] + 2 * masks["lung"].astype(np.uint8)
    in_memory = drrproj.LabelVolume(ids, ct.affine, {1: "heart", 2: "lung"})
    if not np.array_equal(ct.array, ct_values(SHAPE)):  # the series is counted from its other end
        in_memory = drrproj.LabelVolume(in_memory.array[:, :, ::-1], ct.affine, in_memory.names)
    view = drrproj.Geometry.radiograph("AP", ct, shape=(40, 48))
    read = drrproj.read_labels(path, volume=ct)
    from_file, from_array = (
        drrproj.project(ct, view, labels=labels, threads=1).path_length for labels in (read, in_memory)
    )
    for name in masks:
        assert from_array[name].max() > 2
        np.testing.assert_allclose(from_file[name], from_array[name], atol=1e-3)


def test_a_seg_of_another_frame_of_reference_is_refused(tmp_path):
    path = write_seg(
        tmp_path, STRAIGHT, heart_and_lung(), change=lambda seg: setattr(seg, "FrameOfReferenceUID", "1.2.3")
    )
    ct = drrproj.read_volume(tmp_path / "ct")
    with pytest.raises(ValueError, match=rf"seg\.dcm: the SEG belongs to another CT: .* 1\.2\.3, the CT's {FRAME}"):
        drrproj.read_labels(path, volume=ct)
    with pytest.raises(ValueError, match=r"labels are on another patient space: .* frame of reference is 1\.2\.3"):
        drrproj.project(ct, drrproj.Geometry.radiograph("PA", ct), labels=drrproj.read_labels(path))


def test_overlapping_segments(tmp_path):
    masks = heart_and_lung(overlapping=True)
    path = write_seg(tmp_path, STRAIGHT, masks)
    labels = drrproj.read_labels(path)
    by_structure = labels.values_by_structure
    for label_id, name in labels.names.items():
        assert np.isin(labels.array, by_structure[label_id]).sum() == np.count_nonzero(masks[name])
    assert sum(np.count_nonzero(labels.array == value) for value in labels.overlaps) == 6


def test_some_segments_by_name_and_with_ids_of_ones_own(tmp_path):
    masks = heart_and_lung(overlapping=True)
    path = write_seg(tmp_path, STRAIGHT, masks)
    labels = drrproj.read_labels(path, {7: "lung"}, structures=["lung"])
    assert (dict(labels.names), labels.label_ids) == ({7: "lung"}, (7,))
    assert np.count_nonzero(labels.array) == np.count_nonzero(masks["lung"])
    with pytest.raises(ValueError, match="no structure 'hart'; did you mean heart"):
        drrproj.read_labels(path, structures=["hart"])
    with pytest.raises(ValueError, match="no id for heart"):
        drrproj.read_labels(path, {7: "lung"})


def test_segments_of_one_name_get_their_number(tmp_path):
    def change(seg):
        for item in seg.SegmentSequence:
            item.SegmentLabel = "lesion"

    labels = drrproj.read_labels(write_seg(tmp_path, STRAIGHT, heart_and_lung(), change=change))
    assert dict(labels.names) == {1: "lesion 1", 2: "lesion 2"}


def test_a_probability_is_no_label(tmp_path):
    masks = {"heart": heart_and_lung()["heart"] * 0.5}
    slices = [pydicom.dcmread(path) for path in write_ct(tmp_path / "ct", ct_values(SHAPE), change=complete)]
    described = [highdicom.seg.SegmentDescription(1, "heart", codes.SCT.Organ, codes.SCT.Heart, "MANUAL")]
    uid = highdicom.UID()
    pixels = masks["heart"].T[..., None]
    highdicom.seg.Segmentation(slices, pixels, "FRACTIONAL", described, uid, 5, uid, 1, "a", "b", "1", "c").save_as(
        tmp_path / "seg.dcm"
    )
    with pytest.raises(ValueError, match=r"seg\.dcm: it is a fractional SEG"):
        drrproj.read_labels(tmp_path / "seg.dcm")


def test_a_folder_with_one_seg_beside_other_objects(tmp_path):
    masks = heart_and_lung()
    path = write_seg(tmp_path, STRAIGHT, masks)
    assert_same_voxels(drrproj.read_labels(tmp_path), STRAIGHT, masks)
    (tmp_path / "seg2.dcm").write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match=r"one SEG or RTSTRUCT is needed, and here are 2: .*seg\.dcm, .*seg2\.dcm"):
        drrproj.read_labels(tmp_path)
    with pytest.raises(ValueError, match="here is none: only CT"):
        drrproj.read_labels(tmp_path / "ct")


def test_masks_beside_dicom_are_not_chosen_unasked(tmp_path):
    write_seg(tmp_path, STRAIGHT, heart_and_lung())
    (tmp_path / "liver.nii.gz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"masks such as liver\.nii\.gz and DICOM files such as .* pass the SEG"):
        drrproj.read_labels(tmp_path)


def measures(**values):
    """Change what a SEG says of the distances of its slices; None takes it out."""

    def change(seg):
        shared = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        for name, value in values.items():
            if value is None:
                delattr(shared, name)
            else:
                setattr(shared, name, value)

    return change


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"SpacingBetweenSlices": 4.9},
        {"SpacingBetweenSlices": None, "SliceThickness": 5},
        {"SpacingBetweenSlices": 0, "SliceThickness": 5},
        {"SpacingBetweenSlices": 9, "SliceThickness": 5},
    ],
)
def test_slices_that_are_not_adjacent_keep_their_thickness(tmp_path, said):
    masks = one_structure([1, 4, 5, 10] if "SliceThickness" in said else [1, 4, 10])
    labels = drrproj.read_labels(write_seg(tmp_path, STRAIGHT, masks, change=measures(**said)))
    np.testing.assert_allclose(labels.voxel_size, [1.5, 2.0, 5.0])
    assert_same_voxels(labels, STRAIGHT, masks)


@pytest.mark.parametrize("thickness", [2.5, 1.0])
def test_slices_that_are_thinner_than_they_are_apart_leave_none_empty(tmp_path, thickness):
    masks = one_structure([3, 4, 5, 7])
    said = measures(SpacingBetweenSlices=None, SliceThickness=thickness)
    with pytest.warns(
        UserWarning, match=r"taken to be 5 mm apart, .* is missing and its SliceThickness \(0018,0050\) is"
    ):
        labels = drrproj.read_labels(write_seg(tmp_path, STRAIGHT, masks, change=said))
    assert_same_voxels(labels, STRAIGHT, masks)


def one_structure(slices):
    mask = np.zeros(SHAPE, bool)
    mask[4:9, 3:8, slices] = True
    return {"heart": mask}


def test_a_seg_that_does_not_say_how_far_its_slices_are_apart_is_taken_by_its_nearest_frames(tmp_path):
    path = write_seg(tmp_path, STRAIGHT, one_structure([1, 2, 4]), change=measures(SpacingBetweenSlices=None))
    with pytest.warns(UserWarning, match=r"slices are taken to be 5 mm apart, .* is missing and its SliceThickness"):
        labels = drrproj.read_labels(path)
    assert_same_voxels(labels, STRAIGHT, one_structure([1, 2, 4]))


def test_a_seg_that_does_not_say_it_has_its_slices_as_far_apart_as_the_ct(tmp_path):
    masks = one_structure([1, 4, 10])
    said = measures(SpacingBetweenSlices=None, SliceThickness=15.0)
    path = write_seg(tmp_path, STRAIGHT, masks, change=said)
    assert_same_voxels(drrproj.read_labels(path, volume=drrproj.read_volume(tmp_path / "ct")), STRAIGHT, masks)


def test_a_seg_of_one_slice_of_no_thickness(tmp_path):
    said = measures(SpacingBetweenSlices=None, SliceThickness=0)
    with pytest.raises(ValueError, match="its frames lie in one slice, and nothing says how thick it is: its Spac"):
        drrproj.read_labels(write_seg(tmp_path, STRAIGHT, one_structure([3]), change=said))


def in_each_frame(sequence, keyword, last):
    """Move what a SEG says of all frames into each one, and change it in the last."""

    def change(seg):
        shared = seg.SharedFunctionalGroupsSequence[0]
        for group in seg.PerFrameFunctionalGroupsSequence:
            group[sequence] = copy.deepcopy(shared[sequence])
        item = seg.PerFrameFunctionalGroupsSequence[-1][sequence][0]
        setattr(item, keyword, last(item[keyword].value))
        del shared[sequence]

    return change


@pytest.mark.parametrize(
    ("sequence", "keyword", "last", "match"),
    [
        (
            "PlaneOrientationSequence",
            "ImageOrientationPatient",
            lambda values: [*values[3:], *values[:3]],
            r"ImageOrientationPatient \(0020,0037\) is \[1\.0, .*\] in frame 1 and \[0\.0, .*\] in frame 6; export it",
        ),
        (
            "PixelMeasuresSequence",
            "PixelSpacing",
            lambda values: [9, 9],
            r"PixelSpacing \(0028,0030\) is \[2\.0, 1\.5\] in frame 1 and \[9\.0, 9\.0\] in frame 6; export it",
        ),
    ],
)
def test_frames_of_a_seg_that_lie_on_several_grids_are_refused(tmp_path, sequence, keyword, last, match):
    path = write_seg(tmp_path, STRAIGHT, heart_and_lung(), change=in_each_frame(sequence, keyword, last))
    with pytest.raises(ValueError, match=rf"seg\.dcm: its frames lie on several grids: {match}"):
        drrproj.read_labels(path)
    write_seg(tmp_path, STRAIGHT, heart_and_lung(), change=in_each_frame(sequence, keyword, lambda values: values))
    assert_same_voxels(drrproj.read_labels(path), STRAIGHT, heart_and_lung())


@pytest.mark.parametrize(
    ("sequence", "keyword", "values", "match"),
    [
        ("PlaneOrientationSequence", "ImageOrientationPatient", [2, 0, 0, 0, 2, 0], "not perpendicular unit vectors"),
        ("PlaneOrientationSequence", "ImageOrientationPatient", [1, 0, 0, 0.6, 0.8, 0], "not perpendicular unit vec"),
        ("PixelMeasuresSequence", "PixelSpacing", [-2, 1.5], r"must be positive mm; got \[-2\.0, 1\.5\]"),
        ("PixelMeasuresSequence", "PixelSpacing", [0, 1.5], r"must be positive mm; got \[0\.0, 1\.5\]"),
    ],
)
def test_a_seg_whose_pixels_span_no_grid_is_refused(tmp_path, sequence, keyword, values, match):
    def change(seg):
        setattr(seg.SharedFunctionalGroupsSequence[0][sequence][0], keyword, values)

    path = write_seg(tmp_path, STRAIGHT, heart_and_lung(), change=change)
    with pytest.raises(ValueError, match=rf"seg\.dcm: .*its {keyword} .*{match}"):
        drrproj.read_labels(path)


@pytest.mark.parametrize("value", [None, 99, "a sequence"])
def test_a_frame_of_no_segment_is_one_sentence(tmp_path, value):
    def change(seg):
        item = seg.PerFrameFunctionalGroupsSequence[0].SegmentIdentificationSequence[0]
        if value == "a sequence":
            del item.ReferencedSegmentNumber
            item.add_new("ReferencedSegmentNumber", "SQ", [pydicom.Dataset()])
        else:
            item.ReferencedSegmentNumber = value

    path = write_seg(tmp_path, STRAIGHT, heart_and_lung(), change=change)
    wrong = r"it has frames of segment 99, which its SegmentSequence \(0062,0002\) lacks"
    with pytest.raises(ValueError, match=wrong if value == 99 else r"seg\.dcm: the SEG breaks the standard"):
        drrproj.read_labels(path)


# --- contours -----------------------------------------------------------------------------------------------------


def is_inside(polygon, column, row) -> bool:
    """Even-odd test in exact arithmetic, by a ray to the left of the point."""
    inside = False
    points = [(Fraction(float(x)), Fraction(float(y))) for x, y in polygon]
    for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
        if (y0 <= row) != (y1 <= row) and x0 + (row - y0) * (x1 - x0) / (y1 - y0) <= column:
            inside = not inside
    return inside


@pytest.mark.parametrize("seed", range(6))
def test_filling_is_the_even_odd_rule_for_each_pixel(seed):
    rng = np.random.default_rng(seed)
    # Corners on pixel centres and beyond the image too, where ties and clipping are.
    contours = [
        rng.uniform(-3, 15, (rng.integers(3, 9), 2)) if n % 2 else rng.integers(-2, 14, (5, 2)).astype(float)
        for n in range(3)
    ]
    filled = fill_contours(contours, (11, 13))
    expected = [[sum(is_inside(p, c, r) for p in contours) % 2 == 1 for c in range(13)] for r in range(11)]
    np.testing.assert_array_equal(filled, expected)
    assert 0 < filled.sum() < filled.size


def ring_and_ball(placed, slices=range(3, 8)):
    return {
        "ring": [(circle(placed, (9, 8), radius, k), "CLOSED_PLANAR") for k in slices for radius in (5.3, 2.4)],
        "ball": [(circle(placed, (18, 12), 3.1, k), "CLOSED_PLANAR") for k in slices],
    }


@PLACES
def test_contours_fill_the_voxels_whose_centre_they_hold(tmp_path, placed):
    write_ct(tmp_path / "ct", ct_values(SHAPE), placed)
    ct = drrproj.read_volume(tmp_path / "ct")
    labels = drrproj.read_labels(write_rtstruct(tmp_path / "rs.dcm", ring_and_ball(placed)), volume=ct)
    assert dict(labels.names) == {1: "ring", 2: "ball"}
    assert labels.frame_of_reference == FRAME
    i, j, k = np.indices(SHAPE)
    from_ring = np.hypot(i - 9, j - 8)
    masks = {
        "ring": (from_ring < 5.3) & (from_ring > 2.4) & (k >= 3) & (k < 8),
        "ball": (np.hypot(i - 18, j - 12) < 3.1) & (k >= 3) & (k < 8),
    }
    # No centre is between a circle and its 90-sided polygon.
    for radius, distance in ((5.3, from_ring), (2.4, from_ring), (3.1, np.hypot(i - 18, j - 12))):
        assert np.abs(distance - radius).min() > radius * (1 - np.cos(np.pi / 90))
    assert_same_voxels(labels, placed, masks)


@pytest.mark.parametrize("spacing", [(2.0, 2.0), (1.7, 1.7), (0.7, 0.7), (0.9765625, 1.3)])
@PLACES
def test_a_centre_on_an_edge_is_inside_on_the_lower_sides_alone(tmp_path, placed, spacing):
    placed = replace(placed, spacing=spacing)
    write_ct(tmp_path / "ct", ct_values(SHAPE), placed)
    ct = drrproj.read_volume(tmp_path / "ct")
    corners = {
        "box": [(5, 5), (11, 5), (11, 9), (5, 9)],
        "points": [(5, 5), (11, 5), (11, 6), (11, 7.5), (11, 9), (8, 9), (5, 9), (5, 7)],
        "slanting": [(12, 2), (18, 8), (15, 11), (9, 5)],
        "beside": [(11, 5), (15, 5), (15, 9), (11, 9)],
    }
    rois = {
        name: [([placed.position(*point, 4) for point in points], "CLOSED_PLANAR")] for name, points in corners.items()
    }
    path = write_rtstruct(tmp_path / "rs.dcm", rois)
    for name, points in corners.items():
        expected = [[is_inside(points, i, j) for j in range(SHAPE[1])] for i in range(SHAPE[0])]
        # Slices may be counted from the other end.
        found = (drrproj.read_labels(path, volume=ct, structures=[name]).array > 0).any(axis=2)
        np.testing.assert_array_equal(found, expected)
        if name in ("box", "points"):
            assert found.sum() == found[5:11, 5:9].sum() == 24
    assert not drrproj.read_labels(path, volume=ct, structures=["box", "beside"]).overlaps


def test_an_rtstruct_needs_its_ct(tmp_path):
    write_ct(tmp_path / "ct", ct_values(SHAPE), change=complete)
    ct = drrproj.read_volume(tmp_path / "ct")
    path = write_rtstruct(tmp_path / "rs.dcm", ring_and_ball(STRAIGHT))
    with pytest.raises(ValueError, match=r"rs\.dcm: an RTSTRUCT holds contours, .*read_labels\(path, volume=ct\)"):
        drrproj.read_labels(path)
    write_rtstruct(path, ring_and_ball(STRAIGHT), frame="1.2.3")
    with pytest.raises(ValueError, match=r"ring was drawn on another CT: its frame of reference is 1\.2\.3"):
        drrproj.read_labels(path, volume=ct)
    moved = ct.affine.copy()
    moved[2, 3] += 2.5
    write_rtstruct(path, ring_and_ball(STRAIGHT))
    with pytest.raises(ValueError, match=r"a contour of ring lies 0\.50 slices off the nearest slice"):
        drrproj.read_labels(path, volume=drrproj.Volume(ct.array, moved))
    moved[2, 3] += 2.5 + 500
    with pytest.raises(ValueError, match="outside the CT passed: ring, ball; pass the CT that it was drawn on"):
        drrproj.read_labels(path, volume=drrproj.Volume(ct.array, moved))


def test_what_a_structure_set_holds_besides_is_said(tmp_path):
    write_ct(tmp_path / "ct", ct_values(SHAPE))
    ct = drrproj.read_volume(tmp_path / "ct")
    rois = ring_and_ball(STRAIGHT, range(3, 10, 2))
    rois["marker"] = [([STRAIGHT.position(1, 1, 1)], "POINT")]
    rois["empty"] = []
    rois["long"] = [(circle(STRAIGHT, (4, 14), 2, k), "CLOSED_PLANAR") for k in range(8, 15)]
    path = write_rtstruct(tmp_path / "rs.dcm", rois)
    with pytest.warns(UserWarning, match="left out marker, empty: points or lines, no closed contours") as caught:
        labels = drrproj.read_labels(path, volume=ct)
    assert list(labels.names.values()) == ["ring", "ball", "long"]
    message = str(caught[0].message)
    assert "ring is drawn on one slice in 2 only, and the others stay empty" in message
    assert "3 slices of long lie beyond the CT passed" in message
    with pytest.raises(ValueError, match="no structure with closed contours in it, only marker"):
        drrproj.read_labels(path, volume=ct, structures=["marker"])


def test_an_outline_of_the_body_overlaps_with_all(tmp_path):
    write_ct(tmp_path / "ct", ct_values(SHAPE))
    ct = drrproj.read_volume(tmp_path / "ct")
    body = {"BODY": [(circle(STRAIGHT, (12, 10), 9, k), "CLOSED_PLANAR") for k in range(12)]}
    path = write_rtstruct(tmp_path / "rs.dcm", {**body, **ring_and_ball(STRAIGHT)})
    whole = drrproj.read_labels(path, volume=ct)
    body, ring = (whole.values_by_structure[whole.id_of(name)] for name in ("BODY", "ring"))
    assert whole.overlaps
    assert np.isin(whole.array, body)[np.isin(whole.array, ring)].any()
    assert set(drrproj.read_labels(path, volume=ct, structures=["ring", "ball"]).names.values()) == {"ring", "ball"}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            lambda item: item.ContourData.pop(),
            "its ContourData .* for each point; got 269 numbers",
        ),
        (lambda item: delattr(item, "ContourData"), "a contour of ring has no ContourData"),
        (lambda item: setattr(item, "ContourData", ["nan"] * 9), "three finite numbers for each point; got 9 numbers"),
    ],
)
def test_a_damaged_contour_is_refused_where_it_is_asked_for(tmp_path, change, match):
    write_ct(tmp_path / "ct", ct_values(SHAPE))
    ct = drrproj.read_volume(tmp_path / "ct")
    path = write_rtstruct(tmp_path / "rs.dcm", ring_and_ball(STRAIGHT))
    dataset = pydicom.dcmread(path)
    with pydicom.config.disable_value_validation():
        change(dataset.ROIContourSequence[0].ContourSequence[2])
        dataset.save_as(path)
    with pytest.raises(ValueError, match=match):
        drrproj.read_labels(path, volume=ct)
    assert list(drrproj.read_labels(path, volume=ct, structures=["ball"]).names.values()) == ["ball"]


def read_rois(tmp_path, rois, change=lambda dataset: None, **choices):
    """Read structures on a straight CT: the labels, and what was said of them."""
    write_ct(tmp_path / "ct", ct_values(SHAPE))
    path = write_rtstruct(tmp_path / "rs.dcm", rois)
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        labels = drrproj.read_labels(path, volume=drrproj.read_volume(tmp_path / "ct"), **choices)
    return labels, " | ".join(str(warning.message) for warning in caught)


def test_a_contour_of_two_points_is_left_out_and_said(tmp_path):
    rois = ring_and_ball(STRAIGHT)
    plain, said = read_rois(tmp_path, rois)
    assert said == ""
    rois["ball"].append((circle(STRAIGHT, (5, 5), 2, 3)[:2], "CLOSED_PLANAR"))
    rois["dot"] = [(circle(STRAIGHT, (5, 5), 2, 3)[:1], "CLOSED_PLANAR")]
    labels, said = read_rois(tmp_path, rois)
    assert "left out dot: points or lines, no closed contours" in said
    assert "left out 1 contour of ball with less than three points" in said
    np.testing.assert_array_equal(labels.array, plain.array)
    assert read_rois(tmp_path, rois, structures=["ring"])[1] == ""
    with pytest.raises(ValueError, match="no structure with closed contours in it, only dot; left out 1 contour"):
        read_rois(tmp_path, rois, structures=["dot"])


def test_a_structure_outside_the_ct_is_left_out_and_said(tmp_path):
    rois = ring_and_ball(STRAIGHT)
    plain, _ = read_rois(tmp_path, rois)
    rois["couch"] = [(circle(STRAIGHT, (12, 60), 5, k), "CLOSED_PLANAR") for k in range(12)]
    rois["feet"] = [(circle(STRAIGHT, (12, 8), 5, k + 0.5), "CLOSED_PLANAR") for k in range(40, 50)]
    labels, said = read_rois(tmp_path, rois)
    assert "left out couch, feet: outside the CT passed" in said
    np.testing.assert_array_equal(labels.array, plain.array)
    assert read_rois(tmp_path, rois, structures=["ball"])[1] == ""
    with pytest.raises(ValueError, match="outside the CT passed: couch, feet; pass the CT"):
        read_rois(tmp_path, rois, structures=["couch", "feet"])


@pytest.mark.parametrize(
    "copied",
    [
        lambda points: points,
        lambda points: points[10:] + points[:10],
        lambda points: points[::-1],
        lambda points: points[::-1][7:] + points[::-1][:7],
        lambda points: [*points, points[0]],
        lambda points: [points[0], *points[::-1]],
    ],
    ids=["same", "from another point", "reversed", "reversed from another point", "closed", "reversed and closed"],
)
def test_a_contour_stored_twice_counts_once(tmp_path, copied):
    rois = ring_and_ball(STRAIGHT)
    plain, _ = read_rois(tmp_path, rois)
    rois["ball"] = rois["ball"] + [(copied(points), kind) for points, kind in rois["ball"]]
    labels, said = read_rois(tmp_path, rois)
    assert "left out 5 contours of ball that are there already" in said
    np.testing.assert_array_equal(labels.array, plain.array)


def test_a_structure_that_ends_empty_is_said(tmp_path):
    rois = ring_and_ball(STRAIGHT)
    # A hole as large as the outline.
    rois["undone"] = [(circle(STRAIGHT, (5, 5), radius, 3), "CLOSED_PLANAR") for radius in (3.1, 3.08)]
    _, said = read_rois(tmp_path, rois)
    assert "undone is empty: no voxel has its centre inside its contours" in said


def test_contours_that_cross_are_said(tmp_path):
    rois = ring_and_ball(STRAIGHT)
    rois["ball"] += [(circle(STRAIGHT, (15, 12), 3.1, k), "CLOSED_PLANAR") for k in (4, 6)]
    rois["beside"] = [(circle(STRAIGHT, (x, 16), 2.1, 4), "CLOSED_PLANAR") for x in (4, 9)]
    labels, said = read_rois(tmp_path, rois)
    assert said.endswith("rs.dcm: contours of ball cross on 2 slices, and what two of them share stays empty")
    assert labels.array[16:18, 12, 4].tolist() == [0, 0]


def test_contours_of_one_structure_in_two_items_are_joined(tmp_path):
    def halved(dataset):
        first = dataset.ROIContourSequence[1]
        second = pydicom.Dataset()
        second.ReferencedROINumber, second.ContourSequence = first.ReferencedROINumber, first.ContourSequence[3:]
        first.ContourSequence = first.ContourSequence[:3]
        dataset.ROIContourSequence.append(second)

    plain, _ = read_rois(tmp_path, ring_and_ball(STRAIGHT))
    labels, said = read_rois(tmp_path, ring_and_ball(STRAIGHT), halved)
    assert said == ""
    np.testing.assert_array_equal(labels.array, plain.array)


def test_two_structures_of_one_number_are_refused(tmp_path):
    def same(dataset):
        dataset.StructureSetROISequence[1].ROINumber = dataset.StructureSetROISequence[0].ROINumber

    rois = {**ring_and_ball(STRAIGHT), "other": ring_and_ball(STRAIGHT)["ball"]}
    with pytest.raises(ValueError, match="ring and ball have the same ROI number 0, so whose contours are whose"):
        read_rois(tmp_path, rois, same)
    assert dict(read_rois(tmp_path, rois, same, structures=["other"])[0].names) == {3: "other"}


@pytest.mark.parametrize("order", [(2, 0, 1), (1, 2, 0), (0, 2, 1), (1, 0, 2)])
@pytest.mark.parametrize("placed", [STRAIGHT, tilted()], ids=["straight", "tilted"])
def test_the_slices_are_found_on_a_ct_that_was_reoriented(tmp_path, placed, order):
    write_ct(tmp_path / "ct", ct_values(SHAPE), placed)
    ct = drrproj.read_volume(tmp_path / "ct")
    path = write_rtstruct(tmp_path / "rs.dcm", ring_and_ball(placed))
    turned = drrproj.Volume(ct.array.transpose(order), ct.affine[:, [*order, 3]])
    plain, labels = (drrproj.read_labels(path, volume=volume) for volume in (ct, turned))
    np.testing.assert_array_equal(labels.array, plain.array.transpose(order))
    np.testing.assert_array_equal(labels.affine, turned.affine)


def test_a_ct_that_was_resampled_is_not_called_another(tmp_path):
    write_ct(tmp_path / "ct", ct_values(SHAPE))
    ct = drrproj.read_volume(tmp_path / "ct")
    path = write_rtstruct(tmp_path / "rs.dcm", ring_and_ball(STRAIGHT))
    resampled = drrproj.Volume(np.zeros((24, 20, 20), np.int16), ct.affine @ np.diag([1, 1, 0.6, 1]))
    with pytest.raises(ValueError, match=r"off the nearest slice .* another one than .*, or was resampled since; pass"):
        drrproj.read_labels(path, volume=resampled)


@pytest.mark.parametrize("missing", ["ROINumber", "ReferencedROINumber", "SegmentSequence"])
def test_objects_that_lack_what_the_standard_asks(tmp_path, missing):
    if missing == "SegmentSequence":
        path = write_seg(tmp_path, STRAIGHT, heart_and_lung(), change=lambda seg: delattr(seg, missing))
    else:
        write_ct(tmp_path / "ct", ct_values(SHAPE))
        path = write_rtstruct(tmp_path / "rs.dcm", ring_and_ball(STRAIGHT))
        dataset = pydicom.dcmread(path)
        holder = dataset.StructureSetROISequence if missing == "ROINumber" else dataset.ROIContourSequence
        delattr(holder[0], missing)
        dataset.save_as(path)
    ct = drrproj.read_volume(tmp_path / "ct")
    with pytest.raises(ValueError, match=f"(it lacks what the standard asks of it|breaks the standard).*{missing}"):
        drrproj.read_labels(path, volume=ct)
