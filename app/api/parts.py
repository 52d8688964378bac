"""What the HTTP door is handed: made by app.main.build, or by a test."""

import asyncio
from dataclasses import dataclass

from app.cores.load import Core
from app.settings import Settings
from index.memory import Memory


@dataclass(frozen=True, slots=True)
class Parts:
    """The three parts of a server."""

    core: Core
    memory: Memory
    settings: Settings

    async def close(self) -> None:
        """Stop the engine first, so that no turn searches a closed memory."""
        await self.core.engine.close()
        await asyncio.to_thread(self.memory.close)
