"""Where the parts meet, and nowhere else."""

from app.api.app import create_app
from app.api.parts import Parts
from app.cores.load import load_core
from app.engine.device import pick
from app.sample import documents
from app.settings import Settings
from index.embed import load_embedder
from index.memory import DEFAULT_STORE, Memory
from index.reader import load_reader

__all__ = ["build", "create_app", "open_memory"]


def build(settings: Settings) -> Parts:
    """Open the memory and load the core. Takes seconds. Raises FolderFault when another process has the folder."""
    device = pick(settings.device)
    memory = open_memory(settings, device)
    try:
        core = load_core(
            settings.core,
            device,
            profile=settings.profile,
            cache_tokens=settings.cache_tokens or None,
            threads=settings.threads or None,
            max_sequences=settings.max_sequences,
            queue=settings.queue,
        )
    except BaseException:
        memory.close()
        raise
    return Parts(core, memory, settings)


def open_memory(settings: Settings, device: str = "cpu") -> Memory:
    """The memory in the data folder. One that is new gets the sample, which is searchable once it is ingested."""
    fresh = not settings.data_dir.exists() or not any(settings.data_dir.iterdir())
    reader = None if settings.reader == "none" else load_reader(settings.reader, device)
    memory = Memory(settings.data_dir, load_embedder(settings.embedder, device), reader)
    if fresh and settings.sample:
        for path in documents():
            file = memory.add_file(path.name, path.read_bytes())
            memory.attach(DEFAULT_STORE, file.id)
    return memory
