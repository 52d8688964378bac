"""Requests and tokens in a minute, for each key its own: counted, told, and refused when they are used up."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import httpx
import openai
import pytest
from openai import OpenAI

from app.api import Parts, quota
from app.api.quota import Bucket, OverLimit, Quota, Quotas
from app.engine.types import Sampling
from app.keys import Key
from app.settings import read
from tests.api.live import live
from tests.api.test_access import parts_in
from tests.fakes import ScriptedEngine


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(quota, "time", made)
    return made


def test_what_was_used_flows_back_evenly(clock: Clock) -> None:
    bucket = Bucket(60, "requests")
    for _ in range(60):
        bucket.check()
        bucket.take(1)
    with pytest.raises(OverLimit) as refused:
        bucket.check()
    assert refused.value.retry_after == 1.0
    clock.now += 1.5
    bucket.check()
    assert bucket.headers() == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "1",
        "x-ratelimit-reset-requests": "58.500s",
    }
    clock.now += 1000
    assert bucket.left() == 60


def test_more_than_is_left_is_waited_for(clock: Clock) -> None:
    made = Quota(tokens=Bucket(600, "tokens"))
    made.admit()
    made.spend(1000)
    with pytest.raises(OverLimit) as refused:
        made.admit()
    assert refused.value.retry_after == pytest.approx(40.1)
    assert made.headers()["x-ratelimit-remaining-tokens"] == "0"
    clock.now += 40.1
    made.admit()


def test_a_keys_own_limits_go_before_the_settings() -> None:
    quotas = Quotas(read(requests_per_minute=5))
    usual, none, own = Key("usual"), Key("none", requests_per_minute=0), Key("own", requests_per_minute=7)
    limits = [made.requests.limit if (made := quotas.of(key)).requests else None for key in (usual, none, own)]
    assert limits == [5, None, 7]
    assert quotas.of(own) is quotas.of(own) and quotas.of(usual) is not quotas.of(own)
    assert Quotas(read()).of(usual).headers() == {}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Parts]]:
    parts = parts_in(tmp_path, api_key="sesame")
    with live(parts) as base_url:
        yield base_url, parts


def test_requests_are_counted_told_and_refused(served: tuple[str, Parts]) -> None:
    base_url, parts = served
    _, secret = parts.keys.create(Key("shop", requests_per_minute=2))
    _, other = parts.keys.create(Key("other"))
    with httpx.Client(base_url=base_url, headers={"Authorization": f"Bearer {secret}"}) as client:
        left = [client.get("/version").headers["x-ratelimit-remaining-requests"] for _ in range(2)]
        assert left == ["1", "0"]
        refused = client.get("/version")
        assert refused.status_code == 429 and refused.json()["error"]["code"] == "rate_limit_exceeded"
        assert 29 <= int(refused.headers["retry-after"]) <= 30 and refused.headers["x-should-retry"] == "true"
        assert 28_000 < int(refused.headers["retry-after-ms"]) <= 30_000
        assert refused.headers["x-ratelimit-limit-requests"] == "2" and "x-request-id" in refused.headers
        assert client.get("/health").status_code == 200
        for free in (other, "sesame"):
            answer = client.get("/version", headers={"Authorization": f"Bearer {free}"})
            assert answer.status_code == 200 and "x-ratelimit-limit-requests" not in answer.headers
    with OpenAI(base_url=f"{base_url}/v1", api_key=secret, max_retries=0) as sdk, pytest.raises(openai.RateLimitError):
        sdk.models.list()


def test_tokens_are_counted_as_the_usage_tells(clock: Clock, served: tuple[str, Parts]) -> None:
    base_url, parts = served
    engine = cast(ScriptedEngine, parts.core.engine)
    engine.scripts += [[5, 6, 7]] * 2
    _, secret = parts.keys.create(Key("shop", tokens_per_minute=100_000))
    with httpx.Client(base_url=base_url, headers={"Authorization": f"Bearer {secret}"}) as client:
        used = 0
        for stream in (False, True):
            body = {"model": "cogcore", "prompt": "Hello there", "max_tokens": 3, "stream": stream}
            answer = client.post("/v1/completions", json=body)
            if not stream:
                used += 2 * answer.json()["usage"]["total_tokens"]
        embedded = client.post("/v1/embeddings", json={"model": "hashed-words", "input": ["one two", "three"]})
        used += embedded.json()["usage"]["total_tokens"]
        left = int(client.get("/version").headers["x-ratelimit-remaining-tokens"])
        assert left == 100_000 - used and used > 10


async def test_what_a_client_gave_up_was_used_all_the_same(tmp_path: Path) -> None:
    parts = parts_in(tmp_path)
    bucket = Bucket(1000, "tokens")
    core = Quota(tokens=bucket).metered(parts.core)
    cast(ScriptedEngine, parts.core.engine).scripts += [[1, 2, 3, 4]]
    made = core.engine.generate([1] * 100, Sampling(max_tokens=4))
    await anext(made)
    await made.aclose()
    assert int(bucket.left()) == 899
    assert Quota().metered(parts.core) is parts.core
    await parts.close()
