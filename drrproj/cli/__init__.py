"""The command line: a file for each command, files for what they share, and here what is said where one fails."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TextIO, cast

import drrproj
from drrproj.cli.commands import Parser
from drrproj.cli.termination import TERMINATED, Terminated, sigterm_raises

__all__ = ["main"]

BAD_INPUT, FAILURE, INTERRUPTED, UNREAD = 2, 1, 130, 141
_OPTIONS = {
    "other_space=True": "--other-space",
    'unit="HU"': "--unit HU",
    'unit="1/mm"': "--unit 1/mm",
    "pass the CT: read_labels(path, volume=ct)": "add --ct CT",
    "read_npz reads it, and `drrproj render` draws it": "`drrproj render` draws it",
    "photons_per_pixel": "--photons",
    "kerma_ugy": "--kerma",
    "thickness_mm of the absorber": "the thickness of --absorber",
    "focal_spot_mm": "--focal-spot",
    "to_primary of scatter": "the ratio of --scatter",
    "sigma_mm of scatter": "the spread of --scatter",
    "detector_blur_mm": "--detector-blur",
    "electronic_noise": "--electronic-noise",
    "pass magnification=...": "add --magnification",
}


# Letters; a longer sentence is not read.
_LONGEST = 2000


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; by default those of the process.

    Returns
    -------
    int
        0; 2 for bad usage or input; 1 for a failure, such as a folder that cannot be written or a library that is not
        installed; 130 after Ctrl-C, and 143 after SIGTERM; 141 where the work was done and nothing was wrong, but the
        reader of what is printed, such as ``head``, had gone.

    Examples
    --------
    >>> from drrproj.cli import main
    >>> main(["project", "--view", "PA"])
    2
    """
    try:
        try:
            with sigterm_raises():
                return _flushed(_run(argv))
        except Terminated:
            return _flushed(_complain("terminated", TERMINATED))
        except KeyboardInterrupt:
            return _flushed(_complain("interrupted", INTERRUPTED))
    except SystemExit:
        # So end --help and --version.
        if code := _flushed(0):
            return code
        raise


def _run(argv: Sequence[str] | None) -> int:
    with warnings.catch_warnings(), open(os.devnull, "w") as nowhere:
        # A warning speaks to the person at the keyboard: in each run, on one line, without a place in the code.
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = _shown_once()
        # Of a program that is started with a stream closed, as by ``>&-``, Python makes it None.
        out, err = _Heard(sys.stdout or nowhere), _Heard(sys.stderr or nowhere)
        try:
            with contextlib.redirect_stdout(cast(TextIO, out)), contextlib.redirect_stderr(cast(TextIO, err)):
                arguments = _parser().parse_args(argv)
                arguments.run(arguments)
        except (ValueError, TypeError, KeyError, OverflowError, FileNotFoundError, IsADirectoryError) as error:
            return _complain(_said(error), BAD_INPUT)
        except (OSError, MemoryError, ImportError, drrproj.BackendUnavailable) as error:
            return _complain(_said(error), FAILURE)
    return 0 if out.is_read and err.is_read else UNREAD


def _said(error: Exception) -> str:
    """Return an error's text without what only programs read, on one line whatever a damaged file put into it."""
    text = str(error)
    if isinstance(error, KeyError) and error.args:
        text = str(error.args[0])  # without its quotes
    elif isinstance(error, OSError) and error.filename is not None and error.strerror:
        text = f"{os.fsdecode(error.filename)}: {error.strerror}"  # without its number
    legible = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)
    if len(legible) > _LONGEST:
        legible = f"{legible[: _LONGEST // 2]} ... {legible[-_LONGEST // 2 :]}"
    return legible or type(error).__name__


class _Heard:
    """A stream whose reader may go: the files are what a run is for, so it goes on, and prints no more."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.is_read = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._unless_gone(lambda: self._write(text))
        return len(text)

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
        except UnicodeEncodeError:  # a name that this terminal's encoding has no letters for
            encoding = self._stream.encoding
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))

    def flush(self) -> None:
        self._unless_gone(self._stream.flush)

    def _unless_gone(self, act: Callable[[], object]) -> None:
        if not self.is_read:
            return
        try:
            act()
        except BrokenPipeError:
            self.is_read = False
        except OSError as error:
            raise OSError(f"cannot write the output: {error.strerror}") from error


def _complain(message: str, code: int) -> int:
    # Where nobody can hear it, the code alone says it; print would take the other stream for one that is None.
    with contextlib.suppress(OSError):
        if sys.stderr is not None:
            print("drrproj: error:", _with_options(" ".join(message.split())), file=sys.stderr)
    return code


def _with_options(message: str) -> str:
    """Name the options of the command line where a message of the package names arguments of Python."""
    for argument, option in _OPTIONS.items():
        message = message.replace(argument, option)
    return message


def _flushed(code: int) -> int:
    """Write what still waits to be written, and return the exit code: this one, or that of a failure to write."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError as error:
            # The interpreter would try again at its end, and complain of it.
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())
            if isinstance(error, BrokenPipeError):
                code = code or UNREAD
            elif not code:
                code = _complain(f"cannot write the output: {error.strerror}", FAILURE)
    return code


def _shown_once() -> Callable[..., None]:
    """Return what shows warnings, each sentence once: what holds for a CT holds for all its views."""
    shown: set[str] = set()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        text = _with_options(str(message))
        if text not in shown:
            shown.add(text)
            print(f"drrproj: warning: {text}", file=sys.stderr)

    return show


def _parser() -> Parser:
    # Reading them takes longer than all that comes before, and Ctrl-C meanwhile is told like any other.
    from drrproj.cli import dataset, demo, info, paxray, points, project, render, view

    parser = Parser(
        prog="drrproj",
        description="Exact X-ray projections of CT volumes and their anatomy.",
        epilog="drrproj COMMAND --help explains a command, with examples.",
    )
    parser.add_argument("--version", action="version", version=f"drrproj {drrproj.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (demo, project, dataset, render, paxray, view, points, info):
        command.add_to(commands)
    return parser
