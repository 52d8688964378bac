"""Text files: what their bytes say, in paragraphs."""

import itertools
import re
from collections.abc import Sequence
from contextlib import suppress

from charset_normalizer import from_bytes

from index.errors import InvalidFile
from index.parse.document import Limits, Parsed, Rendering, clean

_BOMS = ((b"\xff\xfe\x00\x00", "utf-32"), (b"\x00\x00\xfe\xff", "utf-32"), (b"\xef\xbb\xbf", "utf-8-sig"),
         (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))  # fmt: skip
_JAPANESE = re.compile(rb"\x1b\$[@B]")  # how ISO-2022-JP, whose bytes are all ASCII's too, goes over to its characters
_BREAKS = re.compile("[\x0c\x85\u2028\u2029]")  # beside \n and \r


def decode(data: bytes) -> str:
    """Bytes to clean text: by byte order mark, ISO-2022-JP's escapes, then UTF-8, then the likeliest 8-bit code page.

    A NUL, or many control characters, mean that this is no text at all: InvalidFile.
    """
    return clean(_decoded(data))


def decode_rows(data: bytes) -> str:
    """The same for records and tables: what breaks lines in prose alone may stand within a cell, and is a space."""
    return clean(_BREAKS.sub(" ", _decoded(data)))


def _decoded(data: bytes) -> str:
    for mark, name in _BOMS:
        if data.startswith(mark):
            try:
                return data.decode(name)
            except UnicodeDecodeError as fault:
                raise InvalidFile(f"The file begins as {name} text but is damaged at byte {fault.start}.") from fault
    controls = sum(data.count(code) for code in range(32) if code not in b"\t\n\x0b\x0c\r\x1b")
    if b"\0" in data or controls > len(data) // 50:
        raise InvalidFile("The file is not text: it holds binary data. Upload the document it came from.")
    if _JAPANESE.search(data):
        with suppress(UnicodeDecodeError):
            return data.decode("iso2022_jp")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return _eight_bit(data)


def _eight_bit(data: bytes) -> str:
    # A cut-off last character or one stray byte does not make a UTF-8 file anything else.
    lossy = data.decode("utf-8", "replace")
    if lossy.count("\ufffd") * 1000 < len(lossy) and any(ord(c) > 127 and c != "\ufffd" for c in lossy):
        return lossy
    best = from_bytes(data[:200_000]).best()
    # Short Western texts fit dozens of code pages equally well, so the guess counts only with enough to go by.
    name = best.encoding if best is not None and len(data) > 200 else "cp1252"
    if name in ("ascii", "utf_8"):
        name = "cp1252"
    return data.decode(name, "replace")


def text(data: bytes, limits: Limits) -> Parsed:
    out = Rendering(limits.max_chars)
    for paragraph in re.split(r"\n[ \t]*\n", decode(data)):
        out.add("paragraph", unwrap(paragraph))
    return out.done()


ITEM = re.compile(r"\s*([-*+•–]|\(?\d+[.)]|\(?[a-zA-Z][.)])\s")


def unwrap(paragraph: str) -> str:
    """Joins lines that a margin broke; keeps lines that mean it: items, indented ones, short ones."""
    lines = [line.rstrip() for line in paragraph.strip("\n").split("\n")]
    margin = max(len(line) for line in lines)
    joined = lines[:1]
    for before, line in itertools.pairwise(lines):
        first_word = line.split(" ", 1)[0]
        wrapped = margin >= 40 and len(before) + 1 + len(first_word) > margin - 8
        if wrapped and line and not ITEM.match(line) and depth(line) == depth(before):
            joined[-1] += " " + line.strip()
        else:
            joined.append(line)
    return "\n".join(joined)


def depth(line: str) -> int:
    return len(line) - len(line.lstrip())


def dedent(lines: Sequence[str]) -> list[str]:
    """Without the indentation that all lines share."""
    shared = min((depth(line) for line in lines if line.strip()), default=0)
    return [line[shared:] for line in lines]
