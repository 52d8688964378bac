"""`cogcore reembed`: another embedder for the memory. The new vectors are made beside the old ones, then swapped.

A server may go on with the old ones meanwhile; it swaps when it is next started with the new embedder. Where the
catalog is in PostgreSQL, it must be stopped first.
"""

import sys

from app.cli.progress import Progress
from app.engine.device import pick
from app.settings import Settings
from index.embed import load_embedder
from index.errors import MemoryFault
from index.reembed import reembed as renew


def reembed(settings: Settings, name: str) -> int:
    """Print how far it is and what to do then; the exit status."""
    try:
        embedder = load_embedder(name, pick(settings.device))
        swapped = renew(settings.data_dir, embedder, Progress("Embedding documents").show, settings.catalog)
    except MemoryFault as error:
        print(f"cogcore: {error}", file=sys.stderr)
        return 1
    setting = f"COGCORE_EMBEDDER={name}"
    if swapped:
        print(f"The memory has the vectors of {embedder.name}. Start the server with {setting}")
    else:
        print(f"The vectors of {embedder.name} are ready. The server goes on with the old ones;")
        print(f"restart it with {setting} and it swaps them.")
    return 0
