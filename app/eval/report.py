"""Judged replies to measures, a table, and JSON."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import zip_longest
from typing import Any

from app.eval import metrics
from app.eval.ask import TOP, Reply
from app.eval.judge import Judged
from app.eval.questions import KINDS

RISK = 0.05
COVERED = 0.5
MEASURES = ("exact", "f1", "contains", "quoted", "recalled", "supported", "cited", "former", "both", "right", "valid")


def summarise(judged: Sequence[Judged]) -> dict[str, Any]:
    """Every measure, by name. Shares are 0 to 1; None where there was nothing to measure."""
    documented = [j for j in judged if j.question.documented]
    given = [j for j in documented if j.answered]
    sums = [j for j in judged if j.question.kind == "arithmetic"]
    precision, recall = metrics.precision_recall(
        [j.reply.abstained for j in judged], [j.question.kind == "unanswerable" for j in judged]
    )
    return {
        "questions": len(judged),
        "failed": sum(j.reply.error is not None for j in judged),
        "valid_protocol": _share(judged, lambda j: j.valid),
        **_decision(judged),
        f"recall_at_{TOP}": _share(documented, lambda j: bool(j.recalled)),
        "exact_match": _share(documented, lambda j: j.exact),
        "f1": metrics.mean(j.f1 for j in documented),
        "answer_contains": _share(documented, lambda j: j.contains),
        "quote_contains": _share(documented, lambda j: j.quoted),
        "right": _share(documented, lambda j: j.right),
        "citation_precision": _share(given, lambda j: bool(j.supported)),
        "citation_precision_when_right": _share([j for j in given if j.right], lambda j: bool(j.cited)),
        "answered": _share(documented, lambda j: j.answered),
        "arithmetic_right": _share(sums, lambda j: j.exact),
        "abstention_precision": precision,
        "abstention_recall": recall,
        **_exchanged([j for j in given if j.former is not None]),
        "tells_both": _share([j for j in documented if j.both is not None], lambda j: bool(j.both)),
        **_confidence([j for j in judged if j.question.search]),
        **_cost([j.reply for j in judged if j.reply.error is None]),
    }


def _share(judged: Sequence[Judged], holds: Callable[[Judged], bool]) -> float | None:
    return metrics.mean(float(holds(j)) for j in judged)


def _decision(judged: Sequence[Judged]) -> dict[str, float | None]:
    asked = [j for j in judged if j.reply.need is not None]
    return {
        "decision_accuracy": _share(judged, lambda j: j.searched == j.question.search),
        "over_search": _share([j for j in judged if not j.question.search], lambda j: j.searched),
        "under_search": _share([j for j in judged if j.question.search], lambda j: not j.searched),
        "need_auroc": metrics.auroc([j.reply.need or 0.0 for j in asked], [j.question.search for j in asked]),
    }


def _exchanged(given: Sequence[Judged]) -> dict[str, float | None]:
    """Of the answers from changed documents: how many give the value that stands there, and how many the former."""
    return {
        "gives_new_value": _share(given, lambda j: j.contains),
        "gives_former_value": _share(given, lambda j: bool(j.former)),
    }


def _confidence(lookups: Sequence[Judged]) -> dict[str, float | None]:
    """Confidence against a right answer. An abstention, and any answer to the unanswerable, is not one.

    The AUROC is that of the answers: what was refused for its low confidence would rank as if it had been wrong.
    """
    given = [j for j in lookups if j.answered]
    scores, right = [j.reply.confidence for j in lookups], [j.right for j in lookups]
    return {
        "confidence_auroc": metrics.auroc([j.reply.confidence for j in given], [j.right for j in given]),
        "coverage_at_5_percent_risk": metrics.coverage(scores, right, RISK),
        "error_at_50_percent_coverage": metrics.risk(scores, right, COVERED),
    }


def _cost(replies: Sequence[Reply]) -> dict[str, Any]:
    seconds = [r.seconds for r in replies]
    rounds = zip_longest(*(r.prefilled for r in replies))
    return {
        "seconds_p50": metrics.percentile(seconds, 0.5),
        "seconds_p95": metrics.percentile(seconds, 0.95),
        "prefilled_per_round": [metrics.mean(n for n in nth if n is not None) for nth in rounds],
        "generated_per_turn": metrics.mean(r.generated for r in replies),
    }


def by_kind(judged: Sequence[Judged]) -> dict[str, dict[str, Any]]:
    """A few measures for each kind of question that was asked."""
    kinds = {kind: [j for j in judged if j.question.kind == kind] for kind in KINDS}
    return {
        kind: {
            "questions": len(of),
            "searched": _share(of, lambda j: j.searched),
            f"recall_at_{TOP}": metrics.mean(float(j.recalled) for j in of if j.recalled is not None),
            "exact_match": _share(of, lambda j: j.exact) if any(j.question.answers for j in of) else None,
            "f1": metrics.mean(j.f1 for j in of) if any(j.question.answers for j in of) else None,
            "abstained": _share(of, lambda j: j.reply.abstained),
            "seconds_p50": metrics.percentile([j.reply.seconds for j in of if j.reply.error is None], 0.5),
        }
        for kind, of in kinds.items()
        if of
    }


def table(summary: dict[str, Any], kinds: dict[str, dict[str, Any]]) -> str:
    """Both as plain text, for people."""
    lines = [f"{name.replace('_', ' '):<32}{_cell(value):>10}" for name, value in summary.items()]
    columns = list(next(iter(kinds.values())))
    lines += ["", f"{'kind':<14}" + "".join(f"{name.replace('_', ' '):>14}" for name in columns)]
    lines += [f"{kind:<14}" + "".join(f"{_cell(row[name]):>14}" for name in columns) for kind, row in kinds.items()]
    return "\n".join(lines)


def _cell(value: object) -> str:
    match value:
        case None:
            return "-"
        case float():
            return f"{value:.3f}"
        case list():
            return "  ".join("-" if v is None else f"{v:.0f}" for v in value) or "-"
        case _:
            return str(value)


def row(judged: Judged) -> dict[str, Any]:
    """One question in the JSON report."""
    measures = {name: getattr(judged, name) for name in MEASURES}
    # The passages would make the report as large as the memory: their beginnings tell them apart.
    reply = asdict(judged.reply)
    for passages in ("found", "cited"):
        reply[passages] = [{**passage, "text": passage["text"][:80]} for passage in reply[passages]]
    return {**asdict(judged.question), "searched": judged.searched, **measures, "reply": reply}
