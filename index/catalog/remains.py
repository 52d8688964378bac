"""Copies of rows that SQLite leaves behind in its pages: how they are found, and how they go.

secure_delete blanks a row where it lies. But when SQLite evens out neighbouring pages, which deletions make it do, it
may write a page anew and leave there, in what the page does not use, what it has moved to another one; no later
deletion reaches that copy. It happens in less than one of a hundred changes, and SQLite has no call that tells or
mends it (VACUUM writes the whole file again). So the pages of each commit are looked at in the write-ahead log.

Looked for is text, in pages of tables. The file's format: https://sqlite.org/fileformat2.html.
"""

import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

LEAF = 0x0D  # how a page with rows of a table begins
FILE_HEADER, WAL_HEADER, FRAME_HEADER, PAGE_HEADER = 100, 32, 24, 8
TEXT = 0x2020  # no two characters are less; places in a page are
RUN = re.compile(rb"[^\0]{5}")  # heads of free blocks, which may be left over too, have four bytes


def unused(page: bytes, number: int, pages: int) -> tuple[int, int] | None:
    """From where to where a page is not used, if there is text. The database has so many `pages`."""
    start = FILE_HEADER if number == 1 else 0
    # Pages of other kinds may begin with the number of a page.
    if page[start] != LEAF or (number > 1 and int.from_bytes(page[:4]) <= pages):
        return None
    cells, top = int.from_bytes(page[start + 3 : start + 5]), int.from_bytes(page[start + 5 : start + 7])
    begin, end = start + PAGE_HEADER + 2 * cells, top or len(page)
    if end > len(page):
        return None
    at = begin
    while at < end and int.from_bytes(page[at : at + 2]) < TEXT:  # nothing, or the places of cells that were
        at += 2
    return (begin, end) if RUN.search(page, at, end) else None


def in_file(file: int) -> set[int]:
    """The pages of an open database that hold remains."""
    size, pages = _measures(file)
    found = ((n, os.pread(file, size, (n - 1) * size)) for n in range(1, pages + 1))
    return {n for n, page in found if len(page) == size and unused(page, n, pages)}


def erase(file: int, numbers: Collection[int]) -> None:
    """Blank what pages do not use. Nobody may write to the database meanwhile, nor move anything out of its log."""
    size, pages = _measures(file)
    for number in numbers:
        at = (number - 1) * size
        page = os.pread(file, size, at)
        place = unused(page, number, pages) if size and len(page) == size else None
        if place is not None:
            os.pwrite(file, bytes(place[1] - place[0]), at + place[0])
    os.fsync(file)


def _measures(file: int) -> tuple[int, int]:
    """The size of a page, and how many there are: none where some are of kinds that nobody expects here."""
    header = os.pread(file, FILE_HEADER, 0)
    size = int.from_bytes(header[16:18])
    size = 1 << 16 if size == 1 else size
    self_vacuuming = int.from_bytes(header[52:56])
    return (size, os.fstat(file).st_size // size) if size and not self_vacuuming else (0, 0)


class Log:
    """The write-ahead log beside a database: which pages it leaves with remains. Each commit is looked at once."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(f"{database.name}-wal")
        self._salt, self._at = b"", WAL_HEADER

    def news(self) -> set[int]:
        """The pages with remains, of all that was committed since the last look."""
        found, committed = dict[int, bool](), dict[int, bool]()
        if self._path.exists():
            for number, pages, page in self._frames():
                found[number] = unused(page, number, pages or number) is not None
                if pages:
                    committed |= found
        return {number for number, left in committed.items() if left}

    def _frames(self) -> Iterator[tuple[int, int, bytes]]:
        """Page numbers, how many pages there are at the end of a commit (else 0), and pages."""
        with self._path.open("rb") as file:
            header = file.read(WAL_HEADER)
            size, salt = int.from_bytes(header[8:12]), header[16:24]
            if size.bit_count() != 1 or not 512 <= size <= 1 << 16:  # empty, or damaged
                return
            if salt != self._salt:  # begun anew
                self._salt, self._at = salt, WAL_HEADER
            at = file.seek(self._at)
            while len(frame := file.read(FRAME_HEADER + size)) == FRAME_HEADER + size and frame[8:16] == salt:
                pages = int.from_bytes(frame[4:8])
                yield int.from_bytes(frame[:4]), pages, frame[FRAME_HEADER:]
                at += len(frame)
                if pages:  # what follows the last commit was taken back, and is written over
                    self._at = at
