"""``log.jsonl``: what a build, or a merge, did, in the order in which it happened, and whether it ended."""

from __future__ import annotations

import datetime
import io
import json
import os
from pathlib import Path
from typing import Any

from drrproj.dataset.one_case import CannotWrite
from drrproj.dataset.store import Store

__all__ = ["Log", "unfinished"]

_NAME = "log.jsonl"
_LOOKED_AT = 1 << 16  # bytes at once; a line has some hundred


class Log:
    """The log of a dataset, to add one event a line.

    Parameters
    ----------
    folder : Path
        Of the dataset.

    Raises
    ------
    CannotWrite
        If it cannot be opened.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / _NAME
        try:
            self._file = path.open("a+b", buffering=0)
            # A kill may have left half a line.
            self._file.truncate(_end_of_whole_lines(self._file))
        except OSError as error:
            raise CannotWrite(f"cannot write the log {path}: {error.strerror}") from error

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, event: dict[str, Any]) -> None:
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
        text = json.dumps({"time": now, **event}, ensure_ascii=False)
        try:
            # The name of a file may have bytes that are no text.
            rest = memoryview(text.encode(errors="backslashreplace") + b"\n")
            # A disk that is nearly full takes a part, and says what is wrong when asked again.
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise CannotWrite(f"cannot write the log: {error.strerror}") from error


def _end_of_whole_lines(file: io.RawIOBase) -> int:
    """Look for the last line's end from the end on: the log of a large dataset is long."""
    at = file.seek(0, os.SEEK_END)
    while at:
        start = max(0, at - _LOOKED_AT)
        file.seek(start)
        if end := (file.read(at - start) or b"").rfind(b"\n") + 1:
            return start + end
        at = start
    return 0


def unfinished(store: Store) -> str | None:
    """Say in a sentence that the last build or merge of a dataset did not end, or is at work; None where it ended.

    Parameters
    ----------
    store : Store
        Without a log it is taken to be finished where it has a record.
    """
    path = store.path / _NAME
    start: dict[str, Any] | None = None
    made: set[str] = set()
    if path.exists():
        with path.open("rb") as file:
            for line in file:
                match _event(line):
                    case {"event": "start", "cases": int(), "to_make": int()} as event:
                        start, made = event, set()
                    case {"event": "case", "case": str(name)}:
                        made.add(name)
                    case {"event": "end"}:
                        start = None
    if start is not None:
        done = start["cases"] - start["to_make"] + len(made)
        how_far = f"{done} of {start['cases']} cases"
        return f"its last build, or merge, did not end ({how_far}), or is still at work; run the same again"
    if not store.record_paths():
        return "it holds no case; build it"
    return None


def _event(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        # Half a line, or zeros: what a kill or a power cut left.
        return None
