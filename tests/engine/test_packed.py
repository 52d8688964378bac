"""A library's own layout of a matrix is used where it is seen to be right, and only there."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from app.engine.packed import Blocked, Packed, layout
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
