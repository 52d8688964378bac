"""Turns of a core that learned the loop, its tokens scripted: what it decides, may write, and is shown."""

import math
from dataclasses import replace

import pytest

from app.agent.events import Calculated, Cited, Decided, Searched, Thinking
from app.agent.turn import TurnRefused
from app.cores import grammar
from app.engine.types import Sampling
from tests.agent.asking import SURE, UNSURE, asked, done, frees_the_engine_at_every_event, only, reply
from tests.agent.conftest import Stage
from tests.fakes import ScriptedEngine


def lookup(stage: Stage, query: str, number: int, span: str, absent: float = UNSURE) -> ScriptedEngine:
    """A core that searches for `query` and answers with `span` of passage `number`."""
    first = stage.ids(query, grammar.CALL_END)
    second = stage.ids(grammar.FOUND.format(number), " " + span, grammar.cite(number))
    return ScriptedEngine([first, second], scores=[SURE, absent])


async def test_a_lookup(trained: Stage) -> None:
    question = "Hello! How much oil does the tank of the pump hold?"
    engine = lookup(trained, "oil does the tank of the pump", 1, "12.5 litres of oil")
    events = await trained.play(asked(question), engine)
    assert [d.searches for d in only(events, Decided)] == [True]
    assert only(events, Decided)[0].need == pytest.approx(0.9)
    (searched,) = only(events, Searched)
    assert searched.query == "oil does the tank of the pump"
    assert searched.hits[0].chunk.filename == "pump.md"
    assert "".join(t.text for t in only(events, Thinking)) == "I must look this up.[1] answers this."
    (cited,) = only(events, Cited)
    assert cited.quote == "Its tank holds 12.5 litres of oil (grade 40)."
    assert trained.memory.text(cited.hit.chunk.file_id)[cited.start : cited.end] == cited.quote
    text = reply(events)
    assert text == (
        "The answer is 12.5 litres of oil [1].\n\n> Its tank holds 12.5 litres of oil (grade 40).\n— pump.md"
    )
    assert text[cited.reply_start : cited.reply_end] == "[1]"
    end = done(events)
    assert (end.answer, end.abstained, end.finish_reason) == ("12.5 litres of oil", False, "stop")
    assert end.confidence == pytest.approx(0.9 * math.exp(-0.1))


@pytest.mark.parametrize(
    "query", ["bridge", "How many litres does the bridge", "bridge hold", "the bridge 12.5 litres"]
)
async def test_a_query_may_have_words_of_what_was_said_before(trained: Stage, query: str) -> None:
    before = {"role": "user", "content": "How many litres does the pump hold?"}
    said = {"role": "assistant", "content": "The answer is 12.5 litres [1].\n\n> Its tank holds 12.5 litres of oil."}
    turn = asked("And the bridge?")
    trained.profile = replace(trained.profile, follow_ups=True)
    events = await trained.play(
        replace(turn, messages=[before, said, *turn.messages]), lookup(trained, query, 1, "1969")
    )
    assert [searched.query for searched in only(events, Searched)] == [query]
    (alone,) = only(await trained.play(turn, lookup(trained, query, 1, "1969")), Searched)
    assert (alone.query == query) == (query == "bridge")


async def test_rounds_reuse_what_they_have_read(trained: Stage) -> None:
    engine = lookup(trained, "bridge", 1, "1969")
    end = done(await trained.play(asked("When was the bridge built?"), engine))
    first, second = end.rounds
    assert engine.prompts[1][: first.prompt] == engine.prompts[0]
    assert second.cached >= first.prompt + first.generated - 1
    assert end.reasoning_tokens > 0


async def test_a_doubtful_answer_is_not_given(trained: Stage) -> None:
    absent = trained.ids(grammar.ABSENT)
    engine = lookup(trained, "bridge", 1, "1969", absent=math.log(0.8))
    engine.scripts.append(absent)
    events = await trained.play(asked("When was the bridge built?"), engine)
    assert reply(events) == "I do not know: nothing in the memory answers this."
    assert "answers this.[" not in "".join(t.text for t in only(events, Thinking))
    end = done(events)
    assert end.abstained
    assert end.answer is None
    assert end.confidence == pytest.approx(0.2 * math.exp(-0.1))
    assert not only(events, Cited)
    assert engine.running == 0


async def test_confidence_is_of_the_passage_too(trained: Stage) -> None:
    number = trained.ids("1", end=False)[0]
    engine = lookup(trained, "bridge", 1, "1969")
    engine = ScriptedEngine(engine.scripts, engine.scores, logprob=lambda _, i: math.log(0.4) if i == number else 0.0)
    end = done(await trained.play(asked("When was the bridge built?", abstain_below=0.3), engine))
    assert end.confidence == pytest.approx(0.9 * 0.4)
    assert end.answer == "1969"


async def test_nothing_found_means_no_claim(trained: Stage) -> None:
    empty = trained.memory.store("empty").id
    engine = ScriptedEngine(
        [trained.ids("bridge", grammar.CALL_END), trained.ids(grammar.FOUND.format(1), " 1969.")], scores=[SURE]
    )
    events = await trained.play(replace(asked("When was the bridge built?"), stores=[empty]), engine)
    assert only(events, Searched)[0].hits == []
    assert reply(events) == "I do not know: nothing in the memory answers this."
    assert done(events).abstained


async def test_answers_are_only_words_of_the_passage(trained: Stage) -> None:
    engine = lookup(trained, "bridge", 1, "Paris")
    end = done(await trained.play(asked("When was the bridge built?"), engine))
    assert end.answer is None or end.answer in " ".join(
        chunk.chunk.text for chunk in trained.memory.search("default", "bridge")
    )
    assert end.answer != "Paris"


async def test_small_talk_does_not_search(trained: Stage) -> None:
    engine = ScriptedEngine([trained.ids(grammar.TALK, "Hello there.")], scores=[UNSURE])
    events = await trained.play(asked("Hi!"), engine)
    assert only(events, Decided) == [Decided(pytest.approx(0.1), False)]  # type: ignore[arg-type]
    assert reply(events) == "Hello there."
    assert done(events).confidence == pytest.approx(math.exp(-0.1))
    assert not only(events, Searched)


@pytest.mark.parametrize("policy", [{}, {"choice": "none"}, {"max_searches": 0}])
@pytest.mark.parametrize("thought", ["", grammar.TALK])
async def test_a_core_that_wants_to_search_unneeded_cannot(
    trained: Stage, policy: dict[str, object], thought: str
) -> None:
    call = grammar.SEARCH.partition("</think>\n\n")[2] if thought else grammar.SEARCH
    engine = ScriptedEngine([trained.ids(thought, call, "Hi!", grammar.CALL_END)], scores=[UNSURE])
    turn = replace(asked("Hi!", **policy), sampling=Sampling(max_tokens=60))
    events = await trained.play(turn, engine)
    assert not only(events, Searched) + only(events, Calculated)
    assert done(events).answer is None


async def test_a_sum(trained: Stage) -> None:
    call = trained.ids(grammar.CALCULATE, "12 * 1.5", grammar.CALL_END)
    engine = ScriptedEngine([call, trained.ids(grammar.RESULT, " 17", ".")], scores=[UNSURE])
    events = await trained.play(asked("What is 12 times 1.5?"), engine)
    assert only(events, Calculated) == [Calculated("12 * 1.5", "18")]
    assert reply(events) == "The answer is 18."
    assert done(events).answer == "18"


async def test_a_sum_is_only_of_numbers_of_the_message(trained: Stage) -> None:
    engine = ScriptedEngine([trained.ids(grammar.CALCULATE, "12 * 135", grammar.CALL_END)], scores=[UNSURE])
    engine.scripts.append([])
    (calculated,) = only(await trained.play(asked("What is 12 times 1.35?"), engine), Calculated)
    assert calculated.expression.startswith("12 * 1")
    assert "135" not in calculated.expression


@pytest.mark.parametrize(
    ("expression", "reason"), [("1 / 0", "division by zero"), ("sqrt(-1)", "the result is too large or not defined")]
)
async def test_a_sum_without_a_result(trained: Stage, expression: str, reason: str) -> None:
    engine = ScriptedEngine([trained.ids(grammar.CALCULATE, expression, grammar.CALL_END)], scores=[UNSURE])
    events = await trained.play(asked("What is 1 / 0?"), engine)
    assert only(events, Calculated) == [Calculated(expression, reason, ok=False)]
    assert reply(events) == f"I could not calculate this: {reason}."
    assert done(events).answer is None


async def test_a_sum_cut_by_its_limit_is_not_calculated(trained: Stage) -> None:
    call = trained.ids(grammar.CALCULATE, "12 * 1.5", grammar.CALL_END)
    for limit in range(1, len(call)):
        turn = replace(asked("What is 12 times 1.5?"), sampling=Sampling(max_tokens=limit))
        events = await trained.play(turn, ScriptedEngine([call], scores=[UNSURE]))
        assert not only(events, Calculated)
        assert done(events).finish_reason == "length"


async def test_a_sum_in_free_talk_is_not_calculated(trained: Stage) -> None:
    call = grammar.CALCULATE.partition("</think>\n\n")[2]
    engine = ScriptedEngine([trained.ids(grammar.TALK, call, "6 * 7", grammar.CALL_END)], scores=[UNSURE])
    events = await trained.play(asked("Hi!"), engine)
    assert not only(events, Calculated)
    assert done(events).answer is None


async def test_required_searches_without_need(trained: Stage) -> None:
    engine = lookup(trained, "bridge", 1, "1969")
    engine.scores[0] = UNSURE
    events = await trained.play(asked("bridge", choice="required"), engine)
    assert only(events, Decided)[0].searches
    assert done(events).answer == "1969"


@pytest.mark.parametrize("policy", [{"choice": "none"}, {"max_searches": 0}])
async def test_what_must_be_looked_up_and_may_not_is_not_answered(trained: Stage, policy: dict[str, object]) -> None:
    engine = ScriptedEngine([trained.ids(grammar.TALK, "In 1969.")], scores=[SURE])
    events = await trained.play(asked("When was the bridge built?", **policy), engine)
    assert only(events, Decided) == [Decided(pytest.approx(0.9), False)]  # type: ignore[arg-type]
    assert done(events).abstained
    assert reply(events) == "I do not know: nothing in the memory answers this."


async def test_refusals_name_the_field(trained: Stage) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    with pytest.raises(TurnRefused) as refused:
        await trained.play(replace(asked("Hi"), tools=[tool]), ScriptedEngine())
    assert refused.value.field == "tools"
    with pytest.raises(TurnRefused) as refused:
        await trained.play(replace(asked("Hi", choice="required"), stores=[]), ScriptedEngine())
    assert refused.value.field == "tool_choice"


async def test_a_short_limit_ends_the_turn_anywhere(trained: Stage) -> None:
    whole = lookup(trained, "bridge", 1, "1969")
    total = sum(map(len, whole.scripts))
    for limit in range(1, total):
        engine = lookup(trained, "bridge", 1, "1969")
        turn = replace(asked("When was the bridge built?"), sampling=Sampling(max_tokens=limit))
        end = done(await trained.play(turn, engine))
        assert end.finish_reason == "length"
        assert sum(r.generated for r in end.rounds) == limit


async def test_stop_strings_hold_for_the_quote_too(trained: Stage) -> None:
    turn = replace(asked("When was the bridge built?"), stop=["\n\n"])
    events = await trained.play(turn, lookup(trained, "bridge", 1, "1969"))
    assert reply(events) == "The answer is 1969 [1]."
    assert len(only(events, Cited)) == 1
    turn = replace(turn, stop=["r is 19"])
    events = await trained.play(turn, lookup(trained, "bridge", 1, "1969"))
    assert reply(events) == "The answe"
    assert done(events).finish_reason == "stop"
    assert not only(events, Cited)


async def test_several_stores_are_merged(trained: Stage) -> None:
    stores = [trained.memory.store(name).id for name in ("empty", "default")]
    turn = replace(asked("When was the bridge built?"), stores=stores)
    events = await trained.play(turn, lookup(trained, "bridge", 1, "1969"))
    assert [s.store for s in only(events, Searched)] == stores
    assert done(events).answer == "1969"


async def test_closing_frees_the_engine_at_every_event(trained: Stage) -> None:
    turn = asked("When was the bridge built?")
    await frees_the_engine_at_every_event(trained, turn, lambda: lookup(trained, "bridge", 1, "1969"))
