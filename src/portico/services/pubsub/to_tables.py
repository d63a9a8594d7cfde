"""BigQuery subscriptions: messages become rows of a table.

https://cloud.google.com/pubsub/docs/bigquery
"""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from portico.clock import rfc3339
from portico.errors import InvalidArgument, PorticoError, Unimplemented
from portico.services.call import Rooms
from portico.store.pubsub.deliveries import Delivered
from portico.warehouse.client import OWNER, warehouse

_TABLE: Final = re.compile(r"([^.:]+)[.:]([^.]+)\.([^.]+)")
# The columns that a table must have, with the types that they may have.
_DATA: Final[dict[str, tuple[str, ...]]] = {"data": ("STRING", "BYTES", "JSON")}
_METADATA: Final[dict[str, tuple[str, ...]]] = {
    "subscription_name": ("STRING",),
    "message_id": ("STRING",),
    "publish_time": ("TIMESTAMP",),
    "attributes": ("STRING", "JSON"),
}


def place(table: str) -> dict[str, str]:
    """
    Raises:
        InvalidArgument: it is no name of a table.
    """
    found = _TABLE.fullmatch(table)
    if found is None:
        raise InvalidArgument(
            f"bigqueryConfig.table is {table!r}; it must be PROJECT.DATASET.TABLE.",
            field="bigqueryConfig.table",
        )
    return {"project": found[1], "dataset": found[2], "table": found[3]}


def check(rooms: Rooms, config: Mapping[str, Any]) -> None:
    """
    Raises:
        InvalidArgument, NotFound: the table can't take what the subscription would write. Unimplemented: what is asked
            for is not built.
    """
    for name in ("useTopicSchema", "serviceAccountEmail"):
        if config.get(name):
            raise Unimplemented(f"bigqueryConfig.{name} is not built in Portico yet.")
    if config.get("dropUnknownFields") and not config.get("useTableSchema"):
        raise InvalidArgument(
            "bigqueryConfig.dropUnknownFields needs useTableSchema.", field="bigqueryConfig.dropUnknownFields"
        )
    wanted = {} if config.get("useTableSchema") else dict(_DATA)
    if config.get("writeMetadata"):
        wanted |= _METADATA
    _types.cache_clear()
    types = _types(rooms.home, config.get("table", ""), 0)
    for name, known in wanted.items():
        if types.get(name) not in known:
            raise InvalidArgument(
                f"The table {config['table']} needs a column {name} of the type {' or '.join(known)}.",
                field="bigqueryConfig.table",
            )


def write(
    rooms: Rooms, config: Mapping[str, Any], subscription: str, taken: Sequence[Delivered]
) -> list[str]:
    """Writes the messages as rows, once each; what is wrong with each, "" where it is there."""
    errors, rows, ids = [""] * len(taken), [], []
    try:
        types = _types(rooms.home, config["table"], int(rooms.clock.now() // 60))
        for number, one in enumerate(taken):
            try:
                rows.append(_row(config, types, subscription, one))
                ids.append(number)
            except ValueError as error:
                errors[number] = f"the message {one.id} is no row: {error}"
        found = warehouse(rooms.home).ask(
            "insert_all", **place(config["table"]), rows=rows, ids=[str(taken[number].id) for number in ids],
            ignore=bool(config.get("dropUnknownFields")), skip=True, caller=OWNER,
        )  # fmt: skip
    except PorticoError as error:
        return [error.message] * len(taken)
    for one in found:
        errors[ids[one["index"]]] = str(one["errors"][0].get("message") or one["errors"][0].get("reason"))
    return errors


@functools.lru_cache(256)
def _types(home: Path, table: str, minute: int) -> dict[str, str]:
    """The types of a table's columns, asked for once in a minute."""
    body = warehouse(home).ask("get", **place(table))
    return {one["name"]: one["type"] for one in (body.get("schema") or {}).get("fields") or ()}


def _row(
    config: Mapping[str, Any], types: Mapping[str, str], subscription: str, one: Delivered
) -> dict[str, Any]:
    """
    Raises:
        ValueError: the message's data is not what the table holds.
    """
    row: dict[str, Any] = {}
    if config.get("useTableSchema"):
        told = orjson.loads(one.data)
        if not isinstance(told, dict):
            raise ValueError("its data is no JSON object")
        row |= told
    elif types.get("data") == "BYTES":
        row["data"] = base64.b64encode(one.data).decode()
    else:
        row["data"] = one.data.decode()
    if config.get("writeMetadata"):
        row |= {
            "subscription_name": subscription,
            "message_id": str(one.id),
            "publish_time": rfc3339(one.published),
            "attributes": orjson.dumps(one.attributes).decode(),
        }
    return row
