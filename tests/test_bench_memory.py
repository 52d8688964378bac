"""Each row of the memory's measure, whole, on something small: the numbers mean nothing here."""

import io
import json
import lzma
import re
import tarfile
from pathlib import Path

import pytest

from app.bench import dense, memory, rerank
from app.bench.__main__ import main
from app.bench.rerank import gain, miscalibration
from tests.fakes import HashedWords


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for module in (dense, memory, rerank):
        monkeypatch.setattr(module, "load_embedder", lambda **_: HashedWords(384))
    facts = [f"Bridge {n} over the Sorne was built in {1800 + n} by the guild of masons. " * 4 for n in range(30)]
    articles = [{"title": f"Bridge {n}", "text": f"{fact}\n{fact.upper()}"} for n, fact in enumerate(facts)]
    squad = [
        {"title": "Bridges", "context": fact, "qas": [
            {"id": str(n), "question": f"When was bridge {n} built?", "answers": [
                {"text": str(1800 + n), "answer_start": 0}]}]}
        for n, fact in enumerate(facts)
    ]  # fmt: skip
    for name, rows in (("wiki/wiki-00", articles), ("squad/train", squad[:15]), ("squad/dev", squad[15:])):
        path = tmp_path / f"{name}.jsonl.xz"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(lzma.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    (tmp_path / "docs_kb").mkdir()
    with tarfile.open(tmp_path / "docs_kb" / "docs_kb.tar.xz", "w:xz") as archive:
        for n, fact in enumerate(facts[:5]):
            member = tarfile.TarInfo(f"project/docs/{n}.md")
            member.size = len(fact)
            archive.addfile(member, io.BytesIO(fact.encode()))
    return tmp_path


@pytest.mark.parametrize(
    ("row", "options", "told"),
    [
        ("vectors", ["--size", "500", "--questions", "5"], r"recall@10 +1\.000"),
        ("search", ["--size", "20", "--questions", "5"], r"whole over the three +\d+\.\d\d +\d+\.\d\d"),
        ("crowd", ["--size", "20", "--questions", "5"], r"fused( +\d+\.\d+){3}\nreread( +\d+\.\d+){3}"),
        ("squad", ["--questions", "10"], r"reread +(\d+\.\d +){4}[01]\.\d{3}\n"),
        ("ingest", ["--size", "20"], r"docs_kb, \d+ chunks(.|\n)+wiki, \d\d chunks"),
    ],
)
def test_a_row_is_measured_and_told(
    data: Path, capsys: pytest.CaptureFixture[str], row: str, options: list[str], told: str
) -> None:
    main(["memory", row, "--data", str(data), *options])
    assert re.search(told, printed := capsys.readouterr().out), printed


def test_what_is_kept_is_not_ingested_again(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = list[str]()
    for size in ("5", "20"):
        main(
            ["memory", "search", "--data", str(data), "--size", size, "--questions", "2", "--keep", str(tmp_path / "m")]
        )
        sizes.append(capsys.readouterr().out.split(" chunks")[0])
    assert int(sizes[0]) < int(sizes[1]) < 2 * 20


def test_gain_and_miscalibration_by_hand() -> None:
    assert [gain(place) for place in (0, 1, None)] == pytest.approx([1.0, 0.6309, 0.0], abs=1e-4)
    assert miscalibration([0.5] * 20, [True, False] * 10) == pytest.approx(0.0)
    assert miscalibration([0.9] * 20, [False] * 20) == pytest.approx(0.9)


def test_the_ways_to_run_the_embedder_are_compared(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["embed", "--data", str(data), "--passages", "4", "--questions", "2", "--repeats", "1"])
    int8, exact = capsys.readouterr().out.splitlines()[2:4]
    assert int8.split()[0] == "int8" and float(int8.split()[3]) > 0.99
    assert exact.split()[0] == "float32" and float(exact.split()[3]) == pytest.approx(1, abs=1e-3)
