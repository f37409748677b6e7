"""Is a dataset whole, and does it hold what it says?"""

from __future__ import annotations

from collections.abc import Iterator

from drrproj.dataset.store import Sample, Store, files_of

__all__ = ["problems"]


def problems(store: Store) -> Iterator[str]:
    """Read every file of a dataset and say what is wrong, one sentence each.

    Parameters
    ----------
    store : Store

    Yields
    ------
    str
        Records of another configuration, pictures and masks that are missing, damaged or unlike their record, files
        that no record speaks of, patients on both sides of a split.
    """
    spoken_of: set[str] = set()
    sides: dict[str, tuple[str | None, str]] = {}
    for record in store.records():
        case = record["case"]
        if record.get("configuration") != store.hash:
            yield f"{case}: its record is of another configuration; build again"
        if record["status"] not in ("kept", "dropped", "failed"):
            yield f"{case}: unknown status {record['status']!r}"
        if record["status"] == "kept":
            split, other = sides.setdefault(record["patient"], (record["split"], case))
            if split != record["split"]:
                yield (
                    f"patient {record['patient']} is on both sides: {other} is in {split or 'no split'} and {case} in "
                    f"{record['split'] or 'no split'}"
                )
        spoken_of |= files_of(record)
        for sample in store.samples_of(record):
            yield from _problems_of(sample, store)
    for place in sorted(store.files() - spoken_of):
        yield f"{place}: no record speaks of it; an interrupted build left it, build again"


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
