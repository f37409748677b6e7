"""Chooses what is built: with a C++ compiler the compiled engine, without one a pure Python wheel that needs Numba.

A PEP 517 backend around scikit-build-core's, and the provider of the dynamic dependencies, so that both agree.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from scikit_build_core import build as _build

_DEPENDENCIES = ["numpy>=1.24", "nibabel>=5.0", "isal>=1.6", "Pillow>=10.4"]
_WITHOUT_COMPILER = "numba>=0.59"


@cache
def _compiler_works() -> bool:
    """Try the compiler instead of looking for it: macOS has a c++ that only offers to install one."""
    named = os.environ.get("CXX")
    for compiler in [named] if named else ["c++", "g++", "clang++"]:
        program, *arguments = shlex.split(compiler)
        path = shutil.which(program)
        if path is None:
            continue
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "probe.cpp"
            source.write_text("#include <optional>\nint main() { return std::optional<int>(0).value(); }\n")
            command = [path, *arguments, "-std=c++17", "-o", str(source.with_suffix(".out")), str(source)]
            if subprocess.run(command, capture_output=True, check=False).returncode == 0:
                return True
    return False


def _settings(config_settings: dict[str, Any] | None) -> dict[str, Any]:
    settings = dict(config_settings or {})
    if not _compiler_works():
        if settings.get("cmake.define.DRRPROJ_CUDA") == "ON":
            raise SystemExit(
                "drrproj: DRRPROJ_CUDA is ON, and there is no working C++17 compiler to build it with; install GCC or "
                "Clang (CXX names another), or leave that setting out"
            )
        print(
            "drrproj: no working C++17 compiler (GCC or Clang; CXX names another): building a pure Python wheel that "
            "uses the slower Numba backend",
            file=sys.stderr,
        )
        settings["wheel.cmake"] = "false"
    return settings


def dynamic_metadata(settings: dict[str, Any], project: dict[str, Any]) -> dict[str, Any]:
    namespace: dict[str, str] = {}
    exec(Path("drrproj/version.py").read_text(), namespace)
    return {
        "version": namespace["__version__"],
        "dependencies": _DEPENDENCIES + ([] if _compiler_works() else [_WITHOUT_COMPILER]),
    }


def dynamic_wheel(settings: dict[str, Any]) -> dict[str, bool]:
    return {"dependencies": True}


def get_requires_for_build_sdist(config_settings: dict[str, Any] | None = None) -> list[str]:
    return _build.get_requires_for_build_sdist(config_settings)


def build_sdist(sdist_directory: str, config_settings: dict[str, Any] | None = None) -> str:
    return _build.build_sdist(sdist_directory, config_settings)


def get_requires_for_build_wheel(config_settings: dict[str, Any] | None = None) -> list[str]:
    return _build.get_requires_for_build_wheel(_settings(config_settings))


def prepare_metadata_for_build_wheel(directory: str, config_settings: dict[str, Any] | None = None) -> str:
    return _build.prepare_metadata_for_build_wheel(directory, _settings(config_settings))


def build_wheel(directory: str, config_settings: dict[str, Any] | None = None, metadata: str | None = None) -> str:
    return _build.build_wheel(directory, _settings(config_settings), metadata)


def get_requires_for_build_editable(config_settings: dict[str, Any] | None = None) -> list[str]:
    return _build.get_requires_for_build_editable(_settings(config_settings))


def prepare_metadata_for_build_editable(directory: str, config_settings: dict[str, Any] | None = None) -> str:
    return _build.prepare_metadata_for_build_editable(directory, _settings(config_settings))


def build_editable(directory: str, config_settings: dict[str, Any] | None = None, metadata: str | None = None) -> str:
    return _build.build_editable(directory, _settings(config_settings), metadata)
