"""Writes the sample's PDF and DOCX files from their Markdown sources.

A development tool (`python -m app.sample.make`): it needs reportlab and python-docx, and nothing at run time needs it.
It reads headings, paragraphs, lists and pipe tables, which is all that the sources use.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from xml.sax.saxutils import escape
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import docx
from markdown_it import MarkdownIt
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.lib.units import cm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from app.sample import DOCUMENTS

SOURCE = Path(__file__).parent / "source"
MADE = datetime(2026, 1, 1, tzinfo=UTC)
SUFFIX = {
    "drift-4-manual": ".pdf",
    "warranty-and-returns": ".pdf",
    "employee-handbook": ".docx",
    "price-list": ".docx",
}


@dataclass(frozen=True, slots=True)
class Heading:
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Prose:
    text: str


@dataclass(frozen=True, slots=True)
class Grid:
    rows: tuple[tuple[str, ...], ...]


Block = Heading | Prose | Grid


def blocks(markdown: str) -> Iterator[Block]:
    """The document as headings, paragraphs and tables."""
    rows: list[tuple[str, ...]] = []
    opened, cells = "", list[str]()
    for token in MarkdownIt().enable("table").parse(markdown):
        match token.type:
            case "heading_open" | "paragraph_open":
                opened = token.tag
            case "tr_open":
                opened, cells = "tr", []
            case "inline" if opened == "tr":
                cells.append(token.content)
            case "inline" if opened == "p":
                yield Prose(token.content.replace("\n", " "))
            case "inline":
                yield Heading(int(opened[1]), token.content)
            case "tr_close":
                rows.append(tuple(cells))
            case "table_close":
                yield Grid(tuple(rows))
                rows = []


def write_docx(source: list[Block], path: Path) -> None:
    """With Word's own heading and table styles, so that a parser sees the structure."""
    document = docx.Document()
    document.core_properties.author = "Varnholt Instruments"
    document.core_properties.created = document.core_properties.modified = MADE
    for block in source:
        match block:
            case Heading(level, text):
                document.add_heading(text, level)
            case Prose(text):
                document.add_paragraph(text)
            case Grid(rows):
                table = document.add_table(rows=0, cols=len(rows[0]), style="Light Grid Accent 1")
                for row in rows:
                    for cell, text in zip(table.add_row().cells, row, strict=True):
                        cell.text = text
                document.add_paragraph()
    document.save(str(path))
    settle(path)


def settle(path: Path) -> None:
    """The archive again with fixed dates, so that unchanged sources give unchanged bytes."""
    with ZipFile(path) as archive:
        parts = {info.filename: archive.read(info) for info in archive.infolist()}
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(ZipInfo(name, MADE.timetuple()[:6]), data, ZIP_DEFLATED)


def write_pdf(source: list[Block], path: Path) -> None:
    """Over several pages, each with a footer that numbers it."""
    styles = getSampleStyleSheet()
    body = styles["BodyText"]
    body.fontSize, body.leading, body.spaceAfter = 10.5, 14.5, 6
    title = next(block.text for block in source if isinstance(block, Heading))

    def footer(canvas: Canvas, _: object) -> None:
        canvas.setFont("Helvetica", 8)
        canvas.drawString(2.2 * cm, 1.2 * cm, f"Varnholt Instruments - {title}")
        canvas.drawRightString(A4[0] - 2.2 * cm, 1.2 * cm, f"Page {canvas.getPageNumber()}")

    flow: list[Flowable] = []
    for block in source:
        match block:
            case Heading(level, text):
                flow.append(Paragraph(escape(text), styles["Title" if level == 1 else f"Heading{level}"]))
            case Prose(text):
                flow.append(Paragraph(escape(text), body))
            case Grid(rows):
                cells = [[Paragraph(escape(cell), body) for cell in row] for row in rows]
                table = Table(cells, repeatRows=1)
                whole = ((0, 0), (-1, -1))
                table.setStyle(TableStyle([("GRID", *whole, 0.4, colors.grey), ("VALIGN", *whole, "TOP")]))
                flow.extend([table, Spacer(1, 0.4 * cm)])
    margin = 2.2 * cm
    page = SimpleDocTemplate(
        str(path), pagesize=A4, invariant=1, title=title, leftMargin=margin, rightMargin=margin, topMargin=margin
    )
    page.build(flow, onFirstPage=footer, onLaterPages=footer)


def main() -> None:
    """Rewrite every binary document of the sample."""
    for name, suffix in SUFFIX.items():
        source = list(blocks((SOURCE / f"{name}.md").read_text("utf-8")))
        (write_pdf if suffix == ".pdf" else write_docx)(source, DOCUMENTS / f"{name}{suffix}")


if __name__ == "__main__":
    main()
