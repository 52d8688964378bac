"""Turns of a core that searches on from what it found, its tokens scripted: what leads on, and what that is worth."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from transformers import PreTrainedTokenizerBase

from app.agent.events import Cited, Event, Searched, Thinking
from app.agent.turn import Turn
from app.calibration import Calibration
from app.cores import grammar
from index.memory import Memory
from tests.agent.asking import (
    SURE,
    UNSURE,
    asked,
    done,
    ends_at_any_limit,
    frees_the_engine_at_every_event,
    only,
    reply,
)
from tests.agent.conftest import Stage, fill
from tests.fakes import ScriptedEngine

QUESTION = "When was the company that runs the mill founded?"
DOCUMENTS = {
    "mill.md": "# Mills\n\nIt is old. The mill is run by \"Tarn\\Co\".",
    "tarn.md": "# Companies\n\n\"Tarn\\Co\" was founded in 1931.",
}  # fmt: skip
LEADS, NEVER = math.log(0.8), -30.0
UNKNOWN = "I do not know: nothing in the memory answers this."


@pytest.fixture(scope="module")
def store(memory: Memory) -> str:
    made = memory.create_store("linked").id
    fill(memory, made, DOCUMENTS)
    return made


@pytest.fixture
def stage(tokenizer: PreTrainedTokenizerBase, memory: Memory) -> Stage:
    made = Stage(tokenizer, memory, "tiny")
    made.profile = replace(made.profile, hops=2, reckons=False, differs=False)
    return made


def turn(store: str, text: str = QUESTION, /, **policy: object) -> Turn:
    return replace(asked(text, **policy), stores=[store])


def number(stage: Stage, store: str, query: str, name: str) -> int:
    """Under which number a search shows a document's passage."""
    return [hit.chunk.filename for hit in stage.memory.search(store, query, k=5)].index(name) + 1


def led(
    stage: Stage,
    store: str,
    scores: Sequence[float] = (UNSURE, LEADS, UNSURE, NEVER),
    first: str = "company that runs the mill",
) -> ScriptedEngine:
    """A core that searches, is led on by what the mill's passage names, and answers from the company's."""
    lead = number(stage, store, first, "mill.md")
    answer = 2 + number(stage, store, r'When was "Tarn\Co" founded', "tarn.md")
    asking = [grammar.LEADS.format(lead) + grammar.QUERY, "When was", grammar.escaped(r' "Tarn\Co"'), " founded"]
    scripts = [
        stage.ids(first, grammar.CALL_END),
        stage.ids(*asking, grammar.CALL_END),
        stage.ids(grammar.FOUND.format(answer), " 1931", grammar.cite(lead, answer)),
        stage.ids(grammar.ABSENT),
    ]
    return ScriptedEngine(scripts, scores=[SURE, *scores])


def queries(events: Sequence[Event]) -> list[str]:
    return [search.query for search in only(events, Searched)]


async def test_two_searches_and_both_quotes(stage: Stage, store: str) -> None:
    engine = led(stage, store)
    events = await stage.play(turn(store), engine)
    assert queries(events) == ["company that runs the mill", r'When was "Tarn\Co" founded']
    text = reply(events)
    lead, answer = text.partition(" [")[2].partition("].")[0].split("][")
    thoughts = "".join(thought.text for thought in only(events, Thinking))
    assert thoughts == f"I must look this up.On from [{lead}].[{answer}] answers this."
    assert text.startswith(f"The answer is 1931 [{lead}][{answer}].")
    link, fact = only(events, Cited)
    assert [link.quote, fact.quote] == [r'The mill is run by "Tarn\Co".', r'"Tarn\Co" was founded in 1931.']
    assert [text[c.reply_start : c.reply_end] for c in (link, fact)] == [f"[{lead}]", f"[{answer}]"]
    assert text.index(link.quote) < text.index(fact.quote)
    end = done(events)
    assert (end.answer, end.abstained, len(end.rounds)) == ("1931", False, 3)
    assert end.confidence == pytest.approx(0.8 * math.exp(-0.1) * 0.9 * math.exp(-0.1))


async def test_each_round_reuses_what_was_read(stage: Stage, store: str) -> None:
    engine = led(stage, store)
    end = done(await stage.play(turn(store), engine))
    for earlier, later in zip(end.rounds, end.rounds[1:], strict=False):
        assert later.cached >= earlier.prompt + earlier.generated - 1
    assert all(b[: len(a)] == a for a, b in zip(engine.prompts, engine.prompts[1:], strict=False))


async def test_a_core_of_one_hop_never_asks_what_leads_on(trained: Stage, store: str) -> None:
    engine = led(trained, store, scores=[UNSURE])
    events = await trained.play(turn(store), engine)
    assert len(queries(events)) == 1 and len(engine.scored) == 2
    assert "On from" not in "".join(thought.text for thought in only(events, Thinking))


@pytest.mark.parametrize("policy", [{"max_searches": 1}, {"abstain_below": 0.75}])
async def test_what_leads_on_is_no_answer_where_it_may_not_be_followed(
    stage: Stage, store: str, policy: dict[str, object]
) -> None:
    engine = led(stage, store)
    if policy.get("max_searches") == 1:
        del engine.scripts[1]
    del engine.scripts[-2]
    events = await stage.play(turn(store, **policy), engine)
    assert len(queries(events)) == 1
    assert reply(events) == UNKNOWN
    assert "On from" not in "".join(thought.text for thought in only(events, Thinking))
    assert done(events).abstained and not only(events, Cited)


async def test_an_answer_at_once_needs_no_second_search(stage: Stage, store: str) -> None:
    number_of = number(stage, store, "company", "tarn.md")
    second = stage.ids(grammar.FOUND.format(number_of), " 1931", grammar.cite(number_of))
    engine = ScriptedEngine([stage.ids("company", grammar.CALL_END), second], scores=[SURE, UNSURE, math.log(0.3)])
    events = await stage.play(turn(store), engine)
    assert len(queries(events)) == 1 and done(events).answer == "1931"
    assert done(events).confidence == pytest.approx(0.6 * math.exp(-0.1))  # what leads on does not answer


async def test_a_chain_that_ends_in_nothing_is_no_answer(stage: Stage, store: str) -> None:
    events = await stage.play(turn(store), led(stage, store, scores=[UNSURE, LEADS, math.log(0.9), NEVER]))
    assert len(queries(events)) == 2
    assert reply(events) == UNKNOWN
    end = done(events)
    assert end.abstained and end.confidence == pytest.approx(0.8 * 0.1 * math.exp(-0.2))


async def test_what_leads_further_than_may_be_followed_is_no_answer(stage: Stage, store: str) -> None:
    engine = led(stage, store, scores=[UNSURE, LEADS, math.log(0.05), math.log(0.85)])
    events = await stage.play(turn(store), engine)
    assert len(queries(events)) == 2 and reply(events) == UNKNOWN
    assert done(events).confidence == pytest.approx(0.8 * 0.1 * math.exp(-0.2))


async def test_no_query_is_made_twice(stage: Stage, store: str) -> None:
    question = "Founded mill is old?"
    lead = number(stage, store, "mill is old", "mill.md")
    again = [grammar.LEADS.format(lead) + grammar.QUERY, "mill", " is old", grammar.CALL_END]
    scripts = [stage.ids("mill is old", grammar.CALL_END), stage.ids(*again), stage.ids(grammar.ABSENT)]
    events = await stage.play(turn(store, question), ScriptedEngine(scripts, scores=[SURE, UNSURE, LEADS]))
    assert queries(events) == ["mill is old"]
    assert reply(events) == UNKNOWN and done(events).abstained and done(events).confidence == 0


async def test_a_lead_is_measured_as_answers_are(stage: Stage, store: str) -> None:
    bold = Calibration(1.0, 4.0, "")
    events = await stage.play(replace(turn(store, abstain_below=0.75), calibrations=[bold]), led(stage, store))
    assert len(queries(events)) == 2 and done(events).answer == "1931"
    assert done(events).confidence == pytest.approx(bold(0.8 * math.exp(-0.1) * 0.9 * math.exp(-0.1)))


async def test_a_sentence_that_leads_and_answers_is_quoted_once(stage: Stage, store: str) -> None:
    lead = number(stage, store, "company that runs the mill", "mill.md")
    engine = led(stage, store)
    again = 2 + number(stage, store, r'When was "Tarn\Co" founded', "mill.md")
    engine.scripts[2] = stage.ids(grammar.FOUND.format(again), " mill", grammar.cite(lead, again))
    events = await stage.play(turn(store), engine)
    link, fact = only(events, Cited)
    assert link.quote == fact.quote and reply(events).count(link.quote) == 1


async def test_a_short_limit_ends_it_anywhere(stage: Stage, store: str) -> None:
    total = sum(map(len, led(stage, store).scripts[:3]))
    await ends_at_any_limit(stage, turn(store), lambda: led(stage, store), total)


async def test_closing_frees_the_engine_at_every_event(stage: Stage, store: str) -> None:
    await frees_the_engine_at_every_event(stage, turn(store), lambda: led(stage, store))
