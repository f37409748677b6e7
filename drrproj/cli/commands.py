"""How a command joins the parser."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

__all__ = ["Commands", "Parser", "add_command", "named_path"]


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        # argparse would print the usage as well; one line says what is wrong and where to look.
        raise ValueError(f"{message}; see {self.prog} --help")

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        # argparse would hand what a command does not know up to the program, which knows no options of commands.
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            known = [option for action in self._actions for option in action.option_strings]
            near = [difflib.get_close_matches(word.partition("=")[0], known, n=1) for word in unknown]
            meant = ", ".join(option for options in near for option in options)
            hint = f"; did you mean {meant}?" if meant else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return parsed, unknown


Commands = Any  # argparse's action of sub-parsers, whose type has no public name


def add_command(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], None], summary: str, examples: str
) -> argparse.ArgumentParser:
    """Add a command, what runs it, and the examples that end its help; return its parser for the arguments."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def named_path(text: str) -> Path:
    """Read a path from the command line; an empty one, as of a variable that is not set, would be the folder here."""
    if not text:
        raise argparse.ArgumentTypeError("the name is empty; say which file or folder, . for the one you are in")
    return Path(text)
