"""Shares, depths, unions, overlaps, thresholds and boxes of structures against the oracle."""

from __future__ import annotations

import numpy as np
import oracle
import phantoms
import pytest

from drrproj import Geometry, LabelVolume, Volume, attenuation, project
from drrproj.radiograph import LabelCrops

SHAPE, DETECTOR = (17, 15, 19), (23, 37)
IDS = (1, 2, 3, 4)
EVERYTHING = ("line_integral", "path_length", "mask", "label_line_integral", "depth")


def blobs(rng, count=4):
    """A few balls on each other, with background around."""
    grid = np.moveaxis(np.indices(SHAPE), 0, -1)
    labels = np.zeros(SHAPE, np.uint8)
    for label_id in range(1, count + 1):
        labels[np.linalg.norm(grid - rng.uniform(2, 14, 3), axis=-1) < rng.uniform(3, 7)] = label_id
    return labels


def checkers(rng):
    """Labels that differ from voxel to voxel."""
    return (rng.integers(0, 2, SHAPE) * 2 + np.indices(SHAPE).sum(axis=0) % 2 + 1).astype(np.uint8)


def scene(seed, beam, make=blobs, order="C"):
    rng = np.random.default_rng([120, seed])
    affine = phantoms.random_affine(rng, SHAPE)
    ct = Volume(np.asarray(phantoms.noise(rng, SHAPE), order=order), affine, unit="1/mm")
    labels = LabelVolume(np.asarray(make(rng), order=order), affine)
    views = [phantoms.random_view(rng, SHAPE, affine, DETECTOR, beam) for _ in range(2)]
    return ct, labels, Geometry(views, DETECTOR)


def each_view(geometry, function):
    """Stack what the oracle says of the rays of each view, shape (ids, views, rows, columns)."""
    found = [function(oracle.rays_of_view(view, geometry.shape)) for view in geometry.views]
    return np.stack(found, axis=-2).reshape(*np.shape(found[0])[:-1], len(found), *geometry.shape)


def share_images(ct, labels, geometry, ids):
    return each_view(geometry, lambda rays: oracle.shares(rays, ct.array, labels.array, ct.affine, ids))


@pytest.mark.parametrize("beam", ["cone", "parallel"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("make", [blobs, checkers])
def test_shares_are_exact_and_sum_to_the_image(backend, beam, order, make):
    ct, labels, geometry = scene(1, beam, make, order)
    shot = project(ct, geometry, labels=labels, outputs=("line_integral", "label_line_integral"), backend=backend)
    oracle.assert_exact_paths(shot.label_line_integral.array, share_images(ct, labels, geometry, labels.label_ids))
    total = shot.label_line_integral.array.sum(axis=0, dtype=np.float64) + shot.background_line_integral
    np.testing.assert_allclose(total, shot.line_integral, rtol=1e-5, atol=1e-6 * shot.line_integral.max())
    background = share_images(ct, labels, geometry, (0,))[0]
    np.testing.assert_allclose(shot.background_line_integral, background, atol=2e-6 * shot.line_integral.max())


@pytest.mark.parametrize("beam", ["cone", "parallel"])
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("make", [blobs, checkers])
def test_depths_are_where_rays_enter_and_leave(backend, beam, seed, make):
    ct, labels, geometry = scene(seed, beam, make)
    shot = project(ct, geometry, labels=labels, outputs=("path_length", "depth"), backend=backend)
    # A ray that grazes a corner for a micrometre may miss it in float32; where that decides, either answer is right.
    surely, perhaps = (
        each_view(geometry, lambda rays, least=least: oracle.depths(rays, labels.array, labels.affine, IDS, least))
        for least in (1e-3, 0.0)
    )
    for images, sure, possible in zip((shot.entry_depth, shot.exit_depth), surely, perhaps, strict=True):
        assert np.isfinite(images.array[np.isfinite(sure)]).all()
        assert np.isnan(images.array[np.isnan(possible)]).all()
        decided = np.isfinite(sure) & (np.abs(sure - possible) < 1e-3)
        assert decided.sum() > 0.9 * np.isfinite(sure).sum() > 100
        np.testing.assert_allclose(images.array[decided], sure[decided], atol=2e-3)
    met = np.isfinite(shot.entry_depth.array)
    assert (shot.path_length.array[met] <= (shot.exit_depth.array - shot.entry_depth.array)[met] + 1e-3).all()
    np.testing.assert_array_equal(met, shot.path_length.array > 0)


def test_depth_of_a_box_is_what_a_ruler_says(backend):
    # A box from y = 20 to y = 30 mm; the source stands at y = 1000, and the pixel of a parallel beam at y = -100.
    labels = np.zeros((20, 60, 20), np.uint8)
    labels[5:15, 20:30, 5:15] = 1
    box = LabelVolume(labels, phantoms.affine_around(np.array([0, 29.5, 0]), np.eye(3), labels.shape))
    ct = Volume(np.zeros(labels.shape, np.float32), box.affine, unit="1/mm")
    cone = Geometry.cone(
        source=(0, 1000, 0), center=(0, -100, 0), row_step=(0, 0, -1), column_step=(1, 0, 0), shape=(3, 3)
    )
    parallel = Geometry.parallel(
        direction=(0, -1, 0), center=(0, -100, 0), row_step=(0, 0, -1), column_step=(1, 0, 0), shape=(3, 3)
    )
    for geometry, entry, leave in ((cone, 1000 - 29.5, 1000 - 19.5), (parallel, -129.5, -119.5)):
        shot = project(ct, geometry, labels=box, outputs="depth", backend=backend)
        assert shot.entry_depth["1"][0, 1, 1] == pytest.approx(entry, abs=1e-3)
        assert shot.exit_depth["1"][0, 1, 1] == pytest.approx(leave, abs=1e-3)


@pytest.mark.parametrize("beam", ["cone", "parallel"])
def test_a_union_has_the_path_in_any_of_its_members(backend, beam):
    ct, labels, geometry = scene(3, beam)
    grouped = labels.with_groups({"odd": [1, 3], "all": IDS, "one": [2]})
    shot = project(ct, geometry, labels=grouped, outputs=EVERYTHING, backend=backend)
    truth = oracle.path_length_images(labels.array, labels.affine, geometry.views, DETECTOR, IDS)
    unions = {"odd": truth[[0, 2]].sum(axis=0), "all": truth.sum(axis=0), "one": truth[1]}
    for name, mm in unions.items():
        oracle.assert_exact_paths(shot.path_length[name][None], mm[None])
        np.testing.assert_array_equal(shot.masks[name], shot.path_length[name] > 0)
    np.testing.assert_array_equal(shot.masks["all"], shot.masks.array[:4].any(axis=0))
    lowest = np.nan_to_num(shot.entry_depth.array[:4], nan=np.inf).min(axis=0)
    np.testing.assert_array_equal(np.nan_to_num(shot.entry_depth["all"], nan=np.inf), lowest)
    np.testing.assert_allclose(
        shot.label_line_integral["all"], shot.label_line_integral.array[:4].sum(axis=0), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("beam", ["cone", "parallel"])
def test_overlapping_structures_keep_all_their_voxels(backend, beam):
    rng = np.random.default_rng(121)
    affine = phantoms.random_affine(rng, SHAPE)
    masks = {f"ball {number}": blobs(rng, count=1) == 1 for number in range(5)}
    labels = LabelVolume.from_masks(masks, affine).with_groups({"any": list(masks)})
    assert labels.overlaps
    ct = Volume(phantoms.noise(rng, SHAPE), affine, unit="1/mm")
    geometry = Geometry([phantoms.random_view(rng, SHAPE, affine, DETECTOR, beam) for _ in range(2)], DETECTOR)
    shot = project(ct, geometry, labels=labels, outputs=EVERYTHING, backend=backend)
    masks["any"] = np.any(list(masks.values()), axis=0)
    for name, mask in masks.items():
        truth = oracle.path_length_images(mask.astype(np.uint8), affine, geometry.views, DETECTOR, (1,))
        oracle.assert_exact_paths(shot.path_length[name][None], truth)
        assert shot.masks[name][truth[0] > 1e-3].all()
        alone = LabelVolume(mask.astype(np.uint8), affine)
        oracle.assert_exact_paths(shot.label_line_integral[name][None], share_images(ct, alone, geometry, (1,)))
    singles = shot.path_length.array[:5].sum(axis=0)
    # Where structures lie over each other, their path lengths sum to more than that of their union.
    assert (singles > shot.path_length["any"] + 1).any()
    assert (shot.path_length["any"] <= singles + 1e-3).all()


def test_masks_with_a_shortest_path(backend):
    ct, labels, geometry = scene(4, "cone")
    grouped = LabelVolume(labels.array, labels.affine, {1: "a", 2: "b"}).with_groups({"both": ["a", "b"]})
    whole = project(ct, geometry, labels=grouped, backend=backend)
    least = {"a": 5.0, 3: 0.25, "both": 9.0}
    shot = project(ct, geometry, labels=grouped, min_path_mm=least, backend=backend)
    for name, mm in {"a": 5.0, "b": 0.0, "3": 0.25, "4": 0.0, "both": 9.0}.items():
        np.testing.assert_array_equal(shot.masks[name], whole.path_length[name] > np.float32(mm))
    assert 0 < shot.masks["a"].sum() < whole.masks["a"].sum()
    assert shot.record["min_path_mm"]["both"] == 9.0
    everywhere = project(ct, geometry, labels=grouped, min_path_mm=2, outputs=["mask"], backend=backend)
    np.testing.assert_array_equal(everywhere.masks.array, whole.path_length.array > 2)


def test_boxes_areas_and_centroids_are_those_of_the_masks(backend):
    ct, labels, geometry = scene(5, "cone")
    masks = project(ct, geometry, labels=labels, outputs=["mask"], backend=backend).masks
    for label, of_label in enumerate(masks.array):
        for view, mask in enumerate(of_label):
            rows, columns = np.nonzero(mask)
            assert masks.areas[label, view] == len(rows)
            if len(rows) == 0:
                assert not masks.boxes[label, view].any()
                assert np.isnan(masks.centroids[label, view]).all()
                continue
            assert masks.boxes[label, view].tolist() == [rows.min(), rows.max() + 1, columns.min(), columns.max() + 1]
            np.testing.assert_allclose(masks.centroids[label, view], (rows.mean(), columns.mean()))
    assert masks.areas.all(axis=1).any()


@pytest.mark.parametrize("beam", ["cone", "parallel"])
def test_crops_hold_what_dense_images_hold(backend, beam):
    ct, labels, geometry = scene(6, beam)
    labels = LabelVolume(labels.array, labels.affine, {9: "absent"}).subset([3, 1, "absent", 4])
    dense, crops = (
        project(ct, geometry, labels=labels, outputs=EVERYTHING, label_images=form, backend=backend)
        for form in ("dense", "crops")
    )
    for name in ("path_length", "label_line_integral", "entry_depth", "exit_depth"):
        whole, cropped = getattr(dense, name), getattr(crops, name)
        assert isinstance(cropped, LabelCrops)
        np.testing.assert_array_equal(cropped.array, whole.array)
        assert cropped.label_ids == whole.label_ids == (3, 1, 9, 4)
        for label in labels.label_ids:
            for view in range(2):
                top, bottom, left, right = cropped.boxes[labels.label_ids.index(label), view]
                np.testing.assert_array_equal(cropped.crop(label, view), whole[label][view, top:bottom, left:right])
        np.testing.assert_array_equal(cropped.select(slice(1, 2)).array, whole.array[:, 1:])
    tight = project(ct, geometry, labels=labels, outputs=["mask"], backend=backend).masks.boxes
    np.testing.assert_array_equal(crops.path_length.boxes, tight)
    np.testing.assert_array_equal(crops.masks.packed, dense.masks.packed)
    np.testing.assert_array_equal(crops.line_integral, dense.line_integral)


def test_crops_of_labels_that_reach_beyond_the_ct_are_whole(backend):
    # Paths are then walked on the labels' own grid and shares on the CT's: two walks, one box of both.
    ct = Volume(np.ones((4, 4, 4), np.float32), np.eye(4), unit="1/mm")
    labels = LabelVolume(np.ones((4, 4, 8), np.uint8), np.eye(4))
    along_j = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, 0, 0, 1], [0, 1, 0, 0.0]])
    shots = [
        project(
            ct,
            Geometry(along_j[None], (4, 8)),
            labels=labels,
            outputs=("path_length", "label_line_integral", "depth"),
            label_images=form,
            backend=backend,
        )
        for form in ("dense", "crops")
    ]
    for shot in shots:
        np.testing.assert_allclose(shot.path_length[1][0], 4, rtol=1e-6)
        np.testing.assert_allclose(shot.label_line_integral[1][0], np.repeat([[4, 0]], 4, axis=1) * np.ones((4, 1)))
        np.testing.assert_allclose(shot.entry_depth[1][0], -0.5, rtol=1e-6)
        np.testing.assert_allclose(shot.exit_depth[1][0], 3.5, rtol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "order"),
    [
        ("u1", "C"),
        ("u1", "F"),
        ("u1", "flipped"),
        ("i1", "C"),
        ("i2", "F"),
        ("u2", "flipped"),
        ("i4", "C"),
        ("u4", "F"),
        ("i8", "flipped"),
        ("u8", "C"),
    ],
)
def test_shares_do_not_depend_on_how_labels_are_stored(backend, dtype, order):
    ct, labels, geometry = scene(7, "cone")
    array = np.asarray(labels.array, dtype, order="C" if order == "flipped" else order)
    if order == "flipped":
        array = array[::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1]
    shot = project(
        ct, geometry, labels=LabelVolume(array, labels.affine), outputs=("path_length", "label_line_integral"),
        backend=backend,
    )  # fmt: skip
    oracle.assert_exact_paths(shot.label_line_integral.array, share_images(ct, labels, geometry, IDS))
    truth = oracle.path_length_images(labels.array, labels.affine, geometry.views, DETECTOR, IDS)
    oracle.assert_exact_paths(shot.path_length.array, truth)


@pytest.mark.parametrize(("axes", "flips"), phantoms.AXIS_ORIENTATIONS[5::9])
def test_labels_along_other_axes_share_the_grid(backend, axes, flips):
    ct, labels, geometry = scene(8, "cone")
    turned = LabelVolume(*phantoms.reoriented(labels.array, labels.affine, axes, flips))
    shot = project(ct, geometry, labels=turned, outputs=EVERYTHING, backend=backend)
    oracle.assert_exact_paths(shot.label_line_integral.array, share_images(ct, labels, geometry, IDS))
    truth = oracle.path_length_images(labels.array, labels.affine, geometry.views, DETECTOR, IDS)
    oracle.assert_exact_paths(shot.path_length.array, truth)


def test_labels_on_a_part_of_the_grid_share_it_too(backend):
    ct, labels, geometry = scene(9, "cone")
    corner = np.eye(4)
    corner[:3, 3] = 3, -2, 4
    # Two layers stick out of the CT: they have a path length, and no share of the image.
    part = np.zeros((12, 14, 11), np.uint8)
    part[:, 2:] = labels.array[3:15, :12, 4:15]
    part[:, :2] = 2
    crop = LabelVolume(part, labels.affine @ corner)
    shot = project(ct, geometry, labels=crop, outputs=EVERYTHING, backend=backend)
    inside = np.zeros(SHAPE, np.uint8)
    inside[3:15, :12, 4:15] = part[:, 2:]
    ids = crop.label_ids
    oracle.assert_exact_paths(
        shot.label_line_integral.array, share_images(ct, LabelVolume(inside, ct.affine), geometry, ids)
    )
    truth = oracle.path_length_images(part, crop.affine, geometry.views, DETECTOR, ids)
    oracle.assert_exact_paths(shot.path_length.array, truth)


def test_shares_on_another_lattice_are_refused(backend):
    ct, labels, geometry = scene(10, "cone")
    finer = np.diag([0.5, 1, 1, 1.0])
    with pytest.raises(ValueError, match="label_line_integral needs labels on the CT's grid"):
        project(
            ct, geometry, labels=LabelVolume(labels.array, labels.affine @ finer), outputs=("label_line_integral",),
            backend=backend, other_space=True,
        )  # fmt: skip


def test_several_label_volumes_are_walked_each_on_its_own_grid(backend):
    rng = np.random.default_rng(122)
    ct, labels, geometry = scene(11, "cone")
    other_affine = labels.affine @ np.diag([0.7, 1.3, 0.9, 1])
    other = LabelVolume(blobs(rng, count=2), other_affine, {1: "tumour", 2: "vessel"})
    shot = project(ct, geometry, labels=[labels, other], min_path_mm={"tumour": 1.0}, backend=backend)
    first = oracle.path_length_images(labels.array, labels.affine, geometry.views, DETECTOR, labels.label_ids)
    second = oracle.path_length_images(other.array, other.affine, geometry.views, DETECTOR, other.label_ids)
    oracle.assert_exact_paths(shot.path_length.array, np.concatenate([first, second]))
    np.testing.assert_array_equal(shot.masks["tumour"], shot.path_length["tumour"] > 1)
    assert [list(each["names"].values()) for each in shot.record["labels"]] == [
        ["1", "2", "3", "4"], [other.name_of(label_id) for label_id in other.label_ids]
    ]  # fmt: skip
    with pytest.raises(KeyError, match="id 1 stands for 1 and tumour of different label volumes; use the name"):
        _ = shot.masks[1]
    with pytest.raises(ValueError, match="must say once what 'tumour' needs; got it by name and by id"):
        project(ct, geometry, labels=other, min_path_mm={"tumour": 1.0, 1: 0.0}, backend=backend)
    with pytest.raises(ValueError, match="two label volumes have a structure named '1'"):
        project(ct, geometry, labels=[labels, LabelVolume(blobs(rng), other_affine)], backend=backend)


def test_a_thousand_labels_in_one_volume(backend):
    rng = np.random.default_rng(123)
    affine = phantoms.random_affine(rng, SHAPE)
    ids = np.sort(rng.choice(200_000, 1000, replace=False)) + 1
    labels = LabelVolume(ids[rng.integers(0, 1000, SHAPE)], affine)
    ct = Volume(phantoms.noise(rng, SHAPE), affine, unit="1/mm")
    geometry = Geometry([phantoms.random_view(rng, SHAPE, affine, (11, 13), "cone")], (11, 13))
    shot = project(ct, geometry, labels=labels, outputs=("path_length", "mask", "label_line_integral"), backend=backend)
    truth = oracle.path_length_images(labels.array, affine, geometry.views, (11, 13), labels.label_ids)
    np.testing.assert_allclose(shot.path_length.array, truth, atol=1e-4 * truth.max())
    assert np.linalg.norm(shot.path_length.array - truth) < 2e-6 * np.linalg.norm(truth)
    assert shot.masks.array[truth > 1e-3].all()
    chord = shot.path_length.array.sum(axis=0, dtype=np.float64)
    np.testing.assert_allclose(chord, truth.sum(axis=0), rtol=1e-5, atol=1e-4)
    shares = each_view(
        geometry, lambda rays: oracle.shares(rays, ct.array, labels.array, affine, labels.label_ids[::50])
    )
    np.testing.assert_allclose(shot.label_line_integral.array[::50], shares, atol=1e-4 * shares.max())


def test_a_subset_is_what_the_whole_has_of_it_and_the_rest_is_background(backend):
    ct, labels, geometry = scene(12, "cone")
    whole = project(ct, geometry, labels=labels, outputs=EVERYTHING, backend=backend)
    some = project(ct, geometry, labels=labels.subset([4, 2]), outputs=EVERYTHING, backend=backend)
    assert some.path_length.label_ids == (4, 2)
    np.testing.assert_allclose(some.path_length.array, whole.path_length.array[[3, 1]], rtol=1e-5, atol=1e-5)
    background = whole.background_line_integral + whole.label_line_integral[1] + whole.label_line_integral[3]
    np.testing.assert_allclose(some.background_line_integral, background, atol=1e-5 * whole.line_integral.max())


def test_labels_without_a_voxel_leave_all_to_the_background(backend):
    ct, labels, geometry = scene(13, "cone")
    empty = LabelVolume(np.zeros(SHAPE, np.uint8), labels.affine, {7: "gone"})
    shot = project(ct, geometry, labels=empty.subset(["gone"]), outputs=EVERYTHING, backend=backend)
    np.testing.assert_allclose(shot.background_line_integral, shot.line_integral, rtol=1e-6)
    assert not shot.masks["gone"].any()
    assert np.isnan(shot.entry_depth["gone"]).all()
    none = project(ct, geometry, labels=empty, outputs=EVERYTHING, backend=backend)
    assert none.path_length.array.shape == (0, 2, *DETECTOR)
    np.testing.assert_allclose(none.background_line_integral, shot.line_integral, rtol=1e-6)


def test_shares_of_hu_go_through_the_attenuation_model(backend):
    ct, labels, geometry = scene(14, "cone")
    rng = np.random.default_rng(124)
    hu = Volume(rng.integers(-1024, 2000, SHAPE).astype(np.int16), ct.affine)
    model = attenuation.bilinear(80)
    shot = project(hu, geometry, labels=labels, attenuation=model, outputs=("label_line_integral",), backend=backend)
    mu = Volume(model(hu.array), ct.affine, unit="1/mm")
    truth = share_images(mu, labels, geometry, IDS)
    np.testing.assert_allclose(shot.label_line_integral.array, truth, atol=1e-5 * truth.max())
    assert not {"line_integral", "path_length"} & shot.images.keys()


def test_more_label_values_than_a_backend_tells_apart_are_right_or_refused(backend):
    labels = LabelVolume(np.arange(70_000, dtype=np.int32).reshape(70, 100, 10), np.eye(4))
    ct = Volume(np.zeros(labels.shape, np.float32), np.eye(4), unit="1/mm")
    along_z = phantoms.view_matrix((0, 0, -1), 0.0, (69, 99, 30), (-1, 0, 0), (0, -1, 0), (1, 1))
    options = {"outputs": ("path_length",), "label_images": "crops", "backend": backend}
    if backend == "numba":
        shot = project(ct, Geometry(along_z, (1, 1)), labels=labels, **options)
        met = [
            name
            for name, box in zip(shot.path_length.label_ids, shot.path_length.boxes[:, 0], strict=True)
            if box.any()
        ]
        assert met == list(range(69_990, 70_000))
        return
    with pytest.raises(ValueError, match=r"tells up to 65535 label values apart; got 69999: pass labels.subset"):
        project(ct, Geometry(along_z, (1, 1)), labels=labels, **options)
