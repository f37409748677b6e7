"""Numbers that callers give: checked before numpy sees them, which would read numbers out of texts."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.short_text import shown

__all__ = ["one_number", "real_numbers", "whole_number"]


def real_numbers(values: Any, wanted: str) -> npt.NDArray[np.float64]:
    """Return an array of real numbers, of any shape, as float64.

    Parameters
    ----------
    values : array_like
        Integers or floating point; NaN and infinities pass.
    wanted : str
        What it should be, as the beginning of the sentence: ``"angles must be degrees"``.

    Raises
    ------
    ValueError
        If they are none: text, truth values, an object, lists of different lengths.

    Examples
    --------
    >>> from drrproj.given_numbers import real_numbers
    >>> real_numbers([1, 2.5], "angles must be degrees").tolist()
    [1.0, 2.5]
    >>> real_numbers("30", "angles must be degrees")
    Traceback (most recent call last):
    ValueError: angles must be degrees; got '30', which is text
    """
    try:
        array = np.asarray(values)
        if array.dtype.kind in "iuf":
            return array.astype(np.float64)
    except (TypeError, ValueError):
        # Lists of different lengths, or an object that makes no array, are told like text.
        pass
    raise ValueError(f"{wanted}; got {shown(values)}{', which is text' * _is_text(values)}")


def _is_text(values: Any) -> bool:
    if isinstance(values, np.ndarray):
        return values.dtype.kind in "US"
    return isinstance(values, str | bytes) or (isinstance(values, list | tuple) and any(map(_is_text, values)))


def one_number(value: Any, wanted: str, *, least: float = -math.inf, above: float = -math.inf) -> float:
    """Return one finite number within bounds.

    Parameters
    ----------
    value : float
        As given.
    wanted : str
        What it should be, as the beginning of the sentence.
    least, above : float
        The lowest value that passes; the value that it must exceed.

    Raises
    ------
    ValueError
        If it is no such number.

    Examples
    --------
    >>> from drrproj.given_numbers import one_number
    >>> one_number(2, "mas must be positive", above=0)
    2.0
    >>> one_number(0, "mas must be positive", above=0)
    Traceback (most recent call last):
    ValueError: mas must be positive; got 0
    """
    array = real_numbers(value, wanted)
    if array.ndim or not math.isfinite(array) or array < least or array <= above:
        raise ValueError(f"{wanted}; got {shown(value)}")
    return float(array)


def whole_number(value: Any, wanted: str, *, least: int | None = None) -> int:
    """Return one whole number, Python's or numpy's, as Python's.

    Parameters
    ----------
    value : int
        As given.
    wanted : str
        What it should be, as the beginning of the sentence.
    least : int, optional
        The lowest value that passes.

    Raises
    ------
    ValueError
        If it is no such number; 1.0 and True are none.

    Examples
    --------
    >>> import numpy as np
    >>> from drrproj.given_numbers import whole_number
    >>> whole_number(np.int16(3), "poses count from 1", least=1)
    3
    >>> whole_number(1.0, "poses count from 1", least=1)
    Traceback (most recent call last):
    ValueError: poses count from 1; got 1.0
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool | np.bool_) or (least is not None and number < least):
        raise ValueError(f"{wanted}; got {shown(value)}")
    return number
