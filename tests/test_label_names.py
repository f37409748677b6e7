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
from drrproj.io.label_names import read_label_names


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
        "numbers; name them in the table of names"
    ]
