"""Who has signed in: their token, sealed, in a cookie that only the console reads and only the server can open."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Final

COOKIE: Final = "portico-visitor"
SECONDS: Final = 8 * 3600  # that a visit lasts; its token may run out earlier


def person(token: str) -> str:
    """The address that a token of this server is of; "" where it says none."""
    try:
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        return str(claims["sub"])
    except (ValueError, LookupError, TypeError):
        return ""


class Sessions:
    """Sealed with a secret that lasts as long as the server: what is sealed outlives the console's own process."""

    def __init__(self, secret: bytes) -> None:
        digest = hashlib.sha256(b"visitors" + secret).digest()
        self._key = base64.urlsafe_b64encode(digest)

    def seal(self, token: str) -> str:
        from cryptography.fernet import Fernet

        return Fernet(self._key).encrypt(token.encode()).decode()

    def opened(self, cookie: str, seconds: int = SECONDS) -> str:
        """What was sealed; "" where the cookie is none of ours, or older than so many seconds."""
        if not cookie:
            return ""
        from cryptography.fernet import Fernet, InvalidToken

        try:
            return Fernet(self._key).decrypt(cookie, seconds).decode()
        except InvalidToken:
            return ""
