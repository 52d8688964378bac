"""HTTP and nothing else: `create_app(parts)`, with parts from app.main.build or from a test."""

from app.api.app import create_app
from app.api.parts import Parts

__all__ = ["Parts", "create_app"]
