"""OpenAI's client for Python: what its users do, in its words."""

import time

import openai
from checks import ASKED, URL, assert_shows, check, raises, run
from openai import AsyncOpenAI, OpenAI

client = OpenAI()  # by OPENAI_BASE_URL and OPENAI_API_KEY
FILE_SEARCH = {"type": "file_search", "vector_store_ids": ["default"]}
WEATHER = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}


def user(text):
    return [{"role": "user", "content": text}]


@check
def models():
    names = [model.id for model in client.models.list()]
    assert {"cogcore", ASKED["embedder"]} <= set(names), names
    assert client.models.retrieve("cogcore").owned_by == "cogcore"


@check
def chat():
    reply = client.chat.completions.create(model="cogcore", messages=user(ASKED["question"]))
    message = reply.choices[0].message
    assert ASKED["answer"] in message.content and reply.choices[0].finish_reason == "stop", reply
    citation = message.annotations[0].url_citation
    assert citation.title == ASKED["file"] and message.content[citation.start_index : citation.end_index]
    assert_shows(citation.url, ASKED["answer"])
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens > 0
    assert reply.cogcore["status"] == "answered"
    assert reply._request_id


@check
def chat_streamed():
    text, usage, annotations = "", None, []
    options = {"include_usage": True}
    asked = client.chat.completions.create(
        model="cogcore", messages=user(ASKED["question"]), stream=True, stream_options=options
    )
    for chunk in asked:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            annotations += getattr(choice.delta, "annotations", None) or []
    assert ASKED["answer"] in text and usage.total_tokens > 0
    assert annotations[0]["url_citation"]["title"] == ASKED["file"]


@check
def chat_stream_helper():
    with client.chat.completions.stream(model="cogcore", messages=user(ASKED["question"])) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds, kinds
    assert ASKED["answer"] in final.choices[0].message.content


@check
async def chat_async_and_many():
    async with AsyncOpenAI() as many:
        whole = await many.chat.completions.create(model="cogcore", messages=user(ASKED["question"]), n=2, seed=1)
        assert [ASKED["answer"] in choice.message.content for choice in whole.choices] == [True, True]
        stream = await many.chat.completions.create(model="cogcore", messages=user(ASKED["question"]), stream=True)
        async for _ in stream:
            break  # and hang up
        await stream.close()


@check
def what_the_memory_does_not_hold():
    reply = client.chat.completions.create(model="cogcore", messages=user(ASKED["unanswerable"]))
    assert ASKED["unknown"] in reply.choices[0].message.content and not reply.choices[0].message.annotations
    assert reply.cogcore["abstained"]


@check
def small_talk():
    reply = client.chat.completions.create(model="cogcore", messages=user(ASKED["small_talk"]))
    assert reply.choices[0].message.content and not reply.choices[0].message.annotations
    assert reply.cogcore["searches"] == []


@check
def a_conversation_goes_on_with_what_was_answered():
    first = client.chat.completions.create(model="cogcore", messages=user(ASKED["question"])).choices[0].message
    told = [*user(ASKED["question"]), first, *user("Thank you, that was helpful.")]
    assert client.chat.completions.create(model="cogcore", messages=told).choices[0].message.content


@check
def logprobs():
    reply = client.chat.completions.create(
        model="cogcore", messages=user(ASKED["question"]), logprobs=True, top_logprobs=2
    )
    assert {len(one.top_logprobs) for one in reply.choices[0].logprobs.content} == {2}


@check
def completions():
    reply = client.completions.create(model="cogcore", prompt="Good", max_tokens=4)
    assert reply.object == "text_completion" and reply.usage.completion_tokens <= 4


@check
def embeddings():
    asked = {"model": ASKED["embedder"], "input": [ASKED["question"], ASKED["document"]]}
    packed, plain = client.embeddings.create(**asked), client.embeddings.create(**asked, encoding_format="float")
    assert [len(one.embedding) for one in packed.data] == [ASKED["dimension"]] * 2
    pairs = zip(packed.data[0].embedding, plain.data[0].embedding, strict=True)
    assert all(abs(a - b) < 1e-6 for a, b in pairs)
    assert packed.usage.total_tokens > 0


@check
def files():
    made = client.files.create(file=("sorne.md", ASKED["document"].encode()), purpose="assistants")
    assert client.files.retrieve(made.id).filename == "sorne.md"
    assert made.id in [file.id for file in client.files.list(purpose="assistants")]
    assert client.files.content(made.id).text == ASKED["document"]
    assert client.files.wait_for_processing(made.id).status == "processed"
    assert client.files.delete(made.id).deleted
    assert raises(openai.NotFoundError, lambda: client.files.retrieve(made.id)).code == "not_found"


@check
def vector_stores():
    store = client.vector_stores.create(name="rivers-of-openai", metadata={"kind": "rivers"})
    attached = client.vector_stores.files.upload_and_poll(
        vector_store_id=store.id, file=("sorne.md", ASKED["document"].encode()), attributes={"river": "Sorne"}
    )
    assert attached.status == "completed", attached
    batch = client.vector_stores.file_batches.upload_and_poll(
        store.id, files=[("ebb.md", b"The Little Ebb is a side arm of the Sorne."), ("a.md", b"Ada Brandt.")]
    )
    assert batch.file_counts.completed == 2, batch
    assert client.vector_stores.retrieve(store.id).file_counts.completed == 3
    assert len(list(client.vector_stores.files.list(store.id, limit=1))) == 3  # the client turns the pages
    assert client.vector_stores.update(store.id, name="rivers-of-openai-2").name == "rivers-of-openai-2"

    def found(**options):
        return [one.file_id for one in client.vector_stores.search(store.id, **options)]

    question = ASKED["document_question"]
    assert found(query=question)[0] == attached.id
    assert found(query=question, filters={"type": "eq", "key": "river", "value": "Ebb"}) == []
    assert (
        ASKED["document"] in next(iter(client.vector_stores.files.content(attached.id, vector_store_id=store.id))).text
    )
    asked = client.chat.completions.create(model=f"cogcore/{store.id}", messages=user(question))
    assert ASKED["document_answer"] in asked.choices[0].message.content

    assert client.vector_stores.files.delete(attached.id, vector_store_id=store.id).deleted
    assert attached.id not in found(query=question)
    for file in client.vector_stores.files.list(store.id):
        client.files.delete(file.id)
    client.files.delete(attached.id)
    assert client.vector_stores.delete(store.id).deleted
    raises(openai.NotFoundError, lambda: client.vector_stores.retrieve(store.id))


@check
def responses():
    reply = client.responses.create(
        model="cogcore", input=ASKED["question"], tools=[FILE_SEARCH], include=["file_search_call.results"]
    )
    assert reply.status == "completed" and ASKED["answer"] in reply.output_text, reply
    search = next(item for item in reply.output if item.type == "file_search_call")
    assert search.results[0].filename == ASKED["file"]
    message = next(item for item in reply.output if item.type == "message")
    by_kind = {annotation.type: annotation for annotation in message.content[0].annotations}
    assert by_kind["file_citation"].filename == ASKED["file"]
    assert_shows(by_kind["url_citation"].url, ASKED["answer"])
    assert reply.usage.total_tokens > 0
    items = list(client.responses.input_items.list(reply.id))
    assert items[0].content[0].text == ASKED["question"]


@check
def responses_streamed():
    asked = {"model": "cogcore", "input": ASKED["question"], "tools": [FILE_SEARCH]}
    kinds = [event.type for event in client.responses.create(**asked, stream=True)]
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
    assert "response.output_text.annotation.added" in kinds
    with client.responses.stream(**asked) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        assert stream.get_final_response().output_text == text
    assert ASKED["answer"] in text


@check
def responses_in_the_background():
    asked = {"model": "cogcore", "input": ASKED["question"], "tools": [FILE_SEARCH], "background": True}
    made = client.responses.create(**asked)
    assert made.status in ("queued", "in_progress", "completed")
    while made.status in ("queued", "in_progress"):
        time.sleep(0.1)
        made = client.responses.retrieve(made.id)
    assert made.status == "completed" and ASKED["answer"] in made.output_text
    stream = client.responses.create(**asked, stream=True)
    first = next(iter(stream))
    stream.close()
    again = list(client.responses.retrieve(first.response.id, stream=True, starting_after=first.sequence_number))
    assert [event.sequence_number for event in again] == list(range(1, len(again) + 1))
    assert ASKED["answer"] in again[-1].response.output_text
    assert client.responses.cancel(made.id).status == "completed"
    client.responses.delete(made.id)
    raises(openai.NotFoundError, lambda: client.responses.retrieve(made.id))


@check
def responses_go_on():
    first = client.responses.create(model="cogcore/default", input=ASKED["question"])
    second = client.responses.create(
        model="cogcore/default", input="Thank you, that was helpful.", previous_response_id=first.id
    )
    assert second.previous_response_id == first.id and second.output_text
    said = [*user(ASKED["question"]), *(item.to_dict() for item in first.output), *user("Thank you.")]
    assert client.responses.create(model="cogcore/default", input=said, store=False).output_text


@check
def responses_without_a_memory():
    reply = client.responses.create(model="cogcore", input=ASKED["small_talk"], instructions="Be kind.")
    assert reply.output_text and "file_search_call" not in [item.type for item in reply.output]


@check
def functions_are_refused_by_the_embedded_core():
    tools = [{"type": "function", "function": WEATHER}]
    for stream in (False, True):
        refused = raises(
            openai.BadRequestError,
            lambda stream=stream: client.chat.completions.create(
                model="cogcore", messages=user("Hi"), tools=tools, stream=stream
            ),
        )
        assert refused.param == "tools", refused
    refused = raises(
        openai.BadRequestError,
        lambda: client.responses.create(model="cogcore", input="Hi", tools=[{"type": "function", **WEATHER}]),
    )
    assert refused.param == "tools", refused


@check
def errors_are_the_clients_own():
    asked = {"model": "gpt-5", "messages": user("Hi")}
    unknown = raises(openai.NotFoundError, lambda: client.chat.completions.create(**asked))
    assert (unknown.code, unknown.param) == ("model_not_found", "model")
    stranger = OpenAI(api_key="wrong")
    refused = raises(openai.AuthenticationError, lambda: list(stranger.models.list()))
    assert refused.code == "invalid_api_key"
    wrong = raises(
        openai.BadRequestError,
        lambda: client.chat.completions.create(model="cogcore", messages=user("Hi"), extra_body={"colour": "red"}),
    )
    assert (wrong.code, wrong.param) == ("unknown_parameter", "colour")
    long = raises(
        openai.BadRequestError,
        lambda: client.chat.completions.create(model="cogcore", messages=user("river " * 20_000)),
    )
    assert long.code == "context_length_exceeded"
    elsewhere = OpenAI(base_url=URL.replace("/v1", "/v2"), max_retries=0)
    assert raises(openai.NotFoundError, lambda: list(elsewhere.models.list())).code == "unknown_url"


run()
