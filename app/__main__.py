"""The `cogcore` command.

Whatever loads torch is imported by the subcommand that needs it: that import alone takes seconds, which `--help`,
a wrong setting, and a client of a running server should not wait for.
"""

import argparse
import io
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from app.settings import SettingsError, read


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    given = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: a file's name need not be UTF-8
    try:
        if given and given[0] in TOOLS:
            return TOOLS[given[0]](given[1:])
        arguments = _parser().parse_args(given)
        status: int = arguments.run(arguments)
    except SettingsError as error:
        print(f"cogcore: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `cogcore ask … | head`: nobody reads on, and nothing is left to flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cogcore",
        description="A small reasoning model that looks things up in your own documents.",
        epilog="`cogcore eval`, `bench` and `train` have their own --help. All settings: COGCORE_*, see README.md.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="start the server")
    serve.set_defaults(run=_serve)

    ingest = commands.add_parser("ingest", help="put files, and folders of documents, into a store")
    ingest.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="a file, or a folder")
    ingest.add_argument("--store", default="default", help="the store's name or id; a new name makes a store")
    ingest.set_defaults(run=_ingest)

    watch = commands.add_parser("watch", help="let a store follow a folder while the server runs")
    watch.add_argument("folder", type=Path, metavar="DIR")
    watch.add_argument("--store", default="default", help="the store's name or id; a new name makes a store")
    watch.set_defaults(run=_watch)

    reembed = commands.add_parser(
        "reembed",
        help="give the memory another embedder",
        description="Makes the new vectors beside the old ones, which the server goes on with, and then swaps them. "
        "Ended amid it, it goes on where it was. With the catalog in PostgreSQL the server must be stopped first.",
    )
    reembed.add_argument("--embedder", metavar="NAME", help="instead of COGCORE_EMBEDDER")
    reembed.set_defaults(run=_reembed)

    ask = commands.add_parser("ask", help="ask a question, and see what was thought, searched and quoted")
    ask.add_argument("question", nargs="+")
    ask.add_argument("--store", default="default", help="the store's name or id")
    ask.set_defaults(run=_ask)

    calibrate = commands.add_parser(
        "calibrate",
        help="make the confidence in answers from a store true there",
        description="Ask questions made from a store's own documents, with these documents and without, and refit the "
        "confidence in answers from it, so that of answers with confidence 0.7 about 7 in 10 are right. Needs the data "
        "folder for itself: stop the server first.",
    )
    calibrate.add_argument("--store", default="default", help="the store's name or id (default)")
    calibrate.add_argument("--questions", type=_count, default=200, metavar="N", help="how many to ask at most (200)")
    calibrate.add_argument(
        "--from", dest="file", metavar="FILE", help="your own questions, as `cogcore eval` takes them"
    )
    calibrate.add_argument("--seed", type=int, default=0, help="another seed makes other questions (0)")
    calibrate.add_argument(
        "--wrong",
        type=_share,
        default=0.1,
        metavar="SHARE",
        help="how many answers may be wrong at the threshold (0.1)",
    )
    calibrate.add_argument("--keep-threshold", action="store_true", help="let the store abstain below the threshold")
    calibrate.add_argument("--forget", action="store_true", help="drop the store's calibration and threshold instead")
    calibrate.set_defaults(run=_calibrate)

    alias = commands.add_parser(
        "alias",
        help="names that point to stores, and can be pointed elsewhere while the server answers",
        description="The model `cogcore/NAME`, and `cogcore ask --store NAME`, ask the store that NAME points to.",
    )
    aliases = alias.add_subparsers(dest="action", required=True, metavar="ACTION")
    listed = aliases.add_parser("list", help="every alias, its store, and the stores before")
    pointed = aliases.add_parser("set", help="point an alias to a store; a new name makes one")
    rolled = aliases.add_parser("rollback", help="point it to the store before")
    removed = aliases.add_parser("remove", help="forget the alias; the store stays")
    for action in (pointed, rolled, removed):
        action.add_argument("name", metavar="NAME")
    pointed.add_argument("store", metavar="STORE", help="the store's name or id")
    alias.set_defaults(run=_alias)

    exported = commands.add_parser("export", help="a store as one file: documents, passages, vectors, checksums")
    exported.add_argument("store", metavar="STORE", help="the store's name or id, or an alias")
    exported.add_argument("file", type=Path, metavar="FILE", help="by custom NAME.cogcore.zip")
    exported.set_defaults(run=_export)

    imported = commands.add_parser("import", help="a new store of such a file")
    imported.add_argument("file", type=Path, metavar="FILE")
    imported.add_argument("--store", metavar="NAME", help="of the new store; else the file's own")
    imported.add_argument("--alias", metavar="NAME", help="point this alias to it once all of it is there")
    imported.add_argument(
        "--reembed", action="store_true", help="make vectors of another embedder again from the texts; takes long"
    )
    imported.set_defaults(run=_import)

    key = commands.add_parser(
        "key",
        help="API keys for clients, made and revoked while the server runs",
        description="Works on the data folder. Once a key was made, the server answers nobody without one.",
    )
    keys = key.add_subparsers(dest="action", required=True, metavar="ACTION")
    made = keys.add_parser("create", help="make a key, and show it this once")
    shown = keys.add_parser("list", help="every key that was made, but for the secret itself")
    revoked = keys.add_parser("revoke", help="end a key, at once")
    made.add_argument("name", metavar="NAME", help="whose it is, or what for")
    made.add_argument("--scope", choices=("read", "write", "admin"), default="read", help="what it may do (read)")
    made.add_argument("--store", action="append", dest="stores", metavar="STORE", help="only this one; may be repeated")
    made.add_argument("--organisation", default="default", help="whose files and stores it opens (default)")
    made.add_argument("--days", type=_count, help="how long it is good; without, it does not expire")
    made.add_argument("--requests", type=int, metavar="N", help="a minute; 0 any number (COGCORE_REQUESTS_PER_MINUTE)")
    made.add_argument("--tokens", type=int, metavar="N", help="a minute; 0 any number (COGCORE_TOKENS_PER_MINUTE)")
    revoked.add_argument("id", metavar="ID")
    key.set_defaults(run=_key)

    audit = commands.add_parser("audit", help="the newest changes: who, when, to what")
    audit.add_argument("--last", type=_count, default=100, metavar="N", help="how many (100)")
    audit.set_defaults(run=_audit)

    for command in (serve, ingest, watch, ask, listed, pointed, rolled, removed, exported, imported):
        command.add_argument("--host", help="instead of COGCORE_HOST")
        command.add_argument("--port", type=int, help="instead of COGCORE_PORT")
    folder = (serve, ingest, reembed, ask, calibrate, listed, pointed, rolled, removed, exported, imported)
    for command in (*folder, made, shown, revoked, audit):
        command.add_argument("--data-dir", type=Path, help="instead of COGCORE_DATA_DIR")
    for name, what in (("eval", "measure the answers"), ("bench", "measure the speed"), ("train", "make the core")):
        commands.add_parser(name, help=what, add_help=False)
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 <= share < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share from 0 to below 1")
    return share


def _given(arguments: argparse.Namespace) -> dict[str, object]:
    chosen = {name: getattr(arguments, name, None) for name in ("host", "port", "data_dir")}
    return {name: value for name, value in chosen.items() if value is not None}


def _serve(arguments: argparse.Namespace) -> int:
    settings = read(**_given(arguments))
    from app.cli.serve import serve

    return serve(settings)


def _ingest(arguments: argparse.Namespace) -> int:
    settings = read(**_given(arguments))
    from app.cli.ingest import ingest

    return ingest(settings, arguments.paths, arguments.store)


def _watch(arguments: argparse.Namespace) -> int:
    settings = read(**_given(arguments))
    from app.cli.watch import watch

    return watch(settings, arguments.folder, arguments.store)


def _reembed(arguments: argparse.Namespace) -> int:
    settings = read(**_given(arguments))
    from app.cli.reembed import reembed

    return reembed(settings, settings.embedder if arguments.embedder is None else arguments.embedder)


def _ask(arguments: argparse.Namespace) -> int:
    settings = read(**_given(arguments))
    from app.cli.ask import ask

    return ask(settings, " ".join(arguments.question), arguments.store)


def _alias(arguments: argparse.Namespace) -> int:
    settings = read(**_given(arguments))
    from app.cli.alias import alias

    given = {name: getattr(arguments, name) for name in ("name", "store") if hasattr(arguments, name)}
    return alias(settings, arguments.action, **given)


def _export(arguments: argparse.Namespace) -> int:
    settings = read(**_given(arguments))
    from app.cli.bundle import export

    return export(settings, arguments.store, arguments.file)


def _import(arguments: argparse.Namespace) -> int:
    settings = read(**_given(arguments))
    from app.cli.bundle import Wanted, import_

    return import_(settings, arguments.file, Wanted(arguments.store, arguments.alias, arguments.reembed))


def _key(arguments: argparse.Namespace) -> int:
    settings = read(**_given(arguments))
    from app.cli.key import key

    return key(settings, arguments)


def _audit(arguments: argparse.Namespace) -> int:
    settings = read(**_given(arguments))
    from app.cli.audit import audit

    return audit(settings, arguments.last)


def _calibrate(arguments: argparse.Namespace) -> int:
    settings = read(**_given(arguments))
    from app.cli.calibrate import Wanted, calibrate, forget

    if arguments.forget:
        return forget(settings, arguments.store)
    asked = ("store", "questions", "file", "seed", "wrong", "keep_threshold")
    return calibrate(settings, Wanted(**{name: getattr(arguments, name) for name in asked}))


def _eval(argv: Sequence[str]) -> int:
    from app.eval.__main__ import main as run

    return run(argv)


def _bench(argv: Sequence[str]) -> int:
    from app.bench.__main__ import main as run

    run(list(argv))
    return 0


def _train(argv: Sequence[str]) -> int:
    from app.train.__main__ import main as run

    run(list(argv))
    return 0


# These read their own arguments.
TOOLS = {"eval": _eval, "bench": _bench, "train": _train}

if __name__ == "__main__":
    sys.exit(main())
