"""Rejection sampling: turns that the core plays itself, as the server would, and of these what came out right.

Questions are those of app.train.traces, over its stores. Each is played several times at a temperature; a turn is kept
if its answer is right and its quote bears it out, or if it rightly abstains, and of several the one with the fewest
searches in which the core was surest. Questions that always come out right are mostly left out: they teach nothing.
One JSON line each: {question, ids, weights}, a row as it was played; the questions left out stand in a file beside
(app.train.kept).
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from app.agent import confidence
from app.agent.events import Calculated, Cited, Done, Event, Searched
from app.agent.loop import Policy, Turn, answer
from app.agent.tools import calculate
from app.cores import grammar
from app.cores.load import Core
from app.engine.types import ANYBODY, Engine, Sampling, Scored, Token, Whose
from app.eval import metrics
from app.train import chains
from app.train.kept import Kept
from app.train.organisations import organisation
from app.train.reckonings import page
from app.train.rows import CHOICE, LITERAL, Row
from app.train.sources import Sources
from app.train.traces import PAGES
from index.memory import Memory

TEMPERATURE = 0.8
THRESHOLDS = (0.0, 0.0, 0.3, 0.3)
"""Below which each playing abstains: a question that the core wrongly gives up is also played without giving up."""
EASY = 0.15  # of the questions that came out right every time
ALWAYS, NEVER = "it came out right every time", "it never came out right"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, the store that it is put to, and what answers it; nothing where the store does not."""

    store: str
    question: str
    answers: tuple[str, ...]


def of_squad(sources: Sources, articles: int, count: int) -> list[Asked]:
    """The first of those of app.train.traces.Traces.squad."""
    asked = sources.about(sources.among(articles))[:count]
    return [Asked("squad", q.question, (sources.paragraphs[q.paragraph][q.start : q.end],)) for q in asked]


def invented(organisations: int, worlds: int, each: int) -> Iterator[Asked]:
    """Some of what each invented store of app.train.traces can be asked."""
    for n in range(organisations):
        rng = Random(f"organisation {n}")
        for one in rng.sample(organisation(rng).asked, each):
            yield Asked(f"organisation {n}", one.question, (one.value,) if one.evidence else ())
    for n in range(worlds):
        rng = Random(f"chains {n}")
        for told in rng.sample(chains.world(rng).asked, each):
            known = told.fact if told.around is None or told.link else None
            yield Asked(f"chains {n}", told.question, (known.value,) if known else ())
        rng = Random(f"reckonings {n}")
        for sum_ in rng.sample([one for made in [page(rng) for _ in range(PAGES)] for one in made.asked], each):
            result = calculate(sum_.expression) if sum_.expression else (sum_.sentence or "")[slice(*sum_.span)]
            yield Asked(f"reckonings {n}", sum_.question, (result,) if sum_.sentence else ())


class Recorder:
    """An engine that keeps the ids of what it generated last."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.vocab_size, self.context_length, self.masks = engine.vocab_size, engine.context_length, engine.masks
        self.ids: list[int] = []

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling, *, whose: Whose = ANYBODY
    ) -> AsyncGenerator[Token]:
        self.ids = list(prompt)
        async with aclosing(self._engine.generate(prompt, sampling, whose=whose)) as tokens:
            async for token in tokens:
                self.ids.append(token.id)
                yield token

    async def score(
        self, prompt: Sequence[int], continuation: Sequence[int], *, instead: Sequence[int] = (), whose: Whose = ANYBODY
    ) -> Scored:
        return await self._engine.score(prompt, continuation, instead=instead, whose=whose)

    def forget(self, key: str | None = None) -> None:
        self._engine.forget(key)

    async def close(self) -> None:
        """The engine is another's."""


@dataclass(frozen=True, slots=True)
class Played:
    """One playing of a question."""

    ids: list[int]
    right: bool
    searches: int
    confidence: float


async def play(core: Core, memory: Memory, asked: Asked) -> list[Played]:
    """The question, once for each of THRESHOLDS."""
    store = memory.store(asked.store).id
    return await asyncio.gather(*(_once(core, memory, asked, store, n) for n in range(len(THRESHOLDS))))


async def _once(core: Core, memory: Memory, asked: Asked, store: str, number: int) -> Played:
    recorder = Recorder(core.engine)
    turn = Turn(
        [{"role": "user", "content": asked.question}],
        stores=[store],
        policy=Policy(abstain_below=THRESHOLDS[number]),
        sampling=Sampling(temperature=TEMPERATURE, seed=number),
    )
    async with aclosing(answer(turn, replace(core, engine=recorder), memory)) as stream:
        *events, end = [event async for event in stream]
    if not isinstance(end, Done):
        raise RuntimeError("a turn without an end")
    searches = sum(isinstance(event, Searched) for event in events)
    return Played(recorder.ids, searches > 0 and right(asked, events, end), searches, end.confidence)


def right(asked: Asked, events: Sequence[Event], end: Done) -> bool:
    """Whether the turn answers rightly and quotes what bears it out, or abstains where nothing answers."""
    if end.finish_reason != "stop":
        return False
    if not asked.answers or end.answer is None:
        return end.abstained and not asked.answers
    quotes = [event.quote for event in events if isinstance(event, Cited)]
    summed = any(isinstance(event, Calculated) for event in events)
    if summed:
        return bool(quotes) and metrics.same_number(end.answer, asked.answers)
    return metrics.exact(end.answer, asked.answers) and any(metrics.contains(q, asked.answers) for q in quotes)


def sample(core: Core, memory: Memory, asked: Sequence[Asked], out: Path, easy: float = EASY) -> None:
    """Append what is kept of each question to the file. What was played before is not played again."""
    kept = Kept(out)
    with asyncio.Runner() as runner:
        for one in tqdm(asked, out.name, mininterval=10):
            if one.question in kept.known:
                continue
            played = runner.run(play(core, memory, one))
            good = [turn for turn in played if turn.right]
            if not good:
                kept.add(one.question, [], [NEVER])
            elif len(good) == len(played) and Random(one.question).random() >= easy:
                kept.add(one.question, [], [ALWAYS])
            else:
                best = min(good, key=lambda turn: (turn.searches, -turn.confidence))
                row = written(core.tokenizer, best.ids)
                kept.add(one.question, [{"question": one.question, "ids": row.ids, "weights": row.weights}])
    for why, count in kept.reasons().items():
        print(f"{out.name}: {count} questions left out: {why}")


def written(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> Row:
    """The row of a turn: what the core wrote counts, and most of all its verdicts and the passages they name."""
    row, ends = Row(list(ids), [0.0] * len(ids)), int(tokenizer.eos_token_id)
    begin = tokenizer.encode("<|im_start|>assistant\n", add_special_tokens=False)
    fork = len(confidence.opening(tokenizer, grammar.ABSENT)) - 1
    bracket = {n for text in ("[", " [") for n in tokenizer.encode(text, add_special_tokens=False)}
    starts = [n + len(begin) for n in range(len(ids)) if list(ids[n : n + len(begin)]) == begin]
    for nth, start in enumerate(starts):
        end = row.ids.index(ends, start)
        row.weights[start : end + 1] = [LITERAL] * (end + 1 - start)
        if nth:
            named = next(
                (n + 1 for n in range(start + fork, min(start + fork + 4, end)) if row.ids[n] in bracket), None
            )
            for at in filter(None, (start + fork, named)):
                row.weights[at] = CHOICE
    return row
