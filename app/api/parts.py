"""What the HTTP door is handed: made by app.main.build, or by a test."""

import asyncio
from dataclasses import dataclass
from functools import cached_property

from app.cores.load import Core
from app.reviews import Reviews
from app.settings import Settings
from index.memory import Memory


@dataclass(frozen=True)
class Parts:
    """The three parts of a server, and its record of reviews, which lies beside the memory."""

    core: Core
    memory: Memory
    settings: Settings

    @cached_property
    def reviews(self) -> Reviews:
        return Reviews(self.settings.data_dir / "reviews.sqlite")

    async def close(self) -> None:
        """Stop the engine first, so that no turn searches a closed memory."""
        await self.core.engine.close()
        await asyncio.to_thread(self.memory.close)
        self.reviews.close()
