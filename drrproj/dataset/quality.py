"""Judge a CT and its labels before they become training data: what is wrong, how bad it is, and why."""

from __future__ import annotations

import dataclasses
import itertools
import numbers
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from drrproj.dataset.measured_case import FACES, MeasuredCase, measured_case
from drrproj.label_volume import LabelVolume
from drrproj.volume import Volume

__all__ = ["RULES", "Finding", "QualityLimits", "findings"]

Severity = Literal["drop", "warn"]
_LEAST_SAMPLES = 20

_LOBES = (
    "lung_upper_lobe_left",
    "lung_lower_lobe_left",
    "lung_upper_lobe_right",
    "lung_middle_lobe_right",
    "lung_lower_lobe_right",
)
# Of each, TotalSegmentator's name now and those it had before.
_ORGANS = {
    "heart": re.compile(r"heart(_\w+)?"),
    "aorta": re.compile(r"aorta"),
    "trachea": re.compile(r"trachea|lung_trachea_bronchia"),
    "liver": re.compile(r"liver"),
}
# Bones, lungs and kidneys do not cross the midline; vessels and bowel may.
_SIDED = re.compile(r"(lung|rib|kidney|scapula|clavicula|humerus|hip|femur|adrenal_gland)_(?!cyst)")
# Two of these cannot be in the same place. Parts and wholes (a heart chamber and the heart) can.
_EXCLUSIVE = re.compile(
    r"lung_(upper|middle|lower)_lobe_\w+|vertebrae_[CTL]\d+|rib_(left|right)_\d+|heart|liver|spleen|stomach|pancreas|"
    r"kidney_(left|right)|sternum|(scapula|clavicula|humerus)_(left|right)"
)
# Between centroids, of newborns to the tallest adults: the thoracic spine is 10 to 32 cm long, a chest 9 to 40 cm wide.
_LEVEL_MM, _WIDTH_MM, _WIDTH_IN_LEVELS = (6.0, 38.0), (40.0, 340.0), (4.0, 14.0)
_LEAST_DISTANCES = 4
_BONE = re.compile(r"rib_(left|right)_\d+|sternum|(scapula|clavicula)_(left|right)")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a case.

    Parameters
    ----------
    rule : str
        Name of the rule, a key of ``RULES``.
    severity : {"drop", "warn"}
        Whether the case is to be left out of a dataset, or kept and looked at.
    message : str
        What was found, and the limit it was held to.
    """

    rule: str
    severity: Severity
    message: str


@dataclass(frozen=True)
class QualityLimits:
    """Thresholds of the rules, and which of them drop a case.

    Set them for data that differ on purpose: ``least_ribs=0`` for labels without ribs, ``ignore=("couch",)`` where the
    couch belongs to the picture. PAXRay's own limits are not published ("too few ribs", "contradicting
    segmentations"); these were chosen by us, such that a whole adult chest passes.

    Parameters
    ----------
    least_ribs : int
        Ribs needed on each side.
    least_rib_ml : float
        Less than this is no rib but a crumb, ml.
    least_thoracic_vertebrae : int
        Thoracic vertebrae needed.
    least_lobe_ml : float
        Volume each of the five lung lobes needs, ml; 0 for labels without lobes.
    least_organ_ml : float
        Volume that heart, aorta, trachea and liver each need, ml; 0 for labels without them.
    order_slack_mm : float
        How far a rib or vertebra may lie above the one it should lie below.
    side_margin_mm : float
        Left and right, front and back are judged where centroids are further apart than this.
    overlap_share, overlap_ml : float
        Overlap of structures that exclude each other: the share of the smaller one and the volume that are too much.
    chest_border_cm2 : float
        Area of lungs or heart on the border of the field of view that means they are cut.
    bone_border_cm2 : float
        The same for ribs, sternum, shoulder blades and collar bones.
    body_border_share : float
        Share of the sides of the field of view that may be tissue.
    outside_share : float
        Share of the labels that may lie outside the CT's grid.
    unmeasured_share : float
        Share of the labels that may lie where the CT is not a number.
    metal_hu, metal_ml : float
        HU that only metal (or dense contrast medium) has, and how much of it is worth saying.
    couch_ml : float
        Matter behind the patient's back that is worth saying.
    hu_ranges : sequence of (str, float, float)
        Regular expression of structures, lowest and highest plausible median of their voxels together, HU.
    drop : sequence of str
        Rules whose findings drop a case; those of the others warn.
    ignore : sequence of str
        Rules not to run.

    Raises
    ------
    ValueError
        If ``drop`` or ``ignore`` names no rule, a threshold is no finite number or negative (``metal_hu`` may be
        negative), or a range is upside down, incomplete, or of no regular expression.

    Examples
    --------
    >>> from drrproj.dataset.quality import QualityLimits
    >>> limits = QualityLimits(least_ribs=8, ignore=("couch",))
    >>> limits.as_record()["least_ribs"], limits.as_record()["ignore"]
    (8, ['couch'])
    """

    least_ribs: int = 10
    least_rib_ml: float = 0.3
    least_thoracic_vertebrae: int = 10
    least_lobe_ml: float = 40.0
    least_organ_ml: float = 5.0
    order_slack_mm: float = 5.0
    side_margin_mm: float = 10.0
    overlap_share: float = 0.05
    overlap_ml: float = 1.0
    chest_border_cm2: float = 5.0
    bone_border_cm2: float = 0.5
    body_border_share: float = 0.15
    outside_share: float = 0.02
    unmeasured_share: float = 0.02
    metal_hu: float = 2500.0
    metal_ml: float = 0.5
    couch_ml: float = 50.0
    hu_ranges: tuple[tuple[str, float, float], ...] = (
        (r"lung_\w+_lobe_\w+", -1000.0, -200.0),
        (r"trachea", -1100.0, -500.0),
        (r"liver", -50.0, 300.0),
        (r"spleen", -50.0, 400.0),
        (r"heart\w*", -50.0, 700.0),
        (r"aorta", -50.0, 900.0),
        (r"vertebrae_\w+", 20.0, 1000.0),
        (r"rib_\w+", 20.0, 1200.0),
    )
    drop: tuple[str, ...] = (
        "few_ribs",
        "few_vertebrae",
        "numbering_gap",
        "missing_lobe",
        "wrong_order",
        "overlap",
        "cut_chest",
        "outside_ct",
        "unmeasured",
        "implausible_hu",
        "swapped_sides",
        "flipped",
    )
    ignore: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("drop", "ignore"):
            rules = tuple(getattr(self, name))
            object.__setattr__(self, name, rules)
            for rule in rules:
                if rule not in RULES:
                    raise ValueError(f"{name} names no rule: {rule!r}; there are {', '.join(RULES)}")
        try:
            ranges = tuple((str(names), float(low), float(high)) for names, low, high in self.hu_ranges)
        except (TypeError, ValueError, OverflowError):
            raise ValueError(
                f"hu_ranges must be a sequence of (regular expression, lowest HU, highest HU); got {self.hu_ranges!r}"
            ) from None
        object.__setattr__(self, "hu_ranges", ranges)
        for names, low, high in ranges:
            try:
                re.compile(names)
            except (re.error, OverflowError) as error:
                raise ValueError(
                    f"hu_ranges must name structures by regular expressions; got {names!r}, which is none: {error}"
                ) from error
            if not low < high:
                raise ValueError(f"the HU range of {names!r} must run from low to high; got {low} to {high}")
        for field in dataclasses.fields(self):
            if field.name in ("drop", "ignore", "hu_ranges"):
                continue
            value = getattr(self, field.name)
            # Any HU may be metal's, a negative one too.
            from_0 = field.name != "metal_hu"
            is_number = isinstance(value, numbers.Real)
            if not (is_number and -np.inf < value < np.inf) or (from_0 and value < 0):
                raise ValueError(f"{field.name} must be a finite number{' from 0' * from_0}; got {value!r}")

    def as_record(self) -> dict[str, Any]:
        """All thresholds as plain values for JSON: what a dataset keeps of how its cases were judged."""
        plain = dataclasses.asdict(self)
        return {name: _listed(value) for name, value in plain.items()}


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, tuple) else value


def findings(ct: Volume, labels: LabelVolume, limits: QualityLimits | None = None) -> tuple[Finding, ...]:
    """Judge a CT and its labels by all rules.

    Structures are known by TotalSegmentator's names (``rib_left_5``, ``vertebrae_T5``, ``lung_upper_lobe_left``,
    ``liver``); PAXRay's (``t5``, ``lung_left_lobeupper``) are taken for the same, and labels that mean the same are
    judged as one. A rule whose structures are not there has nothing to say, except those that count them. What the
    rules cannot see: a label map that is smooth, complete and wrong; a field of view cut by a circle whose outside was
    set to air.

    Parameters
    ----------
    ct : Volume
        In HU.
    labels : LabelVolume
        As segmented, before anything is derived from them. Their grid may be another than the CT's; then structures
        touching the edge of a round field of view are not seen, only those touching the border of the labels' array.
    limits : QualityLimits, optional
        Thresholds, and which rules drop.

    Returns
    -------
    tuple of Finding
        In the order of ``RULES``; empty for a case with nothing to say against.

    Raises
    ------
    ValueError
        If the volume is not in HU.
    TypeError
        If the CT is no Volume or the labels are no LabelVolume.

    Examples
    --------
    >>> from drrproj.dataset.quality import findings
    >>> from drrproj.io.sample import read_sample
    >>> ct, labels = read_sample()
    >>> sorted({finding.severity for finding in findings(ct, labels)} | {"warn"})
    ['warn']
    >>> lobes = [name for name in labels.names.values() if name != "lung_middle_lobe_right"]
    >>> [finding.message for finding in findings(ct, labels.subset(lobes)) if finding.severity == "drop"]
    ['lung_middle_lobe_right has 0 ml; each lobe needs 40']
    """
    limits = QualityLimits() if limits is None else limits
    if not (isinstance(ct, Volume) and isinstance(labels, LabelVolume)):
        raise TypeError(
            f"findings takes a Volume and a LabelVolume, in this order; got {type(ct).__name__} and "
            f"{type(labels).__name__}"
        )
    if ct.unit != "HU":
        raise ValueError(f"quality is judged in HU; this volume is in {ct.unit}. Pass the CT itself")
    case = measured_case(ct, labels, limits.metal_hu)
    return tuple(
        Finding(name, "drop" if name in limits.drop else "warn", message)
        for name, rule in RULES.items()
        if name not in limits.ignore
        for message in rule(case, limits)
    )


def few_ribs(case: MeasuredCase, limits: QualityLimits) -> Iterator[str]:
    """Fewer ribs on a side than a whole chest has: a short field of view, or a segmentation that failed."""
    for side in ("left", "right"):
        there = _numbers(case, f"rib_{side}_", limits.least_rib_ml)
        if len(there) < limits.least_ribs:
            yield f"{len(there)} {side} ribs; at least {limits.least_ribs} needed"


def few_vertebrae(case: MeasuredCase, limits: QualityLimits) -> Iterator[str]:
    """Fewer thoracic vertebrae than a whole chest has."""
    there = _numbers(case, "vertebrae_T")
    if len(there) < limits.least_thoracic_vertebrae:
        yield f"{len(there)} thoracic vertebrae; at least {limits.least_thoracic_vertebrae} needed"


def numbering_gap(case: MeasuredCase, limits: QualityLimits) -> Iterator[str]:
    """A rib or vertebra missing between two that are there: in the picture it will be seen, in the labels it is not."""
    for prefix, least_ml in (
        ("vertebrae_C", 0.0),
        ("vertebrae_T", 0.0),
        ("vertebrae_L", 0.0),
        ("rib_left_", limits.least_rib_ml),
        ("rib_right_", limits.least_rib_ml),
    ):
        there = _numbers(case, prefix, least_ml)
        missing = sorted(set(range(min(there), max(there))) - set(there)) if there else []
        if missing:
            names = ", ".join(f"{prefix}{number}" for number in missing)
            yield f"{names} missing between {prefix}{min(there)} and {prefix}{max(there)}"


def missing_lobe(case: MeasuredCase, limits: QualityLimits) -> Iterator[str]:
    """A lung lobe that is not there or hardly: surgery, collapse, or a segmentation that failed."""
    for lobe in _LOBES:
        ml = case.structures[lobe].ml if lobe in case.structures else 0.0
        if ml < limits.least_lobe_ml:
            yield f"{lobe} has {_apart(ml, limits.least_lobe_ml)} ml; each lobe needs {limits.least_lobe_ml:g}"


def missing_organ(case: MeasuredCase, limits: QualityLimits) -> Iterator[str]:
    """Heart, aorta, trachea or liver not there or hardly: classes that are cut by it come out wrong or not at all."""
    for organ, names in _ORGANS.items():
        ml = sum(structure.ml for name, structure in case.structures.items() if names.fullmatch(name))
        if ml < limits.least_organ_ml:
            yield f"{organ} has {ml:.1f} ml; a chest has {limits.least_organ_ml:g} at least"


def wrong_order(case: MeasuredCase, limits: QualityLimits) -> Iterator[str]:
    """A vertebra or rib above one of a lower number, a lower lobe above the upper one: the names were mixed up."""
    spine = [f"vertebrae_{level}{n}" for level, count in (("C", 7), ("T", 13), ("L", 6)) for n in range(1, count + 1)]
    ribs = [[f"rib_{side}_{n}" for n in range(1, 14)] for side in ("left", "right")]
    lobes = [[f"lung_upper_lobe_{side}", f"lung_lower_lobe_{side}"] for side in ("left", "right")]
    for row in (spine, *ribs, *lobes):
        there = [name for name in row if name in case.structures]
        for upper, lower in itertools.pairwise(there):
            above = case.structures[lower].centroid[2] - case.structures[upper].centroid[2]
            if above > limits.order_slack_mm:
                yield f"{lower} lies {above:.0f} mm above {upper}"


def overlap(case: MeasuredCase, limits: QualityLimits) -> Iterator[str]:
    """Two structures that exclude each other in the same place: one of the labels is wrong."""
    for (one, other), ml in case.overlaps.items():
        if not (_EXCLUSIVE.fullmatch(one) and _EXCLUSIVE.fullmatch(other)) and other != _partner(one):
            continue
        share = ml / min(case.structures[one].ml, case.structures[other].ml)
        if share > limits.overlap_share and ml > limits.overlap_ml:
            yield f"{one} and {other} share {ml:.1f} ml, {share:.0%} of the smaller one"


def cut_chest(case: MeasuredCase, limits: QualityLimits) -> Iterator[str]:
    """Lungs or heart that reach the border of the field of view: the picture would show a part of them."""
    for what, names in (("the lungs", re.compile(r"lung_\w+")), ("the heart", re.compile(r"heart\w*"))):
        yield from _cut(case, what, names, limits.chest_border_cm2)


def cut_bone(case: MeasuredCase, limits: QualityLimits) -> Iterator[str]:
    """Bones of the chest that reach the border of the field of view."""
    yield from _cut(case, "bones of the chest", _BONE, limits.bone_border_cm2)


def cut_body(case: MeasuredCase, limits: QualityLimits) -> Iterator[str]:
    """A body wider than the field of view: the picture lacks its outline, and too little attenuation is summed."""
    if case.body_border > limits.body_border_share:
        share, allowed = _percentages(case.body_border, limits.body_border_share)
        yield f"{share} of the sides of the field of view are tissue, more than {allowed}: the body is cut"


def outside_ct(case: MeasuredCase, limits: QualityLimits) -> Iterator[str]:
    """Labels where the CT has no voxels: files of different series or patients."""
    if case.outside > limits.outside_share:
        share, allowed = _percentages(case.outside, limits.outside_share)
        yield f"{share} of the labelled voxels lie outside the CT; at most {allowed} may"


def unmeasured(case: MeasuredCase, limits: QualityLimits) -> Iterator[str]:
    """Labels where the CT is not a number: anatomy that the picture shows as air."""
    if case.unmeasured > limits.unmeasured_share:
        share, allowed = _percentages(case.unmeasured, limits.unmeasured_share)
        yield f"{share} of the labelled voxels are not a number in the CT, and count as air; at most {allowed} may"


def not_a_number(case: MeasuredCase, limits: QualityLimits) -> Iterator[str]:
    """Voxels of the CT that are not a number, wherever they are: the picture shows them as air."""
    if case.not_a_number:
        yield f"{case.not_a_number} of the {case.ct_voxels} voxels of the CT are not a number, and count as air"


def implausible_hu(case: MeasuredCase, limits: QualityLimits) -> Iterator[str]:
    """Structures whose HU they cannot have: labels beside the anatomy, or numbers that are no HU."""
    judged: list[tuple[str, float, float, float]] = []
    for pattern, low, high in limits.hu_ranges:
        names = [name for name in case.samples if re.fullmatch(pattern, name)]
        hu = np.concatenate([case.samples[name] for name in names]) if names else np.empty(0)
        unknown = int(np.count_nonzero(np.isnan(hu))) if hu.dtype.kind == "f" else 0
        if hu.size < _LEAST_SAMPLES:
            continue
        what = names[0] if len(names) == 1 else f"{len(names)} structures {names[0]}, ..."
        if unknown * 2 > hu.size:
            yield f"{what}: more than half of the voxels are not a number"
            continue
        judged.append((what, float(np.nanmedian(hu)), low, high))
    raised = [low <= median - 1024 <= high for _, median, low, high in judged]
    # Soft tissue beside lungs and trachea has about 1024 HU more than air, too, so one of them alone proves nothing.
    is_intercept = sum(raised) > max(1, len(judged) / 2)
    for (what, median, low, high), is_raised in zip(judged, raised, strict=True):
        if not low <= median <= high:
            hint = (
                "; 1024 less would be, so the rescale intercept was not applied" if is_intercept and is_raised else ""
            )
            bound = low if median < low else high
            yield f"{what}: median {_apart(median, bound)} HU is not within {low:g} to {high:g}{hint}"


def implausible_size(case: MeasuredCase, limits: QualityLimits) -> Iterator[str]:
    """Distances that no person's chest has: voxel sizes that were lost or changed, as in a header made anew."""
    at = {name: structure.centroid for name, structure in case.structures.items()}
    levels = [(f"vertebrae_T{n}", f"vertebrae_T{n + 1}") for n in range(1, 12)]
    sides = [(f"rib_left_{n}", f"rib_right_{n}") for n in range(3, 11)]
    level_mm, width_mm = (
        [float(np.linalg.norm(at[one] - at[other])) for one, other in pairs if one in at and other in at]
        for pairs in (levels, sides)
    )
    # A vertebra or rib that the field of view cuts has its centre elsewhere; medians of a few stand that.
    if min(len(level_mm), len(width_mm)) < _LEAST_DISTANCES:
        return
    level, width = float(np.median(level_mm)), float(np.median(width_mm))
    for what, value, (least, most) in (
        (f"neighbouring thoracic vertebrae lie {level:.1f} mm apart", level, _LEVEL_MM),
        (f"left and right ribs lie {width:.0f} mm apart", width, _WIDTH_MM),
        (f"left and right ribs lie {width / level:.1f} vertebrae apart", width / level, _WIDTH_IN_LEVELS),
    ):
        if not least <= value <= most:
            yield f"{what}, in people {least:g} to {most:g}: the voxel sizes are wrong, and all that is in mm with them"


def swapped_sides(case: MeasuredCase, limits: QualityLimits) -> Iterator[str]:
    """Left and right exchanged: in the names, in the affine, or in the picture that was segmented."""
    x = {name: float(structure.centroid[0]) for name, structure in case.structures.items()}
    pairs = [(name, _partner(name)) for name in x if "left" in name and _SIDED.match(name) and _partner(name) in x]
    pairs = [(left, right) for left, right in pairs if abs(x[left] - x[right]) > limits.side_margin_mm]
    crossed = [left for left, right in pairs if x[left] > x[right]]
    organs = [
        (right, left, x_right, x_left)
        for right, left in (("liver", "spleen"), ("liver", "stomach"), ("liver", "heart"), ("the spine", "heart"))
        for x_right, x_left in [(_coordinate(case, right, 0), _coordinate(case, left, 0))]
        if x_right is not None and x_left is not None and abs(x_right - x_left) > limits.side_margin_mm
    ]
    mirrored = [f"{right} is left of {left}" for right, left, x_right, x_left in organs if x_right < x_left]
    organs_mirrored = 2 * len(mirrored) > len(organs)
    if 2 * len(crossed) > len(pairs):
        count = f"{len(crossed)} of {len(pairs)} left/right pairs lie on the wrong sides ({crossed[0]}, ...)"
        if organs_mirrored:
            yield f"{count} and {mirrored[0]}: the affine or the array is mirrored"
        else:
            yield f"{count}, the organs do not: left and right are swapped in the names"
        return
    if crossed:
        yield f"on the wrong side of their partners: {', '.join(crossed)}"
    if organs_mirrored:
        yield f"{'; '.join(mirrored)}: the CT was mirrored before it was segmented, or the organs are (situs inversus)"


def flipped(case: MeasuredCase, limits: QualityLimits) -> Iterator[str]:
    """Head and feet, or front and back, exchanged."""
    for axis, wrong, comparisons in (
        (2, "below", (("the lungs", "liver"), ("heart", "liver"), ("vertebrae_T3", "vertebrae_T9"))),
        (1, "behind", (("heart", "the spine"), ("sternum", "the spine"), ("sternum", "heart"))),
    ):
        judged = [
            (one, other, first - second)
            for one, other in comparisons
            for first, second in [(_coordinate(case, one, axis), _coordinate(case, other, axis))]
            if first is not None and second is not None and abs(first - second) > limits.side_margin_mm
        ]
        against = [f"{one} {wrong} {other}" for one, other, difference in judged if difference < 0]
        if 2 * len(against) > len(judged):
            yield f"{'; '.join(against)}: {'upside down' if axis == 2 else 'front and back are exchanged'}"


def metal(case: MeasuredCase, limits: QualityLimits) -> Iterator[str]:
    """Metal or very dense contrast medium: its streaks spoil the HU around it, and labels with them."""
    if case.metal_ml > limits.metal_ml:
        yield f"{case.metal_ml:.1f} ml above {limits.metal_hu:g} HU; metal or dense contrast medium"


def couch(case: MeasuredCase, limits: QualityLimits) -> Iterator[str]:
    """The couch behind the patient's back, which no X-ray of a standing patient shows."""
    if case.couch_ml > limits.couch_ml:
        yield f"about {case.couch_ml:.0f} ml of matter behind the back and an air gap: the couch is in the picture"


def unnamed_ids(case: MeasuredCase, limits: QualityLimits) -> Iterator[str]:
    """Labels that the table of names does not have: one of an older or another segmentation."""
    if case.unnamed:
        some = ", ".join(map(str, case.unnamed[:5])) + ", ..." * (len(case.unnamed) > 5)
        yield (
            f"labels {some} have no name: they are no structure that is known, and in pictures they are called by "
            "their numbers; name them in the table of names, such as labels.json beside labels.nii.gz"
        )


RULES: Mapping[str, Callable[[MeasuredCase, QualityLimits], Iterator[str]]] = MappingProxyType(
    {
        rule.__name__: rule
        for rule in (
            few_ribs,
            few_vertebrae,
            numbering_gap,
            missing_lobe,
            missing_organ,
            wrong_order,
            overlap,
            cut_chest,
            cut_bone,
            cut_body,
            outside_ct,
            unmeasured,
            not_a_number,
            implausible_hu,
            implausible_size,
            swapped_sides,
            flipped,
            metal,
            couch,
            unnamed_ids,
        )
    }
)
"""The rules by name, in the order in which they report."""


def _numbers(case: MeasuredCase, prefix: str, least_ml: float = 0.0) -> list[int]:
    """Numbers of the ribs or vertebrae of a row that are there."""
    return sorted(
        int(name.removeprefix(prefix))
        for name, structure in case.structures.items()
        if name.startswith(prefix) and name.removeprefix(prefix).isdecimal() and structure.ml >= least_ml
    )


def _partner(name: str) -> str:
    swap = {"left": "right", "right": "left"}
    return re.sub(r"(?<![a-z])(left|right)(?![a-z])", lambda side: swap[side[0]], name)


def _coordinate(case: MeasuredCase, what: str, axis: int) -> float | None:
    """World coordinate of a structure, or of what is made of several, weighted by volume."""
    pattern = {"the spine": r"vertebrae_[TL]\d+", "the lungs": r"lung_\w+", "heart": r"heart\w*"}.get(what, what)
    parts = [structure for name, structure in case.structures.items() if re.fullmatch(pattern, name)]
    if not parts:
        return None
    return float(np.average([part.centroid[axis] for part in parts], weights=[part.voxels for part in parts]))


def _apart(value: float, limit: float, digits: int = 0) -> str:
    """Print a value with this many decimals, or as many more as put it on its side of the limit as that is printed."""
    printed = float(f"{limit:g}")
    while digits < 15 and (float(f"{value:.{digits}f}") - printed) * (value - printed) <= 0:
        digits += 1
    return f"{value:.{digits}f}"


def _percentages(share: float, limit: float) -> tuple[str, str]:
    return f"{_apart(100 * share, 100 * limit)}%", f"{100 * limit:g}%"


def _cut(case: MeasuredCase, what: str, names: re.Pattern[str], allowed_cm2: float) -> Iterator[str]:
    parts = {name: structure for name, structure in case.structures.items() if names.fullmatch(name)}
    for face, side in enumerate(FACES):
        touching = [name for name, structure in parts.items() if case.borders[list(structure.rows), face].any()]
        # Structures that overlap share rows, and each voxel counts once.
        area = float(case.borders[sorted({row for name in touching for row in parts[name].rows}), face].sum())
        if area > allowed_cm2:
            shown = ", ".join(touching[:3]) + ", ..." * (len(touching) > 3)
            cm2 = _apart(area, allowed_cm2, 1)
            yield f"{what} ({shown}) reach the {side} border with {cm2} cm2, more than {allowed_cm2:g}"
