"""Sharing cases out to splits, by patient."""

from __future__ import annotations

import itertools
import json
import re

import numpy as np
import pytest
from small_cases import SMALL

from drrproj.dataset.build import build
from drrproj.dataset.cases import Case, find_cases
from drrproj.dataset.splits import Splits, read_splits

# The views of these small cases leave out corners of the volume, on purpose.
pytestmark = pytest.mark.filterwarnings("ignore:view .* the volume does not fit the detector")


def case(case_id, patient=None):
    return Case(case_id, "ct", "labels", patient or case_id)


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


@pytest.mark.parametrize("seed", [1.0, True, "1", None, np.nan])
def test_a_seed_is_a_whole_number(seed):
    """1, 1.0 and True would draw other splits, and be of one configuration."""
    with pytest.raises(ValueError, match="the seed of the splits is a whole number; got"):
        Splits({"train": 1.0}, seed=seed)
    assert Splits({"train": 1.0}, seed=np.int64(1)) == Splits({"train": 1.0}, seed=1)


def test_a_set_of_ids_has_one_record_in_every_process():
    ids = {f"case{number}" for number in range(40)}
    record = Splits(lists={"train": ids}).as_record()
    assert record == {"lists": {"train": sorted(ids)}}


def test_lists_are_the_splits_own_and_ranges_of_numpy_are_pythons():
    members = ["a", (np.int64(1), np.int64(4))]
    splits = Splits(lists={"train": members})
    members.clear()
    assert json.loads(json.dumps(splits.as_record())) == {"lists": {"train": ["a", [1, 4]]}}
