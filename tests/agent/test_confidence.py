"""What counts in the confidence in an answer from a passage."""

import math
from dataclasses import replace

import pytest

from app.agent.confidence import Found
from app.agent.verdict import rival
from app.cores.profile import Sureness
from app.train.searches import hit_of
from index.types import Mark

TWELVE = hit_of("It takes 12 days.", Mark(9, 16, 0.9), 0.8)
ALSO = hit_of("Length: 12", Mark(8, 10, 0.7))
THIRTY = hit_of("It takes 30 days.", Mark(9, 16, 0.6))
UNREAD = replace(TWELVE, mark=None)
SURENESS = Sureness(core=0.5, score=1.0, rival=-0.5, bias=-1.0)


def test_a_rival_says_something_else_in_another_passage() -> None:
    assert rival([TWELVE, ALSO], 0) == rival([TWELVE, UNREAD], 0) == rival([TWELVE], 0) == 0.0
    assert rival([TWELVE, ALSO, THIRTY], 0) == rival([THIRTY, TWELVE], 1) == 0.6
    assert rival([TWELVE, ALSO, THIRTY], 2) == 0.9


def test_a_passage_that_nobody_read_is_judged_by_the_core_alone() -> None:
    assert Found(0.4, UNREAD, 0.9).confidence(SURENESS) == Found(0.4, UNREAD).confidence() == 0.4


def test_core_and_hit_are_weighed_where_the_profile_says_how() -> None:
    assert Found(0.5, TWELVE, 0.5).confidence() == pytest.approx(math.sqrt(0.5 * 0.8))
    assert Found(0.5, TWELVE, 0.5).confidence(SURENESS) == pytest.approx(1 / (1 + math.exp(1 - math.log(4))))
    least, most = (Found(sure, replace(TWELVE, score=sure), 1 - sure).confidence(SURENESS) for sure in (0.0, 1.0))
    assert 0 < least < 0.01 < 0.9 < most < 1
    assert Found(0.5, TWELVE, 0.6).confidence(SURENESS) < Found(0.5, TWELVE, 0.1).confidence(SURENESS)
