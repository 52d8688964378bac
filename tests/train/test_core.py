"""The training pipeline on data of the same layout, made here: stages run, resume, and yield a core we can serve."""

import json
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from random import Random
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from transformers import AutoTokenizer

from app.agent.confidence import Found
from app.agent.prompt import Renderer
from app.cores import grammar
from app.cores.load import TINY_FOLDER
from app.cores.profile import TINY, Sureness
from app.engine.load import load_engine
from app.train import curves, judge, tokenizer
from app.train.check import right
from app.train.core import CoreTask, batch, weighted_loss
from app.train.mixture import Mixture
from app.train.rows import CHOICE, Turns
from app.train.run import Part, Run, Stage, padded, split
from app.train.searches import hit_of
from app.train.sources import Sources
from index.types import Mark
from tests.train.small import data

SHARES = dict.fromkeys(
    "repeat point operands digits squad world chain follow again reckon conflict ask sum talk".split(), 1.0
)
CONFIG: dict[str, Any] = {
    "seed": 1, "learning_rate": 1e-3, "warmup_steps": 2, "cooldown": 0.5, "weight_decay": 0.1,
    "checkpoint_seconds": 0,
    "model": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
              "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 2048},
    "stages": [{"name": "first", "steps": 2, "rows": 2, "shares": {"repeat": 1.0}},
               {"name": "second", "steps": 4, "rows": 2, "shares": SHARES}],
}  # fmt: skip


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Mixture:
    folder = tmp_path_factory.mktemp("data")
    data(folder)
    sources = Sources(folder)
    tokenizer.train(sources, folder / "tokenizer", vocabulary=600)
    (folder / "tokenizer/chat_template.jinja").write_bytes((TINY_FOLDER / "chat_template.jinja").read_bytes())
    words = AutoTokenizer.from_pretrained(folder / "tokenizer")
    return Mixture(Turns(Renderer(words, TINY)), sources)


def run(folder: Path, mixture: Mixture, steps: int = 4) -> CoreTask:
    task = CoreTask(mixture, CONFIG)
    stages = [CONFIG["stages"][0], {**CONFIG["stages"][1], "steps": steps}]
    Run(folder, {**CONFIG, "stages": stages}, task, "cpu").train()
    return task


def test_rows_begin_with_what_the_server_renders_and_are_learned_where_the_core_writes(mixture: Mixture) -> None:
    words = mixture.turns.renderer.tokenizer
    row = mixture.turns.talk((), "hi there", "Hello!")
    prompt = mixture.turns.renderer.start([{"role": "user", "content": "hi there"}])
    assert row.ids[: len(prompt)] == prompt
    assert [w > 0 for w in row.weights] == [False] * len(prompt) + [True] * (len(row.ids) - len(prompt))
    assert str(words.decode(row.ids[len(prompt) :])).endswith("</think>\n\nHello!<|im_end|>")


def test_a_problem_of_two_steps_becomes_one_expression_and_longer_ones_are_left_out(mixture: Mixture) -> None:
    assert [expression for _, expression in mixture.problems] == ["(3 * 4) - 2"]


def test_every_kind_of_row_ends_its_turn(mixture: Mixture) -> None:
    for name in SHARES:
        for row in mixture.draw(1, 7, 3, {name: 1.0}):
            assert len(row.ids) == len(row.weights) < 2048
            assert row.ids[-1] == mixture.turns.end
            assert row.weights[0] == 0 < row.weights[-1]


def test_a_bad_first_query_is_not_learned_and_the_better_one_is(mixture: Mixture) -> None:
    words = mixture.turns.renderer.tokenizer
    for row in mixture.draw(1, 3, 8, {"again": 1.0}):
        text = str(words.decode(row.ids))
        learned = next(n for n, weight in enumerate(row.weights) if weight)
        assert text.index(grammar.SEARCH) < len(str(words.decode(row.ids[:learned]))) == text.index(grammar.AGAIN)
        assert max(row.weights[learned : learned + 4]) == CHOICE


class Killed(Exception):
    """The process died."""


class Dying(Run):
    """A run that dies after three steps."""

    def _one_step(self, parts: Sequence[Part]) -> None:
        if self.step == 3:
            raise Killed
        super()._one_step(parts)


def test_a_run_that_was_killed_goes_on_to_the_same_weights(mixture: Mixture, tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", mixture)
    halves = Dying(tmp_path / "halves", CONFIG, CoreTask(mixture, CONFIG), "cpu")
    with pytest.raises(Killed):
        halves.train()
    assert halves.step == 3
    resumed = run(tmp_path / "halves", mixture)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


def test_a_core_is_trained_on_from_a_checkpoint(mixture: Mixture, tmp_path: Path) -> None:
    earlier = run(tmp_path / "earlier", mixture)
    earlier.export(tmp_path / "checkpoint")
    further = CoreTask(mixture, {"seed": 2}, tmp_path / "checkpoint")
    assert further.model.training
    for name, tensor in earlier.model.state_dict().items():
        assert torch.equal(tensor.bfloat16().float(), further.model.state_dict()[name]), name


def test_the_ends_of_stages_are_averaged(mixture: Mixture, tmp_path: Path) -> None:
    config = {**CONFIG, "average": ["first", "second"]}
    made = Run(tmp_path, config, CoreTask(mixture, config), "cpu")
    made.train()
    ends = [torch.load(tmp_path / f"{name}.pt") for name in config["average"]]
    assert any(not torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    for name, weight in made.task.model.named_parameters():
        assert torch.allclose(weight, (ends[0][name] + ends[1][name]) / 2)


def test_a_step_goes_through_in_parts_of_like_length_that_hold_what_they_may() -> None:
    lengths = [[200], [17, 9], [90], [300], [16], [33], [95, 10, 20], [5000, 5000]]
    parts = split(lengths, 400)
    assert sorted(group for part in parts for group in part) == list(range(len(lengths)))
    longest = [max(lengths[group]) for part in parts for group in part]
    assert longest == sorted(longest)
    for part in parts:
        rows = [length for group in part for length in lengths[group]]
        assert len(part) == 1 or len(rows) * padded(max(rows)) <= 400


def test_parts_of_a_step_add_up_to_its_loss(mixture: Mixture) -> None:
    task, stage = CoreTask(mixture, CONFIG), Stage("all", 1, 6, SHARES)
    whole = task.parts(stage, 1, 0)
    task.tokens = 64
    parts = task.parts(stage, 1, 0)
    assert len(parts) > len(whole) and sum(p.tokens for p in parts) == sum(p.tokens for p in whole)
    few, many = (sum(p.share * task.loss(*p.inputs).item() for p in made) for made in (whole, parts))
    assert many == pytest.approx(few, rel=1e-4)


def test_rows_that_other_processes_draw_ahead_train_the_same_weights(mixture: Mixture, tmp_path: Path) -> None:
    alone = run(tmp_path / "alone", mixture)
    helped = CoreTask(mixture, CONFIG)
    Run(tmp_path / "helped", CONFIG, helped, "cpu", workers=2).train()
    for name, tensor in alone.model.state_dict().items():
        assert torch.equal(tensor, helped.model.state_dict()[name]), name


def test_the_curves_of_a_run_show_each_stage(tmp_path: Path) -> None:
    lines = [{"step": n, "stage": "first" if n < 4 else "a < b", "loss": 1 / n, "tokens": n * 100} for n in range(1, 9)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    curves.draw(tmp_path / "log.jsonl", tmp_path / "curves.svg")
    picture = ElementTree.parse(tmp_path / "curves.svg")
    space = "{http://www.w3.org/2000/svg}"
    drawn = [line.attrib["points"].split() for line in picture.iter(f"{space}polyline")]
    assert [len(points) for points in drawn] == [4, 6]  # a stage goes on from where the one before it ended
    assert [text.text for text in picture.iter(f"{space}text")][-2:] == ["first", "a < b"]
    heights = [float(point.split(",")[1]) for point in [*drawn[0], *drawn[1][1:]]]
    assert heights == sorted(heights)  # a loss that falls is drawn falling


def test_the_checkpoint_is_a_core_that_our_engine_serves(mixture: Mixture, tmp_path: Path) -> None:
    made = run(tmp_path, mixture)
    made.export(tmp_path / "checkpoint")
    config = json.loads((tmp_path / "checkpoint/config.json").read_text())
    assert config["model_type"] == "qwen3" and config["cogcore_profile"] == "tiny"
    assert "response_template" in json.loads((tmp_path / "checkpoint/tokenizer_config.json").read_text())
    engine = load_engine(tmp_path / "checkpoint")
    assert engine.vocab_size == len(made.tokenizer)


def test_the_core_learns_what_it_is_shown_over_and_over(mixture: Mixture, tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = run(tmp_path, mixture)
    row = mixture.turns.talk((), "hi there", "Hello!")
    assert not all(right(made.model, row)[1])
    optimizer = torch.optim.AdamW(made.model.parameters(), 1e-2)
    for _ in range(60):
        loss = weighted_loss(made.model, *batch([row], 0))
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
    protocol, values = right(made.model, row)
    assert all(protocol) and all(values)


def test_searches_sometimes_find_little_but_never_lose_what_answers(mixture: Mixture, tmp_path: Path) -> None:
    hits = [{"text": f"The river {name} is 7 km long.", "mark": [15, 19, 0.5], "score": 0.5} for name in "ABCD"]
    row = {"question": "How long is C?", "hits": hits, "gold": 2, "span": [15, 19], "answering": [2]}
    (tmp_path / "traces.jsonl").write_text(json.dumps(row) + "\n")
    drawn = Mixture(mixture.turns, mixture.sources, tmp_path)
    decode = mixture.turns.renderer.tokenizer.decode
    texts = [str(decode(drawn.trace(Random(seed)).ids)) for seed in range(60)]
    assert all("The river C is" in text and "answers this" in text for text in texts)
    assert {text.count("The river") for text in texts} == {1, 2, 3, 4}


def test_the_judge_tells_answerable_searches_from_others(mixture: Mixture, tmp_path: Path) -> None:
    made = run(tmp_path, mixture)
    hits = [
        {"text": f"The river {name} is 7 km long.", "mark": [22, 26, p], "score": p}
        for name, p in (("A", 0.9), ("B", 0.1))
    ]
    known = {"question": "How long is A?", "hits": hits, "gold": 0, "span": [22, 26], "answering": [0]}
    unknown = {"question": "How long is C?", "hits": hits, "gold": None, "span": [0, 0], "answering": []}
    printed = judge.table(made.model, mixture, [json.dumps(known), json.dumps(unknown)])
    assert printed.startswith("1 answerable, 1 not")
    assert "AUROC, reader" in printed and printed.count("\n") == 6 + len(judge.THRESHOLDS)


def test_the_judge_fits_what_tells_right_from_wrong() -> None:
    rng = Random(2)
    true = Sureness(0.5, 1.0, -1.0, 0.5)
    hits = [hit_of("Seven.", Mark(0, 5, 0.5), rng.random()) for _ in range(4000)]
    found = [Found(rng.random(), hit, rng.random()) for hit in hits]
    right = [rng.random() < one.confidence(true) for one in found]
    made = judge.fitted(found, [True] * len(found), right)
    assert astuple(made) == pytest.approx(astuple(true), abs=0.15)
    careful = judge.fitted(found, right, right)
    assert all(careful.bias < one.bias and careful.rival < 0 < careful.score for one in (made, true))


def test_the_area_is_the_chance_of_the_right_order() -> None:
    assert judge.area([0.9, 0.4], [0.1, 0.4]) == pytest.approx(3.5 / 4)
