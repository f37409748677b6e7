"""NRRD, MetaImage and NumPy files: the same voxels at the same places as another reader has them."""

from __future__ import annotations

import io
import os
import sys
import tracemalloc
import zipfile
import zlib

import nibabel
import nrrd
import numpy as np
import pytest

import drrproj
from drrproj.io.kinds import kind_of

LINEAR = np.array([[-0.8, 0.1, 0.2], [0.3, 1.1, -0.4], [0.1, 0.5, 2.5]])
ORIGIN = np.array([60.0, -70.0, -340.0])
AFFINE = np.block([[LINEAR, ORIGIN[:, None]], [np.zeros((1, 3)), np.ones((1, 1))]])
SIGNS = {"right-anterior-superior": (1, 1), "left-anterior-superior": (-1, 1), "left-posterior-superior": (-1, -1)}


def ct_array(dtype=np.int16):
    """Asymmetric, every voxel different."""
    return (np.arange(7 * 6 * 5).reshape(7, 6, 5) - (100 if np.dtype(dtype).kind != "u" else 0)).astype(dtype)


def rotation():
    """A rotation about all axes, so that a transposed matrix shows."""
    turn = np.linalg.qr(np.array([[0.9, 0.2, -0.3], [-0.1, 0.95, 0.4], [0.3, -0.2, 0.9]]))[0]
    return turn * np.sign(np.linalg.det(turn))


def refused(path, match, **choices):
    with pytest.raises(ValueError, match=match) as caught:
        drrproj.read_volume(path, **choices)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def assert_same_radiograph(ct, other):
    view = drrproj.Geometry.radiograph("AP", other, shape=(20, 24))
    shots = [drrproj.project(volume, view, threads=1).line_integral for volume in (ct, other)]
    assert shots[1].max() > 0.01
    np.testing.assert_allclose(shots[0], shots[1], atol=1e-5 * shots[1].max())


# --- NRRD ---------------------------------------------------------------------------------------------------------


def write_nrrd(path, array, space="left-posterior-superior", **fields):
    right, anterior = SIGNS.get(space, (1, 1))
    signs = np.array([right, anterior, 1])
    header = {"space": space, "space directions": (LINEAR * signs[:, None]).T, "space origin": ORIGIN * signs, **fields}
    nrrd.write(str(path), array, {key: value for key, value in header.items() if value is not None}, index_order="F")
    return path


@pytest.mark.parametrize("space", [*SIGNS, "LPS", "RAS"])
@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_nrrd(tmp_path, space, encoding):
    long = {"LPS": "left-posterior-superior", "RAS": "right-anterior-superior"}.get(space, space)
    path = write_nrrd(tmp_path / "ct.nrrd", ct_array(), long, encoding=encoding)
    if long != space:
        path.write_bytes(path.read_bytes().replace(long.encode(), space.encode()))
    ct = drrproj.read_volume(path)
    assert ct.array.dtype == np.int16
    np.testing.assert_array_equal(ct.array, ct_array())
    np.testing.assert_allclose(ct.affine, AFFINE, atol=1e-12)


def test_nrrd_header_with_its_data_beside_it(tmp_path):
    write_nrrd(tmp_path / "ct.nhdr", ct_array())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["ct.nhdr", "ct.raw.gz"]
    np.testing.assert_array_equal(drrproj.read_volume(tmp_path / "ct.nhdr").array, ct_array())
    (tmp_path / "ct.raw.gz").unlink()
    refused(tmp_path / "ct.nhdr", r"its voxels are in ct\.raw\.gz, which is not beside it; copy both files$")
    (tmp_path / "ct.raw.gz").mkdir()
    refused(tmp_path / "ct.nhdr", r"its voxels are in ct\.raw\.gz, which is not beside it; copy both files$")


@pytest.mark.parametrize("name", ["M\u00fcller.raw.gz", "\u9aa8.raw.gz", "M\udcfcller.raw.gz"])
def test_nrrd_whose_data_file_has_letters_of_other_languages(tmp_path, name):
    """Of a name in an old encoding the very bytes are kept."""
    path = write_nrrd(tmp_path / "ct.nhdr", ct_array())
    (tmp_path / "ct.raw.gz").rename(tmp_path / name)
    path.write_bytes(path.read_bytes().replace(b"ct.raw.gz", os.fsencode(name)))
    np.testing.assert_array_equal(drrproj.read_volume(path).array, ct_array())


@pytest.mark.parametrize("name", ["ct.nrrd", "ct.nhdr"])
def test_nrrd_with_names_of_fields_and_words_in_capitals(tmp_path, name):
    """As SimpleITK 2.5.7 reads it."""
    path = write_nrrd(tmp_path / name, ct_array())
    header, blank, voxels = path.read_bytes().partition(b"\n\n")
    lines = [line.partition(b":") for line in header.split(b"\n")]
    words = (b"type", b"encoding", b"endian")
    header = b"\n".join(
        field.title() + colon + (value.upper() if field in words else value) if colon else field
        for field, colon, value in lines
    )
    assert b"Type: INT16\nDimension:" in header
    assert b"\nSpace Directions:" in header
    path.write_bytes(header + blank + voxels)
    ct = drrproj.read_volume(path)
    np.testing.assert_array_equal(ct.array, ct_array())
    np.testing.assert_allclose(ct.affine, AFFINE, atol=1e-12)
    path.write_bytes(header + b'\nSpace Units: "cm" "cm" "cm"' + blank + voxels)
    refused(path, "its space units are cm, cm, cm; drrproj takes mm$")


def test_nrrd_of_an_encoding_or_a_version_that_is_not_read(tmp_path):
    path = write_nrrd(tmp_path / "ct.nrrd", ct_array())
    contents = path.read_bytes()
    path.write_bytes(contents.replace(b"encoding: gzip", b"encoding: hex"))
    refused(path, r"ct\.nrrd: its encoding is hex, and drrproj reads raw, gzip, .*; save it as one of those$")
    path.write_bytes(contents.replace(b"NRRD0005", b"NRRD0006"))
    refused(path, r"ct\.nrrd: it is NRRD of version 6; save it as one of versions 1 to 5$")


def test_a_nrrd_header_without_an_end_is_not_read_to_the_end_of_the_file(tmp_path):
    path = tmp_path / "ct.nrrd"
    for start in (b"NRRD0004", b"NRRD0004\n", b"NRRD0004\ntype: short\n"):
        with open(path, "wb") as file:
            file.write(start)
            file.truncate(1 << 33)  # sparse, without a line end
        tracemalloc.start()
        refused(path, "the NRRD file is damaged: its header does not end within 16 MiB")
        assert tracemalloc.get_traced_memory()[1] < 1 << 28
        tracemalloc.stop()


def test_nrrd_with_a_long_header(tmp_path):
    """The notes of a segmentation of a hundred structures are longer than 64 KiB."""
    path = write_nrrd(tmp_path / "ct.nrrd", ct_array(), **{f"note{number}": "x" * 1000 for number in range(100)})
    np.testing.assert_array_equal(drrproj.read_volume(path).array, ct_array())
    path.write_bytes(path.read_bytes().replace(b"\n\n", b"\ndata file: LIST\n0.raw\n\n", 1))
    refused(path, r"its voxels are spread over several files \(LIST\)")


def test_nrrd_is_what_simpleitk_reads(tmp_path):
    itk = pytest.importorskip("SimpleITK", reason="the other reader of this format")
    image = itk.GetImageFromArray(ct_array().T)
    image.SetDirection(rotation().ravel().tolist())
    image.SetSpacing((0.7, 0.9, 2.5))
    image.SetOrigin(ORIGIN.tolist())
    itk.WriteImage(image, str(tmp_path / "ct.nrrd"))
    ct = drrproj.read_volume(tmp_path / "ct.nrrd")
    np.testing.assert_array_equal(ct.array, ct_array())
    for index in ((0, 0, 0), (6, 0, 0), (1, 2, 3)):
        lps = np.array(image.TransformIndexToPhysicalPoint(index))
        np.testing.assert_allclose(ct.affine[:3] @ [*index, 1], lps * [-1, -1, 1], atol=1e-9)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"space": None, "space directions": None, "space origin": None}, "it does not say where its voxels are"),
        ({"space": "scanner-xyz"}, "it does not say where its voxels are .*'scanner-xyz'"),
        ({"space origin": None}, "it does not say where its voxels are"),
        ({"space units": ["cm", "cm", "cm"]}, "its space units are cm, cm, cm; drrproj takes mm"),
        ({"old min": 0.0}, "its values were quantised"),
        ({"oldmax": 9.0}, "its values were quantised"),
    ],
)
def test_nrrd_that_is_no_measured_volume_somewhere(tmp_path, fields, match):
    refused(write_nrrd(tmp_path / "ct.nrrd", ct_array(), **fields), match)


@pytest.mark.parametrize("origin", ["(1,2)", "(1,2,3,4)", "(1)"])
def test_nrrd_whose_origin_is_no_point(tmp_path, origin):
    path = write_nrrd(tmp_path / "ct.nrrd", ct_array())
    change_line(path, b"space origin", origin)
    refused(path, rf"its space origin must be 3 numbers, in mm; got {origin.count(',') + 1}$")


def test_nrrd_whose_directions_are_no_vectors(tmp_path):
    path = write_nrrd(tmp_path / "ct.nrrd", ct_array())
    change_line(path, b"space directions", "(1,0) (0,1) (1,1)")
    refused(path, "its space directions must be 3 numbers for each axis in space, in mm; got 2$")


def change_line(path, key, value):
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join(key + b": " + value.encode() if line.startswith(key) else line for line in lines))


def test_nrrd_of_colours(tmp_path):
    directions = np.vstack([np.full(3, np.nan), LINEAR.T])
    path = write_nrrd(tmp_path / "ct.nrrd", np.zeros((3, 7, 6, 5), np.int16), **{"space directions": directions})
    refused(path, r"it has 3 numbers a voxel, shape \(3, 7, 6, 5\); a volume has one$")
    path = write_nrrd(
        tmp_path / "ct.nrrd", np.zeros((7, 6, 5, 3), np.int16), **{"space directions": directions[[1, 2, 3, 0]]}
    )
    refused(path, "it is 4-D with 3 axes in space; a volume has three, and layers come first")


def test_nrrd_of_one_layer_is_a_volume(tmp_path):
    directions = np.vstack([np.full(3, np.nan), LINEAR.T * [-1, -1, 1]])
    path = write_nrrd(tmp_path / "ct.nrrd", ct_array()[None], **{"space directions": directions})
    ct = drrproj.read_volume(path)
    np.testing.assert_array_equal(ct.array, ct_array())
    np.testing.assert_allclose(ct.affine, AFFINE, atol=1e-12)


def test_damaged_nrrd(tmp_path):
    path = write_nrrd(tmp_path / "ct.nrrd", np.random.default_rng(0).integers(0, 999, (20, 20, 20)).astype(np.int16))
    contents = path.read_bytes()
    path.write_bytes(contents[:-300])
    refused(path, "the NRRD file is damaged")
    path.write_bytes(contents[:100])
    refused(path, "the NRRD file is damaged")


@pytest.mark.parametrize("said", ["sl%02d.raw 0 4 1", "sl%d.raw 0 4 1 2", "LIST", "LIST 2"])
@pytest.mark.parametrize("field", ["data file", "datafile"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_nrrd_of_several_data_files(tmp_path, said, field, end):
    path = write_nrrd(tmp_path / "ct.nhdr", ct_array())
    change_line(path, b"data file", f"{said}\nsl00.raw\nsl01.raw" if said.startswith("LIST") else said)
    path.write_text(path.read_text().replace("data file:", f"{field}:"), newline=end)
    refused(path, rf"ct\.nhdr: its voxels are spread over several files \({said}\); write them into one file$")


def test_nrrd_of_one_data_file_with_an_odd_name(tmp_path):
    path = write_nrrd(tmp_path / "ct.nhdr", ct_array())
    (tmp_path / "ct.raw.gz").rename(tmp_path / "100%dry 1 2.raw.gz")
    change_line(path, b"data file", "100%dry 1 2.raw.gz")
    np.testing.assert_array_equal(drrproj.read_volume(path).array, ct_array())


def test_nrrd_without_pynrrd(tmp_path, monkeypatch):
    path = write_nrrd(tmp_path / "ct.nrrd", ct_array())
    monkeypatch.setitem(sys.modules, "nrrd", None)
    with pytest.raises(
        ModuleNotFoundError, match=r'reading NRRD needs nrrd, .* pip install pynrrd, or the extra "formats"'
    ):
        drrproj.read_volume(path)


# --- segmentations of Slicer --------------------------------------------------------------------------------------


def slicer_fields(segments):
    return {
        f"Segment{number}_{key}": str(value)
        for number, segment in enumerate(segments)
        for key, value in zip(("Name", "Layer", "LabelValue", "ID"), (*segment, f"Segment_{number}"), strict=True)
    }


def test_slicer_segmentation_on_one_layer(tmp_path):
    ids = np.zeros((7, 6, 5), np.uint8)
    ids[1:3], ids[4:6] = 3, 1
    fields = slicer_fields([("left lung", 0, 3), ("heart", 0, 1)])
    labels = drrproj.read_labels(write_nrrd(tmp_path / "a.seg.nrrd", ids, **fields))
    assert dict(labels.names) == {3: "left lung", 1: "heart"}
    np.testing.assert_array_equal(labels.array, ids)
    np.testing.assert_allclose(labels.affine, AFFINE, atol=1e-12)
    labels = drrproj.read_labels(tmp_path / "a.seg.nrrd", {51: "heart"}, structures=["heart"])
    np.testing.assert_array_equal(labels.array, 51 * (ids == 1))


def slicer_file(path, *names):
    """Write a segmentation by hand, for pynrrd writes no names but of ASCII."""
    ids = np.zeros((7, 6, 5), np.uint8)
    ids[1], ids[2] = 1, 2
    header = (
        b"NRRD0004\ntype: unsigned char\ndimension: 3\nsizes: 7 6 5\nspace: left-posterior-superior\n"
        b"space directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\nencoding: raw\n"
    )
    for number, name in enumerate(names):
        header += b"Segment%d_Name:=%b\nSegment%d_LabelValue:=%d\n" % (number, name, number, number + 1)
        header += b"Segment%d_Layer:=0\n" % number
    path.write_bytes(header + b"\n" + ids.tobytes(order="F"))
    return path


def test_slicer_segments_keep_the_letters_of_their_names(tmp_path):
    path = slicer_file(tmp_path / "a.seg.nrrd", "H\u00fcfte".encode(), "\u9aa8".encode())
    assert dict(drrproj.read_labels(path).names) == {1: "H\u00fcfte", 2: "\u9aa8"}
    # The format writes a backslash as two.
    assert dict(drrproj.read_labels(slicer_file(path, rb"a\\new")).names) == {1: r"a\new"}
    with pytest.raises(ValueError, match=r"a\.seg\.nrrd: label 1 is named 'H\\udcfcfte', .* is no text; rename it$"):
        drrproj.read_labels(slicer_file(path, b"H\xfcfte"))


@pytest.mark.parametrize("overlapping", [False, True])
def test_slicer_segmentation_on_several_layers(tmp_path, overlapping):
    layers = np.zeros((2, 7, 6, 5), np.uint8)
    layers[0, 1:3], layers[0, 4:6] = 1, 2
    layers[1, 5 if overlapping else 6 :] = 1
    directions = np.vstack([np.full(3, np.nan), LINEAR.T * [-1, -1, 1]])
    fields = slicer_fields([("left lung", 0, 1), ("heart", 0, 2), ("aorta", 1, 1)])
    path = write_nrrd(tmp_path / "a.seg.nrrd", layers, **{"space directions": directions}, **fields)
    labels = drrproj.read_labels(path)
    assert dict(labels.names) == {1: "left lung", 2: "heart", 3: "aorta"}
    expected = {1: layers[0] == 1, 2: layers[0] == 2, 3: layers[1] == 1}
    for label_id, values in labels.values_by_structure.items():
        np.testing.assert_array_equal(np.isin(labels.array, values), expected[label_id])
    assert dict(labels.overlaps) == ({4: (2, 3)} if overlapping else {})


def test_slicer_segmentation_that_is_damaged(tmp_path):
    fields = slicer_fields([("heart", 2, 1)])
    path = write_nrrd(tmp_path / "a.seg.nrrd", np.ones((7, 6, 5), np.uint8), **fields)
    with pytest.raises(ValueError, match=r"its segment heart is on layer 2 of 1, value 1"):
        drrproj.read_labels(path)
    path = write_nrrd(tmp_path / "a.seg.nrrd", np.ones((7, 6, 5), np.uint8), Segment0_LabelValue="1")
    with pytest.raises(ValueError, match="its segment 0 has no name"):
        drrproj.read_labels(path)
    for key in ("Layer", "LabelValue"):
        change = {f"Segment0_{key}": "x"}
        path = write_nrrd(tmp_path / "a.seg.nrrd", np.ones((7, 6, 5), np.uint8), **{**fields, **change})
        said = rf"a\.seg\.nrrd: the {key} of its segment heart must be a whole number; got 'x' \(Segment0_{key}\)$"
        with pytest.raises(ValueError, match=said):
            drrproj.read_labels(path)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("structures", [None, ["liver"]])
def test_slicer_segments_that_share_their_voxels_are_refused(tmp_path, layers, structures):
    array = np.ones((7, 6, 5) if layers == 1 else (layers, 7, 6, 5), np.uint8)
    fields = slicer_fields([("heart", layers - 1, 1), ("liver", layers - 1, 1)])
    if layers > 1:
        fields["space directions"] = np.vstack([np.full(3, np.nan), LINEAR.T * [-1, -1, 1]])
    path = write_nrrd(tmp_path / "twice.seg.nrrd", array, **fields)
    said = rf"twice\.seg\.nrrd: its segments heart and liver are both value 1 of layer {layers - 1}, .* LabelValue"
    with pytest.raises(ValueError, match=said):
        drrproj.read_labels(path, structures=structures)


def test_nrrd_of_label_ids_has_names_beside_it(tmp_path):
    path = write_nrrd(tmp_path / "seg.nrrd", np.full((7, 6, 5), 51, np.uint8))
    (tmp_path / "seg.json").write_text('{"51": "heart"}')
    assert dict(drrproj.read_labels(path).names) == {51: "heart"}


# --- MetaImage ----------------------------------------------------------------------------------------------------

ITK_TYPES = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]


@pytest.mark.parametrize("name", ["ct.mha", "ct.mhd"])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ITK_TYPES)
def test_metaimage_is_what_simpleitk_reads(tmp_path, name, compressed, dtype):
    itk = pytest.importorskip("SimpleITK", reason="the other reader of this format")
    image = itk.GetImageFromArray(ct_array(dtype).T)
    image.SetDirection(rotation().ravel().tolist())
    image.SetSpacing((0.7, 0.9, 2.5))
    image.SetOrigin(ORIGIN.tolist())
    itk.WriteImage(image, str(tmp_path / name), compressed)
    ct = drrproj.read_volume(tmp_path / name)
    assert ct.array.dtype == dtype
    np.testing.assert_array_equal(ct.array, itk.GetArrayFromImage(image).T)
    for index in ((0, 0, 0), (6, 0, 0), (1, 2, 3)):
        lps = np.array(image.TransformIndexToPhysicalPoint(index))
        np.testing.assert_allclose(ct.affine[:3] @ [*index, 1], lps * [-1, -1, 1], atol=1e-9)


def write_metaimage(path, array, *, local=True, change=()):
    """Write a header by hand, in the words of the format's documentation."""
    turn = rotation()
    fields = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "True" if array.dtype.byteorder == ">" else "False",
        "CompressedData": "False",
        "TransformMatrix": " ".join(map(str, turn.T.ravel())),  # one axis after the other
        "Offset": " ".join(map(str, ORIGIN)),
        "ElementSpacing": "0.7 0.9 2.5",
        "DimSize": " ".join(map(str, array.shape)),
        "ElementType": {"i2": "MET_SHORT", "f4": "MET_FLOAT"}[array.dtype.str[1:]],
        **dict(change),
        "ElementDataFile": "LOCAL" if local else f"{path.stem}.raw",
    }
    header = "".join(f"{key} = {value}\n" for key, value in fields.items() if value is not None).encode()
    voxels = array.tobytes(order="F")
    if fields["CompressedData"] == "True":
        voxels = zlib.compress(voxels)
    if local:
        path.write_bytes(header + voxels)
    else:
        path.write_bytes(header)
        path.with_suffix(".raw").write_bytes(voxels)
    return path


def in_ras(turn=None):
    affine = np.eye(4)
    affine[:3, :3] = rotation() * [0.7, 0.9, 2.5]
    affine[:3, 3] = ORIGIN
    return np.diag([-1, -1, 1, 1]) @ affine


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<f4", ">f4"])
@pytest.mark.parametrize("compressed", ["False", "True"])
@pytest.mark.parametrize("with_isal", [True, False])
def test_metaimage_of_either_byte_order(tmp_path, dtype, compressed, with_isal, monkeypatch):
    if not with_isal:
        monkeypatch.setitem(sys.modules, "isal", None)
    path = write_metaimage(tmp_path / "ct.mha", ct_array().astype(dtype), change={"CompressedData": compressed})
    ct = drrproj.read_volume(path)
    np.testing.assert_array_equal(ct.array, ct_array())
    np.testing.assert_allclose(ct.affine, in_ras(), atol=1e-9)


def test_metaimage_older_names_and_a_header_before_the_voxels(tmp_path):
    names = {"Offset": None, "Position": "60 -70 -340", "BinaryDataByteOrderMSB": None, "ElementByteOrderMSB": "False"}
    path = write_metaimage(tmp_path / "ct.mhd", ct_array(), local=False, change={**names, "HeaderSize": "-1"})
    raw = path.with_suffix(".raw")
    raw.write_bytes(b"a scanner's own header" + raw.read_bytes())
    ct = drrproj.read_volume(path)
    np.testing.assert_array_equal(ct.array, ct_array())
    np.testing.assert_allclose(ct.affine, in_ras(), atol=1e-9)


@pytest.mark.parametrize("compressed", ["False", "True"])
@pytest.mark.parametrize("size", ["behind", "-1", "0"])
def test_metaimage_with_something_between_its_header_and_its_voxels(tmp_path, size, compressed):
    """As SimpleITK 2.5.7 reads it: HeaderSize counts from the beginning of the file, and -1 from its end."""
    between = b"" if size == "0" or (size == "-1" and compressed == "True") else b"a scanner's own header"
    change = {"HeaderSize": "%03d" if size == "behind" else size, "CompressedData": compressed}
    path = write_metaimage(tmp_path / "ct.mha", ct_array(), change=change)
    header, local, voxels = path.read_bytes().partition(b"= LOCAL\n")
    header += local
    if size == "behind":
        header = header.replace(b"%03d", b"%03d" % (len(header) - 1 + len(between)))
    path.write_bytes(header + between + voxels)
    np.testing.assert_array_equal(drrproj.read_volume(path).array, ct_array())


def test_metaimage_with_a_long_comment_first(tmp_path):
    path = write_metaimage(tmp_path / "ct.mha", ct_array())
    path.write_bytes(b"Comment = " + b"x" * 5000 + b"\n" + path.read_bytes())
    np.testing.assert_array_equal(drrproj.read_volume(path).array, ct_array())


def test_dicom_metaimage_and_nifti_of_one_volume_give_the_same_radiograph(tmp_path):
    ct = drrproj.read_volume(write_metaimage(tmp_path / "ct.mha", ct_array()))
    image = nibabel.Nifti1Image(ct_array(), in_ras())
    nibabel.save(image, tmp_path / "ct.nii")
    assert_same_radiograph(ct, drrproj.read_volume(tmp_path / "ct.nii"))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"DimSize": "7 6"}, "its DimSize must be 3 numbers; got '7 6'"),
        ({"DimSize": None}, "it has no DimSize"),
        ({"DimSize": "inf 6 5"}, "its DimSize must be whole numbers from 1; got 'inf 6 5'$"),
        ({"DimSize": "nan 6 5"}, "its DimSize must be whole numbers from 1; got 'nan 6 5'$"),
        ({"DimSize": "6.7 6 5"}, "its DimSize must be whole numbers from 1; got '6.7 6 5'$"),
        ({"DimSize": "7 -6 5"}, "its DimSize must be whole numbers from 1; got '7 -6 5'$"),
        ({"DimSize": "1e300 6 5"}, "its DimSize must be whole numbers from 1; got '1e300 6 5'$"),
        ({"NDims": "2", "DimSize": "7 6"}, r"it is 2-D, shape \(7, 6\)"),
        ({"ElementType": "MET_SHORT_ARRAY"}, "its ElementType is MET_SHORT_ARRAY"),
        ({"TransformMatrix": None}, "it does not say where its voxels are in the patient: it has no TransformMatrix"),
        ({"Offset": None, "ElementSpacing": None}, "it has no ElementSpacing, Offset"),
        ({"TransformMatrix": "1 0 0 0 1 0 0 0 0"}, "the affine of the volume is singular"),
        ({"BinaryData": "False"}, "its voxels are written as text"),
        ({"ElementNumberOfChannels": "3"}, "it has 3 numbers a voxel"),
        ({"ElementToIntensityFunctionSlope": "2"}, "its values are to be scaled by 2"),
        ({"ElementToIntensityFunctionSlope": "x"}, "its values are to be scaled by x and shifted by 0; write them so"),
        ({"ElementToIntensityFunctionOffset": ""}, "its values are to be scaled by 1 and shifted by ; write them so"),
        ({"HeaderSize": "8"}, r"its HeaderSize is 8, and its header has \d+ bytes, behind which the voxels begin"),
        ({"HeaderSize": "-2"}, "its HeaderSize must be a whole number from -1; got '-2'"),
        ({"HeaderSize": "ten"}, "its HeaderSize must be a whole number from -1; got 'ten'"),
        ({"HeaderSize": "-1", "DimSize": "7 6 50"}, "the file is cut short: it has 420 of 4200 bytes"),
        ({"HeaderSize": "9" * 30}, "the file is cut short"),
        ({"DimSize": "7 6 50"}, "the file is cut short: it has 420 of 4200 bytes"),
        ({"DimSize": "7 6 50", "CompressedData": "True"}, "the file is cut short: it has 420 of 4200 bytes"),
    ],
)
def test_metaimage_that_is_refused(tmp_path, change, match):
    refused(write_metaimage(tmp_path / "ct.mha", ct_array(), change=change), match)


@pytest.mark.parametrize("compressed", ["False", "True"])
@pytest.mark.parametrize(
    ("size", "match"),
    [("10.7", "its HeaderSize must be a whole number from -1; got '10.7'$"), ("9" * 30, r"cut short")],
)
def test_metaimage_whose_voxels_begin_nowhere(tmp_path, compressed, size, match):
    change = {"HeaderSize": size, "CompressedData": compressed}
    refused(write_metaimage(tmp_path / "ct.mhd", ct_array(), local=False, change=change), match)


def test_metaimage_without_its_voxels(tmp_path):
    path = write_metaimage(tmp_path / "ct.mhd", ct_array(), local=False)
    refused(path.with_suffix(".raw"), r"this is no file that drrproj reads: .*; pass its header, the \.mhd")
    path.with_suffix(".raw").unlink()
    refused(path, r"its voxels are in ct\.raw, which is not beside it")
    path.write_text(path.read_text().replace("ct.raw", "ct%03d.raw 1 5 1"))
    refused(path, "its voxels are spread over several files")
    path.write_text(path.read_text().partition("ElementDataFile")[0])
    refused(path, "its header ends without ElementDataFile")
    path = write_metaimage(tmp_path / "ct.mha", ct_array(), change={"CompressedData": "True"})
    path.write_bytes(path.read_bytes()[:-40])
    refused(path, "its compressed voxels are cut short or damaged")


@pytest.mark.parametrize("name", ["M\u00fcller.raw", "\u9aa8.raw", "M\udcfcller.raw", "Liste.raw", "LIST.raw", "list"])
def test_metaimage_whose_data_file_has_a_name_of_its_own(tmp_path, name):
    path = write_metaimage(tmp_path / "ct.mhd", ct_array(), local=False)
    path.with_suffix(".raw").rename(tmp_path / name)
    path.write_bytes(path.read_bytes().replace(b"ct.raw", os.fsencode(name)))
    np.testing.assert_array_equal(drrproj.read_volume(path).array, ct_array())


@pytest.mark.parametrize("said", ["LIST", "LIST 2", "LIST 2D"])
def test_metaimage_of_several_data_files(tmp_path, said):
    path = write_metaimage(tmp_path / "ct.mhd", ct_array(), local=False)
    path.write_text(path.read_text().replace("ct.raw", f"{said}\n0.raw\n1.raw"))
    refused(path, rf"ct\.mhd: its voxels are spread over several files \({said}\); write them into one file$")


def test_metaimage_of_label_ids(tmp_path):
    path = write_metaimage(tmp_path / "seg.mha", np.full((7, 6, 5), 51, np.int16))
    (tmp_path / "seg.json").write_text('{"51": "heart"}')
    labels = drrproj.read_labels(path)
    assert dict(labels.names) == {51: "heart"}
    np.testing.assert_allclose(labels.affine, in_ras(), atol=1e-9)


# --- NumPy --------------------------------------------------------------------------------------------------------


def test_npz_with_an_affine(tmp_path):
    np.savez(tmp_path / "ct.npz", array=ct_array(), affine=AFFINE)
    ct = drrproj.read_volume(tmp_path / "ct.npz")
    np.testing.assert_array_equal(ct.array, ct_array())
    np.testing.assert_array_equal(ct.affine, AFFINE)
    np.savez_compressed(tmp_path / "ct.npz", hu=ct_array(), affine=AFFINE, space="LPS", spacing=[1, 1, 1])
    np.testing.assert_array_equal(drrproj.read_volume(tmp_path / "ct.npz").affine, np.diag([-1, -1, 1, 1]) @ AFFINE)
    np.savez(tmp_path / "seg.npz", array=ct_array("u1"), affine=AFFINE)
    np.testing.assert_array_equal(drrproj.read_labels(tmp_path / "seg.npz").array, ct_array("u1"))


def test_npy_with_its_affine_beside_it(tmp_path):
    np.save(tmp_path / "ct.npy", ct_array())
    refused(tmp_path / "ct.npy", r'save its affine beside it as ct_affine\.npy, or both with numpy\.savez\("ct\.npz"')
    np.save(tmp_path / "ct_affine.npy", AFFINE)
    ct = drrproj.read_volume(tmp_path / "ct.npy")
    assert isinstance(ct.array.base, np.memmap)
    np.testing.assert_array_equal(ct.array, ct_array())
    np.testing.assert_array_equal(ct.affine, AFFINE)


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"array": np.zeros((2, 2, 2))}, "there is no entry affine .* in it, only array"),
        (
            {"a": np.zeros((2, 2, 2)), "b": np.zeros((2, 2, 2)), "affine": np.eye(4)},
            "it must hold one 3-D array .*; got a, b",
        ),
        ({"a": np.zeros(3), "affine": np.eye(4)}, "one 3-D array beside the affine; got none among a"),
        ({"a": np.zeros((2, 2, 2)), "affine": np.eye(3)}, r"the affine of the volume must be 4x4"),
        ({"a": np.zeros((2, 2, 2)), "affine": np.eye(4), "space": "LAS"}, 'space must be "RAS" or "LPS"'),
        (
            {"a": np.array([[[None]]]), "affine": np.eye(4)},
            r"ct\.npz: its entry a holds objects of Python, which are not read; save it as an array of numbers$",
        ),
    ],
)
def test_npz_that_is_refused(tmp_path, arrays, match):
    np.savez(tmp_path / "ct.npz", **arrays)
    refused(tmp_path / "ct.npz", match)


def test_npy_of_objects(tmp_path):
    np.save(tmp_path / "ct.npy", np.array([[[None]]]))
    np.save(tmp_path / "ct_affine.npy", AFFINE)
    refused(tmp_path / "ct.npy", r"ct\.npy: the file holds objects of Python, which are not read; save it as")
    np.save(tmp_path / "ct.npy", ct_array())
    np.save(tmp_path / "ct_affine.npy", AFFINE.astype(object))
    refused(tmp_path / "ct.npy", r"ct\.npy: ct_affine\.npy beside it holds objects of Python, which are not read; save")


def lying_npy(shape):
    """Make the bytes of an array file of 420 bytes whose header claims another shape."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<i2", "fortran_order": False, "shape": shape})
    return file.getvalue() + ct_array().tobytes()


LIES = [
    ((300, 300, 230), 41_400_000),
    ((3000, 3000, 2300), 41_400_000_000),
    ((2**20,) * 3, 2**61),
    ((2**62, 4, 4), 2**67),
]


@pytest.mark.parametrize(("shape", "expected"), LIES)
def test_numpy_files_that_claim_more_than_they_hold(tmp_path, shape, expected):
    with zipfile.ZipFile(tmp_path / "ct.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("array.npy", lying_npy(shape))
    refused(tmp_path / "ct.npz", rf"its entry array is cut short: it has 420 of {expected} bytes of numbers; ")
    (tmp_path / "ct.npy").write_bytes(lying_npy(shape))
    np.save(tmp_path / "ct_affine.npy", AFFINE)
    refused(tmp_path / "ct.npy", rf"the file is cut short: it has 420 of {expected} bytes of numbers; ")
    np.save(tmp_path / "ct.npy", ct_array())
    (tmp_path / "ct_affine.npy").write_bytes(lying_npy(shape))
    refused(tmp_path / "ct.npy", rf"ct_affine\.npy beside it is cut short: it has 420 of {expected} bytes ")


def test_an_array_for_which_there_is_no_memory_is_said_to_be_too_large(tmp_path, monkeypatch):
    np.savez(tmp_path / "ct.npz", array=ct_array(), affine=AFFINE)

    def refuse(*_, **__):
        raise MemoryError

    monkeypatch.setattr(np.lib.format, "read_array", refuse)
    with pytest.raises(MemoryError, match=r"ct\.npz: there is not enough memory for its entry array \("):
        drrproj.read_volume(tmp_path / "ct.npz")


# --- kinds --------------------------------------------------------------------------------------------------------


def test_names_do_not_matter_where_contents_tell(tmp_path):
    nibabel.save(nibabel.Nifti1Image(ct_array(), AFFINE), tmp_path / "ct.nii")
    for name, kind in (("ct.nii", "nifti"), ("a", "nrrd"), ("b", "metaimage"), ("c", "numpy"), ("d", "numpy")):
        path = tmp_path / name
        if kind == "nrrd":
            write_nrrd(tmp_path / "x.nrrd", ct_array()).rename(path)
        elif kind == "metaimage":
            write_metaimage(path, ct_array())
        elif name == "c":
            np.save(tmp_path / "x.npy", ct_array())
            (tmp_path / "x.npy").rename(path)
            np.save(tmp_path / "c_affine.npy", AFFINE)
        elif name == "d":
            np.savez(tmp_path / "x.npz", array=ct_array(), affine=AFFINE)
            (tmp_path / "x.npz").rename(path)
        assert kind_of(path) == kind
        np.testing.assert_array_equal(drrproj.read_volume(path).array, ct_array())


def test_a_damaged_zip(tmp_path):
    np.savez(tmp_path / "ct.npz", array=ct_array(), affine=AFFINE)
    (tmp_path / "ct.npz").write_bytes((tmp_path / "ct.npz").read_bytes()[:-200])
    refused(tmp_path / "ct.npz", "the zip is damaged or cut short")
    with zipfile.ZipFile(tmp_path / "ct.zip", "w") as archive:
        archive.writestr("\N{LATIN SMALL LETTER A WITH DIAERESIS}.npy", b"")
    (tmp_path / "ct.zip").write_bytes((tmp_path / "ct.zip").read_bytes().replace("\xe4".encode(), b"\xa5\xa5"))
    refused(tmp_path / "ct.zip", r"ct\.zip: the zip is damaged or cut short: 'utf-8' codec can't decode")
