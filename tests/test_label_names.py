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
        ("seg.json", '{"EchoTime": 1, "SeriesNumber": 3}', "a record of how an image was made, which tells its Echo"),
        ("seg.json", '{"Manual": true, "Sources": ["ct.nii.gz"]}', "a record of how an image was made"),
        ("seg.json", '{"heart": {"volume": 3}, "dice": 0.9}', "no label names in it"),
        ("seg.csv", "structure,volume_ml\nheart,600\n", "the first row must name the columns index and name; got stru"),
        ("seg.tsv", "index\tvolume\n1\t3\n", "the first row must name the columns index and name; got index, volume"),
        ("seg.csv", "", "the first row must name the columns index and name; got nothing"),
    ],
)
def test_files_of_another_kind_are_passed_over_beside_a_label_file_and_refused_as_a_table(tmp_path, name, text, why):
    (tmp_path / name).write_text(text)
    assert find_label_names(tmp_path / "seg.nii.gz") == {}
    with pytest.raises(ValueError, match=rf"seg\.(json|csv|tsv): .*{why}"):
        read_label_names(tmp_path / name)


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
        ("seg.json", '{"1": "heart", "01": "liver"}', "label 1 has two names, 'heart' and 'liver'"),
        ("seg.json", '{"heart": 1, "liver": 1}', "label 1 has two names, 'heart' and 'liver'"),
        ("seg.tsv", "index,name\n1,heart\n", "got index,name, which a tab would have to separate"),
        ("seg.csv", "Name;ID\nheart;1\n", "got name;id, which a comma would have to separate"),
        ("seg.csv", "id,name\nx,heart\n", "every row must have one id and one name; got 'x,heart'"),
    ],
)
def test_a_table_that_cannot_be_read_whole_is_refused_wherever_it_is(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    for read in (lambda: find_label_names(tmp_path / "seg.nii.gz"), lambda: read_label_names(tmp_path / name)):
        with pytest.raises(ValueError, match=rf"seg\.(json|csv|tsv): .*{message}"):
            read()


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
