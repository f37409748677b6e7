"""Libraries that come with an extra of the package, and the one sentence that says what to install without them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["from_extra", "require"]

# Packages that are not called as the module in them.
_PACKAGES = {"cupy": '"cupy-cuda13x[ctk]"', "nrrd": "pynrrd", "skimage": "scikit-image", "yaml": "PyYAML"}


@contextmanager
def from_extra(extra: str, purpose: str) -> Iterator[None]:
    """Say what to install when an import inside the block finds nothing: the library itself, from any index.

    Parameters
    ----------
    extra : str
        The extra that brings it and what goes with it, as in ``pip install ".[dicom]"`` in a copy of the repository.
    purpose : str
        What the library is for; the sentence begins with it.

    Raises
    ------
    ModuleNotFoundError
        If a module is missing.

    Examples
    --------
    >>> from drrproj.extras import from_extra
    >>> with from_extra("dicom", "reading DICOM"):
    ...     import nolib
    Traceback (most recent call last):
    ModuleNotFoundError: reading DICOM needs nolib, and nolib is not installed: pip install nolib, or the extra "dicom"
    """
    try:
        yield
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        raise ModuleNotFoundError(
            f"{purpose} needs {library}, and {library} is not installed: pip install "
            f'{_PACKAGES.get(library, library)}, or the extra "{extra}"',
            name=error.name,
        ) from error


def require(extra: str, purpose: str, *libraries: str) -> None:
    """Import libraries before work that would be lost without them, or say as :func:`from_extra` what to install.

    Examples
    --------
    >>> from drrproj.extras import require
    >>> require("render", "CLAHE", "nolib")
    Traceback (most recent call last):
    ModuleNotFoundError: CLAHE needs nolib, and nolib is not installed: pip install nolib, or the extra "render"
    """
    with from_extra(extra, purpose):
        for library in libraries:
            importlib.import_module(library)
