"""Fictional worlds: names, numbers and relations drawn fresh each time, so that no fact ever repeats."""

from dataclasses import dataclass
from random import Random

ONSETS = "b br c ch d dr f fl g gr h j k kl l m n p pr qu r s sh st t th tr v w z".split()
VOWELS = "a e i o u ai ea io ou y".split()
CODAS = ["", "", "", *"n r l s t x m nd rk th sk".split()]
UNITS = ["days", "weeks", "months", "hours", "euros", "dollars", "kg", "km", "percent", "people", "litres", "minutes"]
MONTHS = "January February March April May June July August September October November December".split()
KINDS = [
    "policy", "plan", "pump", "sensor", "contract", "department", "project", "warehouse", "router", "licence",
    "programme", "office", "team", "product", "service", "machine", "course", "vehicle", "grant", "committee",
]  # fmt: skip
NUMBERS = [
    "notice period", "deposit", "monthly price", "maximum load", "warranty period", "delivery time", "budget",
    "minimum order", "trial period", "daily allowance", "annual fee", "battery life", "weight", "capacity",
    "late fee", "number of seats", "retention period", "response time", "operating temperature", "vacation allowance",
]  # fmt: skip
PEOPLE = ["manager", "director", "contact", "founder", "owner", "auditor", "supplier", "inventor", "chair", "author"]
PLACES = ["location", "headquarters", "depot", "meeting place", "place of origin", "repair centre"]
DATES = ["deadline", "start date", "launch date", "renewal date", "closing date", "inspection date"]
WAYS = ["password", "default colour", "file format", "material", "login name", "access code", "serial number", "fuel"]
STATEMENTS = [
    "The {a} of the {k} {n} is {v}.",
    "For the {k} {n}, the {a} is {v}.",
    "{n} has a {a} of {v}.",
    "According to the latest revision, the {k} {n} comes with a {a} of {v}, subject to review.",
    "The {a} was set to {v} for the {n} {k}.",
    "{a}: {v} ({n}).",
    "Name: {n}; {a}: {v}.",
    "Item: {n}; Kind: {k}; {a}: {v}.",
    "Please note that the {a} for {n} has been {v} since last {m}.",
]
QUESTIONS = [
    "What is the {a} of the {k} {n}?",
    "What is the {a} for {n}?",
    "Which {a} does {n} have?",
    "Tell me the {a} of {n}.",
    "{n} {a}?",
    "do you know the {a} of {n}",
    "I need the {a} for the {n} {k}.",
    "What {a} applies to the {k} called {n}?",
]
FILLERS = [
    "The {k} {n} was reviewed in {m}.",
    "Questions about {n} should be sent to the {k} team.",
    "Several changes to the {k} rules were announced in {m}.",
    "More details are found in the appendix on {n}.",
    "It replaces the older {k}, which had been in use since {m}.",
    "All staff who work with the {k} must read this section first.",
]
OPENINGS = ["Hi, ", "Hello! ", "Please tell me: ", "Could you help me? ", "Quick question: ", "Hey there. "]
CLOSINGS = [" Thanks!", " Thank you.", " Please be brief.", " I need it today."]


@dataclass(frozen=True, slots=True)
class Fact:
    """A question, the passage that answers it and where, and passages that look alike but do not answer."""

    question: str
    passage: str
    start: int
    end: int
    others: tuple[str, ...]


def word(rng: Random, syllables: int = 2) -> str:
    """A made-up word."""
    return "".join(rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(syllables))


def name(rng: Random) -> str:
    """A made-up name: one or two words, sometimes with a model number."""
    made = word(rng, rng.choice((1, 2, 2, 3))).capitalize()
    roll = rng.random()
    if roll < 0.3:
        return f"{made} {word(rng).capitalize()}"
    if roll < 0.5:
        return f"{made}-{rng.randint(1, 999)}"
    return made


def attribute(rng: Random) -> tuple[str, str]:
    """An attribute's name and a fresh value for it."""
    group = rng.choice((NUMBERS, NUMBERS, NUMBERS, PEOPLE, PLACES, DATES, WAYS))
    if group is NUMBERS:
        value = f"{rng.choice((rng.randint(1, 99), rng.randint(100, 9999)))} {rng.choice(UNITS)}"
    elif group is DATES:
        value = f"{rng.randint(1, 28)} {rng.choice(MONTHS)} {rng.randint(1950, 2040)}"
    elif group is PEOPLE:
        value = f"{word(rng).capitalize()} {word(rng).capitalize()}"
    elif group is PLACES:
        value = name(rng)
    else:
        value = rng.choice((word(rng), f"{word(rng)}-{rng.randint(10, 9999)}", name(rng)))
    return rng.choice(group), value


def fact(rng: Random) -> Fact:
    """One fact among its like."""
    kind, about, (asked, value) = rng.choice(KINDS), name(rng), attribute(rng)
    question = rng.choice(QUESTIONS).format(a=asked, k=kind, n=about)
    passage, start = _passage(rng, kind, about, asked, value)
    others = []
    for _ in range(5):
        other, (different, another) = name(rng), attribute(rng)
        alike = rng.random() < 0.5
        text, _ = _passage(rng, kind, other if alike else about, asked if alike else different, another)
        if different != asked or alike:
            others.append(text)
    return Fact(question, passage, start, start + len(value), tuple(others))


def _passage(rng: Random, kind: str, about: str, asked: str, value: str) -> tuple[str, int]:
    words = {"k": kind, "n": about, "m": rng.choice(MONTHS)}
    statement = rng.choice(STATEMENTS).format(a=asked, v="\0", **words)
    statement = statement[0].upper() + statement[1:]
    fillers = [rng.choice(FILLERS).format(k=kind, n=rng.choice((about, name(rng))), m=words["m"]) for _ in range(3)]
    sentences = fillers[: rng.randint(0, 3)]
    sentences.insert(rng.randint(0, len(sentences)), statement)
    text = " ".join(sentences)
    start = text.index("\0")
    return text.replace("\0", value), start


def polite(rng: Random, question: str) -> str:
    """The question as people type it: greeted, thanked, or in small letters."""
    roll = rng.random()
    if roll < 0.12:
        return rng.choice(OPENINGS) + question
    if roll < 0.2:
        return question + rng.choice(CLOSINGS)
    return question


SUMS = [
    ("What is {a} plus {b}?", "{a} + {b}"),
    ("{a} + {b}", "{a} + {b}"),
    ("Add {a} and {b}.", "{a} + {b}"),
    ("What is the sum of {a} and {b}?", "{a} + {b}"),
    ("What is {a} minus {b}?", "{a} - {b}"),
    ("Subtract {b} from {a}.", "{a} - {b}"),
    ("{a} - {b} = ?", "{a} - {b}"),
    ("What is {a} times {b}?", "{a} * {b}"),
    ("Multiply {a} by {b}.", "{a} * {b}"),
    ("{a} x {b}", "{a} * {b}"),
    ("How much is {a} multiplied by {b}?", "{a} * {b}"),
    ("calculate {a}*{b}", "{a} * {b}"),
    ("What is the product of {a} and {b}?", "{a} * {b}"),
    ("What is {a} divided by {b}?", "{a} / {b}"),
    ("Divide {a} by {b}", "{a} / {b}"),
    ("{a} / {b}", "{a} / {b}"),
    ("What is {c} percent of {a}?", "{a} * {c} / 100"),
    ("How much is {c}% of {a}?", "{a} * {c} / 100"),
    ("What is {a} plus {b}, times {c}?", "({a} + {b}) * {c}"),
    ("Add {a} and {b}, then multiply by {c}.", "({a} + {b}) * {c}"),
    ("({a} + {b}) * {c}", "({a} + {b}) * {c}"),
    ("What is {a} minus {b}, divided by {c}?", "({a} - {b}) / {c}"),
    ("What is {a} times {b} plus {c}?", "{a} * {b} + {c}"),
    ("Multiply {a} by {b} and subtract {c}.", "{a} * {b} - {c}"),
    ("What is {c} squared?", "{c} ** 2"),
    ("Double {a} and add {b}.", "{a} * 2 + {b}"),
    ("What is half of {a}?", "{a} / 2"),
    ("If I buy {c} {t} at {a} each, how much do I pay?", "{c} * {a}"),
    ("I have {a} {t} and give away {c}. How many are left?", "{a} - {c}"),
    ("There are {c} boxes with {a} {t} in each. How many {t} are there?", "{c} * {a}"),
    ("If {a} {t} are shared by {c} people, how many does each get?", "{a} / {c}"),
    ("I had {a} {t}, bought {b} more and lost {c}. How many do I have?", "{a} + {b} - {c}"),
]
THINGS = ["apples", "pens", "tickets", "books", "chairs", "boxes", "cards", "bottles", "bricks", "sandwiches"]
ASIDES = ["", "", "", "", "Please work out: ", "Quick sum: ", "Hi, ", "Can you tell me: ", "Calculate: "]


ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()


def in_words(number: str) -> str:
    """Whole numbers below a hundred in words; others as they are."""
    if not number.isdigit() or int(number) >= 100:
        return number
    value = int(number)
    if value < 20:
        return ONES[value]
    return TENS[value // 10 - 2] + (f"-{ONES[value % 10]}" if value % 10 else "")


def worded_sum(rng: Random) -> tuple[str, str]:
    """A sum in words, and its expression."""
    question, expression = rng.choice(SUMS)
    big = rng.choice((20, 100, 1000, 10000))
    numbers: dict[str, str] = {letter: str(rng.randint(2, big)) for letter in "ab"} | {"c": str(rng.randint(2, 30))}
    if rng.random() < 0.15:
        numbers["a"] = f"{rng.randint(1, 99)}.{rng.randint(1, 99)}"
    spoken = {letter: in_words(number) if rng.random() < 0.12 else number for letter, number in numbers.items()}
    said = rng.choice(ASIDES) + question.format(t=rng.choice(THINGS), **spoken)
    return (said if rng.random() < 0.8 else said.lower()), expression.format(**numbers)
