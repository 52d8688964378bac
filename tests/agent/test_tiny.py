"""Whole turns with the embedded core, the real embedder and the real reader: what a fresh machine answers."""

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
import pytest_asyncio

from app.agent.events import Calculated, Cited, Decided, Done, Event, Searched, Text
from app.agent.loop import answer
from app.agent.turn import Policy, Turn
from app.cores.load import Core, load_core
from index.memory import Memory
from index.reader import Reader
from index.types import Embedder

FACTS = {
    "Who founded the company Brambleworks?": ("Brambleworks was founded in 2009 by Ines Kortum.", "Ines Kortum"),
    "What is the password of the guest network?": ("The password of the guest network is zebra-41.", "zebra-41"),
    "How long is the warranty of the Tern pump?": ("The Tern pump has a warranty period of 30 months.", "30 months"),
    "Where is the depot of the Alder project?": ("The depot of the Alder project is in Norrbruck.", "Norrbruck"),
    "What is the maximum load of the Kestrel crane?": ("The Kestrel crane has a maximum load of 850 kg.", "850 kg"),
    "When is the deadline of the Finch grant?": ("The deadline of the Finch grant is 12 May 2031.", "12 May 2031"),
}


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder, reader: Reader) -> Iterator[Memory]:
    made = Memory(Path(tmp_path_factory.mktemp("notes")), embedder, reader)
    for n, (text, _) in enumerate(FACTS.values()):
        file = made.add_file(f"note{n}.md", text.encode())
        made.attach("default", file.id)
        assert made.wait("default", file.id, timeout=60).status == "completed"
    yield made
    made.close()


@pytest_asyncio.fixture
async def tiny() -> AsyncIterator[Core]:
    core = load_core()
    yield core
    await core.engine.close()


async def ask(question: str, core: Core, memory: Memory, **policy: float) -> list[Event]:
    turn = Turn([{"role": "user", "content": question}], stores=["default"], policy=Policy(**policy))  # type: ignore[arg-type]
    async with aclosing(answer(turn, core, memory)) as events:
        return [event async for event in events]


async def test_it_looks_up_and_quotes(tiny: Core, notes: Memory) -> None:
    right = 0
    for question, (text, expected) in FACTS.items():
        events = await ask(question, tiny, notes, abstain_below=0.0)
        assert any(isinstance(e, Searched) for e in events), question
        (cited,) = [e for e in events if isinstance(e, Cited)]
        assert notes.text(cited.hit.chunk.file_id)[cited.start : cited.end] == cited.quote
        done = events[-1]
        assert isinstance(done, Done)
        right += done.answer == expected and cited.quote == text
    assert right >= len(FACTS) - 1


@pytest.mark.parametrize("greeting", ["Hi!", "Thank you very much.", "Who are you?"])
async def test_it_talks_without_searching(tiny: Core, notes: Memory, greeting: str) -> None:
    events = await ask(greeting, tiny, notes)
    assert [e.searches for e in events if isinstance(e, Decided)] == [False]
    assert "".join(e.text for e in events if isinstance(e, Text))


async def test_it_calculates(tiny: Core, notes: Memory) -> None:
    events = await ask("What is 12 plus 30?", tiny, notes)
    assert [e for e in events if isinstance(e, Calculated)] == [Calculated("12 + 30", "42")]
    assert "".join(e.text for e in events if isinstance(e, Text)) == "The answer is 42."


async def test_it_is_less_sure_where_nothing_answers(tiny: Core, notes: Memory) -> None:
    questions = ["What is the capital of France?", "Who invented the telephone?", "How deep is the Tern lake?"]
    unknown = [(await ask(question, tiny, notes, abstain_below=0.0))[-1] for question in questions]
    known = [(await ask(question, tiny, notes, abstain_below=0.0))[-1] for question in list(FACTS)[:3]]
    sure = [[e.confidence for e in ends if isinstance(e, Done)] for ends in (unknown, known)]
    assert sum(sure[0]) / 3 < sum(sure[1]) / 3


async def test_it_abstains_when_told_to_be_sure(tiny: Core, notes: Memory) -> None:
    done = (await ask("What is the capital of France?", tiny, notes, abstain_below=1.0))[-1]
    assert isinstance(done, Done)
    assert done.abstained
    assert done.answer is None
