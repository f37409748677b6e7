"""Judge a CT and its labels before they become training data: what is wrong, how bad it is, and why.

Everything is read off one pass over the labels (voxel counts, boxes, centroids), one over the CT (metal), and samples
of both. Directions are the patient's, from the affines: axis order and flips of the arrays do not matter.
"""

from __future__ import annotations

import dataclasses
import itertools
import numbers
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from drrproj.label_volume import LabelVolume
from drrproj.volume import Volume

__all__ = ["RULES", "Finding", "QualityLimits", "findings"]

Severity = Literal["drop", "warn"]
Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

_PADDING_HU = -1500  # padding is -2000, -2048 or -3024; resampled air swings a little below -1024
_TISSUE_HU = -300  # above: skin, fat, muscle; below: air, lung, foam
_TABLE_HU = -700  # above: the shell and the foam of a couch; below: the air around it
_SAMPLES = 1_500_000
_BORDER_SLICES = 8
_LEAST_SAMPLES = 20

_FACES = ("left", "right", "posterior", "anterior", "inferior", "superior")
_LOBES = (
    "lung_upper_lobe_left",
    "lung_lower_lobe_left",
    "lung_upper_lobe_right",
    "lung_middle_lobe_right",
    "lung_lower_lobe_right",
)
# Bones, lungs and kidneys do not cross the midline; vessels and bowel may.
_SIDED = re.compile(r"(lung|rib|kidney|scapula|clavicula|humerus|hip|femur|adrenal_gland)_(?!cyst)")
# Two of these cannot be in the same place. Parts and wholes (a heart chamber and the heart) can.
_EXCLUSIVE = re.compile(
    r"lung_(upper|middle|lower)_lobe_\w+|vertebrae_[CTL]\d+|rib_(left|right)_\d+|heart|liver|spleen|stomach|pancreas|"
    r"kidney_(left|right)|sternum|(scapula|clavicula|humerus)_(left|right)"
)
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
    order_slack_mm: float = 5.0
    side_margin_mm: float = 10.0
    overlap_share: float = 0.05
    overlap_ml: float = 1.0
    chest_border_cm2: float = 5.0
    bone_border_cm2: float = 0.5
    body_border_share: float = 0.15
    outside_share: float = 0.02
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


@dataclass(frozen=True)
class _Structure:
    """What one pass over the labels tells of a structure."""

    voxels: int
    ml: float
    centroid: Floats  # world mm
    index: Floats  # of the centroid, axes towards right, anterior, superior
    back: int  # second index of the voxel furthest back
    rows: tuple[int, ...]  # of its values in the scene's borders


@dataclass(frozen=True)
class _Scene:
    """A case, measured."""

    structures: Mapping[str, _Structure]
    borders: Floats  # cm2 of each value of the voxels on each of _FACES of the field of view
    overlaps: Mapping[tuple[str, str], float]  # ml shared by two structures
    samples: Mapping[str, Array]  # HU of some voxels of each structure
    outside: float  # share of the sampled labels that lie outside the CT
    body_border: float  # share of the sides of the field of view that is tissue
    metal_ml: float
    couch_ml: float
    unnamed: tuple[int, ...]  # ids that occur and have no name


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
    if ct.unit != "HU":
        raise ValueError(f"quality is judged in HU; this volume is in {ct.unit}. Pass the CT itself")
    scene = _measured(ct, labels, limits)
    return tuple(
        Finding(name, "drop" if name in limits.drop else "warn", message)
        for name, rule in RULES.items()
        if name not in limits.ignore
        for message in rule(scene, limits)
    )


def few_ribs(scene: _Scene, limits: QualityLimits) -> Iterator[str]:
    """Fewer ribs on a side than a whole chest has: a short field of view, or a segmentation that failed."""
    for side in ("left", "right"):
        there = _numbers(scene, f"rib_{side}_", limits.least_rib_ml)
        if len(there) < limits.least_ribs:
            yield f"{len(there)} {side} ribs; at least {limits.least_ribs} needed"


def few_vertebrae(scene: _Scene, limits: QualityLimits) -> Iterator[str]:
    """Fewer thoracic vertebrae than a whole chest has."""
    there = _numbers(scene, "vertebrae_T")
    if len(there) < limits.least_thoracic_vertebrae:
        yield f"{len(there)} thoracic vertebrae; at least {limits.least_thoracic_vertebrae} needed"


def numbering_gap(scene: _Scene, limits: QualityLimits) -> Iterator[str]:
    """A rib or vertebra missing between two that are there: in the picture it will be seen, in the labels it is not."""
    for prefix, least_ml in (
        ("vertebrae_C", 0.0),
        ("vertebrae_T", 0.0),
        ("vertebrae_L", 0.0),
        ("rib_left_", limits.least_rib_ml),
        ("rib_right_", limits.least_rib_ml),
    ):
        there = _numbers(scene, prefix, least_ml)
        missing = sorted(set(range(min(there), max(there))) - set(there)) if there else []
        if missing:
            names = ", ".join(f"{prefix}{number}" for number in missing)
            yield f"{names} missing between {prefix}{min(there)} and {prefix}{max(there)}"


def missing_lobe(scene: _Scene, limits: QualityLimits) -> Iterator[str]:
    """A lung lobe that is not there or hardly: surgery, collapse, or a segmentation that failed."""
    for lobe in _LOBES:
        ml = scene.structures[lobe].ml if lobe in scene.structures else 0.0
        if ml < limits.least_lobe_ml:
            yield f"{lobe} has {ml:.0f} ml; each lobe needs {limits.least_lobe_ml:g}"


def wrong_order(scene: _Scene, limits: QualityLimits) -> Iterator[str]:
    """A vertebra or rib above one of a lower number, a lower lobe above the upper one: the names were mixed up."""
    spine = [f"vertebrae_{level}{n}" for level, count in (("C", 7), ("T", 13), ("L", 6)) for n in range(1, count + 1)]
    ribs = [[f"rib_{side}_{n}" for n in range(1, 14)] for side in ("left", "right")]
    lobes = [[f"lung_upper_lobe_{side}", f"lung_lower_lobe_{side}"] for side in ("left", "right")]
    for row in (spine, *ribs, *lobes):
        there = [name for name in row if name in scene.structures]
        for upper, lower in itertools.pairwise(there):
            above = scene.structures[lower].centroid[2] - scene.structures[upper].centroid[2]
            if above > limits.order_slack_mm:
                yield f"{lower} lies {above:.0f} mm above {upper}"


def overlap(scene: _Scene, limits: QualityLimits) -> Iterator[str]:
    """Two structures that exclude each other in the same place: one of the labels is wrong."""
    for (one, other), ml in scene.overlaps.items():
        if not (_EXCLUSIVE.fullmatch(one) and _EXCLUSIVE.fullmatch(other)) and other != _partner(one):
            continue
        share = ml / min(scene.structures[one].ml, scene.structures[other].ml)
        if share > limits.overlap_share and ml > limits.overlap_ml:
            yield f"{one} and {other} share {ml:.1f} ml, {share:.0%} of the smaller one"


def cut_chest(scene: _Scene, limits: QualityLimits) -> Iterator[str]:
    """Lungs or heart that reach the border of the field of view: the picture would show a part of them."""
    for what, names in (("the lungs", re.compile(r"lung_\w+")), ("the heart", re.compile(r"heart\w*"))):
        yield from _cut(scene, what, names, limits.chest_border_cm2)


def cut_bone(scene: _Scene, limits: QualityLimits) -> Iterator[str]:
    """Bones of the chest that reach the border of the field of view."""
    yield from _cut(scene, "bones of the chest", _BONE, limits.bone_border_cm2)


def cut_body(scene: _Scene, limits: QualityLimits) -> Iterator[str]:
    """A body wider than the field of view: the picture lacks its outline, and too little attenuation is summed."""
    if scene.body_border > limits.body_border_share:
        share, allowed = f"{scene.body_border:.0%}", f"{limits.body_border_share:.0%}"
        yield f"{share} of the sides of the field of view are tissue, more than {allowed}: the body is cut"


def outside_ct(scene: _Scene, limits: QualityLimits) -> Iterator[str]:
    """Labels where the CT has no voxels: files of different series or patients."""
    if scene.outside > limits.outside_share:
        yield f"{scene.outside:.0%} of the labelled voxels lie outside the CT; at most {limits.outside_share:.0%} may"


def implausible_hu(scene: _Scene, limits: QualityLimits) -> Iterator[str]:
    """Structures whose HU they cannot have: labels beside the anatomy, or numbers that are no HU."""
    for pattern, low, high in limits.hu_ranges:
        names = [name for name in scene.samples if re.fullmatch(pattern, name)]
        hu = np.concatenate([scene.samples[name] for name in names]) if names else np.empty(0)
        unknown = int(np.count_nonzero(np.isnan(hu))) if hu.dtype.kind == "f" else 0
        if hu.size < _LEAST_SAMPLES:
            continue
        what = names[0] if len(names) == 1 else f"{len(names)} structures {names[0]}, ..."
        if unknown * 2 > hu.size:
            yield f"{what}: more than half of the voxels are not a number"
            continue
        median = float(np.nanmedian(hu))
        if not low <= median <= high:
            hint = ""
            if low <= median - 1024 <= high:
                hint = "; 1024 less would be, so the rescale intercept was not applied"
            yield f"{what}: median {median:.0f} HU is not within {low:g} to {high:g}{hint}"


def swapped_sides(scene: _Scene, limits: QualityLimits) -> Iterator[str]:
    """Left and right exchanged: in the names, in the affine, or in the picture that was segmented."""
    x = {name: float(structure.centroid[0]) for name, structure in scene.structures.items()}
    pairs = [(name, _partner(name)) for name in x if "left" in name and _SIDED.match(name) and _partner(name) in x]
    pairs = [(left, right) for left, right in pairs if abs(x[left] - x[right]) > limits.side_margin_mm]
    crossed = [left for left, right in pairs if x[left] > x[right]]
    organs = [
        (right, left, x_right, x_left)
        for right, left in (("liver", "spleen"), ("liver", "stomach"), ("liver", "heart"), ("the spine", "heart"))
        for x_right, x_left in [(_coordinate(scene, right, 0), _coordinate(scene, left, 0))]
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


def flipped(scene: _Scene, limits: QualityLimits) -> Iterator[str]:
    """Head and feet, or front and back, exchanged."""
    for axis, wrong, comparisons in (
        (2, "below", (("the lungs", "liver"), ("heart", "liver"), ("vertebrae_T3", "vertebrae_T9"))),
        (1, "behind", (("heart", "the spine"), ("sternum", "the spine"), ("sternum", "heart"))),
    ):
        judged = [
            (one, other, first - second)
            for one, other in comparisons
            for first, second in [(_coordinate(scene, one, axis), _coordinate(scene, other, axis))]
            if first is not None and second is not None and abs(first - second) > limits.side_margin_mm
        ]
        against = [f"{one} {wrong} {other}" for one, other, difference in judged if difference < 0]
        if 2 * len(against) > len(judged):
            yield f"{'; '.join(against)}: {'upside down' if axis == 2 else 'front and back are exchanged'}"


def metal(scene: _Scene, limits: QualityLimits) -> Iterator[str]:
    """Metal or very dense contrast medium: its streaks spoil the HU around it, and labels with them."""
    if scene.metal_ml > limits.metal_ml:
        yield f"{scene.metal_ml:.1f} ml above {limits.metal_hu:g} HU; metal or dense contrast medium"


def couch(scene: _Scene, limits: QualityLimits) -> Iterator[str]:
    """The couch behind the patient's back, which no X-ray of a standing patient shows."""
    if scene.couch_ml > limits.couch_ml:
        yield f"about {scene.couch_ml:.0f} ml of matter behind the back and an air gap: the couch is in the picture"


def unnamed_ids(scene: _Scene, limits: QualityLimits) -> Iterator[str]:
    """Labels that the table of names does not have: one of an older or another segmentation."""
    if scene.unnamed:
        some = ", ".join(map(str, scene.unnamed[:5])) + ", ..." * (len(scene.unnamed) > 5)
        yield (
            f"labels {some} have no name: they are no structure that is known, and in pictures they are called by "
            "their numbers; name them in the table of names"
        )


RULES: Mapping[str, Callable[[_Scene, QualityLimits], Iterator[str]]] = MappingProxyType(
    {
        rule.__name__: rule
        for rule in (
            few_ribs,
            few_vertebrae,
            numbering_gap,
            missing_lobe,
            wrong_order,
            overlap,
            cut_chest,
            cut_bone,
            cut_body,
            outside_ct,
            implausible_hu,
            swapped_sides,
            flipped,
            metal,
            couch,
            unnamed_ids,
        )
    }
)
"""The rules by name, in the order in which they report."""


def _numbers(scene: _Scene, prefix: str, least_ml: float = 0.0) -> list[int]:
    """Numbers of the ribs or vertebrae of a row that are there."""
    return sorted(
        int(name.removeprefix(prefix))
        for name, structure in scene.structures.items()
        if name.startswith(prefix) and name.removeprefix(prefix).isdecimal() and structure.ml >= least_ml
    )


def _partner(name: str) -> str:
    swap = {"left": "right", "right": "left"}
    return re.sub(r"(?<![a-z])(left|right)(?![a-z])", lambda side: swap[side[0]], name)


def _coordinate(scene: _Scene, what: str, axis: int) -> float | None:
    """World coordinate of a structure, or of what is made of several, weighted by volume."""
    pattern = {"the spine": r"vertebrae_[TL]\d+", "the lungs": r"lung_\w+", "heart": r"heart\w*"}.get(what, what)
    parts = [structure for name, structure in scene.structures.items() if re.fullmatch(pattern, name)]
    if not parts:
        return None
    return float(np.average([part.centroid[axis] for part in parts], weights=[part.voxels for part in parts]))


def _cut(scene: _Scene, what: str, names: re.Pattern[str], allowed_cm2: float) -> Iterator[str]:
    parts = {name: structure for name, structure in scene.structures.items() if names.fullmatch(name)}
    for face, side in enumerate(_FACES):
        touching = [name for name, structure in parts.items() if scene.borders[list(structure.rows), face].any()]
        # Structures that overlap share rows, and each voxel counts once.
        area = float(scene.borders[sorted({row for name in touching for row in parts[name].rows}), face].sum())
        if area > allowed_cm2:
            shown = ", ".join(touching[:3]) + ", ..." * (len(touching) > 3)
            yield f"{what} ({shown}) reach the {side} border with {area:.1f} cm2, more than {allowed_cm2:g}"


def _measured(ct: Volume, labels: LabelVolume, limits: QualityLimits) -> _Scene:
    hu, hu_affine = _patient_axes(ct.array, ct.affine)
    ids, id_affine = _patient_axes(labels.array, labels.affine)
    same_grid = hu.shape == ids.shape and np.allclose(hu_affine, id_affine, atol=1e-3)

    values, voxels, centroids, backs = _count_runs(ids)
    world = centroids @ id_affine[:3, :3].T + id_affine[:3, 3]
    borders = _faces(ids, id_affine, values)
    body_border, round_border = _sides(hu, hu_affine, ids if same_grid else None, values)
    borders[:, :4] += round_border
    voxel_ml = abs(float(np.linalg.det(id_affine[:3, :3]))) / 1000

    at = {int(value): index for index, value in enumerate(values)}
    names: dict[int, str] = {}
    rows: dict[str, list[int]] = {}
    for label_id, among in labels.values_by_structure.items():
        if label_id not in labels.groups and among:
            name = names[label_id] = _total_segmentator_name(labels.name_of(label_id))
            # Labels that mean the same structure are joined.
            rows[name] = sorted({*rows.get(name, ()), *(at[value] for value in among)})
    structures = {
        name: _Structure(
            voxels=int(voxels[of_it].sum()),
            ml=float(voxels[of_it].sum()) * voxel_ml,
            centroid=np.average(world[of_it], axis=0, weights=voxels[of_it]),
            index=np.average(centroids[of_it], axis=0, weights=voxels[of_it]),
            back=int(backs[of_it].min()),
            rows=tuple(of_it),
        )
        for name, of_it in rows.items()
    }
    overlaps: dict[tuple[str, str], float] = {}
    for value, members in labels.overlaps.items():
        shown = {names[label_id] for label_id in members if label_id in names and value in at}
        # In one order always: a pair's shares add up, whichever of a structure's labels overlap.
        for pair in itertools.combinations((name for name in rows if name in shown), 2):
            overlaps[pair] = overlaps.get(pair, 0.0) + float(voxels[at[value]]) * voxel_ml

    by_value, outside = _sampled_hu(hu, hu_affine, ids, id_affine, same_grid)
    samples = {
        name: np.concatenate([by_value[int(values[row])] for row in of_it if values[row] in by_value])
        for name, of_it in rows.items()
        if any(values[row] in by_value for row in of_it)
    }
    return _Scene(
        structures=structures,
        borders=borders,
        overlaps=overlaps,
        samples=samples,
        outside=outside,
        body_border=body_border,
        metal_ml=_count_above(hu, limits.metal_hu) * abs(float(np.linalg.det(hu_affine[:3, :3]))) / 1000,
        couch_ml=_behind_the_back(hu, hu_affine, id_affine, structures),
        unnamed=labels.ids_without_name,
    )


def _total_segmentator_name(name: str) -> str:
    if vertebra := re.fullmatch(r"([ctl])(\d+)", name):
        return f"vertebrae_{vertebra[1].upper()}{vertebra[2]}"
    if lobe := re.fullmatch(r"lung_(left|right)_lobe(upper|middle|lower)", name):
        return f"lung_{lobe[2]}_lobe_{lobe[1]}"
    return name


def _patient_axes(array: Array, affine: Floats) -> tuple[Array, Floats]:
    """View the array with its axes towards right, anterior, superior, as near as its grid allows; nothing is copied."""
    cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    order = max(
        itertools.permutations(range(3)), key=lambda axes: sum(abs(cosines[row, axes[row]]) for row in range(3))
    )
    view = array.transpose(order)
    columns, origin = affine[:3, list(order)], affine[:3, 3].copy()
    for axis in range(3):
        if columns[axis, axis] < 0:
            view = np.flip(view, axis)
            origin += columns[:, axis] * (view.shape[axis] - 1)
            columns[:, axis] *= -1
    turned = np.eye(4)
    turned[:3, :3], turned[:3, 3] = columns, origin
    return view, turned


def _upward(array: Array) -> tuple[Array, tuple[int, ...]]:
    """View an array along its memory, because numpy reads a mirrored view ten times slower; and the axes it flips."""
    mirrored = tuple(axis for axis in range(3) if array.strides[axis] < 0)
    return np.flip(array, mirrored), mirrored


def _count_runs(ids: Array) -> tuple[Array, Array, Floats, Array]:
    """Values that occur, and of each: voxels, centroid in indices, lowest index along the second axis."""
    # Labels are constant over long stretches of memory, so runs are 20 to 50 times fewer than voxels.
    order = np.argsort([-abs(stride) for stride in ids.strides], kind="stable")
    upward, mirrored = _upward(ids)
    to_back = int(np.flatnonzero(order == 1)[0])
    farthest: Any = np.maximum if 1 in mirrored else np.minimum
    # Values of each slab, their voxels, twice the sums of their positions, and how far back they reach.
    none = np.zeros(0, np.int64)
    found: list[tuple[Array, Array, Array, Array]] = [(ids[:0, 0, 0], none, np.zeros((3, 0), np.int64), none)]
    for slow, slab in enumerate(upward.transpose(order)):
        rows = np.ascontiguousarray(slab)
        edges = np.empty(rows.shape, bool)
        edges[:, 0] = True
        np.not_equal(rows[:, 1:], rows[:, :-1], out=edges[:, 1:])
        starts = np.flatnonzero(edges)
        lengths = np.diff(starts, append=rows.size)
        run_values = rows.ravel()[starts]
        kept = np.flatnonzero(run_values)
        kept = kept[np.argsort(run_values[kept], kind="stable")]
        if not len(kept):
            continue
        starts, lengths, run_values = starts[kept], lengths[kept], run_values[kept]
        middle, fast = np.divmod(starts, rows.shape[1])
        of_value = np.flatnonzero(np.append(True, run_values[1:] != run_values[:-1]))
        voxels = np.add.reduceat(lengths, of_value)
        twice = [
            2 * slow * voxels,
            2 * np.add.reduceat(middle * lengths, of_value),
            np.add.reduceat((2 * fast + lengths - 1) * lengths, of_value),
        ]
        ends = (np.full(len(fast), slow), middle, fast + lengths - 1 if 1 in mirrored else fast)
        reached = farthest.reduceat(ends[to_back], of_value)
        found.append((run_values[of_value], voxels, np.stack(twice), reached))
    slab_values, slab_voxels, slab_twice, slab_reached = (
        np.concatenate(parts, axis=-1) for parts in zip(*found, strict=True)
    )
    values, which = np.unique(slab_values, return_inverse=True)
    voxels = np.bincount(which, slab_voxels, len(values)).astype(np.int64)
    centroids = np.empty((len(values), 3))
    for axis, twice_along in zip(order, slab_twice, strict=True):
        sums = np.bincount(which, twice_along, len(values)) / 2
        if axis in mirrored:
            sums = (ids.shape[axis] - 1) * voxels - sums
        centroids[:, axis] = sums / np.maximum(voxels, 1)
    backs = np.full(len(values), -1 if 1 in mirrored else ids.shape[1])
    farthest.at(backs, which, slab_reached)
    return values, voxels, centroids, ids.shape[1] - 1 - backs if 1 in mirrored else backs


def _counted(found: Array, values: Array) -> Floats:
    """How often each of some values occurs; the background does not count."""
    there, counts = np.unique(found[found != 0], return_counts=True)
    result = np.zeros(len(values))
    result[np.searchsorted(values, there)] = counts
    return result


def _faces(ids: Array, affine: Floats, values: Array) -> Floats:
    """Area of each value on the six faces of the array, cm2, shape (values, 6)."""
    areas = np.zeros((len(values), 6))
    for axis in range(3):
        one, other = (affine[:3, other] for other in range(3) if other != axis)
        voxel_cm2 = float(np.linalg.norm(np.cross(one, other))) / 100
        for end in (0, -1):
            areas[:, 2 * axis - end] = _counted(np.moveaxis(ids, axis, 0)[end], values) * voxel_cm2
    return areas


def _sides(hu: Array, affine: Floats, ids: Array | None, values: Array) -> tuple[float, Floats]:
    """Share of the sides of the field of view that is tissue, and each value's area on a round edge, cm2, (values, 4).

    A scanner's field of view may be a circle, with padding outside: its edge is where measured voxels meet padding or
    the end of the array. Looked at in some slices.
    """
    looked_at = range(0, hu.shape[2], -(-hu.shape[2] // _BORDER_SLICES))
    counts = np.zeros((len(values), 4))
    edges = edges_tissue = 0
    for position in looked_at:
        measured, tissue = hu[:, :, position] >= _PADDING_HU, hu[:, :, position] > _TISSUE_HU
        # Slowest axis first: numpy picks voxels in that order, ten times faster where it is memory's.
        order = np.argsort([-abs(stride) for stride in measured.strides], kind="stable")
        for face, (axis, towards) in enumerate(((0, -1), (0, 1), (1, -1), (1, 1))):
            here, there = [slice(None)] * 2, [slice(None)] * 2
            low, high = slice(None, -1), slice(1, None)
            here[axis], there[axis] = (low, high) if towards > 0 else (high, low)
            beyond = np.zeros_like(measured)
            beyond[tuple(here)] = measured[tuple(there)]
            edge = measured & ~beyond
            edges += int(np.count_nonzero(edge))
            edges_tissue += int(np.count_nonzero(edge & tissue))
            if ids is not None:
                # The faces of the array are counted elsewhere, all of them.
                np.moveaxis(edge, axis, 0)[-1 if towards > 0 else 0] = False
                on_edge = ids[:, :, position].transpose(order)[edge.transpose(order)]
                counts[:, face] += _counted(on_edge, values)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    voxel_cm2 = spacing[2] * spacing[[1, 1, 0, 0]] * hu.shape[2] / len(looked_at) / 100
    return edges_tissue / max(edges, 1), counts * voxel_cm2


def _sampled_hu(
    hu: Array, hu_affine: Floats, ids: Array, id_affine: Floats, same_grid: bool
) -> tuple[dict[int, Array], float]:
    """HU of some voxels of each value, and the share of the sampled voxels that lie outside the CT."""
    spacing = np.linalg.norm(id_affine[:3, :3], axis=0)
    steps = np.ones(3, int)
    while np.prod(-(-np.array(ids.shape) // steps)) > _SAMPLES:
        steps[np.argmin(spacing * steps)] += 1
    lattice = tuple(slice(None, None, int(step)) for step in steps)
    sampled = ids[lattice]
    labelled = sampled != 0
    value, outside = sampled[labelled], 0.0
    if same_grid:
        at_voxel = hu[lattice][labelled]
    else:
        world = (np.argwhere(labelled) * steps) @ id_affine[:3, :3].T + id_affine[:3, 3]
        voxel_from_world = np.linalg.inv(hu_affine)
        index = np.floor(world @ voxel_from_world[:3, :3].T + voxel_from_world[:3, 3] + 0.5).astype(np.int64)
        inside = ((index >= 0) & (index < hu.shape)).all(axis=1)
        outside = float(np.count_nonzero(~inside)) / max(len(inside), 1)
        value, index = value[inside], index[inside]
        at_voxel = hu[index[:, 0], index[:, 1], index[:, 2]]
    order = np.argsort(value, kind="stable")
    there, starts = np.unique(value[order], return_index=True)
    parts = np.split(at_voxel[order], starts[1:]) if len(there) else []
    return {int(label): part for label, part in zip(there, parts, strict=True)}, outside


def _count_above(hu: Array, limit: float) -> int:
    slowest = int(np.argmax(np.abs(hu.strides)))
    # A number of the array's own type keeps numpy from converting every voxel to float64.
    bound = hu.dtype.type(limit) if hu.dtype.kind == "f" else min(int(limit), int(np.iinfo(hu.dtype).max))
    slabs: Iterable[Array] = np.moveaxis(_upward(hu)[0], slowest, 0)
    # Few slabs have any, and the greatest of whole numbers is found in a fifth of the time that counting takes.
    if hu.dtype.kind != "f":
        slabs = [slab for slab in slabs if slab.max() > bound]
    return sum(int(np.count_nonzero(slab > bound)) for slab in slabs)


def _behind_the_back(hu: Array, affine: Floats, id_affine: Floats, structures: Mapping[str, _Structure]) -> float:
    """Volume of what follows an air gap behind lungs and skeleton, within the width of the ribs, ml, from samples."""
    chest = [part for name, part in structures.items() if re.match(r"rib_|vertebrae_|lung_", name)]
    if not chest:
        return 0.0
    voxel_from_world = np.linalg.inv(affine)
    world = np.array([part.centroid for part in chest])
    x = world @ voxel_from_world[0, :3] + voxel_from_world[0, 3]
    left, right = np.clip(np.rint((x.min(), x.max())).astype(int), 0, hu.shape[0] - 1)
    # On an oblique grid the plane through the hindmost voxel is as oblique as the grid; so is the couch then.
    hindmost = min(chest, key=lambda part: part.back)
    behind = hindmost.centroid + id_affine[:3, 1] * (hindmost.back - hindmost.index[1])
    back = int(np.clip(np.rint(voxel_from_world[1, :3] @ behind + voxel_from_world[1, 3]), 0, hu.shape[1]))
    steps = [max(1, int(4 / edge)) for edge in np.linalg.norm(affine[:3, :3], axis=0)[[0, 2]]]
    part = np.flip(hu[left : right + 1 : steps[0], :back, :: steps[1]], axis=1)
    if not part.size:
        return 0.0
    beyond_gap = np.logical_or.accumulate(part < _TABLE_HU, axis=1)
    matter = int(np.count_nonzero(beyond_gap & (part > _TABLE_HU)))
    return matter * steps[0] * steps[1] * abs(float(np.linalg.det(affine[:3, :3]))) / 1000
