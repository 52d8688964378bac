"""Scans and images through the real parser process; most need Tesseract's data (on Debian: tesseract-ocr-eng)."""

import io

import pytest
from PIL import Image, ImageDraw, ImageFont
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from index.errors import InvalidFile
from index.parse import Limits, parse
from index.parse.ocr import reader

tesseract = pytest.mark.skipif(reader(Limits()) is None, reason="Tesseract's data for eng are not installed")
WRITTEN = ["New employees receive twenty-five days of vacation each year.", "Unused days expire at the end of March."]


def drawn(lines: list[str]) -> Image.Image:
    page = Image.new("L", (1240, 700), 255)
    ImageDraw.Draw(page).text((110, 220), "\n\n".join(lines), fill=0, font=ImageFont.load_default(size=30))
    return page


def saved(page: Image.Image, kind: str) -> bytes:
    sink = io.BytesIO()
    page.save(sink, kind)
    return sink.getvalue()


def pdf(pages: list[str | Image.Image | None]) -> bytes:
    """Pages of text, of an image, and of nothing."""
    sink = io.BytesIO()
    canvas = Canvas(sink, (595, 336))
    for page in pages:
        if isinstance(page, str):
            canvas.drawString(72, 250, page)
        elif page is not None:
            canvas.drawImage(ImageReader(page), 0, 0, 595, 336)
        canvas.showPage()
    canvas.save()
    return sink.getvalue()


@tesseract
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_an_image_is_read(kind: str) -> None:
    parsed = parse(f"a.{kind.lower()}", saved(drawn(WRITTEN), kind))
    assert parsed.text.split("\n\n") == WRITTEN


@tesseract
def test_scanned_pages_are_read_where_they_are() -> None:
    parsed = parse("a.pdf", pdf(["The first page was typed.", drawn(WRITTEN), None, "So was the last page."]))
    told = [(block.page, parsed.text[block.start : block.end]) for block in parsed.blocks]
    assert told == [(1, "The first page was typed."), *((2, line) for line in WRITTEN), (4, "So was the last page.")]


@tesseract
def test_nothing_is_made_of_what_has_no_text() -> None:
    for name, data in (("a.pdf", pdf([None])), ("a.png", saved(drawn([""]), "PNG"))):
        with pytest.raises(InvalidFile, match="OCR finds no"):
            parse(name, data)
    with pytest.raises(InvalidFile, match="2 scanned pages and the limit for OCR is 1"):
        parse("a.pdf", pdf([drawn(WRITTEN)] * 2), Limits(cpu_seconds=5))


@tesseract
def test_more_scans_than_can_be_read_leave_the_rest_as_it_was() -> None:
    parsed = parse("a.pdf", pdf(["The first page was typed.", *[drawn(WRITTEN)] * 2]), Limits(cpu_seconds=5))
    assert parsed.text == "The first page was typed."


def test_without_the_data_the_remedy_is_named() -> None:
    for name, data in (("a.pdf", pdf([drawn(WRITTEN)])), ("a.png", saved(drawn(WRITTEN), "PNG"))):
        for languages in ("", "eng+xyz"):
            with pytest.raises(InvalidFile, match="tesseract-ocr-eng"):
                parse(name, data, Limits(ocr=languages))


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(InvalidFile, match="not an image"):
        parse("a.png", b"hello")
