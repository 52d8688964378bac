from pathlib import Path

import pytest
import tantivy

from index.lexical import WAITING, Lexical

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


def test_texts_wait_for_a_search_or_for_many_others(monkeypatch: pytest.MonkeyPatch) -> None:
    commits = list[tantivy.IndexWriter]()
    commit = Lexical._commit

    def counted(self: Lexical, writer: tantivy.IndexWriter) -> None:
        commits.append(writer)
        commit(self, writer)

    monkeypatch.setattr(Lexical, "_commit", counted)
    made = Lexical()
    for n in range(WAITING + 10):
        made.add([(n, n, "A refund.")])
    assert len(commits) == 1
    assert len(made.search("refund", 2 * WAITING)) == WAITING + 10
    assert made.search("refund", 1)
    assert len(commits) == 2


def test_what_is_removed_while_it_waits_is_not_found() -> None:
    made = Lexical()
    made.add([(1, 10, "A refund."), (2, 20, "A refund.")])
    made.remove(1)
    assert set(made.search("refund", 10)) == {20}


def test_a_failed_commit_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Lexical()
    made.add([(1, 10, "A refund.")])
    with monkeypatch.context() as patch:
        patch.setattr(Lexical, "_commit", fail)
        with pytest.raises(OSError, match="no room"):
            made.search("refund", 10)
    assert set(made.search("refund", 10)) == {10}


def test_in_a_folder_nothing_waits(tmp_path: Path) -> None:
    Lexical(tmp_path).add([(1, 10, "A refund.")])
    assert set(Lexical(tmp_path).search("refund", 10)) == {10}


def fail(*_: object) -> None:
    raise OSError("no room")
