"""How a spreadsheet shows the numbers that it stores: dates, shares, decimals, currency (ECMA-376, 18.8.30).

Dates read as ISO 8601 whatever their format, so that they can be compared; fractions, scaling and conditions of formats
are not followed: there the number stands as it is stored.
"""

import re
from collections.abc import Callable
from datetime import datetime, timedelta

_EPOCH, _EPOCH_1904 = datetime(1899, 12, 30), datetime(1904, 1, 1)
_DIGITS = 15  # a spreadsheet shows no more, and hides that 0.1 + 0.2 is not 0.3
# Formats without a code of their own, by number.
BUILT_IN = {"1": "0", "2": "0.00", "3": "#,##0", "4": "#,##0.00", "9": "0%", "10": "0.00%", "14": "y-m-d",
            "15": "y-m-d", "16": "y-m-d", "17": "y-m-d", "18": "h:m", "19": "h:m", "20": "h:m", "21": "h:m",
            "22": "y-m-d h:m", "45": "h:m", "46": "[h]:m", "47": "h:m"}  # fmt: skip
# Texts, currencies, what only aligns or colours, and the first run of digits.
_PIECE = re.compile(
    r'"(?P<text>[^"]*)"|\[\$(?P<money>[^\]-]*)[^\]]*\]|\\(?P<one>.)|_.|\*.|\[[^\]]*\]'
    r"|(?P<sign>[$€£¥ ])|(?P<digits>[#0?][#0?,.]*)"
)
_DECIMALS = re.compile(r"[#0?,]*[#0?](?:\.([#0?]+))?")


def shown_as(code: str, from_1904: bool = False) -> Callable[[str], str]:
    """For a format's code: of its parts the first, for what is above zero."""
    code = code.split(";")[0]
    bare = _PIECE.sub("", code).lower()
    if re.search("[dy]|mmm", bare):
        return lambda value: _date(value, from_1904, timed="h" in bare)
    if re.search("[hms]", bare) or re.search(r"\[[hms]+\]", code.lower()):
        return _time
    return lambda value: _number(value, code, bare)


def _date(value: str, from_1904: bool, timed: bool) -> str:
    try:
        moment = (_EPOCH_1904 if from_1904 else _EPOCH) + timedelta(days=float(value), milliseconds=500)
    except (ValueError, OverflowError):
        return value
    return f"{moment:%Y-%m-%d}" + (f" {moment:%H:%M}" if timed else "")


def _time(value: str) -> str:
    """A time of day, or a number of hours."""
    try:
        minutes = round(float(value) * 1440)
    except (ValueError, OverflowError):
        return value
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _number(value: str, code: str, bare: str) -> str:
    try:
        number = float(value) * (100 if "%" in bare else 1)
    except ValueError:
        return value
    pieces = list(_PIECE.finditer(code))
    digits = [piece for piece in pieces if piece["digits"]]
    decimals = _DECIMALS.fullmatch(digits[0]["digits"]) if len(digits) == 1 else None
    if decimals is None or "e" in bare:
        return f"{number:.{_DIGITS}g}" + "%" * ("%" in bare)
    wanted = decimals[1] or ""
    text = f"{number:.{len(wanted)}f}"
    if wanted.strip("0"):
        text = text.rstrip("0").rstrip(".")
    before = "".join(_words(piece) for piece in pieces if piece.end() <= digits[0].start())
    after = "".join(_words(piece) for piece in pieces if piece.start() >= digits[0].end())
    return f"{before}{text}{'%' * ('%' in bare)}{after}".strip()


def _words(piece: re.Match[str]) -> str:
    return next((text for text in piece.groups() if text), "")
