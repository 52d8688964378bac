"""A soak finds what it is there to find, and nothing in a server that is as it should be."""

import re
from pathlib import Path

import pytest

from app.bench.__main__ import main
from app.bench.child import NoServer, serving
from app.bench.soak import MIB, Sample, Seen, breaches, memory
from tests.api.live import listening
from tests.bench_servers import Server, Vice

SHORT = ["soak", "--minutes", "0.04", "--clients", "6", "--patience", "4"]


def test_a_good_server_has_no_breach(capsys: pytest.CaptureFixture[str]) -> None:
    with listening(Server()) as url:
        main([*SHORT, "--url", url])
    told = capsys.readouterr().out
    assert told.endswith("no breach\n")
    counts = {what: int(count) for count, what in re.findall(r"^ +(\d+) (.+)$", told, re.M)}
    assert counts.keys() >= {"answered", "left", "hostile"} and counts["answered"] > 20


@pytest.mark.parametrize(
    ("vice", "said"),
    [
        ("leaks", "memory has grown from"),
        ("sticks", "requests were not over in time"),
        ("keeps slots", "slots are free"),
        ("breaks off", "without its [DONE]"),
        ("takes anything", "200 instead of 40"),
        ("fails", "our own bug"),
    ],
)
def test_a_bad_server_is_found_out(vice: Vice, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with listening(Server(vice)) as url, pytest.raises(SystemExit) as ended:
        main([*SHORT, "--url", url])
    told = capsys.readouterr().out
    assert ended.value.code == 1
    found = [line for line in told.splitlines() if line.startswith("BREACH: ")]
    assert any(said in line for line in found) and (len(found) == 1 or vice == "sticks")


def test_a_server_that_is_gone_is_a_breach() -> None:
    with listening(Server()) as url:
        pass
    with pytest.raises(SystemExit, match="bench soak"):
        main([*SHORT, "--url", url])


def sample(mib: float, *, running: int = 0, free: int = 8) -> Sample:
    return Sample(mib * MIB, running, 0, 8, free)


def test_memory_may_grow_while_everything_is_touched_once() -> None:
    samples = [sample(100 + 20 * n) for n in range(5)] + [sample(200 + n % 3) for n in range(20)]
    assert memory(samples) == (201 * MIB, 201 * MIB)
    seen = Seen(samples=samples, last=sample(200))
    seen.ended["answered"] = 1
    assert not list(breaches(seen))
    seen.samples += [sample(200 + 5 * n) for n in range(20)]
    assert [breach.split()[0] for breach in breaches(seen)] == ["memory"]


def test_nothing_answered_and_something_running_are_breaches() -> None:
    found = list(breaches(Seen(samples=[sample(1)], last=sample(1, running=2, free=6))))
    assert found[0] == "not one question was answered"
    assert "2 requests run, 0 wait, and 6 of 8 slots are free" in found[1]


def test_a_server_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    with pytest.raises(NoServer, match="COGCORE_THREADS=many"), serving(None, threads="many"):
        pass
