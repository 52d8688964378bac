"""The `cogcore eval` command."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from app.eval import compare, report
from app.eval.ask import Asker, Reply
from app.eval.judge import judge
from app.eval.questions import EvalError, Question, draw, load
from app.eval.sets import SETS
from app.eval.store import Library
from app.settings import SettingsError, read


def main(argv: Sequence[str] | None = None) -> int:
    """Run it: 0 when every question got a reply, 1 when some did not, 2 when nothing could be measured."""
    given = _parser().parse_args(argv)
    try:
        if given.build:
            return _build(given)
        if given.compare:
            return _compare(given)
        if given.file is None:
            raise EvalError("FILE: name a question set, such as `sample`, or a .jsonl file.")
        return _measure(given, draw(load(given.file), given.limit))
    except (EvalError, SettingsError) as error:
        sys.stderr.write(f"cogcore eval: {error}\n")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cogcore eval", description="Ask a question set of the server; measure it.")
    parser.add_argument("file", metavar="FILE", nargs="?", help="a .jsonl file of questions, or `sample`")
    parser.add_argument("--base-url", help="a running server; without it, one is started for the measurement")
    parser.add_argument("--api-key", help="of the server at --base-url (else COGCORE_API_KEY)")
    parser.add_argument("--store", help="the store to ask (else `default`)")
    parser.add_argument("--documents", type=Path, metavar="DIR", help="put the files below DIR into the store first")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all measures and replies there")
    parser.add_argument("--concurrency", type=_positive, default=1, metavar="N", help="questions in flight (1)")
    parser.add_argument("--limit", type=_positive, metavar="N", help="ask only N of the questions, drawn with seed 0")
    parser.add_argument(
        "--compare", nargs=2, type=Path, metavar="JSON", help="compare reports on squad and squad-absent instead"
    )
    parser.add_argument("--build", choices=sorted(SETS), help="write a question set or documents instead")
    parser.add_argument("--data", type=Path, help="with --build: the folder of the development data")
    parser.add_argument("--out", type=Path, help="with --build: the folder to write")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return int(text)


def _build(given: argparse.Namespace) -> int:
    if given.out is None:
        raise EvalError("--build needs --out, the folder to write; most sets need --data, the folder to read.")
    built = SETS[given.build](given.data, given.out)
    one = built.documents is not None and not built.stores
    name = given.store or (given.build if one else None)
    store = f" --store {name}" if name else ""
    lines = [f"{built.count} documents in {built.documents}"] if built.documents else []
    lines += [f"cogcore ingest {built.documents}/{part} --store {part}" for part in built.stores]
    if one:
        lines.append(f"cogcore ingest {built.documents}{store}")
    if built.questions:
        lines.append(f"cogcore eval {built.questions}{store}")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _compare(given: argparse.Namespace) -> int:
    compared = compare.compare(*given.compare)
    sys.stdout.write(compare.table(compared) + "\n")
    if given.json:
        given.json.write_text(json.dumps(compared, indent=1) + "\n", "utf-8")
    return 0


def _measure(given: argparse.Namespace, asked: Sequence[Question]) -> int:
    with _server(given) as (base_url, api_key):
        library = Library(base_url, api_key)
        try:
            if given.documents or not all(question.store for question in asked):
                library.ready(given.store, given.documents)
            for store in sorted({question.store for question in asked if question.store}):
                library.ready(store, None)
        finally:
            library.close()
        replies = asyncio.run(_ask(Asker(base_url, api_key, given.store), asked, given.concurrency))
    judged = [judge(question, reply) for question, reply in zip(asked, replies, strict=True)]
    summary, kinds = report.summarise(judged), report.by_kind(judged)
    sys.stdout.write(report.table(summary, kinds) + "\n")
    if given.json:
        rows = [report.row(j) for j in judged]
        whole = {"set": given.file, "store": given.store, "summary": summary, "kinds": kinds, "questions": rows}
        given.json.write_text(json.dumps(whole, ensure_ascii=False, indent=1) + "\n", "utf-8")
    return 1 if summary["failed"] else 0


@contextmanager
def _server(given: argparse.Namespace) -> Iterator[tuple[str, str | None]]:
    """Base URL and key of the server to ask."""
    if given.base_url:
        yield given.base_url.rstrip("/").removesuffix("/v1"), given.api_key or os.environ.get("COGCORE_API_KEY")
        return
    # Here, because asking a server that runs elsewhere needs none of its parts.
    from app.eval.server import running

    settings = read()
    with running(settings) as base_url:
        yield base_url, settings.api_key.get_secret_value() if settings.api_key else None


async def _ask(asker: Asker, asked: Sequence[Question], concurrency: int) -> list[Reply]:
    try:
        return await asker.ask_all(asked, concurrency)
    finally:
        await asker.close()


if __name__ == "__main__":
    sys.exit(main())
