"""Markdown (CommonMark with tables), and MDX with its components reduced to the text they hold."""

import re
from collections.abc import Callable, Sequence
from html import unescape

from markdown_it import MarkdownIt
from markdown_it.token import Token

from index.parse.document import Limits, Parsed, Rendering, table
from index.parse.plain import decode

_FRONT = re.compile(r"\A\s*(---|\+\+\+)[ \t]*\n(.*?\n)(?:\1|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
# What begins a line of YAML or TOML: a key, or a table's name; below these also space, `- `, or a bracket that closes.
_KEY = re.compile(r"[\w\"'][\w\"'.-]*(?: [\w\"'.-]+){0,2}[ \t]*(?:=|:(?:\s|$))|\[{1,2}[\w\"' .-]+\]{1,2}\s*$")
_BELOW = re.compile(r"[\s\]}]|-(?:\s|$)|$")
_FIELD = re.compile(r"^(title|description|summary)[ \t]*[:=][ \t]*([^\s|>].*?)[ \t]*$", re.MULTILINE)
_FENCE = re.compile(r"^[ \t]*(```+|~~~+).*?(?:^[ \t]*\1[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)|\{/\*.{0,4000}?\*/\}", re.DOTALL)
_DROPPED = re.compile(r"<(script|style|template|svg)\b.*?(?:</\1\s*>|\Z)", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z][\w.:-]*(?:\s+(?:[^<>\"'{]|\"[^\"]*\"|'[^']*'|\{[^{}]*\})*)?/?>|<>|</>")
_NAMED = re.compile(r"\b(?:title|label|name|path|query|body|header|summary|alt)=(?:\"([^\"]+)\"|'([^']+)')")
_MODULE = re.compile(
    r"^(?:import\s.+?\sfrom\s+['\"].+|import\s+['\"].+|export\s+(?:const|default|function)\b.*)$", re.M
)


# What site generators add to Markdown: Hugo's shortcodes, admonitions of Docusaurus and MkDocs, MyST's labels.
_SHORT_LINK = re.compile(r"\]\([ \t]*\{\{.{0,500}?\}\}[^)\n]*\)")
_SHORT = re.compile(r"\{\{[%<].{0,1000}?[%>]\}\}", re.DOTALL)
_COLONS = re.compile(r"^([ \t]*#{0,6}[ \t]*):{3,}[ \t]*(?:\{?\w+\}?(?![\w.]))?[ \t]*(.*)$", re.MULTILINE)
_BANGS = re.compile(
    r"^([ \t]*)(?:!!!|\?\?\?\+?|===\+?)[ \t]+(?:[\w-]+[ \t]*)?(?:\"([^\"\n]*)\")?[ \t]*$((?:\n\1 {4}.*|\n[ \t]*$)*)",
    re.M,
)
_ROLE = re.compile(r"\{[a-z][\w:-]*\}$")
_LABEL = re.compile(r"^\([\w-]+\)=[ \t]*$", re.MULTILINE)


def markdown(data: bytes, limits: Limits) -> Parsed:
    out = Rendering(limits.max_chars)
    source = _BANGS.sub(_admonition, _front(decode(data), out))
    _blocks(_parser().parse(_outside_code(source, _without_dialect)), out)
    return out.done()


def _without_dialect(source: str) -> str:
    source = _SHORT.sub(lambda short: _attributes(short.group()), _SHORT_LINK.sub("]()", source))
    return _COLONS.sub(r"\n\1\2\n", _LABEL.sub("", source))


def _admonition(found: re.Match[str]) -> str:
    """Its body counts as indented only below its own mark."""
    shift = len(found[1]) + 4
    body = "\n".join(line[shift:] for line in found[3].split("\n"))
    return f"\n{found[2] or ''}\n{body}\n"


def mdx(data: bytes, limits: Limits) -> Parsed:
    """Indentation means nothing in MDX, so there is no indented code and children of components are plain Markdown."""
    out = Rendering(limits.max_chars)
    source = _outside_code(_front(decode(data), out), lambda part: _without_components(_without_dialect(part)))
    _blocks(_parser().disable(["code", "html_block"]).parse(source), out)
    return out.done()


def _outside_code(source: str, change: Callable[[str], str]) -> str:
    parts, at = [], 0
    for fence in _FENCE.finditer(source):
        parts += [change(source[at : fence.start()]), fence.group()]
        at = fence.end()
    return "".join([*parts, change(source[at:])])


def render(source: str, out: Rendering, page: int | None = None) -> None:
    """Markdown that another format became into `out`; nothing of it is front matter."""
    _blocks(_parser().parse(source), out, page)


def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"maxNesting": 60}).enable(["table", "strikethrough"])


def _front(source: str, out: Rendering) -> str:
    """Of YAML or TOML front matter the title and the description are text; the rest configures some site."""
    found = _FRONT.match(source)
    if not found or not _configures(found[2]):
        return source
    fields = {name: value.strip("\"'") for name, value in _FIELD.findall(found.group(2))}
    body = source[found.end() :]
    title = fields.get("title", "")
    if title and not re.match(rf"\s*#\s+{re.escape(title)}\s*$", body, re.MULTILINE):
        out.add("heading", title, level=1)
    out.add("paragraph", fields.get("description") or fields.get("summary") or "")
    return body


def _configures(lines: str) -> bool:
    """Else the document opens with a rule, and another stands somewhere below it."""
    first, *others = [line for line in lines.split("\n") if not line.startswith("#")]
    return bool(_KEY.match(first)) and all(_KEY.match(line) or _BELOW.match(line) for line in others)


def _without_components(source: str) -> str:
    source = _MODULE.sub("", _DROPPED.sub("", _COMMENT.sub("", source)))
    return _TAG.sub(lambda tag: _attributes(tag.group()), source)


def _attributes(tag: str) -> str:
    names = [a or b for a, b in _NAMED.findall(tag)]
    return "\n\n" + ", ".join(names) + "\n\n" if names and (tag[1].isupper() or tag.startswith("{{")) else ""


def _blocks(tokens: Sequence[Token], out: Rendering, page: int | None = None) -> None:
    at = 0
    while at < len(tokens):
        token = tokens[at]
        end = _closing(tokens, at)
        match token.type:
            case "heading_open":
                out.add("heading", _inline(tokens[at + 1]), level=int(token.tag[1]), page=page)
            case "paragraph_open":
                out.add("paragraph", _inline(tokens[at + 1]), page=page)
            case "fence" | "code_block":
                out.add("code", token.content, page=page)
            case "html_block":
                out.add("paragraph", strip_tags(token.content), page=page)
            case "table_open":
                out.add("table", table(_rows(tokens[at:end])), page=page)
            case "bullet_list_open" | "ordered_list_open":
                _list(tokens[at:end], out, page)
            case _:  # a quote is its paragraphs; a rule is nothing
                end = at + 1
        at = max(end, at + 1)


def _closing(tokens: Sequence[Token], at: int) -> int:
    if tokens[at].nesting != 1:
        return at + 1
    depth = 0
    for i in range(at, len(tokens)):
        depth += tokens[i].nesting
        if depth == 0:
            return i + 1
    return len(tokens)


def _list(tokens: Sequence[Token], out: Rendering, page: int | None) -> None:
    """One line per item, indented by depth. A code block, table or heading inside ends the list block."""
    lines: list[str] = []
    numbers: list[int | None] = []
    marker = ""
    at = 0
    while at < len(tokens):
        token = tokens[at]
        step = at + 1
        match token.type:
            case "bullet_list_open":
                numbers.append(None)
            case "ordered_list_open":
                numbers.append(int(token.attrGet("start") or 1))
            case "bullet_list_close" | "ordered_list_close":
                numbers.pop()
            case "list_item_open":
                marker, numbers[-1] = _marker(numbers)
            case "paragraph_open":
                body = _inline(tokens[at + 1]).split("\n")
                indent = "  " * (len(numbers) - 1)
                lines += [indent + (marker if i == 0 else " " * len(marker)) + line for i, line in enumerate(body)]
                marker = " " * len(marker)
            case "fence" | "code_block" | "table_open" | "heading_open" | "html_block":
                step = _closing(tokens, at)
                out.add("list", "\n".join(lines), page=page)
                lines = []
                _blocks(tokens[at:step], out, page)
        at = step
    out.add("list", "\n".join(lines), page=page)


def _marker(numbers: list[int | None]) -> tuple[str, int | None]:
    number = numbers[-1]
    return ("- ", None) if number is None else (f"{number}. ", number + 1)


def _rows(tokens: Sequence[Token]) -> list[list[str]]:
    rows: list[list[str]] = []
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(_inline(token))
    return rows


def _inline(token: Token) -> str:
    """The words of an inline token: link texts without targets, images by their alt text, code as it is."""
    parts: list[str] = []
    for child in token.children or []:
        match child.type:
            case "code_inline" if parts and (role := _ROLE.search(parts[-1])):
                parts[-1] = parts[-1][: role.start()]
                parts.append(child.content.split(" <")[0])
            case "text" | "code_inline" | "text_special":
                parts.append(child.content)
            case "softbreak":
                parts.append(" ")
            case "hardbreak":
                parts.append("\n")
            case "image":
                parts.append(_inline(child))
            case "html_inline" if re.match(r"<br\b", child.content, re.IGNORECASE):
                parts.append("\n")
    lines = "".join(parts).split("\n")
    return "\n".join(" ".join(line.split()) for line in lines)


def strip_tags(source: str) -> str:
    """The text of simple HTML, one line per block element."""
    source = _DROPPED.sub("", _COMMENT.sub("", source))
    source = " ".join(source.split())
    source = re.sub(
        r"<(?:/?(?:p|div|li|tr|h[1-6]|ul|ol|summary|table|dd|dt|section)|br)\b[^>]*>", "\n", source, flags=re.I
    )
    lines = unescape(_TAG.sub("", source)).split("\n")
    return "\n".join(line.strip() for line in lines if line.strip())
