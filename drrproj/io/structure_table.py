"""A table of where each structure is in each view."""

from __future__ import annotations

import csv
import io
import os

from drrproj.io.chosen_masks import chosen_masks
from drrproj.io.endings import require_ending
from drrproj.io.file_names import names_in_tables
from drrproj.radiograph import Radiograph
from drrproj.replace import replaced

__all__ = ["write_structure_table"]

_COLUMNS = ("view", "name", "id", "area", "top", "bottom", "left", "right", "row", "column")


def write_structure_table(path: str | os.PathLike[str], radiograph: Radiograph) -> None:
    """Write where each structure is in each view, as CSV.

    A row for each view and structure: ``view``, ``name``, ``id``; ``area``, pixels of its mask; ``top``, ``bottom``,
    ``left``, ``right``, the box, of which bottom and right are behind the last pixel; ``row`` and ``column``, the mean
    of its pixels. A structure that a view does not show has area 0 and nothing in the columns behind. Where two views
    share a name, all go by their files' (:func:`drrproj.io.file_names.names_in_tables`).

    Parameters
    ----------
    path : str or path
        Ends in ``.csv``. Replaced whole, or left as it was.
    radiograph : Radiograph
        Of any number of views, with masks.

    Raises
    ------
    TypeError
        If ``radiograph`` is none.
    ValueError
        If there are no masks, or the name has another ending.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import numpy as np, drrproj, tempfile
    >>> ct = drrproj.Volume(np.zeros((20, 10, 20), np.int16), np.eye(4))
    >>> labels = drrproj.LabelVolume(ct.array + 1, ct.affine, {1: "block"})
    >>> view = drrproj.Geometry.radiograph("PA", ct, beam="parallel", shape=(40, 40), pixel_spacing=1)
    >>> shot = drrproj.project(ct, view, labels=labels)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     drrproj.write_structure_table(f"{folder}/structures.csv", shot)
    ...     with open(f"{folder}/structures.csv") as file:
    ...         print(file.read().rstrip())
    view,name,id,area,top,bottom,left,right,row,column
    PA,block,1,400,10,30,10,30,19.5,19.5
    """
    require_ending(path, "a CSV file", ".csv")
    masks, places = chosen_masks(radiograph, None)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    for view, view_name in enumerate(names_in_tables(radiograph.geometry.names)):
        for name, place in places.items():
            area = int(masks.areas[place, view])
            box, centroid = masks.boxes[place, view].tolist(), masks.centroids[place, view].round(3).tolist()
            table.writerow([view_name, name, masks.label_ids[place], area, *((*box, *centroid) if area else [""] * 6)])
    with replaced(path) as file:
        file.write(text.getvalue().encode())
