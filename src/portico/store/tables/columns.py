"""What all tables share: the list of them, and how words are kept."""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa

metadata = sa.MetaData()


class _Words(sa.types.TypeDecorator[str]):
    """PostgreSQL's: in the order of bytes, whatever the database's language, and with U+0000, which it does not take
    and objects' names may have. It is written as U+0001 U+0001, and U+0001 as U+0001 U+0002: that keeps the order."""

    impl = sa.String(collation="C")
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        if value is not None and ("\0" in value or "\1" in value):
            return value.replace("\1", "\1\2").replace("\0", "\1\1")
        return value

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        if value is not None and "\1" in value:
            return re.sub("\1([\1\2])", lambda found: "\0" if found[1] == "\1" else "\1", value)
        return value


# Compared and ordered by their UTF-8 bytes everywhere, as Cloud Storage orders names; SQLite does so by itself.
TEXT = sa.String().with_variant(_Words(), "postgresql")
