"""What every parser owes those who send it anything: a text, or a refusal that explains itself."""

import pytest

from index.errors import ParseError
from index.parse import Limits, parse
from index.parse.formats import read


def is_explained(name: str, data: bytes, fault: type[ParseError], words: str) -> None:
    with pytest.raises(fault, match=words) as caught:
        parse(name, data)
    assert "Traceback" not in str(caught.value) and "in the log" not in str(caught.value)


def is_read_or_refused(suffix: str, source: str) -> None:
    """In this process, since the functions are what is tried: no other error, and blocks that tile the text."""
    try:
        parsed = read(suffix, source.encode("utf-8", "replace"), Limits())
    except ParseError:
        return
    assert "\n\n".join(parsed.text[b.start : b.end] for b in parsed.blocks) == parsed.text
    assert all(parsed.text[b.start : b.end].strip() for b in parsed.blocks)
