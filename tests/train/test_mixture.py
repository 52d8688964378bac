"""What the core is trained on: what is held out is never shown, and rows say what their passages and messages give."""

import json
import tomllib
from pathlib import Path
from random import Random

import pytest

from app.agent.prompt import Renderer
from app.cores.load import TINY_FOLDER, load_tokenizer
from app.cores.profile import TINY
from app.train.__main__ import CONFIGS
from app.train.mixture import FILES, SHORT, Mixture
from app.train.reckonings import page
from app.train.rows import Row, Turns
from app.train.sources import Sources
from tests.train.small import data

HELD = [1]  # the lakes


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Mixture:
    folder: Path = tmp_path_factory.mktemp("data")
    data(folder)
    return Mixture(Turns(Renderer(load_tokenizer(TINY_FOLDER), TINY)), Sources(folder, HELD))


def text(mixture: Mixture, row: Row) -> str:
    return str(mixture.turns.renderer.tokenizer.decode(row.ids))


def test_articles_that_are_held_out_are_never_shown(mixture: Mixture) -> None:
    drawn = [text(mixture, mixture.kinds[kind](Random(n))) for kind in ("squad", "ask", "sum") for n in range(150)]
    assert any("river A" in one for one in drawn)
    assert not any("lake" in one for one in drawn)


def test_what_a_page_leaves_open_is_evaded_not_missing(mixture: Mixture) -> None:
    refused = dict.fromkeys((True, False), 0)
    for n in range(200):
        drawn = Random(n)
        made = page(drawn)
        asked = drawn.choice(made.asked)
        shown = text(mixture, mixture.reckon(Random(n)))
        if "No passage answers this" in shown:
            refused[asked.sentence is not None] += 1
            (subject,) = {s.heading for s in made.sections if s.text == asked.section}
            passages = shown.partition("<tool_response>")[2]
            assert subject.lower().removeprefix("the ").split()[-1] in passages.lower()
    assert 0.2 < refused[True] / 150 < 0.4 and refused[False] > 30


def test_further_training_keeps_sums_and_second_searches() -> None:
    (stage,) = tomllib.loads((CONFIGS / "further.toml").read_text("utf-8"))["stages"]
    shares = stage["shares"]
    assert sum(shares.values()) == pytest.approx(1)
    # A step of short rows has twice as many.
    rows = {kind: share * (2 if kind in SHORT else 1) for kind, share in shares.items()}
    for drawn in (shares, rows):
        whole = sum(drawn.values())
        assert sum(drawn[kind] for kind in ("sum", "reckon", "reckon_trace", "operands", "digits")) >= 0.25 * whole
        assert drawn["chain"] + drawn["chain_trace"] >= 0.15 * whole


def test_every_kind_that_further_training_draws_is_there(mixture: Mixture, tmp_path: Path) -> None:
    for name in FILES.values():
        (tmp_path / f"{name}.jsonl").write_text(
            "".join(json.dumps({"question": "Who is it?", "gold": gold}) + "\n" for gold in (None, 0))
        )
    whole = Mixture(mixture.turns, mixture.sources, tmp_path)
    for config in ("further.toml", "core.toml"):
        for stage in tomllib.loads((CONFIGS / config).read_text("utf-8"))["stages"]:
            assert stage["shares"].keys() <= whole.kinds.keys()
