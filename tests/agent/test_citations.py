"""What a reply leans on, and what stands under one that does not know."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from app.agent.citations import NEAR, Support, near_miss, verify
from index import ingest
from index.memory import Memory
from index.parse import Limits, Parsed, parse
from index.types import Chunk, Chunking, Hit, Mark
from tests.fakes import HashedWords
from tests.index.conftest import put


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


def test_a_quote_is_looked_up_in_the_text_that_its_passage_was_cut_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def newer(name: str, data: bytes, limits: Limits) -> Parsed:
        return parse(name, b"Read by OCR now.\n\n" + data, limits)

    with closing(Memory(tmp_path, HashedWords())) as memory:
        file_id = put(memory, "a.md", "The notice period is six weeks.")
        other = memory.create_store("other").id
        monkeypatch.setattr(ingest, "parse", newer)
        memory.attach(other, file_id, chunking=Chunking(100, 0))
        assert memory.wait(other, file_id, 60).status == "completed"
        for store in ("default", other):
            (hit,) = memory.search(store, "notice")
            assert verify(memory, Support(hit, hit.chunk.start, hit.chunk.end, 0, 1)), store
