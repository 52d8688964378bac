"""How well a core's confidence tells answers from none, on traces it was not trained on.

The threshold below which the server abstains (COGCORE_ABSTAIN_BELOW) is chosen by this table.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import Qwen3ForCausalLM

from app.agent import confidence
from app.cores import grammar
from app.train.mixture import Mixture
from app.train.searches import searched
from index.types import Hit

THRESHOLDS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the core makes of one search's passages. `none` is its word for any verdict but that one answers."""

    none: float
    passage: float
    picked: int
    hit: Hit

    @property
    def confidence(self) -> float:
        return confidence.found(self.none, self.passage, self.hit)


class Judge:
    """Reads the two numbers that decide: whether any passage answers, and which."""

    def __init__(self, model: Qwen3ForCausalLM, mixture: Mixture) -> None:
        self.model, self.turns = model, mixture.turns
        tokenizer = self.turns.renderer.tokenizer
        self.others = [
            confidence.opening(tokenizer, verdict)
            for verdict in (grammar.ABSENT, grammar.LEADS, grammar.AGAIN, grammar.RECKONS)
        ]
        self.found = confidence.opening(tokenizer, grammar.FOUND)
        passages = self.turns.renderer.profile.passages
        self.numbers = [tokenizer.encode(str(n + 1), add_special_tokens=False)[0] for n in range(passages)]

    @torch.inference_mode()
    def __call__(self, question: str, hits: Sequence[Hit]) -> Judgement:
        row, _ = self.turns.asked((), question, question, hits)
        given = [*row.ids, *self.found]
        chances = self.model(torch.tensor([given])).logits[0].log_softmax(-1)
        none = sum(math.exp(chances[len(row.ids) + len(ids) - 2, ids[-1]].item()) for ids in self.others)
        passages = [math.exp(chances[-1, n].item()) for n in self.numbers[: len(hits)]]
        best = int(np.argmax(passages))
        return Judgement(none, passages[best], best, hits[best])


def table(model: Qwen3ForCausalLM, mixture: Mixture, lines: Sequence[str]) -> str:
    """The area under the ROC curve, the passages picked rightly, and what each threshold refuses."""
    judge = Judge(model, mixture)
    right: list[Judgement] = []
    none: list[Judgement] = []
    picked = 0
    for line in lines:
        row = json.loads(line)
        hits = searched(row)
        judgement = judge(row["question"], hits)
        (none if row["gold"] is None else right).append(judgement)
        picked += judgement.picked in row["answering"]
    measures: dict[str, Callable[[Judgement], float]] = {
        "core": lambda j: (1 - j.none) * j.passage,
        "reader": lambda j: j.hit.mark.probability if j.hit.mark else 0.0,
        "score": lambda j: j.hit.score,
        "confidence": lambda j: j.confidence,
    }
    text = [f"{len(right)} answerable, {len(none)} not; the answering passage picked: {picked / len(right):.3f}"]
    text += [f"AUROC, {name}: {area([f(j) for j in right], [f(j) for j in none]):.3f}" for name, f in measures.items()]
    text.append(f"{'threshold':>9} {'answerable refused':>19} {'unanswerable refused':>21}")
    for bound in THRESHOLDS:
        wrong = sum(j.confidence < bound for j in right) / len(right)
        well = sum(j.confidence < bound for j in none) / len(none)
        text.append(f"{bound:9.2f} {wrong:19.3f} {well:21.3f}")
    return "\n".join(text)


def area(right: Sequence[float], none: Sequence[float]) -> float:
    """The chance that an answerable one has the higher number."""
    a, b = np.array(right)[:, None], np.array(none)
    return float(((a > b) + 0.5 * (a == b)).mean())
