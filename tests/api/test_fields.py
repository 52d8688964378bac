"""Every field that OpenAI's SDK can send is known here: honoured, refused by name with its remedy, or without effect.

The SDK's own types are walked, so a newer SDK with a new field fails here until somebody has decided about it.
"""

from typing import Any, cast, get_args
from unittest.mock import MagicMock

import openai.types as sdk
import pytest
from openai.types import conversations, vector_stores
from openai.types.chat import completion_create_params
from openai.types.completion_create_params import CompletionCreateParamsBase as TextParams
from openai.types.responses import ResponseIncludable, input_item_list_params, response_create_params
from openai.types.responses import response_retrieve_params as retrieving
from pydantic import BaseModel

from app.api import Parts, create_app
from app.api.chat_request import ChatRequest
from app.api.completion_request import CompletionRequest
from app.api.conversations import ConversationChange, NewConversation, NewItems
from app.api.described.application import operations
from app.api.embeddings import EmbeddingRequest
from app.api.responses.request import Includable, ResponseRequest
from app.api.store_files import AttributesChange, NewBatch, NewFile
from app.api.stores import NewStore, Search, StoreChange
from app.settings import read

BODIES: list[tuple[Any, type[BaseModel]]] = [
    (completion_create_params.CompletionCreateParamsBase, ChatRequest),
    (TextParams, CompletionRequest),
    (response_create_params.ResponseCreateParamsBase, ResponseRequest),
    (sdk.EmbeddingCreateParams, EmbeddingRequest),
    (sdk.VectorStoreCreateParams, NewStore),
    (sdk.VectorStoreUpdateParams, StoreChange),
    (sdk.VectorStoreSearchParams, Search),
    (vector_stores.FileCreateParams, NewFile),
    (vector_stores.FileUpdateParams, AttributesChange),
    (vector_stores.FileBatchCreateParams, NewBatch),
    (conversations.ConversationCreateParams, NewConversation),
    (conversations.ConversationUpdateParams, ConversationChange),
    (conversations.ItemCreateParams, NewItems),
]
STORE, TALK = "/v1/vector_stores/{store_id}", "/v1/conversations/{conversation_id}"
QUERIES: list[tuple[Any, str]] = [
    (sdk.FileListParams, "GET /v1/files"),
    (sdk.VectorStoreListParams, "GET /v1/vector_stores"),
    (vector_stores.FileListParams, f"GET {STORE}/files"),
    (vector_stores.FileBatchListFilesParams, f"GET {STORE}/file_batches/{{batch_id}}/files"),
    (input_item_list_params.InputItemListParams, "GET /v1/responses/{response_id}/input_items"),
    (retrieving.ResponseRetrieveParamsBase, "GET /v1/responses/{response_id}"),
    (conversations.ItemListParams, f"GET {TALK}/items"),
    (conversations.ItemRetrieveParams, f"GET {TALK}/items/{{item_id}}"),
]


def sent(params: Any) -> set[str]:
    """What the SDK can send: its TypedDict's keys, but for those that stand in the path."""
    keys = params.__required_keys__ | params.__optional_keys__
    return {key for key in keys if key not in ("vector_store_id", "conversation_id")}


@pytest.mark.parametrize(("params", "model"), BODIES, ids=lambda one: getattr(one, "__name__", ""))
def test_every_field_of_a_body(params: Any, model: type[BaseModel]) -> None:
    ours = {field.alias or name for name, field in model.model_fields.items()}
    ours |= {"include"} if model is NewItems else set()  # that one stands in the query
    assert sent(params) and not sent(params) - ours
    assert model.model_config["extra"] == "forbid"  # what nobody has decided about is refused by its name


@pytest.fixture(scope="module")
def routes() -> dict[str, Any]:
    parts = MagicMock()
    parts.settings = read()
    return dict(operations(create_app(cast(Parts, parts)).openapi()))


@pytest.mark.parametrize(("params", "route"), QUERIES, ids=lambda one: one if isinstance(one, str) else "")
def test_every_parameter_of_a_query(params: Any, route: str, routes: dict[str, Any]) -> None:
    ours = {one["name"].removesuffix("[]") for one in routes[route]["parameters"]}
    assert sent(params) and not sent(params) - ours


def test_all_that_can_be_included() -> None:
    assert set(get_args(ResponseIncludable)) <= set(get_args(Includable))
