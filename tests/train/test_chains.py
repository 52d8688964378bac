"""Worlds in which one thing leads to another: facts stand where they say, and rows are the turns a server plays."""

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from app.agent import confidence
from app.agent.mask import GrammarMask, vocabulary_of
from app.agent.prompt import Renderer, show
from app.cores import grammar
from app.cores.load import TINY_FOLDER, load_tokenizer
from app.cores.profile import TINY
from app.train.chains import relations, strand, world
from app.train.rows import CHOICE, Answer, Hop, Row, Turns
from app.train.searches import hit_of
from app.train.traces import Traces
from app.train.values import KINDS
from index.embed import load_embedder
from index.memory import Memory
from index.reader import load_reader
from index.types import Hit, Mark


def test_every_relation_has_its_phrasings() -> None:
    assert len(relations()) >= 15
    for relation in relations():
        assert len(relation.described) >= 4 and all(text.count("{s}") == 1 for text in relation.described)
        for attribute in (relation.link, *relation.far.attributes):
            assert min(len(attribute.statements), len(attribute.questions)) >= 4 and len(attribute.evasions) >= 2
            assert all(text.count("{s}") == text.count("{v}") == 1 for text in attribute.statements)
            for text in (*attribute.questions, *attribute.evasions):
                assert text.count("{s}") == 1 and "{v}" not in text
            # The second query begins with words of the question.
            assert not any(text.startswith("{s}") for text in attribute.questions)
        assert all(attribute.value in KINDS for attribute in relation.far.attributes)


@pytest.mark.parametrize("seed", range(20))
def test_what_is_told_stands_in_its_world_and_leads_from_question_to_answer(seed: int) -> None:
    made = world(Random(seed))
    assert made == world(Random(seed)) != world(Random(seed + 1))
    passages = [text for document in made.documents.values() for text in document.split("\n\n")]
    assert not any(mark in text for text in passages for mark in ("\0", "{", "}"))
    led = 0
    for asked in made.asked:
        for told in (asked.fact, asked.link):
            if told:
                (holding,) = [text for text in passages if told.sentence in text]
                start, end = told.place(holding)
                assert holding[start:end] == told.value == told.value.strip() != ""
        if asked.around and asked.fact and asked.link:
            before, after = asked.around
            assert before and asked.question.startswith(before) and asked.question.rstrip(" ?").endswith(after)
            assert asked.link.value.lower() in asked.fact.sentence.lower()
            led += not any(map(asked.answered_by, passages))
    assert led > 20


def test_things_of_a_strand_are_told_apart_and_some_of_what_is_asked_is_not_told() -> None:
    cases = set()
    for seed in range(30):
        made = strand(Random(seed), relations()[seed % len(relations())])
        assert len({section.heading for section in (*made.near, *made.far)}) == len(made.near) + len(made.far)
        for asked in made.asked:
            if asked.around:
                cases.add((bool(asked.link), bool(asked.fact), any(map(asked.answered_by, made.texts))))
    assert cases == {(True, True, False), (True, True, True), (True, False, False), (False, True, False),
                     (False, False, False)}  # fmt: skip


QUESTION = "When was the firm that built the “Orlo” bridge founded?"
FIRST = ["The “Orlo” bridge is old.", 'It was "Tarn & Sons" that built the “Orlo” bridge.']
SECOND = ['"Tarn & Sons" was founded in 1931.', "Tarn Ltd was founded in 1802.", "Nobody was founded."]


@pytest.fixture(scope="module")
def turns() -> Turns:
    return Turns(Renderer(load_tokenizer(TINY_FOLDER), TINY))


def hits(texts: Sequence[str]) -> list[Hit]:
    return [hit_of(text, Mark(0, 3, 0.5)) for text in texts]


def chained(turns: Turns, answer: Answer | None) -> Row:
    hop = Hop((2, 'Tarn & Sons"'), ("When was", "founded"), hits(SECOND))
    return turns.read((), QUESTION, QUESTION, hits(FIRST), answer, hop)


def test_a_row_of_two_searches_is_what_the_server_renders(turns: Turns) -> None:
    row = chained(turns, (3, "1931"))
    tokenizer = turns.renderer.tokenizer
    query = 'When was Tarn & Sons" founded'
    ends = [n + 1 for n, number in enumerate(row.ids) if number == turns.end and row.weights[n]]
    assert len(ends) == 3 and ends[-1] == len(row.ids)
    messages: list[dict[str, Any]] = [{"role": "user", "content": QUESTION}]
    so_far = turns.renderer.start(messages)
    calls = [("I must look this up.", QUESTION, FIRST, 1), ("On from [2].", query, SECOND, 3)]
    for (thought, asked, texts, first), end in zip(calls, ends, strict=False):
        assert row.ids[: len(so_far)] == so_far
        call = {"function": {"name": "search_memory", "arguments": {"query": asked}}}
        messages.append({"role": "assistant", "reasoning_content": thought, "content": "", "tool_calls": [call]})
        messages.append({"role": "tool", "name": "search_memory", "content": show(hits(texts), TINY, first)[0]})
        so_far = turns.renderer.extend(messages, (), row.ids[:end])
    assert row.ids[: len(so_far)] == so_far
    written = str(tokenizer.decode(row.ids[len(so_far) :]))
    assert written == grammar.FOUND.format(3) + " 1931" + grammar.cite(2, 3) + "<|im_end|>"


@pytest.mark.parametrize("answer", [(3, "1931"), None])
def test_what_a_row_writes_is_under_the_masks_and_only_that_is_learned(turns: Turns, answer: Answer | None) -> None:
    row, vocabulary = chained(turns, answer), vocabulary_of(turns.renderer.tokenizer)
    written: list[list[int]] = [[]]
    for number, weight in zip(row.ids, row.weights, strict=True):
        if weight:
            written[-1].append(number)
            written += [[]] if number == turns.end else []
    grammars = (
        grammar.first_round(QUESTION),
        grammar.lead(QUESTION, FIRST),
        grammar.judge(SECOND, first=3, via=[2]),
    )
    for allowed, ids in zip(grammars, written, strict=False):
        mask = GrammarMask(allowed, vocabulary)
        assert all(number in mask(ids[:n]) for n, number in enumerate(ids))
    chosen = [
        str(turns.renderer.tokenizer.decode([n])) for n, w in zip(row.ids, row.weights, strict=True) if w == CHOICE
    ]
    assert chosen == ["On", "2", *(["[", "3"] if answer else ["No"])]


def test_the_three_verdicts_part_at_one_token(turns: Turns) -> None:
    verdicts = (grammar.FOUND, grammar.LEADS, grammar.ABSENT)
    openings = [confidence.opening(turns.renderer.tokenizer, verdict) for verdict in verdicts]
    assert len({tuple(ids[:-1]) for ids in openings}) == 1
    assert len({ids[-1] for ids in openings}) == len({len(ids) for ids in openings}) * 3 == 3


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder: Path = tmp_path_factory.mktemp("chains")
    memory = Memory(folder / "memory", load_embedder(), load_reader())
    try:
        Traces(memory, folder / "chains.jsonl").worlds(range(1), each=12)
    finally:
        memory.close()
    return [json.loads(line) for line in (folder / "chains.jsonl").read_text("utf-8").splitlines()]


def test_traces_search_on_from_the_passage_that_names_what_is_described(rows: list[dict[str, Any]]) -> None:
    hops = [row["hop"] for row in rows if "hop" in row]
    answered = [hop for hop in hops if hop["gold"] is not None]
    assert len(hops) >= 4 and len(answered) >= 2
    for row in rows:
        if "hop" in row:
            hop = row["hop"]
            assert row["gold"] is None
            name = row["hits"][hop["lead"]]["text"][slice(*hop["name"])]
            before, after = hop["around"]
            assert hop["question"] == " ".join(filter(None, (before, name, after)))
    for hop in answered:
        value = hop["hits"][hop["gold"]]["text"][slice(*hop["span"])]
        assert value and value == value.strip()
