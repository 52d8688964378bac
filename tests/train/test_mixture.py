"""What the core is trained on: what is held out is never shown, and rows say what their passages and messages give."""

from pathlib import Path
from random import Random

import pytest

from app.agent.prompt import Renderer
from app.cores.load import TINY_FOLDER, load_tokenizer
from app.cores.profile import TINY
from app.train.mixture import Mixture
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
