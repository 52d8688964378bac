"""The engine as its callers meet it: streams, company, reuse, limits, cancellation."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel

from app.engine.attention import Segment
from app.engine.local import LocalEngine
from app.engine.types import (
    EngineBusy,
    InvalidPrompt,
    InvalidSampling,
    PromptTooLong,
    Sampling,
    Whose,
)
from tests.engine.checkpoints import FAMILIES, VOCAB
from tests.engine.client import Gate, collect, greedy, ids, numbers, until_idle
from tests.engine.conftest import Checkpoint

Start = Callable[..., LocalEngine]


def log_probabilities(model: PreTrainedModel, tokens: list[int]) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(torch.tensor([tokens])).logits[0]
    return logits.log_softmax(-1)


async def test_greedy_is_the_references_in_any_company(start: Start, reference: PreTrainedModel) -> None:
    engine = start()
    prompts = [ids(count, seed) for seed, count in enumerate([40, 3, 1, 70, 17, 25, 33])]
    want = [greedy(reference, prompt, 20) for prompt in prompts]
    together = await asyncio.gather(*(collect(engine, prompt, Sampling(max_tokens=20)) for prompt in prompts))
    assert [numbers(tokens) for tokens in together] == want
    fresh = start()
    assert [numbers(await collect(fresh, prompt, Sampling(max_tokens=20))) for prompt in prompts] == want


async def test_logprobs_are_the_models_own(engine: LocalEngine, reference: PreTrainedModel) -> None:
    prompt = ids(12, 50)
    changed = Sampling(max_tokens=8, temperature=1.5, seed=3, top_k=9, logit_bias=((5, 2.0),), top_logprobs=4)
    tokens = await collect(engine, prompt, changed, key="logprobs")
    want = log_probabilities(reference, prompt + numbers(tokens))
    for place, token in enumerate(tokens, start=len(prompt) - 1):
        assert token.logprob == pytest.approx(want[place, token.id].item(), abs=1e-4)
        values, best = want[place].topk(4)
        assert [id_ for id_, _ in token.top] == best.tolist()
        assert [score for _, score in token.top] == pytest.approx(values.tolist(), abs=1e-4)


async def test_a_seed_gives_the_same_tokens_in_any_company(start: Start) -> None:
    sampling = [Sampling(max_tokens=25, temperature=1.2, top_p=0.95, seed=seed) for seed in range(4)]
    prompts = [ids(20, 60 + seed) for seed in range(4)]
    one, other = start(), start()
    together = await asyncio.gather(*(collect(one, p, s) for p, s in zip(prompts, sampling, strict=True)))
    for prompt, how, tokens in zip(prompts, sampling, together, strict=True):
        assert numbers(await collect(other, prompt, how)) == numbers(tokens)
    assert len({tuple(numbers(tokens)) for tokens in together}) == 4


async def test_finish(engine: LocalEngine, reference: PreTrainedModel) -> None:
    prompt = ids(10, 70)
    want = greedy(reference, prompt, 12)
    stop = want[5]
    tokens = await collect(engine, prompt, Sampling(max_tokens=12, stop_ids=frozenset({stop})))
    assert numbers(tokens) == want[: want.index(stop) + 1]
    assert [token.finish for token in tokens] == [None] * want.index(stop) + ["stop"]
    tokens = await collect(engine, prompt, Sampling(max_tokens=1))
    assert [(token.id, token.finish) for token in tokens] == [(want[0], "length")]


async def test_full_context(start: Start, reference: PreTrainedModel) -> None:
    engine = start(max_sequences=1, cache_tokens=2 * 30)
    assert engine.context_length == 30
    tokens = await collect(engine, ids(20, 1), Sampling(max_tokens=500))
    assert numbers(tokens) == greedy(reference, ids(20, 1), 10)
    assert tokens[-1].finish == "length"
    assert len(await collect(engine, ids(29, 1), Sampling(max_tokens=500))) == 1
    assert len((await engine.score(ids(20, 1), ids(10, 2))).logprobs) == 10
    with pytest.raises(PromptTooLong, match="30 tokens"):
        engine.generate(ids(30, 1), Sampling())
    with pytest.raises(PromptTooLong, match="has 31"):
        await engine.score(ids(20, 1), ids(11, 2))


async def test_refused_up_front(engine: LocalEngine) -> None:
    for prompt in ([], [VOCAB], [3, -1]):
        with pytest.raises(InvalidPrompt, match="prompt"):
            engine.generate(prompt, Sampling())
    with pytest.raises(InvalidPrompt, match="continuation has no"):
        await engine.score([1], [])
    with pytest.raises(InvalidPrompt, match=f"continuation has the id {VOCAB}"):
        await engine.score([1], [VOCAB])
    with pytest.raises(InvalidPrompt, match=f"ids instead has the id {VOCAB}"):
        await engine.score([1], [2], instead=[VOCAB])
    with pytest.raises(InvalidSampling, match="top_p"):
        engine.generate([1], Sampling(top_p=2))


async def test_the_next_round_prefills_only_what_is_new(start: Start) -> None:
    engine, fresh = start(), start()
    prompt = ids(50, 80)
    first = await collect(engine, prompt, Sampling(max_tokens=10), key="a")
    assert first[0].cached == 0
    longer = prompt + numbers(first) + ids(20, 81)
    second = await collect(engine, longer, Sampling(max_tokens=10), key="a")
    # The last generated token was never run: nothing came after it.
    assert {token.cached for token in second} == {len(prompt) + len(first) - 1}
    alone = await collect(fresh, longer, Sampling(max_tokens=10))
    assert numbers(second) == numbers(alone)
    assert [t.logprob for t in second] == pytest.approx([t.logprob for t in alone], abs=1e-4)
    assert (await collect(engine, longer, Sampling(max_tokens=2), key="b"))[0].cached == 0
    usage = engine.usage()
    assert (usage.prompt_tokens, usage.cached_tokens, usage.generated_tokens) == (50 + 2 * 80, 59, 22)


@pytest.mark.parametrize("family", FAMILIES)
async def test_every_familys_numbers_after_reuse(
    family: str, checkpoint: Callable[[str], Checkpoint], start: Start
) -> None:
    """Continued in its slot, and copied from it: scores and greedy tokens are the reference's."""
    folder, model = checkpoint(family)
    engine = start(folder)
    prompt = ids(40, 82)
    for cached, ids_ in ((0, prompt), (39, prompt + ids(30, 83)), (20, prompt[:20] + ids(25, 84))):
        continuation = ids(9, 85)
        want = log_probabilities(model, ids_ + continuation)
        scored = await engine.score(ids_, continuation)
        assert scored.cached >= cached
        assert scored.logprobs == pytest.approx(
            [want[len(ids_) - 1 + place, token].item() for place, token in enumerate(continuation)], abs=2e-4
        )
        assert numbers(await collect(engine, ids_, Sampling(max_tokens=12))) == greedy(model, ids_, 12)


async def test_two_running_requests_share_a_beginning_but_no_slot(start: Start, reference: PreTrainedModel) -> None:
    engine = start()
    prompt = ids(40, 90)
    other = prompt[:30] + ids(6, 91)
    want, want_other = greedy(reference, prompt, 30), greedy(reference, other, 30)
    stream = engine.generate(prompt, Sampling(max_tokens=30))
    async with aclosing(stream):
        tokens = [await anext(stream), await anext(stream)]
        second, third = await asyncio.gather(
            collect(engine, prompt, Sampling(max_tokens=30)), collect(engine, other, Sampling(max_tokens=30))
        )
        tokens += [token async for token in stream]
    assert numbers(tokens) == numbers(second) == want
    assert numbers(third) == want_other
    assert (second[0].cached, third[0].cached) == (39, 30)


async def test_score(engine: LocalEngine, reference: PreTrainedModel) -> None:
    prompt, continuation = ids(37, 100), ids(45, 101)
    want = log_probabilities(reference, prompt + continuation)
    expected = [want[len(prompt) - 1 + place, token].item() for place, token in enumerate(continuation)]
    for _ in range(2):  # the second time the prompt is cached
        assert (await engine.score(prompt, continuation, whose=Whose("score"))).logprobs == pytest.approx(
            expected, abs=1e-4
        )
    others = ids(4, 102)
    scored = await engine.score(prompt, continuation, instead=others, whose=Whose("score"))
    assert scored.logprobs == pytest.approx(expected, abs=1e-4)
    assert scored.instead == pytest.approx(want[len(prompt) + len(continuation) - 2, others].tolist(), abs=1e-4)
    tokens = await collect(engine, prompt, Sampling(max_tokens=5), key="score")
    assert tokens[0].cached == len(prompt) - 1
    assert numbers(tokens) == greedy(reference, prompt, 5)


async def test_closing_a_stream_frees_its_slot_within_a_step(engine: LocalEngine) -> None:
    stream = engine.generate(ids(9, 110), Sampling(max_tokens=200))
    async with aclosing(stream):
        await anext(stream)
        assert engine.usage().running == 1
    before = engine.usage().generated_tokens
    await until_idle(engine)
    assert engine.usage().generated_tokens - before <= 2
    task = asyncio.create_task(engine.score(ids(150, 111), ids(50, 112)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until_idle(engine)


async def test_a_full_queue_is_refused_with_a_time(start: Start) -> None:
    engine = start(max_sequences=1, queue=2)
    gate = Gate()
    running = asyncio.create_task(collect(engine, [1, 2], Sampling(max_tokens=2, mask=gate)))
    await asyncio.to_thread(gate.reached.wait, 5)
    waiting = [asyncio.create_task(collect(engine, [3], Sampling(max_tokens=2))) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(EngineBusy, match="2 requests are waiting") as refusal:
        await collect(engine, [4], Sampling(max_tokens=2))
    assert refusal.value.retry_after > 0
    waiting[0].cancel()  # gives its place in the queue back at once
    await asyncio.sleep(0)
    waiting.append(asyncio.create_task(collect(engine, [4], Sampling(max_tokens=2))))
    await asyncio.sleep(0)
    assert engine.usage().waiting == 2
    gate.open.set()
    assert [len(tokens) for tokens in await asyncio.gather(running, *waiting[1:])] == [2, 2, 2]


async def test_a_full_queue_takes_what_was_begun_and_gives_each_client_a_share(start: Start) -> None:
    engine = start(max_sequences=1, queue=2)
    gate = Gate()
    running = asyncio.create_task(collect(engine, [1, 2], Sampling(max_tokens=2, mask=gate), "many"))
    await asyncio.to_thread(gate.reached.wait, 5)
    many = [asyncio.create_task(collect(engine, [3], Sampling(max_tokens=2), "many")) for _ in range(2)]
    await asyncio.sleep(0)
    begun = asyncio.create_task(engine.score([5], [6], whose=Whose("many", "many", begun=True)))
    few = asyncio.create_task(collect(engine, [4], Sampling(max_tokens=2), "few"))
    with pytest.raises(EngineBusy, match="3 requests are waiting"):
        await many[1]
    assert engine.usage().refused == 1
    gate.open.set()
    assert [len(tokens) for tokens in await asyncio.gather(running, many[0], few)] == [2, 2, 2]
    assert len((await begun).logprobs) == 1


async def test_prompts_are_read_in_chunks_that_company_does_not_move(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most `prefill_chunk` prompt tokens a step, and the same cuts of each prompt whoever else is there."""
    engine = start()
    decoder = engine._scheduler.decoder
    forward = decoder.forward
    steps: list[list[Segment]] = []

    def watched(tokens: Sequence[int], segments: Sequence[Segment], *rest: object) -> torch.Tensor:
        steps.append(list(segments))
        return forward(tokens, segments, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(decoder, "forward", watched)
    prompts = [ids(count, 150 + count) for count in (60, 35, 10, 6)]
    await asyncio.gather(*(collect(engine, prompt, Sampling(max_tokens=6)) for prompt in prompts))
    assert max(sum(s.count for s in step if s.count > 1) for step in steps) == 16
    cuts = [[s.count for step in steps for s in step if s.slot == slot and s.count > 1] for slot in range(4)]
    assert sorted(cuts, key=sum, reverse=True) == [[16, 16, 16, 12], [16, 16, 3], [10], [6]]
    assert any({s.count > 1 for s in step} == {True, False} for step in steps)  # prefill and decode share steps


def test_several_event_loops_and_one_that_goes_away(engine: LocalEngine) -> None:
    async def abandon() -> None:
        stream = engine.generate([1, 2, 3], Sampling(max_tokens=200))
        await anext(stream)
        # Not closed: asyncio.run closes it, or the loop is gone. The engine must get its slot back either way.

    asyncio.run(abandon())
    asyncio.run(until_idle(engine))
    assert len(asyncio.run(collect(engine, [1, 2, 3], Sampling(max_tokens=3)))) == 3


PROMPTS = [ids(count, 200) for count in (1, 8, 17, 40)] + [ids(12, 201)]
moves = st.lists(
    st.tuples(
        st.integers(0, len(PROMPTS) - 1),
        st.integers(1, 12),
        st.sampled_from(["", "tenant"]),
        st.one_of(st.none(), st.integers(0, 5)),  # after how many tokens the client goes away
        st.integers(0, 3),  # how many turns of the event loop before it starts
    ),
    max_size=12,
)


@given(moves)
@settings(max_examples=30, deadline=None)
def test_slots_are_conserved_whatever_clients_do(
    engine: LocalEngine, reference: PreTrainedModel, sequence: list[tuple[int, int, str, int | None, int]]
) -> None:
    want = {index: _remembered(reference, index) for index in range(len(PROMPTS))}

    async def client(index: int, count: int, key: str, leave: int | None, delay: int) -> None:
        for _ in range(delay):
            await asyncio.sleep(0.0005)
        stream = engine.generate(PROMPTS[index], Sampling(max_tokens=count), whose=Whose(key, key))
        got: list[int] = []
        async with aclosing(stream):
            if leave == 0:
                waiting = asyncio.ensure_future(anext(stream))
                await asyncio.sleep(0)
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
                return
            async for token in stream:
                got.append(token.id)
                if leave is not None and len(got) >= leave:
                    break
        assert got == want[index][: min(count, leave or count)]

    async def all_clients() -> None:
        await asyncio.gather(*(client(*move) for move in sequence))
        await until_idle(engine)

    asyncio.run(all_clients())


_memory: dict[int, list[int]] = {}


def _remembered(model: PreTrainedModel, index: int) -> list[int]:
    if index not in _memory:
        _memory[index] = greedy(model, PROMPTS[index], 12)
    return _memory[index]
