"""Replies judged and reported on cases computed by hand, and question files."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from app.eval.ask import Cited, Found, Reply
from app.eval.judge import judge
from app.eval.questions import EvalError, Question, draw, load, save
from app.eval.report import by_kind, row, summarise, table

# --- judging -------------------------------------------------------------------------------------------------------

FACT = Question("f", "How many days?", "fact", ("26", "26 days"), True, "leave.md", "get 26 days of vacation")
NOWHERE = Question("u", "Who won?", "unanswerable", (), True, None, None)
SUM = Question("a", "What is 2 times 3?", "arithmetic", ("6",), False, None, None)
HELLO = Question("t", "Hi!", "talk", (), False, None, None)
GOLD = Found("leave.md", 0.9, "New employees get 26 days of vacation.")
OTHER = Found("leave.md", 0.8, "Apprentices get 27 days of vacation.")
NAMED, ASIDE = (Cited(hit.filename, hit.text) for hit in (GOLD, OTHER))


def _told(
    text: str,
    answer: str | None,
    need: float,
    confidence: float,
    abstained: bool,
    searches: int,
    found: tuple[Found, ...],
    quotes: tuple[str, ...],
    prefilled: tuple[int, ...],
    generated: int,
    seconds: float,
    cited: tuple[Cited, ...] = (),
) -> Reply:
    """A reply that ended as it should."""
    return Reply(
        text, answer, need, confidence, abstained, searches, found, quotes, prefilled, generated, seconds,
        finish_reason="stop", cited=cited,
    )  # fmt: skip


RIGHT = _told(
    "26.", "26", 0.9, 0.8, False, 1, (OTHER, GOLD), ("New employees get 26 days",), (40, 60), 20, 1.0, (NAMED,)
)
WRONG = _told("27.", "27", 0.9, 0.6, False, 1, (OTHER,), ("Apprentices get 27 days",), (40, 50), 20, 3.0, (ASIDE,))
ABSTAINED = _told("I do not know.", None, 0.7, 0.1, True, 1, (OTHER,), (), (40, 30), 10, 2.0)
COUNTED = _told("6.", "6", 0.1, 1.0, False, 0, (), (), (40, 10), 10, 0.5)


def test_a_right_answer() -> None:
    j = judge(FACT, RIGHT)
    assert (j.exact, j.f1, j.contains, j.quoted, j.recalled, j.supported) == (True, 1.0, True, True, True, True)


def test_right_is_an_answer_that_is_right_itself_or_in_its_quote() -> None:
    assert judge(FACT, RIGHT).right and not judge(FACT, WRONG).right
    assert judge(FACT, replace(RIGHT, answer="vacation")).right
    assert judge(FACT, replace(RIGHT, quotes=())).right
    assert not judge(FACT, replace(RIGHT, abstained=True)).right
    assert not judge(NOWHERE, RIGHT).right


def test_a_citation_names_the_passage_that_answers() -> None:
    assert judge(FACT, RIGHT).cited is True
    # The quote says it, but it stands in a passage that is none of the evidence.
    assert judge(FACT, replace(RIGHT, cited=(ASIDE,))).cited is False
    assert judge(FACT, replace(RIGHT, cited=())).cited is False
    assert judge(replace(FACT, evidence=None), replace(RIGHT, cited=(ASIDE,))).cited is True
    assert judge(FACT, ABSTAINED).cited is None and judge(NOWHERE, WRONG).cited is None


@pytest.mark.parametrize(
    "broken",
    [
        replace(RIGHT, finish_reason="length"),
        replace(RIGHT, finish_reason="tool_calls"),
        replace(RIGHT, calls_failed=1),
        replace(RIGHT, text=""),
        Reply(error="503"),
    ],
)
def test_a_turn_that_breaks_off_is_not_valid(broken: Reply) -> None:
    assert not judge(FACT, broken).valid
    assert summarise([judge(FACT, RIGHT), judge(FACT, ABSTAINED), judge(FACT, broken)])["valid_protocol"] == (
        pytest.approx(2 / 3)
    )


def test_changed_documents_are_followed_or_not() -> None:
    changed = replace(FACT, answers=("28 days",), former=("26 days",))
    old, new = replace(RIGHT, answer="26 days"), replace(RIGHT, answer="28 days")
    assert judge(changed, old).former is True and judge(changed, new).former is False
    assert judge(FACT, RIGHT).former is None
    # Of three answers one gives the new value and one the old; the abstention is none of them.
    summary = summarise([judge(changed, reply) for reply in (old, new, WRONG, ABSTAINED)])
    assert summary["gives_new_value"] == summary["gives_former_value"] == pytest.approx(1 / 3)
    assert summarise([judge(FACT, RIGHT)])["gives_new_value"] is None


def test_a_reply_to_what_documents_differ_on_tells_both() -> None:
    differing = replace(FACT, answers=("28 days",), also=("26 days",))
    alone = replace(RIGHT, text="The answer is 28 days [1].\n\n> Not 26 days.")
    told = replace(RIGHT, text="The answer is 26 days [1], but another passage says 28 days [2].")
    judged = [judge(differing, alone), judge(differing, told), judge(FACT, RIGHT)]
    assert [one.both for one in judged] == [False, True, None]
    assert summarise(judged)["tells_both"] == 0.5


def test_a_wrong_answer() -> None:
    j = judge(FACT, WRONG)
    assert (j.exact, j.f1, j.contains, j.quoted, j.recalled, j.supported) == (False, 0.0, False, False, False, False)


def test_an_abstention_counts_as_no_answer_even_if_it_has_one() -> None:
    hedged = Reply("I do not know.", "26", 0.7, 0.1, True, 1, (GOLD,), (), (40, 30), 10, 2.0)
    j = judge(FACT, hedged)
    assert (j.exact, j.f1, j.answered, j.recalled, j.supported) == (False, 0.0, False, True, None)


def test_what_was_refused_does_not_rank_as_wrong() -> None:
    sure = replace(WRONG, confidence=0.9)
    summary = summarise([judge(FACT, reply) for reply in (RIGHT, sure, ABSTAINED, ABSTAINED)])
    assert summary["confidence_auroc"] == 0.0


@pytest.mark.parametrize(("said", "right"), [("-27", True), ("27", False), ("-27.0", True), ("-2.7", False)])
def test_a_sum_over_a_passage_is_right_by_its_number(said: str, right: bool) -> None:
    asked = replace(FACT, kind="reckoning", answers=("-27",))
    j = judge(asked, replace(RIGHT, answer=said, quotes=("from 27 to 54, which is -27",)))
    assert (j.exact, j.right, j.f1) == (right, right, float(right))


def test_a_reply_without_a_bare_answer_is_judged_whole() -> None:
    j = judge(FACT, Reply("You get 26 days.", None, 0.2, 0.9, False, 0, (), (), (40,), 5, 0.4))
    assert (j.exact, j.contains, j.answered, j.searched, j.supported) == (False, True, True, False, False)


def test_where_no_evidence_is_named_any_passage_of_the_file_counts() -> None:
    whole = Question("f", "How many days?", "fact", ("26",), True, "leave.md", None)
    assert judge(whole, WRONG).recalled is True


def test_a_summary_by_hand() -> None:
    asked = [FACT, FACT, FACT, NOWHERE, NOWHERE, SUM, HELLO]
    replies = [RIGHT, WRONG, ABSTAINED, ABSTAINED, WRONG, COUNTED, WRONG]
    summary = summarise([judge(q, r) for q, r in zip(asked, replies, strict=True)])
    assert summary["decision_accuracy"] == pytest.approx(6 / 7)
    assert (summary["over_search"], summary["under_search"]) == (0.5, 0.0)
    assert summary["recall_at_5"] == pytest.approx(1 / 3)
    assert summary["exact_match"] == summary["f1"] == summary["quote_contains"] == pytest.approx(1 / 3)
    assert summary["citation_precision"] == 0.5
    assert summary["arithmetic_right"] == 1.0
    assert (summary["abstention_precision"], summary["abstention_recall"]) == (0.5, 0.5)
    # Of five look-ups only the first is right, and it has the highest confidence; the two wrong answers have less.
    assert summary["confidence_auroc"] == 1.0
    assert summary["coverage_at_5_percent_risk"] == pytest.approx(1 / 5)
    # Half of five is two and a half: the right one at .8, and one and a half of the two wrong ones at .6.
    assert summary["error_at_50_percent_coverage"] == pytest.approx(1.5 / 2.5)
    assert (summary["right"], summary["citation_precision_when_right"]) == (pytest.approx(1 / 3), 1.0)
    assert summary["valid_protocol"] == 1.0
    assert (summary["seconds_p50"], summary["seconds_p95"]) == (2.0, 3.0)
    # Second rounds: 60 + 50 + 30 + 30 + 50 + 10 + 50 over seven.
    assert summary["prefilled_per_round"] == [40.0, 40.0]


def test_a_failed_question_counts_as_unanswered_and_is_counted() -> None:
    judged = [judge(FACT, Reply(error="503")), judge(FACT, RIGHT)]
    summary = summarise(judged)
    assert (summary["failed"], summary["exact_match"], summary["seconds_p95"]) == (1, 0.5, 1.0)
    assert "failed" in table(summary, by_kind(judged))


# --- question files ------------------------------------------------------------------------------------------------


def test_a_wrong_line_is_named_with_its_field(tmp_path: Path) -> None:
    row = {"id": "1", "question": "q", "kind": "fact", "answers": ["a"], "search": True, "file": "x", "evidence": None}
    for field, value in (("kind", "riddle"), ("answers", "a"), ("search", "yes"), ("file", None), ("question", " ")):
        path = tmp_path / "set.jsonl"
        path.write_text(json.dumps(row) + "\n" + json.dumps({**row, "id": "2", field: value}), "utf-8")
        with pytest.raises(EvalError, match=f"line 2.*'{field}'"):
            load(str(path))


def test_optional_fields_are_kept_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    asked = [
        replace(FACT, former=("28",), tool_choice="none", store="leave", given=True, past=("Hi", "Hello")),
        NOWHERE,
    ]
    save(asked, path)
    assert load(str(path)) == asked
    plain, rich = sorted(map(json.loads, path.read_text("utf-8").splitlines()), key=len)
    assert len(plain) == 7
    for field, value in (
        ("former", "28"),
        ("tool_choice", "never"),
        ("store", 1),
        ("given", "yes"),
        ("past", ["Hi", 1]),
        ("colour", "red"),
    ):
        path.write_text(json.dumps({**rich, field: value}), "utf-8")
        with pytest.raises(EvalError, match=f"'{field}'" if field != "colour" else "may have"):
            load(str(path))


def test_the_report_has_every_measure_and_only_the_beginnings_of_passages() -> None:
    long = Found("leave.md", 0.9, "New employees get 26 days of vacation. " * 9)
    told = row(judge(FACT, replace(RIGHT, found=(long,), cited=(Cited(long.filename, long.text),))))
    assert (told["right"], told["cited"], told["valid"], told["former"]) == (True, True, True, None)
    assert [len(told["reply"][passages][0]["text"]) for passages in ("found", "cited")] == [80, 80]


def test_a_limit_draws_the_same_questions_each_time() -> None:
    asked = load("sample")
    drawn = draw(asked, 20)
    assert drawn == draw(asked, 20) and len(drawn) == 20
    assert len({q.kind for q in drawn}) > 2
    assert draw(asked, None) == asked
