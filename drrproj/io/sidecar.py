"""The JSON beside a picture: everything needed to make the picture again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from drrproj.geometry import Geometry
from drrproj.io.replace import replaced
from drrproj.radiograph import Radiograph

__all__ = ["plain_json", "read_geometry", "write_sidecar"]

_INDENT = "  "


def write_sidecar(path: str | os.PathLike[str], radiograph: Radiograph, **extra: Any) -> None:
    """Write how a radiograph was made as a JSON file.

    Parameters
    ----------
    path : str or path
        Replaced whole, or left as it was.
    radiograph : Radiograph
        Its ``record`` goes into the file, in its order, after ``extra``.
    **extra : JSON values, numpy numbers and arrays, paths
        What the radiograph does not know, such as ``display`` and ``source``.

    Raises
    ------
    ValueError
        If an extra entry has the name of one in the record, or a number is not finite, which JSON cannot hold.
    TypeError
        If a value has no place in JSON.
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
    taken = sorted(set(extra) & set(radiograph.record))
    if taken:
        raise ValueError(f"the record of the radiograph has its own {', '.join(taken)}; call the extra entry otherwise")
    text = plain_json({**extra, **radiograph.record})
    with replaced(path) as file:
        file.write(text.encode() + b"\n")


def read_geometry(path: str | os.PathLike[str]) -> Geometry:
    """Read the views of a picture from the JSON file beside it.

    Parameters
    ----------
    path : str or path
        A file that :func:`write_sidecar` or ``drrproj project`` wrote.

    Returns
    -------
    Geometry
        Equal to the one written, bit by bit.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no JSON file, or has no geometry of drrproj in it.

    Examples
    --------
    >>> import numpy as np, drrproj, tempfile
    >>> ct = drrproj.Volume(np.zeros((20, 10, 20), np.int16), np.eye(4))
    >>> view = drrproj.Geometry.radiograph("PA", ct, shape=(32, 32))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     drrproj.write_sidecar(f"{folder}/pa.json", drrproj.project(ct, view))
    ...     np.array_equal(drrproj.read_geometry(f"{folder}/pa.json").views, view.views)
    True
    """
    try:
        record: Any = json.loads(Path(path).read_text(encoding="utf-8"))
        geometry = record["geometry"]
        return Geometry(geometry["views"], tuple(geometry["shape"]), tuple(geometry["names"]))
    except FileNotFoundError:
        raise FileNotFoundError(f"no such file: {path}") from None
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: there is no geometry in it; pass the .json beside a picture") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: this is no JSON file of drrproj, or a damaged one: {error}") from error


def plain_json(value: Any, indent: str = "") -> str:
    """Return JSON with one entry a line, but a vector of numbers on one line."""
    inner = indent + _INDENT
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, dict) and value:
        lines = [f"{inner}{json.dumps(str(key))}: {plain_json(item, inner)}" for key, item in value.items()]
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
