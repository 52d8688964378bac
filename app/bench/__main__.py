"""`python -m app.bench NAME …`: measurements that anyone with the data can repeat."""

import sys
from importlib import import_module

# Imported when asked for: one measurement should not need the libraries of another.
BENCHES = {
    "catalog": "app.bench.catalog",
    "crashes": "app.bench.crashes",
    "dense": "app.bench.dense",
    "embed": "app.bench.embed",
    "flips": "app.bench.flips",
    "hostile": "app.bench.hostile",
    "kills": "app.bench.kills",
    "manual": "app.bench.manual",
    "memory": "app.bench.memory",
    "milvus": "app.bench.milvus",
    "ogx": "app.bench.ogx",
    "reader": "app.bench.reader",
    "rerank": "app.bench.rerank",
    "serve": "app.bench.serve",
    "soak": "app.bench.soak",
    "speculation": "app.bench.speculation",
    "start": "app.bench.start",
    "swaps": "app.bench.swaps",
}


def main(arguments: list[str]) -> None:
    if not arguments or arguments[0] not in BENCHES:
        sys.exit(f"usage: python -m app.bench {{{','.join(BENCHES)}}} …")
    import_module(BENCHES[arguments[0]]).main(arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
