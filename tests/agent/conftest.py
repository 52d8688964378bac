"""A small memory and the embedded core's tokenizer, for turns whose core is scripted."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from transformers import PreTrainedTokenizerBase

from app.agent.events import Event, Text
from app.agent.loop import answer
from app.agent.turn import Turn
from app.cores.load import TINY_FOLDER, Core, load_core, load_tokenizer
from app.cores.profiles import PROFILES
from index.memory import Memory
from tests.fakes import HashedWords, ScriptedEngine
from tests.untrained import untrained

DOCUMENTS = {
    "pump.md": "# Pump P-100\n\nBuilt in Köln. Its tank holds 12.5 litres\nof oil (grade 40). Change it yearly.",
    "bridge.md": "# The bridge\n\nThe bridge opened in 1969. Anna Weber designed it.",
    "twin.md": "# Twins\n\nThe first gate is red. The second gate is red too.",
}


def fill(memory: Memory, store: str, documents: Mapping[str, str]) -> None:
    for name, text in documents.items():
        file = memory.add_file(name, text.encode())
        memory.attach(store, file.id)
        assert memory.wait(store, file.id, timeout=60).status == "completed"


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    return load_tokenizer(TINY_FOLDER)


@pytest.fixture(scope="session")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Memory]:
    made = Memory(Path(tmp_path_factory.mktemp("memory")), HashedWords())
    fill(made, "default", DOCUMENTS)
    made.create_store("empty")
    yield made
    made.close()


class Stage:
    """A scripted core over the memory: scripts are texts, each ended by the end token unless told otherwise."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, memory: Memory, profile: str) -> None:
        self.tokenizer, self.memory, self.profile = tokenizer, memory, PROFILES[profile]
        self.engine = ScriptedEngine()

    def ids(self, *parts: str, end: bool = True) -> list[int]:
        ids = [number for part in parts for number in self.tokenizer.encode(part, add_special_tokens=False)]
        return [*ids, int(self.tokenizer.eos_token_id)] if end else ids

    async def play(self, turn: Turn, engine: ScriptedEngine) -> list[Event]:
        return [event async for event in self.open(turn, engine)]

    async def open(self, turn: Turn, engine: ScriptedEngine) -> AsyncGenerator[Event]:
        self.engine = engine
        async with aclosing(
            answer(turn, Core("scripted", self.tokenizer, self.profile, engine), self.memory)
        ) as events:
            async for event in events:
                yield event


@pytest.fixture
def trained(tokenizer: PreTrainedTokenizerBase, memory: Memory) -> Stage:
    """One search, with words of the last message: what else cores have learned is switched on where it is tested."""
    stage = Stage(tokenizer, memory, "tiny")
    stage.profile = replace(stage.profile, hops=1, follow_ups=False, reckons=False, differs=False)
    return stage


@pytest.fixture
def generic(tokenizer: PreTrainedTokenizerBase, memory: Memory) -> Stage:
    return Stage(tokenizer, memory, "hermes")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A core that has learned nothing."""
    return untrained(tmp_path_factory.mktemp("core"))


@pytest_asyncio.fixture
async def core(folder: Path) -> AsyncIterator[Core]:
    made = load_core(str(folder), max_sequences=4)
    yield made
    await made.engine.close()


async def play(turn: Turn, core: Core, memory: Memory) -> tuple[str, list[object]]:
    async with aclosing(answer(turn, core, memory)) as stream:
        events: list[object] = [event async for event in stream]
    return "".join(e.text for e in events if isinstance(e, Text)), events
