"""Lets pytest find the modules beside it, as `python bench/projection.py` does."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
