"""PDF, Word, HTML, EPUB and images, read by xberg. Only ever called in the child process, with nothing but bytes."""

import asyncio
import json
import re
from contextlib import suppress
from typing import Any

import xberg

from index.errors import InvalidFile
from index.parse import ocr
from index.parse.document import Limits, Parsed, Rendering, table
from index.parse.markdown import render
from index.parse.plain import decode
from index.parse.zipped import members

PDF = "application/pdf"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
EPUB = "application/epub+zip"
_SEALED = re.compile(rb'URI\s*=\s*"[^"]*\.x?html?"')  # fonts are often scrambled, and do no harm


def pdf(data: bytes, limits: Limits) -> Parsed:
    """Text with headings, tables and page numbers. Pages without text are scans, or blank: ocr.py reads them."""
    pages = _pages(data)
    if pages > limits.max_pages:
        raise InvalidFile(f"The PDF has {pages:,} pages and the limit is {limits.max_pages:,}; split it.")
    out = Rendering(limits.max_chars)
    _nodes(_extract(data, PDF, limits), out)
    parsed = out.done(pages)
    bare = sorted(set(range(1, pages + 1)) - {block.page for block in parsed.blocks})
    reader = ocr.reader(limits) if bare else None
    if reader is not None and len(bare) <= ocr.most_pages(limits):
        with suppress(InvalidFile):  # what could be read without it stays
            out = Rendering(limits.max_chars)
            _nodes(_extract(data, PDF, limits, reader, bare), out)
            parsed = out.done(pages)
    if not parsed.text.strip():
        if b"%%EOF" not in data[-2048:]:
            raise InvalidFile("The PDF is cut off: its end is missing and no text could be read. Upload it again.")
        if reader is None:
            raise InvalidFile(f"The PDF has no text, only images of it, which need OCR: {ocr.remedy(limits)}.")
        if len(bare) > ocr.most_pages(limits):
            raise InvalidFile(
                f"The PDF has {len(bare):,} scanned pages and the limit for OCR is {ocr.most_pages(limits)}; split it."
            )
        raise InvalidFile("The PDF has no text, and OCR finds none in its images; scan it anew.")
    return parsed


def image(data: bytes, limits: Limits, mime: str) -> Parsed:
    reader = ocr.reader(limits)
    if reader is None:
        raise InvalidFile(f"The text in an image needs OCR: {ocr.remedy(limits)}.")
    out = Rendering(limits.max_chars)
    _nodes(_extract(data, mime, limits, reader), out, paged=False)
    parsed = out.done()
    if not parsed.text.strip():
        raise InvalidFile("OCR finds no text in the image; scan it anew, larger and with more contrast.")
    return parsed


def _pages(data: bytes) -> int:
    try:
        return xberg.pdf_page_count(data)
    except xberg.XbergError as fault:
        raise _explained(str(fault), data) from fault


def docx(data: bytes, limits: Limits) -> Parsed:
    for _ in members(data, limits):
        pass  # counted
    out = Rendering(limits.max_chars)
    _nodes(_extract(data, DOCX, limits), out, paged=False)
    return out.done()


def epub(data: bytes, limits: Limits) -> Parsed:
    """The chapters under the book's title. Where pages break is the reading device's affair, so there are none."""
    for name, member in members(data, limits):
        if name == "META-INF/encryption.xml" and _SEALED.search(member):
            raise InvalidFile("The book is protected against copying and cannot be read; upload one without that.")
    book = _extract(data, EPUB, limits)
    chapters = Rendering(limits.max_chars)
    _nodes(book, chapters, paged=False)
    out = Rendering(limits.max_chars)
    parsed = chapters.done()
    if parsed.blocks:
        out.add("heading", book.metadata.title or "", level=1)
        out.include(parsed, level=1)
    return out.done()


def html(data: bytes, limits: Limits) -> Parsed:
    """By way of Markdown, with every character that Markdown would read as markup escaped."""
    source = _extract(decode(data).encode(), "text/html", limits).content
    out = Rendering(limits.max_chars)
    render(source, out)
    return out.done()


def _extract(
    data: bytes, mime: str, limits: Limits, reader: xberg.OcrConfig | None = None, scans: list[int] | None = None
) -> xberg.ExtractedDocument:
    """With a `reader`, images are read; of a PDF the pages named."""
    config = xberg.ExtractionConfig(
        use_cache=False,
        disable_ocr=reader is None,
        ocr=reader,
        force_ocr_pages=scans,
        enable_quality_processing=False,
        output_format="markdown" if mime == "text/html" else "plain",
        include_document_structure=mime != "text/html",
        html_options=xberg.ConversionOptions(
            extract_metadata=False, escape_asterisks=True, escape_underscores=True, escape_misc=True
        ),
        max_archive_depth=0,
        concurrency=xberg.ConcurrencyConfig(max_threads=1),
        security_limits=xberg.SecurityLimits(max_archive_size=limits.max_unpacked_bytes),
    )
    source = xberg.ExtractInput(kind="bytes", bytes=data, mime_type=mime)
    try:
        result = asyncio.run(xberg.extract(source, config=config))
    except (xberg.XbergError, RuntimeError, ValueError) as fault:
        raise _explained(str(fault), data) from fault
    if not result.results:
        raise _explained("; ".join(error.message for error in result.errors), data)
    return result.results[0]


def _explained(reason: str, data: bytes) -> InvalidFile:
    if "encrypt" in reason.lower() or "password" in reason.lower():
        return InvalidFile("The document is protected by a password; save it without one and upload that.")
    if data.startswith(b"%PDF") and b"%%EOF" not in data[-2048:]:
        return InvalidFile("The PDF is cut off: its end is missing. Upload it again.")
    return InvalidFile(f"The document is damaged and cannot be read ({reason[:200]}); save it anew and upload that.")


_BULLET = re.compile("^[\x7f\uf0a7\uf0b7\u2022\u2023\u25aa\u25cf\u25e6\u2043\u00b7]+\\s*")
_LOOSE = re.compile(r"(?<=\w) (?=[,.](?:\s|$))")  # where a font changes, PDFs tear commas off their words


def _nodes(document: xberg.ExtractedDocument, out: Rendering, paged: bool = True) -> None:
    """The typed tree in reading order. A group only repeats the heading that follows it."""
    items: list[str] = []
    page: int | None = None
    for node in document.document.nodes if document.document else ():
        content = json.loads(str(node.content))
        kind, text = content["node_type"], content.get("text", "")
        if paged and kind != "code":
            content["text"] = text = _LOOSE.sub("", text)
        if kind == "list_item" or (kind in ("heading", "paragraph") and _BULLET.match(text)):
            if items and paged and node.page != page:
                out.add("list", "\n".join(items), page=page)
                items = []
            page = node.page if paged else None
            items.append("- " + " ".join(_BULLET.sub("", text).split()))
            continue
        if kind in ("list", "group"):
            continue
        out.add("list", "\n".join(items), page=page)
        items = []
        page = node.page if paged else None
        _node(kind, content, out, page)
    out.add("list", "\n".join(items), page=page)


def _node(kind: str, content: dict[str, Any], out: Rendering, page: int | None) -> None:
    text = content.get("text") or ""
    match kind:
        case "title":
            out.add("heading", text, level=1, page=page)
        case "heading":
            out.add("heading", text, level=content["level"], page=page)
        case "table":
            out.add("table", table(_grid(content["grid"])), page=page)
        case "code":
            out.add("code", text, page=page)
        case "definition_item":
            out.add("paragraph", f"{content['term']}: {content['definition']}", page=page)
        case "image":
            out.add("paragraph", content.get("description") or "", page=page)
        case _:
            out.add("paragraph", " ".join(text.split()), page=page)


def _grid(grid: dict[str, Any]) -> list[list[str]]:
    """Every cell at its place; a cell that spans several stands in each, so that each row explains itself."""
    rows = [[""] * grid["cols"] for _ in range(grid["rows"])]
    for cell in grid["cells"]:
        for row in range(cell["row"], min(cell["row"] + cell["row_span"], len(rows))):
            rows[row][cell["col"]] = cell["content"]
    return rows
