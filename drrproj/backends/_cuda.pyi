from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

class Prepared:
    @property
    def pieces(self) -> int: ...

def prepare(
    *,
    volume: Any,
    volume_voxel_from_world: npt.NDArray[np.float64] | None,
    volume_world_from_voxel: npt.NDArray[np.float64] | None,
    knots: Sequence[float],
    heights: Sequence[float],
    slopes: Sequence[float],
    labels: Any,
    labels_voxel_from_world: npt.NDArray[np.float64] | None,
    labels_world_from_voxel: npt.NDArray[np.float64] | None,
    values: Sequence[int],
    first_value: Sequence[int],
    value_indices: Sequence[int],
    min_path_mm: Sequence[float],
    stream: int | None = None,
) -> Prepared: ...
def trace(
    prepared: Prepared,
    views: npt.NDArray[np.float64],
    shape: tuple[int, int],
    outputs: Mapping[str, Any],
    threads: int,
    stream: int | None = None,
) -> None: ...
def why_unavailable() -> str | None: ...
