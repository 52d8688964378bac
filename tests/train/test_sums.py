"""Every sum that the core is trained on can be calculated, and comes to what it should."""

import re
from random import Random

import pytest

from app.agent.expression import UNSAID, numbers
from app.agent.tools import calculate
from app.train.sums import LOOKUPS, SUMS, in_words, not_a_sum, worded_sum

NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
PLAIN = frozenset(map(str, range(10_000)))


def test_every_template_gives_its_numbers_to_its_expression() -> None:
    assert len({question for question, _ in SUMS}) == len(SUMS) > 450
    for question, expression in SUMS:
        assert set(re.findall(r"{\w+}", expression)) <= set(re.findall(r"{\w+}", question)), question


def test_drawn_sums_can_be_calculated() -> None:
    rng = Random(7)
    drawn = [worded_sum(rng) for _ in range(2000)]
    assert all(calculate(expression) for _, expression in drawn)
    assert len({question for question, _ in drawn}) > 1950
    assert not any(re.search(r"[{}\[\]|]|  ", question) for question, _ in drawn)
    for question, expression in drawn:  # the core copies: commas stand in both, or in neither
        grouped = {n for n in NUMBER.findall(question) if re.search(r",\d", n)}
        assert grouped <= set(NUMBER.findall(expression)), question


@pytest.mark.parametrize(
    ("question", "numbers", "result"),
    [
        ("{a}+{b}=?", {"a": "12,480", "b": "20"}, "12500"),
        ("{c}({a} + {b})", {"c": "3", "a": "1.5", "b": "2.5"}, "12"),
        ("{a} - {b} / {c}", {"a": "10", "b": "6", "c": "3"}, "8"),
        ("{b} less than {a} is what?", {"a": "10", "b": "4"}, "6"),
        ("{ask} three quarters of {a}?", {"a": "1,000"}, "750"),
        ("{r} to the power of {n}", {"r": "7", "n": "3"}, "343"),
        ("{ask} the cube root of {h}?", {"h": "343"}, "7"),
        ("{p}% off {m}", {"m": "80", "p": "12.5"}, "70"),
        ("{m} plus a {p}% tip", {"m": "48", "p": "15"}, "55.2"),
        ("What percent of {b} is {a}?", {"a": "30", "b": "1,200"}, "2.5"),
        ("average of {a}, {b}, {d}", {"a": "3", "b": "4", "d": "8"}, "5"),
        ("We are {c} and the bill is {m} plus {p}% tip. How much does each pay?",
         {"c": "4", "m": "100", "p": "20"}, "30"),
        ("{c} rows with {k} seats each, how many seats", {"c": "14", "k": "12"}, "168"),
        ("{a} minus {b} plus {d}", {"a": "9", "b": "4", "d": "2"}, "7"),
        ("{ask} {z} times {c}?", {"z": "-6", "c": "7"}, "-42"),
        ("How far is it if I go {f} hours at {c} miles an hour?", {"f": "2.5", "c": "4"}, "10"),
        ("What remains when you divide {a} by {c}?", {"a": "17", "c": "5"}, "2"),
    ],
)  # fmt: skip
def test_values(question: str, numbers: dict[str, str], result: str) -> None:
    assert calculate(dict(SUMS)[question].format(**numbers)) == result


def test_spoken_numbers_are_mostly_those_that_are_mistaken() -> None:
    shares = []
    for tens in (0.0, 0.5):
        rng = Random(7)
        drawn = [worded_sum(rng, spoken=1.0, tens=tens) for _ in range(1000)]
        said = [n for question, _ in drawn for n in map(int, numbers(NUMBER.sub("", question)) & PLAIN) if n >= 10]
        shares.append(sum(13 <= n <= 99 for n in said) / len(said))
    assert shares[0] < 0.6 < shares[1]
    assert all(numbers(expression) <= UNSAID | numbers(question) for question, expression in drawn)


def test_words() -> None:
    assert [in_words(n) for n in (0, 14, 40, 99, 100, 312, 1000, 1005, 4218)] == [
        "zero", "fourteen", "forty", "ninety-nine", "one hundred", "three hundred and twelve", "one thousand",
        "one thousand and five", "four thousand two hundred and eighteen",
    ]  # fmt: skip


def test_lookups_only_look_like_sums() -> None:
    rng = Random(7)
    assert len(set(LOOKUPS)) == len(LOOKUPS) > 60
    asked = [not_a_sum(rng) for _ in range(500)]
    assert not any(re.search(r"[{}\[\]|]|  |=>", question) for question in asked)
