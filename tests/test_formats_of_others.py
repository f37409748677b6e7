"""COCO and YOLO files that others wrote, or that are damaged: what they mean, and the sentence that refuses them."""

from __future__ import annotations

import numpy as np
import pytest

from drrproj.dataset.formats.run_lengths import mask_of_polygons

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

    def test_a_polygon_may_reach_out_of_the_picture(self):
        mask = mask_of_polygons([[-20, -20, 40, -20, 40, 8, -20, 8]], SHAPE)
        wanted = np.zeros(SHAPE, bool)
        wanted[:8] = True
        np.testing.assert_array_equal(mask, wanted)
