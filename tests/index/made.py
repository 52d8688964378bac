"""Files made by hand, as small as their formats allow."""

import io
import zipfile
from collections.abc import Mapping, Sequence

_OFFICE = "http://schemas.openxmlformats.org"
_RELATIONS = f"{_OFFICE}/officeDocument/2006/relationships"
_SHEET = f'xmlns="{_OFFICE}/spreadsheetml/2006/main" xmlns:r="{_RELATIONS}"'
_SLIDE = (
    f'xmlns:p="{_OFFICE}/presentationml/2006/main" xmlns:a="{_OFFICE}/drawingml/2006/main" xmlns:r="{_RELATIONS}" '
    'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
)


def zipped(members: Mapping[str, bytes | str]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return sink.getvalue()


def locked(data: bytes) -> bytes:
    """The zip file, its members marked as encrypted."""
    for head, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(head)
        while at >= 0:
            data = data[: at + flags] + bytes([data[at + flags] | 1]) + data[at + flags + 1 :]
            at = data.find(head, at + 4)
    return data


def relations(items: Mapping[str, tuple[str, str]]) -> str:
    body = "".join(f'<Relationship Id="{id_}" Type="{_RELATIONS}/{kind}" Target="{target}"/>'
                   for id_, (kind, target) in items.items())  # fmt: skip
    return f'<Relationships xmlns="{_OFFICE}/package/2006/relationships">{body}</Relationships>'


def xlsx(sheets: Mapping[str, str], texts: Sequence[str] = (), formats: Sequence[str] = (), dates: str = "") -> bytes:
    """Sheets are the XML within their `<worksheet>`; the style number n has the n-th format's code, counted from 1."""
    names = enumerate(sheets, 1)
    listed = "".join(f'<sheet name="{name}" sheetId="{n}" r:id="r{n}"/>' for n, name in names)
    parts = {f"r{n}": ("worksheet", f"worksheets/sheet{n}.xml") for n in range(1, len(sheets) + 1)}
    codes = "".join(f'<numFmt numFmtId="{n}" formatCode="{code}"/>' for n, code in enumerate(formats, 164))
    styles = "".join(f'<xf numFmtId="{n}"/>' for n in (0, *range(164, 164 + len(formats))))
    return zipped(
        {
            "xl/workbook.xml": f"<workbook {_SHEET}><workbookPr {dates}/><sheets>{listed}</sheets></workbook>",
            "xl/_rels/workbook.xml.rels": relations(
                parts | {"s": ("sharedStrings", "sharedStrings.xml"), "t": ("styles", "/xl/styles.xml")}
            ),
            "xl/sharedStrings.xml": f"<sst {_SHEET}>{''.join(f'<si>{text}</si>' for text in texts)}</sst>",
            "xl/styles.xml": f"<styleSheet {_SHEET}><numFmts>{codes}</numFmts><cellXfs>{styles}</cellXfs></styleSheet>",
            **{
                f"xl/worksheets/sheet{n}.xml": f"<worksheet {_SHEET}>{body}</worksheet>"
                for n, body in enumerate(sheets.values(), 1)
            },
        }
    )


def cells(*rows: Sequence[str]) -> str:
    """Rows of texts; an empty row is left out, as spreadsheets do."""
    body = ""
    for number, row in enumerate(rows, 1):
        inner = "".join(f'<c t="inlineStr"><is><t>{text}</t></is></c>' for text in row)
        body += f'<row r="{number}">{inner}</row>' if row else ""
    return f"<sheetData>{body}</sheetData>"


def pptx(slides: Sequence[str], notes: Mapping[int, str] | None = None) -> bytes:
    """Slides are the XML of their shapes, shown in the reverse of their files' order; notes go by file, from 1."""
    count = len(slides)
    listed = "".join(f'<p:sldId id="{256 + n}" r:id="r{n}"/>' for n in range(count, 0, -1))
    members = {
        "ppt/presentation.xml": f"<p:presentation {_SLIDE}><p:sldIdLst>{listed}</p:sldIdLst></p:presentation>",
        "ppt/_rels/presentation.xml.rels": relations(
            {f"r{n}": ("slide", f"slides/slide{n}.xml") for n in range(1, count + 1)}
        ),
    }
    for n, shapes in enumerate(slides, 1):
        members[f"ppt/slides/slide{n}.xml"] = f"<p:sld {_SLIDE}><p:cSld><p:spTree>{shapes}</p:spTree></p:cSld></p:sld>"
    for n, text in (notes or {}).items():
        members[f"ppt/slides/_rels/slide{n}.xml.rels"] = relations({"r1": ("notesSlide", "../notes/note.xml")})
        members["ppt/notes/note.xml"] = f"<p:notes {_SLIDE}>{shape([text], 'body')}{shape(['7'], 'sldNum')}</p:notes>"
    return zipped(members)


def shape(paragraphs: Sequence[str], place: str = "", level: int = 0) -> str:
    body = "".join(f'<a:p><a:pPr lvl="{level}"/><a:r><a:t>{text}</a:t></a:r></a:p>' for text in paragraphs)
    held = f'<p:ph type="{place}"/>' if place else ""
    return f"<p:sp><p:nvSpPr><p:nvPr>{held}</p:nvPr></p:nvSpPr><p:txBody>{body}</p:txBody></p:sp>"


def grid(rows: Sequence[Sequence[str]]) -> str:
    body = ""
    for row in rows:
        inner = "".join(f"<a:tc><a:txBody><a:p><a:r><a:t>{text}</a:t></a:r></a:p></a:txBody></a:tc>" for text in row)
        body += f"<a:tr>{inner}</a:tr>"
    data = f"<a:graphic><a:graphicData><a:tbl>{body}</a:tbl></a:graphicData></a:graphic>"
    return f"<p:graphicFrame>{data}</p:graphicFrame>"


def epub(chapters: Sequence[str], extra: Mapping[str, str] | None = None) -> bytes:
    """Chapters are the XHTML of their bodies."""
    numbers = range(len(chapters))
    items = "".join(f'<item id="c{n}" href="c{n}.xhtml" media-type="application/xhtml+xml"/>' for n in numbers)
    order = "".join(f'<itemref idref="c{n}"/>' for n in reversed(numbers))
    container = '<rootfile full-path="book.opf" media-type="application/oebps-package+xml"/>'
    title = '<dc:title xmlns:dc="http://purl.org/dc/elements/1.1/">The Prisoner of Zenda</dc:title>'
    return zipped(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container">'
            f"<rootfiles>{container}</rootfiles></container>",
            "book.opf": f'<package xmlns="http://www.idpf.org/2007/opf" version="3.0"><metadata>{title}</metadata>'
            f"<manifest>{items}</manifest><spine>{order}</spine></package>",
            **{
                f"c{n}.xhtml": f'<html xmlns="http://www.w3.org/1999/xhtml"><body>{body}</body></html>'
                for n, body in enumerate(chapters)
            },
            **(extra or {}),
        }
    )
