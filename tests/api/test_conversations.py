"""Conversations by OpenAI's client: made, listed, gone on in, erased with their documents."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, closing, nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from app.api import Parts
from app.api.reviews import forget_gone
from app.conversations import ConversationNotFound, Conversations, ItemNotFound
from app.engine.types import ANYBODY, Sampling, Token, Whose
from app.keys import ORGANISATION as OWNER
from tests.api.test_chat_stream import UNSURE, call, ids
from tests.api.test_responses import QUESTION, SEARCH, WEATHER, told
from tests.api.test_responses_kept import Waiting, ended, shown
from tests.fakes import ScriptedEngine

HELLO: Any = {"role": "user", "content": "Hello there"}


def texts(client: OpenAI, conversation: str, **query: Any) -> list[str]:
    listed = client.conversations.items.list(conversation, **{"order": "asc", **query})
    items: list[Any] = list(listed)  # the client turns the pages
    return [item.content[0].text if item.type == "message" else item.type for item in items]


def test_made_described_and_erased(client: OpenAI) -> None:
    made = client.conversations.create(metadata={"topic": "rivers"})
    assert made.id.startswith("conv_") and made.object == "conversation" and made.metadata == {"topic": "rivers"}
    assert client.conversations.retrieve(made.id) == made
    assert client.conversations.update(made.id, metadata={"topic": "lakes"}).metadata == {"topic": "lakes"}
    assert client.conversations.update(made.id, metadata=None).metadata == {}
    deleted = client.conversations.delete(made.id)
    assert (deleted.id, deleted.object, deleted.deleted) == (made.id, "conversation.deleted", True)
    for again in (
        lambda: client.conversations.retrieve(made.id),
        lambda: client.conversations.delete(made.id),
        lambda: client.conversations.update(made.id, metadata={}),
        lambda: client.conversations.items.list(made.id),
        lambda: client.conversations.items.create(made.id, items=[HELLO]),
    ):
        with pytest.raises(openai.NotFoundError) as refused:
            again()
        assert refused.value.code == "not_found"


def test_nothing_at_all_begins_one(raw: httpx.Client) -> None:
    assert raw.post("/v1/conversations").json()["metadata"] == {}
    assert raw.post("/v1/conversations", json={}).json()["object"] == "conversation"


def test_limits(client: OpenAI) -> None:
    made = client.conversations.create(metadata={str(n): "x" * 512 for n in range(16)}, items=[HELLO] * 20)
    strange: Any = [{"type": "mcp_call"}]
    unknown: Any = [{"type": "item_reference", "id": "msg_0"}]
    for refused in (
        lambda: client.conversations.create(metadata={str(n): "" for n in range(17)}),
        lambda: client.conversations.create(metadata={"x" * 65: ""}),
        lambda: client.conversations.update(made.id, metadata={"x": "y" * 513}),
        lambda: client.conversations.create(items=[HELLO] * 21),
        lambda: client.conversations.items.create(made.id, items=[HELLO] * 21),
        lambda: client.conversations.items.create(made.id, items=[]),
        lambda: client.conversations.items.list(made.id, limit=101),
        lambda: client.conversations.items.list(made.id, after="msg_0"),
        lambda: client.conversations.items.create(made.id, items=strange),
        lambda: client.conversations.items.create(made.id, items=unknown),
    ):
        with pytest.raises(openai.BadRequestError) as error:
            refused()
        assert error.value.param
    assert len(texts(client, made.id, limit=7)) == 20


def test_items(client: OpenAI) -> None:
    made = client.conversations.create(items=[HELLO])
    given: list[Any] = [
        {"role": "assistant", "content": "Hi", "id": "msg_mine"},
        {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "Sun."},
        {"role": "assistant", "content": "Sunny", "id": "msg_mine"},
    ]
    added = client.conversations.items.create(made.id, items=given)
    assert added.object == "list" and not added.has_more and added.first_id == "msg_mine"
    ids_ = [item.id for item in added.data]
    assert len(set(ids_)) == 4, "of two items with one id the later gets another"
    assert texts(client, made.id) == ["Hello there", "Hi", "function_call", "function_call_output", "Sunny"]
    assert texts(client, made.id, order="desc", limit=2)[0] == "Sunny"
    assert texts(client, made.id, after="msg_mine", limit=100) == texts(client, made.id)[2:]
    one: Any = client.conversations.items.retrieve("msg_mine", conversation_id=made.id)
    assert one.role == "assistant" and one.content[0].type == "output_text"
    assert client.conversations.items.delete("msg_mine", conversation_id=made.id).id == made.id
    with pytest.raises(openai.NotFoundError):
        client.conversations.items.retrieve("msg_mine", conversation_id=made.id)
    with pytest.raises(openai.NotFoundError):
        client.conversations.items.delete("msg_mine", conversation_id=made.id)
    assert "Hi" not in texts(client, made.id)


@pytest.mark.parametrize("how", ["whole", "streamed", "background", "unstored"])
def test_a_response_goes_on_and_is_added(tmp_path: Path, how: str) -> None:
    engine = ScriptedEngine([ids("Blue."), ids("Green.")], [UNSURE] * 2)
    with told(engine, tmp_path) as client:
        made = client.conversations.create(items=[{"role": "user", "content": "I like colours."}])
        asked: dict[str, Any] = {"model": "cogcore", "conversation": made.id, "store": how != "unstored"}
        first = client.responses.create(**asked, input="Colour one?")
        assert first.conversation is not None and first.conversation.id == made.id
        asked |= {"input": "Colour two?", "conversation": {"id": made.id}}
        if how == "streamed":
            *_, last = client.responses.create(**asked, stream=True)
            assert last.type == "response.completed"
        elif how == "background":
            ended(client, client.responses.create(**asked, background=True))
        else:
            client.responses.create(**asked)
        said = ["I like colours.", "Colour one?", "Blue.", "Colour two?", "Green."]
        assert texts(client, made.id) == said
        places = [shown(engine).index(text) for text in said[:4]]
        assert places == sorted(places)


def test_a_call_waits_in_a_conversation(tmp_path: Path) -> None:
    with told(ScriptedEngine([ids(call("weather", city="Rome")), ids("Sun.")], [UNSURE] * 2), tmp_path) as client:
        made = client.conversations.create()
        asked: dict[str, Any] = {"model": "cogcore", "tools": [WEATHER], "conversation": made.id}
        first = client.responses.create(**asked, input="Rome?")
        (function,) = first.output
        assert function.type == "function_call"
        with pytest.raises(openai.BadRequestError, match="has no answer"):
            client.responses.create(**asked, input="And?")
        output: Any = {"type": "function_call_output", "call_id": function.call_id, "output": "Sun."}
        client.responses.create(**asked, input=[output])
        assert texts(client, made.id) == ["Rome?", "function_call", "function_call_output", "Sun."]


def test_what_cannot_be_gone_on_in(client: OpenAI) -> None:
    made = client.conversations.create()
    with pytest.raises(openai.NotFoundError) as unknown:
        client.responses.create(model="cogcore", input="?", conversation="conv_0")
    assert unknown.value.param == "conversation"
    before = client.responses.create(model="cogcore", input="Hello there", max_output_tokens=4)
    with pytest.raises(openai.BadRequestError, match="named once"):
        client.responses.create(model="cogcore", input="?", conversation=made.id, previous_response_id=before.id)
    with pytest.raises(openai.BadRequestError):
        client.responses.create(model="cogcore", input="?", extra_body={"conversation": 3})


def test_what_did_not_end_is_not_added(tmp_path: Path) -> None:
    with told(Waiting(), tmp_path) as client:
        made = client.conversations.create()
        asked: dict[str, Any] = {"model": "cogcore/default", "input": QUESTION, "conversation": made.id}
        response = client.responses.create(**asked, background=True)
        client.responses.cancel(response.id)
        assert texts(client, made.id) == []


class Held(ScriptedEngine):
    """Writes nothing until it may go."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.go = threading.Event()

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling, *, whose: Whose = ANYBODY
    ) -> AsyncGenerator[Token]:
        await asyncio.to_thread(self.go.wait, 30)
        async with aclosing(super().generate(prompt, sampling, whose=whose)) as tokens:
            async for token in tokens:
                yield token


def test_a_conversation_that_goes_meanwhile(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    engine = Held([ids("Hello!")], [UNSURE])
    with told(engine, tmp_path) as client:
        made = client.conversations.create()
        asked: dict[str, Any] = {"model": "cogcore/default", "input": QUESTION, "conversation": made.id}
        with client.responses.create(**asked, stream=True) as stream:
            events: Iterator[Any] = iter(stream)
            next(events)
            client.conversations.delete(made.id)
            engine.go.set()
            *_, last = events
        assert last.type == "response.completed" and last.response.conversation is None
        assert "is in no conversation" in caplog.text


def test_results_of_searches_are_told_on_demand(client: OpenAI, rivers: str) -> None:
    made = client.conversations.create()
    response = client.responses.create(**SEARCH, conversation=made.id, include=["file_search_call.results"])
    (search,) = [item for item in response.output if item.type == "file_search_call"]
    found: Any = client.conversations.items.retrieve(search.id, conversation_id=made.id)
    assert found.type == "file_search_call" and found.results is None
    found = client.conversations.items.retrieve(
        search.id, conversation_id=made.id, include=["file_search_call.results"]
    )
    assert {result.file_id for result in found.results} == {rivers}


@pytest.mark.parametrize("by_itself", [False, True])
def test_a_deleted_document_takes_its_items_along(client: OpenAI, rivers: str, parts: Parts, by_itself: bool) -> None:
    name = "Maudlin" if by_itself else "Corwin"
    text = f"The mill at Tarnhollow was built by {name} Oakhurst."
    file = client.files.create(file=("mill.md", text.encode()), purpose="assistants")
    client.vector_stores.files.create_and_poll(file.id, vector_store_id="default")
    made = client.conversations.create(items=[HELLO])
    first = client.responses.create(
        **{**SEARCH, "input": "Who built the mill at Tarnhollow?"}, conversation=made.id, store=False
    )
    assert name in first.output_text
    # Neither was shown anything but what was said before.
    client.conversations.items.create(made.id, items=[{"role": "user", "content": f"So it was {name}."}])
    later = client.responses.create(
        model="cogcore", input="Hello there", conversation=made.id, extra_body={"cogcore": {"need_threshold": 1}}
    )

    def on_disk() -> bool:
        return any(name.encode() in path.read_bytes() for path in parts.settings.data_dir.glob("conversations*"))

    assert on_disk()
    if by_itself:
        parts.memory.delete_file(file.id)
        forget_gone(parts)
    else:
        client.files.delete(file.id)
    assert not on_disk()
    assert texts(client, made.id) == ["Hello there"]
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(later.id)


@pytest.fixture
def record(tmp_path: Path) -> Any:
    made = Conversations(tmp_path / "conversations.sqlite")
    yield made
    made.close()


def item(name: str) -> dict[str, Any]:
    return {"id": name, "type": "message"}


def test_to_others_it_is_not_there(record: Conversations) -> None:
    assert record.files() == []
    record.forget("file-1")  # before there is a file
    made = record.create(OWNER, {}, [item("msg_a")])
    for refused in (record.get, record.told, record.delete):
        with pytest.raises(ConversationNotFound):
            refused(made.id, "somebody else")
    with pytest.raises(ConversationNotFound):
        record.append(made.id, "somebody else", [item("msg_b")])
    with pytest.raises(ConversationNotFound):
        record.item(made.id, "somebody else", "msg_a")
    with pytest.raises(ConversationNotFound):
        record.delete_item(made.id, "somebody else", "msg_a")
    assert [one["id"] for one in record.told(made.id, OWNER)[0]] == ["msg_a"]
    with pytest.raises(ItemNotFound):
        record.item(made.id, OWNER, "msg_b")


def test_old_ones_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def at(seconds: int) -> None:
        monkeypatch.setattr("app.conversations.time", SimpleNamespace(time=lambda: 1_000_000 + seconds))

    def there(conversation_id: str) -> bool:
        try:
            return bool(record.get(conversation_id, OWNER))
        except ConversationNotFound:
            return False

    def left() -> set[str]:
        return {name for name, made in begun.items() if there(made.id)}

    with closing(Conversations(tmp_path / "conversations.sqlite", 100)) as record:
        record.expire()  # before there is a file
        assert record.count() == 0
        at(0)
        begun = {name: record.create(OWNER, {"name": name}, [item("msg_a")], {"file-1"}) for name in ("idle", "used")}
        at(90)
        record.append(begun["used"].id, OWNER, [item("msg_b")])
        record.describe(begun["idle"].id, OWNER, {"name": "a new name is nothing that was said"})
        at(150)
        record.expire()
        assert left() == {"used"} and record.count() == 1
        # Of each owner only so many: those stay that were added to last.
        monkeypatch.setattr("app.conversations.KEPT", 2)
        record.create("somebody else", {})
        begun["next"] = record.create(OWNER, {})
        at(160)
        record.append(begun["used"].id, OWNER, [item("msg_c")])
        begun["last"] = record.create(OWNER, {})
        assert left() == {"used", "last"} and record.count() == 3
    with closing(Conversations(tmp_path / "conversations.sqlite", 0)) as record:
        at(10**9)
        record.expire()
        assert left() == {"used", "last"}


def test_a_setting_says_how_long_they_stay(client: OpenAI, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    made = client.conversations.create()
    response = client.responses.create(model="cogcore", input="Hello there", max_output_tokens=4)
    began = time.time()
    for days, there in ((29, True), (31, False)):
        later = SimpleNamespace(time=partial(float, began + days * 86_400))
        for module in ("app.conversations", "app.responses"):
            monkeypatch.setattr(f"{module}.time", later)
        forget_gone(parts)
        for look in (lambda: client.conversations.retrieve(made.id), lambda: client.responses.retrieve(response.id)):
            with nullcontext() if there else pytest.raises(openai.NotFoundError):
                look()


def test_items_are_forgotten_from_the_first_that_was_shown(record: Conversations) -> None:
    made = record.create(OWNER, {}, [item("msg_a")])
    other = record.create(OWNER, {}, [item("msg_a")])
    record.append(made.id, OWNER, [item("msg_b"), item("msg_c")], {"file-1"})
    record.append(made.id, OWNER, [item("msg_d")], {"file-1", "file-2"})
    record.delete_item(made.id, OWNER, "msg_b")  # what comes after it may still repeat the words
    assert record.told(made.id, OWNER)[1] == {"file-1", "file-2"}
    record.forget("file-2")
    assert [one["id"] for one in record.told(made.id, OWNER)[0]] == ["msg_a", "msg_c"]
    record.forget("file-1")
    assert [one["id"] for one in record.told(made.id, OWNER)[0]] == ["msg_a"]
    assert [one["id"] for one in record.told(other.id, OWNER)[0]] == ["msg_a"]
    assert record.files() == []
