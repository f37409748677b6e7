"""Everything a projection says of structures, through files and pictures: groups, several label volumes, crops."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
from PIL import Image

import drrproj
from drrproj.io.structures import unique_names
from drrproj.radiograph import LabelCrops, LabelImages

OUTPUTS = ("line_integral", "path_length", "mask", "label_line_integral", "depth")
OF_STRUCTURES = ("path_length", "masks", "label_line_integral", "entry_depth", "exit_depth")


@pytest.fixture(scope="module")
def scene():
    """Water with two structures that overlap, a group of them, one without a voxel; and another volume, equal ids."""
    ct = drrproj.Volume(np.zeros((20, 16, 12), np.int16), np.diag([-4.0, 4, 5, 1]))
    masks = {name: np.zeros(ct.shape, bool) for name in ("heart", "aorta", "spleen")}
    masks["heart"][4:12, 5:12, 3:8] = True
    masks["aorta"][10:14, 6:9, 2:11] = True
    organs = drrproj.LabelVolume.from_masks(masks, ct.affine).with_groups({"vessels and heart": ["heart", "aorta"]})
    organs = organs.subset(["heart", "aorta", "spleen", "vessels and heart"])
    bone = np.zeros(ct.shape, np.uint8)
    bone[2:4, 2:14, 1:11], bone[15:, 9:12, 5:9] = 1, 2
    bones = drrproj.LabelVolume(bone, ct.affine, {1: "rib", 2: "vertebra"})
    views = [drrproj.Geometry.radiograph(view, ct, shape=(24, 31)) for view in ("PA", "LL")]
    return ct, (organs, bones), drrproj.Geometry.concatenate(views)


@pytest.fixture(scope="module", params=["dense", "crops"])
def shot(request, scene):
    ct, labels, views = scene
    return drrproj.project(ct, views, labels=labels, outputs=OUTPUTS, label_images=request.param)


def test_structures_that_come_with_one_name_get_names_of_their_own():
    for named in itertools.product(("lesion", "lesion 1", "lesion 2", "lesion 4"), repeat=4):
        names = unique_names(named)
        assert len(set(names)) == len(names)
        # A name that one structure alone has stays its own.
        assert all(name == own for own, name in zip(named, names, strict=True) if named.count(own) == 1)


def assert_same(one, other):
    assert one.images.keys() == other.images.keys()
    for name, images in one.images.items():
        again = other.images[name]
        assert type(again) is type(images)
        if isinstance(images, np.ndarray):
            np.testing.assert_array_equal(again, images)
            continue
        assert (list(again), again.label_ids) == (list(images), images.label_ids)
        assert again.array.dtype == images.array.dtype
        np.testing.assert_array_equal(again.array, images.array)  # NaN at the same places
        if isinstance(images, LabelCrops):
            np.testing.assert_array_equal(again.boxes, images.boxes)
            assert again.nbytes == images.nbytes <= images.array.nbytes


def test_npz_gives_every_output_back(shot, tmp_path):
    drrproj.write_npz(tmp_path / "shot.npz", shot)
    again = drrproj.read_npz(tmp_path / "shot.npz")
    assert set(OF_STRUCTURES) < again.images.keys()
    assert np.isnan(again.entry_depth["heart"]).any()
    assert np.isnan(again.entry_depth["spleen"]).all()
    assert_same(again, shot)
    assert again.record == shot.record
    assert_same(again["LL"], shot["LL"])


@pytest.mark.parametrize(
    "outputs",
    [("path_length",), ("mask",), ("depth",), ("label_line_integral",), ("line_integral", "depth")],
    ids=lambda outputs: "+".join(outputs),
)
@pytest.mark.parametrize("form", ["dense", "crops"])
def test_npz_of_some_outputs(scene, tmp_path, outputs, form):
    ct, labels, views = scene
    shot = drrproj.project(ct, views, labels=labels[0], outputs=outputs, label_images=form)
    drrproj.write_npz(tmp_path / "shot.npz", shot)
    assert_same(drrproj.read_npz(tmp_path / "shot.npz"), shot)


def test_npz_of_no_structures(scene, tmp_path):
    ct, labels, views = scene
    for form in ("dense", "crops"):
        nothing = drrproj.LabelVolume(np.zeros_like(labels[1].array), ct.affine)
        shot = drrproj.project(ct, views, labels=nothing, outputs=OUTPUTS, label_images=form)
        drrproj.write_npz(tmp_path / "shot.npz", shot)
        assert_same(drrproj.read_npz(tmp_path / "shot.npz"), shot)


def test_radiographs_survive_pickling(shot):
    assert_same(pickle.loads(pickle.dumps(shot)), shot)


def test_equal_ids_of_two_label_volumes_are_told_apart_by_name(shot, tmp_path):
    assert shot.masks.label_ids == (1, 2, 3, 5, 1, 2)
    drrproj.write_npz(tmp_path / "shot.npz", shot)
    for radiograph in (shot, drrproj.read_npz(tmp_path / "shot.npz")):
        assert radiograph.masks["rib"].any()
        assert not np.array_equal(radiograph.masks["rib"], radiograph.masks["heart"])
        with pytest.raises(KeyError, match="id 1 stands for heart and rib of different label volumes"):
            _ = radiograph.path_length[1]
        np.testing.assert_array_equal(radiograph.path_length[5], radiograph.path_length["vessels and heart"])


def test_crops_are_the_dense_images_within_their_boxes(scene):
    ct, labels, views = scene
    dense, crops = (
        drrproj.project(ct, views, labels=labels, outputs=OUTPUTS, label_images=form) for form in ("dense", "crops")
    )
    for name in OF_STRUCTURES:
        np.testing.assert_array_equal(crops.images[name].array, dense.images[name].array)
        assert isinstance(dense.images[name], LabelImages) is (name != "masks")
    for label, structure in enumerate(crops.path_length):
        for view in range(len(views)):
            top, bottom, left, right = crops.path_length.boxes[label, view]
            np.testing.assert_array_equal(
                crops.path_length.crop(structure, view),
                dense.path_length[structure][view, top:bottom, left:right],
            )
    np.testing.assert_array_equal(crops.path_length.boxes, dense.masks.boxes)


# --- pictures -----------------------------------------------------------------------------------------------------


def overlay(path, shot, labels=None):
    drrproj.write_overlay(path, shot, labels, window=(0, 2))
    with Image.open(path) as picture:
        return np.asarray(picture).astype(int)


@pytest.mark.parametrize("view", ["PA", "LL"])
def test_overlays_of_groups_and_several_label_volumes(shot, tmp_path, view):
    for names in (None, ["vessels and heart"], ["rib", "heart"], [3, 5]):
        picture = overlay(tmp_path / "overlay.png", shot[view], names)
        drawn = list(shot.masks) if names is None else names  # ids 3 and 5 are in one volume only
        inside = np.any([shot[view].masks[name][0] for name in drawn], axis=0)
        np.testing.assert_array_equal(np.ptp(picture, axis=-1) > 0, inside)


def test_overlays_of_crops_alone_are_those_of_masks(scene, tmp_path):
    ct, labels, views = scene
    shots = [
        drrproj.project(ct, views, labels=labels, outputs=("line_integral", output), label_images="crops")["PA"]
        for output in ("mask", "path_length")
    ]
    one, other = (overlay(tmp_path / "overlay.png", shot) for shot in shots)
    np.testing.assert_array_equal(one, other)


def test_a_structure_has_one_colour_whatever_else_is_drawn(scene, tmp_path):
    ct, labels, views = scene
    named = [labels[0], labels[0].subset(["aorta", "heart"]), labels[0].subset(["heart"]), labels]
    pictures = []
    for anatomy in named:
        shot = drrproj.project(ct, views, labels=anatomy, outputs=("line_integral", "mask"))["PA"]
        pictures.append(overlay(tmp_path / "overlay.png", shot, ["heart"]))
    for picture in pictures[1:]:
        np.testing.assert_array_equal(picture, pictures[0])
    # Beside others too: where the heart lies alone, it looks the same.
    shot = drrproj.project(ct, views, labels=labels, outputs=("line_integral", "mask"))["PA"]
    others = [name for name in shot.masks if name not in ("heart", "vessels and heart")]
    alone = shot.masks["heart"][0] & ~np.any([shot.masks[name][0] for name in others], axis=0)
    together = overlay(tmp_path / "overlay.png", shot, ["heart", *others])
    np.testing.assert_array_equal(together[alone], pictures[0][alone])
    assert alone.sum() > 20


def test_images_too_large_for_memory_name_the_form_that_keeps_less(scene):
    ct, labels, _ = scene
    view = drrproj.Geometry.radiograph("PA", ct, shape=(4_000_000, 4_000_000))
    # Six structures of 4 bytes for each of 1.6e13 pixels.
    with pytest.raises(MemoryError, match=r'need 357627\.9 GiB .*6 labels.*label_images="crops" keeps of each image'):
        drrproj.project(ct, view, labels=labels, outputs=("path_length",))
    with pytest.raises(MemoryError, match=r"need 11175\.9 GiB \(mask: "):
        drrproj.project(ct, view, labels=labels, outputs=("mask",))
