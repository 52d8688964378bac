"""How well a core's confidence tells answers from none, on traces it was not trained on, and what should count in it.

The threshold below which the server abstains (COGCORE_ABSTAIN_BELOW) is chosen by this table. The weights that it ends
with are for the core's profile: those that tell best what is right. Searches without an answer count twice there,
since a wrong answer from one's own documents is worse than none.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import Qwen3ForCausalLM

from app.agent import confidence
from app.agent.verdict import rival
from app.cores import grammar
from app.cores.profile import Sureness
from app.eval.calibrate import logistic
from app.train.mixture import Mixture
from app.train.searches import searched
from index.types import Hit

THRESHOLDS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)
ABSENT = 2.0  # how often a search without an answer counts in the fit


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the core makes of one search's passages: which it picks."""

    picked: int
    found: confidence.Found


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
        return Judgement(best, confidence.Found((1 - none) * passages[best], hits[best], rival(hits, best)))


def table(model: Qwen3ForCausalLM, mixture: Mixture, lines: Sequence[str]) -> str:
    """The area under the ROC curve, the passages picked rightly, and what each threshold refuses."""
    judge, sureness = Judge(model, mixture), mixture.turns.renderer.profile.sureness
    judged, answerable, picked, right = list[Judgement](), list[bool](), list[bool](), list[bool]()
    for line in lines:
        row = json.loads(line)
        judged.append(judge(row["question"], searched(row)))
        answerable.append(row["gold"] is not None)
        picked.append(judged[-1].picked in row["answering"])
        right.append(_right(row, judged[-1].picked))
    confidences = [j.found.confidence(sureness) for j in judged]
    measures = {
        "core": [j.found.core for j in judged],
        "reader": [j.found.hit.mark.probability if j.found.hit.mark else 0.0 for j in judged],
        "score": [j.found.hit.score for j in judged],
        "confidence": confidences,
    }
    some, none = _parted(confidences, answerable)
    text = [f"{len(some)} answerable, {len(none)} not; the answering passage picked: {sum(picked) / len(some):.3f}"]
    text += [f"AUROC, {name}: {area(*_parted(scores, answerable)):.3f}" for name, scores in measures.items()]
    text.append(f"{'threshold':>9} {'answerable refused':>19} {'unanswerable refused':>21}")
    for bound in THRESHOLDS:
        wrong, well = (sum(score < bound for score in scores) / len(scores) for scores in (some, none))
        text.append(f"{bound:9.2f} {wrong:19.3f} {well:21.3f}")
    text.append(f"refitted: {fitted([j.found for j in judged], answerable, right)}")
    return "\n".join(text)


def fitted(found: Sequence[confidence.Found], answerable: Sequence[bool], right: Sequence[bool]) -> Sureness:
    """The weights that tell best what is right."""
    counts = [1.0 if there else ABSENT for there in answerable]
    return Sureness(*(round(weight, 3) for weight in logistic([one.odds for one in found], right, [0.0] * 4, counts)))


def _right(row: Mapping[str, Any], picked: int) -> bool:
    """Whether the reader marks words of the answer in the passage picked, so that these are likely to be quoted."""
    if row["gold"] is None:
        return False
    answer, hit = row["hits"][row["gold"]]["text"][slice(*row["span"])].lower(), row["hits"][picked]
    start, end, _ = hit["mark"]
    places = re.finditer(re.escape(answer), hit["text"].lower())
    return any(place.start() < end and start < place.end() for place in places)


def _parted(scores: Sequence[float], answerable: Sequence[bool]) -> tuple[list[float], list[float]]:
    """Those of the answerable, and the others."""
    both = list(zip(scores, answerable, strict=True))
    return [score for score, there in both if there], [score for score, there in both if not there]


def area(right: Sequence[float], none: Sequence[float]) -> float:
    """The chance that an answerable one has the higher number."""
    a, b = np.array(right)[:, None], np.array(none)
    return float(((a > b) + 0.5 * (a == b)).mean())
