"""A parsed document cut into passages that a small reader can take in whole.

A passage never crosses a heading, unless the sections on both sides are tiny. Its own headings are not part of its
text but ride along as `headings`. A table's row is a passage of its own; a margin is in none. With no overlap, each
character of the body that is not space is in exactly one passage, in order; none is longer than `max_tokens` as
`count_tokens` counts.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from index.parse import Block, Parsed

CountTokens = Callable[[str], int]

_WIDEST = 12  # characters that one token may stand for


@dataclass(frozen=True, slots=True)
class Passage:
    """`text` is the parsed text[start:end]; `page` is where it begins; `headings` lead to it, outermost first."""

    start: int
    end: int
    text: str
    page: int | None
    headings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Section:
    """Body blocks under a path of headings. `lead` is where the last of these starts when it stands right above."""

    path: tuple[str, ...]
    blocks: tuple[Block, ...]
    lead: int


@dataclass(frozen=True, slots=True)
class _Piece:
    """What is never cut further: a sentence, a row, a line, or a part of one too long."""

    start: int
    end: int
    tokens: int
    block: int
    page: int | None


def split(parsed: Parsed, count_tokens: CountTokens, max_tokens: int = 256, overlap: int = 0) -> list[Passage]:
    """Passages in reading order. `overlap` tokens at most are repeated from the passage before, in whole sentences."""
    if max_tokens < 1:
        raise ValueError("max_tokens must be at least 1")
    if not 0 <= overlap < max_tokens:
        raise ValueError("overlap must be at least 0 and less than max_tokens")
    margins = [block.start for block in parsed.blocks if block.kind == "margin"]
    body = [block for block in parsed.blocks if block.kind != "margin"]
    cutter = _Cutter(parsed.text, margins, count_tokens, max_tokens, overlap)
    sections = list(_sections(parsed.text, body))
    return [passage for section in _merged(sections, cutter) for passage in cutter.passages(section)]


def _sections(text: str, blocks: Sequence[Block]) -> Iterator[_Section]:
    """A heading with nothing under it is its own body, or else its words would be lost."""
    path: list[Block] = []
    body: list[Block] = []
    lead: int | None = None  # the start of the path's last heading while no section has stood under it
    for i, block in enumerate(blocks):
        if block.kind != "heading":
            body.append(block)
            continue
        if body:
            yield _section(text, path, body, lead)
            body, lead = [], None
        after = blocks[i + 1] if i + 1 < len(blocks) else None
        alone = after is None or (after.kind == "heading" and after.level <= block.level)
        if after is not None and alone and i == 0 and after.level == block.level:
            path = [replace(block, level=0)]  # two headings alike at the very top: a title over all
            lead = block.start
            continue
        while path and path[-1].level >= block.level:
            path.pop()
            lead = None
        if alone:
            yield _section(text, path, [block], lead)
            lead = None
        else:
            path.append(block)
            lead = block.start
    if body:
        yield _section(text, path, body, lead)


def _section(text: str, path: Sequence[Block], body: Sequence[Block], lead: int | None) -> _Section:
    names = tuple(text[heading.start : heading.end] for heading in path)
    return _Section(names, tuple(body), body[0].start if lead is None else lead)


def _merged(sections: Sequence[_Section], cutter: "_Cutter") -> Iterator[_Section]:
    """Tiny sections join their tiny neighbours of the same parent, headings included."""
    tiny = cutter.max_tokens // 8
    at = 0
    while at < len(sections):
        group = sections[at]
        tokens = cutter.size(group)
        at += 1
        while at < len(sections) and tokens < tiny and cutter.size(sections[at]) < tiny:
            joined = _joined(group, sections[at]) if cutter.on_a_page(group, sections[at]) else None
            if joined is None or (tokens := cutter.size(joined)) > cutter.max_tokens:
                break
            group = joined
            at += 1
        yield group


def _joined(first: _Section, second: _Section) -> _Section | None:
    """One section of two, when the second is the first's sibling or child; the path is what they share."""
    blocks = first.blocks + second.blocks
    if any(block.kind == "table" for block in blocks):
        return None
    if second.path == first.path or second.path[:-1] == first.path:
        return _Section(first.path, blocks, first.lead)
    opening = first.blocks[0]
    if first.path and second.path[:-1] == first.path[:-1] and first.lead < opening.start:
        # The first heading is not shared, so it becomes text.
        heading = Block(first.lead, opening.start, "heading", 0, opening.page)
        return _Section(first.path[:-1], (heading, *blocks), first.lead)
    return None


class _Cutter:
    """Packs pieces of one document."""

    def __init__(
        self, text: str, margins: Sequence[int], count_tokens: CountTokens, max_tokens: int, overlap: int
    ) -> None:
        self.text = text
        self._margins = margins
        self._count_tokens = count_tokens
        self.max_tokens = max_tokens
        self.overlap = overlap
        self._sizes: dict[tuple[int, int], int] = {}

    def count(self, text: str) -> int:
        """Tokens, but at least one for twelve characters: a tokenizer may take a whole line of base64 for one."""
        return max(self._count_tokens(text), len(text) // _WIDEST)

    def size(self, section: _Section) -> int:
        start, end = section.blocks[0].start, section.blocks[-1].end
        if end - start >= _WIDEST * (self.max_tokens + 1):
            return self.max_tokens + 1  # too long in any case, so no need to count
        if (start, end) not in self._sizes:
            self._sizes[start, end] = self.count(self.text[start:end])
        return self._sizes[start, end]

    def passages(self, section: _Section) -> Iterator[Passage]:
        for (table, _), blocks in groupby(section.blocks, key=lambda b: (b.kind == "table", self._page(b.start))):
            part = replace(section, blocks=tuple(blocks))
            yield from self._rows(part) if table else self._prose(part)

    def on_a_page(self, first: _Section, second: _Section) -> bool:
        """Whether no margin stands between two sections, or in either."""
        return self._page(first.lead) == self._page(second.blocks[-1].start)

    def _page(self, at: int) -> int:
        """How many margins stand before."""
        return bisect_right(self._margins, at)

    def _rows(self, section: _Section) -> Iterator[Passage]:
        """Each row alone: it carries its headers, and a reader of many rows at once takes the wrong one."""
        for number, block in enumerate(section.blocks):
            for row in self._pieces(block, number):
                yield self._passage(section, row.start, row.end, row.page)

    def _prose(self, section: _Section) -> Iterator[Passage]:
        if self.size(section) <= self.max_tokens:
            yield self._passage(section, section.blocks[0].start, section.blocks[-1].end, section.blocks[0].page)
            return
        pieces = [piece for i, block in enumerate(section.blocks) for piece in self._pieces(block, i)]
        for group in self._packed(pieces):
            yield self._passage(section, group[0].start, group[-1].end, group[0].page)

    def _passage(self, section: _Section, start: int, end: int, page: int | None) -> Passage:
        body = self.text[start:end]
        start += len(body) - len(body.lstrip())
        body = body.strip()
        return Passage(start, start + len(body), body, page, section.path)

    def _packed(self, pieces: Sequence[_Piece]) -> Iterator[Sequence[_Piece]]:
        start = fresh = 0  # the passage's first piece, and the first that no passage before it held
        while fresh < len(pieces):
            room = self.max_tokens - pieces[fresh].tokens
            while sum(piece.tokens for piece in pieces[start:fresh]) > room:
                start += 1
            end = self._reach(pieces, start, fresh)
            # Counts of parts add up exactly for most tokenizers only, so the whole is counted too.
            while (
                end - start > 1 and self.count(self.text[pieces[start].start : pieces[end - 1].end]) > self.max_tokens
            ):
                start, end = (start, end - 1) if end - 1 > fresh else (start + 1, end)
            yield pieces[start:end]
            start, fresh = self._tail(pieces, start, end), end

    def _reach(self, pieces: Sequence[_Piece], start: int, fresh: int) -> int:
        """Where a full passage ends. One half full ends where a block ends rather than tear the next block."""
        total = sum(piece.tokens for piece in pieces[start:fresh])
        border = fresh
        for at in range(fresh, len(pieces)):
            if at > fresh and pieces[at].block != pieces[at - 1].block and 2 * total >= self.max_tokens:
                border = at
            total += pieces[at].tokens
            if total > self.max_tokens:
                return border if border > fresh else at
        return len(pieces)

    def _tail(self, pieces: Sequence[_Piece], start: int, end: int) -> int:
        """Where the overlap begins: the last pieces that fit it, though never the whole passage."""
        left = self.overlap
        at = end
        while at - 1 > start and pieces[at - 1].tokens <= left:
            at -= 1
            left -= pieces[at].tokens
        return at

    def _pieces(self, block: Block, number: int) -> Iterator[_Piece]:
        text = self.text[block.start : block.end]
        spans = _lines(text) if block.kind in ("table", "code") else sentence_spans(text)
        for start, end in spans:
            yield from self._small(block.start + start, block.start + end, number, block.page)

    def _small(self, start: int, end: int, number: int, page: int | None) -> Iterator[_Piece]:
        """The span as one piece, or by words when too long, or by characters when a word is."""
        while start < end:
            cut, tokens = self._longest(start, end)
            yield _Piece(start, cut, tokens, number, page)
            start = cut
            while start < end and self.text[start].isspace():
                start += 1

    def _longest(self, start: int, end: int) -> tuple[int, int]:
        """The furthest end that keeps text[start:end] within the limit, at a word's end if there is one."""
        window = self.text[start : min(end, start + _WIDEST * (self.max_tokens + 1))]
        if len(window) == end - start and (tokens := self.count(window)) <= self.max_tokens:
            return end, tokens
        ends = [start + word.end() for word in re.finditer(r"\S+", window)]
        best = bisect_right(ends, self.max_tokens, key=lambda e: self.count(self.text[start:e]))
        if best == 0:
            ends = list(range(start + 1, ends[0] + 1))
            best = max(1, bisect_right(ends, self.max_tokens, key=lambda e: self.count(self.text[start:e])))
        return ends[best - 1], self.count(self.text[start : ends[best - 1]])


def _lines(text: str) -> list[tuple[int, int]]:
    """Every line that says something, without the space around it."""
    spans = []
    start = 0
    for line in text.split("\n"):
        if line and not line.isspace():
            spans.append(_trimmed(text, start, start + len(line)))
        start += len(line) + 1
    return spans


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), end - (len(part) - len(part.rstrip()))


# An end mark with what closes after it, then space and something that can open a sentence; CJK marks need no space.
_STOP = re.compile(
    r"(?<![.!?…])[.!?…]++[)\]\"'”’»*]*+(?=\s++[\"'“‘«(\[¿¡]*+[^\sa-zß-öø-ÿа-яα-ω,;:)\]])|[。！？][」』”’）]*+"
)
_NO_STOP = re.compile(
    r"(?:^|[\s(\[\"'“‘])(?:"
    r"[A-Z]|(?:[A-Za-z]\.)+[A-Za-z]|\(?\d{1,3}|[ivx]{1,4}|"  # initials, e.g., U.S., list numbers at the line's start
    r"Dr|Mr|Mrs|Ms|Prof|St|Sr|Jr|Gen|Col|Capt|Lt|Sgt|Rev|Hon|Gov|Sen|Rep|Pres|Mt|Ft|"
    r"No|Nos|Nr|Fig|Figs|Eq|Sec|Ch|Vol|vol|pp|p|Art|cf|vs|viz|ca|approx|est|incl|esp|resp|"
    r"Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sep|Sept|Oct|Nov|Dec"
    r")\.$"
)


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """(start, end) of each sentence. A line's end always ends one, so a table row or a list item is a sentence.

    Abbreviations, initials and decimals do not end a sentence; every character but space is in exactly one.
    """
    spans = []
    for line_start, line_end in _lines(text):
        start = line_start
        for stop in _STOP.finditer(text, line_start, line_end):
            if stop.end() >= line_end or not _ends(text, line_start, start, stop):
                continue
            spans.append(_trimmed(text, start, stop.end()))
            start = stop.end()
        spans.append(_trimmed(text, start, line_end))
    return spans


def _ends(text: str, line_start: int, start: int, stop: re.Match[str]) -> bool:
    if stop.group() != ".":
        return True
    found = _NO_STOP.search(text[max(start, stop.end() - 20) : stop.end()])
    if found is None:
        return True
    word = found.group().strip(" \t([\"'“‘.")
    if word.isdigit() or re.fullmatch("[ivx]+", word):
        return stop.end() - line_start > 8  # "3. Click" opens a line with its number; "was 3. The" ends a sentence
    return False
