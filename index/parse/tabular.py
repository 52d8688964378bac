"""Tables: CSV and TSV files, and the rows of a sheet.

Each row becomes one line that explains itself: `Plan: Pro; Seats: 25.` Which row holds the headers is a guess, since
no file tells: the first with two cells or more, if these are short and no numbers (a year may be a header).
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, groupby, islice

from index.errors import InvalidFile
from index.parse.document import Limits, Parsed, Rendering, row
from index.parse.plain import decode_rows

Cells = Mapping[int, str]  # by column, in order; empty ones are left out

_DELIMITERS = ("\t", ";", "|", ",")  # the comma last: it also stands in the decimals of half the world
_LOOKED_AT = 50  # rows
_LONGEST_HEADER = 100
_NUMBER = re.compile(r"[-+(]?[$€£]?\s?\d[\d.,' ]*(?:[eE][-+]?\d+)?\s?[%€$£]?\)?")
_YEAR = re.compile(r"(?:19|20)\d\d")


def csv_(data: bytes, limits: Limits) -> Parsed:
    """With any of the usual delimiters, whichever parts most rows alike."""
    source = decode_rows(data)
    return _separated(source, max(_DELIMITERS, key=lambda delimiter: _alike(source[:100_000], delimiter)), limits)


def tsv(data: bytes, limits: Limits) -> Parsed:
    return _separated(decode_rows(data), "\t", limits)


def _alike(source: str, delimiter: str) -> int:
    rows = csv.reader(io.StringIO(source, newline=""), delimiter=delimiter)
    try:
        widths = Counter(len(cells) for cells in islice(rows, _LOOKED_AT) if len(cells) > 1)
    except csv.Error:
        return 0
    return max(widths.values(), default=0)


def _separated(source: str, delimiter: str, limits: Limits) -> Parsed:
    out = Rendering(limits.max_chars)
    rows = csv.reader(io.StringIO(source, newline=""), delimiter=delimiter)
    flat = ((" ".join(cell.split()) for cell in cells) for cells in rows)
    try:
        write(({at: cell for at, cell in enumerate(cells) if cell} for cells in flat), out, limits)
    except csv.Error as fault:
        raise InvalidFile(f"Line {rows.line_num:,} is no row of a table ({fault}); is a quote left open?") from fault
    return out.done()


def write(rows: Iterable[Cells], out: Rendering, limits: Limits, page: int | None = None) -> None:
    """Rows of whatever stands on one sheet: titles, and tables parted by blank rows."""
    headers: Cells = {}
    for blank, group in groupby(_narrow(rows, limits.max_columns), key=lambda cells: not cells):
        if not blank:
            headers = _stretch(group, headers, out, page)


def _narrow(rows: Iterable[Cells], most: int) -> Iterator[Cells]:
    for cells in rows:
        if len(cells) > most:
            raise InvalidFile(f"A table has {len(cells):,} columns and the limit is {most:,}; split it.")
        yield cells


def _stretch(rows: Iterator[Cells], before: Cells, out: Rendering, page: int | None) -> Cells:
    """Rows with no blank one among them, and the headers they have. Lone cells on top are titles or remarks."""
    titles: list[str] = []
    first: Cells = {}
    for first in rows:
        if len(first) > 1:
            break
        titles += first.values()
    out.lines("paragraph", titles, page)
    if len(first) < 2:
        return before
    # After a blank row the table goes on, unless a title or other columns say that it is a new one.
    if _are_headers(first) and (titles or first.keys() != before.keys()):
        second = next(rows, None)
        if second is None:
            out.add("paragraph", row(("", header) for header in first.values()), page=page)
            return first
        headers, rows = first, chain([second], rows)
    else:
        headers, rows = before if first.keys() <= before.keys() else {}, chain([first], rows)
    # Headers may be printed once more on each page.
    lines = (row((headers.get(at, ""), cell) for at, cell in cells.items()) for cells in rows if cells != headers)
    out.lines("table", lines, page)
    return headers


def _are_headers(cells: Cells) -> bool:
    return all(
        len(cell) <= _LONGEST_HEADER and (_YEAR.fullmatch(cell) or not _NUMBER.fullmatch(cell))
        for cell in cells.values()
    )
