from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

class Prepared: ...

def prepare(
    *,
    volume: npt.NDArray[Any] | None,
    volume_voxel_from_world: npt.NDArray[np.float64] | None,
    volume_world_from_voxel: npt.NDArray[np.float64] | None,
    knots: Sequence[float],
    slope_changes: Sequence[float],
    labels: npt.NDArray[Any] | None,
    labels_voxel_from_world: npt.NDArray[np.float64] | None,
    labels_world_from_voxel: npt.NDArray[np.float64] | None,
    label_ids: Sequence[int],
) -> Prepared: ...
def trace(
    prepared: Prepared,
    views: npt.NDArray[np.float64],
    shape: tuple[int, int],
    outputs: Sequence[str],
    threads: int,
) -> dict[str, npt.NDArray[Any]]: ...
def why_unavailable() -> str | None: ...
def instruction_sets() -> list[str]: ...
def instruction_set() -> str: ...
def use_instruction_set(name: str) -> None: ...
