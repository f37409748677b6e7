"""From what a ray measured to a grey level, and back: the one mapping that every picture goes through."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from drrproj.extras import from_extra
from drrproj.given_numbers import one_number, real_numbers
from drrproj.radiograph import Radiograph
from drrproj.short_text import shown

__all__ = ["Display", "Picture"]

Quantity = Literal["line_integral", "transmission"]
Bits = Literal[8, 16]
Levels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Float32Array = npt.NDArray[np.float32]

# Rays with less attenuation than this have passed nothing but air: 0.05 is 2.5 mm of water.
BODY = 0.05
PERCENTILES = (0.5, 99.5)
_SAMPLE = 8192
# Below it a tile of scikit-image is a single pixel, whose histogram says nothing.
_SMALLEST_FOR_CLAHE = 16
_CALLED = {"line_integral": "line integrals", "transmission": "transmissions"}


@dataclass(frozen=True)
class Display:
    """A window of line integrals or transmissions, and the grey levels it is shown with.

    ``round((2**bits - 1) * clip((value - low) / (high - low), 0, 1))``, where the value is the line integral, or the
    transmission ``exp(-line_integral)``. The same display for many images keeps their grey levels comparable.

    Parameters
    ----------
    low, high : float
        Values at the two ends of the grey scale; what lies beyond is cut off.
    quantity : {"line_integral", "transmission"}
        The line integral is the image after the logarithm: dense is bright, and thickness is linear. The
        transmission is what a detector receives: dense is dark.
    bits : {16, 8}
        Levels from 0 to 65535 or 255.
    inverted : bool
        Turn the grey scale round: the levels are those of a DICOM viewer that shows the same values as MONOCHROME1.
    clahe : float, optional
        Clip limit, above 0 and at most 1, of a contrast limited adaptive histogram equalization of each image, after
        the window and before the levels. It makes pictures plainer to the eye; their levels then mean nothing that can
        be undone or compared. Needs scikit-image: ``pip install scikit-image``.

    Raises
    ------
    ValueError
        If the window is empty or not finite, or another choice is none of those above.

    Accuracy
    --------
    :meth:`restore` gives each value within the window back to half a level, ``(high - low) / (2**bits - 1) / 2``, and
    the rounding of float32 (tested).

    Examples
    --------
    >>> import numpy as np, drrproj
    >>> display = drrproj.Display(0, 6, bits=8)
    >>> levels = display.levels(np.array([[0.0, 3.0, 9.0]], np.float32))
    >>> levels.tolist(), display.restore(levels).astype(int).tolist()
    ([[0, 128, 255]], [[0, 3, 6]])
    """

    low: float
    high: float
    quantity: Quantity = "line_integral"
    bits: Bits = 16
    inverted: bool = False
    clahe: float | None = None

    def __post_init__(self) -> None:
        if self.quantity not in _CALLED:
            raise ValueError(f'quantity must be "line_integral" or "transmission"; got {self.quantity!r}')
        if self.bits not in (8, 16):
            raise ValueError(f"bits must be 8 or 16; got {self.bits!r}")
        if self.inverted not in (False, True):
            raise ValueError(f"inverted must be True or False; got {self.inverted!r}")
        if self.clahe is not None:
            wanted = "clahe is a clip limit above 0 and at most 1"
            if one_number(self.clahe, wanted, above=0) > 1:
                raise ValueError(f"{wanted}; got {self.clahe!r}")
            object.__setattr__(self, "clahe", float(self.clahe))
        wanted = f"window must be two {_CALLED[self.quantity]}, low below high"
        # In float32, as the picture is: a window narrower than its rounding shows nothing.
        with np.errstate(over="ignore"):
            ends = real_numbers((self.low, self.high), wanted).astype(np.float32)
        if ends.shape != (2,) or not np.isfinite(ends).all() or not 0 < ends[1] - ends[0] < np.inf:
            raise ValueError(f"{wanted}; got {shown((self.low, self.high))}")
        # Numbers of numpy overflow where Python's do not, and make no JSON.
        object.__setattr__(self, "bits", int(self.bits))
        object.__setattr__(self, "inverted", bool(self.inverted))
        object.__setattr__(self, "low", float(self.low))
        object.__setattr__(self, "high", float(self.high))

    @classmethod
    def fit(
        cls,
        images: Radiograph | npt.NDArray[Any] | Iterable[Radiograph | npt.NDArray[Any]],
        *,
        percentiles: Sequence[float] = PERCENTILES,
        quantity: Quantity = "line_integral",
        bits: Bits = 16,
        inverted: bool = False,
        clahe: float | None = None,
    ) -> Display:
        """Choose one window for one image or many, from percentiles inside the body.

        Only rays that met the body count (a line integral above 0.05, 2.5 mm of water): air fills another share of
        each image. The pixels of all images are pooled, so a large image counts more than a small one.

        Parameters
        ----------
        images : Radiograph, ndarray, or an iterable of them
            Line integrals; of a radiograph, all views. An iterable is read once, and only the pixels of the body are
            kept, 4 bytes each.
        percentiles : (float, float)
            Percentiles, 0 to 100, of the quantity that become low and high.
        quantity, bits, inverted, clahe
            As in :class:`Display`.

        Returns
        -------
        Display
            Without any body on the images, from 0 to 1, and also of nothing but transmissions that are 0 in float32;
            of one single value, from 0 to that value.

        Raises
        ------
        ValueError
            If there are no images, a radiograph has no line integral, or the percentiles are not ascending.

        Examples
        --------
        >>> import numpy as np, drrproj
        >>> child, adult = np.linspace(0, 3, 101), np.linspace(0, 5, 101)
        >>> drrproj.Display.fit([child, adult], percentiles=(0, 100)).high
        5.0
        """
        wanted = "percentiles must be two numbers from 0 to 100, ascending"
        ends = real_numbers(percentiles, wanted)
        if ends.shape != (2,) or not 0 <= ends[0] < ends[1] <= 100:
            raise ValueError(f"{wanted}; got {shown(percentiles)}")
        if isinstance(images, (Radiograph, np.ndarray)):
            images = [images]
        pixels = [_in_body(image) for image in images]
        if not pixels:
            raise ValueError("no images to choose a window for")
        body = pixels[0] if len(pixels) == 1 else np.concatenate(pixels)
        low, high = 0.0, 1.0
        if body.size and quantity == "transmission":
            # Their order is that of the line integrals turned round, which are not crowded near 0 as they are.
            low, high = _percentiles(body, 100 - ends, lambda value: float(np.exp(-value)))
        elif body.size:
            low, high = _percentiles(body, ends)
        if not np.float32(low) < np.float32(high):
            low, high = 0.0, high if np.float32(high) > 0 else 1.0
        return cls(low, high, quantity, bits, inverted, clahe)

    def levels(self, line_integral: npt.ArrayLike) -> Levels:
        """Return the grey levels of line integrals.

        Parameters
        ----------
        line_integral : array_like, shape (..., rows, columns), dimensionless
            Whatever the quantity shown, this is what comes in.

        Returns
        -------
        ndarray, the same shape, uint8 or uint16

        Raises
        ------
        ValueError
            If CLAHE is asked for an array that is no image of at least 16 x 16 pixels.
        ImportError
            If CLAHE is asked for and scikit-image is not installed.

        Examples
        --------
        >>> import numpy as np, drrproj
        >>> p = np.array([[0.0, 0.693147]], np.float32)
        >>> drrproj.Display(0, 1, "transmission", bits=8).levels(p).tolist()
        [[255, 128]]
        """
        fraction = self.fraction(line_integral)
        if self.clahe is not None:
            fraction = _equalized(fraction, self.clahe)
        levels: Levels = np.rint(fraction * np.float32(self._maximum)).astype(np.uint8 if self.bits == 8 else np.uint16)
        return np.subtract(self._maximum, levels, dtype=levels.dtype) if self.inverted else levels

    def fraction(self, line_integral: npt.ArrayLike) -> Float32Array:
        """Return where line integrals lie in the window, from 0 at low to 1 at high, shape kept."""
        values = np.asarray(line_integral, dtype=np.float32)
        if self.quantity == "transmission":
            values = np.exp(-values)
        fraction: Float32Array = np.clip((values - np.float32(self.low)) / np.float32(self.high - self.low), 0.0, 1.0)
        return fraction

    def restore(self, levels: npt.ArrayLike) -> Float32Array:
        """Return the values that grey levels stand for.

        Parameters
        ----------
        levels : array_like of whole numbers, any shape
            As :meth:`levels` gave them, or a file holds them.

        Returns
        -------
        ndarray, float32
            Line integrals or transmissions, as ``quantity`` says; low or high where they were cut off.

        Raises
        ------
        ValueError
            If the levels went through CLAHE, or do not fit the display's bits.

        Examples
        --------
        >>> import drrproj
        >>> drrproj.Display(1, 5, bits=8, inverted=True).restore([255, 0]).tolist()
        [1.0, 5.0]
        """
        if self.clahe is not None:
            raise ValueError("levels that went through CLAHE do not say which values they came from")
        given = np.asarray(levels)
        if given.size and not 0 <= given.min() <= given.max() <= self._maximum:
            raise ValueError(
                f"levels of {self.bits} bits lie from 0 to {self._maximum}; got {given.min()} to {given.max()}"
            )
        share = (self._maximum - given.astype(np.float64) if self.inverted else given) / self._maximum
        return np.asarray(self.low + share * (self.high - self.low), dtype=np.float32)

    def as_record(self) -> dict[str, Any]:
        """Everything needed to undo the mapping, as plain values: ``Display(**record)`` is this display again."""
        return asdict(self)

    @property
    def _maximum(self) -> int:
        return int(2**self.bits - 1)


@dataclass(frozen=True, eq=False, repr=False)
class Picture:
    """A finished picture: grey levels, and how they were made.

    Parameters
    ----------
    levels : ndarray, shape (rows, columns), uint8 or uint16
        Written to a file as they are.
    record : dict
        Plain values that say how the picture was made.

    Raises
    ------
    ValueError
        If the levels are no greyscale image of 8 or 16 bits.

    Examples
    --------
    >>> import numpy as np, drrproj
    >>> drrproj.Picture(np.zeros((4, 6), np.uint8), {"made": "by hand"}).levels.shape
    (4, 6)
    """

    levels: Levels
    record: dict[str, Any]

    def __repr__(self) -> str:
        rows, columns = self.levels.shape
        return f"Picture({rows} x {columns} {self.levels.dtype})"

    def __post_init__(self) -> None:
        levels: Any = self.levels
        if not isinstance(levels, np.ndarray) or levels.ndim != 2 or levels.dtype not in (np.uint8, np.uint16):
            got = f"{levels.dtype} of shape {levels.shape}" if isinstance(levels, np.ndarray) else type(levels).__name__
            raise ValueError(f"a picture's levels are uint8 or uint16 of shape (rows, columns); got {got}")


def _in_body(image: Radiograph | npt.NDArray[Any]) -> Float32Array:
    if isinstance(image, Radiograph) and "line_integral" not in image.images:
        raise ValueError('this radiograph has no line integral to show; ask for outputs=("line_integral", ...)')
    values = np.asarray(image.line_integral if isinstance(image, Radiograph) else image, dtype=np.float32)
    body: Float32Array = values[values > BODY]
    return body


def _percentiles(
    values: Float32Array, percentiles: npt.NDArray[np.float64], quantity: Callable[[float], float] = float
) -> list[float]:
    """Return what ``numpy.percentile`` does, of a quantity that grows or falls with the values."""
    # A sorted sample says between which values to look, so that no copy of them all has to be put in order.
    sample = np.sort(values[:: max(1, values.size // _SAMPLE)])
    found = []
    for share in percentiles / 100:
        place = share * (values.size - 1)
        below = int(place)
        low, high = (quantity(value) for value in _ranked(values, below, sample, share))
        found.append(low + float(place - below) * (high - low))
    return found


def _ranked(values: Float32Array, rank: int, sample: Float32Array, share: float) -> tuple[float, float]:
    """Return the values of this rank and the next, looking where the sample has that share of its own."""
    ranks = [rank, min(rank + 1, values.size - 1)]
    middle, reach = round(share * (sample.size - 1)), 8 + round(np.sqrt(sample.size))
    low = sample[middle - reach] if middle >= reach else -np.inf
    high = sample[middle + reach] if middle + reach < sample.size else np.inf
    near = values[(values >= low) & (values <= high)]
    before = int(np.count_nonzero(values < low))
    if not before <= ranks[0] <= ranks[1] < before + near.size:
        near, before = values, 0
    places = [each - before for each in ranks]
    ordered = np.partition(near, places)
    return float(ordered[places[0]]), float(ordered[places[1]])


def _equalized(fraction: Float32Array, clip_limit: float) -> Float32Array:
    if fraction.ndim < 2:
        raise ValueError(f"CLAHE needs an image, shape (..., rows, columns); got shape {fraction.shape}")
    if min(fraction.shape[-2:]) < _SMALLEST_FOR_CLAHE:
        raise ValueError(
            f"CLAHE equalizes in tiles of an eighth of the image and needs {_SMALLEST_FOR_CLAHE} rows and columns; got "
            f"{' x '.join(map(str, fraction.shape[-2:]))}"
        )
    with from_extra("render", "CLAHE"):
        from skimage import exposure
    equalized = np.empty_like(fraction)
    for place in np.ndindex(fraction.shape[:-2]):
        image = fraction[place]
        # An image of one value has no contrast to limit, and scikit-image would divide by its range.
        flat = image.min() == image.max()
        equalized[place] = image if flat else exposure.equalize_adapthist(image, clip_limit=clip_limit)
    return equalized
