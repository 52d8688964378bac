"""Calls of strict functions: whatever a core would write, their arguments follow the schema, or the turn is refused."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jsonschema
import pytest

from app.agent.events import Thinking, ToolCall
from app.agent.turn import Turn, TurnRefused
from app.cores.load import Core
from app.cores.profiles import PROFILES
from index.memory import Memory
from tests.agent.asking import UNSURE, asked, done, only, reply
from tests.agent.conftest import Stage, play
from tests.agent.dialects import CONTEXT, DIALECTS, VOCAB, hermes
from tests.fakes import ScriptedEngine

SIZES: dict[str, Any] = {
    "type": "object",
    "properties": {"size": {"enum": ["small", "medium"]}, "colour": {"$ref": "#/$defs/colour"}},
    "required": ["size", "colour"],
    "additionalProperties": False,
    "$defs": {"colour": {"enum": ["red", "blue"]}},
}


def function(name: str, parameters: Mapping[str, Any] | None = SIZES, strict: bool | None = True) -> dict[str, Any]:
    given = {"name": name, "parameters": parameters, "strict": strict}
    return {"type": "function", "function": {key: value for key, value in given.items() if value is not None}}


def ordering(*tools: dict[str, Any], **policy: object) -> Turn:
    return replace(asked("Order one.", **policy), tools=tools or (function("order"),))


def scripted(*scripts: list[int]) -> ScriptedEngine:
    return ScriptedEngine(scripts, [UNSURE], vocab_size=VOCAB, context_length=CONTEXT)


@pytest.mark.parametrize("name", ["hermes", "llama3"])
async def test_arguments_follow_the_schema_of_a_strict_function(name: str, generic: Stage, memory: Memory) -> None:
    bare = DIALECTS["llama3"]
    stage, write = (Stage(bare.tokenizer(), memory, name), bare.call) if name == "llama3" else (generic, hermes)
    wrong = write("order", {"size": "enormous", "colour": 7, "and": "more"})
    (call,) = only(await stage.play(ordering(), scripted(stage.ids(wrong))), ToolCall)
    jsonschema.validate(json.loads(call.arguments), SIZES)
    # The same words for a function that is not strict are told as they are.
    (call,) = only(await stage.play(ordering(function("order", strict=None)), scripted(stage.ids(wrong))), ToolCall)
    assert json.loads(call.arguments) == {"size": "enormous", "colour": 7, "and": "more"}


async def test_words_stay_free_and_may_come_before_a_call(generic: Stage) -> None:
    events = await generic.play(ordering(), scripted(generic.ids("No {order} <today>.")))
    assert reply(events) == "No {order} <today>."
    right = {"size": "small", "colour": "red"}
    events = await generic.play(ordering(), scripted(generic.ids("At once.\n" + hermes("order", right))))
    assert reply(events) == "At once."
    assert [json.loads(call.arguments) for call in only(events, ToolCall)] == [right]


async def test_a_call_cannot_be_spelled_past_its_tag(generic: Stage) -> None:
    letters = [number for letter in hermes("order", {"size": 9}) for number in generic.ids(letter, end=False)]
    events = await generic.play(ordering(), scripted([*letters, *generic.ids("")]))
    for call in only(events, ToolCall):
        jsonschema.validate(json.loads(call.arguments), SIZES)
    assert "<tool_call>" not in reply(events)


async def test_no_call_among_thoughts(memory: Memory, generic: Stage) -> None:
    stage = Stage(generic.tokenizer, memory, "qwen3-thinking")
    script = stage.ids("<think>\nI order: " + hermes("order", {"size": 9}) + "</think>\n\n", end=False)
    events = await stage.play(ordering(), scripted(script, stage.ids("Done.")))
    assert not only(events, ToolCall) and "I order" in "".join(thought.text for thought in only(events, Thinking))


async def test_parameters_that_are_left_out_are_none(generic: Stage) -> None:
    tools = [function("order", parameters=None), function("count", parameters={})]
    script = hermes("order", {"size": 9}) + "\n" + hermes("count", {"to": 9})
    events = await generic.play(ordering(*tools), scripted(generic.ids(script)))
    assert next(call.arguments for call in only(events, ToolCall)) == "{}"


@pytest.mark.parametrize("seed", range(3))
async def test_a_core_without_sense_calls_rightly(core: Core, memory: Memory, seed: int) -> None:
    """On the real engine."""
    turn = ordering(choice="required", function="order", parallel=False)
    turn = replace(turn, sampling=replace(turn.sampling, temperature=1.0, seed=seed, max_tokens=150))
    _, events = await play(turn, replace(core, profile=PROFILES["hermes"]), memory)
    for call in (event for event in events if isinstance(event, ToolCall)):
        jsonschema.validate(json.loads(call.arguments), SIZES)
    assert done(events).finish_reason in ("tool_calls", "length")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("schema", "field"),
    [
        ({"type": "object", "properties": {"a": {"not": {}}}}, "tools[1].function.parameters"),
        ({"type": "string"}, "tools[1].function.parameters"),
    ],
)
async def test_a_schema_that_cannot_be_kept_is_refused_by_its_field(generic: Stage, schema: Any, field: str) -> None:
    with pytest.raises(TurnRefused) as refused:
        await generic.play(ordering(function("order"), function("other", schema)), scripted())
    assert refused.value.field == field
    # Nobody may call it: then nothing needs to be kept.
    await generic.play(ordering(function("other", schema), choice="none"), scripted(generic.ids("No.")))


@pytest.mark.parametrize("name", ["qwen3.5", "smollm3-thinking"])
async def test_cores_whose_calls_are_not_held_refuse(name: str, memory: Memory) -> None:
    dialect = DIALECTS[name.removesuffix("-thinking")]
    stage = Stage(dialect.tokenizer(), memory, name)
    with pytest.raises(TurnRefused, match="leave out 'tools") as refused:
        await stage.play(ordering(function("one", strict=False), function("order")), scripted())
    assert refused.value.field == "tools[1].function.strict"


async def test_an_engine_without_masks_refuses(generic: Stage) -> None:
    engine = scripted()
    engine.masks = False
    with pytest.raises(TurnRefused, match="COGCORE_CORE_URL") as refused:
        await generic.play(ordering(), engine)
    assert refused.value.field == "tools[0].function.strict"
    with pytest.raises(TurnRefused, match="COGCORE_CORE_URL") as refused:
        await generic.play(replace(asked("Hi"), reply_schema=SIZES), engine)
    assert refused.value.field == "response_format"
    events = await generic.play(ordering(function("order", strict=False)), (engine := scripted(generic.ids("Hi."))))
    assert engine.samplings[0].mask is None and reply(events) == "Hi."
