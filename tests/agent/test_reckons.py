"""Turns of a core that calculates with what a passage gives, or tells what another passage says instead."""

import math
from dataclasses import replace

import pytest
from transformers import PreTrainedTokenizerBase

from app.agent.events import Calculated, Cited, Searched, Thinking
from app.agent.prompt import excerpt
from app.agent.turn import Turn
from app.agent.verdict import differing
from app.cores import grammar
from app.train.searches import hit_of
from index.memory import Memory
from index.types import Mark
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

DOCUMENTS = {
    "lamp.md": "# Lamps\n\nIt hangs well. The Kelvo lamp costs 12.50 euros. Two fit in a box.",
    "list.md": "# Old list\n\nLamps are sold singly. The Kelvo lamp costs 11 euros.",
}
RECKONS, FOUND, NEVER = math.log(0.7), math.log(0.2), -30.0
UNKNOWN = "I do not know: nothing in the memory answers this."
QUESTION = "What do 4 Kelvo lamps cost?"


@pytest.fixture(scope="module")
def store(memory: Memory) -> str:
    made = memory.create_store("lamps").id
    fill(memory, made, DOCUMENTS)
    return made


@pytest.fixture
def stage(tokenizer: PreTrainedTokenizerBase, memory: Memory) -> Stage:
    made = Stage(tokenizer, memory, "tiny")
    made.profile = replace(made.profile, hops=1, differs=True)
    return made


def turn(store: str, text: str = QUESTION, /, **policy: object) -> Turn:
    return replace(asked(text, **policy), stores=[store])


def number(stage: Stage, store: str, name: str, query: str = "Kelvo lamps cost") -> int:
    return [hit.chunk.filename for hit in stage.memory.search(store, query, k=5)].index(name) + 1


def reckoned(stage: Stage, store: str, expression: str = "12.50 * 4", chance: float = RECKONS) -> ScriptedEngine:
    """A core that searches and calculates with what the lamp's passage gives."""
    n = number(stage, store, "lamp.md")
    scripts = [
        stage.ids("Kelvo lamps cost", grammar.CALL_END),
        stage.ids(grammar.RECKONS.format(n) + grammar.SUM, expression, grammar.CALL_END),
        stage.ids(grammar.RESULT, " 50", grammar.cite(n)),
    ]
    return ScriptedEngine(scripts, scores=[SURE, UNSURE, chance, FOUND], logprob=-0.001)


async def test_a_sum_over_what_a_passage_gives_quotes_the_passage(stage: Stage, store: str) -> None:
    engine = reckoned(stage, store)
    events = await stage.play(turn(store), engine)
    assert len(engine.scored) == 2  # whether to search, and all verdicts in one pass
    n = number(stage, store, "lamp.md")
    assert [type(e) for e in events if isinstance(e, Searched | Calculated | Cited)] == [Searched, Calculated, Cited]
    thoughts = "".join(thought.text for thought in only(events, Thinking))
    assert thoughts == f"I must look this up.With [{n}] I can calculate.The calculator has answered."
    (calculated,) = only(events, Calculated)
    assert (calculated.expression, calculated.result) == ("12.50 * 4", "50")
    (cited,) = only(events, Cited)
    assert cited.quote == "The Kelvo lamp costs 12.50 euros."
    assert reply(events).startswith(f"The answer is 50 [{n}].\n\n> {cited.quote}")
    end = done(events)
    assert (end.answer, end.abstained, len(end.rounds)) == ("50", False, 3)
    written = grammar.RECKONS.format(n).partition("[")[2], grammar.SUM, "12.50 * 4", grammar.CALL_END
    assert end.confidence == pytest.approx(0.7 * math.exp(-0.001 * len(stage.ids(*written))), rel=1e-3)
    assert all(b[: len(a)] == a for a, b in zip(engine.prompts, engine.prompts[1:], strict=False))


async def test_a_sum_without_a_number_of_the_passage_is_no_answer(stage: Stage, store: str) -> None:
    engine = reckoned(stage, store, "4 * 4")
    engine.scripts[2] = stage.ids(grammar.ABSENT)
    events = await stage.play(turn(store), engine)
    assert reply(events).startswith(UNKNOWN) and not only(events, Calculated)
    assert done(events).abstained and done(events).confidence == 0


async def test_an_unsure_sum_is_not_made(stage: Stage, store: str) -> None:
    engine = reckoned(stage, store)
    engine.scripts[2] = stage.ids(grammar.ABSENT)
    events = await stage.play(turn(store, abstain_below=0.69), engine)
    assert reply(events).startswith(UNKNOWN) and not only(events, Calculated)
    assert 0.6 < done(events).confidence < 0.69


async def test_with_nothing_to_calculate_with_the_number_as_it_stands_may_answer(stage: Stage, store: str) -> None:
    n = number(stage, store, "lamp.md")
    engine = reckoned(stage, store, "12.50 * 12.50")
    engine.scripts[2:] = [stage.ids(grammar.FOUND.format(n), " 12.50 euros", grammar.cite(n))]
    engine.scores[-1] = SURE
    events = await stage.play(turn(store, "What does the Kelvo lamp cost?", abstain_below=0.69), engine)
    assert not only(events, Calculated)
    assert done(events).answer == "12.50 euros" and done(events).confidence > 0.69


async def test_what_is_calculated_counts_for_how_sure_it_is(stage: Stage, store: str) -> None:
    engine, sums = reckoned(stage, store), stage.ids("12.50 * 4")
    guessed = ScriptedEngine(
        [*engine.scripts[:2], stage.ids(grammar.ABSENT)],
        scores=engine.scores,
        logprob=lambda _, token: -1.0 if token in sums else 0.0,
    )
    events = await stage.play(turn(store), guessed)
    assert done(events).abstained and not only(events, Calculated)


async def test_a_sum_that_has_no_result_says_so(stage: Stage, store: str) -> None:
    events = await stage.play(turn(store), reckoned(stage, store, "12.50 / (4 - 4)"))
    assert reply(events).startswith("I could not calculate this")
    assert done(events).answer is None


async def test_only_numbers_of_the_passage_and_the_message_can_be_written(stage: Stage, store: str) -> None:
    events = await stage.play(turn(store), reckoned(stage, store, "12.50 * 99.75"))
    (calculated,) = only(events, Calculated)
    assert calculated.expression.startswith("12.50 * ") and "99.75" not in calculated.expression


async def test_what_no_word_implies_is_not_in_a_sum_over_a_passage(stage: Stage, store: str) -> None:
    events = await stage.play(turn(store, "What does half a Kelvo lamp cost?"), reckoned(stage, store, "12.50 / 2"))
    assert only(events, Calculated)[0].expression == "12.50 / 2"
    events = await stage.play(turn(store, "What does a Kelvo lamp cost?"), reckoned(stage, store, "12.50 * 3"))
    assert not any("3" in calculated.expression for calculated in only(events, Calculated))


async def test_a_core_that_cannot_is_not_asked_whether(stage: Stage, store: str) -> None:
    stage.profile = replace(stage.profile, reckons=False)
    n = number(stage, store, "lamp.md")
    engine = reckoned(stage, store)
    engine.scripts[1:] = [stage.ids(grammar.FOUND.format(n), " 12.50 euros", grammar.cite(n))]
    engine.scores = [SURE, UNSURE]
    assert done(await stage.play(turn(store), engine)).answer == "12.50 euros"


async def test_what_another_passage_says_is_told_and_quoted_too(stage: Stage, store: str) -> None:
    here, there = number(stage, store, "lamp.md"), number(stage, store, "list.md")
    answer = [" 12.50 euros", grammar.but(here), " 11 euros", grammar.cite(there)]
    scripts = [
        stage.ids("Kelvo lamps cost", grammar.CALL_END),
        stage.ids(grammar.FOUND.format(here), *answer),
    ]
    events = await stage.play(turn(store), ScriptedEngine(scripts, scores=[SURE, UNSURE, NEVER, SURE]))
    text = reply(events)
    assert text.startswith(f"The answer is 12.50 euros [{here}], but another passage says 11 euros [{there}].")
    first, second = only(events, Cited)
    assert (first.quote, second.quote) == ("The Kelvo lamp costs 12.50 euros.", "The Kelvo lamp costs 11 euros.")
    assert [text[c.reply_start : c.reply_end] for c in (first, second)] == [f"[{here}]", f"[{there}]"]
    assert done(events).answer == "12.50 euros"


def test_the_same_words_are_no_difference() -> None:
    texts = ["It takes 26 days.", "Length: 26", "It takes 30 days.", "Nothing."]
    marks = [Mark(9, 16, 0.9), Mark(8, 10, 0.8), Mark(9, 16, 0.7), None]
    hits = [replace(hit_of(text, Mark(0, 1, 0.5)), mark=mark) for text, mark in zip(texts, marks, strict=True)]
    pairs = differing([excerpt(n, hit, None) for n, hit in enumerate(hits, 1)])
    assert (0, 1) not in pairs and (1, 0) not in pairs
    assert {(0, 2), (2, 0), (1, 2), (2, 1), (0, 3), (3, 0)} <= set(pairs)


async def test_a_passage_does_not_differ_from_itself(stage: Stage, store: str) -> None:
    here = number(stage, store, "lamp.md")
    itself = [" 12.50 euros", grammar.but(here), " Two fit", grammar.cite(here)]
    scripts = [stage.ids("Kelvo lamps cost", grammar.CALL_END), stage.ids(grammar.FOUND.format(here), *itself)]
    events = await stage.play(turn(store), ScriptedEngine(scripts, scores=[SURE, UNSURE, NEVER, SURE]))
    cited = only(events, Cited)
    assert len({c.hit.chunk.id for c in cited}) == len(cited)


async def test_a_short_limit_ends_it_anywhere(stage: Stage, store: str) -> None:
    total = sum(map(len, reckoned(stage, store).scripts))
    await ends_at_any_limit(stage, turn(store), lambda: reckoned(stage, store), total)


async def test_closing_frees_the_engine_at_every_event(stage: Stage, store: str) -> None:
    await frees_the_engine_at_every_event(stage, turn(store), lambda: reckoned(stage, store))
