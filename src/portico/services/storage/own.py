"""Buckets that are this server's own: whoever made one first would own what others get from it."""

from __future__ import annotations

import re
from typing import Final

from portico.errors import InvalidArgument
from portico.store.database import Database
from portico.store.objects import buckets
from portico.store.objects.names import IMAGES

PROJECT: Final = "portico"
# What models are made of is copied to the first; TensorBoards and datasets keep blobs and texts in the others.
_MADE_HERE: Final = re.compile(
    r"portico-models.*|cloud-ai-platform-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
)


def project_of(name: str, project: str) -> str:
    """The project that a new bucket of this name is of, which somebody asks for in `project`.

    Raises:
        InvalidArgument: the server makes it, when it needs it.
    """
    if _MADE_HERE.fullmatch(name):
        raise InvalidArgument(
            f"The bucket {name} is this server's own, which makes it itself: choose another name.",
            reason="invalid",
            field="name",
        )
    return PROJECT if name == IMAGES else project


def take(database: Database) -> None:
    """Makes the images' bucket the server's in a home of an older Portico, where it is of whom made it."""
    with database.write() as connection:
        row = buckets.find(connection, IMAGES)
        if row is not None and row.project != PROJECT:
            buckets.move(connection, row, PROJECT)
