"""Stand-ins for tables of `bigquery-public-data` that samples read: which there are, under Google's names and types."""

from __future__ import annotations

import re

from portico.warehouse.public import commerce, science, trips, web
from portico.warehouse.public.declared import PROJECT, PublicTable

TABLES = {one.name: one for one in (*science.TABLES, *commerce.TABLES, *trips.TABLES, *web.TABLES)}
"""By DATASET.TABLE; of tables a day, TABLE ends with *."""

DATASETS = sorted({one.dataset for one in TABLES.values()})


def named(text: str) -> list[PublicTable]:
    """The tables that a request may read, by the words in it: a few too many rather than too few. One that asks for a
    data set's schema or its list of tables reads them all."""
    words = set(re.findall(r"\w+", text))
    found = []
    for one in TABLES.values():
        if one.dataset not in words:
            continue
        lists = {"INFORMATION_SCHEMA", "__TABLES__", "listed"} & words
        of_a_day = one.prefix and any(word.startswith(one.prefix) for word in words)
        if lists or of_a_day or one.table in words:
            found.append(one)
    return found


def hint(dataset: str, table: str) -> str:
    """What to do where a table, or a data set (`table` is ""), of Google's is not there."""
    for one in TABLES.values():
        if dataset == one.dataset and (
            not table or table == one.table or (one.prefix and table.startswith(one.prefix))
        ):
            return (
                "; Google's public data is not here, but `portico up --public-data` makes stand-ins at their first "
                f"use, and `portico samples public '{one.name}'` this one now"
            )
    return f"; Google's public data is not here, and of the stand-ins none has this name: {', '.join(TABLES)}"


__all__ = ["DATASETS", "PROJECT", "TABLES", "PublicTable", "hint", "named"]
