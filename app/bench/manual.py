"""How much memory a very long PDF takes: all processes together, at the worst moment.

    cogcore bench manual [--pages 1600] [--embedder hashed]

A PDF of invented text is made and ingested. Measured is the proportional set size of this process and
its children (pages that they share are counted once), every 50 ms. `--embedder package` takes the packaged model.
"""

import argparse
import random
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from app.bench.hashed import Hashed
from index.memory import DEFAULT_STORE, Memory
from index.parse import Limits
from index.types import Embedder

MIB = 2**20
LINES, WORDS = 48, 13  # on a page, on a line
EVERY = 0.05  # seconds
PATIENT = Limits(wall_seconds=1800)  # on a busy machine; CPU seconds stay as they are


def made(pages: int) -> bytes:
    """A PDF, by hand: its catalog, its fonts, and a page with its text each."""
    dice = random.Random(0)
    kids = " ".join(f"{5 + 2 * n} 0 R" for n in range(pages))
    parts = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Kids[{kids}]/Count {pages}>>".encode(),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica-Bold>>",
    ]
    for page in range(1, pages + 1):
        lines = [f"/F2 14 Tf 56 790 Td 13 TL (Section {page}: how part {dice.randrange(1000)} is mounted) Tj /F1 10 Tf"]
        for line in range(LINES):
            end = "." if line % 3 == 2 else ""
            lines.append(f"T* ({' '.join(f'word{dice.randrange(5000)}' for _ in range(WORDS))}{end}) Tj")
        text = zlib.compress(f"BT {' '.join(lines)} ET".encode())
        look = b"/MediaBox[0 0 595 842]/Resources<</Font<</F1 3 0 R/F2 4 0 R>>>>"
        parts.append(b"<</Type/Page/Parent 2 0 R%s/Contents %d 0 R>>" % (look, len(parts) + 2))
        parts.append(b"<</Length %d/Filter/FlateDecode>>stream\n%s\nendstream" % (len(text), text))
    out, places = bytearray(b"%PDF-1.4\n"), list[int]()
    for number, part in enumerate(parts, 1):
        places.append(len(out))
        out += b"%d 0 obj%sendobj\n" % (number, part)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    head, size = b"xref\n0 %d\n0000000000 65535 f \n" % (len(parts) + 1), len(out)
    tail = b"trailer<</Size %d/Root 1 0 R>>startxref\n%d\n%%%%EOF" % (len(parts) + 1, size)
    return bytes(out) + head + table + tail


class Watch:
    """The most memory that this process and its children took at once, in bytes."""

    def __init__(self) -> None:
        self.most, self._ended = 0, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(EVERY):
            self.most = max(self.most, taken())


def taken() -> int:
    own = Path("/proc/self")
    children = {pid for task in (own / "task").iterdir() for pid in _read(task / "children").split()}
    return sum(_pss(_read(Path(f"/proc/{pid}/smaps_rollup"))) for pid in ("self", *children))


def _read(path: Path) -> str:
    """What it holds; nothing where the process has just ended."""
    try:
        return path.read_text()
    except OSError:
        return ""


def _pss(rollup: str) -> int:
    lines = (line.split() for line in rollup.splitlines())
    return next((int(line[1]) * 1024 for line in lines if line[0] == "Pss:"), 0)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser("app.bench manual", description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--pages", type=int, default=1600)
    parser.add_argument("--embedder", choices=("hashed", "package"), default="hashed")
    given = parser.parse_args(arguments)
    embedder: Embedder = Hashed()
    if given.embedder == "package":
        from index.embed import load_embedder  # torch takes its time

        embedder = load_embedder()
    data = made(given.pages)
    with tempfile.TemporaryDirectory() as folder, closing(Memory(Path(folder), embedder, limits=PATIENT)) as memory:
        file = memory.add_file("manual.pdf", data)
        before = taken()
        with closing(Watch()) as watch:
            began = time.monotonic()
            memory.attach(DEFAULT_STORE, file.id)
            ended = memory.wait(DEFAULT_STORE, file.id)
            took = time.monotonic() - began
        chunks = memory.stats().chunks
    print(f"{given.pages} pages, {len(data) / MIB:.1f} MiB: {ended.status}, {chunks} chunks in {took:.1f} s")
    if ended.last_error is not None:
        sys.exit(ended.last_error.message)
    print(f"memory of all processes, before and at most: {before / MIB:.0f}, {watch.most / MIB:.0f} MiB")
