"""EXPORT DATA and LOAD DATA: rows into files of buckets, and files into tables."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from sqlglot import exp

from portico.errors import AlreadyExists, InvalidArgument, Unimplemented
from portico.warehouse import catalog, external, loading, options
from portico.warehouse.asked import Done
from portico.warehouse.dispositions import store
from portico.warehouse.tables import Definition
from portico.warehouse.tokens import Tokens

_EXPORT = frozenset(
    ["uri", "format", "overwrite", "header", "compression", "field_delimiter", "use_avro_logical_types"]
)
_FORMATS = {"CSV": "CSV", "JSON": "NEWLINE_DELIMITED_JSON", "PARQUET": "PARQUET", "AVRO": "AVRO"}
_LOAD = {
    "field_delimiter": "fieldDelimiter", "skip_leading_rows": "skipLeadingRows", "quote": "quote",
    "allow_jagged_rows": "allowJaggedRows", "null_marker": "nullMarker", "max_bad_records": "maxBadRecords",
    "ignore_unknown_values": "ignoreUnknownValues", "enable_logical_types": "useAvroLogicalTypes",
    "allow_quoted_newlines": "allowQuotedNewlines", "encoding": "encoding",
    "decimal_target_types": "decimalTargetTypes",
}  # fmt: skip
ROWS = 1_000_000  # of a file of an export with a wildcard


class Transfer(Definition):
    """A statement that moves rows between tables and files."""

    def export(self) -> Done:
        told = self._values(options.of_properties(self._tree.args["options"].expressions))
        for name in told:
            if name not in _EXPORT:
                raise InvalidArgument(f"Unknown option: {name} of EXPORT DATA", reason="invalidQuery")
        uri = str(told.get("uri") or "")
        if not uri:
            raise InvalidArgument("Option 'uri' is missing or empty.", reason="invalidQuery")
        named = str(told.get("format") or "")
        if named.upper() not in _FORMATS:
            raise InvalidArgument(
                f"'{named}' is not a valid value; failed to set 'format' in EXPORT DATA OPTIONS",
                reason="invalidQuery",
            )
        if uri.count("*") != 1:
            raise InvalidArgument(
                "Option 'uri' value must be a wild card URI with one *, such as gs://bucket/folder/*.csv",
                reason="invalidQuery",
            )
        if not uri.startswith("gs://"):
            raise Unimplemented("EXPORT DATA writes to gs:// only in Portico.")
        query = Definition(self._cursor, self._asked, self._tree.this)
        done = query.select()
        self._took(query)
        if self._asked.dry:
            return Done("EXPORT_DATA")
        self._written(done, uri, _FORMATS[named.upper()], told)
        count = done.rows.num_rows if done.rows is not None else 0
        return Done("EXPORT_DATA", counts={"exportedRows": count})

    def _written(self, done: Done, uri: str, form: str, told: dict[str, Any]) -> None:
        said = {
            "fieldDelimiter": told.get("field_delimiter"), "printHeader": bool(told.get("header")),
            "compression": str(told.get("compression") or "NONE").upper(),
        }  # fmt: skip
        outside = self._asked.outside
        if outside is None or done.rows is None:
            raise Unimplemented("Files can't be written here.")
        if not told.get("overwrite") and outside("exists", uri=uri):
            raise AlreadyExists(
                f"The destination {uri} has files already; set overwrite = true or name another place",
                reason="duplicate",
            )
        with tempfile.TemporaryDirectory(dir=self._asked.folder) as folder:
            for number in range(max(1, -(-done.rows.num_rows // ROWS))):
                path = Path(folder) / str(number)
                piece = done.rows.slice(number * ROWS, ROWS)
                path.write_bytes(loading.write_file(piece, done.fields, form, said))
                outside("put", path=str(path), uri=uri.replace("*", f"{number:012d}"))

    def load(self, tokens: Tokens) -> Done:
        tokens.expect("LOAD", "DATA")
        overwrite = tokens.take("OVERWRITE")
        if not overwrite:
            tokens.expect("INTO")
        entry = self._named(tokens.path())
        text = tokens.until(("FROM", "FILES"), ("PARTITION", "BY"), ("CLUSTER", "BY"), ("OPTIONS",)) if (
            tokens.sees("(")
        ) else ""  # fmt: skip
        if not tokens.take("FROM", "FILES"):
            raise Unimplemented(
                f"LOAD DATA … {tokens.word()} is not built in Portico yet; make the table first."
            )
        told = self._values(options.read_list(tokens))
        if tokens:
            raise Unimplemented(f"LOAD DATA … {tokens.word()} is not built in Portico yet.")
        form, uris = external.FORMATS.get(str(told.pop("format", "")).upper()), told.pop("uris", None) or []
        if form is None:
            raise InvalidArgument("LOAD DATA needs the option format", reason="invalidQuery")
        for name in told:
            if name not in _LOAD:
                raise InvalidArgument(f"Unknown option: {name} of LOAD DATA", reason="invalidQuery")
        said = {_LOAD[name]: value for name, value in told.items()}
        body: dict[str, Any] = {"sourceFormat": form, "sourceUris": uris, **said}
        found = catalog.find(self._cursor, *catalog.key_of(entry))
        if text:
            [made] = options.parsed_columns(text)
            body["schema"] = {"fields": [self._column(one) for one in made.find_all(exp.ColumnDef)]}
        elif found is not None and not overwrite and form in ("CSV", "NEWLINE_DELIMITED_JSON"):
            body["schema"] = {"fields": found.fields}
        fields = external.schema(body, self._asked.outside)
        if self._asked.dry:
            return Done("LOAD_DATA", target=entry)
        rows = external.read(self._cursor.cursor(), _external(entry.table, body, fields), self._asked.outside)
        self._cursor.register("_loaded", rows)
        write = "WRITE_TRUNCATE" if overwrite else "WRITE_APPEND"
        count = store(self._cursor, entry, fields, "SELECT * FROM _loaded", "CREATE_IF_NEEDED", write, {})
        return Done("LOAD_DATA", affected=count, counts={"insertedRowCount": count}, target=entry)


def _external(name: str, told: dict[str, Any], fields: list[dict[str, Any]]) -> catalog.Entry:
    body = {"externalDataConfiguration": told, "schema": {"fields": fields}, "type": "EXTERNAL"}
    return catalog.Entry("", "", name, body)
