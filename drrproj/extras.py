"""Libraries that only some users have, imported when they are needed."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["imported"]


def imported(module: str, extra: str) -> Any:
    """Import a module of an optional library, or say which extra brings it.

    Parameters
    ----------
    module : str
        Dotted name, such as ``skimage.exposure``.
    extra : str
        The extra of drrproj that installs the library.

    Raises
    ------
    ImportError
        If the library is not there.

    Examples
    --------
    >>> from drrproj.extras import imported
    >>> imported("json.decoder", "render").__name__
    'json.decoder'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != module.partition(".")[0]:
            raise
        library = module.partition(".")[0]
        raise ImportError(f'{library} is not installed, and this needs it; pip install "drrproj[{extra}]"') from error
