"""The engines that walk rays: the contract they share, the table of them, and the choice of one.

Every backend walks the same way and gives the same answers within float32 rounding. It gets plain arrays and matrices
and knows nothing of the rest of the package.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from drrproj.warned import warn

__all__ = [
    "NAMES",
    "Backend",
    "BackendUnavailable",
    "choose",
    "cpu_instruction_sets",
    "instruction_set",
    "use_instruction_set",
    "why_unavailable",
]

_MODULES = {
    "cpu": "drrproj.backends._cpu",
    "numba": "drrproj.backends.numba_cpu",
    "cuda": "drrproj.backends._cuda",
}
NAMES = tuple(_MODULES)
"""Backend names: those that ``"auto"`` tries, in order of preference, then those it leaves to whoever names them."""

# Not yet run on a device: nobody gets the CUDA backend unasked.
_AUTOMATIC = ("cpu", "numba")

_REMEDIES = {
    "cpu": "this installation has no compiled CPU backend; install it where there is a C++17 compiler (GCC or Clang)",
    "numba": "Numba is not installed; pip install numba",
    "cuda": "this installation has no compiled CUDA backend; install drrproj from its source where there is nvcc",
}


class BackendUnavailable(RuntimeError):
    """A backend was asked for, or needed, that cannot run here; the message says why."""


class Backend(Protocol):
    """What a backend module offers.

    ``cuda`` takes arrays on a GPU as well, all of a call, with the ``stream`` to work on as one more argument of both
    functions; the work may then still go on when they return. What it prepares has ``pieces``: more than one where the
    GPU's memory does not hold all voxels at once.

    ``cpu`` has ``LabelCache``: where a label array is background, and memory to work in. Its ``prepare`` takes one as
    ``label_cache``, to be shared by all that is prepared of one label array and the same values.
    """

    def why_unavailable(self) -> str | None:
        """Say why the backend cannot run here; None when it can."""

    def prepare(
        self,
        *,
        volume: npt.NDArray[Any] | None,
        volume_voxel_from_world: npt.NDArray[np.float64] | None,
        volume_world_from_voxel: npt.NDArray[np.float64] | None,
        knots: Sequence[float],
        heights: Sequence[float],
        slopes: Sequence[float],
        labels: npt.NDArray[Any] | None,
        labels_voxel_from_world: npt.NDArray[np.float64] | None,
        labels_world_from_voxel: npt.NDArray[np.float64] | None,
        values: Sequence[int],
        first_value: Sequence[int],
        value_indices: Sequence[int],
        min_path_mm: Sequence[float],
    ) -> Any:
        """Wrap or upload the arrays once, for many traces.

        From knot k up to the next one, ``mu = heights[k] + slopes[k] * (value - knots[k])``; a value on a knot belongs
        below it, and up to the first knot all is 0. No knots mean that the volume is attenuation already.

        ``values`` of the label volume ascend; other ones are background. Structure ``i`` of the outputs is where the
        label volume has one of the values ``values[k] for k in value_indices[first_value[i]:first_value[i + 1]]``,
        which ascend; a value may belong to several structures. Its mask is where its path is longer than
        ``min_path_mm[i]``.
        """

    def trace(
        self,
        prepared: Any,
        views: npt.NDArray[np.float64],
        shape: tuple[int, int],
        outputs: Mapping[str, npt.NDArray[Any]],
        threads: int,
    ) -> None:
        """Walk every ray of every view, and fill the arrays in ``outputs``, all zeros or NaN before, in C order.

        ``line_integral`` (views, rows, columns) float32.
        ``path_length`` (structures, views, rows, columns) float32 mm.
        ``mask`` (structures, views, rows, ceil(columns / 8)) uint8, packed as :func:`numpy.packbits` does.
        ``label_line_integral`` (structures, views, rows, columns) float32 and ``background_line_integral`` (views,
        rows, columns) float32, for labels on the volume's grid.
        ``entry_depth`` and ``exit_depth`` (structures, views, rows, columns) float32 mm along the ray, from the source
        on, of a parallel beam from the pixel on; what is not met is left as it was.
        ``box`` (structures, views, 4) int32, of where the path is not zero: rows less its first row, its last row and
        one, columns less its first column, its last column and one; zeros where the structure is not met.
        """


def _load(name: str) -> Backend | str:
    """Return the backend's module, or the reason why there is none."""
    if name not in _MODULES:
        raise ValueError(f'unknown backend {name!r}; there are "auto", {", ".join(NAMES)}')
    try:
        module = cast(Backend, importlib.import_module(_MODULES[name]))
    except ModuleNotFoundError:
        return _REMEDIES[name]
    except ImportError as error:
        return f"it does not load: {error}"
    return module.why_unavailable() or module


def why_unavailable(name: str) -> str | None:
    """Say why a backend cannot run here.

    Parameters
    ----------
    name : {"cpu", "numba", "cuda"}

    Returns
    -------
    str or None
        The reason; None when the backend can run.

    Raises
    ------
    ValueError
        If there is no backend of that name.

    Examples
    --------
    >>> from drrproj import backends
    >>> any(backends.why_unavailable(name) is None for name in backends.NAMES)
    True
    """
    loaded = _load(name)
    return loaded if isinstance(loaded, str) else None


def choose(name: str) -> tuple[str, Backend]:
    """Return the backend of that name, or for ``"auto"`` ``cpu`` or else ``numba``; and its name.

    ``"auto"`` never takes ``cuda``: that has been compiled and emulated on the host, but not yet run on a device.
    ``project()`` names it where the arrays are on a GPU already.

    Warns, once per place of call, when ``"auto"`` finds nothing faster than Numba.

    Raises
    ------
    ValueError
        If there is no backend of that name.
    BackendUnavailable
        If it, or for ``"auto"`` each of the two, cannot run here.
    """
    reasons = []
    for candidate in _AUTOMATIC if name == "auto" else (name,):
        loaded = _load(candidate)
        if not isinstance(loaded, str):
            if name == "auto" and candidate == "numba":
                what = f"using the slower Numba backend: {_REMEDIES['cpu']}"
                warn(what, RuntimeWarning)
            return candidate, loaded
        reasons.append(f"{candidate}: {loaded}" if name == "auto" else loaded)
    what = "no backend is available" if name == "auto" else f"backend {name!r} is not available"
    raise BackendUnavailable(f"{what}: {'; '.join(reasons)}")


def cpu_instruction_sets() -> tuple[str, ...]:
    """Instruction sets that the compiled CPU backend can run here, best first; empty when it is not there."""
    loaded = _load("cpu")
    return () if isinstance(loaded, str) else tuple(cast(Any, loaded).instruction_sets())


def instruction_set(name: str) -> str | None:
    """Return the instruction set that backend uses now; None where there is no choice."""
    return str(cast(Any, choose("cpu")[1]).instruction_set()) if name == "cpu" else None


def use_instruction_set(name: str) -> None:
    """Make the CPU backend use this instruction set, for tests and benchmarks; ``DRRPROJ_ISA`` does so at load.

    Raises
    ------
    ValueError
        If it does not run here.
    BackendUnavailable
        If there is no compiled CPU backend.
    """
    cast(Any, choose("cpu")[1]).use_instruction_set(name)
