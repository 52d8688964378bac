"""What the server says of itself: the OpenAPI description of its routes.

Bodies of answers are made as plain values where they are known; their shapes are written down here, and the tests hold
real answers to them.
"""

from app.api.described.application import Described

__all__ = ["Described"]
