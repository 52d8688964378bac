"""What Prometheus is told: API.md's names, counts that move with what was done, labels that no client chooses."""

import httpx
import pytest
from openai import OpenAI
from prometheus_client.parser import text_string_to_metric_families

ASK = {
    "model": "cogcore",
    "messages": [{"role": "user", "content": "How long is the Sorne?"}],
    "tool_choice": "required",
}
NAMES = {
    *("num_requests_running", "num_requests_waiting", "prompt_tokens_total", "generation_tokens_total"),
    *("e2e_request_latency_seconds_count", "request_success_total", "retrieval_duration_seconds_count"),
    *("searches_total", "abstentions_total", "turns_total", "confidence_count", "documents", "chunks"),
    *("time_to_first_token_seconds_count", "inter_token_latency_seconds_count", "request_queue_time_seconds_count"),
    *("kv_cache_slots", "kv_cache_slots_free", "kv_cache_slots_kept"),
    *("spec_decode_num_draft_tokens_total", "spec_decode_num_accepted_tokens_total"),
    *("http_requests_total", "http_request_duration_seconds_count", "dense_recall_samples_total"),
    *("dense_gpu_stores", "dense_gpu_failures_total"),
    *("reviews_kept", "responses_kept", "conversations_kept"),
}

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(raw: httpx.Client) -> Samples:
    answer = raw.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    families = text_string_to_metric_families(answer.text)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def of(samples: Samples, name: str, **labels: str) -> float:
    """What a scrape tells; 0 before the first time."""
    return samples.get((f"cogcore_{name}", tuple(sorted(labels.items()))), 0.0)


@pytest.mark.usefixtures("rivers")
def test_a_turn_is_counted_whole_and_streamed(raw: httpx.Client, client: OpenAI) -> None:
    before = scrape(raw)
    raw.post("/v1/chat/completions", json={**ASK, "cogcore": {"abstain_below": 1.0}})
    raw.post("/v1/chat/completions", json={**ASK, "stream": True})
    client.vector_stores.search("default", query="Sorne")
    after = scrape(raw)
    assert {f"cogcore_{name}" for name in NAMES} <= {name for name, _ in after}

    def grew(name: str, **labels: str) -> float:
        return of(after, name, **labels) - of(before, name, **labels)

    assert grew("turns_total") == grew("e2e_request_latency_seconds_count") == grew("confidence_count") == 2
    assert grew("request_success_total", finished_reason="stop") == 2
    assert grew("abstentions_total") == 1
    assert grew("searches_total") == grew("retrieval_duration_seconds_count") >= 3
    assert grew("generation_tokens_total") > 0 and grew("prompt_tokens_total") > 0
    assert 0 < grew("time_to_first_token_seconds_count") < grew("inter_token_latency_seconds_count")
    route = {"method": "POST", "route": "/v1/chat/completions"}
    assert grew("http_requests_total", **route, status="200") == 2
    assert grew("http_request_duration_seconds_count", **route) == 2
    assert of(after, "documents", status="completed") == 1 and of(after, "chunks") >= 1


def test_routes_are_templates(raw: httpx.Client) -> None:
    raw.get("/v1/files/file-nowhere")
    raw.get("/v1/vector_stores/nowhere/files/one")
    raw.get("/made/up")
    raw.request("BREW", "/v1/files")
    raw.get("/v1/models", headers={"Host": "evil.example"})
    samples = scrape(raw)
    seen = {tuple(dict(labels).values()) for name, labels in samples if name == "cogcore_http_requests_total"}
    told = [("GET", "/v1/files/{file_id}", "404"), ("GET", "/v1/vector_stores/{store_id}/files/{file_id}", "404")]
    told += [("GET", "unknown", "404"), ("other", "/v1/files", "405"), ("GET", "unknown", "403")]
    assert set(told) <= seen
    assert not [label for labels in seen for label in labels if "nowhere" in label or "made" in label]
