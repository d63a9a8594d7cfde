"""External tables: files in buckets that are read when the table is."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from portico.errors import InvalidArgument, Unimplemented
from portico.warehouse import decimal_targets, load_options, loading
from portico.warehouse.catalog import Cursor, Entry
from portico.warehouse.typed_rows import typed
from portico.warehouse.types import Field

FORMATS = {"CSV": "CSV", "JSON": "NEWLINE_DELIMITED_JSON", "NEWLINE_DELIMITED_JSON": "NEWLINE_DELIMITED_JSON",
           "PARQUET": "PARQUET", "ORC": "ORC", "AVRO": "AVRO"}  # fmt: skip
_HIVE = re.compile(r"([^/=]+)=([^/]*)/")


def files(told: dict[str, Any], outside: Callable[..., Any] | None) -> list[dict[str, str]]:
    """The files that an ExternalDataConfiguration names: `path` and `uri`.

    Raises:
        NotFound: there is none. InvalidArgument: it names none. Unimplemented: they are no files in a bucket.
    """
    uris = list(told.get("sourceUris") or ())
    if not uris:
        raise InvalidArgument("An external table needs at least one URI", reason="invalid")
    form(told)
    if not all(one.startswith("gs://") for one in uris):
        raise Unimplemented("External tables over other places than gs:// are not built in Portico.")
    if outside is None:
        raise Unimplemented("Files can't be read here.")
    found: list[dict[str, str]] = outside("files", uris=uris)
    return found


def form(told: dict[str, Any]) -> str:
    """
    Raises:
        Unimplemented: Portico does not read it.
    """
    name = str(told.get("sourceFormat") or "CSV").upper()
    if name not in FORMATS:
        raise Unimplemented(
            f"External tables of {name} are not built in Portico; it reads {', '.join(FORMATS)}."
        )
    return FORMATS[name]


def settings(told: dict[str, Any]) -> dict[str, Any]:
    """What `loading` is to know of how the files are written."""
    return {
        **(told.get("csvOptions") or {}),
        **{key: value for key, value in told.items() if key != "csvOptions"},
    }


def schema(told: dict[str, Any], outside: Callable[..., Any] | None) -> list[Field]:
    """The columns: what is said, else what the first file shows, and those of the folders' names."""
    found = files(told, outside)
    said = (told.get("schema") or {}).get("fields")
    options = {"autodetect": True, **settings(told)}
    decimal_targets.wanted(form(told), options)
    load_options.check(options)
    fields = list(said) if said else loading.table_fields(_shows(told, found, outside), form(told), options)
    have = {one["name"] for one in fields}
    keys = [name for name in _keys(told, found[0]["uri"]) if name not in have]
    return fields + [
        {"name": name, "type": _key_type(told, name, found), "mode": "NULLABLE"} for name in keys
    ]


def _shows(told: dict[str, Any], found: list[dict[str, str]], outside: Callable[..., Any] | None) -> Path:
    """The file that shows the columns of all."""
    if outside is not None and (uri := told.get("referenceFileSchemaUri")):
        return Path(outside("files", uris=[uri])[0]["path"])
    return loading.schema_file(found, form(told))


def _keys(told: dict[str, Any], uri: str) -> dict[str, str]:
    """The keys of a hive layout: `…/day=2024-01-01/…`."""
    prefix = (told.get("hivePartitioningOptions") or {}).get("sourceUriPrefix")
    return dict(_HIVE.findall(uri.removeprefix(prefix.split("{")[0]))) if prefix else {}


def _key_type(told: dict[str, Any], name: str, found: list[dict[str, str]]) -> str:
    if (told.get("hivePartitioningOptions") or {}).get("mode") == "STRINGS":
        return "STRING"
    return loading.detected([_keys(told, one["uri"])[name] for one in found])


def read(cursor: Cursor, entry: Entry, outside: Callable[..., Any] | None) -> pa.Table:
    """All rows, in the types of the table's columns; `cursor` is in no transaction, which a bad cell would end.

    Raises:
        InvalidArgument: a file can't be read.
    """
    told = entry.body["externalDataConfiguration"]
    options = {"autodetect": not (told.get("schema") or {}).get("fields"), **settings(told)}
    limit, bad = int(told.get("maxBadRecords") or 0), list[str]()
    found = files(told, outside)
    keys = set(_keys(told, found[0]["uri"]))
    own = [one for one in entry.fields if one["name"] not in keys]
    tables = []
    for file in found:
        try:
            for batch in loading.batches(Path(file["path"]), form(told), own, options, bad, limit - len(bad)):
                table = batch
                for name, value in _keys(told, file["uri"]).items():
                    table = table.append_column(name, pa.array([value] * table.num_rows, pa.string()))
                tables.append(typed(cursor, table, entry.fields, bad, limit - len(bad)))
        except loading.Bad:
            raise InvalidArgument(
                f"Error while reading table: {entry.table}, error message: {bad[-1]} File: {file['uri']}",
                reason="invalidQuery",
            ) from None
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            raise InvalidArgument(
                f"Error while reading {file['uri']}: {error}", reason="invalidQuery"
            ) from None
    if not tables:
        tables = [typed(cursor, loading.as_texts([], entry.fields), entry.fields, bad, 0)]
    return pa.concat_tables(tables)
