"""Masks that overlap, as one array: against the masks themselves."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from drrproj import LabelVolume
from drrproj.overlaps import OverlappingMasks


def combined(masks, ids, above=0):
    combination = OverlappingMasks(masks[0].shape)
    for mask, label_id in zip(masks, ids, strict=True):
        combination.add(mask, label_id)
    return combination.combined(above)


def assert_every_mask_is_in(array, overlaps, masks, ids):
    for mask, label_id in zip(masks, ids, strict=True):
        values = [label_id, *(value for value, members in overlaps.items() if label_id in members)]
        np.testing.assert_array_equal(np.isin(array, values), mask)
    assert not array[~np.any(masks, axis=0)].any()


@pytest.mark.parametrize("seed", range(20))
def test_random_masks_are_found_again(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 12, 3))
    masks = [rng.random(shape) < rng.choice([0, 0.02, 0.3, 0.9, 1]) for _ in range(rng.integers(1, 7))]
    masks = [np.asfortranarray(mask) if rng.random() < 0.5 else mask[::-1] for mask in masks]
    ids = rng.choice(np.array([1, 2, 5, 9, 51, 254, 255, 256, 65535, 70000]), len(masks), replace=False)
    array, overlaps = combined(masks, ids.tolist())
    assert_every_mask_is_in(array, overlaps, masks, ids.tolist())
    # Brute force: the ids of each voxel, as a set, and the sets of several that there are.
    sets = {
        tuple(sorted(label_id for mask, label_id in zip(masks, ids.tolist(), strict=True) if mask[place]))
        for place in np.ndindex(shape)
    }
    assert sorted(tuple(sorted(members)) for members in overlaps.values()) == sorted(
        members for members in sets if len(members) > 1
    )
    assert all(value > max(ids) for value in overlaps)


def test_more_combinations_than_a_byte_counts():
    # Each of ten masks is one bit of a voxel's place: all 1,024 combinations occur, each once.
    places = np.arange(1024).reshape(8, 8, 16)
    masks = [(places >> bit & 1).astype(bool) for bit in range(10)]
    ids = list(range(1, 11))
    array, overlaps = combined(masks, ids)
    assert len(overlaps) == 1024 - 1 - 10
    assert array.dtype == np.uint16
    assert_every_mask_is_in(array, overlaps, masks, ids)


def test_a_combination_that_no_voxel_is_left_with_has_no_value():
    thorax, heart, ventricle = np.ones(4, bool), np.array([0, 1, 1, 0], bool), np.array([0, 1, 1, 0], bool)
    array, overlaps = combined([thorax, heart, ventricle], [1, 2, 3])
    assert array.tolist() == [1, 4, 4, 1]
    assert overlaps == {4: (1, 2, 3)}


def test_the_id_of_an_empty_mask_is_no_value_of_an_overlap():
    labels = LabelVolume.from_masks(
        {"thorax": np.ones((2, 2, 2)), "heart": np.eye(2)[:, :, None] * [1, 1], "spleen": np.zeros((2, 2, 2))},
        np.eye(4),
    )
    assert dict(labels.overlaps) == {4: (1, 2)}
    assert labels.names_without_voxels == ("spleen",)


def test_values_of_overlaps_are_above_every_id_that_is_known():
    array, overlaps = combined([np.ones(3, bool), np.array([0, 1, 0], bool)], [1, 2], above=300)
    assert array.tolist() == [1, 301, 1]
    assert overlaps == {301: (1, 2)}
    alone, none = combined([np.ones(3, bool)], [1], above=300)
    assert (alone.dtype, none) == (np.uint8, {})


def test_memory_is_that_of_the_voxels_not_of_their_counting():
    # numpy's counts and indices take 8 bytes a voxel; here the array, a mask and the answer take 1 byte each.
    mask = np.ones((256, 256, 128), bool, order="F")
    tracemalloc.start()
    try:
        combination = OverlappingMasks(mask.shape)
        combination.add(mask, 1)
        combination.add(mask, 2)
        array, _ = combination.combined()
        assert tracemalloc.get_traced_memory()[1] < 2 * mask.nbytes + 24 * 2**20
    finally:
        tracemalloc.stop()
    assert array.flags.f_contiguous
