"""What a parsed document is, and how one is put together.

`Parsed.text` is our own clean rendering: no markup, one line per table row or list item, wrapped lines joined, blocks
apart by one blank line. Every offset in the memory is a character offset into it.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from index.errors import InvalidFile

# A margin is a page's repeated header or footer; parsers make none, index.garbage finds them.
BlockKind = Literal["heading", "paragraph", "table", "list", "code", "margin"]

LONGEST_HEADING = 200  # characters: every passage below carries it


@dataclass(frozen=True, slots=True)
class Limits:
    """What one document may cost. Memory and time are those of the child process that reads it."""

    max_bytes: int = 100 * 2**20
    max_unpacked_bytes: int = 256 * 2**20  # of a zipped format or an archive, all members together
    max_ratio: int = 200  # of unpacked bytes to packed ones
    max_members: int = 2_000  # files in an archive, or attachments of an e-mail
    max_pages: int = 2_000  # slides too
    max_columns: int = 1_000  # cells in one row of a CSV file or a sheet
    max_chars: int = 10_000_000
    memory_bytes: int = 2 * 2**30  # address space, of which the idle parsers take 0.5 GiB
    cpu_seconds: int = 120
    wall_seconds: float = 180.0
    ocr: str = "eng"  # languages that are looked for in scans and images; none: these are not read


@dataclass(frozen=True, slots=True)
class Block:
    """`text[start:end]` of one piece. `level` is 1 to 6 for a heading and 0 else; pages count from 1."""

    start: int
    end: int
    kind: BlockKind
    level: int = 0
    page: int | None = None


@dataclass(frozen=True, slots=True)
class Parsed:
    """A document as text with its structure. `pages` is None where the format has none."""

    text: str
    blocks: tuple[Block, ...]
    pages: int | None = None


# How a container (an e-mail, an archive) has a file in it read, by its name.
ReadPart = Callable[[str, bytes, Limits], Parsed]


class Rendering:
    """Collects blocks in reading order."""

    def __init__(self, max_chars: int) -> None:
        self._max_chars = max_chars
        self._parts: list[str] = []
        self._blocks: list[Block] = []
        self._length = 0

    def add(self, kind: BlockKind, text: str, level: int = 0, page: int | None = None) -> None:
        """Appends one block; text of nothing but space is dropped, and a heading too long to be one is a paragraph."""
        text = _lines(text)
        if kind == "heading":
            text = " ".join(text.split())
            kind = "heading" if len(text) <= LONGEST_HEADING else "paragraph"
        if not text:
            return
        start = self._length + 2 if self._parts else 0
        self._take(start + len(text))
        self._parts.append(text)
        self._blocks.append(Block(start, self._length, kind, min(max(level, 1), 6) if kind == "heading" else 0, page))

    def section(self, name: str, level: int, page: int | None = None) -> None:
        """A heading that must stand, or else what follows would count to the part before; a long name is cut for it."""
        name = " ".join(clean(name).split())
        if len(name) > LONGEST_HEADING:
            self.add("heading", name[: LONGEST_HEADING - 1] + "…", level, page)
            self.add("paragraph", name, page=page)
        else:
            self.add("heading", name, level, page)

    def lines(self, kind: BlockKind, lines: Iterable[str], page: int | None = None) -> None:
        """One block of many lines, which are counted as they come: what is too long is never held whole."""
        kept: list[str] = []
        room = self._max_chars - self._length
        for line in lines:
            room -= len(line)
            if room < 0:
                self._take(self._max_chars + 1)
            kept.append(line)
        self.add(kind, "\n".join(kept), page=page)

    def include(self, part: Parsed, level: int) -> None:
        """A document inside this one, its headings moved below `level`. Its pages stay its own."""
        for block in part.blocks:
            self.add(block.kind, part.text[block.start : block.end], block.level + level, block.page)

    def _take(self, length: int) -> None:
        if length > self._max_chars:
            raise InvalidFile(f"The document holds more than {self._max_chars:,} characters of text; split it.")
        self._length = length

    def done(self, pages: int | None = None) -> Parsed:
        return Parsed("\n\n".join(self._parts), tuple(self._blocks), pages)


# Control and format characters carry no words, and private ones are glyphs of a lost font; joiners stay, since
# Persian, Hindi and emoji need them.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\ufeff\ufff0-\ufffb\ue000-\uf8ff]"
)
_SPACES = re.compile("[\xa0\u2000-\u200a\u202f\u205f\u3000]")


def clean(text: str) -> str:
    """Newlines as \\n, no invisible characters, composed accents, and nothing that UTF-8 cannot hold."""
    text = re.sub("\r\n?|\x0c|\u2028|\u2029|\x85", "\n", text)
    text = _SPACES.sub(" ", _INVISIBLE.sub("", text))
    return unicodedata.normalize("NFC", text.encode("utf-8", "replace").decode("utf-8"))


def table(rows: Sequence[Sequence[str]]) -> str:
    """One line per row, in words that explain themselves: `Plan: Pro; Seats: 25; Price per month: 49 EUR.`

    The first row holds the headers; where it is empty, so is the naming.
    """
    grid = [[" ".join(clean(cell).split()) for cell in cells] for cells in rows]
    if not grid:
        return ""
    headers = grid[0]
    if len(grid) == 1:
        return row(("", header.rstrip(":")) for header in headers)
    lines = []
    for cells in grid[1:]:
        names = headers + [""] * (len(cells) - len(headers))
        lines.append(row(zip(names, cells, strict=False)))
    return "\n".join(line for line in lines if line)


def row(pairs: Iterable[tuple[str, str]]) -> str:
    """A row of (header, cell) as one sentence; an empty cell says nothing, an empty header only its cell."""
    named = ((name.rstrip(":"), cell.rstrip(";")) for name, cell in pairs if cell)
    line = "; ".join(f"{name}: {cell}" if name else cell for name, cell in named)
    return line if not line or line[-1] in ".!?…。" else line + "."


def _lines(text: str) -> str:
    """Trailing space and outer blank lines off, and never two blank lines in a row."""
    lines = [line.rstrip() for line in clean(text).split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")
