"""Makes docs/demo.png, the picture in the README: what `drrproj demo` writes, side by side, with the air cut off.

The names that stand beside each overlay are shown once, on the right.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from drrproj.cli import main

PICTURE = Path(__file__).with_name("demo.png")
VIEWS = ("PA", "LL")


def make(folder: Path) -> None:
    """Write the pictures into a folder, cut the air off them, and join them."""
    assert main(["demo", "--out", str(folder)]) == 0
    names = [f"{view}{ending}" for view in VIEWS for ending in (".png", "_overlay.png")]
    drawn = [_eight_bits(folder / name) for name in names]
    across = drawn[0].shape[1]
    pictures = [picture[:, :across] for picture in drawn]
    bright = np.max([picture.max(axis=2) for picture in pictures], axis=0) > 8
    rows, columns = (np.flatnonzero(bright.any(axis=axis)) for axis in (1, 0))
    cut = [picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] for picture in pictures]
    legend = drawn[-1][: cut[0].shape[0], across:]
    # In all its colours: of 256, liver and heart would share one.
    Image.fromarray(np.concatenate([*cut, legend], axis=1)).save(PICTURE, optimize=True)


def _eight_bits(path: Path) -> npt.NDArray[np.uint8]:
    """Read RGB in 8 bits; from 16-bit grey Pillow has no way there."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture)
    if pixels.ndim == 3:
        return pixels
    return np.repeat((pixels >> 8).astype(np.uint8)[..., None], 3, axis=2)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        make(Path(temporary))
    print(f"{PICTURE.name}: {PICTURE.stat().st_size // 1024} kB")
