"""A reader drawn at random, through the exporter, beside transformers' own BERT."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForQuestionAnswering

from app.train.calibrate_reader import logistic
from app.train.export_reader import export
from index.int8 import quantized
from index.reader import Reader, Window, load_reader

WINDOWS = [
    Window((101, 2054, 2003, 102, *range(2000, 2000 + length), 102), passage=0, first=0, asked=4, offset=4)
    for length in (5, 61, 30)
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128, initializer_range=0.2
    )
    folder = tmp_path_factory.mktemp("bert")
    BertForQuestionAnswering(config).save_pretrained(folder)
    return folder


def scores(reader: Reader) -> list[np.ndarray]:
    return reader._scorer(WINDOWS)


def expected(checkpoint: Path) -> list[np.ndarray]:
    model = BertForQuestionAnswering.from_pretrained(checkpoint)
    model.train(False)
    rows = []
    with torch.inference_mode():
        for window in WINDOWS:
            out = model(torch.tensor([window.ids]), token_type_ids=torch.tensor([window.types]))
            rows.append(torch.stack([out.start_logits[0], out.end_logits[0]], dim=-1).numpy())
    return rows


def test_unrounded_in_torch_it_is_transformers_bert(checkpoint: Path, tmp_path: Path) -> None:
    export(checkpoint, tmp_path, rounded=False)
    for ours, theirs in zip(scores(load_reader(str(tmp_path))), expected(checkpoint), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_rounded_in_onnx_it_is_close(checkpoint: Path, tmp_path: Path) -> None:
    export(checkpoint, tmp_path)
    for ours, theirs in zip(scores(load_reader(str(tmp_path))), expected(checkpoint), strict=True):
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.99
        assert np.abs(ours - theirs).mean() < 0.2 * theirs.std()


def test_rounding_keeps_each_value_within_half_a_step() -> None:
    weight = np.random.default_rng(0).standard_normal((40, 7)).astype(np.float32)
    values, scale = quantized(weight, axis=0)
    assert np.abs(values.astype(int)).max() <= 63
    assert (np.abs(values * scale - weight) <= scale * 0.501).all()


def test_the_logistic_finds_the_curve_that_made_the_labels() -> None:
    random = np.random.default_rng(0)
    leads = random.normal(0, 5, 20_000)
    labels = random.random(20_000) < 1 / (1 + np.exp(-(0.5 * leads - 2)))
    slope, intercept = logistic(list(zip(leads.tolist(), labels.tolist(), strict=True)))
    assert slope == pytest.approx(0.5, abs=0.03)
    assert intercept == pytest.approx(-2, abs=0.1)
