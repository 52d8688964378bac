"""JSON and JSON Lines.

A list of flat records is a table, each record one line: `Plan: Pro; Seats: 25.` A record that holds long text is a
section of its own. Any other object is an outline: its keys are the headings over what they hold.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from index.errors import InvalidFile
from index.parse.document import Limits, Parsed, Rendering, row
from index.parse.plain import decode_rows

_LONG_TEXT = 300  # characters; longer, or in several lines, is prose and no cell
_MOST_CELLS = 60  # of a record written as one line
_TITLES = ("title", "name", "subject", "question", "headline", "label", "id")


def json_(data: bytes, limits: Limits) -> Parsed:
    source = decode_rows(data)
    try:
        value = _loads(source)
    except json.JSONDecodeError as fault:
        if fault.msg == "Extra data" and "\n" in source.strip():
            return _document(_records(source), limits)  # JSON Lines under another name
        raise InvalidFile(f"Line {fault.lineno:,} is not valid JSON ({fault.msg}); is the file cut off?") from fault
    return _document(value, limits)


def jsonl(data: bytes, limits: Limits) -> Parsed:
    return _document(_records(decode_rows(data)), limits)


def _records(source: str) -> list[Any]:
    records = []
    for number, line in enumerate(source.split("\n"), 1):
        if line.strip():
            try:
                records.append(_loads(line))
            except json.JSONDecodeError as fault:
                raise InvalidFile(
                    f"Line {number:,} is not valid JSON ({fault.msg}); each line of JSON Lines is a value of its own."
                ) from fault
    return records


def _loads(source: str) -> Any:
    """Numbers stay as they were written: 49.00 is a price, and one of a million digits is not to be computed."""
    return json.loads(source, parse_int=str, parse_float=str, parse_constant=str)


def _document(value: Any, limits: Limits) -> Parsed:
    out = Rendering(limits.max_chars)
    _write(value, out, 1)
    return out.done()


def _write(value: Any, out: Rendering, level: int) -> None:
    match value:
        case dict():
            out.lines("paragraph", (row([(_flat(key), _scalar(one))]) for key, one in value.items() if _is_scalar(one)))
            for key, one in value.items():
                if not _is_scalar(one):
                    out.section(key, level)
                    _write(one, out, level + 1)
        case list() if value and all(isinstance(one, dict) for one in value):
            _table(value, out, level)
        case list():
            out.lines("list", (f"- {_scalar(one)}" for one in value if _is_scalar(one)))
            for one in value:
                if not _is_scalar(one):
                    _write(one, out, level)
        case _:
            out.add("paragraph", _scalar(value))


def _table(records: Sequence[Mapping[str, Any]], out: Rendering, level: int) -> None:
    rows = [dict(_cells(record)) for record in records]
    if all(len(cells) <= _MOST_CELLS and not any(map(_is_long, cells.values())) for cells in rows):
        out.lines("table", (row((key, _flat(cell)) for key, cell in cells.items()) for cells in rows))
        return
    for number, cells in enumerate(rows, 1):
        named = next((key for key in _TITLES if cells.get(key) and not _is_long(cells[key])), "")
        out.section(cells.pop(named, str(number)), level)
        short = ((key, _flat(cell)) for key, cell in cells.items() if not _is_long(cell))
        out.add("paragraph", row(short))
        for key, cell in cells.items():
            if _is_long(cell):
                for paragraph in re.split(r"\n[ \t]*\n", f"{key}: {cell}"):
                    out.add("paragraph", paragraph)


def _cells(record: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of a record, each under the keys that lead to it."""
    for key, value in record.items():
        name = f"{path} {_flat(key)}".strip()
        match value:
            case dict():
                yield from _cells(value, name)
            case list() if all(_is_scalar(one) for one in value):
                yield name, ", ".join(map(_scalar, value))
            case list():
                yield from _cells({str(n): one for n, one in enumerate(value, 1)}, name)
            case _:
                yield name, _scalar(value)


def _is_scalar(value: Any) -> bool:
    return not isinstance(value, dict | list)


def _scalar(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case _:
            return str(value)


def _flat(cell: str) -> str:
    return " ".join(cell.split())


def _is_long(cell: str) -> bool:
    return len(cell) > _LONG_TEXT or "\n" in cell.strip()
