"""What a load job or an external table asks of how files are read, and isn't built: refused, never passed over.

Names and meanings: JobConfigurationLoad and CsvOptions of BigQuery's discovery document.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from portico.errors import InvalidArgument, Unimplemented

_ENCODINGS = ("UTF-8", "ISO-8859-1", "UTF-16BE", "UTF-16LE", "UTF-32BE", "UTF-32LE")
_MATCHES = ("", "SOURCE_COLUMN_MATCH_UNSPECIFIED", "POSITION", "NAME")
_UTC = ("", "UTC", "Etc/UTC", "+00:00")


def check(options: Mapping[str, Any]) -> None:
    """
    Raises:
        InvalidArgument: options that exclude each other, or a value that there is none of.
        Unimplemented: an option that would change what is read.
    """
    if options.get("nullMarker") and options.get("nullMarkers"):
        raise _invalid("null_marker and null_markers can not be set at the same time.", "nullMarkers")
    if str(options.get("encoding") or "UTF-8").upper() not in _ENCODINGS:
        raise _invalid(
            f"Invalid value for encoding: {options['encoding']} is not a valid value; it is one of "
            f"{', '.join(_ENCODINGS)}",
            "encoding",
        )
    for name in ("dateFormat", "datetimeFormat", "timeFormat", "timestampFormat"):
        if options.get(name):
            raise _unbuilt(name, "load the column as STRING and parse it in SQL")
    if str(options.get("timeZone") or "") not in _UTC:
        raise _unbuilt("timeZone", "times without a zone are UTC")
    if str(options.get("sourceColumnMatch") or "").upper() not in _MATCHES:
        raise _invalid(
            f"Invalid value for sourceColumnMatch: {options['sourceColumnMatch']} is not a valid value; it is POSITION "
            "or NAME",
            "sourceColumnMatch",
        )
    if options.get("jsonExtension") not in (None, "", "JSON_EXTENSION_UNSPECIFIED"):
        raise _unbuilt("jsonExtension", "leave it out")
    if "MANIFEST" in str(options.get("fileSetSpecType") or ""):
        raise _unbuilt("fileSetSpecType NEW_LINE_DELIMITED_MANIFEST", "name the files in sourceUris")
    if "12" in map(str, options.get("timestampTargetPrecision") or ()):
        raise _unbuilt("timestampTargetPrecision 12", "timestamps have microseconds")


def encoding(options: Mapping[str, Any]) -> str:
    """Python's name of how a file of texts is written."""
    told = str(options.get("encoding") or "UTF-8").lower()
    return "utf-8-sig" if told == "utf-8" else told


def _invalid(said: str, field: str) -> InvalidArgument:
    return InvalidArgument(said, reason="invalid", field=field)


def _unbuilt(what: str, instead: str) -> Unimplemented:
    return Unimplemented(f"{what} is not built in Portico: {instead}.")
