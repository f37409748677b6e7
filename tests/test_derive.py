"""Derived classes: each rule against a truth in patient coordinates, whatever the order and direction of the axes."""

from __future__ import annotations

import tracemalloc

import anatomy
import numpy as np
import pytest
from phantoms import AXIS_ORIENTATIONS

from drrproj import LabelVolume, Volume
from drrproj.dataset.derive import derive
from drrproj.dataset.derive_partition import Cut, Partition, toward_ras
from drrproj.dataset.taxonomy import AnatomyClass, Taxonomy, read_taxonomy
from drrproj.io import read_sample

NAMES = {number: name for name, number in anatomy.IDS.items()}


def mask(derived, name):
    labels = derived.labels
    return np.isin(labels.array, labels.values_by_structure[labels.id_of(name)])


def reoriented(array, affine, order, flips):
    """The same voxels with other array axes, and their affine."""
    turned = array.transpose(order)
    matrix = affine[:, (*order, 3)].copy()
    for axis, flip in enumerate(flips):
        if flip:
            turned = np.flip(turned, axis)
            matrix[:, 3] += matrix[:, axis] * (turned.shape[axis] - 1)
            matrix[:, axis] *= -1
    return turned, matrix


def given_back(array, order, flips):
    return np.flip(array, [axis for axis in range(3) if flips[axis]]).transpose(np.argsort(order))


def memberships(derived, array):
    """One number per voxel that depends only on the names of the classes that it is in."""
    labels = derived.labels
    bit = {label_id: hash(name) & (2**62 - 1) for label_id, name in labels.names.items()}
    table = np.zeros(int(array.max()) + 1, np.int64)
    for value, ids in labels.overlaps.items():
        table[value] = np.bitwise_xor.reduce([bit[label_id] for label_id in ids])
    return table[array]


@pytest.fixture(scope="module")
def made():
    affine = anatomy.affine_of()
    hu, ids = anatomy.chest(affine)
    ct, labels = Volume(hu, affine), LabelVolume(ids, affine, NAMES)
    x, y, z = anatomy.world(affine, ids.shape)
    return {
        "ct": ct,
        "labels": labels,
        "ids": ids,
        "xyz": (x, y, z),
        "paxray": derive(ct, labels, read_taxonomy("paxray")),
        "paxray++": derive(ct, labels, read_taxonomy("paxray++")),
    }


@pytest.fixture(scope="module")
def sample():
    return read_sample()


RIGHT = ("lung_upper_lobe_right", "lung_middle_lobe_right", "lung_lower_lobe_right")
LEFT = ("lung_upper_lobe_left", "lung_lower_lobe_left")
# The disc between T4 and T5 of the made-up chest: half way between the middles of their bodies.
T4_T5 = (anatomy.top_of_vertebra(4) + anatomy.top_of_vertebra(5)) / 2 - 8


def test_unions_are_their_parts(made):
    ids, derived = made["ids"], made["paxray"]
    assert np.array_equal(mask(derived, "lung_right"), anatomy.mask_of(ids, *RIGHT))
    assert np.array_equal(mask(derived, "lung_overall"), anatomy.mask_of(ids, *RIGHT, *LEFT))
    assert np.array_equal(mask(derived, "spine"), anatomy.mask_of(ids, *(f"vertebrae_T{n}" for n in range(1, 13))))
    assert np.array_equal(
        mask(derived, "ribs"), anatomy.mask_of(ids, *(n for n in anatomy.IDS if n.startswith("rib_")))
    )
    spine = mask(made["paxray++"], "spine")
    assert np.array_equal(spine, mask(made["paxray++"], "thoracic spine"))
    assert "lumbar spine" in made["paxray++"].absent


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("mediastinum_overall", ("mediastinum_upper", "mediastinum_lower")),
        ("mediastinum_lower", ("mediastinum_anterior", "mediastinum_middle", "mediastinum_posterior")),
        ("aorta", ("aorta_ascending", "aorta_arch", "aorta_descending")),
        ("diaphragm", ("hemidiaphragm_left", "hemidiaphragm_right")),
        ("rib_left_5", ("rib_left_anterior_5", "rib_left_posterior_5")),
        ("rib_right_5", ("rib_right_anterior_5", "rib_right_posterior_5")),
    ],
)
def test_parts_fill_the_whole_once(made, name, parts):
    times = sum(mask(made["paxray"], part).astype(int) for part in parts)
    assert np.array_equal(times, mask(made["paxray"], name).astype(int))


def test_zones_fill_each_lung_once(made):
    for side in ("left", "right"):
        zones = ("apical zone lung", "upper zone lung", "mid zone lung", "lung base")
        times = sum(mask(made["paxray++"], f"{side} {zone}").astype(int) for zone in zones)
        assert np.array_equal(times, mask(made["paxray++"], f"{side} lung").astype(int))


def test_lung_zones_lie_at_clavicle_and_thirds(made):
    ids, (x, _, z) = made["ids"], made["xyz"]
    for side, lobes in (("right", RIGHT), ("left", LEFT)):
        lung, clavicle = anatomy.mask_of(ids, *lobes), anatomy.mask_of(ids, f"clavicula_{side}")
        outward = np.abs(x[clavicle])
        level = z[clavicle][outward <= outward.min() + (outward.max() - outward.min()) / 3].mean()
        bottom = z[lung].min()
        third = (level - bottom) / 3
        expected = {
            "apical zone lung": lung & (z >= level),
            "upper zone lung": lung & (z < level) & (z >= level - third),
            "mid zone lung": lung & (z < level - third) & (z >= bottom + third),
            "lung base": lung & (z < bottom + third),
        }
        for zone, truth in expected.items():
            assert truth.any()
            assert np.array_equal(mask(made["paxray++"], f"{side} {zone}"), truth), (side, zone)


def test_mediastinum_is_cut_at_the_disc_below_t4(made):
    z = made["xyz"][2]
    whole = mask(made["paxray"], "mediastinum_overall")
    assert np.array_equal(mask(made["paxray"], "mediastinum_upper"), whole & (z >= T4_T5))
    assert np.array_equal(mask(made["paxray"], "mediastinum_lower"), whole & (z < T4_T5))
    assert np.array_equal(mask(made["paxray"], "mediastinum_upper_again"), mask(made["paxray"], "mediastinum_upper"))


def test_mediastinum_lies_between_the_lungs(made):
    ids, (x, y, z) = made["ids"], made["xyz"]
    whole = mask(made["paxray"], "mediastinum_overall")
    z_heart, z_lung = z[anatomy.mask_of(ids, "heart")].min(), z[anatomy.mask_of(ids, *RIGHT)].max()
    assert not whole[(z < z_heart) | (z > z_lung)].any()
    outside = anatomy.mask_of(ids, *RIGHT, *LEFT, "liver", "stomach", "sternum", "rib_left_5", "vertebrae_T7")
    assert not (whole & outside).any()
    # Away from what is taken out, it is the gap between the lungs, and the heart where that dents the left one.
    free = (z > 100) & (z < z_lung) & (y > -50) & (y < 70)
    gap = (np.abs(x) < 20) | (anatomy.mask_of(ids, "heart"))
    gap &= ~anatomy.mask_of(ids, "sternum", "clavicula_left", "clavicula_right", "rib_left_5", "rib_right_5")
    assert np.array_equal(whole & free, gap & free)
    # It ends 10 mm behind the front of the bodies, at y = -58, to the voxel.
    behind = y[whole].min()
    assert -58 - 10 - anatomy.SPACING <= behind <= -58 - 10 + anatomy.SPACING


def test_parts_of_the_inferior_mediastinum_follow_the_heart(made):
    ids, (_, y, z) = made["ids"], made["xyz"]
    heart = anatomy.mask_of(ids, "heart")
    lower = mask(made["paxray"], "mediastinum_lower")
    # In the heart's own height, below trachea and ascending aorta.
    at = within_heart = (z > 84) & (z < 150)
    assert within_heart.any()
    assert np.array_equal(mask(made["paxray"], "mediastinum_anterior") & at, lower & at & (y > y[heart].max()))
    assert np.array_equal(mask(made["paxray"], "mediastinum_posterior") & at, lower & at & (y < y[heart].min()))
    assert not (mask(made["paxray"], "mediastinum_middle") & anatomy.mask_of(ids, "esophagus")).any()


def test_aorta_parts(made):
    ids, (_, y, z) = made["ids"], made["xyz"]
    aorta = anatomy.mask_of(ids, "aorta")
    assert np.array_equal(mask(made["paxray"], "aorta_arch"), aorta & (z > 198))
    assert np.array_equal(mask(made["paxray"], "aorta_ascending"), aorta & (z < 198) & (y > 0))
    assert np.array_equal(mask(made["paxray"], "aorta_descending"), aorta & (z < 198) & (y < 0))


def test_ribs_are_cut_at_their_turn(made):
    ids, (x, y, _) = made["ids"], made["xyz"]
    for side in ("left", "right"):
        rib = anatomy.mask_of(ids, f"rib_{side}_5")
        front, back = (mask(made["paxray"], f"rib_{side}_{part}_5") for part in ("anterior", "posterior"))
        # The arc turns at y = 10; to a voxel, for it is flat there.
        assert np.abs(y[front].min() - 10) <= anatomy.SPACING
        assert np.abs(y[back].max() - 10) <= anatomy.SPACING
        assert y[front].min() > y[back].max()
        assert np.array_equal(front | back, rib)
        # The twelfth runs straight outward: only its tip lies beyond.
        floating = anatomy.mask_of(ids, f"rib_{side}_12")
        turn = y[floating & (np.abs(x) >= np.abs(x[floating]).max() - 5)].mean()
        assert np.array_equal(mask(made["paxray"], f"rib_{side}_anterior_12"), floating & (y >= turn))
        assert mask(made["paxray"], f"rib_{side}_anterior_12").sum() < 0.2 * floating.sum()
        assert np.array_equal(mask(made["paxray++"], f"posterior 12th rib {side}"), floating)


def test_hemidiaphragms_meet_at_the_spine(made):
    ids, (x, _, z) = made["ids"], made["xyz"]
    region = mask(made["paxray"], "diaphragm")
    organs = anatomy.mask_of(ids, "liver", "stomach")
    assert (region >= organs).all()
    # Between liver and stomach too, below the heart, where no structure of the chest is.
    row = (x > -30) & (x < 0) & (z > 8) & (z < 60) & (np.abs(made["xyz"][1] - 20) < 30)
    assert region[row & (ids == 0)].all()
    assert not (region & anatomy.mask_of(ids, *RIGHT, *LEFT, "vertebrae_T12")).any()
    assert np.array_equal(mask(made["paxray"], "hemidiaphragm_right"), region & (x >= 0))
    assert np.array_equal(mask(made["paxray"], "hemidiaphragm_left"), region & (x < 0))


def test_vessels_are_dense_and_neither_rim_nor_specks(made):
    ids, hu, (x, y, _) = made["ids"], made["ct"].array, made["xyz"]
    for side, lobes, sign in (("right", RIGHT, 1), ("left", LEFT, -1)):
        lung = anatomy.mask_of(ids, *lobes)
        vessel = mask(made["paxray"], f"lung_{side}_vessel")
        tube = lung & anatomy.within(sign * x, 50, 58) & anatomy.within(y, -62, -30)
        assert vessel.any()
        assert (hu[vessel] >= -500).all()
        assert not (vessel & ~tube).any()
        # At 4 mm, the rim is one voxel at the two ends of the tube.
        assert vessel.sum() >= 0.9 * tube.sum()


def test_the_bifurcation_is_where_the_trachea_divides(made):
    ids, z = made["ids"], made["xyz"][2]
    trachea = anatomy.mask_of(ids, "trachea")
    highest_pair = z[trachea & (z < 190.5)].max()
    assert np.array_equal(mask(made["paxray++"], "tracheal bifurcation"), trachea & (z <= highest_pair + 10))


def test_a_notch_of_the_hilum_is_not_mediastinum(made):
    ids, (x, y, z) = made["ids"].copy(), made["xyz"]
    notch = anatomy.within(x, -60, -41) & (abs(y + 22) < 2.1) & (abs(z - 140) < 2.1)
    assert notch.sum() == 5
    assert anatomy.mask_of(ids, "lung_lower_lobe_left")[notch].all()
    # A vessel from the mediastinum outward, without a label: no lung in this row but beyond it.
    row = anatomy.within(x, -60, -18) & (abs(y + 22) < 2.1) & (abs(z - 140) < 2.1)
    ids[row] = 0
    derived = derive(made["ct"], LabelVolume(ids, made["ct"].affine, NAMES), read_taxonomy("paxray"))
    assert not (mask(derived, "mediastinum_overall") & notch).any()


@pytest.fixture(scope="module")
def domes(made):
    """Organs that rise beside the heart under a diaphragm of 8 mm, which has no label; masks of them and of it."""
    ids, (x, y, z) = made["ids"].copy(), made["xyz"]
    free = ~anatomy.mask_of(ids, "heart", "aorta", "esophagus")
    rows = anatomy.within(y, -52, 50)
    muscle = anatomy.within(np.abs(x), 20, 68) & rows & anatomy.within(z, 60, 116) & free
    liver = muscle & anatomy.within(x, 20, 60) & (z < 108)
    stomach = muscle & anatomy.within(x, -60, -20) & (z < 108)
    ids[muscle] = 0
    ids[liver], ids[stomach] = anatomy.IDS["liver"], anatomy.IDS["stomach"]
    derived = derive(made["ct"], LabelVolume(ids, made["ct"].affine, NAMES), read_taxonomy("paxray"))
    return {"derived": derived, "organs": liver | stomach, "muscle": muscle & ~liver & ~stomach, "ids": ids}


def test_organs_under_the_lung_and_the_diaphragm_are_not_mediastinum(domes):
    mediastinum = mask(domes["derived"], "mediastinum_overall")
    assert domes["muscle"].sum() > 500
    assert not (mediastinum & domes["organs"]).any()
    assert not (mediastinum & domes["muscle"]).any()


def test_what_lies_between_the_domes_beside_the_heart_is_not_below_the_diaphragm(made, domes):
    x, y, z = made["xyz"]
    region = mask(domes["derived"], "diaphragm")
    between = (np.abs(x) < 20) & anatomy.within(y, -50, 0) & anatomy.within(z, 84, 108) & (domes["ids"] == 0)
    assert between.sum() > 300
    assert not (region & between).any()
    assert (mask(domes["derived"], "mediastinum_overall") & between).sum() == between.sum()
    assert region[domes["organs"]].all()


def test_zones_of_a_lung_below_its_clavicle(made):
    ids, z = made["ids"].copy(), made["xyz"][2]
    lobes = anatomy.mask_of(ids, *RIGHT)
    ids[lobes & (z > 190)] = 0
    lung = anatomy.mask_of(ids, *RIGHT)
    derived = derive(made["ct"], LabelVolume(ids, made["ct"].affine, NAMES), read_taxonomy("paxray++"))
    height = z[lung].max() - z[lung].min()
    assert derived.absent["right apical zone lung"] == "rule 'lung apex': no voxel of right lung is there"
    assert np.array_equal(mask(derived, "right upper zone lung"), lung & (z >= z[lung].max() - height / 3 - 1e-9))
    assert np.array_equal(mask(derived, "right lung base"), lung & (z < z[lung].min() + height / 3 - 1e-9))


@pytest.mark.parametrize("taxonomy", ["paxray", "paxray++"])
def test_axis_order_and_direction_do_not_matter(made, taxonomy):
    affine, classes = made["ct"].affine, read_taxonomy(taxonomy)
    expected = memberships(made[taxonomy], made[taxonomy].labels.array)
    assert len(np.unique(expected)) > 30
    for order, flips in AXIS_ORIENTATIONS[:: 1 if taxonomy == "paxray" else 7]:
        hu, matrix = reoriented(made["ct"].array, affine, order, flips)
        ids, _ = reoriented(made["labels"].array, affine, order, flips)
        derived = derive(Volume(hu, matrix), LabelVolume(ids, matrix, NAMES), classes)
        assert np.array_equal(derived.labels.affine, matrix)
        assert derived.absent == made[taxonomy].absent
        found = given_back(memberships(derived, derived.labels.array), order, flips)
        assert np.array_equal(found, expected), (order, flips)


@pytest.mark.parametrize("scale", [1 / 7, 0.37])
def test_planes_through_voxel_centres_fall_alike_in_every_orientation(scale):
    # The median plane and the disc of T4 lie on voxel centres of this grid; these scales and places make float64 round.
    affine = anatomy.affine_of((-112.0, -94.0, -1.0))
    hu, ids = anatomy.chest(affine)
    x, _, z = anatomy.world(affine, ids.shape)
    assert 0 in x
    assert 179 in z
    affine[:3] *= scale
    affine[:3, 3] += [0.1, 0.7, 0.3]
    classes = read_taxonomy("paxray")
    expected = derive(Volume(hu, affine), LabelVolume(ids, affine, NAMES), classes)
    truth = memberships(expected, expected.labels.array)
    assert np.array_equal(mask(expected, "hemidiaphragm_right"), mask(expected, "diaphragm") & (x >= 0))
    assert np.array_equal(mask(expected, "mediastinum_upper"), mask(expected, "mediastinum_overall") & (z >= 179))
    for order, flips in AXIS_ORIENTATIONS[::5]:
        other, matrix = reoriented(ids, affine, order, flips)
        turned, _ = reoriented(hu, affine, order, flips)
        derived = derive(Volume(turned, matrix), LabelVolume(other, matrix, NAMES), classes)
        assert np.array_equal(given_back(memberships(derived, derived.labels.array), order, flips), truth)


def test_half_spaces_are_the_patients_on_an_oblique_grid():
    # Gantry tilt and a turned table: the planes stay level in the patient, not along the grid.
    affine = anatomy.affine_of()
    angle = np.radians(8)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0.1], [np.sin(angle), np.cos(angle), 0], [0, 0.15, 1]])
    affine[:3, :3] = turn * anatomy.SPACING
    affine[:3, 3] = -affine[:3, :3] @ (np.array(anatomy.SHAPE) / 2) + [0, 0, 132]
    hu, ids = anatomy.chest(affine)
    derived = derive(Volume(hu, affine), LabelVolume(ids, affine, NAMES), read_taxonomy("paxray"))
    x, y, z = anatomy.world(affine, ids.shape)
    upper, lower = mask(derived, "mediastinum_upper"), mask(derived, "mediastinum_lower")
    assert z[upper].min() > z[lower].max()
    assert abs(z[upper].min() - T4_T5) < anatomy.SPACING
    right, left = mask(derived, "hemidiaphragm_right"), mask(derived, "hemidiaphragm_left")
    assert x[right].min() > x[left].max()
    assert abs(x[right].min()) < anatomy.SPACING
    front, back = mask(derived, "rib_right_anterior_5"), mask(derived, "rib_right_posterior_5")
    assert y[front].min() > y[back].max()


def test_a_ct_on_another_grid_gives_the_same_vessels(made):
    affine = made["ct"].affine
    # The same voxel centres in a grid of another order and extent.
    padded = np.pad(made["ct"].array, 3, constant_values=-1000)
    shifted = affine.copy()
    shifted[:3, 3] -= affine[:3, :3] @ [3, 3, 3]
    array, matrix = reoriented(padded, shifted, (2, 0, 1), (True, False, True))
    derived = derive(Volume(array, matrix), made["labels"], read_taxonomy("paxray"))
    for side in ("left", "right"):
        name = f"lung_{side}_vessel"
        assert np.array_equal(mask(derived, name), mask(made["paxray"], name))


@pytest.mark.parametrize("cut", [False, True])
def test_a_finer_or_smaller_ct_gives_the_vessels_of_its_nearest_voxels(made, cut):
    affine, hu = made["ct"].affine, made["ct"].array
    if cut:
        # It ends in the middle of both lungs; what is outside is air.
        matrix, array = affine.copy(), hu[:, :, 30:]
        matrix[:3, 3] += affine[:3, :3] @ [0, 0, 30]
        outside = hu.copy()
        outside[:, :, :30] = -1000
        expected = derive(Volume(outside, affine), made["labels"], read_taxonomy("paxray"))
    else:
        # Each voxel is 3 x 3 x 3 smaller ones, of which the middle one has its centre.
        array = hu.repeat(3, axis=0).repeat(3, axis=1).repeat(3, axis=2)
        matrix = affine @ np.diag([1 / 3, 1 / 3, 1 / 3, 1])
        matrix[:3, 3] -= affine[:3, :3] @ [1 / 3, 1 / 3, 1 / 3]
        expected = made["paxray"]
    derived = derive(Volume(array, matrix), made["labels"], read_taxonomy("paxray"))
    for side in ("left", "right"):
        name = f"lung_{side}_vessel"
        assert mask(expected, name).any()
        assert np.array_equal(mask(derived, name), mask(expected, name))


def test_a_partition_is_the_part_of_the_grid_that_has_labels_and_one_voxel_around_it(made):
    ids = np.where(made["ids"] == anatomy.IDS["heart"], made["ids"], 0)
    corner = np.zeros_like(ids)
    corner[-2:, 0, 5] = anatomy.IDS["heart"]
    corner[-1, 0, 6] = anatomy.IDS["liver"]
    for array in (ids, corner, np.zeros_like(ids)):
        for order, flips in AXIS_ORIENTATIONS[::5]:
            turned, matrix = reoriented(array, made["ct"].affine, order, flips)
            partition = Partition(LabelVolume(turned, matrix, NAMES), made["ct"])
            there = np.argwhere(array) if array.any() else None
            if there is not None:
                first = np.maximum(there.min(axis=0) - 1, 0)
                stop = np.minimum(there.max(axis=0) + 2, array.shape)
                part = array[tuple(slice(a, b) for a, b in zip(first, stop, strict=True))]
                assert np.array_equal(partition.array, part)
                assert np.allclose(partition.affine[:3, 3], (made["ct"].affine @ [*first, 1])[:3])
            given, affine = partition.as_given()
            assert np.array_equal(given, turned)
            assert np.array_equal(affine, matrix)


def padded(volume_array, affine, widths, value):
    moved = affine.copy()
    moved[:3, 3] -= affine[:3, :3] @ [before for before, _ in widths]
    return np.pad(volume_array, widths, constant_values=value), moved


@pytest.mark.parametrize("scale", [1.0, 0.37])
@pytest.mark.parametrize("taxonomy", ["paxray", "paxray++"])
def test_background_around_the_labels_changes_nothing(made, sample, taxonomy, scale):
    classes = read_taxonomy(taxonomy)
    # Without bones around them the lungs are the outermost labels, beside which the mediastinum's rule looks.
    lungs_outermost = np.where(anatomy.mask_of(made["ids"], *RIGHT, *LEFT, "heart", "vertebrae_T7"), made["ids"], 0)
    cases = (
        (made["ct"].array, made["ids"], made["ct"].affine, NAMES),
        (made["ct"].array, lungs_outermost, made["ct"].affine, NAMES),
        (sample[0].array, sample[1].array, sample[0].affine, dict(sample[1].names)),
    )
    for hu, ids, given, names in cases:
        affine = given.copy()
        affine[:3] *= scale
        alone = derive(Volume(hu, affine), LabelVolume(ids, affine, names), classes)
        for widths in (((1, 1), (1, 1), (1, 1)), ((7, 40), (33, 2), (11, 64))):
            more_hu, moved = padded(hu, affine, widths, -1000)
            more_ids, _ = padded(ids, affine, widths, 0)
            derived = derive(Volume(more_hu, moved), LabelVolume(more_ids, moved, names), classes)
            assert derived.absent == alone.absent
            expected = np.pad(memberships(alone, alone.labels.array), widths)
            assert np.array_equal(memberships(derived, derived.labels.array), expected)


def test_background_around_the_labels_takes_a_byte_a_voxel_and_only_in_the_end(made):
    peaks = []
    for width in (0, 40):
        widths = ((width, width),) * 3
        hu, affine = padded(made["ct"].array, made["ct"].affine, widths, -1000)
        ids, _ = padded(made["ids"], made["ct"].affine, widths, 0)
        ct, labels = Volume(hu, affine), LabelVolume(ids, affine, NAMES)
        tracemalloc.start()
        try:
            derived = derive(ct, labels, read_taxonomy("paxray"))
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    # 13 times the voxels.
    assert derived.labels.array.dtype == np.uint8
    assert peaks[1] < 1.5 * peaks[0] + ids.size


def test_more_than_255_parts_are_kept_apart(made):
    rng = np.random.default_rng(7)
    ids = np.sort(rng.integers(0, 201, (20, 20, 20)), axis=0).astype(np.uint8)
    partition = Partition(LabelVolume(ids, np.eye(4), {n: f"s{n}" for n in range(1, 201)}), made["ct"])
    assert partition.array.dtype == np.uint8
    whole = (slice(0, 20), slice(0, 20), slice(0, 20))
    expected = {}
    for position in range(30):
        # Some cuts of one structure, some of many, and some that take all of what they cut.
        of = [position + 1] if position % 3 else list(range(1, 201, 1 + position % 7))
        names = [f"s{number}" for number in of]
        where = np.ones((1, 1, 1), bool) if position % 5 == 4 else rng.random((20, 20, 20)) < 0.5
        if partition.add(f"cut{position}", Cut(partition.need(*names), whole, where)):
            expected[f"cut{position}"] = np.isin(ids, of) & where
    assert partition.array.dtype == np.uint16
    for name, truth in expected.items():
        assert np.array_equal(np.isin(partition.array, list(partition.numbers[name])), truth), name
    for number in range(1, 201):
        structure = np.isin(partition.array, list(partition.numbers[f"s{number}"]))
        assert np.array_equal(structure, ids == number)
    kept = partition.array.copy()
    # A number stands for voxels: one that a cut took all of goes on as the cut's.
    assert np.unique(kept).tolist() == list(range(partition.count))
    assert np.array_equal(partition.as_given()[0], kept)


def test_what_is_missing_is_absent_with_its_reason(made):
    absent = made["paxray"].absent
    assert absent["l6"] == "no segmentation that this taxonomy knows has it"
    assert absent["c1"] == "the labels have none of vertebrae_C1"
    assert absent["rib_left_anterior_1"] == "rule 'rib anterior': needs rib_left_1"
    present = set(made["paxray"].labels.names.values())
    assert present.isdisjoint(absent)
    assert present | set(absent) == set(read_taxonomy("paxray").names)


@pytest.mark.parametrize(
    ("without", "name", "reason"),
    [
        (("vertebrae_T5",), "mediastinum_upper", "needs vertebrae_T5"),
        (("heart",), "mediastinum_overall", "needs heart"),
        (("heart",), "mediastinum_upper", "needs mediastinum_overall"),
        (tuple(n for n in anatomy.IDS if n.startswith("vertebrae_")), "hemidiaphragm_left", "needs a vertebra"),
        (("liver",), "diaphragm", "the labels have none of liver"),
        (("liver",), "hemidiaphragm_right", "needs diaphragm"),
        (("liver",), "mediastinum_overall", "the labels have none of liver"),
        (("aorta",), "mediastinum_anterior", "the labels have none of aorta"),
        (LEFT, "mediastinum_overall", "needs lung_left"),
        (LEFT, "lung_left_vessel", "needs lung_left"),
        (("aorta",), "aorta_arch", "needs aorta"),
    ],
)
def test_a_missing_landmark_is_named(made, without, name, reason):
    ids = made["ids"].copy()
    ids[anatomy.mask_of(ids, *without)] = 0
    derived = derive(made["ct"], LabelVolume(ids, made["ct"].affine, NAMES), read_taxonomy("paxray"))
    assert reason in derived.absent[name]
    assert name not in derived.labels.names.values()


@pytest.mark.parametrize(("taxonomy", "region"), [("paxray", "mediastinum_overall"), ("paxray++", "cardiomediastinum")])
def test_the_left_appendage_alone_is_no_heart(made, taxonomy, region):
    names = {label_id: "atrial_appendage_left" if name == "heart" else name for label_id, name in NAMES.items()}
    derived = derive(made["ct"], LabelVolume(made["ids"], made["ct"].affine, names), read_taxonomy(taxonomy))
    assert derived.absent["heart"] == "the labels have none of heart, heart_myocardium"
    assert "needs heart" in derived.absent[region]
    chambers = {label_id: "heart_myocardium" if name == "heart" else name for label_id, name in NAMES.items()}
    derived = derive(made["ct"], LabelVolume(made["ids"], made["ct"].affine, chambers), read_taxonomy(taxonomy))
    assert (mask(derived, "heart") == anatomy.mask_of(made["ids"], "heart")).all()


def test_an_aorta_without_two_limbs_has_no_parts(made):
    ids = made["ids"].copy()
    ids[anatomy.mask_of(ids, "aorta") & (made["xyz"][2] > 150)] = 0
    derived = derive(made["ct"], LabelVolume(ids, made["ct"].affine, NAMES), read_taxonomy("paxray"))
    for part in ("ascending", "arch", "descending"):
        assert "its two limbs lie apart in fewer than three slices" in derived.absent[f"aorta_{part}"]


def test_a_rule_that_finds_nothing_makes_no_empty_class(made):
    hu = np.where(made["ct"].array > -500, -900, made["ct"].array)
    derived = derive(Volume(hu, made["ct"].affine), made["labels"], read_taxonomy("paxray"))
    assert derived.absent["lung_left_vessel"] == "rule 'lung vessels': no voxel of lung_left is there"


def test_vessels_need_hounsfield_units(made):
    ct = Volume(np.full(made["ids"].shape, 0.02, np.float32), made["ct"].affine, unit="1/mm")
    derived = derive(ct, made["labels"], read_taxonomy("paxray"))
    assert "needs a CT in HU" in derived.absent["lung_left_vessel"]


def test_labels_named_otherwise_are_refused(made):
    with pytest.raises(ValueError, match="none of the 166 classes of 'paxray' can be made; the labels have 11, 12"):
        derive(made["ct"], LabelVolume(made["ids"], made["ct"].affine), read_taxonomy("paxray"))


def test_large_ids_overlaps_and_groups_are_sources_as_well(made):
    names = {number * 100_000: name for number, name in NAMES.items()}
    table = np.arange(256, dtype=np.int64) * 100_000
    sparse = LabelVolume(table[made["ids"]], made["ct"].affine, names)
    derived = derive(made["ct"], sparse, read_taxonomy("paxray"))
    expected = memberships(made["paxray"], made["paxray"].labels.array)
    assert np.array_equal(memberships(derived, derived.labels.array), expected)

    masks = {name: made["ids"] == number for name, number in anatomy.IDS.items()}
    masks["heart"] = masks["heart"] | masks["esophagus"]
    overlapping = LabelVolume.from_masks(masks, made["ct"].affine)
    classes = tuple(AnatomyClass(name, "x", sources=(name,)) for name in ("heart", "esophagus"))
    derived = derive(made["ct"], overlapping, Taxonomy("two", classes))
    assert np.array_equal(mask(derived, "heart"), masks["heart"])
    assert np.array_equal(mask(derived, "esophagus"), masks["esophagus"])

    grouped = made["labels"].with_groups({"gut": ["esophagus", "stomach"]})
    gut = Taxonomy("gut", (AnatomyClass("tract", "x", sources=("gut",)),), ("gut",))
    assert np.array_equal(mask(derive(made["ct"], grouped, gut), "tract"), masks["esophagus"] | masks["stomach"])


def test_structures_not_selected_are_not_there(made):
    classes = Taxonomy("two", tuple(AnatomyClass(name, "x", sources=(name,)) for name in ("heart", "liver")))
    for offset in (0, 60_000, 3_000_000):
        ids = np.where(made["ids"], made["ids"] + np.int64(offset), 0)
        labels = LabelVolume(ids, made["ct"].affine, {number + offset: name for number, name in NAMES.items()})
        derived = derive(made["ct"], labels.subset(["heart", "lung_lower_lobe_left"]), classes)
        assert derived.absent == {"liver": "the labels have none of liver"}
        assert np.array_equal(derived.labels.array != 0, made["ids"] == anatomy.IDS["heart"])


def test_ids_follow_the_order_of_the_taxonomy(made):
    for taxonomy in ("paxray", "paxray++"):
        labels = made[taxonomy].labels
        present = [name for name in read_taxonomy(taxonomy).names if name not in made[taxonomy].absent]
        assert [labels.names[label_id] for label_id in labels.label_ids] == present


def test_the_input_stays_as_it_was(made):
    assert np.array_equal(made["labels"].array, anatomy.chest(made["ct"].affine)[1])
    assert not np.shares_memory(made["paxray"].labels.array, made["labels"].array)


def test_toward_ras_finds_the_nearest_axes():
    rng = np.random.default_rng(3)
    array = rng.integers(0, 100, (3, 4, 5))
    for order, flips in AXIS_ORIENTATIONS:
        turned, matrix = reoriented(array, np.diag([1.0, 2.0, 3.0, 1.0]), order, flips)
        view, affine = toward_ras(turned, matrix)
        assert np.array_equal(view, array)
        assert np.allclose(affine, np.diag([1.0, 2.0, 3.0, 1.0]))


def test_the_sample_gives_the_same_classes_in_other_orientations(sample):
    ct, labels = sample
    classes = read_taxonomy("paxray")
    first = derive(ct, labels, classes)
    expected = memberships(first, first.labels.array)
    assert len(first.absent) == 11
    for order, flips in (((2, 1, 0), (True, False, False)), ((1, 0, 2), (False, True, True))):
        hu, matrix = reoriented(ct.array, ct.affine, order, flips)
        ids, _ = reoriented(labels.array, labels.affine, order, flips)
        derived = derive(Volume(hu, matrix), LabelVolume(ids, matrix, dict(labels.names)), classes)
        assert derived.absent == first.absent
        assert np.array_equal(given_back(memberships(derived, derived.labels.array), order, flips), expected)


def test_the_sample_is_anatomically_plausible(sample):
    ct, labels = sample
    derived = derive(ct, labels, read_taxonomy("paxray"))
    x, y, z = anatomy.world(derived.labels.affine, ct.shape)
    middle = {}
    for name in derived.labels.names.values():
        inside = np.nonzero(mask(derived, name))
        middle[name] = [coordinate[inside].mean() for coordinate in (x, y, z)]
    for name in middle:
        # The left lung has no middle lobe.
        if "right" in name and "lobemiddle" not in name:
            assert middle[name][0] > middle[name.replace("right", "left")][0], name
    for n in range(1, 13):
        for side in ("left", "right"):
            assert middle[f"rib_{side}_anterior_{n}"][1] > middle[f"rib_{side}_posterior_{n}"][1]
    assert middle["mediastinum_anterior"][1] > middle["mediastinum_middle"][1] > middle["mediastinum_posterior"][1]
    assert middle["aorta_ascending"][1] > middle["aorta_descending"][1]
    assert middle["aorta_arch"][2] > middle["aorta_ascending"][2] > middle["aorta_descending"][2]
    assert middle["mediastinum_upper"][2] > middle["mediastinum_lower"][2] > middle["diaphragm"][2]


@pytest.mark.parametrize("taxonomy", ["paxray", "paxray++"])
def test_classes_lie_in_their_super_classes(sample, taxonomy):
    classes = read_taxonomy(taxonomy)
    derived = derive(*sample, classes)
    beyond = {"aorta", "airways", "trachea", "esophagus"}
    checked = 0
    for one in classes.classes:
        if one.super_class and one.name not in beyond and one.name not in derived.absent:
            assert not (mask(derived, one.name) & ~mask(derived, one.super_class)).any(), one.name
            checked += 1
    assert checked > 100


def test_no_rule_looks_at_the_whole_volume_for_each_class(sample, monkeypatch):
    ct, labels = sample
    looked_at = []

    def counting(method):
        def counted(self, name_or_numbers, where):
            box = getattr(where, "box", where)  # of a cut, or a box itself
            looked_at.append(np.prod([part.stop - part.start for part in box], dtype=np.int64))
            return method(self, name_or_numbers, where)

        return counted

    for name in ("mask", "add"):
        monkeypatch.setattr(Partition, name, counting(getattr(Partition, name)))
    derive(ct, labels, read_taxonomy("paxray"))
    assert len(looked_at) > 50
    # Together 3.4 volumes; whole-volume work for each of these classes would be 60 of them.
    assert sum(looked_at) < 10 * labels.array.size


def test_arguments_in_another_order_are_refused(sample):
    ct, labels = sample
    with pytest.raises(TypeError, match="ct must be of type Volume; got LabelVolume"):
        derive(labels, ct, read_taxonomy("paxray"))
    with pytest.raises(TypeError, match="taxonomy must be of type Taxonomy; got str"):
        derive(ct, labels, "paxray")
