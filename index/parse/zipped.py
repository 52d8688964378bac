"""Zip files, counted before anybody else may open them: office documents, EPUB, and plain archives."""

import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from index.errors import InvalidFile
from index.parse.document import Limits

MAGIC: Final = (b"PK\x03\x04", b"PK\x05\x06")
_BLOCK = 2**20
_FREE = 16 * 2**20  # bytes that may come out of however few

# By the member that only they have.
_KINDS = {
    "word/document.xml": ".docx",
    "xl/workbook.xml": ".xlsx",
    "ppt/presentation.xml": ".pptx",
    "META-INF/container.xml": ".epub",
}


def kind(data: bytes) -> str:
    """The suffix that tells what a zip file is; `.zip` when it is nothing more."""
    with _opened(data) as archive:
        return next((_KINDS[name] for name in archive.namelist() if name in _KINDS), ".zip")


def allowance(data: bytes, limits: Limits) -> int:
    """How many bytes packed data may become."""
    return min(limits.max_unpacked_bytes, max(_FREE, limits.max_ratio * len(data)))


def bomb(most: int) -> InvalidFile:
    return InvalidFile(f"The file unpacks to more than {most / 2**20:,.0f} MiB; split it or remove its images.")


def members(data: bytes, limits: Limits) -> Iterator[tuple[str, bytes]]:
    """Its files, one by one. What each really inflates to is counted, since a bomb may lie about it."""
    most = left = allowance(data, limits)
    with _opened(data) as archive:
        files = [member for member in archive.infolist() if not member.is_dir()]
        if sum(member.file_size for member in files) > most:
            raise bomb(most)
        if any(member.flag_bits & 1 for member in files):
            raise InvalidFile("The file is protected by a password; save it without one and upload that.")
        for member in files:
            blocks = []
            with archive.open(member) as stream:
                while block := stream.read(_BLOCK):
                    left -= len(block)
                    if left < 0:
                        raise bomb(most)
                    blocks.append(block)
            yield member.filename, b"".join(blocks)


@contextmanager
def _opened(data: bytes) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield archive
    except (
        zipfile.BadZipFile,
        EOFError,
        NotImplementedError,  # what zipfile raises for a compression that it does not know
        ValueError,
        OSError,
        zlib.error,
        lzma.LZMAError,
    ) as fault:
        raise InvalidFile("The file is damaged or cut off; open it where it was made, save it, upload that.") from fault
