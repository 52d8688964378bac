"""Whose threads give way where there are more than cores: what is read to the engine, what is taken in to both.

The engine's one thread is what many clients wait for; beside two readers on two cores it would get two thirds of one.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

READING, TAKING_IN = 5, 10  # added to the process's own niceness


def pool(threads: int, name: str, niceness: int) -> ThreadPoolExecutor:
    """Threads that are as nice as that on Linux; elsewhere niceness is a process's, and they are as all others."""
    return ThreadPoolExecutor(threads, name, partial(os.nice, niceness) if sys.platform == "linux" else None)
