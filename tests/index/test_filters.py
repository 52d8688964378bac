import pytest

from index.errors import InvalidRequest
from index.filters import compile_filter
from index.types import Scalar

DOCUMENT: dict[str, Scalar] = {"lang": "en", "year": 2024, "price": 9.5, "draft": False, "date": "2024-06-01"}


def one(kind: str, key: str, value: object) -> dict[str, object]:
    return {"type": kind, "key": key, "value": value}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (one("eq", "lang", "en"), True),
        (one("eq", "lang", "EN"), False),
        (one("ne", "lang", "de"), True),
        (one("gt", "year", 2023.5), True),
        (one("gt", "year", 2024), False),
        (one("gte", "year", 2024), True),
        (one("lt", "price", 10), True),
        (one("lte", "price", 9.4), False),
        (one("gt", "date", "2024-05-31"), True),
        (one("in", "lang", ["de", "en"]), True),
        (one("in", "lang", []), False),
        (one("nin", "lang", ["de", "en"]), False),
        (one("nin", "lang", []), True),
        (one("eq", "draft", False), True),
        (one("eq", "draft", 0), False),  # false is not zero
        (one("in", "year", ["2024"]), False),  # text is not a number
        (one("gt", "lang", 5), False),
        (one("eq", "missing", "x"), False),
        (one("ne", "missing", "x"), True),
        (one("nin", "missing", ["x"]), True),
        (one("lt", "missing", 5), False),
        ({"type": "and", "filters": [one("eq", "lang", "en"), one("lt", "year", 2000)]}, False),
        ({"type": "or", "filters": [one("eq", "lang", "de"), one("gt", "year", 2000)]}, True),
        (
            {
                "type": "and",
                "filters": [
                    one("eq", "lang", "en"),
                    {"type": "or", "filters": [one("eq", "draft", True), one("gte", "price", 9)]},
                ],
            },
            True,
        ),
    ],
)
def test_a_filter_says_yes_or_no(given: dict[str, object], wanted: bool) -> None:
    assert compile_filter(given)(DOCUMENT) is wanted


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ("lang = en", "filters"),
        ({"type": "like", "key": "a", "value": "b"}, "filters.type"),
        ({"key": "a", "value": "b"}, "filters.type"),
        (one("eq", "", "b"), "filters.key"),
        ({"type": "eq", "key": "a"}, "filters.value"),
        (one("eq", "a", ["b"]), "filters.value"),
        (one("in", "a", "b"), "filters.value"),
        (one("gt", "a", True), "filters.value"),
        ({**one("eq", "a", "b"), "extra": 1}, "filters.extra"),
        ({"type": "and", "filters": []}, "filters.filters"),
        ({"type": "or", "filters": [one("eq", "a", "b"), one("gt", "a", None)]}, "filters.filters[1].value"),
    ],
)
def test_a_bad_filter_is_refused_by_the_part_that_is_bad(given: object, field: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        compile_filter(given)
    assert refusal.value.field == field


def test_nesting_has_an_end() -> None:
    given = one("eq", "a", "b")
    for _ in range(30):
        given = {"type": "and", "filters": [given]}
    with pytest.raises(InvalidRequest, match="nested deeper"):
        compile_filter(given)
