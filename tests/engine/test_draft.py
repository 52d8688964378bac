"""Drafts change how long an answer takes, and nothing else."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from app.agent.mask import GrammarMask, vocabulary_of
from app.cores.grammar import Literal, Span
from app.cores.load import TINY_FOLDER, load_tokenizer
from app.engine.attention import Segment
from app.engine.cache import Slot
from app.engine.draft import LONGEST, MOST_PAUSE, PAUSE, Drafter, Speculation
from app.engine.local import LocalEngine
from app.engine.plan import Planner
from app.engine.request import Request
from app.engine.types import RequestFailed, Sampling, Token, Whose
from tests.engine.checkpoints import VOCAB
from tests.engine.client import collect, ids, numbers, request, until_idle

Start = Callable[..., LocalEngine]
ON, OFF = Speculation(8, 24, 6), 0
NEVER = 90  # an id that a bias rules out


# Proposing


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 12))
def test_a_draft_is_what_followed_the_longest_agreement(known: list[int], most: int) -> None:
    draft = Drafter().propose(known, most, 0.0)
    agreements = {
        end: next((n for n in range(end + 1) if known[end - n] != known[-1 - n]), end + 1)
        for end in range(len(known) - 1)
    }
    agreed = min(LONGEST, max(agreements.values(), default=0))
    if agreed < 2:
        assert draft == ()
        return
    place = max(end for end, length in agreements.items() if min(LONGEST, length) == agreed)
    follows = known[place + 1 :]
    assert list(draft) == (follows * most)[: min(most, agreed)]


def test_a_drafter_sees_what_is_written_meanwhile() -> None:
    drafter, known = Drafter(), [1, 2, 3, 4, 5]
    assert drafter.propose(known, 8, 0.0) == ()
    known += [9, 2, 3]
    assert drafter.propose(known, 8, 0.0) == (4, 5)
    assert drafter.propose(known, 1, 0.0) == (4,)
    assert drafter.propose(known, 0, 0.0) == ()


def test_who_is_often_wrong_rests_longer_and_longer() -> None:
    drafter, known = Drafter(), [1, 2, 1, 2]
    tries = []
    for _ in range(1200):
        if draft := drafter.propose(known, 2, 0.2):
            tries.append(len(known))
            drafter.learn(len(draft), 0)
        known += [1, 2]
    rests = [after - before for before, after in pairwise(tries) if after > before + 2]
    assert rests == sorted(rests)
    assert rests[0] in range(PAUSE, PAUSE + 4)
    assert rests[-1] in range(MOST_PAUSE, MOST_PAUSE + 4)
    drafter.learn(2, 2)
    assert drafter.propose(known, 2, 0.2)


def test_who_is_right_half_the_time_drafts_only_where_that_pays() -> None:
    drafter, known = Drafter(), [1, 2, 1, 2]
    for _ in range(8):
        drafter.learn(2, 1)
    assert drafter.propose(known, 2, ON.needed(1)) == (1, 2)
    assert drafter.propose(known, 2, ON.needed(12)) == ()
    assert drafter.propose(known, 2, ON.needed(1)) == (1, 2)


# Planning


def answering(index: int, known: Sequence[int] = (1, 2, 3) * 8, max_tokens: int = 99) -> Request:
    one = request(known, max_tokens=max_tokens)
    one.slot, one.told = Slot(index, ids=list(known[:-1]), busy=True), len(known)
    return one


@pytest.mark.parametrize(("answers", "each"), [(1, 8), (2, 8), (3, 7), (6, 3), (12, 1), (13, 0), (32, 0)])
def test_the_wider_a_step_the_shorter_its_drafts(answers: int, each: int) -> None:
    planner = Planner(256, 32, 0.05, ON)
    parts = planner.plan([answering(index) for index in range(answers)])
    assert [len(part.draft) for part in parts] == [each] * answers
    assert all(part.wanted == 1 + each for part in parts)
    assert [s.count for part in parts for s in planner.segments(part)] == [1] * (1 + each) * answers


def test_no_draft_beside_a_prompt_nor_beyond_the_end() -> None:
    planner = Planner(256, 32, 0.05, ON)
    prompt = request([1] * 99)
    prompt.slot, prompt.told = Slot(9, busy=True), 99
    assert not any(part.draft for part in planner.plan([answering(0), prompt]))
    for left in (1, 2, 5):
        (part,) = planner.plan([answering(0, max_tokens=left)])
        assert len(part.draft) == left - 1
    assert not planner.plan([answering(0, range(20))])[0].draft


def test_what_a_mask_forces_is_one_piece_before_the_draft() -> None:
    known = [*((1, 2, 3) * 8), 1, 2, 3]
    one = answering(0, known)
    assert one.slot
    del one.slot.ids[-2:]
    one.prompt, one.told = 20, len(known) - 2
    for speculation, pieces in ((ON, [3] + [1] * 8), (replace(ON, apart=False), [11])):
        planner = Planner(256, 32, 0.05, speculation)
        (part,) = planner.plan([one])
        assert [s.count for s in planner.segments(part)] == pieces
        assert (part.count, part.wanted, part.end) == (3, 3 + 8, len(known) + 8)
        assert part.undrafted() == Planner(256, 32, 0.05).plan([one])[0]


# The engine


class Onward:
    """A mask with a state that cannot go back, and that what is generated must have gone through token by token."""

    def __init__(self, allowed: Callable[[int], Sequence[int] | None]) -> None:
        self._allowed, self._seen = allowed, list[int]()

    def __call__(self, generated: Sequence[int]) -> Sequence[int] | None:
        assert list(generated[:-1]) == self._seen[: len(generated)], "back, or more than one token on"
        self._seen = list(generated)
        return self._allowed(len(generated))


def copying(passage: Sequence[int], seed: int) -> Callable[[int], Sequence[int] | None]:
    """Stretches of the passage, where another token is always allowed, between forced runs and free tokens."""

    def allowed(at: int) -> Sequence[int] | None:
        round_, place = divmod(at + seed, 23)
        if place < 14:
            return [passage[(place + 5 * round_) % len(passage)], NEVER]
        return None if place < 17 else [20 + place]

    return allowed


@dataclass(frozen=True)
class Job:
    prompt: tuple[int, ...]
    how: Sampling
    script: int | None  # the seed of a copying mask

    def sampling(self) -> Sampling:
        if self.script is None:
            return self.how
        bias = (*self.how.logit_bias, (NEVER, -1e4))
        return replace(self.how, mask=Onward(copying(self.prompt, self.script)), logit_bias=bias)


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    passage = ids(draw(st.integers(1, 30)), draw(st.integers(0, 9)))
    how = Sampling(
        max_tokens=draw(st.integers(1, 60)),
        temperature=draw(st.sampled_from([0.0, 0.0, 0.3, 1.2])),
        top_p=draw(st.sampled_from([1.0, 0.9])),
        top_k=draw(st.sampled_from([0, 5])),
        seed=draw(st.integers(0, 5)),
        stop_ids=draw(st.sampled_from([frozenset[int](), frozenset(range(0, VOCAB, 9))])),
        frequency_penalty=draw(st.sampled_from([0.0, 0.0, 0.4])),
        presence_penalty=draw(st.sampled_from([0.0, 0.0, -0.5])),
        logit_bias=draw(st.sampled_from([(), ((5, 2.0), (7, -3.0))])),
        top_logprobs=draw(st.integers(0, 3)),
    )
    return Job(tuple(passage * draw(st.integers(1, 3))), how, draw(st.one_of(st.none(), st.integers(0, 22))))


@pytest.fixture(scope="module")
def pair(start_shared: Start) -> tuple[LocalEngine, LocalEngine]:
    return tuple(start_shared(speculation=most, cache_tokens=8 * 160) for most in (None, OFF))  # type: ignore[return-value]


def bare(tokens: Sequence[Token]) -> list[Token]:
    """How much of a prompt was cached depends on who was there before."""
    return [replace(token, cached=0) for token in tokens]


@settings(deadline=None, max_examples=40)
@given(st.lists(jobs(), min_size=1, max_size=6))
def test_every_token_and_number_is_that_of_one_token_a_step(
    pair: tuple[LocalEngine, LocalEngine], together: list[Job]
) -> None:
    """Seeds, masks, penalties, bias, log-probabilities and stops, in any company, to the last bit on a CPU."""
    on, off = pair

    async def play(engine: LocalEngine) -> list[list[Token]]:
        engine.forget()  # where a prompt's reading begins decides last bits
        return list(await asyncio.gather(*(collect(engine, job.prompt, job.sampling(), str(n)) for n, job in every)))

    every = list(enumerate(together))
    assert list(map(bare, asyncio.run(play(on)))) == list(map(bare, asyncio.run(play(off))))
    for slot in on._scheduler.slots.slots:
        assert not slot.busy
    assert off.usage().drafted_tokens == 0


def test_the_drafts_of_the_test_above_were_good_and_bad(pair: tuple[LocalEngine, LocalEngine]) -> None:
    usage = pair[0].usage()
    assert 0.1 * usage.drafted_tokens < usage.accepted_tokens < usage.drafted_tokens


def scripted(script: Sequence[int], **changes: object) -> Sampling:
    """Exactly the script, though another token is always allowed: each is drawn."""
    mask = Onward(lambda at: [script[at], NEVER])
    how = Sampling(max_tokens=len(script), logit_bias=((NEVER, -1e4),), mask=mask)
    return replace(how, **changes)  # type: ignore[arg-type]


class Watch:
    """How many tokens each forward ran."""

    def __init__(self, engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[int] = []
        forward = engine._scheduler.decoder.forward

        def watched(tokens: Sequence[int], segments: Sequence[Segment], *rest: object) -> torch.Tensor:
            self.steps.append(len(tokens))
            return forward(tokens, segments, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(engine._scheduler.decoder, "forward", watched)


async def test_a_copied_passage_takes_few_steps(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = start()
    watch = Watch(engine, monkeypatch)
    passage = list(range(40))
    tokens = await collect(engine, passage, scripted(passage), "a")
    assert numbers(tokens) == passage
    assert len(watch.steps) - 3 <= 8  # three for the prompt; then drafts of 2, 5, 8, 8, 8, 3 or so
    usage = engine.usage()
    assert usage.accepted_tokens == usage.drafted_tokens >= 30
    assert usage.generated_tokens == 40


async def test_drafts_that_are_never_right_are_soon_given_up(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A beginning that always goes on otherwise."""
    engine = start()
    watch = Watch(engine, monkeypatch)
    script = [token for n in range(60) for token in (85, 86, n)]
    tokens = await collect(engine, ids(4), scripted(script))
    assert numbers(tokens) == script
    usage = engine.usage()
    assert usage.accepted_tokens == 0
    assert 0 < usage.drafted_tokens <= 20
    assert len(watch.steps) == len(script)


async def test_a_full_context_ends_a_copy(start: Start) -> None:
    engine = start(max_sequences=1, cache_tokens=2 * 50)
    tokens = await collect(engine, list(range(30)), scripted(list(range(30)), max_tokens=500))
    assert numbers(tokens) == list(range(20))
    assert tokens[-1].finish == "length"
    assert engine._scheduler.slots.slots[0].ids == [*range(30), *range(19)]


async def test_leaving_amid_drafts_frees_the_slot_and_leaves_what_was_written(start: Start) -> None:
    engine = start()
    passage = list(range(60))
    for leave in (1, 2, 4, 7, 15):
        stream = engine.generate(passage, scripted(passage * 2), whose=Whose(str(leave)))
        async with aclosing(stream):
            assert [(await anext(stream)).id for _ in range(leave)] == passage[:leave]
        await until_idle(engine)
        (slot,) = (slot for slot in engine._scheduler.slots.slots if slot.key == str(leave))
        assert slot.ids == (passage * 3)[: len(slot.ids)]
        assert len(slot.ids) <= slot.written
    usage = engine.usage()
    assert usage.cancelled == 5
    # What was cut off is not reused, and what was drafted right is.
    again = await collect(engine, passage + passage[:15] + [5], scripted(passage[:9]), "15")
    assert numbers(again) == passage[:9]
    assert again[0].cached >= 60 + 14


async def test_a_mask_that_fails_amid_a_draft_fails_alone(start: Start) -> None:
    engine = start()
    passage = list(range(40))

    def breaks(at: int) -> Sequence[int]:
        if at == 12:
            raise KeyError("our own bug")
        return [passage[at], NEVER]

    failing = Sampling(max_tokens=40, mask=Onward(breaks), logit_bias=((NEVER, -1e4),))
    failed, fine = await asyncio.gather(
        collect(engine, passage, failing, "a"), collect(engine, passage, scripted(passage), "b"), return_exceptions=True
    )
    assert isinstance(failed, RequestFailed)
    assert isinstance(fine, list)
    assert numbers(fine) == passage
    await until_idle(engine)


async def test_a_draft_that_is_too_much_is_left_out(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = start()
    forward = engine._scheduler.decoder.forward

    def runs_out(tokens: Sequence[int], segments: Sequence[Segment], *rest: object) -> torch.Tensor:
        if len(segments) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(tokens, segments, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(engine._scheduler.decoder, "forward", runs_out)
    passage = list(range(16))
    tokens = await collect(engine, passage, scripted(passage))
    assert numbers(tokens) == passage


async def test_a_wrong_draft_whose_numbers_are_none_harms_nobody(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = start(max_sequences=1)
    cache = engine._scheduler.slots.cache
    forward, wipe, wiped = engine._scheduler.decoder.forward, cache.wipe, list[tuple[int, int]]()

    def poisoned(tokens: Sequence[int], segments: Sequence[Segment], c: object, wanted: Sequence[int]) -> torch.Tensor:
        logits = forward(tokens, segments, cache, wanted)
        for row, place in enumerate(wanted):
            if tokens[place] == 50:
                logits[row] = torch.nan
        return logits

    def noted(slot: int, first: int, end: int) -> None:
        wiped.append((first, end))
        wipe(slot, first, end)

    monkeypatch.setattr(engine._scheduler.decoder, "forward", poisoned)
    monkeypatch.setattr(cache, "wipe", noted)
    prompt = [1, 2, 50, 6]
    tokens = await collect(engine, prompt, scripted([1, 2, 7, 8, 9]))
    assert numbers(tokens) == [1, 2, 7, 8, 9]
    assert wiped == [(6, 8)]  # the places of the 50 and the 6 that were drafted after 1 and 2
    with pytest.raises(RequestFailed, match="not finite"):
        await collect(engine, prompt, scripted([1, 2, 50, 6]))


async def test_a_draft_whose_keys_are_none_is_run_again_without(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows before a draft see its keys hidden, and what is not a number shows through."""
    engine = start(max_sequences=1)
    cache, decoder = engine._scheduler.slots.cache, engine._scheduler.decoder
    forward, embed, drafted = decoder.forward, decoder.weights.embed, list[int]()

    def overflows(tokens: Sequence[int], segments: Sequence[Segment], *rest: object) -> torch.Tensor:
        kept = embed[50].clone()
        if len(segments) > 1:
            drafted.append(len(segments))
            embed[50] = torch.nan
        try:
            return forward(tokens, segments, *rest)  # type: ignore[arg-type]
        finally:
            embed[50] = kept

    monkeypatch.setattr(decoder, "forward", overflows)
    tokens = await collect(engine, [1, 2, 50, 6], scripted([1, 2, 7, 8, 9]))
    assert numbers(tokens) == [1, 2, 7, 8, 9]
    assert drafted and torch.isfinite(cache.data).all()
    assert engine.usage().accepted_tokens == 0


# The embedded core


@pytest.fixture(scope="module")
def cores(start_shared: Start) -> tuple[LocalEngine, LocalEngine]:
    given = {"folder": TINY_FOLDER, "cache_tokens": 8 * 400}
    return tuple(start_shared(**given, speculation=most) for most in (None, OFF))  # type: ignore[return-value]


PASSAGE = "The river Sorne rises in the hills of Tavel, runs for 212 kilometres and joins the sea at Port Asker."


@pytest.mark.parametrize("temperature", [0.0, 0.8])
async def test_the_embedded_core_quotes_the_same(cores: tuple[LocalEngine, LocalEngine], temperature: float) -> None:
    tokenizer = load_tokenizer(TINY_FOLDER)
    vocabulary = vocabulary_of(tokenizer)
    prompt = tokenizer.encode(f"{PASSAGE}\n\n{PASSAGE}\n\nHow long is the Sorne?", add_special_tokens=False)
    grammar = ((Literal("The answer is"), Span(PASSAGE, spaced=True), Literal(" [1].")),)

    async def quotes(engine: LocalEngine) -> list[list[Token]]:
        how = [Sampling(max_tokens=60, temperature=temperature, seed=seed, top_logprobs=2) for seed in range(6)]
        ends = frozenset({vocabulary.end})
        masked = [replace(one, mask=GrammarMask(grammar, vocabulary), stop_ids=ends) for one in how[:3]]
        asked = [*masked, *how[3:]]
        return [bare(t) for t in await asyncio.gather(*(collect(engine, prompt, one) for one in asked))]

    on, off = cores
    assert await quotes(on) == await quotes(off)
    assert on.usage().accepted_tokens > 0
