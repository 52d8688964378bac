"""Indexes as they were at some moment, on the disk, so that a start need not make them again.

Of a store there may be its words (tantivy's files) and its codes (FAISS's, see codes.py), each in a folder with a seal:
one line of JSON with the CRC-32 of each file and what the index covers, and the line's own CRC-32. It is written aside,
fsynced and renamed. Nothing is ever changed in it: whoever opens it gets a folder of his own with links to its files,
which tantivy replaces and never rewrites. What is damaged, or of another version, is dropped: it can always be made
again.
"""

import json
import logging
import os
import shutil
import tempfile
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from index.disk import sync
from index.types import Extent

ASIDE = "aside-"  # folders at work; what a crash left of them goes at the next start
SEAL = "seal"
PIECE = 1 << 22
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Part:
    """Of what there may be a snapshot. `kind` is what must be the same to read an old one; empty: anything."""

    suffix: str
    kind: str


class Snapshots:
    """At most one for each store and part, which is its words unless told otherwise. `kind` is that of the words."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder, self._words = folder, Part("", kind)
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
        names = (path.name.partition(".")[0] for path in self._folder.iterdir())
        return sorted({int(name) for name in names if name.isdecimal()})

    def covers(self, store: int, part: Part | None = None) -> Extent | None:
        found = self._seal(store, part or self._words)
        return found[0] if found else None

    def extents(self, store: int) -> list[Extent | None]:
        """What its snapshots cover, each; None for one that is of no use."""
        found = [self._seal(store, self._words)] if (self._folder / str(store)).exists() else []
        for place in self._folder.glob(f"{store}.*"):
            found.append(self._seal(store, Part(place.suffix, "")))
        return [one[0] if one else None for one in found]

    def open(self, store: int, part: Part | None = None) -> tuple[Path, Extent] | None:
        """A folder of one's own with the same contents, every byte checked, and what it covers."""
        part = part or self._words
        found = self._seal(store, part)
        if found is None:
            return None
        aside = self.aside()
        try:
            for name, checksum in found[1].items():
                os.link(self._place(store, part) / name, aside / name)
                if _checksum(aside / name) != checksum:
                    raise ValueError(f"{name} is damaged")
        except (OSError, ValueError) as error:
            self.discard(aside)
            self._refuse(store, part, error)
            return None
        return aside, found[0]

    def seal(self, aside: Path, covers: Extent, part: Part | None = None) -> None:
        """The slow half of a save. Nobody may write to the folder any more."""
        files = [path for path in sorted(aside.iterdir()) if path.suffix != ".lock"]
        for path in files:
            sync(path)
        sums = {path.name: _checksum(path) for path in files}
        line = json.dumps({"kind": (part or self._words).kind, "covers": asdict(covers), "files": sums})
        (aside / SEAL).write_text(f"{zlib.crc32(line.encode()):08x} {line}")
        sync(aside / SEAL)
        sync(aside)

    def publish(self, store: int, aside: Path, part: Part | None = None) -> None:
        """In the place of the one before."""
        place = self._place(store, part or self._words)
        self._remove(place)
        aside.rename(place)
        sync(self._folder)

    def drop(self, store: int) -> None:
        """What was removed from a store leaves the disk with its snapshots."""
        for place in (self._folder / str(store), *self._folder.glob(f"{store}.*")):
            self._remove(place)

    def _place(self, store: int, part: Part) -> Path:
        return self._folder / f"{store}{part.suffix}"

    def _remove(self, place: Path) -> None:
        if place.exists():
            aside = self.aside()
            with suppress(FileNotFoundError):
                place.rename(aside / place.name)  # at once, whoever reads or drops it too
            self.discard(aside)

    def _seal(self, store: int, part: Part) -> tuple[Extent, dict[str, int]] | None:
        try:
            checksum, line = (self._place(store, part) / SEAL).read_text().split(" ", 1)
            if int(checksum, 16) != zlib.crc32(line.encode()):
                raise ValueError("the seal is damaged")
            told = json.loads(line)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self._refuse(store, part, error)
            return None
        return (Extent(**told["covers"]), told["files"]) if told["kind"] == part.kind or not part.kind else None

    def _refuse(self, store: int, part: Part, error: Exception) -> None:
        place = self._place(store, part)
        log.warning("the snapshot %s is of no use (%s); it is made again", place, error)
        self._remove(place)


def _checksum(path: Path) -> int:
    found = 0
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            found = zlib.crc32(piece, found)
    return found
