"""Two organisations and random requests of both over HTTP: nothing of one is ever in an answer to the other.

Hypothesis chooses the requests. What is asked for may be anybody's. Each answer, its headers too, is searched for every
name, id and word of the other side; what is the other's must be told in the words of what never was; and what a side
lists is exactly what it made. `pytest --hypothesis-profile=campaign` tries fifty times as much.
"""

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from app.api import Parts
from app.api.caller import Caller
from app.keys import Key
from tests.api.live import live
from tests.api.test_access import parts_in
from tests.fakes import ScriptedEngine

SHARED = ("same.md", b"The common number sings.")  # both upload it
NAMES = ("same", "default", "live")  # of stores and aliases, on both sides
NOBODYS = {
    "store": "vs_nobodys",
    "file": "file-nobodys",
    "chunk": "chunk_nobodys",
    "response": "resp_nobodys",
    "review": "review_nobodys",
    "key": "key_nobodys",
    "batch": "vsfb_nobodys",
}
KINDS = tuple(NOBODYS)
NUMBERS = itertools.count()  # of the runs; no two have the same organisations
BOTH, KIND, NAME = st.booleans(), st.sampled_from(KINDS), st.sampled_from(NAMES)
PICK = st.integers(0, 20)
STORE = "/v1/vector_stores/{store}"
# What may be asked of anybody's things.
REQUESTS: tuple[tuple[str, str, Any], ...] = (
    ("GET", "/v1/files/{file}", None),
    ("GET", "/v1/files/{file}/content", None),
    ("GET", "/v1/files?after={file}", None),
    ("DELETE", "/v1/files/{file}", None),
    ("GET", STORE, None),
    ("GET", "/v1/vector_stores?before={store}", None),
    ("POST", STORE, {"metadata": {"about": "{word}"}}),
    ("DELETE", STORE, None),
    *[("POST", f"{STORE}/search", {"query": "common number sings", "max_num_results": 50})] * 2,
    ("GET", f"{STORE}/files", None),
    *[("POST", f"{STORE}/files", {"file_id": "{file}", "attributes": {"about": "{word}"}})] * 2,
    ("GET", f"{STORE}/files/{{file}}", None),
    ("GET", f"{STORE}/files/{{file}}/content", None),
    ("DELETE", f"{STORE}/files/{{file}}", None),
    ("POST", f"{STORE}/file_batches", {"file_ids": ["{file}"]}),
    ("GET", f"{STORE}/file_batches/{{batch}}", None),
    ("GET", f"{STORE}/file_batches/{{batch}}/files", None),
    ("POST", f"{STORE}/file_batches/{{batch}}/cancel", {}),
    ("GET", "/v1/passages/{chunk}", None),
    ("GET", "/v1/responses/{response}", None),
    ("GET", "/v1/responses/{response}/input_items", None),
    ("POST", "/v1/responses/{response}/cancel", {}),
    ("DELETE", "/v1/responses/{response}", None),
    ("POST", "/v1/responses", {"model": "cogcore", "input": "{word}?", "previous_response_id": "{response}"}),
    ("GET", "/v1/cogcore/reviews/{review}", None),
    ("POST", "/v1/cogcore/reviews/{review}", {"verdict": "rejected", "note": "{word}"}),
    ("DELETE", "/v1/cogcore/reviews/{review}", None),
    ("GET", "/v1/cogcore/keys/{key}", None),
    ("POST", "/v1/cogcore/keys", {"name": "{word}", "stores": ["{store}"]}),
    ("GET", "/v1/models/cogcore/{store}", None),
)
LISTS = {
    "file": "/v1/files",
    "store": "/v1/vector_stores?limit=100",
    "review": "/v1/cogcore/reviews?limit=100",
    "key": "/v1/cogcore/keys?limit=100",
}


class Endless(list[Sequence[int]]):
    """A script for every pass: whatever a mask allows."""

    def pop(self, *_: Any) -> Sequence[int]:
        return [5, 6, 7, 1, 2]


class Unsure(list[float]):
    def pop(self, *_: Any) -> float:
        return -1.0


@dataclass
class Side:
    """One organisation, its administrator's key, all that it has, and the kinds of what it ever had."""

    organisation: str
    headers: dict[str, str]
    ids: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    had: set[str] = field(default_factory=set)
    secrets: set[str] = field(default_factory=set)

    @property
    def word(self) -> str:
        """Stands in every name and text of this side, and nowhere else."""
        return f"canary{self.organisation}"

    def keep(self, kind: str, one: str) -> None:
        self.had.add(kind)
        if one not in self.ids[kind]:
            self.ids[kind].append(one)

    def told(self, found: Any) -> None:
        """Take down whatever an answer holds that has an id."""
        match found:
            case {"object": "file" | "vector_store.file", "id": str(one)}:
                self.keep("file", one)
            case {"object": "vector_store", "id": str(one)}:
                self.keep("store", one)
            case {"object": "vector_store.files_batch", "id": str(one)}:
                self.keep("batch", one)
            case {"object": "response", "id": str(one)}:
                self.keep("response", one)
            case {"object": "cogcore.key", "id": str(one)}:
                self.keep("key", one)
        if isinstance(found, dict):
            for kind, name in (("chunk", "chunk_id"), ("review", "review")):
                if isinstance(found.get(name), str):
                    self.keep(kind, found[name])
            self.secrets.update(found[name] for name in ("key", "sha256") if isinstance(found.get(name), str))
        for value in found.values() if isinstance(found, dict) else found if isinstance(found, list) else ():
            self.told(value)


class Tenants(RuleBasedStateMachine):
    """Both sides are new in each run; the server, and what earlier runs left in it, are not."""

    client: httpx.Client
    parts: Parts

    def __init__(self) -> None:
        super().__init__()
        number = next(NUMBERS)
        self.sides = [self._side(f"{name}-{number}-") for name in ("acme", "umbrella")]
        for side, other in zip(self.sides, self.sides[::-1], strict=True):
            side.headers["OpenAI-Organization"] = other.organisation
            self.ask(side, "GET", LISTS["store"])
        for left in (True, False):  # a run may leave out any rule
            self.upload(left, shared=left, again="")

    def _side(self, organisation: str) -> Side:
        key, secret = self.parts.keys.create(Key(f"canary{organisation}", "admin", organisation=organisation))
        side = Side(organisation, {"Authorization": f"Bearer {secret}"}, secrets={secret})
        side.keep("key", key.id)
        return side

    def teardown(self) -> None:
        self.each_lists_what_it_made()

    def ask(
        self, us: Side, method: str, path: str, body: Any = None, headers: Mapping[str, str] = {}, **given: Any
    ) -> httpx.Response:
        """A request of one side; its answer, in which nothing of the other side is."""
        answer = self.client.request(method, path, json=body, headers={**us.headers, **headers}, **given)
        assert answer.status_code < 500, (method, path, body, answer.text)
        them = next(side for side in self.sides if side is not us)
        asked, told = f"{path} {body}", f"{answer.text} {answer.headers}"
        for secret in {them.word, them.organisation, *them.secrets, *itertools.chain(*them.ids.values())}:
            assert secret in asked or secret not in told, (method, path, body, secret, told)
        if answer.headers["content-type"] == "application/json" and answer.is_success:
            us.told(answer.json())
        return answer

    def named(self, us: Side, ours: bool, pick: int) -> tuple[dict[str, str], set[str]]:
        """One thing of each kind, of ours or, where they have one, of theirs; and the kinds that are theirs."""
        them = next(side for side in self.sides if side is not us)
        side, names = us if ours else them, dict[str, str]()
        for kind in KINDS:
            known = side.ids[kind]
            names[kind] = known[-1 - pick % len(known)] if known else NOBODYS[kind]
        return names, set() if ours else {kind for kind in KINDS if them.ids[kind]}

    @rule(left=BOTH, shared=BOTH, again=st.sampled_from(["", "one", "two"]))
    def upload(self, left: bool, shared: bool, again: str) -> None:
        us = self.sides[left]
        file = SHARED if shared else (f"{us.word}.md", f"The {us.word} number sings.".encode())
        headers = {"Idempotency-Key": f"{again}-{shared}"} if again else {}
        data = {"purpose": "assistants"}
        self.ask(us, "POST", "/v1/files", files={"file": file}, data=data, headers=headers)

    @rule(left=BOTH, name=NAME)
    def create_store(self, left: bool, name: str) -> None:
        us = self.sides[left]
        made = self.ask(us, "POST", "/v1/vector_stores", {"name": name, "description": us.word})
        taken = [one["id"] for one in self.ask(us, "GET", "/v1/cogcore/aliases?limit=100").json()["data"]]
        assert made.status_code == (400 if name in taken else 200)

    @rule(left=BOTH, ours=BOTH, pick=PICK)
    def fill(self, left: bool, ours: bool, pick: int) -> None:
        """What most requests need to have something to tell: a searchable document in the default store."""
        us = self.sides[left]
        names, theirs = self.named(us, ours, pick)
        answer = self.ask(us, "POST", "/v1/vector_stores/default/files", {"file_id": names["file"]})
        assert answer.status_code == (404 if theirs & {"file"} or names["file"] not in us.ids["file"] else 200)
        if answer.is_success:
            store = self.ask(us, "GET", "/v1/vector_stores/default").json()["id"]
            assert self.parts.memory.wait(store, names["file"], 60).status == "completed"
            self.ask(us, "POST", "/v1/vector_stores/default/search", {"query": "common number sings"})

    @rule(left=BOTH, ours=BOTH, pick=PICK, request=st.sampled_from(REQUESTS))
    def ask_for_anything(self, left: bool, ours: bool, pick: int, request: tuple[str, str, Any]) -> None:
        us = self.sides[left]
        method, path, body = request
        names, theirs = self.named(us, ours, pick)
        answer = self.ask(us, method, path.format(**names), _filled(body, {**names, "word": us.word}))
        if method == "DELETE" and answer.is_success:
            gone = "file" if path.startswith("/v1/files") else path.split("/")[-1].strip("{}")
            if path.count("{") == 1 and names[gone] in us.ids[gone]:
                us.ids[gone].remove(names[gone])
        asked = {kind for kind in KINDS if f"{{{kind}}}" in f"{path} {body}"}
        if theirs & asked:
            assert answer.status_code in (400, 404), (method, path, answer.text)
            never = self.ask(us, method, path.format(**NOBODYS), _filled(body, {**NOBODYS, "word": us.word}))
            assert _but_for(answer, names) == _but_for(never, NOBODYS), (method, path)

    @rule(left=BOTH, ours=BOTH, pick=PICK, alias=NAME, store=st.sampled_from([*NAMES, "{store}"]))
    def point(self, left: bool, ours: bool, pick: int, alias: str, store: str) -> None:
        us = self.sides[left]
        names, theirs = self.named(us, ours, pick)
        body = {"vector_store_id": store.format(**names)}
        answer = self.ask(us, "POST", f"/v1/cogcore/aliases/{alias}", body)
        assert not (theirs and "{" in store) or answer.status_code in (400, 404)

    @rule(left=BOTH, alias=NAME, how=st.sampled_from(["GET", "DELETE", "POST"]))
    def alias(self, left: bool, alias: str, how: str) -> None:
        self.ask(self.sides[left], how, f"/v1/cogcore/aliases/{alias}{'/rollback' if how == 'POST' else ''}")

    @rule(left=BOTH, ours=BOTH, pick=PICK, by=st.sampled_from(["model", "stores", "default"]), kept=BOTH)
    def turn(self, left: bool, ours: bool, pick: int, by: str, kept: bool) -> None:
        us = self.sides[left]
        names, _ = self.named(us, ours, pick)
        model = f"cogcore/{names['store']}" if by == "model" else "cogcore/default"
        extension = {"stores": ["default", names["store"]]} if by == "stores" else {}
        asked = {"model": model, "cogcore": {**extension, "abstain_below": 0.0}, "tool_choice": "required"}
        question = f"Which {us.word} number sings?"
        if kept:
            answer = self.ask(us, "POST", "/v1/responses", {**asked, "input": question})
        else:
            messages = [{"role": "user", "content": question}]
            answer = self.ask(us, "POST", "/v1/chat/completions", {**asked, "messages": messages})
        assert answer.status_code == (404 if by != "default" and names["store"] not in us.ids["store"] else 200)

    @rule(left=BOTH, ours=BOTH, pick=PICK, tool=st.sampled_from(["search", "fetch"]))
    def mcp(self, left: bool, ours: bool, pick: int, tool: str) -> None:
        us = self.sides[left]
        names, _ = self.named(us, ours, pick)
        arguments = {"query": "common number sings"} if tool == "search" else {"id": names["chunk"]}
        params = {"name": tool, "arguments": arguments}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        headers = {"accept": "application/json, text/event-stream"}
        self.ask(us, "POST", "/mcp", body, headers=headers)

    @rule(left=BOTH, whose=st.sampled_from(["ours", "theirs", "default"]))
    def make_a_key(self, left: bool, whose: str) -> None:
        us, them = self.sides[left], self.sides[not left]
        organisation = {"ours": us.organisation, "theirs": them.organisation}.get(whose, whose)
        made = self.ask(us, "POST", "/v1/cogcore/keys", {"name": us.word, "organisation": organisation})
        assert made.status_code == (200 if whose == "ours" else 403)

    @rule(left=BOTH, path=st.sampled_from(["/metrics", "/v1/models", "/version", "/v1/cogcore/aliases"]))
    def look_around(self, left: bool, path: str) -> None:
        assert self.ask(self.sides[left], "GET", path).status_code == (403 if path == "/metrics" else 200)

    @rule()
    def each_lists_what_it_made(self) -> None:
        for side in self.sides:
            for kind, path in LISTS.items():
                listed = [one["id"] for one in self.ask(side, "GET", path).json()["data"]]
                assert sorted(listed) == sorted(side.ids[kind]), (kind, side.organisation)


def _filled(body: Any, names: Mapping[str, str]) -> Any:
    """A body with the names in their places."""
    if body is None:
        return None
    text = json.dumps(body)
    for kind, name in names.items():
        text = text.replace(f"{{{kind}}}", name)
    return json.loads(text)


def _but_for(answer: httpx.Response, names: Mapping[str, str]) -> tuple[int, str]:
    # Which of one's own names an id resembles is chance.
    text = re.sub(r" Did you mean '[^']*'\?", "", answer.text)
    for kind, name in names.items():
        text = text.replace(name, kind)
    return answer.status_code, text


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Parts]]:
    parts = parts_in(tmp_path_factory.mktemp("town"), api_key="sesame", autonomy=0)
    engine = parts.core.engine
    assert isinstance(engine, ScriptedEngine)
    engine.scripts, engine.scores = Endless(), Unsure()
    with live(parts) as base_url, httpx.Client(base_url=base_url, timeout=60) as client:
        yield client, parts


def tried(town: tuple[httpx.Client, Parts], times: int) -> set[str]:
    """Run it; the kinds of things that somebody had."""
    had = set[str]()

    class Machine(Tenants):
        client, parts = town

        def teardown(self) -> None:
            had.update(*(side.had for side in self.sides))
            super().teardown()

    asked = settings(
        max_examples=times,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
    )
    run_state_machine_as_test(Machine, settings=asked)
    return had


def test_nothing_of_one_organisation_reaches_another(town: tuple[httpx.Client, Parts]) -> None:
    had = tried(town, settings().max_examples // 25)
    assert had >= {"file", "store", "key"}


def test_it_notices_what_is_not_kept_apart(town: tuple[httpx.Client, Parts], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Caller, "sight", None)
    with pytest.raises(AssertionError):
        tried(town, 4)
