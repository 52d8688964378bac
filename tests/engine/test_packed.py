"""A library's own layout of a matrix is used where it is seen to be right, and only there."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from app.engine.config import read_config
from app.engine.load import _weights
from app.engine.packed import ANY, EXACT, Blocked, Halved, Packed, layout
from tests.engine.conftest import Checkpoint
from tests.engine.test_model import build, expected, ids, in_pieces

KINDS = [kind for kind in (Packed, Blocked) if kind.there]
pytestmark = pytest.mark.skipif(not KINDS, reason="torch has neither MKL nor oneDNN here")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("outs", [1, 97, 320])
def test_products_are_the_plain_ones(outs: int, kind: type[Packed]) -> None:
    weight, bias = torch.randn(outs, 56), torch.randn(outs)
    for rows in (1, 2, 40, 200):
        x = torch.randn(rows, 56)
        torch.testing.assert_close(kind(weight).times(x, bias), torch.addmm(bias, x, weight.t()), atol=1e-4, rtol=1e-5)


def test_one_of_them_does() -> None:
    chosen = layout(torch.randn(64, 320))
    assert chosen and chosen[0] in KINDS and chosen[1] in (1, 2)


@pytest.mark.skipif(not Halved.there, reason="this processor does not multiply bf16")
def test_bf16_weights_are_multiplied_in_bf16() -> None:
    weight, bias, x = torch.randn(96, 320).bfloat16().float(), torch.randn(96), torch.randn(40, 320)
    matrix, rounded = Halved(weight), x.bfloat16().float()
    got = matrix.times(x)
    torch.testing.assert_close(got, (rounded @ weight.t()).bfloat16().float(), atol=1e-3, rtol=2**-7)
    assert torch.equal(matrix.times(x, bias), got + bias)  # which is not rounded
    for rows in (1, 2, 3, 33):
        assert torch.equal(matrix.times(x[:rows]), got[:rows])
    assert layout(weight, ANY) == (Halved, 1)


def test_only_what_is_asked_for_is_rounded(checkpoint: Callable[[str], Checkpoint], tmp_path: Path) -> None:
    """float32 weights never are, and bf16 ones not where float32 is asked for."""
    folder, reference = checkpoint("qwen3")
    halved = copy.deepcopy(reference).bfloat16()
    halved.save_pretrained(tmp_path)
    for where, kinds, rounds in ((folder, ANY, False), (tmp_path, EXACT, False), (tmp_path, ANY, Halved.there)):
        weights = _weights(where, read_config(where), torch.float32, "cpu", kinds)
        matrices = [weights.head, *(matrix for layer in weights.layers for matrix in (layer.qkv, layer.down))]
        assert {isinstance(matrix, Halved) for matrix in matrices} == {rounds}


def test_only_for_float32_on_a_cpu() -> None:
    assert layout(torch.randn(64, 320, dtype=torch.bfloat16)) is None


@pytest.mark.parametrize(
    "spoiled",
    [lambda product: product * (1 + 1e-6 * len(product)), lambda product: product.flip(1)],
    ids=["by company", "wrong"],
)
def test_a_layout_that_does_not_do_is_not_used(
    spoiled: Callable[[Tensor], Tensor],
    checkpoint: Callable[[str], Checkpoint],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for kind in KINDS:
        plain = kind.times
        monkeypatch.setattr(kind, "times", lambda *given, plain=plain: spoiled(plain(*given)))
    assert layout(torch.randn(64, 320)) is None
    decoder, cache = build(checkpoint("qwen3"))
    assert isinstance(decoder.weights.head, Tensor) and decoder.weights.fewest == 2
    tokens = ids(20)
    [got] = in_pieces(decoder, cache, [tokens], [[16]])
    torch.testing.assert_close(got, expected(checkpoint("qwen3")[1], tokens), atol=3e-5, rtol=1e-5)
