"""What the warehouse's process is asked: each request is a method's name and its arguments, and answered by JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from portico.errors import AlreadyExists, Cancelled, InvalidArgument, NotFound
from portico.warehouse import catalog, loading, routines, wire
from portico.warehouse.catalog import Cursor, Entry
from portico.warehouse.engine import Warehouse
from portico.warehouse.routines import Routine
from portico.warehouse.statements import Asked, Done, refused
from portico.warehouse.types import Field, duckdb_type, quoted

_PAGE_BYTES = 10_000_000


class Requests:
    """Answers for one warehouse; from several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._results = folder / "results"
        self._results.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._warehouse = Warehouse(folder)

    def answer(self, method: str, arguments: dict[str, Any]) -> Any:
        """
        Raises:
            PorticoError: what is asked is refused.
        """
        return METHODS[method](self, **arguments)

    # --- queries ---

    def query(
        self,
        job: str,
        project: str,
        text: str,
        dataset: str = "",
        parameters: list[dict[str, Any]] | None = None,
        dry: bool = False,
        destination: dict[str, str] | None = None,
        create: str = "CREATE_IF_NEEDED",
        write: str = "WRITE_EMPTY",
        settings: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Runs a text; its result is that of the last query in it, and kept as a file until the job is deleted."""
        named, positional = {}, []
        for one in parameters or ():
            value = wire.parameter(one.get("parameterType") or {}, one.get("parameterValue"))
            if one.get("name"):
                named[one["name"]] = value
            else:
                positional.append(value)
        asked = Asked(project, dataset, named, positional, dry)
        try:
            done = self._warehouse.run(text, asked, job)
        except duckdb.InterruptException:
            raise Cancelled("The query was cancelled.", reason="stopped") from None
        if not done:
            raise InvalidArgument("Syntax error: Unexpected end of script", reason="invalidQuery")
        last = done[-1]
        answer = {**_told(last), "statements": 1, "read": _referenced(done)}
        if last.kind == "SCRIPT":
            answer["statements"] = last.children + 1
            answer["kind"] = "SELECT" if last.rows is not None else "SCRIPT"
        if last.rows is not None and not dry:
            if destination:
                self._keep(job, _entry(destination), last, create, write, settings or {})
            with (
                pa.OSFile(str(self._file(job)), "wb") as sink,
                pa.ipc.new_file(sink, last.rows.schema) as writer,
            ):
                writer.write_table(last.rows)
            answer["rows"] = last.rows.num_rows
            answer["bytes"] = last.rows.nbytes
        return answer

    def _keep(
        self, job: str, entry: Entry, done: Done, create: str, write: str, settings: dict[str, Any]
    ) -> None:
        """Writes a query's result to its destination table."""
        with self._warehouse.transaction(job) as cursor:
            cursor.register("_result", done.rows)
            self._store(cursor, entry, done.fields, "SELECT * FROM _result", create, write, settings)

    def _store(
        self,
        cursor: Cursor,
        entry: Entry,
        fields: list[Field],
        select: str,
        create: str,
        write: str,
        settings: dict[str, Any],
    ) -> int:
        """Rows into a table by the dispositions of a job; returns how many."""
        catalog.require(cursor, entry.project, entry.dataset)
        found = catalog.find(cursor, entry.project, entry.dataset, entry.table)
        if found is None and create == "CREATE_NEVER":
            raise NotFound(f"Not found: Table {entry.shown}", reason="notFound")
        if found is None or write in ("WRITE_TRUNCATE", "WRITE_TRUNCATE_DATA"):
            kept = found.body if found is not None and write == "WRITE_TRUNCATE_DATA" else {}
            entry.body = {
                **kept,
                **{key: value for key, value in settings.items() if key in _TABLE_SETTINGS and value},
            }
            entry.body["schema"] = {"fields": fields}
            return catalog.create_table(cursor, entry, replace=True, select=select)
        if write == "WRITE_EMPTY" and catalog.first(cursor, f"SELECT 1 FROM {found.place} LIMIT 1"):
            raise AlreadyExists(f"Already Exists: Table {entry.shown}", reason="duplicate")
        updates = settings.get("schemaUpdateOptions") or []
        self._match(cursor, found, fields, updates)
        names = ", ".join(quoted(one["name"]) for one in fields)
        row = catalog.first(cursor, f"INSERT INTO {found.place} ({names}) {select}")
        catalog.write(cursor, found)
        return int(row[0]) if row else 0

    def _match(self, cursor: Cursor, found: Entry, fields: list[Field], updates: list[str]) -> None:
        have = {one["name"].lower(): one for one in found.fields}
        new = [one for one in fields if one["name"].lower() not in have]
        if new and "ALLOW_FIELD_ADDITION" not in updates:
            raise InvalidArgument(
                f"Provided Schema does not match Table {found.shown}. Cannot add fields (field: {new[0]['name']})",
                reason="invalid",
            )
        given = {one["name"].lower() for one in fields}
        merged = []
        for name, one in have.items():
            required = str(one.get("mode", "")).upper() == "REQUIRED"
            relaxed = required and "ALLOW_FIELD_RELAXATION" in updates
            if required and name not in given and not relaxed:
                raise InvalidArgument(
                    f"Provided Schema does not match Table {found.shown}. Field {one['name']} is missing in new schema",
                    reason="invalid",
                )
            other = next((each for each in fields if each["name"].lower() == name), None)
            if other is not None and duckdb_type(other) != duckdb_type(one):
                raise InvalidArgument(
                    f"Provided Schema does not match Table {found.shown}. Field {one['name']} has changed type from "
                    f"{one['type']} to {other['type']}",
                    reason="invalid",
                )
            merged.append({**one, "mode": "NULLABLE"} if relaxed else one)
        if new or merged != found.fields:
            catalog.add_fields(cursor, found, [*merged, *new])

    def _file(self, job: str) -> Path:
        """By the job's digest: its name is the caller's, and may be longer than a file's."""
        return self._results / f"{hashlib.sha256(job.encode()).hexdigest()}.arrow"

    def result(self, job: str, fields: list[Field], start: int, most: int, micros: bool) -> dict[str, Any]:
        """Rows of a query's result, from `start`; `most` at most and no more than fit into an answer."""
        if not self._file(job).exists():
            raise NotFound(
                f"Not found: the result of job {job} is not kept any more; run it again", reason="notFound"
            )
        with pa.memory_map(str(self._file(job))) as source:
            table = pa.ipc.open_file(source).read_all()
            return self._page(table, fields, start, most, micros)

    def _page(
        self, table: pa.Table, fields: list[Field], start: int, most: int, micros: bool
    ) -> dict[str, Any]:
        chosen = table.slice(start, most)
        wide = chosen.nbytes / max(1, chosen.num_rows) * 4 + 1
        chosen = chosen.slice(0, max(1, int(_PAGE_BYTES / wide)))
        return {
            "rows": wire.rows(chosen, fields, micros=micros),
            "total": table.num_rows,
            "taken": chosen.num_rows,
        }

    def forget(self, job: str) -> None:
        self._file(job).unlink(missing_ok=True)

    def cancel(self, job: str) -> bool:
        return self._warehouse.cancel(job)

    def finished(self, job: str) -> bool:
        """Whether what `job` changed was committed."""
        with self._warehouse.reading() as cursor:
            return (
                catalog.first(cursor, f"SELECT 1 FROM {catalog.FILE}.portico.finished WHERE job = ?", [job])
                is not None
            )

    def snapshot(self, target: str) -> None:
        self._warehouse.snapshot(target)

    # --- resources ---

    def get(self, project: str, dataset: str, table: str = "") -> dict[str, Any]:
        with self._warehouse.reading() as cursor:
            found = catalog.require(cursor, project, dataset, table)
            body = dict(found.body)
            if table and not found.is_view:
                row = catalog.first(cursor, f"SELECT count(*) FROM {found.place}")
                body["numRows"] = str(row[0] if row else 0)
                body["numBytes"] = str(int(body["numRows"]) * 8 * max(1, len(found.fields)))
        return body

    def listed(self, project: str, dataset: str | None = None) -> list[dict[str, Any]]:
        with self._warehouse.reading() as cursor:
            if dataset is not None:
                catalog.require(cursor, project, dataset)
            return [
                {"dataset": one.dataset, "table": one.table, **one.body}
                for one in catalog.listed(cursor, project, dataset)
            ]

    def create_dataset(self, project: str, dataset: str, body: dict[str, Any]) -> dict[str, Any]:
        entry = Entry(project, dataset, "", body)
        with self._warehouse.transaction() as cursor:
            catalog.create_dataset(cursor, entry)
        return entry.body

    def create_table(self, project: str, dataset: str, table: str, body: dict[str, Any]) -> dict[str, Any]:
        entry = Entry(project, dataset, table, body)
        if view := body.get("view"):
            if view.get("useLegacySql"):
                raise InvalidArgument(
                    "Views of legacy SQL are not built in Portico; set useLegacySql to false",
                    reason="invalid",
                )
            made = self._warehouse.run(view["query"], Asked(project, f"{project}.{dataset}", dry=True))
            entry.body |= {"type": "VIEW", "schema": {"fields": made[-1].fields}}
        with self._warehouse.transaction() as cursor:
            catalog.create_table(cursor, entry)
        return entry.body

    def update(self, project: str, dataset: str, table: str, body: dict[str, Any]) -> dict[str, Any]:
        """Writes a resource's settings; a table's schema may grow."""
        with self._warehouse.transaction() as cursor:
            found = catalog.require(cursor, project, dataset, table)
            schema = (body.get("schema") or {}).get("fields")
            if schema is not None and not found.is_view:
                catalog.add_fields(cursor, found, schema)
            if body.get("view") and found.body.get("type") == "VIEW":
                made = self._warehouse.run(
                    body["view"]["query"], Asked(project, f"{project}.{dataset}", dry=True)
                )
                body["schema"] = {"fields": made[-1].fields}
            found.body = {**body, "type": found.body.get("type"), "creationTime": found.body["creationTime"]}
            if found.body["type"] is None:
                del found.body["type"]
            catalog.write(cursor, found)
            return found.body

    def delete(self, project: str, dataset: str, table: str = "", contents: bool = False) -> None:
        with self._warehouse.transaction() as cursor:
            found = catalog.require(cursor, project, dataset, table)
            if table:
                catalog.drop_table(cursor, found)
            else:
                catalog.drop_dataset(cursor, found, contents=contents)

    # --- routines ---

    def routine(self, project: str, dataset: str, name: str) -> dict[str, Any]:
        with self._warehouse.reading() as cursor:
            return routines.require(cursor, project, dataset, name).body

    def routines(self, project: str, dataset: str) -> list[dict[str, Any]]:
        with self._warehouse.reading() as cursor:
            catalog.require(cursor, project, dataset)
            return [{"name": one.name, **one.body} for one in routines.listed(cursor, project, dataset)]

    def write_routine(
        self, project: str, dataset: str, name: str, body: dict[str, Any], replace: bool
    ) -> dict[str, Any]:
        routine = Routine(project, dataset, name, body)
        with self._warehouse.transaction() as cursor:
            routines.write(cursor, routine, replace=replace)
        return routine.body

    def drop_routine(self, project: str, dataset: str, name: str) -> None:
        with self._warehouse.transaction() as cursor:
            routines.drop(cursor, routines.require(cursor, project, dataset, name))

    # --- rows ---

    def rows(
        self,
        project: str,
        dataset: str,
        table: str,
        start: int,
        most: int,
        micros: bool,
        columns: list[str] | None = None,
    ) -> dict[str, Any]:
        with self._warehouse.reading() as cursor:
            found = catalog.require(cursor, project, dataset, table)
            if found.is_view:
                raise InvalidArgument(f"Cannot list a table of type VIEW: {found.shown}", reason="invalid")
            wanted = {name.lower() for name in columns or ()}
            fields = [one for one in found.fields if not wanted or one["name"].lower() in wanted]
            names = ", ".join(quoted(one["name"]) for one in fields) or "1"
            total = catalog.first(cursor, f"SELECT count(*) FROM {found.place}")
            chosen = cursor.sql(
                f"SELECT {names} FROM {found.place} LIMIT {int(most)} OFFSET {int(start)}"
            ).to_arrow_table()
            page = self._page(chosen, fields, 0, most, micros)
            return {**page, "total": total[0] if total else 0}

    def insert_all(
        self, project: str, dataset: str, table: str, rows: list[dict[str, Any]], ignore: bool, skip: bool
    ) -> list[dict[str, Any]]:
        """Appends rows of JSON; returns what is wrong with which. Without `skip` one bad row keeps all out."""
        errors: list[dict[str, Any]] = []
        with self._warehouse.transaction() as cursor:
            found = catalog.require(cursor, project, dataset, table)
            good = rows
            try:
                for row in rows:
                    self._checked(found, row, ignore)
                self._read_rows(found, rows)
            except (ValueError, duckdb.Error):
                good, errors = self._sorted(found, rows, ignore)
            if errors and not skip:
                bad = {one["index"] for one in errors}
                errors += [
                    {"index": place, "errors": [{"reason": "stopped", "location": "", "debugInfo": "", "message": ""}]}
                    for place in range(len(rows)) if place not in bad
                ]  # fmt: skip
                return sorted(errors, key=lambda one: one["index"])
            if good:
                self._append(cursor, found, good)
        return errors

    def _sorted(
        self, found: Entry, rows: list[dict[str, Any]], ignore: bool
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The rows that the table can hold, and what is wrong with the others."""
        good, errors = [], []
        for place, row in enumerate(rows):
            try:
                self._checked(found, row, ignore)
                self._read_rows(found, [row])
                good.append(row)
            except (ValueError, duckdb.Error) as error:
                said = refused(error).message if isinstance(error, duckdb.Error) else str(error)
                location = (
                    said.removeprefix("no such field: ").rstrip(".") if said.startswith("no such") else ""
                )
                one = {"reason": "invalid", "location": location, "debugInfo": "", "message": said}
                errors.append({"index": place, "errors": [one]})
        return good, errors

    def _checked(self, found: Entry, row: dict[str, Any], ignore: bool) -> None:
        loading.check_names(row, found.fields, ignore=ignore)
        for one in found.fields:
            if str(one.get("mode", "")).upper() == "REQUIRED" and row.get(one["name"]) is None:
                raise ValueError(f"Missing required field: {one['name']}.")

    def _read_rows(self, found: Entry, rows: list[dict[str, Any]]) -> None:
        """Raises what keeps the table from holding these rows; not in a transaction, which that would end."""
        with self._warehouse.reading() as cursor:
            self._select(cursor, found.fields, loading.as_texts(rows, found.fields))

    def _append(self, cursor: Cursor, found: Entry, rows: list[dict[str, Any]]) -> None:
        table = loading.as_texts(rows, found.fields)
        cursor.register("_rows", table)
        cells = ", ".join(loading.cast_sql(one, quoted(one["name"]), pa.string()) for one in found.fields)
        catalog.do(cursor, f"INSERT INTO {found.place} SELECT {cells} FROM _rows")

    def _select(self, cursor: Cursor, fields: list[Field], table: pa.Table) -> None:
        cursor.register("_rows", table)
        cells = ", ".join(
            loading.cast_sql(one, quoted(one["name"]), table.schema.field(one["name"]).type) for one in fields
        )
        catalog.do(cursor, f"SELECT {cells} FROM _rows")

    # --- jobs on whole tables ---

    def load(
        self, job: str, destination: dict[str, str], files: list[dict[str, str]], form: str, options: dict[str, Any],
        schema: list[Field] | None, create: str, write: str,
    ) -> dict[str, Any]:  # fmt: skip
        """Loads files (`path`, `uri`) into a table, all or nothing; tells the rows and what could not be read."""
        entry = _entry(destination)
        limit = int(options.get("maxBadRecords") or 0)
        bad: list[str] = []
        written, begun = 0, False
        with self._warehouse.transaction(job) as cursor:
            found = catalog.find(cursor, entry.project, entry.dataset, entry.table)
            truncates = write.startswith("WRITE_TRUNCATE")
            if (
                schema is None
                and found is not None
                and not truncates
                and form in ("CSV", "NEWLINE_DELIMITED_JSON")
            ):
                schema = found.fields
            if schema is None and form in ("CSV", "NEWLINE_DELIMITED_JSON") and not options.get("autodetect"):
                raise InvalidArgument("No schema specified on job or table.", reason="invalid")
            fields = schema or loading.table_fields(Path(files[0]["path"]), form, options)

            def put(select: str) -> int:
                disposition = "WRITE_APPEND" if begun else write
                return self._store(cursor, _entry(destination), fields, select, create, disposition, options)

            for file in files:
                noted: list[str] = []
                try:
                    for table in loading.batches(
                        Path(file["path"]), form, fields, options, noted, limit - len(bad)
                    ):
                        cursor.register("_good", self._read(table, fields, noted, limit - len(bad)))
                        written += put("SELECT * FROM _good")
                        begun = True
                except loading.Bad:
                    raise InvalidArgument(
                        f"Error while reading data, error message: {form} processing encountered too many errors, "
                        f"giving up. File: {file['uri']}: {noted[-1]}",
                        reason="invalid",
                    ) from None
                except (pa.ArrowInvalid, UnicodeDecodeError) as error:
                    raise InvalidArgument(
                        f"Error while reading {file['uri']}: {error}", reason="invalid"
                    ) from None
                bad += [f"{file['uri']}, {one}" for one in noted]
            if not begun:  # no rows at all: the table is there all the same
                cursor.register("_good", pa.table({one["name"]: pa.array([], pa.string()) for one in fields}))
                put("SELECT * FROM _good WHERE false")
        return {"rows": written, "bad": bad, "bytes": sum(Path(one["path"]).stat().st_size for one in files)}

    def _read(self, table: pa.Table, fields: list[Field], bad: list[str], limit: int) -> pa.Table:
        """A batch with its columns' own types; rows that hold something else are bad. Outside any transaction: what
        can't be read would end it."""
        with self._warehouse.reading() as cursor:
            return self._typed(cursor, table, fields, bad, limit)

    def _typed(
        self, cursor: Cursor, table: pa.Table, fields: list[Field], bad: list[str], limit: int
    ) -> pa.Table:
        by_name = {name.lower(): name for name in table.column_names}
        missing = [one["name"] for one in fields if one["name"].lower() not in by_name]
        for name in missing:
            table = table.append_column(name, pa.nulls(table.num_rows, pa.string()))
            by_name[name.lower()] = name
        cursor.register("_rows", table)

        def cells(wrap: Callable[[str], str]) -> str:
            shown = []
            for one in fields:
                name = by_name[one["name"].lower()]
                made = loading.cast_sql(one, quoted(name), table.schema.field(name).type)
                shown.append(f"{wrap(made)} AS {quoted(one['name'])}")
            return ", ".join(shown)

        try:
            return cursor.sql(f"SELECT {cells(lambda made: made)} FROM _rows").to_arrow_table()
        except duckdb.Error as error:
            said = refused(error).message
            if limit <= 0:
                bad.append(said)
                raise loading.Bad from None
        tried = cursor.sql(f"SELECT {cells(lambda made: f'TRY({made})')} FROM _rows").to_arrow_table()
        keep = []
        for place in range(table.num_rows):
            lost = [name for name in tried.column_names if _lost(tried, name, table, by_name, place)]
            if lost:
                bad.append(
                    f"{lost[0]}: {table.column(by_name[lost[0].lower()])[place].as_py()!r} can't be read"
                )
                if len(bad) > limit:
                    raise loading.Bad
            else:
                keep.append(place)
        return tried.take(pa.array(keep, pa.int64()))

    def extract(
        self, source: dict[str, str], folder: str, form: str, options: dict[str, Any]
    ) -> dict[str, Any]:
        """Writes a table to a file in `folder`, and returns its name."""
        with self._warehouse.reading() as cursor:
            found = catalog.require(cursor, **source)
            table = cursor.sql(f"SELECT * FROM {found.place}").to_arrow_table()
        data = loading.write_file(table, found.fields, form, options)
        path = Path(folder) / "extract"
        path.write_bytes(data)
        return {"path": str(path), "rows": table.num_rows}

    def copy(
        self, job: str, sources: list[dict[str, str]], destination: dict[str, str], create: str, write: str
    ) -> dict[str, Any]:
        with self._warehouse.transaction(job) as cursor:
            found = [catalog.require(cursor, **one) for one in sources]
            select = " UNION ALL ".join(f"SELECT * FROM {one.place}" for one in found)
            settings = {key: found[0].body[key] for key in _TABLE_SETTINGS if key in found[0].body}
            catalog.do(cursor, f"CREATE TEMP TABLE _copied AS {select}")
            rows = self._store(
                cursor,
                _entry(destination),
                found[0].fields,
                "SELECT * FROM _copied",
                create,
                write,
                settings,
            )
            catalog.do(cursor, "DROP TABLE _copied")
        return {"rows": rows}


_TABLE_SETTINGS = (
    "timePartitioning",
    "rangePartitioning",
    "clustering",
    "labels",
    "description",
    "friendlyName",
    "expirationTime",
)


def _lost(tried: pa.Table, name: str, table: pa.Table, by_name: dict[str, str], place: int) -> bool:
    """Whether a cell that holds something could not be read."""
    given = table.column(by_name[name.lower()])[place].as_py()
    return given is not None and tried.column(name)[place].as_py() is None


def _entry(named: dict[str, str]) -> Entry:
    return Entry(named["project"], named["dataset"], named["table"])


def _told(done: Done) -> dict[str, Any]:
    target = done.target
    return {
        "kind": done.kind,
        "fields": done.fields,
        "affected": done.affected,
        "counts": done.counts,
        "target": [target.project, target.dataset, target.table] if target else None,
        "operation": done.operation if target else "",
    }


def _referenced(done: list[Done]) -> list[list[str]]:
    found = {(one.project, one.dataset, one.table) for each in done for one in each.read}
    return [list(one) for one in sorted(found)]


METHODS: dict[str, Callable[..., Any]] = {
    "query": Requests.query, "result": Requests.result, "forget": Requests.forget, "cancel": Requests.cancel,
    "finished": Requests.finished, "get": Requests.get, "listed": Requests.listed,
    "create_dataset": Requests.create_dataset, "create_table": Requests.create_table, "update": Requests.update,
    "delete": Requests.delete, "rows": Requests.rows, "insert_all": Requests.insert_all, "load": Requests.load,
    "routine": Requests.routine, "routines": Requests.routines, "write_routine": Requests.write_routine,
    "drop_routine": Requests.drop_routine, "extract": Requests.extract, "snapshot": Requests.snapshot,
    "copy": Requests.copy,
}  # fmt: skip
