"""MKL's own layout of a matrix is used where it is seen to be right, and only there."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from app.engine.packed import Packed, available, fewest_rows
from tests.engine.conftest import Checkpoint
from tests.engine.test_model import build, expected, ids, in_pieces

pytestmark = pytest.mark.skipif(not available(torch.float32, "cpu"), reason="torch has no MKL here")
Times = Callable[[Packed, Tensor, Tensor | None], Tensor]
plain = Packed.times


def by_company(matrix: Packed, x: Tensor, bias: Tensor | None = None) -> Tensor:
    return plain(matrix, x, bias) * (1 + 1e-6 * len(x))


def wrong(matrix: Packed, x: Tensor, bias: Tensor | None = None) -> Tensor:
    return plain(matrix, x, bias).flip(1)


@pytest.mark.parametrize("outs", [1, 97, 320])
def test_products_are_the_plain_ones(outs: int) -> None:
    weight, bias = torch.randn(outs, 56), torch.randn(outs)
    for rows in (1, 2, 40, 200):
        x = torch.randn(rows, 56)
        torch.testing.assert_close(
            Packed(weight).times(x, bias), torch.addmm(bias, x, weight.t()), atol=1e-4, rtol=1e-5
        )


@pytest.mark.parametrize("times", [by_company, wrong])
def test_a_layout_that_does_not_do_is_not_used(
    times: Times, checkpoint: Callable[[str], Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fewest_rows(torch.randn(64, 320)) in (1, 2)
    monkeypatch.setattr(Packed, "times", times)
    assert fewest_rows(torch.randn(64, 320)) is None
    decoder, cache = build(checkpoint("qwen3"))
    assert isinstance(decoder.weights.head, Tensor) and decoder.weights.fewest == 2
    tokens = ids(20)
    [got] = in_pieces(decoder, cache, [tokens], [[16]])
    torch.testing.assert_close(got, expected(checkpoint("qwen3")[1], tokens), atol=3e-5, rtol=1e-5)
