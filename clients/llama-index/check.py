"""LlamaIndex's models for servers that speak as OpenAI does: what its users do, in its words."""

import openai
from checks import ASKED, KEY, URL, check, raises, run
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike, OpenAILikeResponses

WHERE = {"api_base": URL, "api_key": KEY}


def model(name="cogcore", kind=OpenAILike, **given):
    return kind(**{"model": name, "is_chat_model": True, "context_window": 2048, "max_retries": 0, **WHERE, **given})


def embedder():
    return OpenAILikeEmbedding(model_name=ASKED["embedder"], **WHERE)


def user(text):
    return [ChatMessage(role="user", content=text)]


@check
def chat():
    reply = model().chat(user(ASKED["question"]))
    assert ASKED["answer"] in reply.message.content and reply.raw.usage.total_tokens > 0
    assert reply.raw.choices[0].message.annotations[0].url_citation.title == ASKED["file"]


@check
def chat_streamed():
    last = list(model().stream_chat(user(ASKED["question"])))[-1]
    assert ASKED["answer"] in last.message.content


@check
async def chat_async():
    assert ASKED["answer"] in (await model().achat(user(ASKED["question"]))).message.content


@check
def complete():
    assert ASKED["answer"] in model().complete(ASKED["question"]).text
    assert isinstance(model(is_chat_model=False, max_tokens=4).complete("Good").text, str)


@check
def responses_with_file_search():
    tools = [{"type": "file_search", "vector_store_ids": ["default"]}]
    searching = model(kind=OpenAILikeResponses, built_in_tools=tools)
    reply = searching.chat(user(ASKED["question"]))
    assert ASKED["answer"] in reply.message.content
    assert "".join(one.delta for one in searching.stream_chat(user(ASKED["question"]))) == reply.message.content
    told = [*user(ASKED["question"]), reply.message, *user("Thank you, that was helpful.")]
    assert searching.chat(told).message.content


@check
def what_the_memory_does_not_hold_and_small_talk():
    assert ASKED["unknown"] in model().chat(user(ASKED["unanswerable"])).message.content
    talk = model().chat(user(ASKED["small_talk"])).message.content
    assert talk and ASKED["unknown"] not in talk


@check
def a_conversation_goes_on_with_what_was_answered():
    first = model().chat(user(ASKED["question"])).message
    told = [*user(ASKED["question"]), first, *user("Thank you, that was helpful.")]
    assert model().chat(told).message.content


@check
def embeddings_and_an_index_of_its_own():
    vectors = embedder().get_text_embedding_batch([ASKED["question"], ASKED["document"]])
    assert [len(vector) for vector in vectors] == [ASKED["dimension"]] * 2
    documents = [Document(text=ASKED["document"]), Document(text="Salaries are paid on the 25th.")]
    index = VectorStoreIndex.from_documents(documents, embed_model=embedder())
    found = index.as_retriever(similarity_top_k=1).retrieve(ASKED["document_question"])
    assert found[0].text == ASKED["document"]


@check
def functions_are_refused_by_the_embedded_core():
    weather = FunctionTool.from_defaults(lambda city: "Sun.", name="weather", description="The weather in a city.")
    calling = model(is_function_calling_model=True)
    refused = raises(openai.BadRequestError, lambda: calling.chat_with_tools([weather], user_msg="Hi"))
    assert refused.param == "tools"


@check
def errors_are_the_clients_own():
    unknown = raises(openai.NotFoundError, lambda: model("gpt-nope").chat(user("Hi")))
    assert unknown.code == "model_not_found"
    stranger = model(api_key="wrong")
    assert raises(openai.AuthenticationError, lambda: stranger.chat(user("Hi"))).code == "invalid_api_key"


run()
