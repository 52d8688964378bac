"""Questions and replies to measures, a table, and JSON."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any

from app.eval import metrics
from app.eval.ask import TOP, Reply
from app.eval.questions import KINDS, Question

RISK = 0.05


@dataclass(frozen=True, slots=True)
class Judged:
    """One question, its reply, and what the reply is worth.

    `recalled` and `supported` are None where they make no sense: nothing to find, or no answer given.
    """

    question: Question
    reply: Reply
    exact: bool
    f1: float
    contains: bool
    quoted: bool
    recalled: bool | None
    supported: bool | None

    @property
    def searched(self) -> bool:
        return self.reply.searches > 0

    @property
    def answered(self) -> bool:
        return bool(answer(self.reply))


def answer(reply: Reply) -> str:
    """The bare answer; the whole reply where the core gave none apart; nothing if it abstained."""
    return "" if reply.abstained else reply.answer or reply.text


def judge(question: Question, reply: Reply) -> Judged:
    given = answer(reply)
    accepted = question.answers
    number = question.kind == "arithmetic"
    right = metrics.same_number(given, accepted) if number else metrics.exact(given, accepted)
    quoted = any(metrics.contains(quote, accepted) for quote in reply.quotes)
    # A quote may be longer than the evidence, or hold the answer in other words of the document.
    evidence = question.evidence
    supported = quoted or (evidence is not None and any(metrics.quotes(quote, evidence) for quote in reply.quotes))
    return Judged(
        question,
        reply,
        exact=bool(given) and right,
        f1=float(right) if number else metrics.f1(given, accepted),
        contains=right if number else metrics.contains(given, accepted),
        quoted=quoted,
        recalled=_recalled(question, reply) if question.documented else None,
        supported=supported if question.documented and given else None,
    )


def _recalled(question: Question, reply: Reply) -> bool:
    """Whether one of the first hits holds the evidence, or is of the gold file where no evidence is named."""
    for hit in reply.found:
        if question.evidence is not None and metrics.quotes(hit.text, question.evidence):
            return True
        if question.evidence is None and hit.filename == question.file:
            return True
    return False


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
        **_decision(judged),
        f"recall_at_{TOP}": _share(documented, lambda j: bool(j.recalled)),
        "exact_match": _share(documented, lambda j: j.exact),
        "f1": metrics.mean(j.f1 for j in documented),
        "answer_contains": _share(documented, lambda j: j.contains),
        "quote_contains": _share(documented, lambda j: j.quoted),
        "citation_precision": _share(given, lambda j: bool(j.supported)),
        "answered": _share(documented, lambda j: j.answered),
        "arithmetic_right": _share(sums, lambda j: j.exact),
        "abstention_precision": precision,
        "abstention_recall": recall,
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


def _confidence(lookups: Sequence[Judged]) -> dict[str, float | None]:
    """Confidence against an exact answer. An abstention, and any answer to the unanswerable, is not one."""
    given = [j for j in lookups if j.answered]
    scores, right = [j.reply.confidence for j in lookups], [j.exact for j in lookups]
    return {
        "confidence_auroc": metrics.auroc(scores, right),
        "confidence_auroc_answered": metrics.auroc([j.reply.confidence for j in given], [j.exact for j in given]),
        "coverage_at_5_percent_risk": metrics.coverage(scores, right, RISK),
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
    lines = [f"{name.replace('_', ' '):<28}{_cell(value):>10}" for name, value in summary.items()]
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
    measures = {n: getattr(judged, n) for n in ("exact", "f1", "contains", "quoted", "recalled", "supported")}
    # The passages would make the report as large as the memory: their beginnings tell them apart.
    reply = asdict(judged.reply)
    reply["found"] = [{**hit, "text": hit["text"][:80]} for hit in reply["found"]]
    return {**asdict(judged.question), "searched": judged.searched, **measures, "reply": reply}
