"""Real files, built here: what is read out of the good ones, and what the owner of a bad one is told."""

import io
from pathlib import Path

import docx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from reportlab.lib import colors, pdfencrypt
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, PageBreak, Paragraph, SimpleDocTemplate, Table, TableStyle

from index.errors import InvalidFile, UnsupportedFile
from index.parse import FORMATS, Limits, Parsed, parse
from index.parse.formats import READERS
from tests.index.made import zipped
from tests.index.refusals import is_explained, is_read_or_refused

PLANS = [["Plan", "Seats", "Price per month"], ["Free", "3", "0 EUR"], ["Pro", "25", "49 EUR"]]
ROWS = "Plan: Free; Seats: 3; Price per month: 0 EUR.\nPlan: Pro; Seats: 25; Price per month: 49 EUR."
MIB = 2**20


def make_pdf() -> bytes:
    style = getSampleStyleSheet()
    grid = Table(PLANS)
    grid.setStyle(TableStyle([("GRID", (0, 0), (-1, -1), 1, colors.black)]))
    story: list[Flowable] = [
        Paragraph("Handbook of Acme", style["Title"]),
        Paragraph("1. Prices", style["Heading1"]),
        Paragraph("What a plan costs in the year of its start. " * 6, style["BodyText"]),
        grid,
        PageBreak(),
        Paragraph("2. Support", style["Heading1"]),
        Paragraph("Write to <b>Ruritania</b>, whose capital is Strelsau. " * 4, style["BodyText"]),
    ]
    sink = io.BytesIO()
    SimpleDocTemplate(sink).build(story)
    return sink.getvalue()


def make_docx() -> bytes:
    document = docx.Document()
    document.add_heading("Handbook", 0)
    document.add_heading("Prices", 1)
    document.add_paragraph("Some *stars* and 1 < 2.")
    grid = document.add_table(rows=3, cols=3)
    for row, cells in enumerate(PLANS):
        for column, cell in enumerate(cells):
            grid.cell(row, column).text = cell
    document.add_paragraph("first", style="List Bullet")
    sink = io.BytesIO()
    document.save(sink)
    return sink.getvalue()


def drawn(canvas: Canvas, sink: io.BytesIO) -> bytes:
    canvas.drawString(100, 700, "The safe holds three keys.")
    canvas.save()
    return sink.getvalue()


def locked_pdf(password: str) -> bytes:
    sink = io.BytesIO()
    return drawn(Canvas(sink, encrypt=pdfencrypt.StandardEncryption(password, ownerPassword="owner")), sink)


def scanned_pdf() -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (200, 200), "white").save(sink, "PDF")
    return sink.getvalue()


def kinds(parsed: Parsed) -> list[tuple[str, int]]:
    return [(block.kind, block.level) for block in parsed.blocks]


def test_plain_text_joins_wrapped_lines_only() -> None:
    source = b"A first line that runs to its margin, and\nthen goes on in the next one.\n\nName: Ann\nAge: 5\n- item\n"
    assert parse("a.txt", source).text == (
        "A first line that runs to its margin, and then goes on in the next one.\n\nName: Ann\nAge: 5\n- item"
    )


def test_html() -> None:
    source = b"""<html><head><title>T</title><style>p{}</style></head><body><h1>Prices *x*</h1>
    <p>One<br>two &amp; a_b_c</p><div>Loose <span>words</span></div><script>alert(1)</script>
    <table><tr><th>Plan</th><th>Seats</th><th>Price per month</th></tr><tr><td>Free</td><td>3</td><td>0 EUR</td></tr>
    <tr><td>Pro</td><td>25</td><td>49 EUR</td></tr></table><ul><li>one<ul><li>two</li></ul></li></ul>
    <pre><code>def f():
  pass</code></pre></body></html>"""
    parsed = parse("a.html", source)
    assert parsed.text.startswith("Prices *x*\n\nOne")
    assert ROWS in parsed.text
    assert "two & a_b_c" in parsed.text
    assert "Loose words" in parsed.text
    assert "- one\n  - two" in parsed.text
    assert "def f():\n  pass" in parsed.text
    assert "alert" not in parsed.text


def test_html_remote_references_and_entities_stay_unread(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    source = f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{secret}">]><p>a &e; b</p><iframe src="file://{secret}"></iframe>'
    assert "hunter2" not in parse("a.html", source.encode()).text


def test_pdf_has_headings_tables_and_pages() -> None:
    parsed = parse("a.pdf", make_pdf())
    assert parsed.pages == 2
    assert ROWS in parsed.text
    assert "Ruritania, whose capital" in parsed.text
    headings = [parsed.text[b.start : b.end] for b in parsed.blocks if b.kind == "heading"]
    assert headings == ["Handbook of Acme", "1. Prices", "2. Support"]
    assert {b.page for b in parsed.blocks if b.start < parsed.text.index("2. Support")} == {1}
    assert {b.page for b in parsed.blocks if b.start >= parsed.text.index("2. Support")} == {2}


def test_pdf_that_only_its_owner_may_change_is_read() -> None:
    assert parse("a.pdf", locked_pdf("")).text == "The safe holds three keys."


def test_word() -> None:
    parsed = parse("a.docx", make_docx())
    assert parsed.text == f"Handbook\n\nPrices\n\nSome *stars* and 1 < 2.\n\n{ROWS}\n\n- first"
    assert kinds(parsed) == [("heading", 1), ("heading", 1), ("paragraph", 0), ("table", 0), ("list", 0)]


@pytest.mark.parametrize("name", ["real.pdf", "real.docx"])
def test_the_bytes_have_the_last_word(name: str) -> None:
    data = {"real.pdf": make_pdf, "real.docx": make_docx}[name]()
    assert parse("mislabelled.txt", data).text == parse(name, data).text


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252", "latin-1"])
def test_encodings(codec: str) -> None:
    words = "Größe, déjà vu und Ærøskøbing: 3 Äpfel."
    assert parse("a.txt", words.encode(codec)).text == words


def test_long_text_of_an_old_code_page() -> None:
    words = "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему. " * 5
    assert parse("a.txt", words.encode("cp1251")).text == words.strip()


@pytest.mark.parametrize("length", [1, 20, 10_001])
def test_japanese_in_seven_bits(length: int) -> None:
    words = "a" * length + "これは日本語の文章です。" * length
    assert parse("a.txt", words.encode("iso2022_jp")).text == words
    for other in (f"日本 \x1b$B {length}", f"printf '\x1b$B'; echo {length}"):
        assert parse("a.txt", other.encode()).text == other.replace("\x1b", "")


def test_invisible_characters_go() -> None:
    assert parse("a.txt", "a\u200bb\u00adc\x7f d\u00a0e \ufeff".encode()).text == "abc d e"


BAD = {
    "empty": ("a.md", b"", InvalidFile, "empty"),
    "blank": ("a.md", b" \n\t\n", InvalidFile, "no text"),
    "suffix": ("a.exe", b"x", UnsupportedFile, ".pdf"),
    "no suffix": ("README", b"x", UnsupportedFile, "without a suffix"),
    "binary": ("a.txt", b"abc\0def", InvalidFile, "binary"),
    "controls": ("a.md", bytes(range(1, 32)) * 9, InvalidFile, "binary"),
    "bad utf-16": ("a.txt", b"\xff\xfea", InvalidFile, "utf-16"),
    "image": ("a.txt", b"\x89PNG\r\n\x1a\n...", UnsupportedFile, "PNG"),
    "rtf": ("a.docx", b"{\\rtf1 hello}", UnsupportedFile, "RTF"),
    "html as pdf": ("a.pdf", b"<html>hello</html>", InvalidFile, "not a PDF"),
    "text as docx": ("a.docx", b"hello", InvalidFile, "not a Word document"),
    "zip as docx": ("a.docx", zipped({"a.csv": b"1,2"}), UnsupportedFile, "zip archive"),
    "zip as text": ("a.txt", zipped({"a.csv": b"1,2"}), UnsupportedFile, "zip archive"),
    "locked pdf": ("a.pdf", locked_pdf("secret"), InvalidFile, "password"),
    "scan": ("a.pdf", scanned_pdf(), InvalidFile, "OCR"),
    "half a pdf": ("a.pdf", make_pdf()[:1500], InvalidFile, "cut off"),
    "head of a pdf": ("a.pdf", b"%PDF-1.4\njunk", InvalidFile, "cut off"),
    "junk pdf": ("a.pdf", b"%PDF-1.4\njunk\n%%EOF", InvalidFile, "damaged"),
    "half a docx": ("a.docx", make_docx()[:9000], InvalidFile, "damaged or cut off"),
    "locked docx": (
        "a.docx",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(900) + "EncryptedPackage".encode("utf-16-le"),
        InvalidFile,
        "password",
    ),
    "old doc": ("a.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(900), UnsupportedFile, ".doc"),
    "empty docx": ("a.docx", zipped({"word/document.xml": b"<w:document/>"}), InvalidFile, "no text"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_explained_and_harms_no_other(case: str) -> None:
    is_explained(*BAD[case])
    assert parse("good.md", b"# Good\n\nStill here.").text == "Good\n\nStill here."


def test_size_pages_and_characters_are_limited() -> None:
    with pytest.raises(InvalidFile, match=r"limit is 0\.0 MiB; split it"):
        parse("a.txt", b"x" * 2000, Limits(max_bytes=1000))
    with pytest.raises(InvalidFile, match="2 pages and the limit is 1"):
        parse("a.pdf", make_pdf(), Limits(max_pages=1))
    with pytest.raises(InvalidFile, match="more than 1,000 characters"):
        parse("a.txt", b"word " * 500, Limits(max_chars=1000))


def test_docx_bomb_is_stopped_before_it_is_opened() -> None:
    data = zipped({"word/document.xml": b" " * 8 * MIB})
    with pytest.raises(InvalidFile, match="unpacks to more than 1 MiB"):
        parse("a.docx", data, Limits(max_unpacked_bytes=MIB))


def test_docx_bomb_that_lies_about_its_size() -> None:
    data = zipped({"word/document.xml": b" " * 8 * MIB})
    honest, small = (8 * MIB).to_bytes(4, "little"), (1000).to_bytes(4, "little")
    assert data.count(honest) == 2
    with pytest.raises(InvalidFile, match="damaged"):
        parse("a.docx", data.replace(honest, small), Limits(max_unpacked_bytes=MIB))


def test_formats_are_those_that_have_readers() -> None:
    assert READERS.keys() == FORMATS


MARKUP = st.text(alphabet=st.sampled_from("ab \n#*_`-=|>[](){}<>!:.~&;/\"'1\t\\%$+^"), max_size=200)


@settings(max_examples=150, deadline=None)
@given(suffix=st.sampled_from([".md", ".mdx", ".rst", ".txt"]), source=MARKUP | st.text(max_size=80))
def test_any_text_is_read_or_refused(suffix: str, source: str) -> None:
    is_read_or_refused(suffix, source)
