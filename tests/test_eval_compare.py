"""Deletion pairs: two reports on the same questions, computed by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.eval.__main__ import main
from app.eval.compare import compare
from app.eval.questions import EvalError

KEPT = [0.9, 0.8, 0.7, 0.6, 0.5, 0.45, 0.4, 0.35, 0.3, 0.1]
LOST = [0.05, 0.1, 0.2, 0.3, 0.35, 0.5, 0.05, 0.05, 0.05, 0.05]


def _report(path: Path, confidences: list[float], *, absent: bool, failed: int | None = None) -> Path:
    """Below a threshold of .2 the server abstained."""
    rows: list[dict[str, Any]] = []
    for n, confidence in enumerate(confidences):
        error = "503" if n == failed else None
        reply = {"confidence": confidence, "abstained": confidence < 0.2, "error": error}
        rows.append({"id": f"q{n}{'-absent' * absent}", "file": None if absent else "x.txt", "reply": reply})
    path.write_text(json.dumps({"questions": rows}), "utf-8")
    return path


def test_pairs_by_hand(tmp_path: Path) -> None:
    there = _report(tmp_path / "there.json", KEPT, absent=False)
    told = compare(there, _report(tmp_path / "gone.json", LOST, absent=True))
    assert (told["pairs"], told["failed"]) == (10, 0)
    assert told["as_set"] == {"threshold": None, "false_abstentions": 0.1, "absent_abstained": 0.6}
    # Of ten kept, at most one and a half may be lost: .3 loses one, and refuses the seven below it.
    assert told["curve"][2] == {"threshold": 0.3, "false_abstentions": 0.1, "absent_abstained": 0.7}
    assert told["curve"][0] == {"threshold": 0.1, "false_abstentions": 0.0, "absent_abstained": 0.5}
    assert told["curve"][4] == {"threshold": 0.4, "false_abstentions": 0.3, "absent_abstained": 0.9}
    # Of 100 (kept, lost): each kept wins over all that are below, ties half.
    won = sum((k > gone) + (k == gone) / 2 for k in KEPT for gone in LOST)
    assert told["confidence_auroc"] == pytest.approx(won / 100)


def test_a_pair_of_which_one_failed_is_left_out(tmp_path: Path) -> None:
    there = _report(tmp_path / "there.json", KEPT, absent=False, failed=9)
    told = compare(there, _report(tmp_path / "gone.json", LOST, absent=True))
    assert (told["pairs"], told["failed"], told["as_set"]["false_abstentions"]) == (9, 1, 0.0)


def test_the_command_prints_and_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there, gone = (
        _report(tmp_path / "there.json", KEPT, absent=False),
        _report(tmp_path / "gone.json", LOST, absent=True),
    )
    out = tmp_path / "pairs.json"
    assert main(["--compare", str(there), str(gone), "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "10 pairs" in printed and "as set" in printed and "15%" in printed
    assert json.loads(out.read_text("utf-8")) == compare(there, gone)


def test_reports_that_are_no_pair_are_refused(tmp_path: Path) -> None:
    there = _report(tmp_path / "there.json", KEPT, absent=False)
    gone = _report(tmp_path / "gone.json", LOST, absent=True)
    with pytest.raises(EvalError, match="Name the report with answers first"):
        compare(gone, there)
    other = tmp_path / "other.json"
    other.write_text(gone.read_text("utf-8").replace('"id": "q', '"id": "r'), "utf-8")
    with pytest.raises(EvalError, match="no question of the one is in the other"):
        compare(there, other)
