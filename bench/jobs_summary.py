"""Puts the figures of whole jobs, from file to picture and of polychromatic images, into the README.

    python bench/files.py --json bench/files.json
    python bench/rendering.py --json bench/rendering.json
    python bench/display.py --json bench/display.json
    python bench/jobs_summary.py README.md

A test holds the README to the figures that lie beside this file.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from summary import put_between

BEGIN, END = (
    "<!-- figures of bench/files.json, rendering.json and display.json -->",
    "<!-- end of the jobs' figures -->",
)


def table() -> Iterator[str]:
    """One line per job, and the machines."""
    files, rendering, display = (_figures(f"{name}.json") for name in ("files", "rendering", "display"))
    ratio = {(row["what"], row["against"]): f"{row['ratio']:.1f}" for row in files["ratios"]}
    yield f"- From a file of {' x '.join(map(str, files['shape']))} voxels to a PNG takes, in units of reading alone:"
    yield f"  DICOM series {ratio['DICOM to PNG', 'DICOM, by pydicom alone']} of pydicom's,"
    yield f"  gzipped NIfTI {ratio['NIfTI to PNG', 'NIfTI, by nibabel']} of nibabel's,"
    yield f"  {ratio['NIfTI to PNG', 'NIfTI, by drrproj']} of drrproj's own."
    image = next(row for row in rendering["rows"] if row["name"] == "polychromatic image" and row["threads"] == 2)
    side = rendering["side"]
    yield f"- A polychromatic image of {side} x {side} pixels, from path lengths in 5 materials, takes"
    yield f"  {image['median']:.0f} ms on 2 threads."
    most = max(row["share"] for row in display["rows"] if row["share"] is not None)
    yield f"- Windows and grey levels of a picture take up to {100 * most:.0f} % of its projection."
    for name, figures in (("Files", files), ("polychromatic", rendering), ("grey levels", display)):
        machine = figures["machine"]
        yield f"  {name}: {machine['cpu']}, {machine['cores']} cores, {machine['date']}."


def _figures(name: str) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads((Path(__file__).parent / name).read_text(encoding="utf-8"))
    return figures


if __name__ == "__main__":
    readme = Path(sys.argv[1])
    readme.write_text(put_between(readme.read_text(encoding="utf-8"), BEGIN, END, table()), encoding="utf-8")
