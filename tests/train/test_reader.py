"""The reader's training: readings show what they claim, rows are the server's windows, a run yields a reader."""

import json
import lzma
from pathlib import Path
from random import Random

import pytest
import torch
from transformers import BertConfig, BertForQuestionAnswering

from app.train.export_reader import package
from app.train.reader import ReaderTask, batch
from app.train.readings import Readings, renewed
from app.train.run import Run
from app.train.sources import Sources
from index.reader import load_reader

CONFIG = {
    "seed": 1, "learning_rate": 1e-3, "warmup_steps": 2, "cooldown": 1.0, "weight_decay": 0.0, "checkpoint_seconds": 60,
    "stages": [{"name": "all", "steps": 3, "rows": 4, "shares": {
        "right": 1.0, "found": 1.0, "cut": 1.0, "renamed": 1.0, "stated": 1.0, "unstated": 1.0}},
        {"name": "searches", "steps": 2, "rows": 4, "shares": {"among": 1.0, "alike": 1.0}}],
}  # fmt: skip


@pytest.fixture(scope="module")
def readings(tmp_path_factory: pytest.TempPathFactory) -> Readings:
    folder = tmp_path_factory.mktemp("data")
    rows = []
    for article in range(3):
        for n, name in enumerate(("Alder", "Birch", "Cedar", "Dogwood")):
            text = f"A river of the north is the {name}. It is {7 * n + article + 11} km long. Boats use it in May."
            answer = f"{7 * n + article + 11} km"
            qa = {
                "question": f"How long is the river {name}?",
                "answers": [{"text": answer, "answer_start": text.index(answer)}],
            }
            rows.append({"title": f"Rivers_{article}", "context": text, "qas": [qa]})
    (folder / "squad").mkdir()
    with lzma.open(folder / "squad/train.jsonl.xz", "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in rows)
    return Readings(Sources(folder), held=1)


def test_articles_held_for_the_core_are_never_read(readings: Readings) -> None:
    assert {readings.sources.articles[q.paragraph] for q in readings.held} == {0}
    for kind in ("right", "found", "cut", "renamed"):
        drawn = [readings.kinds[kind](Random(n)) for n in range(30)]
        assert not any(" 11 km" in r.passage or "Rivers 0" in r.headings for r in drawn)


@pytest.mark.parametrize("seed", range(20))
def test_right_passages_hold_their_span_and_wrong_ones_not_the_answer(readings: Readings, seed: int) -> None:
    right = readings.kinds["right"](Random(seed))
    assert right.span and right.passage[slice(*right.span)].endswith(" km")
    cut = readings.kinds["cut"](Random(seed))
    assert cut.span is None and "km" not in cut.passage and "Boats" in cut.passage
    renamed = readings.kinds["renamed"](Random(seed))
    name = renamed.question.removesuffix("?").split()[-1]
    assert renamed.span is None and name not in renamed.passage


@pytest.mark.parametrize("kind", ["among", "alike"])
def test_in_a_search_the_first_passage_alone_answers(readings: Readings, kind: str) -> None:
    for seed in range(20):
        right, *others = readings.searches[kind](Random(seed))
        assert right.span and others and all(other.span is None for other in others)
        answer = right.passage[slice(*right.span)]
        assert {other.question for other in others} == {right.question}
        assert kind == "alike" or not any(answer in other.passage for other in others)


@pytest.mark.parametrize("seed", range(20))
def test_an_answer_is_renewed_wherever_it_stands(seed: int) -> None:
    text = "Aldo Brun, born 1907, wrote on. In 1950 Aldo Brun left."
    for old, kept in (("Aldo Brun", "born 1907"), ("1907", "Aldo Brun left"), ("wrote on", text)):
        at = text.index(old)
        made, (start, end) = renewed(Random(seed), text, (at, at + len(old)))
        assert kept in made and made.count(made[start:end]) == text.count(old)
        assert (old in made) == (kept is text)


def test_what_answers_must_lead_the_others_of_its_search(readings: Readings) -> None:
    task = ReaderTask.__new__(ReaderTask)
    task.reader = load_reader()
    torch.manual_seed(0)
    task.model = BertForQuestionAnswering(
        BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
    ).eval()
    rows = [task.row(reading, Random(0)) for reading in readings.searches["among"](Random(0))]
    together, apart = task.loss(*batch([rows])).item(), task.loss(*batch([[row] for row in rows])).item()
    assert together > apart
    assert task.loss(*batch([rows[1:]])).item() == pytest.approx(task.loss(*batch([[row] for row in rows[1:]])).item())


def test_a_run_yields_a_reader_that_the_server_loads(readings: Readings, tmp_path: Path) -> None:
    torch.manual_seed(0)
    shape = BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
    BertForQuestionAnswering(shape).save_pretrained(tmp_path / "start")
    task = ReaderTask(readings, load_reader(), tmp_path / "start")
    before = {name: tensor.clone() for name, tensor in task.model.state_dict().items()}
    Run(tmp_path, CONFIG, task, "cpu").train()
    assert any(not torch.equal(before[name], tensor) for name, tensor in task.model.state_dict().items())
    task.export(tmp_path / "checkpoint")
    assert "slope" in package(tmp_path / "checkpoint", tmp_path / "package", readings, questions=4)
    (mark,) = load_reader(str(tmp_path / "package")).read("How long is the Alder?", ["The Alder is 11 km long."])
    assert 0 <= mark.probability <= 1


@pytest.mark.parametrize("kind", CONFIG["stages"][0]["shares"])  # type: ignore[index]
def test_rows_mark_the_words_of_the_span(readings: Readings, kind: str) -> None:
    reader = load_reader()
    task = ReaderTask.__new__(ReaderTask)
    task.reader = reader
    for seed in range(40):
        reading = readings.kinds[kind](Random(seed))
        window, first, last = task.row(reading, Random(seed))
        if reading.span is None:
            assert (first, last) == (0, 0)
            continue
        wanted = reader.encode(reading.passage[slice(*reading.span)]).ids
        assert set(wanted) <= set(window.ids[first : last + 1]) and window.offset <= first <= last < len(window.ids) - 1
