"""project() and Projector: checks at the door, the choice of a backend, one call."""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import platform
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import numpy.typing as npt

from drrproj import attenuation as attenuation_models
from drrproj import backends, device_arrays
from drrproj.attenuation import Attenuation
from drrproj.geometry import Geometry
from drrproj.given_numbers import whole_number
from drrproj.label_volume import LabelVolume
from drrproj.label_walks import MinPath, blanks_of, prepared_walks, shortest_paths, structures_of, traced
from drrproj.mirrored import mirrored_along
from drrproj.output_arrays import Blank, check_given
from drrproj.radiograph import LabelImages, LabelMasks, Radiograph
from drrproj.short_text import counted, near_or_known, shown
from drrproj.supersampling import Average
from drrproj.threads import checked_threads
from drrproj.version import __version__
from drrproj.volume import Volume
from drrproj.warned import warn

__all__ = ["Projector", "project"]

Output = Literal["line_integral", "path_length", "mask", "label_line_integral", "depth"]
_OUTPUTS: tuple[Output, ...] = get_args(Output)
_BY_DEFAULT: tuple[Output, ...] = ("line_integral", "path_length", "mask")
Form = Literal["dense", "crops"]
_HARDLY_ATTENUATION = -500.0
"""Attenuation is not negative but for noise and edges; most of a CT's air is below this in HU."""
_HARDLY_HU = -50.0
"""Fat and air are below this, even in the part of a patient alone; what was scaled otherwise, and labels, is not."""
_MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")
_MODELS = {
    "linear": attenuation_models.linear,
    "bilinear": attenuation_models.bilinear,
    "schneider": attenuation_models.schneider,
    "plastimatch": attenuation_models.plastimatch,
    "nanodrr": attenuation_models.nanodrr,
    "deepdrr": attenuation_models.deepdrr,
}


def project(
    volume: Volume,
    geometry: Geometry,
    *,
    labels: LabelVolume | Sequence[LabelVolume] | None = None,
    attenuation: Attenuation | str | None = None,
    outputs: Sequence[Output] | None = None,
    min_path_mm: MinPath = 0.0,
    label_images: Form = "dense",
    other_space: bool = False,
    supersampling: int = 1,
    backend: str = "auto",
    threads: int | None = None,
    out: Mapping[str, npt.NDArray[Any]] | None = None,
) -> Radiograph:
    """Project a volume, and its anatomy, to X-ray images.

    Each ray runs from the source to a pixel's centre (a whole line for a parallel beam) and is followed exactly:
    every voxel counts with the length of the ray inside it, nothing is interpolated. Outside the grid is nothing. CT
    and labels are each walked on their own grid.

    Parameters
    ----------
    volume : Volume
        CT in HU, or attenuation in 1/mm. It is not copied: an int16 CT is read as int16. Where its array is on a GPU,
        so are the results, unasked whether the voxels are finite, and perhaps still being made on the stream that was
        current.
    geometry : Geometry
        The views.
    labels : LabelVolume or sequence of LabelVolume, optional
        Anatomy in the same patient space; any grids. Structures of different volumes may overlap; their names must
        differ.
    attenuation : Attenuation, or the name of one such as "linear" or "schneider", optional
        How HU become attenuation, inside the walk. By default bilinear at 70 keV for a volume in HU; a volume in
        1/mm takes none.
    outputs : sequence of str, optional
        What to make; what is not asked for costs nothing. By default the line integral, and with labels also path
        lengths and masks. ``"line_integral"``, and per structure ``"path_length"`` (mm), ``"mask"``,
        ``"label_line_integral"`` (its share of the line integral; its labels must lie on the CT's grid of voxels)
        and ``"depth"`` (mm from the source to where a ray first meets it and to where it last leaves it).
    min_path_mm : float or mapping of name or id to float, optional
        For masks: how far a ray must run through a structure to be in its mask. By default any hit counts; a mapping
        says so for some structures and leaves the others at any hit.
    label_images : {"dense", "crops"}
        How images per structure are kept: one array of all of them, or of each only the box around what is not zero,
        which is what many structures or views need. Masks take one bit per pixel either way.
    other_space : bool
        Accept labels that do not seem to lie in the CT's patient space, because neither's centre is in the other's
        box. The record says so.
    supersampling : int
        n for n x n rays per pixel, evenly spread over it, in place of the one through its centre: against aliasing,
        and for pixels much larger than voxels. Photons are averaged, so ``transmission`` is the mean of the rays'
        and ``line_integral`` its -log; path lengths are means, and a mask is where any of the rays meets the label.
        Shares and depths have no such average and are refused, and so are crops.
    backend : {"auto", "cpu", "numba", "cuda"}
        ``auto`` takes ``cpu``, or where that is not available ``numba``; for arrays on a GPU it takes ``cuda``. A named
        one runs or raises. ``cuda`` has been compiled and emulated on the host, and not yet run on a device.
    threads : int, optional
        CPU threads. By default what ``DRRPROJ_NUM_THREADS`` or ``OMP_NUM_THREADS`` says, or every core this process may
        use. The result does not depend on it, to the last bit.
    out : mapping of str to array, optional
        Arrays to fill in place of new ones, as :meth:`Projector.project` takes them.

    Returns
    -------
    Radiograph
        ``line_integral`` (views, rows, columns) float32; ``path_length`` in mm and ``masks`` by label.

    Raises
    ------
    TypeError
        If an argument is not the value it should be.
    ValueError
        If outputs, model or threads are unknown, labels lie in another patient space, a view misses the volume, or
        the volume holds infinite values.
    MemoryError
        If the outputs that are not given are larger than this machine's memory.
    BackendUnavailable
        If the backend cannot run here.

    Warns
    -----
    UserWarning
        If a source stands inside the volume, the labels look mirrored against the CT, its values are hardly of its
        unit, or a GPU's memory does not hold the volume, which it then walks in pieces.

    Accuracy
    --------
    Against a float64 sum over sorted plane crossings, on random volumes and poses: relative L2 error below 2e-6 and
    below 1e-4 of the image maximum in any pixel (``tests/test_exact_images.py``). Images of a few rays that graze
    faces or clip a corner can exceed them: in 100,000 random scenes of small images 54 did on the C++ engine or
    Numba, the worst with 7.2e-5, and 1.1e-4 in a pixel; for rays within 5e-7 voxel of their own none did
    (``bench/scenes.py``).

    Source
    ------
    Siddon 1985, Med. Phys. 12(2), with the crossings of a slab in closed form (``csrc/walk.h``).

    Examples
    --------
    >>> import numpy as np, drrproj
    >>> water = drrproj.Volume(np.zeros((30, 20, 10), np.int16), np.diag([2, 2, 2, 1]))
    >>> view = drrproj.Geometry.radiograph("AP", water, beam="parallel", shape=(64, 64))
    >>> shot = drrproj.project(water, view, attenuation=drrproj.attenuation.linear(60))
    >>> round(float(shot.line_integral[0, 32, 32]), 4)  # 40 mm of water at 60 keV
    0.8235
    """
    projector = Projector(
        volume,
        labels=labels,
        attenuation=attenuation,
        outputs=outputs,
        min_path_mm=min_path_mm,
        label_images=label_images,
        other_space=other_space,
        supersampling=supersampling,
        backend=backend,
        threads=threads,
    )
    return projector.project(geometry, out=out)


class Projector:
    """A volume, and its anatomy, prepared once to be projected again and again: for a loop that searches a pose.

    ``Projector(volume, ...).project(geometry)`` is what :func:`project` does, to the last bit, with the same checks and
    the same record. What depends on the volume alone is checked, read and prepared here; a call pays for its rays
    and for checks of its views.

    After eight views the C++ engine looks once where the CT holds nothing but air, and skips that from then on; where
    labels are background it looks at the second view, and the label volume remembers it for other calls. No bit of a
    result changes with either. It also keeps the memory it works in: up to 5 MiB a thread, and for each label value
    that a tile of rays meets 16 KiB more, twice that with shares and four times that with depths.

    Do not change an array while a projector holds it: it is not copied, and what was once read of it, such as the
    label ids and where it is empty, is not read again. After a change make a new volume and a new projector. Several
    threads may call one projector at once. A projector can be pickled, with its arrays; it is prepared anew where it
    arrives, for the same backend. The last bits may then be others: arrays arrive at other addresses, and views of
    others in other strides, by which the walk chooses its order.

    Parameters
    ----------
    volume : Volume
        CT in HU, or attenuation in 1/mm.
    labels : LabelVolume or sequence of LabelVolume, optional
        Anatomy in the same patient space; any grids. Structures of different volumes may overlap; their names must
        differ.
    attenuation : Attenuation, or the name of one such as "linear" or "schneider", optional
        How HU become attenuation. By default bilinear at 70 keV for a volume in HU.
    outputs, min_path_mm, label_images, other_space, supersampling : optional
        What every call makes, as in :func:`project`.
    backend : {"auto", "cpu", "numba", "cuda"}
        ``auto`` takes ``cpu``, or where that is not available ``numba``; for arrays on a GPU it takes ``cuda``. A named
        one runs or raises. ``cuda`` has been compiled and emulated on the host, and not yet run on a device.
    threads : int, optional
        CPU threads of each call. By default as for :func:`project`, as things stand now.

    Raises
    ------
    TypeError
        If an argument is not the value it should be.
    ValueError
        If outputs, model or threads are unknown, or labels lie in another patient space.
    BackendUnavailable
        If the backend cannot run here.

    Warns
    -----
    UserWarning
        If the labels look mirrored against the CT, its values are hardly of its unit, or a GPU's memory does not hold
        the volume, which every call then copies there in pieces; and from a call, if a source stands inside the volume.

    Accuracy
    --------
    That of :func:`project`.

    Examples
    --------
    >>> import numpy as np, drrproj
    >>> water = drrproj.Volume(np.zeros((30, 20, 10), np.int16), np.diag([2, 2, 2, 1]))
    >>> projector = drrproj.Projector(water, attenuation=drrproj.attenuation.linear(60))
    >>> for view in ("AP", "LL"):  # 40 mm and 60 mm of water at 60 keV
    ...     shot = projector.project(drrproj.Geometry.radiograph(view, water, beam="parallel", shape=(64, 64)))
    ...     print(round(float(shot.line_integral[0, 32, 32]), 2))
    0.82
    1.24
    """

    def __init__(
        self,
        volume: Volume,
        *,
        labels: LabelVolume | Sequence[LabelVolume] | None = None,
        attenuation: Attenuation | str | None = None,
        outputs: Sequence[Output] | None = None,
        min_path_mm: MinPath = 0.0,
        label_images: Form = "dense",
        other_space: bool = False,
        supersampling: int = 1,
        backend: str = "auto",
        threads: int | None = None,
    ) -> None:
        if not isinstance(volume, Volume):
            raise TypeError(
                f"volume must be a drrproj.Volume; got {_instead(volume, 'read_volume', 'Volume(array, affine)')}"
            )
        anatomy = _checked_labels(labels)
        wanted = _checked_outputs(outputs, anatomy)
        model = _checked_attenuation(attenuation, volume)
        threads = checked_threads(threads)
        if label_images not in get_args(Form):
            raise ValueError(f'label_images must be "dense" or "crops"; got {label_images!r}')
        _check_supersampling(supersampling, wanted, label_images)
        on_device = _check_places(volume, anatomy, backend, supersampling, label_images)
        name, engine = backends.choose("cuda" if on_device else backend)
        elsewhere = [(each, reason) for each in anatomy if (reason := _elsewhere(volume, each))]
        if elsewhere and not other_space:
            raise ValueError(f"labels are on another patient space: {elsewhere[0][1]}; other_space=True accepts them")
        # Looking at voxels here and there is for the host.
        if not on_device:
            _warn_of_unit(volume)
            for each in anatomy:
                _warn_of_mirrored_labels(volume, each)
        walked = anatomy if set(wanted) - {"line_integral"} else ()
        structures = structures_of(walked)
        shortest = shortest_paths(min_path_mm, structures, anatomy, "mask" in wanted)

        # Nothing of this changes after here, which is what lets several threads call one projector.
        self._volume, self._labels, self._model = volume, anatomy, model
        self._outputs, self._supersampling, self._threads = wanted, int(supersampling), threads
        self._min_path_mm = dict(min_path_mm) if isinstance(min_path_mm, Mapping) else min_path_mm
        self._form, self._other_space = label_images, other_space
        self._backend, self._engine = name, engine
        self._label_ids = tuple(structure.label_id for structure in structures)
        self._names = tuple(structure.name for structure in structures)
        self._corners = np.column_stack([volume.corners, np.ones(8)]).T
        # A GPU's memory is that of the library which makes the outputs there.
        self._memory = float("inf") if on_device else _memory()
        self._walks = prepared_walks(engine, volume, model, walked, structures, shortest, wanted)
        pieces = max(getattr(walk.prepared, "pieces", 1) for walk in self._walks)
        if pieces > 1:
            warn(
                f"the GPU's memory does not hold the volume: it is walked in {pieces} pieces, which every call copies "
                'there anew; crop it, resample it, see whether backend="cpu" is faster, or give back what torch and '
                "CuPy keep for later (torch.cuda.empty_cache(), cupy.get_default_memory_pool().free_all_blocks())",
            )
        self._record = pickle.dumps(
            {
                "versions": {"drrproj": __version__, "python": platform.python_version(), "numpy": np.__version__},
                "backend": {"name": name, "instruction_set": None, "threads": self._threads, "pieces": pieces},
                "volume": {**_grid_record(volume), "unit": volume.unit},
                "labels": [
                    {
                        **_grid_record(each),
                        "other_space": any(each is other for other, _ in elsewhere),
                        "names": {
                            structure.label_id: structure.name for structure in structures if structure.labels is each
                        },
                        "groups": {
                            each.name_of(group): [each.name_of(member) for member in members]
                            for group, members in each.groups.items()
                        },
                    }
                    for each in anatomy
                ],
                "min_path_mm": dict(zip(self._names, shortest, strict=True)) if "mask" in wanted else None,
                "attenuation": model.as_record() if model else None,
                "geometry": None,
                "outputs": list(wanted),
                "supersampling": self._supersampling,
            }
        )

    def __repr__(self) -> str:
        structures = [counted(len(self._names), "structure")] if self._names else []
        parts = [repr(self._volume), *structures, ", ".join(self._outputs), f"backend {self._backend}"]
        return f"Projector({'; '.join(parts)})"

    def project(self, geometry: Geometry, *, out: Mapping[str, npt.NDArray[Any]] | None = None) -> Radiograph:
        """Project what was prepared to the views of a geometry.

        Parameters
        ----------
        geometry : Geometry
            The views.
        out : mapping of str to array, optional
            Arrays to fill in place of new ones, for those that are used again and again or lie somewhere particular,
            as in a file (``numpy.memmap``) or shared memory; what was in them is lost. By name: ``line_integral`` and
            ``background_line_integral`` (views, rows, columns) float32; ``path_length``, ``label_line_integral``,
            ``entry_depth`` and ``exit_depth`` (structures, views, rows, columns) float32; ``mask`` (structures, views,
            rows, ceil(columns / 8)) uint8, the masks' bits as in ``masks.packed``. In C order, where the volume is. The
            radiograph holds these very arrays.

        Returns
        -------
        Radiograph
            The outputs that the projector was made for.

        Raises
        ------
        TypeError
            If the geometry is none, ``out`` is no mapping, or an array in it has another type or is elsewhere.
        ValueError
            If a view misses the volume, the volume holds infinite values, or an array in ``out`` is not made here, or
            cannot be filled as it is.
        MemoryError
            If the outputs that are not given are larger than this machine's memory.

        Examples
        --------
        >>> import numpy as np, drrproj
        >>> water = drrproj.Volume(np.zeros((30, 20, 10), np.int16), np.diag([2, 2, 2, 1]))
        >>> projector = drrproj.Projector(water)
        >>> image = np.empty((1, 64, 64), np.float32)
        >>> view = drrproj.Geometry.radiograph("AP", water, shape=(64, 64))
        >>> for degrees in (0, 1, 2):
        ...     shot = projector.project(view.rolled(degrees), out={"line_integral": image})
        >>> shot.line_integral is image
        True
        """
        given_views: Any = geometry
        if not isinstance(given_views, Geometry):
            got = shown(given_views) if isinstance(given_views, str) else type(given_views).__name__
            raise TypeError(
                f'geometry must be a drrproj.Geometry; got {got}; make one, such as Geometry.radiograph("PA", volume)'
            )
        _check_views(self._volume, self._corners, geometry)
        averaged = self._supersampling > 1
        if out is not None and not isinstance(out, Mapping):
            raise TypeError(f'out must name the arrays in it, {{"line_integral": array}}; got {shown(out)}')
        given = {} if out is None else dict(out)
        blanks = blanks_of(self._walks, self._outputs, len(self._label_ids), geometry, self._form)
        if given:
            inputs = [self._volume.array, *(each.array for each in self._labels)]
            check_given(given, blanks, inputs, device_arrays.is_on_device(self._volume.array))
        _check_memory(blanks, given, geometry, len(self._label_ids), averaged, self._memory)
        images = self._averaged(geometry, given) if averaged else self._traced(geometry, given)
        # Each radiograph gets a record of its own: changing one must not change the others.
        record = pickle.loads(self._record)
        record["backend"]["instruction_set"] = backends.instruction_set(self._backend)
        record["geometry"] = geometry.as_record()
        return Radiograph(
            geometry=geometry,
            images={"masks" if output == "mask" else output: held for output, held in images.items()},
            backend=self._backend,
            record=record,
        )

    def _traced(self, geometry: Geometry, given: Mapping[str, Any]) -> dict[str, Any]:
        images = traced(
            self._engine,
            self._walks,
            geometry,
            self._label_ids,
            self._names,
            self._outputs,
            self._form,
            self._threads,
            self._volume,
            given,
        )
        line_integral = images.get("line_integral")
        # On a GPU, asking would make the host wait for it.
        if isinstance(line_integral, np.ndarray) and not _is_finite(line_integral):
            raise ValueError("the volume holds infinite values; replace them, for example by air (-1000 HU)")
        # Shares alone are walked with an image as well, to be asked.
        return {output: held for output, held in images.items() if output != "line_integral" or output in self._outputs}

    def _averaged(self, geometry: Geometry, given: Mapping[str, Any]) -> dict[str, Any]:
        """Trace each ray of a pixel in a pass of its own, so that no finer image is ever held."""
        offsets = (np.arange(self._supersampling) + 0.5) / self._supersampling - 0.5

        def one_pass(offset: tuple[float, float], given: Mapping[str, Any]) -> dict[str, Any]:
            views = geometry.views.copy()
            views[:, :, 1] += views[:, :, 2:] @ offset
            return self._traced(Geometry(views, geometry.shape, geometry.names), given)

        first, *others = itertools.product(offsets, repeat=2)
        # The average is made in the arrays that the images of the first pass hold.
        images = one_pass(first, given)
        average = Average(_arrays(images))
        for offset in others:
            average.add(_arrays(one_pass(offset, {})))
        average.finish()
        return images

    def __reduce__(self) -> tuple[Any, ...]:
        # What was prepared belongs to this process: an address, or memory of a device.
        choices: dict[str, Any] = {
            "labels": self._labels or None,
            "attenuation": self._model,
            "outputs": self._outputs,
            "min_path_mm": self._min_path_mm,
            "label_images": self._form,
            "other_space": self._other_space,
            "supersampling": self._supersampling,
            "backend": self._backend,
            "threads": self._threads,
        }
        return partial(Projector, **choices), (self._volume,)


def _instead(given: object, reader: str, maker: str) -> str:
    """Say what came in place of a volume, and what makes one of it."""
    if isinstance(given, str | os.PathLike):
        return f"the path {os.fspath(given)!r}; pass {reader}() of it"
    return f"{type(given).__name__}; use {maker}"


def _checked_labels(labels: LabelVolume | Sequence[LabelVolume] | None) -> tuple[LabelVolume, ...]:
    if labels is None:
        return ()
    given: Any = labels
    is_one = isinstance(given, str) or not isinstance(given, Sequence)
    anatomy = (given,) if is_one else tuple(given)
    for each in anatomy:
        if not isinstance(each, LabelVolume):
            raise TypeError(
                "labels must be a drrproj.LabelVolume, or a list of them; got "
                f"{_instead(each, 'read_labels', 'LabelVolume(array, affine)')}"
            )
    return anatomy


def _checked_outputs(outputs: Sequence[str] | None, anatomy: tuple[LabelVolume, ...]) -> tuple[Output, ...]:
    if outputs is None:
        return _BY_DEFAULT if anatomy else _BY_DEFAULT[:1]
    if not isinstance(outputs, Iterable):
        raise TypeError(f"outputs must be names of outputs; got {shown(outputs)}")
    given = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    if not all(isinstance(output, str) for output in given):
        raise TypeError(f"outputs must be names of outputs; got {shown(outputs)}")
    wanted = tuple(dict.fromkeys(given))
    if not wanted:
        raise ValueError(f"outputs must name at least one of {', '.join(_OUTPUTS)}")
    for output in wanted:
        if output not in _OUTPUTS:
            raise ValueError(f"unknown output {output!r}; {near_or_known(output, _OUTPUTS)}")
        if output != "line_integral" and not anatomy:
            raise ValueError(f"output {output!r} needs labels; pass labels=LabelVolume(...)")
    return cast(tuple[Output, ...], wanted)


def _check_places(
    volume: Volume, anatomy: tuple[LabelVolume, ...], backend: str, supersampling: int, form: Form
) -> bool:
    """Say whether the arrays are on a GPU, and refuse what cannot be done there."""
    on_device = device_arrays.is_on_device(volume.array)
    for each in anatomy:
        if device_arrays.is_on_device(each.array) != on_device:
            raise TypeError("volume and labels must both be on the GPU, or both on the host; move one of them")
    if on_device and backend not in ("auto", "cuda"):
        raise TypeError(
            f'backend {backend!r} walks numpy arrays; the volume is on a GPU. Use backend="cuda", or move it'
        )
    is_changed = supersampling > 1 or form == "crops"
    if on_device and is_changed and device_arrays.memory_of(volume.array) is not volume.array:
        # Both change arrays that were made before, behind the back of a library whose arrays do not change.
        raise ValueError("supersampling and crops on a GPU take arrays of CuPy or torch; pass cupy.from_dlpack(array)")
    return on_device


def _check_supersampling(supersampling: int, wanted: tuple[Output, ...], form: Form) -> None:
    whole_number(supersampling, "supersampling must be a positive whole number, n for n x n rays", least=1)
    if supersampling == 1:
        return
    for output in wanted:
        if output not in _BY_DEFAULT:
            raise ValueError(
                f"output {output!r} has no average over the rays of a pixel; project it on its own, without "
                "supersampling"
            )
    if form == "crops":
        raise ValueError('supersampling averages whole images; leave out label_images="crops" (--crops)')


def _checked_attenuation(attenuation: Attenuation | str | None, volume: Volume) -> Attenuation | None:
    if volume.unit == "1/mm":
        if attenuation is not None:
            raise ValueError('attenuation turns HU into 1/mm, but the volume\'s unit is "1/mm" already; leave it out')
        return None
    if attenuation is None:
        return attenuation_models.bilinear()
    if isinstance(attenuation, Attenuation):
        return attenuation
    if not isinstance(attenuation, str) or attenuation not in _MODELS:
        name = getattr(attenuation, "__name__", "")
        if name and getattr(attenuation_models, name, None) is attenuation:
            raise TypeError(f"attenuation.{name} is what makes a model; call it: attenuation={name}(...)")
        models = ", ".join(_MODELS)
        raise ValueError(f"unknown attenuation {shown(attenuation)}; there are {models}, or pass an Attenuation")
    return _MODELS[attenuation]()


def _holds(grid: Volume | LabelVolume, point: npt.NDArray[np.float64]) -> bool:
    index = grid.voxel_from_world[:3, :3] @ point + grid.voxel_from_world[:3, 3]
    return bool(((index >= -0.5) & (index <= np.array(grid.shape) - 0.5)).all())


def _elsewhere(volume: Volume, labels: LabelVolume) -> str | None:
    """Say why labels do not seem to lie in the volume's patient space; None where they do.

    A crop has its centre inside the other's box; grids of different patients or frames usually have not.
    """
    frames = volume.frame_of_reference, labels.frame_of_reference
    if all(frames) and frames[0] != frames[1]:
        return f"their DICOM frame of reference is {frames[1]}, the CT's {frames[0]}; pass the labels of this CT"
    if _holds(volume, labels.center) or _holds(labels, volume.center):
        return None
    distance = float(np.linalg.norm(labels.center - volume.center))
    return (
        f"their centre is {distance:.0f} mm from the CT's; pass the matching file, or its affine in the same frame "
        "(RAS or LPS)"
    )


def _warn_of_unit(volume: Volume) -> None:
    """Warn of values that are hardly of their unit: a picture of them is black, or water, without a word."""
    array = np.moveaxis(volume.array, int(np.argmin(np.abs(volume.array.strides))), -1)
    # Some whole lines of memory, so that a file that is mapped is read in few places.
    places = [sorted({size // 4, size // 2, 3 * size // 4}) for size in array.shape[:2]]
    lines = array[np.ix_(*places)]
    low, high = float(np.fmin.reduce(lines, axis=None)), float(np.fmax.reduce(lines, axis=None))
    if volume.unit == "1/mm" and low <= _HARDLY_ATTENUATION:
        found, other = f"values down to {low:g}", 'Hounsfield units? Say unit="HU"'
    elif volume.unit == "HU" and array.dtype.kind == "f" and 0 <= low < high < 1:
        found, other = f"no values but from {low:g} to {high:g}", 'attenuation? Say unit="1/mm"'
    elif volume.unit == "HU" and _HARDLY_HU <= low < high < np.inf and not _has_air_beside(array):
        found = f"no values below {low:g} in the places looked at, neither air nor fat"
        other = "Hounsfield units, in which air is -1000 and water 0? Bring other scales to that first"
    else:
        return
    warn(f"the volume's unit is {volume.unit}, and it has {found}: are they {other}")


def _has_air_beside(array: npt.NDArray[Any]) -> bool:
    """Look once more, up to the edges, before it is said of a volume that it has no air."""
    places = [np.linspace(0, size - 1, 9, dtype=int) for size in array.shape[:2]]
    return bool(np.fmin.reduce(array[np.ix_(*places)], axis=None) < _HARDLY_HU)


def _warn_of_mirrored_labels(volume: Volume, labels: LabelVolume) -> None:
    exchanged = mirrored_along(volume, labels)
    if exchanged is not None:
        warn(
            f"the labels look mirrored against the CT, {exchanged} exchanged: mirrored back they fit its tissues far "
            "better; check the affine of the label file and its frame (RAS or LPS)",
        )


def _check_views(volume: Volume, corners: npt.NDArray[np.float64], geometry: Geometry) -> None:
    """Refuse views that cannot meet the volume, and say where it projects to instead of drawing black."""
    rows, columns = geometry.shape
    # A corner is a*source + b*pixel(0, 0) + r*row_step + c*column_step, and lands on row r/b and column c/b.
    solved = np.linalg.solve(geometry.views, corners[None])
    a_b_r_c = [
        (0, 1, 0, 0),  # in front of the source
        (1, 0, 0, 0),  # in front of a cone's detector
        (0, -1, 0, 0),  # behind the source
        (0, 0.5, 1, 0),  # below the upper edge
        (0, rows - 0.5, -1, 0),  # above the lower edge
        (0, 0.5, 0, 1),  # right of the left edge
        (0, columns - 0.5, 0, -1),  # left of the right edge
    ]
    farthest = (np.array(a_b_r_c) @ solved).max(axis=2).tolist()
    for view, (before_source, before_detector, behind_source, *within_edges) in enumerate(farthest):
        name = geometry.names[view]
        if before_source <= 0:
            raise ValueError(f"view {name!r} misses the volume: the volume lies behind the source")
        if before_detector <= 0 and not geometry.is_parallel[view]:
            raise ValueError(f"view {name!r} misses the volume: the volume lies behind the detector")
        if behind_source >= 0 and not geometry.is_parallel[view] and _holds(volume, geometry.sources[view]):
            warn(
                f"view {name!r}: the source is inside the volume, and what lies behind it is not in the image; "
                "check sod and isocenter",
            )
        if behind_source < 0 and min(within_edges) < 0:
            row, column = solved[view, 2:] / solved[view, 1]
            raise ValueError(
                f"view {name!r} misses the volume: it projects to rows {row.min():.0f} to {row.max():.0f} and columns "
                f"{column.min():.0f} to {column.max():.0f} of a detector with {rows} rows and {columns} columns; move "
                "the view or enlarge the detector"
            )


def _memory() -> float:
    """Bytes that this process may use; infinite where the system does not say."""
    if not hasattr(os, "sysconf"):
        return float("inf")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):
        # A container may allow less than the machine has; without one there is no such file, or it says "max".
        memory = min(memory, int(_MEMORY_LIMIT.read_text()))
    return memory


def _check_memory(
    blanks: Mapping[str, Blank],
    given: Mapping[str, Any],
    geometry: Geometry,
    labels: int,
    averaged: bool,
    memory: float,
) -> None:
    # An average holds the images of one pass beside it, and counts photons in float64.
    needed = {name: blank.nbytes * ((name not in given) + averaged) for name, blank in blanks.items()}
    if averaged and "line_integral" in needed:
        needed["line_integral"] += 2 * blanks["line_integral"].nbytes
    total = sum(needed.values())
    if total > memory:
        rows, columns = geometry.shape
        largest = max(needed, key=lambda name: needed[name])
        dense = any(len(blank.shape) == 4 and blank.dtype is np.float32 for blank in blanks.values())
        crops = 'label_images="crops" keeps of each image only the box around its structure; or ask' if dense else "Ask"
        raise MemoryError(
            f"the outputs need {total / 2**30:.1f} GiB ({largest}: {needed[largest] / 2**30:.1f} GiB for "
            f"{counted(len(geometry), 'view')} of {rows} x {columns} and {counted(labels, 'label')}); this machine has "
            f"{memory / 2**30:.1f} GiB. {crops} for fewer views, structures or outputs, or a smaller shape"
        )


def _is_finite(image: npt.NDArray[np.float32]) -> bool:
    # The sum of float32 is the faster one, and may overflow where that of float64 does not.
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(image.sum()) or np.isfinite(image.sum(dtype=np.float64)))


def _arrays(images: dict[str, Any]) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays that images hold, not copies of them."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    for output, held in images.items():
        arrays[output] = (
            held.packed if isinstance(held, LabelMasks) else held.array if isinstance(held, LabelImages) else held
        )
    return arrays


def _grid_record(grid: Volume | LabelVolume) -> dict[str, Any]:
    return {"shape": list(grid.shape), "dtype": str(grid.array.dtype), "affine": grid.affine.tolist()}
