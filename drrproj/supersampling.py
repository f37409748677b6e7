"""Averages over the rays of each pixel: photons are averaged, not line integrals."""

from __future__ import annotations

from typing import Any

import numpy as np

from drrproj import device_arrays

__all__ = ["Average"]

Results = dict[str, Any]  # arrays of numpy, CuPy or torch


class Average:
    """Mean over passes, each of one ray per pixel.

    ``-log(mean(exp(-line_integral)))``, the mean of ``path_length``, and the union of the bits of ``mask``.

    Parameters
    ----------
    results : dict of arrays
        Of the first pass; they become the averages, in place.

    Examples
    --------
    >>> import numpy as np
    >>> from drrproj.supersampling import Average
    >>> passes = [{"line_integral": np.full((1, 1, 1), value, np.float32)} for value in (0, 40)]
    >>> average = Average(passes[0])
    >>> average.add(passes[1])
    >>> average.finish()
    >>> round(passes[0]["line_integral"].item(), 4)  # half the photons arrive: log 2, not 20
    0.6931
    """

    def __init__(self, results: Results) -> None:
        self._results = results
        self._passes = 1
        # Photons are counted against those of the ray that lets most through, so that none of them underflows.
        self._photons = None
        if "line_integral" in results:
            line_integral = results["line_integral"]
            self._photons = device_arrays.full(line_integral, line_integral.shape, np.float64, 1.0)

    def add(self, results: Results) -> None:
        """Add a pass with the same outputs and shapes as the first one."""
        self._passes += 1
        with device_arrays.current_device(next(iter(results.values()))):
            if self._photons is not None:
                library = device_arrays.functions_of(self._photons)
                # View by view, because each step makes an image of its own.
                for photons, lowest, line_integral in zip(
                    self._photons, self._results["line_integral"], results["line_integral"], strict=True
                ):
                    change = device_arrays.as_float64(line_integral)
                    change -= lowest
                    library.minimum(lowest, line_integral, out=lowest)
                    photons *= library.exp(change.clip(max=0.0))
                    photons += library.exp(-change.clip(min=0.0))
            if "path_length" in results:
                self._results["path_length"] += results["path_length"]
            if "mask" in results:
                self._results["mask"] |= results["mask"]

    def finish(self) -> None:
        """Turn the sums into averages; call it once, at the end."""
        with device_arrays.current_device(next(iter(self._results.values()))):
            if self._photons is not None:
                library = device_arrays.functions_of(self._photons)
                for photons, lowest in zip(self._photons, self._results["line_integral"], strict=True):
                    lowest -= library.log(photons / self._passes)
            if "path_length" in self._results:
                self._results["path_length"] /= float(self._passes)
