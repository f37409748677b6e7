"""NPZ: a whole radiograph, all views and labels, for reading back exactly."""

from __future__ import annotations

import json
import os
import zipfile
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.geometry import Geometry
from drrproj.io.replace import replaced
from drrproj.io.sidecar import plain_json
from drrproj.radiograph import LabelImages, LabelMasks, Radiograph

__all__ = ["read_npz", "write_npz"]

_FORMAT = "drrproj radiograph 1"


def write_npz(path: str | os.PathLike[str], radiograph: Radiograph) -> None:
    """Write a radiograph with all its views, path lengths and masks.

    :func:`numpy.load` opens the file anywhere. It holds, as far as the radiograph has them: ``line_integral``
    (views, rows, columns); ``path_length`` (labels, views, rows, columns), mm; ``masks`` (labels, views, rows,
    ceil(columns / 8)), bits as :func:`numpy.packbits` has them; ``path_length_ids``, ``path_length_names``,
    ``mask_ids``, ``mask_names`` (labels,); ``views`` (views, 4, 4), ``view_names`` and ``shape``; ``backend``;
    ``record``, a JSON text.

    Parameters
    ----------
    path : str or path
        Replaced whole, or left as it was.
    radiograph : Radiograph
        Of any number of views.

    Raises
    ------
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import numpy as np, drrproj, tempfile
    >>> ct = drrproj.Volume(np.zeros((20, 10, 20), np.int16), np.eye(4))
    >>> shot = drrproj.project(ct, drrproj.Geometry.radiograph("PA", ct, shape=(6, 8)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     drrproj.write_npz(f"{folder}/pa.npz", shot)
    ...     again = drrproj.read_npz(f"{folder}/pa.npz")
    >>> np.array_equal(again.line_integral, shot.line_integral), again.geometry.names
    (True, ('PA',))
    """
    geometry = radiograph.geometry
    arrays: dict[str, npt.NDArray[Any]] = {
        "format": np.array(_FORMAT),
        "views": geometry.views,
        "view_names": np.array(geometry.names),
        "shape": np.array(geometry.shape),
        "backend": np.array(radiograph.backend),
        "record": np.array(plain_json(radiograph.record)),
    }
    if radiograph.line_integral is not None:
        arrays["line_integral"] = radiograph.line_integral
    if radiograph.path_length is not None:
        arrays["path_length"] = radiograph.path_length.array
        arrays["path_length_ids"] = np.array(radiograph.path_length.label_ids, np.int64)
        arrays["path_length_names"] = np.array(list(radiograph.path_length), np.str_)
    if radiograph.masks is not None:
        arrays["masks"] = radiograph.masks.packed
        arrays["mask_ids"] = np.array(radiograph.masks.label_ids, np.int64)
        arrays["mask_names"] = np.array(list(radiograph.masks), np.str_)
    # An archive of our own, because numpy's savez knows only the slow compression level and the time of day.
    with replaced(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def read_npz(path: str | os.PathLike[str]) -> Radiograph:
    """Read a radiograph that :func:`write_npz` wrote.

    Parameters
    ----------
    path : str or path
        The ``.npz`` file.

    Returns
    -------
    Radiograph
        Equal to the one written, bit by bit.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, or not one of ours.

    Examples
    --------
    >>> import numpy as np, drrproj, tempfile
    >>> ct = drrproj.Volume(np.zeros((20, 10, 20), np.int16), np.eye(4))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     drrproj.write_npz(f"{folder}/ll.npz", drrproj.project(ct, drrproj.Geometry.radiograph("LL", ct)))
    ...     drrproj.read_npz(f"{folder}/ll.npz").line_integral.shape
    (1, 512, 512)
    """
    try:
        # Opened here, because numpy leaves a file that is no archive open.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = dict(archive)
        if str(arrays["format"]) != _FORMAT:
            raise ValueError(f"its format is {str(arrays['format'])!r}, and this version reads {_FORMAT!r}")
        return _radiograph(arrays)
    except FileNotFoundError:
        raise FileNotFoundError(f"no such file: {path}") from None
    except KeyError as error:
        raise ValueError(f"{path}: this is no radiograph of drrproj; there is no {error.args[0]} in it") from error
    except (ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: this is no radiograph of drrproj, or a damaged one: {error}") from error


def _radiograph(arrays: dict[str, npt.NDArray[Any]]) -> Radiograph:
    rows, columns = (int(size) for size in arrays["shape"])
    path_length = masks = None
    if "path_length" in arrays:
        names = _names(arrays["path_length_ids"], arrays["path_length_names"])
        path_length = LabelImages(arrays["path_length"], tuple(names), names)
    if "masks" in arrays:
        names = _names(arrays["mask_ids"], arrays["mask_names"])
        masks = LabelMasks(arrays["masks"], columns, tuple(names), names)
    return Radiograph(
        geometry=Geometry(arrays["views"], (rows, columns), tuple(arrays["view_names"].tolist())),
        line_integral=arrays.get("line_integral"),
        path_length=path_length,
        masks=masks,
        backend=str(arrays["backend"]),
        record=_record(str(arrays["record"])),
    )


def _record(text: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(text)
    labels = record.get("labels")
    if labels:
        # JSON has only texts for keys, and label ids are numbers.
        labels["names"] = {int(label_id): name for label_id, name in labels["names"].items()}
    return record


def _names(label_ids: npt.NDArray[np.int64], names: npt.NDArray[np.str_]) -> dict[int, str]:
    return dict(zip(label_ids.tolist(), names.tolist(), strict=True))
