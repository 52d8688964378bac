"""The parser: the same pieces however the tokens fall, and no input that breaks it."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from app.agent.events import Text, Thinking
from app.agent.parser import Call, Detokenizer, Malformed, ReplyParser, Stops
from app.cores import grammar
from app.cores.load import TINY_FOLDER
from app.cores.profiles import PROFILES

tokenizer = AutoTokenizer.from_pretrained(TINY_FOLDER)
PREFIX = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


def encoded(text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False))


def parsed(text: str, prefix: str = PREFIX) -> tuple[str, str, list[Call | Malformed]]:
    """Thoughts, text and calls."""
    parser = ReplyParser(tokenizer, PROFILES["tiny"], prefix)
    pieces = [piece for number in encoded(text) for piece in parser.feed(number)] + parser.finish()
    thoughts = "".join(p.text for p in pieces if isinstance(p, Thinking))
    return thoughts, "".join(p.text for p in pieces if isinstance(p, Text)), parser.calls


def test_the_embedded_cores_own_phrases() -> None:
    search = grammar.SEARCH + grammar.escaped('the "old" pump') + grammar.CALL_END
    assert parsed(search) == ("I must look this up.", "", [Call("search_memory", {"query": 'the "old" pump'})])
    found = grammar.FOUND.format(2) + " 12 litres" + grammar.cite(2)
    assert parsed(found) == ("[2] answers this.", "The answer is 12 litres [2].", [])
    assert parsed(grammar.TALK + "Hello!\n\nHow are you?\n") == ("No lookup is needed.", "Hello!\n\nHow are you?", [])


def test_text_beside_several_calls() -> None:
    call = '<tool_call>\n{"name": "calculate", "arguments": {"expression": "%s"}}\n</tool_call>'
    thoughts, text, calls = parsed("Let me see.\n" + call % "1+1" + "\n" + call % "2+2")
    assert (thoughts, text) == ("", "Let me see.")
    assert calls == [Call("calculate", {"expression": "1+1"}), Call("calculate", {"expression": "2+2"})]


def test_thoughts_that_the_prompt_began() -> None:
    assert parsed("So.\n</think>\n\nYes.", PREFIX + "<think>\n") == ("So.", "Yes.", [])
    assert parsed("Yes.", PREFIX + "<think>\n\n</think>\n\n") == ("", "Yes.", [])


def test_a_call_among_thoughts_counts_when_nothing_follows() -> None:
    call = '<tool_call>\n{"name": "search_memory", "arguments": {"query": "rain"}}\n</tool_call>'
    assert parsed("<think>\nI shall search.\n" + call)[2] == [Call("search_memory", {"query": "rain"})]
    assert parsed("<think>\nI shall search.\n" + call + "\n</think>\n\n")[2] == [
        Call("search_memory", {"query": "rain"})
    ]
    assert parsed("<think>\nShall I " + call + "? No.\n</think>\n\nIt rains.")[1:] == ("It rains.", [])
    assert parsed("<think>\nA <tool_call> is JSON.\n</think>\n\n")[2] == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("{not json}", "not JSON"),
        ('{"name": "calculate", "arguments": {"expression": "1', "not JSON"),
        ('{"arguments": {}}', "names no tool"),
        ('{"name": "calculate", "arguments": [1]}', "JSON object"),
        ('{"name": "calculate", "arguments": "{"}', "not JSON"),
        ("[1, 2]", "not JSON"),
        ("", "not JSON"),
    ],
)
def test_malformed_calls(body: str, reason: str) -> None:
    for end in ("</tool_call>", ""):
        _, _, calls = parsed("<tool_call>" + body + end)
        if body or end:
            (call,) = calls
            assert isinstance(call, Malformed)
            assert reason in call.reason


def test_arguments_as_text_are_read() -> None:
    body = '{"name": "calculate", "arguments": "{\\"expression\\": \\"1\\"}"}'
    assert parsed(f"<tool_call>{body}</tool_call>")[2] == [Call("calculate", {"expression": "1"})]


@settings(deadline=None)
@given(
    st.text(st.one_of(st.sampled_from("日本🙂é a"), st.characters(codec="utf-8", exclude_characters="<")), max_size=30)
)
def test_text_comes_out_whole(text: str) -> None:
    assert parsed(text)[1] == text.strip()


@settings(deadline=None)
@given(st.lists(st.integers(0, len(tokenizer) - 1), max_size=60))
def test_no_ids_break_it(ids: list[int]) -> None:
    parser = ReplyParser(tokenizer, PROFILES["tiny"], PREFIX)
    for number in ids:
        parser.feed(number)
    parser.finish()


def test_no_half_characters() -> None:
    stream, seen = Detokenizer(tokenizer), []
    for number in encoded("日本 🙂🙂 é"):
        seen.append(stream.feed(number))
    assert "".join(seen) == "日本 🙂🙂 é"
    assert "�" not in "".join(seen)


@given(st.text("abc", max_size=30), st.lists(st.text("abc", min_size=1, max_size=4), max_size=3), st.integers())
def test_stops_do_not_depend_on_how_the_text_is_cut(text: str, strings: list[str], seed: int) -> None:
    stops, rng, shown, rest = Stops(strings), Random(seed), "", text
    while rest:
        size = rng.randint(1, 4)
        shown, rest = shown + stops.feed(rest[:size]), rest[size:]
    ends = [(text.find(s) + len(s), text.find(s)) for s in strings if s in text]
    assert stops.hit == bool(ends)
    assert shown + stops.finish() == (text[: min(ends)[1]] if ends else text)


def test_special_tokens_are_not_shown() -> None:
    assert parsed("Yes<|im_start|> and no")[1] == "Yes and no"
