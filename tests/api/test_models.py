"""Each store is a model, by its name where that is its alone."""

import httpx
import openai
import pytest
from openai import OpenAI


def ask(client: OpenAI, model: str) -> None:
    client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hello"}])


def test_stores_are_models(client: OpenAI) -> None:
    one = client.vector_stores.create(name="atlas")
    twins = [client.vector_stores.create(name="twin").id for _ in range(2)]
    names = [model.id for model in client.models.list()]
    stores = ["cogcore/default", "cogcore/documents", "cogcore/atlas", *(f"cogcore/{id_}" for id_ in twins)]
    assert names == ["cogcore", *stores, "all-MiniLM-L6-v2", "cogcore-reader"]
    for name in (*names, f"cogcore/{one.id}"):
        model = client.models.retrieve(name)
        assert (model.id, model.object, model.owned_by) == (name, "model", "cogcore")
    assert [model.created for model in client.models.list()] == [client.models.retrieve(name).created for name in names]
    with pytest.raises(openai.BadRequestError, match="use the id") as refused:
        ask(client, "cogcore/twin")
    assert (refused.value.code, refused.value.param) == ("ambiguous_name", "model")


@pytest.mark.parametrize("model", ["gpt-4o", "cogcore/atlsa", "cogcore/", "Cogcore", "cogcore/atlas/x", ""])
def test_unknown_models(client: OpenAI, model: str) -> None:
    with pytest.raises(openai.NotFoundError, match="does not exist") as refused:
        ask(client, model)
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize("model", ["all-MiniLM-L6-v2", "cogcore-reader"])
def test_models_that_do_not_chat(client: OpenAI, model: str) -> None:
    with pytest.raises(openai.NotFoundError, match="answers no chats"):
        ask(client, model)


def test_a_misspelt_model_is_guessed(raw: httpx.Client) -> None:
    answer = raw.get("/v1/models/cogcore/defualt")
    assert answer.status_code == 404
    assert "Did you mean 'cogcore/default'?" in answer.json()["error"]["message"]
