"""Where the parts meet, and nowhere else."""

from pathlib import Path

from app.api.app import create_app
from app.api.health import VERSION
from app.api.parts import Parts
from app.api.traces import exporting
from app.audit import FILE as AUDIT
from app.cores.load import Core, load_core, load_remote_core
from app.engine.device import pick
from app.keys import FILE as KEYS
from app.sample import documents
from app.settings import Settings
from index.dense import Tiers
from index.embed import load_embedder
from index.errors import FaissRefused, FolderFault, MilvusAway
from index.memory import DEFAULT_STORE, Memory
from index.milvus import Milvus
from index.parse import Limits
from index.reader import load_reader

__all__ = ["build", "create_app", "is_new", "open_memory"]


def build(settings: Settings) -> Parts:
    """Open the memory and load the core. Takes seconds. Raises MemoryFault, EngineError, UnknownCore and
    SettingsError.
    """
    traces, device = exporting(settings, VERSION), pick(settings.device)
    memory = open_memory(settings, device)
    try:
        core = _remote(settings) if settings.core_url else _local(settings, device)
    except BaseException:
        memory.close()
        raise
    return Parts(core, memory, settings, traces)


def _local(settings: Settings, device: str) -> Core:
    return load_core(
        settings.core,
        device,
        profile=settings.profile,
        dtype=settings.dtype,
        cache_tokens=settings.cache_tokens or None,
        threads=settings.threads or None,
        max_sequences=settings.max_sequences,
        queue=settings.queue,
        speculation=settings.drafts,
    )


def _remote(settings: Settings) -> Core:
    return load_remote_core(
        settings.core,
        settings.core_urls,
        profile=settings.profile,
        key=settings.core_key.get_secret_value() if settings.core_key else "",
        timeout=settings.core_timeout,
        max_sequences=settings.max_sequences,
        queue=settings.queue,
    )


def _milvus(settings: Settings) -> Milvus | None:
    token = settings.milvus_token.get_secret_value() if settings.milvus_token else ""
    return Milvus(settings.milvus_url, token) if settings.milvus_url else None


def is_new(folder: Path) -> bool:
    """Whether nothing was ever kept there but API keys. What cannot be looked into is not new."""
    try:
        return not folder.exists() or all(path.name.startswith((KEYS, AUDIT)) for path in folder.iterdir())
    except OSError:
        return False


def open_memory(settings: Settings, device: str = "cpu") -> Memory:
    """The memory in the data folder. One that is new gets the sample, which is searchable once it is ingested."""
    reader = None if settings.reader == "none" else load_reader(settings.reader, device)
    embedder = load_embedder(settings.embedder, device)
    fresh = is_new(settings.data_dir)
    try:
        tiers = Tiers(settings.faiss, settings.exact_up_to, settings.faiss_gpu)
        memory = Memory(
            settings.data_dir,
            embedder,
            reader,
            limits=Limits(ocr=settings.ocr),
            tiers=tiers,
            filtered=settings.filter,
            only_distinct=settings.distinct_hits,
            search_timeout=settings.search_timeout or None,
            catalog_url=settings.catalog,
            milvus=_milvus(settings),
        )
    except FaissRefused as error:
        raise FaissRefused(f"COGCORE_FAISS={settings.faiss}: {error}") from error
    except MilvusAway as error:
        raise MilvusAway(f"COGCORE_MILVUS_URL={settings.milvus_url}: {error}") from error
    except OSError as error:
        raise FolderFault(
            f"the data folder {settings.data_dir} cannot be used: {error.strerror}. "
            "Let this user write to it, or set COGCORE_DATA_DIR to another folder."
        ) from error
    if fresh and settings.sample:
        for path in documents():
            file = memory.add_file(path.name, path.read_bytes())
            memory.attach(DEFAULT_STORE, file.id)
    return memory
