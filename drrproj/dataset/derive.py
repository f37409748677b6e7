"""Make the classes of a taxonomy out of a segmentation, in 3-D."""

from __future__ import annotations

from dataclasses import dataclass

from drrproj.dataset.derive_partition import NotDerivable, Partition
from drrproj.dataset.derive_rules import RULES
from drrproj.dataset.taxonomy import AnatomyClass, Taxonomy
from drrproj.label_volume import LabelVolume
from drrproj.volume import Volume

__all__ = ["Derived", "classes_of", "derive"]


@dataclass(frozen=True)
class Derived:
    """Classes that could be made, and why each other one could not.

    Parameters
    ----------
    labels : LabelVolume
        On the grid of the segmentation; classes overlap. Class i of the taxonomy has the same place in the order of
        ``label_ids`` as among those present.
    absent : dict of str to str
        Reason by class.
    """

    labels: LabelVolume
    absent: dict[str, str]


def derive(ct: Volume, labels: LabelVolume, taxonomy: Taxonomy) -> Derived:
    """Make every class of a taxonomy that these labels allow.

    A class is the union of those of its sources that are there, or is cut out of them by its rule; see
    :mod:`drrproj.dataset.derive_rules`. It is absent where none is there of what it needs. The rules work in patient
    coordinates, so the order and direction of the array's axes do not matter. "Between the lungs" and "in front of the
    heart" mean along the grid's axes nearest to the patient's, which is the same thing for a scan that is not oblique.

    Parameters
    ----------
    ct : Volume
        In HU, for the lung vessels; its grid may differ.
    labels : LabelVolume
        Structures named as TotalSegmentator or the taxonomy names them.
    taxonomy : Taxonomy

    Returns
    -------
    Derived
        Every class has at least one voxel in ``labels`` or a reason in ``absent``.

    Raises
    ------
    TypeError
        If an argument is not the value it should be.
    ValueError
        If no class at all can be made.

    Examples
    --------
    >>> from drrproj.dataset.derive import derive
    >>> from drrproj.dataset.taxonomy import read_taxonomy
    >>> from drrproj.io import read_sample
    >>> derived = derive(*read_sample(), read_taxonomy("paxray"))
    >>> len(derived.labels.label_ids), derived.absent["sacrum"]
    (155, 'the labels have none of sacrum, vertebrae_S1')
    """
    for what, value, kind in (("ct", ct, Volume), ("labels", labels, LabelVolume), ("taxonomy", taxonomy, Taxonomy)):
        if not isinstance(value, kind):
            raise TypeError(f"{what} must be of type {kind.__name__}; got {type(value).__name__}")
    return classes_of(Partition(labels, ct), taxonomy)


def classes_of(partition: Partition, taxonomy: Taxonomy) -> Derived:
    """Make every class of a taxonomy as :func:`derive` does, of a partition, which it uses up.

    For who needs the memory of the labels: a partition has voxels of its own.

    Raises
    ------
    ValueError
        As :func:`derive`.
    """
    structures = sorted(partition.numbers)
    absent: dict[str, str] = {}
    for anatomy in _sources_first(taxonomy):
        reason = _add(partition, anatomy)
        if reason:
            absent[anatomy.name] = reason
            partition.forget(anatomy.name)
    present = [name for name in taxonomy.names if name not in absent]
    if not present:
        raise ValueError(
            f"none of the {len(taxonomy.names)} classes of {taxonomy.name!r} can be made; the labels have "
            f"{', '.join(structures[:5]) or 'no structure'} ...: are they named as TotalSegmentator names them?"
        )
    return Derived(_labels(partition, present), {name: absent[name] for name in taxonomy.names if name in absent})


def _add(partition: Partition, anatomy: AnatomyClass) -> str | None:
    if not anatomy.sources:
        return "no segmentation that this taxonomy knows has it"
    if anatomy.needs and not partition.those_of(anatomy.needs):
        return f"the labels have none of {', '.join(anatomy.needs)}"
    if anatomy.rule is None:
        made = partition.add_union(anatomy.name, anatomy.sources)
        return None if made else f"the labels have none of {', '.join(anatomy.sources)}"
    try:
        cut = RULES[anatomy.rule](partition, anatomy.sources)
    except NotDerivable as error:
        return f"rule {anatomy.rule!r}: {error}"
    if not partition.add(anatomy.name, cut):
        return f"rule {anatomy.rule!r}: no voxel of {anatomy.sources[0]} is there"
    return None


def _sources_first(taxonomy: Taxonomy) -> list[AnatomyClass]:
    """Classes in an order in which each comes after those it is made of."""
    ordered: dict[str, AnatomyClass] = {}
    waiting = list(reversed(taxonomy.names))
    while waiting:
        name = waiting[-1]
        missing = [source for source in taxonomy.made_of(name) if source not in ordered]
        if missing:
            waiting += reversed(missing)
        else:
            ordered.setdefault(name, taxonomy[name])
            waiting.pop()
    return list(ordered.values())


def _labels(partition: Partition, present: list[str]) -> LabelVolume:
    ids = {name: partition.count + position for position, name in enumerate(present)}
    of_number: dict[int, list[int]] = {}
    for name, label_id in ids.items():
        for number in partition.numbers[name]:
            of_number.setdefault(number, []).append(label_id)
    partition.clear(frozenset(partition.boxes) - of_number.keys())
    names = {label_id: name for name, label_id in ids.items()}
    array, affine = partition.as_given()
    return LabelVolume(array, affine, names, overlaps={n: tuple(members) for n, members in of_number.items()})
