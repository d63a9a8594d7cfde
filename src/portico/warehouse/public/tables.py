"""Stand-ins for tables of `bigquery-public-data`, and of a few other projects of Google's, that samples read: which
there are, under Google's names and types."""

from __future__ import annotations

import re

from portico.warehouse.public import air, beans, commerce, games, science, trips, web
from portico.warehouse.public.declared import PROJECT, PublicTable

_MODULES = (science, commerce, trips, air, web, games, beans)
TABLES = {one.path: one for module in _MODULES for one in module.TABLES}
"""By DATASET.TABLE, of another project by PROJECT.DATASET.TABLE; of tables a day, TABLE ends with *."""

PROJECTS = frozenset(one.project for one in TABLES.values())


def named(text: str) -> list[PublicTable]:
    """The tables that a request may read, by the words in it: a few too many rather than too few. One that asks for a
    data set's schema or its list of tables reads them all."""
    words = set(re.findall(r"\w+", text))
    found = []
    for one in TABLES.values():
        if one.project not in text or one.dataset not in words:
            continue
        lists = {"INFORMATION_SCHEMA", "__TABLES__", "listed"} & words
        of_a_day = one.prefix and any(word.startswith(one.prefix) for word in words)
        if lists or of_a_day or one.table in words:
            found.append(one)
    return found


def datasets(text: str) -> list[tuple[str, str]]:
    """The data sets, by their projects, that are there for a request that speaks of their project."""
    return sorted({(one.project, one.dataset) for one in TABLES.values() if one.project in text})


def hint(project: str, dataset: str, table: str) -> str:
    """What to do where a table, or a data set (`table` is ""), is not there; "" where it would not be Google's."""
    for one in TABLES.values():
        if (project, dataset) == (one.project, one.dataset) and (
            not table or table == one.table or (one.prefix and table.startswith(one.prefix))
        ):
            return (
                "; Google's public data is not here, but `portico up --public-data` makes stand-ins at their first "
                f"use, and `portico samples public '{one.path}'` this one now"
            )
    if project != PROJECT:
        return ""
    return f"; Google's public data is not here, and of the stand-ins none has this name: {', '.join(TABLES)}"


__all__ = ["PROJECT", "PROJECTS", "TABLES", "PublicTable", "datasets", "hint", "named"]
