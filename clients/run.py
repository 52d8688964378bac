"""Runs the clients that people have against our real server: `make clients`, or one by `make clients ONLY=name`.

Each client has a folder here: a list of what is installed, to the last version, and a script that does in the client's
own words what its users do. A client whose packages no registry serves just now is skipped, and said to be.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clients.environments import HERE, Environment, NotInstalled, Unreachable
from clients.server import LOG, Server, serving

SECONDS = 600  # for one client's script, and the minutes that it is given


@dataclass(frozen=True, slots=True)
class Client:
    """A client: its name, its package, the folder of its environment, and its script."""

    name: str
    package: str
    folder: str
    script: str


CLIENTS = (
    Client("openai-python", "openai", "openai-python", "openai-python/check.py"),
    Client("openai-python-2", "openai", "openai-python-2", "openai-python/check.py"),
    Client("openai-node", "openai", "openai-node", "openai-node/check.mjs"),
    Client("ai-sdk-openai", "@ai-sdk/openai", "ai-sdk", "ai-sdk/openai.mjs"),
    Client("ai-sdk-openai-compatible", "@ai-sdk/openai-compatible", "ai-sdk", "ai-sdk/openai-compatible.mjs"),
    Client("ai-sdk-open-responses", "@ai-sdk/open-responses", "ai-sdk", "ai-sdk/open-responses.mjs"),
    Client("langchain-openai", "langchain-openai", "langchain-openai", "langchain-openai/check.py"),
    Client("litellm", "litellm", "litellm", "litellm/check.py"),
    Client("llama-index", "llama-index-llms-openai-like", "llama-index", "llama-index/check.py"),
    Client("llm", "llm", "llm", "llm/check.py"),
    Client("mcp", "mcp", "mcp", "mcp/check.py"),
    Client("schemathesis", "schemathesis", "schemathesis", "schemathesis/check.py"),
    Client("mcp-inspector", "@modelcontextprotocol/inspector", "mcp-inspector", "mcp-inspector/check.mjs"),
)


@dataclass(slots=True)
class Outcome:
    """What became of one client: its checks that passed, those that failed and why, or why it was skipped."""

    client: Client
    version: str
    passed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: str = ""

    def row(self) -> tuple[str, ...]:
        told = "skipped" if self.skipped else "FAILED" if self.failed else "passed"
        counts = (str(len(self.passed) + len(self.failed)), str(len(self.passed)), str(len(self.failed)))
        return (self.client.name, self.version, *counts, told)


def main() -> int:
    """1 where a check, or the server, failed."""
    parser = argparse.ArgumentParser(prog="make clients", description=__doc__.partition("\n")[0])
    known = [client.name for client in CLIENTS]
    parser.add_argument("only", nargs="*", metavar="NAME", help=f"clients to run, of {', '.join(known)}")
    only = parser.parse_args().only or known
    if strange := sorted(set(only) - set(known)):
        parser.error(f"no client is named {strange[0]}; there are {', '.join(known)}")
    outcomes = [prepared(client) for client in CLIENTS if client.name in only]
    ready = [outcome for outcome in outcomes if not (outcome.skipped or outcome.failed)]
    failed = bool(ready) and run(ready)
    report(outcomes)
    return int(failed or any(outcome.failed for outcome in outcomes))


def run(ready: Sequence[Outcome]) -> bool:
    """Every client against one server; whether the server itself failed at something, as its log tells."""
    with tempfile.TemporaryDirectory(prefix="cogcore-clients-") as folder:
        with serving(Path(folder)) as server:
            for outcome in ready:
                print(f"Running {outcome.client.name}", flush=True)
                use(outcome, server, Path(folder))
        log = (Path(folder) / LOG).read_text("utf-8")
    if failed := "Traceback" in log:
        print(f"\nThe server failed:\n{log}")
    return failed


def prepared(client: Client) -> Outcome:
    """The client with its environment, or why it has none."""
    environment = Environment(client.folder)
    outcome = Outcome(client, environment.version(client.package))
    try:
        environment.ensure()
    except Unreachable as error:
        outcome.skipped = f"no package registry answered: {error}"
    except NotInstalled as error:
        outcome.failed["install"] = str(error)
    return outcome


def use(outcome: Outcome, server: Server, folder: Path) -> None:
    """Run the client's script, and write down what it tells."""
    command = Environment(outcome.client.folder).command(HERE / outcome.client.script)
    home = folder / outcome.client.name  # nothing that a client keeps may reach the user's own home
    home.mkdir()
    try:
        done = subprocess.run(
            command,
            cwd=home,
            env=environment(server, home),
            capture_output=True,
            text=True,
            timeout=SECONDS + 60 * float(os.environ.get("MINUTES") or 0),
            check=False,
        )
    except subprocess.TimeoutExpired:
        outcome.failed["the script"] = "did not end in time"
        return
    for line in done.stdout.splitlines():
        if not line.startswith('{"check"'):
            continue
        told = json.loads(line)
        if told["failed"] is None:
            outcome.passed.append(told["check"])
        else:
            outcome.failed[told["check"]] = told["failed"]
    if done.returncode or not (outcome.passed or outcome.failed):
        outcome.failed["the script"] = f"ended with {done.returncode}\n{done.stdout}{done.stderr}"


def environment(server: Server, home: Path) -> dict[str, str]:
    """The variables that a client is told the server by, and nothing of the user's own."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR", "MINUTES") if name in os.environ}
    return {
        **kept,
        "HOME": str(home),
        "PYTHONPATH": str(HERE / "checks"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "NO_PROXY": "127.0.0.1",
        "OPENAI_API_KEY": server.key,
        "OPENAI_BASE_URL": f"{server.url}/v1",  # openai, ai-sdk
        "OPENAI_API_BASE": f"{server.url}/v1",  # langchain
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # it would fetch a list of prices
    }


def report(outcomes: Sequence[Outcome]) -> None:
    """Everything that failed or was skipped, then the table."""
    for outcome in outcomes:
        for check, why in outcome.failed.items():
            print(f"\n{outcome.client.name}: {check}\n{why.rstrip()}")
        if outcome.skipped:
            print(f"\n{outcome.client.name} was skipped: {outcome.skipped}")
    rows = [("client", "version", "checks", "passed", "failed", ""), *(outcome.row() for outcome in outcomes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    print()
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    sys.exit(main())
