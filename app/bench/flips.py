"""One flipped bit in any file of a memory: noticed and mended, or refused with the remedy, never a wrong answer.

    cogcore bench flips [--each 40] [--seed 0]

A memory with both kinds of snapshots is made, and searched. Then, again and again, a copy of it gets one flipped bit in
one of its files, is opened, and searched likewise, also after the background work. Each passage must be the best for
its own words, and whatever is found must be what was written, or a MemoryFault must say what is to be done.
"""

import logging
import random
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from tqdm import tqdm

from app.bench import campaign
from app.bench.hashed import Hashed
from index import keeper
from index.dense import Tiers
from index.errors import MemoryFault
from index.memory import DEFAULT_STORE, Memory
from index.types import Chunking

TIERS = Tiers("IVF2,RaBitQfs", 80)
DOCUMENTS, PASSAGES, STEP = 20, 12, 7  # one of so many passages is asked for
SAME, MENDED, REFUSED, WRONG = "the same", "the same, after a warning", "refused", "WRONG"


def passage(n: int) -> str:
    dice = random.Random(n)
    return f"quux{n} " + " ".join(f"word{dice.randrange(300)}" for _ in range(20)) + "."


def made(folder: Path) -> None:
    with closing(opened(folder)) as memory:
        for n in range(DOCUMENTS):
            text = "\n\n".join(passage(n * PASSAGES + at) for at in range(PASSAGES))
            file = memory.add_file(f"{n}.md", text.encode())
            memory.attach(DEFAULT_STORE, file.id, {}, Chunking(32))
            memory.wait(DEFAULT_STORE, file.id)
        memory._keeper.keep()


def opened(folder: Path) -> Memory:
    return Memory(folder, Hashed(), tiers=TIERS)


def is_right(memory: Memory) -> bool:
    true = {passage(n) for n in range(DOCUMENTS * PASSAGES)}
    for n in range(0, DOCUMENTS * PASSAGES, STEP):
        found = [hit.chunk.text for hit in memory.search(DEFAULT_STORE, passage(n), 5)]
        if found[:1] != [passage(n)] or not true.issuperset(found):
            return False
    return True


def outcome(folder: Path, heard: list[str]) -> str:
    heard.clear()
    try:
        with closing(opened(folder)) as memory:
            same = is_right(memory)
            memory._keeper.keep()
            same = same and is_right(memory)
            for document in memory.store_files(DEFAULT_STORE, 100).data:
                memory.content(document.id)
    except MemoryFault:
        return REFUSED
    except Exception as error:
        return f"{WRONG}: {type(error).__name__}"
    return WRONG if not same else MENDED if heard else SAME


def files(folder: Path) -> Iterator[Path]:
    """Those that hold data."""
    yield from (
        path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size and path.name != "lock"
    )


class _Heard(logging.Handler):
    """The warnings of the memory."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines = list[str]()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def kind(name: str) -> str:
    """Of the many originals and words one is like the other."""
    return name.split("/")[0] if name.startswith("originals") else name if "/" not in name else name.rpartition("/")[0]


def flip(folder: Path, each: int, seed: int) -> dict[str, Counter[str]]:
    """What became of so many flips in each kind of file."""
    source, copy = folder / "source", folder / "copy"
    made(source)
    dice, ended, heard = random.Random(seed), defaultdict[str, Counter[str]](Counter), _Heard()
    logging.getLogger("index").addHandler(heard)
    by_kind = defaultdict[str, list[str]](list)
    for path in files(source):
        name = path.relative_to(source).as_posix()
        by_kind[kind(name)].append(name)
    for what, names in by_kind.items():
        for _ in tqdm(range(each), what, mininterval=10):
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(source, copy)
            path = copy / dice.choice(names)
            content = bytearray(path.read_bytes())
            content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
            path.write_bytes(content)
            ended[what][outcome(copy, heard.lines)] += 1
    logging.getLogger("index").removeHandler(heard)
    return ended


def main(arguments: Sequence[str]) -> None:
    parser = campaign.parser("flips", __doc__)
    parser.add_argument("--each", type=int, default=40, help="flips in each kind of file (40)")
    given = parser.parse_args(arguments)
    keeper.LEAST = 1  # so that small stores have snapshots
    logging.getLogger("index").propagate = False
    with tempfile.TemporaryDirectory() as folder:
        ended = flip(Path(folder), given.each, given.seed)
    wrong = list[str]()
    for what, counts in ended.items():
        told = ", ".join(f"{count} {how}" for how, count in counts.most_common())
        print(f"{what:<24}{told}")
        wrong += [f"{what}: {how}" for how in counts.elements() if how.startswith(WRONG)]
    campaign.end(wrong)
