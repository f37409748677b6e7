"""What goes into a file: a radiograph, and of one view where the file is one picture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from drrproj.radiograph import Radiograph

__all__ = ["line_integral_of_one_view", "require_one_view", "require_radiograph"]


def require_radiograph(radiograph: object, *others: type) -> None:
    """Refuse what is no radiograph, nor of the other types, such as one of its arrays."""
    wanted = (Radiograph, *others)
    if not isinstance(radiograph, wanted):
        raise TypeError(
            f"radiograph must be a drrproj.{' or '.join(kind.__name__ for kind in wanted)}; got "
            f"{type(radiograph).__name__}; pass what project() returned"
        )


def require_one_view(radiograph: Radiograph) -> None:
    """Refuse what is no radiograph, and one of several views where a file holds one."""
    require_radiograph(radiograph)
    names = radiograph.geometry.names
    if len(names) != 1:
        raise ValueError(
            f"one file holds one view, and this radiograph has {len(names)} ({', '.join(names)}); write one at a "
            f"time, such as radiograph[{names[0]!r}]"
        )


def line_integral_of_one_view(radiograph: Radiograph) -> npt.NDArray[np.float32]:
    """Return the line integral of a radiograph's only view, shape (rows, columns)."""
    require_one_view(radiograph)
    if "line_integral" not in radiograph.images:
        raise ValueError('this radiograph has no line integral to write; ask for outputs=("line_integral", ...)')
    image: npt.NDArray[np.float32] = radiograph.line_integral[0]
    return image
