"""Answers of a core that learned the loop where a reader has marked other words: who is believed, and what is told."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from app.agent.events import Cited, Text
from app.cores import grammar
from app.engine.types import Sampling
from index.memory import Memory
from index.types import Mark
from tests.agent.asking import SURE, UNSURE, asked, done, only, reply
from tests.agent.conftest import Stage, fill
from tests.fakes import HashedWords, ScriptedEngine

QUESTION = "Who designed the bridge?"
PASSAGE = "The bridge has 1,969 rivets. Anna Weber designed it."


class Marker:
    """A reader that marks certain words wherever they stand."""

    def __init__(self) -> None:
        self.words, self.probability = "Anna Weber", 0.9

    def read(self, question: str, passages: Sequence[str], headings: Sequence[Sequence[str]] = ()) -> list[Mark]:
        places = [(text.find(self.words), text) for text in passages]
        return [Mark(at, at + len(self.words), self.probability) if at >= 0 else Mark(0, 0, 0.0) for at, _ in places]


@pytest.fixture(scope="module")
def marker() -> Marker:
    return Marker()


@pytest.fixture(scope="module")
def stage(
    tokenizer: PreTrainedTokenizerBase, tmp_path_factory: pytest.TempPathFactory, marker: Marker
) -> Iterator[Stage]:
    memory = Memory(Path(tmp_path_factory.mktemp("marked")), HashedWords(), marker)
    fill(memory, "default", {"bridge.md": PASSAGE})
    made = Stage(tokenizer, memory, "tiny")
    made.profile = replace(made.profile, hops=1, follow_ups=False, reckons=False, differs=False)
    yield made
    memory.close()


def written(stage: Stage, span: str, marked: float) -> ScriptedEngine:
    """A core that writes `span`, a tenth of a nat a token, and gives the words that are marked this probability."""
    answers = [stage.ids(grammar.FOUND.format(1), f" {words}", grammar.cite(1)) for words in (span, "Anna Weber")]
    scripts = [stage.ids("designed the bridge", grammar.CALL_END), *answers]
    return ScriptedEngine(scripts, scores=[SURE, UNSURE, math.log(marked)])


@pytest.mark.parametrize(
    ("core", "reader", "answer"),
    [(0.2, 0.9, "Anna Weber"), (1e-4, 0.9, "Anna"), (0.2, 0.2, "Anna"), (0.99, 0.3, "Anna Weber")],
)
async def test_the_product_of_odds_decides(
    stage: Stage, marker: Marker, core: float, reader: float, answer: str
) -> None:
    marker.words, marker.probability = "Anna Weber", reader
    engine = written(stage, "Anna", core)
    events = await stage.play(asked(QUESTION, abstain_below=0.0), engine)
    assert reply(events).startswith(f"The answer is {answer} [1].\n\n> Anna Weber designed it.")
    assert done(events).answer == answer
    (cited,) = only(events, Cited)
    assert cited.quote == "Anna Weber designed it."
    _, scored = engine.scored[-1]
    assert scored == stage.ids(grammar.FOUND.format(1), " Anna Weber", grammar.cite(1), end=False)
    said = [token.id for text in only(events, Text) for token in text.tokens]
    assert stage.tokenizer.decode(said) == f"The answer is {answer} [1]."  # of what was given up nothing is told


async def test_where_they_agree_nothing_is_asked_again(stage: Stage, marker: Marker) -> None:
    marker.words, marker.probability = "Anna Weber", 0.9
    engine = written(stage, "Anna Weber", 0.5)
    assert done(await stage.play(asked(QUESTION), engine)).answer == "Anna Weber"
    assert len(engine.prompts) == 2
    assert len(engine.scored) == 2


@pytest.mark.parametrize("words", ["969", "na Web", "Paris"])
async def test_halves_of_words_and_what_is_not_there_are_no_answer(stage: Stage, marker: Marker, words: str) -> None:
    marker.words, marker.probability = words, 0.99
    engine = written(stage, "Anna", 1.0)
    assert done(await stage.play(asked(QUESTION, abstain_below=0.0), engine)).answer == "Anna"
    assert len(engine.scored) == 2


async def test_a_limit_holds_for_both_ways_of_answering(stage: Stage, marker: Marker) -> None:
    marker.words, marker.probability = "Anna Weber", 0.99
    turn = asked(QUESTION)
    whole = sum(r.generated for r in done(await stage.play(turn, written(stage, "Anna", 1.0))).rounds)
    for limit in range(1, whole + 1):
        end = done(await stage.play(replace(turn, sampling=Sampling(max_tokens=limit)), written(stage, "Anna", 1.0)))
        assert sum(r.generated for r in end.rounds) <= limit
        assert end.answer in (None, "Anna", "Anna Weber")
    assert end.answer == "Anna Weber"


async def test_a_stop_string_ends_the_words_that_are_told(stage: Stage, marker: Marker) -> None:
    marker.words, marker.probability = "Anna Weber", 0.99
    turn = replace(asked(QUESTION), stop=("Weber",))
    events = await stage.play(turn, written(stage, "Anna", 1.0))
    assert reply(events) == "The answer is Anna "
    assert not only(events, Cited)
