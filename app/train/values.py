"""Values of invented facts, drawn fresh: a name, a number and its unit, a place, in the ways people write them."""

from collections.abc import Callable, Mapping
from random import Random

ONSETS = "b br c ch d dr f fl g gr h j k kl l m n p pr qu r s sh st t th tr v w z".split()
VOWELS = "a e i o u ai ea io ou y".split()
CODAS = ["", "", "", *"n r l s t x m nd rk th sk".split()]
MONTHS = "January February March April May June July August September October November December".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
COLOURS = "red blue green black white grey silver orange yellow brown navy cream olive purple".split()
GIVEN = (
    "Mara Tomas Aiko Ravi Lena Omar Grace Piotr Chloe Samuel Ines Yusuf Hanna Diego Noor Felix Amara Victor Sofia Kofi "
    "Elsa Bruno Mei Jonas Priya Luca Zara Henrik Alma Rafael"
).split()
ENDINGS = ["GmbH", "Ltd", "Inc.", "AG", "& Sons", "Logistics", "Partners", "Systems", "Foods", "Group"]
STREETS = ["Street", "Road", "Lane", "Avenue", "Square", "Way"]
HUES = ["", "", "dark ", "light ", "matt "]
FAMILY = "Mini Max Pro Plus XL Lite Basic Two S II Junior Home".split()
NUMERALS = "two three four five six seven eight nine ten twelve fourteen fifteen twenty thirty".split()


def word(rng: Random, syllables: int = 2) -> str:
    """A made-up word."""
    return "".join(rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(syllables))


def name(rng: Random) -> str:
    """A made-up name: one or two words, sometimes with a model number."""
    made = word(rng, rng.choice((1, 2, 2, 3))).capitalize()
    roll = rng.random()
    if roll < 0.25:
        return f"{made} {word(rng).capitalize()}"
    if roll < 0.5:
        return f"{made}{rng.choice('- ')}{rng.randint(1, 999)}"
    return made


def variant(rng: Random, called: str) -> str:
    """Another name of the same family."""
    stem = called.partition("-")[0].partition(" ")[0]
    return rng.choice(
        (f"{stem} {rng.choice(FAMILY)}", f"{stem} {rng.randint(1, 999)}", f"{stem}-{rng.randint(1, 999)}")
    )


def code(rng: Random) -> str:
    letters = "".join(rng.choice("ABCDEFGHJKLMNPRSTVWXZ") for _ in range(rng.randint(1, 3)))
    return f"{letters}{rng.choice(('-', '', ' '))}{rng.randint(10, 99999)}"


def person(rng: Random) -> str:
    first = rng.choice(GIVEN) if rng.random() < 0.7 else word(rng).capitalize()
    return f"{rng.choice(('', '', '', 'Dr ', 'Ms ', 'Mr '))}{first} {word(rng, rng.choice((2, 2, 3))).capitalize()}"


def date(rng: Random) -> str:
    day, month, year = rng.randint(1, 28), rng.randint(1, 12), rng.randint(1950, 2040)
    called = MONTHS[month - 1]
    written = (f"{day} {called} {year}", f"{called} {day}, {year}", f"{year}-{month:02}-{day:02}", f"{day} {called}")
    return rng.choice(written)


def time(rng: Random) -> str:
    hour, minute = rng.randint(0, 23), rng.choice((0, 0, 15, 30, 45, 10))
    half = "am" if hour < 12 else "pm"
    return rng.choice((f"{hour:02}:{minute:02}", f"{(hour - 1) % 12 + 1}:{minute:02} {half}", f"{hour}:{minute:02}"))


def money(rng: Random) -> str:
    amount = rng.choice((rng.randint(1, 99), rng.randint(100, 999), rng.randint(1000, 250_000)))
    written = f"{amount:,}" if rng.random() < 0.7 else str(amount)
    if rng.random() < 0.3:
        written += f".{rng.choice(('50', '99', '90', '20', '75'))}"
    return rng.choice(("€{}", "${}", "£{}", "{} euros", "{} dollars", "EUR {}", "{} EUR", "CHF {}")).format(written)


def count(rng: Random) -> str:
    if rng.random() < 0.2:
        return rng.choice(NUMERALS)
    number = rng.choice((rng.randint(2, 30), rng.randint(2, 30), rng.randint(30, 999), rng.randint(1000, 90_000)))
    return f"{number:,}" if rng.random() < 0.7 else str(number)


def duration(rng: Random) -> str:
    unit = rng.choice(("minutes", "hours", "days", "days", "working days", "weeks", "months", "months", "years"))
    if rng.random() < 0.25:
        return f"{rng.choice(NUMERALS)} {unit}"
    low = rng.randint(2, 90)
    return f"{low} to {low + rng.randint(1, 30)} {unit}" if rng.random() < 0.1 else f"{low} {unit}"


def _number(rng: Random, high: int) -> str:
    return f"{rng.uniform(0.2, 30):.1f}" if rng.random() < 0.4 else f"{rng.randint(2, high):,}"


def _measure(high: int, *units: str) -> "Callable[[Random], str]":
    return lambda rng: f"{_number(rng, high)} {rng.choice(units)}"


KINDS: Mapping[str, Callable[[Random], str]] = {
    "count": count,
    "percent": lambda rng: f"{_number(rng, 99)}{rng.choice(('%', ' %', ' percent'))}",
    "money": money,
    "duration": duration,
    "time": time,
    "date": date,
    "weekday": lambda rng: rng.choice(DAYS),
    "month": lambda rng: rng.choice(MONTHS),
    "year": lambda rng: str(rng.randint(1850, 2040)),
    "person": person,
    "place": lambda rng: word(rng, rng.choice((2, 3))).capitalize() + rng.choice(("", "", "burg", " Bay", "ford")),
    "address": lambda rng: f"{rng.randint(1, 240)} {word(rng).capitalize()} {rng.choice(STREETS)}",
    "room": lambda rng: rng.choice(("room {}.{}", "Room {}{}", "room {}-{}")).format(
        rng.choice("ABCDE123"), rng.randint(1, 320)
    ),
    "email": lambda rng: f"{word(rng)}@{word(rng)}.{rng.choice(('com', 'org', 'example', 'net'))}",
    "phone": lambda rng: f"{rng.choice(('+44 ', '+49 ', '0', '1-'))}{rng.randint(20, 999)} {rng.randint(1000, 999999)}",
    "url": lambda rng: f"{rng.choice(('https://', '', 'www.'))}{word(rng)}.example/{word(rng)}",
    "code": code,
    "company": lambda rng: f"{word(rng).capitalize()} {rng.choice(ENDINGS)}",
    "product": name,
    "weight": _measure(900, "kg", "g", "tonnes", "pounds", "kilograms"),
    "length": _measure(900, "cm", "mm", "m", "km", "metres", "inches"),
    "area": _measure(900, "m²", "square metres", "hectares", "km²"),
    "volume": _measure(900, "litres", "ml", "l", "m³", "gallons"),
    "temperature": lambda rng: (
        f"{rng.choice(('', '', '-'))}{rng.randint(1, 240)} {rng.choice(('°C', 'degrees', '°F'))}"
    ),
    "power": _measure(900, "W", "kW", "watts", "kWh", "hp"),
    "speed": _measure(300, "km/h", "rpm", "Mbit/s", "m/s", "pages per minute", "knots"),
    "storage": _measure(900, "GB", "MB", "TB", "KB"),
    "version": lambda rng: f"{rng.choice(('', 'v', 'version '))}{rng.randint(0, 20)}.{rng.randint(0, 30)}",
    "rating": lambda rng: rng.choice(
        (
            f"{rng.randint(1, 5)} stars",
            f"{rng.uniform(1, 5):.1f} out of 5",
            f"IP{rng.randint(20, 69)}",
            f"class {rng.choice('ABCDE')}",
        )
    ),
    "ratio": lambda rng: f"{rng.randint(1, 20)}{rng.choice((':', ' to ', ' in '))}{rng.randint(2, 100)}",
    "colour": lambda rng: rng.choice(HUES) + rng.choice(COLOURS),
}
