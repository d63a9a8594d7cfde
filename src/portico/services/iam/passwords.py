"""Passwords as they are kept: by scrypt (RFC 7914), each with a salt of its own."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from functools import cache
from typing import Final

_COST, _BLOCK, _PARALLEL = 2**15, 8, 1  # 32 MiB, about a tenth of a second
_MEMORY: Final = 2**26
SHORTEST: Final = 10  # characters
LONGEST: Final = 1000


def hashed(password: str) -> str:
    """What is kept of a password."""
    salt = os.urandom(16)
    made = _scrypt(password, salt, _COST, _BLOCK, _PARALLEL)
    return f"scrypt${_COST}${_BLOCK}${_PARALLEL}${_text(salt)}${_text(made)}"


def fits(kept: str, password: str) -> bool:
    """Whether it is the password that was kept. Where none was, finding that out takes as long."""
    _, cost, block, parallel, salt, wanted = (kept or _nobodys()).split("$")
    made = _scrypt(password[:LONGEST], base64.b64decode(salt), int(cost), int(block), int(parallel))
    return hmac.compare_digest(made, base64.b64decode(wanted)) and bool(kept)


@cache
def _nobodys() -> str:
    return hashed(_text(os.urandom(16)))


def _scrypt(password: str, salt: bytes, cost: int, block: int, parallel: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=cost, r=block, p=parallel, maxmem=_MEMORY, dklen=32)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
