"""Turns as spans: what is in them, whose they are, and what is not; to a real receiver over OTLP."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from app.api import Parts
from app.api.traces import Traces, exporting
from app.cores.load import TINY_FOLDER, Core, load_tokenizer
from app.cores.profiles import PROFILES
from app.settings import SettingsError, read
from index.memory import Memory
from index.reader import Reader
from tests.api.live import live
from tests.api.test_chat_stream import UNSURE, call, ids
from tests.fakes import HashedWords, ScriptedEngine

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SECRET = "zyzzyva"
SCRIPTS = [
    ids(call("search_memory", query=f"the {SECRET} vault")),
    ids(call("calculate", expression="6*7")),
    ids(f"The {SECRET} is 42."),
]


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@contextmanager
def traced(
    folder: Path, traces: Traces, engine: ScriptedEngine, reader: Reader | None = None
) -> Iterator[httpx.Client]:
    memory = Memory(folder, HashedWords(), reader)
    file = memory.add_file("vault.md", f"The vault opens with {SECRET}.".encode())
    memory.attach("default", file.id)
    assert memory.wait(memory.store("default").id, file.id).status == "completed"
    core = Core("scripted", load_tokenizer(TINY_FOLDER), PROFILES["hermes"], engine)
    with (
        live(Parts(core, memory, read(data_dir=folder), traces)) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        yield client


def in_memory(exporter: InMemorySpanExporter, words: bool = False) -> Traces:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Traces(provider.get_tracer("test"), words, provider.shutdown)


def ask(client: httpx.Client, path: str = "/v1/chat/completions", **fields: Any) -> httpx.Response:
    said = {"messages": [{"role": "user", "content": f"What is {SECRET}?"}]} if "chat" in path else {"input": SECRET}
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    return client.post(path, json={"model": "cogcore/default", "seed": 3, **said, **fields}, headers=headers)


def by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name.partition(" vs_")[0]: span for span in exporter.get_finished_spans()}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_turn(tmp_path: Path, exporter: InMemorySpanExporter, path: str, stream: bool) -> None:
    engine = ScriptedEngine(SCRIPTS, [UNSURE])
    with traced(tmp_path, in_memory(exporter), engine) as client:
        assert ask(client, path, stream=stream).status_code == 200
        spans = by_name(exporter)
        chat, search = spans["chat cogcore/default"], spans["execute_tool search_memory"]
        retrieval, calculated = spans["retrieval"], spans["execute_tool calculate"]
        assert len(exporter.get_finished_spans()) == 4
        for span, parent in ((search, chat), (calculated, chat), (retrieval, search)):
            assert span.parent is not None and chat.context is not None and parent.context is not None
            assert (span.parent.span_id, span.parent.trace_id) == (parent.context.span_id, int(TRACE, 16))
            assert span.start_time and parent.start_time and parent.start_time <= span.start_time
        assert chat.parent is not None and chat.parent.span_id == int(PARENT, 16)
        told = dict(chat.attributes or {})
        assert told["gen_ai.operation.name"] == "chat" and told["gen_ai.response.model"] == "scripted"
        assert told["gen_ai.request.seed"] == 3 and told["gen_ai.response.finish_reasons"] == ("stop",)
        assert told["gen_ai.usage.output_tokens"] == sum(len(script) for script in SCRIPTS)
        assert (retrieval.attributes or {})["gen_ai.data_source.id"] == client.get("/v1/vector_stores/default").json()[
            "id"
        ]
        assert (retrieval.attributes or {})["cogcore.hits"] == 1
        assert (search.attributes or {})["gen_ai.tool.name"] == "search_memory"
        # Words of messages and documents are in none of them.
        assert SECRET not in "".join(span.to_json() for span in exporter.get_finished_spans())


def test_what_is_asked_without_a_turn(tmp_path: Path, exporter: InMemorySpanExporter, reader: Reader) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}

    def post(path: str, body: dict[str, Any]) -> httpx.Response:
        accepted = {"accept": "application/json, text/event-stream"} if path == "/mcp" else {}
        answer = client.post(path, json=body, headers=headers | accepted)
        assert answer.status_code == (400 if "max_num_results" in body else 200), answer.text
        return answer

    def mcp(name: str, **arguments: str) -> dict[str, Any]:
        params = {"name": name, "arguments": arguments}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        found: dict[str, Any] = post("/mcp", body).json()["result"]["structuredContent"]
        return found

    with traced(tmp_path, in_memory(exporter), ScriptedEngine(), reader) as client:
        search = "/v1/vector_stores/default/search"
        post(search, {"query": [f"the {SECRET}", "vault"]})
        post(search, {"query": SECRET, "max_num_results": 51})
        mcp("fetch", id=mcp("search", query=SECRET)["results"][0]["id"])
        post("/v1/rerank", {"model": "cogcore-reader", "query": SECRET, "documents": [SECRET, "no"]})
        post("/v1/embeddings", {"model": "hashed-words", "input": SECRET})
        store = client.get("/v1/vector_stores/default").json()
    spans = exporter.get_finished_spans()
    names = [span.name for span in spans]
    retrieval = f"retrieval {store['id']}"
    assert names == [
        *(retrieval, "retrieval", retrieval, "execute_tool search", "execute_tool fetch"),
        *("rerank cogcore-reader", "embeddings hashed-words"),
    ]
    within = spans[3].context
    for n, span in enumerate(spans):
        assert span.parent is not None and span.parent.trace_id == int(TRACE, 16)
        assert span.parent.span_id == (within.span_id if n == 2 and within else int(PARENT, 16))
    told = dict(spans[0].attributes or {})
    assert told["gen_ai.data_source.id"] == store["id"] and told["cogcore.store.version"] == store["version"]
    assert told["cogcore.hits"] == 1
    assert spans[1].status.status_code is StatusCode.ERROR and spans[0].status.is_unset
    assert (spans[5].attributes or {})["gen_ai.usage.input_tokens"] == 3
    assert (spans[6].attributes or {})["gen_ai.usage.input_tokens"] == 1
    assert SECRET not in "".join(span.to_json() for span in spans)


def test_words_where_they_are_wanted(tmp_path: Path, exporter: InMemorySpanExporter) -> None:
    with traced(tmp_path, in_memory(exporter, words=True), ScriptedEngine(SCRIPTS, [UNSURE])) as client:
        ask(client)
    spans = by_name(exporter)
    chat = dict(spans["chat cogcore/default"].attributes or {})
    (asked,) = json.loads(str(chat["gen_ai.input.messages"]))
    assert asked == {"role": "user", "parts": [{"type": "text", "content": f"What is {SECRET}?"}]}
    assert SECRET in str(chat["gen_ai.output.messages"])
    assert SECRET in str((spans["retrieval"].attributes or {})["gen_ai.retrieval.documents"])
    calculated = dict(spans["execute_tool calculate"].attributes or {})
    assert (calculated["gen_ai.tool.call.arguments"], calculated["gen_ai.tool.call.result"]) == ("6*7", "42")


def test_a_failure(tmp_path: Path, exporter: InMemorySpanExporter) -> None:
    with traced(tmp_path, in_memory(exporter), ScriptedEngine([], [])) as client:
        assert ask(client).status_code == 500  # the script has come to its end
    (chat,) = exporter.get_finished_spans()
    assert chat.status.status_code is StatusCode.ERROR and (chat.attributes or {})["error.type"] == "IndexError"


class Receiver(BaseHTTPRequestHandler):
    """A collector: keeps what it is sent."""

    taken: list[bytes]

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        self.taken.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_to_a_collector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[bytes] = []
    collector = HTTPServer(("127.0.0.1", 0), type("Taking", (Receiver,), {"taken": taken}))
    thread = threading.Thread(target=collector.serve_forever)
    thread.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    try:
        traces = exporting(read(traces=True), "1")
        with traced(tmp_path, traces, ScriptedEngine(SCRIPTS, [UNSURE])) as client:
            ask(client)
    finally:
        collector.shutdown()
        thread.join()
        collector.server_close()
    sent = [ExportTraceServiceRequest.FromString(one) for one in taken]
    (resource,) = {str(group.resource) for one in sent for group in one.resource_spans}
    assert "cogcore" in resource and "deployment.environment.name" in resource
    spans = [s for one in sent for group in one.resource_spans for scope in group.scope_spans for s in scope.spans]
    assert sorted(span.name.partition(" ")[0] for span in spans) == [
        "chat",
        "execute_tool",
        "execute_tool",
        "retrieval",
    ]
    assert {span.trace_id.hex() for span in spans} == {TRACE}


def test_off_unless_switched_on_and_a_clear_word_without_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not exporting(read(), "1").tracer.start_span("nothing").is_recording()
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(SettingsError, match=r"COGCORE_TRACES needs opentelemetry-sdk .* cogcore\[otel\]"):
        exporting(read(traces=True), "1")
