"""What a reply leans on, and what stands under one that does not know."""

from dataclasses import replace

import pytest

from app.agent.citations import NEAR, near_miss
from index.types import Chunk, Hit, Mark


@pytest.mark.parametrize("score", [NEAR / 2, NEAR, 0.9])
def test_what_came_near_is_shown_where_nothing_answers(score: float) -> None:
    text = "The bridge opened in 1969. Anna Weber designed it."
    chunk = Chunk("c", "f", "bridge.md", text, 100, 100 + len(text), 3, ())
    mark = Mark(text.index("Anna"), text.index(" designed"), score)
    worse = Hit(replace(chunk, filename="other.md"), score / 2, mark)
    shown = near_miss([worse, Hit(chunk, score, mark)])
    assert shown == (
        "" if score < NEAR else "\n\nThe nearest that was found:\n\n> Anna Weber designed it.\n— bridge.md, p. 3"
    )
    assert near_miss([Hit(chunk, score)]) == near_miss([]) == ""
