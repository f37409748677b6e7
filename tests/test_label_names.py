"""Names of labels that no file of a dataset could hold are refused where they are read."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from small_cases import NAMES, save, small_case

import drrproj
from drrproj.dataset.build import build
from drrproj.dataset.cases import find_cases
from drrproj.dataset.one_case import Recipe
from drrproj.dataset.poses import Poses
from drrproj.dataset.quality import QualityLimits
from drrproj.io.label_names import find_label_names, read_label_names


@pytest.mark.parametrize("name", ["\ud800x", "heart\0", "he\nart", "heart\r", "\x1b[31mheart", "he\u2028art", "\x85"])
def test_names_that_are_no_text_are_refused(tmp_path, name):
    for table in ({name: 1, "aorta": 2}, {"1": name, "2": "aorta"}):
        (tmp_path / "labels.json").write_text(json.dumps(table))
        with pytest.raises(ValueError, match=r"labels.json: label 1 is named .* in it is no text; rename it"):
            read_label_names(tmp_path / "labels.json")


def test_names_with_spaces_and_of_any_script_are_taken(tmp_path):
    names = {1: "left lung", 2: "心臓", 3: "Rippe (links) ½", 4: "हृदय"}
    (tmp_path / "labels.json").write_text(json.dumps({str(label_id): name for label_id, name in names.items()}))
    assert read_label_names(tmp_path / "labels.json") == names


def test_names_in_a_header_that_are_no_text_are_refused(tmp_path):
    table = b'<CaretExtension><LabelTable><Label Key="1"><![CDATA[he\nart]]></Label></LabelTable></CaretExtension>'
    image = nibabel.Nifti1Image(np.ones((2, 2, 2), np.uint8), np.eye(4))
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(0, table))
    nibabel.save(image, tmp_path / "labels.nii.gz")
    with pytest.raises(ValueError, match=r"labels.nii.gz: label 1 is named 'he\\nart'"):
        drrproj.read_labels(tmp_path / "labels.nii.gz")


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("seg.json", '{"Modality": "CT", "SeriesNumber": 4}', "a record of how an image was made, which tells its Mod"),
        ("seg.json", '{"EchoTime": 1, "SeriesNumber": 1}', "a record of how an image was made, which tells its Echo"),
        ("seg.json", '{"SeriesNumber": 4, "EchoTime": 1, "Modality": "MR"}', "a record of how an image was made"),
        ("seg.json", '{"Modality": "CT", "Modality": "MR", "SeriesNumber": 4}', "a record of how an image was made"),
        ("seg.json", '{"Manual": true, "Sources": ["ct.nii.gz"]}', "a record of how an image was made"),
        ("seg.json", '{"heart": {"volume": 3}, "dice": 0.9}', "no label names in it"),
        ("seg.csv", "structure,volume_ml\nheart,600\n", "the first row must name the columns index and name; got stru"),
        ("seg.tsv", "index\tvolume\n1\t3\n", "the first row must name the columns index and name; got index, volume"),
        ("seg.csv", "name,volume\nheart,600\n", "the first row must name the columns index and name; got name, volume"),
        ("seg.csv", "name,dice\nheart,0.9\naorta,1\n", "the first row must name the columns index and name"),
        (
            "seg.csv",
            ",structure,volume_ml\n0,heart,600\n",
            "the first row must name the columns .*; got , structure, vol",
        ),
        ("seg.csv", "organ,ml\nheart,600\n", "the first row must name the columns index and name; got organ, ml"),
        ("seg.csv", "", "the first row must name the columns index and name; got nothing"),
    ],
)
def test_files_of_another_kind_are_passed_over_beside_a_label_file_and_refused_as_a_table(tmp_path, name, text, why):
    (tmp_path / name).write_text(text)
    assert find_label_names(tmp_path / "seg.nii.gz") == {}
    with pytest.raises(ValueError, match=rf"seg\.(json|csv|tsv): .*{why}") as refused:
        read_label_names(tmp_path / name)
    assert refused.type is ValueError
    assert refused.value.__suppress_context__


@pytest.mark.parametrize(
    "text",
    [
        '{"Atlas": 1, "Axis": 2}',
        '{"labels": {"Atlas": 1, "Axis": 2}}',
        '{"Modality": "CT", "Modality": "MR", "labels": {"background": 0, "Atlas": 1, "Axis": 2}}',
        '{"Atlas": 1, "Axis": 2, "Atlas": 1}',
        '{"1": "Atlas", "2": "Axis", "1": "Atlas"}',
        '{"tools": {"a": 1, "a": 2}, "labels": {"Atlas": 1, "Axis": 2}}',
    ],
)
def test_a_whole_table_is_read_whatever_its_names_and_what_is_beside_it(tmp_path, text):
    (tmp_path / "seg.json").write_text(text)
    assert find_label_names(tmp_path / "seg.nii.gz") == {1: "Atlas", 2: "Axis"}
    assert read_label_names(tmp_path / "seg.json") == {1: "Atlas", 2: "Axis"}


@pytest.mark.parametrize(
    ("name", "text", "got"),
    [
        ("seg.csv", "label,name\n1,heart\n2,lung\n", "label, name"),
        ("seg.csv", "value,name\n1,heart\n", "value, name"),
        ("seg.csv", "name,value\nheart,1\n", "name, value"),
        ("seg.csv", "structure,value\nheart,1\naorta,2\n", "structure, value"),
        ("seg.csv", "index,label\n1,heart\n", "index, label"),
        ("seg.csv", "1,heart\n2,lung\n", "1, heart"),
        ("seg.csv", ",name\n1,heart\n2,lung\n", ", name"),
        ("seg.csv", "label,name,volume_ml\n1,heart,600\n", "label, name, volume_ml"),
        ("seg.csv", "heart,1\nlung,2\n", "heart, 1"),
        ("seg.csv", '"1","heart"\n', "1, heart"),
        ("seg.csv", "label,organ\n1,heart\nx,lung\n3,aorta\n", "label, organ"),
        ("seg.csv", "label;name\n1;heart\n", "label;name"),
        ("seg.tsv", "label\tname\n1\theart\n", "label, name"),
        ("seg.tsv", "1 heart\n2 left lung\n", "1 heart"),
    ],
)
def test_rows_that_may_be_names_under_another_header_are_refused_wherever_they_are(tmp_path, name, text, got):
    (tmp_path / name).write_text(text)
    said = rf"seg\.(csv|tsv): the first row must name the columns index and name; got {got}; if it is no table"
    for read in (lambda: find_label_names(tmp_path / "seg.nii.gz"), lambda: read_label_names(tmp_path / name)):
        with pytest.raises(ValueError, match=said):
            read()


def test_a_table_behind_a_file_of_another_kind_is_found(tmp_path):
    (tmp_path / "seg.json").write_text('{"Modality": "CT", "SeriesNumber": 4}')
    (tmp_path / "seg.csv").write_text("id,structure\n3,heart\n")
    assert find_label_names(tmp_path / "seg.nii.gz") == {3: "heart"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("seg.json", '{"heart": 51, "liver": "5"}', r'every entry must be .*; got "liver": "5"'),
        ("seg.json", '{"1": "heart", "lung": 2}', r'every entry must be .* all in one order; got "lung": 2'),
        ("seg.json", '{"1": "heart", "2": null}', r'every entry must be .*; got "2": null'),
        ("seg.json", '{"heart": 1, "liver": true}', r'every entry must be .*; got "liver": true'),
        ("seg.json", '{"1": "heart", "2": "lung", "1": "liver"}', r'it has "1" twice, of which one would be lost'),
        ("seg.json", '{"labels": {"heart": 1, "heart": 2}}', r'it has "heart" twice'),
        ("seg.json", '{"heart": 1, "heart": true}', r'it has "heart" twice'),
        ("seg.json", '{"labels": {"heart": 1}, "labels": {"lung": 1}}', r'it has "labels" twice'),
        ("seg.json", '{"labels": {"heart": 1}, "labels": 3}', r'it has "labels" twice'),
        (
            "seg.json",
            '{"1": "heart", "2": "lung", "Description": "CT"}',
            r'every entry must .*; got "Description": "CT"',
        ),
        ("seg.json", '{"heart": 1, "lung": 2, "Description": "CT"}', r'every entry must .*; got "Description": "CT"'),
        ("seg.json", '{"Atlas": 1, "Axis": "2"}', r'every entry must .*; got "Axis": "2"'),
        ("seg.json", '{"Atlas": 1, "C3": 2, "Description": "CT"}', r'every entry must .*; got "Description": "CT"'),
        ("seg.json", '{"labels": {"Atlas": 1, "Axis": "2"}}', r'every entry must .*; got "Axis": "2"'),
        ("seg.json", '{"labels": {"Atlas": 1, "Axis": [2, 3]}}', r'every entry must .*; got "Axis": \[2, 3\]'),
        ("seg.json", '{"1": "heart", "01": "liver"}', "label 1 has two names, 'heart' and 'liver'"),
        ("seg.json", '{"heart": 1, "liver": 1}', "label 1 has two names, 'heart' and 'liver'"),
        ("seg.tsv", "index,name\n1,heart\n", "got index,name, which a tab would have to separate"),
        ("seg.csv", "Name;ID\nheart;1\n", "got name;id, which a comma would have to separate"),
        ("seg.csv", "id,name\nx,heart\n", "every row must have one id and one name; got 'x,heart'"),
        ("seg.csv", 'id,name\n1,"heart\n2,lung\n', "line 2: the row that starts here is no sound CSV"),
        ("seg.tsv", 'id\tname\n1\t"heart\n2\tlung"\n', "line 2: a cell in quotes goes on to line 3"),
        ("seg.csv", "index,id,name\n0,7,heart\n", "line 2: columns index and id give other ids each; keep one"),
        ("seg.csv", "id,name,name\n7,heart,aorta\n", "line 2: columns name and name give other names each"),
    ],
)
def test_a_table_that_cannot_be_read_whole_is_refused_wherever_it_is(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    for read in (lambda: find_label_names(tmp_path / "seg.nii.gz"), lambda: read_label_names(tmp_path / name)):
        with pytest.raises(ValueError, match=rf"seg\.(json|csv|tsv): .*{message}"):
            read()


def test_columns_that_say_the_same_are_one(tmp_path):
    (tmp_path / "seg.csv").write_text("index,id,name,structure\n7,7,heart,HRT\n\n8,8,lung,LNG\n")
    assert read_label_names(tmp_path / "seg.csv") == {7: "heart", 8: "lung"}


@pytest.mark.filterwarnings("ignore:view .* the volume does not fit the detector")
def test_odd_names_fail_their_case_alone_and_unnamed_ids_are_told(tmp_path):
    names = {str(label_id): name for label_id, name in NAMES.items()}
    for case, table in (("good", names), ("odd", {**names, "2": "\ud800x"}), ("unnamed", {"1": "lung"})):
        hu, labels, affine = small_case(1)
        save(tmp_path / "in" / case / "ct.nii.gz", hu, affine)
        save(tmp_path / "in" / case / "labels.nii.gz", labels, affine)
        (tmp_path / "in" / case / "labels.json").write_text(json.dumps(table))
    recipe = Recipe(poses=Poses(shape=(16, 16)), taxonomy=None, quality=QualityLimits(drop=()))
    store = build(find_cases(tmp_path / "in"), tmp_path / "out", recipe, workers=1).store
    records = {record["case"]: record for record in store.records()}
    assert {case: record["status"] for case, record in records.items()} == {
        "good": "kept",
        "odd": "failed",
        "unnamed": "kept",
    }
    told = {
        case: [reason["message"] for reason in record["reasons"] if reason["rule"] == "unnamed_ids"]
        for case, record in records.items()
    }
    assert told["good"] == []
    assert told["unnamed"] == [
        "labels 2, 3 have no name: they are no structure that is known, and in pictures they are called by their "
        "numbers; name them in the table of names, such as labels.json beside labels.nii.gz"
    ]
