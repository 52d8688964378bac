"""How well a core does on fresh rows of each kind, teacher-forced: tokens and whole values it gets right."""

from collections.abc import Iterable
from random import Random

import torch
from transformers import Qwen3ForCausalLM

from app.train.mixture import Mixture
from app.train.rows import CHOICE, LITERAL, TERM, VALUE, Row


@torch.inference_mode()
def right(model: Qwen3ForCausalLM, row: Row) -> tuple[list[bool], list[bool]]:
    """For each token the core writes, whether it would have chosen it: (protocol tokens, value tokens)."""
    ids = torch.tensor([row.ids])
    chosen = model(ids[:, :-1]).logits.argmax(-1)[0]
    hits = (chosen == ids[0, 1:]).tolist()
    literal = [ok for ok, w in zip(hits, row.weights[1:], strict=True) if w in (LITERAL, CHOICE)]
    value = [ok for ok, w in zip(hits, row.weights[1:], strict=True) if w in (VALUE, TERM)]
    return literal, value


def table(model: Qwen3ForCausalLM, mixture: Mixture, kinds: Iterable[str], rows: int, seed: int = 999) -> str:
    """One line per kind: the share of protocol tokens, of rows right in all of them, and the same for values."""
    lines = [f"{'kind':10} {'protocol':>9} {'all':>6} {'values':>8} {'all':>6}"]
    for kind in kinds:
        results = [right(model, mixture.kinds[kind](Random(f"{seed}/{kind}/{n}"))) for n in range(rows)]
        shares = []
        for part in (0, 1):
            tokens = [ok for result in results for ok in result[part]]
            shares += [_mean(tokens), _mean([all(result[part]) for result in results])]
        lines.append(f"{kind:10} {shares[0]:9.3f} {shares[1]:6.2f} {shares[2]:8.3f} {shares[3]:6.2f}")
    return "\n".join(lines)


def _mean(values: list[bool]) -> float:
    return sum(values) / max(len(values), 1)
