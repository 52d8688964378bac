"""Which suffix is read by what. A name is a claim: the first bytes have the last word."""

from collections.abc import Callable, Mapping
from typing import Final

from index.errors import InvalidFile, UnsupportedFile
from index.parse.document import Limits, Parsed
from index.parse.markdown import markdown, mdx
from index.parse.plain import text
from index.parse.restructured import restructured
from index.parse.rich import docx, html, pdf

READERS: Final[Mapping[str, Callable[[bytes, Limits], Parsed]]] = {
    ".docx": docx,
    ".htm": html,
    ".html": html,
    ".markdown": markdown,
    ".md": markdown,
    ".mdx": mdx,
    ".pdf": pdf,
    ".rst": restructured,
    ".text": text,
    ".txt": text,
}

# What other bytes begin with, and what they are.
_FOREIGN = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90", "a program"),
    (b"{\\rtf", "an RTF document"),
)


def read(suffix: str, data: bytes, limits: Limits) -> Parsed:
    """Parses by what the bytes are, when they tell, and by the suffix otherwise."""
    for magic, name in _FOREIGN:
        if data.startswith(magic):
            raise UnsupportedFile(f"The file is {name}, not what {suffix} says; save it as PDF, Word or text.")
    if suffix != ".pdf" and data.startswith(b"%PDF-"):
        suffix = ".pdf"
    elif suffix != ".docx" and data.startswith(b"PK\x03\x04"):
        suffix = ".docx"
    elif suffix == ".docx" and not data.startswith((b"PK", b"\xd0\xcf\x11\xe0")):
        raise InvalidFile("The file is not a Word document although its name says so; rename it or save it anew.")
    elif suffix == ".pdf" and b"%PDF-" not in data[:1024]:
        raise InvalidFile("The file is not a PDF although its name says so; rename it or save it anew.")
    parsed = READERS[suffix](data, limits)
    if not parsed.text.strip():
        raise InvalidFile("The document has no text in it.")
    return parsed
