"""Excel: each sheet a section under its name, pages being sheets, hidden ones among them.

A cell reads as the sheet shows it (index/parse/cells.py). Rows come one at a time, so a large sheet costs little
memory. Charts, comments and pictures are not read.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, dropwhile

from index.parse.cells import BUILT_IN, shown_as
from index.parse.document import Limits, Parsed, Rendering
from index.parse.ooxml import Element, Package, child, children, damaged, reference, stream, tag
from index.parse.tabular import Cells, write

_MAIN = "xl/workbook.xml"
_MERGED = re.compile(rb'<(?:\w+:)?mergeCell\s[^>]*?ref="([A-Z]{1,3})(\d{1,7}):[A-Z]{1,3}(\d{1,7})"')
_COLUMN = re.compile("[A-Z]{1,3}")

Show = Callable[[str], str]  # a number as it is stored to how it looks


def xlsx(data: bytes, limits: Limits) -> Parsed:
    package = Package(data, limits)
    book = package.tree(_MAIN)
    parts = package.related(_MAIN)
    named = dict(parts.values())
    shared = package.part(named["sharedStrings"]) if "sharedStrings" in named else b"<sst/>"
    texts = [_text(one) for one in stream(shared, "sst", "si")]
    shows = _shows(package.tree(named["styles"]), book) if "styles" in named else []
    out = Rendering(limits.max_chars)
    number = 0
    for number, sheet in enumerate(children(child(book, "sheets"), "sheet"), 1):
        kind, part = parts.get(reference(sheet), ("", ""))
        if not kind:
            raise damaged()
        if kind == "worksheet":
            rows = dropwhile(lambda cells: not cells, _rows(package.part(part), texts, shows))
            for first in rows:
                out.section(sheet.get("name", ""), level=1, page=number)
                write(chain([first], rows), out, limits, number)
    return out.done(number)


def _shows(styles: Element, book: Element) -> list[Show]:
    """By the number of a cell's style."""
    custom = {
        one.get("numFmtId", ""): one.get("formatCode", "") for one in children(child(styles, "numFmts"), "numFmt")
    }
    settings = child(book, "workbookPr")
    from_1904 = settings is not None and settings.get("date1904") in ("1", "true")
    formats = [style.get("numFmtId", "0") for style in children(child(styles, "cellXfs"), "xf")]
    return [shown_as(custom.get(number) or BUILT_IN.get(number, "General"), from_1904) for number in formats]


def _rows(part: bytes, texts: Sequence[str], shows: Sequence[Show]) -> Iterator[Cells]:
    """A row that is left out is a blank one. What is merged downwards stands in each of its rows."""
    merged = {(_index(column), int(top)): int(bottom) for column, top, bottom in _MERGED.findall(part)}
    above: dict[int, tuple[str, int]] = {}  # by column: the text, and the last row that it stands in
    last = 0
    for element in stream(part, "sheetData", "row"):
        try:
            number = int(element.get("r") or last + 1)
            cells = dict(_cells(element, texts, shows))
        except (IndexError, ValueError) as fault:
            raise damaged() from fault
        if number > last + 1:
            yield {}
        last = number
        for column, (text, bottom) in above.items():
            if cells and number <= bottom:
                cells.setdefault(column, text)
        above |= {at: (text, merged[at, number]) for at, text in cells.items() if (at, number) in merged}
        yield dict(sorted(cells.items()))


def _cells(line: Element, texts: Sequence[str], shows: Sequence[Show]) -> Iterator[tuple[int, str]]:
    at = -1
    for cell in children(line, "c"):
        place = _COLUMN.match(cell.get("r", ""))
        at = _index(place[0].encode()) if place else at + 1
        if text := " ".join(_value(cell, texts, shows).split()):
            yield at, text


def _value(cell: Element, texts: Sequence[str], shows: Sequence[Show]) -> str:
    inline = child(cell, "is")
    if inline is not None:
        return _text(inline)
    stored = child(cell, "v")
    value = (stored.text or "") if stored is not None else ""
    match cell.get("t", "n"):
        case "s":
            return texts[int(value)]
        case "b":
            return "TRUE" if value == "1" else "FALSE"
        case "e":
            return ""  # the formula failed
        case "n" if value:
            style = int(cell.get("s", "0"))
            return shows[style](value) if style < len(shows) else value
        case _:
            return value


def _text(holder: Element) -> str:
    """Of a string in one or several styles; without the readings of Japanese names."""
    runs = (child(one, "t") if tag(one) == "r" else one for one in holder if tag(one) in ("r", "t"))
    return "".join(run.text or "" for run in runs if run is not None)


def _index(column: bytes) -> int:
    number = 0
    for letter in column:
        number = number * 26 + letter - 64
    return number - 1
