"""What the core is trained on: what is held out is never shown, and rows say what their passages and messages give."""

from pathlib import Path
from random import Random

import pytest

from app.agent.prompt import Renderer
from app.cores.load import TINY_FOLDER, load_tokenizer
from app.cores.profile import TINY
from app.train.mixture import Mixture
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
