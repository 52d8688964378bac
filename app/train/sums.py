"""Sums in the words and signs that people use, each with its expression; and questions that only look like sums.

The templates are in sums.toml. A number stands in the expression as the question writes it (12,480 stays 12,480), so
that the core copies it; words become digits, and signs of money are left out.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from random import Random

from app.agent.expression import ONES, TENS, UNSAID, numbers
from app.agent.tools import CalculationError, calculate
from app.train.values import word

NUMBER = re.compile(r"[1-9]\d*")
BANK: Mapping[str, str] = tomllib.loads((Path(__file__).parent / "sums.toml").read_text("utf-8"))
LOOKUPS = BANK["lookups"].strip().splitlines()
SUMS: list[tuple[str, str]] = [
    (question, expression)
    for group, lines in BANK.items()
    if group != "lookups"
    for question, _, expression in (line.partition(" => ") for line in lines.strip().splitlines())
]

# What the letters of a template stand for. A digit after one makes another of its kind.
RANGES: Mapping[str, tuple[int, int]] = {
    "c": (2, 30), "k": (2, 30), "o": (2, 9), "h": (31, 999), "j": (31, 999), "g": (1000, 9_999_999),
    "r": (2, 40), "n": (2, 6), "u": (4, 9), "x": (2, 7), "no": (1000, 99999), "hh": (6, 23), "mm": (10, 59),
    "y": (1890, 1970), "w": (1980, 2035),
}  # fmt: skip
UNSPOKEN = {"y", "w", "no"}
ANY, DECIMAL, SQUARE, PERCENT, NEGATIVE, PRICE, AMOUNT = "abd", "f", "s", "p", "z", "v", "mq"
PERCENTS = "5 7 10 12 15 19 20 20 21 25 30 40 50 60 75 80 2.5 7.5 8.25 12.5 17.5 0.5".split()
MONEY = ["${}", "${}", "€{}", "£{}", "{}€", "{} euros", "{} dollars", "{} pounds", "{} bucks", "{} EUR"]
TEXTS: Mapping[str, list[str]] = {
    "ask": ["What is", "What is", "What's", "what is", "whats", "How much is", "Calculate", "Work out", "Compute",
            "Tell me", "Can you work out", "I need to know"],
    "t": "apples pens tickets books chairs boxes cards bottles bricks sandwiches stamps marbles oranges lemons cookies "
         "candles shirts towels photos coins plates cups keys screws tulips pencils balloons stickers shells".split(),
    "i": "book lamp shirt pen ticket cake mug hammer bag plant scarf chair pizza toy poster plate umbrella".split(),
    "A": "Anna Tom Maria Ben Sara Ali Lena Paul Mei Omar Julia Sam Priya Max Nina Jack Elif Leo".split(),
    "B": "Kim Eva Noah Rosa Ivan Mia Yusuf Clara Tim Zoe Amir Olga Pedro Hana Finn Ruth".split(),
}  # fmt: skip
ASIDES = [
    "Please work out: ", "Quick sum: ", "Hi, ", "Can you tell me: ", "Calculate: ", "calc ", "Hello, ", "Please, ",
    "I need help with this: ", "Maths question: ", "Quick one: ", "Hey, ", "so ", "ok, ", "My homework: ",
]  # fmt: skip
SPOKEN = 0.15
ENDS = [" please", " Please.", " Thanks!", " thanks", " Thank you.", " I need it quickly."]

_CHOICE = re.compile(r"\[([^\]]*)\]")
_PLACE = re.compile(r"\{([a-zA-Z]+)\d*\}")
_WORD_ENDS = re.compile(r"(?! ?%)[?.,;:]?( |$)")


def worded_sum(rng: Random, spoken: float = SPOKEN, tens: float = 0.0) -> tuple[str, str]:
    """A sum as people put it, and its expression. Of the whole numbers that may be, `spoken` stand in words.

    Of these `tens` are drawn anew, from 13 to 99, whose words are mistaken for one another most.
    """
    question, expression = filled(rng, *rng.choice(SUMS), spoken, tens)
    if rng.random() < 0.2:
        question = rng.choice(ASIDES) + question
    if rng.random() < 0.07:
        question += rng.choice(ENDS)
    return question, expression


def not_a_sum(rng: Random) -> str:
    """A question with numbers in it that only the documents can answer."""
    return filled(rng, rng.choice(LOOKUPS))[0]


def number(rng: Random) -> str:
    """One of any size, as an expression has it."""
    return _number(rng, ANY)


def in_words(value: int, joint: str = " and ") -> str:
    """A whole number below ten thousand in words."""
    if value < 20:
        return ONES[value]
    if value < 100:
        return TENS[value // 10 - 2] + (f"-{ONES[value % 10]}" if value % 10 else "")
    unit, named, between = (1000, "thousand", " ") if value >= 1000 else (100, "hundred", joint)
    count, rest = divmod(value, unit)
    between = joint if rest < 100 else between
    return f"{ONES[count]} {named}" + (between + in_words(rest, joint) if rest else "")


def filled(
    rng: Random, question: str, expression: str = "", spoken: float = SPOKEN, tens: float = 0.0
) -> tuple[str, str]:
    """A template and its expression with their letters drawn, as people type them."""
    values: dict[str, str] = {}
    money = rng.choice(MONEY)

    def put(place: re.Match[str]) -> str:
        kind = place[1]
        if kind in TEXTS or kind == "N":
            drawn = rng.choice(TEXTS[kind]) if kind in TEXTS else word(rng).capitalize()
            return values.setdefault(place[0], drawn)
        number = said = _number(rng, kind)
        alone = kind not in UNSPOKEN and place.string[: place.start()][-1:] in ("", " ")
        if alone and _WORD_ENDS.match(place.string, place.end()):
            if number.startswith("-"):
                said = rng.choice(("-", "-", "−", "minus ", "negative ")) + number[1:]
            elif number.isdigit() and int(number) < 10_000 and rng.random() < spoken:
                number = _of_tens(rng, kind, number) if tens and rng.random() < tens else number
                said = in_words(int(number), rng.choice((" and ", " and ", " ")))
        values[place[0]] = number
        if kind in PRICE + AMOUNT:
            return money.format(said if money.startswith("{} ") else number)
        return said

    question = _CHOICE.sub(lambda choice: rng.choice(choice[1].split("|")), question)
    question = re.sub(r"(?<=\w) (?=[?.,])", "", re.sub(" +", " ", _PLACE.sub(put, question))).strip()
    roll = rng.random()
    if roll < 0.15:
        question = question.lower()
    if roll < 0.25:
        question = question.rstrip("?.")
    return question.strip(), _PLACE.sub(lambda place: values[place[0]], expression)


def _number(rng: Random, kind: str) -> str:
    """As an expression has it."""
    if kind in ANY:
        whole = rng.randint(2, rng.choice((20, 100, 1000, 10_000, 1_000_000)))
        return _grouped(rng, whole) + (f".{rng.randint(1, 99)}" if rng.random() < 0.12 else "")
    if kind in DECIMAL:
        return f"{rng.randint(0, rng.choice((9, 99)))}.{rng.choice((rng.randint(1, 9), rng.randint(11, 99)))}"
    if kind in SQUARE:
        return _grouped(rng, rng.randint(2, rng.choice((15, 15, 120))) ** 2)
    if kind in PERCENT:
        return rng.choice((*PERCENTS, str(rng.randint(1, 99))))
    if kind in NEGATIVE:
        return f"-{rng.randint(1, rng.choice((20, 200)))}"
    if kind in PRICE:
        return f"{rng.randint(1, 60)}" + rng.choice(("", f".{rng.randint(0, 99):02}", ".50", ".99"))
    if kind in AMOUNT:
        return _grouped(rng, rng.randint(65, rng.choice((100, 1000, 5000)))) + rng.choice(("", "", "", ".50", ".80"))
    number = rng.randint(*RANGES[kind])
    return _grouped(rng, number) if kind == "g" else str(number)


def _grouped(rng: Random, number: int) -> str:
    return f"{number:,}" if rng.random() < 0.6 else str(number)


def _of_tens(rng: Random, kind: str, number: str) -> str:
    """Another one of the kind, from 13 to 99, where it has such."""
    least, most = RANGES.get(kind, (2, 99) if kind in ANY else (0, 0))
    least, most = max(least, 13), min(most, 99)
    return str(rng.randint(least, most)) if least <= most else number


def renumbered(rng: Random, question: str) -> str:
    """Half of them with other numbers of as many digits: what stands in a question is not to be known by heart."""
    if rng.random() < 0.5:
        return question
    return NUMBER.sub(lambda n: str(rng.randint(10 ** (len(n[0]) - 1), 10 ** len(n[0]) - 1)), question)


def solvable(problems: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those whose expression the core may write and the calculator can read, with the problem's own numbers."""
    kept = []
    for question, expression in problems:
        with suppress(CalculationError, LookupError):
            written = _as_written(question, expression)
            calculate(written)
            kept.append((question, written))
    return kept


def _as_written(question: str, expression: str) -> str:
    """LookupError where a number is neither in the problem nor one that people leave unsaid."""
    known = {Decimal(n.replace(",", "")): n for n in sorted(UNSAID | numbers(question), key=len, reverse=True)}

    def put(number: re.Match[str]) -> str:
        value = Decimal(number[0])
        if value not in known and expression[: number.start()].endswith("* "):
            return f"{known[value * 100]} / 100"
        return known[value]

    return re.sub(r"\d*\.?\d+", put, expression)
