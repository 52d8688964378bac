"""Drills are turns that the server could play, and what they ask for follows from what they show."""

import re
from random import Random

import pytest

from app.agent.expression import numbers
from app.agent.mask import GrammarMask, vocabulary_of
from app.agent.prompt import Renderer
from app.agent.tools import calculate
from app.cores import grammar
from app.cores.load import TINY_FOLDER, load_tokenizer
from app.cores.profile import TINY
from app.train.drills import SIGNS, Drills
from app.train.rows import TERM, Row, Turns

WORDS = "river hundred two Monday bridge k stone dozen and water half cold 1969 million of seven".split()
DRAWN = 200
EXPRESSION = re.compile(r'"expression": "(.+?)"')
PASSAGE = re.compile(r"^\[(\d)\] (\d)(.*)$", re.MULTILINE)
MARKED = re.compile(r"<mark> (\S+).*</mark>")


@pytest.fixture(scope="module")
def drills() -> Drills:
    return Drills(Turns(Renderer(load_tokenizer(TINY_FOLDER), TINY)), WORDS)


def told(drills: Drills, row: Row) -> tuple[str, str, str]:
    """The whole row, its message, and its expression."""
    text = str(drills.turns.renderer.tokenizer.decode(row.ids))
    (expression,) = EXPRESSION.findall(text)
    return text, text.removeprefix("<|im_start|>user\n").partition("<|im_end|>")[0], expression


def test_words_beside_numbers_are_no_numbers_and_make_none(drills: Drills) -> None:
    assert drills.wordy == ["river", "Monday", "bridge", "stone", "and", "water", "cold", "of"]


def test_a_sum_takes_the_marked_number_of_the_surest_passage_and_another(drills: Drills) -> None:
    places, signs = set[str](), set[str]()
    for seed in range(DRAWN):
        text, message, expression = told(drills, drills.operands(Random(seed)))
        first, sign, second = expression.split()
        number, digit, passage = max(PASSAGE.findall(text), key=lambda found: int(found[1]))
        assert f"With [{number}] I can calculate." in text and int(digit) >= 6
        (marked,) = MARKED.findall(passage)
        if f"{sign} {second}" in message:
            place, one = "after", first
        elif f"{first} {sign}" in message:
            place, one = "before", second
        else:
            place, one = "passage", first
            assert second in passage and sign in message.split() and not numbers(message)
        assert one == marked and first.replace(",", "") != second.replace(",", "")
        assert numbers(expression) <= numbers(f"{message}\n{passage}") and calculate(expression)
        places.add(place)
        signs.add(sign)
    assert places == {"before", "after", "passage"} and signs == set(SIGNS)


def test_to_repeat_the_first_number_of_a_drill_is_wrong_where_it_weighs_most(drills: Drills) -> None:
    row = drills.operands(Random(1))
    _, _, expression = told(drills, row)
    weighed = [
        drills.turns.renderer.tokenizer.decode([n]) for n, w in zip(row.ids, row.weights, strict=True) if w == TERM
    ]
    first, sign, second = expression.split()
    assert "".join(map(str, weighed)).replace(" ", "") == first[0] + sign + second[0] and first[0] != second[0]


def test_number_words_are_written_in_digits(drills: Drills) -> None:
    written = list[int]()
    for seed in range(DRAWN):
        _, message, expression = told(drills, drills.digits(Random(seed)))
        assert not re.search(r"\d", message) and numbers(expression) <= numbers(message)
        terms = expression.split()
        assert [one for one in message.split() if one in SIGNS] == terms[1::2] and len(terms) in (3, 5)
        written += map(int, terms[::2])
    assert 0.65 < sum(13 <= value <= 99 for value in written) / len(written) < 0.85


@pytest.mark.parametrize("kind", ["operands", "digits"])
def test_the_servers_masks_allow_what_a_drill_writes(drills: Drills, kind: str) -> None:
    tokenizer = drills.turns.renderer.tokenizer
    vocabulary = vocabulary_of(tokenizer)
    for seed in range(5):
        row = drills.kinds[kind](Random(seed))
        text, message, _ = told(drills, row)
        shown = [passage.replace("<mark>", "").replace("</mark>", "") for _, _, passage in PASSAGE.findall(text)]
        allowed = grammar.reckon(message, shown) if kind == "operands" else grammar.calculation(message)
        opening = grammar.RECKONS.partition("{0}")[0] if kind == "operands" else grammar.CALCULATE
        start = text.index(opening)
        ids = tokenizer.encode(text[start : text.index("<|im_end|>", start)], add_special_tokens=False)
        begin = next(n for n in range(len(row.ids)) if str(tokenizer.decode(row.ids[n:])).startswith(text[start:]))
        mask = GrammarMask(allowed, vocabulary)
        written = row.ids[begin : begin + row.ids[begin:].index(drills.turns.end)]
        assert ids and all(number in mask(written[:n]) for n, number in enumerate(written))
