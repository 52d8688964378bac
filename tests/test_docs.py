"""README knows every setting, route and command, and none that does not exist."""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import cast
from unittest.mock import MagicMock

import pytest

from app.__main__ import TOOLS, _parser
from app.api import create_app
from app.api.parts import Parts
from app.settings import CONFIG, PREFIX, Settings, read

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def table(section: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    body = README.split(f"\n## {section}\n")[1].split("\n## ")[0]
    rows = [line for line in body.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def shown(value: object) -> str:
    return "" if value in (None, "") else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def test_every_setting_with_its_default_and_meaning() -> None:
    told = {name: (default, meaning) for name, default, meaning in table("Settings")}
    real = {
        f"`{PREFIX}{name.upper()}`": (shown(field.default), field.description or "")
        for name, field in Settings.model_fields.items()
    }
    assert told == real


@pytest.mark.parametrize(
    "path", ["README.md", "DECISIONS.md", "Makefile", "docker/compose.yaml", "docker/entrypoint.sh"]
)
def test_no_setting_that_does_not_exist(path: str) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {CONFIG}
    assert set(re.findall(PREFIX + r"[A-Z][A-Z_]*", (ROOT / path).read_text("utf-8"))) <= known


def served() -> set[str]:
    """What create_app answers to. The parts are not used until a request comes."""
    parts = MagicMock()
    parts.settings = read()
    paths = create_app(cast(Parts, parts)).openapi()["paths"]
    return {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}


def test_every_route_and_no_other() -> None:
    told = {route for cells in table("Routes") for route in re.findall(r"`([A-Z]+ /[^`]*)`", cells[0])}
    assert told == served()


def commands() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in _parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def test_every_command_and_no_other() -> None:
    told = {name for cells in table("Commands") for name in re.findall(r"`cogcore (\w+)", cells[0])}
    assert told == {name for name, _ in commands()} | set(TOOLS)


def test_the_commands_that_are_shown_can_be_parsed() -> None:
    lines = re.findall(r"^\.venv/bin/cogcore (.+)$", README, re.M)
    assert lines
    for line in lines:
        _parser().parse_args([word.strip('"') for word in re.findall(r'"[^"]*"|\S+', line)])


def test_the_two_commands_come_first() -> None:
    start = README[: README.index("\n## ")]
    assert re.search(r"^make serve\b", start, re.M) and re.search(r"^make test\b", start, re.M)
    targets = (ROOT / "Makefile").read_text("utf-8")
    said = README + (ROOT / ".ci/run").read_text("utf-8")
    for target in set(re.findall(r"(?:^|`)make ([a-z]+)", said, re.M)):
        assert re.search(rf"^{target}:", targets, re.M), f"README or .ci/run says make {target}"


def test_the_tree_is_the_tree() -> None:
    body = README.split("\n## The tree\n")[1].split("```")[1]
    folder = ""
    for line in body.strip().splitlines():
        name = line.split()[0]
        names = line.split() if "  " in line and not re.search(r"\s{3,}", line) else [name]
        if not line.startswith(" ") and name.endswith("/"):
            folder = name
        for each in names:
            assert (ROOT / (folder if line.startswith("  ") else "") / each).exists(), f"{each} in README's tree"


@pytest.mark.parametrize("path", ["README.md", "DECISIONS.md", "CHANGELOG.md", "requirements/README.md", "NOTICE"])
def test_files_that_are_named_exist(path: str) -> None:
    text = (ROOT / path).read_text("utf-8")
    for name in re.findall(r"(?:app|index|docker|tests|requirements)/[\w/.-]*\w", text):
        assert (ROOT / name).exists(), f"{path} names {name}"
