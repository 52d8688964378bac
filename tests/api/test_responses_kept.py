"""Responses that are kept: fetched, gone on from, listed, erased; and those that run in the background."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types.responses import Response

from app.api import Parts
from app.api.reviews import forget_gone
from app.cores.load import TINY_FOLDER, load_tokenizer
from app.drawn import KEPT_SECONDS
from app.engine.types import ANYBODY, Scored, Whose
from app.keys import ORGANISATION as OWNER
from app.responses import Kept, ResponseNotFound, Responses
from tests.api.test_chat_stream import UNSURE, Slow, call, ids
from tests.api.test_responses import QUESTION, SEARCH, WEATHER, told
from tests.fakes import ScriptedEngine

TALK: dict[str, Any] = {"model": "cogcore", "input": "Hello there", "max_output_tokens": 20}
ENDED = ("completed", "incomplete", "failed", "cancelled")


def ended(client: OpenAI, response: Response) -> Response:
    until = time.monotonic() + 60
    while response.status not in ENDED:
        assert time.monotonic() < until
        time.sleep(0.05)
        response = client.responses.retrieve(response.id)
    return response


def test_what_was_made_can_be_fetched(client: OpenAI) -> None:
    made = client.responses.create(**TALK, metadata={"a": "b"})
    assert made.model_extra is not None and made.model_extra["store"] is True
    assert client.responses.retrieve(made.id).model_dump() == made.model_dump()
    with client.responses.stream(**TALK) as stream:
        *_, last = stream
    assert last.type in ("response.completed", "response.incomplete")
    assert client.responses.retrieve(last.response.id).output_text == last.response.output_text
    client.responses.delete(made.id)
    for again in (client.responses.retrieve, client.responses.delete, client.responses.cancel):
        with pytest.raises(openai.NotFoundError):
            again(made.id)


def test_what_was_not_to_be_kept_is_not(client: OpenAI) -> None:
    made = client.responses.create(**TALK, store=False)
    assert (made.model_extra or {})["store"] is False
    with pytest.raises(openai.NotFoundError) as refused:
        client.responses.retrieve(made.id)
    assert refused.value.code == "not_found"


def test_input_items(client: OpenAI) -> None:
    given: list[Any] = [{"role": "user", "content": str(n)} for n in range(3)]
    given.insert(1, {"role": "assistant", "content": "Hi"})
    made = client.responses.create(**{**TALK, "input": given})

    def texts(**query: Any) -> list[str]:
        listed: Iterable[Any] = client.responses.input_items.list(made.id, **query)
        return [item.content[0].text for item in listed]

    assert texts() == ["2", "1", "Hi", "0"]
    assert texts(limit=1, order="asc") == ["0", "Hi", "1", "2"]  # the client turns the pages
    page = client.responses.input_items.list(made.id, limit=2, order="asc")
    assert page.has_more and page.data[1].type == "message"
    assert page.data[1].model_dump()["content"][0]["type"] == "output_text"
    first, last = (client.responses.input_items.list(made.id, order=order).data[0].id for order in ("asc", "desc"))
    for query, (expected, more) in (
        ({"before": last, "limit": 2}, (["Hi", "1"], True)),
        ({"before": last}, (["0", "Hi", "1"], False)),
        ({"before": first}, ([], False)),
        ({"after": first, "before": last, "limit": 1}, (["Hi"], True)),
    ):
        page = client.responses.input_items.list(made.id, order="asc", extra_query=query)
        assert ([item.model_dump()["content"][0]["text"] for item in page.data], page.has_more) == (expected, more)
    for field in ("after", "before"):
        with pytest.raises(openai.BadRequestError) as refused:
            client.responses.input_items.list(made.id, extra_query={field: "msg_0"})
        assert refused.value.param == field
    with pytest.raises(openai.BadRequestError, match="include"):
        client.responses.retrieve(made.id, include=["file_search_call.results"])


def shown(engine: ScriptedEngine) -> str:
    """What the core was shown last."""
    return str(load_tokenizer(TINY_FOLDER).decode(engine.prompts[-1]))


def test_going_on(tmp_path: Path) -> None:
    engine = ScriptedEngine([ids("Blue."), ids("Green."), ids("Red.")], [UNSURE] * 3)
    with told(engine, tmp_path) as client:
        first = client.responses.create(model="cogcore", input="Colour one?", instructions="Be terse.")
        assert "Be terse." in shown(engine)
        second = client.responses.create(model="cogcore", input="Colour two?", previous_response_id=first.id)
        assert second.previous_response_id == first.id
        client.responses.create(model="cogcore", input="Colour three?", previous_response_id=second.id)
        text = shown(engine)
        places = [text.index(said) for said in ("Colour one?", "Blue.", "Colour two?", "Green.", "Colour three?")]
        assert places == sorted(places)
        assert "Be terse." not in text
        (item,) = client.responses.input_items.list(second.id)
        assert item.type == "message"
        client.responses.delete(first.id)
        with pytest.raises(openai.BadRequestError) as refused:
            client.responses.create(model="cogcore", input="Four?", previous_response_id=second.id)
        assert refused.value.code == "previous_response_not_found"


def test_a_call_is_answered_in_the_next_response(tmp_path: Path) -> None:
    scripts = [ids(call("weather", city="Rome")), ids("Sun."), ids("Still sun.")]
    with told(ScriptedEngine(scripts, [UNSURE] * 3), tmp_path) as client:
        asked: dict[str, Any] = {"model": "cogcore", "tools": [WEATHER]}
        first = client.responses.create(**asked, input="Rome?")
        (made,) = first.output
        assert made.type == "function_call"
        with pytest.raises(openai.BadRequestError, match="has no answer"):
            client.responses.create(**asked, input="And?", previous_response_id=first.id)
        output: Any = {"type": "function_call_output", "call_id": made.call_id, "output": "Sun."}
        second = client.responses.create(**asked, input=[output], previous_response_id=first.id)
        assert second.output_text == "Sun."
        # As clients do that name items instead of repeating them.
        user: Any = {"role": "user", "content": "Rome?"}
        reference: Any = {"type": "item_reference", "id": made.id}
        third = client.responses.create(**asked, input=[user, reference, output])
        assert third.output_text == "Still sun."


def on_disk(parts: Parts, words: str) -> bool:
    return any(words.encode() in path.read_bytes() for path in parts.settings.data_dir.glob("responses*"))


@pytest.mark.parametrize("by_itself", [False, True])
def test_a_deleted_document_takes_its_responses_along(
    client: OpenAI, rivers: str, parts: Parts, by_itself: bool
) -> None:
    name = "Tamsin" if by_itself else "Ansel"
    text = f"The bridge at Quellmoor was built by {name} Oakhurst."
    file = client.files.create(file=("bridge.md", text.encode()), purpose="assistants")
    client.vector_stores.files.create_and_poll(file.id, vector_store_id="default")
    asked = {**SEARCH, "input": "Who built the bridge at Quellmoor?"}
    first = client.responses.create(**asked)
    assert name in first.output_text
    # Shown nothing of it but what was said before.
    second = client.responses.create(
        **TALK, previous_response_id=first.id, extra_body={"cogcore": {"need_threshold": 1}}
    )
    other = client.responses.create(**TALK)
    assert on_disk(parts, name)
    if by_itself:
        parts.memory.delete_file(file.id)
        forget_gone(parts)
    else:
        client.files.delete(file.id)
    assert not on_disk(parts, name)
    for gone in (first, second):
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(gone.id)
    assert client.responses.retrieve(other.id).id == other.id


def test_one_that_cannot_be_kept_goes_out_and_says_so(
    client: OpenAI, parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setitem(parts.__dict__, "responses", Responses(tmp_path / "file" / "responses.sqlite"))
    made = client.responses.create(**TALK)
    assert made.output and (made.model_extra or {})["store"] is False
    assert "could not be kept" in caplog.text


class TestInTheBackground:
    def test_polled(self, client: OpenAI, rivers: str) -> None:
        made = client.responses.create(**SEARCH, background=True)
        assert made.status in ("queued", "in_progress")
        assert made.background is True
        done = ended(client, made)
        assert done.output_text == client.responses.create(**SEARCH).output_text
        assert (done.id, done.status) == (made.id, "completed")
        assert client.responses.cancel(made.id).status == "completed"

    def test_streamed_again_from_any_event(self, client: OpenAI) -> None:
        live: list[Any] = list(client.responses.create(**TALK, background=True, stream=True))
        response = live[0].response
        assert live[-1].type in ("response.completed", "response.incomplete")
        ended(client, response)
        for start in (None, 0, 5, live[-1].sequence_number):
            query: dict[str, Any] = {} if start is None else {"starting_after": start}
            again = list(client.responses.retrieve(response.id, stream=True, **query))
            assert again == live[0 if start is None else start + 1 :]

    def test_hanging_up_does_not_end_it(self, tmp_path: Path) -> None:
        with told(Slow([ids("Hello!")], [UNSURE]), tmp_path) as client:
            asked: dict[str, Any] = {"model": "cogcore/default", "input": QUESTION, "background": True}
            with client.responses.create(**asked, stream=True) as stream:
                first: Any = next(iter(stream))
            response = client.responses.retrieve(first.response.id)
            assert response.status == "in_progress"
            rest = list(client.responses.retrieve(response.id, stream=True, starting_after=first.sequence_number))
            assert [event.sequence_number for event in rest] == list(range(1, len(rest) + 1))
            assert ended(client, response).output_text == "Hello!"

    def test_a_failure_is_told(self, tmp_path: Path) -> None:
        engine = Slow([], [UNSURE])
        engine.refuses = True
        with told(engine, tmp_path) as client:
            done = ended(client, client.responses.create(model="cogcore/default", input=QUESTION, background=True))
            assert done.status == "failed"
            assert done.error is not None and done.error.code == "rate_limit_exceeded"
            with pytest.raises(openai.BadRequestError, match="nothing can follow"):
                client.responses.create(model="cogcore", input="?", previous_response_id=done.id)

    @pytest.mark.parametrize("by", ["cancel", "delete"])
    def test_ended_from_outside(self, tmp_path: Path, by: str) -> None:
        with told(Waiting(), tmp_path) as client:
            made = client.responses.create(model="cogcore/default", input=QUESTION, background=True)
            if by == "delete":
                client.responses.delete(made.id)
                with pytest.raises(openai.NotFoundError):
                    client.responses.retrieve(made.id)
                return
            assert client.responses.cancel(made.id).status == "cancelled"
            assert client.responses.cancel(made.id).status == "cancelled"
            assert client.responses.retrieve(made.id).status == "cancelled"
            *_, last = client.responses.retrieve(made.id, stream=True)
            assert last.type == "response.incomplete"
            assert last.response.status == "cancelled"

    def test_only_there(self, client: OpenAI) -> None:
        made = client.responses.create(**TALK)
        for refused in (
            lambda: client.responses.cancel(made.id),
            lambda: client.responses.retrieve(made.id, stream=True),
            lambda: client.responses.retrieve(made.id, starting_after=1),
            lambda: client.responses.create(**TALK, background=True, store=False),
        ):
            with pytest.raises(openai.BadRequestError):
                refused()

    def test_a_server_that_stops_says_so(self, tmp_path: Path) -> None:
        with told(Waiting(), tmp_path) as client:
            stopped = client.responses.create(model="cogcore/default", input=QUESTION, background=True)
        # As one leaves them that is killed.
        record = Responses(tmp_path / "responses.sqlite")
        left = record.get(stopped.id, OWNER)
        assert left.body["status"] == "failed"
        record.keep(Kept(OWNER, {**left.body, "id": "resp_killed", "status": "queued", "error": None}, left.input))
        record.close()
        with told(Waiting(), tmp_path) as client:
            for response_id in (stopped.id, "resp_killed"):
                response = client.responses.retrieve(response_id)
                assert response.status == "failed"
                assert response.error is not None and "stopped" in response.error.message


class Waiting(ScriptedEngine):
    """Never gets to answer."""

    async def score(
        self, prompt: Sequence[int], continuation: Sequence[int], *, instead: Sequence[int] = (), whose: Whose = ANYBODY
    ) -> Scored:
        await asyncio.sleep(60)
        raise AssertionError("nobody ended it")


@pytest.fixture
def record(tmp_path: Path) -> Any:
    made = Responses(tmp_path / "responses.sqlite")
    yield made
    made.close()


def kept(name: str, *, age: int = 0, before: str | None = None, files: Sequence[str] = ()) -> Kept:
    body = {
        "id": name,
        "created_at": int(time.time()) - age,
        "status": "completed",
        "previous_response_id": before,
        "output": [{"id": f"msg_{name}"}],
    }
    return Kept(OWNER, body, [], frozenset(files))


def test_old_ones_go(record: Responses, monkeypatch: pytest.MonkeyPatch) -> None:
    record.expire()
    record.keep(kept("old", age=KEPT_SECONDS + 60))
    record.keep(kept("young", age=KEPT_SECONDS - 60))
    record.expire()
    with pytest.raises(ResponseNotFound):
        record.get("old", OWNER)
    monkeypatch.setattr("app.responses.KEPT", 2)
    record.keep(kept("younger"))
    record.keep(kept("youngest"))
    with pytest.raises(ResponseNotFound):
        record.get("young", OWNER)
    assert [one.id for one in record.chain("youngest", OWNER)] == ["youngest"]
    assert set(record.holding(["msg_young", "msg_younger"], OWNER)) == {"msg_younger"}


def test_to_others_it_is_not_there(record: Responses) -> None:
    record.keep(kept("a"))
    for refused in (record.get, record.chain, record.delete):
        with pytest.raises(ResponseNotFound):
            refused("a", "somebody else")
    assert record.holding(["msg_a"], "somebody else") == {}
    assert record.get("a", OWNER).id == "a"


def test_a_later_state_takes_the_place(record: Responses) -> None:
    first = kept("a", files=["file-1"])
    record.keep(Kept(OWNER, {**first.body, "status": "queued", "output": []}, [{"id": "in"}], first.files))
    assert [one.id for one in record.unended()] == ["a"]
    record.keep(Kept(OWNER, first.body, [], frozenset({"file-1", "file-2"}), [{"type": "response.completed"}]))
    found = record.get("a", OWNER)
    assert (found.body, found.input, found.files) == (first.body, [{"id": "in"}], {"file-1", "file-2"})
    assert found.events == [{"type": "response.completed"}]
    assert (record.unended(), sorted(record.files())) == ([], ["file-1", "file-2"])
    record.forget("file-2")
    assert record.files() == []
    with pytest.raises(ResponseNotFound):
        record.delete("a", OWNER)
