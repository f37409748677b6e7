"""Each rule finds its disturbance of the bundled chest, and nothing in the chest itself."""

from __future__ import annotations

import dataclasses
import itertools
import json

import numpy as np
import pytest

import drrproj
from drrproj.dataset.measured_case import measured_case
from drrproj.dataset.quality import RULES, Finding, QualityLimits, findings
from drrproj.io.sample import read_sample

CT, LABELS = read_sample()  # axes towards left, anterior, superior; 3 mm; lungs hold -870 HU
ID = {name: label_id for label_id, name in LABELS.names.items()}


def with_hu(array):
    return drrproj.Volume(array, CT.affine)


def with_ids(array, names=None):
    return drrproj.LabelVolume(array, LABELS.affine, LABELS.names if names is None else names)


def without(*names):
    return with_ids(np.where(np.isin(LABELS.array, [ID[name] for name in names]), 0, LABELS.array))


def renamed(change):
    return with_ids(LABELS.array, {label_id: change(name) for label_id, name in LABELS.names.items()})


def messages(found, rule, severity="drop"):
    return [finding.message for finding in found if (finding.rule, finding.severity) == (rule, severity)]


def rules(found, severity="drop"):
    return {finding.rule for finding in found if finding.severity == severity}


def swapped(name):
    # There is one middle lobe only; without it the case would be dropped for that.
    return name if "middle" in name else name.replace("left", "@").replace("right", "left").replace("@", "right")


def mirrored(values, axis=0):
    flip = np.eye(4)
    flip[axis, axis] = -1
    kind = type(values)
    return kind(values.array, flip @ values.affine, values.names if kind is drrproj.LabelVolume else "HU")


def test_the_bundled_chest_is_kept_and_what_is_odd_about_it_is_said():
    found = findings(CT, LABELS)
    assert rules(found) == set()
    # Its CT ends at the shoulders, the contrast medium in the vein is as dense as metal, and it lies on a couch.
    assert [finding.rule for finding in found] == ["cut_bone", "metal", "couch"]
    assert "superior border" in found[0].message


@pytest.mark.parametrize(
    ("axes", "flips"), [*itertools.product([(2, 0, 1), (1, 2, 0)], [(), (0,), (0, 1, 2)]), ((0, 1, 2), (1, 2))]
)
def test_axis_order_and_flips_of_the_arrays_change_nothing(axes, flips):
    def stored_otherwise(values):
        matrix = np.eye(4)
        array = values.array
        for axis in flips:
            array = np.flip(array, axis)
            matrix[axis, axis], matrix[axis, 3] = -1, values.shape[axis] - 1
        affine = values.affine @ matrix
        return np.ascontiguousarray(array.transpose(axes)), affine[:, [*axes, 3]]

    array, affine = stored_otherwise(CT)
    ids, id_affine = stored_otherwise(without("rib_left_5", "lung_middle_lobe_right"))
    expected = findings(CT, without("rib_left_5", "lung_middle_lobe_right"))
    assert findings(drrproj.Volume(array, affine), drrproj.LabelVolume(ids, id_affine, LABELS.names)) == expected


def test_too_few_ribs():
    found = findings(CT, without("rib_left_10", "rib_left_11", "rib_left_12"))
    assert rules(found) == {"few_ribs"}
    assert messages(found, "few_ribs") == ["9 left ribs; at least 10 needed"]


def test_a_crumb_is_no_rib():
    array = without("rib_right_10", "rib_right_11", "rib_right_12").array.copy()
    array[60, 60, 2:5] = ID["rib_right_12"]  # 3 voxels, 0.08 ml
    assert messages(findings(CT, with_ids(array)), "few_ribs") == ["9 right ribs; at least 10 needed"]


def test_too_few_vertebrae():
    found = findings(CT, without(*(f"vertebrae_T{n}" for n in (1, 2, 3))))
    assert rules(found) == {"few_vertebrae"}
    assert messages(found, "few_vertebrae") == ["9 thoracic vertebrae; at least 10 needed"]


def test_gaps_in_the_numbering():
    found = findings(CT, without("rib_left_5", "vertebrae_T6", "vertebrae_T7"))
    assert messages(found, "numbering_gap") == [
        "vertebrae_T6, vertebrae_T7 missing between vertebrae_T1 and vertebrae_T12",
        "rib_left_5 missing between rib_left_1 and rib_left_12",
    ]


def test_a_missing_and_a_nearly_missing_lobe():
    array = without("lung_middle_lobe_right").array.copy()
    place = np.argwhere(array == ID["lung_upper_lobe_left"])
    assert place[1481:].size
    array[tuple(place[1481:].T)] = 0  # 1481 voxels of 27 mm3: 39.99 ml
    assert messages(findings(CT, with_ids(array)), "missing_lobe") == [
        "lung_upper_lobe_left has 39.99 ml; each lobe needs 40",
        "lung_middle_lobe_right has 0 ml; each lobe needs 40",
    ]


@pytest.mark.parametrize(
    ("organ", "structures"),
    [("heart", ["heart"]), ("aorta", ["aorta"]), ("trachea", ["trachea"]), ("liver", ["liver"])],
)
def test_an_organ_that_every_chest_has_is_missed(organ, structures):
    said = f"{organ} has 0.0 ml; a chest has 5 at least"
    labels = without(*structures)
    assert messages(findings(CT, labels), "missing_organ", "warn") == [said]
    assert messages(findings(CT, labels, QualityLimits(drop=("missing_organ",))), "missing_organ") == [said]
    assert messages(findings(CT, labels, QualityLimits(least_organ_ml=0)), "missing_organ", "warn") == []


def test_a_crumb_is_no_liver_and_chambers_are_a_heart():
    array = without("liver").array.copy()
    array[tuple(np.argwhere(LABELS.array == ID["liver"])[0])] = ID["liver"]
    assert messages(findings(CT, with_ids(array)), "missing_organ", "warn") == [
        "liver has 0.0 ml; a chest has 5 at least"
    ]
    chambers = renamed(lambda name: "heart_myocardium" if name == "heart" else name)
    assert messages(findings(CT, chambers), "missing_organ", "warn") == []


def test_numbers_mixed_up():
    exchange = {"vertebrae_T5": "vertebrae_T6", "vertebrae_T6": "vertebrae_T5"}
    exchange |= {"rib_left_7": "rib_left_9", "rib_left_9": "rib_left_7"}
    exchange |= {"lung_upper_lobe_right": "lung_lower_lobe_right", "lung_lower_lobe_right": "lung_upper_lobe_right"}
    found = findings(CT, renamed(lambda name: exchange.get(name, name)))
    assert rules(found) == {"wrong_order"}
    assert [message.split(" lies")[0] for message in messages(found, "wrong_order")] == [
        "vertebrae_T6",
        "rib_left_8",
        "rib_left_9",
        "lung_lower_lobe_right",
    ]


def test_contradictory_overlaps():
    masks = {name: LABELS.array == label_id for name, label_id in ID.items()}
    assert messages(findings(CT, drrproj.LabelVolume.from_masks(masks, CT.affine)), "overlap") == []
    masks["spleen"] = masks["spleen"].copy()
    lobe = np.argwhere(masks["lung_lower_lobe_left"])[:1000]  # 27 ml
    masks["spleen"][tuple(lobe.T)] = True
    masks["heart_chamber"] = masks["heart"]  # a part within its whole contradicts nothing
    found = findings(CT, drrproj.LabelVolume.from_masks(masks, CT.affine))
    assert rules(found) == {"overlap"}
    spleen_ml = 27e-3 * np.count_nonzero(masks["spleen"])
    assert messages(found, "overlap") == [
        f"spleen and lung_lower_lobe_left share 27.0 ml, {27 / spleen_ml:.0%} of the smaller one"
    ]


@pytest.mark.parametrize(
    ("cut", "side"),
    [
        (np.s_[:, :, 50:], "inferior"),
        (np.s_[:, :, :85], "superior"),
        (np.s_[45:], "right"),  # the first axis runs from the patient's right to the left
        (np.s_[:, 45:], "posterior"),
    ],
)
def test_a_cut_chest(cut, side):
    origin = CT.affine @ [*(part.start or 0 for part in (*np.index_exp[cut], *[slice(None)] * 3)[:3]), 1]
    affine = CT.affine.copy()
    affine[:, 3] = origin
    found = findings(
        drrproj.Volume(CT.array[cut], affine), drrproj.LabelVolume(LABELS.array[cut], affine, LABELS.names)
    )
    (message,) = [text for text in messages(found, "cut_chest") if "lungs" in text]
    assert f"reach the {side} border" in message
    area = float(message.split(" with ")[1].split(" cm2")[0])
    lungs = np.isin(LABELS.array[cut], [label_id for name, label_id in ID.items() if name.startswith("lung_")])
    face = {"inferior": lungs[:, :, 0], "superior": lungs[:, :, -1], "right": lungs[0], "posterior": lungs[:, 0]}[side]
    assert area == pytest.approx(np.count_nonzero(face) * 0.09, abs=0.05)


def test_overlapping_structures_count_once_at_the_border():
    array = np.zeros((20, 20, 20), np.uint8)
    array[0, 5:13, 5:10] = 3  # 40 voxels of 9 mm2
    ct = drrproj.Volume(np.full(array.shape, -800, np.int16), np.diag([3.0, 3, 3, 1]))
    names = {1: "lung_upper_lobe_left", 2: "lung_left"}
    labels = drrproj.LabelVolume(array, ct.affine, names, overlaps={3: (1, 2)})
    assert messages(findings(ct, labels), "cut_chest") == []
    assert messages(findings(ct, labels, QualityLimits(chest_border_cm2=3)), "cut_chest") == [
        "the lungs (lung_upper_lobe_left, lung_left) reach the left border with 3.6 cm2, more than 3"
    ]


def test_the_edge_of_a_round_field_of_view_is_a_border():
    x, y = np.ogrid[:120, :120]
    outside = (x - 60) ** 2 + (y - 60) ** 2 > 36**2
    array = CT.array.copy()
    array[outside] = -2048
    ids = np.where(outside[:, :, None], 0, LABELS.array)
    found = findings(with_hu(array), with_ids(ids))
    assert any("the lungs" in message for message in messages(found, "cut_chest"))
    assert messages(found, "cut_body", "warn")
    assert messages(findings(CT, LABELS), "cut_body", "warn") == []


def test_bones_at_the_border():
    found = findings(CT, LABELS)
    (message,) = messages(found, "cut_bone", "warn")
    bones = [label_id for name, label_id in ID.items() if name.startswith(("rib_", "scapula", "clavicula", "sternum"))]
    area = np.count_nonzero(np.isin(LABELS.array[:, :, -1], bones)) * 0.09
    assert f"superior border with {area:.1f} cm2" in message


def test_labels_of_another_place():
    moved = LABELS.affine.copy()
    moved[2, 3] += 200
    found = findings(CT, drrproj.LabelVolume(LABELS.array, moved, LABELS.names))
    assert {"outside_ct", "implausible_hu"} <= rules(found)
    elsewhere = LABELS.affine.copy()
    elsewhere[2, 3] += 5000
    assert messages(findings(CT, drrproj.LabelVolume(LABELS.array, elsewhere, LABELS.names)), "outside_ct") == [
        "100% of the labelled voxels lie outside the CT; at most 2% may"
    ]


def test_a_share_is_printed_as_exactly_as_tells_it_from_its_limit():
    array = np.zeros((100, 100, 10), np.uint8)
    array[:] = ID["liver"]
    beyond = drrproj.Volume(np.zeros((100, 98, 10), np.int16), np.eye(4))
    labels = drrproj.LabelVolume(array, np.eye(4), LABELS.names)
    assert messages(findings(beyond, labels), "outside_ct") == []
    array = np.append(array, np.zeros_like(array[:1]), axis=0)
    array[100, :10, 0] = ID["liver"]  # 10 voxels of 100,010 more
    labels = drrproj.LabelVolume(array, np.eye(4), LABELS.names)
    assert messages(findings(beyond, labels), "outside_ct") == [
        "2.01% of the labelled voxels lie outside the CT; at most 2% may"
    ]
    assert messages(findings(beyond, labels, QualityLimits(outside_share=0.0155)), "outside_ct") == [
        "2% of the labelled voxels lie outside the CT; at most 1.55% may"
    ]
    assert messages(findings(beyond, labels, QualityLimits(outside_share=0.0200095)), "outside_ct") == [
        "2.01% of the labelled voxels lie outside the CT; at most 2.00095% may"
    ]


@pytest.mark.parametrize(("hu", "printed"), [(300.25, "300.2"), (-50.001, "-50.001"), (-51, "-51")])
def test_a_median_is_printed_as_exactly_as_tells_it_from_its_range(hu, printed):
    ct = drrproj.Volume(np.full((5, 5, 5), hu, np.float32), np.eye(4))
    labels = drrproj.LabelVolume(np.ones((5, 5, 5), np.uint8), np.eye(4), {1: "liver"})
    assert messages(findings(ct, labels), "implausible_hu") == [f"liver: median {printed} HU is not within -50 to 300"]


def test_labels_without_voxels_lie_nowhere_outside():
    empty = np.zeros((30, 30, 30), np.uint8)
    found = findings(CT, drrproj.LabelVolume(empty, LABELS.affine, LABELS.names))
    assert rules(found) == {"few_ribs", "few_vertebrae", "missing_lobe"}


def test_labels_on_a_finer_grid_are_judged_at_the_same_places():
    finer = np.repeat(np.repeat(LABELS.array, 2, axis=0), 2, axis=2)
    halves = CT.affine @ np.array([[0.5, 0, 0, -0.25], [0, 1, 0, 0], [0, 0, 0.5, -0.25], [0, 0, 0, 1]])
    found = findings(CT, drrproj.LabelVolume(finer, halves, LABELS.names))
    assert found == findings(CT, LABELS)


def test_stored_values_that_are_no_hu():
    found = findings(with_hu(CT.array + 1024), LABELS)
    assert rules(found) == {"implausible_hu"}
    assert "the rescale intercept was not applied" in messages(found, "implausible_hu")[0]
    grey = np.clip((CT.array + 1024) / 4096 * 255, 0, 255).astype(np.uint8)
    assert "implausible_hu" in rules(findings(with_hu(grey), LABELS))
    unknown = CT.array.astype(np.float32)
    unknown[:, :, 40:] = np.nan
    assert any("not a number" in message for message in messages(findings(with_hu(unknown), LABELS), "implausible_hu"))


@pytest.mark.parametrize(("axis", "mm"), [(0, -30), (1, 30), (1, -60), (2, -30), (2, 100), (2, -100)])
def test_labels_beside_the_anatomy_do_not_tell_of_the_intercept(axis, mm):
    moved = LABELS.affine.copy()
    moved[axis, 3] += mm
    told = messages(findings(CT, drrproj.LabelVolume(LABELS.array, moved, LABELS.names)), "implausible_hu")
    (of_trachea,) = [message for message in told if message.startswith("trachea")]
    assert of_trachea.endswith("HU is not within -1100 to -500")
    assert not any("intercept" in message for message in told)


def test_one_structure_alone_does_not_tell_of_the_intercept():
    trachea = LABELS.subset(["trachea"])
    (message,) = messages(findings(with_hu(CT.array + 1024), trachea), "implausible_hu")
    assert message.endswith("HU is not within -1100 to -500")


def with_nan(place):
    array = CT.array.astype(np.float32)
    array[place] = np.nan
    return with_hu(array)


def test_slices_that_are_not_a_number_drop_a_case():
    found = findings(with_nan(np.s_[:, :, 50:56]), LABELS)
    assert rules(found) == {"unmeasured"}
    share = np.count_nonzero(LABELS.array[:, :, 50:56]) / np.count_nonzero(LABELS.array)
    assert messages(found, "unmeasured") == [
        f"{share:.0%} of the labelled voxels are not a number in the CT, and count as air; at most 2% may"
    ]
    allowed = findings(with_nan(np.s_[:, :, 50:56]), LABELS, QualityLimits(unmeasured_share=0.2))
    assert rules(allowed) == set()


def test_few_voxels_that_are_not_a_number_are_said():
    holes = np.random.default_rng(0).random(CT.shape) < 1e-4
    found = findings(with_nan(holes), LABELS)
    assert rules(found) == set()
    assert messages(found, "not_a_number", "warn") == [
        f"{np.count_nonzero(holes)} of the {CT.array.size} voxels of the CT are not a number, and count as air"
    ]


def test_nan_around_a_round_field_of_view_lies_in_no_label():
    body = np.argwhere(LABELS.array).min(axis=0)[1]
    assert body > 0
    found = findings(with_nan(np.s_[:, :body]), LABELS)
    assert rules(found) == set()
    assert len(messages(found, "not_a_number", "warn")) == 1


def test_nan_under_labels_on_another_grid_is_counted():
    half = drrproj.LabelVolume(LABELS.array[::2], LABELS.affine @ np.diag([2, 1, 1, 1]), LABELS.names)
    share = np.count_nonzero(half.array[:, :, 50:56]) / np.count_nonzero(half.array)
    (message,) = messages(findings(with_nan(np.s_[:, :, 50:56]), half), "unmeasured")
    assert message.startswith(f"{share:.0%} of the labelled voxels")


@pytest.mark.parametrize(
    ("scale", "said"),
    [
        (
            (2, 2, 2),
            [
                "vertebrae lie 46.0 mm apart, in people 6 to 38",
                "left and right ribs lie 376 mm apart, in people 40 to 340",
            ],
        ),
        ((1, 1, 1 / 5), ["left and right ribs lie 17.6 vertebrae apart, in people 4 to 14"]),
        ((1, 1, 2.5), ["vertebrae lie 56.8 mm apart", "ribs lie 3.4 vertebrae apart"]),
        ((2, 2, 1), ["left and right ribs lie 375 mm apart"]),
        ((1.2, 1.2, 1.2), []),
        ((0.4, 0.4, 0.4), []),  # a newborn
    ],
    ids=str,
)
def test_voxel_sizes_that_no_chest_fits(scale, said):
    wrong = np.diag([*scale, 1.0]) @ CT.affine
    found = findings(drrproj.Volume(CT.array, wrong), drrproj.LabelVolume(LABELS.array, wrong, LABELS.names))
    told = messages(found, "implausible_size", "warn")
    assert len(told) == len(said)
    for message, part in zip(told, said, strict=True):
        assert part in message
    few = without(*(f"vertebrae_T{n}" for n in range(1, 9))).array
    assert not messages(
        findings(drrproj.Volume(CT.array, wrong), drrproj.LabelVolume(few, wrong, LABELS.names)),
        "implausible_size",
        "warn",
    )


def test_left_and_right_swapped_in_the_names():
    found = findings(CT, renamed(swapped))
    assert rules(found) == {"swapped_sides"}
    (message,) = messages(found, "swapped_sides")
    assert message.endswith("the organs do not: left and right are swapped in the names")


def test_a_mirrored_affine():
    found = findings(mirrored(CT), mirrored(LABELS))
    assert rules(found) == {"swapped_sides"}
    (message,) = messages(found, "swapped_sides")
    assert message.endswith("liver is left of spleen: the affine or the array is mirrored")


def test_a_mirrored_picture_that_was_then_segmented():
    found = findings(mirrored(CT), mirrored(renamed(swapped)))
    assert rules(found) == {"swapped_sides"}
    (message,) = messages(found, "swapped_sides")
    assert message.startswith("liver is left of spleen; liver is left of stomach; liver is left of heart")
    assert "situs inversus" in message


def test_one_pair_swapped():
    exchange = {"kidney_left": "kidney_right", "kidney_right": "kidney_left"}
    found = findings(CT, renamed(lambda name: exchange.get(name, name)))
    assert rules(found) == {"swapped_sides"}
    assert messages(found, "swapped_sides") == ["on the wrong side of their partners: kidney_left"]


@pytest.mark.parametrize(("axis", "said"), [(1, "front and back are exchanged"), (2, "upside down")])
def test_flipped_axes(axis, said):
    found = findings(mirrored(CT, axis), mirrored(LABELS, axis))
    assert "flipped" in rules(found)
    (message,) = messages(found, "flipped")
    assert message.endswith(said)


def test_metal_is_measured():
    clean = np.minimum(CT.array, 2500)
    assert messages(findings(with_hu(clean), LABELS), "metal", "warn") == []
    clean[60:64, 60:64, 60:64] = 3000
    assert messages(findings(with_hu(clean), LABELS), "metal", "warn") == [
        "1.7 ml above 2500 HU; metal or dense contrast medium"
    ]


@pytest.mark.parametrize(
    ("metal_hu", "voxels"), [(-0.5, 3), (0.5, 1), (-1, 3), (0, 1), (-2.5, 4), (-1e5, 4), (32766.5, 0), (1e5, 0)]
)
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_metal_lies_above_a_limit_between_whole_numbers(metal_hu, voxels, dtype):
    hu = np.array([0, 0, -1, 1], dtype).reshape(4, 1, 1)
    ct = drrproj.Volume(hu, np.diag([10, 10, 10, 1]))
    labels = drrproj.LabelVolume(np.ones(hu.shape, np.uint8), ct.affine, {1: "heart"})
    assert measured_case(ct, labels, metal_hu).metal_ml == pytest.approx(voxels)


def test_the_couch_is_seen_where_there_is_one():
    cleared = CT.array.copy()
    back = 17  # the skin of the back is further forward than this everywhere
    assert not LABELS.array[:, :back].any()
    cleared[:, :back] = -1000
    assert messages(findings(with_hu(cleared), LABELS), "couch", "warn") == []
    cleared[:, 2:4] = -200
    assert len(messages(findings(with_hu(cleared), LABELS), "couch", "warn")) == 1


def test_names_of_paxray_are_known():
    def paxray(name):
        parts = name.split("_")
        if parts[0] == "vertebrae":
            return parts[1].lower()
        return f"lung_{parts[3]}_lobe{parts[1]}" if parts[0] == "lung" else name

    assert findings(CT, renamed(paxray)) == findings(CT, LABELS)


def test_labels_that_mean_the_same_are_joined():
    # The upper half of a lobe keeps its name, the lower half has PAXRay's, and some voxels have both.
    lobe, other, both = ID["lung_lower_lobe_left"], max(ID.values()) + 1, max(ID.values()) + 2
    parts = LABELS.array.copy()
    parts[:, :, :50][parts[:, :, :50] == lobe] = other
    parts[:, :, 48:52][np.isin(parts[:, :, 48:52], [lobe, other])] = both
    assert all(np.any(parts == value) for value in (lobe, other, both))
    names = {**LABELS.names, other: "lung_left_lobelower"}
    labels = drrproj.LabelVolume(parts, LABELS.affine, names, overlaps={both: (lobe, other)})
    for limits in (QualityLimits(), QualityLimits(chest_border_cm2=0, least_lobe_ml=1e4)):
        assert findings(CT, labels, limits) == findings(CT, LABELS, limits)


def test_overlaps_of_labels_that_mean_the_same_add_up():
    array = np.zeros((20, 20, 20), np.uint8)
    array[:10], array[10:] = 4, 5
    names = {1: "lung_upper_lobe_left", 2: "heart", 3: "lung_left_lobeupper"}
    ct = drrproj.Volume(np.zeros(array.shape, np.int16), np.eye(4))
    labels = drrproj.LabelVolume(array, ct.affine, names, overlaps={4: (1, 2), 5: (2, 3)})
    assert messages(findings(ct, labels), "overlap") == [
        "lung_upper_lobe_left and heart share 8.0 ml, 100% of the smaller one"
    ]


def test_limits_decide_what_drops_what_warns_and_what_is_not_looked_at():
    labels = without("lung_middle_lobe_right")
    assert rules(findings(CT, labels, QualityLimits(drop=("couch",)))) == {"couch"}
    assert "missing_lobe" in rules(findings(CT, labels, QualityLimits(drop=())), "warn")
    assert findings(CT, labels, QualityLimits(ignore=tuple(RULES))) == ()
    assert messages(findings(CT, labels, QualityLimits(least_lobe_ml=0)), "missing_lobe") == []


def test_the_record_is_json_and_makes_the_limits_again():
    limits = QualityLimits(least_ribs=7, ignore=("metal",))
    record = json.loads(json.dumps(limits.as_record()))
    assert record.keys() == {field.name for field in dataclasses.fields(QualityLimits)}
    assert QualityLimits(**record) == limits


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"drop": ("few_rips",)}, "drop names no rule: 'few_rips'; there are few_ribs, "),
        ({"least_ribs": -1}, "least_ribs must be a finite number from 0; got -1"),
        ({"couch_ml": float("nan")}, "couch_ml must be a finite number from 0; got nan"),
        ({"hu_ranges": (("liver", 100, -100),)}, "the HU range of 'liver' must run from low to high"),
        ({"couch_ml": np.float32("nan")}, "couch_ml must be a finite number from 0; got "),
        ({"metal_ml": "1"}, "metal_ml must be a finite number from 0; got '1'"),
        ({"metal_hu": float("nan")}, "metal_hu must be a finite number; got nan"),
        ({"metal_hu": float("inf")}, "metal_hu must be a finite number; got inf"),
        ({"metal_hu": None}, "metal_hu must be a finite number; got None"),
        ({"hu_ranges": (("(", 0, 1),)}, r"hu_ranges must name structures by regular expressions; got '\(', which is "),
        ({"hu_ranges": (("liver", 0),)}, r"hu_ranges must be a sequence of \(regular expression, lowest HU, highest"),
        ({"hu_ranges": (("liver", "low", 1),)}, "hu_ranges must be a sequence of .*; got .*'low'"),
        ({"hu_ranges": 3}, "hu_ranges must be a sequence of .*; got 3"),
    ],
)
def test_bad_limits_are_refused(arguments, said):
    with pytest.raises(ValueError, match=said) as caught:
        QualityLimits(**arguments)
    assert "\n" not in str(caught.value)


def test_a_negative_hu_may_be_called_metal():
    assert QualityLimits(metal_hu=-100).metal_hu == -100


def test_attenuation_is_refused_and_labels_without_voxels_are_dropped():
    with pytest.raises(ValueError, match="quality is judged in HU; this volume is in 1/mm"):
        findings(drrproj.Volume(CT.array, CT.affine, "1/mm"), LABELS)
    found = findings(CT, with_ids(np.zeros_like(LABELS.array)))
    assert rules(found) == {"few_ribs", "few_vertebrae", "missing_lobe"}
    assert found[0] == Finding("few_ribs", "drop", "0 left ribs; at least 10 needed")


@pytest.mark.parametrize("given", [(LABELS, CT), (CT.array, LABELS), (CT, LABELS.array)])
def test_what_is_no_ct_and_labels_is_a_sentence(given):
    with pytest.raises(TypeError, match=r"^findings takes a Volume and a LabelVolume, in this order; got "):
        findings(*given)
