"""Lexical indexes as they were at some moment, on the disk, so that a start need not read every text again.

A snapshot is a folder with tantivy's files and a seal: one line of JSON with the CRC-32 of each file and what the index
covers, and the line's own CRC-32. It is written aside, fsynced and renamed. Nothing is ever changed in it: whoever
opens it gets a folder of his own with links to its files, which tantivy replaces and never rewrites. What is
damaged, or of another version, is dropped: it can always be made again.
"""

import json
import logging
import os
import shutil
import tempfile
import zlib
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from index.disk import sync
from index.types import Extent

ASIDE = "aside-"  # folders at work; what a crash left of them goes at the next start
SEAL = "seal"
PIECE = 1 << 22
log = logging.getLogger(__name__)


class Snapshots:
    """At most one for each store. `kind` is what must be the same to read an old one."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder, self._kind = folder, kind
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f"{ASIDE}*"):
            shutil.rmtree(left)

    def aside(self) -> Path:
        """A new folder to work in."""
        return Path(tempfile.mkdtemp(dir=self._folder, prefix=ASIDE))

    def discard(self, aside: Path) -> None:
        """Whoever still has its files open may go on reading them."""
        shutil.rmtree(aside, ignore_errors=True)

    def stores(self) -> list[int]:
        return [int(path.name) for path in self._folder.iterdir() if path.name.isdecimal()]

    def covers(self, store: int) -> Extent | None:
        found = self._seal(store)
        return found[0] if found else None

    def open(self, store: int) -> tuple[Path, Extent] | None:
        """A folder of one's own with the same contents, every byte checked, and what it covers."""
        found = self._seal(store)
        if found is None:
            return None
        aside = self.aside()
        try:
            for name, checksum in found[1].items():
                os.link(self._folder / str(store) / name, aside / name)
                if _checksum(aside / name) != checksum:
                    raise ValueError(f"{name} is damaged")
        except (OSError, ValueError) as error:
            self.discard(aside)
            self._refuse(store, error)
            return None
        return aside, found[0]

    def seal(self, aside: Path, covers: Extent) -> None:
        """The slow half of a save. Nobody may write to the folder any more."""
        files = [path for path in sorted(aside.iterdir()) if path.suffix != ".lock"]
        for path in files:
            sync(path)
        sums = {path.name: _checksum(path) for path in files}
        line = json.dumps({"kind": self._kind, "covers": asdict(covers), "files": sums})
        (aside / SEAL).write_text(f"{zlib.crc32(line.encode()):08x} {line}")
        sync(aside / SEAL)
        sync(aside)

    def publish(self, store: int, aside: Path) -> None:
        """In the place of the one before."""
        self.drop(store)
        aside.rename(self._folder / str(store))
        sync(self._folder)

    def drop(self, store: int) -> None:
        """What was removed from a store leaves the disk with its snapshot."""
        if (self._folder / str(store)).exists():
            aside = self.aside()
            with suppress(FileNotFoundError):
                (self._folder / str(store)).rename(aside / str(store))  # at once, whoever reads or drops it too
            self.discard(aside)

    def _seal(self, store: int) -> tuple[Extent, dict[str, int]] | None:
        try:
            checksum, line = (self._folder / str(store) / SEAL).read_text().split(" ", 1)
            if int(checksum, 16) != zlib.crc32(line.encode()):
                raise ValueError("the seal is damaged")
            told = json.loads(line)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self._refuse(store, error)
            return None
        return (Extent(**told["covers"]), told["files"]) if told["kind"] == self._kind else None

    def _refuse(self, store: int, error: Exception) -> None:
        log.warning("the snapshot of store %d is of no use (%s); its words are read from the texts", store, error)
        self.drop(store)


def _checksum(path: Path) -> int:
    found = 0
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            found = zlib.crc32(piece, found)
    return found
