"""Arithmetic as a core may write it: well formed, with numbers that the message has or that people leave unsaid.

Which numbers, which operators and in what order is the core's choice. Whatever can be written here `calculate` can
read; it fails only by dividing by zero, or by a result that is too large or not defined.
"""

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from functools import cache
from itertools import product
from typing import NamedTuple

UNSAID = frozenset("0 1 2 3 4 5 6 7 8 9 10 11 12 15 24 30 52 60 100 365 1000 3600".split())
"""Numbers that people need not say: the days of a week, the two of a half, the grams of a kilo."""

_UNITS = {
    "second": "seconds?",
    "minute": "minutes?",
    "hour": "hour(?:s|ly)?",
    "day": "days?|daily",
    "week": "week(?:s|ly)?",
    "month": "month(?:s|ly)?",
    "quarter": "quarter(?:s|ly)?",
    "year": "year(?:s|ly)?|annual(?:ly)?",
    "gram": "grams?|g",
    "metre": "met(?:re|er)s?|m",
    "litre": "lit(?:re|er)s?|l",
    "ton": "tonn?es?|tons?|t",
    "kilo": r"kilos?|kilo\w+|k[gm]",
    "milli": r"milli\w+|m[gml]",
    "centi": r"centi\w+|c[lm]",
    "cent": "cents?|pence",
    "money": "euros?|dollars?|pounds?|eur|usd|gbp|[€$£]",
    "percent": "percent(?:age)?|per cent|%",
    "half": "half|halves|halved?",
    "two": "doubled?|twice|both|mean|average|pairs?|couples?",
    "three": "thirds?|tripled?|thrice",
    "four": "quarters?|quadrupled?",
    "ten": "tenths?|tenfold",
}
_IMPLIED = {
    "2": ("half", "two"),
    "3": ("three", "quarter month"),
    "4": ("four", "quarter year", "week month"),
    "5": ("week day",),
    "6": ("half year month",),
    "7": ("week day",),
    "10": ("ten",),
    "12": ("month year",),
    "24": ("hour day",),
    "30": ("day month",),
    "52": ("week year",),
    "60": ("second minute", "minute hour"),
    "100": ("percent", "cent money", "centi metre", "centi litre"),
    "365": ("day year",),
    "1000": ("gram kilo", "kilo metre", "kilo ton", "milli gram", "milli metre", "milli litre"),
    "3600": ("second hour",),
}
"""Of the numbers that people leave unsaid, those that words imply: a half the 2, months and a year together the 12."""

MODULO = " % "
OPERATORS = (" + ", " - ", " * ", " / ", " ** ", MODULO)
FUNCTIONS = ("sqrt",)
OPENINGS = ("(", *(f"{name}(" for name in FUNCTIONS))
ALPHABET = frozenset("".join(("0123456789.,-%)", *OPERATORS, *OPENINGS)))
DEPTH = 4
LONGEST = 160
"""No operator or bracket begins after so many characters, so that each expression ends, within `calculate`'s limits."""
LONGEST_NUMBER = 40

_DIGITS = re.compile(r"[1-9]\d{0,2}(?:,\d{3})+(?!\d|,\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+", re.ASCII)
_DECIMAL_COMMA = re.compile(r"(?<![\d.,])(\d+),(\d{1,2})(?![\d,])", re.ASCII)

ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_WORDS = {word: n for n, word in enumerate(ONES)} | {word: 10 * n for n, word in enumerate(TENS, 2)}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_TIMES = {"k": 10**3, "dozen": 12, "hundred": 100, **_SCALES}
_SHARES = {"half": Decimal("0.5"), "quarter": Decimal("0.25"), "three quarters": Decimal("0.75")}
_SIGNS = str.maketrans({"½": " and a half", "¼": " and a quarter", "¾": " and three quarters"})

_ONE, _SCALE, _SHARE = "|".join(reversed(ONES)), f"(?:{'|'.join(_SCALES)})", f"({'|'.join(_SHARES)})"
_SMALL = rf"(?:(?:{'|'.join(TENS)})(?:[- ](?:{_ONE}))?|{_ONE})"
_MULTIPLE = re.compile(rf"(?<![\d.,])({_DIGITS.pattern})[- ]?({'|'.join(_TIMES)})s?\b", re.ASCII)
_AND_A_SHARE = re.compile(rf"(?<![\d.,])(\d+) and (?:an? |one )?{_SHARE}\b", re.ASCII)
_SHARE_OF = re.compile(rf"{_SHARE} (?:of )?(?:an? |one )?({'|'.join(_TIMES)})\b")


def numbers(text: str) -> frozenset[str]:
    """The numbers of a text as an expression may have them: digits as they stand, words as digits.

    Where words can be read in several ways ("two hundred and five", "five million"), each reading counts.
    """
    text = text.translate(_SIGNS).lower()
    found = {f"{whole}.{part}" for whole, part in _DECIMAL_COMMA.findall(text)}
    found.update(*(_forms(_SCALES[word]) for word in _SCALES if word in text))
    found.update(*(_forms(_SHARES[word]) for word in _SHARES if word in text))
    found.update(*(_forms(_SHARES[share] * _TIMES[times]) for share, times in _SHARE_OF.findall(text)))
    for joined, scaled in product((True, False), repeat=2):
        digits = _spoken(joined, scaled).sub(lambda words: str(_value(words[1])), text)
        found.update(_DIGITS.findall(digits))
        if scaled:
            found.update(*(_forms(_decimal(n) * _TIMES[times]) for n, times in _MULTIPLE.findall(digits)))
            found.update(*(_forms(int(n) + _SHARES[share]) for n, share in _AND_A_SHARE.findall(digits)))
    return frozenset(number for number in found if len(number) <= LONGEST_NUMBER)


def implied(text: str) -> frozenset[str]:
    """The numbers that go without saying because of a text's words: to halve, to come from months to years."""
    named = {unit for unit, words in _UNITS.items() if re.search(rf"(?<![^\W\d_])(?:{words})(?!\w)", text.lower())}
    return frozenset(number for number, ways in _IMPLIED.items() if any(named.issuperset(way.split()) for way in ways))


@cache
def _spoken(joined: bool, scaled: bool) -> re.Pattern[str]:
    """Whole numbers in words: whether "and" may join their parts, and whether thousands belong to them."""
    joint = "(?: and)?[- ]" if joined else "[- ]"
    below_1000 = rf"(?:(?:{_SMALL}|a)[- ]hundred(?:{joint}{_SMALL})?|{_SMALL})"
    thousands = rf"(?:{below_1000}|a)[- ]{_SCALE}(?:{joint}{below_1000}(?:[- ]{_SCALE})?)*"
    return re.compile(rf"\b({f'{thousands}|' if scaled else ''}{below_1000})(?:th)?s?\b")


def _value(words: str) -> int:
    total = current = 0
    for word in re.findall("[a-z]+", words):
        if word == "hundred":
            current = (current or 1) * 100
        elif word in _SCALES:
            total, current = total + (current or 1) * _SCALES[word], 0
        else:
            current += _WORDS.get(word, 0)
    return total + current


def _decimal(number: str) -> Decimal:
    return Decimal(number.replace(",", ""))


def _forms(value: Decimal | int) -> tuple[str, str]:
    """Without and with commas between the thousands."""
    plain = Decimal(value).normalize()
    return f"{plain:f}", f"{plain:,f}"


class Progress(NamedTuple):
    """What matters of an expression so far."""

    operand: bool = True  # whether an operand is awaited, else an operator or a closing bracket
    signed: bool = True  # whether that operand may have a sign: "5 % -3" would be five percent less three
    begun: str = ""  # of the next operand, operator or bracket
    depth: int = 0  # open brackets
    length: int = 0  # in characters, up to what is begun

    @property
    def complete(self) -> bool:
        return not (self.operand or self.begun or self.depth)


class Expressions:
    """The expressions over some numbers, as an automaton that reads characters."""

    def __init__(self, source: Iterable[str]) -> None:
        unsigned = [number + percent for number in source for percent in ("", "%")]
        self._operands = {False: unsigned, True: [*unsigned, *(f"-{number}" for number in unsigned)]}
        self._known: dict[tuple[bool, ...], _Pieces] = {}

    def after(self, progress: Progress, text: str) -> frozenset[Progress]:
        """Where a text leads to; nowhere if it cannot stand there. A number that may go on is also at its end."""
        reached = frozenset({progress})
        for char in text:
            reached = frozenset(step for before in reached for step in self._after(before, char))
        return reached

    def _after(self, at: Progress, char: str) -> Iterator[Progress]:
        pieces, begun = self._pieces(at), at.begun + char
        if begun in pieces.beginnings:
            yield at._replace(begun=begun)
        if begun in pieces.whole:
            opens, closes = begun in OPENINGS, begun == ")"
            yield Progress(
                operand=opens or begun in OPERATORS,
                signed=begun != MODULO,
                depth=at.depth + opens - closes,
                length=at.length + len(begun),
            )

    def _pieces(self, at: Progress) -> "_Pieces":
        more = at.length < LONGEST
        place = at.operand, at.signed, more and at.depth < DEPTH, more, at.depth > 0
        if place not in self._known:
            self._known[place] = _Pieces(self._possible(*place))
        return self._known[place]

    def _possible(self, operand: bool, signed: bool, opens: bool, more: bool, closes: bool) -> Iterator[str]:
        if operand:
            yield from self._operands[signed]
            yield from OPENINGS if opens else ()
        else:
            yield from OPERATORS if more else ()
            yield from ")" if closes else ()


class _Pieces:
    """What may come next, and how that may begin."""

    def __init__(self, whole: Iterable[str]) -> None:
        self.whole = frozenset(whole)
        self.beginnings = frozenset(piece[:end] for piece in self.whole for end in range(1, len(piece)))
