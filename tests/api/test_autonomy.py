"""What autonomy marks, over the fold of events; and how the record of it stays bounded."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import reviews as record
from app.agent.events import Calculated, Event, Text
from app.api.autonomy import Autonomy
from app.api.encode import chunks, whole
from app.reviews import Review, Reviews
from index.catalog.paging import Cut
from index.errors import FolderFault
from index.types import OWNER
from tests.api.test_encode import CALLED, DONE, HEAD, SEARCHED, replay

CALCULATED: Sequence[Event] = (Calculated("3 + 4", "7"), Text("7"), replace(DONE, answer="7", confidence=1.0))
ABSTAINED: Sequence[Event] = (*SEARCHED[:5], replace(DONE, answer=None, abstained=True))


@pytest.fixture
def reviews(tmp_path: Path) -> Iterator[Reviews]:
    made = Reviews(tmp_path / "reviews.sqlite")
    yield made
    made.close()


async def told(events: Sequence[Event], level: float, reviews: Reviews) -> dict[str, Any]:
    """The extension, which is the same streamed, but for the id of its review."""
    mark = Autonomy(level, "How long?", reviews, OWNER).mark
    body: dict[str, Any] = (await whole(replay(events), HEAD, mark))["cogcore"]
    made = [chunk async for chunk in chunks(replay(events), HEAD, mark, include_usage=False) if chunk]
    streamed = made[-1]["cogcore"]
    assert {**streamed, "review": None} == {**body, "review": None}
    return body


@pytest.mark.parametrize(
    ("events", "level", "status"),
    [
        (SEARCHED, 1.0, "answered"),  # its confidence is 0.8
        (SEARCHED, 0.21, "answered"),
        (SEARCHED, 0.19, "needs_review"),
        (SEARCHED, 0.0, "needs_review"),
        (CALCULATED, 0.01, "answered"),
        (CALCULATED, 0.0, "needs_review"),
        (ABSTAINED, 1.0, "abstained"),
        (ABSTAINED, 0.0, "abstained"),
        ((Text("Hello!"), DONE), 0.0, "answered"),
        (CALLED, 0.0, "answered"),
        ((*SEARCHED[:5], *CALLED[1:]), 0.0, "answered"),
    ],
)
async def test_what_is_marked(events: Sequence[Event], level: float, status: str, reviews: Reviews) -> None:
    body = await told(events, level, reviews)
    assert body["status"] == status
    listed = reviews.page(Cut(), OWNER).data
    assert len(listed) == (2 if status == "needs_review" else 0)
    assert body["review"] == (listed[1].id if listed else None)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_less_autonomy_never_marks_fewer(confidence: float, one: float, two: float) -> None:
    def seen(level: float) -> bool:
        return Autonomy(level, "", Reviews(Path("never opened")), OWNER).must_be_seen(confidence)

    assert seen(min(one, two)) >= seen(max(one, two))
    assert seen(0) and not seen(1)


def one(question: str) -> Review:
    return Review("cogcore", question, "A reply", None, 0.5)


def questions(reviews: Reviews) -> list[str]:
    return [review.question for review in reviews.page(Cut(order="asc"), OWNER).data]


def test_the_oldest_decided_ones_go_first(
    reviews: Reviews, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(record, "KEPT", 4)
    reviews.add(Review("cogcore", "others'", "A reply", None, 0.5, owner="acme"))
    made = [one(name) for name in "abcd"]
    for review in made:
        reviews.add(review)
    for review in (made[2], made[1]):
        reviews.decide(review.id, OWNER, "approved", None)
    reviews.add(one("e"))
    assert questions(reviews) == ["a", "c", "d", "e"]
    reviews.add(one("f"))
    assert questions(reviews) == ["a", "d", "e", "f"]
    assert "undecided" not in caplog.text
    # Nobody decides: the list stays bounded all the same, and the log says so.
    reviews.add(one("g"))
    assert questions(reviews) == ["d", "e", "f", "g"]
    assert "the oldest was dropped undecided" in caplog.text
    assert [review.question for review in reviews.page(Cut(), "acme").data] == ["others'"]


def test_a_record_from_before_there_were_owners_is_the_default_owners(tmp_path: Path) -> None:
    path = tmp_path / "reviews.sqlite"
    with closing(Reviews(path)) as first:
        first.add(one("old"))
    with closing(sqlite3.connect(path)) as database:
        database.execute("ALTER TABLE reviews DROP COLUMN owner")
    with closing(Reviews(path)) as reviews:
        assert questions(reviews) == ["old"]
        reviews.add(one("new"))
        assert questions(reviews) == ["old", "new"] and not reviews.page(Cut(), "acme").data


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "reviews.sqlite"
    path.write_bytes(b"no database at all" * 100)
    reviews = Reviews(path)
    with pytest.raises(FolderFault, match=r"reviews\.sqlite cannot be used"):
        reviews.page(Cut(), OWNER)
    reviews.close()
