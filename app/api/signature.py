"""Signed links: a browser that follows one sends no header, so the link itself proves that this server made it."""

import hashlib
import hmac
from functools import cache


@cache
def signing_key(api_key: str) -> bytes:
    """Slow to derive on purpose: a link that is passed on must not help to guess a weak API key."""
    return hashlib.scrypt(api_key.encode(), salt=b"cogcore links", n=2**14, r=8, p=1)


def sign(key: bytes, path: str) -> str:
    """What opens this one path, for as long as the key does."""
    return hmac.digest(key, path.encode(), "sha256").hex()
