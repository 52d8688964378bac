"""The measures of answers, rankings and confidence on cases computed by hand."""

import pytest

from app.eval import metrics

# --- answers -------------------------------------------------------------------------------------------------------


def test_normalise_is_squads() -> None:
    assert metrics.normalise("The  26 Days, a year!") == "26 days year"


@pytest.mark.parametrize(
    ("answer", "accepted", "exact", "f1"),
    [
        ("26 days", ["26", "26 days"], True, 1.0),
        ("the 26 days.", ["26 days"], True, 1.0),
        ("26 days", ["28 days"], False, 0.5),
        # 1 word in common of 4 and 2: P = 1/4, R = 1/2, F1 = 2 · 1/8 / (3/4) = 1/3.
        ("paid 26 vacation entitlement", ["26 days"], False, 1 / 3),
        # A repeated word counts once where the gold has it once: P = 1/2, R = 1.
        ("red red", ["red"], False, 2 / 3),
        ("", ["red"], False, 0.0),
        ("red", [], False, 0.0),
    ],
)
def test_exact_and_f1(answer: str, accepted: list[str], exact: bool, f1: float) -> None:
    assert metrics.exact(answer, accepted) is exact
    assert metrics.f1(answer, accepted) == pytest.approx(f1)


def test_contains_looks_for_whole_words() -> None:
    assert metrics.contains("It costs 3,390 euros.", ["3,390"])
    assert not metrics.contains("It costs 13,390 euros.", ["3,390"])
    assert not metrics.contains("anything", ["the"])


def test_same_number() -> None:
    assert metrics.same_number("1,865", ["1865"])
    assert metrics.same_number("78.0", ["78"])
    assert not metrics.same_number("5", ["-5"])
    assert not metrics.same_number("about five", ["5"])


@pytest.mark.parametrize(
    "passage",
    [
        "| Part | Unit | Price |\n|---|---|---|\n| Valve | piece | 17.40 |",
        "Part: Valve; Unit: piece; Price: 17.40.",
        "Part Unit Price Valve piece 17.40 Wall bracket",
    ],
)
def test_a_row_is_found_however_its_table_is_written(passage: str) -> None:
    assert metrics.quotes(passage, "Valve | piece | 17.40")
    assert not metrics.quotes(passage, "Valve | piece | 17.4")
    assert not metrics.quotes(passage, "Valve | 17.40 | piece")


def test_evidence_may_run_over_lines_but_not_begin_within_a_word() -> None:
    assert metrics.quotes("lasts 400\nhours", "400 hours")
    assert not metrics.quotes("lasts 1400 hours", "400 hours")


# --- ranking and confidence ----------------------------------------------------------------------------------------


def test_auroc() -> None:
    assert metrics.auroc([0.9, 0.8, 0.2, 0.1], [True, True, False, False]) == 1.0
    assert metrics.auroc([0.1, 0.9], [True, False]) == 0.0
    # Pairs: (.9,.7) won, (.9,.3) won, (.3,.7) lost, (.3,.3) tied: (1 + 1 + 0 + ½) / 4.
    assert metrics.auroc([0.9, 0.7, 0.3, 0.3], [True, False, True, False]) == 0.625
    assert metrics.auroc([0.5, 0.5, 0.5], [True, False, False]) == 0.5
    assert metrics.auroc([0.5], [True]) is None


def test_coverage_at_a_risk() -> None:
    scores, right = [0.9, 0.8, 0.7, 0.6, 0.5], [True, True, False, True, False]
    assert metrics.coverage(scores, right, 0.0) == pytest.approx(2 / 5)
    assert metrics.coverage(scores, right, 0.25) == pytest.approx(4 / 5)
    assert metrics.coverage(scores, right, 0.5) == 1.0
    # Equal scores cannot be told apart: the right one of them cannot be answered alone.
    assert metrics.coverage([0.9, 0.9], [True, False], 0.0) == 0.0
    assert metrics.coverage([], [], 0.0) is None


def test_risk_at_a_coverage() -> None:
    scores, right = [0.9, 0.8, 0.7, 0.6], [True, False, True, False]
    assert metrics.risk(scores, right, 0.25) == 0.0
    assert metrics.risk(scores, right, 0.5) == metrics.risk(scores, right, 1.0) == 0.5
    # The half ends between two of equal score, of which one is wrong: half of one of two.
    assert metrics.risk([0.9, 0.8, 0.8, 0.1], [True, True, False, False], 0.5) == 0.25
    # The half of three is one and a half: nothing wrong in the first, half of the second.
    assert metrics.risk([0.9, 0.8, 0.7], [True, False, True], 0.5) == pytest.approx(1 / 3)
    assert metrics.risk([], [], 0.5) is None


def test_a_threshold_that_few_are_below() -> None:
    scores = [0.5, 0.1, 0.4, 0.2, 0.3]
    assert metrics.threshold(scores, 0.0) == 0.1
    assert metrics.threshold(scores, 0.4) == 0.3
    assert metrics.threshold(scores, 0.39) == 0.2
    # Two of five would be below .3, so that no more than none may be.
    assert metrics.threshold([0.1, 0.1, 0.3, 0.4, 0.5], 0.3) == 0.1
    assert metrics.threshold(scores, 1.0) == 0.5
    assert metrics.threshold([], 0.5) is None


def test_precision_and_recall() -> None:
    assert metrics.precision_recall([True, True, False, True], [True, False, True, True]) == (2 / 3, 2 / 3)
    assert metrics.precision_recall([False], [True]) == (None, 0.0)
    assert metrics.precision_recall([True], [False]) == (0.0, None)


def test_percentile_is_a_value_that_occurred() -> None:
    values = [float(n) for n in range(20, 0, -1)]
    assert metrics.percentile(values, 0.5) == 10
    assert metrics.percentile(values, 0.95) == 19
    assert metrics.percentile([3.0], 0.95) == 3
    assert metrics.percentile([], 0.5) is None


def test_how_far_probabilities_are_from_the_truth() -> None:
    assert metrics.brier([1.0, 0.5], [True, False]) == 0.125
    assert metrics.brier([], []) is None
    # Of four answers with confidence .75 three are right, and of two with .25 one is.
    scores, labels = [0.75, 0.75, 0.25, 0.75, 0.75, 0.25], [True, True, False, True, False, True]
    assert metrics.calibration_error(scores, labels) == pytest.approx(0.25 * 2 / 6)
    assert metrics.calibration_error([1.0], [True]) == 0
    assert metrics.calibration_error([], []) is None
