"""The files of the pipeline templates that a registry holds, by the names of their versions."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.store.tables.templates import templates


def add(connection: Connection, version: str, content: bytes) -> None:
    connection.execute(sa.insert(templates), {"name": version, "content": content})


def read(connection: Connection, version: str) -> bytes:
    """
    Raises:
        NoResultFound: there is no such version.
    """
    content: bytes = connection.execute(
        sa.select(templates.c.content).where(templates.c.name == version)
    ).scalar_one()
    return content


def forget(connection: Connection, version: str) -> None:
    connection.execute(sa.delete(templates).where(templates.c.name == version))
