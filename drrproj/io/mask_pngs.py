"""Masks as PNG files: one of 1 bit per structure and view."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from drrproj.io.chosen_masks import chosen_masks
from drrproj.io.file_names import file_names
from drrproj.radiograph import Radiograph
from drrproj.replace import replaced

__all__ = ["write_mask_pngs"]


def write_mask_pngs(
    folder: str | os.PathLike[str], radiograph: Radiograph, labels: Iterable[str | int] | str | int | None = None
) -> list[Path]:
    """Write every mask as a PNG of 1 bit per pixel: ``folder/VIEW/STRUCTURE.png``.

    Structures may overlap, so each has a file of its own; one that a view does not show has an empty one. Pillow reads
    them as arrays of bool, OpenCV as 0 and 255. What cannot stand in a file name becomes ``_``
    (:func:`drrproj.io.file_names.file_names`); the PNG's text chunks ``view``, ``name`` and ``id`` have it as it was.

    Parameters
    ----------
    folder : str or path
        Made where it is missing, with a folder for each view in it. Files of the same name are replaced, others left.
    radiograph : Radiograph
        Of any number of views, with masks.
    labels : str or int, or iterable of them, optional
        Names or ids to write; by default all.

    Returns
    -------
    list of Path
        The files, view by view, in the order of the structures.

    Raises
    ------
    TypeError
        If ``radiograph`` is none.
    ValueError
        If there are no masks.
    KeyError
        If a label is not in the radiograph.
    OSError
        If a file cannot be written.

    Examples
    --------
    >>> import numpy as np, drrproj, tempfile
    >>> ct = drrproj.Volume(np.zeros((20, 10, 20), np.int16), np.eye(4))
    >>> labels = drrproj.LabelVolume(ct.array + 1, ct.affine, {1: "block"})
    >>> shot = drrproj.project(ct, drrproj.Geometry.radiograph("PA", ct, shape=(32, 32)), labels=labels)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [file.relative_to(folder).as_posix() for file in drrproj.write_mask_pngs(folder, shot)]
    ['PA/block.png']
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    masks, places = chosen_masks(radiograph, labels)
    rows, columns = radiograph.geometry.shape
    # All structures, so that the file of one does not depend on which others are chosen.
    stem_of = dict(zip(masks, file_names(list(masks)), strict=True))
    written = []
    views = zip(radiograph.geometry.names, file_names(radiograph.geometry.names), strict=True)
    for view, (view_name, view_stem) in enumerate(views):
        view_folder = Path(folder) / view_stem
        try:
            view_folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise type(error)(f"cannot make the folder {view_folder}: {error.strerror}") from error
        for name, place in places.items():
            text = PngInfo()
            for key, value in (("view", view_name), ("name", name), ("id", str(masks.label_ids[place]))):
                text.add_itxt(key, value)
            path = view_folder / f"{stem_of[name]}.png"
            # The bits as they are kept are the bits as Pillow takes them: rows of whole bytes, first pixel highest.
            picture = Image.frombytes("1", (columns, rows), masks.packed[place, view].tobytes())
            with replaced(path) as file:
                picture.save(file, format="PNG", pnginfo=text)
            written.append(path)
    return written
