"""LiteLLM: what its users do, in its words. `openai/NAME` is a model of a server that speaks as OpenAI does."""

import time

import litellm
from checks import ASKED, KEY, URL, assert_shows, check, raises, run

MODEL, EMBEDDER = "openai/cogcore", f"openai/{ASKED['embedder']}"
FILE_SEARCH = {"type": "file_search", "vector_store_ids": ["default"]}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
litellm.suppress_debug_info = True


def user(text):
    return [{"role": "user", "content": text}]


@check
def completion():
    reply = litellm.completion(model=MODEL, messages=user(ASKED["question"]))
    message = reply.choices[0].message
    assert ASKED["answer"] in message.content and reply.usage.total_tokens > 0
    citation = message.annotations[0]["url_citation"]
    assert citation["title"] == ASKED["file"]
    assert_shows(citation["url"], ASKED["answer"])
    assert message.reasoning_content


@check
def completion_streamed():
    options = {"include_usage": True}
    stream = litellm.completion(model=MODEL, messages=user(ASKED["question"]), stream=True, stream_options=options)
    chunks = list(stream)
    whole = litellm.stream_chunk_builder(chunks)
    assert ASKED["answer"] in whole.choices[0].message.content and chunks[-1].usage.total_tokens > 0


@check
async def completion_async():
    stream = await litellm.acompletion(model=MODEL, messages=user(ASKED["question"]), stream=True)
    text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert ASKED["answer"] in text


@check
def what_the_memory_does_not_hold_and_small_talk():
    unknown, talk = (
        litellm.completion(model=MODEL, messages=user(ASKED[one])).choices[0].message
        for one in ("unanswerable", "small_talk")
    )
    assert ASKED["unknown"] in unknown.content
    assert talk.content and ASKED["unknown"] not in talk.content


@check
def a_conversation_goes_on_with_what_was_answered():
    first = litellm.completion(model=MODEL, messages=user(ASKED["question"])).choices[0].message
    told = [*user(ASKED["question"]), first, *user("Thank you, that was helpful.")]
    assert litellm.completion(model=MODEL, messages=told).choices[0].message.content


@check
def responses():
    asked = {"model": MODEL, "input": ASKED["question"], "tools": [FILE_SEARCH]}
    reply = litellm.responses(**asked)
    message = next(item for item in reply.output if item.type == "message")
    assert ASKED["answer"] in message.content[0].text
    assert ASKED["file"] in {getattr(one, "filename", None) for one in message.content[0].annotations}
    events = list(litellm.responses(**asked, stream=True))
    assert events[-1].type == "response.completed"


@check
def embedding():
    made = litellm.embedding(model=EMBEDDER, input=[ASKED["question"], ASKED["document"]])
    assert [len(one["embedding"]) for one in made.data] == [ASKED["dimension"]] * 2
    assert made.usage.total_tokens > 0


@check
def rerank():
    texts = ["Salaries are paid on the 25th.", ASKED["document"]]
    made = litellm.rerank(
        model=f"hosted_vllm/{ASKED['reader']}",
        query=ASKED["document_question"],
        documents=texts,
        api_base=URL,
        api_key=KEY,
    )
    assert made.results[0]["index"] == 1, made


@check
def files_and_vector_stores():
    openai = {"custom_llm_provider": "openai"}
    file = litellm.create_file(file=("sorne.md", ASKED["document"].encode()), purpose="assistants", **openai)
    assert litellm.file_retrieve(file.id, **openai).filename == "sorne.md"
    store = litellm.vector_stores.create(name="rivers-of-litellm", **openai)["id"]
    attached = {"vector_store_id": store, "file_id": file.id, **openai}
    litellm.vector_store_file_create(**attached)
    while litellm.vector_store_file_retrieve(**attached)["status"] == "in_progress":
        time.sleep(0.1)

    def found():
        page = litellm.vector_stores.search(vector_store_id=store, query=ASKED["document_question"], **openai)
        return [one["file_id"] for one in page["data"]]

    assert found() == [file.id]
    assert litellm.vector_store_file_delete(**attached)["deleted"]
    assert found() == []
    assert litellm.file_delete(file.id, **openai).deleted


@check
def functions_are_refused_by_the_embedded_core():
    raises(litellm.BadRequestError, lambda: litellm.completion(model=MODEL, messages=user("Hi"), tools=[WEATHER]))


@check
def errors_are_the_clients_own():
    hi = user("Hi")
    raises(litellm.NotFoundError, lambda: litellm.completion(model="openai/gpt-nope", messages=hi))
    raises(litellm.AuthenticationError, lambda: litellm.completion(model=MODEL, messages=hi, api_key="wrong"))
    raises(
        litellm.ContextWindowExceededError, lambda: litellm.completion(model=MODEL, messages=user("river " * 20_000))
    )


run()
