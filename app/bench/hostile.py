"""Files that mean harm, or are broken, through the real ingest: each ends in time, with a reason, and harms no other.

    cogcore bench hostile [--files 2000] [--wall 30] [--seed 0]

Bombs (zip, gzip, Word, Excel, entities), truncations, flipped bytes, wrong names, archives in archives, deep JSON, XML,
HTML, mail and Markdown, huge cells and lines, random bytes. A breach is a file that is not `completed` or `failed` with
a reason in time, a server error, a process that is gone, or a good document that is not found afterwards. The exit
status is then 1.
"""

import gzip
import io
import random
import tarfile
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from tqdm import tqdm

from app.bench import campaign
from app.bench.hashed import Hashed
from index.memory import DEFAULT_STORE, Memory
from index.parse import Limits
from index.parse.suffixes import FORMATS

SLACK = 30.0  # seconds beside the parser's own limit: a child's start, splitting, embedding, the queue before it
AHEAD = 4
MIB = 2**20
OFFICE = "http://schemas.openxmlformats.org"
WORD = f'xmlns:w="{OFFICE}/wordprocessingml/2006/main"'
SHEET = f'xmlns="{OFFICE}/spreadsheetml/2006/main" xmlns:r="{OFFICE}/officeDocument/2006/relationships"'
RELATIONS = f"{OFFICE}/package/2006/relationships"

Maker = Callable[[random.Random], tuple[str, bytes]]


def zipped(members: Mapping[str, bytes | str]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return sink.getvalue()


def prose(dice: random.Random, count: int = 60) -> str:
    return " ".join(f"word{dice.randrange(500)}" for _ in range(count)) + "."


def docx(body: str, head: str = "") -> bytes:
    kinds = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    return zipped(
        {
            "[Content_Types].xml": f'<Types xmlns="{OFFICE}/package/2006/content-types"><Default Extension="rels" '
            f'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            f'<Override PartName="/word/document.xml" ContentType="{kinds}"/></Types>',
            "_rels/.rels": f'<Relationships xmlns="{RELATIONS}"><Relationship Id="r1" Target="word/document.xml" '
            f'Type="{OFFICE}/officeDocument/2006/relationships/officeDocument"/></Relationships>',
            "word/document.xml": f'<?xml version="1.0"?>{head}<w:document {WORD}><w:body>{body}</w:body></w:document>',
        }
    )


def paragraph(text: str) -> str:
    return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"


def xlsx(rows: str) -> bytes:
    kind = f"{OFFICE}/officeDocument/2006/relationships/worksheet"
    return zipped(
        {
            "xl/workbook.xml": f'<workbook {SHEET}><sheets><sheet name="a" sheetId="1" r:id="r1"/></sheets></workbook>',
            "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{RELATIONS}"><Relationship Id="r1" Type="{kind}" '
            'Target="worksheets/sheet1.xml"/></Relationships>',
            "xl/worksheets/sheet1.xml": f"<worksheet {SHEET}><sheetData>{rows}</sheetData></worksheet>",
        }
    )


def cells(count: int, text: str) -> str:
    return "".join(f'<row r="{n}"><c t="inlineStr"><is><t>{text}</t></is></c></row>' for n in range(1, count + 1))


def pdf(text: str, kids: str = "[4 0 R]") -> bytes:
    stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode()
    parts = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Kids {kids}/Count 1>>".encode(),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 5 0 R/Resources<</Font<</F1 3 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream),
    ]
    out, at = b"%PDF-1.4\n", []
    for number, part in enumerate(parts, 1):
        at.append(len(out))
        out += b"%d 0 obj%sendobj\n" % (number, part)
    table = b"".join(b"%010d 00000 n \n" % place for place in at)
    start = len(out)
    return (
        out
        + b"xref\n0 6\n0000000000 65535 f \n"
        + table
        + b"trailer<</Size 6/Root 1 0 R>>startxref\n%d\n%%%%EOF" % start
    )


def tarred(members: Mapping[str, bytes], mode: str = "w:") -> bytes:
    """With a link to a file outside, which is never to be followed."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return sink.getvalue()


def good(dice: random.Random) -> dict[str, bytes]:
    """A sound file of many formats, by suffix."""
    text = prose(dice)
    page = f"<html><body><h1>{text[:20]}</h1><p>{text}</p></body></html>"
    mail = f"From: a@b.example\nSubject: hello\nContent-Type: text/plain\n\n{text}"
    return {
        ".txt": text.encode(),
        ".md": f"# A title\n\n{text}\n\n| a | b |\n|---|---|\n| 1 | 2 |\n".encode(),
        ".html": page.encode(),
        ".csv": "\n".join(f"a{n},{text[:30]},{n}" for n in range(20)).encode(),
        ".json": f'{{"a": [{{"text": "{text}"}}]}}'.encode(),
        ".jsonl": "\n".join(f'{{"n": {n}, "text": "{text[:40]}"}}' for n in range(9)).encode(),
        ".eml": mail.encode(),
        ".rst": f"A title\n=======\n\n{text}\n\n.. note:: {text[:30]}\n".encode(),
        ".py": f'"""{text}"""\n\n\ndef f():\n    return 1\n'.encode(),
        ".docx": docx(paragraph(text)),
        ".xlsx": xlsx(cells(5, text[:40])),
        ".pdf": pdf(text),
        ".zip": zipped({"a.txt": text, "b/c.md": text}),
        ".tar": tarred({"a.txt": text.encode()}),
        ".tar.gz": tarred({"a.txt": text.encode()}, "w:gz"),
    }


def _any(dice: random.Random) -> tuple[str, bytes]:
    return dice.choice(list(good(dice).items()))


def truncated(dice: random.Random) -> tuple[str, bytes]:
    suffix, data = _any(dice)
    return suffix, data[: dice.randrange(1, len(data))]


def flipped(dice: random.Random) -> tuple[str, bytes]:
    suffix, data = _any(dice)
    content = bytearray(data)
    for _ in range(dice.choice((1, 3, 30, 300))):
        content[dice.randrange(len(content))] = dice.randrange(256)
    return suffix, bytes(content)


def spliced(dice: random.Random) -> tuple[str, bytes]:
    suffix, data = _any(dice)
    start, end = sorted(dice.randrange(len(data)) for _ in range(2))
    return suffix, data[:end] + data[start:end] * dice.randrange(1, 50) + data[end:]


def mislabelled(dice: random.Random) -> tuple[str, bytes]:
    return dice.choice(sorted(FORMATS)), _any(dice)[1]


def noise(dice: random.Random) -> tuple[str, bytes]:
    magic = dice.choice((b"", b"", b"%PDF-1.7\n", b"PK\x03\x04", b"\x1f\x8b\x08", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"))
    return dice.choice(sorted(FORMATS)), magic + dice.randbytes(dice.choice((1, 100, 10_000, 300_000)))


def zip_bomb(dice: random.Random) -> tuple[str, bytes]:
    size = dice.choice((30, 300)) * MIB
    members = {f"{n}.txt": bytes(size // 4) for n in range(4)}
    return dice.choice((".zip", ".docx", ".xlsx", ".pptx", ".epub")), zipped(members)


def liar(dice: random.Random) -> tuple[str, bytes]:
    """A zip file that tells other sizes than it has."""
    data = bytearray(zipped({"a.txt": b"a" * 40 * MIB}))
    at = data.rfind(b"PK\x01\x02")
    data[at + 24 : at + 28] = dice.choice((b"\x01\0\0\0", b"\xff\xff\xff\x7f", b"\0\0\0\0"))
    return ".zip", bytes(data)


def gzip_bomb(dice: random.Random) -> tuple[str, bytes]:
    return dice.choice((".tgz", ".tar.gz")), gzip.compress(bytes(dice.choice((50, 300)) * MIB), 9)


def many_members(dice: random.Random) -> tuple[str, bytes]:
    return ".zip", zipped({f"{n}.txt": "a" for n in range(dice.choice((1_999, 2_001, 20_000)))})


def nested_archives(dice: random.Random) -> tuple[str, bytes]:
    data = prose(dice).encode()
    for n in range(dice.randrange(2, 40)):
        data = zipped({f"{n}.zip": data, "a.txt": "text"})
    return ".zip", data


def word_bomb(dice: random.Random) -> tuple[str, bytes]:
    return ".docx", docx(paragraph("abc " * dice.choice((MIB, 20 * MIB))))


def entities(dice: random.Random) -> tuple[str, bytes]:
    lines = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    head = f'<!DOCTYPE z [<!ENTITY a0 "lol">{lines}<!ENTITY f SYSTEM "file:///etc/passwd">]>'
    return ".docx", docx(paragraph(dice.choice(("&a9;", "&f;"))), head)


def sheet_bomb(dice: random.Random) -> tuple[str, bytes]:
    kind = dice.random()
    if kind < 0.3:
        return ".xlsx", xlsx(cells(300_000, "a cell"))
    if kind < 0.6:
        return ".xlsx", xlsx('<row r="1048576"><c r="XFD1048576" t="n"><v>1</v></c></row>' * dice.choice((1, 5)))
    return ".xlsx", xlsx(f'<row r="1">{"<c><v>1e999</v></c>" * dice.choice((900, 20_000))}</row>')


def deep_json(dice: random.Random) -> tuple[str, bytes]:
    depth = dice.choice((500, 5_000, 1_000_000))
    return dice.choice((".json", ".jsonl")), dice.choice(("[" * depth + "]" * depth, '{"a":' * depth)).encode()


def numbers(dice: random.Random) -> tuple[str, bytes]:
    return ".json", f"[{'9' * dice.choice((5_000, 400_000))}, 1e400, -0, NaN]".encode()


def deep_markup(dice: random.Random) -> tuple[str, bytes]:
    depth = dice.choice((300, 10_000, 100_000))
    kind = dice.choice((".html", ".docx", ".md", ".rst"))
    if kind == ".html":
        return kind, ("<div>" * depth + "text" + "</div>" * dice.choice((0, depth))).encode()
    if kind == ".docx":
        return kind, docx("<w:sdt><w:sdtContent>" * depth + paragraph("text") + "</w:sdtContent></w:sdt>" * depth)
    pieces = ("> " * depth, "[" * depth, "*" * depth + "a", "- " * depth, "`" * depth, "<a>" * depth, "![](" * depth)
    return kind, (dice.choice(pieces) + "text").encode()


def deep_mail(dice: random.Random) -> tuple[str, bytes]:
    depth = dice.choice((50, 500, 5_000))
    heads = "".join(f'Content-Type: multipart/mixed; boundary="b{n}"\n\n--b{n}\n' for n in range(depth))
    return ".eml", f"Subject: deep\n{heads}Content-Type: text/plain\n\n{prose(dice)}".encode()


def long_lines(dice: random.Random) -> tuple[str, bytes]:
    size = dice.choice((1, 8)) * MIB
    kind = dice.choice((".txt", ".md", ".csv", ".html", ".py", ".rst", ".jsonl", ".tsv"))
    return kind, (dice.choice(("a", ",", '"', "a ", "|", "\0", "é", "<", "&amp;")) * size).encode()[:size]


def many_pages(dice: random.Random) -> tuple[str, bytes]:
    return ".pdf", pdf("loop", dice.choice(("[2 0 R]", "[2 0 R 2 0 R]", f"[{'4 0 R ' * 5_000}]", "[1 0 R]")))


def huge(dice: random.Random) -> tuple[str, bytes]:
    return dice.choice((".txt", ".csv", ".pdf")), prose(dice, 2_000).encode() * dice.choice((700, 8_000))


MAKERS: tuple[Maker, ...] = (
    *(truncated, flipped, spliced, mislabelled, noise) * 8,  # the cheap ones are the most
    *(zip_bomb, liar, gzip_bomb, many_members, nested_archives, word_bomb, entities, sheet_bomb, deep_json),
    *(numbers, deep_markup, deep_mail, long_lines, many_pages, huge),
)


def attack(memory: Memory, count: int, wall: float, seed: int) -> tuple[Counter[str], float, list[str]]:
    """How the files ended, the longest that one took in seconds, its turn in the queue included, and the breaches."""
    ended, slowest, wrong = Counter[str](), 0.0, list[str]()
    waiting: list[tuple[str, str, float]] = []
    allowed = (1 + AHEAD) * (wall + SLACK)

    def settle() -> None:
        nonlocal slowest
        what, file_id, began = waiting.pop(0)
        document = memory.wait(DEFAULT_STORE, file_id, max(0.0, began + allowed - time.monotonic()))
        slowest = max(slowest, time.monotonic() - began)
        ended[f"{what.split()[0]}: {document.status}"] += 1
        error = document.last_error
        if document.status not in ("completed", "failed"):
            wrong.append(f"{what} is still {document.status} after {allowed:.0f} s")
        elif document.status == "failed" and (error is None or not error.message or error.code == "server_error"):
            wrong.append(f"{what} failed as {error}")
        memory.delete_file(file_id)

    for n in tqdm(range(count), "files", mininterval=10):
        dice = random.Random(seed * 1_000_000 + n)
        maker = MAKERS[n % len(MAKERS)]
        suffix, data = maker(dice)
        file = memory.add_file(f"{n}{suffix}", data)
        memory.attach(DEFAULT_STORE, file.id)
        waiting.append((f"{maker.__name__} {n}{suffix}", file.id, time.monotonic()))
        if len(waiting) >= AHEAD:
            settle()
    while waiting:
        settle()
    return ended, slowest, wrong


def main(arguments: Sequence[str]) -> None:
    parser = campaign.parser("hostile", __doc__)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--wall", type=float, default=30.0, help="seconds that the parser is given for each (30)")
    given = parser.parse_args(arguments)
    limits = Limits(wall_seconds=given.wall, cpu_seconds=int(given.wall))
    with tempfile.TemporaryDirectory() as made, closing(Memory(Path(made), Hashed(), limits=limits)) as memory:
        kept = memory.add_file("kept.md", b"The quuxzanzibar treaty was signed in May.")
        memory.attach(DEFAULT_STORE, kept.id)
        ended, slowest, wrong = attack(memory, given.files, given.wall, given.seed)
        hits = memory.search(DEFAULT_STORE, "quuxzanzibar treaty", 1)
        if [hit.chunk.file_id for hit in hits] != [kept.id] or memory.stats().chunks != 1:
            wrong.append("the good document is not found alone afterwards")
    print(f"{given.files} files; the slowest took {slowest:.1f} s, its turn in the queue included")
    for what, count in sorted(ended.items()):
        print(f"  {what:<28}{count:>6}")
    campaign.end(wrong)
