"""/v1/responses: the turn of a chat in the words of OpenAI's Responses API."""

from app.api.responses.background import Runs
from app.api.responses.routes import routes

__all__ = ["Runs", "routes"]
