"""What is held out of SQuAD for judging is neither the core's nor the reader's."""

import tomllib
from pathlib import Path

import pytest

from app.train.__main__ import CONFIGS
from app.train.played import of_squad
from app.train.sources import HELD, Sources
from tests.train.small import data


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    folder: Path = tmp_path_factory.mktemp("data")
    data(folder)
    return Sources(folder, held=[0])


def test_a_core_is_asked_about_other_articles_than_those_held_out(sources: Sources) -> None:
    held, shown = sources.about(sources.held), sources.about(sources.among(2))
    assert {q.question[:8] for q in held} == {"How long"} and {q.question[:8] for q in shown} == {"How deep"}
    assert {*held, *shown} == set(sources.squad()) and set(sources.shown()) == set(shown)
    assert [one.question for one in of_squad(sources, 2, 4)] == [q.question for q in shown[:4]]


def test_the_reader_leaves_out_all_that_is_held(sources: Sources) -> None:
    config = tomllib.loads((CONFIGS / "reader.toml").read_text("utf-8"))
    assert set(HELD) <= set(range(config["held_articles"]))
