"""How far something is, on the terminal or in a log."""

import sys
import time

from index.memory import DEFAULT_STORE, Memory


def watch(memory: Memory, store: str = DEFAULT_STORE) -> None:
    """Show how the documents of a store become searchable, until all have."""
    progress, begun = Progress("Reading documents"), False
    while (counts := memory.store(store).counts)["in_progress"] or begun:
        begun, total = counts["in_progress"] > 0, sum(counts.values())
        progress.show(total - counts["in_progress"], total)
        time.sleep(0.2)


class Progress:
    """How far a piece of work is: one line that is rewritten, or now and then a new one in a log."""

    def __init__(self, what: str) -> None:
        self.what, self.out, self.told = what, sys.stderr, 0.0

    def show(self, done: int, total: int, now_at: str = "") -> None:
        now = time.monotonic()
        if self.out.isatty():
            filled = 30 * done // max(total, 1)
            self.out.write(f"\r{self.what} [{'#' * filled}{'.' * (30 - filled)}] {done}/{total} {now_at:<50.50}")
            if done == total:
                self.out.write("\n")
        elif done == total or now - self.told > 2:
            self.out.write(f"{self.what}: {done} of {total}{now_at and f', {now_at}'}\n")
            self.told = now
        self.out.flush()
