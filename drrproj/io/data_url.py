"""A grey picture as text, for a page that is one file."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt

__all__ = ["png_data_url"]


def png_data_url(levels: npt.NDArray[np.uint8]) -> str:
    """Give the ``data:`` URL of a PNG of grey levels, shape (rows, columns).

    Examples
    --------
    >>> import numpy as np
    >>> from drrproj.io.data_url import png_data_url
    >>> png_data_url(np.zeros((2, 2), np.uint8))[:22]
    'data:image/png;base64,'
    """
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(levels).save(file, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
