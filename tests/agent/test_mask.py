"""Masks: whatever they let through is in the grammar, and whatever training writes gets through."""

import json
from itertools import permutations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from app.agent.mask import WORD, Found, GrammarMask, MaskError, Path, Vocabulary
from app.cores import grammar
from app.cores.grammar import Free, Grammar, Literal, Span
from app.cores.load import TINY_FOLDER

tokenizer = AutoTokenizer.from_pretrained(TINY_FOLDER)
vocabulary = Vocabulary(tokenizer)
texts = st.text(
    st.one_of(st.sampled_from('ab é日本🙂\u0301 .,"\\\n-'), st.characters(codec="utf-8")), min_size=1, max_size=40
)


def encoded(text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False))


def decoded(ids: list[int]) -> str:
    return b"".join(vocabulary.bytes[i] for i in ids).decode()


def walk(mask: GrammarMask, rng: Random, limit: int = 300) -> list[int]:
    """A random text of the grammar, token by token; without the end."""
    ids: list[int] = []
    while (chosen := rng.choice(list(mask(ids)))) != vocabulary.end:
        ids.append(chosen)
        assert len(ids) < limit
    return ids


def parts(text: str, spaced: bool, rng: Random) -> tuple[int, int, str]:
    """A random span of a text and how it is written."""
    words = list(WORD.finditer(text))
    first = rng.randrange(len(words))
    last = rng.randrange(first, len(words))
    start, end = words[first].start(), words[last].end()
    return start, end, (" " if spaced else "") + text[start:end]


@settings(deadline=None, max_examples=60)
@given(st.lists(texts.filter(WORD.search), min_size=1, max_size=4), st.integers(0, 2**32))
def test_accepted_paths_are_in_the_grammar(excerpts: list[str], seed: int) -> None:
    mask = GrammarMask(grammar.judge(excerpts), vocabulary)
    ids = walk(mask, Random(seed), limit=1000)
    text, paths = decoded(ids), mask.paths(ids)
    assert paths
    for path in paths:
        if path.alternative == len(excerpts):
            assert text == grammar.ABSENT
        else:
            (span,) = path.spans
            n = path.alternative + 1
            words = excerpts[path.alternative][span.start : span.end]
            assert text == grammar.FOUND.format(n) + " " + words + grammar.cite(n)


@settings(deadline=None, max_examples=60)
@given(st.lists(texts.filter(WORD.search), min_size=2, max_size=4), st.integers(0, 2**32))
def test_what_differs_is_of_another_excerpt(excerpts: list[str], seed: int) -> None:
    pairs = list(permutations(range(len(excerpts)), 2))
    mask = GrammarMask(grammar.judge(excerpts, differ=pairs, absent=False), vocabulary)
    ids = walk(mask, Random(seed), limit=2000)
    taken = grammar.answering(len(excerpts), pairs)
    for path in mask.paths(ids):
        first, *others = taken[path.alternative]
        told = [excerpts[n][span.start : span.end] for n, span in zip((first, *others), path.spans, strict=True)]
        text = grammar.FOUND.format(first + 1) + " " + told[0]
        for n, words in zip(others, told[1:], strict=True):
            assert n != first
            text += grammar.but(first + 1) + " " + words
        assert decoded(ids) == text + grammar.cite((others or [first])[0] + 1)


@settings(deadline=None, max_examples=60)
@given(texts.filter(WORD.search), st.booleans(), st.integers(0, 2**32))
def test_canonical_tokens_of_each_segment_are_accepted(text: str, spaced: bool, seed: int) -> None:
    start, end, written = parts(text, spaced, Random(seed))
    ids: list[int] = []
    mask = GrammarMask(((Literal("The query is"), Span(text, spaced), Literal('"}}\n</tool_call>')),), vocabulary)
    for part in ("The query is", written, '"}}\n</tool_call>'):
        for number in encoded(part):
            assert number in mask(ids)
            ids.append(number)
    assert list(mask(ids)) == [vocabulary.end]
    assert Path(0, (Found(start, end),)) in mask.paths([*ids, vocabulary.end])


@settings(deadline=None, max_examples=60)
@given(texts.filter(lambda t: WORD.search(grammar.escaped(t))), st.integers(0, 2**32))
def test_queries_are_json(text: str, seed: int) -> None:
    mask = GrammarMask(grammar.first_round(text, others=False), vocabulary, given=encoded(grammar.SEARCH))
    written = decoded(walk(mask, Random(seed)))
    call = '{"name": "search_memory", "arguments": {"query": "' + written.removesuffix("\n</tool_call>")
    assert json.loads(call)["arguments"]["query"] in text


@settings(deadline=None, max_examples=40)
@given(texts.filter(lambda t: WORD.search(grammar.escaped(t))), st.lists(texts, min_size=1, max_size=3), st.data())
def test_further_queries_join_words_of_the_message_and_of_a_passage(
    text: str, excerpts: list[str], data: st.DataObject
) -> None:
    excerpts = [*excerpts, "The mill is run by the Tarn company."]
    mask = GrammarMask(grammar.lead(text, excerpts, first=5), vocabulary)
    ids = walk(mask, Random(data.draw(st.integers(0, 2**32))), limit=1000)
    written, paths = decoded(ids), mask.paths(ids)
    number = int(written.partition("[")[2].partition("]")[0])
    opening = grammar.LEADS.format(number) + grammar.QUERY
    query = json.loads('"' + written.removeprefix(opening).removesuffix(grammar.CALL_END) + '"')
    assert written.startswith(opening) and paths
    message, passage = grammar.escaped(text), grammar.escaped(excerpts[number - 5])
    for path in paths:
        sources = zip((message, passage, message), path.spans, strict=False)
        parts = [grammar.unescaped(source[span.start : span.end]) for source, span in sources]
        assert path.alternative // 2 == number - 5 and len(parts) == 2 + path.alternative % 2
        assert query == " ".join(parts)


def test_incremental_equals_fresh() -> None:
    made = grammar.judge(["The pump needs 12 litres of oil.", "Nobody knows the year 1969, they say."])
    mask, rng = GrammarMask(made, vocabulary), Random(1)
    for _ in range(20):
        ids = walk(mask, rng)
        for length in rng.sample(range(len(ids) + 1), len(ids)):
            assert mask(ids[:length]) == GrammarMask(made, vocabulary)(ids[:length])


def test_a_span_that_occurs_twice_has_two_readings() -> None:
    mask = GrammarMask(((Span("12 and 12", spaced=True),),), vocabulary)
    assert mask.paths(encoded(" 12")) == [Path(0, (Found(0, 2),)), Path(0, (Found(7, 9),))]


def test_spans_start_and_end_at_words() -> None:
    mask = GrammarMask(((Span("Founded (1969) in Köln.", spaced=True),),), vocabulary)
    assert mask.paths(encoded(" 1969"))
    assert mask.paths(encoded(" Köln"))
    assert not mask.paths(encoded(" ounded"))
    assert not mask.paths(encoded(" Köl"))
    assert not mask.paths(encoded(" köln"))
    assert not mask.paths(encoded("1969"))


def test_free_text_ends_with_the_end_and_has_no_other_special_token() -> None:
    mask = GrammarMask(grammar.first_round("hi", search=False), vocabulary)
    allowed = set(mask(encoded(grammar.TALK)))
    assert vocabulary.end in allowed
    assert not allowed & (set(tokenizer.all_special_ids) | {1}) - {vocabulary.end}
    assert len(allowed) == len(tokenizer) - 2


def test_special_tokens_are_never_part_of_a_span() -> None:
    text = "say <|im_start|> now"
    mask = GrammarMask(((Span(text, spaced=True),),), vocabulary)
    assert 1 not in mask(encoded(" say "))
    rng = Random(0)
    assert all(1 not in walk(mask, rng) for _ in range(50))


def test_after_a_forbidden_token_only_the_end_is_left() -> None:
    mask = GrammarMask(grammar.conclude("42"), vocabulary)
    assert list(mask(encoded("nonsense"))) == [vocabulary.end]
    assert mask.paths(encoded("nonsense")) == []


@pytest.mark.parametrize(
    "impossible",
    [(), ((Span("  "),),), ((Span(""),),), ((Free(), Literal("x")),)],
    ids=["none", "no word", "empty", "free first"],
)
def test_impossible_grammars_are_refused(impossible: Grammar) -> None:
    with pytest.raises(MaskError):
        GrammarMask(impossible, vocabulary)


def test_an_impossible_alternative_is_left_out() -> None:
    mask = GrammarMask(grammar.first_round("   "), vocabulary)
    assert mask.paths(encoded(grammar.TALK) + encoded("Hello."))
    assert list(mask(encoded(grammar.SEARCH))) == [vocabulary.end]


def test_spaces_around_the_words_are_no_dead_end() -> None:
    mask, rng = (
        GrammarMask(grammar.first_round(" When? \n ", others=False), vocabulary, encoded(grammar.SEARCH)),
        Random(0),
    )
    assert all(decoded(walk(mask, rng)).endswith(grammar.CALL_END) for _ in range(50))


def test_literals_leave_no_choice_but_between_alternatives() -> None:
    """Which is what lets the engine run them at once."""
    mask, ids = GrammarMask(grammar.judge(["red", "blue"]), vocabulary), encoded(grammar.FOUND.format(2))
    choices = [list(mask(ids[:n])) for n in range(len(ids))]
    assert [c for c in choices if len(c) > 1] == [sorted(encoded("No[")), sorted(encoded("12"))]
    assert all(number in allowed for number, allowed in zip(ids, choices, strict=True))


def test_reading_paths_leaves_the_engines_thread_alone() -> None:
    mask, ids = GrammarMask(grammar.conclude("42"), vocabulary), encoded(grammar.RESULT)
    mask(ids)
    held = list(mask._ids), list(mask._states)
    assert mask.paths(ids[:3]) == []
    assert (mask._ids, mask._states) == held
