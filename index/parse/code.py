"""Source code, as it is: cut before what begins at the margin after a blank line, and what is long at every blank line.

That is where definitions stand in nearly every language; none is parsed.
"""

import re
from collections.abc import Iterator

from index.parse.document import Limits, Parsed, Rendering
from index.parse.plain import decode

_LONG = 1_200  # characters, about what one passage holds
_BLANK = re.compile(r"\n(?:[ \t]*\n)+")
_CLOSES = re.compile(r"[)\]}]|(?:end|else|elif|except|finally|catch)\b")


def code(data: bytes, limits: Limits) -> Parsed:
    out = Rendering(limits.max_chars)
    for piece in _pieces(decode(data)):
        for part in [piece] if len(piece) <= _LONG else _BLANK.split(piece):
            out.add("code", part)
    return out.done()


def _pieces(source: str) -> Iterator[str]:
    """Stretches that begin at the margin."""
    start = 0
    for gap in _BLANK.finditer(source):
        after = source[gap.end() : gap.end() + 10]
        if after[:1] not in ("", " ", "\t") and not _CLOSES.match(after):
            yield source[start : gap.start()]
            start = gap.end()
    yield source[start:]
