"""Marks that are made up look like the reader's: a wrong one is a value of the kind that is asked for."""

from random import Random

import pytest

from app.train.searches import mark_of, marked

TEXT = "The old mill was bought by Anna Weber in 1931, and sold to Kelvo for 4,500 euros."
PLAIN = "the mill stands beside the weir and grinds corn"


def drawn(text: str, gold: tuple[int, int] | None = None, like: str = "") -> set[str]:
    """The words of marks drawn many times."""
    marks = [mark_of(Random(seed), text, gold, like=like) for seed in range(200)]
    assert all(0 <= mark.start < mark.end <= len(text) and 0 < mark.probability < 1 for mark in marks)
    return {text[mark.start : mark.end] for mark in marks}


@pytest.mark.parametrize(
    ("like", "words"),
    [
        ("12 May", {"1931", "4,500"}),
        ("Tarn", {"Anna Weber", "Kelvo"}),
        ("", {"1931", "4,500", "Anna Weber", "Kelvo"}),
    ],
)
def test_a_wrong_mark_is_a_value_of_the_kind(like: str, words: set[str]) -> None:
    assert drawn(TEXT, like=like) == words


def test_where_an_answer_stands_a_wrong_mark_is_another_value_of_its_kind() -> None:
    start = TEXT.index("1931")
    assert drawn(TEXT, gold=(start, start + 4)) == {"1931", "4,500"}


@pytest.mark.parametrize(("text", "like"), [(PLAIN, "1931"), (TEXT, "by boat")])
def test_without_such_values_it_is_any_words(text: str, like: str) -> None:
    assert len(drawn(text, like=like)) > 20


def test_passages_are_marked_for_the_kind_of_what_matters() -> None:
    answer = "The weir was built in 1850."
    for seed in range(50):
        for text, like in ((answer, ""), (None, "1850")):
            found = marked(Random(seed), [TEXT, TEXT], text, (22, 26), like=like)
            wrong = [hit.mark for hit in found.hits if hit is not found.gold and hit.mark]
            assert all(TEXT[mark.start : mark.end] in ("1931", "4,500") for mark in wrong)
