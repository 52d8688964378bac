"""`cogcore calibrate`, with the real core and reader over a store of invented documents, and what it leaves behind."""

import json
import logging
import math
from collections.abc import AsyncIterator
from contextlib import aclosing, closing
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import pytest_asyncio

from app.__main__ import main
from app.agent.events import Done
from app.agent.loop import answer
from app.agent.turn import Turn
from app.api import Parts
from app.api.caller import ANYONE, Caller
from app.api.chat_request import ChatRequest
from app.api.turn import turn_of
from app.calibration import Calibration, keep, kept
from app.cores.load import load_core
from app.eval import calibrate
from app.eval.calibrate import Outcome, platt, refit, usable
from app.eval.cloze import cloze
from app.eval.questions import EvalError, Question
from app.settings import read
from index.memory import Memory
from index.reader import Reader
from index.types import Embedder

NAMES = "Tern Kestrel Finch Alder Rowan Heron Linnet Osier Plover Sorrel Wren Yarrow Birch Cedar Dunlin Egret".split()
QUESTION = "What is the maximum load of the Heron crane?"
WHAT = ("The {} pump has a warranty period of {} months.", "The {} crane has a maximum load of {} kg.")


def documents() -> dict[str, str]:
    """Each has a fact that no other has, in words of which some are its alone."""
    return {f"{name.lower()}.md": WHAT[n % 2].format(name, 11 + n) for n, name in enumerate(NAMES)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder, reader: Reader) -> Path:
    """A data folder with a store that was calibrated by the command, and one that was not."""
    made = tmp_path_factory.mktemp("calibrated")
    with closing(Memory(made, embedder, reader)) as memory:
        for name, text in documents().items():
            memory.attach("default", memory.add_file(name, text.encode()).id)
        added = memory.store_files("default", 100).data
        assert {memory.wait("default", document.id).status for document in added} == {"completed"}
        memory.create_store("other")
    return made


def command(folder: Path, *given: str) -> int:
    return main(["calibrate", "--data-dir", str(folder), *given])


@pytest.fixture(scope="module")
def calibrated(folder: Path, embedder: Embedder) -> Path:
    assert command(folder, "--questions", "16", "--keep-threshold", "--wrong", "0.4") == 0
    with closing(Memory(folder, embedder)) as memory:
        found = kept(memory, "default")
        assert found is not None and found.slope > 0 and found.abstain_below is not None
        # One that surely changes something, whatever was fitted.
        keep(memory, "default", replace(found, slope=0.5, intercept=-0.6, abstain_below=0.3))
    return folder


@pytest_asyncio.fixture
async def parts(calibrated: Path, embedder: Embedder, reader: Reader) -> AsyncIterator[Parts]:
    made = Parts(load_core(threads=1), Memory(calibrated, embedder, reader), read(data_dir=calibrated))
    yield made
    await made.close()


async def asked(parts: Parts, **extension: object) -> Turn:
    body = {"model": "cogcore", "messages": [{"role": "user", "content": QUESTION}], "cogcore": extension}
    caller = Caller(ANYONE, parts.keys, parts.memory)
    return await turn_of(ChatRequest.model_validate(body), parts, caller)


async def end(parts: Parts, turn: Turn) -> Done:
    async with aclosing(answer(turn, parts.core, parts.memory)) as events:
        (done,) = [event async for event in events if isinstance(event, Done)]
    return done


async def test_answers_are_as_sure_as_the_store_has_shown(parts: Parts) -> None:
    turn = await asked(parts)
    (calibration,) = turn.calibrations
    assert turn.policy.abstain_below == calibration.abstain_below is not None
    await end(parts, turn)  # from here on all reuse the same KV
    raw = await end(parts, replace(turn, calibrations=()))
    told = await end(parts, turn)
    assert told.answer == raw.answer
    assert told.confidence == calibration(raw.confidence) != raw.confidence
    # Several stores: the calibration of one says nothing of the others.
    assert (await asked(parts, stores=["default", "other"])).calibrations == ()
    # The threshold compares with what is told.
    above = await asked(parts, abstain_below=min(told.confidence + 1e-6, 1))
    assert (await end(parts, above)).abstained
    assert not (await end(parts, await asked(parts, abstain_below=told.confidence))).abstained


async def test_without_a_calibration_nothing_changes(parts: Parts) -> None:
    calibration = kept(parts.memory, "default")
    raw = await end(parts, replace(await asked(parts), calibrations=()))
    keep(parts.memory, "default", None)
    try:
        plain = Parts(parts.core, parts.memory, parts.settings)
        turn = await asked(plain)
        assert turn.calibrations == () and turn.policy.abstain_below == parts.settings.abstain_below
        told = await end(plain, turn)
        assert (told.answer, told.confidence, told.abstained) == (raw.answer, raw.confidence, raw.abstained)
    finally:
        keep(parts.memory, "default", calibration)


async def test_other_weights_make_it_void(parts: Parts, caplog: pytest.LogCaptureFixture) -> None:
    calibration = kept(parts.memory, "default")
    assert calibration is not None
    unread = Parts(parts.core, parts.memory, read(data_dir=parts.settings.data_dir, reader="none"))
    assert unread.judges() != parts.judges() == calibration.judges
    with caplog.at_level(logging.WARNING, "cogcore.calibration"):
        for _ in range(2):
            assert (await asked(unread)).calibrations == ()
    assert len(caplog.records) == 1 and "another core or reader" in caplog.text


async def test_it_needs_the_folder_for_itself_and_goes_with_its_store(
    parts: Parts, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(parts.settings.data_dir) == 1
    assert "stop its server first" in capsys.readouterr().err
    store = parts.memory.create_store("brief").id
    keep(parts.memory, store, Calibration(1, 0, "any"))
    assert kept(parts.memory, "brief") == Calibration(1, 0, "any")
    parts.memory.delete_store(store)
    keep(parts.memory, parts.memory.create_store("brief").id, None)
    assert kept(parts.memory, "brief") is None
    parts.memory.delete_store("brief")


def test_what_cannot_be_fitted_is_refused(calibrated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(calibrated, "--from", str(tmp_path / "none.jsonl")) == 1
    assert "none.jsonl is no file" in capsys.readouterr().err
    assert command(calibrated, "--store", "nowhere") == 1
    assert "there is no store 'nowhere'" in capsys.readouterr().err
    for wrong in (["--questions", "0"], ["--wrong", "2"], ["--wrong", "some"]):
        with pytest.raises(SystemExit):
            command(calibrated, *wrong)


async def test_questions_are_the_same_for_a_seed(parts: Parts) -> None:
    once, again = (calibrate.made(parts.memory, "default", 16, 0) for _ in range(2))
    assert once == again != calibrate.made(parts.memory, "default", 16, 1)
    assert {question.file for question in once} == set(documents())
    with pytest.raises(EvalError, match="no question can be made"):
        calibrate.made(parts.memory, "other", 16, 0)
    own = Question("1", "Who?", "fact", ("Ada",), True, "lost.md", None)
    with pytest.raises(EvalError, match=r"question 1 is answered by lost\.md"):
        usable([own], parts.memory, "default")
    with pytest.raises(EvalError, match="none of the questions"):
        usable([replace(own, kind="talk", file=None)], parts.memory, "default")


async def test_forgetting(calibrated: Path, embedder: Embedder) -> None:
    with closing(Memory(calibrated, embedder)) as memory:
        before = kept(memory, "default")
    assert before is not None
    assert command(calibrated, "--forget") == 0
    with closing(Memory(calibrated, embedder)) as memory:
        assert kept(memory, "default") is None
        keep(memory, "default", before)


@pytest.mark.parametrize(
    ("sentence", "words", "value"),
    [
        ("The Tern pump has a warranty period of 30 months.", "Tern pump warranty period months", "30"),
        ("The grant was closed by the council on 12 May 2031.", "grant closed council", "12 May 2031"),
        ("Plan: Pro; Seats: many; Price: €1,250.50", "Plan Pro Seats many Price", "€1,250.50"),
        ("All trips are insured under the policy with Norrbruck Mutual", "trips insured policy", "Norrbruck Mutual"),
    ],
)
def test_a_value_is_asked_for_by_the_words_around_it(sentence: str, words: str, value: str) -> None:
    assert cloze(sentence, Random(0)) == (words.split(), value)


@pytest.mark.parametrize("sentence", ["It is 312 kilometres long.", "The pump needs care and much oil.", ""])
def test_what_asks_too_little_is_passed_over(sentence: str) -> None:
    assert cloze(sentence, Random(0)) is None


def drawn(slope: float, intercept: float, count: int) -> list[Outcome]:
    """Answers whose confidence is off by a logistic."""
    rng = np.random.default_rng(0)
    truth = Calibration(slope, intercept, "")
    told = rng.uniform(0.02, 0.98, count).tolist()
    return [Outcome(n, c, bool(rng.random() < truth(c))) for n, c in enumerate(told)]


def test_the_fit_finds_what_was_put_in() -> None:
    found = refit(drawn(2.0, -1.0, 4000))
    assert found.slope == pytest.approx(2.0, abs=0.2)
    assert found.intercept == pytest.approx(-1.0, abs=0.2)
    assert found.after.calibration_error < 0.03 < found.before.calibration_error
    assert found.after.brier < found.before.brier
    threshold = found.recommended(0.1)
    assert threshold is not None
    wrong = {point.threshold: point.wrong for point in found.points}
    assert (wrong[threshold] or 0) <= 0.1 < (wrong[0.0] or 0)
    assert found.recommended(-1) is None


def test_a_fit_that_helps_nothing_is_given_up() -> None:
    found = refit(drawn(1.0, 0.0, 40))
    assert (found.slope, found.intercept) == (1.0, 0.0) and found.after == found.before
    assert Calibration(found.slope, found.intercept, "")(0.7) == pytest.approx(0.7)


def test_few_and_one_sided_answers_cannot_explode() -> None:
    slope, intercept = platt([0.9, 0.8, 0.1], [True, True, False])
    assert 1 < slope < 3 and abs(intercept) < 1
    # As sure as can be, and as often wrong as right.
    slope, intercept = platt([1 - 1e-9] * 60, [bool(n % 2) for n in range(60)])
    assert Calibration(slope, intercept, "")(1.0) == pytest.approx(0.5, abs=0.05)
    with pytest.raises(EvalError, match="0 wrong; at least 10"):
        refit([Outcome(n, 0.5 + n / 100, True) for n in range(40)])
    with pytest.raises(EvalError, match="no more confident"):
        refit([Outcome(n, 0.05 if n % 2 else 0.95, bool(n % 2)) for n in range(60)])


@pytest.mark.parametrize("confidence", [0.0, 1.0])
def test_certainty_stays_finite(confidence: float) -> None:
    assert math.isfinite(Calibration(5.0, 1.0, "")(confidence))
    assert json.loads(json.dumps(Calibration(1, 0, "")(confidence))) == pytest.approx(confidence, abs=1e-5)
