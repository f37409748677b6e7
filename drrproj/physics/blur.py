"""Gaussian blur of sampled images, as matrices: exact for any width, and wide ones cost no more than narrow ones."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

__all__ = ["blurred"]

FloatArray = npt.NDArray[np.float64]

# Images; it would take gigabytes to compute a wider one, which leaves nothing of the image.
_WIDEST = 1000


def blurred(images: npt.NDArray[np.float32], sigma_pixels: tuple[float, float]) -> npt.NDArray[np.float32]:
    """Blur images by the discrete Gaussian, whose variance is the asked one also where it is narrower than a pixel.

    Beyond its border an image goes on as at the border, and a uniform image stays what it is.

    Parameters
    ----------
    images : ndarray, shape (..., rows, columns), float32
        The images.
    sigma_pixels : (float, float), pixels
        Standard deviation along rows' axis and columns' axis.

    Returns
    -------
    ndarray of that shape, float32

    Raises
    ------
    ValueError
        If a width is more than a thousand times the image's.

    Source
    ------
    Lindeberg 1990, IEEE Trans. PAMI 12(3): ``exp(-t) I_n(t)`` with ``t = sigma^2`` and Bessel functions ``I_n``.

    Examples
    --------
    >>> import numpy as np
    >>> from drrproj.physics.blur import blurred
    >>> point = np.zeros((1, 9, 9), np.float32)
    >>> point[0, 4, 4] = 1
    >>> spread = blurred(point, (1.0, 1.0))
    >>> round(float(spread.sum()), 3), round(float(spread[0, 4, 4]), 3)
    (1.0, 0.217)
    """
    rows, columns = images.shape[-2:]
    down, across = sigma_pixels
    along_columns: npt.NDArray[np.float32] = images if not across else images @ _weights(columns, across).T
    return along_columns if not down else _weights(rows, down) @ along_columns


def _weights(size: int, sigma: float) -> npt.NDArray[np.float32]:
    """Return the matrix that blurs one axis, shape (size, size)."""
    if sigma > _WIDEST * size:
        raise ValueError(
            f"a blur of {sigma:.4g} pixels is more than {_WIDEST} times as wide as this image of {size}; give it in mm"
        )
    # Its Fourier series is a closed form; the period leaves room for ten standard deviations beyond the image.
    period = 2 ** math.ceil(math.log2(2 * (size + 10 * sigma + 10)))
    frequencies = 2 * np.pi * np.arange(period // 2 + 1) / period
    kernel = np.maximum(np.fft.irfft(np.exp(sigma**2 * (np.cos(frequencies) - 1)), period), 0)
    kernel /= kernel.sum()
    offsets = np.arange(size)
    weights = kernel[np.abs(offsets[None] - offsets[:, None])]
    # What falls outside belongs to the border pixel on that side: the kernel's tail beyond each offset.
    tail = np.cumsum(kernel[period // 2 : 0 : -1])[::-1]
    weights[:, 0] += tail[offsets]
    weights[:, -1] += tail[offsets[::-1]]
    rounded: npt.NDArray[np.float32] = weights.astype(np.float32)
    return rounded
