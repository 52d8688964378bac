from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.rows import Ids, Rows
from index.types import Vectors

NUMBERS = st.lists(st.integers(0, 60), unique=True).map(sorted)


def told(_: str, places: Ids) -> Vectors:
    """A unit vector that names its place; none where there is no place."""
    return np.eye(128, dtype=np.float32)[places] * (places >= 0)[:, None]


@given(NUMBERS, NUMBERS, st.lists(st.integers(0, 70), min_size=1))
def test_what_is_there_is_found_and_nothing_else(
    known: Sequence[int], removed: Sequence[int], asked: list[int]
) -> None:
    rows = Rows("a", told)
    rows.add(np.array(known, np.int64), np.array(known, np.int64) + 50)
    rows.remove(removed)
    vectors, whole = rows.read(np.array(asked))
    assert whole.tolist() == [n in known and n not in removed for n in asked]
    assert vectors.argmax(1)[whole].tolist() == [n + 50 for n, there in zip(asked, whole, strict=True) if there]


@pytest.mark.parametrize("numbers", [[], [5, 6, 7], [5, 7, 9]])
def test_the_numbers_are_told_in_a_copy(numbers: list[int]) -> None:
    rows = Rows("a", told)
    rows.add(np.array(numbers, np.int64), np.array(numbers, np.int64))
    rows.chunks[:] = 0
    assert rows.chunks.tolist() == numbers
