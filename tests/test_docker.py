"""The image and the compose file say the same as the settings and the tree. Neither is built here."""

import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest
import yaml

from app.settings import Settings, SettingsError, read

ROOT = Path(__file__).parent.parent
ENTRYPOINT = ROOT / "docker/entrypoint.sh"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker/compose.yaml").read_text("utf-8"))
SCALE: dict[str, Any] = yaml.safe_load((ROOT / "docker/compose.scale.yaml").read_text("utf-8"))
SETTINGS = {"COGCORE_" + name.upper() for name in Settings.model_fields}
TELEMETRY = {"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_SERVICE_NAME"}


def instructions() -> list[tuple[str, str]]:
    """(INSTRUCTION, arguments) of the Dockerfile, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text("utf-8"), flags=re.M)
    joined = re.sub(r"\\\n\s*", " ", text)
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def environment() -> dict[str, str]:
    """What the last stage sets."""
    last = max(n for n, (word, _) in enumerate(instructions()) if word == "FROM")
    pairs = [shlex.split(rest) for word, rest in instructions()[last:] if word == "ENV"]
    return dict(pair.split("=", 1) for group in pairs for pair in group)


def test_base_images_are_pinned_to_a_full_version() -> None:
    images = dict(rest.split("=", 1) for word, rest in instructions() if word == "ARG" and "IMAGE=" in rest)
    assert images and all(re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", image) for image in images.values())
    bases = [rest.split()[0] for word, rest in instructions() if word == "FROM"]
    assert len(bases) == 2 and all(base == "${PYTHON_IMAGE}" for base in bases)


def test_the_server_is_not_root() -> None:
    users = [rest for word, rest in instructions() if word == "USER"]
    assert users and re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])


def test_what_is_copied_exists_and_is_let_through() -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")]
    copied = [rest.split()[:-1] for word, rest in instructions() if word == "COPY" and not rest.startswith("--from")]
    for source in (name.rstrip("/") for names in copied for name in names):
        assert (ROOT / source).exists(), source
        assert source in allowed, f"{source} is kept out by .dockerignore"


def test_nothing_is_fetched_but_by_pip() -> None:
    text = (ROOT / "Dockerfile").read_text("utf-8")
    assert not re.search(r"\b(curl|wget|git clone|apt-get|apk add)\b", text)
    assert not [rest for word, rest in instructions() if word == "ADD"]
    assert "http" not in ENTRYPOINT.read_text("utf-8")


def test_the_image_sets_only_settings_that_exist() -> None:
    ours = {name for name in environment() if name.startswith("COGCORE_")}
    assert ours == {"COGCORE_HOST", "COGCORE_PORT", "COGCORE_DATA_DIR"} and ours <= SETTINGS


def test_compose_agrees_with_the_image_and_the_settings() -> None:
    image = environment()
    ours = {name: service for name, service in COMPOSE["services"].items() if name.startswith("cogcore-")}
    assert set(ours) == {"cogcore-cpu", "cogcore-gpu", "cogcore-postgres"}
    for name, service in ours.items():
        assert service["profiles"] == [name.removeprefix("cogcore-")]
        # Every setting can be given, but for those that the image decides; and where traces go.
        given = set(service["environment"]) | {"COGCORE_HOST", "COGCORE_PORT", "COGCORE_DATA_DIR"}
        assert given == SETTINGS | TELEMETRY
        assert service["ports"] == ["${PUBLISH:-127.0.0.1}:${PORT:-8000}:" + image["COGCORE_PORT"]]
        assert service["volumes"] == ["data:/data"] and image["COGCORE_DATA_DIR"].startswith("/data/")
        assert service["read_only"] and service["cap_drop"] == ["ALL"]
    assert set(COMPOSE["volumes"]) == {"data", "catalog"}
    cpu, gpu = COMPOSE["services"]["cogcore-cpu"], COMPOSE["services"]["cogcore-gpu"]
    assert cpu["image"] == gpu["image"] and cpu["build"] == gpu["build"]
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia" and device["capabilities"] == ["gpu"] and "deploy" not in cpu


def test_compose_keeps_the_catalog_in_a_database_that_nobody_else_reaches() -> None:
    server, database = COMPOSE["services"]["cogcore-postgres"], COMPOSE["services"]["postgres"]
    assert server["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    url = urlsplit(server["environment"]["COGCORE_CATALOG_URL"])
    told = database["environment"]
    assert (url.scheme, url.hostname, url.username) == ("postgresql", "postgres", told["POSTGRES_USER"])
    assert url.path == f"/{told['POSTGRES_DB']}" and url.password == told["POSTGRES_PASSWORD"]
    assert database["profiles"] == server["profiles"] and "ports" not in database
    assert database["volumes"] == ["catalog:/var/lib/postgresql/data"] and "UTF8" in told["POSTGRES_INITDB_ARGS"]
    assert re.fullmatch(r"postgres:\d+\.\d+-[a-z]+", database["image"])


def test_the_larger_compose_file_is_laid_over_the_other_one() -> None:
    assert SCALE["name"] == COMPOSE["name"]
    ours, theirs = set(COMPOSE["services"]) - {"postgres"}, {"etcd", "minio", "milvus"}
    assert set(SCALE["services"]) == ours | theirs and set(SCALE["volumes"]) == theirs
    arguments = {rest.partition("=")[0] for word, rest in instructions() if word == "ARG"}
    for name in ours:
        service = SCALE["services"][name]
        assert set(service) == {"build", "environment", "depends_on"}, "what it does not say stays as it is"
        assert set(service["environment"]) <= SETTINGS and set(service["build"]["args"]) <= arguments
        assert service["environment"]["COGCORE_MILVUS_URL"].endswith("-http://milvus:19530}")
        healthy = {"milvus": {"condition": "service_healthy"}}
        assert service["depends_on"] == COMPOSE["services"][name].get("depends_on", {}) | healthy
    for name in theirs:
        service = SCALE["services"][name]
        assert re.fullmatch(r"[\w./-]+:v?(\d+\.\d+\.\d+|RELEASE\.[\dTZ-]+)", service["image"]), "pinned"
        assert "ports" not in service and service["healthcheck"]["test"][0] == "CMD"
        assert service["volumes"][0].startswith(f"{name}:/")
    passwords = {name: SCALE["services"][name]["environment"] for name in ("minio", "milvus")}
    assert ":?" in passwords["minio"]["MINIO_ROOT_PASSWORD"]
    assert passwords["minio"]["MINIO_ROOT_PASSWORD"] == passwords["milvus"]["MINIO_SECRET_ACCESS_KEY"]


@pytest.fixture
def cogcore(tmp_path: Path) -> Path:
    """A folder with a `cogcore` that prints how it was called."""
    program = tmp_path / "bin/cogcore"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$@"\nenv | grep ^COGCORE_ | sort\n', "utf-8")
    program.chmod(0o755)
    return program.parent


def enter(cogcore: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": f"{cogcore}:{os.environ['PATH']}", **{"COGCORE_" + k: v for k, v in settings.items()}}
    return subprocess.run([ENTRYPOINT, *arguments], env=env, capture_output=True, text=True, check=False)


def test_without_a_key_the_image_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COGCORE_HOST", environment()["COGCORE_HOST"])
    with pytest.raises(SettingsError, match="COGCORE_API_KEY_FILE"):
        read()


def test_entrypoint_hands_on_arguments_and_settings(cogcore: Path, tmp_path: Path) -> None:
    started = enter(cogcore, API_KEY_FILE="/run/secrets/key", DATA_DIR=str(tmp_path / "new/data"))
    assert started.stdout.splitlines()[0] == "serve" and "COGCORE_API_KEY_FILE=/run/secrets/key" in started.stdout
    assert (tmp_path / "new/data").is_dir()
    assert enter(cogcore, "key", "list").stdout.startswith("key list\n")


def test_entrypoint_says_when_the_volume_cannot_be_written(cogcore: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = enter(cogcore, "serve", DATA_DIR=str(tmp_path / "file/data"))
    assert refused.returncode == 64 and "cannot be written" in refused.stderr


class Health(BaseHTTPRequestHandler):
    status = 200
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def port() -> Iterator[int]:
    Health.asked.clear()
    with HTTPServer(("127.0.0.1", 0), Health) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_the_health_check_itself(port: int, monkeypatch: pytest.MonkeyPatch, status: int, healthy: bool) -> None:
    monkeypatch.setattr(Health, "status", status)
    (check,) = [rest for word, rest in instructions() if word == "HEALTHCHECK"]
    command = yaml.safe_load(check[check.index("[") :])
    env = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COGCORE_PORT": str(port)}
    done = subprocess.run(command, env=env, capture_output=True, check=False)
    assert (done.returncode == 0) == healthy and Health.asked == ["/healthz"]
