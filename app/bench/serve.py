"""How fast tokens and whole answers come, as ratios to transformers on the same weights, prompts and threads.

    cogcore bench serve [--rows 1 2 3 4 5 6] [--core tiny random] [--peer URL]

Rows as in the project's table: 1 many streams, 2 one stream, 3 the first token after a call to the memory, 4 drafts
over none where answers quote (`cogcore bench speculation` tells more), 5 the gaps between tokens while long prompts
arrive, 6 whole answers over HTTP. In each repetition the sides take turns, after one run to warm up; the ratio is the
median of the repetitions' own ratios, its spread the least and the greatest. Greedy, without drafts but in row 4, and
both sides must have written the same, where ours runs in full precision.

All rows are meant to take 20 minutes on two idle CPU cores, and --minutes holds them to it: for each core about 2.5 for
row 1, half a minute for row 2, 1 for row 3, 2.5 for row 4, 1.5 for row 5, and 4 for row 6. What one row leaves is the
next one's. What the time does not allow is left out, so look at `runs`; a repetition that has begun is finished.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import accumulate

import httpx
from transformers.utils.logging import disable_progress_bar

from app.bench import answers
from app.bench.child import NoServer
from app.bench.compare import HEAD, Budget, Disagree, Load, Ratio
from app.bench.cores import SHAPES, folder_of
from app.bench.decoding import many, one
from app.bench.peers import set_threads
from app.bench.speculation import rows as copied
from app.bench.visits import Busy, Fault
from app.bench.waiting import after_call, between
from app.engine.device import pick
from app.engine.load import DTYPES
from app.engine.types import EngineError

Row = Callable[[Load, Budget], Awaitable[list[Ratio]]]
ROWS: dict[int, tuple[Row, float]] = {
    1: (many, 2.5),
    2: (one, 0.5),
    3: (after_call, 1.0),
    4: (copied, 2.5),
    5: (between, 1.5),
}
"""What measures a row, and its share of the time."""
ANSWERS, ANSWERS_SHARE = 6, 4.0


def main(arguments: Sequence[str]) -> None:
    given = _parser().parse_args(arguments)
    try:
        _table(given)
    except (Disagree, EngineError, Fault, Busy, NoServer, httpx.HTTPError) as error:
        sys.exit(f"cogcore bench serve: {type(error).__name__}: {error}")


def _table(given: argparse.Namespace) -> None:
    disable_progress_bar()
    device = pick(given.device)
    set_threads(given.threads)
    print(f"{device}, {given.threads} threads; rates and seconds as they were, ratios ours / theirs")
    print(HEAD)
    wanted = [(row, core) for core in given.core for row in given.rows if row in ROWS]
    shares = [ROWS[row][1] for row, _ in wanted] + [ANSWERS_SHARE] * (ANSWERS in given.rows)
    ends = iter([time.monotonic() + 60 * given.minutes * done / sum(shares) for done in accumulate(shares)])
    for core in given.core:
        with folder_of(core) as folder:
            name = core if core in ("tiny", *SHAPES) else folder.name
            sizes = {field: getattr(given, field) for field in ("streams", "context", "tokens", "prompt", "cached")}
            load = Load(name, folder, device, given.threads, given.dtype, given.peer_dtype, **sizes)
            for row in (row for row, of in wanted if of == core):
                _print(asyncio.run(_lines(row, load, Budget(given.repeats, next(ends)))))
    if ANSWERS in given.rows:
        _print(answers.rows(given, Budget(given.repeats, next(ends))))


async def _lines(row: int, load: Load, budget: Budget) -> list[Ratio]:
    return await ROWS[row][0](load, budget)


def _print(ratios: Sequence[Ratio]) -> None:
    for ratio in ratios:
        print(ratio.line(), flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "cogcore bench serve", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--rows", type=int, nargs="+", choices=(*ROWS, ANSWERS), default=[*ROWS, ANSWERS], help="which of the table")
    add(
        "--core",
        nargs="+",
        default=["tiny", "random"],
        help="`tiny`, `random` (27M), `large` (1.7B) or a folder; rows 1-5",
    )
    add("--device", default="auto", help="auto, cpu or cuda")
    add("--dtype", choices=("auto", *DTYPES), default="auto", help="of our engine; rows 1, 2, 3, 5")
    add("--peer-dtype", choices=("auto", *DTYPES), default="auto", help="the same; auto is float32 on a CPU")
    add("--threads", type=int, default=os.cpu_count(), help="of either side; in row 6 our server has its own")
    add("--repeats", type=int, default=5)
    add("--minutes", type=float, default=20, help="after which no further repetition begins (20)")
    add("--streams", type=int, default=32, help="rows 1, 4 (32)")
    add("--context", type=int, default=600, help="tokens before what a stream writes; rows 1, 2, 5 (600)")
    add("--tokens", type=int, default=32, help="that a stream of row 1 writes (32)")
    add("--prompt", type=int, default=2048, help="tokens of a long prompt, as far as the core goes; rows 3, 5 (2048)")
    add("--cached", type=int, default=1536, help="of these known before a call to the memory; row 3 (1536)")
    answers.add_arguments(parser)
    return parser
