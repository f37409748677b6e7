"""The version, as the installed package's metadata has it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("drrproj")
except PackageNotFoundError:
    __version__ = "0+source"
