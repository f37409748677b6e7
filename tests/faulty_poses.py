"""Poses that do something to the process that makes a case; in a file of their own, for processes to import."""

from __future__ import annotations

import os
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

from drrproj.dataset.poses import Poses


@dataclass(frozen=True)
class Deadly(Poses):
    """Ends the process that makes one case; the first time only, where there is a file to remember it by."""

    case: str = ""
    memory: str = ""

    def geometry(self, case_id, ct):
        if case_id == self.case and not (self.memory and os.path.exists(self.memory)):
            if self.memory:
                Path(self.memory).touch()
            os._exit(9)
        return super().geometry(case_id, ct)


@dataclass(frozen=True)
class Warned(Poses):
    """Warns of each case in its own words, while others are at work."""

    def geometry(self, case_id, ct):
        warnings.warn(f"this is {case_id}", stacklevel=1)
        time.sleep(0.002)
        return super().geometry(case_id, ct)


@dataclass(frozen=True)
class Held(Poses):
    """Lets one case go on, which leaves a file to remember it by, and none of the others."""

    memory: str = ""

    def geometry(self, case_id, ct):
        try:
            Path(self.memory).touch(exist_ok=False)
        except FileExistsError:
            while True:
                time.sleep(60)
        return super().geometry(case_id, ct)
