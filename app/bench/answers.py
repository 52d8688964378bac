"""Row 6: whole answers a second over HTTP, clean, beside hostile requests, and against a search loop in the client.

An answer is a turn: the core decides, searches the memory, reads, cites. Hostile requests come beside the clients', not
in their place, and each is checked to be refused. Every answer of a run is compared with the same question's in the
first clean one.

The peer (--peer) is any server with OpenAI's /v1/completions. Its client does the turn: the prompt is continued by a
call, the same memory is searched over HTTP, what it gives is appended, and the answer is written. Its prompts are as
long, and it is asked for as many tokens, as ours had in the median; where a server ends sooner, its answers count all
the same. The embedded core, from an environment with transformers[serving] and accelerate:

    transformers serve app/cores/tiny --continuous-batching --device cpu --port 8001 --cb-num-blocks 256
    cogcore bench serve --rows 6 --peer http://localhost:8001 --peer-model app/cores/tiny \\
        --peer-body '{"generation_config": "{\\"eos_token_id\\": -1}"}'
"""

import argparse
import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from statistics import median
from typing import Any, TypeVar

import httpx

from app.bench.child import serving
from app.bench.compare import AGREE, Budget, Disagree, Ratio
from app.bench.visits import COMPLETIONS, Answer, Busy, Fault, ask, client, misbehave, questions
from app.cores.load import TINY_FOLDER, load_tokenizer

CLEAN = 19  # for each hostile request
T = TypeVar("T")
Told = dict[str, str]
"""What was answered to each question."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--url", help="row 6: a Cogcore server over the sample that runs already; else one is started")
    add("--clients", type=int, default=16, help="row 6 (16)")
    add("--answers", type=int, default=64, help="row 6: in each repetition (64)")
    add("--peer", metavar="URL", help="row 6: a server with /v1/completions; see app/bench/answers.py")
    add("--peer-model", metavar="NAME", help="its model; else the first that it lists")
    add("--peer-body", type=json.loads, default={}, metavar="JSON", help="more fields for it, as to go on at its ends")


def rows(given: argparse.Namespace, budget: Budget) -> list[Ratio]:
    settings = {"device": given.device, "max_sequences": given.clients}
    with serving(given.url, **settings) as url:
        return asyncio.run(_measure(url, given, budget))


async def _measure(url: str, given: argparse.Namespace, budget: Budget) -> list[Ratio]:
    clean, hostile, theirs = list[float](), list[float](), list[float]()
    told, same = Told(), Counter[bool]()
    async with client(url) as server, client(given.peer or url) as other:
        loop = None
        if given.peer:  # before minutes are spent on our side
            model = given.peer_model or (await _json(other, "GET", "/v1/models"))["data"][0]["id"]
            body = {"model": model, **given.peer_body}
            await _json(other, "POST", COMPLETIONS, json={**body, "prompt": "Hello", "max_tokens": 1})
        for run, counts in budget.runs():
            asked = _drawn(given.answers, run)
            rate, answers = await _rate(lambda question: ask(server, question), asked, given.clients)
            for question, answer in zip(asked, answers, strict=True):
                told.setdefault(question, answer.text)
            disturbed = _Disturbed(server, asked, random.Random(run))
            beside, others = await _rate(disturbed.ask, asked, given.clients)
            await disturbed.ended()
            same.update(told[question] == answer.text for question, answer in zip(asked, others, strict=True))
            if given.peer:
                loop = loop or PeerLoop.like(answers, server, other, body)
                peer_rate, lengths = await _rate(loop.answer, asked, given.clients)
            if counts:
                clean.append(rate)
                hostile.append(beside)
                theirs += [peer_rate] if given.peer else []
    agreeing = same[True] / same.total()
    if agreeing < AGREE:
        raise Disagree(f"only {100 * agreeing:.0f} % of the answers beside hostile requests are those of clean runs")
    print(_about("ours", [sum(n for _, n in one.rounds) for one in answers], answers))
    what = f"answers/s, {given.clients} clients"
    core = "tiny" if given.url is None else "served"
    lines = [Ratio(6, core, f"{what}, 5 % hostile over clean", ">= 0.95", hostile, clean, agreeing)]
    if given.peer:
        print(_about("the peer's", lengths))
        lines.append(Ratio(6, core, f"{what}, against the peer's loop", ">= 2", clean, theirs, None))
    return lines


def _drawn(count: int, run: int) -> list[str]:
    """Questions in a new order, all of them before any comes again."""
    chance, drawn = random.Random(run), list[str]()
    while len(drawn) < count:
        pool = questions()
        drawn += chance.sample(pool, min(len(pool), count - len(drawn)))
    return drawn


def _about(whose: str, tokens: Sequence[int], answers: Sequence[Answer] = ()) -> str:
    said = f"    an answer of {whose}: {median(tokens):.0f} tokens in the median"
    if answers:
        said += f"; {sum(one.searched > 0 for one in answers)} of {len(answers)} searched, "
        said += f"{sum(one.cited > 0 for one in answers)} cited"
    return said


async def _rate(answer: Callable[[str], Awaitable[T]], asked: Sequence[str], clients: int) -> tuple[float, list[T]]:
    """Answers per second of so many clients, each asking when it was answered; and the answers in order."""
    answers: dict[int, T] = {}
    left = iter(enumerate(asked))

    async def visit() -> None:
        for number, question in left:
            answers[number] = await answer(question)

    began = time.perf_counter()
    await asyncio.gather(*(visit() for _ in range(clients)))
    return len(asked) / (time.perf_counter() - began), [answers[number] for number in range(len(asked))]


class _Disturbed:
    """Asks as the clean clients do, while strangers come beside them: with the first, and after each CLEAN."""

    def __init__(self, server: httpx.AsyncClient, asked: Sequence[str], chance: random.Random) -> None:
        self._server, self._asked, self._chance = server, asked, chance
        self._strangers: list[asyncio.Task[None]] = []
        self._clean = 0

    async def ask(self, question: str) -> Answer:
        self._clean += 1
        if self._clean % CLEAN == 1:
            visit = misbehave(self._server, self._chance.choice(self._asked), self._chance)
            self._strangers.append(asyncio.create_task(visit))
        return await ask(self._server, question)

    async def ended(self) -> None:
        """Raises Fault where a stranger was not treated as it should be."""
        for outcome in await asyncio.gather(*self._strangers, return_exceptions=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, Busy):
                raise outcome


class PeerLoop:
    """A turn at the client of a server that only completes prompts. Lengths are in the embedded core's tokens."""

    def __init__(
        self,
        memory: httpx.AsyncClient,
        peer: httpx.AsyncClient,
        body: dict[str, Any],
        lengths: tuple[tuple[int, int], tuple[int, int]],
    ) -> None:
        self._memory, self._peer, self._body, self._lengths = memory, peer, body, lengths
        self._tokenizer = load_tokenizer(TINY_FOLDER)

    @classmethod
    def like(
        cls, answers: Sequence[Answer], memory: httpx.AsyncClient, peer: httpx.AsyncClient, body: dict[str, Any]
    ) -> "PeerLoop":
        """One whose prompts and texts are as long as those of these answers that searched."""
        searched = [one.rounds for one in answers if len(one.rounds) > 1]
        if not searched:
            raise Disagree("no answer of ours has searched: there is nothing to compare a loop with")
        call = _middle([rounds[0] for rounds in searched])
        rest = _middle([(rounds[-1][0], sum(n for _, n in rounds[1:])) for rounds in searched])
        return cls(memory, peer, body, (call, rest))

    async def answer(self, question: str) -> int:
        """How many tokens it wrote in all."""
        (first, call), (second, rest) = self._lengths
        prompt = self._padded(f"Question: {question}\nTo be searched for:", first)
        said, written = await self._complete(prompt, call)
        query = {"query": question, "max_num_results": 5}
        found = await _json(self._memory, "POST", "/v1/vector_stores/default/search", json=query)
        texts = [part["text"] for hit in found["data"] for part in hit["content"]]
        prompt = self._cut(prompt + said + "\n\n" + "\n\n".join(texts), second)
        _, more = await self._complete(prompt, rest)
        return written + more

    async def _complete(self, prompt: str, count: int) -> tuple[str, int]:
        told = await _json(self._peer, "POST", COMPLETIONS, json={**self._body, "prompt": prompt, "max_tokens": count})
        return told["choices"][0]["text"], told["usage"]["completion_tokens"]

    def _padded(self, prompt: str, length: int) -> str:
        """As long as a system prompt and tools would make it."""
        missing = length - len(self._ids(prompt))
        return self._cut("Look things up before you answer. " * max(0, missing), max(0, missing)) + prompt

    def _cut(self, text: str, length: int) -> str:
        return str(self._tokenizer.decode(self._ids(text)[:length]))

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))


def _middle(rounds: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Median prompt and text; something must be written."""
    prompts, texts = zip(*rounds, strict=True)
    return int(median(prompts)), max(1, int(median(texts)))


async def _json(server: httpx.AsyncClient, method: str, path: str, **given: Any) -> dict[str, Any]:
    response = await server.request(method, path, **given)
    if not response.is_success:
        raise Fault(f"{server.base_url}{path} answered {response.status_code}: {response.text[:300]}")
    told: dict[str, Any] = response.json()
    return told
