"""OPTIONS (…) of tables, views, datasets and columns: what they are called in the API's resources, and back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from sqlglot import exp

from portico.errors import InvalidArgument
from portico.warehouse.dialect import parse
from portico.warehouse.tokens import Tokens

_DAY = 86_400_000  # milliseconds
_COMMON = {
    "description": "description",
    "friendly_name": "friendlyName",
    "labels": "labels",
    "tags": "resourceTags",
}
_NAMES: dict[str, dict[str, str]] = {
    "TABLE": {
        **_COMMON, "expiration_timestamp": "expirationTime",
        "partition_expiration_days": "timePartitioning.expirationMs",
        "require_partition_filter": "requirePartitionFilter", "default_rounding_mode": "defaultRoundingMode",
        "kms_key_name": "encryptionConfiguration.kmsKeyName", "max_staleness": "maxStaleness",
        "enable_change_history": "enableChangeHistory",
    },
    "VIEW": {**_COMMON, "expiration_timestamp": "expirationTime"},
    "MATERIALIZED VIEW": {
        **_COMMON, "expiration_timestamp": "expirationTime", "enable_refresh": "materializedView.enableRefresh",
        "refresh_interval_minutes": "materializedView.refreshIntervalMs",
        "max_staleness": "materializedView.maxStaleness",
        "allow_non_incremental_definition": "materializedView.allowNonIncrementalDefinition",
    },
    "SCHEMA": {
        **_COMMON, "location": "location", "default_table_expiration_days": "defaultTableExpirationMs",
        "default_partition_expiration_days": "defaultPartitionExpirationMs",
        "default_rounding_mode": "defaultRoundingMode", "max_time_travel_hours": "maxTimeTravelHours",
        "storage_billing_model": "storageBillingModel", "is_case_insensitive": "isCaseInsensitive",
        "default_kms_key_name": "defaultEncryptionConfiguration.kmsKeyName",
    },
    "COLUMN": {"description": "description", "rounding_mode": "roundingMode"},
}  # fmt: skip
_CSV = {
    "field_delimiter": "fieldDelimiter", "skip_leading_rows": "skipLeadingRows", "quote": "quote",
    "allow_jagged_rows": "allowJaggedRows", "allow_quoted_newlines": "allowQuotedNewlines", "encoding": "encoding",
}  # fmt: skip
_DAYS = frozenset(
    ["partition_expiration_days", "default_table_expiration_days", "default_partition_expiration_days"]
)
_FLAGS = frozenset(
    ["require_partition_filter", "enable_refresh", "allow_non_incremental_definition", "enable_change_history",
     "is_case_insensitive"]
)  # fmt: skip


def read(tokens: Tokens) -> dict[str, exp.Expr]:
    """What OPTIONS (name = value, …) says; the tokens stand before it."""
    tokens.expect("OPTIONS")
    return read_list(tokens)


def read_list(tokens: Tokens) -> dict[str, exp.Expr]:
    """(name = value, …)."""
    tokens.expect("(")
    found: dict[str, exp.Expr] = {}
    while not tokens.take(")"):
        name = tokens.name().lower()
        tokens.expect("=")
        found[name] = tokens.expression((",",), (")",))
        if not tokens.take(",") and not tokens.sees(")"):
            raise tokens.error("Expected , or )")
    return found


def parsed_columns(text: str) -> list[exp.Expr]:
    """The list of columns of a statement, as sqlglot reads it within CREATE TABLE."""
    return parse(f"CREATE TABLE t {text}")


def of_properties(properties: list[exp.Expr]) -> dict[str, exp.Expr]:
    """What sqlglot made of OPTIONS, among a statement's properties."""
    found: dict[str, exp.Expr] = {}
    for one in properties:
        if isinstance(one, exp.LocationProperty):
            found["location"] = one.this
        elif isinstance(one, exp.FileFormatProperty):
            found["format"] = one.this
        elif isinstance(one, exp.Property) and type(one) is exp.Property:
            found[one.name.lower()] = one.args["value"]
    return found


def body(kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a resource that options of a `kind` mean; None takes away what was said before.

    Raises:
        InvalidArgument: there is no such option of this kind, or its value is of another type.
    """
    found: dict[str, Any] = {}
    for name, value in options.items():
        key = _NAMES[kind].get(name)
        if key is None:
            raise InvalidArgument(
                f"Unknown option: {name}. A {kind} has {', '.join(sorted(_NAMES[kind]))}.",
                reason="invalidQuery",
            )
        place, _, last = key.rpartition(".")
        holder = found.setdefault(place, {}) if place else found
        holder[last] = None if value is None else _value(name, value)
    return found


def external(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The ExternalDataConfiguration that options of CREATE EXTERNAL TABLE mean, and what they say of the table.

    Raises:
        InvalidArgument: it names no format.
    """
    told: dict[str, Any] = {"sourceUris": options.pop("uris", None) or []}
    form = str(options.pop("format", None) or "")
    if not form:
        raise InvalidArgument(
            "CREATE EXTERNAL TABLE needs the options format and uris", reason="invalidQuery"
        )
    told["sourceFormat"] = "NEWLINE_DELIMITED_JSON" if form.upper() == "JSON" else form.upper()
    if prefix := options.pop("hive_partition_uri_prefix", None):
        told["hivePartitioningOptions"] = {"mode": "AUTO", "sourceUriPrefix": prefix}
    plain = {"max_bad_records": "maxBadRecords", "ignore_unknown_values": "ignoreUnknownValues",
             "enable_logical_types": "useAvroLogicalTypes", "compression": "compression",
             "decimal_target_types": "decimalTargetTypes"}  # fmt: skip
    for name in list(options):
        if name in _CSV:
            told.setdefault("csvOptions", {})[_CSV[name]] = options.pop(name)
        elif name in plain:
            told[plain[name]] = options.pop(name)
        elif name == "null_marker":
            told.setdefault("csvOptions", {})["nullMarker"] = options.pop(name)
    return told, options


def _value(name: str, value: Any) -> Any:
    try:
        if name in _DAYS:
            return str(int(float(value) * _DAY))
        if name in _FLAGS:
            if not isinstance(value, bool):
                raise TypeError
            return value
        if name in ("labels", "tags"):
            return {str(key): str(each) for key, each in map(_pair, value)}
        if name == "expiration_timestamp":
            return str(int(value.timestamp() * 1000))
        if name == "refresh_interval_minutes":
            return str(int(value * 60_000))
        if name == "max_time_travel_hours":
            return _hours(int(value))
        if name == "max_staleness":
            return str(value)
        if not isinstance(value, str):
            raise TypeError
    except (TypeError, ValueError, AttributeError):
        raise InvalidArgument(
            f"The value of the option {name} is of a wrong type", reason="invalidQuery"
        ) from None
    return value


def _pair(one: Any) -> tuple[Any, Any]:
    key, value = one.values() if isinstance(one, dict) else one
    return key, value


def _hours(hours: int) -> str:
    if not 48 <= hours <= 168 or hours % 24:
        raise InvalidArgument(
            f"max_time_travel_hours is a multiple of 24 from 48 to 168, not {hours}", reason="invalidQuery"
        )
    return str(hours)


# --- as INFORMATION_SCHEMA shows them ---

_ARRAY = "ARRAY<STRUCT<STRING, STRING>>"


def shown(kind: str, resource: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The options that a resource has: name, type and value as SQL writes it."""
    found = []
    for name, key in _NAMES[kind].items():
        value: Any = resource
        for piece in key.split("."):
            value = (value or {}).get(piece)
        if value not in (None, {}, ""):
            found.append((name, *_shown(name, value)))
    return sorted(found)


def _shown(name: str, value: Any) -> tuple[str, str]:
    if name in _DAYS:
        return "FLOAT64", repr(int(value) / _DAY)
    if name in _FLAGS:
        return "BOOL", "true" if value else "false"
    if name in ("labels", "tags"):
        pairs = (f"STRUCT({_quoted(key)}, {_quoted(each)})" for key, each in value.items())
        return _ARRAY, f"[{', '.join(pairs)}]"
    if name == "expiration_timestamp":
        at = dt.datetime.fromtimestamp(int(value) / 1000, dt.UTC)
        return "TIMESTAMP", f'TIMESTAMP "{at.isoformat(timespec="milliseconds").replace("+00:00", "Z")}"'
    if name == "refresh_interval_minutes":
        return "FLOAT64", repr(int(value) / 60_000)
    if name == "max_time_travel_hours":
        return "INT64", str(value)
    return "STRING", _quoted(str(value))


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
