"""``python -m drrproj`` is ``drrproj``."""

from __future__ import annotations

import sys

from drrproj.cli import main

if __name__ == "__main__":
    sys.exit(main())
