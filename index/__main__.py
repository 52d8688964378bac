"""The memory without a server.

python -m index add docs/ notes.md --store handbook
python -m index search "how long is the notice period?" --store handbook
python -m index stats
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from tqdm import tqdm

from index.embed import load_embedder
from index.errors import MemoryFault, StoreNotFound
from index.folder import Found, Outcome, find_files, ingest_files, left_out
from index.memory import DEFAULT_STORE, Memory
from index.reader import load_reader
from index.types import Hit


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    try:
        # Before the models take their seconds.
        found = find_files(given.paths) if given.command == "add" else Found([], [], {})
        reader = load_reader() if given.command == "search" and given.rerank else None
        with closing(Memory(given.data, load_embedder(given.embedder), reader)) as memory:
            match given.command:
                case "add":
                    return add(memory, given.store, found)
                case "search":
                    return search(memory, given.store, given.query, given.k)
                case _:
                    return stats(memory)
    except (MemoryFault, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def add(memory: Memory, store: str, found: Found) -> int:
    try:
        memory.store(store)
    except StoreNotFound:
        memory.create_store(store)
    with tqdm(total=len(found.files), unit="file", disable=None) as bar:

        def progress(path: Path, outcome: Outcome) -> None:
            bar.update()

        summary = ingest_files(memory, store, found.files, progress)
    summary.failed |= found.closed
    for name, reasons in (("skipped", summary.skipped), ("failed", summary.failed)):
        for path, reason in reasons.items():
            print(f"{name} {path}: {reason}", file=sys.stderr)
    for path, what in summary.left_out.items():
        print(f"left out of {path}: {what}", file=sys.stderr)
    for path in found.hidden:
        print(f"hidden {path}: its name begins with a dot", file=sys.stderr)
    print(
        f"{len(summary.done)} added, {len(summary.unchanged)} unchanged, "
        f"{len(summary.skipped)} skipped, {len(summary.failed)} failed{left_out(found.hidden)}"
    )
    return 1 if summary.failed else 0


def search(memory: Memory, store: str, query: str, k: int) -> int:
    hits = memory.search(store, query, k)
    for place, hit in enumerate(hits, 1):
        print(_shown(place, hit))
    if not hits:
        print(f"nothing in the store {store!r}", file=sys.stderr)
    return 0 if hits else 1


def stats(memory: Memory) -> int:
    total = memory.stats()
    print(f"{total.files} files, {total.bytes:,} bytes, {total.chunks:,} chunks, {total.backlog} waiting")
    for info in memory.stores(limit=1000, order="asc").data:
        counts = f"{info.counts['completed']} searchable, {info.counts['failed']} failed"
        print(f"{info.id}  {info.name or '(no name)'}  {counts}")
    return 0


def _shown(place: int, hit: Hit) -> str:
    """A hit as a reader of a terminal wants it, with the marked span between guillemets."""
    text = hit.chunk.text
    if hit.mark is not None and hit.mark.end > hit.mark.start:
        start, end = hit.mark.start, hit.mark.end
        text = f"{text[:start]}«{text[start:end]}»{text[end:]}"
    where = " > ".join((hit.chunk.filename, *hit.chunk.headings))
    page = f", page {hit.chunk.page}" if hit.chunk.page else ""
    return f"{place}. {hit.score:.2f}  {where}{page}  [{hit.chunk.start}:{hit.chunk.end}]\n   {' '.join(text.split())}"


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--data", type=Path, default=Path("data"), help="the data folder (default: data)")
    common.add_argument("--embedder", default="", help="a folder or a cached model id (default: the packaged MiniLM)")
    parser = argparse.ArgumentParser(prog="python -m index", description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(dest="command", required=True)
    adding = commands.add_parser("add", parents=[common], help="make files and folders searchable")
    adding.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    adding.add_argument("--store", default=DEFAULT_STORE, help="its name or id; made if it is not there")
    searching = commands.add_parser("search", parents=[common], help="find passages")
    searching.add_argument("query")
    searching.add_argument("--store", default=DEFAULT_STORE)
    searching.add_argument("-k", type=int, default=5, help="how many passages (default: 5)")
    searching.add_argument("--no-rerank", dest="rerank", action="store_false", help="without the reader")
    commands.add_parser("stats", parents=[common], help="how much there is")
    return parser


if __name__ == "__main__":
    sys.exit(main())
