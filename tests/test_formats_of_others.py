"""COCO and YOLO files that others wrote, or that are damaged: what they mean, and the sentence that refuses them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from drrproj.dataset.formats import read_coco, read_yolo
from drrproj.dataset.formats.run_lengths import decode_mask, mask_of_polygons
from drrproj.io.grey import write_grey

SHAPE = (16, 20)


class TestPolygons:
    @pytest.fixture(autouse=True)
    def _pycocotools(self):
        pytest.importorskip("pycocotools.mask", reason="it fills polygons")

    @pytest.mark.parametrize("number", [41, -21, 1e5, -3e300, float("inf"), float("nan"), 10**400])
    @pytest.mark.parametrize("place", [2, 5])
    def test_a_point_far_outside_of_the_picture_is_refused(self, number, place):
        polygon = [0, 0, 5, 0, 5, 5, 0, 5]
        polygon[place] = number
        with pytest.raises(ValueError, match="on a picture of 20 x 16 pixels are numbers from -20 to 40; got"):
            mask_of_polygons([polygon], SHAPE)

    @pytest.mark.parametrize("shape", [(10**6, 10**6), (2**14, 2**14 + 1), (1, 2**16 + 1), (-3, 4), (4, -3)])
    def test_a_shape_that_no_picture_has_is_refused(self, shape):
        for make in (
            lambda: mask_of_polygons([[0, 0, 5, 0, 5, 5]], shape),
            lambda: mask_of_polygons([], shape),
            lambda: decode_mask({"size": list(shape), "counts": [1]}),
        ):
            with pytest.raises(
                ValueError, match=r"a picture has up to 65536 rows and .* 268435456 pixels; got|the size of run"
            ):
                make()

    def test_a_polygon_may_reach_out_of_the_picture(self):
        mask = mask_of_polygons([[-20, -20, 40, -20, 40, 8, -20, 8]], SHAPE)
        wanted = np.zeros(SHAPE, bool)
        wanted[:8] = True
        np.testing.assert_array_equal(mask, wanted)


LUNG, HEART = {"id": 1, "name": "lung"}, {"id": 2, "name": "heart"}
A = {"id": 1, "file_name": "a.png", "height": 4, "width": 6}


class TestCOCO:
    def read(self, folder, categories, images):
        (folder / "set.json").write_text(json.dumps({"images": images, "annotations": [], "categories": categories}))
        return read_coco(folder / "set.json", folder)

    @pytest.mark.parametrize(
        ("categories", "images", "message"),
        [
            ([LUNG, {**HEART, "id": 1}], [A], "two categories have the id 1"),
            ([LUNG, {**LUNG, "id": 2, "name": " lung"}], [A], "two categories have the name 'lung'"),
            ([LUNG], [A, {**A, "file_name": "b.png"}], "two images have the id 1"),
            ([LUNG], [A, {**A, "id": 2, "file_name": "x/a.png"}], "two pictures have the same name: a"),
        ],
    )
    def test_what_would_be_lost_under_one_id_or_name_is_refused(self, categories, images, message, tmp_path):
        with pytest.raises(ValueError, match=rf"set\.json: .*{message}"):
            self.read(tmp_path, categories, images)

    def test_the_same_record_twice_loses_nothing(self, tmp_path):
        read = self.read(tmp_path, [LUNG, HEART, LUNG], [A, A])
        assert (read.classes, [image.name for image in read]) == (("lung", "heart"), ["a"])

    def test_two_files_of_one_picture_are_named(self, tmp_path):
        self.read(tmp_path, [LUNG], [A])
        (tmp_path / "b.json").write_bytes((tmp_path / "set.json").read_bytes())
        with pytest.raises(ValueError, match=r"set\.json, .*b\.json: two pictures have the same name: a"):
            read_coco([tmp_path / "set.json", tmp_path / "b.json"], tmp_path)


class TestYOLO:
    YAML = "train: images/train\nval: images/val\nnames: [lung, heart]\n"
    TRIANGLE = "0.1 0.1 0.5 0.1 0.5 0.5"

    @pytest.fixture
    def folder(self, tmp_path):
        pytest.importorskip("yaml", reason="data.yaml is read with it")
        pytest.importorskip("pycocotools.mask", reason="it fills polygons")
        for split, name in (("train", "a"), ("val", "b")):
            for part in ("images", "labels"):
                (tmp_path / part / split).mkdir(parents=True)
            write_grey(tmp_path / "images" / split / f"{name}.png", np.zeros(SHAPE, np.uint8))
            (tmp_path / "labels" / split / f"{name}.txt").write_text(f"1 {self.TRIANGLE}\n")
        (tmp_path / "data.yaml").write_text(self.YAML)
        return tmp_path

    def read(self, folder, yaml=None, text=None):
        if yaml is not None:
            (folder / "data.yaml").write_text(yaml)
        if text is not None:
            (folder / "labels" / "train" / "a.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
        return [(image.name, image.split, list(image.masks())) for image in read_yolo(folder)]

    A, B = ("a", "train", ["heart"]), ("b", "val", ["heart"])

    @pytest.mark.parametrize(
        ("yaml", "found"),
        [
            ("train: [images/train]\nval: images/val\n", [A, B]),
            ("train: [images/train, images/val]\nval:\n", [A, ("b", "train", ["heart"])]),
            ("path:\ntrain: ./images/train\nval: images/val/\ntest:\n", [A, B]),
            ("path: ''\ntrain: images/train\nval: images/val\nscores: [0.5, images/val]\nimages: 3\n", [A, B]),
        ],
    )
    def test_folders_are_found_however_they_are_named(self, folder, yaml, found):
        assert self.read(folder, f"{yaml}names: [lung, heart]\n") == found

    def test_texts_are_where_labels_stands_in_place_of_the_last_images(self, folder):
        (folder / "images" / "train").rename(folder / "moved")
        (folder / "train" / "images" / "x").mkdir(parents=True)
        (folder / "moved").rename(folder / "train" / "images" / "x" / "images")
        (folder / "labels" / "train").rename(folder / "train" / "images" / "x" / "labels")
        yaml = f"train: ../{folder.name}/train/images/x/images\nval: images/val\nnames: [lung, heart]\n"
        assert self.read(folder, yaml) == [self.A, self.B]

    def test_pictures_in_folders_below_are_read(self, folder):
        for part in ("images", "labels"):
            (folder / part / "train" / "x").mkdir()
        write_grey(folder / "images" / "train" / "x" / "c.png", np.zeros(SHAPE, np.uint8))
        (folder / "labels" / "train" / "x" / "c.txt").write_text(f"0 {self.TRIANGLE}\n")
        assert self.read(folder) == [self.A, ("c", "train", ["lung"]), self.B]

    @pytest.mark.parametrize(
        ("yaml", "message"),
        [
            ("train: [images/train, images/train]\nnames: [a, b]\n", "two pictures have the same name: a"),
            ("train: images/train\nnames: [lung, lung]\n", "two classes have the same name: lung"),
        ],
    )
    def test_names_that_come_twice_are_refused(self, folder, yaml, message):
        with pytest.raises(ValueError, match=rf"data\.yaml: {message}"):
            self.read(folder, yaml)

    @pytest.mark.parametrize(
        ("yaml", "message"),
        [
            ("train: pictures\nval: images/val\n", "train must name folders of pictures, .* got 'pictures'"),
            ("train: images/train\nval: [images/val, 3]\n", "val must name folders of pictures, .* got 3"),
            ("train: images/train\nval: {a: images/val}\n", "val must name folders of pictures"),
            ("path: 3\ntrain: images/train\n", "its path must be a folder; got 3"),
            ("path: [a]\ntrain: images/train\n", "its path must be a folder"),
        ],
    )
    def test_folders_that_are_none_are_refused(self, folder, yaml, message):
        with pytest.raises(ValueError, match=rf"data\.yaml: {message}"):
            self.read(folder, f"{yaml}names: [lung, heart]\n")

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            ("{0: lung, b: heart}", "it needs names, one for each of the classes 0, 1, 2"),
            ('{"0": lung}', "it needs names, one for each"),
            ("[lung, no]", "the names of classes must be texts; got False"),
            ("{0: lung, 1: }", "the names of classes must be texts; got None"),
            ("[lung, 1.5]", "the names of classes must be texts; got 1.5"),
            ("[2, '2']", "two classes have the same name: 2"),
        ],
    )
    def test_names_are_texts_numbered_from_0(self, folder, names, message):
        with pytest.raises(ValueError, match=rf"data\.yaml: {message}"):
            self.read(folder, f"train: images/train\nnames: {names}\n")

    def test_whole_numbers_are_names_too(self, folder):
        assert self.read(folder, "train: images/train\nnames: [1, 2]\n") == [("a", "train", ["2"])]
        assert read_yolo(folder).classes == ("1", "2")

    def test_blank_lines_are_passed_over_but_counted(self, folder):
        assert self.read(folder, text=f"\n1 {self.TRIANGLE}\n  \n0 {self.TRIANGLE}\n\n")[0][2] == ["heart", "lung"]
        with pytest.raises(ValueError, match=r"a\.txt, line 2: not a class"):
            self.read(folder, text=f"\n2 {self.TRIANGLE}\n")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (f"-1 {TRIANGLE}", ", line 1: not a class and pairs of numbers: -1 is none of the 2 classes, which are"),
            (f"1.0 {TRIANGLE}", ", line 1: not a class and pairs of numbers: 1.0 is none of the 2 classes"),
            ("1 -0.02 0.1 0.5 0.1 0.5 0.5", ", line 1: coordinates are shares of the picture, 0 to 1; got 1 -0.02"),
            ("1 0.1 0.1 0.5 0.1 0.5 2.5", ", line 1: coordinates are shares of the picture"),
            ("1 0.1 0.1 0.5 0.1 0.5 1e8", ", line 1: coordinates are shares of the picture"),
            (b"\xff\xfe", ": not a text file: "),
        ],
    )
    def test_texts_that_mean_nothing_are_refused(self, folder, text, message):
        with pytest.raises(ValueError, match=rf"labels/train/a\.txt{message}"):
            self.read(folder, text=text)

    def test_a_polygon_may_leave_its_picture_by_rounding(self, folder):
        assert self.read(folder, text="1 -0.005 -0.01 1.01 0 1 1")[0][2] == ["heart"]
