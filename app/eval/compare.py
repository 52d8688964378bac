"""Deletion pairs: the same questions with the passages that answer them and without, from two JSON reports.

What is abstained on without them is well abstained on; with them, it is an answer lost, though it may have been wrong.
Other thresholds than the server's are read off the confidences: a turn abstains below its threshold.
"""

import json
from pathlib import Path
from typing import Any

from app.eval import metrics
from app.eval.questions import EvalError
from app.eval.sets.squad import ABSENT

LOST = (0.05, 0.1, 0.15, 0.2, 0.3)
"""Shares of the answerable questions abstained on, at which thresholds are compared."""


def compare(present: Path, absent: Path) -> dict[str, Any]:
    """Every measure of the pairs, by name. A pair of which a question failed is left out and counted."""
    there, gone = _replies(present, answerable=True), _replies(absent, answerable=False)
    both = [(there[key], gone[key]) for key in there if key in gone]
    pairs = [pair for pair in both if all(reply["error"] is None for reply in pair)]
    if not pairs:
        raise EvalError("--compare: no question of the one is in the other. Build squad and squad-absent; ask each.")
    kept, lost = [reply["confidence"] for reply, _ in pairs], [reply["confidence"] for _, reply in pairs]
    return {
        "pairs": len(pairs),
        "failed": len(both) - len(pairs),
        "confidence_auroc": metrics.auroc([*kept, *lost], [True] * len(kept) + [False] * len(lost)),
        "as_set": {
            "threshold": None,
            "false_abstentions": metrics.mean(float(reply["abstained"]) for reply, _ in pairs),
            "absent_abstained": metrics.mean(float(reply["abstained"]) for _, reply in pairs),
        },
        "curve": [_point(kept, lost, share) for share in LOST],
    }


def _point(kept: list[float], lost: list[float], share: float) -> dict[str, float | None]:
    """At the highest threshold that loses at most this share of the answerable questions."""
    at = metrics.threshold(kept, share) or 0.0
    return {
        "threshold": at,
        "false_abstentions": metrics.mean(float(confidence < at) for confidence in kept),
        "absent_abstained": metrics.mean(float(confidence < at) for confidence in lost),
    }


def _replies(path: Path, *, answerable: bool) -> dict[str, dict[str, Any]]:
    """The replies of a report by the question's id."""
    try:
        rows = json.loads(path.read_text("utf-8"))["questions"]
        found = {row["id"].removesuffix(ABSENT): row["reply"] for row in rows if bool(row["file"]) is answerable}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvalError(f"--compare: {path} is no report that --json wrote: {type(error).__name__}: {error}") from error
    if not found:
        which = "questions with" if answerable else "questions without"
        raise EvalError(f"--compare: {path} holds no {which} an answer. Name the report with answers first.")
    return found


def table(compared: dict[str, Any]) -> str:
    """As plain text, for people."""
    auroc = compared["confidence_auroc"]
    lines = [f"{compared['pairs']} pairs, {compared['failed']} left out; AUROC of confidence {auroc:.3f}", ""]
    lines.append(f"{'':<10}{'threshold':>12}{'false abstentions':>20}{'absent abstained':>20}")
    points = [("as set", compared["as_set"]), *((f"{s:.0%}", p) for s, p in zip(LOST, compared["curve"], strict=True))]
    for name, point in points:
        at = "-" if point["threshold"] is None else f"{point['threshold']:.3f}"
        lines.append(f"{name:<10}{at:>12}{point['false_abstentions']:>20.3f}{point['absent_abstained']:>20.3f}")
    return "\n".join(lines)
