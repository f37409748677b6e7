"""From a phrase to the region it names: unions and boxes by brute force and pycocotools, phrases by hand."""

from __future__ import annotations

import numpy as np
import pytest

from drrproj.dataset.grounding import box_iou, box_of, ground, union
from drrproj.dataset.taxonomy import AnatomyClass, Taxonomy, read_taxonomy

SHAPE = (17, 23)


def random_masks(seed, share=0.02):
    random = np.random.default_rng(seed)
    return {name: random.random(SHAPE) < share for name in "abcd"}


class TestRegions:
    @pytest.mark.parametrize("seed", range(20))
    def test_a_box_holds_every_pixel_and_no_smaller_one_does(self, seed):
        mask = random_masks(seed)["a"]
        pixels = [(row, column) for row in range(SHAPE[0]) for column in range(SHAPE[1]) if mask[row, column]]
        if not pixels:
            assert box_of(mask) is None
            return
        rows, columns = zip(*pixels, strict=True)
        assert box_of(mask) == (min(rows), max(rows) + 1, min(columns), max(columns) + 1)

    def test_the_box_is_that_of_pycocotools(self):
        coco = pytest.importorskip("pycocotools.mask", reason="it is the other one who finds boxes")
        for seed in range(10):
            mask = random_masks(seed, 0.1)["b"]
            top, bottom, left, right = box_of(mask)
            x, y, width, height = coco.toBbox(coco.encode(np.asfortranarray(mask, dtype=np.uint8)))
            assert (left, top, right - left, bottom - top) == (x, y, width, height)

    @pytest.mark.parametrize("seed", range(20))
    def test_boxes_share_what_their_pixels_share(self, seed):
        random = np.random.default_rng(seed)
        boxes, painted = [], []
        for _ in range(2):
            top, left = random.integers(0, 10, 2)
            bottom, right = top + random.integers(1, 8), left + random.integers(1, 12)
            boxes.append((int(top), int(bottom), int(left), int(right)))
            painted.append(np.zeros(SHAPE, bool))
            painted[-1][top:bottom, left:right] = True
        shared, either = np.count_nonzero(painted[0] & painted[1]), np.count_nonzero(painted[0] | painted[1])
        assert box_iou(*boxes) == pytest.approx(shared / either)
        assert box_iou(boxes[0], boxes[0]) == 1

    def test_an_empty_box_is_refused(self):
        with pytest.raises(ValueError, match=r"got \(3, 3, 0, 4\)"):
            box_iou((0, 1, 0, 1), (3, 3, 0, 4))

    @pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int64, np.float32])
    @pytest.mark.parametrize("of", [tuple, np.array])
    def test_corners_of_few_bits_do_not_overflow(self, dtype, of):
        for one, other in (((0, 200, 0, 200), (100, 250, 100, 250)), ((0, 10, 0, 10), (20, 30, 0, 10))):
            assert box_iou(of(np.array(one, dtype)), of(np.array(other, dtype))) == box_iou(one, other)

    @pytest.mark.parametrize("box", [(0, 1, 0, np.nan), (0, np.inf, 0, 1), (0, 1, 0, 1, 9), (0, 1), "abcd", None])
    def test_what_is_no_box_is_refused(self, box):
        with pytest.raises(ValueError, match=r"a box is \(top, bottom, left, right\)"):
            box_iou((0, 1, 0, 1), box)

    def test_masks_of_several_views_are_no_picture(self):
        taxonomy = Taxonomy("mine", (AnatomyClass("heart", "m"),))
        with pytest.raises(
            ValueError, match=r"one shape \(rows, columns\); got \[\(2, 4, 5\)\].*masks\[name\]\[view\]"
        ):
            ground("heart", taxonomy, {"heart": np.ones((2, 4, 5), bool)})
        with pytest.raises(ValueError, match=r"shape \(rows, columns\); got \(2, 4, 5\)"):
            box_of(np.ones((2, 4, 5), bool))
        with pytest.raises(TypeError, match="taxonomy must be a Taxonomy, such as read_taxonomy gives; got 'paxray'"):
            ground("heart", "paxray", {"heart": np.ones((4, 5), bool)})

    def test_a_union_is_where_any_is(self):
        masks = random_masks(1, 0.3)
        np.testing.assert_array_equal(union(masks, ["a", "c", "not here"]), masks["a"] | masks["c"])
        assert not union(masks, []).any()
        with pytest.raises(ValueError, match=r"one shape .*; got no mask"):
            union({}, ["a"])
        with pytest.raises(ValueError, match=r"one shape .*; got"):
            union({"a": np.zeros((2, 3), bool), "b": np.zeros((3, 3), bool)}, ["a"])

    def test_masks_of_0_and_1_are_joined_and_grey_levels_refused(self):
        masks = {"a": np.uint8([[0, 1]]), "b": np.uint8([[255, 0]])}
        assert union(masks, ["a"]).tolist() == [[False, True]]
        with pytest.raises(ValueError, match="the mask of b must hold bools, or 0 and 1; got 255"):
            union(masks, ["a", "b"])


class TestPhrases:
    def test_a_sentence_becomes_its_region(self):
        taxonomy = Taxonomy(
            "mine",
            (
                AnatomyClass("lung_left", "lung", synonyms=("left lung",)),
                AnatomyClass("heart", "mediastinum", synonyms=("cardiac silhouette",)),
                AnatomyClass("aorta", "mediastinum"),
            ),
        )
        lung, heart = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
        lung[2:9, 12:20] = heart[8:14, 6:13] = True
        masks = {"lung_left": lung, "heart": heart, "aorta": np.zeros(SHAPE, bool)}
        region = ground(
            "Opacity of the left lung; the cardiac silhouette is enlarged, the aorta is not.", taxonomy, masks
        )
        assert region.classes == ("lung_left", "heart", "aorta")
        assert region.missing == ("aorta",)
        np.testing.assert_array_equal(region.mask, lung | heart)
        assert region.box == (2, 14, 6, 20)

    def test_a_class_that_is_not_on_the_picture_has_no_box(self):
        region = ground("the heart", read_taxonomy("paxray"), {"spine": np.ones(SHAPE, bool)})
        assert (region.classes, region.missing, region.box) == (("heart",), ("heart",), None)
        assert not region.mask.any()

    @pytest.mark.parametrize(
        ("phrase", "names"),
        [
            ("left lower lobe consolidation", ("lung_left_lobelower",)),
            ("RIGHT UPPER LOBE", ("lung_right_lobeupper",)),
            ("the heart is normal in size", ("heart",)),
            ("descending aorta", ("aorta_descending",)),
        ],
    )
    def test_words_of_reports_name_classes_of_paxray(self, phrase, names):
        masks = {name: np.eye(*SHAPE, k=place) > 0 for place, name in enumerate(names)}
        region = ground(phrase, read_taxonomy("paxray"), masks)
        assert (region.classes, region.missing) == (names, ())

    def test_a_region_tells_what_was_not_read(self):
        masks = {"heart": np.eye(*SHAPE) > 0}
        region = ground("Right-sided heart border blurred by a pleural effusion.", read_taxonomy("paxray"), masks)
        assert (region.classes, region.unread) == (("heart",), ("Right", "pleural"))
        assert ground("Enlarged heart.", read_taxonomy("paxray"), masks).unread == ()

    def test_a_region_is_of_both_sides_where_both_are_named(self):
        left, right = np.eye(*SHAPE) > 0, np.eye(*SHAPE, k=5) > 0
        masks = {"lung_left_lobelower": left, "lung_right_lobelower": right}
        region = ground("Opacities in the left and right lower lobes.", read_taxonomy("paxray"), masks)
        np.testing.assert_array_equal(region.mask, left | right)

    def test_a_phrase_without_anatomy_is_refused(self):
        with pytest.raises(ValueError, match="'no acute finding' names no class of taxonomy 'paxray'"):
            ground("no acute finding", read_taxonomy("paxray"), random_masks(0))
