"""Who is next: clients take turns, continuing turns pass, and nobody is passed for ever."""

from hypothesis import given, settings
from hypothesis import strategies as st

from app.engine.admission import AHEAD, Waiting
from app.engine.request import Request
from tests.engine.client import request

KEYS = "abc"


def continues(one: Request) -> bool:
    return one.ids[0] == 1


def order(waiting: Waiting[Request]) -> list[Request]:
    return [waiting.pop(continues) for _ in range(len(waiting))]


def test_clients_take_turns() -> None:
    waiting = Waiting[Request](10)
    many, few = [request([0], "many") for _ in range(4)], [request([0], "few") for _ in range(2)]
    for one in (*many, *few):
        waiting.add(one)
    assert order(waiting) == [many[0], few[0], many[1], few[1], many[2], many[3]]


def test_continuing_turns_pass_but_not_for_ever() -> None:
    waiting = Waiting[Request](10)
    new, going_on = [request([0]) for _ in range(2)], [request([1]) for _ in range(7)]
    for one in (*new, *going_on):
        waiting.add(one)
    assert order(waiting) == [*going_on[:3], new[0], *going_on[3:6], new[1], going_on[6]]


def test_when_too_many_wait_the_last_of_the_client_with_the_most_goes() -> None:
    waiting = Waiting[Request](3)
    many, few = [request([0], "many") for _ in range(4)], [request([0], "few") for _ in range(3)]
    assert [waiting.add(one) for one in many] == [None, None, None, many[3]]
    assert [waiting.add(one) for one in few] == [many[2], few[1], few[2]]
    assert order(waiting) == [many[0], few[0], many[1]]


def test_what_was_begun_has_always_room() -> None:
    waiting = Waiting[Request](1)
    begun = [request([0], "a", begun=True) for _ in range(3)]
    new, other = request([0], "a"), request([0], "b")
    assert [waiting.add(one) for one in (*begun[:2], new, other, begun[2])] == [None, None, new, other, None]
    assert order(waiting) == begun


def test_one_that_leaves_was_waiting_once() -> None:
    waiting = Waiting[Request](10)
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
    waiting, pops = Waiting[Request](120), 0
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
            before = sum(other.whose.client == key for other in here)
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
