from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

class LabelCache: ...
class Prepared: ...

def prepare(
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
    label_cache: LabelCache | None = None,
) -> Prepared: ...
def trace(
    prepared: Prepared,
    views: npt.NDArray[np.float64],
    shape: tuple[int, int],
    outputs: Mapping[str, npt.NDArray[Any]],
    threads: int,
) -> None: ...
def why_unavailable() -> str | None: ...
def instruction_sets() -> list[str]: ...
def instruction_set() -> str: ...
def use_instruction_set(name: str) -> None: ...
