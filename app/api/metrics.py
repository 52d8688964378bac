"""GET /metrics for Prometheus: vLLM's names behind our prefix, and what a memory has beside an engine.

No label comes from a client, a document or a store, so their number is bounded and they tell nothing.
"""

import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from itertools import accumulate

from fastapi import APIRouter, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from app.agent.events import Done, Event, Searched
from app.api.listing import everything
from app.drawn import Drawn
from app.engine import meter
from app.engine.local import LocalEngine
from app.engine.types import Engine
from index.memory import Memory

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
SHARES = tuple(n / 10 for n in range(1, 11))


class Metrics:
    """What has happened in one server, in a registry of its own."""

    def __init__(self, engine: Engine, memory: Memory, records: Mapping[str, Drawn]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.registry.register(State(engine, memory, records))
        told = ("method", "route", "status")
        self._requests = self._counter("http_requests", "HTTP requests.", told)
        self._latency = self._seconds("http_request_duration_seconds", "From request to end of answer.", told[:2])
        self._turns = self._counter("turns", "Chat turns begun.")
        self._ended = self._counter("request_success", "Chat turns that came to their end.", ("finished_reason",))
        self._whole = self._seconds("e2e_request_latency_seconds", "Chat turns, from begin to end.")
        self._abstained = self._counter("abstentions", "Chat turns that said that they do not know.")
        self._confidence = Histogram(
            "cogcore_confidence",
            "Confidence of the chat turns that searched.",
            registry=self.registry,
            buckets=SHARES,
        )
        self._searches = self._counter("searches", "Searches of a store, by turns and by clients.")
        self._retrieval = self._seconds("retrieval_duration_seconds", "Searches of a store.")
        memory.watch(self._searched)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        self._requests.labels(method, route, str(status)).inc()
        self._latency.labels(method, route).observe(seconds)

    async def turn(self, events: AsyncGenerator[Event]) -> AsyncGenerator[Event]:
        """The events of a turn, counted as they pass. Closing it closes them."""
        began, searched = time.perf_counter(), False
        self._turns.inc()
        async with aclosing(events):
            async for event in events:
                searched = searched or isinstance(event, Searched)
                if isinstance(event, Done):
                    self._end(event, searched, time.perf_counter() - began)
                yield event

    def _end(self, done: Done, searched: bool, seconds: float) -> None:
        self._ended.labels(done.finish_reason).inc()
        self._whole.observe(seconds)
        if done.abstained:
            self._abstained.inc()
        if searched and done.finish_reason != "tool_calls":
            self._confidence.observe(done.confidence)

    def _searched(self, seconds: float) -> None:
        self._searches.inc()
        self._retrieval.observe(seconds)

    def _counter(self, name: str, about: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(f"cogcore_{name}", about, labels, registry=self.registry)

    def _seconds(self, name: str, about: str, labels: tuple[str, ...] = ()) -> Histogram:
        return Histogram(f"cogcore_{name}", about, labels, registry=self.registry, buckets=SECONDS)


class State(Collector):
    """What engine, memory and records say of themselves when they are asked."""

    def __init__(self, engine: Engine, memory: Memory, records: Mapping[str, Drawn]) -> None:
        self._engine, self._memory, self._records = engine, memory, records

    def collect(self) -> Iterator[Metric]:
        yield from of_engine(self._engine)
        yield from of_memory(self._memory)
        for name, record in self._records.items():
            yield _gauge(f"{name}_kept", f"{name.capitalize()} that are kept.", record.count())


def of_engine(engine: Engine) -> Iterator[Metric]:
    """Nothing of an engine on other servers: they have metrics of their own."""
    if not isinstance(engine, LocalEngine):
        return
    usage = engine.usage()
    yield _gauge("num_requests_running", "Sequences that the engine decodes.", usage.running)
    yield _gauge("num_requests_waiting", "Sequences that wait for the engine.", usage.waiting)
    yield _total("prompt_tokens", "Tokens of prompts.", usage.prompt_tokens)
    yield _total("prompt_tokens_cached", "Those of them whose KV was there already.", usage.cached_tokens)
    yield _total("generation_tokens", "Tokens that the core wrote.", usage.generated_tokens)
    yield _total("spec_decode_num_draft_tokens", "Tokens that were drafted from the prompt.", usage.drafted_tokens)
    yield _total("spec_decode_num_accepted_tokens", "Those of them that were right.", usage.accepted_tokens)
    yield _seconds("request_queue_time", "Engine requests: from submission to a place.", usage.queue_seconds)
    yield _seconds("time_to_first_token", "Engine requests: to their first token.", usage.first_token_seconds)
    yield _seconds("inter_token_latency", "Engine requests: from each token to the next.", usage.token_seconds)
    yield _gauge("kv_cache_slots", "Conversations that the cache has room for.", usage.slots)
    yield _gauge("kv_cache_slots_free", "Those of them that no request uses.", usage.free_slots)
    yield _gauge("kv_cache_slots_kept", "Those of the free that wait for their next round.", usage.kept_slots)
    yield _total("engine_refused", "Requests that a full queue refused.", usage.refused)
    yield _total("engine_failed", "Requests that failed in the engine.", usage.failed)
    yield _total("engine_cancelled", "Requests that their clients gave up.", usage.cancelled)


def of_memory(memory: Memory) -> Iterator[Metric]:
    stats = memory.stats()
    yield _gauge("files", "Originals.", stats.files)
    yield _gauge("file_bytes", "Their size.", stats.bytes)
    yield _gauge("stores", "Vector stores.", stats.stores)
    yield _gauge("chunks", "Passages that can be found.", stats.chunks)
    recall = memory.recall()
    if recall.mean is not None:
        yield _gauge("dense_recall", "Of the 10 nearest passages, the share that large stores find.", recall.mean)
    copied = memory.copied()
    yield _gauge("dense_gpu_stores", "Large stores that are searched on a GPU.", copied.stores)
    yield _total("dense_gpu_failures", "Times that the GPU failed and the CPU searched instead.", copied.failures)
    yield _total("dense_recall_samples", "Searches that this was measured on.", recall.samples)
    documents = GaugeMetricFamily("cogcore_documents", "Files in stores, by how far they are.", labels=["status"])
    counts = [store.counts for store in everything(memory)]
    for status in ("in_progress", "completed", "failed", "cancelled"):
        documents.add_metric([status], sum(count.get(status, 0) for count in counts))
    yield documents


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(f"cogcore_{name}", about, value)


def _seconds(name: str, about: str, seconds: meter.Histogram) -> Metric:
    made = HistogramMetricFamily(f"cogcore_{name}_seconds", about)
    bounds = [*map(str, seconds.bounds), "+Inf"]
    made.add_metric([], list(zip(bounds, accumulate(seconds.counts), strict=True)), seconds.sum)
    return made


def _total(name: str, about: str, value: float) -> Metric:
    return CounterMetricFamily(f"cogcore_{name}", about, value)


def routes(metrics: Metrics) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/metrics", response_class=Response)
    def exposed() -> Response:
        """Prometheus' text format. It needs a key that is not limited to stores."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return router
