"""Expressions under the mask: whatever it lets through can be calculated, whatever training writes gets through."""

import json
import re
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.agent.expression import DEPTH, UNSAID, implied, numbers
from app.agent.mask import GrammarMask, Vocabulary
from app.agent.tools import CalculationError, calculate
from app.cores import grammar
from app.cores.load import TINY_FOLDER, load_tokenizer
from app.train.sums import in_words, worded_sum

tokenizer = load_tokenizer(TINY_FOLDER)
vocabulary = Vocabulary(tokenizer)
said = st.one_of(
    st.integers(0, 10**7).map(str),
    st.integers(0, 10**9).map("{:,}".format),
    st.decimals(0, 10**6, places=2).map("{:,}".format),
    st.integers(0, 9999).map(in_words),
    st.sampled_from(
        "007 .5 3. 20% $1,200.50 1.5k 2½ 12,50 1,2,3 1.2.3 -4 3/4 2² half twice dozen million and a".split()
    ),
    st.text("0123456789,.% -", max_size=12),
    st.text(max_size=5),
)
messages = st.lists(said, max_size=6).map(" ".join)


def encoded(text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False))


def mask_of(message: str) -> GrammarMask:
    return GrammarMask(grammar.calculation(message), vocabulary, encoded(grammar.CALCULATE))


def walk(message: str, rng: Random, preferred: str = "") -> str:
    """A random expression of the message: `preferred` characters wherever they are allowed."""
    mask, ids = mask_of(message), list[int]()
    while True:
        allowed = list(mask(ids))
        chosen = [
            i for i in allowed if i != vocabulary.end and vocabulary.bytes[i].decode("latin-1").strip() in preferred
        ]
        ids.append(rng.choice(chosen if preferred and chosen else allowed))
        if ids[-1] == vocabulary.end:
            break
        assert len(ids) < 400
    text = b"".join(vocabulary.bytes[i] for i in ids[:-1]).decode()
    call = '{"name": "calculate", "arguments": {"expression": "' + text.removesuffix("\n</tool_call>")
    return str(json.loads(call)["arguments"]["expression"])


def written(message: str, expression: str) -> bool:
    """Whether the mask allows each token of the expression as training writes it, and its end."""
    mask, ids = mask_of(message), [*encoded(expression), *encoded(grammar.CALL_END), vocabulary.end]
    return all(number in mask(ids[:n]) for n, number in enumerate(ids))


@settings(deadline=None, max_examples=100)
@given(messages, st.integers(0, 2**32), st.sampled_from(["", "", "(sqrt", "*-", "+%", "123456789"]))
def test_whatever_is_written_can_be_calculated(message: str, seed: int, preferred: str) -> None:
    expression = walk(message, Random(seed), preferred)
    assert set(re.findall(r"[\d.,]+", expression)) <= numbers(message) | UNSAID
    try:
        calculate(expression)
    except CalculationError as error:
        assert str(error) in ("division by zero", "the result is too large or not defined")


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ("12,480 apples and 3.75 of 100", "12,480 3.75 100"),
        ("$1,200.50 plus 20%", "1,200.50 20"),
        ("(007+.5)*2x3", "007 .5 2 3"),
        ("the 7th of 10:30, v1.2", "7 10 30 1.2"),
        ("two hundred and five", "200 205 5"),
        ("Forty-five and ninety", "45 90"),
        ("nine thousand three hundred twelve", "9312 9 1000 1,000 312"),
        ("seven million", "7 7000000 1000000 1,000,000"),
        ("half a million", "0.5 500000 500,000 1000000 1,000,000"),
        ("2.5 thousand, 3k", "2.5 2500 2,500 1000 1,000 3 3000 3,000"),
        ("two and a half", "2 2.5 0.5"),
        ("2½", "2 2.5 0.5"),
        ("three dozen", "3 36"),
        ("a hundred, the sixth", "100 6"),
        ("€12,50", "12 50 12.50"),
        ("9" * 41, ""),
        ("someone often weighs anyone", ""),
    ],
)
def test_numbers(message: str, found: str) -> None:
    assert numbers(message) == set(found.split())


@given(st.integers(0, 9999), st.sampled_from([" and ", " "]))
def test_numbers_in_words(value: int, joint: str) -> None:
    assert str(value) in numbers(f"What is {in_words(value, joint)} plus one?")


@pytest.mark.parametrize(
    "expression",
    [
        "12,480 * 3.75 / 100", "-12,480 - -3.75", "(12,480 + 20%) / 12", "sqrt(3.75) ** 2", "3.75 ** (1 / 3)",
        "12,480 % 7", "20% % 3.75", "((3.75))", "0",
    ],
)  # fmt: skip
def test_forms(expression: str) -> None:
    assert written("12,480 apples at 3.75 less 20%", expression)
    calculate(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "", "12480", "12,481", "12,48", "3.7", "13", "12,480 +", "12,480 3.75", "(12,480", "12,480)", "()",
        "sqrt 12,480", "12,480*3.75", "12,480  + 3.75", "--3.75", "3.75 % -20", "20%%",
        "(20)%", "x", "3.75 // 20", "1e20", '"',
    ],
)  # fmt: skip
def test_what_cannot_be_written(expression: str) -> None:
    assert not written("12,480 apples at 3.75 less 20%", expression)


def test_brackets_are_bounded() -> None:
    assert written("", "(" * DEPTH + "1" + ")" * DEPTH)
    assert not written("", "(" * (DEPTH + 1) + "1" + ")" * (DEPTH + 1))


def test_what_training_writes_is_allowed() -> None:
    drawn = [worded_sum(Random(seed)) for seed in range(300)]
    assert [(question, expression) for question, expression in drawn if not written(question, expression)] == []


@pytest.mark.parametrize(
    ("text", "those"),
    [
        ("What does it cost a year?\nIt costs 8 euros a month.", {"12"}),
        ("How much is it for half a year?\n8 euros a month", {"2", "6", "12"}),
        ("How many days of holiday are there?\nThere are 31 days.", set()),
        ("By how many percent did it grow?", {"100"}),
        ("What is 5% of it?", {"100"}),
        ("How many grams is 2 kg?", {"1000"}),
        ("the mean of both", {"2"}),
        ("The Weekend Daybook of Minutes", set()),
    ],
)
def test_words_imply_numbers(text: str, those: set[str]) -> None:
    assert implied(text) == those <= UNSAID
