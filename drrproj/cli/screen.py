"""What the commands tell the person at the keyboard."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import drrproj

__all__ = ["report_padding", "say", "sizes"]


def say(message: str) -> None:
    if sys.stderr.isatty():
        print(message, file=sys.stderr)


def sizes(shape: Sequence[int]) -> str:
    return " x ".join(str(size) for size in shape)


def report_padding(ct: drrproj.Volume) -> None:
    counts = ct.count_padding()
    kinds = (("padding", "below -1024 HU (padding)"), ("nan", "not a number"))
    found = [f"{counts[kind]} {what}" for kind, what in kinds if counts[kind]]
    if found:
        print(f"of {ct.array.size} voxels, {' and '.join(found)} count as air")
