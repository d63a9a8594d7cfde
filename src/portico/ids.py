"""The one source of ids."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from typing import Protocol


class Ids(Protocol):
    def number(self) -> str:
        """A fresh 19-digit decimal id, as Vertex AI gives to the resources it names."""
        ...

    def token(self) -> str:
        """A fresh unguessable id of 32 hexadecimal digits."""
        ...


class RandomIds:
    def number(self) -> str:
        return str(10**18 + secrets.randbelow(8 * 10**18))

    def token(self) -> str:
        return uuid.uuid4().hex


def project_number(project: str) -> str:
    """Twelve digits that stay the same for a project; a project given by number keeps it."""
    if project.isdigit():
        return project
    return str(10**11 + int.from_bytes(hashlib.sha256(project.encode()).digest()[:8], "big") % (9 * 10**11))
