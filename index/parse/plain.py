"""Text files: what their bytes say, in paragraphs; and reStructuredText, read as text with headings and code."""

import itertools
import re

from charset_normalizer import from_bytes

from index.errors import InvalidFile
from index.parse.document import Limits, Parsed, Rendering, clean

_BOMS = ((b"\xff\xfe\x00\x00", "utf-32"), (b"\x00\x00\xfe\xff", "utf-32"), (b"\xef\xbb\xbf", "utf-8-sig"),
         (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))  # fmt: skip


def decode(data: bytes) -> str:
    """Bytes to clean text: by byte order mark, then UTF-8, then the likeliest 8-bit code page.

    A NUL, or many control characters, mean that this is no text at all: InvalidFile.
    """
    for mark, name in _BOMS:
        if data.startswith(mark):
            try:
                return clean(data.decode(name))
            except UnicodeDecodeError as fault:
                raise InvalidFile(f"The file begins as {name} text but is damaged at byte {fault.start}.") from fault
    controls = sum(data.count(code) for code in range(32) if code not in b"\t\n\x0b\x0c\r\x1b")
    if b"\0" in data or controls > len(data) // 50:
        raise InvalidFile("The file is not text: it holds binary data. Upload the document it came from.")
    try:
        return clean(data.decode("utf-8"))
    except UnicodeDecodeError:
        return clean(_eight_bit(data))


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


_ITEM = re.compile(r"\s*([-*+•–]|\(?\d+[.)]|\(?[a-zA-Z][.)])\s")


def unwrap(paragraph: str) -> str:
    """Joins lines that a margin broke; keeps lines that mean it: items, indented ones, short ones."""
    lines = [line.rstrip() for line in paragraph.strip("\n").split("\n")]
    margin = max(len(line) for line in lines)
    joined = lines[:1]
    for before, line in itertools.pairwise(lines):
        first_word = line.split(" ", 1)[0]
        wrapped = margin >= 40 and len(before) + 1 + len(first_word) > margin - 8
        if wrapped and line and not _ITEM.match(line) and _depth(line) == _depth(before):
            joined[-1] += " " + line.strip()
        else:
            joined.append(line)
    return "\n".join(joined)


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())


_RULE = re.compile(r"([=\-~^\"'`#*+_.:<>])\1{2,}$")
_ROLE = re.compile(r":[a-zA-Z][\w:.+-]*:`(?:([^`<]*?)\s*<[^`>]*>|([^`]*))`")
_LINK = re.compile(r"`([^`<]+?)\s*<[^`>]*>`_{1,2}")
_NAMED = re.compile(r"``(.+?)``|`([^`]+)`_{0,2}|\*\*(\S(?:.*?\S)?)\*\*|(?<!\w)\*(\S(?:[^*]*?\S)?)\*(?!\w)", re.DOTALL)
_TARGET = re.compile(r"^\.\. (_[^:]*:.*|\|[^|]*\|.*)$")
_DIRECTIVE = re.compile(r"^\.\. ([\w:-]+)::\s*(.*)$")
_PROSE = {"note", "warning", "tip", "important", "caution", "danger", "hint", "attention", "seealso", "admonition",
          "versionadded", "versionchanged", "deprecated"}  # fmt: skip


def restructured(data: bytes, limits: Limits) -> Parsed:
    """Headings by their underlines, literal blocks and code directives as code; other directives as their text."""
    out = Rendering(limits.max_chars)
    styles: list[str] = []  # heading levels are the order in which rulers first appear
    lines = [*decode(data).expandtabs().split("\n"), ""]
    literal = False
    at = 0
    while at < len(lines):
        line = lines[at].rstrip()
        if not line:
            at += 1
            continue
        taken, title, ruler = _titled(lines, at)
        if title:
            if ruler not in styles:
                styles.append(ruler)
            out.add("heading", _inline(title), level=styles.index(ruler) + 1)
            at += taken
            literal = False
            continue
        end = at
        while end < len(lines) and lines[end].strip():
            end += 1
        if literal and line.startswith(" "):
            end = _dedented(lines, at)
            out.add("code", _dedent(lines[at:end]))
            literal = False
        elif line.startswith(".. ") or line == "..":
            end, literal = _directive(lines, at, out)
        else:
            literal = _paragraph(lines[at:end], out)
        at = end
    return out.done()


def _titled(lines: list[str], at: int) -> tuple[int, str, str]:
    """(lines taken, title, ruler style) when a title starts here, else an empty title."""
    here = lines[at].rstrip()
    below = lines[at + 1].rstrip() if at + 1 < len(lines) else ""
    third = lines[at + 2].rstrip() if at + 2 < len(lines) else ""
    if _RULE.match(here) and below and third == here and not _RULE.match(below):
        return 3, below.strip(), here[0] * 2
    if _RULE.match(below) and not here.startswith((" ", "..")) and len(below) >= len(here) and not _RULE.match(here):
        return 2, here, below[0]
    return 0, "", ""


def _directive(lines: list[str], at: int, out: Rendering) -> tuple[int, bool]:
    """Renders what is worth reading of a directive; returns where to go on, and whether code comes next."""
    found = _DIRECTIVE.match(lines[at].rstrip())
    if found is None:  # a link target on its own line, or a comment with its indented body
        return (at + 1 if _TARGET.match(lines[at]) else _dedented(lines, at + 1)), False
    name, argument = found.groups()
    if name in _PROSE:
        out.add("paragraph", _inline(argument))
        return _options_end(lines, at + 1), False
    body = _options_end(lines, at + 1)
    if name in ("code", "code-block", "sourcecode", "literalinclude", "highlight", "prompt", "parsed-literal"):
        return body, True
    if name in ("contents", "toctree", "image", "figure", "raw", "meta", "include", "index"):
        return _dedented(lines, body), False
    out.add("paragraph", _inline(argument))
    return body, False


def _options_end(lines: list[str], at: int) -> int:
    while at < len(lines) and re.match(r"\s+:[\w-]+:", lines[at]):
        at += 1
    return at


def _dedented(lines: list[str], at: int) -> int:
    while at < len(lines) and (not lines[at].strip() or lines[at].startswith(" ")):
        at += 1
    return at


def _dedent(lines: list[str]) -> str:
    depth = min((_depth(line) for line in lines if line.strip()), default=0)
    return "\n".join(line[depth:] for line in lines)


def _paragraph(lines: list[str], out: Rendering) -> bool:
    """Adds a paragraph; true when it announces a literal block."""
    body = unwrap(_dedent(lines)).strip()
    announces = body.endswith("::")
    if announces:
        body = body[:-1] if len(body) > 2 and not body[-3].isspace() else body[:-2].rstrip()
    out.add("list" if _ITEM.match(body) else "paragraph", _inline(body))
    return announces


def _inline(text: str) -> str:
    text = _ROLE.sub(lambda m: m.group(1) or m.group(2) or "", text)
    text = _LINK.sub(r"\1", text)
    return _NAMED.sub(lambda m: next(group for group in m.groups() if group is not None), text)
