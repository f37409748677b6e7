"""Which drrproj is tested, and on which backends."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
from instruction_sets import forced

ROOT = Path(__file__).resolve().parent.parent


def _is_root(entry: str) -> bool:
    return Path(entry or ".").resolve() == ROOT


def _prefer_the_installed_package() -> None:
    # `python -m pytest` puts the source tree first on sys.path, where it hides an installed package together with
    # its compiled modules. Whoever names the tree in PYTHONPATH means it. Editable installs do not need the entry.
    if any(_is_root(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry):
        return
    without_root = [entry for entry in sys.path if not _is_root(entry)]
    if any(importlib.metadata.distributions(name="drrproj", path=without_root)):
        sys.path[:] = without_root


_prefer_the_installed_package()


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_is_heard() -> Iterator[None]:
    """A shell that starts the tests in the background has them ignore Ctrl-C, which some of them send."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Imports a module of the bench; its neighbours have names that others may want."""
    folder = ROOT / "bench"
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]


# The CUDA backend compiled for the host; only editable installs have it.
EMULATED = "cuda-emulated"


class Runner(NamedTuple):
    """A backend, and for compiled CPU code the instruction set it is forced to."""

    backend: str
    instruction_set: str | None = None
    is_emulated: bool = False

    def __str__(self) -> str:
        if self.is_emulated:
            return EMULATED
        return self.backend if self.instruction_set is None else f"{self.backend}-{self.instruction_set}"


def _emulated_is_there() -> bool:
    return importlib.util.find_spec("drrproj.backends._cuda_emulated") is not None


def _runners() -> list[Runner]:
    backends = importlib.import_module("drrproj.backends")
    runners: list[Runner] = []
    for name in backends.NAMES:
        if backends.why_unavailable(name) is None:
            sets = backends.cpu_instruction_sets() if name == "cpu" else (None,)
            runners += [Runner(name, instruction_set) for instruction_set in sets]
    if _emulated_is_there():
        runners.append(Runner("cuda", is_emulated=True))
    return runners


def _missing() -> dict[str, str]:
    backends = importlib.import_module("drrproj.backends")
    reasons = {name: backends.why_unavailable(name) for name in backends.NAMES}
    if not _emulated_is_there():
        reasons[EMULATED] = "only an editable install builds it: pip install -e '.[test]'"
    return {name: reason for name, reason in reasons.items() if reason is not None}


def pytest_configure(config: pytest.Config) -> None:
    is_installed = any(importlib.metadata.distributions(name="drrproj"))
    is_named = any(_is_root(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry)
    if not (is_installed or is_named) or importlib.util.find_spec("drrproj") is None:
        raise pytest.UsageError("drrproj is not installed; install it first: python -m pip install '.[test]'")
    backends, missing = importlib.import_module("drrproj.backends"), _missing()
    for name in filter(None, (part.strip() for part in os.environ.get("DRRPROJ_REQUIRE", "").split(","))):
        if name not in (*backends.NAMES, EMULATED):
            raise pytest.UsageError(
                f"DRRPROJ_REQUIRE names no backend: {name!r}; there are {', '.join(backends.NAMES)}, {EMULATED}"
            )
        if name in missing:
            raise pytest.UsageError(f"DRRPROJ_REQUIRE wants the backend {name}, which cannot run: {missing[name]}")
    if not _runners():
        reasons = "; ".join(f"{name}: {reason}" for name, reason in missing.items())
        raise pytest.UsageError(f"no backend of drrproj can run here, so nothing can be tested: {reasons}")
    if missing.keys() >= {"cuda", "cpu"}:
        # Where only Numba is left, every call that does not name a backend says so; here that is no news.
        config.addinivalue_line("filterwarnings", "ignore:using the slower Numba backend:RuntimeWarning")


def pytest_report_header() -> list[str]:
    drrproj = importlib.import_module("drrproj")
    return [
        f"drrproj {drrproj.__version__} from {Path(drrproj.__file__).parent}",
        f"backends under test: {', '.join(map(str, _runners()))}",
        *(f"backend not under test: {name}: {reason}" for name, reason in _missing().items()),
    ]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames:
        metafunc.parametrize("backend", _runners(), ids=str, indirect=True)


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Name of a backend to hand to ``project``; every test that asks for it runs once per runnable backend."""
    runner: Runner = request.param
    if runner.is_emulated:
        request.getfixturevalue("emulated")
    if runner.instruction_set is None:
        yield runner.backend
        return
    with forced(runner.instruction_set):
        yield runner.backend


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The CUDA backend that runs on the host, as what ``backend="cuda"`` finds."""
    module: ModuleType = pytest.importorskip(
        "drrproj.backends._cuda_emulated", reason="only an editable install builds it: pip install -e '.[test]'"
    )
    monkeypatch.setitem(sys.modules, "drrproj.backends._cuda", module)
    return module
