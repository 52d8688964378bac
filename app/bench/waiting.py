"""Rows 3 and 5: how long one waits for the first token after a memory call, and for the next while others arrive.

Row 3. A turn's first round reads a prompt and writes a call; the memory's passages are appended, and the second round
is timed to its first token, against the same prompt read cold. Then with the cache at half the working set: twice as
many conversations as there are slots have been begun, and of these some at random come back, as many at once as the
engine runs. All of them run their first round, then each its second: between the two the others have pressed on the
cache. What a conversation lost while it was idle it reads again in its first round, which is not timed.

Row 5. Some streams write, and long prompts arrive, the next when the one before has its first token. Counted are the
gaps between the tokens of the streams from the first arrival to the last one's first token.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from statistics import fmean

from app.bench.compare import Budget, Load, Ratio, agreed, gaps, percentile
from app.bench.peers import Text, Writer, batching, ours, roomy, texts
from app.engine.load import load_engine
from app.engine.local import LocalEngine

CALL = 8  # tokens of a call to the memory
KEEP = 60.0  # seconds that a conversation's KV is kept for its next round, as a turn asks for
AT_ONCE = 4
STREAMS, ARRIVALS = 8, 3
LATER = 60.0  # seconds that may be spent on an arrival before something is wrong
POLL = 0.002
MS = 1000


async def after_call(load: Load, budget: Budget) -> list[Ratio]:
    large, tight = (_engine(load, sequences) for sequences in (2, AT_ONCE))
    calls, halves, colds, same = list[float](), list[float](), list[float](), 1.0
    chosen = random.Random(0)
    begun = load.drawn(4 * AT_ONCE, load.cached - CALL, "begun")  # a cache has two slots for each that runs
    try:
        for prompt in begun:
            await texts(ours(tight, KEEP), [prompt], CALL)
        for run, counts in budget.runs():
            (prompt,) = load.drawn(1, load.cached - CALL, run)
            (round_two,) = await _first_rounds(large, load, [prompt], run)
            seconds, text = await _answered(ours(large), round_two)
            cold, alike = await _answered(ours(large, key=f"nobody else's {run}"), round_two)
            same = min(same, agreed([text], [alike], load.device == "cpu"))
            back = await _first_rounds(tight, load, chosen.sample(begun, AT_ONCE), run)
            pressed = [(await _answered(ours(tight), prompt))[0] for prompt in back]
            if counts:
                calls.append(seconds)
                colds.append(cold)
                halves.append(fmean(pressed))
    finally:
        await asyncio.gather(large.close(), tight.close())
    what = f"ms to first token after a call, {load.cached} + {load.long - load.cached}, over cold"
    return [
        Ratio(3, load.core, what, "<= 0.35", calls, colds, same),
        Ratio(3, load.core, f"{what}, half cached", "<= 0.5", halves, colds, None),
    ]


async def _first_rounds(engine: LocalEngine, load: Load, prompts: Sequence[list[int]], run: int) -> list[list[int]]:
    """Runs them side by side; the prompts of their second rounds, with passages that nobody has seen."""
    called = await texts(ours(engine, KEEP), prompts, CALL)
    passages = load.drawn(len(prompts), load.long - load.cached, f"passages {run}")
    return [
        [*prompt, *(token for token, _ in text), *found]
        for prompt, text, found in zip(prompts, called, passages, strict=True)
    ]


async def _answered(write: Writer, prompt: list[int]) -> tuple[float, Text]:
    """Milliseconds to the first token, and this token."""
    began = time.perf_counter()
    (text,) = await texts(write, [prompt], 1)
    return MS * (text[0][1] - began), text


async def between(load: Load, budget: Budget) -> list[Ratio]:
    engine = _engine(load, STREAMS + 1)
    config = roomy(STREAMS + ARRIVALS, load.long, page=256)
    running = load.drawn(STREAMS, load.context, "running")
    mine, theirs, same = list[float](), list[float](), 1.0
    try:
        with batching(load.folder, load.device, config, load.theirs, streamed=True) as batched:
            for run, counts in budget.runs():
                arriving = load.drawn(ARRIVALS, load.long, f"arriving {run}")
                slow, written = await _pressed(ours(engine), running, arriving, load)
                other, alike = await _pressed(batched, running, arriving, load)
                same = min(same, agreed(written, alike, load.exact))
                if counts:
                    mine.append(slow)
                    theirs.append(other)
    finally:
        await engine.close()
    what = f"ms, p99 gap of {STREAMS} streams while prompts of {load.long} come"
    return [Ratio(5, load.core, what, "<= 0.3", mine, theirs, same)]


async def _pressed(
    write: Writer, running: Sequence[list[int]], arriving: Sequence[list[int]], load: Load
) -> tuple[float, list[Text]]:
    """The streams' 99th percentile of gaps in milliseconds, and what they wrote."""
    written: list[Text] = [[] for _ in running]
    most = load.long - load.context

    async def follow(prompt: list[int], text: Text) -> None:
        async with aclosing(write(prompt, most)) as stream:
            async for stamped in stream:
                text.append(stamped)

    following = [asyncio.create_task(follow(*pair)) for pair in zip(running, written, strict=True)]

    async def until(reached: Callable[[Text], bool]) -> None:
        async with asyncio.timeout(LATER * ARRIVALS):
            while True:
                if all(task.done() or reached(text) for task, text in zip(following, written, strict=True)):
                    return
                await asyncio.sleep(POLL)

    try:
        await until(lambda text: len(text) > 1)
        began = time.perf_counter()
        for prompt in arriving:
            async with aclosing(write(prompt, 1)) as stream:
                await anext(stream)
        ended = time.perf_counter()
        await until(lambda text: text[-1][1] >= ended)
    finally:
        for task in following:
            task.cancel()
        outcomes = await asyncio.gather(*following, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
    return MS * percentile(gaps(written, began, ended), 0.99), written


def _engine(load: Load, sequences: int) -> LocalEngine:
    return load_engine(
        load.folder,
        load.device,
        dtype=load.dtype,
        max_sequences=sequences,
        cache_tokens=2 * sequences * (load.long + 1),
        threads=load.threads,
        speculation=0,
    )
