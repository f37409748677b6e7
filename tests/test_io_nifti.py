"""Reading volumes from NIfTI: what is kept, what is converted, and what is refused with one clear sentence."""

from __future__ import annotations

import gzip
import struct
import sys
import tracemalloc
from fractions import Fraction
from pathlib import Path

import nibabel
import numpy as np
import pytest

import drrproj
from drrproj.io.nifti import read_nifti
from drrproj.io.orientation import world_from_voxel

LAS_OBLIQUE = np.array([[-0.8, 0.1, 0, 60], [0.1, 0.8, 0, -70], [0, 0, 2.5, -340], [0, 0, 0, 1]])


def ct_array() -> np.ndarray:
    """Int16, asymmetric, every voxel different."""
    return np.arange(7 * 6 * 5, dtype=np.int16).reshape(7, 6, 5) - 100


def write(path: Path, array: np.ndarray, affine: np.ndarray | None = LAS_OBLIQUE, **header) -> Path:
    image = nibabel.Nifti1Image(array, affine)
    for field, value in header.items():
        image.header[field] = value
    nibabel.save(image, path)
    return path


def patch_header(path: Path, kind: type = nibabel.Nifti1Image, **fields) -> Path:
    """Change header fields of an uncompressed file behind nibabel's back."""
    contents = bytearray(path.read_bytes())
    header = np.ndarray((), kind.header_class.template_dtype, contents)
    for field, value in fields.items():
        header[field] = value
    path.write_bytes(contents)
    return path


def set_slope(path: Path, slope: float, inter: float) -> Path:
    return patch_header(path, scl_slope=slope, scl_inter=inter)


def packed(path: Path) -> Path:
    """Compress a file into one beside it."""
    compressed = path.with_name(path.name + ".gz")
    compressed.write_bytes(gzip.compress(path.read_bytes(), compresslevel=1))
    return compressed


@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz"])
def test_unscaled_int16_stays_as_it_is_on_disk(tmp_path, name):
    ct = drrproj.read_volume(write(tmp_path / name, ct_array()))
    assert ct.array.dtype == np.int16
    assert ct.array.flags.f_contiguous
    assert ct.unit == "HU"
    np.testing.assert_array_equal(ct.array, ct_array())
    np.testing.assert_allclose(ct.affine, LAS_OBLIQUE, atol=1e-6)


def test_uncompressed_file_is_mapped(tmp_path):
    ct = drrproj.read_volume(write(tmp_path / "ct.nii", ct_array()))
    base = ct.array
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)


@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32, np.float64, ">i2"])
def test_number_types(tmp_path, name, dtype):
    array = np.abs(ct_array()).astype(dtype)
    path = write(tmp_path / name, array)
    ct = drrproj.read_volume(path)
    assert ct.array.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(ct.array, array)


def test_big_endian_file(tmp_path):
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    image = nibabel.Nifti1Image(ct_array(), LAS_OBLIQUE, header)
    nibabel.save(image, tmp_path / "ct.nii")
    assert (tmp_path / "ct.nii").read_bytes()[:4] == b"\0\0\x01\x5c"
    ct = drrproj.read_volume(tmp_path / "ct.nii")
    np.testing.assert_array_equal(ct.array, ct_array())
    assert ct.array.dtype.isnative


def test_nifti2(tmp_path):
    nibabel.save(nibabel.Nifti2Image(ct_array(), LAS_OBLIQUE), tmp_path / "ct.nii.gz")
    ct = drrproj.read_volume(tmp_path / "ct.nii.gz")
    np.testing.assert_array_equal(ct.array, ct_array())
    np.testing.assert_allclose(ct.affine, LAS_OBLIQUE)


def test_slope_gives_float32(tmp_path):
    path = set_slope(write(tmp_path / "ct.nii", ct_array()), 0.5, -10.25)
    ct = drrproj.read_volume(path)
    assert ct.array.dtype == np.float32
    assert ct.array.flags.f_contiguous
    np.testing.assert_array_equal(ct.array, ct_array() * 0.5 - 10.25)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, ">i2", np.float32])
@pytest.mark.parametrize(("slope", "inter"), [(1.0, -1024.0), (1.0, 20000.0), (1.0, 40000.0), (0.5, -10.25)])
def test_a_compressed_file_is_scaled_like_the_mapped_one(tmp_path, dtype, slope, inter):
    stored = np.array([0, 3, 120], np.int64).astype(dtype).reshape(3, 1, 1)
    mapped = set_slope(write(tmp_path / "ct.nii", stored), slope, inter)
    unpacked = drrproj.read_volume(packed(mapped)).array
    assert unpacked.ravel().tolist() == [inter, 3 * slope + inter, 120 * slope + inter]
    assert unpacked.dtype == drrproj.read_volume(mapped).array.dtype


def read_with_peak(path):
    """Read a volume; return it, and the most bytes that Python had meanwhile."""
    tracemalloc.start()
    try:
        return drrproj.read_volume(path), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("dtype", "slope"), [(np.int16, 1.0), (np.uint16, 1.0), (np.float32, 0.5)])
def test_scaling_what_was_unpacked_takes_no_second_array(tmp_path, dtype, slope):
    stored = np.ones((256, 256, 128), dtype)
    path = packed(set_slope(write(tmp_path / "ct.nii", stored), slope, -1024.0))
    ct, peak = read_with_peak(path)
    assert ct.array[0, 0, 0] == slope - 1024
    assert peak < 1.5 * stored.nbytes


def test_scaled_float64_comes_down_to_float32(tmp_path):
    path = set_slope(write(tmp_path / "ct.nii", ct_array().astype(np.float64)), 2.0, 0.0)
    ct = drrproj.read_volume(path)
    assert ct.array.dtype == np.float32
    np.testing.assert_array_equal(ct.array, ct_array() * 2.0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32])
def test_whole_intercept_stays_int16(tmp_path, dtype):
    stored = np.array([0, 1, 200], dtype).reshape(3, 1, 1)
    path = set_slope(write(tmp_path / "ct.nii", stored), 1.0, -1024.0)
    ct = drrproj.read_volume(path)
    assert ct.array.dtype == np.int16
    assert ct.array.ravel().tolist() == [-1024, -1023, -824]


def test_whole_intercept_uses_the_whole_uint16_range(tmp_path):
    stored = np.array([0, 40000, 65535], np.uint16).reshape(3, 1, 1)
    ct = drrproj.read_volume(set_slope(write(tmp_path / "ct.nii", stored), 1.0, -32768.0))
    assert ct.array.dtype == np.int16
    assert ct.array.ravel().tolist() == [-32768, 7232, 32767]


def test_intercept_that_does_not_fit_int16_gives_float32(tmp_path):
    stored = np.array([0, 65535], np.uint16).reshape(2, 1, 1)
    ct = drrproj.read_volume(set_slope(write(tmp_path / "ct.nii", stored), 1.0, -1024.0))
    assert ct.array.dtype == np.float32
    assert ct.array.ravel().tolist() == [-1024.0, 64511.0]


@pytest.mark.parametrize(
    ("dtype", "ids", "slope", "inter"),
    [
        (np.int32, [0, 33554433], 1.0, 1.0),
        (np.int32, [-(2**31), 2**31 - 1], 1.0, 2.0),
        (np.uint16, [0, 16385], 1025.0, 0.0),
        (np.int64, [-5, 2**62 + 1], 1.0, -7.0),
        (np.uint64, [0, 2**64 - 5], 1.0, 4.0),
        (np.uint64, [2**63 + 1, 2**64 - 1], 1.0, -(2.0**63)),
        (np.int64, [-3, 2**40 + 1], -2.0, 3.0),
        (np.int32, [0, 2 * 33554433], 0.5, 0.0),
    ],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_label_ids_that_float32_would_round_are_scaled_exactly(tmp_path, dtype, ids, slope, inter, compressed):
    stored = np.array(ids, dtype).reshape(2, 1, 1)
    image = nibabel.Nifti1Image(stored, LAS_OBLIQUE, dtype=dtype)
    nibabel.save(image, tmp_path / "ct.nii")
    path = set_slope(tmp_path / "ct.nii", slope, inter)
    array, _, _ = read_nifti(packed(path) if compressed else path, exact=True)
    assert [int(number) for number in array.ravel()] == [
        int(number * Fraction(slope) + Fraction(inter)) for number in ids
    ]
    assert array.flags.f_contiguous


@pytest.mark.parametrize("compressed", [False, True])
def test_one_wild_voxel_leaves_a_scaled_ct_float32(tmp_path, compressed):
    stored = np.full((128, 128, 64), 7, np.int32)
    stored[3, 2, 1] = 2**30 + 1
    path = set_slope(write(tmp_path / "ct.nii", stored), 0.5, 0.0)
    if compressed:
        path = packed(path)
    ct, peak = read_with_peak(path)
    assert ct.array.dtype == np.float32
    assert (ct.array[0, 0, 0], ct.array[3, 2, 1]) == (3.5, 2.0**29)
    assert peak < (2.5 if compressed else 1.5) * stored.nbytes


def test_label_ids_beyond_float32_come_through_an_intercept(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.array([[[0, 33554433]]], np.int32), LAS_OBLIQUE), tmp_path / "seg.nii")
    labels = drrproj.read_labels(set_slope(tmp_path / "seg.nii", 1.0, 1.0))
    assert list(labels.label_ids) == [1, 33554434]


def test_unit_is_passed_on(tmp_path):
    assert drrproj.read_volume(write(tmp_path / "mu.nii", ct_array()), unit="1/mm").unit == "1/mm"


def test_reads_without_isal(tmp_path, monkeypatch):
    path = write(tmp_path / "ct.nii.gz", ct_array())
    monkeypatch.setitem(sys.modules, "isal", None)
    np.testing.assert_array_equal(drrproj.read_volume(path).array, ct_array())


def test_trailing_axis_of_one_is_dropped(tmp_path):
    ct = drrproj.read_volume(write(tmp_path / "ct.nii.gz", ct_array()[..., None, None]))
    np.testing.assert_array_equal(ct.array, ct_array())


def test_one_voxel_thick_volume_is_a_volume(tmp_path):
    # NIfTI stores shape (7, 6, 1) with three dimensions, so it must not be taken for a picture.
    assert drrproj.read_volume(write(tmp_path / "ct.nii", ct_array()[..., :1])).shape == (7, 6, 1)


# --- where the voxels are -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "PIR", "SRA", "IAL"])
def test_every_orientation_puts_the_same_voxel_at_the_same_place(tmp_path, codes):
    array, affine = ct_array(), np.array([[2, 0, 0, -5], [0, 3, 0, 8], [0, 0, 4, 9], [0, 0, 0, 1.0]])
    turned = nibabel.Nifti1Image(array, affine).as_reoriented(
        nibabel.orientations.ornt_transform(
            nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(codes)
        )
    )
    nibabel.save(turned, tmp_path / "ct.nii.gz")
    ct = drrproj.read_volume(tmp_path / "ct.nii.gz")
    assert nibabel.aff2axcodes(ct.affine) == tuple(codes)
    index = np.rint((ct.voxel_from_world @ [*(affine[:3] @ [5, 1, 2, 1]), 1])[:3]).astype(int)
    assert ct.array[tuple(index)] == array[5, 1, 2]


@pytest.mark.parametrize(("code", "mm"), [(0, 1.0), (1, 1000.0), (2, 1.0), (3, 0.001)])
def test_units_become_mm(tmp_path, code, mm):
    path = patch_header(write(tmp_path / "ct.nii", ct_array()), xyzt_units=code | 8)
    np.testing.assert_allclose(drrproj.read_volume(path).affine[:3], LAS_OBLIQUE[:3] * mm, rtol=1e-6, atol=1e-9)


def test_unknown_unit_code_is_refused(tmp_path):
    path = patch_header(write(tmp_path / "ct.nii", ct_array()), xyzt_units=5)
    with pytest.raises(ValueError, match=r"ct\.nii: its spatial unit has code 5"):
        drrproj.read_volume(path)


def test_sform_with_shear_is_kept(tmp_path):
    shear = np.array([[1, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1.0]])
    np.testing.assert_allclose(drrproj.read_volume(write(tmp_path / "ct.nii", ct_array(), shear)).affine, shear)


def both_forms(path: Path, sform: np.ndarray, qform: np.ndarray) -> Path:
    image = nibabel.Nifti1Image(ct_array(), None)
    image.set_sform(sform, code=1)
    image.set_qform(qform, code=1)
    nibabel.save(image, path)
    return path


def diagonal(*values: float, origin: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    affine = np.diag([*values, 1.0])
    affine[:3, 3] = origin
    return affine


def test_sform_and_qform_that_agree(tmp_path):
    path = both_forms(tmp_path / "ct.nii", diagonal(1, 1, 2), diagonal(1, 1, 2.01))
    np.testing.assert_allclose(drrproj.read_volume(path).affine, diagonal(1, 1, 2))


@pytest.mark.parametrize(
    ("qform", "what"),
    [
        (diagonal(1, 1, 2.1), r"sform voxels of 1 1 2 mm against qform voxels of 1 1 2\.1 mm"),
        (diagonal(1, -1, -2), r"voxel axis j points along 0 1 0 against -?0 -1 -?0"),
        (diagonal(-1, 1, 2), r"voxel axis i points along 1 0 0 against -1 -?0 -?0"),
        (diagonal(1, 1, 2, origin=(0, 30, 0)), "place the first voxel 30 mm apart"),
    ],
)
def test_sform_and_qform_that_disagree_are_refused_until_one_is_chosen(tmp_path, qform, what):
    path = both_forms(tmp_path / "ct.nii", diagonal(1, 1, 2), qform)
    with pytest.raises(ValueError, match=r"ct\.nii: its sform and qform disagree: .*" + what + ".*prefer="):
        drrproj.read_volume(path)
    with pytest.raises(ValueError, match="disagree"):
        drrproj.read_volume(path, prefer="pixdim")
    np.testing.assert_allclose(drrproj.read_volume(path, prefer="sform").affine, diagonal(1, 1, 2), atol=1e-6)
    np.testing.assert_allclose(drrproj.read_volume(path, prefer="qform").affine, qform, atol=1e-6)


def test_prefer_takes_what_there_is(tmp_path):
    path = write(tmp_path / "ct.nii", ct_array())
    np.testing.assert_allclose(drrproj.read_volume(path, prefer="qform").affine, LAS_OBLIQUE, atol=1e-6)


def test_damaged_quaternion_is_refused_and_sform_is_the_way_out(tmp_path):
    path = patch_header(both_forms(tmp_path / "ct.nii", diagonal(1, 1, 2), diagonal(1, 1, 2)), quatern_b=3.0)
    with pytest.raises(ValueError, match=r'its qform is damaged .*prefer="sform"'):
        drrproj.read_volume(path)
    assert drrproj.read_volume(path, prefer="sform").voxel_size.tolist() == [1, 1, 2]


def test_no_orientation_at_all_is_refused_until_accepted(tmp_path):
    path = patch_header(write(tmp_path / "ct.nii", ct_array(), diagonal(1, 2, 3)), sform_code=0, qform_code=0)
    with pytest.raises(ValueError, match=r'neither sform nor qform is set; .*prefer="pixdim"'):
        drrproj.read_volume(path)
    affine = drrproj.read_volume(path, prefer="pixdim").affine
    assert nibabel.aff2axcodes(affine) == ("L", "A", "S")
    np.testing.assert_allclose(affine, nibabel.load(path).affine)


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        (np.diag([1, 1, 0, 0])[:3], "singular"),
        (np.array([[1, 2, 0, 0], [2, 4, 0, 0], [0, 0, 1, 0]]), "singular"),
        (np.array([[1, 0, 0, np.nan], [0, 1, 0, 0], [0, 0, 1, 0]]), "not finite"),
        (np.array([[np.inf, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]), "not finite"),
    ],
)
def test_affines_that_are_none_are_refused(tmp_path, rows, what):
    path = write(tmp_path / "ct.nii", ct_array())
    patch_header(path, sform_code=1, qform_code=0, srow_x=rows[0], srow_y=rows[1], srow_z=rows[2])
    with pytest.raises(ValueError, match=rf"ct\.nii: the affine of the volume .*{what}"):
        drrproj.read_volume(path)


def test_broken_sform_beside_a_good_qform(tmp_path):
    path = both_forms(tmp_path / "ct.nii", diagonal(1, 1, 2), diagonal(1, 1, 2))
    patch_header(path, srow_x=[np.nan] * 4)
    with pytest.raises(ValueError, match="the sform has entries that are not finite"):
        drrproj.read_volume(path)
    patch_header(path, srow_x=[0.0] * 4)
    with pytest.raises(ValueError, match="disagree: sform voxels of 0 1 2 mm"):
        drrproj.read_volume(path)
    assert drrproj.read_volume(path, prefer="qform").voxel_size.tolist() == [1, 1, 2]


@pytest.mark.parametrize("size", [0, -3, np.nan, np.inf])
def test_a_size_of_voxels_that_is_none_is_refused_where_it_counts(tmp_path, size):
    path = both_forms(tmp_path / "ct.nii", diagonal(1, 1, 3), diagonal(1, 1, 3))
    pixdim = [1, 1, 1, size, 1, 1, 1, 1]
    said = rf"ct\.nii: its pixdim, the size of a voxel, must be three positive numbers; got 1 1 {size:g}; write the "
    patch_header(path, pixdim=pixdim)
    with pytest.raises(ValueError, match=rf'{said}true size there, or pass prefer="sform" \(--prefer sform\)$'):
        drrproj.read_volume(path, prefer="qform")
    assert drrproj.read_volume(path, prefer="sform").voxel_size.tolist() == [1, 1, 3]
    assert drrproj.read_volume(patch_header(path, qform_code=0)).voxel_size.tolist() == [1, 1, 3]
    assert drrproj.read_volume(path, prefer="pixdim").voxel_size.tolist() == [1, 1, 3]
    patch_header(path, qform_code=1, sform_code=0)
    for prefer in (None, "sform", "qform", "pixdim"):
        with pytest.raises(ValueError, match=rf"{said}true size there$"):
            drrproj.read_volume(path, prefer=prefer)
    patch_header(path, qform_code=0)
    with pytest.raises(ValueError, match=rf"{said}true size there$"):
        drrproj.read_volume(path, prefer="pixdim")


def test_a_sform_beside_a_negative_size_of_voxels_is_still_read(tmp_path):
    path = both_forms(tmp_path / "ct.nii", diagonal(1, 1, 3), diagonal(1, 1, 3))
    patch_header(path, pixdim=[1, 1, 1, -3, 1, 1, 1, 1])
    assert drrproj.read_volume(path).voxel_size.tolist() == [1, 1, 3]


def test_a_size_of_voxels_that_is_none_in_an_analyze_file(tmp_path):
    kind = nibabel.AnalyzeImage
    nibabel.save(kind(ct_array(), np.eye(4)), tmp_path / "ct.img")
    patch_header(tmp_path / "ct.hdr", kind, pixdim=[0, 1, -1, 1, 0, 0, 0, 0])
    with pytest.raises(ValueError, match=r"ct\.img: its pixdim, .* three positive numbers; got 1 -1 1; write the true"):
        drrproj.read_volume(tmp_path / "ct.img", prefer="pixdim")


@pytest.mark.parametrize("code", [99, -1, 6])
@pytest.mark.parametrize(("form", "other"), [("sform", "qform"), ("qform", "sform")])
def test_a_form_whose_code_nobody_knows_is_refused_until_the_other_is_chosen(tmp_path, code, form, other):
    matrices = {form: diagonal(1, 1, 3), other: diagonal(1, 1, 2)}
    path = patch_header(both_forms(tmp_path / "ct.nii", **matrices), **{f"{form}_code": code})
    said = rf"ct\.nii: its {form}_code is {code}, which NIfTI does not know; set it to 1 \(scanner\)"
    for prefer in (None, form, "pixdim"):
        with pytest.raises(ValueError, match=rf'{said}, or pass prefer="{other}" \(--prefer {other}\)$'):
            drrproj.read_volume(path, prefer=prefer)
    assert drrproj.read_volume(path, prefer=other).voxel_size.tolist() == [1, 1, 2]
    patch_header(path, **{f"{other}_code": 0})
    for prefer in (None, other, "pixdim"):
        with pytest.raises(ValueError, match=rf"{said}$"):
            drrproj.read_volume(path, prefer=prefer)


def test_unknown_prefer():
    with pytest.raises(ValueError, match="prefer must be"):
        world_from_voxel(nibabel.Nifti1Header(), "best")  # type: ignore[arg-type]


# --- bad files ----------------------------------------------------------------------------------------------------


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^no such file: .*ct\.nii\.gz$"):
        drrproj.read_volume(tmp_path / "ct.nii.gz")


@pytest.mark.parametrize("contents", [b"hello", b"\0" * 5000, gzip.compress(b"\0" * 5000)])
def test_no_file_that_is_read(tmp_path, contents):
    path = tmp_path / "ct.nii.gz"
    path.write_bytes(contents)
    with pytest.raises(ValueError, match=r"ct\.nii\.gz: this is no file that drrproj reads: NIfTI and Analyze, "):
        drrproj.read_volume(path)


def test_an_empty_file_is_said_to_be_empty(tmp_path):
    (tmp_path / "ct.nii.gz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"ct\.nii\.gz: the file is empty"):
        drrproj.read_volume(tmp_path / "ct.nii.gz")


# --- pairs and Analyze --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [nibabel.Nifti1Pair, nibabel.Nifti2Pair])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_pair_is_read_by_either_half(tmp_path, kind, ending):
    nibabel.save(kind(ct_array(), LAS_OBLIQUE), tmp_path / f"ct.img{ending}")
    for half in ("hdr", "img"):
        ct = drrproj.read_volume(tmp_path / f"ct.{half}{ending}")
        np.testing.assert_array_equal(ct.array, ct_array())
        np.testing.assert_allclose(ct.affine, LAS_OBLIQUE, atol=1e-6)


def test_half_of_a_pair(tmp_path):
    nibabel.save(nibabel.Nifti1Pair(ct_array(), LAS_OBLIQUE), tmp_path / "ct.img")
    (tmp_path / "ct.img").rename(tmp_path / "other.img")
    with pytest.raises(
        FileNotFoundError, match=r"ct\.hdr: this is the header half of a pair, and ct\.img is not beside"
    ):
        drrproj.read_volume(tmp_path / "ct.hdr")
    with pytest.raises(FileNotFoundError, match=r"this is the image half of a pair, and other\.hdr is not beside it"):
        drrproj.read_volume(tmp_path / "other.img")


@pytest.mark.parametrize("kind", [nibabel.AnalyzeImage, nibabel.Spm99AnalyzeImage])
@pytest.mark.parametrize("endianness", ["<", ">"])
def test_analyze_lies_somewhere_only_when_told(tmp_path, kind, endianness):
    header = kind.header_class(endianness=endianness)
    header.set_data_dtype(np.int16)
    image = kind(ct_array(), None, header)
    image.header.set_zooms((1, 2, 3))
    image.to_filename(tmp_path / "ct.img")
    (tmp_path / "ct.mat").unlink(missing_ok=True)
    with pytest.raises(ValueError, match=r'ct\.hdr: it is an Analyze file, which cannot say .*prefer="pixdim"'):
        drrproj.read_volume(tmp_path / "ct.hdr")
    ct = drrproj.read_volume(tmp_path / "ct.img", prefer="pixdim")
    np.testing.assert_array_equal(ct.array, ct_array())
    assert nibabel.aff2axcodes(ct.affine) == ("L", "A", "S")
    assert ct.voxel_size.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("origin", "first"), [((1, 2, 3), (0, -2, -6)), ((0, 0, 0), (3, -5, -6)), ((99, 1, 1), (3, -5, -6))]
)
@pytest.mark.parametrize("endianness", ["<", ">"])
def test_an_origin_of_spm_places_an_analyze_file_as_nibabel_has_it(tmp_path, origin, first, endianness):
    header = nibabel.Spm99AnalyzeHeader(endianness=endianness)
    header.set_data_dtype(np.int16)
    image = nibabel.Spm99AnalyzeImage(ct_array(), None, header)
    image.header.set_zooms((1, 2, 3))
    image.to_filename(tmp_path / "ct.img")
    (tmp_path / "ct.mat").unlink(missing_ok=True)
    contents = bytearray((tmp_path / "ct.hdr").read_bytes())
    struct.pack_into(f"{endianness}3h", contents, 253, *origin)
    (tmp_path / "ct.hdr").write_bytes(contents)
    affine = drrproj.read_volume(tmp_path / "ct.hdr", prefer="pixdim").affine
    assert affine[:3, 3].tolist() == list(first)
    np.testing.assert_array_equal(affine, nibabel.load(tmp_path / "ct.img").affine)


@pytest.fixture
def noise(tmp_path) -> Path:
    """Voxels that do not compress, so that a cut hits them and not the header."""
    voxels = np.random.default_rng(1).integers(-1000, 2000, (20, 20, 20), dtype=np.int16)
    return write(tmp_path / "ct.nii.gz", voxels)


@pytest.mark.parametrize("with_isal", [True, False])
@pytest.mark.parametrize("keep", [0.9, 0.5, 0.01])
def test_truncated_gzip(noise, keep, with_isal, monkeypatch):
    if not with_isal:
        monkeypatch.setitem(sys.modules, "isal", None)
    contents = noise.read_bytes()
    noise.write_bytes(contents[: int(len(contents) * keep)])
    with pytest.raises(ValueError, match=r"ct\.nii\.gz: the compressed file is cut short or damaged .*again$"):
        drrproj.read_volume(noise)


@pytest.mark.parametrize("with_isal", [True, False])
@pytest.mark.parametrize("place", [0.5, 0.999])
def test_damaged_gzip(noise, place, with_isal, monkeypatch):
    if not with_isal:
        monkeypatch.setitem(sys.modules, "isal", None)
    contents = bytearray(noise.read_bytes())
    at = int((len(contents) - 1) * place)
    contents[at : at + 4] = bytes(byte ^ 0xFF for byte in contents[at : at + 4])
    noise.write_bytes(contents)
    with pytest.raises(ValueError, match=r"ct\.nii\.gz: the compressed file is cut short or damaged"):
        drrproj.read_volume(noise)


def test_gzip_of_a_truncated_file(noise):
    noise.write_bytes(gzip.compress(gzip.decompress(noise.read_bytes())[:-1000]))
    with pytest.raises(ValueError, match="the file is cut short: it has 15000 of 16000 bytes of voxels"):
        drrproj.read_volume(noise)


def test_truncated_data(tmp_path):
    path = write(tmp_path / "ct.nii", ct_array())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"ct\.nii: the file is cut short: it has 400 of 420 bytes of voxels"):
        drrproj.read_volume(path)


HUGE = [
    (nibabel.Nifti1Image, (3000, 3000, 2300), 41_400_000_000),
    (nibabel.Nifti1Image, (32000, 32000, 32000), 65_536_000_000_000),
    (nibabel.Nifti2Image, (2**40, 2**40, 2**40), 2**121),
]


@pytest.mark.parametrize(("kind", "shape", "expected"), HUGE)
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_header_that_claims_more_than_memory_holds_is_a_file_cut_short(tmp_path, kind, shape, expected, ending):
    path = tmp_path / "ct.nii"
    nibabel.save(kind(ct_array(), LAS_OBLIQUE), path)
    patch_header(path, kind, dim=[3, *shape, 1, 1, 1, 1])
    with pytest.raises(ValueError, match=rf"ct\.nii{ending}: .* cut short: it has 420 of {expected} bytes of voxels; "):
        drrproj.read_volume(packed(path) if ending else path)


def test_voxels_for_which_there_is_no_memory_are_said_to_be_too_many(tmp_path, monkeypatch):
    path = write(tmp_path / "ct.nii.gz", ct_array())
    allocate = np.empty

    def refuse(shape, *arguments, **choices):
        if shape == ct_array().shape:
            raise MemoryError
        return allocate(shape, *arguments, **choices)

    monkeypatch.setattr(np, "empty", refuse)
    with pytest.raises(MemoryError, match=r"ct\.nii\.gz: there is not enough memory for its voxels \("):
        drrproj.read_volume(path)


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("offset", [np.inf, -np.inf, np.nan, 1e30, 352.5, -16, 0, 16, 348])
def test_voxels_that_cannot_begin_where_the_header_says(tmp_path, offset, ending):
    path = patch_header(write(tmp_path / "ct.nii", ct_array()), vox_offset=offset)
    path = packed(path) if ending else path
    for read in (drrproj.read_volume, drrproj.io.is_rescaled):
        with pytest.raises(
            ValueError, match=rf"ct\.nii{ending}: its NIfTI header is damaged: .* least 352; got "
        ) as caught:
            read(path)
        assert str(caught.value).endswith(f"got {np.float32(offset):g}")


@pytest.mark.parametrize("kept", [200, 400])
def test_nifti2_without_all_of_its_header(tmp_path, kept):
    nibabel.save(nibabel.Nifti2Image(ct_array(), LAS_OBLIQUE), tmp_path / "ct.nii")
    (tmp_path / "ct.nii").write_bytes((tmp_path / "ct.nii").read_bytes()[:kept])
    with pytest.raises(ValueError, match=rf"ct\.nii: the file is cut short: it has {kept} of 540 bytes of header; "):
        drrproj.read_volume(tmp_path / "ct.nii")


@pytest.mark.parametrize("offset", [-1, 0, 540])
def test_voxels_in_the_header_of_nifti2(tmp_path, offset):
    nibabel.save(nibabel.Nifti2Image(ct_array(), LAS_OBLIQUE), tmp_path / "ct.nii")
    path = patch_header(tmp_path / "ct.nii", nibabel.Nifti2Image, vox_offset=offset)
    with pytest.raises(ValueError, match=rf"ct\.nii: its NIfTI header is damaged: .* at least 544; got {offset}$"):
        drrproj.read_volume(path)


@pytest.mark.parametrize("gap", [16, 8])
def test_voxels_behind_a_gap(tmp_path, gap):
    path = patch_header(write(tmp_path / "ct.nii", ct_array()), vox_offset=352 + gap)
    contents = path.read_bytes()
    path.write_bytes(contents[:352] + bytes(gap) + contents[352:])
    np.testing.assert_array_equal(drrproj.read_volume(path).array, ct_array())


@pytest.mark.parametrize("kind", [nibabel.Nifti1Pair, nibabel.AnalyzeImage])
@pytest.mark.parametrize("offset", [np.nan, np.inf, -16, 0.5])
def test_voxels_of_a_pair_that_cannot_begin_where_the_header_says(tmp_path, kind, offset):
    nibabel.save(kind(ct_array(), None), tmp_path / "ct.img")
    patch_header(tmp_path / "ct.hdr", vox_offset=offset)
    with pytest.raises(ValueError, match=r"ct\.hdr: its (NIfTI|Analyze) header is damaged: .* of at least 0; got "):
        drrproj.read_volume(tmp_path / "ct.hdr", prefer="pixdim")


@pytest.mark.parametrize(
    ("shape", "what"), [((6, 5), "it is 2-D, shape \\(6, 5\\)"), ((6, 5, 4, 2), "it is 4-D, shape \\(6, 5, 4, 2\\)")]
)
def test_not_three_dimensional(tmp_path, shape, what):
    path = write(tmp_path / "ct.nii.gz", np.zeros(shape, np.int16))
    with pytest.raises(ValueError, match=rf"ct\.nii\.gz: {what}, and a volume is 3-D; "):
        drrproj.read_volume(path)


@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz"])
def test_colours(tmp_path, name):
    colours = np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(TypeError, match=rf"{name}: the volume holds colour records"):
        drrproj.read_volume(write(tmp_path / name, colours))


def test_complex_numbers(tmp_path):
    with pytest.raises(TypeError, match=r"ct\.nii: the volume must hold real numbers; got dtype complex64"):
        drrproj.read_volume(write(tmp_path / "ct.nii", np.zeros((4, 5, 6), np.complex64)))


@pytest.mark.parametrize("fields", [{"datatype": 999}, {"datatype": 1}, {"dim": [3, -4, 5, 6, 1, 1, 1, 1]}])
def test_damaged_header(tmp_path, fields, capfd):
    path = patch_header(write(tmp_path / "ct.nii", ct_array()), **fields)
    with pytest.raises(ValueError, match=r"ct\.nii: its NIfTI header is damaged: "):
        drrproj.read_volume(path)
    assert capfd.readouterr().err == ""  # nibabel's own log would be a second message


def test_intercept_that_is_no_number(tmp_path):
    path = set_slope(write(tmp_path / "ct.nii", ct_array()), 1.0, np.nan)
    with pytest.raises(ValueError, match=r"ct\.nii: its NIfTI header is damaged: .*inter"):
        drrproj.read_volume(path)


def test_unknown_unit_of_voxels(tmp_path):
    with pytest.raises(ValueError, match=r'ct\.nii: unit must be "HU" or "1/mm"'):
        drrproj.read_volume(write(tmp_path / "ct.nii", ct_array()), unit="1/cm")  # type: ignore[arg-type]
