"""Who is next: clients take turns, continuing turns pass, and nobody is passed for ever."""

from hypothesis import given, settings
from hypothesis import strategies as st

from app.engine.admission import AHEAD, Waiting
from app.engine.request import Request
from tests.engine.client import request

KEYS = "abc"


def continues(one: Request) -> bool:
    return one.ids[0] == 1


def order(waiting: Waiting) -> list[Request]:
    return [waiting.pop(continues) for _ in range(len(waiting))]


def test_clients_take_turns() -> None:
    waiting = Waiting()
    many, few = [request([0], "many") for _ in range(4)], [request([0], "few") for _ in range(2)]
    for one in (*many, *few):
        waiting.add(one)
    assert order(waiting) == [many[0], few[0], many[1], few[1], many[2], many[3]]


def test_continuing_turns_pass_but_not_for_ever() -> None:
    waiting = Waiting()
    new, going_on = [request([0]) for _ in range(2)], [request([1]) for _ in range(7)]
    for one in (*new, *going_on):
        waiting.add(one)
    assert order(waiting) == [*going_on[:3], new[0], *going_on[3:6], new[1], going_on[6]]


def test_one_that_leaves_was_waiting_once() -> None:
    waiting = Waiting()
    stays, leaves = request([0]), request([0], "b")
    waiting.add(stays)
    waiting.add(leaves)
    assert [waiting.remove(leaves), waiting.remove(leaves), len(waiting)] == [True, False, 1]
    assert order(waiting) == [stays]


moves = st.lists(
    st.tuples(st.sampled_from(KEYS), st.integers(0, 1), st.sampled_from(["add", "add", "pop", "leave"])), max_size=120
)


@settings(deadline=None, max_examples=100)
@given(moves)
def test_nobody_waits_for_ever_whatever_comes_in(sequence: list[tuple[str, int, str]]) -> None:
    waiting, pops = Waiting(), 0
    here: list[Request] = []
    latest: dict[Request, int] = {}  # the last pop that may give it

    def pop() -> None:
        nonlocal pops
        pops += 1
        chosen = waiting.pop(continues)
        here.remove(chosen)
        assert pops <= latest[chosen]

    for key, kind, move in sequence:
        if move == "add":
            one = request([kind], key)
            before = sum(other.key == key for other in here)
            latest[one] = pops + (before + 1) * len(KEYS) * (AHEAD + 1)
            waiting.add(one)
            here.append(one)
        elif here and move == "pop":
            pop()
        elif here:
            assert waiting.remove(here.pop(kind % len(here)))
        assert len(waiting) == len(here)
        assert set(waiting) == set(here)
    while here:
        pop()
