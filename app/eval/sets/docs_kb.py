"""The documentation of eleven projects: documents alone, for what ingesting costs."""

import tarfile
from pathlib import Path

from app.eval.sets.built import Built, existing, fresh


def docs_kb(data: Path | None, out: Path) -> Built:
    """In folders by project, without the licences."""
    packed = existing(data, "docs_kb/docs_kb.tar.xz")
    folder, count = fresh(out), 0
    with tarfile.open(packed, "r:xz") as archive:
        for member in archive:
            if member.isfile() and Path(member.name).name not in ("LICENSE", "LICENSE.md"):
                archive.extract(member, folder, filter="data")
                count += 1
    return Built(folder, count, None)
