"""What the HTTP door is handed: made by app.main.build, or by a test."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from app.agent.events import Event
from app.agent.turn import Turn
from app.api.drain import Drain
from app.api.metrics import Metrics
from app.api.signature import signing_key
from app.api.traces import Traces
from app.audit import FILE as AUDIT
from app.audit import Audit
from app.calibration import Calibrations
from app.conversations import Conversations
from app.cores.load import Core, core_folder
from app.drawn import Drawn
from app.keys import FILE as KEYS
from app.keys import Keys
from app.responses import Responses
from app.reviews import Reviews
from app.settings import Settings
from app.uploads import Uploads
from index.embed import digest
from index.memory import Memory
from index.reader import reader_folder


@dataclass(frozen=True)
class Parts:
    """The three parts of a server, and its records, which lie beside the memory."""

    core: Core
    memory: Memory
    settings: Settings
    traces: Traces = field(default_factory=Traces)
    drain: Drain = field(default_factory=Drain)
    # What the names of cached prompts' owners are made with: nobody outside this process can make one.
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    @cached_property
    def calibrations(self) -> Calibrations:
        return Calibrations(self.memory, self.judges)

    def judges(self) -> str:
        """A name for all weights that the confidence in an answer comes from. Reads from the disk."""
        core, reader = self.settings.core, self.settings.reader
        read_by = "none" if reader == "none" else digest(reader_folder(reader))
        return f"core {digest(core_folder(core))}, reader {read_by}, {self.core.profile.sureness}"

    @cached_property
    def reviews(self) -> Reviews:
        return Reviews(self.settings.data_dir / "reviews.sqlite")

    @cached_property
    def responses(self) -> Responses:
        return Responses(self.settings.data_dir / "responses.sqlite", self.settings.keep_days * 86_400)

    @cached_property
    def conversations(self) -> Conversations:
        return Conversations(self.settings.data_dir / "conversations.sqlite", self.settings.keep_days * 86_400)

    @property
    def records(self) -> Mapping[str, Drawn]:
        """Those that may hold words of documents."""
        return {"reviews": self.reviews, "responses": self.responses, "conversations": self.conversations}

    def forget(self, file_id: str) -> None:
        """Erase what was written down with words of this document."""
        for record in self.records.values():
            record.forget(file_id)

    @cached_property
    def uploads(self) -> Uploads:
        return Uploads(self.settings.data_dir / "uploads.sqlite")

    @cached_property
    def keys(self) -> Keys:
        return Keys(self.settings.data_dir / KEYS)

    @property
    def audit(self) -> Audit:
        return Audit(self.settings.data_dir / AUDIT)

    @property
    def link_key(self) -> bytes | None:
        """What signs the links of citations. None: the server is open, and so are they."""
        if self.settings.api_key:
            return signing_key(self.settings.api_key.get_secret_value())
        return self.keys.secret if self.keys.exist() else None

    @cached_property
    def metrics(self) -> Metrics:
        return Metrics(self.core.engine, self.memory, self.records)

    def observed(
        self, events: AsyncGenerator[Event], turn: Turn, model: str, headers: Mapping[str, str]
    ) -> AsyncGenerator[Event]:
        """The events of a turn, counted and traced as they pass. Closing it closes them."""
        return self.metrics.turn(self.traces.turn(events, turn, model, self.core.name, headers))

    async def close(self) -> None:
        """Stop the engine first, so that no turn searches a closed memory."""
        await self.core.engine.close()
        await asyncio.to_thread(self.memory.close)
        for record in self.records.values():
            record.close()
        self.uploads.close()
        self.keys.close()
        await asyncio.to_thread(self.traces.close)
