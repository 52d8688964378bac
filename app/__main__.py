"""The `cogcore` command.

Whatever loads torch is imported by the subcommand that needs it: that import alone takes seconds, which `--help`,
a wrong setting, and a client of a running server should not wait for.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from app.settings import SettingsError, read


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    given = list(sys.argv[1:] if argv is None else argv)
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

    ingest = commands.add_parser("ingest", help="put a folder of documents into a store")
    ingest.add_argument("folder", type=Path, metavar="DIR")
    ingest.add_argument("--store", default="default", help="the store's name or id; a new name makes a store")
    ingest.set_defaults(run=_ingest)

    ask = commands.add_parser("ask", help="ask a question, and see what was thought, searched and quoted")
    ask.add_argument("question", nargs="+")
    ask.add_argument("--store", default="default", help="the store's name or id")
    ask.set_defaults(run=_ask)

    for command in (serve, ingest, ask):
        command.add_argument("--host", help="instead of COGCORE_HOST")
        command.add_argument("--port", type=int, help="instead of COGCORE_PORT")
        command.add_argument("--data-dir", type=Path, help="instead of COGCORE_DATA_DIR")
    for name, what in (("eval", "measure the answers"), ("bench", "measure the speed"), ("train", "make the core")):
        commands.add_parser(name, help=what, add_help=False)
    return parser


def _given(arguments: argparse.Namespace) -> dict[str, object]:
    chosen = {name: getattr(arguments, name) for name in ("host", "port", "data_dir")}
    return {name: value for name, value in chosen.items() if value is not None}


def _serve(arguments: argparse.Namespace) -> int:
    settings = read(**_given(arguments))
    from app.cli.serve import serve

    return serve(settings)


def _ingest(arguments: argparse.Namespace) -> int:
    settings = read(**_given(arguments))
    from app.cli.ingest import ingest

    return ingest(settings, arguments.folder, arguments.store)


def _ask(arguments: argparse.Namespace) -> int:
    settings = read(**_given(arguments))
    from app.cli.ask import ask

    return ask(settings, " ".join(arguments.question), arguments.store)


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
