"""Slides, sheets and books: made here, read, and refused with a reason."""

import io
import zipfile
from itertools import pairwise

import pytest

from index.errors import InvalidFile, ParseError, UnsupportedFile
from index.parse import Limits, Parsed, parse
from index.parse.cells import shown_as
from tests.index.made import cells, epub, grid, locked, pptx, relations, shape, xlsx, zipped
from tests.index.refusals import is_explained

PLANS = [["Plan", "Seats", "Price per month"], ["Free", "3", "0 EUR"], ["Pro", "25", "49 EUR"]]
ROWS = "Plan: Free; Seats: 3; Price per month: 0 EUR.\nPlan: Pro; Seats: 25; Price per month: 49 EUR."
MIB = 2**20


def outline(parsed: Parsed) -> list[tuple[str, int | None, str]]:
    return [
        (block.kind if block.kind != "heading" else f"h{block.level}", block.page, parsed.text[block.start : block.end])
        for block in parsed.blocks
    ]


def deck() -> bytes:
    last = shape(["A loose box"]) + f"<p:grpSp>{shape(['in a group'])}</p:grpSp>" + shape(["3"], "sldNum")
    newer = f"<mc:AlternateContent><mc:Choice>{shape(['new'])}</mc:Choice><mc:Fallback>{shape(['old'])}</mc:Fallback>"
    middle = shape(["Prices"], "title") + shape(["All in EUR", "Ask *sales*"], "body", 1) + grid(PLANS)
    return pptx(
        [last + newer + "</mc:AlternateContent>", middle, shape(["Handbook"], "ctrTitle")], {2: "Seven percent off"}
    )


def test_slides_come_as_shown_each_under_its_title() -> None:
    parsed = parse("a.pptx", deck())
    assert parsed.pages == 3
    assert outline(parsed) == [
        ("h1", 1, "Handbook"),
        ("h1", 2, "Prices"),
        ("list", 2, "  - All in EUR\n  - Ask *sales*"),
        ("table", 2, ROWS),
        ("paragraph", 2, "Notes: Seven percent off"),
        ("h1", 3, "Slide 3"),
        ("paragraph", 3, "A loose box"),
        ("paragraph", 3, "in a group"),
        ("paragraph", 3, "new"),
    ]


def test_sheets_are_tables_under_their_names() -> None:
    staff = cells(["Staff in 2026"], [], ["Name", "2025", "2026"], ["Ann", "5", "6"], [], ["Bob", "7", "8"])
    parsed = parse("a.xlsx", xlsx({"Plans": cells(*PLANS), "Blank": cells(), "Staff": staff}))
    assert parsed.pages == 3
    assert outline(parsed) == [
        ("h1", 1, "Plans"),
        ("table", 1, ROWS),
        ("h1", 3, "Staff"),
        ("paragraph", 3, "Staff in 2026"),
        ("table", 3, "Name: Ann; 2025: 5; 2026: 6."),
        ("table", 3, "Name: Bob; 2025: 7; 2026: 8."),
    ]


def test_cells_of_every_kind() -> None:
    rows = (
        '<row><c t="s"><v>0</v></c><c t="s"><v>1</v></c><c t="inlineStr"><is><t>Paid</t></is></c></row>'
        '<row><c t="s"><v>2</v></c><c s="1"><v>45000.25</v></c><c t="b"><v>1</v></c><c t="e"><v>#N/A</v></c></row>'
        '<row><c r="B3" s="2"><v>0.125</v></c><c r="C3"><f>0.1+0.2</f><v>0.30000000000000004</v></c></row>'
        '<row><c r="A4" t="str"><v>Bob</v></c><c r="C4" t="d"><v>2026-11-21</v></c></row>'
    )
    texts = ["<t>Name</t>", '<r><t xml:space="preserve">Sin</t></r><r><t>ce</t></r><rPh><t>x</t></rPh>', "<t>Ann</t>"]
    body = f'<sheetData>{rows}</sheetData><mergeCells><mergeCell ref="A2:A3"/></mergeCells>'
    parsed = parse("a.xlsx", xlsx({"Staff": body}, texts, ["dd.mm.yyyy", "0.0%"]))
    assert parsed.text == (
        "Staff\n\nName: Ann; Since: 2023-03-15; Paid: TRUE.\nName: Ann; Since: 12.5%; Paid: 0.3.\n"
        "Name: Bob; Paid: 2026-11-21."
    )


@pytest.mark.parametrize(
    ("code", "stored", "shown"),
    [
        ("General", "1200000", "1200000"),
        ("General", "1e-07", "1e-07"),
        ('#,##0.00 "EUR"', "49.5", "49.50 EUR"),
        ("[$€-407]#,##0;[Red]-#,##0", "1200", "€1200"),
        (r'_-* #,##0.00\ "€"_-', "-3", "-3.00 €"),
        ("0.0##", "1.25", "1.25"),
        ("0%", "0.3", "30%"),
        ("# ?/?", "0.5", "0.5"),
        ("0.00E+00", "1234.5", "1234.5"),
        ("yyyy\\-mm\\-dd hh:mm", "45000.75", "2023-03-15 18:00"),
        ("mmm yy", "45000", "2023-03-15"),
        ("hh:mm AM/PM", "0.604166666", "14:30"),
        ("[h]:mm", "1.5", "36:00"),
        ("d", "1e300", "1e300"),
        ("d", "2958465.99999997", "2958465.99999997"),
        ("0", "text", "text"),
    ],
)
def test_numbers_read_as_they_are_shown(code: str, stored: str, shown: str) -> None:
    assert shown_as(code)(stored) == shown


def test_dates_of_the_other_epoch() -> None:
    rows = '<sheetData><row><c s="1"><v>43538</v></c></row></sheetData>'
    assert parse("a.xlsx", xlsx({"S": rows}, formats=["d/m/yy"], dates='date1904="1"')).text == "S\n\n2023-03-15"


def test_a_book_has_its_title_over_its_chapters_in_their_order() -> None:
    rows = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in PLANS)
    parsed = parse("a.epub", epub(["<h1>The Ball</h1><p>Late.</p>", f"<h1>Red hair</h1><table>{rows}</table>"]))
    assert outline(parsed) == [
        ("h1", None, "The Prisoner of Zenda"),
        ("h2", None, "Red hair"),
        ("table", None, ROWS),
        ("h2", None, "The Ball"),
        ("paragraph", None, "Late."),
    ]


def test_scrambled_fonts_do_not_make_a_book_unreadable() -> None:
    sealed = '<encryption><CipherReference URI="fonts/a.otf"/></encryption>'
    assert "Late." in parse("a.epub", epub(["<p>Late.</p>"], {"META-INF/encryption.xml": sealed})).text


@pytest.mark.parametrize(
    ("name", "data"),
    [("a.pptx", deck()), ("a.xlsx", xlsx({"S": cells(*PLANS)})), ("a.epub", epub(["<p>Late.</p>"]))],
    ids=["pptx", "xlsx", "epub"],
)
def test_the_bytes_have_the_last_word(name: str, data: bytes) -> None:
    assert parse("mislabelled.docx", data).text == parse(name, data).text


LAUGHS = '<!DOCTYPE x [<!ENTITY a "haha">' + "".join(
    f'<!ENTITY {name} "' + f"&{before};" * 20 + '">' for before, name in pairwise("abcdefghij")
)
SEALED = '<encryption><CipherReference URI="c0.xhtml"/></encryption>'
CUT = "damaged or cut off"
BAD: dict[str, tuple[str, bytes, type[ParseError], str]] = {
    "half pptx": ("a.pptx", deck()[:1500], InvalidFile, CUT),
    "half xlsx": ("a.xlsx", xlsx({"S": cells(*PLANS)})[:900], InvalidFile, CUT),
    "half epub": ("a.epub", epub(["<p>Late.</p>"])[:600], InvalidFile, CUT),
    "locked pptx": ("a.pptx", locked(deck()), InvalidFile, "password"),
    "locked xlsx": (
        "a.xlsx",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(900) + "EncryptedPackage".encode("utf-16-le"),
        InvalidFile,
        "password",
    ),
    "locked epub": ("a.epub", epub(["x"], {"META-INF/encryption.xml": SEALED}), InvalidFile, "protected against"),
    "old xls": ("a.xlsx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(900), UnsupportedFile, r"\.xls,"),
    "html as xlsx": ("a.xlsx", b"<html><table></table></html>", InvalidFile, "not an Excel workbook"),
    "text as pptx": ("a.pptx", b"hello", InvalidFile, "not a PowerPoint presentation"),
    "text as epub": ("a.epub", b"hello", InvalidFile, "not an EPUB book"),
    "empty pptx": ("a.pptx", pptx([]), InvalidFile, "no text"),
    "empty xlsx": ("a.xlsx", xlsx({"S": cells()}), InvalidFile, "no text"),
    "empty epub": ("a.epub", epub([""]), InvalidFile, "no text"),
    "bare pptx": ("a.pptx", zipped({"ppt/presentation.xml": "<presentation/>"}), InvalidFile, "no text"),
    "broken sheet": ("a.xlsx", xlsx({"S": "<sheetData><row>"}), InvalidFile, "missing or broken"),
    "text out of range": (
        "a.xlsx",
        xlsx({"S": '<sheetData><row><c t="s"><v>7</v></c></row></sheetData>'}),
        InvalidFile,
        "missing or broken",
    ),
    "no slide": (
        "a.pptx",
        zipped(
            {
                "ppt/presentation.xml": '<p xmlns:r="r"><sldIdLst><sldId r:id="r1"/></sldIdLst></p>',
                "ppt/_rels/presentation.xml.rels": relations({"r1": ("slide", "../../../etc/passwd")}),
            }
        ),
        InvalidFile,
        "missing or broken",
    ),
    "laughs": ("a.pptx", zipped({"ppt/presentation.xml": LAUGHS + "]><x>&j;</x>"}), InvalidFile, "missing or broken"),
    "wide": ("a.xlsx", xlsx({"S": cells(["a"] * 1_001)}), InvalidFile, "1,001 columns and the limit is 1,000"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_explained(case: str) -> None:
    is_explained(*BAD[case])


def test_bombs_are_stopped() -> None:
    text = f"<t>{'a' * 30_000}</t>"
    rows = ("<row>" + '<c t="s"><v>0</v></c>' * 100 + "</row>") * 20
    with pytest.raises(InvalidFile, match="more than 10,000,000 characters"):
        parse("a.xlsx", xlsx({"S": f"<sheetData>{rows}</sheetData>"}, [text]))
    with pytest.raises(InvalidFile, match="unpacks to more than 16 MiB"):
        parse("a.xlsx", xlsx({"S": cells(*PLANS)}, [f"<t>{' ' * 17 * MIB}</t>"]))
    with pytest.raises(InvalidFile, match="3 slides and the limit is 2"):
        parse("a.pptx", deck(), Limits(max_pages=2))


def test_a_sheet_with_cells_far_apart_costs_nothing() -> None:
    far = '<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>2</v></c></row>'
    assert parse("a.xlsx", xlsx({"S": f"<sheetData>{far}</sheetData>"})).text == "S\n\n1\n\n2"


def test_pictures_are_passed_over() -> None:
    sink = io.BytesIO(deck())
    with zipfile.ZipFile(sink, "a") as archive:
        archive.writestr("ppt/media/image1.png", b"\x89PNG")
    assert parse("a.pptx", sink.getvalue()).text == parse("a.pptx", deck()).text
