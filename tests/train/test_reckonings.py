"""Sums over what a passage gives, and passages that differ: what they say stands where they say, and rows follow it."""

import json
import re
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from app.agent.expression import implied, numbers
from app.agent.mask import GrammarMask, vocabulary_of
from app.agent.prompt import Renderer, show
from app.agent.tools import calculate
from app.cores import grammar
from app.cores.load import TINY_FOLDER, load_tokenizer
from app.cores.profile import TINY
from app.train import reckonings
from app.train.conflicts import conflict
from app.train.reckonings import measures, page
from app.train.rows import Turns
from app.train.searches import hit_of
from app.train.traces import Traces
from index.embed import load_embedder
from index.memory import Memory
from index.reader import load_reader
from index.types import Mark


def test_every_measure_has_its_phrasings() -> None:
    assert len(measures()) >= 25
    for measure in measures():
        for text in (*measure.statements, *measure.plain, *measure.evasions):
            assert "{s}" in text or measure.statements == [text]
        assert all("{v}" in text for text in measure.statements) and len(measure.statements) >= 4
        assert all(subject.count("|") == 1 and subject.count("{n}") == 2 for subject in measure.subjects)
        for question, expression in measure.sums:
            assert ("{s}" in question or "{ss}" in question) and re.search(r"\{[vw]\}", expression)
            assert "{w}" not in expression or all("{w}" in text for text in measure.statements)


def test_measures_of_two_numbers_give_them_in_either_order_and_ask_for_both() -> None:
    double = [measure for measure in measures() if all("{w}" in text for text in measure.statements)]
    assert len(double) >= 14
    assert sum(len({text.index("{v}") < text.index("{w}") for text in one.statements}) == 2 for one in double) >= 12
    for measure in double:
        both = {sum_ for _, sum_ in measure.sums if "{v}" in sum_ and "{w}" in sum_}
        assert len(both) >= 3 and len({question for question, _ in measure.sums}) == len(measure.sums) >= 8


def test_the_two_numbers_of_a_passage_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    few = replace(measures()[-1], low=2, high=3, cents=0.0, amount=["{}"], statements=["From {w} to {v}: {s}."])
    monkeypatch.setattr(reckonings, "measures", lambda: (few,))
    told = [re.search(r"From (\d) to (\d)", one.section) for seed in range(20) for one in page(Random(seed)).asked]
    given = [found.groups() for found in told if found]
    assert len(given) > 200 and all(first != second for first, second in given)


@pytest.mark.parametrize("seed", range(40))
def test_what_a_page_is_asked_can_be_reckoned_from_it(seed: int) -> None:
    made = page(Random(seed))
    assert "{" not in made.text and made.text.count("## ") == len(made.sections)
    for asked in made.asked:
        assert asked.section in made.text
        if asked.sentence is None:
            assert asked.place(None) == (0, 0) and asked.evading == asked.section
            continue
        assert asked.sentence in asked.section and asked.sentence not in asked.evading
        start, end = asked.place(made.text)
        assert made.text.count(asked.sentence) == 1
        assert numbers(made.text[start:end])
        if asked.expression:
            given = f"{asked.question}\n{asked.sentence}"
            assert numbers(asked.expression) <= implied(given) | numbers(given)
            assert calculate(asked.expression)


def test_a_quarter_of_what_pages_are_asked_is_left_open() -> None:
    asked = [one for seed in range(40) for one in page(Random(seed)).asked]
    assert 0.65 < sum(one.sentence is not None for one in asked) / len(asked) < 0.85


@pytest.mark.parametrize("seed", range(40))
def test_the_version_that_holds_comes_first(seed: int) -> None:
    made = conflict(Random(seed))
    for version in made.versions:
        assert version.value.strip() and version.passage.text.startswith(version.when)
    first, second = (re.findall(r"\b20\d\d\b", version.when) for version in made.versions)
    if made.settled and first and second:
        assert max(first) > max(second)
    assert made.settled == any(version.when for version in made.versions)


def test_rows_are_turns_that_the_server_plays() -> None:
    """The masks of the server allow just what the rows write."""
    tokenizer = load_tokenizer(TINY_FOLDER)
    turns, vocabulary = Turns(Renderer(tokenizer, TINY)), vocabulary_of(tokenizer)
    texts = ["The Kelvo lamp costs 12.50 euros.", "The lamp is 11 euros."]
    hits = [hit_of(text, Mark(0, 3, 0.5)) for text in texts]
    user = "What do 4 Kelvo lamps cost?"
    shown = [one.text for one in show(hits, TINY)[1]]
    reckoned = turns.reckon((), user, user, hits, 1, "12.50 * 4")
    differing = turns.read((), user, user, hits, (1, "12.50 euros"), other=(2, "11 euros"))
    told = str(tokenizer.decode(reckoned.ids))
    assert told.endswith("The answer is 50 [1].<|im_end|>") and '"expression": "12.50 * 4"' in told
    sums, answers = grammar.reckon(user, shown), grammar.judge(shown, differ=[(0, 1), (1, 0)])
    for row, allowed in ((reckoned, sums), (reckoned, grammar.conclude("50", 1)), (differing, answers)):
        rounds = _written(row.ids, row.weights, turns.end)
        walked = [ids for ids in rounds if GrammarMask(allowed, vocabulary).paths(ids)]
        (ids,) = walked
        mask = GrammarMask(allowed, vocabulary)
        assert all(number in mask(ids[:n]) for n, number in enumerate(ids))


def _written(ids: list[int], weights: list[float], end: int) -> list[list[int]]:
    """The rounds that a row's core writes: each from the first token that counts to the one that ends it."""
    rounds: list[list[int]] = [[]]
    for number, weight in zip(ids, weights, strict=True):
        if weight or rounds[-1]:
            rounds[-1].append(number)
            rounds += [[]] if number == end else []
    return [one for one in rounds if one]


def test_searches_for_sums_say_which_passage_gives_the_number(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "memory", load_embedder(), load_reader())
    try:
        Traces(memory, tmp_path / "reckonings.jsonl").reckonings(range(1), pages=2)
    finally:
        memory.close()
    rows: list[dict[str, Any]] = [json.loads(line) for line in (tmp_path / "reckonings.jsonl").read_text().splitlines()]
    given = [row for row in rows if row["gold"] is not None]
    assert len(given) > len(rows) // 3 and {bool(row["expression"]) for row in given} == {True, False}
    for row in given:
        assert numbers(row["hits"][row["gold"]]["text"][slice(*row["span"])])
