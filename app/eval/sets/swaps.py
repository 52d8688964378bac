"""Values put in the place of others of their kind: a person's name, a number, a year, a place.

The kind is told from the words of the question and the shape of the answers, and only where both leave no doubt.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from random import Random

from app.train.values import KINDS

FEWEST = 21  # smaller numbers are often written as words elsewhere
FIRST_YEAR, FARTHEST = 1850, 60  # KINDS draws none before; a new year stays within a lifetime of the old one
GIVEN = frozenset(
    "Aaron Albert Alexander Andrew Anne Anthony Arthur Barbara Benjamin Bill Charles Christopher Daniel David Donald "
    "Edward Elizabeth Emma Eric Francis Frank Fred George Harold Harry Henry Isaac Jack Jacob James Jeff Jerry Joe "
    "John Joseph Karl Kevin Leonard Louis Margaret Mark Martin Mary Matthew Max Michael Murray Nicholas Oliver Oscar "
    "Otto Patrick Paul Peter Philip Ralph Ray Richard Robert Roger Ron Ronald Russell Samuel Sarah Simon Stephen "
    "Steve Steven Ted Terry Theodore Thomas Tom Tony Victor Walter Warren William".split()
)
SHAPES: Mapping[str, tuple[re.Pattern[str], re.Pattern[str]]] = {
    "person": (re.compile(r"who\b", re.I), re.compile(r"[A-Z]\w+(?: [A-Z](?:\.|\w+))? [A-Z]\w{3,}")),
    "count": (re.compile(r".*\bhow many\b", re.I), re.compile(r"\d{2,3}|\d{1,2},?\d{3}")),
    "year": (re.compile(r"when\b|.*\b(?:what|which) year\b", re.I), re.compile(r"1[89]\d\d|20[0-3]\d")),
    "place": (
        re.compile(r".*\b(?:what|which)(?: other)? (?:city|town|country|state|county|village|nation|province)\b", re.I),
        re.compile(r"[A-Z]\w{3,}(?: [A-Z]\w+)?"),
    ),
}

Swap = dict[str, str]
"""Old values and their new ones; a longer one comes before what it holds."""


def kind_of(question: str, answers: Sequence[str]) -> str | None:
    """The kind of all these answers to it, if it is certain."""
    longest = max(answers, key=len)
    for kind, (asks, shape) in SHAPES.items():
        if not (asks.match(question) and shape.fullmatch(longest)):
            continue
        if kind == "person":
            surname = longest.split()[-1]
            sure = longest.split()[0] in GIVEN and set(answers) <= {longest, surname}
        else:
            sure = set(answers) == {longest}
        number = int(longest.replace(",", "")) if kind in ("count", "year") else None
        if sure and (number is None or number >= (FIRST_YEAR if kind == "year" else FEWEST)):
            return kind
    return None


def drawn(rng: Random, kind: str, old: str) -> Swap:
    """Another value of the kind in its place; of a person also the surname alone."""
    fits: dict[str, Callable[[str], bool]] = {
        "person": lambda new: len(new.split()) == 2 and not new.startswith(("Dr ", "Ms ", "Mr ")),
        "count": lambda new: len(new) == len(old) and new[0].isdigit() and ("," in new) == ("," in old),
        "year": lambda new: 2 <= abs(int(new) - int(old)) <= FARTHEST,
        "place": lambda new: True,
    }
    new = old
    while new == old or not fits[kind](new):
        new = KINDS[kind](rng)
    if kind == "person":
        return {old: new, old.split()[-1]: new.split()[-1]}
    return {old: new}


def swapped(text: str, swap: Swap) -> str:
    """The text with each old value replaced where it stands as a whole: no part of a longer word or number."""
    either = "|".join(map(re.escape, swap))
    return re.sub(rf"(?<![\w$£€])(?<!\d[.,])({either})(?!\w)(?![.,]\d)", lambda found: swap[found[1]], text)


def related(text: str, swap: Swap) -> bool:
    """Whether words stand in the text that are made from an old name: they would tell it still."""
    names = [old for old in swap if old[0].isalpha()]
    parts = {part for name in names for part in name.split() if len(part) > 3}
    return any(word not in parts for part in parts for word in re.findall(rf"(?<!\w){part[:4]}\w*", text))
