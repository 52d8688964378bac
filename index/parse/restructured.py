"""reStructuredText, read as text: headings by their rulers, code as code, every other directive as what it holds.

No directive or role is ever carried out, so nothing is included, fetched or run. Tables stay as they are drawn.
"""

import re
from collections.abc import Sequence

from index.parse.document import Limits, Parsed, Rendering
from index.parse.plain import ITEM, decode, dedent, depth, unwrap

_RULER = re.compile(r"([=\-~^\"'`#*+_.:<>])\1{2,}$")
_GRID = re.compile(r"(?:\+[-=+]+\+|=+(?: +=+)+)$")
_DIRECTIVE = re.compile(r"\.\. (?:\|[^|]*\| )?([\w:-]+)::(?: +(.*))?$")
_NOTE = re.compile(r"\.\. (\[(?:#?[\w.+:-]+|[#*])\](?: .*)?)$")  # a footnote, or what is cited
_OPTION = re.compile(r"\s+:[\w-]+:(?:\s|$)")
_CODE = {"code", "code-block", "sourcecode", "parsed-literal", "prompt", "doctest", "productionlist", "math"}
_SILENT = {"contents", "toctree", "image", "raw", "meta", "include", "literalinclude", "index", "highlight",
           "automodule", "autoclass", "autofunction", "currentmodule", "module"}  # fmt: skip
_ROLE = re.compile(r":[a-zA-Z][\w:.+-]*:`(?:([^`<]*?)\s*<[^`>]*>|([^`]*))`")
_LINK = re.compile(r"`([^`<]+?)\s*<[^`>]*>`_{1,2}")
_MARKED = re.compile(r"``(.+?)``|`([^`]+)`_{0,2}|\*\*(\S(?:.*?\S)?)\*\*|(?<!\w)\*(\S(?:[^*]*?\S)?)\*(?!\w)", re.DOTALL)


def restructured(data: bytes, limits: Limits) -> Parsed:
    out = Rendering(limits.max_chars)
    _render(decode(data).expandtabs().split("\n"), out, [])
    return out.done()


def _render(lines: Sequence[str], out: Rendering, rulers: list[str]) -> None:
    """`rulers` are the heading styles seen so far: their order is their level."""
    at = 0
    literal = False
    while at < len(lines):
        line = lines[at].rstrip()
        taken, title, ruler = _title(lines, at)
        if not line or line == "::":
            literal = literal or line == "::"
            at += 1
        elif title:
            if ruler not in rulers:
                rulers.append(ruler)
            out.add("heading", _inline(title), level=rulers.index(ruler) + 1)
            at += taken
        elif line.startswith(" "):
            end = _dedented(lines, at)
            block = dedent(lines[at:end])
            if literal:
                out.add("code", "\n".join(block))
            else:
                _render(block, out, rulers)
            at, literal = end, False
        elif line.startswith(".. ") or line == "..":
            end = _dedented(lines, at + 1)
            _directive(line, lines[at + 1 : end], out, rulers)
            at = end
        else:
            end = at
            while end < len(lines) and lines[end].strip():
                end += 1
            literal = _paragraph(lines[at:end], out)
            at = end


def _title(lines: Sequence[str], at: int) -> tuple[int, str, str]:
    """(lines taken, title, ruler style) when a title starts here, else an empty title."""
    here, below, third = (line.rstrip() for line in [*lines[at : at + 3], "", ""][:3])
    if _RULER.match(here) and below and third == here and not _RULER.match(below):
        return 3, below.strip(), here[0] * 2
    if here and _RULER.match(below) and not here.startswith((" ", "..")) and not _RULER.match(here):
        return (2, here, below[0]) if len(below) >= len(here) - 2 else (0, "", "")
    return 0, "", ""


def _dedented(lines: Sequence[str], at: int) -> int:
    while at < len(lines) and (not lines[at].strip() or lines[at].startswith(" ")):
        at += 1
    return at


def _directive(line: str, body: Sequence[str], out: Rendering, rulers: list[str]) -> None:
    """Link targets, comments and what only lays out a page say nothing; of a figure its caption is kept."""
    if note := _NOTE.match(line):
        _render([note[1], *dedent(body)], out, rulers)
        return
    found = _DIRECTIVE.match(line)
    if found is None or found[1] in _SILENT:
        return
    argument = "" if found[1] == "figure" else found[2] or ""
    at = 0
    while at < len(body) and _OPTION.match(body[at]):
        margin, at = depth(body[at]), at + 1
        while at < len(body) and depth(body[at]) > margin:
            at += 1
    if found[1] in _CODE:
        out.add("code", "\n".join(dedent(body[at:])))
        return
    out.add("paragraph", _inline(argument))
    _render(dedent(body[at:]), out, rulers)


def _paragraph(lines: Sequence[str], out: Rendering) -> bool:
    """Adds a paragraph; true when it announces a literal block."""
    if any(_GRID.match(line.strip()) for line in lines):
        out.add("code", "\n".join(lines))
        return False
    body = unwrap("\n".join(lines)).strip()
    announces = body.endswith("::")
    if announces:
        body = body[:-2].rstrip() if body[-3:-2].isspace() else body[:-1]
    out.add("list" if ITEM.match(body) else "paragraph", _inline(body))
    return announces


def _inline(text: str) -> str:
    text = _ROLE.sub(lambda found: found[1] or found[2] or "", text)
    text = _LINK.sub(r"\1", text)
    return _MARKED.sub(lambda found: next(group for group in found.groups() if group is not None), text)
