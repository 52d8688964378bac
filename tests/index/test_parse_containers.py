"""E-mail and archives: what is in them becomes sections, and nothing in them gets further than its limits."""

import gzip
from email import policy
from email.message import EmailMessage
from typing import cast

import pytest

from app.bench.hostile import tarred
from index.chunk import split
from index.errors import InvalidFile, ParseError, UnsupportedFile
from index.parse import Limits, Parsed, parse
from index.parse.formats import READERS, read
from tests.index.made import cells, locked, xlsx, zipped
from tests.index.refusals import is_explained

MIB = 2**20
CSV = b"Plan,Seats\nPro,25\n"


def outline(parsed: Parsed) -> list[str]:
    marks = {"heading": "#", "table": "|"}
    return [f"{marks.get(b.kind, '') * max(b.level, 1)} {parsed.text[b.start : b.end]}".strip() for b in parsed.blocks]


def letter(subject: str = "Größe und Preise", body: str = "The price is 49 EUR.") -> EmailMessage:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = subject, "Ann Ärö <ann@example.org>", "bob@example.org"
    message["Date"] = "Sat, 21 Nov 2026 10:00:00 +0000"
    message["Received"] = "from nowhere"
    message.set_content(body)
    return message


def test_a_mail_and_what_is_attached() -> None:
    message = letter()
    message.add_alternative("<p>The same with <b>markup</b></p>", subtype="html")
    message.add_attachment(CSV, maintype="text", subtype="csv", filename="../../plans.csv")
    message.add_attachment(b"\x89PNG", maintype="image", subtype="png", filename="chart.png")
    message.add_attachment(zipped({"a.txt": "words"}), maintype="application", subtype="zip", filename="all.zip")
    inner = letter("Inner", "Deep words.")
    inner.add_attachment("# Head\n\nMore.", filename="a.md")
    message.add_attachment(inner)
    assert outline(parse("a.eml", message.as_bytes())) == [
        "# Größe und Preise",
        "From: Ann Ärö <ann@example.org>\nTo: bob@example.org\nDate: Sat, 21 Nov 2026 10:00:00 +0000",
        "The price is 49 EUR.",
        "## plans.csv",
        "| Plan: Pro; Seats: 25.",
        "Attached, but not read: chart.png. Its format is not read.",
        "Attached, but not read: all.zip. Archives within other files are not opened; upload it by itself.",
        "## E-mail",
        "### Inner",
        "From: Ann Ärö <ann@example.org>\nTo: bob@example.org\nDate: Sat, 21 Nov 2026 10:00:00 +0000",
        "Deep words.",
        "#### a.md",
        "##### Head",
        "More.",
    ]


def test_a_mail_in_html_alone_with_pictures_in_it() -> None:
    message = letter()
    message.set_content("<h1>News</h1><p>Größe: <i>3</i></p>", subtype="html", charset="cp1252")
    message.add_related(b"\x89PNG", "image", "png", cid="<1@x>", filename="image001.png")
    assert outline(parse("a.eml", message.as_bytes()))[2:] == ["## News", "Größe: 3"]


def test_what_is_attached_may_have_a_content_id() -> None:
    message = letter()
    message.add_attachment(CSV, maintype="text", subtype="csv", filename="plans.csv", cid="<f_1>")
    message.add_attachment(b"%PDF-", "application", "pdf", filename="a.pdf", cid="<f_2>", disposition="inline")
    message.add_attachment(b"\x89PNG", maintype="image", subtype="png", filename="chart.png", cid="<f_3>")
    assert outline(parse("a.eml", message.as_bytes()))[3:] == [
        "## plans.csv",
        "| Plan: Pro; Seats: 25.",
        "Attached, but not read: a.pdf. The PDF is cut off: its end is missing. Upload it again.",
        "Attached, but not read: chart.png. Its format is not read.",
    ]


@pytest.mark.parametrize("charset", ["x-unknown", "us-ascii"])
def test_a_mail_that_lies_about_its_charset(charset: str) -> None:
    source = f"Subject: =?nonsense?Q?x?= Größe\nContent-Type: text/plain; charset={charset}\n\nKöln\n"
    assert outline(parse("a.eml", source.encode())) == ["# =?nonsense?Q?x?= Größe", "Köln"]


def folder() -> dict[str, bytes]:
    return {
        "docs/read.md": b"# Rivers\n\nThe Danube.",
        "../../etc/plans.csv": CSV,
        "C:\\x\\deep.eml": letter("Letter", "Dear Bob.").as_bytes(policy=policy.SMTP),
        "src/a.py": b"x = 1\n",
        "book.xlsx": xlsx({"Plans": cells(["Plan", "Seats"], ["Pro", "25"])}),
        ".git/config.ini": b"secret = 1",
        "__MACOSX/._read.md": b"junk",
        "inner.zip": zipped({"a.txt": b"words"}),
        "hello.exe": b"MZ",
        "broken.pdf": b"%PDF-1.4\njunk",
        "deep.json": b"[" * 100_000,
        "empty.txt": b"",
    }


READ = [
    "# docs/read.md",
    "## Rivers",
    "The Danube.",
    "# etc/plans.csv",
    "| Plan: Pro; Seats: 25.",
    "# C:/x/deep.eml",
    "## Letter",
    "From: Ann Ärö <ann@example.org>\nTo: bob@example.org\nDate: Sat, 21 Nov 2026 10:00:00 +0000",
    "Dear Bob.",
    "# src/a.py",
    "x = 1",
    "# book.xlsx",
    "## Plans",
    "| Plan: Pro; Seats: 25.",
    "# Files that were not read",
    "- inner.zip: Archives within other files are not opened; upload it by itself.\n"
    "- hello.exe: Its format is not read.\n"
    "- broken.pdf: The PDF is cut off: its end is missing. Upload it again.\n"
    "- deep.json: The document is nested too deeply to be read; flatten it.\n"
    "- empty.txt: The file is empty.",
]


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "A.TGZ"])
def test_an_archive_has_a_section_for_each_file(name: str) -> None:
    packed = {"a.zip": zipped(folder()), "a.tar": tarred(folder())}.get(name) or tarred(folder(), "w:gz")
    parsed = parse(name, packed)
    assert outline(parsed) == READ
    assert parsed.pages is None
    assert {block.page for block in parsed.blocks if "Seats" in parsed.text[block.start : block.end]} == {None, 1}


def test_a_parsers_own_error_is_that_of_one_file(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(data: bytes, limits: Limits) -> Parsed:
        raise {b"bug": ZeroDivisionError, b"big": MemoryError}[data]

    monkeypatch.setitem(cast(dict[str, object], READERS), ".csv", broken)
    parsed = read(".zip", zipped({"a.txt": "words", "b.csv": "bug"}), Limits())
    assert outline(parsed)[1:3] == ["words", "# Files that were not read"]
    assert "- b.csv: It could not be read (an error of the parser" in parsed.text
    assert "ZeroDivisionError" in caplog.text
    message = letter()
    message.add_attachment(b"bug", maintype="text", subtype="csv", filename="b.csv")
    assert "not read: b.csv. It could not be read" in read(".eml", message.as_bytes(), Limits()).text
    with pytest.raises(MemoryError):
        read(".zip", zipped({"a.txt": "words", "b.csv": "big"}), Limits())


def test_many_unread_files_are_counted() -> None:
    files = {"a.txt": b"words"} | {f"{n}.exe": b"MZ" for n in range(105)}
    last = parse("a.zip", zipped(files)).text.split("\n")[-1]
    assert last == "- and 5 more"


REPEATED = zipped({"a.txt": b"words " * 3 * MIB})
BAD: dict[str, tuple[str, bytes, type[ParseError], str]] = {
    "no mail": ("a.eml", b"hello", InvalidFile, "no e-mail"),
    "locked mail": (
        "a.eml",
        b"Subject: x\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data\n\nAAAA",
        InvalidFile,
        "encrypted",
    ),
    "binary mail": ("a.eml", b"Subject: x\n\n\0\0\0", InvalidFile, "binary"),
    "crowded mail": (
        "a.eml",
        b"Subject: x\nContent-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 2_001 + b"--b--",
        InvalidFile,
        "2,001 parts and the limit is 2,000",
    ),
    "deep mail": ("a.eml", b"Subject: x\nContent-Type: message/rfc822\n\n" * 3_000, InvalidFile, "nested too deeply"),
    "empty zip": ("a.zip", zipped({}), InvalidFile, "No file in the archive"),
    "empty tar": ("a.tar", tarred({}), InvalidFile, "No file in the archive"),
    "nothing known": ("a.zip", zipped({"a.exe": b"MZ"}), InvalidFile, "No file .* a.exe: Its format is not read"),
    "half zip": ("a.zip", zipped(folder())[:700], InvalidFile, "damaged or cut off"),
    "half tar": ("a.tar", tarred(folder())[:700], InvalidFile, "damaged or cut off"),
    "half tar.gz": ("a.tar.gz", tarred(folder(), "w:gz")[:700], InvalidFile, "damaged or cut off"),
    "locked zip": ("a.zip", locked(zipped(folder())), InvalidFile, "password"),
    "text as zip": ("a.zip", b"hello", InvalidFile, "not a zip archive"),
    "text as tar": ("a.tar", b"hello", InvalidFile, "or is none"),
    "text as tgz": ("a.tgz", b"hello", InvalidFile, "not a gzip archive"),
    "gzip of text": ("a.tar.gz", gzip.compress(b"hello"), InvalidFile, "or is none"),
    "gzip as text": ("a.txt", gzip.compress(b"hello"), UnsupportedFile, "gzip archive"),
    "too much": ("a.zip", REPEATED, InvalidFile, "unpacks to more than 16 MiB"),
    "too much in gzip": ("a.tgz", tarred({"a.txt": b" " * 17 * MIB}, "w:gz"), InvalidFile, "more than 16 MiB"),
    "too many": ("a.zip", zipped({f"{n}.txt": b"x" for n in range(2_001)}), InvalidFile, "more than 2,000 files"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_explained(case: str) -> None:
    is_explained(*BAD[case])


def test_a_tar_that_claims_more_than_it_may() -> None:
    with pytest.raises(InvalidFile, match="unpacks to more than 1 MiB"):
        parse("a.tar", tarred({"a.txt": b"x" * 2 * MIB}), Limits(max_unpacked_bytes=MIB))


def test_all_files_together_have_one_limit_of_text() -> None:
    files = {f"{n}.txt": b"word " * 150 for n in range(2)}
    with pytest.raises(InvalidFile, match="more than 1,000 characters"):
        parse("a.zip", zipped(files), Limits(max_chars=1_000))


def test_a_name_too_long_for_a_heading_still_parts_its_file_from_the_one_before() -> None:
    long = "folder/" * 40 + "b.md"
    passages = split(parse("a.zip", zipped({"a.md": "Six weeks.", long: "Ten days."})), len, 512)
    assert [passage.headings for passage in passages] == [("a.md",), (long[:199] + "…",)]
    assert passages[1].text == f"{long}\n\nTen days."
