"""The campaigns against the memory, small: they find nothing, and would find what is planted."""

import random
from pathlib import Path

import pytest

from app.bench import flips, hostile, kills, manual
from app.bench.hashed import Hashed
from index import keeper
from index.memory import DEFAULT_STORE, Memory
from index.parse import Limits


@pytest.fixture(autouse=True)
def _snapshots_of_small_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "LEAST", 1)


def test_flips_are_noticed_or_harmless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flips, "DOCUMENTS", 9)
    ended = flips.flip(tmp_path, 1, 3)
    assert {"catalog.vectors", "originals", "catalog.words/1", "catalog.words/1.codes"} <= ended.keys()
    for what, counts in ended.items():
        assert not any(how.startswith(flips.WRONG) for how in counts), (what, counts)


def test_what_a_look_after_a_kill_sees(tmp_path: Path) -> None:
    """The looking half in this process: forks are for processes without threads."""
    folder, journal = tmp_path / "data", kills.Journal(tmp_path / "journal")
    memory = Memory(folder, Hashed("first"), tiers=kills.TIERS)
    for word in ("quux0x0", "quux0x1", "quux0x2"):
        kills._add(memory, journal, word)
    gone = journal.ids["quux0x1"]
    journal.write("quux0x1", "going", gone)
    memory.delete_file(gone)
    journal.write("quux0x1", "gone")
    journal.write("quux0x9", "begun")
    memory._keeper.keep()
    memory.close()
    assert list(kills.faults(folder, journal)) == [] and journal.state["quux0x9"] == "gone"
    told = " ".join(kills.standing(folder, {"quux0x1", "quux0x2"}, "here"))
    for place in (
        "catalog.sqlite, page",
        "originals/",
        "a vector of quux0x2",
        "quux0x2 was deleted and is here a word",
    ):
        assert place in told
    assert "quux0x1" not in told
    journal.write("quux0x1", "there", gone)
    journal.write("quux0x2", "gone")
    (folder / "catalog.vectors" / "7").write_text("left")
    (folder / "left").write_text("over quux0x7")
    journal.write("quux0x7", "gone")
    found = " ".join(kills.faults(folder, journal))
    for fault in (
        "quux0x1 (there) is lost",
        "quux0x2 was deleted and is there",
        "left is left over",
        "stands after the start in left",
    ):
        assert fault in found


# The heavy ones are for the command.
LIGHT = (
    "truncated",
    "flipped",
    "mislabelled",
    "noise",
    "entities",
    "deep_json",
    "nested_archives",
    "liar",
    "many_pages",
)


def test_hostile_files_end_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostile, "MAKERS", [getattr(hostile, name) for name in LIGHT])
    memory = Memory(tmp_path, Hashed(), limits=Limits(wall_seconds=60))
    ended, _, wrong = hostile.attack(memory, len(LIGHT), 60, 1)
    memory.close()
    assert wrong == [] and ended.total() == len(LIGHT)


def test_what_hostile_files_are_made_of_is_sound_before_it_is_harmed(tmp_path: Path) -> None:
    memory = Memory(tmp_path, Hashed())
    for suffix, data in hostile.good(random.Random(0)).items():
        file = memory.add_file(f"good{suffix}", data)
        memory.attach(DEFAULT_STORE, file.id)
        ended = memory.wait(DEFAULT_STORE, file.id, 60)
        assert ended.status == "completed", (suffix, ended.last_error)
    memory.close()


def test_a_manual_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    manual.main(["--pages", "3"])
    told = capsys.readouterr().out
    assert "3 pages" in told and "completed" in told and "at most" in told
