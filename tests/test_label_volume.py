"""Label volumes: structures that overlap, unions, choices among them, and what they refuse."""

from __future__ import annotations

import pickle
import re

import numpy as np
import pytest

from drrproj import Geometry, LabelVolume, Volume, project, read_labels

SHAPE = (4, 5, 6)
NAMES = {1: "lung_left", 2: "lung_right", 5: "heart", 9: "spleen"}


def lungs_and_heart(**choices):
    array = np.zeros(SHAPE, np.uint8)
    array[0], array[1], array[2, :2], array[3, 0, 0] = 1, 2, 5, 7
    return LabelVolume(array, np.eye(4), NAMES, **choices)


# --- what is there ------------------------------------------------------------------------------------------------


def test_names_without_voxels_and_ids_without_name_are_said_and_not_refused():
    labels = lungs_and_heart()
    assert labels.label_ids == (1, 2, 5, 7)
    assert labels.names_without_voxels == ("spleen",)
    assert labels.ids_without_name == (7,)
    with_group = labels.with_groups({"lungs": [1, 2]})
    assert with_group.names_without_voxels == ("spleen",)
    assert with_group.ids_without_name == (7,)


def test_ids_are_found_by_name_by_number_and_by_the_text_of_one_without_name():
    labels = lungs_and_heart()
    assert [labels.id_of(structure) for structure in ("heart", 5, np.int16(5), "7", "spleen", 9)] == [5, 5, 5, 7, 9, 9]


def test_a_pattern_stands_for_all_names_that_it_matches_in_the_order_of_the_names():
    labels = lungs_and_heart()
    assert labels.subset(["heart", "lung_*"]).label_ids == (5, 1, 2)
    assert labels.subset("?ung_right").label_ids == (2,)
    assert labels.subset("s*").label_ids == (9,)
    assert labels.ids_of("*") == (1, 2, 5, 9, 7)
    assert labels.with_groups({"lungs": ["lung_*"], "left": [1]}).groups == {10: (1, 2), 11: (1,)}
    grouped = labels.with_groups({"lungs": ["lung_*"]})
    assert grouped.ids_of("lung*") == (1, 2, 10)
    assert grouped.with_groups({"all": ["*"]}).groups[11] == (1, 2, 5, 7, 9)
    odd = LabelVolume(np.ones(SHAPE, np.uint8), np.eye(4), {1: "a*", 2: "ab"})
    assert odd.subset("a*").label_ids == (1,)


@pytest.mark.parametrize(
    ("structure", "hint"),
    [
        ("hart", "did you mean heart?"),
        ("lung_lft", "did you mean lung_left, lung_right"),
        ("5", "there are lung_left, lung_right, heart, 7, spleen"),
        (77, "there are"),
        (0, "there are"),
        (-1, "there are"),
        ("", "there are"),
        ("rib_*", "there are"),
    ],
)
def test_unknown_structures_are_refused_with_those_spelled_alike(structure, hint):
    for ask in (
        lambda labels: labels.id_of(structure),
        lambda labels: labels.subset([structure]),
        lambda labels: labels.with_groups({"both": [1, structure]}),
    ):
        with pytest.raises(KeyError, match=re.escape(f"no structure {structure!r}")) as raised:
            ask(lungs_and_heart())
        assert hint in raised.value.args[0]


# --- overlaps -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_structures_of_masks_are_the_masks(seed):
    rng = np.random.default_rng(seed)
    masks = {f"s{number}": rng.random(SHAPE) < 0.4 for number in range(rng.integers(1, 9))}
    labels = LabelVolume.from_masks(masks, np.diag([2.0, 3, 4, 1]))
    for label_id, values in labels.values_by_structure.items():
        np.testing.assert_array_equal(np.isin(labels.array, values), masks[labels.name_of(label_id)])
    assert set(labels.names.values()) == set(masks)


def test_masks_of_any_number_type_are_where_they_are_not_zero():
    inside = np.arange(120).reshape(SHAPE) % 3 == 0
    for mask in (inside, inside * np.uint8(255), inside * 0.5, inside * -1):
        labels = LabelVolume.from_masks({"a": mask}, np.eye(4))
        np.testing.assert_array_equal(labels.array, inside)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({}, "at least one mask"),
        ({"a": np.ones(SHAPE), "b": np.ones((4, 5, 7))}, r"'b' has shape \(4, 5, 7\).*\(4, 5, 6\)"),
        ({"a": np.full(SHAPE, np.nan)}, "'a' holds NaN"),
        ({"a": np.ones((4, 5))}, "mask 'a' must be a 3-D array"),
        ({"a": np.full(SHAPE, "0")}, "mask 'a' must hold real numbers"),
        ({"a": np.full(SHAPE, None)}, "mask 'a' must hold real numbers"),
        ({"a": np.ma.masked_equal(np.ones(SHAPE), 1)}, r"mask 'a' is a masked array.*filled"),
    ],
)
def test_masks_that_make_no_labels_are_refused(masks, message):
    with pytest.raises((TypeError, ValueError), match=message):
        LabelVolume.from_masks(masks, np.eye(4))


def test_the_affine_of_masks_is_no_text():
    with pytest.raises(ValueError, match="4x4 matrix of numbers"):
        LabelVolume.from_masks({"a": np.ones(SHAPE)}, np.eye(4).astype(int).astype(str))


def test_masks_without_names_are_refused():
    with pytest.raises(TypeError, match=r'mapping of names to masks, \{"heart": mask\}; got list'):
        LabelVolume.from_masks([np.ones(SHAPE)], np.eye(4))


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"overlaps": {5: (1, 2)}}, "value 5 stands for an overlap, and is no id"),
        ({"overlaps": {20: (1, 2)}, "groups": {20: (1,)}}, "value 20 stands for an overlap"),
        ({"overlaps": {20: (1, 2), 21: (1, 20)}}, "20 is an overlap or a group itself"),
        ({"groups": {20: (1, 2), 21: (20, 5)}}, "20 is an overlap or a group itself"),
        ({"overlaps": {20: ()}}, "each overlap has a positive value"),
        ({"overlaps": {0: (1, 2)}}, "each overlap has a positive value"),
        ({"groups": {20: (0, 1)}}, "each group has a positive value"),
        ({"groups": {"lungs": (1, 2)}}, r"each group has a positive value and positive ids; got 'lungs': \(1, 2\)"),
        ({"groups": {20: ("a", 1)}}, "each group has a positive value"),
        ({"groups": {20: (1.5, 2)}}, "each group has a positive value"),
        ({"groups": {20: 1}}, "each group has a positive value"),
        ({"groups": {20: (1,), "20": (2,)}}, "group 20 is there twice; keep one"),
    ],
)
def test_overlaps_and_groups_of_what_is_no_id_are_refused(choices, message):
    with pytest.raises(ValueError, match=message):
        lungs_and_heart(**choices)


def test_a_group_whose_id_voxels_have_is_refused():
    with pytest.raises(ValueError, match="group '7' has id 7, which voxels have already"):
        _ = lungs_and_heart(groups={7: (1, 2)}).label_ids


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({1: "a", "1": "b"}, r"label 1 is named twice, 'a' and 'b'; keep one$"),
        ({"heart": "x"}, r"label names belong to whole ids; got 'heart': 'x'$"),
        ({None: "x"}, r"label names belong to whole ids; got None: 'x'$"),
        ({1.5: "x"}, r"label names belong to whole ids; got 1\.5: 'x'$"),
        ({float("nan"): "x"}, "label names belong to whole ids; got nan: 'x'$"),
    ],
)
def test_names_of_what_is_no_id_or_of_one_id_twice_are_refused(names, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        LabelVolume(np.zeros(SHAPE, np.uint8), np.eye(4), names)


# --- groups -------------------------------------------------------------------------------------------------------


def test_a_group_has_the_values_of_its_members_once():
    masks = {"a": np.zeros(SHAPE), "b": np.zeros(SHAPE), "c": np.zeros(SHAPE)}
    masks["a"][:2], masks["b"][1:3], masks["c"][3] = 1, 1, 1
    labels = LabelVolume.from_masks(masks, np.eye(4)).with_groups({"ab": ["a", "b"]})
    labels = labels.with_groups({"abc": ["ab", 3, "a"]})
    assert dict(labels.overlaps) == {4: (1, 2)}
    assert dict(labels.groups) == {5: (1, 2), 6: (1, 2, 3)}
    assert labels.values_by_structure[5] == (1, 2, 4)
    assert labels.values_by_structure[6] == (1, 2, 3, 4)
    assert labels.label_ids == (1, 2, 3, 5, 6)


def test_groups_of_ids_of_any_sequence():
    labels = lungs_and_heart().with_groups({"all": range(1, 3), "array": np.array([1, 5])})
    assert dict(labels.groups) == {10: (1, 2), 11: (1, 5)}


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"lungs": "lung_left"}, "needs a list of members; got 'lung_left'"),
        ({"lungs": 5}, "needs a list of members; got 5"),
        ({"lungs": []}, "group 'lungs' has no member"),
        ({"heart": [1, 2]}, "both named 'heart'"),
        ({" ": [1, 2]}, "non-empty"),
    ],
)
def test_groups_that_are_none_are_refused(groups, message):
    with pytest.raises(ValueError, match=message):
        lungs_and_heart().with_groups(groups)


# --- subsets ------------------------------------------------------------------------------------------------------


def test_a_subset_keeps_the_order_asked_for_and_the_same_array():
    labels = lungs_and_heart()
    chosen = labels.subset(["spleen", 5, "heart", "7", "lung_left"])
    assert chosen.label_ids == (9, 5, 7, 1)
    assert chosen.values_by_structure == {9: (), 5: (5,), 7: (7,), 1: (1,)}
    assert chosen.array is labels.array
    assert labels.subset("heart").label_ids == labels.subset(5).label_ids == (5,)


def test_groups_of_a_subset_are_made_of_all_structures():
    grouped = lungs_and_heart().with_groups({"lungs": [1, 2]})
    assert grouped.subset(["lungs"]).values_by_structure == {10: (1, 2)}
    later = lungs_and_heart().subset(["heart"]).with_groups({"lungs": ["lung_left", "lung_right"]})
    assert later.label_ids == (5, 10)
    assert later.values_by_structure == {5: (5,), 10: (1, 2)}


def test_groups_added_to_a_subset_follow_it_in_the_order_asked_for():
    # 60 to 70 lie otherwise in a set of Python than in their order.
    labels = LabelVolume(np.full(SHAPE, 59, np.uint8), np.eye(4)).subset([59])
    later = labels.with_groups({f"group {number}": [59] for number in range(11)})
    assert later.label_ids == (59, *range(60, 71))


# --- what is kept -------------------------------------------------------------------------------------------------


def test_pickling_keeps_overlaps_groups_and_the_subset():
    array = np.zeros(SHAPE, np.uint8)
    array[0], array[1] = 1, 20
    labels = LabelVolume(array, np.diag([1.0, 2, 3, 1]), NAMES, overlaps={20: (1, 2)})
    labels = labels.with_groups({"lungs": [1, 2]}).subset(["lungs", "lung_right"])
    again = pickle.loads(pickle.dumps(labels))
    assert again.values_by_structure == labels.values_by_structure == {21: (1, 20), 2: (20,)}
    for table in ("names", "overlaps", "groups"):
        assert dict(getattr(again, table)) == dict(getattr(labels, table))
    np.testing.assert_array_equal(again.affine, labels.affine)


def test_tables_cannot_be_changed():
    labels = lungs_and_heart().with_groups({"lungs": [1, 2]})
    for table in (labels.names, labels.groups, labels.overlaps):
        with pytest.raises(TypeError, match="does not support item assignment"):
            table[1] = "x"


def test_a_thousand_sparse_ids():
    ids = np.random.default_rng(0).choice(2**40, 1000, replace=False) + 1
    array = np.zeros((10, 10, 11), np.int64)
    array.flat[:1000] = ids
    labels = LabelVolume(array, np.eye(4))
    assert labels.label_ids == tuple(sorted(ids.tolist()))
    assert len(labels.with_groups({"all": labels.label_ids}).groups[int(ids.max()) + 1]) == 1000


def test_masks_in_files_of_their_own_are_told_apart_by_the_names_that_the_refusal_shows(tmp_path):
    ct = Volume(np.zeros((6, 6, 6), np.int16), np.eye(4))
    view = Geometry.radiograph("PA", ct, shape=(6, 6))
    for name in ("heart", "liver"):
        np.savez(tmp_path / f"{name}.npz", array=np.ones((6, 6, 6), np.uint8), affine=np.eye(4))
    files = [tmp_path / "heart.npz", tmp_path / "liver.npz"]
    said = r"named '1'; give one another name \(read_labels\(file, names={1: \"heart\"}\), or --names\), .* one folder"
    with pytest.raises(ValueError, match=said):
        project(ct, view, labels=[read_labels(file) for file in files])
    named = [read_labels(files[0], names={1: "heart"}), read_labels(files[1], names={1: "liver"})]
    assert list(project(ct, view, labels=named).masks) == ["heart", "liver"]


@pytest.mark.parametrize("name", ["heart\n", "a\0", "\ud800x", "left\u2028lung"])
def test_names_that_no_table_or_file_can_hold_are_refused(name):
    with pytest.raises(ValueError, match=r"label 1 is named .* is no text; rename it"):
        LabelVolume(np.ones(SHAPE, np.uint8), np.eye(4), {1: name})
    with pytest.raises(ValueError, match="is no text; rename it"):
        LabelVolume.from_masks({name: np.ones(SHAPE, bool)}, np.eye(4))
    with pytest.raises(ValueError, match="is no text; rename it"):
        LabelVolume(np.ones(SHAPE, np.uint8), np.eye(4), {1: "heart"}).with_groups({name: [1]})
