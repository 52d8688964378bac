"""Uploaded bytes, kept under their SHA-256, so that the same upload twice is kept once.

A file appears whole or not at all (written aside, fsynced, renamed), and its name proves its contents. What is there is
written again all the same: the time that an upload takes must not tell that somebody else has the same file.
"""

import hashlib
import os
import tempfile
from collections.abc import Collection
from pathlib import Path

from index.disk import sync
from index.errors import FolderFault


class Originals:
    """The folder of originals. What no catalog row names is swept at the next start."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, data: bytes) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        place = self._place(sha256)
        place.parent.mkdir(exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=self._folder, prefix="new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(aside).replace(place)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise
        for folder in (place.parent, self._folder):
            sync(folder)
        return sha256

    def holds(self, sha256: str) -> bool:
        return self._place(sha256).exists()

    def get(self, sha256: str) -> bytes:
        try:
            data = self._place(sha256).read_bytes()
        except FileNotFoundError as error:
            raise FolderFault(f"the original {sha256} is gone from {self._folder}; upload the file again") from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise FolderFault(
                f"the original {sha256} in {self._folder} is damaged; delete the file and upload it again"
            )
        return data

    def drop(self, sha256: str) -> None:
        self._place(sha256).unlink(missing_ok=True)

    def sweep(self, known: Collection[str]) -> None:
        """Remove what a crash left: uploads that got no row, deletions that got no further than the row."""
        for path in self._folder.rglob("*"):
            if path.is_file() and path.name not in known:
                path.unlink()

    def _place(self, sha256: str) -> Path:
        return self._folder / sha256[:2] / sha256
