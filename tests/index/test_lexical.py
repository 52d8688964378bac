import pytest

from index.lexical import Lexical

TEXTS = [
    (1, 10, "The cancelled subscription is refunded within fourteen days."),
    (1, 11, "Refunds take fourteen days."),
    (2, 20, "Das Café liegt über dem Fluss."),
    (3, 30, "Ducks swim on the river all day."),
]


@pytest.fixture
def lexical() -> Lexical:
    made = Lexical()
    made.add(TEXTS)
    return made


def test_words_match_by_stem_and_without_accents(lexical: Lexical) -> None:
    assert set(lexical.search("refund", 10)) == {10, 11}
    assert set(lexical.search("CANCELLING subscriptions", 10)) == {10}
    assert set(lexical.search("cafe uber", 10)) == {20}


def test_the_best_comes_first(lexical: Lexical) -> None:
    scores = lexical.search("cancelled subscription refunds", 10)
    assert list(scores) == [10, 11] and scores[10] > scores[11] > 0


def test_only_allowed_documents_are_found_with_the_same_scores(lexical: Lexical) -> None:
    everywhere = lexical.search("refund days", 10)
    within = lexical.search("refund days", 10, [3, 2])
    assert within == {30: pytest.approx(everywhere[30])}
    assert lexical.search("refund days", 10, []) == {}


def test_a_removed_document_is_not_found_and_others_are(lexical: Lexical) -> None:
    lexical.remove(1)
    assert lexical.search("refund subscription", 10) == {}
    assert set(lexical.search("river", 10)) == {30}
    lexical.add([(4, 40, "A refund again.")])
    assert set(lexical.search("refund", 10)) == {40}


@pytest.mark.parametrize("query", ["", "?!", 'a AND (b" OR title:', "text:*", "\\ [ ] { }", "x" * 5000])
def test_no_query_is_a_syntax_error(lexical: Lexical, query: str) -> None:
    assert isinstance(lexical.search(query, 10), dict)


def test_k_bounds_the_answer(lexical: Lexical) -> None:
    assert len(lexical.search("days day the", 2)) == 2
