"""What is built from the sources, by whom."""

from __future__ import annotations

import os
import platform
import runpy
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PYBIND11 = "add_library(pybind11::headers INTERFACE IMPORTED)\n"
# Says no to what GCC 7 or Clang 5 does not know, and compiles none of our files; cmake's own it does.
COMPILER = """#!/bin/sh
for argument; do
    case $argument in
        -march=x86-64-v* | -msahf | -mprefer-vector-width=*)
            echo "unrecognized command-line option '$argument'" >&2
            exit 1 ;;
    esac
done
output=
for argument; do
    case $before in -o) output=$argument ;; esac
    case $argument in */csrc/*.cpp) ours=1 ;; esac
    before=$argument
done
case $output in _cpu.*) ours=1 ;; esac
if [ "$ours" ]; then echo "$*" >>{log}; : >"$output"; else exec {compiler} "$@"; fi
"""


def test_a_compiler_of_2017_is_asked_for_nothing_that_it_does_not_know(tmp_path):
    cmake, compiler = shutil.which("cmake"), shutil.which(os.environ.get("CXX", "c++"))
    if cmake is None or compiler is None:
        pytest.skip("cmake and a C++ compiler build the engine, and pip brought a cmake of its own")
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("instruction sets are named for x86 alone")
    old, log = tmp_path / "old compiler", tmp_path / "compiled"
    old.write_text(COMPILER.format(log=f"'{log}'", compiler=compiler))
    old.chmod(0o755)
    (tmp_path / "pybind11Config.cmake").write_text(PYBIND11)
    build = tmp_path / "build"
    given = {
        "CMAKE_CXX_COMPILER": old,
        "pybind11_DIR": tmp_path,
        "Python_EXECUTABLE": sys.executable,
        "DRRPROJ_CUDA": "OFF",
    }
    settings = [f"-D{name}={value}" for name, value in given.items()]
    for command in ([cmake, "-S", ROOT, "-B", build, *settings], [cmake, "--build", build]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    tiles = [line for line in log.read_text().splitlines() if "-DDRRPROJ_ISA=" in line]
    commands = {line.split("-DDRRPROJ_ISA=")[1].split()[0]: line for line in tiles}
    assert set(commands) == {"baseline", "avx2", "avx512"}
    assert "-msse4.2 " in commands["baseline"]
    assert "-mavx512f " in commands["avx512"]


@pytest.mark.parametrize(("cuda", "is_refused"), [("ON", True), ("OFF", False), (None, False)])
def test_cuda_that_is_asked_for_is_not_left_out_for_want_of_a_compiler(monkeypatch, cuda, is_refused):
    monkeypatch.setenv("CXX", "/no/such/compiler")
    # pip installs it for the build alone.
    monkeypatch.setitem(sys.modules, "scikit_build_core", types.SimpleNamespace(build=None))
    backend = runpy.run_path(str(ROOT / "csrc" / "build_backend.py"))
    given = {} if cuda is None else {"cmake.define.DRRPROJ_CUDA": cuda}
    if is_refused:
        with pytest.raises(SystemExit, match=r"DRRPROJ_CUDA is ON, and there is no working C\+\+17 compiler"):
            backend["_settings"](given)
    else:
        assert backend["_settings"](given) == {**given, "wheel.cmake": "false"}
