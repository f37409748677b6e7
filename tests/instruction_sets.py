"""A compiled backend's instruction set, forced for a while."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def forced(instruction_set: str) -> Iterator[None]:
    """Use an instruction set, and afterwards the one before: DRRPROJ_ISA may have chosen another than the best."""
    # Imported late, for which drrproj is tested is decided first.
    backends = importlib.import_module("drrproj.backends")
    before = backends.instruction_set("cpu")
    backends.use_instruction_set(instruction_set)
    try:
        yield
    finally:
        backends.use_instruction_set(before)
