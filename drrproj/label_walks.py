"""Which walks a projection needs: the image, and the labels with it where they lie on its grid, else on their own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from drrproj import device_arrays
from drrproj.attenuation import Attenuation
from drrproj.backends import Backend
from drrproj.geometry import Geometry
from drrproj.label_volume import LabelVolume
from drrproj.output_arrays import Blank, filled_arrays
from drrproj.radiograph import LabelCrops, LabelImages, LabelMasks
from drrproj.volume import Volume

__all__ = ["MinPath", "Structure", "Walk", "blanks_of", "prepared_walks", "shortest_paths", "structures_of", "traced"]

MinPath = float | Mapping[int | str, float]

# Grids that differ by less, in voxels, differ by the rounding of their headers.
_SAME_VOXEL = 1e-4
# Images of floats per structure; a mask has bits.
_FLOAT_IMAGES = ("path_length", "label_line_integral", "entry_depth", "exit_depth")
_DEPTHS = ("entry_depth", "exit_depth")
_NO_PIECES: dict[str, Sequence[float]] = {"knots": (), "heights": (), "slopes": ()}
_SHARES = ("label_line_integral", "background_line_integral")


class Structure(NamedTuple):
    """What is reported on its own: the voxels of one label volume that have one of some values."""

    label_id: int
    name: str
    labels: LabelVolume
    values: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Walk:
    """What one call of a backend walks, which of the structures it meets, and what it makes of them."""

    prepared: Any
    structures: slice
    outputs: tuple[str, ...]


def structures_of(anatomy: Sequence[LabelVolume]) -> tuple[Structure, ...]:
    """Return the structures of all label volumes, in order; their names must differ."""
    for place, labels in enumerate(anatomy):
        if any(labels is other for other in anatomy[:place]):
            raise ValueError("the same label volume is given twice; give each one once")
    structures = [
        Structure(label_id, labels.name_of(label_id), labels, values)
        for labels in anatomy
        for label_id, values in labels.values_by_structure.items()
    ]
    seen: dict[str, Structure] = {}
    for structure in structures:
        other = seen.setdefault(structure.name, structure)
        if other is not structure and other.labels is structure.labels:
            raise ValueError(
                f"labels {other.label_id} and {structure.label_id} are both called {structure.name!r}, one of them for "
                "want of a name; give it one"
            )
        if other is not structure:
            raise ValueError(
                f"two label volumes have a structure named {structure.name!r}; give one another name "
                f'(read_labels(file, names={{{structure.label_id}: "heart"}}), or --names), put masks of one structure '
                "each into one folder, or take one out (labels.subset([...]), or --structures)"
            )
    return tuple(structures)


def shortest_paths(
    min_path_mm: MinPath, structures: Sequence[Structure], anatomy: Sequence[LabelVolume], with_masks: bool
) -> tuple[float, ...]:
    """Return the path length that each structure's mask asks for, mm."""
    given = min_path_mm if isinstance(min_path_mm, Mapping) else {"": min_path_mm}
    for key, least in given.items():
        if isinstance(least, bool) or not isinstance(least, int | float | np.number) or not 0 <= least < math.inf:
            raise ValueError(
                f"min_path_mm must be millimetres, 0 or more; got {least!r}" + (f" for {key!r}" * bool(key))
            )
    if any(given.values()) and not with_masks:
        raise ValueError('min_path_mm belongs to masks; ask for outputs=("mask", ...)')
    if not isinstance(min_path_mm, Mapping):
        return (float(min_path_mm),) * len(structures)
    least_of: dict[int, float] = {}
    for key, least in min_path_mm.items():
        places = [place for place, structure in enumerate(structures) if key in (structure.name, structure.label_id)]
        if len(places) > 1:
            raise KeyError(f"id {key} is in several label volumes; use the name")
        if not places:
            # A structure that is known and does not occur has no mask to shorten; an unknown one raises.
            failures = []
            for labels in anatomy:
                try:
                    labels.id_of(key)
                except KeyError as error:
                    failures.append(error)
            if len(failures) == len(anatomy):
                raise failures[0]
        for place in places:
            if place in least_of:
                raise ValueError(
                    f"min_path_mm must say once what {structures[place].name!r} needs; got it by name and by id"
                )
            least_of[place] = float(least)
    return tuple(least_of.get(place, 0.0) for place in range(len(structures)))


def prepared_walks(
    engine: Backend,
    volume: Volume,
    model: Attenuation | None,
    anatomy: Sequence[LabelVolume],
    structures: Sequence[Structure],
    shortest: Sequence[float],
    wanted: Sequence[str],
) -> tuple[Walk, ...]:
    """Prepare what the wanted outputs need to be walked, as few walks as there can be."""
    wanted = tuple(name for output in wanted for name in (_DEPTHS if output == "depth" else (output,)))
    image: dict[str, Any] = {
        "volume": device_arrays.memory_of(volume.array),
        "volume_voxel_from_world": volume.voxel_from_world,
        "volume_world_from_voxel": volume.affine,
        **(_pieces(model) if model else _NO_PIECES),
    }
    no_image: dict[str, Any] = {
        **dict.fromkeys(("volume", "volume_voxel_from_world", "volume_world_from_voxel")),
        **_NO_PIECES,
    }
    own = tuple(output for output in wanted if output not in ("line_integral", "label_line_integral"))
    lines = tuple(output for output in wanted if output == "line_integral")
    # The background of one label volume is its own; several may overlap.
    shares = _SHARES[: 1 if len(anatomy) > 1 else 2] if "label_line_integral" in wanted else ()
    # Of shares alone nobody could tell that a ray met an infinite voxel; their walk has the image at hand.
    if shares and not lines and not device_arrays.is_on_device(volume.array) and volume.array.dtype.kind == "f":
        shares = ("line_integral", *shares)
    stream = _stream(volume)
    walks = []
    first = 0
    for number, labels in enumerate(anatomy):
        count = sum(structure.labels is labels for structure in structures)
        place = slice(first, first + count)
        first += count
        members = _members(structures[place], shortest[place])
        aligned = _on_grid_of(volume, labels)
        whole = aligned is not None and aligned.array.shape == volume.shape and aligned.offset == (0, 0, 0)
        grid = _grid(aligned.array, volume) if aligned is not None and whole else _grid(labels.array, labels)
        with_shares = shares if whole else ()
        with_lines = lines if number == 0 else ()
        if own or with_shares or with_lines:
            drawn = image if with_shares or with_lines else no_image
            prepared = engine.prepare(**drawn, **grid, **members, **stream, **_cache(engine, labels, grid["labels"]))
            walks.append(Walk(prepared, place, (*with_lines, *own, *with_shares)))
        if shares and not whole:
            if aligned is None:
                raise ValueError(
                    "label_line_integral needs labels on the CT's grid of voxels; these lie on another. Resample them "
                    "to it (nearest neighbour), or ask for path_length, which any grid gives"
                )
            prepared = engine.prepare(**image, **_grid(_padded(aligned, volume), volume), **members, **stream)
            walks.append(Walk(prepared, place, shares))
    if not anatomy:
        no_labels: dict[str, Any] = dict.fromkeys(("labels", "labels_voxel_from_world", "labels_world_from_voxel"))
        walks.append(Walk(engine.prepare(**image, **no_labels, **_members((), ()), **stream), slice(0, 0), lines))
    return tuple(walks)


def _pieces(model: Attenuation) -> dict[str, Sequence[float]]:
    """Describe a law as backends take it: at each knot, how high the piece from there on begins, and its slope."""
    # Of the knots as the walk has them, so that a steep piece does not lie beside itself.
    knots = np.asarray(model.knots, np.float32).astype(np.float64)
    exact, changes = np.asarray(model.knots, np.float64), np.asarray(model.slope_changes, np.float64)
    heights = np.tril((knots[:, None] - exact) * changes).sum(axis=1)
    return {"knots": knots.tolist(), "heights": heights.tolist(), "slopes": np.cumsum(changes).tolist()}


def _outputs(walks: Sequence[Walk], wanted: Sequence[str]) -> tuple[str, ...]:
    """Return the arrays that the wanted outputs are, in order."""
    outputs = [name for output in wanted for name in (_DEPTHS if output == "depth" else (output,))]
    with_background = any("background_line_integral" in walk.outputs for walk in walks)
    return (*outputs, *(("background_line_integral",) if with_background else ()))


def blanks_of(
    walks: Sequence[Walk], wanted: Sequence[str], structures: int, geometry: Geometry, form: str
) -> dict[str, Blank]:
    """Return the arrays that are filled whole, before they are."""
    rows, columns = geometry.shape
    images = (len(geometry), rows, columns)
    blanks: dict[str, Blank] = {}
    for output in _outputs(walks, wanted):
        if output == "mask":
            blanks[output] = Blank((structures, len(geometry), rows, (columns + 7) // 8), np.uint8)
        elif output not in _FLOAT_IMAGES:
            blanks[output] = Blank(images, np.float32)
        elif form == "dense":
            blanks[output] = Blank((structures, *images), np.float32, math.nan if output in _DEPTHS else 0.0)
    return blanks


def traced(
    engine: Backend,
    walks: Sequence[Walk],
    geometry: Geometry,
    label_ids: tuple[int, ...],
    names: tuple[str, ...],
    wanted: Sequence[str],
    form: str,
    threads: int,
    volume: Volume,
    given: Mapping[str, Any],
) -> dict[str, Any]:
    """Walk all rays; return each output, images and masks per structure by label.

    What is ``given`` of the arrays that :func:`blanks_of` describes is filled in place of new ones.
    """
    if "line_integral" not in wanted and any("line_integral" in walk.outputs for walk in walks):
        wanted = (*wanted, "line_integral")
    outputs = _outputs(walks, wanted)
    blanks = blanks_of(walks, wanted, len(names), geometry, form)
    cropped = [output for output in outputs if output not in blanks]
    results = filled_arrays(blanks, given, volume)
    stream = _stream(volume)
    crops: dict[str, LabelCrops] = {}
    if cropped:
        crops = _traced_in_crops(
            engine, walks, geometry, label_ids, names, cropped, blanks, results, threads, volume, stream
        )
    else:
        _trace(engine, walks, geometry.views, geometry.shape, results, threads, stream)
    if device_arrays.is_on_device(volume.array):
        for output in results.keys() - given.keys():
            results[output] = device_arrays.handed_over(volume.array, results[output])
    images: dict[str, Any] = {}
    for output in outputs:
        if output in crops:
            images[output] = crops[output]
        elif output == "mask":
            images[output] = LabelMasks(results[output], geometry.shape[1], label_ids, names)
        elif output in _FLOAT_IMAGES:
            images[output] = LabelImages(results[output], label_ids, names)
        else:
            images[output] = results[output]
    return images


def _traced_in_crops(
    engine: Backend,
    walks: Sequence[Walk],
    geometry: Geometry,
    label_ids: tuple[int, ...],
    names: tuple[str, ...],
    cropped: Sequence[str],
    blanks: Mapping[str, Blank],
    results: Mapping[str, Any],
    threads: int,
    volume: Volume,
    stream: Mapping[str, int],
) -> dict[str, LabelCrops]:
    """Walk all rays; fill ``results``, and return the outputs that are cropped."""
    structures = len(names)
    crops: dict[str, list[list[Any]]] = {output: [[] for _ in range(structures)] for output in cropped}
    boxes = np.zeros((structures, len(geometry), 4), np.int32)
    # Whole images of one view at a time: what no ray writes to takes no memory on the host.
    of_one = {output: Blank((structures, 1, *geometry.shape), np.float32) for output in cropped}
    of_one |= {
        output: Blank((structures, 1, *blank.shape[2:]), blank.dtype)
        for output, blank in blanks.items()
        if len(blank.shape) == 4
    }
    of_one["box"] = Blank((structures, 1, 4), np.int32)
    for view in range(len(geometry)):
        whole = filled_arrays(of_one, {}, volume)
        of_view = {output: array[view : view + 1] for output, array in results.items() if array.ndim == 3}
        _trace(engine, walks, geometry.views[view : view + 1], geometry.shape, {**of_view, **whole}, threads, stream)
        box = np.array(whole["box"].tolist(), np.int32).reshape(structures, 4)
        boxes[:, view] = _half_open(box, geometry.shape)
        with device_arrays.current_device(volume.array):
            for output, array in results.items():
                if array.ndim == 4:
                    array[:, view] = whole[output][:, 0]
            for output in cropped:
                for label, (top, bottom, left, right) in enumerate(boxes[:, view].tolist()):
                    crop = device_arrays.copied(whole[output][label, 0, top:bottom, left:right])
                    if output in _DEPTHS:
                        met = whole["entry_depth"][label, 0, top:bottom, left:right] != 0
                        met |= whole["exit_depth"][label, 0, top:bottom, left:right] != 0
                        crop[~met] = np.nan
                    crops[output][label].append(crop)
    return {
        output: LabelCrops(
            crops[output], boxes, geometry.shape, label_ids, names, math.nan if output in _DEPTHS else 0.0
        )
        for output in cropped
    }


def _trace(
    engine: Backend,
    walks: Sequence[Walk],
    views: npt.NDArray[np.float64],
    shape: tuple[int, int],
    results: Mapping[str, Any],
    threads: int,
    stream: Mapping[str, int],
) -> None:
    for walk in walks:
        outputs = {
            output: results[output]
            if output.endswith("line_integral") and output != "label_line_integral"
            else results[output][walk.structures]
            for output in (*walk.outputs, *(("box",) if "box" in results and walk.structures != slice(0, 0) else ()))
        }
        engine.trace(walk.prepared, views, shape, outputs, threads, **stream)


def _cache(engine: Backend, labels: LabelVolume, array: npt.NDArray[Any]) -> dict[str, Any]:
    """Return what an engine keeps from call to call of an array of labels, as an argument for the backend.

    It stays with the labels, whose array does not change once their ids were read.
    """
    kind = getattr(engine, "LabelCache", None)
    if kind is None:
        return {}
    known: dict[Any, Any] = vars(labels).setdefault("_caches", {})
    seen_as = (kind, array.__array_interface__["data"][0], array.shape, array.strides)
    return {"label_cache": known.setdefault(seen_as, kind())}


def _stream(volume: Volume) -> dict[str, Any]:
    """Return the stream on which an array on a GPU is to be worked with, as an argument for the backend."""
    return {"stream": device_arrays.stream_of(volume.array)} if device_arrays.is_on_device(volume.array) else {}


def _half_open(box: npt.NDArray[np.int32], shape: tuple[int, int]) -> npt.NDArray[np.int32]:
    """Turn a backend's boxes, which count from the far edges, into first and behind the last row and column."""
    met = box[:, 1] > 0
    first = np.where(met[:, None], np.array(shape) - box[:, [0, 2]], 0)
    return np.stack([first[:, 0], box[:, 1], first[:, 1], box[:, 3]], axis=1).astype(np.int32)


def _members(structures: Sequence[Structure], shortest: Sequence[float]) -> dict[str, Any]:
    """Describe structures as backends take them."""
    values = sorted({value for structure in structures for value in structure.values})
    index = {value: place for place, value in enumerate(values)}
    counts = [len(structure.values) for structure in structures]
    return {
        "values": values,
        "first_value": np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64).tolist(),
        "value_indices": [index[value] for structure in structures for value in structure.values],
        "min_path_mm": list(shortest),
    }


def _grid(array: npt.NDArray[Any], place: Volume | LabelVolume) -> dict[str, Any]:
    return {
        "labels": device_arrays.memory_of(array),
        "labels_voxel_from_world": place.voxel_from_world,
        "labels_world_from_voxel": place.affine,
    }


@dataclass(frozen=True, eq=False)
class _Aligned:
    """Labels turned to the axes of a volume, and the volume's voxel where they begin."""

    array: npt.NDArray[Any]
    offset: tuple[int, int, int]


def _on_grid_of(volume: Volume, labels: LabelVolume) -> _Aligned | None:
    """See labels along the volume's axes, without a copy, where both share one lattice of voxels; else None."""
    volume_from_labels = volume.voxel_from_world @ labels.affine
    whole = np.rint(volume_from_labels)
    far = np.abs(volume_from_labels - whole)[:3] @ [*labels.shape, 1]
    if far.max() > _SAME_VOXEL or not np.array_equal(np.abs(whole[:3, :3]) @ np.ones(3), np.ones(3)):
        return None
    axes = np.abs(whole[:3, :3]).argmax(axis=1)
    if len(set(axes.tolist())) != 3:
        return None
    signs = whole[np.arange(3), axes]
    if device_arrays.is_on_device(labels.array):
        # As it lies: libraries differ in how they turn an array.
        same = np.array_equal(whole, np.eye(4)) and tuple(labels.shape) == tuple(volume.shape)
        return _Aligned(labels.array, (0, 0, 0)) if same else None
    array = labels.array.transpose(axes)[tuple(slice(None, None, -1 if sign < 0 else 1) for sign in signs)]
    starts = zip(whole[:3, 3], array.shape, signs, strict=True)
    offset = [int(start) - (size - 1 if sign < 0 else 0) for start, size, sign in starts]
    return _Aligned(array, (offset[0], offset[1], offset[2]))


def _padded(aligned: _Aligned, volume: Volume) -> npt.NDArray[Any]:
    """Copy labels into an array of the volume's shape and memory order."""
    whole = np.zeros_like(volume.array, aligned.array.dtype)
    into, out_of = [], []
    for start, size, length in zip(aligned.offset, volume.shape, aligned.array.shape, strict=True):
        low, high = max(start, 0), min(start + length, size)
        into.append(slice(low, max(high, low)))
        out_of.append(slice(low - start, max(high, low) - start))
    whole[tuple(into)] = aligned.array[tuple(out_of)]
    return whole
