"""A small built dataset with what formats stumble over: overlaps, holes, parts, odd sizes, absent and empty classes."""

from __future__ import annotations

import numpy as np

from drrproj.dataset.formats import from_store
from drrproj.dataset.store import create_store
from drrproj.io.grey import write_grey

CLASSES = ("lung", "heart", "rib left 1", "speckle", "never on a picture", "not made")
GROUPS = {"chest": ("lung", "heart"), "bones": ("rib left 1",)}
SPLITS = {"a": "train", "b": "train", "c": "val", "d.1": "test"}
# No multiple of eight, and not square, so that exchanged rows and columns or a lost bit show.
SHAPE = (37, 53)


def masks_of(case, view):
    """Masks by class, asymmetric in both directions."""
    random = np.random.default_rng([ord(case[0]), ord(view[0])])
    rows, columns = np.indices(SHAPE)
    lung = (rows - 15) ** 2 + (columns - 20) ** 2 < 150
    lung &= (rows - 12) ** 2 + (columns - 18) ** 2 > 16
    heart = np.zeros(SHAPE, bool)
    heart[10:30, 15 + len(case) : 40] = True
    rib = np.zeros(SHAPE, bool)
    rib[0, :9] = rib[-1, -3:] = rib[5:7, -1] = True
    return {
        "lung": lung,
        "heart": heart,
        "rib left 1": rib,
        "speckle": random.random(SHAPE) < 0.3,
        "never on a picture": np.zeros(SHAPE, bool),
    }


def pixels_of(case, view):
    random = np.random.default_rng([ord(case[0]), ord(view[0]), 1])
    return random.integers(0, 65536, SHAPE).astype(np.uint16)


def small_store(folder):
    """Two views each of four kept cases, and one that was dropped."""
    store = create_store(folder, {"seed": 1}, CLASSES, GROUPS)
    for case, split in SPLITS.items():
        views = {}
        for view in ("PA", "LL"):
            masks = {name: mask for name, mask in masks_of(case, view).items() if mask.any()}
            packed = np.packbits(np.array(list(masks.values())), axis=-1)
            place = store.write_masks(case, view, list(masks), packed, SHAPE)
            image = f"images/{case}_{view}.png"
            write_grey(store.path / image, pixels_of(case, view))
            views[view] = {
                "image": image,
                "masks": place,
                "geometry": {},
                "display": {},
                "areas": {name: int(mask.sum()) for name, mask in masks.items()},
                "absent": {"not made": "the sources have no such label"},
            }
        store.write_record(
            {
                "case": case,
                "patient": f"patient of {case}",
                "status": "kept",
                "reasons": [],
                "split": split,
                "views": views,
            }
        )
    store.write_record({"case": "e", "patient": "e", "status": "dropped", "reasons": [], "split": "train", "views": {}})
    return store


def small_set(folder):
    return from_store(small_store(folder))


def assert_same(found, expected, *, bits=8):
    """Everything that a format promises to keep is there again, to the pixel."""
    assert found.classes == expected.classes
    assert dict(found.groups) == dict(expected.groups)
    assert [image.name for image in found] == [image.name for image in expected]
    for image, other in zip(found, expected, strict=True):
        kept = [(one.case, one.patient, one.view, one.split, dict(one.absent)) for one in (image, other)]
        assert kept[0] == kept[1]
        pixels = other.pixels()
        if bits == 8 and pixels.dtype == np.uint16:
            pixels = np.rint(pixels / 257).astype(np.uint8)
        assert image.pixels().dtype == pixels.dtype
        np.testing.assert_array_equal(image.pixels(), pixels)
        masks, wanted = image.masks(), other.masks()
        assert masks.keys() == wanted.keys()
        for name, mask in wanted.items():
            assert masks[name].dtype == np.bool_
            np.testing.assert_array_equal(masks[name], mask, err_msg=f"{image.name} {name}")
