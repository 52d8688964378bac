"""LangChain's OpenAI models: what its users do, in its words."""

import openai
from checks import ASKED, assert_shows, check, raises, run
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

# By OPENAI_API_BASE and OPENAI_API_KEY.
chat = ChatOpenAI(model="cogcore", stream_usage=True)
respond = ChatOpenAI(model="cogcore", use_responses_api=True)
FILE_SEARCH = {"type": "file_search", "vector_store_ids": ["default"]}


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return "Sun."


@check
def invoke():
    reply = chat.invoke(ASKED["question"])
    assert ASKED["answer"] in reply.content and reply.response_metadata["finish_reason"] == "stop"
    assert reply.usage_metadata["total_tokens"] > 0


@check
def stream():
    whole = None
    for chunk in chat.stream(ASKED["question"]):
        whole = chunk if whole is None else whole + chunk
    assert ASKED["answer"] in whole.content and whole.usage_metadata["total_tokens"] > 0


@check
async def a_chain_async_and_in_batches():
    prompt = ChatPromptTemplate.from_messages([("system", "Be kind."), ("user", "{question}")])
    chain = prompt | chat | StrOutputParser()
    questions = [{"question": ASKED["question"]}, {"question": ASKED["unanswerable"]}]
    known, unknown = await chain.abatch(questions)
    assert ASKED["answer"] in known and ASKED["unknown"] in unknown
    pieces = [piece async for piece in chain.astream(questions[0])]
    assert "".join(pieces) == known


@check
def a_conversation_goes_on_with_what_was_answered():
    for model in (chat, respond):
        first = model.invoke(ASKED["question"])
        assert model.invoke([("user", ASKED["question"]), first, ("user", "Thank you, that was helpful.")]).content


@check
def small_talk():
    reply = chat.invoke(ASKED["small_talk"])
    assert reply.content and ASKED["unknown"] not in reply.content


@check
def responses_with_file_search():
    searching = respond.bind_tools([FILE_SEARCH], include=["file_search_call.results"])
    reply = searching.invoke(ASKED["question"])
    assert ASKED["answer"] in reply.text
    cited = [one for block in reply.content_blocks for one in block.get("annotations", [])]
    assert_shows(next(one["url"] for one in cited if "url" in one), ASKED["answer"])
    assert ASKED["file"] in {one.get("title") for one in cited}
    whole = None
    for chunk in searching.stream(ASKED["question"]):
        whole = chunk if whole is None else whole + chunk
    assert whole.text == reply.text and whole.usage_metadata["total_tokens"] > 0


@check
def responses_go_on_with_what_was_found():
    for how in ({"output_version": "v1"}, {"use_previous_response_id": True}, {"store": False}):
        searching = ChatOpenAI(model="cogcore", use_responses_api=True, **how).bind_tools([FILE_SEARCH])
        first = searching.invoke(ASKED["question"])
        assert searching.invoke([("user", ASKED["question"]), first, ("user", "Thank you, that was helpful.")]).text


@check
def embeddings():
    # Its default counts tokens as OpenAI's models do, and sends their ids.
    made = OpenAIEmbeddings(model=ASKED["embedder"], check_embedding_ctx_length=False)
    vectors = made.embed_documents([ASKED["question"], ASKED["document"]])
    assert [len(vector) for vector in vectors] == [ASKED["dimension"]] * 2
    assert len(made.embed_query(ASKED["question"])) == ASKED["dimension"]


@check
def functions_and_schemas_are_refused_by_the_embedded_core():
    for model in (chat, respond):
        calling = model.bind_tools([weather])
        assert raises(openai.BadRequestError, lambda calling=calling: calling.invoke("Hi")).param == "tools"
        raises(openai.BadRequestError, lambda calling=calling: list(calling.stream("Hi")))
        schema = {"title": "Days", "type": "object", "properties": {"days": {"type": "integer"}}}
        written = model.with_structured_output(schema)
        raises(openai.BadRequestError, lambda written=written: written.invoke(ASKED["question"]))


@check
def errors_are_the_clients_own():
    assert raises(openai.NotFoundError, lambda: ChatOpenAI(model="gpt-nope").invoke("Hi")).code == "model_not_found"
    stranger = ChatOpenAI(model="cogcore", api_key="wrong")
    assert raises(openai.AuthenticationError, lambda: stranger.invoke("Hi")).code == "invalid_api_key"
    long = raises(openai.BadRequestError, lambda: chat.invoke("river " * 20_000))
    assert long.code == "context_length_exceeded"


run()
