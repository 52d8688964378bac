"""Turns of a core that calls tools as its template shows them, its tokens scripted."""

import json
import math
from dataclasses import replace

import pytest

from app.agent.events import Calculated, Cited, Decided, Done, Searched, Searching, Text, Thinking, ToolCall
from app.agent.turn import TurnRefused
from app.cores.profiles import PROFILES
from app.engine.types import PromptTooLong, Sampling, Whose
from tests.agent.asking import SURE, UNSURE, asked, done, only, reply
from tests.agent.conftest import Stage
from tests.fakes import ScriptedEngine

WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


def call(name: str, **arguments: object) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {json.dumps(arguments)}}}\n</tool_call>'


async def test_a_forced_search_and_a_verified_quote(generic: Stage) -> None:
    script = [generic.ids('bridge opened"}}\n</tool_call>'), generic.ids("The bridge opened in 1969 [1].")]
    events = await generic.play(asked("When?"), engine := ScriptedEngine(script, [SURE]))
    assert only(events, Decided) == [Decided(pytest.approx(0.9), True)]  # type: ignore[arg-type]
    assert only(events, Searched)[0].query == "bridge opened"
    (cited,) = only(events, Cited)
    assert cited.quote == "The bridge opened in 1969."
    text = reply(events)
    assert text == "The bridge opened in 1969 [1].\n\n> The bridge opened in 1969.\n— bridge.md"
    assert text[cited.reply_start : cited.reply_end] == "[1]"
    end = done(events)
    assert end.answer == "The bridge opened in 1969."
    assert end.confidence > 0.5
    assert engine.prompts[1][: len(engine.prompts[0])] == engine.prompts[0]
    assert end.rounds[1].cached >= end.rounds[0].prompt + end.rounds[0].generated - 1


async def test_a_citation_that_does_not_exist_is_dropped(generic: Stage) -> None:
    script = [generic.ids('bridge"}}\n</tool_call>'), generic.ids("It sank in 1812 [99], zebras said [1].")]
    events = await generic.play(asked("When?"), ScriptedEngine(script, [SURE]))
    assert not only(events, Cited)
    assert ">" not in reply(events)
    assert done(events).confidence <= 0.1


async def test_a_searched_reply_without_citation_is_doubtful(generic: Stage) -> None:
    script = [generic.ids('bridge"}}\n</tool_call>'), generic.ids("It opened in 1969.")]
    assert done(await generic.play(asked("When?"), ScriptedEngine(script, [SURE]))).confidence <= 0.1


async def test_small_talk(generic: Stage) -> None:
    events = await generic.play(asked("Hi"), ScriptedEngine([generic.ids("Hello!")], [UNSURE]))
    assert not only(events, Searched)
    assert reply(events) == "Hello!"
    assert done(events).confidence == pytest.approx(math.exp(-0.1))


async def test_a_repeated_query_is_not_run(generic: Stage) -> None:
    again = generic.ids(call("search_memory", query="Bridge?"))
    script = [generic.ids('bridge"}}\n</tool_call>'), again, again]
    events = await generic.play(asked("When?", max_searches=9, max_rounds=9), engine := ScriptedEngine(script, [SURE]))
    assert len(only(events, Searched)) == 1
    assert len(engine.prompts) == 3
    # It must conclude: the token that opens a call is forbidden.
    assert engine.samplings[2].logit_bias
    assert not engine.scripts


async def test_the_search_budget_is_kept(generic: Stage) -> None:
    script = [generic.ids(call("search_memory", query=q)) for q in ("bridge", "pump", "gate", "red")]
    script[3] = generic.ids("I give up.")
    events = await generic.play(asked("When?", max_searches=2, max_rounds=9), ScriptedEngine(script, [UNSURE]))
    assert [s.query for s in only(events, Searched)] == ["bridge", "pump"]
    assert reply(events) == "I give up."


async def test_passages_are_numbered_through(generic: Stage) -> None:
    script = [generic.ids(call("search_memory", query=q)) for q in ("bridge", "pump")]
    script.append(generic.ids("The tank holds 12.5 litres [4]."))
    events = await generic.play(asked("How much?", hits=3), engine := ScriptedEngine(script, [UNSURE]))
    shown = generic.tokenizer.decode(engine.prompts[2])
    assert all(shown.count(f"[{n}] ") == 1 for n in range(1, 7))
    assert [c.hit.chunk.filename for c in only(events, Cited)] == ["pump.md"]


async def test_the_round_budget_is_kept(generic: Stage) -> None:
    script = [generic.ids(call("calculate", expression=f"{n} + 1")) for n in range(9)]
    events = await generic.play(asked("Sum", max_rounds=3), engine := ScriptedEngine(script, [UNSURE]))
    assert len(engine.prompts) == len(done(events).rounds) == 3
    assert [c.result for c in only(events, Calculated)] == ["1", "2"]


async def test_several_calls_in_one_round(generic: Stage) -> None:
    both = call("calculate", expression="2^10") + "\n" + call("calculate", expression="1/0")
    script = [generic.ids(both), generic.ids("Done.")]
    events = await generic.play(asked("Sums"), engine := ScriptedEngine(script, [UNSURE]))
    assert [(c.result, c.ok) for c in only(events, Calculated)] == [("1024", True), ("error: division by zero", False)]
    assert "1024" in generic.tokenizer.decode(engine.prompts[1])


async def test_a_clients_tool_ends_the_turn(generic: Stage) -> None:
    turn = replace(asked("Weather?"), tools=[WEATHER])
    events = await generic.play(turn, ScriptedEngine([generic.ids("Sure.\n" + call("weather", city="Köln"))], [UNSURE]))
    (made,) = only(events, ToolCall)
    assert (made.name, made.arguments) == ("weather", '{"city": "Köln"}')
    assert made.id.startswith("call_")
    assert done(events).finish_reason == "tool_calls"
    assert reply(events) == "Sure."


async def test_hosted_calls_beside_a_clients_are_run(generic: Stage) -> None:
    turn = replace(asked("Weather at the bridge?"), tools=[WEATHER])
    calls = [call("weather", city="Köln"), call("search_memory", query="bridge"), call("calculate", expression="2^10")]
    engine = ScriptedEngine([generic.ids("Sure.\n" + "\n".join(calls))], [UNSURE])
    events = await generic.play(turn, engine)
    kinds = [type(event) for event in events if not isinstance(event, Text)]
    assert kinds == [Decided, Searching, Searched, Calculated, ToolCall, Done]
    assert only(events, Searched)[0].hits[0].chunk.filename == "bridge.md"
    assert only(events, Calculated)[0].result == "1024"
    assert only(events, ToolCall)[0].name == "weather"
    assert done(events).finish_reason == "tool_calls"
    # The client answers first: nothing more is written.
    assert len(engine.prompts) == 1


async def test_one_call_at_a_time_if_the_client_wants_it_so(generic: Stage) -> None:
    written = "\n".join(
        [call("weather", city="Köln"), call("weather", city="Rome"), call("calculate", expression="1+1")]
    )
    for parallel, cities in ((True, ["Köln", "Rome"]), (False, ["Köln"])):
        turn = replace(asked("Weather?", parallel=parallel), tools=[WEATHER])
        events = await generic.play(turn, ScriptedEngine([generic.ids(written)], [UNSURE]))
        assert [json.loads(made.arguments)["city"] for made in only(events, ToolCall)] == cities
        assert [c.result for c in only(events, Calculated)] == ["2"]


async def test_a_search_is_told_before_it_is_made(generic: Stage) -> None:
    stores = [generic.memory.store(name).id for name in ("empty", "default")]
    engine = ScriptedEngine([generic.ids('bridge"}}\n</tool_call>'), generic.ids("In 1969 [1].")], [SURE])
    events = await generic.play(replace(asked("When?"), stores=stores), engine)
    (searching,) = only(events, Searching)
    assert (searching.query, searching.stores) == ("bridge", stores)
    at = events.index(searching)
    assert [event.store for event in events[at + 1 : at + 3] if isinstance(event, Searched)] == stores


@pytest.mark.parametrize(
    ("written", "stop"),
    [
        ("Hé 🐘 a < b  <thin [1].", []),
        ("🐘!", []),
        ("<b> is bold.", []),
        ("\n\nSo it is. \n", []),
        ("<think>\nHm, é.\n</think>\n\nIt is.", []),
        ("One two three", ["two th!"]),
        ("One two three", ["e", "zz"]),
        ("Sure\n" + call("weather", city="Köln"), ["Sure!"]),
    ],
)
async def test_text_carries_the_tokens_it_was_written_in(generic: Stage, written: str, stop: list[str]) -> None:
    turn = replace(asked("Weather?"), tools=[WEATHER], stop=stop)
    events = await generic.play(turn, ScriptedEngine([generic.ids(written)], [UNSURE]))
    for text in only(events, Text):
        assert text.tokens
    spelled = str(generic.tokenizer.decode([token.id for text in only(events, Text) for token in text.tokens]))
    assert spelled.startswith(reply(events)) if stop else spelled == reply(events)


async def test_the_servers_own_words_carry_no_tokens(generic: Stage) -> None:
    script = [generic.ids('bridge opened"}}\n</tool_call>'), generic.ids("The bridge opened in 1969 [1].")]
    events = await generic.play(asked("When?"), ScriptedEngine(script, [SURE]))
    *written, quote = only(events, Text)
    assert quote == Text("\n\n> The bridge opened in 1969.\n— bridge.md")
    ids = [token.id for text in written for token in text.tokens]
    assert generic.tokenizer.decode(ids) == "The bridge opened in 1969 [1]."


async def test_what_a_stop_string_held_back_comes_before_a_clients_tool(generic: Stage) -> None:
    turn = replace(asked("Weather?"), tools=[WEATHER], stop=["Sure!"])
    script = [generic.ids("Sure\n" + call("weather", city="Köln"))]
    events = await generic.play(turn, ScriptedEngine(script, [UNSURE]))
    assert reply(events) == "Sure"
    assert isinstance(events[-2], ToolCall)


async def test_a_clients_answer_goes_on(generic: Stage) -> None:
    function = {"name": "weather", "arguments": '{"city": "Köln"}'}
    messages: list[dict[str, object]] = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "1", "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": "1", "content": "rain"},
    ]
    turn = replace(asked("x"), messages=messages, tools=[WEATHER])
    events = await generic.play(turn, engine := ScriptedEngine([generic.ids("It rains.")], [UNSURE]))
    assert '"arguments": {"city": "Köln"}' in generic.tokenizer.decode(engine.prompts[0])
    assert reply(events) == "It rains."


@pytest.mark.parametrize(
    ("policy", "stores", "forced"),
    [
        ({"choice": "required", "function": "weather"}, ["default"], '{"name": "weather", "arguments":'),
        ({"choice": "required"}, [], '{"name": "'),
        ({"choice": "required", "function": "search_memory"}, ["default"],
         '{"name": "search_memory", "arguments": {"query": "'),
    ],
)  # fmt: skip
async def test_a_demanded_call_is_begun_for_the_core(
    generic: Stage, policy: dict[str, object], stores: list[str], forced: str
) -> None:
    turn = replace(asked("Weather?", **policy), tools=[WEATHER], stores=stores)
    engine = ScriptedEngine([generic.ids("x")] * 5, [UNSURE])
    await generic.play(turn, engine)
    assert str(generic.tokenizer.decode(engine.prompts[0])).endswith("<tool_call>\n" + forced)


async def test_what_cannot_be_demanded_is_refused(generic: Stage) -> None:
    for turn in (
        asked("Hi", choice="required", function="unknown"),
        replace(asked("Hi", choice="required"), stores=[]),
        asked("Hi", choice="required", max_searches=0),
    ):
        with pytest.raises(TurnRefused) as refused:
            await generic.play(turn, ScriptedEngine(scores=[UNSURE]))
        assert refused.value.field == "tool_choice"


async def test_no_tools_means_none_are_shown_or_run(generic: Stage) -> None:
    turn = replace(asked("Weather?", choice="none"), tools=[WEATHER])
    events = await generic.play(turn, engine := ScriptedEngine([generic.ids(call("weather", city="Köln"))]))
    assert "weather" not in generic.tokenizer.decode(engine.prompts[0])
    assert not only(events, ToolCall) + only(events, Searched)
    assert done(events).finish_reason != "tool_calls"


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("<tool_call>\n{oops}\n</tool_call>", "could not be read"),
        (call("fly", to="moon"), "There is no tool 'fly'"),
        (call("search_memory", question="x"), "needs the text argument 'query'"),
        (call("calculate", expression=7), "needs the text argument 'expression'"),
        (call("search_memory", query=" "), "needs the text argument 'query'"),
    ],
)
async def test_a_wrong_call_is_told_to_the_core(generic: Stage, written: str, told: str) -> None:
    script = [generic.ids(written), generic.ids("I see.")]
    events = await generic.play(asked("Do it"), engine := ScriptedEngine(script, [UNSURE]))
    assert told in generic.tokenizer.decode(engine.prompts[1])
    assert reply(events) == "I see."
    assert not only(events, Searched)


async def test_thoughts_come_before_the_decision(generic: Stage) -> None:
    generic.profile = PROFILES["qwen3-thinking"]
    script = [
        generic.ids("<think>\nHm, the bridge.\n</think>\n\n", end=False),
        generic.ids('bridge"}}\n</tool_call>'),
        generic.ids("<think>\nFound.\n</think>\n\nIn 1969 [1]."),
    ]
    events = await generic.play(asked("When?"), engine := ScriptedEngine(script, [SURE]))
    assert [type(e) for e in events[:1]] == [Thinking]
    assert str(generic.tokenizer.decode(engine.scored[0][0])).endswith("</think>\n\n")
    assert only(events, Decided)[0].searches
    assert "".join(t.text for t in only(events, Thinking)) == "Hm, the bridge.Found."
    assert reply(events).startswith("In 1969 [1].")
    assert 0 < done(events).reasoning_tokens < sum(r.generated for r in done(events).rounds)


async def test_a_core_that_ends_in_its_thoughts(generic: Stage) -> None:
    generic.profile = PROFILES["qwen3-thinking"]
    events = await generic.play(asked("When?"), ScriptedEngine([generic.ids("<think>\nHm.")]))
    assert not only(events, Decided)
    assert done(events).finish_reason == "stop"
    script = [generic.ids("<think>\nHm."), generic.ids('bridge"}}\n</tool_call>'), generic.ids("In 1969 [1].")]
    events = await generic.play(asked("When?", choice="required"), ScriptedEngine(script, [UNSURE]))
    assert len(only(events, Searched)) == 1


async def test_stop_strings_across_tokens_and_rounds(generic: Stage) -> None:
    for stop, shown in (("opened in", "The bridge "), ("E", "The bridge opened in 1969.")):
        script = [generic.ids("The bridge opened in 1969.")]
        turn = replace(asked("When?"), stop=[stop])
        events = await generic.play(turn, engine := ScriptedEngine(script, [UNSURE]))
        assert reply(events) == shown
        assert done(events).finish_reason == "stop"
        assert engine.running == 0


async def test_length(generic: Stage) -> None:
    turn = replace(asked("When?"), sampling=Sampling(max_tokens=3))
    events = await generic.play(turn, ScriptedEngine([generic.ids("The bridge opened in 1969.")], [UNSURE]))
    assert done(events).finish_reason == "length"
    assert done(events).rounds[0].generated == 3


async def test_passages_that_do_not_fit_are_left_out(generic: Stage) -> None:
    script = [generic.ids(call("search_memory", query="bridge")), generic.ids("Yes [1].")]
    whole = ScriptedEngine([list(s) for s in script], [UNSURE])
    await generic.play(asked("When?"), whole)
    small = ScriptedEngine(script, [UNSURE], context_length=len(whole.prompts[1]) + 250)
    await generic.play(asked("When?"), small)
    assert len(small.prompts[1]) < len(whole.prompts[1])
    assert "[1] " in generic.tokenizer.decode(small.prompts[1])


async def test_the_key_goes_with_every_request(generic: Stage) -> None:
    engine = ScriptedEngine([generic.ids('bridge"}}\n</tool_call>'), generic.ids("Yes.")], [SURE])
    await generic.play(replace(asked("When?"), whose=Whose("tenant")), engine)
    assert engine.keys == {"tenant"}
    assert engine.begun == [False, True, True]  # a turn that was let in is not refused on its way


async def test_closing_frees_the_engine(generic: Stage) -> None:
    engine = ScriptedEngine([generic.ids("word " * 200)], [UNSURE])
    events = generic.open(asked("When?"), engine)
    for _ in range(5):
        await anext(events)
    assert engine.running == 1
    await events.aclose()
    assert engine.running == 0


async def test_a_prompt_without_room_is_refused_where_nothing_is_decided_too(generic: Stage) -> None:
    with pytest.raises(PromptTooLong):
        await generic.play(asked("word " * 3000, choice="none"), ScriptedEngine([generic.ids("Hi.")]))
