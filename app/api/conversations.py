"""/v1/conversations: items that are kept in order, for responses to go on from and to be added to."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from app.api.caller import Asking, NamedConversation
from app.api.ledger import Wire
from app.api.limits import Metadata, Strict
from app.api.listing import Paged, listing, part
from app.api.parts import Parts
from app.api.responses.input import Item, wire
from app.api.responses.past import resolved
from app.api.responses.request import Includable
from app.conversations import Conversation
from index.types import Page

MOST = 20  # items at once
Items = Annotated[list[Item], Field(max_length=MOST)]
Include = Annotated[
    list[Includable] | None,
    Query(alias="include[]", description="Of what a response told then: results of searches, log-probabilities."),
]


class NewConversation(Strict):
    items: Items | None = None
    metadata: Metadata | None = None


class ConversationChange(Strict):
    metadata: Metadata | None = Field(description="In the place of what was there; null: none")


class NewItems(Strict):
    items: Annotated[Items, Field(min_length=1)]


def conversation_object(conversation: Conversation) -> Wire:
    return {
        "id": conversation.id,
        "object": "conversation",
        "created_at": conversation.created_at,
        "metadata": dict(conversation.metadata),
    }


def item_object(item: Wire, include: list[Includable] | None) -> Wire:
    """The item, with what is told on demand only where that was demanded."""
    if item["type"] == "file_search_call" and "file_search_call.results" not in (include or ()):
        return {**item, "results": None}
    if item["type"] == "message" and "message.output_text.logprobs" not in (include or ()):
        return {**item, "content": [_unspelled(content) for content in item["content"]]}
    return item


def _unspelled(content: Wire) -> Wire:
    return {**content, "logprobs": []} if content["type"] == "output_text" else content


def routes(parts: Parts) -> APIRouter:
    router, kept = APIRouter(prefix="/v1/conversations", tags=["conversations"]), parts.conversations

    def spoken(given: list[Item], owner: str) -> tuple[list[Wire], frozenset[str]]:
        items, files = resolved(parts.responses, given, owner, "items")
        return [wire(item) for item in items], files

    @router.post("")
    def create(caller: Asking, wanted: NewConversation | None = None) -> Wire:
        """Begin a conversation. It is erased COGCORE_KEEP_DAYS (30) after something was last put there."""
        wanted = wanted or NewConversation()
        return conversation_object(
            kept.create(caller.owner, wanted.metadata or {}, *spoken(wanted.items or [], caller.owner))
        )

    @router.get("/{conversation_id}")
    def conversation(named: NamedConversation) -> Wire:
        """One of them."""
        return conversation_object(kept.get(*named))

    @router.post("/{conversation_id}")
    def update(named: NamedConversation, change: ConversationChange) -> Wire:
        """Give it other metadata."""
        return conversation_object(kept.describe(*named, change.metadata or {}))

    @router.delete("/{conversation_id}")
    def delete(named: NamedConversation) -> Wire:
        """Erase it with its items. Responses that were made in it stay."""
        kept.delete(*named)
        return {"id": named.id, "object": "conversation.deleted", "deleted": True}

    @router.post("/{conversation_id}/items")
    def add(named: NamedConversation, wanted: NewItems, include: Include = None) -> Wire:
        """Put items at its end."""
        added = kept.append(*named, *spoken(wanted.items, named.owner))
        return listing(Page(added, False), lambda item: item_object(item, include))

    @router.get("/{conversation_id}/items")
    def items(named: NamedConversation, cut: Paged, include: Include = None) -> Wire:
        """What was said."""
        told, _ = kept.told(*named)
        return listing(part(told, cut), lambda item: item_object(item, include))

    @router.get("/{conversation_id}/items/{item_id}")
    def item(named: NamedConversation, item_id: str, include: Include = None) -> Wire:
        """One item."""
        return item_object(kept.item(*named, item_id), include)

    @router.delete("/{conversation_id}/items/{item_id}")
    def delete_item(named: NamedConversation, item_id: str) -> Wire:
        """Erase one item."""
        return conversation_object(kept.delete_item(*named, item_id))

    return router
