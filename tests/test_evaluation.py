"""Scores of predicted masks: by hand, by brute force over pixels, by pycocotools, and as PAXRay's authors have them."""

from __future__ import annotations

from dataclasses import replace
from math import isnan

import numpy as np
import pytest
from labelled_pictures import CLASSES, GROUPS, small_set

from drrproj.dataset import formats
from drrproj.dataset.evaluation import Overlaps, compare, count_overlaps
from drrproj.dataset.formats import LabelledImage, LabelledImages

SHAPE = (9, 14)


def picture(name, view, masks, absent=()):
    masks = {key: np.asarray(mask, bool) for key, mask in masks.items()}
    absent = dict.fromkeys(absent, "no source")
    return LabelledImage(name, name, view, "test", lambda: np.zeros(SHAPE, np.uint8), lambda: masks, absent=absent)


def random_sets(seed, pictures=5):
    """Two sets that share some pixels; every class is empty on one or both sides somewhere."""
    random = np.random.default_rng(seed)
    classes = tuple("abcdef")
    sets = []
    for _ in range(2):
        images = []
        for number in range(pictures):
            masks = {
                name: random.random(SHAPE) < random.choice([0, 0.1, 0.6]) for name in classes if random.random() < 0.8
            }
            absent = [name for name in classes if name not in masks]
            images.append(picture(f"{number}", "PA" if number % 2 else "LL", masks, absent))
        sets.append(LabelledImages(classes, tuple(images)))
    return sets


def by_brute_force(predicted, target, classes, measure, absent):
    """One score per picture and class, pixel by pixel in Python; None where nothing counts."""
    scores = []
    for found, right in zip(predicted, target, strict=True):
        of_picture = []
        for name in classes:
            one, other = (image.masks().get(name, np.zeros(SHAPE, bool)).ravel().tolist() for image in (found, right))
            both = sum(a and b for a, b in zip(one, other, strict=True))
            either = sum(a or b for a, b in zip(one, other, strict=True))
            unknown = name in right.absent
            if absent == "zero":
                score = both / (either + 1e-6)
                score = 2 * score / (1 + score) if measure == "dice" else score
            elif unknown or (either == 0 and absent == "skip"):
                score = None
            elif either == 0:
                score = 1.0
            else:
                score = both / either if measure == "iou" else 2 * both / (sum(one) + sum(other))
            of_picture.append(score)
        scores.append(of_picture)
    return scores


def mean(values):
    values = [value for value in values if value is not None]
    return sum(values) / len(values) if values else None


@pytest.mark.parametrize("absent", ["skip", "one", "zero"])
@pytest.mark.parametrize("measure", ["iou", "dice"])
class TestAgainstBruteForce:
    @pytest.mark.parametrize("seed", range(4))
    def test_scores_and_averages(self, measure, absent, seed):
        predicted, target = random_sets(seed)
        classes = target.classes
        wanted = by_brute_force(predicted, target, classes, measure, absent)
        overlaps = compare(predicted, target)
        found = overlaps.scores(measure, absent)
        assert [[None if isnan(score) else score for score in row] for row in found.tolist()] == [
            [score if score is None else pytest.approx(score, rel=1e-12) for score in row] for row in wanted
        ]
        per_class = {name: mean(row[column] for row in wanted) for column, name in enumerate(classes)}
        assert overlaps.per_class(measure, absent) == pytest.approx(
            {name: np.nan if score is None else score for name, score in per_class.items()}, nan_ok=True
        )
        assert overlaps.mean(measure, absent) == pytest.approx(mean(per_class.values()))
        for view, score in overlaps.per_view(measure, absent).items():
            rows = [row for row, image in zip(wanted, target, strict=True) if image.view == view]
            assert score == pytest.approx(mean(mean(row[column] for row in rows) for column in range(len(classes))))
        groups = {"first": classes[:2], "rest": classes[2:]}
        assert overlaps.per_group(groups, measure, absent) == pytest.approx(
            {group: mean(per_class[name] for name in members) for group, members in groups.items()}
        )

    def test_a_set_against_itself_is_right(self, measure, absent, tmp_path):
        images = small_set(tmp_path / "store")
        overlaps = compare(images, images)
        scores = overlaps.per_class(measure, absent)
        assert [scores[name] for name in CLASSES[:4]] == pytest.approx([1] * 4, abs=1e-6)
        on_neither = {"skip": np.nan, "one": 1.0, "zero": 0.0}[absent]
        assert scores["never on a picture"] == pytest.approx(on_neither, nan_ok=True)
        assert scores["not made"] == pytest.approx(0.0 if absent == "zero" else np.nan, nan_ok=True)
        assert overlaps.per_group(GROUPS, measure, absent) == pytest.approx({"chest": 1, "bones": 1}, abs=1e-6)


class TestByHand:
    def test_two_squares(self):
        found, right = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
        found[0:4, 0:4] = True
        right[2:6, 1:5] = True  # 6 of 16 and 16: 26 in either
        one, other = (LabelledImages(("heart",), (picture("x", "PA", {"heart": mask}),)) for mask in (found, right))
        overlaps = compare(one, other)
        assert (overlaps.intersection, overlaps.predicted, overlaps.target) == ([[6]], [[16]], [[16]])
        assert overlaps.mean("iou") == pytest.approx(6 / 26)
        assert overlaps.mean("dice") == pytest.approx(12 / 32)
        assert overlaps.mean("iou", "zero") == 6 / (26 + 1e-6)

    def test_a_perfect_model_of_the_166_channels_cannot_reach_one_as_the_authors_count(self):
        # Four channels are on no picture: 162 / 166 is the best there is.
        shared = np.full((3, 166), 1000)
        shared[:, [26, 51, 52, 53]] = 0
        classes = tuple(str(channel) for channel in range(166))
        known = np.ones(shared.shape, bool)
        overlaps = Overlaps(("a", "b", "c"), ("frontal",) * 3, classes, shared, shared, shared, known)
        assert overlaps.mean(absent="zero") == pytest.approx(162 / 166, abs=1e-8)
        assert overlaps.mean(absent="skip") == overlaps.mean(absent="one") == 1

    def test_pictures_are_averaged_before_classes(self):
        # One class counts on both pictures, the other on one: (0.5 + 1) / 2, then with 0, not (0.5 + 1 + 0) / 3.
        shared = np.array([[1, 0], [2, 0]])
        found = np.array([[2, 3], [2, 0]])
        right = np.array([[1, 4], [2, 0]])
        overlaps = Overlaps(("a", "b"), ("PA", "LL"), ("x", "y"), shared, found, right, np.ones((2, 2), bool))
        assert overlaps.per_class() == {"x": 0.75, "y": 0.0}
        assert overlaps.mean() == 0.375
        assert overlaps.per_view() == {"PA": 0.25, "LL": 1.0}

    def test_a_prediction_where_nothing_is_scores_zero(self):
        masks = {"heart": np.ones(SHAPE, bool)}
        found, right = (LabelledImages(("heart",), (picture("x", "PA", one),)) for one in (masks, {}))
        assert [compare(found, right).mean(absent=absent) for absent in ("skip", "one", "zero")] == [0, 0, 0]
        assert compare(found, right).predicted.tolist() == [[126]]
        assert compare(right, found).target.tolist() == [[126]]

    @pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
    def test_numbers_0_and_1_are_taken_for_bools(self, dtype):
        mask = np.zeros(SHAPE, bool)
        mask[2:5] = True
        right = picture("x", "PA", {"heart": mask})
        found = replace(right, read_masks=lambda: {"heart": mask.astype(dtype)})
        one, other = (LabelledImages(("heart",), (each,)) for each in (found, right))
        assert compare(one, other).mean("dice") == compare(other, one).mean("dice") == 1

    def test_nothing_that_counts_is_nan(self):
        nothing = LabelledImages(("heart",), (picture("x", "PA", {}),))
        assert isnan(compare(nothing, nothing).mean())
        assert isnan(compare(nothing, nothing).per_group({"all": ["heart"]})["all"])


def test_pycocotools_has_the_same_iou():
    coco = pytest.importorskip("pycocotools.mask", reason="it is the other one who computes IoU")
    random = np.random.default_rng(5)
    found, right = (random.random((20, 33, 47)) < random.random((20, 1, 1)) for _ in range(2))
    shared, one, other = count_overlaps(found, right)
    encoded = [[coco.encode(np.asfortranarray(mask, dtype=np.uint8)) for mask in masks] for masks in (found, right)]
    wanted = np.diag(coco.iou(*encoded, [0] * 20))
    np.testing.assert_allclose(shared / (one + other - shared), wanted, rtol=1e-12)


def test_predictions_of_another_format_are_compared(tmp_path):
    images = small_set(tmp_path / "store")
    formats.write_mask_png(tmp_path / "out", images)
    overlaps = compare(formats.read_mask_png(tmp_path / "out"), images.of(split="val"), classes=["heart", "lung"])
    assert overlaps.names == ("c_PA", "c_LL")
    assert overlaps.per_class() == {"heart": 1.0, "lung": 1.0}


class TestBadInput:
    def test_sets_that_do_not_fit(self, tmp_path):
        predicted, target = random_sets(0)
        with pytest.raises(ValueError, match="the prediction has no class heart"):
            compare(predicted, LabelledImages(("heart",), target.images))
        with pytest.raises(ValueError, match="the target has no class heart"):
            compare(LabelledImages(("heart",), predicted.images), target, classes=["heart"])
        with pytest.raises(ValueError, match="2 pictures have no prediction, such as 3"):
            compare(LabelledImages(predicted.classes, predicted.images[:3]), target)
        with pytest.raises(ValueError, match="nothing to compare"):
            compare(predicted, target.of(split="train"))
        small = LabelledImages(("a",), (picture("0", "PA", {"a": np.ones((3, 3), bool)}),))
        large = LabelledImages(("a",), (picture("0", "PA", {"a": np.ones((3, 4), bool)}),))
        with pytest.raises(
            ValueError, match=r"0: the mask of a has shape \(3, 3\) in the prediction and that of a \(3, 4"
        ):
            compare(small, large)

    def test_masks_of_different_classes_must_have_one_shape(self):
        small = LabelledImages(("a", "b"), (picture("0", "PA", {"a": np.ones((3, 3), bool)}),))
        large = LabelledImages(("a", "b"), (picture("0", "PA", {"b": np.ones((3, 4), bool)}),))
        with pytest.raises(
            ValueError,
            match=r"0: the mask of a has shape \(3, 3\) in the prediction and that of b \(3, 4\) in the target; resize",
        ):
            compare(small, large)

    @pytest.mark.parametrize(
        ("scale", "value"), [(np.uint8(2), "2"), (np.uint8(255), "255"), (np.float32(0.5), "0.5"), (np.int8(-1), "-1")]
    )
    def test_masks_of_other_values_than_0_and_1_are_refused(self, scale, value):
        right = picture("x", "PA", {"heart": np.ones(SHAPE, bool)})
        target = LabelledImages(("heart",), (right,))
        found = replace(right, read_masks=lambda: {"heart": np.ones(SHAPE, scale.dtype) * scale})
        predicted = LabelledImages(("heart",), (found,))
        with pytest.raises(
            ValueError, match=f"x: the mask of heart in the prediction must hold bools, .*; got {value};"
        ):
            compare(predicted, target)
        with pytest.raises(ValueError, match=f"x: the mask of heart in the target must hold bools, .*; got {value};"):
            compare(target, predicted)

    def test_choices_and_groups_that_there_are_not(self):
        overlaps = compare(*random_sets(0))
        with pytest.raises(ValueError, match="measure is one of iou, dice; got 'f1'"):
            overlaps.mean("f1")
        with pytest.raises(ValueError, match="absent is one of skip, one, zero; got 'nan'"):
            overlaps.mean(absent="nan")
        with pytest.raises(ValueError, match="group 'bones' has rib, which was not compared"):
            overlaps.per_group({"bones": ["a", "rib"]})
        with pytest.raises(ValueError, match="group 'bones' has no classes"):
            overlaps.per_group({"bones": []})
        with pytest.raises(ValueError, match="no picture is of view 'AP'; there are LL, PA"):
            overlaps.of("AP")

    def test_arrays_that_are_no_masks(self):
        with pytest.raises(ValueError, match=r"the same shape .*; got \(2, 3\) and \(3, 3\)"):
            count_overlaps(np.zeros((2, 3), bool), np.zeros((3, 3), bool))
        with pytest.raises(ValueError, match=r"such as probability > 0\.5; got float64 and bool"):
            count_overlaps(np.zeros((2, 3)), np.zeros((2, 3), bool))

    def test_counts_that_are_mixed_up(self):
        one, known = np.ones((1, 1), np.int64), np.ones((1, 1), bool)
        with pytest.raises(ValueError, match="more pixels are shared"):
            Overlaps(("a",), ("PA",), ("x",), 2 * one, one, one, known)
        with pytest.raises(ValueError, match="1 pictures need as many views; got 2"):
            Overlaps(("a",), ("PA", "LL"), ("x",), one, one, one, known)
        with pytest.raises(ValueError, match=r"known needs shape \(pictures, classes\), \(1, 1\); got \(1,\)"):
            Overlaps(("a",), ("PA",), ("x",), one, one, one, known[0])


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
def test_counts_of_few_bits_do_not_overflow(dtype):
    shared, found, right = (np.array([[count]]).astype(dtype) for count in (100, 120, 110))
    scores = Overlaps(("a",), ("PA",), ("heart",), shared, found, right, np.array([[True]]))
    assert scores.mean() == 100 / 130
    assert scores.intersection.dtype == np.int64


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"known": np.ones((1, 1), int)}, "known must be bools; got int64"),
        ({"target": np.array([[np.nan]])}, "target must be whole numbers of pixels; got float64"),
        ({"predicted": np.array([["3"]])}, "predicted must be whole numbers of pixels; got <U1"),
    ],
)
def test_counts_that_are_none_are_refused(changes, message):
    counts = {name: np.array([[3]]) for name in ("intersection", "predicted", "target")}
    with pytest.raises(ValueError, match=message):
        Overlaps(("a",), ("PA",), ("heart",), **{**counts, "known": np.array([[True]]), **changes})


def test_groups_may_be_anything_to_go_through_once():
    counts = [np.array([[3]])] * 3
    scores = Overlaps(("a",), ("PA",), ("heart",), *counts, np.array([[True]]))
    assert scores.per_group({"all": (name for name in ("heart",))}) == {"all": 1.0}


def test_masked_masks_are_refused_because_their_mask_would_be_lost():
    mask = np.ma.masked_array(np.ones((4, 4), bool), True)
    with pytest.raises(TypeError, match="predicted must be a numpy array, without a mask of its own; got MaskedArray"):
        count_overlaps(mask, np.ones((4, 4), bool))


def test_what_is_no_set_of_pictures_is_a_sentence():
    right, array = random_sets(1)[0], np.zeros(SHAPE)
    for predicted, target, name in (([], [], "predicted"), (right, [1], "target"), (array, right, "predicted")):
        with pytest.raises(TypeError, match=f"^{name} must be LabelledImages, as the readers of .* for count_overlaps"):
            compare(predicted, target)
