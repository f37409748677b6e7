"""Finding cases in folders, tables and nnU-Net datasets."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_cases import SMALL, save, small_case, write_subjects

import drrproj
from drrproj.dataset.build import build
from drrproj.dataset.cases import Case, find_cases

# The views of these small cases leave out corners of the volume, on purpose.
pytestmark = pytest.mark.filterwarnings("ignore:view .* the volume does not fit the detector")


def test_subjects_of_totalsegmentator(tmp_path):
    write_subjects(tmp_path, (2, 1))
    hu, labels, affine = small_case(3)
    save(tmp_path / "s0003" / "ct.nii.gz", hu, affine)
    save(tmp_path / "s0003" / "segmentations.nii.gz", labels, affine)
    (tmp_path / "notes.txt").touch()
    found = find_cases(tmp_path)
    assert [(each.case_id, each.labels.name, each.problem) for each in found] == [
        ("s0001", "segmentations", None),
        ("s0002", "segmentations", None),
        ("s0003", "segmentations.nii.gz", None),
    ]
    assert [each.case_id for each in find_cases(tmp_path / "s0001")] == ["s0001"]
    save(tmp_path / "s0003" / "labels.nii.gz", labels, affine)
    assert "several of one kind" in find_cases(tmp_path)[2].problem


def test_sub_folders_that_are_no_subjects_are_named(tmp_path):
    write_subjects(tmp_path, (1, 2))
    hu, labels, affine = small_case(3)
    save(tmp_path / ".Trash" / "ct.nii.gz", hu, affine)
    (tmp_path / ".git").mkdir()
    assert [each.case_id for each in find_cases(tmp_path)] == ["s0001", "s0002"]
    save(tmp_path / "s0003" / "ct_of_3.nii.gz", hu, affine)
    save(tmp_path / "s0003" / "labels_of_3.nii.gz", labels, affine)
    (tmp_path / "notes").mkdir()
    with pytest.warns(UserWarning, match=r"2 of 4 sub-folders hold neither ct.nii.gz nor .*: notes, s0003$"):
        assert [each.case_id for each in find_cases(tmp_path)] == ["s0001", "s0002"]


def test_a_link_to_a_subject_keeps_its_own_name(tmp_path, monkeypatch):
    for year in (2021, 2022):
        hu, labels, affine = small_case(year)
        save(tmp_path / "store" / str(year) / "ct" / "ct.nii.gz", hu, affine)
        save(tmp_path / "store" / str(year) / "ct" / "labels.nii.gz", labels, affine)
        (tmp_path / "farm").mkdir(exist_ok=True)
        (tmp_path / "farm" / f"p{year}").symlink_to(tmp_path / "store" / str(year) / "ct")
    assert [each.case_id for each in find_cases(tmp_path / "farm")] == ["p2021", "p2022"]
    assert [each.case_id for each in find_cases(tmp_path / "farm" / "p2021")] == ["p2021"]
    monkeypatch.chdir(tmp_path / "store" / "2022" / "ct")
    assert [each.case_id for each in find_cases(".")] == ["ct"]
    (tmp_path / "store" / "2022" / "ct" / "below").mkdir()
    monkeypatch.chdir("below")
    assert [each.case_id for each in find_cases("..")] == ["ct"]


def test_ids_that_cannot_name_files_are_refused_with_their_place(tmp_path):
    longest = "a" * 180
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(f"case,ct,labels\n{longest},x,y\n")
    assert find_cases(manifest)[0].case_id == longest
    for case_id, reason in (
        (longest + "a", "manifest.csv, line 3: the case id has 181 letters; .* may have 180: shorten it"),
        ("con", "manifest.csv, line 3: the case id 'con' cannot name a file: on Windows con is a device"),
        ("b.", "manifest.csv, line 3: the case id 'b.' cannot name a file"),
        ("CASE1", "manifest.csv: two case ids differ in capitals alone, case1 and CASE1"),
    ):
        manifest.write_text(f"case,ct,labels\ncase1,x,y\n{case_id},x,y\n")
        with pytest.raises(ValueError, match=reason):
            find_cases(manifest)
    hu, labels, affine = small_case(1)
    save(tmp_path / "subjects" / ("a" * 181) / "ct.nii.gz", hu, affine)
    with pytest.raises(ValueError, match=r"subjects.a{181}: the case id has 181 letters"):
        find_cases(tmp_path / "subjects")
    save(tmp_path / "raw" / "labelsTr" / f"{'b' * 181}.nii.gz", labels, affine)
    with pytest.raises(ValueError, match=r"labelsTr.b{181}.nii.gz: the case id has 181 letters"):
        find_cases(tmp_path / "raw")


def test_regions_of_nnunet_are_refused_once(tmp_path):
    hu, labels, affine = small_case(1)
    save(tmp_path / "imagesTr" / "chest_0000.nii.gz", hu, affine)
    save(tmp_path / "labelsTr" / "chest.nii.gz", labels, affine)
    for names, reason in (
        ({"background": 0, "whole": [1, 2], "heart": 2}, r"dataset.json: whole is a region of several ids, \[1, 2\]"),
        ({"background": 0, "heart": 2.5, "lung": 1}, "dataset.json: every entry must be one id and one name"),
    ):
        (tmp_path / "dataset.json").write_text(json.dumps({"channel_names": {"0": "CT"}, "labels": names}))
        with pytest.raises(ValueError, match=reason):
            find_cases(tmp_path)


def test_nnunet_raw_data(tmp_path):
    for number in (1, 2):
        hu, labels, affine = small_case(number)
        save(tmp_path / "imagesTr" / f"chest_{number:03}_0000.nii.gz", hu, affine)
        save(tmp_path / "labelsTr" / f"chest_{number:03}.nii.gz", labels, affine)
    save(tmp_path / "imagesTr" / "chest_003_0000.nii.gz", hu, affine)
    save(tmp_path / "labelsTr" / "chest_004.nii.gz", labels, affine)
    table = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "lung": 1, "heart": 2, "spine": 3}}
    (tmp_path / "dataset.json").write_text(json.dumps(table))
    found = find_cases(tmp_path)
    assert [(each.case_id, each.ct.name) for each in found][:2] == [
        ("chest_001", "chest_001_0000.nii.gz"),
        ("chest_002", "chest_002_0000.nii.gz"),
    ]
    assert [(each.problem or "fine").split(":")[0] for each in found] == [
        "fine",
        "fine",
        "a CT without labels",
        "labels without a CT",
    ]
    assert drrproj.read_labels(found[0].labels, found[0].names).names[2] == "heart"
    (tmp_path / "dataset.json").write_text(json.dumps({**table, "channel_names": {"0": "T2"}}))
    with pytest.raises(ValueError, match="first channel is 'T2'"):
        find_cases(tmp_path)


def test_tables_of_nnunet_that_name_no_ct(tmp_path):
    hu, labels, affine = small_case(1)
    save(tmp_path / "imagesTr" / "chest_0000.nii.gz", hu, affine)
    save(tmp_path / "labelsTr" / "chest.nii.gz", labels, affine)
    table = tmp_path / "dataset.json"
    for content, reason in (
        ([], "dataset.json: it holds a list, and nnU-Net's dataset.json is an object"),
        ("CT", "it holds a str"),
        ({"channel_names": ["MRI"]}, "first channel is 'MRI'"),
        ({"modality": ["MRI", "CT"]}, "first channel is 'MRI'"),
        ({"channel_names": "MRI"}, 'channel_names must name the first channel, as in .*; got "MRI"'),
        ({"channel_names": None}, "must name the first channel, as in .*; got null"),
        ({"modality": {"CT": 0}}, "modality must name the first channel"),
    ):
        table.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=reason):
            find_cases(tmp_path)
    for content in ({}, {"channel_names": ["CT"]}, {"channel_names": {}}, {"modality": {"0": "ct"}}):
        table.write_text(json.dumps(content))
        assert [each.case_id for each in find_cases(tmp_path)] == ["chest"]


def test_a_manifest_and_what_is_wrong_with_others(tmp_path):
    write_subjects(tmp_path, (1,))
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("\ufeffCase, CT ,labels,patient\na,s0001/ct.nii.gz,s0001/segmentations,p\nb,no.nii,x,q\n")
    found = find_cases(manifest)
    assert [(each.case_id, each.patient_id, each.problem) for each in found] == [
        ("a", "p", None),
        ("b", "q", "there is no CT no.nii"),
    ]
    for text, reason in (
        ("case,ct\na,b\n", "missing: labels"),
        ("", "missing: case, ct, labels"),
        ("case,ct,labels\na,,b\n", "line 2: case, ct and labels must not be empty"),
        ("case,ct,labels\na,b,c\na,d,e\n", "the case ids a come more than once"),
        ("case,ct,labels\n../a,b,c\n", "becomes a file name"),
    ):
        manifest.write_text(text)
        with pytest.raises(ValueError, match=reason):
            find_cases(manifest)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no cases in this folder"):
        find_cases(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        find_cases(tmp_path / "nowhere")


def test_manifests_that_are_no_sound_csv(tmp_path):
    manifest = tmp_path / "manifest.csv"
    header = "case,ct,labels,patient\n"
    for text, reason in (
        (header + 'a,x,y,"p1\nb,x,y,p2\nc,x,y,p3\n', "manifest.csv, line 2: the row that starts here is no sound CSV"),
        (header + "a,x,y,p\n\n" + 'b,x,y,"p1\n' + "c,x,y,p2\n" * 50000, "manifest.csv, line 4: .* no sound CSV"),
        (header + 'a,x,y,"p1\nb,x,y,p2"\n', "line 2: a cell in quotes goes on to line 3"),
        (header + 'a,x,y,"p1\r\nb,x,y,"p2"\r\n', "line 2: the row that starts here"),
        ('case,ct,labels,"patient\n"\na,x,y,p\n', "line 1: a cell in quotes goes on to line 2"),
        (header + "a,x,y,p\n\n\nb,,y,p\n", "line 5: case, ct and labels must not be empty"),
        ("case,ct,labels,patient,Patient\na,x,y,p,q\n", "line 1: the columns patient come more than once"),
        ("case,ct,labels, CT\na,x,y,z\n", "the columns ct come more than once"),
        ("case,ct,labels\na,x,1,y\n", "line 2: there are 3 columns, and 'y' lies beyond the last"),
        ("case,ct,labels\n", "there are no rows under the columns case, ct, labels"),
    ):
        manifest.write_text(text, newline="")
        with pytest.raises(ValueError, match=reason):
            find_cases(manifest)


def test_lines_of_a_manifest_end_at_line_ends_alone(tmp_path):
    manifest = tmp_path / "manifest.csv"
    for end in ("\n", "\r\n"):
        rows = (",case,ct,labels,patient,,", '0,a,"x,\u2028.nii",y,p\x0cq,,', "", "1,b,x\x85.nii,y,q")
        manifest.write_text(end.join(rows), encoding="utf-8", newline="")
        assert [(each.case_id, each.ct.name, each.patient_id) for each in find_cases(manifest)] == [
            ("a", "x,\u2028.nii", "p\x0cq"),
            ("b", "x\x85.nii", "q"),
        ]


@pytest.mark.parametrize(
    "column", ["patient_id", "PatientID", "Patient ID", "subject", "subject_id", "PID", "mrn", "Patient#"]
)
def test_patients_in_a_column_of_another_name_are_not_overlooked(tmp_path, column):
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(f"case,ct,labels,{column}\na,x,y,p\nb,x,y,p\n")
    with pytest.raises(ValueError, match=f"line 1: there is no column patient, and '{column}' .* rename it to patient"):
        find_cases(manifest)
    manifest.write_text(f"case,ct,labels,patient,{column}\na,x,y,p,1\nb,x,y,p,1\n")
    with pytest.warns(UserWarning, match=f"other than case, ct, labels, patient are not read: {column}$"):
        assert [each.patient_id for each in find_cases(manifest)] == ["p", "p"]


def test_columns_that_mean_nothing_are_named_once(tmp_path):
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("Age,case,ct,labels,scanner,\n60,a,x,y,CT1,\n61,b,x,y,CT2,\n")
    with pytest.warns(UserWarning, match="are not read") as heard:
        assert [each.patient_id for each in find_cases(manifest)] == ["a", "b"]
    assert [str(each.message) for each in heard] == [
        f"{manifest}: columns other than case, ct, labels, patient are not read: Age, scanner"
    ]


@pytest.mark.parametrize("row", ["b,x,y,", "b,x,y", "b,x,y, "])
def test_a_patient_left_empty_is_refused_with_its_row(tmp_path, row):
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(f"case,ct,labels,patient\na,x,y,p\n{row}\n")
    with pytest.raises(ValueError, match=r"manifest.csv, line 3: the patient of the case b is empty; name one"):
        find_cases(manifest)


@pytest.mark.parametrize("case_id", ["../../evil", "a/b", "", "con", "a" * 181, -7, 7.0, True, np.True_, None])
def test_a_case_s_id_is_no_path(case_id):
    with pytest.raises(ValueError, match="case id"):
        Case(case_id, Path("ct.nii.gz"), Path("labels.nii.gz"), "p")


def test_texts_are_paths_of_a_case(tmp_path):
    case = Case("c", "ct.nii.gz", "labels.nii.gz", "p", names="names.json")
    assert case == Case("c", Path("ct.nii.gz"), Path("labels.nii.gz"), "p", names=Path("names.json"))
    done = build([case], tmp_path / "out", SMALL, workers=1)
    assert done.left_out["c"][0] == "failed"
    with pytest.raises(TypeError, match="case c: labels must be a path; got None"):
        Case("c", "ct.nii.gz", None, "p")
    with pytest.raises(ValueError, match="case c: the path of ct is empty"):
        Case("c", "", "labels.nii.gz", "p")
    for patient in ("", 7.0, True, np.True_, None):
        with pytest.raises(ValueError, match="case c: the patient needs a name"):
            Case("c", "ct.nii.gz", "labels.nii.gz", patient)


@pytest.mark.parametrize("number", [7, np.int64(7), np.uint8(7)])
def test_whole_numbers_are_the_texts_of_a_case_s_ids(number):
    case = Case(number, "ct.nii.gz", "labels.nii.gz", number)
    assert case == Case("7", "ct.nii.gz", "labels.nii.gz", "7")
    assert (type(case.case_id), type(case.patient_id)) == (str, str)


def test_what_is_no_sequence_of_cases_is_not_built(tmp_path):
    case, out = Case("c", "ct.nii.gz", "labels.nii.gz", "p"), tmp_path / "out"
    for folder in ("folder", Path("folder")):
        with pytest.raises(TypeError, match=r"pass find_cases\('folder'\)"):
            build(folder, out)
    with pytest.raises(TypeError, match=r"pass \[case\] for c alone"):
        build(case, out)
    with pytest.raises(TypeError, match=r"as find_cases gives it; one of it is 'ct\.nii\.gz'"):
        build([case, "ct.nii.gz"], out)
    with pytest.raises(ValueError, match="the case ids c come more than once"):
        build([case, replace(case, ct="other.nii.gz")], out)
    with pytest.raises(ValueError, match="two case ids differ in capitals alone, c and C"):
        build([case, replace(case, case_id="C")], out)
    assert not out.exists()
