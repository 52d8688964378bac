"""How far a change of the embedder is, and the one commit that ends it."""

from collections.abc import Mapping

from sqlalchemy import delete, insert, select, update

from index.blocks import Block
from index.catalog import Transaction, documents, stores
from index.catalog.schema import documents as rows
from index.catalog.schema import facts, read_fact
from index.catalog.schema import stores as store_rows

EMBEDDER, READY = "embedder", "reembedded"


def embedder(tx: Transaction) -> str | None:
    """The fingerprint of the embedder that made the vectors; None where there is no memory yet."""
    return read_fact(tx, EMBEDDER)


def is_ready(tx: Transaction, fingerprint: str) -> bool:
    """Whether another embedder's vectors were complete, and only lack what came since."""
    return read_fact(tx, READY) == fingerprint


def begin(tx: Transaction, fingerprint: str) -> None:
    """Nobody else's vectors are complete from now on."""
    tx.execute(delete(facts).where(facts.c.key == READY, facts.c.value != fingerprint))


def make_ready(tx: Transaction, fingerprint: str) -> None:
    tx.execute(delete(facts).where(facts.c.key == READY))
    tx.execute(insert(facts).values(key=READY, value=fingerprint))


def is_there(tx: Transaction, document: int) -> bool:
    """Whether a document is still to be found."""
    wanted = select(rows.c.n).where(rows.c.n == document, rows.c.status == "completed")
    return tx.execute(wanted).first() is not None


def swap(tx: Transaction, fingerprint: str, blocks: Mapping[int, Mapping[int, Block]]) -> dict[int, str]:
    """From now on these blocks count, each store's in a new file, whose name this tells."""
    tx.execute(update(facts).where(facts.c.key == EMBEDDER).values(value=fingerprint))
    tx.execute(delete(facts).where(facts.c.key == READY))
    named = {}
    for store in tx.execute(select(store_rows.c.n)).scalars().all():
        named[store] = stores.next_vector_file(tx, store)
        for document, block in blocks.get(store, {}).items():
            documents.keep_block(tx, document, block)
    tx.execute(update(store_rows).values(version=store_rows.c.version + 1))
    return named
