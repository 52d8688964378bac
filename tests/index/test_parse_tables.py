"""CSV, JSON and source code: what is read, and what the owner of a bad file is told."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.chunk import split
from index.errors import InvalidFile
from index.parse import Limits, parse
from index.parse.formats import read
from index.reader import ROW
from tests.index.refusals import is_explained, is_read_or_refused

ROWS = "Plan: Free; Seats: 3; Price per month: 0 EUR.\nPlan: Pro; Seats: 25; Price per month: 49 EUR."


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_with_any_delimiter(delimiter: str) -> None:
    source = 'Plan,Seats,"Price per\nmonth"\r\nFree,3,0 EUR\r\n"Pro",25,49 EUR\r\n'.replace(",", delimiter)
    parsed = parse("a.csv", source.encode())
    assert parsed.text == ROWS
    assert [block.kind for block in parsed.blocks] == ["table"]


def test_each_row_is_a_passage_that_the_reader_takes_for_one() -> None:
    passages = split(parse("a.tsv", b"Plan\tSeats\nFree\t3\nPro\t25\n"), len, 256)
    assert [passage.text for passage in passages] == ["Plan: Free; Seats: 3.", "Plan: Pro; Seats: 25."]
    assert all(ROW.fullmatch(passage.text) for passage in passages)


def test_decimals_with_a_comma_part_no_columns() -> None:
    assert parse("a.csv", b"Plan;Price;Tax\nFree;0,5;0,1\nPro;49,0;9,3\n").text == (
        "Plan: Free; Price: 0,5; Tax: 0,1.\nPlan: Pro; Price: 49,0; Tax: 9,3."
    )


def test_a_table_in_an_old_code_page() -> None:
    assert parse("a.csv", "Größe,Ort\n3,Köln\n".encode("cp1252")).text == "Größe: 3; Ort: Köln."


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (b"Ann,0.5,Paris\nBob,0.7,Rome\n", "Ann; 0.5; Paris.\nBob; 0.7; Rome."),
        (b"Name,2025,2026\nAnn,5,6\n", "Name: Ann; 2025: 5; 2026: 6."),
        (
            b"Staff\n\nName,Since\nAnn,1999\n,,\nBob,2001\n",
            "Staff\n\nName: Ann; Since: 1999.\n\nName: Bob; Since: 2001.",
        ),
        (b"A,B\n1,2\n\nMore\nC,D\n3,4\n", "A: 1; B: 2.\n\nMore\n\nC: 3; D: 4."),
        (b"A,B\n1,2\nA,B\n3,4\n", "A: 1; B: 2.\nA: 3; B: 4."),
        (b"Name\nAnn\nBob\n", "Name\nAnn\nBob"),
        (b"Plan,Seats\n", "Plan; Seats."),
        (b"A,B\n1,2,3\n", "A: 1; B: 2; 3."),
    ],
    ids=[
        "no headers",
        "years",
        "title and gap",
        "two tables",
        "headers again",
        "one column",
        "headers only",
        "long row",
    ],
)
def test_which_row_holds_the_headers(source: bytes, text: str) -> None:
    assert parse("a.csv", source).text == text


def test_flat_records_are_a_table() -> None:
    source = b"""[{"Plan": "Free", "Seats": 3, "Price per month": "0 EUR", "gone": null},
                  {"Plan": "Pro", "Seats": 25, "Price per month": "49 EUR"}]"""
    assert parse("a.json", source).text == ROWS
    lines = b'{"Plan": "Free", "Seats": 3, "Price per month": "0 EUR"}\n\n' + (
        b'{"Plan": "Pro", "Seats": 25, "Price per month": "49 EUR"}\n'
    )
    for name in ("a.jsonl", "a.ndjson", "a.json"):
        parsed = parse(name, lines)
        assert parsed.text == ROWS
        assert [block.kind for block in parsed.blocks] == ["table"]


@pytest.mark.parametrize("break_", ["\u2028", "\u2029", "\x85"])
def test_only_newlines_end_records_and_rows(break_: str) -> None:
    told = f'{{"Said": "one{break_}two", "By": "Ann"}}'
    for name, source in (
        ("a.json", f"[{told}]"),
        ("a.jsonl", told),
        ("a.csv", f"Said,By\none{break_}two,Ann\n"),
        ("a.tsv", f"Said\tBy\none{break_}two\tAnn\n"),
    ):
        assert parse(name, source.encode()).text == "Said: one two; By: Ann."
    assert parse("a.txt", f"one{break_}two".encode()).text == "one\ntwo"


def test_records_within_records_are_told_by_their_keys() -> None:
    source = (
        b'[{"id": 1.50, "place": {"city": "Strelsau", "open": true}, "tags": ["a", "b"], "who": [{"name": "Ann"}]}]'
    )
    assert parse("a.json", source).text == (
        "id: 1.50; place city: Strelsau; place open: true; tags: a, b; who 1 name: Ann."
    )


def test_an_object_is_an_outline() -> None:
    source = b'{"name": "x", "server": {"port": 8000, "hosts": ["a", "b"]}, "plans": [{"Plan": "Pro", "Seats": 25}]}'
    parsed = parse("a.json", source)
    assert parsed.text.replace("\n\n", "|") == (
        "name: x.|server|port: 8000.|hosts|- a\n- b|plans|Plan: Pro; Seats: 25."
    )
    assert [block.level for block in parsed.blocks if block.kind == "heading"] == [1, 2, 1]


def test_records_with_long_text_are_sections() -> None:
    source = b'{"title": "One", "year": 1999, "body": "First.\\n\\nSecond."}\n{"title": "Two", "body": "Short"}\n'
    parsed = parse("a.jsonl", source)
    assert parsed.text.replace("\n\n", "|") == "One|year: 1999.|body: First.|Second.|Two|body: Short."
    assert [block.kind for block in parsed.blocks if block.level] == ["heading", "heading"]


CLASS = b"class Store:\n" + b"".join(
    b"    def m%d(self) -> int:\n        x = %d\n\n        return x\n\n" % (n, n) for n in range(40)
)


def test_code_is_kept_and_cut_where_definitions_begin() -> None:
    source = b"import os\n\n\ndef f(x):\n\n    if x:\n        return 1\n\n\nvoid g() {\n\n}\n\nelse_ = 1\n"
    parsed = parse("a.py", source)
    assert [parsed.text[block.start : block.end] for block in parsed.blocks] == [
        "import os",
        "def f(x):\n\n    if x:\n        return 1",
        "void g() {\n\n}",
        "else_ = 1",
    ]
    assert {block.kind for block in parsed.blocks} == {"code"}


def test_long_definitions_are_cut_at_blank_lines() -> None:
    parsed = parse("a.py", CLASS)
    assert len(parsed.blocks) == 80
    assert parsed.text.startswith(
        "class Store:\n    def m0(self) -> int:\n        x = 0\n\n        return x\n\n    def m1"
    )


BAD = {
    "open quote": ("a.csv", b'A,B\n"1,2\n' + b"3,4\n" * 40_000, "is a quote left open"),
    "a million columns": ("a.csv", b"a," * 1_000_000 + b"\n", "1,000,000 columns and the limit is 1,000"),
    "a million columns below": ("a.csv", b"A,B\n" + b"1," * 1_000_000, "1,000,000 columns and the limit is 1,000"),
    "endless headers": ("a.csv", b"h" * 90 + b",b\n" + b"1,\n" * 200_000, "more than 10,000,000 characters"),
    "commas": ("a.csv", b",,,\n,,,\n", "no text"),
    "binary csv": ("a.csv", b"a,b\0", "binary"),
    "deep": ("a.json", b"[" * 100_000, "nested too deeply"),
    "half json": ("a.json", b'{"a": [1,', "Line 1 is not valid JSON.*cut off"),
    "half line": ("a.jsonl", b'{"a": 1}\n{"a"', "Line 2 is not valid JSON"),
    "text as json": ("a.json", b"hello", "not valid JSON"),
    "empty list": ("a.json", b"[]", "no text"),
    "binary code": ("a.ts", b"G@\0\0" * 50, "binary"),
    "blank code": ("a.py", b"\n \n", "no text"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_explained(case: str) -> None:
    name, data, words = BAD[case]
    is_explained(name, data, InvalidFile, words)


def test_a_number_of_a_million_digits_stays_one() -> None:
    assert parse("a.json", b'{"a": 1%s}' % (b"0" * 10_000)).text == f"a: 1{'0' * 10_000}."


SOURCE = st.text(alphabet=st.sampled_from('ab1 \n\t,;|"\\{}[]:.-\r'), max_size=120)


@settings(max_examples=150, deadline=None)
@given(suffix=st.sampled_from([".csv", ".tsv", ".json", ".jsonl", ".py"]), source=SOURCE | st.text(max_size=60))
def test_any_text_is_read_or_refused(suffix: str, source: str) -> None:
    is_read_or_refused(suffix, source)


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(value=VALUES)
def test_any_json_is_read_or_empty(value: object) -> None:
    with_text = read(".json", json.dumps({"kept": "word", "value": value}).encode(), Limits())
    assert with_text.text.startswith("kept: word.")
