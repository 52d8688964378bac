"""The sample knowledge base, and the questions about it: what they say is in the documents is there, and only once."""

import re
from collections import Counter

import pytest

from app.eval.metrics import quotes
from app.eval.questions import Kind, Question, load
from app.sample import documents
from index.parse import parse

LEAST: dict[Kind, int] = {"fact": 35, "table": 10, "arithmetic": 10, "talk": 10, "unanswerable": 15}
# What each unanswerable question asks for, as a pattern that would be found if a document answered it.
ABSENT = {
    "calibration technician": r"technician",
    "Tokyo": r"Tokyo",
    "date of birth": r"Varn (was|is) born|birthday of",
    "Drift 8": r"Drift 8",
    "bank": r"\bbank\b(?! transfer)",
    "US dollars": r"dollar|USD",
    "guest wireless": r"guest",
    "Brazil": r"Brazil",
    "luggage": r"luggage|baggage",
    "chess": r"chess",
    "E47": r"E47",
    "board members": r"notice[^.]*board|board[^.]*notice",
    "wall bracket": r"bracket[^\n]*warranty",
    "cleaning contractor": r"cleaning (contractor|company|firm)",
    "How tall": r"storeys|metres (high|tall)",
    "revenue": r"revenue|turnover",
    "programming language": r"programming language|written in (C|Rust)",
    "divorce": r"divorce",
    "fax": r"\bfax\b",
    "logo": r"\blogo\b",
    "August 2024": r"August 2024",
    "Saturdays": r"canteen[^.]*Saturday",
    "Enterprise plan": r"Enterprise",
    "melt": r"melt",
}


@pytest.fixture(scope="module")
def asked() -> list[Question]:
    return load("sample")


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    return {path.name: parse(path.name, path.read_bytes()).text for path in documents()}


def test_ten_documents_in_four_formats() -> None:
    assert len(documents()) == 10
    assert {path.suffix for path in documents()} == {".md", ".html", ".pdf", ".docx"}


def test_pdfs_have_several_pages() -> None:
    pages = [parse(path.name, path.read_bytes()).pages for path in documents() if path.suffix == ".pdf"]
    assert pages == [4, 3]


def test_enough_questions_of_every_kind(asked: list[Question]) -> None:
    counts = Counter(question.kind for question in asked)
    assert all(counts[kind] >= least for kind, least in LEAST.items()), counts
    assert len({question.question for question in asked}) == len(asked)


def test_only_documented_and_unanswerable_questions_need_a_search(asked: list[Question]) -> None:
    assert all(q.search == (q.kind in ("fact", "table", "unanswerable")) for q in asked)
    assert all((q.evidence is not None) == q.documented for q in asked)


def test_evidence_stands_in_its_document_and_in_no_other(asked: list[Question], texts: dict[str, str]) -> None:
    for question in asked:
        if question.evidence is not None:
            holding = [name for name, text in texts.items() if quotes(text, question.evidence)]
            assert holding == [question.file], question.id


def test_answers_are_literal_words_of_their_document(asked: list[Question], texts: dict[str, str]) -> None:
    for question in asked:
        if question.file is not None:
            assert all(answer in texts[question.file] for answer in question.answers), question.id


def test_evidence_holds_an_answer(asked: list[Question]) -> None:
    for question in asked:
        if question.evidence is not None:
            assert any(answer in question.evidence for answer in question.answers), question.id


def test_every_document_is_asked_about(asked: list[Question], texts: dict[str, str]) -> None:
    assert {question.file for question in asked if question.file} == set(texts)


def test_what_the_unanswerable_questions_ask_is_in_no_document(asked: list[Question], texts: dict[str, str]) -> None:
    everything = "\n".join(texts.values())
    for question in asked:
        if question.kind == "unanswerable":
            patterns = [pattern for words, pattern in ABSENT.items() if words in question.question]
            assert patterns, question.question
            assert not [p for p in patterns if re.search(p, everything, re.IGNORECASE)], question.question
