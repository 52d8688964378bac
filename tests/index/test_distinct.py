from collections.abc import Sequence

import pytest

from index.distinct import distinct
from index.types import Chunk, Hit, Mark

LONG = (
    "The harbour master keeps the keys of all gates and hands them out against a signature in the green book each day."
)


def hit(text: str, name: str = "a.md", headings: tuple[str, ...] = (), answer: str = "", score: float = 1.0) -> Hit:
    at = text.find(answer)
    mark = Mark(at, at + len(answer), 0.9) if answer else None
    return Hit(Chunk(f"{name}{text}", "f", name, text, 0, len(text), None, headings), score, mark)


def texts(hits: Sequence[Hit]) -> list[tuple[str, int]]:
    return [(one.chunk.text, one.alike) for one in hits]


def test_the_best_of_those_that_say_the_same_stays_and_counts_them() -> None:
    copies = [hit(LONG), hit(LONG.upper() + "!", "b.md"), hit(LONG.replace(" ", "\n"), "c.md"), hit("Another thing.")]
    assert texts(distinct(copies)) == [(LONG, 2), ("Another thing.", 0)]


def test_a_part_of_a_better_one_is_left_out_and_a_longer_one_is_not() -> None:
    whole = f"{LONG} On Sundays the office is closed."
    assert texts(distinct([hit(whole), hit(LONG)])) == [(whole, 1)]
    assert texts(distinct([hit(LONG), hit(whole)])) == [(LONG, 0), (whole, 0)]


@pytest.mark.parametrize(("old", "new"), [("green", "red"), ("keeps", "never keeps"), ("each", "7"), ("all ", "")])
def test_one_word_more_or_another_word_is_another_thing(old: str, new: str) -> None:
    assert len(distinct([hit(LONG), hit(LONG.replace(old, new), "b.md")])) == 2


@pytest.mark.parametrize(
    ("better", "other"),
    [
        ("Price: 49.50.", "Price: 49."),
        ("Amount: 50.00.", "Amount: -50.00."),
        ("Amount: \u221250.00.", "Amount: 50.00."),
        ("Seats: 1,000.", "Seats: 1."),
        ("Seats: 1 000.", "Seats: 1."),
        ("Version: 1.2.3", "Version: 1.2"),
        ("Order: 12-3", "Order: 12"),
        ("Rate: 5 %.", "Rate: 5."),
        ("Price: $50", "Price: €50"),
        ("if a < b: stop()", "if a > b: stop()"),
        ("if a == b * c: stop()", "if a == b / c: stop()"),
        ("Written in C++.", "Written in C."),
        ("SSO: ✓", "SSO: ✗"),
        ("वह कल शहर गया था।", "वह कल शहर गयी थी।"),
    ],
)
def test_another_number_operator_or_vowel_is_another_thing(better: str, other: str) -> None:
    assert len(distinct([hit(better), hit(other)])) == len(distinct([hit(other), hit(better)])) == 2


@pytest.mark.parametrize(
    ("better", "other"),
    [
        ("It costs 49.50 - for now.", "It costs 49.50 \u2014 for now"),
        ("Pages 3-5, *both* sides", "“Pages 3\u20135”, __both__ sides"),
        ("Profit: \u22122 %", "profit:  -2%"),
        ("> * Close the gate\n> * Lock it", "\u2022 Close the gate\n\u2022 Lock it"),
        ("a = b;", "a=b"),
    ],
)
def test_how_it_is_punctuated_says_nothing(better: str, other: str) -> None:
    assert texts(distinct([hit(better), hit(other)])) == [(better, 1)]


def test_almost_the_same_words_with_the_same_answer_are_the_same_unless_the_difference_was_asked_for() -> None:
    long = f"{LONG} {LONG.replace('keys', 'lamps')}"
    other = long.replace("harbour", "port", 1)
    pair = [hit(long, answer="green book"), hit(other, "b.md", answer="green book")]
    assert texts(distinct(pair)) == [(long, 1)]
    assert len(distinct(pair, "What does the port master keep?")) == 2
    assert len(distinct([pair[0], hit(other, "b.md", answer="signature")])) == 2
    assert len(distinct([pair[0], hit(f"{other} 7", "b.md", answer="green book")])) == 2


def test_a_short_one_says_the_same_only_under_the_same_title_and_headings() -> None:
    pro = hit("Seats: 25.", "prices.md", ("Plans", "Pro"))
    assert len(distinct([pro, hit("Seats: 25.", "prices.md", ("Plans", "Team"))])) == 2
    assert len(distinct([pro, hit("Seats: 25.", "old.md", ("Plans", "Pro"))])) == 2
    assert texts(distinct([pro, hit("Seats:  25", "prices.md", ("Plans", "Pro"))])) == [("Seats: 25.", 1)]


def test_the_same_words_under_other_headings_are_another_thing() -> None:
    assert len(distinct([hit(LONG, headings=("East",)), hit(LONG, "b.md", headings=("West",))])) == 2


def test_what_has_no_words_is_like_nothing() -> None:
    assert len(distinct([hit(LONG), hit("***"), hit("---")])) == 3
