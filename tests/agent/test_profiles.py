"""Bigger cores of other families: each protocol through a whole turn, and the checkpoint that is told its profile."""

import json
import math
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from app.agent.events import Calculated, Cited, Decided, Done, Event, Searched, Thinking, ToolCall
from app.agent.loop import answer
from app.agent.parser import Call, Malformed, ReplyParser
from app.agent.prompt import Renderer
from app.agent.tools import CALCULATOR, SEARCH_MEMORY
from app.agent.turn import Message, Policy, Turn, TurnRefused
from app.api import Parts
from app.cores.load import Core, UnknownCore, load_core, load_remote_core, sampled
from app.cores.profiles import PROFILES, profile_for
from app.engine.types import Sampling, UnsupportedModel
from app.settings import read
from index.memory import Memory
from tests.agent.asking import SURE, UNSURE, asked, done, only, reply
from tests.agent.conftest import Stage
from tests.agent.dialects import CONTEXT, DIALECTS, GRANITE, HEADERS, LLAMA3, OCC_RAG, QWEN35, SMOLLM3, VOCAB, Dialect
from tests.api.live import live
from tests.fakes import HashedWords, ScriptedEngine

ADD = {
    "type": "function",
    "function": {"name": "add", "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}}},
}


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    return DIALECTS[request.param]


@pytest.fixture
def stage(dialect: Dialect, memory: Memory) -> Stage:
    return Stage(dialect.tokenizer(), memory, dialect.profile)


def scripted(*scripts: list[int], score: float) -> ScriptedEngine:
    return ScriptedEngine(scripts, [score], vocab_size=VOCAB, context_length=CONTEXT)


def rest(dialect: Dialect, query: str) -> str:
    """A search as it goes on after its opening."""
    whole = dialect.call("search_memory", {"query": query})
    return whole[whole.index(query) :]


async def test_a_search_is_decided_by_the_opening_shown_and_cited(dialect: Dialect, stage: Stage) -> None:
    script = [stage.ids(rest(dialect, "bridge opened")), stage.ids("The bridge opened in 1969 [1].")]
    events = await stage.play(asked("When?"), engine := scripted(*script, score=SURE))
    assert only(events, Decided) == [Decided(pytest.approx(0.9), True)]  # type: ignore[arg-type]
    ((_, opening),) = engine.scored
    assert stage.tokenizer.decode(opening) == stage.profile.search_opening
    assert dialect.call("search_memory", {"query": "bridge"}).startswith(stage.profile.search_opening)
    assert only(events, Searched)[0].query == "bridge opened"
    assert only(events, Cited)[0].quote == "The bridge opened in 1969."
    assert reply(events).startswith("The bridge opened in 1969 [1].")
    shown = str(stage.tokenizer.decode(engine.prompts[1]))
    assert dialect.call("search_memory", {"query": "bridge opened"}) in shown
    assert "[1] bridge.md" in shown.partition("bridge opened")[2]


async def test_it_talks_and_calculates_by_itself(dialect: Dialect, stage: Stage) -> None:
    events = await stage.play(asked("Hi"), scripted(stage.ids("Hello!"), score=UNSURE))
    assert reply(events) == "Hello!"
    assert not only(events, Searched)
    script = [stage.ids(dialect.call("calculate", {"expression": "6 * 7"})), stage.ids("It is 42.")]
    events = await stage.play(asked("6 * 7?"), scripted(*script, score=UNSURE))
    assert only(events, Calculated) == [Calculated("6 * 7", "42")]
    assert reply(events) == "It is 42."


async def test_a_call_it_spoils_is_told(dialect: Dialect, stage: Stage) -> None:
    spoilt = {
        "llama3": ('{"name": "calculate", "parameters": {"expression": 1', "not JSON"),
        "qwen3.5": ('<tool_call>\n{"name": "calculate"}\n</tool_call>', "names no tool"),
    }.get(stage.profile.name, ("<tool_call>\ncalculate(1)\n</tool_call>", "not JSON"))
    for text, told in (spoilt, (dialect.call("calculate", {"sum": "1"}), "needs the text argument")):
        script = [stage.ids(text), stage.ids("I see.")]
        events = await stage.play(asked("1?"), engine := scripted(*script, score=UNSURE))
        assert told in stage.tokenizer.decode(engine.prompts[1])
        assert reply(events) == "I see."


async def test_a_named_function_is_forced_and_its_arguments_are_typed(dialect: Dialect, stage: Stage) -> None:
    turn = replace(asked("Add five.", choice="required", function="add"), tools=[ADD])
    whole = dialect.call("add", {"n": 5})
    opened = whole[: whole.index("add") + 3] + stage.profile.arguments_follow
    assert whole.startswith(opened)
    events = await stage.play(turn, engine := scripted(stage.ids(whole.removeprefix(opened)), score=UNSURE))
    assert str(stage.tokenizer.decode(engine.prompts[0])).endswith(opened)
    (call,) = only(events, ToolCall)
    assert (call.name, json.loads(call.arguments)) == ("add", {"n": 5})
    assert done(events).finish_reason == "tool_calls"


@pytest.mark.parametrize("name", [name for name, dialect in DIALECTS.items() if dialect.thinking])
async def test_thoughts_come_before_the_decision(name: str, memory: Memory) -> None:
    dialect = DIALECTS[name]
    stage = Stage(dialect.tokenizer(), memory, dialect.thinking)
    begun = "" if stage.profile.name == "qwen3.5-thinking" else "<think>\n"  # in the prompt already
    thoughts = f"{begun}Hm, the bridge.\n</think>" + stage.profile.decide_after.removeprefix("</think>")
    found = [stage.ids(rest(dialect, "bridge")), stage.ids(f"{begun}Found.\n</think>\n\nIn 1969 [1].")]
    events = await stage.play(asked("When?"), engine := scripted(stage.ids(thoughts, end=False), *found, score=SURE))
    assert str(stage.tokenizer.decode(engine.scored[0][0])).endswith(stage.profile.decide_after)
    assert "".join(t.text for t in only(events, Thinking)) == "Hm, the bridge.Found."
    assert only(events, Searched)[0].query == "bridge"
    assert reply(events).startswith("In 1969 [1].")
    assert done(events).reasoning_tokens > 0


def test_one_system_message_leads(dialect: Dialect, stage: Stage) -> None:
    renderer = Renderer(stage.tokenizer, stage.profile)
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi again"},
    ]
    text = str(stage.tokenizer.decode(renderer.start(messages, [SEARCH_MEMORY, CALCULATOR])))
    assert text.index("search_memory whatever") < text.index("Be brief.") < text.index("Be kind.") < text.index("Hi")
    assert '"calculate"' in text or "'calculate'" in text


def test_a_round_begins_with_the_ids_of_the_round_before() -> None:
    for name in ("smollm3", "granite", "llama3"):
        dialect = DIALECTS[name]
        tokenizer = dialect.tokenizer()
        renderer = Renderer(tokenizer, PROFILES[dialect.profile])
        question = {"role": "user", "content": "When?"}
        written = dialect.call("search_memory", {"query": "bridge"}) + dialect.ends[0]
        so_far = [*renderer.start([question]), *tokenizer.encode(written, add_special_tokens=False)]
        call = {"type": "function", "function": {"name": "search_memory", "arguments": {"query": "bridge"}}}
        said: list[Message] = [
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "[1] 1969"},
        ]
        assert renderer.extend([question, *said], (), so_far)[: len(so_far)] == so_far


def test_what_a_template_refuses_is_the_requests_fault() -> None:
    call = {"type": "function", "function": {"name": "add", "arguments": {"n": 5}}}
    messages: list[Message] = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "", "tool_calls": [call, call]},
    ]
    with pytest.raises(TurnRefused, match="template refuses them: One call at once!"):
        Renderer(DIALECTS["llama3"].tokenizer(), PROFILES["llama3"]).start(messages)


def parsed(dialect: Dialect, text: str, profile: str = "") -> tuple[str, list[Call | Malformed]]:
    tokenizer = dialect.tokenizer()
    parser = ReplyParser(tokenizer, PROFILES[profile or dialect.profile], "", [ADD])
    pieces = [p for number in tokenizer.encode(text, add_special_tokens=False) for p in parser.feed(number)]
    return "".join(p.text for p in pieces + parser.finish()), parser.calls


@pytest.mark.parametrize(
    "text",
    [
        '<|python_tag|>{"name": "add", "parameters": {"n": 5}}',
        '\n{"type": "function", "name": "add", "parameters": {"n": 5}}',
        '{"name": "add", "arguments": {"n": "5"}}',
        '{"name": "add", "parameters": "{\\"n\\": 5}"}',
    ],
)
def test_the_ways_in_which_llama_calls(text: str) -> None:
    assert parsed(DIALECTS["llama3"], text) == ("", [Call("add", {"n": 5})])


@pytest.mark.parametrize("text", ['{"name": "Bob", "age": 5}', '{"answer": 5}', 'So: {"name": "a", "parameters": {}}'])
def test_json_that_is_no_call_is_text(text: str) -> None:
    assert parsed(DIALECTS["llama3"], text) == (text, [])


@pytest.mark.parametrize(
    ("body", "call"),
    [
        ("<function=add>\n<parameter=n>\n5\n</parameter>\n</function>\n", Call("add", {"n": 5})),
        ("<function=add><parameter=n>5</parameter></function>", Call("add", {"n": 5})),
        ("<function=add>\n<parameter=n>\n5\n", Call("add", {"n": 5})),
        ("<function=add>\n<parameter=s>\na\n\nb\n</parameter>\n</function>\n", Call("add", {"s": "a\n\nb"})),
        ("<function=add>\n</function>\n", Call("add", {})),
        ("", Malformed("", "the call names no tool")),
        ("<parameter=n>\n5\n</parameter>", Malformed("<parameter=n>\n5\n</parameter>", "the call names no tool")),
    ],
)
def test_the_ways_in_which_qwen35_calls(body: str, call: Call | Malformed) -> None:
    assert parsed(DIALECTS["qwen3.5"], f"<tool_call>\n{body}</tool_call>") == ("", [call])


@pytest.mark.parametrize(
    ("family", "template", "profile"),
    [
        ("qwen3_5", QWEN35, "qwen3.5"),
        ("qwen3_moe", QWEN35, "qwen3.5"),
        ("smollm3", SMOLLM3, "smollm3"),
        ("granite", GRANITE, "hermes"),
        ("llama", LLAMA3, "llama3"),
        ("llama", "<tool_call>", "hermes"),
        ("qwen3", "<tool_call> enable_thinking", "qwen3"),
        ("mistral", LLAMA3, None),
        ("llama", "{{ messages }}", None),
        ("qwen3", "<tool_call> enable_thinking <|query_start|>", None),
        ("qwen3", OCC_RAG, "occ-rag"),
    ],
)
def test_a_checkpoint_gets_the_profile_of_its_template(family: str, template: str, profile: str | None) -> None:
    chosen = profile_for({"model_type": family}, template)
    assert (chosen.name if chosen else None) == profile
    assert profile_for({"model_type": family, "cogcore_profile": "llama3"}, template) == PROFILES["llama3"]


def test_how_a_checkpoint_wants_to_be_sampled_goes_before_its_profile() -> None:
    def numbers(name: str, **given: object) -> tuple[float, float, int]:
        profile = sampled(PROFILES[name], given)
        return profile.temperature, profile.top_p, profile.top_k

    assert numbers("qwen3", do_sample=True, temperature=0.6, top_p=0.95) == (0.6, 0.95, 0)
    assert numbers("qwen3", do_sample=False, temperature=0.6) == (0.0, 1.0, 0)
    assert numbers("qwen3", eos_token_id=2) == (0.7, 0.8, 20)
    assert numbers("tiny", do_sample=True, temperature=0.6) == (0.0, 1.0, 0)


@pytest_asyncio.fixture(params=[name for name in DIALECTS if name != "qwen3.5"])
async def core(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Core]:
    folder = DIALECTS[request.param].write(tmp_path, do_sample=True, temperature=0.4, top_k=7)
    made = load_core(str(folder), max_sequences=2)
    assert made.profile.name == DIALECTS[request.param].profile
    ends = [made.tokenizer.convert_tokens_to_ids(token) for token in DIALECTS[request.param].ends]
    assert made.ends >= set(ends)
    yield made
    await made.engine.close()


async def play(core: Core, memory: Memory) -> list[Event]:
    turn = Turn(
        [{"role": "user", "content": "When did the bridge open?"}],
        stores=["default"],
        policy=Policy(choice="required"),
        sampling=Sampling(max_tokens=24),
    )
    async with aclosing(answer(turn, core, memory)) as events:
        return [event async for event in events]


async def test_a_random_checkpoint_is_loaded_and_goes_through_the_loop(core: Core, memory: Memory) -> None:
    assert core.engine.context_length == CONTEXT
    assert (core.profile.temperature, core.profile.top_p, core.profile.top_k) == (0.4, 1.0, 7)
    events = await play(core, memory)
    (decided,) = only(events, Decided)
    prompt = Renderer(core.tokenizer, core.profile).start(
        [{"role": "user", "content": "When did the bridge open?"}], [CALCULATOR, SEARCH_MEMORY]
    )
    opening = core.tokenizer.encode(core.profile.search_opening, add_special_tokens=False)
    scored = await core.engine.score(prompt, opening)
    assert decided.searches
    assert decided.need == pytest.approx(math.exp(sum(scored.logprobs)), rel=1e-3)
    assert isinstance(events[-1], Done)


async def test_qwen35_runs_on_another_server(tmp_path: Path, memory: Memory) -> None:
    (tmp_path / "here").mkdir()
    folder = DIALECTS["qwen3.5"].write(tmp_path / "here")
    with pytest.raises(UnsupportedModel, match=r"qwen3_5.*COGCORE_CORE_URL"):
        load_core(str(folder))
    # Nothing here runs Qwen3.5: a core of the same vocabulary stands in for it there.
    stand_in = replace(DIALECTS["qwen3.5"], family="qwen3-tied").write(tmp_path / "there")
    parts = Parts(
        load_core(str(stand_in), max_sequences=2, threads=1),
        Memory(tmp_path, HashedWords()),
        read(data_dir=tmp_path, sample=False, reader="none"),
    )
    with live(parts) as url:
        there = load_remote_core(str(folder), [url])
        try:
            assert (there.profile.name, there.engine.context_length) == ("qwen3.5", CONTEXT)
            events = await play(there, memory)
        finally:
            await there.engine.close()
    assert only(events, Decided)[0].searches
    assert isinstance(events[-1], Done)


def test_a_template_without_calls_is_refused(tmp_path: Path) -> None:
    folder = replace(DIALECTS["llama3"], template="{{ messages }}", tokens=HEADERS).write(tmp_path)
    with pytest.raises(UnknownCore, match=r"knows no tool calls.*llama3"):
        load_core(str(folder))
