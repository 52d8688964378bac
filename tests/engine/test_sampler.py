"""The sampler against plain arithmetic on the same distribution."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from app.engine.sampler import FEW, Sampler, check
from app.engine.types import InvalidSampling, RequestFailed, Sampling

PROBABILITIES = [0.4, 0.3, 0.15, 0.1, 0.05]
LOGITS = torch.tensor(PROBABILITIES).log() + 3.0


def draw(sampling: Sampling, count: int = 1500, logits: torch.Tensor = LOGITS) -> dict[int, float]:
    sampler = Sampler(replace(sampling, temperature=sampling.temperature or 1.0, seed=7), len(logits))
    counts = Counter(sampler.pick(logits) for _ in range(count))
    return {token: times / count for token, times in counts.items()}


def close(got: dict[int, float], weights: dict[int, float]) -> bool:
    total = sum(weights.values())
    return got.keys() == weights.keys() and all(abs(got[t] - w / total) < 0.05 for t, w in weights.items())


def test_temperature() -> None:
    assert close(draw(Sampling()), dict(enumerate(PROBABILITIES)))
    assert close(draw(Sampling(temperature=2.0)), {t: math.sqrt(p) for t, p in enumerate(PROBABILITIES)})
    assert draw(Sampling(temperature=1e-6)) == {0: 1.0}
    assert Sampler(Sampling(), 5).pick(LOGITS) == 0


def test_top_k_top_p_min_p() -> None:
    assert close(draw(Sampling(top_k=2)), {0: 0.4, 1: 0.3})
    assert close(draw(Sampling(top_k=50)), dict(enumerate(PROBABILITIES)))
    assert close(draw(Sampling(top_p=0.69)), {0: 0.4, 1: 0.3})
    assert close(draw(Sampling(top_p=0.71)), {0: 0.4, 1: 0.3, 2: 0.15})
    assert draw(Sampling(top_p=1e-9)) == {0: 1.0}
    assert close(draw(Sampling(min_p=0.24)), {0: 0.4, 1: 0.3, 2: 0.15, 3: 0.1})
    # top-p counts what top-k left: 0.4 of 0.85 is not yet half.
    assert close(draw(Sampling(top_k=3, top_p=0.5)), {0: 0.4, 1: 0.3})


@settings(deadline=None, max_examples=40)
@given(st.floats(0.01, 0.999), st.integers(0, 50))
def test_top_p_on_a_large_vocabulary(top_p: float, seed: int) -> None:
    """The quick way over a few candidates and the sort of all agree with the definition."""
    logits = torch.randn(3 * FEW, generator=torch.Generator().manual_seed(seed)) * (0.2 + seed / 10)
    chances, order = logits.double().softmax(0).sort(descending=True)
    kept = set(order[: 1 + int((chances.cumsum(0) < top_p).sum())].tolist())
    sampler = Sampler(Sampling(temperature=1.0, top_p=top_p, seed=seed), len(logits))
    assert {sampler.pick(logits) for _ in range(40)} <= kept


def test_seeds() -> None:
    flat = torch.zeros(1000)

    def tokens(seed: int | None) -> list[int]:
        sampler = Sampler(Sampling(temperature=1.0, seed=seed), 1000)
        return [sampler.pick(flat) for _ in range(8)]

    assert tokens(3) == tokens(3)
    assert tokens(3) != tokens(4)
    assert tokens(None) != tokens(None)


def test_bias_and_penalties_change_a_copy() -> None:
    before = LOGITS.clone()
    assert Sampler(Sampling(logit_bias=((3, 5.0), (0, -5.0))), 5).pick(LOGITS) == 3
    sampler = Sampler(Sampling(presence_penalty=0.5), 5)
    sampler.took(0)
    assert sampler.pick(LOGITS) == 1  # ln(.4/.3) = 0.29 < 0.5
    sampler = Sampler(Sampling(frequency_penalty=0.2), 5)
    sampler.took(0)
    assert sampler.pick(LOGITS) == 0
    sampler.took(0)
    assert sampler.pick(LOGITS) == 1
    assert torch.equal(before, LOGITS)


def test_mask_sees_what_was_generated_and_decides_what_may_come() -> None:
    seen: list[list[int]] = []

    def mask(generated: Sequence[int]) -> Sequence[int] | None:
        seen.append(list(generated))
        return [[4], [3, 4, 3], None][len(generated)]

    sampler = Sampler(Sampling(mask=mask), 5)
    for expected in (4, 3, 0):
        token = sampler.pick(LOGITS)
        assert token == expected
        sampler.took(token)
    assert seen == [[], [4], [4, 3]]
    # Twice the same id is not twice the chance.
    assert close(draw(Sampling(mask=lambda _: [4, 3, 3, 3])), {3: 0.1, 4: 0.05})


@pytest.mark.parametrize("allowed", [[], [5], [-1, 2]])
def test_masks_that_allow_nothing_that_exists(allowed: list[int]) -> None:
    with pytest.raises(RequestFailed, match="mask allows"):
        Sampler(Sampling(mask=lambda _: allowed), 5).pick(LOGITS)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_tokens": 0},
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"top_k": -1},
        {"min_p": 1.5},
        {"top_logprobs": 6},
        {"logit_bias": ((5, 1.0),)},
        {"logit_bias": ((0, math.inf),)},
        {"frequency_penalty": math.inf},
        {"presence_penalty": math.nan},
    ],
)
def test_values_out_of_range_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidSampling, match=next(iter(wrong))):
        check(Sampling(**wrong), 5)
    check(Sampling(), 5)
