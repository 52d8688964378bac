"""Each client's own environment, made from the list beside it by pip or npm, as they are configured here."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
INSTALLED = ".installed"  # holds the digest of the list that an environment was made from
PIN = re.compile(r"^([\w.-]+)==(\S+)$", re.M)
# What pip, npm and the resolver say when nothing answers.
UNREACHABLE = re.compile(
    r"NewConnectionError|ConnectTimeoutError|NameResolutionError|Failed to establish a new connection"
    r"|Connection refused|timed out|ENOTFOUND|ECONNREFUSED|ECONNRESET|ETIMEDOUT|EAI_AGAIN|ENETUNREACH"
)


class NotInstalled(Exception):
    """An environment could not be made."""


class Unreachable(NotInstalled):
    """Because no package registry answered."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What the list in one folder asks for: `requirements.txt` of Python's packages, `package.json` of Node's."""

    name: str

    @property
    def wanted(self) -> Path:
        node = HERE / self.name / "package.json"
        return node if node.exists() else HERE / self.name / "requirements.txt"

    @property
    def node(self) -> bool:
        return self.wanted.suffix == ".json"

    @property
    def folder(self) -> Path:
        return self.wanted.with_name("node_modules" if self.node else ".venv")

    def version(self, package: str) -> str:
        """As the list pins it."""
        text = self.wanted.read_text("utf-8")
        pinned: dict[str, str] = json.loads(text)["dependencies"] if self.node else dict(PIN.findall(text))
        return pinned[package]

    def command(self, script: Path) -> list[str]:
        """What runs a script in it."""
        return [_program("node") if self.node else str(self.folder / "bin/python"), str(script)]

    def ensure(self) -> None:
        """Make it, unless it was made from this very list. Raises NotInstalled."""
        locked = [self.wanted.with_name("package-lock.json")] if self.node else []
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in (self.wanted, *locked))).hexdigest()
        stamp = self.folder / INSTALLED
        if stamp.exists() and stamp.read_text("utf-8") == digest:
            return
        print(f"Installing {self.name}", flush=True)
        if self.node:
            _install([_program("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"], self.wanted.parent)
        else:
            venv.create(self.folder, clear=True, symlinks=True)
            pip = [sys.executable, "-m", "pip", "--python", str(self.folder / "bin/python"), "install", "--retries=2"]
            _install([*pip, "--no-deps", "--only-binary=:all:", "--requirement", str(self.wanted)], self.wanted.parent)
        stamp.write_text(digest, "utf-8")


def _install(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [
            f"{Path(command[0]).name} ended with {done.returncode}",
            *done.stdout.splitlines(),
            *done.stderr.splitlines(),
        ]
        if unheard := next(filter(UNREACHABLE.search, said), None):
            raise Unreachable(unheard.strip())
        raise NotInstalled("\n".join(said[-8:]))


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise NotInstalled(f"{name} is needed, and is not installed on this machine")
    return found
