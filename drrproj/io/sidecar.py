"""The JSON beside a picture: everything needed to make the picture again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from drrproj.display import Picture
from drrproj.geometry import Geometry
from drrproj.io.endings import require_ending
from drrproj.io.one_view import require_radiograph
from drrproj.radiograph import Radiograph
from drrproj.replace import replaced

__all__ = ["plain_json", "read_views", "write_sidecar"]

_INDENT = "  "


def write_sidecar(path: str | os.PathLike[str], radiograph: Radiograph | Picture, **extra: Any) -> None:
    """Write how a radiograph, or a finished picture, was made as a JSON file.

    Parameters
    ----------
    path : str or path
        Ends in ``.json``. Replaced whole, or left as it was.
    radiograph : Radiograph or Picture
        Its ``record`` goes into the file, in its order, after ``extra``.
    **extra : JSON values, numpy numbers and arrays, paths
        What the radiograph does not know, such as ``display`` and ``source``.

    Raises
    ------
    ValueError
        If an extra entry has the name of one in the record, a number is not finite, which JSON cannot hold, or the
        name has another ending.
    TypeError
        If ``radiograph`` is neither, or a value has no place in JSON.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import json, numpy as np, drrproj, tempfile
    >>> ct = drrproj.Volume(np.zeros((20, 10, 20), np.int16), np.eye(4))
    >>> shot = drrproj.project(ct, drrproj.Geometry.radiograph("PA", ct, shape=(32, 32)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     drrproj.write_sidecar(f"{folder}/pa.json", shot, source="ct.nii.gz")
    ...     with open(f"{folder}/pa.json") as file:
    ...         json.load(file)["geometry"]["names"]
    ['PA']
    """
    require_ending(path, "a JSON file", ".json")
    require_radiograph(radiograph, Picture)
    taken = sorted(set(extra) & set(radiograph.record))
    if taken:
        raise ValueError(f"the record of the radiograph has its own {', '.join(taken)}; call the extra entry otherwise")
    text = plain_json({**extra, **radiograph.record})
    with replaced(path) as file:
        file.write(text.encode() + b"\n")


def read_views(path: str | os.PathLike[str]) -> Geometry:
    """Read the views of a sidecar; see :func:`drrproj.read_geometry`."""
    try:
        record: Any = json.loads(Path(path).read_text(encoding="utf-8"))
        geometry = record["geometry"]
        return Geometry(geometry["views"], tuple(geometry["shape"]), tuple(geometry["names"]))
    except (KeyError, TypeError) as error:
        raise ValueError(
            "there is no geometry in it; pass the .json beside a picture, or an X-ray DICOM file"
        ) from error
    except UnicodeDecodeError:
        raise ValueError("this is neither the .json beside a picture nor an X-ray DICOM file") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"this is neither the .json beside a picture nor an X-ray DICOM file, or it is damaged: {error}"
        ) from error


def plain_json(value: Any, indent: str = "") -> str:
    """Return JSON with one entry a line, but a vector of numbers on one line."""
    inner = indent + _INDENT
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, dict) and value:
        lines = [
            f"{inner}{json.dumps(str(key), ensure_ascii=False)}: {plain_json(item, inner)}"
            for key, item in value.items()
        ]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, (list, tuple)) and any(isinstance(item, (list, tuple, dict, np.ndarray)) for item in value):
        return "[\n" + ",\n".join(inner + plain_json(item, inner) for item in value) + f"\n{indent}]"
    return json.dumps(value, allow_nan=False, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a JSON file cannot hold a {type(value).__name__}")
