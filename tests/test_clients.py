"""The lists of clients/ pin everything and name no registry, and the runner tells what became of a client."""

import json
import re
import sys
from pathlib import Path

import pytest

from clients import environments, run
from clients.environments import Environment, NotInstalled, Unreachable
from clients.run import CLIENTS, Client, Outcome
from clients.server import Server

HERE = Path(environments.__file__).parent
ROOT = HERE.parent
SERVER = Server("http://127.0.0.1:9", "sesame")


@pytest.mark.parametrize("path", sorted(HERE.glob("*/requirements.txt")), ids=lambda path: path.parent.name)
def test_what_python_installs_is_pinned(path: Path) -> None:
    lines = [line for line in path.read_text("utf-8").splitlines() if not line.startswith("#")]
    assert lines and all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)


@pytest.mark.parametrize("path", sorted(HERE.glob("*/package.json")), ids=lambda path: path.parent.name)
def test_what_node_installs_is_pinned(path: Path) -> None:
    wanted = json.loads(path.read_text("utf-8"))["dependencies"]
    packages = json.loads(path.with_name("package-lock.json").read_text("utf-8"))["packages"]
    assert packages.pop("")["dependencies"] == wanted
    assert wanted == {name: packages[f"node_modules/{name}"]["version"] for name in wanted}
    assert all(one["integrity"] and "resolved" not in one for one in packages.values())  # by hash, from any registry


def test_each_folder_is_run() -> None:
    assert {client.folder for client in CLIENTS} == {
        path.parent.name for name in ("requirements.txt", "package.json") for path in HERE.glob(f"*/{name}")
    }
    assert len({client.name for client in CLIENTS}) == len(CLIENTS)
    for client in CLIENTS:
        assert (HERE / client.script).exists() and Environment(client.folder).version(client.package)


def test_ci_runs_clients_that_exist() -> None:
    said = re.search('make clients ONLY="(.+)"', (ROOT / ".ci/run").read_text("utf-8"))
    assert said and set(said[1].split()) <= {client.name for client in CLIENTS}


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    """One whose list can be met by nothing, in a folder of its own."""
    monkeypatch.setattr(environments, "HERE", tmp_path)
    monkeypatch.setattr(run, "HERE", tmp_path)
    (tmp_path / "made-up").mkdir()
    (tmp_path / "made-up/requirements.txt").write_text("cogcore-made-up==1\n")
    return Client("made-up", "cogcore-made-up", "made-up", "made-up/check.py")


def test_skipped_where_no_registry_answers(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("INDEX_URL", "http://127.0.0.1:9/simple"),
        ("EXTRA_INDEX_URL", ""),
        ("CONFIG_FILE", "/dev/null"),
    ):
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    outcome = run.prepared(client)
    assert "no package registry answered" in outcome.skipped and not outcome.failed
    assert outcome.row() == ("made-up", "1", "0", "0", "0", "skipped")


def test_failed_where_the_registry_has_no_such_version(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    outcome = run.prepared(client)
    assert outcome.failed["install"] and not outcome.skipped
    with pytest.raises(NotInstalled) as refused:
        Environment(client.folder).ensure()
    assert not isinstance(refused.value, Unreachable)


@pytest.mark.parametrize(
    ("script", "passed", "failed"),
    [
        ("@check\ndef one(): pass\n@check\nasync def two(): raise OSError('x')\nrun()", ["one"], ["two"]),
        ("import absent\nrun()", [], ["the script"]),
        ("pass", [], ["the script"]),
    ],
)
def test_what_a_script_tells(
    client: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    passed: list[str],
    failed: list[str],
) -> None:
    (tmp_path / client.script).write_text(f"from checks import check, run\n{script}\n")
    (tmp_path / "checks").symlink_to(HERE / "checks")
    monkeypatch.setattr(Environment, "command", lambda _, path: [sys.executable, str(path)])
    outcome = Outcome(client, "1")
    run.use(outcome, SERVER, tmp_path / "made-up")
    assert (outcome.passed, list(outcome.failed)) == (passed, failed)
