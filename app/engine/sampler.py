"""From one row of logits to one token, as one request wants it.

Order: penalties (over generated tokens only), logit bias, mask, temperature, top-k, top-p, min-p. Randomness is one
uniform number per token from the request's own generator, inverted through the cumulative distribution in float64: a
seed gives the same tokens whatever else is in the batch, as long as the logits do (see model.py for when they do).
"""

import math
from collections import Counter
from collections.abc import Sequence
from random import Random

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from app.engine.types import Finish, InvalidSampling, RequestFailed, Sampling

KEEP = 60.0  # the most seconds that one request may hold on to its KV
FEW = 256  # how many candidates top-p tries before it sorts the whole vocabulary


def check(sampling: Sampling, vocab_size: int) -> None:
    """Raise InvalidSampling, naming the field, for values that no token could be drawn with."""
    numbers = (sampling.temperature, sampling.frequency_penalty, sampling.presence_penalty)
    rules = (
        (sampling.max_tokens >= 1, f"max_tokens must be at least 1, not {sampling.max_tokens}"),
        (sampling.temperature >= 0, f"temperature must be at least 0, not {sampling.temperature}"),
        (all(map(math.isfinite, numbers)), "temperature, frequency_penalty and presence_penalty must be finite"),
        (0 < sampling.top_p <= 1, f"top_p must be above 0 and at most 1, not {sampling.top_p}"),
        (sampling.top_k >= 0, f"top_k must be at least 0 (0 is off), not {sampling.top_k}"),
        (0 <= sampling.min_p <= 1, f"min_p must be between 0 and 1, not {sampling.min_p}"),
        (0 <= sampling.keep <= KEEP, f"keep must be between 0 and {KEEP} seconds, not {sampling.keep}"),
        (
            0 <= sampling.top_logprobs <= vocab_size,
            f"top_logprobs must be between 0 and {vocab_size}, not {sampling.top_logprobs}",
        ),
        (
            all(0 <= id_ < vocab_size and math.isfinite(bias) for id_, bias in sampling.logit_bias),
            f"logit_bias needs ids below {vocab_size} and finite biases",
        ),
    )
    for fine, message in rules:
        if not fine:
            raise InvalidSampling(message)


class Sampler:
    """One request's sampling state: its generator and what it has generated."""

    def __init__(self, sampling: Sampling, vocab_size: int) -> None:
        self.sampling = sampling
        self.vocab_size = vocab_size
        self.generated: list[int] = []
        self._counts: Counter[int] = Counter()
        self._random = Random(sampling.seed)
        self._allowed: tuple[int, Tensor | None] = (-1, None)  # what the mask said, and after how many ids
        self._penalised = bool(sampling.frequency_penalty or sampling.presence_penalty)
        # Plain requests share one argmax over the batch and never come to `pick`.
        self.plain = not (sampling.temperature or sampling.logit_bias or sampling.mask or self._penalised)

    @property
    def finish(self) -> Finish | None:
        """Why nothing follows what was generated; None while something may."""
        if self.generated and self.generated[-1] in self.sampling.stop_ids:
            return "stop"
        return None if self.left > 0 else "length"

    @property
    def left(self) -> int:
        """How many tokens may still be generated."""
        return self.sampling.max_tokens - len(self.generated)

    def took(self, token: int) -> None:
        self.generated.append(token)
        if self._penalised:
            self._counts[token] += 1

    def forced(self) -> list[int]:
        """The ids that the mask leaves no choice about, up to the next choice or the end. They count as generated."""
        start = len(self.generated)
        while self.finish is None and (allowed := self.allowed()) is not None and len(allowed) == 1:
            self.took(int(allowed[0]))
        return self.generated[start:]

    def pick(self, logits: Tensor) -> int:
        """logits [vocabulary], left as they are. Raises RequestFailed when the mask allows nothing that exists."""
        allowed = self.allowed()
        if allowed is not None and len(allowed) == 1:
            return int(allowed[0])
        scores = self._adjust(logits)
        if allowed is None:
            return self._choose(scores)
        return int(allowed[self._choose(scores[allowed.to(logits.device)])])

    def allowed(self) -> Tensor | None:
        """The ids that the mask allows next, asked once; None without one."""
        if self.sampling.mask is not None and self._allowed[0] != len(self.generated):
            self._allowed = len(self.generated), self._existing(self.sampling.mask(self.generated))
        return self._allowed[1]

    def _existing(self, allowed: Sequence[int] | npt.NDArray[np.int64] | None) -> Tensor | None:
        if allowed is None:
            return None
        ids = torch.as_tensor(allowed if isinstance(allowed, np.ndarray) else sorted(set(allowed)), dtype=torch.long)
        if not len(ids):
            raise RequestFailed(f"the mask allows no token after {len(self.generated)} generated")
        if ids[0] < 0 or ids[-1] >= self.vocab_size:
            raise RequestFailed(f"the mask allows ids outside the vocabulary of {self.vocab_size}")
        return ids

    def _adjust(self, logits: Tensor) -> Tensor:
        if not (self._counts or self.sampling.logit_bias):
            return logits
        scores = logits.clone()
        if self._counts:
            ids = torch.tensor(list(self._counts), device=scores.device)
            counts = torch.tensor(list(self._counts.values()), dtype=scores.dtype, device=scores.device)
            scores[ids] -= self.sampling.frequency_penalty * counts + self.sampling.presence_penalty
        for token, bias in self.sampling.logit_bias:
            scores[token] += bias
        return scores

    def _choose(self, scores: Tensor) -> int:
        if self.sampling.temperature == 0:
            return int(scores.argmax())
        scaled = (scores - scores.max()).double() / self.sampling.temperature
        order: Tensor | None = None
        if 0 < self.sampling.top_k < len(scaled):
            scaled, order = scaled.topk(self.sampling.top_k)
        if self.sampling.top_p < 1:
            scaled, order = _nucleus(scaled, order, self.sampling.top_p)
        weights = scaled.exp()
        if self.sampling.min_p > 0:
            weights = weights * (weights >= self.sampling.min_p)  # the best one weighs 1
        cumulative = weights.cumsum(0)
        drawn = cumulative[-1] * self._random.random()
        place = min(int(torch.searchsorted(cumulative, drawn, right=True)), len(cumulative) - 1)
        return place if order is None else int(order[place])


def _nucleus(scaled: Tensor, order: Tensor | None, top_p: float) -> tuple[Tensor, Tensor]:
    """The fewest best candidates that hold `top_p` of the probability, best first, and where they came from."""
    total = scaled.exp().sum()
    if order is None:
        best, order = scaled.topk(min(FEW, len(scaled)))
        if best.exp().sum() < top_p * total:
            best, order = scaled.sort(descending=True, stable=True)
        scaled = best
    shares = scaled.exp() / total
    kept = max(1, int((shares.cumsum(0) - shares < top_p).sum()))
    return scaled[:kept], order[:kept]
