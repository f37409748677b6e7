"""One case: read CT and labels, judge them, project them, write images, masks and the record."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import threading
import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from drrproj import attenuation as attenuation_models
from drrproj import backends
from drrproj.attenuation import Attenuation
from drrproj.dataset.cases import Case
from drrproj.dataset.derive import classes_of
from drrproj.dataset.derive_partition import Partition
from drrproj.dataset.inputs import find_inputs
from drrproj.dataset.poses import Poses
from drrproj.dataset.quality import QualityLimits, findings
from drrproj.dataset.store import NOT_ON_VIEW, Store, files_of, read_record
from drrproj.dataset.taxonomy import Taxonomy, read_taxonomy
from drrproj.given_numbers import one_number, real_numbers
from drrproj.io.labels import read_labels
from drrproj.io.png import write_png
from drrproj.io.volumes import read_volume
from drrproj.label_volume import LabelVolume
from drrproj.project import project
from drrproj.radiograph import Radiograph
from drrproj.short_text import shown
from drrproj.version import __version__
from drrproj.volume import Volume

__all__ = ["CannotWrite", "Recipe", "made_by", "make_case", "record_death"]

_ONE_AT_A_TIME = threading.Lock()
# What goes wrong with the files of one case, and with no other's.
_OF_ONE_CASE = (errno.ENAMETOOLONG, errno.EILSEQ)


class CannotWrite(OSError):
    """The dataset cannot be written, which no other case will change: the disk is full, or the folder closed."""


def _paxray() -> Taxonomy:
    return read_taxonomy("paxray")


@dataclass(frozen=True)
class Recipe:
    """What every case is made with, and what the dataset's hash stands for, beside the splits.

    Parameters
    ----------
    poses : Poses
    window : (float, float), optional
        Line integrals shown black and white in all pictures; by default each picture's 0.5 and 99.5 percentile inside
        the body. The record of a view has the two numbers either way.
    attenuation : Attenuation
        How HU become attenuation.
    min_path_mm : float
        How far a ray must run through a structure to be in its mask; 0 for any hit.
    quality : QualityLimits, optional
        What drops a case and what is only noted; None to judge nothing.
    taxonomy : Taxonomy, optional
        The classes, made of the segmentation where it has what they need; PAXRay's by default. None for the structures
        of the label files as they are.

    Raises
    ------
    TypeError
        If poses, attenuation, quality or taxonomy are none.
    ValueError
        If the window is empty or the path is negative.
    """

    poses: Poses = field(default_factory=Poses)
    window: tuple[float, float] | None = None
    attenuation: Attenuation = field(default_factory=attenuation_models.bilinear)
    min_path_mm: float = 0.0
    quality: QualityLimits | None = field(default_factory=QualityLimits)
    taxonomy: Taxonomy | None = field(default_factory=_paxray)

    def __post_init__(self) -> None:
        # Here, because each of ten thousand cases would be read, projected and fail otherwise.
        for what, kind, may_be_none in (
            ("poses", Poses, False),
            ("attenuation", Attenuation, False),
            ("quality", QualityLimits, True),
            ("taxonomy", Taxonomy, True),
        ):
            value = getattr(self, what)
            if not (isinstance(value, kind) or (may_be_none and value is None)):
                raise TypeError(f"{what} of a recipe must be of type {kind.__name__}; got {shown(value)}")
        if self.window is not None:
            wanted = "window must be two line integrals, low below high"
            window = real_numbers(self.window, wanted)
            if window.shape != (2,) or not np.isfinite(window).all() or not window[0] < window[1]:
                raise ValueError(f"{wanted}; got {shown(self.window)}")
        one_number(self.min_path_mm, "min_path_mm must not be negative", least=0)

    def as_record(self) -> dict[str, Any]:
        """Plain values that say all of it."""
        return {
            **self.poses.as_record(),
            "window": None if self.window is None else list(self.window),
            "attenuation": self.attenuation.as_record(),
            "min_path_mm": self.min_path_mm,
            "quality": None if self.quality is None else self.quality.as_record(),
            "taxonomy": None if self.taxonomy is None else _taxonomy_record(self.taxonomy),
        }

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the classes, in order; None when the label files decide."""
        return None if self.taxonomy is None else self.taxonomy.names

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """Classes of each group."""
        return {} if self.taxonomy is None else self.taxonomy.groups


def _taxonomy_record(taxonomy: Taxonomy) -> dict[str, str]:
    """Its name, and a hash that tells one that was edited."""
    text = json.dumps([asdict(anatomy) for anatomy in taxonomy.classes], sort_keys=True, ensure_ascii=False)
    return {"name": taxonomy.name, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def make_case(case: Case, split: str | None, store: Store, recipe: Recipe, threads: int) -> dict[str, Any]:
    """Make one case; whatever is wrong with it becomes its record.

    Parameters
    ----------
    case : Case
    split : str or None
    store : Store
        Where to.
    recipe : Recipe
    threads : int
        Of the projection; the result does not depend on it.

    Returns
    -------
    dict
        A line for the log: ``case``, ``status``, ``reasons``, ``files`` and the seconds it took. The status is that of
        the record, or ``stale`` where the case cannot be made now, and has pictures or masks from before: then what
        there is of it, its record too, stays as it was.

    Raises
    ------
    CannotWrite
        If the dataset cannot be written.
    ChildProcessError
        If this process has another version or backend than the one that started the build.
    """
    _refuse_others(store)
    # What Python knows of warnings is one for all threads of a process, and one case's would land in another's record.
    with _ONE_AT_A_TIME:
        return _make_case(case, split, store, recipe, threads)


def _refuse_others(store: Store) -> None:
    asked = store.configuration.get("made_by")
    here = made_by()
    if asked not in (None, here):
        raise ChildProcessError(
            f"a worker on {platform.node()} has {_made_by_in_words(here)}, and this dataset is made by "
            f"{_made_by_in_words(asked)}; install the same drrproj for all workers"
        )


def made_by() -> dict[str, str]:
    """Version and backend of this process, which one dataset has one of, because others may round otherwise."""
    with warnings.catch_warnings():
        # That a backend is slow is said where it projects.
        warnings.simplefilter("ignore")
        return {"drrproj": __version__, "backend": backends.choose("auto")[0]}


def _made_by_in_words(made: Mapping[str, str]) -> str:
    return f"drrproj {made['drrproj']} with the backend {made['backend']}"


def _make_case(case: Case, split: str | None, store: Store, recipe: Recipe, threads: int) -> dict[str, Any]:
    start = time.perf_counter()
    seconds: dict[str, float] = {}
    shot: Radiograph | None = None
    reasons: list[dict[str, str]] = []
    absent: dict[str, str] = {}
    inputs: dict[str, Any] = {}
    stamp: int | None = None
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            found = find_inputs(case)
            inputs, stamp = found.as_record(), found.stamp
            seconds["hashing"] = time.perf_counter() - start
            # Read again at once, so that the system still has them in its memory.
            ct, labels = _read(case)
            if find_inputs(case) != found:
                raise ValueError("its files changed while they were read; build again when nobody writes them")
            seconds["reading"] = time.perf_counter() - start - sum(seconds.values())
            if recipe.quality is not None:
                reasons += [asdict(finding) for finding in findings(ct, labels, recipe.quality)]
            seconds["judging"] = time.perf_counter() - start - sum(seconds.values())
            if any(reason["severity"] == "drop" for reason in reasons):
                status = "dropped"
            else:
                status = "kept"
                if recipe.taxonomy is not None:
                    partition = Partition(labels, ct)
                    # The partition has voxels of its own, and deriving needs the memory.
                    del labels
                    labels, absent = _derived(partition, recipe.taxonomy)
                    del partition
                    seconds["deriving"] = time.perf_counter() - start - sum(seconds.values())
                shot = _project(ct, labels, case.case_id, recipe, threads)
                seconds["projecting"] = time.perf_counter() - start - sum(seconds.values())
            # Writing needs none of it, and the next case needs the memory.
            del ct, labels
        except Exception as error:  # a case that nobody foresaw must not stop ten thousand others
            status = "failed"
            reasons.append(_failure(error))
    reasons += [{"rule": "warning", "severity": "warn", "message": _as_text(str(each.message))} for each in heard]
    if status == "failed" and (old := _there(store, case, recipe)):
        # Pictures that cannot be made again are worth more than the news that they cannot.
        return _line(case, "stale", reasons, old, seconds)
    started_writing = time.perf_counter()
    record = _written(case, split, store, recipe, status, reasons, inputs, stamp, shot, absent)
    seconds["writing"] = time.perf_counter() - started_writing
    return _line(case, record["status"], reasons, sorted(files_of(record)), seconds)


def _there(store: Store, case: Case, recipe: Recipe) -> list[str]:
    """Places of the pictures and masks of a case that its record speaks of, or that are there without a sound one."""
    try:
        return sorted(files_of(read_record(store.record_path(case.case_id))))
    except (OSError, ValueError):
        places = [place for view in recipe.poses.names for place in store.places(case.case_id, view)]
        return [place for place in places if (store.path / place).exists()]


def _written(
    case: Case,
    split: str | None,
    store: Store,
    recipe: Recipe,
    status: str,
    reasons: list[dict[str, str]],
    inputs: dict[str, Any],
    stamp: int | None,
    shot: Radiograph | None,
    absent: dict[str, str],
) -> dict[str, Any]:
    """Write pictures, masks and record, and return it; what goes wrong with this case alone makes it ``failed``."""
    record = _record(case, split, status, reasons, inputs)
    try:
        # First, so that a kill leaves no new picture under an old record.
        store.record_path(case.case_id).unlink(missing_ok=True)
        try:
            if shot is not None:
                record["views"] = {
                    view: _write_view(store, case.case_id, view, shot[view], recipe, absent)
                    for view in shot.geometry.names
                }
            store.write_record(record, stamp)
        except Exception as error:
            if isinstance(error, OSError) and error.errno not in _OF_ONE_CASE:
                raise
            reasons.append(_failure(error))
            record |= {"status": "failed", "views": {}}
            store.write_record(record, stamp)
    except OSError as error:
        raise CannotWrite(_sentence(error)) from error
    return record


def record_death(case: Case, split: str | None, store: Store, recipe: Recipe) -> dict[str, Any]:
    """Record as failed, in another process, a case that killed its own; return what :func:`make_case` does.

    Raises
    ------
    CannotWrite
        If the dataset cannot be written.
    """
    message = "its process died, most likely for want of memory; run it with fewer workers, or on a larger machine"
    reasons = [{"rule": "readable", "severity": "drop", "message": message}]
    if old := _there(store, case, recipe):
        return _line(case, "stale", reasons, old, {})
    try:
        store.write_record(_record(case, split, "failed", reasons, {}))
    except OSError as error:
        raise CannotWrite(_sentence(error)) from error
    return _line(case, "failed", reasons, [], {})


def _record(
    case: Case, split: str | None, status: str, reasons: list[dict[str, str]], inputs: dict[str, Any]
) -> dict[str, Any]:
    return {
        "case": case.case_id,
        "patient": case.patient_id,
        "status": status,
        "reasons": reasons,
        "split": split,
        "inputs": inputs,
        # Kinds of CPU round otherwise in the last bit, which may be one grey level.
        "instruction_set": backends.instruction_set(made_by()["backend"]),
        "views": {},
    }


def _line(
    case: Case, status: str, reasons: list[dict[str, str]], files: list[str], seconds: dict[str, float]
) -> dict[str, Any]:
    return {
        "case": case.case_id,
        "patient": case.patient_id,
        "status": status,
        "reasons": reasons,
        "ct": _as_text(os.fspath(case.ct)),
        "labels": _as_text(os.fspath(case.labels)),
        "files": files,
        "seconds": {step: round(spent, 3) for step, spent in seconds.items()},
        "process": os.getpid(),
    }


def _read(case: Case) -> tuple[Volume, LabelVolume]:
    ct = read_volume(case.ct)
    return ct, read_labels(case.labels, case.names, volume=ct)


def _derived(partition: Partition, taxonomy: Taxonomy) -> tuple[LabelVolume, dict[str, str]]:
    derived = classes_of(partition, taxonomy)
    return derived.labels, derived.absent


def _project(ct: Volume, labels: LabelVolume, case_id: str, recipe: Recipe, threads: int) -> Radiograph:
    return project(
        ct,
        recipe.poses.geometry(case_id, ct),
        labels=labels,
        attenuation=recipe.attenuation,
        outputs=("line_integral", "mask"),
        min_path_mm=recipe.min_path_mm,
        threads=threads,
    )


def _write_view(
    store: Store, case_id: str, view: str, shot: Radiograph, recipe: Recipe, absent: dict[str, str]
) -> dict[str, Any]:
    masks = shot.masks
    image, _ = store.places(case_id, view)
    display = write_png(store.path / image, shot, recipe.window)
    rows, columns = shot.geometry.shape
    areas = dict(zip(masks, masks.areas[:, 0].tolist(), strict=True))
    present = [name for name in _ordered(areas, store) if areas[name]]
    packed = np.stack([masks.packed[list(masks).index(name), 0] for name in present]) if present else _none(shot)
    least = recipe.min_path_mm
    reason = f"{NOT_ON_VIEW} {f'runs through them for more than {least:g} mm' if least else 'meets them'}"
    without = absent | {name: reason for name, area in areas.items() if not area}
    return {
        "image": image,
        "masks": store.write_masks(case_id, view, present, packed, (rows, columns)),
        "geometry": shot.geometry.as_record(),
        "display": display.as_record(),
        "areas": {name: areas[name] for name in present},
        "absent": {name: without[name] for name in _ordered(without, store)},
    }


def _ordered(names: Mapping[str, object], store: Store) -> list[str]:
    return (
        sorted(names) if store.declared_classes is None else [name for name in store.declared_classes if name in names]
    )


def _none(shot: Radiograph) -> Any:
    rows, columns = shot.geometry.shape
    return np.zeros((0, rows, (columns + 7) // 8), np.uint8)


def _failure(error: Exception) -> dict[str, str]:
    return {"rule": "readable", "severity": "drop", "message": _sentence(error)}


def _sentence(error: Exception) -> str:
    # The text of a KeyError is its argument in quotes.
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    expected = (ValueError, TypeError, KeyError, OSError, MemoryError)
    said = _as_text(" ".join(text.split())) or type(error).__name__
    return said if isinstance(error, expected) else f"{type(error).__name__}: {said}"


def _as_text(text: str) -> str:
    """Show the bytes of a path that are no text."""
    return text.encode(errors="backslashreplace").decode()
