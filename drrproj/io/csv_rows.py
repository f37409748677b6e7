"""Rows of a table of comma- or tab-separated values, each whole or refused."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

__all__ = ["csv_rows"]


def csv_rows(text: str, delimiter: str = ",", *, line_ends_in_cells: bool = False) -> Iterator[tuple[int, list[str]]]:
    r"""Give every row of a table, with the number of the line it starts in.

    Lines end where files have line ends, not at all the characters that :meth:`str.splitlines` knows, such as U+2028.

    Parameters
    ----------
    text : str
        The table, with its own line ends.
    delimiter : str
        Between cells.
    line_ends_in_cells : bool
        Whether a cell in quotes may go on in the next line.

    Yields
    ------
    int, list of str
        Of a blank line the list is empty.

    Raises
    ------
    ValueError
        If a quote is not closed, or closed before its cell ends: the csv module would take the rest of the file for one
        cell. It names the line.

    Examples
    --------
    >>> from drrproj.io.csv_rows import csv_rows
    >>> list(csv_rows('id,name\n1,"lung, left"\n'))
    [(1, ['id', 'name']), (2, ['1', 'lung, left'])]
    >>> list(csv_rows('id,name\n1,"heart\n2,lung\n'))
    Traceback (most recent call last):
    ...
    ValueError: line 2: the row that starts here is no sound CSV (unexpected end of data); close each quote in it
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ValueError(
                f"line {line}: the row that starts here is no sound CSV ({error}); close each quote in it"
            ) from error
        if reader.line_num > line and not line_ends_in_cells:
            raise ValueError(
                f"line {line}: a cell in quotes goes on to line {reader.line_num}, which no cell may; close each quote"
            )
        yield line, row
