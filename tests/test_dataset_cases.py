"""Finding cases, sharing them out, and drawing their poses."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_cases import SMALL, save, small_case, write_subjects

import drrproj
from drrproj.dataset.build import build
from drrproj.dataset.cases import Case, find_cases
from drrproj.dataset.poses import Poses, Variation, View, parse_view
from drrproj.dataset.splits import Splits, read_splits

# The views of these small cases leave out corners of the volume, on purpose.
pytestmark = pytest.mark.filterwarnings("ignore:view .* the volume does not fit the detector")


def case(case_id, patient=None):
    return Case(case_id, "ct", "labels", patient or case_id)


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


def test_shares_are_by_patient_seeded_and_stay_when_cases_are_added():
    cases = [case(f"c{number}", f"p{number // 2}") for number in range(4000)]
    splits = Splits({"train": 0.7, "val": 0.1, "test": 0.2}, seed=3)
    assigned = splits.assign(cases)
    for first, second in zip(cases[::2], cases[1::2], strict=True):
        assert assigned[first.case_id] == assigned[second.case_id]
    # 2000 patients: 4 standard deviations are 0.041 for a share of 0.7.
    shares = {name: np.mean([split == name for split in assigned.values()]) for name in ("train", "val", "test")}
    assert shares == pytest.approx({"train": 0.7, "val": 0.1, "test": 0.2}, abs=0.041)
    assert splits.assign(cases[100:200]) == {each.case_id: assigned[each.case_id] for each in cases[100:200]}
    assert Splits({"train": 0.7, "val": 0.1, "test": 0.2}, seed=4).assign(cases) != assigned
    with pytest.raises(ValueError, match="sum to 1"):
        Splits({"train": 0.7})


def test_the_order_of_shares_means_nothing():
    cases = [case(f"c{number}") for number in range(300)]
    shares = {"train": 0.5, "val": 0.3, "test": 0.2}
    assigned = Splits(shares).assign(cases)
    for names in itertools.permutations(shares):
        assert Splits({name: shares[name] for name in names}).assign(cases) == assigned


@pytest.mark.parametrize("name", ["a/b", "", "train ", "..", "con", "a\nb", "\ud800"])
def test_a_split_that_cannot_name_a_file_is_refused_before_anything_is_built(tmp_path, name):
    for pieces in ({"shares": {name: 1.0}}, {"lists": {name: ["a"]}}):
        with pytest.raises(ValueError, match=r"the split .* cannot name a file"):
            Splits(**pieces)
    (tmp_path / "splits.json").write_text(json.dumps({name: ["a"]}))
    with pytest.raises(ValueError, match=r"splits.json: the split .* cannot name a file"):
        read_splits(tmp_path / "splits.json")


def test_two_splits_that_are_one_file_are_refused():
    with pytest.raises(ValueError, match="two splits differ in capitals alone, Train and train"):
        Splits({"Train": 0.5, "train": 0.5})


def test_lists_and_ranges(tmp_path):
    path = tmp_path / "splits.json"
    path.write_text(json.dumps({"train": [[1, 420]], "val": ["RibFrac421"], "test": [[501, 660]]}))
    splits = read_splits(path)
    cases = [case(f"RibFrac{number}") for number in (1, 420, 421, 500, 501)] + [case("other")]
    assert list(splits.assign(cases).values()) == ["train", "train", "val", None, "test", None]
    with pytest.raises(ValueError, match="patient p would be on both sides: a is in train and b in test"):
        Splits(lists={"train": ["a"], "test": ["b"]}).assign([case("a", "p"), case("b", "p")])
    with pytest.raises(ValueError, match="in the splits train and test"):
        Splits(lists={"train": ["a"], "test": [(1, 2), "a"]}).assign([case("a")])
    for text, reason in (
        ('{"train": [[3, 1]]}', "splits.json: a split lists ids, or ranges"),
        ('["a"]', "lists by name"),
        ("{", "JSON"),
        ('{"train": ["a"], "test": ["b"], "train": ["c"]}', "splits.json: train comes more than once"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=reason):
            read_splits(path)


@pytest.mark.parametrize(
    ("one", "other", "printed"),
    [
        ("P1", "p1", "'P1' and 'p1'"),
        ("A 1", "A  1", "'A 1' and 'A  1'"),
        ("A 1", "A\u00a01 ", r"'A 1' and 'A\xa01 '"),
        ("Jos\u00e9", "Jose\u0301", r"'Jos\xe9' and 'Jose\u0301'"),
        ("Stra\u00dfe", "STRASSE", "'Stra\u00dfe' and 'STRASSE'"),
    ],
)
def test_a_patient_in_two_spellings_is_refused(tmp_path, one, other, printed):
    sentence = re.escape(f"two patients differ in capitals, blanks or the form of accents alone, {printed}; if they")
    cases = [case("a", one), case("b", "anna"), case("c", other)]
    for splits in (Splits({"train": 0.5, "test": 0.5}), Splits(lists={"train": ["a"], "test": ["b", "c"]})):
        with pytest.raises(ValueError, match=sentence):
            splits.assign(cases)
    with pytest.raises(ValueError, match=sentence):
        build(cases, tmp_path / "out", SMALL, workers=1)


def test_a_manifest_with_a_patient_in_two_spellings_is_refused(tmp_path):
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("case,ct,labels,patient\na,x,y,P1\nb,x,y,p1\n")
    with pytest.raises(ValueError, match=r"manifest\.csv: two patients differ in capitals, .* 'P1' and 'p1'"):
        find_cases(manifest)
    manifest.write_text("case,ct,labels,patient\na,x,y,P1\nb,x,y,P1\nc,x,y,P 1\n")
    assert [each.patient_id for each in find_cases(manifest)] == ["P1", "P1", "P 1"]


def test_ids_and_ranges_that_no_case_and_no_patient_has_are_said():
    cases = [case("s0001", "anna"), case("s0002", "P7")]
    lists = {"train": ["s0001", "s001", *(f"nobody{n}" for n in range(6))], "val": ["P7", (7, 9)], "test": [(3, 6)]}
    with pytest.warns(UserWarning, match="of no case and no patient") as heard:
        assert Splits(lists=lists).assign(cases) == {"s0001": "train", "s0002": "val"}
    assert [str(each.message) for each in heard] == [
        "8 of 11 ids and ranges that the splits list are of no case and no patient: s001, nobody0, nobody1, nobody2, "
        "nobody3 and 3 others"
    ]
    assert Splits(lists={"train": ["anna", (2, 2)], "test": []}).assign(cases) == {"s0001": "train", "s0002": "train"}


@pytest.mark.parametrize("members", [["s0000", "s00001x"], [(3, 6)]])
def test_lists_that_no_case_and_no_patient_is_in_are_said_with_what_there_is(members):
    cases = [case("s0001", "anna"), case("s0002", "P7")]
    with pytest.warns(UserWarning, match=r"of no case and no patient: .*, where there are P7, anna, s0001, s0002$"):
        assert set(Splits(lists={"train": members}).assign(cases).values()) == {None}
    assert Splits(lists={"train": []}).assign(cases) == {"s0001": None, "s0002": None}


def test_ranges_hold_for_the_number_of_a_case_and_of_its_patient():
    splits = Splits(lists={"train": [(1, 10)], "test": [(400, 500)]})
    cases = [case("RibFrac450", "anna"), case("scan", "P7"), case("RibFrac451", "P401"), case("RibFrac5", "P300")]
    assert list(splits.assign(cases).values()) == ["test", "train", "test", "train"]
    with pytest.raises(ValueError, match="case RibFrac450 of patient P7 is in the splits train and test, by one id"):
        splits.assign([case("RibFrac450", "P7")])
    with pytest.raises(ValueError, match="patient anna would be on both sides: RibFrac450 is in test and RibFrac5 in"):
        splits.assign([case("RibFrac450", "anna"), case("RibFrac5", "anna")])


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([(420, 1)], r"split train lists ids, or ranges such as \(501, 660\); got \(420, 1\)"),
        ([(1, 2, 3)], "got .1, 2, 3"),
        ([(1.5, 2)], "got .1.5, 2"),
        ([7], "got 7"),
        ([""], "got ''"),
        ("R7", "split train must be a list of ids and ranges, as in .*; got 'R7'"),
        ({"R7": 1}, "must be a list"),
        ((name for name in ("R7",)), "must be a list"),
    ],
)
def test_lists_that_are_none(members, reason):
    with pytest.raises(ValueError, match=reason):
        Splits(lists={"train": members})


@pytest.mark.parametrize(
    "shares", [{"train": float("nan")}, {"train": 1.0, "test": float("nan")}, {}, {"a": 2, "b": -1}]
)
def test_shares_that_are_none(shares):
    with pytest.raises(ValueError, match="must not be negative and sum to 1"):
        Splits(shares)


CT = drrproj.Volume(np.zeros((40, 30, 50), np.int16), np.diag([3.0, 3.0, 3.0, 1.0]) @ np.eye(4))


@pytest.mark.parametrize(("primary", "secondary"), [(30, 0), (0, 20), (-40, 25), (90, 0)])
def test_turned_pa_views_are_those_of_a_c_arm(primary, secondary):
    poses = Poses([View("v", "PA", primary, secondary)], shape=(32, 32), pixel_spacing=4.0)
    view = poses.geometry("case", CT)
    plain = drrproj.Geometry.radiograph("PA", CT, shape=(32, 32), pixel_spacing=4.0)
    arm = drrproj.Geometry.c_arm(
        sdd=1800,
        sod=float(np.linalg.norm(plain.sources[0] - CT.center)),
        isocenter=CT.center,
        primary_angle=primary,
        secondary_angle=secondary,
        pixel_spacing=4.0,
        shape=(32, 32),
    )
    np.testing.assert_allclose(view.views, arm.views, atol=1e-9)


def test_the_record_of_poses_has_the_distance_that_was_meant():
    assert Poses().as_record()["sdd"] == Poses(sdd=1800).as_record()["sdd"] == 1800
    assert Poses(beam="parallel").as_record()["sdd"] is None


@pytest.mark.parametrize("beam", ["cone", "parallel"])
def test_plain_views_are_those_of_radiograph(beam):
    names = ("PA", "AP", "LL", "RL")
    poses = Poses([parse_view(name) for name in names], beam, shape=(32, 24))
    expected = [drrproj.Geometry.radiograph(name, CT, beam=beam, shape=(32, 24)).views[0] for name in names]
    np.testing.assert_allclose(poses.geometry("case", CT).views, expected, atol=1e-9)


def test_poses_follow_from_seed_case_and_view_alone_and_stay_within_limits():
    variation = Variation(angle=8, distance=100, shift=15, poses=40, seed=5)
    both = Poses(shape=(32, 32), variation=variation, pixel_spacing=4.0)
    views = both.geometry("a", CT)
    np.testing.assert_array_equal(views.views, both.geometry("a", CT).views)
    alone = Poses([View("lateral", "LL")], shape=(32, 32), variation=variation, pixel_spacing=4.0).geometry("a", CT)
    np.testing.assert_array_equal(views.views[40:], alone.views)
    assert len({view.tobytes() for view in views.views}) == 80
    assert (views.views != both.geometry("b", CT).views).any(axis=(1, 2)).all()
    assert 1700 <= views.sdd.min() < 1730 < 1870 < views.sdd.max() <= 1900
    plain = drrproj.Geometry.radiograph("PA", CT, shape=(32, 32))
    tilts = np.degrees(np.arccos(np.clip(views.normals[:40] @ plain.normals[0], -1, 1)))
    # Two turns of up to 8 degrees, about axes at a right angle.
    assert 4 < tilts.max() <= np.degrees(np.arccos(np.cos(np.radians(8)) ** 2)) + 1e-6
    shifts = Poses([View("p", "PA")], shape=(32, 32), variation=Variation(shift=15, poses=40)).geometry("a", CT)
    moved = shifts.sources - plain.sources[0]
    assert np.abs(moved[:, 1]).max() < 1e-9
    assert 10 < np.abs(moved[:, [0, 2]]).max() <= 15


@pytest.mark.parametrize(
    ("text", "reason"),
    [("front", "unknown view 'front'"), ("a_b=PA", "name of a view"), ("a=XX", "unknown view 'XX'"), ("a=PA:1", "two")],
)
def test_views_that_are_none(text, reason):
    with pytest.raises(ValueError, match=reason):
        parse_view(text)


def test_variations_that_are_none():
    with pytest.raises(ValueError, match="would all be the same"):
        Variation(poses=2)
    with pytest.raises(ValueError, match="must not be negative"):
        Variation(angle=-1)
    with pytest.raises(ValueError, match="parallel beam has no distance"):
        Poses(beam="parallel", variation=Variation(distance=10))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"shape": (0, 10)}, r"rows and columns, both positive whole numbers; got \(0, 10\)"),
        ({"shape": (-3, 4)}, r"both positive whole numbers; got \(-3, 4\)"),
        ({"shape": (3.5, 4)}, r"both positive whole numbers; got \(3.5, 4\)"),
        ({"shape": (3,)}, "the shape of the detector"),
        ({"shape": 512}, "the shape of the detector is rows and columns, both positive whole numbers; got 512"),
        ({"views": ("PA", "LL")}, r"a view is a View, as in View\('frontal', 'PA'\); got 'PA'"),
        ({"views": "PA"}, r"a view is a View, as in View\('frontal', 'PA'\); got 'P'"),
        ({"sdd": 0}, "sdd must be a positive distance in mm; got 0"),
        ({"sdd": -1800.0}, "sdd must be a positive distance"),
        ({"sdd": float("nan")}, "sdd must be a positive distance in mm; got nan"),
        ({"sdd": float("inf")}, "sdd must be a positive distance"),
        ({"sdd": 1800.0, "beam": "parallel"}, "sdd belongs to a cone; a parallel beam has no source: leave it out"),
        ({"pixel_spacing": 0.0}, "pixel_spacing must be a positive distance in mm; got 0"),
        ({"pixel_spacing": float("nan")}, "pixel_spacing must be a positive distance"),
        ({"beam": "fan"}, "the beam is cone or parallel; got 'fan'"),
        ({"variation": Variation(distance=5000)}, "a distance of 1800 mm varied by 5000 mm brings the source through"),
        ({"variation": Variation(distance=1750)}, "brings the source through the patient"),
        ({"views": (View("v", "PA"), View("V", "LL"))}, "views with different names"),
    ],
)
def test_poses_that_no_case_could_have_are_refused_at_once(options, reason):
    with pytest.raises(ValueError, match=reason):
        Poses(**options)


@pytest.mark.parametrize("name", ["con", "a.", "v" * 41, "a_b"])
def test_views_that_cannot_name_files_are_refused(name):
    with pytest.raises(ValueError, match="view"):
        View(name, "PA")


def test_a_case_too_deep_for_a_varied_distance_fails_whatever_is_drawn():
    deep = drrproj.Volume(np.zeros((10, 40, 10), np.int16), np.diag([10.0, 10.0, 10.0, 1.0]))  # 400 mm for PA
    Poses(shape=(8, 8), variation=Variation(distance=1300)).geometry("a", deep)
    for seed in range(5):
        poses = Poses(shape=(8, 8), variation=Variation(distance=1400, seed=seed))
        with pytest.raises(ValueError, match="with the distance varied by 1400 mm, sdd 400 mm puts the source inside"):
            poses.geometry("a", deep)


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
