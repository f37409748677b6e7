"""The name of the file before what is wrong with its contents."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["blaming"]


@contextmanager
def blaming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Put the file's name in front of what is wrong with its contents."""
    try:
        yield
    except TypeError as error:
        raise TypeError(f"{path}: {error}") from error
    except MemoryError as error:
        raise MemoryError(f"{path}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
