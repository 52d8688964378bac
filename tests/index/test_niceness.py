"""Threads that give way do so alone: the process and its other threads stay as they are."""

import os
import sys

import pytest

from index.niceness import READING, TAKING_IN, pool

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="niceness is a thread's on Linux only")


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, 0)  # of the thread that asks


@pytest.mark.parametrize("more", [READING, TAKING_IN])
def test_a_pools_threads_give_way(more: int) -> None:
    before = niceness()
    with pool(2, "some", more) as threads:
        assert {threads.submit(niceness).result() for _ in range(8)} == {min(before + more, 19)}
    assert niceness() == before
