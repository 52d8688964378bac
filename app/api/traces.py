"""OpenTelemetry spans, by the GenAI conventions: a chat, the tools that ran, the stores that were searched; and what is
asked for without a turn: searches, texts that are embedded or reranked.

A turn's spans are a fold of its events, as its reply is. Words of messages and documents are in none of them unless
`words` is set. Without an exporter nothing is recorded.
"""

import json
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import NoOpTracer, Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app.agent.events import Calculated, Decided, Done, Event, Searched, Searching, Text, ToolCall
from app.agent.tools import CALCULATE, SEARCH
from app.agent.turn import Turn
from app.settings import Settings, SettingsError
from index.types import Hit, Hits

PACKAGES = "opentelemetry-sdk and opentelemetry-exporter-otlp-proto-http"
READER = TraceContextTextMapPropagator()


@dataclass(frozen=True, slots=True)
class Traces:
    """Where spans go. `close` sends what is left."""

    tracer: Tracer = field(default_factory=NoOpTracer)
    words: bool = False
    close: Callable[[], None] = lambda: None

    async def turn(
        self, events: AsyncGenerator[Event], turn: Turn, model: str, core: str, headers: Mapping[str, str]
    ) -> AsyncGenerator[Event]:
        """The events, as they are. `headers` are those of the request, whose `traceparent` the spans belong to."""
        spans = Spans(self, turn, model, core, READER.extract(headers))
        try:
            async with aclosing(events):
                async for event in events:
                    spans.take(event)
                    yield event
        except Exception as error:
            spans.failed(type(error).__name__)
            raise
        finally:
            spans.end()

    @contextmanager
    def span(self, name: str, told: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Iterator[Span]:
        """What goes on within, without a turn: of the request with these headers, else of the span around it."""
        parent = None if headers is None else READER.extract(headers)
        kind = SpanKind.INTERNAL if told["gen_ai.operation.name"] == "execute_tool" else SpanKind.CLIENT
        with self.tracer.start_as_current_span(
            name, parent, kind, told, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield span
            except Exception as error:
                _mark(span, type(error).__name__)
                raise

    def searched(
        self, query: str | Sequence[str], search: Callable[[], Hits], headers: Mapping[str, str] | None = None
    ) -> Hits:
        """The search, as `span` tells it."""
        with self.span("retrieval", {"gen_ai.operation.name": "retrieval"}, headers) as span:
            hits = search()
            span.update_name(f"retrieval {hits.store}")
            span.set_attributes(self.of_retrieval(query, hits.store, hits.version, hits))
            return hits

    def of_retrieval(
        self, query: str | Sequence[str], store: str, version: int, hits: Sequence[Hit]
    ) -> Mapping[str, Any]:
        told: dict[str, Any] = {
            "gen_ai.operation.name": "retrieval",
            "gen_ai.provider.name": "cogcore",
            "gen_ai.data_source.id": store,
            "cogcore.store.version": version,
            "cogcore.hits": len(hits),
        }
        if self.words:
            found = [{"id": hit.chunk.id, "score": hit.score, "content": hit.chunk.text} for hit in hits]
            told["gen_ai.retrieval.query.text"] = query if isinstance(query, str) else " ".join(query)
            told["gen_ai.retrieval.documents"] = json.dumps(found, ensure_ascii=False)
        return told

    def of_tool(self, name: str, kind: str, argument: str) -> Mapping[str, Any]:
        told = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name, "gen_ai.tool.type": kind}
        return {**told, "gen_ai.tool.call.arguments": argument} if self.words else told


class Spans:
    """The spans of one turn."""

    def __init__(self, traces: Traces, turn: Turn, model: str, core: str, parent: Context) -> None:
        self._traces, self._reply = traces, list[str]()
        sampling = turn.sampling
        asked: dict[str, Any] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "cogcore",
            "gen_ai.request.model": model,
            "gen_ai.response.model": core,
            "gen_ai.request.max_tokens": sampling.max_tokens,
            "gen_ai.request.temperature": sampling.temperature,
            "gen_ai.request.top_p": sampling.top_p,
            "gen_ai.output.type": "text" if turn.reply_schema is None else "json",
        }
        if sampling.seed is not None:
            asked["gen_ai.request.seed"] = sampling.seed
        if traces.words:
            asked["gen_ai.input.messages"] = json.dumps([_message(one) for one in turn.messages], ensure_ascii=False)
        self._chat = traces.tracer.start_span(f"chat {model}", parent, SpanKind.INTERNAL, asked)
        self._tool: Span | None = None
        self._left, self._began = 0, 0  # stores that the open search waits for, and when it began

    def take(self, event: Event) -> None:
        match event:
            case Decided(need, searches):
                self._chat.set_attributes({"cogcore.need": need, "cogcore.searches": searches})
            case Searching(query, stores):
                self._tool, self._left, self._began = (
                    self._open(SEARCH, "datastore", query),
                    len(stores),
                    time.time_ns(),
                )
            case Searched():
                self._retrieved(event)
            case Calculated(expression, result, ok):
                span = self._open(CALCULATE, "function", expression)
                if self._traces.words:
                    span.set_attribute("gen_ai.tool.call.result", result)
                if not ok:
                    _mark(span, "CalculationError")
                span.end()
            case ToolCall(id, name, _):
                self._chat.add_event("cogcore.client_tool_call", {"gen_ai.tool.name": name, "gen_ai.tool.call.id": id})
            case Text(text):
                if self._traces.words:
                    self._reply.append(text)
            case Done():
                self._done(event)

    def failed(self, kind: str) -> None:
        for span in filter(None, (self._tool, self._chat)):
            _mark(span, kind)

    def end(self) -> None:
        """A turn that was given up ends here too, without a reason to have finished."""
        if self._tool:
            self._tool.end()
        self._chat.end()

    def _open(self, name: str, kind: str, argument: str) -> Span:
        told = self._traces.of_tool(name, kind, argument)
        within = set_span_in_context(self._chat)
        return self._traces.tracer.start_span(f"execute_tool {name}", within, SpanKind.INTERNAL, told)

    def _retrieved(self, searched: Searched) -> None:
        told = self._traces.of_retrieval(searched.query, searched.store, searched.version, searched.hits)
        within = set_span_in_context(self._tool or self._chat)
        name, began = f"retrieval {searched.store}", self._began or None
        self._traces.tracer.start_span(name, within, SpanKind.CLIENT, told, start_time=began).end()
        self._left -= 1
        if self._tool and not self._left:
            self._tool.end()
            self._tool = None

    def _done(self, done: Done) -> None:
        self._chat.set_attributes(
            {
                "gen_ai.response.finish_reasons": [done.finish_reason],
                "gen_ai.usage.input_tokens": sum(r.prompt for r in done.rounds),
                "gen_ai.usage.cache_read.input_tokens": sum(r.cached for r in done.rounds),
                "gen_ai.usage.output_tokens": sum(r.generated for r in done.rounds),
                "cogcore.confidence": done.confidence,
                "cogcore.abstained": done.abstained,
            }
        )
        if self._traces.words:
            reply = {"role": "assistant", "content": "".join(self._reply)}
            told = [{**_message(reply), "finish_reason": done.finish_reason}]
            self._chat.set_attribute("gen_ai.output.messages", json.dumps(told, ensure_ascii=False))


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    return {"role": message["role"], "parts": [{"type": "text", "content": message.get("content") or ""}]}


def _mark(span: Span, kind: str) -> None:
    # The error's own words may hold paths or document text.
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR))


def exporting(settings: Settings, version: str) -> Traces:
    """Traces that go to where OTEL_EXPORTER_OTLP_* say, if they are switched on. Raises SettingsError."""
    if not settings.traces:
        return Traces()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise SettingsError(f"COGCORE_TRACES needs {PACKAGES}: install cogcore[otel], or switch it off") from error
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES go before ours.
    own = Resource.create({"service.name": "cogcore", "service.version": version})
    about = own.merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=about, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Traces(provider.get_tracer("cogcore", version), settings.traces_words, provider.shutdown)
