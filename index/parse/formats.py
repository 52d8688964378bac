"""Which suffix is read by what. A name is a claim: the first bytes have the last word."""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from index.errors import InvalidFile, ParseError, UnsupportedFile
from index.parse.archive import tar, tar_gz, zip_
from index.parse.code import code
from index.parse.document import Limits, Parsed
from index.parse.mail import mail
from index.parse.markdown import markdown, mdx
from index.parse.plain import text
from index.parse.records import json_, jsonl
from index.parse.restructured import restructured
from index.parse.rich import docx, epub, html, image, pdf
from index.parse.slides import pptx
from index.parse.suffixes import ARCHIVES, CODE, IMAGES, suffix_of
from index.parse.tabular import csv_, tsv
from index.parse.workbook import xlsx
from index.parse.zipped import MAGIC, kind

log = logging.getLogger(__name__)

# What images begin with, which are, and their suffix.
_IMAGES = (
    (b"\x89PNG", "a PNG image", ".png"),
    (b"\xff\xd8\xff", "a JPEG image", ".jpg"),
    (b"II*\0", "a TIFF image", ".tif"),
    (b"MM\0*", "a TIFF image", ".tif"),
)
# What other bytes begin with, and what they are.
_FOREIGN = (
    *((magic, name) for magic, name, _ in _IMAGES),
    (b"GIF8", "a GIF image"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90", "a program"),
    (b"{\\rtf", "an RTF document"),
)
_GZIP = b"\x1f\x8b"
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # Office before 2007, and what it encrypts to this day
_PDF = b"%PDF-"

# What cannot be without the bytes that it begins with.
_TELLING = {
    ".docx": "a Word document",
    ".epub": "an EPUB book",
    ".pptx": "a PowerPoint presentation",
    ".tar.gz": "a gzip archive",
    ".tgz": "a gzip archive",
    ".xlsx": "an Excel workbook",
    ".zip": "a zip archive",
}


def read(suffix: str, data: bytes, limits: Limits) -> Parsed:
    """Parses by what the bytes are, when they tell, and by the suffix otherwise."""
    try:
        parsed = READERS[_truth(suffix, data)](data, limits)
    except RecursionError as fault:
        raise InvalidFile("The document is nested too deeply to be read; flatten it.") from fault
    if not parsed.text.strip():
        raise InvalidFile("The document has no text in it.")
    return parsed


def _truth(suffix: str, data: bytes) -> str:
    """The suffix that the file should have."""
    if suffix in IMAGES:
        found = next((true for magic, _, true in _IMAGES if data.startswith(magic)), None)
        if found is None:
            raise InvalidFile("The file is not an image although its name says so; rename it or save it anew.")
        return found
    for magic, name in _FOREIGN:
        if data.startswith(magic):
            raise UnsupportedFile(f"The file is {name}, not what {suffix} says; save it as PDF, Word or text.")
    if data.startswith(_OLE):
        if "EncryptedPackage".encode("utf-16-le") in data:
            raise InvalidFile("The document is protected by a password; save it without one and upload that.")
        raise UnsupportedFile("This is a file of an old Office (.doc, .xls, .ppt, .msg); save it in a newer format.")
    if data.startswith(_GZIP):
        if suffix not in (".tar.gz", ".tgz"):
            raise UnsupportedFile(f"The file is a gzip archive, not what {suffix} says; unpack it and upload that.")
        return suffix
    if data.startswith(MAGIC):
        found = kind(data)
        if found == ".zip" != suffix:
            raise UnsupportedFile(f"The file is a zip archive, not what {suffix} says; unpack it or name it .zip.")
        return found
    if data.startswith(_PDF):
        return ".pdf"
    if suffix in _TELLING:
        raise InvalidFile(f"The file is not {_TELLING[suffix]} although its name says so; rename it or save it anew.")
    if suffix == ".pdf" and _PDF not in data[:1024]:
        raise InvalidFile("The file is not a PDF although its name says so; rename it or save it anew.")
    return suffix


def _part(name: str, data: bytes, limits: Limits) -> Parsed:
    """A file within an e-mail or an archive, which alone fails by an error of its parser."""
    suffix = suffix_of(name)
    if suffix in ARCHIVES:
        raise UnsupportedFile("Archives within other files are not opened; upload it by itself.")
    if suffix not in READERS or suffix in IMAGES:  # logos and signatures, mostly
        raise UnsupportedFile("Its format is not read.")
    if not data:
        raise InvalidFile("The file is empty.")
    try:
        return read(suffix, data, limits)
    except (ParseError, MemoryError):
        raise
    except Exception as fault:
        log.exception("The parser failed on a %s file of %d bytes within another", suffix, len(data))
        raise InvalidFile("It could not be read (an error of the parser, now in the log); save it anew.") from fault


READERS: Final[Mapping[str, Callable[[bytes, Limits], Parsed]]] = {
    ".csv": csv_,
    ".docx": docx,
    ".eml": partial(mail, read_part=_part),
    ".epub": epub,
    ".htm": html,
    ".html": html,
    ".json": json_,
    ".jsonl": jsonl,
    ".markdown": markdown,
    ".md": markdown,
    ".mdx": mdx,
    ".ndjson": jsonl,
    ".pdf": pdf,
    ".pptx": pptx,
    ".rst": restructured,
    ".tar": partial(tar, read_part=_part),
    ".tar.gz": partial(tar_gz, read_part=_part),
    ".text": text,
    ".tgz": partial(tar_gz, read_part=_part),
    ".tsv": tsv,
    ".txt": text,
    ".xlsx": xlsx,
    ".zip": partial(zip_, read_part=_part),
    **dict.fromkeys(CODE, code),
    **dict.fromkeys((".jpeg", ".jpg"), partial(image, mime="image/jpeg")),
    **dict.fromkeys((".tif", ".tiff"), partial(image, mime="image/tiff")),
    ".png": partial(image, mime="image/png"),
}
