"""Makes docs/gallery.png from the bundled chest CT: what a projection can be shown as, for docs/pictures.md."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

import drrproj
from drrproj import paxray, physics, tissue
from drrproj.io import read_sample

PICTURE = Path(__file__).with_name("gallery.png")
ACROSS, EDGE, CAPTION = 4, 250, 18

Levels = npt.NDArray[Any]


def pictures() -> Iterator[tuple[str, Levels]]:
    """Caption and levels of each picture, row by row."""
    ct, _ = read_sample()
    body = tissue.body(ct)
    view = drrproj.Geometry.radiograph("PA", ct, shape=(330, 330), pixel_spacing=1.2)
    shot = drrproj.project(body, view)
    image = shot.line_integral[0]
    log = drrproj.Display.fit(image, bits=8)
    yield "line integral", log.levels(image)
    yield "transmission, 0 to 0.25", drrproj.Display(0, 0.25, quantity="transmission", bits=8).levels(image)
    yield "line integral, inverted", drrproj.Display(log.low, log.high, bits=8, inverted=True).levels(image)
    yield "line integral, CLAHE 0.02", drrproj.Display.fit(image, bits=8, clahe=0.02).levels(image)
    yield "PAXRay faithful: hist_mastu", paxray.faithful(ct, "frontal").levels
    yield "PAXRay faithful: lateral", paxray.faithful(ct, "lateral").levels
    yield "PAXRay physical: bone_hist", paxray.physical(ct, view, "bone_hist").levels
    yield "Matsubara", paxray.matsubara(ct).levels

    paths = physics.material_paths(body, view)
    for kvp, filters in ((60, {"aluminium": 2.5}), (120, {"aluminium": 4.3})):
        signal = physics.polychromatic(paths, physics.tungsten(kvp, filters), physics.Detector("energy", "CsI", 0.6))
        yield f"{kvp} kV, {filters['aluminium']} mm Al, 0.6 mm CsI", _windowed(signal)
    veiled = physics.acquire(signal, scatter=physics.Scatter(to_primary=1.5, sigma_mm=40))
    yield "the same with scatter 1.5 : 1", _windowed(veiled)
    exposure = physics.Exposure(kerma_ugy=0.05)
    yield "the same with noise, 0.05 uGy", _windowed(physics.acquire(signal, exposure=exposure, seed=1))


def _windowed(signal: physics.Signal) -> Levels:
    levels: Levels = drrproj.Display.fit(signal.line_integral, bits=8).levels(signal.line_integral)[0]
    return levels


def make() -> None:
    """Lay the pictures out in rows, each with its caption below."""
    shown = list(pictures())
    rows = -(-len(shown) // ACROSS)
    page = Image.new("L", (ACROSS * EDGE, rows * (EDGE + CAPTION)), 255)
    draw = ImageDraw.Draw(page)
    for place, (caption, levels) in enumerate(shown):
        left, top = place % ACROSS * EDGE, place // ACROSS * (EDGE + CAPTION)
        page.paste(_square(levels), (left, top))
        draw.text((left + 4, top + EDGE + 3), caption, fill=0)
    page.quantize(64, dither=Image.Dither.NONE).save(PICTURE, optimize=True)


def _square(levels: Levels) -> Image.Image:
    """Eight bits, the aspect kept, white around."""
    if levels.dtype == np.uint16:  # Matsubara's 10 bits
        levels = np.rint(levels / 1023 * 255).astype(np.uint8)
    picture = Image.fromarray(levels)
    picture.thumbnail((EDGE - 2, EDGE - 2), Image.Resampling.LANCZOS)
    square = Image.new("L", (EDGE, EDGE), 255)
    square.paste(picture, ((EDGE - picture.width) // 2, (EDGE - picture.height) // 2))
    return square


if __name__ == "__main__":
    make()
    print(f"{PICTURE.name}: {PICTURE.stat().st_size // 1024} kB")
