"""CT series from DICOM: every voxel where the standard's formula has it, and what is refused with which sentence."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import sys
import warnings
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.datadict import tag_for_keyword
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    RLELossless,
)
from synthetic_dicom import FRAME, STRAIGHT, Placed, ct_values, oblique, tilted, write_ct

import drrproj
from drrproj.io.dicom_files import dicom_files, tag_text

RAS_FROM_LPS = np.array([-1.0, -1.0, 1.0])


def refused(path, match, **choices):
    with pytest.raises(ValueError, match=match) as caught:
        drrproj.read_volume(path, **choices)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- where and what -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "placed", [STRAIGHT, oblique(), tilted(), tilted(-12.5)], ids=["straight", "oblique", "tilt", "tilt-"]
)
def test_every_voxel_lies_where_the_formula_of_the_standard_has_it(tmp_path, placed):
    hu = ct_values()
    write_ct(tmp_path, hu, placed)
    ct = drrproj.read_volume(tmp_path)
    assert (ct.array.dtype, ct.unit, ct.frame_of_reference) == (np.int16, "HU", FRAME)
    assert ct.array.flags.f_contiguous
    for i, j, k in np.random.default_rng(3).integers(0, hu.shape, (200, 3)):
        world = placed.position(i, j, k) * RAS_FROM_LPS
        index = ct.voxel_from_world @ [*world, 1]
        # A series may be counted from either end; the voxel at that place is the same.
        place = tuple(np.rint(index[:3]).astype(int))
        np.testing.assert_allclose(ct.affine[:3] @ [*place, 1], world, atol=1e-6)
        assert ct.array[place] == hu[i, j, k]


def test_the_gantry_tilt_is_a_shear(tmp_path):
    write_ct(tmp_path, ct_values(), tilted(20.0))
    axes = drrproj.read_volume(tmp_path).affine[:3, :3]
    j, k = (axes[:, axis] / np.linalg.norm(axes[:, axis]) for axis in (1, 2))
    np.testing.assert_allclose(abs(j @ k), np.sin(np.radians(20.0)), atol=1e-6)


@pytest.mark.parametrize("placed", [STRAIGHT, oblique(), tilted()], ids=["straight", "oblique", "tilt"])
def test_dicom_and_nifti_of_one_volume_give_the_same_radiograph(tmp_path, placed):
    hu = ct_values()
    write_ct(tmp_path / "series", hu, placed)
    affine = np.eye(4)
    for column, voxel in enumerate(np.eye(3)):
        affine[:3, column] = (placed.position(*voxel) - placed.position(0, 0, 0)) * RAS_FROM_LPS
    affine[:3, 3] = placed.position(0, 0, 0) * RAS_FROM_LPS
    image = nibabel.Nifti1Image(hu, affine)
    image.set_qform(None, code=0)  # which cannot hold shear
    nibabel.save(image, tmp_path / "ct.nii.gz")
    dicom, nifti = (drrproj.read_volume(tmp_path / name) for name in ("series", "ct.nii.gz"))
    for view in ("AP", "LL"):
        geometry = drrproj.Geometry.radiograph(view, nifti, shape=(48, 40))
        shots = [drrproj.project(ct, geometry, threads=1).line_integral for ct in (dicom, nifti)]
        assert shots[1].max() > 0.5
        # The affine of a NIfTI file is float32, the rest is the same numbers.
        np.testing.assert_allclose(shots[0], shots[1], atol=2e-4 * shots[1].max())


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEG2000Lossless,
    ],
    ids=lambda uid: uid.name,
)
@pytest.mark.parametrize("signed", [False, True])
def test_transfer_syntaxes(tmp_path, syntax, signed):
    hu = ct_values((32, 34, 3))
    if not syntax.is_compressed or syntax.is_deflated:
        write_ct(tmp_path, hu, syntax=syntax, signed=signed)
    else:
        for path in write_ct(tmp_path, hu, signed=signed):
            dataset = pydicom.dcmread(path)
            dataset.compress(syntax, generate_instance_uid=False)
            dataset.save_as(path)
    ct = drrproj.read_volume(tmp_path)
    assert ct.array.dtype == np.int16
    np.testing.assert_array_equal(ct.array, hu)


def test_a_zip_sub_folders_and_other_files(tmp_path):
    hu = ct_values()
    paths = write_ct(tmp_path / "in" / "A", hu)
    (tmp_path / "in" / "B").mkdir()
    for path in paths[::2]:
        path.rename(tmp_path / "in" / "B" / path.name)
    (tmp_path / "in" / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    (tmp_path / "in" / "readme.txt").write_text("burned by a hospital")
    # A slice too many, which the reader would refuse.
    (tmp_path / "in" / ".trash").mkdir()
    for hidden in (tmp_path / "in" / "._slice.dcm", tmp_path / "in" / ".trash" / "slice.dcm"):
        hidden.write_bytes(paths[1].read_bytes())
    with zipfile.ZipFile(tmp_path / "ct.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in (tmp_path / "in").rglob("*"):
            archive.write(path, path.relative_to(tmp_path))
    for place in (tmp_path / "in", tmp_path / "ct.zip"):
        np.testing.assert_array_equal(drrproj.read_volume(place).array, hu)


@pytest.mark.parametrize("first", ["ImageType", "InstanceCreationDate", "SOPClassUID", "SpecificCharacterSet"])
def test_files_without_the_preamble(tmp_path, first):
    for path in write_ct(tmp_path, ct_values(), syntax=ImplicitVRLittleEndian):
        dataset = pydicom.dcmread(path)
        dataset.InstanceCreationDate, dataset.SpecificCharacterSet = "20200101", "ISO_IR 100"
        for keyword in ("SpecificCharacterSet", "ImageType", "InstanceCreationDate"):
            if tag_for_keyword(keyword) < tag_for_keyword(first):
                delattr(dataset, keyword)
        del dataset.file_meta
        dataset.preamble = None
        pydicom.dcmwrite(path, dataset, implicit_vr=True, little_endian=True)
        assert path.read_bytes()[128:132] != b"DICM"
    np.testing.assert_array_equal(drrproj.read_volume(tmp_path).array, ct_values())


def write_multi_frame(folder, hu, placed, frames):
    """Write an Enhanced CT: places, spacing and rescaling stand in functional groups, frames in any order."""
    path = write_ct(folder, hu[:, :, :1])[0]
    dataset = pydicom.dcmread(path)
    shared, groups = pydicom.Dataset(), []
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [pydicom.Dataset()], [pydicom.Dataset()]
    shared.PixelMeasuresSequence[0].PixelSpacing = [str(value) for value in placed.spacing]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [
        f"{value:.9f}" for value in (*placed.row_direction, *placed.column_direction)
    ]
    for k in frames:
        group = pydicom.Dataset()
        group.PlanePositionSequence, group.PixelValueTransformationSequence = [pydicom.Dataset()], [pydicom.Dataset()]
        group.PlanePositionSequence[0].ImagePositionPatient = [f"{value:.9g}" for value in placed.position(0, 0, k)]
        transformation = group.PixelValueTransformationSequence[0]
        transformation.RescaleSlope, transformation.RescaleIntercept, transformation.RescaleType = "1", "-3000", "HU"
        groups.append(group)
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept"):
        del dataset[name]
    dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence = [shared], groups
    dataset.NumberOfFrames = len(frames)
    dataset.PixelData = np.moveaxis(hu[:, :, frames] + 3000, 2, 0).transpose(0, 2, 1).astype("<u2").tobytes()
    dataset.save_as(path)
    return path


def test_multi_frame_file(tmp_path):
    hu, placed = ct_values(), oblique()
    path = write_multi_frame(tmp_path / "one", hu, placed, np.random.default_rng(2).permutation(hu.shape[2]))
    for place in (path, path.parent):
        ct = drrproj.read_volume(place)
        np.testing.assert_array_equal(ct.array, hu)
        np.testing.assert_allclose(ct.affine[:3] @ [5, 7, 9, 1], placed.position(5, 7, 9) * RAS_FROM_LPS, atol=1e-6)


@pytest.mark.parametrize("intercept", [-3000, 0.5])
@pytest.mark.parametrize("signed", [False, True])
def test_a_multi_frame_file_in_big_endian(tmp_path, signed, intercept):
    hu = ct_values()
    frames = hu.shape[2]
    path = write_multi_frame(tmp_path, hu, STRAIGHT, range(frames))
    dataset = pydicom.dcmread(path)
    stored = np.frombuffer(dataset.PixelData, "<u2").reshape(frames, -1).astype(np.int32)
    if signed:
        dataset.PixelRepresentation = 1
        stored -= 3000
    for k, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        group.PixelValueTransformationSequence[0].RescaleIntercept = str(intercept + k)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    dataset.PixelData = stored.astype(">i2" if signed else ">u2").tobytes()
    pydicom.dcmwrite(path, dataset, implicit_vr=False, little_endian=False)
    ct = drrproj.read_volume(path)
    assert ct.array.dtype == (np.int16 if intercept == -3000 else np.float32)
    expected = hu + (0 if signed else 3000) + intercept + np.arange(frames, dtype=np.float64)
    np.testing.assert_array_equal(ct.array, expected)


def place_by_text(group):
    del group.PlanePositionSequence
    group.add_new("PlanePositionSequence", "LO", "text")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            lambda dataset: dataset.PerFrameFunctionalGroupsSequence.pop(),
            "is 12, and its functional groups place 11 fr",
        ),
        (lambda dataset: setattr(dataset, "NumberOfFrames", 11), "is 11, and its functional groups place 12 frames"),
        (lambda dataset: setattr(dataset, "NumberOfFrames", 0), "is 0, and its functional groups place 12 frames"),
        (lambda dataset: delattr(dataset, "NumberOfFrames"), "is missing, and its functional groups place 12 frames"),
        (
            lambda dataset: place_by_text(dataset.PerFrameFunctionalGroupsSequence[2]),
            r"its PlanePositionSequence \(0020,9113\) is no sequence: it is damaged",
        ),
        (lambda dataset: setattr(dataset, "PerFrameFunctionalGroupsSequence", []), "is 12, and its .* place 0 frames"),
        (lambda dataset: setattr(dataset, "PixelData", dataset.PixelData[:-400]), "its pixels cannot be read: .* less"),
    ],
)
def test_a_multi_frame_file_that_lacks_a_part_is_named(tmp_path, change, match):
    hu = ct_values()
    path = write_multi_frame(tmp_path, hu, STRAIGHT, range(hu.shape[2]))
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path)
    assert refused(tmp_path, match).startswith(f"{path}: its ")


# --- HU -----------------------------------------------------------------------------------------------------------


def test_each_slice_has_its_own_rescaling(tmp_path):
    hu = ct_values()

    def change(dataset, k):
        stored = np.frombuffer(dataset.PixelData, "<u2").astype(np.float64)
        dataset.RescaleIntercept = str(-3000 - 10 * k)
        dataset.PixelData = (stored + 10 * k).astype("<u2").tobytes()

    write_ct(tmp_path, hu, change=change)
    ct = drrproj.read_volume(tmp_path)
    assert ct.array.dtype == np.int16
    np.testing.assert_array_equal(ct.array, hu)


def test_a_slope_gives_float32(tmp_path):
    hu = ct_values()
    write_ct(tmp_path, hu, slope=0.5, intercept=-2000.25)
    ct = drrproj.read_volume(tmp_path)
    assert ct.array.dtype == np.float32
    np.testing.assert_allclose(ct.array, hu, atol=0.3)


def test_values_beyond_int16_give_float32(tmp_path):
    hu = ct_values().astype(np.int32)
    hu[3, 3, 3] = 40000
    write_ct(tmp_path, hu)
    ct = drrproj.read_volume(tmp_path)
    assert ct.array.dtype == np.float32
    np.testing.assert_array_equal(ct.array, hu)


@pytest.mark.parametrize("slope", [1, 0.5])
@pytest.mark.parametrize("value", [63536, -2000])
def test_unsigned_padding_that_stands_for_a_negative_number(tmp_path, slope, value):
    hu = np.maximum(ct_values(), -1000)

    def change(dataset, k):
        stored = np.frombuffer(dataset.PixelData, "<u2").copy()
        stored[:3] = 63536
        dataset.PixelData = stored.tobytes()
        dataset.add_new("PixelPaddingValue", "US" if value > 0 else "SS", value)

    write_ct(tmp_path, hu, slope=slope, intercept=-1024, change=change)
    ct = drrproj.read_volume(tmp_path)
    assert (ct.array[:3, 0] == -2000 * slope - 1024).all()
    np.testing.assert_array_equal(ct.array[:, 1:], hu[:, 1:])


@pytest.mark.parametrize("slope", [1, 0.5])
@pytest.mark.parametrize("above", [0, 0xF000, 0x5000])
def test_the_sign_is_the_highest_bit_stored(tmp_path, above, slope):
    hu = np.clip(ct_values(), -2000, 2000)

    def change(dataset, k):
        stored = np.frombuffer(dataset.PixelData, "<u2") & 0xFFF
        stored[stored >= 0x800] |= above
        dataset.BitsStored, dataset.HighBit, dataset.PixelData = 12, 11, stored.astype("<u2").tobytes()
        dataset.RescaleSlope = slope

    paths = write_ct(tmp_path, hu, signed=True, intercept=0, change=change)
    if above == 0x5000:
        refused(tmp_path, "which 12 bits cannot hold, .*: the bits above hold an overlay or the file is damaged")
        return
    np.testing.assert_array_equal(drrproj.read_volume(tmp_path).array, hu * slope)
    np.testing.assert_array_equal(pydicom.dcmread(paths[4]).pixel_array, hu[:, :, 4].T)


def store_12_bits(dataset, k):
    stored = np.frombuffer(dataset.PixelData, "<u2") & 0xFFF
    dataset.BitsStored, dataset.HighBit, dataset.PixelData = 12, 11, stored.astype("<u2").tobytes()


@pytest.mark.parametrize("metal", [1976, 1100, 3071])
def test_metal_that_becomes_negative_by_the_sign_is_said(tmp_path, metal):
    hu = np.clip(ct_values(), -1024, 900)
    hu[9:12, 8:10, 4:7] = metal
    hu[9, 8:10, 4:7] = (metal + 1100) // 2  # at its edge
    write_ct(tmp_path, hu, intercept=-1024, signed=True, change=store_12_bits)
    said = (
        r"IM\d{4}: in 3 of 12 slices pixels are far below air, because PixelRepresentation \(0028,0103\) says that the "
        "highest of their 12 bits is the sign; .* it must be 0: correct it"
    )
    with pytest.warns(UserWarning, match=said) as heard:
        ct = drrproj.read_volume(tmp_path)
    assert len(heard) == 1
    assert ct.array[11, 9, 5] < -1000


@pytest.mark.parametrize("is_stated", [False, True])
@pytest.mark.parametrize(("padding", "intercept"), [(-3024, -1024), (-2000, 0), (-3072, -1024)])
def test_padding_and_air_of_signed_pixels_are_not_called_metal(tmp_path, padding, intercept, is_stated):
    hu = np.clip(ct_values(), -1000, 1000)
    hu[0], hu[-1] = padding, padding
    hu[5, 5] = -1090  # air beside metal
    if is_stated:
        hu[0, 0] = hu[-1, 0] = hu[0, -1] = hu[-1, -1] = -1000

    def change(dataset, k):
        store_12_bits(dataset, k)
        if is_stated:
            dataset.add_new("PixelPaddingValue", "SS", padding - intercept)

    write_ct(tmp_path, hu, intercept=intercept, signed=True, change=change)
    np.testing.assert_array_equal(drrproj.read_volume(tmp_path).array, hu)


@pytest.mark.parametrize(("stored", "high"), [(12, 15), (12, 12), (16, 11), (13, 11), (16, 40)])
@pytest.mark.parametrize("signed", [False, True])
def test_a_wrong_high_bit_is_harmless_where_the_pixels_begin_at_bit_0(tmp_path, stored, high, signed):
    hu = np.clip(ct_values(), -1024, 1000)
    hu[:, :, 3] = 0  # 1024 is stored, in which the lowest bits are 0

    def change(dataset, k):
        dataset.BitsStored, dataset.HighBit = stored, high

    paths = write_ct(tmp_path, hu, signed=signed, intercept=-1024, change=change)
    np.testing.assert_array_equal(drrproj.read_volume(tmp_path).array, hu)
    np.testing.assert_array_equal(pydicom.dcmread(paths[4]).pixel_array, hu[:, :, 4].T + 1024)


def test_a_high_bit_that_may_be_the_sign_is_refused(tmp_path):
    # -1000 HU would be 3096.
    hu = ct_values() & 0xFFF
    write_ct(tmp_path, hu, signed=True, intercept=0, change=lambda dataset, k: setattr(dataset, "HighBit", 11))
    refused(tmp_path, r"its HighBit \(0028,0102\) is 11 where BitsStored \(0028,0101\) is 16: its pixels do not")


@pytest.mark.parametrize("most", [100, 2000])
def test_pixels_that_do_not_begin_at_bit_0_are_refused(tmp_path, most):
    hu = np.clip(ct_values(), -1024, most - 1024) + 1024

    def change(dataset, k):
        dataset.BitsStored, dataset.HighBit = 12, 15

    write_ct(tmp_path, hu * 16, intercept=0, change=change)
    refused(tmp_path, r"IM\d{4}: its HighBit \(0028,0102\) is 15 where BitsStored .* is 12: its pixels do not begin at")


def test_a_padding_value_in_the_range_of_tissue_is_left_alone(tmp_path):
    # Converters write 0 for HU that are stored unscaled: taking it for padding would turn water into air.
    hu = ct_values()
    write_ct(
        tmp_path, hu, signed=True, intercept=0, change=lambda dataset, k: dataset.add_new("PixelPaddingValue", "SS", 0)
    )
    np.testing.assert_array_equal(drrproj.read_volume(tmp_path).array, hu)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}, "its pixels have 8 bits: a picture .* not HU"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "it is a colour picture, not HU"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, r"PhotometricInterpretation \(0028,0004\) is MONOCHROME1"),
        ({"RescaleType": "US"}, r"its RescaleType \(0028,1054\) is US, not HU"),
        ({"RescaleSlope": None}, r"it has no RescaleSlope \(0028,1053\)"),
        ({"RescaleIntercept": None}, r"it has no RescaleIntercept \(0028,1052\)"),
        ({"RescaleSlope": "0"}, r"its RescaleSlope \(0028,1053\) is 0"),
        ({"PixelSpacing": None}, r"it has no PixelSpacing \(0028,0030\)"),
        ({"PixelSpacing": ["1"]}, r"its PixelSpacing \(0028,0030\) must be 2 finite numbers; got \[1\.0\]"),
        ({"PixelSpacing": ["0", "1"]}, r"its PixelSpacing \(0028,0030\) must be positive mm"),
        ({"ImageOrientationPatient": None}, r"it has no ImageOrientationPatient \(0020,0037\)"),
        ({"ImageOrientationPatient": ["1", "0", "0", "1", "0", "0"]}, "are not perpendicular unit vectors"),
        ({"BitsStored": 12, "HighBit": 11}, "which 12 bits cannot hold"),
        ({"BitsStored": 12, "HighBit": 15}, r"its HighBit \(0028,0102\) is 15 where BitsStored \(0028,0101\) is 12"),
        ({"BitsStored": None}, r"it has no BitsStored \(0028,0101\)"),
    ],
)
def test_what_is_no_ct_or_lies_nowhere(tmp_path, change, match):
    def apply(dataset, k):
        for name, value in change.items():
            if value is None:
                del dataset[name]
            else:
                setattr(dataset, name, value)

    write_ct(tmp_path, ct_values(), change=apply)
    message = refused(tmp_path, match)
    assert re.search(r"IM\d{4}: ", message)


# --- which slices -------------------------------------------------------------------------------------------------


def test_missing_slices_are_named(tmp_path):
    paths = write_ct(tmp_path, ct_values())
    for k in (3, 4, 8):
        paths[k].unlink()
    message = refused(tmp_path, "slices are missing: about 3 of 5 mm: ")
    # Slice k has instance number 12 - k and lies at -300 + 5 k.
    assert f"2 between {paths[2]} (instance 10) at -290.00 mm and {paths[5]} (instance 7) at -275.00 mm" in message
    assert f"1 between {paths[7]} (instance 5) at -265.00 mm and {paths[9]} (instance 3) at -255.00 mm" in message


def said_of_slices(folder, kept, placed=STRAIGHT, **elements):
    """Keep some slices of a series, and say what is heard of them."""

    def change(dataset, k):
        for keyword, value in elements.items():
            setattr(dataset, keyword, value(k) if callable(value) else value)

    for k, path in enumerate(write_ct(folder, ct_values(), placed, change=change)):
        if k not in kept:
            path.unlink()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert drrproj.read_volume(folder).shape[2] == len(kept)
    return " | ".join(str(warning.message) for warning in caught)


@pytest.mark.parametrize("placed", [STRAIGHT, tilted()], ids=["straight", "tilted"])
@pytest.mark.parametrize("number", [lambda k: k + 1, lambda k: 300 - k], ids=["ascending", "descending"])
@pytest.mark.parametrize("times", [2, 3])
@pytest.mark.parametrize("keyword", ["SpacingBetweenSlices", "SliceThickness"])
def test_a_series_of_every_second_slice_is_said(tmp_path, keyword, times, number, placed):
    along = float(placed.step @ np.cross(placed.row_direction, placed.column_direction))
    elements = {"InstanceNumber": number, keyword: f"{along:.3f}"}
    said = said_of_slices(tmp_path, range(0, 12, times), placed, **elements)
    assert f": its slices are {times * along:.4g} mm apart and their instance numbers {times}, and its" in said
    assert f"its {tag_text(keyword)} is {along:.4g}: if only one slice in {times} was copied, copy the whole" in said


@pytest.mark.parametrize(
    "elements",
    [
        # Slices with gaps between them, and slices that overlap.
        {"SliceThickness": "5", "InstanceNumber": lambda k: k // 2 + 1},
        {"SliceThickness": "20", "InstanceNumber": lambda k: k // 2 + 1},
        {"SliceThickness": "20", "InstanceNumber": lambda k: k + 1},
        # A wrong distance, or numbers of two series that were counted in turn.
        {"SpacingBetweenSlices": "5", "InstanceNumber": lambda k: k // 2 + 1},
        {"SpacingBetweenSlices": "10", "SliceThickness": "10", "InstanceNumber": lambda k: k + 1},
        {"SpacingBetweenSlices": "3", "SliceThickness": "3", "InstanceNumber": lambda k: k + 1},
        # No numbers, the same one, or in no order.
        {"SpacingBetweenSlices": "5", "InstanceNumber": None},
        {"SpacingBetweenSlices": "5", "InstanceNumber": 1},
        {"SpacingBetweenSlices": "5", "InstanceNumber": lambda k: (k * k) % 13},
        # No distance, or several.
        {"SliceThickness": None, "InstanceNumber": lambda k: k + 1},
        {"SliceThickness": lambda k: "5" if k else "6", "InstanceNumber": lambda k: k + 1},
    ],
)
def test_a_series_with_gaps_or_wrong_statements_is_not_called_thinned(tmp_path, elements):
    assert said_of_slices(tmp_path, range(0, 12, 2), **elements) == ""


def test_uneven_slices_are_refused(tmp_path):
    def change(dataset, k):
        dataset.ImagePositionPatient[2] = -300 + 5 * k + (2 if k > 6 else 0)

    write_ct(tmp_path, ct_values(), change=change)
    refused(tmp_path, "the slices are not evenly spaced: from 5 to 7 mm apart")


def test_slices_that_slide_sideways_are_refused(tmp_path):
    def change(dataset, k):
        dataset.ImagePositionPatient[0] = -60 + 0.2 * k**2

    write_ct(tmp_path, ct_values(), change=change)
    refused(tmp_path, "the slices are not evenly spaced")


def test_positions_rounded_to_a_tenth_of_a_millimetre_are_even(tmp_path):
    placed = Placed(STRAIGHT.origin, STRAIGHT.row_direction, STRAIGHT.column_direction, (1, 1), np.array([0, 0, 0.625]))

    def change(dataset, k):
        dataset.ImagePositionPatient[2] = f"{-300 + 0.625 * k:.1f}"

    write_ct(tmp_path, ct_values((8, 8, 33)), placed, change=change)
    np.testing.assert_allclose(drrproj.read_volume(tmp_path).voxel_size[2], 0.625, atol=1e-9)


def test_a_copy_of_a_slice_is_left_out_and_said(tmp_path):
    paths = write_ct(tmp_path, ct_values())
    (tmp_path / "again").write_bytes(paths[4].read_bytes())
    with pytest.warns(UserWarning, match=r"left out 1 copy of a slice \((again|IM\d+)\)"):
        ct = drrproj.read_volume(tmp_path)
    np.testing.assert_array_equal(ct.array, ct_values())


@pytest.mark.parametrize("differs", [False, True])
def test_copies_without_uids_are_known_by_their_pixels(tmp_path, differs):
    paths = write_ct(tmp_path, ct_values(), change=lambda dataset, k: setattr(dataset, "SOPInstanceUID", ""))
    contents = bytearray(paths[4].read_bytes())
    contents[-1] ^= differs
    (tmp_path / "again").write_bytes(contents)
    if differs:
        refused(tmp_path, "two different slices lie in one place")
    else:
        with pytest.warns(UserWarning, match="1 copy of a slice"):
            drrproj.read_volume(tmp_path)


def test_two_acquisitions_in_one_place_are_refused(tmp_path):
    write_ct(tmp_path / "1", ct_values())
    write_ct(tmp_path / "2", ct_values(seed=1), change=lambda dataset, k: setattr(dataset, "AcquisitionNumber", 2))
    refused(tmp_path, r"two different slices lie in one place: .*AcquisitionNumber \(0020,0012\) [12] and [12]")


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("FrameOfReferenceUID", "1.2.3"),
        ("PixelSpacing", ["2.1", "1.5"]),
        ("ImageOrientationPatient", ["0", "1", "0", "0", "0", "1"]),
        ("Rows", 12),
    ],
)
def test_images_of_different_kinds_in_one_series_are_refused(tmp_path, keyword, value):
    def change(dataset, k):
        if k == 5:
            setattr(dataset, keyword, value)

    write_ct(tmp_path, ct_values(), change=change)
    refused(tmp_path, f"the series mixes images: {re.escape(tag_text(keyword))} is ")


def test_a_single_slice_is_refused(tmp_path):
    path = write_ct(tmp_path, ct_values())[0]
    refused(path, "is a single slice; a volume needs all of its series: pass their folder")


def test_a_slice_that_is_cut_short_is_named(tmp_path):
    path = write_ct(tmp_path, ct_values())[7]
    path.write_bytes(path.read_bytes()[:-100])
    assert str(path) in refused(tmp_path, "the file is cut short: it has 860 of 960 bytes of pixels")
    contents = path.read_bytes()
    for length in (140, 300, 400, 500, 600, 700, 850):
        path.write_bytes(contents[:length])
        assert str(path) in refused(tmp_path, "damaged or cut short")
    path.write_bytes(contents[: contents.rindex(b"\xe0\x7f\x10\x00")])
    assert str(path) in refused(tmp_path, r"it has no PixelData \(7fe0,0010\)")


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("slice.dcm", "{}.dcm"),
        ("slice.IMA", "THORAX.{}.IMA"),
        ("IM0099", "IM{}"),
        ("1.2.840.113", "1.2.840.{}"),
        ("CT.1.2.7", "CT.1.2.{}"),
        ("0a1f-99e3", "b{}1-7"),
    ],
)
@pytest.mark.parametrize("length", [0, 1, 100, 131])
def test_a_slice_that_ends_before_it_begins_is_not_passed_over(tmp_path, length, name, others, zipped):
    folder = tmp_path / "ct"
    for path in write_ct(folder, ct_values()):
        path = path.rename(folder / others.format(path.name[2:]))
    (folder / name).write_bytes(path.read_bytes()[:length])
    path.unlink()
    what = f"it ends after {length} bytes" if length else "it is empty"
    place = Path(shutil.make_archive(str(tmp_path / "zipped"), "zip", folder)) if zipped else folder
    message = refused(place, f"the DICOM file is damaged or cut short: {what}; copy it again or remove it")
    assert message.startswith(str(place / name))


def test_what_is_called_a_dicom_file_and_is_none(tmp_path):
    write_ct(tmp_path, ct_values())
    # Passed over: what no scanner calls a slice.
    for name in ("readme.txt", "empty.csv", "report.pdf"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "LICENSE").write_text("of the data")
    os.mkfifo(tmp_path / "IM0098")  # to open it would be to wait for ever
    np.testing.assert_array_equal(drrproj.read_volume(tmp_path).array, ct_values())
    (tmp_path / "IM0099").symlink_to(tmp_path / "moved away")
    refused(tmp_path, r"IM0099: the DICOM file is damaged or cut short: it is a link that leads nowhere; copy it")
    (tmp_path / "IM0099").unlink()
    for path in tmp_path.glob("IM00[01]*"):
        path.rename(path.with_suffix(".dcm"))
    (tmp_path / "slice.dcm").write_text("<html>not found</html>" * 20)
    refused(tmp_path, r"slice\.dcm: the DICOM file is damaged or cut short: it does not begin as DICOM does; copy it")


@pytest.mark.parametrize("ending", ["", ".dcm"])
@pytest.mark.parametrize("zipped", [False, True])
def test_a_stray_file_is_left_out_and_said(tmp_path, ending, zipped):
    folder = tmp_path / "ct"
    for path in write_ct(folder, ct_values()):
        path.rename(path.with_suffix(ending))
    for name in ("LOCK", "VERSION", "_SUCCESS", "done"):
        (folder / name).touch()
    (folder / "report.dcm").write_bytes(b"%PDF-1.4" + bytes(200))
    place = Path(shutil.make_archive(str(tmp_path / "zipped"), "zip", folder)) if zipped else folder
    with pytest.warns(UserWarning, match=r"left out LOCK, which is empty, .* and 2 more: not DICOM, and not called as"):
        np.testing.assert_array_equal(drrproj.read_volume(place).array, ct_values())
    for name in ("LOCK", "VERSION", "_SUCCESS", "done"):
        (folder / name).unlink()
    (folder / "latest").symlink_to(tmp_path / "gone")
    with pytest.warns(UserWarning, match=r"left out latest, which is a link that .*, report\.dcm, which is a PDF: not"):
        np.testing.assert_array_equal(drrproj.read_volume(folder).array, ct_values())


def test_a_stray_file_where_nothing_is_dicom(tmp_path):
    (tmp_path / "LOCK").touch()
    assert dicom_files(tmp_path) == []
    (tmp_path / "slice.dcm").touch()
    refused(tmp_path, r"slice\.dcm: the DICOM file is damaged or cut short: it is empty")


def test_links_to_folders_are_followed_once(tmp_path):
    write_ct(tmp_path / "store" / "ct", ct_values())
    (tmp_path / "store" / "again").symlink_to(tmp_path / "store" / "ct")
    (tmp_path / "store" / "ct" / "up").symlink_to(tmp_path / "store")
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / "series").symlink_to(tmp_path / "store" / "ct")
    for place in (tmp_path / "store", tmp_path / "case", tmp_path / "case" / "series"):
        np.testing.assert_array_equal(drrproj.read_volume(place).array, ct_values())


@pytest.mark.parametrize("name", ["prior", "A"])
def test_a_link_to_another_series_is_not_followed_from_beside_slices(tmp_path, name):
    write_ct(tmp_path / "ct" / "in", ct_values())
    write_ct(
        tmp_path / "other", ct_values(seed=9), change=lambda dataset, k: setattr(dataset, "SeriesInstanceUID", "1")
    )
    (tmp_path / "other" / "converted.nii").touch()
    (tmp_path / "ct" / name).symlink_to(tmp_path / "other")
    with pytest.warns(UserWarning, match=f"left out what lies behind the link {name}$"):
        np.testing.assert_array_equal(drrproj.read_volume(tmp_path / "ct").array, ct_values())
    # Masks beside a link to their CT are masks.
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "heart.nii.gz").touch()
    (tmp_path / "masks" / name).symlink_to(tmp_path / "ct")
    assert dicom_files(tmp_path / "masks") == []


def test_a_folder_that_cannot_be_read_is_not_passed_over(tmp_path, monkeypatch):
    write_ct(tmp_path, ct_values())
    (tmp_path / "more").mkdir()
    listed = os.scandir

    def scandir(path):
        if os.path.basename(path) == "more":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    refused(tmp_path, "more: this folder cannot be read: Permission denied")


def test_names_in_a_zip_that_are_none(tmp_path):
    folder = tmp_path / "ct"
    paths = write_ct(folder, ct_values())
    with zipfile.ZipFile(tmp_path / "ct.zip", "w") as archive:
        for path in paths:
            info = zipfile.ZipInfo(path.name)
            info.filename = path.name if path != paths[3] else ""
            archive.writestr(info, path.read_bytes())
    np.testing.assert_array_equal(drrproj.read_volume(tmp_path / "ct.zip").array, ct_values())
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("\u00e9", b"")
    contents = (tmp_path / "bad.zip").read_bytes()
    (tmp_path / "bad.zip").write_bytes(contents.replace("\u00e9".encode(), b"\xff\xfe"))
    with pytest.raises(ValueError, match=r"bad\.zip: the zip is damaged or cut short: .*can't decode byte 0xff"):
        dicom_files(tmp_path / "bad.zip")


@pytest.mark.parametrize("modality", ["CT", "RTPLAN"])
def test_a_private_transfer_syntax(tmp_path, modality):
    path = write_ct(tmp_path, ct_values())[5]
    (tmp_path / "other").write_bytes(path.read_bytes())
    dataset = pydicom.dcmread(tmp_path / "other")
    dataset.file_meta.TransferSyntaxUID = "1.2.3.4.5"
    dataset.Modality = modality
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.3"
    pydicom.dcmwrite(tmp_path / "other", dataset, implicit_vr=False, little_endian=True)
    if modality == "CT":
        path.unlink()
        refused(tmp_path, r"other: its pixels are stored in a private transfer syntax, 1\.2\.3\.4\.5; export it")
        return
    with pytest.warns(UserWarning, match="left out 1 RTPLAN object"):
        ct = drrproj.read_volume(tmp_path)
    np.testing.assert_array_equal(ct.array, ct_values())


def test_folders_without_dicom(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    refused(tmp_path, "no DICOM files in it; pass the folder or zip of a CT series")
    with pytest.raises(FileNotFoundError, match="no such file"):
        drrproj.read_volume(tmp_path / "nowhere")
    (tmp_path / "ct.nii.gz").write_bytes(b"")
    refused(tmp_path, r"no DICOM files in it, but ct\.nii\.gz; pass that file itself")


@pytest.mark.parametrize("zipped", [False, True])
def test_another_volume_beside_the_slices_is_not_passed_over(tmp_path, zipped):
    folder = tmp_path / "ct"
    write_ct(folder, ct_values())
    expected = drrproj.read_volume(folder)
    (folder / "._ct.nii").write_bytes(b"")
    drrproj.read_volume(folder)
    (folder / "converted").mkdir()
    for name in ("ct.NII.GZ", "ct.mha"):
        (folder / "converted" / name).write_bytes(b"")
    path = Path(shutil.make_archive(str(tmp_path / "zipped"), "zip", folder)) if zipped else folder
    refused(
        path, r"DICOM files and converted/ct\.\w+(\.gz|\.GZ)? and others are in it, and which one is meant is not said"
    )
    np.testing.assert_array_equal(drrproj.read_volume(path, series="Thorax 1.0").array, expected.array)


# --- which series -------------------------------------------------------------------------------------------------


def several(folder: Path, second: str = "Lung 0.6 B70f") -> None:
    def change(dataset, k):
        dataset.SeriesInstanceUID, dataset.SeriesDescription, dataset.SeriesNumber = "1.2.3.4", second, 7

    write_ct(folder / "a", ct_values())
    write_ct(folder / "b", ct_values(seed=9), change=change)


def test_several_series_are_offered(tmp_path):
    several(tmp_path)
    message = refused(tmp_path, "2 CT series: .*choose one by its description, number or UID with series=")
    assert "'Thorax 1.0' (number 4, 12 slices, " in message
    assert "'Lung 0.6 B70f' (number 7, 12 slices, 1.2.3.4)" in message
    for choice in ("Lung 0.6 B70f", "lung", 7, "7", "1.2.3.4"):
        np.testing.assert_array_equal(drrproj.read_volume(tmp_path, series=choice).array, ct_values(seed=9))
    refused(tmp_path, r"no series 'Abdomen' here; there are 2: 'Thorax 1\.0'", series="Abdomen")


def test_a_description_that_fits_two_series_is_refused(tmp_path):
    several(tmp_path, second="Thorax 1.0 LUNG")
    np.testing.assert_array_equal(drrproj.read_volume(tmp_path, series="Thorax 1.0").array, ct_values())
    refused(tmp_path, "2 series that 'thorax' fits: ", series="thorax")


def test_localizers_and_other_objects_are_left_out_and_said(tmp_path):
    write_ct(tmp_path / "ct", ct_values())

    def localizer(dataset, k):
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        dataset.SeriesDescription = "Topogram"

    write_ct(tmp_path / "scout", ct_values((8, 8, 2)), change=localizer)
    write_ct(tmp_path / "mr", ct_values((8, 8, 3)), change=lambda dataset, k: setattr(dataset, "Modality", "MR"))
    with pytest.warns(UserWarning, match=r"left out .*2 localizers \(Topogram\)") as caught:
        ct = drrproj.read_volume(tmp_path)
    assert "3 MR objects (Thorax 1.0)" in str(caught[0].message)
    np.testing.assert_array_equal(ct.array, ct_values())
    refused(tmp_path / "scout", r"no CT series here, only 2 localizers \(Topogram\)")
    refused(tmp_path / "mr", r"no CT series here, only 3 MR objects")


def test_series_belongs_to_dicom(tmp_path):
    nibabel.save(nibabel.Nifti1Image(ct_values(), np.eye(4)), tmp_path / "ct.nii")
    refused(tmp_path / "ct.nii", "series chooses among DICOM series", series=3)


# --- libraries ----------------------------------------------------------------------------------------------------


def test_without_pydicom_the_extra_is_named(tmp_path, monkeypatch):
    write_ct(tmp_path, ct_values())
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(
        ModuleNotFoundError, match=r'reading DICOM needs pydicom, .* pip install pydicom, or the extra "dicom"'
    ):
        drrproj.read_volume(tmp_path)


def test_without_a_decoder_its_package_is_named(tmp_path, monkeypatch):
    for path in write_ct(tmp_path, ct_values((32, 32, 3))):
        dataset = pydicom.dcmread(path)
        dataset.compress(RLELossless, generate_instance_uid=False)
        dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
        dataset.save_as(path)
    from pydicom.pixels.decoders import JPEGLosslessSV1Decoder

    monkeypatch.setattr(JPEGLosslessSV1Decoder, "_available", {})
    with pytest.raises(ModuleNotFoundError, match=r"compressed as JPEG Lossless.*pip install .*pylibjpeg-libjpeg"):
        drrproj.read_volume(tmp_path)


def test_a_damaged_compressed_slice(tmp_path):
    for path in write_ct(tmp_path, ct_values((32, 32, 3))):
        dataset = pydicom.dcmread(path)
        dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
        dataset.PixelData = pydicom.encaps.encapsulate([b"\0" * 200])
        dataset.save_as(path)
    refused(tmp_path, "its pixels, compressed as JPEG 2000 .*, are damaged")


# --- frames of reference ------------------------------------------------------------------------------------------


def test_labels_of_another_frame_of_reference_are_refused(tmp_path):
    write_ct(tmp_path, ct_values())
    ct = drrproj.read_volume(tmp_path)
    ids = (ct.array > -500).astype(np.uint8)
    view = drrproj.Geometry.radiograph("PA", ct, shape=(8, 8))
    for frame in (None, FRAME):
        drrproj.project(ct, view, labels=drrproj.LabelVolume(ids, ct.affine, frame_of_reference=frame))
    other = drrproj.LabelVolume(ids, ct.affine, {1: "body"}, frame_of_reference="1.2.3")
    changed = other.subset(["body"]), other.with_groups({"all": ["body"]}), pickle.loads(pickle.dumps(other))
    for labels in (other, [drrproj.LabelVolume(ids, ct.affine), other], *changed):
        with pytest.raises(ValueError, match=f"their DICOM frame of reference is 1.2.3, the CT's {FRAME}"):
            drrproj.project(ct, view, labels=labels)
    shot = drrproj.project(ct, view, labels=other, other_space=True)
    assert shot.record["labels"][0]["other_space"]
