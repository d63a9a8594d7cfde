"""What a job's configuration says beside what it is to do: session, labels, limits.

https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfiguration
"""

from __future__ import annotations

import re
import uuid
from typing import Any

from portico.errors import InvalidArgument, Unimplemented

_CREATES = ("CREATE_IF_NEEDED", "CREATE_NEVER")
_WRITES = ("WRITE_TRUNCATE", "WRITE_TRUNCATE_DATA", "WRITE_APPEND", "WRITE_EMPTY")
_WORDS = {
    "priority": ("INTERACTIVE", "BATCH"),
    "parameterMode": ("NAMED", "POSITIONAL"),
    "schemaUpdateOptions": ("ALLOW_FIELD_ADDITION", "ALLOW_FIELD_RELAXATION"),
}
_HOUR = 3_600_000  # milliseconds: the least that a data set gives its tables
_HOURS = range(48, 169, 24)
_LABELS, _LONGEST = 64, 63
_LABEL = re.compile(r"[\w-]{0,63}")
_PROPERTIES = ("dataset_project_id", "query_label", "session_id", "time_zone")


def check_labels(labels: dict[str, Any]) -> None:
    """
    Raises:
        InvalidArgument: a key or a value is none.
    """
    if len(labels) > _LABELS:
        raise InvalidArgument(f"Too many labels: {len(labels)}; at most {_LABELS}", reason="invalid")
    for key, value in labels.items():
        if not _LABEL.fullmatch(key) or not key[:1].isalpha() or key != key.lower():
            raise InvalidArgument(
                f"Label key {key[:80]!r} has invalid characters: it starts with a letter and has lowercase letters, "
                f"digits, _ and -, at most {_LONGEST}",
                reason="invalid",
            )
        if not isinstance(value, str) or not _LABEL.fullmatch(value) or value != value.lower():
            raise InvalidArgument(
                f"Label value {str(value)[:80]!r} of {key} has invalid characters: lowercase letters, digits, _ and "
                f"-, at most {_LONGEST}",
                reason="invalid",
            )


def count(asked: dict[str, Any], key: str) -> int | None:
    """A number of a configuration that is written as a text.

    Raises:
        InvalidArgument: it is none that is more than nothing.
    """
    if (value := asked.get(key)) in (None, ""):
        return None
    if not str(value).isdigit():
        raise InvalidArgument(
            f"Invalid value for {key}: {value!r} is no positive number", reason="invalid", field=key
        )
    return int(value) or None


def create(asked: dict[str, Any]) -> str:
    """A configuration's createDisposition.

    Raises:
        InvalidArgument: there is none of this name.
    """
    return _word(asked, "createDisposition", "CREATE_IF_NEEDED", _CREATES)


def write(asked: dict[str, Any], default: str = "WRITE_EMPTY") -> str:
    """A configuration's writeDisposition.

    Raises:
        InvalidArgument: there is none of this name.
    """
    return _word(asked, "writeDisposition", default, _WRITES)


def _word(asked: dict[str, Any], key: str, default: str, words: tuple[str, ...]) -> str:
    given = str(asked.get(key) or default)
    if given not in words:
        raise _no_value(key, given, f"it is {', '.join(words)}")
    return given


def _no_value(key: str, given: Any, allowed: str) -> InvalidArgument:
    said = f"Invalid value for {key}: {str(given)[:80]} is not a valid value; {allowed}"
    return InvalidArgument(said, reason="invalid", field=key)


def check_words(asked: dict[str, Any]) -> None:
    """Looks at those settings of a query or a load that are one of a few words, or a list of such.

    Raises:
        InvalidArgument: there is none of this name.
    """
    for key, words in _WORDS.items():
        given = asked.get(key)
        for one in given if isinstance(given, list) else [given]:
            _word({key: one}, key, words[0], words)


def check_times(dataset: dict[str, Any]) -> None:
    """
    Raises:
        InvalidArgument: a data set's time travel, or the age that its tables or partitions reach, is out of bounds.
    """
    if (most := count(dataset, "defaultTableExpirationMs")) and most < _HOUR:
        raise _no_value("defaultTableExpirationMs", most, f"it is at least {_HOUR}")
    count(dataset, "defaultPartitionExpirationMs")
    if (hours := count(dataset, "maxTimeTravelHours")) and hours not in _HOURS:
        raise _no_value("maxTimeTravelHours", hours, "it is 48 to 168, in whole days")


def connection(asked: dict[str, Any]) -> dict[str, str]:
    """The connection properties of a query, by key.

    Raises:
        InvalidArgument: there is no such property. Unimplemented: it is not built.
    """
    found: dict[str, str] = {}
    for one in asked.get("connectionProperties") or ():
        key, value = str(one.get("key") or ""), str(one.get("value") or "")
        if key == "service_account":
            raise Unimplemented("The connection property service_account is not built in Portico.")
        if key not in _PROPERTIES:
            raise InvalidArgument(
                f"Invalid connection property {key!r}; it is one of {', '.join(_PROPERTIES)}",
                reason="invalid",
            )
        if key == "time_zone" and value.upper() != "UTC":
            raise Unimplemented(
                "The connection property time_zone takes only UTC in Portico; give functions a zone instead."
            )
        found[key] = value
    return found


def session(asked: dict[str, Any]) -> str:
    """The id of the session that a query runs in, a new one where it makes one; "" where it is in none.

    Raises:
        InvalidArgument: it names one and makes one.
    """
    named = connection(asked).get("session_id", "")
    if not asked.get("createSession"):
        return named
    if named:
        raise InvalidArgument(
            "Set either createSession or the connection property session_id", reason="invalid"
        )
    return uuid.uuid4().hex


def labels(configuration: dict[str, Any]) -> dict[str, str]:
    """A job's labels, with those of the connection property `query_label`: key:value[,key:value]."""
    found = dict(configuration.get("labels") or {})
    said = connection(configuration.get("query") or {}).get("query_label", "")
    for one in filter(None, said.split(",")):
        key, _, value = one.partition(":")
        found[key.strip()] = value.strip()
    check_labels(found)
    return found
