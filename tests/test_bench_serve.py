"""The bench of serving: its arithmetic by hand, and each row on something small."""

import asyncio
import math
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from transformers import PreTrainedModel

from app.api import Parts
from app.bench.__main__ import main
from app.bench.answers import CLEAN, _Disturbed
from app.bench.child import serving
from app.bench.compare import Budget, Disagree, Ratio, agreed, gaps, percentile, steady
from app.bench.visits import HOSTILE, Fault, ask, client, offend
from app.cores.load import load_core
from app.sample import documents
from app.settings import read
from index.memory import DEFAULT_STORE, Memory
from index.reader import Reader
from index.types import Embedder
from tests.api.live import listening, live
from tests.bench_servers import Server
from tests.engine import checkpoints

SMALL = "--streams 3 --context 40 --tokens 48 --prompt 160 --cached 96 --threads 1 --repeats 2".split()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PreTrainedModel]:
    folder = tmp_path_factory.mktemp("small")
    return folder, checkpoints.write("qwen3", folder)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder, reader: Reader, device: str) -> Iterator[str]:
    """The whole server over the sample's Markdown."""
    folder = tmp_path_factory.mktemp("served")
    memory = Memory(folder, embedder, reader)
    for path in documents():
        if path.suffix == ".md":
            memory.attach(DEFAULT_STORE, memory.add_file(path.name, path.read_bytes()).id)
    while memory.store(DEFAULT_STORE).counts.get("in_progress"):
        time.sleep(0.05)
    with live(Parts(load_core(device=device, threads=1, max_sequences=4), memory, read(data_dir=folder))) as url:
        yield url


def lines(told: str) -> list[tuple[int, float, float, float, str]]:
    """Row, ours, theirs, ratio and what agrees, of each line of the table."""
    found = re.findall(r"^(\d) .+? (\S+) +(\S+) +(\S+) +\S+ to \S+ +[<>]= \S+ +\d+ +(\S.*)$", told, re.M)
    return [(int(row), float(ours), float(theirs), float(ratio), same) for row, ours, theirs, ratio, same in found]


def test_every_row_of_the_engine_prints_its_ratios(
    checkpoint: tuple[Path, PreTrainedModel], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["serve", "--rows", "1", "2", "3", "5", "--core", str(checkpoint[0]), *SMALL])
    table = lines(capsys.readouterr().out)
    assert [line[0] for line in table] == [1, 1, 2, 3, 3, 5]
    assert all(math.isfinite(number) and number > 0 for line in table for number in line[1:4])
    assert [line[4] for line in table] == ["100 %"] * 4 + ["-", "100 %"]


def test_drafts_are_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    main(["serve", "--rows", "4", "--core", "tiny", "--streams", "2", "--repeats", "1", "--threads", "1"])
    table = lines(capsys.readouterr().out)
    assert [line[0] for line in table] == [4, 4]
    assert all(line[1] > 0 and line[2] > 0 and line[4] == "100 %" for line in table)


def test_whole_answers_and_the_peers_loop(server: str, capsys: pytest.CaptureFixture[str]) -> None:
    some = ["--repeats", "1", "--clients", "2", "--answers", "4", "--threads", "1"]
    main(["serve", "--rows", "6", *some, "--url", server, "--peer", server])
    told = capsys.readouterr().out
    assert re.search(r"an answer of ours: \d+ tokens in the median; [1-4] of 4 searched", told)
    assert re.search(r"an answer of the peer's: \d+ tokens in the median", told)
    table = lines(told)
    assert [line[0] for line in table] == [6, 6]
    assert all(math.isfinite(number) and number > 0 for line in table for number in line[1:4])


async def test_what_is_hostile_is_refused_and_the_rest_is_answered(server: str) -> None:
    async with client(server) as visitor:
        for hostile in HOSTILE:
            await offend(visitor, hostile)
        question = "How long can a sabbatical last?"
        whole, streamed = await ask(visitor, question), await ask(visitor, question, stream=True)
    assert whole == streamed and whole.searched and len(whole.rounds) == 2


async def test_a_server_that_takes_what_is_hostile_is_not_measured() -> None:
    with listening(Server("takes anything")) as url:
        async with client(url) as visitor:
            disturbed = _Disturbed(visitor, ["Who?"], Always())
            for _ in range(CLEAN + 1):
                assert (await disturbed.ask("Who?")).text == "Who?"
            with pytest.raises(Fault, match="200 instead of 40"):
                await disturbed.ended()
            assert len(disturbed._strangers) == 2


class Always(random.Random):
    """Never hangs up."""

    def random(self) -> float:
        return 0.9


async def test_a_server_is_started_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    with serving(None, sample=False, threads=1, device="cpu") as url:
        async with client(url) as visitor:
            assert (await visitor.get("/version")).json()["name"] == "cogcore"
    with pytest.raises(OSError, match="Connect"):
        await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))


def test_speed_is_measured_while_all_write() -> None:
    first = [(7, float(second)) for second in range(11)]
    later = [(7, float(second)) for second in range(4, 21)]
    # From 4 to 10: six tokens of each.
    assert steady([first, later]) == 2.0
    with pytest.raises(Disagree, match="side by side"):
        steady([first[:4], later])


def test_gaps_are_those_in_which_something_arrived() -> None:
    text = [(7, at) for at in (0.0, 1.0, 2.0, 5.0, 6.0, 7.0)]
    assert gaps([text], began=2.5, ended=5.5) == [3.0, 1.0]
    assert percentile([3.0, 1.0, 2.0], 0.99) == 3.0
    assert percentile(range(1, 101), 0.5) == 51


def test_sides_that_differ_are_not_compared() -> None:
    text, other = [(1, 0.0), (2, 1.0)], [(1, 0.0), (3, 1.0), (4, 2.0)]
    assert agreed([text] * 10, [text[:1]] * 9 + [other], exact=True) == 0.9
    with pytest.raises(Disagree, match="80 %"):
        agreed([text] * 10, [text] * 8 + [other] * 2, exact=True)
    assert agreed([text], [other], exact=False) == 0  # half precision: told, not judged


def test_a_ratio_is_the_median_of_each_repetitions_own() -> None:
    line = Ratio(1, "tiny", "tokens/s", ">= 4", [400, 10, 90], [100, 10, 10], 1.0).line()
    assert re.sub(r"\s+", " ", line) == "1 tiny tokens/s 90 10 4.00 1.00 to 9.00 >= 4 3 100 %"


def test_time_that_is_over_leaves_one_repetition() -> None:
    assert list(Budget(3, time.monotonic() + 60).runs()) == [(0, False), (1, True), (2, True), (3, True)]
    assert list(Budget(3, time.monotonic() - 1).runs()) == [(0, False), (1, True)]
