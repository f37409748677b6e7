"""What is said of files that hold less than they claim, or more than memory does."""

from __future__ import annotations

__all__ = ["cut_short", "too_large"]


def cut_short(what: str, of: str, expected: int, there: int) -> ValueError:
    """Return the error of a file, or a part of one, that has fewer bytes of something than its header claims."""
    return ValueError(f"{what} is cut short: it has {there} of {expected} bytes of {of}; copy or download it again")


def too_large(what: str, size: int) -> MemoryError:
    """Return the error of voxels, or an array, of that many bytes for which there is no memory."""
    return MemoryError(
        f"there is not enough memory for {what} ({size / 2**30:.4g} GiB); read it on a machine with more, or make the "
        "file smaller"
    )
