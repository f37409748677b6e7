"""Landmarks: what is read from files of 3D Slicer and tables, and the table of pixels."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import phantoms
import pytest

from drrproj import Geometry, LabelVolume, Volume, project, read_landmarks, write_projected_landmarks
from drrproj.io import Landmarks

# As 3D Slicer 5 writes it, shortened to what may matter.
MARKUPS = {
    "@schema": "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#",
    "markups": [
        {
            "type": "Fiducial",
            "coordinateSystem": "LPS",
            "coordinateUnits": "mm",
            "locked": False,
            "controlPoints": [
                {
                    "id": "1",
                    "label": "carina",
                    "position": [-53.5, -73.25, 10.0],
                    "orientation": [-1.0, -0.0, -0.0, -0.0, -1.0, -0.0, 0.0, 0.0, 1.0],
                    "visibility": True,
                    "positionStatus": "defined",
                },
                {"id": "2", "label": "apex", "position": [49.75, -88.5, 0.0], "positionStatus": "defined"},
            ],
        }
    ],
}


def written(tmp_path, content, name="points.csv"):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def changed(**markup):
    return {**MARKUPS, "markups": [{**MARKUPS["markups"][0], **markup}]}


def test_markups_in_lps_become_ras(tmp_path):
    landmarks = read_landmarks(written(tmp_path, MARKUPS, "f.mrk.json"))
    assert landmarks.names == ("carina", "apex")
    assert len(landmarks) == 2
    assert landmarks.points.tolist() == [[53.5, 73.25, 10], [-49.75, 88.5, 0]]


def test_markups_in_ras_stay(tmp_path):
    landmarks = read_landmarks(written(tmp_path, changed(coordinateSystem="RAS"), "f.mrk.json"))
    assert landmarks.points[0].tolist() == [-53.5, -73.25, 10]


def test_several_lists_and_the_unit_as_a_dicom_code(tmp_path):
    two = changed(coordinateUnits=["mm", "UCUM", "millimeter"])
    two["markups"].append({"type": "Line", "coordinateSystem": "RAS", "controlPoints": [{"position": [1, 2, 3]}]})
    del two["markups"][0]["coordinateSystem"]  # LPS is what the schema says then
    landmarks = read_landmarks(written(tmp_path, two, "f.json"))
    assert landmarks.names == ("carina", "apex", "1")
    assert landmarks.points[[0, 2]].tolist() == [[53.5, 73.25, 10], [1, 2, 3]]


@pytest.mark.parametrize(
    ("header", "space", "expected"),
    [
        ("name,x,y,z", None, (1, 2, 3)),
        ("name,x,y,z", "RAS", (1, 2, 3)),
        ("name,x,y,z", "LPS", (-1, -2, 3)),
        ("label,r,a,s", None, (1, 2, 3)),
        ("label,l,p,s", None, (-1, -2, 3)),
        (" Name , X , Y , Z ", None, (1, 2, 3)),
    ],
)
def test_tables_say_their_frame_or_are_told_it(header, space, expected, tmp_path):
    path = written(tmp_path, "\ufeff" + f"{header}\ncarina,1,2,3\n\n")
    landmarks = read_landmarks(path, space)
    assert (landmarks.names, landmarks.points.tolist()) == (("carina",), [list(expected)])


def test_the_table_that_slicer_exports(tmp_path):
    text = (
        'label,l,p,s,defined,selected,visible,locked,description\n"F, 1",-12.5,3,4,1,1,1,0,\nF-2,0,0,1e1,1,1,1,0,here\n'
    )
    landmarks = read_landmarks(written(tmp_path, text))
    assert landmarks.names == ("F, 1", "F-2")
    assert landmarks.points.tolist() == [[12.5, -3, 4], [0, 0, 10]]


@pytest.mark.parametrize("name", ["a\u2028b", "a\x85b", "a\x0cb", "a\x1cb", "a\nb", "a\r\nb", "a\rb"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_names_keep_what_else_would_end_a_line(name, line_end, tmp_path):
    path = tmp_path / "points.csv"
    path.write_bytes(line_end.join(["name,x,y,z", f'"{name}",1,2,3', "q,4,5,6", ""]).encode())
    landmarks = read_landmarks(path)
    assert (landmarks.names, landmarks.points.tolist()) == ((name, "q"), [[1, 2, 3], [4, 5, 6]])
    view = Geometry.cone((0, -900, 0), (0, 100, 0), (0, 0, -2), (-1, 0, 0), shape=(101, 201), names=["pa"])
    write_projected_landmarks(tmp_path / "table.csv", landmarks, view)
    assert [row["name"] for row in read_table(tmp_path / "table.csv")] == [name, "q"]
    assert (tmp_path / "table.csv").read_bytes().startswith(b"view,name,row,column,on_detector\npa,")


def test_landmarks_have_as_many_names_as_points():
    for points in (np.zeros((1, 3)), np.zeros((2, 2)), np.zeros(6)):
        with pytest.raises(ValueError, match=r"2 names of landmarks need points of shape \(2, 3\); got shape \("):
            Landmarks(("a", "b"), points)
    with pytest.raises(TypeError, match="names of landmarks must be a tuple of texts; got 'ab'"):
        Landmarks("ab", np.zeros((2, 3)))
    with pytest.raises(TypeError, match="names of landmarks must be a tuple of texts; got 1 in it"):
        Landmarks((1, "b"), np.zeros((2, 3)))


@pytest.mark.parametrize("odd", ["\0", "\ud800"])
def test_names_that_no_file_can_hold_are_refused(odd, tmp_path):
    said = rf"a landmark is named {re.escape(repr(f'a{odd}'))}, and {re.escape(repr(odd))} in it is no text; rename it$"
    with pytest.raises(ValueError, match=rf"^{said}"):
        Landmarks((f"a{odd}",), np.zeros((1, 3)))
    points = changed(controlPoints=[{"label": f"a{odd}", "position": [1, 2, 3]}])
    with pytest.raises(ValueError, match=rf"a\.json: {said}"):
        read_landmarks(written(tmp_path, points, "a.json"))


@pytest.mark.parametrize(
    ("name", "content", "space", "message"),
    [
        ("a.txt", "", None, r"\.mrk\.json of 3D Slicer or as \.csv; got \.txt"),
        ("a.json", "{", None, "not valid JSON"),
        ("a.json", "[1]", None, 'has a list "markups"'),
        ("a.json", {"markups": []}, None, "no point in it"),
        ("a.json", MARKUPS, "RAS", "says its frame; leave space out"),
        ("a.json", changed(coordinateSystem="IJK"), None, '"LPS" or "RAS"; got \'IJK\''),
        ("a.json", changed(coordinateUnits="um"), None, "must be mm; got 'um'"),
        ("a.json", changed(controlPoints=7), None, "must be a list of points"),
        (
            "a.json",
            changed(controlPoints=[{"label": "gone", "positionStatus": "undefined", "position": [0, 0, 0]}]),
            None,
            r"'gone' has no position \(undefined\)",
        ),
        ("a.json", changed(controlPoints=[{"label": "two", "position": [0, 0]}]), None, "'two' needs three finite"),
        (
            "a.json",
            changed(controlPoints=[{"position": [0, 10**400, 0]}]),
            None,
            r"a\.json: point '1' needs three finite",
        ),
        ("a.csv", "\n", None, "the file is empty"),
        ("a.json", "", None, "the file is empty"),
        ("a.csv", "a,b\n1,2\n", None, "first row must name the columns.*got a, b"),
        ("a.csv", "name,x,y,z,r,a,s\n", None, "first row must name"),
        ("a.csv", "name,x,y,z\n", None, "no point in it"),
        ("a.csv", "name,l,p,s\nq,1,2,3\n", "LPS", "columns l, p, s say the frame"),
        ("a.csv", "name,x,y,z\nq,1,2\n", None, "line 2 has 3 cells, and needs 4"),
        ("a.csv", "name,x,y,z\nq,1,2,nan\n", None, "line 2 needs three finite coordinates"),
        ("a.csv", "name,x,y,z\nq,1,2,three\n", None, "line 2 needs three finite coordinates"),
        ("a.csv", 'name,x,y,z\n"q\nr",1,2,3\n\ns,1,2\n', None, "line 5 has 3 cells"),
        ("a.csv", 'x,y,z,name\n1,2,3,"q\n4,5,6,r\n', None, "line 2: the row that starts here is no sound CSV"),
        ("a.csv", "name,x,y,z\nq,1_5,2,3\n", None, "line 2 needs three finite coordinates"),
        ("a.csv", "name,x,y,z,x\nq,1,2,3,4\n", None, "the first row names 2 columns x; keep one"),
        ("a.csv", "label,r,a,s,defined\nq,0,0,0,0\n", None, "'q' has no position"),
        ("a.csv", "name,x,y,z\nq,1,2,3\n", "ras", 'space must be "RAS" or "LPS"'),
    ],
)
def test_what_is_no_list_of_landmarks_is_refused(name, content, space, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_landmarks(written(tmp_path, content, name), space)


def test_missing_and_binary_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_landmarks(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not a text file"):
        read_landmarks(tmp_path / "b.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ValueError, match=r"folder\.csv is a folder"):
        read_landmarks(tmp_path / "folder.csv")


def read_table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_has_each_view_and_landmark_once_in_order(tmp_path):
    upright = Geometry.cone((0, -900, 0), (0, 100, 0), (0, 0, -2), (-1, 0, 0), shape=(101, 201), names=["pa"])
    small = upright.cropped(slice(0, 60), slice(None))
    points = np.array([[0, 0, 0], [9, 0, -27], [0, 0, -90], [0, -950, 0], [0, 0, 45.45]], float)
    landmarks = Landmarks(("middle", "a, b", "foot", "behind", "edge"), points)
    path = tmp_path / "table.csv"
    write_projected_landmarks(path, landmarks, [upright, small])
    rows = read_table(path)
    assert [(row["view"], row["name"]) for row in rows] == [
        (view, name) for view in ("pa_1", "pa_2") for name in landmarks.names
    ]
    # 27 mm towards the feet are 30 mm on the detector, 15 rows; 9 mm to the right are 10 columns to the left.
    assert [(row["row"], row["column"], row["on_detector"]) for row in rows[:5]] == [
        ("50.000000", "100.000000", "1"),
        ("65.000000", "90.000000", "1"),
        ("100.000000", "100.000000", "1"),
        ("", "", "0"),
        ("24.750000", "100.000000", "1"),
    ]
    assert [row["on_detector"] for row in rows[5:]] == ["1", "0", "0", "0", "1"]
    write_projected_landmarks(path, landmarks, upright)
    assert read_table(path) == [{**row, "view": "pa"} for row in rows[:5]]


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR"])
def test_landmarks_lie_in_the_middle_of_the_structures_in_the_picture(codes, tmp_path):
    """From a file in LPS, through the table, to the pixel: the masks of the marks have their middle there."""
    patient = phantoms.patient()
    hu, affine = phantoms.stored_as(patient.hu, patient.affine, codes)
    ids, _ = phantoms.stored_as(patient.labels, patient.affine, codes)
    lines = [f"{name},{-x},{-y},{z}" for name, (x, y, z) in patient.centers.items()]
    landmarks = read_landmarks(written(tmp_path, "\n".join(["label,l,p,s", *lines])))
    ct = Volume(hu, affine)
    views = Geometry.concatenate([Geometry.radiograph(view, ct, shape=(120, 130)) for view in ("AP", "LL")])
    masks = project(ct, views, labels=LabelVolume(ids, affine, patient.names), outputs=["mask"]).masks
    write_projected_landmarks(tmp_path / "pixels.csv", landmarks, views)
    for row in read_table(tmp_path / "pixels.csv"):
        found = np.argwhere(masks[row["name"]][views.names.index(row["view"])]).mean(axis=0)
        np.testing.assert_allclose((float(row["row"]), float(row["column"])), found, atol=0.7)
