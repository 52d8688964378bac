from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.rank import fuse, reread
from index.types import Chunk, Mark

scores = st.dictionaries(st.integers(1, 30), st.floats(-1, 50, allow_subnormal=False), max_size=20)


@given(scores, scores, st.floats(0, 1))
def test_fused_scores_lie_between_0_and_1_best_first(
    dense: dict[int, float], lexical: dict[int, float], weight: float
) -> None:
    fused = fuse(dense, lexical, weight)
    assert set(fused) == set(dense) | set(lexical)
    assert list(fused.values()) == sorted(fused.values(), reverse=True)
    assert all(0 <= score <= 1 + 1e-9 for score in fused.values())


def test_what_both_find_wins_and_the_weight_decides_between() -> None:
    dense, lexical = {1: 0.9, 2: 0.8, 3: 0.1}, {2: 12.0, 4: 12.0, 5: 1.0}
    assert next(iter(fuse(dense, lexical))) == 2
    assert fuse(dense, lexical, 0.9)[1] > fuse(dense, lexical, 0.9)[4]
    assert fuse(dense, lexical, 0.1)[1] < fuse(dense, lexical, 0.1)[4]


def test_one_index_alone_uses_the_whole_scale() -> None:
    assert fuse({1: 0.9, 2: 0.3}, {}) == {1: 1.0, 2: 0.0}
    assert fuse({}, {7: 3.0}) == {7: 1.0}
    assert fuse({}, {}) == {}


class Fixed:
    def read(self, question: str, passages: Sequence[str], headings: Sequence[Sequence[str]]) -> list[Mark]:
        return [Mark(0, len(text), float(text)) for text in passages]


def passages(*texts: str) -> list[Chunk]:
    return [Chunk("", "", "", text, 0, len(text), None, ()) for text in texts]


def test_the_reader_outweighs_a_small_lead_and_not_a_large_one() -> None:
    (first, mark), (second, _) = reread(Fixed(), "q", passages("0.2", "0.9"), [1.0, 0.6])
    assert second > first and mark.probability == 0.2
    (first, _), (second, _) = reread(Fixed(), "q", passages("0.5", "0.9"), [1.0, 0.1])
    assert first > second


def test_the_best_ranked_passage_keeps_its_probability_as_score() -> None:
    [(score, _)] = reread(Fixed(), "q", passages("0.37"), [1.0])
    assert score == pytest.approx(0.37)


@pytest.mark.parametrize("probability", ["0.0", "1.0"])
def test_certainty_stays_inside_the_scale(probability: str) -> None:
    [(score, _)] = reread(Fixed(), "q", passages(probability), [0.5])
    assert 0 <= score <= 1
