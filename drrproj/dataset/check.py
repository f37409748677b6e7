"""Is a dataset whole, and does it hold what it says?"""

from __future__ import annotations

from collections.abc import Iterator

from drrproj.dataset.log import unfinished
from drrproj.dataset.store import Sample, Store, files_of, read_record

__all__ = ["problems"]


def problems(store: Store) -> Iterator[str]:
    """Read every file of a dataset and say what is wrong, one sentence each.

    Parameters
    ----------
    store : Store

    Yields
    ------
    str
        A build that did not end, records that are damaged or of another configuration, pictures and masks that are
        missing, damaged or unlike their record, files that no record speaks of, patients on both sides of a split, one
        CT as two patients.

    Raises
    ------
    OSError
        If a folder of the dataset cannot be read.
    """
    ended = unfinished(store)
    if ended is not None:
        yield ended
    spoken_of: set[str] = set()
    sides: dict[str, tuple[str | None, str]] = {}
    # By the CT's content: a case that was renamed, or comes twice, is the same patient all the same.
    of_ct: dict[str, tuple[str | None, str, str]] = {}
    for path in store.record_paths():
        try:
            record = read_record(path)
        except (OSError, ValueError) as error:
            yield str(error)
            continue
        case = record["case"]
        if record.get("configuration") != store.hash:
            yield f"{case}: its record is of another configuration; build again"
        if record["status"] not in ("kept", "dropped", "failed"):
            yield f"{case}: unknown status {record['status']!r}"
        if record["status"] == "kept":
            split, patient = record["split"], record["patient"]
            other_split, other = sides.setdefault(patient, (split, case))
            if other_split != split:
                yield f"patient {patient} is on both sides: {_in_splits(other, other_split, case, split)}"
            # A record that no build wrote may say nothing of its CT.
            digest = record.get("inputs", {}).get("ct", {}).get("sha256", case)
            other_split, other_patient, other = of_ct.setdefault(digest, (split, patient, case))
            if other_patient != patient:
                both = f", on both sides: {_in_splits(other, other_split, case, split)}" if other_split != split else ""
                yield (
                    f"{other} and {case} have the same CT, and are said to be of two patients, {other_patient} and "
                    f"{patient}{both}; drop one, or give both one patient"
                )
        spoken_of |= files_of(record)
        for sample in store.samples_of(record):
            yield from _problems_of(sample, store)
    for place in sorted(store.files() - spoken_of):
        yield f"{place}: no record speaks of it; if an interrupted build left it, build again, else move it elsewhere"


def _in_splits(one: str, split_of_one: str | None, other: str, split_of_other: str | None) -> str:
    return f"{one} is in {split_of_one or 'no split'} and {other} in {split_of_other or 'no split'}"


def _problems_of(sample: Sample, store: Store) -> Iterator[str]:
    shape = tuple(sample.record_of_view["geometry"]["shape"])
    try:
        image = sample.image()
        if image.shape != shape:
            yield f"{sample.name}: its picture has shape {image.shape}, its record says {shape}"
        masks = sample.masks()
    except FileNotFoundError as error:
        yield f"{sample.name}: {error}; build again"
        return
    except ValueError as error:
        yield f"{sample.name}: {error}; delete it and build again"
        return
    except OSError as error:
        yield f"{sample.name}: {error}"
        return
    for name, mask in masks.items():
        if mask.shape != shape:
            yield f"{sample.name}: mask {name} has shape {mask.shape}, its record says {shape}"
    areas = {name: int(mask.sum()) for name, mask in masks.items()}
    if areas != sample.areas:
        differing = sorted(name for name in areas | sample.areas if areas.get(name) != sample.areas.get(name))
        yield f"{sample.name}: masks and record differ in the areas of {', '.join(differing)}"
    both = sorted(areas.keys() & sample.absent.keys())
    if both:
        yield f"{sample.name}: {', '.join(both)} are there and absent at once"
    unknown = sorted((areas.keys() | sample.absent.keys()) - set(store.declared_classes or areas | sample.absent))
    if unknown:
        yield f"{sample.name}: {', '.join(unknown)} are no classes of this dataset"
