import threading
import time
from collections.abc import Sequence

import pytest

from index.together import Together


class Squares:
    """Slow enough that calls meet; says which went together."""

    def __init__(self, seconds: float = 0.01) -> None:
        self.runs: list[list[int]] = []
        self.beside = self.most_beside = 0
        self._seconds, self._lock = seconds, threading.Lock()

    def __call__(self, asked: Sequence[int]) -> list[int]:
        with self._lock:
            self.runs.append(list(asked))
            self.beside += 1
            self.most_beside = max(self.most_beside, self.beside)
        time.sleep(self._seconds)
        with self._lock:
            self.beside -= 1
        if -1 in asked:
            raise ValueError("no square of -1 here")
        return [n * n for n in asked]


def at_once(call: Together[int, int], numbers: Sequence[int]) -> dict[int, int | Exception]:
    found: dict[int, int | Exception] = {}

    def ask(n: int) -> None:
        try:
            found[n] = call(n)
        except ValueError as error:
            found[n] = error

    threads = [threading.Thread(target=ask, args=(n,)) for n in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return found


def test_a_lone_call_runs_alone_in_its_own_thread() -> None:
    threads = list[threading.Thread]()

    def run(asked: Sequence[int]) -> Sequence[int]:
        threads.append(threading.current_thread())
        return asked

    call = Together(run, 16)
    assert [call(1), call(2)] == [1, 2]
    assert threads == [threading.current_thread()] * 2


@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_those_that_meet_are_answered_together_and_each_its_own(lanes: int) -> None:
    squares = Squares()
    call = Together(squares, 8, lanes)
    for _ in range(5):
        assert at_once(call, range(40)) == {n: n * n for n in range(40)}
    assert sorted(n for run in squares.runs for n in run) == sorted([*range(40)] * 5)  # each once
    assert 1 < max(map(len, squares.runs)) <= 8
    assert squares.most_beside <= lanes
    assert at_once(call, [7]) == {7: 49} and squares.runs[-1] == [7]  # and all lanes are free again


def test_none_fails_for_another() -> None:
    squares = Squares()
    found = at_once(Together(squares, 16), [*range(10), -1])
    assert isinstance(found.pop(-1), ValueError)
    assert found == {n: n * n for n in range(10)}


def test_who_comes_meanwhile_goes_with_the_next_run() -> None:
    started, go_on, runs = threading.Event(), threading.Event(), list[list[int]]()

    def run(asked: Sequence[int]) -> Sequence[int]:
        runs.append(list(asked))
        started.set()
        assert go_on.wait(10)
        return asked

    call = Together(run, 16)
    threads = [threading.Thread(target=call, args=(0,))]
    threads[0].start()
    assert started.wait(10)
    for n in (1, 2, 3):
        threads.append(threading.Thread(target=call, args=(n,)))
        threads[-1].start()
        while len(call._waiting) < n:
            time.sleep(0.001)
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert runs == [[0], [1, 2, 3]]
