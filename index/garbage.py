"""What of a document is not worth finding, and why. Judged between splitting and embedding; nothing is deleted.

boilerplate   a header or footer that stands on many pages; the first of them stays
duplicate     a passage that an earlier one under the same headings says in the same words, or nearly
binary        data written as letters, such as base64
encoding      read in a wrong encoding: `GrÃ¼ÃŸe`
garbled       what OCR makes of dirt, or letters in no order
empty         no letter and no digit

Each is judged within its document, so that a document's passages do not depend on what else is in the store: when one
of two alike is deleted, nothing has to be made searchable again. Rows of tables and code repeat themselves rightly;
they are no duplicates. In doubt a passage is kept: one that is missing is worse than one too many.
"""

import re
import unicodedata
import zlib
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby, pairwise

from datasketch import MinHash, MinHashLSH

from index.chunk import Passage
from index.parse import Block, Parsed
from index.types import Reason
from index.words import words_of

SHINGLE = 5  # words
NEAR = 0.8  # Jaccard of two passages' shingles
BANDS, ROWS = 16, 4  # of the sketches: finds 99.9 % of the pairs that are just near
LEAST_NEAR = 40  # words: a shorter passage must be the same

MARGIN = 2  # blocks at the top and at the bottom of a page that may be its header and footer
LONGEST_MARGIN = 200  # characters
LEAST_PAGES = 3
SHARE_OF_PAGES = 0.4  # headers of even and odd pages may differ
SHARE_OF_TITLES = 0.6  # several slides may well have the same title
MOST_NUMBERS = 4

WORDS: dict[Reason, str] = {
    "boilerplate": "repeated headers and footers",
    "duplicate": "duplicates",
    "binary": "binary data",
    "encoding": "in a wrong encoding",
    "garbled": "garbled",
    "empty": "without words",
}


def told(counts: Mapping[Reason, int]) -> str:
    """In words for people: `3 duplicates, 1 garbled`."""
    return ", ".join(f"{count} {WORDS[reason]}" for reason, count in counts.items())


def with_margins(parsed: Parsed) -> tuple[Parsed, int]:
    """The document with its repeated headers and footers as margins, and how many these are. The text stays.

    One amid a sentence that goes over the page's end is none, or else that sentence were torn.
    """
    found = {i for i in _repeated(parsed) if not _amid(parsed, i)}
    blocks = [replace(block, kind="margin", level=0) if i in found else block for i, block in enumerate(parsed.blocks)]
    return replace(parsed, blocks=tuple(blocks)), len(found)


def sift(parsed: Parsed, passages: Sequence[Passage], in_parts: bool) -> tuple[list[Passage], Counter[Reason]]:
    """The passages worth finding, and how many are not. `in_parts`: the outermost heading only names a part's file."""
    kinds = _Kinds(parsed.blocks)
    seen = _Seen()
    kept: list[Passage] = []
    left: Counter[Reason] = Counter()
    for passage in passages:
        found = kinds.of(passage)
        reason = flaw(passage.text, found)
        if reason is None and not found & {"table", "code"} and seen.before(passage, passage.headings[in_parts:]):
            reason = "duplicate"
        if reason is None:
            kept.append(passage)
        else:
            left[reason] += 1
    return kept, left


def flaw(text: str, kinds: set[str]) -> Reason | None:
    """What is wrong with a passage by itself, made of blocks of these kinds."""
    if not any(map(str.isalnum, text)):
        return "empty"
    if "table" not in kinds and _is_binary(text):
        return "binary"
    if "code" not in kinds and _is_misread(text):
        return "encoding"
    if not kinds & {"table", "code"} and _is_garbled(text):
        return "garbled"
    return None


class _Kinds:
    def __init__(self, blocks: Sequence[Block]) -> None:
        self._blocks, self._starts = blocks, [block.start for block in blocks]

    def of(self, passage: Passage) -> set[str]:
        """The kinds of the blocks that a passage is from."""
        first = bisect_right(self._starts, passage.start) - 1
        return {block.kind for block in self._blocks[max(first, 0) : bisect_right(self._starts, passage.end - 1)]}


# Headers and footers


def _repeated(parsed: Parsed) -> Iterator[int]:
    """The numbers of blocks that stand at the edge of many pages, all but the first of each."""
    at: defaultdict[tuple[int, str], dict[int, int]] = defaultdict(dict)  # text, with its page's number cut out: where
    pages = 0
    numbered = ((i, block) for i, block in enumerate(parsed.blocks) if block.page is not None)
    for page, group in groupby(numbered, key=lambda one: one[1].page or 0):
        pages += 1
        held = [(i, block) for i, block in group if block.kind not in ("table", "code")]
        for i, block in {**dict(held[:MARGIN]), **dict(held[-MARGIN:])}.items():
            if block.end - block.start <= LONGEST_MARGIN:
                for key in _keys(parsed.text[block.start : block.end], page):
                    at[key].setdefault(page, i)
    for where in at.values():
        titles = any(parsed.blocks[i].kind == "heading" for i in where.values())
        if len(where) >= max(LEAST_PAGES, pages * (SHARE_OF_TITLES if titles else SHARE_OF_PAGES)):
            yield from list(where.values())[1:]


def _keys(text: str, page: int) -> Iterator[tuple[int, str]]:
    """What is the same on another page: all of it, or all but one number that counts with the pages."""
    plain = " ".join(text.casefold().split())
    yield -1, plain
    for n, number in enumerate(re.finditer(r"\d{1,6}", plain)):
        if n < MOST_NUMBERS:
            yield n, f"{plain[: number.start()]}#{int(number.group()) - page}{plain[number.end() :]}"


def _amid(parsed: Parsed, i: int) -> bool:
    """Whether a sentence goes on over a block."""
    blocks = parsed.blocks
    if not 0 < i < len(blocks) - 1 or {blocks[i - 1].kind, blocks[i + 1].kind} & {"heading", "table", "code"}:
        return False
    before, after = parsed.text[blocks[i - 1].end - 1], parsed.text[blocks[i + 1].start]
    return (before.isalnum() or before in ",;-–") and not after.isupper()


# Duplicates


class _Seen:
    """The passages that were kept, to be known again."""

    def __init__(self) -> None:
        self._same: set[tuple[tuple[str, ...], tuple[str, ...]]] = set()
        self._near = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
        self._long: list[tuple[tuple[str, ...], list[str]]] = []

    def before(self, passage: Passage, headings: tuple[str, ...]) -> bool:
        """Whether it has been said before under these headings; if not, it has been now."""
        words = words_of(passage.text.casefold())
        same = (headings, tuple(words))
        if same in self._same or self._nearly(headings, words):
            return True
        self._same.add(same)
        return False

    def _nearly(self, headings: tuple[str, ...], words: list[str]) -> bool:
        """A near copy must have no word that the other lacks: one that differs in a name or a number says more."""
        if len(words) < LEAST_NEAR:
            return False
        shingles = _shingles(words)
        sketch = MinHash(BANDS * ROWS, hashfunc=zlib.crc32)
        sketch.update_batch(shingles)
        for candidate in self._near.query(sketch):
            under, known = self._long[candidate]
            if under == headings and set(words) <= set(known) and _jaccard(shingles, _shingles(known)) >= NEAR:
                return True
        self._near.insert(len(self._long), sketch)
        self._long.append((headings, words))
        return False


def _jaccard(one: set[bytes], other: set[bytes]) -> float:
    return len(one & other) / len(one | other)


def _shingles(words: Sequence[str]) -> set[bytes]:
    return {" ".join(words[i : i + SHINGLE]).encode() for i in range(len(words) - SHINGLE + 1)}


# Binary data

_BLOB = re.compile(r"[A-Za-z0-9+/_=-]{48,}")
_HEX = re.compile(r"[0-9a-fA-F]+|[^0-9]+|[^A-Z]+|[^a-z]+")  # checksums may be looked for; base64 has all three
LEAST_BLOB = 200  # characters
SHARE_OF_BLOB = 0.8


def _is_binary(text: str) -> bool:
    blobs = [blob for blob in _BLOB.findall(text) if not _HEX.fullmatch(blob) and _is_random(blob)]
    size = sum(map(len, blobs))
    return size >= LEAST_BLOB and size >= SHARE_OF_BLOB * len("".join(text.split()))


def _is_random(blob: str) -> bool:
    """Case and digits change at every other character: names and paths keep to one for longer."""
    kinds = [char.isupper() + 2 * char.isdigit() for char in blob]
    return sum(a != b for a, b in pairwise(kinds)) >= len(blob) / 4


# Wrong encodings

# A letter of UTF-8 read as windows-1252 or latin-1: its first byte, then what its other bytes look like.
_FOLLOWING = bytes(range(0x80, 0xC0)).decode("cp1252", "ignore") + "".join(map(chr, range(0xA1, 0xC0)))
_TWICE = re.compile(rf"[\xc2-\xdf][{re.escape(_FOLLOWING)}]|[\xe0-\xef][{re.escape(_FOLLOWING)}]{{2}}")
_ONLY_ACCENTS = re.compile(r"[\xc0-\xff]{3,}")  # Cyrillic or Greek read as if it were western
LEAST_MISREAD = 3  # words
SHARE_MISREAD = 0.05
SHARE_ACCENTS = 0.5


def _is_misread(text: str) -> bool:
    if text.isascii():
        return False
    words = text.split()
    misread = sum("\ufffd" in word or bool(_TWICE.search(word)) for word in words)
    if misread >= max(LEAST_MISREAD, SHARE_MISREAD * len(words)):
        return True
    letters = [word for word in re.findall(r"[^\W\d_]+", text) if len(word) > 2]
    accents = sum(bool(_ONLY_ACCENTS.fullmatch(word)) for word in letters)
    return accents >= max(LEAST_MISREAD, SHARE_ACCENTS * len(letters))


# Garbled text

_REPEATED = re.compile(r"([^\w\s])\1+")  # leaders and rules: ....... -------
_LATIN = re.compile(r"[a-zA-Z\xc0-\u024f]+")
_VOWEL = re.compile("[aeiouyAEIOUY\xc0-\u024f]")
_INSIDE = re.compile(r"[^\W\d_][|~^\\{}!;\"*%#$€§¢£¥©®°•¦¬«»]+[^\W\d_]|[a-z]\d+[a-z]|[|~^\\¦¬§©®¢¥]")
_OPERATORS = frozenset("0123456789+-*/=<>&|")  # of formulas
LEAST_GARBLED = 12  # words
SHARE_OF_SYMBOLS = 0.4
SHARE_OF_FRAGMENTS = 0.45


def _is_garbled(text: str) -> bool:
    tokens = text.split()
    if len(tokens) < LEAST_GARBLED:
        return False
    solid = "".join(_REPEATED.sub(r"\1", text).split())
    symbols = sum(not char.isalnum() and unicodedata.category(char)[0] not in "LMN" for char in solid)
    if symbols > SHARE_OF_SYMBOLS * len(solid):
        return True
    return sum(map(_is_fragment, tokens)) > SHARE_OF_FRAGMENTS * len(tokens)


def _is_fragment(token: str) -> bool:
    """A lone letter, a lone sign, or what no word of a Latin script looks like. Other scripts are not judged."""
    core = token.strip(".,;:!?()[]\"'“”‘’*`")
    if len(core) == 1:
        return core.isascii() and core not in _OPERATORS
    if _INSIDE.search(core):
        return True
    return len(core) > 2 and core.islower() and bool(_LATIN.fullmatch(core)) and not _VOWEL.search(core)
