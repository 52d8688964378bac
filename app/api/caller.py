"""Who asks, as far as shared caches must know."""

import hmac

from fastapi import Request


def cache_key(request: Request, secret: bytes, salt: str = "") -> str:
    """Equal for requests with the same credentials and salt, which alone share cached prompts.

    Tells nothing of either, since other servers that run the core are sent it.
    """
    token = request.headers.get("authorization", "").partition(" ")[2].strip()
    return hmac.digest(secret, f"{token}\0{salt}".encode(), "sha256").hex()
