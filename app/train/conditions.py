"""For whom, where or when something holds: what is true of interns is no answer for contractors."""

from dataclasses import dataclass
from random import Random

from app.train.values import DAYS, MONTHS, name, word

GROUPS = (
    (
        "interns", "contractors", "part-time staff", "managers", "new employees", "volunteers", "night-shift staff",
        "apprentices", "temporary staff", "field staff", "remote workers", "seasonal workers",
    ),
    (
        "students", "children under 12", "seniors", "members", "families", "groups of ten or more", "teachers",
        "residents", "visitors", "people with a disability", "first-time visitors", "children under 6",
    ),
    (
        "business customers", "private customers", "new customers", "resellers", "schools", "non-profits",
        "wholesale customers", "public authorities", "customers abroad", "long-standing customers",
    ),
)  # fmt: skip
TIMES = (
    ("on weekdays", "at weekends", "on public holidays", "on Sundays", "on Saturdays"),
    ("in winter", "in summer", "in spring", "in autumn", "in the high season", "in the low season"),
    ("in the first year", "in the second year", "after the third year", "in the final year", "from the fifth year on"),
    ("during the trial period", "after the trial period", "during a notice period", "before the contract starts"),
    ("by day", "at night", "before noon", "in the evening"),
)
MANNERS = (
    ("when ordered online", "when bought in a shop", "when ordered by phone", "for orders from abroad"),
    ("in eco mode", "in standby", "in normal operation", "in turbo mode", "in emergency mode", "in silent mode"),
    ("indoors", "outdoors", "under water", "at sea"),
    ("with the small battery", "with the large battery", "without a battery", "with the travel adapter"),
    ("for paper forms", "for forms sent online", "for requests by e-mail", "for requests by post"),
)
TIERS = "Basic Standard Plus Premium Gold Silver Free Starter Team Enterprise Pro Family Economy Business".split()


@dataclass(frozen=True, slots=True)
class Condition:
    """What a fact holds for: "for interns", "in winter"."""

    text: str

    def stated(self, rng: Random, sentence: str) -> str:
        """The sentence with it, in front or at its end. Its first word is a name or stands in small letters."""
        if rng.random() < 0.5 and sentence.endswith(".") and ". " not in sentence:
            return f"{sentence[:-1]} {self.text}."
        return f"{self.text[0].upper()}{self.text[1:]}, {sentence}"

    def asked(self, rng: Random, question: str) -> str:
        if rng.random() < 0.75 and question.endswith("?"):
            return f"{question[:-1]} {self.text}?"
        first = question[0] if question.startswith(("I ", "I'")) else question[0].lower()
        return f"{self.text[0].upper()}{self.text[1:]}, {first}{question[1:]}"


def statement(rng: Random, template: str, subject: str, value: str, under: Condition | None = None) -> str:
    """A sentence from its template, under a condition or none."""
    if under is None:
        return template.format(s=subject, v=value)
    small = template if template.startswith("{") else template[0].lower() + template[1:]
    return under.stated(rng, small.format(s=subject, v=value))


def conditions(rng: Random, count: int) -> list[Condition]:
    """Different ones of one kind."""
    roll = rng.random()
    if roll < 0.4:
        drawn = [f"for {group}" for group in rng.sample(rng.choice(GROUPS), count)]
    elif roll < 0.55:
        drawn = rng.sample(rng.choice([kind for kind in TIMES if len(kind) >= count]), count)
    elif roll < 0.65:
        drawn = [f"in {month}" for month in rng.sample(MONTHS, count)]
    elif roll < 0.7:
        drawn = [f"on {day}s" for day in rng.sample(DAYS, count)]
    elif roll < 0.78:
        drawn = rng.sample(rng.choice([kind for kind in MANNERS if len(kind) >= count]), count)
    elif roll < 0.88:
        pattern = rng.choice(("on the {} plan", "with the {} package", "in the {} tier", "for {} members"))
        drawn = [pattern.format(tier) for tier in rng.sample(TIERS, count)]
    elif roll < 0.94:
        pattern = rng.choice(("at the {} site", "in the {} office", "at the {} branch", "in {}", "on the {} line"))
        drawn = [pattern.format(word(rng, rng.choice((2, 3))).capitalize()) for _ in range(count)]
    elif roll < 0.97:
        drawn = [f"in {year}" for year in rng.sample(range(1950, 2035), count)]
    else:
        pattern = rng.choice(("with the {}", "for the {}", "in {} mode"))
        drawn = [pattern.format(name(rng)) for _ in range(count)]
    return [Condition(text) for text in drawn]
