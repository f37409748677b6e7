"""Images and masks by label: which labels there are is known without an image, and equality is identity."""

from __future__ import annotations

import numpy as np
import pytest

from drrproj.radiograph import LabelCrops, LabelImages, LabelMasks

LABEL_IDS, NAMES = (3, 51, 51), ("lung", "heart", "marker")  # 51 in two label volumes


def crops():
    boxes = np.tile(np.array([0, 1, 0, 1], np.int32), (3, 1, 1))
    return LabelCrops([[np.ones((1, 1), np.float32)]] * 3, boxes, (5, 9), LABEL_IDS, NAMES)


KINDS = {
    "images": lambda: LabelImages(np.ones((3, 1, 5, 9), np.float32), LABEL_IDS, NAMES),
    "crops": crops,
    "masks": lambda: LabelMasks(np.ones((3, 1, 5, 2), np.uint8), 9, LABEL_IDS, NAMES),
}


@pytest.mark.parametrize("kind", KINDS)
def test_whether_a_label_is_there_is_known_without_its_images(kind, monkeypatch):
    images = KINDS[kind]()
    expected = dict.fromkeys((3, *NAMES), True) | {51: False, "liver": False, 4: False, None: False}
    for label in expected:
        try:
            images[label]
            is_there = True
        except KeyError:
            is_there = False
        assert is_there is expected[label]

    def unwanted(self, label):
        raise AssertionError("an image was made")

    monkeypatch.setattr(type(images), "__getitem__", unwanted)
    assert {label: label in images for label in expected} == expected


@pytest.mark.parametrize("kind", KINDS)
def test_images_by_label_are_equal_to_themselves_alone(kind):
    images, others = KINDS[kind](), KINDS[kind]()
    assert images == images
    assert images != others
    assert images != {}
    assert len({images, images, others}) == 2
