"""Rejection sampling: what is kept are turns as the server played them, right and borne out by their quotes."""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from app.agent.events import Calculated, Cited, Done, Event
from app.agent.prompt import Renderer
from app.cores import grammar
from app.cores.load import Core, load_core
from app.cores.profile import TINY
from app.engine.types import ANYBODY, Sampling, Token, Whose
from app.train.kept import Kept
from app.train.played import ALWAYS, NEVER, Asked, Recorder, invented, play, right, sample, written
from app.train.rows import CHOICE, LITERAL, Turns
from app.train.searches import hit_of
from index.embed import load_embedder
from index.memory import Memory
from index.reader import load_reader
from index.types import Chunk, Hit, Mark

TEXTS = {"bridge.md": "The bridge opened in 1969.", "pump.md": "Anna Weber built the pump in Bremen."}
OPENED = Asked("notes", "When did the bridge open?", ("1969",))
PAINTED = Asked("notes", "Who painted the bridge?", ())
WRONG = Asked("notes", "When did the bridge open? ", ("1970",))


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Memory]:
    made = Memory(tmp_path_factory.mktemp("memory"), load_embedder(), load_reader())
    store = made.create_store("notes").id
    for name, text in TEXTS.items():
        made.wait(store, made.attach(store, made.add_file(name, text.encode()).id).id)
    yield made
    made.close()


@pytest.fixture(scope="module")
def core() -> Iterator[Core]:
    made = load_core("tiny", max_sequences=4)
    yield made
    asyncio.run(made.engine.close())


def end(answer: str | None, *, abstained: bool = False) -> Done:
    return Done("stop", answer, 0.5, abstained, 0, ())


def quoting(quote: str) -> Cited:
    chunk = Chunk("", "", "", quote, 0, len(quote), None, ())
    return Cited(Hit(chunk, 1.0, None), quote, 0, len(quote), 0, 3)


def test_right_is_what_answers_and_is_borne_out() -> None:
    assert right(OPENED, [quoting("It opened in 1969.")], end("1969"))
    assert not right(OPENED, [quoting("It opened early.")], end("1969"))
    assert not right(OPENED, [quoting("It opened in 1969.")], end("1970"))
    assert not right(OPENED, [], end(None, abstained=True))
    assert right(PAINTED, [], end(None, abstained=True))
    assert not right(PAINTED, [quoting("It opened in 1969.")], end("1969"))
    summed: list[Event] = [quoting("It opened in 1969."), Calculated("1969 - 1996", "-27", ok=True)]
    assert right(replace(OPENED, answers=("-27",)), summed, end("-27"))
    assert not right(replace(OPENED, answers=("-27",)), summed, end("27"))


def test_each_playing_is_a_row_that_training_could_have_written(core: Core, memory: Memory) -> None:
    turns = Turns(Renderer(core.tokenizer, TINY))
    for played in asyncio.run(play(core, memory, OPENED)):
        text = str(core.tokenizer.decode(played.ids))
        assert text.startswith(f"<|im_start|>user\n{OPENED.question}<|im_end|>") and text.endswith("<|im_end|>")
        row = written(core.tokenizer, played.ids)
        told = str(core.tokenizer.decode([n for n, w in zip(row.ids, row.weights, strict=True) if w]))
        assert told.startswith(grammar.SEARCH[:20]) and "tool_response" not in told
    hits = [hit_of(TEXTS["bridge.md"], Mark(21, 25, 0.9))]
    ours = turns.read((), OPENED.question, OPENED.question, hits, (1, "1969"))
    again = written(core.tokenizer, ours.ids)
    assert [w > 0 for w in again.weights] == [w > 0 for w in ours.weights]
    assert [n for n, w in enumerate(again.weights) if w == CHOICE] == [
        n for n, w in enumerate(ours.weights) if w == CHOICE
    ]
    assert set(again.weights) == {0.0, LITERAL, CHOICE}


def test_what_is_kept_is_right_and_nothing_is_played_again(core: Core, memory: Memory, tmp_path: Path) -> None:
    kept = Kept(tmp_path / "played.jsonl")
    sample(core, memory, [OPENED, WRONG], kept.out, easy=1.0)
    (row,) = [json.loads(line) for line in kept.out.read_text("utf-8").splitlines()]
    assert row["question"] == OPENED.question and len(row["ids"]) == len(row["weights"])
    assert "1969" in str(core.tokenizer.decode([n for n, w in zip(row["ids"], row["weights"], strict=True) if w]))
    assert [json.loads(line) for line in kept.rejected.read_text("utf-8").splitlines()] == [
        {"question": WRONG.question, "why": NEVER, "kept": 0}
    ]
    sample(replace(core, engine=Dead(core.engine)), memory, [OPENED, WRONG], kept.out)


def test_what_always_comes_out_right_is_mostly_left_out(core: Core, memory: Memory, tmp_path: Path) -> None:
    kept = Kept(tmp_path / "played.jsonl")
    sample(core, memory, [OPENED], kept.out, easy=0.0)
    assert kept.reasons() == {ALWAYS: 1} and not kept.out.exists()


class Dead(Recorder):
    """An engine that must not be asked."""

    def generate(self, prompt: Sequence[int], sampling: Sampling, *, whose: Whose = ANYBODY) -> AsyncGenerator[Token]:
        raise AssertionError("played again")


def test_questions_are_those_of_the_stores_that_traces_make() -> None:
    asked = list(invented(organisations=1, worlds=1, each=6))
    assert [one.store for one in asked] == ["organisation 0"] * 6 + ["chains 0"] * 6 + ["reckonings 0"] * 6
    assert {bool(one.answers) for one in asked} == {True, False}
    assert asked == list(invented(organisations=1, worlds=1, each=6))
