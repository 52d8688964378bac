"""The memory beside OGX's inline FAISS store: the same files, embedder and chunk sizes, both over HTTP, in turn.

    python -m app.bench ogx --data DIR --peer PYTHON [--size 20000] [--questions 300] [--minutes 60]

PYTHON is that of an environment with ogx, faiss-cpu, sentence-transformers, aiosqlite, sqlalchemy, pypdf and chardet.
Where no hub is reached, TIKTOKEN_CACHE_DIR must name a folder with the encoding cl100k_base, by which OGX cuts texts.

DIR has squad/ and wiki/ (app/bench/corpora.py). The files are SQuAD dev's paragraphs by forty, then Wikipedia's, in
pieces; each is put into one server and then into the other, who is first changes. Its time ends when all of its files
can be found. The questions are SQuAD's about the files that are in; one is answered where one of five results is of its
file and has an accepted answer. OGX's FAISS store searches by vectors alone; ours is asked fused, and reread too.
"""

import argparse
import json
import random
import re
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from tqdm import tqdm

from app.bench.child import SERVE, NoServer, end, started
from app.bench.corpora import articles
from app.bench.reader import cases
from app.settings import PREFIX
from index import embed

HITS = 5
CHUNK, OVERLAP = 200, 0  # tokens, of each server's own counting: both kinds fit the 256 that OGX's embedder reads
LETTERS = 850  # in a chunk, roughly: what pieces are measured by
PIECES = 20
TOGETHER = 40  # of SQuAD's paragraphs in a file, as many as its articles have
TIMEOUT = 600.0
POLL = 0.25  # seconds: each poll is also a line in OGX's log
EDGE = 5  # one in so many of the pieces is the start, and the end
OGX, OURS = "ogx", "cogcore"
CONCURRENT = 8  # files of a batch that OGX takes at once; 3 unless told otherwise
DIMENSION = 384
STORES, STATIC = "/v1/vector_stores", {"max_chunk_size_tokens": CHUNK, "chunk_overlap_tokens": OVERLAP}
File = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, the file that answers it, and what is accepted."""

    question: str
    file: str
    answers: Sequence[str]


@dataclass(slots=True)
class Side:
    """A server, its ways to search, and what was measured: the seconds and chunks of each piece, and the answers."""

    name: str
    http: httpx.Client
    ways: Mapping[str, Mapping[str, Any]]
    store: str = ""
    seconds: list[float] = field(default_factory=list)
    chunks: list[int] = field(default_factory=list)
    asked: dict[str, list[tuple[float, bool]]] = field(default_factory=lambda: defaultdict(list))
    lost: int = 0  # files that it did not take

    def told(self, method: str, path: str, **given: Any) -> Any:
        response = self.http.request(method, path, **given)
        if not response.is_success:
            raise NoServer(f"{self.name} answered {response.status_code} to {path}: {response.text[:500]}")
        return response.json()

    def open(self) -> None:
        """Makes its store and loads its embedder."""
        self.store = f"{STORES}/{self.told('POST', STORES, json={'name': 'bench'})['id']}"
        self.count(self.ingest([("warm.txt", b"Something to load the embedder with, before anything is measured.")]))

    def ingest(self, files: Sequence[File]) -> list[str]:
        """The ids of the files that it took, once they can be found."""
        began = time.perf_counter()
        ids = [self._upload(name, data) for name, data in files]
        strategy = {"type": "static", "static": STATIC}
        batch = self.told("POST", f"{self.store}/file_batches", json={"file_ids": ids, "chunking_strategy": strategy})
        while batch["status"] == "in_progress":
            time.sleep(POLL)
            batch = self.told("GET", f"{self.store}/file_batches/{batch['id']}")
        self.seconds.append(time.perf_counter() - began)
        taken = ids
        if batch["file_counts"]["completed"] != len(ids):
            taken = [one for one in ids if self.told("GET", f"{self.store}/files/{one}")["status"] == "completed"]
        self.lost += len(ids) - len(taken)
        return taken

    def _upload(self, name: str, data: bytes) -> str:
        sent = {"files": {"file": (name, data, "text/plain")}, "data": {"purpose": "assistants"}}
        return str(self.told("POST", "/v1/files", **sent)["id"])

    def count(self, ids: Sequence[str]) -> None:
        """The chunks of a piece: OGX shows them with a file, we have a metric of all."""
        if self.name == OGX:
            files = [self.told("GET", f"{self.store}/files/{one}/content")["data"] for one in ids]
            self.chunks.append(sum(map(len, files)))
        else:
            metric = re.search(r"^cogcore_chunks (\S+)", self.http.get("/metrics").text, re.MULTILINE)
            self.chunks.append((int(float(metric[1])) if metric else 0) - sum(self.chunks))

    def ask(self, asked: Asked) -> None:
        for way, more in self.ways.items():
            query = {"query": asked.question, "max_num_results": HITS, **more}
            began = time.perf_counter()
            hits = self.told("POST", f"{self.store}/search", json=query)["data"]
            self.asked[way].append((time.perf_counter() - began, any(answers(asked, hit) for hit in hits)))


def answers(asked: Asked, hit: Mapping[str, Any]) -> bool:
    text = _plain(" ".join(part["text"] for part in hit["content"]))
    return hit["filename"] == asked.file and any(_plain(answer) in text for answer in asked.answers)


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).lower()


def squad(data: Path) -> tuple[list[File], list[Asked]]:
    """SQuAD dev's paragraphs as files of TOGETHER, and the questions about them in a drawn order."""
    everything = list(cases(data / "squad" / "dev.jsonl.xz"))
    passages = list(dict.fromkeys(case.passage for case in everything))
    parts = [passages[at : at + TOGETHER] for at in range(0, len(passages), TOGETHER)]
    named = {f"squad-{n}.txt": part for n, part in enumerate(parts)}
    file_of = {passage: name for name, part in named.items() for passage in part}
    asked = [Asked(case.question, file_of[case.passage], case.answers) for case in everything]
    random.Random(0).shuffle(asked)
    return [(name, "\n\n".join(part).encode()) for name, part in named.items()], asked


def pieces(files: Iterator[File], size: int) -> Iterator[list[File]]:
    """So many chunks, roughly, in PIECES parts of whole files."""
    left, part, room = size * LETTERS, list[File](), 0
    for file in files:
        if left <= 0:
            break
        part.append(file)
        room += len(file[1])
        left -= len(file[1])
        if room * PIECES >= size * LETTERS:
            yield part
            part, room = [], 0
    if part:
        yield part


def configuration(model: Path, dimension: int) -> dict[str, Any]:
    """OGX's, which takes its place and its folder from the environment that our own servers are started with."""
    folder, key = f"${{env.{PREFIX}DATA_DIR}}", {"backend": "kv_default"}
    sql = {"backend": "sql_default"}
    made = {"provider_id": "sentence-transformers", "model_id": "minilm"}
    return {
        "version": 2,
        "distro_name": "bench",
        "apis": ["files", "file_processors", "inference", "vector_io"],
        "providers": {
            "inference": [_provider("sentence-transformers", "sentence-transformers")],
            "vector_io": [_provider("faiss", "faiss", persistence={**key, "namespace": "faiss"})],
            "files": [
                _provider(
                    "files", "localfs", storage_dir=f"{folder}/files", metadata_store={**sql, "table_name": "files"}
                )
            ],
            "file_processors": [_provider("pypdf", "pypdf")],
        },
        "storage": {
            "backends": {
                "kv_default": {"type": "kv_sqlite", "db_path": f"{folder}/kv.db"},
                "sql_default": {"type": "sql_sqlite", "db_path": f"{folder}/sql.db"},
            },
            "stores": {
                "metadata": {**key, "namespace": "registry"},
                "inference": {**sql, "table_name": "inference"},
                "conversations": {**sql, "table_name": "conversations"},
                "prompts": {**sql, "table_name": "prompts"},
                "connectors": {**sql, "table_name": "connectors"},
            },
        },
        "registered_resources": {
            "models": [
                {
                    **made,
                    "provider_model_id": str(model),
                    "model_type": "embedding",
                    "metadata": {"embedding_dimension": dimension},
                }
            ]
        },
        "server": {"host": f"${{env.{PREFIX}HOST}}", "port": f"${{env.{PREFIX}PORT}}"},
        "vector_stores": {
            "default_provider_id": "faiss",
            "default_embedding_model": made,
            "file_batch_params": {"max_concurrent_files_per_batch": CONCURRENT, "file_batch_chunk_size": 64},
        },
    }


def _provider(name: str, kind: str, **config: Any) -> dict[str, Any]:
    return {"provider_id": name, "provider_type": f"inline::{kind}", "config": config}


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser("app.bench ogx", description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="a folder with wiki/ and squad/")
    parser.add_argument("--peer", type=Path, required=True, help="the python of OGX's environment")
    parser.add_argument("--size", type=int, default=20_000, help="chunks, roughly")
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--minutes", type=float, default=60, help="for the ingest, which stops after a piece")
    given = parser.parse_args(arguments)
    try:
        measure(given)
    except (NoServer, httpx.HTTPError) as error:
        sys.exit(f"cogcore bench ogx: {type(error).__name__}: {error}")


def measure(given: argparse.Namespace) -> None:
    files, asked = squad(given.data)
    with ExitStack() as stack:
        sides = serving(stack, given.peer)
        put, end = set[str](), time.monotonic() + 60 * given.minutes
        print(HEAD, flush=True)
        for n, piece in enumerate(pieces(chain(files, articles(given.data)), given.size)):
            for side in sides if n % 2 else reversed(sides):
                side.count(side.ingest(piece))
            put.update(name for name, _ in piece)
            print(told_piece(*sides), flush=True)
            if time.monotonic() > end:
                break
        known = [one for one in asked if one.file in put][: given.questions]
        for one in tqdm(known, "asking", mininterval=10):
            for side in sides:
                side.ask(one)
    print(told(*sides))


def serving(stack: ExitStack, peer: Path) -> list[Side]:
    """Both, started, each with an empty store."""
    folders = [Path(stack.enter_context(TemporaryDirectory(ignore_cleanup_errors=True))) for _ in range(2)]
    config = folders[1] / "config.yaml"
    config.write_text(json.dumps(configuration(embed.embedder_folder(""), DIMENSION)))
    theirs = (str(peer), "-m", "ogx.cli.ogx", "run", str(config), "--insecure")
    urls = []
    for folder, command, ready in ((folders[0], SERVE, "/readyz"), (folders[1], theirs, "/v1/health")):
        url, process = stack.enter_context(started(folder, command, ready, sample=False, audit=False))
        stack.callback(end, process)
        urls.append(url)
    ways: list[Mapping[str, Mapping[str, Any]]] = [
        {"fused": {"ranking_options": {"ranker": "none"}}, "fused, then reread": {}},
        {"vectors": {}},
    ]
    sides = []
    for name, url, how in zip((OURS, OGX), urls, ways, strict=True):
        http = stack.enter_context(httpx.Client(base_url=url, timeout=TIMEOUT, trust_env=False))
        sides.append(Side(name, http, how))
        sides[-1].open()
    return sides


HEAD = f"{'chunks of ours, of OGX':<24}{'chunks/s':>10}{'':>10}{'times as fast':>16}"


def told_piece(ours: Side, theirs: Side) -> str:
    return _line(f"{sum(ours.chunks):>8}{sum(theirs.chunks):>10}", ours, theirs, slice(-1, None))


def told(ours: Side, theirs: Side) -> str:
    """What came of it: the rates, over the same files, and the searches."""
    edge = max(1, (len(ours.seconds) - 1) // EDGE)
    lines = [
        _line("in all", ours, theirs, slice(1, None)),
        _line("at the start", ours, theirs, slice(1, 1 + edge)),
        _line("at the end", ours, theirs, slice(-edge, None)),
        f"{'files not taken':<24}{ours.lost:>10}{theirs.lost:>10}",
        f"{'a search, questions':<40}{'p50 ms':>10}{'R@5 %':>10}",
    ]
    for side in (ours, theirs):
        for way, outcomes in side.asked.items():
            took, right = zip(*outcomes, strict=True)
            name = f"{side.name}, {way}, {len(outcomes)}"
            lines.append(f"{name:<40}{1000 * statistics.median(took):>10.1f}{100 * statistics.mean(right):>10.1f}")
    return "\n".join(lines)


def _line(name: str, ours: Side, theirs: Side, part: slice) -> str:
    rates = [sum(side.chunks[part]) / sum(side.seconds[part]) for side in (ours, theirs)]
    times = sum(theirs.seconds[part]) / sum(ours.seconds[part])
    return f"{name:<24}{rates[0]:>10.1f}{rates[1]:>10.1f}{times:>16.2f}"
