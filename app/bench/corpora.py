"""The texts that the memory's measures read: a folder with wiki/, squad/ and docs_kb/, as `--data` names it."""

import json
import lzma
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from app.bench.reader import cases

LEAST = 200  # characters of a paragraph that counts as a passage


def articles(data: Path) -> Iterator[tuple[str, bytes]]:
    """Wikipedia's, as files."""
    for path in sorted((data / "wiki").glob("wiki-*.jsonl.xz")):
        with lzma.open(path, "rt", encoding="utf-8") as lines:
            for n, line in enumerate(lines):
                row = json.loads(line)
                yield f"{path.name[:7]}-{n} {row['title'][:80].replace('/', ' ')}.txt", row["text"].encode()


def paragraphs(data: Path) -> Iterator[str]:
    """Of these articles."""
    for _, text in articles(data):
        yield from (part for part in text.decode().split("\n") if len(part) >= LEAST)


def documentation(data: Path) -> Iterator[tuple[str, bytes]]:
    """The files of some projects' documentation."""
    with tarfile.open(data / "docs_kb" / "docs_kb.tar.xz") as archive:
        for member in archive:
            file = archive.extractfile(member)
            if file is not None and PurePosixPath(member.name).suffix in (".md", ".mdx", ".rst"):
                yield member.name.replace("/", "-"), file.read()


def questions(data: Path, count: int) -> list[str]:
    """SQuAD dev's, drawn with seed 0."""
    asked = [case.question for case in cases(data / "squad" / "dev.jsonl.xz")]
    return random.Random(0).sample(asked, min(count, len(asked)))
