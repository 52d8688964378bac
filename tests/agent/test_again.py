"""Turns of a core whose first query was a bad one, its tokens scripted: it is put in other words, once."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from transformers import PreTrainedTokenizerBase

from app.agent.events import Cited, Event, Searched, Thinking
from app.agent.turn import Turn
from app.cores import grammar
from index.memory import Memory
from tests.agent.asking import SURE, asked, done, ends_at_any_limit, frees_the_engine_at_every_event, only, reply
from tests.agent.conftest import Stage, fill
from tests.fakes import ScriptedEngine

QUESTION = "And the Tarn mill?"
BEFORE = "When was the Sorne mill built?"
BAD, BETTER = "And the Tarn mill", ("When was", " the Tarn mill")
ABSENT, AGAIN, LOW = math.log(0.2), math.log(0.7), math.log(0.1)
UNKNOWN = "I do not know: nothing in the memory answers this."


@pytest.fixture(scope="module")
def store(memory: Memory) -> str:
    made = memory.create_store("mills").id
    fill(memory, made, {"sorne.md": "The Sorne mill was built in 1811.", "tarn.md": "The Tarn mill was built in 1902."})
    return made


@pytest.fixture
def stage(tokenizer: PreTrainedTokenizerBase, memory: Memory) -> Stage:
    made = Stage(tokenizer, memory, "tiny")
    made.profile = replace(made.profile, hops=1, rephrases=True, reckons=False, differs=False)
    return made


def turn(store: str, **policy: object) -> Turn:
    made = asked(QUESTION, **policy)
    past = [{"role": "user", "content": BEFORE}, {"role": "assistant", "content": "The answer is 1811 [1]."}]
    return replace(made, stores=[store], messages=[*past, *made.messages])


def again(stage: Stage, store: str, query: Sequence[str] = BETTER, scores: Sequence[float] = ()) -> ScriptedEngine:
    """A core that asks for a follow-up as it stands, then with words of the message before."""
    number = 2 + [hit.chunk.filename for hit in stage.memory.search(store, "".join(query), k=5)].index("tarn.md") + 1
    scripts = [
        stage.ids(BAD, grammar.CALL_END),
        stage.ids(grammar.AGAIN + grammar.QUERY, *query, grammar.CALL_END),
        stage.ids(grammar.FOUND.format(number), " 1902", grammar.cite(number)),
        stage.ids(grammar.ABSENT),
    ]
    return ScriptedEngine(scripts, scores=[SURE, *(scores or (ABSENT, AGAIN, LOW, LOW))])


def queries(events: Sequence[Event]) -> list[str]:
    return [search.query for search in only(events, Searched)]


async def test_what_found_nothing_is_put_in_other_words(stage: Stage, store: str) -> None:
    events = await stage.play(turn(store), again(stage, store))
    assert queries(events) == [BAD, "When was the Tarn mill"]
    thoughts = "".join(thought.text for thought in only(events, Thinking))
    assert thoughts.startswith("I must look this up.Again, in other words.[")
    (fact,) = only(events, Cited)
    assert fact.quote == "The Tarn mill was built in 1902."
    end = done(events)
    assert (end.answer, end.abstained, len(end.rounds)) == ("1902", False, 3)
    assert end.confidence == pytest.approx(0.8 * math.exp(-0.1))  # as if the second query had been the first


async def test_each_round_reuses_what_was_read(stage: Stage, store: str) -> None:
    engine = again(stage, store)
    end = done(await stage.play(turn(store), engine))
    for earlier, later in zip(end.rounds, end.rounds[1:], strict=False):
        assert later.cached >= earlier.prompt + earlier.generated - 1


async def test_once(stage: Stage, store: str) -> None:
    engine = again(stage, store, scores=(ABSENT, AGAIN, ABSENT, AGAIN))
    events = await stage.play(turn(store, abstain_below=0.5), engine)
    assert len(queries(events)) == 2 and reply(events).startswith(UNKNOWN)
    assert done(events).abstained and done(events).confidence == pytest.approx(0.1 * math.exp(-0.1))


@pytest.mark.parametrize(("absent", "more"), [(math.log(0.75), math.log(0.2)), (math.log(0.1), math.log(0.2))])
async def test_only_where_it_is_the_likeliest(stage: Stage, store: str, absent: float, more: float) -> None:
    engine = again(stage, store, scores=(absent, more))
    engine.scripts[1:3] = [stage.ids(grammar.FOUND.format(1), " The", grammar.cite(1))]
    assert len(queries(await stage.play(turn(store, abstain_below=0.9), engine))) == 1


async def test_not_where_no_search_is_left(stage: Stage, store: str) -> None:
    engine = again(stage, store)
    engine.scripts[1:3] = [stage.ids(grammar.FOUND.format(1), " The", grammar.cite(1))]
    events = await stage.play(turn(store, max_searches=1, abstain_below=0.5), engine)
    assert queries(events) == [BAD] and reply(events).startswith(UNKNOWN)
    assert done(events).abstained and done(events).confidence == pytest.approx(0.1 * math.exp(-0.1))


async def test_not_the_same_words(stage: Stage, store: str) -> None:
    engine = again(stage, store, query=(BAD,))
    del engine.scripts[2]
    events = await stage.play(turn(store), engine)
    assert queries(events) == [BAD] and reply(events).startswith(UNKNOWN) and done(events).abstained


async def test_it_ends_at_any_limit(stage: Stage, store: str) -> None:
    total = sum(map(len, again(stage, store).scripts[:3]))
    await ends_at_any_limit(stage, turn(store), lambda: again(stage, store), total)


async def test_it_frees_the_engine_at_every_event(stage: Stage, store: str) -> None:
    await frees_the_engine_at_every_event(stage, turn(store), lambda: again(stage, store))
