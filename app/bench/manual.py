"""How much memory a very long PDF takes: all processes together, at the worst moment.

    cogcore bench manual [--pages 1600] [--embedder hashed]

A PDF of invented text is made with reportlab and ingested. Measured is the proportional set size of this process and
its children (pages that they share are counted once), every 50 ms. `--embedder package` takes the packaged model.
"""

import argparse
import io
import random
import sys
import tempfile
import threading
import time
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
    from reportlab.pdfgen.canvas import Canvas

    dice, sink = random.Random(0), io.BytesIO()
    canvas = Canvas(sink)
    for page in range(1, pages + 1):
        text = canvas.beginText(56, 790)
        text.setFont("Helvetica-Bold", 14)
        text.textLine(f"Section {page}: how part {dice.randrange(1000)} is mounted")
        text.setFont("Helvetica", 10)
        for line in range(LINES):
            end = "." if line % 3 == 2 else ""
            text.textLine(" ".join(f"word{dice.randrange(5000)}" for _ in range(WORDS)) + end)
        canvas.drawText(text)
        canvas.showPage()
    canvas.save()
    return sink.getvalue()


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
